//! [`Pools`]: a bounded pool for each kind of request, with Java's names, sizes and limits (spec:
//! broker 1.2), so that one kind cannot starve another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::BrokerConfig;
use crate::common::thread_pool::ThreadPool;

/// Readers that may run a short request of one pool at a time. Such a request waits for nothing, so
/// this is not to spare the machine, only to bound how much piles up behind a page cache that is
/// busy; Java's 4 threads for sends would often be held by readers that are not running.
const READERS: usize = 64;

/// The pools. What runs where is the table in [`routes`](super::routes).
#[derive(Debug)]
pub struct Pools {
    /// Sends and send-backs.
    pub send: Arc<ThreadPool>,
    /// Pulls, and held pulls that end.
    pub pull: Arc<ThreadPool>,
    /// Reply messages.
    pub reply: Arc<ThreadPool>,
    /// Look-ups of messages.
    pub query: Arc<ThreadPool>,
    /// Everything that has no pool of its own.
    pub admin: Arc<ThreadPool>,
    /// Clients that leave.
    pub client_manage: Arc<ThreadPool>,
    /// Heartbeats.
    pub heartbeat: Arc<ThreadPool>,
    /// Consumer offsets and member lists.
    pub consumer_manage: Arc<ThreadPool>,
    /// Ends of transactions.
    pub end_transaction: Arc<ThreadPool>,
}

impl Pools {
    /// Pools without threads; they are started as requests need them.
    pub fn new(config: &BrokerConfig) -> Self {
        let pool = |name: &str, threads: i32, capacity: i32| {
            let size = |value: i32| usize::try_from(value).unwrap_or(1).max(1);
            let threads = size(threads);
            ThreadPool::with_readers(name, threads, size(capacity), threads.max(READERS))
        };
        let c = config;
        Self {
            send: pool(
                "SendMessageThread_",
                c.send_message_thread_pool_nums,
                c.send_thread_pool_queue_capacity,
            ),
            pull: pool(
                "PullMessageThread_",
                c.pull_message_thread_pool_nums,
                c.pull_thread_pool_queue_capacity,
            ),
            reply: pool(
                "ProcessReplyMessageThread_",
                c.process_reply_message_thread_pool_nums,
                c.reply_thread_pool_queue_capacity,
            ),
            query: pool(
                "QueryMessageThread_",
                c.query_message_thread_pool_nums,
                c.query_thread_pool_queue_capacity,
            ),
            admin: pool(
                "AdminBrokerThread_",
                c.admin_broker_thread_pool_nums,
                c.admin_broker_thread_pool_queue_capacity,
            ),
            client_manage: pool(
                "ClientManageThread_",
                c.client_manage_thread_pool_nums,
                c.client_manager_thread_pool_queue_capacity,
            ),
            heartbeat: pool(
                "HeartbeatThread_",
                c.heartbeat_thread_pool_nums,
                c.heartbeat_thread_pool_queue_capacity,
            ),
            consumer_manage: pool(
                "ConsumerManageThread_",
                c.consumer_manage_thread_pool_nums,
                c.consumer_manager_thread_pool_queue_capacity,
            ),
            end_transaction: pool(
                "EndTransactionThread_",
                c.end_transaction_thread_pool_nums,
                c.end_transaction_pool_queue_capacity,
            ),
        }
    }

    /// All of them.
    pub fn all(&self) -> [&Arc<ThreadPool>; 9] {
        [
            &self.send,
            &self.pull,
            &self.reply,
            &self.query,
            &self.admin,
            &self.client_manage,
            &self.heartbeat,
            &self.consumer_manage,
            &self.end_transaction,
        ]
    }

    /// Stops all; what waits is run until `limit` has passed in all.
    pub fn stop(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        for pool in self.all() {
            pool.stop(deadline.saturating_duration_since(Instant::now()));
        }
    }
}
