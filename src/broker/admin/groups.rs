//! Consumer groups, who is connected, and locks of ordered queues (spec: admin 1.5).

use std::error::Error;
use std::sync::Arc;

use super::{answer, body, done, refuse, refuse_on_slave};
use crate::broker::channels::ClientChannel;
use crate::broker::{Answer, Broker};
use crate::common::clock::now_ms;
use crate::common::json::{FromJson, Json};
use crate::remoting::protocol::admin_bodies::{
    ConnectionInfo, ConsumerConnection, ProducerConnection, ProducerInfo, ProducerTable,
    SubscriptionOfGroup,
};
use crate::remoting::protocol::admin_headers::{
    DeleteSubscriptionGroupRequestHeader, GroupHeader, ProducerGroupHeader, TopicAndGroupHeader,
};
use crate::remoting::protocol::bodies::{
    LockBatchBody, LockBatchResult, SubscriptionGroupConfig, TopicList,
};
use crate::remoting::protocol::headers::ConsumerGroupHeader;
use crate::remoting::protocol::response_code as code;
use crate::remoting::{Command, Connection};

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP.
pub fn update(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    if let Some(refusal) = refuse_on_slave(broker) {
        return refusal;
    }
    let json: Json = body(&request)?;
    let has_name = json.get("groupName").is_some_and(|name| *name != Json::Null);
    if !has_name {
        return refuse(code::SYSTEM_ERROR, "the body has no groupName");
    }
    let group = SubscriptionGroupConfig::from_json(&json)?;
    let max_queues = broker.config.get().max_queues_per_topic;
    if group.retry_queue_nums > max_queues {
        return refuse(
            code::SYSTEM_ERROR,
            format!(
                "retryQueueNums is {}: it must be at most {max_queues}",
                group.retry_queue_nums
            ),
        );
    }
    log::info!("consumer group {} set by request", group.group_name);
    match broker.subscription_groups.put(group) {
        Ok(()) => done(),
        Err(problem) => refuse(code::SYSTEM_ERROR, problem),
    }
}

/// GET_ALL_SUBSCRIPTIONGROUP_CONFIG.
pub fn all(broker: &Arc<Broker>, _: &Arc<Connection>, _: Command) -> Answer {
    answer(&broker.subscription_groups.snapshot())
}

/// GET_SUBSCRIPTIONGROUP_CONFIG, of tools of 5.x.
pub fn config(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let GroupHeader { group } = request.header()?;
    match broker.subscription_groups.find_or_create(&broker.config.get(), &group) {
        Some(config) => answer(&*config),
        None => {
            refuse(code::SUBSCRIPTION_GROUP_NOT_EXIST, format!("No group in this broker: {group}"))
        }
    }
}

/// QUERY_TOPICS_BY_CONSUMER, of tools of 5.x: the topics of which a group has offsets.
pub fn topics(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let GroupHeader { group } = request.header()?;
    let topics = broker.consumer_offsets.topics_of_group(&group);
    answer(&TopicList { broker_addr: None, topic_list: topics.into_iter().collect() })
}

/// QUERY_SUBSCRIPTION_BY_CONSUMER, of tools of 5.x: what a group wants of a topic.
pub fn subscription(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let TopicAndGroupHeader { topic, group } = request.header()?;
    let online = broker.consumers.get(&group);
    let subscription = online.and_then(|online| online.subscription(&topic));
    answer(&SubscriptionOfGroup {
        group,
        subscription_data: subscription.map(|subscription| (*subscription).clone()),
        topic,
    })
}

/// DELETE_SUBSCRIPTIONGROUP; its offsets only if asked for.
pub fn delete(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    if let Some(refusal) = refuse_on_slave(broker) {
        return refusal;
    }
    let header: DeleteSubscriptionGroupRequestHeader = request.header()?;
    log::info!("consumer group {} deleted by request", header.group_name);
    broker.subscription_groups.delete(&header.group_name);
    if header.remove_offset {
        broker.consumer_offsets.remove_group(&header.group_name);
        broker.pulled_offsets.remove_group(&header.group_name);
    }
    if broker.config.get().auto_delete_unused_stats {
        broker.stats.forget_group(&header.group_name);
    }
    done()
}

fn connection_info(client: &Arc<ClientChannel>) -> ConnectionInfo {
    ConnectionInfo {
        client_addr: client.connection.peer_addr().to_string(),
        client_id: client.client_id.clone(),
        language: Some(client.language.name().to_owned()),
        version: client.version,
    }
}

/// GET_CONSUMER_CONNECTION_LIST.
pub fn consumer_connections(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let ConsumerGroupHeader { consumer_group } = request.header()?;
    let Some(group) = broker.consumers.get(&consumer_group) else {
        return refuse(
            code::CONSUMER_NOT_ONLINE,
            format!("the consumer group[{consumer_group}] not online"),
        );
    };
    let profile = group.profile();
    let subscriptions = group.subscriptions().into_iter();
    answer(&ConsumerConnection {
        connection_set: group.members().iter().map(connection_info).collect(),
        consume_from_where: profile.consume_from_where,
        consume_type: profile.consume_type,
        message_model: profile.message_model,
        subscription_table: subscriptions
            .map(|subscription| (subscription.topic.clone(), (*subscription).clone()))
            .collect(),
    })
}

/// GET_PRODUCER_CONNECTION_LIST.
pub fn producer_connections(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let ProducerGroupHeader { producer_group } = request.header()?;
    let Some(members) = broker.producers.members(&producer_group) else {
        return refuse(
            code::SYSTEM_ERROR,
            format!("the producer group[{producer_group}] not exist"),
        );
    };
    answer(&ProducerConnection { connection_set: members.iter().map(connection_info).collect() })
}

/// GET_ALL_PRODUCER_INFO.
pub fn all_producers(broker: &Arc<Broker>, _: &Arc<Connection>, _: Command) -> Answer {
    let info = |client: &Arc<ClientChannel>| ProducerInfo {
        client_id: client.client_id.clone(),
        language: Some(client.language.name().to_owned()),
        last_update_timestamp: client.last_update_ms(),
        remote_ip: format!("/{}", client.connection.peer_addr()),
        version: client.version,
    };
    let groups = broker.producers.all().into_iter();
    let data = groups.map(|(group, members)| (group, members.iter().map(info).collect()));
    answer(&ProducerTable { data: data.collect() })
}

/// LOCK_BATCH_MQ: some of the queues, all or none; never an error.
pub fn lock_queues(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let LockBatchBody { client_id, consumer_group, mq_set } = locks(&request)?;
    if mq_set.is_empty() {
        return answer(&LockBatchResult::default());
    }
    let group = consumer_group.ok_or("the body has no consumerGroup")?;
    let client = client_id.ok_or("the body has no clientId")?;
    let lock_ok_mq_set = broker.queue_locks.lock(&group, &client, &mq_set, now_ms());
    answer(&LockBatchResult { lock_ok_mq_set })
}

/// What is to be locked or unlocked, each queue once.
fn locks(request: &Command) -> Result<LockBatchBody, Box<dyn Error + Send + Sync>> {
    let json: Json = body(request)?;
    let queues = json.get("mqSet");
    let is_null = |json: &Json| *json == Json::Null;
    if is_null(&json) || queues.is_some_and(is_null) {
        return Err("the body has no mqSet".into());
    }
    if let Some(Json::Array(queues)) = queues
        && queues.iter().any(is_null)
    {
        return Err("a queue of mqSet is null".into());
    }
    let mut locks = LockBatchBody::from_json(&json)?;
    locks.mq_set.sort();
    locks.mq_set.dedup();
    Ok(locks)
}

/// UNLOCK_BATCH_MQ.
pub fn unlock_queues(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let LockBatchBody { client_id, consumer_group, mq_set } = locks(&request)?;
    let group = consumer_group.ok_or("the body has no consumerGroup")?;
    let client = client_id.ok_or("the body has no clientId")?;
    broker.queue_locks.unlock(&group, &client, &mq_set);
    done()
}
