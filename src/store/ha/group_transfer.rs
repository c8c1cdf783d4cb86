//! [`GroupTransfer`]: puts that wait for slaves, and the thread that answers those whose time is up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::service_thread::Signal;
use crate::common::sync::lock;
use crate::common::together::together;
use crate::store::message::PutStatus;
use crate::store::pending::PutTicket;

/// How the slaves stand, as far as a waiting put is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Slaves that are close enough to be waited for.
    pub in_sync: usize,
    /// How many of them a put needs.
    pub needed: usize,
    /// Up to where as many slaves as a put needs have the log; −1: nowhere.
    pub acked: i64,
}

struct Request {
    end: i64,
    deadline: Instant,
    ticket: PutTicket,
}

#[derive(Default)]
struct Waiting {
    /// In the order of their offsets, and of their deadlines.
    requests: VecDeque<Request>,
    /// When the thread looks again by itself; `None`: not before it is called.
    looks_at: Option<Instant>,
    closed: bool,
}

/// Puts that wait for slaves.
///
/// The put is answered by the thread that reads the acknowledgement which completes it; the thread
/// here sleeps until the first deadline. Requests are kept in the order of their offsets, so an
/// acknowledgement completes a prefix: none waits for another one's deadline, and completing costs
/// nothing for those that go on waiting. Nor does the thread look at every put: it sleeps until the
/// deadline of one that may have been answered long ago. Deadlines are in the same order: nobody waits
/// longer than who has put a later message, also when `slaveTimeout` becomes shorter meanwhile.
///
/// No acknowledgement is lost between looking and waiting: how the slaves stand is asked for under
/// the lock, and whoever reads an acknowledgement notes it before it takes the lock.
#[derive(Default)]
pub struct GroupTransfer {
    waiting: Mutex<Waiting>,
    signal: Arc<Signal>,
}

impl GroupTransfer {
    /// What wakes its thread.
    pub fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        lock(&self.waiting).requests.len()
    }

    /// Completes `ticket` as soon as `end` is acknowledged, at once if not enough slaves are near,
    /// or after `timeout`.
    pub fn wait_for(
        &self,
        end: i64,
        ticket: PutTicket,
        timeout: Duration,
        log_end: i64,
        standing: impl FnOnce(i64) -> Standing,
    ) {
        let mut waiting = lock(&self.waiting);
        let Standing { in_sync, needed, acked } = standing(log_end.max(end));
        let (status, reason) = if acked >= end {
            (PutStatus::PutOk, String::new())
        } else if waiting.closed {
            (PutStatus::FlushSlaveTimeout, "the broker stops".to_owned())
        } else if in_sync < needed {
            let reason = format!("{needed} slaves are needed, {in_sync} are close enough");
            (PutStatus::SlaveNotAvailable, reason)
        } else {
            // Puts come nearly in the order of their offsets.
            let later = waiting.requests.iter().rev().take_while(|other| other.end > end).count();
            let at = waiting.requests.len() - later;
            let next = waiting.requests.get(at).map(|next| next.deadline);
            let deadline = next.into_iter().fold(Instant::now() + timeout, Instant::min);
            let before = waiting.requests.range_mut(..at).rev();
            let longer = before.take_while(|before| before.deadline > deadline);
            longer.for_each(|before| before.deadline = deadline);
            waiting.requests.insert(at, Request { end, deadline, ticket });
            let too_late = waiting.looks_at.is_none_or(|looks_at| looks_at > deadline);
            if too_late {
                waiting.looks_at = Some(deadline);
            }
            drop(waiting);
            if too_late {
                self.signal.wakeup();
            }
            return;
        };
        drop(waiting);
        ticket.complete(status, &reason);
    }

    /// Tells that somebody acknowledged more; `acked` is asked for under the lock.
    pub fn acknowledged(&self, acked: impl FnOnce() -> i64) {
        let mut waiting = lock(&self.waiting);
        if waiting.requests.is_empty() {
            return;
        }
        let acked = acked();
        let count = waiting.requests.partition_point(|request| request.end <= acked);
        if count == 0 {
            return;
        }
        let done: Vec<Request> = waiting.requests.drain(..count).collect();
        drop(waiting);
        together(|| done.into_iter().for_each(|one| one.ticket.complete(PutStatus::PutOk, "")));
    }

    /// The thread `GroupTransfer`: answers those whose deadline passes.
    pub fn run(&self, signal: &Signal) {
        loop {
            let (late, next) = {
                let mut waiting = lock(&self.waiting);
                let now = Instant::now();
                let late = waiting.requests.partition_point(|one| one.deadline <= now);
                let late: Vec<Request> = waiting.requests.drain(..late).collect();
                waiting.looks_at = waiting.requests.front().map(|request| request.deadline);
                (late, waiting.looks_at)
            };
            give_up(late, "no slave acknowledged it within slaveTimeout");
            let goes_on = match next {
                Some(deadline) => signal.wait(deadline.saturating_duration_since(Instant::now())),
                None => signal.wait_for_wakeup(),
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Nobody acknowledges any more: answers all that wait and all that come.
    pub fn close(&self) {
        let left: Vec<Request> = {
            let mut waiting = lock(&self.waiting);
            waiting.closed = true;
            waiting.requests.drain(..).collect()
        };
        give_up(left, "the broker stops");
    }
}

fn give_up(requests: Vec<Request>, reason: &str) {
    together(|| {
        for request in requests {
            request.ticket.complete(PutStatus::FlushSlaveTimeout, reason);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::common::service_thread::ServiceThread;
    use crate::store::message::PutResult;
    use crate::store::pending::{Part, PendingPut, PutTime};

    const LONG: Duration = Duration::from_secs(60);

    fn put(results: &mpsc::Sender<(i64, PutStatus)>, number: i64) -> PutTicket {
        let result = PutResult {
            status: PutStatus::PutOk,
            queue_offset: 0,
            commit_log_offset: 0,
            batch_offsets: Vec::new(),
            wrote_bytes: 0,
            messages: 1,
            store_timestamp: 0,
            reason: String::new(),
        };
        let time = PutTime { stats: Arc::default(), started_ms: 0 };
        let (pending, mut tickets) = PendingPut::new(result, &[Part::Replica], time);
        let results = results.clone();
        pending.on_complete(move |result| {
            let _ = results.send((number, result.status));
        });
        tickets.next().unwrap()
    }

    fn standing(in_sync: usize, acked: i64) -> impl FnOnce(i64) -> Standing {
        move |_| Standing { in_sync, needed: 1, acked }
    }

    #[test]
    fn an_acknowledgement_completes_what_it_covers_in_any_order_of_coming() {
        let (results, done) = mpsc::channel();
        let group = GroupTransfer::default();
        for end in [200, 100, 400, 300] {
            group.wait_for(end, put(&results, end), LONG, end, standing(1, 50));
        }
        group.acknowledged(|| 99);
        assert!(done.try_recv().is_err());
        group.acknowledged(|| 300);
        let three: Vec<_> = done.try_iter().collect();
        assert_eq!(three, [100, 200, 300].map(|end| (end, PutStatus::PutOk)));
        group.wait_for(350, put(&results, 350), LONG, 400, standing(1, 350));
        assert_eq!(done.try_recv(), Ok((350, PutStatus::PutOk)));
        group.wait_for(500, put(&results, 500), LONG, 500, standing(0, 499));
        assert_eq!(done.try_recv(), Ok((500, PutStatus::SlaveNotAvailable)));
        assert_eq!(group.len(), 1);
        group.close();
        group.wait_for(600, put(&results, 600), LONG, 600, standing(1, 0));
        let late = [(400, PutStatus::FlushSlaveTimeout), (600, PutStatus::FlushSlaveTimeout)];
        assert_eq!(done.try_iter().collect::<Vec<_>>(), late);
    }

    #[test]
    fn a_deadline_is_kept_without_anybody_calling() {
        let (results, done) = mpsc::channel();
        let group = Arc::new(GroupTransfer::default());
        let its_group = Arc::clone(&group);
        let thread = ServiceThread::spawn("GroupTransfer", group.signal(), move |signal| {
            its_group.run(signal);
        })
        .unwrap();
        let short = Duration::from_millis(30);
        let started = Instant::now();
        group.wait_for(10, put(&results, 10), short, 10, standing(1, 0));
        group.wait_for(20, put(&results, 20), LONG, 20, standing(1, 0));
        assert_eq!(done.recv_timeout(LONG), Ok((10, PutStatus::FlushSlaveTimeout)));
        assert!(started.elapsed() >= short);
        // A shorter time, set while others wait: nobody waits for longer than who came later.
        group.wait_for(30, put(&results, 30), short, 30, standing(1, 0));
        let in_time = || done.recv_timeout(LONG / 2).unwrap();
        assert_eq!([20, 30].map(|_| in_time().0), [20, 30]);
        assert_eq!(group.len(), 0);
        assert!(thread.stop(LONG));
    }

    #[test]
    fn deadlines_are_in_the_order_of_offsets() {
        let (results, _done) = mpsc::channel();
        let group = GroupTransfer::default();
        let started = Instant::now();
        for (end, seconds) in [(10, 60), (40, 20), (50, 90), (20, 30), (30, 10), (60, 70), (70, 80)]
        {
            let timeout = Duration::from_secs(seconds);
            group.wait_for(end, put(&results, end), timeout, 70, standing(1, 0));
        }
        let waiting = lock(&group.waiting);
        let seconds = waiting.requests.iter().map(|one| (one.deadline - started).as_secs());
        assert_eq!(seconds.collect::<Vec<_>>(), [10, 10, 10, 20, 70, 70, 80]);
    }
}
