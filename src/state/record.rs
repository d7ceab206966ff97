//! The records themselves.

use serde::{Deserialize, Serialize};

use crate::secret::Print;

/// The format of the files. A newer one is refused, an older one is read.
pub const FORMAT: u32 = 1;

/// What is known about one worktree.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorktreeRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// Absolute path, lossy; for people.
    pub worktree: String,
    /// The sandbox in use.
    pub sandbox: Option<SandboxRecord>,
    /// A result that was fetched and held back because of a conflict.
    pub held: Option<Held>,
    /// A result that is dealt with here, while its sandbox still has the old base.
    pub decided: Option<Held>,
}

/// The sandbox of a worktree.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxRecord {
    /// Daytona's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Which service: its API URL, or `local`.
    pub provider: String,
    /// It may hold work that is not here yet.
    pub unpulled: bool,
    /// Its user's home directory.
    pub home: Option<String>,
    /// The set-up that was done in it, as a fingerprint.
    pub setup: Option<String>,
}

/// A fetched result. Its objects are in the private repository.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Held {
    /// The run it came from.
    pub run: String,
    /// The sandbox it came from.
    pub sandbox_id: String,
    /// That sandbox's name.
    pub sandbox_name: String,
    /// Tree id both sides agreed on.
    pub base: String,
    /// Tree id of the result.
    pub theirs: String,
}

/// What was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum RunKind {
    #[default]
    Agent,
    Exec,
    Pull,
}

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// Its id.
    pub id: String,
    /// What was started.
    pub kind: RunKind,
    /// Which agent; empty for a plain command.
    pub agent: String,
    /// The prompt's or command's first line, cut; for people.
    pub title: String,
    /// Where it runs.
    pub sandbox_id: String,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339; absent while it runs or when nobody saw its end.
    pub ended_at: Option<String>,
    /// Our exit code.
    pub exit: Option<u8>,
    /// The agent's own exit status.
    pub agent_exit: Option<i32>,
    /// The agent's conversation id.
    pub agent_session: Option<String>,
    /// Paths applied to the worktree; `undo` can put them back.
    pub applied: u64,
    /// Somebody typed at its terminal: nothing of its output is recorded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub typed: bool,
    /// Process that started it, for people.
    pub pid: u32,
    /// What it was lent, so that whoever shows its output later can mask it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lent: Vec<Print>,
}

impl RunRecord {
    /// A title that fits on one line.
    pub fn title_of(text: &str) -> String {
        let line = text.trim().lines().next().unwrap_or_default();
        let mut title: String = line.chars().take(80).collect();
        if title.len() < text.trim().len() {
            title.push('…');
        }
        title
    }
}
