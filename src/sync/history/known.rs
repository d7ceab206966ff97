//! What a sandbox shall have of the past, and what it is known to have.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::worktree::Repo;
use crate::worktree::repo::Head;

/// How much of the past travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// Nothing: the agent finds one commit, the worktree as it was sent.
    None,
    /// [`super::SHALLOW`] levels.
    Shallow,
    /// All of it.
    Full,
}

impl Depth {
    /// Reads the setting; what it cannot be counts as nothing.
    pub fn parse(text: &str) -> Self {
        match text {
            "full" => Depth::Full,
            "shallow" => Depth::Shallow,
            _ => Depth::None,
        }
    }
}

/// What the sandbox shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub(super) depth: Depth,
    pub(super) head: Option<String>,
    pub(super) branch: Option<String>,
}

impl Wanted {
    /// The history of a HEAD. An unborn one has none.
    pub fn new(depth: Depth, head: &Head) -> Self {
        let depth = if head.id.is_some() { depth } else { Depth::None };
        let id = head.id.clone().filter(|_| depth != Depth::None);
        Self { depth, head: id, branch: head.branch.clone() }
    }
}

/// How the sandbox's repository stands to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It has what we sent.
    Given,
    /// It has one commit, or what it has is not known.
    Without,
    /// It is the agent's own by now.
    Kept,
}

/// What is remembered of a sandbox's repository, between runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Which sandbox.
    pub sandbox: String,
    pub(super) standing: Standing,
    pub(super) depth: Depth,
    pub(super) head: Option<String>,
    pub(super) branch: Option<String>,
    pub(super) marks: BTreeSet<String>,
}

impl Known {
    /// Reads what is remembered of this sandbox. What cannot be read counts as nothing.
    pub fn load(repo: &Repo, sandbox: &str) -> Option<Self> {
        let text = std::fs::read(file(repo)).ok()?;
        serde_json::from_slice(&text).ok().filter(|known: &Known| known.sandbox == sandbox)
    }

    /// Remembers it. A failure costs an upload at the next run.
    pub fn save(&self, repo: &Repo) {
        if let Ok(text) = serde_json::to_vec(self) {
            let _ = crate::worktree::private::write_if_new(&file(repo), &text);
        }
    }

    /// Whether the sandbox needs nothing to have what is wanted.
    pub fn satisfies(&self, wanted: &Wanted) -> bool {
        let same = self.head == wanted.head && self.branch == wanted.branch;
        self.standing == Standing::Kept
            || wanted.depth == Depth::None
            || (same && self.depth >= wanted.depth)
    }
}

fn file(repo: &Repo) -> PathBuf {
    repo.state_dir().join("history.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(standing: Standing, depth: Depth) -> Known {
        Known {
            sandbox: "s".into(),
            standing,
            depth,
            head: Some("1".into()),
            branch: Some("main".into()),
            marks: BTreeSet::new(),
        }
    }

    #[test]
    fn nothing_is_sent_twice() {
        let head = |id: &str| Head { id: Some(id.into()), branch: Some("main".into()) };
        let shallow = |id: &str| Wanted::new(Depth::Shallow, &head(id));
        let given = known(Standing::Given, Depth::Shallow);
        assert!(given.satisfies(&shallow("1")) && !given.satisfies(&shallow("2")));
        assert!(!given.satisfies(&Wanted::new(Depth::Full, &head("1"))));
        assert!(given.satisfies(&Wanted::new(Depth::None, &head("2"))));
        let detached = Head { id: Some("1".into()), branch: None };
        assert!(!given.satisfies(&Wanted::new(Depth::Shallow, &detached)));
        assert!(known(Standing::Kept, Depth::Shallow).satisfies(&shallow("2")));
        // What failed is tried again when HEAD has moved, not before.
        let failed = known(Standing::Without, Depth::Shallow);
        assert!(failed.satisfies(&shallow("1")) && !failed.satisfies(&shallow("2")));
        let unborn = Head { id: None, branch: Some("main".into()) };
        assert!(
            known(Standing::Without, Depth::None).satisfies(&Wanted::new(Depth::Full, &unborn))
        );
    }
}
