//! Calls about a broker itself: its state, its configuration, its consume queues.

use std::collections::BTreeMap;

use super::{AdminClient, AdminResult, text_of, with};
use crate::remoting::command::Command;
use crate::remoting::protocol::admin_bodies::{
    BrokerStatsData, ConsumeQueueEntries, HaRuntimeInfo,
};
use crate::remoting::protocol::admin_headers::{
    QueryConsumeQueueRequestHeader, ViewBrokerStatsDataRequestHeader,
};
use crate::remoting::protocol::bodies::KvTable;
use crate::remoting::protocol::request_code;

impl AdminClient {
    /// The runtime table of a broker (28).
    ///
    /// ```
    /// use rocketmq::client::admin::{AdminClient, address_of};
    /// use rocketmq::remoting::protocol::request_code::CLEAN_UNUSED_TOPIC;
    /// # let site = rocketmq::Standalone::temporary()?;
    /// # site.create_topic("Orders", 2)?;
    /// # let names = site.name_servers();
    /// let admin = AdminClient::new(names);
    /// let route = admin.route("Orders")?;
    /// let broker = address_of(&route.broker_datas[0]).ok_or("no address")?;
    /// println!("{:?} messages came", admin.runtime_info(broker)?.get("msgPutTotalTodayNow"));
    /// admin.update_broker_config(broker, "defaultTopicQueueNums=4")?;
    /// assert!(admin.broker_config(broker)?.contains("defaultTopicQueueNums=4"));
    /// println!("{:?}", admin.ha_status(broker)?);
    /// // Entries 0 to 9 of a queue, once it has some. The group, if there is one, says what its filter
    /// // makes of them.
    /// if let Ok(entries) = admin.consume_queue(broker, ("Orders", 0), (0, 10), None) {
    ///     println!("{} of {}", entries.queue_data.map_or(0, |entries| entries.len()), entries.max_queue_index);
    /// }
    /// // Of the last minute, hour and day; an error before the first message.
    /// if let Ok(stats) = admin.broker_stats(broker, "TOPIC_PUT_NUMS", "Orders") {
    ///     println!("{} a second", stats.stats_minute.tps);
    /// }
    /// admin.trigger(broker, CLEAN_UNUSED_TOPIC)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn runtime_info(&self, addr: &str) -> AdminResult<BTreeMap<String, String>> {
        let request = Command::request(request_code::GET_BROKER_RUNTIME_INFO);
        self.ask::<KvTable>(addr, request).map(|table| table.table)
    }

    /// How a broker's replication stands (907, of 5.x).
    pub fn ha_status(&self, addr: &str) -> AdminResult<HaRuntimeInfo> {
        let mut request = Command::request(request_code::GET_BROKER_HA_STATUS);
        // Without any field it would be taken for a probe by a client of 4.x.
        request.fields.push_str("brokerAddr", addr);
        self.ask(addr, request)
    }

    /// Property lines of a broker (26).
    pub fn broker_config(&self, addr: &str) -> AdminResult<String> {
        let request = Command::request(request_code::GET_BROKER_CONFIG);
        self.call(addr, request).and_then(|answer| text_of(addr, answer))
    }

    /// Changes properties of a broker (25).
    pub fn update_broker_config(&self, addr: &str, lines: &str) -> AdminResult<()> {
        let request =
            Command::request(request_code::UPDATE_BROKER_CONFIG).with_body(lines.to_owned());
        self.call(addr, request).map(drop)
    }

    /// A statistic of a broker (315).
    pub fn broker_stats(&self, addr: &str, name: &str, key: &str) -> AdminResult<BrokerStatsData> {
        let header = ViewBrokerStatsDataRequestHeader {
            stats_name: name.to_owned(),
            stats_key: key.to_owned(),
        };
        self.ask(addr, with(request_code::VIEW_BROKER_STATS_DATA, &header))
    }

    /// Sends a request without header and body that only does something at the broker: 306, 316
    /// and 329.
    pub fn trigger(&self, addr: &str, code: i32) -> AdminResult<()> {
        self.call(addr, Command::request(code)).map(drop)
    }

    /// Entries of a consume queue (321).
    pub fn consume_queue(
        &self,
        addr: &str,
        queue: (&str, i32),
        range: (i64, i32),
        group: Option<&str>,
    ) -> AdminResult<ConsumeQueueEntries> {
        let header = QueryConsumeQueueRequestHeader {
            topic: queue.0.to_owned(),
            queue_id: queue.1,
            index: range.0,
            count: range.1,
            consumer_group: group.map(str::to_owned),
        };
        self.ask(addr, with(request_code::QUERY_CONSUME_QUEUE, &header))
    }
}
