//! `consumerStatus`: what the members of a group say of themselves, and whether they agree.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::call::Call;
use super::print::Column;
use super::{SubCommand, ToolError, ToolResult, flag, optional, required};
use crate::client::admin::address_of;
use crate::common::clock;
use crate::common::json::ToJson;
use crate::common::os::LocalTime;
use crate::common::topic::retry_topic;
use crate::remoting::protocol::bodies::{ConsumerRunningInfo, ProcessQueueInfo};
use crate::remoting::protocol::version;

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[SubCommand {
    name: "consumerStatus",
    purpose: "Query consumer's internal data structure",
    options: &[
        required('g', "consumerGroup", "consumer group name"),
        optional('i', "clientId", "The consumer's client id"),
        optional('b', "brokerAddr", "broker address"),
        flag('s', "jstack", "Run jstack command in the consumer progress"),
    ],
    run: consumer_status,
}];

/// A member that has not consumed for so long although it has messages is worth a warning, ms.
const MAX_IDLE_MS: i64 = 60_000;
/// Members that started later than so long ago may still be dividing their queues, ms.
const SETTLING_MS: i64 = 120_000;

const COLUMNS: [Column; 4] = [
    Column::left("#Index", "index", 10).gap(1).number(),
    Column::left("#ClientId", "clientId", 40).gap(1),
    Column::left("#Version", "version", 20).gap(1),
    Column::left("#ConsumerRunningInfoFile", "file", 0).gap(0),
];

fn consumer_status(call: &mut Call<'_>) -> ToolResult {
    let group = call.required("consumerGroup")?;
    let jstack = call.has("jstack");
    let route = call.admin.route(&retry_topic(&group))?;
    let Some(relay) = route.broker_datas.iter().find_map(address_of) else {
        return Err(ToolError::Failed(format!("no broker of group {group} has an address")));
    };
    if let Some(client) = call.text("clientId") {
        let info = call.admin.consumer_running_info(relay, &group, &client, jstack)?;
        return match call.out.is_json() {
            true => Ok(call.out.value(&info.to_json())?),
            false => Ok(call.out.decorate(describe(&info))?),
        };
    }
    let members = match call.text("brokerAddr") {
        Some(addr) => call.admin.consumer_connection(&addr, &group)?,
        None => call.admin.consumer_connection_of_group(&group)?,
    };
    let folder = PathBuf::from(clock::now_ms().to_string());
    let mut infos = Vec::new();
    call.out.header(&COLUMNS)?;
    for member in &members.connection_set {
        let id = &member.client_id;
        let asked =
            call.attempt(id, |admin| admin.consumer_running_info(relay, &group, id, jstack));
        let Some(info) = asked else { continue };
        let file = write_info(&folder, id, &info)?;
        infos.push((id.clone(), info));
        let (index, version) = (infos.len(), version::name(member.version));
        call.out.row(&COLUMNS, &[&index, id, &version, &file.display()])?;
    }
    if !infos.is_empty() {
        call.out.decorate("\n")?;
        for line in judge(&infos) {
            call.out.say(line)?;
        }
    }
    Ok(())
}

/// Puts the text of a member into `<ms>/<client id>`.
fn write_info(
    folder: &PathBuf,
    client_id: &str,
    info: &ConsumerRunningInfo,
) -> Result<PathBuf, ToolError> {
    // The id comes from the client: it must not lead elsewhere.
    let name = client_id.replace('/', "_");
    let path = folder.join(name);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, describe(info)))
        .map_err(|error| ToolError::Failed(format!("{}: {error}", path.display())))?;
    Ok(path)
}

/// The verdict on all members together.
fn judge(infos: &[(String, ConsumerRunningInfo)]) -> Vec<String> {
    if subscriptions_differ(infos) {
        let warning = "WARN: Different subscription in the same group of consumer!!!";
        return vec![warning.to_owned()];
    }
    let mut lines = vec![
        "Same subscription in the same group of consumer".to_owned(),
        "\nRebalance OK".to_owned(),
    ];
    lines.extend(infos.iter().flat_map(|(client, info)| problems_of(client, info)));
    lines
}

/// Whether push consumers that have had time to settle subscribe to different things.
pub(super) fn subscriptions_differ(infos: &[(String, ConsumerRunningInfo)]) -> bool {
    let subscriptions = |info: &ConsumerRunningInfo| -> BTreeSet<(String, Option<String>)> {
        let set = info.subscription_set.iter();
        set.map(|sub| (sub.topic.clone(), sub.sub_string.clone())).collect()
    };
    let Some((_, first)) = infos.first() else { return false };
    let settled = property(first, "PROP_CONSUMER_START_TIMESTAMP")
        .and_then(|started| started.parse::<i64>().ok())
        .is_some_and(|started| clock::now_ms() - started > SETTLING_MS);
    let expected = subscriptions(first);
    is_push(first) && settled && infos.iter().any(|(_, info)| subscriptions(info) != expected)
}

/// The queues with which a push consumer has difficulties, a line each.
pub(super) fn problems_of(client: &str, info: &ConsumerRunningInfo) -> Vec<String> {
    let orderly = property(info, "PROP_CONSUMEORDERLY") == Some("true");
    let queues = info.mq_table.iter().filter(|_| is_push(info));
    let lines = queues.filter_map(|(queue, state)| {
        let problem = problem_of(orderly, state)?;
        let (topic, name, id) = (&queue.topic, &queue.broker_name, queue.queue_id);
        Some(format!("{client} {topic} {name} {id} {problem}"))
    });
    lines.collect()
}

fn property<'a>(info: &'a ConsumerRunningInfo, name: &str) -> Option<&'a str> {
    info.properties.get(name).map(String::as_str)
}

fn is_push(info: &ConsumerRunningInfo) -> bool {
    property(info, "PROP_CONSUME_TYPE") == Some("CONSUME_PASSIVELY")
}

fn problem_of(orderly: bool, state: &ProcessQueueInfo) -> Option<String> {
    let now = clock::now_ms();
    if orderly {
        if !state.locked {
            let since = now - state.last_lock_timestamp;
            return Some(format!("can't lock for a while, {since}ms"));
        }
        let times = state.try_unlock_times;
        return (state.dropped && times > 0).then(|| format!("unlock {times} times, still failed"));
    }
    let idle = now - state.last_consume_timestamp;
    (idle > MAX_IDLE_MS && state.cached_msg_count > 0)
        .then(|| format!("can't consume for a while, maybe blocked, {idle}ms"))
}

/// Everything a member says, as Java's tool writes it.
fn describe(info: &ConsumerRunningInfo) -> String {
    let mut text = String::from("#Consumer Properties#\n");
    // Writing to a String does not fail.
    for (name, value) in &info.properties {
        let _ = writeln!(text, "{name:40}: {value}");
    }
    text.push_str("\n\n#Consumer Subscription#\n");
    for (index, sub) in (1..).zip(&info.subscription_set) {
        let expression = sub.sub_string.as_deref().unwrap_or_default();
        let _ = writeln!(
            text,
            "{index:03} Topic: {:40} ClassFilter: {:8} SubExpression: {expression}",
            sub.topic, sub.class_filter_mode
        );
    }
    let titles = format!("{:64}  {:32}  {:4}  ", "#Topic", "#Broker Name", "#QID");
    let _ = writeln!(text, "\n\n#Consumer Offset#\n{titles}#Consumer Offset");
    for (queue, state) in &info.mq_table {
        let (topic, broker, id) = (&queue.topic, &queue.broker_name, queue.queue_id);
        let _ = writeln!(text, "{topic:32}  {broker:32}  {id:<4}  {:<20}", state.commit_offset);
    }
    let _ = writeln!(text, "\n\n#Consumer MQ Detail#\n{titles}#ProcessQueueInfo");
    for (queue, state) in &info.mq_table {
        let (topic, broker, id) = (&queue.topic, &queue.broker_name, queue.queue_id);
        let _ = writeln!(text, "{topic:64}  {broker:32}  {id:<4}  {}", describe_queue(state));
    }
    let _ = writeln!(
        text,
        "\n\n#Consumer RT&TPS#\n{:64}  {:>14} {:>14} {:>14} {:>14} {:>18} {:>25}",
        "#Topic",
        "#Pull RT",
        "#Pull TPS",
        "#Consume RT",
        "#ConsumeOK TPS",
        "#ConsumeFailed TPS",
        "#ConsumeFailedMsgsInHour"
    );
    for (topic, s) in &info.status_table {
        let _ = writeln!(
            text,
            "{topic:32}  {:>14.2} {:>14.2} {:>14.2} {:>14.2} {:>18.2} {:>25}",
            s.pull_rt,
            s.pull_tps,
            s.consume_rt,
            s.consume_ok_tps,
            s.consume_failed_tps,
            s.consume_failed_msgs
        );
    }
    if let Some(dump) = &info.jstack {
        let _ = write!(text, "\n\n#Consumer jstack#\n{dump}");
    }
    text
}

fn describe_queue(state: &ProcessQueueInfo) -> String {
    let digits = |ms: i64| -> String {
        let text = LocalTime::from_epoch_ms(ms).to_string();
        text.chars().filter(char::is_ascii_digit).collect()
    };
    format!(
        "ProcessQueueInfo [commitOffset={}, cachedMsgMinOffset={}, cachedMsgMaxOffset={}, \
         cachedMsgCount={}, cachedMsgSizeInMiB={}, transactionMsgMinOffset={}, \
         transactionMsgMaxOffset={}, transactionMsgCount={}, locked={}, tryUnlockTimes={}, \
         lastLockTimestamp={}, droped={}, lastPullTimestamp={}, lastConsumeTimestamp={}]",
        state.commit_offset,
        state.cached_msg_min_offset,
        state.cached_msg_max_offset,
        state.cached_msg_count,
        state.cached_msg_size_in_mib,
        state.transaction_msg_min_offset,
        state.transaction_msg_max_offset,
        state.transaction_msg_count,
        state.locked,
        state.try_unlock_times,
        digits(state.last_lock_timestamp),
        state.dropped,
        digits(state.last_pull_timestamp),
        digits(state.last_consume_timestamp)
    )
}
