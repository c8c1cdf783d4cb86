//! Bodies of requests between tools and brokers, one declaration each (spec: admin 4). Members
//! stand alphabetically, as Java writes them.

use std::collections::BTreeMap;

use super::bodies::{DataVersion, MessageQueue};
use super::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use crate::json_body;

json_body! {
    /// Answer to GET_ALL_CONSUMER_OFFSET, and `consumerOffset.json`; with `enableLmq`
    /// `lmqConsumerOffset.json`.
    pub struct ConsumerOffsetTable {
        /// For brokers of 5.x, which expect one; absent otherwise.
        pub data_version: Option<DataVersion> => "dataVersion",
        /// `topic@group` to offset, of groups of light message queues; absent without `enableLmq`.
        pub lmq_offset_table: Option<BTreeMap<String, i64>> => "lmqOffsetTable",
        /// `topic@group` to queue to offset.
        pub offset_table: BTreeMap<String, BTreeMap<i32, i64>> => "offsetTable",
    }
}

json_body! {
    /// Figures of a statistic over a window.
    pub struct BrokerStatsItem {
        /// Sum for each time it was counted.
        pub avgpt: f64 => "avgpt",
        /// Sum.
        pub sum: i64 => "sum",
        /// Sum a second.
        pub tps: f64 => "tps",
    }
}

json_body! {
    /// Answer to VIEW_BROKER_STATS_DATA.
    pub struct BrokerStatsData {
        /// Up to a day.
        pub stats_day: BrokerStatsItem => "statsDay",
        /// Up to an hour.
        pub stats_hour: BrokerStatsItem => "statsHour",
        /// Up to a minute.
        pub stats_minute: BrokerStatsItem => "statsMinute",
    }
}

json_body! {
    /// Extent of a queue.
    pub struct TopicOffset {
        /// Store time of the last message, ms; 0 if none.
        pub last_update_timestamp: i64 => "lastUpdateTimestamp",
        /// Next offset.
        pub max_offset: i64 => "maxOffset",
        /// First offset.
        pub min_offset: i64 => "minOffset",
    }
}

json_body! {
    /// Answer to GET_TOPIC_STATS_INFO.
    pub struct TopicStatsTable {
        /// Queue to extent; the keys are whole objects.
        pub offset_table: BTreeMap<MessageQueue, TopicOffset> => "offsetTable",
    }
}

json_body! {
    /// How far a group is in a queue.
    pub struct OffsetWrapper {
        /// Next offset of the queue.
        pub broker_offset: i64 => "brokerOffset",
        /// Next offset of the group.
        pub consumer_offset: i64 => "consumerOffset",
        /// Store time of the last message consumed, ms; 0 if none.
        pub last_timestamp: i64 => "lastTimestamp",
        /// Where its next pull begins; told only to clients of 5.x.
        pub pull_offset: Option<i64> => "pullOffset",
    }
}

json_body! {
    /// Answer to GET_CONSUME_STATS.
    pub struct ConsumeStats {
        /// Messages a second, over the last minute.
        pub consume_tps: f64 => "consumeTps",
        /// Queue to progress; the keys are whole objects.
        pub offset_table: BTreeMap<MessageQueue, OffsetWrapper> => "offsetTable",
    }
}

json_body! {
    /// Answer to GET_BROKER_CONSUME_STATS.
    pub struct ConsumeStatsList {
        /// The broker.
        pub broker_addr: Option<String> => "brokerAddr",
        /// One object with one member for each group: its progress by topic.
        pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>> => "consumeStatsList",
        /// Messages behind, over all.
        pub total_diff: i64 => "totalDiff",
    }
}

json_body! {
    /// A client of a group.
    pub struct ConnectionInfo {
        /// Its address.
        pub client_addr: String => "clientAddr",
        /// Its id.
        pub client_id: String => "clientId",
        /// Its language, such as `JAVA`.
        pub language: Option<String> => "language",
        /// Its release ordinal.
        pub version: i32 => "version",
    }
}

json_body! {
    /// Answer to GET_CONSUMER_CONNECTION_LIST.
    pub struct ConsumerConnection {
        /// Clients.
        pub connection_set: Vec<ConnectionInfo> => "connectionSet",
        /// Where the group starts.
        pub consume_from_where: Option<ConsumeFromWhere> => "consumeFromWhere",
        /// Push or pull.
        pub consume_type: Option<ConsumeType> => "consumeType",
        /// Clustering or broadcasting.
        pub message_model: Option<MessageModel> => "messageModel",
        /// Topic to subscription.
        pub subscription_table: BTreeMap<String, SubscriptionData> => "subscriptionTable",
    }
}

json_body! {
    /// Answer to GET_PRODUCER_CONNECTION_LIST.
    pub struct ProducerConnection {
        /// Clients.
        pub connection_set: Vec<ConnectionInfo> => "connectionSet",
    }
}

json_body! {
    /// A producer client.
    pub struct ProducerInfo {
        /// Its id.
        pub client_id: String => "clientId",
        /// Its language.
        pub language: Option<String> => "language",
        /// Last heartbeat, ms.
        pub last_update_timestamp: i64 => "lastUpdateTimestamp",
        /// Its address, after a slash.
        pub remote_ip: String => "remoteIP",
        /// Its release ordinal.
        pub version: i32 => "version",
    }
}

json_body! {
    /// Answer to GET_ALL_PRODUCER_INFO.
    pub struct ProducerTable {
        /// Group to clients.
        pub data: BTreeMap<String, Vec<ProducerInfo>> => "data",
    }
}

json_body! {
    /// Answer to QUERY_TOPIC_CONSUME_BY_WHO.
    pub struct GroupList {
        /// Groups.
        pub group_list: Vec<String> => "groupList",
    }
}

json_body! {
    /// What time a group is at in a queue.
    pub struct QueueTimeSpan {
        /// Store time of the last message consumed, ms.
        pub consume_time_stamp: i64 => "consumeTimeStamp",
        /// The same as a local time.
        pub consume_time_stamp_str: Option<String> => "consumeTimeStampStr",
        /// Age of the next message to consume, ms.
        pub delay_time: i64 => "delayTime",
        /// Store time of the last message, ms; -1 if none.
        pub max_time_stamp: i64 => "maxTimeStamp",
        /// The same as a local time.
        pub max_time_stamp_str: Option<String> => "maxTimeStampStr",
        /// Queue.
        pub message_queue: MessageQueue => "messageQueue",
        /// Store time of the first message, ms; -1 if none.
        pub min_time_stamp: i64 => "minTimeStamp",
        /// The same as a local time.
        pub min_time_stamp_str: Option<String> => "minTimeStampStr",
    }
}

json_body! {
    /// Answer to QUERY_CONSUME_TIME_SPAN.
    pub struct ConsumeTimeSpans {
        /// Queues.
        pub consume_time_span_set: Vec<QueueTimeSpan> => "consumeTimeSpanSet",
    }
}

json_body! {
    /// An entry of a consume queue.
    pub struct ConsumeQueueEntry {
        /// Bit map of the filter, if any.
        pub bit_map: Option<String> => "bitMap",
        /// The filter matches.
        pub eval: bool => "eval",
        /// Extension, JSON.
        pub extend_data_json: Option<String> => "extendDataJson",
        /// What went wrong.
        pub msg: Option<String> => "msg",
        /// Position in the commit log.
        pub physic_offset: i64 => "physicOffset",
        /// Bytes of the record.
        pub physic_size: i32 => "physicSize",
        /// Hash of the tag.
        pub tags_code: i64 => "tagsCode",
    }
}

json_body! {
    /// Answer to QUERY_CONSUME_QUEUE.
    pub struct ConsumeQueueEntries {
        /// Filter of the group, JSON.
        pub filter_data: Option<String> => "filterData",
        /// Next offset.
        pub max_queue_index: i64 => "maxQueueIndex",
        /// First offset.
        pub min_queue_index: i64 => "minQueueIndex",
        /// Entries.
        pub queue_data: Option<Vec<ConsumeQueueEntry>> => "queueData",
        /// Subscription of the group.
        pub subscription_data: Option<SubscriptionData> => "subscriptionData",
    }
}

json_body! {
    /// Answer to QUERY_CORRECTION_OFFSET.
    pub struct CorrectionOffsets {
        /// Queue to offset.
        pub correction_offsets: BTreeMap<i32, i64> => "correctionOffsets",
    }
}

json_body! {
    /// Body of RESET_CONSUMER_CLIENT_OFFSET for C++ clients, which do not read objects as keys.
    pub struct OffsetList {
        /// Offsets of queues.
        pub offset_table: Vec<OffsetOfQueue> => "offsetTable",
    }
}

json_body! {
    /// An offset of a queue, in a list.
    pub struct OffsetOfQueue {
        /// Broker.
        pub broker_name: String => "brokerName",
        /// Offset.
        pub offset: i64 => "offset",
        /// Queue.
        pub queue_id: i32 => "queueId",
        /// Topic.
        pub topic: String => "topic",
    }
}

json_body! {
    /// Answer to QUERY_SUBSCRIPTION_BY_CONSUMER.
    pub struct SubscriptionOfGroup {
        /// Group.
        pub group: String => "group",
        /// Its subscription; `None` if it is offline or does not subscribe.
        pub subscription_data: Option<SubscriptionData> => "subscriptionData",
        /// Topic.
        pub topic: String => "topic",
    }
}

json_body! {
    /// A slave, as its master sees it.
    pub struct HaConnectionInfo {
        /// Its end of the connection.
        pub addr: String => "addr",
        /// Bytes that it has not acknowledged.
        pub diff: i64 => "diff",
        /// Whether it is waited for.
        pub in_sync: bool => "inSync",
        /// For how long the oldest of these bytes have been there, ms (ours).
        pub lag_ms: i64 => "lagMs",
        /// Offset that it has acknowledged; -1: none.
        pub slave_ack_offset: i64 => "slaveAckOffset",
        /// Offset that is sent next.
        pub transfer_from_where: i64 => "transferFromWhere",
        /// Speed.
        pub transferred_byte_in_second: i64 => "transferredByteInSecond",
    }
}

json_body! {
    /// A slave, as it sees itself.
    pub struct HaClientInfo {
        /// Connected.
        pub activated: bool => "activated",
        /// When something last came, ms.
        pub last_read_timestamp: i64 => "lastReadTimestamp",
        /// When something was last said, ms.
        pub last_write_timestamp: i64 => "lastWriteTimestamp",
        /// The master's replication address.
        pub master_addr: String => "masterAddr",
        /// End of the master's log, as far as it is known.
        pub master_flush_offset: i64 => "masterFlushOffset",
        /// End of the own log.
        pub max_offset: i64 => "maxOffset",
        /// Speed.
        pub transferred_byte_in_second: i64 => "transferredByteInSecond",
    }
}

json_body! {
    /// Answer to GET_BROKER_HA_STATUS, of 5.x.
    pub struct HaRuntimeInfo {
        /// Of a slave.
        pub ha_client_runtime_info: HaClientInfo => "haClientRuntimeInfo",
        /// Of a master: its slaves.
        pub ha_connection_info: Vec<HaConnectionInfo> => "haConnectionInfo",
        /// How many of them are waited for.
        pub in_sync_slave_nums: i32 => "inSyncSlaveNums",
        /// Whether this is a master.
        pub master: bool => "master",
        /// End of the own log.
        pub master_commit_log_max_offset: i64 => "masterCommitLogMaxOffset",
    }
}
