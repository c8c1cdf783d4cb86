//! [`MappedFileQueue`]: files of one size whose names are their offsets, taken as one long file
//! that grows at the end and is deleted at the beginning.
//!
//! Who appends, and what, is the business of the commit log and of the consume queues.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::folder::flush_folder;
use super::mapped_file::MappedFile;
use super::message_store::StoreError;

/// A sequence of [`MappedFile`]s.
///
/// The file that starts at offset *o* is named *o* in decimal, padded with zeros to 20 digits, so
/// that the order of names is the order of offsets. Files are contiguous: each starts where its
/// predecessor ends. Only the last one is appended to.
#[derive(Debug)]
pub struct MappedFileQueue {
    folder: Box<Path>,
    file_size: usize,
    read_only: bool,
    files: RwLock<Vec<Arc<MappedFile>>>,
    /// Whether a file was made here whose name may not be on the disk.
    new_names: AtomicBool,
}

/// Name of the file that starts at `offset`.
pub fn file_name(offset: i64) -> String {
    format!("{offset:020}")
}

/// A file found in a folder.
struct Found {
    path: PathBuf,
    start: i64,
    bytes: u64,
}

/// Lists the mapped files of one folder. Folders in it are skipped with a warning; any other
/// entry that is not named by an offset is an error, because nobody can say whether it matters.
fn list(folder: &Path) -> Result<Vec<Found>, StoreError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", folder, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| StoreError::io("list", folder, &error))?;
        let path = entry.path();
        let meta =
            std::fs::metadata(&path).map_err(|error| StoreError::io("read", &path, &error))?;
        if meta.is_dir() {
            log::warn!("{} is a folder and is skipped; it does not belong here", path.display());
            continue;
        }
        let name = entry.file_name();
        let is_number = |name: &&str| name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit());
        let start = name.to_str().filter(is_number).and_then(|name| name.parse().ok());
        let Some(start) = start else {
            return Err(StoreError(format!(
                "{} does not belong into this folder: its files are named by their offset in 20 \
                 digits; move it elsewhere",
                path.display()
            )));
        };
        found.push(Found { path, start, bytes: meta.len() });
    }
    Ok(found)
}

impl MappedFileQueue {
    /// No files yet; new ones are made in `folder`.
    pub fn new(folder: &Path, file_size: usize) -> Self {
        Self {
            folder: folder.into(),
            file_size,
            read_only: false,
            files: RwLock::default(),
            new_names: AtomicBool::new(false),
        }
    }

    /// Files of one or more folders that are only looked at; their size is that of the first one.
    /// `None` without files.
    pub fn read_only(folders: &[PathBuf]) -> Result<Option<Self>, StoreError> {
        let Some((folder, more)) = folders.split_first() else { return Ok(None) };
        let mut found = Vec::new();
        for folder in folders {
            found.extend(list(folder)?);
        }
        let written = found.into_iter().filter(|file| file.bytes > 0);
        let Some(first) = written.min_by_key(|file| file.start) else {
            return Ok(None);
        };
        let file_size = first.bytes as usize;
        let queue = Self { read_only: true, ..Self::new(folder, file_size) };
        queue.load(more)?;
        Ok(Some(queue))
    }

    /// Loads what stands in `folder` and in `more` folders (the other paths of a commit log). All
    /// files are taken as full; recovery pulls the last one back.
    ///
    /// # Errors
    /// A file that does not have the configured size, a gap between two files, a foreign file.
    /// Zero-length *last* files are what a crash between creating and sizing them leaves: removed, or
    /// passed over by who only reads.
    pub fn load(&self, more: &[PathBuf]) -> Result<(), StoreError> {
        let mut found = list(&self.folder)?;
        for folder in more {
            found.extend(list(folder)?);
        }
        found.sort_by_key(|file| file.start);
        while let Some(last) = found.pop_if(|last| last.bytes == 0) {
            if self.read_only {
                continue;
            }
            log::warn!("{} is empty, left by a crash; removed", last.path.display());
            std::fs::remove_file(&last.path)
                .map_err(|error| StoreError::io("remove", &last.path, &error))?;
        }
        let mut files = Vec::with_capacity(found.len());
        let mut expected_start = None;
        for file in found {
            if file.bytes != self.file_size as u64 {
                return Err(StoreError(format!(
                    "{} has {} bytes, expected {}: the configured file size must be the one the \
                     store was written with",
                    file.path.display(),
                    file.bytes,
                    self.file_size
                )));
            }
            let size = self.file_size as i64;
            if file.start % size != 0 || file.start > i64::MAX - size {
                return Err(StoreError(format!(
                    "{} does not belong into this folder: files of {size} bytes start at multiples \
                     of that",
                    file.path.display()
                )));
            }
            if let Some(expected) = expected_start
                && expected != file.start
            {
                return Err(StoreError(format!(
                    "{} starts at {}, but its predecessor ends at {expected}: a file between them \
                     is missing; put it back (consume queues can be built again: mqstore rebuild)",
                    file.path.display(),
                    file.start
                )));
            }
            expected_start = Some(file.start + size);
            let loaded = if self.read_only {
                MappedFile::read_only(&file.path, file.start, self.file_size)
            } else {
                MappedFile::at(&file.path, file.start, self.file_size, self.file_size)
            };
            files.push(Arc::new(loaded));
        }
        *self.write() = files;
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Arc<MappedFile>>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Arc<MappedFile>>> {
        self.files.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where new files are made.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes of each file.
    pub fn file_size(&self) -> usize {
        self.file_size
    }

    /// First offset; `None` without files.
    pub fn min_offset(&self) -> Option<i64> {
        self.read().first().map(|file| file.start())
    }

    /// One past the last readable byte; 0 without files. With write buffers a file may be rolled
    /// away from before all of it is readable: the first such file ends what is readable.
    pub fn max_offset(&self) -> i64 {
        let files = self.read();
        let mut end = files.last().map_or(0, |file| file.start() + file.readable() as i64);
        for file in files.iter().rev().skip(1) {
            let readable = file.readable();
            if readable == self.file_size {
                break;
            }
            end = file.start() + readable as i64;
        }
        end
    }

    /// One past the last appended byte; 0 without files.
    pub fn wrote_offset(&self) -> i64 {
        self.read().last().map_or(0, |file| file.start() + file.wrote() as i64)
    }

    /// The file that holds `offset`.
    pub fn find(&self, offset: i64) -> Option<Arc<MappedFile>> {
        let files = self.read();
        let index = offset.checked_sub(files.first()?.start())? / self.file_size as i64;
        let file = files.get(usize::try_from(index).ok()?)?;
        (file.start() <= offset && offset < file.end()).then(|| Arc::clone(file))
    }

    /// The first file.
    pub fn first(&self) -> Option<Arc<MappedFile>> {
        self.read().first().cloned()
    }

    /// The last file.
    pub fn last(&self) -> Option<Arc<MappedFile>> {
        self.read().last().cloned()
    }

    /// All files as they are now.
    pub fn snapshot(&self) -> Vec<Arc<MappedFile>> {
        self.read().clone()
    }

    /// The files that have something to flush, each with how far it is filled.
    pub fn unflushed(&self) -> Vec<(Arc<MappedFile>, usize)> {
        let files = self.read();
        let filled = files.iter().map(|file| (Arc::clone(file), file.readable()));
        filled.filter(|(file, readable)| *readable > file.flushed()).collect()
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// Creates the file that starts at `start`, in the queue's folder, and appends it.
    pub fn create(&self, start: i64) -> std::io::Result<Arc<MappedFile>> {
        std::fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(file_name(start));
        let file = Arc::new(MappedFile::create(&path, start, self.file_size)?);
        self.new_names.store(true, Ordering::Release);
        self.push(Arc::clone(&file));
        Ok(file)
    }

    /// Makes the names of the files [created](Self::create) here durable, and those of the three
    /// folders above: a queue's first file may be the first of its topic, and of all.
    pub fn flush_names(&self) -> std::io::Result<()> {
        if !self.new_names.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let mut folders = self.folder.ancestors().take(4).filter(|folder| *folder != Path::new(""));
        folders.try_for_each(flush_folder).inspect_err(|_| self.set_new_names())
    }

    /// Notes that names are not on the disk.
    pub fn set_new_names(&self) {
        self.new_names.store(true, Ordering::Release);
    }

    /// Takes the names as made durable by other means; returns whether there was anything to do.
    pub fn take_new_names(&self) -> bool {
        self.new_names.swap(false, Ordering::AcqRel)
    }

    /// Takes nothing of the files from number `first` on for flushed, nor their names.
    pub fn forget_flushed(&self, first: usize) {
        self.read().iter().skip(first).for_each(|file| file.forget_flushed());
        self.set_new_names();
    }

    /// Appends a file made elsewhere.
    pub fn push(&self, file: Arc<MappedFile>) {
        self.write().push(file);
    }

    /// Takes `offset` as the end: later files are deleted, the one that holds `offset` is mapped
    /// anew with that position. Bytes beyond it stay as they are.
    ///
    /// # Errors
    /// A file that cannot be removed: it would come back at the next start.
    pub fn set_end(&self, offset: i64) -> Result<(), StoreError> {
        let mut files = self.write();
        while let Some(last) = files.last()
            && last.start() > offset
        {
            remove_last(&mut files)?;
        }
        if let Some(last) = files.last_mut()
            && last.start() + (last.wrote() as i64) > offset
        {
            let position = (offset - last.start()) as usize;
            last.close();
            *last = Arc::new(MappedFile::at(last.path(), last.start(), self.file_size, position));
        }
        Ok(())
    }

    /// Cuts everything from `offset` on, and makes the rest of its file zero: what stood there
    /// would be taken for content again when later appends happen to end where it begins. (Java
    /// leaves it.)
    ///
    /// Returns whether anything was there. Then the change has to reach the disk before later appends
    /// do, or a power cut could bring it back.
    ///
    /// # Errors
    /// The disk's.
    pub fn truncate(&self, offset: i64) -> Result<bool, StoreError> {
        let before = self.len();
        self.set_end(offset)?;
        let deleted = self.len() < before;
        match self.last() {
            Some(last) => last
                .zero_rest()
                .map(|changed| changed || deleted)
                .map_err(|error| StoreError::io("clear the end of", last.path(), &error)),
            None => Ok(deleted),
        }
    }

    /// Deletes the last file; its predecessor is the last one then.
    ///
    /// # Errors
    /// A file that cannot be removed stays in the queue.
    pub fn delete_last(&self) -> Result<(), StoreError> {
        remove_last(&mut self.write())
    }

    /// Deletes the first file, if it is `file` and not the last one. Readers that hold it keep it.
    ///
    /// It is gone for good before this returns: if power failed, and the file were there again but
    /// not one deleted after it, the queue had a gap. Nobody waits meanwhile: a busy disk takes its time
    /// to give a large file up.
    pub fn delete_first(&self, file: &Arc<MappedFile>) -> std::io::Result<bool> {
        {
            let mut files = self.write();
            if files.len() < 2 || !Arc::ptr_eq(&files[0], file) {
                return Ok(false);
            }
            files.remove(0);
        }
        if let Err(error) = file.delete() {
            let mut files = self.write();
            if files.first().is_some_and(|first| first.start() == file.end()) {
                files.insert(0, Arc::clone(file));
            }
            return Err(error);
        }
        if let Err(error) = file.path().parent().map_or(Ok(()), flush_folder) {
            log::warn!("{} is removed, but not for certain: {error}", file.path().display());
        }
        Ok(true)
    }

    /// Deletes all files and the folder, if it is empty then.
    pub fn destroy(&self) {
        for file in self.write().drain(..) {
            if let Err(error) = file.delete() {
                log::warn!("{} was not removed: {error}", file.path().display());
            }
        }
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// Deletes the last file, for good: if power failed, and it were there again but not the one deleted
/// next, the queue had a gap.
fn remove_last(files: &mut Vec<Arc<MappedFile>>) -> Result<(), StoreError> {
    let Some(last) = files.last() else { return Ok(()) };
    let failed = |error| StoreError::io("remove", last.path(), &error);
    last.delete().map_err(failed)?;
    last.path().parent().map_or(Ok(()), flush_folder).map_err(failed)?;
    files.pop();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::fault::{Operation, inject, inject_delay};
    use crate::store::testing::TempFolder;

    fn starts(files: &MappedFileQueue) -> Vec<i64> {
        files.snapshot().iter().map(|file| file.start()).collect()
    }

    #[test]
    fn nobody_waits_for_a_file_that_is_deleted() {
        let folder = TempFolder::new("delete-first");
        let files = MappedFileQueue::new(folder.path(), 100);
        (0..3).for_each(|number| drop(files.create(number * 100).unwrap()));
        let first = files.first().unwrap();
        let slow = inject_delay(Operation::Remove, folder.path(), Duration::from_secs(60));
        std::thread::scope(|scope| {
            let deleting = scope.spawn(|| files.delete_first(&first).unwrap());
            while files.min_offset() == Some(0) {
                std::thread::yield_now();
            }
            assert!(!deleting.is_finished(), "who asks for the first offset has waited");
            drop(slow);
            assert!(deleting.join().unwrap());
        });
        assert_eq!(starts(&files), [100, 200]);
        // One that cannot be deleted stays.
        let _fault = inject(Operation::Remove, folder.path(), libc::EIO);
        assert!(files.delete_first(&files.first().unwrap()).is_err());
        assert_eq!(starts(&files), [100, 200]);
    }
}
