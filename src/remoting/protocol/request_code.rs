//! Request codes of 4.9.8, and those of 5.x that are served.

/// C→B: send processor.
pub const SEND_MESSAGE: i32 = 10;
/// C→B: pull processor, not on port−2.
pub const PULL_MESSAGE: i32 = 11;
/// C,A→B: query processor.
pub const QUERY_MESSAGE: i32 = 12;
/// defined, served by nobody.
pub const QUERY_BROKER_OFFSET: i32 = 13;
/// C→B: consumer manage.
pub const QUERY_CONSUMER_OFFSET: i32 = 14;
/// C,A→B: consumer manage.
pub const UPDATE_CONSUMER_OFFSET: i32 = 15;
/// C,A→B: admin.
pub const UPDATE_AND_CREATE_TOPIC: i32 = 17;
/// B→B, A→B: admin.
pub const GET_ALL_TOPIC_CONFIG: i32 = 21;
/// defined, served by nobody.
pub const GET_TOPIC_CONFIG_LIST: i32 = 22;
/// defined, served by nobody.
pub const GET_TOPIC_NAME_LIST: i32 = 23;
/// A→B: admin.
pub const UPDATE_BROKER_CONFIG: i32 = 25;
/// A→B: admin.
pub const GET_BROKER_CONFIG: i32 = 26;
/// defined, served by nobody.
pub const TRIGGER_DELETE_FILES: i32 = 27;
/// A→B: admin.
pub const GET_BROKER_RUNTIME_INFO: i32 = 28;
/// C,A→B: admin.
pub const SEARCH_OFFSET_BY_TIMESTAMP: i32 = 29;
/// C,A→B: admin.
pub const GET_MAX_OFFSET: i32 = 30;
/// C,A→B: admin.
pub const GET_MIN_OFFSET: i32 = 31;
/// C,A→B: admin.
pub const GET_EARLIEST_MSG_STORETIME: i32 = 32;
/// C,A→B: query processor.
pub const VIEW_MESSAGE_BY_ID: i32 = 33;
/// C→B: client manage.
pub const HEART_BEAT: i32 = 34;
/// C→B: client manage (Go never sends it).
pub const UNREGISTER_CLIENT: i32 = 35;
/// C→B: send processor.
pub const CONSUMER_SEND_MSG_BACK: i32 = 36;
/// C→B: oneway from Java/C++.
pub const END_TRANSACTION: i32 = 37;
/// C→B: consumer manage.
pub const GET_CONSUMER_LIST_BY_GROUP: i32 = 38;
/// B→C: oneway.
pub const CHECK_TRANSACTION_STATE: i32 = 39;
/// B→C: oneway.
pub const NOTIFY_CONSUMER_IDS_CHANGED: i32 = 40;
/// C→B: admin.
pub const LOCK_BATCH_MQ: i32 = 41;
/// C→B: admin, often oneway.
pub const UNLOCK_BATCH_MQ: i32 = 42;
/// B→B: admin.
pub const GET_ALL_CONSUMER_OFFSET: i32 = 43;
/// B→B: admin.
pub const GET_ALL_DELAY_OFFSET: i32 = 45;
/// C→B: client manage.
pub const CHECK_CLIENT_CONFIG: i32 = 46;
/// A→B: admin; removed in 5.3.3.
pub const UPDATE_AND_CREATE_ACL_CONFIG: i32 = 50;
/// A→B: admin; removed in 5.3.3.
pub const DELETE_ACL_CONFIG: i32 = 51;
/// A→B: admin; removed in 5.3.3.
pub const GET_BROKER_CLUSTER_ACL_INFO: i32 = 52;
/// A→B: admin; removed in 5.3.3.
pub const UPDATE_GLOBAL_WHITE_ADDRS_CONFIG: i32 = 53;
/// A→B: admin.
pub const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: i32 = 200;
/// B→B, A→B: admin.
pub const GET_ALL_SUBSCRIPTIONGROUP_CONFIG: i32 = 201;
/// A→B: admin.
pub const GET_TOPIC_STATS_INFO: i32 = 202;
/// A→B: admin.
pub const GET_CONSUMER_CONNECTION_LIST: i32 = 203;
/// A→B: admin.
pub const GET_PRODUCER_CONNECTION_LIST: i32 = 204;
/// A→B: admin.
pub const DELETE_SUBSCRIPTIONGROUP: i32 = 207;
/// A→B: admin.
pub const GET_CONSUME_STATS: i32 = 208;
/// defined, served by nobody.
pub const SUSPEND_CONSUMER: i32 = 209;
/// defined, served by nobody.
pub const RESUME_CONSUMER: i32 = 210;
/// defined, served by nobody.
pub const RESET_CONSUMER_OFFSET_IN_CONSUMER: i32 = 211;
/// defined, served by nobody.
pub const RESET_CONSUMER_OFFSET_IN_BROKER: i32 = 212;
/// defined, served by nobody.
pub const ADJUST_CONSUMER_THREAD_POOL: i32 = 213;
/// defined, served by nobody.
pub const WHO_CONSUME_THE_MESSAGE: i32 = 214;
/// A→B: admin.
pub const DELETE_TOPIC_IN_BROKER: i32 = 215;
/// B→C: oneway.
pub const RESET_CONSUMER_CLIENT_OFFSET: i32 = 220;
/// B→C: sync, 5 s.
pub const GET_CONSUMER_STATUS_FROM_CLIENT: i32 = 221;
/// A→B: triggers 220.
pub const INVOKE_BROKER_TO_RESET_OFFSET: i32 = 222;
/// A→B: triggers 221.
pub const INVOKE_BROKER_TO_GET_CONSUMER_STATUS: i32 = 223;
/// A→B: admin.
pub const QUERY_TOPIC_CONSUME_BY_WHO: i32 = 300;
/// defined, served by nobody.
pub const REGISTER_FILTER_SERVER: i32 = 301;
/// Sent to filter servers, which RocketMQ 4.9 no longer has.
pub const REGISTER_MESSAGE_FILTER_CLASS: i32 = 302;
/// A→B: admin.
pub const QUERY_CONSUME_TIME_SPAN: i32 = 303;
/// A→B: admin.
pub const GET_SYSTEM_TOPIC_LIST_FROM_BROKER: i32 = 305;
/// A→B: admin.
pub const CLEAN_EXPIRED_CONSUMEQUEUE: i32 = 306;
/// B→B, slaves of 5.x: how far the timer is.
pub const GET_TIMER_CHECK_POINT: i32 = 60;
/// B→B and A→B of 5.x: how many timed messages wait, by topic.
pub const GET_TIMER_METRICS: i32 = 61;
/// A→B, B→C: broker relays, 10 s.
pub const GET_CONSUMER_RUNNING_INFO: i32 = 307;
/// A→B: admin.
pub const QUERY_CORRECTION_OFFSET: i32 = 308;
/// A→B, B→C: broker relays, 10 s.
pub const CONSUME_MESSAGE_DIRECTLY: i32 = 309;
/// C→B: send processor.
pub const SEND_MESSAGE_V2: i32 = 310;
/// A→B: admin.
pub const CLONE_GROUP_OFFSET: i32 = 314;
/// A→B: admin.
pub const VIEW_BROKER_STATS_DATA: i32 = 315;
/// A→B: admin.
pub const CLEAN_UNUSED_TOPIC: i32 = 316;
/// A→B: admin.
pub const GET_BROKER_CONSUME_STATS: i32 = 317;
/// C→B: send processor.
pub const SEND_BATCH_MESSAGE: i32 = 320;
/// A→B: admin.
pub const QUERY_CONSUME_QUEUE: i32 = 321;
/// A→B: admin.
pub const RESUME_CHECK_HALF_MESSAGE: i32 = 323;
/// C→B: reply processor.
pub const SEND_REPLY_MESSAGE: i32 = 324;
/// C→B: reply processor.
pub const SEND_REPLY_MESSAGE_V2: i32 = 325;
/// B→C: sync, 10 s.
pub const PUSH_REPLY_MESSAGE_TO_CLIENT: i32 = 326;
/// A→B: admin.
pub const GET_ALL_PRODUCER_INFO: i32 = 328;
/// A→B: admin.
pub const DELETE_EXPIRED_COMMITLOG: i32 = 329;
/// A→B, tools of 5.x: admin.
pub const QUERY_TOPICS_BY_CONSUMER: i32 = 343;
/// A→B, tools of 5.x: admin.
pub const QUERY_SUBSCRIPTION_BY_CONSUMER: i32 = 345;
/// A→B, tools of 5.x: admin.
pub const GET_TOPIC_CONFIG: i32 = 351;
/// A→B, tools of 5.x: admin.
pub const GET_SUBSCRIPTIONGROUP_CONFIG: i32 = 352;
/// A→B, tools of 5.x: admin.
pub const GET_BROKER_HA_STATUS: i32 = 907;
/// B→B, ours: a slave asks a master for news of its tables; Java does not know it.
pub const SYNCHRONIZE_SLAVE: i32 = 31001;
/// C→B: every pull of a 5.x lite pull consumer; the same as PULL_MESSAGE.
pub const LITE_PULL_MESSAGE: i32 = 361;
/// C→B, producers of 5.x: takes a timed message back.
pub const RECALL_MESSAGE: i32 = 370;

// Codes of the name server.

/// A→N: writes a KV entry.
pub const PUT_KV_CONFIG: i32 = 100;
/// A,C→N: reads a KV entry.
pub const GET_KV_CONFIG: i32 = 101;
/// A→N: removes a KV entry.
pub const DELETE_KV_CONFIG: i32 = 102;
/// B→N: a broker and its topics.
pub const REGISTER_BROKER: i32 = 103;
/// B→N: a broker says goodbye.
pub const UNREGISTER_BROKER: i32 = 104;
/// C,A→N: the route of a topic.
pub const GET_ROUTEINFO_BY_TOPIC: i32 = 105;
/// C,A→N: all brokers and clusters.
pub const GET_BROKER_CLUSTER_INFO: i32 = 106;
/// A→N: takes the write permission of a broker's queues away.
pub const WIPE_WRITE_PERM_OF_BROKER: i32 = 205;
/// C,A→N: all topics.
pub const GET_ALL_TOPIC_LIST_FROM_NAMESERVER: i32 = 206;
/// A→N: forgets a topic.
pub const DELETE_TOPIC_IN_NAMESRV: i32 = 216;
/// A→N: all KV entries of a namespace.
pub const GET_KVLIST_BY_NAMESPACE: i32 = 219;
/// A→N: topics of a cluster.
pub const GET_TOPICS_BY_CLUSTER: i32 = 224;
/// A→N: names of clusters and brokers, which are topics too.
pub const GET_SYSTEM_TOPIC_LIST_FROM_NS: i32 = 304;
/// A→N: unit topics.
pub const GET_UNIT_TOPIC_LIST: i32 = 311;
/// A→N: topics with unit subscription.
pub const GET_HAS_UNIT_SUB_TOPIC_LIST: i32 = 312;
/// A→N: topics with unit subscription that are not unit topics.
pub const GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST: i32 = 313;
/// A→N: changes the name server's configuration.
pub const UPDATE_NAMESRV_CONFIG: i32 = 318;
/// A→N: reads the name server's configuration.
pub const GET_NAMESRV_CONFIG: i32 = 319;
/// B→N: does the name server know this version of my topics?
pub const QUERY_DATA_VERSION: i32 = 322;
/// A→N: gives write permission back.
pub const ADD_WRITE_PERM_OF_BROKER: i32 = 327;
