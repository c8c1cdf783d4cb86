//! Namespaces, address servers, hooks and interceptors: what stands between the application's names
//! and messages and those on the wire.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rocketmq::client::config::Interceptor;
use rocketmq::client::hooks::{
    AfterConsume, AfterSend, ConsumeCall, ConsumeOutcome, Hook, MessageKind, SendAttempt, SendMode,
    TransactionEnd,
};
use rocketmq::client::{
    ClientError, ConsumeFromWhere, ConsumeResult, LitePullOptions, Namespace, OffsetAt,
    ProducerOptions, PullSchedule, ReceivedMessage, Target, TransactionState,
};
use rocketmq::common::message::Message;
use rocketmq::remoting::Command;

use crate::site::{Ledger, SOON, Site, patiently};
use crate::support::until;

#[test]
fn two_tenants_do_not_see_each_other() {
    let site = Site::start("shop%Orders", 2);
    site.create_topic("bank%Orders", 2);
    let seen: Arc<Mutex<Vec<(String, String, i32)>>> = Arc::default();
    let consumers: Vec<_> = ["shop", "bank"]
        .map(|tenant| {
            let seen = Arc::clone(&seen);
            let options = site.consumer_options("billing").namespace(tenant);
            let options = options.subscribe("Orders", "*").max_reconsume_times(1);
            options.start_concurrent(move |messages, context| {
                let mut seen = seen.lock().unwrap();
                for message in messages {
                    assert_eq!(message.topic(), "Orders");
                    let body = String::from_utf8_lossy(message.body()).into_owned();
                    seen.push((tenant.to_owned(), body, message.reconsume_times()));
                }
                // Once more after a second, then to the dead letters.
                context.delay_level = 1;
                ConsumeResult::Later
            })
        })
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let shop = site.producer_options().namespace("shop").start().unwrap();
    let message = Message::new("Orders", "a book");
    let sent = shop.send(&message).unwrap();
    assert_eq!(sent.queue.topic, "Orders");
    let queues = shop.queues("Orders").unwrap();
    assert!(queues.contains(&sent.queue) && queues.len() == 2, "{queues:?}");
    until("the message is dispatched", SOON, || {
        (shop.offset_at(&sent.queue, OffsetAt::Max) == Ok(1)).then_some(())
    });
    let choose = |queues: &[_], _: &Message| {
        assert!(queues.contains(&sent.queue));
        0
    };
    let by_queue = shop.send_to(&Message::new("Orders", "b"), Target::Queue(&sent.queue)).unwrap();
    assert_eq!(by_queue.queue, sent.queue);
    shop.send_to(&Message::new("Orders", "c"), Target::Select(&choose)).unwrap();
    shop.send_batch(&[Message::new("Orders", "d"), Message::new("Orders", "e")]).unwrap();
    until("two deliveries of each, and their ends", SOON, || {
        (seen.lock().unwrap().len() >= 10).then_some(())
    });
    let deliveries = seen.lock().unwrap().clone();
    assert!(deliveries.iter().all(|(tenant, ..)| tenant == "shop"), "{deliveries:?}");
    for body in ["a book", "b", "c", "d", "e"] {
        let times: Vec<_> = deliveries.iter().filter(|d| d.1 == body).map(|d| d.2).collect();
        assert_eq!(times, [0, 1], "{body}");
    }
    // On the wire, the dead letters are the tenant's.
    let mut wire = site.broker.wire();
    until("dead letters", SOON, || (wire.max_offset("%DLQ%shop%billing", 0) == 5).then_some(()));
    let own = &consumers[0].queues();
    assert!(own.iter().any(|queue| queue.topic == "Orders"), "{own:?}");
    assert!(own.iter().any(|queue| queue.topic == "%RETRY%billing"), "{own:?}");
    assert_eq!(wire.max_offset("bank%Orders", 0) + wire.max_offset("bank%Orders", 1), 0);
    assert_eq!(
        Namespace::of_endpoint("http://MQ_INST_1_shop.host:80").name(),
        Some("MQ_INST_1_shop")
    );
}

#[test]
fn pull_side_of_a_tenant() {
    let site = Site::start("shop%Orders", 2);
    let shop = site.producer_options().namespace("shop").start().unwrap();
    for number in 0..10 {
        shop.send(&Message::new("Orders", format!("{number}"))).unwrap();
    }
    let lite = LitePullOptions::new("reader").client(site.client_options()).namespace("shop");
    let lite = lite.consume_from(ConsumeFromWhere::FirstOffset).start().unwrap();
    lite.subscribe("Orders", "*").unwrap();
    let taken: Vec<_> = lite.messages().take(7).map(Result::unwrap).collect();
    assert!(taken.iter().all(|message| message.topic() == "Orders"));
    assert!(lite.assignment().iter().all(|queue| queue.topic == "Orders"));
    patiently(|| lite.commit_sync());
    let committed = |queue| lite.committed(queue).unwrap().unwrap_or(0);
    let queues = lite.queues("Orders").unwrap();
    assert_eq!(
        queues.iter().map(committed).sum::<i64>(),
        7,
        "what was not handed out is not committed"
    );
    // The iterator gave back what it had not handed out.
    let body = |message: ReceivedMessage| String::from_utf8_lossy(message.body()).into_owned();
    let rest: BTreeSet<_> = lite.messages().take(3).map(|message| body(message.unwrap())).collect();
    assert_eq!(rest.len(), 3);
    assert_eq!(lite.messages().until_idle_for(Duration::from_secs(1)).count(), 0);
    lite.seek_to(&queues[0], OffsetAt::Min).unwrap();
    lite.shutdown();

    let ledger = Ledger::default();
    let notes = ledger.clone();
    let client = site.client_options().namespace("shop");
    let schedule = PullSchedule::start("scheduled", client).unwrap();
    schedule
        .register("Orders", move |consumer, queue| {
            assert_eq!(queue.topic, "Orders");
            let offset = consumer.committed(queue).unwrap().unwrap_or(0);
            let result = consumer.pull(queue, "*", offset, 4, None).unwrap();
            notes.note(&result.messages);
            patiently(|| consumer.commit(queue, result.next_offset));
            Duration::from_millis(20)
        })
        .unwrap();
    ledger.wait_for(10);
    schedule.shutdown();
    let after = ledger.deliveries();
    assert_eq!(after, 10);
}

/// An HTTP server that gives these answers, one a question, and then the last one again.
fn address_server(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter();
        let mut answer = String::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut question = [0; 1024];
            let length = stream.read(&mut question).unwrap_or(0);
            let question = String::from_utf8_lossy(&question[..length]).into_owned();
            assert!(question.starts_with("GET /rocketmq/mine-u1?nofix=1 "), "{question}");
            answer = answers.next().unwrap_or(answer);
            let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{answer}\n");
        }
    });
    addr
}

#[test]
fn name_servers_from_an_address_server() {
    let site = Site::start("Found", 1);
    let options = |domain: &str| {
        let client = site.client_options().name_servers("").unit_name("u1");
        let client = client.name_server_domain(domain.to_owned()).name_server_subgroup("mine");
        ProducerOptions::new("finders").client(client).send_timeout(SOON)
    };
    let domain = address_server(vec![format!("127.0.0.1:1;{}", site.names())]);
    let producer = options(&domain).start().unwrap();
    producer.send(&Message::new("Found", "x")).unwrap();
    // One that tells nothing: the client starts, and says what is missing.
    let producer = options(&address_server(vec![String::new()])).start().unwrap();
    match producer.send(&Message::new("Found", "x")) {
        Err(error @ ClientError::Discovery { .. }) => {
            assert!(error.to_string().contains("empty"), "{error}");
            assert!(error.is_transient() && error.code() == 10004);
        }
        outcome => panic!("{outcome:?}"),
    }
    // It is asked again 10 s after the start.
    let domain = address_server(vec!["\n".into(), site.names()]);
    let producer = options(&domain).start().unwrap();
    until("the second answer", SOON, || producer.send(&Message::new("Found", "x")).ok());
}

/// Notes what it is told.
#[derive(Default)]
struct Notes {
    sends: Mutex<Vec<(SendMode, MessageKind, Option<bool>)>>,
    ends: Mutex<Vec<(TransactionState, bool)>>,
    consumed: Mutex<Vec<ConsumeOutcome>>,
    filtered: AtomicUsize,
}

struct Watching(Arc<Notes>);

impl Hook for Watching {
    fn may_send(&self, attempt: &SendAttempt<'_>) -> Result<(), String> {
        match attempt.property("TAGS") {
            Some("forbidden") => Err("this tag is forbidden".to_owned()),
            _ => Ok(()),
        }
    }

    fn send(&self, attempt: &SendAttempt<'_>) -> Option<AfterSend> {
        assert!(attempt.broker_addr.contains(':') && attempt.body_bytes > 0);
        let (notes, mode, kind) = (Arc::clone(&self.0), attempt.mode, attempt.kind);
        let id = attempt.message_id.to_owned();
        Some(Box::new(move |outcome| {
            if let Some(Ok(result)) = outcome {
                assert_eq!(result.message_id, id);
            }
            notes.sends.lock().unwrap().push((mode, kind, outcome.map(Result::is_ok)));
        }))
    }

    fn end_transaction(&self, end: &TransactionEnd<'_>) {
        assert_eq!((end.topic, end.message_id.is_empty()), ("Hooked", false));
        self.0.ends.lock().unwrap().push((end.state, end.from_check));
    }

    fn filter(&self, group: &str, messages: &mut Vec<ReceivedMessage>) {
        assert_eq!(group, "hooked");
        let before = messages.len();
        messages.retain(|message| message.tag() != Some("secret"));
        self.0.filtered.fetch_add(before - messages.len(), Ordering::SeqCst);
    }

    fn consume(&self, call: &ConsumeCall<'_>) -> Option<AfterConsume> {
        assert_eq!((call.group, call.messages.len()), ("hooked", 1));
        let notes = Arc::clone(&self.0);
        Some(Box::new(move |consumed| notes.consumed.lock().unwrap().push(consumed.outcome)))
    }
}

#[test]
fn hooks_see_what_happens_and_may_forbid() {
    let site = Site::start("Hooked", 1);
    let notes = Arc::new(Notes::default());
    let hook = || Arc::new(Watching(Arc::clone(&notes)));
    let producer = site.producer_options().hook(hook());
    let producer = producer.start_transactional(|_| TransactionState::Commit).unwrap();
    let message = |tag: &str| Message::new("Hooked", "x").with_tag(tag);
    producer.send(&message("good")).unwrap();
    producer.send(&message("secret")).unwrap();
    producer.send_oneway(&message("bad").with_delay_level(1)).unwrap();
    for refused in [
        producer.send(&message("forbidden")).err(),
        producer.send_oneway(&message("forbidden")).err(),
    ] {
        let error = refused.expect("a refusal").to_string();
        assert!(error.contains("this tag is forbidden"), "{error}");
    }
    producer.send_in_transaction(&message("panic"), |_| TransactionState::Commit).unwrap();
    let (to, outcome) = std::sync::mpsc::channel();
    for tag in ["good", "forbidden"] {
        let to = to.clone();
        producer.send_async(&message(tag), move |result| _ = to.send(result.is_ok())).unwrap();
    }
    let outcomes: BTreeSet<_> = (0..2).map(|_| outcome.recv_timeout(SOON).unwrap()).collect();
    assert_eq!(outcomes, [false, true].into());
    let sync = |kind| (SendMode::Sync, kind, Some(true));
    let mut sends = notes.sends.lock().unwrap().clone();
    sends.sort_by_key(|(mode, kind, _)| (*mode as u8, *kind as u8));
    assert_eq!(
        sends,
        [
            sync(MessageKind::Normal),
            sync(MessageKind::Normal),
            sync(MessageKind::Half),
            (SendMode::Async, MessageKind::Normal, Some(true)),
            (SendMode::Oneway, MessageKind::Delay, None),
        ]
    );
    assert_eq!(*notes.ends.lock().unwrap(), [(TransactionState::Commit, false)]);

    let consumer = site.consumer_options("hooked").hook(hook()).subscribe("Hooked", "*");
    let consumer = consumer.start_concurrent(|messages, _| match messages[0].tag() {
        Some("good") => ConsumeResult::Success,
        Some("panic") => panic!("a test"),
        _ => ConsumeResult::Later,
    });
    until("four outcomes", SOON, || (notes.consumed.lock().unwrap().len() >= 4).then_some(()));
    consumer.unwrap().shutdown();
    assert_eq!(notes.filtered.load(Ordering::SeqCst), 1);
    let mut outcomes = notes.consumed.lock().unwrap()[..4].to_vec();
    outcomes.sort_by_key(|outcome| *outcome as u8);
    let expected = [ConsumeOutcome::Success, ConsumeOutcome::Success];
    assert_eq!(outcomes[..2], expected);
    assert!(outcomes[2..].contains(&ConsumeOutcome::Exception), "{outcomes:?}");
}

/// UNREGISTER_CLIENT.
const LEAVE: i32 = 35;

/// Counts requests and answers by code.
#[derive(Default)]
struct Counting(Mutex<Vec<(i32, Option<i32>)>>);

impl Interceptor for Counting {
    fn before_request(&self, _addr: &str, request: &mut Command) {
        request.fields.set("AccessKey", "me");
        self.0.lock().unwrap().push((request.code, None));
    }

    fn after_response(&self, addr: &str, request_code: i32, response: &Command) {
        assert!(addr.starts_with("127.0.0.1:"));
        self.0.lock().unwrap().push((request_code, Some(response.code)));
    }
}

#[test]
fn an_interceptor_sees_every_request_and_its_answer() {
    let site = Site::start("Seen", 1);
    // Stopping waits a second for who takes the leave; a busy machine may need longer.
    let (named, seen) = until("a leave that is answered in time", SOON, || {
        let counting = Arc::new(Counting::default());
        let producer = site.producer_options().interceptor(Arc::clone(&counting)).start().unwrap();
        let message = Message::new("Seen", "x");
        producer.send(&message).unwrap();
        let (to, outcome) = std::sync::mpsc::channel();
        producer.send_async(&message, move |result| _ = to.send(result.is_ok())).unwrap();
        assert!(outcome.recv_timeout(SOON).unwrap());
        until("a heartbeat", SOON, || {
            counting.0.lock().unwrap().contains(&(34, Some(0))).then_some(())
        });
        producer.shutdown();
        let seen = counting.0.lock().unwrap().clone();
        seen.contains(&(LEAVE, Some(0))).then(|| (producer.client_id().to_owned(), seen))
    });
    for code in [105, 310, 34, LEAVE] {
        let sent = seen.iter().filter(|(c, answer)| *c == code && answer.is_none()).count();
        let answered = seen.iter().filter(|seen| **seen == (code, Some(0))).count();
        // Stopping does not wait for a heartbeat that is on its way.
        let under_way = usize::from(code == 34);
        let all = answered..=answered + under_way;
        assert!(answered > 0 && all.contains(&sent), "{code} of {named}: {seen:?}");
    }
    // A client id with another interceptor would sign with the first one's key.
    let shared = |interceptor: Arc<Counting>| {
        let mut options = site.producer_options().interceptor(interceptor);
        options.client.instance_name = "shared".to_owned();
        options
    };
    let first = shared(Arc::default()).start().unwrap();
    let mut second = shared(Arc::default());
    second.group = "others".to_owned();
    assert!(matches!(second.start(), Err(ClientError::Invalid(_))));
    first.shutdown();
}
