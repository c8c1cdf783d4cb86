//! The replication port is a port: whoever finds it can connect and write what they like. And a
//! slave connects to whatever listens where it is told. Neither may do harm.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::site::{
    LOAD, PATIENT, SLAVE_NOT_AVAILABLE, SOON, Site, assert_equal, log_of, probe, send,
    wait_for_acknowledgement,
};
use crate::support::ledger::{Book, Load, Sending};
use crate::support::pair::log_range;
use crate::support::servers::Server;
use crate::support::{may_open_files, until};

/// Open files of a process.
fn open_files(server: &Server) -> usize {
    let folder = format!("/proc/{}/fd", server.process.pid());
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

/// A line of /proc/PID/status as a number (`Threads`, `RssAnon` in KiB).
fn status(server: &Server, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", server.process.pid()));
    let text = text.unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn connect(site: &Site) -> TcpStream {
    let addr = site.halves[0].ha_addr();
    let socket = TcpStream::connect(&addr).unwrap_or_else(|error| panic!("{addr}: {error}"));
    let _ = socket.set_read_timeout(Some(SOON));
    let _ = socket.set_write_timeout(Some(SOON));
    socket
}

/// Files and threads of a pair that has done everything once, but for strangers, and is at rest. What
/// is started when it is needed first, or ends a little later, are single ones.
struct AtRest {
    files: usize,
    threads: u64,
    lines: usize,
}

const SINGLE_ONES: usize = 8;

/// Lines of a broker's log, but for those about a disk that is slow.
fn lines_of(server: &Server) -> usize {
    log_of(server).lines().filter(|line| !line.contains("flushing ")).count()
}

impl AtRest {
    fn of(pair: &[Server; 2], book: &mut Book) -> Self {
        send(&pair[0], book, 1000, 200);
        assert_equal(&pair[0], &pair[1], book);
        let lines = lines_of(&pair[0]);
        Self { files: open_files(&pair[0]), threads: status(&pair[0], "Threads"), lines }
    }

    /// Waits until what strangers held is given back; how many lines their visit left in the log.
    fn wait_for(&self, master: &Server) -> usize {
        until("what they held is given back", SOON, || {
            (open_files(master) <= self.files + SINGLE_ONES
                && status(master, "Threads") <= self.threads + SINGLE_ONES as u64)
                .then_some(())
        });
        lines_of(master) - self.lines
    }
}

/// Runs `abuse` while the pair is under load: every message is acknowledged.
fn unimpressed(site: &Site, pair: &[Server; 2], book: &mut Book, abuse: impl FnOnce(&Site)) {
    let round = book.rounds();
    // However long the abuse takes, the load is not over before it.
    let load = Load { messages: u32::MAX, ..LOAD };
    let sending = Sending::start(&pair[0].addr(), load, round);
    sending.wait_for(50, SOON);
    abuse(site);
    sending.wait_for(sending.acknowledged() + 200, SOON);
    sending.stop();
    book.enter(sending.join());
    assert!(book.refused().is_empty(), "refused: {:?}", book.refused());
}

#[test]
fn strangers_do_not_disturb_the_slave() {
    let site = Site::new("ha-strangers");
    let pair = site.pair_with(&PATIENT, &PATIENT);
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let before = AtRest::of(&pair, &mut book);

    let reports = |values: &'static [i64]| {
        move |site: &Site| {
            for value in values {
                let mut socket = connect(site);
                let _ = socket.write_all(&value.to_be_bytes());
                let _ = socket.read(&mut [0; 100]);
            }
        }
    };
    unimpressed(&site, &pair, &mut book, reports(&[-1, i64::MIN, i64::MAX, -4096, i64::MAX - 7]));
    unimpressed(&site, &pair, &mut book, |site| {
        let mut noise = 88_172_645_463_325_252_u64;
        for _ in 0..30 {
            let mut socket = connect(site);
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise as u8
            })
            .take(100_000)
            .collect();
            // The master may close in the middle of it.
            let _ = socket.write_all(&bytes);
        }
    });
    unimpressed(&site, &pair, &mut book, |site| {
        // Half of a report, and nothing more.
        let held: Vec<TcpStream> = (0..20)
            .map(|_| {
                let mut socket = connect(site);
                let _ = socket.write_all(&[0, 0, 0]);
                socket
            })
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        drop(held);
    });
    unimpressed(&site, &pair, &mut book, |site| {
        // Reports that go back and forth on one connection.
        let mut socket = connect(site);
        for value in [0, 1, 0, 100, 3, i64::from(i32::MAX)] {
            let _ = socket.write_all(&i64::to_be_bytes(value));
            std::thread::sleep(Duration::from_millis(20));
        }
    });

    assert_equal(&pair[0], &pair[1], &mut book);
    let more = before.wait_for(&pair[0]);
    assert!(more < 100, "{more} lines of log about 60 strangers");
}

#[test]
fn a_thousand_connections_are_bounded() {
    if !may_open_files(1500, "a thousand connections") {
        return;
    }
    let site = Site::new("ha-thousand");
    let pair = site.pair_with(&PATIENT, &PATIENT);
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let before = AtRest::of(&pair, &mut book);
    let memory = status(&pair[0], "RssAnon");
    unimpressed(&site, &pair, &mut book, |site| {
        let held: Vec<TcpStream> = (0..1000).map(|_| connect(site)).collect();
        let most = status(&pair[0], "Threads");
        eprintln!("with 1000 connections: {most} threads, {} before", before.threads);
        let grown = status(&pair[0], "RssAnon").saturating_sub(memory);
        assert!(grown < 64 << 10, "{grown} KiB for 1000 silent connections");
        // A slave that was away comes back in spite of them.
        drop(held);
    });
    assert_equal(&pair[0], &pair[1], &mut book);
    let more = before.wait_for(&pair[0]);
    assert!(more < 200, "{more} lines of log about 1000 connections");
}

/// While strangers hold as many connections as there may be, the real slave finds its way back.
#[test]
fn silent_connections_do_not_lock_the_slave_out() {
    let site = Site::new("ha-locked-out");
    let [master, mut slave] = site.pair();
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    send(&master, &mut book, 0, 200);
    let held: Vec<TcpStream> = (0..300).map(|_| connect(&site)).collect();
    slave.process.stop(SOON);
    let slave = site.slave(1, &[]);
    // Who says nothing for haHousekeepingInterval (1.5 s here) is shown the door.
    let took = wait_for_acknowledgement(&master, SOON);
    eprintln!("the slave was back after {took:.1?}");
    drop(held);
    send(&master, &mut book, 1, 200);
    assert_equal(&master, &slave, &mut book);
}

/// So it does while as many ask for the log and do not take it.
#[test]
fn deaf_connections_do_not_lock_the_slave_out() {
    let site = Site::new("ha-locked-out-by-followers");
    // Longer than this test waits for it: nobody leaves because of the time.
    let [master, mut slave] = site.pair_with(&[("haHousekeepingInterval", "300000")], &[]);
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    send(&master, &mut book, 0, 200);
    for report in [0, 1, log_range(&mut master.wire()).unwrap_or_default().1] {
        slave.process.stop(SOON);
        let held: Vec<TcpStream> = std::iter::repeat_with(|| {
            let mut socket = connect(&site);
            let _ = socket.write_all(&report.to_be_bytes());
            socket
        })
        .take(300)
        .collect();
        slave = site.slave(1, &[]);
        let took = wait_for_acknowledgement(&master, SOON);
        eprintln!("report {report}: the slave was back after {took:.1?}");
        drop(held);
    }
    send(&master, &mut book, 1, 200);
    assert_equal(&master, &slave, &mut book);
}

/// A Java slave says where it stands as long after it connected as it is told to by its
/// `haSendHeartbeatInterval`. It has the master's `haHousekeepingInterval` for that, no more and no
/// less.
#[test]
fn the_first_report_may_come_within_the_housekeeping_interval() {
    let site = Site::new("ha-first-report");
    for (interval, silence) in [(1_500, None), (60_000, Some(Duration::from_secs(11)))] {
        let interval = interval.to_string();
        let master = site.master(0, "ASYNC_MASTER", &[("haHousekeepingInterval", &interval)]);
        let mut slave = connect(&site);
        let _ = slave.set_read_timeout(Some(Duration::from_secs(40)));
        if let Some(silence) = silence {
            std::thread::sleep(silence);
            let _ = slave.write_all(&0_i64.to_be_bytes());
        }
        let mut header = [0; 12];
        match (slave.read_exact(&mut header), silence) {
            (Ok(()), Some(_)) => {}
            (Err(error), None) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
            (other, _) => panic!("{interval} ms, first report after {silence:?}: {other:?}"),
        }
        drop(master);
    }
}

/// Somebody holds the port open, or asks for everything and reads nothing: that is no slave.
#[test]
fn who_only_holds_the_port_is_no_slave() {
    let site = Site::new("ha-no-slave");
    // Who waited for it would be told so, and that after 20 s.
    let master = site.master(0, "SYNC_MASTER", &[("slaveTimeout", "20000")]);
    let mut wire = master.wire();
    let silent = connect(&site);
    let begin = Instant::now();
    for _ in 0..20 {
        assert_eq!(probe(&mut wire), SLAVE_NOT_AVAILABLE);
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    drop(silent);
    let mut invented = connect(&site);
    let _ = invented.write_all(&(1_i64 << 40).to_be_bytes());
    for _ in 0..20 {
        assert_ne!(probe(&mut wire), 0, "acknowledged by an invented report");
    }
}

/// The real slave stands still; a stranger claims to have everything.
#[test]
fn an_invented_report_acknowledges_nothing() {
    let site = Site::new("ha-invented");
    let [master, slave] = site.pair();
    slave.process.signal("STOP");
    let mut wire = master.wire();
    for value in [1_i64 << 40, i64::MAX, log_range(&mut wire).unwrap_or_default().1] {
        let mut stranger = connect(&site);
        let _ = stranger.write_all(&value.to_be_bytes());
        std::thread::sleep(Duration::from_millis(50));
        let _ = stranger.write_all(&(value.saturating_add(1000)).to_be_bytes());
        assert_ne!(probe(&mut wire), 0, "acknowledged by a report of {value}");
    }
    slave.process.signal("CONT");
    wait_for_acknowledgement(&master, SOON);
}

/// A stranger asks for everything and reads nothing.
#[test]
fn a_reader_that_does_not_read_is_bounded() {
    let site = Site::new("ha-slow-reader");
    let pair = site.pair_with(&PATIENT, &PATIENT);
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    send(&pair[0], &mut book, 1000, 5000);
    let memory = status(&pair[0], "RssAnon");
    let mut held: Vec<TcpStream> = (0..8).map(|_| connect(&site)).collect();
    for socket in &mut held {
        let _ = socket.write_all(&1_i64.to_be_bytes());
    }
    unimpressed(&site, &pair, &mut book, |_| {});
    unimpressed(&site, &pair, &mut book, |_| {});
    let grown = status(&pair[0], "RssAnon").saturating_sub(memory);
    assert!(grown < 32 << 10, "{grown} KiB for readers that do not read");
    drop(held);
    assert_equal(&pair[0], &pair[1], &mut book);
}

/// What a slave does with a master that sends nonsense: it takes nothing, and it does not spin.
#[test]
fn a_false_master_changes_nothing() {
    let site = Site::new("ha-false-master");
    let [mut master, mut slave] = site.pair();
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    send(&master, &mut book, 0, 200);
    let (_, end) = {
        crate::support::pair::wait_until_equal(&master, &slave, SOON);
        log_range(&mut slave.wire()).unwrap_or_default()
    };
    slave.process.stop(SOON);
    master.process.stop(SOON);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("{e}"));
    let addr = listener.local_addr().map(|addr| addr.to_string()).unwrap_or_default();
    let header = |offset: i64, size: i32| [&offset.to_be_bytes()[..], &size.to_be_bytes()].concat();
    let lies: Vec<Vec<u8>> = vec![
        header(end, -1),
        header(end, i32::MAX),
        header(end, i32::MIN),
        header(-1, 10),
        header(i64::MAX, 10),
        header(end + 1_000_000, 100),
        header(0, 12),
        [header(end, 200), vec![0xff; 200]].concat(),
        [header(end, 8), vec![0, 0, 0, 0, 0xda, 0xa3, 0x20, 0xa7]].concat(),
        vec![0x5a; 100_000],
    ];
    let slave = site.slave(1, &[("haMasterAddress", &addr)]);
    let _ = listener.set_nonblocking(true);
    for lie in &lies {
        let (mut socket, _) = until("the slave connects", SOON, || listener.accept().ok());
        let _ = socket.set_nonblocking(false);
        let _ = socket.set_read_timeout(Some(Duration::from_millis(300)));
        let _ = socket.read(&mut [0; 8]);
        let _ = socket.write_all(lie);
        let _ = socket.read(&mut [0; 64]);
    }
    let begin = Instant::now();
    let mut connections = 0;
    while begin.elapsed() < Duration::from_secs(1) {
        connections += usize::from(listener.accept().is_ok());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(connections < 50, "{connections} connections in a second");
    let range = log_range(&mut slave.wire()).unwrap_or_default();
    assert_eq!(range.1, end, "the slave's log end");
    book.verify_new(&mut slave.wire());
}
