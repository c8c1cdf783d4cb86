//! Options of clients, each declared once with its default and meaning, and set by chained calls.
//!
//! ```
//! use rocketmq::client::ProducerOptions;
//! use std::time::Duration;
//!
//! let options = ProducerOptions::new("orders")
//!     .name_servers("10.0.0.1:9876;10.0.0.2:9876")
//!     .send_timeout(Duration::from_secs(1));
//! assert_eq!(options.retries, 2);
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::allocate::AllocateStrategy;
use super::error::ClientError;
use super::hooks::{Hook, Hooks};
use super::namespace::Namespace;
use super::offset_store::OffsetStores;
use super::setting::Setting;
use super::subscription::Filter;
use super::trace::AccessChannel;
use super::validate::{check_group, check_range};
use crate::common::clock::{NEVER, now_ms};
use crate::common::sync::catch_panic;
use crate::common::topic;
use crate::remoting::Command;
use crate::remoting::protocol::bodies::MessageQueue;
pub use crate::remoting::protocol::heartbeat::{ConsumeFromWhere, MessageModel};

/// Most threads that may run a listener.
pub(crate) const MAX_CONSUME_THREADS: usize = 1000;

/// Declares options: a struct with public fields, their defaults, and a setter for each.
macro_rules! options {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident : $type:ty = $default:expr;)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type),* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }

        impl $name {
            $($(#[$field_meta])*
            #[must_use]
            pub fn $field(mut self, value: impl Setting<$type>) -> Self {
                self.$field = value.into_setting();
                self
            }
            )*
        }
    };
}

/// Addresses of name servers. From text: separated by `;`, spaces around them ignored; of an endpoint
/// `http://host:port` what follows the last `/`.
///
/// ```
/// use rocketmq::client::config::NameServerList;
///
/// assert_eq!(NameServerList::from("10.0.0.1:9876; 10.0.0.2:9876").0.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameServerList(pub Vec<String>);

impl From<&str> for NameServerList {
    fn from(text: &str) -> Self {
        let trimmed = text.split(';').map(str::trim);
        let addr = |text: &str| match text.strip_prefix("http://") {
            Some(rest) => rest.rsplit('/').next().unwrap_or_default().to_owned(),
            None => text.to_owned(),
        };
        Self(trimmed.map(addr).filter(|addr| !addr.is_empty()).collect())
    }
}

impl From<&String> for NameServerList {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for NameServerList {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Vec<String>> for NameServerList {
    fn from(list: Vec<String>) -> Self {
        list.join(";").into()
    }
}

/// Sees every request before it is sent and may add fields to it, such as credentials; and every
/// answer. What sees messages is a [`Hook`].
///
/// ```
/// use rocketmq::client::{Message, ProducerOptions};
/// use rocketmq::client::config::Interceptor;
/// use rocketmq::remoting::Command;
/// use std::sync::Arc;
/// # let site = rocketmq::Standalone::temporary()?;
/// # let names = site.name_servers();
///
/// struct Named;
///
/// impl Interceptor for Named {
///     fn before_request(&self, _addr: &str, request: &mut Command) {
///         request.fields.push_str("caller", "shop-7");
///     }
/// }
///
/// let producer =
///     ProducerOptions::new("shop").name_servers(names).interceptor(Arc::new(Named)).start()?;
/// producer.send(&Message::new("Orders", "one book"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Interceptor: Send + Sync {
    /// `request` goes to `addr`. Nothing is added to it after this; it is called again for every
    /// attempt.
    fn before_request(&self, addr: &str, request: &mut Command);

    /// `addr` answered a request with this code. On the thread that learns it: to be short.
    fn after_response(&self, _addr: &str, _request_code: i32, _response: &Command) {}
}

/// The queues of a topic after a group has divided them anew: what a listener of
/// `on_assignment` is told.
#[derive(Clone, Copy, Debug)]
pub struct Assignment<'a> {
    /// The topic.
    pub topic: &'a str,
    /// All its queues.
    pub all: &'a [MessageQueue],
    /// Those that this member has now.
    pub own: &'a [MessageQueue],
}

type AssignmentFn = dyn Fn(&Assignment<'_>) + Send + Sync;

/// An optional listener of [`Assignment`]s.
#[derive(Clone, Default)]
pub struct AssignmentListener(Option<Arc<AssignmentFn>>);

impl AssignmentListener {
    /// Tells it of the queues of a topic, which are named as on the wire.
    pub(crate) fn tell(
        &self,
        namespace: &Namespace,
        topic: &str,
        all: Vec<MessageQueue>,
        own: Vec<MessageQueue>,
    ) {
        let Some(listener) = &self.0 else { return };
        let topic = &*namespace.unwrap(topic);
        let (all, own) = (&namespace.unwrap_queues(all), &namespace.unwrap_queues(own));
        catch_panic("a listener of queues", || listener(&Assignment { topic, all, own }));
    }
}

impl std::fmt::Debug for AssignmentListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "a listener" } else { "none" })
    }
}

/// An optional [`Interceptor`].
#[derive(Clone, Default)]
pub struct Interceptors(pub Option<Arc<dyn Interceptor>>);

impl std::fmt::Debug for Interceptors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "an interceptor" } else { "none" })
    }
}

impl<T: Interceptor + 'static> From<Arc<T>> for Interceptors {
    fn from(interceptor: Arc<T>) -> Self {
        Self(Some(interceptor))
    }
}

impl PartialEq for Interceptors {
    /// The very same one, or none.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

options! {
    /// What every kind of client has in common (Java's `ClientConfig`).
    ///
    /// ```
    /// use rocketmq::client::{ClientOptions, ConsumerOptions, ProducerOptions};
    /// use std::time::Duration;
    ///
    /// // For all clients of a program. Those of one instance name share connections and threads.
    /// let common = ClientOptions::default()
    ///     .name_servers("10.0.0.1:9876;10.0.0.2:9876")
    ///     .instance_name("shop-7")
    ///     .api_timeout(Duration::from_secs(1));
    /// let producer = ProducerOptions::new("shop").client(common.clone());
    /// let consumer = ConsumerOptions::new("billing").client(common);
    /// ```
    pub struct ClientOptions {
        /// Name servers; by default those of the environment variable `NAMESRV_ADDR`.
        pub name_servers: NameServerList =
            std::env::var("NAMESRV_ADDR").map(NameServerList::from).unwrap_or_default();
        /// Host, or `host:port` (8080), of an address server that is asked for the name servers when
        /// none are given: at the start, and every two minutes. By default what the environment
        /// variable `ROCKETMQ_NAMESRV_DOMAIN` says, else nobody.
        pub name_server_domain: Option<String> =
            std::env::var("ROCKETMQ_NAMESRV_DOMAIN").ok().filter(|domain| !domain.is_empty());
        /// What the address server is asked for: `http://domain/rocketmq/SUBGROUP`.
        pub name_server_subgroup: String = "nsaddr".to_owned();
        /// What names of topics and groups begin with on the wire. By default none, unless the first
        /// name server is the endpoint of an instance ([`Namespace::of_endpoint`]).
        pub namespace: Namespace = Namespace::default();
        /// Own address, part of the client id; by default found out.
        pub client_ip: Option<String> = None;
        /// Part of the client id. `DEFAULT` becomes `pid#time` at the start, so that every client
        /// has connections and threads of its own; clients with the same id share them.
        pub instance_name: String = "DEFAULT".to_owned();
        /// Unit, appended to the client id.
        pub unit_name: Option<String> = None;
        /// Tells brokers that the client is of a unit: in heartbeats, sends, and messages given back.
        pub unit_mode: bool = false;
        /// How often routes are asked for.
        pub route_interval: Duration = Duration::from_secs(30);
        /// How often brokers are told that we live.
        pub heartbeat_interval: Duration = Duration::from_secs(30);
        /// How often consumption offsets are told to brokers, or written to the local file.
        pub persist_interval: Duration = Duration::from_secs(5);
        /// How often the queues of a group are divided anew, unless told of a change before.
        pub rebalance_interval: Duration = Duration::from_secs(20);
        /// Limit of a request to a name server, of a heartbeat, of a list of consumers.
        pub api_timeout: Duration = Duration::from_secs(3);
        /// Limit of connecting.
        pub connect_timeout: Duration = Duration::from_secs(3);
        /// How long a thread that waits for an answer looks for it before it sleeps, while that pays: with
        /// servers that answer at once a call takes a third of the time. Zero: it sleeps at once. At most
        /// a millisecond.
        pub busy_poll: Duration = Duration::from_micros(50);
        /// Use the broker's fast port (port - 2) for sends and offsets.
        pub vip_channel: bool = false;
        /// Which broker of a name consumers read: 0 is the master, 1 its first slave; where there is
        /// none with this id, the next, else any. By default the one that the last answer suggested.
        pub read_from_broker: Option<i64> = None;
        /// Sends and pulls have binary headers (Java's `rocketmq.serialize.type=ROCKETMQ`), which
        /// every broker since 4.0 reads and which cost both sides less than JSON.
        pub binary_headers: bool = true;
        /// Threads that run callbacks of asynchronous calls and requests from brokers.
        pub callback_threads: u32 = 4;
        /// Sees every request before it is sent.
        pub interceptor: Interceptors = Interceptors::default();
        /// Has a record of each message that is sent, consumed, or ended in its transaction written into the
        /// trace topic, where `mqadmin queryMsgTraceById` and the official tools find it. Costs each of them a
        /// fraction of a message more.
        pub trace: bool = false;
        /// The topic of traces.
        pub trace_topic: String = topic::TRACE_TOPIC.to_owned();
        /// How traces look, and where they go.
        pub access_channel: AccessChannel = AccessChannel::Local;
        /// What looks on while messages are sent and consumed.
        pub hooks: Hooks = Hooks::default();
    }
}

/// The clock in an instance name: strictly increasing, as the name must differ from any other
/// of this process.
fn instance_clock() -> i64 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    now_ms() * 1_000_000 + i64::from(COUNT.fetch_add(1, Ordering::Relaxed) % 1_000_000)
}

impl ClientOptions {
    /// Settles the namespace, and gives the group its name on the wire.
    pub(crate) fn enter_namespace(&mut self, group: &mut String) {
        if self.namespace.name().is_none()
            && let Some(first) = self.name_servers.0.first()
        {
            self.namespace = Namespace::of_endpoint(first);
        }
        *group = self.namespace.wrap(group).into_owned();
    }

    /// What the address server is asked for: the subgroup, and the unit.
    pub(crate) fn subgroup(&self) -> String {
        match self.unit_name.as_deref().map(str::trim).filter(|unit| !unit.is_empty()) {
            Some(unit) => format!("{}-{unit}?nofix=1", self.name_server_subgroup),
            None => self.name_server_subgroup.clone(),
        }
    }

    /// The client id: `ip@instance[@unit][@STREAM]` (spec: client 1.2). `keep_default` leaves the
    /// name `DEFAULT` as it is (broadcasting: the offset file is found by the client id).
    pub(crate) fn client_id(&self, keep_default: bool, stream: bool) -> String {
        let ip = self.client_ip.clone().unwrap_or_else(super::instance::local_ip);
        let mut id = if self.instance_name == "DEFAULT" && !keep_default {
            format!("{ip}@{}#{}", std::process::id(), instance_clock())
        } else {
            format!("{ip}@{}", self.instance_name)
        };
        if let Some(unit) = self.unit_name.as_deref().filter(|unit| !unit.trim().is_empty()) {
            id.push('@');
            id.push_str(unit);
        }
        if stream {
            id.push_str("@STREAM");
        }
        id
    }
}

/// Setters of the common options on each kind of client.
macro_rules! common_setters {
    ($name:ident) => {
        impl $name {
            /// Options of a member of `group`.
            #[must_use]
            pub fn new(group: impl Into<String>) -> Self {
                Self { group: group.into(), ..Self::default() }
            }

            /// Sets the name servers, separated by `;`.
            #[must_use]
            pub fn name_servers(mut self, list: impl Into<NameServerList>) -> Self {
                self.client.name_servers = list.into();
                self
            }

            /// Sets the instance name.
            #[must_use]
            pub fn instance_name(mut self, name: impl Into<String>) -> Self {
                self.client.instance_name = name.into();
                self
            }

            /// Sets the namespace of all topics and groups.
            #[must_use]
            pub fn namespace(mut self, name: impl Into<Namespace>) -> Self {
                self.client.namespace = name.into();
                self
            }

            /// Has message traces written (see [`ClientOptions::trace`]).
            #[must_use]
            pub fn trace(mut self) -> Self {
                self.client.trace = true;
                self
            }

            /// Adds a hook.
            #[must_use]
            pub fn hook(mut self, hook: Arc<dyn Hook>) -> Self {
                self.client.hooks.0.push(hook);
                self
            }

            /// Sets what sees every request.
            #[must_use]
            pub fn interceptor(mut self, interceptor: impl Into<Interceptors>) -> Self {
                self.client.interceptor = interceptor.into();
                self
            }
        }
    };
}

/// The setter of a listener, whose argument Rust could not tell through a conversion.
macro_rules! assignment_setter {
    ($name:ident) => {
        impl $name {
            /// Sets who is told when the queues of a topic were divided anew: at once, on the thread
            /// that divides them, before the first message of a new queue is pulled. To be short.
            ///
            /// ```
            #[doc = concat!("use rocketmq::client::", stringify!($name), ";")]
            ///
            #[doc = concat!("let options = ", stringify!($name), "::new(\"billing\")")]
            ///     .on_assignment(|now| println!("{}: {} of {} queues", now.topic, now.own.len(), now.all.len()));
            /// ```
            #[must_use]
            pub fn on_assignment(
                mut self,
                listener: impl Fn(&Assignment<'_>) + Send + Sync + 'static,
            ) -> Self {
                self.assignment_listener = AssignmentListener(Some(Arc::new(listener)));
                self
            }
        }
    };
}

options! {
    /// Options of a producer.
    ///
    /// ```
    /// use rocketmq::client::ProducerOptions;
    /// use std::time::Duration;
    ///
    /// let options = ProducerOptions::new("shop")
    ///     .name_servers("10.0.0.1:9876;10.0.0.2:9876")
    ///     .send_timeout(Duration::from_secs(10))
    ///     .attempt_timeout(Duration::from_secs(2)) // Leaves time for the retries.
    ///     .retries(4)
    ///     .compress_over(64 * 1024)
    ///     .avoid_slow_brokers(true)
    ///     .probe_brokers(true);
    /// ```
    pub struct ProducerOptions {
        /// What all clients have in common.
        pub client: ClientOptions = ClientOptions::default();
        /// Producer group; matters for transactions, else a name for the broker's records.
        pub group: String = String::new();
        /// Limit of a send with all its attempts.
        pub send_timeout: Duration = Duration::from_secs(3);
        /// Limit of one attempt while further ones remain; by default what is left of `send_timeout`.
        pub attempt_timeout: Option<Duration> = None;
        /// Further attempts of a synchronous send.
        pub retries: u32 = 2;
        /// Further attempts of an asynchronous send, after failures of transport only.
        pub async_retries: u32 = 2;
        /// Asynchronous sends of this client id on their way at a time; past it callers wait.
        pub async_in_flight: usize = 4096;
        /// Bytes of their bodies; past it callers wait.
        pub async_in_flight_bytes: usize = 32 * 1024 * 1024;
        /// Try another broker when a broker stored a message, but could not flush or replicate it
        /// in time (may duplicate).
        pub retry_when_not_ok: bool = false;
        /// Response codes of a broker after which a synchronous send tries another one. Java's, and
        /// 2, with which an overloaded broker answers.
        pub retry_codes: Vec<i32> = vec![17, 14, 1, 2, 16, 204, 205];
        /// Largest body, bytes, before compression.
        pub max_message_bytes: usize = 4 * 1024 * 1024;
        /// Bodies of at least so many bytes are compressed.
        pub compress_over: usize = 4096;
        /// zlib level, 0 to 9.
        pub compress_level: u8 = 5;
        /// Topic whose configuration a topic that does not exist yet is made after.
        pub create_topic_key: String = topic::AUTO_CREATE_TOPIC.to_owned();
        /// Queues of a topic that does not exist yet.
        pub default_topic_queues: i32 = 4;
        /// Avoid brokers that were slow or failed (see `latency_penalties`).
        pub avoid_slow_brokers: bool = false;
        /// With `avoid_slow_brokers`: a send that took so long, and how long its broker is avoided then;
        /// ascending. A failure counts as 30 s.
        pub latency_penalties: Vec<(Duration, Duration)> = super::fault::default_penalties();
        /// With `avoid_slow_brokers`: brokers that failed are asked for a sign of life, on a thread of
        /// its own. They are avoided until they give one, and no longer.
        pub probe_brokers: bool = false;
        /// How often they are asked.
        pub probe_interval: Duration = Duration::from_secs(2);
        /// How long an answer may take, 5 s at most.
        pub probe_timeout: Duration = Duration::from_millis(200);
        /// Of a transaction producer: threads that run its checker, 1 to 1000.
        pub check_threads: usize = 1;
        /// Of a transaction producer: checks that wait for one of them, 1 to 65535. Those beyond are
        /// dropped; the broker asks again.
        pub check_queue: usize = 2000;
    }
}
common_setters!(ProducerOptions);

impl ProducerOptions {
    /// What can be said without asking anybody.
    pub(crate) fn check(&self) -> Result<(), ClientError> {
        check_group(&self.group)?;
        check_range("compress_level", i64::from(self.compress_level), 0..=9)?;
        check_range("async_in_flight", self.async_in_flight as i64, 1..=65_535)?;
        check_range("default_topic_queues", i64::from(self.default_topic_queues), 1..=65_535)?;
        check_range("check_threads", self.check_threads as i64, 1..=1000)?;
        check_range("check_queue", self.check_queue as i64, 1..=65_535)?;
        check_range("probe_interval (ms)", self.probe_interval.as_millis() as i64, 1..=86_400_000)?;
        check_range("probe_timeout (ms)", self.probe_timeout.as_millis() as i64, 1..=5000)?;
        if !self.latency_penalties.is_sorted_by_key(|(latency, _)| *latency) {
            return Err(ClientError::Invalid(
                "latency_penalties are not in ascending order".into(),
            ));
        }
        check_range("send_timeout (ms)", self.send_timeout.as_millis() as i64, 1..=86_400_000)
    }
}

options! {
    /// Options of a push consumer. Ranges are checked at the start, as Java does.
    ///
    /// ```
    /// use rocketmq::client::{ConsumeFromWhere, ConsumerOptions, Filter, MessageModel};
    ///
    /// let options = ConsumerOptions::new("billing")
    ///     .name_servers("10.0.0.1:9876")
    ///     .consume_from(ConsumeFromWhere::FirstOffset)
    ///     .consume_threads(4)
    ///     .consume_batch(32)
    ///     .max_reconsume_times(5)
    ///     .subscribe("Orders", "new || paid")
    ///     .subscribe("Bills", Filter::Sql("amount > 100".into()));
    /// assert_eq!(options.message_model, MessageModel::Clustering);
    /// ```
    pub struct ConsumerOptions {
        /// What all clients have in common.
        pub client: ClientOptions = ClientOptions::default();
        /// Consumer group. All members must have the same subscriptions.
        pub group: String = String::new();
        /// Topics and which of their messages are wanted.
        pub subscriptions: Vec<(String, Filter)> = Vec::new();
        /// Every message to one member of the group, or to every member.
        pub message_model: MessageModel = MessageModel::Clustering;
        /// Where a group without a stored offset begins.
        pub consume_from: ConsumeFromWhere = ConsumeFromWhere::LastOffset;
        /// Where `ConsumeFromWhere::Timestamp` begins, ms.
        pub consume_timestamp: i64 = now_ms() - 30 * 60 * 1000;
        /// How queues are divided among members.
        pub strategy: AllocateStrategy = AllocateStrategy::Averagely;
        /// Told when queues were divided anew; see [`on_assignment`](Self::on_assignment).
        pub assignment_listener: AssignmentListener = AssignmentListener::default();
        /// Threads that run the listener, 1 to 1000; started as there is work for them, and changed
        /// by [`PushConsumer::set_consume_threads`](super::PushConsumer::set_consume_threads).
        pub consume_threads: usize = 20;
        /// Messages for one call of the listener at most, 1 to 1024.
        pub consume_batch: usize = 1;
        /// Messages of one pull at most, 1 to 1024.
        pub pull_batch: i32 = 32;
        /// Pause between two pulls of a queue.
        pub pull_interval: Duration = Duration::ZERO;
        /// Cached messages of a queue past which it is not pulled, 1 to 65535.
        pub cached_messages_per_queue: usize = 1000;
        /// Cached MiB of a queue past which it is not pulled, 1 to 1024.
        pub cached_mib_per_queue: usize = 100;
        /// Cached messages of a topic, divided among its queues; -1 is off.
        pub cached_messages_per_topic: i64 = -1;
        /// Cached MiB of a topic, divided among its queues; -1 is off.
        pub cached_mib_per_topic: i64 = -1;
        /// Span of the offsets in a queue's cache past which it is not pulled (concurrently).
        pub max_span: i64 = 2000;
        /// Deliveries after which a message goes to the dead-letter topic; -1 is 16 concurrently,
        /// and never orderly.
        pub max_reconsume_times: i32 = -1;
        /// How long an orderly queue rests after its listener asked for it, 10 ms to 30 s.
        pub suspend_time: Duration = Duration::from_secs(1);
        /// A message that is consumed for so long is given to the retry topic.
        pub consume_timeout: Duration = Duration::from_secs(15 * 60);
        /// Show the listener messages whose bodies cannot be unpacked; else they are given back (see
        /// [`unpack_error`](super::ReceivedMessage::unpack_error)).
        pub packed_bodies: bool = false;
        /// Send the subscription with every pull.
        pub post_subscription: bool = false;
        /// Pause after a failed pull.
        pub pull_error_delay: Duration = Duration::from_secs(1);
        /// How long the broker may hold a pull.
        pub suspend_pull: Duration = Duration::from_secs(15);
        /// Limit of a pull.
        pub pull_timeout: Duration = Duration::from_secs(30);
        /// How long a shutdown waits for listeners that run.
        pub shutdown_wait: Duration = Duration::from_secs(5);
        /// Where offsets are kept; by default at the brokers (clustering), or in a file
        /// (broadcasting). See [`offset_store`](super::offset_store).
        pub offset_store: OffsetStores = OffsetStores::default();
        /// Where broadcasting keeps its offsets, in a file for each client id and group.
        pub offset_directory: PathBuf = std::env::var_os("HOME")
            .map_or_else(std::env::temp_dir, PathBuf::from)
            .join(".rocketmq_offsets");
    }
}
common_setters!(ConsumerOptions);
assignment_setter!(ConsumerOptions);

impl ConsumerOptions {
    /// Adds a topic: tags (`a || b`, `*` for all), or an SQL92 expression.
    #[must_use]
    pub fn subscribe(mut self, topic: impl Into<String>, filter: impl Into<Filter>) -> Self {
        self.subscriptions.push((topic.into(), filter.into()));
        self
    }

    /// What can be said without asking anybody.
    pub(crate) fn check(&self) -> Result<(), ClientError> {
        check_group(&self.group)?;
        for (option, value, last) in [
            ("consume_threads", self.consume_threads as i64, MAX_CONSUME_THREADS as i64),
            ("consume_batch", self.consume_batch as i64, 1024),
            ("pull_batch", i64::from(self.pull_batch), 1024),
            ("cached_messages_per_queue", self.cached_messages_per_queue as i64, 65_535),
            ("cached_mib_per_queue", self.cached_mib_per_queue as i64, 1024),
            ("max_span", self.max_span, 65_535),
        ] {
            check_range(option, value, 1..=last)?;
        }
        for (option, value, last) in [
            ("cached_messages_per_topic", self.cached_messages_per_topic, 6_553_500),
            ("cached_mib_per_topic", self.cached_mib_per_topic, 102_400),
        ] {
            if value != -1 {
                check_range(option, value, 1..=last)?;
            }
        }
        check_range("pull_interval (ms)", self.pull_interval.as_millis() as i64, 0..=65_535)
    }
}

options! {
    /// Options of a lite pull consumer.
    ///
    /// ```
    /// use rocketmq::client::{ConsumeFromWhere, LitePullOptions};
    /// use std::time::Duration;
    ///
    /// let options = LitePullOptions::new("audit")
    ///     .name_servers("10.0.0.1:9876")
    ///     .consume_from(ConsumeFromWhere::FirstOffset)
    ///     .auto_commit(false)
    ///     .pull_batch(100)
    ///     .poll_timeout(Duration::from_secs(1));
    /// ```
    pub struct LitePullOptions {
        /// What all clients have in common.
        pub client: ClientOptions = ClientOptions::default();
        /// Consumer group.
        pub group: String = String::new();
        /// Every message to one member of the group, or to every member.
        pub message_model: MessageModel = MessageModel::Clustering;
        /// Where a group without a stored offset begins: last, first or timestamp.
        pub consume_from: ConsumeFromWhere = ConsumeFromWhere::LastOffset;
        /// Where `ConsumeFromWhere::Timestamp` begins, ms.
        pub consume_timestamp: i64 = now_ms() - 30 * 60 * 1000;
        /// How queues are divided among members.
        pub strategy: AllocateStrategy = AllocateStrategy::Averagely;
        /// Told when queues were divided anew; see [`on_assignment`](Self::on_assignment).
        pub assignment_listener: AssignmentListener = AssignmentListener::default();
        /// How often topics are looked at that
        /// [`on_topic_change`](super::LitePullConsumer::on_topic_change) watches.
        pub topic_check_interval: Duration = Duration::from_secs(30);
        /// Commit what was polled, at the next poll after `auto_commit_interval`.
        pub auto_commit: bool = true;
        /// See `auto_commit`; at least 1 s.
        pub auto_commit_interval: Duration = Duration::from_secs(5);
        /// Messages of one pull at most, 1 to 1024.
        pub pull_batch: i32 = 10;
        /// Cached messages of all queues past which nothing is pulled.
        pub cached_messages: usize = 10_000;
        /// Cached messages of a queue past which it is not pulled.
        pub cached_messages_per_queue: usize = 1000;
        /// Cached MiB of a queue past which it is not pulled.
        pub cached_mib_per_queue: usize = 100;
        /// Span of the offsets in a queue's cache past which it is not pulled.
        pub max_span: i64 = 2000;
        /// How long `poll` waits.
        pub poll_timeout: Duration = Duration::from_secs(5);
        /// How long the broker may hold a pull.
        pub suspend_pull: Duration = Duration::from_secs(20);
        /// Limit of a pull; at least `suspend_pull`.
        pub pull_timeout: Duration = Duration::from_secs(30);
        /// Pause after a failed pull.
        pub pull_error_delay: Duration = Duration::from_secs(1);
        /// Where offsets are kept; by default at the brokers (clustering), or in a file
        /// (broadcasting). See [`offset_store`](super::offset_store).
        pub offset_store: OffsetStores = OffsetStores::default();
        /// Where broadcasting keeps its offsets, in a file for each client id and group.
        pub offset_directory: PathBuf = ConsumerOptions::default().offset_directory;
    }
}
common_setters!(LitePullOptions);
assignment_setter!(LitePullOptions);

impl LitePullOptions {
    /// What can be said without asking anybody.
    pub(crate) fn check(&self) -> Result<(), ClientError> {
        check_group(&self.group)?;
        check_range("pull_batch", i64::from(self.pull_batch), 1..=1024)?;
        if !matches!(
            self.consume_from,
            ConsumeFromWhere::LastOffset
                | ConsumeFromWhere::FirstOffset
                | ConsumeFromWhere::Timestamp
        ) {
            return Err(ClientError::Invalid(
                "consume_from of a lite pull consumer is last, first or timestamp".into(),
            ));
        }
        if self.pull_timeout < self.suspend_pull {
            return Err(ClientError::Invalid(
                "pull_timeout is shorter than suspend_pull: every idle pull would fail".into(),
            ));
        }
        Ok(())
    }
}

options! {
    /// Options of a pull consumer, and of a pull schedule.
    ///
    /// ```
    /// use rocketmq::client::{MessageModel, PullOptions};
    ///
    /// let options = PullOptions::new("export")
    ///     .name_servers("10.0.0.1:9876")
    ///     .message_model(MessageModel::Broadcasting)
    ///     .schedule_threads(4);
    /// ```
    pub struct PullOptions {
        /// What all clients have in common.
        pub client: ClientOptions = ClientOptions::default();
        /// Consumer group.
        pub group: String = String::new();
        /// Every queue to one member of the group, or to every member.
        pub message_model: MessageModel = MessageModel::Clustering;
        /// How queues are divided among members.
        pub strategy: AllocateStrategy = AllocateStrategy::Averagely;
        /// Told when queues were divided anew; see [`on_assignment`](Self::on_assignment).
        pub assignment_listener: AssignmentListener = AssignmentListener::default();
        /// Deliveries of a message that is given back, after which it goes to the dead-letter topic.
        pub max_reconsume_times: i32 = super::broker_calls::DEFAULT_RECONSUME_TIMES;
        /// Threads that run the callbacks of a schedule, 1 to 1000.
        pub schedule_threads: usize = 20;
        /// Where offsets are kept; by default at the brokers (clustering), or in a file
        /// (broadcasting). See [`offset_store`](super::offset_store).
        pub offset_store: OffsetStores = OffsetStores::default();
        /// Where broadcasting keeps its offsets, in a file for each client id and group.
        pub offset_directory: PathBuf = ConsumerOptions::default().offset_directory;
    }
}
common_setters!(PullOptions);
assignment_setter!(PullOptions);

impl PullOptions {
    /// What can be said without asking anybody.
    pub(crate) fn check(&self) -> Result<(), ClientError> {
        check_group(&self.group)?;
        check_range("schedule_threads", self.schedule_threads as i64, 1..=1000)
    }
}

/// What is left of a time limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    began: Instant,
    limit: Duration,
}

impl Deadline {
    /// Starts now. A limit that nobody lives to see is cut, so that it can be added to a clock.
    pub(crate) fn after(limit: Duration) -> Self {
        Self { began: Instant::now(), limit: limit.min(NEVER) }
    }

    /// Time left; `None` when it is over.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.left_at(Instant::now())
    }

    /// The same, asking no clock.
    pub(crate) fn left_at(&self, now: Instant) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.began);
        self.limit.checked_sub(elapsed).filter(|left| !left.is_zero())
    }

    /// When it started.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids() {
        let options = ClientOptions::default().client_ip("10.0.0.9");
        assert_eq!(options.client_id(true, false), "10.0.0.9@DEFAULT");
        let (one, two) = (options.client_id(false, false), options.client_id(false, false));
        assert!(one.starts_with(&format!("10.0.0.9@{}#", std::process::id())), "{one}");
        assert_ne!(one, two);
        let options = options.instance_name("app").unit_name("u1");
        assert_eq!(options.client_id(false, true), "10.0.0.9@app@u1@STREAM");
    }

    #[test]
    fn name_server_lists_are_trimmed() {
        let list = NameServerList::from(" a:1; ;b:2;");
        assert_eq!(list.0, ["a:1", "b:2"]);
        let list = NameServerList::from("http://MQ_INST_1_a.host:80");
        assert_eq!(list.0, ["MQ_INST_1_a.host:80"]);
    }

    #[test]
    fn namespaces_and_units() {
        let mut options = ClientOptions::default().name_servers("http://MQ_INST_1_a.host:80");
        let mut group = "g".to_owned();
        options.enter_namespace(&mut group);
        assert_eq!(group, "MQ_INST_1_a%g");
        assert_eq!(options.subgroup(), "nsaddr");
        assert_eq!(options.unit_name("u").subgroup(), "nsaddr-u?nofix=1");
    }

    #[test]
    fn options_out_of_range_are_named() {
        let error = ConsumerOptions::new("g").consume_batch(2000).check().unwrap_err();
        assert_eq!(error.to_string(), "consume_batch is 2000, not between 1 and 1024");
        assert!(ConsumerOptions::new("g").check().is_ok());
        assert!(ProducerOptions::new("").check().is_err());
        assert!(LitePullOptions::new("g").suspend_pull(Duration::from_secs(40)).check().is_err());
    }
}
