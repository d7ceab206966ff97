//! What a user meets first: help, mistakes, generated pages.

use crate::support::context::{Ran, TestContext};

#[test]
fn generated_files_are_up_to_date() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut behind = Vec::new();
    for (name, content) in sandbox_coder::cli::generate::files().unwrap() {
        let path = root.join(name);
        if std::fs::read(&path).ok().as_deref() == Some(&content) {
            continue;
        }
        if std::env::var_os("SANDBOX_CODER_UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &content).unwrap();
        } else {
            behind.push(name);
        }
    }
    assert!(behind.is_empty(), "run `make gen`: {behind:?}");
}

fn told(ran: &Ran) -> (String, String) {
    let line = |word: &str| {
        let found = ran.stderr.lines().find_map(|l| l.strip_prefix(word));
        found.unwrap_or_else(|| panic!("no `{word}` in:\n{}", ran.stderr)).trim().to_owned()
    };
    (line("error:"), line("hint:"))
}

#[test]
fn mistakes_get_one_line_a_hint_and_their_exit_code() {
    let cx = TestContext::new(&[("a", "a")]);
    let bare = cx.root().join("bare.git");
    cx.git_in(cx.root(), &["init", "-q", "--bare", bare.to_str().unwrap()]);

    let outside = TestContext::without_repo();
    let (error, _) = told(&outside.run(["run", "fix it now"]).exits(66));
    assert!(error.contains("not inside a git repository"), "{error}");

    let mut in_bare = cx.command(["run", "fix it now"]);
    let (error, _) = told(&crate::support::context::ran(in_bare.current_dir(&bare)).exits(66));
    assert!(error.contains("bare"), "{error}");

    let (error, _) = told(&cx.run(["run", "  "]).exits(2));
    assert_eq!(error, "the prompt is empty");

    let (error, hint) = told(&cx.run(["--provider", "daytona", "fix", "it"]).exits(78));
    assert!(
        error.contains("needs an API key") && hint.contains("--provider local"),
        "{error} / {hint}"
    );

    let (error, hint) = told(&cx.run(["stauts"]).exits(2));
    assert!(error.contains("no command `stauts`") && hint.contains("status"), "{error} / {hint}");
    let (error, hint) = told(&cx.run(["statsu", "now"]).exits(2));
    assert!(error.contains("no command `statsu`"), "{error}");
    assert!(hint.contains("`sandbox-coder run statsu …`"), "{hint}");
    assert_eq!(cx.run(["--json", "statsu", "now"]).exits(2).of_type("error")[0]["code"], "usage");
    for prompt in [["run", "statsu", "now"], ["--", "statsu", "now"]] {
        let script = ["--agent-command", "cat"];
        let words = match prompt[0] {
            "run" => [&["run"], &script[..], &prompt[1..]].concat(),
            _ => [&script[..], &prompt[..]].concat(),
        };
        assert_eq!(cx.run(words).exits(0).stdout.trim_end(), "statsu now");
    }

    let ran = cx.run(["run", "--agent", "clippy", "fix it"]).exits(2);
    assert!(ran.stderr.contains("possible values: opencode, claude"), "{}", ran.stderr);
}

#[test]
fn with_json_even_a_mistake_is_two_lines_of_json() {
    let cx = TestContext::without_repo();
    let ran = cx.run(["--json", "run", "fix it"]).exits(66);
    let events = ran.events();
    assert_eq!(events.last().unwrap()["exit_code"], 66);
    assert_eq!(events.iter().filter(|e| e["type"] == "error").count(), 1);
    assert_eq!(ran.of_type("error")[0]["code"], "worktree.none");
    let ran = cx.run(["run", "--json", "--no-such-flag"]).exits(2);
    assert_eq!(ran.of_type("error")[0]["code"], "usage");
}

#[test]
fn a_service_that_cannot_be_reached_or_understood_is_told_as_such() {
    let mut cx = TestContext::new(&[("a", "a")]);
    cx.set("DAYTONA_API_KEY", "dtn_0123456789");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    cx.set("DAYTONA_API_URL", &format!("http://{free}/api"));
    let (error, _) = told(&cx.run(["run", "fix it"]).exits(68));
    assert!(error.contains(&free.to_string()), "{error}");
    assert!(!error.contains("dtn_0123456789"));
}

#[test]
fn help_and_version_touch_nothing() {
    let cx = TestContext::without_repo();
    let ran = cx.run(["--version"]).exits(0);
    assert_eq!(ran.stdout, concat!("sandbox-coder ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(cx.run(["run", "--help"]).exits(0).stdout.contains("--agent-command"));
    assert!(!cx.root().join("state").exists());
}

#[test]
fn what_could_not_be_written_is_not_called_done() {
    let cx = TestContext::new(&[("a", "a")]);
    let into = |target: &str, args: &[&str]| {
        let target = std::fs::File::options().write(true).open(target).unwrap();
        let out = cx.command(args).stdout(target).output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    for args in [&["config"][..], &["--help"], &["man"], &["config", "--json"]] {
        let (code, told) = into("/dev/full", args);
        assert_eq!(code, Some(74), "{args:?}: {told}");
        assert!(told.contains("error: write to standard output: No space left"), "{told}");
    }
    assert_eq!(into("/dev/null", &["config"]), (Some(0), String::new()));

    // The run itself is not held up; the last line and the exit code agree.
    for json in [&[][..], &["--json"]] {
        let run = ["run", "--agent-command", "echo said; date >> a", "now"];
        let (code, told) = into("/dev/full", &[&run[..], json].concat());
        assert_eq!(code, Some(74), "{told}");
        assert!(told.contains("[sandbox:file] modified a\n"), "{told}");
        let last = told.lines().last().unwrap();
        assert_eq!(last, "[sandbox:done] files_changed=1 files_deleted=0 exit=74 agent_exit=0");
        assert_eq!(told.matches("error: ").count(), 1, "{told}");
    }
    let failing = ["run", "--agent-command", "echo said; exit 7", "now"];
    assert_eq!(into("/dev/full", &failing).0, Some(1), "the sharper failure stays");
}

#[test]
fn doctor_says_where_the_agent_is_or_why_a_sandbox_does_not_see_it() {
    let mut cx = TestContext::new(&[("a", "a")]);
    let dir = cx.root().join("home/tools");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("qwen"), "").unwrap();
    cx.set("PATH", &format!("{}:{}", dir.display(), std::env::var("PATH").unwrap()));
    let told = |args: &[&str]| {
        let ran = cx.run([&["doctor", "--agent", "qwen", "--provider", "local"], args].concat());
        let from = ran.stdout.find("program of qwen").unwrap_or_else(|| panic!("{}", ran.stdout));
        ran.stdout[from - 6..].lines().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let dir = dir.display();
    assert_eq!(
        told(&[]),
        [
            format!("warn  program of qwen: {dir}/qwen is where no sandbox sees it"),
            format!("      hint: show it with `--tool-dir {dir}`")
        ]
    );
    let shown = told(&["--tool-dir", &dir.to_string()]);
    assert_eq!(shown[0], format!("ok    program of qwen: {dir}/qwen"));
}
