//! What to do with a verified result: everything that can be known before the first change.

use std::path::Path;

use anyhow::Context as _;

use super::Options;
use crate::exit::ErrorCode;
use crate::rel_path::RelPath;
use crate::sync::merge::{self, Kind, MergePlan, Policy};
use crate::sync::threats::{self, Held, Review};
use crate::tree::{Oid, Tree};
use crate::worktree::hidden::{Hidden, hidden, lies_there};
use crate::worktree::strangers::Strangers;
use crate::worktree::{Repo, Store, capture};

/// A verified result.
#[derive(Debug)]
pub struct Theirs {
    /// The tree it starts from.
    pub base: Oid,
    /// The tree it leads to.
    pub tree: Oid,
    /// What differs between them.
    pub claims: Vec<threats::Claim>,
}

/// What was decided, and what is needed to tell and to do it.
#[derive(Debug)]
pub struct Decision {
    /// What was flagged.
    pub review: Review,
    /// What to do.
    pub plan: MergePlan,
    /// The worktree as it is.
    pub local: Oid,
    /// The worktree as a patch makes it: with all that does not clash, also where that is held back here.
    pub patched: Oid,
}

/// Everything that can be known before the first change, from three trees. Blocking.
pub fn decide(
    repo: &Repo,
    theirs: &Theirs,
    options: &Options,
    capture_options: &capture::Options,
) -> anyhow::Result<Decision> {
    repo.still_there()?;
    let store = Store::open(repo)?;
    let mut captured = capture::capture(repo, capture_options).context("read the worktree")?.tree;
    let base = store.read_tree(theirs.base)?;
    let mut local =
        if captured == theirs.base { base.clone() } else { store.read_tree(captured)? };
    // What is larger is neither text to merge nor a file of settings; its beginning says so.
    let most = merge::TEXT_MAX as u64 + 1;
    let content = |id: &Oid| store.read_start(*id, most).map_err(std::io::Error::other);
    let mut wanted = options.threats.clone();
    wanted.hooks = hooks_folders(repo)?;
    wanted.case_insensitive = folds_names(repo.top());
    let review = threats::review(&base, &local, &theirs.claims, &content, &wanted)?.accept()?;
    if store.write_tree(&review.theirs)? != theirs.tree {
        return Err(crate::sync::Error::Inconsistent.into());
    }
    if captured != theirs.base && keep_hidden(repo, &base, &review.theirs, &mut local)? {
        captured = store.write_tree(&local)?;
    }
    let strangers = Strangers::new(repo.top(), &local)?;
    let inputs = merge::Inputs {
        base: &base,
        local: &local,
        theirs: &review.theirs,
        held: &review.held,
        content: &content,
        disk: &|path: &RelPath| strangers.at(path),
    };
    let by = |policy| merge::Options { policy, allow_mass_delete: options.allow_mass_delete };
    let plan = merge::plan(inputs, by(options.policy))?;
    let result = keep(&store, &plan)?;
    let held = options.policy == Policy::Hold && !plan.conflicts.is_empty();
    let patched = match options.patch {
        Some(_) if held => keep(&store, &merge::plan(inputs, by(Policy::KeepBoth))?)?,
        _ => result,
    };
    Ok(Decision { review, plan, local: captured, patched })
}

/// Stores what a plan leads to: its tree, and the contents that neither side had.
fn keep(store: &Store, plan: &MergePlan) -> anyhow::Result<Oid> {
    for (id, bytes) in &plan.merged {
        if store.write_blob(bytes)? != *id {
            return Err(crate::sync::Error::Inconsistent.into());
        }
    }
    Ok(store.write_tree(&plan.result)?)
}

/// Gives the local tree what it hides of the base: that was not deleted here. What the sandbox changed meanwhile
/// counts as unchanged here only if it can be replaced like any other file; otherwise both sides want something
/// else. Whether anything was given.
fn keep_hidden(repo: &Repo, base: &Tree, theirs: &Tree, local: &mut Tree) -> anyhow::Result<bool> {
    let mut kept = Vec::new();
    for (path, why) in hidden(repo, base, local)? {
        let Some(entry) = base.get(&path).copied() else { continue };
        let keep = match theirs.get(&path) {
            Some(same) if *same == entry => true,
            Some(_) => why == Hidden::Ignored && lies_there(repo, &path, entry)?,
            None => false,
        };
        kept.extend(keep.then_some((path, entry)));
    }
    let any = !kept.is_empty();
    local.extend(kept);
    Ok(any)
}

/// The live hooks folder, if it lies in the worktree: as it is named, and where links on the way lead.
fn hooks_folders(repo: &Repo) -> anyhow::Result<Vec<RelPath>> {
    use std::os::unix::ffi::OsStrExt;
    let Some(path) = repo.hooks_path()? else { return Ok(Vec::new()) };
    let inside = |path: &Path| {
        let inside = path.strip_prefix(repo.top()).ok()?;
        RelPath::parse(inside.as_os_str().as_bytes()).ok()
    };
    let named = path.components().collect::<std::path::PathBuf>();
    let real = std::fs::canonicalize(&path).ok();
    let mut folders: Vec<_> =
        [Some(named), real].iter().flatten().filter_map(|p| inside(p)).collect();
    folders.dedup();
    Ok(folders)
}

/// Whether the disk takes names for one that differ only in case: then it knows `.git` under both. Disks that
/// do so join Unicode forms, too.
fn folds_names(top: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let file = |name: &str| top.join(name).symlink_metadata().map(|m| (m.dev(), m.ino())).ok();
    file(".git").is_some_and(|git| file(".GIT") == Some(git))
}

/// Whether nothing may be applied.
pub fn stops(plan: &MergePlan, options: &Options) -> Option<(ErrorCode, String)> {
    if let Some(mass) = &plan.mass_delete {
        let message = format!(
            "the result deletes {} of {} files; nothing was applied",
            mass.deleted, mass.of
        );
        return Some((ErrorCode::SyncMassDelete, message));
    }
    if options.policy == Policy::Hold && !plan.conflicts.is_empty() {
        let mut then = "nothing was applied".to_owned();
        if options.patch.is_some() {
            then.push_str(", the patch holds the rest");
        }
        then.push_str(held_words(plan));
        return Some((ErrorCode::SyncConflict, clash_words(plan.conflicts.len(), &then)));
    }
    None
}

/// Why a patch is not all of the result.
pub fn lacks(plan: &MergePlan) -> Option<(ErrorCode, String)> {
    if let Some(mass) = &plan.mass_delete {
        let message = format!(
            "the result deletes {} of {} files; nothing of it is in the patch",
            mass.deleted, mass.of
        );
        return Some((ErrorCode::SyncMassDelete, message));
    }
    let then = match plan.conflicts.iter().all(|conflict| conflict.marked) {
        true => "the patch has both versions of it, marked",
        false => "the patch holds the rest",
    };
    let message = clash_words(plan.conflicts.len(), &format!("{then}{}", held_words(plan)));
    (!plan.conflicts.is_empty()).then_some((ErrorCode::SyncConflict, message))
}

/// What helps where a change is held back only because of what it may start, or where it leads.
fn held_words(plan: &MergePlan) -> &'static str {
    let any = |wanted: fn(&Held) -> bool| {
        plan.conflicts.iter().any(|c| matches!(&c.kind, Kind::Held(held) if wanted(held)))
    };
    if any(|held| matches!(held, Held::Risky(_))) {
        "; with `--allow-risky` what is only risky is no conflict"
    } else if any(|held| matches!(held, Held::ExternalLink(_))) {
        "; `--allow-external-links` takes links that lead out of the worktree"
    } else {
        ""
    }
}

/// How many paths clash, and what became of them.
pub fn clash_words(count: usize, then: &str) -> String {
    let paths = if count == 1 { "1 path".to_owned() } else { format!("{count} paths") };
    format!("{paths} in conflict; {then}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_folds_names_is_known_by_the_repositorys_own_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!folds_names(dir.path()));
        let at = |name: &str| dir.path().join(name);
        fs_err::write(at(".git"), "gitdir: x").unwrap();
        assert!(!folds_names(dir.path()));
        fs_err::write(at(".GIT"), "gitdir: x").unwrap();
        assert!(!folds_names(dir.path()), "two files are no folding");
        fs_err::remove_file(at(".GIT")).unwrap();
        fs_err::hard_link(at(".git"), at(".GIT")).unwrap();
        assert!(folds_names(dir.path()));
    }
}
