//! `kill -9` of a broker while messages wait in it that nobody is to see yet: half messages with their
//! ends, delayed ones, timed ones. What was acknowledged comes out, however often the broker died;
//! what was rolled back never does; nothing comes out that nobody sent.
//!
//! A message may come more than once: a broker that dies after it delivered and before it noted so
//! delivers again. `ROCKETMQ_CRASH_ROUNDS` sets the number of rounds.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use support::servers::{self, Server};
use support::wire::{Wire, borrowed, code, records, send_fields};
use support::{TempDir, free_port, until};

const TOPIC: &str = "Later";
const QUEUES: i32 = 4;
const SENDERS: u32 = 6;
/// Messages that a sender sends in a round at most, and acknowledgements before the kill at most.
const EACH: u32 = 60;
/// sysFlag of a half message.
const PREPARED: &str = "4";
/// Everything that is due comes within this time, on a busy machine too.
const DUE: Duration = Duration::from_secs(120);

/// How a message comes to be seen later, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Committed,
    RolledBack,
    Delayed,
    Timed,
}

const KINDS: [Kind; 4] = [Kind::Committed, Kind::Delayed, Kind::RolledBack, Kind::Timed];

/// What the senders know: bodies by what became of them.
#[derive(Debug, Default)]
struct Book {
    sent: BTreeSet<String>,
    /// Acknowledged, and to be delivered.
    due: BTreeSet<String>,
    /// Acknowledged as rolled back.
    withdrawn: BTreeSet<String>,
}

#[test]
fn async_flush_delivers_later_what_it_acknowledged() {
    crash_loop("ASYNC_FLUSH");
}

#[test]
fn sync_flush_delivers_later_what_it_acknowledged() {
    crash_loop("SYNC_FLUSH");
}

/// With `transientStorePoolEnable` a delivery lies in a buffer of the process first, and is gone with it.
/// Then the message is not taken for delivered.
#[test]
fn a_delivery_that_was_in_a_write_buffer_is_made_again() {
    let dir = TempDir::new("crash-buffer");
    let port = free_port();
    // What is in the buffers stays there for seconds.
    let settings = [
        ("transientStorePoolEnable", "true"),
        ("transientStorePoolSize", "3"),
        ("mappedFileSizeCommitLog", "1048576"),
        ("commitCommitLogLeastPages", "1000000"),
        ("commitCommitLogThoroughInterval", "4000"),
        ("flushDelayOffsetInterval", "50"),
    ];
    let mut broker = servers::broker_at(dir.path(), port, None, &settings);
    broker.wire().create_topic(TOPIC, QUEUES);
    let mut wire = broker.wire();
    // What is delivered is noted every 50 ms, from ten seconds after the start on.
    for number in [1, 2] {
        let sent = send_one(&mut wire, Kind::Delayed, "later", 0);
        sent.unwrap_or_else(|error| panic!("it is acknowledged: {error}"));
        until(&format!("{number} are noted as delivered"), DUE, || {
            let noted = broker.home.join("store/config/delayOffset.json");
            let text = std::fs::read_to_string(noted).unwrap_or_default();
            text.contains(&format!("1:{number}")).then_some(())
        });
    }
    broker.process.kill();
    let broker = servers::broker_at(dir.path(), port, None, &settings);
    let mut wire = broker.wire();
    until("both are there", DUE, || (wire.max_offset(TOPIC, 0) >= 2).then_some(()));
}

fn crash_loop(flush: &str) {
    let rounds = std::env::var("ROCKETMQ_CRASH_ROUNDS").map_or(10, |rounds| {
        rounds.parse().unwrap_or_else(|error| panic!("ROCKETMQ_CRASH_ROUNDS={rounds}: {error}"))
    });
    let dir = TempDir::new("crash-later");
    let port = free_port();
    let mut broker = start(dir.path(), port, flush);
    broker.wire().create_topic(TOPIC, QUEUES);
    // The topic's file is written on a schedule; what follows needs it.
    broker.process.stop(Duration::from_secs(60));
    let book = Arc::new(Mutex::new(Book::default()));
    for round in 0..rounds {
        let mut broker = start(dir.path(), port, flush);
        if round % 5 == 4 {
            // Killed while it recovers, or just after.
            broker.process.kill();
            broker = start(dir.path(), port, flush);
        }
        load_until_killed(&mut broker, round, &book);
    }
    let broker = start(dir.path(), port, flush);
    let book = book.lock().unwrap_or_else(PoisonError::into_inner);
    verify(&mut broker.wire(), &book);
}

fn start(dir: &Path, port: u16, flush: &str) -> Server {
    let settings = [
        ("flushDiskType", flush),
        ("mappedFileSizeCommitLog", "1048576"),
        ("mappedFileSizeConsumeQueue", "20000"),
        ("mappedFileSizeTimerLog", "20000"),
        ("autoCreateTopicEnable", "false"),
    ];
    servers::broker_at(dir, port, None, &settings)
}

/// Sends until a number of acknowledgements that differs from round to round, then kills the broker.
fn load_until_killed(broker: &mut Server, round: u32, book: &Arc<Mutex<Book>>) {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (addr, book) = (broker.addr(), Arc::clone(book));
            let acknowledged = Arc::clone(&acknowledged);
            std::thread::spawn(move || {
                // An error is the broker's death, which is what this is about.
                let _ = send(&addr, (round, sender), &book, &acknowledged);
            })
        })
        .collect();
    let enough = 1 + u64::from(round) * 7919 % u64::from(SENDERS * EACH * 3 / 4);
    until(&format!("{enough} acknowledgements"), DUE, || {
        (acknowledged.load(Ordering::Relaxed) >= enough).then_some(())
    });
    broker.process.kill();
    for sender in senders {
        sender.join().unwrap_or_else(|_| panic!("a sender saw something wrong"));
    }
}

/// The kind of a message follows from its name.
fn kind_of(name: &str) -> Kind {
    let numbers = name.split('.').filter_map(|number| number.parse::<usize>().ok());
    KINDS[numbers.sum::<usize>() % KINDS.len()]
}

/// One sender of one round, named by the numbers of both.
fn send(
    addr: &str,
    (round, sender): (u32, u32),
    book: &Mutex<Book>,
    acknowledged: &AtomicU64,
) -> io::Result<()> {
    let book = || book.lock().unwrap_or_else(PoisonError::into_inner);
    let mut wire = Wire::try_connect(addr)?;
    for number in 0..EACH {
        let name = format!("{round}.{sender}.{number}");
        let kind = kind_of(&name);
        book().sent.insert(name.clone());
        send_one(&mut wire, kind, &name, (number % QUEUES as u32) as i32)?;
        match kind {
            Kind::RolledBack => book().withdrawn.insert(name),
            Kind::Committed | Kind::Delayed | Kind::Timed => book().due.insert(name),
        };
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Sends a message and, of a half message, its end; both must be acknowledged.
fn send_one(wire: &mut Wire, kind: Kind, name: &str, queue: i32) -> io::Result<()> {
    let mut fields = send_fields(TOPIC, queue, name);
    let (flags, properties) = match kind {
        Kind::Committed | Kind::RolledBack => (PREPARED, "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}wire"),
        Kind::Delayed => ("0", "DELAY\u{1}1"),
        Kind::Timed => ("0", "TIMER_DELAY_MS\u{1}700"),
    };
    fields[5].1 = flags.to_owned();
    fields[8].1.push_str(&format!("\u{2}{properties}"));
    let reply = wire.try_call(code::SEND, &borrowed(&fields), name.as_bytes())?;
    assert_eq!(reply.code(), 0, "{kind:?}: {}", reply.header);
    let end = match kind {
        Kind::Committed => "8",
        Kind::RolledBack => "12",
        Kind::Delayed | Kind::Timed => return Ok(()),
    };
    let text = |field: &str| reply.text(field).unwrap_or_else(|| panic!("{}", reply.header));
    let message_id = text("msgId");
    let offset = i64::from_str_radix(&message_id[message_id.len() - 16..], 16);
    let offset = offset.unwrap_or_else(|error| panic!("{message_id}: {error}"));
    let fields = [
        ("producerGroup", "wire"),
        ("tranStateTableOffset", &*text("queueOffset")),
        ("commitLogOffset", &offset.to_string()),
        ("commitOrRollback", end),
        ("fromTransactionCheck", "false"),
        ("msgId", name),
        ("transactionId", name),
    ];
    let reply = wire.try_call(code::END_TRANSACTION, &fields, b"")?;
    assert_eq!(reply.code(), 0, "the end of {name}: {}", reply.header);
    Ok(())
}

/// Waits for everything that is due, then looks at what else there is.
fn verify(wire: &mut Wire, book: &Book) {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut next = [0; QUEUES as usize];
    let deadline = std::time::Instant::now() + DUE;
    loop {
        for queue in 0..QUEUES {
            read_new(wire, queue, &mut next[queue as usize], &mut seen);
        }
        let missing: Vec<_> = book.due.iter().filter(|name| !seen.contains_key(*name)).collect();
        if missing.is_empty() {
            break;
        }
        let late = std::time::Instant::now() > deadline;
        assert!(!late, "{} of {} lost: {:?}", missing.len(), book.due.len(), missing.first());
        std::thread::sleep(Duration::from_millis(100));
    }
    for name in seen.keys() {
        assert!(book.sent.contains(name), "nobody sent {name}");
        assert!(!book.withdrawn.contains(name), "{name} was rolled back");
    }
    for kind in KINDS {
        let twice =
            seen.iter().filter(|(name, times)| kind_of(name) == kind && **times > 1).count();
        // The end of a transaction is carried out before it is answered, and then never again.
        assert!(twice == 0 || kind != Kind::Committed, "{twice} committed messages came twice");
        println!("{kind:?}: {twice} of {} came more than once", seen.len());
    }
}

fn read_new(wire: &mut Wire, queue: i32, next: &mut i64, seen: &mut BTreeMap<String, u32>) {
    let end = wire.max_offset(TOPIC, queue);
    while *next < end {
        let reply = wire.pull(TOPIC, queue, *next);
        assert_eq!(reply.code(), 0, "queue {queue} at {next}: {}", reply.header);
        for record in records(&reply.body) {
            assert_eq!((record.queue, record.offset), (queue, *next), "a hole");
            *seen.entry(String::from_utf8_lossy(&record.body).into_owned()).or_default() += 1;
            *next += 1;
        }
    }
}
