//! Odd trees go there and come home byte for byte.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use base64::Engine as _;

use crate::support::context::{TestContext, write};

fn odd(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// Fills a worktree with what file systems allow and tools stumble over.
fn fill(cx: &TestContext) {
    let work = cx.work();
    for name in [
        &b"with space"[..],
        b"it's \"quoted\" $HOME `x`",
        b"new\nline",
        b"-leading-dash",
        b"--",
        b"tab\there",
        b"back\\slash",
        b"*?[glob]",
        b"latin-\xe9-\xff",
        b"deep \n/-er/\xfe/file",
        b"empty",
    ] {
        let content: &[u8] = if name == b"empty" { b"" } else { name };
        write(&work.join(odd(name)), content);
    }
    write(&work.join("binary"), &(0..=255).cycle().take(70_000).collect::<Vec<u8>>());
    write(&work.join("run.sh"), b"#!/bin/sh\n");
    std::fs::set_permissions(work.join("run.sh"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("nowhere/at all", work.join("dangling")).unwrap();
    symlink("/etc/hostname", work.join("absolute")).unwrap();
    symlink(odd(b"latin-\xe9-\xff"), work.join(odd(b"link-\xe9"))).unwrap();
    symlink("deep \n", work.join("to-folder")).unwrap();
}

#[test]
fn odd_names_modes_and_links_arrive_as_they_are_and_come_back_as_they_are() {
    let cx = TestContext::new(&[(".gitignore", ".env\n")]);
    cx.write(".env", "SECRET=1\n");
    fill(&cx);
    let before = cx.git(&["--literal-pathspecs", "status", "-uall", "-z"]);
    // The agent makes a second copy of everything; what comes home must be that copy, and nothing else.
    // New names with a backslash and new links to elsewhere are not taken from a sandbox, so these two only go there.
    let script = "[ ! -e .env ] && cat 'back\\slash' && readlink absolute && mkdir copy && \
        tar c --exclude=./.git --exclude=./copy --exclude=absolute --exclude='back*' . | tar x -C copy";
    let ran = cx.agent(script, &[]).exits(0);
    assert_eq!(ran.stdout, "back\\slash/etc/hostname\n");
    let diff = |a: &str, b: &str| {
        let out = std::process::Command::new("diff")
            .args(["-r", "--no-dereference", "--exclude=.git", "--exclude=copy", "--exclude=.env"])
            .args(["--exclude=absolute", "--exclude=back*", a, b])
            .current_dir(cx.work())
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    };
    diff(".", "copy");
    let mode = |name: &str| cx.work().join(name).metadata().unwrap().permissions().mode() & 0o111;
    assert_eq!((mode("copy/run.sh") & 0o100, mode("copy/binary")), (0o100, 0));
    std::fs::remove_dir_all(cx.work().join("copy")).unwrap();
    assert_eq!(cx.git(&["--literal-pathspecs", "status", "-uall", "-z"]), before);
    assert_eq!(cx.read(".env"), "SECRET=1\n");
}

#[test]
fn odd_names_are_edited_renamed_and_deleted_over_there() {
    let cx = TestContext::new(&[]);
    fill(&cx);
    let script = r#"
        echo more >>'with space'; rm -- -leading-dash; mv -- -- ++
        mv "$(printf 'new\nline')" "$(printf 'other\n\nline')"
        chmod -x run.sh; chmod +x empty; rm dangling absolute; ln -s elsewhere dangling
        for f in latin-*; do echo changed >"$f"; done
    "#;
    let ran = cx.agent(script, &["--json"]).exits(0);
    assert_eq!(cx.read("with space"), "with spacemore\n");
    assert_eq!(cx.read("++"), "--");
    assert_eq!(cx.read("other\n\nline"), "new\nline");
    assert_eq!(std::fs::read(cx.work().join(odd(b"latin-\xe9-\xff"))).unwrap(), b"changed\n");
    assert_eq!(cx.work().join("dangling").read_link().unwrap().to_str(), Some("elsewhere"));
    for gone in ["-leading-dash", "--", "new\nline", "absolute"] {
        assert!(cx.work().join(gone).symlink_metadata().is_err(), "{gone:?}");
    }
    let mode = |name: &str| cx.work().join(name).metadata().unwrap().permissions().mode() & 0o100;
    assert_eq!((mode("run.sh"), mode("empty")), (0, 0o100));
    // A name that is no text is told exactly, beside a readable form of it.
    let exact = base64::engine::general_purpose::STANDARD.encode(b"latin-\xe9-\xff");
    let told = ran.of_type("file").into_iter().find(|e| e["path_b64"] == *exact).expect("told");
    assert_eq!(told["op"], "modify");
}

#[test]
fn a_file_becomes_a_folder_and_a_folder_a_file_both_ways() {
    let cx = TestContext::new(&[("f", "file\n"), ("d/x", "x\n"), ("l", "link to be\n")]);
    cx.agent("rm -r f d l; mkdir f; echo in >f/in; echo now >d; ln -s f l", &[]).exits(0);
    assert_eq!((cx.read("f/in"), cx.read("d")), ("in\n".into(), "now\n".into()));
    assert_eq!(cx.work().join("l").read_link().unwrap().to_str(), Some("f"));
    // And there again, sent as a difference.
    std::fs::remove_dir_all(cx.work().join("f")).unwrap();
    std::fs::remove_file(cx.work().join("d")).unwrap();
    cx.write("f", "again\n");
    cx.write("d/x/y", "deeper\n");
    let ran = cx.agent("cat f d/x/y; test -L l", &[]).exits(0);
    assert_eq!(ran.stdout, "again\ndeeper\n");
}

#[test]
fn what_is_ignored_stays_untouched_even_if_the_agent_makes_the_same_name() {
    let cx = TestContext::new(&[(".gitignore", ".env\nbuild/\n")]);
    cx.write(".env", "mine\n");
    cx.write("build/out", "mine\n");
    cx.agent("echo theirs >.env; mkdir -p build; echo theirs >build/out; echo a >a", &[]).exits(0);
    assert_eq!(
        (cx.read(".env"), cx.read("build/out"), cx.read("a")),
        ("mine\n".into(), "mine\n".into(), "a\n".into())
    );
    // Not even when the agent takes the name off the list of ignored ones.
    let ran = cx.agent("echo >.gitignore; echo theirs >.env", &[]);
    assert_eq!(cx.read(".env"), "mine\n", "{}", ran.stderr);
    assert_eq!(ran.code, 81, "{}", ran.stderr);
}
