//! `mqstore`: looks into a store folder that no broker uses. Writes nothing, but for `rebuild` and
//! `truncate`.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;

use rocketmq::common::clock::now_ms;
use rocketmq::common::command_line::{Arguments, OptionSpec, usage};
use rocketmq::common::config::{Entry, Live, PropertyFile, apply_entries};
use rocketmq::common::json::{Json, Style};
use rocketmq::common::os::LocalTime;
use rocketmq::common::properties;
use rocketmq::common::record::RecordView;
use rocketmq::store::inspect::{LogItem, StoreFolder};
use rocketmq::store::truncate::{Cut, truncate};
use rocketmq::store::{Arrival, ArrivalListener, MessageStore, StoreConfig};

const fn option(
    short: char,
    long: &'static str,
    value: Option<&'static str>,
    what: &'static str,
) -> OptionSpec {
    OptionSpec { short, long, value, what }
}

const OPTIONS: &[OptionSpec] = &[
    option('h', "help", None, "show this text"),
    option('t', "topic", Some("TOPIC"), "only this topic"),
    option('q', "queue", Some("ID"), "only this queue"),
    option('o', "offset", Some("N"), "from this queue offset on (with -t and -q)"),
    option('p', "position", Some("N"), "from this commit-log offset on; truncate: cut it there"),
    option('b', "begin", Some("TIME"), "stored at or after: ms, or 2023-11-14T23:13:20 local time"),
    option('e', "end", Some("TIME"), "stored before"),
    option('n', "count", Some("N"), "at most so many messages"),
    option('k', "key", Some("KEY"), "grep: one of the keys, or the unique key"),
    option('g', "tag", Some("TAG"), "grep: the tag"),
    option('x', "text", Some("TEXT"), "grep: in the body"),
    option('j', "json", None, "one JSON object a line"),
    option('c', "config", Some("FILE"), "the broker's configuration: paths, shape of the index"),
    option('y', "yes", None, "rebuild, truncate: really do it"),
];

const COMMANDS: &str = "\
commands:
  ls       what is in the store: log, queues, index, checkpoint
  cat      messages: -t, -q, -o, -p, -b, -e, -n
  grep     messages that match -k, -g, -x (and all options of cat)
  stat     messages and bytes of each topic
  verify   every record, unit and index file against each other; exit code 1 if something is wrong
  rebuild  consume queues and index from the log: -y, -c
  truncate cut the end of the log off, from the record at -p on: -p, -y
Nobody else may use the store: a broker's lock is respected. Without STORE_FOLDER, -c must name one.
What lies elsewhere is named by -c, or by keys of the broker: storePathCommitLog=FOLDER.
";

/// What ends the program.
enum Failure {
    /// A sentence for the user.
    Told(String),
    /// The output ended: the reader has seen enough.
    Closed,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Told(text)
    }
}

impl From<rocketmq::store::StoreError> for Failure {
    fn from(error: rocketmq::store::StoreError) -> Self {
        Self::Told(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Told(error.to_string()),
        }
    }
}

fn main() {
    let mut out = BufWriter::new(io::stdout().lock());
    let result = run(&mut out).and_then(|code| out.flush().map(|()| code).map_err(Failure::from));
    exit(match result {
        Ok(code) => code,
        Err(Failure::Closed) => 0,
        Err(Failure::Told(text)) => {
            eprintln!("mqstore: {text}");
            2
        }
    });
}

fn run(out: &mut dyn Write) -> Result<i32, Failure> {
    let arguments = Arguments::parse(OPTIONS, std::env::args_os().skip(1))?;
    let configured = arguments.value("config");
    let (command, folder, settings) = match arguments.words.as_slice() {
        _ if arguments.has("help") => return help(out, 0),
        [command, folder, settings @ ..] if settings.iter().all(|word| word.contains('=')) => {
            (command, Some(folder.as_str()), settings)
        }
        [command] if configured.is_some() => (command, None, &[][..]),
        _ => return help(out, 1),
    };
    let config = configuration(configured, folder, settings)?;
    let store = StoreFolder::configured(&config)?;
    if store.log_begin() < 0 {
        let folders: Vec<_> =
            store.log_folders().iter().map(|folder| folder.display().to_string()).collect();
        return Err(format!(
            "there is no commit log in {}; if storePathCommitLog puts it elsewhere, name the \
             broker's configuration file with --config, or say storePathCommitLog=FOLDER",
            folders.join(", ")
        )
        .into());
    }
    if command == "rebuild" {
        return rebuild(store, config, &arguments, out);
    }
    if command == "truncate" {
        return cut(store, &arguments, out);
    }
    let json = arguments.has("json");
    match command.as_str() {
        "ls" => list(&store, json, out)?,
        "cat" | "grep" => print_messages(&store, &Wanted::new(&arguments)?, json, out)?,
        "stat" => statistics(&store, &Wanted::new(&arguments)?, json, out)?,
        "verify" => return verify(&store, json, out),
        other => return Err(format!("there is no command {other:?}\n{COMMANDS}").into()),
    }
    Ok(0)
}

fn help(out: &mut dyn Write, code: i32) -> Result<i32, Failure> {
    let text = usage("mqstore COMMAND STORE_FOLDER [key=value ...] [options]", OPTIONS);
    write!(out, "{text}\n{COMMANDS}")?;
    Ok(code)
}

/// What the broker's file and the command line's `key=value` words say about the store, in the folder
/// that the command line names.
fn configuration(
    file: Option<&str>,
    folder: Option<&str>,
    settings: &[String],
) -> Result<StoreConfig, Failure> {
    let mut config = StoreConfig::default();
    if let Some(file) = file {
        let path = PathBuf::from(file);
        let entries = PropertyFile::load(&path).map_err(|error| error.to_string())?.entries;
        // Keys that the store does not know are the broker's.
        apply_entries(file, &entries, &mut [&mut config]).map_err(|error| error.to_string())?;
    }
    if let Some(folder) = folder {
        folder.clone_into(&mut config.store_path_root_dir);
    }
    let words = settings.iter().filter_map(|word| word.split_once('='));
    let words =
        words.map(|(key, value)| Entry { key: key.to_owned(), value: value.to_owned(), line: 0 });
    let unknown = apply_entries("command line", &words.collect::<Vec<_>>(), &mut [&mut config])
        .map_err(|error| error.to_string())?;
    if let Some(unknown) = unknown.into_iter().next() {
        return Err(unknown.into());
    }
    Ok(config)
}

/// Which messages are asked for.
struct Wanted {
    topic: Option<String>,
    queue: Option<i32>,
    offset: Option<i64>,
    position: i64,
    begin: i64,
    end: i64,
    count: u64,
    key: Option<String>,
    tag: Option<String>,
    text: Option<String>,
}

fn number<T: std::str::FromStr>(arguments: &Arguments, name: &str) -> Result<Option<T>, String> {
    let Some(text) = arguments.value(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| format!("--{name}: {text:?} is no number that fits"))
}

/// Milliseconds, or `2023-11-14T23:13:20` (any part from the day on may be missing).
fn time(arguments: &Arguments, name: &str) -> Result<Option<i64>, String> {
    let Some(text) = arguments.value(name) else { return Ok(None) };
    if let Ok(ms) = text.parse() {
        return Ok(Some(ms));
    }
    let wrong = || format!("--{name}: {text:?} is no time; expected ms or 2023-11-14T23:13:20");
    let fields: Vec<u32> = text
        .split(['-', 'T', ':', ' '])
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| wrong())?;
    if fields.len() < 3 || fields.len() > 6 {
        return Err(wrong());
    }
    let field = |at: usize| fields.get(at).copied().unwrap_or(0);
    let local = LocalTime {
        year: field(0) as i32,
        month: field(1),
        day: field(2),
        hour: field(3),
        minute: field(4),
        second: field(5),
        millisecond: 0,
    };
    Ok(Some(local.to_epoch_ms()))
}

impl Wanted {
    fn new(arguments: &Arguments) -> Result<Self, String> {
        let owned = |name: &str| arguments.value(name).map(str::to_owned);
        let wanted = Self {
            topic: owned("topic"),
            queue: number(arguments, "queue")?,
            offset: number(arguments, "offset")?,
            position: number(arguments, "position")?.unwrap_or(0),
            begin: time(arguments, "begin")?.unwrap_or(i64::MIN),
            end: time(arguments, "end")?.unwrap_or(i64::MAX),
            count: number(arguments, "count")?.unwrap_or(u64::MAX),
            key: owned("key"),
            tag: owned("tag"),
            text: owned("text"),
        };
        if wanted.offset.is_some() && (wanted.topic.is_none() || wanted.queue.is_none()) {
            return Err("--offset is a queue's: it needs --topic and --queue".to_owned());
        }
        Ok(wanted)
    }

    fn matches(&self, record: &RecordView<'_>) -> bool {
        let property = |name: &str| properties::find(record.properties, name);
        let has_key = |key: &str| {
            property(properties::UNIQUE_KEY) == Some(key)
                || property(properties::KEYS)
                    .is_some_and(|keys| keys.split(' ').any(|word| word == key))
        };
        let has_text = |text: &str| {
            text.is_empty()
                || record.body.windows(text.len()).any(|window| window == text.as_bytes())
        };
        self.topic.as_deref().is_none_or(|topic| record.topic == topic)
            && self.queue.is_none_or(|queue| record.queue_id == queue)
            && (self.begin..self.end).contains(&record.store_timestamp)
            && self.key.as_deref().is_none_or(has_key)
            && self.tag.as_deref().is_none_or(|tag| property(properties::TAGS) == Some(tag))
            && self.text.as_deref().is_none_or(has_text)
    }

    /// Visits the messages, in the order of the log, or of the queue when an offset is given.
    fn visit(
        &self,
        store: &StoreFolder,
        mut visit: impl FnMut(&RecordView<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut left = self.count;
        let mut result = Ok(());
        let mut take = |record: &RecordView<'_>| {
            if left == 0 {
                return ControlFlow::Break(());
            }
            if self.matches(record) {
                left -= 1;
                result = visit(record);
            }
            if result.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match (&self.topic, self.queue, self.offset) {
            (Some(topic), Some(queue), Some(offset)) => {
                let units = store.units(topic, queue)?;
                for (_, unit) in units.iter().skip_while(|(index, _)| *index < offset) {
                    let flow = store.with_record(unit.offset, &mut take);
                    if flow.is_some_and(|flow| flow.is_break()) {
                        break;
                    }
                }
            }
            _ => {
                store.visit_log(self.position, |item| match item {
                    LogItem::Record(record) => take(record),
                    LogItem::Damage { place, reason, .. } => {
                        eprintln!("mqstore: {place}: {reason}; going on with what follows");
                        ControlFlow::Continue(())
                    }
                    LogItem::Blank { .. } => ControlFlow::Continue(()),
                });
            }
        }
        result
    }
}

fn local(ms: i64) -> String {
    LocalTime::from_epoch_ms(ms).to_string()
}

fn text(text: impl Into<String>) -> Json {
    Json::Text(text.into())
}

fn line(out: &mut dyn Write, value: Json) -> io::Result<()> {
    writeln!(out, "{}", value.write(Style::Standard))
}

fn list(store: &StoreFolder, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let end = store.log_end();
    let clean = store.is_clean();
    if json {
        line(
            out,
            Json::object([
                ("kind", text("commitlog")),
                ("begin", Json::Int(store.log_begin())),
                ("end", Json::Int(end)),
                ("fileSize", Json::Int(store.log_file_size() as i64)),
                ("clean", Json::Bool(clean)),
            ]),
        )?;
    } else {
        let how = if clean { "stopped cleanly" } else { "not stopped cleanly" };
        let size = store.log_file_size();
        writeln!(out, "commit log  {}..{end}, files of {size} bytes, {how}", store.log_begin())?;
    }
    if let Some([physical, logics, index]) = store.checkpoint() {
        if json {
            let times = [("log", physical), ("queues", logics), ("index", index)];
            let times = times.map(|(name, time)| (name, Json::Int(time)));
            line(out, Json::object([("kind", text("checkpoint"))].into_iter().chain(times)))?;
        } else {
            writeln!(
                out,
                "checkpoint  log {}, queues {}, index {}",
                local(physical),
                local(logics),
                local(index)
            )?;
        }
    }
    for (name, header) in store.index_files()? {
        if json {
            line(
                out,
                Json::object([
                    ("kind", text("index")),
                    ("file", text(name)),
                    ("entries", Json::Int(i64::from(header.count.saturating_sub(1)))),
                    ("beginTime", Json::Int(header.begin_time)),
                    ("endTime", Json::Int(header.end_time)),
                ]),
            )?;
        } else {
            let entries = header.count.saturating_sub(1);
            let (begin, end) = (local(header.begin_time), local(header.end_time));
            writeln!(out, "index       {name}: {entries} entries, {begin} to {end}")?;
        }
    }
    list_queues(store, json, out)
}

fn list_queues(store: &StoreFolder, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    for (topic, queue_ids) in store.queues()? {
        for queue_id in queue_ids {
            let units = store.units(&topic, queue_id)?;
            let first = units.first();
            let count = units.iter().count() as i64;
            if json {
                line(
                    out,
                    Json::object([
                        ("kind", text("queue")),
                        ("topic", text(topic.as_str())),
                        ("queueId", Json::Int(i64::from(queue_id))),
                        ("begin", Json::Int(first)),
                        ("end", Json::Int(first + count)),
                    ]),
                )?;
            } else {
                writeln!(out, "queue       {topic} {queue_id}: {first}..{}", first + count)?;
            }
        }
    }
    Ok(())
}

fn print_messages(
    store: &StoreFolder,
    wanted: &Wanted,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    wanted.visit(store, |record| {
        if json {
            line(out, message_json(record))?;
            return Ok(());
        }
        writeln!(
            out,
            "{} {} #{} @{} {} {} bytes  {}  {}",
            record.topic,
            record.queue_id,
            record.queue_offset,
            record.physical_offset,
            local(record.store_timestamp),
            record.body.len(),
            shown(&record.properties.replace("\u{1}", "=").replace("\u{2}", " ")),
            preview(record.body)
        )?;
        Ok(())
    })
}

/// A text on one line, safe for a terminal.
fn shown(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{FFFD}' } else { letter }).collect()
}

/// The beginning of a body.
fn preview(body: &[u8]) -> String {
    const SHOWN_BYTES: usize = 100;
    let mut line = shown(&String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]));
    if body.len() > SHOWN_BYTES {
        line.push('…');
    }
    line
}

fn message_json(record: &RecordView<'_>) -> Json {
    let message = record.to_message();
    let int = |value: i64| Json::Int(value);
    let pairs = message.message.properties.iter();
    let pairs = pairs.map(|(name, value)| (text(name), text(value))).collect();
    let body = match std::str::from_utf8(record.body) {
        Ok(body) => ("body", text(body)),
        Err(_) => {
            let hex: String = record.body.iter().map(|byte| format!("{byte:02x}")).collect();
            ("bodyHex", text(hex))
        }
    };
    Json::object([
        ("topic", text(record.topic)),
        ("queueId", int(record.queue_id.into())),
        ("queueOffset", int(record.queue_offset)),
        ("commitLogOffset", int(record.physical_offset)),
        ("storeSize", int(record.total_size.into())),
        ("msgId", text(message.offset_message_id())),
        ("flag", int(record.flag.into())),
        ("sysFlag", int(record.sys_flag.into())),
        ("bornTimestamp", int(record.born_timestamp)),
        ("bornHost", text(record.born_host.to_string())),
        ("storeTimestamp", int(record.store_timestamp)),
        ("storeHost", text(record.store_host.to_string())),
        ("reconsumeTimes", int(record.reconsume_times.into())),
        ("preparedTransactionOffset", int(record.prepared_transaction_offset)),
        ("properties", Json::Object(pairs)),
        body,
    ])
}

/// Sums of one topic.
#[derive(Default)]
struct Sum {
    messages: i64,
    bytes: i64,
    body_bytes: i64,
    first: i64,
    last: i64,
}

fn statistics(
    store: &StoreFolder,
    wanted: &Wanted,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut sums = std::collections::BTreeMap::<String, Sum>::new();
    wanted.visit(store, |record| {
        if !sums.contains_key(record.topic) {
            let first = record.store_timestamp;
            sums.insert(record.topic.to_owned(), Sum { first, ..Sum::default() });
        }
        if let Some(sum) = sums.get_mut(record.topic) {
            sum.messages += 1;
            sum.bytes += i64::from(record.total_size);
            sum.body_bytes += record.body.len() as i64;
            sum.last = record.store_timestamp;
        }
        Ok(())
    })?;
    for (topic, sum) in sums {
        if json {
            line(
                out,
                Json::object([
                    ("topic", text(topic)),
                    ("messages", Json::Int(sum.messages)),
                    ("bytes", Json::Int(sum.bytes)),
                    ("bodyBytes", Json::Int(sum.body_bytes)),
                    ("firstStoreTimestamp", Json::Int(sum.first)),
                    ("lastStoreTimestamp", Json::Int(sum.last)),
                ]),
            )?;
        } else {
            writeln!(
                out,
                "{topic}: {} messages, {} bytes ({} of bodies), {} to {}",
                sum.messages,
                sum.bytes,
                sum.body_bytes,
                local(sum.first),
                local(sum.last)
            )?;
        }
    }
    Ok(())
}

fn verify(store: &StoreFolder, json: bool, out: &mut dyn Write) -> Result<i32, Failure> {
    let mut written = Ok(());
    let verified = store.verify(|problem| {
        let result = if json {
            let members = [("place", text(&*problem.place)), ("problem", text(&*problem.what))];
            line(out, Json::object(members))
        } else {
            writeln!(out, "{}: {}", problem.place, problem.what)
        };
        if let Err(error) = result {
            written = Err(error);
        }
    })?;
    written?;
    if json {
        line(
            out,
            Json::object([
                ("records", Json::Int(verified.records as i64)),
                ("units", Json::Int(verified.units as i64)),
                ("indexEntries", Json::Int(verified.index_entries as i64)),
                ("indexChecked", Json::Bool(verified.index_checked)),
                ("problems", Json::Int(verified.problems as i64)),
            ]),
        )?;
    } else {
        writeln!(
            out,
            "{} records, {} units, {} index entries, {} problems",
            verified.records, verified.units, verified.index_entries, verified.problems
        )?;
    }
    if !verified.index_checked {
        eprintln!(
            "mqstore: the index entries were only counted: the index has another shape than \
             maxHashSlotNum and maxIndexNum say; name the broker's configuration file with --config"
        );
    }
    Ok(i32::from(verified.problems > 0))
}

struct Nobody;

impl ArrivalListener for Nobody {
    fn arrived(&self, _arrival: &Arrival<'_>) {}
}

/// Cuts the end of the log off.
fn cut(store: StoreFolder, arguments: &Arguments, out: &mut dyn Write) -> Result<i32, Failure> {
    let Some(position) = number(arguments, "position")? else {
        let reason = "truncate needs --position, the offset of the first record to go";
        return Err(reason.to_owned().into());
    };
    let really = arguments.has("yes");
    let Cut { end, new_end, messages } = truncate(&store, position, really)?;
    let (what, hint) = match really {
        true => ("cut", "; consume queues follow at the next start"),
        false => ("would cut", "; say --yes to do it"),
    };
    writeln!(out, "{what} {messages} messages off: the log ends at {new_end}, not {end}{hint}")?;
    Ok(i32::from(!really))
}

/// Folders that are built from the commit log.
const BUILT: [&str; 3] = ["consumequeue", "consumequeue_ext", "index"];

/// Moves consume queues and index away and lets the store build them again from its log. If that
/// fails, they are put back.
fn rebuild(
    store: StoreFolder,
    mut config: StoreConfig,
    arguments: &Arguments,
    out: &mut dyn Write,
) -> Result<i32, Failure> {
    config.mapped_file_size_commit_log = store.log_file_size() as i64;
    if let Some(size) = store.queue_file_size()? {
        config.mapped_file_size_consume_queue = size as i64;
    }
    if let Some(size) = store.ext_file_size()? {
        config.enable_consume_queue_ext = true;
        config.mapped_file_size_consume_queue_ext = size as i64;
    }
    if let Some((path, bytes, expected)) = store.foreign_index_file()? {
        return Err(format!(
            "{} has {bytes} bytes, but maxHashSlotNum={} and maxIndexNum={} make {expected}: name the \
             broker's configuration file with --config, else the broker would not take the new index",
            path.display(),
            config.max_hash_slot_num,
            config.max_index_num
        )
        .into());
    }
    let root = store.root().to_owned();
    drop(store);
    if !arguments.has("yes") {
        writeln!(
            out,
            "would build the consume queues (files of {} bytes) and the index ({} slots, {} \
             entries a file) of {} again; say --yes to do it. The old ones are kept beside it",
            config.mapped_file_size_consume_queue,
            config.max_hash_slot_num,
            config.max_index_num,
            root.display()
        )?;
        return Ok(1);
    }
    let suffix = now_ms();
    let kept = |name: &str| root.join(format!("{name}.{suffix}"));
    let mut moved = Vec::new();
    for name in BUILT {
        match std::fs::rename(root.join(name), kept(name)) {
            Ok(()) => moved.push(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                put_back(&root, &moved, kept);
                return Err(format!("cannot rename {}: {error}", root.join(name).display()).into());
            }
        }
    }
    let built = MessageStore::open(Arc::new(Live::new(config)), Arc::new(Nobody))
        .and_then(|store| store.start().map(|()| store));
    let store = match built {
        Ok(store) => store,
        Err(error) => {
            put_back(&root, &moved, kept);
            return Err(format!("{error}\nconsume queues and index are as they were").into());
        }
    };
    let queues: usize = store.topics().values().map(Vec::len).sum();
    store.shutdown();
    writeln!(out, "built {queues} queues of {} topics", store.topics().len())?;
    for name in moved {
        writeln!(out, "the old {name} is kept as {}; it may be removed", kept(name).display())?;
    }
    Ok(0)
}

/// Undoes the renaming.
fn put_back(root: &Path, moved: &[&str], kept: impl Fn(&str) -> PathBuf) {
    for name in moved {
        let _ = std::fs::remove_dir_all(root.join(name));
        if let Err(error) = std::fs::rename(kept(name), root.join(name)) {
            eprintln!("mqstore: cannot rename {} back: {error}", kept(name).display());
        }
    }
}
