//! [`ClientChannel`] and [`ChannelSet`]: the members of a producer or consumer group.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crate::remoting::Connection;
use crate::remoting::command::Language;

/// A client as a heartbeat describes it; one object is shared by all groups of the heartbeat.
#[derive(Debug)]
pub struct ClientChannel {
    /// Its connection.
    pub connection: Arc<Connection>,
    /// `ip@instance`, chosen by the client.
    pub client_id: String,
    /// Language of the frame.
    pub language: Language,
    /// Release ordinal of the frame.
    pub version: i32,
    /// Last heartbeat, ms.
    last_update_ms: AtomicI64,
}

impl ClientChannel {
    /// A client that was heard of at `now_ms`.
    pub fn new(
        connection: Arc<Connection>,
        client_id: String,
        language: Language,
        version: i32,
        now_ms: i64,
    ) -> Arc<Self> {
        let last_update_ms = AtomicI64::new(now_ms);
        Arc::new(Self { connection, client_id, language, version, last_update_ms })
    }

    /// Last heartbeat, ms.
    pub fn last_update_ms(&self) -> i64 {
        self.last_update_ms.load(Ordering::Relaxed)
    }
}

/// What [`ChannelSet::refresh`] did.
#[derive(Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The connection was not a member.
    Added,
    /// It was, under the same client id.
    Known,
    /// It was, under this other client id.
    Renamed(String),
}

/// Members of a group: found by connection, listed in order, picked by number.
#[derive(Debug, Default)]
pub struct ChannelSet {
    list: Vec<Arc<ClientChannel>>,
    /// Connection to its place in the list.
    places: HashMap<u64, usize>,
    /// Turn of [`pick`](Self::pick).
    turn: AtomicUsize,
}

impl ChannelSet {
    /// Takes note that a client is alive, if it is a member under this client id.
    pub fn touch(&self, client: &ClientChannel) -> bool {
        let Some(known) = self.get(client.connection.id()) else { return false };
        let same = known.client_id == client.client_id;
        if same {
            known.last_update_ms.store(client.last_update_ms(), Ordering::Relaxed);
        }
        same
    }

    /// Takes note that the member of the client's connection is alive, whatever its client id.
    pub fn touch_any(&self, client: &ClientChannel) -> bool {
        let Some(known) = self.get(client.connection.id()) else { return false };
        known.last_update_ms.store(client.last_update_ms(), Ordering::Relaxed);
        true
    }

    /// Adds the client, or takes note that it is alive.
    pub fn refresh(&mut self, client: &Arc<ClientChannel>) -> Refreshed {
        if self.touch(client) {
            return Refreshed::Known;
        }
        let Some(&place) = self.places.get(&client.connection.id()) else {
            self.places.insert(client.connection.id(), self.list.len());
            self.list.push(Arc::clone(client));
            return Refreshed::Added;
        };
        let old = std::mem::replace(&mut self.list[place], Arc::clone(client));
        Refreshed::Renamed(old.client_id.clone())
    }

    /// Removes the client of a connection.
    pub fn remove(&mut self, connection_id: u64) -> Option<Arc<ClientChannel>> {
        let place = self.places.remove(&connection_id)?;
        let removed = self.list.swap_remove(place);
        if let Some(moved) = self.list.get(place) {
            self.places.insert(moved.connection.id(), place);
        }
        Some(removed)
    }

    /// The client of a connection.
    pub fn get(&self, connection_id: u64) -> Option<&Arc<ClientChannel>> {
        self.places.get(&connection_id).map(|&place| &self.list[place])
    }

    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ClientChannel>> {
        self.list.iter()
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Members not heard of since `before_ms`.
    pub fn silent_since(&self, before_ms: i64) -> Vec<Arc<ClientChannel>> {
        self.list.iter().filter(|client| client.last_update_ms() < before_ms).cloned().collect()
    }

    /// One member, in turn: the first of three that is writable, else the last of them that is at
    /// least open (spec: broker 6.4).
    pub fn pick(&self) -> Option<Arc<ClientChannel>> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut open = None;
        for step in 0..self.list.len().min(3) {
            let client = &self.list[first.wrapping_add(step) % self.list.len()];
            if client.connection.is_writable() {
                return Some(Arc::clone(client));
            }
            if !client.connection.is_closed() {
                open = Some(client);
            }
        }
        open.cloned()
    }
}
