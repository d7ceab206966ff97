//! The only writer to the terminal. A run's reports go in, text or JSON lines come out.

mod human;
mod json;
pub use json::Json as Lines;
pub mod progress;
pub mod terminal;

use std::io::Write;

use tokio::sync::mpsc;

use crate::event::{Done, ErrorEvent, Event};
use crate::exit::{ErrorCode, Exit};
use crate::report::Report;
use crate::secret::{Scrubber, StreamScrubber};

/// How to talk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// NDJSON events on standard output and nothing else there.
    pub json: bool,
    /// The agent's output as it came.
    pub raw: bool,
    /// Only failures.
    pub quiet: bool,
    /// Our own steps too.
    pub verbose: bool,
    /// Standard error is a terminal: progress is drawn, and marker lines give way to words.
    pub terminal: bool,
    /// Colours may be used on standard error.
    pub colour: bool,
}

/// Draws reports until the channel closes. Runs on its own thread: a stuck terminal stops nobody else.
///
/// When a reader of our output goes away (a closed pipe), nothing more is written there; the reports are
/// still taken, so that the work itself ends as it should. The thread's result is the exit code that is left:
/// a success whose output could not be written is none.
pub fn start(
    options: Options,
    run: String,
    mut reports: mpsc::Receiver<Report>,
) -> std::thread::JoinHandle<Option<Exit>> {
    std::thread::spawn(move || {
        let mut screen = Screen::new(options, run);
        while let Some(report) = reports.blocking_recv() {
            screen.take(report);
        }
        screen.finish()
    })
}

struct Screen {
    options: Options,
    scrubber: Scrubber,
    stdout: Sink<std::io::Stdout>,
    stderr: Sink<std::io::Stderr>,
    human: human::Human,
    json: json::Json,
    streams: [StreamScrubber; 2],
    line: Line,
}

impl Screen {
    fn new(options: Options, run: String) -> Self {
        Self {
            options,
            scrubber: Scrubber::default(),
            stdout: Sink::new(std::io::stdout()),
            stderr: Sink::new(std::io::stderr()),
            human: human::Human::new(options),
            json: json::Json::new(run),
            streams: Default::default(),
            line: Line::new(terminal::streams_are_one()),
        }
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Secret(secret) => self.scrubber.add(&secret),
            Report::Print(print) => self.scrubber.add_print(print),
            Report::Output { stream, bytes } if !self.options.json => {
                let shown = self.streams[stream as usize].push(&mut self.scrubber, &bytes);
                self.show(stream, &shown);
                self.human.output_seen = self.line.shared;
            }
            Report::Output { .. } => {}
            Report::HandOver => self.human.progress.clear(),
            Report::Event(mut event) => {
                if self.options.json {
                    let line = self.json.line(&event);
                    self.scrubber.learn(line.as_bytes());
                    self.stdout.write(self.scrubber.scrub(&line).as_bytes());
                }
                if let Event::Done(done) = &mut event {
                    self.own_up(done);
                }
                self.tell(&event);
            }
        }
    }

    fn tell(&mut self, event: &Event) {
        let text = self.human.event(event);
        self.scrubber.learn(text.stdout.as_bytes());
        self.scrubber.learn(text.stderr.as_bytes());
        self.write_human(text);
    }

    /// Says that output was lost, and takes back the success.
    fn own_up(&mut self, done: &mut Done) {
        self.release_held();
        let hint = "everything else was done; `sandbox-coder logs` prints a run's output again";
        let Some(lost) = self.stdout.lost.as_ref().map(|e| lost_output(e, hint)) else { return };
        if done.exit_code == Exit::Ok.code() {
            (done.exit_code, done.outcome) = (Exit::HostIo.code(), Exit::HostIo.name());
        }
        self.tell(&lost);
    }

    fn show(&mut self, stream: crate::event::Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.make_room(bytes);
        let (stdout, stderr) = (&mut self.stdout, &mut self.stderr);
        self.human.progress.suspend(|| match stream {
            crate::event::Stream::Stdout => stdout.write(bytes),
            crate::event::Stream::Stderr => stderr.write(bytes),
        });
        if !self.line.is_open() {
            self.human.progress.resume();
        }
    }

    fn write_human(&mut self, text: human::Text) {
        let [out, err] =
            [&text.stdout, &text.stderr].map(|text| self.scrubber.scrub(text).into_owned());
        if !out.is_empty() {
            self.show(crate::event::Stream::Stdout, out.as_bytes());
        }
        if !err.is_empty() {
            let apart = if self.line.is_open() { "\n" } else { "" };
            self.show(crate::event::Stream::Stderr, format!("{apart}{err}").as_bytes());
        }
    }

    /// Takes the progress line away before words that end in the middle of a line.
    fn make_room(&mut self, bytes: &[u8]) {
        self.line.follow(bytes);
        if self.line.is_open() {
            self.human.progress.pause();
        }
    }

    fn release_held(&mut self) {
        for stream in [crate::event::Stream::Stdout, crate::event::Stream::Stderr] {
            let held = self.streams[stream as usize].finish();
            self.show(stream, &held);
        }
    }

    fn finish(&mut self) -> Option<Exit> {
        self.release_held();
        self.human.progress.clear();
        self.stdout.lost.as_ref().map(|_| Exit::HostIo)
    }
}

/// Prints an answer. One that could not be written, on a full disk perhaps, was not given.
pub fn print(answer: &[u8]) -> Exit {
    let Err(error) = terminal::out(answer) else { return Exit::Ok };
    let options = Options { colour: terminal::colour(), ..Options::default() };
    terminal::err(
        &human::Human::new(options)
            .event(&lost_output(&error, "make room where it goes, then ask again"))
            .stderr,
    );
    Exit::HostIo
}

/// Says what belongs to an answer, on standard error.
pub fn tell(options: Options, events: &[Event]) {
    let mut human = human::Human::new(options);
    events.iter().for_each(|event| terminal::err(&human.event(event).stderr));
}

fn lost_output(error: &std::io::Error, hint: &str) -> Event {
    Event::Error(Box::new(ErrorEvent {
        code: ErrorCode::HostIo,
        message: format!("write to standard output: {error}"),
        hint: hint.to_owned(),
        retryable: ErrorCode::HostIo.retryable(),
        retry_after_s: None,
        phase: None,
        sandbox_id: None,
        http_status: None,
        tail: Vec::new(),
        resume: Vec::new(),
    }))
}

/// Whether the last words stand in the middle of a line, where both streams share one screen or file: what we
/// say then begins a line of its own, and progress is not drawn over the words.
struct Line {
    shared: bool,
    open: bool,
}

impl Line {
    fn new(shared: bool) -> Self {
        Self { shared, open: false }
    }

    fn follow(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.open = self.shared && *last != b'\n';
        }
    }

    fn is_open(&self) -> bool {
        self.open
    }
}

/// A stream that goes quiet after the first failed write.
struct Sink<W> {
    inner: W,
    closed: bool,
    /// Why words did not get through to somebody who still wants them.
    lost: Option<std::io::Error>,
}

impl<W: Write> Sink<W> {
    fn new(inner: W) -> Self {
        Self { inner, closed: false, lost: None }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.closed || bytes.is_empty() {
            return;
        }
        if let Err(error) = self.inner.write_all(bytes).and_then(|()| self.inner.flush()) {
            self.closed = true;
            self.lost = terminal::enough(error).err();
        }
    }
}
