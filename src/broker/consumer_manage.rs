//! What consumers ask while they rebalance and commit: GET_CONSUMER_LIST_BY_GROUP (38),
//! QUERY_CONSUMER_OFFSET (14), UPDATE_CONSUMER_OFFSET (15).

use std::sync::Arc;

use super::{Answer, Broker, success_with_fields};
use crate::common::json::{Style, ToJson};
use crate::remoting::header::FieldType;
use crate::remoting::protocol::bodies::ConsumerList;
use crate::remoting::protocol::headers::{
    ConsumerGroupHeader, OffsetResponseHeader, QueryConsumerOffsetRequestHeader,
};
use crate::remoting::protocol::response_code as code;
use crate::remoting::{Command, Connection};

/// GET_CONSUMER_LIST_BY_GROUP: the client ids of a group's members.
pub fn consumer_list(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let ConsumerGroupHeader { consumer_group } = request.header()?;
    let members = broker.consumers.get(&consumer_group).map(|group| group.members());
    let Some(members) = members.filter(|members| !members.is_empty()) else {
        return Ok(Some(Command::failure(
            code::SYSTEM_ERROR,
            format!("no consumer for this group, {consumer_group}"),
        )));
    };
    let list = ConsumerList {
        consumer_id_list: members.iter().map(|client| client.client_id.clone()).collect(),
    };
    Ok(Some(success_with_fields().with_body(list.to_json().write(Style::Fastjson))))
}

/// QUERY_CONSUMER_OFFSET: where a group goes on (spec: broker 6.6, remoting 5.10).
///
/// A group that never committed starts at 0 as long as the queue's head is there and in memory;
/// else it is told "not found" and starts where its own policy says.
pub fn query_offset(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let header: QueryConsumerOffsetRequestHeader = request.header()?;
    let QueryConsumerOffsetRequestHeader { consumer_group, topic, queue_id, .. } = &header;
    let committed = (!consumer_group.is_empty() || request.fields.get("consumerGroup").is_some())
        .then(|| broker.consumer_offsets.get(consumer_group, topic, *queue_id))
        .flatten();
    let offset = committed.filter(|offset| *offset >= 0).or_else(|| {
        let may_start_at_0 = request.fields.get("setZeroIfNotFound") != Some("false")
            && broker.store.min_offset(topic, *queue_id) <= 0
            && !broker.store.is_on_disk(topic, *queue_id, 0);
        may_start_at_0.then_some(0)
    });
    Ok(Some(match offset {
        Some(offset) => {
            Command::response(code::SUCCESS).with_header(&OffsetResponseHeader { offset })
        }
        None => Command::failure(
            code::QUERY_NOT_FOUND,
            "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first",
        ),
    }))
}

/// UPDATE_CONSUMER_OFFSET: every five seconds for every queue of every consumer, so the header is
/// read in place.
pub fn commit_offset(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let fields = &request.fields;
    let queue_id = FieldType::read(fields.get("queueId"), "queueId")?;
    let offset = FieldType::read(fields.get("commitOffset"), "commitOffset")?;
    // Java keeps the offset of nobody, or of nothing, under the name "null".
    if let (Some(group), Some(topic)) = (fields.get("consumerGroup"), fields.get("topic")) {
        broker.consumer_offsets.commit(group, topic, queue_id, offset);
    }
    Ok(Some(success_with_fields()))
}

/// Stops groups whose last read was too far from the end of the log, so that they do not push what
/// others read out of memory; only with `disableConsumeIfConsumerReadSlowly`. Every 3 minutes.
pub fn stop_slow_groups(broker: &Arc<Broker>) {
    let config = broker.config.get();
    if !config.disable_consume_if_consumer_read_slowly {
        return;
    }
    for (group, (topic, behind)) in broker.stats.farthest_behind() {
        // What was measured last of a group that is gone says nothing about it.
        if behind > config.consumer_fallbehind_threshold && broker.consumers.get(&group).is_some() {
            log::warn!(
                "{group} is {behind} bytes behind on {topic}, more than consumerFallbehindThreshold={}; it may not consume until its consumeEnable is set again",
                config.consumer_fallbehind_threshold
            );
            broker.subscription_groups.disable_consume(&group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::TestBroker;

    #[test]
    fn a_group_that_reads_far_behind_is_stopped_and_no_other() {
        let broker = TestBroker::start_with(|configuration| {
            configuration.broker.disable_consume_if_consumer_read_slowly = true;
            configuration.broker.consumer_fallbehind_threshold = 10_000;
        });
        broker.make_topic("T", "1");
        for _ in 0..20 {
            broker.send("T", "0", &"x".repeat(1000));
        }
        broker.settle();
        let subscription = r#""subscriptionDataSet":[{"topic":"T","subString":"*"}]"#;
        let groups = ["slow", "quick"].map(|group| {
            format!(r#"{{"groupName":"{group}","messageModel":"CLUSTERING",{subscription}}}"#)
        });
        let consumers = groups.join(",");
        let body =
            format!(r#"{{"clientID":"c","consumerDataSet":[{consumers}],"producerDataSet":[]}}"#);
        broker.ask(34, &[], body);
        let pull = |group: &str, offset: &str| {
            let fields = [
                ("consumerGroup", group),
                ("topic", "T"),
                ("queueId", "0"),
                ("queueOffset", offset),
                ("maxMsgNums", "1"),
                ("sysFlag", "4"),
                ("subscription", "*"),
            ];
            broker.call(11, &fields, "").code
        };
        let stop = || stop_slow_groups(&broker.running.broker);
        // Whoever was behind and is not any more goes on.
        assert_eq!([pull("quick", "0"), pull("quick", "19")], [code::SUCCESS; 2]);
        assert_eq!([pull("slow", "0"), pull("gone", "0")], [code::SUCCESS; 2]);
        stop();
        assert_eq!(pull("slow", "1"), code::NO_PERMISSION);
        assert_eq!([pull("quick", "19"), pull("gone", "19")], [code::SUCCESS; 2]);
    }
}
