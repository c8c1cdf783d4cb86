// What the Go client can beyond sending and receiving, behind the command line that ../features.rs describes.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var kinds = []string{"A", "B", "C"}

func send(servers []string, topic, group, kind string, words []string) {
	options := []producer.Option{producer.WithNameServer(servers), producer.WithGroupName(group),
		producer.WithSendMsgTimeout(60 * time.Second), producer.WithCreateTopicKey(noTopic)}
	if kind == "transaction" {
		transact(options, topic, words)
		return
	}
	if kind == "ordered" {
		options = append(options, producer.WithQueueSelector(producer.NewHashQueueSelector()))
	}
	p, err := rocketmq.NewProducer(options...)
	must(err)
	must(p.Start())
	var batch []*primitive.Message
	for i := 0; i < count(kind, words); i++ {
		m := message(topic, kinds[i%3], strconv.Itoa(i))
		switch kind {
		case "ordered":
			m = message(topic, "A", fmt.Sprintf("%d-%d", i%4, i/4)).WithShardingKey(strconv.Itoa(i % 4))
		case "delayed":
			delay, err := strconv.ParseInt(words[i], 10, 64)
			must(err)
			m = message(topic, "A", strconv.FormatInt(time.Now().UnixMilli()+delay, 10)).WithDelayTimeLevel(i + 1)
		case "batch":
			batch = append(batch, m)
			continue
		case "request":
			answer, err := p.Request(ctx, 60*time.Second, message(topic, "A", fmt.Sprintf("question %d", i)))
			must(err)
			line("reply", string(answer.Body))
			continue
		}
		sentWell(routed(func() (*primitive.SendResult, error) { return p.SendSync(ctx, m) }))
	}
	if len(batch) > 0 {
		sentWell(routed(func() (*primitive.SendResult, error) { return p.SendSync(ctx, batch...) }))
	}
	line("done")
	untilStdinEnds()
	must(p.Shutdown())
}

func count(kind string, words []string) int {
	if kind == "delayed" {
		return len(words)
	}
	n, err := strconv.Atoi(words[0])
	must(err)
	return n
}

func transact(options []producer.Option, topic string, words []string) {
	p, err := rocketmq.NewTransactionProducer(outcomes{}, options...)
	must(err)
	must(p.Start())
	for _, word := range words {
		result, err := routed(func() (*primitive.TransactionSendResult, error) {
			return p.SendMessageInTransaction(ctx, message(topic, "A", word))
		})
		must(err)
		sentWell(result.SendResult, nil)
	}
	line("done")
	untilStdinEnds()
	must(p.Shutdown())
}

// A body is what happens at first, and what a check finds: commit, rollback, unknown-commit, vanish-rollback.
type outcomes struct{}

func (outcomes) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	first := strings.Split(string(m.Body), "-")[0]
	if first == "vanish" {
		line("vanishes")
		os.Exit(0)
	}
	return state(first)
}

func (outcomes) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	return state(strings.Split(string(m.Body), "-")[1])
}

func state(word string) primitive.LocalTransactionState {
	switch word {
	case "commit":
		return primitive.CommitMessageState
	case "rollback":
		return primitive.RollbackMessageState
	}
	return primitive.UnknowState
}

func receive(servers []string, topic, group, kind, filter string) {
	model := consumer.Clustering
	if kind == "broadcast" {
		model = consumer.BroadCasting
	}
	options := []consumer.Option{consumer.WithNameServer(servers), consumer.WithGroupName(group),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithConsumerModel(model),
		consumer.WithConsumerOrder(kind == "orderly")}
	if kind == "refuse" {
		options = append(options, consumer.WithMaxReconsumeTimes(2))
	}
	c, err := rocketmq.NewPushConsumer(options...)
	must(err)
	replier, err := rocketmq.NewProducer(producer.WithNameServer(servers), producer.WithGroupName(group+"_replies"))
	must(err)
	must(replier.Start())
	var suspended atomic.Bool
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: filter}
	must(c.Subscribe(topic, selector,
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			if kind == "orderly" && strings.HasSuffix(string(messages[0].Body), "-5") && !suspended.Swap(true) {
				return consumer.SuspendCurrentQueueAMoment, nil
			}
			for _, m := range messages {
				got(m)
				if kind == "reply" {
					answer, err := consumer.CreateReplyMessage(m, nil)
					must(err)
					answer.Body = []byte("answer to " + string(m.Body)) // it takes the bytes for properties
					reply(replier, answer)
				}
			}
			if kind == "refuse" {
				return consumer.ConsumeRetryLater, nil
			}
			return consumer.ConsumeSuccess, nil
		}))
	must(c.Start())
	line("ready")
	untilStdinEnds()
	must(c.Shutdown())
}

// A Go producer tells brokers of itself a second after it starts; before that an answer cannot reach it.
func reply(replier rocketmq.Producer, answer *primitive.Message) {
	result, err := replier.SendSync(ctx, answer)
	for tries := 0; err != nil && tries < 50; tries++ {
		time.Sleep(200 * time.Millisecond)
		result, err = replier.SendSync(ctx, answer)
	}
	sentWell(result, err)
}

func message(topic, tag, body string) *primitive.Message {
	return primitive.NewMessage(topic, []byte(body)).WithTag(tag).WithKeys([]string{"key-" + body})
}

func got(m *primitive.MessageExt) {
	line("got", string(m.Body), m.GetTags(), m.Queue.QueueId, m.QueueOffset, m.ReconsumeTimes, time.Now().UnixMilli())
}

func sentWell(result *primitive.SendResult, err error) {
	if err != nil {
		line("failed", strings.Join(strings.Fields(err.Error()), " "))
	} else if result.Status != primitive.SendOK {
		line("failed", result.MsgID, result.Status)
	}
}

func untilStdinEnds() { _, _ = io.Copy(io.Discard, os.Stdin) }
