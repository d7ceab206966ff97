//! Whoever reads what a run says: at once, later, or never.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::context::TestContext;
use crate::support::running::{Running, agent, long_enough};

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
