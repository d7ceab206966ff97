//! The whole program with the real agent in a sandbox of its own on this machine.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sandbox_coder::agent::Kind;
use serde_json::Value;

use crate::context::{Ran, TestContext, ran};
use crate::{NOBODY, Wiring, model, packages, wiring};

/// A user with a worktree, an agent, and a model that plays scenarios.
struct Bench {
    cx: TestContext,
    kind: Kind,
    version: &'static str,
}

impl Bench {
    fn new(kind: Kind, version: &'static str) -> Self {
        Self { cx: TestContext::new(&[("README.md", "A project.\n")]), kind, version }
    }

    /// `run` against a scenario, as a user would type it.
    fn command(&self, url: &str, prompt: &str, more: &[&str]) -> Command {
        self.command_with(wiring(self.kind, url, true), prompt, more)
    }

    fn command_with(&self, wiring: Wiring, prompt: &str, more: &[&str]) -> Command {
        let Wiring { model, env, args } = wiring;
        let agent = self.kind.name();
        let mut command = self.cx.command(["run", "--json", "--agent", agent, "--tool-dir"]);
        command.arg(packages::prefix(self.kind, self.version));
        if let Some(model) = model {
            command.args(["--model", model]);
        }
        for (name, value) in env {
            command.args(["--env", name]).env(name, value);
        }
        if !args.is_empty() {
            command.args(["--setup", &configure(&args)]);
        }
        command.args(more).arg("--").arg(prompt);
        command
    }

    fn run(&self, scenario: &str, prompt: &str, more: &[&str]) -> Ran {
        ran(&mut self.command(&model().url(scenario), prompt, more))
    }

    /// Starts a run and returns once its tool has begun.
    fn start(&self, scenario: &str, more: &[&str]) -> Started {
        let mut command = self.command(&model().url(scenario), "Take your time.", more);
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
    fn inside(&self, script: &str) -> Ran {
        self.cx.run(["exec", "--no-sync", "--", "sh", "-c", script])
    }

    /// No process of the run is left in the sandbox.
    #[track_caller]
    fn nothing_is_left(&self, of: &Ran) {
        let run = of.events()[0]["run"].as_str().unwrap().to_owned();
        let marked = format!(
            "grep -lz '^SANDBOX_CODER_RUN={run}$' /proc/[0-9]*/environ 2>/dev/null; echo looked"
        );
        let looked = self.inside(&marked).exits(0);
        assert_eq!(looked.stdout, "looked\n");
    }
}

/// A run on its way.
struct Started {
    child: Child,
    lines: std::thread::JoinHandle<Vec<String>>,
}

impl Started {
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn end(self) -> Ran {
        let out = self.child.wait_with_output().unwrap();
        Ran {
            code: out.status.code().unwrap_or(-1),
            stdout: self.lines.join().unwrap().join("\n"),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
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

fn done(ran: &Ran) -> Value {
    ran.of_type("done").pop().unwrap_or_else(|| panic!("no last word: {ran:?}"))
}

fn error_code(ran: &Ran) -> String {
    let error = ran.of_type("error").pop().unwrap_or_else(|| panic!("no error: {ran:?}"));
    error["code"].as_str().unwrap().to_owned()
}

/// The agent's words.
fn words(ran: &Ran) -> String {
    let events = ran.of_type("agent_event");
    let texts = events.iter().map(|e| &e["event"]).filter(|e| e["kind"] == "text");
    texts.filter_map(|e| e["text"].as_str()).collect()
}

fn success(kind: Kind, version: &'static str) {
    let bench = Bench::new(kind, version);
    let ran = bench.run("edit", "Write hello.txt", &[]).exits(0);
    assert_eq!(bench.cx.read("hello.txt"), "hello\n");
    assert_eq!(bench.cx.files(), ["README.md", "hello.txt"]);
    assert!(words(&ran).contains("The file is written."), "{ran:?}");
    let done = done(&ran);
    assert!(done["agent"]["usage"]["output"].as_u64().unwrap() > 0, "{done}");
    assert!(done["agent"]["session"].is_string(), "{done}");
    assert_eq!((&done["agent"]["exit_code"], &done["outcome"]), (&0.into(), &"ok".into()));
    bench.nothing_is_left(&ran);
}

macro_rules! agent {
    ($name:ident, $kind:expr, $version:literal, [$($case:ident),* $(,)?]) => {
        mod $name {
            use sandbox_coder::agent::Kind;
            $(#[test] fn $case() { super::$case($kind, $version); })*
        }
    };
}

agent!(opencode, Kind::Opencode, "1.18.33", [success]);
agent!(opencode_1_2, Kind::Opencode, "1.2.27", [success]);
agent!(claude, Kind::Claude, "2.1.329", [success]);
agent!(codex, Kind::Codex, "0.169.0", [success]);
