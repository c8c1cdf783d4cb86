"""Walks: requests drawn by chance (the same in every run), each on top of what the ones before have left. What a table of requests
cannot find is what depends on their order."""
import os
import random

import bodies
import wire
from dsl import (batch, consumer, group_config, msg_id_offset, pull, scenario, subscription, v1, v2)

STEPS = 120
SEEDS = range(1, 9)
# Locks that a walk takes expire after a minute, and some walks make thirty pauses.
MOST = 0.8
# What differs on purpose whatever came before: one-way answers, ends of a transaction that contradict each other and the like are
# not drawn. Held pulls are left to other scenarios: when they end is the clock's business.
VOL = {'body.dataVersion': 'drop', '@lazy': True, 'body.*.sum': 'any', 'body.*.tps': 'any', 'body.*.avgpt': 'any', 'body.consumeTps': 'any',
       'body.totalDiff': 'any', 'body.*pullOffset': 'drop'}
PROPERTIES = (
    {}, {'TAGS': 'A'}, {'TAGS': 'B', 'KEYS': 'k1 k2'}, {'UNIQ_KEY': 'u1', 'KEYS': ' k1  '}, {'WAIT': 'true'}, {'WAIT': 'false', 'TAGS': 'A'},
    {'PGROUP': ''}, {'CLUSTER': 'x'}, {'INSTANCE_ID': 'i', 'TAGS': 'A'}, {'TRAN_MSG': 'false'}, {'TRAN_MSG': 'no', 'UNIQ_KEY': 'u2'},
    {'RECONSUME_TIME': '3'}, {'MAX_RECONSUME_TIMES': '2'}, {'ORIGIN_MESSAGE_ID': 'x'}, {'RETRY_TOPIC': 'r'}, {'REAL_TOPIC': 'r', 'REAL_QID': '7'},
    {'BORN_TIMESTAMP': '1'}, {'MSG_REGION': 'elsewhere'}, {'TRACE_ON': 'false'}, {'__SHARDINGKEY': 's'}, {'CONSUME_START_TIME': '1'},
    {'CORRELATION_ID': 'c', 'REPLY_TO_CLIENT': 'r', 'MSG_TYPE': 'request', 'TTL': '3000'}, {'TAGS': 'A' * 200, 'KEYS': 'é ß'},
)
SUBS = ('*', '', 'A', 'B', 'A||B', ' A || C ', '||')


class Walk:
    def __init__(self, s, server, seed):
        self.s, self.server, self.r = s, server, random.Random(seed)
        self.conns = [s.connect(server), s.connect(server)]
        self.topics = [s.n(f't{i}') for i in range(4)]
        self.groups = [s.n(f'g{i}') for i in range(3)]
        self.ids = [s.n(f'i{i}') for i in range(2)]
        self.producers = [s.n(f'p{i}') for i in range(2)]
        self.messages, self.halves, self.step = [], [], 0
        for c in self.conns:
            c.responder = refuse
        s.topic(self.c, self.topics[0], 2)
        s.topic(self.c, self.topics[1], 4)
        s.group(self.c, self.groups[0])

    @property
    def c(self):
        return self.conns[0]

    def some(self, values):
        return self.r.choice(list(values))

    def conn(self):
        return self.some(self.conns)

    def topic(self):
        plain = self.topics + self.topics[:2] * 3
        return self.some(plain + ['%RETRY%' + g for g in self.groups] + ['%DLQ%' + self.groups[0]])

    def group(self):
        return self.some(self.groups + self.groups[:1] * 2)

    def call(self, what, code, header=None, body=b'', conn=None, kind='auto', vol=None):
        binary = self.r.random() < 0.25
        language, version = self.some((('JAVA', 409), ('JAVA', 409), ('CPP', 312), ('GO', 317), ('JAVA', 479)))
        shown = {k: v for k, v in (header or {}).items() if k not in ('defaultTopic', 'c', 'd', 'g', 'bornTimestamp')}
        label = f'{self.step:03} {what} {shown} {body if isinstance(body, dict) else ""}'.replace(self.s.own, '')
        frame = self.s.call(conn or self.conn(), label[:300], code, header, body, kind=kind, vol={**VOL, **(vol or {})},
                            stype=wire.BINARY if binary else wire.JSON, language=language, version=version)
        return frame

    def pushes(self):
        """What the server told either connection meanwhile."""
        self.s.pause(0.17 * (1 + self.s.env.slack), MOST)
        for i, c in enumerate(self.conns):
            with c.cond:
                told = sorted((p.code, sorted((p.ext or {}).items())) for p in c.pushes if p.code != 39)
                c.pushes.clear()
            self.s.check(f'{self.step:03} told connection {i}', [[code, [[k, self.s.norm.text(v)] for k, v in ext if k != 'timestamp']]
                                                              for code, ext in told])

    # -- steps ---------------------------------------------------------------------------------------------------
    def make_topic(self):
        topic = self.some(self.topics)
        self.call('topic', 17, {'topic': topic, 'defaultTopic': 'TBW102', 'readQueueNums': self.some((1, 2, 4)), 'writeQueueNums': self.some((1, 2, 4)),
                                'perm': self.some((6, 6, 6, 2, 4, 0)), 'topicFilterType': self.some(('SINGLE_TAG', 'MULTI_TAG')),
                                'topicSysFlag': self.some((0, 0, 1, 3)), 'order': self.some(('false', 'false', 'true'))})

    def drop_topic(self):
        self.s.wrote(self.c)
        self.s.settle(self.c)
        self.call('drop topic', 215, {'topic': self.some(self.topics)})
        self.s.pause(0.1, MOST)

    def make_group(self):
        group = self.group()
        self.call('group', 200, None, group_config(group, consumeEnable=self.r.random() < 0.8, consumeBroadcastEnable=self.r.random() < 0.7,
                                                   retryMaxTimes=self.some((0, 1, 3, 16, -1)), retryQueueNums=self.some((1, 1, 2, 0)),
                                                   consumeFromMinEnable=self.r.random() < 0.7,
                                                   notifyConsumerIdsChangedEnable=self.r.random() < 0.8))

    def drop_group(self):
        header = {'groupName': self.group()}
        if self.r.random() < 0.6:
            header['removeOffset'] = self.some(('true', 'false'))
        self.call('drop group', 207, header)

    def send(self):
        form, code = self.some(((v1, 10), (v2, 310), (v2, 310)))
        header = form(self.topic(), queue=self.some((0, 0, 1, 1, 2, 3, 4, 9)), props=self.some(PROPERTIES), group=self.some(self.producers + ['']),
                      sysFlag=self.some((0, 0, 0, 1, 2, 8, 12, 64)), flag=self.some((0, 0, 7, -1)), unitMode=self.some(('false', 'true')),
                      reconsumeTimes=self.some((0, 0, 1, 3, 16, 17)), maxReconsumeTimes=self.some((None, None, 0, 2, 20)),
                      defaultTopicQueueNums=self.some((4, 1, 8)))
        frame = self.call('send', code, header, self.some((b'', b'x', b'0123456789' * 10)))
        self.remember(frame)

    def remember(self, frame):
        if frame is not None and frame.code == 0 and 'msgId' in (frame.ext or {}):
            self.messages.append(frame.ext['msgId'])

    def send_many(self):
        entries = [(b'm%d' % i, bodies.property_text(**self.some(PROPERTIES[:5]))) for i in range(self.some((1, 2, 5)))]
        frame = self.call('batch', 320, v2(self.topic(), queue=self.some((0, 1)), batch=True, props=self.some(PROPERTIES[:6])), batch(*entries))
        if frame is not None and frame.code == 0:
            self.messages.extend(x for x in frame.ext.get('msgId', '').split(',') if x)

    def half(self):
        topic = self.some(self.topics[:2])
        props = {'TRAN_MSG': 'true', 'PGROUP': self.some(self.producers), 'UNIQ_KEY': self.s.n(f'h{self.step}'), **self.some(PROPERTIES[:4])}
        frame = self.call('half', 310, v2(topic, queue=self.some((0, 1)), sysFlag=4, props=props, group=props['PGROUP']), b'half',
                          vol={'ext.queueOffset': 'int'})
        if frame is not None and frame.code == 0:
            self.halves.append((frame.ext['msgId'], frame.ext['queueOffset'], props['PGROUP']))

    def end_half(self):
        if not self.halves:
            return
        msg_id, queue_offset, group = self.halves[0]
        header = {'producerGroup': group, 'tranStateTableOffset': queue_offset, 'commitLogOffset': msg_id_offset(msg_id),
                  'commitOrRollback': self.some((0, 8, 8, 12)), 'fromTransactionCheck': self.some(('true', 'false')), 'msgId': 'x', 'transactionId': 'x'}
        odd = self.r.random()
        if odd < 0.15:
            header['producerGroup'] = 'nobody'
        elif odd < 0.3:
            header['tranStateTableOffset'] = int(queue_offset) + 7
        elif header['commitOrRollback']:
            self.halves.pop(0)
        shown = {**header, 'tranStateTableOffset': 0, 'commitLogOffset': 0}
        self.s.call(self.conn(), f'{self.step:03} end {shown}'.replace(self.s.own, ''), 37, header, vol=VOL)
        self.s.wrote(self.c)

    def pull(self):
        header = pull(self.group(), self.topic(), queue=self.some((0, 0, 1, 1, 2, 3, 4, -1)), offset=self.some((0, 0, 0, 1, 2, 5, -1, 100)),
                      sysflag=self.some((0, 1, 4, 4, 4, 5, 8, 12, 16, 20)), sub=self.some(SUBS), maxMsgNums=self.some((1, 2, 32, 32)),
                      commitOffset=self.some((0, 1, 3)), subVersion=self.some((0, 1, 5, 2**40)), expressionType=self.some(('TAG', 'TAG', None)),
                      suspendTimeoutMillis=self.some((0, 1000)))
        self.call('pull', 11, header, kind='records')

    def beat(self):
        who = self.some((0, 1))
        consumers = []
        for group in self.r.sample(self.groups, self.some((0, 1, 1, 2))):
            subs = [subscription(t, self.some(SUBS[:5]), self.some((1, 5, 9))) for t in self.r.sample(self.topics, self.some((0, 1, 2)))]
            consumers.append(consumer(group, *subs, model=self.some(('CLUSTERING', 'CLUSTERING', 'BROADCASTING')),
                                      kind=self.some(('CONSUME_PASSIVELY', 'CONSUME_ACTIVELY')),
                                      where=self.some(('CONSUME_FROM_LAST_OFFSET', 'CONSUME_FROM_FIRST_OFFSET', 'CONSUME_FROM_TIMESTAMP'))))
        beat = {'clientID': self.ids[who if self.r.random() < 0.8 else 1 - who], 'consumerDataSet': consumers,
                'producerDataSet': [{'groupName': p} for p in self.r.sample(self.producers, self.some((0, 1, 2)))]}
        frame = wire.BINARY if self.r.random() < 0.25 else wire.JSON
        groups = {c['groupName'].replace(self.s.own, ''): [(x['topic'].replace(self.s.own, ''), x['subString'], x['subVersion']) for x in c['subscriptionDataSet']]
                  for c in consumers}
        self.s.call(self.conns[who], f'{self.step:03} beat of {beat["clientID"]} by {who}: {groups} {[p["groupName"] for p in beat["producerDataSet"]]}'.replace(self.s.own, ''), 34, None, beat, stype=frame)
        self.pushes()

    def leave(self):
        who = self.some((0, 1))
        header = {'clientID': self.some(self.ids)}
        if self.r.random() < 0.7:
            header['consumerGroup'] = self.group()
        if self.r.random() < 0.5:
            header['producerGroup'] = self.some(self.producers)
        self.call('unregister', 35, header, conn=self.conns[who])
        self.pushes()

    def reconnect(self):
        who = self.some((0, 1))
        self.conns[who].close()
        self.s.pause(0.3, MOST)
        self.conns[who] = self.s.connect(self.server)
        self.conns[who].responder = refuse
        self.pushes()

    def offsets(self):
        queue = {'topic': self.topic(), 'queueId': self.some((0, 0, 1, 2, -1, 9))}
        code = self.some((14, 14, 15, 15, 29, 30, 31, 32))
        extra = {14: {'consumerGroup': self.group()}, 15: {'consumerGroup': self.group(), 'commitOffset': self.some((0, 1, 2, 3, 100, -1))},
                 29: {'timestamp': self.some((0, -1, 1700000000000, 2**50))}}.get(code, {})
        self.call('offset', code, {**extra, **queue})

    def members(self):
        code, header = self.some(((38, {'consumerGroup': self.group()}), (203, {'consumerGroup': self.group()}),
                                  (204, {'producerGroup': self.some(self.producers)}), (300, {'topic': self.topic()})))
        self.call('who', code, header)

    def statistics(self):
        topic, group = self.topic(), self.group()
        code, header = self.some(((202, {'topic': topic}), (208, {'consumerGroup': group}), (208, {'consumerGroup': group, 'topic': topic}),
                                  (303, {'topic': topic, 'group': group}), (308, {'topic': topic, 'compareGroup': group}),
                                  (308, {'topic': topic, 'compareGroup': ''}),
                                  (308, {'topic': topic, 'compareGroup': group, 'filterGroups': ''})))
        self.call('about', code, header)

    def find(self):
        if not self.messages:
            return
        which = self.some(range(len(self.messages)))
        offset = msg_id_offset(self.messages[which])
        if self.r.random() < 0.5:
            self.s.call(self.conn(), f'{self.step:03} view message {which}', 33, {'offset': offset}, kind='records')
        else:
            self.call('by key', 12, {'topic': self.topic(), 'key': self.some(('k1', 'k2', 'u1', 'nothing', '')), 'maxNum': self.some((1, 32)),
                                     'beginTimestamp': 0, 'endTimestamp': 2**62, '_UNIQUE_KEY_QUERY': self.some(('true', 'false'))}, kind='records',
                      vol={'ext.*': 'any'})

    def send_back(self):
        if not self.messages:
            return
        which = self.some(range(len(self.messages)))
        # Ten minutes and more: nothing comes again before the walk ends, however slow the machine.
        header = {'group': self.group(), 'offset': msg_id_offset(self.messages[which]), 'delayLevel': self.some((-1, 14, 15, 18, 30)),
                  'originMsgId': self.some(('x', self.messages[which])), 'originTopic': self.topic(), 'unitMode': self.some(('false', 'true'))}
        if self.r.random() < 0.7:
            header['maxReconsumeTimes'] = self.some((0, 1, 16, -1))
        label = {**header, 'offset': which, 'originMsgId': ''}
        self.s.call(self.conn(), f'{self.step:03} send back {label}'.replace(self.s.own, ''), 36, header)

    def lock(self):
        queues = [{'brokerName': self.some(('wire-a', 'wire-a', 'other')), 'topic': self.some(self.topics), 'queueId': self.some((0, 1, 2))}
                  for _ in range(self.some((0, 1, 3)))]
        self.call('lock', self.some((41, 41, 42)), None, {'clientId': self.some(self.ids), 'consumerGroup': self.group(), 'mqSet': queues})

    def reset(self):
        header = {'topic': self.topic(), 'group': self.group(), 'timestamp': self.some((-1, 0, 2**50)), 'isForce': self.some(('true', 'false'))}
        self.call('reset', 222, header)
        self.pushes()

    def clone(self):
        self.call('clone', 314, {'srcGroup': self.group(), 'destGroup': self.group(), 'topic': self.some(self.topics), 'offline': self.some(('true', 'false'))})

    def check(self):
        self.call('check', 46, None, {'clientId': self.some(self.ids), 'group': self.group(),
                                      'subscriptionData': subscription(self.some(self.topics), self.some(SUBS[:6]), 1)})

    def run(self):
        steps = {self.make_topic: 4, self.drop_topic: 1, self.make_group: 4, self.drop_group: 2, self.send: 14, self.send_many: 4, self.half: 3,
                 self.end_half: 4, self.pull: 14, self.beat: 9, self.leave: 4, self.reconnect: 2, self.offsets: 14, self.members: 8,
                 self.statistics: 8, self.find: 6, self.send_back: 6, self.lock: 4, self.reset: 3, self.clone: 2, self.check: 1}
        for self.step in range(1, STEPS + 1):
            self.r.choices(list(steps), list(steps.values()))[0]()
        self.settled()

    def settled(self):
        """Everything that is left, in the end."""
        for code in (21, 201, 43):
            root = bodies.FastJson(self.s.setup(self.c, code).body.decode()).root
            for part in root.values():
                for key, value in sorted(part.items()) if isinstance(part, dict) else ():
                    if self.s.own in key:
                        self.s.check(f'in the end, {code}: {self.s.norm.text(key)}', value)
        for topic in self.topics + ['%RETRY%' + g for g in self.groups] + ['%DLQ%' + g for g in self.groups]:
            for queue in range(4):
                if int((self.s.setup(self.c, 30, {'topic': topic, 'queueId': queue}).ext or {}).get('offset', 0)) > 0:
                    self.s.call(self.c, f'in the end, {topic}/{queue}'.replace(self.s.own, ''), 321, {'topic': topic, 'queueId': queue, 'index': 0, 'count': 1000},
                                vol={'body.*physicOffset': 'phys'})


def refuse(request):
    """A client that answers every question with an error."""
    if request.flag & 2:
        return None
    return wire.encode(1, None, opaque=request.opaque, flag=1, remark='no')


def walk(seed, lane):
    def steps(s):
        Walk(s, 'b1', seed).run()
    steps.__name__ = f'walk_{seed}'
    steps.__doc__ = f'The walk of seed {seed}.'
    scenario(lane)(steps)


for number in [int(x) for x in os.environ['WIRE_WALKS'].split()] if 'WIRE_WALKS' in os.environ else SEEDS:
    walk(number, f'b1.walk{number % 6}')
