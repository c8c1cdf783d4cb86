//! [`Namespace`]: several tenants on one cluster, each with names of its own.
//!
//! A namespace is only a prefix of names on the wire: the topic `Orders` of the namespace `shop` is
//! `shop%Orders`, and what is derived of a group keeps its own prefix in front, `%RETRY%shop%billing`.
//! The application never sees it. The rules are Java's `NamespaceUtil` (spec: client 1.14).

use std::borrow::Cow;
use std::sync::Arc;

use crate::common::topic::{DLQ_PREFIX, RETRY_PREFIX, is_system_topic};
use crate::remoting::protocol::bodies::MessageQueue;

/// Between a namespace and a name.
const SEPARATOR: char = '%';
/// Consumer groups of RocketMQ itself, which belong to no namespace.
const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
/// How the host of an instance's endpoint begins.
const INSTANCE_PREFIX: &str = "MQ_INST_";

/// What names begin with on the wire; by default nothing.
///
/// ```
/// use rocketmq::client::Namespace;
///
/// let shop = Namespace::from("shop");
/// assert_eq!(shop.wrap("Orders"), "shop%Orders");
/// assert_eq!(shop.wrap("%RETRY%billing"), "%RETRY%shop%billing");
/// assert_eq!(shop.unwrap("%DLQ%shop%billing"), "%DLQ%billing");
/// assert_eq!(Namespace::default().wrap("Orders"), "Orders");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace(Option<Arc<str>>);

impl From<&str> for Namespace {
    fn from(name: &str) -> Self {
        Self(Some(name.trim()).filter(|name| !name.is_empty()).map(Into::into))
    }
}

impl From<String> for Namespace {
    fn from(name: String) -> Self {
        name.as_str().into()
    }
}

/// A name and the prefix of retry and dead-letter topics in front of it.
fn cut(name: &str) -> (&str, &str) {
    let prefixes = [RETRY_PREFIX, DLQ_PREFIX];
    let length = prefixes.iter().find(|p| name.starts_with(**p)).map_or(0, |p| p.len());
    name.split_at(length)
}

impl Namespace {
    /// The namespace that an endpoint of an instance stands for: `http://MQ_INST_1_abc.host:80` and
    /// `MQ_INST_1_abc.host:80` are of `MQ_INST_1_abc`; other addresses of none.
    ///
    /// ```
    /// use rocketmq::client::Namespace;
    ///
    /// let namespace = Namespace::of_endpoint("http://MQ_INST_1_a.host:80");
    /// assert_eq!(namespace.name(), Some("MQ_INST_1_a"));
    /// ```
    pub fn of_endpoint(addr: &str) -> Self {
        let host = addr.trim().rsplit('/').next().unwrap_or_default();
        let instance = host.split('.').next().unwrap_or_default();
        let is_word = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let parts = instance.strip_prefix(INSTANCE_PREFIX).filter(|id| is_word(id));
        // Two words with an underscore between them.
        let inner = parts.and_then(|id| id.get(1..id.len().saturating_sub(1)));
        if host.contains('.') && inner.is_some_and(|inner| inner.contains('_')) {
            instance.into()
        } else {
            Self::default()
        }
    }

    /// The name; `None` without one.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// A topic or group as it is on the wire. System topics and groups are everybody's, and a name
    /// that has the namespace already stays as it is.
    pub fn wrap<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let Some(own) = self.name() else { return name.into() };
        let (prefix, rest) = cut(name);
        let has_it = rest.strip_prefix(own).is_some_and(|rest| rest.starts_with(SEPARATOR));
        let is_system = is_system_topic(name) || name.starts_with(SYSTEM_GROUP_PREFIX);
        if name.is_empty() || is_system || has_it {
            return name.into();
        }
        format!("{prefix}{own}{SEPARATOR}{rest}").into()
    }

    /// A name from the wire as the application knows it.
    pub fn unwrap<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let Some(own) = self.name() else { return name.into() };
        let (prefix, rest) = cut(name);
        match rest.strip_prefix(own).and_then(|rest| rest.strip_prefix(SEPARATOR)) {
            Some(rest) if prefix.is_empty() => rest.into(),
            Some(rest) => format!("{prefix}{rest}").into(),
            None => name.into(),
        }
    }

    /// The same for a name that many share.
    pub(crate) fn unwrap_shared(&self, name: &Arc<str>) -> Arc<str> {
        if self.0.is_none() { Arc::clone(name) } else { (&*self.unwrap(name)).into() }
    }

    /// A queue as it is on the wire.
    pub(crate) fn wrap_queue<'a>(&self, queue: &'a MessageQueue) -> Cow<'a, MessageQueue> {
        match self.wrap(&queue.topic) {
            Cow::Borrowed(_) => Cow::Borrowed(queue),
            Cow::Owned(topic) => Cow::Owned(MessageQueue { topic, ..queue.clone() }),
        }
    }

    /// A queue as the application knows it.
    pub(crate) fn unwrap_queue(&self, mut queue: MessageQueue) -> MessageQueue {
        if self.0.is_some() {
            queue.topic = self.unwrap(&queue.topic).into_owned();
        }
        queue
    }

    /// Queues as the application knows them.
    pub(crate) fn unwrap_queues(&self, queues: Vec<MessageQueue>) -> Vec<MessageQueue> {
        queues.into_iter().map(|queue| self.unwrap_queue(queue)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_wrapped_once_and_unwrapped_by_their_own_namespace_only() {
        let space = Namespace::from("NS");
        for (plain, wire) in [
            ("T", "NS%T"),
            ("%RETRY%g", "%RETRY%NS%g"),
            ("%DLQ%g", "%DLQ%NS%g"),
            // A name that only begins like the namespace.
            ("NST", "NS%NST"),
        ] {
            assert_eq!(space.wrap(plain), wire);
            assert_eq!(space.wrap(wire), wire);
            assert_eq!(space.unwrap(wire), plain);
            assert_eq!(space.unwrap(plain), plain);
        }
        for system in ["", "TBW102", "rmq_sys_x", "CID_RMQ_SYS_TRANS", "SCHEDULE_TOPIC_XXXX"] {
            assert_eq!(space.wrap(system), system);
        }
        assert_eq!(space.unwrap("OTHER%T"), "OTHER%T");
        assert_eq!(Namespace::from(" ").wrap("%RETRY%g"), "%RETRY%g");
    }

    #[test]
    fn queues_follow_their_topic() {
        let space = Namespace::from("NS");
        let queue = MessageQueue { broker_name: "b".into(), queue_id: 1, topic: "T".into() };
        let wire = space.wrap_queue(&queue).into_owned();
        assert_eq!((wire.topic.as_str(), wire.queue_id), ("NS%T", 1));
        assert_eq!(space.unwrap_queue(wire), queue);
        assert!(matches!(Namespace::default().wrap_queue(&queue), Cow::Borrowed(_)));
    }

    #[test]
    fn endpoints_of_instances_name_their_namespace() {
        for (addr, name) in [
            ("http://MQ_INST_123_abc.mq.example:80", Some("MQ_INST_123_abc")),
            ("MQ_INST_123_abc_d.mq.example:8080", Some("MQ_INST_123_abc_d")),
            ("https://MQ_INST_1_2.x", Some("MQ_INST_1_2")),
            ("MQ_INST_123.mq.example:80", None),
            ("MQ_INST__a.mq.example:80", None),
            ("MQ_INST_1_2:9876", None),
            ("10.0.0.1:9876", None),
            ("", None),
        ] {
            assert_eq!(Namespace::of_endpoint(addr).name(), name, "{addr}");
        }
    }
}
