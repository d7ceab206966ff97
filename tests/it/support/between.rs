//! An HTTP proxy that sees every call between the client and a service, and may answer in its place or
//! change what is answered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// What to do with one call.
pub enum Act {
    /// Let it through.
    Pass,
    /// Answer with this status line (without version), further head lines and body, and never ask.
    Answer(&'static str, &'static str, String),
    /// Let it through and hand out what becomes of the body.
    Change(Box<dyn FnOnce(String) -> String + Send>),
}

/// A call as `METHOD /path`, and its body as text.
pub struct Call<'c> {
    pub name: &'c str,
    pub body: &'c str,
}

type Choose = dyn Fn(&Call<'_>) -> Act + Send + Sync;

/// A running proxy.
pub struct Between {
    pub addr: SocketAddr,
}

impl Between {
    /// Starts one in front of `upstream` (host and port).
    pub fn start(
        upstream: &str,
        choose: impl Fn(&Call<'_>) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let upstream = upstream.to_owned();
        let choose: Arc<Choose> = Arc::new(choose);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (upstream, choose) = (upstream.clone(), choose.clone());
                std::thread::spawn(move || {
                    // A caller that goes away is part of the game.
                    let _ = serve(client, addr, &upstream, &*choose);
                });
            }
        });
        Self { addr }
    }

    /// What the client is told to talk to.
    pub fn api_url(&self) -> String {
        format!("http://{}/api", self.addr)
    }
}

fn serve(
    mut client: TcpStream,
    own: SocketAddr,
    upstream: &str,
    choose: &Choose,
) -> std::io::Result<()> {
    let head = read_head(&mut client)?;
    let line = head.lines().next().unwrap_or_default();
    let name = line.rsplit_once(' ').map_or(line, |(name, _)| name).to_owned();
    let length = header(&head, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    let small = header(&head, "upgrade").is_none() && length < 1 << 20;
    let mut body = vec![0; if small { length } else { 0 }];
    client.read_exact(&mut body)?;
    let text = String::from_utf8_lossy(&body).into_owned();
    let act = choose(&Call { name: &name, body: &text });
    if let Act::Answer(status, heads, body) = act {
        return write!(
            client,
            "HTTP/1.1 {status}\r\n{heads}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
    }
    let mut server = TcpStream::connect(upstream)?;
    if header(&head, "upgrade").is_some() {
        server.write_all(head.as_bytes())?;
        return both_ways(client, server);
    }
    server.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes())?;
    server.write_all(&body)?;
    if !name.contains("/process/execute") && !name.contains("/api/") {
        return both_ways(client, server);
    }
    let answered = read_head(&mut server)?;
    let mut bytes = Vec::new();
    server.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).replace(upstream, &own.to_string());
    let text = if let Act::Change(change) = act { change(text) } else { text };
    for line in
        answered.trim_end().lines().filter(|l| !l.to_lowercase().starts_with("content-length"))
    {
        write!(client, "{line}\r\n")?;
    }
    write!(client, "Content-Length: {}\r\n\r\n{text}", text.len())
}

fn both_ways(client: TcpStream, server: TcpStream) -> std::io::Result<()> {
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(std::net::Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client);
    let copied = std::io::copy(&mut from_server, &mut to_client).map(drop);
    let _ = to_client.shutdown(std::net::Shutdown::Both);
    copied
}

fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
