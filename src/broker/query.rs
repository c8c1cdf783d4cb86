//! Look-ups of single messages: QUERY_MESSAGE (12) by key, VIEW_MESSAGE_BY_ID (33) by commit-log
//! offset. Neither asks for the topic's permission, as in Java.

use std::sync::Arc;

use super::{Answer, Broker};
use crate::header;
use crate::remoting::protocol::response_code as code;
use crate::remoting::{Body, Command, Connection};

header! {
    /// QUERY_MESSAGE (12).
    pub struct QueryMessageRequestHeader {
        /// Topic.
        pub topic: String => "topic",
        /// User key or unique key.
        pub key: String => "key",
        /// Messages wanted at most.
        pub max_num: i32 => "maxNum",
        /// Stored not before, ms.
        pub begin_timestamp: i64 => "beginTimestamp",
        /// Stored not after, ms.
        pub end_timestamp: i64 => "endTimestamp",
        /// The key is a unique key: the limit is the broker's.
        pub unique_key_query: bool => "_UNIQUE_KEY_QUERY" = false,
    }
}

header! {
    /// VIEW_MESSAGE_BY_ID (33).
    pub struct ViewMessageRequestHeader {
        /// Commit-log offset.
        pub offset: i64 => "offset",
    }
}

/// Answers QUERY_MESSAGE.
pub fn by_key(broker: &Arc<Broker>, _connection: &Arc<Connection>, request: Command) -> Answer {
    let header: QueryMessageRequestHeader = request.header()?;
    let store = broker.store.config();
    let wanted = if header.unique_key_query { store.default_query_max_num } else { header.max_num };
    let found = broker.store.query(
        &header.topic,
        &header.key,
        wanted.min(store.max_msgs_num_batch).max(0),
        header.begin_timestamp,
        header.end_timestamp,
    );
    let mut response = Command::response(code::SUCCESS);
    response.fields.push_int("indexLastUpdateTimestamp", found.index_last_update_timestamp);
    response.fields.push_int("indexLastUpdatePhyoffset", found.index_last_update_phy_offset);
    match found.records.filter(|_| found.count > 0) {
        Some(records) => response.body = Body::Shared(records),
        None => {
            response.code = code::QUERY_NOT_FOUND;
            response.remark = Some("can not find message, maybe time range not correct".to_owned());
        }
    }
    Ok(Some(response))
}

/// Answers VIEW_MESSAGE_BY_ID.
pub fn by_id(broker: &Arc<Broker>, _connection: &Arc<Connection>, request: Command) -> Answer {
    let header: ViewMessageRequestHeader = request.header()?;
    Ok(Some(match broker.store.record_at(header.offset) {
        Some(record) => Command { body: Body::Shared(record), ..Command::response(code::SUCCESS) },
        None => Command::failure(
            code::SYSTEM_ERROR,
            format!("can not find message by the offset, {}", header.offset),
        ),
    }))
}
