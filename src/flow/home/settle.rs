//! A verified result is judged, merged and applied.

use std::collections::HashSet;

use anyhow::Context as _;

use super::decide::{Decision, Theirs, clash_words, decide, lacks, stops};
use super::{Homecoming, Options, held, tell};
use crate::event::Phase;
use crate::exit::{ErrorCode, Exit};
use crate::flow::open::{Open, with_site};
use crate::flow::{Context, blocking};
use crate::rel_path::RelPath;
use crate::state::record::Held;
use crate::sync::merge::Policy;
use crate::worktree::{Store, apply, patch, seed};

/// Judges, merges and applies a verified result.
pub async fn settle(
    cx: &Context,
    open: &mut Open,
    sandbox_id: String,
    theirs: Theirs,
    options: &Options,
    run: &str,
) -> anyhow::Result<Homecoming> {
    let phase = cx.phase(Phase::Apply).await;
    let (base, tree) = (theirs.base, theirs.tree);
    let (repo, wanted, capture_options) =
        (open.repo.clone(), options.clone(), open.capture_options(cx));
    let decision = blocking(move || decide(&repo, &theirs, &wanted, &capture_options)).await?;
    if let Some(file) = &options.patch {
        let (git, file) = (open.repo.private_git(), file.clone());
        let (local, patched) = (decision.local, decision.patched);
        blocking(move || patch::write_file(git, local, patched, &file))
            .await
            .context("write the patch")?;
    }
    let held = Held {
        run: run.to_owned(),
        sandbox_name: open.name_of(&sandbox_id),
        sandbox_id,
        base: base.to_string(),
        theirs: tree.to_string(),
    };
    let home = if options.no_apply {
        tell::plan(cx, &decision).await;
        // Who wants a patch wants all of it.
        match lacks(&decision.plan).filter(|_| options.patch.is_some()) {
            Some(failure) => {
                Homecoming { exit: Exit::Conflict, failure: Some(failure), ..Homecoming::nothing() }
            }
            None => Homecoming::nothing(),
        }
    } else if let Some((code, message)) = stops(&decision.plan, options) {
        tell::conflicts(cx, &decision.plan, &[]).await;
        held::hold(open, held)?;
        cx.told().files.conflicts = decision.plan.conflicts.len() as u64;
        Homecoming { exit: Exit::Conflict, failure: Some((code, message)), ..Homecoming::nothing() }
    } else {
        carry_out(cx, open, decision, options, run, held).await?
    };
    phase.end(None).await;
    Ok(home)
}

/// Settles a result that waits, from what lies here.
pub async fn waiting(
    cx: &Context,
    open: &mut Open,
    held: &Held,
    options: &Options,
) -> anyhow::Result<Homecoming> {
    let theirs = held::read(&open.repo, held).await?;
    let run = format!("{}-held", cx.run);
    settle(cx, open, held.sandbox_id.clone(), theirs, options, &run).await
}

async fn carry_out(
    cx: &Context,
    open: &mut Open,
    decision: Decision,
    options: &Options,
    run: &str,
    held: Held,
) -> anyhow::Result<Homecoming> {
    let plan = apply::Plan {
        run: run.to_owned(),
        steps: decision.plan.steps.clone(),
        asides: decision.plan.asides.clone(),
        all_or_nothing: options.policy == Policy::Hold,
    };
    let repo = open.repo.clone();
    let applied = blocking(move || {
        repo.still_there()?;
        let store = Store::open(&repo)?;
        let objects = (&repo, &store);
        let applied = with_site(&repo, &objects, |site| apply::apply(site, &plan))?;
        let changed = applied.changed.iter().map(|step| &step.path);
        let there: HashSet<&RelPath> = changed.chain(&applied.already).collect();
        seed::keep_modes(&repo, plan.steps.iter().filter(|step| there.contains(&step.path)))?;
        Ok::<_, anyhow::Error>(applied)
    })
    .await
    .context("apply the result")?;
    tell::applied(cx, &decision, &applied).await;
    let clashes = decision.plan.conflicts.len() + applied.late.len();
    cx.told().files.conflicts += clashes as u64;
    let count = applied.changed.len() as u64;
    if !applied.late.is_empty() {
        // Somebody typed while we applied: their bytes stay, the result waits.
        held::hold(open, held)?;
    } else {
        held::decided(open, held)?;
    }
    let settled = applied.late.is_empty();
    if clashes > 0 {
        let then = if settled { "the sandbox's versions are aside" } else { "yours stayed" };
        let failure = Some((ErrorCode::SyncConflict, clash_words(clashes, then)));
        return Ok(Homecoming { exit: Exit::Conflict, failure, applied: count, settled });
    }
    Ok(Homecoming { exit: Exit::Ok, failure: None, applied: count, settled })
}
