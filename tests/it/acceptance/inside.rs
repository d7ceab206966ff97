//! An agent that attacks from inside: it plants, replaces and forges whatever its user can reach over there,
//! the state of the sync included. Here nothing runs, and nothing outside the worktree changes.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use sandbox_coder::daytona::script::Script;
use sandbox_coder::sync::pull;
use sandbox_coder::sync::records::Limits;
use sandbox_coder::tree::Oid;

use super::liars::{nothing_changed, picture};
use crate::support::context::{Ran, TestContext, write};
use crate::support::far::{Far, Pair};
use crate::support::repo::RepoBuilder;

/// How a command may end when it was lied to: done, or one of the documented refusals.
const FAIR: [i32; 7] = [0, 69, 74, 76, 81, 82, 83];

/// A worktree with a marker that any planted command would leave on this side.
struct Victim {
    cx: TestContext,
}

impl Victim {
    fn new() -> Self {
        let cx = TestContext::new(&[("a", "1\n"), ("b", "1\n"), ("sub/s", "1\n")]);
        write(&cx.root().join("project/guard"), b"guarded\n");
        cx.agent("true", &[]).exits(0);
        Self { cx }
    }

    fn marker(&self) -> PathBuf {
        self.cx.root().join("executed-here")
    }

    /// Runs an attack, in which `MARK` is a command that must never run here, and every command that
    /// reads the result. Returns how the run itself ended.
    #[track_caller]
    fn attack(&self, script: &str) -> Ran {
        let project = self.cx.root().join("project");
        let before = picture(&project);
        let mark = format!("touch {} 2>/dev/null", self.marker().display());
        let ran = self.cx.agent(&script.replace("MARK", &mark), &[]);
        let rest = [self.cx.run(["diff"]), self.cx.run(["pull"]), self.cx.run(["status"])];
        for ran in rest.iter().chain([&ran]) {
            assert!(FAIR.contains(&ran.code), "{script}: {} {}", ran.code, ran.stderr);
            assert!(!ran.stderr.contains("panicked"), "{script}: {}", ran.stderr);
        }
        nothing_changed(&project, &before, script);
        self.cx.git(&["status", "--short"]);
        assert!(!self.marker().exists(), "{script}: it ran here");
        ran
    }

    /// An attack after which the work is right here.
    #[track_caller]
    fn survives(&self, script: &str) {
        let ran = self.attack(script);
        assert_eq!(ran.code, 0, "{script}: {}", ran.stderr);
        assert_eq!(self.cx.read("a"), "2\n", "{script}: {}", ran.stderr);
        self.cx.agent("echo 1 >a", &[]).exits(0);
    }

    /// An attack that may be refused; without a refusal the work is right here.
    #[track_caller]
    fn right_or_refused(&self, script: &str) -> Ran {
        let ran = self.attack(script);
        let wanted = if ran.code == 0 { "2\n" } else { "1\n" };
        assert_eq!(self.cx.read("a"), wanted, "{script}: {} {}", ran.code, ran.stderr);
        ran
    }
}

#[test]
fn what_is_planted_in_the_workspaces_repository_runs_nowhere_here() {
    let victim = Victim::new();
    for attack in [
        "git config core.fsmonitor 'MARK; false'; git config core.sshCommand MARK; echo 2 >a",
        "for h in pre-commit post-checkout post-index-change reference-transaction; do
           printf '#!/bin/sh\nMARK\n' >.git/hooks/$h; chmod +x .git/hooks/$h; done; echo 2 >a; git commit -qam x || :",
        "git config filter.evil.clean 'MARK; cat'; git config filter.evil.smudge 'MARK; cat';
         git config filter.evil.process MARK; git config diff.evil.textconv MARK; git config diff.external MARK;
         echo '* filter=evil diff=evil' >.gitattributes; echo 2 >a",
        "rm -rf .git; echo 'gitdir: /tmp/elsewhere' >.git; echo 2 >a",
        "rm -rf .git; ln -s /tmp .git; echo 2 >a",
        "rm -rf .git; mkdir .git; echo 2 >a; chmod 0 .git",
        "git update-index --assume-unchanged a b; git update-index --skip-worktree a; echo 2 >a",
        "mkdir -p sub/.git/hooks; printf '#!/bin/sh\nMARK\n' >sub/.git/hooks/pre-commit; echo 2 >a",
        "echo 2 >a; mkfifo p; ln /etc/hostname hard 2>/dev/null; chmod 6755 b",
    ] {
        victim.survives(attack);
    }
}

#[test]
fn what_is_planted_in_the_state_of_the_sync_runs_nowhere_here() {
    let victim = Victim::new();
    let state = "S=$HOME/.sandbox-coder/sync; echo 2 >a;";
    for attack in [
        "git config -f $S/git/config core.fsmonitor 'MARK; false'",
        "git config -f $S/git/config core.hooksPath $S/hooks; mkdir -p $S/hooks; printf '#!/bin/sh\nMARK\n' >$S/hooks/post-index-change; chmod +x $S/hooks/*",
        "rm -f $S/index $S/out.idx $S/out.tree",
        "echo garbage >$S/index",
    ] {
        victim.survives(&format!("{state} {attack}"));
    }
}

#[test]
fn a_base_that_is_deleted_or_forged_is_found_out() {
    for (attack, code) in [
        ("rm -f $S/base", 83),
        ("printf 1111111111111111111111111111111111111111 >$S/base", 69),
        ("echo nonsense >$S/base", 69),
        ("rm -rf $S", 83),
        ("rm -rf $S/git", 0),
        ("rm -rf $S/git $S/index", 69),
    ] {
        let victim = Victim::new();
        let ran =
            victim.right_or_refused(&format!("S=$HOME/.sandbox-coder/sync; echo 2 >a; {attack}"));
        assert_eq!(ran.code, code, "{attack}: {}", ran.stderr);
    }
    // The base of nothing is known everywhere. The sandbox mostly lacks what it would then have to send; if the
    // files are so new that git read them once more, it has all of it, and everything clashes.
    let victim = Victim::new();
    let forge = format!("echo 2 >a; printf {} >$HOME/.sandbox-coder/sync/base", Oid::EMPTY_TREE);
    let code = victim.right_or_refused(&forge).code;
    assert!([81, 82].contains(&code), "{code}");
}

#[test]
fn a_state_that_cannot_be_read_is_told_and_not_taken_for_no_change() {
    for attack in [
        "chmod 0 $S",
        "chmod 0 $S/git $S/index",
        "for f in out.n m oids; do ln -sf /etc/passwd $S/$f; done",
        "rm -rf $S; echo file >$S",
        "rm -rf $S; ln -s /nowhere/at/all $S",
    ] {
        let victim = Victim::new();
        victim.right_or_refused(&format!("S=$HOME/.sandbox-coder/sync; echo 2 >a; {attack}"));
    }
}

#[test]
fn a_workspace_that_is_a_link_leads_nowhere_here() {
    let victim = Victim::new();
    victim.survives("echo 2 >a; cd; mv workspace w; ln -s w workspace");
    for attack in [
        "cd; mv workspace w; mkdir /tmp/o; echo o >/tmp/o/o; ln -s /tmp/o workspace",
        "cd; rm -rf workspace; ln -s /nowhere workspace",
        "cd; rm -rf workspace; echo file >workspace",
    ] {
        let victim = Victim::new();
        victim.attack(attack);
    }
}

#[test]
fn what_is_written_while_the_result_is_taken_is_whole_or_told() {
    let victim = Victim::new();
    // It leaves its session and its environment, so that the end of the run does not find it.
    let ran = victim.attack(
        "echo 2 >a; env -i PATH=\"$PATH\" setsid timeout 10 sh -c 'while :; do date +%N >b; cp b c; mv c d; done' >/dev/null 2>&1 &
         while [ ! -e d ]; do sleep 0.05; done",
    );
    match ran.code {
        0 => assert_eq!(victim.cx.read("a"), "2\n", "{}", ran.stderr),
        // Git never got a look at files that stand still: told, and nothing is taken for agreed.
        code => assert_eq!(code, 83, "{}", ran.stderr),
    }
}

/// Asks a sandbox whose search path begins with a program of the agent's.
fn asked(program: &str, text: &str) -> Result<(), String> {
    let repo = RepoBuilder::new();
    repo.file("a", "1").file("b/c", "1");
    let mut pair = Pair::new(repo, Far::new());
    pair.push();
    pair.far.agent("echo 2 >a; echo n >new");
    let path = pair.far.bin().join(program);
    let real = crate::support::far::which(program).unwrap();
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, format!("#!/bin/sh\n{}\n", text.replace("REAL", real.to_str().unwrap())))
        .unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut script = Script::new();
    pull::add_to(&mut script, &Limits::default());
    let said = pair.far.run(&script);
    let offer = match pull::heard(&said).map_err(|e| e.to_string())? {
        pull::Answer::Out(offer) => offer,
        other => return Err(format!("{other:?}")),
    };
    if offer.tree == pair.base.unwrap() {
        return Ok(());
    }
    let spool = tempfile::tempdir().unwrap();
    let mut from = std::fs::File::open(offer.path()).map_err(|e| e.to_string())?;
    let archive =
        pull::Archive::read(&offer, &mut from, spool.path()).map_err(|e| e.to_string())?;
    let store = pair.store();
    let records = pull::unpack(archive, &offer, pair.base.unwrap(), &Limits::default(), &store)
        .map_err(|e| e.to_string())?;
    let base = store.read_tree(pair.base.unwrap()).unwrap();
    let tree = pull::theirs(&base, &records.claims).map_err(|e| e.to_string())?;
    let whole = store.write_tree(&tree).map_err(|e| e.to_string())?;
    if whole == offer.tree { Ok(()) } else { Err("two trees".into()) }
}

#[test]
fn programs_replaced_in_the_search_path_can_lie_about_contents_only() {
    // Found out: the words, the sizes, the hashes or the tree do not fit.
    for (program, text) in [
        ("git", "exit 0"),
        ("git", "exit 1"),
        ("git", "echo nonsense"),
        (
            "git",
            "case $* in *write-tree*) echo 1111111111111111111111111111111111111111;; *) exec REAL \"$@\";; esac",
        ),
        ("git", "case $* in *cat-file*) echo nonsense;; *) exec REAL \"$@\";; esac"),
        ("git", "case $* in *cat-file*) REAL \"$@\" | head -c 60;; *) exec REAL \"$@\";; esac"),
        ("git", "case $* in *cat-file*) REAL \"$@\" | tr 2 3;; *) exec REAL \"$@\";; esac"),
        (
            "git",
            "case $* in *diff-tree*) printf ':000000 100644 %040d %040d A\\0../x\\0' 0 1;; *) exec REAL \"$@\";; esac",
        ),
        ("git", "case $* in *diff-tree*) ;; *) exec REAL \"$@\";; esac"),
        ("gzip", "echo nonsense"),
        ("gzip", "REAL \"$@\" | head -c 40"),
        ("gzip", "head -c 70000000 /dev/zero | REAL -1"),
        ("sha256sum", "echo 0000000000000000000000000000000000000000000000000000000000000000"),
        ("wc", "echo 1"),
        ("wc", "echo 99999999999999999999999999"),
        ("base64", "echo nonsense"),
        ("cat", "echo nonsense"),
        ("sort", "echo 1111111111111111111111111111111111111111"),
    ] {
        let seen = asked(program, text);
        assert!(seen.is_err(), "{program} as `{text}` was believed");
    }
    // The programs as they are, to know that the rest of this test can tell the difference.
    for program in ["git", "gzip", "cat", "sort"] {
        assert_eq!(asked(program, "exec REAL \"$@\""), Ok(()), "{program}");
    }
}
