//! The control plane's routes.

mod about;
mod create;
mod list;
mod sandboxes;
mod snapshots;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use serde_json::Value;

pub(super) use about::health;

use super::life::Life;
use super::problem::Problem;

/// Most bytes of a JSON body; more is answered like an unknown route, as Daytona does.
const BODY: usize = 100 * 1024;

/// Every route below `/api`.
pub(super) fn routes(life: Arc<Life>) -> Router<Arc<Life>> {
    let guarded = Router::new()
        .merge(about::guarded())
        .merge(sandboxes::routes())
        .merge(snapshots::routes())
        .layer(from_fn_with_state(life, authenticate));
    Router::new()
        .merge(about::open())
        .merge(guarded)
        .route("/socket.io/", axum::routing::get(super::events::socket))
        .fallback(nowhere)
        .method_not_allowed_fallback(nowhere)
}

/// What is not there, also by method.
pub(super) async fn nowhere(request: Request) -> Problem {
    let uri = original(&request);
    Problem::no_route(request.method(), &uri)
}

fn original(request: &Request) -> Uri {
    let original = request.extensions().get::<axum::extract::OriginalUri>();
    original.map_or_else(|| request.uri().clone(), |uri| uri.0.clone())
}

async fn authenticate(State(life): State<Arc<Life>>, request: Request, next: Next) -> Response {
    if life.gate.admits(request.headers()) {
        return next.run(request).await;
    }
    axum::response::IntoResponse::into_response(Problem::unauthorized())
}

/// Reads a JSON body. An empty one is an empty object, whatever its type claims to be.
async fn json(request: Request) -> Result<Value, Problem> {
    let uri = original(&request);
    let method: Method = request.method().clone();
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned);
    let Ok(bytes) = to_bytes(request.into_body(), BODY).await else {
        return Err(Problem::no_route(&method, &uri));
    };
    if bytes.is_empty() {
        return Ok(Value::Object(Default::default()));
    }
    if kind.as_deref().is_some_and(|kind| !kind.contains("json")) {
        // Daytona ignores such a body and creates a sandbox of defaults, which nobody ever wanted.
        return Err(Problem::bad_request("the body must be sent as application/json"));
    }
    match serde_json::from_slice(&bytes) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(Value::Array(_)) => Ok(Value::Object(Default::default())),
        _ => Err(Problem::bad_request("Invalid JSON in request body")),
    }
}

/// The value of a query key, decoded; the last one counts.
fn query(uri: &Uri, key: &str) -> Option<String> {
    queries(uri, key).pop()
}

/// Every value of a repeated query key, also spelled `key[]`.
fn queries(uri: &Uri, key: &str) -> Vec<String> {
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .filter(|(name, _)| name.strip_suffix("[]").unwrap_or(name) == key)
        .map(|(_, value)| value)
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        match (bytes[at], hex.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A body without content.
fn empty() -> Body {
    Body::empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_and_may_repeat() {
        let uri: Uri =
            "/a?states=x&states%5B%5D=y&labels=%7B%22a%22%3A%22b+c%22%7D&z".parse().unwrap();
        assert_eq!(queries(&uri, "states"), ["x", "y"]);
        assert_eq!(query(&uri, "labels").as_deref(), Some(r#"{"a":"b c"}"#));
        assert_eq!(query(&uri, "z").as_deref(), Some(""));
        assert_eq!(query(&uri, "absent"), None);
    }
}
