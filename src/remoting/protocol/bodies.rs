//! Bodies in JSON, one declaration each. Members stand alphabetically, as Java writes them.

use std::collections::BTreeMap;

use super::heartbeat::SubscriptionData;
use crate::common::clock::now_ms;
use crate::json_body;

json_body! {
    /// A queue of a topic on one broker. As a JSON map key it is a whole object.
    #[derive(Eq, PartialOrd, Ord, Hash)]
    pub struct MessageQueue {
        /// Broker.
        pub broker_name: String => "brokerName",
        /// Index.
        pub queue_id: i32 => "queueId",
        /// Topic.
        pub topic: String => "topic",
    }
}

/// As Java's `MessageQueue.toString`: tools print it, and consistent hashing places queues by it.
impl std::fmt::Display for MessageQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { topic, broker_name, queue_id } = self;
        write!(f, "MessageQueue [topic={topic}, brokerName={broker_name}, queueId={queue_id}]")
    }
}

json_body! {
    /// Version of a table: equal only if both are.
    #[derive(Eq)]
    pub struct DataVersion {
        /// Number of changes.
        pub counter: i64 => "counter",
        /// Time of the last change, ms.
        pub timestamp: i64 => "timestamp",
    }
}

impl DataVersion {
    /// A fresh version: now, no change.
    pub fn now() -> Self {
        Self { counter: 0, timestamp: now_ms() }
    }

    /// After a change.
    pub fn next(&mut self) {
        self.counter += 1;
        self.timestamp = now_ms();
    }
}

json_body! {
    /// Configuration of a topic on a broker.
    #[derive(Eq)]
    pub struct TopicConfig {
        /// Ordered topic.
        pub order: bool => "order",
        /// Permission bits.
        pub perm: i32 => "perm" = 6,
        /// Queues to read.
        pub read_queue_nums: i32 => "readQueueNums" = 16,
        /// `SINGLE_TAG` or `MULTI_TAG`.
        pub topic_filter_type: String => "topicFilterType" = "SINGLE_TAG".to_owned(),
        /// Name.
        pub topic_name: String => "topicName",
        /// Bits: 1 unit, 2 unit subscription.
        pub topic_sys_flag: i32 => "topicSysFlag",
        /// Queues to write.
        pub write_queue_nums: i32 => "writeQueueNums" = 16,
    }
}

json_body! {
    /// All topics of a broker.
    pub struct TopicConfigTable {
        /// Version.
        pub data_version: DataVersion => "dataVersion",
        /// By name.
        pub topic_config_table: BTreeMap<String, TopicConfig> => "topicConfigTable",
    }
}

json_body! {
    /// Body of REGISTER_BROKER.
    pub struct RegisterBrokerBody {
        /// Always empty in 4.9.
        pub filter_server_list: Vec<String> => "filterServerList",
        /// Topics.
        pub topic_config_serialize_wrapper: TopicConfigTable => "topicConfigSerializeWrapper",
    }
}

json_body! {
    /// Configuration of a consumer group.
    #[derive(Eq)]
    pub struct SubscriptionGroupConfig {
        /// Broker to read from.
        pub broker_id: i64 => "brokerId",
        /// Broadcasting allowed.
        pub consume_broadcast_enable: bool => "consumeBroadcastEnable" = true,
        /// Consuming allowed.
        pub consume_enable: bool => "consumeEnable" = true,
        /// Start from the minimum offset allowed.
        pub consume_from_min_enable: bool => "consumeFromMinEnable" = true,
        /// Name.
        pub group_name: String => "groupName",
        /// Tell members of changes.
        pub notify_consumer_ids_changed_enable: bool => "notifyConsumerIdsChangedEnable" = true,
        /// Retries before the dead-letter queue.
        pub retry_max_times: i32 => "retryMaxTimes" = 16,
        /// Queues of the retry topic.
        pub retry_queue_nums: i32 => "retryQueueNums" = 1,
        /// Broker to read from when lagging.
        pub which_broker_when_consume_slowly: i64 => "whichBrokerWhenConsumeSlowly" = 1,
    }
}

json_body! {
    /// All groups of a broker.
    pub struct SubscriptionGroupTable {
        /// Version.
        pub data_version: DataVersion => "dataVersion",
        /// By name.
        pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig> => "subscriptionGroupTable",
    }
}

json_body! {
    /// Queues of a topic on one broker, in a route.
    #[derive(Eq)]
    pub struct QueueData {
        /// Broker.
        pub broker_name: String => "brokerName",
        /// Permission bits.
        pub perm: i32 => "perm",
        /// Queues to read.
        pub read_queue_nums: i32 => "readQueueNums",
        /// Bits: 1 unit, 2 unit subscription.
        pub topic_sys_flag: i32 => "topicSysFlag",
        /// Queues to write.
        pub write_queue_nums: i32 => "writeQueueNums",
    }
}

json_body! {
    /// Addresses of a broker name.
    #[derive(Eq)]
    pub struct BrokerData {
        /// Broker id to `host:port`; 0 is the master.
        pub broker_addrs: BTreeMap<i64, String> => "brokerAddrs",
        /// Name.
        pub broker_name: String => "brokerName",
        /// Cluster.
        pub cluster: String => "cluster",
    }
}

json_body! {
    /// Answer to GET_ROUTEINFO_BY_TOPIC.
    #[derive(Eq)]
    pub struct TopicRouteData {
        /// Brokers.
        pub broker_datas: Vec<BrokerData> => "brokerDatas",
        /// Always empty in 4.9.
        pub filter_server_table: BTreeMap<String, Vec<String>> => "filterServerTable",
        /// `broker:queues;broker:queues`, of an order topic.
        pub order_topic_conf: Option<String> => "orderTopicConf",
        /// Queues.
        pub queue_datas: Vec<QueueData> => "queueDatas",
    }
}

json_body! {
    /// Answer to GET_BROKER_CLUSTER_INFO.
    pub struct ClusterInfo {
        /// By broker name.
        pub broker_addr_table: BTreeMap<String, BrokerData> => "brokerAddrTable",
        /// Cluster to broker names.
        pub cluster_addr_table: BTreeMap<String, Vec<String>> => "clusterAddrTable",
    }
}

json_body! {
    /// A list of topics.
    pub struct TopicList {
        /// Address of some broker, in the system topic list.
        pub broker_addr: Option<String> => "brokerAddr",
        /// Names.
        pub topic_list: Vec<String> => "topicList",
    }
}

json_body! {
    /// A table of texts.
    pub struct KvTable {
        /// Keys and values.
        pub table: BTreeMap<String, String> => "table",
    }
}

json_body! {
    /// Answer to GET_CONSUMER_LIST_BY_GROUP.
    pub struct ConsumerList {
        /// Client ids.
        pub consumer_id_list: Vec<String> => "consumerIdList",
    }
}

json_body! {
    /// Body of LOCK_BATCH_MQ and UNLOCK_BATCH_MQ.
    pub struct LockBatchBody {
        /// Client.
        pub client_id: Option<String> => "clientId",
        /// Group.
        pub consumer_group: Option<String> => "consumerGroup",
        /// Queues.
        pub mq_set: Vec<MessageQueue> => "mqSet",
    }
}

json_body! {
    /// Answer to LOCK_BATCH_MQ.
    pub struct LockBatchResult {
        /// Queues that the client holds now.
        pub lock_ok_mq_set: Vec<MessageQueue> => "lockOKMQSet",
    }
}

json_body! {
    /// Body of RESET_CONSUMER_CLIENT_OFFSET and of its answers.
    pub struct OffsetTable {
        /// Queue to offset; the keys are whole objects.
        pub offset_table: BTreeMap<MessageQueue, i64> => "offsetTable",
    }
}

json_body! {
    /// Answer to GET_CONSUMER_STATUS_FROM_CLIENT, and what a broker makes of several.
    pub struct ConsumerStatus {
        /// Client id to its offsets, from a broker.
        pub consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>> => "consumerTable",
        /// Offsets, from a client.
        pub message_queue_table: BTreeMap<MessageQueue, i64> => "messageQueueTable",
    }
}

json_body! {
    /// Body of CHECK_CLIENT_CONFIG.
    pub struct CheckClientConfigBody {
        /// Client.
        pub client_id: Option<String> => "clientId",
        /// Group.
        pub group: Option<String> => "group",
        /// Subscription to check.
        pub subscription_data: Option<SubscriptionData> => "subscriptionData",
    }
}

json_body! {
    /// Answer to CONSUME_MESSAGE_DIRECTLY.
    pub struct ConsumeDirectlyResult {
        /// The listener commits by itself.
        pub auto_commit: bool => "autoCommit",
        /// `CR_SUCCESS`, `CR_LATER`, `CR_ROLLBACK`, `CR_COMMIT`, `CR_THROW_EXCEPTION` or
        /// `CR_RETURN_NULL`.
        pub consume_result: Option<String> => "consumeResult",
        /// An orderly listener.
        pub order: bool => "order",
        /// What went wrong.
        pub remark: Option<String> => "remark",
        /// Time in the listener, ms.
        pub spent_time_millis: i64 => "spentTimeMills",
    }
}

json_body! {
    /// Body of a message in OFFSET_MOVED_EVENT.
    pub struct OffsetMovedEvent {
        /// Group whose offset was out of range.
        pub consumer_group: String => "consumerGroup",
        /// Queue.
        pub message_queue: MessageQueue => "messageQueue",
        /// Offset it is told to go on at.
        pub offset_new: i64 => "offsetNew",
        /// Offset it asked for.
        pub offset_request: i64 => "offsetRequest",
    }
}

json_body! {
    /// A queue of a consumer, in its running info.
    pub struct ProcessQueueInfo {
        /// Messages in the cache.
        pub cached_msg_count: i32 => "cachedMsgCount",
        /// Last offset in the cache.
        pub cached_msg_max_offset: i64 => "cachedMsgMaxOffset",
        /// First offset in the cache.
        pub cached_msg_min_offset: i64 => "cachedMsgMinOffset",
        /// Bytes in the cache, MiB.
        pub cached_msg_size_in_mib: i32 => "cachedMsgSizeInMiB",
        /// Offset of the group.
        pub commit_offset: i64 => "commitOffset",
        /// Given up to another member (Java's spelling).
        pub dropped: bool => "droped",
        /// Last consumption, ms.
        pub last_consume_timestamp: i64 => "lastConsumeTimestamp",
        /// Last lock, ms.
        pub last_lock_timestamp: i64 => "lastLockTimestamp",
        /// Last pull, ms.
        pub last_pull_timestamp: i64 => "lastPullTimestamp",
        /// Locked at the broker.
        pub locked: bool => "locked",
        /// Taken and not committed, orderly.
        pub transaction_msg_count: i32 => "transactionMsgCount",
        /// Last of those.
        pub transaction_msg_max_offset: i64 => "transactionMsgMaxOffset",
        /// First of those.
        pub transaction_msg_min_offset: i64 => "transactionMsgMinOffset",
        /// Attempts to unlock that failed.
        pub try_unlock_times: i64 => "tryUnlockTimes",
    }
}

json_body! {
    /// Rates of a topic, in a consumer's running info.
    pub struct ConsumeStatus {
        /// Failed in the last hour.
        pub consume_failed_msgs: i64 => "consumeFailedMsgs",
        /// Failures per second.
        pub consume_failed_tps: f64 => "consumeFailedTPS",
        /// Successes per second.
        pub consume_ok_tps: f64 => "consumeOKTPS",
        /// Time in the listener, ms.
        pub consume_rt: f64 => "consumeRT",
        /// Time of a pull, ms.
        pub pull_rt: f64 => "pullRT",
        /// Messages pulled per second.
        pub pull_tps: f64 => "pullTPS",
    }
}

json_body! {
    /// Answer to GET_CONSUMER_RUNNING_INFO.
    pub struct ConsumerRunningInfo {
        /// Thread dump, if asked for.
        pub jstack: Option<String> => "jstack",
        /// Queues; the keys are whole objects.
        pub mq_table: BTreeMap<MessageQueue, ProcessQueueInfo> => "mqTable",
        /// Options, and the `PROP_` entries that tools read.
        pub properties: BTreeMap<String, String> => "properties",
        /// Rates by topic.
        pub status_table: BTreeMap<String, ConsumeStatus> => "statusTable",
        /// Subscriptions.
        pub subscription_set: Vec<SubscriptionData> => "subscriptionSet",
    }
}
