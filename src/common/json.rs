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

use super::digits;

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

    /// The member `name`: exact, else without regard to case, underscores and dashes (as fastjson).
    /// Of members of the same name it is the last.
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

    /// The member `name` that is true or false: the name may also begin with `is`.
    pub fn flag(&self, name: &str) -> Option<&Json> {
        self.get(name).or_else(|| self.get(&format!("is{name}")))
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

    /// Whether a member is as good as none: `null` is; so are some texts in place of numbers and
    /// flags, and the empty one in place of an object.
    fn is_absent(json: &Json) -> bool {
        *json == Json::Null
    }

    /// The same of an item of an array.
    fn is_absent_item(json: &Json) -> bool {
        *json == Json::Null
    }

    /// Whether it is true or false, and nothing else.
    const IS_FLAG: bool = false;
}

/// What fastjson takes for no number and no flag.
fn is_absent_scalar(json: &Json) -> bool {
    match json {
        Json::Null => true,
        Json::Text(text) => matches!(text.as_str(), "" | "null" | "NULL"),
        _ => false,
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
                    let member = if <$type as $crate::common::json::FromJson>::IS_FLAG {
                        json.flag($json)
                    } else {
                        json.get($json)
                    };
                    if let Some(member) = member
                        && !<$type as $crate::common::json::FromJson>::is_absent(member)
                    {
                        value.$field = $crate::common::json::FromJson::from_json(member)
                            .map_err(|error| error.within($json))?;
                    }
                )*
                Ok(value)
            }

            fn is_absent(json: &$crate::common::json::Json) -> bool {
                use $crate::common::json::Json;
                matches!(json, Json::Null) || matches!(json, Json::Text(text) if text.is_empty())
            }
        }
    };
    (@default $type:ty, $default:expr) => { $default };
    (@default $type:ty) => { <$type as Default>::default() };
}

/// Whether two names are one for fastjson: case, underscores and dashes do not count.
pub fn is_same_name(left: &str, right: &str) -> bool {
    fn letters(name: &str) -> impl Iterator<Item = u8> {
        let counts = |byte: &u8| !matches!(*byte, b'_' | b'-');
        name.bytes().filter(counts).map(|byte| byte.to_ascii_lowercase())
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
    ($($type:ty: $width:ident),*) => { $(
        impl ToJson for $type {
            fn to_json(&self) -> Json {
                Json::Int(i64::from(*self))
            }
        }

        impl FromJson for $type {
            fn from_json(json: &Json) -> Result<Self, JsonError> {
                let wrong = || JsonError::shape(json, "an integer in range");
                let number = integer(json, Width::$width);
                number.and_then(|number| number.try_into().ok()).ok_or_else(wrong)
            }

            fn is_absent(json: &Json) -> bool {
                is_absent_scalar(json)
            }

            fn is_absent_item(json: &Json) -> bool {
                is_absent_scalar(json)
            }
        }
    )* };
}
integers!(i32: Int, i64: Long, u32: Int);

/// For fastjson, what says an int is not always what says a long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Int,
    Long,
}

/// The integer that a value stands for, as in fastjson: a fraction is cut off, a text may have commas
/// in it. One that is to be an int may also be true or false, and its text may end in `.0`; what says
/// that there is none is 0 here.
fn integer(json: &Json, width: Width) -> Option<i64> {
    match json {
        Json::Int(number) => Some(*number),
        Json::Float(number) if number.abs() < 9e18 => Some(*number as i64),
        Json::Bool(value) if width == Width::Int => Some(i64::from(*value)),
        Json::Text(_) if is_absent_scalar(json) => Some(0),
        Json::Text(text) => {
            let text = text.replace(',', "");
            let whole = match text.split_once('.') {
                Some((whole, zeros)) if width == Width::Int && zeros.bytes().all(|b| b == b'0') => {
                    whole
                }
                _ => &text,
            };
            digits::parse(whole)
        }
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
            Json::Float(number) if number.abs() < 9e18 => Ok(number.trunc() == 1.0),
            Json::Text(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Json::Text(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Json::Text(text) => match text.as_str() {
                "1" | "Y" | "y" | "T" => Ok(true),
                "0" | "N" | "F" | "f" => Ok(false),
                _ if is_absent_scalar(json) => Ok(false),
                _ => Err(JsonError::shape(json, "true or false")),
            },
            other => Err(JsonError::shape(other, "true or false")),
        }
    }

    fn is_absent(json: &Json) -> bool {
        is_absent_scalar(json)
    }

    const IS_FLAG: bool = true;
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
            other => integer(other, Width::Int)
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
        if Self::is_absent(json) { Ok(None) } else { T::optional(json) }
    }

    fn is_absent(json: &Json) -> bool {
        T::is_absent(json)
    }

    const IS_FLAG: bool = T::IS_FLAG;
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
                items.iter().filter(|item| !T::is_absent_item(item)).map(T::from_json).collect()
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
    let is_present = |(_, value): &&(Json, Json)| !V::is_absent_item(value);
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
