//! Replacing a file as a whole, and reading it back: after a crash at any moment the old content is
//! there or the new one, never a part.
//!
//! ```text
//! topics.json.tmp   the new content while it is written; nobody reads it
//! topics.json.bak   the content before; read when topics.json is missing or damaged
//! topics.json       the content
//! ```
//!
//! The names are RocketMQ's. Its order of writing is not: Java deletes the file before it renames
//! the new one, without asking the disk to write either, so that a crash can leave the old state
//! under `.bak` or nothing whole at all. Here the new content is on the disk before a rename puts it
//! in place, and the old one stays as a second name of the same file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Replaces the content of `path`; missing directories are made. What was there before stays as
/// `<path>.bak`. A file that has this content already is left alone.
///
/// Writers of one path take turns by a lock of their own: two at once would share the `.tmp`.
///
/// # Errors
///
/// The old content is still in place, unless it is the directory that could not be written at the
/// end: then the new content is in place, and a power failure may take it back.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // The rename itself is durable once the directory is; that of a writer who failed there, too.
    let sync = || File::open(directory)?.sync_all();
    if has_content(path, content) {
        return sync();
    }
    fs::create_dir_all(directory)?;
    let temporary = with_ending(path, ".tmp");
    let replaced = write_durably(&temporary, content)
        .and_then(|()| keep_as_backup(path))
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = replaced {
        // A part of a file is of no use to anybody, and may have filled the disk.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync()
}

/// Whether the file is this. One whose size differs is not read.
fn has_content(path: &Path, content: &[u8]) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.len() == content.len() as u64)
        && fs::read(path).is_ok_and(|found| found == content)
}

fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Gives the present file the second name `.bak`. Where a file system has no second names it is
/// copied.
fn keep_as_backup(path: &Path) -> io::Result<()> {
    let backup = with_ending(path, ".bak");
    let ignore_missing = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    if !path.exists() {
        return Ok(());
    }
    ignore_missing(fs::remove_file(&backup))?;
    match fs::hard_link(path, &backup) {
        Ok(()) => Ok(()),
        Err(_) => ignore_missing(fs::copy(path, &backup).map(|_| ())),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Reads and decodes the file, or its `.bak` if it is missing, empty or does not decode (said in the
/// log). `None` if there is neither: nothing was ever written.
///
/// # Errors
///
/// There is something, and none of it can be used: a sentence naming the files and what is wrong.
/// (Java takes a damaged file without `.bak` for an empty one. Starting with nothing where something
/// was would hide the damage.)
pub fn load<T>(
    path: &Path,
    decode: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let problem = match read(path, &decode) {
        Ok(Some(value)) => return Ok(Some(value)),
        Ok(None) => None,
        Err(problem) => Some(format!("{}: {problem}", path.display())),
    };
    let backup = with_ending(path, ".bak");
    match (read(&backup, &decode), problem) {
        (Ok(Some(value)), problem) => {
            let problem = problem.unwrap_or_else(|| format!("{} is missing", path.display()));
            log::warn!("{problem}; {} is used in its place", backup.display());
            Ok(Some(value))
        }
        (Ok(None), None) => Ok(None),
        (Ok(None), Some(problem)) => Err(format!("{problem}; there is no {}", backup.display())),
        (Err(error), None) => Err(format!("{}: {error}", backup.display())),
        (Err(error), Some(problem)) => Err(format!("{problem}; {}: {error}", backup.display())),
    }
}

/// What is in a file; `None` if there is none or it is empty.
fn read<T>(path: &Path, decode: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim_ascii().is_empty() => Ok(None),
        Ok(text) => decode(&text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own, removed at the end, and a file in a folder that is not there yet.
    struct Folder {
        root: PathBuf,
        path: PathBuf,
    }

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("atomic-file-{name}-{}", std::process::id());
            let root = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&root);
            Self { path: root.join("config/b.json"), root }
        }

        fn content(&self, ending: &str) -> Option<String> {
            fs::read_to_string(with_ending(&self.path, ending)).ok()
        }

        /// Texts that start with `ok` decode.
        fn load(&self) -> Result<Option<String>, String> {
            let decode = |text: &str| match text.starts_with("ok") {
                true => Ok(text.to_owned()),
                false => Err("it is not ok".to_owned()),
            };
            load(&self.path, decode)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    #[test]
    fn keeps_what_was_there_before() {
        let folder = Folder::new("before");
        assert_eq!(folder.load(), Ok(None));
        for (content, before) in
            [("ok 1", None), ("ok 2", Some("ok 1")), ("ok 2", Some("ok 1")), ("ok 3", Some("ok 2"))]
        {
            write(&folder.path, content.as_bytes()).unwrap();
            assert_eq!(folder.content("").as_deref(), Some(content));
            assert_eq!(folder.content(".bak").as_deref(), before);
            assert_eq!(folder.content(".tmp"), None);
            assert_eq!(folder.load(), Ok(Some(content.to_owned())));
        }
    }

    /// A crash after each step of ours and of Java's leaves a state that loads.
    #[test]
    fn every_crash_leaves_something_whole() {
        let folder = Folder::new("crash");
        fs::create_dir_all(folder.path.parent().unwrap()).unwrap();
        for (tmp, file, bak, loaded) in [
            (Some("ok n"), None, None, None),
            (Some("ok n"), Some("ok 1"), None, Some("ok 1")),
            (Some("ok n"), Some("ok 1"), Some("ok 0"), Some("ok 1")),
            (Some("ok ne"), None, Some("ok 1"), Some("ok 1")),
            (None, Some(""), Some("ok 1"), Some("ok 1")),
            (None, Some("half"), Some("ok 1"), Some("ok 1")),
            (None, Some(""), None, None),
        ] {
            for (ending, content) in [(".tmp", tmp), ("", file), (".bak", bak)] {
                let path = with_ending(&folder.path, ending);
                let _ = fs::remove_file(&path);
                if let Some(content) = content {
                    fs::write(path, content).unwrap();
                }
            }
            assert_eq!(folder.load(), Ok(loaded.map(str::to_owned)));
            write(&folder.path, b"ok after").unwrap();
            assert_eq!(folder.load(), Ok(Some("ok after".to_owned())));
        }
    }

    #[test]
    fn damage_is_an_error() {
        let folder = Folder::new("damage");
        write(&folder.path, b"half").unwrap();
        let error = folder.load().unwrap_err();
        assert!(error.contains("b.json: it is not ok; there is no "), "{error}");
        write(&folder.path, b"hal").unwrap();
        let error = folder.load().unwrap_err();
        assert!(error.contains("b.json.bak: it is not ok"), "{error}");
        fs::remove_file(&folder.path).unwrap();
        assert!(folder.load().is_err());
    }

    #[test]
    fn a_failure_leaves_the_old_content() {
        let folder = Folder::new("failure");
        write(&folder.path, b"ok 1").unwrap();
        // What cannot be removed or replaced by a file: a folder with something in it.
        let in_the_way = with_ending(&folder.path, ".bak").join("x");
        fs::create_dir_all(&in_the_way).unwrap();
        assert!(write(&folder.path, b"ok 2").is_err());
        assert_eq!(folder.load(), Ok(Some("ok 1".to_owned())));
        assert_eq!(folder.content(".tmp"), None);
        let below_a_file = folder.path.join("c.json");
        assert!(write(&below_a_file, b"ok").is_err());
    }
}
