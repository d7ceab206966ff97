//! The toolbox answers recorded requests in the recorded shape: status, names and types of fields, headers
//! that mean something, close codes and reasons. What is listed as `IMPROVED` differs on purpose. Extra
//! fields are those of the newer generation.
//!
//! Left out of the recordings: what depends on another user's files, on directories shared with the machine,
//! or on certain ports.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what fails here fails its test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::toolbox::ToolboxUnderTest;
use crate::support::unix_http::{Answer, Heard, Socket, listen};

/// Requests whose status differs, by method and label: ours, and why.
const IMPROVED: &[(&str, &str, u16, &str)] = &[
    // Endpoints of the newer generation.
    ("GET", "/system/metrics", 200, "new"),
    ("POST", "env (new generation only)", 200, "new"),
    ("POST", "upload-v2 (new generation only)", 200, "new"),
    ("HEAD", "HEAD", 200, "a GET route can be asked for its head"),
    // A name is bytes.
    ("GET", "non-UTF-8 percent-encoding", 200, "such a file can be downloaded"),
    // Links that lead nowhere are files of their own.
    ("DELETE", "dangling link", 204, "can be deleted"),
    ("DELETE", "dangling link recursive", 404, "gone already: the request before could delete it"),
    ("DELETE", "loop link", 204, "can be deleted"),
    ("POST", "dangling symlink", 200, "can be moved"),
    ("POST", "dir into itself", 400, "refused instead of destroyed"),
    // Sessions and terminals whose ids nobody could have used again.
    ("POST", "odd id", 400, "refused at once"),
    ("POST", "id with ..", 400, "refused at once"),
    (
        "POST",
        "create {\"envs\":{\"A\":\"x\\u0000y\"}}",
        400,
        "the request is wrong, not the server",
    ),
    ("POST", "resize lazy, not started", 200, "kept for the start"),
    // The kind of a failure survives.
    ("POST", "echo", 404, "an unknown session"),
];

#[derive(Deserialize)]
struct Exchange {
    label: String,
    #[serde(default)]
    websocket: bool,
    #[serde(default)]
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    #[serde(default)]
    body_base64: bool,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    answer_headers: BTreeMap<String, String>,
    answer: Option<String>,
    #[serde(default)]
    send: Vec<String>,
    #[serde(default)]
    first: String,
    close: Option<(u16, String)>,
}

/// The recorded paths live in the toolbox's home here.
struct Replay {
    toolbox: ToolboxUnderTest,
    /// Recorded ids of commands, and ours.
    ids: BTreeMap<String, String>,
}

fn exchanges(name: &str) -> Vec<Exchange> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire/toolbox").join(name);
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Replay {
    fn start() -> Self {
        let toolbox = ToolboxUnderTest::start();
        fs::create_dir(toolbox.home.join("workspace")).unwrap();
        fs::create_dir_all(toolbox.home.join(".daytona/sessions")).unwrap();
        Self { toolbox, ids: BTreeMap::new() }
    }

    fn here(&self, text: &str) -> String {
        let workspace = self.toolbox.at("workspace");
        let mut text = text.replace("/workspace", &workspace);
        text = text.replace("%2Fworkspace", &workspace.replace('/', "%2F"));
        for (recorded, ours) in &self.ids {
            text = text.replace(recorded, ours);
        }
        text
    }

    fn there(&self, text: &str) -> String {
        let home = self.toolbox.home.to_str().unwrap();
        text.replace(&self.toolbox.at("workspace"), "/workspace").replace(home, "/home/daytona")
    }

    fn body(&self, exchange: &Exchange) -> Vec<u8> {
        match &exchange.body {
            None => Vec::new(),
            Some(text) if exchange.body_base64 => {
                let bytes = STANDARD.decode(text).unwrap();
                let at = bytes.windows(10).position(|w| w == b"/workspace").unwrap();
                [&bytes[..at], self.toolbox.at("workspace").as_bytes(), &bytes[at + 10..]].concat()
            }
            Some(text) => self.here(text).into_bytes(),
        }
    }

    async fn send(&self, exchange: &Exchange) -> Answer {
        let headers: Vec<_> =
            exchange.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let path = self.here(&exchange.path);
        let body = Body::from(self.body(exchange));
        self.toolbox.http.call(&exchange.method, &path, &headers, body).await
    }

    /// The recordings were made with bash; other shells have other words and codes.
    async fn has_bash(&self) -> bool {
        let asked = json!({ "command": "echo $BASH_VERSION" });
        self.toolbox.http.post("/process/execute", asked).await.json()["result"] != "\n"
    }

    /// Replays one request and compares; gives the answer for more.
    async fn compare(&mut self, exchange: &Exchange) -> Answer {
        let label = format!("{} {} [{}]", exchange.method, exchange.path, exchange.label);
        let answer = self.send(exchange).await;
        let improved = IMPROVED
            .iter()
            .find(|(method, name, ..)| *name == exchange.label && *method == exchange.method);
        let expected = improved.map_or(exchange.status, |(_, _, status, _)| *status);
        assert_eq!(answer.status, expected, "{label}: {}", String::from_utf8_lossy(&answer.body));
        if answer.status >= 400 && exchange.method != "HEAD" {
            error_body(&label, exchange, &answer.json());
            return answer;
        }
        if improved.is_none() {
            self.compare_success(&label, exchange, &answer);
        }
        answer
    }

    fn compare_success(&mut self, label: &str, exchange: &Exchange, answer: &Answer) {
        for (name, value) in &exchange.answer_headers {
            match name.as_str() {
                "location" => assert!(answer.headers.contains_key("location"), "{label}"),
                "content-type" if value.starts_with("application/json") => {
                    assert!(answer.header(name).starts_with("application/json"), "{label}");
                }
                "content-type" if value.contains("boundary=") => {
                    let kind = value.split(';').next().unwrap();
                    assert!(answer.header(name).starts_with(kind), "{label}");
                }
                "content-type" if answer.status == 301 => {}
                "content-disposition" => {
                    let ours = answer.headers[name].as_bytes();
                    let recorded: Vec<u8> = value.chars().map(|c| c as u8).collect();
                    assert_eq!(ours, recorded, "{label}");
                }
                _ => assert_eq!(answer.header(name), value, "{label}: {name}"),
            }
        }
        let Some(recorded) = &exchange.answer else { return };
        match serde_json::from_str::<Value>(recorded) {
            Ok(recorded) => {
                let ours = answer.json();
                if let (Some(id), Some(own)) = (recorded["cmdId"].as_str(), ours["cmdId"].as_str())
                {
                    self.ids.insert(id.to_owned(), own.to_owned());
                }
                same_shape(label, &recorded, &ours);
            }
            Err(_) if recorded.contains("Moved Permanently") => {}
            Err(_) if recorded.starts_with("--") => {}
            Err(_) => assert_eq!(order_free(&answer.text()), order_free(recorded), "{label}"),
        }
    }
}

/// Letters in any order: that of two streams is nobody's promise. Without markers, which depend on it, and
/// without newlines: 0.190 adds one to each stream's last line, we keep what was printed.
fn order_free(text: &str) -> Vec<char> {
    let mut letters: Vec<_> = text.chars().filter(|c| !"\u{1}\u{2}\n".contains(*c)).collect();
    letters.sort_unstable();
    letters
}

/// Every recorded field is there, with its type; lists by their first items.
fn same_shape(label: &str, recorded: &Value, ours: &Value) {
    match (recorded, ours) {
        (Value::Object(recorded), Value::Object(ours)) => {
            for (name, value) in recorded {
                let own = ours.get(name).unwrap_or_else(|| panic!("{label}: no `{name}`"));
                same_shape(&format!("{label}.{name}"), value, own);
            }
        }
        (Value::Array(recorded), Value::Array(ours)) => {
            if let (Some(recorded), Some(ours)) = (recorded.first(), ours.first()) {
                same_shape(&format!("{label}[0]"), recorded, ours);
            }
        }
        _ => assert_eq!(
            std::mem::discriminant(recorded),
            std::mem::discriminant(ours),
            "{label}: {recorded} became {ours}"
        ),
    }
}

/// Where 0.190 has an empty body, a text, or another shape, ours is always the same and whole.
fn error_body(label: &str, exchange: &Exchange, ours: &Value) {
    assert_eq!(ours["source"], "DAYTONA_DAEMON", "{label}");
    let bulk = exchange.path == "/files/bulk-upload";
    let names: &[&str] = if bulk {
        &["statusCode", "message", "code", "errors"]
    } else {
        &["statusCode", "message", "code", "timestamp", "path", "method", "error"]
    };
    for name in names {
        assert!(!ours[name].is_null(), "{label}: no `{name}`");
    }
    let recorded = exchange.answer.as_deref().and_then(|text| serde_json::from_str(text).ok());
    if let Some(mut recorded) = recorded {
        // Errors wrapped once more have no path.
        same_shape(label, &Value::take(&mut recorded), ours);
    }
}

#[tokio::test]
async fn files() {
    let mut replay = Replay::start();
    lay_out(&replay.toolbox.home.join("workspace"));
    for exchange in exchanges("files.jsonl") {
        prepare(&replay.toolbox.home.join("workspace"), &exchange.label);
        let answer = replay.compare(&exchange).await;
        let recorded = exchange.answer.as_deref().unwrap_or_default();
        if exchange.path.starts_with("/files/find") || exchange.path.starts_with("/files/replace") {
            if answer.status == 200 {
                assert_eq!(replay.there(&answer.text()), recorded, "{}", exchange.label);
            }
        } else if exchange.path == "/files/bulk-upload" && answer.status == 200 {
            let ours: Value = serde_json::from_str(&replay.there(&answer.text())).unwrap();
            assert_eq!(
                ours,
                serde_json::from_str::<Value>(recorded).unwrap(),
                "{}",
                exchange.label
            );
        } else if exchange.path.starts_with("/files/info") && answer.status == 200 {
            let recorded: Value = serde_json::from_str(recorded).unwrap();
            for name in ["name", "mode", "permissions", "isDir"] {
                assert_eq!(answer.json()[name], recorded[name], "{}.{name}", exchange.label);
            }
        }
    }
}

/// What the recorded requests find.
fn lay_out(dir: &Path) {
    for name in ["d", "sticky", "sub", "with space", "mvd", "del", "delempty", "mvdir"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    fs::set_permissions(dir.join("sticky"), PermissionsExt::from_mode(0o1777)).unwrap();
    let long = format!("{}\nneedle\n", "x".repeat(70_000));
    let find = "l1 needle\nother\nneedle Needle\n";
    for (name, content) in [
        ("a.txt", "hello\n"),
        ("d/inner.txt", "inner\n"),
        ("empty", ""),
        ("exec.sh", ""),
        ("old", ""),
        ("ten", "0123456789\n"),
        ("sub/find.txt", find),
        ("sub/bin.dat", "\0needle"),
        ("sub/longline", &long),
        ("delf", "x"),
        ("del/f", "x"),
        ("mv1", "mv1\n"),
        ("mv2", "mv2\n"),
        ("mvdir/f", "x"),
        ("pm", "x\n"),
        ("rp1", "aXbX\n"),
        ("rp2", "X"),
    ] {
        fs::write(dir.join(name), content).unwrap();
        fs::set_permissions(dir.join(name), PermissionsExt::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(dir.join("exec.sh"), PermissionsExt::from_mode(0o755)).unwrap();
    let old: std::time::SystemTime =
        "2020-02-29T12:34:56.123456789Z".parse::<jiff::Timestamp>().unwrap().into();
    fs::File::open(dir.join("old")).unwrap().set_modified(old).unwrap();
    for (to, name) in [
        ("a.txt", "lf"),
        ("d", "ld"),
        ("nowhere", "dang"),
        ("loop2", "loop1"),
        ("loop1", "loop2"),
        ("ten", "dl_lf"),
        ("d", "dl_ld"),
        ("nothing", "dl_dang"),
        ("dl_loop", "dl_loop"),
        ("ten", "mvl"),
        ("nothing", "mvdang"),
        ("pm", "pml"),
        ("rp2", "rpl"),
    ] {
        symlink(to, dir.join(name)).unwrap();
    }
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("ff"), fifo, mode, 0).unwrap();
    fs::set_permissions(dir.join("ff"), PermissionsExt::from_mode(0o644)).unwrap();
}

/// What happened beside the recording, before the request with this label.
fn prepare(dir: &Path, label: &str) {
    match label {
        "whole" => {
            fs::remove_file(dir.join("nowhere")).unwrap();
            // Left by a client that gave up.
            fs::write(dir.join("aborted"), "partial").unwrap();
        }
        "no mode" => {
            fs::remove_file(dir.join("dang")).unwrap();
            symlink("nowhere", dir.join("dang")).unwrap();
        }
        // Its set-up was by hand: a date of its own.
        "If-Modified-Since" => {
            let time: jiff::Timestamp = "2026-11-21T04:20:31Z".parse().unwrap();
            let file = fs::File::options().write(true).open(dir.join("ten")).unwrap();
            file.set_modified(time.into()).unwrap();
        }
        _ => {}
    }
}

#[tokio::test]
async fn execute() {
    let mut replay = Replay::start();
    let bash = replay.has_bash().await;
    for exchange in exchanges("execute.jsonl") {
        let answer = replay.compare(&exchange).await;
        let missing = answer.text().contains("python3: command not found");
        if answer.status == 200 && bash && !missing {
            let recorded: Value = serde_json::from_str(exchange.answer.as_ref().unwrap()).unwrap();
            let (ours, label) = (answer.json(), &exchange.label);
            assert_eq!(ours["exitCode"], recorded["exitCode"], "{label}: {ours}");
            // A shell's own words depend on the shell, as do numbers of processes.
            let words = recorded["result"].as_str().unwrap();
            if !words.contains("bash")
                && !words.contains("Terminated")
                && label != "child with block-buffered stdout"
            {
                let ours = replay.there(ours["result"].as_str().unwrap());
                assert_eq!(ours, words, "{label}");
            }
        }
    }
}

#[tokio::test]
async fn sessions() {
    let mut replay = Replay::start();
    let bash = replay.has_bash().await;
    for exchange in exchanges("sessions.jsonl") {
        let done = exchange.answer.as_deref().is_some_and(|text| text.contains("exitCode"));
        if done && exchange.method == "GET" && exchange.path.contains("/command/") {
            // The recorder waited.
            while replay.send(&exchange).await.json()["exitCode"].is_null() {}
        }
        let answer = replay.compare(&exchange).await;
        let recorded = exchange.answer.as_deref().unwrap_or_default();
        let recorded = serde_json::from_str::<Value>(recorded);
        if let (true, 200, Ok(recorded)) = (bash, answer.status, recorded) {
            let ours = answer.json();
            assert_eq!(ours["exitCode"], recorded["exitCode"], "{}: {ours}", exchange.label);
        }
    }
}

#[tokio::test]
async fn everything_else() {
    let mut replay = Replay::start();
    for exchange in exchanges("misc.jsonl") {
        let answer = replay.compare(&exchange).await;
        if exchange.path == "/process/code-run" && answer.status == 200 {
            let recorded: Value = serde_json::from_str(exchange.answer.as_ref().unwrap()).unwrap();
            let ours = answer.json();
            let missing = ours["exitCode"] == 127;
            assert!(
                missing || ours["exitCode"] == recorded["exitCode"],
                "{}: {ours}",
                exchange.label
            );
        }
    }
}

async fn prompt(socket: &mut Socket, heard: &mut Heard) {
    while heard.bytes.is_empty() {
        heard.note(socket.next().await.unwrap().unwrap());
    }
}

#[tokio::test]
async fn terminals() {
    let mut replay = Replay::start();
    let http = replay.toolbox.http.clone();
    let lazy = async |id: &str, cwd: Option<&str>| {
        http.post("/process/pty", json!({ "id": id, "cwd": cwd, "lazyStart": true })).await;
    };
    lazy("d1", None).await;
    lazy("badlazy", Some("/nope")).await;
    lazy("r", None).await;
    for exchange in exchanges("pty.jsonl") {
        if exchange.label == "resize {\"cols\":90,\"rows\":30}" {
            // From here on it runs.
            drop(http.websocket("/process/pty/r/connect", &[]).await.unwrap());
        }
        if exchange.websocket {
            if exchange.path.contains("/e/") {
                lazy("e", None).await;
            }
            terminal(&replay, &exchange).await;
            continue;
        }
        // The recorder cleaned up between its tries.
        http.delete("/process/pty/bad").await;
        replay.compare(&exchange).await;
    }
    for id in ["r", "bad"] {
        http.delete(&format!("/process/pty/{id}")).await;
    }
}

async fn terminal(replay: &Replay, exchange: &Exchange) {
    let label = &exchange.label;
    let (mut socket, _) = replay.toolbox.http.websocket(&exchange.path, &[]).await.unwrap();
    let mut heard = Heard::default();
    for text in &exchange.send {
        prompt(&mut socket, &mut heard).await;
        if heard.texts.is_empty() {
            panic!("{label}: output before `connected`");
        }
        heard.bytes.clear();
        socket.send(Message::text(text.clone())).await.unwrap();
    }
    let rest = listen(&mut socket).await;
    let first = heard.texts.iter().chain(&rest.texts).next().unwrap();
    assert_eq!(first, &exchange.first, "{label}");
    match exchange.close.as_ref().unwrap() {
        // Where 0.190 cuts the connection after its error, ours closes it.
        (1006, _) => assert_eq!(rest.close.unwrap().0, 1011, "{label}"),
        recorded => assert_eq!(rest.close.as_ref(), Some(recorded), "{label}"),
    }
}

/// What our client makes of each recorded answer: the type it reads it as has to accept it.
fn read_as_client(exchange: &Exchange) -> Option<serde_json::Result<()>> {
    use sandbox_coder::wire::{error, files, process, pty};
    fn read<T: serde::de::DeserializeOwned>(text: &str) -> serde_json::Result<()> {
        serde_json::from_str::<T>(text).map(drop)
    }
    if exchange.websocket {
        let first = exchange.first.as_str();
        let reason = exchange.close.as_ref().map(|(_, reason)| reason.as_str()).unwrap_or_default();
        return Some(match (first.starts_with('{'), reason.starts_with('{')) {
            (true, false) => read::<pty::Control>(first),
            (false, true) => read::<pty::CloseReason>(reason),
            (true, true) => read::<pty::Control>(first).and(read::<pty::CloseReason>(reason)),
            (false, false) => return None,
        });
    }
    let text = exchange.answer.as_deref().filter(|t| t.starts_with(['{', '[']))?;
    let path = exchange.path.split('?').next().unwrap_or_default().trim_end_matches('/');
    if exchange.status >= 300 && !text.contains("\"errors\"") {
        return Some(read::<error::ErrorBody>(text));
    }
    Some(match (exchange.method.as_str(), path) {
        ("POST", "/process/execute") => read::<process::Executed>(text),
        ("GET", "/files") => read::<Vec<files::FileInfo>>(text),
        ("GET", "/files/info") => read::<files::FileInfo>(text),
        ("GET", "/files/search") => read::<files::SearchResult>(text),
        ("GET", "/files/find") => read::<Vec<files::Match>>(text),
        ("POST", "/files/replace") => read::<Vec<files::Replaced>>(text),
        ("POST", "/files/bulk-upload") => read::<files::BulkUpload>(text),
        ("GET", "/process/session") => read::<Vec<process::Session>>(text),
        ("GET", "/process/pty") => read::<pty::PtyList>(text),
        ("POST", "/process/pty") => read::<pty::PtyCreated>(text),
        ("POST", p) if p.ends_with("/exec") => read::<process::SessionExecuted>(text),
        ("POST", p) if p.ends_with("/resize") => read::<pty::PtyInfo>(text),
        ("GET", p) if p.ends_with("/logs") => read::<process::SessionLogs>(text),
        ("GET", p) if p.contains("/command/") => read::<process::SessionCommand>(text),
        ("GET", p) if p.starts_with("/process/session/") => read::<process::Session>(text),
        ("GET", p) if p.starts_with("/process/pty/") => read::<pty::PtyInfo>(text),
        _ => return None,
    })
}

#[test]
fn the_client_reads_every_recorded_answer() {
    let mut read = 0;
    let names = ["execute.jsonl", "files.jsonl", "misc.jsonl", "pty.jsonl", "sessions.jsonl"];
    for name in names {
        for exchange in exchanges(name) {
            match read_as_client(&exchange) {
                Some(Ok(())) => read += 1,
                Some(Err(error)) => panic!(
                    "{name}: {} {}: {error}: {:?} {:?}",
                    exchange.method, exchange.path, exchange.answer, exchange.first
                ),
                None => {}
            }
        }
    }
    assert!(read > 150, "only {read} answers were read");
}
