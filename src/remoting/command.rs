//! [`Command`]: one request or response, decoded.

use std::fmt;
use std::sync::Arc;

pub use super::fields::Fields;
pub use crate::common::shared_bytes::SharedBytes;

/// Release ordinal in every frame we send: V4_9_8.
pub const VERSION: i32 = 409;
/// Flag bit: the frame is a response.
pub const FLAG_RESPONSE: i32 = 1;
/// Flag bit: no response is wanted.
pub const FLAG_ONEWAY: i32 = 2;

/// How a header is written; the top byte of the frame's header word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SerializeType {
    /// JSON object.
    #[default]
    Json = 0,
    /// The compact binary form.
    RocketMq = 1,
}

/// Language code of the sender (spec: remoting 1.5), as its number; 0 is Java.
///
/// A JSON header carries the name, a binary one the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Language(pub u8);

impl Language {
    /// What every frame that we send says: all clients know it.
    pub const JAVA: Self = Self(0);
    /// What a language is called that nobody knows.
    pub const OTHER: Self = Self(7);

    const NAMES: [&str; 14] = [
        "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO",
        "PHP", "OMS", "RUST", "NODE_JS",
    ];

    /// The name on the wire; an unknown number is `OTHER`.
    pub fn name(self) -> &'static str {
        Self::NAMES.get(usize::from(self.0)).copied().unwrap_or("OTHER")
    }

    /// The language of that number, if there is one.
    pub fn from_number(number: i64) -> Option<Self> {
        let number = u8::try_from(number).ok()?;
        (usize::from(number) < Self::NAMES.len()).then_some(Self(number))
    }

    /// The language of that name; an unknown name is [`OTHER`](Self::OTHER).
    pub fn from_name(name: &str) -> Self {
        let at = Self::NAMES.iter().position(|known| *known == name);
        at.map_or(Self::OTHER, |at| Self(at as u8))
    }
}

/// What follows the header.
#[derive(Clone, Default)]
pub enum Body {
    /// Nothing (Java's null).
    #[default]
    Empty,
    /// Owned bytes.
    Bytes(Vec<u8>),
    /// Somebody else's, sent without a copy.
    Shared(Arc<dyn SharedBytes>),
}

impl Body {
    /// Bytes of the body.
    pub fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len(),
            Self::Shared(shared) => shared.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, if owned (a decoded command's always are).
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// The bytes; copies a shared body.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Bytes(bytes) => bytes,
            Self::Shared(shared) => {
                let mut slices = Vec::new();
                shared.slices(&mut slices);
                slices.iter().flat_map(|slice| slice.iter().copied()).collect()
            }
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Bytes(bytes) }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

/// A request or a response.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Request code or response code.
    pub code: i32,
    /// Sender's language.
    pub language: Language,
    /// Sender's release ordinal.
    pub version: i32,
    /// Chosen by the requester, echoed in the response.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`] and [`FLAG_ONEWAY`].
    pub flag: i32,
    /// Text for people.
    pub remark: Option<String>,
    /// The typed header's fields, and whatever else the peer sent.
    pub fields: Fields,
    /// How the header was, or is to be, written.
    pub serialize: SerializeType,
    /// Body.
    pub body: Body,
}

impl Command {
    /// A request; the opaque is assigned when it is sent.
    pub fn request(code: i32) -> Self {
        Self { code, version: VERSION, ..Self::default() }
    }

    /// A response; opaque and serialization are taken from the request when it is sent.
    pub fn response(code: i32) -> Self {
        Self { code, version: VERSION, flag: FLAG_RESPONSE, ..Self::default() }
    }

    /// A response with a remark.
    pub fn failure(code: i32, remark: impl Into<String>) -> Self {
        Self { remark: Some(remark.into()), ..Self::response(code) }
    }

    /// Makes this the response to the request with that opaque and serialization: all that the
    /// requester does not see of the handler's work is set here, in one place.
    pub(super) fn addressed(mut self, opaque: i32, serialize: SerializeType) -> Self {
        self.opaque = opaque;
        self.serialize = serialize;
        self.flag |= FLAG_RESPONSE;
        self.version = VERSION;
        self.language = Language::JAVA;
        self
    }

    /// Adds a typed header's fields.
    pub fn with_header(mut self, header: &impl super::header::Header) -> Self {
        header.encode(&mut self.fields);
        self
    }

    /// Sets the body.
    pub fn with_body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the remark.
    pub fn with_remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Decodes the typed header.
    pub fn header<H: super::header::Header>(&self) -> Result<H, super::header::HeaderError> {
        H::decode(&self.fields)
    }

    /// Whether this is a response.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether no response is wanted.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_have_names_and_numbers() {
        assert_eq!(Language::from_name("GO"), Language(9));
        assert_eq!(Language(9).name(), "GO");
        assert_eq!(Language::from_name("COBOL"), Language::OTHER);
        assert_eq!(Language(200).name(), "OTHER");
    }
}
