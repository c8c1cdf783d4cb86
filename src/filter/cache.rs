//! [`CompileCache`]: the expressions compiled last, so that a pull that carries its expression does
//! not compile it every time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::{Dialect, Expression, FilterError, compile};
use crate::common::sync::lock;

/// Most expressions in the cache, as in Java.
pub const MAX_ENTRIES: usize = 100;
/// Most bytes of their texts together: a compiled expression takes several times its text.
pub const MAX_CACHED_BYTES: usize = 256 * 1024;

/// What compiling a text came to; failures are remembered too.
pub type Compiled = Result<Arc<Expression>, FilterError>;

/// The last compiled expressions by their exact text. The least recently used one goes first.
#[derive(Debug, Default)]
pub struct CompileCache {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Text to its result and its last use.
    entries: HashMap<(Dialect, Box<str>), (Compiled, u64)>,
    bytes: usize,
    uses: u64,
}

impl CompileCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compiles a text, or remembers what came of it.
    pub fn compile(&self, text: &str, dialect: Dialect) -> Compiled {
        let key = (dialect, Box::from(text));
        {
            let mut inner = lock(&self.inner);
            inner.uses += 1;
            let now = inner.uses;
            if let Some((compiled, used)) = inner.entries.get_mut(&key) {
                *used = now;
                return compiled.clone();
            }
        }
        // Without the lock: others need not wait for a long expression.
        let compiled = compile(text, dialect).map(Arc::new);
        lock(&self.inner).insert(key, compiled.clone());
        compiled
    }

    /// How many expressions are remembered.
    pub fn len(&self) -> usize {
        lock(&self.inner).entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Inner {
    fn insert(&mut self, key: (Dialect, Box<str>), compiled: Compiled) {
        let bytes = key.1.len();
        if bytes > MAX_CACHED_BYTES {
            return;
        }
        while self.entries.len() >= MAX_ENTRIES || self.bytes + bytes > MAX_CACHED_BYTES {
            let oldest = self.entries.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
            self.entries.remove(&oldest);
            self.bytes -= oldest.1.len();
        }
        if self.entries.insert(key, (compiled, self.uses)).is_none() {
            self.bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = CompileCache::new();
        let first = cache.compile("a = 1", Dialect::V4).unwrap();
        let failure = cache.compile("a = ", Dialect::V4).unwrap_err();
        assert_eq!((failure.line, failure.column), (1, 5));
        for number in 0..MAX_ENTRIES - 1 {
            cache.compile(&format!("b = {number}"), Dialect::V4).unwrap();
            assert!(Arc::ptr_eq(&first, &cache.compile("a = 1", Dialect::V4).unwrap()));
        }
        assert_eq!(cache.len(), MAX_ENTRIES);
        assert!(!lock(&cache.inner).entries.contains_key(&(Dialect::V4, "a = ".into())));
    }

    #[test]
    fn long_texts_do_not_fill_the_memory() {
        let cache = CompileCache::new();
        for number in 0..20 {
            let text = format!("a = '{}{number}'", "x".repeat(60_000));
            cache.compile(&text, Dialect::V4).unwrap();
            assert!(lock(&cache.inner).bytes <= MAX_CACHED_BYTES);
        }
        assert_eq!(cache.len(), 4);
        assert!(cache.compile(&"(".repeat(1 << 20), Dialect::V4).is_err());
        assert_eq!(cache.len(), 4);
    }
}
