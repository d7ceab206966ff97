//! Whether a failed call may be repeated, and when. Pure.
//!
//! The rule looks at what could have reached the service: a connection that was never made may be made
//! again for any call; once bytes went out, only calls that do no harm twice are repeated.

use std::time::Duration;

/// How much a call minds being delivered twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Twice is as good as once.
    Harmless,
    /// Only if the first cannot have arrived.
    Never,
    /// The body can be sent only once: not even then.
    OneShot,
}

/// What went wrong, as far as repeating is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection was made, and another try may make one.
    NotConnected,
    /// No connection was made, and none will be: an unknown name, a certificate.
    Hopeless,
    /// The connection was lost or went silent after bytes were sent.
    Lost,
    /// The service answered with this status.
    Status {
        /// HTTP status.
        status: u16,
        /// What the service asks for.
        retry_after: Option<Duration>,
    },
}

/// Numbers of the rule.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Requests altogether.
    pub tries: u32,
    /// First pause; doubles.
    pub base: Duration,
    /// Longest pause of our own choice.
    pub cap: Duration,
    /// No repetition but the first starts later than this after the first request, waits the service asks
    /// for excepted. The first is always made: a single answer that never comes may cost all of this.
    pub budget: Duration,
    /// The longest wait the service may ask for.
    pub obey: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tries: 5,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(8),
            budget: Duration::from_secs(60),
            obey: Duration::from_secs(300),
        }
    }
}

/// The pause before the next request, or `None` to give up.
///
/// `done` counts requests sent so far, `spent` is the time since the first, `jitter` lies in 0..1.
pub fn next(
    policy: &Policy,
    failure: Failure,
    repeat: Repeat,
    done: u32,
    spent: Duration,
    jitter: f64,
) -> Option<Duration> {
    if done >= policy.tries || !may_repeat(failure, repeat, done) {
        return None;
    }
    let own = backoff(policy, done, jitter);
    if let Failure::Status { status: 429 | 503, retry_after: Some(asked) } = failure {
        // A little later than asked, so that many callers of one organization spread.
        return (asked <= policy.obey).then(|| asked + own.min(Duration::from_secs(1)));
    }
    (done == 1 || spent + own <= policy.budget).then_some(own)
}

fn may_repeat(failure: Failure, repeat: Repeat, done: u32) -> bool {
    match (failure, repeat) {
        (Failure::Hopeless, _) | (_, Repeat::OneShot) => false,
        (Failure::NotConnected, _) => true,
        (Failure::Lost, repeat) => repeat == Repeat::Harmless,
        (Failure::Status { status, .. }, repeat) => match status {
            429 => true,
            502..=504 => repeat == Repeat::Harmless,
            500 => repeat == Repeat::Harmless && done < 3,
            _ => false,
        },
    }
}

/// A pause with full jitter, never under a tenth of the base so that nobody hammers.
pub fn backoff(policy: &Policy, done: u32, jitter: f64) -> Duration {
    let ceiling = policy.base.saturating_mul(1 << done.saturating_sub(1).min(16)).min(policy.cap);
    ceiling.mul_f64(jitter.clamp(0.0, 1.0)).max(policy.base / 10)
}

/// The wait asked for by headers: `Retry-After`, or Daytona's `Retry-After-<bucket>`; the longest counts.
/// `now` in seconds since the epoch, for the form with a date. What cannot be read is ignored.
pub fn asked_wait<'h>(
    headers: impl Iterator<Item = (&'h str, &'h str)>,
    now: i64,
) -> Option<Duration> {
    let asked = |(name, value): (&str, &str)| {
        let ours = name == "retry-after" || name.starts_with("retry-after-");
        ours.then(|| wait_of(value.trim(), now)).flatten()
    };
    headers.filter_map(asked).max()
}

fn wait_of(value: &str, now: i64) -> Option<Duration> {
    if value.bytes().all(|b| b.is_ascii_digit()) && !value.is_empty() {
        // More digits than fit are still a very long wait.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX / 4)));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_zoned(value).ok()?;
    let seconds = date.timestamp().as_second() - now;
    Some(Duration::from_secs(seconds.max(0).unsigned_abs()))
}

/// A number in 0..1 that differs from call to call and process to process.
pub(crate) fn jitter() -> f64 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    f64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16) -> Failure {
        Failure::Status { status, retry_after: None }
    }

    #[test]
    fn what_could_have_arrived_decides() {
        use Repeat::{Harmless, Never, OneShot};
        let table = [
            (Failure::NotConnected, [true, true, false]),
            (Failure::Hopeless, [false, false, false]),
            (Failure::Lost, [true, false, false]),
            (status(400), [false, false, false]),
            (status(401), [false, false, false]),
            (status(403), [false, false, false]),
            (status(404), [false, false, false]),
            (status(409), [false, false, false]),
            (status(413), [false, false, false]),
            (status(429), [true, true, false]),
            (status(500), [true, false, false]),
            (status(502), [true, false, false]),
            (status(503), [true, false, false]),
            (status(504), [true, false, false]),
            (status(501), [false, false, false]),
        ];
        let policy = Policy::default();
        for (failure, expected) in table {
            let got = [Harmless, Never, OneShot]
                .map(|r| next(&policy, failure, r, 1, Duration::ZERO, 0.5).is_some());
            assert_eq!(got, expected, "{failure:?}");
        }
    }

    #[test]
    fn tries_and_budget_end() {
        let policy = Policy::default();
        let go = |done, spent| {
            next(&policy, Failure::Lost, Repeat::Harmless, done, Duration::from_secs(spent), 1.0)
        };
        assert_eq!(go(1, 0), Some(Duration::from_millis(500)));
        assert_eq!(go(4, 10), Some(Duration::from_secs(4)));
        assert_eq!(go(5, 10), None);
        assert_eq!(go(2, 60), None);
        assert!(go(1, 90).is_some(), "one silent answer is no reason to give up");
        assert_eq!(next(&policy, status(500), Repeat::Harmless, 3, Duration::ZERO, 0.0), None);
    }

    #[test]
    fn the_service_may_ask_for_minutes_but_not_for_years() {
        let policy = Policy::default();
        let wait = |asked| {
            let failure = Failure::Status { status: 429, retry_after: asked };
            next(&policy, failure, Repeat::Never, 1, Duration::from_secs(59), 0.0)
        };
        let pause = Duration::from_millis(50);
        assert_eq!(wait(Some(Duration::from_secs(120))), Some(Duration::from_secs(120) + pause));
        assert_eq!(wait(Some(Duration::ZERO)), Some(pause));
        assert_eq!(wait(Some(Duration::from_secs(1_000_000_000))), None);
        assert_eq!(wait(None), Some(pause));
    }

    #[test]
    fn the_wait_is_read_in_every_spelling() {
        let now = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT
        let one = |name, value| asked_wait([(name, value)].into_iter(), now).map(|d| d.as_secs());
        assert_eq!(one("retry-after", "7"), Some(7));
        assert_eq!(one("retry-after", " 0 "), Some(0));
        assert_eq!(one("retry-after-sandbox-create", "12"), Some(12));
        assert_eq!(one("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(one("retry-after", "Sun, 06 Nov 1994 08:40:37 GMT"), Some(0));
        assert_eq!(one("retry-after", "soon"), None);
        assert_eq!(one("retry-after", "-5"), None);
        assert_eq!(one("retry-after", ""), None);
        assert_eq!(one("x-ratelimit-reset", "9"), None);
        assert!(one("retry-after", "99999999999999999999999").is_some_and(|s| s > 1_000_000_000));
        let both = [("retry-after-authenticated", "3"), ("retry-after", "30")];
        assert_eq!(asked_wait(both.into_iter(), now), Some(Duration::from_secs(30)));
    }
}
