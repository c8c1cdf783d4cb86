//! The broker: takes messages in, keeps them, gives them out.
//!
//! Everything a broker holds is one value, [`Broker`]; everything it does is a function from a
//! request to a response that borrows it. One file per kind of request, one file per table.
//!
//! # Reading order
//!
//! 1. A message comes in by [`send`]; [`put_message`] makes it final; the store keeps it.
//! 2. The store tells [`hold`] that it is there; [`pull`] gives it out, filtered by [`filter`].
//! 3. The exceptions of that path: [`send_back`] (a consumer wants it again later), [`delay`]
//!    and [`timed`] (nobody wants it before its time), [`transactions`], [`ended_transactions`] and [`transaction_check`] (nobody wants
//!    it before its producer says so), [`recall`] (its producer does not want it after all), [`reply`] (somebody waits for exactly this one), [`query`]
//!    (somebody looks for it).
//! 4. The tables: [`topics`], [`subscription_groups`], [`consumer_offsets`], [`pulled_offsets`], [`consumers`] (and
//!    whether their [`claims`] agree), [`consumer_filters`],
//!    [`producers`], [`queue_locks`], [`stats`].
//! 5. Several brokers of one name, a master and its slaves: [`replication`], [`slave_sync`],
//!    [`offset_exchange`].
//! 6. How it starts and stops: [`startup`], [`routes`], [`pools`], [`fast_failure`].
//!
//! # Threads
//!
//! Besides those of the sockets and the store:
//!
//! | thread | duty | sleeps until |
//! |---|---|---|
//! | `SendMessageThread_N` and the others of [`pools`] | requests that their reader does not run itself | a request waits |
//! | `PullRequestHold` | ends held pulls whose time is up | the first deadline |
//! | `ScheduleMessage` | delivers delayed messages | the first is due |
//! | `TimerMessage`, `TimerFlush` | deliver timed messages ([`store::timer`](crate::store::timer)) | the next is due |
//! | `TransactionCheck` | asks producers about half messages | `transactionCheckInterval` |
//! | `NotifyConsumer` | tells members of a group that it changed | a group changes |
//! | `SlaveSync`, on a slave | follows the master's tables | there is news, or ten seconds behind a Java master |
//! | `SlaveFeed`, on a master | tells slaves what changes | a slave waits and something changes |
//! | `RegisterBroker`, one a name server | registers topics | a round of registration |
//! | `FetchNameServer` | asks an address server for the name servers, if it is to | two minutes have passed |
//! | `BrokerFastFail` | answers requests that waited too long | 10 ms while any waits |
//! | `BrokerSchedule` | persists tables, registers, samples statistics, expires clients | the next task |
//!
//! # Invariants
//!
//! * A response to a send has `MSG_REGION`, `TRACE_ON` and, when stored, `msgId`, `queueId` and
//!   `queueOffset`: clients read them unseen.
//! * Nothing that waits for a disk or a peer runs on a connection's reader: see `is_short` of each
//!   processor.
//! * Everything that the network makes grow has a limit in the configuration.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::common::config::Live;
use crate::remoting::Command;
use crate::remoting::protocol::response_code;
use crate::store::MessageStore;
use crate::store::timer::TimerService;

pub mod address_server;
pub mod admin;
pub mod channels;
pub mod claims;
pub mod client_manage;
pub mod config;
pub mod config_file;
pub mod consumer_filters;
pub mod consumer_manage;
pub mod consumer_offsets;
pub mod consumers;
pub mod delay;
pub mod ended_transactions;
pub mod fast_failure;
pub mod filter;
pub mod ha_info;
pub mod hold;
#[cfg(test)]
mod light_tests;
pub mod offset_exchange;
pub mod pools;
pub mod producers;
pub mod pull;
pub mod pulled_offsets;
pub mod put_message;
pub mod query;
pub mod queue_locks;
pub mod recall;
pub mod records;
pub mod refusal;
pub mod registration;
pub mod replication;
pub mod reply;
pub mod routes;
pub mod runtime_info;
pub mod send;
pub mod send_back;
pub mod settings;
pub mod slave_sync;
pub mod startup;
pub mod stats;
pub mod subscription_groups;
#[cfg(test)]
mod testing;
pub mod timed;
pub mod topics;
pub mod transaction_check;
pub mod transactions;

pub use refusal::{FAQ, Refusal};

/// What a processor returns: a response; or `None` when it comes later or never. An error is
/// answered with SYSTEM_ERROR and its text.
pub type Answer = Result<Option<Command>, Box<dyn Error + Send + Sync>>;

/// A success without fields that still has `extFields`, as Java answers the requests whose response
/// has a header class.
fn success_with_fields() -> Command {
    let mut response = Command::response(response_code::SUCCESS);
    response.fields.mark_present();
    response
}

/// All that a broker holds. Every processor has the shape
/// `fn(&Arc<Broker>, &Arc<Connection>, Command) -> Answer`.
pub struct Broker {
    /// Keys of the broker itself, as they are now; also in [`settings`](Self::settings).
    pub config: Arc<Live<config::BrokerConfig>>,
    /// All keys, and the file that changes go to.
    pub settings: settings::Settings,
    /// `brokerIP1:listenPort`: what clients connect to; stands in every stored message and offset
    /// message id.
    pub store_host: SocketAddr,
    /// When it started, ms.
    pub started_ms: i64,

    /// Topics, by name.
    pub topics: topics::Topics,
    /// Configuration of consumer groups, by name.
    pub subscription_groups: subscription_groups::SubscriptionGroups,
    /// How far each group has read each queue.
    pub consumer_offsets: consumer_offsets::ConsumerOffsets,
    /// How far each group has pulled each queue.
    pub pulled_offsets: pulled_offsets::PulledOffsets,
    /// The SQL92 filters of groups.
    pub consumer_filters: Arc<consumer_filters::ConsumerFilters>,
    /// Consumers that are online, by group.
    pub consumers: consumers::Consumers,
    /// Producers that are online, by group.
    pub producers: producers::Producers,
    /// Which half messages have ended.
    pub ended_transactions: ended_transactions::EndedTransactions,
    /// Which consumer of a group holds which queue, for ordered consumption.
    pub queue_locks: queue_locks::QueueLocks,
    /// Consumer groups whose members must be told that they changed.
    pub member_changes: client_manage::MemberChanges,
    /// What was put and got, by topic and group.
    pub stats: stats::BrokerStats,
    /// What was put and got, at the last midnights.
    pub daily_totals: runtime_info::DailyTotals,
    /// Tells the name servers what is here.
    pub registration: registration::Registration,

    /// Who the master is, and how its log and its tables are copied.
    pub replication: replication::Replication,
    /// Slaves that wait for news of the tables.
    pub feed: slave_sync::feed::Feed,

    /// The messages.
    pub store: Arc<MessageStore>,
    /// Pulls that found nothing and wait for a message.
    pub held_pulls: Arc<hold::HeldPulls<pull::Suspended>>,
    /// How far delayed messages are delivered.
    pub delay: Arc<delay::DelayedMessages>,
    /// Delivers timed messages, on a slave keeps step with its master; none where `timerWheelEnable`
    /// is false.
    pub timer: Option<Arc<TimerService>>,
    /// Pools of the request kinds.
    pub pools: pools::Pools,
    /// The append lock has been held for too long, as [`fast_failure`] saw it last: sends are
    /// refused. (Each send asks; the lock's own state changes with each append.)
    pub page_cache_busy: AtomicBool,
}

impl Broker {
    /// The address that clients connect to, as it is registered: `brokerIP1:listenPort`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.config.get().broker_ip1, self.store_host.port())
    }

    /// The address that slaves connect to, as it is registered: `brokerIP2` and the port after
    /// `listenPort`.
    pub fn ha_address(&self) -> String {
        format!("{}:{}", self.config.get().broker_ip2, u32::from(self.store_host.port()) + 1)
    }
}
