//! [`Wheel`]: the file `timerwheel`, which says for each slot of time where its chain of units in the
//! timer log ends.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::SLOTS_TOTAL;
use crate::store::message_store::StoreError;

/// Slots of the wheel.
pub const SLOTS: i64 = 2 * SLOTS_TOTAL;

/// What a slot of time has.
///
/// | at | bytes | field |
/// |---|---|---|
/// | 0 | 8 | begin of the slot, in units of the precision since 1970 |
/// | 8 | 8 | timer-log position of the first unit |
/// | 16 | 8 | timer-log position of the last unit |
/// | 24 | 4 | messages; a message that deletes another counts −1 |
/// | 28 | 4 | unused, 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Begin of the slot, ms.
    pub time_ms: i64,
    /// First unit; −1 without units.
    pub first: i64,
    /// Last unit; −1 without units.
    pub last: i64,
    /// Messages.
    pub count: i32,
}

impl Slot {
    /// Bytes of a slot.
    pub const BYTES: usize = 32;

    /// A slot without units.
    pub fn empty(time_ms: i64) -> Self {
        Self { time_ms, first: -1, last: -1, count: 0 }
    }

    /// Whether there are no units.
    pub fn is_empty(&self) -> bool {
        self.last < 0
    }

    /// The slot with one more unit at the end of its chain.
    pub fn with(self, position: i64, deletes: bool) -> Self {
        Self {
            first: if self.is_empty() { position } else { self.first },
            last: position,
            count: self.count.saturating_add(if deletes { -1 } else { 1 }),
            ..self
        }
    }

    fn encode(&self, precision_ms: i64) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.time_ms.div_euclid(precision_ms).to_be_bytes());
        bytes[8..16].copy_from_slice(&self.first.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.last.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; Self::BYTES], precision_ms: i64) -> Self {
        let long = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            i64::from_be_bytes(word)
        };
        Self {
            time_ms: long(0).saturating_mul(precision_ms),
            first: long(8),
            last: long(16),
            count: (long(24) >> 32) as i32,
        }
    }
}

/// The wheel: 1,209,600 slots of 32 bytes, the slot of time *t* at place *(t / precision) mod
/// 1,209,600*. A slot that has another time there is of an earlier turn, and empty.
///
/// Slots are read and written one by one, by system calls: the wheel is worked on at one place at a
/// time, mapping it would only put its 37 MiB into this process. The file is sparse.
#[derive(Debug)]
pub struct Wheel {
    file: File,
    path: Box<Path>,
    precision_ms: i64,
}

impl Wheel {
    /// Bytes of the file.
    pub const FILE_BYTES: u64 = SLOTS as u64 * Slot::BYTES as u64;

    /// Opens the wheel, or makes an empty one.
    ///
    /// # Errors
    /// A file of another size: it was written by something else.
    pub fn open(path: &Path, precision_ms: i64) -> Result<Self, StoreError> {
        let failed = |what, error: io::Error| StoreError::io(what, path, &error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| failed("open", error))?;
        match file.metadata().map_err(|error| failed("read", error))?.len() {
            // New, or left by a crash before it was given its size.
            0 => file.set_len(Self::FILE_BYTES).map_err(|error| failed("size", error))?,
            Self::FILE_BYTES => {}
            bytes => {
                return Err(StoreError(format!(
                    "{} has {bytes} bytes, expected {}: it is not a timer wheel",
                    path.display(),
                    Self::FILE_BYTES
                )));
            }
        }
        Ok(Self { file, path: path.into(), precision_ms })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Width of a slot, ms.
    pub fn precision_ms(&self) -> i64 {
        self.precision_ms
    }

    /// The same slots, taken as of another width.
    pub fn with_precision(self, precision_ms: i64) -> Self {
        Self { precision_ms, ..self }
    }

    fn place(&self, time_ms: i64) -> u64 {
        let index = time_ms.div_euclid(self.precision_ms).rem_euclid(SLOTS);
        index as u64 * Slot::BYTES as u64
    }

    /// The slot that begins at `time_ms`.
    pub fn slot(&self, time_ms: i64) -> io::Result<Slot> {
        let mut bytes = [0; Slot::BYTES];
        self.file.read_exact_at(&mut bytes, self.place(time_ms))?;
        let slot = Slot::decode(&bytes, self.precision_ms);
        let valid = slot.time_ms == time_ms && slot.first >= 0 && slot.last >= slot.first;
        Ok(if valid { slot } else { Slot::empty(time_ms) })
    }

    /// Writes a slot at its place.
    pub fn put(&self, slot: &Slot) -> io::Result<()> {
        self.file.write_all_at(&slot.encode(self.precision_ms), self.place(slot.time_ms))
    }

    /// Calls `look` with every slot that has units, of whatever turn.
    pub fn for_each(&self, mut look: impl FnMut(Slot)) -> io::Result<()> {
        let file = File::open(&self.path)?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut bytes = [0; Slot::BYTES];
        for _ in 0..SLOTS {
            reader.read_exact(&mut bytes)?;
            let slot = Slot::decode(&bytes, self.precision_ms);
            if slot.time_ms > 0 && slot.last >= 0 {
                look(slot);
            }
        }
        Ok(())
    }

    /// Forces what was written to the disk.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TempFolder;

    #[test]
    fn slots_lie_where_java_puts_them() {
        let folder = TempFolder::new("wheel");
        let path = folder.path().join("timerwheel");
        let wheel = Wheel::open(&path, 1000).unwrap();
        // As a broker 5.3.3 wrote it: four messages, units 0 to 156 of the log.
        let slot = Slot { time_ms: 1_795_263_129_000, first: 0, last: 156, count: 4 };
        wheel.put(&slot).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 38_707_200);
        let at = 216_729 * 32;
        let expected = [0, 0, 0, 0, 0x6B, 1, 0x8A, 0x99];
        assert_eq!(bytes[at..at + 8], expected);
        assert_eq!(bytes[at + 8..at + 24], [[0; 8], [0, 0, 0, 0, 0, 0, 0, 156]].concat());
        assert_eq!(bytes[at + 24..at + 32], [0, 0, 0, 4, 0, 0, 0, 0]);
        assert_eq!(wheel.slot(1_795_263_129_000).unwrap(), slot);
    }

    #[test]
    fn a_slot_of_another_turn_is_empty() {
        let folder = TempFolder::new("wheel-turn");
        let wheel = Wheel::open(&folder.path().join("timerwheel"), 200).unwrap();
        let slot = Slot::empty(1_000_000).with(52, false).with(104, false).with(156, true);
        assert_eq!((slot.first, slot.last, slot.count), (52, 156, 1));
        wheel.put(&slot).unwrap();
        let next_turn = 1_000_000 + SLOTS * 200;
        assert_eq!(wheel.slot(next_turn).unwrap(), Slot::empty(next_turn));
        assert_eq!(wheel.slot(1_000_200).unwrap(), Slot::empty(1_000_200));
        let mut found = Vec::new();
        wheel.for_each(|slot| found.push(slot)).unwrap();
        assert_eq!(found, [slot]);
    }

    #[test]
    fn a_file_of_another_size_is_refused() {
        let folder = TempFolder::new("wheel-size");
        let path = folder.path().join("timerwheel");
        std::fs::write(&path, [0; 64]).unwrap();
        assert!(Wheel::open(&path, 1000).unwrap_err().0.contains("64 bytes"));
    }
}
