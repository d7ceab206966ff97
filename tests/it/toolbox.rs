//! The toolbox on a socket of its own: what it does right where the wire leaves room for mistakes.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what fails here fails its test")]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use axum::body::Body;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::toolbox::ToolboxUnderTest;
use crate::support::unix_http::{Answer, Heard, Socket, listen};

const SDK: (&str, &str) = ("x-daytona-sdk-version", "0.190.0");
const EXIT_CONTROL: (&str, &str) = ("sec-websocket-protocol", "X-Daytona-Pty-Exit-Control");

async fn execute(toolbox: &ToolboxUnderTest, body: Value) -> Answer {
    toolbox.http.post("/process/execute", body).await
}

async fn run(toolbox: &ToolboxUnderTest, command: &str) -> (i64, String) {
    let answer = execute(toolbox, json!({ "command": command })).await;
    assert_eq!(answer.status, 200, "{command}");
    let body = answer.json();
    (body["exitCode"].as_i64().unwrap(), body["result"].as_str().unwrap().to_owned())
}

/// A multipart body of named parts.
fn multipart(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in parts {
        let head = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend(head.as_bytes());
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(b"--B--\r\n");
    body
}

const MULTIPART: (&str, &str) = ("content-type", "multipart/form-data; boundary=B");

async fn upload(toolbox: &ToolboxUnderTest, parts: &[(&str, &[u8])]) -> Answer {
    toolbox.http.call("POST", "/files/bulk-upload", &[MULTIPART], multipart(parts)).await
}

// --- execute

#[tokio::test]
async fn execute_merges_output_and_reports_the_code() {
    let toolbox = ToolboxUnderTest::start();
    assert_eq!(
        run(&toolbox, "echo out; echo err >&2; echo out2").await,
        (0, "out\nerr\nout2\n".into())
    );
    assert_eq!(run(&toolbox, "exit 5").await.0, 5);
    assert_eq!(run(&toolbox, "kill -9 $$").await, (-1, String::new()));
    assert_eq!(run(&toolbox, "pwd").await.1.trim_end(), toolbox.home.to_str().unwrap());
    assert_eq!(run(&toolbox, r"printf 'a\0b\377c'").await.1, "a\0b\u{fffd}c");
    let asked = json!({ "command": "pwd; echo $X", "cwd": "/", "envs": { "X": "a 'b' $c" } });
    assert_eq!(execute(&toolbox, asked).await.json()["result"], "/\na 'b' $c\n");
    let nowhere = execute(&toolbox, json!({ "command": "x", "cwd": "/nope" })).await.json();
    assert_eq!(nowhere["exitCode"], -1);
    assert!(nowhere["result"].as_str().unwrap().ends_with("no such file or directory"));
}

#[tokio::test]
async fn execute_does_not_wait_for_a_background_child() {
    let toolbox = ToolboxUnderTest::start();
    let (code, output) = run(&toolbox, "sleep 600 & echo $!").await;
    assert_eq!(code, 0);
    let child = output.trim();
    // It is still there, and may write without being killed for it.
    assert_eq!(run(&toolbox, &format!("kill {child}")).await.0, 0);
    let late = toolbox.at("late");
    let script =
        format!("(read x <{late}.go; echo to nobody; echo alive >{late}) & mkfifo {late}.go");
    run(&toolbox, &format!("mkfifo {late}.go; {script} 2>/dev/null")).await;
    run(&toolbox, &format!("echo >{late}.go; until [ -s {late} ]; do sleep 0.01; done")).await;
}

#[tokio::test]
async fn execute_with_a_limit_answers_408_and_ends_the_group() {
    let toolbox = ToolboxUnderTest::start();
    let pid = toolbox.at("pid");
    let command = format!("sleep 600 & echo $! >{pid}; wait");
    let answer = execute(&toolbox, json!({ "command": command, "timeout": 1 })).await;
    assert_eq!(answer.status, 408);
    let body = answer.json();
    assert_eq!(body["code"], "PROCESS_EXECUTION_TIMEOUT");
    assert!(body["message"].as_str().unwrap().contains("timeout"));
    let gone = format!("while kill -0 $(cat {pid}) 2>/dev/null; do sleep 0.01; done");
    assert_eq!(run(&toolbox, &gone).await.0, 0);
}

#[tokio::test]
async fn execute_goes_on_when_the_client_leaves() {
    let toolbox = ToolboxUnderTest::start();
    let (go, done) = (toolbox.at("go"), toolbox.at("done"));
    let command = json!({ "command": format!("touch {go}; sleep 0.2; echo x >{done}") });
    let left = tokio::time::timeout(Duration::from_millis(100), execute(&toolbox, command)).await;
    assert!(left.is_err());
    run(&toolbox, &format!("until [ -s {done} ]; do sleep 0.01; done")).await;
}

#[tokio::test]
async fn execute_refuses_with_a_whole_error_body() {
    let toolbox = ToolboxUnderTest::start();
    for bad in [
        json!({}),
        json!({ "command": " " }),
        json!({ "command": 5 }),
        json!({ "command": "x", "timeout": -1 }),
        json!({ "command": "x", "envs": { "A-B": "" } }),
    ] {
        let answer = execute(&toolbox, bad).await;
        assert_eq!(answer.status, 400);
        let body = answer.json();
        for key in ["statusCode", "message", "code", "timestamp", "path", "method", "source"] {
            assert!(!body[key].is_null(), "{key}");
        }
        assert_eq!(body["source"], "DAYTONA_DAEMON");
    }
    let nowhere = toolbox.http.get("/no/such/route").await;
    assert_eq!((nowhere.status, nowhere.json()["path"].clone()), (404, json!("/no/such/route")));
}

#[tokio::test]
async fn code_is_run_with_its_arguments_apart() {
    let toolbox = ToolboxUnderTest::start();
    let code = "import sys\nprint(sys.argv[1:])\nraise SystemExit(3)";
    let asked = json!({ "code": code, "language": "python", "argv": ["a b", "$HOME"] });
    let body = toolbox.http.post("/process/code-run", asked).await.json();
    if body["exitCode"] != 127 {
        assert_eq!(body, json!({ "exitCode": 3, "result": "['a b', '$HOME']\n" }));
    }
    let other =
        toolbox.http.post("/process/code-run", json!({ "code": "x", "language": "ruby" })).await;
    assert_eq!(other.status, 400);
}

// --- files

#[tokio::test]
async fn an_aborted_upload_leaves_the_old_content() {
    let toolbox = ToolboxUnderTest::start();
    std::fs::write(toolbox.home.join("f"), "old").unwrap();
    let parts: [(&str, &[u8]); 2] = [("files[0].path", b"f"), ("files[0].file", b"new")];
    let mut cut = multipart(&parts);
    cut.truncate(cut.len() - 12);
    let answer = toolbox.http.call("POST", "/files/bulk-upload", &[MULTIPART], cut).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["files"], Value::Null);
    assert_eq!(std::fs::read(toolbox.home.join("f")).unwrap(), b"old");
    assert_eq!(
        upload(&toolbox, &parts).await.json(),
        json!({ "files": [{ "path": "f", "bytes": 3 }] })
    );
    assert_eq!(std::fs::read(toolbox.home.join("f")).unwrap(), b"new");
    assert_eq!(std::fs::read_dir(&toolbox.home).unwrap().count(), 1);
}

#[tokio::test]
async fn names_need_not_be_text() {
    let toolbox = ToolboxUnderTest::start();
    let parts: [(&str, &[u8]); 2] = [("files[0].path", b"lat-\xe4\n.txt"), ("files[0].file", b"x")];
    assert_eq!(upload(&toolbox, &parts).await.status, 200);
    let whole = toolbox.http.get("/files/download?path=lat-%E4%0A.txt").await;
    assert_eq!((whole.status, whole.text().as_str()), (200, "x"));
    let listed = toolbox.http.get("/files").await.json();
    assert_eq!(listed[0]["name"], "lat-\u{fffd}\n.txt");
    assert_eq!(toolbox.http.delete("/files?path=lat-%E4%0A.txt").await.status, 204);
    assert_eq!(toolbox.http.get("/files/").await.json(), json!([]));
}

#[tokio::test]
async fn a_pipe_is_refused_at_once() {
    let toolbox = ToolboxUnderTest::start();
    run(&toolbox, "mkfifo p").await;
    assert_eq!(toolbox.http.get("/files/download?path=p").await.status, 400);
    let many = toolbox.http.post("/files/bulk-download", json!({ "paths": ["p"] })).await;
    assert!(many.text().contains("INVALID_FILE_PATH"));
    let parts: [(&str, &[u8]); 2] = [("files[0].path", b"p"), ("files[0].file", b"x")];
    assert_eq!(upload(&toolbox, &parts).await.status, 400);
}

#[tokio::test]
async fn many_files_come_in_one_answer() {
    let toolbox = ToolboxUnderTest::start();
    std::fs::write(toolbox.home.join("a b"), b"one\r\n--DAYTONA-FILE-BOUNDARY").unwrap();
    let answer = toolbox.http.post("/files/bulk-download", json!({ "paths": ["a b", "no"] })).await;
    assert_eq!(
        answer.header("content-type"),
        "multipart/form-data; boundary=DAYTONA-FILE-BOUNDARY"
    );
    let text = answer.text();
    let (file, rest) = text.split_once("one\r\n--DAYTONA-FILE-BOUNDARY\r\n").unwrap();
    assert!(file.contains("name=\"file\"; filename=\"a b\"; filename*=utf-8''a%20b\r\n"));
    assert!(file.contains("Content-Length: 28\r\n"));
    assert!(rest.contains("name=\"error\"; filename=\"no\""));
    assert!(rest.contains("\"code\":\"FILE_NOT_FOUND\""));
    assert!(rest.ends_with("\r\n--DAYTONA-FILE-BOUNDARY--\r\n"));
}

#[tokio::test]
async fn a_growing_log_is_read_by_ranges() {
    let toolbox = ToolboxUnderTest::start();
    let path = toolbox.home.join("log");
    let (mut written, mut seen) = (Vec::new(), Vec::new());
    for i in 0..20u8 {
        written.extend(vec![i; usize::from(i) * 7]);
        std::fs::write(&path, &written).unwrap();
        let range = format!("bytes={}-", seen.len());
        let answer = toolbox
            .http
            .call("GET", "/files/download?path=log", &[("range", &range)], Body::empty())
            .await;
        match answer.status {
            206 => seen.extend_from_slice(&answer.body),
            416 => assert_eq!(answer.header("content-range"), format!("bytes */{}", written.len())),
            200 => assert!(written.is_empty() && answer.body.is_empty()),
            other => panic!("{other}"),
        }
    }
    assert_eq!(seen, written);
}

#[tokio::test]
async fn listing_goes_as_deep_as_asked() {
    let toolbox = ToolboxUnderTest::start();
    run(&toolbox, "mkdir -p a/b/c; ln -s nowhere dangling; ln -s a link; chmod 750 a").await;
    let names = |list: Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap().to_owned()).collect()
    };
    let path = |deep: &str| format!("/files?path={}{deep}", toolbox.home.display());
    assert_eq!(
        names(toolbox.http.get(&path("")).await.json()),
        [toolbox.at("a"), toolbox.at("link")]
    );
    let two = names(toolbox.http.get(&path("&depth=2")).await.json());
    assert_eq!(two, [toolbox.at("a"), toolbox.at("a/b"), toolbox.at("link")]);
    let info = toolbox.http.get("/files/info?path=a").await.json();
    assert_eq!(
        (info["mode"].as_str(), info["permissions"].as_str()),
        (Some("drwxr-x---"), Some("0750"))
    );
    assert_eq!(toolbox.http.delete("/files?path=dangling").await.status, 204);
    assert_eq!(toolbox.http.delete("/files?path=a").await.status, 400);
    assert_eq!(toolbox.http.delete("/files?path=a&recursive=true").await.status, 204);
}

#[tokio::test]
async fn an_upload_keeps_the_mode_of_what_it_replaces() {
    let toolbox = ToolboxUnderTest::start();
    let path = toolbox.home.join("tool");
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let raw = toolbox.http.call("POST", "/files/upload-v2?path=tool", &[], "new").await;
    assert_eq!(raw.json(), json!({ "name": "tool", "path": "tool", "type": "file" }));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
}

// --- sessions

async fn session(toolbox: &ToolboxUnderTest, id: &str) {
    assert_eq!(toolbox.http.post("/process/session", json!({ "sessionId": id })).await.status, 201);
}

async fn in_session(toolbox: &ToolboxUnderTest, id: &str, body: Value) -> Answer {
    let path = format!("/process/session/{id}/exec");
    toolbox.http.call("POST", &path, &[SDK], body.to_string()).await
}

#[tokio::test]
async fn a_session_keeps_its_state() {
    let toolbox = ToolboxUnderTest::start();
    session(&toolbox, "s").await;
    in_session(&toolbox, "s", json!({ "command": "cd /; X=5; f() { echo f$1; }" })).await;
    let body =
        in_session(&toolbox, "s", json!({ "command": "pwd; echo $X; f 1; echo e >&2; (exit 7)" }))
            .await
            .json();
    assert_eq!(body["stdout"], "/\n5\nf1\n");
    assert_eq!(body["stderr"], "e\n");
    assert_eq!(body["exitCode"], 7);
    let shown = toolbox.http.get("/process/session/s").await.json();
    assert_eq!(shown["commands"][1]["exitCode"], 7);
    let cid = shown["commands"][1]["id"].as_str().unwrap().to_owned();
    let on_disk = toolbox.home.join(".daytona/sessions/s").join(cid);
    assert_eq!(std::fs::read_to_string(on_disk.join("exit_code")).unwrap(), "7\n");
    assert_eq!(toolbox.http.delete("/process/session/s").await.status, 204);
    assert!(!on_disk.exists());
    assert_eq!(toolbox.http.get("/process/session/s").await.status, 404);
}

#[tokio::test]
async fn a_syntax_error_does_not_end_the_session() {
    let toolbox = ToolboxUnderTest::start();
    session(&toolbox, "s").await;
    let bad = in_session(&toolbox, "s", json!({ "command": "if then" })).await.json();
    assert_ne!(bad["exitCode"], 0);
    assert!(!bad["stderr"].as_str().unwrap().is_empty());
    let after = in_session(&toolbox, "s", json!({ "command": "echo on" })).await.json();
    assert_eq!(after["stdout"], "on\n");
}

#[tokio::test]
async fn a_command_that_ends_the_shell_still_has_an_exit_code() {
    let toolbox = ToolboxUnderTest::start();
    for (id, command, code) in [
        ("a", "echo x; exit 9", 9),
        ("b", "exec sh -c 'echo x; exit 4'", 4),
        ("c", "echo x; kill -9 $$", 137),
    ] {
        session(&toolbox, id).await;
        let body = in_session(&toolbox, id, json!({ "command": command })).await.json();
        assert_eq!(
            (&body["stdout"], &body["exitCode"]),
            (&json!("x\n"), &json!(code)),
            "{command}"
        );
        let after = in_session(&toolbox, id, json!({ "command": "echo" })).await;
        assert_eq!((after.status, after.json()["code"].clone()), (410, json!("SESSION_ENDED")));
        assert_eq!(toolbox.http.delete(&format!("/process/session/{id}")).await.status, 204);
    }
}

#[tokio::test]
async fn commands_behind_an_exit_end_too() {
    let toolbox = ToolboxUnderTest::start();
    session(&toolbox, "s").await;
    in_session(&toolbox, "s", json!({ "command": "sleep 0.2; exit 1", "runAsync": true })).await;
    let behind = in_session(&toolbox, "s", json!({ "command": "echo never", "async": true })).await;
    assert_eq!(behind.status, 202);
    let mut socket = follow(&toolbox, "s", &behind.json()["cmdId"], &[SDK]).await;
    assert_eq!(listen(&mut socket).await.close, Some((1000, String::new())));
}

async fn follow(
    toolbox: &ToolboxUnderTest,
    id: &str,
    cid: &Value,
    headers: &[(&str, &str)],
) -> Socket {
    let path = format!("/process/session/{id}/command/{}/logs?follow=true", cid.as_str().unwrap());
    toolbox.http.websocket(&path, headers).await.unwrap().0
}

#[tokio::test]
async fn a_followed_log_is_complete_and_closed() {
    let toolbox = ToolboxUnderTest::start();
    session(&toolbox, "s").await;
    let command = r"head -c 300000 /dev/zero | tr '\0' x; printf '\1\1\1\2\2\2' >&2; (exit 3)";
    let started = in_session(&toolbox, "s", json!({ "command": command, "runAsync": true })).await;
    let mut socket = follow(&toolbox, "s", &started.json()["cmdId"], &[SDK]).await;
    // A message means nothing, and must not keep the connection open.
    socket.send(Message::text("hello")).await.unwrap();
    let heard = listen(&mut socket).await;
    assert_eq!(heard.close, Some((1000, String::new())));
    assert!(heard.largest <= 1024);
    let mut demux = sandbox_coder::toolbox::Demux::default();
    let (mut out, mut err) = (0, Vec::new());
    let mut take = |stream: Option<sandbox_coder::toolbox::Stream>, bytes: &[u8]| match stream {
        Some(sandbox_coder::toolbox::Stream::Stdout) => out += bytes.len(),
        Some(sandbox_coder::toolbox::Stream::Stderr) => err.extend_from_slice(bytes),
        None => panic!("output without a marker"),
    };
    demux.read(&heard.bytes, &mut take);
    demux.finish(&mut take);
    assert_eq!((out, err.as_slice()), (300_000, &b"\x01\x01\x01\x02\x02\x02"[..]));
    let mut plain = follow(&toolbox, "s", &started.json()["cmdId"], &[]).await;
    assert_eq!(listen(&mut plain).await.bytes.len(), 300_006);
}

#[tokio::test]
async fn binary_output_stays_what_it_was() {
    let toolbox = ToolboxUnderTest::start();
    session(&toolbox, "s").await;
    let bytes: Vec<u8> =
        (0..40_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(toolbox.home.join("bytes"), &bytes).unwrap();
    let done = in_session(&toolbox, "s", json!({ "command": "cat bytes" })).await.json();
    let path = format!("/process/session/s/command/{}/logs", done["cmdId"].as_str().unwrap());
    assert_eq!(toolbox.http.get(&path).await.body, bytes);
    assert_eq!(done["stdout"], String::from_utf8_lossy(&bytes).as_ref());
}

#[tokio::test]
async fn input_reaches_a_command_and_its_log() {
    let toolbox = ToolboxUnderTest::start();
    session(&toolbox, "s").await;
    let command = "while read -r l; do echo got:$l; [ $l = end ] && break; done; (exit 6)";
    let started = in_session(&toolbox, "s", json!({ "command": command, "runAsync": true })).await;
    let cid = started.json()["cmdId"].clone();
    let mut socket = follow(&toolbox, "s", &cid, &[]).await;
    let path = format!("/process/session/s/command/{}/input", cid.as_str().unwrap());
    let mut first = toolbox.http.post(&path, json!({ "data": "one\n" })).await.status;
    while first == 409 {
        // Not begun yet.
        first = toolbox.http.post(&path, json!({ "data": "one\n" })).await.status;
    }
    assert_eq!(first, 204);
    assert_eq!(toolbox.http.post(&path, json!({ "data": "end" })).await.status, 204);
    let heard = listen(&mut socket).await;
    assert!(heard.text().contains("got:one\n") && heard.text().contains("got:end\n"));
    let shown = toolbox.http.get(path.trim_end_matches("/input")).await.json();
    assert_eq!(shown["exitCode"], 6);
    assert_eq!(toolbox.http.post(&path, json!({ "data": "x" })).await.status, 410);
}

#[tokio::test]
async fn deleting_a_session_ends_what_runs_in_it() {
    let toolbox = ToolboxUnderTest::start();
    session(&toolbox, "s").await;
    let pids = toolbox.at("pids");
    let command = format!(
        "sleep 600 & echo $! >>{pids}; setsid sleep 600 & echo $! >>{pids}; echo ready; sleep 600"
    );
    let started = in_session(&toolbox, "s", json!({ "command": command, "runAsync": true })).await;
    let mut socket = follow(&toolbox, "s", &started.json()["cmdId"], &[]).await;
    assert_eq!(socket.next().await.unwrap().unwrap().into_data().as_ref(), b"ready\n");
    assert_eq!(toolbox.http.delete("/process/session/s").await.status, 204);
    assert_eq!(listen(&mut socket).await.close, Some((1000, String::new())));
    let gone = format!(
        "for p in $(cat {pids}); do while kill -0 $p 2>/dev/null; do sleep 0.01; done; done"
    );
    assert_eq!(run(&toolbox, &gone).await.0, 0);
}

#[tokio::test]
async fn a_background_child_does_not_hold_back_the_exit_code() {
    let toolbox = ToolboxUnderTest::start();
    session(&toolbox, "s").await;
    let body = in_session(&toolbox, "s", json!({ "command": "sleep 600 & echo $!" })).await.json();
    assert_eq!(body["exitCode"], 0);
    assert_eq!(toolbox.http.delete("/process/session/s").await.status, 204);
}

// --- terminals

async fn until(socket: &mut Socket, heard: &mut Heard, wanted: &str) {
    while !heard.text().contains(wanted) {
        heard.note(socket.next().await.unwrap().unwrap());
    }
}

#[tokio::test]
async fn a_terminal_tells_all_output_then_the_end() {
    let toolbox = ToolboxUnderTest::start();
    std::fs::write(
        toolbox.home.join("flood"),
        "stty -opost; head -c 200000 /dev/zero | tr '\\0' x; echo tail; exit 3",
    )
    .unwrap();
    for round in 0..10 {
        let path = format!("/process/pty/create-connect?id=p{round}&cols=100&rows=30");
        let (mut socket, handshake) = toolbox.http.websocket(&path, &[EXIT_CONTROL]).await.unwrap();
        assert_eq!(handshake.headers()["sec-websocket-protocol"], "X-Daytona-Pty-Exit-Control");
        socket.send(Message::binary(&b"exec sh flood\r"[..])).await.unwrap();
        let heard = listen(&mut socket).await;
        assert_eq!(heard.texts[0], r#"{"status":"connected","type":"control"}"#);
        assert!(heard.order.starts_with('t') && heard.order.ends_with("bt"), "{}", heard.order);
        assert_eq!(
            serde_json::from_str::<Value>(&heard.texts[1]).unwrap(),
            json!({ "type": "control", "status": "exited", "exitCode": 3, "exitReason": "non-zero exit" })
        );
        let reason = r#"{"exitCode":3,"exitReason":"non-zero exit"}"#;
        assert_eq!(heard.close, Some((1011, reason.to_owned())));
        assert!(heard.text().ends_with("tail\n"));
        assert_eq!(heard.bytes.iter().rev().skip(5).take_while(|b| **b == b'x').count(), 200_000);
        assert_eq!(toolbox.http.get(&format!("/process/pty/p{round}")).await.status, 404);
    }
}

#[tokio::test]
async fn the_old_pair_of_calls_works_too() {
    let toolbox = ToolboxUnderTest::start();
    let asked = json!({ "id": "p", "lazyStart": true, "envs": { "TOKEN": "t" } });
    assert_eq!(
        toolbox.http.post("/process/pty", asked.clone()).await.json(),
        json!({ "sessionId": "p" })
    );
    assert_eq!(toolbox.http.post("/process/pty", asked).await.status, 409);
    let info = toolbox.http.get("/process/pty/p").await.json();
    assert_eq!((&info["active"], &info["envs"]["TERM"]), (&json!(false), &json!("xterm-256color")));
    let resized =
        toolbox.http.post("/process/pty/p/resize", json!({ "cols": 91, "rows": 31 })).await;
    assert_eq!(resized.json()["cols"], 91);
    let (mut socket, handshake) =
        toolbox.http.websocket("/process/pty/p/connect", &[]).await.unwrap();
    assert!(!handshake.headers().contains_key("sec-websocket-protocol"));
    let mut heard = Heard::default();
    socket.send(Message::text("stty size; echo $TOKEN$TOKEN\r")).await.unwrap();
    until(&mut socket, &mut heard, "31 91").await;
    until(&mut socket, &mut heard, "tt\r").await;
    let (mut second, _) = toolbox.http.websocket("/process/pty/p/connect", &[]).await.unwrap();
    second.send(Message::text("exit 0\r")).await.unwrap();
    for socket in [&mut socket, &mut second] {
        let heard = listen(socket).await;
        assert_eq!(heard.close, Some((1000, r#"{"exitCode":0}"#.to_owned())));
    }
    assert_eq!(
        toolbox.http.post("/process/pty/p/resize", json!({ "cols": 1, "rows": 1 })).await.status,
        410
    );
}

#[tokio::test]
async fn a_deleted_terminal_ends_with_137() {
    let toolbox = ToolboxUnderTest::start();
    let (mut socket, _) =
        toolbox.http.websocket("/process/pty/create-connect?id=p", &[EXIT_CONTROL]).await.unwrap();
    let pids = toolbox.at("pids");
    let typed = format!(
        "(setsid sleep 600 & echo $! >>{pids}); sleep 600 & echo $! >>{pids}; echo rea''dy\r"
    );
    socket.send(Message::text(typed)).await.unwrap();
    until(&mut socket, &mut Heard::default(), "ready").await;
    assert_eq!(
        toolbox.http.delete("/process/pty/p").await.json(),
        json!({ "message": "PTY session deleted" })
    );
    let heard = listen(&mut socket).await;
    assert_eq!(heard.close, Some((1011, r#"{"exitCode":137,"exitReason":"SIGKILL"}"#.to_owned())));
    let last = format!(
        "p=$(tail -n 1 {pids}); while kill -0 $p 2>/dev/null; do sleep 0.01; done; kill -9 $(cat {pids})"
    );
    run(&toolbox, &last).await;
    assert_eq!(toolbox.http.get("/process/pty").await.json(), json!({ "sessions": [] }));
}

#[tokio::test]
async fn a_terminal_that_cannot_be_says_so() {
    let toolbox = ToolboxUnderTest::start();
    let path = "/process/pty/create-connect?id=p&cwd=/nope";
    assert_eq!(toolbox.http.websocket(path, &[EXIT_CONTROL]).await.unwrap_err().as_u16(), 500);
    assert_eq!(toolbox.http.get("/process/pty").await.json(), json!({ "sessions": [] }));
    assert_eq!(
        toolbox.http.websocket("/process/pty/create-connect", &[]).await.unwrap_err().as_u16(),
        400
    );
    let (mut socket, _) = toolbox.http.websocket("/process/pty/nope/connect", &[]).await.unwrap();
    let heard = listen(&mut socket).await;
    let error = "Failed to connect to PTY session: PTY session nope not found";
    assert_eq!(serde_json::from_str::<Value>(&heard.texts[0]).unwrap()["error"], error);
    assert_eq!(heard.close.unwrap().0, 1011);
}

#[tokio::test]
async fn the_environment_comes_as_a_subprotocol() {
    let toolbox = ToolboxUnderTest::start();
    // {"A":"b"}
    let offers = "X-Daytona-Pty-Envs~eyJBIjoiYiJ9,X-Daytona-Pty-Exit-Control";
    let headers = [("sec-websocket-protocol", offers)];
    let path = "/process/pty/create-connect?id=p";
    let (mut socket, _) = toolbox.http.websocket(path, &headers).await.unwrap();
    assert_eq!(toolbox.http.websocket(path, &headers).await.unwrap_err().as_u16(), 409);
    socket.send(Message::text("echo $A$A; exit\r")).await.unwrap();
    assert!(listen(&mut socket).await.text().contains("bb"));
}

#[tokio::test]
async fn too_big_a_message_ends_the_connection_only() {
    let toolbox = ToolboxUnderTest::start();
    let (mut socket, _) =
        toolbox.http.websocket("/process/pty/create-connect?id=p", &[]).await.unwrap();
    socket.send(Message::binary(vec![b' '; (64 << 10) + 1])).await.unwrap();
    assert_eq!(listen(&mut socket).await.close.unwrap().0, 1009);
    assert_eq!(toolbox.http.get("/process/pty/p").await.status, 200);
    toolbox.http.delete("/process/pty/p").await;
}

#[tokio::test]
async fn terminals_that_end_leave_nothing_open() {
    let toolbox = ToolboxUnderTest::start();
    let masters = || {
        let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        all.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.ends_with("ptmx"))).count()
    };
    for i in 0..30 {
        let path = format!("/process/pty/create-connect?id=p{i}");
        let (mut socket, _) = toolbox.http.websocket(&path, &[]).await.unwrap();
        socket.send(Message::text("exit\r")).await.unwrap();
        listen(&mut socket).await;
    }
    // Others of this process may have some open at this moment, but not so many.
    assert!(masters() < 20, "{}", masters());
}

// --- ports

#[tokio::test]
async fn ports_are_reached_through_the_toolbox() {
    let toolbox = ToolboxUnderTest::start();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = axum::Router::new().fallback(async |request: axum::extract::Request| {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let host = parts.headers["host"].to_str().unwrap().to_owned();
        format!("{} {} {host} {}", parts.method, parts.uri, String::from_utf8_lossy(&body))
    });
    let app = app.route(
        "/ws",
        axum::routing::any(async |upgrade: axum::extract::WebSocketUpgrade| {
            upgrade.on_upgrade(async |mut socket| {
                let said = socket.recv().await.unwrap().unwrap();
                socket.send(said).await.unwrap();
            })
        }),
    );
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let path = format!("/proxy/{port}/a%2Fb/%E4?x=%20y");
    let answer = toolbox.http.call("POST", &path, &[], "body").await;
    assert_eq!(answer.text(), format!("POST /a%2Fb/%E4?x=%20y localhost:{port} body"));
    let bare = toolbox.http.get(&format!("/proxy/{port}")).await;
    assert_eq!((bare.status, bare.header("location")), (301, format!("{port}/").as_str()));
    let path = format!("/proxy/{port}/ws");
    let (mut socket, _) = toolbox.http.websocket(&path, &[]).await.unwrap();
    socket.send(Message::text("echo")).await.unwrap();
    assert_eq!(listen(&mut socket).await.texts, ["echo"]);
    let ports = toolbox.http.get("/port").await.json();
    assert!(ports["ports"].as_array().unwrap().contains(&json!(port)));
    server.abort();
    let _ = server.await;
    assert_eq!(toolbox.http.get("/proxy/1/").await.status, 502);
    assert_eq!(toolbox.http.get("/proxy/x/").await.status, 400);
    assert_eq!(toolbox.http.get("/port/80/in-use").await.status, 400);
}

// --- the sandbox itself

#[tokio::test]
async fn the_sandbox_describes_itself() {
    let toolbox = ToolboxUnderTest::start();
    let home = json!({ "dir": toolbox.home });
    for path in ["/user-home-dir", "/work-dir", "/project-dir"] {
        assert_eq!(toolbox.http.get(path).await.json(), home);
    }
    assert!(
        toolbox.http.get("/version").await.json()["version"].as_str().unwrap().starts_with('v')
    );
    let metrics = toolbox.http.get("/system/metrics").await.json();
    assert!(
        metrics["memTotal"].as_u64().unwrap() > 0 && metrics["diskTotal"].as_u64().unwrap() > 0
    );
    let set = toolbox.http.post("/env", json!({ "set": { "NEW": "1" } })).await.json();
    assert_eq!(set["NEW"], "1");
    assert_eq!(run(&toolbox, "echo $NEW").await.1, "1\n");
    assert_eq!(toolbox.http.post("/git/clone", json!({})).await.status, 501);
}

// --- the process

#[tokio::test]
async fn the_hidden_subcommand_serves_on_the_listener_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut process = tokio::process::Command::new("sh")
        .args(["-c", "exec \"$0\" __toolbox 3<&0 </dev/null", env!("CARGO_BIN_EXE_sandbox-coder")])
        .stdin(std::process::Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .env_clear()
        .env("HOME", dir.path())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("ONLY", "this")
        .current_dir(dir.path())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let http = crate::support::unix_http::UnixHttp::new(&socket);
    let home = http.get("/user-home-dir").await.json();
    assert_eq!(home, json!({ "dir": dir.path() }));
    // Commands inherit neither the listener nor a connection.
    let asked = json!({ "command": "echo $ONLY; ls -l /proc/self/fd | grep -c socket:" });
    assert_eq!(http.post("/process/execute", asked).await.json()["result"], "this\n0\n");
    let pid = rustix::process::Pid::from_raw(process.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(process.wait().await.unwrap().success());
}
