//! [`ProductEnvironment`]: where the name server of a test environment (`clusterTest`) asks for the
//! routes that it does not know, so that test clients reach what only production has.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::NamesrvConfig;
use crate::common::json::{FromJson, Json};
use crate::common::sync::lock;
use crate::remoting::address_server;
use crate::remoting::client::RemotingClient;
use crate::remoting::command::Command;
use crate::remoting::config::ClientConfig;
use crate::remoting::protocol::bodies::TopicRouteData;
use crate::remoting::protocol::headers::GetRouteInfoRequestHeader;
use crate::remoting::protocol::{request_code, response_code};

/// Who tells the name servers of an environment, unless they are configured.
const ADDRESS_SERVER: &str = "jmenv.tbsite.net";
/// How long one name server has for its answer.
const LIMIT: Duration = Duration::from_secs(3);
/// When none of them answers, nobody asks for so long: an environment that is away holds no worker.
const REST: Duration = Duration::from_secs(10);

/// The name servers of another environment.
pub struct ProductEnvironment {
    name: String,
    /// Its name servers are not the address server's to tell.
    is_configured: bool,
    client: Arc<RemotingClient>,
    state: Mutex<State>,
}

struct State {
    /// The one that answered last is the first.
    name_servers: Vec<String>,
    /// Not asked before.
    rests_until: Option<Instant>,
}

impl std::fmt::Debug for ProductEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProductEnvironment").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ProductEnvironment {
    /// The one that the settings name, if they want one asked. Its name servers are those of the
    /// environment variable `NAMESRV_ADDR`, else those that the address server tells when they are
    /// needed.
    pub fn of(config: &NamesrvConfig) -> Option<Self> {
        let at = || std::env::var("NAMESRV_ADDR").unwrap_or_default();
        config.cluster_test.then(|| Self::at(&config.product_env_name, &at()))
    }

    /// One with these name servers, `host:port;host:port`; without any the address server is asked.
    pub fn at(name: &str, name_servers: &str) -> Self {
        let name_servers = addresses(name_servers);
        Self {
            name: name.to_owned(),
            is_configured: !name_servers.is_empty(),
            client: RemotingClient::new(ClientConfig::default()),
            state: Mutex::new(State { name_servers, rests_until: None }),
        }
    }

    /// The route of a topic there; `None` if it has none, or cannot be asked. May take some seconds.
    pub fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let name_servers = {
            let state = lock(&self.state);
            if state.rests_until.is_some_and(|until| Instant::now() < until) {
                return None;
            }
            state.name_servers.clone()
        };
        let problem = match self.ask(topic, name_servers) {
            Ok(route) => return route,
            Err(problem) => problem,
        };
        let mut state = lock(&self.state);
        state.rests_until = Some(Instant::now() + REST);
        if !self.is_configured {
            // There may be others by then.
            state.name_servers.clear();
        }
        drop(state);
        log::warn!(
            "the environment {} does not tell the route of {topic}: {problem}; it is asked again in {} s",
            self.name,
            REST.as_secs()
        );
        None
    }

    fn ask(
        &self,
        topic: &str,
        mut name_servers: Vec<String>,
    ) -> Result<Option<TopicRouteData>, String> {
        if name_servers.is_empty() {
            let subgroup = format!("nsaddr-{}?nofix=1", self.name);
            name_servers = addresses(&address_server::ask(ADDRESS_SERVER, &subgroup)?);
        }
        let mut problem = "it has no name server".to_owned();
        for index in 0..name_servers.len() {
            match self.ask_one(&name_servers[index], topic) {
                Ok(route) => {
                    name_servers.rotate_left(index);
                    lock(&self.state).name_servers = name_servers;
                    return Ok(route);
                }
                Err(other) => problem = other,
            }
        }
        Err(problem)
    }

    fn ask_one(&self, addr: &str, topic: &str) -> Result<Option<TopicRouteData>, String> {
        let header = GetRouteInfoRequestHeader {
            topic: topic.to_owned(),
            accept_standard_json_only: Some(true),
        };
        let request = Command::request(request_code::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
        let answer = self.client.call(addr, request, LIMIT).map_err(|error| error.to_string())?;
        match answer.code {
            response_code::SUCCESS => {
                let problem =
                    |what: &dyn std::fmt::Display| format!("{addr} answers no route: {what}");
                let json = Json::parse(answer.body.as_bytes()).map_err(|error| problem(&error))?;
                TopicRouteData::from_json(&json).map(Some).map_err(|error| problem(&error))
            }
            response_code::TOPIC_NOT_EXIST => Ok(None),
            code => Err(format!("{addr} answers {code} {}", answer.remark.unwrap_or_default())),
        }
    }
}

impl Drop for ProductEnvironment {
    fn drop(&mut self) {
        self.client.shutdown();
    }
}

fn addresses(list: &str) -> Vec<String> {
    let addresses = list.split(';').map(str::trim).filter(|addr| !addr.is_empty());
    addresses.map(str::to_owned).collect()
}
