//! codex: `exec --json`, `turn.completed` or `turn.failed` at the end.
//!
//! Tried with 0.169.0. An `error` event is no end, it retries; without a network it retries for ever.
//! After a resume its usage is the sum over the whole thread. An id that is no uuid silently starts a new thread, so the thread's id is compared with the one
//! asked for.

use serde_json::Value;

use super::dialect::{Dialect, Facts, clip, str_at, u64_at};
use super::invocation::{Invocation, LaunchRequest};
use super::provider::Failure;
use super::verdict::{Outcome, Unusable};
use crate::event::{AgentEvent, ToolStatus, Usage, UsageScope};

pub(super) fn invocation(request: &LaunchRequest) -> Invocation {
    let mut args = vec!["exec".to_owned()];
    if request.session.is_some() {
        args.push("resume".to_owned());
    }
    // its own sandbox needs user namespaces, and this is a sandbox already
    args.extend(
        ["--json", "--dangerously-bypass-approvals-and-sandbox", "--skip-git-repo-check"]
            .map(str::to_owned),
    );
    args.extend(["-c", "check_for_update_on_startup=false"].map(str::to_owned));
    if let Some(model) = &request.model {
        args.extend(["-m".to_owned(), model.clone()]);
    }
    args.extend(request.session.clone());
    args.push("-".to_owned());
    Invocation { args, env: Vec::new() }
}

/// Complaints about the network in a row after which there is no hope: some three minutes.
const COMPLAINTS: u32 = 6;

#[derive(Debug, Default)]
pub(super) struct Codex {
    completed: bool,
    failed: bool,
    no_session: bool,
    waiting: u32,
    last_wait: String,
}

impl Dialect for Codex {
    fn event(&mut self, kind: &str, line: &Value, facts: &mut Facts, out: &mut Vec<AgentEvent>) {
        if kind != "error" {
            self.waiting = 0;
        }
        match kind {
            "thread.started" => {
                let id = str_at(line, "/thread_id").unwrap_or_default();
                self.no_session |=
                    facts.asked.as_deref().is_some_and(|asked| !asked.eq_ignore_ascii_case(id));
                facts.session(id, None, out);
            }
            "item.started" | "item.updated" | "item.completed" => {
                if let Some(item) = line.get("item") {
                    out.extend(item_event(kind, item));
                }
            }
            "error" => {
                let message = str_at(line, "/message").unwrap_or("error");
                if message.contains("waiting for network") {
                    self.waiting += 1;
                    self.last_wait = message.to_owned();
                }
                out.push(AgentEvent::Notice { message: message.to_owned() });
            }
            "turn.completed" => {
                self.completed = true;
                let cached = u64_at(line, "/usage/cached_input_tokens");
                let usage = Usage {
                    input: u64_at(line, "/usage/input_tokens").saturating_sub(cached),
                    output: u64_at(line, "/usage/output_tokens"),
                    reasoning: u64_at(line, "/usage/reasoning_output_tokens"),
                    cache_read: cached,
                    cache_write: u64_at(line, "/usage/cache_write_input_tokens"),
                    cost_usd: None,
                };
                facts.usage(usage, UsageScope::Total, out);
            }
            "turn.failed" => {
                self.failed = true;
                let message = str_at(line, "/error/message").unwrap_or("the turn failed");
                facts.fail(Failure::new(message, None), out);
            }
            _ => {}
        }
    }

    fn text(&mut self, line: &str, _facts: &mut Facts, _out: &mut Vec<AgentEvent>) {
        self.no_session |= line.contains("no rollout found for thread id");
    }

    fn terminal(&self, _facts: &Facts) -> bool {
        self.completed || self.failed
    }

    fn judge(&self, exit: i32, facts: &Facts) -> (Outcome, String) {
        if self.no_session {
            return (
                Outcome::Unusable(Unusable::NoSession),
                "codex does not know this conversation".into(),
            );
        }
        match (&facts.error, self.completed, exit) {
            (Some(error), ..) => error.verdict(),
            (None, true, 0) => (Outcome::Ok, String::new()),
            (None, false, 0) => (Outcome::Incomplete, facts.silent("codex")),
            (None, _, exit) => (Outcome::Failed, facts.ending("codex", exit)),
        }
    }

    fn hopeless(&self, _facts: &Facts) -> Option<String> {
        (self.waiting >= COMPLAINTS).then(|| self.last_wait.clone())
    }
}

fn item_event(stage: &str, item: &Value) -> Option<AgentEvent> {
    let done = stage == "item.completed";
    let text = |pointer| str_at(item, pointer).unwrap_or_default().to_owned();
    match str_at(item, "/type")? {
        "agent_message" => done.then(|| AgentEvent::Text { text: text("/text"), delta: false }),
        "reasoning" => done.then(|| AgentEvent::Reasoning { text: text("/text") }),
        "error" => Some(AgentEvent::Notice { message: text("/message") }),
        "todo_list" => None,
        _ if stage == "item.updated" => None,
        "command_execution" => {
            let title = clip(plain_command(&text("/command")));
            let failure = item.get("exit_code").and_then(Value::as_i64).filter(|&c| c != 0);
            let error = failure.map(|code| format!("exit status {code}"));
            let output = text("/aggregated_output");
            let output = (done && !output.is_empty()).then(|| clip(&output));
            Some(tool(item, "shell", title, done, error, output))
        }
        "file_change" => {
            let changes = item.get("changes").and_then(Value::as_array).into_iter().flatten();
            let title = changes
                .filter_map(|c| Some(format!("{} {}", str_at(c, "/kind")?, str_at(c, "/path")?)));
            let title = clip(&title.collect::<Vec<_>>().join(", "));
            Some(tool(item, "edit", title, done, None, None))
        }
        "mcp_tool_call" => {
            let title = format!("{} {}", text("/server"), text("/tool"));
            Some(tool(item, "mcp", title, done, str_at(item, "/error/message").map(clip), None))
        }
        "web_search" => Some(tool(item, "web_search", clip(&text("/query")), done, None, None)),
        _ => None,
    }
}

fn tool(
    item: &Value,
    name: &str,
    title: String,
    done: bool,
    error: Option<String>,
    output: Option<String>,
) -> AgentEvent {
    let failed = error.is_some() || str_at(item, "/status") == Some("failed");
    let status = match (done, failed) {
        (false, _) => ToolStatus::Running,
        (true, false) => ToolStatus::Ok,
        (true, true) => ToolStatus::Error,
    };
    let call_id = str_at(item, "/id").unwrap_or_default().to_owned();
    AgentEvent::Tool { call_id, name: name.to_owned(), title, status, error, output }
}

/// `/bin/bash -lc 'make test'` as people would type it, its first line.
fn plain_command(command: &str) -> &str {
    let inner = command.split_once(" -lc ").map_or(command, |(_, rest)| rest);
    let unquoted = ['\'', '"'].iter().find_map(|&q| inner.strip_prefix(q)?.strip_suffix(q));
    unquoted.unwrap_or(inner).lines().next().unwrap_or_default()
}
