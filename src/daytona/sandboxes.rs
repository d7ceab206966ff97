//! Sandboxes on the control plane.
//!
//! A name is a lock: of many who create under one name, one wins and the others learn of it. After a
//! create only the id is used, because look-ups by a name that was used before are wrong for ten seconds.

use std::time::{Duration, Instant};

use reqwest::Method;

use super::call::Call;
use super::client::Client;
use super::error::Error;
use super::refusal::{Meaning, Subject};
use super::retry::Repeat;
use crate::wire::sandbox::{CreateSandbox, Labels, Sandbox, SandboxPage, SandboxState, StringMap};

/// A create is held by the service for up to 30 s.
const CREATE_ANSWER: Duration = Duration::from_secs(90);
/// How long a 409 for a change in progress is waited out.
const CHANGING: Duration = Duration::from_secs(30);
/// How long a look-up by name can be wrong after the name was used by another.
const NAME_CACHE: Duration = Duration::from_secs(12);
/// Pages of a list, each of 200: more is an endless cursor.
const PAGES: usize = 500;
/// Between two looks at a state.
const POLL_FIRST: Duration = Duration::from_millis(200);
const POLL_LAST: Duration = Duration::from_secs(1);

/// What came of a create.
#[derive(Debug, Clone)]
pub struct Creation {
    /// The sandbox; its state may be older than the answer.
    pub sandbox: Sandbox,
    /// False if one of that name was there. Then look at its labels before using it.
    pub created: bool,
}

impl Client {
    /// Creates a sandbox under a name, or finds the one that has it.
    ///
    /// After an answer that was lost, the name tells whether the sandbox came into being.
    pub async fn create(&self, request: &CreateSandbox) -> Result<Creation, Error> {
        let mut request = request.clone();
        request.target = request.target.or_else(|| self.target().map(str::to_owned));
        let name = request.name.clone().filter(|n| !n.is_empty());
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.create_once(&request).await {
                Ok(sandbox) => return Ok(Creation { sandbox, created: true }),
                Err(error) => error,
            };
            let Some(name) = &name else { return Err(error) };
            if error.meaning() == Some(Meaning::Exists) {
                let sandbox = self.holder_of(name).await?;
                return Ok(Creation { sandbox, created: false });
            }
            if !error.is_ambiguous() {
                return Err(error);
            }
            if let Some(sandbox) = self.find(name).await? {
                return Ok(Creation { sandbox, created: false });
            }
            if tries == 3 {
                return Err(error);
            }
        }
    }

    async fn create_once(&self, request: &CreateSandbox) -> Result<Sandbox, Error> {
        let name = request.name.as_deref().unwrap_or_default();
        let what = format!("create sandbox `{name}`");
        let mut call = Call::new(what, Subject::Sandbox, Method::POST, self.url(&["sandbox"])?);
        call.first_byte = Some(CREATE_ANSWER);
        self.json(call.json(request)).await
    }

    /// The sandbox of that id or name.
    pub async fn get(&self, id: &str) -> Result<Sandbox, Error> {
        let what = format!("look up sandbox `{id}`");
        let url = self.url(&["sandbox", id])?;
        self.json(Call::new(what, Subject::Sandbox, Method::GET, url)).await
    }

    /// The sandbox of that id or name, if there is one. By name, `None` is no proof of absence within
    /// ten seconds after another of the same name was deleted.
    pub async fn find(&self, id: &str) -> Result<Option<Sandbox>, Error> {
        match self.get(id).await {
            Ok(sandbox) => Ok(Some(sandbox)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Who holds a name that is certainly taken. The look-up by name may still answer for its last
    /// holder; the list knows the new one's id.
    pub async fn holder_of(&self, name: &str) -> Result<Sandbox, Error> {
        let started = Instant::now();
        loop {
            if let Some(sandbox) = self.find(name).await? {
                return Ok(sandbox);
            }
            let named = self.page(&[("name", name), ("limit", "200")]).await?;
            for item in named.items.iter().filter(|s| s.name == name) {
                if let Some(sandbox) = self.find(&item.id).await? {
                    return Ok(sandbox);
                }
            }
            if started.elapsed() > NAME_CACHE {
                return Err(Error::NameTaken { name: name.to_owned() });
            }
            tokio::time::sleep(POLL_LAST).await;
        }
    }

    /// Every sandbox that carries all these labels, of all pages. May be seconds old: never use it to
    /// decide whether a sandbox exists.
    pub async fn list(&self, labels: &StringMap) -> Result<Vec<Sandbox>, Error> {
        let labels = serde_json::to_string(labels).unwrap_or_else(|_| "{}".into());
        let mut all: Vec<Sandbox> = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES {
            let mut query = vec![("limit", "200"), ("labels", labels.as_str())];
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor));
            }
            let page = self.page(&query).await?;
            let before = all.len();
            for sandbox in page.items {
                // The list may shift between two pages.
                if !all.iter().any(|s| s.id == sandbox.id) {
                    all.push(sandbox);
                }
            }
            let ended = page.next_cursor.is_none() || page.next_cursor == cursor;
            if ended || all.len() == before {
                break;
            }
            cursor = page.next_cursor;
        }
        Ok(all)
    }

    async fn page(&self, query: &[(&str, &str)]) -> Result<SandboxPage, Error> {
        let mut url = self.url(&["sandbox"])?;
        url.query_pairs_mut().extend_pairs(query);
        self.json(Call::new("list sandboxes".into(), Subject::Sandbox, Method::GET, url)).await
    }

    /// Starts a stopped or archived sandbox; nothing happens to a started one.
    pub async fn start(&self, id: &str) -> Result<Sandbox, Error> {
        self.change("start", id, Method::POST, &["start"]).await
    }

    /// Brings a sandbox in state `error` back, if the service calls it recoverable.
    pub async fn recover(&self, id: &str) -> Result<Sandbox, Error> {
        self.change("recover", id, Method::POST, &["recover"]).await
    }

    /// Stops a sandbox. One that does not run, or is gone, is a success: `None`.
    pub async fn stop(&self, id: &str) -> Result<Option<Sandbox>, Error> {
        settled(self.change("stop", id, Method::POST, &["stop"]).await)
    }

    /// Deletes a sandbox. One that is gone is a success: `None`.
    pub async fn delete(&self, id: &str) -> Result<Option<Sandbox>, Error> {
        match self.change("delete", id, Method::DELETE, &[]).await {
            Err(error) if error.is_missing() => Ok(None),
            result => result.map(Some),
        }
    }

    /// A change of state, repeated while another is in progress.
    async fn change(
        &self,
        verb: &str,
        id: &str,
        method: Method,
        tail: &[&str],
    ) -> Result<Sandbox, Error> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(250);
        loop {
            let mut url = self.url(&[&["sandbox", id], tail].concat())?;
            if verb == "stop" {
                url.set_query(Some("force=false"));
            }
            let what = format!("{verb} sandbox `{id}`");
            let mut call = Call::new(what, Subject::Sandbox, method.clone(), url);
            // Asking twice for the same state ends in that state.
            call.repeat = Repeat::Harmless;
            match self.json(call).await {
                Err(error)
                    if error.meaning() == Some(Meaning::Changing)
                        && started.elapsed() < CHANGING => {}
                result => return result,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Brings a sandbox from whatever state to `started`. `seen` hears of each new state.
    pub async fn ensure_started(
        &self,
        sandbox: Sandbox,
        within: Duration,
        mut seen: impl FnMut(&Sandbox) + Send,
    ) -> Result<Sandbox, Error> {
        let started = Instant::now();
        let (mut sandbox, mut poked, mut believed) = (sandbox, false, false);
        let mut pause = POLL_FIRST;
        loop {
            match step(&sandbox, poked) {
                Step::Ready => return Ok(sandbox),
                Step::Start => {
                    poked = true;
                    sandbox = self.poke(self.start(&sandbox.id).await, &sandbox.id).await?;
                    seen(&sandbox);
                    continue;
                }
                Step::Recover => {
                    poked = true;
                    sandbox = self.poke(self.recover(&sandbox.id).await, &sandbox.id).await?;
                    seen(&sandbox);
                    continue;
                }
                // A state of error may be from before; look once more before giving up.
                Step::Fail if believed => return Err(errored(sandbox)),
                Step::Fail => believed = true,
                Step::Wait => {}
            }
            if started.elapsed() >= within {
                let Sandbox { id, state, .. } = sandbox;
                return Err(Error::StartTimeout { id, state, after: started.elapsed() });
            }
            let fresh = match self.get(&sandbox.id).await {
                Ok(fresh) => fresh,
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if fresh.state != sandbox.state {
                seen(&fresh);
            }
            let waiting = step(&fresh, poked) == Step::Wait;
            sandbox = fresh;
            if waiting {
                tokio::time::sleep(pause.min(within.saturating_sub(started.elapsed()))).await;
                pause = pause.mul_f64(1.3).min(POLL_LAST);
            }
        }
    }

    /// A start that crossed another change is judged by the state that came of it.
    async fn poke(&self, result: Result<Sandbox, Error>, id: &str) -> Result<Sandbox, Error> {
        match result {
            Err(error)
                if matches!(error.meaning(), Some(Meaning::WrongState | Meaning::Changing)) =>
            {
                self.get(id).await
            }
            result => result,
        }
    }

    /// Replaces the whole map of labels.
    pub async fn set_labels(&self, id: &str, labels: &StringMap) -> Result<(), Error> {
        let what = format!("label sandbox `{id}`");
        let url = self.url(&["sandbox", id, "labels"])?;
        let labels = Labels { labels: labels.clone() };
        self.unit(Call::new(what, Subject::Sandbox, Method::PUT, url).json(&labels)).await
    }

    /// Minutes without activity after which the service stops it; 0 is never.
    pub async fn set_auto_stop(&self, id: &str, minutes: u32) -> Result<(), Error> {
        self.setting(id, "autostop", &minutes.to_string()).await
    }

    /// Minutes after a stop until it is archived; 0 is the service's maximum.
    pub async fn set_auto_archive(&self, id: &str, minutes: u32) -> Result<(), Error> {
        self.setting(id, "autoarchive", &minutes.to_string()).await
    }

    /// Minutes after a stop until it is deleted; negative is never.
    pub async fn set_auto_delete(&self, id: &str, minutes: i64) -> Result<(), Error> {
        self.setting(id, "autodelete", &minutes.to_string()).await
    }

    async fn setting(&self, id: &str, name: &str, value: &str) -> Result<(), Error> {
        let what = format!("set {name} of sandbox `{id}`");
        let url = self.url(&["sandbox", id, name, value])?;
        self.unit(Call::new(what, Subject::Sandbox, Method::POST, url).harmless()).await
    }

    /// Tells the service that the sandbox is in use, so that it is not stopped.
    pub async fn touch(&self, id: &str) -> Result<(), Error> {
        let what = format!("keep sandbox `{id}` awake");
        let url = self.url(&["sandbox", id, "last-activity"])?;
        self.unit(Call::new(what, Subject::Sandbox, Method::POST, url).harmless()).await
    }

    /// The cheapest way to learn whether an API key is good. A login token is refused here.
    pub async fn check_key(&self) -> Result<(), Error> {
        let url = self.url(&["api-keys", "current"])?;
        self.unit(Call::new("check the API key".into(), Subject::Account, Method::GET, url)).await
    }
}

fn settled(result: Result<Sandbox, Error>) -> Result<Option<Sandbox>, Error> {
    match result {
        Err(error) if matches!(error.meaning(), Some(Meaning::WrongState | Meaning::Missing)) => {
            Ok(None)
        }
        result => result.map(Some),
    }
}

fn errored(sandbox: Sandbox) -> Error {
    Error::Errored {
        id: sandbox.id,
        state: sandbox.state,
        reason: sandbox.error_reason.unwrap_or_default(),
        recoverable: sandbox.recoverable.unwrap_or_default(),
    }
}

/// What brings a sandbox closer to `started`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Ready,
    Wait,
    Start,
    Recover,
    Fail,
}

/// `poked`: a start or recover was asked for already; then a steady state may be from before it.
fn step(sandbox: &Sandbox, poked: bool) -> Step {
    use SandboxState as S;
    match &sandbox.state {
        S::Started => Step::Ready,
        S::Stopped | S::Archived | S::Paused if poked => Step::Wait,
        S::Stopped | S::Archived | S::Paused => Step::Start,
        S::Error if sandbox.recoverable == Some(true) && !poked => Step::Recover,
        S::Error | S::BuildFailed | S::Destroying | S::Destroyed => Step::Fail,
        S::Creating
        | S::PendingBuild
        | S::BuildingSnapshot
        | S::PullingSnapshot
        | S::Unknown
        | S::Starting
        | S::Resuming
        | S::Restoring
        | S::Stopping
        | S::Pausing
        | S::Archiving
        | S::Resizing
        | S::Snapshotting
        | S::Forking
        | S::Other(_) => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_next_step() {
        let at = |state: &str, recoverable, poked| {
            let recoverable = Some(recoverable);
            let state = SandboxState::parse(state);
            step(&Sandbox { state, recoverable, ..Sandbox::default() }, poked)
        };
        let table = [
            ("started", Step::Ready, Step::Ready),
            ("stopped", Step::Start, Step::Wait),
            ("archived", Step::Start, Step::Wait),
            ("paused", Step::Start, Step::Wait),
            ("error", Step::Fail, Step::Fail),
            ("build_failed", Step::Fail, Step::Fail),
            ("destroying", Step::Fail, Step::Fail),
            ("destroyed", Step::Fail, Step::Fail),
            ("unknown", Step::Wait, Step::Wait),
            ("creating", Step::Wait, Step::Wait),
            ("stopping", Step::Wait, Step::Wait),
            ("archiving", Step::Wait, Step::Wait),
            ("restoring", Step::Wait, Step::Wait),
            ("teleporting", Step::Wait, Step::Wait),
        ];
        for (state, fresh, poked) in table {
            assert_eq!(at(state, false, false), fresh, "{state}");
            assert_eq!(at(state, false, true), poked, "{state} poked");
        }
        assert_eq!(at("error", true, false), Step::Recover);
        assert_eq!(at("error", true, true), Step::Fail);
    }
}
