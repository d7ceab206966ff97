//! Terminals in a sandbox, as a view on what they print.
//!
//! Two ways lead in: one upgrade that creates the terminal (new services), or a create followed by a
//! connect (0.190). The first that works is remembered.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, header};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::error::Error;
use super::refusal::Subject;
use super::retry::Repeat;
use super::toolbox::Toolbox;
use crate::wire::pty::{CloseReason, Control, CreatePty, ENVS_PREFIX, EXIT_CONTROL, PtyCreated};
use crate::wire::pty::{PtyList, Resize};

/// The service sends at most 32 KiB at once; a frame far beyond is not from it.
const FRAME: usize = 1 << 20;
/// The service closes on messages over 64 KiB.
const INPUT: usize = 32 << 10;

/// A terminal to open.
#[derive(Debug, Clone)]
pub struct PtyOptions {
    /// Chosen by us, unique in the sandbox.
    pub id: String,
    /// Columns, 1 to 1000.
    pub cols: u16,
    /// Rows, 1 to 1000.
    pub rows: u16,
    /// Default: the work directory.
    pub cwd: Option<String>,
    /// Added to the shell's environment. Readable by whoever can list terminals: no secrets.
    pub envs: BTreeMap<String, String>,
}

/// What a terminal sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PtyEvent {
    /// The connection stands; output follows.
    Connected,
    /// Bytes as the program wrote them.
    Output(Bytes),
    /// An answer to a ping, or a ping: somebody is there.
    Alive,
    /// The shell ended.
    Exited(i32),
    /// The service reports an error; the connection ends.
    Failed(String),
    /// The connection was closed for a reason that is not the shell's end. 1006 stands for none given.
    Closed {
        /// Close code.
        code: u16,
        /// Words.
        reason: String,
    },
}

/// An open terminal. Dropping it closes the connection, not the terminal: see [`Toolbox::pty_delete`].
#[derive(Debug)]
pub struct Pty {
    socket: WebSocketStream<reqwest::Upgraded>,
}

impl Toolbox {
    /// Opens a terminal with the user's shell in it.
    pub async fn pty_connect(&self, options: &PtyOptions) -> Result<Pty, Error> {
        if !self.is_old() {
            if let Some(pty) = self.pty_create_connect(options).await? {
                return Ok(pty);
            }
            self.old_terminals.store(true, Ordering::Relaxed);
        }
        self.pty_create(options).await?;
        let upgrade = async || {
            let path = ["process", "pty", &options.id, "connect"];
            let what = "connect to a terminal".to_owned();
            self.client().upgrade(self.call(what, Subject::Toolbox, Method::GET, &path)?).await
        };
        let upgraded = self.settle(Repeat::Harmless, upgrade).await?;
        let upgraded = upgraded.ok_or_else(|| Error::Pty { why: "it is gone".into() })?;
        Ok(Pty::new(upgraded).await)
    }

    async fn pty_create_connect(&self, options: &PtyOptions) -> Result<Option<Pty>, Error> {
        use base64::Engine as _;
        let upgrade = async || {
            let path = ["process", "pty", "create-connect"];
            let what = "open a terminal".to_owned();
            let mut call = self.call(what, Subject::Toolbox, Method::GET, &path)?;
            let (cols, rows) = (options.cols.to_string(), options.rows.to_string());
            call.url.query_pairs_mut().extend_pairs([
                ("id", options.id.as_str()),
                ("cols", &cols),
                ("rows", &rows),
            ]);
            if let Some(cwd) = &options.cwd {
                call.url.query_pairs_mut().append_pair("cwd", cwd);
            }
            let mut offers = EXIT_CONTROL.to_owned();
            if !options.envs.is_empty() {
                let json = serde_json::to_vec(&options.envs).unwrap_or_default();
                let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json);
                offers = format!("{offers}, {ENVS_PREFIX}{text}");
            }
            let value = header::HeaderValue::from_str(&offers).expect("base64 is header text");
            call.headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
            self.client().upgrade(call).await
        };
        Ok(match self.settle(Repeat::Harmless, upgrade).await? {
            Some(upgraded) => Some(Pty::new(upgraded).await),
            None => None,
        })
    }

    async fn pty_create(&self, options: &PtyOptions) -> Result<(), Error> {
        let body = CreatePty {
            id: options.id.clone(),
            cwd: options.cwd.clone(),
            envs: (!options.envs.is_empty()).then(|| options.envs.clone()),
            cols: Some(options.cols),
            rows: Some(options.rows),
            lazy_start: Some(true),
        };
        let create = async || {
            let what = "open a terminal".to_owned();
            let call = self.call(what, Subject::Toolbox, Method::POST, &["process", "pty"])?;
            match self.client().json::<PtyCreated>(call.json(&body).harmless()).await {
                // Our own first delivery: the id is random.
                Err(error) if error.http_status() == Some(409) => Ok(()),
                result => result.map(drop),
            }
        };
        self.settle(Repeat::Harmless, create).await
    }

    /// Ends a terminal and everything in it. One that is gone is a success.
    pub async fn pty_delete(&self, id: &str) -> Result<(), Error> {
        let what = "close a terminal".to_owned();
        let call = self.call(what, Subject::Toolbox, Method::DELETE, &["process", "pty", id])?;
        match self.client().unit(call).await {
            Err(error) if error.is_missing() => Ok(()),
            result => result,
        }
    }

    /// The terminals of the sandbox.
    pub async fn pty_list(&self) -> Result<PtyList, Error> {
        let what = "list terminals".to_owned();
        let call = self.call(what, Subject::Toolbox, Method::GET, &["process", "pty"])?;
        self.client().json(call).await
    }

    /// Changes the size of a terminal.
    pub async fn pty_resize(&self, id: &str, cols: u16, rows: u16) -> Result<(), Error> {
        let what = "resize a terminal".to_owned();
        let path = ["process", "pty", id, "resize"];
        let call = self.call(what, Subject::Toolbox, Method::POST, &path)?;
        self.client().unit(call.json(&Resize { cols, rows }).harmless()).await
    }
}

impl Pty {
    async fn new(upgraded: reqwest::Upgraded) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(FRAME))
            .max_frame_size(Some(FRAME))
            .read_buffer_size(64 << 10);
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
        Self { socket }
    }

    /// Types bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for piece in bytes.chunks(INPUT) {
            let message = Message::Binary(Bytes::copy_from_slice(piece));
            self.socket.send(message).await.map_err(|e| lost(&e))?;
        }
        Ok(())
    }

    /// Asks whether somebody is there; the answer is [`PtyEvent::Alive`].
    pub async fn ping(&mut self) -> Result<(), Error> {
        self.socket.send(Message::Ping(Bytes::new())).await.map_err(|e| lost(&e))
    }

    /// What comes next. After `Exited`, `Failed` or `Closed` nothing more comes. May be dropped while
    /// it waits without losing anything.
    pub async fn next(&mut self) -> PtyEvent {
        match self.socket.next().await {
            None => PtyEvent::Closed { code: 1006, reason: String::new() },
            Some(Err(error)) => PtyEvent::Closed { code: 1006, reason: error.to_string() },
            Some(Ok(message)) => meaning(message),
        }
    }
}

fn meaning(message: Message) -> PtyEvent {
    match message {
        Message::Binary(bytes) => PtyEvent::Output(bytes),
        Message::Text(text) => match serde_json::from_str::<Control>(&text) {
            Ok(control) if control.r#type == "control" => match control.status.as_str() {
                "connected" => PtyEvent::Connected,
                "exited" => PtyEvent::Exited(control.exit_code.unwrap_or_default()),
                _ => PtyEvent::Failed(control.error.unwrap_or(control.status)),
            },
            _ => PtyEvent::Output(Bytes::copy_from_slice(text.as_bytes())),
        },
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => PtyEvent::Alive,
        Message::Close(None) => PtyEvent::Closed { code: 1005, reason: String::new() },
        Message::Close(Some(frame)) => {
            // The reason decides: 1011 is an exit status with this JSON and trouble without.
            match serde_json::from_str::<CloseReason>(&frame.reason) {
                Ok(reason) => PtyEvent::Exited(reason.exit_code),
                Err(_) => {
                    PtyEvent::Closed { code: frame.code.into(), reason: frame.reason.to_string() }
                }
            }
        }
    }
}

fn lost(error: &WsError) -> Error {
    Error::Pty { why: format!("the connection was lost: {error}") }
}
