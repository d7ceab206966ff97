//! Runs that are interrupted, killed, left and taken up again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::between::{Act, Between};
use crate::support::context::{Ran, TestContext, ran};
use crate::support::server::{KEY, TestServer};

/// A command under way: its lines are read as they come.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    errors: std::thread::JoinHandle<String>,
    seen: Vec<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = std::io::Read::read_to_string(&mut err, &mut text);
            text
        });
        Self { child, lines, errors, seen: Vec::new() }
    }

    /// Waits for a line that holds `text`.
    #[track_caller]
    fn until(&mut self, text: &str) {
        loop {
            let line =
                self.lines.recv().unwrap_or_else(|_| panic!("no `{text}`: {:#?}", self.seen));
            self.seen.push(line);
            if self.seen.last().unwrap().contains(text) {
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        // A process that has just ended is fine: it is not waited for yet, so the number is still its own.
        let _ = kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal);
    }

    fn end(mut self) -> Ran {
        let status = self.child.wait().unwrap();
        self.seen.extend(self.lines.iter());
        let stdout: String = self.seen.iter().map(|l| format!("{l}\n")).collect();
        let code = status.code().unwrap_or(-1);
        Ran { code, stdout, stderr: self.errors.join().unwrap() }
    }
}

fn agent(cx: &TestContext, script: &str, more: &[&str]) -> Running {
    let mut command = cx.command(["run", "--json", "--agent-command", script]);
    command.args(more).arg("do it");
    Running::start(command)
}

/// Time to bring the work home after a signal, on the slowest of machines.
const PATIENT: &[&str] = &["--grace", "120"];

/// Tries limits of more and more seconds until one was long enough for the agent to get to its point.
#[track_caller]
fn long_enough(reached: impl FnMut(&str) -> bool) {
    let limits = ["1", "4", "16", "64"];
    assert!(limits.into_iter().any(reached), "not even with the longest limit");
}

/// Exactly one `done` line, and it is the last.
#[track_caller]
fn one_done(ran: &Ran) {
    assert_eq!(ran.of_type("done").len(), 1, "{}", ran.stdout);
    assert_eq!(ran.events().last().unwrap()["type"], "done");
    assert_eq!(ran.of_type("done")[0]["exit_code"], ran.code);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

#[test]
fn the_first_signal_stops_the_agent_and_brings_its_work_home() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let cx = TestContext::new(&[("a", "1\n")]);
        let mut run = agent(&cx, "echo 2 >a; echo started; sleep 600 & sleep 600", PATIENT);
        run.until("\"data\":\"started\"");
        run.signal(signal);
        let ran = run.end().exits(code);
        one_done(&ran);
        assert_eq!(cx.read("a"), "2\n", "{}", ran.stderr);
        let none_left = "while ps ax | grep '[s]leep 600'; do sleep 0.1; done";
        cx.run(["exec", "--no-sync", "--", "sh", "-c", none_left]).exits(0);
    }
}

#[test]
fn a_signal_at_any_moment_ends_in_one_done_line_and_nothing_is_lost() {
    let cx = TestContext::new(&[("a", "0\n")]);
    cx.agent("true", &[]).exits(0);
    for moment in 0..12 {
        let run = agent(&cx, &format!("echo {moment} >a; echo {moment}"), PATIENT);
        std::thread::sleep(Duration::from_millis(moment * 60));
        run.signal(Signal::INT);
        let ran = run.end();
        // Before the handlers are there the system ends the process; afterwards it is either done or interrupted.
        assert!(matches!(ran.code, -1 | 0 | 130), "{moment}: {} {}", ran.code, ran.stderr);
        if ran.code != -1 {
            one_done(&ran);
        }
        let pulled = cx.run(["pull"]).exits(0);
        if ran.stdout.contains("\"state\":\"exited\"") && ran.stdout.contains("\"exit_code\":0") {
            assert_eq!(cx.read("a"), format!("{moment}\n"), "{}", pulled.stderr);
        }
    }
}

/// The local server, stopped in its tracks: no answer comes until this is dropped.
struct Frozen(Pid);

impl Frozen {
    fn server(cx: &TestContext) -> Self {
        let card = std::fs::read(cx.root().join("state/local/server.json")).unwrap();
        let card: serde_json::Value = serde_json::from_slice(&card).unwrap();
        let pid = Pid::from_raw(card["pid"].as_i64().unwrap() as i32).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[test]
fn a_start_that_is_still_on_its_way_when_a_signal_comes_never_happens() {
    let mut cx = TestContext::new(&[("a", "1\n")]);
    let server = TestServer::start();
    let (on_its_way, seen) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (answer, answered) = mpsc::channel();
    let released = Mutex::new(released);
    let between = Between::start(&server.addr, move |call| {
        if !call.name.contains("/process/execute") || !call.body.contains("never-started") {
            return Act::Pass;
        }
        on_its_way.send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
        let answer = answer.clone();
        Act::Change(Box::new(move |text| {
            answer.send(text.clone()).unwrap();
            text
        }))
    });
    cx.set("DAYTONA_API_URL", &between.api_url());
    cx.set("DAYTONA_API_KEY", KEY);
    cx.agent("true", &[]).exits(0);

    let run = agent(&cx, "echo never-started >a", &["--grace", "30"]);
    seen.recv().unwrap();
    run.signal(Signal::INT);
    let ran = run.end().exits(130);
    one_done(&ran);
    let error = &ran.of_type("error")[0];
    assert_eq!(error["hint"], "nothing was started; the same command begins anew");
    assert!(error["resume"].is_null(), "{error}");

    release.send(()).unwrap();
    let late = answered.recv().unwrap();
    assert!(late.contains("run-started before"), "{late}");
    let again = cx.run(["attach", "--json"]).exits(130);
    assert!(again.of_type("agent_output").is_empty(), "{}", again.stdout);
    assert_eq!(cx.read("a"), "1\n");
}

#[test]
fn the_second_signal_leaves_at_once() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let deaf = "trap '' TERM INT HUP; echo 2 >a; echo started; while :; do sleep 1; done";
    // Longer than any test may take.
    let mut run = agent(&cx, deaf, &["--grace", "3600"]);
    run.until("\"data\":\"started\"");
    let frozen = Frozen::server(&cx);
    // Two signals of a kind may arrive as one, so the user keeps pressing the key.
    while run.child.try_wait().unwrap().is_none() {
        run.signal(Signal::INT);
        std::thread::sleep(Duration::from_millis(50));
    }
    one_done(&run.end().exits(130));
    assert_eq!(cx.read("a"), "1\n");
    drop(frozen);
    cx.run(["pull"]).exits(0);
    assert_eq!(cx.read("a"), "2\n");
}

#[test]
fn a_run_that_was_left_goes_on_and_is_taken_up_again() {
    let script =
        "echo started; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo 2 >a; echo finished";
    let go = ["exec", "--no-sync", "--", "touch", "/tmp/go"];
    // Left by a terminal that went away.
    let cx = TestContext::new(&[("a", "1\n")]);
    let mut run = agent(&cx, script, &[]);
    run.until("\"data\":\"started\"");
    run.signal(Signal::HUP);
    one_done(&run.end().exits(129));
    let _ = cx.run(go).exits(0);
    let again = cx.run(["attach"]).exits(0);
    assert_eq!(again.stdout, "started\nfinished\n", "{}", again.stderr);
    assert_eq!(cx.read("a"), "2\n");
    // Left on purpose.
    let cx = TestContext::new(&[("a", "1\n")]);
    let ran = cx.agent(script, &["--detach"]).exits(0);
    assert!(ran.stderr.contains("attach"), "{}", ran.stderr);
    assert_eq!(cx.read("a"), "1\n");
    let _ = cx.run(go).exits(0);
    assert_eq!(cx.run(["attach"]).exits(0).stdout, "started\nfinished\n");
    assert_eq!(cx.read("a"), "2\n");
}

/// `SBX_KILLS=30` tries more moments than the everyday test does.
#[test]
fn a_client_killed_at_any_moment_loses_nothing() {
    let kills = std::env::var("SBX_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let cx = TestContext::new(&[("a", "1\n")]);
    cx.agent("true", &[]).exits(0);
    for n in 0..kills {
        let script = format!(
            "echo one; sleep 0.3; echo {n} >a; mkdir -p d; echo {n} >d/new; sleep 0.3; echo two"
        );
        let mut run = agent(&cx, &script, &[]);
        let moment = Duration::from_millis((n * 1400 / kills) as u64 + (n * 37 % 50) as u64);
        // At any moment, and every third time when the agent is surely at work.
        let at_work = n % 3 == 1;
        if at_work {
            run.until("\"data\":\"one\"");
        } else {
            std::thread::sleep(moment);
        }
        run.signal(Signal::KILL);
        let killed = run.end();
        // Killed before it said its name, or before the agent was started, there is nothing to take up.
        let id = killed.events().first().map(|e| e["run"].as_str().unwrap().to_owned());
        let again = cx.run(["attach", id.as_deref().unwrap_or("nameless")]);
        if again.code == 0 {
            assert_eq!(again.stdout, "one\ntwo\n", "{moment:?}: {}", again.stderr);
        } else {
            let began = at_work || killed.stdout.contains("agent_output");
            assert!(!began, "{moment:?}: {}", again.stderr);
            cx.run(["pull"]).exits(0);
            cx.agent(&script, &[]).exits(0);
        }
        let wanted = format!("{n}\n");
        assert_eq!(
            (cx.read("a"), cx.read("d/new")),
            (wanted.clone(), wanted),
            "{moment:?}: {}",
            again.stderr
        );
        assert_eq!(cx.files(), ["a", "d/new"]);
    }
}

#[test]
fn time_limits_end_the_agent_and_bring_its_work_home() {
    let cx = TestContext::new(&[("a", "1\n")]);
    for limit in ["--timeout", "--idle-timeout"] {
        let script = format!("echo {limit} >a; echo written; sleep 600");
        long_enough(|seconds| {
            let ran = cx.agent(&script, &[limit, seconds, "--json"]).exits(124);
            assert_eq!(ran.of_type("error")[0]["code"], "agent.timeout");
            ran.stdout.contains("\"data\":\"written\"")
        });
        assert_eq!(cx.read("a"), format!("{limit}\n"));
    }
}

#[test]
fn a_detached_run_keeps_its_time_and_tells_why_it_ended() {
    let cx = TestContext::new(&[("a", "1\n")]);
    for limit in ["--timeout", "--idle-timeout"] {
        // The agent makes its end look like a success.
        let script = format!("trap 'exit 0' TERM; echo {limit} >a; echo written; sleep 600 & wait");
        long_enough(|seconds| {
            let _ = cx.agent(&script, &["--detach", limit, seconds]).exits(0);
            let ran = cx.run(["attach", "--json"]).exits(124);
            assert_eq!(ran.of_type("error")[0]["code"], "agent.timeout");
            ran.stdout.contains("\"data\":\"written\"")
        });
        assert_eq!(cx.read("a"), format!("{limit}\n"));
    }
}

#[test]
fn a_run_that_was_stopped_by_a_signal_is_no_success_later() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let mut run = agent(&cx, "trap 'exit 0' TERM; echo started; sleep 600 & wait", PATIENT);
    run.until("\"data\":\"started\"");
    run.signal(Signal::INT);
    let id = run.end().exits(130).events()[0]["run"].as_str().unwrap().to_owned();
    let again = cx.run(["attach", "--json", &id]).exits(130);
    assert_eq!(again.of_type("error")[0]["code"], "run.interrupted");
}

#[test]
fn an_agent_that_is_killed_or_whose_sandbox_stops_is_no_success() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let killed = cx.agent("echo 2 >a; kill -9 $$", &["--json"]).exits(1);
    assert_eq!(killed.of_type("done")[0]["agent"]["exit_code"], 137, "{}", killed.stdout);
    assert_eq!(cx.read("a"), "2\n");
    let mut run = agent(&cx, "echo 3 >a; echo started; sleep 600", &[]);
    run.until("\"data\":\"started\"");
    let _ = cx.run(["stop"]).exits(0);
    let ended = run.end().exits(69);
    one_done(&ended);
    // It is started again for a look; the run is still gone, and its work is there.
    let id = ended.events()[0]["run"].as_str().unwrap().to_owned();
    let _ = cx.run(["attach", &id]).exits(69);
    assert_eq!(cx.read("a"), "3\n");
}

/// A pipe that nobody reads, and the command that writes into it.
fn unread(cx: &TestContext, script: &str, more: &[&str]) -> (Child, std::process::ChildStdout) {
    let mut command = cx.command(["run", "--agent-command", script]);
    command.args(more).arg("do it");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let pipe = child.stdout.take().unwrap();
    (child, pipe)
}

#[test]
fn a_reader_that_never_reads_holds_up_no_limit_and_no_result() {
    let cx = TestContext::new(&[("a", "1\n")]);
    // Far more than a pipe and our own buffers hold.
    let flood = "yes a-line-of-output | head -n 300000";
    long_enough(|seconds| {
        let script = format!("{flood}; echo 2 >a; sleep 600");
        let (mut child, pipe) = unread(&cx, &script, &["--timeout", seconds]);
        assert_eq!(child.wait().unwrap().code(), Some(124));
        drop(pipe);
        cx.read("a") == "2\n"
    });
    // It ended well long before; nobody reads what it said, and its verdict is known all the same.
    long_enough(|seconds| {
        let script = format!("{flood}; echo 3 >a");
        let (mut child, pipe) = unread(&cx, &script, &["--timeout", seconds]);
        let code = child.wait().unwrap().code();
        drop(pipe);
        assert!(matches!(code, Some(0 | 124)), "{code:?}");
        code == Some(0)
    });
    assert_eq!(cx.read("a"), "3\n");
}

#[test]
fn a_signal_ends_a_run_whose_reader_is_stuck() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let script = "echo 2 >a; yes a-line-of-output";
    let (mut child, pipe) = unread(&cx, script, &[]);
    let far = || cx.run(["exec", "--no-sync", "--", "cat", "a"]).stdout == "2\n";
    while !far() {}
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(pipe);
}

#[test]
fn a_second_command_waits_only_when_asked_to() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let mut run =
        agent(&cx, "echo started; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo 2 >a", &[]);
    run.until("\"data\":\"started\"");
    let busy = cx.agent("true", &["--json"]).exits(75);
    let error = &busy.of_type("error")[0];
    assert_eq!(error["code"], "busy.worktree");
    assert!(error["message"].as_str().unwrap().contains(&run.child.id().to_string()), "{error}");
    let waiting =
        Running::start(cx.command(["run", "--wait", "--agent-command", "cat a", "do it"]));
    // Any number of commands that do not sync run beside it.
    let many: Vec<_> = (0..8)
        .map(|n| Running::start(cx.command(["exec", "--no-sync", "--", "echo", &n.to_string()])))
        .collect();
    for (n, one) in many.into_iter().enumerate() {
        assert_eq!(one.end().exits(0).stdout, format!("{n}\n"));
    }
    cx.run(["exec", "--no-sync", "--", "touch", "/tmp/go"]).exits(0);
    run.end().exits(0);
    assert_eq!(waiting.end().exits(0).stdout, "2\n");
}

#[test]
fn a_reader_that_stops_reading_does_not_stop_the_work() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let mut command = cx.command(["run", "--agent-command", "seq 1 20000; echo 2 >a", "do it"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(8, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let out = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&out.stderr);
    assert_eq!(first, "1\n");
    assert!(out.status.success() && !words.contains("panicked"), "{words}");
    assert_eq!(cx.read("a"), "2\n");
}

#[test]
fn a_worktree_that_goes_away_or_cannot_be_written_costs_no_result() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let mut run =
        agent(&cx, "echo started; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo 2 >a", &[]);
    run.until("\"data\":\"started\"");
    let project = cx.root().join("project");
    let moved = cx.root().join("elsewhere");
    std::fs::rename(cx.work(), &moved).unwrap();
    let mut go = cx.command(["exec", "--no-sync", "--", "touch", "/tmp/go"]);
    // Git still knows the worktree by its new place once it was told.
    cx.git_in(&project, &["worktree", "repair", moved.to_str().unwrap()]);
    ran(go.current_dir(&moved)).exits(0);
    let ended = run.end().exits(66);
    one_done(&ended);
    assert_eq!(ended.of_type("done")[0]["unpulled"], true);
    ran(cx.command(["pull"]).current_dir(&moved)).exits(0);
    assert_eq!(std::fs::read_to_string(moved.join("a")).unwrap(), "2\n");
    std::fs::rename(&moved, cx.work()).unwrap();
    cx.git_in(&project, &["worktree", "repair", cx.work().to_str().unwrap()]);
}

#[test]
fn words_without_a_line_end_do_not_swallow_our_lines() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let (mut read, write) = std::io::pipe().unwrap();
    let mut child = cx
        .command(["run", "--isolation", "none", "--agent-command", "printf last-words", "do it"])
        .stdout(write.try_clone().unwrap())
        .stderr(write)
        .spawn()
        .unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut read, &mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    assert!(text.contains("\nlast-words\n[sandbox:phase] sync_out\n"), "{text}");
}

#[test]
fn the_last_words_of_an_agent_are_told_again_only_to_who_has_not_seen_them() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let args = ["run", "--agent-command", "echo the-$((40 + 2)); echo last; exit 3", "do it"];
    let apart = cx.run(args).exits(1);
    assert!(apart.stdout.contains("the-42") && apart.stderr.contains("the-42"), "{apart:?}");
    let (mut read, write) = std::io::pipe().unwrap();
    let mut command = cx.command(args);
    let mut child = command.stdout(write.try_clone().unwrap()).stderr(write).spawn().unwrap();
    drop(command);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut read, &mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{text}");
    assert_eq!((text.matches("the-42").count(), text.matches("error: ").count()), (1, 1), "{text}");
}

#[test]
fn tools_that_a_sandbox_was_made_without_are_told() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let [made, later] = ["made", "later"].map(|name| cx.root().join(name));
    for dir in [&made, &later] {
        std::fs::create_dir(dir).unwrap();
    }
    let [made, later] = [&made, &later].map(|dir| dir.to_str().unwrap());
    let told = |dirs: &[&str]| {
        let mut more = vec!["--json"];
        more.extend(dirs.iter().flat_map(|dir| ["--tool-dir", dir]));
        let ran = cx.agent("true", &more).exits(0);
        let about_tools = |w: &serde_json::Value| w["code"] == "sandbox.tool_dirs";
        ran.of_type("warning").into_iter().filter(about_tools).collect::<Vec<_>>()
    };
    assert_eq!(told(&[made]), Vec::<serde_json::Value>::new());
    assert!(told(&[made]).is_empty() && told(&[]).is_empty());
    let warned = told(&[made, later]);
    assert!(warned.len() == 1 && warned[0]["message"].as_str().unwrap().contains(later));
    assert!(warned[0]["hint"].as_str().unwrap().contains("rm"), "{warned:?}");
}

#[test]
fn a_detached_run_keeps_its_sandbox_up_for_its_time_and_no_longer() {
    let cx = TestContext::new(&[]);
    let up = |list: &[&str]| -> i64 {
        let ran = cx.run([list, &["--json"]].concat()).exits(0);
        let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let sandbox = if list == ["ls"] { &told[0] } else { &told["sandbox"] };
        sandbox["auto_stop_min"].as_i64().unwrap_or_else(|| panic!("{told}"))
    };
    // Whoever looks at the sandbox after the run has ended, its interval is put back.
    for list in [&["status"], &["ls"]] {
        let script = "rm -f ~/go; until [ -e ~/go ]; do sleep 0.1; done";
        let _ = cx.agent(script, &["--detach", "--timeout", "3h"]).exits(0);
        assert_eq!((up(list), up(list)), (195, 195), "it works");
        cx.run(["exec", "--no-sync", "--", "sh", "-c", "touch ~/go"]).exits(0);
        assert!((0..1000).any(|_| up(list) == 60), "it has ended");
        let _ = cx.run(["attach"]).exits(0);
    }
    let _ = cx.agent("true", &["--detach", "--timeout", "3h"]).exits(0);
    cx.run(["attach"]).exits(0);
    assert_eq!(up(&["status"]), 60);
}

#[test]
fn logs_begin_anywhere_and_follow_to_the_end() {
    let cx = TestContext::new(&[]);
    let mut run = agent(
        &cx,
        "echo one; echo two; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo three",
        &[],
    );
    run.until("\"data\":\"two\"");
    assert_eq!(cx.run(["logs"]).exits(0).stdout, "one\ntwo\n");
    assert_eq!(cx.run(["logs", "--from", "4"]).exits(0).stdout, "two\n");
    assert_eq!(cx.run(["logs", "--from", "4000"]).exits(0).stdout, "");
    let mut following = Running::start(cx.command(["logs", "--follow", "--json"]));
    following.until("\"data\":\"two\"");
    let id = run.seen.iter().find_map(|l| l.split("\"run\":\"").nth(1)).unwrap()[..12].to_owned();
    let _ = cx.run(["exec", "--no-sync", "--", "touch", "/tmp/go"]).exits(0);
    run.end().exits(0);
    let followed = following.end().exits(0);
    assert!(followed.stdout.contains("\"data\":\"three\""), "{}", followed.stdout);
    // The command that said `go` came later; the first run is asked for by name.
    assert_eq!(cx.run(["logs", &id]).exits(0).stdout, "one\ntwo\nthree\n");
    let _ = cx.run(["logs", "nameless"]).exits(2);
    let status = cx.run(["status", "--json"]).exits(0).stdout;
    assert!(status.matches(&id).count() == 1 && status.contains("\"runs\""), "{status}");
}

#[test]
fn an_agent_finds_no_pager_and_its_sandbox_is_looked_after_whatever_its_isolation() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let script = "git log | cat >/dev/null; git log; echo \"$PAGER $GIT_PAGER\"; echo 2 >a";
    let ran = cx.agent(script, &["--isolation", "none"]).exits(0);
    assert!(ran.stdout.contains("cat cat"), "{}", ran.stdout);
    // None of these was told of the isolation, and none starts anything that would need it.
    for args in [vec!["status"], vec!["ls"], vec!["pull"], vec!["logs"], vec!["stop"], vec!["rm"]] {
        let _ = cx.run(args).exits(0);
    }
    assert!(!cx.run(["ls"]).exits(0).stdout.contains("started"));
}
