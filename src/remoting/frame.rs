//! Frames: bytes to [`Command`] and back. The two forms of the header itself are in `frame_json`
//! and `frame_binary`.

use super::command::{Body, Command, SerializeType};
use super::{frame_binary, frame_json};

/// Default of the largest frame, its length field included.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// The length field, which does not count itself.
const LENGTH_BYTES: usize = 4;
/// Length field and header word: what stands before the header.
const PREFIX_BYTES: usize = 8;
/// The header's length has 24 bits; the top byte of its word is the serialization.
const MAX_HEADER_BYTES: usize = (1 << 24) - 1;

/// Why bytes are not a frame. The connection that sent them is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameError(pub String);

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FrameError {}

/// The total length, length field included, of the frame that starts `bytes`; `None` when the
/// length field is not complete.
///
/// # Errors
/// A length that is negative, too short for a header word or longer than `max_frame_bytes`.
pub fn total_len(bytes: &[u8], max_frame_bytes: usize) -> Result<Option<usize>, FrameError> {
    let Some(field) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*field);
    let Ok(rest) = usize::try_from(length) else {
        return Err(FrameError(format!("frame length {length} is negative")));
    };
    let total = rest.saturating_add(LENGTH_BYTES);
    if total < PREFIX_BYTES {
        return Err(FrameError(format!("frame length {length} is shorter than a header word")));
    }
    if total > max_frame_bytes {
        return Err(FrameError(format!(
            "frame of {total} bytes is longer than the limit of {max_frame_bytes}"
        )));
    }
    Ok(Some(total))
}

/// Looks for a complete frame at the start of `bytes`: its command and its total length, or `None`
/// when more bytes are needed.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 4 | length of what follows this field, big-endian like all numbers |
/// | 4 | 1 | serialization of the header: 0 JSON, 1 ROCKETMQ |
/// | 5 | 3 | bytes of the header, `n` |
/// | 8 | n | header |
/// | 8 + n | rest | body; none is the same as an empty one |
pub fn decode(
    bytes: &[u8],
    max_frame_bytes: usize,
) -> Result<Option<(Command, usize)>, FrameError> {
    let Some(total) = total_len(bytes, max_frame_bytes)? else {
        return Ok(None);
    };
    let Some(frame) = bytes.get(..total) else {
        return Ok(None);
    };
    let (prefix, content) = frame.split_at(PREFIX_BYTES);
    let header_bytes =
        usize::from(prefix[5]) << 16 | usize::from(prefix[6]) << 8 | usize::from(prefix[7]);
    if header_bytes > content.len() {
        return Err(FrameError(format!(
            "header of {header_bytes} bytes in a frame that has {} left",
            content.len()
        )));
    }
    let (header, body) = content.split_at(header_bytes);
    let mut command = match prefix[4] {
        0 => frame_json::decode(header)?,
        1 => frame_binary::decode(header)?,
        other => return Err(FrameError(format!("header serialization {other} is not known"))),
    };
    if !body.is_empty() {
        command.body = Body::Bytes(body.to_vec());
    }
    Ok(Some((command, total)))
}

/// Appends length, header word and header of `command` to `out`; the body follows separately when
/// it is shared, else it is appended too.
///
/// # Errors
/// A header that its serialization cannot express; `out` is then as it was.
pub fn encode(command: &Command, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    let result = encode_parts(command, out, start);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn encode_parts(command: &Command, out: &mut Vec<u8>, start: usize) -> Result<(), FrameError> {
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    match command.serialize {
        SerializeType::Json => frame_json::encode(command, out),
        SerializeType::RocketMq => frame_binary::encode(command, out)?,
    }
    let header_bytes = out.len() - start - PREFIX_BYTES;
    if header_bytes > MAX_HEADER_BYTES {
        return Err(FrameError(format!(
            "header of {header_bytes} bytes is longer than the limit of {MAX_HEADER_BYTES}"
        )));
    }
    let length = PREFIX_BYTES - LENGTH_BYTES + header_bytes + command.body.len();
    let length = i32::try_from(length).map_err(|_| {
        FrameError(format!("frame of {length} bytes does not fit its length field"))
    })?;
    let header_word = (command.serialize as u32) << 24 | header_bytes as u32;
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    out[start + LENGTH_BYTES..start + PREFIX_BYTES].copy_from_slice(&header_word.to_be_bytes());
    if let Body::Bytes(body) = &command.body {
        out.extend_from_slice(body);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remoting::command::{FLAG_RESPONSE, Language};

    fn route_request(serialize: SerializeType) -> Command {
        let mut command = Command { opaque: 7, serialize, ..Command::request(105) };
        command.fields.push_str("topic", "T1");
        command
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect()
    }

    fn json_frame(header: &str) -> Vec<u8> {
        let mut frame = (header.len() as u32 + 4).to_be_bytes().to_vec();
        frame.extend((header.len() as u32).to_be_bytes());
        frame.extend(header.as_bytes());
        frame
    }

    fn decode_whole(bytes: &[u8]) -> Result<Command, FrameError> {
        let (command, used) = decode(bytes, MAX_FRAME_BYTES)?.expect("a whole frame");
        assert_eq!(used, bytes.len());
        Ok(command)
    }

    #[test]
    fn golden_json_request() {
        let mut out = Vec::new();
        encode(&route_request(SerializeType::Json), &mut out).unwrap();
        let expected = json_frame(
            r#"{"code":105,"extFields":{"topic":"T1"},"flag":0,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":409}"#,
        );
        assert_eq!(expected.len(), 132);
        assert_eq!(out, expected);
    }

    #[test]
    fn golden_binary_request() {
        let mut out = Vec::new();
        encode(&route_request(SerializeType::RocketMq), &mut out).unwrap();
        let expected =
            hex("00 00 00 26 01 00 00 22 00 69 00 01 99 00 00 00 07 00 00 00 00 00 00 00 00
             00 00 00 0d 00 05 74 6f 70 69 63 00 00 00 02 54 31");
        assert_eq!(out, expected);
        let command = decode_whole(&out).unwrap();
        assert_eq!((command.code, command.opaque, command.version), (105, 7, 409));
        assert_eq!(command.serialize, SerializeType::RocketMq);
        assert_eq!(command.fields.get("topic"), Some("T1"));
        assert_eq!(command.remark, None);
    }

    #[test]
    fn golden_json_response_without_fields() {
        let mut out = Vec::new();
        encode(&Command { opaque: 7, ..Command::response(0) }, &mut out).unwrap();
        assert_eq!(
            out,
            json_frame(
                r#"{"code":0,"flag":1,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":409}"#
            )
        );
        assert_eq!(out[..8], hex("00 00 00 63 00 00 00 5f"));
    }

    #[test]
    fn both_forms_keep_every_part() {
        for serialize in [SerializeType::Json, SerializeType::RocketMq] {
            let mut command = Command {
                opaque: -5,
                flag: FLAG_RESPONSE,
                language: Language(9),
                serialize,
                ..Command::failure(17, "no \"such\"\n\ttopic \\ \u{1}\u{2} 主题 🚀")
            };
            command.fields.push_str("properties", "KEYS\u{1}k 1\u{2}TAGS\u{1}标签\u{2}");
            command.fields.push_int("queueOffset", i64::MAX);
            command.body = Body::Bytes(vec![0, 255, 1]);
            let mut bytes = vec![9; 3];
            encode(&command, &mut bytes).unwrap();
            let decoded = decode_whole(&bytes[3..]).unwrap();
            assert_eq!(decoded.code, 17);
            assert_eq!(decoded.opaque, -5);
            assert_eq!(decoded.flag, FLAG_RESPONSE);
            assert_eq!(decoded.language, Language(9));
            assert_eq!(decoded.remark, command.remark);
            assert_eq!(decoded.fields, command.fields);
            assert_eq!(decoded.body.as_bytes(), command.body.as_bytes());
        }
    }

    #[test]
    fn an_incomplete_frame_waits_for_more() {
        let mut bytes = Vec::new();
        encode(&route_request(SerializeType::Json), &mut bytes).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], MAX_FRAME_BYTES).unwrap().is_none(), "cut at {cut}");
        }
        bytes.extend_from_slice(&[1, 2, 3]);
        assert_eq!(decode(&bytes, MAX_FRAME_BYTES).unwrap().unwrap().1, 132);
    }

    #[test]
    fn bad_lengths_and_serializations_are_refused() {
        let refused = |bytes: &[u8], limit: usize| decode(bytes, limit).unwrap_err().0;
        assert!(refused(&hex("ff ff ff ff"), MAX_FRAME_BYTES).contains("negative"));
        assert!(refused(&hex("00 00 00 03"), MAX_FRAME_BYTES).contains("shorter"));
        assert!(refused(&hex("00 ff ff fd"), MAX_FRAME_BYTES).contains("limit of 16777216"));
        assert!(decode(&hex("00 ff ff fc"), MAX_FRAME_BYTES).unwrap().is_none());
        assert!(refused(&hex("00 00 00 04 00 00 00 01"), 100).contains("header of 1 bytes"));
        assert!(refused(&hex("00 00 00 04 02 00 00 00"), 100).contains("serialization 2"));
    }

    #[test]
    fn no_damage_makes_decoding_panic() {
        for serialize in [SerializeType::Json, SerializeType::RocketMq] {
            let mut command = route_request(serialize);
            command.remark = Some("é\u{1}".to_owned());
            let mut good = Vec::new();
            encode(&command, &mut good).unwrap();
            for at in 0..good.len() {
                let mut bad = good.clone();
                for value in [0, 1, 0x7F, 0x80, 0xFF, b'"', b'\\', b'\'', b'{', b'}', b',', b':'] {
                    bad[at] = value;
                    // Damage to the length leaves the frame incomplete; else it is one or none.
                    if let Ok(Some((command, _))) = decode(&bad, MAX_FRAME_BYTES) {
                        assert!(command.fields.iter().count() <= 2);
                    }
                }
            }
        }
    }

    #[test]
    fn a_failed_encode_leaves_the_buffer_as_it_was() {
        let mut out = vec![1, 2, 3];
        let command = Command { serialize: SerializeType::RocketMq, ..Command::request(200_050) };
        assert!(encode(&command, &mut out).is_err());
        assert_eq!(out, [1, 2, 3]);
    }
}
