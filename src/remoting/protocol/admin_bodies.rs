//! Bodies of requests between tools and brokers, one declaration each (spec: admin 4). Members
//! stand alphabetically, as Java writes them.

use std::collections::BTreeMap;

use crate::json_body;

json_body! {
    /// Answer to GET_ALL_CONSUMER_OFFSET, and `consumerOffset.json`.
    pub struct ConsumerOffsetTable {
        /// `topic@group` to queue to offset.
        pub offset_table: BTreeMap<String, BTreeMap<i32, i64>> => "offsetTable",
    }
}

json_body! {
    /// Figures of a statistic over a window.
    pub struct BrokerStatsItem {
        /// Sum for each time it was counted.
        pub avgpt: f64 => "avgpt",
        /// Sum.
        pub sum: i64 => "sum",
        /// Sum a second.
        pub tps: f64 => "tps",
    }
}

json_body! {
    /// Answer to VIEW_BROKER_STATS_DATA.
    pub struct BrokerStatsData {
        /// Up to a day.
        pub stats_day: BrokerStatsItem => "statsDay",
        /// Up to an hour.
        pub stats_hour: BrokerStatsItem => "statsHour",
        /// Up to a minute.
        pub stats_minute: BrokerStatsItem => "statsMinute",
    }
}
