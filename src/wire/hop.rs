//! One hop of an HTTP exchange: the local server and the toolbox both hand requests on.
//!
//! Headers that belong to the hop (RFC 9110, section 7.6.1) pass neither of them.

use axum::body::Body;
use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header,
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

const HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Takes out what belongs to the hop, also what `Connection` names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers).filter_map(|name| name.parse().ok()).collect();
    for name in named.iter().chain(&HOP) {
        headers.remove(name);
    }
}

/// Makes a request's headers those of the next hop. A wish to change protocols is passed on.
pub fn hand_on(headers: &mut HeaderMap) {
    let upgrades = tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(header::UPGRADE).filter(|_| upgrades).cloned();
    strip(headers);
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

/// Sends one request over a fresh connection and hands its answer back, body and upgraded connection streamed.
/// `held` is dropped when the connection ends. The request's target and headers are those of the next hop already.
pub async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    mut request: Request<Body>,
    held: impl Send + 'static,
) -> Result<Response<Body>, hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(async move {
        let _held = held;
        if let Err(err) = connection.with_upgrades().await {
            tracing::debug!(%err, "a connection that was handed on ended early");
        }
    });
    let ours = request.extensions_mut().remove::<OnUpgrade>();
    *request.version_mut() = Version::HTTP_11;
    let mut answer = sender.send_request(request).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let theirs = hyper::upgrade::on(&mut answer);
        if let Some(ours) = ours {
            tokio::spawn(splice(ours, theirs));
        }
    } else {
        strip(answer.headers_mut());
    }
    Ok(answer.map(Body::new))
}

async fn splice(ours: OnUpgrade, theirs: OnUpgrade) {
    if let (Ok(ours), Ok(theirs)) = (ours.await, theirs.await) {
        let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
        // Either side may hang up whenever it likes.
        let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
    }
}

/// What `Connection` names.
fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::CONNECTION).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed_on(lines: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        hand_on(&mut headers);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut lines: Vec<_> = headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn one_hop_s_headers_stay_behind() {
        let lines = [
            ("connection", "keep-alive, X-Mine"),
            ("connection", "Upgrade"),
            ("x-mine", "1"),
            ("upgrade", "websocket"),
            ("transfer-encoding", "chunked"),
            ("cookie", "a=b"),
        ];
        assert_eq!(handed_on(&lines), ["connection: Upgrade", "cookie: a=b", "upgrade: websocket"]);
        // Without the wish in `Connection` there is none.
        assert_eq!(handed_on(&lines[3..]), ["cookie: a=b"]);
    }
}
