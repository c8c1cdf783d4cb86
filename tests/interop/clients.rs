//! The official clients, each behind the same small command line, built once per target directory.
//!
//! | call | prints, tab separated |
//! |---|---|
//! | `produce NAMESRV TOPIC GROUP COUNT SEED [RETRIES]` | a `sent` or `failed` line for each message, then `done` |
//! | `consume NAMESRV TOPIC GROUP [SQL]` | `ready`, then a `got` line for each delivery, until stdin ends; `failed` if it cannot start (Java) |
//! | `send …`, `receive …` | see [`features`](crate::features) |
//!
//! ```text
//! sent   ID KEY QUEUE OFFSET BYTES SHA256       "-" where the client does not tell (oneway)
//! failed KEY WHY
//! got    ID KEY TAG PROPERTY QUEUE OFFSET RECONSUMED BYTES SHA256
//! ```
//!
//! Message `i` of a run has the key `SEED-i`, one of five tags, the user property `地区` and a
//! body of 1 byte to 1 MiB of UTF-8. Where the client can, it is sent and waited for (`i % 3 == 0`),
//! asynchronously (1) or oneway (2).

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::Sender;

use rocketmq::client::PushConsumer;
use rocketmq::client::subscription::Filter;

use crate::matrix::LONG;
use crate::ours;
use crate::support::java_peer::{builder, cache, cached, fetch_jars, run};
use crate::support::until;

/// An official client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `org.apache.rocketmq:rocketmq-client` 4.9.8, from Maven Central.
    Java498,
    /// The same, 5.3.3, over the remoting protocol.
    Java533,
    /// `github.com/apache/rocketmq-client-go/v2` 2.1.2, from the Go module proxy.
    Go,
    /// librocketmq 2, as the PyPI package `rocketmq` 0.4.4 carries it.
    Cpp,
    /// `ali-ons` 3.12.0, from npm.
    Node,
    /// This package's.
    Ours,
}

impl Client {
    /// The command that runs it, or why it cannot be had on this machine.
    pub fn prepare(self) -> Result<Prepared, String> {
        static BUILD: [Mutex<()>; 6] = [const { Mutex::new(()) }; 6];
        let _guard = BUILD[self as usize].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let folder = cache().join(format!("client-{self:?}").to_lowercase());
        let command = match self {
            Self::Java498 => java(&folder, "4.9.8"),
            Self::Java533 => java(&folder, "5.3.3"),
            Self::Go => go(&folder),
            Self::Cpp => cpp(&folder),
            Self::Node => node(&folder),
            Self::Ours => Ok(Vec::new()),
        }?;
        Ok(Prepared { client: self, command })
    }
}

/// A client that can be run.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Which.
    pub client: Client,
    command: Vec<String>,
}

impl Prepared {
    /// Starts it with these words; its stdin and stdout are pipes.
    pub fn start(&self, home: &Path, words: &[&str]) -> Child {
        Command::new(&self.command[0])
            .args(&self.command[1..])
            .args(words)
            .env("HOME", home)
            // A JVM reads the words of its command line as the locale says.
            .env("LC_ALL", "C.UTF-8")
            .env_remove("NAMESRV_ADDR")
            .env_remove("ROCKETMQ_NAMESRV_DOMAIN")
            .current_dir(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap_or_else(|error| panic!("{:?} does not start: {error}", self.client))
    }

    /// Sends `count` messages; every one must be acknowledged.
    pub fn produce(&self, home: &Path, namesrv: &str, topic: &str, count: u32) -> Vec<Sent> {
        let group = format!("P_{topic}");
        if self.client == Client::Ours {
            return ours::produce(namesrv, topic, &group, count);
        }
        let count_word = count.to_string();
        let words = ["produce", namesrv, topic, &group, &count_word, "7"];
        let mut child = self.start(home, &words);
        let mut sent = Vec::new();
        let mut done = false;
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                match line.split('\t').collect::<Vec<_>>()[..] {
                    ["sent", id, key, queue, offset, bytes, sha] => sent.push(Sent {
                        id: known(id),
                        key: key.to_owned(),
                        queue: known(queue),
                        offset: known(offset),
                        body: format!("{bytes} {sha}"),
                    }),
                    ["done"] => done = true,
                    ["failed", ..] => panic!("{:?}: {line}", self.client),
                    // The libraries also print there what they have to say.
                    _ => {}
                }
            }
        }
        let status = child.wait().unwrap_or_else(|error| panic!("{:?}: {error}", self.client));
        assert!(done, "{:?} ended with {status} after {} messages", self.client, sent.len());
        assert_eq!(sent.len(), count as usize, "{:?}: messages sent", self.client);
        sent
    }

    /// Sends while brokers die: each line of the program goes to `to`, as [`Outcome`]. The client tries
    /// `retries` times more, at other brokers too.
    pub fn produce_anyway(
        &self,
        home: &Path,
        [namesrv, topic]: [&str; 2],
        [count, seed, retries]: [u32; 3],
        mut to: impl FnMut(Outcome),
    ) {
        let [count, seed, retries] = [count, seed, retries].map(|number| number.to_string());
        let words = ["produce", namesrv, topic, "P_anyway", &count, &seed, &retries];
        let mut child = self.start(home, &words);
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                match line.split('\t').collect::<Vec<_>>()[..] {
                    // Oneway: nobody acknowledged it.
                    ["sent", "-", ..] => {}
                    ["sent", _, key, _, _, bytes, sha] => {
                        to(Outcome::Acknowledged(key.to_owned(), format!("{bytes} {sha}")));
                    }
                    ["failed", key, why] => to(Outcome::Failed(key.to_owned(), why.to_owned())),
                    ["done"] => to(Outcome::Done),
                    _ => {}
                }
            }
        }
        let status = child.wait().unwrap_or_else(|error| panic!("{:?}: {error}", self.client));
        assert!(status.success(), "{:?} ended with {status}", self.client);
    }

    /// Starts a push consumer, a member of `group`. Its deliveries go to `to`, with `member`.
    pub fn consume(
        &self,
        home: &Path,
        place: [&str; 3],
        member: usize,
        to: Sender<Got>,
    ) -> Consumer {
        if self.client == Client::Ours {
            return Consumer::Library(ours::consume(place, Filter::all(), member, to));
        }
        self.receive(home, &[&["consume"], &place[..]].concat(), member, to)
    }

    /// The same, of the messages that pass an SQL92 expression.
    pub fn consume_by_sql(
        &self,
        home: &Path,
        place: [&str; 3],
        sql: &str,
        member: usize,
        to: Sender<Got>,
    ) -> Consumer {
        if self.client == Client::Ours {
            return Consumer::Library(ours::consume(place, Filter::Sql(sql.into()), member, to));
        }
        self.receive(home, &[&["consume"], &place[..], &[sql]].concat(), member, to)
    }

    /// What a consumer says that does not start because of its expression.
    pub fn refusal(&self, home: &Path, [namesrv, topic, group]: [&str; 3], sql: &str) -> String {
        let mut child = self.start(home, &["consume", namesrv, topic, group, sql]);
        child.stdin = None;
        let output = child.wait_with_output().unwrap_or_else(|e| panic!("{:?}: {e}", self.client));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn receive(&self, home: &Path, words: &[&str], member: usize, to: Sender<Got>) -> Consumer {
        let mut child = self.start(home, words);
        let output = child.stdout.take().map(BufReader::new);
        let input = child.stdin.take();
        let reader = std::thread::spawn(move || {
            for line in output.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
                if let Some(got) = Got::parse(member, &line) {
                    // Nobody listens any more when the test has failed.
                    let _ = to.send(got);
                }
            }
        });
        Consumer::Process(ConsumerProcess {
            client: self.client,
            child,
            input,
            reader: Some(reader),
        })
    }
}

/// What a producer says of a message.
#[derive(Debug)]
pub enum Outcome {
    /// This key is stored, with a body of this length and digest.
    Acknowledged(String, String),
    /// This key may be stored or not; why.
    Failed(String, String),
    /// That was the last one.
    Done,
}

/// A message that a producer sent, oneway or acknowledged.
#[derive(Debug)]
pub struct Sent {
    /// Message id, if the client told.
    pub id: Option<String>,
    /// Key.
    pub key: String,
    /// Queue, if the client told.
    pub queue: Option<String>,
    /// Offset in the queue, if the client told.
    pub offset: Option<String>,
    /// Length and digest of the body.
    pub body: String,
}

/// A delivery.
#[derive(Clone, Debug)]
pub struct Got {
    /// Which member of the group.
    pub member: usize,
    /// Message id.
    pub id: String,
    /// Key.
    pub key: String,
    /// Tag.
    pub tag: String,
    /// User property.
    pub property: String,
    /// Queue.
    pub queue: String,
    /// Offset in the queue.
    pub offset: String,
    /// How often it was given back.
    pub reconsumed: u32,
    /// Length and digest of the body.
    pub body: String,
}

impl Got {
    fn parse(member: usize, line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let ["got", id, key, tag, property, queue, offset, reconsumed, bytes, sha] = fields[..]
        else {
            return None;
        };
        Some(Self {
            member,
            id: id.to_owned(),
            key: key.to_owned(),
            tag: tag.to_owned(),
            property: property.to_owned(),
            queue: queue.to_owned(),
            offset: offset.to_owned(),
            reconsumed: reconsumed.parse().ok()?,
            body: format!("{bytes} {sha}"),
        })
    }
}

/// A push consumer.
pub enum Consumer {
    /// In a process of its own.
    Process(ConsumerProcess),
    /// In this process.
    Library(PushConsumer),
}

impl Consumer {
    /// The orderly way out: leaves the group, stores its offsets.
    pub fn close(self) {
        match self {
            Self::Process(process) => process.close(),
            Self::Library(consumer) => consumer.shutdown(),
        }
    }
}

/// A client's process. It ends when its stdin does.
#[derive(Debug)]
pub struct ConsumerProcess {
    client: Client,
    child: Child,
    input: Option<ChildStdin>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl ConsumerProcess {
    fn close(mut self) {
        self.input = None;
        until(&format!("{:?} consumer ends", self.client), LONG, || {
            self.child.try_wait().ok().flatten()
        });
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for ConsumerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn known(text: &str) -> Option<String> {
    (text != "-").then(|| text.to_owned())
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn java(folder: &Path, version: &str) -> Result<Vec<String>, String> {
    let recipe = concat!(
        include_str!("java/pom.xml"),
        include_str!("java/Interop.java"),
        include_str!("java/Features.java")
    );
    let lib = folder.join("lib");
    let class_path = format!("{}:{}", folder.display(), lib.join("*").display());
    cached(folder, recipe, || {
        fetch_jars(&source("java/pom.xml"), version, &lib)?;
        let mut javac = Command::new("javac");
        javac.args(["-nowarn", "-encoding", "UTF-8", "-cp", &class_path, "-d"]);
        let sources = ["java/Interop.java", "java/Features.java"].map(source);
        run(javac.arg(folder).args(sources)).map(drop)
    })?;
    Ok(words(&[
        "java",
        "-Xmx384m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Duser.home=.",
        // Three seconds by default; the machine may be busy.
        "-Dcom.rocketmq.remoting.client.connect.timeout=30000",
        "-cp",
        &class_path,
        "Interop",
    ]))
}

fn go(folder: &Path) -> Result<Vec<String>, String> {
    let recipe = concat!(
        include_str!("go/go.mod"),
        include_str!("go/go.sum"),
        include_str!("go/main.go"),
        include_str!("go/features.go")
    );
    let program = folder.join("interop");
    cached(folder, recipe, || {
        let mut go = builder("go");
        go.args(["build", "-buildvcs=false", "-o"]).arg(&program).arg(".");
        run(go.current_dir(source("go"))).map(drop)
    })?;
    Ok(words(&[&program.display().to_string()]))
}

fn cpp(folder: &Path) -> Result<Vec<String>, String> {
    let python = folder.join("bin/python");
    cached(folder, "rocketmq==0.4.4", || {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        let pip = [&pip[..], &["--retries", "5", "--timeout", "60"]].concat();
        run(builder(&python.display().to_string()).args(pip).arg("rocketmq==0.4.4")).map(drop)
    })?;
    let program = source("cpp/interop.py");
    Ok(words(&[&python.display().to_string(), &program.display().to_string()]))
}

fn node(folder: &Path) -> Result<Vec<String>, String> {
    let files = ["package.json", "package-lock.json", "interop.js"];
    let recipe = concat!(
        include_str!("node/package.json"),
        include_str!("node/package-lock.json"),
        include_str!("node/interop.js")
    );
    cached(folder, recipe, || {
        for file in files {
            std::fs::copy(source("node").join(file), folder.join(file))
                .map_err(|error| format!("{file}: {error}"))?;
        }
        run(Command::new("node").arg("--version"))?;
        run(builder("npm")
            .args(["ci", "--silent", "--fetch-retries=5", "--no-audit", "--no-fund"])
            .current_dir(folder))
        .map(drop)
    })?;
    Ok(words(&["node", &folder.join("interop.js").display().to_string()]))
}

/// Says something that the test harness does not swallow.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
