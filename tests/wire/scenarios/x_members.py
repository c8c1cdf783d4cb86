"""Groups with members of several kinds: what each question about them answers as they come, change and go; expressions that are
registered, replaced, given up and registered again; what the broker pushes to whom."""
import wire
from dsl import consumer, heartbeat, pull, scenario, subscription

QUIET = {'body.consumeTps': 'any', 'body.*.sum': 'any', 'body.*.tps': 'any', 'body.*.avgpt': 'any'}


def told(s, label, *conns):
    """How often each was told of what, within a moment."""
    s.pause(0.17 * (1 + s.env.slack), 0.8)
    for i, c in enumerate(conns):
        with c.cond:
            got = [(p.code, sorted((p.ext or {}).items())) for p in c.pushes]
            c.pushes.clear()
        s.check(f'{label}: told {i}', sorted([[code, [[k, s.norm.text(v)] for k, v in ext if k != 'timestamp']] for code, ext in got]))


def about(s, c, label, group, *topics):
    s.call(c, f'{label}: members', 38, {'consumerGroup': group})
    s.call(c, f'{label}: connections', 203, {'consumerGroup': group})
    s.call(c, f'{label}: stats', 208, {'consumerGroup': group}, vol=QUIET)
    for t in topics:
        s.call(c, f'{label}: stats of {t[-2:]}', 208, {'consumerGroup': group, 'topic': t}, vol=QUIET)
        s.call(c, f'{label}: consumed {t[-2:]}', 300, {'topic': t})
        s.call(c, f'{label}: queue of {t[-2:]}', 321, {'topic': t, 'queueId': 0, 'index': 0, 'count': 5, 'consumerGroup': group}, vol={'body.filterData': 'any'})
        s.call(c, f'{label}: pull {t[-2:]}', 11, pull(group, t, sysflag=0), kind='records')


@scenario('b1.y1')
def together(s):
    """Three members of three languages, two topics."""
    c = s.connect('b1')
    group, t, t2 = s.n('g'), s.n('t1'), s.n('t2')
    for topic in (t, t2):
        s.topic(c, topic, 2)
        s.put(c, topic, b'a', TAGS='A')
        s.put(c, topic, b'b', TAGS='B')
        for q in (0, 1):
            s.setup(c, 15, {'consumerGroup': group, 'topic': topic, 'queueId': q, 'commitOffset': 1})
    s.settle(c)
    ms = [s.connect('b1', f'm{i}') for i in range(3)]
    forms = (('JAVA', 409, wire.JSON), ('GO', 317, wire.BINARY), ('CPP', 312, wire.JSON))

    def beat(label, i, *subs, client=None, producers=(), **over):
        language, version, stype = forms[i]
        body = heartbeat(client or s.n(f'c{i}'), [consumer(group, *subs, **over)], producers)
        s.call(ms[i], label, 34, None, body, language=language, version=version, stype=stype)
        told(s, label, *ms)
        about(s, c, label, group, t, t2)

    beat('java comes', 0, subscription(t, 'A', 1))
    beat('go comes', 1, subscription(t, 'A', 1))
    beat('c++ comes with more', 2, subscription(t, 'A', 1), subscription(t2, '*', 1))
    beat('java still has one', 0, subscription(t, 'A', 1))
    beat('go wants B, newer', 1, subscription(t, 'B', 2))
    beat('java wants A, older', 0, subscription(t, 'A', 1))
    beat('c++ broadcasts', 2, subscription(t, 'B', 2), model='BROADCASTING')
    beat('java is active', 0, subscription(t, 'B', 2), kind='CONSUME_ACTIVELY', where='CONSUME_FROM_TIMESTAMP')
    beat('go has another id', 1, subscription(t, 'B', 2), client=s.n('other'))
    beat('c++ has the id of java', 2, subscription(t, 'B', 2), client=s.n('c0'))
    s.call(c, 'running info of the double id', 307, {'consumerGroup': group, 'clientId': s.n('nobody'), 'jstackEnable': 'false'})
    beat('no topics at all', 0)
    beat('twice the same topic', 0, subscription(t, 'A', 3), subscription(t, 'B', 4))
    beat('twice, the newer first', 0, subscription(t, 'A', 6), subscription(t, 'B', 5))
    beat('retry topic too', 0, subscription(t, 'A', 6), subscription('%RETRY%' + group, '*', 6), producers=[s.n('p'), group])
    for label, i, h in (('go leaves', 1, {'clientID': s.n('c1'), 'consumerGroup': group}), ('c++ leaves as a producer', 2, {'clientID': s.n('c0'), 'producerGroup': s.n('p')}),
                        ('java leaves as a producer', 0, {'clientID': s.n('c0'), 'producerGroup': s.n('p')}), ('java leaves', 0, {'clientID': s.n('x'), 'consumerGroup': group})):
        s.call(ms[i], label, 35, h, language=forms[i][0], version=forms[i][1], stype=forms[i][2])
        told(s, label, *ms)
        about(s, c, label, group, t)
        for p in (s.n('p'), group):
            s.call(c, f'{label}: producers', 204, {'producerGroup': p})
    ms[2].close()
    told(s, 'c++ closes', *ms[:2])
    about(s, c, 'c++ closes', group, t)


@scenario('b1.y1')
def quiet_groups(s):
    """Who is told in groups that are not to be told, while that changes."""
    c, a, b = s.connect('b1'), s.connect('b1'), s.connect('b1')
    t = s.n()
    s.topic(c, t)
    for notify in (True, False):
        group = s.n(f'g{int(notify)}')
        s.group(c, group, notifyConsumerIdsChangedEnable=notify)
        for label, conn, code, h, body in (('a comes', a, 34, None, heartbeat(s.n('a'), [consumer(group, subscription(t))])), ('b comes', b, 34, None, heartbeat(s.n('b'), [consumer(group, subscription(t))])),
                                           ('b changes', b, 34, None, heartbeat(s.n('b'), [consumer(group, subscription(t), subscription(s.n('t2')))])), ('b goes', b, 35, {'clientID': s.n('b'), 'consumerGroup': group}, b''),
                                           ('b goes again', b, 35, {'clientID': s.n('b'), 'consumerGroup': group}, b''), ('b goes elsewhere', b, 35, {'clientID': s.n('b'), 'consumerGroup': s.n('none')}, b'')):
            s.call(conn, f'{notify}: {label}', code, h, body)
            told(s, f'{notify}: {label}', a, b)
        s.group(c, group, notifyConsumerIdsChangedEnable=not notify)
        s.call(b, f'{notify}: turned, b comes', 34, None, heartbeat(s.n('b'), [consumer(group, subscription(t))]))
        told(s, f'{notify}: turned, b comes', a, b)
        s.setup(c, 207, {'groupName': group})
        s.call(a, f'{notify}: deleted, a changes', 34, None, heartbeat(s.n('a'), [consumer(group, subscription(s.n('t3')))]))
        told(s, f'{notify}: deleted, a changes', a, b)
        s.call(c, f'{notify}: deleted, settings', 11, pull(group, t))
    two = heartbeat(s.n('a'), [consumer(s.n('x'), subscription(t)), consumer(s.n('y'), subscription(t)), consumer(s.n('x'), subscription(s.n('t2')))])
    s.call(a, 'one group twice in a beat', 34, None, two)
    told(s, 'one group twice in a beat', a, b)
    b.close()
    told(s, 'the other closes', a)


@scenario('b2.y1')
def expressions_change(s):
    """A group's SQL92 expression is registered, replaced, given up, registered again; versions of pulls."""
    c = s.connect('b2')
    t, t2, group = s.n('t1'), s.n('t2'), s.n('g')
    for topic in (t, t2):
        s.topic(c, topic)
        for i in range(4):
            s.put(c, topic, b'm%d' % i, a=str(i), TAGS='AB'[i % 2])
    s.group(c, group)
    s.settle(c)
    m = s.connect('b2')

    def sql(text, version, topic=t):
        return subscription(topic, text, version, kind='SQL92')

    for label, subs in (('first', [sql('a > 1', 10)]), ('same', [sql('a > 1', 10)]), ('newer', [sql('a > 2', 11)]), ('older', [sql('a > 0', 5)]), ('does not compile', [sql('a >', 12)]),
                        ('compiles again, same version', [sql('a > 1', 12)]), ('compiles again', [sql('a > 1', 13)]), ('tags now', [subscription(t, 'A', 14)]), ('expression again', [sql('a < 2', 15)]),
                        ('another topic', [sql('a > 1', 16, t2)]), ('back, same version', [sql('a < 1', 15)]), ('back, newer', [sql('a < 1', 17)]), ('nothing', []), ('back, older', [sql('a > 1', 9)]),
                        ('back, newest', [sql('a > 1', 20)]), ('both', [sql('a > 1', 21), sql('a < 1', 21, t2)]), ('one with tags', [sql('a > 1', 22), subscription(t2, 'B', 22)]),
                        ('other type', [subscription(t, 'a > 1', 23, kind='NOPE')]), ('empty', [sql('', 24)]), ('star', [sql('*', 25)])):
        s.call(m, label, 34, None, heartbeat(s.n('cid'), [consumer(group, *subs)]))
        told(s, label, m)
        s.call(c, f'{label}: connections', 203, {'consumerGroup': group})
        for topic in (t, t2):
            for version in (0, 9, 11, 15, 17, 25, 30):
                s.call(c, f'{label}: pull {topic[-2:]} version {version}', 11, pull(group, topic, sysflag=0, subVersion=version), kind='records')
        s.call(c, f'{label}: inline', 11, pull(group, t, sysflag=4, sub='a = 1', expressionType='SQL92', subVersion=1), kind='records')
        s.call(c, f'{label}: queue', 321, {'topic': t, 'queueId': 0, 'index': 0, 'count': 5, 'consumerGroup': group}, vol={'body.filterData': 'any'})
    s.setup(m, 35, {'clientID': s.n('cid'), 'consumerGroup': group})
    s.call(c, 'left: pull', 11, pull(group, t, sysflag=0))
    s.call(m, 'returns, older', 34, None, heartbeat(s.n('cid'), [consumer(group, sql('a > 1', 7))]))
    s.call(c, 'returns, older: pull', 11, pull(group, t, sysflag=0, subVersion=7), kind='records')
    s.call(m, 'returns, newest', 34, None, heartbeat(s.n('cid'), [consumer(group, sql('a > 2', 40))]))
    s.call(c, 'returns, newest: pull', 11, pull(group, t, sysflag=0, subVersion=40), kind='records')


@scenario('b1.y2')
def resets(s):
    """Resets of groups with members, without, with some queues committed; what each member is pushed; what other groups see."""
    c, group, t = s.connect('b1'), s.n('g'), s.n()
    s.topic(c, t, 3)
    for i in range(6):
        s.put(c, t, b'm%d' % i, i % 3)
    s.settle(c)
    a, b = s.connect('b1'), s.connect('b1')
    s.beat(a, s.n('a'), [consumer(group, subscription(t))])
    s.beat(b, s.n('b'), [consumer(group, subscription(s.n('other')))], language='GO', version=317)
    told(s, 'joined', a, b)

    def reset(label, stype=wire.JSON, **over):
        h = {'topic': t, 'group': group, 'timestamp': -1, 'isForce': 'true', **over}
        s.call(c, label, 222, h, stype=stype)
        for name, conn in (('a', a), ('b', b)):
            s.push(f'{label}: {name}', conn, 220, timeout=0.4, vol={'ext.timestamp': 'any'})

    def commit(*offsets):
        for q, offset in enumerate(offsets):
            s.setup(c, 15, {'consumerGroup': group, 'topic': t, 'queueId': q, 'commitOffset': offset})

    reset('nothing committed')
    commit(1)
    reset('one of three committed')
    commit(1, 1, 1)
    reset('all committed')
    commit(0, 0, 0)
    reset('all at 0')
    commit(-1, 0, 0)
    reset('one at -1')
    commit(-2, 0, 0)
    reset('one at -2')
    reset('one at -2, not forced', isForce='false')
    commit(9, 9, 9)
    reset('beyond the end')
    reset('beyond the end, not forced', isForce='false')
    reset('to the start', timestamp=0)
    reset('to the start, not forced', timestamp=0, isForce='false')
    reset('in binary', stype=wire.BINARY)
    reset('odd force', isForce='yes')
    reset('a far time', timestamp=2**62)
    reset('a negative time', timestamp=-5)
    reset('with fewer queues', topic=t)
    s.topic(c, t, read=3, write=1)
    reset('one queue to write')
    s.topic(c, t, read=1, write=5)
    reset('five queues to write')
    s.topic(c, t, 3)
    s.setup(c, 207, {'groupName': group})
    reset('the group is deleted')
    s.setup(c, 207, {'groupName': group, 'removeOffset': 'true'})
    reset('with its offsets')
    for h in ({'topic': t, 'group': s.n('off')}, {'topic': '%RETRY%' + group, 'group': group}, {'topic': s.n('none'), 'group': group}, {'topic': 'TBW102', 'group': group}):
        reset(f'other {h}'.replace(s.own, ''), **h)
    s.call(c, 'old reset, 220', 220, {'topic': t, 'group': group, 'timestamp': 0, 'isForce': 'true'})
    s.call(c, 'old status, 221', 221, {'topic': t, 'group': group})


@scenario('b1.y2')
def offsets_of_members(s):
    """First offsets: of groups that never committed, of topics made, filled, deleted; who may start at 0."""
    c, t = s.connect('b1'), s.n()
    s.topic(c, t, 2)

    def ask(label, group='new', topic=t, **over):
        for queue in (0, 1, 5):
            s.call(c, f'{label}: {queue}', 14, {'consumerGroup': s.n(group), 'topic': topic, 'queueId': queue, **over})

    ask('empty')
    s.put(c, t)
    ask('one message')
    ask('not zero', setZeroIfNotFound='true')
    s.setup(c, 15, {'consumerGroup': s.n('g'), 'topic': t, 'queueId': 0, 'commitOffset': 1})
    ask('committed', 'g')
    s.setup(c, 15, {'consumerGroup': s.n('g'), 'topic': t, 'queueId': 0, 'commitOffset': -1})
    ask('committed -1', 'g')
    s.setup(c, 15, {'consumerGroup': s.n('g'), 'topic': t, 'queueId': 0, 'commitOffset': 1})
    for remove in ('false', 'true'):
        s.call(c, f'group deleted, {remove}', 207, {'groupName': s.n('g'), 'removeOffset': remove})
        ask(f'group deleted, {remove}', 'g')
    s.setup(c, 15, {'consumerGroup': s.n('g'), 'topic': t, 'queueId': 0, 'commitOffset': 1})
    s.call(c, 'topic deleted', 215, {'topic': t})
    ask('topic deleted', 'g')
    ask('topic deleted, new')
    for topic in ('%RETRY%' + s.n('g'), 'SCHEDULE_TOPIC_XXXX', s.n('none'), ''):
        ask(f'topic {topic}'.replace(s.own, ''), topic=topic)


@scenario('b1.y3')
def locks(s):
    """Locks by members that come and go: a lock outlives its holder's connection and group."""
    a, b = s.connect('b1'), s.connect('b1')
    mq = lambda *queues: [{'brokerName': 'wire-a', 'queueId': q, 'topic': s.n()} for q in queues]
    body = lambda client, *queues, group='g', **over: {'clientId': s.n(client), 'consumerGroup': s.n(group), 'mqSet': mq(*queues), **over}
    s.beat(a, s.n('a'), [consumer(s.n('g'), subscription(s.n()))])
    s.call(a, 'a takes', 41, None, body('a', 0, 1))
    s.call(b, 'b over its connection as a', 41, None, body('a', 0, 1, 2))
    s.setup(a, 35, {'clientID': s.n('a'), 'consumerGroup': s.n('g')})
    s.call(b, 'b takes, a left', 41, None, body('b', 0, 1, 2))
    a.close()
    s.pause(0.3)
    s.call(b, 'b takes, a closed', 41, None, body('b', 0, 1, 2))
    s.setup(b, 207, {'groupName': s.n('g')})
    s.call(b, 'b takes, the group is deleted', 41, None, body('b', 0, 1, 2))
    s.call(b, 'a gives back by b', 42, None, body('a', 1))
    s.call(b, 'b takes 1', 41, None, body('b', 0, 1, 2))
    s.call(b, 'one-way', 42, None, body('a', 0), flag=2, wait=0.3)
    s.call(b, 'b takes 0', 41, None, body('b', 0))
    for name in ('', ' ', 'x' * 300):
        s.call(b, f'group {name[:5]!r}', 41, None, {**body('b', 0), 'consumerGroup': name})
        s.call(b, f'client {name[:5]!r}', 41, None, {**body('b', 0, group='h'), 'clientId': name})
        s.call(b, f'client {name[:5]!r}, again by b', 41, None, body('b', 0, group='h'))
        s.call(b, f'client {name[:5]!r}, back', 42, None, {**body('b', 0, group='h'), 'clientId': name})
    s.call(b, 'many', 41, None, body('b', *range(2000), group='many'))
    s.call(b, 'many by another', 41, None, body('c', *range(1000, 3000), group='many'))
