//! How brokers know that an instance lives, and what for: heartbeats, at intervals and whenever
//! something changed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::error::ClientError;
use super::instance::{Instance, broker_error, json_body};
use crate::common::sync::lock;
use crate::remoting::Command;
use crate::remoting::connection::Connection;
use crate::remoting::protocol::heartbeat::{HeartbeatData, ProducerData};
use crate::remoting::protocol::{request_code, response_code};
use crate::remoting::server::ConnectionEvents;

/// A broker that closed its connection is given so long before it is told of us again.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

impl Instance {
    fn heartbeat_data(&self) -> HeartbeatData {
        let roles = self.roles.read().unwrap_or_else(PoisonError::into_inner);
        let producer = |group: &String| ProducerData { group_name: Some(group.clone()) };
        HeartbeatData {
            client_id: Some(self.client_id.clone()),
            producer_data_set: roles.producers.keys().map(producer).collect(),
            consumer_data_set: {
                let live = roles.consumers.values().filter_map(Weak::upgrade);
                live.map(|consumer| consumer.data()).collect()
            },
        }
    }

    /// Tells every broker in use that we live, and what for; masters only without a consumer.
    /// Waits for the answers.
    pub fn heartbeat(&self) {
        let data = self.heartbeat_data();
        if data.producer_data_set.is_empty() && data.consumer_data_set.is_empty() {
            return;
        }
        let masters_only = data.consumer_data_set.is_empty();
        let request = Command::request(request_code::HEART_BEAT).with_body(json_body(&data));
        let calls = self.known_brokers(masters_only).into_iter();
        let calls = calls.map(|addr| (addr, request.clone())).collect();
        for (addr, result) in self.call_all(calls, self.options.api_timeout) {
            match result {
                Ok(response) if response.code == response_code::SUCCESS => {
                    lock(&self.introduced).insert(addr);
                }
                Ok(response) => log::warn!("heartbeat: {}", broker_error(&addr, response)),
                Err(ClientError::NotRunning) => {}
                Err(error) => log::warn!("heartbeat to {addr}: {error}"),
            }
        }
    }
}

impl Instance {
    /// A heartbeat after `delay`, unless one is scheduled already.
    pub fn heartbeat_soon(self: &Arc<Self>, delay: Duration) {
        if self.is_stopped() || self.heartbeat_due.swap(true, Ordering::AcqRel) {
            return;
        }
        let instance = Arc::downgrade(self);
        self.scheduler.once("heartbeat", delay, move || {
            if let Some(instance) = instance.upgrade() {
                instance.heartbeat_due.store(false, Ordering::Release);
                instance.heartbeat();
            }
        });
    }

    /// Makes sure that a broker knows this client: what it pushes goes by the heartbeat.
    pub fn introduce(&self, broker_name: &str) {
        let master = self.known_master(broker_name);
        if master.is_some_and(|addr| !lock(&self.introduced).contains(&addr)) {
            self.heartbeat();
        }
    }
}

/// A closed connection took the broker's knowledge of the client with it.
pub(crate) struct Reintroduce(pub Weak<Instance>);

impl ConnectionEvents for Reintroduce {
    fn closed(&self, _connection: &Arc<Connection>) {
        if let Some(instance) = self.0.upgrade() {
            lock(&instance.introduced).clear();
            instance.heartbeat_soon(RECONNECT_DELAY);
        }
    }
}
