//! `/process/pty`: terminals, made by POST and then connected to, or both in one WebSocket.

mod master;
mod socket;
mod terminal;

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::process::Command;

use self::terminal::Terminal;
use super::body;
use super::environment;
use super::error::{Problem, go_words};
use super::paths::{Query, shown};
use super::server::Shared;
use super::websocket::{self, MaybeUpgrade};
use crate::wire::pty::{
    CreatePty, ENVS_PREFIX, EXIT_CONTROL, PtyCreated, PtyInfo, PtyList, Resize,
};

/// The size of a terminal nobody gave one.
const SIZE: (u16, u16) = (80, 24);
/// Most columns, and most rows.
const LARGEST: u16 = 1000;
/// How long a deletion waits until the clients know.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/process/pty", post(create).get(list))
        .route("/process/pty/create-connect", get(create_connect))
        .route("/process/pty/{id}", get(show).delete(delete))
        .route("/process/pty/{id}/resize", post(resize))
        .route("/process/pty/{id}/connect", get(connect))
}

/// All terminals, by id.
#[derive(Default)]
pub(super) struct Terminals(Mutex<BTreeMap<String, Arc<Terminal>>>);

impl Terminals {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Terminal>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Option<Arc<Terminal>> {
        self.all().get(id).cloned()
    }

    /// Takes out this one, not a later one of the same name.
    fn remove(&self, terminal: &Arc<Terminal>) {
        let mut all = self.all();
        if all.get(&terminal.id).is_some_and(|current| Arc::ptr_eq(current, terminal)) {
            all.remove(&terminal.id);
        }
    }
}

fn unknown() -> Problem {
    Problem::not_found("PTY session not found")
}

/// Makes an entry, not yet a process.
fn register(toolbox: &Shared, request: CreatePty) -> Result<Arc<Terminal>, Problem> {
    let CreatePty { id, cwd, envs, cols, rows, lazy_start } = request;
    if id.is_empty() {
        return Err(Problem::bad_request("session ID is required"));
    }
    if id.contains('/') {
        return Err(Problem::bad_request("session ID must not contain a slash"));
    }
    let size = (cols.unwrap_or(SIZE.0), rows.unwrap_or(SIZE.1));
    within(size)?;
    let mut envs = envs.unwrap_or_default();
    let broken = |(name, value): &(&String, &String)| {
        name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
    };
    if let Some((name, _)) = envs.iter().find(broken) {
        return Err(Problem::bad_request(format_args!("invalid environment variable: '{name}'")));
    }
    envs.entry("TERM".to_owned()).or_insert_with(|| "xterm-256color".to_owned());
    let directory = toolbox.resolve(FilePath::new(cwd.as_deref().unwrap_or_default()));
    let lazy = lazy_start.unwrap_or_default();
    // Resolving nothing leaves a slash at the end.
    let directory = shown(&directory.components().collect::<std::path::PathBuf>());
    let terminal = Arc::new(Terminal::new(id.clone(), directory, envs, lazy, size));
    let mut all = toolbox.terminals.all();
    if all.contains_key(&id) {
        return Err(Problem::conflict(format_args!("PTY session with ID '{id}' already exists")));
    }
    all.insert(id, Arc::clone(&terminal));
    Ok(terminal)
}

fn within((cols, rows): (u16, u16)) -> Result<(), Problem> {
    for (name, value) in [("cols", cols), ("rows", rows)] {
        if value > LARGEST {
            return Err(Problem::bad_request(format_args!("{name} must be at most {LARGEST}")));
        }
    }
    Ok(())
}

/// Starts a login shell on it, unless it runs.
fn start(toolbox: &Shared, terminal: &Arc<Terminal>) -> Result<(), String> {
    let command = || {
        let mut variables = toolbox.variables();
        variables.extend(terminal.envs.iter().map(|(name, value)| (name.into(), value.into())));
        let mut command = Command::new(environment::shell(&variables));
        command.args(["-i", "-l"]).env_clear().envs(variables).current_dir(&terminal.directory);
        command
    };
    let (own, shared) = (Arc::clone(terminal), Arc::clone(toolbox));
    terminal
        .start(command, move || shared.terminals.remove(&own))
        .map_err(|err| format!("failed to start PTY session: {}", go_words(&err)))
}

/// Registers and starts; a failed start leaves nothing.
fn register_and_start(toolbox: &Shared, request: CreatePty) -> Result<Arc<Terminal>, Problem> {
    let lazy = request.lazy_start.unwrap_or_default();
    let terminal = register(toolbox, request)?;
    if !lazy && let Err(why) = start(toolbox, &terminal) {
        toolbox.terminals.remove(&terminal);
        return Err(Problem::internal(why));
    }
    Ok(terminal)
}

async fn create(
    State(toolbox): State<Shared>,
    body::Json(request): body::Json<CreatePty>,
) -> Result<Response, Problem> {
    let terminal = register_and_start(&toolbox, request)?;
    let created = PtyCreated { session_id: terminal.id.clone() };
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

async fn list(State(toolbox): State<Shared>) -> Json<PtyList> {
    let sessions = toolbox.terminals.all().values().map(|terminal| terminal.info()).collect();
    Json(PtyList { sessions })
}

async fn show(
    State(toolbox): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<PtyInfo>, Problem> {
    Ok(Json(toolbox.terminals.find(&id).ok_or_else(unknown)?.info()))
}

async fn delete(
    State(toolbox): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let terminal = toolbox.terminals.find(&id).ok_or_else(unknown)?;
    toolbox.terminals.remove(&terminal);
    tokio::spawn(async move { terminal.kill(PATIENCE).await }).await?;
    Ok(Json(json!({ "message": "PTY session deleted" })))
}

async fn resize(
    State(toolbox): State<Shared>,
    Path(id): Path<String>,
    body::Json(Resize { cols, rows }): body::Json<Resize>,
) -> Result<Json<PtyInfo>, Problem> {
    within((cols, rows))?;
    let gone = || Problem::gone("GONE", format_args!("PTY session {id} not found"));
    let terminal = toolbox.terminals.find(&id).ok_or_else(gone)?;
    terminal.resize((cols, rows)).map_err(|err| Problem::internal(go_words(&err)))?;
    Ok(Json(terminal.info()))
}

async fn connect(
    State(toolbox): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    upgrade: MaybeUpgrade,
) -> Result<Response, Problem> {
    let mut upgrade = websocket::required(upgrade)?.max_message_size(socket::MESSAGE);
    websocket::choose(&mut upgrade);
    let says_exited = websocket::offered(&headers, EXIT_CONTROL).is_some();
    let Some(terminal) = toolbox.terminals.find(&id) else {
        // Told inside the connection, where clients of both generations look for it.
        let why = format!("PTY session {id} not found");
        return Ok(upgrade.on_upgrade(|socket| socket::refuse(socket, why)));
    };
    Ok(upgrade.on_upgrade(move |socket| async move {
        let begin = || start(&toolbox, &terminal);
        socket::serve(socket, Arc::clone(&terminal), says_exited, begin).await;
    }))
}

async fn create_connect(
    State(toolbox): State<Shared>,
    query: Query,
    headers: HeaderMap,
    upgrade: MaybeUpgrade,
) -> Result<Response, Problem> {
    let mut upgrade = websocket::required(upgrade)?.max_message_size(socket::MESSAGE);
    let number = |name: &str| {
        let text = query.text(name);
        let parsed = text.map(str::parse).transpose();
        parsed.map_err(|_| Problem::bad_request(format_args!("invalid value for {name}")))
    };
    let request = CreatePty {
        id: query.text("id").unwrap_or_default().to_owned(),
        cwd: query.text("cwd").map(str::to_owned),
        envs: websocket::offered(&headers, ENVS_PREFIX).map(envs).transpose()?,
        cols: number("cols")?,
        rows: number("rows")?,
        // Started before the upgrade, so that a failure has a status; the output waits for its reader.
        lazy_start: Some(false),
    };
    let terminal = register_and_start(&toolbox, request)?;
    websocket::choose(&mut upgrade);
    let says_exited = websocket::offered(&headers, EXIT_CONTROL).is_some();
    Ok(upgrade.on_upgrade(move |socket| socket::serve(socket, terminal, says_exited, || Ok(()))))
}

/// The environment in a subprotocol.
fn envs(token: &str) -> Result<BTreeMap<String, String>, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('='));
    bytes
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| Problem::bad_request("invalid envs subprotocol"))
}
