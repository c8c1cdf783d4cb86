//! Sending and consuming from a shell: pipes, signals, exit codes, commands for messages.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rocketmq::common::clock::now_ms;
use support::servers;
use support::tool::System;
use support::{TempDir, free_port, until};

const SOON: Duration = Duration::from_secs(60);

/// A tool that runs, and the lines that it prints as they come.
fn running(
    system: &System,
    line: &str,
    more: &[&str],
) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut tool = system.tool(line);
    let mut child = tool.args(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill").args(["-s", name, &pid]).status().unwrap().success()
    );
}

fn end(mut child: Child) -> i32 {
    let status = until("the tool ends", SOON, || child.try_wait().unwrap());
    status.code().unwrap()
}

fn lines(from: &mut impl BufRead, count: usize) -> Vec<String> {
    let mut lines: Vec<String> = from.lines().take(count).map(Result::unwrap).collect();
    lines.sort();
    lines
}

fn numbered(range: std::ops::Range<usize>) -> String {
    range.map(|number| format!("line {number:03}\n")).collect()
}

#[test]
fn following_a_topic_until_a_signal_leaves_the_offsets_right() {
    let system = System::start("scripts-follow");
    system.must("updateTopic -b BROKER -t T -r 2 -w 2");
    system.send_lines("T", &numbered(0..10));
    let (child, mut output) = running(&system, "consumeMessage -t T -r -F -k -g G", &[]);
    let mut all = lines(&mut output, 10);
    let mut tool = system.tool("sendMessage -t T -f - -l");
    let mut sender = tool.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    sender.stdin.take().unwrap().write_all(numbered(10..20).as_bytes()).unwrap();
    all.extend(lines(&mut output, 10));
    assert!(sender.wait().unwrap().success());
    let expected: Vec<_> = numbered(0..20).lines().map(str::to_owned).collect();
    assert_eq!(all, expected);
    // Not INT: what runs in the background of a script is started to ignore it.
    signal(&child, "TERM");
    assert_eq!(end(child), 143);
    assert_eq!(system.must("consumeMessage -t T -r -k -g G"), "", "all of it is committed");
    // From a time on, and as JSON.
    let (child, mut output) = running(&system, "consumeMessage -t T -F --json -s now -C 1", &[]);
    // It is not told when "now" is: what is sent after that is seen.
    let mut child = child;
    until("a new message is seen", SOON, || {
        system.must("sendMessage -t T -p fresh");
        child.try_wait().unwrap()
    });
    let line = &lines(&mut output, 1)[0];
    assert!(line.starts_with('{') && line.contains(r#""body":"fresh""#), "{line}");
    assert_eq!(end(child), 0);
}

#[test]
fn a_reader_that_goes_away_and_counts_that_are_not_reached() {
    let system = System::start("scripts-counts");
    system.must("updateTopic -b BROKER -t T -r 1 -w 1");
    // More than a pipe holds, so that the tool cannot be done before its reader goes.
    let wide = numbered(0..300).replace('\n', &format!(" {}\n", "x".repeat(1000)));
    system.send_lines("T", &wide);
    let (child, mut output) = running(&system, "consumeMessage -t T -r -k -g G -c 300", &[]);
    let seen = lines(&mut output, 1);
    drop(output);
    assert!(seen[0].starts_with("line 000 "), "{}", seen[0]);
    assert_eq!(end(child), 0, "a closed pipe is no failure");
    let rest = system.must("consumeMessage -t T -r -k -g G -c 300");
    let last: Vec<_> = rest.lines().rev().take(200).collect();
    assert_eq!((last.len(), &last[0][..8]), (200, "line 299"), "what nobody read is not committed");

    let began = Instant::now();
    let (code, problem) = system.fails("consumeMessage -t T -r -C 301 -w 5");
    assert_eq!((code, problem.as_str()), (3, "only 300 messages came\n"));
    assert!(began.elapsed() < SOON);
    assert_eq!(system.must("consumeMessage -t T -r -C 7").lines().count(), 7);
    for wrong in ["consumeMessage -t T -C 0", "consumeMessage -t T -E cat", "sendMessage -t T"] {
        assert_eq!(system.fails(wrong).0, 2, "{wrong}");
    }
}

#[test]
fn a_command_for_each_message() {
    let system = System::with("scripts-exec", &[("messageDelayLevel", "1s 1s 1s 1s 1s")]);
    system.must("updateTopic -b BROKER -t T -r 2 -w 2");
    system.must("sendMessage -t T -p one -c good -k k1 -a color=red");
    system.must("sendMessage -t T -p two -c bad");
    let out = system.dir.join("out");
    // Fails once for a bad one: that comes again.
    let command = format!(
        "test $MQ_TAGS != bad -o $MQ_RECONSUME_TIMES != 0 || exit 7; \
         echo \"$(cat) $MQ_TOPIC $MQ_TAGS $MQ_KEYS $MQ_RECONSUME_TIMES\" >> {0}; \
         echo \"$MQ_PROPERTIES\" | grep color= >> {0}; true",
        out.display()
    );
    let (child, _output) =
        running(&system, "consumeMessage -t T -g G -C 2 -w 30", &["--exec", &command]);
    assert_eq!(end(child), 0);
    let mut done: Vec<_> =
        std::fs::read_to_string(&out).unwrap().lines().map(str::to_owned).collect();
    done.sort();
    assert_eq!(done, ["color=red", "one T good k1 0", "two T bad  1"]);
    // Everything is acknowledged; a signal during a command lets it finish, and commits.
    let (child, _output) = running(&system, "consumeMessage -t T -g G -C 1 -w 1", &["-E", "true"]);
    assert_eq!(end(child), 3);
    system.must("sendMessage -t T -p slow");
    let slow = format!("touch {0}.begun; sleep 2; touch {0}.ended", out.display());
    let (child, _output) = running(&system, "consumeMessage -t T -g G -F", &["-E", &slow]);
    let exists = |end: &str| std::path::Path::new(&format!("{}.{end}", out.display())).exists();
    until("the command runs", SOON, || exists("begun").then_some(()));
    signal(&child, "TERM");
    assert_eq!(end(child), 143);
    assert!(exists("ended"));
    let (child, _output) = running(&system, "consumeMessage -t T -g G -C 1 -w 1", &["-E", "true"]);
    assert_eq!(end(child), 3, "it was committed");
}

#[test]
fn sending_waits_for_servers_that_are_not_there_yet() {
    let dir = TempDir::new("scripts-wait");
    let namesrv = servers::namesrv(dir.path());
    let port = free_port();
    let send = |wait: &str| {
        let mut tool = servers::command("mqadmin", dir.path());
        tool.env("NAMESRV_ADDR", namesrv.addr()).args(["sendMessage", "-t", "T", "-p", "x"]);
        tool.args(["-w", wait]).stdout(Stdio::piped()).stderr(Stdio::piped());
        tool.spawn().unwrap()
    };
    assert_eq!(end(send("0")), 1);
    let child = send("60");
    let _broker = servers::broker_at(dir.path(), port, Some(&namesrv.addr()), &[]);
    assert_eq!(end(child), 0);
}

#[test]
fn what_cannot_be_sent_is_refused_and_what_can_be_is_sent_though_nobody_reads_the_report() {
    let system = System::start("scripts-input");
    system.must("updateTopic -b BROKER -t T -r 1 -w 1");
    let file = system.dir.join("file");
    // A line that is too long ends it, without being held in memory as a whole.
    let mut input = b"one\n\ntwo\0\xff\n".to_vec();
    input.resize(input.len() + (4 << 20) + 1, b'x');
    std::fs::write(&file, &input).unwrap();
    let line = format!("sendMessage -t T -l -f {}", file.display());
    let (code, problem) = system.fails(&line);
    let expected = format!("line 4 of {} is longer than 4194304 bytes\n", file.display());
    assert_eq!((code, problem), (1, expected), "those before it are sent");
    std::fs::write(&file, b"").unwrap();
    for (line, code, expected) in [
        (format!("sendMessage -t T -f {}", file.display()), 1, "the message has no body"),
        ("sendMessage -t T,1 -p x".to_owned(), 1, "contains ','"),
        ("sendMessage -t SCHEDULE_TOPIC_XXXX -p x".to_owned(), 1, "nobody but the broker"),
        ("sendMessage -t T -p x -a =1".to_owned(), 1, "the property \"\" is empty"),
        ("sendMessage -t T -p x -d 0".to_owned(), 2, "--delayLevel is 0"),
    ] {
        let (actual, problem) = system.fails(&line);
        assert!(actual == code && problem.contains(expected), "{line}: {actual} {problem}");
    }
    let mut tool = system.tool("sendMessage -t T -l -f -");
    let mut child = tool.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(numbered(0..300).as_bytes()).unwrap();
    assert_eq!(end(child), 0);
    let expected = format!("one\ntwo\0\u{fffd}\n{}", numbered(0..300));
    until("all that was sent", SOON, || {
        let output = system.run("consumeMessage -t T -r -c 1000").stdout;
        (String::from_utf8_lossy(&output) == expected).then_some(())
    });
}

#[test]
fn what_lies_behind_an_end_is_not_committed() {
    let system = System::start("scripts-end");
    system.must("updateTopic -b BROKER -t T -r 1 -w 1");
    system.must("sendMessage -t T -p a1 -c A");
    system.eventually("consumeMessage -t T -r", "a1");
    system.must("sendMessage -t T -p b1 -c B");
    let all = until("when the last message was stored", SOON, || {
        let all = system.must("consumeMessage -t T --json");
        (all.lines().count() == 2).then_some(all)
    });
    let stored = all.lines().last().unwrap().split("\"storeTimestamp\":").nth(1).unwrap();
    let stored: i64 = stored.split([',', '}']).next().unwrap().parse().unwrap();
    // The next millisecond, which no message has: it is behind both.
    until("that time is over", SOON, || (now_ms() > stored + 1).then_some(()));
    system.must("sendMessage -t T -p a2 -c A");
    system.eventually("consumeMessage -t T -r", "a2");
    let first = system.must(&format!("consumeMessage -t T -x A -r -k -g G -F -e {}", stored + 1));
    assert_eq!(first, "a1\n", "and does not wait for more");
    assert_eq!(system.must("consumeMessage -t T -x A -r -k -g G"), "a2\n");
}
