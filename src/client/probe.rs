//! [`Probe`]: asks brokers that failed a producer whether they live again.
//!
//! A broker whose send failed is avoided for minutes, though it may be back after seconds. With
//! [`probe_brokers`](super::ProducerOptions::probe_brokers) it is asked for the end of a queue at intervals;
//! whatever it answers, it lives. The thread is called `BrokerProbe`: a connection that nobody accepts
//! keeps it waiting, and nobody else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::error::ClientError;
use super::sender::Sender;
use crate::common::service_thread::{ServiceThread, Signal};
use crate::common::sync::lock;
use crate::remoting::Command;
use crate::remoting::protocol::headers::QueueRequestHeader;
use crate::remoting::protocol::request_code;

/// How long a stop waits for a question on its way; no question takes so long.
const STOP_LIMIT: Duration = Duration::from_secs(6);

/// The thread, while it runs.
#[derive(Default)]
pub(crate) struct Probe(Mutex<Option<ServiceThread>>);

impl Probe {
    /// Starts it, if the options want it.
    pub fn start(sender: &Arc<Sender>) -> Result<Self, ClientError> {
        let options = &sender.options;
        if !(options.avoid_slow_brokers && options.probe_brokers) {
            return Ok(Self::default());
        }
        let (weak, interval) = (Arc::downgrade(sender), options.probe_interval);
        let body = move |signal: &Signal| {
            while signal.wait(interval) {
                let Some(sender) = weak.upgrade() else { return };
                for broker_name in sender.faults.failed() {
                    if signal.stopped() {
                        return;
                    }
                    ask(&sender, &broker_name);
                }
            }
        };
        let thread = ServiceThread::spawn("BrokerProbe", Arc::default(), body);
        let thread = thread.map_err(|error| ClientError::Io(format!("no thread: {error}")))?;
        Ok(Self(Mutex::new(Some(thread))))
    }

    /// Ends it.
    pub fn stop(&self) {
        if let Some(thread) = lock(&self.0).take() {
            thread.stop(STOP_LIMIT);
        }
    }
}

/// Asks one broker.
fn ask(sender: &Sender, broker_name: &str) {
    let instance = &sender.instance;
    let Some(addr) = instance.known_master(broker_name) else {
        // No route names it any more; should it come back, it is as good as any.
        return sender.faults.forget(broker_name);
    };
    let addr = instance.vip(addr);
    let request = Command::request(request_code::GET_MAX_OFFSET).with_header(&QueueRequestHeader {
        topic: sender.options.create_topic_key.clone(),
        queue_id: 0,
        broker_name: Some(broker_name.to_owned()),
    });
    match instance.call(&addr, request, sender.options.probe_timeout) {
        Ok(_) => {
            log::info!("{broker_name} at {addr} answers again");
            sender.faults.reached(broker_name);
        }
        Err(error) => log::debug!("{broker_name} at {addr} is still away: {error}"),
    }
}
