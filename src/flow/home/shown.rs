//! A result before anything is done with it: what it changes, and what of it clashes.

use super::decide::{Theirs, decide};
use super::{Options, tell};
use crate::event::Event;
use crate::rel_path::RelPath;
use crate::sync::merge::{Conflict, Policy};
use crate::tree::{Oid, Tree, changes};
use crate::worktree::capture;
use crate::worktree::{Repo, Store};

/// What a result would change here, with all of it taken as the sandbox has it.
#[derive(Debug, Default)]
pub struct Shown {
    /// The worktree now, and then; `None` if the sandbox has nothing new.
    pub trees: Option<(Oid, Oid)>,
    /// A `file` event for each change.
    pub files: Vec<Event>,
    /// A `conflict` event for each path that `pull` would ask about or hold back.
    pub conflicts: Vec<Event>,
}

/// Looks at a verified result. Blocking.
pub fn shown(
    repo: &Repo,
    theirs: &Theirs,
    options: &Options,
    capture_options: &capture::Options,
) -> anyhow::Result<Shown> {
    let options = Options { policy: Policy::Theirs, allow_mass_delete: true, ..options.clone() };
    let decision = decide(repo, theirs, &options, capture_options)?;
    let store = Store::open(repo)?;
    let mut result = decision.plan.result;
    // What is held back is left out by every policy, and yet it is what has to be looked at.
    for conflict in &decision.plan.conflicts {
        take(&mut result, conflict);
    }
    let then = store.write_tree(&result)?;
    let differs = changes(&store.read_tree(decision.local)?, &result);
    let files = differs.iter().map(|change| tell::file_event(change, &decision.review.flags));
    let mut clashes = [decision.plan.settled, decision.plan.conflicts].concat();
    clashes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Shown {
        trees: Some((decision.local, then)),
        files: files.collect(),
        conflicts: clashes.iter().map(|clash| tell::conflict_event(clash, None)).collect(),
    })
}

/// Takes their version into the tree, unless something else stays in its way.
fn take(tree: &mut Tree, conflict: &Conflict) {
    let path = &conflict.path;
    let below = |other: &RelPath| other.is_below(path);
    if path.ancestors().any(|above| tree.contains_key(&above)) || tree.keys().any(below) {
        return;
    }
    match conflict.theirs {
        Some(entry) => tree.insert(path.clone(), entry),
        None => tree.remove(path),
    };
}
