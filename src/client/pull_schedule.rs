//! [`PullSchedule`]: a pull consumer whose queues are divided among the members of its group, and a
//! callback that is run for each of them again and again (Java's `MQPullConsumerScheduleService`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::config::{ClientOptions, PullOptions};
use super::error::ClientError;
use super::process_queue::ProcessQueue;
use super::pull_consumer::PullConsumer;
use super::validate::check_topic;
use crate::common::scheduler::Scheduler;
use crate::common::sync::{catch_panic, lock};
use crate::common::thread_pool::ThreadPool;
use crate::remoting::protocol::bodies::MessageQueue;

/// Queues that may wait for a thread.
const QUEUE_LIMIT: usize = 100_000;
/// Pause after a callback that panicked.
const AFTER_PANIC: Duration = Duration::from_secs(1);
/// How long a stop waits for callbacks that run.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Pulls one queue, and says after what pause it is to be called for it again.
type PullTask = dyn Fn(&PullConsumer, &MessageQueue) -> Duration + Send + Sync;

/// Runs callbacks for the queues of this member of a group. Shut down when dropped.
///
/// ```
/// use rocketmq::client::{ClientOptions, PullSchedule};
/// use std::time::Duration;
/// # let site = rocketmq::Standalone::temporary()?;
/// # site.create_topic("Orders", 4)?;
/// # let names = site.name_servers();
///
/// let options = ClientOptions::default().name_servers(names);
/// let schedule = PullSchedule::start("export", options)?;
/// schedule.register("Orders", |consumer, queue| {
///     let offset = consumer.committed(queue).ok().flatten().unwrap_or(0);
///     if let Ok(result) = consumer.pull(queue, "*", offset, 32, None) {
///         println!("{queue:?}: {} messages", result.messages.len());
///         let _ = consumer.commit(queue, result.next_offset);
///     }
///     Duration::from_millis(200)
/// })?;
/// schedule.shutdown();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PullSchedule {
    works: Arc<Works>,
}

impl std::fmt::Debug for PullSchedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullSchedule").field("consumer", &self.works.consumer).finish()
    }
}

struct Works {
    consumer: PullConsumer,
    tasks: Mutex<BTreeMap<String, Arc<PullTask>>>,
    scheduler: Arc<Scheduler>,
    pool: Arc<ThreadPool>,
}

impl PullOptions {
    /// Starts a schedule, without a topic yet.
    pub fn start_schedule(self) -> Result<PullSchedule, ClientError> {
        PullSchedule::assemble(self)
    }
}

impl PullSchedule {
    /// Joins a group, without a topic yet; [`PullOptions::start_schedule`] with no more than this.
    pub fn start(group: &str, options: ClientOptions) -> Result<Self, ClientError> {
        PullOptions::new(group).client(options).start_schedule()
    }

    fn assemble(options: PullOptions) -> Result<Self, ClientError> {
        let threads = options.schedule_threads;
        let consumer = options.start()?;
        let scheduler = Scheduler::new("PullSchedule")
            .map_err(|error| ClientError::Io(format!("no thread: {error}")))?;
        let pool = ThreadPool::new("PullSched_", threads, QUEUE_LIMIT);
        let works = Arc::new(Works { consumer, tasks: Mutex::default(), scheduler, pool });
        let weak = Arc::downgrade(&works);
        let taken = move |queue| {
            if let Some(works) = weak.upgrade() {
                works.again(queue, Duration::ZERO);
            }
        };
        *lock(&works.consumer.role.taken) = Some(Box::new(taken));
        Ok(Self { works })
    }

    /// Runs `task` for each queue of `topic` that this member has, one call at a time for a queue,
    /// each after the pause that the last one returned.
    pub fn register(
        &self,
        topic: &str,
        task: impl Fn(&PullConsumer, &MessageQueue) -> Duration + Send + Sync + 'static,
    ) -> Result<(), ClientError> {
        let consumer = &self.works.consumer;
        let wire = consumer.namespace().wrap(topic).into_owned();
        check_topic(&wire)?;
        lock(&self.works.tasks).insert(wire, Arc::new(task));
        consumer.join(topic)
    }

    /// Ends [`register`](Self::register): the topic's queues go to other members. A call that runs
    /// comes to its end.
    ///
    /// ```
    /// use rocketmq::client::PullOptions;
    /// use std::time::Duration;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    ///
    /// let options = PullOptions::new("export").name_servers(names).schedule_threads(4);
    /// let schedule = options.start_schedule()?;
    /// schedule.register("Orders", |_, queue| {
    ///     println!("{queue:?}");
    ///     Duration::from_secs(1)
    /// })?;
    /// schedule.unregister("Orders");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unregister(&self, topic: &str) {
        let consumer = &self.works.consumer;
        consumer.leave(topic);
        lock(&self.works.tasks).remove(&*consumer.namespace().wrap(topic));
    }

    /// The consumer that callbacks pull with.
    pub fn consumer(&self) -> &PullConsumer {
        &self.works.consumer
    }

    /// Waits for callbacks that run (5 s at most), leaves the group and stops all threads.
    pub fn shutdown(&self) {
        self.works.scheduler.stop();
        self.works.consumer.role.queues.drop_all();
        self.works.pool.stop(STOP_LIMIT);
        self.works.consumer.shutdown();
    }
}

impl Drop for PullSchedule {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Works {
    /// Calls the task of a queue after `pause`, unless it was given up.
    fn again(self: &Arc<Self>, queue: Arc<ProcessQueue>, pause: Duration) {
        let weak = Arc::downgrade(self);
        self.scheduler.once("pull", pause, move || {
            let Some(works) = weak.upgrade() else { return };
            let task = Box::new(move || Self::run(&weak, queue));
            if works.pool.submit(task).is_err() {
                log::warn!("a queue is not pulled: the schedule stops");
            }
        });
    }

    fn run(weak: &Weak<Self>, queue: Arc<ProcessQueue>) {
        let Some(works) = weak.upgrade() else { return };
        let task = lock(&works.tasks).get(&queue.queue.topic).cloned();
        if let Some(task) = task.filter(|_| !queue.is_dropped()) {
            let shown = works.consumer.namespace().unwrap_queue(queue.queue.clone());
            let pause = catch_panic("a pull task", || task(&works.consumer, &shown));
            works.again(queue, pause.unwrap_or(AFTER_PANIC));
        }
    }
}
