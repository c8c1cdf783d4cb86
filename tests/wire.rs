//! Our servers answer like Java's, frame by frame: thousands of requests, compared with what the
//! official servers of 4.9.7 answered to them (`tests/wire/README.md`).
//!
//! The comparison is a program of its own, in Python, so that it shares no line of code with what it
//! judges. Without Python the test is skipped, loudly; with `CI=true` in the environment it fails.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::TempDir;
use support::servers::program;

#[test]
fn frames_are_java_s() {
    let python = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    if !python.is_ok_and(|status| status.success()) {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "python3 is needed");
        eprintln!("SKIPPED: python3 is not on this machine");
        return;
    }
    let broker = program("mqbroker");
    let folder = broker.parent().expect("the programs lie in a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/wirediff.py");
    let work = TempDir::new("wire");
    let output = Command::new("python3")
        .arg(script)
        // The tests of other programs run at the same time.
        .args(["check", "--slack", "3", "--bin"])
        .arg(folder)
        .arg("--work")
        .arg(work.join("servers"))
        .output()
        .unwrap_or_else(|error| panic!("python3: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{problems}");
    print!("{said}");
}
