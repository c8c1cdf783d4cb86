//! Calls to brokers about topics.

use super::{AdminClient, AdminResult, with};
use crate::common::topic::AUTO_CREATE_TOPIC;
use crate::remoting::command::Command;
use crate::remoting::protocol::admin_bodies::{GroupList, TopicStatsTable};
use crate::remoting::protocol::admin_headers::{CreateTopicRequestHeader, TopicHeader};
use crate::remoting::protocol::bodies::{TopicConfig, TopicConfigTable, TopicList};
use crate::remoting::protocol::request_code;

impl AdminClient {
    /// Creates a topic on a broker, or replaces its settings (17).
    ///
    /// ```
    /// use rocketmq::client::admin::{AdminClient, address_of};
    /// use rocketmq::remoting::protocol::bodies::TopicConfig;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    /// let admin = AdminClient::new(names);
    /// let route = admin.route("Orders")?;
    /// let broker = address_of(&route.broker_datas[0]).ok_or("no address")?;
    /// let bills = TopicConfig { topic_name: "Bills".into(), ..TopicConfig::default() };
    /// admin.create_topic(broker, &bills)?;
    /// assert!(admin.topic_configs(broker)?.topic_config_table.contains_key("Bills"));
    /// assert_eq!(admin.topic_stats(broker, "Bills")?.offset_table.len(), 16);
    /// assert!(admin.groups_of_topic(broker, "Bills")?.is_empty());
    /// admin.delete_topic(broker, "Bills")?;
    /// assert!(admin.system_topics(broker)?.contains(&"TBW102".to_owned()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
}

fn topic_header(topic: &str) -> TopicHeader {
    TopicHeader { topic: topic.to_owned() }
}
