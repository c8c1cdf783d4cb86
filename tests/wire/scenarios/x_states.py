"""States that requests leave behind and others meet: send-backs before there is anything to retry, permissions that change while pulls
are held, groups and topics that go while somebody uses them."""
import bodies
from dsl import batch, consumer, msg_id_offset, pull, scenario, subscription, v2

PERMS = (0, 2, 4, 6)


def back(s, group, offset, **over):
    header = {'group': group, 'offset': offset, 'delayLevel': 16, 'originMsgId': 'x', 'originTopic': s.n(), 'unitMode': 'false',
              'maxReconsumeTimes': 16, **over}
    return {k: v for k, v in header.items() if v is not None}


def set_topic(s, c, topic, **over):
    header = {'topic': topic, 'defaultTopic': 'TBW102', 'readQueueNums': 1, 'writeQueueNums': 1, 'perm': 6, 'topicFilterType': 'SINGLE_TAG',
              'topicSysFlag': 0, 'order': 'false', **over}
    return s.setup(c, 17, header)


@scenario('b1.x1')
def send_back_states(s):
    """What a send-back makes, and when: the retry topic comes before the message is looked for."""
    c = s.connect('b1')
    s.topic(c, s.n())
    off = msg_id_offset(s.put(c, s.n(), b'body', TAGS='A').ext['msgId'])
    s.settle(c)
    n = 0
    for label, over in (('unknown offset', {'offset': 10**12}), ('negative offset', {'offset': -1}), ('unit', {'unitMode': 'true'}),
                        ('dead at once', {'delayLevel': -1}), ('max 0', {'maxReconsumeTimes': 0}), ('unknown offset, unit', {'offset': 10**12, 'unitMode': 'true'}),
                        ('max -1', {'maxReconsumeTimes': -1})):
        n += 1
        group = s.n(f'g{n}')
        for topic in ('%RETRY%', '%DLQ%'):
            s.call(c, f'{label}: {topic} before', 202, {'topic': topic + group})
        s.call(c, label, 36, back(s, group, off) | over)
        for topic in ('%RETRY%', '%DLQ%'):
            s.call(c, f'{label}: {topic} after', 202, {'topic': topic + group})
            s.call(c, f'{label}: {topic} pulled', 11, pull('r', topic + group), kind='records')
    for prefix in ('%RETRY%', '%DLQ%'):
        for perm in PERMS:
            group = s.n(f'p{prefix[1]}{perm}')
            s.group(c, group)
            set_topic(s, c, prefix + group, perm=perm)
            for label, over in (('again', {}), ('dead', {'delayLevel': -1}), ('unknown offset', {'offset': 10**12})):
                s.call(c, f'{prefix} perm {perm}: {label}', 36, back(s, group, off) | over)
            s.call(c, f'{prefix} perm {perm}: sent', 310, v2(prefix + group), b'x', vol={'ext.queueId': 'int'})
            s.call(c, f'{prefix} perm {perm}: sent dead', 310, v2('%RETRY%' + group, reconsumeTimes=99), b'x', vol={'ext.queueId': 'int'})
            s.call(c, f'{prefix} perm {perm}: pulled', 11, pull('r', prefix + group), kind='records')
            s.call(c, f'{prefix} perm {perm}: stats', 202, {'topic': prefix + group})
    group = s.n('many')
    s.group(c, group, retryQueueNums=4)
    s.call(c, 'four retry queues', 36, back(s, group, off))
    s.call(c, 'four retry queues: stats', 202, {'topic': '%RETRY%' + group})
    s.group(c, group, retryQueueNums=2)
    s.call(c, 'two retry queues then', 36, back(s, group, off))
    s.call(c, 'two retry queues then: stats', 202, {'topic': '%RETRY%' + group})
    s.group(c, group, retryQueueNums=0)
    s.call(c, 'none then', 36, back(s, group, off))
    s.group(c, group, consumeEnable=False)
    s.call(c, 'consume disabled', 36, back(s, group, off))


@scenario('b1.x1')
def send_back_chain(s):
    """A message that is given back, comes, is given back again, and dies; what the copies carry."""
    c = s.connect('b1')
    s.topic(c, s.n())
    group = s.n('g')
    s.group(c, group, retryMaxTimes=2)
    props = ({'TAGS': 'A', 'KEYS': 'k'}, {'RETRY_TOPIC': 'other', 'ORIGIN_MESSAGE_ID': 'oid', 'DELAY': '0'}, {'DELAY': '-3', 'WAIT': 'true'},
             {'ORIGIN_MESSAGE_ID': ' ', 'RETRY_TOPIC': ''}, {'REAL_TOPIC': 'rt', 'REAL_QID': '3', 'RECONSUME_TIME': '9', 'MAX_RECONSUME_TIMES': '1'},
             {'TRAN_MSG': 'no', 'PGROUP': 'p', 'UNIQ_KEY': 'u'})
    offsets = []
    for i, p in enumerate(props):
        offsets.append(msg_id_offset(s.put(c, s.n(), b'm%d' % i, **p).ext['msgId']))
    s.settle(c)
    for i, off in enumerate(offsets):
        s.call(c, f'back {i}', 36, back(s, group, off, delayLevel=1, maxReconsumeTimes=None))
    s.pause(1.9)
    s.wrote(c)
    got = s.call(c, 'first time', 11, pull('r', '%RETRY%' + group), kind='records')
    again = [r['phys'] for r in bodies.records(got.body)]
    for i, off in enumerate(again):
        s.call(c, f'back again {i}', 36, back(s, group, off, delayLevel=1, maxReconsumeTimes=None))
    s.pause(1.9)
    s.wrote(c)
    got = s.call(c, 'second time', 11, pull('r', '%RETRY%' + group, 0, len(again)), kind='records')
    for i, r in enumerate(bodies.records(got.body)):
        s.call(c, f'back at last {i}', 36, back(s, group, r['phys'], delayLevel=1, maxReconsumeTimes=None))
    got = s.call(c, 'dead', 11, pull('r', '%DLQ%' + group), kind='records')
    for i, r in enumerate(bodies.records(got.body)):
        s.call(c, f'a dead one back {i}', 36, back(s, group, r['phys'], delayLevel=0, maxReconsumeTimes=16))
        s.call(c, f'a dead one back to another group {i}', 36, back(s, s.n('g2'), r['phys'], delayLevel=-1))
    s.call(c, 'dead, then', 11, pull('r', '%DLQ%' + group), kind='records')
    s.call(c, 'dead of the other group', 11, pull('r', '%DLQ%' + s.n('g2')), kind='records')
    for code, h in ((202, {'topic': '%RETRY%' + group}), (30, {'topic': '%DLQ%' + group, 'queueId': 0}), (12, {'topic': '%RETRY%' + group, 'key': 'k', 'maxNum': 9, 'beginTimestamp': 0, 'endTimestamp': 2**62}),
                    (12, {'topic': '%DLQ%' + group, 'key': 'k', 'maxNum': 9, 'beginTimestamp': 0, 'endTimestamp': 2**62}), (12, {'topic': '%DLQ%' + group, 'key': 'u', 'maxNum': 9, 'beginTimestamp': 0, 'endTimestamp': 2**62})):
        s.call(c, f'about {code} {h}'.replace(s.own, ''), code, h, kind='records' if code == 12 else 'auto')


@scenario('b1.x2')
def held_states(s):
    """What changes while a pull is held."""
    c, d = s.connect('b1'), s.connect('b1')
    s.topic(c, s.n(), 16)
    s.put(d, s.n(), b'first', 15, TAGS='A')

    def held(label, queue, act, window=(0.3, 8.5), suspend=20000, conn=None, vol=None, **over):
        h = {'sysflag': 6, 'suspendTimeoutMillis': suspend, **over}
        topic = h.pop('topic', s.n())
        group = h.pop('group', s.n('g'))
        p = s.send(conn or c, 11, pull(group, topic, queue, h.pop('offset', 0), **h))
        s.pause(0.5)
        act()
        s.answer(label, p, window=window, kind='records', vol=vol)

    held('an empty body', 0, lambda: s.put(d, s.n(), b'', 0), window=(0.3, 2))
    held('a batch', 1, lambda: s.setup(d, 320, v2(s.n(), queue=1, batch=True), batch((b'1', 'TAGS\x01A'), (b'2', 'TAGS\x01B'))), window=(0.3, 2), sub='A', vol={'ext.maxOffset': 'any'})
    held('its time is up', 2, lambda: None, window=(0.9, 6.5), suspend=1000)
    held('suspended for 0', 2, lambda: None, window=(0, 6.5), suspend=0)
    held('suspended for -1', 2, lambda: None, window=(0, 6.5), suspend=-1)
    set_topic(s, d, s.n('perm'))
    held('the topic is not readable any more', 0, lambda: (set_topic(s, d, s.n('perm'), perm=2), s.put(d, s.n('perm'))), topic=s.n('perm'), window=(0.3, 2))
    set_topic(s, d, s.n('few'), readQueueNums=4, writeQueueNums=4)
    held('the queue is not there any more', 3, lambda: (s.put(d, s.n('few'), b'x', 2), set_topic(s, d, s.n('few')), s.setup(d, 310, v2(s.n('few'), queue=0))), topic=s.n('few'), suspend=1500, window=(0.9, 7))
    s.group(d, s.n('dis'))
    held('the group may not consume any more', 4, lambda: (s.group(d, s.n('dis'), consumeEnable=False), s.put(d, s.n(), b'x', 4)), group=s.n('dis'), window=(0.3, 2))
    held('the group is deleted', 5, lambda: (s.group(d, s.n('del')), s.setup(d, 207, {'groupName': s.n('del')}), s.put(d, s.n(), b'x', 5)), group=s.n('del'), window=(0.3, 2))
    m = s.connect('b1')
    s.beat(m, s.n('cid'), [consumer(s.n('mem'), subscription(s.n(), 'A', 1))])
    s.drain(m)
    held('a member', 6, lambda: s.put(d, s.n(), b'x', 6, TAGS='A'), group=s.n('mem'), sysflag=2, subVersion=1, window=(0.3, 2))
    held('a member whose subscription changes', 7, lambda: (s.beat(m, s.n('cid'), [consumer(s.n('mem'), subscription(s.n(), 'B', 2))]), s.put(d, s.n(), b'x', 7, TAGS='A')), group=s.n('mem'), sysflag=2, subVersion=1, window=(0.3, 8))
    held('a member that leaves', 8, lambda: (s.setup(m, 35, {'clientID': s.n('cid'), 'consumerGroup': s.n('mem')}), s.put(d, s.n(), b'x', 8, TAGS='B')), group=s.n('mem'), sysflag=2, subVersion=2, window=(0.3, 8))
    set_topic(s, d, s.n('gone'))
    held('the topic is deleted', 0, lambda: s.setup(d, 215, {'topic': s.n('gone')}), topic=s.n('gone'), suspend=1500, window=(0.9, 7))
    held('commits once', 9, lambda: (s.setup(d, 15, {'consumerGroup': s.n('com'), 'topic': s.n(), 'queueId': 9, 'commitOffset': 7}), s.put(d, s.n(), b'x', 9)), group=s.n('com'), sysflag=7, commitOffset=5, window=(0.3, 2))
    s.call(d, 'committed', 14, {'consumerGroup': s.n('com'), 'topic': s.n(), 'queueId': 9})
    held('behind the only message', 15, lambda: s.put(d, s.n(), b'x', 15), offset=1, window=(0.3, 2))
    held('two behind the end is moved', 15, lambda: None, offset=4, window=(0, 2))
    held('negative is moved', 15, lambda: None, offset=-1, window=(0, 2))
    held('held in binary', 10, lambda: s.put(d, s.n(), b'x', 10), window=(0.3, 2))
    held('a half message does not wake', 11, lambda: s.setup(d, 310, v2(s.n(), queue=11, sysFlag=4, props={'TRAN_MSG': 'true', 'PGROUP': s.n('pg')}), b'h'), suspend=1000, window=(0.9, 7))
    held('a delayed message wakes when it comes', 12, lambda: s.put(d, s.n(), b'x', 12, DELAY='1'), window=(1.2, 4))


@scenario('b1.x3')
def unwanted(s):
    """Held pulls and messages that they do not want, until the time is up."""
    c, d = s.connect('b1'), s.connect('b1')
    s.topic(c, s.n(), 8)
    cases = (('one unwanted', 0, 6000, 'A'), ('three unwanted', 1, 6000, 'AAC'), ('one, the time is short', 2, 1000, 'A'), ('unwanted, then wanted', 3, 6000, 'ACB'))
    held = [s.send(c, 11, pull(s.n('g'), s.n(), queue, 0, sysflag=6, sub='B', suspendTimeoutMillis=suspend)) for _, queue, suspend, _ in cases]
    s.pause(0.4)
    for _, queue, _, tags in cases:
        for tag in tags:
            s.put(d, s.n(), b'x', queue, TAGS=tag)
    for p, (label, *_) in zip(held, cases):
        s.answer(label, p, window=(0.3, 12), kind='records')


@scenario('b1.x2')
def flags(s):
    """Each combination of the flags of a pull, by a member, by a stranger, with a subscription and without."""
    c, m = s.connect('b1'), s.connect('b1')
    s.topic(c, s.n(), 2)
    for i in range(3):
        s.put(c, s.n(), b'm%d' % i, TAGS='AB'[i % 2])
    flags = [*range(32), 64, 255, -1, 2**31 - 1]
    s.beat(m, s.n('cid'), [consumer(s.n(f'mem{flag}'), subscription(s.n(), 'A', 5)) for flag in flags])
    s.drain(m)
    for offset in (0, 3):
        asked = []
        for flag in flags:
            for group in ('mem', 'g'):
                h = pull(s.n(f'{group}{flag}'), s.n(), 0, offset, sysflag=flag, sub='B', subVersion=5, commitOffset=offset + 1, suspendTimeoutMillis=1)
                asked.append((f'flag {flag}, {group} at {offset}', s.send(c, 11, h)))
        for label, p in asked:
            s.answer(label, p, kind='records', window=(0, 9))
        for flag in flags:
            for group in ('mem', 'g'):
                s.call(c, f'flag {flag}, {group} committed, {offset}', 14, {'consumerGroup': s.n(f'{group}{flag}'), 'topic': s.n(), 'queueId': 0})


@scenario('b1.x1')
def corrections(s):
    """QUERY_CORRECTION_OFFSET with groups that are ahead, behind and nowhere."""
    c = s.connect('b1')
    s.topic(c, s.n(), 3)
    for q in range(3):
        for i in range(3):
            s.put(c, s.n(), b'x', q)
    s.settle(c)

    def commit(group, *offsets, topic=None):
        for q, offset in enumerate(offsets):
            if offset is not None:
                s.setup(c, 15, {'consumerGroup': s.n(group), 'topic': topic or s.n(), 'queueId': q, 'commitOffset': offset})

    def ask(label, group, **over):
        s.call(c, label, 308, {'topic': s.n(), 'compareGroup': s.n(group), **over})

    ask('nobody', 'a')
    commit('a', 1, 2)
    ask('alone', 'a')
    ask('nobody compared', 'zz')
    commit('b', 0, 3, 2)
    ask('a of two', 'a')
    ask('b of two', 'b')
    commit('n', -1)
    ask('one at -1', 'n')
    ask('one at -1, another asks', 'a')
    commit('m', None, None, None)
    for q in (7, -2):
        s.setup(c, 15, {'consumerGroup': s.n('odd'), 'topic': s.n(), 'queueId': q, 'commitOffset': 4})
    ask('queues that are not there', 'odd')
    s.setup(c, 15, {'consumerGroup': s.n('far'), 'topic': s.n(), 'queueId': 0, 'commitOffset': 10**9})
    ask('far ahead', 'far')
    s.setup(c, 15, {'consumerGroup': s.n('neg'), 'topic': s.n(), 'queueId': 5, 'commitOffset': -1})
    ask('at -1 where nobody is', 'neg')
    ask('empty compare group', '', compareGroup='')
    ask('unknown topic', 'a', topic=s.n('none'))
    ask('empty filter', 'a', filterGroups='')
    ask('blank filter', 'a', filterGroups=' ')


@scenario('b1.x4')
def after_deletion(s):
    """Every question about a topic that is deleted, and about its second life."""
    c, n = s.connect('b1'), s.connect('ns')
    topic, group = s.n(), s.n('g')
    s.topic(c, topic, 2)
    s.group(c, group)
    ids = []
    for i in range(4):
        ids.append(msg_id_offset(s.put(c, topic, b'm%d' % i, i % 2, TAGS='A', KEYS='k', UNIQ_KEY=s.n(f'u{i}')).ext['msgId']))
    for q in (0, 1):
        s.setup(c, 15, {'consumerGroup': group, 'topic': topic, 'queueId': q, 'commitOffset': 1})
    m = s.connect('b1', 'm')
    s.beat(m, s.n('cid'), [consumer(group, subscription(topic))], [s.n('p')])
    s.drain(m)
    s.settle(c)

    def questions(when):
        for code, h in ((202, {'topic': topic}), (208, {'consumerGroup': group}), (208, {'consumerGroup': group, 'topic': topic}), (300, {'topic': topic}),
                        (303, {'topic': topic, 'group': group}), (308, {'topic': topic, 'compareGroup': group}), (14, {'consumerGroup': group, 'topic': topic, 'queueId': 0}),
                        (14, {'consumerGroup': s.n('new'), 'topic': topic, 'queueId': 0}),
                        (30, {'topic': topic, 'queueId': 0}), (31, {'topic': topic, 'queueId': 0}), (32, {'topic': topic, 'queueId': 0}), (29, {'topic': topic, 'queueId': 0, 'timestamp': 0}),
                        (12, {'topic': topic, 'key': 'k', 'maxNum': 9, 'beginTimestamp': 0, 'endTimestamp': 2**62}), (203, {'consumerGroup': group}), (38, {'consumerGroup': group}),
                        (222, {'topic': topic, 'group': group, 'timestamp': 0, 'isForce': 'true'}), (314, {'srcGroup': group, 'destGroup': s.n('h'), 'topic': topic, 'offline': 'true'}),
                        (14, {'consumerGroup': s.n('h'), 'topic': topic, 'queueId': 1}), (315, {'statsName': 'TOPIC_PUT_NUMS', 'statsKey': topic})):
            s.call(c, f'{when}: {code} {sorted(h)}', code, h, kind='records' if code == 12 else 'auto', vol={'body.consumeTps': 'any', 'body.*.sum': 'any', 'body.*.tps': 'any', 'body.*.avgpt': 'any'})
        s.drain(m, 0.2)
        for q in (0, 1, 2):
            for offset in (0, 1, 2, 3):
                s.call(c, f'{when}: pull {q} at {offset}', 11, pull(group, topic, q, offset), kind='records')
        s.call(c, f'{when}: pull as a member', 11, pull(group, topic, sysflag=0), kind='records')
        for i, offset in enumerate(ids):
            s.call(c, f'{when}: view {i}', 33, {'offset': offset}, kind='records')
        s.call(n, f'{when}: route', 105, {'topic': topic})

    questions('at first')
    s.call(c, 'delete', 215, {'topic': topic})
    questions('deleted')
    s.call(c, 'sent back', 36, back(s, group, ids[0]))
    s.topic(c, topic, 2)
    questions('made again')
    s.put(c, topic, b'new', 0, TAGS='A', KEYS='k')
    s.settle(c)
    questions('with a new message')
    s.call(n, 'deleted at the name server', 216, {'topic': topic, 'clusterName': 'WireCluster'})
    s.call(n, 'the route', 105, {'topic': topic})
    s.topic(c, topic, 3)
    s.route(n, 'the route comes back', topic)
