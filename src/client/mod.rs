//! The blocking client: producers, push consumers, pull consumers.
//!
//! Sending:
//!
//! ```
//! use rocketmq::client::{Message, ProducerOptions};
//! # let site = rocketmq::Standalone::temporary()?;
//! # let names = site.name_servers();
//!
//! let producer = ProducerOptions::new("orders").name_servers(names).start()?;
//! let message = Message::new("Orders", "one book").with_tag("new").with_keys("order-17");
//! println!("{:?}", producer.send(&message)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Consuming:
//!
//! ```
//! use rocketmq::client::{ConsumeResult, ConsumerOptions};
//! # let site = rocketmq::Standalone::temporary()?;
//! # site.create_topic("Orders", 2)?;
//! # let names = site.name_servers();
//!
//! let options = ConsumerOptions::new("billing").name_servers(names);
//! let consumer = options.subscribe("Orders", "new || changed").start_concurrent(|messages, _| {
//!     println!("{messages:?}");
//!     ConsumeResult::Success
//! })?;
//! // It runs until it is shut down, or dropped.
//! consumer.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Who knows the Java client finds his way with [`from_java`]. The examples run: the lines that they
//! do not show start a name server and a broker in the same process
//! ([`Standalone`](crate::Standalone)).
//!
//! # What it is made of
//!
//! Every producer and consumer uses an *instance*, found by its client id: the connections, the
//! routes, the heartbeats, the timers. Clients whose options give them the same client id share
//! one. All calls block with a limit; asynchronous sends return at once and call back. There is no
//! runtime to start, and no thread outlives the shutdown of the last client.
//!
//! | client | threads beside its connections' readers |
//! |---|---|
//! | any | `MQClientSched`, the workers and the scan of [`RemotingClient`](crate::remoting::RemotingClient) |
//! | any that sends asynchronously | one `AsyncSend` a broker |
//! | any consumer | `PullMessageSvc`, `RebalanceSvc` |
//! | push consumer | `ConsumeSched`, up to `consume_threads` × `ConsumeMsg_n` |
//! | transaction producer | up to `check_threads` × `TransCheck_n` |
//! | producer that probes brokers | `BrokerProbe` |
//! | lite pull consumer that watches topics | `QueueMonitor` |
//! | any with message traces | `TraceSend`, and those of a producer |
//! | pull schedule | `PullSchedule`, up to `schedule_threads` × `PullSched_n` |
//!
//! A thread that sends and waits, alone on its connection, reads the answer itself; the connection's
//! reader sleeps meanwhile ([`remoting`](crate::remoting) tells how). The answers to the pulls of a
//! concurrent consumer are taken apart on that reader, which starts the next pull too; listeners
//! never run there.
//!
//! What threads freed, glibc keeps in up to eight heaps for each processor. A program that runs for long
//! and counts its memory calls [`limit_allocator_arenas`](crate::common::os::limit_allocator_arenas)
//! first, as the servers here do.
//!
//! # What is promised
//!
//! - A send returns within its timeout, and the error says which step failed, at which broker.
//! - A message is committed only after the listener is done with it and with all before it in its
//!   queue. After a crash messages come again; none is lost.
//! - A listener that panics has failed; the thread lives on, the message comes again.
//! - What servers answer is checked; garbage is an error, never a panic or a stuck thread.
//!
//! # Reading order
//!
//! [`config`] and [`error`], the outside; [`hooks`] and [`namespace`], which everything passes. `instance`, `calls`, `routing` and `presence`, what all
//! clients share. To send: [`sender`], [`producer`], `async_send`, `lane`, [`batch`], [`transaction`],
//! [`request_reply`]. To
//! consume: [`allocate`] and `rebalance` (who gets which queue), `process_queue` (what is between
//! pull and commit), [`pull`] and `push` (the pull loop), [`concurrent`], [`orderly`],
//! [`offset_store`]; then [`lite_pull`] (its works are `polling`),
//! [`pull_consumer`] and [`pull_schedule`]. Beside them: `probe`, `trace`, [`admin`].

pub mod admin;
pub mod allocate;
mod async_send;
pub mod batch;
mod broker_calls;
mod broker_requests;
mod calls;
pub mod concurrent;
pub mod config;
pub mod consumer;
pub mod error;
mod fault;
pub mod from_java;
pub mod hooks;
mod instance;
mod lane;
pub mod lite_pull;
pub mod message;
pub mod namespace;
pub mod offset_store;
pub mod orderly;
mod polling;
mod presence;
mod probe;
mod process_queue;
pub mod producer;
pub mod pull;
pub mod pull_consumer;
pub mod pull_schedule;
mod push;
mod rebalance;
pub mod request_reply;
mod route;
mod routing;
mod running_info;
pub mod sender;
mod setting;
mod stats;
pub mod subscription;
mod topic_watch;
mod trace;
pub mod transaction;
mod unreachable;
pub mod validate;

pub use crate::common::message::Message;
pub use crate::remoting::protocol::bodies::MessageQueue;
pub use admin::AdminClient;
pub use allocate::{AllocateStrategy, Division};
pub use broker_calls::OffsetAt;
pub use concurrent::{ConcurrentContext, ConsumeResult};
pub use config::{
    Assignment, ClientOptions, ConsumeFromWhere, ConsumerOptions, Interceptor, LitePullOptions,
    MessageModel, NameServerList, ProducerOptions, PullOptions,
};
pub use consumer::PushConsumer;
pub use error::{Attempt, ClientError};
pub use hooks::Hook;
pub use lite_pull::{LitePullConsumer, Messages};
pub use message::{Facts, ReceivedMessage};
pub use namespace::Namespace;
pub use offset_store::{OffsetFile, OffsetStore, StoreError};
pub use orderly::{OrderlyContext, OrderlyResult};
pub use producer::Producer;
pub use pull::{PullResult, PullStatus};
pub use pull_consumer::PullConsumer;
pub use pull_schedule::PullSchedule;
pub use request_reply::reply_to;
pub use sender::{SendResult, SendStatus, Target};
pub use setting::Setting;
pub use subscription::Filter;
pub use trace::AccessChannel;
pub use transaction::{TransactionProducer, TransactionResult, TransactionState};
