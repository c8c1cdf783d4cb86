//! Typed headers of requests between tools and brokers, one declaration each (spec: admin 1).
//! Those that clients send too are in [`headers`](super::headers).

crate::header! {
    /// UPDATE_AND_CREATE_TOPIC (17).
    pub struct CreateTopicRequestHeader {
        /// Topic.
        pub topic: String => "topic",
        /// Ignored.
        pub default_topic: Option<String> => "defaultTopic",
        /// Queues to read.
        pub read_queue_nums: i32 => "readQueueNums",
        /// Queues to write.
        pub write_queue_nums: i32 => "writeQueueNums",
        /// Permission bits.
        pub perm: i32 => "perm",
        /// `SINGLE_TAG` or `MULTI_TAG`.
        pub topic_filter_type: String => "topicFilterType",
        /// Bits: 1 unit, 2 unit subscription.
        pub topic_sys_flag: Option<i32> => "topicSysFlag",
        /// Ignored by brokers: the order table of the name server decides.
        pub order: bool => "order" = false,
    }
}

crate::header! {
    /// DELETE_TOPIC_IN_BROKER (215), GET_TOPIC_STATS_INFO (202) and QUERY_TOPIC_CONSUME_BY_WHO
    /// (300).
    pub struct TopicHeader {
        /// Topic.
        pub topic: String => "topic",
    }
}

crate::header! {
    /// QUERY_TOPICS_BY_CONSUMER (343) and GET_SUBSCRIPTIONGROUP_CONFIG (352).
    pub struct GroupHeader {
        /// Consumer group.
        pub group: String => "group",
    }
}

crate::header! {
    /// DELETE_SUBSCRIPTIONGROUP (207).
    pub struct DeleteSubscriptionGroupRequestHeader {
        /// Group.
        pub group_name: String => "groupName",
        /// Its offsets go too.
        pub remove_offset: bool => "removeOffset" = false,
    }
}

crate::header! {
    /// GET_CONSUME_STATS (208).
    pub struct GetConsumeStatsRequestHeader {
        /// Group.
        pub consumer_group: String => "consumerGroup",
        /// Only this topic.
        pub topic: Option<String> => "topic",
    }
}

crate::header! {
    /// GET_PRODUCER_CONNECTION_LIST (204).
    pub struct ProducerGroupHeader {
        /// Group.
        pub producer_group: String => "producerGroup",
    }
}

crate::header! {
    /// Answer to GET_BROKER_CONFIG (26).
    pub struct GetBrokerConfigResponseHeader {
        /// Data version, JSON.
        pub version: String => "version",
    }
}

crate::header! {
    /// QUERY_CONSUME_TIME_SPAN (303).
    pub struct TopicAndGroupHeader {
        /// Topic.
        pub topic: String => "topic",
        /// Group.
        pub group: String => "group",
    }
}

crate::header! {
    /// GET_BROKER_CONSUME_STATS (317).
    pub struct GetBrokerConsumeStatsRequestHeader {
        /// Only ordered topics.
        pub is_order: bool => "isOrder" = false,
    }
}

crate::header! {
    /// CLONE_GROUP_OFFSET (314).
    pub struct CloneGroupOffsetRequestHeader {
        /// From.
        pub src_group: String => "srcGroup" = String::new(),
        /// To.
        pub dest_group: String => "destGroup" = String::new(),
        /// Only this topic.
        pub topic: Option<String> => "topic",
        /// Topics that the group does not subscribe to right now count too.
        pub offline: bool => "offline" = false,
    }
}

crate::header! {
    /// QUERY_CORRECTION_OFFSET (308).
    pub struct QueryCorrectionOffsetHeader {
        /// Topic.
        pub topic: String => "topic",
        /// Group to compare with.
        pub compare_group: Option<String> => "compareGroup",
        /// Groups that do not count, separated by commas.
        pub filter_groups: Option<String> => "filterGroups",
    }
}

crate::header! {
    /// QUERY_MESSAGE (12); beside it the field [`UNIQUE_KEY_QUERY`].
    pub struct QueryMessageRequestHeader {
        /// Topic.
        pub topic: String => "topic" = String::new(),
        /// Key, or unique key.
        pub key: String => "key" = String::new(),
        /// Messages wanted at most.
        pub max_num: i32 => "maxNum",
        /// Stored not before, ms.
        pub begin_timestamp: i64 => "beginTimestamp",
        /// Stored not after, ms.
        pub end_timestamp: i64 => "endTimestamp",
    }
}

/// Field of a QUERY_MESSAGE that says whether its key is a unique key: `true` or `false`. It is not
/// part of the signature.
pub const UNIQUE_KEY_QUERY: &str = "_UNIQUE_KEY_QUERY";

crate::header! {
    /// Answer to QUERY_MESSAGE (12).
    pub struct QueryMessageResponseHeader {
        /// Store time of the last message in the index, ms.
        pub index_last_update_timestamp: i64 => "indexLastUpdateTimestamp",
        /// Its position in the commit log.
        pub index_last_update_phyoffset: i64 => "indexLastUpdatePhyoffset",
    }
}

crate::header! {
    /// VIEW_MESSAGE_BY_ID (33).
    pub struct ViewMessageRequestHeader {
        /// Position in the commit log.
        pub offset: i64 => "offset",
    }
}

crate::header! {
    /// QUERY_CONSUME_QUEUE (321).
    pub struct QueryConsumeQueueRequestHeader {
        /// Topic.
        pub topic: String => "topic",
        /// Queue.
        pub queue_id: i32 => "queueId" = 0,
        /// First entry.
        pub index: i64 => "index" = 0,
        /// Entries wanted.
        pub count: i32 => "count" = 0,
        /// Show what this group's filter makes of them.
        pub consumer_group: Option<String> => "consumerGroup",
    }
}

crate::header! {
    /// RESUME_CHECK_HALF_MESSAGE (323).
    pub struct ResumeCheckHalfMessageRequestHeader {
        /// Offset message id.
        pub msg_id: Option<String> => "msgId",
    }
}

crate::header! {
    /// VIEW_BROKER_STATS_DATA (315).
    pub struct ViewBrokerStatsDataRequestHeader {
        /// Statistic, such as `TOPIC_PUT_NUMS`.
        pub stats_name: String => "statsName",
        /// Key, such as a topic.
        pub stats_key: String => "statsKey",
    }
}
