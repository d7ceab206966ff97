//! A TCP proxy that fails in one chosen way per request. It gives every request a connection of its own,
//! so that the n-th request is the n-th connection, and it knows enough of WebSocket to count frames.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// What happens to one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection ends after this many bytes of the answer, head included.
    CutAnswer(usize),
    /// The server acts; its answer is thrown away.
    DropAnswer,
    /// The proxy answers itself: status line without version, further heads, body.
    Answer(&'static str, &'static str, &'static str),
    /// WebSocket: the connection ends after this many frames from the server.
    DropFrame(usize),
    /// WebSocket: after this many frames from the server, a close frame with this code.
    Close(usize, u16),
}

/// Numbers that follow from a seed alone.
pub struct Seeded(u64);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

type Choose = dyn FnMut(&str, usize) -> Fault + Send;

/// A running proxy; it ends with the runtime.
pub struct FaultyProxy {
    pub addr: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FaultyProxy {
    /// Starts one. `choose` hears `METHOD /path` and the request's number from 0.
    pub async fn start(
        upstream: SocketAddr,
        choose: impl FnMut(&str, usize) -> Fault + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let choose: Arc<Mutex<Box<Choose>>> = Arc::new(Mutex::new(Box::new(choose)));
        let seen = requests.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (choose, seen) = (choose.clone(), seen.clone());
                tokio::spawn(async move {
                    // A broken connection is what this is for.
                    let _ = serve(client, upstream, &choose, &seen).await;
                });
            }
        });
        Self { addr, requests }
    }

    /// `METHOD /path` of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut client: TcpStream,
    upstream: SocketAddr,
    choose: &Mutex<Box<Choose>>,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let (head, rest) = read_head(&mut client).await?;
    let line = head.lines().next().unwrap_or_default();
    let name = line.rsplit_once(' ').map_or(line, |(name, _)| name).to_owned();
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(name.clone());
        seen.len() - 1
    };
    let fault = (choose.lock().unwrap())(&name, number);
    let upgrade = head.to_ascii_lowercase().contains("upgrade: websocket");
    let mut request = if upgrade { head } else { one_request(&head) }.into_bytes();
    request.extend_from_slice(&rest);
    if let Fault::Answer(status, heads, body) = fault {
        drain(&mut client).await;
        let answer = format!(
            "HTTP/1.1 {status}\r\n{heads}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        client.write_all(answer.as_bytes()).await?;
        return client.shutdown().await;
    }
    let mut server = TcpStream::connect(upstream).await?;
    match fault {
        Fault::CutAnswer(bytes) => {
            server.write_all(&request).await?;
            let (mut from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            let mut answer = (&mut from_server).take(bytes as u64);
            tokio::select! {
                done = copy(&mut answer, &mut to_client) => done.map(drop),
                _ = forever(copy(&mut from_client, &mut to_server)) => Ok(()),
            }
        }
        Fault::DropAnswer => {
            server.write_all(&request).await?;
            swallow(&mut client, &mut server).await
        }
        Fault::DropFrame(frames) | Fault::Close(frames, _) => {
            server.write_all(&request).await?;
            let code = if let Fault::Close(_, code) = fault { Some(code) } else { None };
            frames_then(&mut client, &mut server, frames, code).await
        }
        _ => {
            server.write_all(&request).await?;
            copy_bidirectional(&mut client, &mut server).await.map(drop)
        }
    }
}

async fn forever<T>(work: impl Future<Output = T>) {
    work.await;
    std::future::pending::<()>().await;
}

/// Reads the answer to its end and keeps it, while the client may still be sending.
async fn swallow(client: &mut TcpStream, server: &mut TcpStream) -> std::io::Result<()> {
    let (mut from_client, _to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let mut sink = tokio::io::sink();
    tokio::select! {
        done = copy(&mut from_server, &mut sink) => done.map(drop),
        _ = forever(copy(&mut from_client, &mut to_server)) => Ok(()),
    }
}

/// Reads what the client has sent by now, so that closing does not reset the connection.
async fn drain(client: &mut TcpStream) {
    let mut sink = vec![0; 64 << 10];
    let quick = Duration::from_millis(5);
    while let Ok(Ok(1..)) = tokio::time::timeout(quick, client.read(&mut sink)).await {}
}

async fn read_head(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        if let Some(at) = all.windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = all.split_off(at + 4);
            return Ok((String::from_utf8_lossy(&all).into_owned(), rest));
        }
        if stream.read_buf(&mut all).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn one_request(head: &str) -> String {
    head.replacen("\r\n", "\r\nConnection: close\r\n", 1)
}

async fn frames_then(
    client: &mut TcpStream,
    server: &mut TcpStream,
    frames: usize,
    close: Option<u16>,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let down = async {
        let mut byte = [0; 1];
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            from_server.read_exact(&mut byte).await?;
            head.push(byte[0]);
        }
        to_client.write_all(&head).await?;
        for _ in 0..frames {
            let mut frame = vec![0; 2];
            from_server.read_exact(&mut frame).await?;
            let mut size = usize::from(frame[1] & 0x7f);
            let more = match size {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            let mut long = vec![0; more];
            from_server.read_exact(&mut long).await?;
            if more > 0 {
                size = long.iter().fold(0, |n, b| n << 8 | usize::from(*b));
            }
            frame.extend_from_slice(&long);
            let start = frame.len();
            frame.resize(start + size, 0);
            from_server.read_exact(&mut frame[start..]).await?;
            to_client.write_all(&frame).await?;
        }
        if let Some(code) = close {
            let [high, low] = code.to_be_bytes();
            to_client.write_all(&[0x88, 2, high, low]).await?;
        }
        Ok(())
    };
    tokio::select! {
        done = down => done,
        _ = forever(copy(&mut from_client, &mut to_server)) => Ok(()),
    }
}
