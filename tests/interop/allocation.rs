//! Every allocation strategy divides as the official one does: mixed groups neither miss a queue nor
//! read one twice.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rocketmq::client::MessageQueue;
use rocketmq::client::allocate::{AllocateStrategy, Division, RoomResolver};

use crate::needed;
use crate::support::java_peer::{JavaPeer, cache, cached, run};

const DIVISIONS: usize = 400;

fn strategies() -> [(&'static str, AllocateStrategy); 5] {
    let room = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
    let resolver = RoomResolver {
        of_queue: Arc::new(move |queue| room(&queue.broker_name)),
        of_client: Arc::new(room),
    };
    let rooms: BTreeSet<String> = ["room1".to_owned(), "room3".to_owned()].into();
    [
        ("AVG", AllocateStrategy::Averagely),
        ("AVG_BY_CIRCLE", AllocateStrategy::AveragelyByCircle),
        ("MACHINE_ROOM", AllocateStrategy::MachineRoom(rooms)),
        ("MACHINE_ROOM_NEARBY", AllocateStrategy::MachineRoomNearby(Box::default(), resolver)),
        ("CONSISTENT_HASH", AllocateStrategy::ConsistentHash(10)),
    ]
}

/// Sorted queues and members, at most a dozen of each broker and of the group.
fn division(state: &mut u64) -> (Vec<MessageQueue>, Vec<String>) {
    let mut below = |limit: u64| {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % limit
    };
    let mut queues = Vec::new();
    for broker in 0..=below(4) {
        let broker_name = format!("room{}@broker-{broker}", 1 + below(4));
        for queue_id in 0..=below(12) as i32 {
            let (broker_name, topic) = (broker_name.clone(), "TopicTest".to_owned());
            queues.push(MessageQueue { broker_name, queue_id, topic });
        }
    }
    let members: BTreeSet<String> = (0..=below(12))
        .map(|number| {
            format!("room{}@10.0.{number}.{}@{}#7", 1 + below(4), below(256), below(9999))
        })
        .collect();
    queues.sort();
    (queues, members.into_iter().collect())
}

fn named(queues: &[MessageQueue]) -> String {
    let name = |queue: &MessageQueue| format!("{}#{}", queue.broker_name, queue.queue_id);
    queues.iter().map(name).collect::<Vec<_>>().join(",")
}

fn java() -> Result<Command, String> {
    let peer = JavaPeer::fetch("4.9.7")?;
    let folder = cache().join("java-allocate");
    let class_path = format!("{}:{}", folder.display(), peer.class_path());
    cached(&folder, include_str!("java/Allocate.java"), || {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/java/Allocate.java");
        let mut javac = Command::new("javac");
        run(javac.args(["-nowarn", "-cp", &class_path, "-d"]).arg(&folder).arg(source)).map(drop)
    })?;
    let mut java = Command::new("java");
    java.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", &class_path, "Allocate"]);
    Ok(java)
}

#[test]
fn our_members_and_those_of_java_agree_who_has_which_queue() {
    let Some(mut java) = needed("Java's strategies", java()) else { return };
    let strategies = strategies();
    let mut random = 11;
    let (mut questions, mut ours) = (String::new(), Vec::new());
    for number in 0..DIVISIONS {
        let (queues, members) = division(&mut random);
        let (name, strategy) = &strategies[number % strategies.len()];
        for client_id in &members {
            let asked = Division { group: "G", client_id, queues: &queues, members: &members };
            ours.push(named(&strategy.allocate(&asked).unwrap()));
            let all = members.join(",");
            questions.push_str(&format!("{name} {client_id} {} {all}\n", named(&queues)));
        }
    }
    let streams = java.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = streams.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let asked = questions.clone();
    let writer = std::thread::spawn(move || stdin.write_all(asked.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let theirs = String::from_utf8(output.stdout).unwrap();
    assert_eq!(theirs.lines().count(), ours.len());
    for ((question, theirs), ours) in questions.lines().zip(theirs.lines()).zip(&ours) {
        assert_eq!(theirs, ours, "{question}");
    }
}
