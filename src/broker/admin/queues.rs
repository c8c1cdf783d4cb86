//! Reading a consume queue, and half messages that were given up (spec: admin 1.6).

use std::sync::Arc;

use super::{answer, refuse};
use crate::broker::{Answer, Broker};
use crate::remoting::protocol::admin_bodies::{ConsumeQueueEntries, ConsumeQueueEntry};
use crate::remoting::protocol::admin_headers::QueryConsumeQueueRequestHeader;
use crate::remoting::protocol::response_code as code;
use crate::remoting::{Command, Connection};

/// Units in one answer at most; Java ends at the end of a consume-queue file.
const MAX_UNITS: i32 = 10_000;

/// QUERY_CONSUME_QUEUE.
pub fn query(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let header: QueryConsumeQueueRequestHeader = request.header()?;
    let QueryConsumeQueueRequestHeader { topic, queue_id, index, count, .. } = &header;
    let store = &broker.store;
    let wanted = usize::try_from(*count.min(&MAX_UNITS)).unwrap_or(0);
    let Some(units) = store.queue_units(topic, *queue_id, *index, wanted) else {
        return refuse(code::SYSTEM_ERROR, format!("{queue_id}@{topic} is not exist!"));
    };
    let min_queue_index = store.min_offset(topic, *queue_id);
    let max_queue_index = store.max_offset(topic, *queue_id);
    let mut entries =
        ConsumeQueueEntries { min_queue_index, max_queue_index, ..ConsumeQueueEntries::default() };
    if let Some(group) = header.consumer_group.as_deref().filter(|group| !group.is_empty()) {
        let subscription =
            broker.consumers.get(group).and_then(|online| online.subscription(topic));
        entries.filter_data = Some(match subscription {
            Some(_) => "null".to_owned(),
            None => format!("{group}@{topic} is not online!"),
        });
        entries.subscription_data = subscription.map(|subscription| (*subscription).clone());
    }
    if !(min_queue_index..max_queue_index).contains(index) {
        let remark = format!("Index {index} of {queue_id}@{topic} is not exist!");
        return Ok(Some(Command::response(code::SUCCESS).with_remark(remark)));
    }
    let queue_data = units.into_iter().map(|unit| ConsumeQueueEntry {
        eval: true,
        physic_offset: unit.commit_log_offset,
        physic_size: unit.size,
        tags_code: unit.tags_code,
        ..ConsumeQueueEntry::default()
    });
    entries.queue_data = Some(queue_data.collect());
    answer(&entries)
}

/// RESUME_CHECK_HALF_MESSAGE: a half message that was given up is checked again from the start.
pub fn resume_half_message(_: &Arc<Broker>, _: &Arc<Connection>, _: Command) -> Answer {
    refuse(code::SYSTEM_ERROR, "Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed.")
}
