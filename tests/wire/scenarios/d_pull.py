"""Pulls: statuses, offsets, flags, holds, filters."""
from dsl import batch, consumer, group_config, heartbeat, pull, scenario, subscription, v2
import time


@scenario('b1')
def statuses(s):
    """Every offset of a queue of five."""
    c = s.connect('b1')
    s.topic(c, s.n(), 2)
    s.call(c, 'empty at 0', 11, pull(s.n('g'), s.n()))
    s.call(c, 'empty at 5', 11, pull(s.n('g'), s.n(), 0, 5))
    s.call(c, 'empty at -1', 11, pull(s.n('g'), s.n(), 0, -1))
    for i in range(5):
        s.put(c, s.n(), b'm%d' % i, TAGS='T%d' % (i % 2), KEYS='k%d' % i)
    for off in (-5, -1, 0, 1, 4, 5, 6, 100, 10**12, 2**62):
        s.call(c, f'at {off}', 11, pull(s.n('g'), s.n(), 0, off), kind='records')
    for num in (-2, 0, 1, 2, 33, 1000, 2**31 - 1):
        s.call(c, f'max {num}', 11, pull(s.n('g'), s.n(), 0, 0, maxMsgNums=num), kind='records')
    for q in (-1, 1, 2, 7):
        s.call(c, f'queue {q}', 11, pull(s.n('g'), s.n(), q))
    s.call(c, 'unknown topic', 11, pull(s.n('g'), s.n('none')))
    s.call(c, 'empty topic', 11, pull(s.n('g'), ''))
    s.call(c, 'empty group', 11, pull('', s.n()), kind='records')
    s.call(c, 'code 361', 361, pull(s.n('g'), s.n(), sysflag=20), kind='records')
    for field in ('consumerGroup', 'topic', 'queueId', 'queueOffset', 'maxMsgNums', 'sysFlag', 'commitOffset', 'suspendTimeoutMillis', 'subVersion', 'subscription', 'expressionType'):
        s.call(c, f'without {field}', 11, {k: v for k, v in pull(s.n('g'), s.n()).items() if k != field}, kind='records')
    for field in ('queueId', 'queueOffset', 'maxMsgNums', 'sysFlag', 'commitOffset', 'suspendTimeoutMillis', 'subVersion'):
        for bad in ('x', '', '1.5', '99999999999999999999'):
            s.call(c, f'{field}={bad!r}', 11, {**pull(s.n('g'), s.n()), field: bad}, kind='records')
    s.call(c, 'no header', 11, None)


@scenario('b1')
def filters(s):
    """Tags and expressions inside the request."""
    c = s.connect('b1')
    s.topic(c, s.n(), 1)
    for i in range(8):
        props = {'TAGS': 'AB'[i % 2]} if i < 6 else {}
        s.put(c, s.n(), b'm%d' % i, **props, n=str(i))
    for sub in ('*', '', 'A', 'B', 'A||B', ' A || B ', 'C', '||', '|| A', 'A|B', 'a', None):
        s.call(c, f'sub {sub!r}', 11, pull(s.n('g'), s.n(), sub=sub), kind='records')
    for kind in ('TAG', 'tag', '', None, 'SQL92', 'NOPE'):
        s.call(c, f'type {kind!r} sub *', 11, pull(s.n('g'), s.n(), sub='*', expressionType=kind), kind='records')
        s.call(c, f'type {kind!r} sub A', 11, pull(s.n('g'), s.n(), sub='A', expressionType=kind), kind='records')
    s.call(c, 'C at the end', 11, pull(s.n('g'), s.n(), 0, 8, sub='C'))
    s.call(c, 'class filter', 11, pull(s.n('g'), s.n(), sysflag=12, sub='x'), kind='records')
    s.call(c, 'A max 1', 11, pull(s.n('g'), s.n(), sub='A', maxMsgNums=1), kind='records')
    s.call(c, 'B max 2 from 2', 11, pull(s.n('g'), s.n(), 0, 2, sub='B', maxMsgNums=2), kind='records')


@scenario('b1')
def subscriptions(s):
    """Subscriptions known from heartbeats."""
    c = s.connect('b1')
    s.topic(c, s.n(), 1)
    s.topic(c, s.n('other'), 1)
    s.put(c, s.n(), b'a', TAGS='A')
    s.put(c, s.n(), b'b', TAGS='B')
    s.call(c, 'not connected', 11, pull(s.n('g'), s.n(), sysflag=0))
    s.beat(c, s.n('cid'), [consumer(s.n('g'), subscription(s.n(), 'A', 10))])
    s.drain(c)
    s.call(c, 'connected', 11, pull(s.n('g'), s.n(), sysflag=0, subVersion=10), kind='records')
    s.call(c, 'older', 11, pull(s.n('g'), s.n(), sysflag=0, subVersion=9), kind='records')
    s.call(c, 'newer', 11, pull(s.n('g'), s.n(), sysflag=0, subVersion=11), kind='records')
    s.call(c, 'not subscribed', 11, pull(s.n('g'), s.n('other'), sysflag=0))
    s.beat(c, s.n('cid'), [consumer(s.n('g'), subscription(s.n(), 'B', 12))])
    s.no_push('expression changed: nobody is told', c, 40)
    s.call(c, 'new expression', 11, pull(s.n('g'), s.n(), sysflag=0, subVersion=12), kind='records')
    s.group(c, s.n('gb'), consumeBroadcastEnable=False)
    s.beat(c, s.n('cid'), [consumer(s.n('gb'), subscription(s.n()), model='BROADCASTING')])
    s.drain(c)
    s.call(c, 'broadcast not allowed', 11, pull(s.n('gb'), s.n(), sysflag=0))
    s.group(c, s.n('gd'), consumeEnable=False)
    s.call(c, 'group disabled', 11, pull(s.n('gd'), s.n()))
    for perm in (0, 2, 4):
        s.topic(c, s.n(f'p{perm}'), perm=perm)
        s.call(c, f'perm {perm}', 11, pull(s.n('g'), s.n(f'p{perm}')))
    s.topic(c, s.n('uneven'), write=4, read=2)
    for q in (1, 2, 3):
        s.call(c, f'read queue {q} of 2', 11, pull(s.n('g'), s.n('uneven'), q))


@scenario('b1')
def commit(s):
    """Offsets committed with a pull."""
    c = s.connect('b1')
    s.topic(c, s.n(), 1)
    for i in range(4):
        s.put(c, s.n())
    q = lambda label: s.call(c, label, 14, {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': 0})
    q('before')
    s.call(c, 'flag off', 11, pull(s.n('g'), s.n(), commitOffset=2), kind='records')
    q('after flag off')
    s.call(c, 'flag on', 11, pull(s.n('g'), s.n(), sysflag=5, commitOffset=2), kind='records')
    q('after flag on')
    s.call(c, 'not found', 11, pull(s.n('g'), s.n(), 0, 4, sysflag=5, commitOffset=4))
    q('after not found')
    s.call(c, 'moved', 11, pull(s.n('g'), s.n(), 0, 9, sysflag=5, commitOffset=3))
    q('after moved')
    s.call(c, 'bad expression', 11, pull(s.n('g'), s.n(), sysflag=5, commitOffset=1, sub='||'))
    q('after bad expression')
    s.call(c, 'negative', 11, pull(s.n('g'), s.n(), sysflag=5, commitOffset=-7), kind='records')
    q('after negative')


@scenario('b1')
def holds(s):
    """Long polling."""
    c, d = s.connect('b1'), s.connect('b1')
    s.topic(c, s.n(), 4)
    s.topic(c, s.n('new'), 1)
    p = s.send(c, 11, pull(s.n('g'), s.n(), 0, 0, sysflag=6, suspendTimeoutMillis=20000))
    s.pause(0.6)
    s.put(d, s.n(), b'wake', TAGS='A')
    s.answer('woken', p, window=(0.4, 2.0), kind='records')
    p = s.send(c, 11, pull(s.n('g'), s.n(), 1, 0, sysflag=6, sub='B', suspendTimeoutMillis=20000))
    s.pause(0.6)
    s.put(d, s.n(), b'x', 1, TAGS='A')
    s.pause(0.3)
    s.put(d, s.n(), b'y', 1, TAGS='B')
    s.answer('woken by its tag', p, window=(0.7, 3.0), kind='records')
    p = s.send(c, 11, pull(s.n('g'), s.n(), 2, 0, sysflag=4, suspendTimeoutMillis=20000))
    s.answer('without suspend', p)
    p = s.send(c, 11, pull(s.n('g'), s.n(), 2, 7, sysflag=6, suspendTimeoutMillis=20000))
    s.answer('beyond an empty queue', p)
    p = s.send(c, 11, pull(s.n('g'), s.n(), 0, 1, sysflag=7, commitOffset=1, suspendTimeoutMillis=20000, maxMsgNums=1))
    s.pause(0.6)
    s.call(d, 'committed while held', 14, {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': 0})
    s.setup(d, 320, v2(s.n(), batch=True), batch((b'1', 'TAGS\x01A'), (b'2', '')))
    # Java sometimes wakes it before the second message of the batch is there.
    s.answer('woken by a batch', p, window=(0.4, 2.5), kind='records', vol={'ext.maxOffset': 'any'})
    ps = [s.send(c, 11, pull(s.n(f'g{i}'), s.n(), 3, 0, sysflag=6, suspendTimeoutMillis=20000)) for i in range(3)]
    s.pause(0.6)
    s.put(d, s.n(), b'all', 3)
    for i, p in enumerate(ps):
        s.answer(f'three held, {i}', p, window=(0.4, 2.0), kind='records')
