//! [`AdminClient`]: what operators ask of name servers and brokers, one typed method for each
//! request, and a few calls that go to several of them.
//!
//! It keeps no state but its connections: no route is cached, no heartbeat sent. What the
//! sub-commands of `mqadmin` print is in [`tools`](crate::tools).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::ClientError;
use crate::common::json::{FromJson, Json, Style, ToJson};
use crate::common::message::{Message, MessageExt};
use crate::common::properties::{self, Properties};
use crate::common::record::read_messages;
use crate::common::sys_flag;
use crate::common::topic::{AUTO_CREATE_TOPIC, retry_topic};
use crate::common::{clock, message_id};
use crate::remoting::client::RemotingClient;
use crate::remoting::command::Command;
use crate::remoting::config::ClientConfig;
use crate::remoting::header::Header;
use crate::remoting::protocol::admin_bodies::{
    BrokerStatsData, ConsumeQueueEntries, ConsumeStats, ConsumeStatsList, ConsumerConnection,
    GroupList, ProducerConnection, ProducerTable, TopicStatsTable,
};
use crate::remoting::protocol::admin_headers::{
    CreateTopicRequestHeader, DeleteSubscriptionGroupRequestHeader,
    GetBrokerConsumeStatsRequestHeader, GetConsumeStatsRequestHeader, ProducerGroupHeader,
    QueryConsumeQueueRequestHeader, QueryMessageRequestHeader, TopicHeader, UNIQUE_KEY_QUERY,
    ViewBrokerStatsDataRequestHeader, ViewMessageRequestHeader,
};
use crate::remoting::protocol::bodies::{
    BrokerData, ClusterInfo, ConsumeDirectlyResult, ConsumerRunningInfo, KvTable, MessageQueue,
    OffsetTable, SubscriptionGroupConfig, SubscriptionGroupTable, TopicConfig, TopicConfigTable,
    TopicList, TopicRouteData,
};
use crate::remoting::protocol::headers::{
    ConsumeMessageDirectlyRequestHeader, ConsumerGroupHeader, GetConsumerRunningInfoRequestHeader,
    GetRouteInfoRequestHeader, OffsetResponseHeader, PullMessageRequestHeader,
    PullMessageResponseHeader, QueryConsumerOffsetRequestHeader, QueueRequestHeader,
    ResetOffsetRequestHeader, SearchOffsetRequestHeader, SendMessageRequestHeaderV2,
    SendMessageResponseHeader, UpdateConsumerOffsetRequestHeader,
};
use crate::remoting::protocol::namesrv_headers::{
    AddWritePermResponseHeader, BrokerNameHeader, DeleteTopicInNamesrvHeader,
    GetKvConfigResponseHeader, KvConfigHeader, WipeWritePermResponseHeader,
};
use crate::remoting::protocol::{request_code, response_code};

/// Limit of a request, as in Java's tools.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Limit of requests that a broker relays to a client or computes at length.
const LONG_LIMIT: Duration = Duration::from_secs(15);
/// Messages that QUERY_MESSAGE is asked for.
const QUERY_LIMIT: i32 = 64;
/// A compressed body may unpack to so many bytes; a larger one stays as it is.
const INFLATE_LIMIT: usize = 64 * 1024 * 1024;

/// The outcome of a call.
pub type AdminResult<T> = Result<T, ClientError>;

/// What became of a message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// `SEND_OK`, `FLUSH_DISK_TIMEOUT`, `FLUSH_SLAVE_TIMEOUT` or `SLAVE_NOT_AVAILABLE`.
    pub status: &'static str,
    /// Unique key.
    pub message_id: String,
    /// Offset message id.
    pub offset_message_id: String,
    /// Where it lies.
    pub queue: MessageQueue,
    /// Index in the queue.
    pub queue_offset: i64,
}

/// What a pull brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// `FOUND`, `NO_NEW_MSG`, `NO_MATCHED_MSG` or `OFFSET_ILLEGAL`.
    pub status: PullStatus,
    /// Where to go on.
    pub next_offset: i64,
    /// First offset of the queue.
    pub min_offset: i64,
    /// Next offset to be written.
    pub max_offset: i64,
    /// Messages, bodies unpacked.
    pub messages: Vec<MessageExt>,
}

/// The kinds of answers to a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    /// Messages came.
    Found,
    /// Nothing lies at this offset yet.
    NoNewMessage,
    /// What lies here does not match the expression.
    NoMatchedMessage,
    /// The offset is outside of the queue.
    OffsetIllegal,
}

impl PullStatus {
    /// Java's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::NoNewMessage => "NO_NEW_MSG",
            Self::NoMatchedMessage => "NO_MATCHED_MSG",
            Self::OffsetIllegal => "OFFSET_ILLEGAL",
        }
    }
}

/// What is pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullFrom<'a> {
    /// Group that the broker counts it for.
    pub group: &'a str,
    /// Queue.
    pub queue: &'a MessageQueue,
    /// First offset wanted.
    pub offset: i64,
    /// Messages wanted at most.
    pub max_messages: i32,
    /// Tags, `a || b`, or `*`.
    pub expression: &'a str,
    /// How long the broker may hold the request when nothing is there; zero answers at once.
    pub hold: Duration,
}

/// An operator's client.
pub struct AdminClient {
    remoting: Arc<RemotingClient>,
    name_servers: Vec<String>,
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
    /// A client of these name servers (`host:port`); with none it can only talk to brokers.
    pub fn new(name_servers: Vec<String>) -> Self {
        Self { remoting: RemotingClient::new(ClientConfig::default()), name_servers }
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

    fn call_any_code(&self, addr: &str, request: Command, limit: Duration) -> AdminResult<Command> {
        self.remoting.call(addr, request, limit).map_err(ClientError::Remoting)
    }

    fn call(&self, addr: &str, request: Command) -> AdminResult<Command> {
        self.call_within(addr, request, REQUEST_LIMIT)
    }

    fn call_within(&self, addr: &str, request: Command, limit: Duration) -> AdminResult<Command> {
        let answer = self.call_any_code(addr, request, limit)?;
        if answer.code == response_code::SUCCESS { Ok(answer) } else { Err(refused(addr, answer)) }
    }

    /// Calls the first name server that can be reached.
    fn call_name_server(&self, request: Command) -> AdminResult<(Command, &str)> {
        let mut last = None;
        for addr in &self.name_servers {
            match self.remoting.call(addr, request.clone(), REQUEST_LIMIT) {
                Ok(answer) if answer.code == response_code::SUCCESS => return Ok((answer, addr)),
                Ok(answer) => return Err(refused(addr, answer)),
                Err(error) => last = Some(error),
            }
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
        self.ask_within(addr, request, REQUEST_LIMIT)
    }

    fn ask_within<T: FromJson>(
        &self,
        addr: &str,
        request: Command,
        limit: Duration,
    ) -> AdminResult<T> {
        body_of(addr, &self.call_within(addr, request, limit)?)
    }

    // Name servers: routes.

    /// The route of a topic (105).
    pub fn route(&self, topic: &str) -> AdminResult<TopicRouteData> {
        let header = GetRouteInfoRequestHeader {
            topic: topic.to_owned(),
            accept_standard_json_only: Some(true),
        };
        let request = with(request_code::GET_ROUTEINFO_BY_TOPIC, &header);
        self.ask_name_server(request).map_err(|error| match error {
            ClientError::Broker { code: response_code::TOPIC_NOT_EXIST, .. } => {
                ClientError::NoRoute { topic: topic.to_owned() }
            }
            other => other,
        })
    }

    /// All clusters and brokers (106).
    pub fn cluster_info(&self) -> AdminResult<ClusterInfo> {
        self.ask_name_server(Command::request(request_code::GET_BROKER_CLUSTER_INFO))
    }

    /// All topics (206).
    pub fn topic_list(&self) -> AdminResult<Vec<String>> {
        let request = Command::request(request_code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
        self.ask_name_server::<TopicList>(request).map(|list| list.topic_list)
    }

    /// Makes one name server forget a topic, on the brokers of `cluster` or everywhere (216).
    pub fn delete_topic_in_name_server(
        &self,
        name_server: &str,
        topic: &str,
        cluster: Option<&str>,
    ) -> AdminResult<()> {
        let header = DeleteTopicInNamesrvHeader {
            topic: Some(topic.to_owned()),
            cluster_name: cluster.map(str::to_owned),
        };
        self.call(name_server, with(request_code::DELETE_TOPIC_IN_NAMESRV, &header)).map(drop)
    }

    /// Takes the write permission of a broker away at one name server (205). Returns the number of
    /// topics.
    pub fn wipe_write_perm(&self, name_server: &str, broker_name: &str) -> AdminResult<i32> {
        let header = BrokerNameHeader { broker_name: Some(broker_name.to_owned()) };
        let request = with(request_code::WIPE_WRITE_PERM_OF_BROKER, &header);
        let answer = self.call(name_server, request)?;
        header_of::<WipeWritePermResponseHeader>(name_server, &answer).map(|h| h.wipe_topic_count)
    }

    /// Gives it back (327).
    pub fn add_write_perm(&self, name_server: &str, broker_name: &str) -> AdminResult<i32> {
        let header = BrokerNameHeader { broker_name: Some(broker_name.to_owned()) };
        let request = with(request_code::ADD_WRITE_PERM_OF_BROKER, &header);
        let answer = self.call(name_server, request)?;
        header_of::<AddWritePermResponseHeader>(name_server, &answer).map(|h| h.add_topic_count)
    }

    // Name servers: KV table and configuration.

    /// Writes a KV entry at every name server (100).
    pub fn put_kv(&self, namespace: &str, key: &str, value: &str) -> AdminResult<()> {
        let header = kv_header(namespace, Some(key), Some(value));
        self.call_all_name_servers(&with(request_code::PUT_KV_CONFIG, &header))
    }

    /// Removes a KV entry at every name server (102).
    pub fn delete_kv(&self, namespace: &str, key: &str) -> AdminResult<()> {
        let header = kv_header(namespace, Some(key), None);
        self.call_all_name_servers(&with(request_code::DELETE_KV_CONFIG, &header))
    }

    /// Reads a KV entry (101); `None` if it does not exist.
    pub fn get_kv(&self, namespace: &str, key: &str) -> AdminResult<Option<String>> {
        let header = kv_header(namespace, Some(key), None);
        match self.call_name_server(with(request_code::GET_KV_CONFIG, &header)) {
            Ok((answer, addr)) => {
                header_of::<GetKvConfigResponseHeader>(addr, &answer).map(|h| h.value)
            }
            Err(ClientError::Broker { code: response_code::QUERY_NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Property lines of a name server (319).
    pub fn name_server_config(&self, name_server: &str) -> AdminResult<String> {
        let request = Command::request(request_code::GET_NAMESRV_CONFIG);
        self.call(name_server, request).and_then(|answer| text_of(name_server, answer))
    }

    /// Changes properties of a name server (318).
    pub fn update_name_server_config(&self, name_server: &str, lines: &str) -> AdminResult<()> {
        let request =
            Command::request(request_code::UPDATE_NAMESRV_CONFIG).with_body(lines.to_owned());
        self.call(name_server, request).map(drop)
    }

    // Brokers: topics.

    /// Creates a topic on a broker, or replaces its settings (17).
    pub fn create_topic(&self, addr: &str, config: &TopicConfig) -> AdminResult<()> {
        let header = CreateTopicRequestHeader {
            topic: config.topic_name.clone(),
            default_topic: Some(AUTO_CREATE_TOPIC.to_owned()),
            read_queue_nums: config.read_queue_nums,
            write_queue_nums: config.write_queue_nums,
            perm: config.perm,
            topic_filter_type: config.topic_filter_type.clone(),
            topic_sys_flag: Some(config.topic_sys_flag),
            order: config.order,
        };
        self.call(addr, with(request_code::UPDATE_AND_CREATE_TOPIC, &header)).map(drop)
    }

    /// Deletes a topic on a broker (215).
    pub fn delete_topic(&self, addr: &str, topic: &str) -> AdminResult<()> {
        self.call(addr, with(request_code::DELETE_TOPIC_IN_BROKER, &topic_header(topic))).map(drop)
    }

    /// All topics of a broker (21).
    pub fn topic_configs(&self, addr: &str) -> AdminResult<TopicConfigTable> {
        self.ask(addr, Command::request(request_code::GET_ALL_TOPIC_CONFIG))
    }

    /// Extent of a topic's queues on a broker (202).
    pub fn topic_stats(&self, addr: &str, topic: &str) -> AdminResult<TopicStatsTable> {
        self.ask(addr, with(request_code::GET_TOPIC_STATS_INFO, &topic_header(topic)))
    }

    /// Groups that consume a topic (300).
    pub fn groups_of_topic(&self, addr: &str, topic: &str) -> AdminResult<Vec<String>> {
        let request = with(request_code::QUERY_TOPIC_CONSUME_BY_WHO, &topic_header(topic));
        self.ask::<GroupList>(addr, request).map(|list| list.group_list)
    }

    /// The topics of a broker that are the system's own (305).
    pub fn system_topics(&self, addr: &str) -> AdminResult<Vec<String>> {
        let request = Command::request(request_code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER);
        self.ask::<TopicList>(addr, request).map(|list| list.topic_list)
    }

    // Brokers: groups.

    /// Creates a group on a broker, or replaces its settings (200).
    pub fn create_group(&self, addr: &str, config: &SubscriptionGroupConfig) -> AdminResult<()> {
        let request = Command::request(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP)
            .with_body(config.to_json().write(Style::Fastjson));
        self.call(addr, request).map(drop)
    }

    /// Deletes a group on a broker (207).
    pub fn delete_group(&self, addr: &str, group: &str, remove_offset: bool) -> AdminResult<()> {
        let header =
            DeleteSubscriptionGroupRequestHeader { group_name: group.to_owned(), remove_offset };
        self.call(addr, with(request_code::DELETE_SUBSCRIPTIONGROUP, &header)).map(drop)
    }

    /// All groups of a broker (201).
    pub fn group_configs(&self, addr: &str) -> AdminResult<SubscriptionGroupTable> {
        self.ask(addr, Command::request(request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG))
    }

    /// How far a group is on a broker (208), on all topics or one.
    pub fn consume_stats(
        &self,
        addr: &str,
        group: &str,
        topic: Option<&str>,
    ) -> AdminResult<ConsumeStats> {
        let header = GetConsumeStatsRequestHeader {
            consumer_group: group.to_owned(),
            topic: topic.map(str::to_owned),
        };
        self.ask_within(addr, with(request_code::GET_CONSUME_STATS, &header), LONG_LIMIT)
    }

    /// How far a group is on all brokers, by the route of its retry topic.
    pub fn consume_stats_of_group(&self, group: &str) -> AdminResult<ConsumeStats> {
        let mut all = ConsumeStats::default();
        for broker in &self.route(&retry_topic(group))?.broker_datas {
            if let Some(addr) = address_of(broker) {
                let stats = self.consume_stats(addr, group, None)?;
                all.consume_tps += stats.consume_tps;
                all.offset_table.extend(stats.offset_table);
            }
        }
        Ok(all)
    }

    /// How far all groups of a broker are (317).
    pub fn consume_stats_of_broker(
        &self,
        addr: &str,
        is_order: bool,
        limit: Duration,
    ) -> AdminResult<ConsumeStatsList> {
        let header = GetBrokerConsumeStatsRequestHeader { is_order };
        self.ask_within(addr, with(request_code::GET_BROKER_CONSUME_STATS, &header), limit)
    }

    /// Clients of a consumer group on a broker (203).
    pub fn consumer_connection(&self, addr: &str, group: &str) -> AdminResult<ConsumerConnection> {
        let header = ConsumerGroupHeader { consumer_group: group.to_owned() };
        self.ask(addr, with(request_code::GET_CONSUMER_CONNECTION_LIST, &header))
    }

    /// Clients of a consumer group, from the first broker of its retry topic that knows some.
    pub fn consumer_connection_of_group(&self, group: &str) -> AdminResult<ConsumerConnection> {
        let topic = retry_topic(group);
        let route = self.route(&topic)?;
        self.first_answer(&topic, &route, |addr| self.consumer_connection(addr, group))
    }

    /// Clients of a producer group on a broker (204).
    pub fn producer_connection(&self, addr: &str, group: &str) -> AdminResult<ProducerConnection> {
        let header = ProducerGroupHeader { producer_group: group.to_owned() };
        self.ask(addr, with(request_code::GET_PRODUCER_CONNECTION_LIST, &header))
    }

    /// Clients of a producer group, from the first broker of `topic` that knows some.
    pub fn producer_connection_of_group(
        &self,
        group: &str,
        topic: &str,
    ) -> AdminResult<ProducerConnection> {
        let route = self.route(topic)?;
        self.first_answer(topic, &route, |addr| self.producer_connection(addr, group))
    }

    /// All producer clients of a broker (328).
    pub fn producers(&self, addr: &str) -> AdminResult<ProducerTable> {
        self.ask(addr, Command::request(request_code::GET_ALL_PRODUCER_INFO))
    }

    /// What a consumer client says of itself, relayed by a broker (307).
    pub fn consumer_running_info(
        &self,
        addr: &str,
        group: &str,
        client_id: &str,
        jstack_enable: bool,
    ) -> AdminResult<ConsumerRunningInfo> {
        let header = GetConsumerRunningInfoRequestHeader {
            consumer_group: group.to_owned(),
            client_id: client_id.to_owned(),
            jstack_enable,
        };
        self.ask_within(addr, with(request_code::GET_CONSUMER_RUNNING_INFO, &header), LONG_LIMIT)
    }

    /// The first success among the brokers of a route, else the last failure.
    fn first_answer<T>(
        &self,
        topic: &str,
        route: &TopicRouteData,
        ask: impl Fn(&str) -> AdminResult<T>,
    ) -> AdminResult<T> {
        let mut last = ClientError::NoBroker {
            name: topic.to_owned(),
            reason: "its route names no broker with an address",
        };
        for addr in route.broker_datas.iter().filter_map(address_of) {
            match ask(addr) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    // Brokers: state and configuration.

    /// The runtime table of a broker (28).
    pub fn runtime_info(&self, addr: &str) -> AdminResult<BTreeMap<String, String>> {
        let request = Command::request(request_code::GET_BROKER_RUNTIME_INFO);
        self.ask::<KvTable>(addr, request).map(|table| table.table)
    }

    /// Property lines of a broker (26).
    pub fn broker_config(&self, addr: &str) -> AdminResult<String> {
        let request = Command::request(request_code::GET_BROKER_CONFIG);
        self.call(addr, request).and_then(|answer| text_of(addr, answer))
    }

    /// Changes properties of a broker (25).
    pub fn update_broker_config(&self, addr: &str, lines: &str) -> AdminResult<()> {
        let request =
            Command::request(request_code::UPDATE_BROKER_CONFIG).with_body(lines.to_owned());
        self.call(addr, request).map(drop)
    }

    /// A statistic of a broker (315).
    pub fn broker_stats(&self, addr: &str, name: &str, key: &str) -> AdminResult<BrokerStatsData> {
        let header = ViewBrokerStatsDataRequestHeader {
            stats_name: name.to_owned(),
            stats_key: key.to_owned(),
        };
        self.ask(addr, with(request_code::VIEW_BROKER_STATS_DATA, &header))
    }

    /// Sends a request without header and body that only does something at the broker: 306, 316
    /// and 329.
    pub fn trigger(&self, addr: &str, code: i32) -> AdminResult<()> {
        self.call(addr, Command::request(code)).map(drop)
    }

    /// Entries of a consume queue (321).
    pub fn consume_queue(
        &self,
        addr: &str,
        queue: (&str, i32),
        range: (i64, i32),
        group: Option<&str>,
    ) -> AdminResult<ConsumeQueueEntries> {
        let header = QueryConsumeQueueRequestHeader {
            topic: queue.0.to_owned(),
            queue_id: queue.1,
            index: range.0,
            count: range.1,
            consumer_group: group.map(str::to_owned),
        };
        self.ask(addr, with(request_code::QUERY_CONSUME_QUEUE, &header))
    }

    // Brokers: offsets.

    /// Next offset of a queue (30).
    pub fn max_offset(&self, addr: &str, queue: &MessageQueue) -> AdminResult<i64> {
        self.queue_offset(addr, with(request_code::GET_MAX_OFFSET, &queue_header(queue)))
    }

    /// First offset of a queue (31).
    pub fn min_offset(&self, addr: &str, queue: &MessageQueue) -> AdminResult<i64> {
        self.queue_offset(addr, with(request_code::GET_MIN_OFFSET, &queue_header(queue)))
    }

    /// The offset stored nearest to a time, ms (29).
    pub fn search_offset(
        &self,
        addr: &str,
        queue: &MessageQueue,
        timestamp: i64,
    ) -> AdminResult<i64> {
        let header = SearchOffsetRequestHeader {
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            timestamp,
            broker_name: Some(queue.broker_name.clone()),
        };
        self.queue_offset(addr, with(request_code::SEARCH_OFFSET_BY_TIMESTAMP, &header))
    }

    fn queue_offset(&self, addr: &str, request: Command) -> AdminResult<i64> {
        let answer = self.call(addr, request)?;
        header_of::<OffsetResponseHeader>(addr, &answer).map(|header| header.offset)
    }

    /// Where a group stands in a queue (14); `None` if it was never there.
    pub fn consumer_offset(
        &self,
        addr: &str,
        group: &str,
        queue: &MessageQueue,
    ) -> AdminResult<Option<i64>> {
        let header = QueryConsumerOffsetRequestHeader {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            broker_name: Some(queue.broker_name.clone()),
        };
        match self.queue_offset(addr, with(request_code::QUERY_CONSUMER_OFFSET, &header)) {
            Ok(offset) => Ok(Some(offset)),
            Err(ClientError::Broker { code: response_code::QUERY_NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the offset of a group (15).
    pub fn update_consumer_offset(
        &self,
        addr: &str,
        group: &str,
        queue: &MessageQueue,
        commit_offset: i64,
    ) -> AdminResult<()> {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            commit_offset,
            broker_name: Some(queue.broker_name.clone()),
        };
        self.call(addr, with(request_code::UPDATE_CONSUMER_OFFSET, &header)).map(drop)
    }

    /// Moves the online members of a group to a time, ms; -1 is the end (222). Returns the offsets
    /// they were told.
    pub fn reset_offset(
        &self,
        addr: &str,
        header: &ResetOffsetRequestHeader,
    ) -> AdminResult<BTreeMap<MessageQueue, i64>> {
        let request = with(request_code::INVOKE_BROKER_TO_RESET_OFFSET, header);
        self.ask::<OffsetTable>(addr, request).map(|table| table.offset_table)
    }

    // Brokers: messages.

    /// The message at a position of the commit log (33).
    pub fn view_message(&self, addr: &str, offset: i64) -> AdminResult<MessageExt> {
        let request = with(request_code::VIEW_MESSAGE_BY_ID, &ViewMessageRequestHeader { offset });
        let mut messages = messages_of(addr, &self.call(addr, request)?)?;
        messages.pop().ok_or_else(|| ClientError::Decode {
            addr: addr.to_owned(),
            reason: "the answer holds no message".to_owned(),
        })
    }

    /// Messages of a topic by key, or by unique key, from all brokers (12). Brokers that fail are
    /// passed over, unless all do.
    pub fn query_messages(
        &self,
        topic: &str,
        key: &str,
        is_unique_key: bool,
    ) -> AdminResult<Vec<MessageExt>> {
        let header = QueryMessageRequestHeader {
            topic: topic.to_owned(),
            key: key.to_owned(),
            max_num: QUERY_LIMIT,
            begin_timestamp: 0,
            end_timestamp: i64::MAX,
        };
        let mut request = with(request_code::QUERY_MESSAGE, &header);
        request.fields.push_str(UNIQUE_KEY_QUERY, if is_unique_key { "true" } else { "false" });
        let matches = |message: &MessageExt| {
            message.message.topic == topic
                && if is_unique_key {
                    message.message_id() == key
                } else {
                    message.message.keys().is_some_and(|keys| keys.split(' ').any(|k| k == key))
                }
        };
        let mut found = Vec::new();
        let mut failure = None;
        let mut answered = false;
        for addr in self.route(topic)?.broker_datas.iter().filter_map(address_of) {
            match self.call_within(addr, request.clone(), LONG_LIMIT) {
                Ok(answer) => {
                    answered = true;
                    found.extend(messages_of(addr, &answer)?.into_iter().filter(matches));
                }
                Err(ClientError::Broker { code: response_code::QUERY_NOT_FOUND, .. }) => {
                    answered = true;
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !answered => Err(error),
            _ => Ok(found),
        }
    }

    /// Has a client consume a message at once (309).
    pub fn consume_directly(
        &self,
        addr: &str,
        group: &str,
        client_id: &str,
        offset_message_id: &str,
    ) -> AdminResult<ConsumeDirectlyResult> {
        let header = ConsumeMessageDirectlyRequestHeader {
            consumer_group: group.to_owned(),
            client_id: Some(client_id.to_owned()),
            msg_id: Some(offset_message_id.to_owned()),
            broker_name: None,
        };
        self.ask_within(addr, with(request_code::CONSUME_MESSAGE_DIRECTLY, &header), LONG_LIMIT)
    }

    /// Pulls messages (11). The subscription travels along, so the group need not be online.
    pub fn pull(&self, addr: &str, from: &PullFrom<'_>) -> AdminResult<Pulled> {
        let mut sys_flag = sys_flag::PULL_SUBSCRIPTION;
        if !from.hold.is_zero() {
            sys_flag |= sys_flag::PULL_SUSPEND;
        }
        let header = PullMessageRequestHeader {
            consumer_group: from.group.to_owned(),
            topic: from.queue.topic.clone(),
            queue_id: from.queue.queue_id,
            queue_offset: from.offset,
            max_msg_nums: from.max_messages,
            sys_flag,
            commit_offset: 0,
            suspend_timeout_millis: from.hold.as_millis() as i64,
            subscription: Some(from.expression.to_owned()),
            sub_version: clock::now_ms(),
            expression_type: Some("TAG".to_owned()),
            broker_name: Some(from.queue.broker_name.clone()),
        };
        let request = with(request_code::PULL_MESSAGE, &header);
        let answer = self.call_any_code(addr, request, REQUEST_LIMIT + from.hold)?;
        let status = match answer.code {
            response_code::SUCCESS => PullStatus::Found,
            response_code::PULL_NOT_FOUND => PullStatus::NoNewMessage,
            response_code::PULL_RETRY_IMMEDIATELY => PullStatus::NoMatchedMessage,
            response_code::PULL_OFFSET_MOVED => PullStatus::OffsetIllegal,
            _ => return Err(refused(addr, answer)),
        };
        let header: PullMessageResponseHeader = header_of(addr, &answer)?;
        let messages = match status {
            PullStatus::Found => messages_of(addr, &answer)?,
            _ => Vec::new(),
        };
        Ok(Pulled {
            status,
            next_offset: header.next_begin_offset,
            min_offset: header.min_offset,
            max_offset: header.max_offset,
            messages,
        })
    }

    /// Sends a message to a queue (310). A message without a unique key gets one.
    pub fn send(
        &self,
        addr: &str,
        queue: &MessageQueue,
        group: &str,
        message: &Message,
    ) -> AdminResult<Sent> {
        let mut properties: Properties = message.properties.clone();
        let message_id = match properties.get(properties::UNIQUE_KEY) {
            Some(key) => key.to_owned(),
            None => {
                let key = message_id::unique_key();
                properties.set(properties::UNIQUE_KEY, key.clone());
                key
            }
        };
        let header = SendMessageRequestHeaderV2 {
            producer_group: group.to_owned(),
            topic: queue.topic.clone(),
            default_topic: AUTO_CREATE_TOPIC.to_owned(),
            default_topic_queue_nums: 4,
            queue_id: queue.queue_id,
            sys_flag: 0,
            born_timestamp: clock::now_ms(),
            flag: message.flag,
            properties: Some(properties.encode()),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(false),
            broker_name: Some(queue.broker_name.clone()),
        };
        let request = with(request_code::SEND_MESSAGE_V2, &header).with_body(message.body.clone());
        let answer = self.call_any_code(addr, request, REQUEST_LIMIT)?;
        let status = match answer.code {
            response_code::SUCCESS => "SEND_OK",
            response_code::FLUSH_DISK_TIMEOUT => "FLUSH_DISK_TIMEOUT",
            response_code::FLUSH_SLAVE_TIMEOUT => "FLUSH_SLAVE_TIMEOUT",
            response_code::SLAVE_NOT_AVAILABLE => "SLAVE_NOT_AVAILABLE",
            _ => return Err(refused(addr, answer)),
        };
        let header: SendMessageResponseHeader = header_of(addr, &answer)?;
        Ok(Sent {
            status,
            message_id,
            offset_message_id: header.msg_id,
            queue: MessageQueue { queue_id: header.queue_id, ..queue.clone() },
            queue_offset: header.queue_offset,
        })
    }
}

fn with(code: i32, header: &impl Header) -> Command {
    Command::request(code).with_header(header)
}

fn topic_header(topic: &str) -> TopicHeader {
    TopicHeader { topic: topic.to_owned() }
}

fn queue_header(queue: &MessageQueue) -> QueueRequestHeader {
    QueueRequestHeader {
        topic: queue.topic.clone(),
        queue_id: queue.queue_id,
        broker_name: Some(queue.broker_name.clone()),
    }
}

fn kv_header(namespace: &str, key: Option<&str>, value: Option<&str>) -> KvConfigHeader {
    KvConfigHeader {
        namespace: Some(namespace.to_owned()),
        key: key.map(str::to_owned),
        value: value.map(str::to_owned),
    }
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

/// The messages of a body, their own bodies unpacked.
fn messages_of(addr: &str, answer: &Command) -> AdminResult<Vec<MessageExt>> {
    let mut messages =
        read_messages(answer.body.as_bytes()).map_err(|error| not_understood(addr, error))?;
    messages.iter_mut().for_each(unpack);
    Ok(messages)
}

/// Unpacks a zlib body; what cannot be unpacked stays as it is.
fn unpack(message: &mut MessageExt) {
    let kind = message.sys_flag & sys_flag::COMPRESSION_MASK;
    let is_zlib = kind == 0 || kind == sys_flag::COMPRESSION_ZLIB;
    if message.sys_flag & sys_flag::COMPRESSED != 0 && is_zlib {
        let body = &message.message.body;
        let plain = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(body, INFLATE_LIMIT);
        if let Ok(plain) = plain {
            message.message.body = plain;
        }
    }
}
