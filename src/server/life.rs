//! The sandboxes of this server: the records, the moves between states, the timers.
//!
//! One mutex guards all records; a move is judged and entered under it, and carried out in a task of its
//! own, so that a client who hangs up half way leaves nothing half done.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use super::access::Gate;
use super::backend::{Backend, StartOrder};
use super::clock::Clock;
use super::problem::Problem;
use super::registry::{self, Ask, Move, State};
use super::store::{Record, Store};
use crate::jail::spec::{Limits, Network};
use crate::jail::toolchains::{self, Caller, Toolchains};
use crate::wire::sandbox::{HOST_TOOL_DIRS, Sandbox};

/// How long an answer is held up for a stop or a delete to finish.
const HOLD: Duration = Duration::from_secs(20);
const MINUTE: i64 = 60_000;

/// What happened to a sandbox, for those who listen.
#[derive(Debug, Clone)]
pub(super) struct Happening {
    pub(super) sandbox: Sandbox,
    /// `None` for a new one.
    pub(super) old: Option<State>,
    pub(super) new: State,
}

/// What all requests share.
pub(super) struct Life {
    pub(super) gate: Gate,
    pub(super) api_url: String,
    pub(super) toolbox_base: String,
    pub(super) port: u16,
    pub(super) clock: Clock,
    pub(super) started: i64,
    pub(super) happenings: broadcast::Sender<Happening>,
    pub(super) stop: tokio_util::sync::CancellationToken,
    store: Store,
    backend: Backend,
    binary: PathBuf,
    tool_dirs: Vec<PathBuf>,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    held: HashMap<String, Held>,
    last_request: i64,
    requests: usize,
}

struct Held {
    record: Record,
    /// Connections through the proxy that count as activity.
    open: usize,
    socket: Option<PathBuf>,
}

/// The parts of a [`Life`].
pub(super) struct Parts {
    pub(super) gate: Gate,
    pub(super) port: u16,
    pub(super) base: String,
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) backend: Backend,
    pub(super) binary: PathBuf,
    pub(super) tool_dirs: Vec<PathBuf>,
    pub(super) stop: tokio_util::sync::CancellationToken,
}

/// How the toolbox of a sandbox is reached, or why it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    Socket(PathBuf),
    NotRunning,
    Starting,
    Going,
    Unknown,
}

impl Life {
    /// Takes up what an earlier server left: adopts what runs, finishes what was being removed.
    pub(super) async fn begin(parts: Parts) -> Result<Arc<Self>, super::Error> {
        let io = |source| super::Error::Io { what: "keep records".to_owned(), source };
        let now = parts.clock.now();
        let mut shelf = Shelf { last_request: now, ..Shelf::default() };
        for mut record in parts.store.load().map_err(io)? {
            let dir = parts.store.dir(&record.id);
            let found = parts.backend.adopt(&dir).await?;
            match registry::after_restart(record.state, found.is_some(), record.is_ephemeral()) {
                None => parts.backend.destroy(&dir).await?,
                Some(state) => {
                    if state == State::Stopped && record.state != State::Stopped {
                        record.stopped = Some(now);
                    }
                    if state == State::Started {
                        record.last_activity = now;
                    }
                    record.state = state;
                    parts.store.save(&record).map_err(io)?;
                    let socket = found.map(|sandbox| sandbox.socket);
                    shelf.held.insert(record.id.clone(), Held { record, open: 0, socket });
                }
            }
        }
        let life = Arc::new(Life {
            gate: parts.gate,
            api_url: format!("{}/api", parts.base),
            toolbox_base: format!("{}/toolbox", parts.base),
            port: parts.port,
            started: now,
            clock: parts.clock,
            happenings: broadcast::channel(256).0,
            stop: parts.stop,
            store: parts.store,
            backend: parts.backend,
            binary: parts.binary,
            tool_dirs: parts.tool_dirs,
            shelf: Mutex::new(shelf),
        });
        let interrupted: Vec<String> = life
            .shelf()
            .held
            .values()
            .filter(|held| held.record.state == State::Stopping)
            .map(|held| held.record.id.clone())
            .collect();
        for id in interrupted {
            life.clone().finish_stop(id).await;
        }
        Ok(life)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As Daytona tells the sandbox.
    pub(super) fn on_wire(&self, record: &Record) -> Sandbox {
        record.on_wire(&self.toolbox_base)
    }

    /// What is in force for the sandboxes of this server.
    pub(super) fn force(&self) -> Backend {
        self.backend
    }

    /// All sandboxes but those being removed.
    pub(super) fn all(&self) -> Vec<Record> {
        let shelf = self.shelf();
        let records = shelf.held.values().map(|held| held.record.clone());
        records.filter(|record| record.state != State::Destroying).collect()
    }

    /// By id, else by name.
    pub(super) fn get(&self, key: &str) -> Result<Record, Problem> {
        let shelf = self.shelf();
        shelf.find(key).map(|held| held.record.clone()).ok_or_else(|| Problem::no_sandbox(key))
    }

    /// Changes settings of a sandbox and saves them.
    pub(super) fn change(
        &self,
        key: &str,
        change: impl FnOnce(&mut Record),
    ) -> Result<Record, Problem> {
        let mut shelf = self.shelf();
        let held = shelf.find_mut(key).ok_or_else(|| Problem::no_sandbox(key))?;
        change(&mut held.record);
        held.record.updated = self.clock.now();
        self.store.save(&held.record)?;
        Ok(held.record.clone())
    }

    /// Creates and starts a sandbox. The name is the lock: of many who ask at once one gets it.
    pub(super) async fn create(self: Arc<Self>, record: Record) -> Result<Record, Problem> {
        let id = record.id.clone();
        {
            let mut shelf = self.shelf();
            let taken = shelf.held.values().any(|held| held.record.name == record.name);
            if taken {
                let message = format!("Sandbox with name {} already exists", record.name);
                return Err(Problem::new(axum::http::StatusCode::CONFLICT, message));
            }
            self.store.save(&record)?;
            self.tell(&record, None);
            shelf.held.insert(id.clone(), Held { record, open: 0, socket: None });
        }
        let life = self.clone();
        let work = tokio::spawn(async move {
            let result = life.launch(&id).await;
            if result.is_err() {
                // Nothing of a sandbox that never was is left behind, and its name is free.
                if let Err(err) = life.backend.destroy(&life.store.dir(&id)).await {
                    tracing::warn!(%err, id, "the rest of a failed create could not be removed");
                }
                life.shelf().held.remove(&id);
            }
            result
        });
        work.await.map_err(Problem::internal)?
    }

    /// Starts the sandbox whose record says that it is being started.
    async fn launch(&self, id: &str) -> Result<Record, Problem> {
        let record = self.get(id)?;
        let order = StartOrder {
            id: record.id.clone(),
            dir: self.store.dir(id),
            binary: self.binary.clone(),
            hostname: "sandbox".to_owned(),
            env: record.env.clone(),
            toolchains: self.toolchains(&record).await,
            network: if record.network_block_all { Network::None } else { Network::Host },
            limits: Limits::default(),
        };
        match self.backend.start(order).await {
            Ok(sandbox) => self.enter(id, State::Started, |held| {
                held.socket = Some(sandbox.socket);
                held.record.error_reason = None;
            }),
            Err(err) => {
                let reason = format!("Sandbox failed to start: {err}");
                self.enter(id, State::Error, |held| {
                    held.record.error_reason = Some(err.to_string())
                })?;
                Err(Problem::bad_request(reason))
            }
        }
    }

    /// The host's tools as the creator sees them: two terminals with different versions on their
    /// `PATH` get sandboxes with different versions. Looked up at each start, for tools move.
    async fn toolchains(&self, record: &Record) -> Toolchains {
        let mut tool_dirs = self.tool_dirs.clone();
        let mut vars = record.tools.clone();
        if let Some(dirs) = vars.remove(HOST_TOOL_DIRS) {
            tool_dirs.extend(std::env::split_paths(&dirs));
        }
        let caller = if vars.is_empty() {
            Caller::from_process(tool_dirs)
        } else {
            Caller { home: vars.get("HOME").map(PathBuf::from), vars, tool_dirs }
        };
        let find = move || toolchains::discover(&caller);
        tokio::task::spawn_blocking(find).await.unwrap_or_else(|err| {
            tracing::warn!(%err, "the search for tools failed; the sandbox sees the system's");
            Toolchains::default()
        })
    }

    /// Records the next state of a sandbox that is there.
    fn enter(&self, id: &str, new: State, with: impl FnOnce(&mut Held)) -> Result<Record, Problem> {
        let mut shelf = self.shelf();
        let held = shelf.held.get_mut(id).ok_or_else(|| Problem::no_sandbox(id))?;
        self.move_to(held, new);
        with(held);
        self.store.save(&held.record)?;
        Ok(held.record.clone())
    }

    fn move_to(&self, held: &mut Held, new: State) {
        let now = self.clock.now();
        let old = std::mem::replace(&mut held.record.state, new);
        held.record.updated = now;
        held.record.last_activity = now;
        if new != State::Started {
            held.socket = None;
        }
        if new == State::Stopped {
            held.record.stopped = Some(now);
        }
        self.tell(&held.record, Some(old));
    }

    fn tell(&self, record: &Record, old: Option<State>) {
        // Nobody may be listening.
        let _ = self.happenings.send(Happening {
            sandbox: self.on_wire(record),
            old,
            new: record.state,
        });
    }

    /// Judges a move and enters its first state, in one step.
    fn ask(&self, key: &str, ask: Ask) -> Result<(Record, Move), Problem> {
        let mut shelf = self.shelf();
        let held = shelf.find_mut(key).ok_or_else(|| Problem::no_sandbox(key))?;
        let step = registry::judge(held.record.state, ask, held.record.is_ephemeral())?;
        if let Move::To(state) = step {
            self.move_to(held, state);
            match state {
                State::Destroying => {
                    held.record.name =
                        format!("DESTROYED_{}_{}", held.record.name, self.clock.now());
                }
                State::Starting => held.record.token = super::access::random(32),
                _ => {}
            }
            self.store.save(&held.record)?;
        }
        Ok((held.record.clone(), step))
    }

    /// Starts a stopped sandbox and waits until it runs.
    pub(super) async fn start(self: Arc<Self>, key: &str) -> Result<Record, Problem> {
        let (record, step) = self.ask(key, Ask::Start)?;
        if step == Move::Nothing {
            return Ok(record);
        }
        let work = tokio::spawn(async move { self.launch(&record.id).await });
        work.await.map_err(Problem::internal)?
    }

    /// Stops a sandbox; an ephemeral one is removed by it.
    pub(super) async fn stop(self: Arc<Self>, key: &str) -> Result<Record, Problem> {
        let (record, step) = self.ask(key, Ask::Stop)?;
        let id = record.id.clone();
        if step == Move::To(State::Destroying) {
            self.clone().hold(self.finish_delete(id)).await;
            return Ok(record);
        }
        self.clone().hold(self.clone().finish_stop(id.clone())).await;
        self.get(&id)
    }

    /// Removes a sandbox with its files. The answer is the record as it was being removed.
    pub(super) async fn delete(self: Arc<Self>, key: &str) -> Result<Record, Problem> {
        let (record, _) = self.ask(key, Ask::Delete)?;
        self.clone().hold(self.finish_delete(record.id.clone())).await;
        Ok(record)
    }

    /// Carries work out whatever becomes of the caller, and waits for it for a bounded time.
    async fn hold(self: Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        if tokio::time::timeout(HOLD, tokio::spawn(work)).await.is_err() {
            tracing::debug!("an answer goes out before the work is done");
        }
    }

    async fn finish_stop(self: Arc<Self>, id: String) {
        let result = self.backend.stop(&self.store.dir(&id)).await;
        let entered = match result {
            Ok(()) => self.enter(&id, State::Stopped, |_| {}),
            Err(err) => self.enter(&id, State::Error, |held| {
                held.record.error_reason = Some(format!("it could not be stopped: {err}"))
            }),
        };
        if let Err(problem) = entered {
            tracing::warn!(problem = problem.message, id, "a stop could not be recorded");
        }
    }

    async fn finish_delete(self: Arc<Self>, id: String) {
        let dir = self.store.dir(&id);
        let result = match self.backend.destroy(&dir).await {
            Ok(()) => self.store.forget(&id).map_err(|err| err.to_string()),
            Err(err) => Err(err.to_string()),
        };
        match result {
            Ok(()) => {
                self.shelf().held.remove(&id);
            }
            // Told as an error, so that it can be asked for again.
            Err(err) => {
                tracing::warn!(%err, id, "a sandbox could not be removed");
                let _ = self.enter(&id, State::Error, |held| held.record.error_reason = Some(err));
            }
        }
    }

    /// How the toolbox of the sandbox with this id (never a name) is reached.
    pub(super) fn reach(&self, id: &str) -> Reach {
        let shelf = self.shelf();
        let Some(held) = shelf.held.get(id) else { return Reach::Unknown };
        match (held.record.state, &held.socket) {
            (State::Started, Some(socket)) => Reach::Socket(socket.clone()),
            (State::Creating | State::Starting, _) => Reach::Starting,
            (State::Destroying, _) => Reach::Going,
            _ => Reach::NotRunning,
        }
    }

    /// Checks a sandbox that did not answer; one that died is recorded as stopped.
    pub(super) async fn look_after(self: Arc<Self>, id: &str) {
        let dir = self.store.dir(id);
        if !matches!(self.backend.adopt(&dir).await, Ok(None)) {
            return;
        }
        let ephemeral = {
            let mut shelf = self.shelf();
            let Some(held) = shelf.held.get_mut(id).filter(|h| h.record.state == State::Started)
            else {
                return;
            };
            tracing::info!(id, "a sandbox ended by itself");
            let ephemeral = held.record.is_ephemeral();
            self.move_to(held, if ephemeral { State::Destroying } else { State::Stopped });
            if let Err(err) = self.store.save(&held.record) {
                tracing::warn!(%err, id, "a record could not be saved");
            }
            ephemeral
        };
        if ephemeral {
            self.finish_delete(id.to_owned()).await;
        }
    }

    /// Counts as activity now.
    pub(super) fn touch(&self, id: &str) {
        if let Some(held) = self.shelf().held.get_mut(id) {
            held.record.last_activity = self.clock.now();
        }
    }

    /// Counts as activity for as long as the guard lives.
    pub(super) fn using(self: &Arc<Self>, id: &str) -> Using {
        if let Some(held) = self.shelf().held.get_mut(id) {
            held.open += 1;
            held.record.last_activity = self.clock.now();
        }
        Using { life: self.clone(), id: id.to_owned() }
    }

    /// Counts a request to the server itself for as long as the guard lives.
    pub(super) fn request(self: &Arc<Self>) -> Busy {
        self.shelf().requests += 1;
        Busy { life: self.clone() }
    }

    /// Since when nobody asked and nothing ran; `None` while something does.
    pub(super) fn idle_since(&self) -> Option<i64> {
        let shelf = self.shelf();
        let busy = shelf.requests > 0
            || shelf.held.values().any(|held| {
                held.open > 0
                    || held.record.state == State::Started
                    || held.record.state.is_passing()
            });
        (!busy).then_some(shelf.last_request)
    }

    /// Lets the timers act: auto-stop, auto-delete, time to live, and sandboxes that died.
    pub(super) async fn tend(self: &Arc<Self>) {
        let now = self.clock.now();
        let due: Vec<(String, Due)> = {
            let shelf = self.shelf();
            let judge =
                |held: &Held| Some((held.record.id.clone(), due(&held.record, held.open, now)?));
            shelf.held.values().filter_map(judge).collect()
        };
        for (id, due) in due {
            let done = match due {
                Due::Look => {
                    self.clone().look_after(&id).await;
                    continue;
                }
                Due::Stop => self.clone().stop(&id).await,
                Due::Delete => self.clone().delete(&id).await,
            };
            if let Err(problem) = done {
                tracing::debug!(
                    problem = problem.message,
                    id,
                    "a timer found the sandbox changing"
                );
            }
        }
    }
}

impl Shelf {
    fn id_of(&self, key: &str) -> Option<String> {
        if self.held.contains_key(key) {
            return Some(key.to_owned());
        }
        self.held.values().find(|held| held.record.name == key).map(|held| held.record.id.clone())
    }

    fn find(&self, key: &str) -> Option<&Held> {
        self.held.get(&self.id_of(key)?)
    }

    fn find_mut(&mut self, key: &str) -> Option<&mut Held> {
        let id = self.id_of(key)?;
        self.held.get_mut(&id)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Look,
    Stop,
    Delete,
}

/// What the timers do with a sandbox.
fn due(record: &Record, open: usize, now: i64) -> Option<Due> {
    let over = |since: i64, minutes: i64| now - since >= minutes * MINUTE;
    if record.state.is_passing() {
        return None;
    }
    if record.ttl > 0 && over(record.created, record.ttl) {
        return Some(Due::Delete);
    }
    match record.state {
        State::Started
            if open == 0
                && record.auto_stop > 0
                && over(record.last_activity, record.auto_stop) =>
        {
            Some(Due::Stop)
        }
        State::Started => Some(Due::Look),
        State::Stopped if record.auto_delete >= 0 => {
            let since = record.stopped.unwrap_or(record.updated);
            over(since, record.auto_delete).then_some(Due::Delete)
        }
        _ => None,
    }
}

/// A connection through the proxy.
pub(super) struct Using {
    life: Arc<Life>,
    id: String,
}

impl Drop for Using {
    fn drop(&mut self) {
        let now = self.life.clock.now();
        if let Some(held) = self.life.shelf().held.get_mut(&self.id) {
            held.open = held.open.saturating_sub(1);
            held.record.last_activity = now;
        }
    }
}

/// A request under way.
pub(super) struct Busy {
    life: Arc<Life>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = self.life.clock.now();
        let mut shelf = self.life.shelf();
        shelf.requests = shelf.requests.saturating_sub(1);
        shelf.last_request = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timers_stop_what_is_idle_and_remove_what_was_stopped() {
        let record = |state, auto_stop, auto_delete, ttl| {
            let mut record = Record::new("i".to_owned(), "n".to_owned(), 0);
            record.state = state;
            record.stopped = Some(0);
            (record.auto_stop, record.auto_delete, record.ttl) = (auto_stop, auto_delete, ttl);
            record
        };
        use State::*;
        let table = [
            (record(Started, 1, -1, 0), 0, MINUTE - 1, Some(Due::Look)),
            (record(Started, 1, -1, 0), 0, MINUTE, Some(Due::Stop)),
            (record(Started, 1, -1, 0), 1, MINUTE, Some(Due::Look)),
            (record(Started, 0, -1, 0), 0, 9 * MINUTE, Some(Due::Look)),
            (record(Started, 0, -1, 5), 1, 5 * MINUTE, Some(Due::Delete)),
            (record(Stopped, 1, -1, 0), 0, 9 * MINUTE, None),
            (record(Stopped, 1, 2, 0), 0, MINUTE, None),
            (record(Stopped, 1, 2, 0), 0, 2 * MINUTE, Some(Due::Delete)),
            (record(Stopped, 1, 0, 0), 0, 0, Some(Due::Delete)),
            (record(Error, 1, 1, 0), 0, 9 * MINUTE, None),
            (record(Stopping, 1, 1, 1), 0, 9 * MINUTE, None),
        ];
        for (record, open, now, expected) in table {
            assert_eq!(due(&record, open, now), expected, "{:?} {open} {now}", record.state);
        }
    }
}
