"""Membership in other dialects and combinations: forms of heartbeats, several groups and connections, unregistering, settings."""
import json

import wire
from dsl import consumer, group_config, heartbeat, java_hash, pull, scenario, subscription, v2


def snapshot(s, c, label, *groups):
    for group in groups:
        s.call(c, f'{label}: members of {group[-2:]}', 38, {'consumerGroup': group})
        s.call(c, f'{label}: connections of {group[-2:]}', 203, {'consumerGroup': group})


def dialects(s):
    """Heartbeats as clients write them: name, body, language, version."""
    topic = s.n()
    java = heartbeat(s.n('java'), [consumer(s.n('java'), subscription(topic, 'A || B', 1700000000001))], [s.n('p'), 'CLIENT_INNER_PRODUCER'])
    cpp = ('{"clientID":"%s","consumerDataSet":[{"consumeFromWhere":0,"consumeType":1,"groupName":"%s","messageModel":1,"subscriptionDataSet":'
           '[{"codeSet":["2598919"],"subString":"TagA","subVersion":"1700000000001","tagsSet":["TagA"],"topic":"%s"},'
           '{"codeSet":[],"subString":"*","subVersion":"1700000000002","tagsSet":[],"topic":"%%RETRY%%%s"}]}],"producerDataSet":[{"groupName":"%s"}]}\n'
           % (s.n('cpp'), s.n('cpp'), topic, s.n('cpp'), s.n('p')))
    go = {'clientID': s.n('go'), 'producerDataSet': [{'groupName': s.n('p')}], 'consumerDataSet': [
        {'groupName': s.n('go'), 'consumeType': 'CONSUME_PASSIVELY', 'messageModel': 'Clustering', 'consumeFromWhere': 'CONSUME_FROM_LAST_OFFSET',
         'subscriptionDataSet': [{'classFilterMode': False, 'topic': topic, 'subString': 'TagA', 'tagsSet': ['TagA'], 'codeSet': [java_hash('TagA')],
                                  'subVersion': 1700000000000000001, 'expressionType': 'TAG'}], 'unitMode': False}]}
    node = {'clientID': s.n('node'), 'consumerDataSet': [
        {'consumeFromWhere': 'CONSUME_FROM_LAST_OFFSET', 'consumeType': 'CONSUME_PASSIVELY', 'groupName': s.n('node'), 'messageModel': 'CLUSTERING',
         'subscriptionDataSet': [{'classFilterMode': False, 'codeSet': [], 'subString': '*', 'subVersion': 1700000000003, 'tagsSet': [], 'topic': topic}],
         'unitMode': False}], 'producerDataSet': []}
    five = {**heartbeat(s.n('five'), [consumer(s.n('five'), {**subscription(topic), 'filterClassSource': None})], [s.n('p')]),
            'heartbeatFingerprint': 0, 'withoutSub': False}
    python = {'clientID': s.n('py'), 'consumerDataSet': [consumer(s.n('py'), subscription(topic), kind='CONSUME_ACTIVELY', model='BROADCASTING',
                                                                where='CONSUME_FROM_TIMESTAMP')], 'producerDataSet': []}
    return [('java', java, 'JAVA', 409), ('cpp', cpp.encode(), 'CPP', 312), ('go', go, 'GO', 317), ('node', node, 'OTHER', 259),
            ('five', five, 'JAVA', 479), ('py', python, 'PYTHON', 252)]


@scenario('b1.members')
def forms(s):
    """Each dialect in both header forms, twice; what the broker tells about it."""
    c = s.connect('b1')
    s.topic(c, s.n())
    for stype, form in ((wire.JSON, 'JSON'), (wire.BINARY, 'binary')):
        for name, body, language, version in dialects(s):
            m = s.connect('b1', f'{name}{form}')
            label = f'{name} {form}'
            s.call(m, f'{label}: beats', 34, None, body, stype=stype, language=language, version=version)
            s.push(f'{label}: is told', m, 40, timeout=1)
            s.call(m, f'{label}: beats again', 34, None, body, stype=stype, language=language, version=version)
            s.no_push(f'{label}: is not told again', m, 40, timeout=0.3)
            snapshot(s, c, label, s.n(name))
            s.call(c, f'{label}: retry topic', 202, {'topic': '%RETRY%' + s.n(name)})
            s.call(c, f'{label}: producers', 204, {'producerGroup': s.n('p')})
            s.call(m, f'{label}: unregisters', 35, {'clientID': s.n(name), 'producerGroup': s.n('p'), 'consumerGroup': s.n(name)}, stype=stype)
            s.call(c, f'{label}: members then', 38, {'consumerGroup': s.n(name)})
            m.close()


@scenario('b1.members')
def enums(s):
    """The words of a heartbeat, known and unknown, and types that are not what they should be."""
    c = s.connect('b1')
    s.topic(c, s.n())
    n = 0
    for field, values in (('consumeType', ('CONSUME_ACTIVELY', 'CONSUME_PASSIVELY', 'PULL', 'PUSH', 'pull', 0, 1, 2, '', None, True)),
                          ('messageModel', ('CLUSTERING', 'BROADCASTING', 'clustering', 0, 1, 5, '', None)),
                          ('consumeFromWhere', ('CONSUME_FROM_LAST_OFFSET', 'CONSUME_FROM_MIN_OFFSET', 'CONSUME_FROM_TIMESTAMP', 'X', 0, 5, 99, None)),
                          ('unitMode', (True, 'true', 1, 0, 'x', None)), ('more', ('x', {'a': [1]}))):
        for value in values:
            n += 1
            m, group = s.connect('b1', f'm{n}'), s.n(f'g{n}')
            body = heartbeat(s.n(f'c{n}'), [{**consumer(group, subscription(s.n())), field: value}])
            s.call(m, f'{field} {value!r}', 34, None, body)
            snapshot(s, c, f'{field} {value!r}', group)
    for field, values in (('subVersion', ('1', '1.5', 1.5, None, -1, 'x', 2**63)), ('codeSet', (['65'], [65.0], [None], None, ['x'], 5)),
                          ('tagsSet', ([1], [None], None, 'A')), ('subString', (None, 1, '', 'A||B')), ('topic', (None, '', 5)),
                          ('expressionType', (None, 'NOPE', '', 'tag', 1)), ('classFilterMode', (True, 'true', None, 1))):
        for value in values:
            n += 1
            m, group = s.connect('b1', f'm{n}'), s.n(f'g{n}')
            body = heartbeat(s.n(f'c{n}'), [consumer(group, {**subscription(s.n(), 'A'), field: value})])
            s.call(m, f'{field} {value!r}', 34, None, body)
            snapshot(s, c, f'{field} {value!r}', group)


@scenario('b1.members')
def many(s):
    """Several groups a client, several clients a connection, several connections a client."""
    a, b, c = s.connect('b1', 'a'), s.connect('b1', 'b'), s.connect('b1', 'c')
    s.topic(c, s.n(), 2)
    s.topic(c, s.n('t2'))
    g1, g2 = s.n('g1'), s.n('g2')
    sub, other = subscription(s.n()), subscription(s.n('t2'))
    s.call(a, 'two groups', 34, None, heartbeat(s.n('ca'), [consumer(g1, sub), consumer(g2, sub, other)], [s.n('p1'), s.n('p2')]))
    told = [a.wait_push(40, 2), a.wait_push(40, 2)]
    s.check('told of both', sorted(s.norm.text(frame.ext['consumerGroup']) for frame in told if frame))
    snapshot(s, c, 'two groups', g1, g2)
    s.call(a, 'a second client on the connection', 34, None, heartbeat(s.n('cb'), [consumer(g1, sub)]))
    s.drain(a)
    snapshot(s, c, 'second client', g1)
    s.call(b, 'the client from another connection', 34, None, heartbeat(s.n('ca'), [consumer(g1, sub)]))
    s.drain(a), s.drain(b)
    snapshot(s, c, 'other connection', g1)
    s.call(b, 'one group only', 34, None, heartbeat(s.n('ca'), [consumer(g2, other)]))
    s.drain(a), s.drain(b)
    snapshot(s, c, 'one group only', g1, g2)
    for label, conn, header in (('by another connection', b, {'clientID': s.n('ca'), 'consumerGroup': g1}), ('of an unknown client', a, {'clientID': s.n('zz'), 'consumerGroup': g2}),
                                ('of an unknown group', a, {'clientID': s.n('ca'), 'consumerGroup': s.n('zz')}),
                                ('of a producer', a, {'clientID': s.n('ca'), 'producerGroup': s.n('p1')}),
                                ('of both', a, {'clientID': s.n('ca'), 'producerGroup': s.n('p2'), 'consumerGroup': g2}),
                                ('twice', a, {'clientID': s.n('ca'), 'producerGroup': s.n('p2'), 'consumerGroup': g2})):
        s.call(conn, f'unregistering {label}', 35, header)
        s.drain(a, 0.2), s.drain(b, 0.2)
        snapshot(s, c, f'unregistered {label}', g1, g2)
        for p in ('p1', 'p2'):
            s.call(c, f'unregistered {label}: producers {p}', 204, {'producerGroup': s.n(p)})
    a.close()
    s.pause(0.3)
    snapshot(s, c, 'one connection closed', g1, g2)
    b.close()
    s.pause(0.3)
    snapshot(s, c, 'both closed', g1, g2)
    for p in ('p1', 'p2'):
        s.call(c, f'both closed: producers {p}', 204, {'producerGroup': s.n(p)})
    s.call(c, 'who consumes', 300, {'topic': s.n()})


@scenario('b1.members')
def subscriptions_change(s):
    """Subscriptions come, change and go; versions; what pulls then find."""
    a, c, group = s.connect('b1', 'a'), s.connect('b1', 'c'), s.n('g')
    for t in ('t', 't2', 't3'):
        s.topic(c, s.n(t))
        s.put(c, s.n(t), b'A', TAGS='A')
        s.put(c, s.n(t), b'B', TAGS='B')
    s.settle(c)
    for label, subs in (('first', [('t', 'A', 1)]), ('same, newer', [('t', 'A', 2)]), ('changed, newer', [('t', 'B', 3)]), ('changed, older', [('t', 'A', 1)]),
                        ('one more', [('t', 'B', 4), ('t2', '*', 4)]), ('another', [('t3', 'A || B', 5)]), ('none', []), ('back', [('t', '*', 6)])):
        s.call(a, label, 34, None, heartbeat(s.n('a'), [consumer(group, *[subscription(s.n(t), sub, v) for t, sub, v in subs])]))
        s.check(f'{label}: told', a.wait_push(40, 0.5) is not None)
        s.drain(a, 0.1)
        snapshot(s, c, label, group)
        for t in ('t', 't2', 't3'):
            s.call(c, f'{label}: pull {t}', 11, pull(group, s.n(t), sysflag=0, subVersion=subs[0][2] if subs else 0), kind='records')
        s.call(c, f'{label}: who consumes t', 300, {'topic': s.n()})


@scenario('b1.members')
def settings(s):
    """Settings of groups and what they change."""
    c, m = s.connect('b1', 'c'), s.connect('b1', 'm')
    s.topic(c, s.n())
    s.put(c, s.n(), b'one')
    for label, over in (('disabled', {'consumeEnable': False}), ('no broadcast', {'consumeBroadcastEnable': False}), ('not from the minimum', {'consumeFromMinEnable': False}),
                        ('two retry queues', {'retryQueueNums': 2}), ('no retry queues', {'retryQueueNums': 0}), ('retry queues -1', {'retryQueueNums': -1}),
                        ('slow to 0', {'whichBrokerWhenConsumeSlowly': 0}), ('broker id 3', {'brokerId': 3}), ('quiet', {'notifyConsumerIdsChangedEnable': False}),
                        ('attributes of 5.x', {'consumeMessageOrderly': True, 'groupSysFlag': 1, 'consumeTimeoutMinute': 15, 'groupRetryPolicy': {'type': 'CUSTOMIZED'}}),
                        ('numbers as words', {'retryMaxTimes': '3', 'brokerId': '0', 'consumeEnable': 'true'}), ('words for numbers', {'retryMaxTimes': 'x'}),
                        ('nulls', {'retryMaxTimes': None, 'consumeEnable': None})):
        group = s.n(label.replace(' ', '').replace('-', '').replace('.', ''))
        s.call(c, label, 200, None, group_config(group, **over))
        for model in ('CLUSTERING', 'BROADCASTING'):
            s.call(m, f'{label}: {model} member', 34, None, heartbeat(s.n('m'), [consumer(group, subscription(s.n()), model=model)]))
            s.check(f'{label}: {model} told', m.wait_push(40, 0.4) is not None)
            s.drain(m, 0.05)
            for flag in (0, 4):
                s.call(c, f'{label}: {model} pull, flag {flag}', 11, pull(group, s.n(), sysflag=flag, subVersion=1), kind='records')
        s.call(c, f'{label}: retry topic', 202, {'topic': '%RETRY%' + group})
        s.call(c, f'{label}: connections', 203, {'consumerGroup': group})
        s.call(m, f'{label}: leaves', 35, {'clientID': s.n('m'), 'consumerGroup': group})
    for name in ('', ' ', 'a b', 'x' * 300, '汉字', 'a/b', s.n('fine-1_%|')):
        s.call(c, f'group name {name[:12]!r}', 200, None, group_config(name))
        s.call(c, f'group name {name[:12]!r} deleted', 207, {'groupName': name, 'removeOffset': 'true'})


@scenario('b1.members')
def locks(s):
    """Locks of queues: members, takers, groups, releases."""
    a, b = s.connect('b1', 'a'), s.connect('b1', 'b')
    queue = lambda i, **over: {'brokerName': 'wire-a', 'queueId': i, 'topic': s.n(), **over}
    body = lambda client, *queues, group='g': {'clientId': s.n(client), 'consumerGroup': s.n(group), 'mqSet': list(queues)}
    steps = [('a takes 0-3', a, 41, body('a', *map(queue, range(4)))), ('b takes 2-5', b, 41, body('b', *map(queue, range(2, 6)))),
             ('a again', a, 41, body('a', *map(queue, range(4)))), ('a takes all', a, 41, body('a', *map(queue, range(6)))),
             ('a gives 2 back', a, 42, body('a', queue(2))), ('b gives 3 back, not its own', b, 42, body('b', queue(3))),
             ('b takes 2 3', b, 41, body('b', queue(2), queue(3))), ('another group', b, 41, body('b', *map(queue, range(4)), group='h')),
             ('twice in a set', b, 41, body('b', queue(9), queue(9))), ('another broker name', b, 41, body('b', queue(0, brokerName='wire-z'))),
             ('another topic', b, 41, body('b', queue(0, topic=s.n('zz')))), ('queue -1', b, 41, body('b', queue(-1))),
             ('without topic', b, 41, body('b', {'brokerName': 'wire-a', 'queueId': 0})), ('without broker', b, 41, body('b', {'topic': s.n(), 'queueId': 77})),
             ('without queue id', b, 41, body('b', {'topic': s.n('yy'), 'brokerName': 'wire-a'})), ('queue id as text', b, 41, body('b', queue('8'))),
             ('more fields', b, 41, {**body('b', queue(50)), 'onlyThisBroker': False, 'x': 1}), ('null inside', b, 41, body('b', None)),
             ('a gives all back', a, 42, body('a', *map(queue, range(10)))), ('b takes all', b, 41, body('b', *map(queue, range(10))))]
    for label, conn, code, content in steps:
        s.call(conn, label, code, None, content)
        s.call(conn, f'{label}, binary', code, None, content, stype=wire.BINARY)
