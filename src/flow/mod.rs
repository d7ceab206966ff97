//! The verbs: each file reads as the story of one command.
//!
//! A flow learns of Ctrl-C from [`Signals`] and tells what happens through a [`Reporter`], so it runs in
//! a test without a terminal. It never prints and never exits.

pub mod attach;
pub mod awake;
pub mod conversation;
pub mod converse;
pub mod deadlines;
pub mod diff;
pub mod doctor;
pub mod exec;
pub mod finish;
pub mod follow;
pub mod heartbeat;
pub mod history;
pub mod home;
pub mod labels;
pub mod lent;
pub mod list;
pub mod moved;
pub mod open;
pub mod pull;
pub mod reader;
pub mod run;
pub mod safety;
pub mod sandbox;
pub mod send;
pub mod service;
pub mod setup;
pub mod start;
pub mod undo;
pub mod upkeep;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::event::{AgentDone, Done, FileCounts, Phase, SandboxDone};
use crate::exit::Exit;
use crate::report::{PhaseGuard, Reporter};
use crate::worktree::Repo;

/// What every flow gets.
#[derive(Debug, Clone)]
pub struct Context {
    /// Every setting.
    pub config: Arc<Config>,
    /// This run's id.
    pub run: String,
    /// Where the caller stands.
    pub cwd: PathBuf,
    /// The worktree that holds it, if there is one.
    pub repo: Option<Repo>,
    /// Who listens.
    pub reporter: Reporter,
    /// Who may interrupt.
    pub signals: Signals,
    /// What is known so far, for the report if something fails.
    pub told: Arc<Mutex<Told>>,
    /// What is cleared away beside the work, see [`Context::later`].
    pub clearing: TaskTracker,
}

/// What is known so far.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// The step under way.
    pub phase: Option<Phase>,
    /// The sandbox in use.
    pub sandbox: Option<SandboxDone>,
    /// It may hold work that is not here.
    pub unpulled: bool,
    /// Bytes on the wire.
    pub bytes: u64,
    /// What happened to the worktree.
    pub files: FileCounts,
    /// The agent, as far as it got.
    pub agent: Option<AgentDone>,
    /// The command that goes on from here.
    pub resume: Vec<String>,
    /// Bytes of output seen.
    pub offset: u64,
    /// When the last of them came.
    pub last_output: Option<std::time::Instant>,
    /// The service is our own, on this machine.
    pub local: bool,
    /// Nothing was asked to start over there yet.
    pub not_started: bool,
    /// When we have to be gone, once a signal has asked us to leave.
    pub leave_by: Option<std::time::Instant>,
}

impl Context {
    /// Opens a phase and remembers it as the one that failed, should it fail.
    pub async fn phase(&self, name: Phase) -> PhaseGuard {
        self.told().phase = Some(name);
        self.reporter.phase(name, None).await
    }

    /// Names the command that goes on from here.
    pub fn resume_with(&self, words: &[&str]) {
        let words = words.iter().map(|word| (*word).to_owned());
        self.told().resume = std::iter::once("sandbox-coder".to_owned()).chain(words).collect();
    }

    /// Waits for `work`, or for the signal that ends it: for steps that can be begun again by the next command.
    pub async fn until_signal<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            signal = self.signals.first() => Err(ended_by(signal)),
        }
    }

    /// A signal asks us to leave: from here on the grace is all there is, for every step that follows.
    pub fn leave_soon(&self) {
        // A tenth is for the last words.
        let by = std::time::Instant::now() + self.config.grace * 9 / 10;
        self.told().leave_by.get_or_insert(by);
    }

    /// How long a step may take that takes `most` at most: less when we have to leave before.
    pub fn time_left(&self, most: std::time::Duration) -> std::time::Duration {
        let by = self.told().leave_by;
        by.map_or(most, |by| by.saturating_duration_since(std::time::Instant::now()).min(most))
    }

    /// Clears something away that no step has to wait for: it is waited for at the very end, and for no longer
    /// than `limit` from now, or the time we have left.
    pub fn later(
        &self,
        limit: std::time::Duration,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        self.clearing.spawn(tokio::time::timeout(self.time_left(limit), work));
    }

    /// What is known so far, for writing.
    pub fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A signal that asks us to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: leave, but let the run go on.
    Hangup,
}

impl Signal {
    /// The exit code it leads to.
    pub fn exit(self) -> Exit {
        match self {
            Signal::Interrupt => Exit::Interrupted,
            Signal::Terminate => Exit::Terminated,
            Signal::Hangup => Exit::Hangup,
        }
    }
}

/// What the caller's signals look like from inside a flow.
#[derive(Debug, Clone)]
pub struct Signals {
    first: watch::Receiver<Option<Signal>>,
    second: CancellationToken,
}

impl Signals {
    /// A pair: the sender is told the first signal, the token is cancelled by the second.
    pub fn new() -> (watch::Sender<Option<Signal>>, CancellationToken, Self) {
        let (tx, first) = watch::channel(None);
        let second = CancellationToken::new();
        (tx, second.clone(), Self { first, second })
    }

    /// The first signal, if one came.
    pub fn seen(&self) -> Option<Signal> {
        *self.first.borrow()
    }

    /// Waits for the first signal.
    pub async fn first(&self) -> Signal {
        let mut first = self.first.clone();
        match first.wait_for(Option::is_some).await {
            Ok(signal) => signal.expect("waited for one"),
            // Nobody can send any more: there will be no signal.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits for the second signal.
    pub async fn second(&self) {
        self.second.cancelled().await;
    }
}

/// How a flow ended.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The exit code; a command's own for `exec`.
    pub code: u8,
    /// Our name for it.
    pub exit: Exit,
}

impl From<Exit> for Summary {
    fn from(exit: Exit) -> Self {
        Self { code: exit.code(), exit }
    }
}

/// The last line of the report.
pub fn done(summary: &Summary, told: &Told, seconds: f64) -> Done {
    Done {
        exit_code: summary.code,
        outcome: summary.exit.name(),
        files: told.files,
        bytes: told.bytes,
        agent: told.agent.clone(),
        sandbox: told.sandbox.clone(),
        unpulled: told.unpulled,
        duration_s: seconds,
        events: 0,
    }
}

/// A fresh run id: 12 characters of `[0-9a-f]`.
pub fn new_run_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()
}

/// Runs blocking work beside the wire.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// The failure of a command that a signal ended before it had anything to bring home.
pub fn ended_by(signal: Signal) -> anyhow::Error {
    use crate::error::Failure;
    use crate::exit::ErrorCode;
    let (code, words) = match signal {
        Signal::Interrupt => (ErrorCode::RunInterrupted, "interrupted"),
        Signal::Terminate => (ErrorCode::RunTerminated, "terminated"),
        Signal::Hangup => (ErrorCode::RunHangup, "the terminal went away"),
    };
    Failure::new(code, words).into()
}

/// Milliseconds-free RFC 3339 for records.
pub fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}
