//! What goes wrong is one line, one hint and the documented exit code, for people and for programs.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::between::{Act, Between};
use crate::support::context::TestContext;
use crate::support::server::{KEY, TestServer};

/// Runs a command twice, as text and with `--json`, and insists on the same story in both.
#[track_caller]
fn fails(cx: &TestContext, args: &[&str], exit: i32, code: &str) {
    let text = cx.run(args).exits(exit);
    let starting = |word: &str| text.stderr.lines().filter(|l| l.starts_with(word)).count();
    assert_eq!((starting("error: "), starting("hint: ")), (1, 1), "{args:?}: {}", text.stderr);
    assert!(!text.stderr.contains("panicked") && !text.stderr.contains(KEY), "{}", text.stderr);
    let mut with_json = vec![args[0], "--json"];
    with_json.extend_from_slice(&args[1..]);
    let json = cx.run(with_json).exits(exit);
    let (errors, dones) = (json.of_type("error"), json.of_type("done"));
    assert_eq!((errors.len(), dones.len()), (1, 1), "{args:?}: {}", json.stdout);
    assert_eq!(errors[0]["code"], code, "{args:?}: {}", json.stdout);
    assert_eq!(dones[0]["exit_code"], exit);
    assert!(!errors[0]["hint"].as_str().unwrap().is_empty());
    assert_eq!(json.events().last().unwrap()["type"], "done");
}

const RUN: [&str; 3] = ["run", "--agent-command", "true"];

#[track_caller]
fn run_fails(cx: &TestContext, more: &[&str], exit: i32, code: &str) {
    let args: Vec<&str> = RUN.iter().chain(more).copied().chain(["do it"]).collect();
    fails(cx, &args, exit, code);
}

#[test]
fn a_wrong_request_is_refused_before_anything_is_made() {
    let cx = TestContext::new(&[("a", "1\n")]);
    fails(
        &cx,
        &["run", "--session", "nobody-had-it", "--agent", "opencode", "go on"],
        3,
        "agent.no_session",
    );
    fails(&cx, &["run", "--agent", "nonsense", "do it"], 2, "agent.unknown");
    fails(&cx, &["run", "--agent-command", "true", "  "], 2, "usage.empty_prompt");
    fails(&cx, &["run", "--no-such-flag", "do it"], 2, "usage");
    fails(&cx, &["run", "--prompt-file", "missing.txt"], 74, "host.io");
    run_fails(&cx, &["--timeout", "soon"], 2, "usage");
    run_fails(&cx, &["--provider", "daytona"], 78, "config.missing_key");
    fails(&cx, &["attach", "abc"], 2, "run.not_found");
    fails(&cx, &["exec", "--no-sync", "--", "true"], 69, "sandbox.not_found");
    assert!(!cx.root().join("state/local/sandboxes").exists_with_content());
}

trait ExistsWithContent {
    fn exists_with_content(&self) -> bool;
}

impl ExistsWithContent for std::path::PathBuf {
    fn exists_with_content(&self) -> bool {
        std::fs::read_dir(self).is_ok_and(|mut entries| entries.next().is_some())
    }
}

#[test]
fn a_place_that_is_no_worktree_is_refused() {
    let cx = TestContext::without_repo();
    run_fails(&cx, &[], 66, "worktree.none");
    let work = cx.work();
    std::fs::create_dir(&work).unwrap();
    cx.git(&["init", "-q", "--bare"]);
    run_fails(&cx, &[], 66, "worktree.bare");
    std::fs::remove_dir_all(&work).unwrap();
}

#[test]
fn a_service_that_is_away_or_is_something_else_is_told_apart() {
    let mut cx = TestContext::new(&[("a", "1\n")]);
    cx.set("DAYTONA_API_KEY", KEY);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    cx.set("DAYTONA_API_URL", &format!("http://{nobody}/api"));
    run_fails(&cx, &[], 68, "net.unreachable");
    cx.set("DAYTONA_API_URL", "http://no-such-host.invalid/api");
    run_fails(&cx, &[], 68, "net.dns");
    let page = "<!doctype html><html><title>Welcome</title></html>";
    let answers: [(&str, &str, &str, i32, &str); 4] = [
        ("200 OK", "Content-Type: text/html\r\n", page, 76, "proto.not_json"),
        (
            "401 Unauthorized",
            "Content-Type: application/json\r\n",
            r#"{"message":"Invalid credentials"}"#,
            77,
            "auth.invalid",
        ),
        (
            "403 Forbidden",
            "Content-Type: application/json\r\n",
            r#"{"message":"not yours"}"#,
            77,
            "auth.forbidden",
        ),
        ("200 OK", "Content-Type: application/json\r\n", "{\"id\":", 76, "proto.bad_json"),
    ];
    for (status, heads, body, exit, code) in answers {
        let between =
            Between::start("127.0.0.1:9", move |_| Act::Answer(status, heads, body.into()));
        cx.set("DAYTONA_API_URL", &between.api_url());
        run_fails(&cx, &[], exit, code);
    }
}

#[test]
fn a_burst_of_trouble_is_waited_out() {
    let server = TestServer::start();
    let mut cx = TestContext::new(&[("a", "1\n")]);
    cx.set("DAYTONA_API_KEY", KEY);
    // Every call fails once before it succeeds, reads and repeatable commands alike.
    let seen = Mutex::new(std::collections::BTreeSet::new());
    let between = Between::start(&server.addr, move |call| {
        let first =
            call.name.starts_with("GET") && seen.lock().unwrap().insert(call.name.to_owned());
        match first {
            true => Act::Answer("503 Service Unavailable", "Retry-After: 0\r\n", "busy".into()),
            false => Act::Pass,
        }
    });
    cx.set("DAYTONA_API_URL", &between.api_url());
    cx.agent("echo 2 >a", &[]).exits(0);
    assert_eq!(cx.read("a"), "2\n");
}

/// Lets no command through before a terminal was asked for; with `refuse` set it lets none through at all.
#[derive(Default)]
struct Gate {
    shut: bool,
    refuse: bool,
    terminals: usize,
}

#[test]
fn a_run_finds_its_terminal_open_and_one_that_is_not_started_leaves_none() {
    let server = TestServer::start();
    let mut cx = TestContext::new(&[("a", "1\n")]);
    cx.set("DAYTONA_API_KEY", KEY);
    let gate = Arc::new((Mutex::new(Gate::default()), Condvar::new()));
    let seen = gate.clone();
    let between = Between::start(&server.addr, move |call| {
        let (state, changed) = &*seen;
        let mut state = state.lock().unwrap();
        if call.name.contains("/pty/create-connect") {
            state.terminals += 1;
            changed.notify_all();
        } else if call.name.ends_with("/process/execute") && state.shut {
            let limit = Duration::from_secs(120);
            let waits = |state: &mut Gate| state.shut && state.terminals == 0;
            let (mut state, waited) = changed.wait_timeout_while(state, limit, waits).unwrap();
            state.shut = false;
            if waited.timed_out() || state.refuse {
                return Act::Answer("400 Bad Request", "", "{}".into());
            }
        }
        Act::Pass
    });
    cx.set("DAYTONA_API_URL", &between.api_url());
    cx.agent("true", &[]).exits(0);
    let status: Value =
        serde_json::from_str(&cx.run(["status", "--json"]).exits(0).stdout).unwrap();
    let id = status["sandbox"]["id"].as_str().unwrap();
    for refuse in [false, true] {
        *gate.0.lock().unwrap() = Gate { shut: true, refuse, terminals: 0 };
        let ran = cx.agent("echo it runs", &[]);
        assert_eq!(ran.stdout.contains("it runs"), !refuse, "{}", ran.stdout);
        assert_eq!(gate.0.lock().unwrap().terminals, 1);
        // Nobody waits long for it to be closed; on a slow machine it goes a little later.
        let terminals = format!("/toolbox/{id}/process/pty");
        let none = serde_json::json!({ "sessions": [] });
        while server.call("GET", &terminals, "").json() != none {}
    }
}
