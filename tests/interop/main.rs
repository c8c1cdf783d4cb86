//! The official Java, Go, C++ and Node clients against our servers, and the official servers beside
//! ours.
//!
//! What is not on the machine (Maven, Go, Python, Node) is skipped, loudly; with `CI=true` in the
//! environment that is a failure instead. `ROCKETMQ_TEST_SERVERS=4.9.7` (or `5.3.3`) runs the
//! client matrix against the official servers: that is how the matrix itself is tested.

mod allocation;
mod clients;
mod failover;
mod features;
mod filters;
mod ha;
mod matrix;
mod moves;
mod ours;
mod peers;
#[path = "../support/mod.rs"]
mod support;

use clients::{Client, say};
use matrix::Site;

/// Unwraps what a test needs of the machine. `None`: the test is to be skipped, and was told to be.
fn needed<T>(what: &str, found: Result<T, String>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(why) if std::env::var("CI").is_ok_and(|value| value == "true") => {
            panic!("{what} is needed with CI=true: {why}")
        }
        Err(why) => {
            say(&format!("\n*** SKIPPED: {what} cannot be had on this machine ***\n{why}\n"));
            None
        }
    }
}

/// Prepares clients; `None` when one of them cannot be had.
fn prepared<const N: usize>(wanted: [Client; N]) -> Option<[clients::Prepared; N]> {
    let all: Option<Vec<_>> = wanted
        .iter()
        .map(|client| needed(&format!("the {client:?} client"), client.prepare()))
        .collect();
    all?.try_into().ok()
}

#[test]
fn java_to_java_and_go() {
    let Some([java, go]) = prepared([Client::Java498, Client::Go]) else { return };
    matrix::run(&Site::from_env(), 10_000, &java, &[&[&java, &java], &[&go]]);
}

#[test]
fn java_5_to_java_5_and_node() {
    let Some([java, node]) = prepared([Client::Java533, Client::Node]) else { return };
    matrix::run(&Site::from_env(), 10_000, &java, &[&[&java, &java], &[&node]]);
}

#[test]
fn go_to_go_and_cpp() {
    let Some([go, cpp]) = prepared([Client::Go, Client::Cpp]) else { return };
    matrix::run(&Site::from_env(), 10_000, &go, &[&[&go, &go], &[&cpp]]);
}

#[test]
fn cpp_to_cpp_and_java_5() {
    let Some([cpp, java]) = prepared([Client::Cpp, Client::Java533]) else { return };
    matrix::run(&Site::from_env(), 10_000, &cpp, &[&[&cpp, &cpp], &[&java]]);
}

#[test]
fn node_to_node_and_java() {
    let Some([node, java]) = prepared([Client::Node, Client::Java498]) else { return };
    matrix::run(&Site::from_env(), 10_000, &node, &[&[&node, &node], &[&java]]);
}

#[test]
fn ours_to_ours_and_java() {
    let Some([ours, java]) = prepared([Client::Ours, Client::Java498]) else { return };
    matrix::run(&Site::from_env(), 10_000, &ours, &[&[&ours, &ours], &[&java]]);
}

#[test]
fn one_group_of_every_language() {
    let wanted = [Client::Java498, Client::Go, Client::Cpp, Client::Node, Client::Ours];
    let Some([java, go, cpp, node, ours]) = prepared(wanted) else { return };
    matrix::run(&Site::from_env(), 1_000, &java, &[&[&java, &go, &cpp, &node, &ours]]);
}
