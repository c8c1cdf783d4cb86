//! What whole-system tests share: temporary folders, free ports, child processes that never outlive
//! their test, the programs of this package on ports of their own, and raw frames ([`wire`]).
//!
//! Nothing here waits without a deadline ([`until`]), and nothing here knows what is being tested.
// Every test binary compiles this folder and uses its own part of it.
#![allow(dead_code)]

pub mod java_peer;
pub mod ledger;
pub mod pair;
pub mod process;
pub mod proxy;
pub mod servers;
pub mod site;
pub mod tool;
pub mod traffic;
pub mod wire;

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rocketmq::common::os::lock_bytes;

/// Runs `attempt` until it gives something. Panics with `what` when `limit` is over.
pub fn until<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Says that a test cannot be made on this machine, and why.
pub fn skipped(what: &str, why: &str) {
    use std::io::Write;
    // Around the harness, which would swallow it.
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {what}: {why} ***\n");
}

/// Whether this process may open so many files; where it may not, the test is skipped.
pub fn may_open_files(count: u64, what: &str) -> bool {
    let limit = rocketmq::common::os::raise_open_files_limit();
    if limit < count {
        skipped(
            what,
            &format!("it takes {count} open files, and {limit} are allowed (ulimit -Hn)"),
        );
    }
    limit >= count
}

/// A folder of a test, deleted with it. It is kept, and named, when the test fails.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes a new one; `name` is for people who look into it.
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("rocketmq-{name}-{}-{number}", std::process::id()));
        // A leftover of an earlier process with the same id is nobody's any more.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path below it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for inspection: {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A port `p` such that `p - 2`, `p` and `p + 1` were free a moment ago: a broker listens on its
/// port, on the one two below (Java's fast port) and on the one above (replication).
///
/// They are below the range the kernel takes for outgoing connections, so that nobody else gets
/// them by chance between this look and the start of the program.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Brokers that choose their ports themselves begin at 20,000.
    const FIRST: u32 = 10_000;
    const BLOCKS: u32 = 2_500;
    // Test programs that run at the same time start at different places, and leave each other's blocks
    // alone: who has locked a byte of this file has the block of that number.
    static BLOCKS_IN_USE: LazyLock<Option<File>> = LazyLock::new(|| {
        // All of them look here, wherever each has its temporary folders.
        let path = Path::new("/tmp/rocketmq-test-ports");
        File::options().create(true).truncate(false).write(true).open(path).ok()
    });
    for _ in 0..BLOCKS {
        let block = (std::process::id() * 61 + NEXT.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
        let is_taken = |file: &File| lock_bytes(file, block.into(), 1).is_ok_and(|got| !got);
        if BLOCKS_IN_USE.as_ref().is_some_and(is_taken) {
            continue;
        }
        let port = (FIRST + block * 4 + 2) as u16;
        let free = [port - 2, port, port + 1]
            .iter()
            .all(|&port| TcpListener::bind(("0.0.0.0", port)).is_ok());
        if free {
            return port;
        }
    }
    panic!("no free block of ports between 10000 and 20000");
}

/// Tells other threads of a test to stop, also when it fails: who waits for the threads of a failed test would
/// wait for ever.
pub struct StopAtEnd<'a>(pub &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
