//! The sandboxes of this server: the records, the moves between states, the timers.
//!
//! One mutex guards all records; a move is judged and entered under it, and carried out in a task of its
//! own, so that a client who hangs up half way leaves nothing half done.

mod activity;
mod moves;

pub(super) use activity::Using;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use super::access::Gate;
use super::backend::Backend;
use super::clock::Clock;
use super::problem::Problem;
use super::registry::{self, State};
use super::store::{Record, Store};
use crate::wire::sandbox::Sandbox;

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
