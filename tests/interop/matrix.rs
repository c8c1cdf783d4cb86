//! One producer, several consumer groups, and the accounting: every message that was sent arrives
//! in every group, where it was said to be, as it was sent, and once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::clients::{Consumer, Got, Prepared, Sent, say};
use crate::support::java_peer::Servers;
use crate::support::servers::{self, Server};
use crate::support::wire::{Wire, borrowed, code, send_fields};
use crate::support::{TempDir, free_port, until};

/// Topic of every run.
pub const TOPIC: &str = "Interop";
/// Its queues.
pub const QUEUES: i32 = 8;
/// Longest wait for something that must come: clients of several languages share a machine that may be
/// busy.
pub const LONG: Duration = Duration::from_secs(240);
/// After so long without a delivery, the last one was the last.
const LATE: Duration = Duration::from_secs(2);
const TAGS: [&str; 5] = ["a", "b", "标签", "d", "ü"];

/// A name server and a broker with the topic.
pub struct Site {
    /// Everything's folder.
    pub dir: TempDir,
    /// Name server.
    pub namesrv: Server,
    /// Broker.
    pub broker: Server,
}

impl Site {
    /// A name server and a broker, each made by whom the caller says.
    pub fn start(namesrv: &Servers, broker: &Servers) -> Self {
        Self::start_with(namesrv, broker, &[])
    }

    /// The same, with more keys for the broker.
    pub fn start_with(namesrv: &Servers, broker: &Servers, keys: &[(&str, &str)]) -> Self {
        let dir = TempDir::new("interop");
        let namesrv = namesrv.namesrv(dir.path());
        let broker = broker.broker_at(dir.path(), free_port(), Some(&namesrv.addr()), keys);
        // A Java 5 broker that gets a topic while it registers for the first time may send the old
        // list of topics with the new version number, and then sees no reason to send it again.
        servers::wait_for_route(&namesrv.addr(), "TBW102");
        broker.wire().create_topic(TOPIC, QUEUES);
        servers::wait_for_route(&namesrv.addr(), TOPIC);
        Self { dir, namesrv, broker }
    }

    /// What the environment asks for: ours, or the official ones to prove the tests.
    pub fn from_env() -> Self {
        let make = Servers::from_env();
        Self::start(&make, &make)
    }
}

/// Sends `count` messages with `producer` and receives them in a group for each list of members.
pub fn run(site: &Site, count: u32, producer: &Prepared, groups: &[&[&Prepared]]) {
    let begin = Instant::now();
    let Site { dir, namesrv, broker } = site;
    let mut wire = broker.wire();
    let mut groups: Vec<Group> = groups
        .iter()
        .enumerate()
        .map(|(number, members)| Group::start(dir.path(), &namesrv.addr(), number, members))
        .collect();
    settle(&mut wire, &mut groups);
    let settled = begin.elapsed();
    let before: i64 = (0..QUEUES).map(|queue| wire.max_offset(TOPIC, queue)).sum();
    let sent = producer.produce(dir.path(), &namesrv.addr(), TOPIC, count);
    let produced = begin.elapsed();
    for group in &mut groups {
        group.receive_all(&sent);
    }
    let after: i64 = (0..QUEUES).map(|queue| wire.max_offset(TOPIC, queue)).sum();
    assert_eq!(after - before, i64::from(count), "messages in the queues");
    let names: Vec<String> = groups.iter().map(|group| group.name.clone()).collect();
    for group in groups {
        group.wait_for_stored_offsets(&mut wire);
        group.close_and_account(&sent);
    }
    say(&format!(
        "interop: {count} messages by {:?} to {}: groups settled after {settled:.1?}, sent after \
         {produced:.1?}, all accounted for after {:.1?}",
        producer.client,
        names.join(", "),
        begin.elapsed()
    ));
}

/// A consumer group in cluster mode.
struct Group {
    name: String,
    members: Vec<Consumer>,
    deliveries: Receiver<Got>,
    got: Vec<Got>,
}

impl Group {
    fn start(home: &Path, namesrv: &str, number: usize, members: &[&Prepared]) -> Self {
        let languages: Vec<String> =
            members.iter().map(|member| format!("{:?}", member.client)).collect();
        let name = format!("G{number}_{}", languages.join("_"));
        let (sender, deliveries) = channel();
        let members = members
            .iter()
            .enumerate()
            .map(|(index, member)| {
                member.consume(home, [namesrv, TOPIC, &name], index, sender.clone())
            })
            .collect();
        Self { name, members, deliveries, got: Vec::new() }
    }

    /// Who received the messages with these keys; `None` when not all came in time, or one of them
    /// to several members.
    fn owners(&mut self, keys: &[String], limit: Duration) -> Option<Vec<usize>> {
        let mut owners: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        loop {
            // When all came, somebody who has a queue too many may just be slower.
            let patience = if owners.len() < keys.len() { limit } else { LATE };
            match self.deliveries.recv_timeout(patience) {
                Ok(got) if keys.contains(&got.key) => {
                    owners.entry(got.key).or_default().insert(got.member);
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("{}: all members ended", self.name),
            }
        }
        keys.iter()
            .map(|key| match owners.get(key)?.iter().collect::<Vec<_>>()[..] {
                [&one] => Some(one),
                _ => None,
            })
            .collect()
    }

    /// Whether these owners of the queues are what an even distribution gives.
    fn is_even(&self, owners: &[usize]) -> bool {
        let members = self.members.len();
        (0..members).all(|member| {
            let share = owners.iter().filter(|&&owner| owner == member).count();
            (owners.len() / members..=owners.len().div_ceil(members)).contains(&share)
        })
    }

    fn receive_all(&mut self, sent: &[Sent]) {
        let mut missing: BTreeSet<&str> = sent.iter().map(|sent| sent.key.as_str()).collect();
        while !missing.is_empty() {
            match self.deliveries.recv_timeout(LONG) {
                Ok(got) => {
                    missing.remove(got.key.as_str());
                    self.got.push(got);
                }
                Err(why) => panic!(
                    "{}: {} of {} messages did not arrive ({why}), the first: {:?}",
                    self.name,
                    missing.len(),
                    sent.len(),
                    missing.iter().take(5).collect::<Vec<_>>()
                ),
            }
        }
    }

    fn close_and_account(mut self, sent: &[Sent]) {
        for member in self.members.drain(..) {
            member.close();
        }
        self.got.extend(self.deliveries.try_iter());
        let by_key: BTreeMap<&str, &Sent> =
            sent.iter().map(|sent| (sent.key.as_str(), sent)).collect();
        let mut first_deliveries = BTreeMap::new();
        for got in self.got.iter().filter(|got| !got.key.starts_with("probe")) {
            let name = &self.name;
            let sent = by_key
                .get(got.key.as_str())
                .unwrap_or_else(|| panic!("{name}: nobody sent {got:?}"));
            if got.reconsumed == 0 {
                let before = first_deliveries.insert(got.key.as_str(), got);
                assert!(before.is_none(), "{name}: {got:?} came before, as {before:?}");
                assert_eq!(
                    got.queue,
                    *sent.queue.as_ref().unwrap_or(&got.queue),
                    "{name}: {got:?}"
                );
                assert_eq!(
                    got.offset,
                    *sent.offset.as_ref().unwrap_or(&got.offset),
                    "{name}: {got:?}"
                );
            }
            assert_eq!(got.id, *sent.id.as_ref().unwrap_or(&got.id), "{name}: {got:?}");
            assert_eq!(got.body, sent.body, "{name}: body of {got:?}");
            let number: usize =
                got.key.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
            assert_eq!(got.tag, TAGS[number % TAGS.len()], "{name}: {got:?}");
            assert_eq!(got.property, format!("上海 {number}"), "{name}: {got:?}");
        }
    }

    /// Clients tell the broker every few seconds how far they are: to the end of every queue.
    fn wait_for_stored_offsets(&self, wire: &mut Wire) {
        for queue in 0..QUEUES {
            let end = wire.max_offset(TOPIC, queue);
            let queue = queue.to_string();
            let fields =
                [("consumerGroup", self.name.as_str()), ("topic", TOPIC), ("queueId", &queue)];
            let what = format!("{}: offset {end} is stored for queue {queue}", self.name);
            until(&what, LONG, || {
                let reply = wire.call(code::CONSUMER_OFFSET, &fields, b"");
                (reply.code() == 0 && reply.number("offset") == Some(end)).then_some(())
            });
        }
    }
}

/// Sends single messages to every queue until each group's members share the queues evenly, twice
/// in a row the same way: from then on no message changes hands.
fn settle(wire: &mut Wire, groups: &mut [Group]) {
    let mut agreed: Vec<Option<Vec<usize>>> = vec![None; groups.len()];
    let mut round = 0;
    until("the groups share the queues", LONG, || {
        round += 1;
        let keys: Vec<String> = (0..QUEUES).map(|queue| format!("probe{round}-{queue}")).collect();
        for (queue, key) in (0..QUEUES).zip(&keys) {
            wire.must(code::SEND, &borrowed(&send_fields(TOPIC, queue, key)), b"probe");
        }
        let mut settled = true;
        for (group, agreed) in groups.iter_mut().zip(&mut agreed) {
            let owners =
                group.owners(&keys, Duration::from_secs(10)).filter(|owners| group.is_even(owners));
            settled &= owners.is_some() && owners == *agreed;
            *agreed = owners;
        }
        settled.then_some(())
    });
}
