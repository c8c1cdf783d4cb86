//! [`News`]: how the tables tell that they have changed, to the one thread that passes it on to the
//! other broker.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};

use crate::common::service_thread::Signal;

/// Wakes a thread, if it has said that it waits for news.
///
/// The thread [`expect`](Self::expect)s news *before* it looks whether there is any; who changes
/// something changes it before it [`tell`](Self::tell)s. Both have a full fence in between, so one of
/// them sees the other, and telling costs a load as long as nobody expects anything.
#[derive(Debug, Default)]
pub struct News {
    expected: AtomicBool,
    signal: Arc<Signal>,
}

impl News {
    /// What wakes and stops the thread.
    pub fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }

    /// The next change wakes the thread.
    pub fn expect(&self) {
        self.expected.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Something has changed.
    pub fn tell(&self) {
        fence(Ordering::SeqCst);
        if self.expected.load(Ordering::Relaxed) && self.expected.swap(false, Ordering::SeqCst) {
            self.signal.wakeup();
        }
    }
}

/// A table's end of it; it may have nobody to tell.
#[derive(Debug, Default)]
pub struct Listener(OnceLock<Arc<News>>);

impl Listener {
    /// Sets who is told; once, at start.
    pub fn set(&self, news: &Arc<News>) {
        let _ = self.0.set(Arc::clone(news));
    }

    /// The table has changed.
    pub fn tell(&self) {
        if let Some(news) = self.0.get() {
            news.tell();
        }
    }
}
