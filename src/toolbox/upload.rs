//! Uploads: bodies go to disk as they arrive.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::multipart::Field;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::StreamExt;
use serde_json::json;

use super::error::{Problem, blocking, go_words};
use super::file_info::file_info;
use super::paths::{Query, base, shown};
use super::server::{Shared, Toolbox};
use super::staging::{Staged, StagingError};
use crate::wire::files::{BulkUpload, Uploaded};

/// How many chunks of an upload wait for the disk.
const AHEAD: usize = 4;
/// Most bytes read after the last part, and how long they may take.
const LONGEST_REST: usize = 1 << 20;
const REST_DEADLINE: Duration = Duration::from_secs(5);
/// The longest destination.
const LONGEST_PATH: usize = 64 << 10;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/files/upload", post(upload))
        .route("/files/upload-v2", post(upload_v2))
        .route("/files/bulk-upload", post(bulk_upload))
        .layer(axum::middleware::from_fn(read_to_its_end))
}

/// Reads what follows the last part before the answer goes out. With bytes still on their way the
/// connection would be closed under the sender, who then sees a broken pipe instead of the answer.
async fn read_to_its_end(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let body = Arc::new(Mutex::new(body.into_data_stream()));
    let shared = body.clone();
    let stream = futures_util::stream::poll_fn(move |cx| {
        shared.lock().unwrap_or_else(PoisonError::into_inner).poll_next_unpin(cx)
    });
    let response = next.run(Request::from_parts(head, Body::from_stream(stream))).await;
    let mut rest = futures_util::stream::poll_fn(move |cx| {
        body.lock().unwrap_or_else(PoisonError::into_inner).poll_next_unpin(cx)
    });
    let drain = async {
        let mut left = LONGEST_REST;
        while let Some(Ok(chunk)) = rest.next().await {
            // A refused upload may be endless.
            let Some(less) = left.checked_sub(chunk.len()) else { break };
            left = less;
        }
    };
    let _ = tokio::time::timeout(REST_DEADLINE, drain).await;
    response
}

/// Writes a file on a blocking thread while its chunks arrive here.
struct Writer {
    chunks: tokio::sync::mpsc::Sender<Bytes>,
    done: tokio::task::JoinHandle<Result<u64, StagingError>>,
}

impl Writer {
    /// `complete` is sent when all chunks were handed over: without it, nothing takes the file's place.
    fn start(path: PathBuf, parents: u32) -> (Self, tokio::sync::oneshot::Sender<()>) {
        let (chunks, mut arriving) = tokio::sync::mpsc::channel::<Bytes>(AHEAD);
        let (complete, completed) = tokio::sync::oneshot::channel();
        let done = tokio::task::spawn_blocking(move || {
            let mut staged = Staged::open(&path, parents)?;
            let mut written = 0;
            while let Some(chunk) = arriving.blocking_recv() {
                let file = staged.file();
                std::io::Write::write_all(file, &chunk).map_err(StagingError::Write)?;
                written += chunk.len() as u64;
            }
            if completed.blocking_recv().is_err() {
                return Err(StagingError::Write(std::io::Error::other("unexpected EOF")));
            }
            staged.commit()?;
            Ok(written)
        });
        (Self { chunks, done }, complete)
    }

    async fn finish(self) -> Result<u64, StagingError> {
        drop(self.chunks);
        self.done.await.unwrap_or_else(|err| Err(StagingError::Write(std::io::Error::other(err))))
    }
}

/// Writes one part. Reads it to its end also when the file fails, so that the next part can follow.
/// The outer error is the stream's: nothing more will come.
async fn store(
    field: &mut Field<'_>,
    path: &Path,
    parents: u32,
) -> (Result<u64, StagingError>, Result<(), String>) {
    let (writer, complete) = Writer::start(path.to_owned(), parents);
    let mut stream = Ok(());
    loop {
        match field.chunk().await {
            Ok(None) => {
                // A writer that failed no longer listens, and says why below.
                let _ = complete.send(());
                break;
            }
            Ok(Some(chunk)) => {
                let _ = writer.chunks.send(chunk).await;
            }
            Err(err) => {
                drop(complete);
                stream = Err(err.body_text());
                break;
            }
        }
    }
    (writer.finish().await, stream)
}

async fn bulk_upload(State(toolbox): State<Shared>, request: Request) -> Response {
    let Ok(parts) = Multipart::from_request(request, &()).await else {
        return bulk_answer(&["invalid multipart form".to_owned()], None);
    };
    let (errors, files) = receive(&toolbox, parts).await;
    let files = (!files.is_empty()).then_some(files);
    if errors.is_empty() {
        return Json(BulkUpload { files, errors: None }).into_response();
    }
    bulk_answer(&errors, Some(files))
}

fn bulk_answer(errors: &[String], files: Option<Option<Vec<Uploaded>>>) -> Response {
    let mut body = json!({
        "errors": errors, "statusCode": 400, "message": errors.join("; "), "code": "BAD_REQUEST",
        "source": "DAYTONA_DAEMON",
    });
    if let Some(files) = files {
        body["files"] = json!(files);
    }
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

/// Takes `files[i].path` and `files[i].file` parts; a path must come before its file.
async fn receive(toolbox: &Toolbox, mut parts: Multipart) -> (Vec<String>, Vec<Uploaded>) {
    let (mut errors, mut files) = (Vec::new(), Vec::new());
    let mut paths: BTreeMap<String, PathBuf> = BTreeMap::new();
    loop {
        let mut field = match parts.next_field().await {
            Ok(Some(field)) => field,
            Ok(None) => break,
            Err(err) => {
                errors.push(format!("reading part: {}", err.body_text()));
                break;
            }
        };
        let Some((index, kind)) = field.name().and_then(part_name) else { continue };
        match kind {
            Kind::Path => match text(&mut field).await {
                Ok(path) if path.is_empty() => errors.push(format!("path[{index}]: empty path")),
                Ok(path) => {
                    paths.insert(index, PathBuf::from(OsString::from_vec(path)));
                }
                Err(why) => errors.push(format!("path[{index}]: {why}")),
            },
            Kind::File => {
                let Some(path) = paths.remove(&index) else {
                    errors.push(format!("file[{index}]: missing .path metadata"));
                    continue;
                };
                let (stored, stream) = store(&mut field, &toolbox.resolve(&path), 0o755).await;
                match stored {
                    Ok(bytes) => files.push(Uploaded { path: shown(&path), bytes }),
                    Err(err) => errors.push(format!("{}: {err}", path.display())),
                }
                if let Err(why) = stream {
                    errors.push(format!("reading part: {why}"));
                    break;
                }
            }
        }
    }
    (errors, files)
}

#[derive(Debug, PartialEq)]
enum Kind {
    Path,
    File,
}

/// Takes `files[INDEX].path` apart; the index is any text.
fn part_name(name: &str) -> Option<(String, Kind)> {
    let (index, kind) = name.strip_prefix("files[")?.rsplit_once("].")?;
    let kind = match kind {
        "path" => Kind::Path,
        "file" => Kind::File,
        _ => return None,
    };
    Some((index.to_owned(), kind))
}

/// A short part, without white space around it.
async fn text(field: &mut Field<'_>) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|err| err.body_text())? {
        if text.len() + chunk.len() > LONGEST_PATH {
            return Err("path too long".to_owned());
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text.trim_ascii().to_vec())
}

/// The single upload of 0.190: the answer is empty.
async fn upload(
    State(toolbox): State<Shared>,
    query: Query,
    request: Request,
) -> Result<StatusCode, Problem> {
    let path = query.path("path")?;
    one_part(&toolbox.resolve(&path), 0o750, request).await?;
    Ok(StatusCode::OK)
}

/// The single upload of the new generation: a multipart `file` or the raw body.
async fn upload_v2(
    State(toolbox): State<Shared>,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let path = query.path("path")?;
    let target = toolbox.resolve(&path);
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data")) {
        one_part(&target, 0o755, request).await?;
    } else {
        raw_body(&target, request).await?;
    }
    let info = blocking(move || {
        let meta =
            std::fs::metadata(&target).map_err(|err| Problem::reading(&shown(&target), &err))?;
        Ok(file_info(&target, &meta))
    })
    .await?;
    let name = base(&path).to_string_lossy().into_owned();
    let kind = if info.is_dir { "directory" } else { "file" };
    Ok(Json(json!({ "name": name, "path": shown(&path), "type": kind })).into_response())
}

async fn one_part(target: &Path, parents: u32, request: Request) -> Result<(), Problem> {
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|err| Problem::bad_request(err.body_text()))?;
    let mut stored = None;
    while let Some(mut field) =
        parts.next_field().await.map_err(|err| Problem::bad_request(err.body_text()))?
    {
        if field.name() == Some("file") && stored.is_none() {
            let (result, stream) = store(&mut field, target, parents).await;
            stream.map_err(Problem::bad_request)?;
            stored = Some(result);
        }
    }
    match stored {
        Some(result) => result.map(|_| ()).map_err(|err| refused(target, &err)),
        None => Err(Problem::bad_request("http: no such file")),
    }
}

async fn raw_body(target: &Path, request: Request) -> Result<(), Problem> {
    let (writer, complete) = Writer::start(target.to_owned(), 0o755);
    let mut chunks = request.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => {
                let _ = writer.chunks.send(chunk).await;
            }
            Err(err) => return Err(Problem::bad_request(err)),
        }
    }
    let _ = complete.send(());
    writer.finish().await.map(|_| ()).map_err(|err| refused(target, &err))
}

fn refused(target: &Path, err: &StagingError) -> Problem {
    let words = format!("bad request: {}: {}", shown(target), go_words(err.io()));
    let code = Problem::reading("", err.io()).code();
    Problem::new(StatusCode::BAD_REQUEST, code, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts() {
        assert_eq!(part_name("files[0].path"), Some(("0".into(), Kind::Path)));
        assert_eq!(part_name("files[a].b].file"), Some(("a].b".into(), Kind::File)));
        assert_eq!(part_name("files[].file"), Some((String::new(), Kind::File)));
        for other in ["file", "files[0]", "files[0].size", "files0.path"] {
            assert_eq!(part_name(other), None);
        }
    }
}
