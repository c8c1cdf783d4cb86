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
/// Messages that wait for their time.
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
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

/// Prefix of further system topics, by rule.
pub const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";

/// The system topics of every broker. A broker's own set adds its cluster's and its own name, the
/// cluster's reply topic and its trace topic.
pub const SYSTEM_TOPICS: [&str; 9] = [
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    TRANS_HALF_TOPIC,
    TRACE_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
];

/// Whether a topic belongs to RocketMQ itself on every broker: one of [`SYSTEM_TOPICS`], or named
/// `rmq_sys_...`. Administrators cannot create or delete these.
pub fn is_system_topic(topic: &str) -> bool {
    topic.starts_with(SYSTEM_TOPIC_PREFIX) || SYSTEM_TOPICS.contains(&topic)
}

/// Whether a topic is one that the broker alone writes to.
pub fn is_written_by_broker_only(topic: &str) -> bool {
    matches!(
        topic,
        SCHEDULE_TOPIC
            | TIMER_TOPIC
            | TRANS_HALF_TOPIC
            | TRANS_OP_HALF_TOPIC
            | TRANS_CHECK_MAX_TIME_TOPIC
            | SELF_TEST_TOPIC
            | OFFSET_MOVED_EVENT
    )
}

/// Whether a topic is a light message queue, or a group one that consumes such.
pub fn is_light(name: &str) -> bool {
    name.starts_with(LMQ_PREFIX)
}

/// Whether `byte` may stand in a topic or group name: `%|a-zA-Z0-9_-`.
pub fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-')
}

/// Why a topic name is not legal, in Java's words; `Ok` if it is. System topics are legal names.
pub fn validate_topic(topic: &str) -> Result<(), String> {
    if topic.trim().is_empty() {
        return Err("The specified topic is blank.".to_owned());
    }
    if !topic.bytes().all(is_name_byte) {
        return Err("The specified topic contains illegal characters, \
                    allowing only ^[%|a-zA-Z0-9_-]+$"
            .to_owned());
    }
    if topic.len() > TOPIC_MAX_LENGTH {
        return Err("The specified topic is longer than topic max length.".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_and_illegal_names() {
        for topic in ["T", "%RETRY%a-b_c|9", &"x".repeat(127), "TBW102"] {
            assert_eq!(validate_topic(topic), Ok(()));
        }
        for (topic, word) in [
            ("", "blank"),
            (" \t", "blank"),
            ("a b", "illegal"),
            ("ä", "illegal"),
            ("a.b", "illegal"),
        ] {
            assert!(validate_topic(topic).unwrap_err().contains(word), "{topic}");
        }
        assert!(validate_topic(&"x".repeat(128)).unwrap_err().contains("longer"));
    }

    #[test]
    fn system_topics() {
        assert!(is_system_topic("TBW102") && is_system_topic("rmq_sys_wheel_timer"));
        assert!(!is_system_topic("RMQ_SYS_SOMETHING") && !is_system_topic("%RETRY%TBW102"));
    }
}
