//! SIGTERM and SIGINT, by which a server is told to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Listens from the beginning, so that an order during the start is not lost.
pub(super) struct Orders {
    terminate: Signal,
    interrupt: Signal,
}

impl Orders {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The first of them cancels `stop`.
    pub(super) fn cancel(mut self, stop: CancellationToken) {
        tokio::spawn(async move {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            stop.cancel();
        });
    }
}
