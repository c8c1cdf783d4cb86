//! Routes: which queues of a topic can be written and read ([`TopicRoute`]), where brokers are
//! ([`BrokerTable`]), and which name server to ask ([`NameServers`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fault::LatencyFaults;
use crate::common::sync::lock;
use crate::common::topic::{PERM_READ, PERM_WRITE};
use crate::remoting::protocol::bodies::{MessageQueue, TopicRouteData};

/// Id of a master.
pub const MASTER_ID: i64 = 0;

/// The route of a topic and what follows from it.
#[derive(Debug)]
pub struct TopicRoute {
    /// As the name server gave it.
    pub data: TopicRouteData,
    /// Made from the route of the template topic, because the topic does not exist yet.
    pub from_template: bool,
    /// Queues to send to, by broker name and queue id (of an order topic: in the order of its
    /// configuration).
    pub publish: Vec<MessageQueue>,
    /// Queues to read from, sorted.
    pub subscribe: Vec<MessageQueue>,
    turn: AtomicUsize,
}

impl TopicRoute {
    /// Works out the queues (spec: client 1.9). The data is sorted by broker name, so that equal
    /// routes compare equal.
    pub fn new(topic: &str, mut data: TopicRouteData, from_template: bool) -> Self {
        data.queue_datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        data.broker_datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        let publish = publish_queues(topic, &data);
        let subscribe = subscribe_queues(topic, &data);
        let turn = AtomicUsize::new(random_start());
        Self { data, from_template, publish, subscribe, turn }
    }

    /// The next queue in turn, on another broker than `last_broker` if there is one: where it stands in
    /// `publish`.
    pub fn next_place(&self, last_broker: Option<&str>) -> Option<usize> {
        let count = self.publish.len();
        if count == 0 {
            return None;
        }
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = |step: usize| start.wrapping_add(step) % count;
        (0..count)
            .map(in_turn)
            .find(|at| last_broker != Some(self.publish[*at].broker_name.as_str()))
            .or_else(|| Some(in_turn(0)))
    }

    /// The next queue in turn whose broker is fit; else one of the least bad brokers; else the
    /// next in turn (spec: client 2.7).
    pub fn next_fit_queue(&self, faults: &LatencyFaults) -> Option<MessageQueue> {
        let count = self.publish.len();
        if count == 0 {
            return None;
        }
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let fit = (0..count)
            .map(|step| &self.publish[start.wrapping_add(step) % count])
            .find(|queue| faults.is_available(&queue.broker_name));
        if let Some(queue) = fit {
            return Some(queue.clone());
        }
        let in_turn = &self.publish[start % count];
        if let Some(broker_name) = faults.least_bad() {
            let queues = self.data.queue_datas.iter().find(|q| q.broker_name == broker_name);
            match queues.map(|queues| queues.write_queue_nums).filter(|nums| *nums > 0) {
                Some(nums) => {
                    let queue_id = (start % nums as usize) as i32;
                    return Some(MessageQueue {
                        broker_name,
                        queue_id,
                        topic: in_turn.topic.clone(),
                    });
                }
                None => faults.forget(&broker_name),
            }
        }
        Some(in_turn.clone())
    }

    /// Any broker of the route: its master, else one of its slaves.
    pub fn any_broker(&self) -> Option<&str> {
        let brokers = &self.data.broker_datas;
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..brokers.len())
            .map(|step| &brokers[start.wrapping_add(step) % brokers.len()].broker_addrs)
            .find_map(|addrs| addrs.values().next().map(String::as_str))
    }
}

/// Somewhere, differently in each client.
pub(crate) fn random_start() -> usize {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() as usize >> 1
}

fn queues_of<'a>(
    topic: &'a str,
    broker_name: &'a str,
    count: i32,
) -> impl Iterator<Item = MessageQueue> + 'a {
    // A broker's topics have at most 65535 queues; a route that says more is not believed.
    (0..count.clamp(0, 65_535)).map(move |queue_id| MessageQueue {
        broker_name: broker_name.to_owned(),
        queue_id,
        topic: topic.to_owned(),
    })
}

fn publish_queues(topic: &str, data: &TopicRouteData) -> Vec<MessageQueue> {
    if let Some(order) = data.order_topic_conf.as_deref().filter(|conf| !conf.is_empty()) {
        return order
            .split(';')
            .filter_map(|part| part.split_once(':'))
            .filter_map(|(broker_name, count)| Some((broker_name, count.trim().parse().ok()?)))
            .flat_map(|(broker_name, count)| queues_of(topic, broker_name, count))
            .collect();
    }
    let has_master = |name: &str| {
        let broker = data.broker_datas.iter().find(|broker| broker.broker_name == name);
        broker.is_some_and(|broker| broker.broker_addrs.contains_key(&MASTER_ID))
    };
    data.queue_datas
        .iter()
        .filter(|queues| queues.perm & PERM_WRITE != 0 && has_master(&queues.broker_name))
        .flat_map(|queues| queues_of(topic, &queues.broker_name, queues.write_queue_nums))
        .collect()
}

fn subscribe_queues(topic: &str, data: &TopicRouteData) -> Vec<MessageQueue> {
    let set: BTreeSet<_> = data
        .queue_datas
        .iter()
        .filter(|queues| queues.perm & PERM_READ != 0)
        .flat_map(|queues| queues_of(topic, &queues.broker_name, queues.read_queue_nums))
        .collect();
    set.into_iter().collect()
}

/// Where brokers are: name, id, address.
#[derive(Debug, Default)]
pub struct BrokerTable(HashMap<String, BTreeMap<i64, String>>);

impl BrokerTable {
    /// Takes the addresses of every broker that a route names.
    pub fn learn(&mut self, data: &TopicRouteData) {
        for broker in &data.broker_datas {
            self.0.insert(broker.broker_name.clone(), broker.broker_addrs.clone());
        }
    }

    /// The master of a broker name.
    pub fn master(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.get(&MASTER_ID).map(String::as_str)
    }

    /// Where to read: the wanted id, else the next one, else any. Also whether it is a slave.
    pub fn reader(&self, name: &str, wanted: i64) -> Option<(&str, bool)> {
        let addrs = self.0.get(name)?;
        let next =
            || addrs.get_key_value(&wanted.saturating_add(1)).filter(|_| wanted != MASTER_ID);
        addrs
            .get_key_value(&wanted)
            .or_else(next)
            .or_else(|| addrs.first_key_value())
            .map(|(id, addr)| (addr.as_str(), *id != MASTER_ID))
    }

    /// All addresses; of masters only, if asked.
    pub fn addresses(&self, masters_only: bool) -> BTreeSet<String> {
        self.0
            .values()
            .flatten()
            .filter(|(id, _)| !masters_only || **id == MASTER_ID)
            .map(|(_, addr)| addr.clone())
            .collect()
    }

    /// Forgets addresses that no route names any more.
    pub fn retain(&mut self, live: &BTreeSet<&str>) {
        self.0.retain(|_, addrs| {
            addrs.retain(|_, addr| live.contains(addr.as_str()));
            !addrs.is_empty()
        });
    }
}

/// The port for sends and offsets that heavy pulls do not disturb: two below. An address without
/// such a port stays as it is.
pub fn vip_address(addr: &str) -> String {
    addr.rsplit_once(':')
        .and_then(|(host, port)| {
            let port = port.parse::<u16>().ok()?.checked_sub(2)?;
            Some(format!("{host}:{port}"))
        })
        .unwrap_or_else(|| addr.to_owned())
}

/// The name servers: sticks to the one that answered, moves on when it does not.
#[derive(Debug)]
pub struct NameServers {
    state: Mutex<NameServerState>,
}

#[derive(Debug)]
struct NameServerState {
    list: Vec<String>,
    /// Position of the one in use.
    chosen: usize,
}

impl NameServers {
    /// Starts somewhere in the list, so that clients spread over the servers.
    pub fn new(list: Vec<String>) -> Self {
        let chosen = if list.is_empty() { 0 } else { random_start() % list.len() };
        Self { state: Mutex::new(NameServerState { list, chosen }) }
    }

    /// All, the one in use first.
    pub fn in_order(&self) -> Vec<String> {
        let state = lock(&self.state);
        let (after, before) = state.list.split_at(state.chosen.min(state.list.len()));
        before.iter().chain(after).cloned().collect()
    }

    /// Says which one answered.
    pub fn stick_to(&self, addr: &str) {
        let mut state = lock(&self.state);
        if let Some(at) = state.list.iter().position(|known| known == addr) {
            state.chosen = at;
        }
    }

    /// Replaces the list; an empty one is ignored.
    pub fn replace(&self, list: Vec<String>) {
        if !list.is_empty() {
            let mut state = lock(&self.state);
            let chosen = state.list.get(state.chosen).cloned();
            let at = list.iter().position(|addr| Some(addr) == chosen.as_ref());
            state.chosen = at.unwrap_or(random_start() % list.len());
            state.list = list;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remoting::protocol::bodies::{BrokerData, QueueData};

    fn broker(name: &str, ids: &[i64]) -> BrokerData {
        let addrs = ids.iter().map(|id| (*id, format!("{name}:{}", 10_000 + id))).collect();
        BrokerData { broker_addrs: addrs, broker_name: name.into(), cluster: "c".into() }
    }

    fn queues(name: &str, read: i32, write: i32, perm: i32) -> QueueData {
        QueueData {
            broker_name: name.into(),
            perm,
            read_queue_nums: read,
            topic_sys_flag: 0,
            write_queue_nums: write,
        }
    }

    fn data(brokers: Vec<BrokerData>, queues: Vec<QueueData>) -> TopicRouteData {
        TopicRouteData { broker_datas: brokers, queue_datas: queues, ..Default::default() }
    }

    fn short(queues: &[MessageQueue]) -> Vec<String> {
        queues.iter().map(|q| format!("{}{}", q.broker_name, q.queue_id)).collect()
    }

    #[test]
    fn writes_need_permission_and_a_master_reads_only_permission() {
        let brokers = vec![broker("b", &[0, 1]), broker("a", &[1]), broker("c", &[0])];
        let all = vec![queues("b", 1, 2, 6), queues("a", 2, 2, 6), queues("c", 1, 1, 4)];
        let route = TopicRoute::new("T", data(brokers, all), false);
        assert_eq!(short(&route.publish), ["b0", "b1"]);
        assert_eq!(short(&route.subscribe), ["a0", "a1", "b0", "c0"]);
    }

    #[test]
    fn an_order_topic_keeps_the_order_of_its_configuration() {
        let mut data = data(vec![broker("a", &[0])], vec![queues("a", 4, 4, 6)]);
        data.order_topic_conf = Some("b:2;a:1;junk;c:x".into());
        assert_eq!(short(&TopicRoute::new("T", data, false).publish), ["b0", "b1", "a0"]);
    }

    #[test]
    fn a_retry_goes_to_another_broker_if_there_is_one() {
        let brokers = vec![broker("a", &[0]), broker("b", &[0])];
        let route = TopicRoute::new(
            "T",
            data(brokers, vec![queues("a", 4, 4, 6), queues("b", 4, 4, 6)]),
            false,
        );
        for _ in 0..16 {
            let at = route.next_place(Some("a")).unwrap();
            assert_eq!(route.publish[at].broker_name, "b");
        }
        let one: BTreeSet<_> = (0..8).map(|_| route.next_place(None).unwrap()).collect();
        assert_eq!(one.len(), 8);
        let faults = LatencyFaults::default();
        faults.record("a", std::time::Duration::ZERO, true);
        for _ in 0..16 {
            assert_eq!(route.next_fit_queue(&faults).unwrap().broker_name, "b");
        }
        faults.record("b", std::time::Duration::from_millis(600), false);
        assert_eq!(route.next_fit_queue(&faults).unwrap().broker_name, "a");
        assert!(TopicRoute::new("T", TopicRouteData::default(), false).next_place(None).is_none());
    }

    #[test]
    fn readers_fall_back_to_any_broker_of_the_name() {
        let mut table = BrokerTable::default();
        table.learn(&data(vec![broker("a", &[0, 2]), broker("b", &[3])], vec![]));
        assert_eq!(table.reader("a", 0), Some(("a:10000", false)));
        assert_eq!(table.reader("a", 1), Some(("a:10002", true)));
        assert_eq!(table.reader("b", 0), Some(("b:10003", true)));
        assert_eq!((table.master("b"), table.reader("x", 0)), (None, None));
        table.retain(&["a:10000"].into());
        assert_eq!(table.addresses(false).into_iter().collect::<Vec<_>>(), ["a:10000"]);
    }

    #[test]
    fn vip_is_two_ports_below() {
        assert_eq!(vip_address("h:10911"), "h:10909");
        assert_eq!(vip_address("[::1]:10911"), "[::1]:10909");
        assert_eq!(vip_address("h:1"), "h:1");
    }

    #[test]
    fn name_servers_stick_and_move_on() {
        let servers = NameServers::new(vec!["a".into(), "b".into(), "c".into()]);
        servers.stick_to("b");
        assert_eq!(servers.in_order(), ["b", "c", "a"]);
        servers.replace(vec!["x".into(), "b".into()]);
        assert_eq!(servers.in_order(), ["b", "x"]);
        servers.replace(vec![]);
        assert_eq!(servers.in_order(), ["b", "x"]);
    }
}
