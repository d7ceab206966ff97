//! Terminals, their output and their end.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::run;
use crate::support::toolbox::ToolboxUnderTest;
use crate::support::unix_http::{Heard, Socket, listen};

const EXIT_CONTROL: (&str, &str) = ("sec-websocket-protocol", "X-Daytona-Pty-Exit-Control");

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
