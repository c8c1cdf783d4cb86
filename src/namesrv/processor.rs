//! Requests of the name server, one function each. Every answer is computed here; what the tables
//! do is in [`route_table`](super::route_table) and [`kv_config`](super::kv_config).

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use super::kv_config::ORDER_TOPIC_CONFIG;
use super::route_table::{
    ConnectionId, Registration, RouteTable, SYS_FLAG_UNIT, SYS_FLAG_UNIT_SUB,
};
use super::{NameServer, registration};
use crate::common::checksum::crc32;
use crate::common::config::{ConfigStruct, Entry, PropertyFile};
use crate::common::json::{FromJson, Json, Style, ToJson};
use crate::common::property_text;
use crate::common::sync::lock;
use crate::remoting::command::Command;
use crate::remoting::config::{OWN_SERVER_KEYS, ServerConfig};
use crate::remoting::connection::Connection;
use crate::remoting::protocol::bodies::{DataVersion, KvTable, TopicList, TopicRouteData};
use crate::remoting::protocol::headers::GetRouteInfoRequestHeader;
use crate::remoting::protocol::namesrv_headers::{
    AddWritePermResponseHeader, BrokerIdentityHeader, BrokerNameHeader, DeleteTopicInNamesrvHeader,
    GetKvConfigResponseHeader, GetTopicsByClusterHeader, KvConfigHeader,
    QueryDataVersionResponseHeader, RegisterBrokerRequestHeader, RegisterBrokerResponseHeader,
    WipeWritePermResponseHeader,
};
use crate::remoting::protocol::{request_code, response_code};
use crate::remoting::server::Processor;

/// From this release on (V4_9_4) a peer reads standard JSON in routes.
const FIRST_VERSION_WITH_STANDARD_JSON: i32 = 401;

/// From this release on (V5_0_0_SNAPSHOT) a broker registers with a copy of its table, made before it
/// reads the version.
const FIRST_VERSION_THAT_COPIES_TOPICS: i32 = 412;

/// Why a request is answered with SYSTEM_ERROR; the text becomes the remark.
type Failure = Box<dyn Error + Send + Sync>;

/// The outcome of one request.
type Answer = Result<Command, Failure>;

impl NameServer {
    /// Answers a request that came over `connection`.
    pub fn answer(&self, connection: ConnectionId, request: &Command, now: Instant) -> Answer {
        match request.code {
            request_code::GET_ROUTEINFO_BY_TOPIC => self.get_route(request),
            request_code::REGISTER_BROKER => self.register_broker(connection, request, now),
            request_code::UNREGISTER_BROKER => self.unregister_broker(request),
            request_code::QUERY_DATA_VERSION => self.query_data_version(request, now),
            request_code::GET_BROKER_CLUSTER_INFO => self.get_cluster_info(),
            request_code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => {
                Ok(topic_list(self.routes().topics()))
            }
            request_code::GET_TOPICS_BY_CLUSTER => self.get_topics_by_cluster(request),
            request_code::GET_SYSTEM_TOPIC_LIST_FROM_NS => self.get_system_topics(),
            request_code::GET_UNIT_TOPIC_LIST => {
                Ok(topic_list(self.routes().topics_by_flag(SYS_FLAG_UNIT, 0)))
            }
            request_code::GET_HAS_UNIT_SUB_TOPIC_LIST => {
                Ok(topic_list(self.routes().topics_by_flag(SYS_FLAG_UNIT_SUB, 0)))
            }
            request_code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                Ok(topic_list(self.routes().topics_by_flag(SYS_FLAG_UNIT_SUB, SYS_FLAG_UNIT)))
            }
            request_code::DELETE_TOPIC_IN_NAMESRV => self.delete_topic(request),
            request_code::WIPE_WRITE_PERM_OF_BROKER => self.wipe_write_perm(request),
            request_code::ADD_WRITE_PERM_OF_BROKER => self.add_write_perm(request),
            request_code::PUT_KV_CONFIG => self.put_kv(request),
            request_code::GET_KV_CONFIG => self.get_kv(request),
            request_code::DELETE_KV_CONFIG => self.delete_kv(request),
            request_code::GET_KVLIST_BY_NAMESPACE => self.list_kv(request),
            request_code::GET_NAMESRV_CONFIG => Ok(self.get_config()),
            request_code::UPDATE_NAMESRV_CONFIG => self.update_config(request),
            code => Ok(Command::failure(
                response_code::REQUEST_CODE_NOT_SUPPORTED,
                format!(" request type {code} not supported"),
            )),
        }
    }

    /// A connection ended.
    pub fn connection_closed(&self, connection: ConnectionId, peer: &dyn std::fmt::Display) {
        // Most connections are clients': look before asking for the exclusive lock.
        if self.routes().has_broker_of(connection) {
            for addr in self.routes_mut().connection_closed(connection) {
                log::warn!("broker {addr} removed: its connection from {peer} ended");
            }
        }
    }

    /// Removes silent brokers. Returns the connections over which they had registered.
    pub fn expire(&self, now: Instant) -> Vec<ConnectionId> {
        let expired = self.routes_mut().expire(now);
        let connections = expired.iter().map(|(addr, connection)| {
            log::warn!("broker {addr} removed: it has not registered for 120 s");
            *connection
        });
        connections.collect()
    }

    fn routes(&self) -> RwLockReadGuard<'_, RouteTable> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes_mut(&self) -> RwLockWriteGuard<'_, RouteTable> {
        self.routes.write().unwrap_or_else(PoisonError::into_inner)
    }

    // Routes.

    fn get_route(&self, request: &Command) -> Answer {
        let header: GetRouteInfoRequestHeader = request.header()?;
        let topic = header.topic.as_str();
        let standard = request.version >= FIRST_VERSION_WITH_STANDARD_JSON
            || header.accept_standard_json_only == Some(true);
        let style = if standard { Style::Browser } else { Style::Fastjson };
        if let Some(product) = &self.product {
            let known = self.routes().route(topic).map(|route| self.with_order(route, topic));
            let route = known.or_else(|| product.route(topic));
            return Ok(route_answer(topic, route.map(|route| encode(&route, Style::Fastjson))));
        }
        let routes = self.routes();
        let text = if self.config.get().order_message_enable {
            routes.route(topic).map(|route| encode(&self.with_order(route, topic), style))
        } else {
            let encode = || Some(routes.route(topic)?.to_json().write(style));
            let kept = self.route_cache.get(routes.generation(), topic, standard, encode);
            kept.map(|text| text.to_vec())
        };
        Ok(route_answer(topic, text))
    }

    fn with_order(&self, mut route: TopicRouteData, topic: &str) -> TopicRouteData {
        route.order_topic_conf = self.kv.get(ORDER_TOPIC_CONFIG, topic);
        route
    }

    /// Numeric keys stay without quotes whoever asks.
    fn get_cluster_info(&self) -> Answer {
        let info = self.routes().cluster_info();
        Ok(success().with_body(info.to_json().write(Style::Fastjson)))
    }

    fn get_topics_by_cluster(&self, request: &Command) -> Answer {
        let header: GetTopicsByClusterHeader = request.header()?;
        let cluster = header.cluster.unwrap_or_default();
        Ok(topic_list(self.routes().topics_of_cluster(&cluster)))
    }

    fn get_system_topics(&self) -> Answer {
        let (topic_list, broker_addr) = self.routes().system_topics();
        let list = TopicList { broker_addr, topic_list };
        Ok(success().with_body(list.to_json().write(Style::Fastjson)))
    }

    fn delete_topic(&self, request: &Command) -> Answer {
        let header: DeleteTopicInNamesrvHeader = request.header()?;
        if let Some(topic) = header.topic {
            let cluster = header.cluster_name.filter(|cluster| !cluster.is_empty());
            self.routes_mut().delete_topic(&topic, cluster.as_deref());
        }
        Ok(success())
    }

    fn wipe_write_perm(&self, request: &Command) -> Answer {
        let header: BrokerNameHeader = request.header()?;
        let name = header.broker_name.unwrap_or_default();
        let wipe_topic_count = self.routes_mut().wipe_write_perm(&name) as i32;
        log::info!("write permission of broker {name} wiped on {wipe_topic_count} topics");
        Ok(success().with_header(&WipeWritePermResponseHeader { wipe_topic_count }))
    }

    fn add_write_perm(&self, request: &Command) -> Answer {
        let header: BrokerNameHeader = request.header()?;
        let name = header.broker_name.unwrap_or_default();
        let add_topic_count = self.routes_mut().add_write_perm(&name) as i32;
        log::info!("write permission of broker {name} added on {add_topic_count} topics");
        Ok(success().with_header(&AddWritePermResponseHeader { add_topic_count }))
    }

    // Brokers.

    fn register_broker(&self, connection: ConnectionId, request: &Command, now: Instant) -> Answer {
        let header: RegisterBrokerRequestHeader = request.header()?;
        let body = request.body.as_bytes();
        if header.body_crc32 != 0 && header.body_crc32 as u32 != crc32(body) {
            let mut refusal = Command::failure(response_code::SYSTEM_ERROR, "crc32 not match");
            refusal.fields.mark_present();
            return Ok(refusal);
        }
        for (name, value) in [
            ("brokerName", &header.broker_name),
            ("brokerAddr", &header.broker_addr),
            ("clusterName", &header.cluster_name),
        ] {
            if value.is_empty() {
                return Err(format!("the header field {name} is empty").into());
            }
        }
        if request.version < 0 {
            return Err(format!("there is no release {}", request.version).into());
        }
        let topics = registration::decode(body, header.compressed, request.version)?;
        let master = self.routes_mut().register(
            Registration {
                cluster: header.cluster_name,
                broker_name: header.broker_name,
                broker_addr: header.broker_addr,
                broker_id: header.broker_id,
                ha_server_addr: header.ha_server_addr,
                connection,
                data_version: topics.data_version,
                topics: topics.configs,
                may_lack_topics: request.version >= FIRST_VERSION_THAT_COPIES_TOPICS,
                filter_servers: topics.filter_servers,
            },
            now,
        )?;
        let mut answer = success().with_header(&RegisterBrokerResponseHeader {
            ha_server_addr: master.ha_server_addr,
            master_addr: master.master_addr,
        });
        if let Some(table) = self.kv.namespace(ORDER_TOPIC_CONFIG) {
            answer = answer.with_body(KvTable { table }.to_json().write(Style::Fastjson));
        }
        Ok(answer)
    }

    fn unregister_broker(&self, request: &Command) -> Answer {
        let header: BrokerIdentityHeader = request.header()?;
        self.routes_mut().unregister(&header.broker_name, &header.broker_addr, header.broker_id);
        Ok(success())
    }

    fn query_data_version(&self, request: &Command, now: Instant) -> Answer {
        // The address tells which broker it is.
        let broker_addr = request.fields.get("brokerAddr").unwrap_or_default();
        if request.body.is_empty() {
            return Err("the body, a data version, is missing".into());
        }
        let sent = DataVersion::from_json(&Json::parse(request.body.as_bytes())?)?;
        let known = self.routes_mut().query_data_version(broker_addr, &sent, now);
        let changed = known.as_ref() != Some(&sent);
        let answer = success().with_header(&QueryDataVersionResponseHeader { changed });
        Ok(match known {
            Some(version) => answer.with_body(version.to_json().write(Style::Fastjson)),
            None => answer,
        })
    }

    // KV entries.

    fn put_kv(&self, request: &Command) -> Answer {
        let header: KvConfigHeader = request.header()?;
        let (Some(namespace), Some(key)) = (header.namespace, header.key) else {
            return Err("namespace or key is null".into());
        };
        // The binary header form cannot carry an empty value: it arrives as none, and leaves none.
        match &header.value {
            Some(value) => self.kv.put(&namespace, &key, value)?,
            None => self.kv.delete(&namespace, &key)?,
        }
        log::info!("KV entry {key} of {namespace} set");
        Ok(success())
    }

    fn get_kv(&self, request: &Command) -> Answer {
        let header: KvConfigHeader = request.header()?;
        let (namespace, key) = (or_null(&header.namespace), or_null(&header.key));
        let value = self.kv.get(namespace, key);
        let mut answer = match value {
            Some(_) => success(),
            None => Command::failure(
                response_code::QUERY_NOT_FOUND,
                format!("No config item, Namespace: {namespace} Key: {key}"),
            ),
        };
        answer = answer.with_header(&GetKvConfigResponseHeader { value });
        Ok(answer)
    }

    fn delete_kv(&self, request: &Command) -> Answer {
        let header: KvConfigHeader = request.header()?;
        if let (Some(namespace), Some(key)) = (header.namespace, header.key) {
            self.kv.delete(&namespace, &key)?;
            log::info!("KV entry {key} of {namespace} deleted");
        }
        Ok(success())
    }

    fn list_kv(&self, request: &Command) -> Answer {
        let header: KvConfigHeader = request.header()?;
        let namespace = or_null(&header.namespace);
        Ok(match self.kv.namespace(namespace) {
            Some(table) => success().with_body(KvTable { table }.to_json().write(Style::Fastjson)),
            None => Command::failure(
                response_code::QUERY_NOT_FOUND,
                format!("No config item, Namespace: {namespace}"),
            ),
        })
    }

    // Configuration.

    fn get_config(&self) -> Command {
        success().with_body(self.config_text())
    }

    fn update_config(&self, request: &Command) -> Answer {
        let text = std::str::from_utf8(request.body.as_bytes())
            .map_err(|_| "string2Properties error: the body is not UTF-8")?;
        if let Some(line) = property_text::bad_escape(text) {
            return Err(format!("string2Properties error: a bad \\u in line {line}").into());
        }
        let entries = PropertyFile::parse(text).entries;
        if let Some(entry) = entries.iter().find(|entry| self.black_list.contains(&entry.key)) {
            return Ok(Command::failure(
                response_code::NO_PERMISSION,
                format!("Can not update config in black list: {}.", entry.key),
            ));
        }
        let _writing = lock(&self.config_file);
        let changes: Vec<_> = entries
            .iter()
            .filter(|entry| self.change(entry))
            .map(|entry| (entry.key.as_str(), entry.value.as_str()))
            .collect();
        if !changes.is_empty() {
            let path = self.config.get().config_store_path.clone();
            PropertyFile::change(Path::new(&path), &changes).map_err(|error| {
                format!("the change holds until the next start: {path}: {error}")
            })?;
        }
        Ok(success())
    }

    /// Changes one setting. Returns whether that was done: Java's tools expect success also for a
    /// key or a value that makes no sense.
    fn change(&self, entry: &Entry) -> bool {
        let Entry { key, value, .. } = entry;
        let of_name_server = self.config.update(|config| config.set(key, value));
        let of_sockets = self.server_config.update(|config| config.set(key, value));
        match of_name_server.and_then(|known| Ok(of_sockets? || known)) {
            Ok(true) => {
                log::info!("config {key} is now \"{value}\"");
                true
            }
            Ok(false) => {
                log::warn!("config {key} is unknown and passed over");
                false
            }
            Err(expected) => {
                log::warn!("config {key} stays as it was: \"{value}\": {expected}");
                false
            }
        }
    }

    /// All settings, one `key=value` a line. Keys that Java's name server does not have are only
    /// listed when they were set.
    fn config_text(&self) -> String {
        let config = self.config.get();
        let server_config = self.server_config.get();
        let defaults = ServerConfig::default().entries();
        let is_shown = |entry: &(&'static str, String)| {
            !OWN_SERVER_KEYS.contains(&entry.0) || !defaults.contains(entry)
        };
        let entries = config.entries().into_iter().chain(server_config.entries());
        property_text::print(entries.filter(is_shown))
    }
}

fn success() -> Command {
    Command::response(response_code::SUCCESS)
}

fn topic_list(topic_list: Vec<String>) -> Command {
    let list = TopicList { broker_addr: None, topic_list };
    success().with_body(list.to_json().write(Style::Fastjson))
}

/// An absent name finds nothing; Java's remark then says null.
fn or_null(name: &Option<String>) -> &str {
    name.as_deref().unwrap_or("null")
}

fn encode(route: &TopicRouteData, style: Style) -> Vec<u8> {
    route.to_json().write(style).into_bytes()
}

/// The answer with the route of a topic; without one it says what to do.
fn route_answer(topic: &str, route: Option<Vec<u8>>) -> Command {
    match route {
        Some(text) => success().with_body(text),
        None => Command::failure(
            response_code::TOPIC_NOT_EXIST,
            format!(
                "No topic route info in name server for the topic: {topic}\n\
                 See http://rocketmq.apache.org/docs/faq/ for further details."
            ),
        ),
    }
}

impl Processor for NameServer {
    fn process(
        &self,
        connection: &Arc<Connection>,
        request: Command,
    ) -> Result<Option<Command>, Failure> {
        let answer = self.answer(connection.id(), &request, Instant::now());
        if request.code == request_code::REGISTER_BROKER && connection.is_closed() {
            // Its end was told while the registration waited: nobody would tell it again.
            self.connection_closed(connection.id(), &connection.peer_addr());
        }
        answer.map(Some)
    }

    /// All but what writes a file or asks elsewhere.
    fn is_short(&self, request: &Command) -> bool {
        match request.code {
            request_code::PUT_KV_CONFIG
            | request_code::DELETE_KV_CONFIG
            | request_code::UPDATE_NAMESRV_CONFIG => false,
            request_code::GET_ROUTEINFO_BY_TOPIC => self.product.is_none(),
            _ => true,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::common::checksum::crc32;
    use crate::namesrv::NamesrvConfig;
    use crate::remoting::header::Header;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A directory of its own for each test, removed at its end.
    pub struct TestHome(PathBuf);

    impl TestHome {
        pub fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("namesrv-test-{}-{number}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        pub fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        pub fn config(&self) -> NamesrvConfig {
            NamesrvConfig {
                kv_config_path: self.path("kvConfig.json").to_string_lossy().into_owned(),
                config_store_path: self.path("namesrv.properties").to_string_lossy().into_owned(),
                ..NamesrvConfig::default()
            }
        }
    }

    impl Drop for TestHome {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Registers broker `name` with topic `T`.
    pub fn register_request(name: &str, id: i64, addr: &str, counter: i64) -> Command {
        let header = RegisterBrokerRequestHeader {
            broker_name: name.to_owned(),
            broker_addr: addr.to_owned(),
            cluster_name: "c".to_owned(),
            ha_server_addr: Some("h:9".to_owned()),
            broker_id: id,
            compressed: false,
            body_crc32: 0,
        };
        let body = format!(
            r#"{{"filterServerList":[],"topicConfigSerializeWrapper":{{"dataVersion":{{"counter":{counter},"timestamp":7}},"topicConfigTable":{{"T":{{"perm":6,"readQueueNums":4,"topicName":"T","writeQueueNums":4}}}}}}}}"#
        );
        Command::request(request_code::REGISTER_BROKER).with_header(&header).with_body(body)
    }

    struct Tester {
        home: TestHome,
        server: NameServer,
    }

    impl Tester {
        fn new() -> Self {
            let home = TestHome::new();
            let server = NameServer::new(home.config(), ServerConfig::default()).unwrap();
            Self { home, server }
        }

        /// The answer as the server sends it: a failure is code 1 with its text.
        fn ask(&self, request: &Command) -> Command {
            self.server
                .answer(1, request, Instant::now())
                .unwrap_or_else(|error| Command::failure(1, error.to_string()))
        }

        fn call(&self, code: i32, fields: &[(&str, &str)], body: &str) -> (i32, String) {
            let mut request = Command::request(code).with_body(body.to_owned());
            for (name, value) in fields {
                request.fields.push_str(name, value);
            }
            let answer = self.ask(&request);
            (answer.code, String::from_utf8(answer.body.into_bytes()).unwrap())
        }

        fn route(&self, version: i32, fields: &[(&str, &str)]) -> String {
            let mut request = Command::request(request_code::GET_ROUTEINFO_BY_TOPIC);
            request.version = version;
            request.fields.push_str("topic", "T");
            for (name, value) in fields {
                request.fields.push_str(name, value);
            }
            String::from_utf8(self.ask(&request).body.into_bytes()).unwrap()
        }
    }

    #[test]
    fn routes_are_plain_or_standard() {
        let t = Tester::new();
        assert_eq!(t.ask(&register_request("a", 0, "h:1", 1)).code, response_code::SUCCESS);
        let plain = r#"{"brokerDatas":[{"brokerAddrs":{0:"h:1"},"brokerName":"a","cluster":"c"}],"filterServerTable":{},"queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;
        let standard = plain.replace("{0:", "{\"0\":");
        assert_eq!(t.route(400, &[]), plain);
        assert_eq!(t.route(401, &[]), standard);
        assert_eq!(t.route(0, &[("acceptStandardJsonOnly", "TRUE")]), standard);
        assert_eq!(t.route(0, &[("acceptStandardJsonOnly", "x")]), plain);
        let unknown = t.call(request_code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "U")], "");
        assert_eq!(unknown.0, response_code::TOPIC_NOT_EXIST);
        t.ask(&register_request("b", 0, "h:2", 1));
        assert!(t.route(400, &[]).contains(r#""brokerName":"b""#), "a change is seen at once");
    }

    #[test]
    fn a_registration_that_names_nobody_is_refused() {
        let t = Tester::new();
        for missing in ["brokerName", "brokerAddr", "clusterName", "brokerId"] {
            let mut request = register_request("a", 0, "h:1", 1);
            request.fields.remove(missing);
            assert_eq!(t.ask(&request).code, response_code::SYSTEM_ERROR, "without {missing}");
        }
        let clusters = t.call(request_code::GET_BROKER_CLUSTER_INFO, &[], "").1;
        assert_eq!(clusters, r#"{"brokerAddrTable":{},"clusterAddrTable":{}}"#);
        let mut request = register_request("a", 0, "h:1", 1);
        request.fields.remove("haServerAddr");
        assert_eq!(t.ask(&request).code, response_code::SUCCESS);
    }

    #[test]
    fn the_checksum_is_checked() {
        let t = Tester::new();
        let mut request = register_request("a", 0, "h:1", 1);
        let right = crc32(request.body.as_bytes());
        request.fields.set("bodyCrc32", &right.to_string());
        assert_eq!(t.ask(&request).code, response_code::SUCCESS);
        request.fields.set("bodyCrc32", &(right ^ 1).to_string());
        assert_eq!(t.ask(&request).code, response_code::SYSTEM_ERROR);
    }

    #[test]
    fn a_slave_learns_its_master_and_a_version_is_compared() {
        let t = Tester::new();
        t.ask(&register_request("a", 0, "h:1", 1));
        let answer = t.ask(&register_request("a", 1, "h:2", 1));
        let header = RegisterBrokerResponseHeader::decode(&answer.fields).unwrap();
        assert_eq!(header.master_addr.as_deref(), Some("h:1"));
        assert_eq!(header.ha_server_addr.as_deref(), Some("h:9"));

        let identity =
            [("brokerName", "a"), ("brokerAddr", "h:1"), ("clusterName", "c"), ("brokerId", "0")];
        for (body, changed) in [
            (r#"{"counter":1,"timestamp":7}"#, "false"),
            (r#"{"counter":2,"timestamp":7}"#, "true"),
        ] {
            let mut request =
                Command::request(request_code::QUERY_DATA_VERSION).with_body(body.to_owned());
            identity.iter().for_each(|(name, value)| request.fields.push_str(name, value));
            let answer = t.ask(&request);
            assert_eq!(answer.fields.get("changed"), Some(changed));
            assert_eq!(answer.body.as_bytes(), br#"{"counter":1,"timestamp":7}"#);
        }
    }

    #[test]
    fn order_conf_reaches_brokers_and_when_enabled_clients() {
        let t = Tester::new();
        assert!(t.ask(&register_request("a", 0, "h:1", 1)).body.is_empty());
        let entry = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T"), ("value", "a:4")];
        assert_eq!(t.call(request_code::PUT_KV_CONFIG, &entry, "").0, response_code::SUCCESS);
        let answer = t.ask(&register_request("a", 0, "h:1", 1));
        assert_eq!(answer.body.as_bytes(), br#"{"table":{"T":"a:4"}}"#);
        assert!(!t.route(0, &[]).contains("orderTopicConf"));
        t.call(request_code::UPDATE_NAMESRV_CONFIG, &[], "orderMessageEnable=true");
        assert!(t.route(0, &[]).contains(r#","orderTopicConf":"a:4","#));
        t.call(request_code::DELETE_KV_CONFIG, &entry, "");
        let answer = t.ask(&register_request("a", 0, "h:1", 1));
        assert_eq!(answer.body.as_bytes(), br#"{"table":{}}"#, "an emptied namespace stays");
    }

    #[test]
    fn kv_entries_survive_a_restart() {
        let t = Tester::new();
        let entry = [("namespace", "n"), ("key", "k"), ("value", "\u{e9} \"=\" ;")];
        t.call(request_code::PUT_KV_CONFIG, &entry, "");
        let again = NameServer::new(t.home.config(), ServerConfig::default()).unwrap();
        assert_eq!(again.kv.get("n", "k").as_deref(), Some(entry[2].1));
        let (code, _) = t.call(request_code::GET_KV_CONFIG, &entry[..1], "");
        assert_eq!(code, response_code::QUERY_NOT_FOUND);
        let nobody = [("namespace", "other")];
        let (code, _) = t.call(request_code::GET_KVLIST_BY_NAMESPACE, &nobody, "");
        assert_eq!(code, response_code::QUERY_NOT_FOUND);
    }

    #[test]
    fn a_broken_kv_file_is_not_overwritten() {
        let home = TestHome::new();
        std::fs::create_dir_all(&home.0).unwrap();
        std::fs::write(home.path("kvConfig.json"), "{\"configTable\":").unwrap();
        let error = NameServer::new(home.config(), ServerConfig::default()).unwrap_err();
        assert!(error.to_string().contains("kvConfig.json"), "{error}");
    }

    #[test]
    fn paths_cannot_be_set_remotely() {
        let t = Tester::new();
        let update = |text: &str| t.call(request_code::UPDATE_NAMESRV_CONFIG, &[], text).0;
        for key in ["kvConfigPath", "configStorePath", "rocketmqHome", "configBlackList"] {
            let text = format!("productEnvName=never\n{key}=/x\n");
            assert_eq!(update(&text), response_code::NO_PERMISSION, "{key}");
        }
        assert_eq!(update("productEnvName=\u{4e2d}\nserverWorkerThreads=abc\n"), 0);
        let text = t.call(request_code::GET_NAMESRV_CONFIG, &[], "").1;
        assert!(text.contains("productEnvName=\\u4e2d\n"), "{text}");
        assert!(text.contains("serverWorkerThreads=8\n"), "{text}");
        assert!(!text.contains("maxOutboxBytes"), "{text}");
        let file = std::fs::read_to_string(t.home.path("namesrv.properties")).unwrap();
        assert_eq!(file, "productEnvName=\\u4e2d\n", "only what was changed is written");
        assert_eq!(update("productEnvName=\\uZZZZ\n"), response_code::SYSTEM_ERROR);
    }

    #[test]
    fn an_unknown_code_is_answered() {
        let t = Tester::new();
        assert_eq!(t.call(999, &[], "").0, response_code::REQUEST_CODE_NOT_SUPPORTED);
    }
}
