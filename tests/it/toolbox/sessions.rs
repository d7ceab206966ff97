//! Shells that keep their state.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::run;
use crate::support::toolbox::ToolboxUnderTest;
use crate::support::unix_http::{Answer, Socket, listen};

const SDK: (&str, &str) = ("x-daytona-sdk-version", "0.190.0");

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
    let go = toolbox.at("go");
    let first = format!("until [ -e {go} ]; do sleep 0.01; done; exit 1");
    in_session(&toolbox, "s", json!({ "command": first, "runAsync": true })).await;
    let behind = in_session(&toolbox, "s", json!({ "command": "echo never", "async": true })).await;
    assert_eq!(behind.status, 202);
    let mut socket = follow(&toolbox, "s", &behind.json()["cmdId"], &[SDK]).await;
    run(&toolbox, &format!("touch {go}")).await;
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
