//! Configuration of the store (Java's MessageStoreConfig). Owner: store; all keys of
//! distribution 4.3 stand here, those of replication too.

use crate::common::config::ConfigValue;

/// When a message is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushDiskType {
    /// When it is in the page cache: survives the process.
    AsyncFlush,
    /// When it is on the disk: survives the machine.
    SyncFlush,
}

impl ConfigValue for FlushDiskType {
    const KIND: &'static str = "ASYNC_FLUSH or SYNC_FLUSH";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "ASYNC_FLUSH" => Ok(Self::AsyncFlush),
            "SYNC_FLUSH" => Ok(Self::SyncFlush),
            _ => Err("expected ASYNC_FLUSH or SYNC_FLUSH".to_owned()),
        }
    }

    fn print(&self) -> String {
        match self {
            Self::AsyncFlush => "ASYNC_FLUSH".to_owned(),
            Self::SyncFlush => "SYNC_FLUSH".to_owned(),
        }
    }
}

/// Role of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerRole {
    /// Acknowledges without waiting for slaves.
    AsyncMaster,
    /// Waits for a slave.
    SyncMaster,
    /// Copies a master.
    Slave,
}

impl ConfigValue for BrokerRole {
    const KIND: &'static str = "ASYNC_MASTER, SYNC_MASTER or SLAVE";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "ASYNC_MASTER" => Ok(Self::AsyncMaster),
            "SYNC_MASTER" => Ok(Self::SyncMaster),
            "SLAVE" => Ok(Self::Slave),
            _ => Err("expected ASYNC_MASTER, SYNC_MASTER or SLAVE".to_owned()),
        }
    }

    fn print(&self) -> String {
        match self {
            Self::AsyncMaster => "ASYNC_MASTER".to_owned(),
            Self::SyncMaster => "SYNC_MASTER".to_owned(),
            Self::Slave => "SLAVE".to_owned(),
        }
    }
}

crate::config! {
    /// Keys of the store.
    pub struct StoreConfig {
        /// Root of all that is stored.
        pub store_path_root_dir: String = "storePathRootDir", "";
        /// Commit-log folder; empty is `<root>/commitlog`.
        pub store_path_commit_log: String = "storePathCommitLog", "";
        /// Bytes of a commit-log file.
        pub mapped_file_size_commit_log: i64 = "mappedFileSizeCommitLog", 1_073_741_824i64;
        /// Bytes of a consume-queue file, rounded up to whole units of 20.
        pub mapped_file_size_consume_queue: i64 = "mappedFileSizeConsumeQueue", 6_000_000i64;
        /// When a message is acknowledged.
        pub flush_disk_type: FlushDiskType = "flushDiskType", FlushDiskType::AsyncFlush;
        /// Role of the broker.
        pub broker_role: BrokerRole = "brokerRole", BrokerRole::AsyncMaster;
    }
}
