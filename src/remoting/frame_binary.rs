//! The ROCKETMQ form of a header: fixed fields, then length-prefixed texts.
//!
//! | bytes | field |
//! |---|---|
//! | 2 | code |
//! | 1 | language |
//! | 2 | version |
//! | 4 | opaque |
//! | 4 | flag |
//! | 4 | bytes of the remark, 0 for none |
//! | n | remark, UTF-8 |
//! | 4 | bytes of all fields together, 0 for none |
//! | m | fields: name length (2), name, value length (4), value |
//!
//! An empty text is the same as none.

use std::borrow::Cow;

use super::command::{Command, Language, SerializeType};
use super::frame::FrameError;

/// Reads big-endian numbers and texts off the front of a header.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    fn take(&mut self, bytes: usize, what: &str) -> Result<&'a [u8], FrameError> {
        let Some((taken, rest)) = self.rest.split_at_checked(bytes) else {
            return Err(self.too_short(bytes, what));
        };
        self.rest = rest;
        Ok(taken)
    }

    #[cold]
    fn too_short(&self, bytes: usize, what: &str) -> FrameError {
        let left = self.rest.len();
        FrameError(format!("binary header: {what} of {bytes} bytes where {left} are left"))
    }

    #[inline]
    fn number<const N: usize>(&mut self, what: &str) -> Result<[u8; N], FrameError> {
        let taken = self.take(N, what)?;
        Ok(taken.first_chunk().copied().unwrap_or([0; N]))
    }

    fn i16(&mut self, what: &str) -> Result<i16, FrameError> {
        self.number(what).map(i16::from_be_bytes)
    }

    fn i32(&mut self, what: &str) -> Result<i32, FrameError> {
        self.number(what).map(i32::from_be_bytes)
    }

    /// A text after its length.
    fn text(&mut self, length: i32, what: &str) -> Result<Cow<'a, str>, FrameError> {
        let bytes = usize::try_from(length).map_err(|_| {
            FrameError(format!("binary header: the length {length} of a {what} is negative"))
        })?;
        let bytes = self.take(bytes, what)?;
        // Looked at first: it is many times faster than looking for what is wrong.
        Ok(std::str::from_utf8(bytes)
            .map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed))
    }
}

/// Decodes a header.
pub(super) fn decode(header: &[u8]) -> Result<Command, FrameError> {
    let mut reader = Reader { rest: header };
    let mut command = Command {
        code: i32::from(reader.i16("code")?),
        language: Language(reader.number::<1>("language")?[0]),
        version: i32::from(reader.i16("version")?),
        opaque: reader.i32("opaque")?,
        flag: reader.i32("flag")?,
        serialize: SerializeType::RocketMq,
        ..Command::default()
    };
    let remark_bytes = reader.i32("remark length")?;
    let remark = reader.text(remark_bytes, "remark")?;
    command.remark = (!remark.is_empty()).then(|| remark.into_owned());
    // Java reads a negative length of all fields together as none.
    let fields_bytes = usize::try_from(reader.i32("fields length")?).unwrap_or(0);
    if fields_bytes > 0 {
        let mut entries = Reader { rest: reader.take(fields_bytes, "fields")? };
        command.fields.mark_present();
        while !entries.rest.is_empty() {
            let name_bytes = entries.i16("name length")?;
            let name = entries.text(name_bytes.into(), "name")?;
            let value_bytes = entries.i32("value length")?;
            let value = entries.text(value_bytes, "value")?;
            if !name.is_empty() && !value.is_empty() {
                command.fields.push_str(&name, &value);
            }
        }
    }
    Ok(command)
}

/// Appends the header of `command`.
///
/// # Errors
/// A code, version or name that does not fit its 16 bits. (Java cuts a code off, which makes it
/// another request.)
pub(super) fn encode(command: &Command, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let narrow = |what: &str, value: i64| {
        i16::try_from(value)
            .map_err(|_| FrameError(format!("binary header: {what} {value} does not fit 16 bits")))
    };
    out.extend_from_slice(&narrow("code", command.code.into())?.to_be_bytes());
    out.push(command.language.0);
    out.extend_from_slice(&narrow("version", command.version.into())?.to_be_bytes());
    out.extend_from_slice(&command.opaque.to_be_bytes());
    out.extend_from_slice(&command.flag.to_be_bytes());
    put_text(out, command.remark.as_deref().unwrap_or_default());
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    // An empty value stands there, as in Java, although its reader takes it for none.
    for (name, value) in command.fields.iter() {
        out.extend_from_slice(&narrow("name length", name.len() as i64)?.to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        put_text(out, value);
    }
    let fields_bytes = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&fields_bytes.to_be_bytes());
    Ok(())
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(remark_bytes: i32, tail: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 11, 0, 1, 0x99, 0, 0, 0, 1, 0, 0, 0, 0];
        bytes.extend(remark_bytes.to_be_bytes());
        bytes.extend(tail);
        bytes
    }

    #[test]
    fn empty_texts_are_nothing() {
        let command = decode(&header(0, &[0xFF; 4])).unwrap();
        assert_eq!((command.code, command.remark), (11, None));
        assert!(command.fields.is_absent());
        // A field "a" without a value, then "b" = "x".
        let tail = [0, 0, 0, 15, 0, 1, b'a', 0, 0, 0, 0, 0, 1, b'b', 0, 0, 0, 1, b'x'];
        let command = decode(&header(0, &tail)).unwrap();
        assert_eq!(command.fields.iter().collect::<Vec<_>>(), [("b", "x")]);
    }

    #[test]
    fn an_empty_value_is_written_and_read_as_none() {
        let mut command = Command { code: 11, ..Command::default() };
        command.fields.push_str("a", "");
        command.fields.push_str("b", "x");
        let mut bytes = Vec::new();
        encode(&command, &mut bytes).unwrap();
        let fields = [0, 0, 0, 15, 0, 1, b'a', 0, 0, 0, 0, 0, 1, b'b', 0, 0, 0, 1, b'x'];
        assert!(bytes.ends_with(&fields), "{bytes:?}");
        let read = decode(&bytes).unwrap();
        assert_eq!(read.fields.iter().collect::<Vec<_>>(), [("b", "x")]);
    }

    #[test]
    fn negative_lengths_are_refused() {
        for bytes in [header(-5, &[0; 4]), header(0, &[0, 0, 0, 2, 0xFF, 0xFF])] {
            let error = decode(&bytes).unwrap_err().0;
            assert!(error.contains("negative"), "{error}");
        }
    }

    #[test]
    fn lengths_beyond_the_header_are_refused() {
        for bytes in [
            header(100, &[0; 8]),
            header(0, &[0, 0, 0, 9]),
            header(0, &[0, 0, 0, 3, 0, 5, b'a']),
            header(0, &[0, 0, 0, 7, 0, 1, b'a', 0, 0, 0, 9]),
            vec![0; 12],
        ] {
            let error = decode(&bytes).unwrap_err().0;
            assert!(error.contains("are left"), "{error}");
        }
    }
}
