//! What an agent is lent, and what it says: with a program that speaks as claude does.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::context::{TestContext, ran, write};

const VALUE: &str = "a value/that nobody \"shall\" see";

/// A user whose claude is this shell text.
pub fn with_claude(text: &str) -> TestContext {
    let cx = TestContext::new(&[]);
    let program = cx.root().join("tools/claude");
    let text = format!("#!/bin/sh\n[ \"$1\" != --version ] || {{ echo 2.1.329; exit; }}\n{text}\n");
    write(&program, text.as_bytes());
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    cx
}

/// The main job with that program as the agent.
pub fn run(cx: &TestContext, more: &[&str]) -> std::process::Command {
    let mut command = cx.command(["run", "--agent", "claude", "--tool-dir"]);
    command.arg(cx.root().join("tools")).args(more).args(["--", "do it"]);
    command
}

#[test]
fn a_value_given_to_a_run_is_masked_by_those_who_show_it_later() {
    let cx = TestContext::new(&[]);
    let tells = "echo \"plain $API_TOKEN\"; printf %s \"cut $API_TOKEN\"; sleep 1; echo .";
    let mut first = cx.command(["run", "--detach", "--env", "API_TOKEN", "--agent-command", tells]);
    ran(first.env("API_TOKEN", VALUE).arg("do it")).exits(0);
    let shown = [
        cx.run(["attach", "--json"]).exits(0),
        cx.run(["attach"]).exits(0),
        cx.run(["logs"]).exits(0),
        cx.run(["logs", "--json"]).exits(0),
    ];
    for ran in shown {
        let text = format!("{}{}", ran.stdout, ran.stderr);
        assert!(text.contains("plain ***") && text.contains("cut ***"), "{text}");
        assert!(!text.contains("nobody"), "{text}");
    }
    // what is remembered of it tells nobody
    let remembered = cx.git(&["rev-parse", "--git-common-dir"]);
    let remembered = std::path::Path::new(remembered.trim()).join("sandbox-coder");
    let found = std::process::Command::new("grep").args(["-r", "nobody"]).arg(&remembered).output();
    assert!(remembered.is_dir() && found.unwrap().stdout.is_empty());
}

#[test]
fn raw_output_is_shown_byte_for_byte() {
    let said = "a \\033[1mbold\\033[0m line\\r\\n{\"type\":\"assistant\"}\\n\\377 no text";
    let end = r#"{"type":"result","subtype":"success","is_error":false,"result":"x"}"#;
    let cx = with_claude(&format!("printf '{said}\\n'; printf '%s\\n' '{end}'"));
    let output = run(&cx, &["--raw"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let mut expected =
        b"a \x1b[1mbold\x1b[0m line\r\n{\"type\":\"assistant\"}\n\xff no text\n".to_vec();
    expected.extend_from_slice(end.as_bytes());
    expected.push(b'\n');
    let at = output.stdout.windows(expected.len()).position(|w| w == expected);
    assert_eq!(at, Some(output.stdout.len() - expected.len()));
}

#[test]
fn a_login_left_by_a_sandbox_that_was_cut_off_goes_with_the_next_run() {
    let cx = with_claude("touch ~/begun; sleep 600");
    let login = r#"{"claudeAiOauth":{"accessToken":"lent-1234","expiresAt":4000000000000}}"#;
    write(&cx.root().join("home/.claude/.credentials.json"), login.as_bytes());
    ran(&mut run(&cx, &["--detach"])).exits(0);
    let cut_off = "for i in $(seq 600); do [ ! -e ~/begun ] || break; sleep 0.1; done\n\
         d=$(dirname ~/.sandbox-coder/runs/*/forget)\n\
         kill -9 $(cat $d/pid)\n\
         for e in $(grep -lz \"^SANDBOX_CODER_RUN=${d##*/}$\" /proc/[0-9]*/environ); do\n\
           e=${e%/environ}; kill -9 ${e#/proc/}\n\
         done\n\
         test -e ~/.claude/.credentials.json";
    cx.run(["exec", "--no-sync", "--", "sh", "-c", cut_off]).exits(0);
    let _ = cx.run(["pull"]);
    cx.agent("test ! -e ~/.claude/.credentials.json", &[]).exits(0);
}

#[test]
fn a_login_is_gone_after_a_run_whose_client_was_killed() {
    let cx = with_claude(
        "touch ~/begun; until [ -e ~/go ]; do sleep 0.1; done\n\
         printf '%s\\n' '{\"type\":\"result\",\"is_error\":false,\"result\":\"x\"}'",
    );
    let login = r#"{"claudeAiOauth":{"accessToken":"lent-1234","refreshToken":"renew-1234","expiresAt":4000000000000}}"#;
    let here = cx.root().join("home/.claude/.credentials.json");
    write(&here, login.as_bytes());
    let inside = |text: &str| cx.run(["exec", "--no-sync", "--", "sh", "-c", text]);
    let mut client = run(&cx, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = "for i in $(seq 600); do [ ! -e ~/begun ] || exit 0; sleep 0.1; done; exit 1";
    while inside(begun).code != 0 {
        assert!(client.try_wait().unwrap().is_none(), "the run has ended");
    }
    kill_process(Pid::from_child(&client), Signal::KILL).unwrap();
    client.wait().unwrap();
    let lent = inside("stat -c %a ~/.claude/.credentials.json; cat ~/.claude/.credentials.json");
    assert!(lent.stdout.starts_with("600\n") && lent.stdout.contains("lent-1234"), "{lent:?}");
    assert!(!lent.stdout.contains("renew-1234"), "{lent:?}");
    // nobody is there but the sandbox itself
    let gone = "touch ~/go; for i in $(seq 600); do [ -e ~/.claude/.credentials.json ] || exit 0; sleep 0.1; done; exit 1";
    inside(gone).exits(0);
    assert_eq!(std::fs::read_to_string(&here).unwrap(), login, "the login here is as it was");
    cx.run(["attach"]).exits(0);
}
