//! `mqadmin` as scripts use it: exit codes, rows, JSON lines, pipes.

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rocketmq::client::admin::{AdminClient, PullFrom, PullStatus};
use rocketmq::client::{ConsumeResult, ConsumerOptions};
use rocketmq::remoting::protocol::bodies::MessageQueue;
use rocketmq::remoting::protocol::heartbeat::ConsumeFromWhere;
use support::servers::command;
use support::tool::{System, rows};
use support::{TempDir, until};

#[test]
fn topics_and_groups_come_and_go() {
    let system = System::start("tools-topics");
    let addr = system.broker.addr();
    let created = system.must("updateTopic -b BROKER -t T -r 2 -w 2");
    assert!(created.starts_with(&format!("create topic to {addr} success.\nTopicConfig [")));
    assert!(system.must("topicList").lines().any(|topic| topic == "T"));
    let list = system.must("topicRoute -l -t T");
    let addrs = format!("{{0={addr}}}");
    assert_eq!(rows(&list)[0], ["DefaultCluster", "broker-a", &addrs, "2", "2", "6"]);
    assert_eq!(rows(&system.must("topicStatus -t T")).len(), 2);
    assert!(system.must("topicRoute --json -t T").contains(r#""brokerAddrs":{"0":""#));

    system.must("updateTopicPerm -b BROKER -t T -p 4");
    assert_eq!(rows(&system.must("topicRoute -l -t T"))[0][5], "4");
    system.must("wipeWritePerm -b broker-a");
    assert_eq!(rows(&system.must("topicRoute -l -t TBW102"))[0][5], "5");
    system.must("addWritePerm -b broker-a");
    assert_eq!(rows(&system.must("topicRoute -l -t TBW102"))[0][5], "6");

    system.must("updateSubGroup -c DefaultCluster -g G -r 3");
    let config = system.must("getConsumerConfig -g G");
    assert!(config.lines().any(|line| line.replace(' ', "") == "retryMaxTimes=3"), "{config}");
    system.must("deleteSubGroup -c DefaultCluster -g G");
    assert_eq!(system.must("getConsumerConfig -g G"), "");
    system.must("deleteTopic -c DefaultCluster -t T");
    let (code, problem) = system.fails("topicRoute -t T");
    assert_eq!(code, 1, "{problem}");

    assert!(system.must("clusterList").contains("broker-a"));
    let status = system.must("brokerStatus -b BROKER");
    assert!(status.contains("brokerVersionDesc               : V4_9_8"), "{status}");
}

#[test]
fn lines_go_in_and_come_out() {
    let system = System::start("tools-lines");
    system.must("updateTopic -b BROKER -t T -r 4 -w 4");
    let lines: String = (0..200).map(|line| format!("line {line}\n")).collect();
    system.send_lines("T", &lines);
    let read = system.must("consumeMessage -t T -r -c 1000");
    let mut read: Vec<_> = read.lines().collect();
    read.sort_by_key(|line| line[5..].parse::<u32>().unwrap());
    assert_eq!(read, lines.lines().collect::<Vec<_>>());

    // A group reads everything once, in as many runs as it likes.
    let first = system.must("consumeMessage -t T -r -k -g G -c 150");
    assert_eq!(first.lines().count(), 150);
    assert_eq!(system.must("consumeMessage -t T -r -k -g G -c 150").lines().count(), 50);
    assert_eq!(system.must("consumeMessage -t T -r -k -g G -c 150"), "");
    system.must("resetOffsetByTime -t T -g G -s 0");
    assert_eq!(system.must("consumeMessage -t T -r -k -g G -c 500").lines().count(), 200);

    let json = system.must("consumeMessage -t T --json -b broker-a -i 3 -o 1 -c 2");
    assert_eq!(json.lines().count(), 2);
    let first = json.lines().next().unwrap();
    assert!(first.contains(r#""queueId":3,"queueOffset":1,"#), "{first}");
    assert!(first.contains(r#""body":"line "#), "{first}");
}

#[test]
fn messages_are_found_again() {
    let system = System::start("tools-find");
    system.must("updateTopic -b BROKER -t T -r 1 -w 1");
    let sent = system.must("sendMessage --json -t T -p body -k one -c TagA -a color=red");
    let id = sent.split(r#""msgId":""#).nth(1).unwrap().split('"').next().unwrap();
    until("the index", Duration::from_secs(60), || {
        let output = system.run("queryMsgByKey -t T -k one");
        output.status.success().then(|| {
            let table = String::from_utf8(output.stdout).unwrap();
            assert_eq!(rows(&table), [[id, "0", "0"]]);
        })
    });
    let by_key = system.must(&format!("queryMsgByUniqueKey --json -t T -i {id}"));
    assert!(by_key.contains(r#""color":"red""#), "{by_key}");
    let offset_id = by_key.split(r#""offsetMsgId":""#).nth(1).unwrap();
    let offset_id = offset_id.split('"').next().unwrap();
    assert_eq!(system.must(&format!("queryMsgById --json -i {offset_id}")), by_key);
    assert_eq!(system.must("queryMsgByOffset --json -t T -b broker-a -i 0 -o 0"), by_key);
    let (code, problem) = system.fails("queryMsgByKey -t T -k two");
    assert_eq!((code, problem.as_str()), (1, "query message by key finished, but no message.\n"));
}

#[test]
fn a_message_leaves_a_trace_if_it_is_to() {
    let system = System::with("tools-trace", &[("traceTopicEnable", "true")]);
    system.must("updateTopic -b BROKER -t T -r 1 -w 1");
    let send = |traced: &str| {
        let sent = system.must(&format!("sendMessage --json -t T -p body -k one -m {traced}"));
        sent.split(r#""msgId":""#).nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let (untraced, traced) = (send("false"), send("true"));
    let printed = system.eventually(&format!("queryMsgTraceById -i {traced}"), "success");
    assert!(printed.contains("Pub"), "{printed}");
    let (code, _) = system.fails(&format!("queryMsgTraceById -i {untraced}"));
    assert_eq!(code, 1);
    // One that its first message makes.
    assert!(system.must("sendMessage -t New -p body -m true").contains("SEND_OK"));
}

#[test]
fn settings_are_read_and_changed() {
    let system = System::start("tools-settings");
    system.must("updateKvConfig -s n -k k -v v");
    system.must("deleteKvConfig -s n -k k");
    system.must("updateOrderConf -t T -m put -v broker-a:4");
    let order = system.must("updateOrderConf -t T -m get");
    assert_eq!(order, "get orderConf success. topic=[T], orderConf=[broker-a:4] \n");
    system.must("updateNamesrvConfig -k orderMessageEnable -v true");
    let has = |text: &str, line: &str| text.lines().any(|l| l.replace(' ', "") == line);
    assert!(has(&system.must("getNamesrvConfig"), "orderMessageEnable=true"));
    system.must("updateBrokerConfig -b BROKER -k flushDelayOffsetInterval -v 12345");
    assert!(has(
        &system.must("getBrokerConfig -c DefaultCluster"),
        "flushDelayOffsetInterval=12345"
    ));
    let (code, problem) = system.fails("updateNamesrvConfig -k kvConfigPath -v /x");
    assert_eq!(code, 1);
    assert!(problem.starts_with("CODE: 16  DESC: "), "{problem}");
}

#[test]
fn members_of_groups_are_shown() {
    let system = System::start("tools-members");
    system.must("updateTopic -b BROKER -t T -r 2 -w 2");
    system.send_lines("T", "one\ntwo\nthree\n");
    let consumed = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&consumed);
    let options = ConsumerOptions::new("G").name_servers(system.namesrv.addr().as_str());
    let options = options.consume_from(ConsumeFromWhere::FirstOffset);
    let consumer = options
        .subscribe("T", "*")
        .start_concurrent(move |messages, _| {
            counter.fetch_add(messages.len(), Ordering::Relaxed);
            ConsumeResult::Success
        })
        .unwrap();
    until("consumption", Duration::from_secs(60), || {
        (consumed.load(Ordering::Relaxed) == 3).then_some(())
    });

    let connection = system.eventually("consumerConnection -g G", "CONSUME_PASSIVELY");
    assert!(connection.contains(" RUST "), "{connection}");
    system.eventually("consumerProgress -g G", "Diff Total: 0\n");
    let progress = system.must("consumerProgress -g G -s true");
    assert_eq!(progress.lines().filter(|line| line.starts_with("T ")).count(), 2);
    assert!(!progress.contains("N/A  "), "every queue has its client: {progress}");
    let overview = system.must("consumerProgress");
    let group = rows(&overview).into_iter().find(|row| row[0] == "G").unwrap();
    assert_eq!(group[1..5], ["1", "V4_9_8", "PUSH", "CLUSTERING"]);

    let round = system.must("startMonitoring -r 1");
    let undone = "[MONITOR] reportUndoneMsgs: UndoneMsgs [consumerGroup=G, topic=T, \
                  undoneMsgsTotal=0, undoneMsgsSingleMQ=0, undoneMsgsDelayTimeMills=0]";
    assert!(round.contains(undone) && !round.contains("NOTIFY"), "{round}");

    let table = system.must("consumerStatus -g G");
    assert!(table.contains("Same subscription in the same group of consumer"), "{table}");
    let file = system.dir.join(rows(&table)[0][3]);
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("#Consumer Properties#"), "{text}");
    assert!(text.contains("Topic: T "), "{text}");

    let reset = system.must("resetOffsetByTime -g G -t T -s 0");
    assert_eq!(rows(&reset[reset.find('\n').unwrap() + 1..]).len(), 2, "{reset}");
    consumer.shutdown();

    let id = system.must("consumeMessage --json -t T -c 1");
    let id = id.split(r#""offsetMsgId":""#).nth(1).unwrap().split('"').next().unwrap();
    // Stopping waits a second for the broker to hear of it; a busy one may take longer.
    let offline = "MessageTrack [consumerGroup=G, trackType=NOT_ONLINE";
    system.eventually(&format!("queryMsgById -i {id}"), offline);
}

#[test]
fn figures_and_exports() {
    let system = System::start("tools-figures");
    system.must("updateTopic -b BROKER -t T -r 3 -w 3");
    system.must("updateSubGroup -b BROKER -g G -q 2");
    system.send_lines("T", "one\ntwo\nthree\nfour\n");
    let stats = system.must("statsAll -t T");
    assert_eq!(rows(&stats)[0][0], "T");
    assert_eq!(rows(&stats)[0].last(), Some(&"NO_CONSUMER"));
    let rounds = system.must("clusterRT -a 3 -r 1");
    assert_eq!(rows(&rounds)[0][..2], ["DefaultCluster", "broker-a"]);
    assert_eq!(rows(&rounds)[0][3..], ["3", "0"]);
    let shares = system.must("allocateMQ -t T -i a,b");
    assert_eq!(shares.matches("queueId").count(), 3, "{shares}");

    let entries = system.eventually("queryCq -t T -q 0 -i 0", "ConsumeQueueData");
    assert!(entries.contains("min: 0\n======"), "{entries}");

    let folder = system.dir.join("export");
    let folder = folder.to_str().unwrap();
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
    system.must(&format!("exportMetadata -c DefaultCluster -f {folder}"));
    let metadata = read("metadata.json");
    assert!(metadata.contains("\"topicName\":\"T\""), "{metadata}");
    assert!(metadata.contains("\"groupName\":\"G\""), "{metadata}");
    assert!(!metadata.contains("TBW102") && !metadata.contains("TOOLS_CONSUMER"), "{metadata}");
    system.must(&format!("exportConfigs -c DefaultCluster -f {folder}"));
    assert!(read("configs.json").contains("\"brokerName\":\"broker-a\""));
    system.must(&format!("exportMetrics -c DefaultCluster -f {folder}"));
    let metrics = read("metrics.json");
    assert!(metrics.contains("\"topicSize\":1,"), "{metrics}");
    assert!(metrics.contains("\"groupSize\":1,"), "{metrics}");
}

#[test]
fn exit_codes_and_pipes() {
    let system = System::start("tools-exit");
    for (line, code, text) in [
        ("nonsense", 2, "The sub command nonsense not exist."),
        ("topicRoute", 2, "missing required option: -t"),
        ("topicRoute -t T --nonsense", 2, "usage: mqadmin topicRoute"),
        ("updateTopic -t T -b a -c b", 2, "give exactly one of -b, -c"),
        ("updateTopic -t T -b BROKER -r many", 2, "expected a number"),
        ("updateTopic -t T -c Nobody", 1, "the name server knows: DefaultCluster"),
        ("topicList -n 127.0.0.1:1", 1, "127.0.0.1:1"),
        ("brokerStatus -b 127.0.0.1:1", 1, "127.0.0.1:1"),
    ] {
        let (found, problem) = system.fails(line);
        assert_eq!(found, code, "{line}: {problem}");
        assert!(problem.contains(text), "{line}: {problem}");
    }
    assert!(system.must("help TOPICROUTE").starts_with("usage: mqadmin topicRoute "));
    assert!(system.must("").starts_with("The most commonly used mqadmin commands are:\n"));

    system.must("updateTopic -b BROKER -t T -r 1 -w 1");
    system.send_lines("T", &format!("{}\n", "x".repeat(1000)).repeat(500));
    let mut tool = system.tool("consumeMessage -t T -r -c 500");
    let mut child = tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "a closed pipe is no failure: {output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_monitor_goes_on_until_it_is_stopped() {
    let system = System::start("tools-monitor");
    system.must("updateTopic -b BROKER -t T -r 1 -w 1");
    system.send_lines("T", "one\n");
    let mut tool = system.tool("startMonitoring --json -i 1");
    let mut monitor = tool.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(monitor.stdout.take().unwrap()).lines();
    let (tell, told) = std::sync::mpsc::channel();
    // Reads to the end: a monitor that nobody reads ends by itself.
    let reader = std::thread::spawn(move || {
        let moved = |line: &String| line.contains(r#""event":"deleteMsgs","consumerGroup":"Lost""#);
        lines.map_while(Result::ok).filter(moved).for_each(|line| tell.send(line).unwrap_or(()));
    });
    // A monitor hears of what happens while it listens.
    let addr = system.broker.addr();
    let admin = AdminClient::new(system.namesrv.addr());
    let queue =
        MessageQueue { topic: "T".to_owned(), broker_name: "broker-a".to_owned(), queue_id: 0 };
    let line = until("the monitor's line", Duration::from_secs(60), || {
        let beyond = PullFrom {
            group: "Lost",
            queue: &queue,
            offset: 77,
            max_messages: 1,
            expression: "*",
            hold: Duration::ZERO,
        };
        assert_eq!(admin.pull(&addr, &beyond).unwrap().status, PullStatus::OffsetIllegal);
        told.try_recv().ok()
    });
    let expected =
        r#""topic":"T","brokerName":"broker-a","queueId":0,"offsetRequest":77,"offsetNew":1"#;
    assert!(line.contains(expected), "{line}");
    let mut stop = std::process::Command::new("kill");
    assert!(stop.arg(monitor.id().to_string()).status().unwrap().success());
    assert_eq!(monitor.wait().unwrap().code(), Some(143));
    reader.join().unwrap();
}

#[test]
fn without_a_name_server_the_tool_says_what_to_do() {
    let home = TempDir::new("tools-alone");
    let mut tool = command("mqadmin", home.path());
    let output = tool.arg("topicList").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("NAMESRV_ADDR"), "{output:?}");
}
