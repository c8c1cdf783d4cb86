//! Faults of all kinds, one after another, as a generator throws them; under load all the time.
//! `ROCKETMQ_HA_FAULTS` is their number, `ROCKETMQ_HA_SEED` the generator's start.

use std::time::Duration;

use crate::site::{LOAD, SOON, Site, assert_equal, wait_for_acknowledgement};
use crate::support::ledger::{Book, Sending};
use crate::support::proxy::Proxy;
use crate::support::servers::Server;

/// Longest until the pair acknowledges again after a fault.
const RECOVERY: Duration = Duration::from_secs(60);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| {
        value.parse().unwrap_or_else(|error| panic!("{name}={value}: {error}"))
    })
}

/// Xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

struct Pair {
    site: Site,
    proxy: Proxy,
    master: Server,
    slave: Server,
}

impl Pair {
    fn start_master(&mut self) {
        self.master = self.site.master(0, "SYNC_MASTER", &[]);
    }

    fn start_slave(&mut self) {
        let addr = self.proxy.addr();
        self.slave = self.site.slave(1, &[("haMasterAddress", &addr)]);
    }

    /// Does something bad and, where it does not pass by itself, puts an end to it. What it was.
    fn suffer(&mut self, dice: &mut Dice) -> &'static str {
        let moment = Duration::from_millis(dice.below(2500));
        let bytes = dice.below(60_000) as i64;
        match dice.below(11) {
            0 => {
                self.proxy.cut();
                "cut"
            }
            1 => {
                self.proxy.hold(true);
                std::thread::sleep(moment);
                self.proxy.hold(false);
                "held"
            }
            2 => {
                self.proxy.forget_open_ones();
                "half open"
            }
            3 => {
                self.proxy.corrupt_after(bytes % 12);
                "header flipped"
            }
            4 => {
                self.proxy.cut_after(bytes);
                "cut in the middle"
            }
            5 => {
                self.proxy.refuse(true);
                std::thread::sleep(moment);
                self.proxy.refuse(false);
                "refused"
            }
            6 => {
                self.slave.process.kill();
                self.start_slave();
                "slave killed"
            }
            7 => {
                self.slave.process.stop(SOON);
                std::thread::sleep(moment);
                self.start_slave();
                "slave stopped"
            }
            8 => {
                self.master.process.kill();
                self.start_master();
                "master killed"
            }
            9 => {
                self.slave.process.signal("STOP");
                std::thread::sleep(moment);
                self.slave.process.signal("CONT");
                "slave asleep"
            }
            _ => {
                self.master.process.signal("STOP");
                std::thread::sleep(moment);
                self.master.process.signal("CONT");
                "master asleep"
            }
        }
    }
}

#[test]
fn whatever_happens_nothing_acknowledged_is_lost() {
    let seed = number("ROCKETMQ_HA_SEED", 0x5eed);
    let mut dice = Dice(seed.max(1));
    let site = Site::new("ha-random");
    let ([master, slave], proxy) = site.pair_through_proxy();
    let mut pair = Pair { site, proxy, master, slave };
    let mut book = Book::new(LOAD.topic, LOAD.queues);
    let mut longest = (Duration::ZERO, "");
    for round in 0..number("ROCKETMQ_HA_FAULTS", 12) as u32 {
        let sending = Sending::start(&pair.master.addr(), LOAD, round);
        sending.wait_for(1 + dice.below(400), SOON);
        let what = pair.suffer(&mut dice);
        let took = wait_for_acknowledgement(&pair.master, RECOVERY);
        longest = longest.max((took, what));
        sending.stop();
        book.enter(sending.join());
    }
    eprintln!("seed {seed}: the longest recovery was {:.1?}, {}", longest.0, longest.1);
    pair.proxy.corrupt_after(-1);
    pair.proxy.cut_after(-1);
    assert_equal(&pair.master, &pair.slave, &mut book);
}
