//! The parts of the soak: each is a test, prints one line of figures, and holds a promise against many runs.
//!
//! A count is `SOAK_<NAME>`; without it, the full count in the soak and a small one elsewhere.

mod command;
mod crowd;
mod daemon;
mod drops;
mod kills;
mod overhead;
mod secrets;
mod signals;
mod streams;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many runs are under way at the same time.
fn at_once() -> usize {
    count("AT_ONCE", 4, 4)
}

/// The count of this name.
fn count(name: &str, full: usize, small: usize) -> usize {
    let given = std::env::var(format!("SOAK_{name}")).ok().and_then(|v| v.parse().ok());
    given.unwrap_or(if crate::FULL { full } else { small })
}

/// When a part that begins now takes no further turn, whatever its count.
fn end() -> Instant {
    Instant::now() + Duration::from_secs(count("SECONDS", 86_400, 86_400) as u64)
}

/// How many turns were taken, and what went wrong.
struct Outcome {
    turns: usize,
    failures: Vec<String>,
}

/// Works through the numbers below `count`, several at a time, each worker with what `open` gives it.
/// `SOAK_SECONDS` ends it early.
fn in_parallel<W>(
    count: usize,
    at_once: usize,
    open: impl Fn(usize) -> W + Sync,
    work: impl Fn(&mut W, usize) -> Result<(), String> + Sync,
) -> Outcome {
    let end = end();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for number in 0..at_once.min(count) {
            let (next, failures, open, work) = (&next, &failures, &open, &work);
            scope.spawn(move || {
                let mut worker = open(number);
                while Instant::now() < end {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    if turn >= count {
                        return;
                    }
                    if let Err(why) = work(&mut worker, turn) {
                        eprintln!("[{turn}] {why}");
                        failures.lock().unwrap().push(format!("[{turn}] {why}"));
                    }
                }
            });
        }
    });
    let turns = next.into_inner().min(count);
    Outcome { turns, failures: failures.into_inner().unwrap() }
}

/// The runtime in which proxies work while tests wait for processes.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().unwrap())
}

/// The most memory a process has had, in KiB; `None` once it is gone.
fn peak_memory(pid: rustix::process::Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Milliseconds at a share of a sorted list.
fn percentile(sorted: &[u128], share: f64) -> u128 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).ceil() as usize).copied().unwrap_or_default()
}

/// `50 % .. / 95 % .. / 100 % ..` of these milliseconds.
fn spread(mut all: Vec<u128>) -> String {
    all.sort_unstable();
    let at = |share| percentile(&all, share);
    format!("p50 {} ms, p95 {} ms, p100 {} ms", at(0.5), at(0.95), at(1.0))
}
