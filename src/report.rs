//! The channel through which a command tells what happens; who draws it is not its business.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, Phase, PhaseState, Stream};
use crate::secret::Secret;

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
}

/// The sending end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reporter {
    tx: mpsc::Sender<Report>,
    leaving: CancellationToken,
    last: Arc<Mutex<Instant>>,
}

impl Reporter {
    /// A channel that holds at most `capacity` reports. A slow reader slows the sender down, until
    /// `leaving` is cancelled: from then on what does not fit is dropped, so that nobody's stuck
    /// terminal or pipe can hold up the end.
    pub fn channel(capacity: usize, leaving: CancellationToken) -> (Self, mpsc::Receiver<Report>) {
        let (tx, rx) = mpsc::channel(capacity);
        (Self { tx, leaving, last: Arc::new(Mutex::new(Instant::now())) }, rx)
    }

    /// How long nothing was told.
    pub fn silence(&self) -> Duration {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Tells an event.
    pub async fn event(&self, event: Event) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.send(Report::Event(event)).await;
    }

    /// Passes output on.
    pub async fn output(&self, stream: Stream, bytes: Bytes) {
        self.send(Report::Output { stream, bytes }).await;
    }

    /// Has a value masked from now on.
    pub async fn secret(&self, secret: Secret) {
        self.send(Report::Secret(secret)).await;
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
        tokio::select! {
            biased;
            permit = self.tx.reserve() => if let Ok(permit) = permit { permit.send(report) },
            () = self.leaving.cancelled() => { let _ = self.tx.try_send(report); }
        }
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
