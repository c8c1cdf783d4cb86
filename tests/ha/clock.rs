//! Clocks that jump, of the master and of the slave, forth and back. A library that is loaded before
//! libc gives a broker a clock of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::site::{
    KEYS, LOAD, PATIENT, SOON, Site, assert_equal, send, wait_for_acknowledgement, wait_for_topic,
};
use crate::support::ledger::Book;
use crate::support::servers::{self, HERE, Place, Server};
use crate::support::wire::{borrowed, code, send_fields};
use crate::support::{skipped, until};

const HOUR: i64 = 3600;

/// The library, or why there is none.
fn library(dir: &Path) -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ha/clock_jump.c");
    let library = dir.join("clock_jump.so");
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
    match cc.output() {
        Ok(output) if output.status.success() => Ok(library),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(format!("cc: {error}")),
    }
}

/// A broker's clock.
struct Clock {
    file: PathBuf,
    library: String,
}

impl Clock {
    fn new(dir: &Path, library: &Path, name: &str) -> Self {
        let clock = Self { file: dir.join(name), library: library.display().to_string() };
        clock.set(0);
        clock
    }

    fn set(&self, seconds: i64) {
        // In place: the broker has the file mapped.
        use std::os::unix::fs::FileExt;
        std::fs::File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.file)
            .and_then(|file| file.write_all_at(&seconds.to_ne_bytes(), 0))
            .unwrap_or_else(|error| panic!("{}: {error}", self.file.display()));
    }

    fn start(&self, site: &Site, half: usize, role: &[(&str, &str)]) -> Server {
        let file = self.file.display().to_string();
        let env = [("LD_PRELOAD", self.library.as_str()), ("CLOCK_IS_WRONG_BY", file.as_str())];
        let place = Place { env: &env, ..HERE };
        let half = &site.halves[half];
        let keys = [&KEYS[..], &PATIENT, role, &[("brokerIP2", "127.0.0.1")]].concat();
        servers::broker_in(&place, &half.dir, half.port, Some(&site.namesrv.addr()), &keys)
    }
}

#[test]
fn clocks_may_jump() {
    let site = Site::new("ha-clock");
    let library = match library(site.dir.path()) {
        Ok(library) => library,
        Err(why) => return skipped("clocks that jump", &why),
    };
    let clocks = ["master", "slave"]
        .map(|name| Clock::new(site.dir.path(), &library, &format!("clock-{name}")));
    let master = clocks[0].start(&site, 0, &[("brokerRole", "SYNC_MASTER")]);
    servers::wait_for_broker(&site.namesrv.addr(), &master.addr());
    master.wire().create_topic(LOAD.topic, LOAD.queues);
    let slave = [("brokerRole", "SLAVE"), ("brokerId", "1"), ("slaveReadEnable", "true")];
    let slave = clocks[1].start(&site, 1, &slave);
    wait_for_acknowledgement(&master, SOON);
    wait_for_topic(&slave);
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let jumps = [(0, HOUR), (0, -2 * HOUR), (1, HOUR), (1, -HOUR), (0, 24 * HOUR), (0, 0), (1, 0)];
    for (round, (which, seconds)) in jumps.into_iter().enumerate() {
        clocks[which].set(seconds);
        send(&master, &mut book, round as u32, 300);
        // Heartbeats and silences are measured by a clock that does not jump.
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(book.refused().is_empty(), "refused: {:?}", book.refused());
    assert_equal(&master, &slave, &mut book);
}

/// While nothing else happens.
#[test]
fn a_delayed_message_comes_when_the_clock_was_set() {
    let site = Site::new("ha-delay-clock");
    let library = match library(site.dir.path()) {
        Ok(library) => library,
        Err(why) => return skipped("a clock that is set", &why),
    };
    let clock = Clock::new(site.dir.path(), &library, "clock");
    let role = [("brokerRole", "ASYNC_MASTER"), ("messageDelayLevel", "1s 1h")];
    let master = clock.start(&site, 0, &role);
    servers::wait_for_broker(&site.namesrv.addr(), &master.addr());
    let mut wire = master.wire();
    wire.create_topic(LOAD.topic, 1);
    let mut fields = send_fields(LOAD.topic, 0, "delayed");
    fields[8].1.push_str("\u{2}DELAY\u{1}2");
    wire.must(code::SEND, &borrowed(&fields), b"x");
    until("it waits", SOON, || (wire.max_offset("SCHEDULE_TOPIC_XXXX", 1) == 1).then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(wire.max_offset(LOAD.topic, 0), 0);
    clock.set(HOUR + 1);
    until("it is delivered", SOON, || (wire.max_offset(LOAD.topic, 0) == 1).then_some(()));
}
