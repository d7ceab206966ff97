//! Ending a run, and holding still what it left behind.

use std::time::Duration;

use super::outcome::Stop;
use super::{RunRef, not_understood};
use crate::daytona::script::{Script, said};
use crate::daytona::{Error, Toolbox};

/// What a stop came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// The recorded exit status, also if the run had ended before; `None` if there is none.
    pub exit: Option<i32>,
    /// The reason that is remembered: the first one; `None` if it had ended by itself.
    pub why: Option<Stop>,
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
/// that has ended it clears away what was left running. `why` is remembered before the first signal, unless
/// there is a reason already. One round trip of at most `grace` + 15 s.
pub async fn stop(
    toolbox: &Toolbox,
    run: &RunRef,
    why: Stop,
    grace: Duration,
) -> Result<Stopped, Error> {
    let mut script = Script::new();
    stop_step(&mut script, run, why, grace);
    let answer = toolbox.run_script(&script, grace + Duration::from_secs(15)).await?;
    heard_stop(&answer.result).ok_or_else(|| not_understood("stop a run", &answer.result))
}

/// Adds the stop to a script; [`heard_stop`] reads the answer.
pub fn stop_step(script: &mut Script, run: &RunRef, why: Stop, grace: Duration) {
    let grace = grace.as_secs().min(45).to_string();
    script.set("D", &run.dir).set("R", &run.id).set("G", &grace).set("WHY", why.word());
    script.step(concat!(include_str!("scripts/sweep.sh"), include_str!("scripts/stop.sh")));
}

/// The answer of [`stop_step`].
pub fn heard_stop(result: &str) -> Option<Stopped> {
    let mut words = said(result).find(|(word, _)| *word == "run-stopped")?.1.split(' ');
    let (exit, left) = (words.next()?.parse().ok(), words.next()? != "0");
    Some(Stopped { exit, why: words.next().and_then(Stop::remembered), left })
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
