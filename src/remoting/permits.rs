//! [`Permits`]: how many of something may be on their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::RemotingError;

/// A number of permits that are taken without waiting and return when dropped.
pub(super) struct Permits {
    what: &'static str,
    limit: usize,
    taken: AtomicUsize,
}

/// One permit.
pub(super) struct Permit(Arc<Permits>);

impl Permits {
    /// `what` is limited, for the error; a limit below one is one.
    pub(super) fn new(what: &'static str, limit: i32) -> Arc<Self> {
        let limit = usize::try_from(limit).unwrap_or(0).max(1);
        Arc::new(Self { what, limit, taken: AtomicUsize::new(0) })
    }

    /// Takes a permit.
    pub(super) fn take(self: &Arc<Self>) -> Result<Permit, RemotingError> {
        if self.taken.fetch_add(1, Ordering::AcqRel) < self.limit {
            Ok(Permit(Arc::clone(self)))
        } else {
            self.taken.fetch_sub(1, Ordering::AcqRel);
            Err(RemotingError::TooManyRequests(self.what))
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_return() {
        let permits = Permits::new("things", 2);
        let first = permits.take().unwrap();
        let _second = permits.take().unwrap();
        assert_eq!(permits.take().err(), Some(RemotingError::TooManyRequests("things")));
        drop(first);
        assert!(permits.take().is_ok());
    }
}
