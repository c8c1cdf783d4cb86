//! [`ConsumerOffsets`]: how far each group has consumed each queue, persisted in
//! `consumerOffset.json`. How two brokers agree about them is told in [`offset_exchange`].
//!
//! [`offset_exchange`]: super::offset_exchange

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::config::BrokerConfig;
use super::config_file::ConfigFile;
use super::offset_exchange::{Removed, Stamps};
use super::slave_sync::news::Listener;
use crate::common::json::{Style, ToJson};
use crate::common::rarely::Rarely;
use crate::common::sync::lock;
use crate::common::topic;
use crate::json_body;
use crate::remoting::protocol::admin_bodies::ConsumerOffsetTable;

/// How long after a reset its members may commit smaller offsets without being suspected.
const RESET_GRACE: Duration = Duration::from_secs(60);
/// Resets that are remembered for that long.
const MAX_RESETS: usize = 10_000;
/// A commit that goes back is worth a line so often.
const WARN_PERIOD: Duration = Duration::from_secs(10);

/// Queue id to the next offset that the group wants.
pub type QueueOffsets = BTreeMap<i32, i64>;

/// Topic, then group.
pub(super) type Table = HashMap<Box<str>, HashMap<Box<str>, GroupOffsets>>;

/// The offsets of a group on a topic.
#[derive(Debug, Default)]
pub(super) struct GroupOffsets {
    pub(super) queues: RwLock<BTreeMap<i32, Slot>>,
    /// Number of the last change that the other broker must hear of; 0: none.
    pub(super) changed: AtomicI64,
}

impl GroupOffsets {
    /// Of each queue its offset and the stamp that belongs to it: no commit comes in between.
    pub(super) fn stamped(&self) -> BTreeMap<i32, [i64; 2]> {
        let queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        let pair = |slot: &Slot| [&slot.offset, &slot.stamp].map(|it| it.load(Ordering::Relaxed));
        queues.iter().map(|(queue, slot)| (*queue, pair(slot))).collect()
    }
}

/// The offset of a queue.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) offset: AtomicI64,
    /// When it was committed, see [`Stamps`].
    pub(super) stamp: AtomicI64,
}

impl Slot {
    pub(super) fn new(offset: i64, stamp: i64) -> Self {
        Self { offset: AtomicI64::new(offset), stamp: AtomicI64::new(stamp) }
    }
}

json_body! {
    /// `consumerOffset.json` of a broker that has, or is, a slave: Java's, which leaves out what it
    /// does not know, and when everything was committed.
    struct StampedFile {
        /// `topic@group` to offset, of groups of light message queues.
        lmq_offset_table: Option<BTreeMap<String, i64>> => "lmqOffsetTable",
        /// `topic@group` to queue to offset.
        offset_table: BTreeMap<String, QueueOffsets> => "offsetTable",
        /// `topic@group`, or `@group` for all topics, to the stamp of its removal.
        removed_table: BTreeMap<String, i64> => "removedTable",
        /// `topic@group` to queue to stamp.
        stamp_table: BTreeMap<String, QueueOffsets> => "stampTable",
    }
}

/// The consumer offsets of a broker (spec: broker 6.6).
///
/// * A commit of a queue that is known takes two read locks and stores two atomics: consumers commit
///   every queue every five seconds, and on pulls.
/// * Nothing is validated, as in Java: topic, group and queue need not exist, and a smaller offset
///   overwrites a larger one. That it did is counted and logged, unless the offsets were reset just
///   before: else it means that two members consume one queue, or that a member came back with what
///   it knew long ago.
/// * With `enableLmq` a group named `%LMQ%…` has one offset a topic, whatever queue it names, and the
///   file is `lmqConsumerOffset.json`.
/// * The file is written only after a change, by whoever calls [`persist`](Self::persist) every
///   `flushConsumerOffsetInterval`.
/// * A commit happens under the table's read lock from its first to its last step: whoever has had
///   the write lock sees all of a commit that was counted, or nothing.
#[derive(Debug)]
pub struct ConsumerOffsets {
    table: RwLock<Table>,
    /// Queues in the table.
    pub(super) queues: AtomicUsize,
    pub(super) max_queues: usize,
    /// Number of changes of what stands in the file.
    changes: AtomicI64,
    /// Number of the last change that the other broker must hear of.
    pub(super) sequence: AtomicI64,
    pub(super) stamps: Stamps,
    pub(super) removed: Mutex<Removed>,
    /// Whether stamps stand in the file: another broker compares them.
    keeps_stamps: AtomicBool,
    /// Who tells the other broker.
    pub news: Listener,
    file: ConfigFile,
    /// `enableLmq`.
    light: bool,
    /// Commits that went back.
    went_back: Rarely,
    /// Topics and groups whose offsets were reset, and until when that excuses them.
    resets: Mutex<HashMap<TopicAndGroup, Instant>>,
}

/// A key of the resets.
type TopicAndGroup = (Box<str>, Box<str>);

impl ConsumerOffsets {
    /// An empty table, to be persisted under `root`.
    pub fn new(config: &BrokerConfig, root: &Path) -> Self {
        Self {
            table: RwLock::default(),
            queues: AtomicUsize::new(0),
            max_queues: config.max_consumer_offsets,
            changes: AtomicI64::new(0),
            sequence: AtomicI64::new(0),
            stamps: Stamps::default(),
            removed: Mutex::default(),
            keeps_stamps: AtomicBool::new(false),
            news: Listener::default(),
            file: ConfigFile::new(root, "consumerOffset.json"),
            light: false,
            went_back: Rarely::new(WARN_PERIOD),
            resets: Mutex::default(),
        }
    }

    /// The same, with `enableLmq`.
    pub fn with_light_queues(self, root: &Path) -> Self {
        let file = ConfigFile::new(root, "lmqConsumerOffset.json");
        Self { light: true, file, ..self }
    }

    /// Commits that went back without a reset, since the start.
    pub fn went_back(&self) -> u64 {
        self.went_back.total()
    }

    /// The offsets of a group on a topic are being reset: it may commit smaller ones for a while.
    pub fn expect_reset(&self, group: &str, topic: &str) {
        let now = Instant::now();
        let mut resets = lock(&self.resets);
        if resets.len() >= MAX_RESETS {
            resets.retain(|_, until| *until > now);
        }
        if resets.len() < MAX_RESETS {
            resets.insert((topic.into(), group.into()), now + RESET_GRACE);
        }
    }

    fn note_went_back(&self, group: &str, topic: &str, queue_id: i32, old: i64, offset: i64) {
        let key = (topic.into(), group.into());
        if lock(&self.resets).get(&key).is_some_and(|until| Instant::now() < *until) {
            return;
        }
        if let Some(times) = self.went_back.note() {
            log::warn!(
                "offset of {group} on {topic}-{queue_id} goes back from {old} to {offset}, without a \
                 reset; {times} such commits since this was logged last"
            );
        }
    }

    /// Whether a group has one offset a topic.
    fn is_light(&self, group: &str) -> bool {
        self.light && topic::is_light(group)
    }

    /// The queue under which a group's offset is kept.
    fn queue_of(&self, group: &str, queue_id: i32) -> i32 {
        if self.is_light(group) { 0 } else { queue_id }
    }

    /// Replaces the table by what `consumerOffset.json` says.
    ///
    /// An offset without a stamp is as old as the file: a broker wrote it that keeps none.
    pub fn load(&self) -> Result<(), String> {
        let Some(loaded) = self.file.load::<StampedFile>()? else { return Ok(()) };
        let unstamped = self.file.modified_ms().unwrap_or(0).saturating_mul(1000);
        self.keeps_stamps.store(!loaded.stamp_table.is_empty(), Ordering::Relaxed);
        let mut table = Table::new();
        let mut queues = 0;
        let light = loaded.lmq_offset_table.unwrap_or_default().into_iter();
        let light = light.map(|(key, offset)| (key, QueueOffsets::from([(0, offset)])));
        for (key, offsets) in loaded.offset_table.into_iter().chain(light) {
            let Some((topic, group)) = key.split_once('@') else {
                log::warn!("consumerOffset.json: \"{key}\" is not topic@group and is left out");
                continue;
            };
            queues += offsets.len();
            let stamps = loaded.stamp_table.get(&key);
            let slots = offsets.into_iter().map(|(queue, offset)| {
                let stamp = stamps.and_then(|stamps| stamps.get(&queue)).copied();
                let stamp = stamp.unwrap_or(unstamped);
                self.stamps.observe(stamp);
                (queue, Slot::new(offset, stamp))
            });
            let offsets = GroupOffsets {
                queues: RwLock::new(slots.collect()),
                changed: AtomicI64::new(self.sequence.fetch_add(1, Ordering::Relaxed) + 1),
            };
            table.entry(topic.into()).or_default().insert(group.into(), offsets);
        }
        let mut removed = lock(&self.removed);
        for (key, stamp) in loaded.removed_table {
            self.stamps.observe(stamp);
            removed.note(key, stamp, self.sequence.fetch_add(1, Ordering::Relaxed) + 1);
        }
        drop(removed);
        *self.write() = table;
        self.queues.store(queues, Ordering::Relaxed);
        Ok(())
    }

    /// From now on the file tells when each offset was committed: there is another broker that
    /// compares.
    pub fn keep_stamps(&self) {
        if !self.keeps_stamps.swap(true, Ordering::Relaxed) {
            self.changed();
        }
    }

    /// Whether there is, or was, another broker that compares.
    pub fn has_stamps(&self) -> bool {
        self.keeps_stamps.load(Ordering::Relaxed)
    }

    /// Sets the offset of a queue.
    pub fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let queue_id = self.queue_of(group, queue_id);
        if let Some(old) = self.overwrite(group, topic, queue_id, offset) {
            if old > offset {
                self.note_went_back(group, topic, queue_id, old, offset);
            }
            if old != offset {
                self.changed();
            }
            return;
        }
        if !self.has_room() {
            log::warn!(
                "offset of {group} on {topic}-{queue_id} is not kept: maxConsumerOffsets={} reached",
                self.max_queues
            );
            return;
        }
        let mut table = self.write();
        let of_group = table.entry(topic.into()).or_default().entry(group.into()).or_default();
        let queues = of_group.queues.get_mut().unwrap_or_else(PoisonError::into_inner);
        if queues.insert(queue_id, Slot::new(offset, self.stamps.next())).is_none() {
            self.queues.fetch_add(1, Ordering::Relaxed);
        }
        self.number(of_group);
        drop(table);
        self.changed();
    }

    /// Whether another queue may be added.
    pub(super) fn has_room(&self) -> bool {
        self.queues.load(Ordering::Relaxed) < self.max_queues
    }

    /// Sets a known queue's offset and returns the old one. The same offset again is news to nobody,
    /// but it is younger.
    fn overwrite(&self, group: &str, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        let table = self.read();
        let of_group = table.get(topic)?.get(group)?;
        let queues = of_group.queues.read().unwrap_or_else(PoisonError::into_inner);
        let slot = queues.get(&queue_id)?;
        let old = slot.offset.swap(offset, Ordering::Relaxed);
        slot.stamp.store(self.stamps.next(), Ordering::Relaxed);
        if old != offset {
            self.number(of_group);
        }
        Some(old)
    }

    /// The other broker must hear of these offsets.
    pub(super) fn number(&self, of_group: &GroupOffsets) {
        let number = self.sequence.fetch_add(1, Ordering::AcqRel) + 1;
        of_group.changed.fetch_max(number, Ordering::AcqRel);
    }

    /// The offset of a queue; `None` if the group never committed one.
    pub fn get(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let queue_id = self.queue_of(group, queue_id);
        self.with_group(group, topic, |queues| {
            queues.get(&queue_id).map(|slot| slot.offset.load(Ordering::Relaxed))
        })?
    }

    /// The offsets of all queues of a topic; empty if the group never committed one.
    pub fn of_group(&self, group: &str, topic: &str) -> QueueOffsets {
        self.with_group(group, topic, offsets_of).unwrap_or_default()
    }

    fn with_group<R>(
        &self,
        group: &str,
        topic: &str,
        read: impl FnOnce(&BTreeMap<i32, Slot>) -> R,
    ) -> Option<R> {
        let table = self.read();
        let of_group = table.get(topic)?.get(group)?;
        Some(read(&of_group.queues.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Brings offsets beyond the end of their queue back to it. `end` tells the end of a queue (topic,
    /// queue); 0 if the log has nothing of it.
    ///
    /// A master whose log lost its end, or a slave that becomes the master before it has all of the
    /// log, would give the offsets in between to new messages, which the group then never saw.
    pub fn bring_back(&self, end: impl Fn(&str, i32) -> i64) {
        for (key, queues) in self.snapshot().offset_table {
            let Some((topic, group)) = key.split_once('@') else { continue };
            for (queue_id, offset) in queues {
                let end = end(topic, queue_id);
                if offset > end {
                    log::warn!(
                        "{group} was at {offset} of {topic}-{queue_id}, which ends at {end}: it goes on \
                         there"
                    );
                    self.expect_reset(group, topic);
                    self.commit(group, topic, queue_id, end);
                }
            }
        }
    }

    /// Topics of which the group has offsets.
    pub fn topics_of_group(&self, group: &str) -> BTreeSet<String> {
        self.read()
            .iter()
            .filter(|(_, groups)| groups.contains_key(group))
            .map(|(topic, _)| topic.to_string())
            .collect()
    }

    /// Groups that have offsets of the topic.
    pub fn groups_of_topic(&self, topic: &str) -> BTreeSet<String> {
        self.read()
            .get(topic)
            .map(|groups| groups.keys().map(|group| group.to_string()).collect())
            .unwrap_or_default()
    }

    /// Replaces the offsets of `to` on a topic by those of `from`. Returns whether `from` had any.
    pub fn copy_group(&self, from: &str, to: &str, topic: &str) -> bool {
        let Some(offsets) = self.with_group(from, topic, offsets_of) else {
            return false;
        };
        let mut table = self.write();
        self.note_removal(format!("{topic}@{to}"));
        let slots: BTreeMap<i32, Slot> = offsets
            .into_iter()
            .map(|(queue, offset)| (queue, Slot::new(offset, self.stamps.next())))
            .collect();
        self.queues.fetch_add(slots.len(), Ordering::Relaxed);
        let copied = GroupOffsets { queues: RwLock::new(slots), changed: AtomicI64::new(0) };
        self.number(&copied);
        let replaced = table.entry(topic.into()).or_default().insert(to.into(), copied);
        self.queues.fetch_sub(queue_count(replaced), Ordering::Relaxed);
        drop(table);
        self.changed();
        true
    }

    /// Forgets all offsets of a group.
    pub fn remove_group(&self, group: &str) {
        let mut table = self.write();
        self.note_removal(format!("@{group}"));
        let mut removed = 0;
        table.retain(|_, groups| {
            removed += queue_count(groups.remove(group));
            !groups.is_empty()
        });
        self.queues.fetch_sub(removed, Ordering::Relaxed);
        drop(table);
        self.changed();
    }

    /// What was committed until now is not wanted back from another broker.
    fn note_removal(&self, key: String) {
        let number = self.sequence.fetch_add(1, Ordering::AcqRel) + 1;
        lock(&self.removed).note(key, self.stamps.next(), number);
    }

    /// All offsets, as slaves get them and as they stand in the file.
    pub fn snapshot(&self) -> ConsumerOffsetTable {
        let mut offset_table = BTreeMap::new();
        let mut light = self.light.then(BTreeMap::new);
        for (topic, groups) in self.read().iter() {
            for (group, of_group) in groups {
                let queues = of_group.queues.read().unwrap_or_else(PoisonError::into_inner);
                let (key, offsets) = (format!("{topic}@{group}"), offsets_of(&queues));
                match &mut light {
                    Some(light) if self.is_light(group) => {
                        light.extend(offsets.get(&0).map(|offset| (key, *offset)));
                    }
                    _ => {
                        offset_table.insert(key, offsets);
                    }
                }
            }
        }
        ConsumerOffsetTable { lmq_offset_table: light, offset_table, data_version: None }
    }

    /// The text of the file.
    fn encode(&self) -> String {
        if !self.keeps_stamps.load(Ordering::Relaxed) {
            return self.snapshot().to_json().write(Style::Pretty);
        }
        let mut file =
            StampedFile { removed_table: lock(&self.removed).stamps(), ..StampedFile::default() };
        for (topic, groups) in self.read().iter() {
            for (group, of_group) in groups {
                let key = format!("{topic}@{group}");
                let pairs = of_group.stamped();
                let stamps = pairs.iter().map(|(queue, [_, stamp])| (*queue, *stamp)).collect();
                let offsets = pairs.into_iter().map(|(queue, [offset, _])| (queue, offset));
                let offsets: QueueOffsets = offsets.collect();
                if self.is_light(group) {
                    let light = file.lmq_offset_table.get_or_insert_default();
                    light.extend(offsets.get(&0).map(|offset| (key.clone(), *offset)));
                } else {
                    file.offset_table.insert(key.clone(), offsets);
                }
                file.stamp_table.insert(key, stamps);
            }
        }
        file.to_json().write(Style::Pretty)
    }

    /// Writes the file if an offset changed since it was written.
    pub fn persist(&self) -> std::io::Result<()> {
        self.persist_after(|| {})
    }

    /// The same, after something that is done when it is known what will be written.
    pub fn persist_after(&self, before: impl FnOnce()) -> std::io::Result<()> {
        let change = self.changes.load(Ordering::Acquire);
        if change == 0 {
            return Ok(());
        }
        self.file.save(change, || {
            let encoded = (self.changes.load(Ordering::Acquire), self.encode());
            before();
            encoded
        })
    }

    /// What stands in the file has changed, and the other broker may want to know.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
        self.news.tell();
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn offsets_of(queues: &BTreeMap<i32, Slot>) -> QueueOffsets {
    queues.iter().map(|(queue, slot)| (*queue, slot.offset.load(Ordering::Relaxed))).collect()
}

fn queue_count(removed: Option<GroupOffsets>) -> usize {
    removed.map_or(0, |of_group| {
        of_group.queues.into_inner().unwrap_or_else(PoisonError::into_inner).len()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::Folder;

    fn offsets(folder: &Folder, max_consumer_offsets: usize) -> ConsumerOffsets {
        let config = BrokerConfig { max_consumer_offsets, ..BrokerConfig::default() };
        ConsumerOffsets::new(&config, folder.path())
    }

    #[test]
    fn a_commit_overwrites_whatever_was_there() {
        let folder = Folder::new();
        let offsets = offsets(&folder, 100);
        assert_eq!(offsets.get("g", "T", 0), None);
        for offset in [5, 9, 3, -1] {
            offsets.commit("g", "T", 0, offset);
            assert_eq!(offsets.get("g", "T", 0), Some(offset));
        }
        offsets.commit("g", "T", -7, 1);
        offsets.commit("h", "T", 0, 2);
        assert_eq!(offsets.of_group("g", "T"), QueueOffsets::from([(-7, 1), (0, -1)]));
        assert_eq!(offsets.groups_of_topic("T"), ["g".to_owned(), "h".to_owned()].into());
        assert_eq!(offsets.topics_of_group("h"), ["T".to_owned()].into());
    }

    #[test]
    fn the_file_is_javas_and_is_written_only_after_a_change() {
        let folder = Folder::new();
        let offsets = offsets(&folder, 100);
        offsets.persist().unwrap();
        assert!(!folder.path().exists());
        offsets.commit("group", "TopicTest", 1, 7);
        offsets.commit("group", "TopicTest", 0, 5);
        offsets.persist().unwrap();
        let expected = "{\n\t\"offsetTable\":{\n\t\t\"TopicTest@group\":{0:5,1:7\n\t\t}\n\t}\n}";
        assert_eq!(folder.read("consumerOffset.json"), expected);
        folder.write("consumerOffset.json", "touched");
        offsets.commit("group", "TopicTest", 0, 5);
        offsets.persist().unwrap();
        assert_eq!(folder.read("consumerOffset.json"), "touched", "the same offset is no change");
        offsets.commit("group", "TopicTest", 0, 6);
        offsets.persist().unwrap();
        assert!(folder.read("consumerOffset.json").contains("{0:6,1:7"));
    }

    #[test]
    fn files_of_4_and_5_are_understood() {
        let folder = Folder::new();
        folder.write(
            "consumerOffset.json",
            r#"{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":2},"offsetTable":{"%RETRY%g@g":{"0":4},"T@g@h":{0:1,1:2},"no group":{0:1}}}"#,
        );
        let offsets = offsets(&folder, 100);
        offsets.load().unwrap();
        assert_eq!(offsets.get("g", "%RETRY%g", 0), Some(4));
        assert_eq!(offsets.get("g@h", "T", 1), Some(2));
        assert_eq!(offsets.queues.load(Ordering::Relaxed), 3);
        assert_eq!(offsets.snapshot().offset_table.len(), 2);
    }

    #[test]
    fn groups_are_copied_and_removed() {
        let folder = Folder::new();
        let offsets = offsets(&folder, 100);
        offsets.commit("from", "T", 0, 5);
        offsets.commit("to", "T", 3, 1);
        assert!(offsets.copy_group("from", "to", "T"));
        assert_eq!(offsets.of_group("to", "T"), QueueOffsets::from([(0, 5)]), "replaced");
        assert!(!offsets.copy_group("nobody", "to", "T"));
        offsets.remove_group("from");
        assert_eq!(offsets.groups_of_topic("T"), ["to".to_owned()].into());
        assert_eq!(offsets.queues.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn groups_of_light_queues_have_one_offset_a_topic_and_a_file_of_their_own() {
        let folder = Folder::new();
        let new = || offsets(&folder, 100).with_light_queues(folder.path());
        let table = new();
        table.commit("%LMQ%g", "%LMQ%T", 0, 5);
        table.commit("%LMQ%g", "%LMQ%T", 3, 7);
        table.commit("g", "T", 3, 1);
        assert_eq!(table.get("%LMQ%g", "%LMQ%T", 9), Some(7));
        assert_eq!(table.of_group("%LMQ%g", "%LMQ%T"), QueueOffsets::from([(0, 7)]));
        table.persist().unwrap();
        let expected = "{\n\t\"lmqOffsetTable\":{\n\t\t\"%LMQ%T@%LMQ%g\":7\n\t},\n\t\"offsetTable\":{\n\t\t\"T@g\":{3:1\n\t\t}\n\t}\n}";
        assert_eq!(folder.read("lmqConsumerOffset.json"), expected);
        let again = new();
        again.load().unwrap();
        assert_eq!(again.get("%LMQ%g", "%LMQ%T", 0), Some(7));
        assert_eq!(again.snapshot(), table.snapshot());
    }

    #[test]
    fn what_goes_back_without_a_reset_is_counted() {
        let folder = Folder::new();
        let offsets = offsets(&folder, 100);
        for offset in [5, 9, 9, 3, 4, 2] {
            offsets.commit("g", "T", 0, offset);
        }
        assert_eq!(offsets.went_back(), 2);
        offsets.expect_reset("g", "T");
        offsets.commit("g", "T", 0, 1);
        offsets.commit("h", "T", 0, 1);
        assert_eq!(offsets.went_back(), 2);
        offsets.commit("h", "T", 0, 0);
        assert_eq!(offsets.went_back(), 3);
    }

    #[test]
    fn offsets_beyond_the_end_come_back() {
        let folder = Folder::new();
        let offsets = offsets(&folder, 100);
        for (topic, offset) in [("T", 5), ("U", 12), ("empty", 12)] {
            offsets.commit("g", topic, 0, offset);
        }
        offsets.bring_back(|topic, _| if topic == "empty" { 0 } else { 7 });
        let now = ["T", "U", "empty"].map(|topic| offsets.get("g", topic, 0));
        assert_eq!(now, [Some(5), Some(7), Some(0)]);
        assert_eq!(offsets.went_back(), 0);
    }

    #[test]
    fn the_number_of_queues_is_bounded() {
        let folder = Folder::new();
        let offsets = offsets(&folder, 2);
        for queue in 0..5 {
            offsets.commit("g", "T", queue, 1);
        }
        offsets.commit("g", "T", 0, 9);
        assert_eq!(offsets.of_group("g", "T"), QueueOffsets::from([(0, 9), (1, 1)]));
    }
}
