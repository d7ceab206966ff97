//! From an HTTP call to a WebSocket: the upgrade goes through the client, so that both share everything.

use reqwest::StatusCode;
use reqwest::header::{self, HeaderValue};

use super::call::Call;
use super::client::Client;
use super::error::{Error, Tries};
use super::failure::chain;
use super::retry::Repeat;

impl Client {
    /// Asks for an upgrade to a WebSocket; `None` for a 404.
    pub(crate) async fn upgrade(&self, mut call: Call) -> Result<Option<reqwest::Upgraded>, Error> {
        use base64::Engine as _;
        let key = uuid::Uuid::new_v4();
        let key = base64::engine::general_purpose::STANDARD.encode(key.as_bytes());
        let expected = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        for (name, value) in [
            (header::CONNECTION, "Upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, key.as_str()),
        ] {
            let value = HeaderValue::from_str(value).expect("base64 and words are header text");
            call.headers.insert(name, value);
        }
        call.repeat = Repeat::Harmless;
        call.also = &[101, 404];
        let (what, host) = (call.what.clone(), call.host());
        let incoming = self.stream(call).await?;
        let head = incoming.response;
        let bad = |why: String| Error::BadJson { what: what.clone(), host: host.clone(), why };
        match head.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::SWITCHING_PROTOCOLS => {}
            status => return Err(bad(format!("{status} where a WebSocket was asked for"))),
        }
        let accept = head.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accept.and_then(|v| v.to_str().ok()) != Some(expected.as_str()) {
            return Err(bad("the WebSocket handshake was answered with a wrong key".into()));
        }
        let upgraded = head.upgrade().await;
        upgraded.map(Some).map_err(|e| Error::Interrupted {
            what,
            host,
            why: chain(&e),
            tries: Tries::default(),
        })
    }
}
