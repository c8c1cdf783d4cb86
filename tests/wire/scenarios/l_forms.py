"""Every request a client or tool sends to a broker, in every form: well made in both header serializations, one-way,
with each field missing, with each field unreadable, without header or body."""
import wire
from dsl import (batch, consumer, group_config, msg_id_offset, pull, scenario, subscription, v1, v2)

NUMBERS = ('x', '', '1.5', '99999999999999999999')
FLAGS = ('maybe', '', '1', 'TRUE')
# What depends on the other scenarios or on the clock; its shape is compared elsewhere.
VOLATILE = {'body.dataVersion': 'drop', '@lazy': True, 'body.*.sum': 'any', 'body.*.tps': 'any',
            'body.*.avgpt': 'any', 'body.consumeTps': 'any', 'body.brokerAddr': 'any', 'body.totalDiff': 'any'}


def table(s, c):
    """(name, code, header or None, body) of each request, about a topic with three messages and a group with a member."""
    topic, group = s.n(), s.n('g')
    s.topic(c, topic, 2)
    s.group(c, group)
    first = None
    for i in range(3):
        frame = s.put(c, topic, b'm%d' % i, KEYS=s.n('k'), UNIQ_KEY=s.n(f'u{i}'), TAGS='A')
        first = first or frame
    offset = msg_id_offset(first.ext['msgId'])
    queue = {'topic': topic, 'queueId': 0}
    own = {'consumerGroup': group}
    mq = {'brokerName': 'wire-a', **queue}
    s.setup(c, 15, {**own, **queue, 'commitOffset': 1})
    s.setup(c, 15, {**own, 'topic': topic, 'queueId': 1, 'commitOffset': 0})
    lock = {'clientId': s.n('cid'), 'consumerGroup': group, 'mqSet': [mq]}
    return [
        ('send', 10, v1(topic, queue=1), b'x'),
        ('send v2', 310, v2(topic, queue=1), b'x'),
        ('send batch', 320, v2(topic, queue=1, batch=True), batch((b'1', ''), (b'2', 'TAGS\x01A'))),
        ('pull', 11, pull(group, topic), b''),
        ('query message', 12, {'topic': topic, 'key': s.n('k'), 'maxNum': '32', 'beginTimestamp': '0',
                               'endTimestamp': str(2**62), '_UNIQUE_KEY_QUERY': 'false'}, b''),
        ('query offset', 14, {**own, **queue}, b''),
        ('update offset', 15, {**own, **queue, 'commitOffset': 1}, b''),
        ('search offset', 29, {**queue, 'timestamp': 0}, b''),
        ('max offset', 30, queue, b''),
        ('min offset', 31, queue, b''),
        ('earliest store time', 32, queue, b''),
        ('view message', 33, {'offset': offset}, b''),
        ('send back', 36, {**own_group(group), 'offset': offset, 'delayLevel': 5, 'originMsgId': 'x', 'originTopic': topic,
                           'unitMode': 'false', 'maxReconsumeTimes': 16}, b''),
        ('end transaction', 37, {'producerGroup': s.n('p'), 'tranStateTableOffset': 0, 'commitLogOffset': offset,
                                 'commitOrRollback': 8, 'fromTransactionCheck': 'false', 'msgId': 'x', 'transactionId': 'x'}, b''),
        ('consumer list', 38, own, b''),
        ('lock', 41, None, lock),
        ('unlock', 42, None, lock),
        ('check config', 46, None, {'clientId': s.n('cid'), 'group': group, 'subscriptionData': subscription(topic, 'A')}),
        ('update group', 200, None, group_config(s.n('g2'))),
        ('topic stats', 202, {'topic': topic}, b''),
        ('consumer connections', 203, own, b''),
        ('producer connections', 204, {'producerGroup': s.n('p')}, b''),
        ('delete group', 207, {'groupName': s.n('g2'), 'removeOffset': 'false'}, b''),
        ('consume stats', 208, {**own, 'topic': topic}, b''),
        ('reset offset', 222, {'topic': topic, 'group': group, 'timestamp': -1, 'isForce': 'true'}, b''),
        ('consumer status', 223, {'topic': topic, 'group': s.n('nobody'), 'clientAddr': s.n('cid')}, b''),
        ('consumed by', 300, {'topic': topic}, b''),
        ('time span', 303, {'topic': topic, 'group': group}, b''),
        ('system topics', 305, None, b''),
        ('running info', 307, {**own, 'clientId': s.n('nobody'), 'jstackEnable': 'false'}, b''),
        ('correction', 308, {'topic': topic, 'compareGroup': group}, b''),
        ('consume directly', 309, {**own, 'clientId': s.n('nobody'), 'msgId': first.ext['msgId'], 'brokerName': 'wire-a'}, b''),
        ('clone offsets', 314, {'srcGroup': group, 'destGroup': s.n('g3'), 'topic': topic, 'offline': 'true'}, b''),
        ('statistics', 315, {'statsName': 'TOPIC_PUT_NUMS', 'statsKey': topic}, b''),
        ('consume queue', 321, {**queue, 'index': 0, 'count': 2, 'consumerGroup': group}, b''),
        ('resume check', 323, {'msgId': first.ext['msgId'][:16] + '%016X' % 2**40}, b''),
        ('reply', 324, v1('WireCluster_REPLY_TOPIC', props={'MSG_TYPE': 'reply', 'REPLY_TO_CLIENT': s.n('nobody')}), b'x'),
        ('reply v2', 325, v2('WireCluster_REPLY_TOPIC', props={'MSG_TYPE': 'reply', 'REPLY_TO_CLIENT': s.n('nobody')}), b'x'),
        ('heartbeat', 34, None, {'clientID': s.n('cid'), 'consumerDataSet': [consumer(group, subscription(topic))],
                                 'producerDataSet': [{'groupName': s.n('p')}]}),
        ('consumer list with a member', 38, own, b''),
        ('producer connections with one', 204, {'producerGroup': s.n('p')}, b''),
        ('unregister', 35, {'clientID': s.n('cid'), 'producerGroup': s.n('p'), 'consumerGroup': group}, b''),
        ('update topic', 17, {'topic': s.n('t2'), 'defaultTopic': 'TBW102', 'readQueueNums': 1, 'writeQueueNums': 1, 'perm': 6,
                              'topicFilterType': 'SINGLE_TAG', 'topicSysFlag': 0, 'order': 'false'}, b''),
    ]


def own_group(group):
    return {'group': group}


def loose(code):
    """Where not every request is stored by both, ids cannot be told apart by their order."""
    return {**volatile(code), 'ext.queueId': 'int', 'ext.queueOffset': 'int', 'ext.msgId': 'any', 'record.phys': 'any',
            'body.*brokerOffset': 'any', 'body.*physicOffset': 'any'}


def volatile(code):
    return {**VOLATILE, 'ext.queueOffset': 'int'} if code in (324, 325) else VOLATILE


def kind(code):
    return 'records' if code in (11, 12, 33) else 'auto'


@scenario('b1.forms')
def json_form(s):
    """Each request, well made."""
    c = s.connect('b1')
    for name, code, header, body in table(s, c):
        s.call(c, name, code, header, body, vol=volatile(code), kind=kind(code))
    s.drain(c, 0.2)


@scenario('b1.forms')
def binary_form(s):
    """Each request in the binary header form."""
    c = s.connect('b1')
    for name, code, header, body in table(s, c):
        s.call(c, name, code, header, body, vol=volatile(code), kind=kind(code), stype=wire.BINARY)
    s.drain(c, 0.2)


@scenario('b1.forms')
def fast_port(s):
    """Each request on the second port, which serves all but pulls."""
    main, c = s.connect('b1'), s.connect('b1fast')
    for name, code, header, body in table(s, main):
        s.call(c, name, code, header, body, vol=volatile(code), kind=kind(code))
    s.drain(c, 0.2)


@scenario('b1.forms')
def one_way(s):
    """Each request as a one-way: no answer; then what they changed."""
    c = s.connect('b1')
    pending = [(name, code, s.send(c, code, header, body, flag=2)) for name, code, header, body in table(s, c)]
    s.pause(1.0)
    for name, code, p in pending:
        s.answer(name, p, wait=0.01, kind=kind(code))
    for q in (0, 1):
        s.call(c, f'messages in queue {q}', 30, {'topic': s.n(), 'queueId': q})
    s.call(c, 'offset', 14, {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': 0})
    s.call(c, 'topic was made', 202, {'topic': s.n('t2')})


@scenario('b1.forms')
def other_languages(s):
    """Each request from clients of other languages and releases; the answers say JAVA, as Java's."""
    c = s.connect('b1')
    requests = table(s, c)
    for (name, code, header, body), (language, version) in zip(requests, [
            ('CPP', 312), ('GO', 317), ('OTHER', 0), ('RUST', 401), ('PYTHON', 252), ('DOTNET', 100), ('JAVA', 479)] * 7):
        s.call(c, f'{name}, {language} {version}', code, header, body, vol=volatile(code), kind=kind(code),
               language=language, version=version)
    s.drain(c, 0.2)


@scenario('b1.missing')
def missing(s):
    """Each request without each of its fields, without header, without body."""
    c = s.connect('b1')
    for name, code, header, body in table(s, c):
        for field in header or ():
            s.call(c, f'{name} without {field}', code, {k: v for k, v in header.items() if k != field}, body,
                   vol=loose(code), kind=kind(code), wait=1.5)
        if header:
            s.call(c, f'{name} with an empty header', code, {}, body, vol=volatile(code), kind=kind(code), wait=1.5)
            s.call(c, f'{name} without header', code, None, body, vol=volatile(code), kind=kind(code), wait=1.5)
        if isinstance(body, dict):
            for field in body:
                if field == 'clientID':
                    continue        # Java's tables then hold a client without a name, and fail later on
                for label, odd in (('without {} in the body', {k: v for k, v in body.items() if k != field}),
                                   ('with null as {}', {**body, field: None})):
                    own = s.connect('b1')
                    s.call(own, f'{name} {label.format(field)}', code, header, odd)
                    own.close()
            for label, bad in (('no body', b''), ('an open object', b'{'), ('an array', b'[]'), ('null', b'null'), ('a number', b'7'),
                               ('a string', b'"x"'), ('an empty object', b'{}'), ('text behind it', b'{}x')):
                own = s.connect('b1')
                s.call(own, f'{name} with {label}', code, header, bad)
                own.close()
    s.drain(c, 0.2)


@scenario('b1.odd')
def unreadable(s):
    """Each request with values that are not what they should be."""
    c = s.connect('b1')
    for name, code, header, body in table(s, c):
        for field, value in (header or {}).items():
            text = str(value)
            if field in ('properties', 'i') or (code, field) == (321, 'topic'):
                continue
            if text in ('true', 'false') or isinstance(value, bool):
                odd = FLAGS
            elif text.lstrip('-').isdigit():
                odd = NUMBERS
            else:
                odd = ('',)
            for bad in odd:
                s.call(c, f'{name} with {field}={bad!r}', code, {**header, field: bad}, body,
                       vol=loose(code), kind=kind(code), wait=1.5)
    s.drain(c, 0.2)
