//! Reading from a queue: what a pull gets, and from which units.

use std::io::IoSlice;
use std::sync::Arc;

use super::commit_log::{CommitLog, is_record_at, store_time};
use super::config::StoreConfig;
use super::consume_queue::{ConsumeQueue, Unit};
use super::consume_queue_ext::is_ext_address;
use super::mapped_file::MappedSlice;
use super::message::{GetMessageResult, GetMessageStatus, MessageFilter};
use crate::common::shared_bytes::SharedBytes;

/// Units looked at by one pull, at least, in bytes.
const LEAST_UNIT_BYTES: i64 = 16_000;

/// Records of a pull: slices of the mapped commit log, adjacent ones merged.
#[derive(Debug, Default)]
pub struct RecordSlices {
    slices: Vec<MappedSlice>,
    bytes: usize,
}

impl RecordSlices {
    /// One piece.
    pub fn single(slice: MappedSlice) -> Self {
        Self { bytes: slice.len(), slices: vec![slice] }
    }

    /// Adds a record.
    pub fn push(&mut self, slice: MappedSlice) {
        self.bytes += slice.len();
        self.slices.push(slice);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }
}

impl SharedBytes for RecordSlices {
    fn len(&self) -> usize {
        self.bytes
    }

    fn slices<'a>(&'a self, out: &mut Vec<IoSlice<'a>>) {
        out.extend(self.slices.iter().map(|slice| IoSlice::new(slice)));
    }
}

/// Pieces for which a pull makes room at once; most pulls ask for so many messages.
const MANY_SLICES: i32 = 32;

/// What a pull asks for.
pub struct Get<'a> {
    /// First queue offset.
    pub offset: i64,
    /// Most messages.
    pub max_messages: i32,
    /// Which ones; all without it.
    pub filter: Option<&'a dyn MessageFilter>,
    /// Distance from the log's end within which records count as in memory, bytes.
    pub memory_bytes: i64,
}

/// Limits of one pull that is in memory or on the disk.
fn batch_limits(config: &StoreConfig, on_disk: bool) -> (usize, u32) {
    let (bytes, count) = if on_disk {
        (config.max_transfer_bytes_on_message_in_disk, config.max_transfer_count_on_message_in_disk)
    } else {
        (
            config.max_transfer_bytes_on_message_in_memory,
            config.max_transfer_count_on_message_in_memory,
        )
    };
    (bytes.max(0) as usize, count.max(0) as u32)
}

/// An answer without messages.
pub fn nothing(
    status: GetMessageStatus,
    next_begin_offset: i64,
    min_offset: i64,
    max_offset: i64,
) -> GetMessageResult {
    GetMessageResult {
        status,
        next_begin_offset,
        min_offset,
        max_offset,
        count: 0,
        bytes: 0,
        records: None,
        last_store_timestamp: 0,
        behind_bytes: None,
        suggest_pulling_from_slave: false,
    }
}

/// What a queue answers to a pull (Java's `DefaultMessageStore.getMessage`).
pub fn get(
    log: &CommitLog,
    queue: Option<&ConsumeQueue>,
    config: &StoreConfig,
    get: &Get<'_>,
) -> GetMessageResult {
    let (min, max) = queue.map_or((0, 0), |queue| (queue.min_offset(), queue.max_offset()));
    // A slave does not correct a consumer's offset: it may only lag behind its master.
    let correct = |offset: i64| {
        if config.is_slave() && !config.offset_check_in_slave { get.offset } else { offset }
    };
    let none = |status, next| nothing(status, next, min, max);
    let Some(queue) = queue.filter(|_| max > 0) else {
        return none(GetMessageStatus::NoMessageInQueue, correct(0));
    };
    if get.offset < min {
        return none(GetMessageStatus::OffsetTooSmall, correct(min));
    }
    if get.offset == max {
        return none(GetMessageStatus::OffsetOverflowOne, get.offset);
    }
    if get.offset > max {
        return none(GetMessageStatus::OffsetOverflowBadly, correct(max));
    }
    let unreadable =
        || none(GetMessageStatus::OffsetFoundNull, correct(queue.roll_next_file(get.offset)));
    let Some((file, at)) = queue.locate(get.offset) else { return unreadable() };
    let limit = LEAST_UNIT_BYTES.max(i64::from(get.max_messages.max(0)) * Unit::BYTES as i64);
    let length = (file.readable() - at).min(limit as usize) / Unit::BYTES * Unit::BYTES;
    let Some(units) = file.bytes(at, length) else { return unreadable() };
    let mut batch = Batch::new(log, queue, config, get);
    let mut examined = 0;
    for unit in units.chunks_exact(Unit::BYTES).filter_map(Unit::decode) {
        if !batch.take(get.offset + examined, unit) {
            break;
        }
        examined += 1;
    }
    let lag = batch.log_end.saturating_sub(batch.last_offset);
    let mut result = batch.finish(min, max);
    result.next_begin_offset = get.offset + examined;
    result.behind_bytes = Some(lag);
    result.suggest_pulling_from_slave = lag > get.memory_bytes;
    result
}

/// What became of the record of a unit.
enum Collected {
    /// It was taken, or the filter does not want it.
    Passed,
    /// It is no longer in the log.
    Gone,
    /// Something else stands there: the unit is damaged.
    Foreign,
}

/// The messages of a pull while they are gathered.
struct Batch<'a> {
    log: &'a CommitLog,
    queue: &'a ConsumeQueue,
    get: &'a Get<'a>,
    log_end: i64,
    memory_limits: (usize, u32),
    disk_limits: (usize, u32),
    status: GetMessageStatus,
    slices: Vec<MappedSlice>,
    bytes: usize,
    count: u32,
    last_offset: i64,
    /// Records before this commit-log offset are gone.
    skip_until: Option<i64>,
    last_record_start: usize,
}

impl<'a> Batch<'a> {
    fn new(
        log: &'a CommitLog,
        queue: &'a ConsumeQueue,
        config: &StoreConfig,
        get: &'a Get<'a>,
    ) -> Self {
        Self {
            log,
            queue,
            get,
            log_end: log.max_offset(),
            memory_limits: batch_limits(config, false),
            disk_limits: batch_limits(config, true),
            status: GetMessageStatus::NoMatchedMessage,
            slices: Vec::new(),
            bytes: 0,
            count: 0,
            last_offset: 0,
            skip_until: None,
            last_record_start: 0,
        }
    }

    /// Takes, filters out or passes over the record of unit `index`; false when the batch is full.
    fn take(&mut self, index: i64, unit: Unit) -> bool {
        self.last_offset = unit.offset;
        if self.skip_until.is_some_and(|offset| unit.offset < offset) {
            return true;
        }
        let size = usize::try_from(unit.size).unwrap_or(0);
        if self.is_full(unit.offset, size) {
            return false;
        }
        if !self.matches_queue(unit) {
            return true;
        }
        match self.collect(unit.offset, size) {
            Collected::Gone => {
                if self.count == 0 {
                    self.status = GetMessageStatus::MessageWasRemoving;
                }
                self.skip_until = Some(self.log.roll_next_file(unit.offset));
                return true;
            }
            Collected::Foreign => self.queue.tell_bad_unit(index, unit),
            Collected::Passed => {}
        }
        self.skip_until = None;
        true
    }

    fn is_full(&self, offset: i64, size: usize) -> bool {
        if self.count == 0 {
            return false;
        }
        let on_disk = self.log_end.saturating_sub(offset) > self.get.memory_bytes;
        let (bytes, count) = if on_disk { self.disk_limits } else { self.memory_limits };
        i64::from(self.count) >= i64::from(self.get.max_messages)
            || self.bytes + size > bytes
            || self.count >= count
    }

    fn matches_queue(&mut self, unit: Unit) -> bool {
        let Some(filter) = self.get.filter else { return true };
        let matches = if is_ext_address(unit.tags_code) {
            let ext = self.queue.ext().and_then(|ext| ext.get(unit.tags_code));
            filter.matches_queue(ext.as_ref().map(|ext| ext.tags_code), ext.as_ref())
        } else {
            filter.matches_queue(Some(unit.tags_code), None)
        };
        if !matches && self.count == 0 {
            self.status = GetMessageStatus::NoMatchedMessage;
        }
        matches
    }

    /// Collects the record if the filter wants it.
    fn collect(&mut self, offset: i64, size: usize) -> Collected {
        let missing = || {
            if offset < self.log.min_offset() { Collected::Gone } else { Collected::Foreign }
        };
        // Most records lie in the file of the one before, many right behind it.
        if let Some(last) = self.slices.last_mut().filter(|last| last.file().contains(offset)) {
            let at = (offset - last.file().start()) as usize;
            let Some(record) = last.file().bytes(at, size) else { return missing() };
            if !is_record_at(record, offset) {
                return Collected::Foreign;
            }
            if !wanted(self.get.filter, record) {
                return Collected::Passed;
            }
            if !last.extend(at, size) {
                let Some(slice) = last.file().slice(at, size) else { return missing() };
                self.slices.push(slice);
            }
            self.count_record(size);
            return Collected::Passed;
        }
        let Some(slice) = self.log.slice(offset, size) else { return missing() };
        if !is_record_at(&slice, offset) {
            return Collected::Foreign;
        }
        if wanted(self.get.filter, &slice) {
            // Neighbours in a queue are seldom neighbours in the log.
            self.slices.reserve(self.get.max_messages.clamp(1, MANY_SLICES) as usize);
            self.slices.push(slice);
            self.count_record(size);
        } else if self.count == 0 {
            self.status = GetMessageStatus::NoMatchedMessage;
        }
        Collected::Passed
    }

    fn count_record(&mut self, size: usize) {
        self.last_record_start = size;
        self.bytes += size;
        self.count += 1;
        self.status = GetMessageStatus::Found;
    }

    fn finish(self, min: i64, max: i64) -> GetMessageResult {
        let mut result = nothing(self.status, 0, min, max);
        if let Some(last) = self.slices.last() {
            let start = last.len().saturating_sub(self.last_record_start);
            result.last_store_timestamp = last.get(start..).and_then(store_time).unwrap_or(0);
            result.records =
                Some(Arc::new(RecordSlices { slices: self.slices, bytes: self.bytes }));
        }
        result.count = self.count;
        result.bytes = self.bytes;
        result
    }
}

fn wanted(filter: Option<&dyn MessageFilter>, record: &[u8]) -> bool {
    filter.is_none_or(|filter| !filter.needs_record() || filter.matches_record(record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::message_store::MessageStore;
    use crate::store::testing::{TempFolder, open, put_all};
    use crate::store::{FlushDiskType, config::BrokerRole};

    /// Bytes of a record beside its body: topic `T`, `KEYS=k`.
    const OVERHEAD: usize = 91 + 1 + 6;

    /// Asks queue 0 of `T`.
    fn ask(store: &MessageStore, ask: &Get<'_>) -> GetMessageResult {
        let queue = store.queues.find("T", 0);
        get(&store.log, queue.as_deref(), &store.config.get(), ask)
    }

    fn at(offset: i64) -> Get<'static> {
        Get { offset, max_messages: 32, filter: None, memory_bytes: i64::MAX }
    }

    use GetMessageStatus as S;

    /// Where a pull goes on, for every place in a queue at which it may begin.
    #[test]
    fn statuses_and_next_offsets() {
        let folder = TempFolder::new("get-status");
        // Five units a queue file, two records a log file.
        let store = open(&folder, |config| {
            config.mapped_file_size_commit_log = 1000;
            config.mapped_file_size_consume_queue = 100;
        });
        let check = |rows: &[(i64, S, i64, u32)]| {
            for &(offset, status, next, count) in rows {
                let found = ask(&store, &at(offset));
                let found = (found.status, found.next_begin_offset, found.count);
                assert_eq!(found, (status, next, count), "at {offset}");
            }
        };
        check(&[(0, S::NoMessageInQueue, 0, 0), (7, S::NoMessageInQueue, 0, 0)]);
        put_all(&store, "T", 18, |_| vec![7; 350]);
        check(&[
            (-1, S::OffsetTooSmall, 0, 0),
            (0, S::Found, 5, 5),
            (3, S::Found, 5, 2),
            (4, S::Found, 5, 1),
            (5, S::Found, 10, 5),
            (15, S::Found, 18, 3),
            (17, S::Found, 18, 1),
            (18, S::OffsetOverflowOne, 18, 0),
            (19, S::OffsetOverflowBadly, 18, 0),
            (i64::MAX, S::OffsetOverflowBadly, 18, 0),
            (i64::MIN, S::OffsetTooSmall, 0, 0),
        ]);
        // Records 0 to 6 go, while their units stay.
        for _ in 0..3 {
            let first = store.log.files().first().unwrap();
            assert!(store.log.files().delete_first(&first).unwrap());
        }
        check(&[
            (0, S::MessageWasRemoving, 5, 0),
            (4, S::MessageWasRemoving, 5, 0),
            (5, S::Found, 10, 4),
            (6, S::Found, 10, 4),
        ]);
        // The first queue file goes, while the queue does not know yet that it begins later.
        let queue = store.queues.find("T", 0).unwrap();
        let first = queue.files().first().unwrap();
        assert!(queue.files().delete_first(&first).unwrap());
        check(&[
            (0, S::OffsetFoundNull, 5, 0),
            (4, S::OffsetFoundNull, 5, 0),
            (5, S::Found, 10, 4),
        ]);
        queue.correct_min_offset(store.log.min_offset());
        check(&[(0, S::OffsetTooSmall, 6, 0), (5, S::OffsetTooSmall, 6, 0), (6, S::Found, 10, 4)]);
        let found = ask(&store, &at(0));
        assert_eq!((found.min_offset, found.max_offset), (6, 18));
    }

    #[test]
    fn a_slave_does_not_correct_offsets_unless_told_to() {
        let folder = TempFolder::new("get-slave");
        let store = open(&folder, |config| config.mapped_file_size_consume_queue = 100);
        store.config.update(|config| config.broker_role = BrokerRole::Slave);
        assert_eq!(ask(&store, &at(3)).next_begin_offset, 3, "an empty queue");
        store.config.update(|config| config.broker_role = BrokerRole::AsyncMaster);
        put_all(&store, "T", 7, |_| vec![7; 10]);
        let queue = store.queues.find("T", 0).unwrap();
        let first = queue.files().first().unwrap();
        assert!(queue.files().delete_first(&first).unwrap());
        for (role, corrects, next) in [
            (BrokerRole::Slave, false, [0, -5, 7, 9]),
            (BrokerRole::Slave, true, [5, 0, 7, 7]),
            (BrokerRole::SyncMaster, false, [5, 0, 7, 7]),
        ] {
            store.config.update(|config| {
                config.broker_role = role;
                config.offset_check_in_slave = corrects;
            });
            let found = [0, -5, 7, 9].map(|offset| ask(&store, &at(offset)));
            let statuses = found.each_ref().map(|found| found.status);
            let expected = [
                S::OffsetFoundNull,
                S::OffsetTooSmall,
                S::OffsetOverflowOne,
                S::OffsetOverflowBadly,
            ];
            assert_eq!(statuses, expected);
            assert_eq!(found.map(|found| found.next_begin_offset), next, "{role:?} {corrects}");
        }
    }

    /// Filters by the units, or by the records, or passes everything.
    struct Only(&'static [i64], bool);

    impl MessageFilter for Only {
        fn matches_queue(
            &self,
            code: Option<i64>,
            _ext: Option<&crate::store::message::ExtUnit>,
        ) -> bool {
            assert_eq!(code, Some(0), "no tags");
            self.1 || !self.0.is_empty()
        }

        fn matches_record(&self, record: &[u8]) -> bool {
            let (queue_offset, _) = super::super::commit_log::claimed_offsets(record).unwrap();
            self.0.contains(&queue_offset)
        }

        fn needs_record(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn what_no_filter_matches_is_passed_over_so_far() {
        let folder = TempFolder::new("get-filter");
        let store = open(&folder, |_| {});
        put_all(&store, "T", 1000, |_| vec![7; 10]);
        // At least 16,000 bytes of units are looked at, and 20 for each message wanted.
        for (filter, offset, max_messages, status, next, count) in [
            (Only(&[], false), 0, 32, S::NoMatchedMessage, 800, 0),
            (Only(&[], false), 150, 32, S::NoMatchedMessage, 950, 0),
            (Only(&[], false), 300, 32, S::NoMatchedMessage, 1000, 0),
            (Only(&[], false), 0, 900, S::NoMatchedMessage, 900, 0),
            (Only(&[], true), 0, 32, S::NoMatchedMessage, 800, 0),
            (Only(&[5, 6, 900], true), 0, 32, S::Found, 800, 2),
            (Only(&[5, 6, 900], true), 100, 32, S::NoMatchedMessage, 900, 0),
            (Only(&[5, 6, 900], true), 101, 32, S::Found, 901, 1),
            (Only(&[5, 6, 7, 8], true), 0, 2, S::Found, 7, 2),
        ] {
            let found = ask(&store, &Get { max_messages, filter: Some(&filter), ..at(offset) });
            let found = (found.status, found.next_begin_offset, found.count);
            assert_eq!(found, (status, next, count), "{:?} from {offset}", filter.0);
        }
    }

    /// How many messages one pull gets: 100 records of 1000 bytes are there.
    #[test]
    fn a_pull_ends_at_its_limits() {
        let folder = TempFolder::new("get-limits");
        let store = open(&folder, |_| {});
        put_all(&store, "T", 100, |_| vec![7; 1000 - OVERHEAD]);
        struct Row(&'static str, i64, i32, [i32; 4], u32);
        const DEFAULT: [i32; 4] = [262_144, 32, 65_536, 8];
        const ALL: i64 = i64::MAX;
        for Row(
            what,
            memory_bytes,
            max_messages,
            [bytes, count, disk_bytes, disk_count],
            expected,
        ) in [
            Row("as asked", ALL, 20, DEFAULT, 20),
            Row("messages from memory", ALL, 64, DEFAULT, 32),
            Row("bytes from memory", ALL, 64, [10_000, 64, 1, 1], 10),
            Row("one byte less", ALL, 64, [9_999, 64, 1, 1], 9),
            Row("one at least", ALL, 64, [1, 64, 1, 1], 1),
            Row("nothing asked", ALL, 0, DEFAULT, 1),
            Row("less than nothing", ALL, -5, DEFAULT, 1),
            Row("messages from the disk", 0, 64, DEFAULT, 8),
            Row("bytes from the disk", 0, 64, [1, 1, 5_000, 64], 5),
            Row("one byte less from the disk", 0, 64, [1, 1, 4_999, 64], 4),
            Row("one at least from the disk", 0, 64, [1, 1, 1, 64], 1),
            // The last 95,000 bytes are in memory: the first six records are not.
            Row("the disk's end", 95_000, 64, [262_144, 32, 65_536, 4], 4),
            Row("beyond the disk's end", 95_000, 64, [262_144, 32, 65_536, 8], 32),
            Row(
                "memory's limit counts what is from the disk",
                95_000,
                64,
                [262_144, 6, 65_536, 8],
                6,
            ),
        ] {
            store.config.update(|config| {
                config.max_transfer_bytes_on_message_in_memory = bytes;
                config.max_transfer_count_on_message_in_memory = count;
                config.max_transfer_bytes_on_message_in_disk = disk_bytes;
                config.max_transfer_count_on_message_in_disk = disk_count;
            });
            let found = ask(&store, &Get { max_messages, memory_bytes, ..at(0) });
            assert_eq!(found.count, expected, "{what}");
            assert_eq!((found.status, found.next_begin_offset), (S::Found, i64::from(expected)));
            assert_eq!(found.bytes, expected as usize * 1000);
        }
    }

    /// The distance from the log's end to the last unit that was looked at decides.
    #[test]
    fn a_slave_is_suggested_to_who_is_far_behind() {
        let folder = TempFolder::new("get-suggest");
        let store = open(&folder, |_| {});
        put_all(&store, "T", 100, |_| vec![7; 1000 - OVERHEAD]);
        let end = store.commit_log_max_offset();
        let blank = end - 100_000;
        // Messages 0 and 1 are got, 2 is looked at: it is 98,000 bytes before the end, and what files
        // end with.
        for (offset, memory_bytes, suggested) in [
            (0, 98_000 + blank, false),
            (0, 97_999 + blank, true),
            (97, 1_000, false),
            (97, 999, true),
            (99, 1_000, false),
            (100, 0, false),
        ] {
            let found = ask(&store, &Get { max_messages: 2, memory_bytes, ..at(offset) });
            assert_eq!(found.suggest_pulling_from_slave, suggested, "{offset} {memory_bytes}");
            let lag = if offset == 0 { 98_000 + blank } else { 1_000 };
            assert_eq!(found.behind_bytes, (offset < 100).then_some(lag), "{offset}");
        }
        // 40 % of the memory, as configured.
        let ratio = |percent: i32| {
            store.config.update(|config| config.access_message_in_memory_max_ratio = percent);
            store.memory_budget(&store.config.get())
        };
        let hundredth = (store.memory_bytes / 100) as i64;
        assert_eq!([-1, 0, 40, 100, 101].map(ratio), [0, 0, 40, 100, 100].map(|n| n * hundredth));
    }

    #[test]
    fn a_damaged_unit_serves_nothing_else() {
        let folder = TempFolder::new("get-damaged");
        let store = open(&folder, |config| config.flush_disk_type = FlushDiskType::AsyncFlush);
        put_all(&store, "T", 10, |number| vec![number as u8; 100]);
        let path = folder.path().join("consumequeue/T/0/00000000000000000000");
        let whole = std::fs::read(&path).unwrap();
        // Of unit 3: every bit of its offset and size.
        for bit in 0..12 * 8 {
            let mut bytes = whole[..200].to_vec();
            bytes[60 + bit / 8] ^= 1 << (bit % 8);
            std::os::unix::fs::FileExt::write_all_at(
                &std::fs::File::options().write(true).open(&path).unwrap(),
                &bytes,
                0,
            )
            .unwrap();
            let (mut next, mut bodies) = (0, Vec::new());
            while next < 10 {
                let found = ask(&store, &at(next));
                assert!(found.next_begin_offset > next, "bit {bit} at {next}: {:?}", found.status);
                next = found.next_begin_offset;
                let mut slices = Vec::new();
                let records = found.records.iter();
                records.for_each(|records| records.slices(&mut slices));
                let bytes: Vec<u8> =
                    slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                assert!(bytes.len().is_multiple_of(100 + OVERHEAD), "bit {bit}");
                bodies.extend(bytes.chunks(100 + OVERHEAD).map(|record| record[88]));
            }
            assert_eq!(bodies, [0, 1, 2, 4, 5, 6, 7, 8, 9], "bit {bit}");
        }
    }
}
