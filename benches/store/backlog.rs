//! Whether a store with many messages is slower than one with none.
//!
//! What a put costs depends on the pages of memory that the machine happens to give: some are handed on from
//! a deleted file, some are new. So both stores are measured in every round, in both orders, with
//! new messages each time, and nothing is deleted between the two. The medians of all rounds count.

use std::path::Path;
use std::time::Instant;

use rocketmq::store::MessageStore;

use super::{empty, get, open, percent, put, report, wait_for_dispatch};

const BACKLOG: usize = 20_000_000;
const MESSAGES: usize = 2_000_000;
const BODY: [u8; 16] = [7; 16];
const QUEUES: usize = 8;
const THREADS: usize = 4;
/// Rounds; even, so that each store is as often the first of the two.
const ROUNDS: usize = 8;
/// How often the messages of a round are pulled: once takes less than a tenth of a second.
const PULLS: usize = 5;

/// Seconds that the same work took.
#[derive(Default)]
struct Times {
    put: Vec<f64>,
    get: Vec<f64>,
}

/// Measures.
pub fn run(base: &Path) {
    let (full, _) = open(&base.join("full"), |_| {});
    let started = Instant::now();
    put(&full, THREADS, QUEUES, BACKLOG, &BODY);
    wait_until_done(&full);
    report("filling, until it is on the disk", BACKLOG, started.elapsed());
    let (mut of_empty, mut of_full) = (Times::default(), Times::default());
    for round in 0..ROUNDS {
        let fresh = base.join("fresh");
        let (store, _) = open(&fresh, |_| {});
        // Its files are made, as those of the other are.
        put(&store, THREADS, QUEUES, MESSAGES / 10, &BODY);
        wait_until_done(&store);
        if round % 2 == 0 {
            measure("empty store", &store, &mut of_empty);
            measure("20 million messages", &full, &mut of_full);
        } else {
            measure("20 million messages", &full, &mut of_full);
            measure("empty store", &store, &mut of_empty);
        }
        store.shutdown();
        empty(&fresh);
    }
    println!(
        "with the backlog: puts at {}, pulls at {} of the rates without",
        percent(median(of_empty.put), median(of_full.put)),
        percent(median(of_empty.get), median(of_full.get))
    );
    full.shutdown();
}

/// Puts messages and pulls them again.
fn measure(what: &str, store: &MessageStore, times: &mut Times) {
    let ends: Vec<i64> =
        (0..QUEUES as i32).map(|queue| store.max_offset(super::TOPIC, queue)).collect();
    let (time, _) = put(store, THREADS, QUEUES, MESSAGES, &BODY);
    report(&format!("put 16 B, {what}"), MESSAGES, time);
    times.put.push(time.as_secs_f64());
    wait_until_done(store);
    let started = Instant::now();
    for _ in 0..PULLS {
        let count: usize =
            (0..).zip(&ends).map(|(queue, end)| get(store, queue, *end, usize::MAX)).sum();
        assert_eq!(count, MESSAGES);
    }
    let time = started.elapsed();
    report(&format!("get 16 B, 32 a pull, {what}"), PULLS * MESSAGES, time);
    times.get.push(time.as_secs_f64());
}

/// Waits until everything is visible and the disk has nothing left to do.
fn wait_until_done(store: &MessageStore) {
    wait_for_dispatch(store);
    store.commit_log().flush(0).expect("flush");
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2.0
}
