//! A port of a sandbox under a host name of its own: `http://{port}-{id or token}.localhost`.
//!
//! There is no login page to send a browser to, so a missing credential is a plain 401.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::access;
use super::life::Life;
use super::problem::of_proxy;
use super::proxy;
use super::store::Record;

/// Ports that need a credential even when the sandbox is public: toolbox, web terminal, recordings.
const NEVER_PUBLIC: [u16; 3] = [2280, 22222, 33333];
const COOKIE_SECONDS: u32 = 3600;

/// Serves one request that came to a preview name.
pub(super) async fn serve(life: Arc<Life>, mut request: Request, port: u16, key: &str) -> Response {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let refuse = |words: &str| {
        of_proxy(StatusCode::UNAUTHORIZED, &format!("unauthorized: {words}"), &method, &path)
    };
    let Some((record, signed)) = find(&life, port, key) else {
        return refuse("authentication failed: this link is unknown or has ended");
    };
    let cookie = format!("daytona-sandbox-auth-{key}");
    let by_query = proxy::query_key(request.uri());
    let open = signed
        || record.public && !NEVER_PUBLIC.contains(&port)
        || credentials(request.headers(), &cookie, by_query.clone())
            .iter()
            .any(|value| access::equal(value, &record.token) || life.gate.opens(value));
    if !open {
        return refuse(
            "missing authentication: add the header X-Daytona-Preview-Token or the query parameter DAYTONA_SANDBOX_AUTH_KEY, or ask for a signed link",
        );
    }
    let target = request.uri().path_and_query().map_or("/", |t| t.as_str());
    let target = proxy::without_key(target);
    // Port 2280 is the toolbox itself.
    let target = if port == 2280 { target } else { format!("/proxy/{port}{target}") };
    prepare(&life, request.headers_mut(), &cookie, &record.token);
    let mut response = proxy::forward(&life, &record.id, request, &target, &path).await;
    if by_query.is_some() && !signed {
        // The page's own requests cannot carry the parameter.
        let value = format!(
            "{cookie}={}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax",
            record.token
        );
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
    response
}

/// The sandbox by id, or by a signed token that is valid for this port; and whether it was the latter.
fn find(life: &Life, port: u16, key: &str) -> Option<(Record, bool)> {
    if let Some(record) = life.get(key).ok().filter(|record| record.id == key) {
        return Some((record, false));
    }
    let now = life.clock.now();
    let fits = |record: &Record| {
        record
            .signed
            .iter()
            .any(|s| s.port == port && s.until > now && access::equal(&s.token, key))
    };
    life.all().into_iter().find(fits).map(|record| (record, true))
}

fn credentials(headers: &HeaderMap, cookie: &str, query: Option<String>) -> Vec<String> {
    let header = headers.get(proxy::TOKEN_HEADER).and_then(|value| value.to_str().ok());
    let bearer = access::bearer(headers);
    let cookie = cookies(headers).find(|(name, _)| *name == cookie).map(|(_, value)| value);
    [header, bearer, cookie].into_iter().flatten().map(str::to_owned).chain(query).collect()
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

/// The application sees where it was reached, and none of our credentials.
fn prepare(life: &Life, headers: &mut HeaderMap, cookie: &str, token: &str) {
    let ours =
        access::bearer(headers).is_some_and(|b| life.gate.opens(b) || access::equal(b, token));
    if ours {
        headers.remove(header::AUTHORIZATION);
    }
    headers.remove(proxy::TOKEN_HEADER);
    let kept: Vec<String> = cookies(headers)
        .filter(|(name, _)| *name != cookie)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    headers.remove(header::COOKIE);
    if let Ok(value) = HeaderValue::from_str(&kept.join("; "))
        && !kept.is_empty()
    {
        headers.insert(header::COOKIE, value);
    }
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert(HeaderName::from_static("x-forwarded-host"), host);
        headers
            .insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("http"));
    }
}
