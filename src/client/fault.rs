//! [`LatencyFaults`]: which brokers were slow or failed lately, and for how long to avoid them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::sync::lock;

/// Java's `latencyMax` and `notAvailableDuration`: the latency of an attempt, ms, and how long a broker that
/// took at least so long is avoided, ms.
const PENALTIES: [(u64, u64); 7] = [
    (50, 0),
    (100, 0),
    (550, 30_000),
    (1000, 60_000),
    (2000, 120_000),
    (3000, 180_000),
    (15_000, 600_000),
];
/// A failed attempt counts as one of this latency: by default the broker is avoided for ten minutes.
const FAILURE_LATENCY: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
struct Fault {
    latency: Duration,
    available_from: Instant,
    failed: bool,
}

/// Brokers that were used, with their last latency and the time from which they are fit again.
#[derive(Debug)]
pub struct LatencyFaults {
    /// Ascending by latency.
    penalties: Vec<(Duration, Duration)>,
    /// Brokers that failed are avoided until they are reached.
    until_reached: bool,
    table: Mutex<HashMap<String, Fault>>,
    turn: AtomicUsize,
}

/// The penalties that Java has.
pub(crate) fn default_penalties() -> Vec<(Duration, Duration)> {
    let millis = Duration::from_millis;
    PENALTIES.iter().map(|(latency, penalty)| (millis(*latency), millis(*penalty))).collect()
}

impl Default for LatencyFaults {
    fn default() -> Self {
        Self::new(default_penalties())
    }
}

impl LatencyFaults {
    /// With penalties of one's own, ascending by latency.
    pub fn new(penalties: Vec<(Duration, Duration)>) -> Self {
        let (table, turn) = (Mutex::default(), AtomicUsize::new(0));
        Self { penalties, until_reached: false, table, turn }
    }

    /// A broker that failed is not fit before it was [reached](Self::reached), whatever its penalty:
    /// for who asks those that [failed](Self::failed) for a sign of life.
    #[must_use]
    pub fn until_reached(mut self) -> Self {
        self.until_reached = true;
        self
    }

    fn penalty(&self, latency: Duration) -> Duration {
        let row = self.penalties.iter().rev().find(|(least, _)| latency >= *least);
        row.map_or(Duration::ZERO, |(_, penalty)| *penalty)
    }

    fn is_fit(&self, fault: &Fault, now: Instant) -> bool {
        now >= fault.available_from && !(self.until_reached && fault.failed)
    }

    /// Brokers whose last attempt failed.
    pub fn failed(&self) -> Vec<String> {
        let table = lock(&self.table);
        table.iter().filter(|(_, fault)| fault.failed).map(|(name, _)| name.clone()).collect()
    }

    /// A broker that failed has given a sign of life: it is fit again.
    pub fn reached(&self, broker_name: &str) {
        lock(&self.table).remove(broker_name);
    }

    /// Records an attempt: how long it took, or that it failed.
    pub fn record(&self, broker_name: &str, latency: Duration, failed: bool) {
        let effective = if failed { FAILURE_LATENCY } else { latency };
        let available_from = Instant::now() + self.penalty(effective);
        let fault = Fault { latency, available_from, failed };
        let mut table = lock(&self.table);
        match table.get_mut(broker_name) {
            Some(known) => *known = fault,
            None => {
                table.insert(broker_name.to_owned(), fault);
            }
        }
    }

    /// Whether a broker is fit for use now.
    pub fn is_available(&self, broker_name: &str) -> bool {
        let table = lock(&self.table);
        table.get(broker_name).is_none_or(|fault| self.is_fit(fault, Instant::now()))
    }

    /// When none is fit: one of the better half, in turn.
    pub fn least_bad(&self) -> Option<String> {
        let table = lock(&self.table);
        let now = Instant::now();
        let mut brokers: Vec<_> = table.iter().collect();
        brokers.sort_by_key(|(_, fault)| {
            (!self.is_fit(fault, now), fault.latency, fault.available_from)
        });
        let half = (brokers.len() / 2).max(1);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        brokers.get(turn % half).map(|(name, _)| (*name).clone())
    }

    /// Forgets a broker that is gone.
    pub fn forget(&self, broker_name: &str) {
        lock(&self.table).remove(broker_name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalties_follow_the_table() {
        for (latency, expected) in
            [(10, 0), (99, 0), (550, 30_000), (999, 30_000), (2999, 120_000), (20_000, 600_000)]
        {
            let penalty = LatencyFaults::default().penalty(Duration::from_millis(latency));
            assert_eq!(penalty, Duration::from_millis(expected));
        }
    }

    #[test]
    fn the_failed_are_avoided_and_the_better_half_is_the_last_resort() {
        let faults = LatencyFaults::default();
        faults.record("fast", Duration::from_millis(1), false);
        assert!(faults.is_available("fast") && faults.is_available("unknown"));
        faults.record("slow", Duration::from_millis(600), false);
        faults.record("dead", Duration::from_millis(700), true);
        faults.record("late", Duration::from_millis(800), false);
        assert!(!faults.is_available("slow") && !faults.is_available("dead"));
        let chosen: Vec<_> = (0..4).filter_map(|_| faults.least_bad()).collect();
        assert_eq!(chosen, ["fast", "slow", "fast", "slow"]);
        faults.forget("fast");
        assert_eq!(faults.least_bad().as_deref(), Some("slow"));
    }

    #[test]
    fn the_failed_come_back_when_their_time_is_over_or_when_they_are_reached() {
        let none = || LatencyFaults::new(vec![(Duration::from_secs(60), Duration::from_secs(60))]);
        let faults = none();
        faults.record("a", Duration::ZERO, true);
        assert!(faults.is_available("a"), "no penalty for so short a time");
        let faults = none().until_reached();
        faults.record("a", Duration::ZERO, true);
        faults.record("b", Duration::from_secs(61), false);
        assert!(!faults.is_available("a") && !faults.is_available("b"));
        assert_eq!(faults.failed(), ["a"], "what is slow is not asked for a sign of life");
        faults.reached("a");
        assert!(faults.is_available("a"));
    }
}
