//! [`Consumers`]: who is online in which consumer group, and what the group subscribes to.
//! The configuration of groups is in [`subscription_groups`](super::subscription_groups).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::channels::{ChannelSet, ClientChannel, Refreshed};
use super::claims::Claims;
use super::config::BrokerConfig;
use crate::common::sync::lock;
use crate::remoting::Connection;
use crate::remoting::protocol::heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
};

/// The consumers of a broker (spec: broker 6.2, 6.5).
///
/// * A group lives from its first member to its last.
/// * Locks nest one way: the table, then a group, then the memberships. Nothing is sent under
///   them: who must be notified learns it from the result.
#[derive(Debug)]
pub struct Consumers {
    groups: RwLock<HashMap<String, Arc<ConsumerGroup>>>,
    /// Connection to its groups, so that a closed connection costs what it was a member of.
    memberships: Mutex<HashMap<u64, Vec<String>>>,
    max_groups: usize,
    max_groups_per_connection: usize,
    max_subscriptions: usize,
}

/// A group with at least one member.
#[derive(Debug)]
pub struct ConsumerGroup {
    state: RwLock<GroupState>,
}

#[derive(Debug, Default)]
struct GroupState {
    members: ChannelSet,
    subscriptions: HashMap<String, Arc<SubscriptionData>>,
    profile: GroupProfile,
    /// What each member says that the group subscribes to.
    claims: Claims,
}

/// How a group consumes, as its last heartbeat said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupProfile {
    /// Push or pull.
    pub consume_type: Option<ConsumeType>,
    /// Clustering or broadcasting.
    pub message_model: Option<MessageModel>,
    /// Start of a new group.
    pub consume_from_where: Option<ConsumeFromWhere>,
}

impl ConsumerGroup {
    fn read(&self) -> RwLockReadGuard<'_, GroupState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, GroupState> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subscription to a topic.
    pub fn subscription(&self, topic: &str) -> Option<Arc<SubscriptionData>> {
        self.read().subscriptions.get(topic).cloned()
    }

    /// All subscriptions.
    pub fn subscriptions(&self) -> Vec<Arc<SubscriptionData>> {
        self.read().subscriptions.values().cloned().collect()
    }

    /// Whether offsets of the topic are of interest: the group subscribes to it, or to nothing.
    pub fn concerns(&self, topic: &str) -> bool {
        let state = self.read();
        state.subscriptions.is_empty() || state.subscriptions.contains_key(topic)
    }

    /// How the group consumes.
    pub fn profile(&self) -> GroupProfile {
        self.read().profile
    }

    /// Its members.
    pub fn members(&self) -> Vec<Arc<ClientChannel>> {
        self.read().members.iter().cloned().collect()
    }

    /// The member with that client id.
    pub fn member(&self, client_id: &str) -> Option<Arc<ClientChannel>> {
        self.read().members.iter().find(|client| client.client_id == client_id).cloned()
    }
}

impl Consumers {
    /// No consumers.
    pub fn new(config: &BrokerConfig) -> Self {
        Self {
            groups: RwLock::default(),
            memberships: Mutex::default(),
            max_groups: config.max_subscription_groups,
            max_groups_per_connection: config.max_groups_per_connection,
            max_subscriptions: config.max_subscriptions_per_group,
        }
    }

    /// A group, if somebody is online in it.
    pub fn get(&self, group: &str) -> Option<Arc<ConsumerGroup>> {
        self.read().get(group).cloned()
    }

    /// A member of a group, by its client id.
    pub fn member(&self, group: &str, client_id: &str) -> Option<Arc<ClientChannel>> {
        self.get(group)?.member(client_id)
    }

    /// Groups whose members subscribe differently, in order.
    pub fn disagreeing_groups(&self) -> BTreeSet<String> {
        self.read()
            .iter()
            .filter(|(_, group)| group.read().claims.disagree())
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Groups that subscribe to a topic.
    pub fn groups_of_topic(&self, topic: &str) -> BTreeSet<String> {
        self.read()
            .iter()
            .filter(|(_, group)| group.read().subscriptions.contains_key(topic))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// A consumer was heard of. Returns whether the members of its group must be told: one is new,
    /// or the set of topics changed. (A changed expression alone tells nobody.)
    pub fn register(&self, data: &ConsumerData, client: &Arc<ClientChannel>) -> bool {
        let Some(name) = data.group_name.as_deref() else { return false };
        let changed = self.register_known(name, data, client).unwrap_or_else(|| {
            let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
            if groups.len() >= self.max_groups {
                log::warn!(
                    "consumer group {name} is not online: maxSubscriptionGroups={} reached",
                    self.max_groups
                );
                return false;
            }
            let group = groups
                .entry(name.to_owned())
                .or_insert_with(|| Arc::new(ConsumerGroup { state: RwLock::default() }));
            let group = Arc::clone(group);
            let changed = self.join(name, &group, data, client);
            if group.read().members.is_empty() {
                groups.remove(name);
            }
            changed
        });
        if client.connection.is_closed() {
            // The connection ended meanwhile, and its end was told before it was a member.
            self.closed(&client.connection);
        }
        changed
    }

    fn register_known(
        &self,
        name: &str,
        data: &ConsumerData,
        client: &Arc<ClientChannel>,
    ) -> Option<bool> {
        let groups = self.read();
        let group = groups.get(name)?;
        Some(self.join(name, group, data, client))
    }

    /// The heartbeat's effect on a group. The caller holds the table's lock.
    fn join(
        &self,
        name: &str,
        group: &ConsumerGroup,
        data: &ConsumerData,
        client: &Arc<ClientChannel>,
    ) -> bool {
        let mut state = group.write();
        let connection_id = client.connection.id();
        if state.members.get(connection_id).is_none() && !self.remember(connection_id, name) {
            log::warn!(
                "{} is not made a consumer of {name}: maxGroupsPerConnection={} reached",
                client.client_id,
                self.max_groups_per_connection
            );
            return false;
        }
        state.profile = GroupProfile {
            consume_type: data.consume_type,
            message_model: data.message_model,
            consume_from_where: data.consume_from_where,
        };
        let joined = match state.members.refresh(client) {
            Refreshed::Added => {
                log::info!("consumer {} joins {name}", client.client_id);
                true
            }
            Refreshed::Known => false,
            Refreshed::Renamed(old) => {
                log::warn!("consumer {old} of {name} calls itself {} now", client.client_id);
                false
            }
        };
        state.claims.note(name, client, &data.subscription_data_set);
        joined | state.subscribe(name, &data.subscription_data_set, self.max_subscriptions)
    }

    /// Notes a membership, unless the connection has too many. The caller holds the group's lock.
    fn remember(&self, connection_id: u64, group: &str) -> bool {
        let mut memberships = self.memberships();
        let groups = memberships.entry(connection_id).or_default();
        let room = groups.len() < self.max_groups_per_connection;
        if room {
            groups.push(group.to_owned());
        }
        room
    }

    /// A consumer leaves a group. Returns whether the group had members: they are told, as by Java,
    /// also if the one that leaves was none of them.
    pub fn unregister(&self, group: &str, connection: &Connection) -> bool {
        let had_members = self.get(group).is_some();
        self.leave(&[group.to_owned()], connection.id());
        had_members
    }

    /// A connection is gone. Returns the groups it was a member of.
    pub fn closed(&self, connection: &Connection) -> Vec<String> {
        let groups = self.memberships().remove(&connection.id()).unwrap_or_default();
        self.leave(&groups, connection.id())
    }

    /// Forgets a membership. The caller holds the group's lock, as who notes one does: a heartbeat in
    /// between would leave a member that nobody finds when its connection ends.
    fn forget(&self, connection_id: u64, group: &str) {
        let mut memberships = self.memberships();
        if let Some(groups) = memberships.get_mut(&connection_id) {
            groups.retain(|known| known != group);
            if groups.is_empty() {
                memberships.remove(&connection_id);
            }
        }
    }

    /// Removes a connection from groups, and groups without members. Returns those it was in.
    fn leave(&self, groups: &[String], connection_id: u64) -> Vec<String> {
        let mut left = Vec::new();
        let mut emptied = false;
        let table = self.read();
        for name in groups {
            let Some(group) = table.get(name) else { continue };
            let mut state = group.write();
            if let Some(client) = state.members.remove(connection_id) {
                log::info!("consumer {} leaves {name}", client.client_id);
                state.claims.forget(connection_id);
                self.forget(connection_id, name);
                left.push(name.clone());
            }
            emptied |= state.members.is_empty();
        }
        drop(table);
        if emptied {
            let mut table = self.groups.write().unwrap_or_else(PoisonError::into_inner);
            for name in groups {
                if table.get(name).is_some_and(|group| group.read().members.is_empty()) {
                    table.remove(name);
                }
            }
        }
        left
    }

    /// Removes members that were silent since `before_ms` and returns them; the caller closes
    /// their connections. Nobody is notified, as in Java.
    pub fn expire(&self, before_ms: i64) -> Vec<Arc<ClientChannel>> {
        let silent: HashMap<u64, Arc<ClientChannel>> = self
            .read()
            .values()
            .flat_map(|group| group.read().members.silent_since(before_ms))
            .map(|client| (client.connection.id(), client))
            .collect();
        for client in silent.values() {
            self.closed(&client.connection);
        }
        silent.into_values().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Arc<ConsumerGroup>>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn memberships(&self) -> MutexGuard<'_, HashMap<u64, Vec<String>>> {
        lock(&self.memberships)
    }
}

impl GroupState {
    /// Takes over the subscriptions of a heartbeat. Returns whether the set of topics changed.
    fn subscribe(&mut self, group: &str, heard: &[SubscriptionData], max: usize) -> bool {
        let mut changed = false;
        for subscription in heard {
            let full = self.subscriptions.len() >= max;
            match self.subscriptions.get_mut(&subscription.topic) {
                Some(known) if subscription.sub_version > known.sub_version => {
                    *known = Arc::new(subscription.clone());
                }
                Some(_) => {}
                None if full => {
                    log::warn!(
                        "{group} does not subscribe to {}: maxSubscriptionsPerGroup={max} reached",
                        subscription.topic
                    );
                }
                None => {
                    log::info!("{group} subscribes to {}", subscription.topic);
                    let topic = subscription.topic.clone();
                    self.subscriptions.insert(topic, Arc::new(subscription.clone()));
                    changed = true;
                }
            }
        }
        if self.subscriptions.len() > heard.len() || changed {
            let topics: HashSet<&str> = heard.iter().map(|heard| heard.topic.as_str()).collect();
            self.subscriptions.retain(|topic, _| {
                let kept = topics.contains(topic.as_str());
                if !kept {
                    log::info!("{group} does not subscribe to {topic} any more");
                    changed = true;
                }
                kept
            });
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::Listener;

    fn consumers() -> Consumers {
        Consumers::new(&BrokerConfig {
            max_groups_per_connection: 3,
            max_subscriptions_per_group: 3,
            ..BrokerConfig::default()
        })
    }

    fn data(group: &str, topics: &[(&str, i64)]) -> ConsumerData {
        let subscription = |(topic, version): &(&str, i64)| SubscriptionData {
            topic: (*topic).to_owned(),
            sub_string: Some(format!("tag{version}")),
            sub_version: *version,
            ..SubscriptionData::default()
        };
        ConsumerData {
            group_name: Some(group.to_owned()),
            subscription_data_set: topics.iter().map(subscription).collect(),
            ..ConsumerData::default()
        }
    }

    #[test]
    fn members_are_told_of_new_members_and_topics_only() {
        let (consumers, listener) = (consumers(), Listener::new());
        let (a, b) = (listener.connect(), listener.connect());
        let heard = |client: &Arc<ClientChannel>, topics: &[(&str, i64)]| {
            consumers.register(&data("g", topics), client)
        };
        let (first, second) = (a.heard("a", 1), b.heard("b", 1));
        assert!(heard(&first, &[("T", 1)]), "a new group");
        assert!(!heard(&first, &[("T", 1)]), "the same again");
        assert!(!heard(&first, &[("T", 2)]), "another expression");
        let expression = |version: i64| Some(format!("tag{version}"));
        let group = consumers.get("g").unwrap();
        assert_eq!(group.subscription("T").unwrap().sub_string, expression(2));
        assert!(!heard(&first, &[("T", 1)]), "an older expression");
        assert_eq!(group.subscription("T").unwrap().sub_string, expression(2), "is passed over");
        assert!(heard(&second, &[("T", 2)]), "a new member");
        assert!(heard(&second, &[("U", 1)]), "another topic in place of the first");
        assert!(!group.concerns("T") && group.concerns("U"));
        assert!(heard(&first, &[("T", 2)]), "the members disagree, as Java lets them");
        assert_eq!(group.members().len(), 2);
        assert_eq!(consumers.groups_of_topic("T"), ["g".to_owned()].into());
    }

    #[test]
    fn a_heartbeat_that_meets_the_end_of_its_membership_leaves_no_member_behind() {
        const ROUNDS: usize = 20_000;
        let (consumers, listener) = (consumers(), Listener::new());
        let a = listener.connect();
        let (data, client) = (data("g", &[("T", 1)]), a.heard("a", 1));
        let both = std::sync::Barrier::new(2);
        let mut left_behind = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    both.wait();
                    consumers.unregister("g", &a.connection);
                    both.wait();
                }
            });
            for _ in 0..ROUNDS {
                consumers.register(&data, &client);
                both.wait();
                consumers.register(&data, &client);
                both.wait();
                consumers.closed(&a.connection);
                left_behind += usize::from(consumers.get("g").is_some());
            }
        });
        assert_eq!(left_behind, 0, "after the connection's end");
    }

    #[test]
    fn a_group_lives_as_long_as_its_members() {
        let (consumers, listener) = (consumers(), Listener::new());
        let (a, b) = (listener.connect(), listener.connect());
        for group in ["g", "h"] {
            consumers.register(&data(group, &[("T", 1)]), &a.heard("a", 1));
            consumers.register(&data(group, &[("T", 1)]), &b.heard("b", 1));
        }
        assert!(consumers.unregister("g", &a.connection));
        assert!(consumers.unregister("g", &a.connection), "the others are told once more");
        assert!(consumers.member("g", "a").is_none() && consumers.member("h", "a").is_some());
        assert_eq!(consumers.closed(&b.connection), ["g", "h"]);
        assert!(consumers.get("g").is_none() && consumers.get("h").is_some());
        assert_eq!(consumers.closed(&a.connection), ["h"]);
        assert!(consumers.get("h").is_none());
        assert!(consumers.memberships().is_empty());
        assert_eq!(consumers.closed(&a.connection), [""; 0]);
    }

    #[test]
    fn silent_members_expire() {
        let (consumers, listener) = (consumers(), Listener::new());
        let (a, b) = (listener.connect(), listener.connect());
        consumers.register(&data("g", &[]), &a.heard("a", 100));
        consumers.register(&data("g", &[]), &b.heard("b", 100));
        consumers.register(&data("g", &[]), &b.heard("b", 200));
        let silent = consumers.expire(150);
        assert_eq!(silent.len(), 1);
        assert_eq!(silent[0].client_id, "a");
        assert_eq!(consumers.expire(201).len(), 1);
        assert!(consumers.get("g").is_none());
    }

    #[test]
    fn groups_whose_members_disagree_are_known_while_they_do() {
        let (consumers, listener) = (consumers(), Listener::new());
        let (a, b) = (listener.connect(), listener.connect());
        consumers.register(&data("g", &[("T", 1)]), &a.heard("a", 1));
        consumers.register(&data("g", &[("U", 1)]), &b.heard("b", 1));
        consumers.register(&data("h", &[("T", 1)]), &b.heard("b", 1));
        assert_eq!(consumers.disagreeing_groups(), ["g".to_owned()].into());
        consumers.closed(&b.connection);
        assert!(consumers.disagreeing_groups().is_empty());
    }

    #[test]
    fn what_a_connection_may_fill_is_bounded() {
        let (consumers, listener) = (consumers(), Listener::new());
        let a = listener.connect();
        let client = a.heard("a", 1);
        let groups = ["1", "2", "3", "4"].map(|g| consumers.register(&data(g, &[]), &client));
        assert_eq!(groups, [true, true, true, false]);
        assert!(consumers.get("4").is_none());
        let many = data("1", &[("A", 1), ("B", 1), ("C", 1), ("D", 1)]);
        consumers.register(&many, &client);
        assert_eq!(consumers.get("1").unwrap().subscriptions().len(), 3);
    }

    #[test]
    fn a_connection_that_ended_meanwhile_does_not_stay() {
        let (consumers, listener) = (consumers(), Listener::new());
        let a = listener.connect();
        a.connection.close("test");
        consumers.register(&data("g", &[]), &a.heard("a", 1));
        assert!(consumers.get("g").is_none());
    }
}
