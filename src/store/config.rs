//! Configuration of the store (Java's MessageStoreConfig), those of replication and of the DLedger
//! log too. Keys that Java does not have stand at the end.

use std::path::PathBuf;

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
        /// Root of all that is stored; empty is `$HOME/store`.
        pub store_path_root_dir: String = "storePathRootDir", default_root();
        /// Commit-log folders, separated by commas (several disks); empty is `<root>/commitlog`.
        pub store_path_commit_log: String = "storePathCommitLog", "";
        /// DLedger log folder; empty is `<root>/dledger-<selfId>/data`.
        pub store_path_dledger_commit_log: String = "storePathDLedgerCommitLog", "";
        /// Of the commit-log folders, those that get no new files.
        pub read_only_commit_log_store_paths: String = "readOnlyCommitLogStorePaths", "";
        /// Bytes of a commit-log file.
        pub mapped_file_size_commit_log: i64 = "mappedFileSizeCommitLog", 1_073_741_824i64;
        /// Bytes of a consume-queue file, rounded up to whole units of 20.
        pub mapped_file_size_consume_queue: i64 = "mappedFileSizeConsumeQueue", 6_000_000i64;
        /// Keep store time and filter bits of each message in extension files.
        pub enable_consume_queue_ext: bool = "enableConsumeQueueExt", false;
        /// Bytes of an extension file.
        pub mapped_file_size_consume_queue_ext: i64 = "mappedFileSizeConsumeQueueExt", 50_331_648i64;
        /// Bits of a filter bit map; the broker sets it to its bloom filter's length.
        pub bit_map_length_consume_queue_ext: i32 = "bitMapLengthConsumeQueueExt", 64;
        /// Period of the asynchronous flush, ms.
        pub flush_interval_commit_log: i32 = "flushIntervalCommitLog", 500;
        /// Period of committing the transient store pool's buffers, ms.
        pub commit_interval_commit_log: i32 = "commitIntervalCommitLog", 200;
        /// Kind of the append lock in Java; a mutex here, whatever it says.
        pub use_reentrant_lock_when_put_message: bool = "useReentrantLockWhenPutMessage", true;
        /// Flush by the clock only, not when woken by puts.
        pub flush_commit_log_timed: bool = "flushCommitLogTimed", true;
        /// Period of flushing consume queues, ms.
        pub flush_interval_consume_queue: i32 = "flushIntervalConsumeQueue", 1000;
        /// Period of deleting old files, ms.
        pub clean_resource_interval: i32 = "cleanResourceInterval", 10_000;
        /// Pause between deleting two commit-log files, ms.
        pub delete_commit_log_files_interval: i32 = "deleteCommitLogFilesInterval", 100;
        /// Pause after a queue of which files were deleted, ms.
        pub delete_consume_queue_files_interval: i32 = "deleteConsumeQueueFilesInterval", 100;
        /// When Java unmaps a deleted file that is still read, ms; without effect here, readers
        /// keep theirs.
        pub destroy_maped_file_interval_forcibly: i32 = "destroyMapedFileIntervalForcibly", 120_000;
        /// When Java tries again to delete such a file, ms; without effect here.
        pub redelete_hanged_file_interval: i32 = "redeleteHangedFileInterval", 120_000;
        /// Hours of the day at which expired files are deleted, separated by `;`.
        pub delete_when: String = "deleteWhen", "04";
        /// Disk usage, percent, above which expired files are deleted at any hour; 10 to 95.
        pub disk_max_used_space_ratio: i32 = "diskMaxUsedSpaceRatio", 75;
        /// Hours after its last write at which a commit-log file expires.
        pub file_reserved_time: i32 = "fileReservedTime", 72;
        /// Unused in Java, unused here.
        pub put_msg_index_hight_water: i32 = "putMsgIndexHightWater", 600_000;
        /// Largest body, bytes.
        pub max_message_size: i32 = "maxMessageSize", 4_194_304;
        /// Check the CRC of bodies during recovery.
        pub check_crc_on_recover: bool = "checkCRCOnRecover", true;
        /// Pages of 4 KiB worth an asynchronous flush.
        pub flush_commit_log_least_pages: i32 = "flushCommitLogLeastPages", 4;
        /// Pages of 4 KiB worth a commit of the transient store pool.
        pub commit_commit_log_least_pages: i32 = "commitCommitLogLeastPages", 4;
        /// Pages of 4 KiB between two flushes while a file is warmed in SYNC_FLUSH mode.
        pub flush_least_pages_when_warm_maped_file: i32 = "flushLeastPagesWhenWarmMapedFile", 4096;
        /// Pages of 4 KiB worth flushing a consume queue.
        pub flush_consume_queue_least_pages: i32 = "flushConsumeQueueLeastPages", 2;
        /// When everything is flushed, however little it is, ms.
        pub flush_commit_log_thorough_interval: i32 = "flushCommitLogThoroughInterval", 10_000;
        /// When everything is committed, however little it is, ms.
        pub commit_commit_log_thorough_interval: i32 = "commitCommitLogThoroughInterval", 200;
        /// When all consume queues are flushed, however little it is, ms.
        pub flush_consume_queue_thorough_interval: i32 = "flushConsumeQueueThoroughInterval", 60_000;
        /// Bytes of one pull from memory.
        pub max_transfer_bytes_on_message_in_memory: i32 = "maxTransferBytesOnMessageInMemory", 262_144;
        /// Messages of one pull from memory.
        pub max_transfer_count_on_message_in_memory: i32 = "maxTransferCountOnMessageInMemory", 32;
        /// Bytes of one pull from disk.
        pub max_transfer_bytes_on_message_in_disk: i32 = "maxTransferBytesOnMessageInDisk", 65_536;
        /// Messages of one pull from disk.
        pub max_transfer_count_on_message_in_disk: i32 = "maxTransferCountOnMessageInDisk", 8;
        /// Percent of the RAM that is taken for page cache.
        pub access_message_in_memory_max_ratio: i32 = "accessMessageInMemoryMaxRatio", 40;
        /// Build the index by key.
        pub message_index_enable: bool = "messageIndexEnable", true;
        /// Hash slots of an index file; part of its size.
        pub max_hash_slot_num: i32 = "maxHashSlotNum", 5_000_000;
        /// Entries of an index file; part of its size.
        pub max_index_num: i32 = "maxIndexNum", 20_000_000;
        /// Most messages of a query by key.
        pub max_msgs_num_batch: i32 = "maxMsgsNumBatch", 64;
        /// Recovery begins where the index is certain too.
        pub message_index_safe: bool = "messageIndexSafe", false;
        /// Replication port; the broker sets it to its own port + 1.
        pub ha_listen_port: i32 = "haListenPort", 10_912;
        /// Replication heartbeat, ms.
        pub ha_send_heartbeat_interval: i32 = "haSendHeartbeatInterval", 5000;
        /// Silence after which a replication connection is closed, ms.
        pub ha_housekeeping_interval: i32 = "haHousekeepingInterval", 20_000;
        /// Largest replication block, bytes.
        pub ha_transfer_batch_size: i32 = "haTransferBatchSize", 32_768;
        /// Master's replication address; empty: as the name server says.
        pub ha_master_address: String = "haMasterAddress", "";
        /// A slave that lags by more bytes is not waited for.
        pub ha_slave_fallbehind_max: i32 = "haSlaveFallbehindMax", 268_435_456;
        /// Role of the broker.
        pub broker_role: BrokerRole = "brokerRole", BrokerRole::AsyncMaster;
        /// When a message is acknowledged; read at the start only.
        pub flush_disk_type: FlushDiskType = "flushDiskType", FlushDiskType::AsyncFlush;
        /// How long a put waits for the disk (SYNC_FLUSH), ms.
        pub sync_flush_timeout: i32 = "syncFlushTimeout", 5000;
        /// How long a put waits for a slave (SYNC_MASTER), ms.
        pub slave_timeout: i32 = "slaveTimeout", 3000;
        /// Delay of each level, in s, m, h or d.
        pub message_delay_level: String = "messageDelayLevel", "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";
        /// Period of storing the delivery offsets of delayed messages, ms.
        pub flush_delay_offset_interval: i64 = "flushDelayOffsetInterval", 10_000i64;
        /// Deliver messages at the time that their properties ask for.
        pub timer_wheel_enable: bool = "timerWheelEnable", true;
        /// Width of a slot of the timer wheel, ms: 100, 200, 500 or 1000. Messages are delivered at their millisecond whatever it is; it must stay while messages wait.
        pub timer_precision_ms: i32 = "timerPrecisionMs", 1000;
        /// Longest delay of a timed message, seconds.
        pub timer_max_delay_sec: i32 = "timerMaxDelaySec", 259_200;
        /// Timed messages that are due in so many slots or more are stored again in between.
        pub timer_roll_window_slot: i32 = "timerRollWindowSlot", 172_800;
        /// Bytes of a timer-log file.
        pub mapped_file_size_timer_log: i64 = "mappedFileSizeTimerLog", 104_857_600i64;
        /// Period of forcing the timer's files to the disk, ms.
        pub timer_flush_interval_ms: i32 = "timerFlushIntervalMs", 1000;
        /// Messages of one slot above which some more are refused, and all above twice as many.
        pub timer_congest_num_each_slot: i32 = "timerCongestNumEachSlot", i32::MAX;
        /// Delete files that have not expired when the disk is nearly full.
        pub clean_file_forcibly_enable: bool = "cleanFileForciblyEnable", true;
        /// Write and lock all pages of a new commit-log file beforehand.
        pub warm_maped_file_enable: bool = "warmMapedFileEnable", false;
        /// A slave corrects pull offsets too.
        pub offset_check_in_slave: bool = "offsetCheckInSlave", false;
        /// Tell in files under `$HOME/debug/lock` what all threads do while the append lock is held for
        /// more than a second.
        pub debug_lock_enable: bool = "debugLockEnable", false;
        /// Legacy duplication mode: dispatch stops at a confirmed offset that nothing sets.
        pub duplication_enable: bool = "duplicationEnable", false;
        /// Record by how much a consumer group lags.
        pub disk_fall_recorded: bool = "diskFallRecorded", true;
        /// Puts are refused while the append lock has been held for longer, ms.
        pub os_page_cache_busy_time_out_mills: i64 = "osPageCacheBusyTimeOutMills", 1000i64;
        /// Most messages of a query by unique key.
        pub default_query_max_num: i32 = "defaultQueryMaxNum", 32;
        /// Append to buffers that a thread commits to the files (ASYNC_FLUSH, not on slaves).
        pub transient_store_pool_enable: bool = "transientStorePoolEnable", false;
        /// Buffers, of one commit-log file's size each.
        pub transient_store_pool_size: i32 = "transientStorePoolSize", 5;
        /// Refuse puts while no buffer is free.
        pub fast_fail_if_no_buffer_in_store_pool: bool = "fastFailIfNoBufferInStorePool", false;
        /// The commit log is a DLedger log.
        pub enable_dleger_commit_log: bool = "enableDLegerCommitLog", false;
        /// DLedger group.
        pub dleger_group: String = "dLegerGroup", "";
        /// Members of the group, `n0-host:port;n1-host:port`.
        pub dleger_peers: String = "dLegerPeers", "";
        /// Which of them this broker is.
        pub dleger_self_id: String = "dLegerSelfId", "";
        /// Member that leads when it can.
        pub preferred_leader_id: String = "preferredLeaderId", "";
        /// DLedger pushes entries in batches.
        pub enable_batch_push: bool = "isEnableBatchPush", false;
        /// Count delayed messages in the statistics.
        pub enable_schedule_message_stats: bool = "enableScheduleMessageStats", true;
        /// Light message queues.
        pub enable_lmq: bool = "enableLmq", false;
        /// Put one message into several queues.
        pub enable_multi_dispatch: bool = "enableMultiDispatch", false;
        /// Most light message queues.
        pub max_lmq_consume_queue_num: i32 = "maxLmqConsumeQueueNum", 20_000;
        /// Deliver delayed messages without waiting for each put.
        pub enable_schedule_async_deliver: bool = "enableScheduleAsyncDeliver", false;
        /// Most deliveries on their way.
        pub schedule_async_deliver_max_pending_limit: i32 = "scheduleAsyncDeliverMaxPendingLimit", 2000;
        /// Failed deliveries after which a level waits.
        pub schedule_async_deliver_max_resend_num2_blocked: i32 = "scheduleAsyncDeliverMaxResendNum2Blocked", 3;
        /// In SYNC_FLUSH mode, show messages to consumers before they are on the disk (as Java
        /// does).
        pub dispatch_unflushed: bool = "dispatchUnflushed", false;
        /// When recovery finds damage in the middle of the log, cut the log there and lose what
        /// follows, instead of refusing to start.
        pub truncate_damaged_log: bool = "truncateDamagedLog", false;
        /// Copies that a put on a SYNC_MASTER needs, the master's included (a key of 5.x); 1 and 2
        /// both ask for one slave.
        pub in_sync_replicas: i32 = "inSyncReplicas", 1;
        /// An empty slave begins with the master's last file, as Java's; false: with the first
        /// byte that the master still has.
        pub sync_from_last_file: bool = "syncFromLastFile", true;
        /// A slave acknowledges what is on its disk, not what is in its page cache.
        pub slave_ack_after_flush: bool = "slaveAckAfterFlush", false;
        /// Where puts, or a slave's acknowledgements, wait for the disk, fill commit-log files with zeros
        /// shortly before they are appended to: a flush takes half the time then, and all bytes are
        /// written twice. A file system that never writes a block in place (btrfs, ZFS) gains nothing.
        pub write_commit_log_ahead: bool = "writeCommitLogAhead", true;
        /// Ready up to so many bytes of the commit log ahead while nothing is appended; 0: none.
        pub ready_ahead_max_bytes: i64 = "readyAheadMaxBytes", 1_073_741_824i64;
        /// Delete the oldest commit-log files beyond so many bytes; 0: no such limit.
        pub max_store_bytes: i64 = "maxStoreBytes", 0i64;
        /// Delete the oldest commit-log files while the disk has fewer free bytes; 0: no such
        /// limit.
        pub min_free_bytes: i64 = "minFreeBytes", 0i64;
    }
}

/// Java's default root.
fn default_root() -> String {
    std::env::var_os("HOME").map_or_else(
        || "store".to_owned(),
        |home| PathBuf::from(home).join("store").to_string_lossy().into_owned(),
    )
}

/// The folders of a comma-separated list.
fn folders(list: &str) -> Vec<PathBuf> {
    list.split(',').map(str::trim).filter(|path| !path.is_empty()).map(PathBuf::from).collect()
}

impl StoreConfig {
    /// Root of all that is stored.
    pub fn root(&self) -> PathBuf {
        if self.store_path_root_dir.is_empty() {
            PathBuf::from(default_root())
        } else {
            PathBuf::from(&self.store_path_root_dir)
        }
    }

    /// Folders of the commit log, at least one; new files go to those that are writable.
    pub fn commit_log_folders(&self) -> Vec<PathBuf> {
        let mut list = folders(&self.store_path_commit_log);
        if list.is_empty() {
            list.push(self.root().join("commitlog"));
        }
        list
    }

    /// All folders in which commit-log files may lie: the first one, and those to be looked at too.
    pub fn all_commit_log_folders(&self) -> Vec<PathBuf> {
        let mut all = self.commit_log_folders();
        for folder in self.read_only_commit_log_folders() {
            if !all.contains(&folder) {
                all.push(folder);
            }
        }
        all
    }

    /// Commit-log folders that get no new files.
    pub fn read_only_commit_log_folders(&self) -> Vec<PathBuf> {
        folders(&self.read_only_commit_log_store_paths)
    }

    /// The words by which `mqstore` finds this store, as a shell takes them: its folder, and what
    /// is said about the commit log's if that lies elsewhere.
    pub fn mqstore_words(&self) -> String {
        let root = std::path::absolute(self.root()).unwrap_or_else(|_| self.root());
        let mut words = shell_word(&root.to_string_lossy());
        if self.all_commit_log_folders() == [self.root().join("commitlog")] {
            return words;
        }
        for (key, folders) in [
            ("storePathCommitLog", &self.store_path_commit_log),
            ("readOnlyCommitLogStorePaths", &self.read_only_commit_log_store_paths),
        ] {
            if !folders.is_empty() {
                words += &format!(" {}", shell_word(&format!("{key}={folders}")));
            }
        }
        words
    }

    /// Whether every acknowledged message is on the disk.
    pub fn is_sync_flush(&self) -> bool {
        self.flush_disk_type == FlushDiskType::SyncFlush
    }

    /// Whether this broker copies a master.
    pub fn is_slave(&self) -> bool {
        self.broker_role == BrokerRole::Slave
    }

    /// Whether somebody waits for the flush of each append: who puts, or the master.
    pub fn is_flush_waited_for(&self) -> bool {
        self.is_sync_flush() || (self.is_slave() && self.slave_ack_after_flush)
    }

    /// Whether appends go through the transient store pool: only without synchronous flush, and
    /// not on a slave.
    pub fn uses_transient_pool(&self) -> bool {
        self.transient_store_pool_enable && !self.is_sync_flush() && !self.is_slave()
    }
}

/// Text as one word of a shell: as it is, or in single quotes.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
