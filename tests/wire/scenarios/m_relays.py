"""Requests that the broker hands on to clients: 307, 309, 220, 221, 326, with clients that answer, refuse, are old, leave."""
import json

import wire
from dsl import consumer, msg_id_offset, pull, scenario, subscription, v1, v2

INFO = b'{"properties":{"PROP_CONSUME_TYPE":"CONSUME_PASSIVELY"},"mqTable":{{"brokerName":"wire-a","queueId":0,"topic":"x"}:{"commitOffset":1}}}'


def member(s, name, group, version=409, language='JAVA', server='b1', **over):
    conn = s.connect(server, name)
    s.beat(conn, s.n(name), [consumer(group, subscription(s.n()), **over)], [s.n('p')], version=version, language=language)
    s.drain(conn, 0.3)
    return conn


def respond(code, body=b'', remark=None, ext=None, stype=wire.JSON, only=None):
    """A client's answer to each request (to those of code `only`)."""
    def answer(frame):
        if frame.flag & 2 or only not in (None, frame.code):
            return None
        return wire.encode(code, ext, body, opaque=frame.opaque, flag=1, remark=remark, stype=stype)
    return answer


def topic_with_messages(s, c, group):
    s.topic(c, s.n(), 2)
    s.group(c, group)
    frames = [s.put(c, s.n(), b'm%d' % i, i % 2, TAGS='A', KEYS='k', UNIQ_KEY=s.n(f'u{i}')) for i in range(4)]
    for q in (0, 1):
        s.setup(c, 15, {'consumerGroup': group, 'topic': s.n(), 'queueId': q, 'commitOffset': 1})
    return frames


@scenario('b1.relay')
def running_info(s):
    """GET_CONSUMER_RUNNING_INFO."""
    c, group = s.connect('b1', 'admin'), s.n('g')
    topic_with_messages(s, c, group)
    m = member(s, 'm', group)
    header = {'consumerGroup': group, 'clientId': s.n('m'), 'jstackEnable': 'true'}
    answers = (('a body', respond(0, INFO)), ('no body', respond(0)), ('a refusal', respond(1, remark='no such group')),
               ('code 206', respond(206, remark='x')), ('an odd code', respond(4711, b'body', 'x', {'a': 'b'})),
               ('fields', respond(0, b'x', None, {'k': 'v', 'n': '1'})), ('binary', respond(0, INFO, 'said', {'k': 'v'}, wire.BINARY)))
    for label, answer in answers:
        m.responder = answer
        for stype, form in ((wire.JSON, ''), (wire.BINARY, ', asked in binary')):
            p = s.send(c, 307, header, stype=stype)
            s.push(f'asked, {label}{form}', m, 307)
            s.answer(f'answered with {label}{form}', p)
    m.responder = respond(0, INFO)
    for field in header:
        s.call(c, f'without {field}', 307, {k: v for k, v in header.items() if k != field})
        s.push(f'asked without {field}', m, 307, timeout=0.4)
    s.call(c, 'with more fields', 307, {**header, 'more': 'x', 'bname': 'wire-a'}, b'a body')
    s.push('asked with more fields', m, 307)
    s.call(c, 'from another language', 307, header, language='GO', version=317)
    s.push('asked from another language', m, 307)
    s.call(c, 'one-way', 307, header, flag=2, wait=0.5)
    s.push('asked one-way', m, 307, timeout=0.5)


@scenario('b1.relay')
def releases(s):
    """What clients of old releases are not asked."""
    c, group = s.connect('b1', 'admin'), s.n('g')
    frames = topic_with_messages(s, c, group)
    for version in (0, 27, 28, 61, 62, 100, 409, 479):
        m = member(s, f'v{version}', s.n(f'g{version}'), version)
        m.responder = respond(0, b'{}')
        header = {'consumerGroup': s.n(f'g{version}'), 'clientId': s.n(f'v{version}')}
        s.call(c, f'307 at {version}', 307, {**header, 'jstackEnable': 'false'})
        s.call(c, f'309 at {version}', 309, {**header, 'msgId': frames[0].ext['msgId']})
        s.drain(m, 0.1)
        for q in (0, 1):
            s.setup(c, 15, {'consumerGroup': s.n(f'g{version}'), 'topic': s.n(), 'queueId': q, 'commitOffset': 1})
        s.call(c, f'222 at {version}', 222, {'topic': s.n(), 'group': s.n(f'g{version}'), 'timestamp': -1, 'isForce': 'true'})
        s.push(f'220 at {version}', m, 220, timeout=0.5)
        s.call(c, f'223 at {version}', 223, {'topic': s.n(), 'group': s.n(f'g{version}'), 'clientAddr': ''})
        s.push(f'221 at {version}', m, 221, timeout=0.3)
        s.call(c, f'203 at {version}', 203, {'consumerGroup': s.n(f'g{version}')})
        s.drain(m, 0.05)


@scenario('b1.relay')
def consume_directly(s):
    """CONSUME_MESSAGE_DIRECTLY."""
    c, group = s.connect('b1', 'admin'), s.n('g')
    frames = topic_with_messages(s, c, group)
    m = member(s, 'm', group)
    m.responder = respond(0, json.dumps({'autoCommit': True, 'consumeResult': 'CR_SUCCESS', 'order': False, 'spentTimeMills': 1}).encode())
    for i, frame in enumerate(frames):
        s.call(c, f'message {i}', 309, {'consumerGroup': group, 'clientId': s.n('m'), 'msgId': frame.ext['msgId'], 'brokerName': 'elsewhere'})
        s.push(f'asked about message {i}', m, 309, kind='records')
    base = {'consumerGroup': group, 'clientId': s.n('m'), 'msgId': frames[0].ext['msgId'], 'brokerName': 'wire-a'}
    for field in base:
        s.call(c, f'without {field}', 309, {k: v for k, v in base.items() if k != field})
        s.push(f'asked without {field}', m, 309, timeout=0.4, kind='records')
    for label, msg_id in (('empty', ''), ('short', 'AB'), ('not hex', 'Z' * 32), ('odd length', '7' * 31), ('of nothing', '7F00000100002A9F' + '%016X' % 2**40),
                          ('of another host', '0A00000100002A9F' + frames[0].ext['msgId'][16:]), ('lower case', frames[0].ext['msgId'].lower()),
                          ('unique key', s.n('u0'))):
        s.call(c, f'id {label}', 309, {**base, 'msgId': msg_id})
        s.push(f'asked with id {label}', m, 309, timeout=0.4, kind='records', vol={'ext.msgId': 'any'})
    m.responder = respond(1, remark='the group is not mine')
    s.call(c, 'refused', 309, base)
    s.drain(m, 0.1)


@scenario('b1.relay2')
def silence(s):
    """Clients that never answer, or leave while they are asked."""
    c, group = s.connect('b1', 'admin'), s.n('g')
    topic_with_messages(s, c, group)
    m, leaving = member(s, 'm', group), member(s, 'leaving', s.n('g2'))
    p = s.send(c, 307, {'consumerGroup': group, 'clientId': s.n('m'), 'jstackEnable': 'false'})
    gone = s.send(c, 307, {'consumerGroup': s.n('g2'), 'clientId': s.n('leaving'), 'jstackEnable': 'false'})
    s.push('asked the silent one', m, 307)
    s.answer('the silent one', p, window=(8, 13))
    s.push('asked the leaving one', leaving, 307)
    leaving.close()
    s.answer('the leaving one', gone, wait=13, window=(0, 13))
    s.call(c, 'after it left', 307, {'consumerGroup': s.n('g2'), 'clientId': s.n('leaving'), 'jstackEnable': 'false'})


@scenario('b1.relay')
def reset(s):
    """INVOKE_BROKER_TO_RESET_OFFSET: by time, forced and not, several members, other languages."""
    c, group = s.connect('b1', 'admin'), s.n('g')
    s.topic(c, s.n(), 2)
    for i in range(6):
        s.put(c, s.n(), b'm%d' % i, i % 2)
        s.pause(0.2)
    s.settle(c)
    import bodies
    times = [bodies.records(s.setup(c, 11, pull(s.n('r'), s.n(), q, 1, maxMsgNums=1)).body)[0]['stored'] for q in (0, 1)]
    a, b = member(s, 'a', group), member(s, 'b', group, language='CPP', version=312)
    s.drain(a)
    vol = {'ext.timestamp': 'any', '*.timestamp': 'any'}
    for committed in ((1, 1), (3, 3), (0, 2)):
        for q in (0, 1):
            s.setup(c, 15, {'consumerGroup': group, 'topic': s.n(), 'queueId': q, 'commitOffset': committed[q]})
        for label, timestamp in (('the end', -1), ('the start', 0), ('the second', times[0] + 60), ('the future', times[0] + 10**8), ('minus two', -2)):
            for force in ('true', 'false'):
                for language in ('JAVA', 'CPP'):
                    what = f'from {committed[0]}/{committed[1]} to {label}, force {force}, {language}'
                    s.call(c, what, 222, {'topic': s.n(), 'group': group, 'timestamp': timestamp, 'isForce': force}, language=language)
                    s.push(f'{what}: a', a, 220, timeout=1, vol=vol)
                    s.push(f'{what}: b', b, 220, timeout=1, vol=vol)
    for q in (0, 1):
        s.call(c, f'the broker keeps offset {q}', 14, {'consumerGroup': group, 'topic': s.n(), 'queueId': q})
    s.call(c, 'one-way', 222, {'topic': s.n(), 'group': group, 'timestamp': -1, 'isForce': 'true'}, flag=2, wait=0.4)
    s.push('one-way: a', a, 220, timeout=1)


@scenario('b1.relay')
def status(s):
    """INVOKE_BROKER_TO_GET_CONSUMER_STATUS: all members, one, refusals, nonsense."""
    c, group = s.connect('b1', 'admin'), s.n('g')
    topic_with_messages(s, c, group)
    body = ('{"consumerTable":{},"messageQueueTable":{{"brokerName":"wire-a","queueId":0,"topic":"%s"}:5,'
            '{"brokerName":"wire-a","queueId":1,"topic":"%s"}:6}}' % (s.n(), s.n())).encode()
    s.call(c, 'nobody online', 223, {'topic': s.n(), 'group': group, 'clientAddr': ''})
    a = member(s, 'a', group)
    a.responder = respond(0, body, only=221)
    s.call(c, 'one member', 223, {'topic': s.n(), 'group': group, 'clientAddr': ''})
    s.push('asked', a, 221)
    b = member(s, 'b', group)
    b.responder = respond(0, body.replace(b':5', b':50'), only=221)
    s.drain(a)
    s.call(c, 'two members', 223, {'topic': s.n(), 'group': group, 'clientAddr': ''})
    s.drain(a, 0.1), s.drain(b, 0.1)
    for who in ('a', 'b', 'nobody'):
        s.call(c, f'member {who}', 223, {'topic': s.n(), 'group': group, 'clientAddr': s.n(who)})
    s.drain(a, 0.1), s.drain(b, 0.1)
    s.call(c, 'without clientAddr', 223, {'topic': s.n(), 'group': group})
    s.call(c, 'unknown topic', 223, {'topic': s.n('x'), 'group': group, 'clientAddr': s.n('a')})
    s.call(c, 'binary', 223, {'topic': s.n(), 'group': group, 'clientAddr': s.n('a')}, stype=wire.BINARY)
    for label, answer in (('refused', respond(1, remark='no', only=221)), ('no body', respond(0, only=221)), ('empty object', respond(0, b'{}', only=221)),
                          ('empty table', respond(0, b'{"messageQueueTable":{}}', only=221))):
        a.responder = answer
        s.call(c, f'a: {label}', 223, {'topic': s.n(), 'group': group, 'clientAddr': s.n('a')})
        s.call(c, f'both, a: {label}', 223, {'topic': s.n(), 'group': group, 'clientAddr': ''})
    s.drain(a, 0.1), s.drain(b, 0.1)


@scenario('b1.relay2')
def replies(s):
    """Request-reply: what the requester is pushed, and what the replier is told."""
    c = s.connect('b1', 'replier')
    topic = 'WireCluster_REPLY_TOPIC'
    vol = {'ext.queueOffset': 'int', 'ext.msgId': 'any'}
    for name, version, language in (('java', 409, 'JAVA'), ('cpp', 312, 'CPP'), ('go', 317, 'GO'), ('old', 20, 'JAVA')):
        r = s.connect('b1', name)
        s.beat(r, s.n(name), (), [s.n('p')], version=version, language=language)
        for code, header in ((324, v1), (325, v2)):
            for label, answer in (('accepts', respond(0)), ('refuses', respond(1, remark='no')), ('odd code', respond(77)), ('binary', respond(0, stype=wire.BINARY))):
                r.responder = answer
                props = {'MSG_TYPE': 'reply', 'CORRELATION_ID': 'c', 'REPLY_TO_CLIENT': s.n(name), 'TTL': '3000', 'TAGS': 'A', 'KEYS': 'k'}
                s.call(c, f'{code} {name} {label}', code, header(topic, props=props, flag=9, queue=0), b'reply', vol=vol)
                s.push(f'{code} {name} {label}: push', r, 326)
    r = s.connect('b1', 'silent')
    s.beat(r, s.n('silent'), (), [s.n('p')])
    props = {'MSG_TYPE': 'reply', 'CORRELATION_ID': 'c', 'REPLY_TO_CLIENT': s.n('silent')}
    p = s.send(c, 325, v2(topic, props=props), b'reply')
    s.push('silent: push', r, 326)
    s.answer('silent: after ten seconds', p, window=(8, 13), vol=vol)
    for queue in (-1, 0, 1, 7):
        s.call(c, f'queue {queue}', 325, v2(topic, queue=queue, props={**props, 'REPLY_TO_CLIENT': 'nobody'}), b'x', vol={**vol, 'ext.queueId': 'int'})
    s.call(c, 'another topic', 325, v2(s.n(), props={**props, 'REPLY_TO_CLIENT': 'nobody'}), b'x', vol=vol)
