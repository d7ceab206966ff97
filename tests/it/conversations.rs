//! Which conversations can be continued, with a program that keeps them where claude does.

use crate::lent::{run, with_claude};
use crate::support::context::{Ran, TestContext, ran};
use crate::support::server::{KEY, TestServer};

const FIRST: &str = "11111111-1111-4111-8111-111111111111";
const BY_HAND: &str = "22222222-2222-4222-8222-222222222222";
const NOBODYS: &str = "33333333-3333-4333-8333-333333333333";

/// Keeps a conversation of the id it is told to resume, else of a fresh one, and says so.
const CLAUDE: &str = r#"s=11111111-1111-4111-8111-111111111111
while [ $# -gt 0 ]; do [ "$1" != --resume ] || s=$2; shift; done
mkdir -p ~/.claude/projects/w
echo "{\"sessionId\":\"$s\"}" >>~/.claude/projects/w/$s.jsonl
echo "{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"$s\"}"
echo '{"type":"result","is_error":false,"result":"x"}'"#;

fn go_on(cx: &TestContext, session: &str, more: &[&str]) -> Ran {
    ran(&mut run(cx, &[&["--json", "--session", session], more].concat()))
}

/// Refused with the documented code and a hint, and nothing was sent.
#[track_caller]
fn refused(ran: Ran) -> Ran {
    let ran = ran.exits(3);
    let errors = ran.of_type("error");
    assert_eq!(errors[0]["code"], "agent.no_session", "{ran:?}");
    assert!(!errors[0]["hint"].as_str().unwrap().is_empty(), "{ran:?}");
    assert!(ran.of_type("sync").is_empty() && ran.of_type("agent").is_empty(), "{ran:?}");
    ran
}

fn session_of(ran: &Ran) -> String {
    ran.of_type("done")[0]["agent"]["session"].as_str().unwrap().to_owned()
}

#[test]
fn a_conversation_nobody_had_is_refused_before_anything_is_sent() {
    let cx = with_claude(CLAUDE);
    let inside = |text: &str| cx.run(["exec", "--no-sync", "--", "sh", "-c", text]);
    let none_made = refused(go_on(&cx, NOBODYS, &[]));
    assert!(none_made.of_type("sandbox").is_empty(), "{none_made:?}");

    // A sandbox that no agent has worked in yet, as far as anybody here knows.
    let tools = cx.root().join("tools");
    cx.run(["exec", "--tool-dir", tools.to_str().unwrap(), "--", "true"]).exits(0);
    cx.write("new", "1\n");
    refused(go_on(&cx, NOBODYS, &[]));
    inside("test ! -e new").exits(0);
    let talked = format!("cd ~/workspace; claude --resume {BY_HAND} >&2");
    inside(&talked).exits(0);
    assert_eq!(session_of(&go_on(&cx, BY_HAND, &[]).exits(0)), BY_HAND);

    // A run whose end nobody here has seen may have begun a conversation.
    ran(&mut run(&cx, &["--detach"])).exits(0);
    cx.run(["logs", "--follow"]).exits(0);
    let unknown = refused(go_on(&cx, NOBODYS, &[]));
    assert!(unknown.of_type("error")[0]["hint"].as_str().unwrap().contains(BY_HAND), "{unknown:?}");
    assert_eq!(session_of(&go_on(&cx, FIRST, &[]).exits(0)), FIRST);

    // With the sandbox goes the conversation.
    let fresh = go_on(&cx, FIRST, &["--fresh"]).exits(2);
    assert_eq!(fresh.of_type("error")[0]["code"], "usage");
    assert!(fresh.of_type("sandbox").is_empty(), "{fresh:?}");
    inside("test -e ~/.claude/projects/w").exits(0);
    cx.run(["rm", "--force"]).exits(0);
    let gone = refused(go_on(&cx, FIRST, &[]));
    assert!(gone.of_type("error")[0]["message"].as_str().unwrap().contains("is gone"), "{gone:?}");
}

#[test]
fn a_conversation_whose_sandbox_vanished_unseen_is_refused_and_no_other_sandbox_is_made() {
    let mut cx = with_claude(CLAUDE);
    let server = TestServer::start();
    cx.set("DAYTONA_API_KEY", KEY);
    cx.set("DAYTONA_API_URL", &server.api_url);
    let name = |ran: &Ran| ran.of_type("sandbox")[0]["name"].as_str().unwrap().to_owned();
    let made = name(&cx.run(["exec", "--json", "--", "true"]).exits(0));
    // Removed from elsewhere: nobody tells this worktree.
    let elsewhere = ["rm", "--force", &made];
    ran(cx.command(elsewhere).current_dir(cx.root().join("home"))).exits(0);
    let gone = refused(go_on(&cx, FIRST, &[]));
    let error = &gone.of_type("error")[0];
    assert!(error["message"].as_str().unwrap().contains(&made), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("--session"), "{error}");
    let there = cx.run(["ls", "--json"]).exits(0).stdout;
    assert!(!there.contains(&made), "{there}");
}

#[test]
fn where_nobody_can_tell_the_agent_decides() {
    let cx = with_claude(CLAUDE);
    let tools = cx.root().join("tools");
    cx.run(["exec", "--tool-dir", tools.to_str().unwrap(), "--", "true"]).exits(0);
    let elsewhere = go_on(&cx, NOBODYS, &["--env", "CLAUDE_CONFIG_DIR=/tmp/elsewhere"]).exits(0);
    assert_eq!(session_of(&elsewhere), NOBODYS);
}
