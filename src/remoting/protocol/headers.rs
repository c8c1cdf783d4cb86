//! Typed headers, one declaration each (spec: remoting 5).
//!
//! Some fields that Java declares as required have a default here: Java only logs that they are
//! missing, and what then happens goes well.

crate::header! {
    /// SEND_MESSAGE (10).
    pub struct SendMessageRequestHeader {
        /// Producer group.
        pub producer_group: String => "producerGroup" = String::new(),
        /// Topic.
        pub topic: String => "topic" = String::new(),
        /// Template for automatic creation.
        pub default_topic: String => "defaultTopic" = String::new(),
        /// Queues for automatic creation.
        pub default_topic_queue_nums: i32 => "defaultTopicQueueNums" = 0,
        /// Queue; negative lets the broker choose.
        pub queue_id: i32 => "queueId",
        /// System flag.
        pub sys_flag: i32 => "sysFlag",
        /// Born, ms.
        pub born_timestamp: i64 => "bornTimestamp",
        /// User flag.
        pub flag: i32 => "flag",
        /// Properties in their string form.
        pub properties: Option<String> => "properties",
        /// How often given back.
        pub reconsume_times: Option<i32> => "reconsumeTimes",
        /// Unit mode.
        pub unit_mode: Option<bool> => "unitMode",
        /// Maximum of retries, on retry topics.
        pub max_reconsume_times: Option<i32> => "maxReconsumeTimes",
        /// The body is a batch.
        pub batch: Option<bool> => "batch",
        /// Broker name.
        pub broker_name: Option<String> => "bname",
    }
}

crate::header! {
    /// SEND_MESSAGE_V2 (310) and SEND_BATCH_MESSAGE (320): the same with one-letter names.
    pub struct SendMessageRequestHeaderV2 {
        /// Producer group.
        pub producer_group: String => "a" = String::new(),
        /// Topic.
        pub topic: String => "b" = String::new(),
        /// Template for automatic creation.
        pub default_topic: String => "c" = String::new(),
        /// Queues for automatic creation.
        pub default_topic_queue_nums: i32 => "d" = 0,
        /// Queue; negative lets the broker choose.
        pub queue_id: i32 => "e",
        /// System flag.
        pub sys_flag: i32 => "f",
        /// Born, ms.
        pub born_timestamp: i64 => "g",
        /// User flag.
        pub flag: i32 => "h",
        /// Properties in their string form.
        pub properties: Option<String> => "i",
        /// How often given back.
        pub reconsume_times: Option<i32> => "j",
        /// Unit mode.
        pub unit_mode: Option<bool> => "k",
        /// Maximum of retries, on retry topics.
        pub max_reconsume_times: Option<i32> => "l",
        /// The body is a batch.
        pub batch: Option<bool> => "m",
        /// Broker name.
        pub broker_name: Option<String> => "n",
    }
}

crate::header! {
    /// PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).
    pub struct PullMessageRequestHeader {
        /// Group.
        pub consumer_group: String => "consumerGroup",
        /// Topic.
        pub topic: String => "topic",
        /// Queue.
        pub queue_id: i32 => "queueId",
        /// First offset wanted.
        pub queue_offset: i64 => "queueOffset",
        /// Messages wanted at most.
        pub max_msg_nums: i32 => "maxMsgNums",
        /// Pull flags.
        pub sys_flag: i32 => "sysFlag",
        /// Offset to commit, if the flag says so.
        pub commit_offset: i64 => "commitOffset" = 0,
        /// How long the broker may hold the request, ms.
        pub suspend_timeout_millis: i64 => "suspendTimeoutMillis" = 0,
        /// Expression, if the flag says so.
        pub subscription: Option<String> => "subscription",
        /// Version of the subscription.
        pub sub_version: i64 => "subVersion" = 0,
        /// `TAG` or `SQL92`.
        pub expression_type: Option<String> => "expressionType",
        /// Broker name.
        pub broker_name: Option<String> => "bname",
    }
}

crate::header! {
    /// GET_ROUTEINFO_BY_TOPIC (105).
    pub struct GetRouteInfoRequestHeader {
        /// Topic.
        pub topic: String => "topic" = String::new(),
        /// Answer in standard JSON.
        pub accept_standard_json_only: Option<bool> => "acceptStandardJsonOnly",
    }
}

crate::header! {
    /// Answer to SEND_MESSAGE and its relatives.
    pub struct SendMessageResponseHeader {
        /// Offset message id; of a batch, the ids joined with `,`.
        pub msg_id: String => "msgId",
        /// Queue used.
        pub queue_id: i32 => "queueId",
        /// Offset in the queue; of a half message, in the half topic.
        pub queue_offset: i64 => "queueOffset",
        /// Never set by a 4.9 broker.
        pub transaction_id: Option<String> => "transactionId",
    }
}

crate::header! {
    /// CONSUMER_SEND_MSG_BACK (36).
    pub struct ConsumerSendMsgBackRequestHeader {
        /// Commit-log offset of the message.
        pub offset: Option<i64> => "offset",
        /// Consumer group.
        pub group: String => "group",
        /// 0: the broker chooses; negative: to the dead-letter topic; else that level.
        pub delay_level: Option<i32> => "delayLevel",
        /// Message id, for the log.
        pub origin_msg_id: Option<String> => "originMsgId",
        /// Topic, for the log.
        pub origin_topic: Option<String> => "originTopic",
        /// Unit mode.
        pub unit_mode: Option<bool> => "unitMode",
        /// Maximum of retries.
        pub max_reconsume_times: Option<i32> => "maxReconsumeTimes",
        /// Broker name.
        pub broker_name: Option<String> => "bname",
    }
}

crate::header! {
    /// Answer to PULL_MESSAGE.
    pub struct PullMessageResponseHeader {
        /// Where to pull next: 0 is the master.
        pub suggest_which_broker_id: i64 => "suggestWhichBrokerId",
        /// Offset to pull next.
        pub next_begin_offset: i64 => "nextBeginOffset",
        /// First offset of the queue.
        pub min_offset: i64 => "minOffset",
        /// Next offset to be written.
        pub max_offset: i64 => "maxOffset",
    }
}

crate::header! {
    /// QUERY_CONSUMER_OFFSET (14).
    pub struct QueryConsumerOffsetRequestHeader {
        /// Consumer group.
        pub consumer_group: String => "consumerGroup" = String::new(),
        /// Topic.
        pub topic: String => "topic",
        /// Queue.
        pub queue_id: i32 => "queueId",
        /// Broker name.
        pub broker_name: Option<String> => "bname",
    }
}

crate::header! {
    /// Answer with one offset: of QUERY_CONSUMER_OFFSET, GET_MAX_OFFSET, GET_MIN_OFFSET and
    /// SEARCH_OFFSET_BY_TIMESTAMP.
    pub struct OffsetResponseHeader {
        /// Offset.
        pub offset: i64 => "offset",
    }
}

crate::header! {
    /// UPDATE_CONSUMER_OFFSET (15).
    pub struct UpdateConsumerOffsetRequestHeader {
        /// Consumer group.
        pub consumer_group: String => "consumerGroup",
        /// Topic.
        pub topic: String => "topic",
        /// Queue.
        pub queue_id: i32 => "queueId",
        /// Offset.
        pub commit_offset: i64 => "commitOffset",
        /// Broker name.
        pub broker_name: Option<String> => "bname",
    }
}

crate::header! {
    /// GET_MAX_OFFSET (30), GET_MIN_OFFSET (31) and GET_EARLIEST_MSG_STORETIME (32).
    pub struct QueueRequestHeader {
        /// Topic.
        pub topic: String => "topic",
        /// Queue.
        pub queue_id: i32 => "queueId",
        /// Broker name.
        pub broker_name: Option<String> => "bname",
    }
}

crate::header! {
    /// SEARCH_OFFSET_BY_TIMESTAMP (29).
    pub struct SearchOffsetRequestHeader {
        /// Topic.
        pub topic: String => "topic",
        /// Queue.
        pub queue_id: i32 => "queueId",
        /// Time, ms.
        pub timestamp: i64 => "timestamp",
        /// Broker name.
        pub broker_name: Option<String> => "bname",
    }
}

crate::header! {
    /// Answer to GET_EARLIEST_MSG_STORETIME.
    pub struct TimestampResponseHeader {
        /// Time, ms; -1 if there is none.
        pub timestamp: i64 => "timestamp",
    }
}

crate::header! {
    /// UNREGISTER_CLIENT (35).
    pub struct UnregisterClientRequestHeader {
        /// Client.
        pub client_id: String => "clientID",
        /// Producer group; C++ sends an empty text for none.
        pub producer_group: Option<String> => "producerGroup",
        /// Consumer group; C++ sends an empty text for none.
        pub consumer_group: Option<String> => "consumerGroup",
    }
}

crate::header! {
    /// GET_CONSUMER_LIST_BY_GROUP (38) and NOTIFY_CONSUMER_IDS_CHANGED (40).
    pub struct ConsumerGroupHeader {
        /// Consumer group.
        pub consumer_group: String => "consumerGroup",
    }
}

crate::header! {
    /// END_TRANSACTION (37).
    pub struct EndTransactionRequestHeader {
        /// Producer group, equal to the half message's `PGROUP`.
        pub producer_group: String => "producerGroup",
        /// Offset in the half topic's queue.
        pub tran_state_table_offset: i64 => "tranStateTableOffset",
        /// Commit-log offset of the half message.
        pub commit_log_offset: i64 => "commitLogOffset",
        /// 8 commits, 12 rolls back, 0 is undecided.
        pub commit_or_rollback: i32 => "commitOrRollback",
        /// Answer of a check.
        pub from_transaction_check: bool => "fromTransactionCheck" = false,
        /// Unique key.
        pub msg_id: String => "msgId" = String::new(),
        /// Transaction.
        pub transaction_id: Option<String> => "transactionId",
        /// Broker name.
        pub broker_name: Option<String> => "bname",
    }
}

crate::header! {
    /// CHECK_TRANSACTION_STATE (39), broker to client.
    pub struct CheckTransactionStateRequestHeader {
        /// Offset in the half topic's queue.
        pub tran_state_table_offset: i64 => "tranStateTableOffset",
        /// Commit-log offset of the half message.
        pub commit_log_offset: i64 => "commitLogOffset",
        /// Unique key.
        pub msg_id: Option<String> => "msgId",
        /// Equal to the unique key.
        pub transaction_id: Option<String> => "transactionId",
        /// Offset message id.
        pub offset_msg_id: Option<String> => "offsetMsgId",
        /// Broker name.
        pub broker_name: Option<String> => "bname",
    }
}

crate::header! {
    /// RECALL_MESSAGE (370).
    pub struct RecallMessageRequestHeader {
        /// Producer group.
        pub producer_group: Option<String> => "producerGroup",
        /// Topic that the message was sent to.
        pub topic: String => "topic",
        /// What the answer to the send said.
        pub recall_handle: String => "recallHandle" = String::new(),
        /// Broker name.
        pub broker_name: Option<String> => "bname",
    }
}

crate::header! {
    /// Answer to RECALL_MESSAGE.
    pub struct RecallMessageResponseHeader {
        /// Unique key of the message.
        pub msg_id: Option<String> => "msgId",
    }
}

crate::header! {
    /// GET_CONSUMER_RUNNING_INFO (307).
    pub struct GetConsumerRunningInfoRequestHeader {
        /// Consumer group.
        pub consumer_group: String => "consumerGroup",
        /// Client.
        pub client_id: String => "clientId",
        /// A thread dump too.
        pub jstack_enable: bool => "jstackEnable" = false,
    }
}

crate::header! {
    /// CONSUME_MESSAGE_DIRECTLY (309).
    pub struct ConsumeMessageDirectlyRequestHeader {
        /// Consumer group.
        pub consumer_group: String => "consumerGroup",
        /// Client.
        pub client_id: Option<String> => "clientId",
        /// Offset message id.
        pub msg_id: Option<String> => "msgId",
        /// Broker of the message.
        pub broker_name: Option<String> => "brokerName",
    }
}

crate::header! {
    /// RESET_CONSUMER_CLIENT_OFFSET (220) and INVOKE_BROKER_TO_RESET_OFFSET (222).
    pub struct ResetOffsetRequestHeader {
        /// Topic.
        pub topic: String => "topic",
        /// Consumer group.
        pub group: String => "group",
        /// Time to reset to, ms.
        pub timestamp: i64 => "timestamp" = 0,
        /// Even when that loses the group's present offset.
        pub is_force: bool => "isForce" = false,
    }
}

crate::header! {
    /// GET_CONSUMER_STATUS_FROM_CLIENT (221) and INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223).
    pub struct GetConsumerStatusRequestHeader {
        /// Topic.
        pub topic: String => "topic",
        /// Consumer group.
        pub group: String => "group",
        /// Only this client.
        pub client_addr: Option<String> => "clientAddr",
    }
}

crate::header! {
    /// PUSH_REPLY_MESSAGE_TO_CLIENT (326), broker to client.
    pub struct ReplyMessageRequestHeader {
        /// Producer group.
        pub producer_group: String => "producerGroup",
        /// Topic.
        pub topic: String => "topic",
        /// Template for automatic creation.
        pub default_topic: String => "defaultTopic",
        /// Queues for automatic creation.
        pub default_topic_queue_nums: i32 => "defaultTopicQueueNums",
        /// Queue.
        pub queue_id: i32 => "queueId",
        /// System flag.
        pub sys_flag: i32 => "sysFlag",
        /// Born, ms.
        pub born_timestamp: i64 => "bornTimestamp",
        /// User flag.
        pub flag: i32 => "flag",
        /// Properties in their string form.
        pub properties: Option<String> => "properties",
        /// How often given back.
        pub reconsume_times: Option<i32> => "reconsumeTimes",
        /// Unit mode.
        pub unit_mode: Option<bool> => "unitMode",
        /// `ip:port` of the replier.
        pub born_host: String => "bornHost",
        /// `ip:port` of the broker.
        pub store_host: String => "storeHost",
        /// Stored, ms.
        pub store_timestamp: i64 => "storeTimestamp",
    }
}
