//! Events in words. On a terminal people read them; elsewhere stable marker lines serve scripts.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::Options;
use super::progress::{Progress, human_bytes, human_time};
use crate::event::{
    AgentEvent, AgentState, Direction, Done, ErrorEvent, Event, FileOp, Origin, Phase, PhaseState,
    ToolStatus,
};
use crate::rel_path::{escape, escape_message};

/// What one event adds to each stream.
#[derive(Debug, Default)]
pub struct Text {
    pub stdout: String,
    pub stderr: String,
}

/// Turns events into text, remembering what was said.
pub struct Human {
    options: Options,
    pub progress: Progress,
    /// The output of the run stands where our own words go: its last lines need not be told again.
    pub output_seen: bool,
    session_said: Option<String>,
    at_line_start: bool,
}

impl Human {
    pub fn new(options: Options) -> Self {
        let progress = Progress::new(options.terminal && !options.quiet);
        Self { options, progress, output_seen: false, session_said: None, at_line_start: true }
    }

    /// The text of one event.
    pub fn event(&mut self, event: &Event) -> Text {
        let mut text = Text::default();
        match event {
            Event::Phase { name, state, detail, .. } => {
                self.phase(*name, *state, detail.as_deref(), &mut text)
            }
            Event::Sandbox { id, name, state, origin, provider, isolation, network, .. } => {
                self.marker(&mut text, "session", id);
                if !isolation.is_empty() {
                    let words = format!("{provider} (isolation {isolation}, network {network})");
                    self.marker(&mut text, "provider", &words);
                }
                let how = origin_words(*origin);
                let apart = match isolation.as_str() {
                    "" => String::new(),
                    level => format!(", isolation {level}, network {network}"),
                };
                self.say(&mut text, &format!("sandbox {name} ({provider}, {how}, {state}{apart})"));
            }
            Event::Agent { state: AgentState::Session, agent_session: Some(id), .. }
                if self.session_said.as_ref() != Some(id) =>
            {
                self.session_said = Some(id.clone());
                self.marker(&mut text, "agent-session", &escape(id.as_bytes()));
            }
            Event::Agent { state: AgentState::Exited, .. } => self.break_line(&mut text),
            Event::AgentEvent { event } if !self.options.raw => self.agent(event, &mut text),
            Event::Sync { direction, full, files, bytes, deleted, planned, .. } => {
                let way = match direction {
                    Direction::In if *planned => "would send",
                    Direction::In => "sent",
                    Direction::Out => "fetched",
                };
                let whole = if *full { "the whole tree, " } else { "" };
                let files = plural(*files, "file", "files");
                let deleted = plural(*deleted, "deletion", "deletions");
                let words = format!("{way} {whole}{files}, {deleted}, {}", human_bytes(*bytes));
                if *planned {
                    self.always(&mut text, "plan", &words);
                } else {
                    self.detail(&mut text, &words);
                }
            }
            Event::Gap { from, to, .. } => {
                let lost = human_bytes(to.saturating_sub(*from));
                self.warning(
                    &mut text,
                    &format!("{lost} of output are missing here: there was too much to keep"),
                    None,
                );
            }
            Event::Heartbeat { phase, idle_s, .. } => {
                self.detail(&mut text, &format!("{}: no output for {idle_s} s", phase.name()));
            }
            Event::File { path, op, risk, .. } => {
                self.file(&path.path, *op, risk.as_deref(), &mut text)
            }
            Event::Conflict { path, kind, reason, saved_to, .. } => {
                let why = reason.as_ref().map(|r| format!(": {}", escape(r.as_bytes())));
                let aside =
                    saved_to.as_ref().map(|s| format!(", theirs is in {}", escape(s.as_bytes())));
                let words = format!(
                    "{} ({kind}{}{})",
                    escape(path.path.as_bytes()),
                    why.unwrap_or_default(),
                    aside.unwrap_or_default()
                );
                self.always(&mut text, "conflict", &words);
            }
            Event::Warning { message, hint, .. } => {
                self.warning(&mut text, message, hint.as_deref())
            }
            Event::Error(error) => self.error(error, &mut text),
            Event::Done(done) => self.done(done, &mut text),
            _ => {}
        }
        text
    }

    fn phase(&mut self, name: Phase, state: PhaseState, detail: Option<&str>, text: &mut Text) {
        let words = detail.map_or_else(|| phase_words(name).to_owned(), |d| escape(d.as_bytes()));
        match state {
            PhaseState::Begin => {
                self.marker(text, "phase", name.name());
                self.progress.step(&words);
            }
            PhaseState::Wait => {
                self.progress.step(&words);
                self.detail(text, &words);
            }
            PhaseState::End => {}
        }
        if name == Phase::Agent && state == PhaseState::Begin {
            self.progress.step("the agent is working");
        }
    }

    fn agent(&mut self, event: &AgentEvent, text: &mut Text) {
        match event {
            AgentEvent::Text { text: words, delta } if !self.options.json => {
                text.stdout.push_str(&printable(words));
                self.at_line_start = words.ends_with('\n');
                if !delta && !self.at_line_start {
                    text.stdout.push('\n');
                    self.at_line_start = true;
                }
            }
            AgentEvent::Tool { name, title, status, error, .. }
                if *status != ToolStatus::Running =>
            {
                let failed =
                    error.as_ref().map(|e| format!(": {}", escape(first_line(e).as_bytes())));
                let words = format!(
                    "{} {}{}",
                    escape(name.as_bytes()),
                    escape(title.as_bytes()),
                    failed.unwrap_or_default()
                );
                self.break_line(text);
                self.say_styled(text, "·", &words, Style::new().dimmed());
            }
            AgentEvent::Notice { message } => self.detail(text, &escape_message(message)),
            AgentEvent::Error { message, r#final: true, .. } => {
                self.break_line(text);
                self.warning(
                    text,
                    &format!("the agent reports: {}", escape(first_line(message).as_bytes())),
                    None,
                );
            }
            _ => {}
        }
    }

    fn break_line(&mut self, text: &mut Text) {
        if !self.at_line_start && !self.options.json {
            text.stdout.push('\n');
            self.at_line_start = true;
        }
    }

    fn file(&mut self, path: &str, op: FileOp, risk: Option<&str>, text: &mut Text) {
        let (word, sign) = match op {
            FileOp::Add => ("added", "A"),
            FileOp::Modify => ("modified", "M"),
            FileOp::Delete => ("deleted", "D"),
            FileOp::Mode => ("modified", "M"),
        };
        let risk = risk.map(|r| format!("  ! {}", escape(r.as_bytes()))).unwrap_or_default();
        let path = escape(path.as_bytes());
        if self.options.terminal {
            self.say(text, &format!("{sign} {path}{risk}"));
        } else {
            self.marker(text, "file", &format!("{word} {path}{risk}"));
        }
    }

    fn error(&mut self, error: &ErrorEvent, text: &mut Text) {
        let tail = error.tail.iter().filter(|_| !self.output_seen);
        for line in tail {
            let _ = writeln!(text.stderr, "  {}", escape(line.as_bytes()));
        }
        let message = escape_message(&error.message);
        self.block(text, "error", &message, AnsiColor::Red);
        self.block(text, "hint", &error.hint, AnsiColor::Cyan);
        if let Some(id) = &error.sandbox_id {
            self.block(text, "sandbox", id, AnsiColor::Cyan);
        }
        if !error.resume.is_empty() {
            self.block(text, "next", &error.resume.join(" "), AnsiColor::Cyan);
        }
    }

    fn done(&mut self, done: &Done, text: &mut Text) {
        self.progress.clear();
        let files = done.files;
        let changed = files.added + files.modified;
        let usage = done.agent.as_ref().map(|a| a.usage).filter(|u| u.input + u.output > 0);
        if !self.options.terminal {
            if let Some(usage) = usage {
                let cost = usage.cost_usd.map(|c| format!(" cost_usd={c:.4}")).unwrap_or_default();
                let line = format!("tokens_in={} tokens_out={}{cost}", usage.input, usage.output);
                self.marker(text, "usage", &line);
            }
            let agent =
                done.agent.as_ref().and_then(|a| a.exit_code).map(|c| format!(" agent_exit={c}"));
            let line = format!(
                "files_changed={changed} files_deleted={} exit={}{}",
                files.deleted,
                done.exit_code,
                agent.unwrap_or_default()
            );
            self.marker(text, "done", &line);
            return;
        }
        let mut parts = vec![match (changed, files.deleted) {
            (0, 0) => "nothing changed".to_owned(),
            (c, 0) => plural(c, "file changed", "files changed"),
            (c, d) => format!("{}, {d} deleted", plural(c, "file changed", "files changed")),
        }];
        if let Some(usage) = usage {
            parts.push(format!("{} tokens in, {} out", usage.input, usage.output));
            if let Some(cost) = usage.cost_usd.filter(|c| *c > 0.0) {
                parts.push(format!("${cost:.4}"));
            }
        }
        parts.push(human_time(Duration::from_secs_f64(done.duration_s.max(0.0))));
        let sign = if done.exit_code == 0 { "done" } else { done.outcome };
        self.say(text, &format!("{sign}: {}", parts.join(" · ")));
    }

    fn warning(&mut self, text: &mut Text, message: &str, hint: Option<&str>) {
        if self.options.quiet {
            return;
        }
        if !self.options.terminal {
            let hint = hint.map(|h| format!(" ({h})")).unwrap_or_default();
            self.marker(text, "warning", &format!("{}{hint}", escape_message(message)));
            return;
        }
        self.block(text, "warning", &escape_message(message), AnsiColor::Yellow);
        if let Some(hint) = hint {
            self.block(text, "hint", hint, AnsiColor::Cyan);
        }
    }

    /// A stable line for scripts. Absent on a terminal, where words take its place.
    fn marker(&self, text: &mut Text, name: &str, value: &str) {
        if !self.options.terminal && !self.options.quiet {
            let _ = writeln!(text.stderr, "[sandbox:{name}] {value}");
        }
    }

    fn always(&self, text: &mut Text, name: &str, words: &str) {
        if self.options.terminal {
            let _ = writeln!(text.stderr, "{name}: {words}");
        } else {
            let _ = writeln!(text.stderr, "[sandbox:{name}] {words}");
        }
    }

    /// Words for people: on a terminal always, elsewhere only when more is asked for.
    fn say(&self, text: &mut Text, words: &str) {
        if !self.options.quiet && (self.options.terminal || self.options.verbose) {
            let _ = writeln!(text.stderr, "{words}");
        }
    }

    fn say_styled(&self, text: &mut Text, sign: &str, words: &str, style: Style) {
        if self.options.colour {
            self.say(text, &format!("{style}{sign} {words}{style:#}"));
        } else {
            self.say(text, &format!("{sign} {words}"));
        }
    }

    fn detail(&self, text: &mut Text, words: &str) {
        if self.options.verbose && !self.options.quiet {
            let _ = writeln!(text.stderr, "{words}");
        }
    }

    fn block(&self, text: &mut Text, word: &str, message: &str, colour: AnsiColor) {
        let style = Style::new().fg_color(Some(colour.into())).bold();
        if self.options.colour {
            let _ = writeln!(text.stderr, "{style}{word}:{style:#} {message}");
        } else {
            let _ = writeln!(text.stderr, "{word}: {message}");
        }
    }
}

/// Foreign words without their escapes; line ends and tabs stay.
fn printable(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' => {}
            // Overrides turn the words that follow around; marks for single letters belong to languages.
            c if c.is_control()
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                out.push_str(&format!("\\u{{{:x}}}", c as u32))
            }
            c => out.push(c),
        }
    }
    out
}

fn first_line(text: &str) -> &str {
    text.trim_start().lines().next().unwrap_or_default()
}

fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn origin_words(origin: Origin) -> &'static str {
    match origin {
        Origin::Created => "created",
        Origin::Reused => "reused",
        Origin::Adopted => "adopted",
        Origin::Started => "started again",
        Origin::Recovered => "recovered",
        Origin::Recreated => "recreated",
    }
}

fn phase_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Config => "reading the settings",
        Phase::Lookup => "looking for the sandbox",
        Phase::Create => "creating the sandbox",
        Phase::Start => "starting the sandbox",
        Phase::SyncIn => "sending the worktree",
        Phase::Setup => "preparing the sandbox",
        Phase::Agent => "the agent is working",
        Phase::SyncOut => "fetching the result",
        Phase::Apply => "applying the result",
        Phase::Cleanup => "cleaning up",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{AgentDone, EventPath, Usage};
    use crate::exit::Exit;
    use crate::rel_path::RelPath;

    fn file(path: &[u8], op: FileOp) -> Event {
        Event::File {
            path: EventPath::from(&RelPath::parse(path).unwrap()),
            op,
            bytes: None,
            id: None,
            risk: None,
            risk_classes: Vec::new(),
        }
    }

    #[test]
    fn off_a_terminal_only_stable_lines_appear() {
        let mut human = Human::new(Options::default());
        assert_eq!(
            human.event(&file(b"a\x1b[2J", FileOp::Add)).stderr,
            "[sandbox:file] added a\\u{1b}[2J\n"
        );
        let done = Event::Done(Box::new(Done::plain(Exit::Conflict)));
        assert_eq!(
            human.event(&done).stderr,
            "[sandbox:done] files_changed=0 files_deleted=0 exit=81\n"
        );
    }

    #[test]
    fn on_a_terminal_words_appear() {
        let mut human = Human::new(Options { terminal: true, ..Options::default() });
        human.progress = Progress::new(false);
        assert_eq!(human.event(&file(b"a", FileOp::Delete)).stderr, "D a\n");
        let done = Event::Done(Box::new(Done::plain(Exit::Ok)));
        assert_eq!(human.event(&done).stderr, "done: nothing changed · 0.0 s\n");
    }

    #[test]
    fn the_last_words_end_their_line() {
        let mut human = Human::new(Options::default());
        let words = AgentEvent::Text { text: "in pieces".into(), delta: true };
        assert_eq!(human.event(&Event::AgentEvent { event: words }).stdout, "in pieces");
        let mut gone = || {
            let state = AgentState::Exited;
            let (agent, agent_session) = ("gemini".into(), None);
            human.event(&Event::Agent { state, agent, agent_session, exit_code: Some(0) }).stdout
        };
        assert_eq!((gone(), gone()), ("\n".into(), String::new()));
    }

    #[test]
    fn tokens_and_money_are_told_at_the_end() {
        let usage = Usage { input: 120, output: 7, cost_usd: Some(0.25), ..Usage::default() };
        let agent = AgentDone {
            name: "claude".into(),
            exit_code: Some(0),
            session: None,
            duration_s: 1.0,
            usage,
        };
        let done = Done { agent: Some(agent), ..Done::plain(Exit::Ok) };
        let told = |options: Options| {
            let mut human = Human::new(options);
            human.progress = Progress::new(false);
            human.event(&Event::Done(Box::new(done.clone()))).stderr
        };
        assert_eq!(
            told(Options::default()),
            "[sandbox:usage] tokens_in=120 tokens_out=7 cost_usd=0.2500\n\
             [sandbox:done] files_changed=0 files_deleted=0 exit=0 agent_exit=0\n"
        );
        assert_eq!(
            told(Options { terminal: true, ..Options::default() }),
            "done: nothing changed · 120 tokens in, 7 out · $0.2500 · 0.0 s\n"
        );
    }

    #[test]
    fn the_agents_words_go_to_stdout_without_escapes() {
        let mut human = Human::new(Options::default());
        let words = AgentEvent::Text { text: "hi\x1b]0;x\x07\u{202e}".into(), delta: false };
        assert_eq!(
            human.event(&Event::AgentEvent { event: words }).stdout,
            "hi\\u{1b}]0;x\\u{7}\\u{202e}\n"
        );
    }
}
