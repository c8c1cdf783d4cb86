//! [`Filter`]: which messages of a topic a group wants, and the form in which brokers are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use super::error::ClientError;
use super::instance::Instance;
use super::message::ReceivedMessage;
use super::validate::check_topic;
use crate::common::checksum::java_hash;
use crate::common::clock::now_ms;
use crate::remoting::protocol::heartbeat::SubscriptionData;

/// Which messages of a topic are wanted. From text: tags, `a || b`, or `*` for all.
///
/// ```
/// use rocketmq::client::{ConsumerOptions, Filter};
///
/// assert_eq!(Filter::from("new || paid"), Filter::Tags("new || paid".into()));
/// let options = ConsumerOptions::new("billing")
///     .subscribe("Orders", "new || paid")
///     .subscribe("Returns", Filter::all())
///     .subscribe("Bills", Filter::Sql("amount BETWEEN 100 AND 1000 OR city = 'Ulm'".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Messages with one of these tags, separated by `||`; `*` or nothing is all.
    Tags(String),
    /// Messages whose properties fulfil an SQL92 expression. The broker must allow it.
    Sql(String),
}

impl Filter {
    /// Every message.
    pub fn all() -> Self {
        Self::Tags("*".into())
    }

    /// Whether brokers have to check the expression before it is used.
    pub(crate) fn needs_check(subscription: &SubscriptionData) -> bool {
        subscription.expression_type.as_deref().is_some_and(|kind| kind != "TAG")
    }

    /// The subscription that brokers are told of, with a new version.
    pub(crate) fn subscription(&self, topic: &str) -> Result<SubscriptionData, ClientError> {
        check_topic(topic)?;
        let data = SubscriptionData {
            topic: topic.to_owned(),
            sub_version: now_ms(),
            ..SubscriptionData::default()
        };
        match self {
            Self::Sql(text) if text.trim().is_empty() => {
                Err(ClientError::Invalid(format!("the SQL expression for {topic} is empty")))
            }
            Self::Sql(text) => Ok(SubscriptionData {
                expression_type: Some("SQL92".into()),
                sub_string: Some(text.clone()),
                ..data
            }),
            Self::Tags(text) if text.is_empty() || text == "*" => {
                Ok(SubscriptionData { sub_string: Some("*".into()), ..data })
            }
            Self::Tags(text) => {
                // As Java's `split`: empty parts at the end do not count, and none at all is wrong.
                if text.split("||").all(str::is_empty) {
                    return Err(ClientError::Invalid(format!(
                        "the tags \"{text}\" for {topic} name none; \"*\" is all"
                    )));
                }
                let tags: BTreeSet<_> =
                    text.split("||").map(str::trim).filter(|tag| !tag.is_empty()).collect();
                Ok(SubscriptionData {
                    sub_string: Some(text.clone()),
                    code_set: tags.iter().map(|tag| java_hash(tag)).collect(),
                    tags_set: tags.into_iter().map(str::to_owned).collect(),
                    ..data
                })
            }
        }
    }
}

impl From<&String> for Filter {
    fn from(tags: &String) -> Self {
        tags.as_str().into()
    }
}

impl From<String> for Filter {
    fn from(tags: String) -> Self {
        tags.as_str().into()
    }
}

impl From<&str> for Filter {
    fn from(tags: &str) -> Self {
        Self::Tags(tags.to_owned())
    }
}

/// The subscriptions of a consumer, by topic as on the wire.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(RwLock<BTreeMap<String, Arc<SubscriptionData>>>);

impl Subscriptions {
    pub fn new(table: BTreeMap<String, Arc<SubscriptionData>>) -> Self {
        Self(RwLock::new(table))
    }

    fn read<R>(&self, look: impl FnOnce(&BTreeMap<String, Arc<SubscriptionData>>) -> R) -> R {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<R>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Arc<SubscriptionData>>) -> R,
    ) -> R {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// That of a topic.
    pub fn get(&self, topic: &str) -> Option<Arc<SubscriptionData>> {
        self.read(|table| table.get(topic).cloned())
    }

    /// All of them.
    pub fn all(&self) -> Vec<SubscriptionData> {
        self.read(|table| table.values().map(|data| (**data).clone()).collect())
    }

    /// All topics.
    pub fn topics(&self) -> Vec<String> {
        self.read(|table| table.keys().cloned().collect())
    }

    /// Adds or changes one while the consumer runs. The topic's route is known. Brokers check an
    /// expression first; then they are told, and the queues are divided anew.
    pub fn add(
        &self,
        instance: &Arc<Instance>,
        group: &str,
        topic: &str,
        filter: &Filter,
    ) -> Result<(), ClientError> {
        let subscription = filter.subscription(topic)?;
        if Filter::needs_check(&subscription) {
            instance.check_expression(group, &subscription)?;
        }
        self.change(|table| table.insert(topic.to_owned(), Arc::new(subscription)));
        instance.heartbeat();
        instance.rebalance_soon();
        instance.look_for_missing();
        Ok(())
    }

    /// Removes one.
    pub fn remove(&self, topic: &str) {
        self.change(|table| table.remove(topic));
    }

    /// Replaces all.
    pub fn replace(&self, by: BTreeMap<String, Arc<SubscriptionData>>) {
        self.change(|table| *table = by);
    }

    /// A new version of one.
    pub fn touch(&self, topic: &str) {
        self.change(|table| {
            if let Some(subscription) = table.get_mut(topic) {
                Arc::make_mut(subscription).sub_version = now_ms();
            }
        });
    }
}

/// Drops messages whose tag only has the hash of a wanted one: brokers compare hashes.
pub(crate) fn keep_wanted(subscription: &SubscriptionData, messages: &mut Vec<ReceivedMessage>) {
    if !subscription.tags_set.is_empty() && !subscription.class_filter_mode {
        messages.retain(|message| {
            message
                .tag()
                .is_some_and(|tag| subscription.tags_set.iter().any(|wanted| wanted == tag))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{origin, record};
    use super::*;

    fn tags(text: &str) -> Result<Vec<String>, ClientError> {
        Filter::from(text).subscription("T").map(|data| data.tags_set)
    }

    #[test]
    fn tags_are_split_and_hashed() {
        assert_eq!(tags("a || b||  || c ||").unwrap(), ["a", "b", "c"]);
        assert!(tags("*").unwrap().is_empty() && tags("").unwrap().is_empty());
        assert!(tags("||").is_err() && tags("||||").is_err());
        assert!(tags(" || ").unwrap().is_empty());
        let data = Filter::from("TagA").subscription("T").unwrap();
        assert_eq!((data.code_set, data.sub_string.as_deref()), (vec![2_598_919], Some("TagA")));
        let sql = Filter::Sql("a > 1".into()).subscription("T").unwrap();
        assert!(Filter::needs_check(&sql) && sql.tags_set.is_empty());
        assert!(Filter::Sql(" ".into()).subscription("T").is_err());
    }

    #[test]
    fn equal_hashes_are_not_equal_tags() {
        let wanted = Filter::from("Aa").subscription("T").unwrap();
        assert_eq!(java_hash("Aa"), java_hash("BB"));
        let mut body = record("T", 0, "TAGS\u{1}Aa", b"x", 0);
        body.extend(record("T", 1, "TAGS\u{1}BB", b"x", 0));
        body.extend(record("T", 2, "", b"x", 0));
        let mut messages = ReceivedMessage::read_all(body, &origin("T"));
        keep_wanted(&wanted, &mut messages);
        assert_eq!(messages.len(), 1);
    }
}
