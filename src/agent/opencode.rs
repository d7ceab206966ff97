//! opencode: `run --format json`, one object a line, no event of its own at the end.
//!
//! Tried with 1.2.27 and 1.18.33. The older one exits 0 after any error of the provider, and both do
//! after a refused permission, so the exit status is the smaller half of the verdict.

use serde_json::Value;

use super::dialect::{Dialect, Facts, clip, str_at, tool_title, u64_at};
use super::invocation::{Invocation, LaunchRequest};
use super::provider;
use super::verdict::{Outcome, Unusable};
use crate::event::{AgentEvent, ToolStatus, Usage, UsageScope};

pub(super) fn invocation(request: &LaunchRequest) -> Invocation {
    let mut args: Vec<String> = ["run", "--format", "json"].map(str::to_owned).into();
    let mut env = vec![
        // merged over every configuration file; `--auto` exists only in newer versions
        ("OPENCODE_PERMISSION", r#"{"*":"allow"}"#.to_owned()),
        ("OPENCODE_DISABLE_AUTOUPDATE", "1".to_owned()),
        ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1".to_owned()),
        ("OPENCODE_DISABLE_SHARE", "1".to_owned()),
    ];
    if request.offline {
        // saves ten seconds where packets vanish; elsewhere the list knows models newer than the program
        env.push(("OPENCODE_DISABLE_MODELS_FETCH", "1".to_owned()));
    }
    if let Some(model) = &request.model {
        args.extend(["-m".to_owned(), model.clone()]);
        // the title of a conversation is a request of its own, which would go to another provider
        env.push((
            "OPENCODE_CONFIG_CONTENT",
            serde_json::json!({ "small_model": model }).to_string(),
        ));
    }
    if let Some(session) = &request.session {
        args.extend(["--session".to_owned(), session.clone()]);
    }
    Invocation { args, env }
}

#[derive(Debug, Default)]
pub(super) struct Opencode {
    started: bool,
    /// `reason` of the last finished step, while no other step has begun.
    finished: Option<String>,
    denied: bool,
    recovered: bool,
    no_session: bool,
}

impl Dialect for Opencode {
    fn event(&mut self, kind: &str, line: &Value, facts: &mut Facts, out: &mut Vec<AgentEvent>) {
        if let Some(id) = str_at(line, "/sessionID") {
            facts.session(id, None, out);
        }
        let part = line.get("part").unwrap_or(&Value::Null);
        match kind {
            "step_start" => {
                self.started = true;
                self.finished = None;
                // it shortened the conversation, or tried again, and goes on
                self.recovered |= facts.error.take().is_some();
            }
            "text" => {
                if let Some(text) = str_at(part, "/text") {
                    out.push(AgentEvent::Text { text: text.to_owned(), delta: false });
                }
            }
            "reasoning" => {
                if let Some(text) = str_at(part, "/text") {
                    out.push(AgentEvent::Reasoning { text: text.to_owned() });
                }
            }
            "tool_use" => out.push(self.tool(part)),
            "step_finish" => {
                self.finished = Some(str_at(part, "/reason").unwrap_or("unknown").to_owned());
                let usage = Usage {
                    input: u64_at(part, "/tokens/input"),
                    output: u64_at(part, "/tokens/output"),
                    reasoning: u64_at(part, "/tokens/reasoning"),
                    cache_read: u64_at(part, "/tokens/cache/read"),
                    cache_write: u64_at(part, "/tokens/cache/write"),
                    cost_usd: part.pointer("/cost").and_then(Value::as_f64),
                };
                facts.usage(usage, UsageScope::Step, out);
            }
            "error" => facts.fail(error_of(line), out),
            _ => {}
        }
    }

    fn text(&mut self, line: &str, _facts: &mut Facts, _out: &mut Vec<AgentEvent>) {
        // 1.18: `Error: Session not found`; 1.2: a stack trace with `"Session not found: ses_..."`
        self.no_session |= !self.started && line.contains("Session not found");
    }

    fn terminal(&self, facts: &Facts) -> bool {
        let overflow = facts.error.as_ref().is_some_and(|e| e.message.contains("context"));
        // after an overflow opencode may shorten the conversation and go on
        self.finished.as_deref().is_some_and(|r| r != "tool-calls")
            || (facts.error.is_some() && !overflow)
    }

    fn judge(&self, exit: i32, facts: &Facts) -> (Outcome, String) {
        if self.no_session {
            return (
                Outcome::Unusable(Unusable::NoSession),
                "opencode does not know this conversation".into(),
            );
        }
        if let Some(error) = &facts.error {
            if error.message.starts_with("Unexpected server error") && !self.started {
                // all that 1.18 says about an unknown model, an unknown provider or a missing key
                let message = "opencode could not use the model: it, its provider or its credentials are unknown";
                return (Outcome::Unusable(Unusable::Provider), message.into());
            }
            return match error.verdict() {
                // before the first step there is only the model that can fail
                (Outcome::Failed, message) if !self.started => {
                    (Outcome::Unusable(Unusable::Provider), message)
                }
                other => other,
            };
        }
        // an error it got over still makes it exit 1
        let got_over = self.recovered && exit == 1 && self.finished.as_deref() == Some("stop");
        if exit != 0 && !got_over {
            return (Outcome::Failed, facts.ending("opencode", exit));
        }
        if !self.started {
            return (Outcome::Failed, facts.silent("opencode"));
        }
        match self.finished.as_deref() {
            Some("stop") => (Outcome::Ok, String::new()),
            Some("tool-calls") if self.denied => {
                (Outcome::Incomplete, "opencode stopped early: it was refused a permission".into())
            }
            Some(reason) => (
                Outcome::Incomplete,
                format!("opencode stopped early: the last step ended with `{reason}`"),
            ),
            None => (Outcome::Incomplete, "opencode stopped in the middle of a step".into()),
        }
    }
}

impl Opencode {
    fn tool(&mut self, part: &Value) -> AgentEvent {
        let name = str_at(part, "/tool").unwrap_or("tool");
        let state = part.get("state").unwrap_or(&Value::Null);
        let refused = str_at(state, "/error").map(clip);
        self.denied |= refused
            .as_deref()
            .is_some_and(|e| e.contains("rejected permission") || e.contains("PermissionRejected"));
        let failed = str_at(state, "/status") == Some("error");
        // a command that fails is to opencode a call that worked; the other agents call it an error
        let exit = state.pointer("/metadata/exit").and_then(Value::as_i64).filter(|&c| c != 0);
        let error = refused.or_else(|| Some(format!("exit status {}", exit?)));
        let title = str_at(state, "/title").filter(|t| !t.is_empty()).map(clip);
        AgentEvent::Tool {
            call_id: str_at(part, "/callID").unwrap_or_default().to_owned(),
            name: name.to_owned(),
            title: title.unwrap_or_else(|| tool_title(state.get("input"))),
            status: if failed || error.is_some() { ToolStatus::Error } else { ToolStatus::Ok },
            error,
            output: str_at(state, "/output").filter(|o| !o.is_empty()).map(clip),
        }
    }
}

fn error_of(line: &Value) -> provider::Failure {
    let name = str_at(line, "/error/name").unwrap_or("UnknownError");
    let message = str_at(line, "/error/data/message")
        .or_else(|| str_at(line, "/error/message"))
        .unwrap_or(name);
    let status = line
        .pointer("/error/data/statusCode")
        .and_then(Value::as_u64)
        .and_then(|s| u16::try_from(s).ok());
    let retryable = line.pointer("/error/data/isRetryable").and_then(Value::as_bool);
    let mut failure = provider::Failure::new(message, status);
    failure.retryable = retryable.unwrap_or(failure.retryable);
    failure.kind = match name {
        "ProviderAuthError" => Some(Unusable::Auth),
        "APIError" => failure.kind.or(Some(Unusable::Provider)),
        "ContextOverflowError" | "ContentFilterError" => Some(Unusable::Provider),
        "MessageAbortedError" | "MessageOutputLengthError" | "StructuredOutputError" => None,
        _ => failure.kind,
    };
    failure
}
