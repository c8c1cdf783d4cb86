//! Finding the end of the timer log after a stop or a crash, and mending the wheel by it.

use std::collections::HashMap;

use super::log::{TimerLog, Unit};
use super::wheel::{Slot, Wheel};
use super::{PRECISIONS_MS, Scale, checkpoint::Position};
use crate::store::message_store::StoreError;

/// What the timer log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where the next unit goes.
    pub end: i64,
    /// Commit-log offset of the last unit's record.
    pub last_record: Option<i64>,
}

/// Finds the end of the log and mends the wheel.
///
/// 1. The log is read from the file before the one that the checkpoint names, up to the first bytes
///    that are no unit, or whose record is not in the commit log (`commit_log_end`: the log was cut
///    there, and other records may stand at these places soon). There it is cut.
/// 2. A slot that does not know a unit of it gets it. Slots before the one that was being emptied
///    are left alone.
/// 3. If the log did not end where the checkpoint says, slots may point beyond its end. Their chains
///    are built from the log again.
pub fn recover(
    log: &TimerLog,
    wheel: &Wheel,
    scale: &Scale,
    from: &Position,
    commit_log_end: i64,
) -> Result<Recovered, StoreError> {
    let failed = |error| StoreError::io("read or write", wheel.path(), &error);
    let size = log.file_size();
    let start = from.log_position.min(log.end()).saturating_sub(size).max(log.start());
    let mut at = start - start.rem_euclid(size);
    let mut found = Recovered { end: at, last_record: None };
    loop {
        at = log.place_from(at);
        let Some(unit) = log.unit(at).filter(|unit| unit.record_offset < commit_log_end) else {
            break;
        };
        let time = scale.floor(unit.moment());
        if time >= from.read_ms {
            let slot = wheel.slot(time).map_err(failed)?;
            if slot.last < at {
                wheel.put(&slot.with(at, unit.deletes && !unit.rolls)).map_err(failed)?;
            }
        }
        at += Unit::BYTES as i64;
        found = Recovered { end: at, last_record: Some(unit.record_offset) };
    }
    log.set_end(found.end)?;
    if found.end != from.log_position {
        mend(log, wheel, scale, found.end).map_err(failed)?;
    }
    Ok(found)
}

/// Width of the slots in which something waits, ms; `None` if nothing waits. The files do not say it, but
/// a slot has its begin in these units, and its last message in ms.
pub fn precision_in_use(
    log: &TimerLog,
    wheel: &Wheel,
    from: &Position,
) -> std::io::Result<Option<i64>> {
    let Position { read_ms, log_position, .. } = *from;
    // Usually the last unit is in its slot as it is configured, and not all of them have to be asked.
    let last = log_position - Unit::BYTES as i64;
    if let Some(unit) = log.unit(last) {
        let width = wheel.precision_ms();
        if wheel.slot(unit.moment().div_euclid(width) * width)?.last >= last {
            return Ok(Some(width));
        }
    }
    let mut latest = None;
    wheel.for_each(|slot| {
        let number = slot.time_ms / wheel.precision_ms();
        let moment = log.unit(slot.last).map(|unit| unit.moment()).filter(|ms| *ms >= read_ms);
        let is_width = |width: &i64| moment.is_some_and(|ms| ms.div_euclid(*width) == number);
        if let Some(width) = PRECISIONS_MS.into_iter().find(is_width) {
            // Slots that were emptied long ago may be of any width.
            latest = latest.max(Some((slot.last, width)));
        }
    })?;
    Ok(latest.map(|(_, width)| width))
}

/// Begin of the earliest slot that has a unit of the log; `None` without units.
pub fn first_slot(log: &TimerLog, scale: &Scale) -> Option<i64> {
    let mut at = log.place_from(log.start());
    let mut first = None;
    while let Some(unit) = log.unit(at) {
        let slot = scale.floor(unit.moment());
        first = Some(first.map_or(slot, |first: i64| first.min(slot)));
        at = log.place_from(at + Unit::BYTES as i64);
    }
    first
}

/// Builds the chains of the slots again that point beyond the end of the log.
fn mend(log: &TimerLog, wheel: &Wheel, scale: &Scale, end: i64) -> std::io::Result<()> {
    let mut broken: HashMap<i64, Slot> = HashMap::new();
    let mut at = end;
    wheel.for_each(|slot| {
        if slot.last >= end {
            at = at.min(slot.first.max(log.start()));
            broken.insert(slot.time_ms, Slot::empty(slot.time_ms));
        }
    })?;
    if broken.is_empty() {
        return Ok(());
    }
    log::warn!("{} slots of the timer wheel were ahead of its log and are mended", broken.len());
    loop {
        at = log.place_from(at);
        let Some(unit) = log.unit(at).filter(|_| at < end) else { break };
        if let Some(slot) = broken.get_mut(&scale.floor(unit.moment())) {
            *slot = slot.with(at, unit.deletes && !unit.rolls);
        }
        at += Unit::BYTES as i64;
    }
    broken.values().try_for_each(|slot| wheel.put(slot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreConfig;
    use crate::store::testing::TempFolder;

    struct Files {
        folder: TempFolder,
        scale: Scale,
    }

    impl Files {
        fn new(name: &str) -> Self {
            Self { folder: TempFolder::new(name), scale: Scale::of(&StoreConfig::default()) }
        }

        fn open(&self) -> (TimerLog, Wheel) {
            let log = TimerLog::open(&self.folder.path().join("timerlog"), 1000).unwrap();
            (log, Wheel::open(&self.folder.path().join("timerwheel"), 1000).unwrap())
        }

        /// Appends units of one slot each second, two slots, alternating.
        fn fill(&self, count: i64) {
            let (log, wheel) = self.open();
            for number in 0..count {
                let slot = wheel.slot(slot_time(number)).unwrap();
                let unit = Unit {
                    previous: slot.last,
                    rolls: false,
                    deletes: false,
                    write_ms: 1_000_000,
                    delay_ms: (slot_time(number) - 1_000_000 + 7) as i32,
                    record_offset: number * 100,
                    record_size: 100,
                    topic_hash: 0,
                };
                let position = log.append(&unit).unwrap();
                wheel.put(&slot.with(position, false)).unwrap();
            }
        }

        fn recover(&self, log_position: i64, commit_log_end: i64) -> (Recovered, Vec<Slot>) {
            let (log, wheel) = self.open();
            let from = Position { read_ms: 1_000_000, log_position, ..Position::default() };
            let found = recover(&log, &wheel, &self.scale, &from, commit_log_end).unwrap();
            (found, vec![wheel.slot(1_005_000).unwrap(), wheel.slot(1_006_000).unwrap()])
        }
    }

    fn slot_time(number: i64) -> i64 {
        1_005_000 + number % 2 * 1000
    }

    fn position(number: i64) -> i64 {
        // 18 units fill 936 of 1000 bytes, and 64 are too few for another.
        number / 18 * 1000 + number % 18 * 52
    }

    fn slots(count: i64) -> Vec<Slot> {
        let slot = |of: i64| Slot {
            time_ms: slot_time(of),
            first: position(of),
            last: position(count - 2 + (count + of) % 2),
            count: ((count + 1 - of) / 2) as i32,
        };
        vec![slot(0), slot(1)]
    }

    #[test]
    fn a_clean_log_is_taken_as_it_is() {
        let files = Files::new("timer-clean");
        files.fill(40);
        let (found, wheel) = files.recover(position(39) + 52, 4000);
        assert_eq!(found, Recovered { end: position(39) + 52, last_record: Some(3900) });
        assert_eq!(wheel, slots(40));
    }

    #[test]
    fn a_wheel_that_was_not_written_is_built_from_the_log() {
        let files = Files::new("timer-wheel-lost");
        files.fill(40);
        std::fs::remove_file(files.folder.path().join("timerwheel")).unwrap();
        let (found, wheel) = files.recover(0, 4000);
        assert_eq!(found.last_record, Some(3900));
        assert_eq!(wheel, slots(40));
    }

    #[test]
    fn units_without_a_record_are_cut_and_the_wheel_forgets_them() {
        let files = Files::new("timer-cut");
        files.fill(40);
        let (found, wheel) = files.recover(position(39) + 52, 2300);
        assert_eq!(found, Recovered { end: position(22) + 52, last_record: Some(2200) });
        assert_eq!(wheel, slots(23));
        let (again, wheel) = files.recover(found.end, 1 << 40);
        assert_eq!((again, wheel), (found, slots(23)), "what was cut does not come back");
    }

    #[test]
    fn damage_ends_the_log() {
        let files = Files::new("timer-damage");
        files.fill(40);
        let path = files.folder.path().join("timerlog/00000000000000001000");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[52 * 3 + 2] = 9;
        std::fs::write(&path, bytes).unwrap();
        let (found, wheel) = files.recover(0, 4000);
        assert_eq!(found.end, 1000 + 3 * 52);
        assert_eq!(wheel, slots(21));
    }
}
