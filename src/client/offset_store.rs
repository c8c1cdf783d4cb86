//! [`OffsetStore`]: how far a group has consumed each queue; at the brokers (clustering), or in a
//! local file (broadcasting).
//!
//! Offsets are kept in memory and written out at intervals. The file is the one of the Java client,
//! `DIR/CLIENT_ID/GROUP/offsets.json`, with whole objects as keys (and indented with tabs):
//!
//! ```text
//! {"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:17}}
//! ```

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::config::MessageModel;
use super::error::ClientError;
use super::instance::Instance;
use crate::common::json::{FromJson, Json, Style, ToJson};
use crate::common::sync::lock;
use crate::remoting::protocol::bodies::{MessageQueue, OffsetTable};

/// Limit of telling brokers, when it is waited for.
const PERSIST_LIMIT: Duration = Duration::from_secs(2);
/// Limit of connecting for an update that is not waited for.
const ONEWAY_LIMIT: Duration = Duration::from_secs(3);

/// Offsets of a group.
pub(crate) struct OffsetStore {
    group: String,
    instance: Arc<Instance>,
    /// What this client consumed.
    memory: Mutex<HashMap<MessageQueue, i64>>,
    /// `None`: the brokers.
    file: Option<OffsetFile>,
}

impl OffsetStore {
    /// At the brokers (clustering), or in a file below `directory` (broadcasting).
    pub fn of_model(
        model: MessageModel,
        group: &str,
        instance: &Arc<Instance>,
        directory: &Path,
    ) -> Result<Self, ClientError> {
        let instance = Arc::clone(instance);
        match model {
            MessageModel::Clustering => Ok(Self::remote(group, instance)),
            MessageModel::Broadcasting => Self::local(group, instance, directory),
        }
    }

    /// Offsets at the brokers.
    fn remote(group: &str, instance: Arc<Instance>) -> Self {
        Self { group: group.to_owned(), instance, memory: Mutex::default(), file: None }
    }

    /// Offsets in a file below `directory`. Fails if there is one that cannot be read.
    fn local(group: &str, instance: Arc<Instance>, directory: &Path) -> Result<Self, ClientError> {
        let file = OffsetFile::new(directory, &instance.client_id, group);
        let memory = file.read()?.into_iter().collect();
        Ok(Self { group: group.to_owned(), instance, memory: Mutex::new(memory), file: Some(file) })
    }

    /// Notes an offset; `increase_only` ignores one that is lower than the known one.
    pub fn update(&self, queue: &MessageQueue, offset: i64, increase_only: bool) {
        let mut memory = lock(&self.memory);
        match memory.get_mut(queue) {
            Some(known) if increase_only => *known = offset.max(*known),
            Some(known) => *known = offset,
            None => {
                memory.insert(queue.clone(), offset);
            }
        }
    }

    /// The offset in memory.
    pub fn in_memory(&self, queue: &MessageQueue) -> Option<i64> {
        lock(&self.memory).get(queue).copied()
    }

    /// The stored offset, which becomes the one in memory; `None` if there is none.
    pub fn stored(&self, queue: &MessageQueue) -> Result<Option<i64>, ClientError> {
        let stored = match &self.file {
            Some(file) => file.read()?.get(queue).copied(),
            None => self.instance.query_consumer_offset(&self.group, queue)?,
        };
        if let Some(offset) = stored {
            self.update(queue, offset, false);
        }
        Ok(stored)
    }

    /// The offset in memory, else the stored one.
    pub fn known(&self, queue: &MessageQueue) -> Result<Option<i64>, ClientError> {
        match self.in_memory(queue) {
            Some(offset) => Ok(Some(offset)),
            None => self.stored(queue),
        }
    }

    /// Forgets the offset in memory.
    pub fn forget(&self, queue: &MessageQueue) {
        lock(&self.memory).remove(queue);
    }

    /// Offsets in memory, of one topic unless it is empty.
    pub fn snapshot(&self, topic: &str) -> BTreeMap<MessageQueue, i64> {
        let memory = lock(&self.memory);
        let wanted = memory.iter().filter(|(queue, _)| topic.is_empty() || queue.topic == topic);
        wanted.map(|(queue, offset)| (queue.clone(), *offset)).collect()
    }

    /// Writes the offsets of these queues out, and forgets all others. Nothing is waited for.
    pub fn persist_only(&self, queues: &[MessageQueue]) {
        let offsets = {
            let mut memory = lock(&self.memory);
            // A file keeps the queues of others; only memory at brokers' expense is given back.
            if self.file.is_none() {
                memory.retain(|queue, _| queues.contains(queue));
            }
            let known =
                queues.iter().filter_map(|queue| Some((queue.clone(), *memory.get(queue)?)));
            known.collect::<Vec<_>>()
        };
        if let Some(file) = &self.file {
            return file.merge(offsets);
        }
        let mut unreachable = Vec::new();
        for (queue, offset) in offsets {
            let update = self.instance.offset_update(&self.group, &queue, offset);
            let (addr, request) = match update {
                Ok(update) => update,
                Err(error) => {
                    log::warn!("{}: the offset of {queue:?} is kept: {error}", self.group);
                    continue;
                }
            };
            if unreachable.contains(&addr) {
                continue;
            }
            if let Err(error) = self.instance.oneway(&addr, request, ONEWAY_LIMIT) {
                log::warn!("{}: offsets for {addr} are kept: {error}", self.group);
                unreachable.push(addr);
            }
        }
    }

    /// Writes the offsets of these queues out and waits until it is done, a short time at most:
    /// who reads them next must find them.
    pub fn persist_now(&self, queues: &[MessageQueue]) {
        let offsets: Vec<_> = {
            let memory = lock(&self.memory);
            let known =
                queues.iter().filter_map(|queue| Some((queue.clone(), *memory.get(queue)?)));
            known.collect()
        };
        if offsets.is_empty() {
            return;
        }
        if let Some(file) = &self.file {
            return file.merge(offsets);
        }
        let calls = offsets.iter().filter_map(|(queue, offset)| {
            self.instance.offset_update(&self.group, queue, *offset).ok()
        });
        for (addr, result) in self.instance.call_all(calls.collect(), PERSIST_LIMIT) {
            if let Err(error) = result {
                log::warn!("{}: an offset did not reach {addr}: {error}", self.group);
            }
        }
    }
}

/// The local file.
#[derive(Debug)]
struct OffsetFile {
    path: PathBuf,
    /// One writer at a time.
    writing: Mutex<()>,
}

impl OffsetFile {
    fn new(directory: &Path, client_id: &str, group: &str) -> Self {
        let path = directory.join(client_id).join(group).join("offsets.json");
        Self { path, writing: Mutex::default() }
    }

    fn read_one(path: &Path) -> Result<Option<BTreeMap<MessageQueue, i64>>, String> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        if bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        let table = Json::parse(&bytes).and_then(|json| OffsetTable::from_json(&json));
        table.map(|table| Some(table.offset_table)).map_err(|error| error.to_string())
    }

    fn backup(&self) -> PathBuf {
        self.path.with_extension("json.bak")
    }

    /// The file; if it is missing, empty or damaged, its predecessor.
    fn read(&self) -> Result<BTreeMap<MessageQueue, i64>, ClientError> {
        match Self::read_one(&self.path) {
            Ok(Some(table)) => return Ok(table),
            Ok(None) => {}
            Err(reason) => log::warn!("{}: {reason}; its .bak is read", self.path.display()),
        }
        let backup = self.backup();
        Self::read_one(&backup)
            .map(Option::unwrap_or_default)
            .map_err(|reason| ClientError::Io(format!("{}: {reason}", backup.display())))
    }

    /// Overlays the file with these offsets. A failure is logged: the offsets stay in memory.
    fn merge(&self, offsets: Vec<(MessageQueue, i64)>) {
        let _one = lock(&self.writing);
        let mut table = match self.read() {
            Ok(table) => table,
            Err(error) => {
                log::error!("the offset file is not written, since it cannot be read: {error}");
                return;
            }
        };
        table.extend(offsets);
        let text = OffsetTable { offset_table: table }.to_json().write(Style::Pretty);
        if let Err(error) = crate::common::atomic_file::write(&self.path, text.as_bytes()) {
            log::error!("{}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue { broker_name: "b".into(), queue_id, topic: "T".into() }
    }

    #[test]
    fn the_file_keeps_others_and_survives_damage() {
        let directory = std::env::temp_dir().join(format!("offsets-{}", std::process::id()));
        let file = OffsetFile::new(&directory, "ip@DEFAULT", "G");
        assert!(file.read().unwrap().is_empty());
        file.merge(vec![(queue(0), 5), (queue(1), 6)]);
        file.merge(vec![(queue(1), 7)]);
        let expected: BTreeMap<_, _> = [(queue(0), 5), (queue(1), 7)].into();
        assert_eq!(file.read().unwrap(), expected);
        let text = std::fs::read_to_string(directory.join("ip@DEFAULT/G/offsets.json")).unwrap();
        let squeezed: String = text.split_whitespace().collect();
        let entry = r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:5,"#;
        assert!(squeezed.starts_with(entry), "{text}");
        std::fs::write(&file.path, "{damaged").unwrap();
        assert_eq!(file.read().unwrap()[&queue(1)], 6, "the predecessor");
        std::fs::write(file.backup(), "{damaged").unwrap();
        assert!(file.read().is_err());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
