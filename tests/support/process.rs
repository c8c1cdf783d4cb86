//! [`Process`]: a child process with its output in a file, that ends with its owner.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::until;

/// How long a process may take to stop all of its threads.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A running program. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, its output appended to `log`.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Self {
        let open =
            || -> std::io::Result<File> { File::options().create(true).append(true).open(log) };
        let output = || Stdio::from(open().unwrap_or_else(|e| panic!("{}: {e}", log.display())));
        let child = command
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start ({command:?}): {error}"));
        Self { child, name: name.to_owned(), log: log.to_owned() }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until it accepts connections on `port`; panics, with its output, when it ends instead.
    pub fn wait_for_port(&mut self, port: u16, limit: Duration) {
        self.wait_for_port_of("127.0.0.1", port, limit);
    }

    /// The same, at an address that need not be this machine's.
    pub fn wait_for_port_of(&mut self, host: &str, port: u16, limit: Duration) {
        let ip: IpAddr = host.parse().unwrap_or_else(|error| panic!("{host}: {error}"));
        let addr = SocketAddr::from((ip, port));
        let what = format!("{} listens on {addr}", self.name);
        until(&what, limit, || {
            if let Some(status) = self.exited() {
                panic!("{} ended with {status}:\n{}", self.name, self.output());
            }
            TcpStream::connect_timeout(&addr, Duration::from_secs(1)).ok()
        });
    }

    /// Its exit status, once it has one.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        until(&format!("{} ends", self.name), limit, || self.exited())
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name (`TERM`, `STOP`, `CONT`). After `STOP` none of its threads runs any more: the
    /// call that sends it returns earlier.
    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -s {signal} {pid}");
        if signal == "STOP" {
            until(&format!("{} stops", self.name), STOP_LIMIT, || is_stopped(&pid).then_some(()));
        }
    }

    /// SIGTERM, and waits for the orderly end.
    pub fn stop(&mut self, limit: Duration) -> ExitStatus {
        if let Some(status) = self.exited() {
            return status;
        }
        self.signal("TERM");
        self.wait(limit)
    }
}

/// Whether every thread of the process is stopped, or gone.
fn is_stopped(pid: &str) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let stats = threads.into_iter().flatten().flatten().map(|thread| thread.path().join("stat"));
    stats.filter_map(|stat| std::fs::read_to_string(stat).ok()).all(|stat| {
        // The state follows the name, which may have brackets in it.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't', 'Z', 'X']))
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let output = self.output();
            let tail: Vec<&str> = output.lines().rev().take(30).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("--- end of {}'s output:\n{}", self.name, tail.join("\n"));
        }
    }
}
