//! The user's history as the agent sees it: same commits, same branch, nothing else of theirs.

use sandbox_coder::daytona::script::Script;
use sandbox_coder::sync::history::{self, Depth, Error, History, Known, PACK_MAX, Said, Wanted};
use sandbox_coder::sync::pack::Link;
use sandbox_coder::sync::push::{self, Push, Pushed};
use sandbox_coder::worktree::Repo;

use super::kills;
use super::trees::everywhere;
use crate::support::context::TestContext;
use crate::support::far::{Far, Pair, Tools, until_free, which};
use crate::support::repo::{RepoBuilder, git_in};

const SANDBOX: &str = "box";

fn wanted(pair: &Pair, depth: Depth) -> Wanted {
    Wanted::new(depth, &pair.near.head().unwrap())
}

/// Brings the sandbox up to date, files and history, the way a run does.
#[track_caller]
fn send(pair: &mut Pair, depth: Depth) -> Said {
    let push = pair.plan();
    let known = Known::load(&pair.near, SANDBOX).filter(|_| !push.is_full());
    let plan = History::plan(&pair.near, &wanted(pair, depth), known.as_ref(), PACK_MAX, Link::Far)
        .unwrap();
    let mut script = pair.far.script_of(&push);
    plan.add_to(&mut script);
    let text = pair.far.run(&script);
    assert!(matches!(push::heard(&text).unwrap(), Pushed::Ok { .. }), "{text}");
    pair.base = Some(push.to);
    let said = history::heard(&text).unwrap_or_else(|| panic!("{text}"));
    plan.outcome(SANDBOX, &said).save(&pair.near);
    said
}

/// What git says in the workspace.
#[track_caller]
fn there(pair: &Pair, args: &[&str]) -> String {
    let mut git = pair.far.command("git");
    git.args(args).current_dir(pair.far.workspace()).env("GIT_CONFIG_NOSYSTEM", "1");
    let out = git.output().unwrap();
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Insists that HEAD, branch, log and status are the same on both sides.
#[track_caller]
fn same_past(pair: &Pair) {
    for args in [
        &["rev-parse", "HEAD"][..],
        &["branch", "--show-current"],
        &["log", "--format=%H %T %an %ae %ad %s"],
        &["status", "--porcelain"],
        &["diff"],
        &["diff", "HEAD"],
    ] {
        assert_eq!(there(pair, args), pair.repo.git(args), "git {args:?}");
    }
    there(pair, &["fsck", "--strict"]);
}

fn noise(size: usize) -> Vec<u8> {
    let mut noise = vec![0; size];
    let mut random = std::fs::File::open("/dev/urandom").unwrap();
    std::io::Read::read_exact(&mut random, &mut noise).unwrap();
    noise
}

fn three_commits() -> RepoBuilder {
    let repo = RepoBuilder::new();
    repo.file("a", "one\n").file("d/b", "b\n").exec("tool", "#!/bin/sh\n").commit();
    repo.file("a", "one\ntwo\n").link("l", "a").commit();
    repo.file("a", "one\ntwo\nthree\n").remove("d/b").commit();
    repo
}

#[test]
fn the_agent_sees_the_users_commits_and_what_is_not_committed() {
    everywhere(|far| {
        let repo = three_commits();
        repo.file("a", "one\n2\nthree\n").file("untracked", "u").remove("tool");
        let mut pair = Pair::new(repo, far);
        assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
        same_past(&pair);
        let blame = ["blame", "-s", "a"];
        assert_eq!(there(&pair, &blame), pair.repo.git(&blame));
        assert_eq!(pair.differs(), [""; 0]);
    });
}

/// A first run: the history brings what HEAD has, the archive the rest.
struct First {
    push: Push,
    past: History,
}

impl First {
    #[track_caller]
    fn of(pair: &Pair) -> Self {
        let wanted = wanted(pair, Depth::Shallow);
        let past = History::plan(&pair.near, &wanted, None, PACK_MAX, Link::Near).unwrap();
        let push = pair.plan_beside(&past.carried().unwrap());
        Self { push, past }
    }

    fn script(&self, far: &Far) -> Script {
        let mut script = far.script_after(&self.push, |script| self.past.add_carry(script));
        self.past.add_to(&mut script);
        script
    }
}

/// Insists that a first run was taken.
#[track_caller]
fn arrived(pair: &mut Pair, push: &Push, said: &str) {
    assert!(matches!(push::heard(said).unwrap(), Pushed::Ok { .. }), "{said}");
    assert_eq!(history::heard(said), Some(Said::Put), "{said}");
    pair.base = Some(push.to);
    assert_eq!(pair.differs(), [""; 0]);
    same_past(pair);
    let left = ["stage", "txn", "history.git"].map(|name| pair.far.state().join(name).exists());
    assert_eq!(left, [false; 3]);
}

/// Commits in which git would change the bytes of a file on its way to the disk, and a worktree that differs.
fn carried_in_part() -> RepoBuilder {
    let repo = RepoBuilder::new();
    repo.odd().commit();
    let rules = "*.crlf text eol=crlf\n*.id ident\n*.wide text working-tree-encoding=UTF-16\n";
    repo.file(".gitattributes", rules)
        .file("a.id", "$Id$\n")
        .file("a.wide", b"\xff\xfew\0\n\0")
        .commit();
    repo.file("a.crlf", "a\r\nb\r\n").file("gone", "gone\n").file("plain", "plain\n");
    repo.file("folder/f", "f\n").file("kept", "kept\n").commit();
    repo.remove("gone").exec("plain", "plain\n").file("twice", "kept\n").file("new", "new\n");
    repo.remove("folder").link("folder", "kept");
    repo
}

#[test]
fn what_heads_history_brings_does_not_travel_twice() {
    everywhere(|far| {
        let mut pair = Pair::new(carried_in_part(), far);
        let first = First::of(&pair);
        let script = first.script(&pair.far);
        for _ in 0..2 {
            let said = pair.far.run(&script);
            arrived(&mut pair, &first.push, &said);
            pair.same();
        }
        pair.repo.file("later", "l\n").commit();
        assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
        same_past(&pair);
    });
    let repo = RepoBuilder::new();
    repo.file("large", noise(300_000)).commit().file("small", "s");
    let pair = Pair::new(repo, Far::new());
    let (whole, rest) = (pair.plan(), First::of(&pair).push);
    assert!(whole.bytes > 300_000 && rest.bytes < 2000, "{} and {}", whole.bytes, rest.bytes);
}

/// Kills a first run before every second of its commands.
fn carried_killed(first: usize) {
    let mut pair = Pair::new(carried_in_part(), Far::new());
    for turn in (first..).step_by(2) {
        (pair.far, pair.base) = (Far::new(), None);
        kills::count_calls(&pair.far);
        let mut run = First::of(&pair);
        let died = kills::dies_at(&pair.far, &run.script(&pair.far), turn);
        // It is delivered again, or the next run has made all of it anew.
        if turn / 2 % 2 == 0 {
            run = First::of(&pair);
        }
        let script = run.script(&pair.far);
        let said = until_free(|| Some(pair.far.run(&script)).filter(|s| !s.contains("SBX1 busy")));
        arrived(&mut pair, &run.push, &said);
        pair.same();
        if !died {
            assert!(turn > 40, "only {turn} commands");
            break;
        }
    }
}

#[test]
fn a_first_run_killed_before_an_odd_command_is_healed() {
    carried_killed(1);
}

#[test]
fn a_first_run_killed_before_an_even_command_is_healed() {
    carried_killed(2);
}

#[test]
fn a_sandbox_that_cannot_use_the_history_is_given_the_whole_tree() {
    let broken = |program: &str, text: &str| {
        let far = Far::new();
        let path = far.bin().join(program);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).unwrap();
        far
    };
    let git = which("git").unwrap().into_os_string().into_string().unwrap();
    let fails = |word| format!("case \" $* \" in *' {word} '*) exit 1;; esac; exec {git} \"$@\"");
    let fars = [
        Far::with(Tools::Without("git")),
        Far::with(Tools::Bare),
        Some(broken("tail", "echo no pack")),
        Some(broken("git", &fails("checkout-index"))),
        Some(broken("git", &fails("cat-file"))),
    ];
    for far in fars.into_iter().flatten() {
        let mut pair = Pair::new(carried_in_part(), far);
        let mut first = First::of(&pair);
        let said = pair.far.run(&first.script(&pair.far));
        assert_eq!(push::heard(&said).unwrap(), Pushed::Lacking, "{said}");
        assert!(!pair.far.state().join("txn").exists() && !pair.far.state().join("base").exists());
        first.past.carry_nothing();
        assert_eq!(first.past.carried(), None);
        pair.push();
        pair.same();
    }
}

#[test]
fn a_history_that_is_of_another_delivery_is_not_counted_on() {
    let pair = Pair::new(carried_in_part(), Far::new());
    let (first, other) = (First::of(&pair), First::of(&pair));
    let script = pair.far.script_after(&first.push, |script| other.past.add_carry(script));
    assert_eq!(push::heard(&pair.far.run(&script)).unwrap(), Pushed::Lacking);
}

#[test]
fn nothing_else_of_the_users_repository_travels() {
    let repo = three_commits();
    repo.git(&["remote", "add", "origin", "https://me:hunter2@example.invalid/x.git"]);
    repo.git(&["config", "http.extraHeader", "Authorization: hunter2"]);
    repo.git(&["config", "core.hooksPath", "/hunter2"]);
    repo.git(&["config", "core.fsmonitor", "touch hunter2"]);
    repo.git(&["config", "alias.st", "!echo hunter2"]);
    repo.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
    repo.git(&["tag", "hunter2"]);
    repo.git(&["stash", "store", "-m", "hunter2", "HEAD"]);
    std::fs::write(repo.at(".git/hooks/post-checkout"), "#!/bin/sh\necho hunter2\n").unwrap();
    let before = listing_of_git(&repo);
    let mut pair = Pair::new(repo, Far::new());
    assert_eq!(send(&mut pair, Depth::Full), Said::Put);
    assert_eq!(listing_of_git(&pair.repo), before, "the user's repository is only read");
    let refs = there(&pair, &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(refs, "refs/heads/main\n");
    assert_eq!(there(&pair, &["remote"]), "");
    let settings = there(&pair, &["config", "--local", "--list"]);
    assert!(!settings.contains("hunter2") && !settings.contains("user."), "{settings}");
    let dot = pair.far.workspace().join(".git");
    assert!(!dot.join("hooks").exists());
    let found = std::process::Command::new("grep").arg("-rla").arg("hunter2").arg(&dot).output();
    assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "");
}

/// The user's `.git` but for our own folder in it.
fn listing_of_git(repo: &RepoBuilder) -> Vec<(Vec<u8>, char, Vec<u8>)> {
    let mut all = crate::support::repo::listing(&repo.at(".git"));
    all.retain(|(name, ..)| !name.starts_with(b"sandbox-coder/"));
    all
}

/// What moves the head.
type Move<'m> = &'m dyn Fn(&RepoBuilder);

#[test]
fn a_head_that_moves_is_followed() {
    everywhere(|far| {
        let mut pair = Pair::new(three_commits(), far);
        assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
        let moves: [(&str, Move<'_>); 7] = [
            ("a commit of what was sent", &|repo| {
                repo.file("new", "n").commit();
            }),
            ("another branch", &|repo| {
                repo.git(&["switch", "-qc", "topic/one"]);
            }),
            ("an amended commit", &|repo| {
                repo.git(&["commit", "-q", "--amend", "-m", "other words"]);
            }),
            ("a branch whose name is a folder of the last one", &|repo| {
                repo.git(&["switch", "-qc", "side", "HEAD~2"]);
                repo.git(&["branch", "-D", "-q", "topic/one"]);
                repo.git(&["switch", "-qc", "topic"]);
                repo.file("s", "s").commit();
            }),
            ("a merge", &|repo| {
                repo.git(&["merge", "-q", "-m", "merged", "main"]);
            }),
            ("a reset far back", &|repo| {
                repo.git(&["reset", "-q", "--hard", "main~3"]);
            }),
            ("no branch", &|repo| {
                repo.git(&["checkout", "-q", "--detach", "main"]);
            }),
        ];
        for (what, act) in moves {
            act(&pair.repo);
            let known = Known::load(&pair.near, SANDBOX).unwrap();
            assert!(!known.satisfies(&wanted(&pair, Depth::Shallow)), "{what}");
            assert_eq!(send(&mut pair, Depth::Shallow), Said::Put, "{what}");
            same_past(&pair);
            let known = Known::load(&pair.near, SANDBOX).unwrap();
            assert!(known.satisfies(&wanted(&pair, Depth::Shallow)), "{what}");
        }
    });
}

#[test]
fn only_what_is_new_follows() {
    let repo = RepoBuilder::new();
    let noise = noise(20_000);
    repo.file("noise", noise).commit();
    let mut pair = Pair::new(repo, Far::new());
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    pair.repo.file("a", "1").commit();
    let known = Known::load(&pair.near, SANDBOX).unwrap();
    let next = History::plan(
        &pair.near,
        &wanted(&pair, Depth::Shallow),
        Some(&known),
        PACK_MAX,
        Link::Far,
    );
    let next = next.unwrap();
    assert!(next.continues() && next.bytes() < 2000, "{} bytes", next.bytes());
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    same_past(&pair);
}

#[test]
fn a_repository_in_which_the_agent_committed_is_left_alone() {
    let mut pair = Pair::new(three_commits(), Far::new());
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    pair.far.agent("git commit -q --allow-empty -m mine");
    let theirs = there(&pair, &["rev-parse", "HEAD"]);
    pair.repo.file("new", "n").commit();
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Kept);
    assert_eq!(there(&pair, &["rev-parse", "HEAD"]), theirs);
    assert_eq!(there(&pair, &["status", "--porcelain"]), "?? new\n");
    pair.repo.file("newer", "n").commit();
    let known = Known::load(&pair.near, SANDBOX).unwrap();
    assert!(known.satisfies(&wanted(&pair, Depth::Full)), "it is not asked again");
}

#[test]
fn a_repository_in_the_middle_of_something_is_left_alone() {
    let mut pair = Pair::new(three_commits(), Far::new());
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    pair.far.agent("git rev-parse HEAD~1 >.git/MERGE_HEAD");
    pair.repo.file("new", "n").commit();
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Kept);
}

#[test]
fn a_repository_that_is_a_trap_is_left_alone() {
    for trap in [
        "rm .git/HEAD; mkfifo .git/HEAD",
        "mv .git ../moved; ln -s ../moved .git",
        "echo [ >.git/config",
    ] {
        let mut pair = Pair::new(three_commits(), Far::new());
        assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
        pair.far.agent(trap);
        pair.repo.file("new", "n").commit();
        assert_eq!(send(&mut pair, Depth::Shallow), Said::Kept, "{trap}");
    }
}

#[test]
fn a_repository_that_is_not_what_was_remembered_gets_everything_at_the_next_run() {
    let mut pair = Pair::new(three_commits(), Far::new());
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    pair.far.agent("rm -rf .git");
    pair.repo.file("new", "n").commit();
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Stale);
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    same_past(&pair);
}

#[test]
fn a_step_delivered_twice_does_its_work_once() {
    let mut pair = Pair::new(three_commits(), Far::new());
    send(&mut pair, Depth::Shallow);
    pair.repo.file("new", "n").commit();
    let known = Known::load(&pair.near, SANDBOX);
    let plan = History::plan(
        &pair.near,
        &wanted(&pair, Depth::Shallow),
        known.as_ref(),
        PACK_MAX,
        Link::Far,
    );
    let plan = plan.unwrap();
    let push = pair.plan();
    let mut script = pair.far.script_of(&push);
    plan.add_to(&mut script);
    for _ in 0..2 {
        assert_eq!(history::heard(&pair.far.run(&script)), Some(Said::Put));
        pair.base = Some(push.to);
        same_past(&pair);
    }
}

/// Insists that HEAD and its branch are the user's and that nothing is changed: what a killed script could spoil.
#[track_caller]
fn same_head(pair: &Pair, turn: usize) {
    for args in [&["rev-parse", "HEAD"][..], &["branch"], &["status", "--porcelain"]] {
        let lines = pair.repo.git(args);
        let ours = lines.lines().filter(|l| args != ["branch"] || l.starts_with('*'));
        assert!(ours.eq(there(pair, args).lines()), "git {args:?} after {turn}");
    }
}

/// Kills the step that moves a history on before every second of its commands. One repetition heals.
fn killed_on_the_move(first: usize) {
    let mut pair = Pair::new(three_commits(), Far::new());
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    kills::count_calls(&pair.far);
    for turn in (first..).step_by(2) {
        // A commit on a branch of its own, so that each step has something to do.
        pair.repo.git(&["switch", "-qc", &format!("b{turn}")]);
        pair.repo.file("a", format!("{turn}\n")).commit();
        let known = Known::load(&pair.near, SANDBOX).unwrap();
        let wanted = wanted(&pair, Depth::Shallow);
        let history =
            History::plan(&pair.near, &wanted, Some(&known), PACK_MAX, Link::Far).unwrap();
        assert!(history.continues());
        let mut script = Script::new();
        history.add_to(&mut script);
        let died = kills::dies_at(&pair.far, &script, turn);
        // Whoever repeats it has made the history anew.
        assert_eq!(send(&mut pair, Depth::Shallow), Said::Put, "after {turn}");
        same_head(&pair, turn);
        if !died {
            assert!(turn > 20, "only {turn} commands");
            break;
        }
    }
    same_past(&pair);
}

#[test]
fn a_history_killed_before_an_odd_command_is_healed() {
    killed_on_the_move(1);
}

#[test]
fn a_history_killed_before_an_even_command_is_healed() {
    killed_on_the_move(2);
}

/// Kills the step that gives a new sandbox its history in the same way.
fn killed_at_first(first: usize) {
    let mut pair = Pair::new(three_commits(), Far::new());
    let wanted = wanted(&pair, Depth::Shallow);
    for turn in (first..).step_by(2) {
        (pair.far, pair.base) = (Far::new(), None);
        kills::count_calls(&pair.far);
        pair.push();
        let history = History::plan(&pair.near, &wanted, None, PACK_MAX, Link::Far).unwrap();
        let mut script = Script::new();
        history.add_to(&mut script);
        let died = kills::dies_at(&pair.far, &script, turn);
        let _ = std::fs::remove_file(pair.near.state_dir().join("history.json"));
        assert_eq!(send(&mut pair, Depth::Shallow), Said::Put, "after {turn}");
        same_head(&pair, turn);
        if !died {
            assert!(turn > 20, "only {turn} commands");
            break;
        }
    }
    same_past(&pair);
}

#[test]
fn a_first_history_killed_before_an_odd_command_is_healed() {
    killed_at_first(1);
}

#[test]
fn a_first_history_killed_before_an_even_command_is_healed() {
    killed_at_first(2);
}

#[test]
fn a_long_history_is_cut_and_can_be_had_whole() {
    let repo = RepoBuilder::new();
    for n in 0..40 {
        repo.file("a", format!("{n}")).commit();
    }
    repo.git(&["switch", "-qc", "side"]);
    for n in 0..15 {
        repo.file("side", format!("{n}")).commit();
    }
    repo.git(&["switch", "-q", "main"]);
    for n in 0..30 {
        repo.file("b", format!("{n}")).commit();
    }
    repo.git(&["merge", "-q", "-m", "merged", "side"]);
    let mut pair = Pair::new(repo, Far::new());
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    let count = |pair: &Pair| there(pair, &["rev-list", "--count", "HEAD"]).trim().to_owned();
    // The merge, both sides whole, and 33 of the 40 before them: the shorter side reaches further down.
    assert_eq!(count(&pair), "80");
    there(&pair, &["fsck", "--strict"]);
    pair.repo.file("c", "c").commit();
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    assert_eq!(count(&pair), "81", "it grows and is not cut again");
    pair.repo.git(&["reset", "-q", "--hard", "HEAD~20"]);
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    there(&pair, &["fsck", "--strict"]);
    assert_eq!(send(&mut pair, Depth::Full), Said::Put);
    same_past(&pair);
    pair.repo.git(&["merge", "-q", "-m", "again", "side"]);
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put, "a whole history stays whole");
    same_past(&pair);
}

#[test]
fn a_shallow_clone_is_as_shallow_over_there() {
    let origin = three_commits();
    let repo = RepoBuilder::new();
    let url = format!("file://{}", origin.path().display());
    repo.git(&["fetch", "-q", "--depth=2", &url, "main"]);
    repo.git(&["reset", "-q", "--hard", "FETCH_HEAD"]);
    for depth in [Depth::Shallow, Depth::Full] {
        let repo = RepoBuilder::new();
        repo.git(&["fetch", "-q", "--depth=2", &url, "main"]);
        repo.git(&["reset", "-q", "--hard", "FETCH_HEAD"]);
        let mut pair = Pair::new(repo, Far::new());
        assert_eq!(send(&mut pair, depth), Said::Put);
        same_past(&pair);
        pair.repo.file("more", "m").commit();
        assert_eq!(send(&mut pair, depth), Said::Put);
        same_past(&pair);
    }
}

#[test]
fn an_unborn_branch_gives_one_commit_until_it_is_born() {
    let repo = RepoBuilder::new();
    repo.file("a", "1");
    let mut pair = Pair::new(repo, Far::new());
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Minimal);
    assert_eq!(there(&pair, &["log", "--format=%s"]), "The worktree as it was sent\n");
    assert_eq!(there(&pair, &["branch", "--show-current"]), "main\n");
    assert_eq!(there(&pair, &["status", "--porcelain"]), "");
    pair.repo.commit();
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    same_past(&pair);
}

#[test]
fn without_history_there_is_one_commit() {
    everywhere(|far| {
        let mut pair = Pair::new(three_commits(), far);
        assert_eq!(send(&mut pair, Depth::None), Said::Minimal);
        assert_eq!(there(&pair, &["rev-list", "--count", "HEAD"]), "1\n");
        assert_eq!(there(&pair, &["status", "--porcelain"]), "");
        pair.repo.file("a", "changed").commit();
        let known = Known::load(&pair.near, SANDBOX).unwrap();
        assert!(known.satisfies(&wanted(&pair, Depth::None)));
        assert_eq!(send(&mut pair, Depth::Shallow), Said::Put, "it can be had later");
        same_past(&pair);
    });
}

#[test]
fn repositories_of_the_other_hash_travel_too() {
    let repo = RepoBuilder::with(&["--object-format=sha256"]);
    repo.file("a", "1").commit().file("a", "2").commit();
    let mut pair = Pair::new(repo, Far::new());
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    same_past(&pair);
    pair.repo.file("a", "3").commit();
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    same_past(&pair);
}

#[test]
fn a_submodule_that_does_not_travel_is_no_change() {
    let inner = three_commits();
    let repo = three_commits();
    let url = inner.path().to_str().unwrap();
    repo.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, "mod ule"]);
    repo.commit();
    let mut pair = Pair::new(repo, Far::new());
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    same_past(&pair);
}

#[test]
fn what_is_missing_here_is_not_fetched_and_shortens_the_history() {
    let origin = three_commits();
    origin.git(&["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", origin.path().display());
    let repo = RepoBuilder::new();
    std::fs::remove_dir_all(repo.path()).unwrap();
    let dir = repo.path().parent().unwrap();
    let clone = ["clone", "-q", "--filter=blob:none", &url, "work"];
    assert!(git_in(dir).args(clone).status().unwrap().success());
    // From here on, every attempt to fetch would be seen.
    repo.git(&["config", "remote.origin.uploadpack", "touch fetched; false"]);
    let mut pair = Pair::new(repo, Far::new());
    let plan =
        History::plan(&pair.near, &wanted(&pair, Depth::Full), None, PACK_MAX, Link::Far).unwrap();
    assert_eq!(plan.shortened.map(|(levels, _)| levels), Some(1));
    assert_eq!(send(&mut pair, Depth::Shallow), Said::Put);
    assert_eq!(there(&pair, &["rev-parse", "HEAD"]), pair.repo.git(&["rev-parse", "HEAD"]));
    assert_eq!(there(&pair, &["status", "--porcelain"]), "");
    there(&pair, &["fsck", "--strict"]);
    assert!(!pair.repo.at("fetched").exists());
    // Without the files of HEAD itself there is nothing to send.
    let blob = pair.repo.git(&["rev-parse", "HEAD:a"]);
    let pack = std::fs::read_dir(pair.repo.at(".git/objects/pack")).unwrap();
    let packs: Vec<_> = pack.flatten().map(|e| e.path()).collect();
    for path in packs.iter().filter(|p| p.extension().is_some_and(|e| e == "pack")) {
        let holds = pair.repo.git(&["verify-pack", "-v", path.to_str().unwrap()]);
        if holds.contains(blob.trim()) {
            for part in ["pack", "idx", "rev", "promisor"] {
                let _ = std::fs::remove_file(path.with_extension(part));
            }
        }
    }
    let near = Repo::discover(pair.repo.path()).unwrap();
    let refused = History::plan(&near, &wanted(&pair, Depth::Shallow), None, PACK_MAX, Link::Far);
    assert!(matches!(refused, Err(Error::Git(_))), "{refused:?}");
    assert!(!pair.repo.at("fetched").exists());
}

#[test]
fn what_is_too_large_is_shortened_and_then_left_out() {
    let repo = RepoBuilder::new();
    let noise = noise(300_000);
    repo.file("large", &noise).commit().remove("large").file("small", &noise[..3000]).commit();
    let pair = Pair::new(repo, Far::new());
    let plan = |max| History::plan(&pair.near, &wanted(&pair, Depth::Full), None, max, Link::Far);
    assert!(plan(PACK_MAX).unwrap().shortened.is_none());
    let (levels, why) = plan(100_000).unwrap().shortened.unwrap();
    assert_eq!((levels, why.contains("larger than")), (1, true), "{why}");
    assert!(matches!(plan(1000), Err(Error::TooLarge(1000))));
}

#[test]
fn a_sandbox_without_git_is_no_trouble() {
    let Some(far) = Far::with(Tools::Without("git")) else { return };
    let pair = Pair::new(three_commits(), far);
    let plan = History::plan(&pair.near, &wanted(&pair, Depth::Shallow), None, PACK_MAX, Link::Far)
        .unwrap();
    let mut script = Script::new();
    plan.add_to(&mut script);
    assert_eq!(history::heard(&pair.far.run(&script)), Some(Said::Kept));
}

#[test]
fn a_pack_that_arrives_damaged_leaves_one_commit() {
    let mut pair = Pair::new(three_commits(), Far::new());
    let plan = History::plan(&pair.near, &wanted(&pair, Depth::Shallow), None, PACK_MAX, Link::Far)
        .unwrap();
    let push = pair.plan();
    let mut script = pair.far.script_of(&push);
    plan.add_to(&mut script);
    std::fs::write(pair.far.bin().join("tail"), "#!/bin/sh\necho no pack\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(pair.far.bin().join("tail"), mode).unwrap();
    let text = pair.far.run(&script);
    assert!(matches!(push::heard(&text).unwrap(), Pushed::Ok { .. }), "{text}");
    assert!(matches!(history::heard(&text), Some(Said::Failed(_))), "{text}");
    pair.base = Some(push.to);
    assert_eq!(there(&pair, &["rev-list", "--count", "HEAD"]), "1\n");
}

/// The requests a run made, as its log tells them.
fn requests(stderr: &str) -> usize {
    stderr.lines().filter(|l| l.contains("/process/execute") || l.contains("bulk-upload")).count()
}

#[test]
fn a_run_takes_the_history_along_and_a_second_one_asks_nothing_more() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let noise = noise(200_000);
    std::fs::write(cx.work().join("noise"), noise).unwrap();
    cx.git(&["add", "-A"]);
    cx.git(&["commit", "-qm", "large"]);
    cx.write("a", "2\n");
    let look = "git rev-parse HEAD; git branch --show-current; git status --short; git --no-pager log --format=%s; git remote";
    let head = cx.git(&["rev-parse", "HEAD"]);
    let first = cx.agent(look, &[]).exits(0);
    let expected = format!("{head}work\n M a\nlarge\nstart\n");
    assert!(first.stdout.contains(&expected), "{}\n{}", first.stdout, first.stderr);
    let quiet = cx.agent(look, &["--debug"]).exits(0);
    let none = cx.agent(look, &["--debug", "--history", "none"]).exits(0);
    assert!(requests(&quiet.stderr) > 0, "{}", quiet.stderr);
    assert_eq!(requests(&quiet.stderr), requests(&none.stderr));
    cx.git(&["commit", "-qam", "third"]);
    let head = cx.git(&["rev-parse", "HEAD"]);
    let third = cx.agent(look, &["--debug"]).exits(0);
    let expected = format!("{head}work\nthird\nlarge\nstart\n");
    assert!(third.stdout.contains(&expected), "{}", third.stdout);
    assert_eq!(requests(&third.stderr), requests(&none.stderr), "a small increment rides along");
}

#[test]
fn what_is_excluded_does_not_travel_in_old_commits_either() {
    let cx = TestContext::new(&[("a", "1\n"), ("private/p", "hunter2\n")]);
    let look = "git --no-pager log --format=%s; git --no-pager ls-files; git grep -q hunter2 && echo leaked; true";
    let ran = cx.agent(look, &["--exclude", "private/**"]).exits(0);
    assert!(ran.stdout.contains("The worktree as it was sent\na\n"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("leaked") && !ran.stdout.contains("private"), "{}", ran.stdout);
    assert!(ran.stderr.contains("HEAD's history is not sent"), "{}", ran.stderr);
}
