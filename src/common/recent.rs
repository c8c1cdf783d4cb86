//! [`Recent`]: what a thread found lately in a table that all threads share.
//!
//! Looking into a shared table takes its lock for reading and a reference to what is found: both
//! write to memory that every other thread writes too, and for a send with four tables that was
//! a quarter of its instructions. So each thread keeps the few entries it found last, and looks
//! only whether the table has [changed](Version) since.

use std::sync::atomic::{AtomicU64, Ordering};

/// The state of a table, distinct from every other state of every other table of the process.
#[derive(Debug)]
pub struct Version {
    /// No other table has it.
    table: u64,
    changes: AtomicU64,
}

impl Default for Version {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { table: NEXT.fetch_add(1, Ordering::Relaxed), changes: AtomicU64::new(0) }
    }
}

/// The [`Version`] of a table at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which table.
    pub table: u64,
    changes: u64,
}

impl Version {
    /// The version as it is now. To be asked before the table is looked into: what changes in
    /// between is then found out the next time.
    pub fn seen(&self) -> Seen {
        Seen { table: self.table, changes: self.changes.load(Ordering::Acquire) }
    }

    /// The table has changed. To be called after the change, and before its lock is given back.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}

/// Entries that a thread keeps. A producer has few topics; what collides is looked up again.
const PLACES: usize = 16;

/// What a thread found lately, by name, in one table or several.
///
/// An entry is kept until another one takes its place, for as long as the thread lives: it must not
/// hold what costs much.
#[derive(Debug)]
pub struct Recent<V> {
    kept: [Option<Kept<V>>; PLACES],
}

#[derive(Debug)]
struct Kept<V> {
    seen: Seen,
    name: Box<str>,
    value: V,
}

impl<V> Recent<V> {
    /// Nothing found yet.
    pub const fn new() -> Self {
        Self { kept: [const { None }; PLACES] }
    }

    /// What the table of that version has under that name: as kept, or else as `find` finds it
    /// there. What is not there is not kept.
    pub fn get(
        &mut self,
        version: &Version,
        name: &str,
        find: impl FnOnce() -> Option<V>,
    ) -> Option<&V> {
        let seen = version.seen();
        // Names that a program uses together mostly differ in their last byte.
        let last = name.as_bytes().last().copied().unwrap_or(0);
        let place = &mut self.kept[(usize::from(last) + name.len() + seen.table as usize) % PLACES];
        if !place.as_ref().is_some_and(|kept| kept.seen == seen && *kept.name == *name) {
            *place = Some(Kept { value: find()?, seen, name: name.into() });
        }
        place.as_ref().map(|kept| &kept.value)
    }
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_the_tables_have_now() {
        let tables = [Version::default(), Version::default()];
        let mut recent = Recent::new();
        let names: Vec<String> = (0..3 * PLACES).map(|number| format!("name-{number}")).collect();
        for round in 0..3 {
            for (number, table) in tables.iter().enumerate() {
                for name in names.iter().chain(&names) {
                    let value = format!("{number} {round} {name}");
                    assert_eq!(recent.get(table, name, || Some(value.clone())), Some(&value));
                    assert_eq!(recent.get(table, name, || None), Some(&value), "kept");
                }
                table.changed();
            }
            assert_eq!(recent.get(&tables[0], "name-0", || None), None, "forgotten");
        }
    }
}
