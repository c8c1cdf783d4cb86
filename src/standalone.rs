//! [`Standalone`]: a name server and a broker in this process, for programs that bring their own
//! RocketMQ along, for tests, and for the examples of [`client`](crate::client). `mqbroker
//! --standalone` starts its name server here.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::broker::startup::{self, Configuration, RunningBroker};
use crate::client::ClientError;
use crate::client::admin::AdminClient;
use crate::namesrv::{self, Namesrv, NamesrvConfig};
use crate::remoting::config::ServerConfig;
use crate::remoting::protocol::bodies::TopicConfig;

/// Commit-log files of a temporary store, bytes.
const SMALL_LOG_BYTES: i32 = 16 << 20;
/// Consume-queue files of a temporary store, bytes: whole units of 20.
const SMALL_QUEUE_BYTES: i32 = 20 * 3000;
/// How long a temporary broker lets a send take before it refuses others, milliseconds.
const PATIENCE_MS: u16 = 60_000;
/// How long a new topic may take to be known by the name server.
const ROUTE_LIMIT: Duration = Duration::from_secs(20);

/// A running name server and broker. Dropping it stops both, and removes the store if it is a
/// temporary one.
///
/// ```
/// use rocketmq::Standalone;
/// use rocketmq::client::{Message, ProducerOptions};
///
/// let site = Standalone::temporary()?;
/// site.create_topic("Orders", 4)?;
/// let producer = ProducerOptions::new("shop").name_servers(site.name_servers()).start()?;
/// producer.send(&Message::new("Orders", "one book"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Standalone {
    broker: RunningBroker,
    namesrv: Namesrv,
    temporary: Option<PathBuf>,
}

impl std::fmt::Debug for Standalone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standalone").field("name_servers", &self.name_servers()).finish()
    }
}

/// Starts a name server whose files lie beside the store of `configuration`, and makes the broker
/// that is started from it register there. Port 0 picks one.
pub fn start_name_server(
    configuration: &mut Configuration,
    port: u16,
) -> Result<Namesrv, namesrv::StartError> {
    let folder = Path::new(&configuration.store.store_path_root_dir).join("namesrv");
    let config = NamesrvConfig {
        rocketmq_home: configuration.broker.rocketmq_home.clone(),
        kv_config_path: folder.join("kvConfig.json").to_string_lossy().into_owned(),
        config_store_path: folder.join("namesrv.properties").to_string_lossy().into_owned(),
        ..NamesrvConfig::default()
    };
    let server = ServerConfig { listen_port: port, ..ServerConfig::default() };
    let namesrv = Namesrv::start(config, server)?;
    configuration.broker.namesrv_addr = format!("127.0.0.1:{}", namesrv.local_addr().port());
    Ok(namesrv)
}

impl Standalone {
    /// Starts a name server on a free port, and a broker from `configuration`, registered there.
    ///
    /// # Errors
    /// The configuration is wrong, a port is taken, the store cannot be opened: a sentence says it.
    pub fn start(mut configuration: Configuration) -> Result<Self, Box<dyn std::error::Error>> {
        let namesrv = start_name_server(&mut configuration, 0)?;
        let broker = startup::start(configuration)?;
        Ok(Self { broker, namesrv, temporary: None })
    }

    /// The same on free ports of this machine only, with a small store that is removed at the end,
    /// and without the refusals by which a broker protects itself from more than it can do
    /// (`brokerFastFailureEnable`).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn temporary() -> Result<Self, Box<dyn std::error::Error>> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rocketmq-standalone-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let mut configuration = Configuration {
            server: ServerConfig { listen_port: 0, ..ServerConfig::default() },
            file: Some(folder.join("broker.conf")),
            ..Configuration::default()
        };
        configuration.broker.broker_ip1 = "127.0.0.1".to_owned();
        configuration.broker.broker_name = "broker-a".to_owned();
        let store = &mut configuration.store;
        store.store_path_root_dir = folder.join("store").to_string_lossy().into_owned();
        store.mapped_file_size_commit_log = SMALL_LOG_BYTES.into();
        store.mapped_file_size_consume_queue = SMALL_QUEUE_BYTES.into();
        // On a machine that is busy a send may be late, and is not refused for it.
        configuration.broker.broker_fast_failure_enable = false;
        let store = &mut configuration.store;
        store.os_page_cache_busy_time_out_mills = PATIENCE_MS.into();
        store.sync_flush_timeout = PATIENCE_MS.into();
        let mut site = Self::start(configuration)?;
        site.temporary = Some(folder);
        Ok(site)
    }

    /// Address of the name server, for clients of this machine.
    pub fn name_servers(&self) -> String {
        format!("127.0.0.1:{}", self.namesrv.local_addr().port())
    }

    /// Creates a topic with so many queues, and waits until the name server knows it.
    pub fn create_topic(&self, topic: &str, queues: i32) -> Result<(), ClientError> {
        let admin = AdminClient::new(vec![self.name_servers()]);
        let broker = format!("127.0.0.1:{}", self.broker.main_addr().port());
        let config = TopicConfig {
            topic_name: topic.to_owned(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            ..TopicConfig::default()
        };
        admin.create_topic(&broker, &config)?;
        let began = Instant::now();
        loop {
            match admin.route(topic) {
                Err(ClientError::NoRoute { .. }) if began.elapsed() < ROUTE_LIMIT => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                outcome => return outcome.map(drop),
            }
        }
    }

    /// Stops the broker, then the name server. Idempotent.
    pub fn shutdown(&self) {
        self.broker.shutdown();
        self.namesrv.stop();
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        self.shutdown();
        if let Some(folder) = &self.temporary
            && let Err(error) = std::fs::remove_dir_all(folder)
        {
            log::warn!("{} is left behind: {error}", folder.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A topic that is made is told to the name server first; sends that wait behind that are stored.
    #[test]
    fn a_temporary_broker_refuses_no_send_for_being_late() {
        let site = Standalone::temporary().unwrap();
        let config = site.broker.broker.config.get();
        assert!(!config.broker_fast_failure_enable);
        let store = site.broker.broker.store.config();
        assert_eq!(store.os_page_cache_busy_time_out_mills, i64::from(PATIENCE_MS));
    }
}
