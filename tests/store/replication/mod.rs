//! Replication between two stores in one process, and with raw sockets in the place of a Java
//! slave or a Java master.

mod divergence;
mod master;
mod port;
mod slave;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rocketmq::common::config::{ConfigStruct, Live};
use rocketmq::store::ha::{FollowState, HaOptions, HaService, HaStatus, MasterRange, Refusal};
use rocketmq::store::{PutOutcome, PutResult, StoreConfig};

use crate::folder::*;

pub const LONG: Duration = Duration::from_secs(60);

/// Waits until `condition` holds, or fails saying `what`.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A store with its replication. Stopped before its folder goes.
pub struct Node {
    pub live: Arc<Live<StoreConfig>>,
    pub test: TestStore,
    pub ha: Arc<HaService>,
    pub folder: Folder,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.test.store.shutdown();
    }
}

pub fn options(port: u16, master: Option<String>) -> HaOptions {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    HaOptions { listen, master, master_range: None }
}

impl Node {
    pub fn open(folder: Folder, keys: &[(&str, &str)], master: Option<String>) -> Self {
        Self::with(folder, keys, options(0, master))
    }

    fn with(folder: Folder, keys: &[(&str, &str)], options: HaOptions) -> Self {
        let live = Arc::new(Live::new(config(folder.path(), keys)));
        let test = TestStore::open_live(&live).unwrap();
        let ha = HaService::start(&test.store, options).unwrap();
        Self { live, test, ha, folder }
    }

    /// A slave whose master's broker tells where its log begins and ends.
    pub fn slave_told(folder: Folder, address: String, range: MasterRange) -> Self {
        let keys = [("brokerRole", "SLAVE"), ("syncFromLastFile", "false")];
        let options = HaOptions { master_range: Some(range), ..options(0, Some(address)) };
        Self::with(folder, &keys, options)
    }

    /// Changes a key while it runs.
    pub fn set(&self, key: &str, value: &str) {
        self.live.update(|config| assert!(config.set(key, value).unwrap(), "{key}"));
    }

    /// An ASYNC_MASTER, or what `keys` say.
    pub fn master(keys: &[(&str, &str)]) -> Self {
        Self::open(Folder::new("ha-master"), keys, None)
    }

    /// A slave that is filled from the first byte, if it is empty.
    pub fn slave_of(address: String) -> Self {
        Self::slave_with(Folder::new("ha-slave"), address, &[])
    }

    pub fn slave_with(folder: Folder, address: String, keys: &[(&str, &str)]) -> Self {
        let mut all = vec![("brokerRole", "SLAVE"), ("syncFromLastFile", "false")];
        all.extend(keys);
        Self::open(folder, &all, Some(address))
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ha.port())
    }

    pub fn end(&self) -> i64 {
        self.test.store.commit_log_max_offset()
    }

    pub fn put(&self, size: usize) -> PutResult {
        self.test.put("Topic", 0, &vec![b'x'; size], "")
    }

    pub fn status(&self) -> HaStatus {
        self.ha.status()
    }

    pub fn state(&self) -> FollowState {
        self.status().following.unwrap().state
    }

    /// Waits until the slave has what the master has, and says so.
    pub fn wait_for(&self, master: &Node) {
        wait_until("the slave catches up", || self.end() == master.end());
        let end = master.end();
        wait_until("it is acknowledged", || {
            master.status().slaves.iter().any(|slave| slave.acked >= Some(end))
        });
    }

    pub fn wait_for_refusal(&self) -> Refusal {
        let mut refusal = None;
        wait_until("the slave refuses", || {
            if let FollowState::Refused(found) = self.state() {
                refusal = Some(found);
            }
            refusal.is_some()
        });
        refusal.unwrap()
    }

    /// Stops it and gives the folder back.
    pub fn stop(self) -> Folder {
        self.test.store.shutdown();
        let copy = self.folder.copy("stopped");
        drop(self);
        copy
    }
}

/// The bytes of a log from `from` to its end.
pub fn log_bytes(node: &Node, from: i64) -> Vec<u8> {
    let log = node.test.store.commit_log();
    let (mut at, mut bytes) = (from, Vec::new());
    while let Some(slice) = log.slice_from(at) {
        bytes.extend_from_slice(&slice);
        at += slice.len() as i64;
    }
    bytes
}

/// Both logs are the same, byte for byte, from where the slave's begins; both queues serve the same.
pub fn assert_same(master: &Node, slave: &Node) {
    let from = slave.test.store.commit_log_min_offset();
    assert!(log_bytes(master, from) == log_bytes(slave, from), "the logs differ");
    let queue = |node: &Node| node.test.store.max_offset("Topic", 0);
    wait_until("dispatched", || queue(master) == queue(slave));
    if from == master.test.store.commit_log_min_offset() {
        assert!(master.test.bodies("Topic", 0) == slave.test.bodies("Topic", 0));
    }
}

/// What cleaning does when files have expired: what is in them has been dispatched long ago.
pub fn delete_first_files(node: &Node, count: usize) {
    wait_until("dispatched", || node.test.store.dispatch_behind_bytes() == 0);
    let files = node.test.store.commit_log().files();
    for _ in 0..count {
        assert!(files.delete_first(&files.first().unwrap()).unwrap());
    }
}

/// What a Java slave does, by hand.
pub struct RawSlave(pub TcpStream);

impl RawSlave {
    pub fn connect(node: &Node) -> Self {
        let stream = TcpStream::connect(node.address()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Self(stream)
    }

    pub fn report(&mut self, offset: i64) {
        self.0.write_all(&offset.to_be_bytes()).unwrap();
    }

    /// The next frame: offset and body.
    pub fn frame(&mut self) -> (i64, Vec<u8>) {
        let mut header = [0; 12];
        self.0.read_exact(&mut header).unwrap();
        let size = i32::from_be_bytes(header[8..].try_into().unwrap());
        let mut body = vec![0; size as usize];
        self.0.read_exact(&mut body).unwrap();
        (i64::from_be_bytes(header[..8].try_into().unwrap()), body)
    }

    /// The next frame with a body.
    pub fn data(&mut self) -> (i64, Vec<u8>) {
        loop {
            let (offset, body) = self.frame();
            if !body.is_empty() {
                return (offset, body);
            }
        }
    }

    /// Whether the master closes the connection, without sending anything but heartbeats.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => rest.len() <= 12,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// What a Java master does, by hand.
pub struct RawMaster(pub TcpListener);

impl RawMaster {
    pub fn listen() -> Self {
        Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
    }

    pub fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    pub fn accept(&self) -> TcpStream {
        let stream = self.0.accept().unwrap().0;
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }
}

pub fn read_report(stream: &mut TcpStream) -> i64 {
    let mut report = [0; 8];
    stream.read_exact(&mut report).unwrap();
    i64::from_be_bytes(report)
}

pub fn send_frame(stream: &mut TcpStream, offset: i64, body: &[u8]) {
    stream.write_all(&offset.to_be_bytes()).unwrap();
    stream.write_all(&(body.len() as i32).to_be_bytes()).unwrap();
    stream.write_all(body).unwrap();
}

/// A put that is not waited for.
pub fn put_later(node: &Node, size: usize) -> PutOutcome {
    let body = vec![b'y'; size];
    let record = record("Topic", 0, &body, "");
    node.test.store.put(&rocketmq::store::NewMessage { record, wait_store: true })
}
