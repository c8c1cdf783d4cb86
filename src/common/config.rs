//! Java property files, and configuration structs declared once.
//!
//! [`config!`](crate::config) declares a struct with, for each key, the Java name, the default and
//! the meaning. From that come parsing, printing (`-p`, `-m`), runtime update and the reference
//! documentation.
//!
//! An unknown key is a warning with the nearest known name; a bad value is an error that names
//! file, line, key, value and what would be right.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::json::java_double;
pub use super::live::Live;
use super::{atomic_file, property_text};

/// Longest property file that is read, bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

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

/// The pairs of a property file. Its syntax is told in [`property_text`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertyFile {
    /// In order of appearance.
    pub entries: Vec<Entry>,
}

impl PropertyFile {
    /// Reads a file. It is UTF-8; one that is not is taken for ISO 8859-1, as Java takes every one.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path).map_err(|error| ConfigError {
            source: path.display().to_string(),
            line: 0,
            message: format!("cannot be read: {error}"),
        })?;
        Ok(Self::parse(text.strip_prefix('\u{feff}').unwrap_or(&text)))
    }

    /// Changes these keys in a file and leaves the rest of it, comments too, as it is. The file is
    /// replaced as a whole; one that is missing is made.
    pub fn change(path: &Path, changes: &[(&str, &str)]) -> io::Result<()> {
        let before = match read_text(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other?,
        };
        atomic_file::write(path, property_text::update(&before, changes).as_bytes())
    }

    /// Reads a text (a file's content, or the body of a config update request).
    pub fn parse(text: &str) -> Self {
        Self { entries: property_text::parse(text) }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    // Of ISO 8859-1 each byte is the character of its number.
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| error.as_bytes().iter().map(|byte| char::from(*byte)).collect()))
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

macro_rules! integer_values {
    ($($type:ty: $kind:literal),*) => { $(
        impl ConfigValue for $type {
            const KIND: &'static str = $kind;

            fn parse(text: &str) -> Result<Self, String> {
                let range = || format!("expected an {} from {} to {}", $kind, Self::MIN, Self::MAX);
                text.trim().parse().map_err(|_| range())
            }

            fn print(&self) -> String {
                self.to_string()
            }
        }
    )* };
}
integer_values!(i32: "integer", i64: "integer", u16: "integer", usize: "integer");

impl ConfigValue for bool {
    const KIND: &'static str = "true or false";

    fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            text if text.eq_ignore_ascii_case("true") => Ok(true),
            text if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err("expected true or false".to_owned()),
        }
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for f64 {
    const KIND: &'static str = "number";

    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().parse() {
            Ok(number) if f64::is_finite(number) => Ok(number),
            _ => Err("expected a number, for example 0.75".to_owned()),
        }
    }

    fn print(&self) -> String {
        java_double(*self)
    }
}

impl ConfigValue for String {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn print(&self) -> String {
        self.clone()
    }
}

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

/// Applies entries to several structs (a broker's file configures four); a key that several have is
/// set in each. Returns warnings, complete sentences, for keys that nobody knows (each with the
/// nearest known name) and for keys that stand twice, of which the last counts.
///
/// Blanks at the end of a value are dropped: Java keeps them, and nobody ever meant them.
///
/// # Errors
///
/// The first bad value. What stands before it has been applied by then: apply to copies what is in
/// use.
pub fn apply_entries(
    source: &str,
    entries: &[Entry],
    targets: &mut [&mut dyn DynConfig],
) -> Result<Vec<String>, ConfigError> {
    let mut warnings = Vec::new();
    let at = |entry: &Entry, message: String| ConfigError {
        source: source.to_owned(),
        line: entry.line,
        message,
    };
    for (index, entry) in entries.iter().enumerate() {
        let value = entry.value.trim_end();
        let mut known = false;
        for target in targets.iter_mut() {
            known |= target
                .set_key(&entry.key, value)
                .map_err(|expected| at(entry, format!("{}={value}: {expected}", entry.key)))?;
        }
        if !known {
            let names = targets.iter().flat_map(|target| target.key_names());
            let hint = nearest(&entry.key, names)
                .map_or_else(String::new, |name| format!(", did you mean {name}?"));
            warnings.push(at(entry, format!("unknown key {}{hint}", entry.key)).to_string());
        } else if entries[..index].iter().any(|earlier| earlier.key == entry.key) {
            let twice = format!("{} stands here again, this one counts", entry.key);
            warnings.push(at(entry, twice).to_string());
        }
    }
    Ok(warnings)
}

/// The name that is most like `key`, if one is like it at all: of three letters two must be right.
fn nearest<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower: Vec<char> = key.to_lowercase().chars().take(100).collect();
    names
        .map(|name| (edit_distance(&lower, name), name))
        .filter(|(distance, name)| distance * 3 <= name.len())
        .min()
        .map(|(_, name)| name)
}

/// Letters to change, add or remove to make one of the other, capitals being letters like others
/// (Levenshtein).
fn edit_distance(lower: &[char], name: &str) -> usize {
    let mut costs: Vec<usize> = (0..=lower.len()).collect();
    for (row, letter) in name.chars().flat_map(char::to_lowercase).enumerate() {
        // `diagonal` is the cost without this letter on either side.
        let mut diagonal = std::mem::replace(&mut costs[0], row + 1);
        for (column, other) in lower.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other);
            diagonal = costs[column + 1];
            costs[column + 1] = change.min(costs[column] + 1).min(diagonal + 1);
        }
    }
    costs[lower.len()]
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

#[cfg(test)]
mod tests {
    use super::*;

    crate::config! {
        /// One struct of a file.
        struct First {
            /// A number.
            queues: i32 = "defaultTopicQueueNums", 8;
            /// A text.
            name: String = "brokerName", "broker-a";
            /// Both structs have it.
            port: u16 = "listenPort", 10911u16;
        }
    }

    crate::config! {
        /// Another struct of the same file.
        struct Second {
            /// A choice.
            enabled: bool = "autoCreateTopicEnable", true;
            /// A share.
            ratio: f64 = "ratio", 0.75;
            /// Both structs have it.
            port: u16 = "listenPort", 8888u16;
        }
    }

    fn apply(text: &str) -> Result<(First, Second, Vec<String>), String> {
        let (mut first, mut second) = (First::default(), Second::default());
        let file = PropertyFile::parse(text);
        let warnings = apply_entries("b.conf", &file.entries, &mut [&mut first, &mut second]);
        warnings.map(|warnings| (first, second, warnings)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_struct_takes_its_keys() {
        let text = "brokerName=x y \nlistenPort= 10\nautoCreateTopicEnable=FALSE\nratio=1";
        let (first, second, warnings) = apply(text).unwrap();
        assert_eq!((first.name.as_str(), first.port, second.port), ("x y", 10, 10));
        assert_eq!((first.queues, second.enabled), (8, false));
        assert!(warnings.is_empty());
        let expected = [("autoCreateTopicEnable", "false"), ("ratio", "1.0"), ("listenPort", "10")];
        assert_eq!(second.entries(), expected.map(|(key, value)| (key, value.to_owned())));
        assert_eq!(First::keys()[0].doc.trim(), "A number.");
        assert_eq!(First::keys()[0].kind, "integer");
    }

    #[test]
    fn a_bad_value_is_an_error_that_says_all() {
        for (text, expected) in [
            (
                "# c\ndefaultTopicQueueNums=eight",
                "b.conf:2: defaultTopicQueueNums=eight: \
                 expected an integer from -2147483648 to 2147483647",
            ),
            ("listenPort=70000", "b.conf:1: listenPort=70000: expected an integer from 0 to 65535"),
            (
                "autoCreateTopicEnable=yes",
                "b.conf:1: autoCreateTopicEnable=yes: expected true or false",
            ),
            ("ratio=NaN", "b.conf:1: ratio=NaN: expected a number, for example 0.75"),
        ] {
            assert_eq!(apply(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn an_unknown_key_is_a_warning_with_a_hint() {
        for (text, expected) in [
            ("brokername=x", "b.conf:1: unknown key brokername, did you mean brokerName?"),
            ("listenPrt=1", "b.conf:1: unknown key listenPrt, did you mean listenPort?"),
            ("somethingElse=1", "b.conf:1: unknown key somethingElse"),
            ("ratio=1\nratio=2", "b.conf:2: ratio stands here again, this one counts"),
        ] {
            assert_eq!(apply(text).unwrap().2, [expected]);
        }
    }

    #[test]
    fn distances() {
        for (left, right, distance) in
            [("", "abc", 3), ("abc", "abc", 0), ("ABC", "abc", 0), ("kitten", "sitting", 3)]
        {
            let left: Vec<char> = left.to_lowercase().chars().collect();
            assert_eq!(edit_distance(&left, right), distance);
        }
    }

    #[test]
    fn files_in_either_encoding() {
        let path = std::env::temp_dir().join(format!("config-{}.conf", std::process::id()));
        for bytes in [&b"\xEF\xBB\xBFname=\xC3\xA4"[..], b"name=\xE4"] {
            std::fs::write(&path, bytes).unwrap();
            let file = PropertyFile::load(&path).unwrap();
            let expected = Entry { key: "name".into(), value: "ä".into(), line: 1 };
            assert_eq!(file.entries, [expected]);
        }
        std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
        assert!(PropertyFile::load(&path).unwrap_err().to_string().contains("more than"));
        std::fs::remove_file(&path).unwrap();
        let error = PropertyFile::load(&path).unwrap_err().to_string();
        assert!(error.contains(".conf: cannot be read: No such file"), "{error}");
    }

    #[test]
    fn a_file_is_changed_in_place() {
        let path = std::env::temp_dir().join(format!("change-{}.conf", std::process::id()));
        let _ = std::fs::remove_file(&path);
        PropertyFile::change(&path, &[("a", "1")]).unwrap();
        std::fs::write(&path, "# mine\na=1\nb=2\n").unwrap();
        PropertyFile::change(&path, &[("a", "ü"), ("c", "3")]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "# mine\na=\\u00fc\nb=2\nc=3\n");
        for ending in ["conf", "conf.bak"] {
            std::fs::remove_file(path.with_extension(ending)).unwrap();
        }
    }

    #[test]
    fn a_live_configuration_changes_for_the_next_reader() {
        let live = Live::new(First::default());
        let before = live.get();
        live.update(|config| config.queues = 4);
        assert_eq!((before.queues, live.get().queues), (8, 4));
    }
}
