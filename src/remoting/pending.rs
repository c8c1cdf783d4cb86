//! [`PendingCalls`]: requests that this side sent over a connection and that wait for an answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::command::Command;
use super::error::RemotingError;
use super::permits::Permit;
use super::read_role::LONELY_CALLS;
use crate::common::sync::lock;

/// How a call ended.
pub(super) type Outcome = Result<Command, RemotingError>;
/// Runs once with the outcome.
pub(super) type Callback = Box<dyn FnOnce(Outcome) + Send>;

/// Calls by their opaque. Each ends exactly once: by its response, by its deadline, or when the
/// connection closes. Whoever takes it out of the table ends it.
#[derive(Default)]
pub(super) struct PendingCalls {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Why no call can be added any more.
    closed: Option<RemotingError>,
    calls: HashMap<i32, Waiter, BuildHasherDefault<OpaqueHasher>>,
    /// Calls of threads since the last one that was not alone.
    lonely: u32,
}

impl Table {
    /// Adds a call under an opaque that no other call has.
    fn add(&mut self, waiter: Waiter, mut next_opaque: impl FnMut() -> i32) -> i32 {
        let alone = self.calls.is_empty() && matches!(waiter, Waiter::Thread(_));
        self.lonely = if alone { self.lonely.saturating_add(1) } else { 0 };
        loop {
            let opaque = next_opaque();
            if let Entry::Vacant(place) = self.calls.entry(opaque) {
                place.insert(waiter);
                return opaque;
            }
        }
    }
}

/// Spreads opaques, which are numbers that we chose, one after the other: nobody can make them
/// collide, and the general hash costs more than all the rest of the table.
#[derive(Default)]
struct OpaqueHasher(u64);

impl Hasher for OpaqueHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_i32(i32::from(*byte)));
    }

    fn write_i32(&mut self, opaque: i32) {
        // Fibonacci hashing: the table looks at the high bits, and at the low ones.
        let spread = (self.0 ^ u64::from(opaque as u32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = spread ^ (spread >> 32);
    }
}

/// Who waits for an answer.
pub(super) enum Waiter {
    /// A thread, with its own deadline.
    Thread(Arc<Slot>),
    /// A function.
    Callback {
        /// What is run.
        done: Callback,
        /// When it is run with a timeout.
        deadline: Instant,
        /// The limit that is told to it then.
        timeout_ms: u64,
        /// Returned when the call ends.
        permit: Permit,
    },
}

impl Waiter {
    fn end(self, outcome: Outcome) {
        match self {
            Self::Thread(slot) => slot.fill(outcome),
            Self::Callback { done, permit, .. } => {
                drop(permit);
                done(outcome);
            }
        }
    }
}

/// Where a thread finds the answer it waits for.
#[derive(Default)]
pub(super) struct Slot {
    state: Mutex<SlotState>,
    filled: Condvar,
}

#[derive(Default)]
struct SlotState {
    outcome: Option<Outcome>,
    /// The thread sleeps: without one, telling it would be a system call for nothing.
    asleep: bool,
}

impl Slot {
    fn fill(&self, outcome: Outcome) {
        let mut state = lock(&self.state);
        state.outcome = Some(outcome);
        if state.asleep {
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Whether there is an outcome that nobody took.
    pub(super) fn is_filled(&self) -> bool {
        lock(&self.state).outcome.is_some()
    }

    /// Waits until there is an outcome, or `None` at the deadline.
    pub(super) fn wait(&self, timeout: Duration) -> Option<Outcome> {
        let mut state = lock(&self.state);
        if state.outcome.is_none() {
            state.asleep = true;
            let waited =
                self.filled.wait_timeout_while(state, timeout, |state| state.outcome.is_none());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.asleep = false;
        }
        state.outcome.take()
    }
}

impl PendingCalls {
    /// Adds a call under an opaque that `next_opaque` gives and that no other call has.
    ///
    /// # Errors
    /// The connection is closed; the waiter is not told.
    pub(super) fn add(
        &self,
        waiter: Waiter,
        next_opaque: impl FnMut() -> i32,
    ) -> Result<i32, RemotingError> {
        let mut table = lock(&self.table);
        if let Some(error) = &table.closed {
            return Err(error.clone());
        }
        Ok(table.add(waiter, next_opaque))
    }

    /// Adds a call, or ends it when the connection is closed.
    pub(super) fn add_or_end(
        &self,
        waiter: Waiter,
        next_opaque: impl FnMut() -> i32,
    ) -> Option<i32> {
        let mut table = lock(&self.table);
        if let Some(error) = table.closed.clone() {
            drop(table);
            waiter.end(Err(error));
            return None;
        }
        Some(table.add(waiter, next_opaque))
    }

    /// Ends a call with `error`, unless it has ended.
    pub(super) fn end(&self, opaque: i32, error: RemotingError) {
        let waiter = lock(&self.table).calls.remove(&opaque);
        if let Some(waiter) = waiter {
            waiter.end(Err(error));
        }
    }

    /// Whether no call waits.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.table).calls.is_empty()
    }

    /// Whether no call waits, and the last ones were those of a thread at a time: [`LONELY_CALLS`]
    /// or more.
    pub(super) fn is_lonely(&self) -> bool {
        let table = lock(&self.table);
        table.calls.is_empty() && table.lonely >= LONELY_CALLS
    }

    /// Takes a call back: it will not be ended by anybody else. False if it already was.
    pub(super) fn withdraw(&self, opaque: i32) -> bool {
        lock(&self.table).calls.remove(&opaque).is_some()
    }

    /// Ends the call that `response` answers. False if there is none: it was too late.
    pub(super) fn answer(&self, response: Command) -> bool {
        let waiter = lock(&self.table).calls.remove(&response.opaque);
        match waiter {
            Some(waiter) => {
                waiter.end(Ok(response));
                true
            }
            None => false,
        }
    }

    /// Ends every callback whose deadline has passed. (Threads look at the clock themselves.)
    pub(super) fn expire(&self, now: Instant, addr: impl Fn() -> String) {
        let late: Vec<Waiter> = {
            let mut table = lock(&self.table);
            if table.calls.is_empty() {
                return;
            }
            let is_late = |_: &i32, waiter: &mut Waiter| matches!(waiter, Waiter::Callback { deadline, .. } if *deadline <= now);
            table.calls.extract_if(is_late).map(|(_, waiter)| waiter).collect()
        };
        for waiter in late {
            if let Waiter::Callback { timeout_ms, .. } = waiter {
                waiter.end(Err(RemotingError::Timeout { addr: addr(), timeout_ms }));
            }
        }
    }

    /// Ends every call with `error`, and all later ones at once.
    pub(super) fn close(&self, error: &RemotingError) {
        let calls = {
            let mut table = lock(&self.table);
            table.closed.get_or_insert_with(|| error.clone());
            std::mem::take(&mut table.calls)
        };
        for waiter in calls.into_values() {
            waiter.end(Err(error.clone()));
        }
    }
}
