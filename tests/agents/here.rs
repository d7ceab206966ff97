//! The start script and the parser with the real agent, in a fresh home directory on this machine.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sandbox_coder::agent::credentials::{Credentials, Host, Need, gather};
use sandbox_coder::agent::{
    Ended, Kind, LaunchRequest, Lines, Outcome, Parser, Unusable, Verdict, launch,
};
use sandbox_coder::event::AgentEvent;
use serde_json::json;

use crate::model::Model;
use crate::{NOBODY, Wiring, model, packages, runtime, wiring};

/// No single run may take longer.
const DEADLINE: Duration = Duration::from_secs(240);

/// A home directory with a workspace in it.
struct Bench {
    kind: Kind,
    version: &'static str,
    home: tempfile::TempDir,
}

/// What came of a run.
#[derive(Debug)]
struct Played {
    verdict: Verdict,
    text: String,
    output: String,
    longest_line: usize,
}

impl Bench {
    fn new(kind: Kind, version: &'static str) -> Self {
        let bench = Self {
            kind,
            version,
            home: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
        };
        std::fs::create_dir(bench.workspace()).unwrap();
        std::fs::write(bench.workspace().join("README.md"), "A project.\n").unwrap();
        let init = Command::new("git")
            .args(["init", "-q"])
            .current_dir(bench.workspace())
            .status()
            .unwrap();
        assert!(init.success());
        bench
    }

    fn workspace(&self) -> PathBuf {
        self.home.path().join("workspace")
    }

    fn run(&self, scenario: &str, prompt: &str, session: Option<&str>) -> Played {
        self.start(&model().url(scenario), prompt, session, "pipe").play()
    }

    fn start(&self, url: &str, prompt: &str, session: Option<&str>, terminal: &str) -> Run {
        let mut wiring = wiring(self.kind, url, true);
        if self.kind == Kind::Claude && url == NOBODY {
            // ten tries last for three minutes
            wiring.env.push(("CLAUDE_CODE_MAX_RETRIES", "1".to_owned()));
        }
        let given = wiring.env.iter().map(|(name, _)| (*name).to_owned()).collect();
        let host = Host {
            home: PathBuf::from("/host"),
            env: std::collections::BTreeMap::new(),
            read: Box::new(|_| None),
            now: 0,
        };
        let credentials = gather(self.kind, &Need { given, ..Need::default() }, &host);
        self.start_with(wiring, &credentials, prompt, session, terminal)
    }

    fn start_with(
        &self,
        Wiring { model, env, args }: Wiring,
        credentials: &Credentials,
        prompt: &str,
        session: Option<&str>,
        terminal: &str,
    ) -> Run {
        let home = self.home.path();
        let (prompt_file, script) = (home.join("prompt"), home.join("cmd"));
        std::fs::write(&prompt_file, prompt).unwrap();
        let request = LaunchRequest {
            version: Some(self.version.to_owned()),
            model: model.map(str::to_owned),
            session: session.map(str::to_owned),
            extra: args,
            offline: true,
            remove: credentials.cleanup.clone(),
            ..LaunchRequest::new(
                self.kind,
                self.workspace().to_str().unwrap(),
                prompt_file.to_str().unwrap(),
            )
        };
        let launch = launch(&request).unwrap();
        std::fs::write(&script, &launch.script).unwrap();
        for file in &credentials.files {
            let path = home.join(&file.path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &file.bytes).unwrap();
        }
        let marker = format!("here-{}", uuid::Uuid::new_v4().simple());
        let mut command = match terminal {
            "pipe" => {
                let mut sh = Command::new("sh");
                sh.arg(&script).stdin(std::fs::File::open(&prompt_file).unwrap());
                sh
            }
            _ => {
                let line = format!(
                    "stty -echo -onlcr; exec sh {} <{}",
                    script.display(),
                    prompt_file.display()
                );
                let mut script = Command::new("script");
                script.args(["-qefc", &line, "/dev/null"]).stdin(Stdio::null());
                script
            }
        };
        let bin = packages::bin(self.kind, self.version);
        let (output, there) = std::io::pipe().unwrap();
        let child = command
            .env_clear()
            .env("HOME", home)
            .env("TERM", "xterm-256color")
            .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()))
            .env("SANDBOX_CODER_RUN", &marker)
            .envs(launch.env)
            .envs(credentials.env.clone())
            .envs(env)
            .stdout(there.try_clone().unwrap())
            .stderr(there)
            .spawn()
            .unwrap();
        drop(command);
        Run {
            child,
            output,
            marker,
            parser: Parser::new(self.kind, session),
            begun: Instant::now(),
        }
    }
}

/// A run on its way.
struct Run {
    child: Child,
    output: std::io::PipeReader,
    marker: String,
    parser: Parser,
    begun: Instant,
}

impl Run {
    /// Reads to the end, ending by hand what has no hope of an end of its own.
    fn play(self) -> Played {
        self.play_until("TERM", |_| false)
    }

    /// As [`play`](Self::play), and stops the agent like `run` does once `stop` says so.
    fn play_until(mut self, signal: &str, stop: impl Fn(&str) -> bool) -> Played {
        let mut lines = Lines::default();
        let (mut output, mut text, mut longest_line) = (String::new(), String::new(), 0);
        let mut ended = None;
        let chunks = chunks(self.output);
        loop {
            let chunk = match chunks.recv_timeout(Duration::from_millis(100)) {
                Ok(chunk) => chunk,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => Vec::new(),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            };
            output.push_str(&String::from_utf8_lossy(&chunk));
            lines.push(&chunk, |line| {
                longest_line = longest_line.max(line.bytes.len());
                for event in self.parser.line(&line.bytes).events {
                    if let AgentEvent::Text { text: said, .. } = event {
                        text.push_str(&said);
                    }
                }
            });
            assert!(self.begun.elapsed() < DEADLINE, "still running: {output}");
            if ended.is_none() {
                ended = match self.parser.hopeless() {
                    Some(_) => Some(Ended::Lingering),
                    None => stop(&output).then_some(Ended::Cancelled),
                };
                if ended.is_some() {
                    sweep(&self.marker, signal);
                    std::thread::sleep(Duration::from_secs(2)); // the grace it is given
                    sweep(&self.marker, "KILL");
                }
            }
        }
        lines.finish(|line| drop(self.parser.line(&line.bytes)));
        let status = self.child.wait().unwrap();
        let ended = ended.unwrap_or_else(|| {
            use std::os::unix::process::ExitStatusExt as _;
            Ended::Exited(status.code().unwrap_or_else(|| -status.signal().unwrap()))
        });
        sweep(&self.marker, "KILL");
        assert_eq!(marked(&self.marker), Vec::<i32>::new(), "processes are left");
        Played { verdict: self.parser.finish(ended), text, output, longest_line }
    }
}

/// The pipe's bytes as they come; it ends when the last process has closed it.
fn chunks(mut pipe: std::io::PipeReader) -> std::sync::mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(n @ 1..) = pipe.read(&mut buffer) {
            if sender.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Processes whose environment has the marker.
fn marked(marker: &str) -> Vec<i32> {
    let wanted = format!("SANDBOX_CODER_RUN={marker}");
    let has = |dir: &Path| {
        let environ = std::fs::read(dir.join("environ")).unwrap_or_default();
        environ.split(|b| *b == 0).any(|v| v == wanted.as_bytes())
    };
    let dirs = std::fs::read_dir("/proc").unwrap().flatten().map(|e| e.path());
    let pid = |dir: PathBuf| dir.file_name()?.to_str()?.parse().ok();
    dirs.filter(|d| has(d)).filter_map(pid).collect()
}

fn sweep(marker: &str, signal: &str) {
    for pid in marked(marker) {
        let _ = Command::new("kill")
            .args([format!("-{signal}"), pid.to_string()])
            .stderr(Stdio::null())
            .status();
    }
}

fn success_and_memory(kind: Kind, version: &'static str) {
    let bench = Bench::new(kind, version);
    let first = bench.run("edit", "Write hello.txt. Keep word-albatross in mind.", None);
    assert_eq!(first.verdict.outcome, Outcome::Ok, "{first:?}");
    assert!(!first.verdict.exit_mismatch && first.verdict.usage.output > 0, "{first:?}");
    assert_eq!(std::fs::read_to_string(bench.workspace().join("hello.txt")).unwrap(), "hello\n");
    assert!(first.text.contains("The file is written."), "{first:?}");
    let session = first.verdict.session.clone().unwrap();
    let second = bench.run("recall", "-- Which word was it? \"$HOME\" 'x'", Some(&session));
    assert_eq!(second.verdict.outcome, Outcome::Ok, "{second:?}");
    assert!(second.text.contains("word-albatross"), "{second:?}");
    assert_eq!(second.verdict.session, Some(session));
}

fn provider_refuses(kind: Kind, version: &'static str) {
    let bench = Bench::new(kind, version);
    let refused = bench.run("e401", "hello", None);
    assert_eq!(refused.verdict.outcome, Outcome::Unusable(Unusable::Auth), "{refused:?}");
    assert!(!refused.verdict.retryable, "{refused:?}");
    let rejected = bench.run("e400", "hello", None);
    assert_eq!(rejected.verdict.outcome, Outcome::Unusable(Unusable::Provider), "{rejected:?}");
}

fn provider_is_out_of_reach(kind: Kind, version: &'static str) {
    let bench = Bench::new(kind, version);
    let played = bench.start(NOBODY, "hello", None, "pipe").play();
    assert_eq!(played.verdict.outcome, Outcome::Unusable(Unusable::Provider), "{played:?}");
    assert!(played.verdict.retryable, "{played:?}");
}

fn conversation_is_unknown(kind: Kind, version: &'static str) {
    let bench = Bench::new(kind, version);
    let id = match kind {
        Kind::Opencode => "ses_doesnotexist",
        _ => "00000000-0000-4000-8000-000000000000",
    };
    let played = bench.run("text", "hello", Some(id));
    assert_eq!(played.verdict.outcome, Outcome::Unusable(Unusable::NoSession), "{played:?}");
}

fn interrupted_and_continued(kind: Kind, version: &'static str) {
    for signal in ["INT", "TERM"] {
        let bench = Bench::new(kind, version);
        let begun = bench.workspace().join("begun.txt");
        let run =
            bench.start(&model().url("slow"), "Take your time, word-cormorant.", None, "pipe");
        // opencode runs the command a moment before it says anything, its conversation's id included
        let played =
            run.play_until(signal, |output| begun.exists() && output.contains("{\"type\""));
        assert_eq!(played.verdict.outcome, Outcome::Cancelled, "{signal} {played:?}");
        let session =
            played.verdict.session.clone().unwrap_or_else(|| panic!("{signal} {played:?}"));
        let again = bench.run("recall", "Which word was it?", Some(&session));
        assert_eq!(again.verdict.outcome, Outcome::Ok, "{signal} {again:?}");
        assert!(again.text.contains("word-cormorant"), "{signal} {again:?}");
    }
}

fn hangs_and_is_stopped(kind: Kind, version: &'static str) {
    let bench = Bench::new(kind, version);
    // a model of its own, so that the request seen is this one
    let hangs: &'static Model = Box::leak(Box::new(runtime().block_on(Model::start())));
    let waiting = runtime().spawn(hangs.hangs());
    let played = bench
        .start(&hangs.url("hang"), "hello", None, "pipe")
        .play_until("TERM", |_| waiting.is_finished());
    assert_eq!(played.verdict.outcome, Outcome::Cancelled, "{played:?}");
}

/// A login of this machine works over there without the means to renew it, and goes when the agent ends.
fn a_login_is_lent(kind: Kind, version: &'static str) {
    let (path, file) = match kind {
        Kind::Opencode => (
            ".local/share/opencode/auth.json",
            json!({"scripted": {"type": "api", "key": "lent"}, "other": {"type": "api", "key": "not lent"}}),
        ),
        Kind::Claude => (
            ".claude/.credentials.json",
            json!({"claudeAiOauth": {
                "accessToken": "lent", "refreshToken": "renew", "expiresAt": 4_000_000_000_000_u64,
                "scopes": ["user:inference"], "subscriptionType": "max"
            }}),
        ),
        _ => (".codex/auth.json", json!({"OPENAI_API_KEY": "lent"})),
    };
    let host = Host {
        home: PathBuf::from("/host"),
        env: std::collections::BTreeMap::new(),
        read: Box::new(|wanted| {
            (wanted == Path::new("/host").join(path)).then(|| file.to_string().into_bytes())
        }),
        now: 1_800_000_000,
    };
    let model: &'static Model = Box::leak(Box::new(runtime().block_on(Model::start())));
    let wiring = wiring(kind, &model.url("edit"), false);
    let need = Need {
        model: wiring.model.filter(|_| kind == Kind::Opencode).map(str::to_owned),
        ..Need::default()
    };
    let credentials = gather(kind, &need, &host);
    let bench = Bench::new(kind, version);
    let played = bench.start_with(wiring, &credentials, "Write hello.txt", None, "pipe").play();
    assert_eq!(played.verdict.outcome, Outcome::Ok, "{played:?}");
    assert_eq!(model.credentials(), ["Bearer lent"], "{credentials:?}");
    assert!(!bench.home.path().join(path).exists(), "the login is still there");
}

fn on_a_terminal_a_line_of_a_megabyte(kind: Kind, version: &'static str) {
    let bench = Bench::new(kind, version);
    let played = bench.start(&model().url("bigline"), "print", None, "terminal").play();
    assert_eq!(played.verdict.outcome, Outcome::Ok, "{:?}", played.verdict);
    assert!(played.text.contains("That is all."), "{:?}", played.verdict);
    let whole = kind == Kind::Codex; // the others cut the output themselves
    assert!(!whole || played.longest_line > 1_000_000, "{}", played.longest_line);
    assert!(!played.output.contains("\r\n"), "the terminal adds nothing");
}

/// An agent's tests: the cases every agent has, and more.
macro_rules! agent {
    (@ $name:ident, $kind:expr, $version:literal, $($case:ident)*) => {
        mod $name {
            use sandbox_coder::agent::Kind;
            $(#[test] fn $case() { super::$case($kind, $version); })*
        }
    };
    ($name:ident, $kind:expr, $version:literal $(, $more:ident)*) => {
        agent!(
            @ $name, $kind, $version,
            success_and_memory provider_refuses conversation_is_unknown interrupted_and_continued
            hangs_and_is_stopped on_a_terminal_a_line_of_a_megabyte $($more)*
        );
    };
}

agent!(opencode, Kind::Opencode, "1.18.33", a_login_is_lent, provider_is_out_of_reach);
agent!(opencode_1_2, Kind::Opencode, "1.2.27", a_login_is_lent, provider_is_out_of_reach);
agent!(claude, Kind::Claude, "2.1.329", a_login_is_lent, provider_is_out_of_reach);
agent!(codex, Kind::Codex, "0.169.0", a_login_is_lent, provider_is_out_of_reach);
agent!(gemini, Kind::Gemini, "0.61.0");
agent!(qwen, Kind::Qwen, "0.15.10");
