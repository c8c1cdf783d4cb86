//! Topics (spec: admin 1.2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{answer, done, refuse, refuse_on_slave};
use crate::broker::{Answer, Broker, success_with_fields};
use crate::common::clock::now_ms;
use crate::common::json::{Style, ToJson};
use crate::common::os::LocalTime;
use crate::common::topic::{
    LMQ_PREFIX, SCHEDULE_TOPIC, TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC, is_light, validate_topic,
};
use crate::remoting::protocol::admin_bodies::{
    ConsumeTimeSpans, GroupList, QueueTimeSpan, TopicOffset, TopicStatsTable,
};
use crate::remoting::protocol::admin_headers::{CreateTopicRequestHeader, TopicHeader};
use crate::remoting::protocol::bodies::{MessageQueue, TopicConfig, TopicList};
use crate::remoting::protocol::response_code as code;
use crate::remoting::{Command, Connection};

/// UPDATE_AND_CREATE_TOPIC: the topic is replaced as a whole, its order flag comes from the name
/// servers. When it is answered, every name server that can be reached knows the topic.
pub fn update(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    if let Some(refusal) = refuse_on_slave(broker) {
        return refusal;
    }
    let header: CreateTopicRequestHeader = request.header()?;
    let config = broker.config.get();
    let problem = name_problem(broker, &header.topic)
        .or_else(|| {
            queues_problem("readQueueNums", header.read_queue_nums, config.max_queues_per_topic)
        })
        .or_else(|| {
            queues_problem("writeQueueNums", header.write_queue_nums, config.max_queues_per_topic)
        })
        .or_else(|| filter_type_problem(&header.topic_filter_type));
    if let Some(problem) = problem {
        return refuse(code::SYSTEM_ERROR, problem);
    }
    log::info!(
        "topic {} set by request: read {} write {} perm {}",
        header.topic,
        header.read_queue_nums,
        header.write_queue_nums,
        header.perm
    );
    let topic = TopicConfig {
        order: false,
        perm: header.perm,
        read_queue_nums: header.read_queue_nums,
        topic_filter_type: header.topic_filter_type,
        topic_name: header.topic,
        topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
        write_queue_nums: header.write_queue_nums,
    };
    if let Err(problem) = broker.topics.put(topic) {
        return refuse(code::SYSTEM_ERROR, problem);
    }
    let limit = config.register_broker_timeout_mills.max(0) as u64;
    broker.registration.register_and_wait(Duration::from_millis(limit));
    done()
}

/// Why administrators cannot make or delete a topic of that name.
fn name_problem(broker: &Broker, topic: &str) -> Option<String> {
    if let Err(problem) = validate_topic(topic) {
        return Some(problem);
    }
    broker
        .topics
        .is_system(topic)
        .then(|| format!("The topic[{topic}] is conflict with system topic."))
}

fn queues_problem(name: &str, value: i32, max: i32) -> Option<String> {
    (value > max).then(|| format!("{name} is {value}: it must be at most {max}"))
}

fn filter_type_problem(value: &str) -> Option<String> {
    let known = ["SINGLE_TAG", "MULTI_TAG"].contains(&value);
    (!known).then(|| format!("topicFilterType is \"{value}\": expected SINGLE_TAG or MULTI_TAG"))
}

/// DELETE_TOPIC_IN_BROKER. Its queues go with it, and those of all other unknown topics; its
/// messages stay in the log until they expire. Consumer offsets stay. Of a light queue, only the queue
/// goes.
pub fn delete(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    if let Some(refusal) = refuse_on_slave(broker) {
        return refusal;
    }
    let TopicHeader { topic } = request.header()?;
    if let Some(problem) = name_problem(broker, &topic) {
        return refuse(code::SYSTEM_ERROR, problem);
    }
    log::info!("topic {topic} deleted by request");
    if is_light(&topic) {
        // Only what is in it goes: a light queue has no configuration, and one that was made all the
        // same keeps it, as in Java.
        broker.store.remove_topic(&topic);
        broker.pulled_offsets.remove_topic(&topic);
        return done();
    }
    broker.feed.while_topic_goes(|| {
        broker.topics.delete(&topic);
        broker.pulled_offsets.remove_topic(&topic);
        clean_queues(broker, |_| true, i64::MAX);
    });
    if broker.config.get().auto_delete_unused_stats {
        broker.stats.forget_topic(&topic);
    }
    done()
}

/// CLEAN_UNUSED_TOPIC: removes the queues of unknown topics. A slave does nothing: a topic that is
/// unknown there may be one of which it has not heard yet.
pub fn clean_unused(broker: &Arc<Broker>, _: &Arc<Connection>, _: Command) -> Answer {
    if !broker.store.config().is_slave() {
        clean_queues(broker, |_| true, i64::MAX);
    }
    done()
}

/// Removes the queues of unknown topics that `may_go`, without messages behind `up_to` in the log.
pub fn clean_queues(broker: &Broker, may_go: impl Fn(&str) -> bool, up_to: i64) {
    let known = |topic: &str| {
        // Topics without a configuration that the broker needs all the same.
        [SCHEDULE_TOPIC, TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC].contains(&topic)
            || topic.starts_with(LMQ_PREFIX)
            || broker.topics.contains(topic)
            || !may_go(topic)
    };
    let removed = broker.store.clean_unused_topics(&known, up_to);
    if removed > 0 {
        log::info!("queues of {removed} unknown topics removed");
    }
}

/// GET_ALL_TOPIC_CONFIG.
pub fn all(broker: &Arc<Broker>, _: &Arc<Connection>, _: Command) -> Answer {
    let body = broker.topics.snapshot().to_json().write(Style::Fastjson);
    Ok(Some(success_with_fields().with_body(body)))
}

/// GET_TOPIC_CONFIG, which tools of 5.x ask before most of what they do.
pub fn config(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let TopicHeader { topic } = request.header()?;
    match broker.topics.get(&topic) {
        Some(config) => answer(&*config),
        None => refuse(code::TOPIC_NOT_EXIST, format!("No topic in this broker. topic: {topic}")),
    }
}

/// GET_TOPIC_STATS_INFO: offsets and last store time of each queue to write.
pub fn stats(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let TopicHeader { topic } = request.header()?;
    let Some(config) = broker.topics.get(&topic) else {
        return refuse(code::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist"));
    };
    let mut offset_table = BTreeMap::new();
    for queue_id in 0..config.write_queue_nums {
        let max_offset = broker.store.max_offset(&topic, queue_id).max(0);
        let last_update_timestamp = if max_offset > 0 {
            broker.store.store_timestamp(&topic, queue_id, max_offset - 1)
        } else {
            0
        };
        let min_offset = broker.store.min_offset(&topic, queue_id).max(0);
        let offsets = TopicOffset { last_update_timestamp, max_offset, min_offset };
        offset_table.insert(queue(broker, &topic, queue_id), offsets);
    }
    answer(&TopicStatsTable { offset_table })
}

/// A queue of this broker.
pub(super) fn queue(broker: &Broker, topic: &str, queue_id: i32) -> MessageQueue {
    MessageQueue {
        broker_name: broker.config.get().broker_name.clone(),
        queue_id,
        topic: topic.to_owned(),
    }
}

/// QUERY_TOPIC_CONSUME_BY_WHO: groups that subscribe to the topic or have offsets of it.
pub fn consumed_by(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let TopicHeader { topic } = request.header()?;
    let mut groups = broker.consumers.groups_of_topic(&topic);
    groups.append(&mut broker.consumer_offsets.groups_of_topic(&topic));
    answer(&GroupList { group_list: groups.into_iter().collect() })
}

/// QUERY_CONSUME_TIME_SPAN: from when to when the messages of each queue are, and where in that
/// time a group is.
pub fn time_spans(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let TopicHeader { topic } = request.header()?;
    let group = request.fields.get("group").unwrap_or_default();
    let Some(config) = broker.topics.get(&topic) else {
        return refuse(code::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist"));
    };
    let spans = (0..config.write_queue_nums).map(|queue_id| {
        let store = &broker.store;
        let min_time_stamp = store.earliest_store_timestamp(&topic, queue_id);
        let max_offset = store.max_offset(&topic, queue_id);
        let offset = broker.consumer_offsets.get(group, &topic, queue_id).unwrap_or(-1);
        let max_time_stamp = store.store_timestamp(&topic, queue_id, max_offset - 1);
        let consume_time_stamp = if offset > 0 {
            store.store_timestamp(&topic, queue_id, offset - 1)
        } else {
            min_time_stamp
        };
        QueueTimeSpan {
            min_time_stamp,
            min_time_stamp_str: Some(local_time(min_time_stamp)),
            max_time_stamp,
            max_time_stamp_str: Some(local_time(max_time_stamp)),
            consume_time_stamp,
            consume_time_stamp_str: Some(local_time(consume_time_stamp)),
            delay_time: if offset < max_offset {
                now_ms() - store.store_timestamp(&topic, queue_id, offset)
            } else {
                0
            },
            message_queue: queue(broker, &topic, queue_id),
        }
    });
    answer(&ConsumeTimeSpans { consume_time_span_set: spans.collect() })
}

/// `yyyy-MM-dd#HH:mm:ss:SSS`.
fn local_time(epoch_ms: i64) -> String {
    let LocalTime { year, month, day, hour, minute, second, millisecond } =
        LocalTime::from_epoch_ms(epoch_ms);
    format!("{year:04}-{month:02}-{day:02}#{hour:02}:{minute:02}:{second:02}:{millisecond:03}")
}

/// GET_SYSTEM_TOPIC_LIST_FROM_BROKER.
pub fn system(broker: &Arc<Broker>, _: &Arc<Connection>, _: Command) -> Answer {
    answer(&TopicList {
        broker_addr: None,
        topic_list: broker.topics.system_topics().iter().cloned().collect(),
    })
}
