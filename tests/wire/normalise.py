"""What is volatile, said explicitly. Everything not named here is compared exactly.

A normaliser belongs to one scenario: commit-log offsets become P1, P2 … in the order the scenario met them (so
that equality between answers is kept), and names of other scenarios are dropped from listings.

Fields whose name starts with `~` are advisory: compared only by `diff --strict`. `#` fields are never compared.
"""
import fnmatch
import re
import time
import zlib

import bodies

# Last component of a path (in extFields or a JSON body) → rule.
FIELD_RULES = {
    'timestamp': 'now', 'lastUpdateTimestamp': 'now', 'lastTimestamp': 'now', 'minTimeStamp': 'now',
    'maxTimeStamp': 'now', 'consumeTimeStamp': 'now', 'storeTimestamp': 'now', 'bootTimestamp': 'now',
    'indexLastUpdateTimestamp': 'now', 'lastPullTimestamp': 'now', 'lastConsumeTimestamp': 'now',
    'minTimeStampStr': 'timestr', 'maxTimeStampStr': 'timestr', 'consumeTimeStampStr': 'timestr',
    'PUSH_REPLY_TIME': 'now', 'subVersion': 'now', 'physicOffset': 'phys', 'indexLastUpdatePhyoffset': 'size', 'delayTime': 'size', 'commitLogOffset': 'phys',
}
# Arrays that come from sets or hash maps.
UNORDERED = {'topicList', 'groupList', 'consumerIdList', 'lockOKMQSet', 'connectionSet', 'queueDatas', 'brokerDatas',
             'tagsSet', 'codeSet', 'consumeTimeSpanSet', 'consumeStatsList', 'filterServerList', 'offsetTable'}
UNORDERED_PARENTS = {'clusterAddrTable', 'data'}
# Topics all scenarios share: their queue offsets depend on what ran before.
SHARED_TOPICS = {'SCHEDULE_TOPIC_XXXX', 'RMQ_SYS_TRANS_HALF_TOPIC', 'RMQ_SYS_TRANS_OP_HALF_TOPIC',
                 'TRANS_CHECK_MAX_TIME_TOPIC', 'OFFSET_MOVED_EVENT', 'WireCluster_REPLY_TOPIC'}
# Topics that a broker makes when it first needs them, or that a client makes; dropped from listings where a call says '@lazy'.
LAZY_TOPICS = {'RMQ_SYS_TRANS_HALF_TOPIC', 'RMQ_SYS_TRANS_OP_HALF_TOPIC', 'TRANS_CHECK_MAX_TIME_TOPIC', 'RMQ_SYS_TRACE_TOPIC', 'TOPIC_VALIDATOR'}
MARK = 'WD-'
MSG_ID = re.compile(r'7F000001([0-9A-F]{8})([0-9A-F]{16})')
OWN_NAME = re.compile(r'WD-[a-z0-9]+-')
STATUS_WORD = re.compile(r'^[A-Z][A-Z_]+$')
TAG = re.compile(r'^\[[A-Z_]+\]')


class Normaliser:
    def __init__(self, env, own):
        self.env, self.own = env, own
        self.phys, self.base = {}, {}
        self.ports = dict(env.ports)

    # -- single values -------------------------------------------------------------------------------------------
    def label(self, offset):
        offset = int(offset)
        if offset < 0:
            return str(offset)
        return self.phys.setdefault(offset, f'P{len(self.phys) + 1}')

    def text(self, value):
        def msg_id(match):
            port = int(match[1], 16)
            if port not in self.ports:
                return match[0]
            return f'<id {self.ports[port]} {self.label(int(match[2], 16))}>'

        value = MSG_ID.sub(msg_id, value)
        value = re.sub(r'127\.0\.0\.1:(\d+)', self._address, value)
        for path in self.env.paths:
            value = value.replace(path, '<home>')
        return value

    def _address(self, match):
        return f'<{self.ports[int(match[1])]}>' if int(match[1]) in self.ports else match[0]

    def recent(self, value):
        return self.env.started_ms - 60000 <= value <= time.time() * 1000 + 60000

    def rule(self, rule, value):
        """The value under a rule; a value that does not fit its rule stays as it is, so it shows."""
        textual = isinstance(value, str)
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = None
        if rule == 'any':
            return f'<{type(value).__name__}>'
        if rule == 'timestr':
            return '<time>' if re.fullmatch(r'\d{4}-\d\d-\d\d#\d\d:\d\d:\d\d:\d{3}', str(value)) else value
        if rule == 'float':
            return '<float>' if isinstance(value, float) else value
        if rule == 'class':
            return re.sub(r'\d+', '9', str(value))
        if number is None:
            return self.text(value) if textual else value
        if rule == 'now':
            return '<now>' if self.recent(number) else value
        if rule == 'size':
            return '<positive>' if number > 0 else value
        if rule == 'int':
            return '<int>' if number >= 0 else value
        if rule == 'phys':
            return self.label(number)
        if rule.startswith('rel:'):
            first = self.base.setdefault(rule, number)
            return f'{number - first:+d}'
        raise ValueError(rule)

    def pick_rule(self, path, vol):
        for pattern, rule in (vol or {}).items():
            if fnmatch.fnmatchcase(path, pattern):
                return rule
        return FIELD_RULES.get(path.rsplit('.', 1)[-1])

    def foreign(self, name):
        return isinstance(name, str) and MARK in name and self.own not in name

    def walk(self, value, path, vol):
        rule, lazy = self.pick_rule(path, vol), '@lazy' in (vol or {})
        if rule == 'drop':
            return None
        if isinstance(value, dict):
            out = {}
            for key, item in value.items():
                if key == '@objmap':
                    pairs = []
                    for k, v in item:
                        if isinstance(k, dict) and any(self.foreign(x) for x in k.values()):
                            continue
                        name = f"{k.get('topic')}/{k.get('queueId')}" if isinstance(k, dict) else str(k)
                        pairs.append([self.walk(k, path + '.@key', vol), self.walk(v, f'{path}.{name}', vol)])
                    out[key] = pairs
                elif not self.foreign(key) and not (lazy and key.split('@')[0] in LAZY_TOPICS):
                    sub = f'{path}.{key}'
                    if self.pick_rule(sub, vol) != 'drop':
                        out[self.text(key)] = self.walk(item, sub, vol)
            return out
        if isinstance(value, list):
            items = []
            for item in value:
                if self.foreign(item) or (lazy and isinstance(item, str) and item in LAZY_TOPICS):
                    continue
                if isinstance(item, dict) and any(self.foreign(x) for x in list(item) + list(item.values())):
                    continue
                items.append(self.walk(item, path + '.[]', vol))
            parts = path.split('.')
            if parts[-1] in UNORDERED or (len(parts) > 1 and parts[-2] in UNORDERED_PARENTS):
                items.sort(key=repr)
            return items
        if rule:
            return self.rule(rule, value)
        return self.text(value) if isinstance(value, str) else value

    # -- bodies --------------------------------------------------------------------------------------------------
    def body(self, data, kind, vol):
        if not data:
            return {'kind': 'none'}
        if kind == 'auto':
            kind = 'json' if data[:1] in (b'{', b'[') else 'bytes'
        if kind == 'json':
            try:
                parsed = bodies.FastJson(data.decode())
            except (bodies.BadJson, UnicodeDecodeError) as error:
                return {'kind': 'bad json', 'error': str(error), '#text': data[:300].decode('utf-8', 'replace')}
            notes = sorted(parsed.notes - {'object-keys', 'duplicate-key'})
            return {'kind': 'json', 'object_keys': 'object-keys' in parsed.notes,
                    'duplicate_keys': 'duplicate-key' in parsed.notes, '~notes': notes,
                    'value': self.walk(parsed.root, 'body', vol)}
        if kind == 'records':
            return {'kind': 'records', 'records': [self.record(r, vol) for r in bodies.records(data)]}
        if kind == 'props':
            table = bodies.property_file(data.decode())
            return {'kind': 'props', 'ends_with_newline': data.endswith(b'\n'),
                    'value': {k: self.walk(v, f'body.{k}', vol) for k, v in table.items()
                              if self.pick_rule(f'body.{k}', vol) != 'drop'}}
        if kind == 'size':
            return {'kind': 'bytes', 'size': len(data)}
        return {'kind': 'bytes', 'size': len(data), 'hex': data[:64].hex()}

    def record(self, rec, vol):
        if '@error' in rec:
            return rec
        out = dict(rec)
        shared = rec['topic'] in SHARED_TOPICS
        out['phys'] = self.label(rec['phys'])
        out['prepared'] = self.label(rec['prepared']) if rec['prepared'] else 0
        out['stored'] = '<now>' if self.recent(rec['stored']) else rec['stored']
        if self.recent(rec['born']):
            out['born'] = '<now>'
        out['bornHost'], out['storeHost'] = self.text(rec['bornHost']), self.text(rec['storeHost'])
        if shared:
            out['queueOffset'] = self.rule(f"rel:{rec['topic']}/{rec['queueId']}", rec['queueOffset'])
        body = rec['body']
        out['body'] = body.decode('latin1') if len(body) <= 64 else f'{len(body)} bytes {zlib.crc32(body):08x}'
        if shared and body[:1] == b'{':
            out['body'], out['crc'] = self.walk(bodies.FastJson(body.decode()).root, 'body', vol), '<crc>'
        out['properties'] = {k: self.walk(v, f'prop.{k}', vol) for k, v in sorted(rec['properties'].items())}
        return {k: v for k, v in out.items() if self.pick_rule(f'record.{k}', vol) != 'drop'}

    # -- frames --------------------------------------------------------------------------------------------------
    def remark(self, text):
        """none, a status word, a bracketed tag, or just text: people read it, no client parses it."""
        if text is None:
            return 'none'
        if text == '':
            return 'empty'
        if STATUS_WORD.match(text):
            return text
        tag = TAG.match(text)
        return tag[0] if tag else 'text'

    def remark_detail(self, text):
        """Advisory: the text without what changes from run to run; exceptions are reduced to their kind."""
        if text is None:
            return None
        if re.match(r'^[a-z]+(\.[A-Za-z$]+)+(Exception|Error)\b', text):
            return 'exception'
        return re.sub(r'\d{13}', '<ms>', self.text(text))

    def ext(self, ext, vol):
        if not ext:
            return {}
        out = {}
        for key, value in ext.items():
            if key == 'properties':     # the property string of a pushed reply
                out[key] = self.walk(bodies.properties(value), 'ext.properties', vol)
            elif self.pick_rule(f'ext.{key}', vol) != 'drop':
                out[key] = self.walk(value, f'ext.{key}', vol)
        return out

    def frame(self, frame, stype, vol, kind):
        out = {'code': frame.code, 'flag': frame.flag, 'language': frame.language,
               'version': '<version>' if frame.version > 0 else frame.version,
               'serialize': 'as asked' if frame.stype == stype else f'type {frame.stype}',
               'remark': self.remark(frame.remark), '~remark': self.remark_detail(frame.remark),
               'ext': self.ext(frame.ext, vol), '~ext': 'absent' if frame.ext is None else 'present',
               'body': self.body(frame.body, kind, vol)}
        if frame.problems:
            out['problems'] = frame.problems
        return out
