//! Opening a store of 4 GiB: after a kill, and after a clean stop.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{open, put, wait_for_dispatch};

/// Name of the part that fills the store and waits to be killed.
pub const FILL: &str = "fill-and-wait";
const BODY_BYTES: usize = 1024;
const LOG_BYTES: i64 = 4 << 30;
const QUEUES: usize = 8;

/// Measures.
pub fn run(base: &Path) {
    let folder = base.parent().expect("the folder above").join("");
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .args([FILL.into(), folder.into_os_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("start");
    let mut line = String::new();
    let output = child.stdout.take().expect("output");
    BufReader::new(output).read_line(&mut line).expect("the store is filled");
    child.kill().expect("kill");
    child.wait().expect("wait");
    print!("{line}");
    for what in ["kill -9", "a clean stop"] {
        let (store, time) = open(base, |_| {});
        println!("opened and started after {what}: {:.3} s", time.as_secs_f64());
        store.shutdown();
    }
}

/// Fills a store and waits to be killed.
pub fn fill(base: &Path) {
    let (store, _) = open(base, |_| {});
    while store.commit_log_max_offset() < LOG_BYTES {
        put(&store, 1, QUEUES, 10_000, &[7; BODY_BYTES]);
    }
    wait_for_dispatch(&store);
    let (messages, bytes) = (store.put_total(), store.commit_log_max_offset());
    println!("{messages} messages, {bytes} bytes of commit log, {QUEUES} queues");
    loop {
        std::thread::park();
    }
}
