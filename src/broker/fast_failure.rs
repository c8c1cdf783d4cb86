//! Fast failure: requests that waited too long in a queue are answered SYSTEM_BUSY, so that their
//! senders learn it before they give up by themselves (Java's BrokerFastFailure).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Broker;
use crate::common::service_thread::Signal;
use crate::common::thread_pool::{Shed, ThreadPool};

/// Time between looks while something waits or the page cache is busy.
const BUSY_INTERVAL: Duration = Duration::from_millis(10);
/// Time between looks while nothing waits: half of the shortest default limit, so a request that
/// arrives right after a look is still seen in time.
const IDLE_INTERVAL: Duration = Duration::from_millis(100);

/// The thread `BrokerFastFail`: looks until stopped.
pub fn run(broker: &Arc<Broker>, signal: &Signal) {
    let mut interval = IDLE_INTERVAL;
    while signal.wait(interval) {
        interval = if look(broker) { BUSY_INTERVAL } else { IDLE_INTERVAL };
    }
}

/// One look, which sees a busy page cache too. Returns whether it is, or something waits.
fn look(broker: &Broker) -> bool {
    let config = broker.config.get();
    let pools = &broker.pools;
    let busy = broker.store.is_os_page_cache_busy();
    broker.page_cache_busy.store(busy, Ordering::Relaxed);
    if !config.broker_fast_failure_enable {
        return busy;
    }
    while pools.send.queue_len() > 0 && broker.store.is_os_page_cache_busy() {
        if pools.send.shed(Duration::ZERO, Shed::PageCacheBusy, 1) == 0 {
            break;
        }
    }
    let limits: [(&Arc<ThreadPool>, i64); 4] = [
        (&pools.send, config.wait_time_mills_in_send_queue),
        (&pools.pull, config.wait_time_mills_in_pull_queue),
        (&pools.heartbeat, config.wait_time_mills_in_heartbeat_queue),
        (&pools.end_transaction, config.wait_time_mills_in_transaction_queue),
    ];
    let mut waiting = busy;
    for (pool, limit_ms) in limits {
        if pool.queue_len() > 0 {
            waiting = true;
            let limit = Duration::from_millis(u64::try_from(limit_ms).unwrap_or(0));
            pool.shed(limit, Shed::TooOld, usize::MAX);
        }
    }
    waiting
}
