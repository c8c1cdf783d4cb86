//! The client of this package, doing what the programs of the other languages do (see
//! [`crate::clients`]), without a process of its own.

use std::sync::mpsc::{Sender, channel};

use rocketmq::client::config::ConsumeFromWhere;
use rocketmq::client::subscription::Filter;
use rocketmq::client::{
    ConsumeResult, ConsumerOptions, ProducerOptions, PushConsumer, SendResult, SendStatus,
};
use rocketmq::common::message::Message;
use sha2::{Digest, Sha256};

use crate::clients::{Got, Sent};
use crate::matrix::LONG;

const TAPE_CHARS: usize = 349_526;
/// Asynchronous sends on their way at a time.
const ASYNC_WINDOW: usize = 64;
const TAGS: [&str; 5] = ["a", "b", "标签", "d", "ü"];
const SEED: u32 = 7;

/// Sends `count` messages: waited for, asynchronous and oneway in turn.
pub fn produce(namesrv: &str, topic: &str, group: &str, count: u32) -> Vec<Sent> {
    let mut options = ProducerOptions::new(group).name_servers(namesrv);
    (options.retries, options.async_retries) = (0, 0);
    (options.send_timeout, options.client.api_timeout) = (LONG, LONG);
    let producer = options.start().unwrap_or_else(|error| panic!("start: {error}"));
    let tape = tape(SEED);
    let (to, outcomes) = channel::<Sent>();
    let (mut sent, mut waiting) = (Vec::new(), 0);
    for i in 0..count {
        let key = format!("{SEED}-{i}");
        let body = body(&tape, i as usize);
        let digest = digest(&body);
        let message = Message::new(topic, body)
            .with_tag(TAGS[i as usize % TAGS.len()])
            .with_keys(&key)
            .with_property("地区", format!("上海 {i}"));
        // The last one is waited for, so that on the same connection the oneway ones are out.
        match if i == count - 1 { 0 } else { i % 3 } {
            0 => {
                let result = producer.send(&message);
                sent.push(stored(&key, &digest, &result.unwrap_or_else(|e| panic!("{key}: {e}"))));
            }
            1 => {
                let (to, told_key) = (to.clone(), key.clone());
                let started = producer.send_async(&message, move |result| match result {
                    Ok(result) => drop(to.send(stored(&told_key, &digest, &result))),
                    Err(error) => eprintln!("{told_key}: {error}"),
                });
                started.unwrap_or_else(|error| panic!("{key}: {error}"));
                waiting += 1;
            }
            _ => {
                producer.send_oneway(&message).unwrap_or_else(|error| panic!("{key}: {error}"));
                sent.push(Sent { id: None, key, queue: None, offset: None, body: digest });
            }
        }
        while waiting >= ASYNC_WINDOW || (waiting > 0 && i == count - 1) {
            let outcome = outcomes.recv_timeout(LONG);
            sent.push(outcome.unwrap_or_else(|why| panic!("an asynchronous send: {why}")));
            waiting -= 1;
        }
    }
    producer.shutdown();
    sent
}

fn stored(key: &str, digest: &str, result: &SendResult) -> Sent {
    assert_eq!(result.status, SendStatus::Ok, "{key}");
    Sent {
        id: Some(result.message_id.clone()),
        key: key.to_owned(),
        queue: Some(result.queue.queue_id.to_string()),
        offset: Some(result.queue_offset.to_string()),
        body: digest.to_owned(),
    }
}

/// Starts a push consumer whose deliveries go to `to`.
pub fn consume(
    [namesrv, topic, group]: [&str; 3],
    filter: Filter,
    member: usize,
    to: Sender<Got>,
) -> PushConsumer {
    let mut options = ConsumerOptions::new(group).name_servers(namesrv).subscribe(topic, filter);
    options.consume_from = ConsumeFromWhere::FirstOffset;
    let started = options.start_concurrent(move |messages, _context| {
        for message in messages {
            let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
            // Nobody listens any more when the test has failed.
            let _ = to.send(Got {
                member,
                id: message.message_id(),
                key: text(message.keys()),
                tag: text(message.tag()),
                property: text(message.property("地区")),
                queue: message.facts().queue_id.to_string(),
                offset: message.facts().queue_offset.to_string(),
                reconsumed: message.reconsume_times() as u32,
                body: digest(message.body()),
            });
        }
        ConsumeResult::Success
    });
    started.unwrap_or_else(|error| panic!("{group}: {error}"))
}

fn tape(mut state: u32) -> Vec<char> {
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_u32(0x4e00 + (state >> 16) % 20_000).unwrap_or('x')
    };
    (0..TAPE_CHARS).map(|_| next()).collect()
}

fn body(tape: &[char], i: usize) -> Vec<u8> {
    let bytes = match i {
        _ if i % 1000 == 7 => 1 << 20,
        _ if i % 100 == 13 => 1 + i * 7919 % 65_536,
        _ if i % 10 == 3 => 1 + i * 104_729 % 8192,
        _ => 1 + i * 31 % 512,
    };
    let (mut body, rest) =
        if bytes >= 6 { ("é😀".to_owned(), bytes - 6) } else { (String::new(), bytes) };
    let chars = rest / 3;
    let from = i * 31 % (TAPE_CHARS - chars + 1);
    body.extend(&tape[from..from + chars]);
    body.push_str(&"xx"[..rest % 3]);
    body.into_bytes()
}

/// Length and SHA-256.
fn digest(body: &[u8]) -> String {
    let hex: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} {hex}", body.len())
}
