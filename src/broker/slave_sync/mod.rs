//! How a slave gets its master's tables (Java's SlaveSynchronize). Messages come by replication
//! ([`store::ha`](crate::store::ha)); topics, groups, offsets and filters come this way.
//!
//! | master | how | when |
//! |---|---|---|
//! | ours | one request that waits at the master until there is news ([`wire`], [`feed`]) | at once, at most ten times a second |
//! | Java's | its four requests ([`java`]) | every ten seconds |
//!
//! Which one it is shows in the answer to the first request: Java does not know it. What is taken
//! over:
//!
//! | table | from ours | from Java's |
//! |---|---|---|
//! | topics, groups | replaces the own one if the version differs; the queues of topics that are gone are removed | replaces it |
//! | consumer offsets | of each queue the offset that was committed last counts, on both sides ([`offset_exchange`]) | replace the own ones |
//! | delay offsets, the timer's position, the transaction check's offsets | replace the own ones, as soon as the own log has everything by which they came about | delay offsets, and the timer's position of 5.x, likewise |
//! | consumer filters | those that are unknown here | never |
//!
//! Nothing is taken over from a master whose log is not the own one's continuation: one that was started
//! empty by mistake must not empty its slave.
//!
//! A slave uses none of delay offsets, timer and transaction check itself: they are for its next
//! start, which may be as a master. An offset that is ahead of the log would lose messages then.
//!
//! Reading order: [`offset_exchange`], [`wire`], [`feed`], this file, [`java`], [`news`].
//!
//! [`offset_exchange`]: super::offset_exchange

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::offset_exchange::OffsetPage;
use super::{Broker, ha_info};
use crate::common::clock::now_ms;
use crate::common::json::{FromJson, Json, Style, ToJson};
use crate::common::service_thread::Signal;
use crate::common::sync::lock;
use crate::remoting::protocol::bodies::TopicConfigTable;
use crate::remoting::protocol::{request_code, response_code as code};
use crate::remoting::{Command, RemotingError};
use crate::store::ha::FollowState;
use crate::store::timer::{Settled, TimerService};

pub mod feed;
pub mod java;
pub mod news;
pub mod wire;

use wire::{Asked, DelayPart, TimerPart, Told};

/// How long a request may wait at the master for news.
const HOLD: Duration = Duration::from_secs(2);
/// Limit of a request that does not wait, and of what one that waits may take besides.
const LIMIT: Duration = Duration::from_secs(2);
/// Time between two requests at least: changes gather meanwhile.
const PACE: Duration = Duration::from_millis(100);
/// Pause while the two logs are being compared, or what waits for the log may be due.
const SOON: Duration = Duration::from_millis(100);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// While no master is known, or the known one cannot be reached, the name servers are asked so often
/// where it is.
const ASK_NAME_SERVERS: Duration = Duration::from_secs(2);
/// Another problem is worth a line so often.
const WARN_PERIOD: Duration = Duration::from_secs(10);
/// Period behind a Java master.
const JAVA_PERIOD: Duration = Duration::from_secs(10);
/// Rounds behind a Java master after which it is asked again whether it is one of ours by now.
const JAVA_ROUNDS: u32 = 30;
/// The group whose offsets tell how far transactions were checked.
const TRANSACTION_GROUP_KEY: &str = "@CID_RMQ_SYS_TRANS";

/// How the tables stand, for administrators.
#[derive(Clone, Debug, Default)]
pub struct SyncStatus {
    /// The master's address; empty: unknown.
    pub master: String,
    /// Whether news come at once: the master is ours.
    pub at_once: bool,
    /// When the tables were last known to be the master's, ms; 0: never.
    pub synchronized_ms: i64,
    /// Why they are not, if the last attempt failed.
    pub problem: Option<String>,
}

/// Topics that are gone at the master. Their queues go too, but no others: the log is often ahead of the
/// table, and has messages of topics that the master made since it told, also of one that was gone when
/// it told. So only what the log had before the master was asked is surely of a topic that is gone.
///
/// What a master does not know need not be gone: as a slave it learned of topics after the messages, and
/// may have become the master in between. One of ours says so ([`Told::unlisted`]). A Java slave asks
/// every ten seconds (every minute since 5.x), so of a Java master only a topic that it has told before is
/// gone.
#[derive(Default)]
struct GoneTopics {
    /// Name to the end of the master's log when it was told that the topic is gone.
    names: BTreeMap<String, i64>,
    /// What the Java master told the last time.
    told: BTreeSet<String>,
}

impl GoneTopics {
    /// Takes over a table of topics. Those of which the master has messages all the same are not gone.
    fn take(&mut self, broker: &Broker, table: TopicConfigTable, unlisted: &[String]) {
        let mut gone = broker.topics.replace_by(table);
        gone.retain(|topic| !unlisted.contains(topic));
        self.names.extend(gone.into_iter().map(|topic| (topic, i64::MAX)));
    }

    /// Takes over the table of a Java master.
    fn take_from_java(&mut self, broker: &Broker, table: TopicConfigTable) {
        let told = table.topic_config_table.keys().cloned().collect();
        let before = std::mem::replace(&mut self.told, told);
        let missing = broker.topics.replace_by(table).into_iter();
        let gone = missing.filter(|topic| before.contains(topic));
        self.names.extend(gone.map(|topic| (topic, i64::MAX)));
    }

    /// Removes what can go. The own log ended at `own_end` before the master told its topics, the
    /// master's at `log_end` after it.
    fn remove_queues(&mut self, broker: &Broker, own_end: i64, log_end: i64) {
        self.names.retain(|topic, _| !broker.topics.contains(topic));
        if self.names.is_empty() {
            return;
        }
        let store = &broker.store;
        let dispatched = store.commit_log_max_offset() - store.dispatch_behind_bytes();
        let may_go = |topic: &str| self.names.contains_key(topic);
        super::admin::topics::clean_queues(broker, may_go, own_end);
        self.names.values_mut().for_each(|end| *end = log_end.min(*end));
        // Of the others more may come.
        self.names.retain(|_, end| *end > own_end.min(dispatched));
    }
}

/// The thread `SlaveSync`: follows the master until stopped.
pub fn run(broker: &Arc<Broker>, signal: &Signal) {
    let replication = &broker.replication;
    let mut link = Link::to(String::new());
    let mut asked_at = Instant::now();
    loop {
        replication.news.expect();
        let master = replication.master_addr(broker).unwrap_or_default();
        if master != link.master {
            link = Link::to(master);
        }
        let wait = if link.master.is_empty() { ASK_NAME_SERVERS } else { link.step(broker) };
        replication.set_sync_status(link.status());
        let has_master = !link.master.is_empty() && link.problem.is_none();
        if !has_master && asked_at.elapsed() >= ASK_NAME_SERVERS {
            asked_at = Instant::now();
            broker.registration.trigger(true);
        }
        if !signal.wait(wait) {
            return;
        }
    }
}

/// Which kind of master it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unknown,
    Ours,
    Java,
}

type Outcome = Result<Command, RemotingError>;

/// What is known of one master at one address.
struct Link {
    master: String,
    kind: Kind,
    /// What it was last told to have.
    known: Asked,
    /// All of its offsets have come; ours that are younger can go.
    complete: bool,
    /// Number of the last own change that it has heard of.
    pushed: i64,
    /// A request waits at the master; its outcome comes in here.
    outstanding: bool,
    inbox: Arc<Mutex<Option<Outcome>>>,
    asked_at: Option<Instant>,
    /// End of the own log then.
    own_end: i64,
    gone: GoneTopics,
    /// Not before then.
    retry_at: Option<Instant>,
    java_rounds: u32,
    /// What waits for the log, oldest first.
    ready: Option<Waiting>,
    next: Option<Waiting>,
    /// Which start of the master that is of.
    waiting_of: i64,
    synchronized_ms: i64,
    problem: Option<String>,
    warned_at: Option<Instant>,
}

/// What must not be ahead of the log.
#[derive(Default)]
struct Waiting {
    log_end: i64,
    delay: Option<DelayPart>,
    timer: Option<TimerPart>,
    transactions: BTreeMap<String, BTreeMap<i32, Vec<i64>>>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.delay.is_none() && self.timer.is_none() && self.transactions.is_empty()
    }
}

impl Link {
    fn to(master: String) -> Self {
        Self {
            master,
            kind: Kind::Unknown,
            known: Asked::default(),
            complete: false,
            pushed: 0,
            outstanding: false,
            inbox: Arc::default(),
            asked_at: None,
            own_end: 0,
            gone: GoneTopics::default(),
            retry_at: None,
            java_rounds: 0,
            ready: None,
            next: None,
            waiting_of: 0,
            synchronized_ms: 0,
            problem: None,
            warned_at: None,
        }
    }

    fn status(&self) -> SyncStatus {
        SyncStatus {
            master: self.master.clone(),
            at_once: self.kind == Kind::Ours,
            synchronized_ms: self.synchronized_ms,
            problem: self.problem.clone(),
        }
    }

    /// Does what can be done now. Returns how long nothing is to be done, unless something happens.
    fn step(&mut self, broker: &Arc<Broker>) -> Duration {
        let arrived = lock(&self.inbox).take();
        if let Some(outcome) = arrived {
            self.outstanding = false;
            let understood = outcome
                .map_err(|error| error.to_string())
                .and_then(|answer| self.receive(broker, answer));
            if let Err(problem) = understood {
                self.failed(problem);
            }
        }
        self.apply_waiting(broker);
        let now = Instant::now();
        if let Some(left) = self.retry_at.and_then(|at| at.checked_duration_since(now)) {
            return if self.ready.is_some() { left.min(SOON) } else { left };
        }
        match log_is_followed(broker) {
            Followed::Yes => {}
            Followed::Soon => return SOON,
            Followed::No(problem) => {
                self.failed(problem);
                return RETRY;
            }
        }
        if self.kind == Kind::Java {
            return self.java_round(broker);
        }
        if self.kind == Kind::Ours
            && self.complete
            && let Err(problem) = self.push(broker)
        {
            self.failed(problem);
            return RETRY;
        }
        if self.outstanding {
            return HOLD + LIMIT;
        }
        let next = self.asked_at.map_or(now, |at| at + PACE);
        if let Some(left) = next.checked_duration_since(now).filter(|left| !left.is_zero()) {
            return left;
        }
        match self.ask(broker) {
            Ok(()) => HOLD + LIMIT,
            Err(problem) => {
                self.failed(problem);
                RETRY
            }
        }
    }

    /// Sends the request that waits for news. Its outcome wakes this thread.
    fn ask(&mut self, broker: &Arc<Broker>) -> Result<(), String> {
        let asked = Asked {
            topics: broker.topics.version(),
            groups: broker.subscription_groups.version(),
            wait_ms: HOLD.as_millis() as i64,
            ..self.known.clone()
        };
        self.asked_at = Some(Instant::now());
        self.own_end = broker.store.commit_log_max_offset();
        // An answer that comes after the address has changed finds an inbox that nobody looks into.
        self.inbox = Arc::default();
        let (inbox, signal) = (Arc::clone(&self.inbox), broker.replication.news.signal());
        let client = broker.registration.client();
        let request = request(broker, &asked);
        let sent = client.call_async(&self.master, request, HOLD + LIMIT, move |outcome| {
            *lock(&inbox) = Some(outcome);
            signal.wakeup();
        });
        self.outstanding = sent.is_ok();
        sent.map_err(|error| error.to_string())
    }

    /// Sends the master what consumers committed here.
    fn push(&mut self, broker: &Broker) -> Result<(), String> {
        loop {
            let sequence = broker.consumer_offsets.sequence();
            if sequence == self.pushed {
                return Ok(());
            }
            let (page, sent) = broker.consumer_offsets.page_since(0);
            if sent.is_empty() {
                self.pushed = sequence;
                return Ok(());
            }
            let complete = page.complete;
            let asked = Asked {
                push: Some(page),
                session: self.known.session,
                offsets: i64::MAX,
                topics: broker.topics.version(),
                groups: broker.subscription_groups.version(),
                delay: self.known.delay,
                filters: self.known.filters,
                timer: self.known.timer,
                wait_ms: 0,
            };
            let client = broker.registration.client();
            let answer = client.call(&self.master, request(broker, &asked), LIMIT);
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.code != code::SUCCESS {
                return Err(refused(&answer));
            }
            broker.consumer_offsets.settle(&sent);
            if complete {
                self.pushed = sequence;
                return Ok(());
            }
        }
    }

    fn receive(&mut self, broker: &Broker, answer: Command) -> Result<(), String> {
        match answer.code {
            code::SUCCESS => {}
            code::REQUEST_CODE_NOT_SUPPORTED => {
                if self.kind != Kind::Java {
                    log::info!(
                        "the tables of the master {} are taken over every {} s",
                        self.master,
                        JAVA_PERIOD.as_secs()
                    );
                }
                (self.kind, self.java_rounds, self.retry_at) = (Kind::Java, 0, None);
                return Ok(());
            }
            _ => return Err(refused(&answer)),
        }
        let told = Json::parse(answer.body.as_bytes()).and_then(|json| Told::from_json(&json));
        let told = told.map_err(|error| format!("its answer is not readable: {error}"))?;
        if told.log_end < self.own_end {
            return Err(format!(
                "its log ends at {}, before this one's {}: it is another log",
                told.log_end, self.own_end
            ));
        }
        if self.kind != Kind::Ours {
            log::info!("the tables of the master {} are followed", self.master);
        }
        self.kind = Kind::Ours;
        self.take(broker, told);
        self.synchronized_ms = now_ms();
        self.problem = None;
        Ok(())
    }

    fn take(&mut self, broker: &Broker, told: Told) {
        let offsets = &broker.consumer_offsets;
        offsets.keep_stamps();
        if told.session != self.known.session {
            // A master that has just been started: whatever is younger here, it must hear of.
            self.known = Asked { session: told.session, ..Asked::default() };
            (self.complete, self.pushed) = (false, 0);
            offsets.renumber();
        }
        if let Some(table) = told.topics {
            self.gone.take(broker, table, &told.unlisted);
        }
        self.gone.remove_queues(broker, self.own_end, told.log_end);
        if let Some(table) = told.groups {
            broker.subscription_groups.replace_by(table);
        }
        if let Some(filters) = told.filters {
            self.known.filters = filters.number;
            let newest = broker.store.commit_log().last_store_timestamp();
            if let Err(problem) = broker.consumer_filters.learn(&filters.text, newest) {
                log::warn!("the master's filters are not readable: {problem}");
            }
        }
        let mut page = told.offsets;
        let transactions = split_off_transactions(&mut page);
        offsets.merge(&page, false, |_, _, _| true);
        self.known.offsets = page.upto;
        self.complete |= page.complete;
        if let Some(delay) = &told.delay {
            self.known.delay = delay.number;
        }
        if let Some(timer) = &told.timer {
            self.known.timer = timer.number;
        }
        if told.session != self.waiting_of {
            // The log of then may have lost its end, and never come so far again with the same in it.
            (self.ready, self.next, self.waiting_of) = (None, None, told.session);
        }
        let Told { log_end, delay, timer, .. } = told;
        let waiting = Waiting { log_end, delay, timer, transactions };
        self.wait_for_log(waiting);
    }

    fn wait_for_log(&mut self, waiting: Waiting) {
        if waiting.is_empty() {
            return;
        }
        if self.ready.is_none() {
            self.ready = Some(waiting);
            return;
        }
        let next = self.next.get_or_insert_default();
        next.log_end = waiting.log_end;
        next.delay = waiting.delay.or(next.delay.take());
        next.timer = waiting.timer.or(next.timer.take());
        next.transactions.extend(waiting.transactions);
    }

    /// Takes over what waited for the log, as far as the log has come.
    fn apply_waiting(&mut self, broker: &Broker) {
        let end = broker.store.commit_log_max_offset();
        while let Some(ready) = self.ready.take_if(|ready| ready.log_end <= end) {
            if let Some(delay) = ready.delay {
                broker.delay.replace_by(&delay.table);
            }
            if let (Some(timer), Some(part)) = (&broker.timer, ready.timer) {
                take_timer(timer, &part);
            }
            let page = OffsetPage { table: ready.transactions, ..OffsetPage::default() };
            broker.consumer_offsets.merge(&page, false, |_, _, _| true);
            self.ready = self.next.take();
        }
    }

    fn java_round(&mut self, broker: &Arc<Broker>) -> Duration {
        self.java_rounds += 1;
        if self.java_rounds > JAVA_ROUNDS {
            self.kind = Kind::Unknown;
            return Duration::ZERO;
        }
        let mut late = Waiting::default();
        let own_end = broker.store.commit_log_max_offset();
        let synchronized = java::synchronize(broker, &self.master, &mut self.gone, &mut late);
        self.gone.remove_queues(broker, own_end, late.log_end);
        if late.log_end < i64::MAX {
            self.wait_for_log(late);
            self.apply_waiting(broker);
        }
        match synchronized {
            Ok(()) => {
                self.synchronized_ms = now_ms();
                if self.problem.take().is_some() {
                    log::info!("the tables of the master {} are here again", self.master);
                }
                self.retry_at = Some(Instant::now() + JAVA_PERIOD);
                // The log is mostly some messages behind what the master said a moment ago.
                if self.ready.is_some() { SOON } else { JAVA_PERIOD }
            }
            Err(problem) => {
                self.failed(problem);
                RETRY
            }
        }
    }

    fn failed(&mut self, problem: String) {
        let is_new = self.problem.as_ref() != Some(&problem);
        if is_new && self.warned_at.is_none_or(|at| at.elapsed() >= WARN_PERIOD) {
            self.warned_at = Some(Instant::now());
            log::warn!(
                "the tables of the master {} are not followed: {problem}; tried again every \
                 second",
                self.master
            );
        }
        self.problem = Some(problem);
        self.kind = Kind::Unknown;
        self.complete = false;
        self.known = Asked::default();
        self.outstanding = false;
        self.inbox = Arc::default();
        self.retry_at = Some(Instant::now() + RETRY);
    }
}

/// Whether the master's log is followed.
enum Followed {
    Yes,
    /// That is being found out.
    Soon,
    /// It is not, and why.
    No(String),
}

/// The tables of a master are this broker's only if its log is. A master that came back empty would
/// take the topics, and with them the queues, of the slave that still has everything.
fn log_is_followed(broker: &Broker) -> Followed {
    if broker.store.commit_log_max_offset() <= 0 {
        return Followed::Yes;
    }
    let following = broker.replication.status().and_then(|status| status.following);
    let Some(following) = following else { return Followed::Yes };
    match following.state {
        FollowState::Transferring => Followed::Yes,
        FollowState::NoMaster | FollowState::Comparing => Followed::Soon,
        FollowState::Connecting(problem) if problem.is_empty() => Followed::Soon,
        state => Followed::No(format!("its log is not followed ({})", ha_info::state(&state))),
    }
}

fn take_timer(timer: &TimerService, part: &TimerPart) {
    let TimerPart { queue_offset, done_ms, number, metrics } = part;
    // Java's checkpoint comes without them.
    if !metrics.is_empty()
        && let Err(problem) = timer.metrics().replace_by(metrics)
    {
        log::warn!("the master's counters of timed messages are not readable: {problem}");
    }
    timer.follow(Settled {
        queue_offset: *queue_offset,
        done_ms: *done_ms,
        changes: u64::try_from(*number).unwrap_or(0),
    });
}

/// The offsets of the transaction check, which wait for the log.
fn split_off_transactions(page: &mut OffsetPage) -> BTreeMap<String, BTreeMap<i32, Vec<i64>>> {
    let is_check = |key: &&String| key.ends_with(TRANSACTION_GROUP_KEY);
    let keys: Vec<String> = page.table.keys().filter(is_check).cloned().collect();
    keys.into_iter().filter_map(|key| page.table.remove_entry(&key)).collect()
}

fn request(broker: &Broker, asked: &Asked) -> Command {
    let config = broker.config.get();
    let mut request = Command::request(request_code::SYNCHRONIZE_SLAVE)
        .with_body(asked.to_json().write(Style::Fastjson));
    request.fields.push_str("brokerName", &config.broker_name);
    request.fields.push_int("brokerId", config.broker_id);
    request.fields.push_str("brokerAddr", &broker.address());
    request
}

fn refused(answer: &Command) -> String {
    format!("it answered {} {:.200}", answer.code, answer.remark.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::TestBroker;

    #[test]
    fn queues_go_with_their_topic_and_what_is_not_told_yet_stays() {
        const TOPICS: [&str; 3] = ["Gone", "Stays", "New"];
        let test = TestBroker::start();
        let broker = &test.running.broker;
        for topic in TOPICS {
            test.make_topic(topic, "1");
            test.send(topic, "0", "x");
        }
        test.settle();
        let without = |topic: &str| {
            let mut table = broker.topics.snapshot();
            table.topic_config_table.remove(topic);
            table.data_version.next();
            table
        };
        let ends = || TOPICS.map(|topic| broker.store.max_offset(topic, 0));
        let end = broker.store.commit_log_max_offset();
        let mut gone = GoneTopics::default();
        // The master has told its topics, made another one since then, and its message is here.
        broker.topics.replace_by(without("New"));
        gone.take(broker, without("Gone"), &[]);
        gone.remove_queues(broker, 0, end);
        assert_eq!(ends(), [1, 1, 1], "it may have been made again before its message came");
        gone.remove_queues(broker, end, end);
        assert_eq!(ends(), [0, 1, 1]);
        assert!(gone.names.is_empty());
        test.ask(request_code::CLEAN_UNUSED_TOPIC, &[], "");
        assert_eq!(ends(), [0, 1, 0], "what is unknown to a master goes");
    }

    #[test]
    fn what_a_java_master_never_told_keeps_its_queues() {
        let test = TestBroker::start();
        let broker = &test.running.broker;
        test.make_topic("T", "1");
        test.send("T", "0", "x");
        test.settle();
        let whole = broker.topics.snapshot();
        let mut gone = GoneTopics::default();
        let mut told = |has_topic: bool| {
            let mut table = whole.clone();
            table.data_version = broker.topics.version();
            table.data_version.next();
            if !has_topic {
                table.topic_config_table.remove("T");
            }
            gone.take_from_java(broker, table);
            gone.remove_queues(broker, i64::MAX, i64::MAX);
            (broker.topics.contains("T"), broker.store.max_offset("T", 0))
        };
        assert_eq!(told(false), (false, 1), "it has not heard of the topic, but has its messages");
        assert_eq!(told(true), (true, 1));
        assert_eq!(told(false), (false, 0), "now it was deleted");
    }

    #[test]
    fn what_a_master_told_before_its_log_lost_its_end_is_forgotten() {
        let test = TestBroker::start();
        let broker = &test.running.broker;
        let mut link = Link::to("master".to_owned());
        let mut takes = |session: i64, log_end: i64, offset: i64| {
            let table = BTreeMap::from([(3, offset)]);
            let delay = Some(DelayPart { number: 1, table });
            link.take(broker, Told { session, log_end, delay, ..Told::default() });
            link.apply_waiting(broker);
            broker.delay.offsets().get(&3).copied()
        };
        assert_eq!(takes(1, i64::MAX, 9), None, "the log has not come so far");
        assert_eq!(takes(2, 0, 4), Some(4));
    }

    #[test]
    fn a_topic_that_is_made_again_keeps_its_queues() {
        let test = TestBroker::start();
        let broker = &test.running.broker;
        test.make_topic("T", "1");
        test.send("T", "0", "x");
        test.settle();
        let mut table = broker.topics.snapshot();
        table.topic_config_table.remove("T");
        table.data_version.next();
        let mut gone = GoneTopics::default();
        gone.take(broker, table, &[]);
        gone.remove_queues(broker, 0, 0);
        test.make_topic("T", "1");
        gone.remove_queues(broker, i64::MAX, i64::MAX);
        assert_eq!(broker.store.max_offset("T", 0), 1);
        assert!(gone.names.is_empty());
    }
}
