//! [`Live`]: a configuration that can change while it is used.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};

use super::recent::{Seen, Version};

/// A configuration that can change while it is used: readers take a snapshot.
///
/// [`get`](Self::get) writes to memory that all threads share, which is nothing once in a while; what
/// runs for every message takes [`of_thread`](Self::of_thread).
#[derive(Debug)]
pub struct Live<T> {
    slot: RwLock<Arc<T>>,
    version: Version,
}

/// The configuration as a thread saw it last.
pub struct OfThread<T>(Rc<Shared<T>>);

/// What all threads share, in a box of the thread: only its count of users is the thread's own.
struct Shared<T>(Arc<T>);

impl<T> std::ops::Deref for OfThread<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.0
    }
}

/// A snapshot that a thread keeps.
struct Kept {
    seen: Seen,
    /// A [`Shared`].
    snapshot: Rc<dyn Any>,
}

/// Snapshots that a thread keeps at most; a process has about as many configurations.
const MAX_KEPT: usize = 8;

thread_local! {
    static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

impl<T: Default + Clone + 'static> Default for Live<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Clone + 'static> Live<T> {
    /// Wraps a configuration.
    pub fn new(config: T) -> Self {
        Self { slot: RwLock::new(Arc::new(config)), version: Version::default() }
    }

    /// The configuration as it is now.
    pub fn get(&self) -> Arc<T> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The configuration as it is now, from this thread's own snapshot if that is still so.
    pub fn of_thread(&self) -> OfThread<T> {
        let seen = self.version.seen();
        KEPT.with_borrow_mut(|kept| {
            let place = kept.iter().position(|kept| kept.seen.table == seen.table);
            if let Some(kept) = place.map(|place| &kept[place])
                && kept.seen == seen
                && let Ok(snapshot) = Rc::clone(&kept.snapshot).downcast()
            {
                return OfThread(snapshot);
            }
            let snapshot = Rc::new(Shared(self.get()));
            let new = Kept { seen, snapshot: Rc::clone(&snapshot) as _ };
            match place {
                Some(place) => kept[place] = new,
                None => {
                    kept.truncate(MAX_KEPT - 1);
                    kept.insert(0, new);
                }
            }
            OfThread(snapshot)
        })
    }

    /// Changes it; readers that hold a snapshot keep theirs.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        let mut config = (**slot).clone();
        let result = change(&mut config);
        *slot = Arc::new(config);
        self.version.changed();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_sees_every_change_of_many() {
        let all: Vec<Live<usize>> = (0..2 * MAX_KEPT).map(Live::new).collect();
        for round in 0..3 {
            for (index, live) in all.iter().enumerate() {
                assert_eq!(*live.of_thread(), index + round);
                let before = live.of_thread();
                assert!(Rc::ptr_eq(&before.0, &live.of_thread().0), "kept");
                live.update(|value| *value += 1);
                assert_eq!((*before, *live.of_thread()), (index + round, index + round + 1));
            }
        }
    }
}
