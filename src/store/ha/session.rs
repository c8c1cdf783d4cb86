//! [`Session`]: a slave's one connection to its master, from the first report to its end.
//!
//! What follows from how it ended is decided in `client.rs`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::assembler::{Assembler, NotTaken};
use super::client::HaClient;
use super::compare::Stretch;
use super::connection::is_timeout;
use super::status::FollowState;
use super::wire::{FrameHeader, HEADER_BYTES, encode_report};

/// Bytes of one read.
const READ_BYTES: usize = 512 * 1024;
/// How often a silent connection is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Largest record that is believed, if `maxMessageSize` is not larger.
const MAX_RECORD_BYTES: usize = 64 * 1024 * 1024;

/// What a connection is for; decides the first report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing is in the own log: the master says where it begins (its last file).
    Anywhere,
    /// Nothing is in the own log: it begins here, where a file of the master's does.
    BeginAt(i64),
    /// The own log's last records are compared, then it goes on.
    Follow(Stretch),
    /// Records of the own log are compared, nothing else.
    Probe(Stretch),
}

impl Plan {
    /// The first report. To ask for offset 0 means the master's last file, so offset 1 is asked
    /// for; the byte before it is compared by what follows, see [`Session::begin_at_zero`].
    fn request(self) -> i64 {
        match self {
            Self::Anywhere => 0,
            Self::BeginAt(offset) => offset.max(1),
            Self::Follow(stretch) | Self::Probe(stretch) => stretch.from.max(1),
        }
    }
}

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// Somebody wants it to: the broker stops, or the master is another one.
    Told,
    /// It broke; why.
    Lost(String),
    /// The bytes are no log that could be appended.
    NotALog(NotTaken),
    /// A record differs.
    Differs {
        /// The stretch that was being compared.
        stretch: Stretch,
        /// The byte.
        offset: i64,
    },
    /// The stretch that was to be compared is the same.
    Same,
    /// The master's log does not go so far: it ends at `master_end`.
    TooShort {
        /// The end that the master told.
        master_end: i64,
        /// Whether nothing of the stretch came: a master that does not tell may as well have
        /// deleted it.
        nothing: bool,
    },
    /// The master's log begins at this offset.
    BeginsAt(i64),
    /// What came was written, but not to the disk.
    NotFlushed,
}

enum Phase {
    /// The own log up to `stretch.to` is compared; this far it is the same.
    Comparing { stretch: Stretch, at: i64, probe: bool },
    /// What comes is appended; `None`: the first frame tells where that begins.
    Transferring(Option<Assembler>),
}

/// A connection to a master.
pub struct Session<'a> {
    client: &'a HaClient,
    stream: TcpStream,
    phase: Phase,
    request: i64,
    /// Offset of the next frame; `None` before the first one of an empty slave.
    expected: Option<i64>,
    /// A header of which not everything has come.
    header: Vec<u8>,
    /// Bytes of the frame's body that are still to come.
    body_left: usize,
    frames: u64,
    reported: i64,
    last_report: Instant,
    last_read: Instant,
    /// The master was silent for too long, and one more read is being waited for.
    last_look: bool,
    /// Why the master cannot be told anything any more.
    deaf: Option<String>,
}

impl<'a> Session<'a> {
    /// Begins a session on a connected socket.
    pub fn new(client: &'a HaClient, stream: TcpStream, plan: Plan) -> Self {
        let now = Instant::now();
        let request = plan.request();
        let comparing = |stretch: Stretch, probe| Phase::Comparing { stretch, at: request, probe };
        let phase = match plan {
            Plan::Anywhere => Phase::Transferring(None),
            Plan::BeginAt(offset) => Phase::Transferring(Some(assembler(client, offset))),
            Plan::Follow(stretch) => comparing(stretch, false),
            Plan::Probe(stretch) => comparing(stretch, true),
        };
        Self {
            client,
            stream,
            phase,
            request,
            expected: (plan != Plan::Anywhere).then_some(request),
            header: Vec::with_capacity(HEADER_BYTES),
            body_left: 0,
            frames: 0,
            reported: request,
            last_report: now,
            last_read: now,
            last_look: false,
            deaf: None,
        }
    }

    /// Runs it until it ends.
    pub fn run(mut self) -> End {
        match self.serve() {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let lost = |error: std::io::Error| End::Lost(error.to_string());
        self.stream.set_nodelay(true).map_err(lost)?;
        self.stream.set_read_timeout(Some(TICK)).map_err(lost)?;
        self.begin_at_zero();
        // What is there already may be all that the master waits for.
        self.assure()?;
        self.report(self.request);
        self.settle_comparison()?;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let config = self.client.config.get();
            let ms = |value: i32| Duration::from_millis(value.max(1) as u64);
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(End::Lost("the master closed the connection".to_owned())),
                Ok(count) => {
                    self.last_read = Instant::now();
                    self.last_look = false;
                    self.client.heard();
                    self.take(&buffer[..count])?;
                }
                Err(error) if is_timeout(&error) => {
                    if let Some(why) = self.deaf.take() {
                        return Err(End::Lost(why));
                    }
                    let silent = self.last_read.elapsed();
                    let limit = ms(config.ha_housekeeping_interval);
                    // Who was itself stopped finds the time gone, and unread what came meanwhile.
                    if silent > limit && !std::mem::replace(&mut self.last_look, true) {
                        continue;
                    }
                    if silent > limit {
                        let seconds = silent.as_secs();
                        return Err(End::Lost(format!("the master was silent for {seconds} s")));
                    }
                }
                Err(error) => return Err(lost(error)),
            }
            if self.client.is_told() {
                return Err(End::Told);
            }
            if self.last_report.elapsed() >= ms(config.ha_send_heartbeat_interval) {
                self.report(self.reported);
            }
        }
    }

    /// An empty log that begins at 0 cannot ask for its first byte. It is the highest one of the
    /// first record's size, so it is 0, and the record's other bytes tell if it is not.
    fn begin_at_zero(&mut self) {
        if let Phase::Transferring(Some(assembler)) = &mut self.phase
            && assembler.expected() + 1 == self.request
        {
            assembler.push(&[0]);
        }
    }

    /// Forces the own log to the disk, if that is what a report promises.
    fn assure(&self) -> Result<(), End> {
        let promised = self.client.config.get().slave_ack_after_flush;
        if promised && !self.client.flush.flush_now() {
            return Err(End::NotFlushed);
        }
        Ok(())
    }

    /// Says how far the own log goes. A master that cannot be told any more may have sent more than
    /// was read yet: reading goes on to its end.
    fn report(&mut self, offset: i64) {
        self.reported = offset;
        self.last_report = Instant::now();
        if self.deaf.is_none()
            && let Err(error) = self.stream.write_all(&encode_report(offset))
        {
            self.deaf = Some(format!("a report cannot be sent: {error}"));
        }
    }

    /// Takes frames apart.
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), End> {
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let (now, later) = bytes.split_at(bytes.len().min(self.body_left));
                self.body_left -= now.len();
                bytes = later;
                self.body(now)?;
                continue;
            }
            let missing = HEADER_BYTES - self.header.len();
            let (now, later) = bytes.split_at(bytes.len().min(missing));
            self.header.extend_from_slice(now);
            bytes = later;
            if let Some(header) = self.header.first_chunk() {
                let header = FrameHeader::decode(*header);
                self.header.clear();
                self.frame(header)?;
            }
        }
        self.append()
    }

    /// Checks a header.
    fn frame(&mut self, FrameHeader { offset, size }: FrameHeader) -> Result<(), End> {
        let first = self.frames == 0;
        self.frames += 1;
        let file_size = self.client.log.files().file_size() as i64;
        let bytes = i64::from(size);
        if offset < 0 || bytes < 0 || bytes > file_size || offset > i64::MAX - file_size {
            return Err(End::Lost(format!(
                "a frame of {size} bytes at {offset} is impossible, files have {file_size}"
            )));
        }
        match self.expected {
            Some(expected) if expected == offset => {}
            // So a master of ours tells where its log is when it has not got what it was asked for.
            Some(expected) if first && size == 0 && offset < expected => {
                return Err(End::TooShort { master_end: offset, nothing: false });
            }
            Some(expected) if first && offset > expected => return Err(End::BeginsAt(offset)),
            Some(expected) => {
                return Err(End::Lost(format!(
                    "the master sends its log from {offset}, {expected} comes next"
                )));
            }
            None => {}
        }
        let within = offset.rem_euclid(file_size);
        let crosses = bytes > 0 && within + bytes > file_size;
        if crosses || (self.expected.is_none() && within != 0) {
            let reason = "a frame of the master is not within one of our files".to_owned();
            return Err(End::NotALog(NotTaken::FileSize { offset, reason }));
        }
        if let Phase::Comparing { stretch, at, .. } = self.phase
            && size == 0
            && at < stretch.to
        {
            // Java's says so of whatever it was asked for: that is no end that it shows.
            let nothing = at == self.request;
            if !nothing {
                self.client.master_shows(offset);
            }
            return Err(End::TooShort { master_end: offset, nothing });
        }
        self.client.master_shows(offset + bytes);
        if let Phase::Transferring(assembled @ None) = &mut self.phase
            && size > 0
        {
            *assembled = Some(assembler(self.client, offset));
        }
        if size > 0 {
            self.expected = Some(offset + bytes);
        }
        self.body_left = bytes as usize;
        Ok(())
    }

    /// Takes bytes of a body.
    fn body(&mut self, mut bytes: &[u8]) -> Result<(), End> {
        if let Phase::Comparing { stretch, at, .. } = &mut self.phase {
            while *at < stretch.to && !bytes.is_empty() {
                let own = self.client.log.slice_from(*at);
                let Some(own) = own else {
                    return Err(End::Lost(format!("the own log has no {at} any more")));
                };
                let count = own.len().min(bytes.len()).min((stretch.to - *at) as usize);
                if let Some(differs) = (0..count).find(|at| own[*at] != bytes[*at]) {
                    let (stretch, offset) = (*stretch, *at + differs as i64);
                    return Err(End::Differs { stretch, offset });
                }
                *at += count as i64;
                bytes = &bytes[count..];
            }
            self.settle_comparison()?;
        }
        if let Phase::Transferring(Some(assembler)) = &mut self.phase {
            assembler.push(bytes);
        }
        Ok(())
    }

    /// When all of the stretch is the same, the own log goes on with what comes.
    fn settle_comparison(&mut self) -> Result<(), End> {
        match self.phase {
            Phase::Comparing { stretch, at, .. } if at < stretch.to => {
                self.client.set_state(FollowState::Comparing);
                Ok(())
            }
            Phase::Comparing { probe: true, .. } => Err(End::Same),
            Phase::Comparing { stretch, .. } => {
                self.phase = Phase::Transferring(Some(assembler(self.client, stretch.to)));
                self.client.set_state(FollowState::Transferring);
                self.report(stretch.to);
                Ok(())
            }
            Phase::Transferring(_) => {
                self.client.set_state(FollowState::Transferring);
                Ok(())
            }
        }
    }

    /// Appends what is whole, reports it, and shows it to whoever waits for it.
    fn append(&mut self) -> Result<(), End> {
        let Phase::Transferring(Some(assembler)) = &mut self.phase else { return Ok(()) };
        let client = self.client;
        let taken = assembler.take(|offset, bytes| client.append(offset, bytes));
        client.note_tail(assembler.offset(), assembler.padding());
        let end = client.log.max_offset();
        if end > self.reported {
            self.assure()?;
            self.report(end);
            client.appended();
        }
        taken.map(|_| ()).map_err(End::NotALog)
    }
}

/// What puts the log together from `offset` on.
fn assembler(client: &HaClient, offset: i64) -> Assembler {
    let config = client.config.get();
    let largest = usize::try_from(config.max_message_size).unwrap_or(0).saturating_mul(2);
    let file_size = client.log.files().file_size();
    let padding = client.padding_at(offset);
    Assembler::new(offset, padding, file_size, largest.max(MAX_RECORD_BYTES))
}
