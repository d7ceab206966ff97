//! The way into a sandbox: one request to its toolbox, bytes untouched in both directions.

use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::net::UnixStream;

use super::access;
use super::life::{Life, Reach, Using};
use super::problem::of_proxy;
use crate::jail::socket::Address;
use crate::wire::hop;

/// The query parameter that can carry a credential where headers cannot be set.
pub(super) const QUERY_KEY: &str = "DAYTONA_SANDBOX_AUTH_KEY";
/// The header that can carry a preview token.
pub(super) const TOKEN_HEADER: &str = "x-daytona-preview-token";
const SKIP_ACTIVITY: &str = "x-daytona-skip-last-activity-update";

const NO_ADDRESS: &str = "bad request: failed to resolve container IP after 3 attempts: no IP address found. Is the Sandbox started?";

/// `ANY /toolbox/{id}/...`
pub(super) async fn toolbox(State(life): State<Arc<Life>>, mut request: Request) -> Response {
    let target = request.uri().path_and_query().map_or("/", |t| t.as_str()).to_owned();
    let rest = target.strip_prefix("/toolbox/").unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (id, inner) = rest.split_at(end);
    let id = id.to_owned();
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let refuse = |status, message: &str| of_proxy(status, message, &method, &path);
    if let Err(message) = admit(&life, &id, request.headers(), request.uri()) {
        return refuse(StatusCode::UNAUTHORIZED, &format!("unauthorized: {message}"));
    }
    if !inner.starts_with('/') {
        return refuse(StatusCode::NOT_FOUND, "not found: not found");
    }
    let inner = without_key(inner);
    strip_credentials(request.headers_mut());
    forward(&life, &id, request, &inner, &path).await
}

/// One valid credential is enough, wherever it is.
fn admit(life: &Life, id: &str, headers: &HeaderMap, uri: &Uri) -> Result<(), &'static str> {
    let token = life.get(id).ok().filter(|record| record.id == id).map(|record| record.token);
    let opens =
        |key: &str| life.gate.opens(key) || token.as_ref().is_some_and(|t| access::equal(t, key));
    let bearer = access::bearer(headers);
    let header = headers.get(TOKEN_HEADER).and_then(|value| value.to_str().ok());
    let query = query_key(uri);
    // An unknown sandbox is refused like a wrong key, in Daytona's words.
    if token.is_some() && [bearer, header, query.as_deref()].into_iter().flatten().any(opens) {
        return Ok(());
    }
    Err(match (bearer, header, query) {
        (Some(_), _, _) => "authentication failed: Bearer token is invalid",
        (_, Some(_), _) => "authentication failed: Auth key header is invalid",
        (_, _, Some(_)) => "authentication failed: Auth key query parameter is invalid",
        _ => {
            "missing authentication: provide a preview access token (via header, query parameter, or cookie) or use an API key or JWT"
        }
    })
}

/// The credential in the query.
pub(super) fn query_key(uri: &Uri) -> Option<String> {
    let pairs = uri.query()?.split('&');
    let value =
        pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == QUERY_KEY)?.1;
    Some(value.to_owned())
}

/// The same target without the credential; every other byte stays.
pub(super) fn without_key(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let is_key = |pair: &&str| pair.split('=').next() == Some(QUERY_KEY);
    if !query.split('&').any(|pair| is_key(&pair)) {
        return target.to_owned();
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_key(pair)).collect();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

fn strip_credentials(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    headers.remove(TOKEN_HEADER);
}

/// Sends the request to the sandbox's toolbox and hands its answer back. `shown` is the path named in
/// refusals.
pub(super) async fn forward(
    life: &Arc<Life>,
    id: &str,
    request: Request,
    target: &str,
    shown: &str,
) -> Response {
    let method = request.method().clone();
    let refuse = |status, message: &str| of_proxy(status, message, &method, shown);
    let socket = match life.reach(id) {
        Reach::Socket(socket) => socket,
        Reach::NotRunning => return refuse(StatusCode::BAD_REQUEST, NO_ADDRESS),
        Reach::Starting => return StatusCode::BAD_GATEWAY.into_response(),
        Reach::Going | Reach::Unknown => {
            let message = format!("not found: sandbox container not found: {id}");
            return refuse(StatusCode::NOT_FOUND, &message);
        }
    };
    let stream = match connect(&socket).await {
        Ok(stream) => stream,
        Err(err) => {
            tracing::debug!(%err, id, "a toolbox does not listen");
            life.clone().look_after(id).await;
            return refuse(StatusCode::BAD_REQUEST, NO_ADDRESS);
        }
    };
    let skip = request.headers().get(SKIP_ACTIVITY).is_some_and(|value| value == "true");
    let using = (!skip).then(|| life.using(id));
    exchange(stream, request, target, using).await.unwrap_or_else(|err| {
        tracing::debug!(%err, id, "a toolbox hung up");
        StatusCode::BAD_GATEWAY.into_response()
    })
}

async fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    let address = Address::of(socket)?;
    UnixStream::connect(address.path()).await
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    Target(#[from] axum::http::uri::InvalidUri),
}

async fn exchange(
    stream: UnixStream,
    mut request: Request,
    target: &str,
    using: Option<Using>,
) -> Result<Response, Broken> {
    *request.uri_mut() = target.parse()?;
    hop::hand_on(request.headers_mut());
    // Activity counts for as long as the connection is there.
    Ok(hop::exchange(stream, request, using).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credential_leaves_the_target_and_nothing_else_changes() {
        let table = [
            ("/a?DAYTONA_SANDBOX_AUTH_KEY=k", "/a"),
            ("/a%2Fb?x=%28&DAYTONA_SANDBOX_AUTH_KEY=k&y=1", "/a%2Fb?x=%28&y=1"),
            ("/a?x", "/a?x"),
            ("/a?", "/a?"),
            ("/a", "/a"),
        ];
        for (target, expected) in table {
            assert_eq!(without_key(target), expected);
        }
        let uri: Uri = "/a?b=1&DAYTONA_SANDBOX_AUTH_KEY=k1".parse().unwrap();
        assert_eq!(query_key(&uri).as_deref(), Some("k1"));
    }
}
