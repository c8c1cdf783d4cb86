"""Queries: by key, by unique key, by time, by id; searching offsets by time; reading consume queues."""
import bodies
from dsl import batch, consumer, msg_id_offset, pull, scenario, subscription, v2


def query(s, c, label, key, topic=None, **over):
    header = {'topic': topic or s.n(), 'key': key, 'maxNum': 64, 'beginTimestamp': 0, 'endTimestamp': 2**62, **over}
    s.call(c, label, 12, header, kind='records')


def colliding():
    """Three keys with the same Java hash."""
    return 'AaAa', 'BBBB', 'AaBB'


@scenario('b1.query')
def by_key(s):
    c = s.connect('b1')
    s.topic(c, s.n(), 2)
    s.topic(c, s.n('t2'))
    for i in range(6):
        s.put(c, s.n(), b'm%d' % i, i % 2, KEYS=f'all k{i} {"odd" if i % 2 else "even"}', UNIQ_KEY=f'U{i}')
    s.put(c, s.n('t2'), b'elsewhere', KEYS='all')
    for key in ('all', 'odd', 'even', 'k0', 'k5', 'k6', 'ALL', 'all ', ' all', 'all odd', 'U0', 'U5'):
        query(s, c, f'key {key!r}', key)
        query(s, c, f'unique key {key!r}', key, _UNIQUE_KEY_QUERY='true')
    query(s, c, 'in the other topic', 'all', s.n('t2'))
    for number in (1, 2, 5, 6, 32, 63, 65):
        query(s, c, f'at most {number}', 'all', maxNum=number)
        query(s, c, f'at most {number}, unique', 'U1', maxNum=number, _UNIQUE_KEY_QUERY='true')
    for value in ('TRUE', 'True', '1', 'no', ''):
        query(s, c, f'_UNIQUE_KEY_QUERY {value!r}', 'all', maxNum=2, _UNIQUE_KEY_QUERY=value)


@scenario('b1.query')
def collisions(s):
    """Keys of the same hash are found together: the client sorts them out."""
    c = s.connect('b1')
    s.topic(c, s.n())
    for key in colliding():
        s.put(c, s.n(), key.encode(), KEYS=key)
    s.put(c, s.n(), b'twice', KEYS='x x')
    s.put(c, s.n(), b'blanks', KEYS='  a   b ')
    s.put(c, s.n(), b'unique and key', KEYS='z', UNIQ_KEY='z')
    s.setup(c, 320, v2(s.n(), batch=True), batch((b'b1', 'KEYS\x01bk one'), (b'b2', 'KEYS\x01bk two\x02UNIQ_KEY\x01bu'), (b'b3', '')))
    for key in (*colliding(), 'x', 'a', 'b', '', 'z', 'bk', 'one', 'two', 'bu', 'BBAa', 'Aa'):
        query(s, c, f'key {key!r}', key)
        query(s, c, f'unique {key!r}', key, _UNIQUE_KEY_QUERY='true')


@scenario('b1.query')
def by_time(s):
    """Searches of offsets: at, before and behind each message."""
    c = s.connect('b1')
    s.topic(c, s.n(), 2)
    for i in range(12):
        s.put(c, s.n(), b'm%02d' % i, KEYS='k')
        s.pause(0.15)
    s.settle(c)
    got = bodies.records(s.setup(c, 11, pull(s.n('r'), s.n())).body)
    times = [r['stored'] for r in got]
    s.check('stored twelve', len(times))
    for i, stored in enumerate(times):
        for move in (-20, 0, 20):
            s.call(c, f'search {move:+d} ms of message {i}', 29, {'topic': s.n(), 'queueId': 0, 'timestamp': stored + move})
    s.call(c, 'search a minute before', 29, {'topic': s.n(), 'queueId': 0, 'timestamp': times[0] - 60000})
    s.call(c, 'search a minute behind', 29, {'topic': s.n(), 'queueId': 0, 'timestamp': times[-1] + 60000})
    s.call(c, 'search in the empty queue', 29, {'topic': s.n(), 'queueId': 1, 'timestamp': times[5]})
    s.setup(c, 320, v2(s.n(), queue=1, batch=True), batch(*[(b'b%d' % i, '') for i in range(8)]))
    s.settle(c)
    got = bodies.records(s.setup(c, 11, pull(s.n('r'), s.n(), 1)).body)
    for move in (-50, 0, 50):
        s.call(c, f'search {move:+d} ms of a batch', 29, {'topic': s.n(), 'queueId': 1, 'timestamp': got[0]['stored'] + move})


@scenario('b1.times')
def ranges(s):
    """Time ranges of queries: the index knows seconds, so there are three between the groups of messages."""
    c = s.connect('b1')
    s.topic(c, s.n())
    for i in range(6):
        if i in (2, 4):
            s.pause(3)
        s.put(c, s.n(), b'm%d' % i, KEYS='k')
    s.settle(c)
    times = [r['stored'] for r in bodies.records(s.setup(c, 11, pull(s.n('r'), s.n())).body)]
    gap = 1500
    marks = {'ever': 0, 'before': times[0] - gap, 'first gap': times[1] + gap, 'second gap': times[3] + gap, 'behind': times[5] + gap, 'forever': 2**62}
    for begin in marks:
        for end in marks:
            query(s, c, f'from {begin} to {end}', 'k', beginTimestamp=marks[begin], endTimestamp=marks[end])
    for number in (1, 2, 3):
        query(s, c, f'at most {number} to the second gap', 'k', endTimestamp=marks['second gap'], maxNum=number)


@scenario('b1.query')
def by_id(s):
    """Messages by their place in the commit log."""
    c = s.connect('b1')
    s.topic(c, s.n())
    frames = [s.put(c, s.n(), body, TAGS='A', KEYS='k') for body in (b'', b'x', b'y' * 1000)]
    for i, frame in enumerate(frames):
        s.call(c, f'message {i}', 33, {'offset': msg_id_offset(frame.ext['msgId'])}, kind='records')
    for offset in (-1, -2**63, 2**40, 2**63 - 1):
        s.call(c, f'offset {offset}', 33, {'offset': offset}, kind='records')
    frame = s.setup(c, 320, v2(s.n(), batch=True), batch((b'1', ''), (b'2', '')))
    s.check('ids of a batch', len(frame.ext['msgId'].split(',')))
    for i, msg_id in enumerate(frame.ext['msgId'].split(',')):
        s.call(c, f'message {i} of a batch', 33, {'offset': msg_id_offset(msg_id)}, kind='records')


@scenario('b1.query')
def consume_queue(s):
    """QUERY_CONSUME_QUEUE: ranges, subscriptions, filters."""
    c = s.connect('b1')
    s.topic(c, s.n(), 2)
    for i in range(5):
        s.put(c, s.n(), b'm%d' % i, TAGS='AB'[i % 2])
    s.put(c, s.n(), b'untagged')
    s.group(c, s.n('g'))

    def ask(label, **over):
        header = {'topic': s.n(), 'queueId': 0, 'index': 0, 'count': 10, **over}
        s.call(c, label, 321, {k: v for k, v in header.items() if v is not None})

    for index in (-1, 0, 3, 5, 6, 100):
        for count in (-1, 0, 1, 3, 100):
            ask(f'index {index}, count {count}', index=index, count=count)
    ask('empty queue', queueId=1)
    ask('group not online', consumerGroup=s.n('g'))
    ask('unknown group', consumerGroup=s.n('x'))
    m = s.connect('b1')
    s.beat(m, s.n('cid'), [consumer(s.n('g'), subscription(s.n(), 'A'))])
    s.drain(m)
    ask('group online', consumerGroup=s.n('g'))
    s.beat(m, s.n('cid'), [consumer(s.n('g'), subscription(s.n('other')))])
    s.drain(m)
    ask('group without the topic', consumerGroup=s.n('g'))
    ask('empty group', consumerGroup='')
