"""Delayed messages as delivered: properties, flags, tags, batches, dead letters, statistics of levels."""
from dsl import batch, msg_id_offset, pull, scenario, v1, v2

SHARED = {'ext.queueOffset': 'int'}


def asked(s, c, label, topic, queue=0, offset=0, wait=4.0):
    """The messages of a queue, once there are some at `offset`."""
    s.until(lambda: int(s.setup(c, 30, {'topic': topic, 'queueId': queue}).ext['offset']) > offset, wait, 0.05)
    s.pause(0.1)
    s.call(c, label, 11, pull(s.n('r'), topic, queue, offset), kind='records')


@scenario('b1.slow')
def first_level(s):
    """Level 1 (a second): what arrives."""
    c = s.connect('b1')
    s.topic(c, s.n(), 9)
    base = {'TAGS': 'A', 'KEYS': s.n('k'), 'UNIQ_KEY': s.n('u'), 'foo': 'bar', 'DELAY': '1'}
    s.call(c, 'sent', 310, v2(s.n(), queue=0, props=base), b'plain', vol=SHARED)
    s.call(c, 'sent with long header', 10, v1(s.n(), queue=1, props=base, flag=7), b'flagged', vol=SHARED)
    s.call(c, 'sent compressed', 310, v2(s.n(), queue=2, props=base, sysFlag=1), b'looks compressed', vol=SHARED)
    s.call(c, 'sent with WAIT', 310, v2(s.n(), queue=3, props={**base, 'WAIT': 'true'}), b'wait', vol=SHARED)
    s.call(c, 'sent without WAIT', 310, v2(s.n(), queue=4, props={**base, 'WAIT': 'false'}), b'no wait', vol=SHARED)
    s.call(c, 'sent as a retry', 310, v2(s.n(), queue=5, props={**base, 'RETRY_TOPIC': s.n(), 'RECONSUME_TIME': '3'}, reconsumeTimes=3), b'retry', vol=SHARED)
    s.call(c, 'unit mode', 310, v2(s.n(), queue=6, props=base, unitMode=True), b'unit', vol=SHARED)
    s.call(c, 'own REAL_TOPIC', 310, v2(s.n(), queue=7, props={**base, 'REAL_TOPIC': s.n('other'), 'REAL_QID': '5'}), b'own target', vol=SHARED)
    s.call(c, 'batch with DELAY inside', 320, v2(s.n(), queue=8, batch=True), batch((b'a', 'DELAY\x011'), (b'b', '')), vol=SHARED)
    for q, what in enumerate(('plain', 'flagged', 'compressed', 'WAIT', 'no WAIT', 'retry', 'unit', 'own target', 'batch')):
        asked(s, c, f'delivered: {what}', s.n(), q)
    s.settle(c)
    s.call(c, 'found by key', 12, {'topic': s.n(), 'key': s.n('k'), 'maxNum': 32, 'beginTimestamp': 0, 'endTimestamp': 2**62}, kind='records')
    s.call(c, 'waiting ones found by key', 12, {'topic': 'SCHEDULE_TOPIC_XXXX', 'key': s.n('k'), 'maxNum': 32, 'beginTimestamp': 0,
                                               'endTimestamp': 2**62}, kind='records', vol={'record.queueOffset': 'drop'})


@scenario('b1.slow')
def other_levels(s):
    """Level 2 (five seconds); levels beyond the last; words and signs."""
    c = s.connect('b1')
    s.topic(c, s.n(), 4)
    s.call(c, 'level 2', 310, v2(s.n(), queue=0, props={'DELAY': '2', 'KEYS': s.n('k')}), b'two', vol=SHARED)
    for i, level in enumerate(('0', '-1', '18', '19', '99', '2147483647', '+1', '01')):
        s.call(c, f'level {level}', 310, v2(s.n(), queue=1, props={'DELAY': level, 'KEYS': s.n('w')}), b'l' + level.encode(), vol=SHARED)
    for level in ('x', '1.5', ' 1', '2147483648', '-'):
        s.call(c, f'level {level!r}', 310, v2(s.n(), queue=2, props={'DELAY': level}), b'x', vol=SHARED)
    s.settle(c)
    s.call(c, 'waiting', 12, {'topic': 'SCHEDULE_TOPIC_XXXX', 'key': s.n('w'), 'maxNum': 32, 'beginTimestamp': 0, 'endTimestamp': 2**62},
           kind='records', vol={'record.queueOffset': 'drop'})
    s.call(c, 'not delayed', 11, pull(s.n('r'), s.n(), 1), kind='records')
    asked(s, c, 'level 2 delivered', s.n(), wait=9)
    s.topic(c, s.n('gone'))
    s.call(c, 'to a topic that is deleted meanwhile', 310, v2(s.n('gone'), props={'DELAY': '1'}), b'x', vol=SHARED)
    s.topic(c, s.n('ro'))
    s.call(c, 'to a topic that is made read only meanwhile', 310, v2(s.n('ro'), props={'DELAY': '1', 'KEYS': 'ro'}), b'x', vol=SHARED)
    s.topic(c, s.n('ro'), perm=4)
    asked(s, c, 'delivered all the same', s.n('ro'))


@scenario('b1.slow')
def retries(s):
    """A message that fails again and again: given back, delivered, given back, until it is a dead letter."""
    c = s.connect('b1')
    group = s.n('g')
    s.topic(c, s.n())
    s.group(c, group, retryMaxTimes=3)
    frame = s.put(c, s.n(), b'bad', TAGS='A', KEYS=s.n('k'), UNIQ_KEY=s.n('u'), own='1')
    offset = msg_id_offset(frame.ext['msgId'])
    retry, dead = '%RETRY%' + group, '%DLQ%' + group
    import bodies
    for i in range(3):
        header = {'group': group, 'offset': offset, 'delayLevel': 1, 'originMsgId': s.n('u'), 'originTopic': s.n(), 'unitMode': 'false'}
        s.call(c, f'given back {i + 1}', 36, header)
        s.until(lambda: int(s.setup(c, 30, {'topic': retry, 'queueId': 0}).ext['offset']) > i, 5, 0.05)
        s.pause(0.1)
        got = s.call(c, f'delivered again {i + 1}', 11, pull(group, retry, 0, i), kind='records')
        offset = bodies.records(got.body)[0]['phys']
    s.call(c, 'given back once too often', 36, {**header, 'offset': offset})
    s.settle(c)
    s.call(c, 'dead letter', 11, pull(s.n('r'), dead, 0, 0), kind='records')
    s.call(c, 'no fourth delivery', 30, {'topic': retry, 'queueId': 0})
    got = s.setup(c, 11, pull(s.n('r'), dead, 0, 0))
    offset = bodies.records(got.body)[0]['phys']
    s.call(c, 'the dead letter given back', 36, {**header, 'offset': offset, 'group': s.n('g2')})
    for topic in (retry, dead):
        s.call(c, f'statistics of {topic[:5]}', 202, {'topic': topic})
    s.call(c, 'progress', 208, {'consumerGroup': group})
    s.call(c, 'sends to the dead letter topic', 310, v2(dead), b'x')
    s.call(c, 'all dead letters', 11, pull(s.n('r'), dead, 0, 0), kind='records')
