//! One pull: the request, and what its answer says. Who pulls when is the consumers' business.

use std::sync::Arc;
use std::time::Duration;

use super::config::ClientOptions;
use super::error::ClientError;
use super::hooks::Hooks;
use super::instance::{Instance, broker_error};
use super::message::{Origin, ReceivedMessage};
use super::namespace::Namespace;
use super::process_queue::ProcessQueue;
use super::subscription::keep_wanted;
use crate::common::sys_flag::{PULL_COMMIT_OFFSET, PULL_LITE, PULL_SUBSCRIPTION, PULL_SUSPEND};
use crate::remoting::Command;
use crate::remoting::protocol::headers::{PullMessageRequestHeader, PullMessageResponseHeader};
use crate::remoting::protocol::heartbeat::SubscriptionData;
use crate::remoting::protocol::{request_code, response_code};

/// What a broker answered to a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    /// Messages.
    Found,
    /// Nothing at this offset yet.
    NoNewMessage,
    /// Messages, but none that is wanted.
    NoMatch,
    /// The queue does not have this offset; the next one is right.
    OffsetIllegal,
}

/// The answer to a pull.
///
/// ```
/// use rocketmq::client::{ClientOptions, PullConsumer, PullResult, PullStatus};
/// # let site = rocketmq::Standalone::temporary()?;
/// # site.create_topic("Orders", 2)?;
/// # let names = site.name_servers();
///
/// let consumer = PullConsumer::start("export", ClientOptions::default().name_servers(names))?;
/// let queue = &consumer.queues("Orders")?[0];
/// let result: PullResult = consumer.pull(queue, "*", 0, 32, None)?;
/// match result.status {
///     PullStatus::Found | PullStatus::NoMatch => println!("{} messages", result.messages.len()),
///     PullStatus::NoNewMessage => println!("this is the end"),
///     PullStatus::OffsetIllegal => println!("not in {}..{}", result.min_offset, result.max_offset),
/// }
/// println!("to be pulled next: {}", result.next_offset);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct PullResult {
    /// What was found.
    pub status: PullStatus,
    /// Offset to pull next.
    pub next_offset: i64,
    /// First offset of the queue.
    pub min_offset: i64,
    /// Next offset to be written.
    pub max_offset: i64,
    /// Messages; may be empty although some were found, if their tags only look alike.
    pub messages: Vec<ReceivedMessage>,
}

/// A pull of one queue.
pub(crate) struct Pull<'a> {
    pub group: &'a str,
    pub queue: &'a Arc<ProcessQueue>,
    pub offset: i64,
    pub max_messages: i32,
    /// Offset to commit at the same time.
    pub commit: Option<i64>,
    /// How long the broker may hold the request; `None`: not at all.
    pub suspend: Option<Duration>,
    pub timeout: Duration,
    /// Send the expression along, rather than rely on the heartbeat's.
    pub with_expression: bool,
    /// Marks a lite pull consumer.
    pub lite: bool,
    pub subscription: &'a Arc<SubscriptionData>,
    pub retry_topic: Option<Arc<str>>,
    /// Namespace and hooks.
    pub client: &'a ClientOptions,
}

impl Pull<'_> {
    fn request(&self, slave: bool) -> Command {
        let queue = &self.queue.queue;
        let commit = self.commit.filter(|_| !slave);
        let flag = |set: bool, bit: i32| if set { bit } else { 0 };
        let is_tag = self.subscription.expression_type.as_deref().is_none_or(|kind| kind == "TAG");
        let header = PullMessageRequestHeader {
            consumer_group: self.group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            queue_offset: self.offset,
            max_msg_nums: self.max_messages,
            sys_flag: flag(commit.is_some(), PULL_COMMIT_OFFSET)
                | flag(self.suspend.is_some(), PULL_SUSPEND)
                | flag(self.with_expression, PULL_SUBSCRIPTION)
                | flag(self.lite, PULL_LITE),
            commit_offset: commit.unwrap_or(0),
            suspend_timeout_millis: self.suspend.map_or(0, |limit| limit.as_millis() as i64),
            subscription: {
                let text = self.subscription.sub_string.clone();
                text.filter(|_| self.with_expression)
            },
            sub_version: {
                let own = !self.with_expression || !is_tag;
                if own { self.subscription.sub_version } else { 0 }
            },
            expression_type: self.subscription.expression_type.clone(),
            broker_name: Some(queue.broker_name.clone()),
        };
        Command::request(request_code::PULL_MESSAGE).with_header(&header)
    }

    fn reading(&self, addr: &str) -> Reading {
        Reading {
            addr: addr.to_owned(),
            queue: Arc::clone(self.queue),
            subscription: Arc::clone(self.subscription),
            retry_topic: self.retry_topic.clone(),
            group: if self.client.hooks.is_empty() { String::new() } else { self.group.into() },
            namespace: self.client.namespace.clone(),
            hooks: self.client.hooks.clone(),
        }
    }

    /// Pulls and waits.
    pub fn call(&self, instance: &Arc<Instance>) -> Result<PullResult, ClientError> {
        let (addr, slave) = self.reader(instance)?;
        let response = instance.call(&addr, self.request(slave), self.timeout)?;
        self.reading(&addr).read(response)
    }

    /// Pulls; `done` runs exactly once, unless this fails: on a callback thread, or, if it is `short`
    /// and [nothing of the application](Self::may_be_short) runs there, on the thread that reads.
    pub fn call_async(
        &self,
        instance: &Arc<Instance>,
        short: bool,
        done: impl FnOnce(Result<PullResult, ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        let (addr, slave) = self.reader(instance)?;
        let reading = self.reading(&addr);
        let unreachable = Arc::clone(&instance.unreachable);
        unreachable.check(&addr)?;
        let done = move |result: Result<Command, ClientError>| {
            done(result.and_then(|response| reading.read(response)));
        };
        let request = self.request(slave);
        let issued = if short && self.may_be_short() {
            instance.call_async_short(&addr, request, self.timeout, done)
        } else {
            instance.call_async(&addr, request, self.timeout, done)
        };
        unreachable.note(&addr, &issued);
        issued
    }

    /// Neither hooks nor an interceptor see the answer.
    fn may_be_short(&self) -> bool {
        self.client.hooks.is_empty() && self.client.interceptor.0.is_none()
    }

    /// Whether the next pull of a queue waits for nothing: its broker is known and connected.
    pub fn is_ready(instance: &Instance, client: &ClientOptions, queue: &ProcessQueue) -> bool {
        let wanted = wanted_broker(client, queue);
        let known = instance.known_reader(&queue.queue, wanted);
        known.is_some_and(|(addr, _)| instance.remoting.is_connected(&addr))
    }

    fn reader(&self, instance: &Arc<Instance>) -> Result<(String, bool), ClientError> {
        let wanted = wanted_broker(self.client, self.queue);
        instance.reader(&self.queue.queue, wanted)
    }
}

/// The id of the broker to read a queue from: the application's choice, else what was suggested last.
fn wanted_broker(client: &ClientOptions, queue: &ProcessQueue) -> i64 {
    let suggested = || queue.suggested_broker.load(std::sync::atomic::Ordering::Relaxed);
    client.read_from_broker.unwrap_or_else(suggested)
}

/// What is needed to read the answer of a pull.
struct Reading {
    addr: String,
    queue: Arc<ProcessQueue>,
    subscription: Arc<SubscriptionData>,
    retry_topic: Option<Arc<str>>,
    /// For the hooks; empty without any.
    group: String,
    namespace: Namespace,
    hooks: Hooks,
}

impl Reading {
    fn read(&self, response: Command) -> Result<PullResult, ClientError> {
        let status = match response.code {
            response_code::SUCCESS => PullStatus::Found,
            response_code::PULL_NOT_FOUND => PullStatus::NoNewMessage,
            response_code::PULL_RETRY_IMMEDIATELY => PullStatus::NoMatch,
            response_code::PULL_OFFSET_MOVED => PullStatus::OffsetIllegal,
            _ => return Err(broker_error(&self.addr, response)),
        };
        let header: PullMessageResponseHeader = response.header().map_err(|error| {
            ClientError::Decode { addr: self.addr.clone(), reason: error.to_string() }
        })?;
        let suggested = &self.queue.suggested_broker;
        suggested.store(header.suggest_which_broker_id, std::sync::atomic::Ordering::Relaxed);
        let mut messages = Vec::new();
        if status == PullStatus::Found {
            let origin = Origin {
                broker_name: Arc::clone(&self.queue.broker_name),
                topic: Arc::clone(&self.queue.topic),
                shown_topic: self.namespace.unwrap_shared(&self.queue.topic),
                namespace: self.namespace.clone(),
                retry_topic: self.retry_topic.clone(),
                min_offset: header.min_offset,
                max_offset: header.max_offset,
            };
            messages = ReceivedMessage::read_all(response.body.into_bytes(), &origin);
            keep_wanted(&self.subscription, &mut messages);
            self.hooks.filter(&self.group, &mut messages);
        }
        Ok(PullResult {
            status,
            next_offset: header.next_begin_offset,
            min_offset: header.min_offset,
            max_offset: header.max_offset,
            messages,
        })
    }
}
