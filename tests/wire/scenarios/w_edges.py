"""Requests at the edges: each text of each request long, foreign, blank or of another kind of name; fields alone, null, doubled, in
other letters, of other JSON types; every code with the fields of all requests at once, on every port and on a slave."""
import json

import wire
from dsl import scenario
from scenarios.l_forms import kind, loose, table
from scenarios.t_pair import follows

# Texts that a request may carry in place of a name.
TEXTS = {
    'a blank': ' ', 'blanks around': ' a ', '127 letters': 'a' * 127, '128 letters': 'a' * 128, '255 letters': 'b' * 255,
    '256 letters': 'b' * 256, '70,000 letters': 'c' * 70000, 'letters of others': 'тема-主题-ü', 'a pair': '\U0001F680', 'a path': '../../x',
    'a quote': '"\\', 'a line': 'a\nb', 'a separator': 'a\x01b\x02c', 'a space name': 'ns%a', 'percent': '%%', 'a zero': 'a\x00b',
    'a retry topic': '%RETRY%', 'a dead-letter topic': '%DLQ%x', 'null': 'null', 'the default topic': 'TBW102', 'a tools group': 'TOOLS_CONSUMER', 'a system group': 'CID_RMQ_SYS_x',
}
# A request that waits for a client, or makes what all others see.
SHARED = {'the default topic', 'a tools group', 'a system group', 'a retry topic', 'a dead-letter topic'}
CHANGES = {'update topic', 'update group', 'delete group', 'clone offsets', 'send', 'send v2', 'send batch', 'update offset', 'lock', 'unlock',
           'heartbeat', 'unregister', 'reply', 'reply v2', 'send back', 'reset offset'}


def vague(code):
    return {**loose(code), 'record.bornHost': 'drop'}


def is_text(value):
    text = str(value)
    return not isinstance(value, bool) and text not in ('true', 'false') and not text.lstrip('-').isdigit()


def texts(s, stype):
    # No name server knows this broker: topics with such names stand in no other scenario's lists.
    c = s.connect('b3')
    for name, code, header, body in table(s, c):
        for field, value in (header or {}).items():
            if field in ('properties', 'i') or not is_text(value) or (name, field) == ('update topic', 'topicFilterType'):
                continue
            for label, text in TEXTS.items():
                if name in CHANGES and label in SHARED or stype == wire.BINARY and label == 'a zero':
                    continue
                # Java keeps a queue for whatever topic it was asked about, and names it like a file; the answer to 321 depends on that.
                if field == 'topic' and (code == 321 or code in (11, 30) and label in ('a path', 'a zero', '70,000 letters')):
                    continue
                own = s.connect('b3')
                s.call(own, f'{name} with {label} as {field}', code, {**header, field: text}, body, vol=vague(code), kind=kind(code),
                       wait=4, stype=stype)
                own.close()
        s.drain(c, 0.01)


@scenario('b3.edges')
def texts_json(s):
    """Each text of each request."""
    texts(s, wire.JSON)


@scenario('b3.edges')
def texts_binary(s):
    """The same in the binary header form."""
    texts(s, wire.BINARY)


@scenario('b1.edges')
def alone(s):
    """Each field of each request without all others; none of them in small letters; null; given twice; of another JSON type."""
    c = s.connect('b1')

    def raw(code, fields):
        # The text of a field comes as it is: `fields` is text already.
        return '{"code":%d,"extFields":{%s},"flag":0,"language":"JAVA","opaque":OPAQUE,"serializeTypeCurrentRPC":"JSON","version":409}' % (
            code, fields)

    for name, code, header, body in table(s, c):
        if not header:
            continue
        fields = {k: v if isinstance(v, str) else str(v).lower() if isinstance(v, bool) else str(v) for k, v in header.items()}

        def text(without=(), *more):
            return ','.join([f'{json.dumps(k)}:{json.dumps(v)}' for k, v in fields.items() if k not in without] + list(more))

        rules = {'vol': vague(code), 'kind': kind(code), 'wait': 4}
        s.call(c, f'{name} in small letters', code, {k.lower(): v for k, v in fields.items()}, body, **rules)
        s.call(c, f'{name} in capitals', code, {k.upper(): v for k, v in fields.items()}, body, **rules)
        s.call(c, f'{name} with unknown fields', code, {**fields, 'x': 'y', '': 'z', 'topic ': 'q', 'nil': ''}, body, **rules)
        for field, value in fields.items():
            if code not in (17, 36, 314):
                s.call(c, f'{name} with only {field}', code, {field: value}, body, **rules)
            s.call(c, f'{name} with null as {field}', code, None, body, raw_json=raw(code, text([field], f'{json.dumps(field)}:null')), **rules)
            s.call(c, f'{name} with {field} twice', code, None, body,
                   raw_json=raw(code, text([field], f'{json.dumps(field)}:"7",{json.dumps(field)}:{json.dumps(value)}')), **rules)
            if value.lstrip('-').isdigit() or value in ('true', 'false'):
                s.call(c, f'{name} with {field} without quotes', code, None, body,
                       raw_json=raw(code, text([field], f'{json.dumps(field)}:{value}')), **rules)
            for label, odd in (('+', f'+{value}'), ('a blank before', f' {value}'), ('a blank behind', f'{value} '), ('zeros', f'000{value}'),
                               ('L', f'{value}L'), ('hexadecimal', '0x1')):
                if value.isdigit():
                    s.call(c, f'{name} with {label} as {field}', code, {**fields, field: odd}, body, **rules)
    s.drain(c, 0.2)


def kitchen_sink(s):
    """The fields of all requests at once."""
    topic, group = s.n(), s.n('g')
    return {
        'topic': topic, 'group': group, 'consumerGroup': group, 'producerGroup': s.n('p'), 'groupName': group, 'queueId': 0, 'queueOffset': 0,
        'commitOffset': 1, 'offset': 2**40, 'timestamp': 0, 'maxMsgNums': 1, 'sysFlag': 4, 'suspendTimeoutMillis': 10, 'subscription': '*',
        'subVersion': 1, 'clientID': s.n('cid'), 'clientId': s.n('cid'), 'clientAddr': s.n('cid'), 'key': 'k', 'maxNum': 1,
        'beginTimestamp': 0, 'endTimestamp': 1, 'msgId': '7F0000010000000000000000000F4240', 'index': 0, 'count': 1, 'defaultTopic': 'TBW102',
        'defaultTopicQueueNums': 1, 'bornTimestamp': 1700000000000, 'flag': 0, 'properties': '', 'delayLevel': 1, 'originMsgId': 'x',
        'originTopic': topic, 'isForce': 'true', 'statsName': 'TOPIC_PUT_NUMS', 'statsKey': topic, 'isOrder': 'false', 'srcGroup': group,
        'destGroup': s.n('g2'), 'commitOrRollback': 0, 'tranStateTableOffset': 0, 'commitLogOffset': 2**40, 'cluster': 'WireCluster', 'clusterName': 'WireCluster', 'brokerName': 'wire-x', 'brokerAddr': '127.0.0.1:9',
        'brokerId': 0, 'namespace': s.n('space'), 'value': 'v', 'compareGroup': group, 'jstackEnable': 'false', 'filterGroups': '',
    }


# Served by nobody in 4.9, or told among the deliberate differences: 5.x' questions; cleaning and deletion are elsewhere; 25 takes the
# body for properties; 52, 54 want access control; 26, 28 and the lists tell everything.
ELSEWHERE = {21, 25, 26, 28, 43, 45, 50, 51, 52, 53, 54, 60, 61, 201, 206, 305, 306, 308, 315, 316, 317, 318, 328, 329, 343, 345, 351, 352, 353, 354, 355, 361, 362,
             363, 370}


def every_code(s, server, stype, language='JAVA', version=wire.V4_9_8):
    c = s.connect(server)
    sink = kitchen_sink(s)
    master = s.connect({'b1fast': 'b1', 'b5': 'b4'}.get(server, server))
    s.topic(master, s.n(), 1)
    s.group(master, s.n('g'))
    if server == 'b5':
        follows(s, master, c)
    for code in range(420):
        if code in ELSEWHERE or code in (17, 215) and server.startswith('b5'):
            continue
        s.call(c, f'code {code}', code, sink, b'', vol=vague(code), kind=kind(code), wait=3,
               stype=stype, language=language, version=version)
    s.drain(c, 0.2)


@scenario('b1.edgecodes')
def codes_json(s):
    """Every code to 419 with the fields of all requests and no body."""
    every_code(s, 'b1', wire.JSON)


@scenario('b1.edgecodes')
def codes_binary(s):
    """The same in binary, from a C++ client of long ago."""
    every_code(s, 'b1', wire.BINARY, 'CPP', 1)


@scenario('b1.edgecodes')
def codes_fast(s):
    """The same on the second port."""
    every_code(s, 'b1fast', wire.JSON, 'GO', 0)


@scenario('b4.edgecodes')
def codes_slave(s):
    """The same to a slave."""
    every_code(s, 'b5', wire.JSON)


@scenario('b1.edgecodes')
def odd_bodies(s):
    """Every code without a body in 4.9 that gets one, and with a body of the wrong kind."""
    c = s.connect('b1')
    for name, code, header, body in table(s, c):
        if isinstance(body, dict) or code in (10, 310, 320, 324, 325):
            continue
        for label, odd in (('an object', b'{"a":1}'), ('bytes', bytes(range(256))), ('a mebibyte', b'x' * 2**20)):
            s.call(c, f'{name} with {label} behind it', code, header, odd, vol=vague(code), kind=kind(code), wait=4)
    s.drain(c, 0.2)
