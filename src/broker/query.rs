//! Look-ups of single messages: QUERY_MESSAGE (12) by key, VIEW_MESSAGE_BY_ID (33) by commit-log
//! offset. Neither asks for the topic's permission, as in Java.

use std::sync::Arc;

use super::{Answer, Broker};
use crate::remoting::protocol::admin_headers::{
    QueryMessageRequestHeader, UNIQUE_KEY_QUERY, ViewMessageRequestHeader,
};
use crate::remoting::protocol::response_code as code;
use crate::remoting::{Body, Command, Connection};

/// Answers QUERY_MESSAGE.
pub fn by_key(broker: &Arc<Broker>, _connection: &Arc<Connection>, request: Command) -> Answer {
    let header: QueryMessageRequestHeader = request.header()?;
    let store = broker.store.config();
    // The limit of a unique key is the broker's.
    let is_unique = request.fields.get(UNIQUE_KEY_QUERY) == Some("true");
    let wanted = if is_unique { store.default_query_max_num } else { header.max_num };
    if wanted < 0 {
        let problem = format!("the header field maxNum is {wanted}, expected at least 0");
        return Ok(Some(Command::failure(code::SYSTEM_ERROR, problem)));
    }
    let found = broker.store.query(
        &header.topic,
        &header.key,
        wanted.min(store.max_msgs_num_batch),
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
