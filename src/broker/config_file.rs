//! [`ConfigFile`]: one of the JSON files under `<storePathRootDir>/config`, with its `.bak`.
//! What stands in them is encoded and decoded by the tables themselves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::common::atomic_file;
use crate::common::json::{FromJson, Json};
use crate::common::sync::lock;

/// A table's file, written as a whole (spec: store 11.1).
///
/// How it is replaced, and what its `.bak` is for, is told in [`atomic_file`]. Writers that wait while
/// another writes share the next write: a thousand topics made at once are not a thousand files
/// written.
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

    /// Reads the table; `Ok(None)` if there is no file yet. See [`atomic_file::load`].
    pub fn load<T: FromJson>(&self) -> Result<Option<T>, String> {
        atomic_file::load(&self.path, |text| {
            Json::parse(text.as_bytes())
                .and_then(|json| T::from_json(&json))
                .map_err(|error| error.to_string())
        })
    }

    /// When the file was last written, ms; `None` if there is none.
    pub fn modified_ms(&self) -> Option<i64> {
        let modified = std::fs::metadata(&self.path).ok()?.modified().ok()?;
        let age = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(age.as_millis()).ok()
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
