//! [`Claims`]: what each live member of a consumer group says that the group subscribes to, and
//! whether they agree.
//!
//! RocketMQ wants all members of a group to subscribe to the same. If they do not, each heartbeat
//! takes away what the others subscribe to, their pulls are refused now and then (codes 24 and 25),
//! and of the queues that a member gets it drops what it does not want itself. No client is refused
//! for it; so it must be seen.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::channels::ClientChannel;
use crate::common::rarely::Rarely;
use crate::common::topic::RETRY_PREFIX;
use crate::remoting::protocol::heartbeat::SubscriptionData;

/// A group whose members disagree is worth a line so often.
const WARN_PERIOD: Duration = Duration::from_secs(300);
/// Of a subscription so much is shown.
const SHOWN_CHARS: usize = 200;

/// One set of subscriptions, shared by all members that claim it.
#[derive(Debug)]
struct Claim {
    /// Of topics, types and expressions.
    hash: u64,
    /// The same for people.
    text: String,
}

/// The claims of a group's members.
///
/// Versions do not count: each client numbers its subscriptions by its own clock. Neither does the
/// group's retry topic, which clients add on their own.
#[derive(Debug)]
pub struct Claims {
    by_connection: HashMap<u64, Arc<Claim>>,
    /// Each different claim, and how many members have it.
    different: HashMap<u64, usize>,
    warned: Rarely,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            by_connection: HashMap::new(),
            different: HashMap::new(),
            warned: Rarely::new(WARN_PERIOD),
        }
    }
}

impl Claims {
    /// Whether two members subscribe differently.
    pub fn disagree(&self) -> bool {
        self.different.len() > 1
    }

    /// A member's heartbeat; says in the log if the group disagrees.
    pub fn note(&mut self, group: &str, client: &ClientChannel, heard: &[SubscriptionData]) {
        let id = client.connection.id();
        let hash = hash_of(heard);
        if self.by_connection.get(&id).is_none_or(|known| known.hash != hash) {
            self.forget(id);
            let same = self.by_connection.values().find(|known| known.hash == hash);
            let claim =
                same.cloned().unwrap_or_else(|| Arc::new(Claim { hash, text: text_of(heard) }));
            self.by_connection.insert(id, claim);
            *self.different.entry(hash).or_default() += 1;
        }
        if self.disagree() && self.warned.note().is_some() {
            let own = self.by_connection.get(&id);
            let other = self.by_connection.values().find(|claim| claim.hash != hash);
            if let (Some(own), Some(other)) = (own, other) {
                log::warn!(
                    "the members of consumer group {group} subscribe differently: {} to {}, another \
                     one to {}; each heartbeat takes the other's subscription away, and messages are \
                     not consumed",
                    client.client_id,
                    own.text,
                    other.text
                );
            }
        }
    }

    /// A member has left.
    pub fn forget(&mut self, connection_id: u64) {
        let Some(claim) = self.by_connection.remove(&connection_id) else { return };
        if let Some(members) = self.different.get_mut(&claim.hash) {
            *members -= 1;
            if *members == 0 {
                self.different.remove(&claim.hash);
            }
        }
    }
}

/// What counts of a subscription, in an order that does not depend on the heartbeat's.
fn sorted(heard: &[SubscriptionData]) -> Vec<(&str, &str, &str)> {
    let counts = heard.iter().filter(|subscription| !subscription.topic.starts_with(RETRY_PREFIX));
    let mut sorted: Vec<_> = counts
        .map(|subscription| {
            let kind = subscription.expression_type.as_deref().unwrap_or_default();
            let kind = if kind.is_empty() { "TAG" } else { kind };
            (&*subscription.topic, kind, subscription.sub_string.as_deref().unwrap_or("*"))
        })
        .collect();
    sorted.sort_unstable();
    sorted
}

fn hash_of(heard: &[SubscriptionData]) -> u64 {
    let mut hasher = DefaultHasher::new();
    sorted(heard).hash(&mut hasher);
    hasher.finish()
}

fn text_of(heard: &[SubscriptionData]) -> String {
    let each = sorted(heard).into_iter().map(|(topic, kind, text)| match kind {
        "TAG" => format!("{topic} {text}"),
        kind => format!("{topic} {kind} {text}"),
    });
    let all = each.collect::<Vec<_>>().join(", ");
    match all.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &all[..end]),
        None if all.is_empty() => "nothing".to_owned(),
        None => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::Listener;

    fn subscriptions(all: &[(&str, &str)], version: i64) -> Vec<SubscriptionData> {
        let one = |(topic, text): &(&str, &str)| SubscriptionData {
            topic: (*topic).to_owned(),
            sub_string: Some((*text).to_owned()),
            sub_version: version,
            ..SubscriptionData::default()
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn members_agree_on_topics_and_expressions_in_any_order_and_version() {
        let listener = Listener::new();
        let (a, b) = (listener.connect(), listener.connect());
        let (first, second) = (a.heard("a", 1), b.heard("b", 1));
        let mut claims = Claims::default();
        claims.note("g", &first, &subscriptions(&[("T", "A"), ("U", "*"), ("%RETRY%g", "*")], 1));
        claims.note("g", &second, &subscriptions(&[("U", "*"), ("T", "A")], 2));
        assert!(!claims.disagree());
        claims.note("g", &second, &subscriptions(&[("U", "*"), ("T", "B")], 3));
        assert!(claims.disagree(), "another expression");
        claims.note("g", &second, &subscriptions(&[("T", "A")], 4));
        assert!(claims.disagree(), "a topic less");
        claims.note("g", &first, &subscriptions(&[("T", "A")], 5));
        assert!(!claims.disagree(), "the first follows");
        claims.note("g", &second, &[]);
        assert!(claims.disagree());
        claims.forget(second.connection.id());
        assert!(!claims.disagree());
        claims.forget(first.connection.id());
        assert!(claims.by_connection.is_empty() && claims.different.is_empty());
    }

    #[test]
    fn what_is_shown_is_bounded() {
        assert_eq!(text_of(&[]), "nothing");
        assert_eq!(text_of(&subscriptions(&[("U", "*"), ("T", "A || B")], 1)), "T A || B, U *");
        let long = "x".repeat(10_000);
        assert_eq!(text_of(&subscriptions(&[("T", &long)], 1)).len(), SHOWN_CHARS + 3);
    }
}
