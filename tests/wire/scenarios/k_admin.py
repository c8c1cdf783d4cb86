"""Topics, groups, settings and statistics."""
from dsl import consumer, group_config, pull, scenario, subscription, v2


@scenario('b1')
def topics(s):
    c, n = s.connect('b1'), s.connect('ns')
    base = {'topic': s.n(), 'defaultTopic': 'TBW102', 'readQueueNums': 3, 'writeQueueNums': 2, 'perm': 6, 'topicFilterType': 'SINGLE_TAG', 'topicSysFlag': 0, 'order': 'false'}
    s.call(c, 'create', 17, base)
    s.route(n, 'route', s.n())
    s.call(c, 'update', 17, {**base, 'perm': 4, 'readQueueNums': 1})
    s.route(n, 'route updated', s.n())
    for f in base:
        s.call(c, f'without {f}', 17, {k: v for k, v in {**base, 'topic': s.n('w' + f)}.items() if k != f})
    for label, o in (('perm 99', {'perm': 99}), ('perm 0', {'perm': 0}), ('queues 0', {'readQueueNums': 0, 'writeQueueNums': 0}), ('queues -1', {'readQueueNums': -1, 'writeQueueNums': -1}),
                     ('filter MULTI_TAG', {'topicFilterType': 'MULTI_TAG'}), ('filter x', {'topicFilterType': 'x'}), ('order', {'order': 'true'}), ('bad perm', {'perm': 'x'}),
                     ('slash', {'topic': 'a/b'}), ('empty', {'topic': ''}), ('TBW102', {'topic': 'TBW102'}), ('schedule', {'topic': 'SCHEDULE_TOPIC_XXXX'}), ('cluster', {'topic': 'WireCluster'}),
                     ('long', {'topic': 'x' * 128}), ('rmq_sys_', {'topic': 'rmq_sys_x'})):
        s.call(c, f'create {label}', 17, {**base, 'topic': s.n('c' + label.replace(' ', '').replace('-', '')), **o})
    s.call(c, 'delete', 215, {'topic': s.n()})
    s.call(c, 'delete again', 215, {'topic': s.n()})
    s.call(c, 'delete unknown', 215, {'topic': s.n('never')})
    s.call(c, 'delete system', 215, {'topic': 'TBW102'})
    s.call(c, 'delete empty', 215, {'topic': ''})
    s.call(c, 'delete none', 215, {})
    s.call(c, 'pull deleted', 11, pull(s.n('g'), s.n()))


@scenario('b1')
def groups(s):
    c = s.connect('b1')
    s.call(c, 'create', 200, None, group_config(s.n('g')))
    s.call(c, 'update', 200, None, group_config(s.n('g'), retryMaxTimes=3, consumeEnable=False))
    s.call(c, 'pull', 11, pull(s.n('g'), 'BenchmarkTest'))
    s.call(c, 'no body', 200)
    s.call(c, 'empty', 200, None, b'{}')
    s.call(c, 'not json', 200, None, b'x')
    s.call(c, 'delete', 207, {'groupName': s.n('g'), 'cleanOffset': 'true'})
    s.call(c, 'delete again', 207, {'groupName': s.n('g')})
    s.call(c, 'delete none', 207, {})
    s.call(c, 'system topics', 305)
    s.call(c, 'clean queues', 306)
    s.call(c, 'clean topics', 316)
    s.call(c, 'delete files', 329)
    s.call(c, 'stats unknown', 315, {'statsName': 'TOPIC_PUT_NUMS', 'statsKey': 'nope'})
    s.call(c, 'stats unknown name', 315, {'statsName': 'NOPE', 'statsKey': 'nope'})
    s.call(c, 'stats none', 315, {})
    s.call(c, 'config bad', 25, None, b'brokerConfigPath=/tmp/x\n')
    s.call(c, 'config home', 25, None, b'rocketmqHome=/tmp/x\n')
    s.call(c, 'config none', 25)
    s.call(c, 'resume half none', 323, {})
    s.call(c, 'resume half bad', 323, {'msgId': 'x'})
    for code in (13, 22, 23, 27, 209, 213, 301, 400, 200050, 99999, -1):
        s.call(c, f'code {code}', code, {})
    f = s.connect('b1fast')
    s.call(f, 'fast pull', 11, pull(s.n('g'), 'BenchmarkTest'))
    s.call(f, 'fast send', 310, v2('BenchmarkTest'), b'x', vol={'ext.queueOffset': 'int'})
    s.call(f, 'fast max offset', 30, {'topic': s.n('zz'), 'queueId': 0})
