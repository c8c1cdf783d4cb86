//! Answers that one thread gives to many connections at once: a flush or an acknowledgement of a
//! slave ends the waiting of hundreds of sends. They are gathered, so that each connection gets one
//! write.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::command::Command;
use super::connection::Connection;
use super::outbox::Frames;
use crate::common::together;

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

/// Writes what was gathered, a connection at a time.
fn send_gathered() {
    for mut write in GATHERED.take().into_values() {
        if let Err(error) = write.connection.send_frames(&mut write.frames) {
            log::debug!("responses dropped: {error}");
        }
    }
}
