//! The master's side: answers its slaves when there is something to tell.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::news::News;
use super::wire::{Asked, DelayPart, FilterPart, TimerPart, Told};
use crate::broker::{Answer, Broker};
use crate::common::json::{FromJson, Json, Style, ToJson};
use crate::common::service_thread::Signal;
use crate::common::sync::lock;
use crate::remoting::connection::ReplyTo;
use crate::remoting::protocol::bodies::TopicConfigTable;
use crate::remoting::protocol::response_code as code;
use crate::remoting::{Command, Connection};
use crate::store::timer::{Settled, TimerService};

/// Requests of slaves that wait at a time; the next one is answered at once.
const MAX_HELD: usize = 64;
/// Longest time that one waits, whatever it asks for.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Slaves that wait for news.
#[derive(Debug)]
pub struct Feed {
    /// Which start of this broker the numbers in the answers belong to.
    session: i64,
    held: Mutex<Vec<Held>>,
    news: Arc<News>,
    /// Held while a topic goes, and its queues with it.
    topic_goes: Mutex<()>,
}

/// A slave that has heard everything.
#[derive(Debug)]
struct Held {
    asked: Asked,
    reply: ReplyTo,
    deadline: Instant,
}

impl Feed {
    /// Nobody waits. `session` differs from start to start.
    pub fn new(session: i64, news: Arc<News>) -> Self {
        Self { session, held: Mutex::default(), news, topic_goes: Mutex::default() }
    }

    /// Runs `remove`, by which a topic and its queues go: no slave is told in between.
    pub fn while_topic_goes<R>(&self, remove: impl FnOnce() -> R) -> R {
        let _nobody_is_told = lock(&self.topic_goes);
        remove()
    }

    /// Slaves that follow the tables at the moment.
    pub fn waiting(&self) -> usize {
        lock(&self.held).len()
    }
}

/// SYNCHRONIZE_SLAVE: takes over what the slave's consumers committed there, and tells it what it
/// does not know, as soon as there is any.
pub fn serve(broker: &Arc<Broker>, connection: &Arc<Connection>, request: Command) -> Answer {
    let refuse = |why: String| Ok(Some(Command::failure(code::SYSTEM_ERROR, why)));
    let own_name = broker.config.get().broker_name.clone();
    if broker.store.config().is_slave() {
        return refuse(format!("this broker of {own_name} is a slave itself"));
    }
    let name = request.fields.get("brokerName").unwrap_or_default();
    if name != own_name {
        return refuse(format!("this is the master of {own_name}, not of {name:.100}"));
    }
    let mut asked = Asked::from_json(&Json::parse(request.body.as_bytes())?)?;
    broker.consumer_offsets.keep_stamps();
    if let Some(page) = asked.push.take() {
        broker.consumer_offsets.merge(&page, true, |topic, queue, offset| {
            offset <= broker.store.max_offset(topic, queue)
        });
    }
    let feed = &broker.feed;
    if asked.session != feed.session {
        let Asked { topics, groups, wait_ms, .. } = asked;
        asked = Asked { topics, groups, wait_ms, ..Asked::default() };
        return Ok(Some(tell(broker, &asked)));
    }
    let wait = Duration::from_millis(u64::try_from(asked.wait_ms).unwrap_or(0)).min(MAX_WAIT);
    if wait.is_zero() || has_news(broker, &asked) {
        return Ok(Some(tell(broker, &asked)));
    }
    let mut held = lock(&feed.held);
    if held.len() >= MAX_HELD {
        drop(held);
        return Ok(Some(tell(broker, &asked)));
    }
    let reply = ReplyTo::new(connection, &request);
    held.push(Held { asked, reply, deadline: Instant::now() + wait });
    drop(held);
    feed.news.signal().wakeup();
    Ok(None)
}

/// The thread `SlaveFeed`: answers those who wait, until stopped.
pub fn run(broker: &Arc<Broker>, signal: &Signal) {
    let feed = &broker.feed;
    loop {
        feed.news.expect();
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        let mut due = Vec::new();
        lock(&feed.held).retain_mut(|held| {
            let waits = !signal.stopped()
                && now < held.deadline
                && !held.reply.connection().is_closed()
                && !has_news(broker, &held.asked);
            if waits {
                next = Some(next.map_or(held.deadline, |next| next.min(held.deadline)));
            } else {
                due.push((std::mem::take(&mut held.asked), held.reply.clone()));
            }
            waits
        });
        for (asked, reply) in due {
            reply.send(tell(broker, &asked));
        }
        let goes_on = match next {
            Some(next) => signal.wait(next.saturating_duration_since(Instant::now())),
            None => signal.wait_for_wakeup(),
        };
        if !goes_on && feed.waiting() == 0 {
            return;
        }
    }
}

fn has_news(broker: &Broker, asked: &Asked) -> bool {
    broker.consumer_offsets.sequence() > asked.offsets
        || broker.topics.version() != asked.topics
        || broker.subscription_groups.version() != asked.groups
        || broker.delay.changes() != asked.delay
        || broker.consumer_filters.changes() != asked.filters
        || broker.timer.as_ref().is_some_and(|timer| timer.settled().changes as i64 != asked.timer)
}

fn timer_part(timer: &TimerService) -> TimerPart {
    let Settled { queue_offset, done_ms, changes } = timer.settled();
    TimerPart { queue_offset, done_ms, number: changes as i64, metrics: timer.metrics().encode() }
}

/// The topics, if they are others than the slave knows, and those that have queues but no place among
/// them.
fn topics(broker: &Broker, asked: &Asked) -> (Option<TopicConfigTable>, Vec<String>) {
    let _all_of_a_topic_is_here_or_gone = lock(&broker.feed.topic_goes);
    let table = broker.topics.snapshot();
    if table.data_version == asked.topics {
        return (None, Vec::new());
    }
    let with_queues = broker.store.topics().into_keys();
    let unlisted = with_queues.filter(|topic| !table.topic_config_table.contains_key(topic));
    let unlisted = unlisted.collect();
    (Some(table), unlisted)
}

/// What a slave does not know.
fn tell(broker: &Broker, asked: &Asked) -> Command {
    let delay = broker.delay.changes();
    let filters = broker.consumer_filters.changes();
    let (topics, unlisted) = topics(broker, asked);
    let mut told = Told {
        session: broker.feed.session,
        topics,
        unlisted,
        groups: Some(broker.subscription_groups.snapshot())
            .filter(|table| table.data_version != asked.groups),
        offsets: broker.consumer_offsets.changed_since(asked.offsets),
        delay: (delay != asked.delay)
            .then(|| DelayPart { number: delay, table: broker.delay.offsets() }),
        filters: (filters != asked.filters)
            .then(|| FilterPart { number: filters, text: broker.consumer_filters.encode() }),
        timer: broker.timer.as_ref().map(|timer| timer_part(timer)),
        log_end: 0,
    };
    // Last: what the offsets above came about by is in the log up to there, or in a write buffer that
    // will be.
    told.log_end = broker.store.commit_log_wrote_offset();
    Command::response(code::SUCCESS).with_body(told.to_json().write(Style::Fastjson))
}
