//! Injected faults: makes a system call of the store fail or take long on purpose, so that tests can
//! see what a full, broken or slow disk does. And [`watch_flushes`], which tells a test what has been
//! forced to the disk: all that a power cut is bound to leave.
//!
//! Every call that can fail for reasons of the disk asks `check` first. While nothing is
//! injected that is one relaxed load, on paths that make a system call anyway.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::common::os::DiskSpace;

/// The calls that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creating or opening a file.
    Create,
    /// Reserving blocks for a file.
    Allocate,
    /// Writing zeros ahead of the appends.
    WriteAhead,
    /// Forcing pages to the disk.
    Flush,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Asking how full the disk is.
    Measure,
}

struct Injected {
    id: usize,
    operation: Operation,
    below: PathBuf,
    effect: Effect,
}

#[derive(Clone)]
enum Effect {
    Fail(i32),
    Delay(Duration),
    Watch(Arc<FlushWatcher>),
    Margin(i64),
    Space(DiskSpace),
}

/// What a flush is about to make durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// A part of a file.
    Bytes(Range<usize>),
    /// A part of a file that has nothing but zeros, and promises nothing.
    Zeros(Range<usize>),
    /// The names in a folder.
    Names,
    /// All files and names of the file system on which a folder lies.
    FileSystem,
}

/// Asked before each flush of a path; what it returns is called after the flush reported success.
pub type FlushWatcher = dyn Fn(&Path, &Flushed) -> Box<dyn FnOnce()> + Send + Sync;

static ACTIVE: AtomicUsize = AtomicUsize::new(0);
static NEXT_ID: AtomicUsize = AtomicUsize::new(1);
static INJECTED: Mutex<Vec<Injected>> = Mutex::new(Vec::new());
/// Told when a fault ends: who is delayed by it goes on.
static ENDED: Condvar = Condvar::new();

/// An injected fault; it ends when this is dropped.
#[derive(Debug)]
pub struct Fault {
    id: usize,
}

/// Makes `operation` fail with `errno` for every path below `below`.
pub fn inject(operation: Operation, below: &Path, errno: i32) -> Fault {
    add(operation, below, Effect::Fail(errno))
}

/// Makes `operation` take `delay` longer for every path below `below`, or until the fault ends.
pub fn inject_delay(operation: Operation, below: &Path, delay: Duration) -> Fault {
    add(operation, below, Effect::Delay(delay))
}

/// Calls `watcher` for every flush of a path below `below`.
pub fn watch_flushes(below: &Path, watcher: Arc<FlushWatcher>) -> Fault {
    add(Operation::Flush, below, Effect::Watch(watcher))
}

/// Makes a checkpoint below `below` vouch for what is older than its times by `ms`, instead of by
/// seconds: a test does not last that long.
pub fn inject_margin(below: &Path, ms: i64) -> Fault {
    add(Operation::Create, below, Effect::Margin(ms))
}

/// Makes the disk of every path below `below` look like this.
pub fn inject_space(below: &Path, space: DiskSpace) -> Fault {
    add(Operation::Measure, below, Effect::Space(space))
}

fn add(operation: Operation, below: &Path, effect: Effect) -> Fault {
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let mut injected = INJECTED.lock().unwrap_or_else(PoisonError::into_inner);
    injected.push(Injected { id, operation, below: below.to_owned(), effect });
    ACTIVE.store(injected.len(), Ordering::Relaxed);
    Fault { id }
}

impl Drop for Fault {
    fn drop(&mut self) {
        let mut injected = INJECTED.lock().unwrap_or_else(PoisonError::into_inner);
        injected.retain(|fault| fault.id != self.id);
        ACTIVE.store(injected.len(), Ordering::Relaxed);
        drop(injected);
        ENDED.notify_all();
    }
}

/// The last injected effect of `operation` on `path` that is `wanted`.
fn injected(operation: Operation, path: &Path, wanted: impl Fn(&Effect) -> bool) -> Option<Effect> {
    found(operation, path, wanted).map(|(_, effect)| effect)
}

/// The same with the fault's number.
fn found(
    operation: Operation,
    path: &Path,
    wanted: impl Fn(&Effect) -> bool,
) -> Option<(usize, Effect)> {
    let injected = INJECTED.lock().unwrap_or_else(PoisonError::into_inner);
    let concerns = |fault: &&Injected| {
        fault.operation == operation && path.starts_with(&fault.below) && wanted(&fault.effect)
    };
    injected.iter().rev().find(concerns).map(|fault| (fault.id, fault.effect.clone()))
}

/// The injected error, if `operation` on `path` is to fail.
pub(super) fn check(operation: Operation, path: &Path) -> io::Result<()> {
    if ACTIVE.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let fails = |effect: &Effect| matches!(effect, Effect::Fail(_) | Effect::Delay(_));
    match found(operation, path, fails) {
        Some((_, Effect::Fail(errno))) => Err(io::Error::from_raw_os_error(errno)),
        Some((id, Effect::Delay(delay))) => {
            let injected = INJECTED.lock().unwrap_or_else(PoisonError::into_inner);
            let lasts = |all: &mut Vec<Injected>| all.iter().any(|fault| fault.id == id);
            drop(ENDED.wait_timeout_while(injected, delay, lasts));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The injected margin of a checkpoint.
pub(super) fn margin_ms(path: &Path) -> Option<i64> {
    if ACTIVE.load(Ordering::Relaxed) == 0 {
        return None;
    }
    match injected(Operation::Create, path, |effect| matches!(effect, Effect::Margin(_)))? {
        Effect::Margin(ms) => Some(ms),
        _ => None,
    }
}

/// The injected space of a disk.
pub(super) fn disk_space(path: &Path) -> Option<DiskSpace> {
    if ACTIVE.load(Ordering::Relaxed) == 0 {
        return None;
    }
    match injected(Operation::Measure, path, |_| true)? {
        Effect::Space(space) => Some(space),
        _ => None,
    }
}

/// Runs `flush`, which makes `what` of `path` durable, unless it is to fail; tells who watches.
pub(super) fn flush(
    path: &Path,
    what: Flushed,
    flush: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    if ACTIVE.load(Ordering::Relaxed) == 0 {
        return flush();
    }
    check(Operation::Flush, path)?;
    let watches = |effect: &Effect| matches!(effect, Effect::Watch(_));
    let done = match injected(Operation::Flush, path, watches) {
        Some(Effect::Watch(watcher)) => Some(watcher(path, &what)),
        _ => None,
    };
    flush()?;
    if let Some(done) = done {
        done();
    }
    Ok(())
}
