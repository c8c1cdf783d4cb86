//! [`QueueLocks`]: which client of a group may consume an ordered queue.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use super::config::BrokerConfig;
use crate::common::sync::lock;
use crate::remoting::protocol::bodies::MessageQueue;

/// How long a lock lives without renewal, ms. Clients renew every 20 s, so it survives two that
/// are lost.
pub const LOCK_LIVE_MS: i64 = 60_000;

#[derive(Debug)]
struct Lock {
    client_id: String,
    renewed_ms: i64,
}

impl Lock {
    fn expired(&self, now_ms: i64) -> bool {
        now_ms - self.renewed_ms > LOCK_LIVE_MS
    }
}

/// Queue locks, in memory only (spec: broker 6.9). They are not released when a client goes away:
/// they expire, so that a client that comes back at once finds its own.
#[derive(Debug)]
pub struct QueueLocks {
    table: Mutex<Table>,
    max_locks: usize,
}

#[derive(Debug, Default)]
struct Table {
    groups: HashMap<String, HashMap<MessageQueue, Lock>>,
    count: usize,
}

impl QueueLocks {
    /// No locks; at most `maxQueueLocks` at a time.
    pub fn new(config: &BrokerConfig) -> Self {
        Self { table: Mutex::default(), max_locks: config.max_queue_locks }
    }

    /// Takes or renews locks. Returns the queues that the client holds now.
    pub fn lock(
        &self,
        group: &str,
        client_id: &str,
        queues: &[MessageQueue],
        now_ms: i64,
    ) -> Vec<MessageQueue> {
        let mut guard = self.table();
        let table = &mut *guard;
        let locks = table.groups.entry(group.to_owned()).or_default();
        let mut held = Vec::with_capacity(queues.len());
        for queue in queues {
            match locks.get_mut(queue) {
                Some(lock) if lock.client_id == client_id => lock.renewed_ms = now_ms,
                Some(lock) if lock.expired(now_ms) => {
                    log::info!(
                        "{client_id} takes the lock of {group} on {}-{} over from {}",
                        queue.topic,
                        queue.queue_id,
                        lock.client_id
                    );
                    *lock = Lock { client_id: client_id.to_owned(), renewed_ms: now_ms };
                }
                Some(_) => continue,
                None if table.count >= self.max_locks => {
                    log::warn!(
                        "{client_id} gets no lock: maxQueueLocks={} reached",
                        self.max_locks
                    );
                    continue;
                }
                None => {
                    let lock = Lock { client_id: client_id.to_owned(), renewed_ms: now_ms };
                    locks.insert(queue.clone(), lock);
                    table.count += 1;
                }
            }
            held.push(queue.clone());
        }
        held
    }

    /// Gives back the locks that the client holds.
    pub fn unlock(&self, group: &str, client_id: &str, queues: &[MessageQueue]) {
        let mut guard = self.table();
        let table = &mut *guard;
        let Some(locks) = table.groups.get_mut(group) else { return };
        for queue in queues {
            if locks.get(queue).is_some_and(|lock| lock.client_id == client_id) {
                locks.remove(queue);
                table.count -= 1;
            }
        }
        if locks.is_empty() {
            table.groups.remove(group);
        }
    }

    /// Forgets expired locks; anybody may take them anyway, this frees their memory.
    pub fn forget_expired(&self, now_ms: i64) {
        let mut guard = self.table();
        let table = &mut *guard;
        table.groups.retain(|_, locks| {
            let before = locks.len();
            locks.retain(|_, lock| !lock.expired(now_ms));
            table.count -= before - locks.len();
            !locks.is_empty()
        });
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_most(max_queue_locks: usize) -> QueueLocks {
        QueueLocks::new(&BrokerConfig { max_queue_locks, ..BrokerConfig::default() })
    }

    fn queues(ids: &[i32]) -> Vec<MessageQueue> {
        ids.iter()
            .map(|&queue_id| MessageQueue {
                broker_name: "b".to_owned(),
                queue_id,
                topic: "T".to_owned(),
            })
            .collect()
    }

    #[test]
    fn a_lock_excludes_others_until_it_expires_or_is_given_back() {
        let locks = at_most(10);
        assert_eq!(locks.lock("g", "a", &queues(&[0, 1]), 0), queues(&[0, 1]));
        assert_eq!(locks.lock("g", "b", &queues(&[0, 1, 2]), 1), queues(&[2]));
        assert_eq!(locks.lock("other", "b", &queues(&[0]), 1), queues(&[0]), "groups are apart");
        locks.unlock("g", "b", &queues(&[0, 1]));
        assert_eq!(locks.lock("g", "b", &queues(&[0]), 2), [], "not the owner's unlock");
        locks.unlock("g", "a", &queues(&[0]));
        assert_eq!(locks.lock("g", "b", &queues(&[0]), 3), queues(&[0]));
        assert_eq!(locks.lock("g", "a", &queues(&[1]), LOCK_LIVE_MS), queues(&[1]), "renewed");
        assert_eq!(locks.lock("g", "b", &queues(&[1]), 2 * LOCK_LIVE_MS), []);
        assert_eq!(locks.lock("g", "b", &queues(&[1]), 2 * LOCK_LIVE_MS + 1), queues(&[1]));
    }

    #[test]
    fn the_number_of_locks_is_bounded_and_expiry_makes_room() {
        let locks = at_most(2);
        assert_eq!(locks.lock("g", "a", &queues(&[0, 1, 2]), 0), queues(&[0, 1]));
        locks.forget_expired(LOCK_LIVE_MS + 1);
        assert_eq!(locks.lock("g", "a", &queues(&[3, 4, 5]), 0), queues(&[3, 4]));
        locks.unlock("g", "a", &queues(&[3, 4]));
        assert!(locks.table().groups.is_empty());
        assert_eq!(locks.table().count, 0);
    }
}
