//! Calls to brokers about offsets, of queues and of groups.

use std::collections::BTreeMap;

use super::{AdminClient, AdminResult, header_of, with};
use crate::client::ClientError;
use crate::remoting::command::Command;
use crate::remoting::protocol::bodies::{MessageQueue, OffsetTable};
use crate::remoting::protocol::headers::{
    OffsetResponseHeader, QueryConsumerOffsetRequestHeader, QueueRequestHeader,
    ResetOffsetRequestHeader, SearchOffsetRequestHeader, UpdateConsumerOffsetRequestHeader,
};
use crate::remoting::protocol::{request_code, response_code};

impl AdminClient {
    /// Next offset of a queue (30).
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
