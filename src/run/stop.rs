//! Ending a run, and holding still what it left behind.

use std::time::Duration;

use super::{RunRef, not_understood};
use crate::daytona::script::{Script, said};
use crate::daytona::{Error, Toolbox};

/// What a stop came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// The recorded exit status, also if the run had ended before; `None` if there is none.
    pub exit: Option<i32>,
    /// Something with the run's marker is still there.
    pub left: bool,
}

/// A signal for everything that carries a run's marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// As if Ctrl-C was pressed.
    Interrupt,
    /// Hold still.
    Hold,
    /// Go on.
    Resume,
    /// End at once.
    Kill,
}

/// Ends a run: TERM, `grace`, KILL, for every process with its marker. Harmless to repeat, and for a run
/// that has ended it clears away what was left running. One round trip of at most `grace` + 5 s.
pub async fn stop(toolbox: &Toolbox, run: &RunRef, grace: Duration) -> Result<Stopped, Error> {
    let mut script = Script::new();
    stop_step(&mut script, run, grace);
    let answer = toolbox.run_script(&script, grace + Duration::from_secs(15)).await?;
    heard_stop(&answer.result).ok_or_else(|| not_understood("stop a run", &answer.result))
}

/// Adds the stop to a script; [`heard_stop`] reads the answer.
pub fn stop_step(script: &mut Script, run: &RunRef, grace: Duration) {
    let grace = grace.as_secs().min(45).to_string();
    script.set("D", &run.dir).set("R", &run.id).set("G", &grace);
    script.step(include_str!("scripts/stop.sh"));
}

/// The answer of [`stop_step`].
pub fn heard_stop(result: &str) -> Option<Stopped> {
    let (exit, left) = said(result).find(|(word, _)| *word == "run-stopped")?.1.split_once(' ')?;
    Some(Stopped { exit: exit.parse().ok(), left: left != "0" })
}

/// Adds a signal to everything with the run's marker to a script. `Hold` before a sync out and `Resume`
/// after it keep what the run left behind from writing meanwhile.
pub fn signal_step(script: &mut Script, run: &RunRef, signal: Signal) {
    let name = match signal {
        Signal::Interrupt => "INT",
        Signal::Hold => "STOP",
        Signal::Resume => "CONT",
        Signal::Kill => "KILL",
    };
    script.set("R", &run.id).set("SIG", name).step(include_str!("scripts/signal.sh"));
}

/// How many processes got the signal of [`signal_step`].
pub fn heard_signal(result: &str) -> Option<u32> {
    said(result).find(|(word, _)| *word == "run-signalled")?.1.parse().ok()
}
