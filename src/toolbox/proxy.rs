//! `ANY /proxy/{port}/{path}`: a server inside the sandbox, reached through the toolbox.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::error::Problem;
use super::server::Shared;

/// Headers that belong to one hop.
const HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/proxy/{port}", any(forward))
        .route("/proxy/{port}/", any(forward))
        .route("/proxy/{port}/{*path}", any(forward))
}

async fn forward(request: Request) -> Result<Response, Problem> {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str()).to_owned();
    let rest = target.strip_prefix("/proxy/").unwrap_or_default();
    let (port, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let number = port.parse::<u16>().ok().filter(|number| *number > 0);
    let number =
        number.ok_or_else(|| Problem::bad_request(format_args!("invalid port \"{port}\"")))?;
    if !path.starts_with('/') {
        // Relative, so that it is right behind any prefix.
        return Ok((StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, format!("{port}/{path}"))])
            .into_response());
    }
    exchange(request, number, path).await
}

fn unreachable(port: u16, err: impl std::fmt::Display) -> Problem {
    let message = format!("bad gateway: localhost:{port}: {err}");
    Problem::new(StatusCode::BAD_GATEWAY, "BAD_GATEWAY", message)
}

/// Sends one request to the port and hands its answer back, body and upgraded connection streamed.
async fn exchange(mut request: Request, port: u16, path: &str) -> Result<Response, Problem> {
    let stream = connect(port).await.map_err(|err| unreachable(port, err))?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|err| unreachable(port, err))?;
    tokio::spawn(async move {
        if let Err(err) = connection.with_upgrades().await {
            tracing::debug!(%err, port, "a proxied connection ended early");
        }
    });
    let ours = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
    let upgrade = upgrade_of(request.headers());
    *request.uri_mut() = path.parse::<Uri>().map_err(Problem::bad_request)?;
    outgoing(request.headers_mut(), port, upgrade.as_ref());
    let mut answer = sender.send_request(request).await.map_err(|err| unreachable(port, err))?;
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

/// By address, not by name: a sandbox may lack a hosts file.
async fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = match TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port)).await {
        Ok(stream) => stream,
        Err(first) => match TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, port)).await {
            Ok(stream) => stream,
            Err(_) => return Err(first),
        },
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let asks =
        asks.flat_map(|text| text.split(',')).any(|t| t.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| asks).cloned()
}

fn outgoing(headers: &mut HeaderMap, port: u16, upgrade: Option<&HeaderValue>) {
    strip(headers);
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
    if let Ok(host) = HeaderValue::from_str(&format!("localhost:{port}")) {
        headers.insert(header::HOST, host);
    }
    let forwarded = HeaderName::from_static("x-forwarded-for");
    headers.entry(forwarded).or_insert(HeaderValue::from_static("127.0.0.1"));
}

/// Takes out what belongs to the hop, also what `Connection` names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP) {
        headers.remove(name);
    }
}

async fn splice(ours: hyper::upgrade::OnUpgrade, theirs: hyper::upgrade::OnUpgrade) {
    if let (Ok(ours), Ok(theirs)) = (ours.await, theirs.await) {
        // Either side may hang up whenever it likes.
        let _ =
            tokio::io::copy_bidirectional(&mut TokioIo::new(ours), &mut TokioIo::new(theirs)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hop_s_headers_stay_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Mine, Upgrade"),
            ("x-mine", "1"),
            ("upgrade", "websocket"),
            ("cookie", "a=b"),
        ] {
            headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let upgrade = upgrade_of(&headers);
        outgoing(&mut headers, 3999, upgrade.as_ref());
        let mut names: Vec<_> =
            headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "connection: Upgrade",
                "cookie: a=b",
                "host: localhost:3999",
                "upgrade: websocket",
                "x-forwarded-for: 127.0.0.1"
            ]
        );
    }
}
