//! [`BrokerConfig`]: the keys of a broker that belong neither to its store nor to its sockets
//! (Java's BrokerConfig), and the rules that a configuration must satisfy before a broker starts.

use crate::common::topic;
use crate::store::StoreConfig;
use crate::store::config::BrokerRole;

/// Processors that this process may use.
fn cores() -> i32 {
    std::thread::available_parallelism().map_or(1, |n| i32::try_from(n.get()).unwrap_or(i32::MAX))
}

fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

crate::config! {
    /// Keys of a broker. Names and defaults are Java's; keys marked "ours" are limits that Java
    /// does not have, keys marked "without effect" are accepted, kept and reported.
    pub struct BrokerConfig {
        /// Installation directory (environment ROCKETMQ_HOME).
        pub rocketmq_home: String = "rocketmqHome", environment("ROCKETMQ_HOME");
        /// Name servers, `host:port;host:port` (environment NAMESRV_ADDR); read again every two minutes.
        pub namesrv_addr: String = "namesrvAddr", environment("NAMESRV_ADDR");
        /// Address that is registered and stands in message ids; empty takes the first suitable one of this machine.
        pub broker_ip1: String = "brokerIP1", "";
        /// Address that is offered to slaves; empty takes the first suitable one of this machine.
        pub broker_ip2: String = "brokerIP2", "";
        /// Name of the set of a master and its slaves; empty takes the host's name.
        pub broker_name: String = "brokerName", "";
        /// Cluster.
        pub broker_cluster_name: String = "brokerClusterName", "DefaultCluster";
        /// 0 is the master, above 0 a slave.
        pub broker_id: i64 = "brokerId", 0i64;
        /// Bits of the whole broker: 4 read, 2 write.
        pub broker_permission: i32 = "brokerPermission", topic::PERM_READ | topic::PERM_WRITE;
        /// Queues of the template TBW102, the most an automatically created topic gets.
        pub default_topic_queue_nums: i32 = "defaultTopicQueueNums", 8;
        /// Create topics on the first send.
        pub auto_create_topic_enable: bool = "autoCreateTopicEnable", true;
        /// The topic named like the cluster may be read and written.
        pub cluster_topic_enable: bool = "clusterTopicEnable", true;
        /// The topic named like the broker may be read and written.
        pub broker_topic_enable: bool = "brokerTopicEnable", true;
        /// Create unknown consumer groups on use.
        pub auto_create_subscription_group: bool = "autoCreateSubscriptionGroup", true;
        /// Class names of store plug-ins, without effect.
        pub message_store_plug_in: String = "messageStorePlugIn", "";
        /// Topic of message traces.
        pub msg_trace_topic_name: String = "msgTraceTopicName", topic::TRACE_TOPIC;
        /// Create the trace topic on this broker.
        pub trace_topic_enable: bool = "traceTopicEnable", false;
        /// Threads for sends.
        pub send_message_thread_pool_nums: i32 = "sendMessageThreadPoolNums", cores().min(4);
        /// Threads that complete asynchronous puts, without effect: the flusher completes them.
        pub put_message_future_thread_pool_nums: i32 = "putMessageFutureThreadPoolNums", cores().min(4);
        /// Threads for pulls.
        pub pull_message_thread_pool_nums: i32 = "pullMessageThreadPoolNums", 16 + 2 * cores();
        /// Threads for replies of request-reply.
        pub process_reply_message_thread_pool_nums: i32 = "processReplyMessageThreadPoolNums", 16 + 2 * cores();
        /// Threads for queries by key and id.
        pub query_message_thread_pool_nums: i32 = "queryMessageThreadPoolNums", 8 + cores();
        /// Threads for every code without a pool of its own.
        pub admin_broker_thread_pool_nums: i32 = "adminBrokerThreadPoolNums", 16;
        /// Threads for clients that leave and for checks of expressions.
        pub client_manage_thread_pool_nums: i32 = "clientManageThreadPoolNums", 32;
        /// Threads for consumer lists and offsets.
        pub consumer_manage_thread_pool_nums: i32 = "consumerManageThreadPoolNums", 32;
        /// Threads for heartbeats.
        pub heartbeat_thread_pool_nums: i32 = "heartbeatThreadPoolNums", cores().min(32);
        /// Threads for ends of transactions.
        pub end_transaction_thread_pool_nums: i32 = "endTransactionThreadPoolNums", (8 + 2 * cores()).max(4 * cores().min(4));
        /// Period of saving consumer offsets, ms.
        pub flush_consumer_offset_interval: i32 = "flushConsumerOffsetInterval", 5000;
        /// Without effect.
        pub flush_consumer_offset_history_interval: i32 = "flushConsumerOffsetHistoryInterval", 60_000;
        /// Let producers take timed messages back (RECALL_MESSAGE of 5.x, where it is off by default).
        pub recall_message_enable: bool = "recallMessageEnable", true;
        /// Also where `brokerPermission` has no write bit.
        pub allow_recall_when_broker_not_writeable: bool = "allowRecallWhenBrokerNotWriteable", true;
        /// Refuse half messages.
        pub reject_transaction_message: bool = "rejectTransactionMessage", false;
        /// Ask an address server for the name servers when `namesrvAddr` is empty.
        pub fetch_namesrv_addr_by_address_server: bool = "fetchNamesrvAddrByAddressServer", false;
        /// Address server, with its port unless that is 8080.
        pub rmq_address_server_domain: String = "rmqAddressServerDomain", "jmenv.tbsite.net";
        /// Last part of the path that the address server is asked for.
        pub rmq_address_server_sub_group: String = "rmqAddressServerSubGroup", "nsaddr";
        /// Sends that may wait.
        pub send_thread_pool_queue_capacity: i32 = "sendThreadPoolQueueCapacity", 10_000;
        /// Puts that may wait for their completion, without effect.
        pub put_thread_pool_queue_capacity: i32 = "putThreadPoolQueueCapacity", 10_000;
        /// Pulls that may wait.
        pub pull_thread_pool_queue_capacity: i32 = "pullThreadPoolQueueCapacity", 100_000;
        /// Replies that may wait.
        pub reply_thread_pool_queue_capacity: i32 = "replyThreadPoolQueueCapacity", 10_000;
        /// Queries that may wait.
        pub query_thread_pool_queue_capacity: i32 = "queryThreadPoolQueueCapacity", 20_000;
        /// Requests for client management that may wait.
        pub client_manager_thread_pool_queue_capacity: i32 = "clientManagerThreadPoolQueueCapacity", 1_000_000;
        /// Requests for consumer management that may wait.
        pub consumer_manager_thread_pool_queue_capacity: i32 = "consumerManagerThreadPoolQueueCapacity", 1_000_000;
        /// Heartbeats that may wait.
        pub heartbeat_thread_pool_queue_capacity: i32 = "heartbeatThreadPoolQueueCapacity", 50_000;
        /// Ends of transactions that may wait.
        pub end_transaction_pool_queue_capacity: i32 = "endTransactionPoolQueueCapacity", 100_000;
        /// Admin requests that may wait (ours).
        pub admin_broker_thread_pool_queue_capacity: i32 = "adminBrokerThreadPoolQueueCapacity", 100_000;
        /// Without effect, but reported: tools read it.
        pub filter_server_nums: i32 = "filterServerNums", 0;
        /// Hold pulls that find nothing for as long as the client allows.
        pub long_polling_enable: bool = "longPollingEnable", true;
        /// How long pulls are held when long polling is off, ms.
        pub short_polling_time_mills: i64 = "shortPollingTimeMills", 1000i64;
        /// Tell the members of a consumer group when it changes.
        pub notify_consumer_ids_changed_enable: bool = "notifyConsumerIdsChangedEnable", true;
        /// Without effect.
        pub high_speed_mode: bool = "highSpeedMode", false;
        /// Without effect.
        pub commercial_enable: bool = "commercialEnable", true;
        /// Without effect.
        pub commercial_timer_count: i32 = "commercialTimerCount", 1;
        /// Without effect.
        pub commercial_trans_count: i32 = "commercialTransCount", 1;
        /// Without effect.
        pub commercial_big_count: i32 = "commercialBigCount", 1;
        /// Without effect.
        pub commercial_base_count: i32 = "commercialBaseCount", 1;
        /// Record GROUP_GET_LATENCY and GROUP_GET_FALL_TIME; messages go out without a copy either way.
        pub transfer_msg_by_heap: bool = "transferMsgByHeap", true;
        /// Without effect.
        pub max_delay_time: i32 = "maxDelayTime", 40;
        /// Returned as `MSG_REGION` with every send.
        pub region_id: String = "regionId", "DefaultRegion";
        /// Limit of a registration with a name server, ms.
        pub register_broker_timeout_mills: i32 = "registerBrokerTimeoutMills", 6000;
        /// Allow reads from slaves, and suggest them.
        pub slave_read_enable: bool = "slaveReadEnable", false;
        /// Stop consumer groups that fall behind by `consumerFallbehindThreshold`.
        pub disable_consume_if_consumer_read_slowly: bool = "disableConsumeIfConsumerReadSlowly", false;
        /// Bytes behind which a group is stopped.
        pub consumer_fallbehind_threshold: i64 = "consumerFallbehindThreshold", 17_179_869_184i64;
        /// Answer "busy" to requests that waited too long.
        pub broker_fast_failure_enable: bool = "brokerFastFailureEnable", true;
        /// How long a send may wait, ms.
        pub wait_time_mills_in_send_queue: i64 = "waitTimeMillsInSendQueue", 200i64;
        /// How long a pull may wait, ms.
        pub wait_time_mills_in_pull_queue: i64 = "waitTimeMillsInPullQueue", 5000i64;
        /// How long a heartbeat may wait, ms.
        pub wait_time_mills_in_heartbeat_queue: i64 = "waitTimeMillsInHeartbeatQueue", 31_000i64;
        /// How long an end of a transaction may wait, ms.
        pub wait_time_mills_in_transaction_queue: i64 = "waitTimeMillsInTransactionQueue", 3000i64;
        /// Sends before this time are refused, ms since 1970.
        pub start_accept_send_request_time_stamp: i64 = "startAcceptSendRequestTimeStamp", 0i64;
        /// Returned as `TRACE_ON` with every send.
        pub trace_on: bool = "traceOn", true;
        /// Compute bloom bit maps at dispatch.
        pub enable_calc_filter_bit_map: bool = "enableCalcFilterBitMap", false;
        /// Consumers for which the bloom filter is sized.
        pub expect_consumer_num_use_filter: i32 = "expectConsumerNumUseFilter", 32;
        /// Error rate for which the bloom filter is sized, percent.
        pub max_error_rate_of_bloom_filter: i32 = "maxErrorRateOfBloomFilter", 20;
        /// Age at which dead filter data is dropped, ms.
        pub filter_data_clean_time_span: i64 = "filterDataCleanTimeSpan", 86_400_000i64;
        /// Evaluate filters for retry messages on their original topic.
        pub filter_support_retry: bool = "filterSupportRetry", false;
        /// Allow SQL92 subscriptions.
        pub enable_property_filter: bool = "enablePropertyFilter", false;
        /// Understand CONTAINS, STARTSWITH and ENDSWITH in SQL92 subscriptions, as 5.x brokers do; in
        /// 4.9 they are names.
        pub enable_filter_string_operators: bool = "enableFilterStringOperators", false;
        /// Compress the body of registrations.
        pub compressed_register: bool = "compressedRegister", false;
        /// Register every period even if nothing changed; false asks the name servers first.
        pub force_register: bool = "forceRegister", true;
        /// Period of registrations, ms; 10000 to 60000.
        pub register_name_server_period: i32 = "registerNameServerPeriod", 30_000;
        /// Age of a half message before its first check, ms.
        pub transaction_time_out: i64 = "transactionTimeOut", 6000i64;
        /// Checks of a half message before it is given up.
        pub transaction_check_max: i32 = "transactionCheckMax", 15;
        /// Period of transaction checks, ms.
        pub transaction_check_interval: i64 = "transactionCheckInterval", 60_000i64;
        /// Check the signatures of requests.
        pub acl_enable: bool = "aclEnable", false;
        /// Keep the answers of request-reply in the reply topic.
        pub store_reply_message_enable: bool = "storeReplyMessageEnable", true;
        /// Statistics by queue.
        pub enable_detail_stat: bool = "enableDetailStat", true;
        /// Drop statistics together with their topic or group.
        pub auto_delete_unused_stats: bool = "autoDeleteUnusedStats", false;
        /// A log directory for this broker.
        pub isolate_log_enable: bool = "isolateLogEnable", false;
        /// Keys that requests may not change, besides those that never can, `key;key`.
        pub config_black_list: String = "configBlackList", "configBlackList;brokerConfigPath";
        /// Topics at most (ours).
        pub max_topics: usize = "maxTopics", 100_000usize;
        /// Queues of a topic at most, to read and to write (ours).
        pub max_queues_per_topic: i32 = "maxQueuesPerTopic", 65_536;
        /// Consumer group configurations at most (ours).
        pub max_subscription_groups: usize = "maxSubscriptionGroups", 100_000usize;
        /// Producer groups at most; forgotten when empty and room is needed (ours).
        pub max_producer_groups: usize = "maxProducerGroups", 100_000usize;
        /// Subscriptions of one consumer group at most (ours).
        pub max_subscriptions_per_group: usize = "maxSubscriptionsPerGroup", 10_000usize;
        /// Groups that one connection may be a member of, producers and consumers apart (ours).
        pub max_groups_per_connection: usize = "maxGroupsPerConnection", 10_000usize;
        /// Queues with a committed offset at most, of all groups together (ours).
        pub max_consumer_offsets: usize = "maxConsumerOffsets", 4_000_000usize;
        /// Queue locks at most (ours).
        pub max_queue_locks: usize = "maxQueueLocks", 1_000_000usize;
        /// Topics, groups and queues of which statistics are kept, at most (ours).
        pub max_stats_items: usize = "maxStatsItems", 200_000usize;
    }
}

impl BrokerConfig {
    /// What keeps a broker from starting with this configuration, one sentence each (spec: broker
    /// 9.6, distribution 1.7). Empty: it may start.
    pub fn validate(&self, store: &StoreConfig) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(namesrv_addr_problem(&self.namesrv_addr));
        // Who sets these relies on them: a broker that went on without would be open to everybody,
        // or the only one to have its messages.
        if self.acl_enable {
            problems.push(
                "aclEnable is true: this broker has no access control, only false is possible"
                    .to_owned(),
            );
        }
        if store.enable_dleger_commit_log {
            problems.push(
                "enableDLegerCommitLog is true: this broker has no DLedger log, only false is possible \
                 (brokerRole=SYNC_MASTER keeps messages in two places)"
                    .to_owned(),
            );
        }
        if store.broker_role == BrokerRole::Slave && self.broker_id <= 0 {
            problems.push(format!(
                "brokerRole is SLAVE and brokerId is {}: a slave needs a brokerId above 0",
                self.broker_id
            ));
        }
        let positive = [
            ("sendMessageThreadPoolNums", self.send_message_thread_pool_nums),
            ("pullMessageThreadPoolNums", self.pull_message_thread_pool_nums),
            ("processReplyMessageThreadPoolNums", self.process_reply_message_thread_pool_nums),
            ("queryMessageThreadPoolNums", self.query_message_thread_pool_nums),
            ("adminBrokerThreadPoolNums", self.admin_broker_thread_pool_nums),
            ("clientManageThreadPoolNums", self.client_manage_thread_pool_nums),
            ("consumerManageThreadPoolNums", self.consumer_manage_thread_pool_nums),
            ("heartbeatThreadPoolNums", self.heartbeat_thread_pool_nums),
            ("endTransactionThreadPoolNums", self.end_transaction_thread_pool_nums),
            ("sendThreadPoolQueueCapacity", self.send_thread_pool_queue_capacity),
            ("pullThreadPoolQueueCapacity", self.pull_thread_pool_queue_capacity),
            ("replyThreadPoolQueueCapacity", self.reply_thread_pool_queue_capacity),
            ("queryThreadPoolQueueCapacity", self.query_thread_pool_queue_capacity),
            ("adminBrokerThreadPoolQueueCapacity", self.admin_broker_thread_pool_queue_capacity),
            (
                "clientManagerThreadPoolQueueCapacity",
                self.client_manager_thread_pool_queue_capacity,
            ),
            (
                "consumerManagerThreadPoolQueueCapacity",
                self.consumer_manager_thread_pool_queue_capacity,
            ),
            ("heartbeatThreadPoolQueueCapacity", self.heartbeat_thread_pool_queue_capacity),
            ("endTransactionPoolQueueCapacity", self.end_transaction_pool_queue_capacity),
            ("flushConsumerOffsetInterval", self.flush_consumer_offset_interval),
            ("registerBrokerTimeoutMills", self.register_broker_timeout_mills),
            ("expectConsumerNumUseFilter", self.expect_consumer_num_use_filter),
        ];
        for (key, value) in positive {
            if value <= 0 {
                problems.push(format!("{key} is {value}: it must be at least 1"));
            }
        }
        if !(1..=99).contains(&self.max_error_rate_of_bloom_filter) {
            problems.push(format!(
                "maxErrorRateOfBloomFilter is {}: it must be a percentage from 1 to 99",
                self.max_error_rate_of_bloom_filter
            ));
        }
        problems
    }

    /// The keys that a request may not change.
    pub fn black_list(&self) -> Vec<String> {
        let own = self.config_black_list.split(';').map(str::trim).filter(|key| !key.is_empty());
        ["brokerConfigPath", "rocketmqHome", "configBlackList"]
            .into_iter()
            .chain(own)
            .map(str::to_owned)
            .collect()
    }

    /// Period of registrations, ms, within its bounds.
    pub fn register_period_ms(&self) -> u64 {
        self.register_name_server_period.clamp(10_000, 60_000) as u64
    }
}

/// The addresses of a list, in order.
pub fn split_name_servers(list: &str) -> impl Iterator<Item = &str> {
    list.split(';').map(str::trim).filter(|addr| !addr.is_empty())
}

/// What is wrong with a list of name servers, if anything. Host names are not resolved.
pub fn namesrv_addr_problem(list: &str) -> Option<String> {
    for addr in split_name_servers(list) {
        let valid = addr.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && !host.contains(char::is_whitespace)
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !valid {
            return Some(format!(
                "namesrvAddr has \"{addr}\": expected host:port;host:port, as 127.0.0.1:9876;192.168.0.1:9876"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::config::ConfigStruct;

    fn role(broker_role: BrokerRole) -> StoreConfig {
        StoreConfig { broker_role, ..StoreConfig::default() }
    }

    #[test]
    fn the_defaults_are_those_of_java() {
        let config = BrokerConfig::default();
        assert!(config.validate(&StoreConfig::default()).is_empty());
        assert_eq!(config.default_topic_queue_nums, 8);
        assert_eq!(config.consumer_fallbehind_threshold, 16 << 30);
        assert_eq!(config.register_period_ms(), 30_000);
        assert_eq!(config.msg_trace_topic_name, "RMQ_SYS_TRACE_TOPIC");
        assert_eq!(
            config.black_list(),
            [
                "brokerConfigPath",
                "rocketmqHome",
                "configBlackList",
                "configBlackList",
                "brokerConfigPath"
            ]
        );
        let mut names: Vec<_> = BrokerConfig::keys().iter().map(|key| key.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "a key is declared twice");
    }

    #[test]
    fn each_bad_value_gets_a_sentence_with_its_key() {
        let mut config = BrokerConfig::default();
        for bad in ["localhost", "a:b", "a:0", "a:70000", ":9876", "a b:9876", "ok:1;bad"] {
            config.namesrv_addr = bad.to_owned();
            let problems = config.validate(&StoreConfig::default());
            assert_eq!(problems.len(), 1, "{bad}");
            assert!(problems[0].contains("namesrvAddr"), "{}", problems[0]);
        }
        config.namesrv_addr = "host:9876;[::1]:9876;".to_owned();
        let servers: Vec<_> = split_name_servers(&config.namesrv_addr).collect();
        assert_eq!(servers, ["host:9876", "[::1]:9876"]);
        assert!(config.validate(&role(BrokerRole::SyncMaster)).is_empty());

        config.send_message_thread_pool_nums = 0;
        config.max_error_rate_of_bloom_filter = 100;
        let problems = config.validate(&StoreConfig::default());
        assert!(problems[0].contains("sendMessageThreadPoolNums is 0"), "{problems:?}");
        assert!(problems[1].contains("maxErrorRateOfBloomFilter is 100"), "{problems:?}");
    }

    #[test]
    fn a_slave_needs_an_id() {
        let mut config = BrokerConfig::default();
        assert!(config.validate(&role(BrokerRole::Slave))[0].contains("brokerId above 0"));
        config.broker_id = 1;
        assert!(config.validate(&role(BrokerRole::Slave)).is_empty());
    }

    #[test]
    fn what_others_rely_on_is_not_passed_over() {
        let guarded = BrokerConfig { acl_enable: true, ..BrokerConfig::default() };
        let problems = guarded.validate(&StoreConfig::default());
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("aclEnable is true"), "{problems:?}");
        let replicated = StoreConfig { enable_dleger_commit_log: true, ..StoreConfig::default() };
        let problems = BrokerConfig::default().validate(&replicated);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("enableDLegerCommitLog is true"), "{problems:?}");
    }
}
