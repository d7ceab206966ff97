//! The toolbox of one sandbox: how it is reached, and what to make of it when it does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Url};

use super::address::{below, parse_base};
use super::call::Call;
use super::client::Client;
use super::error::Error;
use super::refusal::{Meaning, Subject};
use super::retry::{self, Policy, Repeat};
use crate::wire::sandbox::{Sandbox, SandboxState, Url as UrlAnswer};

/// The version we speak like; from 0.167.0 on, logs come split.
const SPEAKS: &str = "0.190.0";

/// The files, commands and terminals of one sandbox. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Toolbox {
    client: Client,
    id: Arc<str>,
    base: Arc<Url>,
    /// Terminals take two calls here: the service is of the older generation.
    pub(super) old_terminals: Arc<AtomicBool>,
}

impl Client {
    /// The toolbox of a sandbox. Asks the service only if the sandbox does not say where it is.
    pub async fn toolbox(&self, sandbox: &Sandbox) -> Result<Toolbox, Error> {
        let id = &sandbox.id;
        let base = match sandbox.toolbox_proxy_url.trim() {
            "" => {
                let url = self.url(&["sandbox", id, "toolbox-proxy-url"])?;
                let what = format!("ask for the toolbox of sandbox `{id}`");
                let call = Call::new(what, Subject::Sandbox, Method::GET, url);
                self.json::<UrlAnswer>(call).await?.url
            }
            base => base.to_owned(),
        };
        let base = below(&parse_base(&base)?, &[id])?;
        let old_terminals = Arc::new(AtomicBool::new(false));
        Ok(Toolbox {
            client: self.clone(),
            id: id.as_str().into(),
            base: base.into(),
            old_terminals,
        })
    }
}

impl Toolbox {
    /// The sandbox's id.
    pub fn sandbox_id(&self) -> &str {
        &self.id
    }

    /// The client it goes through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn is_old(&self) -> bool {
        self.old_terminals.load(Ordering::Relaxed)
    }

    pub(super) fn call(
        &self,
        what: String,
        subject: Subject,
        method: Method,
        path: &[&str],
    ) -> Result<Call, Error> {
        let url = below(&self.base, path)?;
        let mut call = Call::new(what, subject, method, url);
        call.headers = speaks();
        Ok(call)
    }

    /// Runs `attempt` until the toolbox answers. One that is not up is waited for as long as the
    /// sandbox's own state gives hope. `repeat` says whether a bare gateway error may be repeated; the
    /// refusals that name the reason come before anything reached the sandbox.
    pub(super) async fn settle<T, F>(
        &self,
        repeat: Repeat,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let started = Instant::now();
        let mut tries = 0;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if error.meaning() == Some(Meaning::Auth) {
                return Err(self.judge_auth(error).await);
            }
            let unread = error.meaning() == Some(Meaning::NotUp);
            if !error.is_not_up() {
                return Err(error);
            }
            let state = self.client.get(&self.id).await?.state;
            if is_down(&state) {
                return Err(Error::NotRunning { id: self.id.to_string(), state });
            }
            let again = unread || repeat == Repeat::Harmless;
            if !again || started.elapsed() >= self.client.limits().settle {
                return Err(error);
            }
            tries += 1;
            let gentle = Policy { cap: Duration::from_secs(1), ..self.client.limits().retry };
            tokio::time::sleep(retry::backoff(&gentle, tries, 0.5)).await;
        }
    }

    /// A toolbox says 401 also for a sandbox it does not know.
    async fn judge_auth(&self, error: Error) -> Error {
        match self.client.get(&self.id).await {
            Ok(_) => error,
            Err(other) => other,
        }
    }
}

fn is_down(state: &SandboxState) -> bool {
    use SandboxState as S;
    matches!(
        state,
        S::Stopped
            | S::Stopping
            | S::Archived
            | S::Archiving
            | S::Paused
            | S::Error
            | S::BuildFailed
            | S::Destroying
            | S::Destroyed
    )
}

fn speaks() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-daytona-sdk-version", HeaderValue::from_static(SPEAKS));
    headers
}
