//! Injected faults: makes a system call of the store fail or take long on purpose, so that tests
//! can
//! see what a full, broken or slow disk does.
//!
//! Every call that can fail for reasons of the disk asks `check` first. While nothing is
//! injected that is one relaxed load, on paths that make a system call anyway.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The calls that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creating or opening a file.
    Create,
    /// Reserving blocks for a file.
    Allocate,
    /// Forcing pages to the disk.
    Flush,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
}

struct Injected {
    id: usize,
    operation: Operation,
    below: PathBuf,
    effect: Effect,
}

#[derive(Clone, Copy)]
enum Effect {
    Fail(i32),
    Delay(Duration),
}

static ACTIVE: AtomicUsize = AtomicUsize::new(0);
static NEXT_ID: AtomicUsize = AtomicUsize::new(1);
static INJECTED: Mutex<Vec<Injected>> = Mutex::new(Vec::new());

/// An injected fault; it ends when this is dropped.
#[derive(Debug)]
pub struct Fault {
    id: usize,
}

/// Makes `operation` fail with `errno` for every path below `below`.
pub fn inject(operation: Operation, below: &Path, errno: i32) -> Fault {
    add(operation, below, Effect::Fail(errno))
}

/// Makes `operation` take `delay` longer for every path below `below`.
pub fn inject_delay(operation: Operation, below: &Path, delay: Duration) -> Fault {
    add(operation, below, Effect::Delay(delay))
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
    }
}

/// The injected error, if `operation` on `path` is to fail.
pub(super) fn check(operation: Operation, path: &Path) -> io::Result<()> {
    if ACTIVE.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let injected = INJECTED.lock().unwrap_or_else(PoisonError::into_inner);
    let effect = injected
        .iter()
        .find(|fault| fault.operation == operation && path.starts_with(&fault.below))
        .map(|fault| fault.effect);
    drop(injected);
    match effect {
        Some(Effect::Fail(errno)) => Err(io::Error::from_raw_os_error(errno)),
        Some(Effect::Delay(delay)) => {
            std::thread::sleep(delay);
            Ok(())
        }
        None => Ok(()),
    }
}
