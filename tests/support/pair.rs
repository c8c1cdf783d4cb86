//! A master and a slave, whoever made them, and the proof that both hold the same: commit logs and
//! consume queues byte by byte, and what pulls of every queue are answered with.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::java_peer::{JAVA_HEAP, Servers};
use super::servers::Server;
use super::wire::{Reply, Wire, code};
use super::{free_port, until};

/// Bytes compared at a time.
const CHUNK: usize = 1 << 20;
/// Bytes of a consume-queue unit.
const UNIT: i64 = 20;
/// Code of an answer about a topic that is not in the broker's table.
pub const TOPIC_NOT_EXIST: i32 = 17;

/// One half of a pair: a broker that can be started again, in either role.
#[derive(Debug)]
pub struct Half {
    /// Who makes it.
    pub make: Servers,
    /// Its folder.
    pub dir: PathBuf,
    /// Its port, the same after each start.
    pub port: u16,
    java_heap: &'static str,
}

impl Half {
    /// A broker in `dir` that is not running yet.
    pub fn new(make: &Servers, dir: PathBuf) -> Self {
        Self { make: make.clone(), dir, port: free_port(), java_heap: JAVA_HEAP }
    }

    /// With other JVM options for its memory, if it is an official one.
    pub fn with_java_heap(self, java_heap: &'static str) -> Self {
        Self { java_heap, ..self }
    }

    /// Starts it as `ASYNC_MASTER` or `SYNC_MASTER`.
    pub fn master(&self, role: &str, namesrv: Option<&str>, more: &[(&str, &str)]) -> Server {
        self.start(&[("brokerRole", role), ("brokerId", "0")], namesrv, more)
    }

    /// Starts it as a slave.
    pub fn slave(&self, namesrv: Option<&str>, more: &[(&str, &str)]) -> Server {
        let role = [("brokerRole", "SLAVE"), ("brokerId", "1"), ("slaveReadEnable", "true")];
        self.start(&role, namesrv, more)
    }

    fn start(&self, role: &[(&str, &str)], namesrv: Option<&str>, more: &[(&str, &str)]) -> Server {
        let ha_port = self.ha_port().to_string();
        let own = [("brokerIP2", "127.0.0.1"), ("haListenPort", &ha_port)];
        // The last of several values of a key counts.
        let settings = [role, &own, more].concat();
        self.make.broker_with(&self.dir, self.port, namesrv, self.java_heap, &settings)
    }

    /// The port that slaves connect to, when it is a master.
    pub fn ha_port(&self) -> u16 {
        self.port + 1
    }

    /// `127.0.0.1:port` of replication.
    pub fn ha_addr(&self) -> String {
        format!("127.0.0.1:{}", self.ha_port())
    }

    /// Deletes everything it stored: logs, queues, tables.
    pub fn delete_store(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            assert!(!self.dir.exists(), "{}: {error}", self.dir.display());
        }
    }
}

/// Begin and end of a broker's commit log, bytes. `None` while it cannot tell.
pub fn log_range(wire: &mut Wire) -> Option<(i64, i64)> {
    let reply = wire.try_call(code::RUNTIME_INFO, &[], b"").ok()?;
    let table = Reply { header: String::from_utf8(reply.body).ok()?, body: Vec::new() };
    Some((table.number("commitLogMinOffset")?, table.number("commitLogMaxOffset")?))
}

/// A figure of the runtime table.
pub fn runtime_number(wire: &mut Wire, key: &str) -> Option<i64> {
    let reply = wire.try_call(code::RUNTIME_INFO, &[], b"").ok()?;
    Reply { header: String::from_utf8(reply.body).ok()?, body: Vec::new() }.number(key)
}

/// Bytes that the (first) slave is behind, as a master of ours tells.
pub fn reported_lag(wire: &mut Wire) -> Option<i64> {
    let table = String::from_utf8(wire.try_call(code::RUNTIME_INFO, &[], b"").ok()?.body).ok()?;
    let (_, after) = table.split_once("\"haSlave_")?.1.split_once("lagBytes=")?;
    after.split(' ').next()?.parse().ok()
}

/// Waits until the slave's log ends where the master's does; begin and end of the slave's.
pub fn wait_until_equal(master: &Server, slave: &Server, limit: Duration) -> (i64, i64) {
    let (mut master, mut slave) = (master.wire(), slave.wire());
    let mut seen = None;
    let what = "the slave's log ends where the master's does";
    let deadline = std::time::Instant::now() + limit;
    loop {
        let (ours, theirs) = (log_range(&mut master), log_range(&mut slave));
        if let (Some((_, master_end)), Some((begin, end))) = (ours, theirs)
            && master_end == end
            && end > 0
        {
            return (begin, end);
        }
        seen = theirs.map(|theirs| (ours, theirs)).or(seen);
        assert!(
            std::time::Instant::now() < deadline,
            "{what}: not within {limit:?}; (master, slave) = {seen:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Compares the two logs byte by byte from `begin` to `end`; the bytes compared.
pub fn assert_same_logs(master: &Server, slave: &Server, (begin, end): (i64, i64)) -> i64 {
    let log = |server: &Server| server.home.join("store/commitlog");
    let (ours, theirs) = (segments(&log(master)), segments(&log(slave)));
    let compared = compare(&ours, &theirs, begin, end)
        .unwrap_or_else(|at| panic!("the commit logs differ at {at} of {begin} to {end}"));
    assert_eq!(compared, end - begin, "bytes of commit log compared");
    compared
}

/// Compares every consume queue of the slave with the master's: the units in the files, and the
/// records that both serve. The messages compared.
pub fn assert_same_queues(master: &Server, slave: &Server) -> i64 {
    // Whoever is behind with its queues would seem to have less.
    for server in [master, slave] {
        let mut wire = server.wire();
        until("everything is dispatched", Duration::from_secs(60), || {
            (runtime_number(&mut wire, "dispatchBehindBytes")? == 0).then_some(())
        });
    }
    let mut messages = 0;
    let folder = slave.home.join("store/consumequeue");
    let mut topics = BTreeSet::new();
    for topic in names(&folder) {
        for queue in names(&folder.join(&topic)) {
            topics.insert((topic.clone(), queue.parse::<i32>().unwrap_or(-1)));
        }
    }
    assert!(!topics.is_empty(), "no queues in {}", folder.display());
    let (mut from_master, mut from_slave) = (master.wire(), slave.wire());
    for (topic, queue) in topics {
        let end = from_master.max_offset(&topic, queue);
        let what = format!("{topic}/{queue} ends at {end} on the slave");
        until(&what, Duration::from_secs(60), || {
            (from_slave.max_offset(&topic, queue) >= end).then_some(())
        });
        let begin = from_slave.min_offset(&topic, queue);
        let path = format!("store/consumequeue/{topic}/{queue}");
        let (ours, theirs) =
            (segments(&master.home.join(&path)), segments(&slave.home.join(&path)));
        if let Err(at) = compare(&ours, &theirs, begin * UNIT, end * UNIT) {
            panic!("units of {topic}/{queue} differ at {} of {begin} to {end}", at / UNIT);
        }
        // Topics of the broker's own, as that of half messages, need not be in its table of topics.
        let unknown = |wire: &mut Wire| wire.pull(&topic, queue, begin).code() == TOPIC_NOT_EXIST;
        if unknown(&mut from_master) || unknown(&mut from_slave) {
            continue;
        }
        messages += same_answers(&mut from_master, &mut from_slave, &topic, queue, begin, end);
    }
    messages
}

/// Pulls everything from both and compares the records as they came.
fn same_answers(
    master: &mut Wire,
    slave: &mut Wire,
    topic: &str,
    queue: i32,
    begin: i64,
    end: i64,
) -> i64 {
    let mut messages = 0;
    let mut offset = begin;
    while offset < end {
        let mut pulled = [Vec::new(), Vec::new()];
        for (wire, bytes) in [&mut *master, &mut *slave].into_iter().zip(&mut pulled) {
            let mut next = offset;
            // Each may cut its answers where it likes.
            while next < end.min(offset + 32) {
                let reply = wire.pull(topic, queue, next);
                assert_eq!(reply.code(), 0, "{topic}/{queue} at {next}: {}", reply.header);
                bytes.extend(super::wire::records(&reply.body));
                next = bytes.last().map_or(next, |record| record.offset + 1);
            }
            bytes.retain(|record| record.offset < end.min(offset + 32));
        }
        let [ours, theirs] = pulled;
        assert_eq!(ours, theirs, "{topic}/{queue} from {offset}");
        assert!(!ours.is_empty(), "{topic}/{queue} from {offset}: nothing");
        messages += ours.len() as i64;
        offset = ours.last().map_or(end, |record| record.offset + 1);
    }
    messages
}

/// The files of a mapped-file queue by the offset of their first byte.
fn segments(folder: &Path) -> Vec<(i64, PathBuf)> {
    names(folder)
        .into_iter()
        .filter_map(|name| Some((name.parse().ok()?, folder.join(name))))
        .collect()
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Bytes compared, or the first offset where the two differ (a missing byte differs).
fn compare(
    ours: &[(i64, PathBuf)],
    theirs: &[(i64, PathBuf)],
    begin: i64,
    end: i64,
) -> Result<i64, i64> {
    let mut at = begin;
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    while at < end {
        let mut bytes = (end - at).min(CHUNK as i64) as usize;
        for (files, buffer) in [(ours, &mut left), (theirs, &mut right)] {
            let (start, path) = files.iter().rev().find(|(start, _)| *start <= at).ok_or(at)?;
            let file = File::open(path).map_err(|_| at)?;
            bytes = file.read_at(&mut buffer[..bytes], (at - start) as u64).map_err(|_| at)?;
            if bytes == 0 {
                return Err(at);
            }
        }
        if left[..bytes] != right[..bytes] {
            let same = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
            return Err(at + same as i64);
        }
        at += bytes as i64;
    }
    Ok(at - begin)
}
