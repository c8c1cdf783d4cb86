//! Typed headers: [`header!`](crate::header) declares a struct together with the names of its
//! fields on the wire; from that come decoding, encoding and the messages of errors.

use std::fmt;

use super::command::Fields;

/// A header field that is missing or not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// A required field is not there.
    Missing(&'static str),
    /// The value is not of the field's type.
    Invalid {
        /// Field.
        name: &'static str,
        /// What came.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "the header field {name} is missing"),
            Self::Invalid { name, value, expected } => {
                write!(f, "the header field {name} is \"{value}\", expected {expected}")
            }
        }
    }
}

impl std::error::Error for HeaderError {}

/// A typed header.
pub trait Header: Sized {
    /// Reads it.
    fn decode(fields: &Fields) -> Result<Self, HeaderError>;
    /// Appends its fields.
    fn encode(&self, fields: &mut Fields);
}

/// The type of a header field.
pub trait FieldType: Sized {
    /// Reads the field; `None` if absent.
    fn read(text: Option<&str>, name: &'static str) -> Result<Self, HeaderError>;
    /// Appends the field, unless it is `None`.
    fn write(&self, name: &'static str, fields: &mut Fields);
}

fn required<'a>(text: Option<&'a str>, name: &'static str) -> Result<&'a str, HeaderError> {
    text.ok_or(HeaderError::Missing(name))
}

macro_rules! integer_fields {
    ($($type:ty: $expected:literal),*) => { $(
        impl FieldType for $type {
            fn read(text: Option<&str>, name: &'static str) -> Result<Self, HeaderError> {
                let text = required(text, name)?;
                text.parse().map_err(|_| HeaderError::Invalid {
                    name,
                    value: text.to_owned(),
                    expected: $expected,
                })
            }

            fn write(&self, name: &'static str, fields: &mut Fields) {
                fields.push_int(name, i64::from(*self));
            }
        }
    )* };
}
integer_fields!(i32: "a 32-bit integer", i64: "a 64-bit integer");

impl FieldType for bool {
    fn read(text: Option<&str>, name: &'static str) -> Result<Self, HeaderError> {
        required(text, name).map(|text| text.eq_ignore_ascii_case("true"))
    }

    fn write(&self, name: &'static str, fields: &mut Fields) {
        fields.push_str(name, if *self { "true" } else { "false" });
    }
}

impl FieldType for String {
    fn read(text: Option<&str>, name: &'static str) -> Result<Self, HeaderError> {
        required(text, name).map(str::to_owned)
    }

    fn write(&self, name: &'static str, fields: &mut Fields) {
        fields.push_str(name, self);
    }
}

impl<T: FieldType> FieldType for Option<T> {
    fn read(text: Option<&str>, name: &'static str) -> Result<Self, HeaderError> {
        text.map(|text| T::read(Some(text), name)).transpose()
    }

    fn write(&self, name: &'static str, fields: &mut Fields) {
        if let Some(value) = self {
            value.write(name, fields);
        }
    }
}

/// Declares a header.
///
/// `name: Type => "wireName"` is required, `Option<Type>` is optional, `= value` after the wire
/// name is the value of an absent field.
///
/// ```
/// rocketmq::header! {
///     /// Header of GET_MAX_OFFSET.
///     pub struct GetMaxOffset {
///         /// Topic.
///         pub topic: String => "topic",
///         /// Queue.
///         pub queue_id: i32 => "queueId",
///         /// Count what is not yet durable too.
///         pub committed: bool => "committed" = true,
///     }
/// }
/// ```
#[macro_export]
macro_rules! header {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty => $wire:literal $(= $default:expr)?),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type),* }

        impl $crate::remoting::header::Header for $name {
            fn decode(fields: &$crate::remoting::command::Fields)
                -> Result<Self, $crate::remoting::header::HeaderError>
            {
                let _ = fields;
                Ok(Self {
                    $($field: match fields.get($wire) {
                        $(None => $default,)?
                        text => $crate::remoting::header::FieldType::read(text, $wire)?,
                    }),*
                })
            }

            fn encode(&self, fields: &mut $crate::remoting::command::Fields) {
                fields.mark_present();
                $($crate::remoting::header::FieldType::write(&self.$field, $wire, fields);)*
            }
        }
    };
}
