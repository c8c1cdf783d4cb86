"""Send-back, dead letters, transactions, queries."""
from dsl import consumer, heartbeat, msg_id_offset, pull, scenario, subscription, v2, batch


def offset_of(frame):
    return msg_id_offset(frame.ext['msgId'])


@scenario('b1')
def send_back(s):
    c = s.connect('b1')
    s.topic(c, s.n(), 1)
    off = offset_of(s.put(c, s.n(), b'body', TAGS='A', KEYS='k', UNIQ_KEY='U1'))
    h = lambda **o: {k: v for k, v in {'group': s.n('g'), 'offset': off, 'delayLevel': 0, 'originMsgId': 'x', 'originTopic': s.n(), 'unitMode': 'false', 'maxReconsumeTimes': 16, **o}.items() if v is not None}
    s.group(c, s.n('g'))
    s.call(c, 'level 0', 36, h())
    s.call(c, 'level 1', 36, h(delayLevel=1))
    s.call(c, 'level -1', 36, h(delayLevel=-1))
    s.call(c, 'level 99', 36, h(delayLevel=99))
    s.call(c, 'max 0', 36, h(maxReconsumeTimes=0))
    s.call(c, 'unknown offset', 36, h(offset=off + 1))
    s.call(c, 'offset far', 36, h(offset=10**12))
    s.call(c, 'offset negative', 36, h(offset=-1))
    for f in ('group', 'offset', 'delayLevel', 'originMsgId', 'originTopic', 'unitMode', 'maxReconsumeTimes'):
        s.call(c, f'without {f}', 36, h(**{f: None}))
    s.call(c, 'bad level', 36, h(delayLevel='x'))
    s.call(c, 'unknown group is made', 36, h(group=s.n('auto')))
    s.group(c, s.n('noretry'), retryQueueNums=0)
    s.call(c, 'no retry queue', 36, h(group=s.n('noretry')))
    s.group(c, s.n('few'), retryMaxTimes=0)
    s.call(c, 'no retries, old version', 36, h(group=s.n('few')), version=100)
    s.call(c, 'no retries', 36, h(group=s.n('few'), maxReconsumeTimes=None))
    s.settle(c)
    s.call(c, 'dead letters', 11, pull(s.n('r'), '%DLQ%' + s.n('g'), 0, 0), kind='records')
    s.call(c, 'dead letters of few', 11, pull(s.n('r'), '%DLQ%' + s.n('few'), 0, 0), kind='records')
    s.pause(1.6)
    s.call(c, 'level 1 came', 11, pull(s.n('r'), '%RETRY%' + s.n('g'), 0, 0), kind='records')
    n = s.connect('ns')
    s.route(n, 'retry route', '%RETRY%' + s.n('g'))
    s.route(n, 'dlq route', '%DLQ%' + s.n('g'))


@scenario('b1')
def transactions(s):
    c, d = s.connect('b1'), s.connect('b1')
    s.topic(c, s.n(), 2)
    s.beat(d, s.n('p'), (), [s.n('pg')])
    def half(body=b'half', queue=1, **props):
        f = s.setup(c, 310, v2(s.n(), queue=queue, sysFlag=4, props={'TRAN_MSG': 'true', 'PGROUP': s.n('pg'), 'UNIQ_KEY': 'U' + body.decode(), **props}), body)
        return f
    def end(label, f, how=8, **o):
        h = {'producerGroup': s.n('pg'), 'tranStateTableOffset': f.ext['queueOffset'], 'commitLogOffset': offset_of(f), 'commitOrRollback': how, 'fromTransactionCheck': 'false', 'msgId': 'U', 'transactionId': 'U', **o}
        s.call(c, label, 37, {k: v for k, v in h.items() if v is not None}, wait=1.0)
    s.call(c, 'half answer', 310, v2(s.n(), queue=1, sysFlag=4, props={'TRAN_MSG': 'true', 'PGROUP': s.n('pg'), 'UNIQ_KEY': 'U0', 'TAGS': 'A'}), b'h0', vol={'ext.queueOffset': 'int'})
    f = half(b'a', TAGS='A', KEYS='kk')
    end('unknown', f, 0)
    end('wrong group', f, 8, producerGroup=s.n('other'))
    end('wrong table offset', f, 8, tranStateTableOffset=10**9)
    end('wrong log offset', f, 8, commitLogOffset=10**12)
    end('commit', f, 8)
    s.call(c, 'committed', 11, pull(s.n('r'), s.n(), 1, 0), kind='records')
    f = half(b'b')
    end('rollback', f, 12)
    f = half(b'c')
    for fld in ('producerGroup', 'tranStateTableOffset', 'commitLogOffset', 'commitOrRollback', 'msgId'):
        end(f'without {fld}', f, 8, **{fld: None})
    end('without check flag', half(b'd'), 8, fromTransactionCheck=None)
    s.call(c, 'all committed', 11, pull(s.n('r'), s.n(), 1, 0), kind='records')
    s.call(c, 'tran false', 310, v2(s.n(), queue=0, props={'TRAN_MSG': 'false'}), b'x')
    s.call(c, 'tran batch', 320, v2(s.n(), queue=0, sysFlag=4, batch=True), batch((b'a', '')))
    s.call(c, 'sysflag only', 310, v2(s.n(), queue=0, sysFlag=4), b'x')


@scenario('b1')
def queries(s):
    c = s.connect('b1')
    s.topic(c, s.n(), 1)
    ids = []
    for i in range(4):
        f = s.put(c, s.n(), b'q%d' % i, KEYS='same k%d' % i, UNIQ_KEY='UQ%d' % i)
        ids.append(offset_of(f))
    far = 2**62
    q = lambda label, **o: s.call(c, label, 12, {k: v for k, v in {'topic': s.n(), 'key': 'same', 'maxNum': 32, 'beginTimestamp': 0, 'endTimestamp': far, '_UNIQUE_KEY_QUERY': 'false', **o}.items() if v is not None}, kind='records')
    q('same')
    q('same max 2', maxNum=2)
    q('k1', key='k1')
    q('unique', key='UQ2', _UNIQUE_KEY_QUERY='true')
    q('unique as key', key='UQ2')
    q('none', key='nope')
    q('empty', key='')
    q('other topic', topic=s.n('x'))
    q('max 0', maxNum=0)
    q('max -1', maxNum=-1)
    q('max 1000', maxNum=1000)
    q('past', endTimestamp=1)
    q('future', beginTimestamp=far - 1)
    q('turned', beginTimestamp=far, endTimestamp=0)
    for f in ('topic', 'key', 'maxNum', 'beginTimestamp', 'endTimestamp', '_UNIQUE_KEY_QUERY'):
        q(f'without {f}', **{f: None})
    s.call(c, 'no header', 12)
    for label, off in (('first', ids[0]), ('last', ids[3]), ('inside', ids[0] + 4), ('far', 10**12), ('negative', -1)):
        if label == 'inside':
            continue
        s.call(c, f'view {label}', 33, {'offset': off}, kind='records')
    s.call(c, 'view none', 33, {})
    s.call(c, 'view bad', 33, {'offset': 'x'})
    s.call(c, 'view no header', 33)
