//! Requests of operators' tools, and everything else without a pool of its own (spec: admin 1).
//!
//! [`topics`], [`groups`], [`offsets`], [`brokers`] (configuration, runtime info, statistics),
//! [`relays`] (requests that a client answers) and [`queues`] (reading a consume queue). Each
//! request is a function from the request to its response.

use std::sync::Arc;

use super::slave_sync::feed;
use super::{Answer, Broker};
use crate::common::json::{FromJson, Json, JsonError, Style, ToJson};
use crate::remoting::protocol::{request_code as request_codes, response_code as code};
use crate::remoting::{Command, Connection};
use crate::store::config::BrokerRole;

pub mod brokers;
pub mod groups;
pub mod offsets;
pub mod queues;
pub mod relays;
#[cfg(test)]
mod tests;
pub mod topics;

/// Answers a request by its code.
pub fn process(broker: &Arc<Broker>, connection: &Arc<Connection>, request: Command) -> Answer {
    let handler = match request.code {
        request_codes::UPDATE_AND_CREATE_TOPIC => topics::update,
        request_codes::DELETE_TOPIC_IN_BROKER => topics::delete,
        request_codes::GET_ALL_TOPIC_CONFIG => topics::all,
        request_codes::GET_TOPIC_STATS_INFO => topics::stats,
        request_codes::QUERY_TOPIC_CONSUME_BY_WHO => topics::consumed_by,
        request_codes::QUERY_CONSUME_TIME_SPAN => topics::time_spans,
        request_codes::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => topics::system,
        request_codes::CLEAN_UNUSED_TOPIC => topics::clean_unused,

        request_codes::GET_TOPIC_CONFIG => topics::config,

        request_codes::GET_SUBSCRIPTIONGROUP_CONFIG => groups::config,
        request_codes::QUERY_TOPICS_BY_CONSUMER => groups::topics,
        request_codes::QUERY_SUBSCRIPTION_BY_CONSUMER => groups::subscription,
        request_codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => groups::update,
        request_codes::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => groups::all,
        request_codes::DELETE_SUBSCRIPTIONGROUP => groups::delete,
        request_codes::GET_CONSUMER_CONNECTION_LIST => groups::consumer_connections,
        request_codes::GET_PRODUCER_CONNECTION_LIST => groups::producer_connections,
        request_codes::GET_ALL_PRODUCER_INFO => groups::all_producers,
        request_codes::LOCK_BATCH_MQ => groups::lock_queues,
        request_codes::UNLOCK_BATCH_MQ => groups::unlock_queues,

        request_codes::SEARCH_OFFSET_BY_TIMESTAMP => offsets::search,
        request_codes::GET_MAX_OFFSET => offsets::max,
        request_codes::GET_MIN_OFFSET => offsets::min,
        request_codes::GET_EARLIEST_MSG_STORETIME => offsets::earliest_store_time,
        request_codes::GET_ALL_CONSUMER_OFFSET => offsets::all,
        request_codes::GET_ALL_DELAY_OFFSET => offsets::all_delayed,
        request_codes::GET_CONSUME_STATS => offsets::consume_stats,
        request_codes::GET_BROKER_CONSUME_STATS => offsets::broker_consume_stats,
        request_codes::CLONE_GROUP_OFFSET => offsets::clone_group,
        request_codes::QUERY_CORRECTION_OFFSET => offsets::correction,

        request_codes::SYNCHRONIZE_SLAVE => feed::serve,
        request_codes::UPDATE_BROKER_CONFIG => brokers::update_config,
        request_codes::GET_BROKER_CONFIG => brokers::config,
        request_codes::GET_BROKER_RUNTIME_INFO => brokers::runtime_info,
        request_codes::GET_BROKER_HA_STATUS => brokers::ha_status,
        request_codes::VIEW_BROKER_STATS_DATA => brokers::stats,
        request_codes::GET_TIMER_CHECK_POINT => brokers::timer_checkpoint,
        request_codes::GET_TIMER_METRICS => brokers::timer_metrics,
        request_codes::CLEAN_EXPIRED_CONSUMEQUEUE => brokers::clean_expired_queues,
        request_codes::DELETE_EXPIRED_COMMITLOG => brokers::delete_expired_log,
        request_codes::UPDATE_AND_CREATE_ACL_CONFIG
        | request_codes::DELETE_ACL_CONFIG
        | request_codes::UPDATE_GLOBAL_WHITE_ADDRS_CONFIG
        | request_codes::GET_BROKER_CLUSTER_ACL_INFO => brokers::acl,

        request_codes::GET_CONSUMER_RUNNING_INFO => relays::running_info,
        request_codes::CONSUME_MESSAGE_DIRECTLY => relays::consume_directly,
        request_codes::INVOKE_BROKER_TO_RESET_OFFSET => relays::reset_offset,
        request_codes::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => relays::consumer_status,

        request_codes::QUERY_CONSUME_QUEUE => queues::query,
        request_codes::RESUME_CHECK_HALF_MESSAGE => queues::resume_half_message,
        other => {
            return Ok(Some(not_supported(other)));
        }
    };
    handler(broker, connection, request)
}

/// The answer to a code that nobody serves.
pub fn not_supported(request_code: i32) -> Command {
    Command::failure(
        code::REQUEST_CODE_NOT_SUPPORTED,
        format!(" request type {request_code} not supported"),
    )
}

/// Success, with nothing to say.
fn done() -> Answer {
    Ok(Some(Command::response(code::SUCCESS)))
}

/// Success, with a body.
fn answer(body: &impl ToJson) -> Answer {
    Ok(Some(Command::response(code::SUCCESS).with_body(body.to_json().write(Style::Fastjson))))
}

/// No, and why.
fn refuse(code: i32, remark: impl Into<String>) -> Answer {
    Ok(Some(Command::failure(code, remark)))
}

/// The body of a request.
fn body<T: FromJson>(request: &Command) -> Result<T, JsonError> {
    T::from_json(&Json::parse(request.body.as_bytes())?)
}

/// The refusal of a slave to change what its master owns.
fn refuse_on_slave(broker: &Broker) -> Option<Answer> {
    (broker.store.config().broker_role == BrokerRole::Slave).then(|| {
        refuse(
            code::SYSTEM_ERROR,
            "Can't modify topic or subscription group from slave broker, please execute it from master broker.",
        )
    })
}
