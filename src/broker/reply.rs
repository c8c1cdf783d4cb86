//! SEND_REPLY_MESSAGE (324, 325): the answer of a request-reply exchange. It is pushed to the client
//! that waits for it (PUSH_REPLY_MESSAGE_TO_CLIENT, 326), and stored besides.
//!
//! No thread waits for the client: the response is given when its answer, or the timeout, comes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::config::BrokerConfig;
use super::put_message::{self, Wishes};
use super::send::{
    Failure, is_stored, new_response, offset_message_ids, random_queue, writable_topic,
};
use super::{Answer, Broker, timed};
use crate::common::clock::now_ms;
use crate::common::properties::{PUSH_REPLY_TIME, REPLY_TO_CLIENT, find as find_property};
use crate::common::record::RecordFields;
use crate::remoting::connection::ReplyTo;
use crate::remoting::protocol::headers::ReplyMessageRequestHeader;
use crate::remoting::protocol::request_code::PUSH_REPLY_MESSAGE_TO_CLIENT;
use crate::remoting::protocol::response_code as code;
use crate::remoting::protocol::send_header::SendHeader;
use crate::remoting::{Command, Connection, RemotingError};
use crate::store::message::{NewMessage, PutOutcome, PutResult};

/// How long the client may take to accept the reply.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers a reply message.
pub fn process(broker: &Arc<Broker>, connection: &Arc<Connection>, request: Command) -> Answer {
    let config = broker.config.get();
    let header = SendHeader::read(&request)?;
    let queue_id = match check(broker, &config, &header, connection) {
        Ok(queue_id) => queue_id,
        Err(Failure::Refused(refusal)) => {
            let mut response = new_response(&config);
            refusal.write(&mut response);
            return Ok(Some(response));
        }
        Err(Failure::Malformed(problem)) => return Err(problem.into()),
    };
    let born_host = connection.peer_addr();
    let push = push_request(broker, &request, &header, queue_id, born_host);
    let exchange = Arc::new(Exchange {
        broker: Arc::clone(broker),
        reply: ReplyTo::new(connection, &request),
        request,
        queue_id,
        born_host,
    });
    let not_sent = match push {
        Err(problem) => problem,
        Ok((client, push)) => {
            let answered = Arc::clone(&exchange);
            let done = move |answer| answered.finish(is_accepted(answer));
            match client.call_async(push, PUSH_TIMEOUT, done) {
                Ok(()) => return Ok(None),
                // Then `done` has not run and never will.
                Err(error) => error.to_string(),
            }
        }
    };
    exchange.finish(Err(not_sent));
    Ok(None)
}

/// Whether the client took the reply; the error says why not.
fn is_accepted(answer: Result<Command, RemotingError>) -> Result<(), String> {
    match answer {
        Ok(answer) if answer.code == code::SUCCESS => Ok(()),
        Ok(answer) => {
            let remark = answer.remark.unwrap_or_default();
            Err(format!("the client refused the reply: code {} {remark}", answer.code))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn check(
    broker: &Broker,
    config: &BrokerConfig,
    header: &SendHeader<'_>,
    connection: &Connection,
) -> Result<i32, Failure> {
    let rules = writable_topic(broker, config, header, connection)?;
    if header.queue_id >= 0 {
        return Ok(header.queue_id);
    }
    random_queue(rules.write_queues)
        .ok_or_else(|| Failure::Malformed("the topic has no queue to write to".to_owned()))
}

/// The client that waits, and the request that brings it the reply; or why there is none.
fn push_request(
    broker: &Broker,
    request: &Command,
    header: &SendHeader<'_>,
    queue_id: i32,
    born_host: SocketAddr,
) -> Result<(Arc<Connection>, Command), String> {
    let client_id = find_property(header.properties, REPLY_TO_CLIENT).ok_or_else(|| {
        format!("the property {REPLY_TO_CLIENT}, which names the client that waits, is missing")
    })?;
    let client = broker
        .producers
        .by_client_id(client_id)
        .ok_or_else(|| format!("channel of <{client_id}> not found."))?;
    let now = now_ms();
    let time = now.to_string();
    let pushed = ReplyMessageRequestHeader {
        producer_group: header.producer_group.to_owned(),
        topic: header.topic.to_owned(),
        default_topic: header.default_topic.unwrap_or_default().to_owned(),
        default_topic_queue_nums: header.default_topic_queue_nums.unwrap_or(0),
        queue_id,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        flag: header.flag,
        properties: Some(put_message::rewrite(header.properties, &[], &[(PUSH_REPLY_TIME, &time)])),
        reconsume_times: Some(header.reconsume_times),
        unit_mode: Some(header.unit_mode),
        born_host: born_host.to_string(),
        store_host: broker.store_host.to_string(),
        store_timestamp: now,
    };
    let push = Command::request(PUSH_REPLY_MESSAGE_TO_CLIENT)
        .with_header(&pushed)
        .with_body(request.body.as_bytes().to_vec());
    Ok((Arc::clone(&client.connection), push))
}

/// A reply on its way: to the client, into the store, and the answer to its sender.
struct Exchange {
    broker: Arc<Broker>,
    request: Command,
    reply: ReplyTo,
    queue_id: i32,
    born_host: SocketAddr,
}

impl Exchange {
    /// The push is over. Whether it worked decides the code of the answer; a stored copy fills its
    /// header, even when the push did not work.
    fn finish(self: Arc<Self>, pushed: Result<(), String>) {
        let config = self.broker.config.get();
        let mut response = new_response(&config);
        let success = pushed.is_ok();
        if let Err(problem) = pushed {
            log::warn!("a reply could not be pushed: {problem}");
            response.code = code::SYSTEM_ERROR;
            response.remark = Some(format!("push reply message fail, {problem}"));
        }
        let stored = config.store_reply_message_enable.then(|| self.store()).flatten();
        match stored {
            None => self.answer(response, success, None),
            Some(PutOutcome::Done(result)) => self.answer(response, success, Some(&result)),
            Some(PutOutcome::Pending(pending)) => {
                pending.on_complete(move |result| self.answer(response, success, Some(&result)))
            }
        }
    }

    /// Stores the reply, with its properties exactly as they came.
    fn store(&self) -> Option<PutOutcome> {
        let header = SendHeader::read(&self.request).ok()?;
        let wishes = Wishes::of(header.properties);
        let waiting = timed::waiting_again(&self.broker, &wishes, 0);
        let placed = waiting.map_err(|refusal| refusal.remark).and_then(|waiting| {
            let text = header.properties;
            put_message::place_again(header.topic, self.queue_id, 0, text, &wishes, waiting)
        });
        let placed = placed
            .inspect_err(|problem| log::warn!("a reply could not be stored: {problem}"))
            .ok()?;
        let message = NewMessage {
            record: RecordFields {
                topic: &placed.topic,
                queue_id: placed.queue_id,
                flag: header.flag,
                sys_flag: placed.sys_flag,
                born_timestamp: header.born_timestamp,
                born_host: self.born_host,
                store_host: self.broker.store_host,
                reconsume_times: header.reconsume_times,
                prepared_transaction_offset: 0,
                body: self.request.body.as_bytes(),
                properties: &placed.properties,
            },
            wait_store: Wishes::of(header.properties).waits(),
        };
        Some(self.broker.store.put(&message))
    }

    /// Completes and sends the answer. That the copy could not be stored is logged only: the reply
    /// itself has reached its client, or has not.
    fn answer(&self, mut response: Command, pushed: bool, put: Option<&PutResult>) {
        let topic = SendHeader::read(&self.request).map_or("", |header| header.topic);
        let (id, offset) = match put {
            Some(result) if is_stored(result.status) => {
                let stats = &self.broker.stats;
                stats.put(topic, self.queue_id, result.messages, result.wrote_bytes);
                (offset_message_ids(&self.broker, result), result.queue_offset)
            }
            put => {
                if let Some(result) = put {
                    log::warn!("a reply for {topic} is not stored: {}", result.status.name());
                }
                ("0".to_owned(), 0)
            }
        };
        if pushed || id != "0" {
            response.fields.push_str("msgId", &id);
            response.fields.push("queueId", self.queue_id);
            response.fields.push("queueOffset", offset);
        }
        self.reply.send(response);
    }
}
