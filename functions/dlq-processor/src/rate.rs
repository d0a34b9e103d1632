//! The pace of a replay.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// How fast QStash delivers what is replayed: `50/s`, `300/m`, `1000/h`; a bare number is per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// Deliveries.
    pub count: u32,
    /// In this many seconds.
    pub seconds: u32,
}

impl Rate {
    /// Returns how long a message waits at this rate behind so many others. The period that is under way counts, because others may have
    /// used it up.
    pub fn wait_behind(self, others: u64) -> Duration {
        let periods = others / u64::from(self.count.max(1)) + 1;
        Duration::from_secs(u64::from(self.seconds).saturating_mul(periods))
    }
}

/// A text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a rate: write deliveries per second, minute or hour, such as 50/s, 300/m or 1000/h")]
pub struct NotARate(String);

impl std::str::FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        let (count, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => 0,
        };
        let count: u32 = count.trim().parse().unwrap_or_default();
        if count == 0 || seconds == 0 { Err(NotARate(text.to_owned())) } else { Ok(Self { count, seconds }) }
    }
}

impl TryFrom<String> for Rate {
    type Error = NotARate;

    fn try_from(text: String) -> Result<Self, NotARate> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.seconds {
            60 => "m",
            3_600 => "h",
            _ => "s",
        };
        write!(formatter, "{}/{unit}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written_alike() {
        for text in ["50/s", "300/m", "1000/h"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("7".parse::<Rate>().unwrap(), Rate { count: 7, seconds: 1 });
        for bad in ["", "0/s", "-1", "5/d", "x/s", "5/"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_message_waits_for_those_before_it_and_for_the_period_under_way() {
        let rate = |text: &str| text.parse::<Rate>().unwrap();
        for (text, others, seconds) in [("50/s", 0, 1), ("50/s", 49, 1), ("50/s", 50, 2), ("1/h", 10, 11 * 3_600)] {
            assert_eq!(rate(text).wait_behind(others), Duration::from_secs(seconds), "{text} behind {others}");
        }
    }
}
