//! `POST /process/execute` and `/process/code-run`: one command, its output in one answer.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{PipeReader, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::body::Json;
use super::environment::{self, Variables};
use super::error::{Problem, go_words};
use super::processes;
use super::server::Shared;
use crate::wire::process::{Execute, Executed};

/// The most output one answer carries, in bytes. Of more, the first and the last half are kept, with a
/// line between them that says how much is missing. Daytona has no limit and holds everything in memory.
pub const MOST_OUTPUT: usize = 64 << 20;
/// How long the pipe must stay silent after the shell's end before a background child that still holds
/// it is left alone.
const SILENCE: Duration = Duration::from_millis(200);
/// How long such a child is listened to at most, if it never falls silent.
const CHATTER: Duration = Duration::from_secs(2);

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/process/execute", post(execute))
        .route("/process/code-run", post(code_run))
}

async fn execute(
    State(toolbox): State<Shared>,
    Json(request): Json<Execute>,
) -> Result<Response, Problem> {
    if request.command.trim().is_empty() {
        return Err(Problem::bad_request("command cannot be empty or whitespace-only"));
    }
    let mut variables = toolbox.variables();
    if let Err(answer) = add_variables(&mut variables, request.envs)? {
        return Ok(answer);
    }
    let shell = environment::shell(&variables);
    let cwd = request.cwd.filter(|cwd| !cwd.is_empty());
    let directory = toolbox.resolve(Path::new(cwd.as_deref().unwrap_or_default()));
    let mut command = Command::new(&shell);
    command.env_clear().envs(variables).current_dir(directory);
    let job = Job { command, input: request.command.into_bytes(), seconds: request.timeout };
    match run(job).await? {
        Ok(executed) => Ok(answer(executed)),
        Err(err) => {
            let result = format!("fork/exec {}: {}", shell.display(), go_words(&err));
            Ok(answer(Executed { exit_code: -1, result }))
        }
    }
}

fn answer(executed: Executed) -> Response {
    axum::Json(executed).into_response()
}

/// Adds a request's variables. The inner error is an answer that is no refusal on this wire.
fn add_variables(
    variables: &mut Variables,
    envs: Option<BTreeMap<String, String>>,
) -> Result<Result<(), Response>, Problem> {
    for (name, value) in envs.unwrap_or_default() {
        if !environment::is_name(&name) {
            let message = format!("invalid environment variable name: '{name}'");
            return Err(Problem::bad_request(message));
        }
        if value.contains('\0') {
            let result = "exec: environment variable contains NUL".to_owned();
            return Ok(Err(answer(Executed { exit_code: -1, result })));
        }
        variables.insert(name.into(), value.into());
    }
    Ok(Ok(()))
}

/// Body of `POST /process/code-run`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CodeRun {
    code: String,
    language: String,
    argv: Option<Vec<String>>,
    envs: Option<BTreeMap<String, String>>,
    timeout: Option<u32>,
}

async fn code_run(
    State(toolbox): State<Shared>,
    Json(request): Json<CodeRun>,
) -> Result<Response, Problem> {
    for (field, value) in [("code", &request.code), ("language", &request.language)] {
        if value.is_empty() {
            return Err(Problem::invalid_body(format_args!("{field} is required")));
        }
    }
    let (program, options): (_, &[&str]) = match request.language.as_str() {
        "python" => ("python3", &["-u", "-"]),
        "javascript" => ("node", &["-"]),
        "typescript" => ("ts-node", &["-"]),
        other => return Err(Problem::bad_request(format_args!("unsupported language: {other}"))),
    };
    let mut variables = toolbox.variables();
    if let Err(answer) = add_variables(&mut variables, request.envs)? {
        return Ok(answer);
    }
    let mut command = Command::new(program);
    command.args(options).args(request.argv.unwrap_or_default());
    command.env_clear().envs(variables).current_dir(&toolbox.work_dir);
    let job = Job { command, input: request.code.into_bytes(), seconds: request.timeout };
    match run(job).await? {
        Ok(executed) => Ok(answer(executed)),
        // The words and the number of a shell that does not find it.
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            let result = format!("{program}: command not found\n");
            Ok(answer(Executed { exit_code: 127, result }))
        }
        Err(err) => Ok(answer(Executed { exit_code: -1, result: go_words(&err) })),
    }
}

/// A command that can be started, and what it reads.
struct Job {
    command: Command,
    input: Vec<u8>,
    seconds: Option<u32>,
}

/// Runs to the end, also when the client leaves. The inner error: it could not be started.
async fn run(job: Job) -> Result<std::io::Result<Executed>, Problem> {
    let limit = job.seconds.filter(|seconds| *seconds > 0);
    tokio::spawn(async move {
        let (mut child, output) = match start(job) {
            Ok(started) => started,
            Err(err) => return Ok(Err(err)),
        };
        let ended = until_end(&mut child, output);
        match limit {
            None => Ok(ended.await),
            Some(seconds) => {
                let limit = Duration::from_secs(seconds.into());
                match tokio::time::timeout(limit, ended).await {
                    Ok(executed) => Ok(executed),
                    Err(_) => {
                        processes::kill_group(&child);
                        // Not waited for: the answer is known. The child is reaped when it is dropped.
                        Err(timed_out())
                    }
                }
            }
        }
    })
    .await?
}

fn timed_out() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "PROCESS_EXECUTION_TIMEOUT",
        "request timeout: command execution timeout",
    )
}

fn start(job: Job) -> std::io::Result<(Child, pipe::Receiver)> {
    let Job { mut command, input, .. } = job;
    let (reader, writer): (PipeReader, _) = std::io::pipe()?;
    command.stdin(readable(&input)?).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let child = command.spawn()?;
    // The command holds copies of the writing ends, without which the pipe would never end.
    drop(command);
    Ok((child, pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?))
}

/// What a command reads, as a file in memory: from a pipe shells take one byte with each system call, lest
/// they swallow what a command of theirs is to read.
fn readable(input: &[u8]) -> std::io::Result<Stdio> {
    let mut file = File::from(memfd_create("command", MemfdFlags::CLOEXEC)?);
    file.write_all(input)?;
    file.rewind()?;
    Ok(file.into())
}

async fn until_end(child: &mut Child, mut output: pipe::Receiver) -> std::io::Result<Executed> {
    let mut kept = Kept::default();
    let mut buffer = vec![0; 64 << 10];
    let mut open = true;
    let status = loop {
        tokio::select! {
            biased;
            read = output.read(&mut buffer), if open => match read {
                Ok(0) | Err(_) => open = false,
                Ok(n) => kept.add(&buffer[..n]),
            },
            status = child.wait() => break status?,
        }
    };
    if open && still_open(&mut output, &mut buffer, &mut kept).await {
        // Whoever holds the pipe now outlives the command; without a reader a write would kill it.
        tokio::spawn(async move { while matches!(output.read(&mut buffer).await, Ok(1..)) {} });
    }
    Ok(Executed { exit_code: status.code().unwrap_or(-1), result: kept.text() })
}

/// Reads what is left after the shell's end; says whether somebody still holds the pipe.
async fn still_open(output: &mut pipe::Receiver, buffer: &mut [u8], kept: &mut Kept) -> bool {
    let until = tokio::time::Instant::now() + CHATTER;
    loop {
        match tokio::time::timeout(SILENCE, output.read(buffer)).await {
            Ok(Ok(0) | Err(_)) => return false,
            Ok(Ok(n)) => kept.add(&buffer[..n]),
            Err(_) => return true,
        }
        if tokio::time::Instant::now() > until {
            return true;
        }
    }
}

/// Output within a limit: its beginning and its end.
#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    lost: u64,
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) {
        let room = (MOST_OUTPUT / 2).saturating_sub(self.head.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(MOST_OUTPUT / 2);
        self.tail.drain(..over);
        self.lost += over as u64;
    }

    fn text(mut self) -> String {
        if self.lost > 0 {
            let note = format!("\n[{} bytes of output left out here]\n", self.lost);
            self.head.extend_from_slice(note.as_bytes());
        }
        let (a, b) = self.tail.as_slices();
        self.head.extend_from_slice(a);
        self.head.extend_from_slice(b);
        String::from_utf8(self.head)
            .unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_kept_up_to_the_limit() {
        let mut kept = Kept::default();
        for i in 0..70u8 {
            kept.add(&vec![b'0' + i % 10; 1 << 20]);
        }
        let text = kept.text();
        assert!(text.starts_with('0') && text.ends_with('9'));
        assert!(text.contains("[6291456 bytes of output left out here]"));
        assert!(text.len() < MOST_OUTPUT + 100);
    }

    #[test]
    fn small_output_is_whole() {
        let mut kept = Kept::default();
        kept.add(b"a\xe2\x82");
        kept.add(b"\xac\xff");
        assert_eq!(kept.text(), "a\u{20ac}\u{fffd}");
    }
}
