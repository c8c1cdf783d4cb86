// The Node client behind the command line that ../clients.rs describes. It has no oneway send.
'use strict';
const crypto = require('crypto');
const { Producer, Consumer, Message } = require('ali-ons');

const TAPE_CHARS = 349526;
const ASYNC_WINDOW = 64;
const TAGS = [ 'a', 'b', '标签', 'd', 'ü' ];
const httpclient = { async request() { throw new Error('name servers are given, not looked up'); } };
const logger = { info() {}, debug() {}, warn() {}, error: console.error };

const line = (...fields) => process.stdout.write(fields.join('\t') + '\n');
const sha = body => crypto.createHash('sha256').update(body).digest('hex');

function tape(state) {
  const chars = [];
  for (let i = 0; i < TAPE_CHARS; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    chars.push(String.fromCharCode(0x4e00 + (state >>> 16) % 20000));
  }
  return chars.join('');
}

function bodyBytes(i) {
  if (i % 1000 === 7) return 1 << 20;
  if (i % 100 === 13) return 1 + i * 7919 % 65536;
  if (i % 10 === 3) return 1 + i * 104729 % 8192;
  return 1 + i * 31 % 512;
}

function bodyOf(text, i) {
  const bytes = bodyBytes(i);
  const start = bytes >= 6 ? 'é😀' : '';
  const rest = bytes - (bytes >= 6 ? 6 : 0);
  const chars = Math.floor(rest / 3);
  const from = i * 31 % (TAPE_CHARS - chars + 1);
  return Buffer.from(start + text.slice(from, from + chars) + 'xx'.slice(0, rest % 3));
}

/** What does not even find a route is not sent, and tried again: the client waits three seconds for a name server. */
async function routed(send, tries = 60) {
  for (;;) {
    try {
      return await send();
    } catch (e) {
      if (--tries === 0 || e.message.startsWith('Send [')) throw e;
      await new Promise(resolve => setTimeout(resolve, 1000));
    }
  }
}

async function produce(nameSrv, topic, producerGroup, count, seed) {
  const producer = new Producer({ httpclient, nameSrv, producerGroup, logger, maxMessageSize: 4 << 20,
    retryTimesWhenSendFailed: 0, sendMsgTimeout: 60000 });
  producer.on('error', e => console.error(e));
  await producer.ready();
  const text = tape(seed);
  const pending = new Set();

  async function send(i) {
    const key = `${seed}-${i}`;
    const body = bodyOf(text, i);
    const message = new Message(topic, TAGS[i % TAGS.length], body);
    message.keys = [ key ];
    message.properties['地区'] = `上海 ${i}`;
    try {
      const result = await routed(() => producer.send(message));
      if (result.sendStatus === 'SEND_OK') {
        line('sent', result.msgId, key, result.messageQueue.queueId, result.queueOffset, body.length, sha(body));
      } else {
        line('failed', key, result.sendStatus);
      }
    } catch (e) {
      line('failed', key, e.message.replace(/\s+/g, ' '));
    }
  }

  for (let i = 0; i < count; i++) {
    if (i % 3 === 0) {
      await send(i);
      continue;
    }
    if (pending.size >= ASYNC_WINDOW) await Promise.race(pending);
    const one = send(i).then(() => pending.delete(one));
    pending.add(one);
  }
  await Promise.all(pending);
  line('done');
  await producer.close();
}

async function consume(nameSrv, topic, consumerGroup) {
  const consumer = new Consumer({ httpclient, nameSrv, consumerGroup, logger, consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET' });
  consumer.on('error', e => console.error(e));
  consumer.subscribe(topic, '*', async m => {
    // ali-ons names a message by its place; the id that the other clients mean is a property.
    const id = m.properties.UNIQ_KEY || m.msgId;
    line('got', id, m.keys, m.tags, m.properties['地区'], m.queueId, m.queueOffset, m.reconsumeTimes, m.body.length, sha(m.body));
  });
  await consumer.ready();
  line('ready');
  process.stdin.resume();
  await new Promise(resolve => process.stdin.on('end', resolve));
  await consumer.close();
}

const [ verb, ...args ] = process.argv.slice(2);
(verb === 'produce' ? produce(...args.slice(0, 3), Number(args[3]), Number(args[4])) : consume(...args))
  .then(() => process.stdout.write('', () => process.exit(0)))
  .catch(e => { console.error(e); process.exit(1); });
