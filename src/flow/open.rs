//! The worktree at the beginning of a command: found, locked, remembered, mended if a run was cut short.

use std::time::Duration;

use anyhow::Context as _;

use super::moved::{self, Moved};
use super::{Context, blocking};
use crate::event::Event;
use crate::state::{SandboxRecord, Store as Memory, WorktreeRecord};
use crate::worktree::apply::{self, Site};
use crate::worktree::private::Lock;
use crate::worktree::repo::{Head, Repo};
use crate::worktree::{Store, capture, seed};

/// A day: `--wait` waits that long and no longer.
const WAIT: Duration = Duration::from_secs(24 * 3600);

/// A worktree that a command works with.
#[derive(Debug)]
pub struct Open {
    /// The repository.
    pub repo: Repo,
    /// Where HEAD stood at the beginning.
    pub head: Head,
    /// What is remembered.
    pub memory: Memory,
    /// What is known about it.
    pub record: WorktreeRecord,
    /// What is left at the place where the worktree was before.
    pub moved: Option<Moved>,
    _lock: Option<Lock>,
}

impl Open {
    /// Finds the worktree and takes its lock, then finishes what an interrupted apply left undone.
    pub async fn locked(cx: &Context, what: &'static str) -> anyhow::Result<Open> {
        let open = Self::find(cx, Some(what)).await?;
        cx.told().unpulled = open.record.sandbox.as_ref().is_some_and(|r| r.unpulled);
        open.resume(cx).await?;
        if let Some(moved) = &open.moved {
            cx.reporter.warn("worktree.moved", moved.message(), Some(moved.hint())).await;
        }
        Ok(open)
    }

    /// Finds the worktree without its lock, for commands that only look.
    pub async fn unlocked(cx: &Context) -> anyhow::Result<Open> {
        Self::find(cx, None).await
    }

    async fn find(cx: &Context, lock: Option<&'static str>) -> anyhow::Result<Open> {
        let (cwd, found) = (cx.cwd.clone(), cx.repo.clone());
        let (state_dir, wait) = (cx.config.state_dir.clone(), cx.config.wait);
        let open = blocking(move || -> anyhow::Result<Open> {
            // Where none was found, the second look says why.
            let repo = found.map_or_else(|| Repo::discover(&cwd), Ok)?;
            let lock = match lock {
                Some(what) => Some(repo.lock(what, if wait { WAIT } else { Duration::ZERO })?),
                None => None,
            };
            let head = repo.head()?;
            let memory = Memory::new(&state_dir, repo.worktree_id());
            let mut record = memory.worktree()?;
            record.worktree = repo.top().display().to_string();
            let moved = moved::look(&repo, &state_dir);
            Ok(Open { repo, head, memory, record, moved, _lock: lock })
        });
        tokio::select! {
            open = open => open,
            signal = cx.signals.first() => Err(super::ended_by(signal)),
        }
    }

    /// Finishes an apply that was killed half-way.
    async fn resume(&self, cx: &Context) -> anyhow::Result<()> {
        let repo = self.repo.clone();
        let resumed = blocking(move || -> anyhow::Result<usize> {
            let store = Store::open(&repo)?;
            let objects = (&repo, &store);
            let done = with_site(&repo, &objects, apply::resume)?;
            done.iter().try_for_each(|one| seed::keep_modes(&repo, one.changed.iter()))?;
            Ok(done.len())
        })
        .await
        .context("finish an interrupted apply")?;
        if resumed > 0 {
            cx.reporter
                .warn("apply.resumed", "an apply that was cut short has been finished", None)
                .await;
        }
        Ok(())
    }

    /// The first line of the report.
    pub async fn announce(
        &self,
        cx: &Context,
        mode: &'static str,
        sandbox_name: &str,
        resume_of: Option<String>,
    ) {
        let event = Event::Session {
            version: env!("CARGO_PKG_VERSION"),
            worktree: self.record.worktree.clone(),
            branch: self.head.branch.clone(),
            head: self.head.id.clone(),
            sandbox_name: sandbox_name.to_owned(),
            mode,
            resume_of,
        };
        cx.reporter.event(event).await;
    }

    /// The sandbox's deterministic name: readable, and the same for this worktree on this machine only.
    pub fn sandbox_name(&self, cx: &Context) -> String {
        if let Some(name) = &cx.config.name {
            return name.clone();
        }
        let folder = self
            .repo
            .top()
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        sandbox_name(&folder, self.repo.worktree_id())
    }

    /// Remembers the sandbox.
    pub fn remember_sandbox(&mut self, sandbox: SandboxRecord) -> anyhow::Result<()> {
        if self.record.sandbox.as_ref() == Some(&sandbox) {
            return Ok(());
        }
        self.record.sandbox = Some(sandbox);
        self.save()
    }

    /// The name of a sandbox that is remembered; empty for any other.
    pub fn name_of(&self, sandbox_id: &str) -> String {
        let known = self.record.sandbox.as_ref().filter(|r| r.id == sandbox_id);
        known.map(|r| r.name.clone()).unwrap_or_default()
    }

    /// Writes down what is known.
    pub fn save(&self) -> anyhow::Result<()> {
        Ok(self.memory.save_worktree(&self.record)?)
    }

    /// What to capture.
    pub fn capture_options(&self, cx: &Context) -> capture::Options {
        capture::Options {
            include: cx.config.include.clone(),
            exclude: cx.config.exclude.clone(),
            max_size: cx.config.max_size,
            max_files: cx.config.max_files,
        }
    }
}

/// Calls `work` with the place an apply works at.
pub fn with_site<T>(
    repo: &Repo,
    objects: &dyn apply::Objects,
    work: impl FnOnce(&Site<'_>) -> Result<T, apply::Error>,
) -> anyhow::Result<T> {
    let state = repo.state_dir();
    let site = Site { top: repo.top(), state: &state, objects, file_mode: repo.file_mode() };
    Ok(work(&site)?)
}

/// Letters, digits and dashes of the folder's name, then the worktree's id.
fn sandbox_name(folder: &str, worktree_id: &str) -> String {
    let mut slug = String::new();
    for c in folder.chars() {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => slug.push(c),
            _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
        if slug.len() >= 24 {
            break;
        }
    }
    let slug = slug.trim_matches('-');
    let slug = if slug.is_empty() { "worktree" } else { slug };
    format!("sbx-{slug}-{}", &worktree_id[..worktree_id.len().min(16)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_readable_and_plain() {
        assert_eq!(
            sandbox_name("My Project_2", "0123456789abcdef0"),
            "sbx-my-project-2-0123456789abcdef"
        );
        assert_eq!(sandbox_name("日本", "0123456789abcdef"), "sbx-worktree-0123456789abcdef");
    }

    proptest! {
        #[test]
        fn any_folder_gives_a_valid_name(folder in ".*") {
            let name = sandbox_name(&folder, "0123456789abcdef");
            prop_assert!(name.len() <= 63 && name.ends_with("-0123456789abcdef"));
            prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        }
    }
}
