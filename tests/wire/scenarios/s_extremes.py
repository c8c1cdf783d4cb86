"""Every number of every request at its limits: negative, zero, one, the largest and smallest of 32 and 64 bits."""
import wire
from dsl import scenario
from scenarios.l_forms import kind, loose, table

LIMITS = (-1, 0, 1, 2**31 - 1, -2**31, 2**31, 2**63 - 1, -2**63)
# What is done only a few times, for it fills tables or waits.
LEFT_OUT = {('update topic', 'readQueueNums'), ('update topic', 'writeQueueNums')}

# A negative queue is one by chance; what lies at the begin of the log was sent by others.
ANY_QUEUE = {('send', 'queueId'), ('send v2', 'e'), ('send batch', 'e')}


def numbers(s, stype):
    c = s.connect('b1')
    for name, code, header, body in table(s, c):
        for field, value in (header or {}).items():
            if not str(value).lstrip('-').isdigit() or (name, field) in LEFT_OUT:
                continue
            for number in LIMITS:
                if number < 0 and (name, field) in ANY_QUEUE or name == 'view message' and number in (0, 1):
                    continue
                s.call(c, f'{name} with {field}={number}', code, {**header, field: number}, body,
                       vol=loose(code), kind=kind(code), wait=1.5, stype=stype)
        if isinstance(body, dict):
            for field, value in body.items():
                if isinstance(value, int) and not isinstance(value, bool):
                    for number in LIMITS:
                        s.call(c, f'{name} with {field}={number} in the body', code, header, {**body, field: number}, wait=1.5, stype=stype)
    s.drain(c, 0.2)


@scenario('b1.extremes')
def limits(s):
    """Each number of each request at its limits."""
    numbers(s, wire.JSON)


@scenario('b1.extremes')
def limits_binary(s):
    """The same in the binary header form."""
    numbers(s, wire.BINARY)
