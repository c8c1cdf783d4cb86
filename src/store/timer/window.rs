//! [`Window`]: the messages of the slot at work, in the order in which they are due.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};

use super::checkpoint::Done;

/// Most entries in memory. A slot may have millions: then the soonest ones are in memory, and the
/// slot's chain is read again when those are done.
pub const LIMIT: usize = 65_536;

/// A message of the slot at work. The order is that of delivery: by time, then as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// When it is due, ms.
    pub due_ms: i64,
    /// Position of its unit in the timer log.
    pub position: i64,
}

/// The slot at work.
///
/// Invariant: what is not in `entries` is either done, or comes after all of them (`spilled`).
#[derive(Debug, Default)]
pub struct Window {
    entries: BTreeSet<Entry>,
    /// Hashes of the keys of messages that are not to be delivered: anybody may recall a million in
    /// one slot. (With a secret of this window, so that nobody can make another key's hash.)
    deleted: HashSet<u64>,
    hasher: RandomState,
    /// There are later ones that are not in memory.
    spilled: bool,
    /// The last one that is done.
    done: Option<Entry>,
    /// What was done before the start.
    before: Option<Done>,
}

impl Window {
    /// Adds an entry; beyond `limit` the last one is left to another reading of the chain.
    pub fn add(&mut self, entry: Entry, limit: usize) {
        let after_all = self.entries.last().is_none_or(|last| entry > *last);
        if self.spilled && after_all && !self.is_done(&entry) {
            return;
        }
        self.entries.insert(entry);
        if self.entries.len() > limit {
            self.entries.pop_last();
            self.spilled = true;
        }
    }

    /// A window of which a part was done before the start.
    pub fn resumed(before: Option<Done>) -> Self {
        Self { before, ..Self::default() }
    }

    /// Whether an entry found in the chain is done already.
    pub fn is_done(&self, entry: &Entry) -> bool {
        self.done.is_some_and(|done| *entry <= done)
            || self
                .before
                .is_some_and(|before| *entry <= before.last && entry.position < before.log_end)
    }

    /// What is done, if that can be told: not while something that came late is still before it.
    /// `log_end` is the end of the timer log, all of whose units of this slot were added.
    pub fn done(&self, log_end: i64) -> Option<Done> {
        let last = match self.done {
            None => return self.before,
            Some(last) => last,
        };
        // The units that were done before the start, and come after all done now, would be again.
        let covers = self.before.is_none_or(|before| before.last <= last);
        (covers && self.first().is_none_or(|first| first > last)).then_some(Done { last, log_end })
    }

    /// The next one.
    pub fn first(&self) -> Option<Entry> {
        self.entries.first().copied()
    }

    /// The next one is done.
    pub fn finish_first(&mut self) {
        self.done = self.done.max(self.entries.pop_first());
    }

    /// Whether the chain must be read again; it is asked once, when there are no entries left.
    pub fn take_spilled(&mut self) -> bool {
        std::mem::take(&mut self.spilled)
    }

    /// A message with this key is not to be delivered: `topic+uniqueKey`, or the unique key alone as
    /// brokers before 5.3 take it.
    pub fn delete(&mut self, key: &str) {
        self.deleted.insert(self.hasher.hash_one(key));
    }

    /// Whether a message was deleted.
    pub fn is_deleted(&self, topic: &str, unique_key: &str) -> bool {
        let has = |key: &str| self.deleted.contains(&self.hasher.hash_one(key));
        !self.deleted.is_empty() && (has(unique_key) || has(&format!("{topic}+{unique_key}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(due_ms: i64, position: i64) -> Entry {
        Entry { due_ms, position }
    }

    #[test]
    fn a_slot_larger_than_the_window_is_emptied_in_order() {
        let chain: Vec<_> =
            (0..100).rev().map(|number| entry((number * 37) % 10, number)).collect();
        let mut window = Window::default();
        let mut delivered = Vec::new();
        let read = |window: &mut Window| {
            for entry in &chain {
                if !window.is_done(entry) {
                    window.add(*entry, 8);
                }
            }
        };
        read(&mut window);
        loop {
            while let Some(first) = window.first() {
                delivered.push(first);
                window.finish_first();
                assert!(window.entries.len() <= 8);
            }
            if !window.take_spilled() {
                break;
            }
            read(&mut window);
        }
        let mut sorted = chain.clone();
        sorted.sort();
        assert_eq!(delivered, sorted);
    }

    #[test]
    fn what_comes_late_is_not_forgotten() {
        let mut window = Window::default();
        (0..5).for_each(|position| window.add(entry(50, position), 3));
        window.finish_first();
        // Due before what is done: it is added although others were left out.
        window.add(entry(40, 5), 3);
        assert_eq!(window.first(), Some(entry(40, 5)));
        window.finish_first();
        assert!(window.is_done(&entry(50, 0)) && !window.is_done(&entry(50, 1)));
        // After all in memory, while others wait in the chain: the chain has it too.
        window.add(entry(60, 6), 3);
        window.finish_first();
        window.finish_first();
        assert_eq!(window.first(), None);
        assert!(window.take_spilled());
    }

    #[test]
    fn a_key_may_have_its_topic_or_not() {
        let mut window = Window::default();
        assert!(!window.is_deleted("T", "k"));
        window.delete("T+k");
        window.delete("bare");
        assert!(window.is_deleted("T", "k") && !window.is_deleted("U", "k"));
        assert!(window.is_deleted("any", "bare"));
    }
}
