//! A configuration that makes no sense ends the program with one clear sentence and an exit status,
//! before anything is touched; an unknown key is a warning with the nearest name.

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::process::Process;
use support::servers::{self, broker_settings, write_conf};
use support::{TempDir, free_port};

/// What a program said before it ended.
struct Ended {
    code: Option<i32>,
    said: String,
}

impl Ended {
    /// Ended with a status that is no success, no panic and no signal, and said all of `words` in
    /// one sentence.
    fn told(&self, words: &[&str]) {
        assert!(self.code.is_some_and(|code| code != 0), "status {:?}: {}", self.code, self.said);
        assert_ne!(self.code, Some(101), "a panic: {}", self.said);
        assert!(!self.said.contains("panicked"), "{}", self.said);
        let sentence = self.said.lines().find(|line| words.iter().all(|word| line.contains(word)));
        assert!(sentence.is_some(), "no line has all of {words:?}:\n{}", self.said);
        assert!(self.said.lines().count() <= 3, "that is more than a sentence:\n{}", self.said);
    }
}

/// Runs a program that is to end by itself.
fn run(name: &str, home: &Path, words: &[&str]) -> Ended {
    let mut command = servers::command(name, home);
    command.args(words);
    let log = home.join("said");
    let mut process = Process::spawn(name, command, &log);
    let status = process.wait(Duration::from_secs(60));
    let said = process.output();
    let _ = std::fs::remove_file(log);
    Ended { code: status.code(), said }
}

/// Runs a broker whose settings differ from good ones by `more`.
fn broker(home: &Path, more: &[(&str, &str)]) -> Ended {
    let conf = conf(home, free_port(), more);
    run("mqbroker", home, &["-c", &conf])
}

fn conf(home: &Path, port: u16, more: &[(&str, &str)]) -> String {
    let settings = broker_settings(home, port, None, more);
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    write_conf(home, "broker", &settings).display().to_string()
}

#[test]
fn a_bad_value_is_told_with_its_line() {
    let home = TempDir::new("bad-config");
    for (key, value) in [
        ("mappedFileSizeCommitLog", "1G"),
        ("flushDiskType", "SOMETIMES_FLUSH"),
        ("brokerRole", "KING"),
        ("autoCreateTopicEnable", "maybe"),
        ("listenPort", "123456"),
    ] {
        let ended = broker(home.path(), &[(key, value)]);
        let file = home.join("conf/broker.conf");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}"));
        let line = text.lines().position(|line| line.starts_with(key)).map(|line| line + 1);
        let place = format!("broker.conf:{}", line.unwrap_or_default());
        ended.told(&[&place, key, value]);
    }
    let conf = write_conf(home.path(), "namesrv", &[("listenPort", "ten")]);
    run("mqnamesrv", home.path(), &["-c", &conf.display().to_string()]).told(&[
        "namesrv.conf:1",
        "listenPort",
        "ten",
    ]);
}

#[test]
fn an_unknown_key_is_a_warning_with_the_nearest_name() {
    let dir = TempDir::new("bad-config");
    let broker =
        servers::broker_at(dir.path(), free_port(), None, &[("mapedFileSizeCommitLog", "1048576")]);
    let said = broker.process.output();
    let logs = all_text_below(&broker.home);
    let warning = said.lines().chain(logs.lines()).find(|line| {
        line.contains("mapedFileSizeCommitLog") && line.contains("mappedFileSizeCommitLog")
    });
    assert!(warning.is_some(), "no warning with both names in:\n{said}");
}

/// What programs wrote into log files below a folder.
fn all_text_below(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text.push_str(&all_text_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "log") {
            text.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
    text
}

#[test]
fn a_taken_port_is_named() {
    let home = TempDir::new("bad-config");
    let port = free_port();
    let _taken =
        TcpListener::bind(("0.0.0.0", port)).unwrap_or_else(|error| panic!("{port}: {error}"));
    let file = conf(home.path(), port, &[]);
    run("mqbroker", home.path(), &["-c", &file]).told(&[&port.to_string()]);
    let file = write_conf(home.path(), "namesrv", &[("listenPort", &port.to_string())]);
    run("mqnamesrv", home.path(), &["-c", &file.display().to_string()]).told(&[&port.to_string()]);
}

#[test]
fn a_store_has_one_owner() {
    let dir = TempDir::new("bad-config");
    let mut first = servers::broker_at(dir.path(), free_port(), None, &[]);
    let store = first.home.join("store");
    let second = TempDir::new("bad-config");
    let commit_log = store.join("commitlog");
    let ended = broker(
        second.path(),
        &[
            ("storePathRootDir", &store.display().to_string()),
            ("storePathCommitLog", &commit_log.display().to_string()),
        ],
    );
    ended.told(&[&store.display().to_string()]);
    assert_eq!(first.process.exited(), None, "the owner lives on");
    first.wire().create_topic("StillMine", 1);
}

#[test]
fn a_store_that_cannot_be_is_named() {
    let home = TempDir::new("bad-config");
    // A file where the folder should be: nobody can make it, not even root.
    let file = home.join("file");
    std::fs::write(&file, "").unwrap_or_else(|error| panic!("{error}"));
    let store = file.join("store");
    let ended = broker(
        home.path(),
        &[
            ("storePathRootDir", &store.display().to_string()),
            ("storePathCommitLog", &store.join("commitlog").display().to_string()),
        ],
    );
    ended.told(&[&file.display().to_string()]);
}

#[test]
fn a_slave_needs_a_number_of_its_own() {
    let home = TempDir::new("bad-config");
    let ended = broker(home.path(), &[("brokerRole", "SLAVE"), ("brokerId", "0")]);
    ended.told(&["brokerId", "0", "slave"]);
    assert_eq!(ended.code, Some(253));
}

#[test]
fn what_keeps_messages_safe_is_not_passed_over() {
    let home = TempDir::new("bad-config");
    for (key, what) in
        [("aclEnable", "no access control"), ("enableDLegerCommitLog", "no DLedger log")]
    {
        let ended = broker(home.path(), &[(key, "true")]);
        ended.told(&[key, what]);
        assert_eq!(ended.code, Some(253));
        assert!(!home.join("store").exists(), "nothing is made");
    }
}

#[test]
fn command_lines_are_checked() {
    let home = TempDir::new("bad-config");
    for program in ["mqbroker", "mqnamesrv"] {
        run(program, home.path(), &["-c", "/nowhere/x.conf"]).told(&["/nowhere/x.conf"]);
        let ended = run(program, home.path(), &["--no-such-option"]);
        assert!(ended.code.is_some_and(|code| code != 0), "{:?}", ended.code);
        assert!(ended.said.contains("no-such-option"), "{}", ended.said);
        let help = Command::new(servers::program(program))
            .arg("-h")
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(help.status.success(), "{program} -h: {}", help.status);
        let text = String::from_utf8_lossy(&help.stdout);
        assert!(text.contains("-c") && text.contains(program), "{program} -h: {text}");
    }
    let conf = conf(home.path(), free_port(), &[]);
    run("mqbroker", home.path(), &["-c", &conf, "-n", "not an address"]).told(&["not an address"]);
}
