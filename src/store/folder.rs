//! Folders: their names, and the file system that they lie on, made durable.

use std::fs::File;
use std::io;
use std::path::Path;

use super::fault::{self, Flushed};
use crate::common::os;

/// Forces everything on the file system of `folder` to the disk: far less work than flushing
/// thousands of its files one after another.
pub fn flush_file_system(folder: &Path) -> io::Result<()> {
    fault::flush(folder, Flushed::FileSystem, || os::flush_file_system(&File::open(folder)?))
}

/// Makes the names in a folder durable: a new file survives a power cut only after this.
pub fn flush_folder(folder: &Path) -> io::Result<()> {
    fault::flush(folder, Flushed::Names, || File::open(folder)?.sync_all())
}

/// Makes a folder, and those above it that are missing, and their names durable.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| *above != Path::new(""));
    if let Some(above) = above {
        make_folder(above)?;
    }
    std::fs::create_dir_all(folder)?;
    flush_folder(above.unwrap_or(Path::new(".")))
}
