//! [`ConsumeQueueExt`]: what a 20-byte unit has no room for (store time and filter bits), in files
//! beside the consume queue. Advisory: a unit that cannot be read here is filtered by its record.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::mapped_file::{Appender, MappedFile};
use super::mapped_file_queue::MappedFileQueue;
use super::message::ExtUnit;
use super::message_store::StoreError;

/// Bytes of a unit without bit map.
const FIXED_BYTES: usize = 20;
/// A unit keeps this distance from the end of its file, for the mark that closes it.
const END_BYTES: usize = 4;
/// Largest tags code that is an address: one below the smallest hash.
const MAX_ADDRESS: i64 = i32::MIN as i64 - 1;

/// Whether a consume-queue unit's tags code is the address of an extension unit.
pub fn is_ext_address(tags_code: i64) -> bool {
    tags_code <= MAX_ADDRESS
}

impl ExtUnit {
    /// Bytes on the disk; `None` if the bit map is too long for a unit.
    ///
    /// | at | bytes | field |
    /// |---|---|---|
    /// | 0 | 2 | bytes of the unit, 20 + bit map |
    /// | 2 | 8 | tags code |
    /// | 10 | 8 | store time, ms |
    /// | 18 | 2 | bytes of the bit map |
    /// | 20 | n | bit map |
    pub fn encode(&self) -> Option<Vec<u8>> {
        let total = i16::try_from(FIXED_BYTES + self.bit_map.len()).ok()?;
        let mut bytes = Vec::with_capacity(total as usize);
        bytes.extend_from_slice(&total.to_be_bytes());
        bytes.extend_from_slice(&self.tags_code.to_be_bytes());
        bytes.extend_from_slice(&self.store_timestamp.to_be_bytes());
        bytes.extend_from_slice(&(self.bit_map.len() as i16).to_be_bytes());
        bytes.extend_from_slice(&self.bit_map);
        Some(bytes)
    }

    /// Bytes it takes on the disk.
    pub fn encoded_bytes(&self) -> usize {
        FIXED_BYTES + self.bit_map.len()
    }

    /// Reads the unit at the start of `bytes`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let total = unit_bytes(bytes)?;
        let bytes = bytes.get(..total)?;
        let map_bytes = i16::from_be_bytes(bytes[18..20].try_into().ok()?);
        Some(Self {
            tags_code: i64::from_be_bytes(bytes[2..10].try_into().ok()?),
            store_timestamp: i64::from_be_bytes(bytes[10..18].try_into().ok()?),
            bit_map: bytes[FIXED_BYTES..].get(..usize::try_from(map_bytes).ok()?)?.to_vec(),
        })
    }
}

/// Size field of the unit at the start of `bytes`; `None` where no unit begins.
fn unit_bytes(bytes: &[u8]) -> Option<usize> {
    let size = i16::from_be_bytes(*bytes.first_chunk()?);
    usize::try_from(size).ok().filter(|size| *size >= FIXED_BYTES)
}

/// The extension files of one consume queue.
///
/// A unit's *address* is its offset + `i64::MIN`, which tells it from every hash. A unit that does
/// not fit before the last 4 bytes of a file goes to the next one; the gap begins with an `i16`
/// of −1.
#[derive(Debug)]
pub struct ConsumeQueueExt {
    files: MappedFileQueue,
    tail: Mutex<Option<Appender>>,
    removed: AtomicBool,
}

/// What finding the end of extension files came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecoveredExt {
    /// Address from which on units were lost, if the consume queue refers to such ones.
    pub first_lost: Option<i64>,
    /// Something was behind the end, and was removed.
    pub cut: bool,
}

impl ConsumeQueueExt {
    /// Extension files in `folder`.
    pub fn new(folder: &Path, file_size: usize) -> Self {
        Self::with(MappedFileQueue::new(folder, file_size))
    }

    /// Files that are only looked at; `None` without files.
    pub fn read_only(folder: &Path) -> Result<Option<Self>, StoreError> {
        let files = MappedFileQueue::read_only(&[folder.to_owned()])?;
        Ok(files.map(Self::with))
    }

    fn with(files: MappedFileQueue) -> Self {
        Self { files, tail: Mutex::new(None), removed: AtomicBool::new(false) }
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.files.folder()
    }

    /// Takes its files as about to be flushed: those that have something, each with how far it is
    /// filled.
    pub fn take_unflushed(&self) -> Vec<(Arc<MappedFile>, usize)> {
        self.files.take_new_names();
        self.files.unflushed()
    }

    /// Notes that names are not on the disk.
    pub fn set_new_names(&self) {
        self.files.set_new_names();
    }

    /// Takes nothing for flushed.
    pub fn forget_flushed(&self) {
        self.files.forget_flushed(0);
    }

    /// Bytes of each file.
    pub fn file_size(&self) -> usize {
        self.files.file_size()
    }

    /// Loads the files.
    pub fn load(&self) -> Result<(), StoreError> {
        self.files.load(&[])
    }

    /// Appends a unit and returns its address; `None` if it is larger than a file allows, or the queue
    /// was removed.
    pub fn append(&self, unit: &ExtUnit) -> io::Result<Option<i64>> {
        let Some(bytes) = unit.encode() else { return Ok(None) };
        if bytes.len() + END_BYTES > self.files.file_size() {
            return Ok(None);
        }
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if self.removed.load(Ordering::Acquire) {
            return Ok(None);
        }
        if let Some(full) = tail.as_mut().filter(|file| file.room() < bytes.len() + END_BYTES) {
            if full.room() >= 2 {
                full.append(&(-1i16).to_be_bytes())?;
            }
            full.skip_to_end()?;
            *tail = None;
        }
        if tail.is_none() {
            let file = match self.files.last() {
                Some(last) if !last.is_full() => last,
                Some(full) => self.files.create(full.end())?,
                None => self.files.create(0)?,
            };
            file.read_nothing_ahead();
            *tail = file.appender();
        }
        let Some(appender) = tail.as_mut() else { return Ok(None) };
        if appender.room() < bytes.len() + END_BYTES {
            // The last file of an older run is nearly full: close it, the next unit opens a file.
            appender.append(&(-1i16).to_be_bytes().repeat(usize::from(appender.room() >= 2)))?;
            appender.skip_to_end()?;
            *tail = None;
            drop(tail);
            return self.append(unit);
        }
        let start = appender.file().start();
        let at = appender.append(&bytes)?;
        Ok(Some((start + at as i64).wrapping_add(i64::MIN)))
    }

    /// The unit at an address.
    pub fn get(&self, address: i64) -> Option<ExtUnit> {
        if !is_ext_address(address) {
            return None;
        }
        let offset = address.wrapping_sub(i64::MIN);
        let file = self.files.find(offset)?;
        ExtUnit::decode(file.bytes_from((offset - file.start()) as usize)?)
    }

    /// Finds the end by hopping from unit to unit, then cuts after the unit that the consume queue
    /// refers to last.
    pub fn recover(&self, last_tags_code: Option<i64>) -> Result<RecoveredExt, StoreError> {
        let mut end = self.files.min_offset().unwrap_or(0);
        for file in self.files.snapshot() {
            let bytes = file.bytes_from(0).unwrap_or_default();
            let mut at = 0;
            while let Some(size) = bytes.get(at..).and_then(unit_bytes)
                && at + size <= bytes.len()
            {
                at += size;
            }
            end = file.start() + at as i64;
        }
        let mut first_lost = None;
        if let Some(address) = last_tags_code.filter(|code| is_ext_address(*code)) {
            let at = address.wrapping_sub(i64::MIN);
            match self.get(address).filter(|_| at < end) {
                Some(unit) => end = end.min(at + (FIXED_BYTES + unit.bit_map.len()) as i64),
                None => first_lost = Some(end.wrapping_add(i64::MIN)),
            }
        }
        *self.tail.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(RecoveredExt { first_lost, cut: self.files.truncate(end)? })
    }

    /// Deletes the files that lie wholly before an address.
    pub fn delete_before(&self, address: i64) {
        if !is_ext_address(address) {
            return;
        }
        let offset = address.wrapping_sub(i64::MIN);
        while let Some(first) = self.files.first().filter(|first| first.end() <= offset) {
            match self.files.delete_first(&first) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    log::warn!("{} was not removed: {error}", first.path().display());
                    break;
                }
            }
        }
    }

    /// Forces everything to the disk.
    pub fn flush(&self) -> io::Result<()> {
        self.files.snapshot().iter().try_for_each(|file: &Arc<_>| file.flush().map(drop))?;
        self.files.flush_names()
    }

    /// Deletes all files.
    pub fn destroy(&self) {
        self.removed.store(true, Ordering::Release);
        *self.tail.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.files.destroy();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TempFolder;

    fn unit(number: u8) -> ExtUnit {
        let bit_map = vec![number; usize::from(number) % 30];
        ExtUnit { tags_code: 2652, store_timestamp: i64::from(number), bit_map }
    }

    #[test]
    fn bytes_of_a_unit() {
        let unit =
            ExtUnit { tags_code: 2652, store_timestamp: 0x1A1_FB43_3BB7, bit_map: vec![0xAB] };
        let bytes = unit.encode().unwrap();
        assert_eq!(bytes[..2], [0, 21]);
        assert_eq!(bytes[2..10], 2652i64.to_be_bytes());
        assert_eq!(bytes[10..18], [0, 0, 1, 0xA1, 0xFB, 0x43, 0x3B, 0xB7]);
        assert_eq!(bytes[18..], [0, 1, 0xAB]);
        assert_eq!(ExtUnit::decode(&bytes), Some(unit));
        assert_eq!(ExtUnit::decode(&bytes[..20]), None);
        assert_eq!(ExtUnit::decode(&[0xFF; 30]), None);
        assert!(is_ext_address(i64::MIN) && is_ext_address(-2_147_483_649));
        assert!(!is_ext_address(i64::from(i32::MIN)));
    }

    #[test]
    fn rolls_and_recovers() {
        let folder = TempFolder::new("ext");
        let open = || ConsumeQueueExt::new(&folder.path().join("0"), 128);
        let first = open();
        let addresses: Vec<i64> =
            (0..60).map(|number| first.append(&unit(number)).unwrap().unwrap()).collect();
        assert_eq!(addresses[0], i64::MIN);
        let second = open();
        second.load().unwrap();
        second.recover(Some(addresses[40])).unwrap();
        for (number, address) in addresses.iter().enumerate().take(41) {
            assert_eq!(second.get(*address), Some(unit(number as u8)), "{number}");
        }
        assert_eq!(second.get(addresses[41]), None, "nothing refers to it");
        let next = second.append(&unit(7)).unwrap().unwrap();
        assert_eq!(second.get(next), Some(unit(7)));
        let huge = ExtUnit { bit_map: vec![0; 200], ..ExtUnit::default() };
        assert_eq!(second.append(&huge).unwrap(), None);
        second.delete_before(addresses[20]);
        assert_eq!(second.get(addresses[0]), None);
        assert_eq!(second.get(addresses[20]), Some(unit(20)));
    }
}
