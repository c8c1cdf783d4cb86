//! [`Tracer`]: message traces. What a client sends, consumes and ends is written down, and sent to the trace
//! topic, where `mqadmin queryMsgTraceById` and the official tools find it.
//!
//! A [`Hook`] makes a record of each event and leaves it in a queue that never blocks; the thread `TraceSend`
//! packs what came within half a second into messages, and sends them with a producer of its own. A
//! record that finds the queue full is dropped: traces never slow down what they watch.
//!
//! # Records
//!
//! A message's body is a series of records, each ended by U+0002; its keys are the message ids and keys of
//! them all. The fields of a record have U+0001 between them; one that is missing is the text `null`.
//!
//! | record | fields |
//! |---|---|
//! | `Pub` | timestamp, region, group, topic, message id, tags, keys, store host, length, cost, type, offset id, success |
//! | `SubBefore`, one a message | timestamp, region, group, request id, message id, retries, keys |
//! | `SubAfter`, one a message | request id, message id, cost, success, keys, outcome; but for [`Cloud`](AccessChannel::Cloud) timestamp, group |
//! | `EndTransaction` | timestamp, region, group, topic, message id, tags, keys, store host, type, transaction id, state, whether the broker had asked |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};

use super::config::{ClientOptions, ProducerOptions};
use super::error::ClientError;
use super::hooks::{
    AfterConsume, AfterSend, ConsumeCall, Hook, MessageKind, SendAttempt, TransactionEnd,
};
use super::message::ReceivedMessage;
use super::namespace::Namespace;
use super::producer::Producer;
use super::sender::{INNER_PRODUCER_GROUP, SendStatus};
use super::transaction::TransactionState;
use crate::common::clock::now_ms;
use crate::common::message::Message;
use crate::common::message_id::unique_key;
use crate::common::properties;
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::lock;

/// Records that wait; those beyond are dropped.
const WAITING_RECORDS: usize = 1024;
/// A record waits so long for others.
const PATIENCE: Duration = Duration::from_millis(500);
/// Text that is sent at once.
const ENOUGH_BYTES: usize = 118_000;
/// Largest message of traces.
const MAX_BYTES: usize = 128_000;
/// Keys that are sent at once: they are a property, whose length has a limit.
const ENOUGH_KEY_BYTES: usize = 24_000;
/// Messages of a call of a listener whose records stay together.
const TOGETHER: usize = 64;
/// How often the thread looks whether it is to stop.
const LOOK_AROUND: Duration = Duration::from_millis(100);
/// Limit of a send.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// How long a stop waits for the thread.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// The trace topic of a region, in the cloud.
const CLOUD_TOPIC_PREFIX: &str = "rmq_sys_TRACE_DATA_";

const FIELD_END: char = '\u{1}';
const RECORD_END: char = '\u{2}';

/// Where a client is; message traces look different in the cloud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AccessChannel {
    /// Brokers of one's own.
    #[default]
    Local,
    /// A cloud's: traces go to a topic of the region.
    Cloud,
}

/// Records of one event.
struct Entry {
    topic: String,
    text: String,
    keys: BTreeSet<String>,
}

/// Writes the fields of a record.
struct Record<'a>(&'a mut String);

impl<'a> Record<'a> {
    fn new(text: &'a mut String, kind: &str) -> Self {
        text.push_str(kind);
        Self(text)
    }

    fn field(self, value: impl Display) -> Self {
        // Writing to a String does not fail.
        let _ = write!(self.0, "{FIELD_END}{value}");
        self
    }

    fn text(self, value: Option<&str>) -> Self {
        self.field(value.unwrap_or("null"))
    }

    fn end(self) {
        self.0.push(RECORD_END);
    }
}

/// Makes records of what it is told.
struct TraceHook {
    namespace: Namespace,
    topic: String,
    channel: AccessChannel,
    to: Sender<Entry>,
    dropped: Arc<AtomicU64>,
}

impl TraceHook {
    fn topic_of(&self, region: &str) -> String {
        match self.channel {
            AccessChannel::Local => self.topic.clone(),
            AccessChannel::Cloud => format!("{CLOUD_TOPIC_PREFIX}{region}"),
        }
    }

    fn put(&self, entry: Entry) {
        if self.to.try_send(entry).is_err() && self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            log::warn!("message traces are dropped: more come than can be sent");
        }
    }
}

/// The keys under which a record is found: those of a batch are many.
fn key_set(message_ids: &str, keys: Option<&str>) -> BTreeSet<String> {
    let keys = keys.into_iter().flat_map(|keys| keys.split(' ')).filter(|key| !key.is_empty());
    let mut room = ENOUGH_KEY_BYTES;
    let fits = |key: &&str| {
        let bytes = key.len() + 1;
        let fits = bytes <= room;
        room -= if fits { bytes } else { 0 };
        fits
    };
    message_ids.split(',').chain(keys).filter(fits).map(str::to_owned).collect()
}

/// What the second half of a send knows of the first.
struct Sent {
    timestamp: i64,
    began: Instant,
    group: String,
    topic: String,
    tags: Option<String>,
    keys: Option<String>,
    store_host: String,
    body_bytes: usize,
    kind: MessageKind,
}

impl Hook for Arc<TraceHook> {
    fn send(&self, attempt: &SendAttempt<'_>) -> Option<AfterSend> {
        let topic = self.namespace.unwrap(&attempt.queue.topic).into_owned();
        // Neither traces of traces, nor of what the client sends for itself.
        if topic.starts_with(&self.topic)
            || topic.starts_with(CLOUD_TOPIC_PREFIX)
            || attempt.group == INNER_PRODUCER_GROUP
        {
            return None;
        }
        let sent = Sent {
            timestamp: now_ms(),
            began: Instant::now(),
            group: self.namespace.unwrap(attempt.group).into_owned(),
            topic,
            tags: attempt.property(properties::TAGS).map(str::to_owned),
            keys: attempt.property(properties::KEYS).map(str::to_owned),
            store_host: attempt.broker_addr.to_owned(),
            body_bytes: attempt.body_bytes,
            kind: attempt.kind,
        };
        let hook = Arc::clone(self);
        Some(Box::new(move |outcome| {
            let Some(Ok(result)) = outcome else { return };
            if !result.trace_on {
                return;
            }
            let mut text = String::new();
            Record::new(&mut text, "Pub")
                .field(sent.timestamp)
                .field(&result.region_id)
                .field(&sent.group)
                .field(&sent.topic)
                .field(&result.message_id)
                .text(sent.tags.as_deref())
                .text(sent.keys.as_deref())
                .field(&sent.store_host)
                .field(sent.body_bytes)
                .field(sent.began.elapsed().as_millis())
                .field(sent.kind as i32)
                .field(&result.offset_message_id)
                .field(result.status == SendStatus::Ok)
                .end();
            let topic = hook.topic_of(&result.region_id);
            let keys = key_set(&result.message_id, sent.keys.as_deref());
            hook.put(Entry { topic, text, keys });
        }))
    }

    fn end_transaction(&self, end: &TransactionEnd<'_>) {
        let property = |name| properties::find(end.properties, name);
        let region = property("MSG_REGION").unwrap_or("DefaultRegion");
        let keys = property(properties::KEYS);
        let mut text = String::new();
        Record::new(&mut text, "EndTransaction")
            .field(now_ms())
            .field(region)
            .field(self.namespace.unwrap(end.group))
            .field(end.topic)
            .field(end.message_id)
            .text(property(properties::TAGS))
            .text(keys)
            .field(end.broker_addr)
            .field(MessageKind::Commit as i32)
            .field(end.transaction_id)
            .field(match end.state {
                TransactionState::Commit => "COMMIT_MESSAGE",
                TransactionState::Rollback => "ROLLBACK_MESSAGE",
                TransactionState::Unknown => "UNKNOW",
            })
            .field(end.from_check)
            .end();
        let keys = key_set(end.message_id, keys);
        self.put(Entry { topic: self.topic_of(region), text, keys });
    }

    fn consume(&self, call: &ConsumeCall<'_>) -> Option<AfterConsume> {
        let traced = call.messages.iter().filter(|m| m.property("TRACE_ON") != Some("false"));
        let traced: Vec<&ReceivedMessage> = traced.collect();
        let region = traced.last()?.property("MSG_REGION").map(str::to_owned);
        let topic = self.topic_of(region.as_deref().unwrap_or("null"));
        let group = self.namespace.unwrap(call.group).into_owned();
        let request = unique_key();
        let mut ids = Vec::with_capacity(traced.len());
        for some in traced.chunks(TOGETHER) {
            let (mut text, mut all) = (String::new(), BTreeSet::new());
            for message in some {
                let (id, keys) = (message.message_id(), message.keys());
                Record::new(&mut text, "SubBefore")
                    .field(now_ms())
                    .text(region.as_deref())
                    .field(&group)
                    .field(&request)
                    .field(&id)
                    .field(message.reconsume_times())
                    .text(keys)
                    .end();
                all.extend(key_set(&id, keys));
                ids.push((id, keys.map(str::to_owned)));
            }
            self.put(Entry { topic: topic.clone(), text, keys: all });
        }
        let hook = Arc::clone(self);
        Some(Box::new(move |consumed| {
            let cost = consumed.elapsed.as_millis() / ids.len().max(1) as u128;
            for some in ids.chunks(TOGETHER) {
                let (mut text, mut all) = (String::new(), BTreeSet::new());
                for (id, keys) in some {
                    let record = Record::new(&mut text, "SubAfter")
                        .field(&request)
                        .field(id)
                        .field(cost)
                        .field(consumed.success)
                        .text(keys.as_deref())
                        .field(consumed.outcome as i32);
                    match hook.channel {
                        AccessChannel::Local => record.field(now_ms()).field(&group).end(),
                        AccessChannel::Cloud => record.end(),
                    }
                    all.extend(key_set(id, keys.as_deref()));
                }
                hook.put(Entry { topic: topic.clone(), text, keys: all });
            }
        }))
    }
}

/// The traces of one client.
pub(crate) struct Tracer {
    thread: Mutex<Option<ServiceThread>>,
}

impl Tracer {
    /// Starts it and adds its hook, if the options want traces. A failure is logged: the client works without.
    pub fn attach(client: &mut ClientOptions, group: &str, role: &str) -> Option<Self> {
        if !client.trace {
            return None;
        }
        match Self::start(client, group, role) {
            Ok((tracer, hook)) => {
                client.hooks.0.push(Arc::new(hook));
                Some(tracer)
            }
            Err(error) => {
                log::warn!("{group}: no message traces: {error}");
                None
            }
        }
    }

    fn start(
        client: &ClientOptions,
        group: &str,
        role: &str,
    ) -> Result<(Self, Arc<TraceHook>), ClientError> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut own = ClientOptions {
            namespace: Namespace::default(),
            trace: false,
            vip_channel: false,
            hooks: super::hooks::Hooks::default(),
            instance_name: "DEFAULT".to_owned(),
            ..client.clone()
        };
        if own.interceptor.0.is_none() {
            // All of a process that have the same name servers share connections.
            let names = own.name_servers.0.join(";");
            own.instance_name = format!("PID_CLIENT_INNER_TRACE_PRODUCER_{names}");
        }
        let producer =
            ProducerOptions::new(format!("_INNER_TRACE_PRODUCER-{group}-{role}-{number}"))
                .client(own)
                .send_timeout(SEND_LIMIT)
                .max_message_bytes(MAX_BYTES)
                .start()?;
        let (to, entries) = bounded(WAITING_RECORDS);
        let dropped = Arc::new(AtomicU64::new(0));
        let hook = Arc::new(TraceHook {
            namespace: client.namespace.clone(),
            topic: client.trace_topic.clone(),
            channel: client.access_channel,
            to,
            dropped: Arc::clone(&dropped),
        });
        let body = move |signal: &Signal| collect(&entries, &producer, &dropped, signal);
        let thread = ServiceThread::spawn("TraceSend", Arc::default(), body)
            .map_err(|error| ClientError::Io(format!("no thread: {error}")))?;
        Ok((Self { thread: Mutex::new(Some(thread)) }, hook))
    }

    /// Sends what is there, and ends. The hook may live on; what it is told is dropped.
    pub fn stop(&self) {
        if let Some(thread) = lock(&self.thread).take() {
            thread.stop(STOP_LIMIT);
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Records that wait to be sent to a topic.
#[derive(Default)]
struct Bundle {
    text: String,
    keys: BTreeSet<String>,
    key_bytes: usize,
}

/// The thread: packs entries into messages.
fn collect(entries: &Receiver<Entry>, producer: &Producer, dropped: &AtomicU64, signal: &Signal) {
    let mut bundles: BTreeMap<String, Bundle> = BTreeMap::new();
    let mut oldest = Instant::now();
    loop {
        let stopped = signal.stopped();
        let first = if stopped { None } else { entries.recv_timeout(LOOK_AROUND).ok() };
        if first.is_some() && bundles.is_empty() {
            oldest = Instant::now();
        }
        for Entry { topic, text, keys } in first.into_iter().chain(entries.try_iter()) {
            let bundle = bundles.entry(topic.clone()).or_default();
            let key_bytes: usize = keys.iter().map(|key| key.len() + 1).sum();
            if bundle.text.len() + text.len() > ENOUGH_BYTES
                || bundle.key_bytes + key_bytes > ENOUGH_KEY_BYTES
            {
                send(producer, &topic, std::mem::take(bundle));
            }
            bundle.text.push_str(&text);
            bundle.key_bytes += key_bytes;
            bundle.keys.extend(keys);
        }
        if stopped || oldest.elapsed() >= PATIENCE {
            for (topic, bundle) in std::mem::take(&mut bundles) {
                send(producer, &topic, bundle);
            }
        }
        if stopped {
            break;
        }
    }
    match dropped.load(Ordering::Relaxed) {
        0 => {}
        count => log::warn!("{count} message traces were dropped in all"),
    }
    producer.shutdown();
}

fn send(producer: &Producer, topic: &str, bundle: Bundle) {
    if bundle.text.is_empty() {
        return;
    }
    let keys: Vec<_> = bundle.keys.into_iter().collect();
    let message = Message::new(topic, bundle.text).with_keys(keys.join(" "));
    let failed = |error: &ClientError| log::warn!("message traces are lost: {error}");
    let sent = producer.send_async(&message, move |result| {
        if let Err(error) = result {
            failed(&error);
        }
    });
    if let Err(error) = sent {
        failed(&error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_fields_that_the_tools_read() {
        let mut text = String::new();
        Record::new(&mut text, "Pub").field(7).text(None).text(Some("a b")).field(true).end();
        assert_eq!(text, "Pub\u{1}7\u{1}null\u{1}a b\u{1}true\u{2}");
    }

    #[test]
    fn keys_of_a_batch_are_single_and_end_where_a_property_does() {
        let keys = key_set("id1,id2", Some("k1  k2"));
        assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["id1", "id2", "k1", "k2"]);
        let many: Vec<_> = (0..5000).map(|n| format!("{n:032}")).collect();
        let bytes: usize = key_set(&many.join(","), None).iter().map(|key| key.len() + 1).sum();
        assert!((23_000..=24_000).contains(&bytes), "{bytes}");
    }
}
