//! When a followed run is overdue. Pure, but for the clock at the end.

use std::time::Duration;

use crate::run::outcome::Stop;

/// The most that one look adds to a silence: a machine that slept in between heard nothing of what was said.
const STEP_MAX: Duration = Duration::from_secs(5);

/// The limits of a followed run, held against a clock that goes on while the machine sleeps.
#[derive(Debug, Clone)]
pub struct Deadlines {
    total: Option<Duration>,
    idle: Option<Duration>,
    began: Duration,
    last: Duration,
    silent: Duration,
}

impl Deadlines {
    /// Limits that begin now; `None` is no limit.
    pub fn new(total: Option<Duration>, idle: Option<Duration>, now: Duration) -> Self {
        Self { total, idle, began: now, last: now, silent: Duration::ZERO }
    }

    /// The run said something.
    pub fn heard(&mut self) {
        self.silent = Duration::ZERO;
    }

    /// Looks at the clock. Only time in which somebody was `listening` counts as silence.
    pub fn look(&mut self, now: Duration, listening: bool) -> Option<Stop> {
        let step = now.saturating_sub(self.last).min(STEP_MAX);
        self.last = now;
        if listening {
            self.silent += step;
        }
        if self.total.is_some_and(|limit| now.saturating_sub(self.began) >= limit) {
            return Some(Stop::Timeout);
        }
        self.idle.is_some_and(|limit| self.silent >= limit).then_some(Stop::Silent)
    }
}

/// The time since the machine started, its sleep included: a suspended laptop gives an agent no more time.
pub fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let id = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let id = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(id);
    Duration::new(now.tv_sec.max(0).unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_whole_time_counts_sleep_and_silence_does_not() {
        let mut limits = Deadlines::new(Some(s(1000)), Some(s(10)), s(50));
        assert_eq!(limits.look(s(54), true), None);
        // A lid closed for ten minutes: at most one step of silence.
        assert_eq!(limits.look(s(654), true), None);
        assert_eq!(limits.look(s(655), true), Some(Stop::Silent));
        limits.heard();
        assert_eq!(limits.look(s(1049), true), None);
        assert_eq!(limits.look(s(1050), true), Some(Stop::Timeout));
    }

    #[test]
    fn nobody_is_silent_while_nobody_listens() {
        let mut limits = Deadlines::new(None, Some(s(2)), s(0));
        for now in 1..100 {
            assert_eq!(limits.look(s(now), false), None);
        }
        assert_eq!(limits.look(s(100), true), None);
        assert_eq!(limits.look(s(101), true), Some(Stop::Silent));
    }

    #[test]
    fn a_clock_that_steps_back_harms_nothing() {
        let mut limits = Deadlines::new(Some(s(10)), Some(s(10)), s(100));
        assert_eq!(limits.look(s(3), true), None);
        assert_eq!(limits.look(s(8), true), None);
    }
}
