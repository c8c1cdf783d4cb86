//! [`PendingPut`]: a stored message whose acknowledgement waits for the disk or for a slave.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::message::{PutResult, PutStatus};
use super::stats::StoreStats;
use crate::common::sync::{catch_panic, lock};

type Callback = Box<dyn FnOnce(PutResult) + Send>;

/// What a put waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The local disk.
    Flush,
    /// A slave.
    Replica,
}

/// When a put began, and who counts how long it took.
pub struct PutTime {
    /// Who counts.
    pub stats: Arc<StoreStats>,
    /// When it began, ms.
    pub started_ms: i64,
}

struct State {
    result: PutResult,
    time: PutTime,
    open: usize,
    callback: Option<Callback>,
}

struct Shared {
    state: Mutex<State>,
    done: Condvar,
}

/// A put that waits. Either [`on_complete`](Self::on_complete) or [`wait`](Self::wait).
pub struct PendingPut(Arc<Shared>);

/// The duty to complete one part of a put. Dropping it undone completes it as not known.
pub struct PutTicket {
    shared: Option<Arc<Shared>>,
    part: Part,
}

impl PendingPut {
    /// A put that is complete when the tickets of all `parts` are.
    pub fn new(
        result: PutResult,
        parts: &[Part],
        time: PutTime,
    ) -> (Self, impl Iterator<Item = PutTicket>) {
        let state = State { result, time, open: parts.len(), callback: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), done: Condvar::new() });
        let pending = Self(Arc::clone(&shared));
        let ticket =
            move |part: &Part| PutTicket { shared: Some(Arc::clone(&shared)), part: *part };
        (pending, parts.iter().map(ticket))
    }

    /// Runs `done` once with the result, on the thread that completes it or, when it is already
    /// complete, on this one. `done` must be short.
    pub fn on_complete(self, done: impl FnOnce(PutResult) + Send + 'static) {
        let mut state = lock(&self.0.state);
        if state.open > 0 {
            state.callback = Some(Box::new(done));
            return;
        }
        let result = state.result.clone();
        drop(state);
        done(result);
    }

    /// Waits for the result; always ends (the store times requests out).
    pub fn wait(self) -> PutResult {
        let mut state = lock(&self.0.state);
        while state.open > 0 {
            state = self.0.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.result.clone()
    }
}

impl PutTicket {
    /// What it is for.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Completes the part. `reason` tells a person why it is not `PutOk`.
    pub fn complete(mut self, status: PutStatus, reason: &str) {
        self.finish(status, reason);
    }

    fn finish(&mut self, status: PutStatus, reason: &str) {
        let Some(shared) = self.shared.take() else { return };
        let mut state = lock(&shared.state);
        // A failed replica outranks a failed flush, whichever comes first.
        let outranks = self.part == Part::Replica || state.result.status == PutStatus::PutOk;
        if status != PutStatus::PutOk && outranks {
            state.result.status = status;
            reason.clone_into(&mut state.result.reason);
        }
        state.open -= 1;
        if state.open > 0 {
            return;
        }
        state.time.stats.count_put_time(state.time.started_ms);
        let callback = state.callback.take();
        let result = callback.is_some().then(|| state.result.clone());
        drop(state);
        match callback.zip(result) {
            Some((callback, result)) => {
                catch_panic("completion of a put", || callback(result));
            }
            // Either a callback or a thread waits; telling a thread costs a system call.
            None => shared.done.notify_all(),
        }
    }
}

impl Drop for PutTicket {
    fn drop(&mut self) {
        self.finish(PutStatus::UnknownError, "the store stopped before the put was completed");
    }
}
