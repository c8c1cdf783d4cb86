"""Every request to a name server in every form: well made in both header serializations, one-way, without each of its
fields, with each of them unreadable; and routes of many topics as clients of several releases ask for them."""
import wire
from dsl import scenario
from scenarios.b_namesrv import header, packed, register_body

LISTS = {'body.brokerAddr': 'class'}


def table(s):
    """(name, code, header or None, body) of each request, about one made-up broker with two topics."""
    broker, cluster = s.n('b'), s.n('c')
    registration = header(broker, 7100, cluster)
    entry = {'namespace': s.n('space'), 'key': 'k'}
    return [
        ('put', 100, {**entry, 'value': 'v'}, b''),
        ('get', 101, entry, b''),
        ('list', 219, {'namespace': s.n('space')}, b''),
        ('delete', 102, entry, b''),
        ('register', 103, registration, register_body({s.n(): {}, s.n('t2'): {'perm': 4}})),
        ('register compressed', 103, {**registration, 'compressed': 'true', 'bodyCrc32': 0}, packed({s.n(): {}}, 2)),
        ('version', 322, {k: registration[k] for k in ('brokerName', 'brokerAddr', 'clusterName', 'brokerId')}, b'{"counter":2,"timestamp":1600000000000}'),
        ('route', 105, {'topic': s.n()}, b''),
        ('route in standard JSON', 105, {'topic': s.n(), 'acceptStandardJsonOnly': 'true'}, b''),
        ('clusters', 106, None, b''),
        ('topics', 206, None, b''),
        ('topics of the cluster', 224, {'cluster': cluster}, b''),
        ('system topics', 304, None, b''),
        ('unit topics', 311, None, b''),
        ('unit subscriptions', 312, None, b''),
        ('unit subscriptions, not unit', 313, None, b''),
        ('wipe', 205, {'brokerName': broker}, b''),
        ('add', 327, {'brokerName': broker}, b''),
        ('delete topic', 216, {'topic': s.n('t2'), 'clusterName': cluster}, b''),
        ('route of the deleted', 105, {'topic': s.n('t2')}, b''),
        ('unregister', 104, {k: registration[k] for k in ('brokerName', 'brokerAddr', 'clusterName', 'brokerId')}, b''),
        ('route without broker', 105, {'topic': s.n()}, b''),
    ]


@scenario('nsb.forms')
def names_json(s):
    """Each request, well made."""
    c = s.connect('nsb')
    for name, code, ext, body in table(s):
        s.call(c, name, code, ext, body, vol=LISTS)


@scenario('nsb.forms')
def names_binary(s):
    """Each request in the binary header form."""
    c = s.connect('nsb')
    for name, code, ext, body in table(s):
        s.call(c, name, code, ext, body, vol=LISTS, stype=wire.BINARY)


@scenario('nsb.forms')
def names_one_way(s):
    """Each request as a one-way; then what they changed."""
    c = s.connect('nsb')
    pending = [(name, s.send(c, code, ext, body, flag=2)) for name, code, ext, body in table(s) if code not in (102, 104, 205, 216, 327)]
    s.pause(0.7)
    for name, p in pending:
        s.answer(name, p, wait=0.01)
    s.call(c, 'was put', 101, {'namespace': s.n('space'), 'key': 'k'})
    s.call(c, 'was registered', 105, {'topic': s.n()})


@scenario('nsb.forms')
def names_missing(s):
    """Each request without each of its fields. (A registration without names is another matter, see b_namesrv.)"""
    c = s.connect('nsb')
    for name, code, ext, body in table(s):
        for field in ext or ():
            if code == 103 and field in ('brokerName', 'brokerAddr', 'clusterName'):
                continue
            s.call(c, f'{name} without {field}', code, {k: v for k, v in ext.items() if k != field}, body, vol=LISTS, wait=1.5)
        s.call(c, name, code, ext, body, vol=LISTS)


@scenario('nsb.forms')
def names_unreadable(s):
    """Each request with values that are not what they should be."""
    c = s.connect('nsb')
    for name, code, ext, body in table(s):
        for field, value in (ext or {}).items():
            if code == 103 and field in ('brokerName', 'brokerAddr', 'clusterName'):
                continue
            text = str(value)
            for bad in ('x', '', '1.5', '99999999999999999999') if text.isdigit() else ('maybe', '', 'TRUE') if text in ('true', 'false') else ('',):
                s.call(c, f'{name} with {field}={bad!r}', code, {**ext, field: bad}, body, vol=LISTS, wait=1.5)
        s.call(c, name, code, ext, body, vol=LISTS)


@scenario('nsb.forms')
def names_bodies(s):
    """Registrations and versions with bodies that are not what they should be."""
    registration = header(s.n('b'), 7200, s.n('c'))
    for label, code, ext in (('register', 103, registration), ('register compressed', 103, {**registration, 'compressed': 'true'}),
                             ('version', 322, {k: registration[k] for k in ('brokerName', 'brokerAddr', 'clusterName', 'brokerId')})):
        for what, body in (('no body', b''), ('an open object', b'{'), ('an array', b'[]'), ('null', b'null'), ('a number', b'7'),
                           ('an empty object', b'{}'), ('text', b'hello'), ('zeros', bytes(40))):
            c = s.connect('nsb')
            s.call(c, f'{label}: {what}', code, ext, body)
    c = s.connect('nsb')
    s.call(c, 'clusters', 106)
    s.call(c, 'unregister', 104, {k: registration[k] for k in ('brokerName', 'brokerAddr', 'clusterName', 'brokerId')})
