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
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use super::config::{ClientOptions, Deadline};
use super::error::ClientError;
use super::message::ReceivedMessage;
use super::request_reply::PendingReplies;
use super::route::{BrokerTable, NameServers, TopicRoute, vip_address};
use super::unreachable::Unreachable;
use crate::common::json::{FromJson, Json, Style, ToJson};
use crate::common::scheduler::Scheduler;
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::{catch_panic, lock};
use crate::remoting::connection::Connection;
use crate::remoting::protocol::bodies::{
    ConsumeDirectlyResult, ConsumerRunningInfo, MessageQueue, TopicRouteData,
};
use crate::remoting::protocol::headers::{
    CheckTransactionStateRequestHeader, GetRouteInfoRequestHeader, UnregisterClientRequestHeader,
};
use crate::remoting::protocol::heartbeat::{ConsumerData, HeartbeatData, ProducerData};
use crate::remoting::protocol::{request_code, response_code};
use crate::remoting::server::ConnectionEvents;
use crate::remoting::{Command, RemotingClient, RemotingError, command::Language};

/// Java's number for Rust in the header's language field.
pub const LANGUAGE_RUST: Language = Language(12);
/// How long a shutdown waits for each of its threads.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long a shutdown waits for brokers to take the leave.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// A broker that closed its connection is given so long before it is told of us again.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

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
struct Roles {
    producers: BTreeMap<String, Weak<dyn ProducerRole>>,
    consumers: BTreeMap<String, Weak<dyn ConsumerRole>>,
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
    stream: bool,
    name_servers: NameServers,
    routes: RwLock<HashMap<String, Arc<TopicRoute>>>,
    brokers: RwLock<BrokerTable>,
    roles: RwLock<Roles>,
    /// Pulls; exists with the first consumer.
    pulls: Mutex<Option<Arc<Scheduler>>>,
    rebalancing: Mutex<Option<ServiceThread>>,
    rebalance_signal: Arc<Signal>,
    /// Clients that use it; guarded by the lock of [`INSTANCES`] as well.
    users: Mutex<usize>,
    /// Brokers that could not be connected to a moment ago.
    pub unreachable: Arc<Unreachable>,
    /// Addresses that took a heartbeat on the connections that are open now.
    introduced: Mutex<BTreeSet<String>>,
    /// A heartbeat beside the periodic ones is scheduled.
    heartbeat_due: AtomicBool,
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
        let mut instances = lock(&INSTANCES);
        if let Some(instance) = instances.get(&client_id).and_then(Weak::upgrade) {
            if instance.options.name_servers != options.name_servers {
                return Err(ClientError::Invalid(format!(
                    "the client id {client_id} is in use with the name servers {}; another list \
                     needs another instance_name",
                    instance.options.name_servers.0.join(";")
                )));
            }
            *lock(&instance.users) += 1;
            return Ok(instance);
        }
        if options.name_servers.0.is_empty() {
            return Err(ClientError::NoNameServer);
        }
        let instance = Self::start(options, client_id.clone(), stream)?;
        instances.insert(client_id, Arc::downgrade(&instance));
        Ok(instance)
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
                ..Default::default()
            }),
            replies: PendingReplies::default(),
            scheduler: Scheduler::new("MQClientSched").map_err(thread_error)?,
            stream,
            name_servers: NameServers::new(options.name_servers.0.clone()),
            routes: RwLock::default(),
            brokers: RwLock::default(),
            roles: RwLock::default(),
            pulls: Mutex::default(),
            rebalancing: Mutex::default(),
            rebalance_signal: Arc::default(),
            users: Mutex::new(1),
            unreachable: Arc::default(),
            introduced: Mutex::default(),
            heartbeat_due: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        super::broker_requests::register(&instance);
        instance.remoting.on_close(Arc::new(Reintroduce(Arc::downgrade(&instance))));
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
        if let Some(pulls) = lock(&self.pulls).take() {
            pulls.stop();
        }
        if let Some(thread) = lock(&self.rebalancing).take() {
            thread.stop(STOP_LIMIT);
        }
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

    /// The timer that starts pulls; a thread of its own, since a pull may have to connect.
    pub fn pulls(&self) -> Result<Arc<Scheduler>, ClientError> {
        if self.is_stopped() {
            return Err(ClientError::NotRunning);
        }
        let mut pulls = lock(&self.pulls);
        if let Some(scheduler) = &*pulls {
            return Ok(Arc::clone(scheduler));
        }
        let scheduler = Scheduler::new("PullMessageSvc")
            .map_err(|error| ClientError::Io(format!("no thread: {error}")))?;
        *pulls = Some(Arc::clone(&scheduler));
        Ok(scheduler)
    }

    // Calls.

    fn prepare(&self, addr: &str, mut request: Command) -> Command {
        request.language = LANGUAGE_RUST;
        if self.stream {
            request.fields.set("ReqT", "0");
        }
        if let Some(interceptor) = &self.options.interceptor.0 {
            interceptor.before_request(addr, &mut request);
        }
        request
    }

    /// Calls a peer. Any response code is `Ok`.
    pub fn call(
        &self,
        addr: &str,
        request: Command,
        timeout: Duration,
    ) -> Result<Command, ClientError> {
        let request = self.prepare(addr, request);
        self.remoting.call(addr, request, timeout).map_err(ClientError::from)
    }

    /// Calls a peer; a response code other than success is an error.
    pub fn call_ok(
        &self,
        addr: &str,
        request: Command,
        timeout: Duration,
    ) -> Result<Command, ClientError> {
        let response = self.call(addr, request, timeout)?;
        if response.code == response_code::SUCCESS {
            Ok(response)
        } else {
            Err(broker_error(addr, response))
        }
    }

    /// Calls a peer; `done` runs exactly once, on a callback thread, unless this fails.
    pub fn call_async(
        &self,
        addr: &str,
        request: Command,
        timeout: Duration,
        done: impl FnOnce(Result<Command, ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        let request = self.prepare(addr, request);
        let done = move |result: Result<Command, RemotingError>| {
            done(result.map_err(ClientError::from));
        };
        self.remoting.call_async(addr, request, timeout, done).map_err(ClientError::from)
    }

    /// Sends a request that has no answer.
    pub fn oneway(
        &self,
        addr: &str,
        request: Command,
        timeout: Duration,
    ) -> Result<(), ClientError> {
        let request = self.prepare(addr, request);
        self.remoting.oneway(addr, request, timeout).map_err(ClientError::from)
    }

    /// Calls several peers at once and waits for all, `limit` at most. Results are in order; not on
    /// callback threads, which the answers need.
    pub fn call_all(
        &self,
        calls: Vec<(String, Command)>,
        limit: Duration,
    ) -> Vec<(String, Result<Command, ClientError>)> {
        type Slot = Option<Result<Command, ClientError>>;
        let deadline = Deadline::after(limit);
        let slots: Vec<Slot> = calls.iter().map(|_| None).collect();
        let shared = Arc::new((Mutex::new((slots, calls.len())), Condvar::new()));
        let mut addrs = Vec::with_capacity(calls.len());
        for (at, (addr, request)) in calls.into_iter().enumerate() {
            let put = {
                let shared = Arc::clone(&shared);
                move |result| {
                    let mut state = lock(&shared.0);
                    if state.0[at].replace(result).is_none() {
                        state.1 -= 1;
                    }
                    shared.1.notify_all();
                }
            };
            let late = put.clone();
            let left = deadline.left().unwrap_or(Duration::from_millis(1));
            if let Err(error) = self.call_async(&addr, request, left, put) {
                late(Err(error));
            }
            addrs.push(addr);
        }
        let mut state = lock(&shared.0);
        while state.1 > 0
            && let Some(left) = deadline.left()
        {
            state = match shared.1.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let timeout = |addr: &str| RemotingError::Timeout {
            addr: addr.to_owned(),
            timeout_ms: limit.as_millis() as u64,
        };
        let slots: Vec<Slot> = state.0.iter_mut().map(Option::take).collect();
        let results = addrs.into_iter().zip(slots);
        results
            .map(|(addr, slot)| {
                let result = slot.unwrap_or_else(|| Err(timeout(&addr).into()));
                (addr, result)
            })
            .collect()
    }

    /// Asks the name servers, one after the other, until one answers.
    pub fn ask_name_server(&self, request: &Command) -> Result<(String, Command), ClientError> {
        let mut last = None;
        let tried = self.name_servers.in_order();
        for addr in &tried {
            let request = self.prepare(addr, request.clone());
            match self.remoting.call(addr, request, self.options.api_timeout) {
                Ok(response) => {
                    self.name_servers.stick_to(addr);
                    return Ok((addr.clone(), response));
                }
                Err(RemotingError::Stopped) => return Err(ClientError::NotRunning),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or(ClientError::NoNameServer, |last| ClientError::NameServer { tried, last }))
    }

    // Routes.

    fn fetch_route(&self, topic: &str) -> Result<TopicRouteData, ClientError> {
        let header =
            GetRouteInfoRequestHeader { topic: topic.to_owned(), accept_standard_json_only: None };
        let request = Command::request(request_code::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
        let (addr, response) = self.ask_name_server(&request)?;
        match response.code {
            response_code::SUCCESS => read_body(&addr, &response),
            response_code::TOPIC_NOT_EXIST => Err(ClientError::NoRoute { topic: topic.to_owned() }),
            _ => Err(broker_error(&addr, response)),
        }
    }

    fn store_route(
        self: &Arc<Self>,
        topic: &str,
        data: TopicRouteData,
        from_template: bool,
    ) -> bool {
        {
            let mut brokers = self.brokers.write().unwrap_or_else(PoisonError::into_inner);
            let before = brokers.addresses(false);
            brokers.learn(&data);
            if !brokers.addresses(false).is_subset(&before) {
                self.heartbeat_soon(Duration::ZERO);
            }
        }
        let route = TopicRoute::new(topic, data, from_template);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let known = routes.get(topic);
        let changed = known.is_none_or(|known| {
            known.data != route.data || known.from_template != route.from_template
        });
        if changed {
            routes.insert(topic.to_owned(), Arc::new(route));
        }
        changed
    }

    /// The route as it is known.
    pub fn route(&self, topic: &str) -> Option<Arc<TopicRoute>> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.get(topic).cloned()
    }

    /// Asks for the route anew. Returns whether it changed; on an error the old one stays.
    pub fn update_route(self: &Arc<Self>, topic: &str) -> Result<bool, ClientError> {
        let data = self.fetch_route(topic)?;
        Ok(self.store_route(topic, data, false))
    }

    /// Asks for the routes of these topics and of all in use; consumers are told of changes.
    pub fn update_all_routes(self: &Arc<Self>) {
        let mut topics: BTreeSet<String> =
            self.consumers().iter().flat_map(|consumer| consumer.topics()).collect();
        let subscribed = topics.clone();
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        topics.extend(routes.keys().cloned());
        drop(routes);
        let mut rebalance = false;
        for topic in topics {
            match self.update_route(&topic) {
                Ok(changed) => rebalance |= changed && subscribed.contains(&topic),
                Err(ClientError::NoRoute { .. }) => log::debug!("{topic}: no route"),
                Err(error @ (ClientError::NameServer { .. } | ClientError::NotRunning)) => {
                    log::warn!("{}: routes are not updated: {error}", self.client_id);
                    break;
                }
                Err(error) => log::warn!("{topic}: the route is not updated: {error}"),
            }
        }
        if rebalance {
            self.rebalance_soon();
        }
    }

    /// A route that can be written. A topic that does not exist borrows the brokers of the
    /// template topic, which will make it when the first message arrives.
    pub fn publish_route(
        self: &Arc<Self>,
        topic: &str,
        template: &str,
        queues: i32,
    ) -> Result<Arc<TopicRoute>, ClientError> {
        if let Some(route) = self.route(topic).filter(|route| !route.publish.is_empty()) {
            return Ok(route);
        }
        match self.update_route(topic) {
            Ok(_) => {}
            Err(ClientError::NoRoute { .. }) => {
                let mut data = match self.fetch_route(template) {
                    Err(ClientError::NoRoute { .. }) => {
                        return Err(ClientError::NoRoute { topic: topic.to_owned() });
                    }
                    data => data?,
                };
                for entry in &mut data.queue_datas {
                    let nums = entry.read_queue_nums.min(queues);
                    (entry.read_queue_nums, entry.write_queue_nums) = (nums, nums);
                }
                self.store_route(topic, data, true);
            }
            Err(error) => return Err(error),
        }
        self.route(topic).filter(|route| !route.publish.is_empty()).ok_or_else(|| {
            ClientError::NoBroker {
                name: topic.to_owned(),
                reason: "no broker of the topic has a master and write permission",
            }
        })
    }

    /// Queues to read, from the route as it is known, else as a name server knows it.
    pub fn subscribe_queues(
        self: &Arc<Self>,
        topic: &str,
    ) -> Result<Vec<MessageQueue>, ClientError> {
        if self.route(topic).is_none_or(|route| route.from_template) {
            self.update_route(topic)?;
        }
        Ok(self.route(topic).map(|route| route.subscribe.clone()).unwrap_or_default())
    }

    /// The master of a broker name; asks for the topic's route once if it is not known.
    pub fn master(self: &Arc<Self>, broker_name: &str, topic: &str) -> Result<String, ClientError> {
        let known = |instance: &Arc<Self>| {
            let brokers = instance.brokers.read().unwrap_or_else(PoisonError::into_inner);
            brokers.master(broker_name).map(str::to_owned)
        };
        if let Some(addr) = known(self) {
            return Ok(addr);
        }
        self.update_route(topic)?;
        known(self).ok_or_else(|| ClientError::NoBroker {
            name: broker_name.to_owned(),
            reason: "the broker has no master in the route",
        })
    }

    /// Where to read a queue from: address, and whether it is a slave.
    pub fn reader(
        self: &Arc<Self>,
        queue: &MessageQueue,
        wanted: i64,
    ) -> Result<(String, bool), ClientError> {
        let known = |instance: &Arc<Self>| {
            let brokers = instance.brokers.read().unwrap_or_else(PoisonError::into_inner);
            let reader = brokers.reader(&queue.broker_name, wanted);
            reader.map(|(addr, slave)| (addr.to_owned(), slave))
        };
        if let Some(reader) = known(self) {
            return Ok(reader);
        }
        self.update_route(&queue.topic)?;
        known(self).ok_or_else(|| ClientError::NoBroker {
            name: queue.broker_name.clone(),
            reason: "no address of the broker is in the route",
        })
    }

    /// The port for sends and offsets, if wanted.
    pub fn vip(&self, addr: String) -> String {
        if self.options.vip_channel { vip_address(&addr) } else { addr }
    }

    /// Addresses of all brokers in use.
    pub fn known_brokers(&self, masters_only: bool) -> BTreeSet<String> {
        let brokers = self.brokers.read().unwrap_or_else(PoisonError::into_inner);
        brokers.addresses(masters_only)
    }

    fn forget_offline_brokers(&self) {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let brokers = routes.values().flat_map(|route| &route.data.broker_datas);
        let live = brokers.flat_map(|broker| broker.broker_addrs.values().map(String::as_str));
        let mut table = self.brokers.write().unwrap_or_else(PoisonError::into_inner);
        table.retain(&live.collect());
    }

    /// Name servers, the one in use first.
    pub fn name_servers(&self) -> Vec<String> {
        self.name_servers.in_order()
    }

    /// Replaces the list of name servers; an empty one is ignored.
    pub fn set_name_servers(&self, list: Vec<String>) {
        self.name_servers.replace(list);
    }

    // Heartbeat.

    fn heartbeat_data(&self) -> HeartbeatData {
        let roles = self.roles.read().unwrap_or_else(PoisonError::into_inner);
        let producer = |group: &String| ProducerData { group_name: Some(group.clone()) };
        HeartbeatData {
            client_id: Some(self.client_id.clone()),
            producer_data_set: roles.producers.keys().map(producer).collect(),
            consumer_data_set: {
                let live = roles.consumers.values().filter_map(Weak::upgrade);
                live.map(|consumer| consumer.data()).collect()
            },
        }
    }

    /// Tells every broker in use that we live, and what for; masters only without a consumer.
    /// Waits for the answers.
    pub fn heartbeat(&self) {
        let data = self.heartbeat_data();
        if data.producer_data_set.is_empty() && data.consumer_data_set.is_empty() {
            return;
        }
        let masters_only = data.consumer_data_set.is_empty();
        let request = Command::request(request_code::HEART_BEAT).with_body(json_body(&data));
        let calls = self.known_brokers(masters_only).into_iter();
        let calls = calls.map(|addr| (addr, request.clone())).collect();
        for (addr, result) in self.call_all(calls, self.options.api_timeout) {
            match result {
                Ok(response) if response.code == response_code::SUCCESS => {
                    lock(&self.introduced).insert(addr);
                }
                Ok(response) => log::warn!("heartbeat: {}", broker_error(&addr, response)),
                Err(ClientError::NotRunning) => {}
                Err(error) => log::warn!("heartbeat to {addr}: {error}"),
            }
        }
    }
}

impl Instance {
    /// A heartbeat after `delay`, unless one is scheduled already.
    pub fn heartbeat_soon(self: &Arc<Self>, delay: Duration) {
        if self.is_stopped() || self.heartbeat_due.swap(true, Ordering::AcqRel) {
            return;
        }
        let instance = Arc::downgrade(self);
        self.scheduler.once("heartbeat", delay, move || {
            if let Some(instance) = instance.upgrade() {
                instance.heartbeat_due.store(false, Ordering::Release);
                instance.heartbeat();
            }
        });
    }

    /// Makes sure that a broker knows this client: what it pushes goes by the heartbeat.
    pub fn introduce(&self, broker_name: &str) {
        let brokers = self.brokers.read().unwrap_or_else(PoisonError::into_inner);
        let master = brokers.master(broker_name).map(str::to_owned);
        drop(brokers);
        if master.is_some_and(|addr| !lock(&self.introduced).contains(&addr)) {
            self.heartbeat();
        }
    }
}

/// A closed connection took the broker's knowledge of the client with it.
struct Reintroduce(Weak<Instance>);

impl ConnectionEvents for Reintroduce {
    fn closed(&self, _connection: &Arc<Connection>) {
        if let Some(instance) = self.0.upgrade() {
            lock(&instance.introduced).clear();
            instance.heartbeat_soon(RECONNECT_DELAY);
        }
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
