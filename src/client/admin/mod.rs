//! [`AdminClient`]: what operators ask of name servers and brokers, one typed method for each
//! request, and a few calls that go to several of them.
//!
//! It keeps no state but its connections: no route is cached, no heartbeat sent. The methods are in
//! files by what they are about: `name_server`, `topic`, `group`, `broker`, `offset`, `message`. What
//! the sub-commands of `mqadmin` print is in [`tools`](crate::tools).

mod across;
mod broker;
mod group;
mod message;
mod name_server;
mod offset;
mod topic;

use std::sync::Arc;
use std::time::Duration;

use super::ClientError;
use super::config::{Interceptors, NameServerList};
use crate::common::json::{FromJson, Json};
use crate::remoting::RemotingError;
use crate::remoting::client::RemotingClient;
use crate::remoting::command::Command;
use crate::remoting::config::ClientConfig;
use crate::remoting::header::Header;
use crate::remoting::protocol::bodies::{BrokerData, ClusterInfo};
use crate::remoting::protocol::response_code;

pub use across::{MessageTrack, Reset};
pub use message::{PullFrom, PullStatus, Pulled, Sent};

/// Limit of a request, as in Java's tools.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// So much longer may requests take that a broker relays to a client or computes at length.
const LONGER: u32 = 3;

/// The outcome of a call.
pub type AdminResult<T> = Result<T, ClientError>;

/// An operator's client.
///
/// ```
/// use rocketmq::client::admin::{AdminClient, address_of};
/// use rocketmq::remoting::protocol::bodies::TopicConfig;
/// # let site = rocketmq::Standalone::temporary()?;
/// # site.create_topic("Orders", 2)?;
/// # let names = site.name_servers();
///
/// let admin = AdminClient::new(names);
/// let route = admin.route("Orders")?;
/// let broker = address_of(&route.broker_datas[0]).ok_or("no address")?;
/// for (queue, extent) in admin.topic_stats(broker, "Orders")?.offset_table {
///     println!("{queue:?}: {} to {}", extent.min_offset, extent.max_offset);
/// }
/// let bills = TopicConfig { topic_name: "Bills".into(), ..TopicConfig::default() };
/// admin.create_topic(broker, &bills)?;
/// assert!(admin.topic_configs(broker)?.topic_config_table.contains_key("Bills"));
/// println!("{:?}", admin.cluster_info()?.cluster_addr_table);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AdminClient {
    remoting: Arc<RemotingClient>,
    name_servers: Vec<String>,
    limit: Duration,
    interceptor: Interceptors,
}

impl std::fmt::Debug for AdminClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminClient").field("name_servers", &self.name_servers).finish()
    }
}

/// The address that answers for a broker: the master, else any slave.
pub fn address_of(broker: &BrokerData) -> Option<&str> {
    broker.broker_addrs.values().next().map(String::as_str)
}

/// All broker addresses of a cluster; with `masters_only` those with id 0. An unknown cluster is an
/// error.
///
/// ```
/// use rocketmq::client::admin::{AdminClient, AdminResult, addresses_of_cluster};
/// # let site = rocketmq::Standalone::temporary()?;
/// # site.create_topic("Orders", 2)?;
/// # let names = site.name_servers();
/// let admin = AdminClient::new(names);
/// let masters = addresses_of_cluster(&admin.cluster_info()?, "DefaultCluster", true)?;
/// let count = |broker: &String| -> AdminResult<usize> {
///     Ok(admin.topic_configs(broker)?.topic_config_table.len())
/// };
/// println!("{} topics", count(&masters[0])?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn addresses_of_cluster(
    info: &ClusterInfo,
    cluster: &str,
    masters_only: bool,
) -> AdminResult<Vec<String>> {
    let names = info.cluster_addr_table.get(cluster).ok_or_else(|| {
        let known: Vec<_> = info.cluster_addr_table.keys().map(String::as_str).collect();
        ClientError::Invalid(format!(
            "there is no cluster \"{cluster}\"; the name server knows: {}",
            known.join(", ")
        ))
    })?;
    let brokers = names.iter().filter_map(|name| info.broker_addr_table.get(name));
    let addrs = brokers.flat_map(|broker| &broker.broker_addrs);
    Ok(addrs.filter(|(id, _)| !masters_only || **id == 0).map(|(_, addr)| addr.clone()).collect())
}

impl AdminClient {
    /// A client of these name servers (`host:port`, separated by `;`); with none it can only talk to
    /// brokers.
    pub fn new(name_servers: impl Into<NameServerList>) -> Self {
        Self {
            remoting: RemotingClient::new(ClientConfig::default()),
            name_servers: name_servers.into().0,
            limit: REQUEST_LIMIT,
            interceptor: Interceptors::default(),
        }
    }

    /// Sets the limit of a request, 5 s by default. What a broker relays to a client, or computes at
    /// length, has three times as much.
    ///
    /// ```
    /// use rocketmq::client::admin::AdminClient;
    /// use std::time::Duration;
    ///
    /// let admin = AdminClient::new("10.0.0.1:9876;10.0.0.2:9876").limit(Duration::from_secs(1));
    /// assert_eq!(admin.name_servers().len(), 2);
    /// admin.shutdown();
    /// ```
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sets what sees every request and may add fields to it, such as credentials; and every answer.
    #[must_use]
    pub fn interceptor(mut self, interceptor: impl Into<Interceptors>) -> Self {
        self.interceptor = interceptor.into();
        self
    }

    /// The name servers.
    pub fn name_servers(&self) -> &[String] {
        &self.name_servers
    }

    /// Closes all connections.
    pub fn shutdown(&self) {
        self.remoting.shutdown();
    }

    // Calls.

    /// One request, and its answer with whatever code.
    fn exchange(
        &self,
        addr: &str,
        mut request: Command,
        limit: Duration,
    ) -> Result<Command, RemotingError> {
        let Some(interceptor) = &self.interceptor.0 else {
            return self.remoting.call(addr, request, limit);
        };
        interceptor.before_request(addr, &mut request);
        let code = request.code;
        let answer = self.remoting.call(addr, request, limit)?;
        interceptor.after_response(addr, code, &answer);
        Ok(answer)
    }

    fn call_any_code(&self, addr: &str, request: Command, limit: Duration) -> AdminResult<Command> {
        self.exchange(addr, request, limit).map_err(ClientError::Remoting)
    }

    /// The limit of what takes long.
    fn long_limit(&self) -> Duration {
        self.limit.saturating_mul(LONGER)
    }

    fn call(&self, addr: &str, request: Command) -> AdminResult<Command> {
        self.call_within(addr, request, self.limit)
    }

    fn call_within(&self, addr: &str, request: Command, limit: Duration) -> AdminResult<Command> {
        let answer = self.call_any_code(addr, request, limit)?;
        if answer.code == response_code::SUCCESS { Ok(answer) } else { Err(refused(addr, answer)) }
    }

    /// Calls the first name server that can be reached; one that does not know a topic (it may just have
    /// started) is not the last word while there are others.
    fn call_name_server(&self, request: Command) -> AdminResult<(Command, &str)> {
        let (mut last, mut ignorant) = (None, None);
        for addr in &self.name_servers {
            match self.exchange(addr, request.clone(), self.limit) {
                Ok(answer) if answer.code == response_code::SUCCESS => return Ok((answer, addr)),
                Ok(answer) if answer.code == response_code::TOPIC_NOT_EXIST => {
                    ignorant = Some(refused(addr, answer));
                }
                Ok(answer) => return Err(refused(addr, answer)),
                Err(error) => last = Some(error),
            }
        }
        if let Some(unknown) = ignorant {
            return Err(unknown);
        }
        Err(last.map_or(ClientError::NoNameServer, |last| ClientError::NameServer {
            tried: self.name_servers.clone(),
            last,
        }))
    }

    /// Calls every name server in turn; the first failure ends it.
    fn call_all_name_servers(&self, request: &Command) -> AdminResult<()> {
        if self.name_servers.is_empty() {
            return Err(ClientError::NoNameServer);
        }
        for addr in &self.name_servers {
            self.call(addr, request.clone())?;
        }
        Ok(())
    }

    fn ask_name_server<T: FromJson>(&self, request: Command) -> AdminResult<T> {
        let (answer, addr) = self.call_name_server(request)?;
        body_of(addr, &answer)
    }

    fn ask<T: FromJson>(&self, addr: &str, request: Command) -> AdminResult<T> {
        self.ask_within(addr, request, self.limit)
    }

    fn ask_within<T: FromJson>(
        &self,
        addr: &str,
        request: Command,
        limit: Duration,
    ) -> AdminResult<T> {
        body_of(addr, &self.call_within(addr, request, limit)?)
    }
}

fn with(code: i32, header: &impl Header) -> Command {
    Command::request(code).with_header(header)
}

fn refused(addr: &str, answer: Command) -> ClientError {
    ClientError::Broker {
        code: answer.code,
        remark: answer.remark.unwrap_or_default(),
        addr: addr.to_owned(),
    }
}

fn not_understood(addr: &str, reason: impl ToString) -> ClientError {
    ClientError::Decode { addr: addr.to_owned(), reason: reason.to_string() }
}

fn header_of<H: Header>(addr: &str, answer: &Command) -> AdminResult<H> {
    answer.header().map_err(|error| not_understood(addr, error))
}

fn body_of<T: FromJson>(addr: &str, answer: &Command) -> AdminResult<T> {
    Json::parse(answer.body.as_bytes())
        .and_then(|json| T::from_json(&json))
        .map_err(|error| not_understood(addr, error))
}

fn text_of(addr: &str, answer: Command) -> AdminResult<String> {
    String::from_utf8(answer.body.into_bytes())
        .map_err(|_| not_understood(addr, "the text is not UTF-8"))
}
