//! What moves while people wait: on a terminal only, and only after a quarter of a second.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The line at the bottom of the terminal.
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    const PATIENCE: Duration = Duration::from_millis(250);

    /// One that draws only if `enabled`.
    pub fn new(enabled: bool) -> Self {
        Self { bar: enabled.then(ProgressBar::hidden) }
    }

    /// Names the step that now takes its time.
    pub fn step(&mut self, message: &str) {
        let Some(bar) = &mut self.bar else { return };
        if bar.is_hidden() {
            let style = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}")
                .expect("the template is constant");
            let fresh = ProgressBar::with_draw_target(
                None,
                indicatif::ProgressDrawTarget::stderr_with_hz(8),
            );
            fresh.set_style(style);
            fresh.enable_steady_tick(Self::PATIENCE);
            *bar = fresh;
        }
        bar.reset_elapsed();
        bar.set_message(message.to_owned());
    }

    /// Runs `write` with the line out of the way.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if let Some(bar) = &mut self.bar {
            bar.finish_and_clear();
            *bar = ProgressBar::hidden();
        }
    }
}

/// A stopwatch's reading for people: `0.4 s`, `12 s`, `3 m 05 s`.
pub fn human_time(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", elapsed.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Time since `then` for lists: `4s`, `3m`, `2h`, `5d`.
pub fn age(then: Instant) -> String {
    short_age(then.elapsed())
}

/// A duration for lists: `4s`, `3m`, `2h`, `5d`.
pub fn short_age(age: Duration) -> String {
    match age.as_secs() {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86_400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// A size for people: `512 B`, `1.5 KiB`, `24 MiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 10.0 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_well() {
        let times =
            [400, 12_300, 185_000, 7_500_000].map(|ms| human_time(Duration::from_millis(ms)));
        assert_eq!(times, ["0.4 s", "12 s", "3 m 05 s", "2 h 05 m"]);
        let sizes = [0, 1023, 1024, 1536, 25 << 20, 3 << 30].map(human_bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "25 MiB", "3.0 GiB"]);
    }
}
