//! Commands in a sandbox.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Method;

use super::error::Error;
use super::refusal::{Meaning, Subject};
use super::retry::Repeat;
use super::script::{LATER, Script, said};
use super::toolbox::Toolbox;
use crate::wire::process::{Execute, Executed};

/// Added to a command's own time before its answer is given up.
const SLACK: Duration = Duration::from_secs(15);

/// How long a script is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// In one call. Below 60 s, see [`Command::timeout`].
    pub call: Duration,
    /// In all.
    pub whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { call: Duration::from_secs(58), whole: Duration::from_secs(30 * 60) }
    }
}

/// A command to execute.
#[derive(Debug, Clone)]
pub struct Command {
    /// Shell text for the user's shell, whichever that is; see [`Script`] for one that suits them all.
    pub text: String,
    /// Killed after this. Never more than 60 s: a cut connection loses the result.
    pub timeout: Duration,
    /// Default: the work directory.
    pub cwd: Option<String>,
    /// Added to the environment.
    pub envs: BTreeMap<String, String>,
    /// Running it twice does no harm, so that it is sent again when no answer comes.
    pub repeatable: bool,
}

impl Command {
    /// A command that must not run twice.
    pub fn new(text: impl Into<String>, timeout: Duration) -> Self {
        let text = text.into();
        Self { text, timeout, cwd: None, envs: BTreeMap::new(), repeatable: false }
    }

    /// Marks it as harmless to repeat.
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }
}

impl Toolbox {
    /// Runs a command and waits for it. A status other than 0 is an answer, not an error.
    pub async fn execute(&self, command: &Command) -> Result<Executed, Error> {
        let seconds = command.timeout.as_secs_f64().ceil().max(1.0) as u32;
        let body = Execute {
            command: command.text.clone(),
            timeout: Some(seconds),
            cwd: command.cwd.clone(),
            envs: (!command.envs.is_empty()).then(|| command.envs.clone()),
        };
        let repeat = if command.repeatable { Repeat::Harmless } else { Repeat::Never };
        let attempt = async || {
            let what = format!("run a command in sandbox `{}`", self.sandbox_id());
            let path = ["process", "execute"];
            let mut call = self.call(what, Subject::Toolbox, Method::POST, &path)?.json(&body);
            call.first_byte = Some(command.timeout + SLACK);
            call.repeat = repeat;
            self.client().json(call).await
        };
        self.settle(repeat, attempt).await
    }

    /// Runs a script whose steps are all harmless to repeat, and which may take longer than any one answer.
    /// Mostly it does not, and this is one call. Otherwise it is begun again, detached from the call, and asked
    /// after until `patience.whole` is over.
    pub async fn run_long(&self, script: &Script, patience: Patience) -> Result<Executed, Error> {
        let began = Instant::now();
        match self.run_script(script, patience.call).await {
            Err(error) if error.meaning() == Some(Meaning::CommandTimeout) => {}
            other => return other,
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        // The wait over there ends before the call does.
        let text = script.on_its_own(&id, patience.call.mul_f64(0.7));
        let command = Command::new(text, patience.call).repeatable();
        loop {
            match self.execute(&command).await {
                // Too slow to say so is no end either.
                Err(error) if error.meaning() == Some(Meaning::CommandTimeout) => {}
                Ok(answer) if said(&answer.result).any(|(word, _)| word == LATER) => {}
                ended => return ended,
            }
            if began.elapsed() >= patience.whole {
                return Err(Error::TooSlow {
                    id: self.sandbox_id().to_owned(),
                    after: began.elapsed(),
                });
            }
        }
    }

    /// Runs a script whose steps are all harmless to repeat: they look before they act.
    pub async fn run_script(&self, script: &Script, timeout: Duration) -> Result<Executed, Error> {
        self.execute(&Command::new(script.command(), timeout).repeatable()).await
    }
}
