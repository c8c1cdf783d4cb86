import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.concurrent.Callable;
import java.util.concurrent.Semaphore;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** The Java client behind the command line that ../clients.rs describes. Compiles against 4.9 and 5.x. */
public class Interop {
    static final PrintStream OUT = System.out;
    static final int TAPE_CHARS = 349526;
    static final int ASYNC_WINDOW = 64;
    /** Who does not get the route of a topic in three seconds would send by that of TBW102, which has other queues. */
    static final String NO_TOPIC = "none";
    static final String[] TAGS = {"a", "b", "标签", "d", "ü"};

    public static void main(String[] args) throws Exception {
        if (args[0].equals("produce")) {
            produce(args[1], args[2], args[3], Integer.parseInt(args[4]), Integer.parseInt(args[5]),
                args.length > 6 ? Integer.parseInt(args[6]) : 0);
        } else if (args[0].equals("send")) {
            Features.send(args[1], args[2], args[3], args[4], Arrays.copyOfRange(args, 5, args.length));
        } else if (args[0].equals("receive")) {
            Features.receive(args[1], args[2], args[3], args[4], args.length > 5 ? args[5] : "*");
        } else {
            consume(args[1], args[2], args[3], args.length > 4 ? MessageSelector.bySql(args[4]) : MessageSelector.byTag("*"));
        }
        OUT.flush();
        System.exit(0);
    }

    static void produce(String namesrv, String topic, String group, int count, int seed, int retries)
        throws Exception {
        DefaultMQProducer producer = patient(new DefaultMQProducer(group));
        producer.setNamesrvAddr(namesrv);
        producer.setCreateTopicKey(NO_TOPIC);
        producer.setRetryTimesWhenSendFailed(retries);
        producer.setRetryTimesWhenSendAsyncFailed(retries);
        producer.setRetryAnotherBrokerWhenNotStoreOK(retries > 0);
        // Who tries again need not be so patient.
        producer.setSendMsgTimeout(retries > 0 ? 10_000 : 60_000);
        producer.start();
        String tape = tape(seed);
        Semaphore window = new Semaphore(ASYNC_WINDOW);
        for (int i = 0; i < count; i++) {
            String key = seed + "-" + i;
            byte[] body = body(tape, i);
            Message message = new Message(topic, TAGS[i % TAGS.length], key, body);
            message.putUserProperty("地区", "上海 " + i);
            message.putUserProperty("number", String.valueOf(i));
            // The last one is waited for, so that on the same connection the oneway ones are out.
            switch (i == count - 1 ? 0 : i % 3) {
                case 0:
                    try {
                        sent(routed(() -> producer.send(message)), key, body);
                    } catch (Exception error) {
                        failed(key, error);
                    }
                    break;
                case 1:
                    window.acquire();
                    SendCallback callback = new SendCallback() {
                        @Override public void onSuccess(SendResult result) {
                            sent(result, key, body);
                            window.release();
                        }

                        @Override public void onException(Throwable error) {
                            failed(key, error);
                            window.release();
                        }
                    };
                    try {
                        producer.send(message, callback);
                    } catch (Exception error) {
                        callback.onException(error);
                    }
                    break;
                default:
                    try {
                        producer.sendOneway(message);
                    } catch (Exception error) {
                        failed(key, error);
                        break;
                    }
                    line("sent", "-", key, "-", "-", body.length, sha(body));
            }
        }
        window.acquire(ASYNC_WINDOW);
        line("done");
        producer.shutdown();
    }

    static void consume(String namesrv, String topic, String group, MessageSelector selector) throws Exception {
        DefaultMQPushConsumer consumer = patient(new DefaultMQPushConsumer(group));
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, selector);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt m : messages) {
                line("got", m.getMsgId(), m.getKeys(), m.getTags(), m.getUserProperty("地区"), m.getQueueId(),
                    m.getQueueOffset(), m.getReconsumeTimes(), m.getBody().length, sha(m.getBody()));
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        try {
            consumer.start();
        } catch (MQClientException refused) {
            failed("-", refused);
            return;
        }
        line("ready");
        while (System.in.read() >= 0) {
        }
        consumer.shutdown();
    }

    /** A client that does not give up after three seconds: the machine may be busy. */
    static <T extends ClientConfig> T patient(T client) {
        client.setMqClientApiTimeout(30_000);
        return client;
    }

    /** What finds no route is not sent, and tried again: the client waits for its own threads three seconds only. */
    static <T> T routed(Callable<T> send) throws Exception {
        for (int tries = 1; ; tries++) {
            try {
                return send.call();
            } catch (MQClientException e) {
                if (tries == 60 || !String.valueOf(e).contains("No route info") && !String.valueOf(e.getCause()).contains("No route info")) {
                    throw e;
                }
                Thread.sleep(1000);
            }
        }
    }

    static void sent(SendResult result, String key, byte[] body) {
        switch (result.getSendStatus()) {
            case SEND_OK:
                line("sent", result.getMsgId(), key, result.getMessageQueue().getQueueId(), result.getQueueOffset(),
                    body.length, sha(body));
                break;
            default:
                line("failed", key, result.getSendStatus());
        }
    }

    static void failed(String key, Throwable error) {
        line("failed", key, String.valueOf(error).replaceAll("\\s", " "));
    }

    static synchronized void line(Object... fields) {
        StringBuilder text = new StringBuilder();
        for (Object field : fields) {
            text.append(text.length() == 0 ? "" : "\t").append(field);
        }
        byte[] bytes = text.append('\n').toString().getBytes(StandardCharsets.UTF_8);
        OUT.write(bytes, 0, bytes.length);
        OUT.flush();
    }

    static String tape(int seed) {
        StringBuilder tape = new StringBuilder(TAPE_CHARS);
        int state = seed;
        for (int i = 0; i < TAPE_CHARS; i++) {
            state = state * 1664525 + 1013904223;
            tape.append((char) (0x4e00 + (state >>> 16) % 20000));
        }
        return tape.toString();
    }

    static int bodyBytes(int i) {
        long n = i;
        if (i % 1000 == 7) return 1 << 20;
        if (i % 100 == 13) return (int) (1 + n * 7919 % 65536);
        if (i % 10 == 3) return (int) (1 + n * 104729 % 8192);
        return (int) (1 + n * 31 % 512);
    }

    static byte[] body(String tape, int i) {
        int bytes = bodyBytes(i);
        String start = bytes >= 6 ? "é😀" : "";
        int rest = bytes - (bytes >= 6 ? 6 : 0);
        int chars = rest / 3;
        int from = (int) (i * 31L % (TAPE_CHARS - chars + 1));
        return (start + tape.substring(from, from + chars) + "xx".substring(0, rest % 3)).getBytes(StandardCharsets.UTF_8);
    }

    static String sha(byte[] body) {
        try {
            StringBuilder hex = new StringBuilder();
            for (byte b : MessageDigest.getInstance("SHA-256").digest(body)) {
                hex.append(String.format("%02x", b));
            }
            return hex.toString();
        } catch (java.security.NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }
}
