//! A process that is killed again and again while it stores: whatever it acknowledged is there.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rocketmq::store::PutStatus;

use crate::folder::*;

/// Tells the child process which folder is its store.
const CHILD: &str = "ROCKETMQ_STORE_KILL_FOLDER";

fn body(number: usize) -> Vec<u8> {
    let mut body = number.to_string().into_bytes();
    body.resize(8 + number * 37 % 2000, b'.');
    body
}

/// The child: stores numbered messages from several threads and says which are acknowledged, until
/// it is killed. Without the folder this is the parent's business, and there is nothing to do.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let test = TestStore::open(config(Path::new(&folder), &settings(&folder)));
    std::thread::scope(|scope| {
        for queue in 0..4 {
            let test = &test;
            scope.spawn(move || {
                for number in test.store.max_offset("Topic", queue) as usize.. {
                    let result = test.put("Topic", queue, &body(number), "KEYS\u{1}k");
                    assert_eq!(result.status, PutStatus::PutOk, "{}", result.reason);
                    println!("acked {queue} {number}");
                }
            });
        }
    });
}

fn settings(folder: &std::ffi::OsStr) -> Vec<(&'static str, &'static str)> {
    let durable = folder.to_string_lossy().contains("durable");
    if durable { vec![("flushDiskType", "SYNC_FLUSH")] } else { Vec::new() }
}

fn kill_again_and_again(name: &str, rounds: usize) {
    let folder = Folder::new(name);
    let mut acked = [0usize; 4];
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut take = |line: String| {
            let Some(place) = line.split("acked ").nth(1) else { return false };
            let (queue, number) = place.split_once(' ').unwrap();
            let number: usize = number.parse().unwrap();
            acked[queue.parse::<usize>().unwrap()] = number + 1;
            true
        };
        let wanted = 50 + round * 150;
        let mut seen = 0;
        while seen < wanted {
            let line = lines.next().expect("the child ended by itself").unwrap();
            seen += usize::from(take(line));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What was still in the pipe was acknowledged too; the last line may be cut.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        let whole = rest.len().saturating_sub(1);
        for line in rest.into_iter().take(whole) {
            take(line);
        }

        let root = folder.path().as_os_str();
        let test = TestStore::open(config(folder.path(), &settings(root)));
        for (queue, acked) in acked.iter().enumerate() {
            let found = test.bodies("Topic", queue as i32);
            assert!(found.len() >= *acked, "queue {queue}: {} of {acked}", found.len());
            for (number, found) in found.iter().enumerate() {
                assert!(*found == body(number), "queue {queue} message {number}");
            }
        }
        if round % 2 == 0 {
            test.store.shutdown();
        }
    }
}

#[test]
fn asynchronous_flush() {
    kill_again_and_again("kill-fast", 6);
}

#[test]
fn synchronous_flush() {
    kill_again_and_again("kill-durable", 3);
}
