//! The shell of a session, and the task that gives it one command after the other.
//!
//! The shell is a plain one, fed through a pipe. Each command is a file it sources, so that directories,
//! variables and functions stay. Its output comes to us through named pipes and is marked here, byte for
//! byte; how it ended the shell tells on a pipe of its own. A command that ends the shell ends the session,
//! with the right exit code.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc;

use super::super::environment::Variables;
use super::command::Command;
use super::marks::Stream;

/// How long pipes must stay silent after a command's end before a background child that still holds them
/// no longer delays the exit code. What it prints later is still logged.
const SILENCE: Duration = Duration::from_millis(200);
/// How long a child that never falls silent delays it at most.
const CHATTER: Duration = Duration::from_secs(2);
/// The exit code of a command that was waiting when its session ended.
const NEVER_RAN: i32 = -1;

/// A running shell.
pub(super) struct Shell {
    child: Child,
    pid: i32,
    stdin: ChildStdin,
    said: Lines<BufReader<pipe::Receiver>>,
    /// In front of what it says to us; nothing it runs knows it by chance.
    word: String,
    source: &'static str,
}

impl Shell {
    pub(super) fn start(
        program: &Path,
        directory: &Path,
        variables: Variables,
    ) -> std::io::Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        let mut command = tokio::process::Command::new(program);
        command.env_clear().envs(variables).current_dir(directory).process_group(0);
        command.stdin(Stdio::piped()).stdout(writer).stderr(Stdio::null());
        let mut child = command.spawn()?;
        drop(command);
        let gone = || std::io::Error::other("the shell ended at once");
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or_else(gone)?;
        let stdin = child.stdin.take().ok_or_else(gone)?;
        let said = BufReader::new(pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?).lines();
        let is_zsh = program.file_name().is_some_and(|name| name == "zsh");
        // Without `command` a mistake in the file ends the smaller shells; in zsh it means another thing.
        let source = if is_zsh { "." } else { "command ." };
        Ok(Self {
            child,
            pid,
            stdin,
            said,
            word: uuid::Uuid::new_v4().simple().to_string(),
            source,
        })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Runs commands until the shell ends; then those still waiting end too.
    pub(super) async fn serve(mut self, mut queue: mpsc::UnboundedReceiver<Arc<Command>>) {
        loop {
            tokio::select! {
                next = queue.recv() => match next {
                    Some(command) => if self.run(&command).await { break },
                    None => break,
                },
                _ = self.child.wait() => break,
            }
        }
        queue.close();
        while let Some(command) = queue.recv().await {
            command.append(Stream::Stderr, b"the session ended before this command began\n");
            command.finish(NEVER_RAN).await;
        }
        let _ = self.child.wait().await;
    }

    /// Runs one command; says whether the shell ended with it.
    async fn run(&mut self, command: &Arc<Command>) -> bool {
        let mut output = match Output::open(command).await {
            Ok(output) => output,
            Err(err) => {
                let words = format!("cannot run this command: {err}\n");
                command.append(Stream::Stderr, words.as_bytes());
                command.finish(NEVER_RAN).await;
                return false;
            }
        };
        let fed = self.stdin.write_all(self.line(command).as_bytes()).await;
        let (code, ended) = tokio::select! {
            // Both at once would be a coin toss between the code it told and the one it left with.
            biased;
            code = told(&mut self.said, &self.word), if fed.is_ok() => (code, false),
            never = output.copy(command) => match never {},
            status = self.child.wait() => (code_of(status), true),
        };
        output.close_ours();
        if let Some(rest) = output.drain(command).await {
            let command = Arc::clone(command);
            tokio::spawn(rest.copy_to_end(command));
        }
        command.finish(code).await;
        ended
    }

    /// What the shell reads: the command with its pipes, then a word about how it ended.
    fn line(&self, command: &Command) -> String {
        let quoted = |name: &str| quote(&command.path(name));
        let stdin = if command.takes_input { quoted("stdin") } else { "/dev/null".to_owned() };
        format!(
            "{{ {source} {script}; }} <{stdin} >{stdout} 2>{stderr}; printf '\\n%s %s\\n' {word} \"$?\"\n",
            source = self.source,
            script = quoted("cmd.sh"),
            stdout = quoted("stdout"),
            stderr = quoted("stderr"),
            word = self.word,
        )
    }
}

/// Waits for the shell's word about an end. One that says nothing more is about to end, or has become
/// another program: how that ends is seen elsewhere.
async fn told(said: &mut Lines<BufReader<pipe::Receiver>>, word: &str) -> i32 {
    loop {
        match said.next_line().await {
            Ok(Some(line)) => {
                if let Some(code) =
                    line.strip_prefix(word).and_then(|rest| rest.trim().parse().ok())
                {
                    return code;
                }
            }
            // Not text: not ours.
            Err(err) if err.kind() == std::io::ErrorKind::InvalidData => {}
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

fn code_of(status: std::io::Result<ExitStatus>) -> i32 {
    let Ok(status) = status else { return -1 };
    status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(-1)
}

/// Single quotes for any path.
fn quote(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}

/// The reading ends of a command's output.
struct Output {
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    /// Writing ends of our own: as long as we hold them, a pipe that nobody has opened yet is not at its end.
    ours: Option<(pipe::Sender, pipe::Sender)>,
    buffers: Box<[[u8; 32 << 10]; 2]>,
}

impl Output {
    async fn open(command: &Command) -> std::io::Result<Self> {
        let make = |name: &str| -> std::io::Result<_> {
            let path = command.path(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            Ok(path)
        };
        let pipe = |name: &str| -> std::io::Result<_> {
            let path = make(name)?;
            let reader = pipe::OpenOptions::new().open_receiver(&path)?;
            Ok((reader, pipe::OpenOptions::new().open_sender(&path)?))
        };
        let ((stdout, own_out), (stderr, own_err)) = (pipe("stdout")?, pipe("stderr")?);
        if command.takes_input {
            // For both directions, so that it opens before the command does and never breaks.
            let path = make("stdin")?;
            let input = pipe::OpenOptions::new().read_write(true).open_sender(path)?;
            command.open_input(input).await;
        }
        Ok(Self {
            stdout: Some(stdout),
            stderr: Some(stderr),
            ours: Some((own_out, own_err)),
            buffers: Box::new([[0; 32 << 10]; 2]),
        })
    }

    fn close_ours(&mut self) {
        self.ours = None;
    }

    /// Logs the next piece; `false` once both pipes have ended.
    async fn step(&mut self, command: &Command) -> bool {
        let [out, err] = &mut *self.buffers;
        let (stream, read) = tokio::select! {
            read = read(&mut self.stdout, out) => (Stream::Stdout, read),
            read = read(&mut self.stderr, err) => (Stream::Stderr, read),
            else => return false,
        };
        match (stream, read) {
            (Stream::Stdout, 0) => self.stdout = None,
            (Stream::Stderr, 0) => self.stderr = None,
            (Stream::Stdout, n) => command.append(stream, &self.buffers[0][..n]),
            (Stream::Stderr, n) => command.append(stream, &self.buffers[1][..n]),
        }
        self.stdout.is_some() || self.stderr.is_some()
    }

    /// Logs for as long as it is polled.
    async fn copy(&mut self, command: &Command) -> std::convert::Infallible {
        while self.step(command).await {}
        std::future::pending().await
    }

    /// Logs what is left; gives itself back if somebody still holds a pipe.
    async fn drain(mut self, command: &Command) -> Option<Self> {
        let until = tokio::time::Instant::now() + CHATTER;
        loop {
            match tokio::time::timeout(SILENCE, self.step(command)).await {
                Ok(false) => return None,
                Err(_) => return Some(self),
                Ok(true) if tokio::time::Instant::now() > until => return Some(self),
                Ok(true) => {}
            }
        }
    }

    async fn copy_to_end(mut self, command: Arc<Command>) {
        while self.step(&command).await {}
    }
}

/// Reads from a pipe that is still open; 0 at its end. One that is not is never ready.
async fn read(pipe: &mut Option<pipe::Receiver>, buffer: &mut [u8]) -> usize {
    match pipe {
        Some(pipe) => pipe.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes() {
        assert_eq!(quote(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
