//! [`ConfigFile`]: one of the JSON files under `<storePathRootDir>/config`, with its `.bak`.
//! What stands in them is encoded and decoded by the tables themselves.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

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
        Self::at(root.join("config").join(name))
    }

    /// The file at a path.
    pub fn at(path: PathBuf) -> Self {
        Self { path, written: Mutex::new(i64::MIN) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the table; `Ok(None)` if there is no file yet.
    pub fn load<T>(&self, decode: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
        let backup = self.sibling("bak");
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
        self.write(&text)?;
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

    fn sibling(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(suffix);
        name.into()
    }

    /// Replaces the file as a whole.
    pub fn write(&self, text: &str) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let next = self.sibling("tmp");
        let mut file = fs::File::create(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        drop(file);
        match fs::copy(&self.path, self.sibling("bak")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&next, &self.path)
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
