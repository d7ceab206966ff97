//! Servers inside the sandbox.

use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::toolbox::ToolboxUnderTest;
use crate::support::unix_http::listen;

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
