//! The channel through which a command tells what happens; who draws it is not its business.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, Phase, PhaseState, Stream};
use crate::secret::{Print, Secret};

/// What travels to the reader.
#[derive(Debug)]
pub enum Report {
    /// Something happened.
    Event(Event),
    /// The agent's or command's output, byte for byte, for readers that show it raw.
    Output {
        /// Which stream.
        stream: Stream,
        /// The bytes.
        bytes: Bytes,
    },
    /// From now on, mask this value.
    Secret(Secret),
    /// From now on, mask the value with this print.
    Print(Print),
    /// The terminal belongs to a command now: nothing of ours is drawn on it.
    HandOver,
}

/// The sending end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reporter {
    tx: mpsc::Sender<Report>,
    leaving: CancellationToken,
    last: Arc<Mutex<Instant>>,
    passed: Arc<AtomicU64>,
}

/// Room for one report.
pub type Room<'r> = mpsc::Permit<'r, Report>;

impl Reporter {
    /// A channel that holds at most `capacity` reports. A slow reader slows the sender down, until
    /// `leaving` is cancelled: from then on what does not fit is dropped, so that nobody's stuck
    /// terminal or pipe can hold up the end.
    pub fn channel(capacity: usize, leaving: CancellationToken) -> (Self, mpsc::Receiver<Report>) {
        let (tx, rx) = mpsc::channel(capacity);
        let last = Arc::new(Mutex::new(Instant::now()));
        (Self { tx, leaving, last, passed: Arc::default() }, rx)
    }

    /// How long nothing was told.
    pub fn silence(&self) -> Duration {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Tells an event.
    pub async fn event(&self, event: Event) {
        self.send(Report::Event(event)).await;
    }

    /// Passes output on.
    pub async fn output(&self, stream: Stream, bytes: Bytes) {
        self.send(Report::Output { stream, bytes }).await;
    }

    /// Waits until the reader has room for one more report; `None` when nobody waits for it any longer.
    /// Harmless to drop, so that whoever waits here can also wait for something else.
    pub async fn room(&self) -> Option<Room<'_>> {
        tokio::select! {
            biased;
            room = self.tx.reserve() => room.ok(),
            () = self.leaving.cancelled() => None,
        }
    }

    /// Tells a report in the room that was waited for; without room it is dropped unless there is some now.
    pub fn pass(&self, room: Option<Room<'_>>, report: Report) {
        if matches!(report, Report::Event(_)) {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        self.passed.fetch_add(1, Ordering::Relaxed);
        match room {
            Some(room) => room.send(report),
            None => drop(self.tx.try_send(report)),
        }
    }

    /// From here on, nobody waits for a reader that has taken nothing for `patience`.
    pub async fn give_up_when_stuck(&self, patience: Duration) {
        let passed = || self.passed.load(Ordering::Relaxed);
        let (mut seen, mut since) = (passed(), Instant::now());
        while since.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(250)).await;
            if self.tx.capacity() > 0 || passed() != seen {
                (seen, since) = (passed(), Instant::now());
            }
        }
        self.leaving.cancel();
    }

    /// Has a value masked from now on.
    pub async fn secret(&self, secret: Secret) {
        self.send(Report::Secret(secret)).await;
    }

    /// Has the value with this print masked from now on.
    pub async fn print(&self, print: Print) {
        self.send(Report::Print(print)).await;
    }

    /// Has the terminal cleared for a command that takes it over.
    pub async fn hand_over(&self) {
        self.send(Report::HandOver).await;
    }

    /// Tells a warning.
    pub async fn warn(&self, code: &str, message: impl Into<String>, hint: Option<String>) {
        self.event(Event::Warning { code: code.to_owned(), message: message.into(), hint }).await;
    }

    /// Opens a phase; [`PhaseGuard::end`] closes it with its duration.
    pub async fn phase(&self, name: Phase, detail: Option<String>) -> PhaseGuard {
        self.event(Event::Phase { name, state: PhaseState::Begin, detail, ms: None }).await;
        PhaseGuard { reporter: self.clone(), name, began: Instant::now() }
    }

    async fn send(&self, report: Report) {
        let room = self.room().await;
        self.pass(room, report);
    }
}

/// An open phase.
#[derive(Debug)]
pub struct PhaseGuard {
    reporter: Reporter,
    name: Phase,
    began: Instant,
}

impl PhaseGuard {
    /// Says that the phase goes on and why it takes time.
    pub async fn wait(&self, detail: impl Into<String>) {
        let event = Event::Phase {
            name: self.name,
            state: PhaseState::Wait,
            detail: Some(detail.into()),
            ms: None,
        };
        self.reporter.event(event).await;
    }

    /// Closes the phase.
    pub async fn end(self, detail: Option<String>) {
        let ms = Some(self.began.elapsed().as_millis() as u64);
        self.reporter
            .event(Event::Phase { name: self.name, state: PhaseState::End, detail, ms })
            .await;
    }
}
