//! One file of fixed size behind a memory map: [`MappedFile`] for what is appended (commit log,
//! consume queues), [`WordFile`] for what is changed in place (index, checkpoint).
//!
//! The only place of the store that touches raw mapped memory. The API is safe:
//!
//! * a [`MappedFile`] is written by its one [`Appender`] and read up to a *published* position,
//!   which the appender moves with release and readers load with acquire; what lies below it is
//!   never written again while the file is mapped (cutting a file back maps it anew);
//! * a [`MappedSlice`] keeps its file mapped for as long as the slice lives, so that deleting a
//!   file is unlinking it, whoever may still be sending from it;
//! * a [`WordFile`] is only accessed as aligned 32-bit words, atomically.
//!
//! A mapped page without a block behind it kills the process with SIGBUS when the disk is full.
//! So blocks are *reserved* (`fallocate`) before they are written, and that can fail with a plain
//! error. What no API can prevent is another process that shortens a mapped file.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Deref, Range};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};

use super::fault::{self, Flushed, Operation};
use super::write_ahead::LARGE_PAGE_BYTES;
use crate::common::os;
use crate::common::sync::lock;

/// Unit of flushing decisions; hard-coded in RocketMQ, whatever the machine's page size is.
pub const PAGE_BYTES: usize = 4096;
/// A flush of so much takes it out of the map first. Where flushes are waited for they are smaller, and
/// nobody changes pages through the map.
const UNMAP_BYTES: usize = 1024 * 1024;
/// Bytes written, or reserved for what a write buffer has, by one system call at most.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Parts in which a file with holes is mapped at most: a process may have some ten thousand in all.
const MAX_PARTS: usize = 1000;

/// A file of fixed size, mapped when it is first touched.
///
/// ```text
/// 0        flushed        readable      wrote      reserved            size
/// |---------|--------------|-------------|----------|-------------------|
///  on disk    in the map     in the write  blocks
///             (visible)      buffer only   assured
/// ```
///
/// `readable` and `wrote` differ only while the file has a [`WriteBuffer`].
///
/// Invariants: `flushed ≤ readable ≤ wrote ≤ size`; bytes below `readable` do not change.
#[derive(Debug)]
pub struct MappedFile {
    path: Box<Path>,
    start: i64,
    size: usize,
    map: OnceLock<MmapRaw>,
    wrote: AtomicUsize,
    readable: AtomicUsize,
    flushed: AtomicUsize,
    /// Bytes below may be appended to; see [`reserve`](Self::reserve).
    pub(super) reserved: AtomicUsize,
    pub(super) blocks: Mutex<Blocks>,
    /// Whether the page cache may have it in large pages.
    pub(super) large_pages: AtomicBool,
    /// Whether it was made by an earlier process, so that reading it may have brought what lies ahead of
    /// its end into memory, in pages of any size.
    pub(super) is_old: bool,
    has_appender: AtomicBool,
    read_only: bool,
    /// Whether a flush failed, and none has succeeded since.
    flush_failed: AtomicBool,
    buffer: Mutex<Option<Arc<WriteBuffer>>>,
}

/// The blocks of a [`MappedFile`], under a lock that whoever moves its reserved position holds.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Bytes that have some.
    pub(super) assured: usize,
    /// Whether the file is given up, and another may take its name: nothing is written ahead any more.
    pub(super) closed: bool,
}

/// Opens (or creates) `path` for reading and writing.
pub(super) fn open_file(path: &Path, create: bool) -> io::Result<File> {
    fault::check(Operation::Create, path)?;
    OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path)
}

/// Assures blocks for a part of a file. A file system that cannot reserve is taken as it is.
pub(super) fn reserve_blocks(
    file: &File,
    path: &Path,
    from: usize,
    bytes: usize,
) -> io::Result<()> {
    fault::check(Operation::Allocate, path)?;
    // Not `posix_fallocate`: where the file system cannot reserve, that one writes bytes itself, and
    // could overwrite what is being appended.
    loop {
        // SAFETY: the descriptor is open for the whole call; the call reads and writes no memory of
        // ours.
        let result = unsafe {
            libc::fallocate(file.as_raw_fd(), 0, from as libc::off_t, bytes as libc::off_t)
        };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return Ok(()),
            _ => return Err(error),
        }
    }
}

/// A file's length must be `size`: a shorter one would raise SIGBUS when it is read.
fn check_length(file: &File, path: &Path, size: usize) -> io::Result<()> {
    let length = file.metadata()?.len();
    if length == size as u64 {
        return Ok(());
    }
    let problem = format!("{} has {length} bytes, expected {size}", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidData, problem))
}

/// Maps a whole file.
fn map_whole(file: &File, path: &Path, size: usize) -> io::Result<MmapRaw> {
    check_length(file, path, size)?;
    MmapOptions::new().len(size).map_raw(file)
}

/// Maps a whole file that cannot be written through the map: a write would end the process, so
/// that such a file never has an appender.
///
/// Holes are memory without a file: a tmpfs would give each page that is read there a block, or SIGBUS.
fn map_whole_read_only(path: &Path, size: usize) -> io::Result<MmapRaw> {
    let file = File::open(path)?;
    check_length(&file, path, size)?;
    let parts = os::data_parts(&file, MAX_PARTS)?;
    if matches!(&parts[..], [part] if part.start == 0 && part.end >= size as u64) {
        return MmapOptions::new().len(size).map_raw_read_only(&file);
    }
    let map: MmapRaw = MmapOptions::new().len(size).map_anon()?.make_read_only()?.into();
    // SAFETY: the parts are whole pages of the map, into which nobody has a reference yet. They go with it.
    unsafe { os::map_over(map.as_mut_ptr(), size, &file, &parts)? };
    Ok(map)
}

impl MappedFile {
    /// Creates the file (sparse, `size` bytes) or takes one that stands there; empty. It is mapped,
    /// and its first page has its block: nobody creates a file without appending to it.
    ///
    /// # Errors
    /// The disk's; the file is then removed again.
    pub fn create(path: &Path, start: i64, size: usize) -> io::Result<Self> {
        let file = open_file(path, true)?;
        let first_page = size.min(PAGE_BYTES);
        let prepared = (|| {
            if file.metadata()?.len() != size as u64 {
                file.set_len(size as u64)?;
            }
            reserve_blocks(&file, path, 0, first_page)?;
            map_whole(&file, path, size)
        })();
        match prepared {
            Ok(map) => {
                let map = OnceLock::from(map);
                let created = Self { map, is_old: false, ..Self::at(path, start, size, 0) };
                created.reserved.store(first_page, Ordering::Release);
                lock(&created.blocks).assured = first_page;
                Ok(created)
            }
            Err(error) => {
                let _ = std::fs::remove_file(path);
                Err(error)
            }
        }
    }

    /// An existing file of which `position` bytes are taken as written, readable and flushed.
    pub fn at(path: &Path, start: i64, size: usize, position: usize) -> Self {
        let position = position.min(size);
        Self {
            path: path.into(),
            start,
            size,
            map: OnceLock::new(),
            wrote: AtomicUsize::new(position),
            readable: AtomicUsize::new(position),
            flushed: AtomicUsize::new(position),
            reserved: AtomicUsize::new(position),
            blocks: Mutex::new(Blocks { assured: position, closed: false }),
            large_pages: AtomicBool::new(false),
            is_old: true,
            has_appender: AtomicBool::new(false),
            read_only: false,
            flush_failed: AtomicBool::new(false),
            buffer: Mutex::new(None),
        }
    }

    /// An existing file that is only looked at: nothing can be appended to it.
    pub fn read_only(path: &Path, start: i64, size: usize) -> Self {
        Self { read_only: true, ..Self::at(path, start, size, size) }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Offset of its first byte in the whole queue of files: the number in its name.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// Offset of the first byte after it.
    pub fn end(&self) -> i64 {
        self.start.saturating_add(self.size as i64)
    }

    /// Whether an offset of the queue of files lies in this one.
    pub fn contains(&self, offset: i64) -> bool {
        self.start <= offset && offset < self.end()
    }

    /// Bytes of the file.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes appended.
    pub fn wrote(&self) -> usize {
        self.wrote.load(Ordering::Acquire)
    }

    /// Bytes that readers may see.
    pub fn readable(&self) -> usize {
        self.readable.load(Ordering::Acquire)
    }

    /// Bytes forced to the disk.
    pub fn flushed(&self) -> usize {
        self.flushed.load(Ordering::Acquire)
    }

    /// Whether nothing fits any more.
    pub fn is_full(&self) -> bool {
        self.wrote() == self.size
    }

    /// Whether it is mapped already.
    pub fn is_mapped(&self) -> bool {
        self.map.get().is_some()
    }

    /// The map, made now if need be.
    #[inline]
    pub(super) fn map(&self) -> io::Result<&MmapRaw> {
        match self.map.get() {
            Some(map) => Ok(map),
            None => self.map_now(),
        }
    }

    #[cold]
    fn map_now(&self) -> io::Result<&MmapRaw> {
        let map = if self.read_only {
            map_whole_read_only(&self.path, self.size)?
        } else {
            map_whole(&open_file(&self.path, false)?, &self.path, self.size)?
        };
        Ok(self.map.get_or_init(|| map))
    }

    /// `len` published bytes from `at`; `None` if they are not all published, or if the file
    /// cannot be mapped.
    #[inline]
    pub fn bytes(&self, at: usize, len: usize) -> Option<&[u8]> {
        if at.checked_add(len)? > self.readable() {
            return None;
        }
        let map = match self.map() {
            Ok(map) => map,
            Err(error) => return self.tell_unmapped(&error),
        };
        // SAFETY: `at + len <= readable <= size`, the length of the map, checked against the
        // file's when it was made. Bytes below `readable` are not written again (the appender
        // writes from `wrote >= readable`, the committer from `readable` on, both before they
        // publish), and the acquire load above makes what was written there visible. The map lives
        // as long as `self`.
        Some(unsafe { std::slice::from_raw_parts(map.as_ptr().add(at), len) })
    }

    #[cold]
    fn tell_unmapped(&self, error: &io::Error) -> Option<&[u8]> {
        log::error!("{} cannot be mapped for reading: {error}", self.path.display());
        None
    }

    /// All published bytes from `at`.
    pub fn bytes_from(&self, at: usize) -> Option<&[u8]> {
        self.bytes(at, self.readable().checked_sub(at)?)
    }

    /// The same as [`bytes`](Self::bytes), keeping the file alive.
    pub fn slice(self: &Arc<Self>, at: usize, len: usize) -> Option<MappedSlice> {
        self.bytes(at, len)?;
        Some(MappedSlice { file: Arc::clone(self), at, len })
    }

    /// The right to append. `None` while somebody else has it, and for a read-only file.
    pub fn appender(self: &Arc<Self>) -> Option<Appender> {
        if self.read_only || self.has_appender.swap(true, Ordering::AcqRel) {
            return None;
        }
        let buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(Appender { file: Arc::clone(self), buffer, descriptor: None })
    }

    /// Forces what is readable to the disk and returns up to where.
    ///
    /// # Errors
    /// The disk's. The pages are then neither on the disk nor, for the kernel, in want of being
    /// written: it would report success the next time. So the next flush writes them anew.
    pub fn flush(&self) -> io::Result<usize> {
        let to = self.readable();
        let from = self.flushed();
        if from < to {
            self.write_again_if_failed(to)?;
            fault::flush(&self.path, Flushed::Bytes(from..to), || {
                let unmapped = self.unmap_pages(from, to)?;
                let flushed = self.map()?.flush_range(from, to - from);
                self.map_pages(unmapped)?;
                flushed
            })
            .inspect_err(|_| self.set_flush_failed())?;
            self.flush_failed.store(false, Ordering::Release);
            self.flushed.fetch_max(to, Ordering::AcqRel);
        }
        Ok(to)
    }

    /// Takes the full pages of a part that is to be flushed out of the map, if they are many; which those
    /// are. They stay in the page cache as they are, and whoever reads there has them in the map again.
    ///
    /// Before the kernel writes a page it takes the right to change it from who has it mapped, and
    /// interrupts all processors that this process runs on for each one. Taken out together they cost
    /// one interrupt.
    fn unmap_pages(&self, from: usize, to: usize) -> io::Result<Range<usize>> {
        let from = from / PAGE_BYTES * PAGE_BYTES;
        let to = to / PAGE_BYTES * PAGE_BYTES;
        if to < from + UNMAP_BYTES {
            return Ok(0..0);
        }
        let map = self.map()?;
        // Piece by piece, for a thread that changes the map stops all that have a fault while it waits.
        for from in (from..to).step_by(UNMAP_BYTES) {
            let length = UNMAP_BYTES.min(to - from);
            // SAFETY: the map is shared with the file, and what is taken out of it is read from there
            // again: no byte changes.
            let advice =
                unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, from, length) };
            if let Err(error) = advice {
                log::trace!("{} stays mapped: {error}", self.path().display());
                break;
            }
        }
        Ok(from..to)
    }

    /// Maps pages that are in memory, for who reads. The system also takes pages that nobody has mapped
    /// for less used than others.
    fn map_pages(&self, pages: Range<usize>) -> io::Result<()> {
        let map = self.map()?;
        for from in pages.clone().step_by(UNMAP_BYTES) {
            // Only advice.
            let _ = map.advise_range(Advice::PopulateRead, from, UNMAP_BYTES.min(pages.end - from));
        }
        Ok(())
    }

    /// Notes that a flush of the file failed.
    pub fn set_flush_failed(&self) {
        self.flush_failed.store(true, Ordering::Release);
    }

    /// Makes the file's length and blocks durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn flush_length(&self) -> io::Result<()> {
        let file = open_file(&self.path, false)?;
        fault::flush(&self.path, Flushed::Bytes(0..0), || file.sync_all())
    }

    /// Forces a part of the file to the disk, whatever is in it.
    ///
    /// # Errors
    /// The disk's.
    pub fn flush_part(&self, from: usize, to: usize) -> io::Result<()> {
        let to = to.min(self.size);
        let from = from.min(to);
        fault::flush(&self.path, Flushed::Bytes(from..to), || {
            self.map()?.flush_range(from, to - from)
        })
    }

    /// Writes published bytes over themselves, so that the kernel takes their pages for changed.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_again(&self, from: usize, to: usize) -> io::Result<()> {
        let Some(bytes) = self.bytes(from, to.saturating_sub(from)) else { return Ok(()) };
        let file = open_file(&self.path, false)?;
        for (number, piece) in bytes.chunks(CHUNK_BYTES).enumerate() {
            file.write_all_at(piece, (from + number * CHUNK_BYTES) as u64)?;
        }
        Ok(())
    }

    /// After a flush that failed: [writes again](Self::write_again) what it was to force to the disk, and
    /// what came since, up to `to`.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_again_if_failed(&self, to: usize) -> io::Result<()> {
        let failed = self.flush_failed.load(Ordering::Acquire);
        if failed { self.write_again(self.flushed(), to) } else { Ok(()) }
    }

    /// Notes that everything below `to` was forced to the disk by other means.
    pub fn set_flushed(&self, to: usize) {
        self.flush_failed.store(false, Ordering::Release);
        self.flushed.fetch_max(to, Ordering::AcqRel);
    }

    /// Notes that nothing of the file is known to be on the disk: it was written by a process that
    /// did not stop cleanly.
    pub fn forget_flushed(&self) {
        self.flushed.store(0, Ordering::Release);
    }

    /// Makes everything beyond the written position zero. Returns whether it was not yet.
    ///
    /// # Errors
    /// The disk's.
    pub fn zero_rest(&self) -> io::Result<bool> {
        fault::check(Operation::Allocate, &self.path)?;
        let from = self.wrote();
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        if os::is_zero_from(&file, from as u64)? {
            return Ok(false);
        }
        let (offset, bytes) = (from as libc::off_t, (self.size - from) as libc::off_t);
        let mode = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: the descriptor is open for the whole call; no memory is passed. Maps of the file
        // see the zeros, in a part that nobody reads.
        if unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, bytes) } == 0 {
            return Ok(true);
        }
        // A file system that cannot: written zeros do the same, only more slowly.
        let zeros = vec![0; (self.size - from).min(CHUNK_BYTES)];
        let mut at = from;
        while at < self.size {
            let count = zeros.len().min(self.size - at);
            file.write_all_at(&zeros[..count], at as u64)?;
            at += count;
        }
        Ok(true)
    }

    /// Unlinks the file. Who holds a slice keeps reading it.
    pub fn delete(&self) -> io::Result<()> {
        self.close();
        fault::check(Operation::Remove, &self.path)?;
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Puts a write buffer in front of the file (transient store pool). Only before the first
    /// append.
    pub fn set_write_buffer(&self, buffer: WriteBuffer) {
        if self.wrote() == 0 && !self.read_only && !self.has_appender.load(Ordering::Acquire) {
            *self.buffer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(buffer));
        }
    }

    /// Whether appends go to a write buffer.
    pub fn has_write_buffer(&self) -> bool {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Copies what the write buffer has into the map and publishes it; returns the readable
    /// position. A full file gives its buffer back.
    pub fn commit(&self) -> io::Result<usize> {
        let mut slot = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(buffer) = slot.as_ref() else { return Ok(self.readable()) };
        let wrote = self.wrote();
        let readable = self.readable();
        let filled = buffer.filled.load(Ordering::Acquire).min(wrote);
        if readable < wrote {
            self.reserve(wrote.next_multiple_of(CHUNK_BYTES))?;
            let map = self.map()?;
            if readable < filled {
                // SAFETY: `readable..filled` lies in both regions (each of `size` bytes, checked
                // when the buffer was made for this file size). The appender filled it before it
                // published `wrote`, and writes only beyond it; of the map nobody reads beyond
                // `readable`, and this function is the map's only writer, under the slot's lock.
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        buffer.memory.as_ptr().add(readable),
                        map.as_mut_ptr().add(readable),
                        filled - readable,
                    );
                }
            }
            self.readable.store(wrote, Ordering::Release);
        }
        if wrote == self.size {
            *slot = None;
        }
        Ok(wrote)
    }
}

/// The right to append to a [`MappedFile`]; there is at most one at a time.
#[derive(Debug)]
pub struct Appender {
    file: Arc<MappedFile>,
    buffer: Option<Arc<WriteBuffer>>,
    /// For [`append_block`](Self::append_block).
    descriptor: Option<File>,
}

impl Appender {
    /// The file.
    pub fn file(&self) -> &Arc<MappedFile> {
        &self.file
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.file.size - self.file.wrote.load(Ordering::Relaxed)
    }

    /// Whether the next `bytes` are [reserved](MappedFile::reserve) already.
    pub fn is_reserved(&self, bytes: usize) -> bool {
        let end = self.file.wrote.load(Ordering::Relaxed) + bytes;
        end <= self.file.reserved.load(Ordering::Acquire)
    }

    /// Appends all of `bytes` and publishes them; returns their position in the file.
    ///
    /// # Errors
    /// When they do not fit, the disk is full, or the file cannot be mapped. Nothing is then
    /// appended.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = &*self.file;
        let at = file.wrote.load(Ordering::Relaxed);
        let end = at + bytes.len();
        if end > file.size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} bytes do not fit into {}", bytes.len(), file.path.display()),
            ));
        }
        if let Some(buffer) = &self.buffer {
            buffer.fill(at, bytes);
            file.wrote.store(end, Ordering::Release);
            return Ok(at);
        }
        file.reserve_for(at, end)?;
        let map = file.map()?;
        // SAFETY: `at..end` lies inside the map (`end <= size`). Nobody reads it: readers stop at
        // `readable <= wrote == at`. Nobody else writes it: this is the file's only appender and
        // the method takes `&mut self`. Its blocks are reserved, so the store does not fault on a
        // full disk.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), map.as_mut_ptr().add(at), bytes.len());
        }
        file.wrote.store(end, Ordering::Release);
        file.readable.store(end, Ordering::Release);
        Ok(at)
    }

    /// The same with a system call, for what is flushed at once. A page that was changed through the map
    /// has to be protected again before it goes to the disk, and all processors that run threads of
    /// this process are interrupted for each.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let at = self.file.wrote.load(Ordering::Relaxed);
        let end = at + bytes.len();
        if self.buffer.is_none() && end <= self.file.size {
            self.file.reserve_for(at, end)?;
        }
        self.append_block(bytes)
    }

    /// The same for large blocks: they are written with a system call, which fills pages that nobody
    /// has touched without clearing them first and without a fault for each. Readers of the map see
    /// them all the same, both are the page cache.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_block(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = &*self.file;
        let at = file.wrote.load(Ordering::Relaxed);
        let end = at + bytes.len();
        if self.buffer.is_some() || end > file.size {
            return self.append(bytes);
        }
        if self.descriptor.is_none() {
            self.descriptor = Some(open_file(&file.path, false)?);
        }
        // Nobody writes zeros there meanwhile; and without blocks it stays unreserved.
        let unreserved = end > file.reserved.load(Ordering::Acquire);
        let _blocks = unreserved.then(|| lock(&file.blocks));
        if let Some(descriptor) = &self.descriptor {
            descriptor.write_all_at(bytes, at as u64)?;
        }
        file.reserved.fetch_max(end, Ordering::AcqRel);
        file.wrote.store(end, Ordering::Release);
        file.readable.store(end, Ordering::Release);
        Ok(at)
    }

    /// Takes the rest of the file as written, with the bytes that happen to be there.
    pub fn skip_to_end(&mut self) -> io::Result<()> {
        self.skip(self.room())
    }

    /// Takes `bytes` as written, with what happens to be there; at most to the file's end.
    pub fn skip(&mut self, bytes: usize) -> io::Result<()> {
        let file = &*self.file;
        let end = file.size - self.room().saturating_sub(bytes);
        file.reserve(end)?;
        file.wrote.store(end, Ordering::Release);
        if self.buffer.is_none() {
            file.readable.store(end, Ordering::Release);
        }
        Ok(())
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.file.has_appender.store(false, Ordering::Release);
    }
}

/// Published bytes of a [`MappedFile`], which stays mapped as long as they are held.
#[derive(Clone, Debug)]
pub struct MappedSlice {
    file: Arc<MappedFile>,
    at: usize,
    len: usize,
}

impl MappedSlice {
    /// The file.
    pub fn file(&self) -> &Arc<MappedFile> {
        &self.file
    }

    /// Takes the following `bytes` along if they are published and follow at `at`.
    pub fn extend(&mut self, at: usize, bytes: usize) -> bool {
        if self.at + self.len != at || self.file.bytes(at, bytes).is_none() {
            return false;
        }
        self.len += bytes;
        true
    }
}

impl Deref for MappedSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // A slice is only made of published bytes, and those stay published.
        self.file.bytes(self.at, self.len).unwrap_or_default()
    }
}

/// Anonymous memory of one commit-log file's size, in which appends are gathered before they go
/// to the file (the transient store pool's unit).
#[derive(Debug)]
pub struct WriteBuffer {
    memory: MmapRaw,
    filled: AtomicUsize,
    home: Arc<Mutex<Vec<MmapRaw>>>,
}

impl WriteBuffer {
    /// Writes `bytes` at `at`. Private: only the one appender of the one file that has this buffer
    /// calls it, and at increasing positions.
    fn fill(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.memory.len(), "buffer and file differ in size");
        // SAFETY: the range lies inside the buffer. Only the appender writes (it is unique, and it
        // calls this through `&mut`); the committer reads below `wrote`, which is published after
        // this.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.memory.as_mut_ptr().add(at),
                bytes.len(),
            );
        }
        self.filled.store(at + bytes.len(), Ordering::Release);
    }
}

impl Drop for WriteBuffer {
    fn drop(&mut self) {
        if let Ok(empty) = MmapOptions::new().len(1).map_anon() {
            let memory = std::mem::replace(&mut self.memory, empty.into());
            self.home.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
        }
    }
}

/// Buffers that commit-log files borrow while they are written (`transientStorePoolEnable`).
#[derive(Debug)]
pub struct TransientStorePool {
    free: Arc<Mutex<Vec<MmapRaw>>>,
    buffer_bytes: usize,
}

impl TransientStorePool {
    /// `count` buffers of `buffer_bytes`, locked in memory if the system allows it.
    pub fn new(count: usize, buffer_bytes: usize) -> io::Result<Self> {
        let mut free = Vec::with_capacity(count);
        for _ in 0..count {
            let memory: MmapRaw = MmapOptions::new().len(buffer_bytes).map_anon()?.into();
            if let Err(error) = memory.lock() {
                log::warn!("a transient store buffer stays unlocked in memory: {error}");
            }
            free.push(memory);
        }
        Ok(Self { free: Arc::new(Mutex::new(free)), buffer_bytes })
    }

    /// Free buffers.
    pub fn available(&self) -> usize {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes a buffer; it comes back when it is dropped.
    pub fn borrow(&self) -> Option<WriteBuffer> {
        let memory = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        debug_assert_eq!(memory.len(), self.buffer_bytes);
        let home = Arc::clone(&self.free);
        Some(WriteBuffer { memory, filled: AtomicUsize::new(0), home })
    }
}

/// A word of a [`WordFile`]: 32 bits, big-endian.
#[derive(Debug)]
#[repr(transparent)]
pub struct Word(AtomicU32);

impl Word {
    /// Its value.
    pub fn load(&self) -> u32 {
        u32::from_be(self.0.load(Ordering::Acquire))
    }

    /// Sets it. Its part of the file must be [reserved](WordFile::reserve).
    pub fn store(&self, value: u32) {
        self.0.store(value.to_be(), Ordering::Release);
    }

    /// The 64-bit value at byte `at` of `words`: two words, not one atomic read.
    pub fn load_i64(words: &[Self], at: usize) -> i64 {
        let (high, low) = (words[at / 4].load(), words[at / 4 + 1].load());
        ((u64::from(high) << 32) | u64::from(low)) as i64
    }

    /// Sets the 64-bit value at byte `at` of `words`, word by word. What is there in between is never
    /// larger than both the old and the new value, on the disk too if power fails at this moment.
    pub fn store_i64(words: &[Self], at: usize, value: i64) {
        let (high, low) = (&words[at / 4], &words[at / 4 + 1]);
        if (value >> 32) as i32 > high.load() as i32 {
            low.store(0);
        }
        high.store((value >> 32) as u32);
        low.store(value as u32);
    }
}

/// A file of fixed size that is changed in place, word by word.
///
/// Words are 32 bits, big-endian, at multiples of 4; each access is one atomic operation, so
/// readers on other threads see old or new words, never torn ones. A position outside the file
/// reads as 0 and writes nothing: positions come from files that anybody may have damaged.
#[derive(Debug)]
pub struct WordFile {
    path: Box<Path>,
    map: MmapRaw,
    reserved: AtomicUsize,
}

impl WordFile {
    /// Opens or creates the file; a shorter one is extended with zeros to `size`.
    pub fn open(path: &Path, size: usize) -> io::Result<Self> {
        let file = open_file(path, true)?;
        if file.metadata()?.len() < size as u64 {
            file.set_len(size as u64)?;
        }
        let map = map_whole(&file, path, size)?;
        Ok(Self { path: path.into(), map, reserved: AtomicUsize::new(0) })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub fn size(&self) -> usize {
        self.map.len()
    }

    /// Assures blocks for all bytes below `to`, to the end of the last large page, so that writing them
    /// cannot fail.
    pub fn reserve(&self, to: usize) -> io::Result<()> {
        let to = to.next_multiple_of(LARGE_PAGE_BYTES).min(self.size());
        let from = self.reserved.load(Ordering::Acquire);
        if from < to {
            let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
            reserve_blocks(&file, &self.path, from, to - from)?;
            self.reserved.fetch_max(to, Ordering::AcqRel);
        }
        Ok(())
    }

    /// The `N` words from `at` on: who needs several finds their place once.
    pub fn part<const N: usize>(&self, at: usize) -> Option<&[Word; N]> {
        if !at.is_multiple_of(4) || at.checked_add(4 * N)? > self.map.len() {
            return None;
        }
        // SAFETY: the words lie inside the map and are aligned (maps start at a page), and a `Word`
        // is laid out as the integer. All access to this map goes through atomics made here. The
        // reference does not outlive `self`.
        Some(unsafe { &*self.map.as_mut_ptr().add(at).cast::<[Word; N]>() })
    }

    /// The word at `at`.
    pub fn load(&self, at: usize) -> u32 {
        self.part(at).map_or(0, |[word]| word.load())
    }

    /// Sets the word at `at`. The part of the file must be [reserved](Self::reserve).
    pub fn store(&self, at: usize, value: u32) {
        if let Some([word]) = self.part(at) {
            word.store(value);
        }
    }

    /// The 64-bit value at `at`: two words, not one atomic read.
    pub fn load_i64(&self, at: usize) -> i64 {
        self.part::<2>(at).map_or(0, |words| Word::load_i64(words, 0))
    }

    /// Sets the 64-bit value at `at`, see [`Word::store_i64`].
    pub fn store_i64(&self, at: usize, value: i64) {
        if let Some(words) = self.part::<2>(at) {
            Word::store_i64(words, 0, value);
        }
    }

    /// Forces the whole file to the disk.
    pub fn flush(&self) -> io::Result<()> {
        fault::flush(&self.path, Flushed::Bytes(0..self.size()), || self.map.flush())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::store::testing::TempFolder;

    fn file(folder: &TempFolder, size: usize) -> Arc<MappedFile> {
        Arc::new(MappedFile::create(&folder.path().join("file"), 0, size).unwrap())
    }

    #[test]
    fn only_what_is_published_is_read() {
        let folder = TempFolder::new("published");
        let file = file(&folder, 100);
        let mut appender = file.appender().unwrap();
        assert!(file.appender().is_none(), "one appender at a time");
        assert_eq!(appender.append(b"hello").unwrap(), 0);
        assert_eq!(file.bytes(0, 5), Some(&b"hello"[..]));
        assert_eq!(file.bytes(0, 6), None);
        assert_eq!(file.bytes(usize::MAX, 2), None);
        assert!(appender.append(&[0; 96]).is_err());
        assert_eq!(appender.append(&[1; 95]).unwrap(), 5);
        assert!(file.is_full());
        drop(appender);
        assert!(file.appender().is_some());
    }

    /// A flush of much data, while it is read and more is appended.
    #[test]
    fn what_is_flushed_is_still_read() {
        const SIZE: usize = 8 * UNMAP_BYTES;
        let folder = TempFolder::new("unmapped");
        let file = file(&folder, SIZE);
        let mut appender = file.appender().unwrap();
        let byte = |at: usize| (at / 1000 % 251) as u8;
        let expected: Vec<u8> = (0..SIZE).map(byte).collect();
        std::thread::scope(|scope| {
            for from in [0, UNMAP_BYTES / 3] {
                let (file, expected) = (&file, &expected);
                scope.spawn(move || {
                    while file.readable() < SIZE {
                        let to = file.readable();
                        let found = file.bytes(from.min(to), to.saturating_sub(from));
                        assert!(found == Some(&expected[from.min(to)..to]));
                    }
                });
            }
            for (number, piece) in expected.chunks(10_007).enumerate() {
                appender.append(piece).unwrap();
                if number % 150 == 0 {
                    file.flush().unwrap();
                }
            }
        });
        file.flush().unwrap();
        assert!(file.bytes(0, SIZE) == Some(&expected[..]));
        assert!(std::fs::read(file.path()).unwrap() == expected);
    }

    #[test]
    fn blocks_and_small_appends_follow_each_other() {
        let folder = TempFolder::new("blocks");
        let file = file(&folder, 20_000);
        let mut appender = file.appender().unwrap();
        assert_eq!(appender.append(&[1; 5000]).unwrap(), 0);
        assert_eq!(appender.append_block(&[2; 7000]).unwrap(), 5000);
        assert_eq!(appender.append(&[3; 1000]).unwrap(), 12_000);
        assert!(appender.append_block(&[4; 7001]).is_err());
        assert_eq!(appender.append_block(&[4; 7000]).unwrap(), 13_000);
        assert!(file.is_full());
        let expected = [vec![1; 5000], vec![2; 7000], vec![3; 1000], vec![4; 7000]].concat();
        assert!(file.bytes(0, 20_000) == Some(&expected[..]));
        file.flush().unwrap();
        assert!(std::fs::read(file.path()).unwrap() == expected);
    }

    #[test]
    fn a_slice_outlives_the_file() {
        let folder = TempFolder::new("slice");
        let file = file(&folder, 8192);
        file.appender().unwrap().append(&[7; 5000]).unwrap();
        let mut slice = file.slice(0, 10).unwrap();
        assert!(slice.extend(10, 20) && !slice.extend(10, 20) && !slice.extend(30, 5000));
        file.delete().unwrap();
        drop(file);
        assert_eq!(*slice, [7; 30]);
        assert!(!folder.path().join("file").exists());
    }

    #[test]
    fn a_shortened_file_is_an_error_and_not_a_signal() {
        let folder = TempFolder::new("short");
        let path = folder.path().join("file");
        std::fs::write(&path, [0; 10]).unwrap();
        let file = Arc::new(MappedFile::at(&path, 0, 4096, 10));
        assert_eq!(file.bytes(0, 10), None);
    }

    #[test]
    fn a_file_with_holes_is_mapped_as_it_reads() {
        const SIZE: usize = 3 * 1024 * 1024 - 100;
        let folder = TempFolder::new("holes");
        let path = folder.path().join("file");
        let step = 3 * 65_536;
        for pieces in [vec![], vec![0], vec![step], vec![0, 2 * step, SIZE - 10], vec![SIZE - 10]] {
            let file = File::create(&path).unwrap();
            file.set_len(SIZE as u64).unwrap();
            for at in pieces {
                file.write_all_at(&[7; 10], at as u64).unwrap();
            }
            let mapped = MappedFile::read_only(&path, 0, SIZE);
            assert!(mapped.bytes(0, SIZE) == Some(&std::fs::read(&path).unwrap()[..]));
        }
    }

    #[test]
    fn a_write_buffer_is_seen_after_the_commit_and_comes_back() {
        let folder = TempFolder::new("buffer");
        let pool = TransientStorePool::new(1, 4096).unwrap();
        let file = file(&folder, 4096);
        file.set_write_buffer(pool.borrow().unwrap());
        assert_eq!(pool.available(), 0);
        let mut appender = file.appender().unwrap();
        appender.append(b"abc").unwrap();
        assert_eq!((file.wrote(), file.readable()), (3, 0));
        assert_eq!(file.commit().unwrap(), 3);
        assert_eq!(file.bytes(0, 3), Some(&b"abc"[..]));
        appender.skip_to_end().unwrap();
        drop(appender);
        file.commit().unwrap();
        assert_eq!((file.readable(), pool.available()), (4096, 1));
    }

    #[test]
    fn words_have_their_blocks_in_large_pages() {
        let folder = TempFolder::new("words-large");
        let file = WordFile::open(&folder.path().join("file"), 3 * LARGE_PAGE_BYTES).unwrap();
        file.reserve(LARGE_PAGE_BYTES + 1).unwrap();
        assert!(file.path().metadata().unwrap().blocks() * 512 >= 2 * LARGE_PAGE_BYTES as u64);
    }

    #[test]
    fn words_outside_the_file_are_zero() {
        let folder = TempFolder::new("words");
        let words = WordFile::open(&folder.path().join("file"), 16).unwrap();
        words.store_i64(8, -2);
        words.store(16, 9);
        words.store(3, 9);
        assert_eq!((words.load_i64(8), words.load(16), words.load(usize::MAX - 3)), (-2, 0, 0));
        words.flush().unwrap();
        assert_eq!(std::fs::read(words.path()).unwrap()[8..], (-2i64).to_be_bytes());
    }
}
