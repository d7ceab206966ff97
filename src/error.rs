//! From a chain of causes to an exit code and hints. The only place that knows every error type.

use crate::event::{ErrorEvent, Phase};
use crate::exit::{ErrorCode, Exit};

/// A failure that code above the modules finds by itself.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Its stable name.
    pub code: ErrorCode,
    /// What failed, on which thing.
    pub message: String,
    /// What to do, if more is known than the code's own hint.
    pub hint: Option<String>,
    /// The last lines of the agent's output.
    pub tail: Vec<String>,
}

impl Failure {
    /// A failure with its code's own hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, tail: Vec::new() }
    }

    /// Says what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What a chain of causes comes down to.
#[derive(Debug, Clone)]
pub struct Diagnosis {
    /// The stable name.
    pub code: ErrorCode,
    /// The chain in one line.
    pub message: String,
    /// What to do now.
    pub hint: String,
    /// The HTTP status behind it.
    pub http_status: Option<u16>,
    /// Seconds the service asked to wait.
    pub retry_after_s: Option<u64>,
    /// The last lines of the agent's output.
    pub tail: Vec<String>,
    /// The sandbox that may hold work, filled in by the caller.
    pub sandbox_id: Option<String>,
    /// The step that failed, filled in by the caller.
    pub phase: Option<Phase>,
    /// The command that goes on from here, filled in by the caller.
    pub resume: Vec<String>,
}

impl Diagnosis {
    fn of(code: ErrorCode, message: String) -> Self {
        Self {
            code,
            message,
            hint: code.hint().to_owned(),
            http_status: None,
            retry_after_s: None,
            tail: Vec::new(),
            sandbox_id: None,
            phase: None,
            resume: Vec::new(),
        }
    }

    /// A usage error.
    pub fn usage(message: String) -> Self {
        Self::of(ErrorCode::Usage, message)
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.code.exit()
    }

    /// As an event.
    pub fn event(self) -> ErrorEvent {
        ErrorEvent {
            code: self.code,
            message: self.message,
            hint: self.hint,
            retryable: self.code.retryable(),
            retry_after_s: self.retry_after_s,
            phase: self.phase,
            sandbox_id: self.sandbox_id,
            http_status: self.http_status,
            tail: self.tail,
            resume: self.resume,
        }
    }

    /// As two lines for people.
    pub fn text(&self, colour: bool) -> String {
        let message = crate::rel_path::escape_message(&self.message);
        if colour {
            format!("\x1b[1;31merror:\x1b[0m {message}\n\x1b[1;36mhint:\x1b[0m {}\n", self.hint)
        } else {
            format!("error: {message}\nhint: {}\n", self.hint)
        }
    }
}

/// Finds the first cause that has a code, from the outside in.
pub fn diagnose(error: &anyhow::Error) -> Diagnosis {
    let message = one_line(error);
    let mut diagnosis = Diagnosis::of(ErrorCode::Internal, message);
    for cause in error.chain() {
        if let Some((code, hint)) = known(cause, &mut diagnosis) {
            diagnosis.code = code;
            diagnosis.hint = hint.unwrap_or_else(|| code.hint().to_owned());
            break;
        }
    }
    diagnosis
}

/// The chain in one line. A cause whose words are already in the text before it is not repeated.
fn one_line(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        let words = cause.to_string();
        if message.is_empty() {
            message = words;
        } else if !message.contains(&words) {
            message = format!("{message}: {words}");
        }
    }
    message
}

type Cause = dyn std::error::Error + 'static;

fn known(cause: &Cause, diagnosis: &mut Diagnosis) -> Option<(ErrorCode, Option<String>)> {
    if let Some(e) = cause.downcast_ref::<Failure>() {
        diagnosis.tail.clone_from(&e.tail);
        return Some((e.code, e.hint.clone()));
    }
    if let Some(e) = cause.downcast_ref::<crate::daytona::Error>() {
        return Some(of_daytona(e, diagnosis));
    }
    if let Some(crate::sync::Error::Daytona(e)) = cause.downcast_ref() {
        return Some(of_daytona(e, diagnosis));
    }
    macro_rules! coded {
        ($($error:ty),+ $(,)?) => {
            $(if let Some(e) = cause.downcast_ref::<$error>() { return Some((e.code(), None)); })+
        };
    }
    coded!(
        crate::agent::Error,
        crate::config::Error,
        crate::run::start::SpecError,
        crate::state::Error,
        crate::sync::Error,
        crate::sync::threats::Unsafe,
        crate::worktree::Error,
        crate::worktree::apply::Error,
    );
    #[cfg(target_os = "linux")]
    coded!(crate::server::Error, crate::server::daemon::Error);
    if cause.downcast_ref::<std::io::Error>().is_some() {
        return Some((ErrorCode::HostIo, None));
    }
    None
}

fn of_daytona(
    error: &crate::daytona::Error,
    diagnosis: &mut Diagnosis,
) -> (ErrorCode, Option<String>) {
    diagnosis.http_status = error.http_status();
    diagnosis.retry_after_s = error.retry_after().map(|d| d.as_secs());
    (error.code(), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_chain_becomes_one_line_with_the_innermost_known_code() {
        let failure = Failure::new(ErrorCode::SyncDiskFull, "`tar` says no space left");
        let error = Err::<(), _>(failure).context("push the worktree").unwrap_err();
        let diagnosis = diagnose(&error);
        assert_eq!(
            (diagnosis.code, diagnosis.exit()),
            (ErrorCode::SyncDiskFull, Exit::SandboxUnavailable)
        );
        assert_eq!(
            diagnosis.text(false),
            "error: push the worktree: `tar` says no space left\nhint: free space in the sandbox, or raise `--disk`; local sandboxes lie in the state directory\n"
        );
    }

    #[test]
    fn what_nobody_knows_is_a_bug_of_ours() {
        assert_eq!(diagnose(&anyhow::anyhow!("boom")).exit(), Exit::Internal);
    }
}
