//! A result with conflicts waits on this side: it needs neither its sandbox nor a network to be finished.

use serde_json::Value;

use crate::support::context::{Ran, TestContext};
use crate::support::server::{KEY, TestServer};

/// A worktree, its server, and a result that clashes in `both` and brings `new`.
struct Clash {
    cx: TestContext,
    server: TestServer,
    id: String,
}

impl Clash {
    fn new() -> Self {
        let mut cx = TestContext::new(&[("both", "base\n")]);
        let server = TestServer::start();
        cx.set("DAYTONA_API_URL", &server.api_url);
        cx.set("DAYTONA_API_KEY", KEY);
        cx.agent("echo theirs >both; echo new >new", &["--no-apply"]).exits(0);
        cx.write("both", "mine\n");
        cx.run(["pull"]).exits(81);
        let clash = Self { cx, server, id: String::new() };
        let id = clash.status()["sandbox"]["id"].as_str().unwrap().to_owned();
        clash.shows("mine\n", false);
        Self { id, ..clash }
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.cx.run(["status", "--json"]).exits(0).stdout).unwrap()
    }

    /// What lies here: the file that clashed, and whether the other came.
    #[track_caller]
    fn shows(&self, both: &str, new: bool) {
        assert_eq!((self.cx.read("both"), self.cx.work().join("new").exists()), (both.into(), new));
    }

    /// What a command said about the sandbox of a result that it finished.
    #[track_caller]
    fn told(ran: &Ran, words: &str) {
        let warnings = ran.of_type("warning");
        let told = warnings.iter().find(|w| w["code"] == "pull.held");
        let message = told.unwrap_or_else(|| panic!("{}", ran.stdout))["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }

    fn call(&self, method: &str, rest: &str) {
        let answer = self.server.call(method, &format!("/api/sandbox/{}{rest}", self.id), "");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[test]
fn it_is_finished_when_its_sandbox_is_gone() {
    for (policy, both, exit) in
        [("theirs", "theirs\n", 0), ("ours", "mine\n", 0), ("keep-both", "mine\n", 81)]
    {
        let clash = Clash::new();
        clash.call("DELETE", "");
        let ran = clash.cx.run(["pull", "--json", "--on-conflict", policy]).exits(exit);
        clash.shows(both, true);
        Clash::told(&ran, "gone");
        assert_eq!(ran.of_type("done")[0]["unpulled"], false);
        let status = clash.status();
        assert_eq!((&status["held"], &status["held_result"]), (&false.into(), &Value::Null));
        // And it can be taken back.
        clash.cx.run(["undo"]).exits(0);
        clash.shows("mine\n", false);
    }
}

#[test]
fn a_decision_that_puts_theirs_aside_leaves_nothing_waiting() {
    let clash = Clash::new();
    let run = clash.status()["held_result"]["run"].clone();
    clash.cx.run(["pull"]).exits(81);
    assert_eq!(clash.status()["held_result"]["run"], run, "it is still the same result");
    let ran = clash.cx.run(["pull", "--json", "--on-conflict", "keep-both"]).exits(81);
    let done = &ran.of_type("done")[0];
    assert_eq!((&done["unpulled"], &done["files"]["conflicts"]), (&false.into(), &1.into()));
    clash.shows("mine\n", true);
    let status = clash.status();
    assert_eq!((&status["held"], &status["unpulled"]), (&false.into(), &false.into()));
    clash.cx.run(["pull"]).exits(0);
}

#[test]
fn it_is_finished_while_its_sandbox_sleeps_and_the_decision_holds_when_that_wakes() {
    let clash = Clash::new();
    clash.call("POST", "/stop");
    let ran = clash.cx.run(["pull", "--json", "--on-conflict", "ours"]).exits(0);
    clash.shows("mine\n", true);
    Clash::told(&ran, "stopped");
    assert_eq!(ran.of_type("done")[0]["unpulled"], true);
    assert_eq!(clash.status()["sandbox"]["state"], "stopped", "nobody asked for it to be woken");
    let ran = clash.cx.agent("cat both new", &[]).exits(0);
    assert_eq!(ran.stdout, "mine\nnew\n");
    clash.shows("mine\n", true);
}

#[test]
fn it_is_finished_while_the_service_is_out_of_reach() {
    let clash = Clash::new();
    let run = clash.status()["held_result"]["run"].as_str().unwrap().to_owned();
    let Clash { cx, server, .. } = clash;
    drop(server);
    let text = cx.run(["status"]).exits(0).stdout;
    assert!(text.contains("cannot be asked") && text.contains(&run), "{text}");
    let ran = cx.run(["pull", "--json", "--on-conflict", "theirs"]).exits(0);
    assert_eq!((cx.read("both"), cx.read("new")), ("theirs\n".into(), "new\n".into()));
    Clash::told(&ran, "cannot be asked");
    assert_eq!(ran.of_type("done")[0]["unpulled"], true);
}

#[test]
fn looking_disturbs_nothing_and_later_work_comes_without_the_old_conflict() {
    let clash = Clash::new();
    let more = "echo more >more; echo changed >new";
    clash.cx.run(["exec", "--no-sync", "--", "sh", "-c", more]).exits(0);
    for _ in 0..2 {
        let diff = clash.cx.run(["diff"]).exits(0);
        assert!(diff.stdout.contains("+theirs") && diff.stdout.contains("+new"), "{}", diff.stdout);
        clash.shows("mine\n", false);
    }
    clash.cx.run(["pull", "--on-conflict", "ours"]).exits(0);
    clash.shows("mine\n", true);
    assert_eq!(
        (clash.cx.read("more"), clash.cx.read("new")),
        ("more\n".into(), "changed\n".into())
    );
    // Both sides agree now: nothing comes again, and nothing clashes.
    clash.cx.run(["pull"]).exits(0);
    assert_eq!(clash.cx.run(["diff"]).exits(0).stdout, "");
    clash.shows("mine\n", true);
}

#[test]
fn it_waits_until_there_is_a_decision() {
    let clash = Clash::new();
    let status = clash.status();
    assert_eq!((&status["held"], &status["unpulled"]), (&true.into(), &true.into()));
    let run = status["held_result"]["run"].as_str().unwrap().to_owned();
    let text = clash.cx.run(["status"]).exits(0).stdout;
    assert!(text.contains("waiting") && text.contains(&run), "{text}");
    clash.cx.run(["pull"]).exits(81);
    clash.shows("mine\n", false);
    // The work of another sandbox would have to take its place.
    clash.call("DELETE", "");
    let ran = clash.cx.agent("echo other >both", &["--json"]).exits(81);
    assert_eq!(ran.of_type("error")[0]["code"], "sandbox.unpulled_work");
    assert!(clash.status()["sandbox"].is_null(), "a sandbox was made for nothing");
    clash.cx.run(["pull", "--on-conflict", "merge"]).exits(81);
    assert!(clash.cx.read("both").contains("mine") && clash.cx.read("both").contains("theirs"));
    clash.cx.agent("echo other >both", &[]).exits(0);
    clash.shows("other\n", true);
}

#[test]
fn it_is_not_waiting_any_more_once_the_local_edit_is_gone() {
    let clash = Clash::new();
    clash.cx.write("both", "base\n");
    clash.cx.run(["pull"]).exits(0);
    clash.shows("theirs\n", true);
}
