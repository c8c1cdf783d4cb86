//! The commands of `bin/` and the files of `conf/`, in an installed tree of their own: what a user
//! of RocketMQ's quick start types.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use support::process::Process;
use support::servers::program;
use support::{TempDir, free_port, until};

const LIMIT: Duration = Duration::from_secs(60);

/// The tree that a package installs: `bin`, `conf`, and the programs in `libexec`.
fn install(dir: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["bin", "conf", "conf/2m-noslave", "conf/2m-2s-async", "conf/2m-2s-sync"] {
        fs::create_dir_all(dir.join(folder)).unwrap();
        for entry in fs::read_dir(source.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, dir.join(folder).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    fs::create_dir_all(dir.join("libexec")).unwrap();
    for name in ["mqnamesrv", "mqbroker", "mqadmin", "mqstore"] {
        let to = dir.join("libexec").join(name);
        if fs::hard_link(program(name), &to).is_err() {
            fs::copy(program(name), &to).unwrap();
        }
    }
}

/// `sh bin/NAME ARGS` in a world of its own.
fn command(home: &Path, name: &str, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.arg(format!("bin/{name}")).args(args).current_dir(home);
    command.env("HOME", home).env_remove("ROCKETMQ_HOME").env_remove("NAMESRV_ADDR");
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn wait_for_line(process: &Process, line: &str) {
    until(line, LIMIT, || process.output().contains(line).then_some(()));
}

#[test]
fn the_quick_start_works_from_an_installed_tree() {
    let home = TempDir::new("wrappers");
    install(home.path());
    let namesrv_port = free_port();
    let namesrv_addr = format!("localhost:{namesrv_port}");
    let listen = format!("listenPort={namesrv_port}");
    let namesrv = command(home.path(), "mqnamesrv", &[&listen]);
    let mut namesrv = Process::spawn("mqnamesrv", namesrv, &home.join("namesrv.out"));
    wait_for_line(&namesrv, "The Name Server boot success. serializeType=JSON");

    let listen = format!("listenPort={}", free_port());
    let store = format!("storePathRootDir={}", home.join("store").display());
    let args =
        ["-n", &namesrv_addr, "-c", "conf/broker.conf", &listen, &store, "brokerIP1=127.0.0.1"];
    let broker = command(home.path(), "mqbroker", &args);
    let mut broker = Process::spawn("mqbroker", broker, &home.join("broker.out"));
    wait_for_line(&broker, "boot success. serializeType=JSON and name server is localhost:");

    // By a link from elsewhere, as /usr/local/bin has them.
    symlink(home.join("bin/mqadmin"), home.join("admin")).unwrap();
    until("the broker in clusterList", LIMIT, || {
        let mut admin = Command::new("sh");
        admin.arg(home.join("admin")).args(["clusterList", "-n", &namesrv_addr]);
        let output = admin.env_remove("ROCKETMQ_HOME").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        text(&output).contains("broker-a").then_some(())
    });

    for (name, process) in [("broker", &mut broker), ("namesrv", &mut namesrv)] {
        let pid = process.pid();
        let output = command(home.path(), "mqshutdown", &[name]).output().unwrap();
        let expected = format!(
            "The mq{name}({pid}) is running...\nSend shutdown request to mq{name}({pid}) OK\n"
        );
        assert_eq!((output.status.code(), text(&output)), (Some(0), expected));
        assert_eq!(process.wait(LIMIT).code(), Some(143), "SIGTERM, as Java's process ends");
        let output = command(home.path(), "mqshutdown", &[name]).output().unwrap();
        let expected = format!("No mq{name} running.\n");
        assert_eq!((output.status.code(), text(&output)), (Some(255), expected));
    }
    assert!(home.join("store/checkpoint").exists());
    assert!(!home.join("store/abort").exists(), "an orderly end");
    let output = command(home.path(), "mqstore", &["--help"]).output().unwrap();
    assert!(text(&output).contains("usage: mqstore COMMAND"), "{output:?}");
}

/// The sample files of two masters with a slave each, all on this machine.
#[test]
fn two_masters_and_two_slaves_start_as_shipped() {
    let home = TempDir::new("2m-2s");
    install(home.path());
    let namesrv_port = free_port();
    let namesrv_addr = format!("127.0.0.1:{namesrv_port}");
    let namesrv = command(home.path(), "mqnamesrv", &[&format!("listenPort={namesrv_port}")]);
    let namesrv = Process::spawn("mqnamesrv", namesrv, &home.join("namesrv.out"));
    wait_for_line(&namesrv, "The Name Server boot success. serializeType=JSON");
    let brokers = ["broker-a", "broker-a-s", "broker-b", "broker-b-s"].map(|name| {
        let file = format!("conf/2m-2s-sync/{name}.properties");
        let listen = format!("listenPort={}", free_port());
        let store = format!("storePathRootDir={}", home.join(name).display());
        let args = ["-n", &namesrv_addr, "-c", &file, &listen, &store, "brokerIP1=127.0.0.1"];
        let broker = command(home.path(), "mqbroker", &args);
        Process::spawn(name, broker, &home.join(format!("{name}.out")))
    });
    let admin = |words: &[&str]| {
        let output = command(home.path(), "mqadmin", words).output().unwrap();
        text(&output)
    };
    let list = ["clusterList", "-n", &namesrv_addr];
    let rows = until("both masters have their slave", LIMIT, || {
        let rows = admin(&list);
        let count = |what: &str| rows.lines().filter(|row| row.contains(what)).count();
        (count(" 1 slave: ") == 2 && count(" B behind ") == 2).then_some(rows)
    });
    let of = |name: &str| -> Vec<Vec<&str>> {
        let rows = rows.lines().filter(|row| row.contains(name));
        rows.map(|row| row.split_whitespace().collect()).collect()
    };
    for name in ["broker-a", "broker-b"] {
        let rows = of(name);
        assert_eq!((rows[0][2], rows[0][10]), ("0", "SYNC_MASTER"), "{rows:?}");
        assert_eq!((rows[1][2], rows[1][10]), ("1", "SLAVE"), "{rows:?}");
    }
    // What a SYNC_MASTER with its slave answers.
    until("a send is acknowledged by both", LIMIT, || {
        let sent = admin(&["sendMessage", "-n", &namesrv_addr, "-t", "T", "-p", "hello"]);
        sent.contains("SEND_OK").then_some(())
    });
    drop(brokers);
}

#[test]
fn home_is_set_and_samples_are_understood() {
    let home = TempDir::new("samples");
    install(home.path());
    let output = command(home.path(), "mqnamesrv", &["-p"]).output().unwrap();
    let real = fs::canonicalize(home.path()).unwrap();
    let line = format!("rocketmqHome={}", real.display());
    assert!(text(&output).lines().any(|known| known.ends_with(&line)), "{output:?}");

    let traced = "conf/2m-noslave/broker-trace.properties";
    let samples = [
        ("conf/broker.conf", "broker-a"),
        ("conf/2m-noslave/broker-a.properties", "broker-a"),
        ("conf/2m-noslave/broker-b.properties", "broker-b"),
        ("conf/2m-2s-async/broker-a.properties", "broker-a"),
        ("conf/2m-2s-async/broker-a-s.properties", "broker-a"),
        ("conf/2m-2s-async/broker-b.properties", "broker-b"),
        ("conf/2m-2s-async/broker-b-s.properties", "broker-b"),
        ("conf/2m-2s-sync/broker-a.properties", "broker-a"),
        ("conf/2m-2s-sync/broker-a-s.properties", "broker-a"),
        ("conf/2m-2s-sync/broker-b.properties", "broker-b"),
        ("conf/2m-2s-sync/broker-b-s.properties", "broker-b"),
        (traced, "broker-trace"),
    ];
    for (sample, name) in samples {
        let output = command(home.path(), "mqbroker", &["-c", sample, "-p"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{sample}: {output:?}");
        for expected in [format!("brokerName={name}"), "deleteWhen=04".to_owned()] {
            let printed = text(&output);
            assert!(printed.lines().any(|line| line.ends_with(&expected)), "{sample}: {printed}");
        }
    }
}

#[test]
fn a_wrong_word_is_told() {
    let home = TempDir::new("words");
    install(home.path());
    let output = command(home.path(), "mqshutdown", &[]).output().unwrap();
    assert_eq!(text(&output), "Useage: mqshutdown broker | namesrv\n");
    for name in ["mqnamesrv", "mqbroker"] {
        let output = command(home.path(), name, &["--nonsense"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output).contains(&format!("usage: {name}")), "{output:?}");
    }
    fs::remove_file(home.join("libexec/mqadmin")).unwrap();
    let output = command(home.path(), "mqadmin", &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(problem.contains("run cargo build --release"), "{problem}");
}
