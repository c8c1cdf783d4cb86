"""Sending: codes 10, 310, 320, batches, delays, replies, limits, illegal topics."""
import struct

import bodies
import wire
from dsl import BORN, batch, pull, scenario, v1, v2

MAX_BODY = 4 * 1024 * 1024


def stored(s, conn, label, topic, queue=0, offset=0, **over):
    """What is stored from `offset` on: the exact records."""
    vol = over.pop('vol', None)
    return s.call(conn, label, 11, pull(s.n('reader'), topic, queue, offset, **over), kind='records', vol=vol)


def head(s, conn, topic, queue=0):
    frame = s.setup(conn, 30, {'topic': topic, 'queueId': queue})
    return int((frame.ext or {}).get('offset', 0)) if frame else 0


@scenario('b1')
def codes(s):
    """One message by each code, with tags and keys; what is stored."""
    c = s.connect('b1')
    s.topic(c, s.n(), 4)
    props = {'TAGS': 'TagA', 'KEYS': 'k1 k2', 'UNIQ_KEY': '7F00000100002A9F0000000000000001', 'WAIT': 'true', 'user': 'é漢'}
    s.call(c, 'code 10', 10, v1(s.n(), props=props, flag=5, reconsumeTimes=2), b'hello')
    s.call(c, 'code 310', 310, v2(s.n(), props=props, flag=-7), b'hello')
    s.call(c, 'code 320 with a single message', 320, v2(s.n(), props=props), b'hello')
    s.call(c, 'code 320 with a batch', 320, v2(s.n(), batch=True), batch((b'a', 'TAGS\x01x'), (b'b', '')))
    s.call(c, 'code 310 with a batch', 310, v2(s.n(), batch=True), batch((b'c', 'K\x01v\x02'), (b'd', 'UNIQ_KEY\x01U1\x02TAGS\x01t')))
    s.call(c, 'code 10 with a batch', 10, v1(s.n(), batch=True), batch((b'e', '')))
    stored(s, c, 'stored', s.n())
    for queue in range(4):
        s.call(c, f'queue {queue}', 310, v2(s.n(), queue=queue), b'q')
    s.call(c, 'queue 4 of 4', 310, v2(s.n(), queue=4), b'q')
    s.topic(c, s.n('random'), 4)
    s.call(c, 'queue -1 is random', 310, v2(s.n('random'), queue=-1), b'q', vol={'ext.queueId': 'int', 'ext.queueOffset': 'int'})
    s.call(c, 'queue -100 is random', 310, v2(s.n('random'), queue=-100), b'q', vol={'ext.queueId': 'int', 'ext.queueOffset': 'int'})
    s.call(c, 'unit mode', 310, v2(s.n(), queue=1, unitMode=True), b'q')
    s.call(c, 'no producer group', 310, v2(s.n(), queue=1, producerGroup=''), b'q')
    s.call(c, 'credentials', 310, {**v2(s.n(), queue=1), 'AccessKey': 'a', 'Signature': 'b'}, b'q')
    s.call(c, 'born in the future', 310, v2(s.n(), queue=1, bornTimestamp=BORN * 2), b'q')
    s.call(c, '5.x fields left out', 310, {k: v for k, v in v2(s.n(), queue=1).items() if k not in 'km'}, b'q')


@scenario('b1')
def properties(s):
    """Property strings: separators, odd segments, WAIT, duplicates."""
    c = s.connect('b1')
    for i, text in enumerate(('', 'a\x01b', 'a\x01b\x02', 'a\x01b\x02\x02c\x01d', 'a', 'a\x02b\x01c', '\x01b', 'a\x01',
                              'a\x01b\x01c', 'a\x011\x02a\x012', 'WAIT\x01true', 'WAIT\x01false\x02z\x01y',
                              'CLUSTER\x01mine', 'TAGS\x01 ', 'TAGS\x01x||y', 'KEYS\x01', 'TRAN_MSG\x01false',
                              'DELAY\x010', 'MSG_REGION\x01x\x02TRACE_ON\x01false', 'RECONSUME_TIME\x013', 'x\x01' + 'y' * 300)):
        topic = s.n(f't{i}')
        s.topic(c, topic)
        s.call(c, f'send {i}', 310, v2(topic, props=text), b'p')
        stored(s, c, f'stored {i}', topic)
    topic = s.n('batch')
    s.topic(c, topic)
    s.call(c, 'batch with common properties', 320, v2(topic, batch=True, props={'WAIT': 'true', 'common': '1'}),
           batch((b'a', 'K\x011'), (b'b', 'K\x012\x02'), (b'c', ''), (b'd', 'common\x012')))
    stored(s, c, 'batch stored', topic)


@scenario('b1')
def topics(s):
    """Topic names: legal, illegal, system, unknown; automatic creation."""
    c, n = s.connect('b1'), s.connect('ns')
    any_queue = {'ext.queueId': 'int', 'ext.queueOffset': 'int'}
    for label, topic in (('empty', ''), ('blank', '  '), ('slash', s.n('a/b')), ('dot', s.n('a.b')), ('blank inside', s.n('a b')),
                         ('colon', s.n('a:b')), ('star', s.n('*')), ('hash', s.n('#')), ('dollar', s.n('$')), ('at', s.n('@')),
                         ('umlaut', s.n('ä')), ('chinese', s.n('漢')), ('newline', s.n('a\nb')), ('backslash', s.n('\\')),
                         ('parent folder', '../' + s.n('x')), ('128 long', s.n('x' * (128 - len(s.own)))),
                         ('300 long', s.n('x' * 300)), ('127 long', s.n('x' * (127 - len(s.own)))),
                         ('percent and bar', s.n('%a|b_c-d')),
                         ('SCHEDULE_TOPIC_XXXX', 'SCHEDULE_TOPIC_XXXX'), ('half topic', 'RMQ_SYS_TRANS_HALF_TOPIC'),
                         ('op topic', 'RMQ_SYS_TRANS_OP_HALF_TOPIC'), ('check max topic', 'TRANS_CHECK_MAX_TIME_TOPIC'),
                         ('SELF_TEST_TOPIC', 'SELF_TEST_TOPIC'), ('OFFSET_MOVED_EVENT', 'OFFSET_MOVED_EVENT'),
                         ('TBW102', 'TBW102'), ('BenchmarkTest', 'BenchmarkTest'), ('cluster topic', 'WireCluster'),
                         ('broker topic', 'wire-a'), ('trace topic', 'RMQ_SYS_TRACE_TOPIC'), ('reply topic', 'WireCluster_REPLY_TOPIC'),
                         ('rmq_sys_ prefix', 'rmq_sys_' + s.n('x')), ('LMQ', '%LMQ%' + s.n('x'))):
        for how, flag in (('', False), (' batch', True)):
            s.call(c, f'{label}{how}', 310, v2(topic, batch=flag), batch((b'x', '')) if flag else b'x', vol=any_queue)
    s.call(c, 'auto-created', 310, v2(s.n('auto')), b'x')
    s.route(n, 'its route', s.n('auto'))
    for label, over in (('1 queue', {'defaultTopicQueueNums': 1}), ('16 queues', {'defaultTopicQueueNums': 16}),
                        ('0 queues', {'defaultTopicQueueNums': 0}), ('-3 queues', {'defaultTopicQueueNums': -3}),
                        ('unknown template', {'defaultTopic': s.n('none')}), ('empty template', {'defaultTopic': ''}),
                        ('cluster topic as template', {'defaultTopic': 'WireCluster'}),
                        ('broker topic as template', {'defaultTopic': 'wire-a'}),
                        ('template without inherit bit', {'defaultTopic': 'BenchmarkTest'}),
                        ('unit mode', {'unitMode': True}), ('queue 3', {'queueId': 3})):
        topic = s.n('auto-' + label.replace(' ', ''))
        over = dict(over)
        queue = over.pop('queueId', 0)
        s.call(c, f'auto-created, {label}', 310, v2(topic, queue=queue, **over), b'x')
        s.route(n, f'auto-created, {label}: route', topic)
    s.call(c, 'retry topic', 310, v2('%RETRY%' + s.n('g1')), b'x')
    s.route(n, 'retry topic: route', '%RETRY%' + s.n('g1'))
    s.call(c, 'retry topic without template', 310, v2('%RETRY%' + s.n('g2'), defaultTopic=s.n('none')), b'x')
    s.route(n, 'retry topic without template: route', '%RETRY%' + s.n('g2'))
    s.call(c, 'dlq topic', 310, v2('%DLQ%' + s.n('g1')), b'x')
    s.route(n, 'dlq topic: route', '%DLQ%' + s.n('g1'))
    for perm in (0, 2, 4):
        s.topic(c, s.n(f'perm{perm}'), perm=perm)
        s.call(c, f'topic with perm {perm}', 310, v2(s.n(f'perm{perm}')), b'x')
    s.topic(c, s.n('uneven'), write=2, read=4)
    for queue in (1, 2, 3, 4):
        s.call(c, f'2 write and 4 read queues, queue {queue}', 310, v2(s.n('uneven'), queue=queue), b'x')
    s.topic(c, s.n('nowrite'), write=0, read=1)
    s.call(c, 'no write queue, queue 0', 310, v2(s.n('nowrite')), b'x')
    s.call(c, 'no write queue, random queue', 310, v2(s.n('nowrite'), queue=-1), b'x')


@scenario('b2')
def topics_not_created(s):
    """The cautious broker creates nothing, except retry topics."""
    c, n = s.connect('b2'), s.connect('ns')
    s.call(c, 'unknown topic', 310, v2(s.n()), b'x')
    s.call(c, 'unknown topic, batch', 320, v2(s.n(), batch=True), batch((b'x', '')))
    s.call(c, 'cluster topic as template', 310, v2(s.n('tc'), defaultTopic='WireCluster'), b'x')
    s.call(c, 'broker topic as template', 310, v2(s.n('tb'), defaultTopic='wire-b'), b'x')
    s.call(c, 'TBW102 itself', 310, v2('TBW102'), b'x')
    s.call(c, 'retry topic of an unknown group', 310, v2('%RETRY%' + s.n('g')), b'x')
    s.group(c, s.n('g2'))
    s.call(c, 'retry topic of a known group', 310, v2('%RETRY%' + s.n('g2')), b'x')
    s.route(n, 'route of the retry topic', '%RETRY%' + s.n('g2'))
    s.topic(c, s.n('real'), perm=2)
    s.call(c, 'known topic', 310, v2(s.n('real')), b'x')


@scenario('b1')
def sizes(s):
    """Bodies and properties at their limits."""
    c = s.connect('b1')
    s.topic(c, s.n())
    for size in (0, 1, 1024, 65536, MAX_BODY - 1, MAX_BODY, MAX_BODY + 1):
        s.call(c, f'body of {size}', 310, v2(s.n()), b'x' * size, wait=15)
    s.call(c, 'frame of 12 MB', 310, v2(s.n()), b'x' * (12 << 20), wait=15)
    s.call(c, 'max offset', 30, {'topic': s.n(), 'queueId': 0})
    stored(s, c, 'empty body stored', s.n(), maxMsgNums=2)
    for size in (1000, 32000, 32600, 32767, 32768, 40000, 70000):
        s.call(c, f'properties of {size}', 310, v2(s.n(), props='k\x01' + 'v' * (size - 2)), b'x')
    s.call(c, 'properties of 20000 two-byte characters', 310, v2(s.n(), props='k\x01' + 'é' * 20000), b'x')
    s.call(c, 'batch of max', 320, v2(s.n(), batch=True), batch((b'x' * (MAX_BODY - 22), '')), wait=15)
    s.call(c, 'batch above max', 320, v2(s.n(), batch=True), batch((b'x' * (MAX_BODY - 21), '')), wait=15)
    s.call(c, 'batch above max in sum', 320, v2(s.n(), batch=True), batch((b'x' * (2 << 20), ''), (b'y' * (2 << 20), '')), wait=15)
    s.call(c, 'batch properties of 32767', 320, v2(s.n(), batch=True, props='k\x01' + 'v' * 32765), batch((b'x', '')))
    s.call(c, 'batch properties of 40000', 320, v2(s.n(), batch=True, props='k\x01' + 'v' * 39998), batch((b'x', '')))
    s.call(c, 'max offset in the end', 30, {'topic': s.n(), 'queueId': 0})


@scenario('b1')
def batches(s):
    """Batches: broken ones, flags and properties that do not go with them."""
    c = s.connect('b1')
    s.topic(c, s.n(), 2)
    two = batch((b'a', ''), (b'b', ''))
    for label, over, body in (
            ('good', {}, two), ('of one', {}, batch((b'a', ''))), ('empty', {}, b''), ('empty bodies', {}, batch((b'', ''), (b'', ''))),
            ('cut', {}, two[:-3]), ('with a wrong size', {}, struct.pack('>i', 1000) + two[4:]),
            ('with size 0', {}, bytes(4) + two[4:]), ('with garbage', {}, b'garbage'), ('with trailing bytes', {}, two + b'xy'),
            ('queue 1', {'queue': 1}, two), ('queue out of range', {'queue': 5}, two),
            ('sysFlag prepared', {'sysFlag': 4}, two), ('sysFlag commit', {'sysFlag': 8}, two), ('sysFlag compressed', {'sysFlag': 1}, two),
            ('DELAY in the header', {'props': {'DELAY': '1'}}, two), ('DELAY 0 in the header', {'props': {'DELAY': '0'}}, two),
            ('TRAN_MSG in the header', {'props': {'TRAN_MSG': 'true'}}, two),
            ('DELAY inside', {}, batch((b'a', 'DELAY\x011'))), ('reconsume times', {'reconsumeTimes': 3}, two), ('flag', {'flag': 9}, two),
            ('to a retry topic', {'topic': '%RETRY%' + s.n('g'), 'reconsumeTimes': 20}, two)):
        over = dict(over)
        s.call(c, f'batch {label}', 320, v2(over.pop('topic', s.n()), batch=True, **over), body)
    stored(s, c, 'stored', s.n())
    big = batch(*[(b'%d' % i, f'KEYS\x01k{i}') for i in range(100)])
    s.topic(c, s.n('big'))
    frame = s.call(c, 'of 100', 320, v2(s.n('big'), batch=True), big, vol={'ext.msgId': 'any'})
    ids = (frame.ext or {}).get('msgId', '').split(',') if frame else []
    s.check('of 100: ids', len(ids))
    s.check('of 100: ids ascend', ids == sorted(ids) and len(set(ids)) == 100)
    s.call(c, 'of 100: max offset', 30, {'topic': s.n('big'), 'queueId': 0})


@scenario('b1.slow')
def delays(s):
    """Delay levels: what the answer says, where it is stored, what is delivered."""
    c = s.connect('b1')
    s.topic(c, s.n(), 2)
    rel = {'ext.queueOffset': 'any'}
    for level in ('1', '2', '18', '19', '100', '0', '-1', 'x', '', '2.5', '99999999999'):
        s.call(c, f'DELAY={level!r}', 310, v2(s.n(), queue=1, props={'DELAY': level, 'TAGS': 'T', 'WAIT': 'true'}), b'd' + level.encode(),
               vol=rel if level in ('1', '2', '18', '19', '100') else None)
    s.until(lambda: (s.setup(c, 30, {'topic': s.n(), 'queueId': 1}).ext or {}).get('offset') == '4', 6)
    s.call(c, 'level 1 arrived', 30, {'topic': s.n(), 'queueId': 1})
    stored(s, c, 'delivered', s.n(), 1)
    frame = s.setup(c, 45)
    table = bodies.FastJson(frame.body.decode()).root.get('offsetTable', {}) if frame and frame.body else {}
    s.check('delay offsets: level 1', type(table.get('1')).__name__)
    s.call(c, 'sysFlag prepared with DELAY', 310, v2(s.n(), props={'DELAY': '1'}, sysFlag=4), b'x')
    s.call(c, 'sysFlag commit with DELAY', 310, v2(s.n(), props={'DELAY': '18'}, sysFlag=8), b'x', vol=rel)
    s.call(c, 'delay to an unknown topic', 310, v2(s.n('auto'), props={'DELAY': '1'}), b'x', vol=rel)
    s.call(c, 'pull from the delay topic', 11, pull(s.n('reader'), 'SCHEDULE_TOPIC_XXXX', 17, 0, maxMsgNums=1), kind='records',
           vol={'ext.*Offset': 'int', 'record.topic': 'any', 'record.body': 'any', 'record.crc': 'any', 'record.size': 'any',
                'record.queueOffset': 'any', 'prop.*': 'any', 'record.bornHost': 'drop', 'record.phys': 'any', 'record.properties': 'any'})


@scenario('b1')
def sysflags(s):
    """sysFlag as stored; half messages by flag and by property."""
    c = s.connect('b1')
    s.topic(c, s.n())
    for flag in (0, 1, 2, 4, 8, 12, 0x301, 0x40, 0x80, 0x1000):
        s.call(c, f'sysFlag {flag}', 310, v2(s.n(), sysFlag=flag), b'x')
    stored(s, c, 'stored', s.n())
    s.call(c, 'max offset', 30, {'topic': s.n(), 'queueId': 0})
    s.topic(c, s.n('multi'))
    s.setup(c, 17, {'topic': s.n('multi'), 'defaultTopic': 'TBW102', 'readQueueNums': 1, 'writeQueueNums': 1, 'perm': 6,
                    'topicFilterType': 'MULTI_TAG', 'topicSysFlag': 0, 'order': False})
    s.call(c, 'multi-tag topic', 310, v2(s.n('multi'), props={'TAGS': 'a||b'}), b'x')
    stored(s, c, 'stored in a multi-tag topic', s.n('multi'))


@scenario('b1')
def retry_topic(s):
    """Sends to %RETRY%group: limits, dead letters, versions."""
    c = s.connect('b1')
    group = s.n('g')
    s.group(c, group, retryMaxTimes=3)
    topic = '%RETRY%' + group
    for times in (0, 2, 3, 4):
        s.call(c, f'reconsumed {times} of 3', 310, v2(topic, reconsumeTimes=times), b'r%d' % times)
    for label, limit, version in (('5', 5, 409), ('5, version 120', 5, 120), ('5, version 121', 5, 121), ('0', 0, 409), ('-1', -1, 409)):
        s.call(c, f'3 times, maxReconsumeTimes {label}', 310, v2(topic, reconsumeTimes=3, maxReconsumeTimes=limit), b'm', version=version)
    s.call(c, 'dead letter with DELAY', 310, v2(topic, reconsumeTimes=9, props={'DELAY': '1', 'TAGS': 'x'}), b'late', vol={'ext.queueOffset': 'any'})
    stored(s, c, 'in the retry topic', topic)
    stored(s, c, 'in the dead letter topic', '%DLQ%' + group)
    s.route(s.connect('ns'), 'route of the dead letter topic', '%DLQ%' + group)
    s.call(c, 'limit ignored on other topics', 310, v2(s.n(), reconsumeTimes=100, maxReconsumeTimes=1), b'x')


@scenario('b1')
def replies(s):
    """SEND_REPLY_MESSAGE and its push to the requester."""
    c, r = s.connect('b1'), s.connect('b1', 'requester')
    topic = 'WireCluster_REPLY_TOPIC'
    any_offset = {'ext.queueOffset': 'int'}
    start = head(s, c, topic)
    s.beat(r, s.n('requester'), (), [s.n('p')])
    props = {'MSG_TYPE': 'reply', 'CORRELATION_ID': 'c1', 'REPLY_TO_CLIENT': s.n('requester'), 'TTL': '3000'}
    for code, header in ((324, v1), (325, v2)):
        p = s.send(c, code, header(topic, props=props, flag=3), b'the reply')
        push = s.push(f'{code}: push', r, 326)
        if push:
            r.write(wire.encode(0, None, opaque=push.opaque, flag=1))
        s.answer(f'{code}: answer', p, vol=any_offset)
        p = s.send(c, code, header(topic, props=props), b'the reply')
        push = s.push(None, r, 326)
        if push:
            r.write(wire.encode(1, None, opaque=push.opaque, flag=1, remark='no'))
        s.answer(f'{code}: the client answers 1', p, vol=any_offset)
        s.call(c, f'{code}: unknown client', code, header(topic, props={**props, 'REPLY_TO_CLIENT': 'nobody'}), b'x', vol=any_offset)
        s.call(c, f'{code}: no client', code, header(topic, props={'MSG_TYPE': 'reply'}), b'x', vol=any_offset)
        s.call(c, f'{code}: illegal topic', code, header('a/b', props=props), b'x')
        s.call(c, f'{code}: no header', code, None, b'x')
    stored(s, c, 'stored replies', topic, 0, start, vol={'ext.*Offset': 'int'})
    s.call(c, 'reply property under 310 is an ordinary message', 310, v2(topic, props=props), b'x', vol=any_offset)
    s.no_push('no push for 310', r, 326)


@scenario('alone')
def no_permission(s):
    """brokerPermission without write, without read."""
    c, n = s.connect('b1'), s.connect('ns')
    s.topic(c, s.n())
    s.put(c, s.n(), b'one')
    s.group(c, s.n('g'))
    for perm in (4, 2, 6):
        s.call(c, f'perm {perm}: update', 25, None, f'brokerPermission={perm}\n'.encode())
        s.call(c, f'perm {perm}: send', 310, v2(s.n()), b'x')
        s.call(c, f'perm {perm}: batch', 320, v2(s.n(), batch=True), batch((b'x', '')))
        s.call(c, f'perm {perm}: pull', 11, pull(s.n('g'), s.n(), maxMsgNums=1), kind='records')
        s.call(c, f'perm {perm}: send back', 36, {'group': s.n('g'), 'offset': 0, 'delayLevel': 0})
        s.call(c, f'perm {perm}: max offset', 30, {'topic': s.n(), 'queueId': 0})
        s.route(n, f'perm {perm}: route', s.n())
        s.call(c, f'perm {perm}: create topic', 17, {'topic': s.n(f'new{perm}'), 'defaultTopic': 'TBW102', 'readQueueNums': 1, 'writeQueueNums': 1,
                                                     'perm': 6, 'topicFilterType': 'SINGLE_TAG', 'topicSysFlag': 0, 'order': False})
        s.route(n, f'perm {perm}: route of a new topic', s.n(f'new{perm}'))
