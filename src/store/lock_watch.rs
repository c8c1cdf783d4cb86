//! What `debugLockEnable` asks for: while the append lock is held for more than a second, a file a
//! second tells what each thread of the process does.
//!
//! Java writes its stack traces. A native process has none at hand; what the kernel knows of each
//! thread is in the same place: its name, its state, what it waits for in the kernel, and its
//! processor time. A lock that is held long is held by somebody who waits for a disk.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::commit_log::CommitLog;
use crate::common::clock::now_ms;

/// Held for longer, the lock is told about, ms.
const LONG_MS: i64 = 1000;
/// Held for longer still, a clock has jumped, ms.
const ABSURD_MS: i64 = 10_000_000;
/// Files that are kept at most: one a second could fill a disk.
const MAX_FILES: usize = 1000;

/// Where the files go: `$HOME/debug/lock`, as Java's.
pub fn folder() -> PathBuf {
    let home = std::env::var_os("HOME").unwrap_or_default();
    PathBuf::from(home).join("debug/lock")
}

/// Writes a dump to `folder` if the append lock has been held for long; returns the file. It is named
/// `stack-<when the lock was taken, ms>-<for how long it is held, ms>`.
///
/// # Errors
/// The disk's.
pub fn look(log: &CommitLog, folder: &Path) -> io::Result<Option<PathBuf>> {
    look_at(log, folder, now_ms())
}

fn look_at(log: &CommitLog, folder: &Path, now_ms: i64) -> io::Result<Option<PathBuf>> {
    let held = log.lock_held_ms(now_ms);
    if held <= LONG_MS || held >= ABSURD_MS {
        return Ok(None);
    }
    fs::create_dir_all(folder)?;
    if fs::read_dir(folder)?.count() >= MAX_FILES {
        return Ok(None);
    }
    let path = folder.join(format!("stack-{}-{held}", now_ms - held));
    fs::write(&path, threads())?;
    Ok(Some(path))
}

/// One paragraph a thread.
fn threads() -> String {
    let mut text = String::new();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for task in tasks.map(|task| task.path()) {
        let read = |name: &str| fs::read_to_string(task.join(name)).unwrap_or_default();
        let number = task.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (name, waits_in, call) = (read("comm"), read("wchan"), read("syscall"));
        // The fields after the name, which may have blanks and brackets: state, ..., user and system
        // time as the 12th and 13th.
        let stat = read("stat");
        let fields: Vec<_> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or("?");
        let _ = writeln!(
            text,
            "\"{}\" tid={number} state={} utime={} stime={}\n    in {}\n    call {}\n{}",
            name.trim(),
            field(0),
            field(11),
            field(12),
            if waits_in == "0" { "user code" } else { waits_in.trim() },
            call.trim(),
            // Readable for root only.
            read("stack"),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{TempFolder, open};

    #[test]
    fn a_lock_held_for_long_is_told_with_all_threads() {
        let folder = TempFolder::new("lock-watch");
        let store = open(&folder, |_| {});
        let dumps = folder.path().join("dumps");
        let log = store.commit_log();
        assert_eq!(look(log, &dumps).unwrap(), None, "it is free");
        let begin = now_ms() - 5000;
        log.pretend_held_since(begin);
        let at = |ms| look_at(log, &dumps, begin + ms).unwrap();
        assert_eq!(at(LONG_MS), None, "not for long");
        assert_eq!(at(ABSURD_MS), None, "a clock has jumped");
        let file = look(log, &dumps).unwrap().unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let mut numbers = name.split('-').skip(1).map(|text| text.parse::<i64>().unwrap());
        let (taken, held) = (numbers.next().unwrap(), numbers.next().unwrap());
        assert!(taken == begin && held >= 5000, "{name}");
        assert_eq!(at(LONG_MS + 1), Some(dumps.join(format!("stack-{begin}-{}", LONG_MS + 1))));
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(" tid=") && text.contains(" state="), "{text}");
        // A thread names itself when it first runs.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let named = |name: &&str| threads().contains(&format!("\"{name}\" tid="));
        while !["ReputMessage", "CleanStore", "StoreStats"].iter().all(named) {
            assert!(std::time::Instant::now() < deadline, "{}", threads());
            std::thread::yield_now();
        }
        log.pretend_held_since(0);
    }
}
