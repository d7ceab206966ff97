//! A run on a terminal that somebody types into. It lives as long as its terminal, and nothing is recorded
//! but its exit status: who wants to leave and come back starts it without one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::RunRef;
use super::frames::GO;
use crate::daytona::pty::{Pty, PtyEvent, PtyOptions};
use crate::daytona::script::quote;
use crate::daytona::{Error, Toolbox};

/// Between two pings.
const PING: Duration = Duration::from_secs(15);
/// Without any frame for this long, the connection is dead.
const DEAD: Duration = Duration::from_secs(45);

/// What a terminal tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Output of the command.
    Bytes(Bytes),
    /// The command ended with this status.
    Ended(i32),
    /// The connection is gone, and with it the terminal.
    Lost(String),
}

/// The near end of a terminal in the sandbox.
#[derive(Debug)]
pub struct Terminal {
    toolbox: Toolbox,
    id: String,
    pty: Pty,
    speech: Speech,
    line: Option<String>,
    last: Instant,
    pings: tokio::time::Interval,
}

impl Terminal {
    /// Opens a terminal of `(columns, rows)` and types the line that becomes the command of a run planned
    /// with [`super::start::Kind::Typed`].
    pub async fn open(toolbox: &Toolbox, run: &RunRef, size: (u16, u16)) -> Result<Self, Error> {
        let id = format!("sbx-{}", uuid::Uuid::new_v4().simple());
        let (cols, rows) = within(size);
        let options =
            PtyOptions { id: id.clone(), cols, rows, cwd: None, envs: BTreeMap::default() };
        let pty = toolbox.pty_connect(&options).await?;
        let line = format!(
            "stty sane; printf '\\001GO\\002'; exec sh {} {} {}\r",
            quote(&format!("{}/term.sh", run.dir)),
            quote(&run.dir),
            run.id
        );
        let mut pings = tokio::time::interval(PING);
        pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Ok(Self {
            toolbox: toolbox.clone(),
            id,
            pty,
            speech: Speech::new(&run.id),
            line: Some(line),
            last: Instant::now(),
            pings,
        })
    }

    /// What comes next. May be dropped and asked again.
    pub async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.speech.next() {
                return heard;
            }
            let event = tokio::select! {
                event = self.pty.next() => event,
                _ = self.pings.tick() => {
                    if self.last.elapsed() >= DEAD {
                        return Heard::Lost("the terminal went silent".into());
                    }
                    match self.pty.ping().await {
                        Ok(()) => continue,
                        Err(error) => return Heard::Lost(error.to_string()),
                    }
                }
            };
            self.last = Instant::now();
            match event {
                PtyEvent::Connected => {
                    if let Some(line) = self.line.take()
                        && let Err(error) = self.pty.send(line.as_bytes()).await
                    {
                        return Heard::Lost(error.to_string());
                    }
                }
                PtyEvent::Alive => {}
                PtyEvent::Output(bytes) => self.speech.feed(&bytes),
                PtyEvent::Exited(_) => return Heard::Lost("the terminal ended".into()),
                PtyEvent::Failed(why) => return Heard::Lost(why),
                PtyEvent::Closed { code, reason } => {
                    return Heard::Lost(format!("closed with {code} {reason}").trim().to_owned());
                }
            }
        }
    }

    /// Types bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.pty.send(bytes).await
    }

    /// Gives it another size, in columns and rows.
    pub async fn resize(&self, size: (u16, u16)) -> Result<(), Error> {
        let (cols, rows) = within(size);
        self.toolbox.pty_resize(&self.id, cols, rows).await
    }

    /// Closes it over there, with everything that still runs on it.
    pub async fn close(self) -> Result<(), Error> {
        self.toolbox.pty_delete(&self.id).await
    }
}

/// The sizes that the service takes.
fn within((cols, rows): (u16, u16)) -> (u16, u16) {
    (cols.clamp(1, 1000), rows.clamp(1, 1000))
}

/// Tells the command's output from what is said before and after it, in any cut.
#[derive(Debug)]
struct Speech {
    begun: bool,
    ended: bool,
    held: BytesMut,
    trailer: Vec<u8>,
}

impl Speech {
    fn new(run: &str) -> Self {
        let trailer = format!("\x01END {run} ").into_bytes();
        Self { begun: false, ended: false, held: BytesMut::new(), trailer }
    }

    fn feed(&mut self, bytes: &[u8]) {
        if self.ended {
            return;
        }
        self.held.extend_from_slice(bytes);
        if !self.begun {
            match memchr::memmem::find(&self.held, GO) {
                Some(at) => {
                    self.begun = true;
                    let _ = self.held.split_to(at + GO.len());
                }
                None => {
                    let keep = self.held.len().min(GO.len() - 1);
                    let _ = self.held.split_to(self.held.len() - keep);
                }
            }
        }
    }

    fn next(&mut self) -> Option<Heard> {
        if !self.begun || self.ended {
            return None;
        }
        let end = memchr::memmem::find(&self.held, &self.trailer);
        if end == Some(0) {
            let status = &self.held[self.trailer.len()..];
            let length = memchr::memchr(b'\x02', status)?;
            self.ended = true;
            let status = std::str::from_utf8(&status[..length]).ok().and_then(|s| s.parse().ok());
            return Some(status.map_or_else(|| Heard::Lost("garbled".into()), Heard::Ended));
        }
        let sure = end.unwrap_or_else(|| self.held.len() - self.beginning());
        (sure > 0).then(|| Heard::Bytes(self.held.split_to(sure).freeze()))
    }

    /// How many bytes at the end may be the beginning of the trailer.
    fn beginning(&self) -> usize {
        let most = self.held.len().min(self.trailer.len() - 1);
        (1..=most).rev().find(|n| self.held.ends_with(&self.trailer[..*n])).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_commands_output_is_told_from_the_rest_in_any_cut(
            output in prop::collection::vec(prop::sample::select(b"\x01END r1 \x02GOx\n".to_vec()), 0..80),
            cuts in prop::collection::vec(1usize..9, 1..60),
        ) {
            prop_assume!(memchr::memmem::find(&output, b"\x01END r1 ").is_none());
            let mut wire = b"$ printf '\\001GO\\002'\r\n\x01G\x01GO\x02".to_vec();
            wire.extend_from_slice(&output);
            wire.extend_from_slice(b"\x01END r1 42\x02late");
            let (mut speech, mut seen, mut end, mut rest) = (Speech::new("r1"), Vec::new(), None, &wire[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                speech.feed(piece);
                rest = tail;
                while let Some(heard) = speech.next() {
                    match heard {
                        Heard::Bytes(bytes) => seen.extend_from_slice(&bytes),
                        other => end = Some(other),
                    }
                }
            }
            prop_assert_eq!((seen, end), (output, Some(Heard::Ended(42))));
        }
    }

    #[test]
    fn what_is_typed_is_answered_at_once() {
        let mut speech = Speech::new("r1");
        speech.feed(b"\x01GO\x02$ ");
        assert_eq!(speech.next(), Some(Heard::Bytes(Bytes::from_static(b"$ "))));
        assert_eq!(speech.next(), None);
    }
}
