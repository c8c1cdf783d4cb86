//! Raw frames over a plain socket, written without the library, so that a fault of the library's
//! codec cannot hide itself.
//!
//! ```text
//! | length u32 | header word u32 | header | body |      all big endian
//! length      = bytes after itself
//! header word = serialization in the top byte (0: JSON), header bytes in the lower three
//! ```

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Request codes that tests send.
pub mod code {
    /// SEND_MESSAGE_V2.
    pub const SEND: i32 = 310;
    /// PULL_MESSAGE.
    pub const PULL: i32 = 11;
    /// UPDATE_AND_CREATE_TOPIC.
    pub const CREATE_TOPIC: i32 = 17;
    /// GET_MAX_OFFSET.
    pub const MAX_OFFSET: i32 = 30;
    /// GET_MIN_OFFSET.
    pub const MIN_OFFSET: i32 = 31;
    /// QUERY_CONSUMER_OFFSET.
    pub const CONSUMER_OFFSET: i32 = 14;
    /// GET_BROKER_RUNTIME_INFO.
    pub const RUNTIME_INFO: i32 = 28;
    /// END_TRANSACTION.
    pub const END_TRANSACTION: i32 = 37;
    /// GET_BROKER_CLUSTER_INFO, to a name server.
    pub const CLUSTER_INFO: i32 = 106;
    /// UPDATE_CONSUMER_OFFSET.
    pub const COMMIT_OFFSET: i32 = 15;
    /// GET_ROUTEINFO_BY_TOPIC, to a name server.
    pub const ROUTE: i32 = 105;
}

/// A response as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The header's JSON text.
    pub header: String,
    /// Body.
    pub body: Vec<u8>,
}

impl Reply {
    /// Response code; -1 when the header has none.
    pub fn code(&self) -> i32 {
        self.number("code").map_or(-1, |code| code as i32)
    }

    /// The request that this answers.
    pub fn opaque(&self) -> i32 {
        self.number("opaque").map_or(-1, |opaque| opaque as i32)
    }

    /// Remark; empty when there is none.
    pub fn remark(&self) -> String {
        self.text("remark").unwrap_or_default()
    }

    /// A member, or field of `extFields`, that is a number (in quotes or not).
    pub fn number(&self, name: &str) -> Option<i64> {
        let value = self.after(name)?.trim_start_matches('"');
        let end = value.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(value.len());
        value[..end].parse().ok()
    }

    /// A member, or field of `extFields`, that is text.
    pub fn text(&self, name: &str) -> Option<String> {
        let value = self.after(name)?.strip_prefix('"')?;
        let mut text = String::new();
        let mut chars = value.chars();
        loop {
            match chars.next()? {
                '"' => return Some(text),
                '\\' => match chars.next()? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'u' => {
                        let hex: String = chars.by_ref().take(4).collect();
                        text.extend(u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32));
                    }
                    other => text.push(other),
                },
                other => text.push(other),
            }
        }
    }

    /// What follows `"name":`. Looks for the name itself, so that a load program does not pay for
    /// building the pattern.
    fn after(&self, name: &str) -> Option<&str> {
        self.header.match_indices(name).find_map(|(at, _)| {
            let before = self.header.as_bytes()[..at].last();
            let rest = self.header[at + name.len()..].strip_prefix("\":")?;
            (before == Some(&b'"')).then(|| rest.trim_start())
        })
    }
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    /// The socket, for tests that misuse it.
    pub socket: TcpStream,
    next_opaque: i32,
}

impl Wire {
    /// Connects; panics when nobody listens.
    pub fn connect(addr: &str) -> Self {
        Self::try_connect(addr).unwrap_or_else(|error| panic!("connect to {addr}: {error}"))
    }

    /// Connects.
    pub fn try_connect(addr: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, next_opaque: 1 })
    }

    /// Sends a request without waiting; its opaque is returned.
    pub fn send(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> io::Result<i32> {
        let opaque = self.next_opaque;
        self.next_opaque += 1;
        self.socket.write_all(&frame(code, opaque, fields, body))?;
        Ok(opaque)
    }

    /// Reads the next frame.
    pub fn receive(&mut self) -> io::Result<Reply> {
        receive(&mut self.socket)
    }

    /// Sends a request and waits for its answer.
    pub fn try_call(
        &mut self,
        code: i32,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Reply> {
        let opaque = self.send(code, fields, body)?;
        let reply = self.receive()?;
        assert_eq!(reply.opaque(), opaque, "an answer to something else: {}", reply.header);
        Ok(reply)
    }

    /// [`try_call`](Self::try_call) that must be answered, with whatever code.
    pub fn call(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        self.try_call(code, fields, body)
            .unwrap_or_else(|error| panic!("request {code} {fields:?}: {error}"))
    }

    /// [`call`](Self::call) that must succeed.
    pub fn must(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        let reply = self.call(code, fields, body);
        assert_eq!(reply.code(), 0, "request {code} {fields:?}: {}", reply.header);
        reply
    }

    /// Creates a topic with `queues` queues on the broker at the other end.
    pub fn create_topic(&mut self, topic: &str, queues: i32) {
        let queues = queues.to_string();
        let fields = [
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", &queues),
            ("writeQueueNums", &queues),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ];
        self.must(code::CREATE_TOPIC, &fields, b"");
    }

    /// End of a queue: the offset its next message will have.
    pub fn max_offset(&mut self, topic: &str, queue: i32) -> i64 {
        let fields = [("topic", topic), ("queueId", &queue.to_string())];
        let reply = self.must(code::MAX_OFFSET, &fields, b"");
        reply.number("offset").unwrap_or_else(|| panic!("no offset: {}", reply.header))
    }

    /// Begin of a queue: the offset of its first message.
    pub fn min_offset(&mut self, topic: &str, queue: i32) -> i64 {
        let fields = [("topic", topic), ("queueId", &queue.to_string())];
        let reply = self.must(code::MIN_OFFSET, &fields, b"");
        reply.number("offset").unwrap_or_else(|| panic!("no offset: {}", reply.header))
    }

    /// Pulls what is at `offset` of a queue, at most 32 messages, without waiting for new ones.
    pub fn pull(&mut self, topic: &str, queue: i32, offset: i64) -> Reply {
        let fields = [
            ("consumerGroup", "wire"),
            ("topic", topic),
            ("queueId", &queue.to_string()),
            ("queueOffset", &offset.to_string()),
            ("maxMsgNums", "32"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
            ("expressionType", "TAG"),
        ];
        self.call(code::PULL, &fields, b"")
    }
}

/// The fields of a SEND_MESSAGE_V2 for one queue, with the key as KEYS and as unique id.
pub fn send_fields(topic: &str, queue: i32, key: &str) -> Vec<(&'static str, String)> {
    let properties =
        format!("KEYS\u{1}{key}\u{2}UNIQ_KEY\u{1}{key}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}wire");
    [
        ("a", "wire".to_owned()),
        ("b", topic.to_owned()),
        ("c", "TBW102".to_owned()),
        ("d", "4".to_owned()),
        ("e", queue.to_string()),
        ("f", "0".to_owned()),
        ("g", "1700000000000".to_owned()),
        ("h", "0".to_owned()),
        ("i", properties),
        ("j", "0".to_owned()),
        ("k", "false".to_owned()),
        ("m", "false".to_owned()),
    ]
    .into()
}

/// Field values by reference, as the calls take them.
pub fn borrowed<'a>(fields: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// A request frame with a JSON header.
pub fn frame(code: i32, opaque: i32, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}:{}", quoted(name), quoted(value))).collect();
    let header = format!(
        "{{\"code\":{code},\"extFields\":{{{}}},\"flag\":0,\"language\":\"JAVA\",\"opaque\":{opaque},\
         \"serializeTypeCurrentRPC\":\"JSON\",\"version\":409}}",
        fields.join(",")
    );
    frame_of(header.as_bytes(), body)
}

/// A frame around any bytes as header.
pub fn frame_of(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(8 + header.len() + body.len());
    frame.extend_from_slice(&((4 + header.len() + body.len()) as u32).to_be_bytes());
    frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
    frame.extend_from_slice(header);
    frame.extend_from_slice(body);
    frame
}

/// A stored message, as much of it as tests look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Queue.
    pub queue: i32,
    /// Offset in the queue.
    pub offset: i64,
    /// Offset in the commit log.
    pub physical_offset: i64,
    /// Body.
    pub body: Vec<u8>,
}

/// The messages in the body of a pull response. Panics when it is not a row of whole records.
pub fn records(mut bytes: &[u8]) -> Vec<Record> {
    let int = |bytes: &[u8], at: usize| -> usize {
        let [a, b, c, d] = bytes[at..at + 4] else { unreachable!("four bytes") };
        u32::from_be_bytes([a, b, c, d]) as usize
    };
    let long = |bytes: &[u8], at: usize| ((int(bytes, at) << 32) | int(bytes, at + 4)) as i64;
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (record, rest) = bytes.split_at(int(bytes, 0));
        assert_eq!(int(record, 4), 0xdaa3_20a7, "magic of a record");
        // Hosts of IPv6 are 12 bytes longer.
        let flags = int(record, 36);
        let body_at = 88 + 12 * ((flags >> 4 & 1) + (flags >> 5 & 1));
        let body_bytes = int(record, body_at - 4);
        records.push(Record {
            queue: int(record, 12) as i32,
            offset: long(record, 20),
            physical_offset: long(record, 28),
            body: record[body_at..body_at + body_bytes].to_vec(),
        });
        bytes = rest;
    }
    records
}

/// Reads a frame.
pub fn receive(from: &mut impl Read) -> io::Result<Reply> {
    let mut start = [0; 8];
    from.read_exact(&mut start)?;
    let [a, b, c, d, _, f, g, h] = start;
    let total = u32::from_be_bytes([a, b, c, d]) as usize;
    let header = u32::from_be_bytes([0, f, g, h]) as usize;
    let body = total.checked_sub(4 + header).ok_or(io::ErrorKind::InvalidData)?;
    let mut bytes = vec![0; header + body];
    from.read_exact(&mut bytes)?;
    let body = bytes.split_off(header);
    Ok(Reply { header: String::from_utf8_lossy(&bytes).into_owned(), body })
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
