//! How a command ended: what failed, and the last line.

use serde::Serialize;

use super::{Phase, Usage};
use crate::exit::{ErrorCode, Exit};

/// What failed and what to do.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorEvent {
    /// Dotted name.
    pub code: ErrorCode,
    /// What happened, on which thing.
    pub message: String,
    /// What the reader can do now.
    pub hint: String,
    /// The same call may succeed later.
    pub retryable: bool,
    /// Seconds the service asked to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// The step that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The sandbox that may hold work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// The HTTP status behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The last lines of the agent's output.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tail: Vec<String>,
    /// The command that goes on from here, as arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resume: Vec<String>,
}

/// The last line.
#[derive(Debug, Clone, Serialize)]
pub struct Done {
    /// The exit code of the process.
    pub exit_code: u8,
    /// Its name.
    pub outcome: &'static str,
    /// What happened to the worktree.
    pub files: FileCounts,
    /// Bytes on the wire, both ways.
    pub bytes: u64,
    /// The agent, if one ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentDone>,
    /// The sandbox, if one was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxDone>,
    /// The sandbox may hold work that is not here yet.
    pub unpulled: bool,
    /// Seconds from start to end.
    pub duration_s: f64,
    /// Events before this one.
    pub events: u64,
}

impl Done {
    /// The line for a command that has nothing else to report.
    pub fn plain(exit: Exit) -> Self {
        Self {
            exit_code: exit.code(),
            outcome: exit.name(),
            files: FileCounts::default(),
            bytes: 0,
            agent: None,
            sandbox: None,
            unpulled: false,
            duration_s: 0.0,
            events: 0,
        }
    }
}

/// What happened to the worktree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct FileCounts {
    pub added: u64,
    pub modified: u64,
    pub deleted: u64,
    pub conflicts: u64,
    pub skipped: u64,
}

/// The agent at the end.
#[derive(Debug, Clone, Serialize)]
pub struct AgentDone {
    /// Which agent.
    pub name: String,
    /// Its own exit status; never ours.
    pub exit_code: Option<i32>,
    /// Its conversation id.
    pub session: Option<String>,
    /// Seconds it ran.
    pub duration_s: f64,
    /// Tokens and money.
    pub usage: Usage,
}

/// The sandbox at the end.
#[derive(Debug, Clone, Serialize)]
pub struct SandboxDone {
    /// Daytona's id.
    pub id: String,
    /// Daytona's state.
    pub state: String,
    /// Whether it still exists.
    pub kept: bool,
    /// Seconds we kept it busy.
    pub seconds: f64,
}
