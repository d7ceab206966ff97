//! How a coding agent is started and how its output is read; knows nothing of Daytona.
//!
//! A run needs four things from here, all of them plain data:
//!
//! 1. [`launch()`]: the shell text, environment and files that start the agent without a human,
//! 2. [`credentials`]: which of the host's variables and login files it may receive,
//! 3. [`lines`]: the recorded bytes as lines,
//! 4. [`Parser`]: lines as [events](crate::event::AgentEvent), and in the end a [`Verdict`].
//!
//! Each agent has a file of its own with its command line and its dialect, so that the odd habits of
//! one never touch another.

use crate::exit::ErrorCode;

mod claude;
mod codex;
mod command;
pub mod conversations;
pub mod credentials;
mod dialect;
mod gemini;
pub mod install;
mod invocation;
pub mod launch;
pub mod lines;
mod opencode;
mod parser;
mod provider;
mod qwen;
mod sh;
mod verdict;

pub use invocation::{HomeFile, Launch, LaunchRequest};
pub use launch::launch;
pub use lines::{Line, Lines};
pub use parser::{Parsed, Parser};
pub use verdict::{Ended, Outcome, Unusable, Verdict};

/// A coding agent we know how to start and to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// <https://opencode.ai>
    Opencode,
    /// Claude Code.
    Claude,
    /// OpenAI's codex.
    Codex,
    /// Google's Gemini CLI.
    Gemini,
    /// Qwen Code.
    Qwen,
    /// Any shell command: the prompt on standard input, success is exit status 0.
    Command,
}

impl Kind {
    /// All of them, in the order they are offered.
    pub const ALL: [Kind; 6] =
        [Kind::Opencode, Kind::Claude, Kind::Codex, Kind::Gemini, Kind::Qwen, Kind::Command];

    /// The word people type.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Opencode => "opencode",
            Kind::Claude => "claude",
            Kind::Codex => "codex",
            Kind::Gemini => "gemini",
            Kind::Qwen => "qwen",
            Kind::Command => "command",
        }
    }

    /// The agent of that name, or an error that lists them all.
    pub fn parse(name: &str) -> Result<Kind, Error> {
        let wanted = name.trim().to_ascii_lowercase();
        if let Some(kind) = Kind::ALL.into_iter().find(|k| k.name() == wanted) {
            return Ok(kind);
        }
        let near = |k: &Kind| strsim::jaro_winkler(k.name(), &wanted);
        let suggestion = Kind::ALL
            .into_iter()
            .filter(|k| near(k) > 0.75)
            .max_by(|a, b| near(a).total_cmp(&near(b)))
            .map(Kind::name);
        Err(Error::Unknown { name: name.to_owned(), suggestion })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Kind::parse(name)
    }
}

/// What is wrong with a request to start an agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No agent has this name.
    #[error("unknown agent `{name}`; known are opencode, claude, codex, gemini, qwen, command{}", did_you_mean(.suggestion))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The nearest name, if one is near.
        suggestion: Option<&'static str>,
    },
    /// The agent `command` without a command.
    #[error("the agent `command` needs the command itself: `--agent-command 'SH COMMAND'`")]
    CommandMissing,
    /// The conversation id cannot be one of this agent's.
    #[error("`{session}` is not a conversation id of {agent}: {why}")]
    BadSession {
        /// Which agent.
        agent: Kind,
        /// What was asked for.
        session: String,
        /// What such ids look like.
        why: &'static str,
    },
    /// The command agent keeps no conversations.
    #[error("the agent `command` has no conversations to continue")]
    NoConversations,
    /// The model's name cannot be passed on.
    #[error("`{model}` is not a model name for {agent}: {why}")]
    BadModel {
        /// Which agent.
        agent: Kind,
        /// What was asked for.
        model: String,
        /// What such names look like.
        why: &'static str,
    },
}

impl Error {
    /// The stable name of this failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Unknown { .. } => ErrorCode::AgentUnknown,
            Error::BadSession { .. } => ErrorCode::AgentNoSession,
            Error::CommandMissing | Error::NoConversations | Error::BadModel { .. } => {
                ErrorCode::Usage
            }
        }
    }
}

fn did_you_mean(suggestion: &Option<&'static str>) -> String {
    suggestion.map(|s| format!("; did you mean `{s}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_found_by_name_and_a_slip_gets_a_suggestion() {
        assert_eq!(Kind::parse(" OpenCode"), Ok(Kind::Opencode));
        assert_eq!(
            Kind::parse("claud").unwrap_err().to_string(),
            "unknown agent `claud`; known are opencode, claude, codex, gemini, qwen, command; did you mean `claude`?"
        );
        assert!(matches!(Kind::parse("zzz"), Err(Error::Unknown { suggestion: None, .. })));
    }
}
