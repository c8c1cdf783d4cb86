"""What the C++ client can beyond sending and receiving, behind the command line that ../features.rs describes."""
import sys
import threading
import time

from rocketmq.client import Message, MessageModel, Producer, PullConsumer, PushConsumer, RecvMessage, SendStatus
from rocketmq.exceptions import RocketMQException, ffi_check
from rocketmq.ffi import _CConsumeStatus, dll

TAGS = ["A", "B", "C"]


def send(line, namesrv, topic, group, kind, *words):
    producer = Producer(group, timeout=60000)
    producer.set_namesrv_addr(namesrv)
    producer.start()

    def message(tag, body):
        message = Message(topic)
        message.set_tags(tag)
        message.set_keys("key-" + body)
        message.set_body(body)
        return message

    def sent(result):
        if result.status != SendStatus.OK:
            line("failed", result.msg_id, result.status)

    if kind == "plain":
        for i in range(int(words[0])):
            sent(routed(lambda: producer.send_sync(message(TAGS[i % 3], str(i)))))
    elif kind == "ordered":
        for i in range(int(words[0])):
            sent(routed(lambda: producer.send_orderly(message("A", "%d-%d" % (i % 4, i // 4)), i % 4)))
    elif kind == "delayed":
        for i, delay in enumerate(words):
            one = message("A", str(now() + int(delay)))
            one.set_delay_time_level(i + 1)
            sent(routed(lambda: producer.send_sync(one)))
    elif kind == "batch":
        sent(routed(lambda: producer.send_batch([message(TAGS[i % 3], str(i)) for i in range(int(words[0]))])))
    else:
        raise ValueError(kind)
    line("done")
    sys.stdin.buffer.read()
    producer.shutdown()


def receive(line, namesrv, topic, group, kind, filter="*"):
    def got(m):
        line("got", m.body, m.tags, m.queue_id, m.queue_offset, m.reconsume_times, now())

    if kind == "pull":
        consumer = PullConsumer(group)
        consumer.set_namesrv_addr(namesrv)
        consumer.start()
        line("ready")
        for m in consumer.pull(topic, filter):
            got(m)
    else:
        suspended = threading.Event()

        def listen(_, handle):
            m = RecvMessage(handle)
            if kind == "orderly" and m.body.endswith(b"-5") and not suspended.is_set():
                suspended.set()
                return _CConsumeStatus.RECONSUME_LATER.value
            got(m)
            later = kind == "refuse"
            return (_CConsumeStatus.RECONSUME_LATER if later else _CConsumeStatus.CONSUME_SUCCESS).value

        model = MessageModel.BROADCASTING if kind == "broadcast" else MessageModel.CLUSTERING
        consumer = PushConsumer(group, orderly=kind == "orderly", message_model=model)
        consumer.set_namesrv_addr(namesrv)
        consumer.set_message_batch_max_size(1)  # what is refused, is refused with its whole batch
        # Its subscribe() cannot give a message back: an exception of the listener is no answer.
        ffi_check(dll.Subscribe(consumer._handle, topic.encode(), filter.encode()))
        consumer._register_callback(listen)
        consumer.start()
        line("ready")
    sys.stdin.buffer.read()
    consumer.shutdown()


def routed(send, tries=60):
    """What finds no route is not sent, and tried again: the client waits for a name server three seconds only."""
    while True:
        try:
            return send()
        except RocketMQException as error:
            tries -= 1
            if tries == 0 or "route info" not in str(error):
                raise
            time.sleep(1)


def now():
    return int(time.time() * 1000)
