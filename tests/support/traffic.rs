//! A bit of everything that ends up in a commit log: plain messages, delayed ones, transactions that
//! are committed, rolled back or left open.

use std::time::Duration;

use super::until;
use super::wire::{Wire, borrowed, code, send_fields};

/// Queues of each topic.
pub const QUEUES: i32 = 4;
/// Topics of plain, delayed and transactional messages.
pub const TOPICS: [&str; 3] = [PLAIN, DELAYED, TX];
const PLAIN: &str = "Plain";
const DELAYED: &str = "Delayed";
const TX: &str = "Tx";
/// Plain messages in flight.
const WINDOW: usize = 64;
/// sysFlag of a half message.
const PREPARED: &str = "4";
/// commitOrRollback of END_TRANSACTION.
const COMMIT: &str = "8";
const ROLLBACK: &str = "12";

/// What was sent so far, and what must come of it.
#[derive(Debug, Default)]
pub struct Traffic {
    made: u32,
    expected: [i64; 3],
}

impl Traffic {
    /// Creates the topics.
    pub fn create_topics(&self, wire: &mut Wire) {
        for topic in TOPICS {
            wire.create_topic(topic, QUEUES);
        }
    }

    /// Sends `plain` plain messages of up to `most` bytes, and a few of each other kind. Every one
    /// must be acknowledged with SEND_OK.
    pub fn send(&mut self, wire: &mut Wire, plain: u32, most: usize) {
        for burst in (0..plain).collect::<Vec<_>>().chunks(WINDOW) {
            for _ in burst {
                let (queue, fields, body) = self.message(PLAIN, most);
                wire.send(code::SEND, &borrowed(&fields), &body)
                    .unwrap_or_else(|error| panic!("a send to {PLAIN}/{queue}: {error}"));
            }
            for _ in burst {
                let reply = wire.receive().unwrap_or_else(|error| panic!("an answer: {error}"));
                assert_eq!(reply.code(), 0, "{}", reply.header);
                self.expected[0] += 1;
            }
        }
        for level in [1, 1, 2, 1, 2, 1] {
            let (_, mut fields, body) = self.message(DELAYED, 500);
            fields[8].1.push_str(&format!("\u{2}DELAY\u{1}{level}"));
            wire.must(code::SEND, &borrowed(&fields), &body);
            self.expected[1] += 1;
        }
        for end in [COMMIT, ROLLBACK, COMMIT, ""] {
            self.transaction(wire, end);
        }
    }

    fn message(&mut self, topic: &str, most: usize) -> (i32, Vec<(&'static str, String)>, Vec<u8>) {
        let number = self.made;
        self.made += 1;
        let queue = number as i32 % QUEUES;
        let fields = send_fields(topic, queue, &format!("traffic-{number}"));
        let bytes = 1 + (number as usize).wrapping_mul(7919) % most;
        let body = (0..bytes).map(|at| (at as u32 ^ number).wrapping_mul(31) as u8).collect();
        (queue, fields, body)
    }

    fn transaction(&mut self, wire: &mut Wire, end: &str) {
        let (_, mut fields, body) = self.message(TX, 300);
        fields[5].1 = PREPARED.to_owned();
        fields[8].1.push_str("\u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}wire");
        let half = wire.must(code::SEND, &borrowed(&fields), &body);
        if end.is_empty() {
            return;
        }
        let text = |name: &str| half.text(name).unwrap_or_else(|| panic!("{}", half.header));
        let message_id = text("msgId");
        let offset = i64::from_str_radix(&message_id[message_id.len() - 16..], 16);
        let offset = offset.unwrap_or_else(|error| panic!("{message_id}: {error}"));
        let fields = [
            ("producerGroup", "wire"),
            ("tranStateTableOffset", &text("queueOffset")),
            ("commitLogOffset", &offset.to_string()),
            ("commitOrRollback", end),
            ("fromTransactionCheck", "false"),
            ("msgId", &format!("traffic-{}", self.made - 1)),
            ("transactionId", &format!("traffic-{}", self.made - 1)),
        ];
        wire.must(code::END_TRANSACTION, &fields, b"");
        self.expected[2] += i64::from(end == COMMIT);
    }

    /// Waits until everything is where its consumers look, once: delayed messages delivered, committed
    /// ones in their topic.
    pub fn wait_for_delivery(&self, wire: &mut Wire) {
        self.wait_until_delivered(wire, false);
    }

    /// The same after a master died: how far it had delivered may be known a moment less far, and what
    /// was delivered in that moment is delivered again.
    pub fn wait_for_delivery_after_a_crash(&self, wire: &mut Wire) {
        self.wait_until_delivered(wire, true);
    }

    fn wait_until_delivered(&self, wire: &mut Wire, crashed: bool) {
        for (topic, expected) in TOPICS.into_iter().zip(self.expected) {
            let may_be_more = crashed && topic == DELAYED;
            until(&format!("{expected} messages in {topic}"), Duration::from_secs(60), || {
                let sum: i64 = (0..QUEUES).map(|queue| wire.max_offset(topic, queue)).sum();
                let too_many = sum > expected && !may_be_more;
                assert!(!too_many, "{sum} messages in {topic}, {expected} are expected");
                (sum >= expected).then_some(())
            });
        }
    }
}
