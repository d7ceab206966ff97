//! The whole program with the real agent in a sandbox of its own on this machine.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sandbox_coder::agent::Kind;
use serde_json::{Value, json};

use crate::context::{Ran, TestContext, ran};
use crate::model::Model;
use crate::{NOBODY, Wiring, model, packages, runtime, wiring};

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
        let agent = self.kind.name();
        let mut command = self.cx.command(["run", "--json", "--agent", agent, "--tool-dir"]);
        command.arg(packages::prefix(self.kind, self.version));
        dress(&mut command, wiring);
        command.args(more).arg("--").arg(prompt);
        command
    }

    fn run(&self, scenario: &str, prompt: &str, more: &[&str]) -> Ran {
        ran(&mut self.command(&model().url(scenario), prompt, more))
    }

    /// Starts a run and returns once its tool has begun.
    fn start(&self, scenario: &str, more: &[&str]) -> Started {
        self.begin(self.command(&model().url(scenario), "Take your time.", more))
    }

    fn begin(&self, mut command: Command) -> Started {
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

/// Adds what tells the agent which model to use, as a user would give it.
fn dress(command: &mut Command, Wiring { model, env, args }: Wiring) {
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

fn success(kind: Kind, version: &'static str) -> i32 {
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
    ran.code
}

fn remembers(kind: Kind, version: &'static str) -> i32 {
    let bench = Bench::new(kind, version);
    let first = bench.run("text", "Keep word-albatross in mind.", &[]).exits(0);
    let session = done(&first)["agent"]["session"].as_str().unwrap().to_owned();
    let second = bench.run("recall", "Which word was it?", &["--session", &session]).exits(0);
    assert!(words(&second).contains("word-albatross"), "{second:?}");
    assert_eq!(done(&second)["agent"]["session"], session.as_str());
    assert_eq!(second.of_type("sandbox")[0]["origin"], "reused");
    let slip = bench.run("text", "hello", &["--session", unknown(kind)]).exits(3);
    assert_eq!(error_code(&slip), "agent.no_session");
    assert!(slip.stdout.contains(&session), "the known ones are named: {slip:?}");
    assert!(slip.of_type("sync").is_empty(), "{slip:?}");
    second.code
}

fn unknown_session(kind: Kind, version: &'static str) -> i32 {
    let bench = Bench::new(kind, version);
    let refused = bench.run("text", "hello", &["--session", unknown(kind)]).exits(3);
    assert_eq!(error_code(&refused), "agent.no_session");
    assert!(refused.of_type("sandbox").is_empty(), "nothing was made for it: {refused:?}");
    // a sandbox may know conversations that nobody here remembers: then the agent decides
    let tools = packages::prefix(kind, version);
    bench.cx.run(["exec", "--tool-dir", tools.to_str().unwrap(), "--", "true"]).exits(0);
    let decided = bench.run("text", "hello", &["--session", unknown(kind)]).exits(3);
    assert_eq!(error_code(&decided), "agent.no_session", "{decided:?}");
    decided.code
}

/// An id of the agent's form that nobody has.
fn unknown(kind: Kind) -> &'static str {
    match kind {
        Kind::Opencode => "ses_doesnotexist",
        _ => "00000000-0000-4000-8000-000000000000",
    }
}

fn provider_refuses(kind: Kind, version: &'static str) -> i32 {
    let bench = Bench::new(kind, version);
    bench.cx.write("README.md", "Changed here.\n");
    let ran = bench.run("e401", "hello", &[]).exits(3);
    assert_eq!(error_code(&ran), "agent.provider", "{ran:?}");
    assert_eq!(bench.cx.read("README.md"), "Changed here.\n");
    assert_eq!(done(&ran)["unpulled"], false, "{ran:?}");
    bench.nothing_is_left(&ran);
    ran.code
}

fn provider_out_of_reach(kind: Kind, version: &'static str) -> i32 {
    let bench = Bench::new(kind, version);
    let ran = ran(&mut bench.command(NOBODY, "hello", &[])).exits(3);
    assert_eq!(error_code(&ran), "agent.provider", "{ran:?}");
    bench.nothing_is_left(&ran);
    ran.code
}

fn stopped_by(
    kind: Kind,
    version: &'static str,
    signal: rustix::process::Signal,
    code: i32,
) -> i32 {
    let bench = Bench::new(kind, version);
    let started = bench.start("slow", &[]);
    started.signal(signal);
    let sent = Instant::now();
    let ran = started.end().exits(code);
    let took = sent.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?} {ran:?}");
    bench.nothing_is_left(&ran);
    if !bench.cx.work().join("begun.txt").exists() {
        assert_eq!(done(&ran)["unpulled"], true, "{ran:?}");
        bench.cx.run(["pull"]).exits(0);
    }
    assert_eq!(bench.cx.read("begun.txt"), "begun\n");
    ran.code
}

fn interrupted(kind: Kind, version: &'static str) -> i32 {
    stopped_by(kind, version, rustix::process::Signal::INT, 130)
}

fn terminated(kind: Kind, version: &'static str) -> i32 {
    stopped_by(kind, version, rustix::process::Signal::TERM, 143)
}

fn timeout(kind: Kind, version: &'static str) -> i32 {
    let bench = Bench::new(kind, version);
    let ran = bench.run("slow", "Take your time.", &["--timeout", "20s"]).exits(124);
    assert_eq!(error_code(&ran), "agent.timeout");
    assert_eq!(bench.cx.read("begun.txt"), "begun\n");
    bench.nothing_is_left(&ran);
    ran.code
}

/// The agent says its last word, and its process stays.
fn lingering(kind: Kind, version: &'static str) -> i32 {
    let bench = Bench::new(kind, version);
    let program = bench.cx.root().join("lingers").join(kind.name());
    let real = packages::prefix(kind, version).join("bin").join(kind.name());
    let text = format!(
        "#!/bin/sh\n[ \"$1\" != --version ] || exec '{0}' --version\n'{0}' \"$@\"\nsleep 600\n",
        real.display()
    );
    crate::context::write(&program, text.as_bytes());
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let before = program.parent().unwrap().to_str().unwrap();
    let mut command = bench.cx.command(["run", "--json", "--agent", kind.name()]);
    command.args(["--tool-dir", before, "--tool-dir"]).arg(packages::prefix(kind, version));
    dress(&mut command, wiring(kind, &model().url("edit"), true));
    let ran = ran(command.arg("Write hello.txt")).exits(0);
    assert_eq!(bench.cx.read("hello.txt"), "hello\n");
    bench.nothing_is_left(&ran);
    ran.code
}

fn big_line(kind: Kind, version: &'static str) -> i32 {
    let bench = Bench::new(kind, version);
    let ran = bench.run("bigline", "print", &[]).exits(0);
    assert!(words(&ran).contains("That is all."));
    let longest = ran.stdout.lines().map(str::len).max().unwrap();
    assert!(longest <= 64 << 10, "a line of {longest} bytes");
    let pieces = ran.of_type("agent_output");
    let whole: usize = pieces.iter().filter_map(|e| Some(e["data"].as_str()?.len())).sum();
    // the others cut the output themselves
    assert!(kind != Kind::Codex || whole > 1_000_000, "{whole}");
    ran.code
}

fn client_killed(kind: Kind, version: &'static str) -> i32 {
    let bench = Bench::new(kind, version);
    let started = bench.start("pause", &[]);
    started.signal(rustix::process::Signal::KILL);
    let killed = started.end();
    let run = killed.events()[0]["run"].as_str().unwrap().to_owned();
    let ran = bench.cx.run(["attach", "--json", &run]).exits(0);
    assert_eq!(
        (bench.cx.read("begun.txt"), bench.cx.read("ended.txt")),
        ("begun\n".into(), "ended\n".into())
    );
    assert!(words(&ran).contains("That is all."), "{ran:?}");
    let done = done(&ran);
    assert!(done["agent"]["usage"]["output"].as_u64().unwrap() > 0, "{done}");
    assert!(done["agent"]["session"].is_string(), "{done}");
    ran.code
}

/// Without `--json`: the agent's words on standard output, all else beside it.
fn words_for_people(kind: Kind, version: &'static str) -> i32 {
    let bench = Bench::new(kind, version);
    let mut command = bench.cx.command(["run", "-v", "--agent", kind.name(), "--tool-dir"]);
    command.arg(packages::prefix(kind, version));
    dress(&mut command, wiring(kind, &model().url("edit"), true));
    let ran = ran(command.arg("Write hello.txt")).exits(0);
    assert_eq!(ran.stdout, "I will write the file.\nThe file is written.\n", "{}", ran.stderr);
    let tools: Vec<&str> = ran.stderr.lines().filter(|l| l.starts_with('·')).collect();
    assert_eq!(tools.len(), 1, "{}", ran.stderr);
    assert!(tools[0].contains("hello"), "{tools:?}");
    ran.code
}

/// A value that must be nowhere.
const PLANTED: &str = "sk-planted-5f1c02d9e8b7a6";

/// The login an agent keeps in a file of its user's home.
fn login(kind: Kind) -> (&'static str, Value) {
    match kind {
        Kind::Opencode => (
            ".local/share/opencode/auth.json",
            json!({"scripted": {"type": "api", "key": PLANTED}, "other": {"type": "api", "key": PLANTED}}),
        ),
        Kind::Claude => (
            ".claude/.credentials.json",
            json!({"claudeAiOauth": {
                "accessToken": PLANTED, "refreshToken": format!("{PLANTED}-refresh"), "expiresAt": 4_000_000_000_000_u64,
                "scopes": ["user:inference"], "subscriptionType": "max"
            }}),
        ),
        _ => (".codex/auth.json", json!({"OPENAI_API_KEY": PLANTED})),
    }
}

fn login_stays_secret(kind: Kind, version: &'static str) -> i32 {
    let bench = Bench::new(kind, version);
    let (path, file) = login(kind);
    let here = bench.cx.root().join("home").join(path);
    crate::context::write(&here, file.to_string().as_bytes());
    // a model of its own, so that the requests seen are these
    let model = runtime().block_on(Model::start());
    let code = stays_secret(&bench, |scenario| wiring(kind, &model.url(scenario), false));
    assert_eq!(model.credentials(), [format!("Bearer {PLANTED}")]);
    assert_eq!(
        std::fs::read_to_string(&here).unwrap(),
        file.to_string(),
        "the login here is as it was"
    );
    bench.inside(&format!("test ! -e ~/{path}")).exits(0);
    code
}

fn key_stays_secret(kind: Kind, version: &'static str) -> i32 {
    let bench = Bench::new(kind, version);
    stays_secret(&bench, |scenario| {
        let mut wiring = wiring(kind, &model().url(scenario), true);
        for (_, value) in &mut wiring.env {
            *value = match value.as_str() {
                "k" => PLANTED.to_owned(),
                config => config.replace("\"k\"", &format!("\"{PLANTED}\"")),
            };
        }
        wiring
    })
}

fn stays_secret(bench: &Bench, wiring: impl Fn(&str) -> Wiring) -> i32 {
    let started = bench.begin(bench.command_with(wiring("pause"), "hello", &[]));
    let lines = std::fs::read_dir("/proc").unwrap().flatten().map(|e| e.path().join("cmdline"));
    for line in lines.filter_map(|path| std::fs::read(path).ok()) {
        assert!(!holds(&line), "{}", String::from_utf8_lossy(&line));
    }
    let quiet = started.end().exits(0);
    assert!(!holds(quiet.stdout.as_bytes()) && !holds(quiet.stderr.as_bytes()), "{quiet:?}");
    search(&bench.cx.root().join("state"));
    // an agent that tells all it has been given is masked
    let told = ran(&mut bench.command_with(wiring("show"), "hello", &[])).exits(0);
    assert!(!holds(told.stdout.as_bytes()) && !holds(told.stderr.as_bytes()), "{told:?}");
    assert!(told.stdout.contains("SANDBOX_CODER_RUN="), "it did tell: {told:?}");
    told.code
}

fn holds(bytes: &[u8]) -> bool {
    bytes.windows(PLANTED.len()).any(|w| w == PLANTED.as_bytes())
}

/// No file below holds the value.
fn search(dir: &std::path::Path) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            search(&entry.path());
        } else if kind.is_file() {
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            assert!(!holds(&bytes), "{}", entry.path().display());
        }
    }
}

/// Notes how a run ended, for the table that `tests/agents/run` prints.
fn record(agent: &str, case: &str, code: i32) {
    let Some(path) = std::env::var_os("SANDBOX_CODER_TEST_CODES") else { return };
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, format!("{agent} {case} {code}\n").as_bytes()).unwrap();
}

macro_rules! agent {
    ($name:ident, $kind:expr, $version:literal, [$($case:ident),* $(,)?]) => {
        mod $name {
            use sandbox_coder::agent::Kind;
            $(#[test] fn $case() {
                let code = super::$case($kind, $version);
                super::record(stringify!($name), stringify!($case), code);
            })*
        }
    };
}

agent!(
    opencode,
    Kind::Opencode,
    "1.18.33",
    [
        success,
        words_for_people,
        remembers,
        unknown_session,
        provider_refuses,
        provider_out_of_reach,
        interrupted,
        terminated,
        timeout,
        lingering,
        big_line,
        client_killed,
        login_stays_secret,
        key_stays_secret,
    ]
);
agent!(
    opencode_1_2,
    Kind::Opencode,
    "1.2.27",
    [
        success,
        words_for_people,
        remembers,
        unknown_session,
        provider_refuses,
        provider_out_of_reach,
        interrupted,
        terminated,
        timeout,
        lingering,
        big_line,
        client_killed,
        login_stays_secret,
        key_stays_secret,
    ]
);
// out of reach: it repeats for three minutes what the recordings show
agent!(
    claude,
    Kind::Claude,
    "2.1.329",
    [
        success,
        words_for_people,
        remembers,
        unknown_session,
        provider_refuses,
        interrupted,
        terminated,
        timeout,
        lingering,
        big_line,
        client_killed,
        login_stays_secret,
        key_stays_secret,
    ]
);
agent!(
    codex,
    Kind::Codex,
    "0.169.0",
    [
        success,
        words_for_people,
        remembers,
        unknown_session,
        provider_refuses,
        provider_out_of_reach,
        interrupted,
        terminated,
        timeout,
        lingering,
        big_line,
        client_killed,
        login_stays_secret,
        key_stays_secret,
    ]
);
