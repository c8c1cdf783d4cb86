//! Topic and group names: rules, prefixes, the system's own.

/// Prefix of the retry topic of a consumer group.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of the dead-letter topic of a consumer group.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// Prefix of light message queues.
pub const LMQ_PREFIX: &str = "%LMQ%";
/// Template of automatic topic creation.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Messages that wait for their delay level.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Half messages.
pub const TRANS_HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Resolutions of half messages.
pub const TRANS_OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages given up.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Self test.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Offsets that were out of range.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// Target of the benchmarks.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Message traces.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Suffix of a cluster's reply topic.
pub const REPLY_TOPIC_SUFFIX: &str = "_REPLY_TOPIC";
/// Longest topic name, characters.
pub const TOPIC_MAX_LENGTH: usize = 127;

/// Permission bit: the broker's topic may be read.
pub const PERM_READ: i32 = 4;
/// Permission bit: the topic may be written.
pub const PERM_WRITE: i32 = 2;
/// Permission bit: the topic is a template.
pub const PERM_INHERIT: i32 = 1;

/// The retry topic of `group`.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// The dead-letter topic of `group`.
pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

/// Why a topic name is not legal, in words for a person; `Ok` if it is.
pub fn validate_topic(_topic: &str) -> Result<(), String> {
    todo!("owner: common")
}
