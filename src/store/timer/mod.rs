//! Timed messages: delivered at the millisecond their sender asked for.
//!
//! A timed message lies in the commit log under the topic `rmq_sys_wheel_timer`, with its real topic
//! and its time in its properties (how it gets there is the broker's: `broker::timed`). This folder
//! finds out, years later if need be, that its time has come, and stores it again under its real
//! topic. The files are those of RocketMQ 5.x, so that a store goes from one to the other.
//!
//! ```text
//!  consume queue of            timerlog/: one 52-byte unit       timerwheel: one slot a second,
//!  rmq_sys_wheel_timer, 0      a message, in order of arrival    of two weeks, over and over
//!  ┌──┬──┬──┬──┬──┐            ┌──┬──┬──┬──┬──┐                  ┌────┬────┬────┬────┬────┐
//!  │  │  │  │  │  │  ───────▶  │ a│ b│ c│ d│ e│  ◀────────────── │    │last│    │last│    │
//!  └──┴──┴──┴──┴──┘            └──┴──┴▲─┴──┴┬─┘                  └────┴────┴────┴────┴────┘
//!          ▲ queue offset             └─────┘ previous of the same slot   ▲ read time
//! ```
//!
//! * **In:** the next message of the queue gets a unit in the [`log`]; its slot of the [`wheel`]
//!   points at that unit, and the unit at the slot's unit before.
//! * **Out:** when the clock reaches a slot, its chain is read into the [`window`], sorted by time;
//!   each message is stored under its real topic when the clock reaches it.
//! * **Far away:** what is due beyond the roll window (two days) waits in a nearer slot, is stored
//!   once more under `rmq_sys_wheel_timer` then, and comes in again. So its record is never older
//!   than what the commit log keeps.
//!
//! # How the millisecond is kept
//!
//! Slots are `timerPrecisionMs` wide and 5.x delivers a whole slot when it is over. A slot at time
//! *s* has what is due in *(s, s + precision]*. Here the broker writes the wished time into the
//! message as `TIMER_DELIVER_MS`, also when a delay was asked for, and the unit's *delay* field, in
//! which 5.x writes when the slot begins, says it too: one less, so that the slot computed from it is
//! the same one. A unit whose delay says the slot's begin is 5.x's (or due one millisecond after it):
//! the record decides. A record that says nothing exact is delivered at the slot's end, as 5.x does.
//! Nothing is early, ever: a message goes out when the clock shows its time, not before.
//!
//! So `timerPrecisionMs` decides how much is read at once, and nothing else. While something waits in
//! slots of another width, that width stays; 5.x looks for it in slots of the new width then.
//!
//! # Threads
//!
//! | thread | duty | sleeps until |
//! |---|---|---|
//! | `TimerMessage` | in and out ([`service`]) | the next message is due, arrives, or the next slot begins |
//! | `TimerFlush` | forces log and wheel to the disk, then writes the [`checkpoint`]; deletes old log files | `timerFlushIntervalMs` |
//!
//! # Invariants
//!
//! * The checkpoint never says that something is done that a power cut could undo: log and wheel are
//!   on the disk before it, and so is the commit log with all that was delivered.
//! * After a crash a message may therefore be delivered again (all of the slot at work, and what was
//!   delivered since the last checkpoint), but none is lost, and none is early.
//! * Memory does not depend on how much waits: of the slot at work at most [`window::LIMIT`] entries
//!   are in memory, with eight bytes for each message that deletes another of this slot; of other
//!   slots nothing.
//!
//! Reading order: [`wheel`], [`log`], [`checkpoint`], [`window`], [`service`], [`recovery`].

pub mod checkpoint;
pub mod log;
pub mod recovery;
pub mod service;
pub mod wheel;
pub mod window;

pub use service::{Settled, TimerService};

use super::config::StoreConfig;
use crate::common::properties::{TIMER_DELIVER_MS, TIMER_OUT_MS, find};

/// Slots of a week; the wheel has twice as many.
pub const SLOTS_TOTAL: i64 = 7 * 86_400;
/// The precisions that there are, ms.
const PRECISIONS_MS: [i64; 4] = [COARSEST_PRECISION_MS, 500, 200, 100];
/// The coarsest precision, ms.
const COARSEST_PRECISION_MS: i64 = 1000;
/// Slots that a roll window leaves free.
const ROLL_MARGIN_SLOTS: i64 = 60;
const HOUR_MS: i64 = 3_600_000;

/// What the configuration says about time, made consistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Width of a slot, ms: 100, 200, 500 or 1000.
    pub precision_ms: i64,
    /// What is due in so many slots or more is rolled.
    pub roll_window_slots: i64,
}

impl Scale {
    /// The scale of a configuration.
    ///
    /// The precision is snapped down to one that is known. The roll window is at most a week, and at
    /// most two thirds of what the commit log keeps: a message must be rolled before its file
    /// expires. (5.x trusts the configuration to be so: 48 of 72 hours are its defaults.)
    pub fn of(config: &StoreConfig) -> Self {
        let wished = i64::from(config.timer_precision_ms);
        let known = PRECISIONS_MS.into_iter().find(|precision_ms| *precision_ms <= wished);
        Self::with_precision(config, known.unwrap_or(100))
    }

    /// The scale of a configuration, but for the precision.
    fn with_precision(config: &StoreConfig, precision_ms: i64) -> Self {
        let most = SLOTS_TOTAL - ROLL_MARGIN_SLOTS;
        let wished = i64::from(config.timer_roll_window_slot);
        let wished = if (2..=most).contains(&wished) { wished } else { most };
        let kept_ms = i64::from(config.file_reserved_time.max(1)) * HOUR_MS;
        let roll_window_slots = wished.min(kept_ms / 3 * 2 / precision_ms).max(2);
        Self { precision_ms, roll_window_slots }
    }

    /// When the slot that holds a moment begins.
    pub fn floor(&self, ms: i64) -> i64 {
        ms.div_euclid(self.precision_ms) * self.precision_ms
    }

    /// The slot of what is due at a moment: the one before it, if a slot begins just then.
    pub fn slot_of(&self, due_ms: i64) -> i64 {
        self.floor(due_ms.saturating_sub(1))
    }

    /// When a record in the timer's topic is due; `None` if it does not say.
    pub fn due_of(&self, properties: &str) -> Option<i64> {
        let slot: i64 = find(properties, TIMER_OUT_MS)?.parse().ok()?;
        let exact = find(properties, TIMER_DELIVER_MS).and_then(|text| text.parse::<i64>().ok());
        let in_slot =
            |exact: &i64| *exact > slot && *exact <= slot.saturating_add(COARSEST_PRECISION_MS);
        Some(exact.filter(in_slot).unwrap_or(slot.saturating_add(self.precision_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(precision: i32, window: i32, reserved_hours: i32) -> Scale {
        Scale::of(&StoreConfig {
            timer_precision_ms: precision,
            timer_roll_window_slot: window,
            file_reserved_time: reserved_hours,
            ..StoreConfig::default()
        })
    }

    #[test]
    fn precision_and_window_are_made_consistent() {
        assert_eq!(scale(1000, 172_800, 72).roll_window_slots, 172_800);
        for (wished, got) in [(99, 100), (100, 100), (499, 200), (999, 500), (5000, 1000)] {
            assert_eq!(scale(wished, 172_800, 72).precision_ms, got);
        }
        assert_eq!(scale(1000, 1, 72_000).roll_window_slots, 604_740);
        assert_eq!(scale(1000, 604_741, 72_000).roll_window_slots, 604_740);
        assert_eq!(scale(1000, 172_800, 48).roll_window_slots, 115_200, "two thirds of 48 hours");
    }

    #[test]
    fn a_slot_holds_what_is_due_after_its_begin() {
        let scale = scale(1000, 172_800, 72);
        assert_eq!(
            [5000, 5001, 6000, 6001].map(|due| scale.slot_of(due)),
            [4000, 5000, 5000, 6000]
        );
    }

    #[test]
    fn the_exact_time_counts_if_it_is_in_the_slot() {
        let scale = scale(1000, 172_800, 72);
        let due = |text: &str| scale.due_of(&text.replace('=', "\u{1}").replace(' ', "\u{2}"));
        assert_eq!(due("TIMER_OUT_MS=5000 TIMER_DELIVER_MS=5123"), Some(5123));
        assert_eq!(due("TIMER_OUT_MS=5000 TIMER_DELIVER_MS=6000"), Some(6000));
        assert_eq!(due("TIMER_OUT_MS=5000 TIMER_DELAY_SEC=3"), Some(6000));
        assert_eq!(due("TIMER_OUT_MS=5000 TIMER_DELIVER_MS=4999"), Some(6000));
        assert_eq!(due("TIMER_DELIVER_MS=5123"), None);
        assert_eq!(due("TIMER_OUT_MS=soon"), None);
    }
}
