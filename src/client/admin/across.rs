//! Calls that go to several brokers: what concerns a topic or a group wherever it is.

use std::collections::BTreeSet;

use super::{AdminClient, AdminResult, address_of};
use crate::client::ClientError;
use crate::common::message::MessageExt;
use crate::common::message_id::MessageId;
use crate::common::topic::retry_topic;
use crate::remoting::protocol::admin_bodies::TopicStatsTable;
use crate::remoting::protocol::bodies::{MessageQueue, TopicConfig, TopicRouteData};
use crate::remoting::protocol::heartbeat::ConsumeType;

/// What became of a message in a group, as far as its offsets and subscription tell.
///
/// ```
/// use rocketmq::client::{Message, ProducerOptions};
/// use rocketmq::client::admin::{AdminClient, MessageTrack};
/// # let site = rocketmq::Standalone::temporary()?;
/// # site.create_topic("Orders", 2)?;
/// # let names = site.name_servers();
///
/// let producer = ProducerOptions::new("shop").name_servers(names.as_str()).start()?;
/// let sent = producer.send(&Message::new("Orders", "one book"))?;
/// let admin = AdminClient::new(names);
/// let message = admin.message_by_id(&sent.offset_message_id)?;
/// assert_eq!(message.message.body, b"one book");
/// match admin.track(&message, "billing") {
///     Ok(track) => println!("{}", track.name()),
///     Err(error) => println!("nobody of the group is there: {error}"),
/// }
/// # assert_eq!(MessageTrack::NotConsumedYet.name(), "NOT_CONSUME_YET");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageTrack {
    /// It is behind the group's offset.
    Consumed,
    /// It is, but its tag is not one that the group wants.
    ConsumedButFiltered,
    /// It is not.
    NotConsumedYet,
    /// The group pulls; what it did with a message is not known.
    Pull,
}

impl MessageTrack {
    /// Java's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consumed => "CONSUMED",
            Self::ConsumedButFiltered => "CONSUMED_BUT_FILTERED",
            Self::NotConsumedYet => "NOT_CONSUME_YET",
            Self::Pull => "PULL",
        }
    }
}

/// Where a group stands in a queue, and where it stands after a reset.
///
/// ```
/// use rocketmq::client::{Message, ProducerOptions};
/// use rocketmq::client::admin::AdminClient;
/// # let site = rocketmq::Standalone::temporary()?;
/// # site.create_topic("Orders", 2)?;
/// # let names = site.name_servers();
///
/// let producer = ProducerOptions::new("shop").name_servers(names.as_str()).start()?;
/// let queue = producer.send(&Message::new("Orders", "one book"))?.queue;
/// let admin = AdminClient::new(names);
/// // Nobody of the group is there: at the brokers, to the end of every queue.
/// for reset in admin.reset_offline("billing", "Orders", None, true)? {
///     println!("{:?}: {} to {}", reset.queue, reset.consumer_offset, reset.offset);
/// }
/// # assert!(admin.topic_stats_everywhere("Orders")?.offset_table.contains_key(&queue));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The queue.
    pub queue: MessageQueue,
    /// Its end.
    pub broker_offset: i64,
    /// Where the group stood; one that was never there stood at the start.
    pub consumer_offset: i64,
    /// The offset of the time.
    pub target: i64,
    /// Where the group stands now.
    pub offset: i64,
}

impl AdminClient {
    /// Creates a topic with so many queues on the masters of all brokers that have `template`, which is an
    /// existing topic, or `TBW102` for all brokers that create topics by themselves. Java's
    /// `createTopic(key, newTopic, queueNum)`.
    ///
    /// ```
    /// use rocketmq::client::admin::AdminClient;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # let names = site.name_servers();
    ///
    /// let admin = AdminClient::new(names);
    /// admin.create_topic_like("TBW102", "Bills", 4)?;
    /// # while admin.route("Bills").is_err() {}
    /// assert_eq!(admin.topic_stats_everywhere("Bills")?.offset_table.len(), 4);
    /// assert!(admin.clusters_of_topic("Bills")?.contains("DefaultCluster"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_topic_like(&self, template: &str, topic: &str, queues: i32) -> AdminResult<()> {
        let config = TopicConfig {
            topic_name: topic.to_owned(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            ..TopicConfig::default()
        };
        let route = self.route(template)?;
        let masters = route.broker_datas.iter().filter_map(|broker| broker.broker_addrs.get(&0));
        let mut outcome = Err(ClientError::NoBroker {
            name: template.to_owned(),
            reason: "no broker of its route has a master",
        });
        for addr in masters {
            match self.create_topic(addr, &config) {
                Err(error) if outcome.is_err() => outcome = Err(error),
                Err(error) => log::warn!("{topic} is not created at {addr}: {error}"),
                Ok(()) => outcome = Ok(()),
            }
        }
        outcome
    }

    /// Extent of a topic's queues on all its brokers.
    pub fn topic_stats_everywhere(&self, topic: &str) -> AdminResult<TopicStatsTable> {
        let mut all = TopicStatsTable::default();
        for addr in self.route(topic)?.broker_datas.iter().filter_map(address_of) {
            all.offset_table.extend(self.topic_stats(addr, topic)?.offset_table);
        }
        Ok(all)
    }

    /// Clusters that have a broker with the topic.
    pub fn clusters_of_topic(&self, topic: &str) -> AdminResult<BTreeSet<String>> {
        let route = self.route(topic)?;
        let has_broker = |names: &Vec<String>| {
            route.broker_datas.iter().any(|broker| names.contains(&broker.broker_name))
        };
        let clusters = self.cluster_info()?.cluster_addr_table.into_iter();
        Ok(clusters.filter(|(_, names)| has_broker(names)).map(|(cluster, _)| cluster).collect())
    }

    /// The message with an offset message id, from the broker that the id names.
    pub fn message_by_id(&self, offset_message_id: &str) -> AdminResult<MessageExt> {
        let id: MessageId = offset_message_id.parse().map_err(ClientError::Invalid)?;
        self.view_message(&id.host.to_string(), id.offset)
    }

    /// The message of a topic with an offset message id or a unique key; of several with the same unique
    /// key the one that was stored first. `None` if there is none.
    ///
    /// ```
    /// use rocketmq::client::{Message, ProducerOptions};
    /// use rocketmq::client::admin::AdminClient;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    ///
    /// let producer = ProducerOptions::new("shop").name_servers(names.as_str()).start()?;
    /// let sent = producer.send(&Message::new("Orders", "one book").with_keys("order-17"))?;
    /// let admin = AdminClient::new(names);
    /// # while admin.query_messages("Orders", "order-17", false)?.is_empty() {}
    /// let message = admin.find_message("Orders", &sent.message_id)?.ok_or("not there yet")?;
    /// assert_eq!(message.message.keys(), Some("order-17"));
    /// assert_eq!(admin.query_messages("Orders", "order-17", false)?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find_message(&self, topic: &str, id: &str) -> AdminResult<Option<MessageExt>> {
        if id.parse::<MessageId>().is_ok()
            && let Ok(message) = self.message_by_id(id)
        {
            return Ok(Some(message));
        }
        let found = self.query_messages(topic, id, true)?;
        Ok(found.into_iter().min_by_key(|message| message.store_timestamp))
    }

    /// What became of a message in a group. Without a member online that is an error of the code 206.
    pub fn track(&self, message: &MessageExt, group: &str) -> AdminResult<MessageTrack> {
        let members = self.consumer_connection_of_group(group)?;
        if members.consume_type == Some(ConsumeType::Actively) {
            return Ok(MessageTrack::Pull);
        }
        let topic = &message.message.topic;
        let host = message.store_host.to_string();
        let info = self.cluster_info()?;
        let mut consumed = false;
        for broker in self.route(&retry_topic(group))?.broker_datas {
            let Some(addr) = address_of(&broker) else { continue };
            let known = info.broker_addr_table.get(&broker.broker_name);
            if known.and_then(|broker| broker.broker_addrs.get(&0)) != Some(&host) {
                continue;
            }
            let stats = self.consume_stats(addr, group, Some(topic))?;
            consumed |= stats.offset_table.iter().any(|(queue, progress)| {
                queue.topic == *topic
                    && queue.queue_id == message.queue_id
                    && progress.consumer_offset > message.queue_offset
            });
        }
        if !consumed {
            return Ok(MessageTrack::NotConsumedYet);
        }
        let tags = members.subscription_table.get(topic).map(|sub| &sub.tags_set);
        let is_wanted = tags.is_none_or(|tags| {
            tags.is_empty()
                || tags.iter().any(|tag| tag == "*" || Some(tag.as_str()) == message.message.tag())
        });
        Ok(match is_wanted {
            true => MessageTrack::Consumed,
            false => MessageTrack::ConsumedButFiltered,
        })
    }

    /// Sets the offsets of a group that has no member online, at all brokers of a topic, to a time in ms, or to
    /// the end. Forward only with `force`.
    pub fn reset_offline(
        &self,
        group: &str,
        topic: &str,
        time: Option<i64>,
        force: bool,
    ) -> AdminResult<Vec<Reset>> {
        let route = self.route(topic)?;
        let mut all = Vec::new();
        for addr in route.broker_datas.iter().filter_map(address_of) {
            for (queue, broker_offset, consumer_offset) in self.standings(addr, group, topic)? {
                let target = match time {
                    None => self.max_offset(addr, &queue)?,
                    Some(time) => self.search_offset(addr, &queue, time)?,
                };
                let moves = force || target <= consumer_offset;
                if moves {
                    self.update_consumer_offset(addr, group, &queue, target)?;
                }
                let offset = if moves { target } else { consumer_offset };
                all.push(Reset { queue, broker_offset, consumer_offset, target, offset });
            }
        }
        Ok(all)
    }

    /// Queues, their ends, and where the group stands; one that was never there stands at the start.
    fn standings(
        &self,
        addr: &str,
        group: &str,
        topic: &str,
    ) -> AdminResult<Vec<(MessageQueue, i64, i64)>> {
        let stats = self.consume_stats(addr, group, Some(topic))?.offset_table.into_iter();
        let known: Vec<_> = stats
            .filter(|(queue, _)| queue.topic == topic)
            .map(|(queue, progress)| (queue, progress.broker_offset, progress.consumer_offset))
            .collect();
        if !known.is_empty() {
            return Ok(known);
        }
        let extents = self.topic_stats(addr, topic)?.offset_table.into_iter();
        Ok(extents.map(|(queue, extent)| (queue, extent.max_offset, extent.min_offset)).collect())
    }

    /// The first success among the brokers of a route, else the last failure.
    pub(super) fn first_answer<T>(
        &self,
        topic: &str,
        route: &TopicRouteData,
        ask: impl Fn(&str) -> AdminResult<T>,
    ) -> AdminResult<T> {
        let mut last = ClientError::NoBroker {
            name: topic.to_owned(),
            reason: "its route names no broker with an address",
        };
        for addr in route.broker_datas.iter().filter_map(address_of) {
            match ask(addr) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
