//! What time it is, and how it is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// The time in milliseconds since 1970, from the system or from a test.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's.
    #[default]
    System,
    /// Stands still until it is set.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// Now.
    pub fn now(&self) -> i64 {
        match self {
            Clock::System => jiff::Timestamp::now().as_millisecond(),
            Clock::Manual(time) => time.load(Ordering::SeqCst),
        }
    }
}

/// RFC 3339 with milliseconds, as Daytona writes it.
pub(super) fn text(millis: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

/// Reads a date with time, or a date alone.
pub(super) fn parse(text: &str) -> Option<i64> {
    let time = text.parse::<jiff::Timestamp>().ok();
    let time = time.or_else(|| format!("{text}T00:00:00Z").parse().ok());
    time.map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_have_three_digits_of_milliseconds() {
        assert_eq!(super::text(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(super::parse("2023-11-14T22:13:20.000Z"), Some(1_700_000_000_000));
        assert_eq!(super::parse("2023-11-14"), Some(1_699_920_000_000));
        assert_eq!(super::parse("nodate"), None);
    }
}
