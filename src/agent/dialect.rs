//! What an agent's own file knows about its lines, and the facts that all of them gather.

use std::collections::VecDeque;

use serde_json::Value;

use super::provider::Failure;
use super::verdict::{Outcome, Unusable};
use crate::event::{AgentEvent, Usage, UsageScope};

/// Bytes of a tool's output that are kept in an event.
pub const OUTPUT_KEPT: usize = 2048;

/// Lines that are no events, kept for the message of a failure.
const TAIL_LINES: usize = 40;

/// Bytes of each of them.
const TAIL_LINE_BYTES: usize = 2000;

/// What an agent's own file knows about its lines.
pub(super) trait Dialect: std::fmt::Debug + Send {
    /// An object with a `type`.
    fn event(&mut self, kind: &str, line: &Value, facts: &mut Facts, out: &mut Vec<AgentEvent>);
    /// Any other line.
    fn text(&mut self, line: &str, facts: &mut Facts, out: &mut Vec<AgentEvent>);
    /// The agent has said its last word, and it is only its process that has to end.
    fn terminal(&self, facts: &Facts) -> bool;
    /// The result of a process that ended by itself, and what to say about it.
    fn judge(&self, exit: i32, facts: &Facts) -> (Outcome, String);
    /// The agent repeats itself without a chance: what it says.
    fn hopeless(&self, _facts: &Facts) -> Option<String> {
        None
    }
}

/// What was learned so far.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub session: Option<String>,
    pub asked: Option<String>,
    pub usage: Usage,
    pub error: Option<Failure>,
    /// The last notice, while nothing else was said after it.
    pub trouble: Option<String>,
    pub tail: VecDeque<String>,
    pub setup: Option<(Unusable, String)>,
    pub started: bool,
}

impl Facts {
    /// Notes the conversation's id; the first time it is an event.
    pub fn session(&mut self, id: &str, model: Option<&str>, out: &mut Vec<AgentEvent>) {
        if self.session.as_deref() != Some(id) && !id.is_empty() {
            self.session = Some(id.to_owned());
            out.push(AgentEvent::Session { id: id.to_owned(), model: model.map(str::to_owned) });
        }
    }

    /// Adds up tokens and money.
    pub fn usage(&mut self, usage: Usage, scope: UsageScope, out: &mut Vec<AgentEvent>) {
        self.usage.absorb(usage, scope);
        out.push(AgentEvent::Usage { usage, scope });
    }

    /// The agent gives up.
    pub fn fail(&mut self, failure: Failure, out: &mut Vec<AgentEvent>) {
        if self.error.as_ref() != Some(&failure) {
            out.push(AgentEvent::Error {
                message: failure.message.clone(),
                status: failure.status,
                retryable: failure.kind.map(|_| failure.retryable),
                r#final: true,
            });
        }
        self.error = Some(failure);
    }

    /// A sentence about an exit status, with the last words on the terminal.
    pub fn ending(&self, who: &str, exit: i32) -> String {
        let last = self.last_words().map(|l| format!(": {l}")).unwrap_or_default();
        format!("{who} ended with exit status {exit}{last}")
    }

    /// A sentence about an agent that exits 0 and did nothing.
    pub fn silent(&self, who: &str) -> String {
        let last = self.last_words().map(|l| format!(": {l}")).unwrap_or_default();
        format!("{who} ended without doing anything{last}")
    }

    /// The last line that says something; an `Error` line rather than a stack trace below it.
    fn last_words(&self) -> Option<&str> {
        let said = || self.tail.iter().rev().map(|l| l.trim()).filter(|l| !l.is_empty());
        said().find(|l| l.to_lowercase().contains("error:")).or_else(|| said().next())
    }

    /// Whether a line on the terminal holds these words.
    pub fn tail_has(&self, words: &str) -> bool {
        self.tail.iter().any(|l| l.contains(words))
    }

    /// Keeps a line for the message of a failure.
    pub fn keep(&mut self, line: &str) {
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(clip_to(line, TAIL_LINE_BYTES));
    }

    /// Lines of our own start script, heard only until the agent itself begins.
    pub fn setup(&mut self, said: &str, out: &mut Vec<AgentEvent>) {
        let (word, rest) = said.split_once(' ').unwrap_or((said, ""));
        match word {
            "found" => self.started = true,
            "missing" => {
                self.setup = Some((Unusable::Missing, format!("the sandbox has no {rest}")))
            }
            "installing" => out.push(AgentEvent::Notice { message: format!("installing {rest}") }),
            "install-failed" => {
                self.setup = Some((Unusable::InstallFailed, format!("installing {rest} failed")));
            }
            "note" => out.push(AgentEvent::Notice { message: rest.to_owned() }),
            _ => {}
        }
    }
}

/// The text at a JSON pointer.
pub(super) fn str_at<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str()
}

/// The number at a JSON pointer, or 0.
pub(super) fn u64_at(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// A text cut to what an event carries.
pub(super) fn clip(text: &str) -> String {
    clip_to(text, OUTPUT_KEPT)
}

/// A text cut to so many bytes, at a character.
pub(super) fn clip_to(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit);
    format!("{}…", &text[..end])
}

/// One line about a tool call, from the arguments agents use most.
pub(super) fn tool_title(input: Option<&Value>) -> String {
    const TELLING: [&str; 10] = [
        "command",
        "cmd",
        "filePath",
        "file_path",
        "absolute_path",
        "path",
        "pattern",
        "query",
        "url",
        "description",
    ];
    let input = input.unwrap_or(&Value::Null);
    let told = TELLING.iter().find_map(|key| input.get(key)?.as_str());
    let first = told.unwrap_or_default().lines().next().unwrap_or_default();
    clip_to(first, 200)
}
