//! The JSON form of a header as only fastjson reads it: comments, names in other letters, numbers with
//! a fraction, empty texts for numbers. Asked when the quick reader (`frame_json`) has refused
//! a header, so it may take its time: it makes a tree.

use super::command::{Command, Fields, Language, SerializeType};
use crate::common::json::{FromJson, Json};

/// Longest header that is read a second time, bytes; what a client writes by mistake is shorter.
const MAX_BYTES: usize = 64 << 10;

/// Decodes a header, or nothing if fastjson would not either.
pub(super) fn decode(header: &[u8]) -> Option<Command> {
    if header.len() > MAX_BYTES {
        return None;
    }
    let json = Json::parse(header).ok()?;
    let Json::Object(_) = json else { return None };
    let int = |name: &str| match json.get(name) {
        Some(value) if !i32::is_absent(value) => i32::from_json(value).ok(),
        _ => Some(0),
    };
    let text = |value: &Json| match value {
        Json::Null => None,
        value => String::from_json(value).ok(),
    };
    Some(Command {
        code: int("code")?,
        flag: int("flag")?,
        opaque: int("opaque")?,
        version: int("version")?,
        language: json.get("language").map_or(Some(Language::JAVA), language)?,
        remark: json.get("remark").and_then(text),
        fields: json.get("extFields").map_or(Some(Fields::default()), fields)?,
        serialize: SerializeType::Json,
        ..Command::default()
    })
}

fn language(json: &Json) -> Option<Language> {
    match json {
        Json::Null => Some(Language::JAVA),
        Json::Text(name) => Some(Language::from_name(name)),
        Json::Int(number) => Language::from_number(*number),
        _ => None,
    }
}

fn fields(json: &Json) -> Option<Fields> {
    let members = match json {
        Json::Object(members) => members,
        Json::Null => return Some(Fields::default()),
        _ => return None,
    };
    let bytes = |(name, value): &(Json, Json)| match (name, value) {
        (Json::Text(name), Json::Text(value)) => name.len() + value.len(),
        _ => 0,
    };
    let mut fields = Fields::with_capacity(members.len(), members.iter().map(bytes).sum());
    fields.set_present();
    for (name, value) in members {
        let Json::Text(name) = name else { return None };
        if *value != Json::Null {
            fields.push_str(name, &String::from_json(value).ok()?);
        }
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Command {
        decode(text.as_bytes()).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn what_fastjson_reads_beyond_json_is_read() {
        let command = read(
            "\u{FEFF}/* a */{\"Code\":30.0,\"_opaque\":\"7.0\",\"ext_fields\":{\"a\":3L,\"b\":null,\"c\":\"\\x41\"},\
             \"flag\":\"\",\"language\":9,\"version\":NaN}",
        );
        assert_eq!((command.code, command.opaque, command.flag, command.version), (30, 7, 0, 0));
        assert_eq!(command.language, Language(9));
        assert_eq!(command.fields.iter().collect::<Vec<_>>(), [("a", "3"), ("c", "A")]);
        assert!(read("{\"extFields\":null}").fields.is_absent());
        assert!(!read("{\"extFields\":{}}").fields.is_absent());
    }

    #[test]
    fn what_it_does_not_read_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            "{\"code\":\"x\"}",
            "{\"code\":2147483648}",
            "{\"extFields\":[]}",
            "{\"extFields\":{5:\"x\"}}",
            "{\"language\":99}",
            "{\"language\":true}",
            "{\"remark\":word}",
            "{\"code\":.5}",
        ] {
            assert!(decode(text.as_bytes()).is_none(), "{text}");
        }
        let long = format!("{{\"code\":1.0,\"x\":\"{}\"}}", "y".repeat(MAX_BYTES));
        assert!(decode(long.as_bytes()).is_none());
    }
}
