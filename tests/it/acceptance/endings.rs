//! Runs that are interrupted, killed, left and taken up again.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::between::{Act, Between};
use crate::support::context::{Ran, TestContext, ran};
use crate::support::running::{agent, long_enough};
use crate::support::server::{KEY, TestServer};

/// Time to bring the work home after a signal, on the slowest of machines.
const PATIENT: &[&str] = &["--grace", "120"];

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
    for (signal, code) in [(Signal::INT, 130), (Signal::HUP, 129)] {
        called_off(signal, code);
    }
}

fn called_off(signal: Signal, code: i32) {
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
    run.signal(signal);
    let ran = run.end().exits(code);
    one_done(&ran);
    let error = &ran.of_type("error")[0];
    assert_eq!(error["hint"], "nothing was started; the same command begins anew");
    assert!(error["resume"].is_null(), "{error}");

    release.send(()).unwrap();
    let late = answered.recv().unwrap();
    assert!(late.contains("run-started before"), "{late}");
    let again = cx.run(["attach", "--json"]).exits(code);
    assert!(!again.stdout.contains("the run goes on"), "{}", again.stdout);
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
