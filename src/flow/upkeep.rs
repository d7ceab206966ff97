//! Upkeep of what is kept inside the user's `.git`, now and then, when a command has told everything.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use super::{Context, blocking};
use crate::state::{Store as Memory, WorktreeRecord};
use crate::tree::Oid;
use crate::worktree::Repo;
use crate::worktree::upkeep::{self, Known};

/// What the upkeep needs of a command that has ended.
pub struct Upkeep {
    repo: Repo,
    state_dir: std::path::PathBuf,
}

impl Upkeep {
    /// Nothing without a worktree.
    pub fn of(cx: &Context) -> Option<Self> {
        let repo = cx.repo.clone()?;
        Some(Self { repo, state_dir: cx.config.state_dir.clone() })
    }

    /// Whether there may be something to do.
    pub fn is_due(&self) -> bool {
        upkeep::is_due(&self.repo, SystemTime::now())
    }

    /// Does it, quietly: whatever fails is tried again some day.
    pub async fn keep_up(self) {
        blocking(move || match self.work() {
            Ok(done) => tracing::info!(?done, "upkeep"),
            Err(error) => tracing::info!("upkeep was left: {error:#}"),
        })
        .await;
    }

    fn work(&self) -> anyhow::Result<upkeep::Done> {
        let (now, until) = (SystemTime::now(), Instant::now() + upkeep::LIMIT);
        let lock = self.repo.lock(upkeep::HOLDER, Duration::ZERO)?;
        let memory = |id: &str| Memory::new(&self.state_dir, id);
        let record = memory(self.repo.worktree_id()).worktree()?;
        let known = Known {
            named: named(&record),
            trees: trees(&record),
            nothing_waits: &|id| nothing_waits(&memory(id)),
        };
        Ok(upkeep::keep_up(&self.repo, &lock, &known, now, until)?)
    }
}

fn named(record: &WorktreeRecord) -> BTreeSet<String> {
    let results = record.held.iter().chain(&record.decided).map(|held| &held.sandbox_id);
    record.sandbox.iter().map(|sandbox| &sandbox.id).chain(results).cloned().collect()
}

fn trees(record: &WorktreeRecord) -> Vec<Oid> {
    let results = record.held.iter().chain(&record.decided);
    results.flat_map(|held| [&held.base, &held.theirs]).filter_map(|id| id.parse().ok()).collect()
}

/// Whether it is known of a worktree that nothing in its sandbox is missing here.
pub fn nothing_waits(memory: &Memory) -> bool {
    let Ok(record) = memory.worktree() else { return false };
    let pulled = |id: &str, unpulled: bool| !unpulled && !memory.is_touched(id);
    // Where nothing is remembered, nothing is known.
    !record.worktree.is_empty()
        && record.held.is_none()
        && record.decided.is_none()
        && record.sandbox.is_none_or(|sandbox| pulled(&sandbox.id, sandbox.unpulled))
}
