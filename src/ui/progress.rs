//! What moves while people wait: on a terminal only, and only after a quarter of a second.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The line at the bottom of the terminal.
pub struct Progress {
    enabled: bool,
    bar: Option<ProgressBar>,
    /// What takes its time, and since when.
    step: Option<(String, Instant)>,
    /// Somebody's words end where the line would be drawn, and drawing it would wipe them out.
    waiting: bool,
}

impl Progress {
    const PATIENCE: Duration = Duration::from_millis(250);

    /// One that draws only if `enabled`.
    pub fn new(enabled: bool) -> Self {
        Self { enabled, bar: None, step: None, waiting: false }
    }

    /// Names the step that now takes its time.
    pub fn step(&mut self, message: &str) {
        self.step = Some((message.to_owned(), Instant::now()));
        if let Some(bar) = &self.bar {
            bar.reset_elapsed();
            bar.set_message(message.to_owned());
        }
        self.draw();
    }

    fn draw(&mut self) {
        let Some((message, since)) = &self.step else { return };
        if !self.enabled || self.waiting || self.bar.is_some() {
            return;
        }
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}")
            .expect("the template is constant");
        let target = indicatif::ProgressDrawTarget::stderr_with_hz(8);
        let bar = ProgressBar::with_draw_target(None, target)
            .with_style(style)
            .with_message(message.clone())
            .with_elapsed(since.elapsed());
        bar.enable_steady_tick(Self::PATIENCE);
        self.bar = Some(bar);
    }

    /// Draws nothing until [`Self::resume`].
    pub fn pause(&mut self) {
        self.waiting = true;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Draws again after a [`Self::pause`].
    pub fn resume(&mut self) {
        self.waiting = false;
        self.draw();
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
        self.step = None;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
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
