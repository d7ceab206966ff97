//! What a snapshot holds, for every state a worktree can be in: the bytes on the disk, and nothing written to
//! the user's repository.

use std::path::Path;

use sandbox_coder::rel_path::RelPath;
use sandbox_coder::tree::Mode;
use sandbox_coder::worktree::capture::{Note, Options, capture};
use sandbox_coder::worktree::{Error, Repo, Store};

use crate::support::context::TestContext;
use crate::support::repo::RepoBuilder;

const OPEN: Options =
    Options { include: Vec::new(), exclude: Vec::new(), max_size: u64::MAX, max_files: u64::MAX };

/// Everything git keeps, but for our own folder.
fn git_dir(repo: &RepoBuilder) -> Vec<(Vec<u8>, char, Vec<u8>)> {
    let mut all = crate::support::repo::listing(&repo.at(".git"));
    all.retain(|(name, ..)| !name.starts_with(b"sandbox-coder"));
    all
}

/// Names with modes and contents.
type Taken = Vec<(String, Mode, Vec<u8>)>;

/// The snapshot as names with modes and contents; the user's repository must not have changed.
#[track_caller]
fn snapshot_of(top: &Path, options: &Options) -> (Taken, Vec<Note>) {
    let near = Repo::discover(top).unwrap();
    let store = Store::open(&near).unwrap();
    let taken = capture(&near, options).unwrap();
    assert_eq!(capture(&near, options).unwrap().tree, taken.tree, "a second look sees the same");
    let tree = store.read_tree(taken.tree).unwrap();
    let entry = |(path, e): (&RelPath, &sandbox_coder::tree::Entry)| {
        (path.to_string(), e.mode, store.read_blob(e.id).unwrap())
    };
    (tree.iter().map(entry).collect(), taken.notes)
}

#[track_caller]
fn snapshot(repo: &RepoBuilder) -> Taken {
    let before = git_dir(repo);
    let (taken, _) = snapshot_of(repo.path(), &OPEN);
    assert!(git_dir(repo) == before, "the user's repository was written to");
    taken
}

/// Insists that the snapshot is exactly the files, links and modes on the disk.
#[track_caller]
fn is_the_disk(repo: &RepoBuilder) {
    let disk: Vec<_> = crate::support::repo::listing(repo.path());
    let disk: Vec<(String, Mode, Vec<u8>)> = disk
        .into_iter()
        .map(|(name, kind, bytes)| {
            let mode = match kind {
                'l' => Mode::Link,
                'x' => Mode::Exec,
                _ => Mode::File,
            };
            (sandbox_coder::rel_path::escape(&name), mode, bytes)
        })
        .collect();
    let mut taken = snapshot(repo);
    let mut disk = disk;
    taken.sort_by(|a, b| a.0.cmp(&b.0));
    disk.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(names(&taken), names(&disk));
    assert!(taken == disk, "same names, other modes or contents");
}

fn names(taken: &[(String, Mode, Vec<u8>)]) -> Vec<&str> {
    taken.iter().map(|(name, ..)| name.as_str()).collect()
}

#[test]
fn staged_or_not_the_bytes_on_the_disk_count() {
    let repo = RepoBuilder::new();
    repo.odd().file("staged", "1").file("both", "1").file("gone", "1").file("ita", "1").commit();
    is_the_disk(&repo);
    repo.file("staged", "2").file("both", "2").git(&["add", "-A"]);
    repo.file("both", "3")
        .remove("gone")
        .file("new", "1")
        .file("empty-intent", "")
        .file("intent", "x");
    repo.git(&["add", "-N", "empty-intent", "intent"]);
    is_the_disk(&repo);
    repo.git(&["reset", "-q", "--hard"]);
    is_the_disk(&repo);
}

#[test]
fn an_intent_to_add_is_seen_at_the_first_look_too() {
    let repo = RepoBuilder::new();
    repo.file("a", "1").commit();
    repo.file("empty-intent", "").file("intent", "x").git(&["add", "-N", "empty-intent", "intent"]);
    is_the_disk(&repo);
}

#[test]
fn flags_that_hide_edits_hide_nothing() {
    let repo = RepoBuilder::new();
    repo.file("assumed", "1").file("skipped", "1").file("away", "1").exec("tool", "1").commit();
    repo.git(&["update-index", "--assume-unchanged", "assumed"]);
    repo.git(&["update-index", "--skip-worktree", "skipped", "away"]);
    repo.file("assumed", "2").file("skipped", "2").remove("away");
    is_the_disk(&repo);
}

#[test]
fn what_a_sparse_checkout_leaves_out_stays_out() {
    for index in ["--no-sparse-index", "--sparse-index"] {
        let repo = RepoBuilder::new();
        repo.file("in/a", "1").file("out/b", "1").file("out/deep/c", "1").file("top", "1").commit();
        repo.git(&["sparse-checkout", "init", "--cone", index]);
        repo.git(&["sparse-checkout", "set", "in"]);
        repo.file("in/a", "2");
        is_the_disk(&repo);
    }
}

#[test]
fn nothing_is_converted() {
    let repo = RepoBuilder::new();
    repo.git(&["config", "filter.big.clean", "echo pointer"]);
    repo.git(&["config", "filter.big.smudge", "cat"]);
    repo.git(&["config", "core.autocrlf", "true"]);
    repo.git(&["config", "core.safecrlf", "false"]);
    repo.file(".gitattributes", "*.bin filter=big -text\n*.id ident\n*.crlf text eol=crlf\n*.u16 working-tree-encoding=UTF-16LE\n");
    repo.file("a.bin", "the real bytes")
        .file("b.id", "$Id: x $")
        .file("c.crlf", "a\r\nb\r\n")
        .file("d.txt", "a\r\n");
    repo.file("e.u16", b"a\0b\0").file("f.lf", "a\nb\n").commit();
    assert_eq!(repo.git(&["show", "HEAD:a.bin"]), "pointer\n");
    is_the_disk(&repo);
    repo.file("a.bin", "other bytes").file("sub/.gitattributes", "* text").file("sub/x", "a\r\n");
    is_the_disk(&repo);
}

#[test]
fn a_file_system_without_modes_keeps_those_of_the_index() {
    let repo = RepoBuilder::new();
    repo.exec("tool", "1").file("plain", "1").commit();
    repo.git(&["config", "core.fileMode", "false"]);
    std::fs::set_permissions(repo.at("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    std::fs::set_permissions(repo.at("plain"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    repo.file("tool", "22").git(&["update-index", "--assume-unchanged", "plain"]);
    let modes: Vec<_> = snapshot(&repo).into_iter().map(|(name, mode, _)| (name, mode)).collect();
    assert_eq!(modes, [("plain".to_owned(), Mode::File), ("tool".to_owned(), Mode::Exec)]);
}

#[test]
fn repositories_inside_do_not_travel_and_are_named() {
    let repo = RepoBuilder::new();
    repo.file("a", "1").file("mixed/tracked", "1").commit();
    for (name, commit) in [("module", true), ("unborn", false), ("clone", true)] {
        std::fs::create_dir(repo.at(name)).unwrap();
        let git = |args: &[&str]| {
            let id = ["-c", "user.name=x", "-c", "user.email=x@x"];
            let mut git = crate::support::repo::git_in(&repo.at(name));
            assert!(git.args(id).args(args).status().unwrap().success());
        };
        git(&["init", "-q"]);
        repo.file(format!("{name}/f"), "1");
        if commit {
            git(&["add", "f"]);
            git(&["commit", "-q", "-m", "x"]);
        }
    }
    repo.git(&["-c", "advice.addEmbeddedRepo=false", "add", "module"]);
    repo.git(&["commit", "-q", "-m", "a gitlink"]);
    let (taken, mut notes) = snapshot_of(repo.path(), &OPEN);
    assert_eq!(names(&taken), ["a", "mixed/tracked"]);
    notes.sort_by_key(|note| format!("{note:?}"));
    let path = |name: &str| RelPath::parse(name.as_bytes()).unwrap();
    assert_eq!(
        notes,
        [
            Note::NestedWithoutCommit(path("unborn")),
            Note::Repository(path("clone")),
            Note::Repository(path("module"))
        ]
    );
    // A module that is not checked out leaves nothing behind either, and both sides agree on the tree.
    repo.remove("module").remove("clone").remove("unborn");
    std::fs::create_dir(repo.at("module")).unwrap();
    assert_eq!(names(&snapshot_of(repo.path(), &OPEN).0), ["a", "mixed/tracked"]);
    let mut pair = crate::support::far::Pair::new(repo, crate::support::far::Far::new());
    pair.push();
    pair.same();
}

#[test]
fn pipes_and_sockets_are_not_sent() {
    let repo = RepoBuilder::new();
    repo.file("a", "1").file("was-file", "1").commit();
    let pipe = |name: &str| {
        let status = std::process::Command::new("mkfifo").arg(repo.at(name)).status().unwrap();
        assert!(status.success());
    };
    let special = |names: &[&str]| -> Vec<Note> {
        names.iter().map(|n| Note::Special(RelPath::parse(n.as_bytes()).unwrap())).collect()
    };
    let seen = |repo: &RepoBuilder| {
        let (taken, mut notes) = snapshot_of(repo.path(), &OPEN);
        notes.sort_by_key(|note| format!("{note:?}"));
        (names(&taken).iter().map(ToString::to_string).collect::<Vec<_>>(), notes)
    };
    pipe("pipe");
    let _socket = std::os::unix::net::UnixListener::bind(repo.at("socket")).unwrap();
    assert_eq!(seen(&repo), (vec!["a".into(), "was-file".into()], special(&["pipe", "socket"])));
    repo.remove("was-file");
    pipe("was-file");
    assert_eq!(seen(&repo), (vec!["a".into()], special(&["pipe", "socket", "was-file"])));
    // In a folder that appeared since; one that git ignores is not entered.
    repo.file("new/deep/x", "1").file("build/x", "1").file(".gitignore", "build/\n");
    pipe("new/deep/pipe");
    pipe("build/pipe");
    assert_eq!(seen(&repo).1, special(&["new/deep/pipe", "pipe", "socket", "was-file"]));
    // A folder that became a link is not looked through.
    let beside = repo.beside("elsewhere");
    std::fs::rename(repo.at("new/deep"), &beside).unwrap();
    repo.link("new/deep", beside.to_str().unwrap());
    assert_eq!(seen(&repo).1, special(&["pipe", "socket", "was-file"]));
}

#[test]
fn ignored_files_travel_only_when_they_are_tracked_or_asked_for() {
    let repo = RepoBuilder::new();
    repo.file(".gitignore", "*.log\nbuild/\n")
        .file("a.log", "1")
        .file("b.log", "1")
        .file("build/out", "1")
        .file("plain", "1");
    assert_eq!(names(&snapshot(&repo)), [".gitignore", "plain"]);
    repo.git(&["add", "-f", "a.log"]);
    assert_eq!(names(&snapshot(&repo)), [".gitignore", "a.log", "plain"]);
    let asked = Options { include: vec!["build/**".into()], exclude: vec!["pl*".into()], ..OPEN };
    assert_eq!(names(&snapshot_of(repo.path(), &asked).0), [".gitignore", "a.log", "build/out"]);
    repo.file("build/later", "1");
    assert_eq!(
        names(&snapshot_of(repo.path(), &asked).0),
        [".gitignore", "a.log", "build/later", "build/out"]
    );
    assert_eq!(names(&snapshot(&repo)), [".gitignore", "a.log", "plain"]);
    // Ignored from now on, without a word to the index.
    repo.file(".gitignore", "*.log\nbuild/\nplain\n");
    assert_eq!(names(&snapshot(&repo)), [".gitignore", "a.log"]);
}

#[test]
fn what_the_user_alone_ignores_from_now_on_ceases_to_travel() {
    let repo = RepoBuilder::new();
    repo.file("kept", "1").file("tracked", "1").file("here", "1").file("everywhere", "1");
    repo.git(&["add", "tracked"]);
    assert_eq!(names(&snapshot(&repo)), ["everywhere", "here", "kept", "tracked"]);
    repo.file(".git/info/exclude", "\u{feff}/here\ntracked");
    assert_eq!(names(&snapshot(&repo)), ["everywhere", "kept", "tracked"]);
    let list = repo.beside("ignored");
    std::fs::write(&list, "everywhere\nhere").unwrap();
    repo.git(&["config", "core.excludesFile", list.to_str().unwrap()]);
    assert_eq!(names(&snapshot(&repo)), ["kept", "tracked"]);
    // What the repository says outranks what is said for all.
    repo.file(".git/info/exclude", "!here\n");
    assert_eq!(names(&snapshot(&repo)), ["here", "kept", "tracked"]);
    std::fs::remove_file(&list).unwrap();
    assert_eq!(names(&snapshot(&repo)), ["everywhere", "here", "kept", "tracked"]);
}

#[test]
fn files_become_folders_and_links_and_the_reverse() {
    let repo = RepoBuilder::new();
    repo.file("f", "1")
        .file("d/x/y", "1")
        .file("d/z", "1")
        .link("l", "d")
        .file("e/x", "1")
        .commit();
    is_the_disk(&repo);
    repo.remove("f")
        .file("f/now/folder", "1")
        .remove("d")
        .file("d", "file")
        .remove("l")
        .file("l/x", "1");
    repo.remove("e").link("e", "f/now").file("now", "x");
    is_the_disk(&repo);
    repo.remove("e").link("e", "l").remove("l").link("l", "f");
    is_the_disk(&repo);
}

#[test]
fn every_layout_of_a_repository_is_read() {
    let layouts: &[(&[&str], &[&[&str]])] = &[
        (&[], &[&["update-index", "--split-index"]]),
        (&[], &[&["update-index", "--index-version", "4"]]),
        (&[], &[&["update-index", "--untracked-cache"]]),
        (&["--object-format=sha256"], &[]),
        (&["--ref-format=reftable"], &[]),
    ];
    for (init, after) in layouts {
        let known = std::process::Command::new("git")
            .args(["init", "-q"])
            .args(*init)
            .arg(tempfile::tempdir().unwrap().path())
            .output()
            .unwrap();
        if !known.status.success() {
            eprintln!("skipped: this git does not know {init:?}");
            continue;
        }
        let repo = RepoBuilder::with(init);
        repo.odd().commit();
        for args in *after {
            repo.git(args);
        }
        is_the_disk(&repo);
        repo.file("a b/c d.txt", "changed").file("more", "x").remove("empty");
        is_the_disk(&repo);
    }
}

#[test]
fn a_linked_worktree_and_a_merge_in_progress_are_read() {
    let repo = RepoBuilder::new();
    repo.file("a", "1\n").commit();
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "-q", "-b", "side", linked.to_str().unwrap()]);
    std::fs::write(linked.join("a"), "side\n").unwrap();
    let (taken, _) = snapshot_of(&linked, &OPEN);
    assert_eq!(taken[0].2, b"side\n");
    let git = |args: &[&str]| crate::support::repo::git_in(&linked).args(args).status().unwrap();
    assert!(git(&["commit", "-q", "-a", "-m", "side"]).success());
    repo.file("a", "main\n").commit();
    assert!(!repo.try_git(&["merge", "side"]).status.success());
    is_the_disk(&repo);
    assert!(String::from_utf8(snapshot(&repo)[0].2.clone()).unwrap().contains("<<<<<<<"));
    assert_eq!(snapshot_of(repo.path(), &OPEN).1, [Note::Unfinished("merge")]);
    repo.git(&["merge", "--abort"]);
    assert_eq!(snapshot_of(repo.path(), &OPEN).1, []);
}

#[test]
fn too_much_is_refused_by_name_before_it_is_read() {
    let repo = RepoBuilder::new();
    repo.file("a", "1").commit();
    let near = Repo::discover(repo.path()).unwrap();
    let small = Options { max_size: 1 << 20, max_files: 10, ..OPEN };
    capture(&near, &small).unwrap();
    repo.file("huge.bin", vec![7; 2 << 20]);
    let refused = capture(&near, &small).unwrap_err();
    assert!(
        matches!(&refused, Error::TooLarge { top, .. } if top[0].contains("huge.bin")),
        "{refused}"
    );
    let excluded = Options { exclude: vec!["*.bin".into()], ..small.clone() };
    capture(&near, &excluded).unwrap();
    repo.remove("huge.bin");
    for n in 0..11 {
        repo.file(format!("many/{n}"), "x");
    }
    let refused = capture(&near, &small).unwrap_err();
    assert!(
        matches!(&refused, Error::TooLarge { top, .. } if top[0] == "`many` (11 files)"),
        "{refused}"
    );
    repo.git(&["add", "many"]);
    capture(&near, &OPEN).unwrap();
}

#[test]
fn an_edit_in_the_tick_of_the_users_own_add_is_seen() {
    for n in 0..8 {
        let repo = RepoBuilder::new();
        repo.file("a", "one").file("b", "one").git(&["add", "-A"]);
        repo.file("a", format!("{n:03}"));
        is_the_disk(&repo);
    }
}

#[test]
fn attributes_from_outside_the_tree_convert_nothing_either() {
    for place in ["info", "setting"] {
        let repo = RepoBuilder::new();
        repo.git(&["config", "filter.lfs.clean", "echo pointer"]);
        if place == "info" {
            std::fs::create_dir_all(repo.at(".git/info")).unwrap();
            std::fs::write(repo.at(".git/info/attributes"), "*.bin filter=lfs\n").unwrap();
        } else {
            let file = repo.beside("attributes");
            std::fs::write(&file, "*.bin filter=lfs\n").unwrap();
            repo.git(&["config", "core.attributesFile", file.to_str().unwrap()]);
        }
        repo.file("a.bin", "the real bytes").commit();
        assert_eq!(repo.git(&["show", "HEAD:a.bin"]), "pointer\n");
        is_the_disk(&repo);
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_taken_in_one_of_its_states_and_seen_again() {
    let repo = RepoBuilder::new();
    let state = |n: u8| vec![n; 3 << 20];
    repo.file("busy", state(0)).file("a", "1").commit();
    let near = Repo::discover(repo.path()).unwrap();
    let store = Store::open(&near).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0u8;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                n = n.wrapping_add(1);
                // As editors do: a new file takes the old one's place.
                let aside = repo.beside("aside");
                std::fs::write(&aside, state(n)).unwrap();
                std::fs::rename(&aside, repo.at("busy")).unwrap();
            }
        });
        for _ in 0..10 {
            match capture(&near, &OPEN) {
                Ok(taken) => {
                    let tree = store.read_tree(taken.tree).unwrap();
                    let entry = tree[&RelPath::parse(b"busy").unwrap()];
                    let bytes = store.read_blob(entry.id).unwrap();
                    assert!(bytes.len() == 3 << 20 && bytes.iter().all(|b| *b == bytes[0]));
                }
                Err(Error::Moving { .. }) => {}
                Err(e) => panic!("{e}"),
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    is_the_disk(&repo);
}

#[test]
fn what_is_sent_is_chosen_guarded_and_told_by_the_command_too() {
    let mut cx =
        TestContext::new(&[(".gitignore", "*.log\nbuild/\n"), ("a", "1\n"), ("b.txt", "1\n")]);
    cx.write("keep.log", "1");
    cx.write("drop.log", "1");
    cx.write("build/out", "1");
    cx.write(".env", "TOKEN=1");
    let pipe = std::process::Command::new("mkfifo").arg(cx.work().join("pipe")).status().unwrap();
    assert!(pipe.success());
    let ran = cx
        .agent(
            "find . -path ./.git -prune -o -type f -print | sort",
            &["--json", "--include", "keep.log", "--include", "build", "--exclude", "*.txt"],
        )
        .exits(0);
    let said: String = ran
        .of_type("agent_output")
        .iter()
        .filter_map(|e| e["data"].as_str().map(|d| format!("{d}\n")))
        .collect();
    let seen: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(
        seen,
        ["./.env", "./.gitignore", "./a", "./build/out", "./keep.log"],
        "{}",
        ran.stdout
    );
    let warned = |code: &str| ran.of_type("warning").iter().any(|e| e["code"] == code);
    assert!(warned("sync.secret") && warned("sync.special"), "{}", ran.stdout);
    // A key is known by its form, too; what is ignored never travels and is not told.
    let key = format!("token: ghp_{}\n", "a1".repeat(18));
    cx.write("notes.md", &key);
    cx.write("ignored.log", &key);
    let told = |ran: &crate::support::context::Ran| -> Vec<String> {
        let all = ran.of_type("warning").into_iter().filter(|e| e["code"] == "sync.secret");
        all.map(|e| e["message"].as_str().unwrap().to_owned()).collect()
    };
    let ran = cx.agent("true", &["--json", "--exclude", "*.txt"]).exits(0);
    assert!(told(&ran).iter().any(|m| m.contains("`notes.md`")), "{:?}", told(&ran));
    assert!(!told(&ran).iter().any(|m| m.contains("ignored.log")), "{:?}", told(&ran));
    assert_eq!(cx.read("b.txt"), "1\n", "what was not sent is not missed");
    cx.write("huge.bin", &"x".repeat(3 << 20));
    let refused = cx.agent("true", &["--max-size", "2M"]).exits(65);
    assert!(refused.stderr.contains("huge.bin"), "{}", refused.stderr);
    cx.set("SANDBOX_CODER_MAX_FILES", "1");
    let refused = cx.agent("true", &[]).exits(65);
    assert!(refused.stderr.contains("--max-files"), "{}", refused.stderr);
}
