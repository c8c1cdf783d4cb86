//! [`Settings`]: the four groups of keys that a broker's file configures, printed together and
//! changed while the broker runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::config::BrokerConfig;
use crate::common::config::{
    ConfigStruct, ConfigValue, DynConfig, Entry, Live, PropertyFile, apply_entries,
};
use crate::common::sync::lock;
use crate::remoting::config::{ClientConfig, ServerConfig};
use crate::remoting::protocol::bodies::DataVersion;
use crate::store::StoreConfig;

/// Keys that Java leaves out of its answers as long as they are not set.
const ABSENT_WHEN_EMPTY: [&str; 9] = [
    "namesrvAddr",
    "storePathCommitLog",
    "storePathDLedgerCommitLog",
    "readOnlyCommitLogStorePaths",
    "haMasterAddress",
    "dLegerGroup",
    "dLegerPeers",
    "dLegerSelfId",
    "preferredLeaderId",
];

/// Everything that a broker's file configures (spec: distribution 4.1).
///
/// * A change is taken as a whole or not at all: a key that no group has, or a value that is not
///   of its kind, leaves everything as it was. (Java passes over both and answers success.)
/// * A change is written to the file by replacing the lines of the changed keys; comments and what
///   else stands there stay. (Java writes all keys with their present values, computed ones too.)
#[derive(Debug)]
pub struct Settings {
    /// Keys of the broker.
    pub broker: Arc<Live<BrokerConfig>>,
    /// Keys of the store.
    pub store: Arc<Live<StoreConfig>>,
    /// Keys of its servers.
    pub server: Arc<Live<ServerConfig>>,
    /// Keys of its calls to name servers.
    pub client: Arc<Live<ClientConfig>>,
    /// Keys of the file that nobody knows, reported as they are.
    unknown: Mutex<BTreeMap<String, String>>,
    version: Mutex<DataVersion>,
    /// Where changes are written.
    file: PathBuf,
    /// Keys that requests may not change, as configured at start.
    black_list: Vec<String>,
}

/// Why a change is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A key may not be changed.
    BlackListed(String),
    /// What is wrong, with key, value and what would be right.
    Invalid(String),
}

impl Settings {
    /// The settings as they are at start. `unknown`: entries of the file that nobody knows.
    pub fn new(
        broker: BrokerConfig,
        store: Arc<Live<StoreConfig>>,
        server: ServerConfig,
        client: ClientConfig,
        unknown: impl IntoIterator<Item = Entry>,
        file: PathBuf,
    ) -> Self {
        Self {
            black_list: broker.black_list(),
            broker: Arc::new(Live::new(broker)),
            store,
            server: Arc::new(Live::new(server)),
            client: Arc::new(Live::new(client)),
            unknown: Mutex::new(unknown.into_iter().map(|e| (e.key, e.value)).collect()),
            version: Mutex::new(DataVersion::now()),
            file,
        }
    }

    /// The file that changes go to when none was named: `<home>/store/config/broker.properties`.
    pub fn default_file() -> PathBuf {
        let home = std::env::var_os("HOME").unwrap_or_default();
        Path::new(&home).join("store").join("config").join("broker.properties")
    }

    /// Version of the settings.
    pub fn version(&self) -> DataVersion {
        lock(&self.version).clone()
    }

    /// All keys and values, as GET_BROKER_CONFIG answers them: UTF-8, nothing escaped.
    pub fn print(&self) -> String {
        let known = [
            self.broker.get().entries(),
            self.server.get().entries(),
            self.client.get().entries(),
            self.store.get().entries(),
        ];
        let mut text = String::new();
        let mut line = |key: &str, value: &str| {
            text.push_str(key);
            text.push('=');
            text.push_str(value);
            text.push('\n');
        };
        for (key, value) in known.iter().flatten() {
            if !(value.is_empty() && ABSENT_WHEN_EMPTY.contains(key)) {
                line(key, value);
            }
        }
        for (key, value) in lock(&self.unknown).iter() {
            line(key, value);
        }
        text
    }

    /// Takes over the entries of an UPDATE_BROKER_CONFIG body and writes them to the file. Returns
    /// the changed keys.
    pub fn update(&self, text: &str) -> Result<Vec<String>, Refused> {
        let entries = PropertyFile::parse(text).entries;
        if let Some(entry) = entries.iter().find(|entry| self.black_list.contains(&entry.key)) {
            return Err(Refused::BlackListed(entry.key.clone()));
        }
        // One change at a time: its lock is held until the file is written.
        let mut version = lock(&self.version);
        self.apply(&entries)?;
        version.next();
        if let Err(error) = self.write(&entries) {
            return Err(Refused::Invalid(format!(
                "the change is in effect, but {} could not be written: {error}",
                self.file.display()
            )));
        }
        Ok(entries.into_iter().map(|entry| entry.key).collect())
    }

    fn apply(&self, entries: &[Entry]) -> Result<(), Refused> {
        let mut broker = (*self.broker.get()).clone();
        let mut store = (*self.store.get()).clone();
        let mut server = (*self.server.get()).clone();
        let mut client = (*self.client.get()).clone();
        let mut unknown = lock(&self.unknown);
        let (foreign, ours): (Vec<Entry>, Vec<Entry>) =
            entries.iter().cloned().partition(|entry| unknown.contains_key(&entry.key));
        let targets: &mut [&mut dyn DynConfig] =
            &mut [&mut broker, &mut store, &mut server, &mut client];
        let warnings = apply_entries("request", &ours, targets)
            .map_err(|error| Refused::Invalid(error.message))?;
        let role = store.broker_role;
        // A warning begins with where the entry stands, which says nothing in a request.
        let mut problems: Vec<String> = warnings
            .iter()
            .map(|warning| warning.split_once(": ").map_or(warning.as_str(), |(_, what)| what))
            .map(str::to_owned)
            .collect();
        problems.extend(broker.validate(&store));
        if self.store.get().is_slave() != store.is_slave() {
            problems.push(format!(
                "brokerRole={} makes a slave of a master, or a master of a slave: only a restart can",
                role.print()
            ));
        }
        if !problems.is_empty() {
            return Err(Refused::Invalid(problems.join("; ")));
        }
        for entry in foreign {
            unknown.insert(entry.key, entry.value);
        }
        self.broker.update(|slot| *slot = broker);
        self.store.update(|slot| *slot = store);
        self.server.update(|slot| *slot = server);
        self.client.update(|slot| *slot = client);
        for entry in entries {
            log::info!("{} is {} now, by request", entry.key, entry.value);
        }
        Ok(())
    }

    fn write(&self, entries: &[Entry]) -> std::io::Result<()> {
        let changes: Vec<(&str, &str)> =
            entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
        PropertyFile::change(&self.file, &changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::Folder;

    fn settings(folder: &Folder) -> Settings {
        let entry = |key: &str, value: &str| Entry {
            key: key.to_owned(),
            value: value.to_owned(),
            line: 0,
        };
        Settings::new(
            BrokerConfig { broker_name: "b\u{fc}ro".to_owned(), ..BrokerConfig::default() },
            Arc::new(Live::new(StoreConfig::default())),
            ServerConfig::default(),
            ClientConfig::default(),
            [entry("myKey", "mine")],
            folder.path().join("config").join("broker.conf"),
        )
    }

    #[test]
    fn all_groups_are_printed_together() {
        let folder = Folder::new();
        let text = settings(&folder).print();
        for line in [
            "brokerName=b\u{fc}ro",
            "listenPort=8888",
            "connectTimeoutMillis=3000",
            "flushDiskType=ASYNC_FLUSH",
            "messageStorePlugIn=",
            "myKey=mine",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}");
        }
        for key in ABSENT_WHEN_EMPTY.iter().filter(|key| **key != "namesrvAddr") {
            assert!(!text.contains(&format!("{key}=")), "{key}");
        }
    }

    #[test]
    fn a_change_is_taken_and_written() {
        let folder = Folder::new();
        folder.write("broker.conf", "# mine\nautoCreateTopicEnable = true\nmyKey=mine\n");
        let settings = settings(&folder);
        let before = settings.version();
        let changed = settings
            .update("autoCreateTopicEnable=false\nflushDiskType=SYNC_FLUSH\nmyKey=yours\n")
            .unwrap();
        assert_eq!(changed, ["autoCreateTopicEnable", "flushDiskType", "myKey"]);
        assert!(!settings.broker.get().auto_create_topic_enable);
        assert_eq!(settings.store.get().flush_disk_type, crate::store::FlushDiskType::SyncFlush);
        assert!(settings.print().contains("myKey=yours"));
        assert_eq!(settings.version().counter, before.counter + 1);
        let text = folder.read("broker.conf");
        assert!(text.starts_with("# mine\n"), "{text}");
        assert!(text.contains("autoCreateTopicEnable=false") || text.contains("= false"), "{text}");
        assert!(text.contains("flushDiskType=SYNC_FLUSH"), "{text}");
        assert!(!text.contains("listenPort"), "{text}");
    }

    #[test]
    fn a_bad_change_changes_nothing_and_says_why() {
        let folder = Folder::new();
        let settings = settings(&folder);
        let before = settings.print();
        for (text, expected) in [
            ("brokerPermission=4\ndefaultTopicQueueNums=many", "defaultTopicQueueNums=many"),
            ("brokerPermission=4\nautoCreateTopicEnabel=true", "autoCreateTopicEnable"),
            ("brokerPermission=4\nbrokerRole=MASTER", "SYNC_MASTER"),
            ("brokerPermission=4\nbrokerId=1\nbrokerRole=SLAVE", "only a restart"),
            ("brokerPermission=4\nnamesrvAddr=nowhere", "host:port"),
            ("brokerPermission=4\nsendMessageThreadPoolNums=0", "sendMessageThreadPoolNums is 0"),
            ("brokerPermission=4\naclEnable=true", "no access control"),
            ("enableDLegerCommitLog=true\nbrokerPermission=4", "no DLedger log"),
        ] {
            match settings.update(text) {
                Err(Refused::Invalid(problem)) => {
                    assert!(problem.contains(expected), "{text}: {problem}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        for key in ["rocketmqHome", "brokerConfigPath", "configBlackList"] {
            let refused = settings.update(&format!("brokerPermission=4\n{key}=x"));
            assert_eq!(refused, Err(Refused::BlackListed(key.to_owned())));
        }
        assert_eq!(settings.print(), before);
        assert!(!folder.path().exists());
    }
}
