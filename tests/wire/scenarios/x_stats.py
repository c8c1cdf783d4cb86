"""Statistics by every name and key after every kind of traffic; what the broker's own groups and topics tell."""
import wire
from dsl import batch, msg_id_offset, pull, scenario, v2

STATS = {'body.*.sum': 'any', 'body.*.tps': 'any', 'body.*.avgpt': 'any'}
NAMES = ('TOPIC_PUT_NUMS', 'TOPIC_PUT_SIZE', 'GROUP_GET_NUMS', 'GROUP_GET_SIZE', 'GROUP_GET_LATENCY', 'SNDBCK_PUT_NUMS', 'BROKER_PUT_NUMS', 'BROKER_GET_NUMS',
         'GROUP_GET_FROM_DISK_NUMS', 'BROKER_GET_FROM_DISK_NUMS', 'QUEUE_PUT_NUMS', 'QUEUE_PUT_SIZE', 'QUEUE_GET_NUMS', 'QUEUE_GET_SIZE',
         'COMMERCIAL_SEND_TIMES', 'COMMERCIAL_SNDBCK_TIMES', 'COMMERCIAL_RCV_EPOLLS', 'COMMERCIAL_PERM_FAILURES', 'GROUP_GET_FALL_SIZE', 'GROUP_GET_FALL_TIME')


@scenario('b2.z1')
def every_kind(s):
    """Which items there are."""
    c = s.connect('b2')
    t, group = s.n(), s.n('g')
    s.topic(c, t, 3)
    s.group(c, group)
    keys = (t, f'{t}@{group}', f'{t}@0', f'0@{t}@{group}', f'{t}@0@{group}', f'{t}@2', '%RETRY%' + group, f'%RETRY%{group}@{group}', '%DLQ%' + group, f'%DLQ%{group}@r', f'{t}@nobody', '')

    def look(label, more=()):
        for name in NAMES:
            for key in (*keys, *more):
                s.call(c, f'{label}: {name} {key}'.replace(s.own, ''), 315, {'statsName': name, 'statsKey': key}, vol=STATS)

    look('nothing yet')
    frame = s.put(c, t, b'x')
    s.settle(c)
    s.setup(c, 11, pull(group, t, 0, 5))
    s.setup(c, 11, pull(group, t, 0, 0, sub='C'))
    look('pulled nothing')
    s.setup(c, 11, pull(group, t))
    s.setup(c, 320, v2(t, queue=2, batch=True), batch((b'1', ''), (b'2', '')))
    back = {'group': group, 'offset': msg_id_offset(frame.ext['msgId']), 'delayLevel': 1, 'originMsgId': 'x', 'originTopic': t}
    s.setup(c, 36, back)
    s.setup(c, 36, {**back, 'delayLevel': -1})
    s.setup(c, 310, v2(t, queue=1, props={'DELAY': '1'}), b'late')
    s.pause(2)
    look('came', ('SCHEDULE_TOPIC_XXXX@0', 'SCHEDULE_TOPIC_XXXX@0@SCHEDULE_CONSUMER', 'SCHEDULE_TOPIC_XXXX@SCHEDULE_CONSUMER'))
    s.setup(c, 215, {'topic': t})
    s.setup(c, 207, {'groupName': group, 'removeOffset': 'true'})
    look('all deleted')


@scenario('b2.z2')
def own_topics(s):
    """Questions about the broker's own topics and groups."""
    c = s.connect('b2')
    vol = {**STATS, 'body.consumeTps': 'any', 'body.*Offset': 'int', 'body.*Timestamp': 'any', 'body.*TimeStamp': 'any', 'body.*Str': 'any', 'body.delayTime': 'any', 'body.*delayTime': 'any', 'ext.offset': 'int', 'ext.timestamp': 'any',
           'body.*elayTime': 'any', 'ext.*Offset': 'int'}
    for topic in ('TBW102', 'SELF_TEST_TOPIC', 'BenchmarkTest', 'OFFSET_MOVED_EVENT', 'WireCluster', 'wire-b', 'WireCluster_REPLY_TOPIC', 'SCHEDULE_TOPIC_XXXX',
                  'RMQ_SYS_TRANS_HALF_TOPIC', 'RMQ_SYS_TRANS_OP_HALF_TOPIC', 'TRANS_CHECK_MAX_TIME_TOPIC', 'RMQ_SYS_TRACE_TOPIC', 'rmq_sys_x', 'TOPIC_VALIDATOR'):
        for code, h in ((202, {'topic': topic}), (300, {'topic': topic}), (105, {'topic': topic}), (31, {'topic': topic, 'queueId': 0}), (215, {'topic': topic}),
                        (17, {'topic': topic, 'defaultTopic': 'TBW102', 'readQueueNums': 1, 'writeQueueNums': 1, 'perm': 6, 'topicFilterType': 'SINGLE_TAG', 'topicSysFlag': 0, 'order': 'false'})):
            if topic in ('RMQ_SYS_TRANS_HALF_TOPIC', 'RMQ_SYS_TRANS_OP_HALF_TOPIC', 'TRANS_CHECK_MAX_TIME_TOPIC') and code in (202, 300):
                continue
            s.call(c, f'{topic}: {code}', code, h, vol=vol)
        s.call(c, f'{topic}: send', 310, v2(topic), b'x', vol={'ext.queueOffset': 'int', 'ext.msgId': 'any'})
        s.call(c, f'{topic}: batch', 320, v2(topic, batch=True), batch((b'x', '')), vol={'ext.queueOffset': 'int', 'ext.msgId': 'any'})
    for group in ('TOOLS_CONSUMER', 'FILTERSRV_CONSUMER', 'SELF_TEST_C_GROUP', 'CID_ONS-HTTP-PROXY', 'CID_ONSAPI_PULL', 'CID_RMQ_SYS_TRANS', 'SCHEDULE_CONSUMER', 'CID_RMQ_SYS_OTHER', 'CLIENT_INNER_PRODUCER'):
        for code, h in ((203, {'consumerGroup': group}), (38, {'consumerGroup': group}), (204, {'producerGroup': group}), (11, pull(group, 'SELF_TEST_TOPIC', 0, 10**9)), (11, pull(group, 'SELF_TEST_TOPIC', 0, 0, sysflag=0))):
            s.call(c, f'{group}: {code} {len(h)}', code, h, vol={'ext.*Offset': 'int'})


@scenario('b1.z1')
def lists(s):
    """Requests about everything, with fields that narrow them in other releases, in both header forms."""
    c = s.connect('b1')
    for code in (54, 52, 53, 60, 61, 306, 316, 305, 328, 317, 900, 901, 907, 343, 345, 351, 352, 353, 354, 355, 361, 362, 363, 370, 371, 512, 513, 1001, 1005, 2001, 3001, 3006, 10000, 32767):
        if code in (61, 60, 343, 345, 351, 352, 361, 370, 907, 52, 317, 328):
            continue
        for stype in (wire.JSON, wire.BINARY):
            s.call(c, f'{code} {stype}', code, {}, stype=stype, wait=2)
