//! Replacing a file as a whole: after a crash at any moment the old content is there or the new
//! one, never a part.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Replaces the content of `path`; missing directories are made.
///
/// ```text
/// <path>.tmp   the new content while it is written; durable before it is renamed
/// <path>.bak   the content before
/// <path>       replaced by the rename
/// ```
///
/// Writers of one path take turns by a lock of their own: two at once would share the `.tmp`.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory)?;
    let temporary = with_ending(path, ".tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    match fs::copy(path, with_ending(path, ".bak")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(&temporary, path)?;
    // The rename itself is durable once the directory is.
    File::open(directory)?.sync_all()
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_was_there_before() {
        let name = format!("atomic-file-test-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let path = directory.join("a/b.json");
        write(&path, b"one").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert!(!with_ending(&path, ".bak").exists());
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read(with_ending(&path, ".bak")).unwrap(), b"one");
        assert!(!with_ending(&path, ".tmp").exists());
        fs::remove_dir_all(&directory).unwrap();
    }
}
