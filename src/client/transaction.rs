//! [`TransactionProducer`]: a message that becomes visible only if a local transaction commits.
//!
//! The half message is sent first and hidden by the broker; then the local transaction runs; then
//! the broker is told to commit or to roll back. If that word is lost the broker asks any producer
//! of the group, and the checker answers from the state of the application.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::config::ProducerOptions;
use super::error::ClientError;
use super::hooks::TransactionEnd;
use super::message::ReceivedMessage;
use super::producer::{Producer, ProducerInner};
use super::sender::{SendResult, SendStatus};
use crate::common::message::Message;
use crate::common::message_id::MessageId;
use crate::common::sync::{catch_panic, lock};
use crate::common::thread_pool::ThreadPool;
use crate::common::{properties, sys_flag};
use crate::remoting::Command;
use crate::remoting::connection::Connection;
use crate::remoting::protocol::headers::{
    CheckTransactionStateRequestHeader, EndTransactionRequestHeader,
};
use crate::remoting::protocol::request_code;

/// How long a shutdown waits for a check that runs.
const CHECK_STOP: Duration = Duration::from_secs(3);

/// What became of a local transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionState {
    /// Make the message visible.
    Commit,
    /// Discard the message.
    Rollback,
    /// Not decided; the broker asks later.
    Unknown,
}

impl TransactionState {
    fn flag(self) -> i32 {
        match self {
            Self::Commit => sys_flag::TRANSACTION_COMMIT,
            Self::Rollback => sys_flag::TRANSACTION_ROLLBACK,
            Self::Unknown => sys_flag::TRANSACTION_NOT,
        }
    }
}

type CheckFn = dyn Fn(&ReceivedMessage) -> TransactionState + Send + Sync;

/// Answers the broker's questions about half messages.
pub(crate) struct Checker {
    check: Arc<CheckFn>,
    pool: Mutex<Option<Arc<ThreadPool>>>,
}

impl Checker {
    fn new(check: Arc<CheckFn>, options: &ProducerOptions) -> Self {
        let pool = ThreadPool::new("TransCheck_", options.check_threads, options.check_queue);
        Self { check, pool: Mutex::new(Some(pool)) }
    }

    pub fn submit(
        &self,
        producer: &Arc<ProducerInner>,
        connection: &Arc<Connection>,
        header: CheckTransactionStateRequestHeader,
        message: ReceivedMessage,
    ) {
        let (check, connection) = (Arc::clone(&self.check), Arc::clone(connection));
        let producer = Arc::downgrade(producer);
        let task = Box::new(move || {
            let state = catch_panic("transaction checker", || check(&message));
            let Some(producer) = producer.upgrade() else { return };
            let end = EndTransactionRequestHeader {
                producer_group: producer.sender.options.group.clone(),
                tran_state_table_offset: header.tran_state_table_offset,
                commit_log_offset: header.commit_log_offset,
                commit_or_rollback: state.unwrap_or(TransactionState::Unknown).flag(),
                from_transaction_check: true,
                msg_id: message.message_id(),
                transaction_id: header.transaction_id,
                broker_name: header.broker_name,
            };
            let mut request = Command::request(request_code::END_TRANSACTION).with_header(&end);
            if state.is_none() {
                request.remark = Some("the transaction checker panicked".into());
            }
            let addr = connection.peer_addr().to_string();
            let instance = &producer.sender.instance;
            producer.sender.options.client.hooks.end_transaction(&TransactionEnd {
                group: &end.producer_group,
                broker_addr: &addr,
                topic: message.topic(),
                properties: message.properties_text(),
                message_id: &end.msg_id,
                transaction_id: end.transaction_id.as_deref().unwrap_or(&end.msg_id),
                state: state.unwrap_or(TransactionState::Unknown),
                from_check: true,
            });
            if let Err(error) = instance.oneway(&addr, request, Duration::from_secs(3)) {
                log::warn!("the answer to a transaction check did not reach {addr}: {error}");
            }
        });
        let pool = lock(&self.pool).clone();
        if pool.is_none_or(|pool| pool.submit(task).is_err()) {
            log::warn!("a transaction check is dropped: too many wait; the broker asks again");
        }
    }

    pub fn stop(&self) {
        if let Some(pool) = lock(&self.pool).take() {
            pool.stop(CHECK_STOP);
        }
    }
}

/// The outcome of a send in a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionResult {
    /// Of the half message.
    pub send: SendResult,
    /// Of the local transaction; roll-back if the half message was not stored well.
    pub state: TransactionState,
}

/// A producer of transactional messages; an ordinary one too.
///
/// ```
/// use rocketmq::client::{Message, ProducerOptions, TransactionState};
/// # let site = rocketmq::Standalone::temporary()?;
/// # let names = site.name_servers();
///
/// let producer = ProducerOptions::new("payments")
///     .name_servers(names)
///     // Asked by a broker that does not know how the transaction ended.
///     .start_transactional(|message| match message.keys() {
///         Some(_) => TransactionState::Commit,
///         None => TransactionState::Rollback,
///     })?;
/// producer.send_in_transaction(&Message::new("Payments", "42"), |transaction_id| {
///     println!("the local transaction {transaction_id} runs here");
///     TransactionState::Commit
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TransactionProducer {
    producer: Producer,
}

impl std::fmt::Debug for TransactionProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionProducer").field("producer", &self.producer).finish()
    }
}

impl std::ops::Deref for TransactionProducer {
    type Target = Producer;

    fn deref(&self) -> &Producer {
        &self.producer
    }
}

impl ProducerOptions {
    /// Starts a producer of transactional messages; `check` tells how a transaction ended that a
    /// broker asks about, possibly one of another process of the group.
    pub fn start_transactional(
        self,
        check: impl Fn(&ReceivedMessage) -> TransactionState + Send + Sync + 'static,
    ) -> Result<TransactionProducer, ClientError> {
        let checker = Checker::new(Arc::new(check), &self);
        let producer = Producer::start(self, Some(checker))?;
        // Brokers ask only whom they know: they are told with the first heartbeat after the first
        // send, and again every 30 s.
        Ok(TransactionProducer { producer })
    }
}

impl TransactionProducer {
    /// Sends a half message, runs the local transaction, and tells the broker its outcome. A
    /// delay level is removed: half messages have none. If the half message fails there is an
    /// error, and `execute` does not run; nor does it when the half message was stored, but not
    /// flushed or replicated in time: then it is rolled back. A panic in `execute` counts as
    /// undecided. `execute` gets the transaction id, which is the unique key.
    pub fn send_in_transaction(
        &self,
        message: &Message,
        execute: impl FnOnce(&str) -> TransactionState,
    ) -> Result<TransactionResult, ClientError> {
        let inner = self.producer.inner();
        let sender = inner.sender()?;
        let mut half = message.clone();
        half.properties.remove(properties::DELAY);
        half.properties.set(properties::TRANSACTION_PREPARED, "true");
        half.properties.set(properties::PRODUCER_GROUP, sender.options.group.as_str());
        let send = self.producer.send(&half)?;
        sender.instance.introduce(&send.queue.broker_name);
        let mut remark = None;
        let state = if send.status == SendStatus::Ok {
            catch_panic("local transaction", || execute(&send.message_id)).unwrap_or_else(|| {
                remark = Some("the local transaction panicked".to_owned());
                TransactionState::Unknown
            })
        } else {
            TransactionState::Rollback
        };
        if let Err(error) = self.end(&half, &send, state, remark) {
            log::warn!(
                "the end of the transaction {} did not reach the broker, which will ask: {error}",
                send.message_id
            );
        }
        Ok(TransactionResult { send, state })
    }

    fn end(
        &self,
        message: &Message,
        send: &SendResult,
        state: TransactionState,
        remark: Option<String>,
    ) -> Result<(), ClientError> {
        let sender = self.producer.inner().sender()?;
        let half: MessageId = send.offset_message_id.parse().map_err(|reason| {
            ClientError::Decode { addr: send.queue.broker_name.clone(), reason }
        })?;
        let wire = sender.options.client.namespace.wrap_queue(&send.queue);
        let addr = sender.instance.master(&wire.broker_name, &wire.topic)?;
        let hooks = &sender.options.client.hooks;
        if !hooks.is_empty() {
            hooks.end_transaction(&TransactionEnd {
                group: &sender.options.group,
                broker_addr: &addr,
                topic: &message.topic,
                properties: &message.properties.encode(),
                message_id: &send.message_id,
                transaction_id: send.transaction_id.as_deref().unwrap_or(&send.message_id),
                state,
                from_check: false,
            });
        }
        let header = EndTransactionRequestHeader {
            producer_group: sender.options.group.clone(),
            tran_state_table_offset: send.queue_offset,
            commit_log_offset: half.offset,
            commit_or_rollback: state.flag(),
            from_transaction_check: false,
            msg_id: send.message_id.clone(),
            transaction_id: send.transaction_id.clone(),
            broker_name: Some(send.queue.broker_name.clone()),
        };
        let mut request = Command::request(request_code::END_TRANSACTION).with_header(&header);
        request.remark = remark;
        sender.instance.oneway(&addr, request, sender.options.send_timeout)
    }
}
