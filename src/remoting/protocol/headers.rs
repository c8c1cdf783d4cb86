//! Typed headers, one declaration each (spec: remoting 5).

crate::header! {
    /// SEND_MESSAGE (10).
    pub struct SendMessageRequestHeader {
        /// Producer group.
        pub producer_group: String => "producerGroup",
        /// Topic.
        pub topic: String => "topic",
        /// Template for automatic creation.
        pub default_topic: String => "defaultTopic",
        /// Queues for automatic creation.
        pub default_topic_queue_nums: i32 => "defaultTopicQueueNums",
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
        pub producer_group: String => "a",
        /// Topic.
        pub topic: String => "b",
        /// Template for automatic creation.
        pub default_topic: String => "c",
        /// Queues for automatic creation.
        pub default_topic_queue_nums: i32 => "d",
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
        pub commit_offset: i64 => "commitOffset",
        /// How long the broker may hold the request, ms.
        pub suspend_timeout_millis: i64 => "suspendTimeoutMillis",
        /// Expression, if the flag says so.
        pub subscription: Option<String> => "subscription",
        /// Version of the subscription.
        pub sub_version: i64 => "subVersion",
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
        pub topic: String => "topic",
        /// Answer in standard JSON.
        pub accept_standard_json_only: Option<bool> => "acceptStandardJsonOnly",
    }
}
