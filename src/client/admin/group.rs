//! Calls to brokers about groups, their members and their progress.

use std::time::Duration;

use super::{AdminClient, AdminResult, LONG_LIMIT, address_of, with};
use crate::client::ClientError;
use crate::common::json::{Style, ToJson};
use crate::common::topic::retry_topic;
use crate::remoting::command::Command;
use crate::remoting::protocol::admin_bodies::{
    ConsumeStats, ConsumeStatsList, ConsumerConnection, ProducerConnection, ProducerTable,
};
use crate::remoting::protocol::admin_headers::{
    DeleteSubscriptionGroupRequestHeader, GetBrokerConsumeStatsRequestHeader,
    GetConsumeStatsRequestHeader, ProducerGroupHeader,
};
use crate::remoting::protocol::bodies::{
    ConsumerRunningInfo, SubscriptionGroupConfig, SubscriptionGroupTable, TopicRouteData,
};
use crate::remoting::protocol::headers::{
    ConsumerGroupHeader, GetConsumerRunningInfoRequestHeader,
};
use crate::remoting::protocol::request_code;

impl AdminClient {
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
}
