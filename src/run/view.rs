//! A run's output from an offset, gap-free through any loss.
//!
//! A terminal over there prints the record in frames that carry their offsets. When it is cut, the record
//! is read on by ranges and another terminal is opened; what was seen is skipped by its offset. The end
//! is told by the exit status and the sizes, never by the connection.

use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::frames::{Frame, Framing};
use super::outcome::Stop;
use super::{ALWAYS_KEPT, Offsets, Piece, RunRef, Stream, state};
use crate::daytona::pty::{Pty, PtyEvent, PtyOptions};
use crate::daytona::script::quote;
use crate::daytona::{Error, Toolbox, retry};

/// Numbers of the view.
#[derive(Debug, Clone, Copy)]
pub struct ViewOptions {
    /// The run was started just now: nothing to catch up before the terminal opens.
    pub fresh: bool,
    /// Tell what is recorded by now, and end.
    pub once: bool,
    /// Between two pings.
    pub ping: Duration,
    /// Without any frame for this long, the connection is dead.
    pub dead: Duration,
    /// From the open to the first frame.
    pub open: Duration,
    /// Between two signs of life to the service, so that it does not stop the sandbox.
    pub keep_alive: Duration,
    /// How long the sandbox may be out of reach altogether.
    pub budget: Duration,
}

impl Default for ViewOptions {
    fn default() -> Self {
        Self {
            fresh: true,
            once: false,
            ping: Duration::from_secs(15),
            dead: Duration::from_secs(45),
            open: Duration::from_secs(15),
            keep_alive: Duration::from_secs(60),
            budget: Duration::from_secs(600),
        }
    }
}

/// What the view tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Output. Pieces of one stream come in order, without overlap; what is missing is told as a gap.
    Bytes {
        /// Of which stream.
        stream: Stream,
        /// Its place in the record.
        offset: u64,
        /// What was written.
        bytes: Bytes,
    },
    /// Output that the record no longer holds: there was too much of it.
    Gap {
        /// Of which stream.
        stream: Stream,
        /// The offset of the first byte that is missing.
        from: u64,
        /// The offset after the last one.
        to: u64,
    },
    /// The live connection was lost; the run goes on and nothing is missing.
    Trouble {
        /// Which loss in a row, from 1.
        attempt: u32,
        /// Words.
        why: String,
    },
    /// The end; nothing follows. `exit` is `None` for a run that is gone without a status.
    End {
        /// The recorded exit status.
        exit: Option<i32>,
        /// Why it was ended, if it did not end by itself.
        why: Option<Stop>,
        /// Bytes recorded, all of them told before.
        sizes: Offsets,
    },
}

/// A followed run. Dropping it ends the following, not the run.
#[derive(Debug)]
pub struct View {
    seen: mpsc::Receiver<Result<Seen, Error>>,
    ended: CancellationToken,
    tasks: TaskTracker,
}

/// Pieces that wait for a slow consumer; with pieces of at most 64 KiB about 1 MiB.
const QUEUE: usize = 16;
/// Bytes that are fetched and held until it is known that they were still there when they were read.
const PASS: u64 = 4 << 20;
/// How long a terminal that was opened ahead is taken for alive.
const AHEAD: Duration = Duration::from_secs(20);
/// Looks without a living process before a run counts as lost; more before its runner is up.
const LOST_LOOKS: u32 = 3;
const LOST_LOOKS_EARLY: u32 = 12;

/// Follows a run from these offsets on.
pub fn follow(toolbox: &Toolbox, run: &RunRef, from: Offsets, options: ViewOptions) -> View {
    follow_on(None, toolbox, run, from, options)
}

/// The same on a terminal that was opened ahead.
pub fn follow_on(
    ahead: Option<Ahead>,
    toolbox: &Toolbox,
    run: &RunRef,
    from: Offsets,
    options: ViewOptions,
) -> View {
    let (tell, seen) = mpsc::channel(QUEUE);
    let ended = CancellationToken::new();
    let tasks = ahead.as_ref().map_or_else(TaskTracker::new, |ahead| ahead.tasks.clone());
    let watcher = Watcher {
        toolbox: toolbox.clone(),
        run: run.clone(),
        at: from,
        options,
        ahead,
        tell,
        ended: ended.clone(),
        tasks: tasks.clone(),
    };
    tasks.spawn(watcher.work());
    View { seen, ended, tasks }
}

impl View {
    /// What comes next; `None` after the end, after an error, and after [`Self::close`].
    pub async fn next(&mut self) -> Option<Result<Seen, Error>> {
        self.seen.recv().await
    }

    /// Ends the following and waits until the terminals over there are closed.
    pub async fn close(self) {
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// A terminal that is opened while its run is still on its way, so that nobody waits for its shell.
#[derive(Debug)]
pub struct Ahead {
    opening: JoinHandle<Result<Terminal, String>>,
    tasks: TaskTracker,
    since: Instant,
}

impl Ahead {
    /// Begins to open one.
    pub fn open(toolbox: &Toolbox) -> Self {
        let (toolbox, tasks) = (toolbox.clone(), TaskTracker::new());
        let closers = tasks.clone();
        let within = ViewOptions::default().open;
        let opening = tokio::spawn(async move { Terminal::open(&toolbox, &closers, within).await });
        Self { opening, tasks, since: Instant::now() }
    }

    /// Closes it unused.
    pub async fn close(self) {
        self.opening.abort();
        drop(self.opening.await);
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The terminal or why there is none; `None` if it may be dead by now, for nobody has pinged it.
    async fn terminal(self) -> Option<Result<Terminal, String>> {
        let opened = self.opening.await.unwrap_or_else(|error| Err(error.to_string()));
        (self.since.elapsed() < AHEAD).then_some(opened)
    }
}

struct Watcher {
    toolbox: Toolbox,
    run: RunRef,
    at: Offsets,
    options: ViewOptions,
    ahead: Option<Ahead>,
    tell: mpsc::Sender<Result<Seen, Error>>,
    ended: CancellationToken,
    tasks: TaskTracker,
}

/// How one terminal ended.
enum Round {
    /// Exit status and sizes agree with what was told.
    Ended(i32, Option<Stop>),
    /// Go on in another way.
    Cut(String),
    /// Nobody listens any more.
    Unheard,
}

impl Watcher {
    async fn work(mut self) {
        let keep_alive = tokio::spawn(keep_alive(self.toolbox.clone(), self.options.keep_alive));
        let guard = self.ended.clone();
        let result = tokio::select! {
            result = self.watch() => result,
            () = guard.cancelled() => Ok(()),
        };
        keep_alive.abort();
        if let Err(error) = result {
            let _ = self.tell.send(Err(error)).await;
        }
    }

    /// Terminal, then truth, until the end.
    async fn watch(&mut self) -> Result<(), Error> {
        let (mut attempt, mut gone) = (0, 0);
        let mut fresh = self.options.fresh;
        let mut reached = Instant::now();
        loop {
            if fresh {
                let before = self.at;
                let why = match self.round().await {
                    Round::Ended(exit, why) => return self.end(Some(exit), why).await,
                    Round::Unheard => return Ok(()),
                    Round::Cut(why) => why,
                };
                attempt = if self.at == before { attempt + 1 } else { 1 };
                tracing::debug!(attempt, why, "the view was cut");
                if self.say(Seen::Trouble { attempt, why }).await.is_none() {
                    return Ok(());
                }
            }
            let state = match self.truth().await {
                Ok(Some(state)) => state,
                Ok(None) => return Ok(()),
                Err(error) if error.is_transient() && reached.elapsed() < self.options.budget => {
                    self.pause(attempt, Duration::from_secs(15)).await;
                    fresh = false;
                    continue;
                }
                Err(error) => return Err(error),
            };
            reached = Instant::now();
            if state.exit.is_some() || self.options.once {
                return self.end(state.exit, state.why).await;
            }
            gone = if state.alive { 0 } else { gone + 1 };
            if gone >= if state.started { LOST_LOOKS } else { LOST_LOOKS_EARLY } {
                return self.end(None, state.why).await;
            }
            if attempt > 0 || gone > 0 {
                // Ranges bring the output meanwhile, so the pause stays short.
                self.pause(attempt.max(1), Duration::from_secs(2)).await;
            }
            fresh = gone == 0;
        }
    }

    /// Asks what is recorded and fetches what was not told yet; `None` if nobody listens.
    async fn truth(&mut self) -> Result<Option<super::RunState>, Error> {
        let mut state = state(&self.toolbox, &self.run).await?;
        for stream in [Stream::Out, Stream::Err] {
            while let Some(piece) = state.piece(stream, self.at.of(stream)) {
                let before = self.at.of(stream);
                let end = match &piece {
                    Piece::Gap(range) => {
                        if self.gap(stream, range.start, range.end).await.is_none() {
                            return Ok(None);
                        }
                        continue;
                    }
                    Piece::Bytes(range) => range.end.min(range.start + PASS),
                };
                if !self.fetch(stream, end, &mut state).await? {
                    return Ok(None);
                }
                if self.at.of(stream) == before && state.piece(stream, before) == Some(piece) {
                    break;
                }
            }
        }
        Ok(Some(state))
    }

    /// Fetches a stream up to an offset, or to a hole that appeared meanwhile; `false` if nobody listens.
    async fn fetch(
        &mut self,
        stream: Stream,
        end: u64,
        state: &mut super::RunState,
    ) -> Result<bool, Error> {
        let path = format!("{}/{}", self.run.dir, stream.file());
        let mut upto = self.at.of(stream);
        let mut download = self.toolbox.download(&path, upto).await?;
        let mut held = Vec::new();
        let cut = loop {
            match download.chunk().await {
                Ok(Some(mut bytes)) => {
                    bytes.truncate(usize::try_from(end - upto).unwrap_or(usize::MAX));
                    upto += bytes.len() as u64;
                    held.push(bytes);
                    if upto == end {
                        break None;
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if upto > ALWAYS_KEPT {
            // Only the holes: the sizes go with the exit status that was seen with them.
            state.holes = super::state(&self.toolbox, &self.run).await?.holes;
        }
        for mut bytes in held {
            let offset = self.at.of(stream);
            let Some(Piece::Bytes(sound)) = state.piece(stream, offset) else { break };
            bytes.truncate(usize::try_from(sound.end - offset).unwrap_or(usize::MAX));
            if self.output(stream, offset, bytes).await.is_none_or(|gap| gap) {
                return Ok(false);
            }
        }
        cut.map_or(Ok(true), Err)
    }

    async fn end(&mut self, exit: Option<i32>, why: Option<Stop>) -> Result<(), Error> {
        let _ = self.say(Seen::End { exit, why, sizes: self.at }).await;
        Ok(())
    }

    async fn pause(&self, attempt: u32, cap: Duration) {
        let policy = retry::Policy { cap, ..self.toolbox.client().limits().retry };
        tokio::time::sleep(retry::backoff(&policy, attempt.max(1), retry::jitter())).await;
    }

    /// One terminal, from its opening to its loss.
    async fn round(&mut self) -> Round {
        let ahead = match self.ahead.take() {
            Some(ahead) => ahead.terminal().await,
            None => None,
        };
        let opened = match ahead {
            Some(opened) => opened,
            None => Terminal::open(&self.toolbox, &self.tasks, self.options.open).await,
        };
        match opened {
            Ok(mut terminal) => self.listen(&mut terminal.pty).await,
            Err(why) => Round::Cut(why),
        }
    }

    async fn listen(&mut self, pty: &mut Pty) -> Round {
        let mut framing = Framing::default();
        let mut pings = tokio::time::interval(self.options.ping);
        pings.tick().await;
        let (mut last, mut typed) = (Instant::now(), false);
        let opened = Instant::now();
        loop {
            let event = tokio::select! {
                event = pty.next() => event,
                _ = pings.tick() => {
                    if last.elapsed() >= self.options.dead {
                        return Round::Cut("the terminal went silent".into());
                    }
                    if !framing.begun() && opened.elapsed() >= self.options.open {
                        return Round::Cut("the view did not begin".into());
                    }
                    if let Err(error) = pty.ping().await {
                        return Round::Cut(error.to_string());
                    }
                    continue;
                }
            };
            match event {
                PtyEvent::Connected if !typed => {
                    typed = true;
                    if let Err(error) = pty.send(self.line().as_bytes()).await {
                        return Round::Cut(error.to_string());
                    }
                }
                PtyEvent::Connected | PtyEvent::Alive => {}
                PtyEvent::Output(bytes) => {
                    if let Some(round) = self.frames(&mut framing, bytes).await {
                        return round;
                    }
                }
                PtyEvent::Exited(status) => {
                    return Round::Cut(format!("the view ended with status {status}"));
                }
                PtyEvent::Failed(why) => return Round::Cut(why),
                PtyEvent::Closed { code, reason } => {
                    return Round::Cut(format!("closed with {code} {reason}").trim().to_owned());
                }
            }
            // A slow consumer is no silence of the other side.
            last = Instant::now();
        }
    }

    /// The one line that is typed: short, so that no line editor cuts it.
    fn line(&self) -> String {
        let Self { run, at, .. } = self;
        format!(
            "stty -echo -opost; printf '\\001GO\\002'; exec sh {} {} {} {} {}\r",
            quote(&format!("{}/view.sh", run.dir)),
            quote(&run.dir),
            run.id,
            at.out,
            at.err
        )
    }

    /// Tells what the frames hold; a value ends the round.
    async fn frames(&mut self, framing: &mut Framing, bytes: Bytes) -> Option<Round> {
        let mut frames = Vec::new();
        let sound = framing.feed(bytes, &mut frames);
        for frame in frames {
            match frame {
                Frame::Bytes { stream, offset, bytes } => {
                    match self.output(stream, offset, bytes).await {
                        None => return Some(Round::Unheard),
                        Some(true) => return Some(Round::Cut("the view left a gap".into())),
                        Some(false) => {}
                    }
                }
                Frame::Gap { stream, from, to } => match self.gap(stream, from, to).await {
                    None => return Some(Round::Unheard),
                    Some(true) => return Some(Round::Cut("the view left a gap".into())),
                    Some(false) => {}
                },
                Frame::End { exit, why, sizes } if sizes == self.at => {
                    return Some(Round::Ended(exit, why));
                }
                Frame::End { .. } => return Some(Round::Cut("the view ended early".into())),
                Frame::Lost => return Some(Round::Cut("the run seems to be gone".into())),
            }
        }
        sound.err().map(Round::Cut)
    }

    /// Tells output that was not told yet. `None`: nobody listens; `Some(true)`: bytes before it are missing.
    async fn output(&mut self, stream: Stream, offset: u64, mut bytes: Bytes) -> Option<bool> {
        let at = self.at.of(stream);
        if offset > at {
            return Some(true);
        }
        bytes.advance((at - offset).min(bytes.len() as u64) as usize);
        if !bytes.is_empty() {
            *self.at.of_mut(stream) += bytes.len() as u64;
            self.say(Seen::Bytes { stream, offset: at, bytes }).await?;
        }
        Some(false)
    }

    /// Tells that bytes are no longer held, as far as they were not told. Answers as [`Self::output`].
    async fn gap(&mut self, stream: Stream, from: u64, to: u64) -> Option<bool> {
        let at = self.at.of(stream);
        if from > at {
            return Some(true);
        }
        if to > at {
            *self.at.of_mut(stream) = to;
            self.say(Seen::Gap { stream, from: at, to }).await?;
        }
        Some(false)
    }

    async fn say(&self, seen: Seen) -> Option<()> {
        self.tell.send(Ok(seen)).await.ok()
    }
}

/// An open terminal. However it ends, also by being dropped while it is opened, it is closed over there.
#[derive(Debug)]
struct Terminal {
    pty: Pty,
    _closer: Closer,
}

impl Terminal {
    async fn open(
        toolbox: &Toolbox,
        tasks: &TaskTracker,
        within: Duration,
    ) -> Result<Self, String> {
        let id = format!("sbx-{}", uuid::Uuid::new_v4().simple());
        let closer = Closer { toolbox: toolbox.clone(), id: id.clone(), tasks: tasks.clone() };
        let options = PtyOptions { id, cols: 200, rows: 50, cwd: None, envs: Default::default() };
        match tokio::time::timeout(within, toolbox.pty_connect(&options)).await {
            Ok(Ok(pty)) => Ok(Self { pty, _closer: closer }),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no terminal was opened in time".into()),
        }
    }
}

/// Closes a terminal over there when the view lets go of it.
#[derive(Debug)]
struct Closer {
    toolbox: Toolbox,
    id: String,
    tasks: TaskTracker,
}

impl Drop for Closer {
    fn drop(&mut self) {
        let (toolbox, id) = (self.toolbox.clone(), std::mem::take(&mut self.id));
        self.tasks.spawn(async move {
            if let Err(error) = toolbox.pty_delete(&id).await {
                tracing::debug!(%error, "a terminal could not be closed");
            }
        });
    }
}

/// Tells the service every so often that the sandbox is in use.
pub async fn keep_alive(toolbox: Toolbox, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if let Err(error) = toolbox.client().touch(toolbox.sandbox_id()).await {
            tracing::debug!(%error, "the sandbox could not be kept awake");
        }
    }
}
