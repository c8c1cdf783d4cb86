//! The official Java servers and tool beside ours: our client with their servers, their broker at our
//! name server, ours at theirs, and their `mqadmin` asking both of ours.

use crate::clients::Client;
use crate::matrix::{self, LONG, QUEUES, Site, TOPIC};
use crate::support::java_peer::{JavaPeer, Servers};
use crate::support::until;
use crate::support::wire::{borrowed, code, send_fields};
use crate::{needed, prepared};

fn official(version: &str) -> Option<Servers> {
    needed(&format!("the Java server {version}"), Servers::java(version))
}

#[test]
fn our_client_with_java_4_servers() {
    let Some([ours, java]) = prepared([Client::Ours, Client::Java498]) else { return };
    let Some(official) = official("4.9.7") else { return };
    matrix::run(&Site::start(&official, &official), 3_000, &ours, &[&[&ours, &ours], &[&java]]);
}

#[test]
fn our_client_with_java_5_servers() {
    let Some([ours, java]) = prepared([Client::Ours, Client::Java533]) else { return };
    let Some(official) = official("5.3.3") else { return };
    matrix::run(&Site::start(&official, &official), 3_000, &java, &[&[&ours, &ours], &[&java]]);
}

#[test]
fn java_broker_4_at_our_name_server() {
    let Some([java, go]) = prepared([Client::Java498, Client::Go]) else { return };
    let Some(official) = official("4.9.7") else { return };
    matrix::run(&Site::start(&Servers::Ours, &official), 1_000, &go, &[&[&java]]);
}

#[test]
fn java_broker_5_at_our_name_server() {
    let Some([java, cpp]) = prepared([Client::Java533, Client::Cpp]) else { return };
    let Some(official) = official("5.3.3") else { return };
    matrix::run(&Site::start(&Servers::Ours, &official), 1_000, &java, &[&[&cpp]]);
}

#[test]
fn our_broker_at_a_java_4_name_server() {
    let Some([java, node]) = prepared([Client::Java498, Client::Node]) else { return };
    let Some(official) = official("4.9.7") else { return };
    matrix::run(&Site::start(&official, &Servers::Ours), 1_000, &node, &[&[&java]]);
}

#[test]
fn our_broker_at_a_java_5_name_server() {
    let Some([java, go]) = prepared([Client::Java533, Client::Go]) else { return };
    let Some(official) = official("5.3.3") else { return };
    matrix::run(&Site::start(&official, &Servers::Ours), 1_000, &java, &[&[&go]]);
}

/// The official `mqadmin`, asking by way of a name server.
struct Tool {
    peer: JavaPeer,
    namesrv: String,
}

impl Tool {
    /// Runs a command; for each list of words there must be a line that has them all.
    fn tells(&self, command: &[&str], lines: &[&[&str]]) {
        let words = [command, &["-n", &self.namesrv]].concat();
        // It gives up after five seconds of its own; the machine may be busy.
        let said = until("an answer in time", LONG, || {
            let said = self.peer.mqadmin(&words);
            let late = ["RemotingTimeoutException", "RemotingConnectException"];
            (!late.iter().any(|exception| said.contains(exception))).then_some(said)
        });
        assert!(!said.contains("Exception"), "mqadmin {words:?}:\n{said}");
        for wanted in lines {
            let found = said.lines().any(|line| wanted.iter().all(|word| line.contains(word)));
            assert!(found, "mqadmin {words:?} has no line with {wanted:?}:\n{said}");
        }
    }
}

#[test]
fn the_java_tool_understands_our_servers() {
    let Some([java]) = prepared([Client::Java498]) else { return };
    let Some(peer) = needed("the Java tool", JavaPeer::fetch("4.9.7")) else { return };
    let site = Site::from_env();
    // A group with progress, and a message whose place is known.
    matrix::run(&site, 100, &java, &[&[&java]]);
    let mut wire = site.broker.wire();
    let sent = wire.must(code::SEND, &borrowed(&send_fields(TOPIC, 3, "found-by-id")), b"by id");
    let id = sent.text("msgId").unwrap_or_else(|| panic!("no msgId: {}", sent.header));
    let offset = sent.number("queueOffset").unwrap_or_else(|| panic!("{}", sent.header));
    until("the message is dispatched", LONG, || {
        (wire.max_offset(TOPIC, 3) == offset + 1).then_some(())
    });
    let (offset, end) = (offset.to_string(), (offset + 1).to_string());

    let tool = Tool { peer, namesrv: site.namesrv.addr() };
    let broker = site.broker.addr();
    let group = "G0_Java498";
    let queues = QUEUES.to_string();
    tool.tells(&["clusterList"], &[&["DefaultCluster", "broker-a", " 0 ", &broker, "V4_9_"]]);
    tool.tells(&["topicList"], &[&[TOPIC], &["%RETRY%", group]]);
    tool.tells(
        &["topicRoute", "-t", TOPIC],
        &[&["0:", &broker], &["readQueueNums", &queues], &["writeQueueNums", &queues]],
    );
    tool.tells(&["topicStatus", "-t", TOPIC], &[&["broker-a", " 3 ", " 0 ", &end]]);
    tool.tells(
        &["consumerProgress", "-g", group],
        &[&[TOPIC, "broker-a", " 3 ", &end], &["Diff Total: 1"]],
    );
    tool.tells(
        &["updateTopic", "-b", &broker, "-t", "MadeByTool", "-r", "5", "-w", "6"],
        &[
            &["create topic to", &broker, "success"],
            &["MadeByTool", "readQueueNums=5", "writeQueueNums=6"],
        ],
    );
    tool.tells(
        &["topicRoute", "-t", "MadeByTool"],
        &[&["readQueueNums", "5"], &["writeQueueNums", "6"]],
    );
    tool.tells(
        &["updateSubGroup", "-b", &broker, "-g", "MadeByTool", "-q", "3"],
        &[
            &["create subscription group to", &broker, "success"],
            &["groupName=MadeByTool", "retryQueueNums=3"],
        ],
    );
    tool.tells(
        &["queryMsgById", "-i", &id],
        &[
            &["OffsetID:", &id],
            &["Topic:", TOPIC],
            &["Keys:", "found-by-id"],
            &["Queue ID:", "3"],
            &["Queue Offset:", &offset],
        ],
    );
}
