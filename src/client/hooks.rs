//! [`Hook`]: what looks on while a client sends and consumes: message traces, metrics, a policy that
//! forbids. A [`Hook`] sees messages; an [`Interceptor`](super::config::Interceptor) sees requests.
//!
//! A hook is told before something happens, and returns what is to run after it: whatever the second
//! half needs to know of the first, it captures.
//!
//! ```
//! use rocketmq::client::hooks::{AfterSend, Hook, SendAttempt};
//! use std::time::Instant;
//!
//! /// Prints how long each attempt of a send took.
//! struct Stopwatch;
//!
//! impl Hook for Stopwatch {
//!     fn send(&self, attempt: &SendAttempt<'_>) -> Option<AfterSend> {
//!         let (began, id) = (Instant::now(), attempt.message_id.to_owned());
//!         Some(Box::new(move |outcome| {
//!             println!("{id}: {:?}, {:?}", outcome.map(Result::is_ok), began.elapsed());
//!         }))
//!     }
//! }
//! ```
//!
//! Panics of hooks are logged and change nothing.

use std::sync::Arc;
use std::time::Duration;

use super::error::ClientError;
use super::message::ReceivedMessage;
use super::sender::SendResult;
use super::transaction::TransactionState;
use crate::common::properties;
use crate::common::sync::catch_panic;
use crate::remoting::protocol::bodies::MessageQueue;

/// Runs when an attempt of a send has ended; `None` stands for a oneway send, whose end nobody knows.
pub type AfterSend = Box<dyn FnOnce(Option<&Result<SendResult, ClientError>>) + Send>;
/// Runs when the listener has returned, or a poll has handed messages out.
pub type AfterConsume = Box<dyn FnOnce(&Consumed) + Send>;

/// Looks on. Every method has a default that does nothing.
pub trait Hook: Send + Sync {
    /// Before each attempt of a send, before [`send`](Self::send): an error forbids it, and is what
    /// the caller is told.
    fn may_send(&self, _attempt: &SendAttempt<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Before each attempt of a send. On the thread that sends.
    fn send(&self, _attempt: &SendAttempt<'_>) -> Option<AfterSend> {
        None
    }

    /// Before a broker is told how a transaction ended.
    fn end_transaction(&self, _end: &TransactionEnd<'_>) {}

    /// After each pull: may remove messages, which then count as consumed.
    fn filter(&self, _group: &str, _messages: &mut Vec<ReceivedMessage>) {}

    /// Before the listener is called, or a poll hands messages out.
    fn consume(&self, _call: &ConsumeCall<'_>) -> Option<AfterConsume> {
        None
    }
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendMode {
    /// The caller waits.
    Sync,
    /// The outcome comes later.
    Async,
    /// Nobody learns the outcome.
    Oneway,
}

/// What a message is to the broker. The numbers are those of message traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// Visible at once.
    Normal = 0,
    /// The half message of a transaction.
    Half = 1,
    /// The end of a transaction.
    Commit = 2,
    /// Visible later.
    Delay = 3,
}

/// One attempt to send a message, or a batch.
#[derive(Clone, Debug)]
pub struct SendAttempt<'a> {
    /// Producer group, with its namespace.
    pub group: &'a str,
    /// Where to, with the namespace of the topic.
    pub queue: &'a MessageQueue,
    /// Address of the broker.
    pub broker_addr: &'a str,
    /// Unique key; of a batch, the keys joined with `,`.
    pub message_id: &'a str,
    /// All properties in their string form; of a batch, those that its messages share.
    pub properties: &'a str,
    /// Bytes of the body as it is sent, compressed if it is.
    pub body_bytes: usize,
    /// What it is.
    pub kind: MessageKind,
    /// How it is sent.
    pub mode: SendMode,
}

impl SendAttempt<'_> {
    /// One property.
    pub fn property(&self, name: &str) -> Option<&str> {
        properties::find(self.properties, name)
    }
}

/// What the properties of a message say of its kind.
pub(crate) fn kind_of(text: &str) -> MessageKind {
    let has = |name| properties::find(text, name).is_some();
    if has(properties::START_DELIVER_TIME) || has(properties::DELAY) {
        MessageKind::Delay
    } else if properties::find(text, properties::TRANSACTION_PREPARED) == Some("true") {
        MessageKind::Half
    } else {
        MessageKind::Normal
    }
}

/// The end of a transaction, as a broker is about to be told.
#[derive(Clone, Debug)]
pub struct TransactionEnd<'a> {
    /// Producer group, with its namespace.
    pub group: &'a str,
    /// Address of the broker.
    pub broker_addr: &'a str,
    /// Topic, without namespace.
    pub topic: &'a str,
    /// All properties of the half message in their string form.
    pub properties: &'a str,
    /// Unique key of the half message.
    pub message_id: &'a str,
    /// Transaction id: the unique key, unless the broker gave another.
    pub transaction_id: &'a str,
    /// How it ended.
    pub state: TransactionState,
    /// The broker had asked.
    pub from_check: bool,
}

/// Messages on their way to the application.
#[derive(Clone, Debug)]
pub struct ConsumeCall<'a> {
    /// Consumer group, with its namespace.
    pub group: &'a str,
    /// The queue that they came from, as on the wire.
    pub queue: &'a MessageQueue,
    /// The messages.
    pub messages: &'a [ReceivedMessage],
}

/// What became of a call of the listener. The numbers are those of message traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConsumeOutcome {
    /// It returned, and not with a failure.
    Success = 0,
    /// It took longer than `consume_timeout`, whatever it returned.
    TimeOut = 1,
    /// It panicked.
    Exception = 2,
    /// It wants the messages again.
    Failed = 4,
}

/// A call of the listener that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Consumed {
    /// What became of it.
    pub outcome: ConsumeOutcome,
    /// Whether the messages count as consumed.
    pub success: bool,
    /// How long it took.
    pub elapsed: Duration,
}

impl Consumed {
    /// From what the listener said (`None`: it panicked, else whether it was a success), and its
    /// limit.
    pub(crate) fn new(said: Option<bool>, elapsed: Duration, limit: Duration) -> Self {
        let outcome = match said {
            None => ConsumeOutcome::Exception,
            Some(_) if elapsed >= limit => ConsumeOutcome::TimeOut,
            Some(false) => ConsumeOutcome::Failed,
            Some(true) => ConsumeOutcome::Success,
        };
        Self { outcome, success: said.unwrap_or(false), elapsed }
    }
}

/// The hooks of a client, in the order in which they are told.
///
/// ```
/// use rocketmq::client::hooks::{
///     AfterConsume, ConsumeCall, ConsumeOutcome, Consumed, Hook, MessageKind, SendAttempt, SendMode,
///     TransactionEnd,
/// };
/// use rocketmq::client::{ProducerOptions, TransactionState};
/// use std::sync::Arc;
///
/// struct Watch;
///
/// impl Hook for Watch {
///     fn may_send(&self, attempt: &SendAttempt<'_>) -> Result<(), String> {
///         let transaction = attempt.kind == MessageKind::Half;
///         match transaction && attempt.mode == SendMode::Oneway {
///             true => Err("nobody would learn what became of it".to_owned()),
///             false => Ok(()),
///         }
///     }
///
///     fn end_transaction(&self, end: &TransactionEnd<'_>) {
///         if end.state == TransactionState::Rollback {
///             println!("{} is rolled back", end.message_id);
///         }
///     }
///
///     fn consume(&self, call: &ConsumeCall<'_>) -> Option<AfterConsume> {
///         let count = call.messages.len();
///         Some(Box::new(move |done: &Consumed| {
///             if done.outcome == ConsumeOutcome::TimeOut {
///                 println!("{count} messages took {:?}", done.elapsed);
///             }
///         }))
///     }
/// }
///
/// let options = ProducerOptions::new("shop").hook(Arc::new(Watch));
/// assert_eq!(options.client.hooks.0.len(), 1);
/// ```
#[derive(Clone, Default)]
pub struct Hooks(pub Vec<Arc<dyn Hook>>);

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} hooks", self.0.len())
    }
}

impl Hooks {
    /// No hook: nothing has to be prepared for any.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks whether an attempt may be made, then tells of it.
    pub(crate) fn send(&self, attempt: &SendAttempt<'_>) -> Result<Vec<AfterSend>, ClientError> {
        for hook in &self.0 {
            if let Some(Err(why)) = catch_panic("a hook", || hook.may_send(attempt)) {
                return Err(ClientError::Invalid(format!("a hook forbids the send: {why}")));
            }
        }
        let told = |hook: &Arc<dyn Hook>| catch_panic("a hook", || hook.send(attempt)).flatten();
        Ok(self.0.iter().filter_map(told).collect())
    }

    pub(crate) fn end_transaction(&self, end: &TransactionEnd<'_>) {
        for hook in &self.0 {
            catch_panic("a hook", || hook.end_transaction(end));
        }
    }

    pub(crate) fn filter(&self, group: &str, messages: &mut Vec<ReceivedMessage>) {
        for hook in &self.0 {
            catch_panic("a hook", || hook.filter(group, messages));
        }
    }

    pub(crate) fn consume(&self, call: &ConsumeCall<'_>) -> Vec<AfterConsume> {
        let told = |hook: &Arc<dyn Hook>| catch_panic("a hook", || hook.consume(call)).flatten();
        self.0.iter().filter_map(told).collect()
    }
}

/// Tells the second halves how an attempt ended.
pub(crate) fn sent(after: Vec<AfterSend>, outcome: Option<&Result<SendResult, ClientError>>) {
    for told in after {
        catch_panic("a hook", || told(outcome));
    }
}

/// Tells the second halves how a call of the listener ended.
pub(crate) fn consumed(after: Vec<AfterConsume>, consumed: &Consumed) {
    for told in after {
        catch_panic("a hook", || told(consumed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_messages() {
        assert_eq!(kind_of("TAGS\u{1}a"), MessageKind::Normal);
        assert_eq!(kind_of("TRAN_MSG\u{1}true"), MessageKind::Half);
        assert_eq!(kind_of("TRAN_MSG\u{1}true\u{2}DELAY\u{1}1"), MessageKind::Delay);
        assert_eq!(kind_of("__STARTDELIVERTIME\u{1}1"), MessageKind::Delay);
    }

    #[test]
    fn outcomes_of_listeners() {
        let (short, limit) = (Duration::from_millis(1), Duration::from_secs(1));
        let outcome = |said, elapsed| Consumed::new(said, elapsed, limit).outcome;
        assert_eq!(outcome(Some(true), short), ConsumeOutcome::Success);
        assert_eq!(outcome(Some(false), short), ConsumeOutcome::Failed);
        assert_eq!(outcome(Some(true), limit), ConsumeOutcome::TimeOut);
        assert_eq!(outcome(None, limit), ConsumeOutcome::Exception);
    }

    #[test]
    fn a_hook_that_panics_or_forbids() {
        struct Panics;
        impl Hook for Panics {
            fn send(&self, _: &SendAttempt<'_>) -> Option<AfterSend> {
                panic!("a test")
            }
        }
        struct Forbids;
        impl Hook for Forbids {
            fn may_send(&self, attempt: &SendAttempt<'_>) -> Result<(), String> {
                Err(format!("not to {}", attempt.queue.topic))
            }
        }
        let queue = MessageQueue { topic: "T".into(), ..MessageQueue::default() };
        let attempt = SendAttempt {
            group: "g",
            queue: &queue,
            broker_addr: "a:1",
            message_id: "id",
            properties: "TAGS\u{1}a",
            body_bytes: 1,
            kind: MessageKind::Normal,
            mode: SendMode::Sync,
        };
        assert_eq!(attempt.property("TAGS"), Some("a"));
        assert!(Hooks(vec![Arc::new(Panics)]).send(&attempt).is_ok_and(|after| after.is_empty()));
        let error = Hooks(vec![Arc::new(Panics), Arc::new(Forbids)]).send(&attempt).err();
        assert!(error.is_some_and(|error| error.to_string().contains("not to T")));
    }
}
