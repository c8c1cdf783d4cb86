//! [`Watch`]: waiting awake for a peer that answers at once.
//!
//! Putting a thread to sleep and waking it again costs tens of microseconds, on a virtual machine
//! mostly; a caller and a server that send one another a message at a time wait longer for that than
//! for all the work. So whoever reads a connection may look at the socket for a moment before it
//! sleeps.
//!
//! That pays only for a peer that is quick, and only while there are processors to spare:
//!
//! * A watch lasts at most `busyPollMicros`, which is about what a sleep costs: it never costs much
//!   more than it may save. Between two looks other threads may run. A peer that still waits for its
//!   answer, because a slave has to acknowledge it, has [`OWED`] times as long.
//! * A peer that comes in time earns credit, one that does not uses it up, and without credit the
//!   next [`REST`] reads sleep at once, twice as many each time. So do the first [`BEGIN`].
//! * A server or a client keeps half of the processors awake at most, and none where there is
//!   only one.
//! * Only reads that follow a single request or answer are watched: with several on their way the
//!   reader is awake anyway.
//!
//! Two threads that watch for one another send and answer three to four times as often as two that
//! sleep, and use less of the processors (`cargo bench --bench client -- --only sync,echo`).

use std::io::{
    self,
    ErrorKind::{Interrupted, WouldBlock},
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// So many reads of a new connection are not watched.
const BEGIN: u32 = 16;
/// So many reads are not watched when a connection's credit is used up for the first time.
const REST: u32 = 64;
/// So many at most.
const LONGEST_REST: u32 = 4096;
/// So many times the limit a watch lasts if the peer is owed an answer.
const OWED: u32 = 4;
/// A peer that came in time earns 1, up to so much.
const MOST_CREDIT: u32 = 32;
/// One that did not costs so much.
const FAILURE: u32 = 4;

/// The threads of one server or client that watch.
pub(super) struct Watchers {
    /// How long one watches; zero: never.
    limit: Duration,
    most: usize,
    now: AtomicUsize,
}

impl Watchers {
    /// `limit` is how long one watches.
    pub(super) fn new(limit: Duration) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self { limit, most: processors / 2, now: AtomicUsize::new(0) }
    }

    fn enter(&self) -> Option<Watching<'_>> {
        if self.now.fetch_add(1, Ordering::Relaxed) < self.most {
            return Some(Watching(self));
        }
        self.now.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

/// One that watches.
struct Watching<'a>(&'a Watchers);

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection's reader knows of its peer.
pub(super) struct Watch {
    /// So many reads are not watched.
    rest: u32,
    /// The rest when the credit is used up.
    next_rest: u32,
    /// What successes have earned.
    credit: u32,
    /// The peer waits for the answer to what it sent last.
    pub(super) is_owed: bool,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { rest: BEGIN, next_rest: REST, credit: 0, is_owed: false }
    }

    /// Reads with `read`, which does not wait, until it brings something, an end or an error.
    /// `None`: nothing came in time, or this read is not watched; it is to sleep.
    pub(super) fn read(
        &mut self,
        watchers: &Watchers,
        mut read: impl FnMut() -> io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        if self.rest > 0 || watchers.limit.is_zero() {
            self.rest = self.rest.saturating_sub(1);
            return None;
        }
        let _watching = watchers.enter()?;
        let limit = if self.is_owed { OWED * watchers.limit } else { watchers.limit };
        let since = Instant::now();
        loop {
            match read() {
                Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => {}
                read => {
                    self.credit = (self.credit + 1).min(MOST_CREDIT);
                    self.next_rest = REST;
                    return Some(read);
                }
            }
            if since.elapsed() >= limit {
                self.failed();
                return None;
            }
            thread::yield_now();
        }
    }

    fn failed(&mut self) {
        match self.credit.checked_sub(FAILURE) {
            Some(credit) => self.credit = credit,
            None => {
                self.rest = self.next_rest;
                self.next_rest = (self.next_rest * 2).min(LONGEST_REST);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error;

    fn watchers(limit: Duration) -> Watchers {
        Watchers { limit, most: 1, now: AtomicUsize::new(0) }
    }

    fn nothing() -> io::Result<usize> {
        Err(Error::from(WouldBlock))
    }

    /// How many of the next reads sleep at once.
    fn rest(watch: &mut Watch, watchers: &Watchers) -> u32 {
        let mut slept = 0;
        loop {
            let mut looked = false;
            let look = || {
                looked = true;
                nothing()
            };
            assert!(watch.read(watchers, look).is_none());
            if looked {
                return slept;
            }
            slept += 1;
        }
    }

    #[test]
    fn a_peer_that_does_not_come_in_time_is_watched_ever_less() {
        let watchers = watchers(Duration::from_nanos(1));
        let mut watch = Watch::new();
        assert_eq!(rest(&mut watch, &watchers), BEGIN);
        for expected in [64, 128, 256, 512, 1024, 2048, 4096, 4096] {
            assert_eq!(rest(&mut watch, &watchers), expected);
        }
        // It is quick again.
        for _ in 0..LONGEST_REST {
            assert!(watch.read(&watchers, || Ok(1)).is_none());
        }
        for _ in 0..9 {
            assert_eq!(watch.read(&watchers, || Ok(1)).unwrap().unwrap(), 1);
        }
        // Which allows for two failures.
        let found = [(); 4].map(|()| rest(&mut watch, &watchers));
        assert_eq!(found, [0, 0, 0, 64]);
    }

    #[test]
    fn who_is_owed_an_answer_has_longer() {
        let limit = Duration::from_millis(5);
        let watchers = watchers(limit);
        for (is_owed, least) in [(false, limit), (true, OWED * limit)] {
            let mut watch = Watch { rest: 0, is_owed, ..Watch::new() };
            let since = Instant::now();
            assert!(watch.read(&watchers, nothing).is_none());
            assert!(since.elapsed() >= least);
        }
    }

    #[test]
    fn few_watch_at_a_time() {
        let watchers = watchers(Duration::from_secs(60));
        let mut watch = Watch { rest: 0, ..Watch::new() };
        let other = watchers.enter().unwrap();
        assert!(watch.read(&watchers, || Ok(1)).is_none());
        drop(other);
        assert_eq!(watch.read(&watchers, || Ok(1)).unwrap().unwrap(), 1);
    }

    #[test]
    fn a_read_ends_with_what_comes() {
        let watchers = watchers(Duration::from_secs(60));
        let mut watch = Watch { rest: 0, ..Watch::new() };
        let mut looks = 0;
        let read = watch.read(&watchers, || {
            looks += 1;
            if looks < 5 { nothing() } else { Ok(7) }
        });
        assert_eq!((read.unwrap().unwrap(), looks), (7, 5));
        let end = watch.read(&watchers, || Err(Error::from(io::ErrorKind::ConnectionReset)));
        assert_eq!(end.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(watchers.now.into_inner(), 0);
    }
}
