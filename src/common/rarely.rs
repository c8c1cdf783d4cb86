//! [`Rarely`]: for what may happen a thousand times a second and is worth a line in the log now and
//! then.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::sync::lock;

/// Counts what happens, and says when it is time to tell.
#[derive(Debug)]
pub struct Rarely {
    period: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    total: u64,
    told: u64,
    told_at: Option<Instant>,
}

impl Rarely {
    /// At most once in `period`.
    pub fn new(period: Duration) -> Self {
        Self { period, state: Mutex::default() }
    }

    /// It happened. `Some` tells to say so, and how often it has happened since that was said last,
    /// this time included.
    pub fn note(&self) -> Option<u64> {
        self.note_at(Instant::now())
    }

    fn note_at(&self, now: Instant) -> Option<u64> {
        let mut state = lock(&self.state);
        state.total += 1;
        if state.told_at.is_some_and(|told| now.duration_since(told) < self.period) {
            return None;
        }
        let since = state.total - state.told;
        (state.told, state.told_at) = (state.total, Some(now));
        Some(since)
    }

    /// How often it has happened.
    pub fn total(&self) -> u64 {
        lock(&self.state).total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_at_once_and_then_once_a_period() {
        let rarely = Rarely::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| rarely.note_at(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(9)], [Some(1), None, None]);
        assert_eq!([at(10), at(11)], [Some(3), None]);
        assert_eq!(rarely.total(), 5);
    }
}
