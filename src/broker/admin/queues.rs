//! Reading a consume queue, and half messages that were given up (spec: admin 1.6).

use std::sync::Arc;

use super::{answer, done, refuse};
use crate::broker::records::with_record;
use crate::broker::{Answer, Broker, put_message, send, transaction_check};
use crate::common::message_id::MessageId;
use crate::common::properties::TRANSACTION_CHECK_TIMES;
use crate::common::topic::{TRANS_CHECK_MAX_TIME_TOPIC, TRANS_HALF_TOPIC};
use crate::remoting::protocol::admin_bodies::{ConsumeQueueEntries, ConsumeQueueEntry};
use crate::remoting::protocol::admin_headers::{
    QueryConsumeQueueRequestHeader, ResumeCheckHalfMessageRequestHeader,
};
use crate::remoting::protocol::response_code as code;
use crate::remoting::{Command, Connection};
use crate::store::message::NewMessage;

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
        physic_offset: unit.commit_log_offset,
        physic_size: unit.size,
        tags_code: unit.tags_code,
        ..ConsumeQueueEntry::default()
    });
    entries.queue_data = Some(queue_data.collect());
    answer(&entries)
}

/// RESUME_CHECK_HALF_MESSAGE: a half message that was given up is checked again from the start.
pub fn resume_half_message(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let header: ResumeCheckHalfMessageRequestHeader = request.header()?;
    let id: MessageId = header.msg_id.unwrap_or_default().parse()?;
    let stored = with_record(&broker.store, id.offset, |given_up| {
        if given_up.topic != TRANS_CHECK_MAX_TIME_TOPIC {
            return Err(format!("the message is one of {}", given_up.topic));
        }
        let properties =
            put_message::rewrite(given_up.properties, &[], &[(TRANSACTION_CHECK_TIMES, "0")]);
        let record = transaction_check::fields(given_up, TRANS_HALF_TOPIC, 0, &properties);
        let result = broker.store.put(&NewMessage { record, wait_store: false }).wait();
        if send::is_stored(result.status) { Ok(()) } else { Err(result.status.name().to_owned()) }
    });
    let problem = match stored {
        Some(Ok(())) => return done(),
        Some(Err(problem)) => problem,
        None => "there is no such message".to_owned(),
    };
    refuse(
        code::SYSTEM_ERROR,
        format!("Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed. {problem}"),
    )
}
