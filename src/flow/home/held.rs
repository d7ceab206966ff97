//! Results that wait here for a decision, and results decided here that their sandbox does not know of yet.
//!
//! Both are whole on this side: the objects lie in the private repository and `refs/held/<sandbox>` keeps
//! them. A decision therefore needs nobody else, and it holds: when the sandbox is reached again, only what
//! it did since is looked at.

use std::collections::BTreeMap;

use super::Options;
use super::decide::Theirs;
use super::shown::{Shown, shown};
use crate::error::Failure;
use crate::exit::ErrorCode;
use crate::flow::open::Open;
use crate::flow::{Context, blocking};
use crate::state::record::Held;
use crate::sync::threats::Claim;
use crate::tree::{Entry, Oid};
use crate::worktree::{Repo, Store};

/// The result that waits, if it is of the sandbox that is meant.
pub fn waiting(open: &Open, wanted: Option<&str>) -> Option<Held> {
    let held = open.record.held.clone()?;
    let meant = wanted.is_none_or(|w| w == held.sandbox_id || w == held.sandbox_name);
    meant.then_some(held)
}

/// Refuses to bring in another sandbox's work before a decision was made about what waits.
pub fn refuse_other(open: &Open, sandbox_id: Option<&str>) -> anyhow::Result<()> {
    match &open.record.held {
        Some(held) if Some(held.sandbox_id.as_str()) != sandbox_id => {
            let message = format!("the result of run `{}` still waits for a decision", held.run);
            Err(Failure::new(ErrorCode::SandboxUnpulledWork, message)
                .hint("`sandbox-coder pull --on-conflict keep-both|merge|ours|theirs` finishes it, without its sandbox too")
                .into())
        }
        _ => Ok(()),
    }
}

/// Keeps a result that was not applied, in place of an earlier one of the same sandbox. One that is held once more
/// keeps the name of the run it came from.
pub fn hold(open: &mut Open, mut held: Held) -> anyhow::Result<()> {
    refuse_other(open, Some(&held.sandbox_id))?;
    if let Some(earlier) = open.record.held.take_if(|earlier| earlier.theirs == held.theirs) {
        held.run = earlier.run;
    }
    keep(open, &held)?;
    open.record.held = Some(held);
    open.save()
}

/// Gives up what waits or was decided of a sandbox's work, for all of it comes anew.
pub fn let_go(open: &mut Open, sandbox_id: &str) -> anyhow::Result<()> {
    open.record.held.take_if(|held| held.sandbox_id == sandbox_id);
    open.record.decided.take_if(|decided| decided.sandbox_id == sandbox_id);
    open.save()
}

/// Notes that a result is dealt with here; its sandbox has still to agree.
pub fn decided(open: &mut Open, result: Held) -> anyhow::Result<()> {
    keep(open, &result)?;
    open.record.held.take_if(|held| held.sandbox_id == result.sandbox_id);
    // Decided upon an earlier decision: the sandbox knows of neither.
    let earlier = open
        .record
        .decided
        .take()
        .filter(|d| d.sandbox_id == result.sandbox_id && d.theirs == result.base);
    let base = earlier.map_or(result.base.clone(), |d| d.base);
    open.record.decided = Some(Held { base, ..result });
    open.save()
}

fn keep(open: &Open, held: &Held) -> anyhow::Result<()> {
    Ok(open.repo.write_ref(&format!("refs/held/{}", held.sandbox_id), held.theirs.parse()?)?)
}

/// The tree up to which a sandbox's work is dealt with here, if that is further than its own base.
pub fn dealt_with(open: &Open, sandbox_id: &str, base: Oid) -> Option<Oid> {
    let decided = open.record.decided.as_ref()?;
    let fits = decided.sandbox_id == sandbox_id && decided.base.parse() == Ok(base);
    decided.theirs.parse().ok().filter(|_| fits)
}

/// What finishing would change.
pub async fn look(
    cx: &Context,
    open: &Open,
    held: &Held,
    options: &Options,
) -> anyhow::Result<Shown> {
    let theirs = read(&open.repo, held).await?;
    let (repo, options) = (open.repo.clone(), options.clone());
    let capture_options = open.capture_options(cx);
    blocking(move || shown(&repo, &theirs, &options, &capture_options)).await
}

/// A result that waits, as it lies here.
pub async fn read(repo: &Repo, held: &Held) -> anyhow::Result<Theirs> {
    let (base, tree): (Oid, Oid) = (held.base.parse()?, held.theirs.parse()?);
    let repo = repo.clone();
    blocking(move || {
        let store = Store::open(&repo)?;
        let claim = |c: crate::tree::Change| Claim {
            path: c.path.as_bytes().to_vec(),
            before: c.before,
            after: c.after,
        };
        let differs = crate::tree::changes(&store.read_tree(base)?, &store.read_tree(tree)?);
        Ok(Theirs { base, tree, claims: differs.into_iter().map(claim).collect() })
    })
    .await
}

/// The same result as it differs from `onto` rather than from its base. Names stay unchecked bytes. Blocking.
pub fn seen_from(store: &Store, theirs: Theirs, onto: Oid) -> anyhow::Result<Theirs> {
    let entries = |tree: Oid| -> anyhow::Result<BTreeMap<Vec<u8>, Entry>> {
        let tree = store.read_tree(tree)?;
        Ok(tree.into_iter().map(|(path, entry)| (path.as_bytes().to_vec(), entry)).collect())
    };
    let mut full = entries(theirs.base)?;
    for claim in theirs.claims {
        let before = match claim.after {
            Some(after) => full.insert(claim.path, after),
            None => full.remove(&claim.path),
        };
        if before != claim.before {
            return Err(crate::sync::Error::Inconsistent.into());
        }
    }
    let mut claims = Vec::new();
    for (path, before) in entries(onto)? {
        let after = full.remove(&path);
        if after != Some(before) {
            claims.push(Claim { path, before: Some(before), after });
        }
    }
    claims.extend(full.into_iter().map(|(path, after)| Claim {
        path,
        before: None,
        after: Some(after),
    }));
    claims.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Theirs { base: onto, tree: theirs.tree, claims })
}
