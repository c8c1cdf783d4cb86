//! [`Complaints`]: log lines about what strangers do, few of each kind however many there are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::common::sync::lock;

/// At most one line of a kind about an address in this time.
const PERIOD: Duration = Duration::from_secs(60);
/// Addresses and kinds remembered; beyond that the oldest are forgotten.
const MOST: usize = 256;

#[derive(Debug)]
struct Told {
    at: Instant,
    kept_back: u64,
}

/// Says each kind of thing about each address once a minute, and how often it was true meanwhile.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<HashMap<(&'static str, IpAddr), Told>>);

impl Complaints {
    /// Logs `what` at `level`, unless the same `kind` was said of `about` within the last minute.
    pub fn tell(&self, level: log::Level, kind: &'static str, about: IpAddr, what: &str) {
        if let Some(kept_back) = self.may_tell(kind, about, Instant::now()) {
            match kept_back {
                0 => log::log!(level, "{what}"),
                count => log::log!(level, "{what} (and {count} more like it since the last line)"),
            }
        }
    }

    /// Whether it may be told now; then how often it was kept back.
    fn may_tell(&self, kind: &'static str, about: IpAddr, now: Instant) -> Option<u64> {
        let mut told = lock(&self.0);
        if let Some(last) = told.get_mut(&(kind, about)) {
            if now.duration_since(last.at) < PERIOD {
                last.kept_back += 1;
                return None;
            }
            last.at = now;
            return Some(std::mem::take(&mut last.kept_back));
        }
        if told.len() >= MOST {
            let oldest = told.iter().min_by_key(|(_, told)| told.at).map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                told.remove(&oldest);
            }
        }
        told.insert((kind, about), Told { at: now, kept_back: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn once_a_minute_and_not_forgotten() {
        let complaints = Complaints::default();
        let (now, one) = (Instant::now(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(complaints.may_tell("silent", one, now), Some(0));
        assert_eq!(complaints.may_tell("silent", one, now), None);
        assert_eq!(complaints.may_tell("garbage", one, now), Some(0));
        assert_eq!(complaints.may_tell("silent", one, now + PERIOD), Some(1));
        for number in 0..10_000u32 {
            complaints.may_tell("silent", IpAddr::V4(number.into()), now + PERIOD);
        }
        assert!(lock(&complaints.0).len() <= MOST);
    }
}
