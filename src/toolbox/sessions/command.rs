//! One command of a session: its files, its log, its end.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::net::unix::pipe;
use tokio::sync::watch;

use super::marks::{Mux, Stream};
use crate::wire::process::SessionCommand;

/// How far a command has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Length of the log.
    pub(super) logged: u64,
    /// Set once, after the log is complete.
    pub(super) exit_code: Option<i32>,
}

/// A command, running, waiting or done.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) id: String,
    pub(super) text: String,
    /// Whether something can be typed into it.
    pub(super) takes_input: bool,
    /// Whether what is typed appears in the log.
    pub(super) echoes: bool,
    directory: PathBuf,
    progress: watch::Sender<Progress>,
    log: Mutex<Log>,
    input: tokio::sync::Mutex<Option<pipe::Sender>>,
}

#[derive(Debug)]
struct Log {
    file: File,
    mux: Mux,
}

impl Command {
    /// Lays out the command's directory: `cmd.sh`, and an empty `output.log`.
    pub(super) fn create(
        session: &Path,
        text: String,
        takes_input: bool,
        echoes: bool,
    ) -> std::io::Result<Self> {
        let id = uuid::Uuid::new_v4().to_string();
        let directory = session.join(&id);
        std::fs::create_dir_all(&directory)?;
        let private = |name: &str| {
            OpenOptions::new().create(true).append(true).mode(0o600).open(directory.join(name))
        };
        let mut script = private("cmd.sh")?;
        script.write_all(text.as_bytes())?;
        script.write_all(b"\n")?;
        let log = Mutex::new(Log { file: private("output.log")?, mux: Mux::default() });
        let (progress, input) = (watch::Sender::default(), tokio::sync::Mutex::default());
        Ok(Self { id, text, takes_input, echoes, directory, progress, log, input })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.path("output.log")
    }

    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(super) fn exit_code(&self) -> Option<i32> {
        self.progress.borrow().exit_code
    }

    pub(super) fn described(&self) -> SessionCommand {
        SessionCommand {
            id: self.id.clone(),
            command: self.text.clone(),
            exit_code: self.exit_code(),
        }
    }

    /// Adds output. It goes to the page cache, so it is written right here. What does not fit on the disk
    /// is lost, as it would be for a program that writes a file.
    pub(super) fn append(&self, stream: Stream, bytes: &[u8]) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut marked = Vec::with_capacity(bytes.len() + 8);
        log.mux.write(stream, bytes, &mut marked);
        if let Err(err) = log.file.write_all(&marked) {
            tracing::warn!(%err, command = %self.id, "output is lost");
            return;
        }
        self.progress.send_modify(|progress| progress.logged += marked.len() as u64);
    }

    /// Opens the way for input.
    pub(super) async fn open_input(&self, pipe: pipe::Sender) {
        *self.input.lock().await = Some(pipe);
    }

    /// The way for input, if the command has begun and not ended.
    pub(super) async fn input(&self) -> tokio::sync::MutexGuard<'_, Option<pipe::Sender>> {
        self.input.lock().await
    }

    /// Ends it, after its last output. The file appears complete or not at all.
    pub(super) async fn finish(&self, exit_code: i32) {
        let (staged, place) = (self.path(".exit_code"), self.path("exit_code"));
        let written = std::fs::write(&staged, format!("{exit_code}\n"));
        if let Err(err) = written.and_then(|()| std::fs::rename(&staged, &place)) {
            tracing::warn!(%err, command = %self.id, "the exit code is not on disk");
        }
        self.progress.send_modify(|progress| progress.exit_code = Some(exit_code));
        for pipe in ["stdin", "stdout", "stderr"] {
            // Not all of them were made.
            let _ = std::fs::remove_file(self.path(pipe));
        }
        // Whoever is writing input holds this; nobody reads any more, so it is not waited for.
        if let Ok(mut input) = self.input.try_lock() {
            input.take();
        }
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) -> i32 {
        let mut progress = self.progress();
        let ended = progress.wait_for(|progress| progress.exit_code.is_some()).await;
        ended.ok().and_then(|progress| progress.exit_code).unwrap_or(-1)
    }
}
