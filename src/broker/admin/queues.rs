//! Reading a consume queue, and half messages that were given up (spec: admin 1.6).

use std::sync::Arc;

use super::{answer, done, refuse};
use crate::broker::filter::{SqlFilter, TagFilter, is_tag_type};
use crate::broker::{Answer, Broker, put_message, send, transaction_check};
use crate::common::base64;
use crate::common::json::{Json, Style};
use crate::common::message_id::MessageId;
use crate::common::properties::TRANSACTION_CHECK_TIMES;
use crate::common::topic::{TRANS_CHECK_MAX_TIME_TOPIC, TRANS_HALF_TOPIC};
use crate::remoting::protocol::admin_bodies::{ConsumeQueueEntries, ConsumeQueueEntry};
use crate::remoting::protocol::admin_headers::{
    QueryConsumeQueueRequestHeader, ResumeCheckHalfMessageRequestHeader,
};
use crate::remoting::protocol::heartbeat::SubscriptionData;
use crate::remoting::protocol::response_code as code;
use crate::remoting::{Command, Connection};
use crate::store::consume_queue_ext::is_ext_address;
use crate::store::message::{ExtUnit, NewMessage};
use crate::store::{MessageFilter, QueueUnit};

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
    let mut filter = None;
    if let Some(group) = header.consumer_group.as_deref() {
        let subscription =
            broker.consumers.get(group).and_then(|online| online.subscription(topic));
        let registered = broker.consumer_filters.describe(topic, group);
        entries.filter_data = Some(match subscription {
            Some(_) => registered.unwrap_or_else(|| "null".to_owned()),
            None => format!("{group}@{topic} is not online!"),
        });
        filter = subscription.as_deref().map(|wanted| subscribed(broker, group, wanted));
        entries.subscription_data = subscription.map(|subscription| (*subscription).clone());
    }
    if !(min_queue_index..max_queue_index).contains(index) {
        let remark = format!("Index {index} of {queue_id}@{topic} is not exist!");
        return Ok(Some(Command::response(code::SUCCESS).with_remark(remark)));
    }
    let queue_data = units.into_iter().map(|unit| {
        let ext = store.unit_extension(topic, *queue_id, unit.tags_code);
        describe(&unit, ext.as_ref(), filter.as_ref())
    });
    entries.queue_data = Some(queue_data.collect());
    answer(&entries)
}

/// What a group's pulls want of the units of a topic; an inner `None` wants everything.
fn subscribed(
    broker: &Broker,
    group: &str,
    subscription: &SubscriptionData,
) -> Option<Arc<dyn MessageFilter>> {
    if is_tag_type(subscription.expression_type.as_deref()) {
        return TagFilter::of_subscription(subscription).for_pull();
    }
    let registered = broker.consumer_filters.get(&subscription.topic, group)?;
    Some(Arc::new(SqlFilter::registered(broker, &registered)))
}

/// A unit with its extension, and whether it alone lets the message pass the filter. As in Java, that
/// is looked at only for units that have an extension.
fn describe(
    unit: &QueueUnit,
    ext: Option<&ExtUnit>,
    filter: Option<&Option<Arc<dyn MessageFilter>>>,
) -> ConsumeQueueEntry {
    let lost = is_ext_address(unit.tags_code) && ext.is_none();
    let tags_code = ext.map_or(unit.tags_code, |ext| ext.tags_code);
    let passes = |filter: &Option<Arc<dyn MessageFilter>>| {
        filter.as_ref().is_none_or(|filter| filter.matches_queue(Some(tags_code), ext))
    };
    let eval = ext.is_some() && filter.is_some_and(passes);
    ConsumeQueueEntry {
        bit_map: ext.map(|ext| bits(&ext.bit_map)),
        eval,
        extend_data_json: ext.map(|ext| {
            let members = [
                ("filterBitMap", Json::Text(base64::encode(&ext.bit_map))),
                ("msgStoreTime", Json::Int(ext.store_timestamp)),
                ("size", Json::Int(ext.encoded_bytes() as i64)),
                ("tagsCode", Json::Int(ext.tags_code)),
            ];
            Json::object(members).write(Style::Fastjson)
        }),
        msg: lost.then(|| format!("Cq extend not exist!addr: {}", unit.tags_code)),
        physic_offset: unit.commit_log_offset,
        physic_size: unit.size,
        tags_code: unit.tags_code,
    }
}

/// A bit map as Java prints it: the last bit first, a new line behind every eighth byte.
fn bits(bit_map: &[u8]) -> String {
    let mut text = String::with_capacity(bit_map.len() * 9);
    for (at, byte) in bit_map.iter().enumerate().rev() {
        text.push_str(&format!("{byte:08b}"));
        if at % 8 == 0 {
            text.push('\n');
        }
    }
    text
}

/// RESUME_CHECK_HALF_MESSAGE: a half message that was given up is checked again from the start.
pub fn resume_half_message(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let header: ResumeCheckHalfMessageRequestHeader = request.header()?;
    let id: MessageId = header.msg_id.unwrap_or_default().parse()?;
    let stored = broker.store.with_record(id.offset, |given_up| {
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
