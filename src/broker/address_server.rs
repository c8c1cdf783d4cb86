//! Name servers found through an address server: with `fetchNamesrvAddrByAddressServer` and no
//! `namesrvAddr`, the broker [asks](address_server) `http://<domain>/rocketmq/<subgroup>` for the
//! list.

use std::sync::Arc;

use super::Broker;
use super::config::{BrokerConfig, namesrv_addr_problem};
use crate::common::service_thread::Signal;
use crate::remoting::address_server::{self, FIRST, PERIOD};

/// Asks again and again, until told to stop. A failure changes nothing: the list stays as it was.
pub fn run(broker: &Arc<Broker>, signal: &Signal) {
    let mut pause = FIRST;
    while signal.wait(pause) {
        pause = PERIOD;
        let config = broker.config.get();
        if !config.namesrv_addr.is_empty() || !config.fetch_namesrv_addr_by_address_server {
            continue;
        }
        match fetch(&config) {
            Ok(list) => {
                if let Err(error) = broker.registration.found(broker, &list) {
                    log::warn!("the name servers {list} are not taken over: {error}");
                }
            }
            Err(problem) => log::warn!(
                "the address server {} does not tell the name servers: {problem}; asked again within {} s",
                config.rmq_address_server_domain,
                PERIOD.as_secs()
            ),
        }
    }
}

fn fetch(config: &BrokerConfig) -> Result<String, String> {
    let domain = &config.rmq_address_server_domain;
    let list = address_server::ask(domain, &config.rmq_address_server_sub_group)?;
    match namesrv_addr_problem(&list) {
        Some(problem) => Err(problem),
        None => Ok(list),
    }
}
