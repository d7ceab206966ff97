//! A TCP proxy that fails in one chosen way per request. It gives every request a connection of its own,
//! so that the n-th request is the n-th connection, and it knows enough of WebSocket to count frames.

use std::collections::VecDeque;
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
    /// The server acts; the answer is this status line and an empty object.
    Instead(&'static str),
    /// The request is delivered twice, the second answer is handed out: what a proxy does that meets a
    /// stale connection.
    Replay,
    /// The answer comes this much later.
    Late(Duration),
    /// The server acts; its answer never comes, and the connection stays.
    Silent,
    /// WebSocket: after this many frames from the server nothing comes any more, and the connection stays.
    HalfOpen(usize),
    /// WebSocket: the view's last word and this many frames before it are thrown away; a close frame with
    /// this code and reason comes in their place, or a mere cut for the code 1006.
    Withhold(usize, u16, String),
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
    if let Fault::Replay = fault {
        complete(&mut client, &mut request).await?;
        server.write_all(&request).await?;
        server.read_to_end(&mut Vec::new()).await?;
        server = TcpStream::connect(upstream).await?;
    }
    server.write_all(&request).await?;
    if let Fault::Late(wait) = fault {
        tokio::time::sleep(wait).await;
    }
    let end = match fault {
        Fault::CutAnswer(bytes) => {
            let (mut from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            let mut answer = (&mut from_server).take(bytes as u64);
            return tokio::select! {
                done = copy(&mut answer, &mut to_client) => done.map(drop),
                _ = forever(copy(&mut from_client, &mut to_server)) => Ok(()),
            };
        }
        Fault::DropAnswer => return swallow(&mut client, &mut server).await,
        Fault::Silent => {
            swallow(&mut client, &mut server).await?;
            return until_gone(&mut client).await;
        }
        Fault::Instead(status) => {
            swallow(&mut client, &mut server).await?;
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
            );
            client.write_all(answer.as_bytes()).await?;
            return client.shutdown().await;
        }
        Fault::DropFrame(frames) => End::after(frames, Last::Cut),
        Fault::Close(frames, code) => End::after(frames, Last::Close(code, String::new())),
        Fault::HalfOpen(frames) => End::after(frames, Last::Stay),
        Fault::Withhold(held, 1006, _) => End { frames: usize::MAX, held, last: Last::Cut },
        Fault::Withhold(held, code, reason) => {
            End { frames: usize::MAX, held, last: Last::Close(code, reason) }
        }
        _ if name.contains(" /api/") => return own_address(client, server, upstream).await,
        _ => return copy_bidirectional(&mut client, &mut server).await.map(drop),
    };
    frames_then(&mut client, &mut server, end).await
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

/// Reads what is missing of a request whose head and beginning are known.
async fn complete(client: &mut TcpStream, request: &mut Vec<u8>) -> std::io::Result<()> {
    let end = request.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse().ok());
    while request.len() < end + length.unwrap_or(0usize) {
        if client.read_buf(request).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Keeps a connection without a word until the other end leaves it.
async fn until_gone(client: &mut TcpStream) -> std::io::Result<()> {
    copy(client, &mut tokio::io::sink()).await.map(drop)
}

/// Passes a call of the API, whose answer names this proxy where it named the server.
async fn own_address(
    mut client: TcpStream,
    mut server: TcpStream,
    upstream: SocketAddr,
) -> std::io::Result<()> {
    let own = client.local_addr()?.to_string();
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let mut answer = Vec::new();
    tokio::select! {
        done = from_server.read_to_end(&mut answer) => done.map(drop)?,
        _ = forever(copy(&mut from_client, &mut to_server)) => {}
    }
    let theirs = upstream.to_string();
    assert_eq!(own.len(), theirs.len(), "Content-Length has to stay what it is");
    while let Some(at) = memchr::memmem::find(&answer, theirs.as_bytes()) {
        answer[at..at + own.len()].copy_from_slice(own.as_bytes());
    }
    to_client.write_all(&answer).await?;
    to_client.shutdown().await
}

/// How a WebSocket ends.
struct End {
    /// After so many frames from the server.
    frames: usize,
    /// So many of them are behind; when the view's last word comes, they are thrown away with it.
    held: usize,
    last: Last,
}

enum Last {
    Cut,
    Close(u16, String),
    Stay,
}

impl End {
    fn after(frames: usize, last: Last) -> Self {
        Self { frames, held: 0, last }
    }
}

/// The view's first word; what comes before it, the client waits for.
const FIRST_WORD: &[u8] = b"\x01GO\x02";
/// The first letters of the view's last word.
const LAST_WORD: &[u8] = b"SBXX";

async fn frames_then(
    client: &mut TcpStream,
    server: &mut TcpStream,
    end: End,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let withholds = end.frames == usize::MAX;
    let down = async {
        let mut byte = [0; 1];
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            from_server.read_exact(&mut byte).await?;
            head.push(byte[0]);
        }
        to_client.write_all(&head).await?;
        let (mut behind, mut tail, mut begun) = (VecDeque::new(), Vec::new(), false);
        for _ in 0..end.frames {
            let frame = read_frame(&mut from_server).await?;
            tail.extend_from_slice(&frame);
            if withholds && memchr::memmem::find(&tail, LAST_WORD).is_some() {
                break;
            }
            begun |= memchr::memmem::find(&tail, FIRST_WORD).is_some();
            tail = frame[frame.len().saturating_sub(LAST_WORD.len())..].to_vec();
            behind.push_back(frame);
            if !begun || behind.len() > end.held {
                to_client.write_all(&behind.pop_front().unwrap_or_default()).await?;
            }
        }
        match end.last {
            Last::Cut => {}
            Last::Close(code, reason) => {
                let size = u8::try_from(reason.len() + 2).unwrap();
                let mut frame = vec![0x88, size];
                frame.extend_from_slice(&code.to_be_bytes());
                frame.extend_from_slice(reason.as_bytes());
                to_client.write_all(&frame).await?;
            }
            Last::Stay => std::future::pending().await,
        }
        Ok(())
    };
    tokio::select! {
        done = down => done,
        // A client that leaves while nothing is said to it has ended the connection.
        _ = copy(&mut from_client, &mut to_server) => Ok(()),
    }
}

/// A frame as it came.
async fn read_frame(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; 2];
    from.read_exact(&mut frame).await?;
    let mut size = usize::from(frame[1] & 0x7f);
    let more = match size {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mut long = vec![0; more];
    from.read_exact(&mut long).await?;
    if more > 0 {
        size = long.iter().fold(0, |n, b| n << 8 | usize::from(*b));
    }
    frame.extend_from_slice(&long);
    let start = frame.len();
    frame.resize(start + size, 0);
    from.read_exact(&mut frame[start..]).await?;
    Ok(frame)
}
