"""Values in JSON bodies and headers as fastjson takes them: numbers, flags, texts, words and lists in odd dress, names in other letters,
texts that are not quite JSON."""
import json

import bodies
import wire
from dsl import consumer, group_config, scenario, subscription
from scenarios.b_namesrv import header

# Left out are numbers beyond 64 bits, which Java cuts off, and Java's own Set[…], new Date(…) and x'41'.
NUMBERS = ('3', '"3"', '" 3 "', '3.0', '3.9', '-3.9', '1e2', '1E2', '0x10', "'3'", 'true', 'false', '""', '" "', '"null"', 'null', '"NULL"', '"undefined"', 'undefined',
           '[3]', '[]', '{}', '+3', '03', '3L', '3S', '3B', '3F', '3D', '"3.0"', '"3.7"', '"1e2"', '"3,000"', '"+3"', '"-3"', '"３"', '.5', '5.', '-', '--3', 'NaN', 'Infinity',
           '"NaN"', '2147483647', '2147483648', '-2147483648', '-2147483649', '4294967297', '9223372036854775807', '"2147483648"', '1E400', '"0x10"', '/*c*/3', '3/*c*/', '3//c\n', '-0',
           '"-0"', '0.1e1', '"true"', '3e0', '3.5e0', '\t3', '"3L"', '1_0', '1.5e9')
FLAGS = ('true', 'false', '"true"', '"TRUE"', '"True"', '"Y"', '"y"', '"N"', '"n"', '"T"', '"t"', '"F"', '"f"', '"1"', '"0"', '1', '0', '2', '-1', '1.0', '0.0', '0.5', '2.0', '""', '" "',
         '"x"', '"2"', 'null', '"null"', '"NULL"', '[]', '{}', '[true]', "'true'", 'tru', 'TRUE', '"on"', '"yes"', '" true"', '1L', '"1.0"', '9223372036854775808', '1e0')
TEXTS = ('5', '5.5', '1.0', 'true', 'null', '[]', '["a"]', '{}', '{"a":1}', "'a'", "'a\"b'", '"\\u0041"', '"\\x41"', '"\\v"', '"\\0"', '"\\7"', '"\\a"', '"\\/"', '"\\\'"', '"\\ud83d\\ude80"',
         '"\\u00"', '"a\nb"', '"a\x01b"', 'a', '"unclosed', '"\\"', 'undefined', '""', '" "', '["é"]', '[null]', '5L', '1F', '+5')
LISTS = ('[]', '"A"', '""', '{"a":1}', '["B","A"]', '[1]', '[1.5]', '[true]', '[["A"]]', '["A",]', '[,"A"]', '["A",,"B"]', "['A']", '[A]', '5', 'true', '"[]"', '["A"', '[ ]')
WORDS = ('"0"', '"1"', '" CONSUME_PASSIVELY"', '"consume_passively"', '1.0', '[]', '{}', 'true', '""', '"null"', '-1', '99', '1L', '[1]', '"CONSUME_POP"', '0x1', "'CONSUME_PASSIVELY'")
SETS = ('""', '[[]]', '[1]', '["x"]', '5', 'true', '"x"', '[true]')
KEYS = {'small': str.lower, 'capitals': str.upper, 'snake': lambda k: ''.join('_' + c.lower() if c.isupper() else c for c in k),
        'dashes': lambda k: ''.join('-' + c.lower() if c.isupper() else c for c in k), 'is': lambda k: 'is' + k[0].upper() + k[1:],
        'an underscore before': lambda k: '_' + k, 'a blank behind': lambda k: k + ' ', 'a capital': lambda k: k[0].upper() + k[1:],
        'an escape': lambda k: '\\u%04x' % ord(k[0]) + k[1:]}


def with_value(body, field, text):
    """The body's text with the value of `field`, anywhere in it, replaced."""
    mark = '@@MARK@@'

    def swap(value):
        if isinstance(value, dict):
            return {k: mark if k == field else swap(v) for k, v in value.items()}
        return [swap(v) for v in value] if isinstance(value, list) else value

    return json.dumps(swap(body), separators=(',', ':'), ensure_ascii=False).replace(f'"{mark}"', text)


def with_key(body, field, how):
    return json.dumps(body, separators=(',', ':')).replace(f'"{field}":', f'"{KEYS[how](field)}":')


def texts(body, values, renamed):
    """(label, text) of the body with each odd value, and with each of its names in other letters."""
    for field, odd in values:
        for value in odd:
            yield f'{field} {value}', with_value(body, field, value)
    for field in renamed:
        for how in KEYS:
            yield f'{field}, {how}', with_key(body, field, how)


def alone(s, server, label, code, ext, text):
    """One request on a connection of its own."""
    c = s.connect(server, 'm')
    s.call(c, label, code, ext, text if isinstance(text, bytes) else text.encode(), wait=3)
    return c


@scenario('b1.dialect1')
def groups(s):
    """UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: what the group then is."""
    c = s.connect('b1')
    base = {**group_config('GROUP'), 'retryMaxTimes': 7, 'consumeEnable': False}
    names = {}
    for label, text in texts(base, (('retryMaxTimes', NUMBERS), ('brokerId', NUMBERS), ('consumeEnable', FLAGS)), ('retryMaxTimes', 'consumeEnable', 'groupName')):
        names[label] = s.n(f'g{len(names)}')
        alone(s, 'b1', label, 200, None, text.replace('"GROUP"', f'"{names[label]}"')).close()
    table = bodies.FastJson(s.setup(c, 201).body.decode()).root['subscriptionGroupTable']
    for label, name in names.items():
        s.check(f'is: {label}', table.get(name, 'absent'))


@scenario('b1.dialect2')
def beats(s):
    """HEART_BEAT: what the broker then knows of the group."""
    c = s.connect('b1')
    s.topic(c, s.n())
    body = {'clientID': 'CLIENT', 'consumerDataSet': [consumer('GROUP', subscription(s.n(), 'A'))], 'producerDataSet': [{'groupName': 'PRODUCER'}]}
    odd = (('subVersion', NUMBERS), ('subString', TEXTS), ('tagsSet', LISTS), ('codeSet', LISTS + ('["65"]', '[65.0]', '[65.9]', '["65.0"]', '[" 65 "]', '[2147483648]')),
           ('consumeType', WORDS), ('messageModel', WORDS), ('unitMode', FLAGS), ('subscriptionDataSet', ('"x"', '[1]', '5')),
           ('producerDataSet', tuple(x for x in SETS if x != '[[]]') + ('null', '[null]', '[{}]', '[{"groupName":null}]')), ('consumerDataSet', SETS + ('null', '[null]')))
    for n, (label, text) in enumerate(texts(body, odd, ('consumerDataSet', 'groupName', 'subscriptionDataSet', 'subString', 'subVersion', 'consumeType'))):
        for mark in ('CLIENT', 'GROUP', 'PRODUCER'):
            text = text.replace(f'"{mark}"', f'"{s.n(mark[0].lower() + str(n))}"')
        m = alone(s, 'b1', label, 34, None, text)
        s.call(c, f'{label}: the group', 203, {'consumerGroup': s.n(f'g{n}')})
        s.call(c, f'{label}: the producers', 204, {'producerGroup': s.n(f'p{n}')})
        m.close()


@scenario('b1.dialect3')
def whole(s):
    """A heartbeat whose text as a whole is odd."""
    c = s.connect('b1')
    s.topic(c, s.n())
    plain = json.dumps({'clientID': 'CLIENT', 'consumerDataSet': [consumer('GROUP', subscription(s.n(), 'A'))], 'producerDataSet': []}, separators=(',', ':'))
    own = '{"@type":"org.apache.rocketmq.common.protocol.heartbeat.HeartbeatData",'
    cases = {
        'a mark before': '\ufeff' + plain, 'blanks': ' \n\t' + plain + ' \r\n', 'text behind': plain + 'x', 'an object behind': plain + '{}', 'a zero behind': plain + '\0',
        'a comment before': '/*a*/' + plain, 'a line before': '//a\n' + plain, 'a comment behind': plain + '/*a*/', 'hash': '#a\n' + plain, 'single quotes': plain.replace('"', "'"),
        'no quotes around names': plain.replace('"clientID"', 'clientID'), 'a comma at the end': plain[:-1] + ',}', 'a comma at the begin': '{,' + plain[1:],
        'two commas': plain.replace(',"producer', ',,"producer'), 'no comma': plain.replace(',"producer', '"producer'), 'no colon': plain.replace('"producerDataSet":', '"producerDataSet"'),
        'twice': plain[:-1] + ',"clientID":"CLIENT"}', 'twice, the last counts': '{"clientID":"x",' + plain[1:], 'in an array': '[' + plain + ']', 'a foreign type': '{"@type":"java.lang.Object",' + plain[1:],
        'its own type': own + plain[1:], 'an unknown type': '{"@type":"x.Y",' + plain[1:], 'unclosed': plain[:-1], 'a brace too many': plain + '}', 'four bytes': plain.replace('"A"', '"\U0001F680"'),
        'unknown objects': plain[:-1] + ',"x":{"y":[{"z":null}]},"w":1.5}', 'nothing but blanks': '  ', 'true': 'true', 'the empty text': '""', 'form feeds': plain.replace(',', ',\f'),
        'an unfinished comment': plain[:-1] + '/*}', 'newlines': plain.replace(',', ',\n'), 'a large unknown number': plain[:-1] + ',"x":' + '9' * 400 + '}', 'an unknown word': plain[:-1] + ',"x":abc}',
    }
    for n, (label, text) in enumerate(cases.items()):
        m = alone(s, 'b1', label, 34, None, text.replace('CLIENT', s.n(f'c{n}')).replace('GROUP', s.n(f'g{n}')))
        s.call(c, f'{label}: the group', 203, {'consumerGroup': s.n(f'g{n}')})
        m.close()


@scenario('b1.dialect4')
def others(s):
    """Locks, and the check of a client's settings."""
    s.topic(s.connect('b1'), s.n(), 8)
    lock = {'clientId': s.n('c'), 'consumerGroup': s.n('g'), 'mqSet': [{'brokerName': 'wire-a', 'queueId': 0, 'topic': s.n()}]}
    check = {'clientId': s.n('c'), 'group': s.n('g'), 'subscriptionData': subscription(s.n(), 'A')}
    for code in (41, 42):
        for label, text in texts(lock, (('queueId', NUMBERS), ('mqSet', ('[[]]', '[1]', '5', '"x"'))), ('queueId', 'mqSet', 'consumerGroup')):
            alone(s, 'b1', f'{code} {label}', code, None, text).close()
    for label, text in texts(check, (('subString', TEXTS), ('subVersion', NUMBERS), ('tagsSet', LISTS), ('expressionType', TEXTS), ('group', TEXTS)), ()):
        alone(s, 'b1', f'46 {label}', 46, None, text).close()


@scenario('b1.dialect5')
def headers(s):
    """The header itself."""
    s.topic(s.connect('b1'), s.n(), 8)
    fields = '{"topic":"%s","queueId":"0"}' % s.n()
    plain = '{"code":30,"flag":0,"language":"JAVA","opaque":OPAQUE,"serializeTypeCurrentRPC":"JSON","version":409,"extFields":%s}' % fields

    def ask(label, text):
        c = s.connect('b1')
        s.call(c, label, 30, raw_json=text, wait=1.0)
        c.close()

    # As a text, Java writes these anew.
    numbers = [n for n in NUMBERS if n not in ('5.', '0.1e1', '3e0')]
    for field, value in (('code', '30'), ('flag', '0'), ('version', '409')):
        for odd in NUMBERS:
            ask(f'{field} {odd}', plain.replace(f'"{field}":{value}', f'"{field}":{odd}'))
    for odd in WORDS + tuple(t for t in TEXTS if t != 'undefined') + ('"CPP"', '"java"', '0', '12'):
        ask(f'language {odd}', plain.replace('"language":"JAVA"', f'"language":{odd}'))
    for odd in TEXTS:
        ask(f'remark {odd}', plain.replace('"version"', f'"remark":{odd},"version"'))
        ask(f'field {odd}', plain.replace('"queueId":"0"', f'"queueId":"0","x":{odd}'))
    for odd in numbers:
        ask(f'queueId {odd}', plain.replace('"queueId":"0"', f'"queueId":{odd}'))
    for odd in LISTS + SETS + ('null', '{}'):
        ask(f'fields {odd}', plain.replace(fields, odd))
    for field in ('code', 'opaque', 'extFields', 'language', 'version', 'flag'):
        for how in KEYS:
            ask(f'{field}, {how}', plain.replace(f'"{field}":', f'"{KEYS[how](field)}":'))
    for label, text in (('a mark before', '\ufeff' + plain), ('text behind', plain + 'x'), ('in an array', '[' + plain + ']'), ('opaque with a fraction', plain.replace('OPAQUE', 'OPAQUE.0')),
                        ('unknown objects', plain[:-1] + ',"x":{"y":[1,{"z":2}]}}'), ('fields twice', plain[:-1] + ',"extFields":{"topic":"x"}}'), ('fields twice, null last', plain[:-1] + ',"extFields":null}'),
                        ('a field twice', plain.replace('"queueId":"0"', '"queueId":"7","queueId":"0"'))):
        ask(label, text)


@scenario('nsb.dialect')
def name_server(s):
    """Registrations and versions at a name server."""
    topic = {'topicName': 'TOPIC', 'readQueueNums': 4, 'writeQueueNums': 4, 'perm': 6, 'topicFilterType': 'SINGLE_TAG', 'topicSysFlag': 0, 'order': False}
    version = {'counter': 3, 'timestamp': 1600000000000}
    body = {'filterServerList': [], 'topicConfigSerializeWrapper': {'dataVersion': version, 'topicConfigTable': {'TOPIC': topic}}}
    odd = (('readQueueNums', NUMBERS), ('order', FLAGS), ('counter', NUMBERS), ('dataVersion', ('""', '5', '"x"')), ('topicConfigTable', ('5', '"x"')), ('topicConfigSerializeWrapper', ('""', '5', '"x"')),
           ('filterServerList', LISTS))
    me = {}
    for n, (label, text) in enumerate(texts(body, odd, ('readQueueNums', 'topicConfigTable', 'topicConfigSerializeWrapper', 'counter', 'perm'))):
        ext = header(s.n(f'b{n}'), 7300 + n, s.n('c'))
        me = {k: ext[k] for k in ('brokerName', 'brokerAddr', 'clusterName', 'brokerId')}
        m = alone(s, 'nsb', label, 103, ext, text.replace('TOPIC', s.n(f't{n}')))
        s.call(m, f'{label}: the route', 105, {'topic': s.n(f't{n}')})
        s.call(m, f'{label}: the version', 322, me, json.dumps(version).encode())
        s.setup(m, 104, me)
        m.close()
    for label, text in texts(version, (('counter', NUMBERS), ('timestamp', NUMBERS)), ('counter', 'timestamp')):
        alone(s, 'nsb', f'version: {label}', 322, me, text).close()
