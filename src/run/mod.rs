//! One run in a sandbox: it outlives the connection that started it.
//!
//! A run is a folder over there. [`start`] claims it and starts a detached runner that records every byte
//! and, last of all, the exit status. [`view`] prints the record from an offset through any loss;
//! [`terminal`] is for a command that somebody types at; [`stop`] ends everything that carries the run's marker; [`outcome`] says what it all came to.
//!
//! Files of a run: `start/` (claimed), `began` (seconds since the epoch), `cmd`, `stdin`, `tty`, `out`,
//! `err`, `pid`, `limits`, `out.hole` and `err.hole` (what they no longer hold), `ended` (why it was ended, written before the first signal), `exit` (written by
//! rename, so it is there whole or not at all).

use std::ops::Range;
use std::time::Duration;

use crate::daytona::script::{Script, said};
use crate::daytona::{Error, Toolbox};

use outcome::Stop;

mod frames;
pub mod outcome;
pub mod start;
pub mod stop;
pub mod terminal;
pub mod view;

/// The variable by which a run's processes are found, wherever they hide.
pub const MARKER: &str = "SANDBOX_CODER_RUN";

/// A run and where its files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRef {
    /// `[a-z0-9]+`.
    pub id: String,
    /// Absolute path of its folder over there.
    pub dir: String,
}

impl RunRef {
    /// The run of this id in the sandbox whose user's home is `home`.
    pub fn of(home: &str, id: &str) -> Self {
        Self { id: id.to_owned(), dir: format!("{home}/.sandbox-coder/runs/{id}") }
    }
}

/// One of the two recorded streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output; for a run with a terminal, everything.
    Out,
    /// Standard error of a command without a terminal.
    Err,
}

impl Stream {
    /// Its file in the run's folder.
    pub fn file(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
        }
    }
}

/// A place in both streams, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offsets {
    /// In standard output.
    pub out: u64,
    /// In standard error.
    pub err: u64,
}

impl Offsets {
    /// The place in one of them.
    pub fn of(&self, stream: Stream) -> u64 {
        match stream {
            Stream::Out => self.out,
            Stream::Err => self.err,
        }
    }

    fn of_mut(&mut self, stream: Stream) -> &mut u64 {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }
}

/// What is known of a run over there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunState {
    /// The recorded exit status; 128+N for signal N.
    pub exit: Option<i32>,
    /// Its runner was up at some time.
    pub started: bool,
    /// A process with its marker lives. Not looked at once there is an exit status.
    pub alive: bool,
    /// Bytes recorded.
    pub sizes: Offsets,
    /// Why it was ended, if it did not end by itself.
    pub why: Option<Stop>,
    /// What is no longer held of the two streams.
    pub holes: [Hole; 2],
}

/// The beginning that every record keeps, in bytes: an eighth of the smallest bound.
pub(crate) const ALWAYS_KEPT: u64 = 1 << 20;

/// Bytes that a record gave up because there were too many. Empty if it gave up none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hole {
    /// The offset of the first one.
    pub from: u64,
    /// The offset after the last one.
    pub to: u64,
}

/// What there is of a stream from an offset on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes that can be read.
    Bytes(Range<u64>),
    /// Bytes that are gone.
    Gap(Range<u64>),
}

impl RunState {
    /// The next piece of a stream; `None` at its end.
    pub fn piece(&self, stream: Stream, from: u64) -> Option<Piece> {
        let (size, hole) = (self.sizes.of(stream), self.holes[stream as usize]);
        if from >= size {
            None
        } else if from >= hole.to {
            Some(Piece::Bytes(from..size))
        } else if from >= hole.from {
            Some(Piece::Gap(from..hole.to))
        } else {
            Some(Piece::Bytes(from..size.min(hole.from)))
        }
    }
}

/// A run as [`list`] finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunListed {
    /// Its id.
    pub id: String,
    /// Seconds since the epoch, by the sandbox's clock; 0 if unknown.
    pub began: u64,
    /// What is known of it.
    pub state: RunState,
}

/// How long the small scripts of this module may take.
const SHORT: Duration = Duration::from_secs(30);

/// Asks what is known of a run. One round trip.
pub async fn state(toolbox: &Toolbox, run: &RunRef) -> Result<RunState, Error> {
    let mut script = Script::new();
    state_step(&mut script, run);
    let answer = toolbox.run_script(&script, SHORT).await?;
    heard_state(&answer.result).ok_or_else(|| not_understood("ask for a run", &answer.result))
}

/// Adds the question of [`state`] to a script; [`heard_state`] reads the answer.
pub fn state_step(script: &mut Script, run: &RunRef) {
    script.set("D", &run.dir).set("R", &run.id).step(include_str!("scripts/state.sh"));
}

/// The answer of [`state_step`].
pub fn heard_state(result: &str) -> Option<RunState> {
    said(result).find(|(word, _)| *word == "run-state").and_then(|(_, rest)| state_of(rest))
}

/// A conversation with an agent, and where such are kept.
#[derive(Debug, Clone, Copy)]
pub struct Conversation<'c> {
    /// Its id.
    pub id: &'c str,
    /// Shell words, see [`crate::agent::conversations::places`].
    pub places: &'c str,
}

/// What [`look`] found.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// The runs that were asked about, in order.
    pub states: Vec<RunState>,
    /// Whether the conversation is there; `None` if it was not asked for or could not be looked at.
    pub kept: Option<bool>,
}

/// Asks what is known of several runs, and whether a conversation is kept there. One round trip. The `late`
/// among them had nobody any more who could start them: a start that is still on its way is called off before.
pub async fn look(
    toolbox: &Toolbox,
    runs: &[RunRef],
    late: &[RunRef],
    conversation: Option<Conversation<'_>>,
) -> Result<Look, Error> {
    let mut script = Script::new();
    for run in late {
        start::call_off_step(&mut script, run, Stop::Hangup);
    }
    for run in runs {
        state_step(&mut script, run);
    }
    if let Some(Conversation { id, places }) = conversation {
        script.set("ID", id);
        script.step(&format!("set -- {places}\n{}", include_str!("scripts/kept.sh")));
    }
    let answer = toolbox.run_script(&script, SHORT).await?;
    let answers = |about| said(&answer.result).filter(move |(word, _)| *word == about);
    let states: Vec<RunState> =
        answers("run-state").filter_map(|(_, rest)| state_of(rest)).collect();
    if states.len() != runs.len() {
        return Err(not_understood("ask for runs", &answer.result));
    }
    let kept = answers("agent-kept").next().and_then(|(_, word)| match word {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    });
    Ok(Look { states, kept })
}

fn state_of(rest: &str) -> Option<RunState> {
    let mut words = rest.split(' ');
    let exit = words.next()?.parse().ok();
    let mut flag = || words.next().map(|w| w == "1");
    let (started, alive) = (flag()?, flag()?);
    let sizes = Offsets { out: words.next()?.parse().ok()?, err: words.next()?.parse().ok()? };
    let why = words.next().and_then(Stop::remembered);
    let mut hole = || {
        let mut number = || words.next()?.parse().ok();
        Some(Hole { from: number()?, to: number()? })
    };
    let holes = [hole().unwrap_or_default(), hole().unwrap_or_default()];
    Some(RunState { exit, started, alive, sizes, why, holes })
}

/// The runs of a sandbox, below the folder of all runs. One round trip.
pub async fn list(toolbox: &Toolbox, runs: &str) -> Result<Vec<RunListed>, Error> {
    let mut script = Script::new();
    script.set("RUNS", runs).step(include_str!("scripts/list.sh"));
    let answer = toolbox.run_script(&script, SHORT).await?;
    if answer.exit_code != 0 {
        return Err(not_understood("list runs", &answer.result));
    }
    Ok(said(&answer.result).filter(|(word, _)| *word == "run-listed").filter_map(listed).collect())
}

fn listed((_, rest): (&str, &str)) -> Option<RunListed> {
    let mut words = rest.split(' ');
    let id = words.next()?.to_owned();
    let began = words.next()?.parse().unwrap_or_default();
    let exit: Option<i32> = words.next()?.parse().ok();
    let alive = words.next()? == "1";
    let sizes = Offsets { out: words.next()?.parse().ok()?, err: words.next()?.parse().ok()? };
    let why = words.next().and_then(Stop::remembered);
    let holes = Default::default();
    let state = RunState { exit, started: true, alive, sizes, why, holes };
    Some(RunListed { id, began, state })
}

fn not_understood(what: &str, result: &str) -> Error {
    let (what, why) = (what.to_owned(), format!("`{}`", crate::daytona::plain(result)));
    if result.contains("No space left on device") {
        return Error::NoSpace { what, why };
    }
    Error::BadJson { what, host: "the sandbox".to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ErrorCode;

    #[test]
    fn a_script_without_room_is_told_as_such() {
        let code = |result: &str| not_understood("ask for a run", result).code();
        assert_eq!(code("cat: write error: No space left on device\n"), ErrorCode::SyncDiskFull);
        assert_eq!(code("cat: something else\n"), ErrorCode::ProtoBadJson);
    }

    #[test]
    fn a_hole_is_walked_around() {
        let state = heard_state("SBX1 run-state - 1 1 100 9 - 20 60 0 0").unwrap();
        let mut pieces = Vec::new();
        let mut at = 5;
        while let Some(piece) = state.piece(Stream::Out, at) {
            at = match &piece {
                Piece::Bytes(range) | Piece::Gap(range) => range.end,
            };
            pieces.push(piece);
        }
        assert_eq!(pieces, [Piece::Bytes(5..20), Piece::Gap(20..60), Piece::Bytes(60..100)]);
        assert_eq!(state.piece(Stream::Out, 30), Some(Piece::Gap(30..60)));
        assert_eq!(state.piece(Stream::Err, 0), Some(Piece::Bytes(0..9)));
        assert_eq!(state.piece(Stream::Err, 9), None);
    }

    #[test]
    fn the_state_of_a_run_is_read_from_our_own_line() {
        let state = heard_state("profile noise\nSBX1 run-state 3 1 0 12 34 -\n").unwrap();
        assert_eq!((state.exit, state.started, state.alive), (Some(3), true, false));
        assert_eq!(state.sizes, Offsets { out: 12, err: 34 });
        assert_eq!(state.why, None);
        let ended = heard_state("SBX1 run-state 0 1 0 0 0 timeout").unwrap();
        assert_eq!(ended.why, Some(Stop::Timeout));
        assert_eq!(heard_state("SBX1 run-state - 1 1 0 0").unwrap().exit, None);
        assert_eq!(heard_state("SBX1 run-state - 1"), None);
    }
}
