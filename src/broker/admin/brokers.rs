//! The broker itself: its configuration, its state, its statistics, its files (spec: admin 1.3,
//! 1.6, 1.7).

use std::sync::Arc;
use std::time::Duration;

use super::{answer, done, refuse};
use crate::broker::settings::Refused;
use crate::broker::{Answer, Broker, ha_info, runtime_info as info};
use crate::common::json::{Style, ToJson};
use crate::remoting::protocol::admin_headers::{
    GetBrokerConfigResponseHeader, ViewBrokerStatsDataRequestHeader,
};
use crate::remoting::protocol::bodies::KvTable;
use crate::remoting::protocol::{request_code, response_code as code};
use crate::remoting::{Command, Connection};

/// Why there is nothing to tell about timed messages.
const NO_TIMER: &str = "this broker has no timer: it was started with timerWheelEnable=false";

/// UPDATE_BROKER_CONFIG. All entries are taken, or none, with a remark that says why.
pub fn update_config(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    if request.body.is_empty() {
        return done();
    }
    let Ok(text) = std::str::from_utf8(request.body.as_bytes()) else {
        return refuse(code::SYSTEM_ERROR, "the body is not UTF-8");
    };
    let changed = match broker.settings.update(text) {
        Ok(changed) => changed,
        Err(Refused::BlackListed(key)) => {
            return refuse(
                code::NO_PERMISSION,
                format!("Can not update config in black list. It has {key}."),
            );
        }
        Err(Refused::Invalid(problem)) => return refuse(code::SYSTEM_ERROR, problem),
    };
    if changed.iter().any(|key| key == "namesrvAddr") {
        broker.registration.refresh(broker)?;
    }
    if changed.iter().any(|key| key == "haMasterAddress") {
        broker.replication.configured(broker);
    }
    if changed.iter().any(|key| key == "brokerPermission") {
        broker.topics.bump_version();
        // When it is answered, the name servers that can be reached send clients elsewhere.
        let limit = broker.config.get().register_broker_timeout_mills.max(0) as u64;
        broker.registration.register_and_wait(Duration::from_millis(limit));
    }
    done()
}

/// GET_BROKER_CONFIG.
pub fn config(broker: &Arc<Broker>, _: &Arc<Connection>, _: Command) -> Answer {
    let version = broker.settings.version().to_json().write(Style::Fastjson);
    let response = Command::response(code::SUCCESS)
        .with_header(&GetBrokerConfigResponseHeader { version })
        .with_body(broker.settings.print());
    Ok(Some(response))
}

/// GET_BROKER_RUNTIME_INFO.
pub fn runtime_info(broker: &Arc<Broker>, _: &Arc<Connection>, _: Command) -> Answer {
    answer(&KvTable { table: info::table(broker) })
}

/// GET_BROKER_HA_STATUS, of 5.x.
pub fn ha_status(broker: &Arc<Broker>, _: &Arc<Connection>, _: Command) -> Answer {
    match ha_info::runtime_info(broker) {
        Some(info) => answer(&info),
        None => refuse(code::SYSTEM_ERROR, "replication has not started yet"),
    }
}

/// VIEW_BROKER_STATS_DATA.
pub fn stats(broker: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let ViewBrokerStatsDataRequestHeader { stats_name, stats_key } = request.header()?;
    match broker.stats.view(&stats_name, &stats_key) {
        Some(figures) => answer(&figures),
        None => {
            refuse(code::SYSTEM_ERROR, format!("The stats <{stats_name}> <{stats_key}> not exist"))
        }
    }
}

/// GET_TIMER_CHECK_POINT, of slaves of 5.x: the first 56 bytes of `config/timercheck`.
pub fn timer_checkpoint(broker: &Arc<Broker>, _: &Arc<Connection>, _: Command) -> Answer {
    let Some(timer) = &broker.timer else { return refuse(code::SYSTEM_ERROR, NO_TIMER) };
    Ok(Some(Command::response(code::SUCCESS).with_body(timer.checkpoint_bytes())))
}

/// GET_TIMER_METRICS, of 5.x: how many timed messages wait, by topic.
pub fn timer_metrics(broker: &Arc<Broker>, _: &Arc<Connection>, _: Command) -> Answer {
    let Some(timer) = &broker.timer else { return refuse(code::SYSTEM_ERROR, NO_TIMER) };
    Ok(Some(Command::response(code::SUCCESS).with_body(timer.metrics().encode())))
}

/// CLEAN_EXPIRED_CONSUMEQUEUE.
pub fn clean_expired_queues(broker: &Arc<Broker>, _: &Arc<Connection>, _: Command) -> Answer {
    broker.store.clean_expired_consume_queues();
    done()
}

/// DELETE_EXPIRED_COMMITLOG: the next rounds of cleaning delete expired files at any hour.
pub fn delete_expired_log(broker: &Arc<Broker>, _: &Arc<Connection>, _: Command) -> Answer {
    broker.store.delete_expired_files_now();
    done()
}

/// The ACL requests (50 to 53), as a broker answers them that checks no signatures.
pub fn acl(_: &Arc<Broker>, _: &Arc<Connection>, request: Command) -> Answer {
    let answer_code = match request.code {
        request_code::UPDATE_AND_CREATE_ACL_CONFIG => code::UPDATE_AND_CREATE_ACL_CONFIG_FAILED,
        request_code::DELETE_ACL_CONFIG => code::DELETE_ACL_CONFIG_FAILED,
        request_code::UPDATE_GLOBAL_WHITE_ADDRS_CONFIG => code::UPDATE_GLOBAL_WHITE_ADDRS_FAILED,
        _ => code::SYSTEM_ERROR,
    };
    refuse(answer_code, "this broker has aclEnable=false: it keeps no accounts")
}
