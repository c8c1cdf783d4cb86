//! From Java to here: what stands where, and what is different. (A page to read; nothing is in it.)
//!
//! # Classes
//!
//! | Java | here |
//! |---|---|
//! | `DefaultMQProducer` | [`ProducerOptions`](super::ProducerOptions)`::start` → [`Producer`](super::Producer) |
//! | `TransactionMQProducer`, `TransactionListener` | [`ProducerOptions::start_transactional`](super::ProducerOptions::start_transactional) with two closures → [`TransactionProducer`](super::TransactionProducer) |
//! | `DefaultMQPushConsumer` with `MessageListenerConcurrently` | [`ConsumerOptions::start_concurrent`](super::ConsumerOptions::start_concurrent) → [`PushConsumer`](super::PushConsumer) |
//! | the same with `MessageListenerOrderly` | [`ConsumerOptions::start_orderly`](super::ConsumerOptions::start_orderly) |
//! | `DefaultLitePullConsumer` | [`LitePullOptions`](super::LitePullOptions)`::start` → [`LitePullConsumer`](super::LitePullConsumer) |
//! | `DefaultMQPullConsumer` | [`PullOptions`](super::PullOptions)`::start` → [`PullConsumer`](super::PullConsumer) |
//! | `MQPullConsumerScheduleService` | [`PullOptions::start_schedule`](super::PullOptions::start_schedule) → [`PullSchedule`](super::PullSchedule) |
//! | `OffsetStore`, `RemoteBrokerOffsetStore`, `LocalFileOffsetStore` | [`OffsetStore`](super::OffsetStore), what is used without one, [`OffsetFile`](super::OffsetFile) |
//! | `DefaultMQAdminExt` | [`AdminClient`](super::admin::AdminClient) |
//! | `ClientConfig` | [`ClientOptions`](super::ClientOptions), the field `client` of all options |
//! | `Message`, `MessageExt` | [`Message`](crate::common::message::Message), [`ReceivedMessage`](super::ReceivedMessage) |
//! | `RPCHook` | [`Interceptor`](super::config::Interceptor) |
//! | `SendMessageHook`, `ConsumeMessageHook`, `EndTransactionHook`, `FilterMessageHook`, `CheckForbiddenHook` | [`Hook`](super::hooks::Hook) |
//! | `MQClientException`, `MQBrokerException`, `RemotingException` | [`ClientError`](super::ClientError); `code()` is Java's number |
//! | `NamespaceUtil` | [`Namespace`](super::Namespace) |
//!
//! # Methods, class by class
//!
//! The public methods of 4.9.8, in its order. In all classes:
//!
//! - Constructors, and getters and setters of options, are fields of the options and their chained
//!   setters, under names that [`config`](super::config) lists; there is no getter, as the fields are public.
//!   After the start nothing of it changes, but for what has a method of its own.
//! - `start()` is the options' `start…`; `shutdown()` has its name, and happens when the client is dropped;
//!   `isRunning()`: whoever has a client that was not shut down has one that runs.
//! - `setLanguage`: always `RUST`, as brokers and tools show what a client is written in. `setUseTLS` is not had
//!   (a proxy on the same machine can add TLS).
//! - `RPCHook` in a constructor: `interceptor`. `enableMsgTrace` there, `setEnableMsgTrace`: `trace()`;
//!   `customizedTraceTopic`, `setCustomizedTraceTopic`: `trace_topic`; `getTraceDispatcher`: started and stopped
//!   with the client.
//! - `setCallbackExecutor`, `setAsyncSenderExecutor`, `setExecutorService`: the pools are the client's own;
//!   [`callback_threads`](super::ClientOptions::callback_threads) says how large. A callback that belongs on a
//!   pool of the application hands itself over to it: it is a closure.
//! - `getDefaultMQProducerImpl` and its like: there is nothing behind the client that could be had beside it.
//! - Timeouts are [`Duration`](std::time::Duration)s. What has `_to` in its name takes a
//!   [`Target`](super::Target): a queue, a key (Java's `SelectMessageQueueByHash`), any, or a closure that
//!   chooses. What has `_within` takes a limit as well.
//!
//! ## `ClientConfig`
//!
//! | Java | here |
//! |---|---|
//! | `setNamesrvAddr`, `-Drocketmq.namesrv.addr` | `name_servers`, `NAMESRV_ADDR` |
//! | `-Drocketmq.namesrv.domain` | `name_server_domain`, `ROCKETMQ_NAMESRV_DOMAIN` |
//! | `setClientIP`, `setInstanceName`, `setUnitName`, `setUnitMode` | `client_ip`, `instance_name`, `unit_name`, `unit_mode` |
//! | `setAccessChannel` | `access_channel`: how message traces look |
//! | `changeInstanceNameToPID`, `buildMQClientId` | done at the start; the client's `client_id()` |
//! | `setNamespace`, `withNamespace`, `withoutNamespace`, `queueWithNamespace`, `queuesWithNamespace` | `namespace`, [`Namespace::wrap`](super::Namespace::wrap), [`unwrap`](super::Namespace::unwrap); whoever calls the client need not |
//! | `setClientCallbackExecutorThreads` | `callback_threads` |
//! | `setPollNameServerInterval`, `setHeartbeatBrokerInterval`, `setPersistConsumerOffsetInterval` | `route_interval`, `heartbeat_interval`, `persist_interval` |
//! | `setPullTimeDelayMillsWhenException` | `pull_error_delay` of the consumer |
//! | `setVipChannelEnabled`, `setMqClientApiTimeout` | `vip_channel`, `api_timeout` |
//! | `setEnableStreamRequestType` | always on for lite pull and pull consumers |
//! | `cloneClientConfig`, `resetClientConfig`, `toString` | options are `Clone` and `Debug` |
//!
//! ## `DefaultMQProducer`
//!
//! | Java | here |
//! |---|---|
//! | `fetchPublishMessageQueues(topic)` | [`queues`](super::Producer::queues) |
//! | `send(msg)`, `send(msg, timeout)` | [`send`](super::Producer::send), [`send_within`](super::Producer::send_within) |
//! | `send(msg, queue)`, `send(msg, selector, arg)`, with a timeout | [`send_to`](super::Producer::send_to), [`send_within`](super::Producer::send_within) |
//! | `send(msg, callback)`, and with queue, selector, timeout | [`send_async`](super::Producer::send_async), [`send_async_to`](super::Producer::send_async_to), [`send_async_within`](super::Producer::send_async_within) |
//! | `sendOneway(msg)`, and with queue, selector | [`send_oneway`](super::Producer::send_oneway), [`send_oneway_to`](super::Producer::send_oneway_to) |
//! | `request(msg, timeout)`, and with queue, selector | [`request`](super::Producer::request), [`request_to`](super::Producer::request_to) |
//! | `request(msg, callback, timeout)`, and with queue, selector | [`request_async`](super::Producer::request_async), [`request_async_to`](super::Producer::request_async_to) |
//! | `MessageUtil.createReplyMessage` | [`reply_to`](super::reply_to) |
//! | `send(collection)`, and with queue, timeout | [`send_batch`](super::Producer::send_batch), [`send_batch_to`](super::Producer::send_batch_to), [`send_batch_within`](super::Producer::send_batch_within); of any length: [`send_batches`](super::Producer::send_batches) |
//! | `send(collection, callback)`, and with queue | [`send_batch_async`](super::Producer::send_batch_async), [`send_batch_async_to`](super::Producer::send_batch_async_to) |
//! | `sendMessageInTransaction` | of the transaction producer |
//! | `searchOffset`, `maxOffset`, `minOffset` | [`offset_at`](super::Producer::offset_at) |
//! | `earliestMsgStoreTime` | the time of the message at [`OffsetAt::Min`](super::OffsetAt::Min) |
//! | `createTopic`, `viewMessage`, `queryMessage` | [`AdminClient`](super::admin::AdminClient): `create_topic`, `view_message`, `query_messages` |
//! | `setProducerGroup` | [`ProducerOptions::new`](super::ProducerOptions::new) |
//! | `addRetryResponseCode`, `getRetryResponseCodes` | `retry_codes` |
//! | `setSendMessageWithVIPChannel` | `vip_channel` |
//! | `setSendMsgTimeout`, `setRetryTimesWhenSendFailed`, `setRetryTimesWhenSendAsyncFailed` | `send_timeout`, `retries`, `async_retries` |
//! | `setRetryAnotherBrokerWhenNotStoreOK` | `retry_when_not_ok` |
//! | `setCompressMsgBodyOverHowmuch`, `setMaxMessageSize` | `compress_over`, `max_message_bytes` |
//! | `setCreateTopicKey`, `setDefaultTopicQueueNums` | `create_topic_key`, `default_topic_queues` |
//! | `setSendLatencyFaultEnable` | `avoid_slow_brokers` |
//! | `setLatencyMax`, `setNotAvailableDuration` | `latency_penalties`, row by row |
//! | 5.x: `setStartDetectorEnable`, `setDetectInterval`, `setDetectTimeout` | `probe_brokers`, `probe_interval`, `probe_timeout`: a broker that failed is avoided until it answers, and no longer |
//!
//! ## `TransactionMQProducer`
//!
//! | Java | here |
//! |---|---|
//! | `sendMessageInTransaction(msg, arg)` with the listener's `executeLocalTransaction` | [`send_in_transaction`](super::TransactionProducer::send_in_transaction) with a closure |
//! | `setTransactionListener`, its `checkLocalTransaction` | the closure of [`start_transactional`](super::ProducerOptions::start_transactional) |
//! | `setTransactionCheckListener`, `sendMessageInTransaction(msg, executer, arg)` | the same closures: the listeners of 4.2 and before have no names of their own here |
//! | `setCheckThreadPoolMinSize`, `setCheckThreadPoolMaxSize`, `setCheckRequestHoldMax` | `check_threads` (started as there is work), `check_queue` |
//!
//! ## `DefaultMQPushConsumer`
//!
//! | Java | here |
//! |---|---|
//! | `setConsumerGroup`, `setSubscription` | [`ConsumerOptions::new`](super::ConsumerOptions::new), [`subscribe`](super::ConsumerOptions::subscribe) |
//! | `setMessageModel`, `setConsumeFromWhere`, `setConsumeTimestamp` | `message_model`, `consume_from`, `consume_timestamp` |
//! | `registerMessageListener(…)`, `setMessageListener`, `start()` | [`start_concurrent`](super::ConsumerOptions::start_concurrent), [`start_orderly`](super::ConsumerOptions::start_orderly) |
//! | `RECONSUME_LATER`, `setAckIndex(i)`, `setDelayLevelWhenNextConsume` | [`ConsumeResult::Later`](super::ConsumeResult::Later), `context.succeeded = i + 1`, `context.delay_level` |
//! | `SUSPEND_CURRENT_QUEUE_A_MOMENT` | [`OrderlyResult::Suspend`](super::OrderlyResult::Suspend); the context's `auto_commit`, `suspend_time` |
//! | `subscribe(topic, expression)`, `subscribe(topic, selector)` | [`ConsumerOptions::subscribe`](super::ConsumerOptions::subscribe), or while it runs [`subscribe`](super::PushConsumer::subscribe); `MessageSelector.bySql` is [`Filter::Sql`](super::Filter::Sql), `byTag` a text |
//! | `subscribe(topic, class, source)` | not had: filter servers are gone |
//! | `unsubscribe`, `suspend`, `resume` | [`unsubscribe`](super::PushConsumer::unsubscribe), [`suspend`](super::PushConsumer::suspend), [`resume`](super::PushConsumer::resume) |
//! | `updateCorePoolSize`, `setConsumeThreadMin`, `setConsumeThreadMax` | [`set_consume_threads`](super::PushConsumer::set_consume_threads), `consume_threads`: one number, as Java never runs more than the first of its two |
//! | `setAdjustThreadPoolNumsThreshold` | without effect in Java too |
//! | `sendMessageBack` | [`send_back`](super::PushConsumer::send_back) |
//! | `fetchSubscribeMessageQueues(topic)` | [`topic_queues`](super::PushConsumer::topic_queues); its own ones: [`queues`](super::PushConsumer::queues) |
//! | `setOffsetStore` | `offset_store` |
//! | `setAllocateMessageQueueStrategy`; 5.x: `setMessageQueueListener` | `strategy`: [`AllocateStrategy`](super::AllocateStrategy), bit for bit Java's; [`on_assignment`](super::ConsumerOptions::on_assignment) |
//! | `setConsumeConcurrentlyMaxSpan`, `setPullThresholdForQueue`, `setPullThresholdSizeForQueue`, `setPullThresholdForTopic`, `setPullThresholdSizeForTopic` | `max_span`, `cached_messages_per_queue`, `cached_mib_per_queue`, `…_per_topic` |
//! | `setConsumeMessageBatchMaxSize`, `setPullBatchSize`, `setPullInterval` | `consume_batch`, `pull_batch`, `pull_interval` |
//! | `setPostSubscriptionWhenPull` | `post_subscription` |
//! | `setMaxReconsumeTimes`, `setSuspendCurrentQueueTimeMillis`, `setConsumeTimeout` | `max_reconsume_times`, `suspend_time`, `consume_timeout` |
//! | `setAwaitTerminationMillisWhenShutdown` | `shutdown_wait` |
//! | `createTopic`, `searchOffset`, `maxOffset`, `minOffset`, `earliestMsgStoreTime`, `viewMessage`, `queryMessage` | as of a producer |
//!
//! ## `DefaultLitePullConsumer`
//!
//! | Java | here |
//! |---|---|
//! | `subscribe(topic, expression or selector)`, `unsubscribe` | [`subscribe`](super::LitePullConsumer::subscribe), [`unsubscribe`](super::LitePullConsumer::unsubscribe) |
//! | `subscribe(topic, expression, listener)`, `setMessageQueueListener` | [`on_assignment`](super::LitePullOptions::on_assignment) |
//! | `assign(queues)`, `setSubExpressionForAssign` | [`assign`](super::LitePullConsumer::assign) with a filter |
//! | `assignment()` | [`assignment`](super::LitePullConsumer::assignment) |
//! | `poll()`, `poll(timeout)` | [`poll`](super::LitePullConsumer::poll), [`poll_for`](super::LitePullConsumer::poll_for), or [`messages`](super::LitePullConsumer::messages) |
//! | `seek`, `seekToBegin`, `seekToEnd` | [`seek`](super::LitePullConsumer::seek), [`seek_to`](super::LitePullConsumer::seek_to) |
//! | `pause`, `resume` | [`pause`](super::LitePullConsumer::pause), [`resume`](super::LitePullConsumer::resume) |
//! | `fetchMessageQueues(topic)`, `offsetForTimestamp` | [`queues`](super::LitePullConsumer::queues), [`offset_at`](super::LitePullConsumer::offset_at) |
//! | `registerTopicMessageQueueChangeListener`, `setTopicMetadataCheckIntervalMillis` | [`on_topic_change`](super::LitePullConsumer::on_topic_change), `topic_check_interval` |
//! | `commitSync()` | [`commit_sync`](super::LitePullConsumer::commit_sync); in memory only, as Java's: [`commit`](super::LitePullConsumer::commit) |
//! | `commitSync(offsets, persist)`, `commit(queues, persist)` | [`commit_offsets`](super::LitePullConsumer::commit_offsets), [`commit_queues`](super::LitePullConsumer::commit_queues) |
//! | `committed` | [`committed`](super::LitePullConsumer::committed) |
//! | `updateNameServerAddress` | [`set_name_servers`](super::LitePullConsumer::set_name_servers) |
//! | `setAutoCommit`, `setAutoCommitIntervalMillis` | `auto_commit`, `auto_commit_interval` |
//! | `setConnectBrokerByUser`, `setDefaultBrokerId` | `read_from_broker` |
//! | `setPullThreadNums`, `setConsumerPullTimeoutMillis` | not needed: no thread waits for a pull |
//! | `setPullBatchSize`, `setPullThresholdForAll`, `setConsumeMaxSpan`, `setPullThresholdForQueue`, `setPullThresholdSizeForQueue` | `pull_batch`, `cached_messages`, `max_span`, `cached_messages_per_queue`, `cached_mib_per_queue` |
//! | `setBrokerSuspendMaxTimeMillis`, `setConsumerTimeoutMillisWhenSuspend`, `setPollTimeoutMillis` | `suspend_pull`, `pull_timeout`, `poll_timeout` |
//!
//! ## `DefaultMQPullConsumer`
//!
//! | Java | here |
//! |---|---|
//! | `pull(queue, expression or selector, offset, max)` | [`pull`](super::PullConsumer::pull) without a wait |
//! | `pullBlockIfNotFound` | [`pull`](super::PullConsumer::pull) with one |
//! | both with a `PullCallback` | [`pull_async`](super::PullConsumer::pull_async) |
//! | `updateConsumeOffset`, `persist` | [`commit`](super::PullConsumer::commit), which tells the broker at once |
//! | `fetchConsumeOffset(queue, fromStore)` | [`committed`](super::PullConsumer::committed) |
//! | `fetchSubscribeMessageQueues(topic)` | [`queues`](super::PullConsumer::queues) |
//! | `setRegisterTopics`, `fetchMessageQueuesInBalance(topic)` | [`join`](super::PullConsumer::join), [`assignment`](super::PullConsumer::assignment) |
//! | `registerMessageQueueListener`, `setMessageQueueListener` | [`on_assignment`](super::PullOptions::on_assignment) |
//! | `sendMessageBack` | [`send_back`](super::PullConsumer::send_back): to the broker that has the message, and to the consumer's own group (for another one start a consumer of it) |
//! | `searchOffset`, `maxOffset`, `minOffset` | [`offset_at`](super::PullConsumer::offset_at) |
//! | `createTopic`, `earliestMsgStoreTime`, `viewMessage`, `queryMessage` | as of a producer |
//! | `setMaxReconsumeTimes` | `max_reconsume_times` |
//! | `setBrokerSuspendMaxTimeMillis`, `setConsumerTimeoutMillisWhenSuspend`, `setConsumerPullTimeoutMillis` | the wait of each pull |
//!
//! ## `MQPullConsumerScheduleService`
//!
//! | Java | here |
//! |---|---|
//! | `registerPullTaskCallback(topic, callback)` | [`register`](super::PullSchedule::register); [`unregister`](super::PullSchedule::unregister) ends it |
//! | `PullTaskContext.setPullNextDelayTimeMillis` | what the callback returns |
//! | `putTask(topic, queues)` | what Java's own listener calls when the queues were divided, and the next division undoes; here nobody else can |
//! | `getCallbackTable`, `setCallbackTable` | [`register`](super::PullSchedule::register) replaces the callback of a topic |
//! | `PullTaskContext.getPullConsumer` | the first argument of the callback |
//! | `setPullThreadNums`, `setMessageModel` | `schedule_threads`, `message_model` |
//! | `getDefaultMQPullConsumer`, `setDefaultMQPullConsumer` | [`consumer`](super::PullSchedule::consumer) |
//!
//! ## `OffsetStore`
//!
//! | Java | here |
//! |---|---|
//! | `readOffset` from the store, `persist`, `persistAll`, `updateConsumeOffsetToBroker` | [`read`](super::OffsetStore::read), [`write`](super::OffsetStore::write) of what was consumed |
//! | `load`, `updateOffset`, `removeOffset`, `cloneOffsetTable`, `readOffset` from memory | the client's: an application's store need not keep a table |
//!
//! ## `SendResult`, `PullResult`
//!
//! Fields of [`SendResult`](super::SendResult) and [`PullResult`](super::PullResult). `encoderSendResultToJson` and its
//! counterpart are not had: no part of the client writes or reads that.
//!
//! ## `DefaultMQAdminExt`
//!
//! What Java asks of all brokers of a topic or a cluster is here mostly asked of one; the brokers are those of
//! [`route`](super::AdminClient::route) ([`address_of`](super::admin::address_of)) and of
//! [`cluster_info`](super::AdminClient::cluster_info) ([`addresses_of_cluster`](super::admin::addresses_of_cluster)).
//!
//! | Java | here |
//! |---|---|
//! | constructors with a timeout, a hook | [`limit`](super::AdminClient::limit), [`interceptor`](super::AdminClient::interceptor) |
//! | `getNameServerAddressList`, `setAdminExtGroup` | [`name_servers`](super::AdminClient::name_servers); there is no group, as it does not register |
//! | `createTopic(key, topic, queues)` | [`create_topic_like`](super::AdminClient::create_topic_like) |
//! | `createAndUpdateTopicConfig`, `examineTopicConfig`, `getAllTopicConfig` | [`create_topic`](super::AdminClient::create_topic), [`topic_configs`](super::AdminClient::topic_configs) |
//! | `getUserTopicConfig` | the same without [`system_topics`](super::AdminClient::system_topics) |
//! | `deleteTopicInBroker`, `deleteTopicInNameServer` | [`delete_topic`](super::AdminClient::delete_topic), [`delete_topic_in_name_server`](super::AdminClient::delete_topic_in_name_server) |
//! | `fetchAllTopicList`, `fetchTopicsByCLuster` | [`topic_list`](super::AdminClient::topic_list), [`topics_of_cluster`](super::AdminClient::topics_of_cluster) |
//! | `examineTopicStats`, `examineTopicRouteInfo` | [`topic_stats_everywhere`](super::AdminClient::topic_stats_everywhere), [`route`](super::AdminClient::route) |
//! | `getClusterList`, `getTopicClusterList` | [`clusters_of_topic`](super::AdminClient::clusters_of_topic) |
//! | `createOrUpdateOrderConf` | [`put_kv`](super::AdminClient::put_kv) of the namespace `ORDER_TOPIC_CONFIG` |
//! | `createAndUpdateSubscriptionGroupConfig`, `examineSubscriptionGroupConfig`, `getAllSubscriptionGroup`, `getUserSubscriptionGroup` | [`create_group`](super::AdminClient::create_group), [`group_configs`](super::AdminClient::group_configs) |
//! | `deleteSubscriptionGroup` | [`delete_group`](super::AdminClient::delete_group) |
//! | `updateBrokerConfig`, `getBrokerConfig`, `fetchBrokerRuntimeStats`, `viewBrokerStatsData` | [`update_broker_config`](super::AdminClient::update_broker_config), [`broker_config`](super::AdminClient::broker_config), [`runtime_info`](super::AdminClient::runtime_info), [`broker_stats`](super::AdminClient::broker_stats) |
//! | `examineBrokerClusterInfo` | [`cluster_info`](super::AdminClient::cluster_info) |
//! | `cleanExpiredConsumerQueue`, `deleteExpiredCommitLog`, `cleanUnusedTopic`, each also `…ByAddr` | [`trigger`](super::AdminClient::trigger) with 306, 329, 316 |
//! | `wipeWritePermOfBroker`, `addWritePermOfBroker` | [`wipe_write_perm`](super::AdminClient::wipe_write_perm), [`add_write_perm`](super::AdminClient::add_write_perm) |
//! | `createAndUpdateKvConfig`, `putKVConfig` (empty in Java), `getKVConfig`, `deleteKvConfig`, `getKVListByNamespace` | [`put_kv`](super::AdminClient::put_kv), [`get_kv`](super::AdminClient::get_kv), [`delete_kv`](super::AdminClient::delete_kv), [`kv_of`](super::AdminClient::kv_of) |
//! | `updateNameServerConfig`, `getNameServerConfig` | [`update_name_server_config`](super::AdminClient::update_name_server_config), [`name_server_config`](super::AdminClient::name_server_config) |
//! | `examineConsumeStats(group)`, with a topic; `fetchConsumeStatsInBroker` | [`consume_stats_of_group`](super::AdminClient::consume_stats_of_group), [`consume_stats`](super::AdminClient::consume_stats); [`consume_stats_of_broker`](super::AdminClient::consume_stats_of_broker) |
//! | `examineConsumerConnectionInfo`, `examineProducerConnectionInfo`, `getAllProducerInfo` | [`consumer_connection_of_group`](super::AdminClient::consumer_connection_of_group), [`producer_connection_of_group`](super::AdminClient::producer_connection_of_group), [`producers`](super::AdminClient::producers) |
//! | `getConsumerRunningInfo`, `getConsumeStatus`, `queryConsumeTimeSpan` | [`consumer_running_info`](super::AdminClient::consumer_running_info), [`consumer_status`](super::AdminClient::consumer_status), [`consume_time_spans`](super::AdminClient::consume_time_spans) |
//! | `queryTopicConsumeByWho`, `queryConsumeQueue` | [`groups_of_topic`](super::AdminClient::groups_of_topic), [`consume_queue`](super::AdminClient::consume_queue) |
//! | `searchOffset`, `maxOffset`, `minOffset`, `earliestMsgStoreTime` | [`search_offset`](super::AdminClient::search_offset), [`max_offset`](super::AdminClient::max_offset), [`min_offset`](super::AdminClient::min_offset), [`earliest_store_time`](super::AdminClient::earliest_store_time) |
//! | `updateConsumeOffset`, `cloneGroupOffset` | [`update_consumer_offset`](super::AdminClient::update_consumer_offset), [`clone_offsets`](super::AdminClient::clone_offsets) |
//! | `resetOffsetByTimestamp`; `resetOffsetByTimestampOld` | [`reset_offset`](super::AdminClient::reset_offset); [`reset_offline`](super::AdminClient::reset_offline) |
//! | `resetOffsetNew` | the first, and after the code 206 the second |
//! | `viewMessage(id)`, `viewMessage(topic, id)` | [`message_by_id`](super::AdminClient::message_by_id), [`find_message`](super::AdminClient::find_message) |
//! | `queryMessage`, `queryMessageByUniqKey` | [`query_messages`](super::AdminClient::query_messages) |
//! | `messageTrackDetail` | [`track`](super::AdminClient::track) for each of [`groups_of_topic`](super::AdminClient::groups_of_topic) |
//! | `consumeMessageDirectly` | [`consume_directly`](super::AdminClient::consume_directly) |
//! | `resumeCheckHalfMessage` | [`resume_check`](super::AdminClient::resume_check) |
//! | `createAndUpdatePlainAccessConfig`, `deletePlainAccessConfig`, `updateGlobalWhiteAddrConfig`, `examineBrokerClusterAclVersionInfo` | not had, as the broker has no access control yet |
//!
//! # Defaults that are others
//!
//! All other defaults are those of 4.9.8.
//!
//! | option | Java | here | why |
//! |---|---|---|---|
//! | `callback_threads` | processors | 4 | callbacks may wait for one another; one thread of a small machine would not do |
//! | `retry_codes` | without 2 | with 2 | an overloaded broker answers it, and another one may have time (as in Java 5) |
//! | `async_in_flight`, `async_in_flight_bytes` | 65535, none | 4096, 32 MiB | memory has a limit |
//! | `shutdown_wait` | 0, listeners are interrupted | 5 s | Rust cannot interrupt a listener |
//! | `binary_headers` | off | on | every broker since 4.0 reads them, and both sides pay less |
//!
//! # What is different
//!
//! - Options are given before the start and do not change after it; `start` consumes them. What is
//!   out of range is an error of `start`.
//! - Nothing has to be shut down by hand: dropping does it. A shutdown waits for listeners that run
//!   (`shutdown_wait`), persists offsets and leaves the group; Java's default interrupts them.
//! - A listener is a closure. A panic in it is a failure, as an exception is in Java.
//! - A received message shares the bytes of the answer that brought it; cloning it copies nothing.
//! - `commit_sync` tells the broker before it returns, and fails if it cannot; Java's only changes its
//!   memory.
//! - A message whose body cannot be unpacked is given back, not shown and not lost (see
//!   [`unpack_error`](super::ReceivedMessage::unpack_error)). Java drops it, and all after it in the same answer.
//! - A failed query for an offset is an error, tried again; Java takes it for "no offset" and starts
//!   over. A broker that is busy (code 2) is a reason to try another one, as in Java 5.
//! - An asynchronous send that is tried again names its new queue; Java's still names the first.
//! - Clients that share a client id must agree about name servers, namespace and interceptor; in Java
//!   the second one's are ignored.
//! - The broker's answer to a slow request does not close the connection that others use.
