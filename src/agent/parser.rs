//! Lines of an agent as events, and in the end the verdict.
//!
//! No agent can be trusted to have a last event, and no exit status alone: the verdict takes both. What
//! is common to all agents is here; each agent's own file has its dialect.

use serde_json::Value;

use super::dialect::{Dialect, Facts};
use super::provider::Failure;
use super::verdict::{Ended, Outcome, Unusable, Verdict};
use super::{Kind, claude, codex, command, gemini, install, invocation, opencode, qwen};
use crate::event::{AgentEvent, OutputKind, Usage};

/// What a line turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// `json` if it is an object of the agent's own format.
    pub kind: OutputKind,
    /// That object.
    pub json: Option<Value>,
    /// What it means. A line may mean nothing, or several things.
    pub events: Vec<AgentEvent>,
    /// A line of our own start script, of which people need to see no more than the events.
    pub ours: bool,
}

/// Reads one run of one agent.
#[derive(Debug)]
pub struct Parser {
    kind: Kind,
    facts: Facts,
    dialect: Box<dyn Dialect>,
}

impl Parser {
    /// A parser for one run. `session` is the conversation that was to be continued.
    pub fn new(kind: Kind, session: Option<&str>) -> Self {
        let dialect: Box<dyn Dialect> = match kind {
            Kind::Opencode => Box::<opencode::Opencode>::default(),
            Kind::Claude => Box::<claude::Claude>::default(),
            Kind::Codex => Box::<codex::Codex>::default(),
            Kind::Gemini => Box::<gemini::Gemini>::default(),
            Kind::Qwen => Box::new(qwen::dialect()),
            Kind::Command => Box::new(command::Command),
        };
        let facts = Facts { asked: session.map(str::to_owned), ..Facts::default() };
        Self { kind, facts, dialect }
    }

    /// Reads one line, as [`Lines`](super::Lines) delivers it.
    pub fn line(&mut self, line: &[u8]) -> Parsed {
        let parsed = self.parse(line);
        for event in &parsed.events {
            self.facts.trouble = match event {
                AgentEvent::Notice { message } => Some(message.clone()),
                _ => None,
            };
        }
        parsed
    }

    fn parse(&mut self, line: &[u8]) -> Parsed {
        let mut events = Vec::new();
        if let Some((kind, json)) = self.object(line) {
            self.dialect.event(&kind, &json, &mut self.facts, &mut events);
            return Parsed { kind: OutputKind::Json, json: Some(json), events, ours: false };
        }
        let text = String::from_utf8_lossy(line);
        let said = text
            .strip_prefix("SBX1 agent ")
            .filter(|_| self.kind != Kind::Command && !self.facts.started);
        if let Some(said) = said {
            self.facts.setup(said, &mut events);
        } else {
            self.facts.keep(&text);
            self.dialect.text(&text, &mut self.facts, &mut events);
        }
        let ours = said.is_some();
        Parsed { kind: OutputKind::Text, json: None, events, ours }
    }

    /// A line is an event only if it is a whole object with a `type`; all else is log text.
    fn object(&self, line: &[u8]) -> Option<(String, Value)> {
        if self.kind == Kind::Command || !line.starts_with(b"{") {
            return None;
        }
        let json: Value = serde_json::from_slice(line).ok()?;
        let kind = json.get("type")?.as_str()?.to_owned();
        Some((kind, json))
    }

    /// The conversation's id, as soon as the agent has named it.
    pub fn session(&self) -> Option<&str> {
        self.facts.session.as_deref()
    }

    /// Tokens and money so far.
    pub fn usage(&self) -> Usage {
        self.facts.usage
    }

    /// The agent has said its last word. If its process is still there half a minute later, it hangs,
    /// and may be ended with [`Ended::Lingering`].
    pub fn terminal_event_seen(&self) -> bool {
        self.dialect.terminal(&self.facts)
    }

    /// The agent repeats an attempt that cannot succeed, without an end of its own: what it says.
    /// Such a run is worth ending with [`Ended::Lingering`].
    pub fn hopeless(&self) -> Option<String> {
        self.dialect.hopeless(&self.facts)
    }

    /// The verdict, after the last line.
    pub fn finish(mut self, ended: Ended) -> Verdict {
        if let Some(message) = self.hopeless().filter(|_| ended == Ended::Lingering) {
            self.facts.error = Some(Failure::new(&message, None));
        }
        let (outcome, message) = self.judge(ended);
        let zero = ended == Ended::Exited(0);
        let fine = outcome == Outcome::Ok;
        let mismatch = matches!(ended, Ended::Exited(_)) && zero != fine && (zero || fine);
        let error = self
            .facts
            .error
            .as_ref()
            .filter(|_| !matches!(outcome, Outcome::Ok | Outcome::Cancelled));
        Verdict {
            outcome,
            message,
            retryable: error.is_some_and(|e| e.retryable)
                || outcome == Outcome::Unusable(Unusable::InstallFailed),
            http_status: error.and_then(|e| e.status),
            exit_mismatch: mismatch,
            trouble: self.facts.trouble,
            session: self.facts.session,
            usage: self.facts.usage,
            tail: self.facts.tail.into(),
        }
    }

    fn judge(&self, ended: Ended) -> (Outcome, String) {
        if let Some((why, message)) = &self.facts.setup {
            return (Outcome::Unusable(*why), message.clone());
        }
        match ended {
            Ended::Cancelled => (Outcome::Cancelled, format!("{} was stopped", self.who())),
            Ended::Lost => {
                (Outcome::Failed, format!("{} is gone, and nothing says how it ended", self.who()))
            }
            Ended::Exited(invocation::EXIT_NO_WORKSPACE) if !self.facts.started => {
                (Outcome::Failed, "the workspace is missing in the sandbox".to_owned())
            }
            Ended::Exited(install::EXIT_MISSING | install::EXIT_FAILED) if self.cut_short() => (
                Outcome::Unusable(Unusable::Missing),
                "the agent could not be found or installed".to_owned(),
            ),
            // it said all it had to say: the exit status is that of our own signal
            Ended::Lingering => self.dialect.judge(0, &self.facts),
            Ended::Exited(status) => {
                let status = if status < 0 { 128 - status } else { status };
                match self.dialect.judge(status, &self.facts) {
                    (Outcome::Failed, _) if killed(status) && self.facts.error.is_none() => (
                        Outcome::Killed,
                        format!("{} was ended by signal {}", self.who(), status - 128),
                    ),
                    other => other,
                }
            }
        }
    }

    fn cut_short(&self) -> bool {
        self.kind != Kind::Command && !self.facts.started && self.facts.session.is_none()
    }

    fn who(&self) -> &'static str {
        match self.kind {
            Kind::Command => "the command",
            kind => kind.name(),
        }
    }
}

/// Statuses of the signals that end a process from outside; agents catch or send the others themselves.
fn killed(status: i32) -> bool {
    [129, 130, 137, 143].contains(&status)
}
