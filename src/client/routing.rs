//! Where an instance finds topics and brokers: it asks the name servers, and remembers.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::error::ClientError;
use super::instance::{Instance, broker_error, read_body};
use super::route::{TopicRoute, vip_address};
use crate::remoting::Command;
use crate::remoting::protocol::bodies::{MessageQueue, TopicRouteData};
use crate::remoting::protocol::headers::GetRouteInfoRequestHeader;
use crate::remoting::protocol::{request_code, response_code};

/// How long a name server is given to notice that a broker is gone.
const FAILURE_DELAY: Duration = Duration::from_secs(1);

/// How long after that failures do not lead to another update.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);

impl Instance {
    fn fetch_route(&self, topic: &str) -> Result<TopicRouteData, ClientError> {
        let header =
            GetRouteInfoRequestHeader { topic: topic.to_owned(), accept_standard_json_only: None };
        let request = Command::request(request_code::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
        let (addr, response) = self.ask_name_server(&request)?;
        match response.code {
            response_code::SUCCESS => read_body(&addr, &response),
            response_code::TOPIC_NOT_EXIST => Err(ClientError::NoRoute { topic: topic.to_owned() }),
            _ => Err(broker_error(&addr, response)),
        }
    }

    fn store_route(
        self: &Arc<Self>,
        topic: &str,
        data: TopicRouteData,
        from_template: bool,
    ) -> bool {
        {
            let mut brokers = self.brokers.write().unwrap_or_else(PoisonError::into_inner);
            let before = brokers.addresses(false);
            brokers.learn(&data);
            if !brokers.addresses(false).is_subset(&before) {
                self.heartbeat_soon(Duration::ZERO);
            }
        }
        let route = TopicRoute::new(topic, data, from_template);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let known = routes.get(topic);
        let changed = known.is_none_or(|known| {
            known.data != route.data || known.from_template != route.from_template
        });
        if changed {
            routes.insert(topic.to_owned(), Arc::new(route));
        }
        changed
    }

    /// The route as it is known.
    pub fn route(&self, topic: &str) -> Option<Arc<TopicRoute>> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.get(topic).cloned()
    }

    /// Asks for the route anew. Returns whether it changed; on an error the old one stays.
    pub fn update_route(self: &Arc<Self>, topic: &str) -> Result<bool, ClientError> {
        let data = self.fetch_route(topic)?;
        Ok(self.store_route(topic, data, false))
    }

    /// Asks for the routes of these topics and of all in use; consumers are told of changes.
    pub fn update_all_routes(self: &Arc<Self>) {
        let mut topics: BTreeSet<String> =
            self.consumers().iter().flat_map(|consumer| consumer.topics()).collect();
        let subscribed = topics.clone();
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        topics.extend(routes.keys().cloned());
        drop(routes);
        let mut rebalance = false;
        for topic in topics {
            match self.update_route(&topic) {
                Ok(changed) => rebalance |= changed && subscribed.contains(&topic),
                Err(ClientError::NoRoute { .. }) => log::debug!("{topic}: no route"),
                Err(error @ (ClientError::NameServer { .. } | ClientError::NotRunning)) => {
                    log::warn!("{}: routes are not updated: {error}", self.client_id);
                    break;
                }
                Err(error) => log::warn!("{topic}: the route is not updated: {error}"),
            }
        }
        if rebalance {
            self.rebalance_soon();
        }
    }

    /// Looks for subscribed topics that no name server knew: after a second, two, four, until it is as long as
    /// between the periodic updates. A topic that its first message makes, and the retry topic that the
    /// first heartbeat makes, are consumed seconds after that.
    pub fn look_for_missing(self: &Arc<Self>) {
        if !self.looking.swap(true, Ordering::AcqRel) {
            self.look_after(FAILURE_DELAY);
        }
    }

    fn look_after(self: &Arc<Self>, delay: Duration) {
        let instance = Arc::downgrade(self);
        self.scheduler.once("missing topics", delay, move || {
            let Some(instance) = instance.upgrade() else { return };
            let subscribed = instance.consumers().into_iter().flat_map(|role| role.topics());
            let missing: BTreeSet<_> =
                subscribed.filter(|topic| instance.route(topic).is_none()).collect();
            let mut found = 0;
            for topic in &missing {
                match instance.update_route(topic) {
                    Ok(_) => found += 1,
                    // Nobody can be asked about the others either.
                    Err(ClientError::NameServer { .. } | ClientError::NotRunning) => break,
                    Err(_) => {}
                }
            }
            if found > 0 {
                instance.rebalance_soon();
            }
            let next = delay.saturating_mul(2);
            if found < missing.len() && next < instance.options.route_interval {
                instance.look_after(next);
            } else {
                instance.looking.store(false, Ordering::Release);
            }
        });
    }

    /// Asks for all routes in a second, unless that is scheduled already: a broker could not be
    /// reached, and the name servers may know more.
    pub fn update_routes_soon(self: &Arc<Self>) {
        if self.is_stopped() || self.routes_due.swap(true, Ordering::AcqRel) {
            return;
        }
        let instance = Arc::downgrade(self);
        self.scheduler.once("routes", FAILURE_DELAY, move || {
            let Some(instance) = instance.upgrade() else { return };
            instance.update_all_routes();
            // While the broker stays away every pull of it fails again: not for each of them.
            let weak = Arc::downgrade(&instance);
            instance.scheduler.once("routes", FAILURE_PAUSE, move || {
                if let Some(instance) = weak.upgrade() {
                    instance.routes_due.store(false, Ordering::Release);
                }
            });
        });
    }

    /// A route that can be written. A topic that does not exist borrows the brokers of the
    /// template topic, which will make it when the first message arrives.
    pub fn publish_route(
        self: &Arc<Self>,
        topic: &str,
        template: &str,
        queues: i32,
    ) -> Result<Arc<TopicRoute>, ClientError> {
        if let Some(route) = self.route(topic).filter(|route| !route.publish.is_empty()) {
            return Ok(route);
        }
        match self.update_route(topic) {
            Ok(_) => {}
            Err(ClientError::NoRoute { .. }) => {
                let mut data = match self.fetch_route(template) {
                    Err(ClientError::NoRoute { .. }) => {
                        return Err(ClientError::NoRoute { topic: topic.to_owned() });
                    }
                    data => data?,
                };
                for entry in &mut data.queue_datas {
                    let nums = entry.read_queue_nums.min(queues);
                    (entry.read_queue_nums, entry.write_queue_nums) = (nums, nums);
                }
                self.store_route(topic, data, true);
            }
            Err(error) => return Err(error),
        }
        self.route(topic).filter(|route| !route.publish.is_empty()).ok_or_else(|| {
            ClientError::NoBroker {
                name: topic.to_owned(),
                reason: "no broker of the topic has a master and write permission",
            }
        })
    }

    /// Queues to read, from the route as it is known, else as a name server knows it.
    pub fn subscribe_queues(
        self: &Arc<Self>,
        topic: &str,
    ) -> Result<Vec<MessageQueue>, ClientError> {
        if self.route(topic).is_none_or(|route| route.from_template) {
            self.update_route(topic)?;
        }
        Ok(self.route(topic).map(|route| route.subscribe.clone()).unwrap_or_default())
    }

    /// The master of a broker name; asks for the topic's route once if it is not known.
    pub fn master(self: &Arc<Self>, broker_name: &str, topic: &str) -> Result<String, ClientError> {
        if let Some(addr) = self.known_master(broker_name) {
            return Ok(addr);
        }
        self.update_route(topic)?;
        self.known_master(broker_name).ok_or_else(|| ClientError::NoBroker {
            name: broker_name.to_owned(),
            reason: "the broker has no master in the route",
        })
    }

    /// The same, as far as it is known.
    pub fn known_master(&self, broker_name: &str) -> Option<String> {
        let brokers = self.brokers.read().unwrap_or_else(PoisonError::into_inner);
        brokers.master(broker_name).map(str::to_owned)
    }

    /// Where to read a queue from: address, and whether it is a slave.
    pub fn reader(
        self: &Arc<Self>,
        queue: &MessageQueue,
        wanted: i64,
    ) -> Result<(String, bool), ClientError> {
        if let Some(reader) = self.known_reader(queue, wanted) {
            return Ok(reader);
        }
        self.update_route(&queue.topic)?;
        self.known_reader(queue, wanted).ok_or_else(|| ClientError::NoBroker {
            name: queue.broker_name.clone(),
            reason: "no address of the broker is in the route",
        })
    }

    /// The same, as far as it is known.
    pub fn known_reader(&self, queue: &MessageQueue, wanted: i64) -> Option<(String, bool)> {
        let brokers = self.brokers.read().unwrap_or_else(PoisonError::into_inner);
        let reader = brokers.reader(&queue.broker_name, wanted);
        reader.map(|(addr, slave)| (addr.to_owned(), slave))
    }

    /// The port for sends and offsets, if wanted.
    pub fn vip(&self, addr: String) -> String {
        if self.options.vip_channel { vip_address(&addr) } else { addr }
    }

    /// Addresses of all brokers in use.
    pub fn known_brokers(&self, masters_only: bool) -> BTreeSet<String> {
        let brokers = self.brokers.read().unwrap_or_else(PoisonError::into_inner);
        brokers.addresses(masters_only)
    }

    /// Forgets brokers that no route names any more.
    pub fn forget_offline_brokers(&self) {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let brokers = routes.values().flat_map(|route| &route.data.broker_datas);
        let live = brokers.flat_map(|broker| broker.broker_addrs.values().map(String::as_str));
        let mut table = self.brokers.write().unwrap_or_else(PoisonError::into_inner);
        table.retain(&live.collect());
    }

    /// Name servers, the one in use first.
    pub fn name_servers(&self) -> Vec<String> {
        self.name_servers.in_order()
    }

    /// Replaces the list of name servers; an empty one is ignored.
    pub fn set_name_servers(&self, list: Vec<String>) {
        self.name_servers.replace(list);
    }
}
