//! Edges of what may travel and come home: limits and switches, ignore files that change, names by another way.

use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};

use crate::support::between::{Act, Between};
use crate::support::context::{Ran, TestContext};
use crate::support::server::{KEY, TestServer};

/// The messages of the warnings with this code.
fn warned(ran: &Ran, code: &str) -> Vec<String> {
    let warnings = ran.of_type("warning").into_iter().filter(|e| e["code"] == code);
    warnings.map(|e| e["message"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn error(ran: &Ran, code: &str, words: &str) {
    let error = &ran.of_type("error")[0];
    assert_eq!(error["code"], code, "{}", ran.stdout);
    assert!(error["message"].as_str().unwrap().contains(words), "{}", ran.stdout);
}

#[test]
fn a_file_that_becomes_ignored_still_comes_home_and_new_ones_that_stay_are_named() {
    let cx = TestContext::new(&[
        ("a.log", "1\n"),
        ("b.log", "1\n"),
        ("c.log", "1\n"),
        (".gitignore", "old/\n"),
        ("sub/x", "1\n"),
    ]);
    let script = r#"
        printf 'old/\n*.log\nbuild/\n' >.gitignore; echo '*.tmp' >sub/.gitignore
        echo 2 >a.log; rm b.log; echo 1 >new.log; mkdir -p build/deep old; echo 1 >build/deep/x; echo 1 >old/x; echo 1 >sub/y.tmp"#;
    let ran = cx.agent(script, &["--json"]).exits(0);
    assert_eq!(cx.files(), [".gitignore", "a.log", "c.log", "sub/.gitignore", "sub/x"]);
    assert_eq!((cx.read("a.log"), cx.read("c.log")), ("2\n".into(), "1\n".into()));
    let told = warned(&ran, "sync.ignored");
    assert_eq!(told.len(), 1, "{}", ran.stdout);
    for name in ["`build/`", "`new.log`", "`sub/y.tmp`"] {
        assert!(told[0].contains(name), "no {name} in {told:?}");
    }
    assert!(!told[0].contains("old") && !told[0].contains("a.log"), "{told:?}");
    // It is told once, and what was agreed stays tracked on both sides.
    let ran = cx.agent("cat a.log new.log; echo 3 >a.log", &["--json"]).exits(0);
    assert_eq!(warned(&ran, "sync.ignored"), [""; 0]);
    assert_eq!(cx.read("a.log"), "3\n");
}

#[test]
fn a_link_that_leads_out_is_taken_when_that_is_allowed() {
    let cx = TestContext::new(&[("a", "1\n")]);
    symlink("/etc/hostname", cx.work().join("mine")).unwrap();
    cx.agent("true", &[]).exits(0);
    let links = "ln -s /etc/passwd out; ln -s .git/config inside";
    let ran = cx.agent(&format!("echo 2 >a; {links}"), &["--json"]).exits(81);
    error(&ran, "sync.conflict", "--allow-external-links");
    // What was the same before is no news; a way into the repository's own folder stays shut.
    let ran = cx.run(["pull", "--json", "--allow-external-links"]).exits(81);
    let conflicts = ran.of_type("conflict");
    assert_eq!(conflicts.len(), 1, "{}", ran.stdout);
    assert_eq!(conflicts[0]["path"], "inside");
    let all = ["pull", "--allow-external-links", "--on-conflict", "keep-both"];
    cx.run(all).exits(81);
    assert_eq!(cx.work().join("out").read_link().unwrap().to_str(), Some("/etc/passwd"));
    assert_eq!(cx.read("a"), "2\n");
    assert!(cx.work().join("inside").symlink_metadata().is_err());
    assert!(cx.work().join("mine").is_symlink());
}

#[test]
fn a_result_beyond_a_limit_is_refused_and_comes_home_once_that_is_raised() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let script = "echo 2 >a; echo 2 >b; head -c 3000000 /dev/zero >big";
    let limits = |more: &[&str]| -> Ran {
        let mut args = vec!["pull", "--json"];
        args.extend_from_slice(more);
        cx.run(args)
    };
    cx.agent(script, &["--no-apply"]).exits(0);
    for (flag, value) in
        [("--max-result-files", "2"), ("--max-result-file", "2M"), ("--max-result-size", "2M")]
    {
        let ran = limits(&[flag, value]).exits(65);
        error(&ran, "sync.too_large", flag);
        assert_eq!((cx.files(), cx.read("a")), (vec!["a".to_owned()], "1\n".into()), "{flag}");
    }
    limits(&["--max-result-files", "3", "--max-result-file", "3M", "--max-result-size", "3M"])
        .exits(0);
    assert_eq!(cx.files(), ["a", "b", "big"]);
}

#[test]
fn a_dry_run_makes_no_sandbox_and_a_dry_pull_changes_nothing() {
    let cx = TestContext::new(&[("a", "1\n"), ("b", "1\n")]);
    let ran = cx.agent("echo 2 >a", &["--dry-run", "--json"]).exits(0);
    assert!(ran.of_type("agent_output").is_empty(), "{}", ran.stdout);
    let sync = &ran.of_type("sync")[0];
    assert_eq!((&sync["direction"], &sync["files"]), (&"in".into(), &2.into()), "{}", ran.stdout);
    assert!(cx.run(["pull"]).exits(69).stderr.contains("no sandbox"));
    cx.agent("echo 2 >a; rm b; echo n >n", &["--no-apply"]).exits(0);
    let ran = cx.run(["pull", "--dry-run", "--json"]).exits(0);
    let mut told: Vec<_> = ran
        .of_type("file")
        .iter()
        .map(|e| format!("{} {}", e["op"].as_str().unwrap(), e["path"].as_str().unwrap()))
        .collect();
    told.sort();
    assert_eq!(told, ["add n", "delete b", "modify a"]);
    assert_eq!((cx.files(), cx.read("a")), (vec!["a".to_owned(), "b".into()], "1\n".into()));
    cx.run(["pull"]).exits(0);
    assert_eq!(cx.files(), ["a", "n"]);
}

#[test]
fn variables_of_git_that_a_caller_left_set_mislead_nobody() {
    let mut cx = TestContext::new(&[("a", "1\n")]);
    let other = cx.root().join("other");
    std::fs::create_dir(&other).unwrap();
    cx.git_in(&other, &["init", "-q"]);
    let plain = |cx: &TestContext| cx.git_in(&cx.root().join("project"), &["status", "--short"]);
    assert_eq!(plain(&cx), "");
    let set = [
        ("GIT_DIR", other.join(".git")),
        ("GIT_WORK_TREE", other.clone()),
        ("GIT_INDEX_FILE", other.join("index")),
        ("GIT_OBJECT_DIRECTORY", other.join("objects")),
        ("GIT_COMMON_DIR", other.join(".git")),
        ("GIT_NAMESPACE", "x".into()),
        ("GIT_LITERAL_PATHSPECS", "1".into()),
        ("GIT_CEILING_DIRECTORIES", cx.root().to_owned()),
        ("LC_ALL", "de_DE.UTF-8".into()),
    ];
    for (name, value) in &set {
        cx.set(name, value.to_str().unwrap());
    }
    cx.agent("cat a; echo 2 >a; echo n >n", &[]).exits(0);
    assert_eq!((cx.files(), cx.read("a")), (vec!["a".to_owned(), "n".into()], "2\n".into()));
    cx.run(["undo"]).exits(0);
    assert_eq!((cx.files(), cx.read("a")), (vec!["a".to_owned()], "1\n".into()));
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1, "only its own `.git`");
}

#[test]
fn what_runs_unasked_is_known_by_the_name_it_runs_under() {
    let cx = TestContext::new(&[("a", "1\n"), ("real/old", "1\n"), ("cfg/x", "1\n")]);
    // The hooks lie behind a link of the user's own, and so do an editor's tasks.
    symlink("real", cx.work().join("hooks")).unwrap();
    symlink("cfg", cx.work().join(".vscode")).unwrap();
    cx.git(&["config", "core.hooksPath", "hooks"]);
    let script =
        "echo x >real/pre-commit; echo x >cfg/tasks.json; ln -s cfg .cursor; echo x >cfg/y";
    let ran = cx.agent(script, &["--json"]).exits(81);
    let mut held: Vec<_> =
        ran.of_type("conflict").iter().map(|e| e["path"].as_str().unwrap().to_owned()).collect();
    held.sort();
    assert_eq!(held, [".cursor", "cfg/tasks.json", "real/pre-commit"], "{}", ran.stdout);
    assert!(ran.of_type("conflict").iter().all(|e| e["kind"] == "risky"));
    cx.run(["pull", "--allow-risky"]).exits(0);
    assert_eq!((cx.read("real/pre-commit"), cx.read("cfg/y")), ("x\n".into(), "x\n".into()));
}

#[test]
fn what_a_snapshot_hides_is_neither_sent_nor_deleted_over_there() {
    let cx = TestContext::new(&[("a", "1\n"), ("in/a", "1\n"), ("out/b", "1\n"), ("out/c", "1\n")]);
    cx.write("loose.log", "1\n");
    cx.write("secret", "1\n");
    cx.agent("ls out; echo 1 >made.log", &[]).exits(0);
    // Ignored since, edited since, and off the disk since.
    cx.write(".gitignore", "*.log\nsecret\n");
    cx.write("secret", "not for the sandbox\n");
    cx.git(&["sparse-checkout", "set", "in"]);
    assert!(!cx.work().join("out").exists());
    let script = "cat loose.log made.log secret out/b out/c in/a; echo 2 >in/a";
    let ran = cx.agent(script, &[]).exits(0);
    assert_eq!(ran.stdout, "1\n".repeat(6));
    assert_eq!(cx.read("secret"), "not for the sandbox\n");
    assert_eq!(cx.run(["diff"]).exits(0).stdout, "");
    // The agent's edits of them come home where nothing else was done here, and are conflicts otherwise.
    cx.agent("echo 2 >>loose.log; echo 2 >>made.log; rm out/c", &[]).exits(0);
    assert_eq!((cx.read("loose.log"), cx.read("made.log")), ("1\n2\n".into(), "1\n2\n".into()));
    let ran = cx.agent("echo theirs >secret; echo theirs >out/b; echo 2 >a", &["--json"]).exits(81);
    let mut paths: Vec<_> =
        ran.of_type("conflict").iter().map(|e| e["path"].as_str().unwrap().to_owned()).collect();
    paths.sort();
    assert_eq!(paths, ["out/b", "secret"], "{}", ran.stdout);
    cx.run(["pull", "--on-conflict", "theirs"]).exits(81);
    assert_eq!(cx.read("secret"), "not for the sandbox\n", "never written over");
    assert_eq!((cx.read("a"), cx.read("out/b")), ("2\n".into(), "theirs\n".into()));
}

#[test]
fn modes_that_this_disk_does_not_keep_are_kept_for_the_agent() {
    let cx = TestContext::new(&[("a", "1\n"), ("b", "1\n"), ("run", "1\n")]);
    cx.git(&["update-index", "--chmod=+x", "run"]);
    cx.git(&["config", "core.fileMode", "false"]);
    let script =
        "test -x run; chmod +x a; chmod -x run; echo 1 >tool; chmod +x tool; echo 2 >b; chmod +x b";
    cx.agent(script, &[]).exits(0);
    assert_eq!((cx.read("tool"), cx.read("b")), ("1\n".into(), "2\n".into()));
    cx.write("a", "2\n");
    cx.write("tool", "2\n");
    let ran = cx.agent("cat a tool; test -x a -a -x tool -a -x b -a ! -x run", &[]).exits(0);
    assert_eq!(ran.stdout, "2\n2\n");
    assert_eq!(cx.run(["diff"]).exits(0).stdout, "");
}

#[test]
fn little_travels_inside_the_call_that_applies_it_and_much_beside_it() {
    let mut cx = TestContext::new(&[("a", "1\n")]);
    let server = TestServer::start();
    let calls = Arc::<Mutex<Vec<String>>>::default();
    let seen = calls.clone();
    let between = Between::start(&server.addr, move |call| {
        seen.lock().unwrap().push(call.name.to_owned());
        Act::Pass
    });
    cx.set("DAYTONA_API_URL", &between.api_url());
    cx.set("DAYTONA_API_KEY", KEY);
    let sent = |script: &str| -> (usize, usize) {
        cx.run(["exec", "--history", "none", "--", "sh", "-c", script]).exits(0);
        let calls = std::mem::take(&mut *calls.lock().unwrap());
        let count = |what: &str| calls.iter().filter(|name| name.contains(what)).count();
        (count("/files/bulk-upload"), count("/files/download"))
    };
    assert_eq!(sent("cat a").0, 0, "a whole tree that is small");
    cx.write("a", "2\n");
    assert_eq!(sent("grep 2 a; echo 3 >a"), (0, 0), "an edit on each side");
    let mut noise = vec![0; 200_000];
    let mut source = std::fs::File::open("/dev/urandom").unwrap();
    std::io::Read::read_exact(&mut source, &mut noise).unwrap();
    std::fs::write(cx.work().join("noise"), noise).unwrap();
    assert_eq!(sent("head -c 200000 /dev/urandom >more"), (1, 1), "more than 64 KiB on each side");
    assert_eq!(cx.read("a"), "3\n");
    assert_eq!(cx.work().join("more").metadata().unwrap().len(), 200_000);
}
