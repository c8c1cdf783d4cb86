"""Heartbeats, membership, locks, notifications, unregistering."""
import json
from dsl import consumer, heartbeat, pull, scenario, subscription


@scenario('b1')
def heartbeats(s):
    c = s.connect('b1')
    s.topic(c, s.n(), 1)
    full = heartbeat(s.n('c1'), [consumer(s.n('g'), subscription(s.n()))], [s.n('p')])
    s.call(c, 'full', 34, None, full)
    s.push('told itself', c, 40)
    s.call(c, 'same again', 34, None, full)
    s.no_push('nothing changed', c, 40)
    s.call(c, 'list', 38, {'consumerGroup': s.n('g')})
    s.call(c, 'connection', 203, {'consumerGroup': s.n('g')})
    s.call(c, 'producers', 204, {'producerGroup': s.n('p')})
    for label, body in (('no body', b''), ('not json', b'{{{'), ('array', b'[]'), ('null', b'null'), ('{}', b'{}'),
                        ('no client id', json.dumps({**full, 'clientID': None}).encode()),
                        ('no consumers', json.dumps({'clientID': s.n('c2'), 'producerDataSet': [{'groupName': s.n('p2')}]}).encode()),
                        ('no producers', json.dumps({'clientID': s.n('c2'), 'consumerDataSet': []}).encode()),
                        ('null sets', json.dumps({'clientID': s.n('c2'), 'consumerDataSet': None, 'producerDataSet': None}).encode()),
                        ('integer enums', json.dumps({'clientID': s.n('c3'), 'consumerDataSet': [{'consumeFromWhere': 0, 'consumeType': 1, 'groupName': s.n('g3'), 'messageModel': 1, 'subscriptionDataSet': [{'subString': '*', 'subVersion': '17', 'topic': s.n()}]}]}).encode() + b'\n'),
                        ('go', json.dumps({'clientID': s.n('c4'), 'producerDataSet': [], 'consumerDataSet': [{'groupName': s.n('g4'), 'consumeType': 'CONSUME_PASSIVELY', 'messageModel': 'CLUSTERING', 'consumeFromWhere': 'UNKNOWN', 'subscriptionDataSet': [{'classFilterMode': False, 'topic': s.n(), 'subString': 'TagA', 'tagsSet': ['TagA'], 'codeSet': ['2598919'], 'subVersion': 1700000000000000000, 'expressionType': 'TAG'}], 'unitMode': False}]}).encode()),
                        ('no group name', json.dumps({'clientID': s.n('c5'), 'consumerDataSet': [{'consumeType': 'CONSUME_PASSIVELY'}]}).encode()),
                        ('no subscriptions', json.dumps({'clientID': s.n('c6'), 'consumerDataSet': [{'groupName': s.n('g6'), 'consumeType': 'CONSUME_PASSIVELY', 'messageModel': 'CLUSTERING', 'consumeFromWhere': 'CONSUME_FROM_LAST_OFFSET'}]}).encode())):
        d = s.connect('b1')
        s.call(d, label, 34, None, body)
    for g in ('g3', 'g4', 'g6'):
        s.call(c, f'connection of {g}', 203, {'consumerGroup': s.n(g)})
        s.call(c, f'list of {g}', 38, {'consumerGroup': s.n(g)})
    s.call(c, 'list none', 38, {})
    s.call(c, 'list unknown', 38, {'consumerGroup': s.n('nobody')})
    s.call(c, 'connection unknown', 203, {'consumerGroup': s.n('nobody')})
    s.call(c, 'connection none', 203, {})
    s.call(c, 'producers unknown', 204, {'producerGroup': s.n('nobody')})
    s.call(c, 'producers none', 204, {})


@scenario('b1')
def joins(s):
    a, b = s.connect('b1', 'a'), s.connect('b1', 'b')
    s.topic(a, s.n(), 1)
    s.topic(a, s.n('t2'), 1)
    g = s.n('g')
    s.beat(a, s.n('a'), [consumer(g, subscription(s.n()))])
    s.drain(a)
    s.call(b, 'second joins', 34, None, heartbeat(s.n('b'), [consumer(g, subscription(s.n()))]))
    s.push('first is told', a, 40)
    s.push('second is told', b, 40)
    s.call(a, 'both', 38, {'consumerGroup': g})
    s.call(a, 'more topics', 34, None, heartbeat(s.n('a'), [consumer(g, subscription(s.n()), subscription(s.n('t2')))]))
    s.push('told of the topic', a, 40)
    s.drain(a); s.drain(b)
    s.call(a, 'connection', 203, {'consumerGroup': g})
    s.call(b, 'unregister', 35, {'clientID': s.n('b'), 'consumerGroup': g})
    s.push('told of the leave', a, 40)
    s.call(a, 'one', 38, {'consumerGroup': g})
    s.beat(b, s.n('b'), [consumer(g, subscription(s.n()))])
    s.drain(a); s.drain(b)
    b.close()
    s.push('told of the close', a, 40)
    s.call(a, 'one again', 38, {'consumerGroup': g})
    for label, h in (('producer', {'clientID': s.n('a'), 'producerGroup': s.n('p')}), ('empty names', {'clientID': s.n('a'), 'producerGroup': '', 'consumerGroup': ''}),
                     ('no client', {'consumerGroup': g}), ('nothing', {}), ('no header', None)):
        s.call(a, f'unregister {label}', 35, h)
    s.call(a, 'group now', 38, {'consumerGroup': g})
    s.group(a, s.n('quiet'), notifyConsumerIdsChangedEnable=False)
    s.beat(a, s.n('a'), [consumer(s.n('quiet'), subscription(s.n()))])
    s.no_push('group without notice', a, 40)


@scenario('b1')
def locks(s):
    c = s.connect('b1')
    mq = lambda q, t=None: {'brokerName': 'wire-a', 'queueId': q, 'topic': t or s.n()}
    body = lambda client, *qs, **over: {'consumerGroup': s.n('g'), 'clientId': client, 'mqSet': [mq(q) for q in qs], **over}
    s.call(c, 'a locks 0 1', 41, None, body('a', 0, 1))
    s.call(c, 'b locks 0 2', 41, None, body('b', 0, 2))
    s.call(c, 'a locks 0 again', 41, None, body('a', 0))
    s.call(c, 'b unlocks 0', 42, None, body('b', 0))
    s.call(c, 'b still not', 41, None, body('b', 0))
    s.call(c, 'a unlocks 0', 42, None, body('a', 0))
    s.call(c, 'b now', 41, None, body('b', 0))
    s.call(c, 'another group', 41, None, body('c', 0, consumerGroup=s.n('g2')))
    s.call(c, 'no queues', 41, None, body('a'))
    s.call(c, 'null set', 41, None, body('a', mqSet=None))
    s.call(c, 'no group', 41, None, body('a', 5, consumerGroup=None))
    s.call(c, 'no client', 41, None, body(None, 6))
    s.call(c, 'no body', 41)
    s.call(c, 'not json', 41, None, b'nope')
    s.call(c, 'unlock no body', 42)
    s.call(c, 'unlock unknown', 42, None, body('z', 77))
    s.call(c, 'only this broker', 41, None, body('a', 8, onlyThisBroker=True))


@scenario('b1')
def check_config(s):
    c = s.connect('b1')
    for label, sub in (('tag', subscription(s.n(), 'A')), ('sql', subscription(s.n(), 'a > 1', kind='SQL92')), ('bad sql', subscription(s.n(), 'a >', kind='SQL92')), ('null', None)):
        s.call(c, label, 46, None, {'clientId': 'c', 'group': s.n('g'), 'subscriptionData': sub})
    s.call(c, 'no body', 46)
    s.call(c, 'empty', 46, None, b'{}')
    s.call(c, 'not json', 46, None, b'x')


@scenario('b1')
def relays(s):
    """Requests that the broker hands on to a client."""
    a, c = s.connect('b1', 'member'), s.connect('b1', 'admin')
    s.topic(a, s.n(), 2)
    g = s.n('g')
    s.beat(a, s.n('a'), [consumer(g, subscription(s.n()))])
    s.drain(a)
    s.call(c, '307 unknown client', 307, {'consumerGroup': g, 'clientId': 'x'})
    s.call(c, '307 unknown group', 307, {'consumerGroup': s.n('y'), 'clientId': 'x'})
    s.call(c, '307 no header', 307, {})
    s.call(c, '309 unknown client', 309, {'consumerGroup': g, 'clientId': 'x', 'msgId': '7F00000100002A9F0000000000000000'})
    s.call(c, '309 bad id', 309, {'consumerGroup': g, 'clientId': s.n('a'), 'msgId': 'zz'})
    s.call(c, '222 unknown topic', 222, {'topic': s.n('x'), 'group': g, 'timestamp': -1, 'isForce': 'true'})
    s.call(c, '222 without offsets', 222, {'topic': s.n(), 'group': g, 'timestamp': -1, 'isForce': 'true'})
    for q in (0, 1):
        s.setup(c, 15, {'consumerGroup': g, 'topic': s.n(), 'queueId': q, 'commitOffset': 0})
        for _ in range(3):
            s.put(c, s.n(), queue=q)
    s.call(c, '222', 222, {'topic': s.n(), 'group': g, 'timestamp': -1, 'isForce': 'true'})
    s.push('220', a, 220)
    s.call(c, '222 not forced', 222, {'topic': s.n(), 'group': g, 'timestamp': 0, 'isForce': 'false'})
    s.push('220 not forced', a, 220)
    s.call(c, '222 from c++', 222, {'topic': s.n(), 'group': g, 'timestamp': -1, 'isForce': 'true'}, language='CPP')
    s.push('220 c++', a, 220)
    s.setup(c, 15, {'consumerGroup': s.n('off'), 'topic': s.n(), 'queueId': 0, 'commitOffset': 0})
    s.setup(c, 15, {'consumerGroup': s.n('off'), 'topic': s.n(), 'queueId': 1, 'commitOffset': 0})
    s.call(c, '222 offline', 222, {'topic': s.n(), 'group': s.n('off'), 'timestamp': -1, 'isForce': 'true'})
    for f in ('topic', 'group', 'timestamp', 'isForce'):
        h = {'topic': s.n(), 'group': s.n('off'), 'timestamp': -1, 'isForce': 'true'}
        del h[f]
        s.call(c, f'222 without {f}', 222, h)
    s.call(c, '223 of a member that does not answer', 223, {'topic': s.n('x'), 'group': g}, window=(4, 8))
    s.call(c, '223 offline', 223, {'topic': s.n(), 'group': s.n('off')})
