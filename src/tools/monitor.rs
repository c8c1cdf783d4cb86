//! `startMonitoring`: once a minute, how far every group that is online is behind, and which of its
//! members do not get on; in between, whose offsets were moved because their messages are gone.
//!
//! Java's writes this into the log file of its client and prints nothing; here it is the output, a line
//! each, with the time in front. The rounds cost the brokers what `consumerProgress` and `consumerStatus`
//! cost.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

use super::call::Call;
use super::consumer_status::{problems_of, subscriptions_differ};
use super::message::TOOLS_GROUP;
use super::{SubCommand, ToolError, ToolResult, optional};
use crate::client::admin::{AdminClient, AdminResult, PullFrom, address_of};
use crate::client::{LitePullConsumer, LitePullOptions, ReceivedMessage};
use crate::common::clock;
use crate::common::command_line::StopSignal;
use crate::common::json::{FromJson, Json};
use crate::common::os::LocalTime;
use crate::common::topic::{OFFSET_MOVED_EVENT, RETRY_PREFIX, retry_topic};
use crate::remoting::protocol::admin_bodies::{ConnectionInfo, OffsetWrapper};
use crate::remoting::protocol::bodies::{ConsumerRunningInfo, MessageQueue, OffsetMovedEvent};

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[SubCommand {
    name: "startMonitoring",
    purpose: "Start Monitoring",
    options: &[
        optional('r', "rounds", "End after so many rounds (by a signal only)"),
        optional('i', "interval", "Seconds between two rounds (60)"),
    ],
    run: start_monitoring,
}];

/// The group that reads which offsets were moved.
const GROUP: &str = "__MONITOR_CONSUMER";
/// Between two rounds, s.
const INTERVAL: u32 = 60;
/// How often a signal and the time are looked for.
const LOOK_AROUND: Duration = Duration::from_millis(200);
/// What encloses the lines of a round.
const RULE: &str = "=========================================";

/// How far a group is behind in a topic.
#[derive(Debug, Default, PartialEq, Eq)]
struct Undone {
    /// Messages in all queues.
    total: i64,
    /// In the queue that has most.
    most: i64,
    /// The longest time between the last message consumed and the last one there, ms.
    delay_ms: i64,
}

impl Undone {
    /// Counts a queue whose last message was stored at `last_stored`.
    fn add(&mut self, progress: &OffsetWrapper, last_stored: Option<i64>) {
        let behind = progress.broker_offset - progress.consumer_offset;
        self.total += behind.max(0);
        self.most = self.most.max(behind);
        if let Some(stored) = last_stored {
            self.delay_ms = self.delay_ms.max(stored - progress.last_timestamp);
        }
    }
}

fn start_monitoring(call: &mut Call<'_>) -> ToolResult {
    let mut rounds = call.number::<u64>("rounds", u64::MAX)?;
    let interval = call.number::<u32>("interval", INTERVAL)?;
    let interval = Duration::from_secs(interval.max(1).into());
    let stop = StopSignal::install()?;
    let events = LitePullOptions::new(GROUP).name_servers(call.name_servers()?).start()?;
    events.subscribe(OFFSET_MOVED_EVENT, "*")?;
    let mut next = Instant::now();
    while rounds > 0 {
        if let Some(code) = stop.received() {
            events.shutdown();
            return Err(ToolError::Stopped(code));
        }
        if Instant::now() >= next {
            next += interval;
            rounds -= 1;
            if let Err(error) = round(call, &stop) {
                match error {
                    // The next one may find the servers back.
                    ToolError::Client(error) => call.note(format_args!("this round ends: {error}")),
                    other => return Err(other),
                }
            }
            call.out.flush()?;
        }
        tell_of_moved_offsets(call, &events)?;
    }
    events.shutdown();
    Ok(())
}

/// A line for people; in JSON the members.
fn tell<const N: usize>(
    call: &mut Call<'_>,
    text: impl Display,
    members: [(&'static str, Json); N],
) -> ToolResult {
    if call.out.is_json() {
        return Ok(call.out.object(members)?);
    }
    let now = LocalTime::from_epoch_ms(clock::now_ms());
    Ok(call.out.say(format_args!("{now} [MONITOR] {text}"))?)
}

fn text(text: &str) -> Json {
    Json::Text(text.to_owned())
}

fn round(call: &mut Call<'_>, stop: &StopSignal) -> ToolResult {
    if !call.out.is_json() {
        tell(call, format_args!("{RULE}beginRound"), [])?;
    }
    for topic in call.admin.topic_list()? {
        let Some(group) = topic.strip_prefix(RETRY_PREFIX) else { continue };
        if stop.received().is_some() {
            break;
        }
        // A group without members is nobody's worry.
        if let Ok(members) = call.admin.consumer_connection_of_group(group) {
            report_undone(call, group)?;
            report_members(call, group, &members.connection_set)?;
        }
    }
    if !call.out.is_json() {
        tell(call, format_args!("{RULE}endRound"), [])?;
    }
    Ok(())
}

fn report_undone(call: &mut Call<'_>, group: &str) -> ToolResult {
    let Ok(stats) = call.admin.consume_stats_of_group(group) else { return Ok(()) };
    let mut topics: BTreeMap<&str, Undone> = BTreeMap::new();
    for (queue, progress) in &stats.offset_table {
        // Without a message consumed nobody knows since when it waits.
        let consumed = progress.last_timestamp > 0 && progress.broker_offset > 0;
        let last = consumed.then(|| last_stored(&call.admin, queue, progress.broker_offset));
        let last = last.and_then(|last| last.ok().flatten());
        topics.entry(&queue.topic).or_default().add(progress, last);
    }
    for (topic, undone) in topics {
        let Undone { total, most, delay_ms } = undone;
        let line = format!(
            "reportUndoneMsgs: UndoneMsgs [consumerGroup={group}, topic={topic}, \
             undoneMsgsTotal={total}, undoneMsgsSingleMQ={most}, undoneMsgsDelayTimeMills={delay_ms}]"
        );
        let members = [
            ("event", text("undoneMsgs")),
            ("consumerGroup", text(group)),
            ("topic", text(topic)),
            ("undoneMsgsTotal", Json::Int(total)),
            ("undoneMsgsSingleMQ", Json::Int(most)),
            ("undoneMsgsDelayTimeMills", Json::Int(delay_ms)),
        ];
        tell(call, line, members)?;
    }
    Ok(())
}

/// When the last message of a queue that ends at `end` was stored, ms.
fn last_stored(admin: &AdminClient, queue: &MessageQueue, end: i64) -> AdminResult<Option<i64>> {
    let route = admin.route(&queue.topic)?;
    let broker = route.broker_datas.iter().find(|broker| broker.broker_name == queue.broker_name);
    let Some(addr) = broker.and_then(address_of) else { return Ok(None) };
    let last = PullFrom {
        group: TOOLS_GROUP,
        queue,
        offset: end - 1,
        max_messages: 1,
        expression: "*",
        hold: Duration::ZERO,
    };
    let pulled = admin.pull(addr, &last)?;
    Ok(pulled.messages.first().map(|message| message.store_timestamp))
}

/// What its members say of themselves, if something is wrong with it.
fn report_members<'a>(
    call: &mut Call<'_>,
    group: &str,
    members: impl IntoIterator<Item = &'a ConnectionInfo>,
) -> ToolResult {
    let Ok(route) = call.admin.route(&retry_topic(group)) else { return Ok(()) };
    let Some(relay) = route.broker_datas.iter().find_map(address_of) else { return Ok(()) };
    let ask = |id: &String| call.admin.consumer_running_info(relay, group, id, false).ok();
    let infos: Vec<(String, ConsumerRunningInfo)> = members
        .into_iter()
        .filter_map(|member| Some((member.client_id.clone(), ask(&member.client_id)?)))
        .collect();
    if subscriptions_differ(&infos) {
        notify(call, group, None, "Subscription different")?;
    }
    for (client, info) in &infos {
        for problem in problems_of(client, info) {
            notify(call, group, Some(client), &problem)?;
        }
    }
    Ok(())
}

fn notify(call: &mut Call<'_>, group: &str, client: Option<&str>, problem: &str) -> ToolResult {
    let of = client.map(|client| format!(", ClientId: {client}")).unwrap_or_default();
    let line =
        format!(" [NOTIFY] reportConsumerRunningInfo: ConsumerGroup: {group}{of}, {problem}");
    let members = [
        ("event", text("notify")),
        ("consumerGroup", text(group)),
        ("clientId", client.map_or(Json::Null, text)),
        ("problem", text(problem)),
    ];
    tell(call, line, members)
}

/// What came of the brokers' topic of moved offsets within a moment.
fn tell_of_moved_offsets(call: &mut Call<'_>, events: &LitePullConsumer) -> ToolResult {
    for message in events.messages().until_idle_for(LOOK_AROUND) {
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                call.note(format_args!("{OFFSET_MOVED_EVENT} cannot be read: {error}"));
                std::thread::sleep(LOOK_AROUND);
                break;
            }
        };
        if let Some(event) = moved_offset(&message) {
            let OffsetMovedEvent { consumer_group, message_queue, offset_new, offset_request } =
                event;
            let MessageQueue { topic, broker_name, queue_id } = message_queue;
            let at = message.facts().store_timestamp;
            let line = format!(
                "reportDeleteMsgsEvent: DeleteMsgsEvent [offsetMovedEvent=OffsetMovedEvent \
                 [consumerGroup={consumer_group}, messageQueue=MessageQueue [topic={topic}, \
                 brokerName={broker_name}, queueId={queue_id}], offsetRequest={offset_request}, \
                 offsetNew={offset_new}], eventTimestamp={at}]"
            );
            let members = [
                ("event", text("deleteMsgs")),
                ("consumerGroup", text(&consumer_group)),
                ("topic", text(&topic)),
                ("brokerName", text(&broker_name)),
                ("queueId", Json::Int(queue_id.into())),
                ("offsetRequest", Json::Int(offset_request)),
                ("offsetNew", Json::Int(offset_new)),
                ("eventTimestamp", Json::Int(at)),
            ];
            tell(call, line, members)?;
            call.out.flush()?;
        }
    }
    Ok(())
}

/// The event that a message tells of; `None` if it tells of none.
fn moved_offset(message: &ReceivedMessage) -> Option<OffsetMovedEvent> {
    let json = Json::parse(message.body()).ok()?;
    OffsetMovedEvent::from_json(&json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_is_counted_over_all_queues() {
        let queue = |broker_offset, consumer_offset, last_timestamp| OffsetWrapper {
            broker_offset,
            consumer_offset,
            last_timestamp,
            pull_offset: None,
        };
        let mut undone = Undone::default();
        undone.add(&queue(10, 4, 1000), Some(1500));
        undone.add(&queue(7, 0, 0), None);
        // A queue that was made again: its group is ahead for a while.
        undone.add(&queue(1, 3, 2000), Some(900));
        assert_eq!(undone, Undone { total: 13, most: 7, delay_ms: 500 });
    }
}
