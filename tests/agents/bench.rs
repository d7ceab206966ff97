//! What each case in a sandbox starts from: a user, a worktree, an agent, and a model that plays scenarios.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sandbox_coder::agent::Kind;
use serde_json::Value;

use crate::context::{Ran, TestContext, ran};
use crate::{Wiring, model, packages, wiring};

/// A user with a worktree, an agent, and a model that plays scenarios.
pub struct Bench {
    pub cx: TestContext,
    pub kind: Kind,
    pub version: &'static str,
}

impl Bench {
    pub fn new(kind: Kind, version: &'static str) -> Self {
        Self { cx: TestContext::new(&[("README.md", "A project.\n")]), kind, version }
    }

    /// `run` against a scenario, as a user would type it.
    pub fn command(&self, url: &str, prompt: &str, more: &[&str]) -> Command {
        self.command_with(wiring(self.kind, url, true), prompt, more)
    }

    pub fn command_with(&self, wiring: Wiring, prompt: &str, more: &[&str]) -> Command {
        let mut command = self.cx.command(["run", "--json"]);
        self.give(&mut command, wiring);
        command.args(more).arg("--").arg(prompt);
        command
    }

    /// Names the agent, where it is and which model it uses, as a user would.
    pub fn give(&self, command: &mut Command, wiring: Wiring) {
        command.args(["--agent", self.kind.name(), "--tool-dir"]);
        command.arg(packages::prefix(self.kind, self.version));
        dress(command, wiring);
    }

    pub fn run(&self, scenario: &str, prompt: &str, more: &[&str]) -> Ran {
        ran(&mut self.command(&model().url(scenario), prompt, more))
    }

    /// Starts a run and returns once its tool has begun.
    pub fn start(&self, scenario: &str, more: &[&str]) -> Started {
        self.begin(self.command(&model().url(scenario), "Take your time.", more))
    }

    pub fn begin(&self, mut command: Command) -> Started {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let lines = std::thread::spawn(move || out.lines().map_while(Result::ok).collect());
        let started = Started { child, lines };
        let until = "until [ -e workspace/begun.txt ]; do sleep 0.1; done";
        let deadline = Instant::now() + Duration::from_secs(90);
        // before the sandbox is there, `exec` has nowhere to go
        while self.inside(&format!("cd && timeout 60 sh -c '{until}'")).code != 0 {
            assert!(Instant::now() < deadline, "the tool does not begin");
            std::thread::sleep(Duration::from_millis(200));
        }
        started
    }

    /// Runs shell text in the sandbox, beside whatever else goes on there.
    pub fn inside(&self, script: &str) -> Ran {
        self.cx.run(["exec", "--no-sync", "--", "sh", "-c", script])
    }

    /// No process of the run is left in the sandbox.
    #[track_caller]
    pub fn nothing_is_left(&self, of: &Ran) {
        let run = of.events()[0]["run"].as_str().unwrap().to_owned();
        let marked = format!(
            "grep -lz '^SANDBOX_CODER_RUN={run}$' /proc/[0-9]*/environ 2>/dev/null; echo looked"
        );
        let looked = self.inside(&marked).exits(0);
        assert_eq!(looked.stdout, "looked\n");
    }
}

/// A run on its way.
pub struct Started {
    child: Child,
    lines: std::thread::JoinHandle<Vec<String>>,
}

impl Started {
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn end(self) -> Ran {
        let out = self.child.wait_with_output().unwrap();
        Ran {
            code: out.status.code().unwrap_or(-1),
            stdout: self.lines.join().unwrap().join("\n"),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }
}

/// Adds what tells the agent which model to use, as a user would give it.
pub fn dress(command: &mut Command, Wiring { model, env, args }: Wiring) {
    if let Some(model) = model {
        command.args(["--model", model]);
    }
    for (name, value) in env {
        command.args(["--env", name]).env(name, value);
    }
    if !args.is_empty() {
        command.args(["--setup", &configure(&args)]);
    }
}

/// codex takes its provider from a file in its home, which the set-up writes.
fn configure(args: &[String]) -> String {
    let lines: Vec<&str> = args.iter().map(String::as_str).filter(|a| *a != "-c").collect();
    let lines: String = lines.iter().map(|line| format!(" '{}'", toml_value(line))).collect();
    format!("mkdir -p ~/.codex && printf '%s\\n'{lines} >~/.codex/config.toml")
}

/// `-c key=value` takes a bare word where the file wants a string.
fn toml_value(line: &str) -> String {
    match line.split_once('=') {
        Some((key, value)) if !value.starts_with(['{', '"', '[']) => format!("{key}=\"{value}\""),
        _ => line.to_owned(),
    }
}

pub fn done(ran: &Ran) -> Value {
    ran.of_type("done").pop().unwrap_or_else(|| panic!("no last word: {ran:?}"))
}

pub fn error_code(ran: &Ran) -> String {
    let error = ran.of_type("error").pop().unwrap_or_else(|| panic!("no error: {ran:?}"));
    error["code"].as_str().unwrap().to_owned()
}

/// The agent's words.
pub fn words(ran: &Ran) -> String {
    let events = ran.of_type("agent_event");
    let texts = events.iter().map(|e| &e["event"]).filter(|e| e["kind"] == "text");
    texts.filter_map(|e| e["text"].as_str()).collect()
}
