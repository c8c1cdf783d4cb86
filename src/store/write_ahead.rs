//! What lies ahead of the appends in a [`MappedFile`]: blocks that are assured, so that a full disk is an
//! error and not a signal ([`MappedFile::reserve`]), pages that are in memory and wait for no fault
//! ([`MappedFile::fill_ahead`], [`MappedFile::populate`]), and zeros on the disk, so that a flush writes data and nothing else
//! ([`MappedFile::write_ahead`]). Also what the system is told of its pages: to keep them, or to read none ahead.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use memmap2::{Advice, MmapOptions};

use super::disk;
use super::fault::{self, Flushed, Operation};
use super::mapped_file::{Blocks, MappedFile, PAGE_BYTES, open_file, reserve_blocks};
use crate::common::os;
use crate::common::sync::lock;

/// Zeros are written in pieces of so many bytes. The kernel keeps what one call writes as one unit of
/// memory, and large units cost less to get; an append that overtakes waits for one piece.
const PIECE_BYTES: usize = 64 * 1024;
/// So many bytes are on their way to the disk at a time: a flush of what was appended waits for no more.
const AT_ONCE_BYTES: usize = 256 * 1024;

/// Pages made ready by one system call.
const POPULATE_STEP_BYTES: usize = 128 * PAGE_BYTES;
/// A large page of most machines. Where they are larger, files have none.
pub(super) const LARGE_PAGE_BYTES: usize = 512 * PAGE_BYTES;
/// A disk with less left may not have the blocks of a large page any more when it is appended to.
const SCARCE_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of one read that brings pages into memory.
const READ_BYTES: usize = 128 * 1024;

/// Smallest and largest number of bytes reserved at once ahead of an append. Small, because there
/// may be 20,000 consume queues; growing, because a busy one should not make a call per page.
const RESERVE_BYTES: (usize, usize) = (PAGE_BYTES, 1024 * 1024);

impl Blocks {
    /// Assures blocks for all bytes of `file` below `to`.
    pub(super) fn assure(&mut self, file: &MappedFile, to: usize) -> io::Result<()> {
        if self.assured < to {
            let open = OpenOptions::new().read(true).write(true).open(file.path())?;
            reserve_blocks(&open, file.path(), self.assured, to - self.assured)?;
            self.assured = to;
        }
        Ok(())
    }
}

impl MappedFile {
    /// Lets all bytes below `to` be appended to: assures their blocks, where that was not done, and
    /// that no zeros are written there any more ([`write_ahead`](Self::write_ahead)).
    pub fn reserve(&self, to: usize) -> io::Result<()> {
        let to = to.min(self.size());
        if self.reserved.load(Ordering::Acquire) < to {
            let mut blocks = lock(&self.blocks);
            blocks.assure(self, to)?;
            self.reserved.fetch_max(to, Ordering::AcqRel);
        }
        Ok(())
    }

    /// [Reserves](Self::reserve) for an append, and somewhat ahead of it.
    pub(super) fn reserve_for(&self, at: usize, end: usize) -> io::Result<()> {
        if end <= self.reserved.load(Ordering::Acquire) {
            return Ok(());
        }
        let ahead = at.clamp(RESERVE_BYTES.0, RESERVE_BYTES.1);
        let mut blocks = lock(&self.blocks);
        // Under the lock: who expects large pages assures the blocks of what is reserved by then.
        let to = self.page_end(end + ahead);
        blocks.assure(self, to)?;
        self.reserved.fetch_max(to, Ordering::AcqRel);
        Ok(())
    }

    /// End of the page that ends at or after `to`, as large as the page cache may have it.
    ///
    /// Recovery reads a file to its end, and the system reads ahead of that: in large pages, if it is
    /// asked for much. The first append to such a page takes blocks for all of it, which is no harm
    /// while the disk has some.
    fn page_end(&self, to: usize) -> usize {
        let is_scarce = || disk::free_bytes(self.path()).is_some_and(|free| free < SCARCE_BYTES);
        let is_large = self.large_pages.load(Ordering::Acquire) || self.is_old && is_scarce();
        let page = if is_large { LARGE_PAGE_BYTES } else { PAGE_BYTES };
        to.next_multiple_of(page).min(self.size())
    }

    /// Assures blocks for all bytes below `to`, for later.
    pub fn assure_blocks(&self, to: usize) -> io::Result<()> {
        lock(&self.blocks).assure(self, to.min(self.size()))
    }

    /// Gives the file up: nothing is written ahead in it from now on, so that another one may take its
    /// name.
    pub fn close(&self) {
        lock(&self.blocks).closed = true;
    }

    /// Makes the pages of a part writable without a fault later. Only advice: kernels before 5.14
    /// do not know it, and the append then takes the faults itself.
    pub fn populate(&self, from: usize, to: usize) {
        let to = to.min(self.size());
        let from = from.min(to) / PAGE_BYTES * PAGE_BYTES;
        let Ok(map) = self.map() else { return };
        for from in (from..to).step_by(POPULATE_STEP_BYTES) {
            let length = (to - from).min(POPULATE_STEP_BYTES);
            let _ = map.advise_range(Advice::PopulateWrite, from, length);
        }
    }

    /// Brings what lies ahead of the appends into memory, up to `to`, by writing zeros where it is not.
    /// Its blocks are assured before, to the end of the last large page.
    ///
    /// A page that is faulted in is a small one, and a fault in a file that is [read
    /// ahead](Self::read_ahead) takes what the disk's `read_ahead_kb` asks for, up to tens of
    /// milliseconds in which no other thread gets this processor. A write makes one unit of memory of
    /// each piece: less work for it, and for each flush.
    ///
    /// # Errors
    /// The disk's. Appends do without then.
    pub fn fill_ahead(&self, to: usize) -> io::Result<()> {
        let file = open_file(self.path(), false)?;
        self.write_zeros(&file, to, |piece| !self.is_in_memory(piece.start, piece.end)).map(|_| ())
    }

    /// Whether the page cache has all pages of a part. False where the system does not tell.
    fn is_in_memory(&self, from: usize, to: usize) -> bool {
        let (from, to) = (from / PAGE_BYTES * PAGE_BYTES, to.min(self.size()));
        let Ok(map) = self.map() else { return false };
        from >= to || os::is_in_memory(map.as_mut_ptr().addr() + from, to - from)
    }

    /// Brings a part into the page cache, and leaves it mapped nowhere.
    ///
    /// A read takes what the disk's `read_ahead_kb` asks for in one go. So first each large page is asked
    /// for by one fault, where the kernel has such for files: no more than two megabytes at a time, and to
    /// append there and flush it later takes a quarter of what it takes in small pages. In a map of its
    /// own, because advice for a part of a map splits it, which stops all threads that have a fault in it.
    ///
    /// # Errors
    /// The disk's.
    pub fn bring_into_memory(&self, from: usize, to: usize) -> io::Result<()> {
        self.expect_large_pages()?;
        let to = to.min(self.size());
        // The advice for a large page is for all of it.
        let begin = from.min(to) / LARGE_PAGE_BYTES * LARGE_PAGE_BYTES;
        let end = to.next_multiple_of(LARGE_PAGE_BYTES).min(self.size());
        if begin >= end {
            return Ok(());
        }
        let file = open_file(self.path(), false)?;
        let mut map = MmapOptions::new();
        let map = map.offset(begin as u64).len(end - begin).map_raw_read_only(&file)?;
        for advice in [Advice::HugePage, Advice::Random] {
            let _ = map.advise(advice);
        }
        let mut piece = Vec::new();
        for at in (begin..end).step_by(LARGE_PAGE_BYTES) {
            let part = at.max(from)..(at + LARGE_PAGE_BYTES).min(to);
            if !self.is_in_memory(part.start, part.end) {
                // The first that may be missing: what was appended is there.
                let page = part.start / PAGE_BYTES * PAGE_BYTES;
                let length = PAGE_BYTES.min(end - page);
                let _ = map.advise_range(Advice::PopulateRead, page - begin, length);
            }
            if self.is_in_memory(part.start, part.end) {
                continue;
            }
            piece.resize(READ_BYTES, 0);
            for from in part.clone().step_by(READ_BYTES) {
                let length = READ_BYTES.min(part.end - from);
                file.read_exact_at(&mut piece[..length], from as u64)?;
            }
        }
        Ok(())
    }

    /// Who changes one byte of a large page has the kernel assure blocks for all of it, and is killed if
    /// the disk is full. So appends [reserve](Self::reserve_for) whole large pages from now on.
    fn expect_large_pages(&self) -> io::Result<()> {
        let mut blocks = lock(&self.blocks);
        self.large_pages.store(true, Ordering::Release);
        let reserved = self.reserved.load(Ordering::Acquire);
        blocks.assure(self, reserved.next_multiple_of(LARGE_PAGE_BYTES).min(self.size()))
    }

    /// Tells the system to read pages one by one and none ahead. For a file that grows: a fault at its
    /// end would otherwise fill up to megabytes of page cache with zeros.
    pub fn read_nothing_ahead(&self) {
        if let Ok(map) = self.map() {
            let _ = map.advise(Advice::Random);
        }
    }

    /// Tells the system to read ahead again: the file grows no more.
    pub fn read_ahead(&self) {
        if let Ok(map) = self.map() {
            let _ = map.advise(Advice::Normal);
        }
    }

    /// Keeps the file's pages in memory (warm-up); says so in the log if the system refuses.
    pub fn lock_in_memory(&self) {
        if let Ok(map) = self.map() {
            let _ = map.advise(Advice::WillNeed);
            if let Err(error) = map.lock() {
                log::warn!("{} stays unlocked in memory: {error}", self.path().display());
            }
        }
    }

    /// Lets the system page the file out again.
    pub fn unlock_from_memory(&self) {
        if self.is_mapped()
            && let Ok(map) = self.map()
        {
            let _ = map.unlock();
        }
    }

    /// Writes zeros to the disk, up to `to`, while others append.
    ///
    /// A block that was only reserved reads as zeros because the file system notes that it was never
    /// written. The first flush that reaches it has to change that note too, which takes longer than the
    /// data. Behind a block that was written once, a flush is nothing but the data. The price is that
    /// all bytes are written twice.
    ///
    /// The zeros are not flushed: the next flush of what was appended takes the changed notes along. A
    /// flush of their own, with a commit of the file system's journal each time, made those of the
    /// appends wait: on a busy disk it halved the rate.
    ///
    /// Appends may overtake: zeros are only ever written from the reserved position on, appends only
    /// below it, and it moves under a lock ([`reserve`](Self::reserve)).
    ///
    /// An error of the disk is told to every descriptor of the file once: a flush of what was appended
    /// does not succeed because this one was told of its failure.
    ///
    /// # Errors
    /// The disk's. Appends do without then.
    pub fn write_ahead(&self, to: usize) -> io::Result<()> {
        let file = open_file(self.path(), false)?;
        loop {
            let from = self.reserved.load(Ordering::Acquire);
            let end = self.write_zeros(&file, to.min(from + AT_ONCE_BYTES), |_| true)?;
            if from >= end {
                return Ok(());
            }
            fault::flush(self.path(), Flushed::Zeros(from..end), || {
                os::write_out(&file, from as u64, (end - from) as u64)
            })?;
        }
    }

    /// Writes zeros up to `to`, or to a little more, in all pieces that are `wanted`; returns how far.
    fn write_zeros(
        &self,
        file: &File,
        to: usize,
        wanted: impl Fn(&Range<usize>) -> bool,
    ) -> io::Result<usize> {
        let zeros = vec![0; PIECE_BYTES];
        loop {
            let mut blocks = lock(&self.blocks);
            let from = self.reserved.load(Ordering::Acquire);
            if blocks.closed || from >= to.min(self.size()) {
                return Ok(from);
            }
            let end = ((from / PIECE_BYTES + 1) * PIECE_BYTES).min(self.size());
            blocks.assure(self, self.page_end(end))?;
            if wanted(&(from..end)) {
                fault::check(Operation::WriteAhead, self.path())?;
                file.write_all_at(&zeros[..end - from], from as u64)?;
            }
            self.reserved.store(end, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::common::os::DiskSpace;
    use crate::store::fault::inject;
    use crate::store::testing::TempFolder;

    const SIZE: usize = 4 * 1024 * 1024;

    fn file(folder: &TempFolder) -> Arc<MappedFile> {
        Arc::new(MappedFile::create(&folder.path().join("file"), 0, SIZE).unwrap())
    }

    #[test]
    fn zeros_never_reach_what_was_appended() {
        let folder = TempFolder::new("overtaken");
        let file = file(&folder);
        let full = AtomicBool::new(false);
        let mut appender = file.appender().unwrap();
        let mut expected = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !full.load(Ordering::Acquire) {
                    // Now far ahead of the appends, now behind them.
                    let wrote = file.wrote();
                    let to = wrote + wrote % (3 * PIECE_BYTES);
                    if wrote.is_multiple_of(2) {
                        file.write_ahead(to)
                    } else {
                        file.fill_ahead(to)
                    }
                    .unwrap();
                }
            });
            let mut number = 0_usize;
            while appender.room() > 0 {
                number += 1;
                let bytes = vec![number as u8 | 1; appender.room().min(number % 5000 + 1)];
                match number % 3 {
                    0 => appender.append(&bytes).unwrap(),
                    1 => appender.write(&bytes).unwrap(),
                    _ => appender.append_block(&bytes).unwrap(),
                };
                expected.extend(bytes);
            }
            full.store(true, Ordering::Release);
        });
        assert!(file.bytes(0, SIZE) == Some(&expected[..]));
        assert!(std::fs::read(file.path()).unwrap() == expected);
    }

    /// The kernel raises SIGBUS for a byte that has its block, if another of its large page has none and
    /// the disk is full.
    #[test]
    fn large_pages_are_reserved_whole() {
        let folder = TempFolder::new("large");
        let file = file(&folder);
        let mut appender = file.appender().unwrap();
        appender.append(&[1; 10_000]).unwrap();
        let blocks = || file.path().metadata().unwrap().blocks() * 512;
        assert!(blocks() < LARGE_PAGE_BYTES as u64);
        file.bring_into_memory(file.wrote(), SIZE).unwrap();
        assert!(blocks() >= LARGE_PAGE_BYTES as u64);
        while appender.room() > LARGE_PAGE_BYTES / 2 {
            appender.append(&[1; 10_000]).unwrap();
            assert!(blocks() >= file.wrote().next_multiple_of(LARGE_PAGE_BYTES) as u64);
        }
    }

    /// Who begins to expect them has looked at what is reserved while an append was about to reserve more.
    #[test]
    fn large_pages_are_reserved_whole_by_who_was_about_to() {
        let folder = TempFolder::new("large-later");
        let file = file(&folder);
        let mut appender = file.appender().unwrap();
        appender.append(&[1; 10_000]).unwrap();
        std::thread::scope(|scope| {
            let blocks = lock(&file.blocks);
            scope.spawn(|| appender.append(&[1; 100_000]).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(100));
            file.large_pages.store(true, Ordering::Release);
            drop(blocks);
        });
        let blocks = file.path().metadata().unwrap().blocks() * 512;
        assert!(blocks >= LARGE_PAGE_BYTES as u64, "{blocks}");
    }

    /// Recovery has read it, and the system read ahead.
    #[test]
    fn an_old_file_is_reserved_in_large_pages_while_room_is_scarce() {
        let folder = TempFolder::new("scarce");
        let path = folder.path().join("file");
        for (available, whole) in [(SCARCE_BYTES, false), (SCARCE_BYTES - 1, true)] {
            drop(MappedFile::create(&path, 0, SIZE).unwrap());
            let space = DiskSpace { total: 1 << 40, free: available, available };
            let _scarce = fault::inject_space(folder.path(), space);
            let mut appender = Arc::new(MappedFile::at(&path, 0, SIZE, 100)).appender().unwrap();
            appender.append(&[1; 10_000]).unwrap();
            let blocks = path.metadata().unwrap().blocks() * 512;
            assert_eq!(blocks >= LARGE_PAGE_BYTES as u64, whole, "{blocks} with {available} left");
            std::fs::remove_file(&path).unwrap();
        }
    }

    /// Zeros are written in smaller pieces than pages may have.
    #[test]
    fn large_pages_are_reserved_whole_by_who_writes_zeros() {
        let folder = TempFolder::new("large-zeros");
        let file = file(&folder);
        file.bring_into_memory(0, SIZE).unwrap();
        file.write_ahead(LARGE_PAGE_BYTES + 1).unwrap();
        assert!(file.path().metadata().unwrap().blocks() * 512 >= 2 * LARGE_PAGE_BYTES as u64);
    }

    #[test]
    fn appends_find_blocks_that_were_written() {
        let folder = TempFolder::new("written");
        let file = file(&folder);
        file.appender().unwrap().write(&[7; 10]).unwrap();
        file.write_ahead(100_000).unwrap();
        let reserved = file.reserved.load(Ordering::Acquire);
        assert_eq!(reserved, 2 * PIECE_BYTES);
        file.write_ahead(100_000).unwrap();
        file.write_ahead(usize::MAX).unwrap();
        assert_eq!(file.reserved.load(Ordering::Acquire), SIZE);
        assert_eq!((file.wrote(), file.bytes(0, 11)), (10, None));
        let bytes = std::fs::read(file.path()).unwrap();
        assert!(bytes[..10] == [7; 10] && bytes[10..].iter().all(|byte| *byte == 0));
    }

    /// The file has a successor of the same name: its content is not ours any more.
    #[test]
    fn a_file_that_was_given_up_is_left_alone() {
        let folder = TempFolder::new("given-up");
        let file = file(&folder);
        file.close();
        std::fs::write(file.path(), vec![7; SIZE]).unwrap();
        file.write_ahead(SIZE).unwrap();
        assert!(std::fs::read(file.path()).unwrap() == vec![7; SIZE]);
    }

    #[test]
    fn appends_do_without() {
        let folder = TempFolder::new("without");
        let file = file(&folder);
        let fault = inject(Operation::WriteAhead, folder.path(), libc::ENOSPC);
        assert!(file.write_ahead(SIZE).is_err());
        let mut appender = file.appender().unwrap();
        appender.write(&[1; 100_000]).unwrap();
        drop(fault);
        let _fault = inject(Operation::Allocate, folder.path(), libc::ENOSPC);
        assert!(file.write_ahead(SIZE).is_err());
        while appender.write(&[2; 100_000]).is_ok() {}
        assert!(appender.room() > 100_000, "what has no blocks is not appended to");
    }
}
