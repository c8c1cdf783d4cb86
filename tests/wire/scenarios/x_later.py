"""What comes later: delayed, retried and half messages whose topic, group or permission went meanwhile."""
from dsl import msg_id_offset, pull, scenario, v2


def half(s, c, topic, queue=0, **props):
    frame = s.setup(c, 310, v2(topic, queue=queue, sysFlag=4, props={'TRAN_MSG': 'true', 'PGROUP': s.n('p'), **props}), b'half')
    return {'producerGroup': s.n('p'), 'tranStateTableOffset': frame.ext['queueOffset'], 'commitLogOffset': msg_id_offset(frame.ext['msgId']), 'commitOrRollback': 8,
            'fromTransactionCheck': 'false', 'msgId': 'x', 'transactionId': 'x'}


def change(s, c, how, topic):
    if how == 'deleted':
        s.setup(c, 215, {'topic': topic})
    elif how == 'made again':
        s.setup(c, 215, {'topic': topic})
        s.topic(c, topic, 2)
    elif how == 'fewer queues':
        s.topic(c, topic, 1)
    elif how.startswith('perm'):
        s.topic(c, topic, 2, perm=int(how[5:]))


HOW = ('as it was', 'deleted', 'made again', 'fewer queues', 'perm 4', 'perm 2', 'perm 0')


def seen(s, c, label, topic):
    for q in (0, 1):
        s.call(c, f'{label}: end of {q}', 30, {'topic': topic, 'queueId': q})
        s.call(c, f'{label}: pull {q}', 11, pull(s.n('r'), topic, q), kind='records')
    s.call(c, f'{label}: stats', 202, {'topic': topic})


@scenario('b1.v1')
def committed_later(s):
    """Half messages are committed when their topic is another."""
    c = s.connect('b1')
    for how in HOW:
        t = s.n(how.replace(' ', ''))
        s.topic(c, t, 2)
        s.put(c, t, b'before')
        h = half(s, c, t, 1, TAGS='A', KEYS='k')
        s.settle(c)
        change(s, c, how, t)
        s.call(c, f'{how}: commit', 37, h)
        s.wrote(c)
        s.settle(c)
        if how not in ('made again', 'deleted'):
            seen(s, c, how, t)
        s.call(c, f'{how}: by key', 12, {'topic': t, 'key': 'k', 'maxNum': 9, 'beginTimestamp': 0, 'endTimestamp': 2**62}, kind='records')


@scenario('b1.v2')
def delayed_later(s):
    """Delayed messages come when their topic is another."""
    c = s.connect('b1')
    for how in HOW:
        t = s.n(how.replace(' ', ''))
        s.topic(c, t, 2)
        s.put(c, t, b'before')
        s.put(c, t, b'late', 1, DELAY='1', KEYS='k')
        s.settle(c)
        change(s, c, how, t)
    s.pause(2.2)
    s.wrote(c)
    s.settle(c)
    for how in HOW:
        if how not in ('made again', 'deleted'):
            seen(s, c, how, s.n(how.replace(' ', '')))


@scenario('b1.v2')
def retried_later(s):
    """Messages that were given back come when their group or its retry topic is another."""
    c = s.connect('b1')
    t = s.n()
    s.topic(c, t)
    off = msg_id_offset(s.put(c, t, b'x', TAGS='A').ext['msgId'])
    s.settle(c)
    for how in ('group deleted', 'disabled', 'no retries', 'retry topic deleted', 'retry topic perm 4', 'retry topic perm 0', 'dead topic perm 0'):
        group = s.n(how.replace(' ', ''))
        s.group(c, group)
        s.call(c, f'{how}: given back', 36, {'group': group, 'offset': off, 'delayLevel': 1, 'originMsgId': 'x', 'originTopic': t, 'maxReconsumeTimes': 16})
        if how == 'group deleted':
            s.setup(c, 207, {'groupName': group})
        elif how == 'disabled':
            s.group(c, group, consumeEnable=False)
        elif how == 'no retries':
            s.group(c, group, retryMaxTimes=0)
        elif how == 'retry topic deleted':
            s.setup(c, 215, {'topic': '%RETRY%' + group})
        elif how.startswith('retry topic perm'):
            s.topic(c, '%RETRY%' + group, perm=int(how[-1]))
        else:
            s.topic(c, '%DLQ%' + group, perm=0)
    s.pause(2.2)
    s.wrote(c)
    for how in ('group deleted', 'disabled', 'no retries', 'retry topic deleted', 'retry topic perm 4', 'retry topic perm 0', 'dead topic perm 0'):
        group = s.n(how.replace(' ', ''))
        s.call(c, f'{how}: pulled by itself', 11, pull(group, '%RETRY%' + group), kind='records')
        s.call(c, f'{how}: pulled by another', 11, pull(s.n('r'), '%RETRY%' + group), kind='records')
        s.call(c, f'{how}: sent to its retry topic', 310, v2('%RETRY%' + group, reconsumeTimes=99), b'x')
        s.call(c, f'{how}: dead letters', 11, pull(s.n('r'), '%DLQ%' + group), kind='records')
