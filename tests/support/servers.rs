//! Name servers and brokers of this package, each on ports and in folders of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::Process;
use super::wire::{Wire, code};
use super::{free_port, until};

/// Longest wait for one of our programs to listen. Generous: the machine may be busy.
const START: Duration = Duration::from_secs(60);

/// One of the programs of this package. Cargo builds them before the tests.
pub fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_mqbroker")).with_file_name(name)
}

/// A server process, whoever's: ours or the official one.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its folder: `conf`, `store`, output.
    pub home: PathBuf,
}

impl Server {
    /// `host:port`.
    pub fn addr(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// A connection to it.
    pub fn wire(&self) -> Wire {
        Wire::connect(&self.addr())
    }
}

/// Where and how a program runs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The address at which it can be reached.
    pub host: &'a str,
    /// What its command line begins with, for example `ip netns exec NAME`.
    pub prefix: &'a [&'a str],
    /// Environment beyond the usual.
    pub env: &'a [(&'a str, &'a str)],
}

/// On this machine, as it is.
pub const HERE: Place<'_> = Place { host: "127.0.0.1", prefix: &[], env: &[] };

/// A name server of ours below `dir`.
pub fn namesrv(dir: &Path) -> Server {
    namesrv_in(&HERE, dir)
}

/// The same, somewhere else.
pub fn namesrv_in(place: &Place<'_>, dir: &Path) -> Server {
    let port = free_port();
    start(place, "mqnamesrv", &dir.join("namesrv"), port, &[("listenPort", &port.to_string())])
}

/// What every broker under test is configured with, ours or the official one; more keys follow.
pub fn broker_settings(
    home: &Path,
    port: u16,
    namesrv: Option<&str>,
    more: &[(&str, &str)],
) -> Vec<(String, String)> {
    let store = home.join("store");
    let mut settings: Vec<(String, String)> = vec![
        ("listenPort".into(), port.to_string()),
        ("brokerIP1".into(), "127.0.0.1".into()),
        ("brokerName".into(), "broker-a".into()),
        ("storePathRootDir".into(), store.display().to_string()),
        ("storePathCommitLog".into(), store.join("commitlog").display().to_string()),
        ("mappedFileSizeCommitLog".into(), (64 << 20).to_string()),
        ("mappedFileSizeConsumeQueue".into(), (20 * 30_000).to_string()),
        ("diskMaxUsedSpaceRatio".into(), "95".into()),
        // A send that is late because the machine is busy is no refusal.
        ("brokerFastFailureEnable".into(), "false".into()),
        ("osPageCacheBusyTimeOutMills".into(), "60000".into()),
        ("syncFlushTimeout".into(), "60000".into()),
    ];
    settings.extend(namesrv.map(|addr| ("namesrvAddr".into(), addr.into())));
    for (key, value) in more {
        settings.retain(|(known, _)| known != key);
        settings.push(((*key).into(), (*value).into()));
    }
    settings
}

/// A broker of ours below `dir`, registered at `namesrv` when there is one. Starting it again in
/// the same folder and on the same port continues its store.
pub fn broker_at(dir: &Path, port: u16, namesrv: Option<&str>, more: &[(&str, &str)]) -> Server {
    broker_in(&HERE, dir, port, namesrv, more)
}

/// The same, somewhere else.
pub fn broker_in(
    place: &Place<'_>,
    dir: &Path,
    port: u16,
    namesrv: Option<&str>,
    more: &[(&str, &str)],
) -> Server {
    let home = dir.join("broker");
    let settings = broker_settings(&home, port, namesrv, more);
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    start(place, "mqbroker", &home, port, &settings)
}

/// A command that runs one of our programs with `home` as its whole world.
pub fn command(name: &str, home: &Path) -> Command {
    let mut command = Command::new(program(name));
    at_home(&mut command, home);
    command
}

fn at_home(command: &mut Command, home: &Path) {
    command.env("ROCKETMQ_HOME", home).env("HOME", home).env_remove("NAMESRV_ADDR");
    command.current_dir(home);
}

/// Waits until the name server knows the route of `topic`.
pub fn wait_for_route(namesrv: &str, topic: &str) {
    let mut wire = Wire::connect(namesrv);
    until(&format!("route of {topic}"), Duration::from_secs(60), || {
        (wire.call(code::ROUTE, &[("topic", topic)], b"").code() == 0).then_some(())
    });
}

/// Waits until the name server has a broker at `addr`, master or slave.
pub fn wait_for_broker(namesrv: &str, addr: &str) {
    let mut wire = Wire::connect(namesrv);
    until(&format!("{addr} is registered"), Duration::from_secs(60), || {
        let reply = wire.call(code::CLUSTER_INFO, &[], b"");
        String::from_utf8_lossy(&reply.body).contains(&format!("\"{addr}\"")).then_some(())
    });
}

fn start(
    place: &Place<'_>,
    name: &str,
    home: &Path,
    port: u16,
    settings: &[(&str, &str)],
) -> Server {
    let conf = write_conf(home, name, settings);
    let mut command = match place.prefix {
        [] => Command::new(program(name)),
        [first, more @ ..] => {
            let mut command = Command::new(first);
            command.args(more).arg(program(name));
            command
        }
    };
    at_home(&mut command, home);
    command.envs(place.env.iter().copied()).arg("-c").arg(conf);
    let mut process = Process::spawn(name, command, &home.join(format!("{name}.out")));
    process.wait_for_port_of(place.host, port, START);
    Server { process, host: place.host.to_owned(), port, home: home.to_owned() }
}

/// Writes `home/conf/NAME.conf`.
pub fn write_conf(home: &Path, name: &str, settings: &[(&str, &str)]) -> PathBuf {
    let folder = home.join("conf");
    std::fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let file = folder.join(format!("{name}.conf"));
    let lines: Vec<String> =
        settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    std::fs::write(&file, lines.concat()).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    file
}
