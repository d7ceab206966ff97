//! `ANY /proxy/{port}/{path}`: a server inside the sandbox, reached through the toolbox.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio::net::TcpStream;

use super::error::Problem;
use super::server::Shared;
use crate::wire::hop;

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

/// Sends one request to the port and hands its answer back.
async fn exchange(mut request: Request, port: u16, path: &str) -> Result<Response, Problem> {
    let stream = connect(port).await.map_err(|err| unreachable(port, err))?;
    *request.uri_mut() = path.parse::<Uri>().map_err(Problem::bad_request)?;
    outgoing(request.headers_mut(), port);
    hop::exchange(stream, request, ()).await.map_err(|err| unreachable(port, err))
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

/// What the program behind the port sees of the way the request came.
fn outgoing(headers: &mut HeaderMap, port: u16) {
    hop::hand_on(headers);
    if let Ok(host) = HeaderValue::from_str(&format!("localhost:{port}")) {
        headers.insert(header::HOST, host);
    }
    let forwarded = HeaderName::from_static("x-forwarded-for");
    headers.entry(forwarded).or_insert(HeaderValue::from_static("127.0.0.1"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_sees_the_port_as_its_host() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("toolbox"));
        outgoing(&mut headers, 3999);
        assert_eq!(headers[header::HOST], "localhost:3999");
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    }
}
