//! Request-reply: a message that waits for a message back.
//!
//! The requester sends an ordinary message with a correlation id and its client id; whoever
//! consumes it answers with a message to the reply topic of the broker's cluster, which the broker
//! pushes to the requester's connection.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::config::Deadline;
use super::error::ClientError;
use super::message::ReceivedMessage;
use super::producer::Producer;
use super::sender::Target;
use crate::common::clock::deadline_after;
use crate::common::message::Message;
use crate::common::properties;
use crate::common::sync::{catch_panic, lock};
use crate::common::topic::REPLY_TOPIC_SUFFIX;

type ReplyFn = Box<dyn FnOnce(Result<ReceivedMessage, ClientError>) + Send>;

struct Waiting {
    deadline: Instant,
    timeout: Duration,
    done: ReplyFn,
}

impl Waiting {
    /// A callback that panics keeps nobody else from learning his outcome.
    fn tell(self, result: Result<ReceivedMessage, ClientError>) {
        catch_panic("callback of a request", || (self.done)(result));
    }
}

/// Requests that wait for their reply, by correlation id. Each learns its outcome exactly once:
/// whoever takes it out of the table tells it.
#[derive(Default)]
pub(crate) struct PendingReplies(Mutex<HashMap<String, Waiting>>);

impl PendingReplies {
    fn insert(&self, id: &str, timeout: Duration, done: ReplyFn) {
        let deadline = deadline_after(timeout);
        lock(&self.0).insert(id.to_owned(), Waiting { deadline, timeout, done });
    }

    /// Tells a request its outcome. `false`: nobody waits for it any more.
    pub fn complete(&self, id: &str, result: Result<ReceivedMessage, ClientError>) -> bool {
        let waiting = lock(&self.0).remove(id);
        let found = waiting.is_some();
        if let Some(waiting) = waiting {
            waiting.tell(result);
        }
        found
    }

    /// Ends requests whose time is up.
    pub fn expire(&self) {
        let now = Instant::now();
        let mut table = lock(&self.0);
        let late: Vec<String> = table
            .iter()
            .filter(|(_, waiting)| waiting.deadline <= now)
            .map(|(id, _)| id.clone())
            .collect();
        let late: Vec<_> =
            late.into_iter().filter_map(|id| table.remove(&id).map(|w| (id, w))).collect();
        drop(table);
        for (correlation_id, waiting) in late {
            let timeout = waiting.timeout;
            waiting.tell(Err(ClientError::RequestTimeout { correlation_id, timeout }));
        }
    }

    /// Ends all: the client stops.
    pub fn fail_all(&self) {
        let all = std::mem::take(&mut *lock(&self.0));
        for waiting in all.into_values() {
            waiting.tell(Err(ClientError::NotRunning));
        }
    }
}

/// A random identifier in the form of a UUID.
fn correlation_id() -> String {
    let random = || RandomState::new().build_hasher().finish();
    let (a, b) = (random(), random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | (b >> 48) & 0x3fff,
        b & 0xffff_ffff_ffff
    )
}

impl Producer {
    /// Sends a request and waits for its reply, `timeout` at most for both.
    ///
    /// ```
    /// use rocketmq::client::{ConsumeFromWhere, ConsumeResult, ConsumerOptions, Message, ProducerOptions, reply_to};
    /// use std::time::Duration;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Questions", 1)?;
    /// # let names = site.name_servers();
    ///
    /// // Whoever answers needs a producer of his own.
    /// let answers = ProducerOptions::new("answers").name_servers(names.as_str()).start()?;
    /// let responder = ConsumerOptions::new("responders")
    ///     .name_servers(names.as_str())
    ///     .consume_from(ConsumeFromWhere::FirstOffset)
    ///     .subscribe("Questions", "*")
    ///     .start_concurrent(move |messages, _| {
    ///         for question in messages {
    ///             let sent = reply_to(question, "42").and_then(|reply| answers.send(&reply));
    ///             println!("{sent:?}");
    ///         }
    ///         ConsumeResult::Success
    ///     })?;
    /// let asking = ProducerOptions::new("asking").name_servers(names).start()?;
    /// let reply = asking.request(&Message::new("Questions", "?"), Duration::from_secs(20))?;
    /// assert_eq!(reply.body(), b"42");
    /// # responder.shutdown();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request(
        &self,
        message: &Message,
        timeout: Duration,
    ) -> Result<ReceivedMessage, ClientError> {
        self.request_to(message, Target::InTurn, timeout)
    }

    /// The same, with the request sent to a queue of choice.
    ///
    /// ```
    /// use rocketmq::client::{ClientError, Message, ProducerOptions, Target};
    /// use std::time::Duration;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    ///
    /// let producer = ProducerOptions::new("asking").name_servers(names).start()?;
    /// let (question, limit) = (Message::new("Orders", "how many?"), Duration::from_secs(2));
    /// # producer.send(&question)?; // Connected: of the limit, nearly all is left for the reply.
    /// // What belongs to one customer is asked in one queue. Nobody answers here.
    /// let error = producer.request_to(&question, Target::Key("customer-5"), limit).unwrap_err();
    /// assert!(matches!(error, ClientError::RequestTimeout { .. }));
    /// # let (to, told) = std::sync::mpsc::channel();
    /// producer.request_async_to(&question, Target::Key("customer-5"), limit, move |result| {
    ///     println!("{result:?}");
    /// #   let _ = to.send(result.is_err());
    /// })?;
    /// # assert!(told.recv()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request_to(
        &self,
        message: &Message,
        to: Target<'_>,
        timeout: Duration,
    ) -> Result<ReceivedMessage, ClientError> {
        let (sender, receiver) = crossbeam::channel::bounded(1);
        let id = self.request_async_to(message, to, timeout, move |result| {
            // The requester may have given up; then nobody listens.
            let _ = sender.send(result);
        })?;
        let late = || ClientError::RequestTimeout { correlation_id: id.clone(), timeout };
        let result = receiver.recv_timeout(timeout).unwrap_or_else(|_| Err(late()));
        self.inner().sender.instance.replies.complete(&id, Err(late()));
        result
    }

    /// Sends a request; `done` gets the reply, or why there is none, exactly once. Returns the
    /// correlation id.
    ///
    /// ```
    /// # use rocketmq::client::{Message, ProducerOptions};
    /// # use std::sync::mpsc::channel;
    /// # use std::time::Duration;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Questions", 1)?;
    /// # let names = site.name_servers();
    /// # let producer = ProducerOptions::new("asking").name_servers(names).start()?;
    /// # let (to, told) = channel();
    /// let question = Message::new("Questions", "?");
    /// # producer.send(&question)?; // Connected: of the limit, nearly all is left for the reply.
    /// producer.request_async(&question, Duration::from_secs(2), move |result| {
    ///     match result {
    ///         Ok(reply) => println!("{:?}", reply.body()),
    ///         Err(error) => println!("nobody answered: {error}"),
    ///     }
    /// #   let _ = to.send(());
    /// })?;
    /// # told.recv()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request_async(
        &self,
        message: &Message,
        timeout: Duration,
        done: impl FnOnce(Result<ReceivedMessage, ClientError>) + Send + 'static,
    ) -> Result<String, ClientError> {
        self.request_async_to(message, Target::InTurn, timeout, done)
    }

    /// The same, with the request sent to a queue of choice.
    pub fn request_async_to(
        &self,
        message: &Message,
        to: Target<'_>,
        timeout: Duration,
        done: impl FnOnce(Result<ReceivedMessage, ClientError>) + Send + 'static,
    ) -> Result<String, ClientError> {
        let deadline = Deadline::after(timeout);
        let sender = self.inner().sender()?;
        let instance = &sender.instance;
        let id = correlation_id();
        let mut request = message.clone();
        request.properties.set(properties::CORRELATION_ID, id.as_str());
        request.properties.set(properties::REPLY_TO_CLIENT, instance.client_id.as_str());
        request.properties.set(properties::TTL, timeout.as_millis().to_string());
        let prepared = sender.prepare(&request)?;
        let queue = sender.fixed_queue(&request, to)?;
        // The broker finds the requester by its heartbeat.
        for queue in &sender.route(&request.topic)?.publish {
            instance.introduce(&queue.broker_name);
        }
        let left = deadline
            .left()
            .ok_or(ClientError::RequestTimeout { correlation_id: id.clone(), timeout })?;
        instance.replies.insert(&id, left, Box::new(done));
        let (waiting, weak) = (id.clone(), std::sync::Arc::downgrade(instance));
        let sent = sender.send_async(prepared, queue, left, move |result| {
            if let (Err(error), Some(instance)) = (result, weak.upgrade()) {
                instance.replies.complete(&waiting, Err(error));
            }
        });
        if let Err(error) = sent {
            // Taken out quietly: the caller is told by this very return.
            drop(lock(&instance.replies.0).remove(&id));
            return Err(error);
        }
        Ok(id)
    }
}

/// The reply to a request: any producer may send it.
pub fn reply_to(
    request: &ReceivedMessage,
    body: impl Into<Vec<u8>>,
) -> Result<Message, ClientError> {
    let needed = |name| request.property(name).ok_or(ClientError::NoReplyAddress { missing: name });
    let cluster = needed(properties::CLUSTER)?;
    let mut reply = Message::new(format!("{cluster}{REPLY_TOPIC_SUFFIX}"), body)
        .with_property(properties::MESSAGE_TYPE, "reply")
        .with_property(properties::CORRELATION_ID, needed(properties::CORRELATION_ID)?)
        .with_property(properties::REPLY_TO_CLIENT, needed(properties::REPLY_TO_CLIENT)?);
    if let Some(ttl) = request.property(properties::TTL) {
        reply.properties.set(properties::TTL, ttl);
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{origin, record};
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_request_learns_its_outcome_once() {
        let replies = PendingReplies::default();
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let note = |name: &'static str| -> ReplyFn {
            let outcomes = Arc::clone(&outcomes);
            Box::new(move |result| lock(&outcomes).push((name, result.err().map(|e| e.code()))))
        };
        replies.insert("a", Duration::ZERO, note("a"));
        replies.insert("b", Duration::from_secs(60), note("b"));
        replies.expire();
        assert!(!replies.complete("a", Err(ClientError::NotRunning)));
        assert!(replies.complete("b", Err(ClientError::NoNameServer)));
        replies.fail_all();
        assert_eq!(*lock(&outcomes), [("a", Some(10006)), ("b", Some(10004))]);
    }

    #[test]
    fn a_callback_that_panics_does_not_silence_others() {
        let replies = PendingReplies::default();
        let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let fill = || {
            for n in 0..4 {
                let told = Arc::clone(&told);
                let done = move |_| {
                    told.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    assert!(n % 2 == 0, "a test");
                };
                replies.insert(&n.to_string(), Duration::ZERO, Box::new(done));
            }
        };
        fill();
        replies.expire();
        fill();
        replies.fail_all();
        assert_eq!(told.load(std::sync::atomic::Ordering::SeqCst), 8);
    }

    #[test]
    fn replies_find_their_way_back() {
        let props =
            "CLUSTER\u{1}C\u{2}CORRELATION_ID\u{1}id\u{2}REPLY_TO_CLIENT\u{1}me\u{2}TTL\u{1}9";
        let request = &ReceivedMessage::read_all(record("T", 0, props, b"x", 0), &origin("T"))[0];
        let reply = reply_to(request, "answer").unwrap();
        assert_eq!(reply.topic, "C_REPLY_TOPIC");
        assert_eq!(reply.properties.get("MSG_TYPE"), Some("reply"));
        assert_eq!(reply.properties.get("CORRELATION_ID"), Some("id"));
        assert_eq!(reply.properties.get("TTL"), Some("9"));
        let plain = &ReceivedMessage::read_all(record("T", 0, "", b"x", 0), &origin("T"))[0];
        let error = reply_to(plain, "answer").unwrap_err();
        assert_eq!((error.code(), error.to_string().contains("CLUSTER")), (10007, true));
    }

    #[test]
    fn correlation_ids_look_like_uuids_and_differ() {
        let (one, two) = (correlation_id(), correlation_id());
        assert_eq!((one.len(), one.matches('-').count()), (36, 4));
        assert_ne!(one, two);
    }
}
