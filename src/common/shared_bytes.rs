//! [`SharedBytes`]: bytes that go to a socket as they lie.

use std::io::IoSlice;

/// Bytes that somebody else owns and that go to a socket as they lie: slices of the mapped commit
/// log. They stay valid as long as the object lives.
pub trait SharedBytes: Send + Sync {
    /// Total bytes.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Appends all pieces, in order.
    fn slices<'a>(&'a self, out: &mut Vec<IoSlice<'a>>);
}
