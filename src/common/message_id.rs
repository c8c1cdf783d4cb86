//! The two message ids: [`MessageId`] (where a message lies) and [`unique_key`] (made by the
//! client before sending).

use std::fmt::{self, Write};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU16, Ordering};

use super::os::LocalTime;
use super::{clock, os};

/// Offset message id.
///
/// Upper-case hexadecimal of:
///
/// | bytes | field |
/// |---|---|
/// | 4 or 16 | address of the broker |
/// | 4 | port, i32 |
/// | 8 | commit-log offset, i64 |
///
/// 32 characters for IPv4, 56 for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// The broker's store host.
    pub host: SocketAddr,
    /// Commit-log offset of the record.
    pub offset: i64,
}

/// The text of a [`MessageId`].
pub struct Digits {
    /// The digits stand at the end.
    digits: [u8; 56],
    start: usize,
}

impl Digits {
    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.digits[self.start..]).unwrap_or_default()
    }
}

impl MessageId {
    /// The text, without an allocation: each send is answered with one.
    pub fn digits(&self) -> Digits {
        // They are put down from the right, eight at once.
        let mut digits = [0u8; 56];
        let mut start = digits.len();
        let mut put = |value: u32| {
            start -= 8;
            digits[start..start + 8].copy_from_slice(&hexadecimal(value));
        };
        put(self.offset as u32);
        put((self.offset >> 32) as u32);
        put(self.host.port().into());
        match self.host.ip() {
            IpAddr::V4(address) => put(address.to_bits()),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                [0, 32, 64, 96].into_iter().for_each(|shift| put((bits >> shift) as u32));
            }
        }
        Digits { digits, start }
    }
}

/// The eight digits of a number, all computed at once, each in a byte of a word.
fn hexadecimal(value: u32) -> [u8; 8] {
    let mut word = u64::from(value);
    // Each half byte goes to a byte of its own.
    word = (word | word << 16) & 0x0000_FFFF_0000_FFFF;
    word = (word | word << 8) & 0x00FF_00FF_00FF_00FF;
    word = (word | word << 4) & 0x0F0F_0F0F_0F0F_0F0F;
    // From ten on the sum has a bit for the letter.
    let letters = (word + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    let to_letter = u64::from(b'A' - b'0' - 10);
    (word + u64::from_ne_bytes([b'0'; 8]) + letters * to_letter).to_be_bytes()
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits().as_str())
    }
}

impl FromStr for MessageId {
    type Err = String;

    /// Reads either form, in upper or lower case. The error is a sentence for a person.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |why: &str| format!("{text:?} is no offset message id: {why}");
        if text.len() != 32 && text.len() != 56 {
            return Err(refuse("it must have 32 characters, or 56 for an IPv6 broker"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refuse("it must be hexadecimal"));
        }
        let number = |digits: &str| u128::from_str_radix(digits, 16).unwrap_or_default();
        let (address, rest) = text.split_at(text.len() - 24);
        let address: IpAddr = if address.len() == 8 {
            Ipv4Addr::from_bits(number(address) as u32).into()
        } else {
            Ipv6Addr::from_bits(number(address)).into()
        };
        let port = u16::try_from(number(&rest[..8]))
            .map_err(|_| refuse("its port is greater than 65535"))?;
        Ok(Self { host: SocketAddr::new(address, port), offset: number(&rest[8..]) as i64 })
    }
}

/// A new unique key (`UNIQ_KEY`): what users see as the message id.
///
/// Upper-case hexadecimal of:
///
/// | bytes | field |
/// |---|---|
/// | 4 or 16 | address of the client, IPv4 preferred |
/// | 2 | process id, low 16 bits |
/// | 4 | random, chosen at start: two clients of one process id on machines of one address differ |
/// | 4 | milliseconds since the first day of this month, 00:00 local time |
/// | 2 | counter |
///
/// It is unique as long as a process makes fewer than 65,536 in a millisecond (at the same time in
/// any month: readers take the key for opaque, except `mqadmin`, which guesses the time).
pub fn unique_key() -> String {
    static PREFIX: OnceLock<String> = OnceLock::new();
    static COUNTER: AtomicU16 = AtomicU16::new(0);
    let prefix = PREFIX.get_or_init(unique_key_prefix);
    let now = clock::now_ms();
    let span = (now - month_start(now)) as u32;
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut key = String::with_capacity(prefix.len() + 12);
    key.push_str(prefix);
    // Writing to a String does not fail.
    let _ = write!(key, "{span:08X}{count:04X}");
    key
}

/// Address, process id and random part, the same in all keys of the process.
fn unique_key_prefix() -> String {
    let random = RandomState::new().hash_one(clock::now_ms()) as u32;
    // Without any address, Java and we take the low bytes of the clock.
    let address =
        os::local_address().unwrap_or_else(|| Ipv4Addr::from_bits(clock::now_ms() as u32).into());
    let address = match address {
        IpAddr::V4(address) => format!("{:08X}", address.to_bits()),
        IpAddr::V6(address) => format!("{:032X}", address.to_bits()),
    };
    format!("{address}{:04X}{random:08X}", std::process::id() as u16)
}

/// Start of the month of `now`, both ms. Asking the time zone costs a lock in the C library, so the
/// answer is kept until the next month begins.
fn month_start(now: i64) -> i64 {
    static START: AtomicI64 = AtomicI64::new(i64::MAX);
    static END: AtomicI64 = AtomicI64::new(i64::MIN);
    // Whoever sees the new end sees the new start, which is stored before it.
    let end = END.load(Ordering::Acquire);
    let start = START.load(Ordering::Relaxed);
    if (start..end).contains(&now) {
        return start;
    }
    let month = LocalTime::from_epoch_ms(now).start_of_month();
    let start = month.to_epoch_ms();
    START.store(start, Ordering::Relaxed);
    let next = LocalTime { month: month.month + 1, ..month };
    END.store(next.to_epoch_ms(), Ordering::Release);
    start
}

/// When a unique key was made, ms, by the clock of its client, as `mqadmin` shows it. The month is
/// not in the key: it is taken for the last one possible before `now`. `None` if the text is no key.
pub fn unique_key_time(key: &str, now: i64) -> Option<i64> {
    if key.len() != 32 && key.len() != 56 {
        return None;
    }
    let at = key.len() - 12;
    let span = i64::from(u32::from_str_radix(key.get(at..at + 8)?, 16).ok()?);
    let month = LocalTime::from_epoch_ms(now).start_of_month();
    let start = month.to_epoch_ms();
    if start + span < now {
        return Some(start + span);
    }
    let last = LocalTime::from_epoch_ms(start - 1).start_of_month();
    Some(last.to_epoch_ms() + span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_message_ids_of_java() {
        for (host, offset, text) in [
            ("10.0.0.1:10911", 12345, "0A00000100002A9F0000000000003039"),
            (
                "[2001:db8::1]:10911",
                12345,
                "20010DB800000000000000000000000100002A9F0000000000003039",
            ),
            ("[::1]:2", 0x76, "00000000000000000000000000000001000000020000000000000076"),
        ] {
            let id = MessageId { host: host.parse().unwrap(), offset };
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
            assert_eq!(text.to_lowercase().parse(), Ok(id));
        }
    }

    #[test]
    fn digits_are_what_the_general_formatting_writes() {
        for value in [0, 9, 10, 0x89AB_CDEF, 0x0123_4567, u32::MAX] {
            assert_eq!(str::from_utf8(&hexadecimal(value)).unwrap(), format!("{value:08X}"));
        }
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "0",
            "0A00000100002A9F000000000000303",
            "0A00000100002A9F000000000000303G",
            "0A00000100012A9F0000000000003039",
            "+A00000100002A9F0000000000003039",
            "äääääääääääääääää",
        ] {
            assert!(text.parse::<MessageId>().unwrap_err().contains("no offset message id"));
        }
    }

    #[test]
    fn unique_keys_differ_and_tell_their_time() {
        let before = clock::now_ms();
        let keys: std::collections::HashSet<String> = (0..1000).map(|_| unique_key()).collect();
        assert_eq!(keys.len(), 1000);
        for key in &keys {
            assert!(key.len() == 32 || key.len() == 56, "{key}");
            assert_eq!(key.to_uppercase(), *key);
            let time = unique_key_time(key, clock::now_ms() + 1).unwrap();
            assert!((before..=clock::now_ms()).contains(&time), "{time}");
        }
    }

    #[test]
    fn a_span_in_the_future_was_last_month() {
        let now = clock::now_ms();
        let span = (now - month_start(now) + 60_000) as u32;
        let time = unique_key_time(&format!("0A0000010001000000{span:08X}000000"), now).unwrap();
        assert!(time < now);
        assert_eq!(unique_key_time("short", now), None);
        assert_eq!(unique_key_time(&"ä".repeat(16), now), None);
    }
}
