//! Rebalancing: which queues of a topic belong to this client, and where it begins to read them.
//!
//! Every member divides the queues by itself (see [`allocate`](super::allocate)); this file finds
//! out what there is to divide, compares the result with what the client has, and takes and gives
//! up queues.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::allocate::{AllocateStrategy, Division};
use super::broker_calls::OffsetAt;
use super::config::{ConsumeFromWhere, MessageModel};
use super::error::ClientError;
use super::instance::Instance;
use super::offset_store::Offsets;
use super::process_queue::ProcessQueue;
use crate::common::sync::lock;
use crate::common::topic::RETRY_PREFIX;
use crate::remoting::protocol::bodies::MessageQueue;

/// The queues that a consumer has.
#[derive(Default)]
pub(crate) struct QueueTable(Mutex<BTreeMap<MessageQueue, Arc<ProcessQueue>>>);

impl QueueTable {
    /// All of them.
    pub fn all(&self) -> Vec<Arc<ProcessQueue>> {
        lock(&self.0).values().cloned().collect()
    }

    /// Their names.
    pub fn names(&self) -> Vec<MessageQueue> {
        lock(&self.0).keys().cloned().collect()
    }

    /// Those of a topic.
    pub fn of_topic(&self, topic: &str) -> Vec<Arc<ProcessQueue>> {
        let table = lock(&self.0);
        table.values().filter(|queue| queue.queue.topic == topic).cloned().collect()
    }

    /// The names of those of a topic.
    pub fn names_of(&self, topic: &str) -> Vec<MessageQueue> {
        lock(&self.0).keys().filter(|queue| queue.topic == topic).cloned().collect()
    }

    /// One of them.
    pub fn get(&self, queue: &MessageQueue) -> Option<Arc<ProcessQueue>> {
        lock(&self.0).get(queue).cloned()
    }

    /// Adds one, unless it is there.
    pub fn insert(&self, queue: Arc<ProcessQueue>) {
        lock(&self.0).entry(queue.queue.clone()).or_insert(queue);
    }

    /// Removes this very one (not its successor of the same name).
    pub fn remove(&self, queue: &Arc<ProcessQueue>) {
        let mut table = lock(&self.0);
        if table.get(&queue.queue).is_some_and(|known| Arc::ptr_eq(known, queue)) {
            table.remove(&queue.queue);
        }
    }

    /// Number of queues.
    pub fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// Gives all up: their results are ignored from now on.
    pub fn drop_all(&self) {
        for queue in std::mem::take(&mut *lock(&self.0)).into_values() {
            queue.drop_queue();
            queue.clear();
        }
    }
}

/// What a consumer does with queues that come and go.
pub(crate) trait QueueOwner {
    /// The queues that it has.
    fn queues(&self) -> &QueueTable;

    /// Begins with a queue; `None` if it cannot now (the next round tries again).
    fn take(&self, queue: &MessageQueue) -> Option<Arc<ProcessQueue>>;

    /// Ends with queues, which are marked as dropped. Returns those that are given up now; the
    /// others are still at work, and stay in the table for the next round.
    fn give_up(&self, queues: Vec<Arc<ProcessQueue>>) -> Vec<Arc<ProcessQueue>>;

    /// Whether a queue that was not pulled for long is taken anew.
    fn heals_itself(&self) -> bool {
        true
    }
}

/// What to divide, and how.
pub(crate) struct Rules<'a> {
    pub instance: &'a Arc<Instance>,
    pub group: &'a str,
    pub model: MessageModel,
    pub strategy: &'a AllocateStrategy,
}

impl Rules<'_> {
    /// All queues of the topic, and those that belong to this client; `None` when that cannot be
    /// told now: the present queues are kept.
    pub fn target(&self, topic: &str) -> Option<(Vec<MessageQueue>, BTreeSet<MessageQueue>)> {
        let skip = |why: &dyn std::fmt::Display| {
            log::warn!("{} {topic}: not rebalanced: {why}", self.group);
        };
        let all = match self.instance.subscribe_queues(topic) {
            Ok(all) if all.is_empty() => return None,
            Ok(all) => all,
            Err(ClientError::NoRoute { .. }) if topic.starts_with(RETRY_PREFIX) => return None,
            Err(error) => {
                skip(&error);
                return None;
            }
        };
        if self.model == MessageModel::Broadcasting {
            let target = all.iter().cloned().collect();
            return Some((all, target));
        }
        let mut members = match self.instance.members(self.group, topic) {
            Ok(members) => members,
            Err(error) => {
                skip(&error);
                return None;
            }
        };
        members.sort();
        let division = Division {
            group: self.group,
            client_id: &self.instance.client_id,
            queues: &all,
            members: &members,
        };
        match self.strategy.allocate(&division) {
            Ok(own) => Some((all.clone(), own.into_iter().collect())),
            Err(why) => {
                skip(&why);
                None
            }
        }
    }
}

/// Brings the queues of a topic in line with the target. Returns the new ones, and whether
/// anything changed.
pub(crate) fn apply(
    owner: &impl QueueOwner,
    topic: &str,
    target: &BTreeSet<MessageQueue>,
) -> (Vec<Arc<ProcessQueue>>, bool) {
    let have = owner.queues().of_topic(topic);
    let unwanted = |queue: &&Arc<ProcessQueue>| {
        let expired = owner.heals_itself() && queue.pull_expired();
        if expired {
            log::warn!("{:?} was not pulled for long; it is taken anew", queue.queue);
        }
        expired || queue.is_dropped() || !target.contains(&queue.queue)
    };
    let lost: Vec<_> = have.iter().filter(unwanted).cloned().collect();
    let mut changed = remove(owner, lost);
    let mut new = Vec::new();
    for queue in target {
        if owner.queues().get(queue).is_none()
            && let Some(taken) = owner.take(queue)
        {
            owner.queues().insert(Arc::clone(&taken));
            new.push(taken);
            changed = true;
        }
    }
    (new, changed)
}

/// Drops queues and removes those that could be given up. Returns whether there were any.
pub(crate) fn remove(owner: &impl QueueOwner, lost: Vec<Arc<ProcessQueue>>) -> bool {
    if lost.is_empty() {
        return false;
    }
    for queue in &lost {
        queue.drop_queue();
    }
    let gone = owner.give_up(lost);
    for queue in &gone {
        owner.queues().remove(queue);
    }
    !gone.is_empty()
}

/// Where to begin (spec: client 3.4): at the stored offset, else where the options say.
pub(crate) fn first_offset(
    instance: &Arc<Instance>,
    stored: Option<i64>,
    from: ConsumeFromWhere,
    timestamp: i64,
    queue: &MessageQueue,
) -> Result<i64, ClientError> {
    let retry = queue.topic.starts_with(RETRY_PREFIX);
    match (stored, from) {
        (Some(offset), _) => Ok(offset),
        (None, ConsumeFromWhere::FirstOffset) => Ok(0),
        (None, ConsumeFromWhere::Timestamp) if retry => instance.offset_at(queue, OffsetAt::Max),
        (None, ConsumeFromWhere::Timestamp) => instance.offset_at(queue, OffsetAt::Time(timestamp)),
        (None, _) if retry => Ok(0),
        (None, _) => instance.offset_at(queue, OffsetAt::Max),
    }
}

/// Persists and forgets the offsets of queues that are given up.
pub(crate) fn settle(store: &Offsets, queues: &[Arc<ProcessQueue>]) {
    let names: Vec<_> = queues.iter().map(|queue| queue.queue.clone()).collect();
    // A failure is logged; whoever gets the queues next reads some messages again.
    let _ = store.persist_now(&names);
    for queue in &names {
        store.forget(queue);
    }
}
