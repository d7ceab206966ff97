//! What both sides agreed on, and every way in which they may cease to: the real binary, one worktree, one sandbox.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use crate::support::context::{Ran, TestContext};

/// A worktree whose content is in no commit, with a sandbox that has it.
fn agreed() -> TestContext {
    let cx = TestContext::new(&[("a", "1\n"), ("b", "1\n")]);
    cx.write("uncommitted", "1\n");
    cx.agent("true", &[]).exits(0);
    cx
}

/// Something happens in the sandbox that no run of ours knows of.
#[track_caller]
fn over_there(cx: &TestContext, script: &str) -> Ran {
    let script = format!("cd ~/workspace && {script}");
    cx.run(["exec", "--no-sync", "--", "sh", "-c", &script]).exits(0)
}

/// The private repository.
fn private(cx: &TestContext) -> PathBuf {
    let common = PathBuf::from(cx.git(&["rev-parse", "--git-common-dir"]).trim_end());
    let mut all = std::fs::read_dir(common.join("sandbox-coder")).unwrap().flatten();
    let is_repository = |path: &PathBuf| path.extension().is_some_and(|e| e == "git");
    all.find_map(|e| Some(e.path()).filter(is_repository)).unwrap()
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let mut cp = std::process::Command::new("cp");
    assert!(cp.arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// What lies aside for a path that clashed.
fn aside(cx: &TestContext, name: &str) -> Option<String> {
    let tail = format!("/{name}");
    let mut files = cx.files().into_iter().filter(|f| f.starts_with(".sandbox-coder/conflicts/"));
    files.find(|f| f.ends_with(&tail)).map(|f| cx.read(&f))
}

#[track_caller]
fn says(ran: &Ran, words: &str) {
    assert!(ran.stderr.contains(words), "no `{words}` in:\n{}", ran.stderr);
}

#[test]
fn a_killed_command_is_gone_on_with() {
    let cx = agreed();
    let script =
        "echo 2 >a; echo started; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo late >new";
    let mut run = cx
        .command(["run", "--agent-command", script, "do it"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(run.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "started"));
    run.kill().unwrap();
    run.wait().unwrap();
    over_there(&cx, "touch /tmp/go");
    cx.run(["attach"]).exits(0);
    assert_eq!((cx.read("a"), cx.read("new")), ("2\n".into(), "late\n".into()));
    cx.agent("cat a new", &[]).exits(0);
}

#[test]
fn a_sandbox_made_anew_gets_the_whole_tree() {
    let cx = agreed();
    cx.run(["rm", "--force"]).exits(0);
    let ran = cx.agent("cat a uncommitted >both", &["--json"]).exits(0);
    assert_eq!(ran.of_type("sync")[0]["full"], true, "{}", ran.stdout);
    assert_eq!(cx.read("both"), "1\n1\n");
}

#[test]
fn a_sandbox_that_lost_its_state_gets_the_whole_tree_and_keeps_what_it_held() {
    let cx = agreed();
    over_there(&cx, "echo theirs >made; rm -rf ~/.sandbox-coder/sync");
    let ran = cx.agent("cat a", &[]).exits(0);
    says(&ran, "workspace.before-");
    let kept = over_there(&cx, "cat ~/workspace.before-*/made");
    assert_eq!(kept.stdout, "theirs\n");
}

#[test]
fn a_lost_or_old_ref_is_replaced_by_what_the_sandbox_names_if_that_is_known() {
    let cx = agreed();
    let refs = private(&cx).join("refs/base");
    let name = std::fs::read_dir(&refs).unwrap().next().unwrap().unwrap().path();
    let old = std::fs::read(&name).unwrap();
    cx.agent("echo 2 >a", &[]).exits(0);
    std::fs::write(&name, old).unwrap();
    let ran = cx.agent("echo 3 >b", &["--json"]).exits(0);
    assert_eq!(ran.of_type("sync")[0]["full"], false, "{}", ran.stdout);
    std::fs::remove_dir_all(&refs).unwrap();
    over_there(&cx, "echo theirs >n");
    cx.write("uncommitted", "2\n");
    let ran = cx.agent("cat uncommitted", &[]).exits(0);
    assert!(ran.stdout.contains('2'), "{}", ran.stderr);
    let read = ["a", "b", "n", "uncommitted"].map(|name| cx.read(name));
    assert_eq!(read, ["2\n", "3\n", "theirs\n", "2\n"]);
}

/// Lets another host go on with the sandbox: this worktree's twin, the same git directory with a memory of its own.
/// Afterwards this host remembers what it did before, and its files are as they were.
fn elsewhere(cx: &TestContext, script: &str) {
    let (mine, first) = (private(cx), cx.root().join("first.git"));
    copy(&mine, &first);
    let before: Vec<_> = cx.files().into_iter().map(|name| (cx.read(&name), name)).collect();
    cx.agent(script, &[]).exits(0);
    std::fs::remove_dir_all(&mine).unwrap();
    std::fs::rename(&first, &mine).unwrap();
    for name in cx.files() {
        std::fs::remove_file(cx.work().join(name)).unwrap();
    }
    for (text, name) in before {
        cx.write(&name, &text);
    }
}

#[test]
fn what_only_the_sandbox_knows_is_a_conflict_and_never_written_over() {
    let cx = agreed();
    over_there(&cx, "echo theirs >a; echo theirs >n; rm b");
    cx.write("a", "ours\n");
    cx.write("local", "ours\n");
    std::fs::remove_dir_all(private(&cx)).unwrap();
    let before = cx.files();
    // Held back first, whoever finds it, then both kept.
    for args in [&["pull"][..], &["run", "--agent-command", "true", "x"]] {
        says(&cx.run(args).exits(81), "is held against nothing");
        assert_eq!((cx.files(), cx.read("a")), (before.clone(), "ours\n".into()));
        assert_eq!(over_there(&cx, "cat a n").stdout, "theirs\ntheirs\n");
    }
    cx.run(["pull", "--on-conflict", "keep-both"]).exits(81);
    assert_eq!((cx.read("a"), cx.read("n")), ("ours\n".into(), "theirs\n".into()));
    assert_eq!(aside(&cx, "a").as_deref(), Some("theirs\n"));
    // From here on both sides agree again.
    let ran = cx.agent("cat a b n local", &["--json"]).exits(0);
    assert_eq!(ran.of_type("sync").last().unwrap()["full"], false, "{}", ran.stdout);
    assert_eq!(over_there(&cx, "cat a b n local").stdout, "ours\n1\ntheirs\nours\n");
    assert_eq!(cx.read("b"), "1\n");
}

#[test]
fn what_happened_elsewhere_is_merged_with_what_happened_here() {
    let cx = agreed();
    cx.write("text", "1\n2\n3\n4\n5\n");
    cx.agent("true", &[]).exits(0);
    elsewhere(&cx, "echo second >a; echo second >n; rm uncommitted; sed -i s/1/one/ text");
    cx.write("b", "first\n");
    cx.write("text", "1\n2\n3\n4\nfive\n");
    over_there(&cx, "echo unfetched >m");
    let shown = cx.run(["diff"]).exits(0).stdout;
    for line in ["+second", "+unfetched", "+one", "deleted file mode"] {
        assert!(shown.contains(line), "no `{line}` in:\n{shown}");
    }
    assert!(!shown.contains("first"), "{shown}");
    let ran = cx.agent("cat a b m n text", &[]).exits(0);
    says(&ran, "used from elsewhere");
    let all = ["second\n", "first\n", "unfetched\n", "second\n", "one\n2\n3\n4\nfive\n"];
    assert_eq!(["a", "b", "m", "n", "text"].map(|name| cx.read(name)), all);
    assert!(!cx.files().contains(&"uncommitted".to_owned()), "{:?}", cx.files());
    assert_eq!(over_there(&cx, "cat a b m n text").stdout, all.concat());
    let ran = cx.run(["pull"]).exits(0);
    assert!(!ran.stderr.contains("elsewhere"), "{}", ran.stderr);
}

#[test]
fn what_clashes_with_work_from_elsewhere_is_held_until_somebody_decides() {
    let cx = agreed();
    elsewhere(&cx, "echo second >a; echo second >n");
    cx.write("a", "first\n");
    let before = cx.files();
    for _ in 0..2 {
        says(&cx.agent("true", &[]).exits(81), "what was last agreed with it here");
        assert_eq!((cx.files(), cx.read("a")), (before.clone(), "first\n".into()));
        assert_eq!(over_there(&cx, "cat a n").stdout, "second\nsecond\n");
    }
    cx.run(["pull", "--on-conflict", "keep-both"]).exits(81);
    assert_eq!((cx.read("a"), cx.read("n")), ("first\n".into(), "second\n".into()));
    assert_eq!(aside(&cx, "a").as_deref(), Some("second\n"));
    cx.agent("cat a n", &[]).exits(0);
    assert_eq!(over_there(&cx, "cat a n").stdout, "first\nsecond\n");
}

#[test]
fn work_that_nobody_fetched_comes_home_before_anything_goes_over() {
    let cx = agreed();
    over_there(&cx, "echo theirs >n; echo theirs >b");
    cx.write("a", "ours\n");
    let ran = cx.agent("cat a b n", &["--json"]).exits(0);
    let directions: Vec<_> = ran.of_type("sync").iter().map(|e| e["direction"].clone()).collect();
    assert_eq!(directions[..2], ["out", "in"], "{}", ran.stdout);
    let read = ["a", "b", "n"].map(|name| cx.read(name));
    assert_eq!(read, ["ours\n", "theirs\n", "theirs\n"]);
    // Where it clashes nothing goes over at all.
    over_there(&cx, "echo theirs >a");
    cx.write("a", "mine\n");
    cx.agent("echo started", &[]).exits(81);
    assert_eq!(
        (cx.read("a"), over_there(&cx, "cat a").stdout),
        ("mine\n".into(), "theirs\n".into())
    );
}

#[test]
fn a_push_that_was_cut_short_is_finished_before_newer_edits_go_over() {
    let cx = agreed();
    let from = over_there(&cx, "cat ~/.sandbox-coder/sync/base").stdout;
    cx.write("a", "2\n");
    cx.agent("true", &[]).exits(0);
    let to = over_there(&cx, "cat ~/.sandbox-coder/sync/base").stdout;
    over_there(&cx, &format!("printf '{from} {to}' >~/.sandbox-coder/sync/txn"));
    cx.write("a", "3\n");
    assert_eq!(cx.agent("cat a; echo 4 >b", &[]).exits(0).stdout, "3\n");
    assert_eq!((cx.read("a"), cx.read("b")), ("3\n".into(), "4\n".into()));
}

#[test]
fn a_push_that_a_lost_host_left_half_done_has_a_way_out() {
    let cx = agreed();
    over_there(&cx, "echo theirs >n; echo half >b");
    let torn = format!("{0} {1}", "1".repeat(40), "2".repeat(40));
    over_there(&cx, &format!("printf '{torn}' >~/.sandbox-coder/sync/txn"));
    says(&cx.agent("true", &[]).exits(81), "--force-resync");
    says(&cx.run(["pull"]).exits(83), "--force-resync");
    cx.run(["pull", "--force-resync", "--on-conflict", "keep-both"]).exits(81);
    assert_eq!((cx.read("b"), cx.read("n")), ("1\n".into(), "theirs\n".into()));
    assert_eq!(aside(&cx, "b").as_deref(), Some("half\n"));
    cx.agent("cat a b n uncommitted", &[]).exits(0);
    assert_eq!(over_there(&cx, "cat a b n uncommitted").stdout, "1\n1\ntheirs\n1\n");
}
