//! The replication port is a port: everybody can connect to it.

use rocketmq::store::PutStatus;

use super::*;

/// A thousand connections of all kinds, and one slave that does not notice.
#[test]
fn strangers_do_not_disturb_the_slave() {
    // Both ends of a thousand connections are in this process.
    let limit = rocketmq::common::os::raise_open_files_limit();
    if limit < 3000 {
        let why = format!("only {limit} files may be open (ulimit -Hn)");
        return skipped("a thousand strangers", &why);
    }
    // Nothing is refused when the machine stands still for a while.
    let keys = [
        ("brokerRole", "SYNC_MASTER"),
        ("haHousekeepingInterval", "10000"),
        ("slaveTimeout", "20000"),
    ];
    let master = Node::master(&keys);
    master.put(100);
    let slave = Node::slave_of(master.address());
    slave.wait_for(&master);
    let mut strangers = Vec::new();
    for number in 0..1000 {
        let Ok(mut stream) = TcpStream::connect(master.address()) else { continue };
        let _ = match number % 5 {
            0 => Ok(()),
            1 => stream.write_all(b"GET / HTTP/1.1\r\n\r\n"),
            2 => stream.write_all(&(-1i64).to_be_bytes()),
            3 => stream.write_all(&i64::MAX.to_be_bytes()),
            _ => stream.write_all(&[0, 0, 0]),
        };
        strangers.push(stream);
        if number % 20 == 0 {
            assert_eq!(master.put(100).status, PutStatus::PutOk);
        }
    }
    assert_eq!(master.status().slaves.len(), 1, "strangers are no slaves");
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let readers = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("ReadSocket"))
        .count();
    assert!(readers < 400, "{readers} threads (of all tests at the moment)");
    slave.wait_for(&master);
    assert_same(&master, &slave);
    // A newcomer gets in although silent ones fill the port.
    let late = Node::slave_of(master.address());
    late.wait_for(&master);
    drop(strangers);
}

/// Reads nothing, and is left behind without anybody waiting for it.
#[test]
fn a_slave_that_does_not_read_delays_nobody() {
    let keys = [
        ("brokerRole", "SYNC_MASTER"),
        ("haHousekeepingInterval", "6000"),
        ("slaveTimeout", "20000"),
    ];
    let master = Node::master(&keys);
    master.put(100);
    let mut deaf = RawSlave::connect(&master);
    deaf.report(1);
    let slave = Node::slave_of(master.address());
    slave.wait_for(&master);
    let began = Instant::now();
    while master.end() < 12_000_000 {
        assert_eq!(master.put(60_000).status, PutStatus::PutOk);
    }
    assert!(began.elapsed() < LONG);
    assert_same(&master, &slave);
    wait_until("the silent one is dropped", || master.status().slaves.len() == 1);
}
