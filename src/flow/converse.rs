//! A command on the caller's own terminal: keys there, output here.

use std::io::{IsTerminal as _, Read as _};
use std::time::Duration;

use bytes::Bytes;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::follow::{Followed, stop_of};
use super::sandbox::Ready;
use super::{Context, Signal};
use crate::error::Failure;
use crate::event::{Phase, Stream};
use crate::exit::ErrorCode;
use crate::report::Report;
use crate::run::outcome::{End, Stop};
use crate::run::start::Limits;
use crate::run::terminal::{Heard, Terminal};
use crate::run::{self, RunRef};

/// A sandbox in use is not stopped as idle.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// What is left to stop or to look at must not hold up the end.
const LAST: Duration = Duration::from_secs(8);
/// Keys that wait for the wire.
const KEYS: usize = 64;

/// Whether somebody sits at both ends of our standard streams.
pub fn possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// The size of the caller's terminal, in columns and rows.
pub fn size() -> (u16, u16) {
    match tcgetwinsize(rustix::stdio::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => (80, 24),
    }
}

/// Somebody who types decides how long it takes, and thinks in silence; only a limit typed with the command
/// holds.
pub fn limits(cx: &Context) -> Limits {
    let limits = super::follow::limits(cx);
    Limits { total: limits.total.filter(|_| cx.config.is_typed("timeout")), idle: None, ..limits }
}

/// Lets the caller type at a command that was prepared as `Kind::Typed`, until it ends. Every key goes to the
/// command, Ctrl-C too; `~.` at the beginning of a line ends it from here.
pub async fn converse(cx: &Context, ready: &Ready, run: &RunRef) -> anyhow::Result<Followed> {
    cx.told().phase = Some(Phase::Agent);
    let mut terminal = Terminal::open(&ready.toolbox, run, size()).await?;
    cx.reporter.hand_over().await;
    let awake = tokio::spawn(run::view::keep_alive(ready.toolbox.clone(), KEEP_ALIVE));
    let talked = {
        let _raw = Raw::enter();
        talk(cx, &mut terminal).await
    };
    awake.abort();
    let ended = match talked {
        Talked::Ended(status) => (End::Exit(status), None, None),
        Talked::Signal(signal) => {
            (stop(ready, run, stop_of(signal)).await, Some(stop_of(signal)), Some(signal))
        }
        Talked::Left => (stop(ready, run, Stop::Interrupted).await, Some(Stop::Interrupted), None),
        Talked::Lost(why) => lost(ready, run, &why).await?,
    };
    let _ = tokio::time::timeout(Duration::from_millis(1500), terminal.close()).await;
    let (end, stop, signal) = ended;
    Ok(Followed { end, stop, signal, parser: None })
}

/// How a conversation ended.
enum Talked {
    Ended(i32),
    Signal(Signal),
    /// The caller asked to leave.
    Left,
    Lost(String),
}

async fn talk(cx: &Context, terminal: &mut Terminal) -> Talked {
    let mut keys = keys();
    let mut resized = signal(SignalKind::window_change()).ok();
    let mut escape = Escape::default();
    let (mut output, mut typing) = (None::<Bytes>, true);
    loop {
        tokio::select! {
            biased;
            signal = cx.signals.first() => return Talked::Signal(signal),
            room = cx.reporter.room(), if output.is_some() => {
                if let Some(bytes) = output.take() {
                    cx.reporter.pass(room, Report::Output { stream: Stream::Stdout, bytes });
                }
            }
            () = window_change(&mut resized) => {
                if let Err(error) = terminal.resize(size()).await {
                    tracing::debug!(%error, "the terminal keeps its size");
                }
            }
            pressed = keys.recv(), if typing => match pressed.map(|keys| escape.filter(&keys)) {
                Some(Some(keys)) => {
                    if let Err(error) = terminal.send(&keys).await {
                        return Talked::Lost(error.to_string());
                    }
                }
                Some(None) => return Talked::Left,
                None => typing = false,
            },
            heard = terminal.next(), if output.is_none() => match heard {
                Heard::Bytes(bytes) => output = Some(bytes),
                Heard::Ended(status) => return Talked::Ended(status),
                Heard::Lost(why) => return Talked::Lost(why),
            },
        }
    }
}

async fn window_change(resized: &mut Option<tokio::signal::unix::Signal>) {
    let told = match resized {
        Some(resized) => resized.recv().await,
        None => None,
    };
    if told.is_none() {
        std::future::pending().await
    }
}

async fn stop(ready: &Ready, run: &RunRef, why: Stop) -> End {
    let stopping = run::stop::stop(&ready.toolbox, run, why, Duration::from_secs(1));
    match tokio::time::timeout(LAST, stopping).await {
        Ok(Ok(stopped)) => stopped.exit.map_or(End::Lost, End::Exit),
        _ => End::Lost,
    }
}

/// A terminal that is gone takes its command with it, unless that had ended.
async fn lost(
    ready: &Ready,
    run: &RunRef,
    why: &str,
) -> anyhow::Result<(End, Option<Stop>, Option<Signal>)> {
    if let Ok(Ok(state)) = tokio::time::timeout(LAST, run::state(&ready.toolbox, run)).await
        && let Some(status) = state.exit
    {
        return Ok((End::Exit(status), state.why, None));
    }
    stop(ready, run, Stop::Hangup).await;
    let message = format!("the command's terminal was lost: {why}");
    Err(Failure::new(ErrorCode::NetInterrupted, message).into())
}

/// The caller's keys. The thread that reads them ends with the process: a read cannot be called off.
fn keys() -> mpsc::Receiver<Bytes> {
    let (tell, keys) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if tell.blocking_send(Bytes::copy_from_slice(&buffer[..n])).is_err() {
                return;
            }
        }
    });
    keys
}

/// The caller's terminal without its own ideas about keys. Dropping it restores what was there, also when
/// something panics.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> Self {
        let stdin = rustix::stdio::stdin();
        let Ok(before) = tcgetattr(stdin) else { return Self(None) };
        let mut raw = before.clone();
        raw.make_raw();
        Self(tcsetattr(stdin, OptionalActions::Flush, &raw).is_ok().then_some(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Finds `~.` at the beginning of a line among the keys; `~~` is one `~`.
#[derive(Debug)]
struct Escape {
    line_start: bool,
    tilde: bool,
}

impl Default for Escape {
    fn default() -> Self {
        Self { line_start: true, tilde: false }
    }
}

impl Escape {
    /// The keys for the command; `None` if the caller wants to leave.
    fn filter(&mut self, keys: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(keys.len());
        for key in keys {
            match (self.tilde, *key) {
                (true, b'.') => return None,
                (true, b'~') => out.push(b'~'),
                (true, other) => out.extend([b'~', other]),
                (false, b'~') if self.line_start => {
                    self.tilde = true;
                    continue;
                }
                (false, other) => out.push(other),
            }
            self.tilde = false;
            self.line_start = matches!(key, b'\r' | b'\n');
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(pieces: &[&str]) -> Option<String> {
        let mut escape = Escape::default();
        let mut out = Vec::new();
        for piece in pieces {
            out.extend(escape.filter(piece.as_bytes())?);
        }
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn only_tilde_and_dot_at_the_beginning_of_a_line_leave() {
        assert_eq!(through(&["~."]), None);
        assert_eq!(through(&["ls\r~", "."]), None);
        assert_eq!(through(&["ls ~.\r"]).as_deref(), Some("ls ~.\r"));
        assert_eq!(through(&["~~", ".\r~", "x"]).as_deref(), Some("~.\r~x"));
        assert_eq!(through(&["\u{3}", "\u{4}"]).as_deref(), Some("\u{3}\u{4}"));
    }
}
