"""Where files of a consume queue end, answers end; large messages and how many of them an answer holds."""
import time

from dsl import batch, pull, scenario, v2

UNITS = 6000        # of a consume-queue file, see servers.py


@scenario('b1.w1')
def queue_files(s):
    """Pulls, searches and looks at a queue around the end of its first file."""
    c = s.connect('b1')
    t, group = s.n(), s.n('g')
    s.topic(c, t, 2)
    s.group(c, group)
    n = 0
    while n < UNITS + 100:
        tags = ['A' if i % 3000 else 'B' for i in range(n, n + 610)]
        s.setup(c, 320, v2(t, batch=True), batch(*[(b'', f'TAGS\x01{tag}') for tag in tags]))
        n += 610
    s.settle(c)
    for code in (30, 31):
        s.call(c, f'{code}', code, {'topic': t, 'queueId': 0})
    vol = {'record.phys': 'drop'}
    for offset in (UNITS - 40, UNITS - 33, UNITS - 32, UNITS - 31, UNITS - 2, UNITS - 1, UNITS, UNITS + 1, n - 33, n - 32, n - 1, n, n + 1, 0, 1):
        for most in (1, 2, 32, 33, 1000):
            s.call(c, f'pull at {offset}, {most}', 11, pull(group, t, 0, offset, maxMsgNums=most), kind='size')
        for sub in ('B', 'C', 'A'):
            s.call(c, f'pull {sub} at {offset}', 11, pull(group, t, 0, offset, sub=sub), kind='size')
        for count in (1, 2, 31, 32, 100):
            s.call(c, f'queue at {offset}, {count}', 321, {'topic': t, 'queueId': 0, 'index': offset, 'count': count}, vol={'body.*physicOffset': 'any'})
    for move in (-10**6, 10**6):
        s.call(c, f'search {move}', 29, {'topic': t, 'queueId': 0, 'timestamp': int(time.time() * 1000) + move})
    s.call(c, 'stats', 202, {'topic': t})
    p = s.send(c, 11, pull(group, t, 0, n, sysflag=6, suspendTimeoutMillis=20000))
    s.pause(0.5)
    s.put(c, t)
    s.answer('held at the end', p, window=(0.3, 2), kind='size')


@scenario('b1.w1')
def sizes(s):
    """How many messages of which size an answer holds."""
    c = s.connect('b1')
    for size, number in ((1000, 40), (8000, 40), (9000, 40), (40000, 40), (100000, 8), (131000, 8), (262000, 4), (262144, 4), (300000, 4), (1000000, 3)):
        t = s.n(f't{size}')
        s.topic(c, t)
        for i in range(number):
            s.put(c, t, b'%d' % (i % 10) * size)
        s.settle(c)
        for most in (1, 2, 7, 32, 33, 64, 1000):
            s.call(c, f'{size}: at most {most}', 11, pull(s.n('g'), t, maxMsgNums=most), kind='size')
            s.call(c, f'{size}: at most {most} from 1', 11, pull(s.n('g'), t, 0, 1, maxMsgNums=most), kind='size')
        for most in (1, 2, 3, 31, 32, 64):
            s.call(c, f'{size}: by key, at most {most}', 12, {'topic': t, 'key': 'nothing', 'maxNum': most, 'beginTimestamp': 0, 'endTimestamp': 2**62}, kind='size')
    t = s.n('keys')
    s.topic(c, t)
    for i in range(70):
        s.put(c, t, b'x' * 5000, KEYS='k', UNIQ_KEY='u')
    s.settle(c)
    for most in (0, 1, 31, 32, 33, 63, 64, 65, 1000):
        for unique in ('true', 'false'):
            s.call(c, f'many by key, at most {most}, {unique}', 12, {'topic': t, 'key': 'k', 'maxNum': most, 'beginTimestamp': 0, 'endTimestamp': 2**62, '_UNIQUE_KEY_QUERY': unique}, kind='size')
            s.call(c, f'many by unique key, at most {most}, {unique}', 12, {'topic': t, 'key': 'u', 'maxNum': most, 'beginTimestamp': 0, 'endTimestamp': 2**62, '_UNIQUE_KEY_QUERY': unique}, kind='size')
