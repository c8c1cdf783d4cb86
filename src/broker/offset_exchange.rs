//! How a master and its slave agree about consumer offsets when both are ours. (Behind a Java master
//! the master's offsets replace the slave's, as in Java.)
//!
//! Consumers commit to the master, and to a slave while they cannot reach the master, or do not know
//! yet that they can. So both may have offsets that the other lacks. The rule is: **of two offsets of
//! a queue the one that was committed last counts**, wherever it was committed and however large it
//! is (a reset sets a smaller one).
//!
//! * *Last* is decided by `Stamps`: the clock of the broker that took the commit, but later than
//!   every stamp that it has made or seen. What was committed after the two brokers exchanged their
//!   stamps is therefore later, however wrong a clock is; the clocks decide only between commits that
//!   neither broker knew of the other's.
//! * A removal (of a group, by an administrator) has a stamp too: an older offset does not come back
//!   with a slave that was away.
//! * Stamps and removals stand in `consumerOffset.json`, beside what Java writes there, so a restart
//!   of either side forgets nothing and revives nothing. Of a file without stamps everything is as
//!   old as the file.
//! * The master takes nothing beyond the end of its queue: such an offset was committed to a log that
//!   is not its own.
//!
//! A slave first reads all that the master has, page by page ([`ConsumerOffsets::changed_since`] 0);
//! what is younger on its own side it sends then, and from then on each tells the other what changes.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, Ordering};

use super::consumer_offsets::{ConsumerOffsets, GroupOffsets, Slot};
use crate::common::clock::now_ms;
use crate::common::sync::lock;
use crate::json_body;

/// Later stamps are nobody's.
const LAST_STAMP: i64 = i64::MAX / 2;
/// Removals that are remembered; the oldest make room.
const MAX_REMOVED: usize = 10_000;
/// Queues in one page.
const PAGE_QUEUES: usize = 20_000;

/// Makes stamps: microseconds since 1970, but each later than all before, and than all that were
/// observed.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    last: AtomicI64,
}

impl Stamps {
    /// A new stamp.
    pub(super) fn next(&self) -> i64 {
        let now = now_ms().saturating_mul(1000);
        let later = |last: i64| Some(last.saturating_add(1).max(now));
        // The closure always gives something.
        let before = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
        before.map_or(now, |last| last.saturating_add(1).max(now))
    }

    /// Stamps made from now on are later than this one.
    pub(super) fn observe(&self, stamp: i64) {
        self.last.fetch_max(stamp.min(LAST_STAMP), Ordering::AcqRel);
    }
}

/// What was removed, and when.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// `topic@group`, or `@group` for all topics, to stamp and number of the change.
    entries: BTreeMap<String, (i64, i64)>,
}

impl Removed {
    /// Remembers a removal.
    pub(super) fn note(&mut self, key: String, stamp: i64, number: i64) {
        if self.entries.len() >= MAX_REMOVED && !self.entries.contains_key(&key) {
            let oldest = self.entries.iter().min_by_key(|(_, (stamp, _))| *stamp);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.entries.remove(&oldest);
            }
        }
        let entry = self.entries.entry(key).or_insert((stamp, number));
        if entry.0 < stamp {
            *entry = (stamp, number);
        }
    }

    /// Everything before this stamp is removed.
    fn before(&self, topic: &str, group: &str) -> i64 {
        if self.entries.is_empty() {
            return 0;
        }
        let stamp = |key: String| self.entries.get(&key).map_or(0, |(stamp, _)| *stamp);
        stamp(format!("{topic}@{group}")).max(stamp(format!("@{group}")))
    }

    /// Key to stamp, as they stand in the file.
    pub(super) fn stamps(&self) -> BTreeMap<String, i64> {
        self.since(0)
    }

    fn since(&self, number: i64) -> BTreeMap<String, i64> {
        let news = self.entries.iter().filter(|(_, (_, its))| *its > number);
        news.map(|(key, (stamp, _))| (key.clone(), *stamp)).collect()
    }
}

json_body! {
    /// Some of a broker's offsets, with their stamps.
    pub struct OffsetPage {
        /// Whether nothing follows at the moment.
        pub complete: bool => "complete",
        /// What was removed: `topic@group`, or `@group`, to the stamp of the removal.
        pub removed: BTreeMap<String, i64> => "removed",
        /// `topic@group` to queue to `[offset, stamp]`.
        pub table: BTreeMap<String, BTreeMap<i32, Vec<i64>>> => "table",
        /// Number of the last change in here.
        pub upto: i64 => "upto",
    }
}

/// Offsets that a page had, with the number of their last change then.
pub(super) type Sent = Vec<(String, i64)>;

impl ConsumerOffsets {
    /// Number of the last change.
    pub fn sequence(&self) -> i64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// Everything that changed after a number, at most a page of it, oldest first.
    pub fn changed_since(&self, number: i64) -> OffsetPage {
        self.page_since(number).0
    }

    /// [`changed_since`](Self::changed_since), and what to tell [`settle`](Self::settle) when it has
    /// arrived.
    pub(super) fn page_since(&self, number: i64) -> (OffsetPage, Sent) {
        // Who has the write lock has seen the end of every commit that is counted by now.
        let newest = {
            let _no_commit_is_half_done = self.write();
            self.sequence()
        };
        let mut page =
            OffsetPage { complete: true, upto: newest.max(number), ..OffsetPage::default() };
        page.removed = lock(&self.removed).since(number);
        let table = self.read();
        let mut changed: Vec<(i64, &str, &str, &GroupOffsets)> = Vec::new();
        for (topic, groups) in table.iter() {
            for (group, of_group) in groups {
                let its = of_group.changed.load(Ordering::Acquire);
                if its > number {
                    changed.push((its, topic, group, of_group));
                }
            }
        }
        changed.sort_unstable_by_key(|(its, ..)| *its);
        let (mut queues, mut sent) = (0, Sent::new());
        for (its, topic, group, of_group) in changed {
            if queues >= PAGE_QUEUES {
                page.complete = false;
                // What is left changed after the last that is in.
                page.upto = its - 1;
                break;
            }
            let pairs = of_group.stamped();
            queues += pairs.len();
            let pairs = pairs.into_iter().map(|(queue, pair)| (queue, pair.to_vec()));
            let key = format!("{topic}@{group}");
            sent.push((key.clone(), its));
            page.table.insert(key, pairs.collect());
        }
        (page, sent)
    }

    /// The other broker has these; unless they changed meanwhile, it need not hear of them again.
    pub(super) fn settle(&self, sent: &Sent) {
        let table = self.read();
        for (key, number) in sent {
            let Some((topic, group)) = key.split_once('@') else { continue };
            let of_group = table.get(topic).and_then(|groups| groups.get(group));
            if let Some(of_group) = of_group {
                let settled = of_group.changed.compare_exchange(
                    *number,
                    0,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
                // A failure means that it has changed since.
                let _ = settled;
            }
        }
    }

    /// The other broker may have none of all these.
    pub(super) fn renumber(&self) {
        let table = self.write();
        for of_group in table.values().flat_map(|groups| groups.values()) {
            self.number(of_group);
        }
    }

    /// Takes over what the other broker has of later date. `takes` decides about each offset (topic,
    /// queue, offset). Whoever passes on what it takes (a master with several slaves) says so.
    ///
    /// Offsets of which the other broker has the same, or a later one, are settled.
    pub fn merge(
        &self,
        page: &OffsetPage,
        passes_on: bool,
        takes: impl Fn(&str, i32, i64) -> bool,
    ) {
        let mut changes = self.take_removals(&page.removed);
        for (key, theirs) in &page.table {
            let Some((topic, group)) = key.split_once('@') else { continue };
            let wanted = theirs.iter().filter_map(|(queue, pair)| match pair[..] {
                [offset, stamp] if stamp < LAST_STAMP => Some((*queue, offset, stamp)),
                _ => None,
            });
            let wanted = wanted.filter(|(queue, offset, _)| takes(topic, *queue, *offset));
            changes |= self.merge_group(topic, group, wanted.collect(), passes_on);
        }
        if changes {
            self.changed();
        }
    }

    /// Returns whether anything changed.
    fn merge_group(
        &self,
        topic: &str,
        group: &str,
        mut theirs: Vec<(i32, i64, i64)>,
        passes_on: bool,
    ) -> bool {
        let mut table = self.write();
        // Asked under the lock: what is removed in between would come back.
        let removed_before = lock(&self.removed).before(topic, group);
        theirs.retain(|(.., stamp)| *stamp > removed_before);
        if theirs.is_empty() {
            return false;
        }
        let groups = table.entry(topic.into()).or_default();
        let of_group = groups.entry(group.into()).or_default();
        let queues = of_group.queues.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for &(queue, offset, stamp) in &theirs {
            self.stamps.observe(stamp);
            match queues.get_mut(&queue) {
                Some(slot) => {
                    let own = (*slot.stamp.get_mut(), *slot.offset.get_mut());
                    if own < (stamp, offset) {
                        changed |= own.1 != offset;
                        *slot = Slot::new(offset, stamp);
                    }
                }
                None if self.has_room() => {
                    queues.insert(queue, Slot::new(offset, stamp));
                    self.queues.fetch_add(1, Ordering::Relaxed);
                    changed = true;
                }
                None => {}
            }
        }
        let is_same = queues.len() == theirs.len()
            && theirs.iter().all(|(queue, offset, stamp)| {
                queues.get_mut(queue).is_some_and(|slot| {
                    (*slot.stamp.get_mut(), *slot.offset.get_mut()) == (*stamp, *offset)
                })
            });
        if passes_on && changed {
            self.number(of_group);
        } else if !passes_on && is_same {
            *of_group.changed.get_mut() = 0;
        }
        changed
    }

    fn take_removals(&self, theirs: &BTreeMap<String, i64>) -> bool {
        let mut changed = false;
        for (key, stamp) in theirs {
            let Some((topic, group)) = key.split_once('@') else { continue };
            self.stamps.observe(*stamp);
            let mut table = self.write();
            let number = self.sequence.fetch_add(1, Ordering::AcqRel) + 1;
            lock(&self.removed).note(key.clone(), *stamp, number);
            let mut gone = 0;
            table.retain(|its_topic, groups| {
                if !topic.is_empty() && **its_topic != *topic {
                    return true;
                }
                let Some(of_group) = groups.get_mut(group) else { return true };
                let queues = of_group.queues.get_mut().unwrap_or_else(PoisonError::into_inner);
                let before = queues.len();
                queues.retain(|_, slot| *slot.stamp.get_mut() > *stamp);
                gone += before - queues.len();
                if queues.is_empty() {
                    groups.remove(group);
                }
                !groups.is_empty()
            });
            self.queues.fetch_sub(gone, Ordering::Relaxed);
            changed |= gone > 0;
        }
        changed
    }

    /// Takes over a Java master's offsets: each replaces the own one, others stay.
    pub fn replace_by(&self, table: &BTreeMap<String, BTreeMap<i32, i64>>) {
        for (key, offsets) in table {
            let Some((topic, group)) = key.split_once('@') else { continue };
            for (queue, offset) in offsets {
                if self.get(group, topic, *queue) != Some(*offset) {
                    self.commit(group, topic, *queue, *offset);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::config::BrokerConfig;
    use crate::broker::testing::Folder;

    struct Side {
        folder: Folder,
        offsets: ConsumerOffsets,
    }

    impl Side {
        fn new() -> Self {
            let folder = Folder::new();
            let offsets = ConsumerOffsets::new(&BrokerConfig::default(), folder.path());
            offsets.keep_stamps();
            Self { folder, offsets }
        }

        fn restart(self) -> Self {
            self.offsets.persist().unwrap();
            let offsets = ConsumerOffsets::new(&BrokerConfig::default(), self.folder.path());
            offsets.load().unwrap();
            Self { folder: self.folder, offsets }
        }

        fn get(&self, group: &str) -> Option<i64> {
            self.offsets.get(group, "T", 0)
        }

        fn commit(&self, group: &str, offset: i64) {
            self.offsets.commit(group, "T", 0, offset);
        }
    }

    /// What a slave does when its master has been started: reads all, then sends what is younger.
    fn meet(master: &Side, slave: &Side) {
        slave.offsets.renumber();
        let mut page = OffsetPage::default();
        while !page.complete {
            page = master.offsets.changed_since(page.upto);
            slave.offsets.merge(&page, false, |_, _, _| true);
        }
        let (page, sent) = slave.offsets.page_since(0);
        master.offsets.merge(&page, true, |_, _, offset| offset <= 1000);
        slave.offsets.settle(&sent);
        assert!(slave.offsets.page_since(0).1.is_empty(), "the master has heard all");
    }

    #[test]
    fn stamps_only_grow() {
        let stamps = Stamps::default();
        let first = stamps.next();
        assert!(first > 1_000_000_000_000_000, "microseconds");
        stamps.observe(first + 1_000_000_000_000);
        assert_eq!(stamps.next(), first + 1_000_000_000_001, "later than what was seen");
        stamps.observe(i64::MAX);
        assert!(stamps.next() > 0 && stamps.next() < i64::MAX);
    }

    #[test]
    fn the_last_commit_counts_wherever_it_was() {
        let (master, slave) = (Side::new(), Side::new());
        master.commit("g", 90);
        meet(&master, &slave);
        assert_eq!(slave.get("g"), Some(90));
        slave.commit("g", 100);
        slave.commit("only here", 5);
        slave.commit("of another log", 2000);
        meet(&master, &slave);
        assert_eq!((master.get("g"), master.get("only here")), (Some(100), Some(5)));
        assert_eq!(master.get("of another log"), None);
        master.commit("g", 1);
        meet(&master, &slave);
        assert_eq!((master.get("g"), slave.get("g")), (Some(1), Some(1)), "a reset");
    }

    #[test]
    fn the_same_offset_again_is_younger_all_the_same() {
        let (master, slave) = (Side::new(), Side::new());
        master.commit("g", 50);
        meet(&master, &slave);
        slave.commit("g", 100);
        let before = slave.offsets.stamps.next();
        master.offsets.stamps.observe(before);
        master.commit("g", 50);
        meet(&master, &slave);
        assert_eq!((master.get("g"), slave.get("g")), (Some(50), Some(50)));
    }

    #[test]
    fn a_restart_forgets_nothing_and_revives_nothing() {
        let (master, slave) = (Side::new(), Side::new());
        for group in ["g", "gone"] {
            master.commit(group, 90);
        }
        meet(&master, &slave);
        slave.commit("g", 100);
        let slave = slave.restart();
        master.offsets.remove_group("gone");
        let master = master.restart();
        meet(&master, &slave);
        assert_eq!((master.get("g"), slave.get("g")), (Some(100), Some(100)));
        assert_eq!((master.get("gone"), slave.get("gone")), (None, None));
        let (master, slave) = (master.restart(), slave.restart());
        meet(&master, &slave);
        assert_eq!((master.get("gone"), slave.get("gone")), (None, None));
        master.commit("gone", 3);
        meet(&master, &slave);
        assert_eq!(slave.get("gone"), Some(3), "a new group of that name");
    }

    #[test]
    fn a_file_without_stamps_is_as_old_as_it_says() {
        let folder = Folder::new();
        folder.write("consumerOffset.json", r#"{"offsetTable":{"T@g":{0:7}}}"#);
        let offsets = ConsumerOffsets::new(&BrokerConfig::default(), folder.path());
        offsets.load().unwrap();
        let master = Side { folder, offsets };
        let slave = Side::new();
        slave.commit("g", 9);
        meet(&master, &slave);
        assert_eq!(master.get("g"), Some(9));
    }

    #[test]
    fn many_offsets_come_in_pages_and_changes_one_by_one() {
        let (master, slave) = (Side::new(), Side::new());
        for number in 0..PAGE_QUEUES + 10 {
            master.offsets.commit(&format!("g{number}"), "T", 0, 1);
        }
        let first = master.offsets.changed_since(0);
        assert!(!first.complete && first.table.len() == PAGE_QUEUES);
        meet(&master, &slave);
        assert_eq!(slave.offsets.snapshot(), master.offsets.snapshot());
        let known = master.offsets.sequence();
        assert!(master.offsets.changed_since(known).table.is_empty());
        master.commit("g7", 2);
        master.commit("g7", 2);
        let news = master.offsets.changed_since(known);
        assert_eq!(news.table.keys().collect::<Vec<_>>(), ["T@g7"]);
        assert!(news.complete && news.upto == known + 1);
    }

    #[test]
    fn nonsense_is_left_out() {
        let side = Side::new();
        side.commit("g", 1);
        let pairs = |pair: Vec<i64>| BTreeMap::from([(0, pair)]);
        let page = OffsetPage {
            table: BTreeMap::from([
                ("no group".to_owned(), pairs(vec![5, 5])),
                ("T@g".to_owned(), pairs(vec![5])),
                ("T@h".to_owned(), pairs(vec![5, i64::MAX])),
            ]),
            ..OffsetPage::default()
        };
        side.offsets.merge(&page, true, |_, _, _| true);
        assert_eq!((side.get("g"), side.get("h")), (Some(1), None));
    }

    #[test]
    fn removals_are_bounded() {
        let mut removed = Removed::default();
        for number in 0..MAX_REMOVED as i64 + 5 {
            removed.note(format!("@{number}"), number + 1, number);
        }
        assert_eq!(removed.entries.len(), MAX_REMOVED);
        assert_eq!(removed.before("T", "0"), 0, "the oldest made room");
        assert_eq!(removed.before("T", "9"), 10);
    }

    #[test]
    fn what_is_removed_while_the_other_broker_tells_of_it_does_not_come_back() {
        const ROUNDS: usize = 20_000;
        let folder = Folder::new();
        let offsets = ConsumerOffsets::new(&BrokerConfig::default(), folder.path());
        let both = std::sync::Barrier::new(2);
        let mut came_back = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    both.wait();
                    offsets.remove_group("g");
                    both.wait();
                }
            });
            for _ in 0..ROUNDS {
                let pair = vec![5, offsets.stamps.next()];
                let table = BTreeMap::from([("T@g".to_owned(), BTreeMap::from([(0, pair)]))]);
                let page = OffsetPage { table, ..OffsetPage::default() };
                both.wait();
                offsets.merge(&page, true, |_, _, _| true);
                both.wait();
                came_back += usize::from(offsets.get("g", "T", 0).is_some());
            }
        });
        assert_eq!(came_back, 0);
    }
}
