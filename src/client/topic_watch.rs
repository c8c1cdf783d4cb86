//! [`TopicWatch`]: looks at intervals whether the queues of topics changed, for applications that
//! assign queues to themselves. (Who gets which queue of a group is `rebalance`'s business.)

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::error::ClientError;
use super::instance::Instance;
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::{catch_panic, lock};
use crate::remoting::protocol::bodies::MessageQueue;

/// How long a stop waits for a listener that runs.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Told of a topic and its queues.
pub(crate) type TopicListener = dyn Fn(&str, &[MessageQueue]) + Send + Sync;

/// A topic on the wire, and who is told of it.
struct Watched {
    listener: Arc<TopicListener>,
    /// As it was told last; `None` when it could not be found out yet.
    queues: Option<Vec<MessageQueue>>,
}

type Table = Mutex<BTreeMap<String, Watched>>;

/// The topics that are watched. Its thread, `QueueMonitor`, starts with the first one.
pub(crate) struct TopicWatch {
    interval: Duration,
    topics: Arc<Table>,
    thread: Mutex<Option<ServiceThread>>,
}

impl TopicWatch {
    pub fn new(interval: Duration) -> Self {
        Self { interval, topics: Arc::default(), thread: Mutex::default() }
    }

    /// Watches a topic from its present queues on; replaces who was told of it before.
    pub fn add(
        &self,
        instance: &Arc<Instance>,
        topic: &str,
        listener: Arc<TopicListener>,
    ) -> Result<(), ClientError> {
        let queues = fetch(instance, topic).ok();
        lock(&self.topics).insert(topic.to_owned(), Watched { listener, queues });
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            let (weak, interval) = (Arc::downgrade(instance), self.interval);
            let topics = Arc::clone(&self.topics);
            let body = move |signal: &Signal| {
                while signal.wait(interval) {
                    look(&weak, &topics, signal);
                }
            };
            let spawned = ServiceThread::spawn("QueueMonitor", Arc::default(), body);
            *thread =
                Some(spawned.map_err(|error| ClientError::Io(format!("no thread: {error}")))?);
        }
        Ok(())
    }

    /// Watches nothing any more; waits for a listener that runs, unless it is the caller.
    pub fn stop(&self) {
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            thread.stop(STOP_LIMIT);
        }
        lock(&self.topics).clear();
    }
}

fn fetch(instance: &Arc<Instance>, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
    instance.update_route(topic)?;
    let mut queues = instance.subscribe_queues(topic)?;
    queues.sort();
    Ok(queues)
}

/// One round. A topic that no name server tells of is left as it is: one that has just started knows
/// nothing, and that is no news.
fn look(instance: &Weak<Instance>, topics: &Table, signal: &Signal) {
    let Some(instance) = instance.upgrade() else { return };
    let names: Vec<_> = lock(topics).keys().cloned().collect();
    for topic in names {
        if signal.stopped() {
            return;
        }
        let queues = match fetch(&instance, &topic) {
            Ok(queues) => queues,
            Err(error) => {
                log::warn!("the queues of {topic} are not known now: {error}");
                continue;
            }
        };
        let listener = {
            let mut topics = lock(topics);
            let Some(watched) = topics.get_mut(&topic) else { continue };
            if watched.queues.as_ref() == Some(&queues) {
                continue;
            }
            watched.queues = Some(queues.clone());
            Arc::clone(&watched.listener)
        };
        let namespace = &instance.options.namespace;
        let (shown, queues) = (namespace.unwrap(&topic), namespace.unwrap_queues(queues));
        catch_panic("a listener of topics", || listener(&shown, &queues));
    }
}
