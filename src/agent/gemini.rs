//! Gemini CLI: `-o stream-json`, a `result` line at the end, which it may lose on a pipe.
//!
//! Tried with 0.61.0. It needs a terminal or a file as standard output: on a pipe it stops in the
//! middle of a long line and exits 0. So success is the result line and exit status 0 together.

use std::collections::HashMap;

use serde_json::Value;

use super::dialect::{Dialect, Facts, clip, clip_to, str_at, tool_title, u64_at};
use super::invocation::{Invocation, LaunchRequest};
use super::provider::Failure;
use super::verdict::{Outcome, Unusable};
use crate::event::{AgentEvent, ToolStatus, Usage, UsageScope};

/// Without a model each turn begins with one more request that chooses one.
const MODEL: &str = "gemini-2.5-pro";

/// None of the project's MCP servers, which nobody is there to approve: only those of a name that none has.
pub(super) const NO_MCP_SERVERS: [&str; 2] = ["--allowed-mcp-server-names", "none"];

pub(super) fn invocation(request: &LaunchRequest) -> Invocation {
    let mut args: Vec<String> = ["--skip-trust", "-y"].map(str::to_owned).into();
    args.extend(NO_MCP_SERVERS.map(str::to_owned));
    args.extend(["-o", "stream-json", "-m"].map(str::to_owned));
    args.push(request.model.clone().unwrap_or_else(|| MODEL.to_owned()));
    if let Some(session) = &request.session {
        args.extend(["--resume".to_owned(), session.clone()]);
    }
    args.extend(["-p".to_owned(), String::new()]);
    Invocation { args, env: Vec::new() }
}

/// Bytes of a notice: behind its own words gemini prints whole answers.
const NOTICE: usize = 200;

#[derive(Debug, Default)]
pub(super) struct Gemini {
    calls: HashMap<String, (String, String)>,
    success: bool,
    ended: bool,
}

impl Dialect for Gemini {
    fn event(&mut self, kind: &str, line: &Value, facts: &mut Facts, out: &mut Vec<AgentEvent>) {
        match kind {
            "init" => {
                let id = str_at(line, "/session_id").unwrap_or_default();
                facts.session(id, str_at(line, "/model"), out);
            }
            "message" if str_at(line, "/role") != Some("user") => {
                if let Some(text) = str_at(line, "/content") {
                    let delta = line.get("delta").and_then(Value::as_bool).unwrap_or(false);
                    out.push(AgentEvent::Text { text: text.to_owned(), delta });
                }
            }
            "tool_use" => {
                let call_id = str_at(line, "/tool_id").unwrap_or_default().to_owned();
                let name = str_at(line, "/tool_name").unwrap_or("tool").to_owned();
                let title = tool_title(line.get("parameters"));
                self.calls.insert(call_id.clone(), (name.clone(), title.clone()));
                let status = ToolStatus::Running;
                out.push(AgentEvent::Tool {
                    call_id,
                    name,
                    title,
                    status,
                    error: None,
                    output: None,
                });
            }
            "tool_result" => out.push(self.tool_result(line)),
            "error" => out.push(AgentEvent::Notice {
                message: str_at(line, "/message").unwrap_or("error").to_owned(),
            }),
            "result" => self.result(line, facts, out),
            _ => {}
        }
    }

    fn text(&mut self, line: &str, _facts: &mut Facts, out: &mut Vec<AgentEvent>) {
        // `Attempt 3 failed with status 500. Retrying with backoff... Error: ...`, up to ten times
        if line.starts_with("Attempt ") && line.contains("Retrying") {
            out.push(AgentEvent::Notice { message: clip_to(line, NOTICE) });
        }
    }

    fn terminal(&self, _facts: &Facts) -> bool {
        self.ended
    }

    fn judge(&self, exit: i32, facts: &Facts) -> (Outcome, String) {
        if let Some(error) = &facts.error {
            return error.verdict();
        }
        match (exit, self.success) {
            (0, true) => (Outcome::Ok, String::new()),
            (0, false) => (Outcome::Incomplete, "gemini ended without a result".into()),
            (41, _) => (Outcome::Unusable(Unusable::NoCredentials), facts.ending("gemini", exit)),
            (42, _) if facts.tail_has("Error resuming session") => (
                Outcome::Unusable(Unusable::NoSession),
                "gemini does not know this conversation".into(),
            ),
            _ => (Outcome::Failed, facts.ending("gemini", exit)),
        }
    }
}

impl Gemini {
    fn tool_result(&mut self, line: &Value) -> AgentEvent {
        let call_id = str_at(line, "/tool_id").unwrap_or_default().to_owned();
        let (name, title) =
            self.calls.remove(&call_id).unwrap_or_else(|| ("tool".to_owned(), String::new()));
        let failed = str_at(line, "/status") != Some("success");
        let error = str_at(line, "/error/message").or_else(|| str_at(line, "/error")).map(clip);
        let status = if failed { ToolStatus::Error } else { ToolStatus::Ok };
        AgentEvent::Tool {
            call_id,
            name,
            title,
            status,
            error,
            output: str_at(line, "/output").map(clip),
        }
    }

    fn result(&mut self, line: &Value, facts: &mut Facts, out: &mut Vec<AgentEvent>) {
        self.ended = true;
        self.success = str_at(line, "/status") == Some("success");
        let cached = u64_at(line, "/stats/cached");
        let usage = Usage {
            input: u64_at(line, "/stats/input_tokens").saturating_sub(cached),
            output: u64_at(line, "/stats/output_tokens"),
            cache_read: cached,
            ..Usage::default()
        };
        facts.usage(usage, UsageScope::Total, out);
        if !self.success {
            let message = str_at(line, "/error/message").unwrap_or("it ended with an error");
            facts.fail(Failure::new(message, None), out);
        }
    }
}
