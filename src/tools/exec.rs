//! `consumeMessage --exec`: a shell command for each message of a group.
//!
//! The message is acknowledged when the command exits with 0; otherwise it is given back to the group
//! and comes again later (after 10 s, 30 s, … as the broker's delay levels say; after 16 times it goes
//! to the dead letters). One message at a time, each committed before the next one is started: after a
//! crash at most one comes again.
//!
//! The body is the command's standard input; what else is known of the message is in its environment:
//!
//! | variable | value |
//! |---|---|
//! | `MQ_TOPIC`, `MQ_BROKER`, `MQ_QUEUE_ID`, `MQ_QUEUE_OFFSET` | where it lies |
//! | `MQ_MSG_ID`, `MQ_TAGS`, `MQ_KEYS` | its unique key, tag, keys; empty if it has none |
//! | `MQ_RECONSUME_TIMES` | how often it was given back |
//! | `MQ_BORN_TIMESTAMP`, `MQ_STORE_TIMESTAMP` | ms |
//! | `MQ_PROPERTIES` | all properties, a `name=value` a line |

use std::io::Write;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::call::Call;
use super::consume::Patience;
use super::{ToolError, ToolResult};
use crate::client::{ConsumeFromWhere, LitePullConsumer, LitePullOptions, ReceivedMessage};
use crate::common::topic::retry_topic;

/// How often a signal and the end of patience are looked for while nothing comes.
const LOOK_AROUND: Duration = Duration::from_millis(200);
/// Pause after a message could not be given back.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// So often a message comes again; then it goes to the dead letters.
const MAX_REDELIVERIES: i32 = 16;

/// Runs the command for the messages of the group of `-g`, beginning where the group stands; a group
/// without a place at the first message, or at `-s`.
pub(super) fn for_each(call: &mut Call<'_>, command: &str, patience: &Patience) -> ToolResult {
    let Some(group) = call.text("consumerGroup") else {
        return Err(ToolError::Usage("give the group that consumes with -g".to_owned()));
    };
    let topic = call.required("topic")?;
    let mut options = LitePullOptions::new(group.as_str())
        .name_servers(call.name_servers()?)
        .consume_from(ConsumeFromWhere::FirstOffset)
        .auto_commit(false);
    if let Some(begin) = call.time("beginTimestamp")? {
        options.consume_from = ConsumeFromWhere::Timestamp;
        options.consume_timestamp = begin;
    }
    let consumer = options.start()?;
    let expression = call.text("subExpression").unwrap_or_else(|| "*".to_owned());
    consumer.subscribe(&topic, expression.as_str())?;
    consumer.subscribe(&retry_topic(&group), "*")?;
    let count = run_all(call, &consumer, command, patience)?;
    consumer.shutdown();
    patience.outcome(count)
}

/// How many messages were acknowledged.
fn run_all(
    call: &mut Call<'_>,
    consumer: &LitePullConsumer,
    command: &str,
    patience: &Patience,
) -> Result<i64, ToolError> {
    let mut count = 0;
    let mut last_news = Instant::now();
    let mut messages = consumer.messages().until_idle_for(LOOK_AROUND);
    while count < patience.most && last_news.elapsed() < patience.wait && !patience.is_over() {
        let Some(message) = messages.next().transpose()? else { continue };
        let status = run_one(command, &message)?;
        if status.success() {
            count += 1;
        } else if !give_back(call, consumer, &message, status, patience)? {
            break;
        }
        if let Err(error) = consumer.commit_sync() {
            call.note(format_args!("the offset is told to the broker again: {error}"));
        }
        last_news = Instant::now();
    }
    Ok(count)
}

/// Gives a message back whose command failed, if need be again and again. After a signal, which may have
/// stopped the command too, it stays where it is: then this is `false`.
fn give_back(
    call: &mut Call<'_>,
    consumer: &LitePullConsumer,
    message: &ReceivedMessage,
    status: ExitStatus,
    patience: &Patience,
) -> Result<bool, ToolError> {
    let id = message.message_id();
    while !patience.is_over() {
        match consumer.send_back(message, 0) {
            Ok(()) => {
                let last = message.reconsume_times() >= MAX_REDELIVERIES;
                let next = if last { "it goes to the dead letters" } else { "it comes again" };
                call.note(format_args!("{id}: the command failed ({status}); {next}"));
                return Ok(true);
            }
            Err(error) if error.is_transient() => {
                call.note(format_args!("{id} is not given back: {error}; trying again"));
                std::thread::sleep(TRY_AGAIN);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// How the command ended with a message.
fn run_one(command: &str, message: &ReceivedMessage) -> Result<ExitStatus, ToolError> {
    let facts = message.facts();
    let properties: Vec<String> =
        message.properties().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let failed = |error: std::io::Error| ToolError::Failed(format!("sh -c '{command}': {error}"));
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("MQ_TOPIC", message.topic())
        .env("MQ_BROKER", message.broker_name())
        .env("MQ_QUEUE_ID", facts.queue_id.to_string())
        .env("MQ_QUEUE_OFFSET", facts.queue_offset.to_string())
        .env("MQ_MSG_ID", message.message_id())
        .env("MQ_TAGS", without_zero(message.tag().unwrap_or_default()))
        .env("MQ_KEYS", without_zero(message.keys().unwrap_or_default()))
        .env("MQ_RECONSUME_TIMES", message.reconsume_times().to_string())
        .env("MQ_BORN_TIMESTAMP", facts.born_timestamp.to_string())
        .env("MQ_STORE_TIMESTAMP", facts.store_timestamp.to_string())
        .env("MQ_PROPERTIES", without_zero(&properties.join("\n")))
        .stdin(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read its input.
        let _ = stdin.write_all(message.body());
    }
    child.wait().map_err(failed)
}

/// No environment takes a zero byte.
fn without_zero(text: &str) -> String {
    text.replace('\0', "")
}
