//! `/process/session`: shells that keep their state from one command to the next, with logs on disk.
//!
//! A session's files are `~/.daytona/sessions/SESSION/COMMAND/{cmd.sh,output.log,exit_code}`. They outlive the
//! toolbox; sessions do not. A log is kept whole until its session is deleted, however long it gets: the API
//! hands logs out from their first byte, has no word for a gap, and clients count what they have seen.

mod command;
mod logs;
pub(super) mod marks;
mod shell;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use self::command::Command;
use self::logs::Form;
use self::marks::Stream;
use self::shell::Shell;
use super::body;
use super::error::{Problem, blocking, go_words};
use super::paths::Query;
use super::server::Shared;
use super::websocket::{self, MaybeUpgrade};
use super::{environment, processes};
use crate::wire::process::{CreateSession, Session as Described, SessionExecute, SessionExecuted};

/// The session of the sandbox's own first command. There is none here, so it has nothing to show.
const ENTRYPOINT: &str = "entrypoint";
/// How long processes have to end by themselves when a session is deleted.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(50);
/// How long input may wait for a command that does not read.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/process/session", post(create).get(list))
        .route("/process/session/entrypoint", get(entrypoint).delete(keep_entrypoint))
        .route("/process/session/entrypoint/logs", get(entrypoint_logs))
        .route("/process/session/{session}", get(show).delete(delete))
        .route("/process/session/{session}/exec", post(execute))
        .route("/process/session/{session}/command/{command}", get(show_command))
        .route("/process/session/{session}/command/{command}/logs", get(show_logs))
        .route("/process/session/{session}/command/{command}/input", post(input))
}

/// All sessions, by id.
#[derive(Default)]
pub(super) struct Sessions(Mutex<BTreeMap<String, Arc<Session>>>);

impl Sessions {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Result<Arc<Session>, Problem> {
        self.all().get(id).cloned().ok_or_else(|| Problem::not_found("session not found"))
    }
}

struct Session {
    id: String,
    directory: PathBuf,
    pid: i32,
    commands: Mutex<Vec<Arc<Command>>>,
    /// To the shell; closed once it has ended.
    queue: mpsc::UnboundedSender<Arc<Command>>,
}

impl Session {
    fn commands(&self) -> MutexGuard<'_, Vec<Arc<Command>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Result<Arc<Command>, Problem> {
        let command = self.commands().iter().find(|command| command.id == id).cloned();
        command.ok_or_else(|| Problem::not_found("command not found"))
    }

    fn described(&self) -> Described {
        let commands = self.commands().iter().map(|command| command.described()).collect();
        Described { session_id: self.id.clone(), commands }
    }
}

/// Whether an id can name a directory, and a part of a URL.
fn is_usable(id: &str) -> bool {
    !id.contains(['/', '\0']) && id != "." && id != ".." && id.len() <= 255
}

async fn create(
    State(toolbox): State<Shared>,
    headers: HeaderMap,
    body::Json(CreateSession { session_id: id }): body::Json<CreateSession>,
) -> Result<StatusCode, Problem> {
    if id.is_empty() {
        return Err(Problem::invalid_body("sessionId is required"));
    }
    if id == ENTRYPOINT {
        let what = "provided session ID is reserved and cannot be created/overridden";
        return Err(Problem::bad_request(what));
    }
    if !is_usable(&id) {
        return Err(Problem::bad_request("session ID must be usable as the name of a directory"));
    }
    let directory = toolbox.home.join(".daytona/sessions").join(&id);
    // One lock over look and insertion: of two that come at once, one is told.
    let mut sessions = toolbox.sessions.all();
    if sessions.contains_key(&id) {
        return Err(Problem::conflict("session already exists"));
    }
    let failed =
        |err: std::io::Error| Problem::internal(format_args!("start session: {}", go_words(&err)));
    std::fs::create_dir_all(&directory).map_err(failed)?;
    let variables = toolbox.variables();
    let program = environment::shell(&variables);
    let start = if logs::starts_at_home(&headers) { &toolbox.home } else { &toolbox.work_dir };
    let shell = Shell::start(&program, start, variables).map_err(failed)?;
    let (queue, waiting) = mpsc::unbounded_channel();
    let (pid, commands) = (shell.pid(), Mutex::default());
    tokio::spawn(shell.serve(waiting));
    sessions.insert(id.clone(), Arc::new(Session { id, directory, pid, commands, queue }));
    Ok(StatusCode::CREATED)
}

async fn list(State(toolbox): State<Shared>) -> Json<Vec<Described>> {
    Json(toolbox.sessions.all().values().map(|session| session.described()).collect())
}

async fn show(
    State(toolbox): State<Shared>,
    Path(session): Path<String>,
) -> Result<Json<Described>, Problem> {
    Ok(Json(toolbox.sessions.find(&session)?.described()))
}

async fn entrypoint() -> Json<Value> {
    let command = json!({ "id": "entrypoint_command", "command": "" });
    Json(json!({ "sessionId": ENTRYPOINT, "commands": [command] }))
}

async fn keep_entrypoint() -> Problem {
    Problem::bad_request("can't delete entrypoint session")
}

async fn entrypoint_logs(headers: HeaderMap, upgrade: MaybeUpgrade) -> Response {
    if let Ok(mut upgrade) = upgrade {
        websocket::choose(&mut upgrade);
        return upgrade.on_upgrade(|socket| websocket::close(socket, 1000, String::new()));
    }
    match Form::wanted(&headers) {
        Form::Json => Json(json!({ "output": "", "stdout": "", "stderr": "" })).into_response(),
        Form::Marked | Form::Plain => String::new().into_response(),
    }
}

async fn execute(
    State(toolbox): State<Shared>,
    Path(session): Path<String>,
    headers: HeaderMap,
    body::Json(request): body::Json<SessionExecute>,
) -> Result<Response, Problem> {
    if session == ENTRYPOINT {
        return Err(Problem::bad_request("can't execute command in entrypoint session"));
    }
    if request.command.trim().is_empty() {
        return Err(Problem::invalid_body("command is required"));
    }
    let session = toolbox.sessions.find(&session)?;
    let ended = || Problem::gone("SESSION_ENDED", "a command ended the session's shell");
    if session.queue.is_closed() {
        return Err(ended());
    }
    let later = request.run_async.unwrap_or_default();
    let echoes = !request.suppress_input_echo.unwrap_or_default();
    let directory = session.directory.clone();
    let command = blocking(move || {
        Command::create(&directory, request.command, later, echoes)
            .map_err(|err| Problem::internal(format_args!("create command: {}", go_words(&err))))
    });
    let command = Arc::new(command.await?);
    session.commands().push(Arc::clone(&command));
    if session.queue.send(Arc::clone(&command)).is_err() {
        command.finish(-1).await;
        return Err(ended());
    }
    if later {
        let executed = SessionExecuted { cmd_id: command.id.clone(), ..SessionExecuted::default() };
        return Ok((StatusCode::ACCEPTED, Json(executed)).into_response());
    }
    let exit_code = command.ended().await;
    Ok(logs::executed(command, Form::wanted(&headers), exit_code))
}

async fn show_command(
    State(toolbox): State<Shared>,
    Path((session, command)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let command = toolbox.sessions.find(&session)?.find(&command)?;
    Ok(Json(command.described()).into_response())
}

async fn show_logs(
    State(toolbox): State<Shared>,
    Path((session, command)): Path<(String, String)>,
    headers: HeaderMap,
    query: Query,
    upgrade: MaybeUpgrade,
) -> Result<Response, Problem> {
    let command = toolbox.sessions.find(&session)?.find(&command)?;
    let form = Form::wanted(&headers);
    let Ok(mut upgrade) = upgrade else { return Ok(logs::now(command, form)) };
    websocket::choose(&mut upgrade);
    let follow = query.text("follow") == Some("true");
    Ok(upgrade.on_upgrade(move |socket| logs::over_websocket(socket, command, form, follow)))
}

/// Body of `POST .../input`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Input {
    data: String,
}

async fn input(
    State(toolbox): State<Shared>,
    Path((session, command)): Path<(String, String)>,
    body::Json(Input { mut data }): body::Json<Input>,
) -> Result<StatusCode, Problem> {
    if session == ENTRYPOINT {
        return Err(Problem::bad_request("can't send input to entrypoint session"));
    }
    let command = toolbox.sessions.find(&session)?.find(&command)?;
    if data.is_empty() {
        return Err(Problem::bad_request("data is required"));
    }
    let finished = || Problem::gone("COMMAND_ALREADY_COMPLETED", "command has already completed");
    if command.exit_code().is_some() {
        return Err(finished());
    }
    if !command.takes_input {
        return Err(Problem::bad_request("a synchronous command takes no input"));
    }
    if !data.ends_with('\n') {
        data.push('\n');
    }
    let write = async {
        let mut input = command.input().await;
        let pipe =
            input.as_mut().ok_or_else(|| Problem::conflict("command has not started yet"))?;
        pipe.write_all(data.as_bytes()).await.map_err(|err| Problem::internal(go_words(&err)))
    };
    tokio::select! {
        written = tokio::time::timeout(PATIENCE, write) => {
            written.map_err(|_| Problem::conflict("command does not read its input"))??;
        }
        _ = command.ended() => return Err(finished()),
    }
    if command.echoes {
        command.append(Stream::Stdout, data.as_bytes());
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn delete(
    State(toolbox): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let session = toolbox.sessions.find(&id)?;
    // To the end also when the client leaves: half a deletion would leave processes nobody can name.
    tokio::spawn(async move {
        end(&session).await;
        let mut sessions = toolbox.sessions.all();
        if sessions.get(&id).is_some_and(|current| Arc::ptr_eq(current, &session)) {
            sessions.remove(&id);
            // Under the lock, so that a new session of this name keeps its files.
            if let Err(err) = std::fs::remove_dir_all(&session.directory) {
                tracing::debug!(%err, %id, "a session's files remain");
            }
        }
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a shell and all below it: asked first, then forced.
async fn end(session: &Session) {
    let mut known = processes::below(session.pid);
    let own = (!session.queue.is_closed()).then_some(session.pid);
    processes::signal_all(own.into_iter().chain(known.iter().copied()), Signal::TERM);
    let deadline = tokio::time::Instant::now() + GRACE;
    loop {
        // Those that are found later, and those that lost their parent in between.
        known = processes::alive(&known, session.pid);
        if session.queue.is_closed() && known.is_empty() {
            break;
        }
        if tokio::time::Instant::now() > deadline {
            let own = (!session.queue.is_closed()).then_some(session.pid);
            processes::signal_all(own.into_iter().chain(known), Signal::KILL);
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    let commands = session.commands().clone();
    for command in commands {
        // Bounded: the shell is dead, and its pipes are drained for a moment only.
        let _ = tokio::time::timeout(GRACE, command.ended()).await;
    }
}
