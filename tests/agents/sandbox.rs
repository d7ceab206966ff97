//! The whole program with the real agent in a sandbox of its own on this machine.
//!
//! A case ends with the run whose exit code and error stand in the table of `docs/agents.md`; `run` beside
//! this file holds the two against each other.

use std::time::Instant;

use rustix::process::Signal;
use sandbox_coder::agent::Kind;

use crate::bench::{Bench, done, dress, error_code, words};
use crate::context::{Ran, ran, write};
use crate::secrets::{key_stays_secret, login_stays_secret};
use crate::{NOBODY, model, packages, wiring};

fn success(kind: Kind, version: &'static str) -> Ran {
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
    ran
}

fn remembers(kind: Kind, version: &'static str) -> Ran {
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
    // who remembers nothing asks the sandbox
    for worktree in std::fs::read_dir(bench.cx.root().join("state/worktrees")).unwrap() {
        std::fs::remove_dir_all(worktree.unwrap().path().join("runs")).unwrap();
    }
    let slip = bench.run("text", "hello", &["--session", unknown(kind)]).exits(3);
    assert!(slip.of_type("sync").is_empty(), "{slip:?}");
    bench.run("recall", "Which word was it?", &["--session", &session]).exits(0)
}

fn unknown_session(kind: Kind, version: &'static str) -> Ran {
    let bench = Bench::new(kind, version);
    let refused = bench.run("text", "hello", &["--session", unknown(kind)]).exits(3);
    assert_eq!(error_code(&refused), "agent.no_session");
    assert!(refused.of_type("sandbox").is_empty(), "nothing was made for it: {refused:?}");
    // a sandbox may know conversations that nobody here remembers: then it is asked
    let tools = packages::prefix(kind, version);
    bench.cx.run(["exec", "--tool-dir", tools.to_str().unwrap(), "--", "true"]).exits(0);
    let asked = bench.run("text", "hello", &["--session", unknown(kind)]).exits(3);
    assert_eq!(error_code(&asked), "agent.no_session", "{asked:?}");
    assert!(asked.of_type("sync").is_empty(), "{asked:?}");
    asked
}

/// An id of the agent's form that nobody has.
fn unknown(kind: Kind) -> &'static str {
    match kind {
        Kind::Opencode => "ses_doesnotexist",
        _ => "00000000-0000-4000-8000-000000000000",
    }
}

fn provider_refuses(kind: Kind, version: &'static str) -> Ran {
    let bench = Bench::new(kind, version);
    bench.cx.write("README.md", "Changed here.\n");
    let ran = bench.run("e401", "hello", &[]).exits(3);
    assert_eq!(error_code(&ran), "agent.provider", "{ran:?}");
    assert_eq!(bench.cx.read("README.md"), "Changed here.\n");
    assert_eq!(done(&ran)["unpulled"], false, "{ran:?}");
    bench.nothing_is_left(&ran);
    ran
}

/// What makes an agent give up sooner than it would, or us.
fn impatience(kind: Kind, version: &str, url: &str) -> &'static [&'static str] {
    match kind {
        // ten tries last for three minutes
        Kind::Claude => &["--env", "CLAUDE_CODE_MAX_RETRIES=1"],
        // before 1.18 it never gave up over a status, though it does at once over a connection
        Kind::Opencode if version.starts_with("1.2.") && url != NOBODY => &["--timeout", "30s"],
        // ten tries last for five minutes
        Kind::Gemini => &["--timeout", "60s"],
        _ => &[],
    }
}

/// The provider is broken: the agent gives up sooner or later, and if it does not, its time is up.
fn provider_fails(kind: Kind, version: &'static str) -> Ran {
    gives_up(kind, version, &model().url("e500"))
}

fn provider_out_of_reach(kind: Kind, version: &'static str) -> Ran {
    gives_up(kind, version, NOBODY)
}

fn gives_up(kind: Kind, version: &'static str, url: &str) -> Ran {
    let bench = Bench::new(kind, version);
    let ran = ran(&mut bench.command(url, "hello", impatience(kind, version, url)));
    let error = ran.of_type("error").pop().unwrap_or_else(|| panic!("no error: {ran:?}"));
    match ran.code {
        124 => {
            assert_eq!(error["code"], "agent.timeout", "{ran:?}");
            // opencode keeps its retries to itself
            let told = error["message"].as_str().unwrap().contains("it last said: ");
            assert_eq!(told, kind != Kind::Opencode, "{ran:?}");
        }
        _ => assert_eq!((ran.code, error["code"].as_str()), (3, Some("agent.provider")), "{ran:?}"),
    }
    bench.nothing_is_left(&ran);
    ran
}

/// Stops a run in the middle of a tool call. What the tool did is home, or one `pull` away.
fn stopped_by(kind: Kind, version: &'static str, signal: Signal, code: i32) -> Ran {
    let bench = Bench::new(kind, version);
    let started = bench.start("slow", &[]);
    started.signal(signal);
    let ran = started.end().exits(code);
    bench.nothing_is_left(&ran);
    if !bench.cx.work().join("begun.txt").exists() {
        assert_eq!(done(&ran)["unpulled"], true, "{ran:?}");
        bench.cx.run(["pull"]).exits(0);
    }
    assert_eq!(bench.cx.read("begun.txt"), "begun\n");
    ran
}

fn interrupted(kind: Kind, version: &'static str) -> Ran {
    stopped_by(kind, version, Signal::INT, 130)
}

fn terminated(kind: Kind, version: &'static str) -> Ran {
    stopped_by(kind, version, Signal::TERM, 143)
}

/// The time is up, wherever the agent is then: what it did so far is home.
fn timeout(kind: Kind, version: &'static str) -> Ran {
    let bench = Bench::new(kind, version);
    let ran = bench.run("slow", "Take your time.", &["--timeout", "20s"]).exits(124);
    assert_eq!(error_code(&ran), "agent.timeout");
    bench.nothing_is_left(&ran);
    let begun = bench.inside("cd && test -e workspace/begun.txt").code == 0;
    assert_eq!(bench.cx.work().join("begun.txt").exists(), begun, "{ran:?}");
    ran
}

/// The agent says its last word, and its process stays.
fn lingering(kind: Kind, version: &'static str) -> Ran {
    let bench = Bench::new(kind, version);
    let program = bench.cx.root().join("lingers").join(kind.name());
    let real = packages::prefix(kind, version).join("bin").join(kind.name());
    let text = format!(
        "#!/bin/sh\n[ \"$1\" != --version ] || exec '{0}' --version\n'{0}' \"$@\"\nsleep 600\n",
        real.display()
    );
    write(&program, text.as_bytes());
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let before = program.parent().unwrap().to_str().unwrap();
    let mut command = bench.cx.command(["run", "--json", "--agent", kind.name()]);
    command.args(["--tool-dir", before, "--tool-dir"]).arg(packages::prefix(kind, version));
    dress(&mut command, wiring(kind, &model().url("edit"), true));
    let ran = ran(command.arg("Write hello.txt")).exits(0);
    assert_eq!(bench.cx.read("hello.txt"), "hello\n");
    bench.nothing_is_left(&ran);
    ran
}

/// The agent ends, and a process that its tool started lives on.
fn child_lives_on(kind: Kind, version: &'static str) -> Ran {
    let bench = Bench::new(kind, version);
    let ran = bench.run("leave", "Start a server.", &[]).exits(0);
    assert_eq!(bench.cx.read("begun.txt"), "begun\n");
    // a server that the agent was asked for is not ours to end; qwen mostly does it itself
    let alive = bench.inside("grep -qzx '765[4]' /proc/[0-9]*/cmdline").code == 0;
    assert!(alive || kind == Kind::Qwen);
    ran
}

fn big_line(kind: Kind, version: &'static str) -> Ran {
    let bench = Bench::new(kind, version);
    let ran = bench.run("bigline", "print", &[]).exits(0);
    assert!(words(&ran).contains("That is all."));
    let longest = ran.stdout.lines().map(str::len).max().unwrap();
    assert!(longest <= 64 << 10, "a line of {longest} bytes");
    let pieces = ran.of_type("agent_output");
    let whole: usize = pieces.iter().filter_map(|e| Some(e["data"].as_str()?.len())).sum();
    // the others cut the output themselves
    assert!(kind != Kind::Codex || whole > 1_000_000, "{whole}");
    ran
}

fn client_killed(kind: Kind, version: &'static str) -> Ran {
    let bench = Bench::new(kind, version);
    let started = bench.start("pause", &[]);
    started.signal(Signal::KILL);
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
    ran
}

/// Without `--json`: the agent's words on standard output, all else beside it.
fn words_for_people(kind: Kind, version: &'static str) -> Ran {
    let bench = Bench::new(kind, version);
    let mut command = bench.cx.command(["run", "-v"]);
    bench.give(&mut command, wiring(kind, &model().url("edit"), true));
    let ran = ran(command.arg("Write hello.txt")).exits(0);
    assert_eq!(ran.stdout, "I will write the file.\nThe file is written.\n", "{}", ran.stderr);
    let tools: Vec<&str> = ran.stderr.lines().filter(|l| l.starts_with('·')).collect();
    assert_eq!(tools.len(), 1, "{}", ran.stderr);
    assert!(tools[0].contains("hello"), "{tools:?}");
    ran
}

/// Notes how a run ended, for the table that `run` prints.
fn record(agent: &str, case: &str, ran: &Ran, since: Instant) {
    let Some(path) = std::env::var_os("SANDBOX_CODER_TEST_CODES") else { return };
    let last = ran.stdout.lines().filter_map(|l| serde_json::from_str(l).ok());
    let error = last.filter(|e: &serde_json::Value| e["type"] == "error").last();
    let error = error.as_ref().and_then(|e| e["code"].as_str()).unwrap_or("ok");
    let line = format!("{agent} {case} {} {error} {}\n", ran.code, since.elapsed().as_secs());
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
}

macro_rules! agents {
    ($($name:ident $kind:ident $version:literal $(+ $more:ident)*;)*) => {
        $(mod $name {
            cases!($name $kind $version [
                success words_for_people remembers unknown_session
                provider_refuses provider_fails provider_out_of_reach
                interrupted terminated timeout lingering child_lives_on client_killed
                big_line key_stays_secret $($more)*
            ]);
        })*
    };
}

macro_rules! cases {
    ($name:ident $kind:ident $version:literal [$($case:ident)*]) => {
        $(#[test] fn $case() {
            let since = std::time::Instant::now();
            let ran = super::$case(sandbox_coder::agent::Kind::$kind, $version);
            super::record(stringify!($name), stringify!($case), &ran, since);
        })*
    };
}

// the logins of gemini and qwen belong to services that nobody can play here
agents! {
    opencode Opencode "1.18.33" + login_stays_secret;
    opencode_1_2 Opencode "1.2.27" + login_stays_secret;
    claude Claude "2.1.329" + login_stays_secret;
    codex Codex "0.169.0" + login_stays_secret;
    gemini Gemini "0.61.0";
    qwen Qwen "0.15.10";
}
