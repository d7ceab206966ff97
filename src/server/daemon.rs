//! A server when one is needed: found if it runs, started if not, gone when idle.
//!
//! Who starts it holds a lock, so that any number of clients starting at once get the same server. The
//! new process says over a pipe that it answers, or why not; nobody sleeps and hopes.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};

use super::backend::Backend;
use super::orders::Orders;
use super::{Isolation, ServeOptions, Server, store};
use crate::exit::ErrorCode;
use crate::jail::spec::Network;
use crate::secret::Secret;

/// The hidden subcommand the binary dispatches to [`main`].
pub const COMMAND: &str = "__server";
/// How long a server may take to answer that it is there.
const HEALTH: Duration = Duration::from_secs(15);
/// How long a start may take, and how long an old server may take to leave.
const START: Duration = Duration::from_secs(60);

/// What server is wanted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DaemonOptions {
    /// Holds the sandboxes, the lock, and the server's address.
    pub data_dir: PathBuf,
    /// How sandboxes are kept apart.
    pub isolation: Isolation,
    /// Whether a running server of another isolation will not do. It does for who only looks after what is there.
    pub insist: bool,
    /// Our own binary.
    pub binary: PathBuf,
    /// Leave after this long without requests and sandboxes that run.
    pub idle_exit: Duration,
}

/// Where the API is and what opens it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The base of the API.
    pub api_url: String,
    /// Its key.
    pub api_key: Secret,
    /// What keeps its sandboxes apart.
    pub isolation: Isolation,
    /// What they reach of the network unless they ask for less.
    pub network: Network,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory or a process could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The running server keeps sandboxes apart in another way, and some of them run.
    #[error(
        "the local server of `{}` runs with isolation `{}`, not `{}`, and its sandbox `{}` is running; stop its sandboxes or choose another state directory",
        .dir.display(), .there.name(), .wanted.name(), .sandbox
    )]
    OtherIsolation {
        /// Its directory.
        dir: PathBuf,
        /// What is in force.
        there: Isolation,
        /// What was asked for.
        wanted: Isolation,
        /// A sandbox that would be lost.
        sandbox: String,
    },
    /// The new server said why it does not run.
    #[error("the local server did not start: {0}")]
    Failed(String),
    /// The new server found this machine's disk or limits in its way.
    #[error("the local server did not start: {0}")]
    Host(String),
    /// It said nothing in time.
    #[error("the local server did not answer within {}s; its log is `{}`", START.as_secs(), .0.display())]
    Silent(PathBuf),
}

impl Error {
    /// The stable code of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Io { .. } | Error::Host(_) => ErrorCode::HostIo,
            Error::OtherIsolation { .. } | Error::Failed(_) | Error::Silent(_) => {
                ErrorCode::LocalServer
            }
        }
    }
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}

/// What a running server leaves for others to find, readable by its owner only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Card {
    addr: String,
    api_url: String,
    api_key: String,
    pid: u32,
    version: String,
    isolation: Isolation,
}

impl Card {
    fn endpoint(self) -> Endpoint {
        Endpoint {
            api_url: self.api_url,
            api_key: Secret::new(self.api_key),
            isolation: self.isolation,
            network: Backend::of(self.isolation).network(Network::Host),
        }
    }
}

/// The running server, or a new one.
pub async fn ensure(options: DaemonOptions) -> Result<Endpoint, Error> {
    if let Some(endpoint) = find(&options).await {
        return Ok(endpoint);
    }
    store::private_dir(&options.data_dir).map_err(io("use the data directory"))?;
    let _lock = hold(options.data_dir.join("start.lock")).await?;
    // Another client may have been faster.
    if let Some(endpoint) = find(&options).await {
        return Ok(endpoint);
    }
    if let Some((there, sandbox)) = other_isolation(&options).await {
        let (dir, wanted) = (options.data_dir, options.isolation);
        return Err(Error::OtherIsolation { dir, there, wanted, sandbox });
    }
    retire(&options).await;
    tokio::task::spawn_blocking(move || spawn(&options))
        .await
        .map_err(|err| Error::Failed(err.to_string()))?
}

/// A live server that will do.
async fn find(options: &DaemonOptions) -> Option<Endpoint> {
    let card = card(&options.data_dir)?;
    let other = options.insist && card.isolation != options.isolation;
    if other || !answers(&card).await {
        return None;
    }
    // An older one is replaced when nobody needs it; until then it is good enough.
    if is_older(&card.version, env!("CARGO_PKG_VERSION")) && is_idle(&card).await {
        return None;
    }
    Some(card.endpoint())
}

/// The isolation of a live server that is not the one asked for, and a sandbox that needs it to stay.
async fn other_isolation(options: &DaemonOptions) -> Option<(Isolation, String)> {
    let card = card(&options.data_dir).filter(|card| card.isolation != options.isolation)?;
    let busy = busy(&card).await?;
    Some((card.isolation, busy.into_iter().next()?))
}

fn card(data_dir: &Path) -> Option<Card> {
    serde_json::from_slice(&std::fs::read(data_dir.join("server.json")).ok()?).ok()
}

/// Whether the server on the card is the one that answers: another may have its port by now.
async fn answers(card: &Card) -> bool {
    get(card, "/api/api-keys/current").await.is_some()
}

async fn is_idle(card: &Card) -> bool {
    busy(card).await.is_some_and(|names| names.is_empty())
}

/// The names of sandboxes that run or are changing; `None` when the server does not say.
async fn busy(card: &Card) -> Option<Vec<String>> {
    let states = "states=started&states=creating&states=starting&states=stopping";
    let body = get(card, &format!("/api/sandbox?limit=1&{states}")).await?;
    let name = |item: &serde_json::Value| item["name"].as_str().unwrap_or("?").to_owned();
    Some(body["items"].as_array()?.iter().map(name).collect())
}

/// One small question to the server on the card.
async fn get(card: &Card, target: &str) -> Option<serde_json::Value> {
    let ask = async {
        let stream = tokio::net::TcpStream::connect(&card.addr).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let request = axum::http::Request::get(target)
            .header("host", &card.addr)
            .header("authorization", format!("Bearer {}", card.api_key))
            .body(String::new())
            .ok()?;
        let answer = sender.send_request(request).await.ok().filter(|a| a.status().is_success())?;
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.ok()?.to_bytes();
        serde_json::from_slice(&body).ok()
    };
    tokio::time::timeout(HEALTH, ask).await.ok().flatten()
}

fn is_older(theirs: &str, ours: &str) -> bool {
    let parts =
        |text: &str| text.split('.').map(|p| p.parse::<u64>().unwrap_or(0)).collect::<Vec<_>>();
    parts(theirs) < parts(ours)
}

/// Asks the server on the card to leave, if it still holds the directory, and waits until it has. One that is on
/// its way out already has no card or does not answer, and holds the directory a moment longer.
async fn retire(options: &DaemonOptions) {
    let mut limit = HEALTH;
    if let Some(card) = card(&options.data_dir)
        && answers(&card).await
    {
        let pid = i32::try_from(card.pid).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It answered with its key, so this is still its pid.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        limit = START;
    }
    let _ = tokio::time::timeout(limit, hold(options.data_dir.join("server.lock"))).await;
}

/// Takes a file lock, however long others hold it.
async fn hold(path: PathBuf) -> Result<File, Error> {
    let what = format!("lock `{}`", path.display());
    let lock = move || -> std::io::Result<File> {
        let file =
            File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        file.lock()?;
        Ok(file)
    };
    tokio::task::spawn_blocking(lock)
        .await
        .map_err(std::io::Error::other)
        .flatten()
        .map_err(io(what))
}

/// What the new process says on its pipe.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Ready(Card),
    Failed(String),
    /// This machine's disk or limits are in the way.
    Host(String),
}

fn spawn(options: &DaemonOptions) -> Result<Endpoint, Error> {
    let log_path = options.data_dir.join("server.log");
    let log = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log_path)
        .map_err(io(format!("write `{}`", log_path.display())))?;
    let mut child = Command::new(&options.binary)
        .arg(COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .current_dir("/")
        .spawn()
        .map_err(io(format!("start `{}`", options.binary.display())))?;
    let text = serde_json::to_vec(options).map_err(|err| Error::Failed(err.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A process that is gone already says so by its silence.
        let _ = stdin.write_all(&text);
    }
    let stdout = child.stdout.take().ok_or_else(|| Error::Silent(log_path.clone()))?;
    // Not a zombie, should we outlive it.
    std::thread::spawn(move || child.wait());
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(stdout).read_line(&mut line);
        let _ = send.send(line);
    });
    let line = receive.recv_timeout(START).map_err(|_| Error::Silent(log_path.clone()))?;
    match serde_json::from_str(&line) {
        Ok(Word::Ready(card)) => Ok(card.endpoint()),
        Ok(Word::Failed(why)) => Err(Error::Failed(why)),
        Ok(Word::Host(why)) => Err(Error::Host(why)),
        Err(_) => Err(Error::Failed(format!(
            "it ended without a word; its log is `{}`",
            log_path.display()
        ))),
    }
}

/// The hidden subcommand: reads [`DaemonOptions`] on standard input, serves, and says so on standard
/// output.
pub fn main() -> ExitCode {
    let mut text = String::new();
    let options = std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|err| err.to_string())
        .and_then(|_| serde_json::from_str::<DaemonOptions>(&text).map_err(|err| err.to_string()));
    // The terminal that started us may close, and its Ctrl-C is not for us.
    let _ = rustix::process::setsid();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match (options, runtime) {
        (Ok(options), Ok(runtime)) => runtime.block_on(serve(options)),
        (Err(err), _) => Err(Word::Failed(err)),
        (_, Err(err)) => Err(Word::Host(err.to_string())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: DaemonOptions) -> Result<(), Word> {
    let host = |err: std::io::Error| Word::Host(err.to_string());
    let orders = Orders::listen().map_err(host)?;
    let (bound, api_key) = inherited(&options.data_dir).unzip();
    let serving = ServeOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        api_key,
        data_dir: options.data_dir.clone(),
        isolation: options.isolation,
        binary: options.binary,
        tool_dirs: Vec::new(),
        idle_exit: Some(options.idle_exit),
        clock: super::Clock::System,
    };
    let running = Server::begin(serving, bound).await.map_err(|err| match err.code() {
        ErrorCode::HostIo => Word::Host(err.to_string()),
        _ => Word::Failed(err.to_string()),
    })?;
    let card = Card {
        addr: running.addr.to_string(),
        api_url: running.api_url(),
        api_key: running.api_key.expose().to_owned(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        isolation: options.isolation,
    };
    let path = options.data_dir.join("server.json");
    let json = serde_json::to_vec(&card).map_err(|err| Word::Failed(err.to_string()))?;
    store::write_private(&path, &json).map_err(host)?;
    say(&Word::Ready(card));
    orders.cancel(running.stop.clone());
    // Gone before the lock is: the next server's card is never removed by us.
    running.finished_with(|| drop(std::fs::remove_file(path))).await;
    Ok(())
}

/// The address and key of a server that was killed, so that its clients find this one in its place. `None` without
/// one, or if somebody else has the address by now: the key goes to nobody but who held it. A server that left
/// by itself took its card along.
fn inherited(data_dir: &Path) -> Option<(TcpListener, Secret)> {
    let card = card(data_dir)?;
    let addr = card.addr.parse::<SocketAddr>().ok().filter(|addr| addr.ip().is_loopback())?;
    let listener = TcpListener::bind(addr).ok()?;
    listener.set_nonblocking(true).ok()?;
    Some((listener, Secret::new(card.api_key)))
}

/// Says one word and lets go of the pipe, so that who waits for its end is not kept.
fn say(word: &Word) {
    if let Ok(text) = serde_json::to_string(word) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_are_compared_by_number() {
        assert!(super::is_older("0.9.0", "0.10.0"));
        assert!(!super::is_older("0.1.0", "0.1.0"));
        assert!(!super::is_older("1.0.0", "0.9.9"));
    }
}
