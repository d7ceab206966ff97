//! Connections that stay: events, previews of a real WebSocket server, and a server that has to go.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::support::server::{KEY, TestServer};

type Socket = WebSocketStream<TcpStream>;

async fn connect(addr: &str, target: &str, headers: &[(&'static str, String)]) -> Socket {
    let stream = TcpStream::connect(addr).await.unwrap();
    let mut request = format!("ws://{addr}{target}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    client_async(request, stream).await.unwrap().0
}

async fn text(socket: &mut Socket) -> String {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Close(_) => return String::new(),
            _ => {}
        }
    }
}

const EVENTS: &str = "/api/socket.io/?EIO=4&transport=websocket";

#[tokio::test]
async fn events_tell_the_life_of_a_sandbox() {
    let server = TestServer::start();
    let mut stranger = connect(&server.addr, EVENTS, &[]).await;
    assert!(text(&mut stranger).await.starts_with("0{"));
    stranger.send(Message::text(r#"40{"token":"wrong"}"#)).await.unwrap();
    assert_eq!(text(&mut stranger).await, r#"44{"message":"Unauthorized"}"#);

    let mut events = connect(&server.addr, EVENTS, &[]).await;
    let hello: Value = serde_json::from_str(&text(&mut events).await[1..]).unwrap();
    assert_eq!((&hello["pingInterval"], &hello["upgrades"]), (&json!(25000), &json!([])));
    events.send(Message::text(format!("40{}", json!({ "token": KEY })))).await.unwrap();
    assert!(text(&mut events).await.starts_with("40{"));

    let server = tokio::task::spawn_blocking(move || {
        let id = server.create(r#"{"name":"told"}"#)["id"].as_str().unwrap().to_owned();
        server.call("POST", &format!("/api/sandbox/{id}/stop"), "");
        server.call("DELETE", &format!("/api/sandbox/{id}"), "");
        server
    });
    let mut told = Vec::new();
    while told.len() < 5 {
        let frame = text(&mut events).await;
        let event: Value = serde_json::from_str(frame.strip_prefix("42").unwrap()).unwrap();
        let hop = &event[1];
        let named = if event[0] == "sandbox.created" { hop } else { &hop["sandbox"] };
        assert!(named["name"].as_str().unwrap().contains("told"), "{event}");
        assert_eq!(named["organizationId"], "00000000-0000-4000-8000-000000000001");
        told.push(format!(
            "{} {}-{}",
            event[0].as_str().unwrap(),
            hop["oldState"].as_str().unwrap_or_default(),
            hop["newState"].as_str().unwrap_or_default()
        ));
    }
    assert_eq!(
        told,
        [
            "sandbox.created -",
            "sandbox.state.updated creating-started",
            "sandbox.state.updated started-stopping",
            "sandbox.state.updated stopping-stopped",
            "sandbox.state.updated stopped-destroying",
        ]
    );
    drop(server.await.unwrap());
}

#[tokio::test]
async fn a_preview_carries_a_real_web_socket() {
    let server = TestServer::start();
    let id = server.create("{}")["id"].as_str().unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await.unwrap();
            }
        }
    });
    let target = format!("/api/sandbox/{id}/ports/{port}/preview-url");
    let link = server.call("GET", &target, "").json();
    let host = link["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let token = link["token"].as_str().unwrap().to_owned();
    let headers = [("host", host), ("x-daytona-preview-token", token)];
    let mut socket = connect(&server.addr, "/echo", &headers).await;
    let large: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    for message in [Message::text("hällo"), Message::binary(Bytes::from(large)), Message::text("")]
    {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.send(Message::Ping(Bytes::from_static(b"p"))).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"p")));
    socket.close(None).await.unwrap();
    while socket.next().await.is_some_and(|message| message.is_ok()) {}
    echo.await.unwrap();
}

#[tokio::test]
async fn open_sockets_do_not_keep_a_server_that_shall_go() {
    let mut server = TestServer::start();
    let id = server.create("{}")["id"].as_str().unwrap().to_owned();
    let made = server.call(
        "POST",
        &format!("/toolbox/{id}/process/pty"),
        r#"{"id":"p","cols":80,"rows":24}"#,
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let key = [("authorization", format!("Bearer {KEY}"))];
    let terminal = format!("/toolbox/{id}/process/pty/p/connect");
    let mut open = connect(&server.addr, &terminal, &key).await;
    let mut events = connect(&server.addr, EVENTS, &[]).await;
    assert!(text(&mut events).await.starts_with("0{"));

    let (server, id) = tokio::task::spawn_blocking(move || {
        server.end_and_restart();
        (server, id)
    })
    .await
    .unwrap();
    while open.next().await.is_some_and(|message| message.is_ok()) {}
    // What the terminal runs goes on, and the next server leads there again.
    let mut again = connect(&server.addr, &terminal, &key).await;
    again.send(Message::binary(Bytes::from_static(b"echo th$((1))re; exit 3\n"))).await.unwrap();
    let mut screen = Vec::new();
    while let Some(Ok(message)) = again.next().await {
        screen.extend_from_slice(&message.into_data());
    }
    let screen = String::from_utf8_lossy(&screen);
    assert!(screen.contains("th1re"), "{screen}");
    assert_eq!(server.execute(&id, "echo still"), "still\n");
}

/// Reads a terminal to its end: the close frame's code and reason, if one came.
async fn closing(socket: &mut Socket) -> Option<(u16, Value)> {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(Some(frame)) = message {
            return Some((
                frame.code.into(),
                serde_json::from_str(&frame.reason).unwrap_or_default(),
            ));
        }
    }
    None
}

#[tokio::test]
async fn terminals_close_with_the_recorded_codes() {
    let server = TestServer::start();
    let id = server.create("{}")["id"].as_str().unwrap().to_owned();
    let key = [("authorization", format!("Bearer {KEY}"))];
    let table = [
        ("exit-0", "exit 0\n", 1000, json!({ "exitCode": 0 })),
        (
            "kill-self",
            "kill -9 $$\n",
            1011,
            json!({ "exitCode": -1, "exitReason": "non-zero exit" }),
        ),
        ("delete-pty", "", 1011, json!({ "exitCode": 137, "exitReason": "SIGKILL" })),
    ];
    for (name, input, code, reason) in table {
        let body = json!({ "id": name, "cols": 80, "rows": 24 }).to_string();
        let made = server.call("POST", &format!("/toolbox/{id}/process/pty"), &body);
        assert_eq!(made.status, 201, "{}", made.text());
        let terminal = format!("/toolbox/{id}/process/pty/{name}");
        let mut socket = connect(&server.addr, &format!("{terminal}/connect"), &key).await;
        assert_eq!(text(&mut socket).await, r#"{"status":"connected","type":"control"}"#);
        if input.is_empty() {
            assert_eq!(server.call("DELETE", &terminal, "").status, 200);
        } else {
            socket.send(Message::binary(Bytes::from_static(input.as_bytes()))).await.unwrap();
        }
        assert_eq!(closing(&mut socket).await, Some((code, reason)), "{name}");
    }
}

#[tokio::test]
async fn a_stop_ends_what_is_open_and_closed_ports_are_told() {
    let server = TestServer::start();
    let id = server.create("{}")["id"].as_str().unwrap().to_owned();
    let key = [("authorization", format!("Bearer {KEY}"))];
    let body = r#"{"id":"p","cols":80,"rows":24}"#;
    assert_eq!(server.call("POST", &format!("/toolbox/{id}/process/pty"), body).status, 201);
    let terminal = format!("/toolbox/{id}/process/pty/p/connect");
    let mut open = connect(&server.addr, &terminal, &key).await;

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let headers = format!("Host: {free}-{id}.localhost\r\nAuthorization: Bearer {KEY}\r\n");
    let nobody = server.raw("GET", "/", &headers, "");
    // Daytona says nothing here; ours says that nobody listens.
    assert_eq!((nobody.status, &nobody.json()["code"]), (502, &json!("BAD_GATEWAY")));
    assert_eq!(server.call("POST", &format!("/api/sandbox/{id}/stop"), "").status, 200);
    while open.next().await.is_some_and(|message| message.is_ok()) {}
    let stopped = server.raw("GET", "/", &headers, "");
    assert_eq!((stopped.status, &stopped.json()["code"]), (400, &json!("BAD_REQUEST")));
}
