//! Logs that do not belong together: told apart at the connect, and never glued together.

use rocketmq::store::ha::RefusalKind;

use super::*;

/// A master and a stopped slave that has all of its log.
fn pair(messages: usize) -> (Node, Folder) {
    let master = Node::master(&[]);
    for number in 0..messages {
        master.put(500 + number % 7);
    }
    let slave = Node::slave_of(master.address());
    slave.wait_for(&master);
    let folder = slave.stop();
    (master, folder)
}

/// A node on a folder, alone, with further messages of its own.
fn goes_on_alone(folder: Folder, messages: usize) -> Folder {
    let alone = Node::open(folder, &[], None);
    for _ in 0..messages {
        alone.test.put("Topic", 0, &[b'o'; 400], "");
    }
    alone.stop()
}

#[test]
fn a_slave_ahead_of_its_master_stops() {
    for ahead in [1, 300] {
        let (master, folder) = pair(50);
        let end = master.end();
        let folder = goes_on_alone(folder, ahead);
        let slave = Node::slave_with(folder, master.address(), &[]);
        let own_end = slave.end();
        let refusal = slave.wait_for_refusal();
        assert_eq!(refusal.kind, RefusalKind::Ahead);
        assert_eq!((refusal.own_end, refusal.master_offset), (own_end, end));
        let command = format!("mqstore truncate {} -p {end} -y", slave.folder.path().display());
        assert!(refusal.text.contains(&command), "{}", refusal.text);
        assert_eq!(slave.end(), own_end, "nothing is cut silently");
    }
}

/// The master went on differently: the first record that differs is named, however far back it is.
#[test]
fn different_logs_are_not_glued_together() {
    for different in [1, 40, 3000] {
        let (master, folder) = pair(200);
        let end = master.end();
        let folder = goes_on_alone(folder, different);
        for _ in 0..different + 100 {
            master.put(450);
        }
        let slave = Node::slave_with(folder, master.address(), &[]);
        let own_end = slave.end();
        let refusal = slave.wait_for_refusal();
        // A log that closed a file differs from its blank record on.
        let first = RefusalKind::Different { first_differing: end };
        assert_eq!(refusal.kind, first, "{different}: {}", refusal.text);
        assert!(refusal.text.contains(&format!("-p {end} -y")), "{}", refusal.text);
        assert_eq!(slave.end(), own_end);
        assert!(slave.status().following.unwrap().master_end > end);
    }
}

#[test]
fn a_slave_that_was_away_for_too_long_is_told() {
    let master = Node::master(&[]);
    master.put(500);
    let slave = Node::slave_of(master.address());
    slave.wait_for(&master);
    let folder = slave.stop();
    while master.end() < 200_000 {
        master.put(3000);
    }
    delete_first_files(&master, 2);
    let slave = Node::slave_with(folder, master.address(), &[]);
    let refusal = slave.wait_for_refusal();
    assert_eq!(refusal.kind, RefusalKind::Gap);
    assert!(refusal.master_offset > refusal.own_end);
    assert!(refusal.text.contains("-p 0 -y"), "{}", refusal.text);
}

#[test]
fn files_of_another_size_are_told() {
    for size in ["131072", "32768"] {
        let master = Node::master(&[]);
        for _ in 0..100 {
            master.put(1000);
        }
        let keys = [("mappedFileSizeCommitLog", size)];
        let slave = Node::slave_with(Folder::new("ha-size"), master.address(), &keys);
        let refusal = slave.wait_for_refusal();
        assert_eq!(refusal.kind, RefusalKind::FileSize, "{}", refusal.text);
        assert!(refusal.text.contains("mappedFileSizeCommitLog"));
    }
}

/// A Java master tells nothing: what it sends, or does not send, is compared all the same.
#[test]
fn a_java_master_that_is_different_is_told_apart() {
    let (master, folder) = pair(50);
    let end = master.end();
    let log = log_bytes(&master, 0);
    // It has lost its end: it sends what it has, then heartbeats.
    let java = RawMaster::listen();
    let slave = Node::slave_with(folder.copy("java"), java.address(), &[]);
    let mut stream = java.accept();
    let request = read_report(&mut stream);
    assert!(request < end);
    let cut = end - 600;
    send_frame(&mut stream, request, &log[request as usize..cut as usize]);
    send_frame(&mut stream, cut, &[]);
    let refusal = slave.wait_for_refusal();
    assert_eq!((refusal.kind, refusal.master_offset), (RefusalKind::Ahead, cut));
    drop(slave);
    // It has other messages.
    let java = RawMaster::listen();
    let slave = Node::slave_with(folder, java.address(), &[]);
    let mut stream = java.accept();
    let request = read_report(&mut stream);
    let mut other = log[request as usize..].to_vec();
    let at = other.len() - 100;
    other[at] ^= 1;
    send_frame(&mut stream, request, &other);
    let refusal = slave.wait_for_refusal();
    let RefusalKind::Different { first_differing } = refusal.kind else { panic!("{refusal:?}") };
    assert!(first_differing < end - 100 && first_differing > end - 800);
    assert_eq!(slave.end(), end);
}

/// What Java's master does with a slave that asks for what it has not got: heartbeats, as if it had sent
/// all before. Where its log ends, its broker tells.
#[test]
fn a_java_master_that_ends_far_before_the_slave_is_asked_for_its_end() {
    const MORE: usize = 400;
    // The master went on by itself after the common part, or not.
    for differs in [false, true] {
        let (master, folder) = pair(50);
        let common = master.end();
        (0..usize::from(differs) * 3).for_each(|_| drop(master.put(600)));
        let (log, end) = (log_bytes(&master, 0), master.end());
        let folder = goes_on_alone(folder, MORE);
        let java = RawMaster::listen();
        let told = move || Some((0, end));
        let slave = Node::slave_told(folder, java.address(), Box::new(told));
        assert!(slave.end() > end + 100_000, "so far ahead that no last record is common");
        let sender = std::thread::spawn(move || {
            while let Ok((mut stream, _)) = java.0.accept() {
                let mut report = [0; 8];
                if stream.read_exact(&mut report).is_err() {
                    return;
                }
                let request = i64::from_be_bytes(report);
                if request < end {
                    send_frame(&mut stream, request, &log[request as usize..]);
                }
                send_frame(&mut stream, request.max(end), &[]);
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        let refusal = slave.wait_for_refusal();
        let (kind, offset) = match differs {
            true => (RefusalKind::Different { first_differing: common }, common),
            false => (RefusalKind::Ahead, end),
        };
        assert_eq!((refusal.kind, refusal.master_offset), (kind, offset), "{}", refusal.text);
        assert!(refusal.text.contains(&format!("-p {offset} -y")), "{}", refusal.text);
        let following = slave.status().following.unwrap();
        assert_eq!(following.master_end, end, "what it never had it has not shown");
        drop(slave);
        drop(TcpStream::connect(following.master));
        sender.join().unwrap();
    }
}

/// It has all that the slave has, and its first word is a heartbeat: so Java's does if the report came late.
#[test]
fn a_java_master_that_begins_with_a_heartbeat_is_no_shorter_one() {
    let (master, folder) = pair(50);
    let (log, end) = (log_bytes(&master, 0), master.end());
    let java = RawMaster::listen();
    let slave = Node::slave_told(folder, java.address(), Box::new(move || Some((0, end))));
    let mut stream = java.accept();
    let request = read_report(&mut stream);
    send_frame(&mut stream, request, &[]);
    let mut stream = java.accept();
    assert!(!matches!(slave.state(), FollowState::Refused(_)), "{:?}", slave.state());
    let request = read_report(&mut stream);
    send_frame(&mut stream, request, &log[request as usize..]);
    assert_eq!(read_report(&mut stream), end);
    assert_eq!(slave.state(), FollowState::Transferring);
}

/// Whoever puts it right is followed, without anybody being restarted.
#[test]
fn a_refusal_ends_when_the_logs_go_together() {
    let (master, folder) = pair(50);
    let ahead = goes_on_alone(folder, 10);
    let slave = Node::slave_with(ahead.copy("ahead"), master.address(), &[]);
    slave.wait_for_refusal();
    // The master's machine is given the longer log.
    let restored = Node::open(ahead, &[], None);
    slave.ha.set_master(Some(&restored.address()));
    restored.put(100);
    slave.wait_for(&restored);
    assert_eq!(slave.state(), FollowState::Transferring);
}

/// What the refusal advises puts it right.
#[test]
fn the_command_that_the_refusal_names_puts_it_right() {
    let truncate = |folder: &Folder, position, really| {
        let store = rocketmq::store::inspect::StoreFolder::open(folder.path()).unwrap();
        rocketmq::store::truncate::truncate(&store, position, really)
    };
    for different in [3, 700] {
        let (master, folder) = pair(100);
        let end = master.end();
        let folder = goes_on_alone(folder, different);
        master.put(450);
        let slave = Node::slave_with(folder, master.address(), &[]);
        let refusal = slave.wait_for_refusal();
        assert!(refusal.text.contains("mqstore truncate"));
        let folder = slave.stop();
        let told = truncate(&folder, end, false).unwrap();
        assert_eq!((told.new_end, told.messages), (end, different as u64));
        assert_eq!(truncate(&folder, end, true).unwrap(), told);
        assert!(truncate(&folder, end, true).is_err(), "there is nothing left to cut");
        assert!(truncate(&folder, end - 5, true).unwrap_err().0.contains("no record begins"));
        let slave = Node::slave_with(folder, master.address(), &[]);
        slave.wait_for(&master);
        assert_same(&master, &slave);
        // From the first byte on again.
        let folder = slave.stop();
        assert_eq!(truncate(&folder, 0, true).unwrap().messages, 101);
        let slave = Node::slave_with(folder, master.address(), &[]);
        slave.wait_for(&master);
        assert_same(&master, &slave);
    }
}
