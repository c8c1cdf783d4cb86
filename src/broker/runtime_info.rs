//! What a broker says about itself: the table of GET_BROKER_RUNTIME_INFO (28), from which
//! `clusterList`, `brokerStatus`, consoles and exporters read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::{Broker, ha_info};
use crate::common::clock::now_ms;
use crate::common::os;
use crate::common::thread_pool::ThreadPool;
use crate::common::topic::SCHEDULE_TOPIC;
use crate::remoting::command::VERSION;

/// Name of the release whose protocol this broker speaks.
pub const VERSION_NAME: &str = "V4_9_8";

/// Names of groups that are listed.
const SHOWN_GROUPS: usize = 20;

/// Totals of messages at the last two midnights (spec: broker 10.3).
#[derive(Debug, Default)]
pub struct DailyTotals {
    put: Midnights,
    get: Midnights,
}

#[derive(Debug, Default)]
struct Midnights {
    yesterday: AtomicI64,
    today: AtomicI64,
}

impl Midnights {
    fn pass(&self, now: i64) {
        let before = self.today.swap(now, Ordering::Relaxed);
        self.yesterday.store(before, Ordering::Relaxed);
    }

    fn describe(&self, what: &str, now: i64, table: &mut BTreeMap<String, String>) {
        let figures = [
            ("YesterdayMorning", self.yesterday.load(Ordering::Relaxed)),
            ("TodayMorning", self.today.load(Ordering::Relaxed)),
            ("TodayNow", now),
        ];
        for (when, total) in figures {
            table.insert(format!("msg{what}Total{when}"), total.to_string());
        }
    }
}

/// It is midnight: what was counted until now belongs to the day before.
pub fn pass_midnight(broker: &Arc<Broker>) {
    broker.daily_totals.put.pass(broker.store.put_total());
    broker.daily_totals.get.pass(broker.store.get_total());
}

/// All keys (spec: admin 5). Those of the store come from the store; a key that 5.x tools spell
/// differently is there under both spellings.
pub fn table(broker: &Broker) -> BTreeMap<String, String> {
    let mut table = broker.store.runtime_info();
    if let Some(tps) = table.get("getTransferedTps").cloned() {
        table.insert("getTransferredTps".to_owned(), tps);
    }
    table.insert("brokerVersionDesc".to_owned(), VERSION_NAME.to_owned());
    table.insert("brokerVersion".to_owned(), VERSION.to_string());
    broker.daily_totals.put.describe("Put", broker.store.put_total(), &mut table);
    broker.daily_totals.get.describe("Get", broker.store.get_total(), &mut table);
    describe_pools(broker, &mut table);
    describe_delays(broker, &mut table);
    describe_files(broker, &mut table);
    ha_info::describe(broker, &mut table);
    let behind = broker.store.dispatch_behind_bytes();
    table.insert("dispatchBehindBytes".to_owned(), behind.to_string());
    describe_warnings(broker, &mut table);
    let start = broker.config.get().start_accept_send_request_time_stamp;
    table.insert("startAcceptSendRequestTimeStamp".to_owned(), start.to_string());
    table
}

/// What people should know and no client is told: keys of our own.
fn describe_warnings(broker: &Broker, table: &mut BTreeMap<String, String>) {
    let mut put = |key: &str, value: String| table.insert(key.to_owned(), value);
    put("consumerOffsetsWentBack", broker.consumer_offsets.went_back().to_string());
    put("transactionsEndedTwice", broker.ended_transactions.contradicted().to_string());
    let groups = broker.consumers.disagreeing_groups();
    put("groupsWithDifferentSubscriptions", groups.len().to_string());
    if !groups.is_empty() {
        let some: Vec<_> = groups.into_iter().take(SHOWN_GROUPS).collect();
        put("differentSubscriptions", some.join(" "));
    }
    if let Some(timer) = &broker.timer {
        // As 5.x calls them: ms of the slot at work, messages that are not in the wheel yet.
        put("timerReadBehind", (now_ms() - timer.read_ms()).max(0).to_string());
        put("timerOffsetBehind", timer.behind_messages().max(0).to_string());
    }
    put("heldPulls", broker.held_pulls.len().to_string());
}

/// How far every delay level is delivered, and how far it goes; those that nobody ever used are left
/// out.
fn describe_delays(broker: &Broker, table: &mut BTreeMap<String, String>) {
    let delivered = broker.delay.offsets();
    for level in 1..=broker.delay.levels().max_level() {
        let next = delivered.get(&level).copied().unwrap_or(0);
        let end = broker.store.max_offset(SCHEDULE_TOPIC, level - 1);
        if next.max(end) > 0 {
            table.insert(format!("scheduleMessageOffset_{level}"), format!("{next},{end}"));
        }
    }
}

fn describe_files(broker: &Broker, table: &mut BTreeMap<String, String>) {
    let flushed = table.get("flushedOffset").and_then(|offset| offset.parse::<i64>().ok());
    if let Some(flushed) = flushed {
        let unflushed = (broker.store.commit_log_max_offset() - flushed).max(0);
        table.insert("remainHowManyDataToFlush".to_owned(), human_bytes(unflushed as u64));
    }
    let config = broker.store.config();
    if config.transient_store_pool_enable {
        let uncommitted = broker.store.uncommitted_bytes() as u64;
        table.insert("remainHowManyDataToCommit".to_owned(), human_bytes(uncommitted));
    }
    let root = &config.store_path_root_dir;
    if let Ok(space) = os::disk_space(Path::new(root)) {
        // Exporters take the words at their places, the last without its point.
        table.insert(
            "commitLogDirCapacity".to_owned(),
            format!(
                "Total : {}, Free : {}.",
                human_bytes(space.total),
                human_bytes(space.available)
            ),
        );
    }
}

/// `"17 B"`, `"1.5 KiB"`, and so on to EiB.
fn human_bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let exponent = (bytes.ilog2() / 10).min(6);
    let unit = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][exponent as usize - 1];
    format!("{:.1} {unit}", bytes as f64 / (1u64 << (10 * exponent)) as f64)
}

fn describe_pools(broker: &Broker, table: &mut BTreeMap<String, String>) {
    let pools = &broker.pools;
    let config = broker.config.get();
    let rows: [(&str, &str, &ThreadPool, i32); 4] = [
        (
            "sendThreadPoolQueueSize",
            "sendThreadPoolQueueCapacity",
            &pools.send,
            config.send_thread_pool_queue_capacity,
        ),
        (
            "pullThreadPoolQueueSize",
            "pullThreadPoolQueueCapacity",
            &pools.pull,
            config.pull_thread_pool_queue_capacity,
        ),
        (
            "queryThreadPoolQueueSize",
            "queryThreadPoolQueueCapacity",
            &pools.query,
            config.query_thread_pool_queue_capacity,
        ),
        (
            "EndTransactionQueueSize",
            "EndTransactionThreadPoolQueueCapacity",
            &pools.end_transaction,
            config.end_transaction_pool_queue_capacity,
        ),
    ];
    for (size_key, capacity_key, pool, capacity) in rows {
        table.insert(size_key.to_owned(), pool.queue_len().to_string());
        table.insert(capacity_key.to_owned(), capacity.to_string());
    }
    let waits = [("send", &pools.send), ("pull", &pools.pull), ("query", &pools.query)];
    for (name, pool) in waits {
        table.insert(
            format!("{name}ThreadPoolQueueHeadWaitTimeMills"),
            pool.head_age().as_millis().to_string(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::{TestBroker, wait_until};

    #[test]
    fn delay_levels_in_use_are_told() {
        let test = TestBroker::start_with(|configuration| {
            configuration.store.message_delay_level = "1h 1s 2h".to_owned();
        });
        test.make_topic("T", "1");
        for level in ["1", "2", "2"] {
            test.send_with("T", "0", &format!("DELAY\u{1}{level}"), "x");
        }
        let told = |level: i32, value: &str| {
            let entry = format!("\"scheduleMessageOffset_{level}\":\"{value}\"");
            test.ask(28, &[], "").contains(&entry)
        };
        wait_until("level 2 is delivered", || told(2, "2,2"));
        assert!(told(1, "0,1"));
        assert!(!test.ask(28, &[], "").contains("scheduleMessageOffset_3"));
    }

    #[test]
    fn sizes_are_written_as_java_writes_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            (270_582_939_648, "252.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }

    #[test]
    fn totals_move_a_day_back_at_midnight() {
        let totals = Midnights::default();
        totals.pass(10);
        totals.pass(30);
        let mut table = BTreeMap::new();
        totals.describe("Put", 35, &mut table);
        let expected = [
            ("msgPutTotalTodayMorning", "30"),
            ("msgPutTotalTodayNow", "35"),
            ("msgPutTotalYesterdayMorning", "10"),
        ];
        assert!(table.iter().map(|(key, value)| (key.as_str(), value.as_str())).eq(expected));
    }
}
