"""What operators ask of a broker: lists, runtime information, configuration, statistics, cleaning, order configuration."""
import re

import bodies
import wire
from dsl import consumer, group_config, msg_id_offset, pull, scenario, subscription, v2

LISTS = {'body.dataVersion*': 'drop', '@lazy': True, 'body.subscriptionGroupTable.': 'drop', 'body.subscriptionGroupTable. ': 'drop',
         'body.topicConfigTable.': 'drop'}
STATS = {'body.*.sum': 'any', 'body.*.tps': 'any', 'body.*.avgpt': 'any'}
SYSTEM_TOPICS = ('TBW102', 'BenchmarkTest', 'SELF_TEST_TOPIC', 'OFFSET_MOVED_EVENT', 'WireCluster', 'wire-a', 'WireCluster_REPLY_TOPIC',
                 'SCHEDULE_TOPIC_XXXX', 'RMQ_SYS_TRACE_TOPIC')


def shape(value):
    """The form of a runtime value: digits are one digit, as many as there are."""
    return re.sub(r'\d+', '9', value)


@scenario('alone')
def runtime_info(s):
    """GET_BROKER_RUNTIME_INFO: the keys, and the form of each value."""
    for server in ('b1', 'b2'):
        c = s.connect(server)
        frame = s.setup(c, 28)
        table = bodies.FastJson(frame.body.decode()).root['table']
        for key in sorted(table):
            if not key.startswith('scheduleMessageOffset_'):
                s.check(f'{server}: has {s.norm.text(key)}', True)
        s.check(f'{server}: all values are text', sorted({type(v).__name__ for v in table.values()}))
        for key, value in sorted(table.items()):
            if key in ('bootTimestamp', 'commitLogDiskRatio', 'consumeQueueDiskRatio', 'commitLogDirCapacity', 'remainHowManyDataToFlush') \
                    or key.endswith('Tps') or 'DiskRatio' in key or key in ('earliestMessageTimeStamp', 'putLatency99', 'putLatency999'):
                continue
            if key == 'putMessageDistributeTime':
                value = 'null' if value == 'null' else re.sub(r':\d+', ':9', value)
                s.check(f'{server}: {key}', value if value != 'null' else '[<=0ms]:9 [0~10ms]:9 [10~50ms]:9 [50~100ms]:9 [100~200ms]:9 '
                        '[200~500ms]:9 [500ms~1s]:9 [1~2s]:9 [2~3s]:9 [3~4s]:9 [4~5s]:9 [5~10s]:9 [10s~]:9 ')
            elif not key.startswith('scheduleMessageOffset_'):
                s.check(f'{server}: {s.norm.text(key)}', shape(value))
        for key in ('putTps', 'getFoundTps', 'getTotalTps', 'getTransferedTps', 'getMissTps'):
            numbers = table[key].split(' ')
            s.check(f'{server}: {key} has three parts', len(numbers))
            s.check(f'{server}: {key} begins with a number', bool(re.fullmatch(r'\d+\.\d+(E\d+)?', numbers[0])))
        s.check(f'{server}: directory', bool(re.fullmatch(r'Total : [\d.]+ [KMGTPE]iB, Free : [\d.]+ [KMGTPE]iB\.', table['commitLogDirCapacity'])))
        s.check(f'{server}: version', table['brokerVersionDesc'][:4])


@scenario('alone')
def configuration(s):
    """GET_BROKER_CONFIG and UPDATE_BROKER_CONFIG."""
    c = s.connect('b1')
    frame = s.setup(c, 26)
    table = bodies.property_file(frame.body.decode())
    s.check('fields', sorted(frame.ext or {}))
    s.check('version', sorted(bodies.FastJson(frame.ext['version']).root))
    s.check('ends with a newline', frame.body.endswith(b'\n'))
    volatile = {'listenPort', 'haListenPort', 'namesrvAddr', 'brokerIP1', 'brokerIP2', 'rocketmqHome', 'messageStorePlugIn', 'accessMessageInMemoryMaxRatio'}
    for key, value in sorted(table.items()):
        if key in volatile or 'Thread' in key or 'Buf' in key or 'Timestamp' in key or 'brokerConfigPath' in key:
            s.check(f'key {key}', 'there')
        else:
            s.check(f'key {key}', s.norm.text(value))

    def after(label, text, *keys):
        s.call(c, label, 25, None, text if isinstance(text, bytes) else text.encode())
        table = bodies.property_file(s.setup(c, 26).body.decode())
        for key in keys:
            s.check(f'{label}: {key}', table.get(key, 'absent'))

    after('one value', 'defaultQueryMaxNum=31\n', 'defaultQueryMaxNum')
    after('two values', 'defaultQueryMaxNum=32\nmaxTransferCountOnMessageInMemory=33\n', 'defaultQueryMaxNum', 'maxTransferCountOnMessageInMemory')
    after('back again', 'maxTransferCountOnMessageInMemory=32', 'maxTransferCountOnMessageInMemory')
    after('comments and blanks', '# comment\n! another\n\n  shortPollingTimeMills  =  1001  \n', 'shortPollingTimeMills')
    after('a colon', 'shortPollingTimeMills:1002\n', 'shortPollingTimeMills')
    after('continued', 'shortPollingTimeMills=10\\\n00\n', 'shortPollingTimeMills')
    after('escaped', 'regionId=a\\u0062c\\=d\n', 'regionId')
    after('twice', 'regionId=first\nregionId=DefaultRegion\n', 'regionId')
    after('carriage returns', 'shortPollingTimeMills=1000\r\nregionId=DefaultRegion\r\n', 'shortPollingTimeMills', 'regionId')
    after('a boolean', 'traceOn=false\n', 'traceOn')
    after('a boolean back', 'traceOn=true\n', 'traceOn')
    after('a double', 'filterServerNums=0\n', 'filterServerNums')
    after('nothing', '', 'traceOn')
    frame = s.setup(c, 26)
    before = bodies.FastJson(frame.ext['version']).root['counter']
    s.setup(c, 25, None, b'traceOn=true\n')
    s.check('the version grows', bodies.FastJson(s.setup(c, 26).ext['version']).root['counter'] - before)
    s.call(c, 'without body', 25)


@scenario('alone')
def lists(s):
    """Tables as slaves and tools fetch them."""
    c = s.connect('b1')
    s.topic(c, s.n(), 3, perm=4, sysflag=1)
    s.group(c, s.n('g'), retryMaxTimes=3)
    s.setup(c, 15, {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': 2, 'commitOffset': 9})
    topics = s.setup(c, 21)
    table = bodies.FastJson(topics.body.decode()).root
    s.check('topics: keys', sorted(table))
    s.check('topics: version', sorted(table['dataVersion']))
    for name in (*SYSTEM_TOPICS, s.n()):
        s.check(f'topic {name}', table['topicConfigTable'].get(name, 'absent'))
    groups = bodies.FastJson(s.setup(c, 201).body.decode()).root
    s.check('groups: keys', sorted(groups))
    for name in ('TOOLS_CONSUMER', 'FILTERSRV_CONSUMER', 'SELF_TEST_C_GROUP', 'CID_ONS-HTTP-PROXY', 'CID_ONSAPI_PULL', 'CID_ONSAPI_PERMISSION', 'CID_ONSAPI_OWNER', s.n('g')):
        s.check(f'group {name}', groups['subscriptionGroupTable'].get(name, 'absent'))
    offsets = bodies.FastJson(s.setup(c, 43).body.decode()).root
    s.check('offsets: keys', sorted(offsets))
    s.check('offsets', offsets['offsetTable'].get(f"{s.n()}@{s.n('g')}", 'absent'))
    delays = bodies.FastJson(s.setup(c, 45).body.decode()).root
    s.check('delay offsets: keys', sorted(delays))
    s.check('delay offsets: types', sorted({type(v).__name__ for v in delays['offsetTable'].values()} | {'int'}))
    for code in (21, 201, 43, 45):
        frame = s.setup(c, code, stype=wire.BINARY)
        s.check(f'{code} in binary', {'code': frame.code, 'type': frame.stype, 'ext': frame.ext or {}})
        s.check(f'{code} on the fast port', getattr(s.setup(s.connect('b1fast'), code), 'code', 'none'))
    stats = bodies.FastJson(s.setup(c, 317, {'isOrder': 'false'}).body.decode()).root
    s.check('consume stats: keys', sorted(stats))
    s.check('consume stats of the group', [x[s.n('g')] for x in stats['consumeStatsList'] if s.n('g') in x])
    stats = bodies.FastJson(s.setup(c, 317, {'isOrder': 'true'}).body.decode()).root
    s.check('ordered consume stats of the group', [x[s.n('g')] for x in stats['consumeStatsList'] if s.n('g') in x])
    m = s.connect('b1', 'producer')
    s.beat(m, s.n('cid'), (), [s.n('p'), s.n('p2')], language='GO', version=317)
    producers = bodies.FastJson(s.setup(c, 328, {}).body.decode()).root
    s.check('producers: keys', sorted(producers))
    for name in ('p', 'p2'):
        found = [{**x, 'lastUpdateTimestamp': s.norm.rule('now', x.get('lastUpdateTimestamp')), 'remoteIP': s.norm.text(str(x.get('remoteIP')))}
                 for x in producers['data'].get(s.n(name), [])]
        s.check(f'producers of {name}', found)
    s.call(c, 'system topics', 305)


@scenario('alone')
def cleaning(s):
    """Cleaning and what it leaves."""
    c = s.connect('b1')
    s.topic(c, s.n())
    s.put(c, s.n(), b'stays')
    s.settle(c)
    for code in (306, 316, 329):
        s.call(c, f'code {code}', code)
        s.call(c, f'code {code} with fields', code, {'a': 'b'})
        s.call(c, f'code {code} in binary', code, stype=wire.BINARY)
    s.call(c, 'the message', 11, pull(s.n('g'), s.n()), kind='records')
    s.setup(c, 215, {'topic': s.n()})
    s.call(c, 'deleted topic', 11, pull(s.n('g'), s.n()))
    s.call(c, 'its end', 30, {'topic': s.n(), 'queueId': 0})
    s.topic(c, s.n())
    s.call(c, 'made again', 11, pull(s.n('g'), s.n()))
    s.put(c, s.n(), b'new')
    s.settle(c)
    s.call(c, 'its new message', 11, pull(s.n('g'), s.n()), kind='records')


@scenario('b1.ops')
def statistics(s):
    """VIEW_BROKER_STATS_DATA: which items there are after which requests."""
    c = s.connect('b1')
    group = s.n('g')
    s.topic(c, s.n())
    s.group(c, group)
    names = ('TOPIC_PUT_NUMS', 'TOPIC_PUT_SIZE', 'GROUP_GET_NUMS', 'GROUP_GET_SIZE', 'GROUP_GET_LATENCY', 'SNDBCK_PUT_NUMS', 'BROKER_PUT_NUMS',
             'BROKER_GET_NUMS', 'GROUP_GET_FROM_DISK_NUMS', 'GROUP_GET_FROM_DISK_SIZE', 'BROKER_GET_FROM_DISK_NUMS', 'COMMERCIAL_SEND_TIMES',
             'COMMERCIAL_RCV_TIMES', 'QUEUE_PUT_NUMS', 'TOPIC_PUT_LATENCY', 'GROUP_ACK_NUMS', 'DLQ_PUT_NUMS', 'topic_put_nums', '')
    for name in names:
        for key in (s.n(), f'{s.n()}@{group}', 'WireCluster'):
            if key != 'WireCluster':
                s.call(c, f'before: {name} {key}', 315, {'statsName': name, 'statsKey': key}, vol=STATS)
    frame = s.put(c, s.n(), b'x')
    s.settle(c)
    s.setup(c, 11, pull(group, s.n()))
    s.setup(c, 36, {'group': group, 'offset': msg_id_offset(frame.ext['msgId']), 'delayLevel': 5, 'originMsgId': 'x', 'originTopic': s.n()})
    for name in names:
        for key in (s.n(), f'{s.n()}@{group}', 'WireCluster'):
            s.call(c, f'after: {name} {key}', 315, {'statsName': name, 'statsKey': key}, vol=STATS)
    s.setup(c, 215, {'topic': s.n()})
    s.call(c, 'of the deleted topic', 315, {'statsName': 'TOPIC_PUT_NUMS', 'statsKey': s.n()}, vol=STATS)
    s.setup(c, 207, {'groupName': group})
    s.call(c, 'of the deleted group', 315, {'statsName': 'GROUP_GET_NUMS', 'statsKey': f'{s.n()}@{group}'}, vol=STATS)


@scenario('b1.ops')
def topic_settings(s):
    """UPDATE_AND_CREATE_TOPIC: each setting, what the broker and the name server then tell, what sends and pulls meet."""
    c, n = s.connect('b1'), s.connect('ns')
    for label, over in (('one queue', {'readQueueNums': 1, 'writeQueueNums': 1}), ('more read', {'readQueueNums': 5, 'writeQueueNums': 2}),
                        ('more written', {'readQueueNums': 1, 'writeQueueNums': 3}), ('no permission', {'perm': 0}), ('read', {'perm': 4}),
                        ('write', {'perm': 2}), ('inherited', {'perm': 7}), ('odd permission', {'perm': 15}), ('unit', {'topicSysFlag': 1}),
                        ('unit subscription', {'topicSysFlag': 2}), ('both', {'topicSysFlag': 3}), ('multi tag', {'topicFilterType': 'MULTI_TAG'}),
                        ('ordered', {'order': 'true'}), ('attributes of 5.x', {'attributes': '+message.type=NORMAL'})):
        topic = s.n(label.replace(' ', '').replace('.', ''))
        header = {'topic': topic, 'defaultTopic': 'TBW102', 'readQueueNums': 2, 'writeQueueNums': 2, 'perm': 6, 'topicFilterType': 'SINGLE_TAG',
                  'topicSysFlag': 0, 'order': 'false', **over}
        s.call(c, label, 17, header)
        s.route(n, f'{label}: route', topic)
        s.call(c, f'{label}: stats', 202, {'topic': topic})
        for queue in (0, 2):
            s.call(c, f'{label}: send to {queue}', 310, v2(topic, queue=queue), b'x', vol={'ext.queueId': 'int', 'ext.queueOffset': 'int'})
        for queue in (0, 1, 4):
            s.call(c, f'{label}: pull from {queue}', 11, pull(s.n('g'), topic, queue, 1000))
        s.call(c, f'{label}: deleted', 215, {'topic': topic})
        s.call(c, f'{label}: stats then', 202, {'topic': topic})


@scenario('alone')
def order_configuration(s):
    """A topic is ordered if the name server's table says so; brokers learn it when they register."""
    c, n = s.connect('b1'), s.connect('ns')
    kv = {'namespace': 'ORDER_TOPIC_CONFIG', 'key': s.n()}
    s.call(n, 'configured', 100, {**kv, 'value': 'wire-a:2'})
    s.topic(c, s.n(), 2)
    s.route(n, 'route', s.n())

    def order():
        table = bodies.FastJson(s.setup(c, 21).body.decode()).root
        return table['topicConfigTable'][s.n()]['order']

    s.until(order, 3)
    s.check('ordered', order())
    s.call(c, 'sent to an ordered topic', 310, v2(s.n()), b'x')
    s.call(n, 'no more', 102, kv)
    s.topic(c, s.n(), 2)
    s.until(lambda: not order(), 3)
    s.check('not ordered', order())
    s.route(n, 'route then', s.n())


@scenario('b1.ops')
def access_control_off(s):
    """Requests about accounts while there is no access control; credentials that nobody asked for."""
    c = s.connect('b1')
    account = {'accessKey': 'rocketmq2', 'secretKey': '12345678', 'admin': 'false', 'whiteRemoteAddress': '', 'defaultTopicPerm': 'DENY',
               'defaultGroupPerm': 'SUB', 'topicPerms': 'a=PUB', 'groupPerms': 'b=SUB'}
    s.call(c, 'update account', 50, account)
    s.call(c, 'delete account', 51, {'accessKey': 'rocketmq2'})
    s.call(c, 'white addresses', 53, {'globalWhiteAddrs': '10.0.0.*'})
    for code in (50, 51, 53):
        s.call(c, f'{code} without header', code)
    signed = {'AccessKey': 'someone', 'Signature': 'AAAA', 'OnsChannel': 'ALIYUN', 'SecurityToken': 'x'}
    s.topic(c, s.n())
    s.call(c, 'signed send', 310, {**v2(s.n()), **signed}, b'x')
    s.call(c, 'signed pull', 11, {**pull(s.n('g'), s.n()), **signed}, kind='records')
    s.call(c, 'signed question', 30, {'topic': s.n(), 'queueId': 0, **signed})
