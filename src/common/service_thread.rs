//! [`ServiceThread`]: a named thread with a wake-up, an interval and an orderly stop. Every
//! background duty of every role is one.

use std::sync::Arc;
use std::time::Duration;

/// What a service's loop sees of its thread: wait, be woken, be told to stop.
///
/// A wake-up that arrives while the loop works is not lost: the next wait returns at once.
#[derive(Debug, Default)]
pub struct Signal {
    // owner: common
}

impl Signal {
    /// Waits up to `limit`, or until woken or stopped. Returns whether the service goes on.
    pub fn wait(&self, _limit: Duration) -> bool {
        todo!("owner: common")
    }

    /// Waits until woken or stopped. Returns whether the service goes on.
    pub fn wait_for_wakeup(&self) -> bool {
        todo!("owner: common")
    }

    /// Wakes the loop. Cheap when it is already awake.
    pub fn wakeup(&self) {
        todo!("owner: common")
    }

    /// Whether the service was told to stop.
    pub fn stopped(&self) -> bool {
        todo!("owner: common")
    }
}

/// A running service.
#[derive(Debug)]
pub struct ServiceThread {
    // owner: common
    _private: (),
}

impl ServiceThread {
    /// Starts `body` on a thread of that name (at most 15 bytes show in `top -H`). `body` returns
    /// when [`Signal::wait`] says so; a panic in it is logged.
    pub fn spawn(
        _name: &str,
        _signal: Arc<Signal>,
        _body: impl FnOnce(&Signal) + Send + 'static,
    ) -> std::io::Result<Self> {
        todo!("owner: common")
    }

    /// Tells the service to stop, wakes it, and joins it (at most `limit`). Idempotent. Returns
    /// whether it ended in time.
    pub fn stop(&self, _limit: Duration) -> bool {
        todo!("owner: common")
    }
}
