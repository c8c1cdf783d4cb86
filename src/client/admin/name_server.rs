//! Calls to name servers: routes, permissions, the KV table, configuration.

use std::collections::BTreeMap;

use super::{AdminClient, AdminResult, header_of, text_of, with};
use crate::client::ClientError;
use crate::remoting::command::Command;
use crate::remoting::protocol::bodies::{ClusterInfo, KvTable, TopicList, TopicRouteData};
use crate::remoting::protocol::headers::GetRouteInfoRequestHeader;
use crate::remoting::protocol::namesrv_headers::{
    AddWritePermResponseHeader, BrokerNameHeader, DeleteTopicInNamesrvHeader,
    GetKvConfigResponseHeader, GetTopicsByClusterHeader, KvConfigHeader,
    WipeWritePermResponseHeader,
};
use crate::remoting::protocol::{request_code, response_code};

impl AdminClient {
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
    ///
    /// ```
    /// use rocketmq::client::AdminClient;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    /// let admin = AdminClient::new(names);
    /// assert!(admin.topic_list()?.contains(&"Orders".to_owned()));
    /// assert!(admin.topics_of_cluster("DefaultCluster")?.contains(&"Orders".to_owned()));
    /// admin.put_kv("shop", "currency", "EUR")?;
    /// assert_eq!(admin.get_kv("shop", "currency")?.as_deref(), Some("EUR"));
    /// assert_eq!(admin.kv_of("shop")?.len(), 1);
    /// admin.delete_kv("shop", "currency")?;
    /// // These go to one name server.
    /// let one = &admin.name_servers()[0].clone();
    /// println!("{} topics are read only at broker-a", admin.wipe_write_perm(one, "broker-a")?);
    /// admin.add_write_perm(one, "broker-a")?;
    /// admin.update_name_server_config(one, "orderMessageEnable=false")?;
    /// assert!(admin.name_server_config(one)?.contains("orderMessageEnable=false"));
    /// admin.delete_topic_in_name_server(one, "Orders", None)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topic_list(&self) -> AdminResult<Vec<String>> {
        let request = Command::request(request_code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
        self.ask_name_server::<TopicList>(request).map(|list| list.topic_list)
    }

    /// Topics of the brokers of a cluster (224).
    pub fn topics_of_cluster(&self, cluster: &str) -> AdminResult<Vec<String>> {
        let header = GetTopicsByClusterHeader { cluster: Some(cluster.to_owned()) };
        let request = with(request_code::GET_TOPICS_BY_CLUSTER, &header);
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

    /// All entries of a KV namespace (219); none of one that does not exist.
    pub fn kv_of(&self, namespace: &str) -> AdminResult<BTreeMap<String, String>> {
        let request =
            with(request_code::GET_KVLIST_BY_NAMESPACE, &kv_header(namespace, None, None));
        match self.ask_name_server::<KvTable>(request) {
            Err(ClientError::Broker { code: response_code::QUERY_NOT_FOUND, .. }) => {
                Ok(BTreeMap::new())
            }
            table => table.map(|table| table.table),
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
}

fn kv_header(namespace: &str, key: Option<&str>, value: Option<&str>) -> KvConfigHeader {
    KvConfigHeader {
        namespace: Some(namespace.to_owned()),
        key: key.map(str::to_owned),
        value: value.map(str::to_owned),
    }
}
