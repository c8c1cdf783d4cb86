"""Light queues' names at a broker that has none of them: topics, groups and offsets like others, with exceptions."""
from dsl import batch, consumer, heartbeat, msg_id_offset, pull, scenario, subscription, v2


@scenario('b1.u1')
def names(s):
    """Topics and groups named %LMQ%… without enableLmq."""
    c, n = s.connect('b1'), s.connect('ns')
    t, group, plain = '%LMQ%' + s.n(), '%LMQ%' + s.n('g'), s.n('plain')
    s.topic(c, plain)

    def look(label):
        for code, h in ((202, {'topic': t}), (30, {'topic': t, 'queueId': 0}), (31, {'topic': t, 'queueId': 0}), (14, {'consumerGroup': group, 'topic': t, 'queueId': 0}), (300, {'topic': t}),
                        (208, {'consumerGroup': group}), (105, {'topic': t})):
            s.call(n if code == 105 else c, f'{label}: {code}', code, h, vol={'body.consumeTps': 'any'})
        s.call(c, f'{label}: pull', 11, pull(group, t), kind='records')
        s.call(c, f'{label}: pull by a plain group', 11, pull(s.n('r'), t), kind='records')

    look('unknown')
    s.call(c, 'automatic', 310, v2(t), b'x')
    s.settle(c)
    look('automatic')
    s.topic(c, t, 2)
    look('made')
    frame = s.put(c, t, b'one', KEYS='k')
    s.call(c, 'dispatched to it', 310, v2(plain, props={'INNER_MULTI_DISPATCH': t, 'INNER_MULTI_QUEUE_OFFSET': '5'}), b'x')
    s.call(c, 'batch', 320, v2(t, batch=True), batch((b'1', '')))
    s.setup(c, 15, {'consumerGroup': group, 'topic': t, 'queueId': 0, 'commitOffset': 1})
    s.settle(c)
    look('filled')
    s.call(c, 'group', 200, None, {'groupName': group, 'consumeEnable': False})
    look('group disabled')
    s.call(c, 'given back', 36, {'group': group, 'offset': msg_id_offset(frame.ext['msgId']), 'delayLevel': -1, 'originMsgId': 'x', 'originTopic': t})
    s.call(c, 'beat', 34, None, heartbeat(s.n('cid'), [consumer(group, subscription(t))]))
    s.drain(c)
    look('with a member')
    s.call(c, 'group deleted', 207, {'groupName': group, 'removeOffset': 'true'})
    look('group deleted')
    s.call(c, 'topic deleted', 215, {'topic': t})
    look('topic deleted')
    s.call(c, 'topic deleted again', 215, {'topic': t})
    s.call(c, 'sent then', 310, v2(t), b'x')
    s.settle(c)
    look('sent then')


@scenario('b1.u1')
def odd_names(s):
    """Topics and groups with names that other parts of the broker take apart."""
    c, n = s.connect('b1'), s.connect('ns')
    for name in ('a-b_c', '%a%', '|x|', '%RETRY%%RETRY%x', 'ns%t', '%RETRY%ns%g', '0', '-', '%SYS%x', 'RMQ_SYS_X', 'TBW102x', 'null', 'true'):
        t = name + s.n() if name.startswith('%') else s.n() + name
        label = name[:20]
        s.call(c, f'{label}: made', 17, {'topic': t, 'defaultTopic': 'TBW102', 'readQueueNums': 1, 'writeQueueNums': 1, 'perm': 6, 'topicFilterType': 'SINGLE_TAG', 'topicSysFlag': 0, 'order': 'false'})
        s.call(c, f'{label}: sent', 310, v2(t, props={'KEYS': 'k'}), b'x', vol={'ext.queueOffset': 'int'})
        s.call(c, f'{label}: delayed', 310, v2(t, props={'DELAY': '18'}), b'x', vol={'ext.queueOffset': 'int'})
        s.call(c, f'{label}: pulled', 11, pull(t, t), kind='records')
        s.call(c, f'{label}: committed', 15, {'consumerGroup': t, 'topic': t, 'queueId': 0, 'commitOffset': 1})
        s.call(c, f'{label}: consumed by', 300, {'topic': t})
        s.call(c, f'{label}: stats', 208, {'consumerGroup': t}, vol={'body.consumeTps': 'any'})
        s.call(c, f'{label}: correction', 308, {'topic': t, 'compareGroup': t})
        s.call(c, f'{label}: by key', 12, {'topic': t, 'key': 'k', 'maxNum': 9, 'beginTimestamp': 0, 'endTimestamp': 2**62}, kind='records')
        s.call(c, f'{label}: group deleted', 207, {'groupName': t, 'removeOffset': 'true'})
        s.call(c, f'{label}: offset', 14, {'consumerGroup': t, 'topic': t, 'queueId': 0})
        s.call(c, f'{label}: deleted', 215, {'topic': t})
        s.call(c, f'{label}: stats then', 202, {'topic': t})
    for group in ('a^b', 'a#b'):
        g = s.n() + group
        s.topic(c, s.n())
        s.call(c, f'group {group}: committed', 15, {'consumerGroup': g, 'topic': s.n(), 'queueId': 0, 'commitOffset': 3})
        s.call(c, f'group {group}: offset', 14, {'consumerGroup': g, 'topic': s.n(), 'queueId': 0})
        s.call(c, f'group {group}: consumed by', 300, {'topic': s.n()})
        s.call(c, f'group {group}: stats', 208, {'consumerGroup': g}, vol={'body.consumeTps': 'any'})
        s.call(c, f'group {group}: correction', 308, {'topic': s.n(), 'compareGroup': g})
        s.call(c, f'group {group}: cloned', 314, {'srcGroup': g, 'destGroup': s.n('h'), 'topic': s.n(), 'offline': 'true'})
        s.call(c, f'group {group}: clone', 14, {'consumerGroup': s.n('h'), 'topic': s.n(), 'queueId': 0})
        s.call(c, f'group {group}: deleted', 207, {'groupName': g, 'removeOffset': 'true'})
        s.call(c, f'group {group}: offset then', 14, {'consumerGroup': g, 'topic': s.n(), 'queueId': 0})
