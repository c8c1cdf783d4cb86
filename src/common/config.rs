//! Java property files, and configuration structs declared once.
//!
//! [`config!`](crate::config) declares a struct with, for each key, the Java name, the default and
//! the meaning. From that come parsing, printing (`-p`, `-m`), runtime update and the reference
//! documentation.
//!
//! An unknown key is a warning with the nearest known name; a bad value is an error that names
//! file, line, key, value and what would be right.

use std::fmt;
use std::path::Path;

/// One `key=value` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key.
    pub key: String,
    /// Value, escapes resolved, UTF-8.
    pub value: String,
    /// Line in the file, from 1; 0 for words of a command line or of a request.
    pub line: u32,
}

/// Lines of a property file: comments (`#`, `!`), continuation lines, escapes as `java.util.Properties`, UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertyFile {
    /// In order of appearance.
    pub entries: Vec<Entry>,
}

impl PropertyFile {
    /// Reads a file.
    pub fn load(_path: &Path) -> Result<Self, ConfigError> {
        todo!("owner: common")
    }

    /// Reads a text (a file's content, or the body of a config update request).
    pub fn parse(_text: &str) -> Self {
        todo!("owner: common")
    }
}

/// A problem in a configuration, complete enough to be printed alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// File (or `command line`), if known.
    pub source: String,
    /// Line, 0 if none.
    pub line: u32,
    /// Sentence: key, value and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.source, self.message)
        } else {
            write!(f, "{}:{}: {}", self.source, self.line, self.message)
        }
    }
}

impl std::error::Error for ConfigError {}

/// What is known of a key without a value.
#[derive(Clone, Copy, Debug)]
pub struct KeyInfo {
    /// Java's name.
    pub name: &'static str,
    /// Type in words: `integer`, `true or false`, `text`.
    pub kind: &'static str,
    /// Meaning.
    pub doc: &'static str,
}

/// What [`config!`](crate::config) implements.
pub trait ConfigStruct: Default + Clone + Send + Sync + 'static {
    /// All keys, in the order of declaration.
    fn keys() -> Vec<KeyInfo>;

    /// Sets one key. `Ok(false)`: this struct does not have it. `Err`: what would be right.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, String>;

    /// Current values as text, in the order of declaration.
    fn entries(&self) -> Vec<(&'static str, String)>;
}

/// A value of a configuration key.
pub trait ConfigValue: Sized {
    /// Type in words.
    const KIND: &'static str;
    /// Reads it; the error says what would be right.
    fn parse(text: &str) -> Result<Self, String>;
    /// Writes it as Java prints it.
    fn print(&self) -> String;
}

macro_rules! values_owned_by_common {
    ($($type:ty: $kind:literal),*) => { $(
        impl ConfigValue for $type {
            const KIND: &'static str = $kind;
            fn parse(_text: &str) -> Result<Self, String> { todo!("owner: common") }
            fn print(&self) -> String { self.to_string() }
        }
    )* };
}
values_owned_by_common!(bool: "true or false", i32: "integer", i64: "integer", u16: "port", usize: "integer", f64: "number", String: "text");

/// Declares a configuration struct.
///
/// ```
/// rocketmq::config! {
///     /// Example.
///     pub struct Example {
///         /// Queues of an automatically created topic.
///         pub default_topic_queue_nums: i32 = "defaultTopicQueueNums", 8;
///     }
/// }
/// assert_eq!(Example::default().default_topic_queue_nums, 8);
/// ```
#[macro_export]
macro_rules! config {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[doc = $doc:literal])* $field_vis:vis $field:ident : $type:ty = $key:literal, $default:expr;)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name { $($(#[doc = $doc])* $field_vis $field: $type),* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default.into()),* }
            }
        }

        impl $crate::common::config::ConfigStruct for $name {
            fn keys() -> Vec<$crate::common::config::KeyInfo> {
                vec![$($crate::common::config::KeyInfo {
                    name: $key,
                    kind: <$type as $crate::common::config::ConfigValue>::KIND,
                    doc: concat!($($doc),*),
                }),*]
            }

            fn set(&mut self, key: &str, value: &str) -> Result<bool, String> {
                match key {
                    $($key => {
                        self.$field = <$type as $crate::common::config::ConfigValue>::parse(value)?;
                        Ok(true)
                    })*
                    _ => Ok(false),
                }
            }

            fn entries(&self) -> Vec<(&'static str, String)> {
                vec![$(($key, $crate::common::config::ConfigValue::print(&self.$field))),*]
            }
        }
    };
}

/// A configuration that can change while it is used: readers take a snapshot.
#[derive(Debug, Default)]
pub struct Live<T>(std::sync::RwLock<std::sync::Arc<T>>);

impl<T: Clone> Live<T> {
    /// Wraps a configuration.
    pub fn new(config: T) -> Self {
        Self(std::sync::RwLock::new(std::sync::Arc::new(config)))
    }

    /// The configuration as it is now.
    pub fn get(&self) -> std::sync::Arc<T> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Changes it; readers that hold a snapshot keep theirs.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut slot = self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut config = (**slot).clone();
        let result = change(&mut config);
        *slot = std::sync::Arc::new(config);
        result
    }
}

/// Applies entries to several structs (a broker's file configures four). Returns warnings for
/// unknown keys, each with the nearest known name.
pub fn apply_entries(
    _source: &str,
    _entries: &[Entry],
    _targets: &mut [&mut dyn DynConfig],
) -> Result<Vec<String>, ConfigError> {
    todo!("owner: common")
}

/// [`ConfigStruct`] behind a reference.
pub trait DynConfig {
    /// See [`ConfigStruct::set`].
    fn set_key(&mut self, key: &str, value: &str) -> Result<bool, String>;
    /// Names of all keys.
    fn key_names(&self) -> Vec<&'static str>;
}

impl<T: ConfigStruct> DynConfig for T {
    fn set_key(&mut self, key: &str, value: &str) -> Result<bool, String> {
        self.set(key, value)
    }

    fn key_names(&self) -> Vec<&'static str> {
        T::keys().iter().map(|key| key.name).collect()
    }
}
