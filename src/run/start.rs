//! The detached runner: from a description of a run to the shell text that starts it, exactly once.

use std::time::Duration;

use bytes::Bytes;

use super::outcome::Stop;
use super::{ALWAYS_KEPT, RunRef};
use crate::agent::HomeFile;
use crate::daytona::script::{Script, quote, said};
use crate::daytona::{Error, Toolbox};

/// The longest text that travels inside the script. Shells read scripts slowly; an upload does not.
const INLINE: usize = 32 << 10;
/// How long calling a start off may take.
const CALL_OFF: Duration = Duration::from_secs(30);

/// What shall run, and how.
#[derive(Debug, Clone)]
pub struct RunSpec {
    /// Which run, and where its files go.
    pub run: RunRef,
    /// With which terminal.
    pub kind: Kind,
    /// What.
    pub command: What,
    /// Absolute path to start in; a shell text may change it itself.
    pub cwd: Option<String>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// Standard input: the prompt, or what was piped in. `None` is closed.
    pub stdin: Option<Vec<u8>>,
    /// Files to write below HOME before the start, mode and all.
    pub files: Vec<HomeFile>,
    /// Paths below HOME to remove when the run has ended, however it ended.
    pub forget: Vec<String>,
    /// For how long.
    pub limits: Limits,
}

/// For how long a run may go on. Watched over there, so it holds whether anybody follows the run or not.
/// Whole seconds, rounded up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// The whole time, counted while the machine sleeps too; `None` is for ever.
    pub total: Option<Duration>,
    /// The longest time without output; time in which the machine slept is no silence.
    pub idle: Option<Duration>,
    /// Between TERM and KILL.
    pub grace: Duration,
    /// Bytes that are kept of each recorded stream: its beginning and its end; `None` is all of it, less than
    /// 8 MiB counts as 8 MiB. A bound that is looked at once a second, and only where the sandbox can give
    /// up the middle of a file.
    pub log: Option<u64>,
}

impl Limits {
    /// The file `limits`; `None` if there is nothing to watch.
    fn file(self) -> Option<String> {
        let seconds = |d: Duration| d.as_secs() + u64::from(d.subsec_nanos() > 0);
        let limit = |d: Option<Duration>| d.map_or(0, |d| seconds(d).max(1));
        let (total, idle, grace) = (limit(self.total), limit(self.idle), seconds(self.grace));
        let log = self.log.map_or(0, |bytes| bytes.max(8 * ALWAYS_KEPT));
        (total + idle + log > 0).then(|| format!("{total} {idle} {grace} {log}\n"))
    }
}

/// With which terminal a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An agent: a terminal of that size where the sandbox can give one, everything in one stream.
    Agent {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// A command: with a terminal (columns, rows), or with standard output and error apart.
    Exec {
        /// The terminal's size.
        tty: Option<(u16, u16)>,
    },
    /// A command on the terminal of somebody who types: prepared here, begun by [`super::terminal`].
    Typed,
}

/// What is run.
#[derive(Debug, Clone)]
pub enum What {
    /// POSIX shell text.
    Shell(String),
    /// A program and its arguments, byte for byte.
    Words(Vec<Vec<u8>>),
}

/// Why a run cannot be described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Nothing to run.
    #[error("there is no command to run")]
    Empty,
    /// Not representable as an argument.
    #[error("argument {0} holds a zero byte")]
    ZeroByte(usize),
    /// Not a name of a variable.
    #[error("`{0}` is not a name for an environment variable")]
    BadVariable(String),
    /// Ids and folders are made by us; this one was not.
    #[error("`{0}` cannot be the place of a run")]
    BadPlace(String),
}

impl SpecError {
    /// The stable name of the failure.
    pub fn code(&self) -> crate::exit::ErrorCode {
        match self {
            Self::BadPlace(_) => crate::exit::ErrorCode::Internal,
            _ => crate::exit::ErrorCode::Usage,
        }
    }
}

/// A start, ready to be sent.
#[derive(Debug, Clone)]
pub struct Start {
    run: RunRef,
    /// Files to upload before the step: absolute path and bytes.
    pub uploads: Vec<(String, Bytes)>,
    body: String,
}

/// What the sandbox said to a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// The run was started now.
    Now,
    /// It was started before; nothing was done.
    Before,
}

/// The absolute path of a run's standard input over there, for agents that want the prompt's name.
pub fn stdin_path(run: &RunRef) -> String {
    format!("{}/stdin", run.dir)
}

/// Makes the start of a run.
pub fn plan(spec: &RunSpec) -> Result<Start, SpecError> {
    check(spec)?;
    let mut start = Start { run: spec.run.clone(), uploads: Vec::new(), body: String::new() };
    start.claim();
    start.put("$D/cmd", "cmd", &command_text(spec)?);
    if let Some(stdin) = &spec.stdin {
        start.put("$D/stdin", "stdin", stdin);
    }
    let env: String = spec.env.iter().map(|(k, v)| format!("export {k}={}\n", quote(v))).collect();
    if !env.is_empty() {
        start.put("$D/env", "env", env.as_bytes());
    }
    if matches!(spec.kind, Kind::Agent { .. }) {
        start.line(include_str!("scripts/forgotten.sh").trim_end());
    }
    for (index, file) in spec.files.iter().enumerate() {
        let target = format!("$HOME/{}", double_quoted(&file.path));
        start.line(&format!(
            "mkdir -p \"$(dirname \"{target}\")\" && rm -rf \"{target}\" || exit 71"
        ));
        start.put(&target, &format!("file{index}"), &file.bytes);
        start.line(&format!("chmod {:o} \"{target}\" || exit 71", file.mode & 0o777));
    }
    for path in &spec.forget {
        let line = format!("printf '%s\\n' \"$HOME/{}\" >>\"$D/forget\"", double_quoted(path));
        start.line(&line);
    }
    match spec.kind {
        Kind::Agent { cols, rows } | Kind::Exec { tty: Some((cols, rows)) } => {
            start.line(&format!("echo '{cols} {rows}' >\"$D/tty\""));
        }
        Kind::Exec { tty: None } => start.line(": >\"$D/apart\""),
        Kind::Typed => {
            start.line(": >\"$D/typed\"");
            start.put("$D/term.sh", "term", include_bytes!("scripts/term.sh"));
        }
    }
    if let Some(limits) = spec.limits.file() {
        let guard = concat!(include_str!("scripts/sweep.sh"), include_str!("scripts/guard.sh"));
        start.put("$D/guard.sh", "guard", guard.as_bytes());
        start.put("$D/limits", "limits", limits.as_bytes());
    }
    if spec.kind != Kind::Typed {
        start.line("sh \"$D/run.sh\" \"$D\" \"$R\" || exit 71");
    }
    start.line("say run-started now");
    Ok(start)
}

impl Start {
    /// Adds the start to a script. It may be delivered twice, or at the same time: one starts the run.
    pub fn add_to(&self, script: &mut Script) {
        script.set("D", &self.run.dir).set("R", &self.run.id).step(&self.body);
    }

    /// Adds a look at whether this start was delivered before. A script that was sent twice ends here the
    /// second time, before it can take the agent's first edits for something else; `also` is said then.
    pub fn guard(&self, script: &mut Script, also: &str) {
        script.set("D", &self.run.dir).set("ALSO", also);
        script.step("[ ! -d \"$D/start\" ] || { say $ALSO; say run-started before; exit 99; }");
    }

    /// Sends what must be there before the step.
    pub async fn upload(&self, toolbox: &Toolbox) -> Result<(), Error> {
        if self.uploads.is_empty() { Ok(()) } else { toolbox.upload_small(&self.uploads).await }
    }

    fn line(&mut self, text: &str) {
        self.body.push_str(text);
        self.body.push('\n');
    }

    /// Whoever makes the folder `start` is the one that starts.
    fn claim(&mut self) {
        self.line("umask 077");
        self.line("if [ -d \"$D\" ]; then chmod 700 \"$D\"; else mkdir -p \"$D\"; fi || exit 71");
        self.line("mkdir \"$D/start\" 2>/dev/null || { say run-started before; exit 0; }");
        self.line("date +%s >\"$D/began\"");
        for (name, text) in [
            ("run", include_str!("scripts/run.sh")),
            ("go", include_str!("scripts/go.sh")),
            ("view", include_str!("scripts/view.sh")),
        ] {
            self.put(&format!("$D/{name}.sh"), name, text.as_bytes());
        }
    }

    /// Text goes inside the script; what is long or not text is uploaded and put in place by it.
    fn put(&mut self, target: &str, name: &str, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).ok().filter(|t| !t.contains('\0'));
        match text.filter(|t| t.len() <= INLINE) {
            Some(text) => {
                self.line(&format!("printf '%s' {} >\"{target}\" || exit 71", quote(text)));
            }
            None => {
                let up = format!("{}.up", name);
                self.line(&format!("mv \"$D/{up}\" \"{target}\" || exit 71"));
                self.uploads
                    .push((format!("{}/{up}", self.run.dir), Bytes::copy_from_slice(bytes)));
            }
        }
    }
}

/// What the script said to the start.
pub fn heard(result: &str) -> Option<Started> {
    match said(result).find(|(word, _)| *word == "run-started")?.1 {
        "now" => Some(Started::Now),
        "before" => Some(Started::Before),
        _ => None,
    }
}

/// Takes the place of a start that may still be on its way, so that it never happens; `why` is remembered as
/// the run's end. `false` says that the run was started before. One round trip.
pub async fn call_off(toolbox: &Toolbox, run: &RunRef, why: Stop) -> Result<bool, Error> {
    let mut script = Script::new();
    call_off_step(&mut script, run, why);
    let answer = toolbox.run_script(&script, CALL_OFF).await?;
    heard_call_off(&answer.result)
        .ok_or_else(|| super::not_understood("call off a run", &answer.result))
}

/// Adds [`call_off`] to a script; [`heard_call_off`] reads the answer.
pub fn call_off_step(script: &mut Script, run: &RunRef, why: Stop) {
    script.set("D", &run.dir).set("WHY", why.word()).step(include_str!("scripts/calloff.sh"));
}

/// Whether the run will never start.
pub fn heard_call_off(result: &str) -> Option<bool> {
    Some(said(result).find(|(word, _)| *word == "run-called-off")?.1 == "yes")
}

fn command_text(spec: &RunSpec) -> Result<Vec<u8>, SpecError> {
    let mut text = Vec::new();
    if let Some(cwd) = &spec.cwd {
        let line = format!("cd {} || exit 126\n", quote(cwd));
        text.extend_from_slice(line.as_bytes());
    }
    match &spec.command {
        What::Shell(shell) => text.extend_from_slice(shell.as_bytes()),
        What::Words(words) => {
            if words.is_empty() {
                return Err(SpecError::Empty);
            }
            // `exec` looks for programs only: no builtin of the shell answers in their place.
            text.extend_from_slice(b"exec");
            for (index, word) in words.iter().enumerate() {
                if word.contains(&0) {
                    return Err(SpecError::ZeroByte(index));
                }
                text.extend_from_slice(b" '");
                for byte in word {
                    match byte {
                        b'\'' => text.extend_from_slice(br"'\''"),
                        other => text.push(*other),
                    }
                }
                text.push(b'\'');
            }
        }
    }
    text.push(b'\n');
    Ok(text)
}

fn check(spec: &RunSpec) -> Result<(), SpecError> {
    let id = &spec.run.id;
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Err(SpecError::BadPlace(id.clone()));
    }
    // The folder's name passes through a second shell where a terminal is made.
    let odd = |c: char| matches!(c, '"' | '$' | '`' | '\\') || c.is_control();
    if !spec.run.dir.starts_with('/') || spec.run.dir.contains(odd) {
        return Err(SpecError::BadPlace(spec.run.dir.clone()));
    }
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let bad = |name: &str| {
        name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(word)
    };
    match spec.env.iter().find(|(name, _)| bad(name)) {
        Some((name, _)) => Err(SpecError::BadVariable(name.clone())),
        None => Ok(()),
    }
}

/// Text for between double quotes.
fn double_quoted(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '"' | '$' | '`' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
