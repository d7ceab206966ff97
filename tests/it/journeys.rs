//! The main job, told as a user would tell it.

use crate::support::context::TestContext;

#[test]
fn a_change_an_addition_a_rename_and_a_deletion_come_home() {
    let cx = TestContext::new(&[
        ("edit.txt", "old\n"),
        ("move.txt", "m\n"),
        ("gone.txt", "g\n"),
        (".gitignore", ".env\n"),
    ]);
    cx.write(".env", "SECRET=1\n");
    let script = "[ ! -e .env ] && echo new >edit.txt && mv move.txt moved.txt && rm gone.txt && mkdir d && echo n >d/added.txt && echo done";
    let ran = cx.agent(script, &[]).exits(0);
    assert!(ran.stdout.contains("done"), "{}", ran.stdout);
    assert_eq!(cx.files(), [".env", ".gitignore", "d/added.txt", "edit.txt", "moved.txt"]);
    assert_eq!((cx.read("edit.txt"), cx.read(".env")), ("new\n".into(), "SECRET=1\n".into()));
    assert!(
        ran.stderr.contains("[sandbox:done] files_changed=3 files_deleted=2 exit=0"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_dry_run_tells_what_would_travel_and_nothing_does() {
    let cx = TestContext::new(&[("a", "1\n"), ("b", "1\n")]);
    let told = |files: u64, deleted: u64, full: bool| {
        let sync = cx.agent("touch ran", &["--dry-run", "--json"]).exits(0).of_type("sync");
        let plan = &sync[0];
        assert_eq!((sync.len(), &plan["planned"]), (1, &true.into()), "{sync:?}");
        let seen = (&plan["files"], &plan["deleted"], &plan["full"]);
        assert_eq!(seen, (&files.into(), &deleted.into(), &full.into()));
    };
    told(2, 0, true);
    let ran = cx.agent("touch ran", &["--dry-run"]).exits(0);
    let words = "[sandbox:plan] would send the whole tree, 2 files, 0 deletions, ";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    let status = cx.run(["status", "--json"]).exits(0).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        (&status["sandbox"], &status["runs"]),
        (&serde_json::Value::Null, &serde_json::json!([]))
    );
    let real = cx.agent("true", &["--json"]).exits(0);
    assert!(real.of_type("sync").iter().all(|sync| sync.get("planned").is_none()));
    cx.write("a", "2\n");
    std::fs::remove_file(cx.work().join("b")).unwrap();
    told(1, 1, false);
    assert_eq!(cx.files(), ["a"]);
}

#[test]
fn the_agent_gets_the_prompt_on_stdin_and_in_a_file() {
    let cx = TestContext::new(&[]);
    let ran = cx.agent("cat >in.txt; cp \"$SANDBOX_CODER_PROMPT_FILE\" file.txt", &[]).exits(0);
    assert_eq!(
        (cx.read("in.txt"), cx.read("file.txt")),
        ("do it".into(), "do it".into()),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_failing_agents_work_still_comes_home() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let ran = cx.agent("echo 2 >a; echo it broke; exit 7", &["--json"]).exits(1);
    assert_eq!(cx.read("a"), "2\n");
    let done = ran.of_type("done").remove(0);
    assert_eq!(
        (&done["agent"]["exit_code"], &done["outcome"]),
        (&7.into(), &"agent_failed".into())
    );
    assert_eq!(ran.of_type("error")[0]["code"], "agent.failed");
}

#[test]
fn the_second_run_sends_only_what_changed() {
    let cx = TestContext::new(&[("a", "1\n"), ("b", "1\n"), ("sub/c", "1\n")]);
    let first = cx.agent("true", &["--json"]).exits(0);
    assert_eq!(
        (&first.of_type("sync")[0]["full"], &first.of_type("sync")[0]["files"]),
        (&true.into(), &3.into())
    );
    cx.write("b", "2\n");
    std::fs::remove_file(cx.work().join("a")).unwrap();
    let second = cx.agent("cat b; ls -1", &["--json"]).exits(0);
    let sync = &second.of_type("sync")[0];
    assert_eq!(
        (&sync["full"], &sync["files"], &sync["deleted"]),
        (&false.into(), &1.into(), &1.into())
    );
    assert_eq!(second.of_type("sandbox")[0]["origin"], "reused");
    let words: Vec<_> = second
        .of_type("agent_output")
        .iter()
        .map(|e| e["data"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(words, ["2", "b", "sub"]);
}

#[test]
fn commits_resets_and_branch_switches_are_followed() {
    let cx = TestContext::new(&[("a", "1\n")]);
    cx.agent("true", &[]).exits(0);
    cx.write("a", "2\n");
    cx.write("new", "n\n");
    cx.git(&["add", "-A"]);
    cx.git(&["commit", "-qm", "two"]);
    assert!(cx.agent("cat a new", &[]).exits(0).stdout.contains("2\nn\n"));
    cx.git(&["reset", "-q", "--hard", "HEAD~1"]);
    assert!(cx.agent("cat a; ls", &[]).exits(0).stdout.contains("1\na\n"));
    cx.write("untracked", "u\n");
    cx.agent("cat untracked", &[]).exits(0);
    std::fs::remove_file(cx.work().join("untracked")).unwrap();
    assert!(!cx.agent("ls", &[]).exits(0).stdout.contains("untracked"));
}

#[test]
fn an_agent_that_commits_or_destroys_the_inner_repository_changes_nothing_for_us() {
    let cx = TestContext::new(&[("a", "1\n"), ("b", "1\n")]);
    let head = cx.git(&["rev-parse", "HEAD"]);
    cx.agent(
        "echo 2 >a; git add -A; git -c user.name=x -c user.email=x@x commit -qm x; echo 3 >b",
        &[],
    )
    .exits(0);
    assert_eq!(
        (cx.read("a"), cx.read("b"), cx.git(&["rev-parse", "HEAD"])),
        ("2\n".into(), "3\n".into(), head)
    );
    cx.agent("rm -rf .git; echo 4 >a", &[]).exits(0);
    assert_eq!(cx.read("a"), "4\n");
    cx.agent("rm b; git init -q . 2>/dev/null; echo 5 >a", &[]).exits(0);
    assert_eq!(cx.files(), ["a"]);
}

#[test]
fn an_edit_made_here_while_the_agent_works_is_never_overwritten() {
    let cx = TestContext::new(&[("both", "base\n"), ("mine", "base\n"), ("theirs", "base\n")]);
    let mut agent = cx.command(["run", "--json", "--agent-command", "echo started; while [ ! -e go ]; do sleep 0.05; done; echo theirs >both; echo theirs >theirs", "do it"]);
    let child = agent
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut child = child;
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    while !lines.next().expect("the agent starts").unwrap().contains("\"data\":\"started\"") {}
    cx.write("both", "mine\n");
    cx.write("mine", "mine\n");
    let _ = cx.run(["exec", "--no-sync", "--", "touch", "go"]).exits(0);
    let rest: Vec<serde_json::Value> =
        lines.map(|l| serde_json::from_str(&l.unwrap()).unwrap()).collect();
    assert_eq!(child.wait().unwrap().code(), Some(81));
    assert_eq!(
        (cx.read("both"), cx.read("mine"), cx.read("theirs")),
        ("mine\n".into(), "mine\n".into(), "base\n".into())
    );
    assert!(rest.iter().any(|e| e["type"] == "conflict" && e["path"] == "both"));
    // Nothing of the agent's is lost either: the result waits here and needs no second fetch.
    cx.run(["pull", "--on-conflict", "theirs"]).exits(0);
    assert_eq!(
        (cx.read("both"), cx.read("mine"), cx.read("theirs")),
        ("theirs\n".into(), "mine\n".into(), "theirs\n".into())
    );
}

#[test]
fn undo_puts_back_what_an_apply_replaced() {
    let cx = TestContext::new(&[("a", "1\n"), ("gone", "g\n")]);
    cx.agent("echo 2 >a; rm gone; echo n >new", &[]).exits(0);
    assert_eq!(cx.files(), ["a", "new"]);
    cx.run(["undo"]).exits(0);
    assert_eq!((cx.files(), cx.read("a")), (vec!["a".to_owned(), "gone".into()], "1\n".into()));
}

#[test]
fn pull_fetches_what_was_left_in_the_sandbox_and_diff_only_looks() {
    let cx = TestContext::new(&[("a", "1\n")]);
    cx.agent("true", &[]).exits(0);
    let _ = cx.run(["exec", "--no-sync", "--", "sh", "-c", "echo 2 >a"]).exits(0);
    let diff = cx.run(["diff"]).exits(0);
    assert!(diff.stdout.contains("-1") && diff.stdout.contains("+2"), "{}", diff.stdout);
    assert_eq!(cx.read("a"), "1\n");
    cx.run(["--pull"]).exits(0);
    assert_eq!(cx.read("a"), "2\n");
    cx.run(["pull"]).exits(0);
}

#[test]
fn exec_passes_words_streams_directory_and_exit_code_as_they_are() {
    let cx = TestContext::new(&[("sub/x", "")]);
    let mut command = cx.command([
        "exec",
        "--",
        "sh",
        "-c",
        "printf '%s|' \"$@\"; pwd | sed 's/.*workspace//'; echo err >&2; exit 9",
        "sh",
        "a b",
        "",
        "q'\"$x\n*",
        "-z",
    ]);
    command.current_dir(cx.work().join("sub"));
    let ran = crate::support::context::ran(&mut command).exits(9);
    assert_eq!(ran.stdout, "a b||q'\"$x\n*|-z|/sub\n");
    assert!(ran.stderr.lines().any(|l| l == "err"), "{}", ran.stderr);
    assert!(ran.stderr.contains("exit=9"), "{}", ran.stderr);
}

#[test]
fn no_commit_yet_and_a_subdirectory_as_cwd_work() {
    let cx = TestContext::without_repo();
    let work = cx.work();
    std::fs::create_dir_all(work.join("deep/er")).unwrap();
    cx.git_in(&work, &["init", "-q"]);
    cx.write("deep/er/f", "1\n");
    let mut command =
        cx.command(["run", "--agent-command", "cat deep/er/f; echo 2 >deep/er/f", "do it"]);
    command.current_dir(work.join("deep/er"));
    assert!(crate::support::context::ran(&mut command).exits(0).stdout.contains("1\n"));
    assert_eq!(cx.read("deep/er/f"), "2\n");
}

#[test]
fn what_the_user_alone_ignores_stays_with_the_agent_that_made_it() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let own = cx.git(&["rev-parse", "--git-path", "info/exclude"]);
    std::fs::create_dir_all(cx.work().join(own.trim()).parent().unwrap()).unwrap();
    std::fs::write(cx.work().join(own.trim()), "# mine\n*.here\n").unwrap();
    let list = cx.root().join("everywhere");
    std::fs::write(&list, "*.log\n!kept.log").unwrap();
    cx.git(&["config", "core.excludesFile", list.to_str().unwrap()]);
    cx.agent("for f in x.here x.log kept.log; do echo 1 >$f; done", &[]).exits(0);
    assert_eq!(cx.files(), ["a", "kept.log"]);
    cx.write("a", "2\n");
    let ran =
        cx.agent("for f in x.here x.log kept.log; do cat $f; echo 2 >>$f; done", &[]).exits(0);
    assert_eq!(
        (ran.stdout.as_str(), cx.files()),
        ("1\n1\n1\n", vec!["a".into(), "kept.log".into()])
    );
    // What waits to be fetched comes home, also under a name that is ignored since.
    cx.agent("echo 1 >x.late", &["--no-apply"]).exits(0);
    std::fs::write(&list, "*.log\n!kept.log\n*.late").unwrap();
    cx.run(["pull"]).exits(0);
    assert_eq!(cx.read("x.late"), "1\n");
    std::fs::remove_file(cx.work().join("x.late")).unwrap();
    // No longer ignored here, it is no longer over there.
    std::fs::write(&list, "").unwrap();
    cx.agent("true", &[]).exits(0);
    assert_eq!(
        (cx.files(), cx.read("x.log")),
        (vec!["a".into(), "kept.log".into(), "x.log".into()], "1\n2\n".into())
    );
}

#[test]
fn repositories_inside_the_worktree_neither_travel_nor_disappear() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let nested = cx.work().join("nested");
    std::fs::create_dir(&nested).unwrap();
    cx.git_in(&nested, &["init", "-q"]);
    crate::support::context::write(&nested.join("inner"), b"1\n");
    cx.git_in(&nested, &["add", "-A"]);
    cx.git_in(&nested, &["commit", "-qm", "inner"]);
    let script = "ls -1; git init -q theirs; cd theirs; touch x; git add x; git commit -qm x; cd ..; echo 2 >a
        git init -q \"it's unborn\"; touch \"it's unborn/x\"";
    let ran = cx.agent(script, &["--json"]).exits(0);
    let seen = ran.of_type("agent_output");
    assert_eq!(seen.iter().map(|line| &line["data"]).collect::<Vec<_>>(), ["a"]);
    let warnings = ran.of_type("warning");
    let told =
        |words: &str| warnings.iter().any(|w| w["message"].as_str().unwrap().contains(words));
    for words in [
        "`nested` is a repository of its own and is not sent",
        "`theirs` is a repository of its own in the sandbox",
        "`it's unborn` is a repository of its own in the sandbox",
    ] {
        assert!(told(words), "{words}: {warnings:?}");
    }
    assert_eq!(ran.of_type("done")[0]["unpulled"], true);
    assert_eq!((cx.read("a"), cx.read("nested/inner")), ("2\n".into(), "1\n".into()));
    let again = cx.agent("ls -1 theirs", &[]).exits(0);
    assert!(again.stdout.contains('x'), "{}", again.stdout);
    assert_eq!(cx.read("nested/inner"), "1\n");
}

#[test]
fn a_local_server_that_is_killed_takes_no_run_with_it_and_is_started_again() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let script = "echo started; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo 2 >a; echo ended";
    let mut command = cx.command(["run", "--json", "--agent-command", script, "do it"]);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut child = child.spawn().unwrap();
    let stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(stdout);
    let mut said = String::new();
    while !said.contains("\"data\":\"started\"") {
        said += &lines.next().expect("the agent starts").unwrap();
    }
    let local = cx.root().join("state/local");
    let server = || -> Option<i64> {
        let card = std::fs::read_to_string(local.join("server.json")).ok()?;
        serde_json::from_str::<serde_json::Value>(&card).ok()?["pid"].as_i64()
    };
    let killed = server().unwrap();
    let pid = rustix::process::Pid::from_raw(killed as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    // Nobody is there to start another but the client that follows.
    while server() == Some(killed) {
        assert!(child.try_wait().unwrap().is_none(), "it gave up: {:?}", lines.last());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for sandbox in std::fs::read_dir(local.join("sandboxes")).unwrap() {
        std::fs::write(sandbox.unwrap().path().join("tmp/go"), "").unwrap();
    }
    said.extend(lines.map(|line| line.unwrap()));
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert_eq!(said.matches("\"data\":\"ended\"").count(), 1, "{said}");
    assert_eq!(cx.read("a"), "2\n");
}
