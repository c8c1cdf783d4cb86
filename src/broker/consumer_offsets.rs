//! [`ConsumerOffsets`]: how far each group has consumed each queue, persisted in
//! `consumerOffset.json`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use super::config::BrokerConfig;
use super::config_file::ConfigFile;
use crate::common::json::{Style, ToJson};
use crate::remoting::protocol::admin_bodies::ConsumerOffsetTable;

/// Queue id to the next offset that the group wants.
pub type QueueOffsets = BTreeMap<i32, i64>;

/// Topic, then group, then queue.
type Table = HashMap<Box<str>, HashMap<Box<str>, RwLock<BTreeMap<i32, AtomicI64>>>>;

/// The consumer offsets of a broker (spec: broker 6.6).
///
/// * A commit of a queue that is known takes two read locks and stores an atomic: consumers commit
///   every queue every five seconds, and on pulls.
/// * Nothing is validated, as in Java: topic, group and queue need not exist, and a smaller offset
///   overwrites a larger one.
/// * The file is written only after a change, by whoever calls [`persist`](Self::persist) every
///   `flushConsumerOffsetInterval`.
#[derive(Debug)]
pub struct ConsumerOffsets {
    table: RwLock<Table>,
    /// Queues in the table.
    queues: AtomicUsize,
    max_queues: usize,
    /// Number of changes.
    changes: AtomicI64,
    file: ConfigFile,
}

impl ConsumerOffsets {
    /// An empty table, to be persisted under `root`.
    pub fn new(config: &BrokerConfig, root: &Path) -> Self {
        Self {
            table: RwLock::default(),
            queues: AtomicUsize::new(0),
            max_queues: config.max_consumer_offsets,
            changes: AtomicI64::new(0),
            file: ConfigFile::new(root, "consumerOffset.json"),
        }
    }

    /// Replaces the table by what `consumerOffset.json` says.
    pub fn load(&self) -> Result<(), String> {
        if let Some(loaded) = self.file.load::<ConsumerOffsetTable>()? {
            let mut table = Table::new();
            let mut queues = 0;
            for (key, offsets) in loaded.offset_table {
                let Some((topic, group)) = key.split_once('@') else {
                    log::warn!("consumerOffset.json: \"{key}\" is not topic@group and is left out");
                    continue;
                };
                queues += offsets.len();
                table
                    .entry(topic.into())
                    .or_default()
                    .insert(group.into(), RwLock::new(with_atomics(offsets)));
            }
            *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
            self.queues.store(queues, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Sets the offset of a queue.
    pub fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        if let Some(old) = self.overwrite(group, topic, queue_id, offset) {
            if old > offset {
                log::warn!(
                    "offset of {group} on {topic}-{queue_id} goes back from {old} to {offset}"
                );
            }
            if old != offset {
                self.changed();
            }
            return;
        }
        if self.queues.load(Ordering::Relaxed) >= self.max_queues {
            log::warn!(
                "offset of {group} on {topic}-{queue_id} is not kept: maxConsumerOffsets={} reached",
                self.max_queues
            );
            return;
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let group_entry = table.entry(topic.into()).or_default().entry(group.into()).or_default();
        let queues = group_entry.get_mut().unwrap_or_else(PoisonError::into_inner);
        if queues.insert(queue_id, AtomicI64::new(offset)).is_none() {
            self.queues.fetch_add(1, Ordering::Relaxed);
        }
        drop(table);
        self.changed();
    }

    /// Sets a known queue's offset and returns the old one.
    fn overwrite(&self, group: &str, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        self.with_group(group, topic, |queues| {
            queues.get(&queue_id).map(|slot| slot.swap(offset, Ordering::Relaxed))
        })?
    }

    /// The offset of a queue; `None` if the group never committed one.
    pub fn get(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.with_group(group, topic, |queues| {
            queues.get(&queue_id).map(|slot| slot.load(Ordering::Relaxed))
        })?
    }

    /// The offsets of all queues of a topic; empty if the group never committed one.
    pub fn of_group(&self, group: &str, topic: &str) -> QueueOffsets {
        self.with_group(group, topic, without_atomics).unwrap_or_default()
    }

    fn with_group<R>(
        &self,
        group: &str,
        topic: &str,
        read: impl FnOnce(&BTreeMap<i32, AtomicI64>) -> R,
    ) -> Option<R> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let queues = table.get(topic)?.get(group)?;
        Some(read(&queues.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Topics of which the group has offsets.
    pub fn topics_of_group(&self, group: &str) -> BTreeSet<String> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table
            .iter()
            .filter(|(_, groups)| groups.contains_key(group))
            .map(|(topic, _)| topic.to_string())
            .collect()
    }

    /// Groups that have offsets of the topic.
    pub fn groups_of_topic(&self, topic: &str) -> BTreeSet<String> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table
            .get(topic)
            .map(|groups| groups.keys().map(|group| group.to_string()).collect())
            .unwrap_or_default()
    }

    /// Replaces the offsets of `to` on a topic by those of `from`. Returns whether `from` had any.
    pub fn copy_group(&self, from: &str, to: &str, topic: &str) -> bool {
        let Some(offsets) = self.with_group(from, topic, without_atomics) else {
            return false;
        };
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let added = offsets.len();
        let replaced = table
            .entry(topic.into())
            .or_default()
            .insert(to.into(), RwLock::new(with_atomics(offsets)));
        self.queues.fetch_add(added, Ordering::Relaxed);
        self.queues.fetch_sub(queue_count(replaced), Ordering::Relaxed);
        drop(table);
        self.changed();
        true
    }

    /// Forgets all offsets of a group.
    pub fn remove_group(&self, group: &str) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut removed = 0;
        table.retain(|_, groups| {
            removed += queue_count(groups.remove(group));
            !groups.is_empty()
        });
        drop(table);
        if removed > 0 {
            self.queues.fetch_sub(removed, Ordering::Relaxed);
            self.changed();
        }
    }

    /// All offsets, as slaves get them and as they stand in the file.
    pub fn snapshot(&self) -> ConsumerOffsetTable {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut offset_table = BTreeMap::new();
        for (topic, groups) in table.iter() {
            for (group, queues) in groups {
                let queues = queues.read().unwrap_or_else(PoisonError::into_inner);
                offset_table.insert(format!("{topic}@{group}"), without_atomics(&queues));
            }
        }
        ConsumerOffsetTable { offset_table }
    }

    /// Writes the file if an offset changed since it was written.
    pub fn persist(&self) -> std::io::Result<()> {
        let change = self.changes.load(Ordering::Acquire);
        if change == 0 {
            return Ok(());
        }
        self.file.save(change, || {
            let change = self.changes.load(Ordering::Acquire);
            (change, self.snapshot().to_json().write(Style::Pretty))
        })
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}

fn with_atomics(offsets: QueueOffsets) -> BTreeMap<i32, AtomicI64> {
    offsets.into_iter().map(|(queue, offset)| (queue, AtomicI64::new(offset))).collect()
}

fn without_atomics(offsets: &BTreeMap<i32, AtomicI64>) -> QueueOffsets {
    offsets.iter().map(|(queue, offset)| (*queue, offset.load(Ordering::Relaxed))).collect()
}

fn queue_count(removed: Option<RwLock<BTreeMap<i32, AtomicI64>>>) -> usize {
    removed.map_or(0, |queues| queues.into_inner().unwrap_or_else(PoisonError::into_inner).len())
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
