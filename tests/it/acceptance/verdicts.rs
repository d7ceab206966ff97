//! What a sandbox's change is taken for, from the agent's edit to the report: refused, held back as a
//! conflict, applied and flagged, or only listed. One place for each row of the table in docs/security.md
//! that an agent can bring about by itself; what only a lying sandbox can say is in `liars` and `apply::hostile`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::context::{Ran, TestContext, write};

/// The `file` or `conflict` events by path.
fn by_path(ran: &Ran, kind: &str) -> BTreeMap<String, Value> {
    ran.of_type(kind).into_iter().map(|e| (e["path"].as_str().unwrap().to_owned(), e)).collect()
}

fn make(paths: &[&str]) -> String {
    let one = |p: &&str| format!("mkdir -p \"$(dirname '{p}')\"; echo x >'{p}'\n");
    paths.iter().map(one).collect()
}

#[test]
fn what_others_run_or_read_is_applied_and_flagged_with_its_class_and_reason() {
    let cx = TestContext::new(&[("a", "1\n"), ("here.md", "1\n"), ("package.json", "{}\n")]);
    let rows: &[(&str, &[&str])] = &[
        (
            "git",
            &[
                ".gitattributes",
                ".husky/pre-commit",
                ".githooks/x",
                ".pre-commit-config.yaml",
                "lefthook.yml",
            ],
        ),
        (
            "editor",
            &[
                ".idea/x.xml",
                ".devcontainer/Dockerfile",
                "p.code-workspace",
                ".editorconfig",
                ".vimrc",
                ".dir-locals.el",
                ".vscode/launch.json",
            ],
        ),
        (
            "agent",
            &[
                "CLAUDE.md",
                "sub/AGENTS.md",
                "GEMINI.md",
                ".cursorrules",
                ".cursor/rules/x",
                ".opencode/x",
                "opencode.json",
                ".codex/x",
                ".github/copilot-instructions.md",
            ],
        ),
        (
            "ci",
            &[
                ".github/workflows/x.yml",
                ".github/actions/x/action.yml",
                ".gitlab-ci.yml",
                ".circleci/config.yml",
                "Jenkinsfile",
                "azure-pipelines.yml",
            ],
        ),
        (
            "build",
            &[
                "package-lock.json",
                ".npmrc",
                ".yarnrc.yml",
                "setup.py",
                "conftest.py",
                "build.rs",
                ".cargo/config.toml",
                "rust-toolchain.toml",
                "Makefile",
                "build.gradle",
                ".mvn/x",
            ],
        ),
        ("name", &["nul.txt", "a:b", "dot.", "HERE.md"]),
        ("bare_repository", &["bare/HEAD", "bare/objects/x", "bare/refs/x"]),
    ];
    let mut script: String = rows.iter().map(|(_, paths)| make(paths)).collect();
    script.push_str("echo '{\"scripts\":{\"test\":\"x\"}}' >package.json; echo >tool; chmod +x tool; printf '\\177ELF' >elf; ln -s a link; echo y >plain");
    let ran = cx.agent(&script, &["--json"]).exits(0);
    let files = by_path(&ran, "file");
    let classes = |path: &str| -> Vec<String> {
        let file = files.get(path).unwrap_or_else(|| panic!("{path} is not told"));
        let classes = file["risk_classes"].as_array().cloned().unwrap_or_default();
        assert_eq!(classes.is_empty(), file["risk"].is_null(), "{file}");
        classes.iter().map(|c| c.as_str().unwrap().to_owned()).collect()
    };
    for (class, paths) in rows.iter().filter(|(class, _)| *class != "bare_repository") {
        for path in *paths {
            assert!(classes(path).contains(&(*class).to_owned()), "{path}: {:?}", classes(path));
            assert_eq!(cx.read(path), "x\n");
        }
    }
    let bare = ["bare/HEAD", "bare/objects/x", "bare/refs/x"].map(classes).concat();
    assert_eq!(bare, ["bare_repository"], "told once");
    for (path, class) in
        [("package.json", "build"), ("tool", "executable"), ("elf", "executable"), ("link", "link")]
    {
        assert_eq!(classes(path), [class], "{path}");
    }
    assert_eq!(classes("plain"), [""; 0]);
}

#[test]
fn what_runs_unasked_is_held_back_until_it_is_allowed() {
    let cx = TestContext::new(&[("a", "1\n"), ("hooks/old", "1\n")]);
    cx.git(&["config", "core.hooksPath", "hooks"]);
    let held =
        [".envrc", "sub/.envrc", ".claude/settings.json", ".vscode/tasks.json", "hooks/pre-commit"];
    let ran = cx.agent(&format!("{}echo 2 >a", make(&held)), &["--json"]).exits(81);
    let conflicts = by_path(&ran, "conflict");
    assert_eq!(conflicts.len(), held.len(), "{}", ran.stdout);
    for path in held {
        assert_eq!(conflicts[path]["kind"], "risky", "{path}");
        assert!(!conflicts[path]["reason"].as_str().unwrap().is_empty(), "{path}");
        assert!(!cx.work().join(path).exists(), "{path}");
    }
    assert_eq!(cx.read("a"), "1\n");
    // A policy is about edits on both sides; it does not allow what is held back.
    let _ = cx.run(["pull", "--on-conflict", "theirs"]).exits(81);
    assert!(held.iter().all(|path| !cx.work().join(path).exists()));
    cx.agent("echo y >.envrc", &["--allow-risky", "--json"]).exits(0);
    assert_eq!(cx.read(".envrc"), "y\n");
}

#[test]
fn risky_changes_are_conflicts_where_they_are_blocked() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let ran = cx.agent("echo x >Makefile; echo 2 >a", &["--block-risky", "--json"]).exits(81);
    let conflicts = by_path(&ran, "conflict");
    assert_eq!((conflicts.len(), &conflicts["Makefile"]["kind"]), (1, &"risky".into()));
    assert_eq!(cx.files(), ["a"]);
    cx.run(["pull"]).exits(0);
    assert_eq!(cx.files(), ["Makefile", "a"]);
}

#[test]
fn links_that_lead_out_are_held_back_and_local_ones_are_never_followed() {
    let cx = TestContext::new(&[("a", "1\n"), (".gitignore", "out\n")]);
    write(&cx.root().join("guard/file"), b"guarded\n");
    std::os::unix::fs::symlink(cx.root().join("guard"), cx.work().join("out")).unwrap();
    let links =
        [("l1", "/etc/passwd"), ("l2", "../guard"), ("l3", ".git/config"), ("d/l4", "../../x")];
    let script: String = links.iter().map(|(at, to)| format!("ln -s '{to}' {at}\n")).collect();
    let ran = cx.agent(&format!("mkdir d; {script}"), &["--json"]).exits(81);
    let conflicts = by_path(&ran, "conflict");
    assert_eq!(conflicts.len(), links.len(), "{}", ran.stdout);
    for (at, _) in links {
        assert_eq!(conflicts[at]["kind"], "external_link", "{at}");
        assert!(cx.work().join(at).symlink_metadata().is_err(), "{at}");
    }
    // The agent's folder has the name of a link that only this side has.
    let cx2 = TestContext::new(&[("a", "1\n"), (".gitignore", "out\n")]);
    write(&cx2.root().join("guard/file"), b"guarded\n");
    std::os::unix::fs::symlink(cx2.root().join("guard"), cx2.work().join("out")).unwrap();
    let ran = cx2
        .agent("rm .gitignore; mkdir out; echo evil >out/file; echo evil >out/new", &["--json"])
        .exits(81);
    assert!(by_path(&ran, "conflict").keys().any(|p| p.starts_with("out")), "{}", ran.stdout);
    for policy in ["theirs", "keep-both"] {
        let _ = cx2.run(["pull", "--on-conflict", policy]);
        assert_eq!(std::fs::read_to_string(cx2.root().join("guard/file")).unwrap(), "guarded\n");
        assert!(!cx2.root().join("guard/new").exists());
        assert!(cx2.work().join("out").is_symlink());
    }
}

#[test]
fn most_of_the_tree_does_not_vanish_without_leave() {
    let files: Vec<(String, &str)> = (0..40).map(|n| (format!("f{n}"), "1\n")).collect();
    let files: Vec<(&str, &str)> =
        files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let cx = TestContext::new(&files);
    let ran = cx.agent("rm f1* f2* f3*; echo 2 >f0", &["--json"]).exits(81);
    assert_eq!(ran.of_type("error")[0]["code"], "sync.mass_delete");
    assert_eq!((cx.files().len(), cx.read("f0")), (40, "1\n".into()));
    cx.run(["pull", "--allow-mass-delete"]).exits(0);
    assert_eq!(cx.read("f0"), "2\n");
    assert!(cx.files().len() < 10, "{:?}", cx.files());
}

#[test]
fn no_name_moves_a_terminals_cursor_or_turns_text_around() {
    let names = [
        "esc\\033[2J",
        "csi\\302\\2332J",
        "bidi\\342\\200\\256gnp.exe",
        "new\\nline",
        "del\\177",
        "bad\\377",
    ];
    let script: String = names.iter().map(|n| format!("echo x >\"$(printf '{n}')\"\n")).collect();
    let plain = |text: &str| {
        !text.chars().any(|c| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c))
    };
    for (more, code) in [
        (&[][..], 0),
        (&["--json"][..], 0),
        (&["--block-risky"][..], 81),
        (&["--block-risky", "--json"][..], 81),
    ] {
        let cx = TestContext::new(&[("a", "1\n")]);
        let ran = cx.agent(&script, more).exits(code);
        assert!(plain(&ran.stdout) && plain(&ran.stderr), "{more:?}: {}{}", ran.stdout, ran.stderr);
        assert!(
            ran.stdout.contains("u{202e}")
                || ran.stdout.contains("u202e")
                || ran.stderr.contains("u{202e}"),
            "{more:?}: {}{}",
            ran.stdout,
            ran.stderr
        );
        if more.contains(&"--json") {
            let kind = if code == 0 { "file" } else { "conflict" };
            let told = by_path(&ran, kind);
            assert_eq!(told.len(), names.len());
            // A program reads the name as it is.
            assert!(told.contains_key("bidi\u{202e}gnp.exe") && told.contains_key("esc\u{1b}[2J"));
            assert!(told.values().any(|e| e["path_b64"] == "YmFk/w=="));
        }
        for line in [cx.run(["status"]), cx.run(["diff"])] {
            assert!(plain(&line.stderr), "{}", line.stderr);
        }
    }
}
