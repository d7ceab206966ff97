//! Downloads: one file, whole or in ranges, or many as one multipart answer.

use std::fmt::Write as _;
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use jiff::Timestamp;

use super::body::Json;
use super::error::{Problem, blocking};
use super::file_info::modified;
use super::multipart_out::{self, Out};
use super::paths::{Query, base, shown};
use super::ranges::{Wanted, wanted};
use super::server::Shared;
use crate::wire::files::BulkDownload;

/// The boundary of every bulk download.
const BOUNDARY: &str = "DAYTONA-FILE-BOUNDARY";
/// How a date looks in a header.
const HTTP_DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/files/download", get(download))
        .route("/files/bulk-download", post(bulk_download))
}

/// Opens what can be sent: regular files only. A pipe would wait for a writer, a device never ends.
fn open(path: &Path) -> Result<(File, Metadata), Problem> {
    let refused = |err| Problem::reading(&shown(path), &err);
    let kind = |meta: &Metadata| match (meta.is_file(), meta.is_dir()) {
        (true, _) => Ok(()),
        (_, true) => {
            Err(Problem::invalid_path(format_args!("{}: path is a directory", shown(path))))
        }
        _ => Err(Problem::invalid_path(format_args!("{}: not a regular file", shown(path)))),
    };
    kind(&std::fs::metadata(path).map_err(refused)?)?;
    // Not blocking, should the file have become a pipe meanwhile.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file =
        OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(refused)?;
    let meta = file.metadata().map_err(refused)?;
    kind(&meta)?;
    Ok((file, meta))
}

async fn download(
    State(toolbox): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let path = query.path("path")?;
    let target = toolbox.resolve(&path);
    let (file, meta) = blocking(move || open(&target)).await?;
    let changed = modified(&meta);
    let mut response = if not_modified(&headers, changed) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        content(file, meta.len(), &headers, changed)?
    };
    describe(response.headers_mut(), &path, changed);
    Ok(response)
}

fn content(
    mut file: File,
    size: u64,
    headers: &HeaderMap,
    changed: Timestamp,
) -> Result<Response, Problem> {
    let range = headers.get(header::RANGE).filter(|_| range_applies(headers, changed));
    let whole = (StatusCode::OK, vec![(0, size)]);
    let (status, pieces) = match range.map(|range| wanted(range.as_bytes(), size)) {
        None | Some(Wanted::Whole) => whole,
        Some(Wanted::Pieces(pieces)) => (StatusCode::PARTIAL_CONTENT, pieces),
        Some(Wanted::NoOverlap) => return Ok(unsatisfiable(Some(size))),
        Some(Wanted::Malformed) => return Ok(unsatisfiable(None)),
    };
    if let [(start, length)] = pieces[..] {
        let body = multipart_out::body(move |out| out.file(&mut file, start, length));
        let mut response = answer(status, "application/octet-stream", length, body);
        if status == StatusCode::PARTIAL_CONTENT {
            set(response.headers_mut(), header::CONTENT_RANGE, &content_range(start, length, size));
        }
        return Ok(response);
    }
    let boundary = uuid::Uuid::new_v4().simple().to_string();
    let heads: Vec<String> = pieces
        .iter()
        .enumerate()
        .map(|(i, (start, length))| {
            let range = content_range(*start, *length, size);
            let line = if i == 0 { "" } else { "\r\n" };
            format!(
                "{line}--{boundary}\r\nContent-Range: {range}\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            )
        })
        .collect();
    let tail = format!("\r\n--{boundary}--\r\n");
    let sizes =
        heads.iter().map(|h| h.len() as u64).chain(pieces.iter().map(|(_, length)| *length));
    let total = sizes.sum::<u64>() + tail.len() as u64;
    let body = multipart_out::body(move |out| {
        for (head, (start, length)) in heads.into_iter().zip(pieces) {
            out.bytes(head)?;
            out.file(&mut file, start, length)?;
        }
        out.bytes(tail)
    });
    Ok(answer(status, &format!("multipart/byteranges; boundary={boundary}"), total, body))
}

fn answer(status: StatusCode, kind: &str, length: u64, body: Body) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}

fn unsatisfiable(size: Option<u64>) -> Response {
    let words = if size.is_some() { "invalid range: failed to overlap" } else { "invalid range" };
    let problem = Problem::bad_request(words).with_status(StatusCode::RANGE_NOT_SATISFIABLE);
    let mut response = problem.into_response();
    if let Some(size) = size {
        set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{size}"));
    }
    response
}

fn content_range(start: u64, length: u64, size: u64) -> String {
    format!("bytes {start}-{}/{size}", start + length - 1)
}

/// The headers that do not depend on the range.
fn describe(headers: &mut HeaderMap, path: &Path, changed: Timestamp) {
    let name = disposition("attachment", None, base(path).as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&name) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    set(headers, header::LAST_MODIFIED, &changed.strftime(HTTP_DATE).to_string());
    set(headers, header::CACHE_CONTROL, "must-revalidate");
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether the client already has this state, to the second.
fn not_modified(headers: &HeaderMap, changed: Timestamp) -> bool {
    let since = date(headers, &header::IF_MODIFIED_SINCE);
    since.is_some_and(|since| changed.as_second() <= since.as_second())
}

/// Whether `If-Range`, if there is one, names this state.
fn range_applies(headers: &HeaderMap, changed: Timestamp) -> bool {
    !headers.contains_key(header::IF_RANGE)
        || date(headers, &header::IF_RANGE).is_some_and(|d| d.as_second() == changed.as_second())
}

fn date(headers: &HeaderMap, name: &header::HeaderName) -> Option<Timestamp> {
    let text = headers.get(name)?.to_str().ok()?;
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())
}

/// `Content-Disposition` with the name twice: in Latin-1 for the old, exact for the rest.
fn disposition(kind: &str, name: Option<&str>, file: &[u8]) -> Vec<u8> {
    let mut text = kind.as_bytes().to_vec();
    if let Some(name) = name {
        text.extend_from_slice(format!("; name=\"{name}\"").as_bytes());
    }
    text.extend_from_slice(b"; filename=\"");
    for letter in String::from_utf8_lossy(file).chars() {
        match u8::try_from(u32::from(letter)) {
            Ok(b'"' | b'\\') => text.extend([b'\\', letter as u8]),
            Ok(0..=31 | 127..=159) => {}
            Ok(latin1) => text.push(latin1),
            Err(_) => text.push(b'_'),
        }
    }
    text.extend_from_slice(b"\"; filename*=utf-8''");
    text.extend_from_slice(percent(file).as_bytes());
    text
}

fn percent(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(*byte));
            }
            _ => {
                // Writing to a text does not fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

async fn bulk_download(
    State(toolbox): State<Shared>,
    body: Result<Json<BulkDownload>, Problem>,
) -> Result<Response, Problem> {
    let paths = match body {
        Ok(Json(BulkDownload { paths })) if !paths.is_empty() => paths,
        _ => {
            let what = "request body must be {\"paths\": [ ... ]} and non-empty";
            return Err(Problem::bad_request(what));
        }
    };
    let body = multipart_out::body(move |out| {
        for (i, path) in paths.iter().enumerate() {
            out.bytes(format!("{}--{BOUNDARY}\r\n", if i == 0 { "" } else { "\r\n" }))?;
            part(out, path, toolbox.resolve(Path::new(path)))?;
        }
        out.bytes(format!("\r\n--{BOUNDARY}--\r\n"))
    });
    let mut response = body.into_response();
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    set(response.headers_mut(), header::CONTENT_TYPE, &kind);
    Ok(response)
}

fn part(out: &Out, path: &str, target: PathBuf) -> std::io::Result<()> {
    let opened =
        if path.is_empty() { Err(Problem::invalid_path("empty path")) } else { open(&target) };
    let (name, kind) = match &opened {
        Ok(_) => ("file", content_type(path)),
        Err(_) => ("error", "application/json; charset=utf-8"),
    };
    let mut head = b"Content-Disposition: ".to_vec();
    head.extend(disposition("form-data", Some(name), path.as_bytes()));
    head.extend(format!("\r\nContent-Type: {kind}\r\n").as_bytes());
    match opened {
        Ok((mut file, meta)) => {
            head.extend(format!("Content-Length: {}\r\n\r\n", meta.len()).as_bytes());
            out.bytes(head)?;
            out.file(&mut file, 0, meta.len())
        }
        Err(problem) => {
            head.extend(b"\r\n");
            out.bytes(head)?;
            out.bytes(serde_json::to_vec(&problem.body(path, "POST"))?)
        }
    }
}

/// A guess from the extension; clients ignore it.
fn content_type(path: &str) -> &'static str {
    match Path::new(path).extension().and_then(|e| e.to_str()) {
        Some("txt" | "log") => "text/plain; charset=utf-8",
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("svg") => "image/svg+xml",
        Some("pdf") => "application/pdf",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_headers() {
        let text = disposition("attachment", None, "ü \"日\n".as_bytes());
        let expected =
            b"attachment; filename=\"\xfc \\\"_\"; filename*=utf-8''%C3%BC%20%22%E6%97%A5%0A";
        assert_eq!(text, expected);
        let text = disposition("form-data", Some("file"), b"/w/a");
        assert_eq!(text, b"form-data; name=\"file\"; filename=\"/w/a\"; filename*=utf-8''%2Fw%2Fa");
    }

    #[test]
    fn dates_there_and_back() {
        let time: Timestamp = "2026-11-21T04:20:31.5Z".parse().unwrap();
        let text = time.strftime(HTTP_DATE).to_string();
        assert_eq!(text, "Sat, 21 Nov 2026 04:20:31 GMT");
        let mut headers = HeaderMap::new();
        set(&mut headers, header::IF_MODIFIED_SINCE, &text);
        set(&mut headers, header::IF_RANGE, &text);
        assert!(not_modified(&headers, time));
        assert!(range_applies(&headers, time));
        let later: Timestamp = "2026-11-21T04:20:32Z".parse().unwrap();
        assert!(!not_modified(&headers, later));
        assert!(!range_applies(&headers, later));
    }
}
