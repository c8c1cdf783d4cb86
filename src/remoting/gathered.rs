//! Answers that one thread gives to many connections at once: a flush or an acknowledgement of a
//! slave ends the waiting of hundreds of sends.
//!
//! They are gathered, so that each connection gets one write. A write wakes the peer and costs ten
//! times what it takes to make the answer; one thread that writes all of them is the narrowest
//! place of a broker that answers late. So with many connections the writes wait in a list that
//! everybody sees, and readers that have just served a request take some of them along: they are
//! awake, nobody has to be woken for it, and the more answers have left, the more readers come.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::command::Command;
use super::connection::Connection;
use super::outbox::Frames;
use crate::common::sync::lock;
use crate::common::together;

/// Fewer connections than this are written to by who has the answers.
const SHARED_FROM: usize = 4;
/// So many writes of others a reader does before it reads on.
const HELPED: usize = 4;

/// What one connection is sent.
struct Write {
    connection: Arc<Connection>,
    frames: Frames,
}

impl Write {
    fn run(mut self) {
        if let Err(error) = self.connection.send_frames(&mut self.frames) {
            log::debug!("responses dropped: {error}");
        }
    }
}

/// Writes that are to be done, of all servers of the process.
///
/// Invariant: whoever puts writes here does as many afterwards, not necessarily its own, unless it
/// finds none: so none is left when nobody helps, and nobody writes for ever.
#[derive(Default)]
struct SharedWrites {
    /// How many wait, to be looked at without the lock.
    count: AtomicUsize,
    waiting: Mutex<VecDeque<Write>>,
}

static SHARED: SharedWrites =
    SharedWrites { count: AtomicUsize::new(0), waiting: Mutex::new(VecDeque::new()) };

impl SharedWrites {
    fn put(&self, writes: impl Iterator<Item = Write>) {
        let mut waiting = lock(&self.waiting);
        waiting.extend(writes);
        self.count.store(waiting.len(), Ordering::Release);
    }

    fn take(&self) -> Option<Write> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut waiting = lock(&self.waiting);
        let write = waiting.pop_front();
        self.count.store(waiting.len(), Ordering::Release);
        write
    }

    /// Does up to `most` of them.
    fn write(&self, most: usize) {
        for _ in 0..most {
            let Some(write) = self.take() else { return };
            write.run();
        }
    }
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

/// Writes what was gathered, a connection at a time.
fn send_gathered() {
    let gathered = GATHERED.take();
    let count = gathered.len();
    if count < SHARED_FROM {
        gathered.into_values().for_each(Write::run);
    } else {
        SHARED.put(gathered.into_values());
        SHARED.write(count);
    }
}

/// Writes some of the answers that others have given to many, if there are any.
pub(super) fn help() {
    SHARED.write(HELPED);
}
