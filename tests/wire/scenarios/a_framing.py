"""Frames: serializations, header oddities, broken frames, flags, packet boundaries."""
import struct
import time

import wire
from dsl import BORN, heartbeat, pull, scenario, v1, v2

SERVERS = ('b1', 'nsb')


@scenario('b1')
def serializations(s):
    """The same request in both header serializations, on each server."""
    c = s.connect('b1')
    s.topic(c, s.n())
    s.put(c, s.n(), b'one')
    s.group(c, s.n('g'))
    n = s.connect('nsb')
    for name, stype in (('json', wire.JSON), ('binary', wire.BINARY)):
        s.call(c, f'{name}: max offset', 30, {'topic': s.n(), 'queueId': 0}, stype=stype)
        s.call(c, f'{name}: send', 310, v2(s.n()), b'two', stype=stype)
        s.call(c, f'{name}: send long header', 10, v1(s.n()), b'two', stype=stype)
        s.call(c, f'{name}: heartbeat', 34, None, heartbeat(s.n(name), (), [s.n('p')]), stype=stype)
        s.call(c, f'{name}: no such topic', 202, {'topic': s.n('none')}, stype=stype)
        s.call(c, f'{name}: unknown code', 30000, {'a': 'b'}, stype=stype)
        s.call(c, f'{name}: exception', 30, {'topic': s.n()}, stype=stype)
        s.call(c, f'{name}: pull found', 11, pull(s.n('g'), s.n(), maxMsgNums=1), kind='records', stype=stype)
        s.call(c, f'{name}: pull nothing', 11, pull(s.n('g'), s.n(), offset=100), stype=stype)
        s.call(c, f'{name}: system topics', 305, None, stype=stype)
        s.call(n, f'{name}: name server kv absent', 101, {'namespace': s.n(), 'key': 'k'}, stype=stype)
        s.call(n, f'{name}: name server route absent', 105, {'topic': s.n('none')}, stype=stype)
        s.call(n, f'{name}: name server put', 100, {'namespace': s.n(), 'key': name, 'value': 'v'}, stype=stype)
        s.call(n, f'{name}: name server get', 101, {'namespace': s.n(), 'key': name}, stype=stype)
        s.call(n, f'{name}: empty value', 100, {'namespace': s.n(), 'key': name, 'value': ''}, stype=stype)
        s.call(n, f'{name}: empty value read', 101, {'namespace': s.n(), 'key': name}, stype=stype)
        s.call(n, f'{name}: non-ascii value', 100, {'namespace': s.n(), 'key': name, 'value': 'é漢😀'}, stype=stype)
        s.call(n, f'{name}: non-ascii read', 101, {'namespace': s.n(), 'key': name}, stype=stype)


@scenario('b1')
def unknown_codes(s):
    """Codes that no server knows, and codes that exist but are served by nobody in 4.9."""
    c, n = s.connect('b1'), s.connect('nsb')
    for code in (0, 1, 13, 22, 23, 27, 209, 210, 211, 212, 213, 214, 220, 221, 301, 302, 326, 32767, -1, 65536, 999999,
                 18, 47, 60, 61, 217, 225, 343, 345, 351, 352, 353, 354, 361, 370, 400, 401, 402, 513, 901, 904, 907, 1001, 2001, 2004,
                 3001, 3006, 200050, 200051, 200053):
        s.call(c, f'broker {code}', code, wait=1.5)
    pending = [(code, s.send(n, code)) for code in (0, 34, 310, 999, -1, 302)]
    s.pause(1.0)
    for code, p in pending:
        s.answer(f'name server {code}', p, wait=0.01)
    s.call(n, 'the connection lives on', 101, {'namespace': s.n(), 'key': 'x'})
    fast = s.connect('b1fast')
    s.call(fast, 'fast port: pull', 11, pull(s.n('g'), s.n()))
    s.call(fast, 'fast port: max offset', 30, {'topic': s.n(), 'queueId': 0})
    s.call(fast, 'fast port: send', 310, v2(s.n()), b'x', vol={'ext.queueId': 'int'})


@scenario('b1')
def header_fields(s):
    """Missing, empty, unparsable and superfluous header fields."""
    c, n = s.connect('b1'), s.connect('nsb')
    s.topic(c, s.n())
    full = {'topic': s.n(), 'queueId': '0'}
    for label, ext in (('no extFields', None), ('empty extFields', {}), ('topic only', {'topic': s.n()}),
                       ('queueId only', {'queueId': '0'}), ('queueId word', {**full, 'queueId': 'abc'}),
                       ('queueId empty', {**full, 'queueId': ''}), ('queueId blank', {**full, 'queueId': ' 0'}),
                       ('queueId +0', {**full, 'queueId': '+0'}), ('queueId 00', {**full, 'queueId': '00'}),
                       ('queueId float', {**full, 'queueId': '0.0'}), ('queueId 2^31', {**full, 'queueId': '2147483648'}),
                       ('queueId negative', {**full, 'queueId': '-1'}), ('unknown field', {**full, 'zzz': 'y'}),
                       ('bname', {**full, 'bname': 'wire-a'}), ('other bname', {**full, 'bname': 'other'}),
                       ('empty topic', {**full, 'topic': ''}), ('field name in capitals', {'TOPIC': s.n(), 'QUEUEID': '0'})):
        s.call(c, f'max offset, {label}', 30, ext)
    full = v2(s.n())
    for field in 'abcdefghijklm':
        if field in full:
            s.call(c, f'send without {field}', 310, {k: v for k, v in full.items() if k != field}, b'x',
                   vol={'ext.queueId': 'int', 'ext.queueOffset': 'int'})
    for field, value in (('d', 'x'), ('e', 'x'), ('f', 'x'), ('g', 'x'), ('h', 'x'), ('j', 'x'), ('k', 'x'), ('m', 'x'),
                         ('k', 'TRUE'), ('j', ''), ('h', '2147483648'), ('g', '-1')):
        s.call(c, f'send with {field}={value!r}', 310, {**full, field: value}, b'x', vol={'ext.queueOffset': 'int'})
    s.call(c, 'send without header', 310, None, b'x')
    s.call(c, 'send V1 without header', 10, None, b'x')
    s.call(c, 'send V1 with the short header', 10, full, b'x')
    s.call(c, 'send V2 with the long header', 310, v1(s.n()), b'x')
    s.call(c, 'pull without header', 11, None)
    s.topic(c, s.n('pull'))
    s.put(c, s.n('pull'), b'one')
    full = pull(s.n('g'), s.n('pull'))
    for field in list(full):
        s.call(c, f'pull without {field}', 11, {k: v for k, v in full.items() if k != field}, kind='records')
    for field in ('queueId', 'queueOffset', 'maxMsgNums', 'sysFlag', 'commitOffset', 'suspendTimeoutMillis', 'subVersion'):
        s.call(c, f'pull with {field}=x', 11, {**full, field: 'x'})
    for field in ('namespace', 'key', 'value'):
        ext = {'namespace': s.n(), 'key': 'k', 'value': 'v'}
        del ext[field]
        s.call(n, f'kv put without {field}', 100, ext)
    s.call(n, 'kv put without header', 100, None)
    s.call(n, 'route without topic', 105, {})
    s.call(n, 'route without header', 105, None)
    s.call(n, 'register without header', 103, None)
    s.call(n, 'register without body', 103, {'brokerName': s.n('x')})


@scenario('b1')
def json_dialect(s):
    """Header JSON as other clients write it."""
    c, n = s.connect('b1'), s.connect('nsb')
    s.topic(c, s.n())
    topic = s.n()
    head = '{"code":30,"flag":0,"language":"JAVA","opaque":OPAQUE,"version":409'
    for label, raw in (
            ('numbers in extFields', head + ',"extFields":{"topic":"%s","queueId":0}}' % topic),
            ('boolean in extFields', head + ',"extFields":{"topic":"%s","queueId":"0","x":true}}' % topic),
            ('null in extFields', head + ',"extFields":{"topic":"%s","queueId":"0","x":null}}' % topic),
            ('trailing newline', head + ',"extFields":{"topic":"%s","queueId":"0"}}\n' % topic),
            ('blanks', head.replace(',', ' , ') + ' , "extFields" : { "topic" : "%s" , "queueId" : "0" } }' % topic),
            ('unknown keys', head + ',"zzz":{"a":[1,2]},"extFields":{"topic":"%s","queueId":"0"}}' % topic),
            ('remark empty', head + ',"remark":"","extFields":{"topic":"%s","queueId":"0"}}' % topic),
            ('remark null', head + ',"remark":null,"extFields":{"topic":"%s","queueId":"0"}}' % topic),
            ('extFields null', head + ',"extFields":null}'),
            ('language GO', head.replace('JAVA', 'GO') + ',"extFields":{"topic":"%s","queueId":"0"}}' % topic),
            ('language unknown', head.replace('JAVA', 'KLINGON') + ',"extFields":{"topic":"%s","queueId":"0"}}' % topic),
            ('no language', head.replace('"language":"JAVA",', '') + ',"extFields":{"topic":"%s","queueId":"0"}}' % topic),
            ('no version', head.replace(',"version":409', '') + ',"extFields":{"topic":"%s","queueId":"0"}}' % topic),
            ('no flag', head.replace('"flag":0,', '') + ',"extFields":{"topic":"%s","queueId":"0"}}' % topic),
            ('code as string', head.replace(':30', ':"30"') + ',"extFields":{"topic":"%s","queueId":"0"}}' % topic),
            ('opaque as string', head.replace('OPAQUE', '"OPAQUE"') + ',"extFields":{"topic":"%s","queueId":"0"}}' % topic),
            ('single quotes', (head + ",'extFields':{'topic':'%s','queueId':'0'}}" % topic)),
            ('unquoted names', (head + ',extFields:{topic:"%s",queueId:"0"}}' % topic)),
            ('trailing comma', (head + ',"extFields":{"topic":"%s","queueId":"0",},}' % topic)),
            ('escaped characters', head + ',"extFields":{"topic":"\\u0057%s","queueId":"\\u0030"}}' % topic[1:]),
            ('serializeType field says ROCKETMQ', head + ',"serializeTypeCurrentRPC":"ROCKETMQ","extFields":{"topic":"%s","queueId":"0"}}' % topic),
            ('high flag bits', head.replace('"flag":0', '"flag":4') + ',"extFields":{"topic":"%s","queueId":"0"}}' % topic),
    ):
        s.call(c, label, 30, raw_json=raw, wait=1.5)
    s.call(c, 'version 0', 30, {'topic': topic, 'queueId': 0}, version=0)
    s.call(c, 'version 5.x', 30, {'topic': topic, 'queueId': 0}, version=479)
    s.call(c, 'version beyond', 30, {'topic': topic, 'queueId': 0}, version=30000)
    s.call(c, 'remark in the request', 30, {'topic': topic, 'queueId': 0}, remark='hello')
    s.call(c, 'body where none belongs', 30, {'topic': topic, 'queueId': 0}, b'unexpected')
    s.call(n, 'credentials nobody asked for', 105, {'topic': topic, 'AccessKey': '', 'Signature': '', 'OnsChannel': ''})


def broken(s, server, label, data, wait=1.5):
    """What a server does with `data` on a fresh connection: closes it, or still serves it."""
    conn = s.connect(server)
    s.raw(conn, data)
    if conn.wait_closed(wait * s.env.slack):
        s.check(f'{server} {label}', 'closed')
        return
    frame = s.setup(conn, 105 if server == 'nsb' else 305, {'topic': 'none'}, wait=1.5)
    s.check(f'{server} {label}', {'open': True, 'serves': frame is not None,
                                  'unasked frames': len(conn.strays) + len(conn.pushes)})


@scenario('nsb')
def broken_frames(s):
    """Frames that cannot be decoded."""
    good = wire.encode(105, {'topic': 'none'}, opaque=1)
    header = good[8:]
    for server in SERVERS:
        for label, data in (
                ('oversized length', struct.pack('>i', 16777213) + bytes(64)),
                ('huge length', struct.pack('>i', 0x7FFFFFFF) + bytes(64)),
                ('negative length', struct.pack('>i', -1) + bytes(64)),
                ('length 0', struct.pack('>i', 0)),
                ('length 3', struct.pack('>i', 3) + bytes(3)),
                ('header longer than the frame', struct.pack('>iI', 4 + len(header), len(header) + 1) + header),
                ('header length 0', struct.pack('>iI', 4, 0)),
                ('header word negative', struct.pack('>iI', 4 + len(header), 0xFF000000 | len(header)) + header),
                ('serialize type 2', struct.pack('>iI', 4 + len(header), 2 << 24 | len(header)) + header),
                ('not JSON', struct.pack('>iI', 12, 8) + b'garbage!'),
                ('JSON array', struct.pack('>iI', 6, 2) + b'[]'),
                ('JSON empty object', struct.pack('>iI', 6, 2) + b'{}'),
                ('JSON null', struct.pack('>iI', 8, 4) + b'null'),
                ('binary header cut', struct.pack('>iI', 4 + 10, 1 << 24 | 10) + bytes(10)),
                ('binary remark too long', struct.pack('>iI', 4 + 21, 1 << 24 | 21)
                 + struct.pack('>hBhiiii', 105, 0, 409, 1, 0, 1000, 0)),
                ('binary extFields too long', struct.pack('>iI', 4 + 21, 1 << 24 | 21)
                 + struct.pack('>hBhiiii', 105, 0, 409, 1, 0, 0, 1000)),
                ('binary key too long', struct.pack('>iI', 4 + 27, 1 << 24 | 27)
                 + struct.pack('>hBhiiii', 105, 0, 409, 1, 0, 0, 6) + struct.pack('>hi', 500, 0)),
                ('binary remark negative', struct.pack('>iI', 4 + 21, 1 << 24 | 21)
                 + struct.pack('>hBhiiii', 105, 0, 409, 1, 0, -5, 0)),
                ('HTTP request', b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
                ('random bytes', bytes(range(200, 256)) * 4),
                ('TLS client hello start', b'\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00'),
        ):
            broken(s, server, label, data)


@scenario('nsb')
def half_frames(s):
    """A frame that stops in the middle keeps the connection; the rest completes it."""
    for server in SERVERS:
        whole = wire.encode(30 if server == 'b1' else 105, {'topic': s.n(), 'queueId': '0'}, opaque=1)
        for cut in (1, 4, 8, 20, len(whole) - 1):
            conn = s.connect(server)
            conn.expected.add(1)
            conn.opaque = 1
            s.raw(conn, whole[:cut])
            s.check(f'{server}: nothing after {cut} bytes' if cut < len(whole) - 1 else f'{server}: nothing before the last',
                    {'closed': conn.wait_closed(0.2), 'answers': len(conn.answers)})
            s.raw(conn, whole[cut:])
            frame = conn.wait_answer(1, 3)
            s.check(f'{server}: answer after the rest of {"last" if cut == len(whole) - 1 else cut}',
                    frame if isinstance(frame, str) else frame.code)
        conn = s.connect(server)
        conn.expected.add(1)
        for i in range(len(whole)):
            s.raw(conn, whole[i:i + 1])
            time.sleep(0.001)
        frame = conn.wait_answer(1, 3)
        s.check(f'{server}: byte by byte', frame if isinstance(frame, str) else frame.code)
        conn = s.connect(server)
        conn.expected.update(range(1, 51))
        s.raw(conn, b''.join(wire.encode(30 if server == 'b1' else 105, {'topic': s.n(), 'queueId': '0'}, opaque=i)
                             for i in range(1, 51)))
        frames = [conn.wait_answer(i, 5) for i in range(1, 51)]
        s.check(f'{server}: 50 frames in one packet', sorted({f if isinstance(f, str) else f.code for f in frames}))


@scenario('b1')
def flags(s):
    """One-way requests, response frames nobody waits for, strange opaques."""
    c, n = s.connect('b1'), s.connect('nsb')
    s.topic(c, s.n())
    ask = {'topic': s.n(), 'queueId': 0}
    pending = []
    for label, conn, code, ext, body in (
            ('max offset', c, 30, ask, b''), ('send', c, 310, v2(s.n()), b'oneway'),
            ('send to an illegal topic', c, 310, v2('a/b'), b'x'), ('heartbeat', c, 34, None, heartbeat(s.n('c'))),
            ('heartbeat without body', c, 34, None, b''), ('exception', c, 30, {}, b''),
            ('update offset', c, 15, {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': 0, 'commitOffset': 7}, b''),
            ('unknown code', c, 30000, None, b''), ('unlock', c, 42, None, b'{"clientId":"c","consumerGroup":"g","mqSet":[]}'),
            ('name server route', n, 105, {'topic': s.n()}, b''), ('name server unknown code', n, 30000, None, b''),
            ('name server kv put', n, 100, {'namespace': s.n(), 'key': 'oneway', 'value': 'v'}, b'')):
        pending.append((label, s.send(conn, code, ext, body, flag=2)))
    s.pause(1.0)
    for label, p in pending:
        s.answer(f'one-way {label}', p, wait=0.01)
    s.call(c, 'the one-way send was stored', 30, ask)
    s.call(c, 'the one-way offset was stored', 14, {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': 0})
    s.call(n, 'the one-way kv was stored', 101, {'namespace': s.n(), 'key': 'oneway'})
    for conn, name in ((c, 'broker'), (n, 'name server')):
        for flag in (1, 3):
            conn.write(wire.encode(0, {'a': 'b'}, opaque=777777, flag=flag))
        s.check(f'{name}: a response frame with an unknown opaque is ignored',
                {'closed': conn.wait_closed(0.4), 'frames': len(conn.strays) + len(conn.pushes)})
    s.call(c, 'broker still serves', 30, ask)
    s.call(n, 'name server still serves', 105, {'topic': s.n('none')})
    for opaque in (0, -1, 2147483647, -2147483648):
        c.expected.add(opaque)
        c.write(wire.encode(30, {k: str(v) for k, v in ask.items()}, opaque=opaque))
        frame = c.wait_answer(opaque, 3)
        s.check(f'opaque {opaque} is echoed', frame if isinstance(frame, str) else frame.code)
    c.expected.add(5000)
    for _ in range(2):
        c.write(wire.encode(30, {k: str(v) for k, v in ask.items()}, opaque=5000))
    s.check('the same opaque twice is answered twice', [x if isinstance(x, str) else x.code for x in
                                                       (c.wait_answer(5000, 3), c.wait_answer(5000, 3))])


@scenario('b1')
def pipelined(s):
    """Many requests in flight on one connection."""
    c = s.connect('b1')
    s.topic(c, s.n())
    pending = [s.send(c, 310, v2(s.n(), props={'K': str(i)}), b'%04d' % i) for i in range(1000)]
    frames = [p.conn.wait_answer(p.opaque, 20) for p in pending]
    codes = [f if isinstance(f, str) else f.code for f in frames]
    offsets = sorted(int(f.ext['queueOffset']) for f in frames if not isinstance(f, str) and f.ext)
    s.check('1000 sends: codes', {str(x): codes.count(x) for x in set(codes)})
    s.check('1000 sends: offsets are 0..999', offsets == list(range(1000)))
    s.call(c, 'max offset', 30, {'topic': s.n(), 'queueId': 0})
    pending = []
    for i in range(500):
        pending.append((False, s.send(c, 30, {'topic': s.n(), 'queueId': 0})))
        s.send(c, 15, {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': i % 4, 'commitOffset': i}, flag=2)
    frames = [p.conn.wait_answer(p.opaque, 20) for _, p in pending]
    s.check('500 calls between 500 one-way: codes', sorted({f if isinstance(f, str) else f.code for f in frames}))
    s.check('no stray frames', len(c.strays))
    s.check('no answer to a one-way', sum(len(v) for v in c.answers.values()))
    two = [s.connect('b1'), s.connect('b1')]
    held = s.send(two[0], 11, pull(s.n('g'), s.n(), offset=1000, sysflag=6, suspendTimeoutMillis=9000))
    s.call(two[0], 'a held pull does not hold the next request', 30, {'topic': s.n(), 'queueId': 0})
    s.pause(0.5)
    s.put(two[1], s.n(), b'wake')
    s.answer('the held pull', held, kind='records')


@scenario('nsb')
def idle(s):
    """The second name server closes connections without traffic for 10 s."""
    quiet, busy = s.connect('nsb'), s.connect('nsb')
    started = time.monotonic()
    s.call(quiet, 'first request', 105, {'topic': s.n()})
    s.call(busy, 'first request of the busy one', 105, {'topic': s.n()})
    while time.monotonic() - started < 14 and quiet.closed_at is None:
        time.sleep(3)
        s.setup(busy, 105, {'topic': s.n()})
    took = (quiet.closed_at or 0) - started
    s.check('the idle connection is closed after 10 s', 9 <= took <= 14 if quiet.closed_at else 'open')
    s.check('the busy connection is open', busy.closed_at is None)
