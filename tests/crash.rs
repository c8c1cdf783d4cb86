//! `kill -9` of a broker under load, again and again: what was acknowledged is there, at the offset
//! that was told; no queue has a hole; nothing is there that nobody sent; nothing is there twice.
//!
//! The commit log's segments are small, so that rounds end near rolls. Every few rounds the broker
//! is killed again while it recovers. `ROCKETMQ_CRASH_ROUNDS` sets the number of rounds.

mod support;

use std::path::Path;
use std::time::Duration;

use support::java_peer::Servers;
use support::ledger::{Book, Load, Sending};
use support::servers::Server;
use support::{TempDir, free_port};

const LOAD: Load = Load { topic: "Crash", queues: 4, connections: 8, window: 16, messages: 250 };

#[test]
fn async_flush_keeps_what_it_acknowledged() {
    crash_loop("ASYNC_FLUSH");
}

#[test]
fn sync_flush_keeps_what_it_acknowledged() {
    crash_loop("SYNC_FLUSH");
}

fn crash_loop(flush: &str) {
    let rounds = std::env::var("ROCKETMQ_CRASH_ROUNDS").map_or(100, |rounds| {
        rounds.parse().unwrap_or_else(|error| panic!("ROCKETMQ_CRASH_ROUNDS={rounds}: {error}"))
    });
    let dir = TempDir::new("crash");
    let mut site = Site::new(dir.path(), flush);
    let mut broker = site.start();
    broker.wire().create_topic(LOAD.topic, LOAD.queues);
    // The topic's file is written on a schedule; what follows needs it.
    broker.process.stop(Duration::from_secs(60));

    let mut book = Book::new(LOAD.topic, LOAD.queues);
    for round in 0..rounds {
        if round % 7 == 3 {
            // Killed while it recovers, or just after.
            site.start().process.kill();
        }
        let mut broker = site.start();
        book.verify_new(&mut broker.wire());
        load_until_killed(&mut broker, round, &mut book);
    }
    let broker = site.start();
    let mut wire = broker.wire();
    book.verify_new(&mut wire);
    let messages = book.verify_from_the_start(&mut wire);
    assert!(messages > u64::from(rounds), "{messages} messages are no load");
}

/// A broker that is started again and again in one folder.
struct Site<'a> {
    dir: &'a Path,
    port: u16,
    flush: &'a str,
    make: Servers,
}

impl<'a> Site<'a> {
    fn new(dir: &'a Path, flush: &'a str) -> Self {
        Self { dir, port: free_port(), flush, make: Servers::from_env() }
    }

    fn start(&mut self) -> Server {
        let settings = [
            ("flushDiskType", self.flush),
            ("mappedFileSizeCommitLog", "1048576"),
            ("mappedFileSizeConsumeQueue", "20000"),
            ("maxHashSlotNum", "1000"),
            ("maxIndexNum", "4000"),
            ("autoCreateTopicEnable", "false"),
        ];
        self.make.broker_at(self.dir, self.port, None, &settings)
    }
}

/// Sends on all connections until a number of acknowledgements that differs from round to round,
/// then kills the broker.
fn load_until_killed(broker: &mut Server, round: u32, book: &mut Book) {
    let sending = Sending::start(&broker.addr(), LOAD, round);
    let all = u64::from(LOAD.messages) * LOAD.connections as u64;
    sending.wait_for(1 + u64::from(round) * 7919 % (all * 3 / 4), Duration::from_secs(60));
    broker.process.kill();
    book.enter(sending.join());
}
