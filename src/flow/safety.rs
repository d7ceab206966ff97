//! When a sandbox may be given up, and whether something still works in it. The rule is: it holds work
//! unless proved otherwise.

use std::time::Duration;

use anyhow::Context as _;

use super::labels;
use super::open::Open;
use crate::daytona::Toolbox;
use crate::error::Failure;
use crate::exit::ErrorCode;
use crate::run::{self, Conversation, RunRef};
use crate::state::{RunKind, RunRecord, Store as Memory};
use crate::wire::sandbox::{Sandbox, SandboxState};

/// Runs without a known end that are looked at.
const LOOKS: usize = 5;

/// Refuses to lose a sandbox unless its own worktree knows that everything in it is here.
pub fn refuse_loss(found: &Sandbox, open: Option<&Open>) -> anyhow::Result<()> {
    if !found.labels.contains_key(labels::OURS) {
        let message = format!("sandbox `{}` was not made by sandbox-coder", found.name);
        return Err(Failure::new(ErrorCode::SandboxNameTaken, message).into());
    }
    let record = open.and_then(|o| o.record.sandbox.as_ref()).filter(|r| r.id == found.id);
    let held =
        open.is_some_and(|o| o.record.held.as_ref().is_some_and(|h| h.sandbox_id == found.id));
    let message = match record {
        Some(record)
            if !record.unpulled
                && !held
                && !open.is_some_and(|o| o.memory.is_touched(&found.id)) =>
        {
            return Ok(());
        }
        Some(_) => format!("sandbox `{}` holds work that is not here", found.name),
        None => format!(
            "whether the work of sandbox `{}` is safe is known in its own worktree only",
            found.name
        ),
    };
    Err(Failure::new(ErrorCode::SandboxUnpulledWork, message).into())
}

/// What a sandbox says before anything is done in it.
#[derive(Debug, Default)]
pub struct Look {
    /// A run of this worktree that still works there.
    pub living: Option<RunRecord>,
    /// Whether the conversation that was asked for is kept there, if that can be said.
    pub kept: Option<bool>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Somebody who holds the worktree's lock and is about to work in the sandbox: the client of an agent that
    /// did not start by now is dead, and its start must not happen later.
    Holder,
    /// Anybody else, who can do without the answer.
    Passer,
}

impl Asker {
    /// How long the answer may take, every repetition of the question included.
    fn patience(self) -> Duration {
        match self {
            Self::Holder => Duration::from_secs(40),
            Self::Passer => Duration::from_secs(10),
        }
    }
}

/// Asks a sandbox whether something still works in it, and whether it keeps a conversation. One round trip
/// at most, and none if there is nothing to ask. `but` is the id of a run that does not count.
///
/// # Errors
/// No answer is an error: it never means that nothing lives there.
pub async fn look(
    memory: &Memory,
    toolbox: &Toolbox,
    home: &str,
    but: &str,
    asker: Asker,
    conversation: Option<Conversation<'_>>,
) -> anyhow::Result<Look> {
    let open_ended = |r: &RunRecord| {
        r.ended_at.is_none()
            && r.kind != RunKind::Pull
            && r.sandbox_id == toolbox.sandbox_id()
            && r.id != but
    };
    let runs: Vec<RunRecord> = memory.runs()?.into_iter().filter(open_ended).take(LOOKS).collect();
    if runs.is_empty() && conversation.is_none() {
        return Ok(Look::default());
    }
    let refs: Vec<RunRef> = runs.iter().map(|r| RunRef::of(home, &r.id)).collect();
    // A command beside the sync starts without the lock.
    let is_late = |r: &RunRecord| asker == Asker::Holder && r.kind == RunKind::Agent;
    let late: Vec<RunRef> =
        runs.iter().zip(&refs).filter(|(r, _)| is_late(r)).map(|(_, run)| run.clone()).collect();
    let looking = run::look(toolbox, &refs, &late, conversation);
    let found = match tokio::time::timeout(asker.patience(), looking).await {
        Ok(found) => found.context("ask the sandbox whether a run still works in it")?,
        Err(_) => return Err(unanswered(asker.patience())),
    };
    let living = runs.into_iter().zip(&found.states).find(|(_, s)| s.exit.is_none() && s.alive);
    Ok(Look { living: living.map(|(record, _)| record), kept: found.kept })
}

fn unanswered(patience: Duration) -> anyhow::Error {
    let message = format!(
        "the sandbox did not say within {}s whether a run still works in it",
        patience.as_secs()
    );
    Failure::new(ErrorCode::NetInterrupted, message).into()
}

/// Refuses to work beside an agent that still works in the same files, or that may do so for all the sandbox says.
pub async fn refuse_beside(
    open: &Open,
    toolbox: &Toolbox,
    home: &str,
    but: &str,
) -> anyhow::Result<()> {
    let look = look(&open.memory, toolbox, home, but, Asker::Holder, None).await?;
    look.living.map_or(Ok(()), |record| Err(busy(&record)))
}

/// The same for somebody who wants to remove the sandbox and is free to do so unasked.
pub async fn refuse_removal(
    open: &Open,
    toolbox: &Toolbox,
    home: &str,
    but: &str,
) -> anyhow::Result<()> {
    let Err(error) = refuse_beside(open, toolbox, home, but).await else { return Ok(()) };
    let diagnosis = crate::error::diagnose(&error);
    if diagnosis.code == ErrorCode::WorktreeBusy {
        return Err(error);
    }
    let hint = "try again; `sandbox-coder rm --force` removes it without asking";
    Err(Failure::new(diagnosis.code, diagnosis.message).hint(hint).into())
}

/// The failure of a command that would work in the same files as this run.
pub fn busy(record: &RunRecord) -> anyhow::Error {
    let message = format!("run `{}` still works in the sandbox", record.id);
    let hint = match record.typed {
        true => "end it in its terminal; `exec --no-sync` runs beside it".to_owned(),
        false => format!(
            "`sandbox-coder attach {}` follows it; `exec --no-sync` runs beside it",
            record.id
        ),
    };
    Failure::new(ErrorCode::WorktreeBusy, message).hint(hint).into()
}

/// Whether a sandbox can be asked at all.
pub fn answers(sandbox: &Sandbox) -> bool {
    sandbox.state == SandboxState::Started
}
