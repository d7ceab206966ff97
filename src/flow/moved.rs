//! A repository that was moved has another id, and with it another sandbox: what the old one holds is told, and how
//! to come by it.

use std::path::Path;

use serde::Serialize;

use crate::state::{Store as Memory, WorktreeRecord};
use crate::worktree::Repo;
use crate::worktree::moved::formers;

/// The sandbox of the place where this worktree was before.
#[derive(Debug, Clone, Serialize)]
pub struct Moved {
    /// That place.
    pub from: String,
    /// The sandbox's name.
    pub sandbox_name: String,
    /// It may hold work that is not here, or a result of it waits there for a decision.
    pub unpulled: bool,
}

impl Moved {
    /// What is to be known.
    pub fn message(&self) -> String {
        let what = if self.unpulled { "may hold work that is not here" } else { "is left behind" };
        format!("this worktree was at `{}`; its sandbox `{}` {what}", self.from, self.sandbox_name)
    }

    /// What is to be done.
    pub fn hint(&self) -> String {
        let rm = format!("`sandbox-coder rm --force {}`", self.sandbox_name);
        match self.unpulled {
            true => format!(
                "move it back and `sandbox-coder pull` there brings that work home; {rm} gives it up"
            ),
            false => format!("{rm} removes it"),
        }
    }
}

/// Looks for it. Blocking; what cannot be read tells nothing.
pub fn look(repo: &Repo, state_dir: &Path) -> Option<Moved> {
    records(repo, state_dir).into_iter().find_map(|(memory, record)| {
        let held = record.held.is_some();
        let sandbox = record.sandbox?;
        Some(Moved {
            from: record.worktree,
            unpulled: sandbox.unpulled || held || memory.is_touched(&sandbox.id),
            sandbox_name: sandbox.name,
        })
    })
}

/// A sandbox was removed: if it was the one of a place where this worktree was before, nothing is to be told any
/// more. What cannot be written is told once more, and nothing else hangs on it.
pub fn forget(repo: &Repo, state_dir: &Path, removed: &str) {
    for (memory, mut record) in records(repo, state_dir) {
        if record.sandbox.take_if(|sandbox| sandbox.id == removed).is_some() {
            let _ = memory.save_worktree(&record);
        }
    }
}

fn records(repo: &Repo, state_dir: &Path) -> Vec<(Memory, WorktreeRecord)> {
    let places = formers(repo).unwrap_or_default();
    let memories = places.into_iter().map(|place| Memory::new(state_dir, &place.id));
    memories.filter_map(|memory| memory.worktree().ok().map(|record| (memory, record))).collect()
}
