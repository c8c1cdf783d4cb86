//! [`SubscriptionGroups`]: the configuration of consumer groups, persisted in
//! `subscriptionGroup.json`. Who is online in a group is in [`consumers`](super::consumers).

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use super::config::BrokerConfig;
use super::config_file::ConfigFile;
use super::slave_sync::news::Listener;
use crate::common::json::{Style, ToJson};
use crate::common::quick_hash::QuickMap;
use crate::common::topic;
use crate::remoting::protocol::bodies::{
    DataVersion, SubscriptionGroupConfig, SubscriptionGroupTable,
};

/// Groups that exist from the first start on.
const BOOT_GROUPS: [&str; 7] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
];

/// Groups with this prefix are made on use even if automatic creation is off.
const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

/// The consumer groups of a broker (spec: broker 6.3). A lookup allocates nothing; a change is in
/// the file when the call that made it returns.
#[derive(Debug)]
pub struct SubscriptionGroups {
    table: RwLock<Table>,
    max_groups: usize,
    file: ConfigFile,
    /// Who tells slaves.
    pub news: Listener,
    /// `enableLmq`: every `%LMQ%…` is a group with the defaults, and none stands in the table.
    light: bool,
    /// A slave's table is its master's: no group is made here.
    follows: bool,
}

#[derive(Debug)]
struct Table {
    version: DataVersion,
    /// Number of changes: the version of a slave's table is its master's, and may go back.
    changes: i64,
    groups: QuickMap<String, Arc<SubscriptionGroupConfig>>,
}

fn default_group(name: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig { group_name: name.to_owned(), ..SubscriptionGroupConfig::default() }
}

impl Table {
    fn changed(&mut self) {
        self.version.next();
        self.changes += 1;
    }
}

impl SubscriptionGroups {
    /// The groups of a new broker, to be persisted under `root`.
    pub fn new(config: &BrokerConfig, root: &Path) -> Self {
        let groups = BOOT_GROUPS
            .into_iter()
            .map(|name| (name.to_owned(), Arc::new(default_group(name))))
            .collect();
        Self {
            table: RwLock::new(Table { version: DataVersion::now(), changes: 0, groups }),
            max_groups: config.max_subscription_groups,
            file: ConfigFile::new(root, "subscriptionGroup.json"),
            news: Listener::default(),
            light: false,
            follows: false,
        }
    }

    /// The same, with `enableLmq`.
    pub fn with_light_queues(self) -> Self {
        Self { light: true, ..self }
    }

    /// The same, of a slave.
    pub fn of_slave(self) -> Self {
        Self { follows: true, ..self }
    }

    /// Overlays what `subscriptionGroup.json` says.
    pub fn load(&self) -> Result<(), String> {
        if let Some(loaded) = self.file.load::<SubscriptionGroupTable>()? {
            let mut table = self.write();
            table.version = loaded.data_version;
            table.groups.extend(
                loaded
                    .subscription_group_table
                    .into_iter()
                    .map(|(name, group)| (name, Arc::new(group))),
            );
        }
        Ok(())
    }

    /// The configuration of a group, if there is one.
    pub fn get(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        if self.light && topic::is_light(group) {
            return Some(Arc::new(default_group(group)));
        }
        self.read().groups.get(group).cloned()
    }

    /// The configuration of a group, made with defaults if it is missing and may be made. Every
    /// use of a group (heartbeat, pull, send-back, unregistration) comes through here, as in Java.
    ///
    /// On a slave the defaults are for this use only. In the table, the group would be gone with what
    /// comes from the master next, and be made again by the next pull, with a file to be forced to the
    /// disk each time.
    pub fn find_or_create(
        &self,
        config: &BrokerConfig,
        group: &str,
    ) -> Option<Arc<SubscriptionGroupConfig>> {
        if let Some(found) = self.get(group) {
            return Some(found);
        }
        if !config.auto_create_subscription_group && !group.starts_with(SYSTEM_GROUP_PREFIX) {
            return None;
        }
        if self.follows {
            return Some(Arc::new(default_group(group)));
        }
        let mut table = self.write();
        if let Some(found) = table.groups.get(group) {
            return Some(Arc::clone(found));
        }
        if table.groups.len() >= self.max_groups {
            log::warn!(
                "consumer group {group} is not made: maxSubscriptionGroups={} reached",
                self.max_groups
            );
            return None;
        }
        log::info!("consumer group {group} made with defaults");
        let made = Arc::new(default_group(group));
        table.groups.insert(group.to_owned(), Arc::clone(&made));
        table.changed();
        drop(table);
        self.persist();
        Some(made)
    }

    /// Makes or replaces a group. `Err` says why not.
    pub fn put(&self, group: SubscriptionGroupConfig) -> Result<(), String> {
        if self.light && topic::is_light(&group.group_name) {
            return Ok(());
        }
        let mut table = self.write();
        if table.groups.len() >= self.max_groups && !table.groups.contains_key(&group.group_name) {
            return Err(format!(
                "this broker has maxSubscriptionGroups={} groups already",
                self.max_groups
            ));
        }
        table.groups.insert(group.group_name.clone(), Arc::new(group));
        table.changed();
        drop(table);
        self.persist();
        Ok(())
    }

    /// Deletes a group. Returns whether it was there.
    pub fn delete(&self, group: &str) -> bool {
        let mut table = self.write();
        let found = table.groups.remove(group).is_some();
        if found {
            table.changed();
            drop(table);
            self.persist();
        }
        found
    }

    /// Stops a group that reads too slowly: in memory until the next change, as in Java.
    pub fn disable_consume(&self, group: &str) {
        let mut table = self.write();
        if let Some(config) = table.groups.get_mut(group)
            && config.consume_enable
        {
            *config =
                Arc::new(SubscriptionGroupConfig { consume_enable: false, ..(**config).clone() });
            table.changed();
        }
    }

    /// All groups and their version.
    pub fn snapshot(&self) -> SubscriptionGroupTable {
        let table = self.read();
        SubscriptionGroupTable {
            data_version: table.version.clone(),
            subscription_group_table: table
                .groups
                .iter()
                .map(|(name, group)| (name.clone(), (**group).clone()))
                .collect(),
        }
    }

    /// Names of all groups.
    pub fn names(&self) -> Vec<String> {
        self.read().groups.keys().cloned().collect()
    }

    /// Version of the table.
    pub fn version(&self) -> DataVersion {
        self.read().version.clone()
    }

    /// Takes over a master's table, if it is another one.
    pub fn replace_by(&self, theirs: SubscriptionGroupTable) {
        let mut table = self.write();
        if table.version == theirs.data_version {
            return;
        }
        table.version = theirs.data_version;
        table.changes += 1;
        table.groups = theirs
            .subscription_group_table
            .into_iter()
            .map(|(name, group)| (name, Arc::new(group)))
            .collect();
        drop(table);
        self.persist();
    }

    fn persist(&self) {
        let changes = self.read().changes;
        self.file.save_or_warn(changes, || {
            let changes = self.read().changes;
            (changes, self.snapshot().to_json().write(Style::Pretty))
        });
        self.news.tell();
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::Folder;

    #[test]
    fn unknown_groups_are_made_on_use_if_that_is_allowed() {
        let folder = Folder::new();
        let config = BrokerConfig { max_subscription_groups: 9, ..BrokerConfig::default() };
        let off = BrokerConfig { auto_create_subscription_group: false, ..config.clone() };
        let groups = SubscriptionGroups::new(&config, folder.path());
        assert_eq!(groups.names().len(), 7);
        assert!(groups.find_or_create(&off, "g").is_none());
        assert!(groups.find_or_create(&off, "TOOLS_CONSUMER").is_some());
        assert!(groups.find_or_create(&off, "CID_RMQ_SYS_TRANS").is_some());
        let made = groups.find_or_create(&config, "g").unwrap();
        assert_eq!((made.retry_queue_nums, made.retry_max_times), (1, 16));
        assert!(groups.find_or_create(&config, "one too many").is_none());
        let problem = groups.put(default_group("one too many")).unwrap_err();
        assert!(problem.contains("maxSubscriptionGroups=9"), "{problem}");
        assert!(groups.delete("g") && !groups.delete("g"));
        assert_eq!(groups.snapshot().data_version.counter, 3);
    }

    #[test]
    fn a_slave_makes_no_groups() {
        let folder = Folder::new();
        let config = BrokerConfig::default();
        let off = BrokerConfig { auto_create_subscription_group: false, ..config.clone() };
        let groups = SubscriptionGroups::new(&config, folder.path()).of_slave();
        let before = groups.snapshot();
        let used = groups.find_or_create(&config, "g").unwrap();
        assert_eq!(*used, default_group("g"));
        assert!(groups.find_or_create(&off, "g").is_none());
        assert_eq!(groups.snapshot(), before);
        let files = std::fs::read_dir(folder.path()).map_or(0, Iterator::count);
        assert_eq!(files, 0, "nothing is persisted");
    }

    #[test]
    fn a_stopped_group_stays_stopped_in_memory_only() {
        let folder = Folder::new();
        let config = BrokerConfig::default();
        let groups = SubscriptionGroups::new(&config, folder.path());
        groups.find_or_create(&config, "g");
        groups.disable_consume("g");
        groups.disable_consume("g");
        assert!(!groups.get("g").unwrap().consume_enable);
        assert_eq!(groups.snapshot().data_version.counter, 2);
        let again = SubscriptionGroups::new(&config, folder.path());
        again.load().unwrap();
        assert!(again.get("g").unwrap().consume_enable);
    }

    #[test]
    fn the_file_is_javas() {
        let folder = Folder::new();
        let groups = SubscriptionGroups::new(&BrokerConfig::default(), folder.path());
        for name in groups.names() {
            groups.delete(&name);
        }
        groups
            .put(SubscriptionGroupConfig { retry_max_times: 3, ..default_group("group") })
            .unwrap();
        let DataVersion { counter, timestamp } = groups.snapshot().data_version;
        let expected = format!(
            "{{\n\t\"dataVersion\":{{\n\t\t\"counter\":{counter},\n\t\t\"timestamp\":{timestamp}\n\t}},\n\t\"subscriptionGroupTable\":{{\n\t\t\"group\":{{\n\t\t\t\"brokerId\":0,\n\t\t\t\"consumeBroadcastEnable\":true,\n\t\t\t\"consumeEnable\":true,\n\t\t\t\"consumeFromMinEnable\":true,\n\t\t\t\"groupName\":\"group\",\n\t\t\t\"notifyConsumerIdsChangedEnable\":true,\n\t\t\t\"retryMaxTimes\":3,\n\t\t\t\"retryQueueNums\":1,\n\t\t\t\"whichBrokerWhenConsumeSlowly\":1\n\t\t}}\n\t}}\n}}"
        );
        assert_eq!(folder.read("subscriptionGroup.json"), expected);
    }
}
