//! When a sandbox may be given up, and whether something still works in it. The rule is: it holds work
//! unless proved otherwise.

use std::time::Duration;

use super::open::Open;
use super::sandbox::LABEL_OURS;
use crate::daytona::Toolbox;
use crate::error::Failure;
use crate::exit::ErrorCode;
use crate::run::{self, RunRef};
use crate::state::{RunKind, RunRecord};
use crate::wire::sandbox::{Sandbox, SandboxState};

/// Runs without a known end that are looked at.
const LOOKS: usize = 5;
/// How long a look may take.
const LOOK: Duration = Duration::from_secs(10);

/// Refuses to lose a sandbox unless its own worktree knows that everything in it is here.
pub fn refuse_loss(found: &Sandbox, open: Option<&Open>) -> anyhow::Result<()> {
    if !found.labels.contains_key(LABEL_OURS) {
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

/// A run of this worktree that still works in the sandbox.
pub async fn living(
    open: &Open,
    toolbox: &Toolbox,
    home: &str,
    but: &str,
) -> anyhow::Result<Option<RunRecord>> {
    let open_ended = |r: &RunRecord| {
        r.ended_at.is_none()
            && r.kind != RunKind::Pull
            && r.sandbox_id == toolbox.sandbox_id()
            && r.id != but
    };
    for record in open.memory.runs()?.into_iter().filter(open_ended).take(LOOKS) {
        let run = RunRef {
            id: record.id.clone(),
            dir: format!("{home}/.sandbox-coder/runs/{}", record.id),
        };
        let state = tokio::time::timeout(LOOK, run::state(toolbox, &run)).await;
        if let Ok(Ok(state)) = state
            && state.exit.is_none()
            && state.alive
        {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// Refuses to work beside an agent that still works in the same files.
pub async fn refuse_beside(
    open: &Open,
    toolbox: &Toolbox,
    home: &str,
    but: &str,
) -> anyhow::Result<()> {
    match living(open, toolbox, home, but).await? {
        None => Ok(()),
        Some(record) => {
            let message = format!("run `{}` still works in the sandbox", record.id);
            let hint = format!(
                "`sandbox-coder attach {0}` follows it; `exec --no-sync` runs beside it",
                record.id
            );
            Err(Failure::new(ErrorCode::WorktreeBusy, message).hint(hint).into())
        }
    }
}

/// Whether a sandbox can be asked at all.
pub fn answers(sandbox: &Sandbox) -> bool {
    sandbox.state == SandboxState::Started
}
