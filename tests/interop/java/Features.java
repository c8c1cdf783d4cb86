import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** What the Java client can beyond sending and receiving, behind the command line that ../features.rs describes. */
public class Features {
    static final String[] TAGS = {"A", "B", "C"};

    static void send(String namesrv, String topic, String group, String kind, String[] words) throws Exception {
        DefaultMQProducer producer = Interop.patient(kind.equals("transaction") ? transactional(group) : new DefaultMQProducer(group));
        producer.setNamesrvAddr(namesrv);
        producer.setSendMsgTimeout(60_000);
        producer.setCreateTopicKey(Interop.NO_TOPIC);
        // Brokers learn of a group by its heartbeats, and check with whom they know.
        producer.setHeartbeatBrokerInterval(1_000);
        producer.start();
        switch (kind) {
            case "plain":
                for (int i = 0; i < Integer.parseInt(words[0]); i++) {
                    Message plain = message(topic, TAGS[i % 3], String.valueOf(i));
                    sent(Interop.routed(() -> producer.send(plain)));
                }
                break;
            case "ordered":
                for (int i = 0; i < Integer.parseInt(words[0]); i++) {
                    Message ordered = message(topic, "A", i % 4 + "-" + i / 4);
                    int key = i % 4;
                    sent(Interop.routed(() -> producer.send(ordered,
                        (queues, m, shard) -> queues.get((int) shard % queues.size()), key)));
                }
                break;
            case "delayed":
                for (int i = 0; i < words.length; i++) {
                    Message m = message(topic, "A", String.valueOf(System.currentTimeMillis() + Long.parseLong(words[i])));
                    m.setDelayTimeLevel(i + 1);
                    sent(Interop.routed(() -> producer.send(m)));
                }
                break;
            case "timed":
                timed(producer, topic);
                break;
            case "recalled":
                recalled(producer, topic);
                break;
            case "packed":
                for (String method : words) {
                    packed(producer, topic, method);
                }
                break;
            case "batch":
                List<Message> batch = new ArrayList<>();
                for (int i = 0; i < Integer.parseInt(words[0]); i++) {
                    batch.add(message(topic, TAGS[i % 3], String.valueOf(i)));
                }
                sent(Interop.routed(() -> producer.send(batch)));
                break;
            case "transaction":
                for (String word : words) {
                    sent(Interop.routed(() -> producer.sendMessageInTransaction(message(topic, "A", word), null)));
                }
                break;
            case "request":
                for (int i = 0; i < Integer.parseInt(words[0]); i++) {
                    Message question = message(topic, "A", "question " + i);
                    Interop.line("reply", text(Interop.routed(() -> answer(producer, question))));
                }
                break;
            default:
                throw new IllegalArgumentException(kind);
        }
        Interop.line("done");
        untilStdinEnds();
        producer.shutdown();
    }

    /** The call that waits by itself gives up in 5.3.3 when the acknowledgement comes before the answer. */
    static Message answer(DefaultMQProducer producer, Message question) throws Exception {
        CompletableFuture<Message> answer = new CompletableFuture<>();
        producer.request(question, new RequestCallback() {
            @Override public void onSuccess(Message message) {
                // It is also called with nothing, when the question is acknowledged.
                if (message != null) {
                    answer.complete(message);
                }
            }

            @Override public void onException(Throwable e) {
                answer.completeExceptionally(e);
            }
        }, 60_000);
        return answer.get(90, TimeUnit.SECONDS);
    }

    /** The three ways to ask for a time; 5.x only, so that the compiler must not see them. */
    static void timed(DefaultMQProducer producer, String topic) throws Exception {
        Object[][] ways = {{"setDelayTimeMs", 1700L}, {"setDelayTimeSec", 2L}, {"setDeliverTimeMs", 2300L}, {"setDeliverTimeMs", -5000L}};
        for (Object[] way : ways) {
            long now = System.currentTimeMillis();
            long value = (long) way[1];
            long due = now + value * (way[0].equals("setDelayTimeSec") ? 1000 : 1);
            Message m = message(topic, "A", String.valueOf(due));
            Message.class.getMethod((String) way[0], long.class).invoke(m, way[0].equals("setDeliverTimeMs") ? due : value);
            sent(Interop.routed(() -> producer.send(m)));
        }
    }

    /** Two timed messages, the first of which is taken back; 5.x only, too. */
    static void recalled(DefaultMQProducer producer, String topic) throws Exception {
        SendResult[] results = new SendResult[2];
        for (int i = 0; i < 2; i++) {
            Message m = message(topic, "A", new String[] {"gone", "stays"}[i]);
            // Time enough to take it back on a busy machine.
            Message.class.getMethod("setDelayTimeMs", long.class).invoke(m, 15_000L);
            sent(results[i] = Interop.routed(() -> producer.send(m)));
        }
        Object handle = SendResult.class.getMethod("getRecallHandle").invoke(results[0]);
        Object id = DefaultMQProducer.class.getMethod("recallMessage", String.class, String.class).invoke(producer, topic, handle);
        if (!results[0].getMsgId().equals(id)) {
            throw new IllegalStateException("recalled " + id + ", not " + results[0].getMsgId());
        }
    }

    /** The name of the method 5000 times, packed with it; 5.x only. */
    static void packed(DefaultMQProducer producer, String topic, String method) throws Exception {
        Class<?> type = Class.forName("org.apache.rocketmq.common.compression.CompressionType");
        Object chosen = type.getMethod("of", String.class).invoke(null, method);
        DefaultMQProducer.class.getMethod("setCompressType", type).invoke(producer, chosen);
        Message packed = message(topic, "A", String.join("", java.util.Collections.nCopies(5000, method)));
        sent(Interop.routed(() -> producer.send(packed)));
    }

    /** A body is what happens at first, and what a check finds: commit, rollback, unknown-commit, vanish-rollback. */
    static TransactionMQProducer transactional(String group) {
        TransactionMQProducer producer = new TransactionMQProducer(group);
        producer.setTransactionListener(new TransactionListener() {
            @Override public LocalTransactionState executeLocalTransaction(Message m, Object unused) {
                String first = text(m).split("-")[0];
                if (first.equals("vanish")) {
                    Interop.line("vanishes");
                    Runtime.getRuntime().halt(0);
                }
                return state(first);
            }

            @Override public LocalTransactionState checkLocalTransaction(MessageExt m) {
                return state(text(m).split("-")[1]);
            }
        });
        return producer;
    }

    static LocalTransactionState state(String word) {
        switch (word) {
            case "commit":
                return LocalTransactionState.COMMIT_MESSAGE;
            case "rollback":
                return LocalTransactionState.ROLLBACK_MESSAGE;
            default:
                return LocalTransactionState.UNKNOW;
        }
    }

    static void receive(String namesrv, String topic, String group, String kind, String filter) throws Exception {
        switch (kind) {
            case "pull":
                pull(namesrv, topic, group, filter);
                break;
            case "lite":
                lite(namesrv, topic, group, filter);
                break;
            default:
                push(namesrv, topic, group, kind, filter);
        }
    }

    static void push(String namesrv, String topic, String group, String kind, String filter) throws Exception {
        DefaultMQPushConsumer consumer = Interop.patient(new DefaultMQPushConsumer(group));
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, filter);
        if (kind.equals("refuse")) {
            consumer.setMaxReconsumeTimes(2);
        }
        if (kind.equals("broadcast")) {
            broadcasting(consumer);
        }
        DefaultMQProducer replier = Interop.patient(new DefaultMQProducer(group + "_replies"));
        replier.setNamesrvAddr(namesrv);
        replier.start();
        if (kind.equals("orderly")) {
            AtomicBoolean suspended = new AtomicBoolean();
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                if (text(messages.get(0)).endsWith("-5") && !suspended.getAndSet(true)) {
                    return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                }
                messages.forEach(Features::got);
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                for (MessageExt m : messages) {
                    got(m);
                    if (kind.equals("reply")) {
                        try {
                            byte[] answer = ("answer to " + text(m)).getBytes(StandardCharsets.UTF_8);
                            Interop.routed(() -> replier.send(MessageUtil.createReplyMessage(m, answer), 60_000));
                        } catch (Exception e) {
                            Interop.failed(text(m), e);
                        }
                    }
                }
                return kind.equals("refuse") ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        consumer.start();
        Interop.line("ready");
        untilStdinEnds();
        consumer.shutdown();
        replier.shutdown();
    }

    /** The type of the model is in another package in 5.x. */
    static void broadcasting(DefaultMQPushConsumer consumer) throws Exception {
        for (Method method : DefaultMQPushConsumer.class.getMethods()) {
            if (method.getName().equals("setMessageModel")) {
                for (Object model : method.getParameterTypes()[0].getEnumConstants()) {
                    if (model.toString().equals("BROADCASTING")) {
                        method.invoke(consumer, model);
                    }
                }
            }
        }
    }

    static void pull(String namesrv, String topic, String group, String filter) throws Exception {
        DefaultMQPullConsumer consumer = Interop.patient(new DefaultMQPullConsumer(group));
        consumer.setNamesrvAddr(namesrv);
        consumer.start();
        Interop.line("ready");
        for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(topic)) {
            PullResult result = consumer.pull(queue, filter, 0, 32);
            while (result.getPullStatus() == PullStatus.FOUND || result.getPullStatus() == PullStatus.NO_MATCHED_MSG) {
                if (result.getPullStatus() == PullStatus.FOUND) {
                    result.getMsgFoundList().forEach(Features::got);
                }
                result = consumer.pull(queue, filter, result.getNextBeginOffset(), 32);
            }
            consumer.updateConsumeOffset(queue, result.getNextBeginOffset());
        }
        untilStdinEnds();
        consumer.shutdown();
    }

    static void lite(String namesrv, String topic, String group, String filter) throws Exception {
        DefaultLitePullConsumer consumer = Interop.patient(new DefaultLitePullConsumer(group));
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, filter);
        consumer.start();
        Interop.line("ready");
        AtomicBoolean ended = new AtomicBoolean();
        Thread watcher = new Thread(() -> {
            untilStdinEnds();
            ended.set(true);
        });
        watcher.start();
        while (!ended.get()) {
            consumer.poll(200).forEach(Features::got);
        }
        consumer.shutdown();
    }

    static Message message(String topic, String tag, String body) {
        return new Message(topic, tag, "key-" + body, body.getBytes(StandardCharsets.UTF_8));
    }

    static String text(Message m) {
        return new String(m.getBody(), StandardCharsets.UTF_8);
    }

    static void got(MessageExt m) {
        Interop.line("got", text(m), m.getTags(), m.getQueueId(), m.getQueueOffset(), m.getReconsumeTimes(), System.currentTimeMillis());
    }

    static void sent(SendResult result) {
        if (result.getSendStatus() != SendStatus.SEND_OK) {
            Interop.line("failed", Arrays.asList(result.getMsgId(), result.getSendStatus()));
        }
    }

    static void untilStdinEnds() {
        try {
            while (System.in.read() >= 0) {
            }
        } catch (java.io.IOException closed) {
            // Nobody is there any more.
        }
    }
}
