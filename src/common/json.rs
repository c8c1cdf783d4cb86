//! RocketMQ's JSON dialect, fastjson's: reads what Java, Go, C++ and Node clients emit, writes what
//! all of them read.
//!
//! Beyond JSON it has integer keys without quotes and whole objects as keys
//! (`{{"brokerName":"b","queueId":0,"topic":"T"}:5}`), single quotes, unquoted names, trailing
//! commas, comments, numbers as strings and strings as numbers.
//!
//! [`Json`] is the tree. [`json_body!`](crate::json_body) declares a struct together with the names
//! of its members; from that come [`ToJson`] and [`FromJson`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    /// Reads a text. Depth and size are limited; whitespace may follow the value.
    pub fn parse(_text: &[u8]) -> Result<Json, JsonError> {
        todo!("owner: common")
    }

    /// Writes the tree.
    pub fn write(&self, _style: Style) -> String {
        todo!("owner: common")
    }

    /// The member `name`: exact, else case-insensitive (as fastjson).
    pub fn get(&self, _name: &str) -> Option<&Json> {
        todo!("owner: common")
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

    /// What a missing member means; `None` makes it an error.
    fn absent() -> Option<Self> {
        None
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
/// them) and `None` is left out. A missing member takes its type's [`FromJson::absent`], else the
/// struct's `Default` value, so every body derives `Default` (override it for other defaults by
/// `#[derive]`-less manual impl with `no_default`).
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

            fn absent() -> Option<Self> {
                Some(Self::default())
            }
        }
    };
    (@default $type:ty, $default:expr) => { $default };
    (@default $type:ty) => { <$type as Default>::default() };
}

impl JsonError {
    /// The error with the member in which it happened before it.
    pub fn within(self, member: &str) -> Self {
        Self { at: self.at, what: format!("{member}: {}", self.what) }
    }
}

macro_rules! shapes_owned_by_common {
    ($($type:ty),*) => { $(
        impl ToJson for $type {
            fn to_json(&self) -> Json { todo!("owner: common") }
        }
        impl FromJson for $type {
            fn from_json(_json: &Json) -> Result<Self, JsonError> { todo!("owner: common") }
        }
    )* };
}
shapes_owned_by_common!(bool, i32, i64, u32, f64, String);

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
        if *json == Json::Null { Ok(None) } else { T::from_json(json).map(Some) }
    }
}

impl<T: ToJson> ToJson for Vec<T> {
    fn to_json(&self) -> Json {
        Json::Array(self.iter().map(ToJson::to_json).collect())
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(_json: &Json) -> Result<Self, JsonError> {
        todo!("owner: common")
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
    fn from_json(_json: &Json) -> Result<Self, JsonError> {
        todo!("owner: common")
    }
}

impl<K: ToJson + std::hash::Hash + Eq, V: ToJson> ToJson for HashMap<K, V> {
    fn to_json(&self) -> Json {
        Json::Object(self.iter().map(|(key, value)| (key.to_json(), value.to_json())).collect())
    }
}

impl<K: FromJson + std::hash::Hash + Eq, V: FromJson> FromJson for HashMap<K, V> {
    fn from_json(_json: &Json) -> Result<Self, JsonError> {
        todo!("owner: common")
    }
}
