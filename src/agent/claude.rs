//! Claude Code: `-p --output-format stream-json`, a `result` line at the end.
//!
//! Tried with 2.1.197 and 2.1.329. A result's `subtype` says `success` for errors of the API as well:
//! only `is_error` counts. After SIGINT it exits 0.

use std::collections::HashMap;

use serde_json::Value;

use super::dialect::{Dialect, Facts, clip, str_at, tool_title, u64_at};
use super::invocation::{Invocation, LaunchRequest};
use super::provider::Failure;
use super::verdict::{Outcome, Unusable};
use crate::event::{AgentEvent, ToolStatus, Usage, UsageScope};

pub(super) fn invocation(request: &LaunchRequest) -> Invocation {
    let mut args: Vec<String> = [
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        "--dangerously-skip-permissions",
        // none of the project's MCP servers: nobody is there to approve them
        "--strict-mcp-config",
    ]
    .map(str::to_owned)
    .into();
    if let Some(model) = &request.model {
        args.extend(["--model".to_owned(), model.clone()]);
    }
    if let Some(session) = &request.session {
        args.extend(["--resume".to_owned(), session.clone()]);
    }
    let env = vec![
        // without it root may not skip permissions
        ("IS_SANDBOX", "1".to_owned()),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
        ("DISABLE_AUTOUPDATER", "1".to_owned()),
    ];
    Invocation { args, env }
}

/// Retries over refused credentials after which there is no hope; it would go on for three minutes.
const REFUSALS: u32 = 3;

/// The stream's format, which Qwen Code shares but for a few habits.
#[derive(Debug)]
pub(super) struct Claude {
    name: &'static str,
    /// Errors of the API arrive as an ordinary answer that begins with `[API Error`.
    errors_as_text: bool,
    /// Input tokens include those read from a cache.
    cache_in_input: bool,
    calls: HashMap<String, (String, String)>,
    streaming: bool,
    ended: bool,
    is_error: bool,
    aborted: bool,
    no_session: bool,
    refusals: u32,
}

impl Default for Claude {
    fn default() -> Self {
        Self {
            name: "claude",
            errors_as_text: false,
            cache_in_input: false,
            calls: HashMap::new(),
            streaming: false,
            ended: false,
            is_error: false,
            aborted: false,
            no_session: false,
            refusals: 0,
        }
    }
}

impl Claude {
    /// The same format as Qwen Code speaks it.
    pub fn qwen() -> Self {
        Self { name: "qwen", errors_as_text: true, cache_in_input: true, ..Self::default() }
    }

    fn assistant(&mut self, line: &Value, out: &mut Vec<AgentEvent>) {
        // the program's own words, mostly an error which the result repeats
        let synthetic = str_at(line, "/message/model") == Some("<synthetic>");
        let sub_agent = line.get("parent_tool_use_id").is_some_and(Value::is_string);
        for block in blocks(line) {
            match str_at(block, "/type") {
                Some("text") if !synthetic && !sub_agent && !self.streaming => {
                    let text = str_at(block, "/text").unwrap_or_default();
                    if !(self.errors_as_text && text.starts_with("[API Error")) {
                        out.push(AgentEvent::Text { text: text.to_owned(), delta: false });
                    }
                }
                Some("thinking") if !sub_agent => {
                    if let Some(text) = str_at(block, "/thinking").filter(|t| !t.is_empty()) {
                        out.push(AgentEvent::Reasoning { text: text.to_owned() });
                    }
                }
                Some("tool_use") => out.push(self.call(block)),
                _ => {}
            }
        }
    }

    fn call(&mut self, block: &Value) -> AgentEvent {
        let call_id = str_at(block, "/id").unwrap_or_default().to_owned();
        let name = str_at(block, "/name").unwrap_or("tool").to_owned();
        let title = tool_title(block.get("input"));
        self.calls.insert(call_id.clone(), (name.clone(), title.clone()));
        AgentEvent::Tool {
            call_id,
            name,
            title,
            status: ToolStatus::Running,
            error: None,
            output: None,
        }
    }

    fn results(&mut self, line: &Value, out: &mut Vec<AgentEvent>) {
        for block in blocks(line) {
            if str_at(block, "/type") != Some("tool_result") {
                continue;
            }
            let call_id = str_at(block, "/tool_use_id").unwrap_or_default().to_owned();
            let (name, title) =
                self.calls.remove(&call_id).unwrap_or_else(|| ("tool".to_owned(), String::new()));
            let said = clip(&content(block.get("content")));
            let failed = block.get("is_error").and_then(Value::as_bool).unwrap_or(false);
            let (status, error, output) = match (failed, said.is_empty()) {
                (true, _) => (ToolStatus::Error, Some(said), None),
                (false, true) => (ToolStatus::Ok, None, None),
                (false, false) => (ToolStatus::Ok, None, Some(said)),
            };
            out.push(AgentEvent::Tool { call_id, name, title, status, error, output });
        }
    }

    fn system(&mut self, line: &Value, facts: &mut Facts, out: &mut Vec<AgentEvent>) {
        match str_at(line, "/subtype") {
            Some("init") => {
                let id = str_at(line, "/session_id").unwrap_or_default();
                facts.session(id, str_at(line, "/model"), out);
            }
            Some("api_retry") => {
                let status = u64_at(line, "/error_status");
                self.refusals = if status == 401 { self.refusals + 1 } else { 0 };
                let why = str_at(line, "/error").unwrap_or("error");
                let (attempt, of) = (u64_at(line, "/attempt"), u64_at(line, "/max_retries"));
                let status = if status == 0 { String::new() } else { format!(" {status}") };
                out.push(AgentEvent::Notice {
                    message: format!("retry {attempt} of {of}:{status} {why}"),
                });
            }
            _ => {}
        }
    }

    fn result(&mut self, line: &Value, facts: &mut Facts, out: &mut Vec<AgentEvent>) {
        self.ended = true;
        self.is_error = line.get("is_error").and_then(Value::as_bool).unwrap_or(false);
        let words = ["/result", "/errors/0", "/error/message"].iter().find_map(|p| str_at(line, p));
        let words = words.unwrap_or("it ended with an error");
        self.is_error |= self.errors_as_text && words.starts_with("[API Error");
        self.aborted = str_at(line, "/terminal_reason").is_some_and(|r| r.starts_with("aborted"));
        self.no_session |= is_no_session(words);
        let cached = u64_at(line, "/usage/cache_read_input_tokens");
        let input = u64_at(line, "/usage/input_tokens");
        let usage = Usage {
            input: if self.cache_in_input { input.saturating_sub(cached) } else { input },
            output: u64_at(line, "/usage/output_tokens"),
            reasoning: u64_at(line, "/usage/output_tokens_details/thinking_tokens"),
            cache_read: cached,
            cache_write: u64_at(line, "/usage/cache_creation_input_tokens"),
            cost_usd: line.get("total_cost_usd").and_then(Value::as_f64),
        };
        facts.usage(usage, UsageScope::Total, out);
        if self.is_error && !self.aborted && !self.no_session {
            let status = line
                .get("api_error_status")
                .and_then(Value::as_u64)
                .and_then(|s| u16::try_from(s).ok());
            let mut failure = Failure::new(words, status);
            let by_api =
                matches!(str_at(line, "/terminal_reason"), Some("api_error" | "prompt_too_long"));
            if by_api
                && status.is_none()
                && !matches!(failure.kind, Some(Unusable::Auth | Unusable::NoCredentials))
            {
                // no status: the provider could not be reached
                failure.kind = Some(Unusable::Provider);
                failure.retryable = true;
            }
            facts.fail(failure, out);
        }
    }
}

impl Dialect for Claude {
    fn event(&mut self, kind: &str, line: &Value, facts: &mut Facts, out: &mut Vec<AgentEvent>) {
        if kind != "system" {
            self.refusals = 0;
        }
        match kind {
            "system" => self.system(line, facts, out),
            "assistant" => self.assistant(line, out),
            "user" => self.results(line, out),
            "stream_event" => {
                let sub_agent = line.get("parent_tool_use_id").is_some_and(Value::is_string);
                if let Some(text) = str_at(line, "/event/delta/text").filter(|_| !sub_agent) {
                    self.streaming = true;
                    out.push(AgentEvent::Text { text: text.to_owned(), delta: true });
                }
            }
            "result" => self.result(line, facts, out),
            _ => {}
        }
    }

    fn text(&mut self, line: &str, _facts: &mut Facts, _out: &mut Vec<AgentEvent>) {
        self.no_session |= is_no_session(line);
    }

    fn terminal(&self, _facts: &Facts) -> bool {
        self.ended
    }

    fn judge(&self, exit: i32, facts: &Facts) -> (Outcome, String) {
        if self.no_session {
            return (
                Outcome::Unusable(Unusable::NoSession),
                format!("{} does not know this conversation", self.name),
            );
        }
        if let Some(error) = &facts.error {
            return error.verdict();
        }
        match (self.ended, self.is_error, exit) {
            (true, false, 0) => (Outcome::Ok, String::new()),
            (true, true, _) if self.aborted => {
                (Outcome::Failed, format!("{} was interrupted", self.name))
            }
            (false, _, 0) => (Outcome::Failed, facts.silent(self.name)),
            _ => (Outcome::Failed, facts.ending(self.name, exit)),
        }
    }

    fn hopeless(&self, _facts: &Facts) -> Option<String> {
        (self.refusals >= REFUSALS)
            .then(|| format!("{}: the provider refused the credentials, status 401", self.name))
    }
}

fn is_no_session(words: &str) -> bool {
    ["No conversation found", "--resume requires a valid session", "No saved session found"]
        .iter()
        .any(|known| words.contains(known))
}

fn blocks(line: &Value) -> impl Iterator<Item = &Value> {
    line.pointer("/message/content").and_then(Value::as_array).into_iter().flatten()
}

/// A tool's result: a text, or a list of blocks of which the texts count.
fn content(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(blocks)) => {
            blocks.iter().filter_map(|b| str_at(b, "/text")).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}
