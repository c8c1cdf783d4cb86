//! [`ConfigFile`]: one of the JSON files under `<storePathRootDir>/config`, with its `.bak`.
//! What stands in them is encoded and decoded by the tables themselves.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::common::atomic_file;
use crate::common::sync::lock;

/// A table's file, written as a whole (spec: store 11.1).
///
/// ```text
/// topics.json.tmp   the next state while it is written
/// topics.json.bak   the state before
/// topics.json       the state; replaced by a rename, so it is always whole
/// ```
///
/// * Writers that wait while another writes share the next write: a thousand topics created at
///   once are not a thousand files written.
/// * A file that is missing, empty or not readable is looked for under its `.bak`; neither of them
///   is a table that was never changed. Only a damaged `.bak` too is an error.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    /// Change of the table up to which the file is written. Its lock makes writers take turns.
    written: Mutex<i64>,
}

impl ConfigFile {
    /// The file `name` of the store under `root`.
    pub fn new(root: &Path, name: &str) -> Self {
        Self { path: root.join("config").join(name), written: Mutex::new(i64::MIN) }
    }

    /// Reads the table; `Ok(None)` if there is no file yet.
    pub fn load<T>(&self, decode: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
        let mut backup = self.path.clone().into_os_string();
        backup.push(".bak");
        let backup = PathBuf::from(backup);
        let problem = match read(&self.path, &decode) {
            Ok(Some(table)) => return Ok(Some(table)),
            Ok(None) => None,
            Err(problem) => Some(problem),
        };
        if let Some(problem) = &problem {
            log::warn!("{}: {problem}; trying {}", self.path.display(), backup.display());
        }
        read(&backup, &decode).map_err(|problem| format!("{}: {problem}", backup.display()))
    }

    /// Writes the table unless change number `change` is in the file already. `encode` gives the
    /// table's text and the change up to which it is whole.
    pub fn save(&self, change: i64, encode: impl FnOnce() -> (i64, String)) -> io::Result<()> {
        let mut written = lock(&self.written);
        if *written >= change {
            return Ok(());
        }
        let (encoded, text) = encode();
        atomic_file::write(&self.path, text.as_bytes())?;
        *written = encoded;
        Ok(())
    }

    /// [`save`](Self::save) for those who cannot do more about a failure than say it.
    pub fn save_or_warn(&self, change: i64, encode: impl FnOnce() -> (i64, String)) {
        if let Err(error) = self.save(change, encode) {
            log::error!(
                "{} could not be written: {error}; the change is in memory only",
                self.path.display()
            );
        }
    }
}

/// The table in a file; `None` if there is none or it is empty.
fn read<T>(path: &Path, decode: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    match fs::read_to_string(path) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => decode(&text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
