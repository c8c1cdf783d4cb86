//! Timed messages: what a sender may ask for, and what is refused. Where such a message then lies is
//! told in [`put_message`](super::put_message); who delivers it is [`store::timer`](crate::store::timer).

use super::put_message::{Waiting, Wishes};
use super::{Broker, Refusal};
use crate::common::clock::now_ms;
use crate::common::properties::{
    START_DELIVER_TIME, TIMER_DELAY_MS, TIMER_DELAY_SEC, TIMER_DELETE_KEY, TIMER_DELIVER_MS,
    TIMER_OUT_MS, find_each,
};
use crate::common::sys_flag::{TRANSACTION_COMMIT, TRANSACTION_MASK, TRANSACTION_NOT};
use crate::common::topic::{PERM_READ, PERM_WRITE, TIMER_TOPIC};
use crate::remoting::protocol::response_code as code;
use crate::store::timer::Scale;

/// The properties by which time is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimedWishes<'a> {
    delay_sec: Option<&'a str>,
    delay_ms: Option<&'a str>,
    deliver_ms: Option<&'a str>,
    start_deliver_time: Option<&'a str>,
    out_ms: Option<&'a str>,
    deletes: bool,
}

impl<'a> TimedWishes<'a> {
    /// Whether a property is one of these.
    pub fn are_of(name: &str) -> bool {
        matches!(
            name,
            TIMER_DELAY_SEC
                | TIMER_DELAY_MS
                | TIMER_DELIVER_MS
                | START_DELIVER_TIME
                | TIMER_OUT_MS
                | TIMER_DELETE_KEY
        )
    }

    /// Reads them from the string form.
    pub fn of(properties: &'a str) -> Self {
        let names = [
            TIMER_DELAY_SEC,
            TIMER_DELAY_MS,
            TIMER_DELIVER_MS,
            START_DELIVER_TIME,
            TIMER_OUT_MS,
            TIMER_DELETE_KEY,
        ];
        let [delay_sec, delay_ms, deliver_ms, start_deliver_time, out_ms, deletes] =
            find_each(properties, names);
        let deletes = deletes.is_some();
        Self { delay_sec, delay_ms, deliver_ms, start_deliver_time, out_ms, deletes }
    }

    /// When the message is due, if it asks for a time and has not been to the timer yet. The
    /// properties count in this order: `TIMER_DELAY_SEC`, `TIMER_DELAY_MS`, `TIMER_DELIVER_MS`,
    /// `__STARTDELIVERTIME`.
    fn deliver_ms(&self, now: i64) -> Result<Option<i64>, String> {
        let asked = [
            (TIMER_DELAY_SEC, self.delay_sec, 1000, now),
            (TIMER_DELAY_MS, self.delay_ms, 1, now),
            (TIMER_DELIVER_MS, self.deliver_ms, 1, 0),
            (START_DELIVER_TIME, self.start_deliver_time, 1, 0),
        ];
        let first = asked
            .into_iter()
            .find_map(|(name, text, unit_ms, from)| text.map(|text| (name, text, unit_ms, from)));
        let Some((name, text, unit_ms, from)) = first.filter(|_| self.out_ms.is_none()) else {
            return Ok(None);
        };
        let number: i64 = text
            .parse()
            .map_err(|_| format!("the property {name} is \"{text}\", expected an integer"))?;
        Ok(Some(number.saturating_mul(unit_ms).saturating_add(from)))
    }
}

/// When a message is due, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The moment, ms.
    pub deliver_ms: i64,
    /// Its slot, ms.
    pub slot_ms: i64,
}

/// What bounds the wishes.
#[derive(Clone, Copy)]
struct Limits {
    /// Of the wheel; `None` if there is no wheel here.
    scale: Option<Scale>,
    max_delay_sec: i32,
    congest_count: i32,
}

/// When a message is to be delivered; `None` if at once, or by a delay level. Refused are, in this
/// order:
///
/// | what | code |
/// |---|---|
/// | any time, where `timerWheelEnable` is false | 1 |
/// | a time that is not a number | 13 |
/// | deleting a message whose time is past | 13 |
/// | a time later than `timerMaxDelaySec` from now | 13 |
/// | too many messages in one slot (`timerCongestNumEachSlot`) | 1 |
pub fn due(broker: &Broker, wishes: &Wishes<'_>, sys_flag: i32) -> Result<Option<Due>, Refusal> {
    // Nearly every message costs no look at the configuration and the clock.
    let Some(timed) = wishes.timed() else { return Ok(None) };
    let config = broker.store.config();
    let limits = Limits {
        scale: broker.timer.as_ref().map(|timer| timer.scale()),
        max_delay_sec: config.timer_max_delay_sec,
        congest_count: config.timer_congest_num_each_slot,
    };
    let in_slot = |slot| broker.timer.as_ref().map_or(0, |timer| timer.slot_count(slot));
    let due = due_within(&limits, in_slot, wishes, &timed, sys_flag, now_ms())?;
    // The first one makes the topic known, so that tools, and Java brokers, leave its queue alone.
    if due.is_some() && !broker.topics.contains(TIMER_TOPIC) {
        broker.topics.get_or_create(TIMER_TOPIC, 1, PERM_READ | PERM_WRITE, 0);
    }
    Ok(due)
}

fn due_within(
    limits: &Limits,
    in_slot: impl FnOnce(i64) -> i32,
    wishes: &Wishes<'_>,
    timed: &TimedWishes<'_>,
    sys_flag: i32,
    now: i64,
) -> Result<Option<Due>, Refusal> {
    let illegal = |problem: String| Refusal::new(code::MESSAGE_ILLEGAL, problem);
    // A half message asks for its time when it is committed.
    let may_wait = match sys_flag & TRANSACTION_MASK {
        TRANSACTION_NOT => !wishes.is_half(),
        other => other == TRANSACTION_COMMIT,
    };
    if !may_wait || wishes.delay_level().is_ok_and(|level| level > 0) {
        return Ok(None);
    }
    let asked = timed.deliver_ms(now);
    if asked == Ok(None) {
        return Ok(None);
    }
    let Some(scale) = limits.scale else {
        let problem = "timed messages are not enabled; timerWheelEnable=true would do it";
        return Err(Refusal::new(code::SYSTEM_ERROR, problem));
    };
    let Some(deliver_ms) = asked.map_err(illegal)? else { return Ok(None) };
    if deliver_ms <= now {
        return match timed.deletes {
            true => Err(illegal("the time of the message to delete is past".to_owned())),
            false => Ok(None),
        };
    }
    let max = i64::from(limits.max_delay_sec);
    if deliver_ms - now > max.saturating_mul(1000) {
        return Err(illegal(format!(
            "the message is due in {} s; timerMaxDelaySec allows {max}",
            (deliver_ms - now) / 1000
        )));
    }
    let slot_ms = scale.slot_of(deliver_ms);
    if limits.congest_count < i32::MAX
        && is_congested(in_slot(slot_ms), limits.congest_count, any_per_mille())
    {
        let problem =
            format!("too many messages are due at {slot_ms} already; choose another time");
        return Err(Refusal::new(code::SYSTEM_ERROR, problem));
    }
    Ok(Some(Due { deliver_ms, slot_ms }))
}

/// Whether a slot takes no more: nothing is refused up to `limit` messages, all from twice as many
/// on, and a growing share in between.
fn is_congested(count: i32, limit: i32, random_per_mille: u32) -> bool {
    let over = i64::from(count) - i64::from(limit);
    let limit = i64::from(limit.max(0));
    if over <= 0 || over >= limit {
        return over > 0;
    }
    i64::from(random_per_mille) < 1000 * over / limit
}

/// A number from 0 to 999.
fn any_per_mille() -> u32 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    since.subsec_nanos() / 16 % 1000
}

/// What decides whether a message waits that the broker itself puts back.
pub fn waiting_again(
    broker: &Broker,
    wishes: &Wishes<'_>,
    sys_flag: i32,
) -> Result<Waiting, Refusal> {
    Ok(Waiting {
        max_level: broker.delay.levels().max_level(),
        due: due(broker, wishes, sys_flag)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreConfig;

    const NOW: i64 = 1_800_000_000_400;

    fn limits() -> Limits {
        let scale = Some(Scale::of(&StoreConfig::default()));
        Limits { scale, max_delay_sec: 259_200, congest_count: i32::MAX }
    }

    fn asked(limits: Limits, properties: &str, sys_flag: i32) -> Result<Option<Due>, Refusal> {
        let text = properties.replace('=', "\u{1}").replace(' ', "\u{2}");
        let timed = TimedWishes::of(&text);
        due_within(&limits, |_| 150, &Wishes::of(&text), &timed, sys_flag, NOW)
    }

    fn deliver_ms(properties: &str) -> Option<i64> {
        asked(limits(), properties, 0).unwrap().map(|due| due.deliver_ms - NOW)
    }

    #[test]
    fn the_first_of_the_properties_counts() {
        let at = |ms: i64| (NOW + ms).to_string();
        assert_eq!(deliver_ms("TIMER_DELAY_MS=250"), Some(250));
        assert_eq!(deliver_ms("TIMER_DELAY_SEC=2 TIMER_DELAY_MS=250"), Some(2000));
        assert_eq!(deliver_ms(&format!("TIMER_DELIVER_MS={} TIMER_DELAY_MS=9", at(77))), Some(9));
        assert_eq!(deliver_ms(&format!("TIMER_DELIVER_MS={}", at(77))), Some(77));
        assert_eq!(deliver_ms(&format!("__STARTDELIVERTIME={}", at(88))), Some(88));
        assert_eq!(deliver_ms("TAGS=a"), None);
        let due = asked(limits(), "TIMER_DELAY_MS=600", 0).unwrap().unwrap();
        assert_eq!(due.slot_ms, NOW - 400, "due when the next slot begins: in the one before");
        let due = asked(limits(), "TIMER_DELAY_MS=601", 0).unwrap().unwrap();
        assert_eq!(due.slot_ms, NOW + 600);
    }

    #[test]
    fn not_everything_waits() {
        for at_once in [
            "TIMER_DELIVER_MS=1",
            "TIMER_DELAY_MS=0",
            "TIMER_DELAY_SEC=-5",
            "TIMER_DELAY_MS=250 TIMER_OUT_MS=1",
            "TIMER_DELAY_MS=250 DELAY=3",
            "TIMER_DELAY_MS=250 TRAN_MSG=true",
        ] {
            assert_eq!(deliver_ms(at_once), None, "{at_once}");
        }
        let committed = asked(limits(), "TIMER_DELAY_MS=250 TRAN_MSG=true", TRANSACTION_COMMIT);
        assert!(committed.unwrap().is_some());
        let rolled_back = asked(limits(), "TIMER_DELAY_MS=250", TRANSACTION_MASK);
        assert_eq!(rolled_back, Ok(None));
    }

    #[test]
    fn what_is_refused_says_why() {
        let refused = |limits, properties| asked(limits, properties, 0).unwrap_err();
        for (properties, word) in [
            ("TIMER_DELAY_SEC=soon", "TIMER_DELAY_SEC"),
            ("TIMER_DELAY_SEC=259201", "timerMaxDelaySec"),
            ("TIMER_DELAY_SEC=9223372036854775807", "timerMaxDelaySec"),
            ("TIMER_DELIVER_MS=1 TIMER_DEL_UNIQKEY=T+k", "past"),
        ] {
            let refusal = refused(limits(), properties);
            assert_eq!(refusal.code, code::MESSAGE_ILLEGAL);
            assert!(refusal.remark.contains(word), "{}", refusal.remark);
        }
        assert!(deliver_ms("TIMER_DELAY_SEC=259200").is_some());
        let off = Limits { scale: None, ..limits() };
        assert_eq!(refused(off, "TIMER_DELAY_SEC=1").code, code::SYSTEM_ERROR);
        assert_eq!(asked(off, "TAGS=a", 0), Ok(None));
        let full = Limits { congest_count: 75, ..limits() };
        assert_eq!(refused(full, "TIMER_DELAY_SEC=1").code, code::SYSTEM_ERROR);
        let room = Limits { congest_count: 150, ..limits() };
        assert!(asked(room, "TIMER_DELAY_SEC=1", 0).unwrap().is_some());
    }

    #[test]
    fn a_slot_fills_gradually() {
        assert!(!is_congested(100, 100, 0));
        assert!(is_congested(125, 100, 249) && !is_congested(125, 100, 250));
        assert!(is_congested(200, 100, 999) && is_congested(1, 0, 999));
    }
}
