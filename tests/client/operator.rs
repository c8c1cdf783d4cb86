//! What an operator asks of a consumer, by way of the broker.

use std::time::Duration;

use rocketmq::client::{ConsumeResult, PushConsumer};
use rocketmq::common::message::Message;

use crate::site::{Ledger, SOON, Site};
use crate::support::until;
use crate::support::wire::Wire;

const RUNNING_INFO: i32 = 307;
const CONSUME_DIRECTLY: i32 = 309;
const RESET_OFFSET: i32 = 222;
const CONSUMER_STATUS: i32 = 223;

fn consumer(site: &Site, ledger: &Ledger) -> PushConsumer {
    let notes = ledger.clone();
    site.consumer_options("watched")
        .subscribe("Watched", "*")
        .start_concurrent(move |messages, _| {
            notes.note(messages);
            if messages[0].body() == b"bad" {
                panic!("on purpose")
            }
            ConsumeResult::Success
        })
        .unwrap()
}

#[test]
fn an_operator_looks_into_a_consumer_and_starts_it_over() {
    let site = Site::start("Watched", 2);
    let ledger = Ledger::default();
    let consumer = consumer(&site, &ledger);
    let producer = site.producer();
    let mut last = None;
    for i in 0..30 {
        last = Some(producer.send(&Message::new("Watched", format!("{i}"))).unwrap());
    }
    ledger.wait_for(30);
    let mut wire: Wire = site.broker.wire();

    let fields = [("consumerGroup", "watched"), ("clientId", consumer.client_id())];
    // What a listener is done with is taken out of the cache a moment later.
    let empty =
        "{\"brokerName\":\"broker-a\",\"queueId\":0,\"topic\":\"Watched\"}:{\"cachedMsgCount\":0";
    let text = until("everything is consumed", SOON, || {
        let info = wire.must(RUNNING_INFO, &fields, b"");
        let text = String::from_utf8_lossy(&info.body).into_owned();
        text.contains(empty).then_some(text)
    });
    for part in [
        "\"PROP_CONSUME_TYPE\":\"CONSUME_PASSIVELY\"",
        "\"PROP_CONSUMEORDERLY\":\"false\"",
        "\"subString\":\"*\"",
        &site.names(),
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }

    let id = last.unwrap().offset_message_id;
    let fields = [fields[0], fields[1], ("msgId", id.as_str())];
    let direct = wire.must(CONSUME_DIRECTLY, &fields, b"");
    let text = String::from_utf8_lossy(&direct.body).into_owned();
    assert!(text.contains("CR_SUCCESS"), "{text}");
    assert_eq!(ledger.deliveries(), 31);

    let fields = [("topic", "Watched"), ("group", "watched")];
    let status = until("offsets in memory", SOON, || {
        let status = wire.must(CONSUMER_STATUS, &fields, b"");
        let text = String::from_utf8_lossy(&status.body).into_owned();
        text.contains("}:15").then_some(text)
    });
    assert!(status.contains(consumer.client_id()), "{status}");

    // Offsets reach the broker at intervals; a reset needs them there.
    let fields =
        [("topic", "Watched"), ("group", "watched"), ("timestamp", "0"), ("isForce", "true")];
    until("a reset", SOON, || (wire.call(RESET_OFFSET, &fields, b"").code() == 0).then_some(()));
    until("everything again", SOON, || (ledger.deliveries() == 61).then_some(()));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!((ledger.distinct(), ledger.deliveries()), (30, 61));
    consumer.shutdown();
}
