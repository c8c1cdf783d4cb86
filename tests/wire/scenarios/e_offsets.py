"""Offsets: 14, 15, 29-32, 43, 45, 314, 308."""
from dsl import consumer, pull, scenario, subscription, v2
import time


@scenario('b1')
def consumer_offsets(s):
    c = s.connect('b1')
    s.topic(c, s.n(), 2)
    for i in range(3):
        s.put(c, s.n())
    def q(label, **over):
        h = {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': 0, **over}
        s.call(c, label, 14, {k: v for k, v in h.items() if v is not None})
    def u(label, **over):
        h = {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': 0, 'commitOffset': 1, **over}
        s.call(c, label, 15, {k: v for k, v in h.items() if v is not None})
    q('none')
    q('none, unknown topic', topic=s.n('x'))
    q('none, queue 9', queueId=9)
    q('none, queue -1', queueId=-1)
    u('commit 1'); q('is 1')
    u('commit 3', commitOffset=3); q('is 3')
    u('back to 2', commitOffset=2); q('is 2')
    u('-1', commitOffset=-1); q('after -1')
    u('huge', commitOffset=2**62); q('is huge')
    u('unknown topic', topic=s.n('x')); q('unknown topic known now', topic=s.n('x'))
    u('queue 9', queueId=9); q('queue 9', queueId=9)
    u('queue -3', queueId=-3); q('queue -3', queueId=-3)
    u('empty group', consumerGroup=''); q('empty group', consumerGroup='')
    for field in ('consumerGroup', 'topic', 'queueId'):
        q(f'query without {field}', **{field: None})
        u(f'update without {field}', **{field: None})
    u('without commitOffset', commitOffset=None)
    for bad in ('x', '', '1.5'):
        q(f'queueId {bad!r}', queueId=bad)
        u(f'commitOffset {bad!r}', commitOffset=bad)
    q('setZeroIfNotFound false', consumerGroup=s.n('g2'), setZeroIfNotFound='false')
    s.call(c, 'no header', 14)
    s.call(c, 'update no header', 15)


@scenario('b1')
def bounds(s):
    c = s.connect('b1')
    s.topic(c, s.n(), 2)
    for i in range(3):
        s.put(c, s.n())
        s.pause(0.02)
    now = int(time.time() * 1000)
    for code, name in ((30, 'max'), (31, 'min'), (32, 'earliest')):
        vol = {'ext.timestamp': 'now'} if False else None
        for label, h in (('queue 0', {'topic': s.n(), 'queueId': 0}), ('queue 1', {'topic': s.n(), 'queueId': 1}),
                         ('queue 8', {'topic': s.n(), 'queueId': 8}), ('queue -1', {'topic': s.n(), 'queueId': -1}),
                         ('unknown topic', {'topic': s.n('x'), 'queueId': 0}), ('empty topic', {'topic': '', 'queueId': 0}),
                         ('no queue', {'topic': s.n()}), ('no topic', {'queueId': 0}), ('bad queue', {'topic': s.n(), 'queueId': 'z'}),
                         ('no header', None)):
            s.call(c, f'{name} {label}', code, h)
    for label, ts in (('0', 0), ('-1', -1), ('future', now + 10**9), ('past', now - 10**9), ('min', -2**63), ('max', 2**63 - 1)):
        s.call(c, f'search {label}', 29, {'topic': s.n(), 'queueId': 0, 'timestamp': ts})
        s.call(c, f'search {label} empty queue', 29, {'topic': s.n(), 'queueId': 1, 'timestamp': ts})
    for label, h in (('unknown', {'topic': s.n('x'), 'queueId': 0, 'timestamp': 5}), ('no ts', {'topic': s.n(), 'queueId': 0}),
                     ('bad ts', {'topic': s.n(), 'queueId': 0, 'timestamp': 'now'}), ('no header', None)):
        s.call(c, f'search {label}', 29, h)


@scenario('b1')
def clone(s):
    c = s.connect('b1')
    s.topic(c, s.n(), 2)
    for q in (0, 1):
        s.put(c, s.n(), queue=q)
        s.setup(c, 15, {'consumerGroup': s.n('src'), 'topic': s.n(), 'queueId': q, 'commitOffset': q + 1})
    base = {'srcGroup': s.n('src'), 'destGroup': s.n('dst'), 'topic': s.n(), 'offline': 'true'}
    s.call(c, 'clone', 314, base)
    for q in (0, 1):
        s.call(c, f'dest {q}', 14, {'consumerGroup': s.n('dst'), 'topic': s.n(), 'queueId': q})
    s.call(c, 'unknown topic', 314, {**base, 'topic': s.n('x')})
    s.call(c, 'unknown source', 314, {**base, 'srcGroup': s.n('y')})
    s.call(c, 'blank topic', 314, {**base, 'topic': ''})
    s.call(c, 'online', 314, {**base, 'offline': 'false'})
    for f in base:
        s.call(c, f'without {f}', 314, {k: v for k, v in base.items() if k != f})
    s.call(c, 'correction', 308, {'topic': s.n(), 'compareGroup': s.n('dst')})
    s.call(c, 'correction filter', 308, {'topic': s.n(), 'compareGroup': s.n('dst'), 'filterGroups': s.n('zzz')})
    s.call(c, 'correction no topic', 308, {})
    s.call(c, 'consume by who', 300, {'topic': s.n()})
    s.call(c, 'consume by who, unknown', 300, {'topic': s.n('x')})
    s.call(c, 'consume by who, none', 300, {})
    s.call(c, 'time span', 303, {'topic': s.n(), 'group': s.n('src')})
    s.call(c, 'time span unknown topic', 303, {'topic': s.n('x'), 'group': s.n('src')})
    s.call(c, 'time span unknown group', 303, {'topic': s.n(), 'group': s.n('q')})
    s.call(c, 'topic stats', 202, {'topic': s.n()})
    s.call(c, 'topic stats unknown', 202, {'topic': s.n('x')})
    s.call(c, 'topic stats none', 202, {})
    s.call(c, 'consume stats', 208, {'consumerGroup': s.n('src')})
    s.call(c, 'consume stats topic', 208, {'consumerGroup': s.n('src'), 'topic': s.n()})
    s.call(c, 'consume stats other topic', 208, {'consumerGroup': s.n('src'), 'topic': s.n('x')})
    s.call(c, 'consume stats unknown', 208, {'consumerGroup': s.n('nobody')})
    s.call(c, 'consume stats none', 208, {})
    s.call(c, 'query cq', 321, {'topic': s.n(), 'queueId': 0, 'index': 0, 'count': 10})
    s.call(c, 'query cq -1', 321, {'topic': s.n(), 'queueId': 0, 'index': -1, 'count': 10})
    s.call(c, 'query cq at end', 321, {'topic': s.n(), 'queueId': 0, 'index': 1, 'count': 10})
    s.call(c, 'query cq queue 9', 321, {'topic': s.n(), 'queueId': 9, 'index': 0, 'count': 10})
    s.call(c, 'query cq group', 321, {'topic': s.n(), 'queueId': 0, 'index': 0, 'count': 10, 'consumerGroup': s.n('src')})
    s.call(c, 'query cq count 0', 321, {'topic': s.n(), 'queueId': 0, 'index': 0, 'count': 0})
    s.call(c, 'query cq unknown', 321, {'topic': s.n('x'), 'queueId': 0, 'index': 0, 'count': 10})
    s.call(c, 'query cq none', 321, {})
