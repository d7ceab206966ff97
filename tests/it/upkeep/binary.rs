//! The upkeep as a user meets it: not at all, but for the room it gives.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::count_loose;
use crate::support::context::TestContext;

/// The private repository of the only worktree that was worked in.
fn private(cx: &TestContext) -> PathBuf {
    let home = cx.root().join("project/.git/sandbox-coder");
    let dirs = std::fs::read_dir(home).unwrap().flatten().map(|entry| entry.path());
    let mut dirs = dirs.filter(|dir| dir.extension().is_some_and(|e| e == "git"));
    (dirs.next().unwrap(), assert!(dirs.next().is_none())).0
}

fn days_ago(path: &Path, days: u64) {
    let at = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
    std::fs::File::open(path).unwrap().set_modified(at).unwrap();
}

fn status(cx: &TestContext) -> Value {
    serde_json::from_str(&cx.run(["status", "--json"]).exits(0).stdout).unwrap()
}

/// A worktree after its first run, with an upkeep that is due and something for it to do.
fn due() -> (TestContext, PathBuf) {
    let cx = TestContext::new(&[("a.txt", "1\n"), ("b.txt", "1\n")]);
    cx.agent("echo 2 >a.txt", &[]).exits(0);
    let private = private(&cx);
    let note = private.join("upkeep");
    assert!(note.exists(), "the first run begins to count");
    assert_eq!(private.join("refs/held").read_dir().unwrap().count(), 0, "all is agreed");
    assert!(!private.join("refs/undo/never").exists());
    // What a kill leaves.
    std::fs::write(private.join("refs/undo/never"), format!("{}\n", "1".repeat(40))).unwrap();
    days_ago(&note, 2);
    (cx, private)
}

#[test]
fn now_and_then_a_run_tidies_up_after_its_report() {
    let (cx, private) = due();
    let ran = cx.agent("echo 3 >a.txt", &["--json"]).exits(0);
    assert_eq!(ran.events().last().unwrap()["type"], "done");
    assert!(!private.join("refs/undo/never").exists());
    assert!(private.join("refs/undo").read_dir().unwrap().count() >= 2);
    // Not again before the next day.
    std::fs::write(private.join("refs/undo/never"), "").unwrap();
    cx.agent("echo 4 >a.txt", &[]).exits(0);
    assert!(private.join("refs/undo/never").exists());
    for (content, state) in [("3\n", 0), ("2\n", 0), ("1\n", 0)].iter().zip(0..) {
        let runs = status(&cx)["runs"].clone();
        let run = runs[state]["id"].as_str().unwrap();
        cx.run(["undo", run]).exits(content.1);
        assert_eq!(cx.read("a.txt"), content.0);
    }
}

#[test]
fn an_upkeep_that_cannot_work_changes_no_exit_code() {
    let (cx, private) = due();
    // A journal that nobody can read stops it before anything goes.
    std::fs::write(private.join("sandbox-coder/journal/x.done"), "damaged").unwrap();
    cx.agent("echo 3 >a.txt", &[]).exits(0);
    assert!(private.join("refs/undo/never").exists());
    days_ago(&private.join("upkeep"), 2);
    assert_eq!(cx.agent("exit 7", &[]).code, 1);
}

#[test]
fn a_sandbox_that_was_removed_leaves_no_base() {
    let (cx, private) = due();
    let sandbox = status(&cx)["sandbox"]["id"].as_str().unwrap().to_owned();
    let base = private.join("refs/base").join(&sandbox);
    assert!(base.exists());
    cx.run(["rm"]).exits(0);
    cx.agent("echo 3 >a.txt", &[]).exits(0);
    assert!(!base.exists(), "it is gone for sure");
    let other = status(&cx)["sandbox"]["id"].as_str().unwrap().to_owned();
    assert!(private.join("refs/base").join(other).exists());
    assert_eq!(cx.read("a.txt"), "3\n");
}

#[test]
fn a_sandbox_that_is_not_found_may_be_found_again() {
    let (cx, private) = due();
    let sandbox = status(&cx)["sandbox"]["id"].as_str().unwrap().to_owned();
    // Somebody else deletes it: from here it is only not found.
    let mut elsewhere = cx.command(["rm", "--force", &sandbox]);
    let out = elsewhere.current_dir(cx.root()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    cx.agent("echo 3 >a.txt", &[]).exits(0);
    let (base, note) = (
        private.join("refs/base").join(&sandbox),
        private.join("sandbox-coder/gone").join(&sandbox),
    );
    assert!(base.exists() && note.exists());
    days_ago(&note, 31);
    days_ago(&private.join("upkeep"), 2);
    cx.agent("echo 4 >a.txt", &[]).exits(0);
    assert!(!base.exists() && !note.exists());
}

#[test]
fn what_is_kept_is_told_and_what_is_gone_is_named() {
    let (cx, private) = due();
    let told = status(&cx);
    assert!(told["kept_bytes"].as_u64().unwrap() > 1000, "{told}");
    assert_eq!(told["left_over"], serde_json::json!([]));
    assert!(cx.run(["status"]).exits(0).stdout.contains("\nkept      "));
    std::fs::write(private.join("sandbox-coder/journal/forgotten"), "0123456789ab\n").unwrap();
    let refused = cx.run(["undo", "012345"]).exits(2);
    assert!(refused.stderr.contains("run `0123456789ab` cannot be undone any more"), "{refused:?}");
    // Its worktree goes, and the sandbox still holds work.
    cx.agent("echo 3 >a.txt", &["--no-apply"]).exits(0);
    let sandbox = status(&cx)["sandbox"]["id"].as_str().unwrap().to_owned();
    let main = cx.root().join("project");
    cx.git_in(&main, &["worktree", "remove", "--force", cx.work().to_str().unwrap()]);
    let doctor = cx.command(["doctor"]).current_dir(&main).output().unwrap();
    let told = String::from_utf8_lossy(&doctor.stdout);
    let line = told.lines().find(|line| line.contains("kept in .git"));
    assert!(line.is_none(), "nothing was worked on here yet: {line:?}");
    let mut here = cx.command(["exec", "--", "true"]);
    here.current_dir(&main).stdin(Stdio::null());
    assert!(here.status().unwrap().success());
    let asked = |what: &str| {
        let out = cx.command([what]).current_dir(&main).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let name = private.file_name().unwrap().to_string_lossy().into_owned();
    for what in ["doctor", "status"] {
        assert!(asked(what).contains(&name), "{what}: {}", asked(what));
    }
    for words in [&["rm", "--force"][..], &["rm", "--force", &sandbox]] {
        assert!(cx.command(words).current_dir(&main).status().unwrap().success(), "{words:?}");
    }
}

#[test]
fn many_objects_are_packed_without_waiting_for_the_next_day() {
    let (cx, private) = due();
    let objects = git2::Repository::open_bare(&private).unwrap();
    for n in 0..3000 {
        objects.blob(format!("{n}").as_bytes()).unwrap();
    }
    let hours_ago = SystemTime::now() - Duration::from_secs(2 * 3600);
    let note = std::fs::File::open(private.join("upkeep")).unwrap();
    note.set_modified(hours_ago).unwrap();
    cx.agent("echo 3 >a.txt", &[]).exits(0);
    // Nothing leads to most of them, and they are young: only the needed ones are packed.
    assert!(!private.join("refs/undo/never").exists());
    assert!(count_loose(&private) >= 2500);
    assert_eq!(private.join("objects/pack").read_dir().unwrap().count(), 2);
    cx.run(["undo"]).exits(0);
    assert_eq!(cx.read("a.txt"), "2\n");
}
