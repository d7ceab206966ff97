//! What agents say and use, in words common to all of them.

use serde::Serialize;

/// What an agent's line means, in words common to all agents.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AgentEvent {
    /// The conversation has an id.
    Session {
        /// What `--session` takes.
        id: String,
        /// The model, if the agent names it.
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<String>,
    },
    /// The agent's words.
    Text {
        /// The words.
        text: String,
        /// A piece of a longer text rather than a whole part.
        delta: bool,
    },
    /// The agent's thoughts.
    Reasoning {
        /// The words.
        text: String,
    },
    /// A tool call.
    Tool {
        /// The agent's id of the call.
        call_id: String,
        /// Which tool.
        name: String,
        /// One line about this call: the command, the file.
        title: String,
        /// Where in its life.
        status: ToolStatus,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Its output, cut to 2 KiB.
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<String>,
    },
    /// Tokens and money.
    Usage {
        /// How much.
        #[serde(flatten)]
        usage: Usage,
        /// Whether the numbers add to earlier ones or replace them.
        scope: UsageScope,
    },
    /// Retries and warnings.
    Notice {
        /// The words.
        message: String,
    },
    /// The agent reports an error.
    Error {
        /// The words.
        message: String,
        /// The provider's HTTP status.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Whether the provider calls it passing.
        #[serde(skip_serializing_if = "Option::is_none")]
        retryable: Option<bool>,
        /// The agent gives up over it.
        r#final: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ToolStatus {
    Running,
    Ok,
    Error,
}

/// Whether usage numbers add up or stand for the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageScope {
    /// Of one step: add to earlier ones.
    Step,
    /// Of the whole run: replaces earlier ones.
    Total,
}

/// Tokens and money.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Input tokens, without those read from a cache where the agent tells them apart.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Reasoning tokens, where the agent tells them apart.
    pub reasoning: u64,
    /// Tokens read from a cache.
    pub cache_read: u64,
    /// Tokens written to a cache.
    pub cache_write: u64,
    /// US dollars, where the agent knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

impl Usage {
    /// Takes a report into account.
    pub fn absorb(&mut self, report: Usage, scope: UsageScope) {
        match scope {
            UsageScope::Total => *self = report,
            UsageScope::Step => {
                self.input += report.input;
                self.output += report.output;
                self.reasoning += report.reasoning;
                self.cache_read += report.cache_read;
                self.cache_write += report.cache_write;
                if let Some(cost) = report.cost_usd {
                    self.cost_usd = Some(self.cost_usd.unwrap_or(0.0) + cost);
                }
            }
        }
    }
}
