"""Light message queues: one message in several of them, their offsets, consumers and statistics."""
from dsl import batch, consumer, heartbeat, pull, scenario, subscription, v2


def light(s, suffix):
    return '%LMQ%' + s.n(suffix)


def into(queues, **props):
    return {'INNER_MULTI_DISPATCH': ','.join(queues), **props}


@scenario('b3')
def dispatch(s):
    """A message lies in its topic and in every queue that it names."""
    c = s.connect('b3')
    s.topic(c, s.n(), 4)
    a, b = light(s, 'a'), light(s, 'b')
    for label, queue, queues in (('two', 1, (a, b)), ('one', 2, (b,)), ('an ordinary topic', 1, (s.n('plain'),)),
                                 ('the same twice', 3, (a, a))):
        s.call(c, f'send into {label}', 310, v2(s.n(), queue=queue, props=into(queues, TAGS='A')), label.encode())
    s.call(c, 'send into nothing', 310, v2(s.n(), queue=1, props={'INNER_MULTI_DISPATCH': ' '}), b'x')
    s.call(c, 'batch', 320, v2(s.n(), queue=0, batch=True), batch((b'1', f'INNER_MULTI_DISPATCH\x01{a}'), (b'2', '')))
    s.settle(c)
    for name in (a, b):
        for queue in (0, 1):
            s.call(c, f'pull {name[-1]} {queue}', 11, pull(s.n('g'), name, queue), kind='records')
            s.call(c, f'max {name[-1]} {queue}', 30, {'topic': name, 'queueId': queue})
            s.call(c, f'min {name[-1]} {queue}', 31, {'topic': name, 'queueId': queue})
    for queue in range(4):
        s.call(c, f'pull the topic {queue}', 11, pull(s.n('g'), s.n(), queue), kind='records')
    s.call(c, 'pull plain', 11, pull(s.n('g'), s.n('plain'), 1), kind='records')
    s.call(c, 'pull beyond', 11, pull(s.n('g'), a, 0, 99))
    s.call(c, 'pull by tag', 11, pull(s.n('g'), b, 0, sub='B'))
    s.call(c, 'earliest', 32, {'topic': b, 'queueId': 0}, vol={'ext.timestamp': 'any'})
    s.call(c, 'by time', 29, {'topic': b, 'queueId': 0, 'timestamp': 0})
    s.call(c, 'units', 321, {'topic': b, 'queueId': 0, 'index': 0, 'count': 5, 'consumerGroup': ''})
    s.call(c, 'statistics of the queue', 202, {'topic': b})


@scenario('b3')
def direct(s):
    """Sends to a light queue itself."""
    c = s.connect('b3')
    a = light(s, 'a')
    s.call(c, 'to queue 0', 310, v2(a), b'0')
    s.call(c, 'to queue 1', 310, v2(a, queue=1), b'1')
    s.call(c, 'to any queue', 310, v2(a, queue=-1), b'any')
    s.call(c, 'make it', 17, {'topic': a, 'defaultTopic': 'TBW102', 'readQueueNums': 8, 'writeQueueNums': 8, 'perm': 6,
                              'topicFilterType': 'SINGLE_TAG', 'topicSysFlag': 0, 'order': 'false'})
    s.call(c, 'still to queue 1', 310, v2(a, queue=1), b'1')
    s.call(c, 'with a level', 310, v2(a, props={'DELAY': '1'}), b'late', vol={'ext.queueOffset': 'int'})
    s.settle(c)
    s.call(c, 'what is there', 11, pull(light(s, 'g'), a), kind='records')
    frame = s.setup(c, 21)
    s.check('it is no topic of the table', a.encode() in frame.body)


@scenario('b3')
def groups(s):
    """Groups of light queues: settings, offsets, members."""
    c = s.connect('b3')
    a, g = light(s, 'a'), light(s, 'g')
    s.topic(c, s.n(), 1)
    for i in range(3):
        s.setup(c, 310, v2(s.n(), queue=0, props=into((a,))), b'%d' % i)
    s.settle(c)
    queue = {'consumerGroup': g, 'topic': a, 'queueId': 0}
    s.call(c, 'nothing committed', 14, queue)
    s.call(c, 'commit', 15, {**queue, 'commitOffset': 2})
    s.call(c, 'committed', 14, queue)
    s.call(c, 'of another queue', 14, {**queue, 'queueId': 5})
    s.call(c, 'commit for another queue', 15, {**queue, 'queueId': 5, 'commitOffset': 1})
    s.call(c, 'it is the same', 14, queue)
    s.call(c, 'an ordinary topic', 15, {**queue, 'topic': s.n(), 'commitOffset': 1})
    s.call(c, 'an ordinary group', 15, {**queue, 'consumerGroup': s.n('g'), 'commitOffset': 3})
    s.call(c, 'an ordinary group, another queue', 14, {**queue, 'consumerGroup': s.n('g'), 'queueId': 5})
    s.call(c, 'consume statistics', 208, {'consumerGroup': g, 'topic': a}, vol={'body.consumeTps': 'any'})
    s.call(c, 'pull that commits', 11, pull(g, a, 0, 1, sysflag=5, commitOffset=3), kind='records')
    s.call(c, 'committed by it', 14, queue)
    m = s.connect('b3')
    s.call(m, 'heartbeat', 34, None, heartbeat(s.n('cid'), [consumer(g, subscription(a))]))
    s.call(c, 'members', 38, {'consumerGroup': g})
    s.call(c, 'pull as a member', 11, pull(g, a, sysflag=0), kind='records')
    s.call(c, 'set the group', 200, None, {'groupName': g, 'consumeEnable': False})
    s.call(c, 'it makes no difference', 11, pull(g, a), kind='records')
    frame = s.setup(c, 201)
    s.check('it is no group of the table', ('"%s":{' % g).encode() in frame.body)
    s.call(c, 'delete the group', 207, {'groupName': g, 'removeOffset': 'true'})
    s.call(c, 'offsets afterwards', 14, queue)


@scenario('b3')
def holds(s):
    """A held pull is woken by a message for its queue, and by no other."""
    c, d = s.connect('b3'), s.connect('b3')
    a, b = light(s, 'a'), light(s, 'b')
    s.topic(c, s.n(), 2)
    s.setup(d, 310, v2(s.n(), queue=1, props=into((a, b))), b'first')
    s.settle(d)
    p = s.send(c, 11, pull(s.n('g'), a, 0, 1, sysflag=6, suspendTimeoutMillis=20000))
    s.pause(0.5)
    s.setup(d, 310, v2(s.n(), queue=1, props=into((b,))), b'for another')
    s.pause(0.5)
    s.setup(d, 310, v2(s.n(), queue=1, props=into((b, a))), b'for both')
    s.answer('woken', p, window=(0.9, 3), kind='records')
