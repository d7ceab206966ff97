//! Any shell command as an agent: the prompt on standard input and in a file, success is exit status 0.

use serde_json::Value;

use super::dialect::{Dialect, Facts};
use super::invocation::{Launch, LaunchRequest, and_remove, enter};
use super::verdict::Outcome;
use super::{Error, sh};
use crate::event::AgentEvent;

/// Names the file that holds the prompt.
pub const PROMPT_FILE: &str = "SANDBOX_CODER_PROMPT_FILE";

pub(super) fn launch(request: &LaunchRequest) -> Result<Launch, Error> {
    let command = request.agent_command.as_deref().map(str::trim).filter(|c| !c.is_empty());
    let command = command.ok_or(Error::CommandMissing)?;
    if request.session.is_some() {
        return Err(Error::NoConversations);
    }
    // a shell of its own: nothing in the command can meet our text, and the arguments are its `$1`, ...
    let words =
        ["sh", "-c", command, "sh"].into_iter().chain(request.extra.iter().map(String::as_str));
    Ok(Launch {
        script: format!(
            "{}{}",
            enter(&request.workspace),
            and_remove(&sh::join(words), &request.remove)
        ),
        env: [
            (PROMPT_FILE, Some(&request.prompt_file)),
            ("SANDBOX_CODER_MODEL", request.model.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.clone())))
        .collect(),
        files: Vec::new(),
        cleanup: request.remove.clone(),
        json_output: false,
    })
}

#[derive(Debug)]
pub(super) struct Command;

impl Dialect for Command {
    fn event(
        &mut self,
        _kind: &str,
        _line: &Value,
        _facts: &mut Facts,
        _out: &mut Vec<AgentEvent>,
    ) {
    }

    fn text(&mut self, _line: &str, _facts: &mut Facts, _out: &mut Vec<AgentEvent>) {}

    fn terminal(&self, _facts: &Facts) -> bool {
        false
    }

    fn judge(&self, exit: i32, facts: &Facts) -> (Outcome, String) {
        match exit {
            0 => (Outcome::Ok, String::new()),
            _ => (Outcome::Failed, facts.ending("the command", exit)),
        }
    }
}
