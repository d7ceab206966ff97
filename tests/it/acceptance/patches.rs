//! What a result looks like before it is taken: on a terminal, to a program, as a patch; and the way back.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use rustix::pty::OpenptFlags;

use crate::support::context::TestContext;

const ODD: &str = "odd \t\"name\" -\u{e9}";

/// A worktree with one file of each kind, and a sandbox in which all of them are something else.
fn changed() -> TestContext {
    let cx = TestContext::new(&[
        ("text", "1\n2\n3\n"),
        ("tool", "#!/bin/sh\n"),
        ("moved/from", "the same words\nin another place\n"),
        ("-dash", "1\n"),
        (ODD, "1\n"),
        ("gone", "gone\n"),
        ("kind", "a file\n"),
        ("no-newline", "x"),
    ]);
    std::fs::write(cx.work().join("binary"), (0..=255).collect::<Vec<u8>>()).unwrap();
    symlink("text", cx.work().join("link")).unwrap();
    cx.git(&["add", "-A"]);
    cx.git(&["commit", "-qm", "all kinds"]);
    let script = r#"printf '1\r\ntwo\n3' >text; chmod +x tool; mkdir to; mv moved/from to/here; echo 2 >./-dash
        for f in odd*; do echo 2 >"$f"; done; rm gone kind; ln -s nowhere kind; printf 'x\n' >no-newline
        printf '\000\377\200 new' >binary; ln -sf tool link; printf new >"$(printf 'bytes\377\nname')""#;
    cx.agent(script, &["--no-apply", "--patch", "../patch"]).exits(0);
    cx
}

/// Every path below a folder with its kind, executable bit and bytes.
fn listing(top: &std::path::Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut todo = vec![top.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(top).unwrap().as_os_str().as_bytes().to_vec();
            match () {
                () if name == b".git" => {}
                () if meta.is_dir() => todo.push(path),
                () if meta.is_symlink() => {
                    let target = std::fs::read_link(&path).unwrap();
                    found.push((name, [b"link ", target.as_os_str().as_bytes()].concat()));
                }
                () => {
                    let kind: &[u8] =
                        if meta.permissions().mode() & 0o100 != 0 { b"exec " } else { b"file " };
                    found.push((name, [kind, &std::fs::read(&path).unwrap()].concat()));
                }
            }
        }
    }
    found.sort();
    found
}

#[test]
fn git_apply_makes_of_the_patch_what_pull_makes_of_the_sandbox() {
    let cx = changed();
    let before = listing(&cx.work());
    let copy = cx.root().join("copy");
    cx.git_in(
        &cx.root().join("project"),
        &["worktree", "add", "-q", "--detach", copy.to_str().unwrap(), "work"],
    );
    cx.git_in(&copy, &["apply", "--whitespace=nowarn", "../patch"]);
    cx.run(["pull"]).exits(0);
    let after = listing(&cx.work());
    assert_eq!(listing(&copy), after);
    let has = |name: &[u8]| after.iter().find(|(n, _)| n == name).map(|(_, bytes)| bytes.clone());
    assert_eq!(has(b"kind").unwrap(), b"link nowhere");
    assert_eq!(has(b"tool").unwrap(), b"exec #!/bin/sh\n");
    assert_eq!(has(b"bytes\xff\nname").unwrap(), b"file new");
    assert!(has(b"gone").is_none() && has(b"moved/from").is_none() && has(b"to/here").is_some());
    // There, back, there and back: an undo is a run like any other.
    for wanted in [&before, &after, &before] {
        cx.run(["undo"]).exits(0);
        assert_eq!(&listing(&cx.work()), wanted);
    }
}

#[test]
fn a_patch_holds_what_does_not_clash_and_the_exit_tells_of_the_rest() {
    let cx = TestContext::new(&[("both", "base\n"), ("clean", "base\n")]);
    let script = "echo theirs >both; echo theirs >clean; ln -s /etc/passwd outside";
    let ran = cx.agent(script, &["--no-apply", "--patch", "../patch"]).exits(81);
    assert!(ran.stderr.contains("1 path in conflict; the patch holds the rest"), "{}", ran.stderr);
    let patch = || std::fs::read_to_string(cx.work().join("../patch")).unwrap();
    assert!(patch().contains("a/clean") && patch().contains("a/both"), "{}", patch());
    assert!(!patch().contains("outside"), "{}", patch());
    cx.write("both", "mine\n");
    let ran = cx.run(["pull", "--patch", "../patch"]).exits(81);
    let words = "2 paths in conflict; nothing was applied, the patch holds the rest";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    assert!(patch().contains("a/clean") && !patch().contains("a/both"), "{}", patch());
    assert_eq!((cx.read("both"), cx.read("clean")), ("mine\n".into(), "base\n".into()));
    cx.git(&["apply", "../patch"]);
    assert_eq!((cx.read("both"), cx.read("clean")), ("mine\n".into(), "theirs\n".into()));
    let marked = ["pull", "--on-conflict", "merge", "--no-apply", "--patch", "../patch"];
    cx.run(marked).exits(81);
    assert!(patch().contains("+<<<<<<<") && patch().contains("+theirs"), "{}", patch());
    // Everything deleted is more than a patch says unasked.
    let cx = TestContext::new(&[("a", "1\n"), ("b", "1\n")]);
    let ran = cx.agent("rm a b", &["--no-apply", "--patch", "../patch"]).exits(81);
    assert!(ran.stderr.contains("nothing of it is in the patch"), "{}", ran.stderr);
}

#[test]
fn a_difference_shows_also_what_a_pull_would_hold_back() {
    let cx = TestContext::new(&[("both", "base\n"), ("clean", "base\n"), (".vscode/x", "1\n")]);
    let script =
        "echo theirs >both; echo theirs >clean; echo '{}' >.vscode/tasks.json; ln -s /etc outside";
    cx.agent(script, &["--no-apply"]).exits(0);
    cx.write("both", "mine\n");
    let ran = cx.run(["diff"]).exits(0);
    for words in ["-mine\n+theirs", "+{}", "+/etc", "b/clean"] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    for words in ["both (text)", "outside (external_link", ".vscode/tasks.json (risky"] {
        assert!(ran.stderr.contains(&format!("[sandbox:conflict] {words}")), "{}", ran.stderr);
    }
    let json = cx.run(["diff", "--json"]).exits(0).stdout;
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let told = |list: &str, what: &str| -> Vec<[String; 2]> {
        let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
        let all = value[list].as_array().unwrap().iter();
        all.map(|event| [text(&event["path"]), text(&event[what])]).collect()
    };
    let pairs =
        |pairs: &[[&str; 2]]| pairs.iter().map(|p| p.map(str::to_owned)).collect::<Vec<_>>();
    let files = [
        [".vscode/tasks.json", "add"],
        ["both", "modify"],
        ["clean", "modify"],
        ["outside", "add"],
    ];
    assert_eq!(told("files", "op"), pairs(&files));
    let clashes = [[".vscode/tasks.json", "risky"], ["both", "text"], ["outside", "external_link"]];
    assert_eq!(told("conflicts", "kind"), pairs(&clashes));
    // Too much gone to be taken unasked is what one wants to look at.
    let cx = TestContext::new(&[("a", "1\n"), ("b", "1\n")]);
    cx.agent("rm a b", &[]).exits(81);
    assert_eq!(cx.run(["diff"]).exits(0).stdout.matches("\n+++ /dev/null").count(), 2);
}

#[test]
fn a_patch_that_cannot_be_written_changes_nothing() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let run = cx.agent("echo 2 >a", &["--json", "--patch", "no/such/folder/patch"]).exits(74);
    assert_eq!(run.of_type("error")[0]["code"], "host.io");
    assert_eq!(cx.read("a"), "1\n");
    cx.run(["pull"]).exits(0);
    assert_eq!(cx.read("a"), "2\n");
}

#[test]
fn a_difference_has_colours_on_a_terminal_and_nowhere_else() {
    let cx = changed();
    let plain = cx.run(["diff"]).exits(0).stdout;
    assert!(plain.contains("\n+two\n") && !plain.contains('\u{1b}'), "{plain}");
    assert!(plain.contains("Binary files"), "{plain}");
    let json = cx.run(["diff", "--json"]).exits(0).stdout;
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(value["diff"].as_str().unwrap().contains("\n+two\n"), "{json}");
    let shown = on_a_terminal(&cx, &[]);
    assert!(shown.contains("\u{1b}[32m") && shown.contains("two"), "{shown}");
    let shown = on_a_terminal(&cx, &[("NO_COLOR", "1")]);
    assert!(!shown.contains("\u{1b}[32m") && shown.contains("+two"), "{shown}");
}

fn on_a_terminal(cx: &TestContext, variables: &[(&str, &str)]) -> String {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let open = || std::fs::File::options().read(true).write(true).open(name.to_str().unwrap());
    let terminal = open().unwrap();
    let reader = std::thread::spawn(move || {
        // Ends with an error once nobody has the other side open.
        let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = std::fs::File::from(master.try_clone().unwrap()).read(&mut chunk) {
            seen.extend_from_slice(&chunk[..n]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    });
    let mut command = cx.command(["diff"]);
    command.envs(variables.iter().copied()).env("TERM", "xterm").stdout(Stdio::from(terminal));
    let done = command.stderr(Stdio::null()).status().unwrap();
    drop(command);
    assert!(done.success());
    reader.join().unwrap()
}
