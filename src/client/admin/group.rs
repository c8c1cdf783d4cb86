//! Calls to brokers about groups, their members and their progress.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{AdminClient, AdminResult, address_of, with};
use crate::common::json::{Style, ToJson};
use crate::common::topic::retry_topic;
use crate::remoting::command::Command;
use crate::remoting::protocol::admin_bodies::{
    ConsumeStats, ConsumeStatsList, ConsumeTimeSpans, ConsumerConnection, ProducerConnection,
    ProducerTable, QueueTimeSpan,
};
use crate::remoting::protocol::admin_headers::{
    DeleteSubscriptionGroupRequestHeader, GetBrokerConsumeStatsRequestHeader,
    GetConsumeStatsRequestHeader, ProducerGroupHeader,
};
use crate::remoting::protocol::bodies::{
    ConsumerRunningInfo, ConsumerStatus, MessageQueue, SubscriptionGroupConfig,
    SubscriptionGroupTable,
};
use crate::remoting::protocol::headers::{
    ConsumerGroupHeader, GetConsumerRunningInfoRequestHeader, GetConsumerStatusRequestHeader,
};
use crate::remoting::protocol::request_code;

impl AdminClient {
    /// Creates a group on a broker, or replaces its settings (200).
    ///
    /// ```
    /// use rocketmq::client::admin::{AdminClient, address_of};
    /// use rocketmq::client::{ConsumeResult, ConsumerOptions, Message, ProducerOptions};
    /// use rocketmq::remoting::protocol::bodies::SubscriptionGroupConfig;
    /// use std::time::Duration;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    /// # let admin = AdminClient::new(names.as_str());
    /// # let route = admin.route("Orders")?;
    /// # let broker = address_of(&route.broker_datas[0]).ok_or("no address")?;
    /// let billing = SubscriptionGroupConfig { group_name: "billing".into(), ..Default::default() };
    /// admin.create_group(broker, &billing)?;
    /// assert!(admin.group_configs(broker)?.subscription_group_table.contains_key("billing"));
    ///
    /// let producer = ProducerOptions::new("shop").name_servers(&names).start()?;
    /// producer.send(&Message::new("Orders", "one book"))?;
    /// let options = ConsumerOptions::new("billing").name_servers(names).subscribe("Orders", "*");
    /// let consumer = options.start_concurrent(|_, _| ConsumeResult::Success)?;
    /// # let all = |n| admin.consumer_connection_of_group("billing").is_ok() && consumer.queues().len() == n;
    /// # while !all(3) || admin.producer_connection(broker, "shop").is_err() {}
    /// // Who is there, and how far it is.
    /// println!("{:?}", admin.consumer_connection(broker, "billing")?.connection_set);
    /// println!("{:?}", admin.consumer_connection_of_group("billing")?.subscription_table);
    /// println!("{:?}", admin.producer_connection_of_group("shop", "Orders")?.connection_set);
    /// println!("{:?}", admin.producers(broker)?);
    /// for (queue, at) in admin.consume_stats_of_group("billing")?.offset_table {
    ///     println!("{queue:?}: {} behind", at.broker_offset - at.consumer_offset);
    /// }
    /// println!("{:?}", admin.consume_stats(broker, "billing", Some("Orders"))?.consume_tps);
    /// println!("{:?}", admin.consume_stats_of_broker(broker, false, Duration::from_secs(5))?);
    /// for span in admin.consume_time_spans(broker, "Orders", "billing")? {
    ///     println!("{:?}: {} ms behind", span.message_queue, span.delay_time);
    /// }
    /// // What its members say, asked through the broker.
    /// let id = consumer.client_id();
    /// println!("{:?}", admin.consumer_running_info(broker, "billing", id, false)?.mq_table);
    /// println!("{:?}", admin.consumer_status(broker, "billing", "Orders", None)?.get(id));
    /// consumer.shutdown();
    /// admin.delete_group(broker, "billing", true)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        self.ask_within(addr, with(request_code::GET_CONSUME_STATS, &header), self.long_limit())
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
        self.ask_within(
            addr,
            with(request_code::GET_CONSUMER_RUNNING_INFO, &header),
            self.long_limit(),
        )
    }

    /// Offsets in the memory of the online members of a group (223): by client id, of one topic; of one
    /// client only, if it is named.
    pub fn consumer_status(
        &self,
        addr: &str,
        group: &str,
        topic: &str,
        client_id: Option<&str>,
    ) -> AdminResult<BTreeMap<String, BTreeMap<MessageQueue, i64>>> {
        let header = GetConsumerStatusRequestHeader {
            topic: topic.to_owned(),
            group: group.to_owned(),
            client_addr: client_id.map(str::to_owned),
        };
        let request = with(request_code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &header);
        let status: ConsumerStatus = self.ask_within(addr, request, self.long_limit())?;
        Ok(status.consumer_table)
    }

    /// From when to when the messages of a topic's queues are, and at what time a group is (303).
    pub fn consume_time_spans(
        &self,
        addr: &str,
        topic: &str,
        group: &str,
    ) -> AdminResult<Vec<QueueTimeSpan>> {
        let mut request = Command::request(request_code::QUERY_CONSUME_TIME_SPAN);
        request.fields.push_str("topic", topic);
        request.fields.push_str("group", group);
        let spans: ConsumeTimeSpans = self.ask_within(addr, request, self.long_limit())?;
        Ok(spans.consume_time_span_set)
    }
}
