//! Many queues: what the first message of each costs, whether later ones cost more than with few
//! queues, what they take of memory, and how long the next start takes.

use std::path::Path;
use std::time::{Duration, Instant};

use rocketmq::common::os::anonymous_memory;

use super::{empty, open, percent, put_to, report, wait_for_dispatch};

const FEW: usize = 8;
const MANY: usize = 20_000;
/// Queues of one topic.
const A_TOPIC: usize = 20;
const MESSAGES: usize = 1_000_000;
const THREADS: usize = 4;
/// Rounds with few and with many queues, in turn; the best of each counts.
const ROUNDS: usize = 3;

/// Measures.
pub fn run(base: &Path) {
    let topics: Vec<String> = (0..MANY / A_TOPIC).map(|number| format!("Topic{number}")).collect();
    let place = |queue: usize| (topics[queue / A_TOPIC].as_str(), (queue % A_TOPIC) as i32);
    let roots = [(FEW, base.join("few")), (MANY, base.join("many"))];
    let mut best = [(Duration::MAX, Duration::MAX); 2];
    let mut stores = Vec::new();
    for (queues, root) in &roots {
        let before = anonymous_memory().unwrap_or(0);
        let (store, _) = open(root, |_| {});
        let started = Instant::now();
        put_to(&store, 1, *queues, *queues, &[7; 128], &place);
        wait_for_dispatch(&store);
        report(&format!("first message of each of {queues} queues"), *queues, started.elapsed());
        let memory = anonymous_memory().unwrap_or(0).saturating_sub(before);
        println!("{queues} queues: {:.1} MiB of anonymous memory", memory as f64 / 1048576.0);
        stores.push((*queues, store));
    }
    for _ in 0..ROUNDS {
        for ((queues, store), best) in stores.iter().zip(&mut best) {
            let started = Instant::now();
            let (time, _) = put_to(store, THREADS, *queues, MESSAGES, &[7; 128], &place);
            wait_for_dispatch(store);
            let visible = started.elapsed();
            report(&format!("put 128 B, {queues} queues"), MESSAGES, time);
            report(&format!("put 128 B, {queues} queues, until all is visible"), MESSAGES, visible);
            *best = (best.0.min(time), best.1.min(visible));
        }
    }
    let [few, many] = best;
    println!(
        "rate with {MANY} queues: {} of that with {FEW} ({} until all is visible)",
        percent(few.0.as_secs_f64(), many.0.as_secs_f64()),
        percent(few.1.as_secs_f64(), many.1.as_secs_f64())
    );
    for (queues, store) in stores {
        let started = Instant::now();
        store.shutdown();
        println!("{queues} queues: stopped in {} ms", started.elapsed().as_millis());
    }
    for (queues, root) in &roots {
        let before = anonymous_memory().unwrap_or(0);
        let (store, time) = open(root, |_| {});
        let memory = anonymous_memory().unwrap_or(0).saturating_sub(before);
        println!(
            "{queues} queues: started in {} ms with {:.1} MiB of anonymous memory",
            time.as_millis(),
            memory as f64 / 1048576.0
        );
        store.shutdown();
        empty(root);
    }
}
