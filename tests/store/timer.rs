//! Timed messages, with a clock of the test's own: what is delivered when, after which stops, and
//! from whose files.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rocketmq::common::properties::find;
use rocketmq::store::timer::TimerService;
use rocketmq::store::{PutStatus, StoreConfig};

use crate::folder::*;

const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// A moment at which a slot begins.
pub const START: i64 = 1_795_259_540_000;
const DAY: i64 = 86_400_000;

/// A store and its timer.
pub struct Timed {
    pub test: TestStore,
    pub timer: TimerService,
}

impl Timed {
    pub fn open(root: &Path, more: &[(&str, &str)], now: i64) -> Self {
        let mut keys = vec![("mappedFileSizeTimerLog", "1000"), ("fileReservedTime", "87600")];
        keys.extend(more);
        Self::with(config(root, &keys), now)
    }

    fn with(config: StoreConfig, now: i64) -> Self {
        let test = TestStore::open(config);
        let timer = TimerService::open(Arc::clone(&test.store), Arc::default()).unwrap();
        timer.recover(now).unwrap();
        Self { test, timer }
    }

    /// A message for topic `T`, as the broker stores it.
    pub fn put(&self, body: &str, due: i64, more: &str) {
        let before = self.test.store.max_offset(TIMER_TOPIC, 0);
        self.append(body, due, more);
        self.settle(TIMER_TOPIC, before + 1);
    }

    fn append(&self, body: &str, due: i64, more: &str) {
        let slot = (due - 1) / 1000 * 1000;
        let properties = format!(
            "TIMER_DELIVER_MS={due} TIMER_OUT_MS={slot} REAL_TOPIC=T REAL_QID=0 UNIQ_KEY={body} {more}"
        );
        let text = properties.trim().replace('=', "\u{1}").replace(' ', "\u{2}");
        let result = self.test.put(TIMER_TOPIC, 0, body.as_bytes(), &text);
        assert_eq!(result.status, PutStatus::PutOk, "{}", result.reason);
    }

    fn settle(&self, topic: &str, end: i64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.test.store.max_offset(topic, 0) < end {
            assert!(Instant::now() < deadline, "{topic} is not dispatched up to {end}");
            std::thread::yield_now();
        }
    }

    /// Turns until there is nothing left to do at `now`; returns when there is.
    fn turn(&self, now: i64) -> i64 {
        loop {
            while self.test.store.dispatch_behind_bytes() > 0 {
                std::thread::yield_now();
            }
            let next = self.timer.turn(now);
            if next > now
                && self.test.store.dispatch_behind_bytes() == 0
                && self.timer.behind_messages() == 0
            {
                return next;
            }
        }
    }

    /// What topic `T` has at `now`.
    pub fn at(&self, now: i64) -> Vec<String> {
        self.turn(now);
        let bodies = self.test.bodies("T", 0);
        bodies.into_iter().map(|body| String::from_utf8(body).unwrap()).collect()
    }

    pub fn stop(self) {
        self.test.store.shutdown_with(|| self.timer.close());
    }
}

#[test]
fn a_message_goes_out_at_its_millisecond() {
    let folder = Folder::new("timer-exact");
    let timed = Timed::open(folder.path(), &[], START);
    timed.put("c", START + 2_600, "");
    timed.put("b", START + 2_123, "");
    timed.put("edge", START + 3_000, "");
    timed.put("b2", START + 2_123, "");
    timed.put("first", START + 1, "");
    assert_eq!(timed.turn(START), START + 1);
    assert!(timed.at(START).is_empty());
    assert_eq!(timed.at(START + 1), ["first"]);
    assert_eq!(timed.turn(START + 999), START + 1_000);
    assert_eq!(timed.at(START + 2_122), ["first"]);
    assert_eq!(timed.at(START + 2_123), ["first", "b", "b2"]);
    // Into the slot at work: before what waits there, and after its own time.
    timed.put("late", START + 2_200, "");
    timed.put("a", START + 2_300, "");
    assert_eq!(timed.turn(START + 2_250), START + 2_300);
    assert_eq!(timed.at(START + 2_599), ["first", "b", "b2", "late", "a"]);
    assert_eq!(timed.at(START + 2_999).len(), 6);
    assert_eq!(timed.at(START + 3_000).last().unwrap(), "edge");
    timed.put("missed", START + 900, "");
    assert_eq!(timed.at(START + 3_001).last().unwrap(), "missed");
    assert_eq!(timed.timer.metrics().waiting("T"), 0);
}

#[test]
fn a_message_is_deleted_before_and_while_its_slot_is_at_work() {
    let folder = Folder::new("timer-delete");
    let timed = Timed::open(folder.path(), &[], START);
    timed.put("one", START + 5_500, "");
    timed.put("two", START + 5_600, "");
    timed.put("three", START + 5_700, "");
    timed.put("delete-one", START + 5_001, "TIMER_DEL_UNIQKEY=T+one");
    timed.put("no-match", START + 5_001, "TIMER_DEL_UNIQKEY=U+two");
    assert_eq!(timed.turn(START + 5_100), START + 5_500);
    timed.put("delete-three", START + 5_800, "TIMER_DEL_UNIQKEY=three");
    assert_eq!(timed.at(START + 9_000), ["two"]);
}

#[test]
fn a_message_far_away_is_rolled_and_keeps_its_time() {
    let folder = Folder::new("timer-roll");
    let timed = Timed::open(folder.path(), &[("timerRollWindowSlot", "10")], START);
    let due = START + 32_250;
    timed.put("far", due, "");
    let mut now = START;
    while timed.turn(now) <= due && now < due {
        assert!(timed.at(now).is_empty(), "early at {}", now - START);
        now = timed.turn(now).min(due);
    }
    assert_eq!(timed.at(due), ["far"]);
    // After 10, 20 and, so that not only a little is left, 25 seconds.
    assert_eq!(timed.test.store.max_offset(TIMER_TOPIC, 0), 4);
    each_record(&timed.test.get("T", 0, 0), |record| {
        assert_eq!(find(record.properties, "TIMER_ROLL_TIMES"), Some("3"));
        let times = ["TIMER_ENQUEUE_MS", "TIMER_DEQUEUE_MS", "TIMER_OUT_MS"];
        let times: [i64; 3] =
            times.map(|name| find(record.properties, name).unwrap().parse().unwrap());
        assert_eq!(times, [START + 25_000, due, START + 32_000]);
    });
    assert_eq!(timed.timer.metrics().waiting("T"), 0);
}

#[test]
fn a_restart_forgets_and_repeats_nothing() {
    let folder = Folder::new("timer-restart");
    let timed = Timed::open(folder.path(), &[], START);
    for number in 0..60 {
        timed.put(&format!("m{number:02}"), START + 1_000 + number * 100, "");
    }
    assert_eq!(timed.at(START + 3_950).len(), 30);
    timed.stop();
    let timed = Timed::open(folder.path(), &[], START + 4_000);
    assert_eq!(timed.at(START + 4_000).len(), 31);
    assert_eq!(timed.at(START + 4_450).len(), 35);
    // Due before what is done, but not done itself.
    timed.put("late", START + 4_200, "");
    timed.stop();
    let timed = Timed::open(folder.path(), &[], START + 4_500);
    let mut bodies = timed.at(START + 60_000);
    assert_eq!(bodies.len(), 61);
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 61);
}

/// The process dies before it has written how far the timer is, for the first time.
#[test]
fn a_crash_of_a_new_store_loses_nothing() {
    let folder = Folder::new("timer-new");
    let timed = Timed::open(folder.path(), &[], START);
    timed.put("a", START + 1_500, "");
    timed.put("b", START + 20_500, "");
    timed.turn(START);
    let crashed = folder.copy("timer-new-copy");
    drop(timed);
    let timed = Timed::open(crashed.path(), &[], START + 10_000);
    assert_eq!(timed.at(START + 10_000), ["a"]);
    assert_eq!(timed.at(START + 20_500), ["a", "b"]);
}

/// What was delivered is in a write buffer, and not in the log's file, when the process dies.
#[test]
fn what_a_write_buffer_holds_is_not_delivered() {
    let folder = Folder::new("timer-buffer");
    let keys = [
        ("transientStorePoolEnable", "true"),
        ("transientStorePoolSize", "2"),
        ("commitCommitLogLeastPages", "1000000"),
        ("commitCommitLogThoroughInterval", "3600000"),
        ("flushIntervalCommitLog", "1"),
        ("flushCommitLogLeastPages", "0"),
    ];
    let timed = Timed::open(folder.path(), &keys, START);
    timed.append("a", START + 1_000, "");
    // Nobody else moves anything out of the buffer.
    let log = timed.test.store.commit_log();
    assert!(log.commit(0).unwrap());
    timed.test.store.wake_dispatch();
    timed.settle(TIMER_TOPIC, 1);
    timed.timer.turn(START);
    let begun = Instant::now();
    while timed.timer.checkpoint_bytes()[..8] == [0; 8] {
        assert!(begun.elapsed() < Duration::from_secs(60), "the timer's state is not written");
        timed.timer.flush().unwrap();
    }
    timed.timer.turn(START + 1_000);
    assert!(log.uncommitted_bytes() > 0, "it was delivered into the buffer");
    let delivered = Instant::now();
    while delivered.elapsed() < Duration::from_millis(300) {
        timed.timer.flush().unwrap();
    }
    let crashed = folder.copy("timer-buffer-copy");
    drop(timed);
    let timed = Timed::open(crashed.path(), &[], START + 2_000);
    assert_eq!(timed.at(START + 2_000), ["a"]);
}

#[test]
fn a_crash_loses_nothing_and_delivers_nothing_early() {
    let folder = Folder::new("timer-crash");
    let timed = Timed::open(folder.path(), &[], START);
    for number in 0..40 {
        timed.put(&format!("m{number:02}"), START + 1_000 + number * 250, "");
    }
    timed.turn(START + 3_000);
    timed.timer.flush().unwrap();
    timed.put("last", START + 3_500, "");
    timed.turn(START + 3_100);
    for (name, lost) in [("as-it-is", ""), ("no-wheel", "timerwheel"), ("no-log", "timerlog")] {
        let copy = folder.copy(name);
        match lost {
            "" => {}
            "timerlog" => {
                std::fs::remove_dir_all(copy.path().join("timerlog")).unwrap();
                std::fs::remove_file(copy.path().join("timerwheel")).unwrap();
                std::fs::remove_file(copy.path().join("config/timercheck")).unwrap();
            }
            file => std::fs::remove_file(copy.path().join(file)).unwrap(),
        }
        let again = Timed::open(copy.path(), &[], START + 3_200);
        let mut early = again.at(START + 3_200);
        early.sort();
        early.dedup();
        assert_eq!(early.len(), 9, "{name}: m00 to m08");
        let mut all = again.at(START + 60_000);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 41, "{name}");
    }
}

#[test]
fn another_precision_waits_until_nothing_waits() {
    for (first, then) in [("1000", "100"), ("100", "1000"), ("500", "200")] {
        let folder = Folder::new("timer-precision");
        let open = |width, now| Timed::open(folder.path(), &[("timerPrecisionMs", width)], now);
        let timed = open(first, START);
        // Slots that are empty soon, and must not be asked later.
        (0..40).for_each(|number| timed.put("soon", START + 100 * number, ""));
        assert_eq!(timed.at(START + 4_000).len(), 40);
        for (body, due) in [("a", 5_001), ("b", 5_350), ("c", 5_900), ("d", 2 * DAY + 1_234)] {
            timed.put(body, START + due, "");
        }
        assert_eq!(timed.at(START + 5_300).len(), 41);
        timed.stop();
        let width = |timed: &Timed| timed.timer.scale().precision_ms.to_string();
        let timed = open(then, START + 5_310);
        assert_eq!(width(&timed), first);
        assert_eq!(timed.turn(START + 5_349), START + 5_350);
        assert_eq!(timed.at(START + 5_899)[40..], ["a", "b"]);
        timed.put("new", START + 7_777, "");
        assert_eq!(timed.at(START + 7_777)[40..], ["a", "b", "c", "new"]);
        assert_eq!(timed.at(START + 2 * DAY + 1_233).len(), 44);
        assert_eq!(timed.at(START + 2 * DAY + 1_234).last().unwrap(), "d");
        timed.turn(START + 2 * DAY + 9_999);
        timed.stop();
        let timed = open(then, START + 2 * DAY + 10_000);
        assert_eq!(width(&timed), then);
        timed.put("last", START + 2 * DAY + 10_123, "");
        assert_eq!(timed.at(START + 2 * DAY + 10_122).len(), 45);
        assert_eq!(timed.at(START + 2 * DAY + 10_123).last().unwrap(), "last");
        timed.stop();
    }
}

#[test]
fn what_fell_due_during_a_long_stop_is_delivered_first() {
    let folder = Folder::new("timer-long-stop");
    let timed = Timed::open(folder.path(), &[], START);
    timed.put("old", START + DAY, "");
    timed.turn(START);
    timed.stop();
    // Fifteen days later: the slot of `new` is where that of `old` is, one turn before.
    let timed = Timed::open(folder.path(), &[], START + 15 * DAY - 10_000);
    timed.put("new", START + 15 * DAY, "");
    assert_eq!(timed.at(START + 15 * DAY - 5_000), ["old"]);
    assert_eq!(timed.at(START + 15 * DAY), ["old", "new"]);
}

/// The uniqKey's end and commit-log offset of all that a topic's queues have.
fn delivered(timed: &Timed) -> Vec<(String, i64)> {
    let mut found = Vec::new();
    for (topic, queues) in [("Timed", 4), ("TimedB", 1)] {
        for queue in 0..queues {
            let mut offset = 0;
            while offset < timed.test.store.max_offset(topic, queue) {
                let result = timed.test.get(topic, queue, offset);
                each_record(&result, |record| {
                    let key = find(record.properties, "KEYS").unwrap_or_default();
                    let due = find(record.properties, "TIMER_DELIVER_MS");
                    let due = due.and_then(|text| text.parse().ok()).unwrap_or(0);
                    found.push((key.to_owned(), due));
                });
                offset = result.next_begin_offset;
            }
        }
    }
    found
}

#[test]
fn a_store_of_java_5_3_3_goes_on() {
    let folder = Folder::new("timer-java");
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stores/timer-5.3.3.tar.gz");
    let status =
        Command::new("tar").arg("-xzf").arg(packed).arg("-C").arg(folder.path()).status().unwrap();
    assert!(status.success());
    let keys = [
        ("mappedFileSizeCommitLog", "1048576"),
        ("mappedFileSizeConsumeQueue", "20000"),
        ("maxHashSlotNum", "1000"),
        ("maxIndexNum", "4000"),
        ("mappedFileSizeTimerLog", "102400"),
    ];
    let root = folder.path().join("timer-5.3.3");
    let first_due = 1_795_263_129_188;
    let timed = Timed::open(&root, &keys, START);
    assert_eq!((timed.timer.metrics().waiting("Timed"), timed.timer.behind_messages()), (45, 0));
    assert_eq!(delivered(&timed).len(), 8, "those that Java delivered");
    timed.turn(first_due - 1);
    assert_eq!(delivered(&timed).len(), 8);
    // An hour after they were sent, at their own millisecond: Java's slots are seconds.
    for (later, count) in [(0, 9), (249, 9), (250, 10), (749, 11), (750, 12), (1000, 13)] {
        timed.turn(first_due + later);
        assert_eq!(delivered(&timed).len(), count, "{later}");
    }
    timed.stop();
    let timed = Timed::open(&root, &keys, first_due + 1000);
    // A day after; then two days after all that is further away is rolled; then the third day.
    let day = 1_795_345_929_188;
    timed.turn(day + 999);
    assert_eq!(delivered(&timed).len(), 17);
    let in_timer = timed.test.store.max_offset(TIMER_TOPIC, 0);
    assert_eq!(in_timer, 61);
    timed.turn(day + DAY + 2000);
    assert_eq!(delivered(&timed).len(), 18);
    assert_eq!(timed.test.store.max_offset(TIMER_TOPIC, 0), in_timer + 47);
    timed.turn(day + 2 * DAY - 1);
    assert_eq!(delivered(&timed).len(), 18);
    timed.turn(day + 2 * DAY);
    assert_eq!(delivered(&timed).len(), 19);
    timed.turn(day + 2 * DAY + 1000);
    let all = delivered(&timed);
    assert_eq!(all.len(), 23);
    assert_eq!(timed.timer.metrics().waiting("Timed"), 45 - 15);
    let keys: std::collections::BTreeSet<_> = all.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 23, "nothing twice");
}
