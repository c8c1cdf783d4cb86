//! The last steps before a message goes into the store: which properties are stored, and under
//! which topic a delayed or a half message really lies. Where it comes from is told by
//! [`send`](super::send) and its relatives.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use super::timed::{Due, TimedWishes};
use crate::common::digits;
use crate::common::properties::{
    CLUSTER, DELAY, NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, REAL_QUEUE_ID, REAL_TOPIC, Segment,
    TIMER_DELAY_MS, TIMER_DELAY_SEC, TIMER_DELIVER_MS, TIMER_OUT_MS, TRANSACTION_PREPARED, WAIT,
    pairs, segments,
};
use crate::common::sys_flag::{TRANSACTION_COMMIT, TRANSACTION_MASK, TRANSACTION_NOT};
use crate::common::topic::{SCHEDULE_TOPIC, TIMER_TOPIC, TRANS_HALF_TOPIC};

/// What the properties of a message ask of the broker, found in one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes<'a> {
    /// The properties.
    text: &'a str,
    /// `WAIT`, and where it stands: wait for flush and replication where the mode asks for it.
    wait: Option<(&'a str, Range<usize>)>,
    /// `DELAY`: the delay level.
    delay: Option<&'a str>,
    /// `TRAN_MSG`: a half message.
    transaction: Option<&'a str>,
    /// There is a property that asks for a time, which few messages do.
    timed: bool,
    /// There is a malformed pair, perhaps a name that stands twice, or one that the broker sets: the
    /// text is not stored as it is.
    irregular: bool,
}

impl<'a> Wishes<'a> {
    /// Reads them from the string form.
    pub fn of(properties: &'a str) -> Self {
        let mut wishes = Self { text: properties, ..Self::default() };
        let mut names = Names::default();
        for Segment { range, pair } in segments(properties) {
            let Some((name, value)) = pair else {
                // Only the separator at the end, which some clients write, is nothing.
                wishes.irregular |= !range.is_empty() || range.end < properties.len();
                continue;
            };
            match name {
                WAIT => wishes.wait = Some((value, range)),
                DELAY => wishes.delay = Some(value),
                TRANSACTION_PREPARED => wishes.transaction = Some(value),
                CLUSTER | REAL_TOPIC | REAL_QUEUE_ID => wishes.irregular = true,
                _ => wishes.timed |= TimedWishes::are_of(name),
            }
            wishes.irregular |= !names.is_new(name);
        }
        wishes
    }

    /// What is asked for with regard to time; `None` is what nearly every message asks.
    pub fn timed(&self) -> Option<TimedWishes<'a>> {
        self.timed.then(|| TimedWishes::of(self.text))
    }

    /// Whether the sender waits for flush and replication; absent means yes.
    pub fn waits(&self) -> bool {
        self.wait.as_ref().is_none_or(|(text, _)| text.eq_ignore_ascii_case("true"))
    }

    /// Whether it is a half message.
    pub fn is_half(&self) -> bool {
        self.transaction.is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// The delay level, 0 for none. The error says what would be right.
    pub fn delay_level(&self) -> Result<i32, String> {
        self.delay.map_or(Ok(0), |text| {
            digits::parse(text)
                .ok_or_else(|| format!("the property {DELAY} is \"{text}\", expected an integer"))
        })
    }
}

/// Remembers names, roughly: it may take a new one for known, never a known one for new.
#[derive(Default)]
struct Names(u64);

impl Names {
    fn is_new(&mut self, name: &str) -> bool {
        let bytes = name.as_bytes();
        let byte = |at: Option<&u8>| usize::from(at.copied().unwrap_or(0));
        let sum = bytes.len() * 31 + byte(bytes.first()) * 7 + byte(bytes.last());
        let bit = 1u64 << (sum % 64);
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new
    }
}

/// Most that a thread keeps of a text it was given back, bytes.
const MAX_SPARE_BYTES: usize = 8 * 1024;

thread_local! {
    /// The memory of the last message's properties, for those of the next one.
    static SPARE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Gives the properties of a message that was stored back, to be used for the next one: that spares
/// every send an allocation.
pub fn recycle(properties: Cow<'_, str>) {
    if let Cow::Owned(text) = properties
        && text.capacity() <= MAX_SPARE_BYTES
    {
        SPARE.set(text);
    }
}

/// The properties of a message as they are stored: with those of `add`, which only the broker sets,
/// and perhaps without `WAIT`. Almost always that is a cut and an addition.
fn stored(properties: &str, wishes: &Wishes<'_>, keep_wait: bool, add: &[(&str, &str)]) -> String {
    if wishes.irregular {
        return rewrite(properties, if keep_wait { &[] } else { &[WAIT] }, add);
    }
    let added: usize = add.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let mut text = SPARE.take();
    text.clear();
    text.reserve(properties.len() + added);
    // There is one separator between two pairs, and perhaps one at the end.
    let end = properties.strip_suffix(PROPERTY_SEPARATOR).map_or(properties.len(), str::len);
    match &wishes.wait {
        Some((_, place)) if !keep_wait => {
            text.push_str(&properties[..place.start]);
            let behind = place.end + PROPERTY_SEPARATOR.len_utf8();
            if behind < end {
                text.push_str(&properties[behind..end]);
            } else if place.start > 0 {
                text.pop();
            }
        }
        _ => text.push_str(&properties[..end]),
    }
    for (name, value) in add {
        push_pair(&mut text, name, value);
    }
    text
}

/// Appends a pair, behind a separator unless it is the first.
fn push_pair(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push(PROPERTY_SEPARATOR);
    }
    text.push_str(name);
    text.push(NAME_VALUE_SEPARATOR);
    text.push_str(value);
}

/// The string form without the properties `drop` and those of `add`, then `add`. Malformed pairs
/// are left out, as every reader drops them; there is no separator at the end.
pub fn rewrite(properties: &str, drop: &[&str], add: &[(&str, &str)]) -> String {
    let added: usize = add.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let mut text = String::with_capacity(properties.len() + added);
    let last = repeated(properties);
    for (at, (name, value)) in pairs(properties).enumerate() {
        let replaced = drop.contains(&name) || add.iter().any(|(known, _)| *known == name);
        if !replaced && last.as_ref().is_none_or(|last| last.get(name) == Some(&at)) {
            push_pair(&mut text, name, value);
        }
    }
    for (name, value) in add {
        push_pair(&mut text, name, value);
    }
    text
}

/// For each name the place of its last pair, the one that counts; `None` if surely no name stands
/// twice, which takes one pass without an allocation.
fn repeated(properties: &str) -> Option<HashMap<&str, usize>> {
    let mut names = Names::default();
    let surely_distinct = pairs(properties).all(|(name, _)| names.is_new(name));
    let places = || pairs(properties).enumerate().map(|(at, (name, _))| (name, at)).collect();
    (!surely_distinct).then(places)
}

/// Where and how a message is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement<'a> {
    /// Topic it lies under.
    pub topic: Cow<'a, str>,
    /// Queue of that topic.
    pub queue_id: i32,
    /// System flag.
    pub sys_flag: i32,
    /// Properties as they are stored.
    pub properties: Cow<'a, str>,
}

/// What decides whether a message waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The highest level of the delay table.
    pub max_level: i32,
    /// What [`timed`](super::timed) made of the wish for a time.
    pub due: Option<Due>,
}

/// Places a message that a producer sent. `wishes` are those of `properties`; `cluster` is stored
/// with every message.
///
/// | message | topic | properties |
/// |---|---|---|
/// | ordinary | its own | as sent, without `WAIT`, with `CLUSTER` |
/// | delayed | `SCHEDULE_TOPIC_XXXX`, queue = level − 1 | as sent, `CLUSTER`, `REAL_TOPIC`, `REAL_QID`; without a time of delivery |
/// | timed | `rmq_sys_wheel_timer`, queue 0 | as sent, `CLUSTER`, `TIMER_DELIVER_MS`, `TIMER_OUT_MS`, `REAL_TOPIC`, `REAL_QID` |
/// | half | `RMQ_SYS_TRANS_HALF_TOPIC`, queue 0 | the same; the transaction bits are cleared |
///
/// A delay level above the table becomes the highest. A half message keeps its `DELAY`, which counts
/// when it is committed; Java sends it through the delay topic and loses it.
pub fn place<'a>(
    topic: &'a str,
    queue_id: i32,
    sys_flag: i32,
    properties: &str,
    wishes: &Wishes<'_>,
    cluster: &str,
    waiting: Waiting,
) -> Result<Placement<'a>, String> {
    if wishes.is_half() {
        // It counts later, and then nobody could be told.
        wishes.delay_level()?;
        let queue_id = queue_id.to_string();
        let add = [(CLUSTER, cluster), (REAL_TOPIC, topic), (REAL_QUEUE_ID, &queue_id)];
        return Ok(Placement {
            topic: Cow::Borrowed(TRANS_HALF_TOPIC),
            queue_id: 0,
            sys_flag: sys_flag & !TRANSACTION_MASK,
            properties: Cow::Owned(stored(properties, wishes, true, &add)),
        });
    }
    if let Some(level) = effective_delay(wishes, sys_flag, waiting.max_level)? {
        return Ok(Placement {
            topic: Cow::Borrowed(SCHEDULE_TOPIC),
            queue_id: level - 1,
            sys_flag,
            properties: Cow::Owned(delayed(properties, topic, queue_id, Some(cluster), level)),
        });
    }
    if let Some(due) = waiting.due {
        return Ok(wait_for(due, topic, queue_id, sys_flag, properties, Some(cluster)));
    }
    Ok(Placement {
        topic: Cow::Borrowed(topic),
        queue_id,
        sys_flag,
        properties: Cow::Owned(stored(properties, wishes, false, &[(CLUSTER, cluster)])),
    })
}

/// Places a message that the broker itself puts back (a send-back, a committed half message):
/// delayed or timed if its properties say so, which are else stored as they are. `wishes` are theirs.
pub fn place_again<'a>(
    topic: &'a str,
    queue_id: i32,
    sys_flag: i32,
    properties: &'a str,
    wishes: &Wishes<'_>,
    waiting: Waiting,
) -> Result<Placement<'a>, String> {
    let delay = effective_delay(wishes, sys_flag, waiting.max_level)?;
    Ok(match (delay, waiting.due) {
        (Some(level), _) => Placement {
            topic: Cow::Borrowed(SCHEDULE_TOPIC),
            queue_id: level - 1,
            sys_flag,
            properties: Cow::Owned(delayed(properties, topic, queue_id, None, level)),
        },
        (None, Some(due)) => wait_for(due, topic, queue_id, sys_flag, properties, None),
        (None, None) => Placement {
            topic: Cow::Borrowed(topic),
            queue_id,
            sys_flag,
            properties: Cow::Borrowed(properties),
        },
    })
}

/// The level that delays a message; only ordinary and committed messages are delayed.
fn effective_delay(
    wishes: &Wishes<'_>,
    sys_flag: i32,
    max_delay_level: i32,
) -> Result<Option<i32>, String> {
    if !matches!(sys_flag & TRANSACTION_MASK, TRANSACTION_NOT | TRANSACTION_COMMIT) {
        return Ok(None);
    }
    let level = wishes.delay_level()?;
    Ok((level > 0 && max_delay_level > 0).then(|| level.min(max_delay_level)))
}

/// A message that lies in the timer's topic. The moment is written down: a delay says nothing later.
fn wait_for<'a>(
    due: Due,
    topic: &str,
    queue_id: i32,
    sys_flag: i32,
    properties: &str,
    cluster: Option<&str>,
) -> Placement<'a> {
    let (deliver, slot) = (due.deliver_ms.to_string(), due.slot_ms.to_string());
    let add = [(TIMER_DELIVER_MS, &*deliver), (TIMER_OUT_MS, &*slot)];
    Placement {
        topic: Cow::Borrowed(TIMER_TOPIC),
        queue_id: 0,
        sys_flag,
        properties: Cow::Owned(redirected(properties, &[], &add, topic, queue_id, cluster)),
    }
}

/// The properties of a message that lies in the delay topic: `DELAY` is the level that counts, and
/// no time does.
fn delayed(
    properties: &str,
    topic: &str,
    queue_id: i32,
    cluster: Option<&str>,
    level: i32,
) -> String {
    let level_text = level.to_string();
    let clamped = Wishes::of(properties).delay_level().is_ok_and(|wanted| wanted > level);
    let also: &[(&str, &str)] = if clamped { &[(DELAY, &level_text)] } else { &[] };
    let times = [TIMER_DELIVER_MS, TIMER_DELAY_SEC, TIMER_DELAY_MS];
    redirected(properties, &times, also, topic, queue_id, cluster)
}

fn redirected(
    properties: &str,
    drop: &[&str],
    also: &[(&str, &str)],
    topic: &str,
    queue_id: i32,
    cluster: Option<&str>,
) -> String {
    let queue_id = queue_id.to_string();
    let mut add: Vec<_> = cluster.map(|cluster| (CLUSTER, cluster)).into_iter().collect();
    add.extend([(REAL_TOPIC, topic), (REAL_QUEUE_ID, queue_id.as_str())]);
    add.extend(also);
    rewrite(properties, drop, &add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::sys_flag::TRANSACTION_PREPARED as PREPARED_BITS;

    fn text(pairs: &[(&str, &str)]) -> String {
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| format!("{name}\u{1}{value}")).collect();
        pairs.join("\u{2}")
    }

    fn levels_only(max_level: i32) -> Waiting {
        Waiting { max_level, due: None }
    }

    /// `place`, with the wishes of the properties.
    fn place<'a>(
        topic: &'a str,
        queue_id: i32,
        sys_flag: i32,
        sent: &str,
        cluster: &str,
        levels: i32,
    ) -> Result<Placement<'a>, String> {
        super::place(
            topic,
            queue_id,
            sys_flag,
            sent,
            &Wishes::of(sent),
            cluster,
            levels_only(levels),
        )
    }

    #[test]
    fn cutting_and_rewriting_store_the_same() {
        let pairs = [("WAIT", "true"), ("TAGS", "A"), ("KEYS", "k"), ("UNIQ_KEY", "u")];
        for wait_at in 0..4 {
            let mut sent = pairs;
            sent.swap(0, wait_at);
            for end in ["", "\u{2}"] {
                let sent = text(&sent) + end;
                let wishes = Wishes::of(&sent);
                assert!(!wishes.irregular);
                for (keep_wait, drop) in [(true, &[][..]), (false, &[WAIT])] {
                    let add = [(CLUSTER, "c"), (REAL_TOPIC, "T")];
                    let rewritten = rewrite(&sent, drop, &add);
                    assert_eq!(stored(&sent, &wishes, keep_wait, &add), rewritten);
                }
            }
        }
        for set_by_the_broker in ["CLUSTER\u{1}c", "REAL_TOPIC\u{1}T", "REAL_QID\u{1}1"] {
            assert!(Wishes::of(set_by_the_broker).irregular);
        }
        for irregular in ["a", "a\u{1}1\u{2}\u{2}b\u{1}2", "\u{2}a\u{1}1", "a\u{1}1\u{2}a\u{1}2"] {
            assert!(Wishes::of(irregular).irregular, "{irregular:?}");
        }
        let only_wait = "WAIT\u{1}x";
        let rest = stored(only_wait, &Wishes::of(only_wait), false, &[(CLUSTER, "c")]);
        assert_eq!(rest, "CLUSTER\u{1}c");
    }

    #[test]
    fn an_ordinary_message_loses_wait_and_gets_the_cluster() {
        let sent =
            text(&[("TAGS", "A"), ("WAIT", "false"), ("CLUSTER", "old"), ("k", "v")]) + "\u{2}";
        let placed = place("T", 3, 1, &sent, "c1", 18).unwrap();
        assert_eq!((&*placed.topic, placed.queue_id, placed.sys_flag), ("T", 3, 1));
        assert_eq!(placed.properties, text(&[("TAGS", "A"), ("k", "v"), ("CLUSTER", "c1")]));
        assert!(!Wishes::of(&sent).waits());
        assert_eq!(place("T", 0, 0, "", "c1", 18).unwrap().properties, text(&[("CLUSTER", "c1")]));
    }

    #[test]
    fn of_a_name_that_stands_twice_the_last_value_counts() {
        let sent = text(&[("a", "1"), ("b", "2"), ("a", "3")]) + "\u{2}";
        assert_eq!(rewrite(&sent, &[], &[("c", "4")]), text(&[("b", "2"), ("a", "3"), ("c", "4")]));
        let many: Vec<_> = (0..200).map(|at| (format!("n{at}"), at.to_string())).collect();
        let many: Vec<_> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(rewrite(&text(&many), &[], &[]), text(&many));
    }

    #[test]
    fn a_delayed_message_lies_in_the_queue_of_its_level() {
        let sent = text(&[("WAIT", "true"), ("DELAY", "3")]);
        let placed = place("T", 5, 0, &sent, "c", 18).unwrap();
        assert_eq!((&*placed.topic, placed.queue_id), (SCHEDULE_TOPIC, 2));
        let stored = [
            ("WAIT", "true"),
            ("DELAY", "3"),
            ("CLUSTER", "c"),
            ("REAL_TOPIC", "T"),
            ("REAL_QID", "5"),
        ];
        assert_eq!(placed.properties, text(&stored));
        assert_eq!(place("T", 5, 0, &text(&[("DELAY", "99")]), "c", 18).unwrap().queue_id, 17);
        assert_eq!(place("T", 5, 0, &text(&[("DELAY", "0")]), "c", 18).unwrap().topic, "T");
        assert_eq!(place("T", 5, 0, &text(&[("DELAY", "-1")]), "c", 18).unwrap().topic, "T");
        assert!(
            place("T", 5, 0, &text(&[("DELAY", "soon")]), "c", 18).unwrap_err().contains("DELAY")
        );
        let prepared = place("T", 5, PREPARED_BITS, &text(&[("DELAY", "soon")]), "c", 18).unwrap();
        assert_eq!(prepared.topic, "T", "only ordinary and committed messages are delayed");
    }

    #[test]
    fn a_timed_message_lies_in_the_timer_and_says_when_it_is_due() {
        let sent = text(&[("TIMER_DELAY_SEC", "2"), ("WAIT", "false")]);
        let due = Some(Due { deliver_ms: 5_123, slot_ms: 5_000 });
        let wishes = Wishes::of(&sent);
        let placed =
            super::place("T", 5, 0, &sent, &wishes, "c", Waiting { max_level: 18, due }).unwrap();
        assert_eq!((&*placed.topic, placed.queue_id), ("rmq_sys_wheel_timer", 0));
        let times = [("TIMER_DELIVER_MS", "5123"), ("TIMER_OUT_MS", "5000")];
        let real = [("REAL_TOPIC", "T"), ("REAL_QID", "5")];
        let kept = [("TIMER_DELAY_SEC", "2"), ("WAIT", "false"), ("CLUSTER", "c")];
        let has = |pairs: &[(&str, &str)]| {
            pairs.iter().all(|(name, value)| {
                crate::common::properties::find(&placed.properties, name) == Some(*value)
            })
        };
        assert!(has(&times) && has(&real) && has(&kept), "{:?}", placed.properties);
        let again =
            place_again("T", 5, 0, &sent, &Wishes::of(&sent), Waiting { max_level: 18, due })
                .unwrap();
        assert_eq!((&*again.topic, again.queue_id), ("rmq_sys_wheel_timer", 0));
        // Who has a level, too, waits for the level.
        let both = text(&[("TIMER_DELAY_SEC", "2"), ("DELAY", "3")]);
        let placed = place("T", 5, 0, &both, "c", 18).unwrap();
        assert_eq!(placed.topic, SCHEDULE_TOPIC);
        assert!(!placed.properties.contains("TIMER_"));
    }

    #[test]
    fn a_half_message_hides_until_it_is_committed() {
        let sent = text(&[("TRAN_MSG", "true"), ("PGROUP", "g"), ("DELAY", "1")]);
        let placed = place("T", 5, PREPARED_BITS | 1, &sent, "c", 18).unwrap();
        assert_eq!((&*placed.topic, placed.queue_id, placed.sys_flag), (TRANS_HALF_TOPIC, 0, 1));
        assert!(placed.properties.ends_with(&text(&[("REAL_TOPIC", "T"), ("REAL_QID", "5")])));
    }

    #[test]
    fn what_the_broker_puts_back_stays_as_it_is_unless_delayed() {
        let stored = text(&[("WAIT", "false"), ("RETRY_TOPIC", "T")]);
        assert_eq!(
            place_again("R", 0, 0, &stored, &Wishes::of(&stored), levels_only(18))
                .unwrap()
                .properties,
            stored
        );
        let delayed = text(&[("DELAY", "4")]);
        let placed =
            place_again("R", 0, 0, &delayed, &Wishes::of(&delayed), levels_only(18)).unwrap();
        assert_eq!((&*placed.topic, placed.queue_id), (SCHEDULE_TOPIC, 3));
        let stored = text(&[("DELAY", "4"), ("REAL_TOPIC", "R"), ("REAL_QID", "0")]);
        assert_eq!(placed.properties, stored);
    }
}
