//! HTTP and WebSocket over a unix socket.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::{Path, PathBuf};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use futures_util::StreamExt;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response as Handshake;

/// Where to send requests.
#[derive(Debug, Clone)]
pub struct UnixHttp(pub PathBuf);

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|err| panic!("{err} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub type Socket = WebSocketStream<UnixStream>;

/// All that came over a WebSocket, and how it ended.
#[derive(Debug, Default)]
pub struct Heard {
    pub texts: Vec<String>,
    /// `t` or `b` for each frame.
    pub order: String,
    pub bytes: Vec<u8>,
    pub largest: usize,
    /// `None` for an end without a close frame.
    pub close: Option<(u16, String)>,
}

impl UnixHttp {
    pub fn new(socket: &Path) -> Self {
        Self(socket.to_owned())
    }

    /// Sends a request; the answer's body is still to come.
    pub async fn open(
        &self,
        request: Request<Body>,
    ) -> axum::http::Response<hyper::body::Incoming> {
        let stream = UnixStream::connect(&self.0).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.unwrap()
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.open(request).await.into_parts();
        let body = axum::body::to_bytes(Body::new(body), usize::MAX).await.unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let method: Method = method.parse().unwrap();
        let mut request = Request::builder().method(method).uri(path).header("host", "sandbox");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], Body::empty()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], Body::empty()).await
    }

    /// Connects, or gives the status of the refusal.
    pub async fn websocket(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Socket, Handshake), StatusCode> {
        let stream = UnixStream::connect(&self.0).await.unwrap();
        let mut request = format!("ws://sandbox{path}").into_client_request().unwrap();
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        match tokio_tungstenite::client_async(request, stream).await {
            Ok(connected) => Ok(connected),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status()),
            Err(err) => panic!("{path}: {err}"),
        }
    }
}

/// Reads until the end.
pub async fn listen(socket: &mut Socket) -> Heard {
    let mut heard = Heard::default();
    while let Some(Ok(message)) = socket.next().await {
        heard.note(message);
    }
    heard
}

impl Heard {
    pub fn note(&mut self, message: Message) {
        match message {
            Message::Text(text) => {
                self.order.push('t');
                self.texts.push(text.to_string());
            }
            Message::Binary(bytes) => {
                self.order.push('b');
                self.largest = self.largest.max(bytes.len());
                self.bytes.extend_from_slice(&bytes);
            }
            Message::Close(frame) => {
                self.close = Some(frame.map_or((1005, String::new()), |frame| {
                    (frame.code.into(), frame.reason.to_string())
                }));
            }
            _ => {}
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}
