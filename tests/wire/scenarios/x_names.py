"""Registrations of several brokers over one connection and over many, filter servers, clusters that change, goodbyes that do not fit."""
import json

import wire
from dsl import scenario
from scenarios.b_namesrv import header, packed, register_body, wrapper
from scenarios.q_names import LISTS


def ask(s, c, label, *topics):
    for topic in topics:
        s.call(c, f'{label}: route {topic[-2:]}', 105, {'topic': topic}, vol=LISTS)
    s.call(c, f'{label}: cluster', 106, vol=LISTS)


def goodbye(name, port, cluster, number=0):
    return {'brokerName': name, 'brokerAddr': f'10.9.9.9:{port}', 'clusterName': cluster, 'brokerId': number}


@scenario('nsb.x1')
def filter_servers(s):
    """Filter servers that a broker registers stand in routes, until it registers without them."""
    c = s.connect('nsb')
    t, cluster = s.n('t1'), s.n('c')

    def register(label, *servers, version=409, conn=None, counter=1, number=0, port=30000, body=None, **over):
        body = body or register_body({t: {}}, counter, filterServerList=list(servers)) 
        s.call(conn, label, 103, header(s.n('ba'), port, cluster, number, **over), body, version=version)
        s.call(c, f'{label}: route {t[-2:]}', 105, {'topic': t}, vol=LISTS)

    b, b2 = s.connect('nsb'), s.connect('nsb')
    register('one', '10.1.1.1:1', conn=b)
    register('two', '10.1.1.1:1', '10.1.1.2:2', conn=b)
    register('two, same again', '10.1.1.1:1', '10.1.1.2:2', conn=b)
    register('a slave with one', '10.1.1.3:3', conn=b2, number=1, port=30010)
    register('an old release, which tells none', conn=b, version=36, body=json.dumps(wrapper({t: {}}, 2)).encode())
    register('none', conn=b, counter=2)
    register('null', conn=b, counter=2, body=register_body({t: {}}, 3).replace(b'"filterServerList":[]', b'"filterServerList":null'))
    register('some again', '10.1.1.4:4', conn=b, counter=4)
    register('null keeps them', conn=b, body=register_body({t: {}}, 5).replace(b'"filterServerList":[]', b'"filterServerList":null'))
    register('absent keeps them?', conn=b, body=json.dumps({'topicConfigSerializeWrapper': wrapper({t: {}}, 6)}).encode())
    register('some again 2', '10.1.1.4:4', conn=b, counter=7)
    register('no body', conn=b)
    register('packed without', conn=b, body=packed({t: {}}, 8), compressed='true')
    register('odd ones', '', 'x', '10.1.1.4:4', '10.1.1.4:4', conn=b, counter=9)
    s.call(c, 'plain route', 105, {'topic': t}, version=0)
    s.call(b, 'goodbye', 104, goodbye(s.n('ba'), 30000, cluster))
    ask(s, c, 'goodbye', t)
    b2.close()
    s.pause(0.5)
    ask(s, c, 'the slave is gone', t)
    register('back without', conn=b, counter=9)


@scenario('nsb.x2')
def goodbyes(s):
    """Goodbyes with another cluster, name, address or id than the registration's."""
    c = s.connect('nsb')
    n = 0
    for label, over in (('another cluster', {'clusterName': s.n('zz')}), ('no such name', {'brokerName': s.n('zz')}), ('another id', {'brokerId': 1}),
                        ('a negative id', {'brokerId': -1}), ('without cluster', {'clusterName': None}), ('as it was', {}), ('empty cluster', {'clusterName': ''})):
        n += 1
        name, cluster, t, port = s.n(f'b{n}'), s.n(f'c{n}'), s.n(f't{n}'), 31000 + 10 * n
        b = s.connect('nsb')
        s.call(b, f'{label}: registered', 103, header(name, port, cluster), register_body({t: {}}))
        h = {k: v for k, v in {**goodbye(name, port, cluster), **over}.items() if v is not None}
        s.call(b, f'{label}: goodbye', 104, h)
        ask(s, c, label, t)
        s.call(c, f'{label}: topics of the cluster', 224, {'cluster': cluster})
        s.call(c, f'{label}: system topics', 304, vol={'body.brokerAddr': 'drop', **LISTS})
        s.call(b, f'{label}: version', 322, {**goodbye(name, port, cluster)}, {'counter': 1, 'timestamp': 1600000000000})
        s.call(b, f'{label}: registered again', 103, header(name, port, cluster), register_body({t: {}}))
        ask(s, c, f'{label}, again', t)
        b.close()
        s.pause(0.3)
        ask(s, c, f'{label}, closed', t)


@scenario('nsb.x3')
def several(s):
    """Several brokers and roles over one connection, and one broker over several."""
    c = s.connect('nsb')
    cluster, t = s.n('c'), s.n('t1')
    one = s.connect('nsb')
    s.call(one, 'master and slave over one connection: master', 103, header(s.n('ba'), 32000, cluster), register_body({t: {}}))
    s.call(one, 'master and slave over one connection: slave', 103, header(s.n('ba'), 32010, cluster, 1), register_body({t: {}}))
    ask(s, c, 'master and slave', t)
    two = s.connect('nsb')
    s.call(two, 'the master over another', 103, header(s.n('ba'), 32000, cluster), register_body({t: {}}))
    one.close()
    s.pause(0.4)
    ask(s, c, 'the first connection closed', t)
    s.call(two, 'the slave over the other', 103, header(s.n('ba'), 32010, cluster, 1), register_body({t: {}}))
    s.call(two, 'slave takes over', 103, header(s.n('ba'), 32010, cluster, 0), register_body({t: {'perm': 4}}, 2))
    ask(s, c, 'slave took over', t)
    s.call(two, 'the old master comes as slave', 103, header(s.n('ba'), 32000, cluster, 1), register_body({t: {}}))
    ask(s, c, 'old master is slave', t)
    s.call(two, 'slave with the id 7', 103, header(s.n('ba'), 32020, cluster, 7), register_body({t: {}}))
    s.call(two, 'slave with the id -1', 103, header(s.n('ba'), 32030, cluster, -1), register_body({t: {}}))
    s.call(two, 'slave with a large id', 103, header(s.n('ba'), 32040, cluster, 2**40), register_body({t: {}}))
    ask(s, c, 'many ids', t)
    s.call(two, 'the master says goodbye', 104, goodbye(s.n('ba'), 32010, cluster))
    ask(s, c, 'without master', t)
    s.call(two, 'a slave without master', 103, header(s.n('ba'), 32020, cluster, 7), register_body({t: {}}))
    s.call(c, 'wiped without master', 205, {'brokerName': s.n('ba')})
    ask(s, c, 'wiped without master', t)
    s.call(two, 'the master returns with the same version', 103, header(s.n('ba'), 32010, cluster, 0), register_body({t: {'perm': 4}}, 2))
    ask(s, c, 'master is back', t)
    s.call(two, 'the cluster of a known name changes', 103, header(s.n('ba'), 32010, s.n('c2'), 0), register_body({t: {}}, 3))
    ask(s, c, 'in two clusters', t)
    for k in ('c', 'c2'):
        s.call(c, f'topics of {k}', 224, {'cluster': s.n(k)})
    s.call(c, 'deleted in the second cluster', 216, {'topic': t, 'clusterName': s.n('c2')})
    ask(s, c, 'deleted in the second', t)
    s.call(two, 'registered once more', 103, header(s.n('ba'), 32010, s.n('c2'), 0), register_body({t: {}}, 4))
    for number, port in ((0, 32010), (1, 32000), (7, 32020), (-1, 32030), (2**40, 32040)):
        s.call(two, f'goodbye of {number}', 104, goodbye(s.n('ba'), port, s.n('c2'), number))
        ask(s, c, f'goodbye of {number}', t)


@scenario('nsb.x3')
def releases(s):
    """Registrations by odd releases and with odd tables."""
    c = s.connect('nsb')
    n = 0
    for version in (-1, -2**31, 0, 36, 37, 38, 1000, 100000, 2**31 - 1):
        for form, body in (('full', lambda t: register_body({t: {}})), ('bare', lambda t: json.dumps(wrapper({t: {}})).encode())):
            n += 1
            b, t = s.connect('nsb'), s.n(f't{n:02}')
            s.call(b, f'{form} by {version}', 103, header(s.n(f'b{n:02}'), 33000 + n, s.n('c')), body(t), version=version)
            s.call(c, f'{form} by {version}: route', 105, {'topic': t}, version=version)
            b.close()
    for label, body in (('null table', {'dataVersion': {'counter': 1, 'timestamp': 1}, 'topicConfigTable': None}), ('no table', {'dataVersion': {'counter': 1, 'timestamp': 1}}),
                        ('null version', {'dataVersion': None, 'topicConfigTable': {}}), ('no version', {'topicConfigTable': {}}), ('version without numbers', {'dataVersion': {}, 'topicConfigTable': {}}),
                        ('null topic', {'dataVersion': {'counter': 1, 'timestamp': 1}, 'topicConfigTable': {s.n('nt'): None}}),
                        ('topic without name', {'dataVersion': {'counter': 1, 'timestamp': 1}, 'topicConfigTable': {s.n('tn'): {'perm': 6, 'readQueueNums': 3, 'writeQueueNums': 3}}}),
                        ('topic of another name', {'dataVersion': {'counter': 1, 'timestamp': 1}, 'topicConfigTable': {s.n('key'): {'topicName': s.n('named'), 'perm': 6, 'readQueueNums': 3, 'writeQueueNums': 3}}}),
                        ('topic without numbers', {'dataVersion': {'counter': 1, 'timestamp': 1}, 'topicConfigTable': {s.n('nn'): {'topicName': s.n('nn')}}}),
                        ('numbers as text', {'dataVersion': {'counter': '1', 'timestamp': '1'}, 'topicConfigTable': {s.n('nx'): {'topicName': s.n('nx'), 'perm': '6', 'readQueueNums': '3', 'topicSysFlag': '1', 'order': 'true'}}}),
                        ('unknown filter type', {'dataVersion': {'counter': 1, 'timestamp': 1}, 'topicConfigTable': {s.n('uf'): {'topicName': s.n('uf'), 'topicFilterType': 'NOPE'}}})):
        n += 1
        b = s.connect('nsb')
        s.call(b, label, 103, header(s.n(f'b{n:02}'), 33000 + n, s.n('c')), {'filterServerList': [], 'topicConfigSerializeWrapper': body})
        s.call(b, f'{label}: again', 103, header(s.n(f'b{n:02}'), 33000 + n, s.n('c')), {'filterServerList': [], 'topicConfigSerializeWrapper': body})
        s.call(b, f'{label}: version', 322, goodbye(s.n(f'b{n:02}'), 33000 + n, s.n('c')), {'counter': 1, 'timestamp': 1})
        for t in ('nt', 'tn', 'key', 'named', 'nn', 'nx', 'uf'):
            s.call(c, f'{label}: route {t}', 105, {'topic': s.n(t)})
        b.close()
        s.pause(0.3)
    for label, body in (('only a counter', {'counter': 5}), ('only a time', {'timestamp': 5}), ('as text', {'counter': '1', 'timestamp': '1'}), ('null counter', {'counter': None, 'timestamp': 1}),
                        ('empty', {}), ('more', {'counter': 1, 'timestamp': 1, 'stateVersion': 9})):
        b = s.connect('nsb')
        s.call(b, f'version with {label}, unknown', 322, goodbye(s.n('v'), 33900, s.n('c')), body)
        s.call(b, f'registered for {label}', 103, header(s.n('v'), 33900, s.n('c')), register_body({}, 1, 1))
        s.call(b, f'version with {label}', 322, goodbye(s.n('v'), 33900, s.n('c')), body)
        b.close()
        s.pause(0.3)


@scenario('nsb.x4')
def flags(s):
    """Unit topics on brokers that disagree, routes of them, and what wiping and adding permissions does to each."""
    c, b, b2 = s.connect('nsb'), s.connect('nsb'), s.connect('nsb')
    for i, (mine, theirs) in enumerate(((0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (-1, -1))):
        t = s.n(f't{i}')
        s.call(b, f'flags {mine}', 103, header(s.n('ba'), 34000, s.n('c')), register_body({t: {'topicSysFlag': mine, 'perm': i}}, i + 1))
        s.call(b2, f'flags {theirs}, second', 103, header(s.n('bb'), 34010, s.n('c')), register_body({t: {'topicSysFlag': theirs, 'perm': 7 - i}}, i + 1))
        for code in (311, 312, 313, 206):
            s.call(c, f'flags {mine}: list {code}', code, vol=LISTS)
        for code in (205, 327, 205):
            s.call(c, f'flags {mine}: {code}', code, {'brokerName': s.n('ba')})
            s.call(c, f'flags {mine}: {code} route', 105, {'topic': t})
        s.call(b, f'flags {mine}: same version', 103, header(s.n('ba'), 34000, s.n('c')), register_body({t: {'topicSysFlag': mine, 'perm': i}}, i + 1))
        s.call(c, f'flags {mine}: same version, route', 105, {'topic': t})


@scenario('nsb.x4')
def kv_and_order(s):
    """KV entries and what registrations and routes hand out of them, with names that are odd."""
    c, b = s.connect('nsb'), s.connect('nsb')
    for space in (s.n('space'), s.n('')):
        for key in (s.n('k'), s.n('k k'), s.n('тема'), s.n('"')):
            for value in ('a:1;b:2', '', ' ', 'x' * 3000, '{"a":1}', '\\u0041', 'a\nb'):
                h = {'namespace': space, 'key': key, 'value': value}
                label = f'{space} {key} {value[:9]!r}'.replace(s.own, '')
                s.call(c, f'put {label}', 100, h)
                s.call(c, f'get {label}', 101, h)
                s.call(c, f'get {label}, binary', 101, h, stype=wire.BINARY)
                s.call(c, f'list {label}', 219, h)
            s.call(c, f'delete {space} {key}'.replace(s.own, ''), 102, {'namespace': space, 'key': key})
            s.call(c, f'get deleted {space} {key}'.replace(s.own, ''), 101, {'namespace': space, 'key': key})
