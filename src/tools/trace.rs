//! `queryMsgTraceById`: who sent a message and who consumed it, from the records that clients with
//! tracing write into the trace topic.

use std::collections::BTreeMap;

use super::call::{Call, time_in_seconds};
use super::print::Column;
use super::{SubCommand, ToolError, ToolResult, optional, required};
use crate::common::topic::TRACE_TOPIC;

/// The commands of this file.
pub const COMMANDS: &[SubCommand] = &[SubCommand {
    name: "queryMsgTraceById",
    purpose: "query a message trace",
    options: &[
        required('i', "msgId", "Message Id"),
        optional('t', "traceTopic", "The name value of message trace topic"),
    ],
    run: query_trace,
}];

/// Between the fields of a record.
const FIELD_END: char = '\u{1}';
/// Behind a record.
const RECORD_END: char = '\u{2}';

/// What is shown of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    /// A consumer's, else the producer's.
    is_consumer: bool,
    /// Group.
    group: String,
    /// ms; `None` where the record does not say.
    time: Option<i64>,
    /// ms.
    cost: String,
    success: bool,
}

/// The records of one message in the body of a trace message.
///
/// | record | fields, each after the one before and U+0001; U+0002 behind the last |
/// |---|---|
/// | `Pub` | timestamp, region, group, topic, **message id**, tags, keys, store host, length, cost, type, offset id, success |
/// | `SubAfter` | request, **message id**, cost, success, keys, context code, timestamp, group |
fn records_of(body: &str, message_id: &str) -> Vec<Record> {
    let mut records = Vec::new();
    for record in body.split(RECORD_END) {
        let fields: Vec<_> = record.split(FIELD_END).collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or_default();
        match (field(0), fields.len()) {
            ("Pub", 13..) if field(5) == message_id => records.push(Record {
                is_consumer: false,
                group: field(3).to_owned(),
                time: field(1).parse().ok(),
                cost: field(10).to_owned(),
                // Older clients have no offset id before it.
                success: field(if fields.len() == 13 { 12 } else { 13 }) == "true",
            }),
            ("SubAfter", 5..) if field(2) == message_id => records.push(Record {
                is_consumer: true,
                group: field(8).to_owned(),
                time: field(7).parse().ok(),
                cost: field(3).to_owned(),
                success: field(4) == "true",
            }),
            _ => {}
        }
    }
    records
}

const PRODUCER_COLUMNS: [Column; 6] = columns("#ProducerGroup", "#SendTime");
const CONSUMER_COLUMNS: [Column; 6] = columns("#ConsumerGroup", "#ConsumerTime");

const fn columns(group: &'static str, time: &'static str) -> [Column; 6] {
    [
        Column::left("#Type", "type", 10).gap(1),
        Column::left(group, "group", 20).gap(1),
        Column::left("#ClientHost", "clientHost", 20).gap(1),
        Column::left(time, "time", 20).gap(1),
        Column::left("#CostTimes", "cost", 10).gap(1),
        Column::left("#Status", "status", 0).gap(0),
    ]
}

fn query_trace(call: &mut Call<'_>) -> ToolResult {
    let id = call.required("msgId")?;
    let topic = call.text("traceTopic").unwrap_or_else(|| TRACE_TOPIC.to_owned());
    let mut sent = Vec::new();
    let mut consumed: BTreeMap<String, Vec<(String, Record)>> = BTreeMap::new();
    for message in call.admin.query_messages(&topic, &id, false)? {
        let host = message.born_host.ip().to_string();
        let body = String::from_utf8_lossy(&message.message.body);
        for record in records_of(&body, &id) {
            if record.is_consumer {
                consumed.entry(record.group.clone()).or_default().push((host.clone(), record));
            } else {
                sent.push((host.clone(), record));
            }
        }
    }
    if sent.is_empty() && consumed.is_empty() {
        return Err(ToolError::Failed(format!("topic {topic} has no trace of {id}")));
    }
    for (host, record) in sent {
        call.out.header(&PRODUCER_COLUMNS)?;
        print(call, &PRODUCER_COLUMNS, &host, &record)?;
        call.out.decorate("")?;
    }
    for records in consumed.into_values() {
        call.out.header(&CONSUMER_COLUMNS)?;
        for (host, record) in records {
            print(call, &CONSUMER_COLUMNS, &host, &record)?;
        }
        call.out.decorate("")?;
    }
    Ok(())
}

fn print(call: &mut Call<'_>, columns: &[Column], host: &str, record: &Record) -> ToolResult {
    let kind = if record.is_consumer { "Sub" } else { "Pub" };
    let time = record.time.map(time_in_seconds).unwrap_or_default();
    let cost = format!("{}ms", record.cost);
    let status = if record.success { "success" } else { "failed" };
    Ok(call.out.row(columns, &[&kind, &record.group, &host, &time, &cost, &status])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_message_asked_for() {
        let text = "Pub|1700000000000|r|PG|T|ID1|tag|key|h:1|5|12|0|OFF|true;\
                    SubBefore|1700000000001|r|CG|REQ|ID1|0|key;\
                    SubAfter|REQ|ID1|7|false|key|0|1700000000002|CG;\
                    Pub|1700000000000|r|PG|T|ID2|tag|key|h:1|5|12|0|OFF|true;";
        let body = text.replace('|', "\u{1}").replace(';', "\u{2}");
        let records = records_of(&body, "ID1");
        let expected = [
            Record {
                is_consumer: false,
                group: "PG".to_owned(),
                time: Some(1_700_000_000_000),
                cost: "12".to_owned(),
                success: true,
            },
            Record {
                is_consumer: true,
                group: "CG".to_owned(),
                time: Some(1_700_000_000_002),
                cost: "7".to_owned(),
                success: false,
            },
        ];
        assert_eq!(records, expected);
    }
}
