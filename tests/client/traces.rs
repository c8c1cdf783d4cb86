//! Message traces: what a client sends, consumes and ends is found in the trace topic.

use rocketmq::client::{AdminClient, ConsumeResult, Message, TransactionState};
use rocketmq::common::topic::TRACE_TOPIC;

use crate::site::{SOON, Site};
use crate::support::until;

/// The records of a message id, each as its fields.
fn records(admin: &AdminClient, id: &str) -> Vec<Vec<String>> {
    let found = admin.query_messages(TRACE_TOPIC, id, false).unwrap_or_default();
    let mut records = Vec::new();
    for message in found {
        let body = String::from_utf8(message.message.body).unwrap();
        let all = body.split('\u{2}').map(|record| record.split('\u{1}').map(str::to_owned));
        let all: Vec<Vec<String>> = all.map(Iterator::collect).collect();
        records.extend(all.into_iter().filter(|fields| fields.iter().any(|field| field == id)));
    }
    records
}

#[test]
fn sent_consumed_and_ended_messages_leave_a_trace() {
    let site = Site::with(
        "Traced",
        2,
        &[("traceTopicEnable", "true"), ("messageDelayLevel", "1s 1s 1s 1s")],
    );
    let admin = AdminClient::new(site.names()).limit(SOON);
    let consumer = site
        .consumer_options("traced")
        .trace()
        .subscribe("Traced", "*")
        .start_concurrent(|messages, _| match messages[0].text().contains("again") {
            true if messages[0].reconsume_times() == 0 => ConsumeResult::Later,
            _ => ConsumeResult::Success,
        })
        .unwrap();
    let producer =
        site.producer_options().trace().start_transactional(|_| TransactionState::Commit);
    let producer = producer.unwrap();
    let message = Message::new("Traced", "one").with_tag("t").with_keys("k1 k2");
    let sent = producer.send(&message).unwrap();
    let ended = producer
        .send_in_transaction(&Message::new("Traced", "two"), |_| TransactionState::Commit)
        .unwrap();
    let again = producer.send(&Message::new("Traced", "again")).unwrap();

    let of = |records: &[Vec<String>], kind: &str| -> Vec<Vec<String>> {
        records.iter().filter(|fields| fields[0] == kind).cloned().collect()
    };
    let all = until("the records of a message", SOON, || {
        let all = records(&admin, &sent.message_id);
        // They come in any order.
        ["Pub", "SubBefore", "SubAfter"].iter().all(|kind| of(&all, kind).len() == 1).then_some(all)
    });
    let published = &of(&all, "Pub")[0];
    assert_eq!(published.len(), 14, "{published:?}");
    assert_eq!(published[4..8], ["Traced", &sent.message_id, "t", "k1 k2"]);
    assert_eq!(published[9], "3");
    assert_eq!(published[11..], ["0", &sent.offset_message_id, "true"]);
    let (before, after) = (&of(&all, "SubBefore")[0], &of(&all, "SubAfter")[0]);
    assert_eq!((before.len(), after.len()), (8, 9));
    assert_eq!(before[3], "traced");
    assert_eq!(before[4], after[1], "one request");
    assert_eq!((&before[6], &before[7]), (&"0".to_owned(), &"k1 k2".to_owned()));
    assert_eq!((after[4].as_str(), after[6].as_str(), after[8].as_str()), ("true", "0", "traced"));

    let ended = until("the end of a transaction", SOON, || {
        let all = records(&admin, &ended.send.message_id);
        of(&all, "EndTransaction").into_iter().next()
    });
    assert_eq!(ended.len(), 13, "{ended:?}");
    assert_eq!(ended[11..], ["COMMIT_MESSAGE", "false"]);
    until("a failure and a success", SOON, || {
        let all = of(&records(&admin, &again.message_id), "SubAfter");
        let has = |success: &str| all.iter().any(|fields| fields[4] == success);
        (has("false") && has("true")).then_some(())
    });
    // What traces of traces would be.
    assert!(of(&records(&admin, TRACE_TOPIC), "Pub").is_empty());
    consumer.shutdown();
    producer.shutdown();
}
