"""Transactions on the cautious broker: half messages, check-backs, the end of a transaction, giving up, resuming."""
import time

import bodies
import wire
from dsl import BORN, batch, msg_id_offset, pull, scenario, v1, v2

HALF = {'ext.tranStateTableOffset': 'rel:half', 'ext.queueOffset': 'rel:half', 'record.queueOffset': 'drop'}


def offset_of(frame):
    return msg_id_offset(frame.ext['msgId'])


def half(s, c, body, topic=None, queue=1, label=None, header=v2, code=310, stype=wire.JSON, born=BORN, **props):
    """Sends a half message. Those born long ago are given up at the first check, without asking anybody."""
    topic, props = topic or s.n(), {'TRAN_MSG': 'true', 'PGROUP': s.n('pg'), 'UNIQ_KEY': s.n(body.decode()), **props}
    return s.call(c, label, code, header(topic, queue=queue, sysFlag=4, props=props, group=s.n('pg'), bornTimestamp=born), body, vol=HALF, stype=stype)


def end_header(s, frame, how, **over):
    fields = {'producerGroup': s.n('pg'), 'tranStateTableOffset': frame.ext['queueOffset'], 'commitLogOffset': offset_of(frame),
              'commitOrRollback': how, 'fromTransactionCheck': 'false', 'msgId': s.n('id'), 'transactionId': s.n('id'), **over}
    return {k: v for k, v in fields.items() if v is not None}


def end(s, c, label, frame, how, wait=5.0, flag=0, stype=wire.JSON, **over):
    return s.call(c, label, 37, end_header(s, frame, how, **over), wait=wait, flag=flag, stype=stype)


def committed(s, c, label, queue=1, offset=0):
    s.settle(c)
    s.call(c, label, 11, pull(s.n('r'), s.n(), queue, offset), kind='records')


def prepare(s):
    c = s.connect('b2')
    s.topic(c, s.n('before'))
    s.put(c, s.n('before'))     # so that no half message begins at 0
    s.topic(c, s.n(), 4)
    s.group(c, s.n('r'))
    return c


@scenario('b2')
def ends(s):
    """Commit, rollback, unknown, twice, by others, in both header forms and one-way."""
    c = prepare(s)
    frame = half(s, c, b'a', label='half, answer', TAGS='A', KEYS='k1 k2', foo='bar')
    end(s, c, 'committed', frame, 8)
    committed(s, c, 'the committed message')
    frame = half(s, c, b'b', label='half, long header', header=v1, code=10)
    end(s, c, 'rolled back', frame, 12)
    committed(s, c, 'nothing more')
    frame = half(s, c, b'c', label='half, binary', stype=wire.BINARY)
    end(s, c, 'committed, binary', frame, 8, stype=wire.BINARY)
    committed(s, c, 'the second', offset=1)
    frame = half(s, c, b'd')
    end(s, c, 'committed one-way', frame, 8, flag=2, wait=0.6)
    committed(s, c, 'the third', offset=2)
    frame = half(s, c, b'e')
    end(s, c, 'committed from a check', frame, 8, fromTransactionCheck='true')
    committed(s, c, 'the fourth', offset=3)
    frame = half(s, c, b'f')
    end(s, c, 'rolled back from a check', frame, 12, fromTransactionCheck='true')
    frame = half(s, c, b'g')
    end(s, c, 'unknown', frame, 0, wait=0.6)
    end(s, c, 'unknown from a check', frame, 0, wait=0.6, fromTransactionCheck='true')
    for how in (4, 99, -1):
        end(s, c, f'commitOrRollback {how}', frame, how)
    end(s, c, 'another producer group', frame, 8, producerGroup=s.n('other'))
    end(s, c, 'another table offset', frame, 8, tranStateTableOffset=10**9)
    end(s, c, 'another log offset', frame, 8, commitLogOffset=10**12)
    end(s, c, 'negative log offset', frame, 8, commitLogOffset=-1)
    end(s, c, 'rolled back by another group', frame, 12, producerGroup=s.n('other'))
    for field in ('msgId', 'transactionId', 'fromTransactionCheck'):
        again = half(s, c, b'x' + field.encode())
        end(s, c, f'committed without {field}', again, 8, **{field: None})
    end(s, c, 'rolled back at last', frame, 12)
    committed(s, c, 'all', offset=4)


@scenario('b2')
def targets(s):
    """Where half messages are for: topics, queues, flags, delays, batches."""
    c = prepare(s)
    s.topic(c, s.n('ro'), perm=4)
    for label, topic, queue in (('unknown topic', s.n('none'), 0), ('read only topic', s.n('ro'), 0), ('queue 9', s.n(), 9),
                                ('any queue', s.n(), -1), ('illegal topic', 'a/b', 0)):
        frame = s.call(c, label, 310, v2(topic, queue=queue, sysFlag=4, props={'TRAN_MSG': 'true', 'PGROUP': s.n('pg')}), b'x',
                       vol={**HALF, 'ext.queueId': 'int'})
        if frame.code == 0:
            end(s, c, f'{label}: rolled back', frame, 12)
    frame = half(s, c, b'flag', label='flags kept', queue=2)
    end(s, c, 'flags kept: committed', frame, 8)
    committed(s, c, 'flags kept: the message', 2)
    frame = s.call(c, 'TRAN_MSG True', 310, v2(s.n(), queue=3, props={'TRAN_MSG': 'True', 'PGROUP': s.n('pg')}), b'x', vol=HALF)
    end(s, c, 'TRAN_MSG True: committed', frame, 8)
    committed(s, c, 'TRAN_MSG True: the message', 3)
    for word in ('false', 'yes', '1'):
        s.call(c, f'TRAN_MSG {word} is an ordinary message', 310, v2(s.n(), queue=0, props={'TRAN_MSG': word}), b'x')
    committed(s, c, 'ordinary messages', 0)
    frame = s.setup(c, 310, v2(s.n(), queue=1, sysFlag=4, props={'TRAN_MSG': 'true'}), b'nogroup')
    end(s, c, 'without PGROUP', frame, 8)
    plain = s.put(c, s.n(), b'plain', 1, PGROUP=s.n('pg'))
    end(s, c, 'of a message that is not half', plain, 8, producerGroup=s.n('nobody'))
    s.call(c, 'batch with the transaction flag', 320, v2(s.n(), queue=2, sysFlag=4, batch=True), batch((b'a', ''), (b'b', '')))
    s.call(c, 'batch with a half message', 320, v2(s.n(), queue=2, batch=True), batch((b'a', 'TRAN_MSG\x01true\x02PGROUP\x01x'),))
    s.call(c, 'batch header with TRAN_MSG', 320, v2(s.n(), queue=2, batch=True, props={'TRAN_MSG': 'true'}), batch((b'a', ''),))
    committed(s, c, 'what the batches left', 2, 1)


@scenario('b2')
def twice(s):
    """A transaction that is ended twice, in all orders."""
    c = prepare(s)
    for first in (8, 12):
        for second in (8, 12, 0):
            frame = half(s, c, b'%d-%d' % (first, second), queue=1)
            end(s, c, f'{first} then {second}: first', frame, first)
            end(s, c, f'{first} then {second}: second', frame, second, wait=0.6 if second == 0 else 5.0)
    committed(s, c, 'what came of them')


@scenario('b2')
def delayed(s):
    """Half messages that are to be delayed."""
    c = prepare(s)
    frame = half(s, c, b'late', DELAY='1', KEYS='k')
    s.check('sent', frame.code)
    end(s, c, 'committed', frame, 8)
    s.pause(2.5)
    committed(s, c, 'a second later')
    frame = half(s, c, b'prompt', DELAY='0')
    end(s, c, 'level 0: committed', frame, 8)
    s.settle(c)
    s.call(c, 'level 0: at once', 12, {'topic': s.n(), 'key': s.n('prompt'), 'maxNum': 5, 'beginTimestamp': 0, 'endTimestamp': 2**62}, kind='records',
           vol={'record.phys': 'drop', 'record.prepared': 'drop', 'record.queueOffset': 'drop'})


def now():
    return int(time.time() * 1000)


@scenario('b2')
def checks(s):
    """The broker asks the producer about half messages; it commits, rolls back, or never knows."""
    c, p = prepare(s), s.connect('b2', 'producer')
    s.beat(p, s.n('pid'), (), [s.n('pg')])

    def asked(label, timeout=9.0):
        return s.push(label, p, 39, timeout=timeout, vol=HALF, kind='records')

    def answer(label, push, how, **over):
        fields = {'producerGroup': s.n('pg'), 'tranStateTableOffset': push.ext['tranStateTableOffset'],
                  'commitLogOffset': push.ext['commitLogOffset'], 'commitOrRollback': how, 'fromTransactionCheck': 'true',
                  'msgId': push.ext.get('msgId', ''), 'transactionId': push.ext.get('transactionId', ''), **over}
        s.call(p, label, 37, fields, wait=0.6)

    half(s, c, b'first', born=now(), label='first half', TAGS='A', KEYS='k')
    push = asked('first: asked')
    answer('first: committed', push, 8)
    committed(s, c, 'first: the message')
    half(s, c, b'second', born=now())
    push = asked('second: asked')
    answer('second: rolled back', push, 12)
    half(s, c, b'third', born=now(), queue=2)
    push = asked('third: asked')
    answer('third: unknown', push, 0)
    push = asked('third: asked again')
    s.no_push('third: given up after two checks', p, 39, timeout=7.0)
    top = s.setup(c, 30, {'topic': 'TRANS_CHECK_MAX_TIME_TOPIC', 'queueId': 0})
    frame = s.call(c, 'third: given up, kept aside', 11,
                   pull(s.n('r'), 'TRANS_CHECK_MAX_TIME_TOPIC', 0, int(top.ext['offset']) - 1), kind='records',
                   vol={'ext.*Offset': 'int'})
    found = bodies.records(frame.body) if frame and frame.body else []
    if found:
        msg_id = '7F000001%08X%016X' % (s.env.port('b2'), found[0]['phys'])
        s.call(c, 'resumed', 323, {'msgId': msg_id}, vol={'ext.queueOffset': 'int'})
        push = asked('third: asked after it was resumed')
        if push:
            answer('third: committed at last', push, 8)
        committed(s, c, 'third: the message', 2)
    s.no_push('no more questions', p, 39, timeout=4.0)


@scenario('b2')
def checks_of_members(s):
    """Whom the broker asks: a producer of the group, not of another; nobody when there is none."""
    c, other = prepare(s), s.connect('b2', 'other')
    s.beat(other, s.n('oid'), (), [s.n('og')])
    half(s, c, b'alone', born=now())
    s.no_push('a producer of another group is not asked', other, 39, timeout=2.0)
    member = s.connect('b2', 'member')
    s.beat(member, s.n('mid'), (), [s.n('pg'), s.n('og')], stype=wire.BINARY)
    # How often it was looked at before the member came depends on the moment.
    vol = {**HALF, 'prop.TRANSACTION_CHECK_TIMES': 'int', 'ext.tranStateTableOffset': 'any'}
    push = s.push('a client that spoke binary is asked', member, 39, timeout=9.0, vol=vol, kind='records')
    s.no_push('the other is still not asked', other, 39, timeout=0.2)
    if push:
        s.call(member, 'rolled back', 37, {
            'producerGroup': s.n('pg'), 'tranStateTableOffset': push.ext['tranStateTableOffset'],
            'commitLogOffset': push.ext['commitLogOffset'], 'commitOrRollback': 12, 'fromTransactionCheck': 'true'})
    frame = half(s, c, b'immune', born=now(), CHECK_IMMUNITY_TIME_IN_SECONDS='60')
    s.no_push('not asked within its immunity', member, 39, timeout=4.5)
    end(s, c, 'immune: committed', frame, 8)
    committed(s, c, 'immune: the message')
    s.call(c, '323 without header', 323)
    s.call(c, '323 not an id', 323, {'msgId': 'zz'})
    s.call(c, '323 empty', 323, {'msgId': ''})
    s.call(c, '323 of nothing', 323, {'msgId': '7F000001%08X%016X' % (s.env.port('b2'), 2**40)})
