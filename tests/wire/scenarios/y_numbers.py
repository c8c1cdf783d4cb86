"""Digits of other scripts, topics with odd numbers of queues, entries of batches with odd bytes, and requests that lack what only some of
them need."""
import struct

import wire
from dsl import batch, msg_id_offset, pull, scenario, v1, v2

ANY = {'ext.queueId': 'int', 'ext.queueOffset': 'int', 'ext.msgId': 'any'}
LATER = {'ext.queueOffset': 'int'}


@scenario('b1.numbers1')
def digits(s):
    """Numbers in fields and in a message's delay, in digits of several scripts."""
    c = s.connect('b1')
    s.topic(c, s.n(), 4)
    for i in range(3):
        s.put(c, s.n(), b'm%d' % i, 1)
    s.settle(c)
    for text in ('１', '+１', '-１', '١', '१', '1１', '１.0', '²', '一', '+', '-', '+-1', '0x1', '1L', '１１１１１１１１１１１'):
        queue = {'topic': s.n(), 'queueId': text}
        s.call(c, f'max offset {text}', 30, queue)
        s.call(c, f'max offset {text}, binary', 30, queue, stype=wire.BINARY)
        s.call(c, f'pull {text}', 11, {**pull(s.n('g'), s.n()), 'queueId': text}, kind='records')
        s.call(c, f'pull at {text}', 11, {**pull(s.n('g'), s.n(), 1), 'queueOffset': text}, kind='records')
        s.call(c, f'send {text}', 310, {**v2(s.n()), 'e': text}, b'x', vol={'ext.queueId': 'int', 'ext.queueOffset': 'int'})
        s.call(c, f'send, long header {text}', 10, {**v1(s.n()), 'queueId': text}, b'x', vol={'ext.queueId': 'int', 'ext.queueOffset': 'int'})
        s.call(c, f'delayed {text}', 310, v2(s.n(), props={'DELAY': text + '0' if text == '１' else text}), b'x', vol=LATER)
        s.call(c, f'commit {text}', 15, {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': 1, 'commitOffset': text})
        s.call(c, f'committed {text}', 14, {'consumerGroup': s.n('g'), 'topic': s.n(), 'queueId': 1})


@scenario('b1.numbers1')
def queues(s):
    """Topics whose numbers of queues are negative or none."""
    c, n = s.connect('b1'), s.connect('ns')
    for write in (-1, 0, 1):
        for read in (-1, 0, 1, 3):
            topic, label = s.n(f't{write + 1}{read + 1}'), f'{write} {read}'
            header = {'topic': topic, 'defaultTopic': 'TBW102', 'readQueueNums': read, 'writeQueueNums': write, 'perm': 6,
                      'topicFilterType': 'SINGLE_TAG', 'topicSysFlag': 0, 'order': 'false'}
            s.call(c, f'{label}: made', 17, header)
            s.route(n, f'{label}: route', topic)
            for q in (-1, -7, 0, 1, 3):
                s.call(c, f'{label}: sent to {q}', 310, v2(topic, queue=q), b'x')
                s.call(c, f'{label}: batch to {q}', 320, v2(topic, queue=q, batch=True), batch((b'1', '')))
                s.call(c, f'{label}: reply to {q}', 325, v2(topic, queue=q, props={'REPLY_TO_CLIENT': 'x'}), b'x', vol=ANY)
            s.wrote(c)
            for q in (-1, 0, 1):
                s.call(c, f'{label}: pull {q}', 11, pull(s.n('g'), topic, q), kind='size')
                s.call(c, f'{label}: end of {q}', 30, {'topic': topic, 'queueId': q})
            s.call(c, f'{label}: statistics', 202, {'topic': topic})
            s.call(c, f'{label}: reset', 222, {'topic': topic, 'group': s.n('g'), 'timestamp': -1, 'isForce': 'true'})
            s.setup(c, 215, {'topic': topic})


@scenario('b1.numbers2')
def entries(s):
    """Entries of batches: bytes that are no text, lengths that are wrong, properties that the header has too."""
    c = s.connect('b1')
    s.topic(c, s.n(), 2)

    def entry(body, props, size=None, flag=0, blen=None, plen=None):
        size = 22 + len(body) + len(props) if size is None else size
        head = struct.pack('>iiiii', size, 0, 0, flag, len(body) if blen is None else blen)
        return head + body + struct.pack('>h', len(props) if plen is None else plen) + props

    good = entry(b'm', b'TAGS\x01A')
    foreign = {'no UTF-8': b'TAGS\x01A\x02k\x01\xff\xfe', 'Latin letters': b'k\x01\xe9', 'no UTF-8 in a name': b'\xffk\x01v', 'a cut letter': b'k\x01\xc3'}
    cases = {label: entry(b'm', props) for label, props in foreign.items()} | {
        'a zero': entry(b'm', b'k\x01\x00'), 'a separator at the end': entry(b'm', b'k\x01v\x02'), 'no separator': entry(b'm', b'abc'), 'no name': entry(b'm', b'\x01v'),
        'a name twice': entry(b'm', b'k\x01v\x02k\x01w'), 'CLUSTER': entry(b'm', b'CLUSTER\x01x'), 'WAIT': entry(b'm', b'WAIT\x01false\x02k\x01v'), 'DELAY': entry(b'm', b'DELAY\x013'),
        'TRAN_MSG': entry(b'm', b'TRAN_MSG\x01true'), 'a flag': entry(b'm', b'', flag=-1), 'no body': entry(b'', b''), 'size 0': entry(b'm', b'', size=0), 'a long size': entry(b'm', b'', size=1000),
        'body length -1': entry(b'm', b'', blen=-1), 'a long body length': entry(b'm', b'', blen=1000), 'properties length -1': entry(b'm', b'', plen=-1),
        'a long properties length': entry(b'm', b'', plen=100), 'bytes behind': good + b'xx', 'cut': good[:-3], 'one and a half': good + good[:10], 'forty': good * 40,
        'long properties': entry(b'm', b'k\x01' + b'v' * 32000)}
    for label, body in cases.items():
        for props in ('', 'WAIT\x01true', 'x\x01y', 'x\x01y\x02', 'k\x01outer'):
            frame = s.call(c, f'{label}, {props!r}', 320, v2(s.n(), batch=True, props=props), body)
            if frame is not None and frame.code == 0 and label not in foreign:
                s.wrote(c)
                s.call(c, f'{label}, {props!r}: stored', 33, {'offset': msg_id_offset(frame.ext['msgId'].split(',')[0])}, kind='records')


@scenario('b1.numbers2')
def lacking(s):
    """Sends that do not say how to make their topic; send-backs and pulls without a number, which are refused for something else first;
    levels of half messages and batches."""
    c = s.connect('b1')
    n = 0
    for stype in (wire.JSON, wire.BINARY):
        for code, form, names in ((10, v1, ('defaultTopic', 'defaultTopicQueueNums')), (310, v2, 'cd'), (320, v2, 'cd'), (325, v2, 'cd')):
            for left in ((0,), (1,), (0, 1)):
                for kind in ('', '%RETRY%', '%DLQ%'):
                    for bad in (None, '', 'x'):
                        n += 1
                        topic, label = kind + s.n(f't{n}'), f'{code} {kind} {left} {bad!r} {stype}'
                        header = form(topic, props={'REPLY_TO_CLIENT': 'x'}, batch=code == 320)
                        for i in left:
                            header.pop(names[i])
                            if bad is not None:
                                header[names[i]] = bad
                        s.call(c, label, code, header, batch((b'1', '')) if code == 320 else b'x', stype=stype, vol=ANY)
                        s.call(c, f'{label}: is there', 202, {'topic': topic}, vol={'body.*': 'drop'})
    s.topic(c, s.n())
    s.group(c, s.n('none'), retryQueueNums=0)
    s.group(c, s.n('off'), consumeEnable=False)
    for group in ('none', 'off', 'new'):
        base = {'group': s.n(group), 'offset': 2**40, 'delayLevel': 5, 'originMsgId': 'x', 'originTopic': s.n(), 'unitMode': 'false', 'maxReconsumeTimes': 16}
        for field in base:
            s.call(c, f'back, {group} without {field}', 36, {k: v for k, v in base.items() if k != field})
            s.call(c, f'back, {group} with bad {field}', 36, {**base, field: ''})
        for field in pull('g', 't'):
            for topic in ('t', 'nothing'):
                header = {k: v for k, v in pull(s.n(group), s.n(topic)).items() if k != field}
                s.call(c, f'pull, {group} without {field} of {topic}', 11, header, kind='records')
    s.call(c, 'the retry topic of the new group', 202, {'topic': '%RETRY%' + s.n('new')})
    half = {'TRAN_MSG': 'true', 'PGROUP': s.n('p')}
    for level in ('x', '1.5', '', ' 1', '3'):
        s.call(c, f'half with level {level!r}', 310, v2(s.n(), sysFlag=4, props={**half, 'DELAY': level}), b'h', vol=LATER)
        for flag in (0, 4, 8, 12, 64):
            s.call(c, f'batch with flag {flag}, level {level!r}', 320, v2(s.n(), sysFlag=flag, batch=True, props={'DELAY': level}), batch((b'1', '')))
    s.setup(c, 17, {'topic': '%RETRY%' + s.n('mt'), 'defaultTopic': 'TBW102', 'readQueueNums': 1, 'writeQueueNums': 1, 'perm': 6, 'topicFilterType': 'MULTI_TAG',
                    'topicSysFlag': 0, 'order': 'false'})
    for times in (0, 99):
        frame = s.call(c, f'multi tags, {times} times', 310, v2('%RETRY%' + s.n('mt'), reconsumeTimes=times, sysFlag=1), b'x')
        s.wrote(c)
        s.call(c, f'multi tags, {times} times: stored', 33, {'offset': msg_id_offset(frame.ext['msgId'])}, kind='records')
