//! [`UnitFile`]: the units of one consume-queue file, read without mapping it. At a start there may
//! be many thousands of queues that nobody will touch.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::consume_queue::Unit;
use super::mapped_file::PAGE_BYTES;

/// Bytes read at once when the file is opened: the whole units of its first page. Most queues of a
/// store with many have no more.
const FIRST_BYTES: usize = PAGE_BYTES / Unit::BYTES * Unit::BYTES;
/// Units read at once by a scan, first and at most.
const SCAN_UNITS: (usize, usize) = (200, 12_800);

/// A consume-queue file, opened for reading.
pub struct UnitFile {
    file: File,
    size: usize,
    first: Vec<u8>,
}

/// What reading a file of units finds.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Bytes of leading units that were accepted.
    pub position: usize,
    /// End of the last accepted unit's record; `None` without one.
    pub last_end: Option<i64>,
    /// Tags code of the last accepted unit.
    pub last_tags_code: Option<i64>,
}

impl Found {
    fn nothing() -> Self {
        Self { position: 0, last_end: None, last_tags_code: None }
    }

    /// Whether the last unit may have lost its second half: pages reach a disk one by one, and it
    /// lies on two. A unit's size may be on the first page and its tags code on the second. What
    /// ends at or below `certain_below` is whole.
    pub fn ends_torn(&self, certain_below: i64) -> bool {
        let on_two_pages = (1..Unit::BYTES).contains(&(self.position % PAGE_BYTES));
        on_two_pages && self.last_end.is_some_and(|end| end > certain_below)
    }

    fn accept(&mut self, unit: Unit) {
        if unit != Unit::BLANK {
            self.last_end = Some(unit.end());
            self.last_tags_code = Some(unit.tags_code);
        }
    }
}

impl UnitFile {
    /// Opens a file of `size` bytes.
    pub fn open(path: &Path, size: usize) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut first = vec![0; FIRST_BYTES.min(size / Unit::BYTES * Unit::BYTES)];
        file.read_exact_at(&mut first, 0)?;
        Ok(Self { file, size, first })
    }

    /// How many units fit into it.
    pub fn capacity(&self) -> usize {
        self.size / Unit::BYTES
    }

    fn unit(&self, index: usize) -> io::Result<Option<Unit>> {
        let at = index * Unit::BYTES;
        if let Some(bytes) = self.first.get(at..at + Unit::BYTES) {
            return Ok(Unit::decode(bytes));
        }
        let mut bytes = [0; Unit::BYTES];
        self.file.read_exact_at(&mut bytes, at as u64)?;
        Ok(Unit::decode(&bytes))
    }

    /// The last unit of a full file; `None` if something else stands there.
    pub fn last(&self) -> io::Result<Option<Unit>> {
        let last = self.capacity().checked_sub(1).map_or(Ok(None), |last| self.unit(last))?;
        Ok(last.filter(|unit| unit.is_valid() && *unit != Unit::BLANK))
    }

    /// How many of the first `count` units satisfy `before`, which holds for a prefix of them:
    /// offsets grow along a queue. Found by doubling, then by halving.
    pub fn count_before(&self, count: usize, before: impl Fn(Unit) -> bool) -> io::Result<usize> {
        let holds = |index: usize| Ok::<_, io::Error>(self.unit(index)?.is_some_and(&before));
        let (mut low, mut high) = (0, count.min(self.first.len() / Unit::BYTES));
        while high > 0 && holds(high - 1)? {
            low = high;
            if high == count {
                return Ok(count);
            }
            high = high.saturating_mul(2).min(count);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(middle)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Reads units from the start while they are valid and `accept` says so.
    pub fn scan(&self, accept: impl Fn(Unit) -> bool) -> io::Result<Found> {
        let mut found = Found::nothing();
        let mut chunk = self.first.clone();
        let mut units = SCAN_UNITS.0;
        while !chunk.is_empty() {
            for bytes in chunk.chunks_exact(Unit::BYTES) {
                match Unit::decode(bytes) {
                    Some(unit) if unit.is_valid() && accept(unit) => {
                        found.position += Unit::BYTES;
                        found.accept(unit);
                    }
                    _ => return Ok(found),
                }
            }
            let left = self.capacity() - found.position / Unit::BYTES;
            chunk.resize(units.min(left) * Unit::BYTES, 0);
            self.file.read_exact_at(&mut chunk, found.position as u64)?;
            units = (units * 4).min(SCAN_UNITS.1);
        }
        Ok(found)
    }

    /// What [`scan`](Self::scan) finds in a file of which `position` bytes are known to be units.
    pub fn up_to(&self, position: usize) -> io::Result<Found> {
        let mut found = Found { position, ..Found::nothing() };
        if let Some(last) = (position / Unit::BYTES).checked_sub(1)
            && let Some(unit) = self.unit(last)?
        {
            found.accept(unit);
        }
        Ok(found)
    }

    /// Whether a unit that is to be `kept` stands behind the one at `position`, which is not.
    pub fn units_follow(&self, position: usize, kept: impl Fn(Unit) -> bool) -> bool {
        let index = position / Unit::BYTES + 1;
        let unit = if index < self.capacity() { self.unit(index).ok().flatten() } else { None };
        unit.is_some_and(|unit| unit.is_valid() && unit != Unit::BLANK && kept(unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TempFolder;

    #[test]
    fn the_end_is_found_wherever_it_is() {
        let folder = TempFolder::new("units");
        let path = folder.path().join("file");
        let unit = |index: usize| Unit { offset: index as i64 * 100, size: 100, tags_code: 7 };
        for count in [0, 1, 2, 203, 204, 205, 407, 408, 409, 1500, 2999, 3000] {
            let mut bytes: Vec<u8> = (0..count).flat_map(|index| unit(index).encode()).collect();
            bytes.resize(60_000, 0);
            std::fs::write(&path, bytes).unwrap();
            let file = UnitFile::open(&path, 60_000).unwrap();
            assert_eq!(file.count_before(3000, Unit::is_valid).unwrap(), count);
            for found in [file.scan(|_| true).unwrap(), file.up_to(count * 20).unwrap()] {
                assert_eq!(found.position, count * 20);
                let last = count.checked_sub(1).map(|last| unit(last).end());
                assert_eq!(found.last_end, last);
            }
            let limit = 10_000;
            let before = file.count_before(count, |unit| unit.offset < limit).unwrap();
            assert_eq!(before, count.min(100));
            assert_eq!(file.scan(|unit| unit.offset < limit).unwrap().position, before * 20);
        }
    }
}
