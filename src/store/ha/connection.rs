//! [`SlaveConnection`]: one slave at the other end of a socket, with the thread that reads its
//! reports and the one that writes the log to it.
//!
//! Who is let in, and what acknowledgements lead to, is the business of `slaves.rs`.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering, fence};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use libc::{MSG_DONTWAIT, MSG_NOSIGNAL};
use socket2::SockRef;

use super::slaves::Slaves;
use super::wire::{FrameHeader, HEADER_BYTES, REPORT_BYTES};
use crate::common::clock::now_ms;
use crate::common::os;
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::lock;
use crate::store::config::StoreConfig;
use crate::store::mapped_file::MappedSlice;

/// Most bytes of one write.
const WRITE_BYTES: usize = 1024 * 1024;
/// Most frames of one write; a system call takes 1024 slices, two for each frame.
const WRITE_FRAMES: usize = 256;
/// Largest and smallest body, whatever is configured: a Java slave has a buffer of 4 MiB for
/// header and body.
const BODY_BYTES: (usize, usize) = (1024, 4 * 1024 * 1024 - HEADER_BYTES);
/// Less than this waits for the acknowledgement of what was sent before: messages that come
/// meanwhile go together, and each stage from here to the answer of a put works once for all of
/// them. More is the writer's: who has something else to do has no time for it.
const HOLD_BYTES: i64 = 64 * 1024;
/// So long at most: who acknowledges late is sent the log all the same.
const HOLD_LIMIT: Duration = Duration::from_millis(1);
/// How long ending waits for the writer.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// What has not happened yet.
const NONE: i64 = -1;

/// One who follows the log, or has connected and not yet said that it does.
///
/// Invariants:
/// * nothing is written before the first report;
/// * `acked ≤ sent`: a report beyond what was sent on this connection ends it.
#[derive(Debug)]
pub struct SlaveConnection {
    /// Its end of the connection.
    pub peer: SocketAddr,
    /// When it connected, ms since the epoch.
    pub connected_ms: i64,
    connected: Instant,
    socket: TcpStream,
    /// Wakes the writer.
    signal: Arc<Signal>,
    /// What the first report asked for.
    requested: AtomicI64,
    /// Where the log was begun to be sent from.
    begin: AtomicI64,
    acked: AtomicI64,
    /// Whether its slave may be the one that has connected anew since its last report.
    doubted: AtomicBool,
    sent: AtomicI64,
    /// Taken by whoever sends.
    sending: Mutex<Sending>,
    /// The writer is awake or will be within [`HOLD_LIMIT`].
    watching: AtomicBool,
    /// Why it ended, from whoever knew first.
    reason: Mutex<Option<String>>,
}

/// What whoever sends has to know.
#[derive(Debug)]
struct Sending {
    /// Up to where the log was sent; −1: nothing may be sent yet.
    next: i64,
    /// What the socket had no room for, of frames that are taken for sent.
    rest: Vec<u8>,
    last_write: Instant,
}

impl SlaveConnection {
    /// A connection without threads yet.
    pub fn new(socket: TcpStream, peer: SocketAddr) -> Self {
        let connected = Instant::now();
        let sending = Sending { next: NONE, rest: Vec::new(), last_write: connected };
        Self {
            peer,
            connected_ms: now_ms(),
            connected,
            socket,
            signal: Arc::default(),
            requested: AtomicI64::new(NONE),
            begin: AtomicI64::new(NONE),
            acked: AtomicI64::new(NONE),
            doubted: AtomicBool::new(false),
            sent: AtomicI64::new(NONE),
            sending: Mutex::new(sending),
            watching: AtomicBool::new(false),
            reason: Mutex::default(),
        }
    }

    /// Whether it has sent a report that was believed.
    pub fn follows(&self) -> bool {
        self.requested.load(Ordering::Acquire) != NONE
    }

    /// Up to where it has the log; `None` until it has said so of something it was sent. (An empty
    /// slave's first report says nothing.)
    pub fn acked(&self) -> Option<i64> {
        Some(self.acked.load(Ordering::Acquire)).filter(|acked| *acked != NONE)
    }

    /// The same, once it has taken something that it was sent. Where it asked to begin, it need not
    /// have the log: its own may be another one, which only what follows shows.
    pub fn confirmed(&self) -> Option<i64> {
        self.acked().filter(|acked| *acked > self.begin.load(Ordering::Acquire))
    }

    /// Whether it may be left over from a slave that another connection is now.
    pub fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Acquire)
    }

    /// A slave has connected from the same address: until this one reports again, it may be the same.
    pub fn doubt(&self) {
        self.doubted.store(true, Ordering::Release);
    }

    /// Up to where it was sent the log; `None` before anything was.
    pub fn sent(&self) -> Option<i64> {
        Some(self.sent.load(Ordering::Acquire)).filter(|sent| *sent != NONE)
    }

    /// Sends what there is, on this thread, if that takes but a moment; else it is the writer's.
    ///
    /// Whoever has appended, or read an acknowledgement, is awake: a send by them is there before the
    /// writer would have begun. The caller has a full fence between what it made visible and this, as
    /// has whoever sends between that and the next look, so nothing stays because each left it to the
    /// other.
    pub fn push(&self, slaves: &Slaves) {
        loop {
            let limit = slaves.limit(&slaves.config.get());
            let sent = self.sent.load(Ordering::SeqCst);
            if sent == NONE || sent >= limit {
                return;
            }
            if limit - sent >= HOLD_BYTES {
                return self.signal.wakeup();
            }
            if self.acked.load(Ordering::SeqCst) < sent {
                if !self.watching.load(Ordering::SeqCst) {
                    self.signal.wakeup();
                }
                return;
            }
            let mut sending = match self.sending.try_lock() {
                Ok(sending) => sending,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            if let Err(reason) = self.send(&mut sending, limit, slaves, MSG_DONTWAIT) {
                return self.close(&reason);
            }
            let has_rest = !sending.rest.is_empty();
            drop(sending);
            if has_rest {
                return self.signal.wakeup();
            }
            fence(Ordering::SeqCst);
        }
    }

    /// Ends the connection, because of `reason`. Its threads notice.
    pub fn close(&self, reason: &str) {
        lock(&self.reason).get_or_insert_with(|| reason.to_owned());
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// The thread `ReadSocket`: serves the slave until one of the two ends it. Returns why.
    pub fn run(self: &Arc<Self>, slaves: &Arc<Slaves>) -> String {
        let mut writer = None;
        let ended = self.read_reports(slaves, &mut writer);
        self.close(&ended);
        if let Some(writer) = writer {
            writer.stop(STOP_LIMIT);
        }
        lock(&self.reason).clone().unwrap_or(ended)
    }

    /// Reads reports. Only the last whole one of what has come together says anything.
    fn read_reports(
        self: &Arc<Self>,
        slaves: &Arc<Slaves>,
        writer: &mut Option<ServiceThread>,
    ) -> String {
        let mut buffer = [0; 64 * REPORT_BYTES];
        let mut filled = 0;
        let silence = || {
            let interval = slaves.config.get().ha_housekeeping_interval.max(1);
            Duration::from_millis(interval as u64)
        };
        // Java's slaves send the first report their haSendHeartbeatInterval after they have connected.
        let mut deadline = self.connected + silence();
        let too_long = || "it has been silent for too long".to_owned();
        loop {
            // A slave's reports are read without setting the limit anew for each.
            if writer.is_none() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || self.limit_reads(left).is_err() {
                    return too_long();
                }
            }
            match (&self.socket).read(&mut buffer[filled..]) {
                Ok(0) => return "it closed the connection".to_owned(),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if is_timeout(&error) => return too_long(),
                Err(error) => return error.to_string(),
            }
            let whole = filled / REPORT_BYTES * REPORT_BYTES;
            let Some(report) = buffer[..whole].last_chunk() else {
                if Instant::now() >= deadline {
                    return too_long();
                }
                continue;
            };
            let report = i64::from_be_bytes(*report);
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
            let silence = silence();
            deadline = Instant::now() + silence;
            let is_first = writer.is_none();
            let taken = match writer {
                None => self.first_report(report, slaves).map(|started| *writer = Some(started)),
                Some(_) => self.later_report(report, slaves),
            };
            if let Err(reason) = taken {
                return reason;
            }
            if is_first {
                // Puts of many wait for it; its writer, which has just begun, is as the others.
                os::set_priority(os::WAITED_FOR);
                if self.limit_reads(silence).is_err() {
                    return too_long();
                }
            }
            slaves.acknowledged();
        }
    }

    fn limit_reads(&self, limit: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(limit))
    }

    /// Begins to send, if what the slave asks for can be sent.
    fn first_report(
        self: &Arc<Self>,
        report: i64,
        slaves: &Arc<Slaves>,
    ) -> Result<ServiceThread, String> {
        let (min, max) = (slaves.log.min_offset().max(0), slaves.log.max_offset());
        if report < 0 {
            return Err(format!("its first report is {report}"));
        }
        let begin = if report == 0 { slaves.begin_of_last_file() } else { report };
        if begin > max || begin < min {
            // A frame that cannot be meant for its log tells both kinds of slaves where ours is.
            let there = if begin > max { max } else { min };
            let header = FrameHeader { offset: there, size: 0 }.encode();
            let _ = (&self.socket).write_all(&header);
            return Err(format!("it asks for {report}, but the log is {min} to {max}"));
        }
        if report != 0 || max == 0 {
            self.acked.store(report, Ordering::Release);
        }
        lock(&self.sending).next = begin;
        self.begin.store(begin, Ordering::Release);
        self.sent.store(begin, Ordering::SeqCst);
        self.requested.store(report, Ordering::Release);
        slaves.joined(self);
        let (connection, its_slaves) = (Arc::clone(self), Arc::clone(slaves));
        ServiceThread::spawn("WriteSocket", Arc::clone(&self.signal), move |signal| {
            if let Err(reason) = connection.write_log(&its_slaves, signal) {
                connection.close(&reason);
            }
        })
        .map_err(|error| format!("no thread can be started: {error}"))
    }

    fn later_report(&self, report: i64, slaves: &Slaves) -> Result<(), String> {
        let sent = self.sent.load(Ordering::Acquire);
        if report < 0 || report > sent {
            return Err(format!("it reports {report}, but was sent the log up to {sent}"));
        }
        self.doubted.store(false, Ordering::Release);
        // As long as an empty slave says that it is empty, it says nothing.
        if report != 0 || self.acked().is_some() {
            self.acked.store(report, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        self.push(slaves);
        Ok(())
    }

    /// The thread `WriteSocket`: sends what others left to it, and a heartbeat when the connection has
    /// been idle. One follows as soon as the end is reached for the first time: so a slave learns at
    /// once where its master ends.
    fn write_log(&self, slaves: &Slaves, signal: &Signal) -> Result<(), String> {
        let mut told_end = false;
        while !signal.stopped() {
            self.watching.store(true, Ordering::SeqCst);
            let mut sending = lock(&self.sending);
            let config = slaves.config.get();
            let limit = slaves.limit(&config);
            let since = sending.last_write.elapsed();
            let is_held = self.acked.load(Ordering::SeqCst) < sending.next
                && limit - sending.next < HOLD_BYTES
                && since < HOLD_LIMIT
                && told_end;
            if !sending.rest.is_empty() || (sending.next < limit && !is_held) {
                self.send(&mut sending, limit, slaves, 0)?;
                continue;
            }
            if sending.next < limit {
                let next = sending.next;
                drop(sending);
                fence(Ordering::SeqCst);
                if self.acked.load(Ordering::SeqCst) < next {
                    signal.wait(HOLD_LIMIT.saturating_sub(since));
                }
                continue;
            }
            let interval = Duration::from_millis(config.ha_send_heartbeat_interval.max(1) as u64);
            if !told_end || since >= interval {
                let header = FrameHeader { offset: sending.next, size: 0 }.encode();
                (&self.socket).write_all(&header).map_err(|error| error.to_string())?;
                sending.last_write = Instant::now();
                told_end = true;
                continue;
            }
            drop(sending);
            self.watching.store(false, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            if self.sent.load(Ordering::SeqCst) >= slaves.limit(&config) {
                signal.wait(interval.saturating_sub(since));
            }
        }
        Ok(())
    }

    /// Sends what the socket had no room for before, then frames up to `limit`. With
    /// [`MSG_DONTWAIT`] in `flags` this takes no longer than it can.
    fn send(
        &self,
        sending: &mut Sending,
        limit: i64,
        slaves: &Slaves,
        flags: i32,
    ) -> Result<(), String> {
        let rest = std::mem::take(&mut sending.rest);
        if !rest.is_empty() {
            sending.rest = write(&self.socket, &mut [IoSlice::new(&rest)], flags)?;
        } else if sending.next < limit {
            let frames = Frames::gather(sending.next, limit, slaves, &slaves.config.get())?;
            sending.next += frames.bytes as i64;
            // Before it is written: the acknowledgement may come before the call returns.
            self.sent.store(sending.next, Ordering::SeqCst);
            sending.rest = frames.write(&self.socket, flags)?;
        }
        sending.last_write = Instant::now();
        Ok(())
    }
}

/// A read or write that ended because of its time limit, or for no reason at all.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Frames that go out with one system call, straight from the mapped log.
#[derive(Default)]
struct Frames {
    headers: Vec<[u8; HEADER_BYTES]>,
    /// Stretches of the log, each within one file.
    stretches: Vec<MappedSlice>,
    /// How many bytes of each stretch go out.
    lengths: Vec<usize>,
    body_bytes: usize,
    /// Bytes of all bodies.
    bytes: usize,
}

impl Frames {
    /// What there is to send from `next` on, up to the limits of one write.
    fn gather(
        mut next: i64,
        limit: i64,
        slaves: &Slaves,
        config: &StoreConfig,
    ) -> Result<Self, String> {
        let configured = usize::try_from(config.ha_transfer_batch_size).unwrap_or(0);
        let body_bytes = configured.clamp(BODY_BYTES.0, BODY_BYTES.1);
        let mut frames = Self { body_bytes, ..Self::default() };
        let most = WRITE_BYTES.max(body_bytes).min(body_bytes * WRITE_FRAMES);
        while next < limit && frames.bytes < most {
            let Some(stretch) = slaves.log.slice_from(next) else {
                let min = slaves.log.min_offset();
                return Err(format!("it needs the log from {next}, which begins at {min} now"));
            };
            let left = most - frames.bytes;
            let length = stretch.len().min(left).min((limit - next) as usize);
            let mut at = 0;
            while at < length {
                let size = body_bytes.min(length - at);
                let header = FrameHeader { offset: next + at as i64, size: size as i32 };
                frames.headers.push(header.encode());
                at += size;
            }
            frames.stretches.push(stretch);
            frames.lengths.push(length);
            frames.bytes += length;
            next += length as i64;
        }
        Ok(frames)
    }

    /// Writes it; returns what the socket had no room for.
    fn write(&self, socket: &TcpStream, flags: i32) -> Result<Vec<u8>, String> {
        let mut slices = Vec::with_capacity(2 * self.headers.len());
        let mut headers = self.headers.iter();
        for (stretch, length) in self.stretches.iter().zip(&self.lengths) {
            for body in stretch[..*length].chunks(self.body_bytes) {
                slices.extend(headers.next().map(|header| IoSlice::new(header)));
                slices.push(IoSlice::new(body));
            }
        }
        write(socket, &mut slices, flags)
    }
}

/// Writes `slices`; with [`MSG_DONTWAIT`] in `flags` returns what the socket had no room for.
fn write(
    socket: &TcpStream,
    mut slices: &mut [IoSlice<'_>],
    flags: i32,
) -> Result<Vec<u8>, String> {
    let socket = SockRef::from(socket);
    while !slices.is_empty() {
        match socket.send_vectored_with_flags(slices, flags | MSG_NOSIGNAL) {
            Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).to_string()),
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && flags & MSG_DONTWAIT != 0 => {
                return Ok(slices.iter().flat_map(|slice| slice.iter().copied()).collect());
            }
            Err(error) if is_timeout(&error) => {
                return Err("it has not read for too long".to_owned());
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_a_socket_has_no_room_for_is_returned() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        SockRef::from(&socket).set_send_buffer_size(8192).unwrap();
        let bytes: Vec<u8> = (0..16_000_000_u32).map(|number| (number % 251) as u8).collect();
        let parts = || [IoSlice::new(&bytes[..11]), IoSlice::new(&bytes[11..])];
        let rest = write(&socket, &mut parts(), MSG_DONTWAIT).unwrap();
        assert!(!rest.is_empty() && bytes.ends_with(&rest));
        let received = std::thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).map(|_| received)
        });
        assert!(write(&socket, &mut [IoSlice::new(&rest)], 0).unwrap().is_empty());
        drop(socket);
        assert!(received.join().unwrap().unwrap() == bytes);
    }
}
