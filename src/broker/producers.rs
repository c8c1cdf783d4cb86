//! [`Producers`]: who produces, by group and by client id. Asked for transaction checks and for
//! request-reply.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use super::channels::{ChannelSet, ClientChannel, Refreshed};
use super::config::BrokerConfig;
use crate::remoting::Connection;

/// The producers of a broker (spec: broker 6.4, 6.5).
///
/// * A group whose members vanished stays known, empty, until its last member unregisters: tools
///   tell "nobody there now" from "never heard of".
/// * A client id leads to its client as long as the client is a member of any group.
#[derive(Debug)]
pub struct Producers {
    table: RwLock<Table>,
    limits: Limits,
}

/// See the keys of the same names.
#[derive(Debug)]
struct Limits {
    max_producer_groups: usize,
    max_groups_per_connection: usize,
}

#[derive(Debug, Default)]
struct Table {
    groups: HashMap<String, ChannelSet>,
    /// Connection to its groups.
    memberships: HashMap<u64, Vec<String>>,
    by_client_id: HashMap<String, Arc<ClientChannel>>,
}

impl Producers {
    /// No producers.
    pub fn new(config: &BrokerConfig) -> Self {
        let limits = Limits {
            max_producer_groups: config.max_producer_groups,
            max_groups_per_connection: config.max_groups_per_connection,
        };
        Self { table: RwLock::default(), limits }
    }

    /// A producer was heard of. Under which client id a connection joined a group, it stays in it.
    pub fn register(&self, group: &str, client: &Arc<ClientChannel>) {
        if self.read().groups.get(group).is_some_and(|members| members.touch_any(client)) {
            return;
        }
        let mut table = self.write();
        if let Err(limit) = table.make_room(group, client, &self.limits) {
            log::warn!("{} is not made a producer of {group}: {limit} reached", client.client_id);
            return;
        }
        let members = table.groups.entry(group.to_owned()).or_default();
        if members.refresh(client) == Refreshed::Added {
            log::info!("producer {} joins {group}", client.client_id);
            let groups = table.memberships.entry(client.connection.id()).or_default();
            groups.push(group.to_owned());
            table.by_client_id.insert(client.client_id.clone(), Arc::clone(client));
        }
    }

    /// A producer leaves a group; an empty group is forgotten.
    pub fn unregister(&self, group: &str, connection: &Connection) {
        let mut table = self.write();
        if let Some(members) = table.groups.get_mut(group) {
            let left = members.remove(connection.id());
            if left.is_some() && members.is_empty() {
                table.groups.remove(group);
            }
            if let Some(client) = left {
                log::info!("producer {} leaves {group}", client.client_id);
                table.forget_membership(&client, group);
            }
        }
    }

    /// A connection is gone: its client leaves all groups, which stay known.
    pub fn closed(&self, connection: &Connection) {
        self.write().leave_all(connection.id());
    }

    /// Removes clients that were silent since `before_ms` and returns them; the caller closes
    /// their connections.
    pub fn expire(&self, before_ms: i64) -> Vec<Arc<ClientChannel>> {
        let mut table = self.write();
        let silent: HashMap<u64, Arc<ClientChannel>> = table
            .groups
            .values()
            .flat_map(|members| members.silent_since(before_ms))
            .map(|client| (client.connection.id(), client))
            .collect();
        for &connection_id in silent.keys() {
            table.leave_all(connection_id);
        }
        silent.into_values().collect()
    }

    /// One member of a group, in turn, for a transaction check.
    pub fn pick(&self, group: &str) -> Option<Arc<ClientChannel>> {
        self.read().groups.get(group)?.pick()
    }

    /// The producer with that client id, for the answer of a request-reply.
    pub fn by_client_id(&self, client_id: &str) -> Option<Arc<ClientChannel>> {
        self.read().by_client_id.get(client_id).cloned()
    }

    /// Members of a group; `None` if it is unknown.
    pub fn members(&self, group: &str) -> Option<Vec<Arc<ClientChannel>>> {
        Some(self.read().groups.get(group)?.iter().cloned().collect())
    }

    /// Groups with members.
    pub fn all(&self) -> BTreeMap<String, Vec<Arc<ClientChannel>>> {
        let table = self.read();
        let inhabited = table.groups.iter().filter(|(_, members)| !members.is_empty());
        inhabited
            .map(|(group, members)| (group.clone(), members.iter().cloned().collect()))
            .collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Whether the client may join the group; `Err` names the limit that forbids it.
    fn make_room(
        &mut self,
        group: &str,
        client: &ClientChannel,
        limits: &Limits,
    ) -> Result<(), String> {
        let groups_of_client = self.memberships.get(&client.connection.id()).map_or(0, Vec::len);
        if groups_of_client >= limits.max_groups_per_connection {
            return Err(format!("maxGroupsPerConnection={}", limits.max_groups_per_connection));
        }
        if self.groups.len() >= limits.max_producer_groups && !self.groups.contains_key(group) {
            self.groups.retain(|_, members| !members.is_empty());
            if self.groups.len() >= limits.max_producer_groups {
                return Err(format!("maxProducerGroups={}", limits.max_producer_groups));
            }
        }
        Ok(())
    }

    fn forget_membership(&mut self, client: &ClientChannel, group: &str) {
        let connection_id = client.connection.id();
        let Some(groups) = self.memberships.get_mut(&connection_id) else { return };
        groups.retain(|known| known != group);
        let goes_on = groups.iter().any(|group| {
            let known = self.groups.get(group).and_then(|members| members.get(connection_id));
            known.is_some_and(|known| known.client_id == client.client_id)
        });
        if groups.is_empty() {
            self.memberships.remove(&connection_id);
        }
        if !goes_on {
            self.forget_client_id(client);
        }
    }

    fn leave_all(&mut self, connection_id: u64) {
        for group in self.memberships.remove(&connection_id).unwrap_or_default() {
            let left =
                self.groups.get_mut(&group).and_then(|members| members.remove(connection_id));
            if let Some(client) = left {
                self.forget_client_id(&client);
            }
        }
    }

    /// Unless the client came back on another connection.
    fn forget_client_id(&mut self, client: &ClientChannel) {
        let current = self.by_client_id.get(&client.client_id);
        if current.is_some_and(|current| current.connection.id() == client.connection.id()) {
            self.by_client_id.remove(&client.client_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::Listener;

    fn producers() -> Producers {
        Producers::new(&BrokerConfig {
            max_producer_groups: 3,
            max_groups_per_connection: 3,
            ..BrokerConfig::default()
        })
    }

    #[test]
    fn members_are_picked_in_turn() {
        let (producers, listener) = (producers(), Listener::new());
        let clients: Vec<_> = (0..3).map(|_| listener.connect()).collect();
        for (number, client) in clients.iter().enumerate() {
            producers.register("g", &client.heard(&number.to_string(), 1));
        }
        let mut picked: Vec<_> =
            (0..6).map(|_| producers.pick("g").unwrap().client_id.clone()).collect();
        assert_eq!(picked[..3], picked[3..]);
        picked.sort();
        picked.dedup();
        assert_eq!(picked.len(), 3);
        clients[0].connection.close("test");
        clients[1].connection.close("test");
        assert_eq!(producers.pick("g").unwrap().client_id, "2", "only who can be written to");
        clients[2].connection.close("test");
        assert!(producers.pick("g").is_none() && producers.pick("h").is_none());
    }

    #[test]
    fn a_client_is_found_by_its_id_while_it_is_in_any_group() {
        let (producers, listener) = (producers(), Listener::new());
        let a = listener.connect();
        producers.register("g", &a.heard("a", 1));
        producers.register("h", &a.heard("a", 1));
        producers.unregister("g", &a.connection);
        assert!(producers.members("g").is_none(), "an empty group is forgotten");
        assert!(producers.by_client_id("a").is_some());
        let again = listener.connect();
        producers.register("h", &again.heard("a", 1));
        producers.closed(&a.connection);
        let found = producers.by_client_id("a").unwrap();
        assert_eq!(found.connection.id(), again.connection.id(), "it came back elsewhere");
        producers.closed(&again.connection);
        assert!(producers.by_client_id("a").is_none());
        assert_eq!(producers.members("h").unwrap().len(), 0, "a group that was left stays known");
        assert!(producers.all().is_empty());
        producers.unregister("h", &a.connection);
        assert!(producers.members("h").is_some(), "who is no member does not make it unknown");
    }

    #[test]
    fn a_connection_keeps_the_client_id_under_which_it_joined() {
        let (producers, listener) = (producers(), Listener::new());
        let a = listener.connect();
        producers.register("g", &a.heard("a", 1));
        producers.register("g", &a.heard("other", 2));
        producers.register("h", &a.heard("other", 2));
        let ids = |group| -> Vec<String> {
            let members = producers.members(group).unwrap();
            members.iter().map(|client| client.client_id.clone()).collect()
        };
        assert_eq!((ids("g"), ids("h")), (vec!["a".to_owned()], vec!["other".to_owned()]));
        producers.unregister("g", &a.connection);
        assert!(producers.by_client_id("a").is_none(), "nothing is left under that id");
        assert!(producers.by_client_id("other").is_some());
        producers.unregister("h", &a.connection);
        assert!(producers.by_client_id("other").is_none());
    }

    #[test]
    fn silent_members_expire_from_all_groups() {
        let (producers, listener) = (producers(), Listener::new());
        let a = listener.connect();
        producers.register("g", &a.heard("a", 100));
        producers.register("h", &a.heard("a", 100));
        assert!(producers.expire(100).is_empty());
        producers.register("g", &a.heard("a", 200));
        assert_eq!(producers.expire(150).len(), 1, "each group counts by itself");
        assert!(producers.by_client_id("a").is_none());
    }

    #[test]
    fn what_a_connection_may_fill_is_bounded() {
        let (producers, listener) = (producers(), Listener::new());
        let a = listener.connect();
        for group in ["1", "2", "3", "4"] {
            producers.register(group, &a.heard("a", 1));
        }
        assert!(producers.members("4").is_none());
        producers.closed(&a.connection);
        let b = listener.connect();
        producers.register("4", &b.heard("b", 1));
        assert_eq!(producers.members("4").unwrap().len(), 1, "empty groups make room");
        assert!(producers.members("1").is_none());
    }
}
