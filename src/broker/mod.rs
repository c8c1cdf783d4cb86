//! The broker: takes messages in, keeps them, gives them out.
//!
//! Everything a broker holds is one value, [`Broker`]; everything it does is a function from a
//! request to a response that borrows it. One file per kind of request, one file per table.
//!
//! Reading order: a message comes in by `send` (and `put_message`, which makes it final), the
//! store tells [`hold`] that it is there, `pull` gives it out, filtered by `filter`.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::common::config::Live;
use crate::remoting::Command;
use crate::store::MessageStore;

pub mod channels;
pub mod config;
pub mod config_file;
pub mod consumer_offsets;
pub mod consumers;
pub mod hold;
pub mod producers;
pub mod queue_locks;
pub mod stats;
pub mod subscription_groups;
pub mod topics;

/// What a processor returns: a response; or `None` when it comes later or never. An error is
/// answered with SYSTEM_ERROR and its text.
pub type Answer = Result<Option<Command>, Box<dyn Error + Send + Sync>>;

/// All that a broker holds. Every processor has the shape
/// `fn(&Arc<Broker>, &Arc<Connection>, Command) -> Answer`.
pub struct Broker {
    /// The keys that belong neither to the store nor to sockets; they can change at any time.
    pub config: Arc<Live<config::BrokerConfig>>,
    /// Topics, persisted.
    pub topics: topics::Topics,
    /// Configuration of consumer groups, persisted.
    pub subscription_groups: subscription_groups::SubscriptionGroups,
    /// How far groups have consumed, persisted.
    pub consumer_offsets: consumer_offsets::ConsumerOffsets,
    /// Consumers that are online.
    pub consumers: consumers::Consumers,
    /// Producers that are online.
    pub producers: producers::Producers,
    /// Who may consume which ordered queue.
    pub queue_locks: queue_locks::QueueLocks,
    /// What passed through.
    pub stats: stats::BrokerStats,
    /// The messages.
    pub store: Arc<MessageStore>,
    /// `brokerIP1:listenPort`: stands in every stored message and offset message id.
    pub store_host: SocketAddr,
    /// Pulls that found nothing and wait for a message.
    pub held_pulls: Arc<hold::HeldPulls>,
}
