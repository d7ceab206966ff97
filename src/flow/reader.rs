//! What a run recorded, as reports: its bytes, its lines, and what they mean.

use std::collections::VecDeque;
use std::time::Instant;

use crate::agent::{Line, Lines, Parser};
use crate::event::{AgentEvent, AgentState, Event, OutputKind, Stream};
use crate::flow::Context;
use crate::report::{Report, Room};
use crate::run::{self, Offsets};

/// The longest text in one event; longer lines come in pieces.
const EVENT_TEXT_MAX: usize = 32 * 1024;

/// Turns recorded bytes into events.
pub struct Reader {
    parser: Option<Parser>,
    agent: String,
    /// The agent speaks JSON: it is shown by what it means, not as it is.
    speaks_json: bool,
    raw: bool,
    lines: [Lines; 2],
    session: Option<String>,
    /// Reports for which there was no room yet: those of one piece of output at most.
    waiting: VecDeque<Report>,
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
            waiting: VecDeque::new(),
            last_word: None,
            offset: from.out,
        }
    }

    /// Takes the next recorded bytes of a stream. Its reports wait here until they are passed on.
    pub fn take(&mut self, cx: &Context, stream: run::Stream, bytes: bytes::Bytes) {
        let stream = shown(stream);
        if stream == Stream::Stdout {
            self.offset += bytes.len() as u64;
        }
        {
            let mut told = cx.told();
            told.offset = self.offset;
            told.last_output = Some(Instant::now());
        }
        // Agents that speak JSON are shown by what they mean; all other output is shown as it is.
        if self.raw || !self.speaks_json {
            self.waiting.push_back(Report::Output { stream, bytes: bytes.clone() });
        }
        let mut lines = Vec::new();
        self.lines[stream as usize].push(&bytes, |line| lines.push(line));
        for line in lines {
            self.line(stream, line);
        }
    }

    /// Bytes are missing: a line does not go on behind them.
    pub fn gap(&mut self, stream: run::Stream, from: u64, to: u64) {
        let stream = shown(stream);
        let mut lines = Vec::new();
        self.lines[stream as usize].finish(|line| lines.push(line));
        self.lines[stream as usize] = Lines::at(to);
        for line in lines {
            self.line(stream, line);
        }
        if stream == Stream::Stdout {
            self.offset = to;
        }
        self.tell(Event::Gap { stream, from, to, reason: "log_limit".to_owned() });
    }

    /// The live output was lost and is taken up again.
    pub fn trouble(&mut self, attempt: u32, why: &str) {
        let code = "stream.reconnecting".to_owned();
        let message = format!("the live output was lost ({why}); reconnecting, attempt {attempt}");
        self.tell(Event::Warning { code, message, hint: None });
    }

    /// Whether there are reports to pass on before more is taken.
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Passes one report on.
    pub fn pass(&mut self, cx: &Context, room: Option<Room<'_>>) {
        if let Some(report) = self.waiting.pop_front() {
            cx.reporter.pass(room, report);
        }
    }

    /// Passes all of them on.
    pub async fn pour(&mut self, cx: &Context) {
        while self.waits() {
            let room = cx.reporter.room().await;
            self.pass(cx, room);
        }
    }

    fn tell(&mut self, event: Event) {
        self.waiting.push_back(Report::Event(event));
    }

    /// The record is complete.
    pub async fn finish(&mut self, cx: &Context) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut lines = Vec::new();
            self.lines[stream as usize].finish(|line| lines.push(line));
            for line in lines {
                self.line(stream, line);
            }
        }
        self.pour(cx).await;
    }

    /// The agent will not get on whatever it does.
    pub fn hopeless(&self) -> bool {
        self.parser.as_ref().is_some_and(|p| p.hopeless().is_some())
    }

    /// The parser, for its verdict.
    pub fn into_parser(self) -> Option<Parser> {
        self.parser
    }

    fn line(&mut self, stream: Stream, line: Line) {
        let parsed = match (&mut self.parser, stream) {
            (Some(parser), Stream::Stdout) => Some(parser.line(&line.bytes)),
            _ => None,
        };
        let (kind, json, events) = match parsed {
            Some(parsed) => (parsed.kind, parsed.json, parsed.events),
            None => (OutputKind::Text, None, Vec::new()),
        };
        self.tell_line(stream, &line, kind, json);
        for event in events {
            self.tell_event(event);
        }
        if self.last_word.is_none() && self.parser.as_ref().is_some_and(Parser::terminal_event_seen)
        {
            self.last_word = Some(Instant::now());
        }
    }

    fn tell_line(
        &mut self,
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
            return self.tell(event);
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
            self.tell(event);
            if more.is_empty() {
                return;
            }
            rest = more;
        }
    }

    fn tell_event(&mut self, event: AgentEvent) {
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
            self.tell(told);
        }
        for piece in pieces(event) {
            self.tell(Event::AgentEvent { event: piece });
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
