//! FlushConsumeQueueService: forces the consume queues to the disk, once a second those with
//! enough new units, once a minute all of them and the checkpoint.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::checkpoint::StoreCheckpoint;
use super::config::StoreConfig;
use super::queue_table::QueueTable;
use crate::common::config::Live;
use crate::common::service_thread::{ServiceThread, Signal};

/// Flushes every queue that has at least `least_pages` pages of new units. With 0 pages and no
/// error everything dispatched before is certain, and the checkpoint says so.
pub fn flush_queues(queues: &QueueTable, checkpoint: &StoreCheckpoint, least_pages: usize) {
    let dispatched = checkpoint.dispatched.load(Ordering::Acquire);
    let mut failed = false;
    for queue in queues.dirty() {
        if let Err(error) = queue.flush(least_pages) {
            failed = true;
            log::error!(
                "queue {} of topic {} cannot be forced to the disk: {error}; tried again",
                queue.queue_id(),
                queue.topic()
            );
        }
    }
    if least_pages > 0 || failed {
        return;
    }
    checkpoint.logics.store(dispatched, Ordering::Release);
    if let Err(error) = checkpoint.flush() {
        log::error!("the checkpoint cannot be forced to the disk: {error}; tried again");
    }
}

/// Starts the thread.
pub fn start(
    config: Arc<Live<StoreConfig>>,
    queues: Arc<QueueTable>,
    checkpoint: Arc<StoreCheckpoint>,
) -> std::io::Result<ServiceThread> {
    let signal = Arc::new(Signal::default());
    ServiceThread::spawn("FlushConsumeQ", signal, move |signal| {
        let mut last_thorough = Instant::now();
        loop {
            let snapshot = config.get();
            let interval =
                Duration::from_millis(snapshot.flush_interval_consume_queue.max(1) as u64);
            if !signal.wait(interval) {
                return;
            }
            let thorough =
                Duration::from_millis(snapshot.flush_consume_queue_thorough_interval.max(0) as u64);
            let mut pages = snapshot.flush_consume_queue_least_pages.max(0) as usize;
            if last_thorough.elapsed() >= thorough {
                last_thorough = Instant::now();
                pages = 0;
            }
            flush_queues(&queues, &checkpoint, pages);
        }
    })
}
