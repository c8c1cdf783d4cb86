//! Typed headers of the requests to a name server, one declaration each (spec: remoting 5.24 to
//! 5.27). GET_ROUTEINFO_BY_TOPIC, which every client sends, is in [`headers`](super::headers).

crate::header! {
    /// REGISTER_BROKER (103).
    pub struct RegisterBrokerRequestHeader {
        /// Broker name.
        pub broker_name: String => "brokerName",
        /// `host:port` that clients connect to.
        pub broker_addr: String => "brokerAddr",
        /// Cluster.
        pub cluster_name: String => "clusterName",
        /// `host:port` that slaves replicate from.
        pub ha_server_addr: Option<String> => "haServerAddr",
        /// 0 is the master.
        pub broker_id: i64 => "brokerId",
        /// The body is one zlib stream.
        pub compressed: bool => "compressed" = false,
        /// CRC-32 of the body as sent, masked to 31 bits; 0 is not checked.
        pub body_crc32: i32 => "bodyCrc32" = 0,
    }
}

crate::header! {
    /// Answer to REGISTER_BROKER (103): only for slaves, and only while their master is alive.
    pub struct RegisterBrokerResponseHeader {
        /// Where to replicate from.
        pub ha_server_addr: Option<String> => "haServerAddr",
        /// The master's address.
        pub master_addr: Option<String> => "masterAddr",
    }
}

crate::header! {
    /// UNREGISTER_BROKER (104) and QUERY_DATA_VERSION (322). Absent names match nothing.
    pub struct BrokerIdentityHeader {
        /// Broker name.
        pub broker_name: String => "brokerName" = String::new(),
        /// Address.
        pub broker_addr: String => "brokerAddr" = String::new(),
        /// Cluster.
        pub cluster_name: String => "clusterName" = String::new(),
        /// 0 is the master.
        pub broker_id: i64 => "brokerId",
    }
}

crate::header! {
    /// Answer to QUERY_DATA_VERSION (322).
    pub struct QueryDataVersionResponseHeader {
        /// The name server does not know this version.
        pub changed: bool => "changed",
    }
}

crate::header! {
    /// PUT_KV_CONFIG (100), GET_KV_CONFIG (101), DELETE_KV_CONFIG (102) and
    /// GET_KVLIST_BY_NAMESPACE (219). An absent name finds nothing.
    pub struct KvConfigHeader {
        /// Namespace.
        pub namespace: Option<String> => "namespace",
        /// Key; not for 219.
        pub key: Option<String> => "key",
        /// Value; only for 100.
        pub value: Option<String> => "value",
    }
}

crate::header! {
    /// Answer to GET_KV_CONFIG (101).
    pub struct GetKvConfigResponseHeader {
        /// Value.
        pub value: Option<String> => "value",
    }
}

crate::header! {
    /// WIPE_WRITE_PERM_OF_BROKER (205) and ADD_WRITE_PERM_OF_BROKER (327).
    pub struct BrokerNameHeader {
        /// Broker name; an absent one matches nothing.
        pub broker_name: Option<String> => "brokerName",
    }
}

crate::header! {
    /// Answer to WIPE_WRITE_PERM_OF_BROKER (205).
    pub struct WipeWritePermResponseHeader {
        /// Topics touched.
        pub wipe_topic_count: i32 => "wipeTopicCount",
    }
}

crate::header! {
    /// Answer to ADD_WRITE_PERM_OF_BROKER (327).
    pub struct AddWritePermResponseHeader {
        /// Topics touched.
        pub add_topic_count: i32 => "addTopicCount",
    }
}

crate::header! {
    /// DELETE_TOPIC_IN_NAMESRV (216).
    pub struct DeleteTopicInNamesrvHeader {
        /// Topic; an absent one matches nothing.
        pub topic: Option<String> => "topic",
        /// Only the brokers of this cluster.
        pub cluster_name: Option<String> => "clusterName",
    }
}

crate::header! {
    /// GET_TOPICS_BY_CLUSTER (224).
    pub struct GetTopicsByClusterHeader {
        /// Cluster; an absent one matches nothing.
        pub cluster: Option<String> => "cluster",
    }
}
