//! Answers of several parts, written piece by piece while they are read.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio::sync::mpsc;

/// Bytes read and sent at once.
const CHUNK: usize = 128 << 10;
/// Pieces waiting for the client.
const AHEAD: usize = 2;

/// Where a body's producer puts its pieces. Everything fails once the client is gone.
#[derive(Debug)]
pub(super) struct Out(mpsc::Sender<std::io::Result<Bytes>>);

impl Out {
    /// Sends bytes, waiting for the client where it is slow.
    pub(super) fn bytes(&self, bytes: impl Into<Bytes>) -> std::io::Result<()> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Ok(());
        }
        self.0.blocking_send(Ok(bytes)).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    /// Sends exactly so much of a file. A file that has become shorter is an error, so that the client
    /// never takes less for everything; one that has grown is cut.
    pub(super) fn file(&self, file: &mut File, start: u64, length: u64) -> std::io::Result<()> {
        file.seek(SeekFrom::Start(start))?;
        let mut left = length;
        while left > 0 {
            let mut buffer = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            buffer.truncate(read);
            left -= read as u64;
            self.bytes(buffer)?;
        }
        Ok(())
    }
}

/// A body made by blocking code, which runs no further ahead than a few pieces. An error cuts the answer
/// short in a way the client notices.
pub(super) fn body(make: impl FnOnce(&Out) -> std::io::Result<()> + Send + 'static) -> Body {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let out = Out(sender);
        if let Err(err) = make(&out) {
            let _ = out.0.blocking_send(Err(err));
        }
    });
    Body::from_stream(stream::unfold(receiver, async |mut receiver| {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    }))
}
