//! [`Scheduler`]: fixed-rate and delayed tasks on one thread, cancellable.

use std::sync::Arc;
use std::time::Duration;

/// One thread that runs tasks at their time. A panic in a task is logged and the task goes on.
#[derive(Debug)]
pub struct Scheduler {
    // owner: common
    _private: (),
}

/// A scheduled task; dropping it does not cancel it.
#[derive(Clone, Debug)]
pub struct Scheduled {
    // owner: common
    _private: (),
}

impl Scheduled {
    /// The task does not start again.
    pub fn cancel(&self) {
        todo!("owner: common")
    }
}

impl Scheduler {
    /// Starts the thread.
    pub fn new(_name: &str) -> std::io::Result<Arc<Self>> {
        todo!("owner: common")
    }

    /// Runs `task` after `initial`, then every `period` (a late run does not pile up).
    pub fn at_fixed_rate(
        &self,
        _what: &str,
        _initial: Duration,
        _period: Duration,
        _task: impl FnMut() + Send + 'static,
    ) -> Scheduled {
        todo!("owner: common")
    }

    /// Runs `task` once after `delay`.
    pub fn once(
        &self,
        _what: &str,
        _delay: Duration,
        _task: impl FnOnce() + Send + 'static,
    ) -> Scheduled {
        todo!("owner: common")
    }

    /// No further task starts; waits for the one that runs.
    pub fn stop(&self) {
        todo!("owner: common")
    }
}
