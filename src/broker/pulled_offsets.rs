//! [`PulledOffsets`]: how far each group has pulled each queue since the broker's start, a figure
//! that 5.x tools show beside what it committed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::common::quick_hash::QuickMap;

/// Topic, then group, then queue.
type Table = QuickMap<Box<str>, QuickMap<Box<str>, BTreeMap<i32, AtomicI64>>>;

/// The offset at which each group's next pull of each queue is to begin. In no file; beyond the
/// limit of queues nothing is noted, since only a figure depends on it.
#[derive(Debug)]
pub struct PulledOffsets {
    table: RwLock<Table>,
    /// Queues in the table.
    queues: AtomicUsize,
    max_queues: usize,
}

impl PulledOffsets {
    /// An empty table of at most so many queues.
    pub fn new(max_queues: usize) -> Self {
        Self { table: RwLock::default(), queues: AtomicUsize::new(0), max_queues }
    }

    /// Notes where a group's next pull of a queue is to begin.
    pub fn note(&self, group: &str, topic: &str, queue_id: i32, next_offset: i64) {
        let known = self.with_slot([topic, group], queue_id, |slot| {
            slot.store(next_offset, Ordering::Relaxed);
        });
        if known.is_some() || self.queues.load(Ordering::Relaxed) >= self.max_queues {
            return;
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let queues = table.entry(topic.into()).or_default().entry(group.into()).or_default();
        if queues.insert(queue_id, AtomicI64::new(next_offset)).is_none() {
            self.queues.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Where a group's next pull of a queue is to begin, if it has pulled it.
    pub fn get(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.with_slot([topic, group], queue_id, |slot| slot.load(Ordering::Relaxed))
    }

    fn with_slot<R>(
        &self,
        [topic, group]: [&str; 2],
        queue_id: i32,
        read: impl FnOnce(&AtomicI64) -> R,
    ) -> Option<R> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(topic)?.get(group)?.get(&queue_id).map(read)
    }

    /// Forgets a group.
    pub fn remove_group(&self, group: &str) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, groups| {
            let removed = groups.remove(group).map_or(0, |queues| queues.len());
            self.queues.fetch_sub(removed, Ordering::Relaxed);
            !groups.is_empty()
        });
    }

    /// Forgets a topic.
    pub fn remove_topic(&self, topic: &str) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(groups) = table.remove(topic) {
            let removed = groups.values().map(BTreeMap::len).sum();
            self.queues.fetch_sub(removed, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pull_counts() {
        let pulled = PulledOffsets::new(10);
        assert_eq!(pulled.get("g", "T", 0), None);
        for next in [32, 64, 5] {
            pulled.note("g", "T", 0, next);
            assert_eq!(pulled.get("g", "T", 0), Some(next));
        }
        assert_eq!(pulled.get("h", "T", 0), None);
    }

    #[test]
    fn groups_and_topics_make_room_when_they_go() {
        let pulled = PulledOffsets::new(3);
        for queue in 0..5 {
            pulled.note("g", "T", queue, 1);
        }
        assert_eq!(pulled.get("g", "T", 2), Some(1));
        assert_eq!(pulled.get("g", "T", 3), None, "three queues at most");
        pulled.remove_group("g");
        pulled.note("h", "T", 0, 7);
        pulled.remove_topic("T");
        assert_eq!(pulled.get("h", "T", 0), None);
        assert_eq!(pulled.queues.load(Ordering::Relaxed), 0);
    }
}
