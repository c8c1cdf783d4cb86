"""Starts and stops the servers of one run on fresh folders, ours or the official ones.

    ns   name server of the two brokers
    nsb  a second name server, for made-up brokers; closes idle connections after 10 s
    b1   broker wire-a, stock settings
    b2   broker wire-b, cautious settings: nothing is created automatically, SQL92 on, long polling off
    b3   broker wire-c, alone: no name server knows it; light message queues on
    nsm  a third name server, of a pair: b4, broker wire-d, the master, and b5, its slave
    b6   broker wire-e, alone: a synchronous master that waits for slaves it does not have, with synchronous flush
"""
import glob
import os
import random
import shutil
import signal
import socket
import subprocess
import time

import wire

CLUSTER = 'WireCluster'
COMMON = {'brokerClusterName': CLUSTER, 'brokerId': 0, 'brokerRole': 'ASYNC_MASTER', 'flushDiskType': 'ASYNC_FLUSH',
          'brokerIP1': '127.0.0.1', 'mappedFileSizeCommitLog': 67108864, 'waitTimeMillsInSendQueue': 5000,
          'osPageCacheBusyTimeOutMills': 5000, 'maxHashSlotNum': 100000, 'maxIndexNum': 400000,
          'mappedFileSizeConsumeQueue': 120000, 'fileReservedTime': 48, 'diskMaxUsedSpaceRatio': 95}
CAUTIOUS = {'autoCreateTopicEnable': 'false', 'autoCreateSubscriptionGroup': 'false', 'enablePropertyFilter': 'true',
            'longPollingEnable': 'false', 'transactionTimeOut': 1000, 'transactionCheckInterval': 3000,
            'transactionCheckMax': 2, 'slaveReadEnable': 'true'}
LIGHT = {'enableLmq': 'true', 'enableMultiDispatch': 'true', 'namesrvAddr': None, 'brokerClusterName': 'LightCluster'}
PAIR = {'brokerClusterName': 'PairCluster', 'brokerRole': 'SYNC_MASTER', 'slaveTimeout': 5000}
SLAVE = {'brokerClusterName': 'PairCluster', 'brokerId': 1, 'brokerRole': 'SLAVE'}
LONELY = {'brokerRole': 'SYNC_MASTER', 'flushDiskType': 'SYNC_FLUSH', 'namesrvAddr': None, 'brokerClusterName': 'LonelyCluster'}
OWN = {'b2': CAUTIOUS, 'b3': LIGHT, 'b4': PAIR, 'b5': SLAVE, 'b6': LONELY}
BROKERS = {'b1': 'wire-a', 'b2': 'wire-b', 'b3': 'wire-c', 'b4': 'wire-d', 'b5': 'wire-d', 'b6': 'wire-e'}


PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OPEN = ('sun.nio.ch', 'java.nio', 'java.lang', 'jdk.internal.ref', 'sun.nio', 'java.util')
QUIET = '<configuration><root level="OFF"/></configuration>'


def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(('127.0.0.1', port)) == 0


def free_base():
    """The first of 76 ports that nobody listens on, below those the kernel gives to outgoing connections and above
    those that other tests take."""
    for _ in range(200):
        base = random.randrange(21000, 30000, 80)
        if not any(listening(port) for port in range(base, base + 76)):
            return base
    raise SystemExit('no 76 free ports in a row between 21000 and 30000')


def java_jars(folder, version):
    """The class path of the official servers: the jars in `folder`, or those that Maven fetches once."""
    if folder is None:
        folder = os.path.join(PROJECT, 'target', 'interop-cache', f'java-peer-{version}', 'lib')
        if not glob.glob(os.path.join(folder, 'rocketmq-broker-*.jar')):
            pom = os.path.join(PROJECT, 'tests', 'support', 'java_peer', 'pom.xml')
            subprocess.run(['mvn', '-q', '-B', '-f', pom, f'-Drocketmq.version={version}',
                            f'-DoutputDirectory={folder}', 'dependency:copy-dependencies'], check=True)
    if not glob.glob(os.path.join(folder, f'rocketmq-broker-{version}.jar')):
        raise SystemExit(f'{folder} has no rocketmq-broker-{version}.jar')
    return os.path.join(folder, '*')


class Env:
    def __init__(self, args):
        self.peer, self.base = args.peer, args.base_port or free_base()
        self.work = os.path.abspath(args.work)
        self.bin = os.path.abspath(args.bin)
        self.jars = java_jars(args.java, args.java_version) if args.peer == 'java' else None
        self.started_ms = time.time() * 1000
        self.paths = [self.work]
        self.table = {'ns': self.base, 'nsb': self.base + 10, 'b1': self.base + 20, 'b2': self.base + 40, 'b3': self.base + 30,
                      'nsm': self.base + 15, 'b4': self.base + 50, 'b5': self.base + 60, 'b6': self.base + 70}
        self.ports = {port: name for name, port in self.table.items()}
        for name in BROKERS:
            self.ports[self.table[name] - 2] = name + 'fast'
            self.ports[self.table[name] + 1] = name + 'ha'
        self.table['b1fast'] = self.table['b1'] - 2
        self.running = []

    def port(self, name):
        return self.table[name]

    def address(self, name):
        return f'127.0.0.1:{self.table[name]}'

    def settings(self, name):
        if name.startswith('ns'):
            own = {'listenPort': self.table[name]}
            return {**own, 'serverChannelMaxIdleTimeSeconds': 10} if name == 'nsb' else own
        home = os.path.join(self.work, name)
        own = {'brokerName': BROKERS[name], 'listenPort': self.table[name],
               'namesrvAddr': self.address('nsm' if name in ('b4', 'b5') else 'ns'), 'storePathRootDir': f'{home}/store',
               'storePathCommitLog': f'{home}/store/commitlog', **COMMON}
        own.update(OWN.get(name, {}))
        return {key: value for key, value in own.items() if value is not None}

    def start(self, name):
        home = os.path.join(self.work, name)
        shutil.rmtree(home, ignore_errors=True)
        os.makedirs(os.path.join(home, 'conf'))
        role = 'namesrv' if name.startswith('ns') else 'broker'
        conf = os.path.join(home, 'conf', f'{role}.conf')
        with open(conf, 'w') as out:
            out.writelines(f'{key}={value}\n' for key, value in self.settings(name).items())
        env = {**os.environ, 'ROCKETMQ_HOME': home, 'HOME': home}
        env.pop('NAMESRV_ADDR', None)
        if self.peer == 'java':
            command = self.java(home, role) + ['-c', conf]
        else:
            command = [os.path.join(self.bin, 'mqnamesrv' if role == 'namesrv' else 'mqbroker'), '-c', conf]
        log = open(os.path.join(home, 'stdout.log'), 'wb')
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   cwd=home)
        self.running.append((name, process))

    def java(self, home, role):
        logback = os.path.join(home, 'conf', f'logback_{role}.xml')
        with open(logback, 'w') as out:
            out.write(QUIET)
        heap = '-Xms128m -Xmx256m' if role == 'namesrv' else '-Xms384m -Xmx768m -XX:MaxDirectMemorySize=1g'
        access = [f'--add-{how}=java.base/{package}=ALL-UNNAMED' for how in ('opens', 'exports') for package in OPEN]
        main = {'namesrv': 'namesrv.NamesrvStartup', 'broker': 'broker.BrokerStartup'}[role]
        return ['java', *heap.split(), '-XX:+UseSerialGC', '-XX:-UseBiasedLocking', '-XX:+IgnoreUnrecognizedVMOptions',
                '-Drocketmq.broker.diskSpaceWarningLevelRatio=0.99', *access, f'-Duser.home={home}', f'-Drocketmq.home.dir={home}',
                f'-Drmq.logback.configurationFile={logback}', '-Drocketmq.client.logUseSlf4j=true',
                '-cp', self.jars, f'org.apache.rocketmq.{main}']

    def wait_port(self, name, seconds=120):
        deadline = time.monotonic() + seconds
        process = dict(self.running)[name]
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection(('127.0.0.1', self.table[name]), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f'{name} does not listen on its port; see {self.work}/{name}')

    def refuse_busy_ports(self):
        """Another run on these ports would be taken for ours."""
        for port in sorted(self.ports):
            if listening(port):
                raise SystemExit(f'port {port} is in use; choose another --base-port')

    def refuse_full_disk(self):
        """Brokers take no messages above 90 percent, and every answer would differ."""
        used = shutil.disk_usage(os.path.dirname(self.work))
        if used.used / (used.used + used.free) > 0.88:
            raise SystemExit(f'the disk under {self.work} is nearly full; choose another folder (--work, or TMPDIR)')

    def start_all(self):
        self.refuse_busy_ports()
        self.refuse_full_disk()
        for name in ('ns', 'nsb', 'nsm'):
            self.start(name)
        for name in ('ns', 'nsb', 'nsm'):
            self.wait_port(name)
        for name in BROKERS:
            self.start(name)
        for name in BROKERS:
            self.wait_port(name)
        self.wait_ready()

    def wait_ready(self, seconds=60):
        """Two brokers are in the route of TBW102's cluster, and all answer GET_BROKER_RUNTIME_INFO."""
        deadline = time.monotonic() + seconds
        ready = [('ns', 106, (b'wire-a', b'wire-b')), ('nsm', 106, [self.address(x).encode() for x in ('b4', 'b5')])]
        for name, code, wanted in ready + [(broker, 28, (b'table',)) for broker in BROKERS]:
            while time.monotonic() < deadline:
                conn = wire.Connection('127.0.0.1', self.table[name])
                opaque = conn.next_opaque()
                conn.write(wire.encode(code, None, opaque=opaque))
                frame = conn.wait_answer(opaque, 2)
                conn.close()
                if not isinstance(frame, str) and frame.code == 0 and all(w in frame.body for w in wanted):
                    break
                time.sleep(0.2)

    def stop_all(self):
        for _, process in reversed(self.running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for _, process in reversed(self.running):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()
