//! Starting and stopping a broker: what is loaded, opened and started in which order, and what
//! happens at which period. Which request is served by whom is in [`routes`].

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::config::BrokerConfig;
use super::consumer_filters::{ConsumerFilters, DispatchBits};
use super::consumer_offsets::ConsumerOffsets;
use super::consumers::Consumers;
use super::delay::{self, DelayedMessages};
use super::hold::HeldPulls;
use super::pools::Pools;
use super::producers::Producers;
use super::pull::Suspended;
use super::pulled_offsets::PulledOffsets;
use super::queue_locks::QueueLocks;
use super::registration::Registration;
use super::replication::Replication;
use super::settings::Settings;
use super::slave_sync::feed::Feed;
use super::slave_sync::news::News;
use super::slave_sync::{self, feed};
use super::stats::{BrokerStats, Window};
use super::subscription_groups::SubscriptionGroups;
use super::topics::Topics;
use super::{
    Broker, address_server, client_manage, consumer_manage, fast_failure, pull, routes,
    runtime_info, transaction_check,
};
use crate::common::clock::now_ms;
use crate::common::config::{Entry, Live};
use crate::common::os::{self, LocalTime};
use crate::common::scheduler::Scheduler;
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::lock;
use crate::common::topic::TIMER_TOPIC;
use crate::remoting::config::{ClientConfig, ServerConfig};
use crate::remoting::server::RunningServer;
use crate::remoting::{RemotingClient, RemotingServer};
use crate::store::clean::ConsumedOffsets;
use crate::store::config::BrokerRole;
use crate::store::delay_levels::DelayLevels;
use crate::store::timer::TimerService;
use crate::store::{Arrival, ArrivalListener, MessageStore, StoreConfig};

/// The fast port is that far below the main port.
const FAST_PORT_DISTANCE: u16 = 2;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// Limit for what runs and waits in the pools at stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Limit for a thread to end at stop.
const JOIN_LIMIT: Duration = Duration::from_secs(5);

/// What a broker is started from.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// The broker's own keys.
    pub broker: BrokerConfig,
    /// Keys of the store.
    pub store: StoreConfig,
    /// Keys of the listening side; port 0 picks one.
    pub server: ServerConfig,
    /// Keys of the calling side.
    pub client: ClientConfig,
    /// Keys of the file that nobody knows.
    pub unknown: Vec<Entry>,
    /// The file they came from, where changes at run time are written; else Java's default.
    pub file: Option<PathBuf>,
}

/// Why a broker does not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration contradicts itself: one sentence each.
    Config(Vec<String>),
    /// Something on the disk cannot be read, or not be understood.
    Load(String),
    /// A port, a lock or a thread cannot be had.
    Start(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(problems) => f.write_str(&problems.join("\n")),
            Self::Load(problem) | Self::Start(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for StartError {}

/// A broker that serves. Dropping it stops it.
pub struct RunningBroker {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Why it advertises the address it does, in words.
    pub address_reason: String,
    main: RunningServer,
    fast: RunningServer,
    scheduler: Arc<Scheduler>,
    services: Mutex<Vec<ServiceThread>>,
}

/// Starts a broker. The order (spec: broker 1.7):
///
/// 1. The configuration is checked and completed.
/// 2. Tables are loaded, the store is opened and recovered.
/// 3. Pools, processors and servers are made; the store dispatches what recovery left.
/// 4. Both ports listen; background threads and periodic tasks start.
/// 5. The name servers are told, and answer or do not within `registerBrokerTimeoutMills`.
pub fn start(mut configuration: Configuration) -> Result<RunningBroker, StartError> {
    let address_reason = complete(&mut configuration)?;
    let (broker, main, fast) = open(configuration)?;
    let started = start_servers(&broker, main, fast);
    let (main, fast) = started.inspect_err(|_| broker.store.shutdown())?;
    let thread = |error: io::Error| StartError::Start(format!("a thread cannot start: {error}"));
    let services = Mutex::new(start_services(&broker).map_err(thread)?);
    let scheduler = Scheduler::new("BrokerSchedule").map_err(thread)?;
    schedule(&broker, &scheduler);
    broker.registration.refresh(&broker).map_err(thread)?;
    let limit = broker.config.get().register_broker_timeout_mills;
    let limit = Duration::from_millis(u64::try_from(limit).unwrap_or(0));
    broker.registration.register_and_wait(limit);
    Ok(RunningBroker { broker, address_reason, main, fast, scheduler, services })
}

/// Checks the configuration and fills in what depends on this machine. Returns why the advertised
/// address is what it is. [`start`] does it by itself.
pub fn complete(settings: &mut Configuration) -> Result<String, StartError> {
    let broker = &mut settings.broker;
    let problems = broker.validate(&settings.store);
    if !problems.is_empty() {
        return Err(StartError::Config(problems));
    }
    let mut reason = "brokerIP1 says so".to_owned();
    if broker.broker_ip1.is_empty() {
        let found = os::local_address();
        reason = match found {
            Some(_) => "the first address of this machine's interfaces that others can reach; \
                        brokerIP1 overrides it"
                .to_owned(),
            None => "this machine has no other address; brokerIP1 overrides it".to_owned(),
        };
        broker.broker_ip1 = found.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_string();
    }
    if broker.broker_ip2.is_empty() {
        broker.broker_ip2 = broker.broker_ip1.clone();
    }
    if broker.broker_name.is_empty() {
        broker.broker_name = os::host_name().unwrap_or_else(|| "DEFAULT_BROKER".to_owned());
    }
    if settings.server.listen_port == 0 {
        settings.server.listen_port = free_port()
            .map_err(|error| StartError::Start(format!("no free port was found: {error}")))?;
    }
    if settings.store.broker_role != BrokerRole::Slave {
        settings.broker.broker_id = 0;
    }
    settings.store.ha_listen_port = i32::from(settings.server.listen_port) + 1;
    Ok(reason)
}

/// A port that is free now, with the fast port below it and the one for slaves above. It lies below
/// those that the system gives to outgoing connections, of which one could take a port of the three
/// before it is listened on. No two brokers of a process look at the same one.
fn free_port() -> io::Result<u16> {
    const FIRST: u16 = 20_002;
    const BLOCKS: u16 = 3_000;
    static SOMEWHERE: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    static LOOKED_AT: AtomicU64 = AtomicU64::new(0);
    let mut last = None;
    for _ in 0..BLOCKS {
        let number = LOOKED_AT.fetch_add(1, Ordering::Relaxed);
        let block = SOMEWHERE.wrapping_add(number) % u64::from(BLOCKS);
        let port = FIRST + 4 * block as u16;
        let busy = [port - FAST_PORT_DISTANCE, port, port + 1]
            .into_iter()
            .find_map(|each| TcpListener::bind((Ipv4Addr::UNSPECIFIED, each)).err());
        match busy {
            None => return Ok(port),
            Some(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

/// Loads tables and store and puts the broker together, with its two servers that do not listen
/// yet.
fn open(
    configuration: Configuration,
) -> Result<(Arc<Broker>, RemotingServer, RemotingServer), StartError> {
    let Configuration { broker: config, store, server, client, unknown, file } = configuration;
    let mut store_config = store;
    let root = PathBuf::from(&store_config.store_path_root_dir);
    let store_host = advertised(&config.broker_ip1, server.listen_port)?;
    let levels = DelayLevels::parse(&store_config.message_delay_level).map_err(StartError::Load)?;
    let light = store_config.enable_lmq;
    let tables = load_tables(&config, &root, &store_config)?;

    let late: Arc<OnceLock<Weak<Broker>>> = Arc::default();
    let held_pulls = Arc::new(HeldPulls::new(pull::waker(Arc::clone(&late))));
    let delay = Arc::new(DelayedMessages::new(levels, &root));
    let timer_signal = Arc::new(Signal::default());
    let listener = Arrivals {
        held_pulls: Arc::clone(&held_pulls),
        delay: Arc::clone(&delay),
        timer: Arc::clone(&timer_signal),
    };
    // One bit map for all groups, as large as their bloom filter.
    store_config.bit_map_length_consume_queue_ext = tables.consumer_filters.bloom().bits() as i32;
    let store_config = Arc::new(Live::new(store_config));
    let store = MessageStore::open(Arc::clone(&store_config), Arc::new(listener))
        .map_err(|error| StartError::Load(error.to_string()))?;
    delay.load(&store).map_err(StartError::Load)?;
    let timer = open_timer(&store, timer_signal)?;

    let pools = Pools::new(&config);
    let fast_config = ServerConfig {
        listen_port: server.listen_port.saturating_sub(FAST_PORT_DISTANCE),
        ..server.clone()
    };
    let main = RemotingServer::new("Broker", server.clone());
    let fast = RemotingServer::new("BrokerFast", fast_config);
    let registration = Registration::new(RemotingClient::new(client.clone()));
    let file = file.unwrap_or_else(Settings::default_file);
    let settings = Settings::new(config.clone(), store_config, server, client, unknown, file);
    let news: Arc<News> = Arc::default();
    let started_ms = now_ms();
    let broker = Arc::new(Broker {
        stats: if light {
            BrokerStats::new(&config).with_light_queues()
        } else {
            BrokerStats::new(&config)
        },
        consumers: Consumers::new(&config),
        producers: Producers::new(&config),
        queue_locks: QueueLocks::new(&config),
        topics: tables.topics,
        subscription_groups: tables.subscription_groups,
        consumer_offsets: tables.consumer_offsets,
        pulled_offsets: PulledOffsets::new(config.max_consumer_offsets),
        consumer_filters: tables.consumer_filters,
        config: Arc::clone(&settings.broker),
        settings,
        registration,
        ended_transactions: Default::default(),
        member_changes: Default::default(),
        daily_totals: Default::default(),
        store_host,
        started_ms,
        replication: Replication::new(Arc::clone(&news)),
        feed: Feed::new(started_ms, Arc::clone(&news)),
        store,
        held_pulls,
        delay,
        timer,
        pools,
        page_cache_busy: AtomicBool::new(false),
    });
    connect(&broker, &news, &late);
    Ok((broker, main, fast))
}

/// Tells the parts of a broker of each other, where one was made before the other.
fn connect(broker: &Arc<Broker>, news: &Arc<News>, late: &OnceLock<Weak<Broker>>) {
    for listener in [
        &broker.topics.news,
        &broker.subscription_groups.news,
        &broker.consumer_offsets.news,
        &broker.consumer_filters.news,
        &broker.delay.news,
    ] {
        listener.set(news);
    }
    let _ = late.set(Arc::downgrade(broker));
    broker.store.set_filter_bits(Arc::new(DispatchBits {
        filters: Arc::clone(&broker.consumer_filters),
        config: Arc::clone(&broker.config),
    }));
    let its_broker = Arc::downgrade(broker);
    broker.store.set_consumed_offsets(Arc::new(Consumed(Weak::clone(&its_broker))));
    broker.topics.on_created(move || {
        if let Some(broker) = its_broker.upgrade() {
            broker.registration.register_news();
        }
    });
}

/// Tells the store's cleaner what groups have consumed.
struct Consumed(Weak<Broker>);

impl ConsumedOffsets for Consumed {
    fn of_queue(&self, topic: &str, queue_id: i32) -> Vec<(String, i64)> {
        let Some(broker) = self.0.upgrade() else { return Vec::new() };
        let offsets = &broker.consumer_offsets;
        let groups = offsets.groups_of_topic(topic).into_iter();
        groups
            .filter_map(|group| {
                let offset = offsets.get(&group, topic, queue_id)?;
                Some((group, offset))
            })
            .collect()
    }
}

/// Opens the timer wheel. A slave fills its own and delivers nothing from it.
fn open_timer(
    store: &Arc<MessageStore>,
    signal: Arc<Signal>,
) -> Result<Option<Arc<TimerService>>, StartError> {
    let config = store.config();
    if !config.timer_wheel_enable {
        return Ok(None);
    }
    let timer = TimerService::open(Arc::clone(store), signal);
    Ok(Some(Arc::new(timer.map_err(|error| StartError::Load(error.to_string()))?)))
}

fn advertised(ip: &str, port: u16) -> Result<SocketAddr, StartError> {
    let bare = ip.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    // A host name: records need numbers, so the first address it resolves to is taken.
    use std::net::ToSocketAddrs;
    let resolved = (ip, port).to_socket_addrs().ok().and_then(|mut found| found.next());
    resolved.ok_or_else(|| {
        StartError::Config(vec![format!(
            "brokerIP1 is \"{ip}\", which is neither an address nor a name that resolves to one"
        )])
    })
}

struct Tables {
    topics: Topics,
    subscription_groups: SubscriptionGroups,
    consumer_offsets: ConsumerOffsets,
    consumer_filters: Arc<ConsumerFilters>,
}

/// Loads the tables. `enableLmq` is looked at here only, as in Java.
fn load_tables(
    config: &BrokerConfig,
    root: &Path,
    store: &StoreConfig,
) -> Result<Tables, StartError> {
    let mut tables = Tables {
        topics: Topics::new(config, root),
        subscription_groups: SubscriptionGroups::new(config, root),
        consumer_offsets: ConsumerOffsets::new(config, root),
        consumer_filters: Arc::new(
            ConsumerFilters::new(config, root)
                .map_err(|problem| StartError::Config(vec![problem]))?,
        ),
    };
    if store.is_slave() {
        tables.subscription_groups = tables.subscription_groups.of_slave();
    }
    if store.enable_lmq {
        tables.topics = tables.topics.with_light_queues();
        tables.subscription_groups = tables.subscription_groups.with_light_queues();
        tables.consumer_offsets = tables.consumer_offsets.with_light_queues(root);
    }
    tables.topics.load().map_err(StartError::Load)?;
    tables.subscription_groups.load().map_err(StartError::Load)?;
    tables.consumer_offsets.load().map_err(StartError::Load)?;
    tables.consumer_filters.load().map_err(StartError::Load)?;
    Ok(tables)
}

/// What the store tells of every message that becomes visible.
struct Arrivals {
    held_pulls: Arc<HeldPulls<Suspended>>,
    delay: Arc<DelayedMessages>,
    timer: Arc<Signal>,
}

impl ArrivalListener for Arrivals {
    fn arrived(&self, arrival: &Arrival<'_>) {
        self.held_pulls.arrived(arrival);
        self.delay.arrived(arrival);
        if arrival.topic == TIMER_TOPIC {
            self.timer.wakeup();
        }
    }
}

fn start_servers(
    broker: &Arc<Broker>,
    mut main: RemotingServer,
    mut fast: RemotingServer,
) -> Result<(RunningServer, RunningServer), StartError> {
    routes::register(broker, &mut main, &mut fast);
    broker.store.start().map_err(|error| StartError::Start(error.to_string()))?;
    if let Some(timer) = &broker.timer {
        timer.recover(now_ms()).map_err(|error| StartError::Load(error.to_string()))?;
    }
    // After a clean stop of a broker that stood alone, the log is the one that groups committed to.
    let may_be_another = broker.store.had_crashed() || broker.consumer_offsets.has_stamps();
    // Nothing at all may be what a disk has that is not mounted: that tells of no queue where it ends.
    let tells =
        broker.store.commit_log_max_offset() > 0 && broker.store.dispatch_behind_bytes() == 0;
    if may_be_another && tells && !broker.store.config().is_slave() {
        broker.consumer_offsets.bring_back(|topic, queue| broker.store.max_offset(topic, queue));
    }
    Replication::start(broker).map_err(|error| StartError::Start(error.to_string()))?;
    transaction_check::remember_ends(broker);
    let port = broker.settings.server.get().listen_port;
    let main = main.start().map_err(|error| not_listening(port, &error))?;
    let fast_port = port.saturating_sub(FAST_PORT_DISTANCE);
    match fast.start().map_err(|error| not_listening(fast_port, &error)) {
        Ok(fast) => Ok((main, fast)),
        Err(error) => {
            main.stop(JOIN_LIMIT);
            Err(error)
        }
    }
}

fn not_listening(port: u16, error: &io::Error) -> StartError {
    StartError::Start(format!(
        "port {port} cannot be listened on: {error} (a broker takes listenPort and listenPort-2)"
    ))
}

/// Starts the threads of the table in [the front page](super).
fn start_services(broker: &Arc<Broker>) -> io::Result<Vec<ServiceThread>> {
    let spawn = |name: &str, signal: Arc<Signal>, body: fn(&Arc<Broker>, &Signal)| {
        let broker = Arc::clone(broker);
        ServiceThread::spawn(name, signal, move |signal| body(&broker, signal))
    };
    let mut services = vec![
        spawn("PullRequestHold", broker.held_pulls.signal(), |broker, signal| {
            broker.held_pulls.run(signal);
        })?,
        spawn("BrokerFastFail", Arc::default(), fast_failure::run)?,
        client_manage::MemberChanges::start(broker)?,
    ];
    if broker.config.get().fetch_namesrv_addr_by_address_server {
        services.push(spawn("FetchNameServer", Arc::default(), address_server::run)?);
    }
    if let Some(timer) = &broker.timer {
        services.extend(start_timer(broker, timer)?);
    }
    let copies_tables = broker.replication.news.signal();
    if broker.store.config().is_slave() {
        services.push(spawn("SlaveSync", copies_tables, slave_sync::run)?);
    } else {
        services.push(spawn("SlaveFeed", copies_tables, feed::run)?);
        let signal = broker.delay.signal();
        services.push(spawn("ScheduleMessage", signal, |broker, signal| {
            delay::run(broker, signal);
        })?);
        services.push(spawn("TransactionCheck", Arc::default(), transaction_check::run)?);
    }
    Ok(services)
}

fn start_timer(broker: &Arc<Broker>, timer: &Arc<TimerService>) -> io::Result<[ServiceThread; 2]> {
    let its_broker = Arc::downgrade(broker);
    timer.on_delivered(Box::new(move |topic, queue_id, result| {
        if let Some(broker) = its_broker.upgrade() {
            broker.stats.put(topic, queue_id, result.messages, result.wrote_bytes);
            broker.replication.news.tell();
        }
    }));
    let (works, flushes) = (Arc::clone(timer), Arc::clone(timer));
    let deliver = move |signal: &Signal| works.run(signal);
    let flush = move |signal: &Signal| flushes.run_flush(signal);
    Ok([
        ServiceThread::spawn("TimerMessage", timer.signal(), deliver)?,
        ServiceThread::spawn("TimerFlush", Arc::default(), flush)?,
    ])
}

/// The periodic tasks (spec: broker 1.4). They hold the broker weakly, and none waits for a peer.
fn schedule(broker: &Arc<Broker>, scheduler: &Scheduler) {
    let every = |what: &str, initial: Duration, period: Duration, task: fn(&Arc<Broker>)| {
        let broker = Arc::downgrade(broker);
        scheduler.at_fixed_rate(what, initial, period, move || {
            if let Some(broker) = broker.upgrade() {
                task(&broker);
            }
        });
    };
    let ms = |value: i64| Duration::from_millis(u64::try_from(value).unwrap_or(0).max(1));
    let seconds = Duration::from_secs;
    let (config, store) = (broker.config.get(), broker.settings.store.get());
    let persist_offsets = ms(config.flush_consumer_offset_interval.into());
    every("persist consumer offsets", seconds(10), persist_offsets, |broker| {
        persist_consumer_offsets(broker);
    });
    let persist_delay = ms(store.flush_delay_offset_interval);
    every("persist consumer filters", seconds(10), seconds(10), persist_consumer_filters);
    every("persist delay offsets", seconds(10), persist_delay, |broker| {
        broker.delay.persist(&broker.store);
    });
    let midnight = LocalTime::from_epoch_ms(now_ms()).start_of_day().to_epoch_ms() + DAY_MS;
    every("daily totals", ms(midnight - now_ms()), ms(DAY_MS), runtime_info::pass_midnight);
    every("stop slow groups", seconds(180), seconds(180), consumer_manage::stop_slow_groups);
    every("expire silent clients", seconds(10), seconds(10), |broker| {
        client_manage::expire_silent_clients(broker);
    });
    every("refresh name servers", seconds(10), seconds(120), |broker| {
        if let Err(error) = broker.registration.refresh(broker) {
            log::warn!("the list of name servers could not be taken over: {error}");
        }
    });
    let register = Duration::from_millis(config.register_period_ms());
    every("register", seconds(10), register, |broker| {
        broker.registration.trigger(broker.config.get().force_register);
    });
    schedule_statistics(broker, scheduler);
}

/// Samples each window at its rate from now on, and writes its figures to the log of statistics when
/// a minute, an hour or a day is over.
fn schedule_statistics(broker: &Arc<Broker>, scheduler: &Scheduler) {
    let ms = |value: i64| Duration::from_millis(u64::try_from(value).unwrap_or(0).max(1));
    let every = |what: &str, initial, period, task: Box<dyn Fn(&Broker) + Send>| {
        let broker = Arc::downgrade(broker);
        scheduler.at_fixed_rate(what, initial, period, move || {
            if let Some(broker) = broker.upgrade() {
                task(&broker);
            }
        });
    };
    let now = now_ms();
    let to_next = |length_ms: i64| ms(length_ms - now.rem_euclid(length_ms));
    let to_midnight = ms(LocalTime::from_epoch_ms(now).start_of_day().to_epoch_ms() + DAY_MS - now);
    for (window, to_end, length_ms) in [
        (Window::Minute, to_next(MINUTE_MS), MINUTE_MS),
        (Window::Hour, to_next(HOUR_MS), HOUR_MS),
        (Window::Day, to_midnight, DAY_MS),
    ] {
        let sample = move |broker: &Broker| broker.stats.sample(window, now_ms());
        let period = ms(window.period_ms());
        every("sample statistics", Duration::ZERO, period, Box::new(sample));
        let log = move |broker: &Broker| broker.stats.log(window);
        every("log statistics", to_end, ms(length_ms), Box::new(log));
    }
    let log_moments = |broker: &Broker| broker.stats.log_moments();
    every("log statistics", to_next(MINUTE_MS), ms(5 * MINUTE_MS), Box::new(log_moments));
}

fn persist_consumer_offsets(broker: &Broker) {
    // What a consumer gave back, and then passed, is on the disk first where puts wait for that.
    let persisted = broker.consumer_offsets.persist_after(|| {
        broker.store.assure();
    });
    if let Err(error) = persisted {
        log::error!("the consumer offsets could not be written: {error}; tried again later");
    }
}

fn persist_consumer_filters(broker: &Arc<Broker>) {
    let filters = &broker.consumer_filters;
    filters.give_up_offline(|group| broker.consumers.get(group).is_some());
    if let Err(error) = filters.persist(broker.config.get().filter_data_clean_time_span) {
        log::error!("the consumer filters could not be written: {error}; tried again later");
    }
}

impl RunningBroker {
    /// The address that it listens on for everything.
    pub fn main_addr(&self) -> SocketAddr {
        self.main.local_addr()
    }

    /// The address that it listens on for everything but pulls.
    pub fn fast_addr(&self) -> SocketAddr {
        self.fast.local_addr()
    }

    /// The line that scripts wait for.
    pub fn boot_line(&self) -> String {
        let config = self.broker.config.get();
        let name_servers = match config.namesrv_addr.as_str() {
            "" => String::new(),
            list => format!(" and name server is {list}"),
        };
        format!(
            "The broker[{}, {}] boot success. serializeType=JSON{name_servers}",
            config.broker_name, self.broker.store_host
        )
    }

    /// Stops orderly, within about twenty seconds whatever the peers do. Idempotent. The order:
    ///
    /// 1. No periodic task starts; the name servers forget this broker, so that clients go elsewhere.
    /// 2. Nobody connects any more; what was read is answered: held pulls, then the pools.
    /// 3. Background threads end, connections are closed.
    /// 4. Replication ends; the store flushes and closes; consumer and delay offsets and filters are persisted.
    pub fn shutdown(&self) {
        let services = std::mem::take(&mut *lock(&self.services));
        if services.is_empty() {
            return;
        }
        let began = Instant::now();
        let broker = &self.broker;
        self.scheduler.stop();
        broker.registration.unregister(broker);
        self.main.stop_accepting();
        self.fast.stop_accepting();
        for service in &services {
            service.stop(JOIN_LIMIT);
        }
        broker.pools.stop(DRAIN_LIMIT);
        self.main.stop(JOIN_LIMIT);
        self.fast.stop(JOIN_LIMIT);
        broker.replication.stop();
        broker.store.shutdown_with(|| {
            if let Some(timer) = &broker.timer {
                timer.close();
            }
        });
        broker.delay.persist(&broker.store);
        persist_consumer_offsets(broker);
        persist_consumer_filters(broker);
        log::info!("the broker stopped within {} ms", began.elapsed().as_millis());
    }
}

impl Drop for RunningBroker {
    fn drop(&mut self) {
        self.shutdown();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::broker::testing::{Folder, TestBroker, wait_until};
    use crate::store::config::FlushDiskType;
    use crate::store::fault::{Operation, inject_delay};

    const FILES: [&str; 4] =
        ["topics.json", "subscriptionGroup.json", "consumerOffset.json", "consumerFilter.json"];

    fn load(folder: &Folder) -> Result<Tables, StartError> {
        load_tables(&BrokerConfig::default(), folder.path(), &StoreConfig::default())
    }

    #[test]
    fn offsets_are_written_when_what_was_given_back_is_on_the_disk() {
        let test = TestBroker::start_with(|configuration| {
            configuration.store.flush_disk_type = FlushDiskType::SyncFlush;
        });
        let broker = &test.running.broker;
        test.make_topic("T", "1");
        test.send("T", "0", "x");
        broker.consumer_offsets.commit("g", "T", 0, 1);
        persist_consumer_offsets(broker);
        let written = || test.file("consumerOffset.json");
        assert!(written().contains("{0:1"));
        let log = broker.store.commit_log().folder().to_owned();
        let slow = inject_delay(Operation::Flush, &log, Duration::from_secs(60));
        std::thread::scope(|scope| {
            let send = scope.spawn(|| test.send("T", "0", "y"));
            let end = broker.store.commit_log().flushed_offset();
            wait_until("it is appended", || broker.store.commit_log_max_offset() > end);
            broker.consumer_offsets.commit("g", "T", 0, 2);
            let persist = scope.spawn(|| persist_consumer_offsets(broker));
            std::thread::sleep(Duration::from_millis(200));
            assert!(written().contains("{0:1") && !persist.is_finished());
            drop(slow);
            send.join().unwrap();
            persist.join().unwrap();
        });
        assert!(written().contains("{0:2"));
    }

    /// Every byte changed, and cut at many lengths: the tables are the file's, or its `.bak`'s, or the refusal
    /// names the file.
    #[test]
    fn damaged_tables_are_read_from_the_copy_or_refused_by_name() {
        let folder = Folder::new();
        {
            let broker = TestBroker::start();
            broker.make_topic("T", "2");
            broker.ask(200, &[], r#"{"groupName":"G","retryMaxTimes":3}"#);
            let offset =
                [("consumerGroup", "G"), ("topic", "T"), ("queueId", "1"), ("commitOffset", "7")];
            broker.ask(15, &offset, "");
            broker.running.shutdown();
            let root = broker.running.broker.store.config().store_path_root_dir.clone();
            for name in FILES {
                let text = fs::read_to_string(Path::new(&root).join("config").join(name));
                folder.write(name, &text.unwrap_or_else(|_| "{}".to_owned()));
            }
        }
        load(&folder).unwrap_or_else(|error| panic!("{error}"));
        for name in FILES {
            let path = folder.path().join("config").join(name);
            let whole = fs::read(&path).unwrap();
            let copy = folder.path().join("config").join(format!("{name}.bak"));
            let cut = (0..whole.len()).step_by(5).map(|length| whole[..length].to_vec());
            let changed = (0..whole.len()).map(|at| {
                let mut bytes = whole.clone();
                bytes[at] ^= [0x01, 0x10, 0x80][at % 3];
                bytes
            });
            for bytes in cut.chain(changed) {
                fs::write(&path, &bytes).unwrap();
                let _ = fs::remove_file(&copy);
                if let Err(error) = load(&folder) {
                    assert!(error.to_string().contains(name), "{error}");
                    fs::write(&copy, &whole).unwrap();
                    load(&folder).unwrap_or_else(|error| panic!("{error}"));
                }
            }
            fs::write(&path, &whole).unwrap();
            let _ = fs::remove_file(&copy);
        }
    }
}
