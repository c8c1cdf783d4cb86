//! [`Unreachable`]: brokers that could not be connected to a moment ago.
//!
//! A pull of each queue would try to connect again, and wait for it, on the thread that starts the
//! pulls of all other brokers too. One attempt in a while is enough.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::error::ClientError;
use crate::common::sync::lock;
use crate::remoting::RemotingError;

/// How long nobody else tries.
const QUARANTINE: Duration = Duration::from_secs(3);

/// Addresses that refused or did not answer, until when, and how.
#[derive(Default)]
pub(crate) struct Unreachable(Mutex<HashMap<String, (Instant, ClientError)>>);

impl Unreachable {
    /// The failure of a moment ago, if there was one.
    pub fn check(&self, addr: &str) -> Result<(), ClientError> {
        let mut table = lock(&self.0);
        match table.get(addr) {
            Some((until, error)) if Instant::now() < *until => Err(error.clone()),
            Some(_) => {
                table.remove(addr);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Remembers a failure to connect.
    pub fn note<T>(&self, addr: &str, result: &Result<T, ClientError>) {
        if let Err(error @ ClientError::Remoting(RemotingError::Connect { .. })) = result {
            let until = Instant::now() + QUARANTINE;
            lock(&self.0).insert(addr.to_owned(), (until, error.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_attempt_in_a_while() {
        let table = Unreachable::default();
        let refused: Result<(), _> = Err(ClientError::Remoting(RemotingError::Connect {
            addr: "a:1".into(),
            reason: "refused".into(),
        }));
        assert_eq!(table.check("a:1"), Ok(()));
        table.note("a:1", &refused);
        assert_eq!(table.check("a:1"), refused);
        assert_eq!(table.check("b:1"), Ok(()));
        if let Some(entry) = lock(&table.0).get_mut("a:1") {
            entry.0 = Instant::now();
        }
        assert_eq!(table.check("a:1"), Ok(()));
    }
}
