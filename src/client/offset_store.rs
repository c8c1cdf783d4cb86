//! How far a group has consumed each queue: [`OffsetStore`], where offsets are kept, and the two that
//! are there: the brokers (clustering), and a local file (broadcasting, [`OffsetFile`]).
//!
//! A consumer keeps offsets in memory and writes them out at intervals, and whenever it gives queues
//! up. What it reads at the start of a queue is what it goes on with.
//!
//! # A store of one's own
//!
//! Offsets that are stored together with what was made of the messages make an effect happen exactly
//! once: in the same database, or, as here, in the same place. Two closures are a store as well.
//!
//! ```
//! use rocketmq::client::{ConsumeFromWhere, ConsumeResult, ConsumerOptions, MessageQueue};
//! use rocketmq::client::offset_store::{OffsetStore, StoreError};
//! # use rocketmq::client::{Message, ProducerOptions};
//! use std::path::{Path, PathBuf};
//! # use std::sync::mpsc::channel;
//! # let site = rocketmq::Standalone::temporary()?;
//! # site.create_topic("Orders", 1)?;
//! # let names = site.name_servers();
//!
//! /// A folder with a small text file for each queue.
//! struct Folder(PathBuf);
//!
//! impl Folder {
//!     fn file(&self, group: &str, queue: &MessageQueue) -> PathBuf {
//!         let MessageQueue { topic, broker_name, queue_id } = queue;
//!         self.0.join(format!("{group}-{topic}-{broker_name}-{queue_id}"))
//!     }
//! }
//!
//! impl OffsetStore for Folder {
//!     fn read(&self, group: &str, queue: &MessageQueue) -> Result<Option<i64>, StoreError> {
//!         match std::fs::read_to_string(self.file(group, queue)) {
//!             Ok(text) => Ok(Some(text.trim().parse()?)),
//!             Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
//!             Err(error) => Err(error.into()),
//!         }
//!     }
//!
//!     fn write(&self, group: &str, offsets: &[(MessageQueue, i64)]) -> Result<(), StoreError> {
//!         for (queue, offset) in offsets {
//!             let (file, new) = (self.file(group, queue), self.file(group, queue).with_extension("new"));
//!             std::fs::write(&new, offset.to_string())?;
//!             std::fs::rename(new, file)?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # let folder = std::env::temp_dir().join(format!("offset-example-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let (done, consumed) = channel();
//! # ProducerOptions::new("p").name_servers(names.as_str()).start()?.send(&Message::new("Orders", "x"))?;
//! let consumer = ConsumerOptions::new("billing")
//!     .name_servers(names)
//!     .consume_from(ConsumeFromWhere::FirstOffset)
//!     .offset_store(Folder(folder.clone()))
//!     .subscribe("Orders", "*")
//!     .start_concurrent(move |messages, _| {
//!         println!("{messages:?}");
//! #       let _ = done.send(());
//!         ConsumeResult::Success
//!     })?;
//! # consumed.recv()?;
//! consumer.shutdown();
//! # let written = std::fs::read_dir(&folder)?.flatten().map(|file| file.file_name().into_string());
//! # let written: Vec<_> = written.flatten().filter(|name| name.starts_with("billing-Orders-")).collect();
//! # assert_eq!(written.len(), 1, "{written:?}");
//! # assert_eq!(std::fs::read_to_string(folder.join(&written[0]))?, "1");
//! # std::fs::remove_dir_all(folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A push consumer of a clustering group tells brokers its offsets along with its pulls whatever the
//! store, so that operators see its progress; they are not read again.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::config::MessageModel;
use super::error::ClientError;
use super::instance::Instance;
use crate::common::json::{FromJson, Json, Style, ToJson};
use crate::common::sync::{catch_panic, lock};
use crate::remoting::protocol::bodies::{MessageQueue, OffsetTable};

/// Limit of telling brokers, when it is waited for.
const PERSIST_LIMIT: Duration = Duration::from_secs(2);
/// Limit of connecting for an update that is not waited for.
const ONEWAY_LIMIT: Duration = Duration::from_secs(3);

/// Why a store failed; whatever error it has at hand.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// Where consumers keep their offsets. See the [module's page](self) for an example.
///
/// An offset is that of the first message that is not consumed yet. Queues are named as on the wire:
/// with a namespace, that is part of the topic; retries come from the queues of `%RETRY%` and the
/// group. Calls come from several threads of the client, and one that takes long holds up what that
/// thread does else: rebalancing, or the other duties that come at intervals.
pub trait OffsetStore: Send + Sync {
    /// The stored offset of a queue; `None` if there is none: then the consumer begins where its
    /// options say. After an error it does not begin with the queue, and tries again.
    fn read(&self, group: &str, queue: &MessageQueue) -> Result<Option<i64>, StoreError>;

    /// Stores offsets; when it returns, whoever gets the queues next reads them. After an error they
    /// are written again at the next interval, unless the queue was given up meanwhile: then its
    /// messages since the last write come again.
    fn write(&self, group: &str, offsets: &[(MessageQueue, i64)]) -> Result<(), StoreError>;

    /// The same for what is written at every `persist_interval`, the offsets of all queues: nobody
    /// waits for it. By default [`write`](Self::write).
    fn write_soon(&self, group: &str, offsets: &[(MessageQueue, i64)]) -> Result<(), StoreError> {
        self.write(group, offsets)
    }
}

impl<S: OffsetStore + ?Sized> OffsetStore for Arc<S> {
    fn read(&self, group: &str, queue: &MessageQueue) -> Result<Option<i64>, StoreError> {
        (**self).read(group, queue)
    }

    fn write(&self, group: &str, offsets: &[(MessageQueue, i64)]) -> Result<(), StoreError> {
        (**self).write(group, offsets)
    }

    fn write_soon(&self, group: &str, offsets: &[(MessageQueue, i64)]) -> Result<(), StoreError> {
        (**self).write_soon(group, offsets)
    }
}

/// Two closures, that read and that write.
impl<R, W> OffsetStore for (R, W)
where
    R: Fn(&str, &MessageQueue) -> Result<Option<i64>, StoreError> + Send + Sync,
    W: Fn(&str, &[(MessageQueue, i64)]) -> Result<(), StoreError> + Send + Sync,
{
    fn read(&self, group: &str, queue: &MessageQueue) -> Result<Option<i64>, StoreError> {
        self.0(group, queue)
    }

    fn write(&self, group: &str, offsets: &[(MessageQueue, i64)]) -> Result<(), StoreError> {
        self.1(group, offsets)
    }
}

/// An optional [`OffsetStore`]: any of them becomes one.
#[derive(Clone, Default)]
pub struct OffsetStores(pub Option<Arc<dyn OffsetStore>>);

impl std::fmt::Debug for OffsetStores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "a store of its own" } else { "that of the model" })
    }
}

impl<S: OffsetStore + 'static> From<S> for OffsetStores {
    fn from(store: S) -> Self {
        Self(Some(Arc::new(store)))
    }
}

/// The offsets of a group's member: in memory, and in their store.
pub(crate) struct Offsets {
    group: String,
    /// What this client consumed.
    memory: Mutex<HashMap<MessageQueue, i64>>,
    /// Held by who writes offsets, from the look at them on: what is older is not written later.
    writing: Mutex<()>,
    store: Arc<dyn OffsetStore>,
}

impl Offsets {
    /// In the store that was chosen; else at the brokers (clustering), or in a file below `directory`
    /// (broadcasting), which must not be damaged.
    pub fn new(
        chosen: &OffsetStores,
        model: MessageModel,
        group: &str,
        instance: &Arc<Instance>,
        directory: &Path,
    ) -> Result<Self, ClientError> {
        let store: Arc<dyn OffsetStore> = match (&chosen.0, model) {
            (Some(store), _) => Arc::clone(store),
            (None, MessageModel::Clustering) => Arc::new(BrokerOffsets(Arc::clone(instance))),
            (None, MessageModel::Broadcasting) => {
                let path = directory.join(&instance.client_id).join(group).join("offsets.json");
                Arc::new(OffsetFile::open(path)?)
            }
        };
        Ok(Self {
            group: group.to_owned(),
            memory: Mutex::default(),
            writing: Mutex::default(),
            store,
        })
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
        let stored = self.ask("reading an offset", |store| store.read(&self.group, queue))?;
        // -1 is what others write for "none".
        let stored = stored.filter(|offset| *offset >= 0);
        if let Some(offset) = stored {
            self.update(queue, offset, false);
        }
        Ok(stored)
    }

    /// A store may be the application's: it may panic, and has errors of its own.
    fn ask<T>(
        &self,
        what: &str,
        call: impl FnOnce(&dyn OffsetStore) -> Result<T, StoreError>,
    ) -> Result<T, ClientError> {
        let outcome = catch_panic(what, || call(&*self.store));
        let outcome = outcome.unwrap_or_else(|| Err("the offset store panicked".into()));
        outcome.map_err(|error| match error.downcast::<ClientError>() {
            Ok(own) => *own,
            Err(error) => ClientError::Io(format!("{what}: {error}")),
        })
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

    fn of(&self, queues: &[MessageQueue]) -> Vec<(MessageQueue, i64)> {
        let memory = lock(&self.memory);
        let known = queues.iter().filter_map(|queue| Some((queue.clone(), *memory.get(queue)?)));
        known.collect()
    }

    /// Writes the offsets of these queues out, and forgets all others. Nothing is waited for.
    pub fn persist_only(&self, queues: &[MessageQueue]) {
        lock(&self.memory).retain(|queue, _| queues.contains(queue));
        let _writing = lock(&self.writing);
        let offsets = self.of(queues);
        if offsets.is_empty() {
            return;
        }
        let written = self.ask("writing offsets", |store| store.write_soon(&self.group, &offsets));
        if let Err(error) = written {
            log::warn!("{}: offsets are kept: {error}", self.group);
        }
    }

    /// Writes the offsets of these queues out and waits until it is done, a short time at most:
    /// who reads them next must find them.
    pub fn persist_now(&self, queues: &[MessageQueue]) -> Result<(), ClientError> {
        let _writing = lock(&self.writing);
        let offsets = self.of(queues);
        if offsets.is_empty() {
            return Ok(());
        }
        let written = self.ask("writing offsets", |store| store.write(&self.group, &offsets));
        if let Err(error) = &written {
            log::warn!("{}: offsets are not written: {error}", self.group);
        }
        written
    }
}

/// The brokers of the queues keep them.
struct BrokerOffsets(Arc<Instance>);

impl OffsetStore for BrokerOffsets {
    fn read(&self, group: &str, queue: &MessageQueue) -> Result<Option<i64>, StoreError> {
        Ok(self.0.query_consumer_offset(group, queue)?)
    }

    fn write(&self, group: &str, offsets: &[(MessageQueue, i64)]) -> Result<(), StoreError> {
        let mut failure = None;
        let mut calls = Vec::with_capacity(offsets.len());
        for (queue, offset) in offsets {
            match self.0.offset_update(group, queue, *offset) {
                Ok(call) => calls.push(call),
                Err(error) => failure = Some(error),
            }
        }
        for (addr, result) in self.0.call_all(calls, PERSIST_LIMIT) {
            if let Err(error) = result {
                log::debug!("{group}: an offset did not reach {addr}: {error}");
                failure = Some(error);
            }
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Does not wait for an answer.
    fn write_soon(&self, group: &str, offsets: &[(MessageQueue, i64)]) -> Result<(), StoreError> {
        let mut unreachable = Vec::new();
        for (queue, offset) in offsets {
            let (addr, request) = match self.0.offset_update(group, queue, *offset) {
                Ok(update) => update,
                Err(error) => {
                    log::warn!("{group}: the offset of {queue:?} is kept: {error}");
                    continue;
                }
            };
            if unreachable.contains(&addr) {
                continue;
            }
            if let Err(error) = self.0.oneway(&addr, request, ONEWAY_LIMIT) {
                log::warn!("{group}: offsets for {addr} are kept: {error}");
                unreachable.push(addr);
            }
        }
        Ok(())
    }
}

/// A file of offsets, that of the Java client (there `DIR/CLIENT_ID/GROUP/offsets.json`): JSON, but
/// for whole objects as keys, indented with tabs. It is replaced as a whole, and its predecessor kept
/// beside it as `.bak`, which is read when the file is damaged.
///
/// ```text
/// {"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:17}}
/// ```
///
/// Broadcasting uses one for each client id; one file is for one group, as it does not tell groups.
///
/// ```
/// use rocketmq::client::{LitePullOptions, OffsetAt, OffsetFile};
/// # let site = rocketmq::Standalone::temporary()?;
/// # site.create_topic("Orders", 1)?;
/// # let names = site.name_servers();
/// # let folder = std::env::temp_dir().join(format!("offset-file-example-{}", std::process::id()));
/// # let path = folder.join("offsets.json");
///
/// // Where an export has come to, beside what it writes.
/// let options = LitePullOptions::new("export").name_servers(names).auto_commit(false);
/// let consumer = options.offset_store(OffsetFile::open(&path)?).start()?;
/// let queues = consumer.queues("Orders")?;
/// consumer.assign(queues.clone(), "*")?;
/// consumer.commit_offsets([(queues[0].clone(), 0)])?;
/// assert!(std::fs::read_to_string(&path)?.contains("offsetTable"));
/// # drop(consumer); // it writes its offsets once more
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OffsetFile {
    path: PathBuf,
    /// One writer at a time.
    writing: Mutex<()>,
}

impl OffsetFile {
    /// A file that need not exist yet, nor its folders.
    ///
    /// # Errors
    /// Both the file and its predecessor are there and cannot be read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ClientError> {
        let file = Self { path: path.into(), writing: Mutex::default() };
        file.table()?;
        Ok(file)
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

    /// `offsets.json` becomes `offsets.json.bak`.
    fn backup(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".bak");
        name.into()
    }

    /// The file; if it is missing, empty or damaged, its predecessor.
    fn table(&self) -> Result<BTreeMap<MessageQueue, i64>, ClientError> {
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
}

impl OffsetStore for OffsetFile {
    fn read(&self, _group: &str, queue: &MessageQueue) -> Result<Option<i64>, StoreError> {
        Ok(self.table()?.get(queue).copied())
    }

    /// Overlays the file with these offsets: those of other queues stay.
    fn write(&self, _group: &str, offsets: &[(MessageQueue, i64)]) -> Result<(), StoreError> {
        let _one = lock(&self.writing);
        let mut table = self.table()?;
        table.extend(offsets.iter().cloned());
        let text = OffsetTable { offset_table: table }.to_json().write(Style::Pretty);
        let written = crate::common::atomic_file::write(&self.path, text.as_bytes());
        Ok(written.map_err(|error| format!("{}: {error}", self.path.display()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue { broker_name: "b".into(), queue_id, topic: "T".into() }
    }

    fn offsets(chosen: OffsetStores) -> Offsets {
        let (memory, writing) = (Mutex::default(), Mutex::default());
        Offsets { group: "G".to_owned(), memory, writing, store: chosen.0.unwrap() }
    }

    /// A reset while offsets are written because it is time to.
    #[test]
    fn what_is_older_is_not_written_later() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let (begun, has_begun) = std::sync::mpsc::channel();
        let its_written = Arc::clone(&written);
        let chosen = OffsetStores::from((
            |_: &str, _: &MessageQueue| Ok(None),
            move |_: &str, offsets: &[(MessageQueue, i64)]| {
                let (_, offset) = offsets[0];
                if offset == 9 {
                    let _ = begun.send(());
                    std::thread::sleep(Duration::from_millis(300));
                }
                lock(&its_written).push(offset);
                Ok(())
            },
        ));
        let offsets = offsets(chosen);
        offsets.update(&queue(0), 9, false);
        std::thread::scope(|scope| {
            scope.spawn(|| offsets.persist_only(&[queue(0)]));
            has_begun.recv().unwrap();
            offsets.update(&queue(0), 3, false);
            offsets.persist_now(&[queue(0)]).unwrap();
        });
        assert_eq!(*lock(&written), [9, 3]);
    }

    #[test]
    fn the_file_keeps_others_and_survives_damage() {
        let directory = std::env::temp_dir().join(format!("offsets-{}", std::process::id()));
        let path = directory.join("ip@DEFAULT/G/offsets.json");
        let file = OffsetFile::open(&path).unwrap();
        assert!(file.table().unwrap().is_empty());
        file.write("G", &[(queue(0), 5), (queue(1), 6)]).unwrap();
        file.write("G", &[(queue(1), 7)]).unwrap();
        let expected: BTreeMap<_, _> = [(queue(0), 5), (queue(1), 7)].into();
        assert_eq!(file.table().unwrap(), expected);
        let text = std::fs::read_to_string(&path).unwrap();
        let squeezed: String = text.split_whitespace().collect();
        let entry = r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:5,"#;
        assert!(squeezed.starts_with(entry), "{text}");
        std::fs::write(&file.path, "{damaged").unwrap();
        assert_eq!(file.table().unwrap()[&queue(1)], 6, "the predecessor");
        std::fs::write(file.backup(), "{damaged").unwrap();
        assert!(file.table().is_err() && OffsetFile::open(&path).is_err());
        assert!(file.write("G", &[(queue(0), 9)]).is_err(), "nothing is written over damage");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_store_of_ones_own_may_fail_and_panic() {
        let chosen = OffsetStores::from((
            |_: &str, queue: &MessageQueue| match queue.queue_id {
                0 => Ok(Some(5)),
                1 => Ok(None),
                2 => Ok(Some(-1)),
                3 => Err("the database is down".into()),
                _ => panic!("a bug"),
            },
            |_: &str, _: &[(MessageQueue, i64)]| Err(ClientError::NotRunning.into()),
        ));
        let offsets = offsets(chosen);
        assert_eq!(offsets.stored(&queue(0)), Ok(Some(5)));
        assert_eq!(offsets.stored(&queue(1)), Ok(None));
        assert_eq!(offsets.stored(&queue(2)), Ok(None));
        for (id, reason) in [(3, "the database is down"), (4, "panicked")] {
            let error = offsets.stored(&queue(id)).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        offsets.update(&queue(0), 9, true);
        assert_eq!(offsets.persist_now(&[queue(0)]), Err(ClientError::NotRunning));
        offsets.persist_only(&[queue(0)]);
        assert_eq!(offsets.in_memory(&queue(0)), Some(9), "what is not written is kept");
        offsets.persist_only(&[]);
        assert_eq!(offsets.in_memory(&queue(0)), None);
    }
}
