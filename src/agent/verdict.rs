//! What a run of an agent came to.

use crate::event::Usage;
use crate::exit::ErrorCode;

/// How the agent's process ended, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status; 128+N or -N for signal N.
    Exited(i32),
    /// We stopped it, because somebody or a deadline asked for it.
    Cancelled,
    /// It had said its last word and did not leave, so we stopped it.
    Lingering,
    /// It is gone without a status.
    Lost,
}

/// The result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The agent says it is done, and its exit status agrees.
    Ok,
    /// It ended in order but before it was done.
    Incomplete,
    /// It failed.
    Failed,
    /// A signal that was not ours ended it.
    Killed,
    /// We stopped it.
    Cancelled,
    /// It could not work at all; the code was not the problem.
    Unusable(Unusable),
}

/// Why an agent could not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// The model's provider refused, is overloaded or out of reach.
    Provider,
    /// The provider refused the credentials.
    Auth,
    /// There are no credentials.
    NoCredentials,
    /// The agent does not know the conversation.
    NoSession,
    /// The agent is not installed, and nothing here can install it.
    Missing,
    /// Installing it failed.
    InstallFailed,
}

/// All there is to say about a run that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The result.
    pub outcome: Outcome,
    /// What happened, in words; empty if all went well.
    pub message: String,
    /// The conversation's id, for the next prompt.
    pub session: Option<String>,
    /// Tokens and money.
    pub usage: Usage,
    /// The same prompt may succeed later.
    pub retryable: bool,
    /// The provider's HTTP status behind it.
    pub http_status: Option<u16>,
    /// The exit status and the agent's own words contradict each other.
    pub exit_mismatch: bool,
    /// What it complained of last, if it said nothing after that: mostly a provider it tries again.
    pub trouble: Option<String>,
    /// The last lines that were no events.
    pub tail: Vec<String>,
}

impl Verdict {
    /// The stable name of the failure; none for success and for what we stopped ourselves.
    pub fn code(&self) -> Option<ErrorCode> {
        Some(match self.outcome {
            Outcome::Ok | Outcome::Cancelled => return None,
            Outcome::Incomplete | Outcome::Failed => ErrorCode::AgentFailed,
            Outcome::Killed => ErrorCode::AgentKilled,
            Outcome::Unusable(why) => match why {
                Unusable::Provider | Unusable::Auth => ErrorCode::AgentProvider,
                Unusable::NoCredentials => ErrorCode::AgentNoCredentials,
                Unusable::NoSession => ErrorCode::AgentNoSession,
                Unusable::Missing => ErrorCode::AgentMissing,
                Unusable::InstallFailed => ErrorCode::AgentInstallFailed,
            },
        })
    }
}
