//! [`HaClient`]: the thread of a slave that follows its master, and what it makes of each
//! connection's end.

use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::MasterRange;
use super::assembler::NotTaken;
use super::compare::{Search, Step, Stretch, last_records, record_holding};
use super::complaints::Complaints;
use super::session::{End, Plan, Session};
use super::slaves::Slaves;
use super::status::{FollowState, FollowStatus, Refusal, RefusalKind};
use crate::common::config::Live;
use crate::common::service_thread::Signal;
use crate::common::sync::lock;
use crate::store::commit_log::CommitLog;
use crate::store::config::StoreConfig;
use crate::store::dispatch::ReputMessageService;
use crate::store::flush::FlushService;
use crate::store::message_store::StoreError;
use crate::store::recovery::find_record;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// Pauses before a lost master is tried again; the last one goes on.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(300), Duration::from_secs(1)];
/// Pause before a master that does not go with the own log is tried again: perhaps somebody has put
/// it right.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
/// How often the log repeats why nothing is replicated.
const REPEAT: Duration = Duration::from_secs(600);
/// So often a damaged record at one offset is fetched again before the slave gives up.
const DAMAGE_TRIES: u32 = 5;

/// What other threads may see and change.
struct Shared {
    master: Option<String>,
    /// Counts changes of the master.
    changes: u64,
    /// To end the connection.
    stream: Option<TcpStream>,
    state: FollowState,
    master_end: i64,
    heard: Option<Instant>,
}

/// Where the own log ends within a file's padding.
#[derive(Clone, Copy, Default)]
struct Tail {
    end: i64,
    padding: i64,
}

/// Follows the master. Idle without one.
pub struct HaClient {
    pub(super) log: Arc<CommitLog>,
    pub(super) config: Arc<Live<StoreConfig>>,
    pub(super) flush: Arc<FlushService>,
    reput: Arc<ReputMessageService>,
    /// Slaves of this slave.
    slaves: Arc<Slaves>,
    master_range: Option<MasterRange>,
    shared: Mutex<Shared>,
    tail: Mutex<Tail>,
    signal: Arc<Signal>,
    complaints: Complaints,
}

/// What the thread remembers from one connection to the next.
#[derive(Default)]
struct Memory {
    /// Connections in a row that brought nothing.
    failures: usize,
    search: Option<Search>,
    /// The difference that was found last: the byte that showed it, and the first record.
    known: Option<(i64, i64)>,
    /// An end of the master's before the own last records, and the first record that it has not got, as
    /// far as is known; while there is a search, it is for that one.
    short: Option<(i64, i64)>,
    /// Where the master's log begins, as the master told.
    begins: Option<i64>,
    /// A damaged record, and how often it came.
    damage: Option<(i64, u32)>,
    told: Option<(RefusalKind, i64, Instant)>,
}

/// What is done next.
enum Next {
    AtOnce,
    After(Duration),
}

impl HaClient {
    /// A client without a thread yet.
    pub fn new(
        log: Arc<CommitLog>,
        config: Arc<Live<StoreConfig>>,
        flush: Arc<FlushService>,
        reput: Arc<ReputMessageService>,
        slaves: Arc<Slaves>,
        master: Option<String>,
        master_range: Option<MasterRange>,
    ) -> Self {
        let shared = Shared {
            master,
            changes: 0,
            stream: None,
            state: FollowState::NoMaster,
            master_end: 0,
            heard: None,
        };
        Self {
            log,
            config,
            flush,
            reput,
            slaves,
            master_range,
            shared: Mutex::new(shared),
            tail: Mutex::default(),
            signal: Arc::default(),
            complaints: Complaints::default(),
        }
    }

    /// What wakes its thread.
    pub fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }

    /// Sets whom to follow. A changed address ends the connection.
    pub fn set_master(&self, address: Option<&str>) {
        let mut shared = lock(&self.shared);
        if shared.master.as_deref() == address {
            return;
        }
        match address {
            Some(address) => log::info!("replication: following {address} from now on"),
            None => log::info!("replication: no master is known any more"),
        }
        shared.master = address.map(str::to_owned);
        shared.changes += 1;
        shared.master_end = 0;
        if let Some(stream) = &shared.stream {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(shared);
        self.signal.wakeup();
    }

    /// Ends the connection; the thread is told by its signal.
    pub fn interrupt(&self) {
        if let Some(stream) = &lock(&self.shared).stream {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How it stands with the master.
    pub fn status(&self) -> FollowStatus {
        let received = self.log.max_offset();
        let shared = lock(&self.shared);
        let silent = shared.heard.map_or(0, |heard| heard.elapsed().as_millis() as i64);
        FollowStatus {
            master: shared.master.clone().unwrap_or_default(),
            state: shared.state.clone(),
            received,
            master_end: shared.master_end,
            silent_ms: silent,
        }
    }

    /// The thread `HAClient`.
    pub fn run(&self, signal: &Signal) {
        let mut memory = Memory::default();
        let mut changes = 0;
        while !signal.stopped() {
            let master = {
                let mut shared = lock(&self.shared);
                if shared.changes != changes {
                    memory = Memory::default();
                    changes = shared.changes;
                }
                if shared.master.is_none() {
                    shared.state = FollowState::NoMaster;
                }
                shared.master.clone()
            };
            let Some(master) = master else {
                signal.wait_for_wakeup();
                continue;
            };
            let next = match self.connect(&master, changes) {
                Ok(stream) => {
                    let plan = self.plan(&memory);
                    let end = Session::new(self, stream, plan).run();
                    if self.disconnected() != changes {
                        continue;
                    }
                    self.after(&master, plan, end, &mut memory)
                }
                Err(reason) => self.lost(&master, &reason, &mut memory),
            };
            if let Next::After(pause) = next {
                signal.wait(pause);
            }
        }
    }

    fn connect(&self, master: &str, changes: u64) -> Result<TcpStream, String> {
        let addresses = master.to_socket_addrs().map_err(|error| format!("no address: {error}"))?;
        let mut reason = "the name has no address".to_owned();
        for address in addresses {
            let stream = match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
                Ok(stream) => stream,
                Err(error) => {
                    reason = error.to_string();
                    continue;
                }
            };
            if self.is_own(&stream) {
                return Err("it is this broker's own replication port".to_owned());
            }
            let kept =
                stream.set_write_timeout(Some(WRITE_LIMIT)).and_then(|()| stream.try_clone());
            let kept = kept.map_err(|error| error.to_string())?;
            let mut shared = lock(&self.shared);
            if shared.changes != changes {
                return Err("the master is another one now".to_owned());
            }
            shared.stream = Some(kept);
            shared.heard = Some(Instant::now());
            return Ok(stream);
        }
        Err(reason)
    }

    /// Whether the other end is the port that this broker's own slaves connect to: then it would follow
    /// itself, and lack nothing.
    fn is_own(&self, stream: &TcpStream) -> bool {
        let (Ok(here), Ok(there)) = (stream.local_addr(), stream.peer_addr()) else { return false };
        here.ip() == there.ip() && i32::from(there.port()) == self.config.get().ha_listen_port
    }

    /// Forgets the connection. Returns how often the master has changed by now.
    fn disconnected(&self) -> u64 {
        let mut shared = lock(&self.shared);
        shared.stream = None;
        shared.heard = None;
        shared.changes
    }

    /// What the next connection is for.
    fn plan(&self, memory: &Memory) -> Plan {
        if let Some(search) = &memory.search
            && let Step::Ask(stretch) = search.step(&self.log)
        {
            return Plan::Probe(stretch);
        }
        let (min, max) = (self.log.min_offset(), self.log.max_offset());
        if min >= 0 && min < max {
            return Plan::Follow(last_records(&self.log));
        }
        if self.config.get().sync_from_last_file {
            return Plan::Anywhere;
        }
        match memory.begins.or_else(|| Some(self.ask_range()?.0)) {
            // An empty master: any file will do.
            Some(begin) if begin < 0 => Plan::Anywhere,
            begin => Plan::BeginAt(begin.unwrap_or(0)),
        }
    }

    /// What follows from a connection's end.
    fn after(&self, master: &str, plan: Plan, end: End, memory: &mut Memory) -> Next {
        if let (Plan::Probe(stretch), Some(search)) = (plan, &mut memory.search) {
            match end {
                End::Same | End::TooShort { .. } | End::BeginsAt(_) => search.same(stretch),
                End::Differs { offset, .. } => {
                    let record = record_holding(&self.log, stretch.from, offset);
                    search.differs(stretch, record);
                }
                End::Told => return Next::AtOnce,
                End::Lost(reason) => return self.lost(master, &reason, memory),
                End::NotALog(_) | End::NotFlushed => memory.search = None,
            }
            return self.after_probe(master, memory);
        }
        match end {
            End::Told | End::Same => Next::AtOnce,
            End::Lost(reason) => self.lost(master, &reason, memory),
            End::NotFlushed => {
                self.lost(master, "the own disk refused what came; restart the broker", memory)
            }
            End::NotALog(NotTaken::NotAppended(error)) => {
                self.lost(master, &format!("what came cannot be appended: {error}"), memory)
            }
            End::NotALog(NotTaken::Damaged { offset, reason }) => {
                self.damaged(master, offset, &reason, memory)
            }
            End::NotALog(NotTaken::FileSize { offset, reason }) => {
                let text = format!(
                    "{reason} (at {offset}): mappedFileSizeCommitLog must be the same on both; set \
                     it and let this slave begin with an empty store"
                );
                self.refuse(master, RefusalKind::FileSize, offset, text, memory)
            }
            End::Differs { stretch, offset } => self.differs(master, stretch, offset, memory),
            End::TooShort { master_end, nothing } => {
                self.beyond_end(master, plan, master_end, nothing, memory)
            }
            End::BeginsAt(begin) => self.begins_later(master, plan, begin, memory),
        }
    }

    fn lost(&self, master: &str, reason: &str, memory: &mut Memory) -> Next {
        if self.signal.stopped() {
            return Next::AtOnce;
        }
        let transferring = {
            let mut shared = lock(&self.shared);
            let before = &shared.state;
            let transferring = *before == FollowState::Transferring;
            if !matches!(before, FollowState::Refused(_)) {
                shared.state = FollowState::Connecting(reason.to_owned());
            }
            transferring
        };
        if transferring {
            memory.failures = 0;
        }
        // All lines are about one peer: its name may stand for several addresses.
        let about = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let kind = if transferring { "lost" } else { "not reached" };
        let what = format!(
            "replication: master {master}: {reason}; the log ends at {}, trying again",
            self.log.max_offset()
        );
        self.complaints.tell(log::Level::Warn, kind, about, &what);
        let pause = PAUSES[memory.failures.min(PAUSES.len() - 1)];
        memory.failures += 1;
        Next::After(pause)
    }

    /// A damaged record is fetched again: nothing of it is in the own log.
    fn damaged(&self, master: &str, offset: i64, reason: &str, memory: &mut Memory) -> Next {
        let before = memory.damage.filter(|(at, _)| *at == offset).map_or(0, |(_, count)| count);
        memory.damage = Some((offset, before + 1));
        if before + 1 < DAMAGE_TRIES {
            let what = format!("what came for {offset} is damaged ({reason})");
            return self.lost(master, &what, memory);
        }
        let text = format!(
            "what the master sends for {offset} is damaged, {DAMAGE_TRIES} times over: {reason}. If \
             its log is (mqstore verify, with the master stopped), nothing can be copied beyond it"
        );
        self.refuse(master, RefusalKind::Damaged, offset, text, memory)
    }

    /// The own log goes beyond what the master has, or so it seems.
    fn beyond_end(
        &self,
        master: &str,
        plan: Plan,
        master_end: i64,
        nothing: bool,
        memory: &mut Memory,
    ) -> Next {
        if !matches!(plan, Plan::Follow(_)) {
            // The own log is empty, and so is the master's: it begins wherever that will.
            memory.begins = Some(-1);
            return Next::AtOnce;
        }
        // One that does not tell, Java's, is asked.
        let (master_end, nothing) = match nothing.then(|| self.ask_range()).flatten() {
            Some((begin, _)) if begin > master_end => {
                return self.begins_later(master, plan, begin, memory);
            }
            Some((_, end)) if end < self.log.max_offset() => {
                self.master_shows(end);
                (end, false)
            }
            // It has it, and has only said yet that it is there.
            Some(_) => {
                let what = format!("it sent nothing of its log from {master_end} on");
                return self.lost(master, &what, memory);
            }
            None => (master_end, nothing),
        };
        // Nothing of what the master has was asked for, so nothing was compared.
        if let Plan::Follow(stretch) = plan
            && !nothing
            && stretch.from > master_end
        {
            return self.look_before(master, master_end, stretch.from, memory);
        }
        self.refuse_end(master, master_end, nothing, memory)
    }

    fn ask_range(&self) -> Option<(i64, i64)> {
        self.master_range.as_ref().and_then(|ask| ask())
    }

    /// The master ends before the own log's last records: looks for where the two logs part.
    fn look_before(&self, master: &str, master_end: i64, from: i64, memory: &mut Memory) -> Next {
        if let Some((_, first)) = memory.short.filter(|(end, _)| *end == master_end) {
            return self.refuse_short(master, master_end, first, memory);
        }
        let files = self.log.files().snapshot();
        let lacks = find_record(&files, master_end - 1).unwrap_or(from);
        memory.short = Some((master_end, lacks));
        memory.search = Some(Search::new(self.log.min_offset().max(0), lacks));
        self.after_probe(master, memory)
    }

    /// `first` is the first record that the master has not got.
    fn refuse_short(&self, master: &str, end: i64, first: i64, memory: &mut Memory) -> Next {
        if first < end {
            return self.refuse_difference(master, first, memory);
        }
        self.refuse_end(master, end, false, memory)
    }

    fn refuse_end(
        &self,
        master: &str,
        master_end: i64,
        nothing: bool,
        memory: &mut Memory,
    ) -> Next {
        let end = self.log.max_offset();
        let text = format!(
            "the own log ends at {end}, the master's at {master_end}: the master has lost its end, \
             or is another one{}. If the master is right, cut this log with the broker stopped: \
             mqstore truncate {} -p {master_end} -y",
            if nothing { " (or has deleted what it had)" } else { "" },
            self.config.get().mqstore_words()
        );
        self.refuse(master, RefusalKind::Ahead, master_end, text, memory)
    }

    /// The master has deleted what would come next.
    fn begins_later(&self, master: &str, plan: Plan, begin: i64, memory: &mut Memory) -> Next {
        if matches!(plan, Plan::BeginAt(_)) && memory.begins != Some(begin) {
            memory.begins = Some(begin);
            return Next::AtOnce;
        }
        let end = self.log.max_offset();
        let text = format!(
            "the master's log begins at {begin}, the own one ends at {end}: what lies between is \
             gone. Let this slave begin anew, with the broker stopped: mqstore truncate {} -p 0 -y",
            self.config.get().mqstore_words()
        );
        self.refuse(master, RefusalKind::Gap, begin, text, memory)
    }

    /// The own last records differ from the master's.
    fn differs(&self, master: &str, stretch: Stretch, offset: i64, memory: &mut Memory) -> Next {
        let record = record_holding(&self.log, stretch.from, offset);
        let min = self.log.min_offset().max(0);
        if let Some((_, first)) = memory.known.filter(|(at, _)| *at == offset) {
            return self.refuse_difference(master, first, memory);
        }
        (memory.known, memory.short) = (Some((offset, record)), None);
        if record > stretch.from || record <= min {
            return self.refuse_difference(master, record, memory);
        }
        memory.search = Some(Search::new(min, record));
        self.after_probe(master, memory)
    }

    fn after_probe(&self, master: &str, memory: &mut Memory) -> Next {
        let step = memory.search.as_ref().map(|search| search.step(&self.log));
        if let Some(Step::Found(first)) = step {
            memory.search = None;
            if let Some((end, lacks)) = &mut memory.short {
                *lacks = first;
                let end = *end;
                return self.refuse_short(master, end, first, memory);
            }
            if let Some((_, record)) = &mut memory.known {
                *record = first;
            }
            return self.refuse_difference(master, first, memory);
        }
        Next::AtOnce
    }

    fn refuse_difference(&self, master: &str, first: i64, memory: &mut Memory) -> Next {
        let end = self.log.max_offset();
        let master_end = lock(&self.shared).master_end;
        let text = format!(
            "the own log (it ends at {end}) and the master's (beyond {master_end}) differ from the \
             record at {first} on. If the master is right, cut this log with the broker stopped: \
             mqstore truncate {} -p {first} -y",
            self.config.get().mqstore_words()
        );
        let kind = RefusalKind::Different { first_differing: first };
        self.refuse(master, kind, first, text, memory)
    }

    /// Gives up for the time being, and says why.
    fn refuse(
        &self,
        master: &str,
        kind: RefusalKind,
        master_offset: i64,
        text: String,
        memory: &mut Memory,
    ) -> Next {
        let told = memory.told.is_some_and(|(its_kind, offset, at)| {
            (its_kind, offset) == (kind, master_offset) && at.elapsed() < REPEAT
        });
        if !told {
            memory.told = Some((kind, master_offset, Instant::now()));
            log::error!("replication from {master} has stopped: {text}");
        }
        let own_end = self.log.max_offset();
        let refusal = Refusal { kind, own_end, master_offset, text };
        lock(&self.shared).state = FollowState::Refused(refusal);
        Next::After(REFUSED_PAUSE)
    }

    // What a session sees of the client.

    /// Whether the session is to end.
    pub(super) fn is_told(&self) -> bool {
        self.signal.stopped()
    }

    /// Something came from the master.
    pub(super) fn heard(&self) {
        lock(&self.shared).heard = Some(Instant::now());
    }

    /// The master has at least this much.
    pub(super) fn master_shows(&self, end: i64) {
        let mut shared = lock(&self.shared);
        shared.master_end = shared.master_end.max(end);
    }

    pub(super) fn set_state(&self, state: FollowState) {
        let mut shared = lock(&self.shared);
        // While a refused master is looked at again, the refusal is what counts.
        let refused = matches!(shared.state, FollowState::Refused(_));
        if shared.state == state || (refused && state == FollowState::Comparing) {
            return;
        }
        if state == FollowState::Transferring {
            let master = shared.master.as_deref().unwrap_or_default();
            log::info!("replication: following {master} from {}", self.log.max_offset());
        }
        shared.state = state;
    }

    /// Appends whole records.
    pub(super) fn append(&self, offset: i64, bytes: &[u8]) -> Result<(), StoreError> {
        if self.log.has_failed() {
            let reason = "a flush of the commit log failed; nothing is appended until a restart";
            return Err(StoreError(reason.to_owned()));
        }
        // No file, or one in which nothing stands.
        if self.log.min_offset() < 0 || self.log.min_offset() == self.log.max_offset() {
            self.reput.set_position(offset);
        }
        self.log.append_raw(offset, bytes)
    }

    /// Notes whether the log ends within padding.
    pub(super) fn note_tail(&self, end: i64, padding: i64) {
        *lock(&self.tail) = Tail { end, padding };
    }

    /// Padding between the log's end `offset` and its file's end; a restarted store always ends
    /// with a record.
    pub(super) fn padding_at(&self, offset: i64) -> i64 {
        let tail = *lock(&self.tail);
        if tail.end == offset { tail.padding } else { 0 }
    }

    /// Something was appended: it is dispatched, flushed and sent on.
    pub(super) fn appended(&self) {
        self.reput.signal().wakeup();
        self.flush.appended(&self.config.get());
        self.slaves.appended();
    }
}
