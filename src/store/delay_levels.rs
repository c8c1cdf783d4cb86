//! [`DelayLevels`]: the delay of each level of `messageDelayLevel`.

use std::time::Duration;

/// Delays by level, from level 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayLevels(Vec<i64>);

impl DelayLevels {
    /// Reads `1s 5s 10s 30s 1m 2h 1d`: level *n* is the *n*-th word. The error says which word is
    /// wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.split_whitespace().map(parse_delay).collect::<Result<_, _>>().map(Self)
    }

    /// Largest level.
    pub fn max_level(&self) -> i32 {
        self.0.len() as i32
    }

    /// Delay of a level, ms; a level above the largest counts as the largest, one below 1 has
    /// none.
    pub fn delay_ms(&self, level: i32) -> Option<i64> {
        let index = usize::try_from(level.min(self.max_level())).ok()?.checked_sub(1)?;
        self.0.get(index).copied()
    }

    /// When a message of `level` stored at `store_timestamp` is due, ms. `None`: not delayed.
    pub fn due_time(&self, level: i32, store_timestamp: i64) -> Option<i64> {
        self.delay_ms(level).map(|delay| store_timestamp.saturating_add(delay))
    }
}

fn parse_delay(word: &str) -> Result<i64, String> {
    let wrong = || {
        format!(
            "messageDelayLevel: {word:?} is no delay; expected a number and s, m, h or d, as 10s"
        )
    };
    let unit = word.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: i64 = word[..word.len() - 1].parse().map_err(|_| wrong())?;
    let limit = Duration::from_secs(100 * 365 * 86_400).as_millis() as i64;
    number.checked_mul(seconds * 1000).filter(|delay| (0..=limit).contains(delay)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        let levels = DelayLevels::parse("1s 5s 1m 2h 1d").unwrap();
        assert_eq!(levels.max_level(), 5);
        assert_eq!(levels.due_time(2, 1000), Some(6000));
        assert_eq!(levels.due_time(99, 0), Some(86_400_000));
        assert_eq!(levels.due_time(0, 0), None);
        assert!(DelayLevels::parse("1s 5x").unwrap_err().contains("\"5x\""));
        assert!(DelayLevels::parse("1s µ").is_err());
    }
}
