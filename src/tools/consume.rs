//! Reading queues: print what lies there, drain it into a pipe, follow what comes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::call::Call;
use super::message::{TOOLS_GROUP, address_in, properties_text, to_json};
use super::{SubCommand, ToolError, ToolResult, flag, optional, required};
use crate::client::admin::{PullFrom, PullStatus, address_of};
use crate::common::clock;
use crate::common::command_line::StopSignal;
use crate::common::message::MessageExt;
use crate::common::topic::PERM_READ;
use crate::remoting::protocol::bodies::MessageQueue;

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[
    SubCommand {
        name: "consumeMessage",
        purpose: "Consume message",
        options: &[
            required('t', "topic", "Topic name"),
            optional('b', "brokerName", "Broker name"),
            optional('i', "queueId", "Queue Id"),
            optional('o', "offset", "Queue offset"),
            optional('g', "consumerGroup", "Consumer group name"),
            optional('s', "beginTimestamp", "Begin timestamp[ms|yyyy-MM-dd#HH:mm:ss:SSS]"),
            optional('e', "endTimestamp", "End timestamp[ms|yyyy-MM-dd#HH:mm:ss:SSS]"),
            optional('c', "MessageNumber", "Number of messages to be consumed (128)"),
            optional('x', "subExpression", "Tags, eg: TagA || TagB (*)"),
            flag('r', "raw", "Only the bodies, each with a line end"),
            flag('k', "commit", "Begin where the group stands, commit what was printed"),
            optional('w', "wait", "Wait so many seconds for more messages (0; with -E 5)"),
            flag('F', "follow", "Wait for more messages until stopped by a signal, or -c, -C"),
            optional('C', "count", "Exactly so many messages; exit code 3 if fewer come"),
            optional(
                'E',
                "exec",
                "Run this shell command for each message of the group, body on stdin; a failure gives the message back",
            ),
        ],
        run: consume_message,
    },
    SubCommand {
        name: "printMsg",
        purpose: "Print Message Detail",
        options: &[
            required('t', "topic", "topic name"),
            optional('c', "charsetName", "CharsetName, only UTF-8"),
            optional('s', "subExpression", "Subscribe Expression eg: TagA || TagB"),
            optional('b', "beginTimestamp", "Begin timestamp[ms|yyyy-MM-dd#HH:mm:ss:SSS]"),
            optional('e', "endTimestamp", "End timestamp[ms|yyyy-MM-dd#HH:mm:ss:SSS]"),
            optional('d', "printBody", "print body (true)"),
        ],
        run: print_messages,
    },
    SubCommand {
        name: "printMsgByQueue",
        purpose: "Print Message Detail by queueId",
        options: &[
            required('t', "topic", "topic name"),
            required('a', "brokerName", "broker name"),
            required('i', "queueId", "queue id"),
            optional('c', "charsetName", "CharsetName, only UTF-8"),
            optional('s', "subExpression", "Subscribe Expression eg: TagA || TagB"),
            optional('b', "beginTimestamp", "Begin timestamp[ms|yyyy-MM-dd#HH:mm:ss:SSS]"),
            optional('e', "endTimestamp", "End timestamp[ms|yyyy-MM-dd#HH:mm:ss:SSS]"),
            optional('p', "printMsg", "print msg (false)"),
            optional('d', "printBody", "print body (false)"),
            optional('f', "calculate", "calculate by tag (false)"),
        ],
        run: print_queue,
    },
];

/// Messages asked for at a time.
const BATCH: i64 = 32;
/// How long one of several queues may hold a pull while the others wait for their turn.
const TURN: Duration = Duration::from_millis(100);
/// How long the only one may.
const ALONE: Duration = Duration::from_millis(500);
/// Pause after a server could not be reached.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// `--follow`: longer than anybody waits.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// How long commands wait for a first message by default: the group needs a moment to be joined.
const EXEC_WAIT: Duration = Duration::from_secs(5);

/// A part of a queue that is to be read.
#[derive(Clone, Debug)]
struct Part {
    queue: MessageQueue,
    addr: String,
    /// Next offset.
    next: i64,
    /// Behind the last offset.
    end: i64,
    /// What was printed could not be committed; tried again.
    uncommitted: bool,
}

/// How messages are read and printed.
struct Reading {
    group: String,
    expression: String,
    form: Form,
    commit: bool,
    /// Only messages stored at or after it, ms: a search beyond the end of a queue finds its last one.
    begin: Option<i64>,
}

/// What is printed of a message, unless JSON was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Java's line.
    Line { with_body: bool },
    /// The body alone.
    Raw,
    /// Nothing.
    Silent,
}

/// How many messages are wanted, and how long they are waited for.
pub(super) struct Patience {
    /// At most so many.
    pub most: i64,
    /// Fewer are a failure.
    exactly: bool,
    /// Ends when none came for so long.
    pub wait: Duration,
    /// Set by the first Ctrl-C or SIGTERM: what is at hand is finished.
    stop: StopSignal,
}

impl Patience {
    fn of(call: &Call<'_>) -> Result<Self, ToolError> {
        let follows = call.has("follow");
        let endless = follows || call.has("exec");
        let default = if endless { i64::MAX } else { 128 };
        let count = call.optional_number::<i64>("count")?;
        let most = call.optional_number::<i64>("MessageNumber")?;
        let most = count.or(most).unwrap_or(default);
        if most <= 0 {
            return Err(ToolError::Usage("Please input a positive messageNumber!".to_owned()));
        }
        let wait = match call.optional_number::<u32>("wait")? {
            Some(seconds) => Duration::from_secs(seconds.into()),
            None if follows => FOR_EVER,
            None if call.has("exec") => EXEC_WAIT,
            None => Duration::ZERO,
        };
        Ok(Self { most, exactly: count.is_some(), wait, stop: StopSignal::install()? })
    }

    /// Whether a signal came.
    pub fn is_over(&self) -> bool {
        self.stop.received().is_some()
    }

    /// The outcome, after so many messages.
    pub fn outcome(&self, count: i64) -> ToolResult {
        match self.stop.received() {
            Some(code) => Err(ToolError::Stopped(code)),
            None if self.exactly && count < self.most => Err(ToolError::Fewer(count)),
            None => Ok(()),
        }
    }
}

fn consume_message(call: &mut Call<'_>) -> ToolResult {
    let patience = Patience::of(call)?;
    if let Some(command) = call.text("exec") {
        return super::exec::for_each(call, &command, &patience);
    }
    let mut left = patience.most;
    let reading = Reading {
        group: call.text("consumerGroup").unwrap_or_else(|| TOOLS_GROUP.to_owned()),
        expression: call.text("subExpression").unwrap_or_else(|| "*".to_owned()),
        form: if call.has("raw") { Form::Raw } else { Form::Line { with_body: true } },
        commit: call.has("commit"),
        begin: call.time("beginTimestamp")?,
    };
    if reading.commit && call.text("consumerGroup").is_none() {
        return Err(ToolError::Usage("give the group to commit for with -g".to_owned()));
    }
    let mut parts = chosen_parts(call, &reading)?;
    // Nothing comes any more before a time that has passed.
    let waits = !patience.wait.is_zero() && call.time("endTimestamp")?.is_none();
    for part in &mut parts {
        match read_part(call, &reading, part, &mut left, &|| patience.is_over()) {
            Err(ToolError::Client(error)) if waits && error.is_transient() => {
                call.note(format_args!("{error}; trying again"));
            }
            outcome => outcome?,
        }
    }
    if waits {
        left = follow(call, &reading, &mut parts, left, &patience)?;
    }
    call.out.flush()?;
    patience.outcome(patience.most - left)
}

/// The parts of queues that the options name.
fn chosen_parts(call: &Call<'_>, reading: &Reading) -> Result<Vec<Part>, ToolError> {
    let usage = |problem: &str| Err(ToolError::Usage(problem.to_owned()));
    let (broker, queue_id) = (call.text("brokerName"), call.optional_number::<i32>("queueId")?);
    let offset = call.optional_number::<i64>("offset")?;
    if queue_id.is_some() && broker.is_none() {
        return usage("Please set the brokerName before queueId!");
    }
    if offset.is_some() && queue_id.is_none() {
        return usage("Please set queueId before offset!");
    }
    let (begin, end) = time_range(call)?;
    let now = clock::now_ms();
    if begin.is_some_and(|begin| begin > now) {
        return usage("Please set the beginTimestamp before now!");
    }
    if end.is_some_and(|end| end > now) {
        return usage("Please set the endTimestamp before now!");
    }
    let mut parts = parts_of(call, &call.required("topic")?, broker.as_deref(), queue_id)?;
    for part in &mut parts {
        limit_by_time(call, part, begin, end)?;
        if let Some(offset) = offset {
            if offset > part.end {
                let problem = format!("no matched msg, the queue ends at {}", part.end);
                return Err(ToolError::Failed(problem));
            }
            part.next = part.next.max(offset);
        } else if reading.commit {
            let stands = call.admin.consumer_offset(&part.addr, &reading.group, &part.queue)?;
            part.next = part.next.max(stands.unwrap_or(0));
        }
    }
    Ok(parts)
}

fn time_range(call: &Call<'_>) -> Result<(Option<i64>, Option<i64>), ToolError> {
    let (begin, end) = (call.time("beginTimestamp")?, call.time("endTimestamp")?);
    if let (Some(begin), Some(end)) = (begin, end)
        && begin > end
    {
        let problem = "Please make sure that the beginTimestamp is less than or equal to the \
                       endTimestamp";
        return Err(ToolError::Usage(problem.to_owned()));
    }
    Ok((begin, end))
}

/// All readable queues of a topic, or one broker's, or one; each from its first to its last message.
fn parts_of(
    call: &Call<'_>,
    topic: &str,
    broker: Option<&str>,
    queue_id: Option<i32>,
) -> Result<Vec<Part>, ToolError> {
    let route = call.admin.route(topic)?;
    if let Some(broker) = broker {
        address_in(&route, broker)?;
    }
    let mut parts = Vec::new();
    for queues in route.queue_datas.iter().filter(|queues| queues.perm & PERM_READ != 0) {
        let mut brokers = route.broker_datas.iter();
        let found = brokers.find(|b| b.broker_name == queues.broker_name);
        let Some(addr) = found.and_then(address_of) else { continue };
        if broker.is_some_and(|broker| broker != queues.broker_name) {
            continue;
        }
        for id in 0..queues.read_queue_nums {
            if queue_id.is_some_and(|wanted| wanted != id) {
                continue;
            }
            let queue = MessageQueue {
                broker_name: queues.broker_name.clone(),
                queue_id: id,
                topic: topic.to_owned(),
            };
            let next = call.admin.min_offset(addr, &queue)?;
            let end = call.admin.max_offset(addr, &queue)?;
            parts.push(Part { queue, addr: addr.to_owned(), next, end, uncommitted: false });
        }
    }
    if parts.is_empty() {
        return Err(ToolError::Failed(format!("topic {topic} has no such readable queue")));
    }
    Ok(parts)
}

fn limit_by_time(
    call: &Call<'_>,
    part: &mut Part,
    begin: Option<i64>,
    end: Option<i64>,
) -> ToolResult {
    if let Some(begin) = begin {
        part.next = call.admin.search_offset(&part.addr, &part.queue, begin)?;
    }
    if let Some(end) = end {
        part.end = call.admin.search_offset(&part.addr, &part.queue, end)?;
    }
    Ok(())
}

/// Reads a part up to its end, at most so many messages as are left, which are fewer then.
fn read_part(
    call: &mut Call<'_>,
    reading: &Reading,
    part: &mut Part,
    left: &mut i64,
    is_over: &dyn Fn() -> bool,
) -> ToolResult {
    while part.next < part.end && *left > 0 && !is_over() {
        let wanted = (part.end - part.next).min(*left).min(BATCH);
        let messages = pull(call, reading, part, wanted, Duration::ZERO)?;
        for message in &messages {
            if message.queue_offset < part.end {
                print(call, reading.form, message, &part.queue.broker_name)?;
                *left -= 1;
            }
        }
        // With an expression the last pull looks beyond the end: what it found there was not printed.
        part.next = part.next.min(part.end);
        commit(call, reading, part)?;
    }
    Ok(())
}

/// Pulls once and moves the part on.
fn pull(
    call: &Call<'_>,
    reading: &Reading,
    part: &mut Part,
    wanted: i64,
    hold: Duration,
) -> Result<Vec<MessageExt>, ToolError> {
    let from = PullFrom {
        group: &reading.group,
        queue: &part.queue,
        offset: part.next,
        max_messages: wanted as i32,
        expression: &reading.expression,
        hold,
    };
    let mut pulled = call.admin.pull(&part.addr, &from)?;
    match pulled.status {
        // Only what was read counts: the answer's next offset may be behind filtered messages.
        PullStatus::Found | PullStatus::NoMatchedMessage => part.next = pulled.next_offset,
        // Somebody deleted the start of the queue.
        PullStatus::OffsetIllegal if pulled.next_offset > part.next => {
            part.next = pulled.next_offset;
        }
        PullStatus::OffsetIllegal | PullStatus::NoNewMessage => part.end = part.next,
    }
    if let Some(begin) = reading.begin {
        pulled.messages.retain(|message| message.store_timestamp >= begin);
    }
    Ok(pulled.messages)
}

/// Tells the broker how far the group is, after everything up to there was written out.
fn commit(call: &mut Call<'_>, reading: &Reading, part: &mut Part) -> ToolResult {
    if reading.commit {
        call.out.flush()?;
        part.uncommitted = true;
        call.admin.update_consumer_offset(&part.addr, &reading.group, &part.queue, part.next)?;
        part.uncommitted = false;
    }
    Ok(())
}

/// Waits for more messages, until enough came, none came for long enough, or a signal came. Servers
/// that cannot be reached meanwhile are waited for, too. Returns how many are left to come.
fn follow(
    call: &mut Call<'_>,
    reading: &Reading,
    parts: &mut [Part],
    mut left: i64,
    patience: &Patience,
) -> Result<i64, ToolError> {
    call.out.flush()?;
    // Short enough for a signal to be noticed.
    let hold = if parts.len() == 1 { ALONE } else { TURN };
    let hold = hold.min(patience.wait);
    let mut last_news = Instant::now();
    while left > 0 && last_news.elapsed() < patience.wait && !patience.is_over() {
        for part in parts.iter_mut() {
            part.end = i64::MAX;
            match read_on(call, reading, part, left, hold) {
                Err(ToolError::Client(error)) if error.is_transient() => {
                    call.note(format_args!("{error}; trying again"));
                    std::thread::sleep(TRY_AGAIN);
                }
                Ok(0) => {}
                outcome => {
                    left -= outcome?;
                    last_news = Instant::now();
                }
            }
            if left <= 0 || patience.is_over() {
                break;
            }
        }
    }
    for part in parts.iter_mut().filter(|part| part.uncommitted) {
        commit(call, reading, part)?;
    }
    Ok(left)
}

/// Prints what comes next, if it comes within `hold`, and commits it; says how many messages it were. A
/// commit that fails is made up for by a later one.
fn read_on(
    call: &mut Call<'_>,
    reading: &Reading,
    part: &mut Part,
    left: i64,
    hold: Duration,
) -> Result<i64, ToolError> {
    let messages = pull(call, reading, part, left.clamp(0, BATCH), hold)?;
    for message in &messages {
        print(call, reading.form, message, &part.queue.broker_name)?;
    }
    call.out.flush()?;
    if !messages.is_empty() || part.uncommitted {
        match commit(call, reading, part) {
            Err(ToolError::Client(error)) if error.is_transient() => {
                call.note(format_args!("{error}; the offset is told again"));
            }
            outcome => outcome?,
        }
    }
    Ok(messages.len() as i64)
}

fn print(call: &mut Call<'_>, form: Form, message: &MessageExt, broker_name: &str) -> ToolResult {
    match form {
        Form::Silent => {}
        _ if call.out.is_json() => call.out.value(&to_json(message, Some(broker_name)))?,
        Form::Raw => call.out.bytes(&message.message.body)?,
        Form::Line { with_body } => {
            let body = match with_body {
                true => String::from_utf8_lossy(&message.message.body).into_owned(),
                false => "NOT PRINT BODY".to_owned(),
            };
            let id = message.message_id();
            let described = describe(message, broker_name);
            call.out.decorate(format_args!("MSGID: {id} {described} BODY: {body}"))?;
        }
    }
    Ok(())
}

/// A message as Java's `MessageExt` prints itself.
fn describe(message: &MessageExt, broker_name: &str) -> String {
    let mut body = String::new();
    for byte in &message.message.body {
        // Java's bytes are signed. Writing to a String does not fail.
        let separator = if body.is_empty() { "" } else { ", " };
        let _ = write!(body, "{separator}{}", *byte as i8);
    }
    format!(
        "MessageExt [brokerName={broker_name}, queueId={}, storeSize={}, queueOffset={}, \
         sysFlag={}, bornTimestamp={}, bornHost=/{}, storeTimestamp={}, storeHost=/{}, msgId={}, \
         commitLogOffset={}, bodyCRC={}, reconsumeTimes={}, preparedTransactionOffset={}, \
         toString()=Message{{topic='{}', flag={}, properties={}, body=[{body}], \
         transactionId='null'}}]",
        message.queue_id,
        message.store_size,
        message.queue_offset,
        message.sys_flag,
        message.born_timestamp,
        message.born_host,
        message.store_timestamp,
        message.store_host,
        message.offset_message_id(),
        message.commit_log_offset,
        message.body_crc,
        message.reconsume_times,
        message.prepared_transaction_offset,
        message.message.topic,
        message.message.flag,
        properties_text(message)
    )
}

/// How the print commands read: by the tools' group, the expression of `-s`.
fn print_reading(call: &Call<'_>, form: Form) -> Reading {
    Reading {
        group: TOOLS_GROUP.to_owned(),
        expression: call.text("subExpression").unwrap_or_else(|| "*".to_owned()),
        form,
        commit: false,
        begin: None,
    }
}

fn print_messages(call: &mut Call<'_>) -> ToolResult {
    let form = Form::Line { with_body: call.truth("printBody", true) };
    let reading = print_reading(call, form);
    let (begin, end) = time_range(call)?;
    let mut all = i64::MAX;
    for mut part in parts_of(call, &call.required("topic")?, None, None)? {
        limit_by_time(call, &mut part, begin, end)?;
        let (queue, first, last) = (part.queue.to_string(), part.next, part.end);
        call.out.decorate(format_args!("minOffset={first}, maxOffset={last}, {queue}"))?;
        read_part(call, &reading, &mut part, &mut all, &|| false)?;
        call.out.decorate("-".repeat(56))?;
    }
    Ok(())
}

fn print_queue(call: &mut Call<'_>) -> ToolResult {
    let form = match call.truth("printMsg", false) {
        true => Form::Line { with_body: call.truth("printBody", false) },
        false => Form::Silent,
    };
    let reading = print_reading(call, form);
    let (begin, end) = time_range(call)?;
    let (topic, broker) = (call.required("topic")?, call.required("brokerName")?);
    let queue_id = call.number("queueId", 0)?;
    let mut by_tag: BTreeMap<String, u64> = BTreeMap::new();
    for mut part in parts_of(call, &topic, Some(&broker), Some(queue_id))? {
        limit_by_time(call, &mut part, begin, end)?;
        while part.next < part.end {
            let wanted = (part.end - part.next).min(BATCH);
            for message in pull(call, &reading, &mut part, wanted, Duration::ZERO)? {
                *by_tag.entry(message.message.tag().unwrap_or("").to_owned()).or_default() += 1;
                print(call, reading.form, &message, &part.queue.broker_name)?;
            }
        }
    }
    if call.truth("calculate", false) {
        let mut counts: Vec<_> = by_tag.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (tag, count) in counts {
            call.out.decorate(format_args!("Tag: {tag:30} Count: {count}"))?;
        }
    }
    Ok(())
}
