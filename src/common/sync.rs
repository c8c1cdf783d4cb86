//! What locks and threads share when something panicked: locks that go on, and panics that are
//! logged with the name of who had them.
//!
//! A panic is a bug, and one bug must not stop a broker. The data behind our locks is changed in
//! steps that leave it consistent, so a lock that a panic poisoned is taken all the same.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock, also after a panic under it.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `body`. A panic in it ends here: it is logged as `who`'s, and the result is `None`.
pub fn catch_panic<R>(who: &str, body: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => Some(result),
        Err(payload) => {
            log::error!("{who} panicked: {}", panic_message(&*payload));
            None
        }
    }
}

/// What a panic said, from the payload that `catch_unwind` returns.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_and_the_lock_goes_on() {
        let mutex = Mutex::new(1);
        let caught = catch_panic("test", || {
            let mut guard = lock(&mutex);
            *guard = 2;
            panic!("on purpose");
        });
        assert_eq!(caught, None::<()>);
        assert_eq!(*lock(&mutex), 2);
        let payload = catch_unwind(|| panic!("number {}", 7)).unwrap_err();
        assert_eq!(panic_message(&*payload), "number 7");
    }
}
