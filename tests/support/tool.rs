//! `mqadmin` and the servers that it talks to.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::servers::{self, Server, command};
use super::{TempDir, free_port, until};

/// A name server, a broker, and the tool to talk to them.
pub struct System {
    pub dir: TempDir,
    pub namesrv: Server,
    pub broker: Server,
}

impl System {
    pub fn start(name: &str) -> Self {
        Self::with(name, &[])
    }

    /// The same with more broker settings.
    pub fn with(name: &str, more: &[(&str, &str)]) -> Self {
        let dir = TempDir::new(name);
        let namesrv = servers::namesrv(dir.path());
        let addr = namesrv.addr();
        let broker = servers::broker_at(dir.path(), free_port(), Some(&addr), more);
        servers::wait_for_route(&addr, "TBW102");
        Self { dir, namesrv, broker }
    }

    pub fn tool(&self, line: &str) -> Command {
        let mut tool = command("mqadmin", self.dir.path());
        tool.env("NAMESRV_ADDR", self.namesrv.addr());
        tool.args(line.split_whitespace().map(|word| match word {
            "BROKER" => self.broker.addr(),
            other => other.to_owned(),
        }));
        tool
    }

    pub fn run(&self, line: &str) -> Output {
        self.tool(line).output().unwrap()
    }

    /// What a command that succeeds prints.
    pub fn must(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command prints as soon as `text` is in it.
    pub fn eventually(&self, line: &str, text: &str) -> String {
        until(&format!("{text:?} of {line}"), Duration::from_secs(60), || {
            let printed = String::from_utf8(self.run(line).stdout).unwrap();
            printed.contains(text).then_some(printed)
        })
    }

    /// Exit code and stderr of one that does not.
    pub fn fails(&self, line: &str) -> (i32, String) {
        let output = self.run(line);
        let code = output.status.code().unwrap();
        (code, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Sends every line to a new topic, and waits until all of them can be read.
    pub fn send_lines(&self, topic: &str, lines: &str) {
        let mut tool = self.tool(&format!("sendMessage -t {topic} -f - -l"));
        let mut child = tool.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        until("dispatch of what was sent", Duration::from_secs(60), || {
            let status = self.must(&format!("topicStatus -t {topic}"));
            let readable: usize =
                rows(&status).iter().map(|row| row[3].parse::<usize>().unwrap()).sum();
            (readable == lines.lines().count()).then_some(())
        });
    }
}

/// The rows of a table, each as its words.
pub fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}
