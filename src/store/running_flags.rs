//! [`RunningFlags`]: why the store does not read or write at the moment.

use std::sync::atomic::{AtomicU32, Ordering};

/// One reason each; the bits are Java's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Flag {
    /// Reading was switched off.
    NotReadable = 1,
    /// Writing was switched off.
    NotWriteable = 2,
    /// A consume queue could not be written for 30 seconds.
    WriteLogicsQueueError = 4,
    /// No index file could be made.
    WriteIndexFileError = 8,
    /// The disk is nearly full.
    DiskFull = 16,
    /// The commit log could not be forced to the disk. Ours; ends with a restart.
    FlushFailed = 1024,
}

/// The set of reasons.
#[derive(Debug, Default)]
pub struct RunningFlags(AtomicU32);

impl RunningFlags {
    /// Sets or clears a flag; returns whether that changed it.
    pub fn set(&self, flag: Flag, on: bool) -> bool {
        let bit = flag as u32;
        let before = if on {
            self.0.fetch_or(bit, Ordering::AcqRel)
        } else {
            self.0.fetch_and(!bit, Ordering::AcqRel)
        };
        (before & bit != 0) != on
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: Flag) -> bool {
        self.0.load(Ordering::Acquire) & flag as u32 != 0
    }

    /// Whether messages may be read.
    pub fn is_readable(&self) -> bool {
        !self.has(Flag::NotReadable)
    }

    /// Whether messages may be put. `Err`: why not.
    pub fn check_writable(&self) -> Result<(), &'static str> {
        if self.0.load(Ordering::Acquire) & !(Flag::NotReadable as u32) == 0 {
            return Ok(());
        }
        Err(if self.has(Flag::FlushFailed) {
            "a flush of the commit log failed; the store takes no messages until it is restarted"
        } else if self.has(Flag::DiskFull) {
            "the disk is nearly full"
        } else if self.has(Flag::WriteLogicsQueueError) {
            "a consume queue cannot be written"
        } else if self.has(Flag::WriteIndexFileError) {
            "the index cannot be written"
        } else {
            "writing is switched off"
        })
    }
}
