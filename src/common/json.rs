//! RocketMQ's JSON dialect, fastjson's: reads what Java, Go, C++ and Node clients emit, writes what
//! all of them read.
//!
//! Beyond JSON it has integer keys without quotes and whole objects as keys
//! (`{{"brokerName":"b","queueId":0,"topic":"T"}:5}`), single quotes, unquoted names, trailing
//! commas, comments, numbers as strings and strings as numbers.
//!
//! Why it matters: a broker's offset table is `{0:5,1:7}`, a consumer's status is a map from queues
//! to numbers, and the C++ client writes `"mqTable":}` when it has no queue. No JSON library reads
//! any of these, and each is on the wire every day.
//!
//! [`Json`] is the tree. [`json_body!`](crate::json_body) declares a struct together with the names
//! of its members; from that come [`ToJson`] and [`FromJson`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

mod parse;
mod write;

pub use write::java_double;

/// A value. Objects keep their order; a key may be any value.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Json {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without fraction that fits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// Array.
    Array(Vec<Json>),
    /// Object: keys are [`Json::Text`], [`Json::Int`] or whole objects.
    Object(Vec<(Json, Json)>),
}

/// How a tree is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Compact, as Java's `JSON.toJSONString`: integer keys without quotes, UTF-8 as it is.
    Fastjson,
    /// Compact standard JSON: integer keys quoted (every client reads it).
    Standard,
    /// Standard for browsers, as a 4.9.8 name server answers routes to 4.9.4 and later: keys
    /// sorted, non-ASCII as `\uXXXX`, `/` as `\/`, integers beyond 2^53 as strings.
    Browser,
    /// Tab-indented as the files under `config/`, integer keys without quotes.
    Pretty,
}

/// What was wrong, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Byte position in the text; 0 when a tree does not have the asked shape.
    pub at: usize,
    /// What was expected or found.
    pub what: String,
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JSON, byte {}: {}", self.at, self.what)
    }
}

impl std::error::Error for JsonError {}

impl Json {
    /// Reads a text: one value, with blanks and comments around it. Limited are the length of the
    /// text (64 MiB), the nesting (100 levels) and the number of values (4 million).
    pub fn parse(text: &[u8]) -> Result<Json, JsonError> {
        parse::parse(text)
    }

    /// Writes the tree.
    pub fn write(&self, style: Style) -> String {
        let mut out = String::new();
        write::write(self, style, 0, &mut out);
        out
    }

    /// The member `name`: exact, else without regard to case and underscores (as fastjson). Of
    /// members of the same name it is the last.
    pub fn get(&self, name: &str) -> Option<&Json> {
        let Json::Object(members) = self else { return None };
        let find = |matches: &dyn Fn(&str) -> bool| {
            members.iter().rev().find_map(|(key, value)| match key {
                Json::Text(key) if matches(key) => Some(value),
                _ => None,
            })
        };
        find(&|key| key == name).or_else(|| find(&|key| is_same_name(key, name)))
    }

    /// The object that this is, or that this text holds: fastjson reads a map key
    /// `"{\"brokerName\":...}"` as the object. An error if it is neither; `null` is an object
    /// without members.
    pub fn as_object(&self) -> Result<Cow<'_, Json>, JsonError> {
        match self {
            Json::Object(_) => Ok(Cow::Borrowed(self)),
            Json::Null => Ok(Cow::Owned(Json::Object(Vec::new()))),
            Json::Text(text) if text.trim_start().starts_with('{') => {
                Json::parse(text.as_bytes()).map(Cow::Owned)
            }
            other => Err(JsonError::shape(other, "an object")),
        }
    }

    /// An object from names and values; `Null` members are left out, as fastjson does.
    pub fn object(members: impl IntoIterator<Item = (&'static str, Json)>) -> Json {
        Json::Object(
            members
                .into_iter()
                .filter(|(_, value)| *value != Json::Null)
                .map(|(name, value)| (Json::Text(name.to_owned()), value))
                .collect(),
        )
    }
}

/// Becomes a tree.
pub trait ToJson {
    /// The tree.
    fn to_json(&self) -> Json;
}

/// Comes from a tree, leniently: null or missing collections are empty, numbers may be strings.
pub trait FromJson: Sized {
    /// Reads the tree.
    fn from_json(json: &Json) -> Result<Self, JsonError>;

    /// Reads a tree that may be left out. A type of names answers `None` to a name that it does not
    /// know, as fastjson does.
    fn optional(json: &Json) -> Result<Option<Self>, JsonError> {
        Self::from_json(json).map(Some)
    }
}

/// Declares a body: a struct whose fields have the names they carry in JSON.
///
/// ```
/// rocketmq::json_body! {
///     /// A queue of a topic on one broker.
///     pub struct Queue {
///         /// Broker.
///         pub broker_name: String => "brokerName",
///         /// Index.
///         pub queue_id: i32 => "queueId",
///     }
/// }
/// ```
///
/// Members are written in the order of declaration (declare them alphabetically, as Java writes
/// them) and `None` is left out. A missing or `null` member takes its type's `Default` value, or the
/// one that is written after the name: `pub perm: i32 => "perm" = 6`.
#[macro_export]
macro_rules! json_body {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty => $json:literal $(= $default:expr)?),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type),* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::json_body!(@default $type $(, $default)?)),* }
            }
        }

        impl $crate::common::json::ToJson for $name {
            fn to_json(&self) -> $crate::common::json::Json {
                $crate::common::json::Json::object([
                    $(($json, $crate::common::json::ToJson::to_json(&self.$field))),*
                ])
            }
        }

        impl $crate::common::json::FromJson for $name {
            fn from_json(json: &$crate::common::json::Json) -> Result<Self, $crate::common::json::JsonError> {
                let mut value = Self::default();
                let json = json.as_object()?;
                $(
                    if let Some(member) = json.get($json)
                        && *member != $crate::common::json::Json::Null
                    {
                        value.$field = $crate::common::json::FromJson::from_json(member)
                            .map_err(|error| error.within($json))?;
                    }
                )*
                Ok(value)
            }
        }
    };
    (@default $type:ty, $default:expr) => { $default };
    (@default $type:ty) => { <$type as Default>::default() };
}

/// Whether two names are one for fastjson: case and underscores do not count.
fn is_same_name(left: &str, right: &str) -> bool {
    fn letters(name: &str) -> impl Iterator<Item = u8> {
        name.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase())
    }
    letters(left).eq(letters(right))
}

impl JsonError {
    /// A tree that is not what it should be.
    pub fn shape(found: &Json, expected: &str) -> Self {
        let found = match found {
            Json::Array(_) => "an array".to_owned(),
            Json::Object(_) => "an object".to_owned(),
            Json::Text(text) => format!("{text:.60?}"),
            other => other.write(Style::Fastjson),
        };
        Self { at: 0, what: format!("{found} is not {expected}") }
    }

    /// The error with the member in which it happened before it.
    pub fn within(self, member: &str) -> Self {
        Self { at: self.at, what: format!("{member}: {}", self.what) }
    }
}

macro_rules! integers {
    ($($type:ty),*) => { $(
        impl ToJson for $type {
            fn to_json(&self) -> Json {
                Json::Int(i64::from(*self))
            }
        }

        impl FromJson for $type {
            fn from_json(json: &Json) -> Result<Self, JsonError> {
                let wrong = || JsonError::shape(json, "an integer in range");
                integer(json).and_then(|number| number.try_into().ok()).ok_or_else(wrong)
            }
        }
    )* };
}
integers!(i32, i64, u32);

/// The integer that a value stands for; a fraction is cut off, an empty text is 0, as in fastjson.
fn integer(json: &Json) -> Option<i64> {
    match json {
        Json::Int(number) => Some(*number),
        Json::Float(number) if number.abs() < 9e18 => Some(*number as i64),
        Json::Bool(value) => Some(i64::from(*value)),
        Json::Text(text) if text.trim().is_empty() => Some(0),
        Json::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

impl ToJson for bool {
    fn to_json(&self) -> Json {
        Json::Bool(*self)
    }
}

impl FromJson for bool {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        match json {
            Json::Bool(value) => Ok(*value),
            Json::Int(number) => Ok(*number == 1),
            Json::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "y" | "t" => Ok(true),
                "false" | "0" | "n" | "f" | "" => Ok(false),
                _ => Err(JsonError::shape(json, "true or false")),
            },
            other => Err(JsonError::shape(other, "true or false")),
        }
    }
}

impl ToJson for f64 {
    fn to_json(&self) -> Json {
        Json::Float(*self)
    }
}

impl FromJson for f64 {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        match json {
            Json::Float(number) => Ok(*number),
            Json::Text(text) => text.trim().parse().map_err(|_| JsonError::shape(json, "a number")),
            other => integer(other)
                .map(|number| number as f64)
                .ok_or_else(|| JsonError::shape(other, "a number")),
        }
    }
}

impl ToJson for String {
    fn to_json(&self) -> Json {
        Json::Text(self.clone())
    }
}

impl FromJson for String {
    /// Numbers become their digits, and a tree becomes its text, as in fastjson.
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        Ok(match json {
            Json::Text(text) => text.clone(),
            Json::Null => String::new(),
            other => other.write(Style::Fastjson),
        })
    }
}

impl ToJson for Json {
    fn to_json(&self) -> Json {
        self.clone()
    }
}

impl FromJson for Json {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        Ok(json.clone())
    }
}

impl<T: ToJson> ToJson for Option<T> {
    fn to_json(&self) -> Json {
        self.as_ref().map_or(Json::Null, ToJson::to_json)
    }
}

impl<T: FromJson> FromJson for Option<T> {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        if *json == Json::Null { Ok(None) } else { T::optional(json) }
    }
}

impl<T: ToJson> ToJson for Vec<T> {
    fn to_json(&self) -> Json {
        Json::Array(self.iter().map(ToJson::to_json).collect())
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        match json {
            Json::Array(items) => {
                items.iter().filter(|item| **item != Json::Null).map(T::from_json).collect()
            }
            Json::Null => Ok(Vec::new()),
            other => Err(JsonError::shape(other, "an array")),
        }
    }
}

impl<T: ToJson + Ord> ToJson for BTreeSet<T> {
    fn to_json(&self) -> Json {
        Json::Array(self.iter().map(ToJson::to_json).collect())
    }
}

impl<T: FromJson + Ord> FromJson for BTreeSet<T> {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        Vec::from_json(json).map(|list| list.into_iter().collect())
    }
}

/// Maps: keys become what their type writes: text, an integer key, or a whole object.
impl<K: ToJson, V: ToJson> ToJson for BTreeMap<K, V> {
    fn to_json(&self) -> Json {
        Json::Object(self.iter().map(|(key, value)| (key.to_json(), value.to_json())).collect())
    }
}

impl<K: FromJson + Ord, V: FromJson> FromJson for BTreeMap<K, V> {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        entries(json)?.collect()
    }
}

/// The entries of a map. Those without a value are left out.
fn entries<'a, K: FromJson, V: FromJson>(
    json: &'a Json,
) -> Result<impl Iterator<Item = Result<(K, V), JsonError>> + 'a, JsonError> {
    let members: &[(Json, Json)] = match json {
        Json::Object(members) => members,
        Json::Null => &[],
        other => return Err(JsonError::shape(other, "an object")),
    };
    let is_present = |(_, value): &&(Json, Json)| *value != Json::Null;
    Ok(members.iter().filter(is_present).map(|(key, value)| {
        let within = |error: JsonError| error.within(&key.write(Style::Fastjson));
        Ok((K::from_json(key).map_err(within)?, V::from_json(value).map_err(within)?))
    }))
}

impl<K: ToJson + std::hash::Hash + Eq, V: ToJson> ToJson for HashMap<K, V> {
    fn to_json(&self) -> Json {
        Json::Object(self.iter().map(|(key, value)| (key.to_json(), value.to_json())).collect())
    }
}

impl<K: FromJson + std::hash::Hash + Eq, V: FromJson> FromJson for HashMap<K, V> {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        entries(json)?.collect()
    }
}

#[cfg(test)]
mod tests;
