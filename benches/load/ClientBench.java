import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/**
 * The official Java client doing what benches/client.rs does with ours. Arguments: name server, topic,
 * messages, bytes of a body, kinds of work. Prints a line for each kind: its name, messages, seconds,
 * seconds of processor time.
 */
public class ClientBench {
    static final int IN_FLIGHT = 10_000;
    static String names;
    static String topic;
    static int bytes;

    interface Work {
        void run() throws Exception;
    }

    static double cpuSeconds() {
        var os = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        return os.getProcessCpuTime() / 1e9;
    }

    static void measure(String what, long count, Work work) throws Exception {
        double cpu = cpuSeconds();
        long began = System.nanoTime();
        work.run();
        double elapsed = (System.nanoTime() - began) / 1e9;
        System.out.println(what + " " + count + " " + elapsed + " " + (cpuSeconds() - cpu));
    }

    static Message message() {
        return new Message(topic, new byte[bytes]);
    }

    static void sync(DefaultMQProducer producer, long count) throws Exception {
        for (long i = 0; i < count; i++) {
            producer.send(message());
        }
    }

    static void async(DefaultMQProducer producer, long count) throws Exception {
        Semaphore room = new Semaphore(IN_FLIGHT);
        AtomicLong failed = new AtomicLong();
        for (long i = 0; i < count; i++) {
            room.acquire();
            producer.send(message(), new SendCallback() {
                public void onSuccess(SendResult result) {
                    room.release();
                }

                public void onException(Throwable e) {
                    failed.incrementAndGet();
                    room.release();
                }
            });
        }
        room.acquire(IN_FLIGHT);
        if (failed.get() > 0) {
            throw new IllegalStateException(failed + " of " + count + " failed");
        }
    }

    static void batch(DefaultMQProducer producer, long count) throws Exception {
        for (long i = 0; i < count; i += 32) {
            List<Message> messages = new ArrayList<>();
            for (int k = 0; k < 32; k++) {
                messages.add(message());
            }
            producer.send(messages);
        }
    }

    static void oneway(DefaultMQProducer producer, long count) throws Exception {
        for (long i = 0; i < count; i++) {
            producer.sendOneway(message());
        }
    }

    static void push(int batch, long count) throws Exception {
        AtomicLong seen = new AtomicLong();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("java-bench-" + batch + "-" + System.nanoTime());
        consumer.setNamesrvAddr(names);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeMessageBatchMaxSize(batch);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            seen.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        while (seen.get() < count) {
            Thread.sleep(1);
        }
        consumer.shutdown();
    }

    public static void main(String[] args) throws Exception {
        names = args[0];
        topic = args[1];
        long count = Long.parseLong(args[2]);
        bytes = Integer.parseInt(args[3]);
        DefaultMQProducer producer = new DefaultMQProducer("java-bench");
        producer.setNamesrvAddr(names);
        producer.setSendMsgTimeout(30_000);
        producer.start();
        // Compiled code is compared, not the interpreter.
        async(producer, 50_000);
        sync(producer, 5_000);
        for (int i = 4; i < args.length; i++) {
            switch (args[i]) {
                case "sync":
                    measure("sync", count / 10, () -> sync(producer, count / 10));
                    break;
                case "async":
                    measure("async", count, () -> async(producer, count));
                    break;
                case "batch":
                    measure("batch", count / 32 * 32, () -> batch(producer, count / 32 * 32));
                    break;
                case "oneway":
                    measure("oneway", count, () -> oneway(producer, count));
                    break;
                case "push32":
                    measure("push32", count, () -> push(32, count));
                    break;
                case "push1":
                    measure("push1", count, () -> push(1, count));
                    break;
                default:
                    throw new IllegalArgumentException(args[i]);
            }
        }
        producer.shutdown();
        System.exit(0);
    }
}
