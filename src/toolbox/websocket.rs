//! What all WebSockets of the toolbox have in common.

use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use futures_util::{SinkExt, StreamExt};

use super::error::Problem;
use crate::wire::pty::{EXIT_CONTROL, SDK_VERSION_PREFIX};

/// How long a close may take before the connection is cut.
const FAREWELL: Duration = Duration::from_secs(5);

/// An upgrade as an extractor gives it.
pub(super) type MaybeUpgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// Refuses what is no upgrade.
pub(super) fn required(upgrade: MaybeUpgrade) -> Result<WebSocketUpgrade, Problem> {
    upgrade.map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", "bad request: not a WebSocket upgrade")
    })
}

/// Chooses exactly one of the offered subprotocols, because some clients fail without: the one that
/// promises an `exited` message, else the version, else the first.
pub(super) fn choose(upgrade: &mut WebSocketUpgrade) {
    let offers: Vec<_> = upgrade.requested_protocols().cloned().collect();
    let rank = |offer: &[u8]| match offer {
        _ if offer == EXIT_CONTROL.as_bytes() => 0,
        _ if offer.starts_with(SDK_VERSION_PREFIX.as_bytes()) => 1,
        _ => 2,
    };
    if let Some(best) = offers.into_iter().min_by_key(|offer| rank(offer.as_bytes())) {
        upgrade.set_selected_protocol(best);
    }
}

/// What follows a prefix in an offered subprotocol.
pub(super) fn offered<'a>(headers: &'a HeaderMap, prefix: &str) -> Option<&'a str> {
    headers
        .get_all("sec-websocket-protocol")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .find_map(|offer| offer.trim().strip_prefix(prefix))
}

/// Closes with a code and a reason, and waits until the client has read that far.
pub(super) async fn close(mut socket: WebSocket, code: u16, reason: String) {
    let farewell = async {
        let frame = CloseFrame { code, reason: reason.into() };
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
        let _ = socket.close().await;
    };
    // A client that does not answer loses the connection, as one would expect.
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}
