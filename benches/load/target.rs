//! Where the load goes: a topic on one broker.

use rocketmq::common::json::Json;

use super::give_up;
use crate::support::wire::{Wire, code};

/// A topic on one broker.
#[derive(Clone, Debug)]
pub struct Target {
    /// The broker's address.
    pub broker: String,
    /// Topic.
    pub topic: String,
    /// Queues of the topic there.
    pub queues: i32,
}

impl Target {
    /// Asks a name server (the first of a list `a:1;b:2`) for the first master of `topic`, or of
    /// the topic that new topics are made from.
    pub fn from_name_server(list: &str, topic: &str) -> Self {
        let addr = list.split(';').next().unwrap_or(list).trim();
        let mut wire = Wire::try_connect(addr)
            .unwrap_or_else(|error| give_up(&format!("name server {addr}: {error}")));
        for asked in [topic, "TBW102"] {
            let reply = wire.call(code::ROUTE, &[("topic", asked)], b"");
            if reply.code() == 0
                && let Some((broker, queues)) = Json::parse(&reply.body).ok().and_then(first_master)
            {
                return Self { broker, topic: topic.to_owned(), queues };
            }
        }
        give_up(&format!("name server {addr} knows no broker for the topic {topic}"))
    }
}

/// Address and number of queues of the first broker with a master in a route.
fn first_master(route: Json) -> Option<(String, i32)> {
    let Json::Array(brokers) = route.get("brokerDatas")? else { return None };
    let Json::Array(queues) = route.get("queueDatas")? else { return None };
    queues.iter().find_map(|queue| {
        let name = queue.get("brokerName")?;
        let broker = brokers.iter().find(|broker| broker.get("brokerName") == Some(name))?;
        let Json::Object(addrs) = broker.get("brokerAddrs")? else { return None };
        let addr = addrs.iter().find_map(|(id, addr)| match (id, addr) {
            (Json::Int(0), Json::Text(addr)) => Some(addr.clone()),
            (Json::Text(id), Json::Text(addr)) if id == "0" => Some(addr.clone()),
            _ => None,
        })?;
        let Json::Int(count) = queue.get("readQueueNums")? else { return None };
        Some((addr, i32::try_from(*count).ok()?))
    })
}
