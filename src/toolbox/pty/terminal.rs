//! One terminal: its program, those who watch it, and its end.
//!
//! Output goes to every client in the order it came, and only after the last of it the end. A client that
//! falls behind slows the program down, as a terminal does; one that does not move at all is let go.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::super::processes;
use super::master::{Master, Size, Slave};
use crate::wire::pty::{CloseReason, PtyInfo};

/// Bytes read at once; the largest frame.
const READ: usize = 16 << 10;
/// Frames that wait for one client; more than there are early ones.
const QUEUE: usize = 64;
/// Messages that wait for the program.
const INPUT: usize = 64;
/// How long a client may stand still with a full queue before it is let go.
const STALL: Duration = Duration::from_secs(10);
/// What is kept of the output until the first client comes.
const EARLY: usize = 256 << 10;
/// How long the terminal must stay silent after the shell's end while a background job still has it.
const SILENCE: Duration = Duration::from_millis(100);
/// How long such a job is listened to at most.
const CHATTER: Duration = Duration::from_secs(2);

/// What a client is sent.
#[derive(Debug, Clone)]
pub(super) enum Output {
    /// Bytes of the terminal.
    Bytes(Bytes),
    /// There will be no more.
    Ended(CloseReason),
}

/// One client's end of the output.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) output: mpsc::Receiver<Output>,
    /// Set when the client has stood still for too long.
    pub(super) too_slow: CancellationToken,
}

#[derive(Debug, Clone)]
struct Client {
    number: u64,
    output: mpsc::Sender<Output>,
    too_slow: CancellationToken,
}

#[derive(Debug)]
struct Audience {
    clients: Vec<Client>,
    next: u64,
    /// Output from before the first client; `None` once there has been one.
    early: Option<VecDeque<Bytes>>,
    ended: Option<CloseReason>,
}

#[derive(Debug)]
struct Running {
    master: Arc<Master>,
    pid: i32,
}

/// A terminal, started or not.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) id: String,
    /// As asked for, resolved.
    pub(super) directory: String,
    pub(super) envs: BTreeMap<String, String>,
    pub(super) lazy: bool,
    pub(super) size: Mutex<Size>,
    created_at: jiff::Timestamp,
    running: Mutex<Option<Running>>,
    audience: Mutex<Audience>,
    input: mpsc::Sender<Bytes>,
    typed: Mutex<Option<mpsc::Receiver<Bytes>>>,
    killed: AtomicBool,
    over: watch::Sender<bool>,
    stall: Duration,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Terminal {
    pub(super) fn new(
        id: String,
        directory: String,
        envs: BTreeMap<String, String>,
        lazy: bool,
        size: Size,
    ) -> Self {
        let (input, typed) = mpsc::channel(INPUT);
        let early = Some(VecDeque::new());
        Self {
            id,
            directory,
            envs,
            lazy,
            size: Mutex::new(size),
            created_at: jiff::Timestamp::now(),
            running: Mutex::default(),
            audience: Mutex::new(Audience { clients: Vec::new(), next: 0, early, ended: None }),
            input,
            typed: Mutex::new(Some(typed)),
            killed: AtomicBool::new(false),
            over: watch::Sender::new(false),
            stall: STALL,
        }
    }

    pub(super) fn info(&self) -> PtyInfo {
        let (cols, rows) = *held(&self.size);
        PtyInfo {
            id: self.id.clone(),
            cwd: self.directory.clone(),
            envs: self.envs.clone(),
            cols,
            rows,
            created_at: self.created_at.to_string(),
            active: held(&self.running).is_some(),
            lazy_start: self.lazy,
        }
    }

    /// Starts the program, unless it runs. `ended` is called when it is over, before anyone is told.
    pub(super) fn start(
        self: &Arc<Self>,
        command: impl FnOnce() -> Command,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let mut running = held(&self.running);
        if self.killed.load(Ordering::Acquire) {
            return Err(io::Error::other("deleted"));
        }
        // One that has ended is not started again; who comes now is told the end.
        if running.is_some() || held(&self.audience).ended.is_some() {
            return Ok(());
        }
        let (master, slave, child) = Master::start(command(), *held(&self.size))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        let master = Arc::new(master);
        *running = Some(Running { master: Arc::clone(&master), pid });
        drop(running);
        let typing =
            held(&self.typed).take().map(|typed| tokio::spawn(type_in(typed, Arc::clone(&master))));
        let terminal = Arc::clone(self);
        tokio::spawn(async move {
            terminal.pump(&master, slave, child).await;
            if let Some(typing) = typing {
                typing.abort();
            }
            // With the last handle to the master background jobs lose their terminal.
            drop(master);
            ended();
            terminal.tell_end().await;
        });
        Ok(())
    }

    /// Passes output on until the program has ended and all of it was read.
    async fn pump(&self, master: &Master, slave: Slave, mut child: Child) {
        let mut buffer = vec![0; READ];
        let status = loop {
            tokio::select! {
                read = master.read(&mut buffer) => match read {
                    Ok(n) => self.deliver(&buffer[..n]).await,
                    // Not while the program's side is held open here.
                    Err(_) => break child.wait().await,
                },
                status = child.wait() => break status,
            }
        };
        drop(slave);
        let until = tokio::time::Instant::now() + CHATTER;
        // Ends with an error when nobody has the terminal any more, else when they are silent.
        while let Ok(Ok(n @ 1..)) = tokio::time::timeout(SILENCE, master.read(&mut buffer)).await {
            self.deliver(&buffer[..n]).await;
            if tokio::time::Instant::now() > until {
                break;
            }
        }
        let code = match status {
            _ if self.killed.load(Ordering::Acquire) => 137,
            Ok(status) => status.code().unwrap_or(-1),
            Err(_) => -1,
        };
        held(&self.audience).ended = Some(reason(code));
        *held(&self.running) = None;
    }

    async fn deliver(&self, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        let clients = {
            let mut audience = held(&self.audience);
            if let Some(early) = &mut audience.early {
                early.push_back(bytes.clone());
                while early.iter().map(Bytes::len).sum::<usize>() > EARLY {
                    early.pop_front();
                }
            }
            audience.clients.clone()
        };
        self.send(clients, Output::Bytes(bytes)).await;
    }

    async fn send(&self, clients: Vec<Client>, output: Output) {
        for client in clients {
            if client.output.try_send(output.clone()).is_ok() {
                continue;
            }
            let sent = client.output.send_timeout(output.clone(), self.stall).await;
            if matches!(sent, Err(mpsc::error::SendTimeoutError::Timeout(_))) {
                client.too_slow.cancel();
                self.leave(client.number);
            }
        }
    }

    async fn tell_end(&self) {
        let (clients, ended) = {
            let mut audience = held(&self.audience);
            (std::mem::take(&mut audience.clients), audience.ended.clone())
        };
        if let Some(ended) = ended {
            self.send(clients, Output::Ended(ended)).await;
        }
        self.over.send_replace(true);
    }

    /// Takes part. The first client gets what was printed before it came.
    pub(super) fn join(&self) -> (u64, Watching) {
        let (output, receiver) = mpsc::channel(QUEUE);
        let too_slow = CancellationToken::new();
        let mut audience = held(&self.audience);
        for bytes in merged(audience.early.take().unwrap_or_default()) {
            // There is room: this is the beginning.
            let _ = output.try_send(Output::Bytes(bytes));
        }
        if let Some(ended) = audience.ended.clone() {
            let _ = output.try_send(Output::Ended(ended));
        }
        audience.next += 1;
        let number = audience.next;
        audience.clients.push(Client { number, output, too_slow: too_slow.clone() });
        (number, Watching { output: receiver, too_slow })
    }

    /// The program runs on without it.
    pub(super) fn leave(&self, number: u64) {
        held(&self.audience).clients.retain(|client| client.number != number);
    }

    /// Types, waiting while the program does not read.
    pub(super) async fn type_in(&self, bytes: Bytes) {
        // Nobody reads any more once the program has ended.
        let _ = self.input.send(bytes).await;
    }

    /// Changes the size, of the running program or of the one to come.
    pub(super) fn resize(&self, size: Size) -> io::Result<()> {
        *held(&self.size) = size;
        match &*held(&self.running) {
            Some(running) => running.master.resize(size),
            None => Ok(()),
        }
    }

    /// Ends the program and everything started on this terminal, at once. Returns when its clients know.
    pub(super) async fn kill(&self, patience: Duration) {
        self.killed.store(true, Ordering::Release);
        let pid = held(&self.running).as_ref().map(|running| running.pid);
        let Some(pid) = pid else { return };
        // What is below first: without the shell it would lose the connection to it.
        let below = processes::below(pid);
        processes::signal_all(below.into_iter().chain([pid]), Signal::KILL);
        processes::signal_all(processes::below(pid), Signal::KILL);
        let mut over = self.over.subscribe();
        // A client that stands still does not hold up the answer.
        let _ = tokio::time::timeout(patience, over.wait_for(|over| *over)).await;
    }
}

async fn type_in(mut typed: mpsc::Receiver<Bytes>, master: Arc<Master>) {
    while let Some(bytes) = typed.recv().await {
        if master.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Many small pieces as few large ones.
fn merged(pieces: VecDeque<Bytes>) -> Vec<Bytes> {
    let all: Vec<u8> = pieces.iter().flatten().copied().collect();
    all.chunks(READ).map(Bytes::copy_from_slice).collect()
}

/// How an exit code is told.
fn reason(exit_code: i32) -> CloseReason {
    let words = match exit_code {
        0 => None,
        130 => Some("Ctrl+C".to_owned()),
        137 => Some("SIGKILL".to_owned()),
        143 => Some("SIGTERM".to_owned()),
        signal @ 129.. => Some(format!("signal {}", signal - 128)),
        _ => Some("non-zero exit".to_owned()),
    };
    CloseReason { exit_code, exit_reason: words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_as_recorded() {
        let text = |code| serde_json::to_string(&reason(code)).unwrap();
        assert_eq!(text(0), r#"{"exitCode":0}"#);
        assert_eq!(text(3), r#"{"exitCode":3,"exitReason":"non-zero exit"}"#);
        assert_eq!(text(130), r#"{"exitCode":130,"exitReason":"Ctrl+C"}"#);
        assert_eq!(text(137), r#"{"exitCode":137,"exitReason":"SIGKILL"}"#);
        assert_eq!(text(139), r#"{"exitCode":139,"exitReason":"signal 11"}"#);
        assert_eq!(text(255), r#"{"exitCode":255,"exitReason":"signal 127"}"#);
        assert_eq!(text(-1), r#"{"exitCode":-1,"exitReason":"non-zero exit"}"#);
    }

    #[tokio::test]
    async fn early_output_is_for_the_first_and_bounded() {
        let terminal = Terminal::new("t".into(), "/".into(), BTreeMap::new(), false, (80, 24));
        for _ in 0..EARLY / 1000 + 50 {
            terminal.deliver(&[b'x'; 1000]).await;
        }
        let (_, mut first) = terminal.join();
        let mut bytes = 0;
        while let Ok(Output::Bytes(piece)) = first.output.try_recv() {
            bytes += piece.len();
        }
        assert!(bytes <= EARLY && bytes > EARLY - 2000, "{bytes}");
        let (_, mut second) = terminal.join();
        assert!(second.output.try_recv().is_err());
    }

    #[tokio::test]
    async fn who_stands_still_is_let_go_and_who_reads_is_not() {
        let mut terminal = Terminal::new("t".into(), "/".into(), BTreeMap::new(), false, (80, 24));
        terminal.stall = Duration::from_millis(20);
        let (_, still) = terminal.join();
        let (_, mut reading) = terminal.join();
        let reader = tokio::spawn(async move {
            let mut frames = 0;
            while reading.output.recv().await.is_some() {
                frames += 1;
            }
            (frames, reading.too_slow.is_cancelled())
        });
        for _ in 0..3 * QUEUE {
            terminal.deliver(b"x").await;
        }
        assert!(still.too_slow.is_cancelled());
        drop(terminal);
        assert_eq!(reader.await.unwrap(), (3 * QUEUE, false));
    }
}
