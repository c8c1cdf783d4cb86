"""A master and its slave: every request to the slave, what the slave knows of its master, pulls and offsets there;
and a synchronous master without a slave."""
import bodies
import wire
from dsl import batch, consumer, msg_id_offset, pull, scenario, subscription, v1, v2
from scenarios.l_forms import kind, loose, table


def follows(s, master, slave):
    """Waits until the slave has taken over its master's tables as they are now; Java's asks every ten seconds, and for the
    master's address every thirty."""
    marker = s.n(f'marker{len(s.labels)}')
    s.topic(master, marker)
    s.until(lambda: getattr(s.setup(slave, 202, {'topic': marker}), 'code', 1) == 0, 60)
    s.pause(1.5)    # topics come first, groups last


def arrived(s, slave, topic, queue, count, timeout=20.0):
    """Waits until the slave has so many messages of a queue."""
    s.until(lambda: int((s.setup(slave, 30, {'topic': topic, 'queueId': queue}).ext or {}).get('offset', -1)) >= count, timeout)


@scenario('b5')
def requests(s):
    """Each request to the slave, in both header forms."""
    master, slave = s.connect('b4'), s.connect('b5')
    requests = table(s, master)
    follows(s, master, slave)
    arrived(s, slave, s.n(), 0, 3)
    for name, code, header, body in requests:
        s.call(slave, name, code, header, body, vol=loose(code), kind=kind(code), wait=3)
        s.call(slave, f'{name}, binary', code, header, body, vol=loose(code), kind=kind(code), wait=3, stype=wire.BINARY)
        s.call(slave, f'{name} without header', code, None, body, vol=loose(code), kind=kind(code), wait=3)
    s.drain(slave, 0.2)
    for name, code, header in (('delete topic', 215, {'topic': s.n()}), ('delete unknown topic', 215, {'topic': s.n('none')}),
                               ('delete topic without name', 215, {}), ('delete group', 207, {'groupName': s.n('g')})):
        s.call(slave, name, code, header)
    s.call(slave, 'topic then', 202, {'topic': s.n()}, vol=loose(202))
    s.call(slave, 'pull then', 11, pull(s.n('g'), s.n()), kind='records')
    s.call(slave, 'configuration', 25, None, b'maxMessageSize=4194304')
    for code in (306, 316, 329, 305, 52, 40, 221, 999):
        s.call(slave, f'code {code}', code, None, vol=loose(code))


@scenario('b5')
def tables(s):
    """What the slave takes over of its master's tables, and what stays with the slave."""
    master, slave = s.connect('b4'), s.connect('b5')
    s.topic(master, s.n(), 2)
    s.topic(master, s.n('gone'))
    s.group(master, s.n('g'), retryMaxTimes=3)
    s.group(master, s.n('gone'))
    for i in range(4):
        s.put(master, s.n(), b'm%d' % i)
    s.setup(master, 15, {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': 0, 'commitOffset': 2})
    s.setup(slave, 15, {'consumerGroup': s.n('local'), 'topic': s.n(), 'queueId': 0, 'commitOffset': 1})
    s.call(slave, 'committed at the slave, at once', 14, {'consumerGroup': s.n('local'), 'topic': s.n(), 'queueId': 0})
    s.call(master, 'not at the master', 14, {'consumerGroup': s.n('local'), 'topic': s.n(), 'queueId': 1})
    follows(s, master, slave)
    quiet = {'body.dataVersion': 'drop', '@lazy': True}
    for code in (21, 201, 43):
        frame = s.setup(slave, code)
        root = bodies.FastJson(frame.body.decode()).root
        s.check(f'keys of {code}', sorted(root))
        for part in root.values():
            if isinstance(part, dict):
                for key, value in sorted(part.items()):
                    if s.own in key:
                        s.check(f'{code}: {s.norm.text(key)}', value)
    s.call(slave, '14 of the group', 14, {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': 0})
    s.call(slave, '208', 208, {'consumerGroup': s.n('g'), 'topic': s.n()}, vol={'body.consumeTps': 'any', **quiet})
    s.setup(master, 215, {'topic': s.n('gone')})
    s.setup(master, 207, {'groupName': s.n('gone')})
    s.setup(master, 15, {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': 0, 'commitOffset': 1})
    s.topic(master, s.n(), 2, perm=4)
    follows(s, master, slave)
    s.call(slave, 'a deleted topic', 202, {'topic': s.n('gone')})
    s.call(slave, 'pull from a deleted topic', 11, pull(s.n('g'), s.n('gone')))
    s.call(slave, 'pull of a deleted group', 11, pull(s.n('gone'), s.n()), kind='records')
    s.call(slave, 'offset set back', 14, {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': 0})
    s.call(slave, 'earliest', 32, {'topic': s.n(), 'queueId': 0})
    s.call(slave, 'by time', 29, {'topic': s.n(), 'queueId': 0, 'timestamp': 0})


@scenario('b5.pull')
def pulls(s):
    """Every status of a pull at the slave and at its master."""
    master, slave = s.connect('b4'), s.connect('b5')
    s.topic(master, s.n(), 4)
    s.group(master, s.n('g'))
    for i in range(5):
        s.put(master, s.n(), b'm%d' % i, TAGS='AB'[i % 2], KEYS=s.n(f'k{i}'), UNIQ_KEY=s.n(f'u{i}'))
    follows(s, master, slave)
    arrived(s, slave, s.n(), 0, 5)
    for side, c in (('master', master), ('slave', slave)):
        for at in (-1, 0, 3, 5, 6, 100):
            s.call(c, f'{side}: at {at}', 11, pull(s.n('g'), s.n(), 0, at), kind='records')
            s.call(c, f'{side}: empty at {at}', 11, pull(s.n('g'), s.n(), 1, at), kind='records')
        for sub in ('A', 'B', 'C', '||'):
            s.call(c, f'{side}: sub {sub}', 11, pull(s.n('g'), s.n(), sub=sub), kind='records')
        for queue in (-1, 4, 7):
            s.call(c, f'{side}: queue {queue}', 11, pull(s.n('g'), s.n(), queue))
        s.call(c, f'{side}: unknown topic', 11, pull(s.n('g'), s.n('none')))
        s.call(c, f'{side}: commits', 11, pull(s.n('c' + side), s.n(), sysflag=5, commitOffset=3), kind='records')
        s.call(c, f'{side}: committed', 14, {'consumerGroup': s.n('c' + side), 'topic': s.n(), 'queueId': 0})
        s.call(c, f'{side}: not connected', 11, pull(s.n('g'), s.n(), sysflag=0))
        s.call(c, f'{side}: by key', 12, {'topic': s.n(), 'key': s.n('k1'), 'maxNum': 9, 'beginTimestamp': 0, 'endTimestamp': 2**62}, kind='records')
        p = s.send(c, 11, pull(s.n('g'), s.n(), 2, 0, sysflag=6, suspendTimeoutMillis=1500))
        s.answer(f'{side}: held until its time', p, window=(1.0, 7.5))
    frame = s.setup(slave, 11, pull(s.n('g'), s.n(), 0, 2, maxMsgNums=1))
    s.check('an answer of the slave has a body', len(frame.body) > 0)
    s.beat(slave, s.n('cid'), [consumer(s.n('g'), subscription(s.n(), 'A', 7))])
    s.push('told by the slave', slave, 40)
    s.call(slave, 'members', 38, {'consumerGroup': s.n('g')})
    s.call(slave, 'as a member', 11, pull(s.n('g'), s.n(), sysflag=0, subVersion=7), kind='records')
    s.call(slave, 'as a newer member', 11, pull(s.n('g'), s.n(), sysflag=0, subVersion=8), kind='records')
    s.call(slave, 'unregister', 35, {'clientID': s.n('cid'), 'consumerGroup': s.n('g')})
    s.call(slave, 'new group by heartbeat', 34, None, {'clientID': s.n('cid'), 'producerDataSet': [], 'consumerDataSet': [consumer(s.n('new'), subscription(s.n()))]})
    s.call(slave, 'its retry topic', 202, {'topic': '%RETRY%' + s.n('new')})


@scenario('b5.route')
def route(s):
    """How the name server shows the pair."""
    master, ns = s.connect('b4'), s.connect('nsm')
    s.topic(master, s.n(), 2)
    s.route(ns, 'route', s.n())
    s.call(ns, 'cluster', 106)
    s.call(ns, 'topics of the cluster', 224, {'cluster': 'PairCluster'}, vol={'@lazy': True})
    s.call(ns, 'system topics', 304, vol={'@lazy': True})
    s.setup(master, 215, {'topic': s.n()})


@scenario('b6')
def lonely(s):
    """A synchronous master without a slave: what is stored is said to be in one place only."""
    c = s.connect('b6')
    s.topic(c, s.n(), 2)
    s.group(c, s.n('g'))
    for stype, form in ((wire.JSON, ''), (wire.BINARY, ', binary')):
        first = s.call(c, f'send{form}', 310, v2(s.n(), props={'TAGS': 'A', 'UNIQ_KEY': s.n('u')}), b'x', stype=stype)
        s.call(c, f'send, long header{form}', 10, v1(s.n()), b'x', stype=stype)
        s.call(c, f'send, WAIT true{form}', 310, v2(s.n(), props={'WAIT': 'true'}), b'x', stype=stype)
        s.call(c, f'send, WAIT false{form}', 310, v2(s.n(), props={'WAIT': 'false'}), b'x', stype=stype)
        s.call(c, f'send, WAIT odd{form}', 310, v2(s.n(), props={'WAIT': 'no'}), b'x', stype=stype)
        s.call(c, f'batch{form}', 320, v2(s.n(), batch=True), batch((b'1', ''), (b'2', '')), stype=stype)
        s.call(c, f'delayed{form}', 310, v2(s.n(), queue=1, props={'DELAY': '1'}), b'x', stype=stype)
        s.call(c, f'one-way{form}', 310, v2(s.n()), b'x', flag=2, wait=0.5, stype=stype)
        s.call(c, f'to a retry topic{form}', 310, v2('%RETRY%' + s.n('g')), b'x', stype=stype)
        s.call(c, f'reply{form}', 324, v1('LonelyCluster_REPLY_TOPIC', props={'MSG_TYPE': 'reply', 'REPLY_TO_CLIENT': s.n('nobody')}),
               b'x', stype=stype, vol={'ext.queueOffset': 'int'})
        s.settle(c)
        back = {'group': s.n('g'), 'offset': msg_id_offset(first.ext['msgId']), 'delayLevel': 5, 'originMsgId': 'x', 'originTopic': s.n(),
                'unitMode': 'false', 'maxReconsumeTimes': 16}
        s.call(c, f'send back{form}', 36, back, stype=stype)
        half = s.call(c, f'half{form}', 310, v2(s.n(), sysFlag=4, props={'TRAN_MSG': 'true', 'PGROUP': s.n('p'), 'UNIQ_KEY': s.n('h')}), b'h',
                      stype=stype, vol={'ext.queueOffset': 'int'})
        end = {'producerGroup': s.n('p'), 'tranStateTableOffset': half.ext['queueOffset'], 'commitLogOffset': msg_id_offset(half.ext['msgId']),
               'commitOrRollback': 8, 'fromTransactionCheck': 'false', 'msgId': 'x', 'transactionId': 'x'}
        s.call(c, f'commit{form}', 37, end, stype=stype)
        s.call(c, f'all of it{form}', 11, pull(s.n('g'), s.n()), kind='records')
    s.call(c, 'to the delayed one', 29, {'topic': s.n(), 'queueId': 0, 'timestamp': 0})
