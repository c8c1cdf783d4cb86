//! [`QueueTable`]: all consume queues, by topic and queue id.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::config::StoreConfig;
use super::consume_queue::{ConsumeQueue, Unit};
use super::consume_queue_ext::ConsumeQueueExt;
use super::message_store::StoreError;
use crate::common::quick_hash::QuickMap;
use crate::common::recent::{Recent, Version};
use crate::common::topic::{LMQ_PREFIX, TOPIC_MAX_LENGTH};

/// Most threads that look at queues at a start.
const MAX_THREADS: usize = 8;
/// So many queues are worth more than one thread.
const MANY_QUEUES: usize = 256;

/// The queues of one topic with their ids, by which they are ordered. The ids stand here too, because
/// looking into the queues passed by would wait for memory that others write.
type Queues = Vec<(i32, Arc<ConsumeQueue>)>;

/// The queue with that id. Nearly always the ids are 0, 1, 2 and so on.
fn place_of(queues: &Queues, queue_id: i32) -> Option<usize> {
    let expected = queue_id as usize;
    if queues.get(expected).is_some_and(|(id, _)| *id == queue_id) {
        return Some(expected);
    }
    queues.binary_search_by_key(&queue_id, |(id, _)| *id).ok()
}

/// The queues of a topic in a box of a thread: only its count of users is the thread's own.
type OfThread = Rc<Arc<Queues>>;

thread_local! {
    static RECENT: RefCell<Recent<OfThread>> = const { RefCell::new(Recent::new()) };
}

/// A queue as the thread found it in the table, at no cost to other threads.
pub struct QueueOfThread {
    queues: OfThread,
    place: usize,
}

impl Deref for QueueOfThread {
    type Target = Arc<ConsumeQueue>;

    fn deref(&self) -> &Arc<ConsumeQueue> {
        &self.queues[self.place].1
    }
}

/// All consume queues. What runs for every message asks [`of_thread`](Self::of_thread), which takes
/// no lock; all else [`find`](Self::find).
///
/// Invariant: of two queues with the same topic and id, the second is made when the files of the first
/// are gone: they have the same names.
#[derive(Debug)]
pub struct QueueTable {
    folder: PathBuf,
    ext_folder: Option<PathBuf>,
    file_size: usize,
    ext_file_size: usize,
    topics: RwLock<QuickMap<Arc<str>, Arc<Queues>>>,
    version: Version,
    light_queues: AtomicUsize,
    takes_puts: AtomicBool,
}

/// Why a topic cannot be a folder's name. (What the broker accepts always can; a record that came
/// from elsewhere may say anything.)
fn check_topic(topic: &str) -> Result<(), StoreError> {
    let bad = topic.is_empty()
        || topic.len() > TOPIC_MAX_LENGTH
        || topic == "."
        || topic == ".."
        || topic.contains(['/', '\0']);
    if bad {
        return Err(StoreError(format!("topic {topic:?} cannot be the name of a folder")));
    }
    Ok(())
}

impl QueueTable {
    /// An empty table for the store that `config` describes.
    pub fn new(config: &StoreConfig) -> Self {
        let root = config.root();
        let unit = Unit::BYTES as i64;
        let size = config.mapped_file_size_consume_queue.max(1);
        Self {
            folder: root.join("consumequeue"),
            ext_folder: config.enable_consume_queue_ext.then(|| root.join("consumequeue_ext")),
            file_size: ((size + unit - 1) / unit * unit) as usize,
            ext_file_size: config.mapped_file_size_consume_queue_ext.max(1024) as usize,
            topics: RwLock::default(),
            version: Version::default(),
            light_queues: AtomicUsize::new(0),
            takes_puts: AtomicBool::new(false),
        }
    }

    /// Folder of all queues.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Loads every `<topic>/<queue id>` folder; second-level names that are not integers are
    /// skipped.
    pub fn load(&self) -> Result<(), StoreError> {
        for (topic, queue_ids) in list_queues(&self.folder)? {
            for queue_id in queue_ids {
                self.find_or_create(&topic, queue_id)?;
            }
        }
        self.visit_all(ConsumeQueue::load)
    }

    /// Visits all queues, many of them by several threads: at a start there may be 20,000, each with
    /// files to be looked at.
    ///
    /// # Errors
    /// One of those that occurred; some queues are then not visited.
    pub fn visit_all(
        &self,
        visit: impl Fn(&ConsumeQueue) -> Result<(), StoreError> + Sync,
    ) -> Result<(), StoreError> {
        let queues = self.snapshot();
        let visit_some =
            |some: &[Arc<ConsumeQueue>]| some.iter().try_for_each(|queue| visit(queue));
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
        if threads == 1 || queues.len() < MANY_QUEUES {
            return visit_some(&queues);
        }
        let visit_some = &visit_some;
        std::thread::scope(|scope| {
            let share = queues.len().div_ceil(threads);
            let started: Vec<_> =
                queues.chunks(share).map(|some| scope.spawn(move || visit_some(some))).collect();
            let panicked =
                |_| Err(StoreError("a thread that looked at queues panicked".to_owned()));
            started.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(panicked))
        })
    }

    /// The queue, if it exists.
    pub fn find(&self, topic: &str, queue_id: i32) -> Option<Arc<ConsumeQueue>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let queues = topics.get(topic)?;
        place_of(queues, queue_id).map(|place| Arc::clone(&queues[place].1))
    }

    /// The queue, made if it does not exist, from what this thread found last if that is still so.
    pub fn of_thread(&self, topic: &str, queue_id: i32) -> Result<QueueOfThread, StoreError> {
        let recent = || {
            RECENT.with_borrow_mut(|recent| {
                let all = || {
                    let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
                    topics.get(topic).map(|queues| Rc::new(Arc::clone(queues)))
                };
                let queues = recent.get(&self.version, topic, all)?;
                let place = place_of(queues, queue_id)?;
                Some(QueueOfThread { queues: Rc::clone(queues), place })
            })
        };
        loop {
            match recent() {
                Some(queue) => return Ok(queue),
                // Somebody else may remove it again before it is found.
                None => drop(self.find_or_create(topic, queue_id)?),
            }
        }
    }

    /// The queue; made (without files) if it does not exist.
    pub fn find_or_create(
        &self,
        topic: &str,
        queue_id: i32,
    ) -> Result<Arc<ConsumeQueue>, StoreError> {
        if let Some(queue) = self.find(topic, queue_id) {
            return Ok(queue);
        }
        check_topic(topic)?;
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let name = match topics.get_key_value(topic) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(topic),
        };
        // What threads have found is theirs: they keep the list as it was.
        let queues = Arc::make_mut(topics.entry(Arc::clone(&name)).or_default());
        match queues.binary_search_by_key(&queue_id, |(id, _)| *id) {
            Ok(at) => Ok(Arc::clone(&queues[at].1)),
            Err(at) => {
                let place = Path::new(topic).join(queue_id.to_string());
                let queue =
                    ConsumeQueue::new(name, queue_id, &self.folder.join(&place), self.file_size);
                if let Some(folder) = &self.ext_folder {
                    queue.set_ext(ConsumeQueueExt::new(&folder.join(&place), self.ext_file_size));
                }
                if self.takes_puts() {
                    queue.set_first_record(i64::MAX);
                }
                let queue = Arc::new(queue);
                queues.insert(at, (queue_id, Arc::clone(&queue)));
                self.version.changed();
                if topic.starts_with(LMQ_PREFIX) {
                    self.light_queues.fetch_add(1, Ordering::Relaxed);
                }
                Ok(queue)
            }
        }
    }

    /// From now on puts give messages their numbers. What the log still has of a queue that is removed
    /// then has numbers of its own, and does not belong into a new one of the same name.
    pub fn set_takes_puts(&self) {
        self.takes_puts.store(true, Ordering::Release);
    }

    /// Whether puts give messages their numbers; not before the start is over, and not on a slave.
    pub fn takes_puts(&self) -> bool {
        self.takes_puts.load(Ordering::Acquire)
    }

    /// How many light message queues there are.
    pub fn light_queues(&self) -> usize {
        self.light_queues.load(Ordering::Relaxed)
    }

    /// All queues as they are now.
    pub fn snapshot(&self) -> Vec<Arc<ConsumeQueue>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics
            .values()
            .flat_map(|queues| queues.iter())
            .map(|(_, queue)| Arc::clone(queue))
            .collect()
    }

    /// The queues that have something to flush; cheap when there are none among many.
    pub fn dirty(&self) -> Vec<Arc<ConsumeQueue>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let queues = topics.values().flat_map(|queues| queues.iter()).map(|(_, queue)| queue);
        queues.filter(|queue| queue.is_dirty()).cloned().collect()
    }

    /// Topics with their queue ids.
    pub fn topics(&self) -> BTreeMap<String, Vec<i32>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics
            .iter()
            .map(|(topic, queues)| (topic.to_string(), queues.iter().map(|(id, _)| *id).collect()))
            .collect()
    }

    /// Largest end of a record that has a unit; −1 without any.
    pub fn max_physical(&self) -> i64 {
        self.snapshot().iter().map(|queue| queue.max_physical()).max().unwrap_or(-1)
    }

    /// Removes the queues that `gone` names, with their files, topic by topic until they are `enough`, and
    /// returns them. A topic without queues goes too.
    pub fn remove(
        &self,
        gone: impl Fn(&ConsumeQueue) -> bool,
        enough: usize,
    ) -> Vec<Arc<ConsumeQueue>> {
        let mut removed = Vec::new();
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.retain(|_, queues| {
            if removed.len() < enough && queues.iter().any(|(_, queue)| gone(queue)) {
                let gone = Arc::make_mut(queues).extract_if(.., |(_, queue)| gone(queue));
                removed.extend(gone.map(|(_, queue)| queue));
            }
            !queues.is_empty()
        });
        // First, so that who finds a queue removed waits here for the next one.
        self.version.changed();
        removed.iter().for_each(|queue| queue.destroy());
        let light = removed.iter().filter(|queue| queue.topic().starts_with(LMQ_PREFIX)).count();
        self.light_queues.fetch_sub(light, Ordering::Relaxed);
        removed
    }
}

/// Topics and queue ids that have a folder.
pub fn list_queues(folder: &Path) -> Result<BTreeMap<String, Vec<i32>>, StoreError> {
    let mut queues = BTreeMap::new();
    for topic in sub_folders(folder)? {
        let names = sub_folders(&folder.join(&topic))?;
        let mut ids: Vec<i32> = names.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort_unstable();
        queues.insert(topic, ids);
    }
    Ok(queues)
}

/// Names of the folders in `folder`; none if it does not exist.
fn sub_folders(folder: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", folder, &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| StoreError::io("list", folder, &error))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TempFolder;

    #[test]
    fn a_thread_finds_the_queue_that_the_table_has() {
        let folder = TempFolder::new("queue-table");
        let config = StoreConfig {
            store_path_root_dir: folder.path().display().to_string(),
            ..StoreConfig::default()
        };
        let table = QueueTable::new(&config);
        assert!(table.of_thread("a/b", 0).is_err(), "no folder's name");
        let ids = [7, 0, 3];
        for id in ids {
            let made = table.of_thread("T", id).unwrap();
            assert_eq!((&**made.topic(), made.queue_id()), ("T", id));
            assert!(Arc::ptr_eq(&made, &table.find("T", id).unwrap()));
        }
        let old = ids.map(|id| table.of_thread("T", id).unwrap());
        assert_eq!(table.remove(|queue| queue.queue_id() == 3, 9).len(), 1);
        for (id, old) in ids.into_iter().zip(old) {
            let now = table.of_thread("T", id).unwrap();
            assert_eq!(Arc::ptr_eq(&now, &old), id != 3, "{id}");
        }
    }
}
