//! [`Instance`]: what the producers and consumers of one client id share: connections, routes,
//! heartbeats, timers.
//!
//! Brokers know a client by the connection that carries its heartbeat, so everything that goes to
//! one broker address goes through one connection, and what the broker asks of the client arrives
//! there too.
//!
//! | thread | count | does |
//! |---|---|---|
//! | those of [`RemotingClient`] | | readers, callbacks, requests from brokers |
//! | `MQClientSched` | 1 | routes, heartbeats, offsets, at their intervals |
//! | `PullMessageSvc` | 1, with a consumer | pulls that are started or delayed |
//! | `RebalanceSvc` | 1, with a consumer | divides queues at its interval or when told |

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use super::config::{ClientOptions, NameServerList};
use super::error::ClientError;
use super::lane::Lanes;
use super::message::ReceivedMessage;
use super::request_reply::PendingReplies;
use super::route::{BrokerTable, NameServers, TopicRoute};
use super::unreachable::Unreachable;
use crate::common::json::{FromJson, Json, Style, ToJson};
use crate::common::scheduler::Scheduler;
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::{catch_panic, lock};
use crate::remoting::connection::Connection;
use crate::remoting::protocol::bodies::{ConsumeDirectlyResult, ConsumerRunningInfo, MessageQueue};
use crate::remoting::protocol::headers::{
    CheckTransactionStateRequestHeader, UnregisterClientRequestHeader,
};
use crate::remoting::protocol::heartbeat::ConsumerData;
use crate::remoting::protocol::request_code;
use crate::remoting::{Command, RemotingClient, address_server, command::Language};

/// Java's number for Rust in the header's language field.
pub const LANGUAGE_RUST: Language = Language(12);
/// How long a shutdown waits for each of its threads.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long a shutdown waits for brokers to take the leave.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// Instances of this process by client id.
static INSTANCES: Mutex<BTreeMap<String, Weak<Instance>>> = Mutex::new(BTreeMap::new());

/// What an instance asks of a consumer.
pub(crate) trait ConsumerRole: Send + Sync {
    /// Its part of the heartbeat.
    fn data(&self) -> ConsumerData;
    /// Topics whose routes it needs.
    fn topics(&self) -> Vec<String>;
    /// Divides the queues anew.
    fn rebalance(&self);
    /// Tells brokers, or the local file, how far it is.
    fn persist_offsets(&self);
    /// Starts over at these offsets (request 220).
    fn reset_offsets(self: Arc<Self>, topic: &str, offsets: BTreeMap<MessageQueue, i64>);
    /// Offsets in memory (request 221); of all topics when `topic` is empty.
    fn offsets(&self, topic: &str) -> BTreeMap<MessageQueue, i64>;
    /// What tools want to know (request 307).
    fn running_info(&self) -> ConsumerRunningInfo;
    /// Gives one message to the listener (request 309), if there is one.
    fn consume_directly(&self, _message: ReceivedMessage) -> Option<ConsumeDirectlyResult> {
        None
    }
}

/// What an instance asks of a producer.
pub(crate) trait ProducerRole: Send + Sync {
    /// Decides about a half message (request 39).
    fn check_transaction(
        self: Arc<Self>,
        connection: &Arc<Connection>,
        header: CheckTransactionStateRequestHeader,
        message: ReceivedMessage,
    );
}

/// Members of a client id. Tables are small and change at starts and shutdowns only.
#[derive(Default)]
pub(super) struct Roles {
    pub producers: BTreeMap<String, Weak<dyn ProducerRole>>,
    pub consumers: BTreeMap<String, Weak<dyn ConsumerRole>>,
}

/// What the clients of one client id share.
pub(crate) struct Instance {
    /// `ip@instance[@unit][@STREAM]`.
    pub client_id: String,
    /// Of the first client that opened it.
    pub options: ClientOptions,
    /// Connections by address.
    pub remoting: Arc<RemotingClient>,
    /// Requests that wait for a reply.
    pub replies: PendingReplies,
    /// Periodic duties.
    pub scheduler: Arc<Scheduler>,
    /// Every request carries `ReqT`.
    pub(super) stream: bool,
    pub(super) name_servers: NameServers,
    /// What came of the last question to the address server.
    undiscovered: Mutex<Option<String>>,
    pub(super) routes: RwLock<HashMap<String, Arc<TopicRoute>>>,
    pub(super) brokers: RwLock<BrokerTable>,
    pub(super) roles: RwLock<Roles>,
    /// Pulls; exists with the first consumer.
    pulls: Mutex<Option<Arc<Scheduler>>>,
    rebalancing: Mutex<Option<ServiceThread>>,
    rebalance_signal: Arc<Signal>,
    /// Clients that use it; guarded by the lock of [`INSTANCES`] as well.
    users: Mutex<usize>,
    /// Asynchronous sends on their way.
    pub lanes: Lanes,
    /// Brokers that could not be connected to a moment ago.
    pub unreachable: Arc<Unreachable>,
    /// Addresses that took a heartbeat on the connections that are open now.
    pub(super) introduced: Mutex<BTreeSet<String>>,
    /// A heartbeat beside the periodic ones is scheduled.
    pub(super) heartbeat_due: AtomicBool,
    /// An update of routes beside the periodic ones is scheduled.
    pub(super) routes_due: AtomicBool,
    /// Subscribed topics that nobody knows are looked for more often.
    pub(super) looking: AtomicBool,
    stopped: AtomicBool,
}

/// The own address: the first that is not loopback; `127.0.0.1` without a network.
pub(crate) fn local_ip() -> String {
    match crate::common::os::local_address() {
        Some(std::net::IpAddr::V6(ip)) => format!("[{ip}]"),
        Some(ip) => ip.to_string(),
        None => "127.0.0.1".to_owned(),
    }
}

/// The error that a response stands for.
pub(crate) fn broker_error(addr: &str, response: Command) -> ClientError {
    ClientError::Broker {
        code: response.code,
        remark: response.remark.unwrap_or_default(),
        addr: addr.to_owned(),
    }
}

/// A JSON body.
pub(crate) fn read_body<T: FromJson>(addr: &str, response: &Command) -> Result<T, ClientError> {
    Json::parse(response.body.as_bytes())
        .and_then(|json| T::from_json(&json))
        .map_err(|error| ClientError::Decode { addr: addr.to_owned(), reason: error.to_string() })
}

/// A body in JSON that every client reads.
pub(crate) fn json_body(value: &impl ToJson) -> Vec<u8> {
    value.to_json().write(Style::Standard).into_bytes()
}

impl Instance {
    /// The instance of a client id, started if there is none yet. Each `open` is paired with one
    /// [`close`](Self::close).
    pub fn open(
        options: &ClientOptions,
        client_id: String,
        stream: bool,
    ) -> Result<Arc<Self>, ClientError> {
        let no_list = options.name_servers.0.is_empty();
        if no_list && options.name_server_domain.is_none() {
            return Err(ClientError::NoNameServer);
        }
        let (instance, is_new) = Self::find_or_start(options, client_id, stream)?;
        if is_new && no_list {
            instance.discover();
        }
        Ok(instance)
    }

    fn find_or_start(
        options: &ClientOptions,
        client_id: String,
        stream: bool,
    ) -> Result<(Arc<Self>, bool), ClientError> {
        let mut instances = lock(&INSTANCES);
        if let Some(instance) = instances.get(&client_id).and_then(Weak::upgrade) {
            let known = &instance.options;
            let differs = if known.name_servers != options.name_servers
                || known.name_server_domain != options.name_server_domain
            {
                Some("name servers")
            } else if known.namespace != options.namespace {
                Some("a namespace")
            } else if known.interceptor != options.interceptor {
                Some("an interceptor")
            } else {
                None
            };
            if let Some(what) = differs {
                return Err(ClientError::Invalid(format!(
                    "the client id {client_id} is in use (name servers {}); {what} of its own needs \
                     another instance_name",
                    known.name_servers.0.join(";")
                )));
            }
            *lock(&instance.users) += 1;
            return Ok((instance, false));
        }
        let instance = Self::start(options, client_id.clone(), stream)?;
        instances.insert(client_id, Arc::downgrade(&instance));
        Ok((instance, true))
    }

    /// Asks the address server for the name servers. A failure changes nothing.
    fn discover(&self) {
        let Some(domain) = &self.options.name_server_domain else { return };
        let reason = match address_server::ask(domain, &self.options.subgroup()) {
            Ok(list) => {
                self.set_name_servers(NameServerList::from(list).0);
                return;
            }
            Err(reason) => reason,
        };
        log::warn!("the address server {domain} does not tell the name servers: {reason}");
        *lock(&self.undiscovered) = Some(reason);
    }

    /// Why no name server can be asked.
    pub(super) fn no_name_server(&self) -> ClientError {
        match &self.options.name_server_domain {
            Some(domain) if self.options.name_servers.0.is_empty() => {
                let reason = lock(&self.undiscovered).clone();
                let reason = reason.unwrap_or_else(|| "it has not answered yet".to_owned());
                ClientError::Discovery { domain: domain.clone(), reason }
            }
            _ => ClientError::NoNameServer,
        }
    }

    fn start(
        options: &ClientOptions,
        client_id: String,
        stream: bool,
    ) -> Result<Arc<Self>, ClientError> {
        let thread_error = |error: std::io::Error| ClientError::Io(format!("no thread: {error}"));
        let instance = Arc::new(Self {
            client_id,
            options: options.clone(),
            remoting: RemotingClient::new(crate::remoting::config::ClientConfig {
                client_worker_threads: options.callback_threads.clamp(1, 1024) as i32,
                connect_timeout_millis: options.connect_timeout.as_millis() as i64,
                busy_poll_micros: options.busy_poll.as_micros().min(1000) as i32,
                ..Default::default()
            }),
            replies: PendingReplies::default(),
            scheduler: Scheduler::new("MQClientSched").map_err(thread_error)?,
            stream,
            name_servers: NameServers::new(options.name_servers.0.clone()),
            undiscovered: Mutex::default(),
            routes: RwLock::default(),
            brokers: RwLock::default(),
            roles: RwLock::default(),
            pulls: Mutex::default(),
            rebalancing: Mutex::default(),
            rebalance_signal: Arc::default(),
            users: Mutex::new(1),
            lanes: Lanes::default(),
            unreachable: Arc::default(),
            introduced: Mutex::default(),
            heartbeat_due: AtomicBool::new(false),
            routes_due: AtomicBool::new(false),
            looking: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        super::broker_requests::register(&instance);
        instance
            .remoting
            .on_close(Arc::new(super::presence::Reintroduce(Arc::downgrade(&instance))));
        instance.schedule_duties();
        Ok(instance)
    }

    /// One user less; the last one stops it.
    pub fn close(self: &Arc<Self>) {
        let mut instances = lock(&INSTANCES);
        {
            let mut users = lock(&self.users);
            *users = users.saturating_sub(1);
            if *users > 0 || self.stopped.swap(true, Ordering::AcqRel) {
                return;
            }
        }
        instances.remove(&self.client_id);
        drop(instances);
        // Taken out first: what a thread still does must not wait for a lock that its end is waited for under.
        let (pulls, rebalancing) = (lock(&self.pulls).take(), lock(&self.rebalancing).take());
        if let Some(pulls) = pulls {
            pulls.stop();
        }
        if let Some(thread) = rebalancing {
            thread.stop(STOP_LIMIT);
        }
        self.lanes.stop();
        self.remoting.shutdown();
        self.scheduler.stop();
        self.replies.fail_all();
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn schedule_duties(self: &Arc<Self>) {
        let every = |what: &str, initial: Duration, period: Duration, duty: fn(&Arc<Self>)| {
            let instance = Arc::downgrade(self);
            // A task only ever sees a living instance; it ends with the scheduler.
            self.scheduler.at_fixed_rate(what, initial, period, move || {
                if let Some(instance) = instance.upgrade() {
                    duty(&instance);
                }
            });
        };
        let options = &self.options;
        if options.name_servers.0.is_empty() {
            let (first, period) = (address_server::FIRST, address_server::PERIOD);
            every("name servers", first, period, |instance| instance.discover());
        }
        every("routes", options.route_interval, options.route_interval, |instance| {
            instance.update_all_routes();
        });
        every("heartbeat", Duration::from_secs(1), options.heartbeat_interval, |instance| {
            instance.forget_offline_brokers();
            instance.heartbeat();
        });
        every("offsets", options.persist_interval, options.persist_interval, |instance| {
            for consumer in instance.consumers() {
                consumer.persist_offsets();
            }
        });
        every("replies", Duration::from_secs(1), Duration::from_secs(1), |instance| {
            instance.replies.expire();
        });
    }

    // Members.

    /// Takes a producer in. A group is registered once in an instance.
    pub fn add_producer(
        &self,
        group: &str,
        producer: Weak<dyn ProducerRole>,
    ) -> Result<(), ClientError> {
        let mut roles = self.roles.write().unwrap_or_else(PoisonError::into_inner);
        if roles.producers.get(group).is_some_and(|known| known.strong_count() > 0) {
            return Err(duplicate(group, &self.client_id));
        }
        roles.producers.insert(group.to_owned(), producer);
        Ok(())
    }

    /// Takes a consumer in, and starts what only consumers need.
    pub fn add_consumer(
        self: &Arc<Self>,
        group: &str,
        consumer: Weak<dyn ConsumerRole>,
    ) -> Result<(), ClientError> {
        {
            let mut roles = self.roles.write().unwrap_or_else(PoisonError::into_inner);
            if roles.consumers.get(group).is_some_and(|known| known.strong_count() > 0) {
                return Err(duplicate(group, &self.client_id));
            }
            roles.consumers.insert(group.to_owned(), consumer);
        }
        let mut thread = lock(&self.rebalancing);
        if thread.is_none() {
            let instance = Arc::downgrade(self);
            let interval = self.options.rebalance_interval;
            let signal = Arc::clone(&self.rebalance_signal);
            let body = move |signal: &Signal| rebalance_loop(&instance, interval, signal);
            let spawned = ServiceThread::spawn("RebalanceSvc", signal, body);
            *thread = Some(spawned.map_err(|e| ClientError::Io(format!("no thread: {e}")))?);
        }
        Ok(())
    }

    /// Lets a producer go, and tells brokers.
    pub fn remove_producer(&self, group: &str) {
        let mut roles = self.roles.write().unwrap_or_else(PoisonError::into_inner);
        roles.producers.remove(group);
        drop(roles);
        self.leave(Some(group.to_owned()), None);
    }

    /// Lets a consumer go, and tells brokers.
    pub fn remove_consumer(&self, group: &str) {
        let mut roles = self.roles.write().unwrap_or_else(PoisonError::into_inner);
        roles.consumers.remove(group);
        drop(roles);
        self.leave(None, Some(group.to_owned()));
    }

    fn leave(&self, producer_group: Option<String>, consumer_group: Option<String>) {
        let header = UnregisterClientRequestHeader {
            client_id: self.client_id.clone(),
            producer_group,
            consumer_group,
        };
        let request = Command::request(request_code::UNREGISTER_CLIENT).with_header(&header);
        let calls = self.known_brokers(false).into_iter().map(|addr| (addr, request.clone()));
        self.call_all(calls.collect(), LEAVE_LIMIT);
    }

    /// Live consumers.
    pub fn consumers(&self) -> Vec<Arc<dyn ConsumerRole>> {
        let roles = self.roles.read().unwrap_or_else(PoisonError::into_inner);
        roles.consumers.values().filter_map(Weak::upgrade).collect()
    }

    /// The consumer of a group.
    pub fn consumer(&self, group: &str) -> Option<Arc<dyn ConsumerRole>> {
        let roles = self.roles.read().unwrap_or_else(PoisonError::into_inner);
        roles.consumers.get(group).and_then(Weak::upgrade)
    }

    /// The producer of a group.
    pub fn producer(&self, group: &str) -> Option<Arc<dyn ProducerRole>> {
        let roles = self.roles.read().unwrap_or_else(PoisonError::into_inner);
        roles.producers.get(group).and_then(Weak::upgrade)
    }

    /// Divides the queues of all consumers soon.
    pub fn rebalance_soon(&self) {
        self.rebalance_signal.wakeup();
    }

    /// Lets a consumer pull after `delay`, if it still lives then; a stopped instance has no pulls.
    pub fn pull_later<C: Send + Sync + 'static>(
        &self,
        consumer: Weak<C>,
        delay: Duration,
        pull: impl FnOnce(&Arc<C>) + Send + 'static,
    ) {
        if let Ok(pulls) = self.pulls() {
            pulls.once("pull", delay, move || {
                if let Some(consumer) = consumer.upgrade() {
                    pull(&consumer);
                }
            });
        }
    }

    /// The timer that starts pulls; a thread of its own, since a pull may have to connect.
    pub fn pulls(&self) -> Result<Arc<Scheduler>, ClientError> {
        let mut pulls = lock(&self.pulls);
        // Under the lock: a stop takes the timer away, and no other is made after it.
        if self.is_stopped() {
            return Err(ClientError::NotRunning);
        }
        if let Some(scheduler) = &*pulls {
            return Ok(Arc::clone(scheduler));
        }
        let scheduler = Scheduler::new("PullMessageSvc")
            .map_err(|error| ClientError::Io(format!("no thread: {error}")))?;
        *pulls = Some(Arc::clone(&scheduler));
        Ok(scheduler)
    }
}

fn duplicate(group: &str, client_id: &str) -> ClientError {
    ClientError::Invalid(format!(
        "the group {group} is already in use by the client {client_id}; use another group or \
         another instance_name"
    ))
}

fn rebalance_loop(instance: &Weak<Instance>, interval: Duration, signal: &Signal) {
    while signal.wait(interval) {
        let Some(instance) = instance.upgrade() else { return };
        for consumer in instance.consumers() {
            if signal.stopped() {
                return;
            }
            catch_panic("rebalance", || consumer.rebalance());
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Only an instance whose clients never closed it comes here with connections.
        if !self.is_stopped() {
            self.remoting.shutdown();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_that_wants_its_timer_does_not_hold_up_the_stop() {
        for _ in 0..50 {
            let options = ClientOptions::default().name_servers("127.0.0.1:1");
            let instance =
                Instance::open(&options, options.client_id(false, false), false).unwrap();
            let weak = Arc::downgrade(&instance);
            let (busy, is_busy) = crossbeam::channel::bounded(1);
            let pulls = instance.pulls().unwrap();
            pulls.once("a busy pull", Duration::ZERO, move || {
                let _ = busy.send(());
                while weak.upgrade().is_some_and(|instance| instance.pulls().is_ok()) {}
            });
            is_busy.recv().unwrap();
            let began = std::time::Instant::now();
            instance.close();
            assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
            assert!(lock(&instance.pulls).is_none());
        }
    }
}
