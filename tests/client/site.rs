//! A name server and a broker for one test, and what tests do with them again and again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rocketmq::client::{
    ClientError, ClientOptions, ConcurrentContext, ConsumeFromWhere, ConsumeResult,
    ConsumerOptions, Producer, ProducerOptions, ReceivedMessage,
};
use rocketmq::remoting::RemotingError;

use crate::support::java_peer::Servers;
use crate::support::servers::{Server, wait_for_route};
use crate::support::wire::{borrowed, code, send_fields};
use crate::support::{TempDir, free_port, until};

/// Longest wait for something that should happen soon. Generous: the machine may be busy.
pub const SOON: Duration = Duration::from_secs(60);

/// Longest wait of a client for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The servers of one test.
pub struct Site {
    pub dir: TempDir,
    pub namesrv: Server,
    pub broker: Server,
}

impl Site {
    /// Starts them, with a topic of so many queues.
    pub fn start(topic: &str, queues: i32) -> Self {
        Self::with(topic, queues, &[])
    }

    /// The same with more broker settings.
    pub fn with(topic: &str, queues: i32, more: &[(&str, &str)]) -> Self {
        let dir = TempDir::new("client");
        let make = Servers::from_env();
        let namesrv = make.namesrv(dir.path());
        let broker = make.broker_at(dir.path(), free_port(), Some(&namesrv.addr()), more);
        wait_for_file(&broker);
        let site = Self { dir, namesrv, broker };
        site.create_topic(topic, queues);
        site
    }

    /// Starts the broker again in the same folder, on the same port.
    pub fn restart_broker(&mut self) {
        let (names, port) = (self.names(), self.broker.port);
        let more = [("brokerName", "broker-a")];
        self.broker = Servers::from_env().broker_at(self.dir.path(), port, Some(&names), &more);
    }

    /// One more topic.
    pub fn create_topic(&self, topic: &str, queues: i32) {
        self.broker.wire().create_topic(topic, queues);
        wait_for_route(&self.namesrv.addr(), topic);
    }

    /// Address of the name server.
    pub fn names(&self) -> String {
        self.namesrv.addr()
    }

    /// A producer.
    pub fn producer(&self) -> Producer {
        self.producer_options().start().unwrap()
    }

    /// Options of a client that does not give up after three seconds: the machine may be busy.
    pub fn client_options(&self) -> ClientOptions {
        let mut options = ClientOptions::default().name_servers(self.names());
        (options.api_timeout, options.connect_timeout) = (PATIENCE, PATIENCE);
        options
    }

    /// Options of a producer.
    pub fn producer_options(&self) -> ProducerOptions {
        let options = ProducerOptions::new("test-producers").client(self.client_options());
        options.send_timeout(PATIENCE)
    }

    /// Options of a consumer that begins with the first message.
    pub fn consumer_options(&self, group: &str) -> ConsumerOptions {
        ConsumerOptions::new(group)
            .client(self.client_options())
            .consume_from(ConsumeFromWhere::FirstOffset)
            .offset_directory(self.dir.join("offsets"))
    }
}

/// Waits until a new broker has a file to write to: it refuses a message after five seconds, and a busy
/// disk may take longer.
pub fn wait_for_file(broker: &Server) {
    let mut wire = broker.wire();
    wire.create_topic("First", 1);
    let fields = send_fields("First", 0, "first");
    until("a file to write to", SOON, || {
        (wire.call(code::SEND, &borrowed(&fields), b"first").code() == 0).then_some(())
    });
}

/// A commit: a client waits two seconds for it, in which a busy machine may not get to it.
pub fn patiently(commit: impl Fn() -> Result<(), ClientError>) {
    until("a commit", SOON, || match commit() {
        Err(ClientError::Remoting(RemotingError::Timeout { .. })) => None,
        outcome => Some(outcome),
    })
    .unwrap();
}

/// What listeners received: how often each message id came, and with what body.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<String, Vec<Vec<u8>>>>>);

impl Ledger {
    /// Notes messages.
    pub fn note(&self, messages: &[ReceivedMessage]) {
        let mut table = self.0.lock().unwrap();
        for message in messages {
            table.entry(message.message_id()).or_default().push(message.body().to_vec());
        }
    }

    /// A listener that notes everything and is always content.
    pub fn listener(
        &self,
    ) -> impl Fn(&[ReceivedMessage], &mut ConcurrentContext<'_>) -> ConsumeResult + Send + Sync + 'static
    {
        let notes = self.clone();
        move |messages, _| {
            notes.note(messages);
            ConsumeResult::Success
        }
    }

    /// Messages that came, each counted once.
    pub fn distinct(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// All deliveries.
    pub fn deliveries(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }

    /// Waits until so many different messages came.
    pub fn wait_for(&self, count: usize) {
        until(&format!("{count} messages"), SOON, || {
            assert!(self.distinct() <= count, "{} messages, not {count}", self.distinct());
            (self.distinct() == count).then_some(())
        });
    }

    /// Ids and bodies.
    pub fn bodies(&self) -> BTreeMap<String, Vec<Vec<u8>>> {
        self.0.lock().unwrap().clone()
    }
}
