//! From Java to here: what stands where, and what is different. (A page to read; nothing is in it.)
//!
//! # Classes
//!
//! | Java | here |
//! |---|---|
//! | `DefaultMQProducer` | [`ProducerOptions`](super::ProducerOptions)`::start` → [`Producer`](super::Producer) |
//! | `TransactionMQProducer`, `TransactionListener` | [`ProducerOptions::start_transactional`](super::ProducerOptions::start_transactional) with two closures → [`TransactionProducer`](super::TransactionProducer) |
//! | `DefaultMQPushConsumer` with `MessageListenerConcurrently` | [`ConsumerOptions::start_concurrent`](super::ConsumerOptions::start_concurrent) → [`PushConsumer`](super::PushConsumer) |
//! | the same with `MessageListenerOrderly` | [`ConsumerOptions::start_orderly`](super::ConsumerOptions::start_orderly) |
//! | `DefaultLitePullConsumer` | [`LitePullOptions`](super::LitePullOptions)`::start` → [`LitePullConsumer`](super::LitePullConsumer) |
//! | `DefaultMQPullConsumer` | [`PullConsumer`](super::PullConsumer) |
//! | `MQPullConsumerScheduleService` | [`PullSchedule`](super::PullSchedule) |
//! | `DefaultMQAdminExt` | [`AdminClient`](super::admin::AdminClient) |
//! | `ClientConfig` | [`ClientOptions`](super::ClientOptions), the field `client` of all options |
//! | `Message`, `MessageExt` | [`Message`](crate::common::message::Message), [`ReceivedMessage`](super::ReceivedMessage) |
//! | `RPCHook` | [`Interceptor`](super::config::Interceptor) |
//! | `SendMessageHook`, `ConsumeMessageHook`, `EndTransactionHook`, `FilterMessageHook`, `CheckForbiddenHook` | [`Hook`](super::hooks::Hook) |
//! | `MQClientException`, `MQBrokerException`, `RemotingException` | [`ClientError`](super::ClientError); `code()` is Java's number |
//! | `NamespaceUtil` | [`Namespace`](super::Namespace) |
//!
//! # Calls
//!
//! | Java | here |
//! |---|---|
//! | `send(msg)` | [`send`](super::Producer::send) |
//! | `send(msg, timeout)` | [`send_within`](super::Producer::send_within) |
//! | `send(msg, queue)` | `send_to(&message, Target::Queue(&queue))` |
//! | `send(msg, new SelectMessageQueueByHash(), key)` | `send_to(&message, Target::Key("key"))`: the same queue |
//! | `send(msg, selector, arg)` | `send_to(&message, Target::Select(&closure))` |
//! | `send(msg, callback)` | [`send_async`](super::Producer::send_async) |
//! | `sendOneway(msg)` | [`send_oneway`](super::Producer::send_oneway) |
//! | `send(collection)` | [`send_batch`](super::Producer::send_batch); of any length: [`send_batches`](super::Producer::send_batches) |
//! | `sendMessageInTransaction(msg, arg)` | [`send_in_transaction`](super::TransactionProducer::send_in_transaction) |
//! | `request(msg, timeout)`, `MessageUtil.createReplyMessage` | [`request`](super::Producer::request), [`reply_to`](super::reply_to) |
//! | `setDelayTimeLevel(3)` | `message.with_delay_level(3)` |
//! | `subscribe(topic, "a \|\| b")`, `MessageSelector.bySql(...)` | `subscribe(topic, "a \|\| b")`, [`Filter::Sql`](super::Filter::Sql) |
//! | `RECONSUME_LATER`, `setAckIndex(i)` | [`ConsumeResult::Later`](super::ConsumeResult::Later), `context.succeeded = i + 1` |
//! | `SUSPEND_CURRENT_QUEUE_A_MOMENT` | [`OrderlyResult::Suspend`](super::OrderlyResult::Suspend) |
//! | `poll()`, `commitSync()` | [`poll`](super::LitePullConsumer::poll), [`commit_sync`](super::LitePullConsumer::commit_sync), or [`messages`](super::LitePullConsumer::messages) |
//! | `allocateMessageQueueStrategy` | [`AllocateStrategy`](super::AllocateStrategy): bit for bit Java's |
//! | `-Drocketmq.namesrv.addr`, `-Drocketmq.namesrv.domain` | `NAMESRV_ADDR`, `ROCKETMQ_NAMESRV_DOMAIN`, or the options |
//!
//! # What is different
//!
//! - Options are given before the start and do not change after it; `start` consumes them. What is
//!   out of range is an error of `start`.
//! - Nothing has to be shut down by hand: dropping does it. A shutdown waits for listeners that run
//!   (`shutdown_wait`), persists offsets and leaves the group; Java's default interrupts them.
//! - A listener is a closure. A panic in it is a failure, as an exception is in Java.
//! - A received message shares the bytes of the answer that brought it; cloning it copies nothing.
//! - `commit_sync` tells the broker before it returns; Java's only changes its memory.
//! - A failed query for an offset is an error, tried again; Java takes it for "no offset" and starts
//!   over. A broker that is busy (code 2) is a reason to try another one, as in Java 5.
//! - An asynchronous send that is tried again names its new queue; Java's still names the first.
//! - Clients that share a client id must agree about name servers, namespace and interceptor; in Java
//!   the second one's are ignored.
//! - The broker's answer to a slow request does not close the connection that others use.
