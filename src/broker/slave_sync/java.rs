//! Following a master that is Java's: its four requests, every ten seconds (spec: store 10.6).

use std::time::Duration;

use super::wire::{DelayPart, TimerPart};
use super::{GoneTopics, Waiting};
use crate::broker::Broker;
use crate::broker::delay::DelayOffsetTable;
use crate::common::json::{FromJson, Json};
use crate::common::topic::TIMER_TOPIC;
use crate::remoting::Command;
use crate::remoting::protocol::admin_bodies::ConsumerOffsetTable;
use crate::remoting::protocol::bodies::{KvTable, SubscriptionGroupTable, TopicConfigTable};
use crate::remoting::protocol::{request_code as request, response_code as code};

/// Limit of one request.
const LIMIT: Duration = Duration::from_secs(3);

/// Takes over the master's tables, each by itself: one that cannot be had does not keep the others
/// away. Topics and groups replace the own ones if they are of another version, an offset of the
/// master replaces the own one. The error tells what could not be had.
///
/// What must not be ahead of the log comes into `late`, with the end of the master's log after it was
/// asked for.
pub(super) fn synchronize(
    broker: &Broker,
    master: &str,
    gone: &mut GoneTopics,
    late: &mut Waiting,
) -> Result<(), String> {
    let mut problems = Vec::new();
    let mut step = |what: &str, result: Result<(), String>| {
        if let Err(problem) = result {
            problems.push(format!("{what}: {problem}"));
        }
    };
    let topics = fetch::<TopicConfigTable>(broker, master, request::GET_ALL_TOPIC_CONFIG);
    step("topics", topics.map(|table| gone.take_from_java(broker, table)));
    let offsets = fetch::<ConsumerOffsetTable>(broker, master, request::GET_ALL_CONSUMER_OFFSET);
    let offsets = offsets.map(|table| broker.consumer_offsets.replace_by(&table.offset_table));
    step("consumer offsets", offsets);
    let delay = fetch::<DelayOffsetTable>(broker, master, request::GET_ALL_DELAY_OFFSET);
    let delay = delay.map(|table| {
        late.delay = Some(DelayPart { table: table.offset_table, number: 0 });
    });
    step("delay offsets", delay);
    let groups = request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG;
    let groups = fetch::<SubscriptionGroupTable>(broker, master, groups);
    step("groups", groups.map(|table| broker.subscription_groups.replace_by(table)));
    // Only 5.x has timed messages.
    if broker.timer.is_some() && broker.topics.contains(TIMER_TOPIC) {
        let position = ask(broker, master, request::GET_TIMER_CHECK_POINT);
        let position = position.and_then(|answer| timer_part(&answer));
        step("the timer's position", position.map(|part| late.timer = Some(part)));
    }
    let info = fetch::<KvTable>(broker, master, request::GET_BROKER_RUNTIME_INFO);
    let end = info.and_then(|info| {
        let end = info.table.get("commitLogMaxOffset").and_then(|end| end.parse().ok());
        end.ok_or_else(|| "it tells no commitLogMaxOffset".to_owned())
    });
    // Without it, nothing of this may be taken over.
    late.log_end = *end.as_ref().unwrap_or(&i64::MAX);
    step("the end of the log", end.map(drop));
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

/// How far a 5.x master's timer is, from the 56 bytes of its checkpoint (store::timer): what is due
/// before the slot that it reads is delivered.
fn timer_part(answer: &Command) -> Result<TimerPart, String> {
    let word = |at: usize| {
        let bytes = answer.body.as_bytes().get(at..at + 8)?;
        Some(i64::from_be_bytes(bytes.try_into().ok()?))
    };
    let (Some(read_ms), Some(queue_offset)) = (word(0), word(24)) else {
        return Err(format!("{} bytes, expected 56", answer.body.len()));
    };
    Ok(TimerPart { queue_offset, done_ms: read_ms - 1, ..TimerPart::default() })
}

fn fetch<T: FromJson>(broker: &Broker, master: &str, request: i32) -> Result<T, String> {
    let answer = ask(broker, master, request)?;
    Json::parse(answer.body.as_bytes())
        .and_then(|json| T::from_json(&json))
        .map_err(|error| error.to_string())
}

fn ask(broker: &Broker, master: &str, request: i32) -> Result<Command, String> {
    let client = broker.registration.client();
    let answer = client.call(master, Command::request(request), LIMIT);
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.code != code::SUCCESS {
        let remark = answer.remark.unwrap_or_default();
        return Err(format!("it answered {} {remark:.200}", answer.code));
    }
    Ok(answer)
}
