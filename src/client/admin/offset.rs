//! Calls to brokers about offsets, of queues and of groups.

use std::collections::BTreeMap;

use super::{AdminClient, AdminResult, header_of, with};
use crate::client::ClientError;
use crate::remoting::command::Command;
use crate::remoting::protocol::admin_headers::CloneGroupOffsetRequestHeader;
use crate::remoting::protocol::bodies::{MessageQueue, OffsetTable};
use crate::remoting::protocol::headers::{
    OffsetResponseHeader, QueryConsumerOffsetRequestHeader, QueueRequestHeader,
    ResetOffsetRequestHeader, SearchOffsetRequestHeader, TimestampResponseHeader,
    UpdateConsumerOffsetRequestHeader,
};
use crate::remoting::protocol::{request_code, response_code};

impl AdminClient {
    /// Next offset of a queue (30).
    ///
    /// ```
    /// use rocketmq::client::admin::{AdminClient, address_of};
    /// use rocketmq::client::{Message, ProducerOptions};
    /// use rocketmq::remoting::protocol::headers::ResetOffsetRequestHeader;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    /// # let admin = AdminClient::new(names.as_str());
    /// # let route = admin.route("Orders")?;
    /// # let broker = address_of(&route.broker_datas[0]).ok_or("no address")?;
    /// let producer = ProducerOptions::new("shop").name_servers(names).start()?;
    /// let queue = producer.send(&Message::new("Orders", "one book"))?.queue;
    /// # while admin.max_offset(broker, &queue)? < 1 {}
    /// assert_eq!((admin.min_offset(broker, &queue)?, admin.max_offset(broker, &queue)?), (0, 1));
    /// let stored = admin.earliest_store_time(broker, &queue)?;
    /// assert_eq!(admin.search_offset(broker, &queue, stored)?, 0);
    /// // Where a group stands, whether it is online or not.
    /// admin.update_consumer_offset(broker, "billing", &queue, 1)?;
    /// assert_eq!(admin.consumer_offset(broker, "billing", &queue)?, Some(1));
    /// admin.clone_offsets(broker, "billing", "audit", Some("Orders"), true)?;
    /// assert_eq!(admin.consumer_offset(broker, "audit", &queue)?, Some(1));
    /// // Its members, if there are any, start over.
    /// let header = ResetOffsetRequestHeader {
    ///     topic: "Orders".into(),
    ///     group: "billing".into(),
    ///     timestamp: stored,
    ///     is_force: true,
    /// };
    /// assert!(admin.reset_offset(broker, &header).is_err(), "there is none");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_offset(&self, addr: &str, queue: &MessageQueue) -> AdminResult<i64> {
        self.queue_offset(addr, with(request_code::GET_MAX_OFFSET, &queue_header(queue)))
    }

    /// First offset of a queue (31).
    pub fn min_offset(&self, addr: &str, queue: &MessageQueue) -> AdminResult<i64> {
        self.queue_offset(addr, with(request_code::GET_MIN_OFFSET, &queue_header(queue)))
    }

    /// The offset stored nearest to a time, ms (29).
    pub fn search_offset(
        &self,
        addr: &str,
        queue: &MessageQueue,
        timestamp: i64,
    ) -> AdminResult<i64> {
        let header = SearchOffsetRequestHeader {
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            timestamp,
            broker_name: Some(queue.broker_name.clone()),
        };
        self.queue_offset(addr, with(request_code::SEARCH_OFFSET_BY_TIMESTAMP, &header))
    }

    /// When the first message of a queue was stored, ms (32); -1 without one.
    pub fn earliest_store_time(&self, addr: &str, queue: &MessageQueue) -> AdminResult<i64> {
        let request = with(request_code::GET_EARLIEST_MSG_STORETIME, &queue_header(queue));
        let answer = self.call(addr, request)?;
        header_of::<TimestampResponseHeader>(addr, &answer).map(|header| header.timestamp)
    }

    /// Copies the offsets of a group to another one (314): of one topic, or of all; `offline`: also of topics
    /// that nobody of the group subscribes to now.
    pub fn clone_offsets(
        &self,
        addr: &str,
        from_group: &str,
        to_group: &str,
        topic: Option<&str>,
        offline: bool,
    ) -> AdminResult<()> {
        let header = CloneGroupOffsetRequestHeader {
            src_group: from_group.to_owned(),
            dest_group: to_group.to_owned(),
            topic: topic.map(str::to_owned),
            offline,
        };
        self.call(addr, with(request_code::CLONE_GROUP_OFFSET, &header)).map(drop)
    }

    fn queue_offset(&self, addr: &str, request: Command) -> AdminResult<i64> {
        let answer = self.call(addr, request)?;
        header_of::<OffsetResponseHeader>(addr, &answer).map(|header| header.offset)
    }

    /// Where a group stands in a queue (14); `None` if it was never there.
    pub fn consumer_offset(
        &self,
        addr: &str,
        group: &str,
        queue: &MessageQueue,
    ) -> AdminResult<Option<i64>> {
        let header = QueryConsumerOffsetRequestHeader {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            broker_name: Some(queue.broker_name.clone()),
        };
        match self.queue_offset(addr, with(request_code::QUERY_CONSUMER_OFFSET, &header)) {
            Ok(offset) => Ok(Some(offset)),
            Err(ClientError::Broker { code: response_code::QUERY_NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the offset of a group (15).
    pub fn update_consumer_offset(
        &self,
        addr: &str,
        group: &str,
        queue: &MessageQueue,
        commit_offset: i64,
    ) -> AdminResult<()> {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            commit_offset,
            broker_name: Some(queue.broker_name.clone()),
        };
        self.call(addr, with(request_code::UPDATE_CONSUMER_OFFSET, &header)).map(drop)
    }

    /// Moves the online members of a group to a time, ms; -1 is the end (222). Returns the offsets
    /// they were told.
    pub fn reset_offset(
        &self,
        addr: &str,
        header: &ResetOffsetRequestHeader,
    ) -> AdminResult<BTreeMap<MessageQueue, i64>> {
        let request = with(request_code::INVOKE_BROKER_TO_RESET_OFFSET, header);
        self.ask::<OffsetTable>(addr, request).map(|table| table.offset_table)
    }
}

fn queue_header(queue: &MessageQueue) -> QueueRequestHeader {
    QueueRequestHeader {
        topic: queue.topic.clone(),
        queue_id: queue.queue_id,
        broker_name: Some(queue.broker_name.clone()),
    }
}
