//! Whether a store with many messages is slower than one with none.

use std::path::Path;
use std::time::Instant;

use rocketmq::store::MessageStore;

use super::{empty, get, open, percent, put, report, wait_for_dispatch};

const BACKLOG: usize = 20_000_000;
const MESSAGES: usize = 2_000_000;
const BODY: [u8; 16] = [7; 16];
const QUEUES: usize = 8;
const THREADS: usize = 4;
/// Rounds with the empty store and with the full one, in turn; the best of each counts.
const ROUNDS: usize = 3;

/// Measures.
pub fn run(base: &Path) {
    let (full, _) = open(&base.join("full"), |_| {});
    let started = Instant::now();
    put(&full, THREADS, QUEUES, BACKLOG, &BODY);
    wait_for_dispatch(&full);
    report("filling", BACKLOG, started.elapsed());
    let mut best = [[f64::MAX; 2]; 2];
    for _ in 0..ROUNDS {
        let fresh = base.join("fresh");
        let (store, _) = open(&fresh, |_| {});
        measure("empty store", &store, &mut best[0]);
        store.shutdown();
        empty(&fresh);
        measure("20 million messages", &full, &mut best[1]);
    }
    let [[put_empty, get_empty], [put_full, get_full]] = best;
    println!(
        "with the backlog: puts at {}, pulls at {} of the rates without",
        percent(put_empty, put_full),
        percent(get_empty, get_full)
    );
    full.shutdown();
}

/// Puts messages and pulls them again; keeps the better times.
fn measure(what: &str, store: &MessageStore, best: &mut [f64; 2]) {
    let ends: Vec<i64> =
        (0..QUEUES as i32).map(|queue| store.max_offset(super::TOPIC, queue)).collect();
    let (time, _) = put(store, THREADS, QUEUES, MESSAGES, &BODY);
    report(&format!("put 16 B, {what}"), MESSAGES, time);
    best[0] = best[0].min(time.as_secs_f64());
    wait_for_dispatch(store);
    let started = Instant::now();
    let count: usize =
        (0..).zip(&ends).map(|(queue, end)| get(store, queue, *end, usize::MAX)).sum();
    let time = started.elapsed();
    assert_eq!(count, MESSAGES);
    report(&format!("get 16 B, 32 a pull, {what}"), count, time);
    best[1] = best[1].min(time.as_secs_f64());
}
