//! All a run can report: the contract of `--json`, one object per line.
//!
//! Within version 1 fields are only added. Consumers ignore types and fields they do not know.

mod agent;
mod end;

pub use agent::{AgentEvent, ToolStatus, Usage, UsageScope};
pub use end::{AgentDone, Done, ErrorEvent, FileCounts, SandboxDone};

use serde::Serialize;

use crate::rel_path::RelPath;

/// The version in every line's `v`.
pub const VERSION: u32 = 1;

/// One line of the stream: the envelope around an [`Event`].
#[derive(Debug, Clone, Serialize)]
pub struct Envelope<'e> {
    /// Always [`VERSION`].
    pub v: u32,
    /// Counts from 1 without holes.
    pub seq: u64,
    /// RFC 3339, UTC, milliseconds.
    pub ts: String,
    /// The run's id.
    pub run: &'e str,
    /// What happened.
    #[serde(flatten)]
    pub event: &'e Event,
}

/// Something worth telling.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The first line.
    Session {
        /// Version of this program.
        version: &'static str,
        /// Absolute path of the worktree, lossy where it is not UTF-8.
        worktree: String,
        /// The branch, if one is checked out.
        branch: Option<String>,
        /// The commit id of HEAD, if there is one.
        head: Option<String>,
        /// The sandbox's deterministic name.
        sandbox_name: String,
        /// Which command: `run`, `exec`, `pull`, `attach`.
        mode: &'static str,
        /// The agent conversation that is continued.
        #[serde(skip_serializing_if = "Option::is_none")]
        resume_of: Option<String>,
    },
    /// A step of the journey begins, waits or ends.
    Phase {
        /// Which step.
        name: Phase,
        /// Where in it.
        state: PhaseState,
        /// Words for people.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// How long it took, when it ended.
        #[serde(skip_serializing_if = "Option::is_none")]
        ms: Option<u64>,
    },
    /// The sandbox in use.
    Sandbox {
        /// Daytona's id.
        id: String,
        /// Its name.
        name: String,
        /// Daytona's state.
        state: String,
        /// How we came by it.
        origin: Origin,
        /// Minutes without activity after which the platform stops it; 0 is never.
        auto_stop_min: Option<i64>,
        /// The provider, and for local sandboxes the isolation and network in force.
        provider: String,
        /// `namespaces`, `docker`, `none`, or the platform's own.
        isolation: String,
        /// What the sandbox may reach: `host`, `proxy`, `none`, or the platform's own.
        network: String,
    },
    /// Files travelled.
    Sync {
        /// `in` or `out`.
        direction: Direction,
        /// Whether everything was sent, or only differences.
        full: bool,
        /// Files that travelled.
        files: u64,
        /// Bytes on the wire.
        bytes: u64,
        /// Deletions that travelled.
        deleted: u64,
        /// Entries left out, with reasons in warnings.
        skipped: u64,
        /// `--dry-run`: it would travel, and nothing did.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        planned: bool,
    },
    /// The agent's process.
    Agent {
        /// Where in its life.
        state: AgentState,
        /// Which agent.
        agent: String,
        /// The agent's own conversation id.
        #[serde(skip_serializing_if = "Option::is_none")]
        agent_session: Option<String>,
        /// Its exit status, once it ended.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
    },
    /// What the agent wrote, raw: each line of it once, in order.
    AgentOutput {
        /// `json` when the line is an object of the agent's own event format, else `text`.
        kind: OutputKind,
        /// `stdout` or `stderr`; a terminal has only `stdout`.
        stream: Stream,
        /// The text, for kind `text`; lossy where it is not UTF-8.
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<String>,
        /// The object, for kind `json`.
        #[serde(skip_serializing_if = "Option::is_none")]
        json: Option<serde_json::Value>,
        /// Offset in bytes of the line's start in the recorded output.
        offset: u64,
        /// The line goes on in the next event.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        partial: bool,
    },
    /// What the agent's output means, in words common to all agents.
    AgentEvent {
        /// The meaning.
        event: AgentEvent,
    },
    /// Output that is not kept: there was too much of it.
    Gap {
        /// Of which stream.
        stream: Stream,
        /// First missing byte.
        from: u64,
        /// First byte after it.
        to: u64,
        /// Why.
        reason: String,
    },
    /// Nothing else happened for a while.
    Heartbeat {
        /// The step that is taking its time.
        phase: Phase,
        /// Seconds without output of the agent.
        idle_s: u64,
        /// Bytes of output seen so far.
        offset: u64,
        /// Daytona's state of the sandbox, as last seen.
        sandbox_state: String,
    },
    /// One file changed in the worktree.
    File {
        /// Its place.
        #[serde(flatten)]
        path: EventPath,
        /// What happened to it.
        op: FileOp,
        /// Its size now.
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
        /// The git id of its bytes now.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// Why the change deserves a look before anything is run.
        #[serde(skip_serializing_if = "Option::is_none")]
        risk: Option<String>,
        /// What kinds of risk these are.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        risk_classes: Vec<&'static str>,
    },
    /// Both sides changed one path.
    Conflict {
        /// Its place.
        #[serde(flatten)]
        path: EventPath,
        /// What clashes.
        kind: String,
        /// Why it is held back, if both sides did not change it.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Git ids: last agreed, ours, theirs.
        base: Option<String>,
        /// Ours.
        local: Option<String>,
        /// Theirs.
        theirs: Option<String>,
        /// Where their version was put, relative to the worktree.
        #[serde(skip_serializing_if = "Option::is_none")]
        saved_to: Option<String>,
    },
    /// Worth knowing, not an error.
    Warning {
        /// Dotted name.
        code: String,
        /// Words for people.
        message: String,
        /// What to do about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// What failed. At most one, before `done`.
    Error(Box<ErrorEvent>),
    /// Exactly one, the last line. Its absence means that the process died: run `pull`.
    Done(Box<Done>),
}

/// A step of the journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Phase {
    Config,
    Lookup,
    Create,
    Start,
    SyncIn,
    Setup,
    Agent,
    SyncOut,
    Apply,
    Cleanup,
}

impl Phase {
    /// The name as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Config => "config",
            Phase::Lookup => "lookup",
            Phase::Create => "create",
            Phase::Start => "start",
            Phase::SyncIn => "sync_in",
            Phase::Setup => "setup",
            Phase::Agent => "agent",
            Phase::SyncOut => "sync_out",
            Phase::Apply => "apply",
            Phase::Cleanup => "cleanup",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum PhaseState {
    Begin,
    Wait,
    End,
}

/// How we came by the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Origin {
    Created,
    Reused,
    Adopted,
    Started,
    Recovered,
    Recreated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Direction {
    In,
    Out,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum AgentState {
    Started,
    Session,
    Exited,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum OutputKind {
    Json,
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum FileOp {
    Add,
    Modify,
    Delete,
    Mode,
}

/// A path in an event: text where it is UTF-8, base64 beside a lossy text where it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventPath {
    /// The path; U+FFFD stands for bytes that are not UTF-8.
    pub path: String,
    /// The bytes, only if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_b64: Option<String>,
}

impl From<&RelPath> for EventPath {
    fn from(path: &RelPath) -> Self {
        use base64::Engine as _;
        let path_b64 = match path.to_str() {
            Some(_) => None,
            None => Some(base64::engine::general_purpose::STANDARD.encode(path.as_bytes())),
        };
        Self { path: String::from_utf8_lossy(path.as_bytes()).into_owned(), path_b64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_flat_and_tagged() {
        let event = Event::File {
            path: EventPath::from(&RelPath::parse(b"a\xff").unwrap()),
            op: FileOp::Add,
            bytes: Some(3),
            id: None,
            risk: None,
            risk_classes: Vec::new(),
        };
        let line = Envelope { v: VERSION, seq: 1, ts: "t".into(), run: "r", event: &event };
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(
            json,
            r#"{"v":1,"seq":1,"ts":"t","run":"r","type":"file","path":"a�","path_b64":"Yf8=","op":"add","bytes":3}"#
        );
    }
}
