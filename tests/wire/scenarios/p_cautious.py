"""The cautious broker: short polling, nothing made automatically, SQL92, reading from slaves suggested."""
import wire
from dsl import batch, consumer, heartbeat, pull, scenario, subscription, v2


@scenario('b2.pull')
def polling(s):
    """Long polling is off: a pull that finds nothing waits a second, whatever it asks for."""
    c, d = s.connect('b2'), s.connect('b2')
    s.topic(c, s.n(), 3)
    s.group(c, s.n('g'))
    for suspend in (0, 100, 20000):
        p = s.send(c, 11, pull(s.n('g'), s.n(), 0, 0, sysflag=6, suspendTimeoutMillis=suspend))
        s.answer(f'nothing, suspend {suspend}', p, window=(0.7, 7))
    s.call(c, 'nothing, no suspension asked for', 11, pull(s.n('g'), s.n(), 0, 0, sysflag=4))
    p = s.send(c, 11, pull(s.n('g'), s.n(), 1, 0, sysflag=6, suspendTimeoutMillis=20000))
    s.pause(0.5)
    s.put(d, s.n(), b'wake', 1)
    s.answer('woken all the same', p, window=(0.3, 2), kind='records')


@scenario('b2.pull')
def nothing_made(s):
    """Unknown groups and topics."""
    c = s.connect('b2')
    s.topic(c, s.n())
    frame = s.put(c, s.n(), b'one')
    s.group(c, s.n('known'))
    s.settle(c)
    for group in ('known', 'unknown'):
        s.call(c, f'{group}: pull', 11, pull(s.n(group), s.n()), kind='records')
        s.call(c, f'{group}: send back', 36, {'group': s.n(group), 'offset': int(frame.ext['msgId'][16:], 16), 'delayLevel': 3,
                                              'originMsgId': 'x', 'originTopic': s.n()})
        m = s.connect('b2')
        s.call(m, f'{group}: heartbeat', 34, None, heartbeat(s.n('c'), [consumer(s.n(group), subscription(s.n()))]))
        s.check(f'{group}: told', m.wait_push(40, 0.6) is not None)
        s.call(c, f'{group}: members', 38, {'consumerGroup': s.n(group)})
        s.call(c, f'{group}: connections', 203, {'consumerGroup': s.n(group)})
        s.call(c, f'{group}: retry topic', 202, {'topic': '%RETRY%' + s.n(group)})
        s.call(c, f'{group}: pull as a member', 11, pull(s.n(group), s.n(), sysflag=0), kind='records')
        s.call(c, f'{group}: retry send', 310, v2('%RETRY%' + s.n(group)), b'r')
        s.call(c, f'{group}: offset', 15, {'consumerGroup': s.n(group), 'topic': s.n(), 'queueId': 0, 'commitOffset': 1})
        s.call(c, f'{group}: leaves', 35, {'clientID': s.n('c'), 'consumerGroup': s.n(group)})
    s.call(c, 'system group', 11, pull('CID_RMQ_SYS_X', s.n()), kind='records')
    s.call(c, 'tools group', 11, pull('TOOLS_CONSUMER', s.n()), kind='records')
    s.call(c, 'unknown topic: pull', 11, pull(s.n('known'), s.n('none')))
    s.call(c, 'unknown topic: send', 310, v2(s.n('none')), b'x')


EXPRESSIONS = ('a > 1', 'a >= 1 AND b IS NOT NULL', "c = 'x'", "c <> 'x'", 'a BETWEEN 1 AND 3', 'a NOT BETWEEN 1 AND 3', "c IN ('x', 'y')", "c NOT IN ('x')",
               'a IS NULL', 'b IS NOT NULL', 'TRUE', 'FALSE', 'NOT a > 1', '(a > 1 OR a < 0) AND a <> 2', 'a > 1.5', "c = 'it''s'", 'a', "TAGS = 'A'", 'd', 'd = TRUE',
               'nothing > 1', 'a > b', "c > 1", "c CONTAINS 'x'", '*', '', 'a >', 'a = = 1', "c = 'open", '1 > 0', 'a > 99999999999999999999', 'a = -1', '"a" = 1')


@scenario('b2.sql')
def expressions(s):
    """SQL92 in pulls, by heartbeat and in CHECK_CLIENT_CONFIG."""
    c = s.connect('b2')
    s.topic(c, s.n())
    s.group(c, s.n('g'))
    for i, props in enumerate(({'a': '1', 'c': 'x'}, {'a': '2', 'b': '5', 'c': 'y', 'TAGS': 'A'}, {'a': '3', 'b': '1'}, {'c': "it's", 'd': 'true'},
                               {'a': '-1', 'd': 'false'}, {'a': 'word'}, {})):
        s.put(c, s.n(), b'm%d' % i, **props)
    s.settle(c)
    for i, text in enumerate(EXPRESSIONS):
        s.call(c, f'inline: {text}', 11, pull(s.n('g'), s.n(), sub=text, expressionType='SQL92'), kind='records')
        s.call(c, f'checked: {text}', 46, None, {'clientId': 'c', 'group': s.n('g'), 'subscriptionData': subscription(s.n(), text, kind='SQL92')})
        m = s.connect('b2')
        s.call(m, f'heartbeat: {text}', 34, None, heartbeat(s.n('c'), [consumer(s.n('g'), subscription(s.n(), text, 10 + i, kind='SQL92'))]))
        s.call(c, f'pull as a member: {text}', 11, pull(s.n('g'), s.n(), sysflag=0, subVersion=10 + i), kind='records')
        s.call(c, f'queue as a member sees it: {text}', 321, {'topic': s.n(), 'queueId': 0, 'index': 0, 'count': 10, 'consumerGroup': s.n('g')},
               vol={'body.filterData': 'any'})
        m.close()
        s.until(lambda: getattr(s.setup(c, 203, {'consumerGroup': s.n('g')}), 'code', 0) == 206, 2, 0.02)
    for kind in ('SQL92', 'sql92', 'SQL', 'TAG', '', None):
        s.call(c, f'type {kind}', 11, pull(s.n('g'), s.n(), sub='a > 1', expressionType=kind), kind='records')
