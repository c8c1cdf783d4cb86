//! Comparing the own log with a master's before anything is appended to it: which stretch is
//! compared at a connect, and where two logs that differ begin to do so.

use crate::common::record::RecordView;
use crate::store::commit_log::{CommitLog, LogEntry, read_entry};
use crate::store::recovery::find_record;

/// How far before the own end the comparison begins; more if no record begins there.
const OVERLAPS: [i64; 4] = [64 << 10, 1 << 20, 16 << 20, i64::MAX];
/// When the first difference is known to be within so many bytes, they are compared one by one.
const SPAN: i64 = 64 << 10;

/// A stretch of the own log, from one record's begin to another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its begin.
    pub from: i64,
    /// Its end.
    pub to: i64,
}

/// The last records of the own log, about 64 KiB of them; empty if the log has none.
pub fn last_records(log: &CommitLog) -> Stretch {
    let (min, to) = (log.min_offset().max(0), log.max_offset());
    let files = log.files().snapshot();
    let starts = OVERLAPS.iter().map(|overlap| to.saturating_sub(*overlap).max(min));
    let found = starts.filter_map(|start| find_record(&files, start - 1));
    let from = found.into_iter().find(|from| *from < to).unwrap_or(to);
    Stretch { from, to }
}

/// Begin of the own record (or blank) that holds the byte at `offset`; `from` must be a record's
/// begin before it.
pub fn record_holding(log: &CommitLog, from: i64, offset: i64) -> i64 {
    let mut at = from;
    while let Some(bytes) = log.slice_from(at) {
        let next = match read_entry(&bytes, false) {
            LogEntry::Record(RecordView { total_size, .. }) => at + i64::from(total_size),
            LogEntry::EndOfFile => log.roll_next_file(at),
            LogEntry::Bad(_) => break,
        };
        if next > offset {
            break;
        }
        at = next;
    }
    at
}

/// Looks for the first record in which two logs differ, one question after another.
///
/// Each question asks the master for a stretch of its log, on a connection of its own. Logs that
/// parted once stay different from there on (each record tells its own offset and the time it was
/// stored), so the place is found by halving.
///
/// Invariants: the record at `high` differs; no record before `low` is known to.
#[derive(Debug)]
pub struct Search {
    low: i64,
    high: i64,
}

/// How a search goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// This stretch is to be compared.
    Ask(Stretch),
    /// The first record that differs begins here.
    Found(i64),
}

impl Search {
    /// The record at `high` differs, and all between it and `low` may.
    pub fn new(low: i64, high: i64) -> Self {
        Self { low, high }
    }

    /// What is to be asked next.
    pub fn step(&self, log: &CommitLog) -> Step {
        let files = log.files().snapshot();
        let find = |from: i64| find_record(&files, from - 1).filter(|at| *at < self.high);
        let Some(first) = find(self.low) else { return Step::Found(self.high) };
        if self.high - first <= SPAN {
            return Step::Ask(Stretch { from: first, to: self.high });
        }
        let from = find(first + (self.high - first) / 2).unwrap_or(first);
        let size = log.record_at(from).map_or(1, |record| record.len() as i64);
        Step::Ask(Stretch { from, to: from + size })
    }

    /// The stretch that was asked for is the same, or the master has not got it.
    pub fn same(&mut self, stretch: Stretch) {
        self.low = stretch.to;
    }

    /// The stretch is the same up to the record at `record`, which differs.
    pub fn differs(&mut self, stretch: Stretch, record: i64) {
        if record > stretch.from {
            self.low = record;
        }
        self.high = record;
    }
}
