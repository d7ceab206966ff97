//! What an apply does when nothing disturbs it, and how it is taken back.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use sandbox_coder::worktree::apply::Plan;
use sandbox_coder::worktree::undo;

use super::ground::{Files, Ground, Node, f, files, p};

fn before() -> Files {
    files([
        ("same", f("same")),
        ("edit", f("old")),
        ("gone", f("gone")),
        ("dir/deep/gone", f("x")),
        ("to-exec", f("run")),
        ("from-exec", Node::Exec(b"run".to_vec())),
        ("to-link", f("file")),
        ("from-link", Node::Link(b"same".to_vec())),
        ("link", Node::Link(b"a".to_vec())),
        ("to-dir", f("file")),
        ("to-file/a", f("a")),
        ("to-file/b/c", f("c")),
    ])
}

fn after() -> Files {
    files([
        ("same", f("same")),
        ("edit", f("new\n")),
        ("new", f("")),
        ("a/b/c/new", Node::Exec(b"#!/bin/sh\n".to_vec())),
        ("to-exec", Node::Exec(b"run".to_vec())),
        ("from-exec", f("run")),
        ("to-link", Node::Link(b"same".to_vec())),
        ("from-link", f("a file now")),
        ("link", Node::Link(b"b".to_vec())),
        ("to-dir/x", f("x")),
        ("to-dir/y/z", f("z")),
        ("to-file", f("a file")),
        ("odd \n\u{1b}[2J -name", f("odd")),
    ])
}

#[test]
fn a_plan_becomes_files_and_back_again_and_forth() {
    let ground = Ground::with(&before());
    let applied = ground.apply(&ground.plan("r1", &before(), &after())).unwrap();
    assert_eq!(ground.files(), after());
    assert!(applied.late.is_empty() && applied.rescued.is_empty());
    assert_eq!(applied.changed.len(), ground.steps(&before(), &after()).len());
    assert!(!ground.path("dir").exists(), "emptied folders go");
    ground.assert_clean();

    ground.undo(None, "r2").unwrap();
    assert_eq!(ground.files(), before());
    assert!(!ground.path("a").exists());
    ground.undo(None, "r3").unwrap();
    assert_eq!(ground.files(), after(), "an undo can be undone");
    ground.undo(Some("r1"), "r4").unwrap();
    assert_eq!(ground.files(), before(), "the first run by its name");
    let runs = ground.in_site(undo::runs).unwrap();
    let names: Vec<_> = runs.iter().map(|r| (r.run.as_str(), r.undo_of.as_deref())).collect();
    assert_eq!(names, [("r4", Some("r1")), ("r3", Some("r2")), ("r2", Some("r1")), ("r1", None)]);
    ground.assert_clean();
}

#[test]
fn files_that_do_not_change_are_not_touched() {
    let ground = Ground::with(&before());
    let seen = |name: &str| {
        let m = ground.path(name).symlink_metadata().unwrap();
        (m.ino(), m.mtime(), m.mtime_nsec(), m.ctime_nsec())
    };
    let (same, index) = (seen("same"), seen(".git/index"));
    ground.apply(&ground.plan("r1", &before(), &after())).unwrap();
    assert_eq!((seen("same"), seen(".git/index")), (same, index));
}

#[test]
fn permission_bits_of_an_existing_file_stay() {
    let start = files([("private", f("1")), ("tool", f("1")), ("setuid", f("1"))]);
    let end = files([("private", f("2")), ("tool", Node::Exec(b"2".to_vec())), ("setuid", f("2"))]);
    let ground = Ground::with(&start);
    let set = |name: &str, bits| {
        std::fs::set_permissions(ground.path(name), std::fs::Permissions::from_mode(bits)).unwrap();
    };
    set("private", 0o600);
    set("tool", 0o640);
    set("setuid", 0o6644);
    ground.apply(&ground.plan("r1", &start, &end)).unwrap();
    let bits = |name: &str| ground.path(name).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(["private", "tool", "setuid"].map(bits), [0o600, 0o750, 0o644]);
}

#[test]
fn a_hard_link_elsewhere_keeps_its_bytes() {
    let (start, end) = (files([("a", f("old"))]), files([("a", f("new"))]));
    let ground = Ground::with(&start);
    std::fs::hard_link(ground.path("a"), ground.root().join("guard/other")).unwrap();
    ground.apply(&ground.plan("r1", &start, &end)).unwrap();
    assert_eq!(std::fs::read(ground.root().join("guard/other")).unwrap(), b"old");
}

#[test]
fn what_the_user_did_since_the_plan_stays() {
    let ground = Ground::with(&before());
    let plan = ground.plan("r1", &before(), &after());
    std::fs::write(ground.path("edit"), "typed meanwhile").unwrap();
    std::fs::write(ground.path("gone"), "still needed").unwrap();
    std::fs::write(ground.path("new"), "my own").unwrap();
    std::fs::write(ground.path("from-exec"), "run").unwrap();
    std::fs::remove_file(ground.path("to-exec")).unwrap();
    let applied = ground.apply(&plan).unwrap();
    let late: Vec<_> =
        applied.late.iter().map(|l| (l.step.path.to_string(), l.saved_to.is_some())).collect();
    assert_eq!(
        late,
        [("edit", true), ("gone", false), ("new", true), ("to-exec", true)]
            .map(|(a, b)| (a.to_owned(), b))
    );
    let now = ground.files();
    assert_eq!(now[&p("edit")], f("typed meanwhile"));
    assert_eq!(now[&p("gone")], f("still needed"));
    assert_eq!(now[&p("new")], f("my own"));
    assert_eq!(
        ground.asides("r1"),
        files([("edit", f("new\n")), ("new", f("")), ("to-exec", f("run"))])
    );
    assert_eq!(std::fs::read(ground.path(".sandbox-coder/conflicts/.gitignore")).unwrap(), b"*\n");
    ground.assert_clean();
}

#[test]
fn all_or_nothing_means_nothing() {
    let ground = Ground::with(&before());
    std::fs::write(ground.path("edit"), "typed meanwhile").unwrap();
    let mine = ground.files();
    let plan = Plan { all_or_nothing: true, ..ground.plan("r1", &before(), &after()) };
    let applied = ground.apply(&plan).unwrap();
    assert_eq!((applied.changed.len(), applied.late.len()), (0, 1));
    assert_eq!(ground.files(), mine);
    assert!(!ground.path(".sandbox-coder").exists());
    assert!(ground.in_site(undo::runs).unwrap().is_empty());
}

#[test]
fn undo_never_overwrites_later_edits() {
    let ground = Ground::with(&before());
    ground.apply(&ground.plan("r1", &before(), &after())).unwrap();
    std::fs::write(ground.path("edit"), "later").unwrap();
    std::fs::write(ground.path("to-dir/mine"), "later").unwrap();
    let undone = ground.undo(Some("r1"), "r2").unwrap();
    let late: Vec<_> = undone.late.iter().map(|l| l.step.path.to_string()).collect();
    assert_eq!(late, ["edit", "to-dir"]);
    let now = ground.files();
    assert_eq!(now[&p("edit")], f("later"));
    assert_eq!(now[&p("to-dir/mine")], f("later"));
    assert_eq!(now[&p("gone")], f("gone"));
    assert_eq!(ground.asides("r2"), files([("edit", f("old")), ("to-dir", f("file"))]));
}

#[test]
fn the_users_own_identical_edit_is_not_undone() {
    let (start, end) =
        (files([("a", f("1")), ("b", f("1"))]), files([("a", f("2")), ("b", f("2"))]));
    let ground = Ground::with(&start);
    let plan = ground.plan("r1", &start, &end);
    std::fs::write(ground.path("a"), "2").unwrap();
    assert_eq!(ground.apply(&plan).unwrap().already, [p("a")]);
    ground.undo(None, "r2").unwrap();
    assert_eq!(ground.files(), files([("a", f("2")), ("b", f("1"))]));
}

#[test]
fn versions_are_put_aside_as_plain_files() {
    let ground = Ground::with(&before());
    let link = ground.store.entry(&Node::Link(b"/etc/passwd".to_vec()));
    let tool = ground.store.entry(&Node::Exec(b"tool".to_vec()));
    let long = p("x".repeat(255));
    let asides = vec![(p("dir/link"), link), (p("tool"), tool), (long, tool)];
    let plan = Plan { run: "r1".into(), asides, ..Plan::default() };
    let applied = ground.apply(&plan).unwrap();
    let kept = ground.asides("r1");
    assert_eq!(kept.len(), 3);
    assert_eq!(kept[&p("dir/link")], f("/etc/passwd"));
    assert_eq!(kept[&p("tool")], f("tool"), "nothing put aside may be run");
    assert_eq!(applied.asides[0].1, p(".sandbox-coder/conflicts/r1/dir/link"));
    assert_eq!(ground.files(), before());
}

#[test]
fn a_runs_name_is_used_once_and_is_a_plain_word() {
    let ground = Ground::with(&before());
    ground.apply(&ground.plan("r1", &before(), &after())).unwrap();
    for bad in ["r1", "", "../x", "a/b", "a b", &"x".repeat(65)] {
        assert!(ground.apply(&ground.plan(bad, &after(), &before())).is_err(), "{bad}");
        assert!(ground.undo(Some("../journal/r1"), "r9").is_err());
    }
    assert_eq!(ground.files(), after());
    assert!(ground.undo(Some("unknown"), "r9").is_err());
}
