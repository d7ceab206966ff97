//! A sandbox without git, also one that is busybox and nothing else.

use sandbox_coder::daytona::script::Script;
use sandbox_coder::rel_path::escape;
use sandbox_coder::sync::pull;
use sandbox_coder::sync::push::Pushed;
use sandbox_coder::tree::Mode;
use sandbox_coder::worktree::store::tree_id;

use super::kills;
use super::refusals::{ALREADY, OK, of_two_one_waits, pair};
use crate::support::far::{Far, Pair, Tools};
use crate::support::repo::{RepoBuilder, listing};

/// The kinds of sandbox without git that this machine can play.
fn without_git(test: impl Fn(Far)) {
    for tools in [Tools::Bare, Tools::Without("git")] {
        match Far::with(tools) {
            Some(far) => test(far),
            None => eprintln!("skipped: this machine has no {tools:?}"),
        }
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn an_odd_tree_arrives_and_comes_back() {
    without_git(|far| {
        let repo = RepoBuilder::new();
        repo.odd()
            .file("newline at the end\n", "1")
            .file("\\n", "1")
            .file("a\\\nb\\\\\n\nc", "1")
            .file("\u{1}\r\t", "1");
        let mut pair = Pair::new(repo, far);
        pair.push();
        pair.same();
        assert_eq!(pair.differs(), NOTHING);
        assert_eq!(pair.far.push(&pair.plan()), ALREADY);
        // All of it changes, so all of it is told.
        pair.far.agent("find . -type f -exec sh -c 'for f do echo more >>\"$f\"; done' sh {} +; find . -type l -exec sh -c 'for f do rm \"$f\"; ln -s \"t\n$f\n\" \"$f\"; done' sh {} +");
        let (_, records, tree) = pair.pull();
        assert_eq!(records.claims.len(), listing(pair.repo.path()).len());
        assert_eq!(records.tree, tree_id(&tree));
        for (name, _, content) in listing(&pair.far.workspace()) {
            let path = sandbox_coder::rel_path::RelPath::parse(&name).unwrap();
            let entry = tree.get(&path).unwrap_or_else(|| panic!("{}", escape(&name)));
            assert_eq!(pair.store().read_blob(entry.id).unwrap(), content, "{}", escape(&name));
        }
    });
}

#[test]
fn every_change_of_kind_travels_both_ways() {
    without_git(|far| {
        let repo = RepoBuilder::new();
        repo.file("to-dir", "f").file("to-file/a/b", "1").link("link", "nowhere");
        repo.file("to-link", "x").file("mode", "m").exec("tool", "t").file("stays", "s");
        repo.file("gone", "1").file("last/one", "1").file("same", "1");
        let mut pair = Pair::new(repo, far);
        pair.push();
        pair.far.agent(
            "rm to-dir; mkdir to-dir; echo 1 >to-dir/x; rm -r to-file; echo f >to-file; ln -snf elsewhere link\n\
             rm to-link; ln -s tool to-link; chmod 755 mode; chmod 644 tool; rm gone; rm -r last\n\
             echo n >new; printf '' >empty; touch stays; printf 1 >same",
        );
        let (offer, records, tree) = pair.pull();
        assert_eq!((offer.trouble.as_str(), offer.nested.len()), ("", 0));
        let names: Vec<_> = records.claims.iter().map(|c| escape(&c.path)).collect();
        assert_eq!(
            names,
            [
                "empty",
                "gone",
                "last/one",
                "link",
                "mode",
                "new",
                "to-dir",
                "to-dir/x",
                "to-file",
                "to-file/a/b",
                "to-link",
                "tool"
            ],
            "what was only touched, or written as it was, does not differ"
        );
        let mode = |name: &str| {
            let path = sandbox_coder::rel_path::RelPath::parse(name.as_bytes()).unwrap();
            tree[&path].mode
        };
        assert_eq!((mode("mode"), mode("tool")), (Mode::Exec, Mode::File));
        assert_eq!((mode("link"), mode("to-link")), (Mode::Link, Mode::Link));
        assert!(pair.settle(&offer, records.tree));
        assert_eq!(pair.differs(), NOTHING);
        // And all of it back.
        assert_eq!(pair.far.push(&pair.plan()), OK);
        pair.same();
        pair.base = Some(pair.look().0);
        assert_eq!(pair.differs(), NOTHING);
    });
}

#[test]
fn work_that_was_never_fetched_is_not_written_over() {
    without_git(|far| {
        let repo = RepoBuilder::new();
        repo.file("a", "1").file("b", "1");
        let mut pair = Pair::new(repo, far);
        pair.push();
        pair.repo.file("a", "2");
        // The same size, and as soon as it can be.
        std::fs::write(pair.far.workspace().join("b"), "2").unwrap();
        let before = listing(&pair.far.workspace());
        assert_eq!(pair.far.push(&pair.plan()), Pushed::Dirty);
        assert!(listing(&pair.far.workspace()) == before);
        assert_eq!(pair.differs(), ["b"]);
        std::fs::write(pair.far.workspace().join("b"), "3").unwrap();
        let (offer, records, _) = pair.pull();
        std::fs::write(pair.far.workspace().join("b"), "4").unwrap();
        assert!(pair.settle(&offer, records.tree));
        assert_eq!(pair.differs(), ["b"], "an edit after the look is not lost in it");
    });
}

#[test]
fn what_was_put_aside_is_not_missed_later() {
    without_git(|far| {
        let repo = RepoBuilder::new();
        repo.file(".gitignore", "folder/\nlone\n!lone/\n").file("a", "1");
        let mut pair = Pair::new(repo, far);
        pair.push();
        pair.far.agent(
            "mkdir folder folder/deep; echo 1 >folder/deep/in; echo 1 >lone; echo 1 >folder-x",
        );
        let (offer, records, _) = pair.pull();
        assert!(pair.settle(&offer, records.tree));
        pair.repo.file("folder-x", "1\n").file("folder", "1").file("lone/x", "1");
        let push = pair.plan();
        let heard = pair.far.push(&push);
        assert!(matches!(&heard, Pushed::Ok { aside: Some(_), .. }), "{heard:?}");
        assert_eq!(pair.far.push(&push), Pushed::Ok { already: true, aside: None });
        pair.base = Some(push.to);
        assert_eq!(pair.differs(), NOTHING);
    });
}

#[test]
fn the_sandboxs_own_ignore_rules_decide() {
    without_git(|far| {
        let repo = RepoBuilder::new();
        repo.file(".gitignore", "*.log\n").file("a", "1").file("kept.tmp", "1");
        // What the user alone excludes is not ignored over there.
        repo.file(".git/info/exclude", "*.mine\n").file("x.mine", "here");
        let mut pair = Pair::new(repo, far);
        pair.push();
        pair.far.agent(
            "echo 1 >x.log; printf '*.log\\n*.tmp\\nbuild/\\n' >.gitignore; mkdir -p build/deep sub\n\
             echo 1 >build/deep/out; echo 1 >new.tmp; echo 2 >kept.tmp; echo '!x.log' >sub/.gitignore; echo 1 >sub/x.log\n\
             mkdir .sandbox-coder; echo 1 >.sandbox-coder/x; echo 1 >y.mine",
        );
        let (offer, records, _) = pair.pull();
        let names: Vec<_> = records.claims.iter().map(|c| escape(&c.path)).collect();
        assert_eq!(names, [".gitignore", "kept.tmp", "sub/.gitignore", "sub/x.log", "y.mine"]);
        // Named is what stays by the edited rules alone.
        assert_eq!(offer.ignored.names, [&b"build/deep/out"[..], b"new.tmp"]);
        assert!(pair.settle(&offer, records.tree));
        assert_eq!(pair.differs(), NOTHING);
    });
}

#[test]
fn what_cannot_be_read_is_told_and_nothing_is_settled_over_it() {
    if rustix::process::geteuid().is_root() {
        without_git(|far| {
            let repo = RepoBuilder::new();
            repo.file("a", "1").file("d/b", "1").file("c", "1");
            let mut pair = Pair::new(repo, far);
            pair.push();
            pair.far.agent("echo 2 >a; chmod 0 a; echo 2 >c");
            let (offer, records, _) = pair.pull();
            let names: Vec<_> = records.claims.iter().map(|c| escape(&c.path)).collect();
            assert_eq!((names, offer.can_settle()), (vec!["c".to_owned()], false));
            assert!(offer.trouble.contains("`a` cannot be read"), "{}", offer.trouble);
            pair.far.agent("chmod 644 a; chmod 0 d");
            let (offer, records, _) = pair.pull();
            let names: Vec<_> = records.claims.iter().map(|c| escape(&c.path)).collect();
            assert_eq!(names, ["a", "c"], "what is in a closed folder is not gone");
            assert!(!offer.can_settle(), "{}", offer.trouble);
            pair.far.agent("chmod 755 d");
            assert_eq!(pair.differs(), ["a", "c"]);
        });
    } else {
        eprintln!("skipped: the sandbox's user is the test's own");
    }
}

#[test]
fn repositories_of_the_agent_are_named_and_stay() {
    without_git(|far| {
        let repo = RepoBuilder::new();
        repo.file("a", "1").file("sub/f", "1");
        let mut pair = Pair::new(repo, far);
        pair.push();
        pair.far.agent(
            "mkdir -p .git clone/.git clone/src sub/.git; echo x >.git/HEAD; echo x >clone/.git/HEAD\n\
             echo 1 >clone/src/x; echo 2 >sub/f; echo n >sub/n",
        );
        let (offer, records, _) = pair.pull();
        let names: Vec<_> = records.claims.iter().map(|c| escape(&c.path)).collect();
        assert_eq!(names, ["sub/f"]);
        assert_eq!(offer.nested, ["clone", "sub"]);
    });
}

#[test]
fn a_push_killed_on_its_way_is_healed_by_one_repetition() {
    let mut pair = kills::start(Far::with(Tools::Without("git")).unwrap());
    // What git ignores is settled first: nobody has looked at it yet.
    let (offer, records, _) = pair.pull();
    assert!(records.claims.is_empty() && pair.settle(&offer, records.tree));
    kills::count_calls(&pair.far);
    let mut died = 0;
    for (n, turn) in [4, 17, 30, 43].into_iter().enumerate() {
        kills::step(&pair.repo, n + 1);
        let push = pair.plan();
        died += u32::from(kills::dies_at(&pair.far, &pair.far.script_of(&push), turn));
        // Whoever repeats it may have made the archive anew.
        let push = if n % 2 == 0 { pair.plan() } else { push };
        kills::heals(&mut pair, &push);
        kills::precious(&pair.far);
    }
    assert!(died > 2, "only {died} cuts");
}

#[test]
fn a_pull_killed_on_its_way_is_repeated() {
    let mut pair = kills::start(Far::with(Tools::Without("git")).unwrap());
    kills::count_calls(&pair.far);
    for turn in [2, 9, 14, 18, 22, 26, 30] {
        pair.far.agent(&format!(
            "mkdir -p d1; echo {turn} > new; echo {turn} > 'd1/odd {turn}'; rm -f d2/f2"
        ));
        let mut ask = Script::new();
        pull::add_to(&mut ask, &Default::default());
        kills::dies_at(&pair.far, &ask, turn);
        let (offer, records, tree) = pair.pull();
        assert_eq!(records.tree, tree_id(&tree));
        let mut settle = Script::new();
        pull::add_settle(&mut settle, offer.base, records.tree, offer.tree);
        kills::dies_at(&pair.far, &settle, turn);
        let mut moved = std::iter::repeat_with(|| pair.settle(&offer, records.tree)).take(1000);
        assert!(moved.any(|moved| moved), "after {turn}");
        assert_eq!(pair.differs(), NOTHING, "after {turn}");
        kills::precious(&pair.far);
    }
}

#[test]
fn of_two_deliveries_at_the_same_time_one_waits() {
    without_git(|far| of_two_one_waits(pair(far), 2));
}

#[test]
fn git_that_comes_or_goes_changes_nothing_before_the_next_whole_tree() {
    let repo = RepoBuilder::new();
    repo.file("a", "1");
    let mut pair = Pair::new(repo, Far::with(Tools::Without("git")).unwrap());
    pair.push();
    std::os::unix::fs::symlink(
        crate::support::far::which("git").unwrap(),
        pair.far.bin().join("git"),
    )
    .unwrap();
    pair.far.agent("git init -q .; git add a; git commit -qm x; echo 2 >a");
    assert_eq!(pair.differs(), ["a"]);
    pair.far.agent("printf 1 >a");
    pair.repo.file("b", "1");
    assert_eq!(pair.far.push(&pair.plan()), Pushed::Dirty, "it was written meanwhile");
    let (offer, records, _) = pair.pull();
    assert!(records.claims.is_empty() && pair.settle(&offer, records.tree));
    pair.push();
    assert!(pair.far.state().join("plain").exists());
}
