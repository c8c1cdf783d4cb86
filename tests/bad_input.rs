//! What a network can throw at a name server and a broker: frames that are none, headers with
//! fields missing, names with path characters, clients that say nothing, a byte a second, or never
//! read. The right code and remark, or a closed connection; others are served meanwhile; memory
//! stays bounded.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::java_peer::Servers;
use support::servers::Server;
use support::wire::{Wire, borrowed, code, frame, frame_of, send_fields};
use support::{TempDir, free_port, until};

const TOPIC: &str = "BadInput";
const SYSTEM_ERROR: i32 = 1;
const NOT_SUPPORTED: i32 = 3;
const MESSAGE_ILLEGAL: i32 = 13;
const TOPIC_NOT_EXIST: i32 = 17;
const MAX_FRAME: u32 = 16 << 20;
const MIB: u64 = 1 << 20;

/// A name server and a broker for one test.
struct Site {
    dir: TempDir,
    namesrv: Server,
    broker: Server,
    ours: bool,
}

impl Site {
    fn start(more: &[(&str, &str)]) -> Self {
        let dir = TempDir::new("bad-input");
        let make = Servers::from_env();
        let ours = matches!(make, Servers::Ours);
        let namesrv = make.namesrv(dir.path());
        let broker = make.broker_at(dir.path(), free_port(), Some(&namesrv.addr()), more);
        broker.wire().create_topic(TOPIC, 4);
        support::servers::wait_for_route(&namesrv.addr(), TOPIC);
        Self { dir, namesrv, broker, ours }
    }

    fn servers(&self) -> [(&'static str, &Server); 2] {
        [("name server", &self.namesrv), ("broker", &self.broker)]
    }

    /// Both still answer.
    fn assert_alive(&self, after: &str) {
        let told = self.namesrv.wire().call(code::ROUTE, &[("topic", "none")], b"");
        assert_eq!(told.code(), TOPIC_NOT_EXIST, "name server after {after}: {}", told.header);
        let end = [("topic", TOPIC), ("queueId", "0")];
        let told = self.broker.wire().call(code::MAX_OFFSET, &end, b"");
        assert_eq!(told.code(), 0, "broker after {after}: {}", told.header);
    }
}

/// Memory of a process that is its own (not the page cache's), bytes.
fn memory(server: &Server) -> u64 {
    let status = format!("/proc/{}/status", server.process.pid());
    let status = std::fs::read_to_string(&status).unwrap_or_else(|e| panic!("{status}: {e}"));
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("no RssAnon in {status}")) << 10
}

/// Whether the peer closes within `limit` without sending anything.
fn is_closed(wire: &mut Wire, limit: Duration) -> bool {
    wire.socket.set_read_timeout(Some(limit)).unwrap_or_else(|error| panic!("{error}"));
    match wire.socket.read(&mut [0; 64]) {
        Ok(count) => count == 0,
        // As after a stop of the process, since the socket has a timeout.
        Err(error) if error.kind() == ErrorKind::Interrupted => is_closed(wire, limit),
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

fn with_length(length: i32, header_word: u32, header: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], &header_word.to_be_bytes(), header].concat()
}

/// A binary header: code 105, then what is given for lengths and content.
fn binary_header(lengths: [i32; 2], content: &[u8]) -> Vec<u8> {
    let mut header = vec![0, 105, 0, 1, 153, 0, 0, 0, 1, 0, 0, 0, 0];
    header.extend(lengths.iter().flat_map(|length| length.to_be_bytes()));
    header.extend_from_slice(content);
    let length = header.len() as u32;
    with_length(4 + length as i32, 1 << 24 | length, &header)
}

#[test]
fn what_is_no_frame_closes_its_connection_and_no_other() {
    let site = Site::start(&[]);
    let json = frame(code::ROUTE, 1, &[("topic", "none")], b"")[8..].to_vec();
    let length = 4 + json.len() as i32;
    let cases: [(&str, Vec<u8>); 19] = [
        ("a length just over the limit", with_length(MAX_FRAME as i32 - 3, 0, &[0; 64])),
        ("a huge length", with_length(i32::MAX, 0, &[0; 64])),
        ("a negative length", with_length(-1, 0, &[0; 64])),
        ("length 0", 0_i32.to_be_bytes().to_vec()),
        ("length 3", [&3_i32.to_be_bytes()[..], &[0; 3]].concat()),
        ("a header longer than the frame", with_length(length, json.len() as u32 + 1, &json)),
        ("a header of 0 bytes", with_length(4, 0, &[])),
        ("a negative header length", with_length(length, 0xff00_0000 | json.len() as u32, &json)),
        ("serialization 2", with_length(length, 2 << 24 | json.len() as u32, &json)),
        ("a header that is not JSON", frame_of(b"garbage!", b"")),
        ("a header that is an array", frame_of(b"[]", b"")),
        ("a header that is null", frame_of(b"null", b"")),
        ("a header of brackets", frame_of(&[b'['; 100_000], b"")),
        ("a binary header that ends early", with_length(14, 1 << 24 | 10, &[0; 10])),
        ("a binary remark longer than the header", binary_header([1000, 0], b"")),
        ("a negative binary remark", binary_header([-5, 0], b"")),
        ("binary fields longer than the header", binary_header([0, 1000], b"")),
        ("a binary key longer than the fields", binary_header([0, 6], &[1, 244, 0, 0, 0, 0])),
        ("a web browser", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
    ];
    let mut neighbours = [site.namesrv.wire(), site.broker.wire()];
    for ((name, server), neighbour) in site.servers().into_iter().zip(&mut neighbours) {
        for (what, bytes) in &cases {
            let mut wire = server.wire();
            wire.socket.write_all(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(is_closed(&mut wire, Duration::from_secs(60)), "{name} keeps {what}");
            // The neighbour's connection is as it was: the name server tells a route, the broker
            // that this is not its business.
            let code = neighbour.call(code::ROUTE, &[("topic", "none")], b"").code();
            assert!([TOPIC_NOT_EXIST, NOT_SUPPORTED].contains(&code), "{code} after {what}");
        }
    }
    site.assert_alive("broken frames");
}

#[test]
fn a_frame_cut_short_is_forgotten_with_its_connection() {
    let site = Site::start(&[]);
    let send = frame(code::SEND, 1, &borrowed(&send_fields(TOPIC, 0, "cut")), &[b'x'; 1000]);
    for cut in [1, 4, 7, 8, 9, 100, send.len() - 1] {
        let mut wire = site.broker.wire();
        wire.socket.write_all(&send[..cut]).unwrap_or_else(|error| panic!("{cut}: {error}"));
    }
    // Cut and continued, it is whole.
    let mut wire = site.broker.wire();
    for piece in send.chunks(97) {
        wire.socket.write_all(piece).unwrap_or_else(|error| panic!("{error}"));
    }
    let reply = wire.receive().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(reply.code(), 0, "{}", reply.header);
    assert_eq!(reply.number("queueOffset"), Some(0), "a frame cut short was stored");
    site.assert_alive("cut frames");
}

#[test]
fn random_bytes_harm_nobody() {
    let site = Site::start(&[]);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let good = frame(code::SEND, 1, &borrowed(&send_fields(TOPIC, 0, "random")), &[b'x'; 100]);
    for round in 0..300 {
        let bytes: Vec<u8> = if round % 2 == 0 {
            (0..random() % 2000).map(|_| random() as u8).collect()
        } else {
            // A good frame with some bytes turned, its length kept.
            let mut bytes = good.clone();
            for _ in 0..1 + random() % 8 {
                let at = 4 + random() as usize % (bytes.len() - 4);
                bytes[at] ^= random() as u8;
            }
            bytes
        };
        for (_, server) in site.servers() {
            let mut wire = server.wire();
            // The server may have closed already: that is an answer.
            let _ = wire.socket.write_all(&bytes);
        }
    }
    site.assert_alive("random bytes");
    if site.ours {
        for (name, server) in site.servers() {
            assert!(memory(server) < 64 * MIB, "{name} has {} bytes", memory(server));
        }
    }
}

#[test]
fn requests_that_make_no_sense_are_told_so() {
    let site = Site::start(&[]);
    let mut wire = site.broker.wire();
    for unknown in [30_000, -1, 0] {
        let reply = wire.call(unknown, &[("a", "b")], b"");
        assert_eq!(reply.code(), NOT_SUPPORTED, "{}", reply.header);
        assert!(reply.remark().contains(&unknown.to_string()), "{}", reply.header);
    }

    let full = send_fields(TOPIC, 0, "k");
    let mut cases = Vec::new();
    for missing in ["b", "e", "f", "g", "h"] {
        let mut fields = borrowed(&full);
        fields.retain(|(name, _)| *name != missing);
        cases.push((code::SEND, missing, fields));
    }
    for (name, value) in
        [("e", "x"), ("f", ""), ("g", "1e3"), ("h", "2147483648"), ("j", "--1"), ("d", "null")]
    {
        let mut fields = borrowed(&full);
        fields.retain(|(known, _)| *known != name);
        fields.push((name, value));
        cases.push((code::SEND, name, fields));
    }
    for fields in [vec![], vec![("topic", TOPIC)], vec![("topic", TOPIC), ("queueId", " 0")]] {
        cases.push((code::MAX_OFFSET, if fields.is_empty() { "topic" } else { "queueId" }, fields));
    }
    for (request, field, fields) in cases {
        let reply = wire.call(request, &fields, b"body");
        assert_eq!(reply.code(), SYSTEM_ERROR, "{request} {fields:?}: {}", reply.header);
        // A topic that is not there is a blank one to every server.
        if site.ours && field != "b" {
            let remark = reply.remark();
            let named = remark.split(|c: char| !c.is_alphanumeric()).any(|word| word == field);
            assert!(named, "{request} {fields:?} does not name {field}: {remark}");
        }
    }
    assert_eq!(wire.max_offset(TOPIC, 0), 0, "something of that was stored");
}

#[test]
fn topic_names_are_no_paths() {
    let site = Site::start(&[]);
    let long = "x".repeat(128);
    let names = [
        "",
        "  ",
        ".",
        "..",
        "a/b",
        "../evil",
        "../../../../evil",
        "/evil",
        "a\\b",
        "a\nb",
        "a\0b",
        "a.b",
        "a b",
        "ä",
        &long,
    ];
    let before = files_below(site.dir.path());
    let mut wire = site.broker.wire();
    for name in names {
        let reply = wire.call(code::SEND, &borrowed(&send_fields(name, 0, "k")), b"x");
        assert_eq!(reply.code(), SYSTEM_ERROR, "send to {name:?}: {}", reply.header);
        assert!(!reply.remark().is_empty(), "send to {name:?}: {}", reply.header);
        let create = [
            ("topic", name),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "4"),
            ("writeQueueNums", "4"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ];
        let reply = wire.call(code::CREATE_TOPIC, &create, b"");
        assert_eq!(reply.code(), SYSTEM_ERROR, "creation of {name:?}: {}", reply.header);
        // Questions about such topics may be answered, but not leave a trace.
        let queue = [("topic", name), ("queueId", "0")];
        wire.call(code::MAX_OFFSET, &queue, b"");
        wire.call(code::MIN_OFFSET, &queue, b"");
        wire.pull(name, 0, 0);
    }
    if site.ours {
        let now = files_below(site.dir.path());
        let new: Vec<&PathBuf> = now.iter().filter(|path| !before.contains(path)).collect();
        let strange = new.iter().find(|path| {
            let path = path.to_string_lossy();
            path.contains("evil") || path.contains("consumequeue")
        });
        assert_eq!(strange, None, "of {new:?}");
    }
    site.assert_alive("strange names");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files_below(&entry.path()));
        }
        found.push(entry.path());
    }
    found
}

#[test]
fn what_is_too_large_is_refused() {
    let site = Site::start(&[]);
    let mut wire = site.broker.wire();
    let fields = send_fields(TOPIC, 0, "large");
    let body = vec![b'x'; 4 << 20];
    assert_eq!(wire.call(code::SEND, &borrowed(&fields), &body).code(), 0, "exactly the limit");
    let reply = wire.call(code::SEND, &borrowed(&fields), &[&body[..], b"x"].concat());
    assert_eq!(reply.code(), MESSAGE_ILLEGAL, "a byte more: {}", reply.header);

    let mut properties = send_fields(TOPIC, 0, "large");
    for (name, value) in &mut properties {
        if *name == "i" {
            *value = format!("p\u{1}{}", "y".repeat(40_000));
        }
    }
    let reply = wire.call(code::SEND, &borrowed(&properties), b"x");
    assert_eq!(reply.code(), MESSAGE_ILLEGAL, "properties: {}", reply.header);
    assert_eq!(wire.max_offset(TOPIC, 0), 1, "what was refused is not stored");
}

#[test]
fn clients_that_say_nothing_are_let_go() {
    // Longer than a slow disk takes for the topic, which is made over a connection that is silent then.
    let site = Site::start(&[("serverChannelMaxIdleTimeSeconds", "10")]);
    let mut silent: Vec<Wire> = (0..50).map(|_| site.broker.wire()).collect();
    let begin = Instant::now();
    for wire in &mut silent {
        assert!(is_closed(wire, Duration::from_secs(60)), "kept for {:?}", begin.elapsed());
    }
    site.assert_alive("silent clients");
}

/// The others are answered between its bytes: who would read it to its end first never gets there.
#[test]
fn a_request_that_comes_byte_by_byte_holds_up_nobody() {
    let site = Site::start(&[]);
    let mut slow = site.broker.wire();
    let request = frame(code::MAX_OFFSET, 1, &[("topic", TOPIC), ("queueId", "0")], b"");
    let wrote = |result: std::io::Result<()>| result.unwrap_or_else(|error| panic!("{error}"));
    for byte in &request[..20] {
        wrote(slow.socket.write_all(&[*byte]));
        for _ in 0..5 {
            site.broker.wire().max_offset(TOPIC, 0);
        }
    }
    wrote(slow.socket.write_all(&request[20..]));
    let reply = slow.receive().unwrap_or_else(|error| panic!("the slow one: {error}"));
    assert_eq!(reply.code(), 0, "the slow one: {}", reply.header);
}

#[test]
fn a_promise_of_large_frames_takes_no_memory() {
    let site = Site::start(&[]);
    let before = [memory(&site.namesrv), memory(&site.broker)];
    let mut promises = Vec::new();
    for (_, server) in site.servers() {
        for _ in 0..100 {
            let mut wire = server.wire();
            let start = with_length(MAX_FRAME as i32 - 8, 100, b"{");
            wire.socket.write_all(&start).unwrap_or_else(|error| panic!("{error}"));
            promises.push(wire);
        }
    }
    site.assert_alive("promises");
    if site.ours {
        for ((name, server), before) in site.servers().into_iter().zip(before) {
            let grown = memory(server).saturating_sub(before);
            assert!(grown < 48 * MIB, "{name} took {grown} bytes for 100 promises");
        }
    }
}

#[test]
fn a_client_that_never_reads_holds_up_nobody() {
    let limit = 8 * MIB;
    let site = Site::start(&[("maxOutboxBytes", &limit.to_string())]);
    let mut wire = site.broker.wire();
    for number in 0..64 {
        let fields = send_fields(TOPIC, 0, &number.to_string());
        wire.must(code::SEND, &borrowed(&fields), &vec![b'x'; 64 << 10]);
    }
    let before = memory(&site.broker);
    let mut deaf = site.broker.wire();
    let timeout = Some(Duration::from_millis(200));
    deaf.socket.set_write_timeout(timeout).unwrap_or_else(|error| panic!("{error}"));
    let pull = [
        ("consumerGroup", "deaf"),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ];
    let mut asked = 0;
    let closed = until("the deaf client is dealt with", Duration::from_secs(60), || {
        for _ in 0..100 {
            match deaf.socket.write_all(&frame(code::PULL, asked, &pull, b"")) {
                Ok(()) => asked += 1,
                // The server does not read on: back-pressure is as good as a closed connection.
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Some(false);
                }
                Err(_) => return Some(true),
            }
        }
        let begin = Instant::now();
        site.broker.wire().max_offset(TOPIC, 0);
        assert!(begin.elapsed() < Duration::from_secs(30), "others wait after {asked} requests");
        (asked > 20_000).then_some(false)
    });
    site.assert_alive("a deaf client");
    let grown = memory(&site.broker).saturating_sub(before);
    eprintln!("{asked} pulls without reading; closed: {closed}; {grown} bytes more");
    if site.ours {
        assert!(grown < limit + 32 * MIB, "{grown} bytes for a client that does not read");
    }
}
