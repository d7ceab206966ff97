//! The event gateway: the least of Engine.IO 4 and Socket.IO 5 that official clients need.
//!
//! They poll as well, so this only spares them the wait for the next poll.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::life::{Happening, Life};

const PING: Duration = Duration::from_secs(25);
/// How long a client may take to show its key.
const CONNECT: Duration = Duration::from_secs(10);

/// `GET /api/socket.io/`. The key comes in the first frame, not in a header.
pub(super) async fn socket(State(life): State<Arc<Life>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(1 << 16).on_upgrade(move |socket| async move {
        if let Err(err) = talk(life, socket).await {
            tracing::debug!(%err, "an event socket ended");
        }
    })
}

async fn talk(life: Arc<Life>, mut socket: WebSocket) -> Result<(), axum::Error> {
    let id = super::access::random(20);
    let hello = json!({ "sid": id, "upgrades": [], "pingInterval": PING.as_millis() as u64, "pingTimeout": 20000, "maxPayload": 1_000_000 });
    socket.send(Message::text(format!("0{hello}"))).await?;
    let first = tokio::time::timeout(CONNECT, socket.recv()).await.ok().flatten().transpose()?;
    let Some(Message::Text(first)) = first else { return Ok(()) };
    let payload: Value =
        first.strip_prefix("40").and_then(|t| serde_json::from_str(t).ok()).unwrap_or_default();
    if !payload["token"].as_str().is_some_and(|key| life.gate.opens(key)) {
        return socket.send(Message::text(r#"44{"message":"Unauthorized"}"#)).await;
    }
    let mut happenings = life.happenings.subscribe();
    socket.send(Message::text(format!("40{}", json!({ "sid": id })))).await?;
    let mut pings = tokio::time::interval(PING);
    pings.reset();
    loop {
        tokio::select! {
            _ = pings.tick() => socket.send(Message::text("2")).await?,
            () = life.stop.cancelled() => return Ok(()),
            happening = happenings.recv() => match happening {
                Ok(happening) => socket.send(Message::text(frame(&happening))).await?,
                // Events are a help, not a record: who missed some polls.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
            message = socket.recv() => match message.transpose()? {
                None | Some(Message::Close(_)) => return Ok(()),
                Some(Message::Text(text)) if text.starts_with("41") => return Ok(()),
                Some(_) => {}
            },
        }
    }
}

fn frame(happening: &Happening) -> String {
    let event = match happening.old {
        None => json!(["sandbox.created", happening.sandbox]),
        Some(old) => json!(["sandbox.state.updated", {
            "sandbox": happening.sandbox,
            "oldState": old.on_wire(),
            "newState": happening.new.on_wire(),
        }]),
    };
    format!("42{event}")
}
