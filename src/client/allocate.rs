//! Which queues of a topic a member of a group consumes: the allocation strategies.
//!
//! All members of a group compute the same division independently, each from the sorted queues and
//! the sorted client ids, so every strategy must give, bit for bit, what the other clients' give
//! (spec: client 3.12).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::remoting::protocol::bodies::MessageQueue;

/// What a strategy divides.
#[derive(Clone, Copy, Debug)]
pub struct Division<'a> {
    /// Consumer group.
    pub group: &'a str,
    /// Own client id.
    pub client_id: &'a str,
    /// All queues of one topic, sorted by broker name and queue id.
    pub queues: &'a [MessageQueue],
    /// Client ids of all members, sorted.
    pub members: &'a [String],
}

/// Signature of a custom strategy: own queues, or why it cannot tell (existing queues are kept).
///
/// ```
/// use rocketmq::client::allocate::{AllocateFn, AllocateStrategy};
/// use std::sync::Arc;
///
/// let one: Arc<AllocateFn> = Arc::new(|division| Ok(division.queues[..1].to_vec()));
/// assert_eq!(AllocateStrategy::Custom("ONE", one).name(), "ONE");
/// ```
pub type AllocateFn = dyn Fn(&Division<'_>) -> Result<Vec<MessageQueue>, String> + Send + Sync;

/// Tells the machine room of queues and of clients.
///
/// ```
/// use rocketmq::client::allocate::{AllocateStrategy, RoomResolver};
/// use std::sync::Arc;
///
/// // Brokers are named `ulm-1`, clients have addresses of their room.
/// let rooms = RoomResolver {
///     of_queue: Arc::new(|queue| queue.broker_name.split('-').next().unwrap_or_default().to_owned()),
///     of_client: Arc::new(|id| if id.starts_with("10.1.") { "ulm" } else { "bonn" }.to_owned()),
/// };
/// let nearby = AllocateStrategy::MachineRoomNearby(Box::default(), rooms);
/// assert_eq!(nearby.name(), "MACHINE_ROOM_NEARBY-AVG");
/// ```
#[derive(Clone)]
pub struct RoomResolver {
    /// Room of a queue's broker.
    pub of_queue: Arc<dyn Fn(&MessageQueue) -> String + Send + Sync>,
    /// Room of a client id.
    pub of_client: Arc<dyn Fn(&str) -> String + Send + Sync>,
}

/// How the queues of a topic are divided among the members of a group. All members of a group must
/// use the same.
///
/// ```
/// use rocketmq::client::allocate::{AllocateStrategy, Division};
/// use rocketmq::client::{ConsumerOptions, MessageQueue};
/// use std::sync::Arc;
///
/// let queue = |queue_id| MessageQueue { broker_name: "a".into(), queue_id, topic: "Orders".into() };
/// let queues: Vec<_> = (0..5).map(queue).collect();
/// let members = ["10.0.0.1@1".to_owned(), "10.0.0.2@1".to_owned()];
/// let division =
///     Division { group: "billing", client_id: &members[0], queues: &queues, members: &members };
/// assert_eq!(AllocateStrategy::Averagely.allocate(&division)?, queues[..3]);
///
/// // One of one's own: the first member gets everything, the others stand by.
/// let first = AllocateStrategy::Custom("FIRST", Arc::new(|division: &Division<'_>| {
///     let mine = division.members.first().is_some_and(|first| first == division.client_id);
///     Ok(if mine { division.queues.to_vec() } else { Vec::new() })
/// }));
/// assert_eq!(first.allocate(&division)?.len(), 5);
/// let options = ConsumerOptions::new("billing").strategy(first);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub enum AllocateStrategy {
    /// Consecutive queues, the first members get one more (`AVG`). Safe in groups with Java and Go.
    #[default]
    Averagely,
    /// Every c-th queue (`AVG_BY_CIRCLE`). Safe in groups with Java and Go.
    AveragelyByCircle,
    /// These queues, whatever the others do (`CONFIG`).
    Config(Vec<MessageQueue>),
    /// Only queues of brokers named `room@name` of these rooms, divided averagely
    /// (`MACHINE_ROOM`).
    MachineRoom(BTreeSet<String>),
    /// Queues go to members of their own room; those of rooms without members to everybody, each
    /// divided by the inner strategy (`MACHINE_ROOM_NEARBY`).
    MachineRoomNearby(Box<AllocateStrategy>, RoomResolver),
    /// A ring of MD5 hashes with so many virtual nodes a member, 10 in Java (`CONSISTENT_HASH`).
    ConsistentHash(u32),
    /// The application's own, with its name.
    Custom(&'static str, Arc<AllocateFn>),
}

impl std::fmt::Debug for AllocateStrategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl AllocateStrategy {
    /// Java's name of the strategy.
    pub fn name(&self) -> String {
        match self {
            Self::Averagely => "AVG".into(),
            Self::AveragelyByCircle => "AVG_BY_CIRCLE".into(),
            Self::Config(_) => "CONFIG".into(),
            Self::MachineRoom(_) => "MACHINE_ROOM".into(),
            Self::MachineRoomNearby(inner, _) => format!("MACHINE_ROOM_NEARBY-{}", inner.name()),
            Self::ConsistentHash(_) => "CONSISTENT_HASH".into(),
            Self::Custom(name, _) => (*name).into(),
        }
    }

    /// Own queues. `Err`: nothing can be said, the present queues are kept. Empty: own id is not
    /// among the members, or there are more members than queues.
    pub fn allocate(&self, division: &Division<'_>) -> Result<Vec<MessageQueue>, String> {
        if let Self::Config(queues) = self {
            return Ok(queues.clone());
        }
        if division.client_id.is_empty() {
            return Err("the own client id is empty".into());
        }
        if division.queues.is_empty() || division.members.is_empty() {
            return Err("no queues or no members to divide".into());
        }
        let Some(index) = division.members.iter().position(|id| id == division.client_id) else {
            return Ok(Vec::new());
        };
        match self {
            Self::Averagely => Ok(averagely(division.queues, division.members.len(), index)),
            Self::AveragelyByCircle => Ok(division
                .queues
                .iter()
                .skip(index)
                .step_by(division.members.len())
                .cloned()
                .collect()),
            Self::Config(queues) => Ok(queues.clone()),
            Self::MachineRoom(rooms) => Ok(machine_room(division, rooms, index)),
            Self::MachineRoomNearby(inner, resolver) => nearby(division, inner, resolver),
            Self::ConsistentHash(virtual_nodes) => Ok(consistent_hash(division, *virtual_nodes)),
            Self::Custom(_, allocate) => allocate(division),
        }
    }
}

fn averagely(queues: &[MessageQueue], members: usize, index: usize) -> Vec<MessageQueue> {
    let (each, rest) = (queues.len() / members, queues.len() % members);
    let (start, count) = if queues.len() <= members {
        (index, 1)
    } else if index < rest {
        (index * (each + 1), each + 1)
    } else {
        (index * each + rest, each)
    };
    queues.iter().skip(start).take(count).cloned().collect()
}

fn machine_room(
    division: &Division<'_>,
    rooms: &BTreeSet<String>,
    index: usize,
) -> Vec<MessageQueue> {
    let in_room = |queue: &&MessageQueue| {
        // As Java's `split`: empty parts at the end do not count.
        let parts: Vec<_> = queue.broker_name.trim_end_matches('@').split('@').collect();
        parts.len() == 2 && rooms.contains(parts[0])
    };
    let queues: Vec<_> = division.queues.iter().filter(in_room).collect();
    let members = division.members.len();
    let (each, rest) = (queues.len() / members, queues.len() % members);
    let mut own: Vec<_> =
        queues.iter().skip(each * index).take(each).map(|queue| (*queue).clone()).collect();
    if rest > index {
        own.push(queues[index + members * each].clone());
    }
    own
}

fn nearby(
    division: &Division<'_>,
    inner: &AllocateStrategy,
    resolver: &RoomResolver,
) -> Result<Vec<MessageQueue>, String> {
    let mut queues: BTreeMap<String, Vec<MessageQueue>> = BTreeMap::new();
    for queue in division.queues {
        let room = (resolver.of_queue)(queue);
        if room.is_empty() {
            return Err(format!("the machine room of the broker {} is empty", queue.broker_name));
        }
        queues.entry(room).or_default().push(queue.clone());
    }
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in division.members {
        let room = (resolver.of_client)(id);
        if room.is_empty() {
            return Err(format!("the machine room of the client {id} is empty"));
        }
        members.entry(room).or_default().push(id.clone());
    }
    let mut own = Vec::new();
    let own_room = (resolver.of_client)(division.client_id);
    if let (Some(queues), Some(members)) = (queues.remove(&own_room), members.get(&own_room)) {
        own.extend(inner.allocate(&Division { queues: &queues, members, ..*division })?);
    }
    for (room, queues) in &queues {
        if !members.contains_key(room) {
            own.extend(inner.allocate(&Division { queues, ..*division })?);
        }
    }
    Ok(own)
}

/// First four bytes of the MD5, big-endian.
fn ring_hash(key: &str) -> u32 {
    let digest = md5(key.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

fn consistent_hash(division: &Division<'_>, virtual_nodes: u32) -> Vec<MessageQueue> {
    let mut ring = BTreeMap::new();
    for id in division.members {
        for replica in 0..virtual_nodes {
            ring.insert(ring_hash(&format!("{id}-{replica}")), id.as_str());
        }
    }
    let owner = |queue: &&MessageQueue| {
        let hash = ring_hash(&queue.to_string());
        let node = ring.range(hash..).next().or_else(|| ring.first_key_value());
        node.is_some_and(|(_, id)| *id == division.client_id)
    };
    division.queues.iter().filter(owner).cloned().collect()
}

/// MD5 (RFC 1321), which the ring needs and nothing else does; not for secrets.
fn md5(message: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] =
        [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut state = [0x6745_2301u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - message.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let bits_at = padded.len() - 8;
    padded[bits_at..].copy_from_slice(&(message.len() as u64 * 8).to_le_bytes());
    for block in padded.chunks_exact(64) {
        let word = |i: usize| {
            u32::from_le_bytes([block[4 * i], block[4 * i + 1], block[4 * i + 2], block[4 * i + 3]])
        };
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64 {
            let (mix, at) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), (7 * i) % 16),
            };
            // The constants are the integer parts of 2^32 times |sin(i + 1)|.
            let sine = (((i + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mix).wrapping_add(sine).wrapping_add(word(at));
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4]));
        }
        for (part, add) in state.iter_mut().zip([a, b, c, d]) {
            *part = part.wrapping_add(add);
        }
    }
    let mut digest = [0; 16];
    for (bytes, part) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&part.to_le_bytes());
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(brokers: &[&str], each: i32) -> Vec<MessageQueue> {
        let on = |broker: &&str| {
            let broker_name = (*broker).to_owned();
            (0..each)
                .map(move |queue_id| MessageQueue {
                    broker_name: broker_name.clone(),
                    queue_id,
                    topic: "TopicTest".into(),
                })
                .collect::<Vec<_>>()
        };
        brokers.iter().flat_map(on).collect()
    }

    fn shares(
        strategy: &AllocateStrategy,
        queues: &[MessageQueue],
        members: &[&str],
    ) -> Vec<String> {
        let members: Vec<String> = members.iter().map(|id| (*id).to_owned()).collect();
        let share = |client_id: &String| {
            strategy
                .allocate(&Division { group: "G", client_id, queues, members: &members })
                .unwrap()
                .iter()
                .map(|q| format!("{}{}", &q.broker_name[q.broker_name.len() - 1..], q.queue_id))
                .collect::<Vec<_>>()
                .join(" ")
        };
        members.iter().map(share).collect()
    }

    #[test]
    fn averagely_gives_the_first_members_one_more() {
        let strategy = AllocateStrategy::Averagely;
        let q = |n| queues(&["a"], n);
        assert_eq!(shares(&strategy, &q(8), &["1", "2", "3"]), ["a0 a1 a2", "a3 a4 a5", "a6 a7"]);
        assert_eq!(
            shares(&strategy, &q(10), &["1", "2", "3", "4"]),
            ["a0 a1 a2", "a3 a4 a5", "a6 a7", "a8 a9"]
        );
        assert_eq!(
            shares(&strategy, &q(3), &["1", "2", "3", "4", "5"]),
            ["a0", "a1", "a2", "", ""]
        );
        assert_eq!(shares(&strategy, &q(4), &["1", "2"]), ["a0 a1", "a2 a3"]);
    }

    #[test]
    fn by_circle_deals_out_in_turn() {
        assert_eq!(
            shares(&AllocateStrategy::AveragelyByCircle, &queues(&["a"], 8), &["1", "2", "3"]),
            ["a0 a3 a6", "a1 a4 a7", "a2 a5"]
        );
    }

    #[test]
    fn machine_room_takes_only_brokers_of_its_rooms() {
        let strategy = AllocateStrategy::MachineRoom(["hz".to_owned()].into());
        let mut all = queues(&["hz@a"], 5);
        all.extend(queues(&["sh@b", "plain"], 4));
        assert_eq!(shares(&strategy, &all, &["1", "2", "3"]), ["a0 a3", "a1 a4", "a2"]);
    }

    #[test]
    fn nearby_gives_rooms_without_members_to_everybody() {
        let first = |text: &str| text.split('@').next().unwrap_or_default().to_owned();
        let resolver = RoomResolver {
            of_queue: Arc::new(move |queue| first(&queue.broker_name)),
            of_client: Arc::new(move |id| first(id)),
        };
        let strategy = AllocateStrategy::MachineRoomNearby(Box::default(), resolver);
        let all = queues(&["hz@a", "nj@c", "sh@b"], 2);
        assert_eq!(shares(&strategy, &all, &["hz@1", "hz@2", "sh@3"]), ["a0 c0", "a1 c1", "b0 b1"]);
        assert_eq!(strategy.name(), "MACHINE_ROOM_NEARBY-AVG");
    }

    #[test]
    fn consistent_hash_agrees_with_java() {
        assert_eq!(ring_hash("192.168.0.1@1001#1-0"), 3_845_969_514);
        let all = queues(&["broker-a", "broker-b"], 4);
        assert_eq!(ring_hash(&all[0].to_string()), 1_987_926_524);
        let members = ["192.168.0.1@1001#1", "192.168.0.2@1002#2", "192.168.0.3@1003#3"];
        assert_eq!(
            shares(&AllocateStrategy::ConsistentHash(10), &all, &members),
            ["a0 a3 b2", "a2", "a1 b0 b1 b3"]
        );
    }

    #[test]
    fn md5_vectors_around_the_block_size() {
        let hex = |text: String| {
            md5(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!(hex(String::new()), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex("abc".into()), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hex("1234567890".repeat(8)), "57edf4a22be3c955ac49da2e2107b67a");
        assert_eq!(hex("a".repeat(55)), "ef1772b6dff9a122358552954ad0df65");
        assert_eq!(hex("a".repeat(56)), "3b0c8ac703f828b04c6c197006d17218");
    }

    #[test]
    fn nothing_to_divide_is_an_error_and_a_stranger_gets_nothing() {
        let all = queues(&["a"], 2);
        let members = ["1".to_owned()];
        let strategy = AllocateStrategy::default();
        let division = Division { group: "G", client_id: "2", queues: &all, members: &members };
        assert_eq!(strategy.allocate(&division), Ok(vec![]));
        assert!(strategy.allocate(&Division { queues: &[], ..division }).is_err());
        assert!(strategy.allocate(&Division { members: &[], ..division }).is_err());
        assert!(strategy.allocate(&Division { client_id: "", ..division }).is_err());
    }
}
