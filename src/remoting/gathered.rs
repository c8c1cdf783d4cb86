//! Answers that one thread gives to many connections at once: a flush or an acknowledgement of a
//! slave ends the waiting of hundreds of sends. They are gathered, so that each connection gets one
//! write.
//!
//! A write wakes the peer and costs ten times what it takes to make the answer. So one thread that
//! writes to dozens of peers is the narrowest place of a broker that answers late, and where there
//! are more than two processors, threads `SendAnswer` write a share each. With two, sharing costs
//! more than it brings.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::thread;

use crossbeam::channel::{self, Receiver, Sender};

use super::command::Command;
use super::connection::Connection;
use super::outbox::Frames;
use crate::common::os;
use crate::common::sync::catch_panic;
use crate::common::together;

/// Fewer connections than this are written to by the thread that has the answers: handing them over
/// is a wake-up too.
const SHARED_FROM: usize = 8;
/// Most threads that take a share.
const MOST_WRITERS: usize = 2;

/// What one connection is sent.
struct Write {
    connection: Arc<Connection>,
    frames: Frames,
}

thread_local! {
    /// Answers of this thread that leave together, by connection number.
    static GATHERED: RefCell<HashMap<u64, Write>> = RefCell::default();
}

/// Keeps an answer until the end of what this thread does together, with the others of its
/// connection.
pub(super) fn gather(connection: &Arc<Connection>, response: &Command) {
    GATHERED.with_borrow_mut(|gathered| {
        if gathered.is_empty() {
            together::at_end(send_gathered);
        }
        let write = gathered.entry(connection.id()).or_insert_with(|| Write {
            connection: Arc::clone(connection),
            frames: Frames::default(),
        });
        if let Err(error) = write.frames.push(response) {
            log::error!("response {} to opaque {}: {error}", response.code, response.opaque);
        }
    });
}

/// Writes what was gathered, a connection at a time. Threads that have nothing to do take shares of
/// many.
fn send_gathered() {
    let writes: Vec<Write> = GATHERED.take().into_values().collect();
    write_all(if writes.len() < SHARED_FROM { writes } else { WRITERS.share(writes) });
}

fn write_all(writes: Vec<Write>) {
    for mut write in writes {
        if let Err(error) = write.connection.send_frames(&mut write.frames) {
            log::debug!("responses dropped: {error}");
        }
    }
}

/// The threads `SendAnswer` of this process, started when they are needed first.
static WRITERS: LazyLock<Writers<Write>> = LazyLock::new(|| {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    Writers::start(processors.saturating_sub(2).min(MOST_WRITERS), write_all)
});

/// Threads that take shares of work.
struct Writers<W> {
    /// Takes a share only while one of the threads waits for it, so that none lies here.
    idle: Sender<Vec<W>>,
    count: usize,
}

impl<W: Send + 'static> Writers<W> {
    fn start(wanted: usize, work: impl Fn(Vec<W>) + Clone + Send + 'static) -> Self {
        let (idle, shares) = channel::bounded(0);
        let start = |shares: Receiver<Vec<W>>| {
            let work = work.clone();
            thread::Builder::new().name("SendAnswer".to_owned()).spawn(move || {
                os::set_priority(os::WAITED_FOR);
                for share in shares {
                    catch_panic("SendAnswer", || work(share));
                }
            })
        };
        let count = (0..wanted).take_while(|_| start(shares.clone()).is_ok()).count();
        Self { idle, count }
    }

    /// Gives every thread that waits its share; the caller does what is left.
    fn share(&self, mut all: Vec<W>) -> Vec<W> {
        let share = all.len().div_ceil(self.count + 1);
        for _ in 0..self.count {
            let part = all.split_off(all.len().saturating_sub(share));
            if let Err(refused) = self.idle.try_send(part) {
                all.extend(refused.into_inner());
                break;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn everything_is_done_once_whoever_is_free() {
        let (done, results) = mpsc::channel();
        let writers = Writers::start(2, move |share: Vec<u32>| {
            share.into_iter().for_each(|one| done.send(one).unwrap_or_default());
        });
        let mut shared = 0;
        // Until a thread was waiting for its share.
        while shared == 0 {
            let left = writers.share((0..100).collect());
            shared = 100 - left.len();
            let others = (0..shared).map(|_| results.recv_timeout(LONG).unwrap());
            let mut all: Vec<u32> = left.iter().copied().chain(others).collect();
            all.sort_unstable();
            assert_eq!(all, (0..100).collect::<Vec<_>>());
            thread::yield_now();
        }
        assert!(shared <= 68, "{shared}");
    }

    #[test]
    fn without_threads_nothing_is_given_away() {
        let writers = Writers::start(0, |_: Vec<u32>| ());
        assert_eq!(writers.share(vec![1, 2, 3]), [1, 2, 3]);
    }
}
