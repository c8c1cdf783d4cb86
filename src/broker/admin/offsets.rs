//! Offsets of queues and of consumer groups (spec: admin 1.4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::topics::queue;
use super::{answer, done};
use crate::broker::delay::DelayOffsetTable;
use crate::broker::{Answer, Broker};
use crate::common::clock::now_ms;
use crate::remoting::header::HeaderError;
use crate::remoting::protocol::admin_bodies::{
    ConsumeStats, ConsumeStatsList, CorrectionOffsets, OffsetWrapper,
};
use crate::remoting::protocol::admin_headers::{
    CloneGroupOffsetRequestHeader, GetBrokerConsumeStatsRequestHeader,
    GetConsumeStatsRequestHeader, QueryCorrectionOffsetHeader,
};
use crate::remoting::protocol::bodies::DataVersion;
use crate::remoting::protocol::headers::{
    OffsetResponseHeader, QueueRequestHeader, SearchOffsetRequestHeader, TimestampResponseHeader,
};
use crate::remoting::protocol::response_code as code;
use crate::remoting::{Command, Connection};

/// V5_0_0_SNAPSHOT: from here on tools know how far a group has pulled, and tables of offsets have a
/// version.
const VERSION_5: i32 = 412;

fn offset(offset: i64) -> Answer {
    Ok(Some(Command::response(code::SUCCESS).with_header(&OffsetResponseHeader { offset })))
}

/// SEARCH_OFFSET_BY_TIMESTAMP.
pub fn search(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let SearchOffsetRequestHeader { topic, queue_id, timestamp, .. } = request.header()?;
    offset(broker.store.offset_by_time(&topic, queue_id, timestamp))
}

/// GET_MAX_OFFSET: the next offset to be written; 0 of an unknown queue.
pub fn max(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let QueueRequestHeader { topic, queue_id, .. } = request.header()?;
    offset(broker.store.max_offset(&topic, queue_id))
}

/// GET_MIN_OFFSET: the first offset; 0 of an unknown queue.
pub fn min(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let QueueRequestHeader { topic, queue_id, .. } = request.header()?;
    offset(broker.store.min_offset(&topic, queue_id))
}

/// GET_EARLIEST_MSG_STORETIME: store time of the first message, -1 without one.
pub fn earliest_store_time(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let QueueRequestHeader { topic, queue_id, .. } = request.header()?;
    let timestamp = broker.store.earliest_store_timestamp(&topic, queue_id);
    let header = TimestampResponseHeader { timestamp };
    Ok(Some(Command::response(code::SUCCESS).with_header(&header)))
}

/// GET_ALL_CONSUMER_OFFSET. A slave of 5.x takes the version over too, and stumbles where there is
/// none.
pub fn all(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let mut table = broker.consumer_offsets.snapshot();
    if request.version >= VERSION_5 {
        let counter = broker.consumer_offsets.sequence();
        table.data_version = Some(DataVersion { counter, timestamp: now_ms() });
    }
    answer(&table)
}

/// GET_ALL_DELAY_OFFSET.
pub fn all_delayed(broker: &Arc<Broker>, _: &Arc<Connection>, _: Command) -> Answer {
    answer(&DelayOffsetTable { offset_table: broker.delay.offsets() })
}

/// The topics of a group's offsets that its statistics are about: those that are configured here
/// and, if the group is online, that it subscribes to.
fn topics_of_interest(broker: &Broker, group: &str, topics: BTreeSet<String>) -> Vec<String> {
    let online = broker.consumers.get(group);
    let of_interest = |topic: &String| {
        broker.topics.contains(topic) && online.as_ref().is_none_or(|group| group.concerns(topic))
    };
    topics.into_iter().filter(of_interest).collect()
}

/// Adds a group's position on a queue, in the form that tools of `version` read, and returns by how
/// many messages it is behind.
fn add_position(
    broker: &Broker,
    [group, topic]: [&str; 2],
    queue_id: i32,
    version: i32,
    stats: &mut ConsumeStats,
) -> i64 {
    let broker_offset = broker.store.max_offset(topic, queue_id).max(0);
    let committed = broker.consumer_offsets.get(group, topic, queue_id).unwrap_or(-1);
    let consumer_offset = committed.max(0);
    let last_timestamp = if consumer_offset > 0 {
        broker.store.store_timestamp(topic, queue_id, consumer_offset - 1).max(0)
    } else {
        0
    };
    let pulled = broker.pulled_offsets.get(group, topic, queue_id).unwrap_or(-1);
    let pull_offset = (version >= VERSION_5).then(|| pulled.max(consumer_offset));
    let position = OffsetWrapper { broker_offset, consumer_offset, last_timestamp, pull_offset };
    stats.offset_table.insert(queue(broker, topic, queue_id), position);
    broker_offset - consumer_offset
}

/// GET_CONSUME_STATS: where a group is on each queue, and how fast it goes.
pub fn consume_stats(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let GetConsumeStatsRequestHeader { consumer_group: group, topic } = request.header()?;
    let topics = match topic.filter(|topic| !topic.trim().is_empty()) {
        Some(topic) => BTreeSet::from([topic]),
        None => broker.consumer_offsets.topics_of_group(&group),
    };
    let mut stats = ConsumeStats::default();
    for topic in topics_of_interest(broker, &group, topics) {
        let Some(config) = broker.topics.get(&topic) else { continue };
        for queue_id in 0..config.read_queue_nums {
            add_position(broker, [&group, &topic], queue_id, request.version, &mut stats);
        }
        stats.consume_tps += broker.stats.group_get_tps(&group, &topic);
    }
    answer(&stats)
}

/// GET_BROKER_CONSUME_STATS: the same for all groups, each with a list of its topics.
pub fn broker_consume_stats(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let GetBrokerConsumeStatsRequestHeader { is_order } = request.header()?;
    let mut list =
        ConsumeStatsList { broker_addr: Some(broker.address()), ..ConsumeStatsList::default() };
    for group in broker.subscription_groups.names() {
        let topics = broker.consumer_offsets.topics_of_group(&group);
        let mut of_group = Vec::new();
        for topic in topics_of_interest(broker, &group, topics) {
            let Some(config) = broker.topics.get(&topic) else { continue };
            if is_order && !config.order {
                continue;
            }
            let consume_tps = broker.stats.group_get_tps(&group, &topic);
            let mut stats = ConsumeStats { consume_tps, ..ConsumeStats::default() };
            for queue_id in 0..config.write_queue_nums {
                let version = request.version;
                list.total_diff +=
                    add_position(broker, [&group, &topic], queue_id, version, &mut stats);
            }
            of_group.push(stats);
        }
        list.consume_stats_list.push(BTreeMap::from([(group, of_group)]));
    }
    answer(&list)
}

/// CLONE_GROUP_OFFSET: a group goes on where another one is. Without a topic, on all of them.
/// (Java copies nothing then.)
pub fn clone_group(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let CloneGroupOffsetRequestHeader { src_group, dest_group, topic, offline } =
        request.header()?;
    let topics = match topic.filter(|topic| !topic.trim().is_empty()) {
        Some(topic) => BTreeSet::from([topic]),
        None if src_group.is_empty() => return Err(HeaderError::Missing("srcGroup").into()),
        None => broker.consumer_offsets.topics_of_group(&src_group),
    };
    if dest_group.is_empty() {
        return done();
    }
    let online = if offline { None } else { broker.consumers.get(&src_group) };
    for topic in topics {
        if broker.topics.contains(&topic)
            && online.as_ref().is_none_or(|group| group.concerns(&topic))
        {
            broker.consumer_offsets.copy_group(&src_group, &dest_group, &topic);
        }
    }
    done()
}

/// QUERY_CORRECTION_OFFSET: of each queue, the smallest offset that any group has committed and
/// that still exists. The groups of `filterGroups` do not count. (Java deletes their offsets.)
pub fn correction(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let QueryCorrectionOffsetHeader { topic, filter_groups, .. } = request.header()?;
    let filtered = filter_groups.unwrap_or_default();
    let filtered: Vec<&str> = filtered.split(',').collect();
    let mut correction_offsets: BTreeMap<i32, i64> = BTreeMap::new();
    for group in broker.consumer_offsets.groups_of_topic(&topic) {
        if filtered.contains(&group.as_str()) {
            continue;
        }
        for (queue_id, offset) in broker.consumer_offsets.of_group(&group, &topic) {
            if offset >= broker.store.min_offset(&topic, queue_id) {
                let smallest = correction_offsets.entry(queue_id).or_insert(offset);
                *smallest = offset.min(*smallest);
            }
        }
    }
    answer(&CorrectionOffsets { correction_offsets })
}
