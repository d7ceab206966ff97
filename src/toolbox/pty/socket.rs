//! A client's WebSocket on a terminal.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};

use super::super::websocket;
use super::terminal::{Output, Terminal, Watching};
use crate::wire::pty::{CloseReason, Control};

/// The largest message a client may send; terminals are typed into, not uploaded to.
pub(super) const MESSAGE: usize = 64 << 10;
/// How long one message may take to be sent to a client that was let go.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Why a connection is over.
enum Over {
    /// The program ended; its output was sent before.
    Ended(CloseReason),
    /// The client closed, or is gone.
    Left,
    /// The client stood still.
    TooSlow,
    /// The client sent more than it may.
    TooBig,
}

fn control(status: &str) -> Control {
    Control {
        error: None,
        status: status.to_owned(),
        r#type: "control".to_owned(),
        exit_code: None,
        exit_reason: None,
    }
}

fn text(control: &Control) -> Message {
    Message::text(serde_json::to_string(control).unwrap_or_default())
}

/// Tells a client that there is nothing to connect to.
pub(super) async fn refuse(mut socket: WebSocket, why: String) {
    let why = format!("Failed to connect to PTY session: {why}");
    let message = text(&Control { error: Some(why), ..control("error") });
    if socket.send(message).await.is_ok() {
        websocket::close(socket, 1011, "not connected".to_owned()).await;
    }
}

/// Serves a client: `connected` first, then all output, then the end. `exited` is for those who asked.
/// `start` starts the program, if it waits for its first client; by then the client misses nothing.
pub(super) async fn serve(
    mut socket: WebSocket,
    terminal: Arc<Terminal>,
    says_exited: bool,
    start: impl FnOnce() -> Result<(), String>,
) {
    let (number, watching) = terminal.join();
    if let Err(why) = start() {
        terminal.leave(number);
        return refuse(socket, why).await;
    }
    if socket.send(text(&control("connected"))).await.is_err() {
        return terminal.leave(number);
    }
    let (mut sink, mut stream) = socket.split();
    let over = tokio::select! {
        over = forward(&mut sink, watching) => over,
        over = listen(&mut stream, &terminal) => over,
    };
    terminal.leave(number);
    let Ok(mut socket) = sink.reunite(stream) else { return };
    match over {
        Over::Left => {}
        Over::TooBig => websocket::close(socket, 1009, String::new()).await,
        Over::TooSlow => {
            let farewell = websocket::close(socket, 1008, "slow consumer".to_owned());
            let _ = tokio::time::timeout(LAST_WORD, farewell).await;
        }
        Over::Ended(reason) => {
            if says_exited {
                let CloseReason { exit_code, exit_reason } = reason.clone();
                let exited =
                    Control { exit_code: Some(exit_code), exit_reason, ..control("exited") };
                if socket.send(text(&exited)).await.is_err() {
                    return;
                }
            }
            let code = if reason.exit_code == 0 { 1000 } else { 1011 };
            let reason = serde_json::to_string(&reason).unwrap_or_default();
            websocket::close(socket, code, reason).await;
        }
    }
}

async fn forward(sink: &mut SplitSink<WebSocket, Message>, mut watching: Watching) -> Over {
    let too_slow = watching.too_slow.clone();
    let send_all = async {
        loop {
            let sent = match watching.output.recv().await {
                Some(Output::Bytes(bytes)) => sink.send(Message::Binary(bytes)).await,
                Some(Output::Ended(reason)) => return Over::Ended(reason),
                None => return Over::TooSlow,
            };
            if sent.is_err() {
                return Over::Left;
            }
        }
    };
    tokio::select! {
        over = send_all => over,
        () = too_slow.cancelled() => Over::TooSlow,
    }
}

async fn listen(stream: &mut SplitStream<WebSocket>, terminal: &Terminal) -> Over {
    let mut closing = false;
    while let Some(message) = stream.next().await {
        match message {
            Ok(Message::Text(text)) => terminal.type_in(Bytes::from(text)).await,
            Ok(Message::Binary(bytes)) => terminal.type_in(bytes).await,
            Ok(Message::Close(_)) => closing = true,
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Err(err) if !closing && err.to_string().contains("too long") => return Over::TooBig,
            Err(_) => return Over::Left,
        }
    }
    Over::Left
}
