//! Watching a run: its output, its deadlines, the caller's signals, in one loop that owns the truth.

use std::time::{Duration, Instant};

use crate::agent::{Ended, Line, Lines, Parser};
use crate::event::{AgentEvent, AgentState, Event, OutputKind, Phase, Stream};
use crate::flow::{Context, Signal};

/// How often silence is broken by a heartbeat.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// An agent that said its last word gets this long to leave.
pub const LINGER: Duration = Duration::from_secs(30);
/// The longest text in one event; longer lines come in pieces.
const EVENT_TEXT_MAX: usize = 32 * 1024;

/// Why the watching ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The process ended by itself, with this status.
    Exited(i32),
    /// It is gone without a status.
    Lost,
    /// A signal asked us to stop it.
    Signal(Signal),
    /// It exceeded `--timeout`.
    Timeout,
    /// It was silent for longer than `--idle-timeout`.
    Idle,
    /// It had said its last word and did not leave.
    Lingering,
}

impl Stop {
    /// In the words of the agent's parser; `status` is what stopping it recorded.
    pub fn ended(self) -> Ended {
        match self {
            Stop::Exited(code) => Ended::Exited(code),
            Stop::Lost => Ended::Lost,
            Stop::Lingering => Ended::Lingering,
            Stop::Signal(_) | Stop::Timeout | Stop::Idle => Ended::Cancelled,
        }
    }
}

/// Turns recorded bytes into events.
pub struct Reader {
    parser: Option<Parser>,
    agent: String,
    json: bool,
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
    pub fn new(agent: &str, parser: Option<Parser>, json: bool, raw: bool, from: [u64; 2]) -> Self {
        Self {
            parser,
            agent: agent.to_owned(),
            json,
            raw,
            lines: from.map(Lines::at),
            session: None,
            last_output: Instant::now(),
            last_word: None,
            offset: from[0],
        }
    }

    /// Takes the next recorded bytes of a stream.
    pub async fn take(&mut self, cx: &Context, stream: Stream, bytes: bytes::Bytes) {
        self.last_output = Instant::now();
        if stream == Stream::Stdout {
            self.offset += bytes.len() as u64;
        }
        // Agents that speak JSON are shown by what they mean; all other output is shown as it is.
        if self.raw || !self.parser.as_ref().is_some_and(Parser::speaks_json) {
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
        if self.json {
            self.tell_line(cx, stream, &line, kind, json).await;
        }
        for event in events {
            self.tell_event(cx, event).await;
        }
        if self.last_word.is_none() && self.parser.as_ref().is_some_and(Parser::terminal_event_seen) {
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
            let event =
                Event::AgentOutput { kind, stream, data: None, json, offset: line.offset, partial: line.partial };
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

/// Breaks silence.
pub async fn heartbeat(cx: &Context, phase: Phase, idle: Duration, offset: u64, sandbox_state: &str) {
    let event =
        Event::Heartbeat { phase, idle_s: idle.as_secs(), offset, sandbox_state: sandbox_state.to_owned() };
    cx.reporter.event(event).await;
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
