//! A run begins in a sandbox that answers: with the worktree before it, or by itself.

use std::time::Duration;

use super::follow;
use super::home;
use super::open::Open;
use super::sandbox::Ready;
use super::send::{self, Sent};
use super::{Context, Signal, finish};
use crate::daytona::script::Script;
use crate::error::Failure;
use crate::exit::ErrorCode;
use crate::run::RunRef;
use crate::run::outcome::Stop;
use crate::run::start::{self, Start};
use crate::run::view::Ahead;
use crate::state::RunRecord;

/// The width agents are given: wide enough that nothing they print is wrapped.
pub const COLUMNS: u16 = 500;
/// The height agents are given.
pub const ROWS: u16 = 50;

/// Sends the worktree and starts the run. From before the first byte leaves, the sandbox counts as holding
/// work: the agent may be started by a request whose answer is lost. For a run that will be `followed` a
/// terminal is opened meanwhile.
pub async fn with_worktree(
    cx: &Context,
    open: &mut Open,
    ready: &Ready,
    start: &Start,
    record: &mut RunRecord,
    followed: bool,
) -> anyhow::Result<Option<Ahead>> {
    open.memory.save_run(record)?;
    home::mark_unpulled(cx, open, &ready.sandbox.id, true)?;
    cx.told().not_started = false;
    cx.resume_with(&["attach", &cx.run]);
    let ahead = followed.then(|| Ahead::open(&ready.toolbox));
    let failure = match send::send(cx, open, ready, Some(start)).await {
        Ok(Sent::Yes) => return Ok(ahead),
        Ok(Sent::Clash(home)) => {
            cx.resume_with(&["pull"]);
            finish::clash(cx, &home)
        }
        Err(error) => error,
    };
    if let Some(ahead) = ahead {
        cx.later(follow::LAST, ahead.close());
    }
    let run = RunRef::of(&ready.home, &cx.run);
    match fate(cx, ready, &run).await {
        Fate::Never => {
            if cx.signals.seen().is_some() {
                let mut told = cx.told();
                told.not_started = true;
                told.resume.clear();
            }
            record.ended_at = Some(super::now());
            record.exit = Some(crate::error::diagnose(&failure).exit().code());
            open.memory.save_run(record)?;
            Err(failure)
        }
        Fate::Started => Err(failure),
        Fate::Unknown => {
            let message = "the terminal went away while the run was being started";
            let hint =
                format!("`sandbox-coder attach {}` tells whether it was, and follows it", cx.run);
            Err(Failure::new(ErrorCode::RunHangup, message).hint(hint).into())
        }
    }
}

/// What becomes of a start whose answer was lost, or that is still on its way.
enum Fate {
    Never,
    /// It happened, or may have for all that is known.
    Started,
    /// Nobody says, and nobody is asked to end it.
    Unknown,
}

/// Remembers what is true. If we were asked to leave, nothing works on unseen; when merely our terminal went away,
/// what was started goes on.
async fn fate(cx: &Context, ready: &Ready, run: &RunRef) -> Fate {
    let patience = cx.config.grace / 2;
    match cx.signals.seen() {
        Some(Signal::Hangup) => {
            let asking = start::call_off(&ready.toolbox, run, Stop::Hangup);
            match tokio::time::timeout(patience, asking).await {
                Ok(Ok(true)) => Fate::Never,
                Ok(Ok(false)) => Fate::Started,
                _ => Fate::Unknown,
            }
        }
        Some(signal) => match called_off(cx, ready, run, follow::stop_of(signal)).await {
            true => Fate::Never,
            false => Fate::Started,
        },
        None => {
            let look = crate::run::state(&ready.toolbox, run);
            match tokio::time::timeout(patience, look).await {
                Ok(Ok(state)) if !state.started => Fate::Never,
                // Without an answer the record stays open, and the next command asks again.
                _ => Fate::Started,
            }
        }
    }
}

/// Whether a start that may still be on its way will surely never happen. A run that was started is ended.
async fn called_off(cx: &Context, ready: &Ready, run: &RunRef, why: Stop) -> bool {
    let asking = start::call_off(&ready.toolbox, run, why);
    if let Ok(Ok(true)) = tokio::time::timeout(cx.config.grace / 2, asking).await {
        return true;
    }
    let stopping = crate::run::stop::stop(&ready.toolbox, run, why, cx.config.grace / 4);
    let _ = tokio::time::timeout(cx.time_left(cx.config.grace / 2), stopping).await;
    false
}

/// Starts a run beside whatever the workspace holds.
pub async fn alone(ready: &Ready, start: &Start) -> anyhow::Result<()> {
    start.upload(&ready.toolbox).await?;
    let mut script = Script::new();
    start.add_to(&mut script);
    let command =
        crate::daytona::Command::new(script.command(), Duration::from_secs(30)).repeatable();
    let answer = ready.toolbox.execute(&command).await?;
    match start::heard(&answer.result) {
        Some(_) => Ok(()),
        None => {
            let tail: String = answer.result.trim().chars().take(300).collect();
            Err(Failure::new(
                ErrorCode::SandboxErrored,
                format!("the command could not be started: {tail}"),
            )
            .into())
        }
    }
}
