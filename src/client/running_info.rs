//! What a push consumer tells an operator's tool about itself (request 307).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::instance::ConsumerRole;
use super::process_queue::ProcessQueue;
use super::push::PushInner;
use crate::remoting::protocol::bodies::ConsumerRunningInfo;
use crate::remoting::protocol::heartbeat::ConsumeType;

impl PushInner {
    /// The whole answer to request 307.
    pub fn describe(&self) -> ConsumerRunningInfo {
        let info = |queue: &Arc<ProcessQueue>| {
            let commit = self.offsets.known(&queue.queue).ok().flatten().unwrap_or(-1);
            (queue.queue.clone(), queue.info(commit))
        };
        let mut subscription_set = self.data().subscription_data_set;
        subscription_set.sort_by(|a, b| (&a.topic, &a.sub_string).cmp(&(&b.topic, &b.sub_string)));
        ConsumerRunningInfo {
            jstack: None,
            mq_table: self.queues().all().iter().map(info).collect(),
            properties: self.described_options(),
            status_table: self.stats.status(),
            subscription_set,
        }
    }

    /// Options and state as tools read them, under Java's names.
    fn described_options(&self) -> BTreeMap<String, String> {
        let options = &self.options;
        [
            ("consumerGroup", options.group.clone()),
            ("messageModel", options.message_model.name().to_owned()),
            ("consumeFromWhere", options.consume_from.name().to_owned()),
            ("consumeThreadMin", self.service.threads().to_string()),
            ("consumeThreadMax", self.service.threads().to_string()),
            ("consumeMessageBatchMaxSize", options.consume_batch.to_string()),
            ("pullBatchSize", options.pull_batch.to_string()),
            ("pullInterval", options.pull_interval.as_millis().to_string()),
            ("pullThresholdForQueue", self.max_cached.load(Ordering::Relaxed).to_string()),
            (
                "pullThresholdSizeForQueue",
                (self.max_cached_bytes.load(Ordering::Relaxed) >> 20).to_string(),
            ),
            ("consumeConcurrentlyMaxSpan", options.max_span.to_string()),
            ("maxReconsumeTimes", options.max_reconsume_times.to_string()),
            ("consumeTimeout", (options.consume_timeout.as_secs() / 60).to_string()),
            ("allocateMessageQueueStrategy", options.strategy.name()),
            ("PROP_CONSUMEORDERLY", self.is_orderly().to_string()),
            ("PROP_CONSUME_TYPE", ConsumeType::Passively.name().to_owned()),
            ("PROP_THREADPOOL_CORE_SIZE", self.service.threads().to_string()),
            ("PROP_CONSUMER_START_TIMESTAMP", self.started_ms.to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}
