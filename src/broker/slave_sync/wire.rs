//! The request by which a slave of ours follows the tables of a master of ours, SYNCHRONIZE_SLAVE
//! (31001): a number that no RocketMQ uses, so a Java broker answers it with code 3.
//!
//! The header has `brokerName` (whose slave asks), `brokerId` and `brokerAddr`; the body is
//! [`Asked`], the body of the answer [`Told`]. Both are JSON, as the bodies of Java's requests are.

use std::collections::BTreeMap;

use crate::broker::offset_exchange::OffsetPage;
use crate::json_body;
use crate::remoting::protocol::bodies::{DataVersion, SubscriptionGroupTable, TopicConfigTable};

json_body! {
    /// What a slave has, and what it wants to be told.
    pub struct Asked {
        /// Number of delay offsets' change that it knows.
        pub delay: i64 => "delay" = -1,
        /// Number of the filters' change that it knows.
        pub filters: i64 => "filters" = -1,
        /// Version of its groups.
        pub groups: DataVersion => "groups",
        /// Number of the consumer offsets' change that it knows.
        pub offsets: i64 => "offsets",
        /// What its own consumers committed.
        pub push: Option<OffsetPage> => "push",
        /// Which start of the master these numbers belong to; 0: it has none.
        pub session: i64 => "session",
        /// Number of the timer's change that it knows.
        pub timer: i64 => "timer" = -1,
        /// Version of its topics.
        pub topics: DataVersion => "topics",
        /// How long the answer may wait for news, ms.
        pub wait_ms: i64 => "waitMs",
    }
}

json_body! {
    /// What has changed. A member that is absent has not.
    pub struct Told {
        /// Delay offsets, and the number of their last change.
        pub delay: Option<DelayPart> => "delay",
        /// Filters.
        pub filters: Option<FilterPart> => "filters",
        /// Groups.
        pub groups: Option<SubscriptionGroupTable> => "groups",
        /// End of the commit log, with everything by which the offsets here came about.
        pub log_end: i64 => "logEnd",
        /// Consumer offsets.
        pub offsets: OffsetPage => "offsets",
        /// Which start of the master the numbers belong to.
        pub session: i64 => "session",
        /// The timer.
        pub timer: Option<TimerPart> => "timer",
        /// Topics.
        pub topics: Option<TopicConfigTable> => "topics",
        /// With topics: those of which there are messages, although they are not in the table. Who
        /// became the master before it heard of a topic may have its messages.
        pub unlisted: Vec<String> => "unlisted",
    }
}

json_body! {
    /// How far delayed messages are delivered.
    pub struct DelayPart {
        /// Level to next offset.
        pub table: BTreeMap<i32, i64> => "table",
        /// Number of the change.
        pub number: i64 => "number",
    }
}

json_body! {
    /// The filters of consumer groups.
    pub struct FilterPart {
        /// Number of the change.
        pub number: i64 => "number",
        /// As they stand in `consumerFilter.json`.
        pub text: String => "text",
    }
}

json_body! {
    /// How far timed messages are delivered.
    pub struct TimerPart {
        /// What came to the wheel and was due then, or before, is delivered, ms.
        pub done_ms: i64 => "doneMs",
        /// The counters of what waits, as they stand in `timermetrics`.
        pub metrics: String => "metrics",
        /// Number of the change.
        pub number: i64 => "number",
        /// First message of the timer's topic that had not come to the wheel.
        pub queue_offset: i64 => "queueOffset",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::json::{FromJson, Json, Style, ToJson};

    /// The names are what brokers of two releases must agree on.
    #[test]
    fn both_bodies_as_they_are_written() {
        let table = BTreeMap::from([("T@g".to_owned(), BTreeMap::from([(0, vec![7, 99])]))]);
        let removed = BTreeMap::from([("@gone".to_owned(), 98)]);
        let page = OffsetPage { complete: true, removed, table, upto: 5 };
        let asked = Asked { push: Some(page.clone()), session: 3, ..Asked::default() };
        let offsets =
            r#"{"complete":true,"removed":{"@gone":98},"table":{"T@g":{0:[7,99]}},"upto":5}"#;
        let expected = format!(
            r#"{{"delay":-1,"filters":-1,"groups":{{"counter":0,"timestamp":0}},"offsets":0,"push":{offsets},"session":3,"timer":-1,"topics":{{"counter":0,"timestamp":0}},"waitMs":0}}"#
        );
        assert_eq!(asked.to_json().write(Style::Fastjson), expected);
        let told = Told {
            delay: Some(DelayPart { table: BTreeMap::from([(3, 8)]), number: 2 }),
            filters: Some(FilterPart { number: 1, text: "{}".to_owned() }),
            log_end: 1000,
            offsets: page,
            session: 3,
            timer: Some(TimerPart {
                done_ms: 17,
                metrics: "{}".to_owned(),
                number: 4,
                queue_offset: 6,
            }),
            unlisted: vec!["Young".to_owned()],
            ..Told::default()
        };
        let text = told.to_json().write(Style::Fastjson);
        let parts = [
            r#""delay":{"table":{3:8},"number":2}"#,
            r#""filters":{"number":1,"text":"{}"}"#,
            r#""logEnd":1000"#,
            r#""session":3"#,
            r#""timer":{"doneMs":17,"metrics":"{}","number":4,"queueOffset":6}"#,
            r#""unlisted":["Young"]"#,
        ];
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains(&format!(r#""offsets":{offsets}"#)), "{text}");
        assert_eq!(Told::from_json(&Json::parse(text.as_bytes()).unwrap()), Ok(told));
    }
}
