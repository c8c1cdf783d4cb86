// The Go client behind the command line that ../clients.rs describes.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const (
	tapeChars   = 349526
	asyncWindow = 64
	// Who does not get the route of a topic soon would send by that of TBW102, which has other queues.
	noTopic = "none"
)

var (
	tags  = []string{"a", "b", "标签", "d", "ü"}
	ctx   = context.Background()
	print sync.Mutex
)

func main() {
	rlog.SetLogLevel("error")
	servers := []string{os.Args[2]}
	topic, group := os.Args[3], os.Args[4]
	switch os.Args[1] {
	case "send":
		send(servers, topic, group, os.Args[5], os.Args[6:])
	case "receive":
		filter := "*"
		if len(os.Args) > 6 {
			filter = os.Args[6]
		}
		receive(servers, topic, group, os.Args[5], filter)
	case "produce":
		count, err := strconv.Atoi(os.Args[5])
		must(err)
		seed, err := strconv.ParseUint(os.Args[6], 10, 32)
		must(err)
		retries := 0
		if len(os.Args) > 7 {
			retries, err = strconv.Atoi(os.Args[7])
			must(err)
		}
		produce(servers, topic, group, count, uint32(seed), retries)
	default:
		selector := consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
		if len(os.Args) > 5 {
			selector = consumer.MessageSelector{Type: consumer.SQL92, Expression: os.Args[5]}
		}
		consume(servers, topic, group, selector)
	}
}

func produce(servers []string, topic, group string, count int, seed uint32, retries int) {
	patience := 60 * time.Second
	if retries > 0 { // who tries again need not be so patient
		patience = 10 * time.Second
	}
	p, err := rocketmq.NewProducer(producer.WithNameServer(servers), producer.WithGroupName(group),
		producer.WithRetry(retries), producer.WithSendMsgTimeout(patience), producer.WithCreateTopicKey(noTopic))
	must(err)
	must(p.Start())
	t := tape(seed)
	window := make(chan struct{}, asyncWindow)
	for i := 0; i < count; i++ {
		key := fmt.Sprintf("%d-%d", seed, i)
		body := bodyOf(t, i)
		m := primitive.NewMessage(topic, body)
		m.WithTag(tags[i%len(tags)])
		m.WithKeys([]string{key})
		m.WithProperty("地区", fmt.Sprintf("上海 %d", i))
		how := i % 3
		if i == count-1 { // waited for, so that on the same connection the oneway ones are out
			how = 0
		}
		if retries > 0 && how == 1 { // 2.1.2 panics when an asynchronous send has no answer
			how = 0
		}
		// What is sent may be compressed in place, so its digest is taken before.
		digest, length := sha(body), len(body)
		switch how {
		case 0:
			result, err := routed(func() (*primitive.SendResult, error) { return p.SendSync(ctx, m) })
			sent(result, err, key, length, digest)
		case 1:
			window <- struct{}{}
			err := p.SendAsync(ctx, func(_ context.Context, result *primitive.SendResult, err error) {
				sent(result, err, key, length, digest)
				<-window
			}, m)
			if err != nil {
				sent(nil, err, key, length, digest)
				<-window
			}
		default:
			if err := p.SendOneWay(ctx, m); err != nil {
				sent(nil, err, key, length, digest)
			} else {
				line("sent", "-", key, "-", "-", length, digest)
			}
		}
	}
	for i := 0; i < asyncWindow; i++ {
		window <- struct{}{}
	}
	line("done")
	must(p.Shutdown())
}

func consume(servers []string, topic, group string, selector consumer.MessageSelector) {
	c, err := rocketmq.NewPushConsumer(consumer.WithNameServer(servers), consumer.WithGroupName(group),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	must(err)
	must(c.Subscribe(topic, selector,
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, m := range messages {
				line("got", m.MsgId, m.GetKeys(), m.GetTags(), m.GetProperty("地区"), m.Queue.QueueId,
					m.QueueOffset, m.ReconsumeTimes, len(m.Body), sha(m.Body))
			}
			return consumer.ConsumeSuccess, nil
		}))
	must(c.Start())
	line("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	must(c.Shutdown())
}

// What finds no route is not sent, and tried again: the client waits for a name server a few seconds only.
func routed[T any](send func() (T, error)) (T, error) {
	result, err := send()
	for tries := 1; err != nil && strings.Contains(err.Error(), "route info not found") && tries < 60; tries++ {
		time.Sleep(time.Second)
		result, err = send()
	}
	return result, err
}

func sent(result *primitive.SendResult, err error, key string, length int, digest string) {
	switch {
	case err != nil:
		line("failed", key, strings.Join(strings.Fields(err.Error()), " "))
	case result.Status != primitive.SendOK:
		line("failed", key, result.Status)
	default:
		line("sent", result.MsgID, key, result.MessageQueue.QueueId, result.QueueOffset, length, digest)
	}
}

func line(fields ...interface{}) {
	texts := make([]string, len(fields))
	for i, field := range fields {
		texts[i] = fmt.Sprint(field)
	}
	print.Lock()
	defer print.Unlock()
	_, _ = os.Stdout.WriteString(strings.Join(texts, "\t") + "\n")
}

func tape(state uint32) []rune {
	t := make([]rune, tapeChars)
	for i := range t {
		state = state*1664525 + 1013904223
		t[i] = rune(0x4e00 + (state>>16)%20000)
	}
	return t
}

func bodyBytes(i int) int {
	switch {
	case i%1000 == 7:
		return 1 << 20
	case i%100 == 13:
		return 1 + i*7919%65536
	case i%10 == 3:
		return 1 + i*104729%8192
	}
	return 1 + i*31%512
}

func bodyOf(t []rune, i int) []byte {
	rest, start := bodyBytes(i), ""
	if rest >= 6 {
		rest, start = rest-6, "é😀"
	}
	chars := rest / 3
	from := i * 31 % (tapeChars - chars + 1)
	return []byte(start + string(t[from:from+chars]) + "xx"[:rest%3])
}

func sha(body []byte) string { return fmt.Sprintf("%x", sha256.Sum256(body)) }

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
