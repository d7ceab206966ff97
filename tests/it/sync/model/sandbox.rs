//! The other side of a case as it is: the scripts, run by real shells with or without git, the user's history
//! beside the files, and repositories of the agent's inside.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use sandbox_coder::daytona::script::Script;
use sandbox_coder::rel_path::escape;
use sandbox_coder::sync::excludes::Excludes;
use sandbox_coder::sync::history::{self, Depth, History, Known, PACK_MAX, Said, Wanted};
use sandbox_coder::sync::pack::Link;
use sandbox_coder::sync::push::{self, Push, Pushed};
use sandbox_coder::sync::records::Limits;
use sandbox_coder::sync::threats::Claim;
use sandbox_coder::sync::{plain, pull};
use sandbox_coder::tree::Oid;
use sandbox_coder::worktree::store::blob_id;
use sandbox_coder::worktree::{Repo, Store};

use super::files::{self, Files, is_below};
use crate::support::dice::{Dice, scratch};
use crate::support::far::{Far, Tools, until_free};
use crate::support::repo::git_in;

/// Under which the host remembers what history it has.
const NAME: &str = "box";

/// Repositories the agent may make; no other author uses these names.
const INSIDE: [&str; 3] = ["inside", "in side", "in\nside"];

/// Our side of a sync.
pub struct Near<'n> {
    pub repo: &'n Repo,
    pub store: &'n Store,
    pub spool: &'n Path,
    pub dice: &'n mut Dice,
    pub log: &'n dyn Fn(String),
}

pub struct Sandbox {
    far: Far,
    /// How much of the user's history it is given; `None`: it is not even told that there is one.
    depth: Option<Depth>,
    /// What lies in the agent's repositories: no sync may see or touch it.
    inside: Files,
    /// Whether only we have written to the workspace's own `.git`, and no such step was cut.
    untouched: bool,
    /// Whether anything was done since both sides agreed. A list also tells of what git ignores.
    stirred: bool,
}

/// What differs from the base over there.
pub struct Fetched {
    pub claims: Vec<Claim>,
    pub tree: Oid,
    /// What the sandbox calls what it saw.
    pub seen: Oid,
}

fn is_inside(path: &[u8]) -> bool {
    INSIDE.iter().any(|name| is_below(path, name.as_bytes()))
}

impl Sandbox {
    /// A sandbox with these tools; `None` where the machine lacks them.
    pub fn new(tools: Tools, dice: &mut Dice, excludes: Excludes) -> Option<Self> {
        let mut far = Far::within(scratch(), tools)?;
        far.excludes = Some(excludes);
        let depths = [Some(Depth::None), Some(Depth::Shallow), Some(Depth::Full)];
        let depth = if dice.once_in(2) { *dice.pick(&depths) } else { None };
        Some(Self { far, depth, inside: Files::new(), untouched: true, stirred: false })
    }

    /// Whether the user's commits matter over there.
    pub fn takes_history(&self) -> bool {
        self.depth.is_some_and(|depth| depth != Depth::None)
    }

    /// What lies in the workspace but for the agent's repositories, which have to be as they were left.
    pub fn look(&self) -> Files {
        let all = files::read(&self.far.workspace());
        let (inside, rest): (Files, Files) = all.into_iter().partition(|(path, _)| is_inside(path));
        let changed = files::differences(&inside, &self.inside);
        assert!(changed.is_empty(), "a repository of the agent's was touched: {changed:#?}");
        rest
    }

    /// Every content over there, put aside or not.
    pub fn found(&self) -> BTreeSet<Oid> {
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(self.far.home()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap_or_default().to_string_lossy().starts_with("workspace") {
                found.extend(files::read(&path).values().map(|node| blob_id(&node.bytes)));
            }
        }
        found
    }

    /// The agent works: on its files, now and then in its repository, or in one it makes inside.
    pub fn work(&mut self, before: &Files, after: &Files, dice: &mut Dice) {
        let (far, prune) = (&self.far, !dice.once_in(4));
        files::lay(&far.workspace(), before, after, prune, &|p| far.own(p));
        self.stirred |= before != after;
        if dice.once_in(6) {
            self.work_inside(dice);
        }
        let what = dice.below(8);
        if !self.far.has_git() || what > 2 {
            return;
        }
        self.untouched = false;
        self.far.agent(match what {
            0 => "git add -A . && git commit -qm work || :",
            1 => "git add -A . || :; git switch -qc b$$ || :; rm -f .git/index",
            _ => "rm -rf .git",
        });
    }

    fn work_inside(&mut self, dice: &mut Dice) {
        let (name, word) = (dice.pick(&INSIDE), dice.next());
        let make = if self.far.has_git() {
            "git init -q; echo 1 >first; git add first; git commit -qm first"
        } else {
            "mkdir .git; echo 'ref: refs/heads/main' >.git/HEAD"
        };
        self.far.agent(&format!(
            "mkdir -p '{name}'; cd '{name}'; [ -e .git ] || {{ {make}; }}; echo {word} >f"
        ));
        self.stirred = true;
        let all = files::read(&self.far.workspace());
        self.inside = all.into_iter().filter(|(path, _)| is_inside(path)).collect();
    }

    /// Runs a script and kills all of it after a while, once in four times.
    fn maybe_cut(&self, script: &Script, near: &mut Near<'_>) -> bool {
        if !near.dice.once_in(4) {
            return false;
        }
        // A list waits for the next second, up to twice.
        let most = if self.far.has_git() { 60_000 } else { 2_000_000 };
        let delay = Duration::from_micros(near.dice.below(most));
        let mut child = self.far.start(script);
        std::thread::sleep(delay);
        let running = child.try_wait().unwrap().is_none();
        let group = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        child.wait().unwrap();
        (near.log)(format!("a step was killed after {delay:?}: {running}"));
        running
    }

    /// Applies a push and puts the history in place. `dirty`: work over there was never fetched.
    pub fn push(&mut self, push: &Push, dirty: bool, near: &mut Near<'_>) -> Pushed {
        let past = self.past(push, near.repo);
        let beside = past.as_ref().and_then(|past| Self::beside(past, push, near));
        let script = |beside: Option<&Push>| {
            let before = |script: &mut Script| past.iter().for_each(|past| past.add_carry(script));
            let mut script = match beside {
                Some(push) => self.far.script_after(push, before),
                None => self.far.script_of(push),
            };
            past.iter().for_each(|past| past.add_to(&mut script));
            script
        };
        let cut = self.maybe_cut(&script(beside.as_ref()), near);
        let deliver = |beside| {
            until_free(|| {
                let said = self.far.run(&script(beside));
                let heard = push::heard(&said).unwrap_or_else(|e| panic!("{e}\n{said}"));
                (heard != Pushed::Busy).then_some((said, heard))
            })
        };
        let (mut said, mut heard) = deliver(beside.as_ref());
        if heard == Pushed::Lacking {
            assert!(!self.far.has_git(), "the history is not counted on: {said}");
            (said, heard) = deliver(None);
        }
        match &heard {
            Pushed::Dirty => {
                let may = dirty || !self.far.has_git() && self.stirred;
                assert!(may, "refused for work that was fetched: {said}");
                return heard;
            }
            Pushed::Ok { .. } => assert!(!dirty, "work was written over: {said}"),
            other => panic!("{other:?}"),
        }
        self.stirred = false;
        self.untouched &= !cut;
        if let Some(past) = past {
            let said = history::heard(&said).unwrap_or_else(|| panic!("{said}"));
            (near.log)(format!("history: {said:?}"));
            past.outcome(NAME, &said).save(near.repo);
            self.judge_history(&said, near.repo);
        }
        heard
    }

    /// The same push once more changes nothing.
    pub fn push_again(&self, push: &Push) {
        assert_eq!(self.far.push(push), Pushed::Ok { already: true, aside: None });
    }

    /// The same push, without what the history brings.
    fn beside(past: &History, push: &Push, near: &Near<'_>) -> Option<Push> {
        let carried = past.carried().filter(|_| push.is_full())?;
        let tree = near.store.read_tree(push.to).unwrap();
        let to = (push.to, &tree);
        Some(Push::plan_beside(near.store, &carried, to, near.spool, Link::Far).unwrap())
    }

    /// What is due of the user's history, as a run decides it.
    fn past(&self, push: &Push, repo: &Repo) -> Option<History> {
        let known = Known::load(repo, NAME).filter(|_| !push.is_full());
        let wanted = Wanted::new(self.depth?, &repo.head().unwrap());
        if known.as_ref().is_some_and(|known| known.satisfies(&wanted)) {
            return None;
        }
        let past = History::plan(repo, &wanted, known.as_ref(), PACK_MAX, Link::Far).unwrap();
        // A large one would need an upload of its own.
        Some(if past.goes_ahead() { History::none(&wanted) } else { past })
    }

    /// Nothing fails, and a repository that is ours alone stands where the user's does.
    fn judge_history(&self, said: &Said, repo: &Repo) {
        assert!(!matches!(said, Said::Failed(_) | Said::Taken), "history: {said:?}");
        let Some(head) = repo.head().unwrap().id else { return };
        if !self.untouched || !self.far.has_git() || !self.takes_history() {
            return;
        }
        assert_eq!(*said, Said::Put);
        let mut git = self.far.command("git");
        let out = git.current_dir(self.far.workspace()).args(["rev-parse", "HEAD"]).output();
        assert_eq!(String::from_utf8(out.unwrap().stdout).unwrap().trim_end(), head);
    }

    /// Asks for the work, with as many more questions as a sandbox without git needs.
    pub fn fetch(&mut self, base: Oid, near: &mut Near<'_>) -> Fetched {
        let ask = self.far.question();
        self.maybe_cut(&ask, near);
        let mut offer = until_free(|| match self.far.ask() {
            pull::Answer::Out(offer) => Some(*offer),
            pull::Answer::Busy => None,
            other => panic!("{other:?}"),
        });
        assert_eq!((offer.base, offer.trouble.as_str()), (base, ""), "{offer:?}");
        let seen = offer.tree;
        if seen == base {
            return Fetched { claims: Vec::new(), tree: base, seen };
        }
        let list = archive(&offer, near.spool);
        let limits = Limits::default();
        let records = if offer.is_plain() {
            let mut inquiry = plain::Inquiry::new(near.repo, base, &offer, list, &limits).unwrap();
            while let Some(names) = inquiry.ask().unwrap() {
                inquiry.take(self.answer(&offer, &names, near)).unwrap();
            }
            inquiry.finish(&mut offer).unwrap()
        } else {
            pull::unpack(list, &offer, base, &limits, near.store).unwrap()
        };
        self.judge_nested(&offer);
        Fetched { claims: records.claims, tree: records.tree, seen }
    }

    fn answer(&self, offer: &pull::Offer, names: &str, near: &mut Near<'_>) -> pull::Archive {
        let mut script = Script::new();
        plain::add_to(&mut script, offer, names);
        self.maybe_cut(&script, near);
        let answer = until_free(|| {
            let said = self.far.run(&script);
            match pull::heard(&said) {
                Ok(pull::Answer::Out(answer)) => Some(*answer),
                Ok(pull::Answer::Busy) => None,
                other => panic!("{other:?}\n{said}"),
            }
        });
        archive(&answer, near.spool)
    }

    /// The agent's repositories are named. A list names those in which something is new.
    fn judge_nested(&self, offer: &pull::Offer) {
        let names = INSIDE
            .iter()
            .filter(|name| self.inside.keys().any(|path| is_below(path, name.as_bytes())));
        let wanted: BTreeSet<String> = names.map(|name| (*name).to_owned()).collect();
        let told: BTreeSet<String> = offer.nested.iter().cloned().collect();
        let fits = if offer.is_plain() { told.is_subset(&wanted) } else { told == wanted };
        assert!(fits, "repositories {told:?}, not {wanted:?}");
    }

    /// Both sides agree on what was fetched.
    pub fn settle(&mut self, base: Oid, to: Oid, seen: Oid, near: &mut Near<'_>) {
        let mut script = Script::new();
        pull::add_settle(&mut script, base, to, seen);
        self.maybe_cut(&script, near);
        let said = until_free(|| Some(self.far.run(&script)).filter(|s| !s.contains("SBX1 busy")));
        assert!(pull::heard_settle(&said), "{said}");
        self.stirred = false;
    }
}

fn archive(offer: &pull::Offer, spool: &Path) -> pull::Archive {
    let mut from = std::fs::File::open(offer.path()).unwrap();
    pull::Archive::read(offer, &mut from, spool).unwrap()
}

/// The user's `HEAD` moves: a commit, perhaps another one in place of the last, on another branch or on none.
pub fn commit(top: &Path, dice: &mut Dice) -> String {
    let git = |args: &[&str]| {
        let who = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"];
        let out = git_in(top).args(who).args(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", escape(&out.stderr));
    };
    let branch = format!("b{}", dice.next());
    git(&["add", "-A"]);
    git(&["commit", "-q", "--allow-empty", "-m", &branch]);
    match dice.below(5) {
        0 => git(&["commit", "-q", "--amend", "--allow-empty", "-m", "in its place"]),
        1 => git(&["switch", "-q", "-c", &branch]),
        2 => git(&["switch", "-q", "--detach"]),
        _ => {}
    }
    "commits".to_owned()
}
