"""Walks of a name server: made-up brokers that register, change their minds, move, vanish and say goodbye, and what is asked in between;
drawn by chance, the same in every run. No broker changes its cluster, and brokers agree about the flags of a topic: what Java makes of
that depends on the order of its hash tables."""
import os
import random

import wire
from dsl import scenario
from scenarios.b_namesrv import header, packed, register_body
from scenarios.q_names import LISTS

STEPS = 90
SEEDS = range(1, 7)


class Walk:
    def __init__(self, s, seed):
        self.s, self.r = s, random.Random(seed)
        self.c = s.connect('nsb')
        self.own = {}       # each broker has its own connection: when one closes, Java forgets one broker
        self.topics = [s.n(f't{i}') for i in range(4)]
        self.brokers = [s.n(f'b{i}') for i in range(3)]
        self.clusters = [s.n(f'c{i}') for i in range(2)]
        self.base = 20000 + 20 * seed
        self.places = {}
        self.step = 0

    def some(self, values):
        return self.r.choice(list(values))

    def call(self, what, code, ext=None, body=b'', conn=None, **frame):
        shown = {k: v for k, v in (ext or {}).items() if k != 'haServerAddr'}
        return self.s.call(conn or self.c, f'{self.step:03} {what} {shown}'.replace(self.s.own, ''), code, ext, body, vol=LISTS,
                           stype=self.some((wire.JSON, wire.JSON, wire.BINARY)), **frame)

    def port(self, name):
        return self.base + 6 * self.brokers.index(name) + self.some(range(5))

    def cluster(self, name):
        return self.clusters[self.brokers.index(name) // 2]

    def register(self):
        name, number = self.some(self.brokers), self.some((0, 0, 0, 1, 2))
        ext = header(name, self.port(name), self.cluster(name), number)
        topics = {t: {'perm': self.some((6, 6, 4, 2, 7)), 'topicSysFlag': self.topics.index(t), 'readQueueNums': self.some((4, 8)),
                      'writeQueueNums': self.some((4, 1))} for t in self.r.sample(self.topics, self.some((0, 1, 2, 4)))}
        counter, timestamp = self.some((1, 2, 3)), self.some((1600000000000, 1600000000001))
        if self.r.random() < 0.3:
            ext['compressed'] = 'true'
            topics = {t: over for t, over in topics.items() if not over['topicSysFlag']}     # which this form cannot tell
            body = packed(topics, counter, timestamp)
        else:
            body = register_body(topics, counter, timestamp)
        if ext['brokerAddr'] not in self.own:
            self.own[ext['brokerAddr']] = self.s.connect('nsb')
        frame = self.call(f'register {sorted(topics)} {counter} {timestamp % 10}', 103, ext, body, conn=self.own[ext['brokerAddr']])
        if frame is not None and frame.code == 0:
            self.places = {k: v for k, v in self.places.items() if not (k[0] == name and v[0] == ext['brokerAddr'])}
            self.places[name, number] = (ext['brokerAddr'], ext['clusterName'])

    def unregister(self):
        if not self.places or self.r.random() < 0.15:
            name, number, address, cluster = self.s.n('nobody'), 0, '10.9.9.9:1', self.clusters[0]
        else:
            name, number = self.some(sorted(self.places))
            address, cluster = self.places.pop((name, number))
        self.call('unregister', 104, {'brokerName': name, 'brokerAddr': address, 'clusterName': cluster, 'brokerId': number})

    def vanish(self):
        if self.own:
            self.own.pop(self.some(sorted(self.own))).close()
            self.s.pause(0.3, 0.8)    # the name server closes what is silent for 10 s

    def version(self):
        name = self.some(self.brokers)
        self.call('version', 322, {'brokerName': name, 'brokerAddr': f'10.9.9.9:{self.port(name)}', 'clusterName': self.clusters[0],
                                   'brokerId': self.some((0, 1))}, {'counter': self.some((1, 2, 3)), 'timestamp': self.some((1600000000000, 1600000000001))})

    def route(self):
        ext = {'topic': self.some(self.topics)}
        if self.r.random() < 0.3:
            ext['acceptStandardJsonOnly'] = self.some(('true', 'false'))
        self.call('route', 105, ext, version=self.some((409, 409, 0, 317, 479)))

    def look(self):
        code = self.some((106, 106, 206, 224, 311, 312, 313))
        self.call(f'list {code}', code, {'cluster': self.some(self.clusters + [self.s.n('none')])} if code == 224 else None)

    def permissions(self):
        self.call('permission', self.some((205, 327)), {'brokerName': self.some(self.brokers + [self.s.n('nobody')])})

    def delete(self):
        ext = {'topic': self.some(self.topics + [self.s.n('none')])}
        if self.r.random() < 0.5:
            ext['clusterName'] = self.some(self.clusters)
        self.call('delete', 216, ext)

    def settings(self):
        code, space = self.some((100, 101, 101, 102, 219)), self.s.n('space')
        ext = {'namespace': space, 'key': self.some(('k1', 'k2'))} if code != 219 else {'namespace': space}
        self.call('setting', code, {**ext, 'value': self.some(('v', 'w'))} if code == 100 else ext)

    def run(self):
        steps = {self.register: 30, self.unregister: 6, self.vanish: 4, self.version: 6, self.route: 24, self.look: 12, self.permissions: 5,
                 self.delete: 5, self.settings: 8}
        for self.step in range(1, STEPS + 1):
            self.r.choices(list(steps), list(steps.values()))[0]()
        for topic in self.topics:
            self.call('in the end', 105, {'topic': topic})
        self.call('in the end', 106)
        for conn in self.own.values():
            conn.close()
        self.s.pause(0.5)
        for topic in self.topics:
            self.call('when all are gone', 105, {'topic': topic})
        self.call('when all are gone', 106)


def walk(seed):
    def steps(s):
        Walk(s, seed).run()
    steps.__name__ = f'walk_{seed}'
    steps.__doc__ = f'The walk of seed {seed}.'
    scenario('nsb.walks')(steps)


for number in [int(x) for x in os.environ['WIRE_WALKS'].split()] if 'WIRE_WALKS' in os.environ else SEEDS:
    walk(number)
