//! Logging: `~/logs/rocketmqlogs/*.log` with rotation, and stderr.

use std::path::PathBuf;

/// Where and what to log.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// File, for example `~/logs/rocketmqlogs/broker.log`; none logs to stderr only.
    pub file: Option<PathBuf>,
    /// A file is rotated at this size.
    pub max_file_bytes: u64,
    /// Rotated files kept.
    pub keep_files: usize,
    /// Warnings and errors go to stderr too.
    pub stderr: bool,
}

/// Installs the logger of this process. Levels come from `RUST_LOG`, default `info`.
pub fn init(_config: LogConfig) -> std::io::Result<()> {
    todo!("owner: common")
}

/// `$HOME/logs/rocketmqlogs`.
pub fn default_directory() -> PathBuf {
    todo!("owner: common")
}
