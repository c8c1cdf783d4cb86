//! Typed headers: [`header!`](crate::header) declares a struct together with the names of its
//! fields on the wire; from that come decoding, encoding and the messages of errors.

use std::fmt;
use std::str::FromStr;

use super::command::Fields;
use crate::common::digits;

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

/// The number that one to eighteen digits say, as nearly all number fields are; of anything else
/// nothing, which may be a number nevertheless.
fn plain_number(text: &str) -> Option<i64> {
    let digits = text.as_bytes();
    if !(1..=18).contains(&digits.len()) {
        return None;
    }
    let mut number = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + i64::from(digit);
    }
    Some(number)
}

/// Reads whatever else may be a number.
#[cold]
fn other_number<T: FromStr>(
    text: &str,
    name: &'static str,
    expected: &'static str,
) -> Result<T, HeaderError> {
    let invalid = || HeaderError::Invalid { name, value: text.to_owned(), expected };
    digits::parse(text).ok_or_else(invalid)
}

macro_rules! integer_fields {
    ($($type:ty: $expected:literal),*) => { $(
        impl FieldType for $type {
            #[inline]
            fn read(text: Option<&str>, name: &'static str) -> Result<Self, HeaderError> {
                let text = required(text, name)?;
                match plain_number(text).map(Self::try_from) {
                    Some(Ok(number)) => Ok(number),
                    _ => other_number(text, name, $expected),
                }
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
    /// An unreadable value counts as none, as in Java.
    fn read(text: Option<&str>, name: &'static str) -> Result<Self, HeaderError> {
        text.map_or(Ok(None), |text| or_default(T::read(Some(text), name).map(Some), || None))
    }

    fn write(&self, name: &'static str, fields: &mut Fields) {
        if let Some(value) = self {
            value.write(name, fields);
        }
    }
}

/// A field that need not be there: an unreadable value is told the log and counts as absent, as in
/// Java, whose handlers never see it.
pub fn or_default<T>(
    read: Result<T, HeaderError>,
    default: impl FnOnce() -> T,
) -> Result<T, HeaderError> {
    Ok(read.unwrap_or_else(|error| {
        if matches!(error, HeaderError::Invalid { .. }) {
            log::debug!("{error}; it is passed over");
        }
        default()
    }))
}

/// Declares a header.
///
/// `name: Type => "wireName"` is required, `Option<Type>` is optional, `= value` after the wire
/// name is the value of an absent or unreadable field.
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
                    $($field: {
                        let read = $crate::remoting::header::FieldType::read(fields.get($wire), $wire);
                        $(let read = $crate::remoting::header::or_default(read, || $default);)?
                        read?
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

#[cfg(test)]
mod tests {
    use super::*;

    crate::header! {
        struct Sample {
            needed: i32 => "needed",
            optional: Option<i64> => "optional",
            defaulted: bool => "defaulted" = true,
            limit: i32 => "limit" = 7,
        }
    }

    fn read(fields: &[(&str, &str)]) -> Result<Sample, HeaderError> {
        let mut all = Fields::default();
        fields.iter().for_each(|(name, value)| all.push_str(name, value));
        Sample::decode(&all)
    }

    #[test]
    fn unreadable_fields_count_as_absent_unless_they_are_needed() {
        let plain = read(&[("needed", "1")]).unwrap();
        assert_eq!(plain, Sample { needed: 1, optional: None, defaulted: true, limit: 7 });
        let odd = read(&[("needed", "1"), ("optional", "x"), ("limit", "9999999999")]).unwrap();
        assert_eq!(odd, plain);
        assert_eq!(read(&[("limit", "2")]), Err(HeaderError::Missing("needed")));
        let told = read(&[("needed", "1.5")]).unwrap_err().to_string();
        assert_eq!(told, "the header field needed is \"1.5\", expected a 32-bit integer");
    }
}
