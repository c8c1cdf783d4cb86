"""The C++ client, through its Python binding, behind the command line that ../clients.rs describes."""
import hashlib
import os
import sys
import threading

import features
from rocketmq.client import Message, Producer, PushConsumer, SendStatus

TAPE_CHARS = 349526
ASYNC_WINDOW = 64
TAGS = ["a", "b", "标签", "d", "ü"]
printing = threading.Lock()


def line(*fields):
    text = "\t".join(f.decode() if isinstance(f, bytes) else str(f) for f in fields) + "\n"
    with printing:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()


def tape(state):
    chars = []
    for _ in range(TAPE_CHARS):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        chars.append(chr(0x4E00 + (state >> 16) % 20000))
    return "".join(chars)


def body_bytes(i):
    if i % 1000 == 7:
        return 1 << 20
    if i % 100 == 13:
        return 1 + i * 7919 % 65536
    if i % 10 == 3:
        return 1 + i * 104729 % 8192
    return 1 + i * 31 % 512


def body(tape, i):
    rest, start = body_bytes(i), ""
    if rest >= 6:
        rest, start = rest - 6, "é😀"
    chars = rest // 3
    first = i * 31 % (TAPE_CHARS - chars + 1)
    return (start + tape[first : first + chars] + "xx"[: rest % 3]).encode()


def sha(body):
    return hashlib.sha256(body).hexdigest()


def sent(result, key, body):
    """The binding reports no queue; the status is the client's."""
    if result.status == SendStatus.OK:
        line("sent", result.msg_id, key, "-", result.offset, len(body), sha(body))
    else:
        line("failed", key, result.status)


def produce(namesrv, topic, group, count, seed):
    producer = Producer(group, timeout=60000, max_message_size=4 << 20)
    producer.set_namesrv_addr(namesrv)
    producer.start()
    text = tape(seed)
    window = threading.Semaphore(ASYNC_WINDOW)

    def send_async(message, key, data):
        window.acquire()

        def success(result):
            sent(result, key, data)
            window.release()

        def failure(error):
            line("failed", key, " ".join(str(error).split()))
            window.release()

        producer.send_async(message, success, failure)

    for i in range(count):
        key = "%d-%d" % (seed, i)
        data = body(text, i)
        message = Message(topic)
        message.set_tags(TAGS[i % len(TAGS)])
        message.set_keys(key)
        message.set_body(data)
        message.set_property("地区", "上海 %d" % i)
        # The last one is waited for, so that on the same connection the oneway ones are out.
        how = 0 if i == count - 1 else i % 3
        if how == 0:
            sent(features.routed(lambda: producer.send_sync(message)), key, data)
        elif how == 1:
            send_async(message, key, data)
        else:
            producer.send_oneway(message)
            line("sent", "-", key, "-", "-", len(data), sha(data))
    for _ in range(ASYNC_WINDOW):
        window.acquire()
    line("done")
    producer.shutdown()


def consume(namesrv, topic, group):
    def listen(m):
        data = m.body
        line("got", m.id, m.keys, m.tags, m["地区"], m.queue_id, m.queue_offset, m.reconsume_times, len(data), sha(data))

    consumer = PushConsumer(group)
    consumer.set_namesrv_addr(namesrv)
    consumer.subscribe(topic, listen)
    consumer.start()
    line("ready")
    sys.stdin.buffer.read()
    consumer.shutdown()


if sys.argv[1] in ("send", "receive"):
    getattr(features, sys.argv[1])(line, *sys.argv[2:])
elif sys.argv[1] == "produce":
    produce(*sys.argv[2:5], int(sys.argv[5]), int(sys.argv[6]))
else:
    consume(*sys.argv[2:5])
os._exit(0)  # the library's threads do not survive an interpreter that takes itself apart
