//! Sending: one message, a file of them, or a series to measure.

use std::io::{self, BufRead, Read};
use std::time::{Duration, Instant};

use super::call::Call;
use super::print::Column;
use super::{SubCommand, ToolError, ToolResult, flag, optional, required};
use crate::client::admin::Sent;
use crate::client::validate::{check_message, check_topic};
use crate::client::{self, ClientError, Producer, ProducerOptions};
use crate::common::clock;
use crate::common::message::Message;
use crate::common::properties;
use crate::common::topic::{AUTO_CREATE_TOPIC, PERM_WRITE};
use crate::remoting::protocol::bodies::{MessageQueue, TopicRouteData};

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[
    SubCommand {
        name: "sendMessage",
        purpose: "Send a message",
        options: &[
            required('t', "topic", "Topic name"),
            optional('p', "body", "UTF-8 string format of the message body"),
            optional('f', "file", "Body from this file, - is standard input"),
            flag('l', "lines", "Every line of the file is a message; empty ones are passed over"),
            optional('k', "key", "Message keys, separated by blanks"),
            optional('c', "tags", "Message tags"),
            optional('a', "property", "name=value; may be given several times"),
            optional('d', "delayLevel", "Deliver later: level 1 to 18"),
            optional('s', "delaySeconds", "Deliver so many seconds later"),
            optional('w', "wait", "Try for so many seconds while no server can be reached (0)"),
            optional('b', "broker", "Send message to target broker"),
            optional('i', "qid", "Send message to target queue"),
            optional('m', "msgTraceEnable", "true: leave a message trace (false)"),
        ],
        run: send_message,
    },
    SubCommand {
        name: "checkMsgSendRT",
        purpose: "Check message send response time",
        options: &[
            required('t', "topic", "topic name"),
            optional('a', "amount", "message amount (100)"),
            optional('s', "size", "message size (128 bytes)"),
        ],
        run: check_send_time,
    },
    SubCommand {
        name: "sendMsgStatus",
        purpose: "Send msg to broker",
        options: &[
            required('b', "brokerName", "Broker name, which is a topic"),
            optional('s', "messageSize", "Message size (128 bytes)"),
            optional('c', "count", "send message count (50)"),
        ],
        run: send_status,
    },
];

/// Largest body that is read from a file: what a broker takes by default.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Queues of a broker that a topic to be created automatically is sent to.
const QUEUES_OF_NEW_TOPIC: i32 = 4;

/// Pause between attempts while no server can be reached.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// A queue that takes messages, and the address of its master.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    queue: MessageQueue,
    addr: String,
}

const SENT_COLUMNS: [Column; 4] = [
    Column::left("#Broker Name", "brokerName", 32),
    Column::left("#QID", "queueId", 4).number(),
    Column::left("#Send Result", "sendResult", 20).gap(4),
    Column::left("#MsgId", "msgId", 0).gap(0),
];

fn send_message(call: &mut Call<'_>) -> ToolResult {
    let topic = call.required("topic")?;
    check_topic(&topic)?;
    let template = template(call, &topic)?;
    let deadline = Instant::now() + Duration::from_secs(call.number("wait", 0)?);
    let mut targets = patiently(deadline, || targets_of(call, &topic))?;
    match (call.text("broker"), call.optional_number::<i32>("qid")?) {
        (None, Some(_)) => {
            let problem = "Broker name must be set if the queue is chosen!";
            return Err(ToolError::Usage(problem.to_owned()));
        }
        (broker, queue_id) => targets.retain(|target| {
            broker.as_ref().is_none_or(|name| *name == target.queue.broker_name)
                && queue_id.is_none_or(|id| id == target.queue.queue_id)
        }),
    }
    if targets.is_empty() {
        return Err(ToolError::Failed(format!("topic {topic} has no such writable queue")));
    }
    let mut sender = Sender::new(targets);
    if call.truth("msgTraceEnable", false) {
        sender.leave_traces(call, &topic)?;
    }
    call.out.header(&SENT_COLUMNS)?;
    let mut is_read = true;
    let mut send = |call: &mut Call<'_>, body: Vec<u8>| -> ToolResult {
        let message = Message { body, ..template.clone() };
        check_message(&topic, &message, MAX_BODY_BYTES)?;
        let sent = patiently(deadline, || sender.send(call, &message))?;
        if !is_read {
            return Ok(());
        }
        let queue = &sent.queue;
        let cells: [&dyn std::fmt::Display; 4] =
            [&queue.broker_name, &queue.queue_id, &sent.status, &sent.message_id];
        match call.out.row(&SENT_COLUMNS, &cells) {
            // Nobody reads what became of the messages; they are sent nonetheless.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => is_read = false,
            outcome => outcome?,
        }
        Ok(())
    };
    match (call.raw("body").map(str::to_owned), call.text("file")) {
        (Some(body), None) => send(call, body.into_bytes()),
        (None, Some(file)) => {
            let mut input = open(&file)?;
            if call.has("lines") {
                for number in 1.. {
                    let Some(line) = next_line(&file, &mut *input, number)? else { break };
                    if !line.is_empty() {
                        send(call, line).map_err(|error| at_line(number, error))?;
                    }
                }
                return Ok(());
            }
            let mut body = Vec::new();
            input
                .by_ref()
                .take(MAX_BODY_BYTES as u64 + 1)
                .read_to_end(&mut body)
                .map_err(|error| cannot_read(&file, &error))?;
            if body.len() > MAX_BODY_BYTES {
                let problem = format!("{file} is larger than {MAX_BODY_BYTES} bytes");
                return Err(ToolError::Failed(problem));
            }
            send(call, body)
        }
        _ => Err(ToolError::Usage("give the body with one of -p, -f".to_owned())),
    }
}

/// Attempts it until `deadline` while servers cannot be reached, or no broker is registered.
fn patiently<T>(
    deadline: Instant,
    mut attempt: impl FnMut() -> Result<T, ToolError>,
) -> Result<T, ToolError> {
    loop {
        match attempt() {
            Err(ToolError::Client(error))
                if (error.is_transient() || matches!(error, ClientError::NoRoute { .. }))
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(TRY_AGAIN);
            }
            outcome => return outcome,
        }
    }
}

/// Says at which line sending ended: those before it were sent.
fn at_line(number: u64, error: ToolError) -> ToolError {
    match error {
        ToolError::Client(_) => ToolError::Failed(format!("line {number}: {error}")),
        ToolError::Output(_) => ToolError::Failed(format!("line {number} is sent, but {error}")),
        other => other,
    }
}

fn open(file: &str) -> Result<Box<dyn BufRead>, ToolError> {
    if file == "-" {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    match std::fs::File::open(file) {
        Ok(opened) => Ok(Box::new(std::io::BufReader::new(opened))),
        Err(error) => Err(cannot_read(file, &error)),
    }
}

/// The next line without its end; `None` behind the last one.
fn next_line(
    file: &str,
    input: &mut dyn BufRead,
    number: u64,
) -> Result<Option<Vec<u8>>, ToolError> {
    let mut line = Vec::new();
    let mut limited = input.take(MAX_BODY_BYTES as u64 + 1);
    if limited.read_until(b'\n', &mut line).map_err(|error| cannot_read(file, &error))? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > MAX_BODY_BYTES {
        let problem = format!("line {number} of {file} is longer than {MAX_BODY_BYTES} bytes");
        return Err(ToolError::Failed(problem));
    }
    Ok(Some(line))
}

fn cannot_read(file: &str, error: &std::io::Error) -> ToolError {
    ToolError::Failed(format!("{file}: {error}"))
}

/// The message without its body.
fn template(call: &Call<'_>, topic: &str) -> Result<Message, ToolError> {
    let mut message = Message::new(topic, Vec::new());
    for property in call.all("property") {
        let (name, value) = property.split_once('=').ok_or_else(|| {
            ToolError::Usage(format!("--property is \"{property}\", expected name=value"))
        })?;
        message = message.with_property(name, value);
    }
    if let Some(keys) = call.text("key") {
        message = message.with_keys(keys);
    }
    if let Some(tags) = call.text("tags") {
        message = message.with_tag(tags);
    }
    if let Some(level) = call.optional_number("delayLevel")? {
        if level < 1 {
            return Err(ToolError::Usage(format!("--delayLevel is {level}, expected 1 to 18")));
        }
        message = message.with_delay_level(level);
    }
    if let Some(seconds) = call.optional_number::<u32>("delaySeconds")? {
        message = message.with_property(properties::TIMER_DELAY_SEC, seconds.to_string());
    }
    Ok(message)
}

/// The writable queues of a topic; of one that does not exist yet those it would get.
fn targets_of(call: &Call<'_>, topic: &str) -> Result<Vec<Target>, ToolError> {
    let (route, limit) = match call.admin.route(topic) {
        Err(ClientError::NoRoute { .. }) => {
            let route = call.admin.route(AUTO_CREATE_TOPIC).map_err(|error| match error {
                ClientError::NoRoute { .. } => ClientError::NoRoute { topic: topic.to_owned() },
                other => other,
            })?;
            (route, QUEUES_OF_NEW_TOPIC)
        }
        outcome => (outcome?, i32::MAX),
    };
    Ok(writable_queues(&route, topic, limit))
}

/// Queues with write permission on brokers with a master, at most `limit` a broker.
fn writable_queues(route: &TopicRouteData, topic: &str, limit: i32) -> Vec<Target> {
    let mut targets = Vec::new();
    for queues in route.queue_datas.iter().filter(|queues| queues.perm & PERM_WRITE != 0) {
        let mut brokers = route.broker_datas.iter();
        let broker = brokers.find(|broker| broker.broker_name == queues.broker_name);
        let Some(addr) = broker.and_then(|broker| broker.broker_addrs.get(&0)) else { continue };
        targets.extend((0..queues.write_queue_nums.min(limit)).map(|queue_id| Target {
            queue: MessageQueue {
                broker_name: queues.broker_name.clone(),
                queue_id,
                topic: topic.to_owned(),
            },
            addr: addr.clone(),
        }));
    }
    targets
}

/// Sends to its targets in turn.
struct Sender {
    targets: Vec<Target>,
    next: usize,
    group: String,
    /// Sends instead of the tool's own client, and leaves message traces. They are sent out when it goes.
    tracing: Option<Producer>,
}

impl Sender {
    /// Begins at a queue that differs from run to run. The group is the time, as in Java's tool.
    fn new(targets: Vec<Target>) -> Self {
        let now = clock::now_ms();
        let next = now as usize % targets.len().max(1);
        Self { targets, next, group: now.to_string(), tracing: None }
    }

    /// Has a message trace written of each send.
    fn leave_traces(&mut self, call: &Call<'_>, topic: &str) -> ToolResult {
        let options = ProducerOptions::new(self.group.as_str())
            .name_servers(call.admin.name_servers().to_vec())
            .retries(0)
            .trace();
        let producer = options.start()?;
        if producer.queues(topic).is_err() {
            // A topic that its first message makes has no route yet: that of the template leads to brokers.
            producer.queues(AUTO_CREATE_TOPIC)?;
        }
        self.tracing = Some(producer);
        Ok(())
    }

    /// Sends a message; on a failure that may pass, once more to a queue of another broker.
    fn send(&mut self, call: &Call<'_>, message: &Message) -> Result<Sent, ToolError> {
        let target = self.turn(None);
        match self.send_to(call, &target, message) {
            Err(error) if error.is_transient() => {
                let other = self.turn(Some(&target.queue.broker_name));
                if other.queue.broker_name == target.queue.broker_name {
                    return Err(error.into());
                }
                Ok(self.send_to(call, &other, message)?)
            }
            outcome => Ok(outcome?),
        }
    }

    fn send_to(
        &self,
        call: &Call<'_>,
        target: &Target,
        message: &Message,
    ) -> Result<Sent, ClientError> {
        let Target { queue, addr } = target;
        let Some(producer) = &self.tracing else {
            return call.admin.send(addr, queue, &self.group, message);
        };
        let sent = producer.send_to(message, client::Target::Queue(queue))?;
        Ok(Sent {
            status: sent.status.name(),
            message_id: sent.message_id,
            offset_message_id: sent.offset_message_id,
            queue: sent.queue,
            queue_offset: sent.queue_offset,
        })
    }

    /// The next target, if possible not of the broker to avoid.
    fn turn(&mut self, avoid: Option<&str>) -> Target {
        for _ in 0..self.targets.len() {
            self.next = (self.next + 1) % self.targets.len();
            if Some(self.targets[self.next].queue.broker_name.as_str()) != avoid {
                break;
            }
        }
        self.targets[self.next].clone()
    }
}

/// Prints the result of a send as Java's `SendResult` prints itself.
pub(super) fn print_sent(call: &mut Call<'_>, sent: &Sent) -> ToolResult {
    Ok(call.out.say(describe(sent))?)
}

fn describe(sent: &Sent) -> String {
    format!(
        "SendResult [sendStatus={}, msgId={}, offsetMsgId={}, messageQueue={}, queueOffset={}]",
        sent.status, sent.message_id, sent.offset_message_id, sent.queue, sent.queue_offset
    )
}

const TIME_COLUMNS: [Column; 4] = [
    Column::left("#Broker Name", "brokerName", 32),
    Column::left("#QID", "queueId", 4).number(),
    Column::left("#Send Result", "sendResult", 20).gap(4),
    Column::left("#RT", "rtMs", 0).gap(0).number(),
];

/// Sends to all queues in turn and prints how long each took. The first send, which also
/// connects, does not count in the average.
fn check_send_time(call: &mut Call<'_>) -> ToolResult {
    let topic = call.required("topic")?;
    let amount: usize = call.number("amount", 100)?;
    let size: usize = call.number("size", 128)?;
    let targets = targets_of(call, &topic)?;
    if targets.is_empty() {
        return Err(ToolError::Failed(format!("topic {topic} has no writable queue")));
    }
    call.out.header(&TIME_COLUMNS)?;
    let group = clock::now_ms().to_string();
    let mut times = Vec::new();
    for index in 0..amount {
        let Target { queue, addr } = &targets[index % targets.len()];
        let message = Message::new(topic.clone(), vec![b'a'; size]);
        let begin = Instant::now();
        let sent = call.attempt(addr, |admin| admin.send(addr, queue, &group, &message)).is_some();
        let spent = begin.elapsed().as_millis();
        times.push(spent);
        let cells: [&dyn std::fmt::Display; 4] =
            [&queue.broker_name, &queue.queue_id, &sent, &spent];
        call.out.row(&TIME_COLUMNS, &cells)?;
    }
    let counted = times.get(1..).unwrap_or_default();
    let average = counted.iter().sum::<u128>() as f64 / counted.len().max(1) as f64;
    call.out.decorate(format_args!("Avg RT: {average:.2}"))?;
    Ok(())
}

fn send_status(call: &mut Call<'_>) -> ToolResult {
    const TEXT: &str = "hello jodie";
    let topic = call.required("brokerName")?;
    let size: usize = call.number("messageSize", 128)?;
    let count: usize = call.number("count", 50)?;
    let body = TEXT.repeat(size.div_ceil(TEXT.len())).into_bytes();
    let message = Message::new(topic.clone(), body);
    let targets = targets_of(call, &topic)?;
    if targets.is_empty() {
        return Err(ToolError::Failed(format!("topic {topic} has no writable queue")));
    }
    let mut sender = Sender::new(targets);
    sender.group = "PID_SMSC".to_owned();
    sender.send(call, &message)?;
    for _ in 0..count {
        let begin = Instant::now();
        let sent = sender.send(call, &message)?;
        let spent = begin.elapsed().as_millis();
        call.out.say(format_args!("rt={spent}ms, SendResult={}", describe(&sent)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remoting::protocol::bodies::{BrokerData, QueueData};

    #[test]
    fn only_queues_that_can_be_written_are_targets() {
        let queues = |name: &str, perm, write| QueueData {
            broker_name: name.to_owned(),
            perm,
            read_queue_nums: 9,
            topic_sys_flag: 0,
            write_queue_nums: write,
        };
        let broker = |name: &str, id| BrokerData {
            broker_addrs: [(id, format!("{name}:1"))].into(),
            broker_name: name.to_owned(),
            cluster: "c".to_owned(),
        };
        let route = TopicRouteData {
            broker_datas: vec![broker("a", 0), broker("b", 1), broker("c", 0)],
            queue_datas: vec![queues("a", 6, 8), queues("b", 6, 8), queues("c", 4, 8)],
            ..TopicRouteData::default()
        };
        let found: Vec<_> = writable_queues(&route, "T", 2)
            .into_iter()
            .map(|target| (target.addr, target.queue.queue_id))
            .collect();
        assert_eq!(found, [("a:1".to_owned(), 0), ("a:1".to_owned(), 1)]);
    }
}
