//! [`EndedTransactions`]: which half messages have ended, and how. The first end counts: a second commit
//! stores no second copy, and a commit after a rollback, or a rollback after a commit, changes
//! nothing. (In Java each end is carried out.)

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use crate::common::quick_hash::QuickMap;
use crate::common::rarely::Rarely;
use crate::common::sync::lock;

/// Ends that are remembered, and copies. An end that comes later than so many others is carried out
/// once more.
pub const REMEMBERED: usize = 65_536;
/// Contradictions are worth a line so often.
const WARN_PERIOD: Duration = Duration::from_secs(10);

/// A half message: queue of the half topic, and offset in it.
pub type Half = (i32, i64);

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Consumers get the message.
    Commit,
    /// Nobody does.
    Rollback,
    /// It is written down that it ended, not how: the broker was started since.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Somebody is about it.
    Ending,
    Ended(End),
}

/// What is to be done about an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It is the first: carry it out, then say [`finish`](EndedTransactions::finish) or
    /// [`give_up`](EndedTransactions::give_up).
    First,
    /// Somebody else is about it.
    Busy,
    /// It has ended.
    Ended,
}

#[derive(Debug, Default)]
struct Table {
    states: QuickMap<Half, State>,
    /// The oldest first.
    order: VecDeque<Half>,
    /// Copies that the checks put back, and what they are copies of.
    copies: QuickMap<Half, Half>,
    copy_order: VecDeque<Half>,
}

impl Table {
    fn root(&self, half: Half) -> Half {
        self.copies.get(&half).copied().unwrap_or(half)
    }

    fn set(&mut self, root: Half, state: State) {
        if self.states.insert(root, state).is_none() {
            self.order.push_back(root);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.states.remove(&oldest);
            }
        }
    }
}

/// The transactions that ended lately. What stands here is lost with the process; at the start it is
/// filled from the ends that are written down and not passed yet.
#[derive(Debug)]
pub struct EndedTransactions {
    table: Mutex<Table>,
    contradicted: Rarely,
}

impl Default for EndedTransactions {
    fn default() -> Self {
        Self { table: Mutex::default(), contradicted: Rarely::new(WARN_PERIOD) }
    }
}

impl EndedTransactions {
    /// Somebody ends a half message. `group` is that of its producer.
    pub fn begin(&self, half: Half, end: End, group: &str) -> Begin {
        let mut table = lock(&self.table);
        let root = table.root(half);
        let known = match table.states.get(&root) {
            Some(State::Ending) => return Begin::Busy,
            Some(State::Ended(known)) => *known,
            None => {
                table.set(root, State::Ending);
                return Begin::First;
            }
        };
        drop(table);
        if known != end
            && known != End::Unknown
            && let Some(times) = self.contradicted.note()
        {
            log::warn!(
                "the half message {} of producer group {group} ended with {known:?}, and its producer \
                 says {end:?} now: the first counts; {times} such since this was logged last",
                half.1
            );
        }
        Begin::Ended
    }

    /// The end is carried out.
    pub fn finish(&self, half: Half, end: End) {
        let mut table = lock(&self.table);
        let root = table.root(half);
        table.set(root, State::Ended(end));
    }

    /// The end could not be carried out: the next one is the first again.
    pub fn give_up(&self, half: Half) {
        let mut table = lock(&self.table);
        let root = table.root(half);
        // Its place in the order stays; it is as old as it was.
        if table.states.remove(&root).is_some() {
            table.order.retain(|known| *known != root);
        }
    }

    /// An end was found written down.
    pub fn found(&self, half: Half) {
        let mut table = lock(&self.table);
        let root = table.root(half);
        if !table.states.contains_key(&root) {
            table.set(root, State::Ended(End::Unknown));
        }
    }

    /// A half message was put back as a copy.
    pub fn copied(&self, half: Half, copy: Half) {
        let mut table = lock(&self.table);
        let root = table.root(half);
        table.copies.insert(copy, root);
        table.copy_order.push_back(copy);
        while table.copy_order.len() > REMEMBERED {
            if let Some(oldest) = table.copy_order.pop_front() {
                table.copies.remove(&oldest);
            }
        }
    }

    /// Whether a half message has ended, under this offset or another.
    pub fn has_ended(&self, half: Half) -> bool {
        let table = lock(&self.table);
        matches!(table.states.get(&table.root(half)), Some(State::Ended(_)))
    }

    /// Ends that contradicted the first, since the start.
    pub fn contradicted(&self) -> u64 {
        self.contradicted.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Half = (0, 7);

    #[test]
    fn the_first_end_counts() {
        let ended = EndedTransactions::default();
        assert_eq!(ended.begin(HALF, End::Commit, "g"), Begin::First);
        assert_eq!(ended.begin(HALF, End::Commit, "g"), Begin::Busy);
        assert!(!ended.has_ended(HALF));
        ended.give_up(HALF);
        assert_eq!(ended.begin(HALF, End::Rollback, "g"), Begin::First);
        ended.finish(HALF, End::Rollback);
        assert_eq!(ended.begin(HALF, End::Rollback, "g"), Begin::Ended);
        assert_eq!(ended.contradicted(), 0);
        assert_eq!(ended.begin(HALF, End::Commit, "g"), Begin::Ended);
        assert_eq!(ended.contradicted(), 1);
    }

    #[test]
    fn a_copy_ends_with_what_it_is_a_copy_of() {
        let ended = EndedTransactions::default();
        ended.copied(HALF, (0, 9));
        ended.copied((0, 9), (0, 12));
        ended.begin((0, 12), End::Commit, "g");
        ended.finish((0, 12), End::Commit);
        assert!(ended.has_ended(HALF) && ended.has_ended((0, 9)));
        assert_eq!(ended.begin(HALF, End::Commit, "g"), Begin::Ended);
    }

    #[test]
    fn what_is_found_written_down_contradicts_nobody() {
        let ended = EndedTransactions::default();
        ended.found(HALF);
        assert_eq!(ended.begin(HALF, End::Commit, "g"), Begin::Ended);
        assert_eq!(ended.contradicted(), 0);
    }

    #[test]
    fn so_much_is_remembered_and_no_more() {
        let ended = EndedTransactions::default();
        for offset in 0..2 * REMEMBERED as i64 {
            ended.found((0, offset));
            ended.copied((0, offset), (0, offset + 1));
        }
        let table = lock(&ended.table);
        assert!(table.states.len() <= REMEMBERED && table.order.len() <= REMEMBERED);
        assert!(table.copies.len() <= REMEMBERED && table.copy_order.len() <= REMEMBERED);
    }
}
