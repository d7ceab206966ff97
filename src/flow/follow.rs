//! Watching a run: its output, its deadlines, the caller's signals, in one loop that owns the truth.

use std::time::{Duration, Instant};

use crate::agent::{Line, Lines, Parser};
use crate::daytona::Toolbox;
use crate::event::{AgentEvent, AgentState, Event, OutputKind, Stream};
use crate::flow::{Context, Signal};
use crate::run::outcome::{End, Stop};
use crate::run::view::{self, Seen, ViewOptions};
use crate::run::{self, Offsets, RunRef};

/// An agent that said its last word gets this long to leave.
pub const LINGER: Duration = Duration::from_secs(30);
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(250);
/// The longest text in one event; longer lines come in pieces.
const EVENT_TEXT_MAX: usize = 32 * 1024;

/// How long the sandbox may take to stop a run, beyond the grace.
const STOP_SLACK: Duration = Duration::from_secs(3);

/// How a followed run ended.
#[derive(Debug)]
pub struct Followed {
    /// The recorded end.
    pub end: End,
    /// Why we stopped it, if we did.
    pub stop: Option<Stop>,
    /// A signal that asked us to leave.
    pub signal: Option<Signal>,
    /// The agent's parser, for its verdict.
    pub parser: Option<Parser>,
}

/// What to follow and for how long.
#[derive(Debug)]
pub struct Watch<'w> {
    /// Where it runs.
    pub toolbox: &'w Toolbox,
    /// Which run.
    pub run: RunRef,
    /// It was started just now.
    pub fresh: bool,
    /// From where.
    pub from: Offsets,
    /// The whole time; `None` is for ever.
    pub timeout: Option<Duration>,
    /// The longest silence.
    pub idle: Option<Duration>,
    /// Leave after a signal without stopping the run.
    pub leave: bool,
    /// How long the service may be out of reach. A server on this machine that does not answer for a while
    /// is gone; the next command starts a new one, which finds the run.
    pub patience: Duration,
}

/// Follows a run to its end, or to the reason to stop it. One loop owns the truth: output, deadlines and
/// signals are told to it, and nobody else decides.
pub async fn follow(
    cx: &Context,
    watch: Watch<'_>,
    mut reader: Reader,
) -> anyhow::Result<Followed> {
    let options =
        ViewOptions { fresh: watch.fresh, budget: watch.patience, ..ViewOptions::default() };
    let mut view = view::follow(watch.toolbox, &watch.run, watch.from, options);
    let clock = Clock::start();
    let mut tick = tokio::time::interval(TICK);
    let (end, stop, signal) = loop {
        tokio::select! {
            biased;
            signal = cx.signals.first() => break (None, stop_of(signal), Some(signal)),
            seen = view.next() => match seen {
                Some(Ok(Seen::Bytes { stream, bytes, .. })) => {
                    reader.take(cx, shown(stream), bytes).await;
                }
                Some(Ok(Seen::Trouble { attempt, why })) => {
                    let message = format!("the live output was lost ({why}); reconnecting, attempt {attempt}");
                    cx.reporter.warn("stream.reconnecting", message, None).await;
                }
                Some(Ok(Seen::End { exit, .. })) => break (Some(exit.map_or(End::Lost, End::Exit)), None, None),
                Some(Err(error)) => return Err(error.into()),
                None => break (Some(End::Lost), None, None),
            },
            _ = tick.tick() => {
                if let Some(stop) = overdue(&clock, &watch, &reader) {
                    break (None, Some(stop), None);
                }
            }
        }
    };
    let end = match end {
        Some(end) => end,
        // A terminal that went away takes nobody with it.
        None if signal == Some(Signal::Hangup) || (watch.leave && signal.is_some()) => End::Lost,
        None => end_it(cx, &watch, &mut view, &mut reader).await,
    };
    reader.finish(cx).await;
    // Deleting the terminal over there is nobody's reason to wait.
    let _ = tokio::time::timeout(Duration::from_millis(1500), view.close()).await;
    Ok(Followed { end, stop, signal, parser: reader.into_parser() })
}

/// Stops the run's whole tree and takes what it still said.
async fn end_it(
    cx: &Context,
    watch: &Watch<'_>,
    view: &mut view::View,
    reader: &mut Reader,
) -> End {
    let grace = cx.config.grace.min(Duration::from_secs(10)) / 2;
    let stopping = run::stop::stop(watch.toolbox, &watch.run, grace);
    let stopped = match tokio::time::timeout(grace + STOP_SLACK, stopping).await {
        Ok(Ok(stopped)) => stopped.exit,
        _ => None,
    };
    let rest = async {
        while let Some(Ok(seen)) = view.next().await {
            match seen {
                Seen::Bytes { stream, bytes, .. } => {
                    reader.take(cx, shown(stream), bytes).await;
                }
                Seen::End { .. } => return,
                Seen::Trouble { .. } => {}
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
    stopped.map_or(End::Lost, End::Exit)
}

fn stop_of(signal: Signal) -> Option<Stop> {
    Some(match signal {
        Signal::Interrupt => Stop::Interrupted,
        Signal::Terminate => Stop::Terminated,
        Signal::Hangup => Stop::Hangup,
    })
}

fn overdue(clock: &Clock, watch: &Watch<'_>, reader: &Reader) -> Option<Stop> {
    if watch.timeout.is_some_and(|limit| clock.elapsed() >= limit) {
        return Some(Stop::Timeout);
    }
    if watch.idle.is_some_and(|limit| reader.last_output.elapsed() >= limit) {
        return Some(Stop::Silent);
    }
    let lingers = reader.last_word.is_some_and(|at| at.elapsed() >= LINGER);
    (lingers || reader.hopeless()).then_some(Stop::Lingering)
}

/// A clock that goes on while the machine sleeps: a suspended laptop does not give an agent more time.
struct Clock {
    began: rustix::time::Timespec,
}

impl Clock {
    fn start() -> Self {
        Self { began: Self::now() }
    }

    fn now() -> rustix::time::Timespec {
        #[cfg(target_os = "linux")]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let id = rustix::time::ClockId::Monotonic;
        rustix::time::clock_gettime(id)
    }

    fn elapsed(&self) -> Duration {
        let now = Self::now();
        Duration::from_secs(now.tv_sec.saturating_sub(self.began.tv_sec).max(0).unsigned_abs())
    }
}

/// Turns recorded bytes into events.
pub struct Reader {
    parser: Option<Parser>,
    agent: String,
    /// The agent speaks JSON: it is shown by what it means, not as it is.
    speaks_json: bool,
    raw: bool,
    lines: [Lines; 2],
    session: Option<String>,
    /// When output was last seen.
    pub last_output: Instant,
    /// When the agent said its last word.
    pub last_word: Option<Instant>,
    /// Bytes of standard output seen.
    pub offset: u64,
}

impl Reader {
    /// A reader for one run. Without a parser, output is passed on as it comes.
    pub fn new(
        agent: &str,
        parser: Option<Parser>,
        speaks_json: bool,
        raw: bool,
        from: Offsets,
    ) -> Self {
        Self {
            parser,
            agent: agent.to_owned(),
            speaks_json,
            raw,
            lines: [Lines::at(from.out), Lines::at(from.err)],
            session: None,
            last_output: Instant::now(),
            last_word: None,
            offset: from.out,
        }
    }

    /// Takes the next recorded bytes of a stream.
    pub async fn take(&mut self, cx: &Context, stream: Stream, bytes: bytes::Bytes) {
        self.last_output = Instant::now();
        if stream == Stream::Stdout {
            self.offset += bytes.len() as u64;
        }
        {
            let mut told = cx.told();
            told.offset = self.offset;
            told.last_output = Some(self.last_output);
        }
        // Agents that speak JSON are shown by what they mean; all other output is shown as it is.
        if self.raw || !self.speaks_json {
            cx.reporter.output(stream, bytes.clone()).await;
        }
        let mut lines = Vec::new();
        self.lines[stream as usize].push(&bytes, |line| lines.push(line));
        for line in lines {
            self.line(cx, stream, line).await;
        }
    }

    /// The record is complete.
    pub async fn finish(&mut self, cx: &Context) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut lines = Vec::new();
            self.lines[stream as usize].finish(|line| lines.push(line));
            for line in lines {
                self.line(cx, stream, line).await;
            }
        }
    }

    fn hopeless(&self) -> bool {
        self.parser.as_ref().is_some_and(|p| p.hopeless().is_some())
    }

    /// The parser, for its verdict.
    pub fn into_parser(self) -> Option<Parser> {
        self.parser
    }

    async fn line(&mut self, cx: &Context, stream: Stream, line: Line) {
        let parsed = match (&mut self.parser, stream) {
            (Some(parser), Stream::Stdout) => Some(parser.line(&line.bytes)),
            _ => None,
        };
        let (kind, json, events) = match parsed {
            Some(parsed) => (parsed.kind, parsed.json, parsed.events),
            None => (OutputKind::Text, None, Vec::new()),
        };
        self.tell_line(cx, stream, &line, kind, json).await;
        for event in events {
            self.tell_event(cx, event).await;
        }
        if self.last_word.is_none() && self.parser.as_ref().is_some_and(Parser::terminal_event_seen)
        {
            self.last_word = Some(Instant::now());
        }
    }

    async fn tell_line(
        &self,
        cx: &Context,
        stream: Stream,
        line: &Line,
        kind: OutputKind,
        json: Option<serde_json::Value>,
    ) {
        if kind == OutputKind::Json && line.bytes.len() <= EVENT_TEXT_MAX {
            let event = Event::AgentOutput {
                kind,
                stream,
                data: None,
                json,
                offset: line.offset,
                partial: line.partial,
            };
            return cx.reporter.event(event).await;
        }
        let text = String::from_utf8_lossy(&line.bytes);
        let mut rest: &str = &text;
        loop {
            let cut = floor_boundary(rest, EVENT_TEXT_MAX);
            let (piece, more) = rest.split_at(cut);
            let event = Event::AgentOutput {
                kind: OutputKind::Text,
                stream,
                data: Some(piece.to_owned()),
                json: None,
                offset: line.offset,
                partial: line.partial || !more.is_empty(),
            };
            cx.reporter.event(event).await;
            if more.is_empty() {
                return;
            }
            rest = more;
        }
    }

    async fn tell_event(&mut self, cx: &Context, event: AgentEvent) {
        if let AgentEvent::Session { id, .. } = &event
            && self.session.as_ref() != Some(id)
        {
            self.session = Some(id.clone());
            let told = Event::Agent {
                state: AgentState::Session,
                agent: self.agent.clone(),
                agent_session: Some(id.clone()),
                exit_code: None,
            };
            cx.reporter.event(told).await;
        }
        for piece in pieces(event) {
            cx.reporter.event(Event::AgentEvent { event: piece }).await;
        }
    }
}

/// Long words come as several events, so that no line of ours passes 64 KiB.
fn pieces(event: AgentEvent) -> Vec<AgentEvent> {
    let AgentEvent::Text { text, delta } = event else { return vec![event] };
    if text.len() <= EVENT_TEXT_MAX {
        return vec![AgentEvent::Text { text, delta }];
    }
    let mut out = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(floor_boundary(rest, EVENT_TEXT_MAX));
        out.push(AgentEvent::Text { text: piece.to_owned(), delta: delta || !more.is_empty() });
        rest = more;
    }
    out
}

fn floor_boundary(text: &str, at: usize) -> usize {
    if text.len() <= at {
        return text.len();
    }
    (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(text.len())
}

fn shown(stream: run::Stream) -> Stream {
    match stream {
        run::Stream::Out => Stream::Stdout,
        run::Stream::Err => Stream::Stderr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_come_in_pieces_that_add_up() {
        let text = "ä".repeat(40_000);
        let parts = pieces(AgentEvent::Text { text: text.clone(), delta: false });
        let joined: String = parts
            .iter()
            .map(|p| match p {
                AgentEvent::Text { text, .. } => text.as_str(),
                _ => "",
            })
            .collect();
        assert_eq!((parts.len(), joined), (3, text));
    }
}
