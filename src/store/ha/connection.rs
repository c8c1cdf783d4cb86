//! [`SlaveConnection`]: one slave at the other end of a socket, with the thread that reads its
//! reports and the one that writes the log to it.
//!
//! Who is let in, and what acknowledgements lead to, is the business of `slaves.rs`.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::slaves::Slaves;
use super::wire::{FrameHeader, HEADER_BYTES, REPORT_BYTES};
use crate::common::clock::now_ms;
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::lock;
use crate::store::config::StoreConfig;
use crate::store::mapped_file::MappedSlice;

/// Time for the first report. Java's slaves send it 5 s after they have connected.
const FIRST_REPORT_LIMIT: Duration = Duration::from_secs(10);
/// Most bytes of one write.
const WRITE_BYTES: usize = 1024 * 1024;
/// Most frames of one write; a system call takes 1024 slices, two for each frame.
const WRITE_FRAMES: usize = 256;
/// Largest and smallest body, whatever is configured: a Java slave has a buffer of 4 MiB for
/// header and body.
const BODY_BYTES: (usize, usize) = (1024, 4 * 1024 * 1024 - HEADER_BYTES);
/// Less than this waits for the acknowledgement of what was sent before: messages that come
/// meanwhile go together, and each stage from here to the answer of a put works once for all of
/// them.
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
    acked: AtomicI64,
    sent: AtomicI64,
    /// The writer waits for an acknowledgement; appends need not wake it.
    holding: AtomicBool,
    /// Why it ended, from whoever knew first.
    reason: Mutex<Option<String>>,
}

impl SlaveConnection {
    /// A connection without threads yet.
    pub fn new(socket: TcpStream, peer: SocketAddr) -> Self {
        Self {
            peer,
            connected_ms: now_ms(),
            connected: Instant::now(),
            socket,
            signal: Arc::default(),
            requested: AtomicI64::new(NONE),
            acked: AtomicI64::new(NONE),
            sent: AtomicI64::new(NONE),
            holding: AtomicBool::new(false),
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

    /// Up to where it was sent the log; `None` before anything was.
    pub fn sent(&self) -> Option<i64> {
        Some(self.sent.load(Ordering::Acquire)).filter(|sent| *sent != NONE)
    }

    /// Tells that there is more to send. The caller has a full fence between making it visible and
    /// this: a writer that stops holding sees one or the other.
    pub fn wakeup(&self) {
        if !self.holding.load(Ordering::SeqCst) {
            self.signal.wakeup();
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
        let mut deadline = self.connected + FIRST_REPORT_LIMIT;
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
            let silence = slaves.config.get().ha_housekeeping_interval.max(1) as u64;
            let silence = Duration::from_millis(silence);
            deadline = Instant::now() + silence;
            let is_first = writer.is_none();
            let taken = match writer {
                None => self.first_report(report, slaves).map(|started| *writer = Some(started)),
                Some(_) => self.later_report(report),
            };
            if let Err(reason) = taken {
                return reason;
            }
            if is_first && self.limit_reads(silence).is_err() {
                return too_long();
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
        self.sent.store(begin, Ordering::Release);
        self.requested.store(report, Ordering::Release);
        slaves.joined(self);
        let (connection, its_slaves) = (Arc::clone(self), Arc::clone(slaves));
        ServiceThread::spawn("WriteSocket", Arc::clone(&self.signal), move |signal| {
            if let Err(reason) = connection.write_log(begin, &its_slaves, signal) {
                connection.close(&reason);
            }
        })
        .map_err(|error| format!("no thread can be started: {error}"))
    }

    fn later_report(&self, report: i64) -> Result<(), String> {
        let sent = self.sent.load(Ordering::Acquire);
        if report < 0 || report > sent {
            return Err(format!("it reports {report}, but was sent the log up to {sent}"));
        }
        // As long as an empty slave says that it is empty, it says nothing.
        if report != 0 || self.acked().is_some() {
            self.acked.store(report, Ordering::SeqCst);
        }
        if report == sent && self.holding.load(Ordering::SeqCst) {
            self.signal.wakeup();
        }
        Ok(())
    }

    /// The thread `WriteSocket`: sends the log from `next` on, and a heartbeat when it has been
    /// idle. One follows as soon as the end is reached for the first time: so a slave learns at
    /// once where its master ends.
    fn write_log(&self, mut next: i64, slaves: &Slaves, signal: &Signal) -> Result<(), String> {
        let mut last_write = Instant::now();
        let mut told_end = false;
        // Whether what was sent last ended with a record, so that all of it can be acknowledged,
        // and has not been waited for yet.
        let mut may_hold = false;
        loop {
            if signal.stopped() {
                return Ok(());
            }
            let config = slaves.config.get();
            let limit = slaves.limit(&config);
            if next < limit && limit - next < HOLD_BYTES && std::mem::take(&mut may_hold) {
                self.hold(next, signal);
                continue;
            }
            if next < limit {
                let frames = Frames::gather(next, limit, slaves, &config)?;
                // Before it is written: the acknowledgement may come before the call returns.
                next += frames.bytes as i64;
                self.sent.store(next, Ordering::Release);
                frames.write(&self.socket).map_err(|error| error.to_string())?;
                may_hold = next == limit;
                last_write = Instant::now();
                continue;
            }
            let interval = config.ha_send_heartbeat_interval.max(1) as u64;
            let due = last_write + Duration::from_millis(interval);
            let left = due.saturating_duration_since(Instant::now());
            if !told_end || left.is_zero() {
                let header = FrameHeader { offset: next, size: 0 }.encode();
                (&self.socket).write_all(&header).map_err(|error| error.to_string())?;
                last_write = Instant::now();
                told_end = true;
            } else {
                signal.wait(left);
            }
        }
    }

    /// Waits until everything before `next` is acknowledged, for a moment.
    fn hold(&self, next: i64, signal: &Signal) {
        let deadline = Instant::now() + HOLD_LIMIT;
        self.holding.store(true, Ordering::SeqCst);
        while self.acked.load(Ordering::SeqCst) < next && !signal.stopped() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            signal.wait(left);
        }
        self.holding.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
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

    /// Writes all of it.
    fn write(&self, mut socket: &TcpStream) -> io::Result<()> {
        let mut slices = Vec::with_capacity(2 * self.headers.len());
        let mut headers = self.headers.iter();
        for (stretch, length) in self.stretches.iter().zip(&self.lengths) {
            for body in stretch[..*length].chunks(self.body_bytes) {
                slices.extend(headers.next().map(|header| IoSlice::new(header)));
                slices.push(IoSlice::new(body));
            }
        }
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            match socket.write_vectored(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut rest, count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => {
                    return Err(io::Error::other("it has not read for too long"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
