//! Several commands at one worktree and its sandbox.

use crate::support::between::{Act, Between};
use crate::support::context::{TestContext, ran};
use crate::support::running::{Running, agent};
use crate::support::server::{KEY, TestServer};

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

/// No answer must not read as nothing living.
#[test]
fn nobody_starts_or_removes_anything_while_a_run_may_live_there_for_all_that_is_known() {
    let mut cx = TestContext::new(&[("a", "1\n")]);
    let server = TestServer::start();
    let between = Between::start(&server.addr, |call| match call.body.contains("say run-state") {
        true => Act::Answer("400 Bad Request", "", r#"{"message":"not now"}"#.into()),
        false => Act::Pass,
    });
    cx.set("DAYTONA_API_KEY", KEY);
    cx.set("DAYTONA_API_URL", &server.api_url);
    let openly = |args: &[&str]| cx.run(args);
    let through = |args: &[&str]| ran(cx.command(args).env("DAYTONA_API_URL", between.api_url()));
    let work = "until [ -e ~/go ]; do sleep 0.1; done; echo 2 >a";
    openly(&["run", "--detach", "--agent-command", work, "do it"]).exits(0);
    for args in [
        vec!["run", "--json", "--agent-command", "echo 3 >a", "do it"],
        vec!["exec", "--json", "--", "sh", "-c", "echo 3 >a"],
    ] {
        let refused = through(&args);
        assert_ne!(refused.code, 0, "{}", refused.stdout);
        assert!(refused.of_type("agent").is_empty(), "{}", refused.stdout);
        let message = refused.of_type("error")[0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("whether a run still works in it"), "{message}");
    }
    openly(&["exec", "--no-sync", "--", "sh", "-c", "touch ~/go"]).exits(0);
    // Its end was not seen here, but its work is: the run's record stays open.
    let unpulled = || {
        let status = openly(&["status", "--json"]).exits(0).stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["unpulled"].as_bool().unwrap()
    };
    while unpulled() {
        openly(&["pull"]).exits(0);
    }
    assert_eq!(cx.read("a"), "2\n");
    let refused = through(&["rm"]);
    assert_ne!(refused.code, 0, "{}", refused.stderr);
    assert!(refused.stderr.contains("rm --force"), "{}", refused.stderr);
    through(&["rm", "--force"]).exits(0);
}
