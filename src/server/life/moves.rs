//! From one state to the next: judged and entered under the lock, carried out in a task of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::access;
use super::super::backend::StartOrder;
use super::super::problem::Problem;
use super::super::registry::{self, Ask, Move, State};
use super::super::store::Record;
use super::{Happening, Held, Life};
use crate::jail::spec::{Limits, Network};
use crate::jail::toolchains::{self, Caller, Toolchains};
use crate::wire::sandbox::HOST_TOOL_DIRS;

/// How long an answer is held up for a stop or a delete to finish.
const HOLD: Duration = Duration::from_secs(20);

impl Life {
    /// Creates and starts a sandbox. The name is the lock: of many who ask at once one gets it.
    pub(in crate::server) async fn create(
        self: Arc<Self>,
        record: Record,
    ) -> Result<Record, Problem> {
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
            let before = (held.record.clone(), held.socket.clone());
            self.move_to(held, state);
            match state {
                State::Destroying => {
                    held.record.name =
                        format!("DESTROYED_{}_{}", held.record.name, self.clock.now());
                }
                State::Starting => held.record.token = access::random(32),
                _ => {}
            }
            match self.store.save(&held.record) {
                // A full disk is what a sandbox may be deleted for.
                Err(err) if state == State::Destroying => {
                    tracing::warn!(%err, key, "a record could not be saved");
                }
                Err(err) => {
                    // Nobody carries it out, and so it can be asked for again.
                    (held.record, held.socket) = before;
                    self.tell(&held.record, Some(state));
                    return Err(err.into());
                }
                Ok(()) => {}
            }
        }
        Ok((held.record.clone(), step))
    }

    /// Starts a stopped sandbox and waits until it runs.
    pub(in crate::server) async fn start(self: Arc<Self>, key: &str) -> Result<Record, Problem> {
        let (record, step) = self.ask(key, Ask::Start)?;
        if step == Move::Nothing {
            return Ok(record);
        }
        let work = tokio::spawn(async move { self.launch(&record.id).await });
        work.await.map_err(Problem::internal)?
    }

    /// Stops a sandbox; an ephemeral one is removed by it.
    pub(in crate::server) async fn stop(self: Arc<Self>, key: &str) -> Result<Record, Problem> {
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
    pub(in crate::server) async fn delete(self: Arc<Self>, key: &str) -> Result<Record, Problem> {
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

    pub(super) async fn finish_stop(self: Arc<Self>, id: String) {
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

    /// Checks a sandbox that did not answer; one that died is recorded as stopped.
    pub(in crate::server) async fn look_after(self: Arc<Self>, id: &str) {
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
}
