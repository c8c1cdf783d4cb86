//! The official Java name server, broker and `mqadmin`, fetched by Maven, to test and measure against.
//!
//! Versions in use: 4.9.7 (the last 4.9 whose server jars are published) and 5.3.3.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::process::Process;
use super::servers::{self, Server, broker_settings, write_conf};
use super::{TempDir, free_port};

/// A JVM on a busy machine takes its time.
const START: Duration = Duration::from_secs(180);

/// JVM options for the memory of a broker that is only tested.
pub const JAVA_HEAP: &str = "-Xmx1g -XX:+UseSerialGC";

/// Folder for what is fetched and built once: `interop-cache` in the target directory.
pub fn cache() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().unwrap_or(temporary).join("interop-cache")
}

/// Whether a download failed: what the user's own caches hold may be damaged, or settings may be wrong.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Runs a command of a package manager or compiler; the error is its output.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output =
        command.output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        let said = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
        Err(format!("{command:?} ended with {}:\n{said}", output.status))
    }
}

/// A command of a package manager or compiler, which ends after half an hour at most. Where the user's
/// home cannot be written, it has one in the cache; and so it has every other time after a failure.
pub fn builder(program: &str) -> Command {
    static OWN_HOME: OnceLock<bool> = OnceLock::new();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", "1800", program]);
    let is_needed = || {
        let Some(home) = std::env::var_os("HOME") else { return true };
        let probe = Path::new(&home).join(format!(".rocketmq-std-{}", std::process::id()));
        let is_writable = std::fs::write(&probe, "").is_ok();
        let _ = std::fs::remove_file(probe);
        !is_writable
    };
    if *OWN_HOME.get_or_init(is_needed) || FAILED.load(Ordering::Relaxed) {
        let home = cache().join("home");
        let _ = std::fs::create_dir_all(&home);
        // A JVM asks the system, not the environment.
        command.env("MAVEN_OPTS", format!("-Duser.home={}", home.display()));
        command.env("GOPATH", home.join("go")).env("GOMODCACHE", home.join("go/pkg/mod"));
        command.env("HOME", home).env("GOFLAGS", "-modcacherw");
    }
    command
}

/// Makes `folder` by `build` unless an earlier run made it from the same `recipe`. With `CI=true`,
/// where it must be had, a network that fails is tried again.
pub fn cached(
    folder: &Path,
    recipe: &str,
    build: impl Fn() -> Result<(), String>,
) -> Result<(), String> {
    let stamp = folder.join(".made-from");
    let recipe = format!("{:08x}", crc32fast::hash(recipe.as_bytes()));
    if std::fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == recipe) {
        return Ok(());
    }
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    let most = if std::env::var("CI").is_ok_and(|value| value == "true") { 6 } else { 1 };
    let mut tries = 0;
    loop {
        if folder.exists() {
            std::fs::remove_dir_all(folder).map_err(told)?;
        }
        std::fs::create_dir_all(folder).map_err(told)?;
        tries += 1;
        match build() {
            Ok(()) => return std::fs::write(stamp, recipe).map_err(told),
            Err(why) if tries == most => return Err(why),
            Err(why) => eprintln!("{}, tried again: {why}", folder.display()),
        }
        FAILED.fetch_not(Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(10) * tries);
    }
}

/// Copies the jars that `pom` names, and all they need, into `lib`.
pub fn fetch_jars(pom: &Path, version: &str, lib: &Path) -> Result<(), String> {
    // Two of them at a time would get into each other's way in the folder of what was fetched.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut maven = builder("mvn");
    // What could not be had once may be there now; and a server that says nothing is given up.
    maven.args(["-q", "-B", "-U", "-Dmaven.wagon.http.retryHandler.count=5"]);
    maven.args(["-Dmaven.wagon.rto=120000", "-Daether.connector.requestTimeout=120000"]);
    maven.arg("-f").arg(pom);
    maven.arg(format!("-Drocketmq.version={version}"));
    maven.arg(format!("-DoutputDirectory={}", lib.display()));
    run(maven.arg("dependency:copy-dependencies")).map(drop)
}

/// The official servers of one version, fetched.
#[derive(Clone, Debug)]
pub struct JavaPeer {
    lib: PathBuf,
}

impl JavaPeer {
    /// Fetches them, once per target directory.
    pub fn fetch(version: &str) -> Result<Self, String> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = cache().join(format!("java-peer-{version}"));
        let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/java_peer/pom.xml");
        let lib = folder.join("lib");
        cached(&folder, include_str!("pom.xml"), || {
            run(Command::new("java").arg("-version"))?;
            fetch_jars(&pom, version, &lib)
        })?;
        Ok(Self { lib })
    }

    /// Its jars, which carry the client, too.
    pub fn class_path(&self) -> String {
        self.lib.join("*").display().to_string()
    }

    /// A name server below `dir`.
    pub fn namesrv(&self, dir: &Path) -> Server {
        let home = dir.join("java-namesrv");
        let port = free_port();
        let conf = write_conf(&home, "namesrv", &[("listenPort", &port.to_string())]);
        let mut java = self.java(&home, "namesrv", "-Xmx256m");
        java.args(["org.apache.rocketmq.namesrv.NamesrvStartup", "-c"]).arg(conf);
        let mut process = Process::spawn("Java name server", java, &home.join("namesrv.out"));
        process.wait_for_port(port, START);
        Server { process, host: "127.0.0.1".to_owned(), port, home }
    }

    /// A broker below `dir`, registered at `namesrv` when there is one. `heap`: JVM options for its
    /// memory. Starting it again in the same folder and on the same port continues its store.
    pub fn broker_at(
        &self,
        dir: &Path,
        port: u16,
        namesrv: Option<&str>,
        heap: &str,
        more: &[(&str, &str)],
    ) -> Server {
        let home = dir.join("java-broker");
        let settings = broker_settings(&home, port, namesrv, more);
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let conf = write_conf(&home, "broker", &settings);
        let mut java = self.java(&home, "broker", heap);
        java.args(["org.apache.rocketmq.broker.BrokerStartup", "-c"]).arg(conf);
        let mut process = Process::spawn("Java broker", java, &home.join("broker.out"));
        process.wait_for_port(port, START);
        Server { process, host: "127.0.0.1".to_owned(), port, home }
    }

    /// Runs one `mqadmin` command; what it printed, both streams.
    pub fn mqadmin(&self, words: &[&str]) -> String {
        let home = TempDir::new("mqadmin");
        let mut java = self.java(home.path(), "tools", "-Xmx256m -XX:TieredStopAtLevel=1");
        java.arg("org.apache.rocketmq.tools.command.MQAdminStartup").args(words);
        let output = java.output().unwrap_or_else(|error| panic!("mqadmin {words:?}: {error}"));
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// `java` with the class path, the access to its own insides that the broker needs from
    /// version 9 on, and `home` instead of the user's.
    fn java(&self, home: &Path, name: &str, heap: &str) -> Command {
        let logback = home.join("conf").join(format!("logback_{name}.xml"));
        let quiet = "<configuration><root level=\"OFF\"/></configuration>";
        std::fs::create_dir_all(home.join("conf"))
            .and_then(|()| std::fs::write(&logback, quiet))
            .unwrap_or_else(|error| panic!("{}: {error}", logback.display()));
        let mut java = Command::new("java");
        java.args(heap.split(' '));
        java.args(["-XX:-UseBiasedLocking", "-XX:+IgnoreUnrecognizedVMOptions"]);
        for package in
            ["sun.nio.ch", "java.nio", "java.lang", "jdk.internal.ref", "sun.nio", "java.util"]
        {
            java.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
            java.arg(format!("--add-exports=java.base/{package}=ALL-UNNAMED"));
        }
        java.arg(format!("-Duser.home={}", home.display()));
        java.arg(format!("-Drocketmq.home.dir={}", home.display()));
        java.arg(format!("-Drmq.logback.configurationFile={}", logback.display()));
        java.arg("-Drocketmq.client.logUseSlf4j=true");
        java.arg("-cp").arg(self.lib.join("*"));
        java.env("ROCKETMQ_HOME", home).env_remove("NAMESRV_ADDR").current_dir(home);
        java
    }
}

/// Whose servers a test runs against: ours, unless `ROCKETMQ_TEST_SERVERS` is `4.9.7` or `5.3.3`.
/// Against the official ones a test proves itself.
#[derive(Clone, Debug)]
pub enum Servers {
    /// This package's.
    Ours,
    /// The official ones.
    Java(JavaPeer),
}

impl Servers {
    /// The official ones of a version.
    pub fn java(version: &str) -> Result<Self, String> {
        JavaPeer::fetch(version).map(Self::Java)
    }

    /// Reads the environment.
    pub fn from_env() -> Self {
        let version = match std::env::var("ROCKETMQ_TEST_SERVERS").as_deref() {
            Err(_) | Ok("ours") => return Self::Ours,
            Ok("4.9.7") => "4.9.7",
            Ok("5.3.3") => "5.3.3",
            Ok(other) => panic!("ROCKETMQ_TEST_SERVERS={other}: one of ours, 4.9.7, 5.3.3"),
        };
        Self::java(version).unwrap_or_else(|why| panic!("{why}"))
    }

    /// A name server below `dir`.
    pub fn namesrv(&self, dir: &Path) -> Server {
        match self {
            Self::Ours => servers::namesrv(dir),
            Self::Java(peer) => peer.namesrv(dir),
        }
    }

    /// A broker below `dir`.
    pub fn broker_at(
        &self,
        dir: &Path,
        port: u16,
        namesrv: Option<&str>,
        more: &[(&str, &str)],
    ) -> Server {
        self.broker_with(dir, port, namesrv, JAVA_HEAP, more)
    }

    /// The same; `java_heap` are JVM options for the memory of an official one.
    pub fn broker_with(
        &self,
        dir: &Path,
        port: u16,
        namesrv: Option<&str>,
        java_heap: &str,
        more: &[(&str, &str)],
    ) -> Server {
        match self {
            Self::Ours => servers::broker_at(dir, port, namesrv, more),
            Self::Java(peer) => peer.broker_at(dir, port, namesrv, java_heap, more),
        }
    }
}
