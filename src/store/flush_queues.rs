//! FlushConsumeQueueService: forces the consume queues to the disk, once a second those with
//! enough new units, once a minute all of them and the checkpoint.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::checkpoint::StoreCheckpoint;
use super::config::StoreConfig;
use super::consume_queue::ConsumeQueue;
use super::folder::flush_file_system;
use super::queue_table::QueueTable;
use crate::common::config::Live;
use crate::common::service_thread::{ServiceThread, Signal};

/// So many queues are flushed together, with everything else on their disk: each for itself would
/// wait for the disk once, which takes 20,000 of them many seconds.
const MANY_QUEUES: usize = 256;

/// Flushes the queues that have at least `least_pages` pages of new units. With 0 pages and no
/// error everything dispatched before is certain, and the checkpoint says so. Returns whether there
/// was no error.
pub fn flush_queues(queues: &QueueTable, checkpoint: &StoreCheckpoint, least_pages: usize) -> bool {
    // One after the other: a flush takes the queues as clean before they are.
    let _flushing = checkpoint.lock_logics();
    let dispatched = checkpoint.dispatched.load(Ordering::Acquire);
    let mut dirty = queues.dirty();
    dirty.retain(|queue| queue.is_worth_flushing(least_pages));
    let mut works = true;
    if dirty.len() > MANY_QUEUES {
        match flush_together(queues, &dirty) {
            Ok(elsewhere) => dirty = elsewhere,
            Err(error) => {
                log::error!(
                    "the consume queues cannot be forced to the disk: {error}; tried again"
                );
                return false;
            }
        }
    }
    for queue in dirty {
        if let Err(error) = queue.flush() {
            works = false;
            log::error!(
                "queue {} of topic {} cannot be forced to the disk: {error}; tried again",
                queue.queue_id(),
                queue.topic()
            );
        }
    }
    if least_pages > 0 || !works {
        return works;
    }
    checkpoint.logics.store(dispatched, Ordering::Release);
    if let Err(error) = checkpoint.flush() {
        log::error!("the checkpoint cannot be forced to the disk: {error}; tried again");
        return false;
    }
    true
}

/// Flushes the file system of the queues' folder. Returns the queues that lie on another one.
fn flush_together(
    queues: &QueueTable,
    dirty: &[Arc<ConsumeQueue>],
) -> io::Result<Vec<Arc<ConsumeQueue>>> {
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    let here = device(queues.folder());
    let is_here = |queue: &Arc<ConsumeQueue>| {
        let ext =
            queue.ext().is_none_or(|ext| device(ext.folder()).is_none_or(|dev| Some(dev) == here));
        ext && device(queue.files().folder()) == here
    };
    let (covered, elsewhere): (Vec<_>, Vec<_>) = dirty.iter().cloned().partition(is_here);
    let files: Vec<_> = covered.iter().flat_map(|queue| queue.take_unflushed()).collect();
    let written = files.iter().try_for_each(|(file, to)| file.write_again_if_failed(*to));
    if let Err(error) = written.and_then(|()| flush_file_system(queues.folder())) {
        files.iter().for_each(|(file, _)| file.set_flush_failed());
        covered.iter().for_each(|queue| queue.set_unflushed());
        return Err(error);
    }
    files.iter().for_each(|(file, to)| file.set_flushed(*to));
    Ok(elsewhere)
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
            if last_thorough.elapsed() >= thorough || checkpoint.is_ahead() {
                last_thorough = Instant::now();
                pages = 0;
            }
            flush_queues(&queues, &checkpoint, pages);
        }
    })
}
