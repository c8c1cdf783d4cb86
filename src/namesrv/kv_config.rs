//! [`KvConfig`]: texts by namespace and key, kept in one file.
//!
//! Clients and tools put what they like here. The one namespace that RocketMQ itself reads is
//! [`ORDER_TOPIC_CONFIG`].

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::common::atomic_file;
use crate::common::json::{FromJson, Json, Style, ToJson};
use crate::common::sync::lock;
use crate::json_body;

/// Namespace of order configurations: topic to `broker:queues;broker:queues`.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Limit of all namespaces, keys and values together. The file is written whole at each change.
const MAX_TEXT_BYTES: usize = 16 * 1024 * 1024;

type Tables = BTreeMap<String, BTreeMap<String, String>>;

json_body! {
    /// The file: `{"configTable":{namespace:{key:value}}}`.
    struct KvFile {
        /// Namespaces.
        config_table: Tables => "configTable",
    }
}

/// A change that was not made, or a file that could not be read.
#[derive(Debug)]
pub enum KvError {
    /// The file cannot be read or written.
    File(PathBuf, io::Error),
    /// The file is not what it should be.
    Content(PathBuf, String),
    /// There is too much already.
    Full,
}

impl fmt::Display for KvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "KV file {}: {error}", path.display()),
            Self::Content(path, what) => write!(
                f,
                "KV file {}: {what}; repair it, or move it away to start without entries",
                path.display()
            ),
            Self::Full => write!(f, "KV entries would take more than {MAX_TEXT_BYTES} bytes"),
        }
    }
}

impl std::error::Error for KvError {}

/// Texts by namespace and key.
///
/// Every change is in the file, atomically replaced, before it is acknowledged; one that cannot be
/// written is not made. (Java logs the error and keeps the change in memory.) A namespace whose
/// last key was deleted stays, empty: that is how the broker learns that no topic is ordered.
#[derive(Debug)]
pub struct KvConfig {
    path: PathBuf,
    tables: Mutex<Tables>,
}

impl KvConfig {
    /// Reads the file; without one there are no entries.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, KvError> {
        let path = path.into();
        let tables = match std::fs::read(&path) {
            Ok(bytes) => parse(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Tables::new(),
            Err(error) => return Err(KvError::File(path, error)),
        };
        Ok(Self { path, tables: Mutex::new(tables) })
    }

    /// One value.
    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        lock(&self.tables).get(namespace)?.get(key).cloned()
    }

    /// All entries of a namespace; `None` if it never had any.
    pub fn namespace(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        lock(&self.tables).get(namespace).cloned()
    }

    /// Adds or replaces an entry.
    pub fn put(&self, namespace: &str, key: &str, value: &str) -> Result<(), KvError> {
        self.change(|tables| {
            let table = tables.entry(namespace.to_owned()).or_default();
            table.insert(key.to_owned(), value.to_owned());
        })
    }

    /// Removes an entry. One that is not there is no error.
    pub fn delete(&self, namespace: &str, key: &str) -> Result<(), KvError> {
        if self.get(namespace, key).is_none() {
            return Ok(());
        }
        self.change(|tables| {
            if let Some(table) = tables.get_mut(namespace) {
                table.remove(key);
            }
        })
    }

    /// Changes a copy, writes it, and makes it the current one if that succeeded.
    fn change(&self, change: impl FnOnce(&mut Tables)) -> Result<(), KvError> {
        let mut tables = lock(&self.tables);
        let mut changed = tables.clone();
        change(&mut changed);
        if text_bytes(&changed) > MAX_TEXT_BYTES {
            return Err(KvError::Full);
        }
        let file = KvFile { config_table: changed };
        let text = file.to_json().write(Style::Fastjson);
        atomic_file::write(&self.path, text.as_bytes())
            .map_err(|error| KvError::File(self.path.clone(), error))?;
        *tables = file.config_table;
        Ok(())
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Tables, KvError> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Tables::new());
    }
    Json::parse(bytes)
        .and_then(|json| KvFile::from_json(&json))
        .map(|file| file.config_table)
        .map_err(|error| KvError::Content(path.to_owned(), error.to_string()))
}

fn text_bytes(tables: &Tables) -> usize {
    let table_bytes = |table: &BTreeMap<String, String>| -> usize {
        table.iter().map(|(key, value)| key.len() + value.len()).sum()
    };
    tables.iter().map(|(namespace, table)| namespace.len() + table_bytes(table)).sum()
}
