//! Which tree a sandbox and this worktree have in common.
//!
//! `refs/base/<sandbox>` is what was agreed last, `refs/sent/<sandbox>` what was sent since: the sandbox may have
//! taken it although nobody here heard so. That a tree lies here is no agreement: it may have been fetched and
//! never applied, and what is held against it then would be written over.

use crate::flow::open::Open;
use crate::tree::Oid;
use crate::worktree::Store;

/// Notes what is about to be sent.
pub fn sending(open: &Open, sandbox_id: &str, tree: Oid) -> anyhow::Result<()> {
    Ok(open.repo.write_ref(&sent(sandbox_id), tree)?)
}

/// Both sides agree on `tree`; what was sent or decided before is history.
pub fn agree(open: &mut Open, sandbox_id: &str, tree: Oid) -> anyhow::Result<()> {
    open.repo.set_base(sandbox_id, tree)?;
    open.repo.delete_ref(&sent(sandbox_id))?;
    // A result that was kept until here waits for nothing any more.
    let held = format!("refs/held/{sandbox_id}");
    if open.repo.read_ref(&held)? == Some(tree) {
        open.repo.delete_ref(&held)?;
    }
    if open.record.decided.take_if(|d| d.sandbox_id == sandbox_id).is_some() {
        open.save()?;
    }
    Ok(())
}

/// Whether a base that a sandbox names is a state this worktree was in.
pub fn is_ours(open: &Open, sandbox_id: &str, base: Oid) -> anyhow::Result<bool> {
    let of = |tree: &str| tree.parse() == Ok(base);
    let about = |known: &&crate::state::record::Held| known.sandbox_id == sandbox_id;
    if !lies_here(open, base)? {
        return Ok(false);
    }
    let agreed = open.repo.base(sandbox_id)?;
    let known = base == Oid::EMPTY_TREE
        || agreed == Some(base)
        || open.repo.read_ref(&sent(sandbox_id))? == Some(base)
        || open.record.decided.as_ref().filter(about).is_some_and(|d| of(&d.theirs));
    // Where nothing is remembered, a tree that lies here is what was agreed, unless it waits for a decision.
    let waits = open.record.held.as_ref().filter(about).is_some_and(|h| of(&h.theirs));
    Ok(known || (agreed.is_none() && !waits))
}

/// The tree a sandbox's work is held against: its base, or what was agreed here before the sandbox moved on
/// elsewhere. Where neither is known everything differs.
pub fn base(open: &Open, sandbox_id: &str, theirs: Oid) -> anyhow::Result<Oid> {
    if is_ours(open, sandbox_id, theirs)? {
        return Ok(theirs);
    }
    match open.repo.base(sandbox_id)? {
        Some(ours) if lies_here(open, ours)? => Ok(ours),
        _ => Ok(Oid::EMPTY_TREE),
    }
}

/// Whether a tree lies in the private repository.
pub fn lies_here(open: &Open, tree: Oid) -> anyhow::Result<bool> {
    Ok(tree == Oid::EMPTY_TREE || Store::open(&open.repo)?.has(tree))
}

fn sent(sandbox_id: &str) -> String {
    format!("refs/sent/{sandbox_id}")
}
