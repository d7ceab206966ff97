//! Both sides of one worktree, moved only by the product's own code, and all that is owed to anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use sandbox_coder::rel_path::{RelPath, escape};
use sandbox_coder::sync::excludes::Excludes;
use sandbox_coder::sync::merge::{self, MergePlan, Policy};
use sandbox_coder::sync::pack::Link;
use sandbox_coder::sync::push::{Push, Pushed};
use sandbox_coder::sync::{pull, threats};
use sandbox_coder::tree::{Entry, Oid, Tree, changes};
use sandbox_coder::worktree::apply::{self, Applied, Objects, Plan, Site};
use sandbox_coder::worktree::capture::{Options, capture};
use sandbox_coder::worktree::journal::Shelf;
use sandbox_coder::worktree::store::{blob_id, tree_id};
use sandbox_coder::worktree::strangers::Strangers;
use sandbox_coder::worktree::{Repo, Store, undo};

use super::files::{self, Author, Files, Node, ignored, ignored_by_rules};
use super::oracle::{Outcome, Trees, Way, holds};
use super::sandbox::{self, Near, Sandbox};
use crate::support::dice::{Dice, scratch};
use crate::support::far::Tools;
use crate::support::repo::listing;
use crate::support::tripwire::Tripwire;

pub struct World<'l> {
    dir: tempfile::TempDir,
    near: Repo,
    store: Store,
    /// The sandbox; without one, what the scripts do is done to `there` alone.
    far: Option<Sandbox>,
    /// What neither side sends.
    ignored: fn(&[u8]) -> bool,
    /// What lies here, ignored files too.
    here: Files,
    /// What lies in a repository of the user's inside.
    inside: Files,
    /// The same over there.
    there: Files,
    base: Option<(Oid, Files)>,
    /// Contents that a sync took from their place: they have to be found until the end.
    owed: BTreeMap<Oid, String>,
    runs: u32,
    count: u64,
    pub dice: Dice,
    untouched: Vec<(Vec<u8>, char, Vec<u8>)>,
    log: &'l dyn Fn(String),
}

/// What was decided and what it was decided from.
struct Decided {
    local: Files,
    strangers: Files,
    hollow: Vec<Vec<u8>>,
    theirs: Files,
    offered: Oid,
    /// What the sandbox calls it.
    seen: Oid,
    plan: MergePlan,
}

/// A repository the user may have inside, as a submodule or not.
const INSIDE: &str = "module";

fn kept(files: &Files, ignored: fn(&[u8]) -> bool) -> Files {
    files.iter().filter(|(p, _)| !ignored(p)).map(|(p, n)| (p.clone(), n.clone())).collect()
}

fn tree(files: &Files) -> Tree {
    let entry = |node: &Node| Entry { mode: node.mode, id: blob_id(&node.bytes) };
    files.iter().map(|(p, n)| (RelPath::parse(p).unwrap(), entry(n))).collect()
}

fn ids(files: &Files) -> BTreeSet<Oid> {
    files.values().map(|node| blob_id(&node.bytes)).collect()
}

impl<'l> World<'l> {
    pub fn new(seed: u64, tools: Option<Tools>, log: &'l dyn Fn(String)) -> Self {
        let dir = scratch();
        let top = dir.path().canonicalize().unwrap().join("work");
        std::fs::create_dir_all(dir.path().join("guard")).unwrap();
        std::fs::create_dir_all(dir.path().join("spool")).unwrap();
        std::fs::write(dir.path().join("guard/secret"), "untouched").unwrap();
        let mut dice = Dice::new(seed);
        let mut count = 0;
        let here = Author { dice: &mut dice, name: 'o', count: &mut count }.tree();
        let user = git2::Repository::init(&top).unwrap();
        std::fs::create_dir_all(top.join(".git/info")).unwrap();
        std::fs::create_dir_all(top.join(".git/hooks")).unwrap();
        // Only git over there follows what the user ignores beside the worktree's rules.
        let alike = tools.is_none_or(|tools| !matches!(tools, Tools::Bare | Tools::Without("git")));
        let exclude = if alike { files::EXCLUDE } else { b"" };
        std::fs::write(top.join(".git/info/exclude"), exclude).unwrap();
        std::fs::write(top.join(".git/hooks/post-checkout"), "#!/bin/sh\nexit 1\n").unwrap();
        files::lay(&top, &Files::new(), &here, true, &|_| ());
        if !dice.once_in(4) {
            commit_all(&user);
        }
        let inside = if dice.once_in(4) { make_inside(&user, &mut dice) } else { Files::new() };
        let near = Repo::discover(&top).unwrap();
        let store = Store::open(&near).unwrap();
        let far =
            tools.and_then(|tools| Sandbox::new(tools, &mut dice, Excludes::of(&near).unwrap()));
        let mut world = Self {
            ignored: if alike { ignored } else { ignored_by_rules },
            dir,
            near,
            store,
            far,
            here,
            inside,
            there: Files::new(),
            base: None,
            owed: BTreeMap::new(),
            runs: 0,
            count,
            dice,
            untouched: Vec::new(),
            log,
        };
        world.untouched = world.git_dir();
        for (path, node) in &world.here {
            world.say(format!("here {} {node:?}", escape(path)));
        }
        world
    }

    fn say(&self, words: String) {
        (self.log)(words);
    }

    /// What lies here but for the repository inside, which no sync may see or touch.
    fn look_here(&self) -> Files {
        let all = files::read(self.near.top());
        let (inside, rest): (Files, Files) = all.into_iter().partition(|(path, _)| is_inside(path));
        assert!(inside == self.inside, "the user's repository inside was touched");
        rest
    }

    fn git_dir(&self) -> Vec<(Vec<u8>, char, Vec<u8>)> {
        let mut all = listing(self.near.git_dir());
        all.retain(|(name, ..)| !name.starts_with(b"sandbox-coder"));
        all
    }

    /// What no sync may ever touch.
    fn nothing_else_changed(&self) {
        assert!(self.git_dir() == self.untouched, "the user's repository was written to");
        let mut beside: Vec<_> =
            std::fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        beside.sort();
        assert_eq!(beside, ["guard", "spool", "work"]);
        assert_eq!(std::fs::read(self.dir.path().join("guard/secret")).unwrap(), b"untouched");
        let left = self.here.keys().find(|p| p.windows(5).any(|w| w == b".sbx-"));
        assert_eq!(left, None, "something staged stayed behind");
    }

    /// The user's worktree, taken by git; it has to be what lies there.
    fn capture(&self) -> (Oid, Files) {
        let options = Options { max_size: u64::MAX, max_files: u64::MAX, ..Options::default() };
        let id = capture(&self.near, &options).unwrap().tree;
        let local = kept(&self.here, self.ignored);
        let wanted = tree(&local);
        let taken = self.store.read_tree(id).unwrap();
        assert!(taken == wanted, "captured {:?}", changes(&wanted, &taken));
        (id, local)
    }

    pub fn user_edits(&mut self, most: u64) {
        let before = self.here.clone();
        for _ in 0..self.dice.below(most + 1) {
            let mut author = Author { dice: &mut self.dice, name: 'u', count: &mut self.count };
            let what = author.edit(&mut self.here);
            self.say(format!("user {what}"));
        }
        let prune = !self.dice.once_in(4);
        files::lay(self.near.top(), &before, &self.here, prune, &|_| ());
    }

    /// The user commits, where that means something to the other side.
    pub fn user_commits(&mut self) {
        let told = self.far.as_ref().is_some_and(Sandbox::takes_history);
        if told && self.dice.once_in(2) {
            sandbox::commit(self.near.top(), &mut self.dice);
            self.untouched = self.git_dir();
            self.say("user commits".into());
        }
    }

    pub fn agent_edits(&mut self, most: u64) {
        let before = self.there.clone();
        if self.base.is_none() {
            return;
        }
        for _ in 0..self.dice.below(most + 1) {
            let mut author = Author { dice: &mut self.dice, name: 'a', count: &mut self.count };
            let what = author.edit(&mut self.there);
            self.say(format!("agent {what}"));
        }
        if let Some(far) = &mut self.far {
            far.work(&before, &self.there, &mut self.dice);
        }
    }

    /// Sends the worktree; where work over there was not fetched, nothing happens. Whether it was sent.
    pub fn push(&mut self) -> bool {
        let (to, local) = self.capture();
        let dirty =
            self.base.as_ref().is_some_and(|(_, base)| kept(&self.there, self.ignored) != *base);
        let before = self.there.clone();
        if self.far.is_some() {
            let from = self.base.as_ref().map(|(id, files)| (*id, tree(files)));
            let from = from.as_ref().map(|(id, tree)| (*id, tree));
            let spool = self.dir.path().join("spool");
            let plan =
                Push::plan(&self.store, from, (to, &tree(&local)), &spool, Link::Far).unwrap();
            let heard = self.with_far(|far, near| far.push(&plan, dirty, near));
            let far = self.far.as_ref().expect("it is there");
            self.there = far.look();
            if heard == Pushed::Dirty {
                assert!(self.there == before, "a refused push changed something");
                self.say("push: refused".into());
                return false;
            }
            if self.dice.once_in(8) {
                far.push_again(&plan);
            }
            let lies = kept(&self.there, self.ignored);
            assert!(lies == kept(&local, self.ignored), "{:#?}", files::differences(&lies, &local));
        } else if dirty {
            return false;
        } else {
            let ignored: Vec<_> = self.there.iter().filter(|(p, _)| (self.ignored)(p)).collect();
            let mut there = local.clone();
            for (path, node) in ignored {
                if !local.keys().any(|p| files::is_below(p, path) || files::is_below(path, p)) {
                    there.insert(path.clone(), node.clone());
                }
            }
            self.there = there;
        }
        if self.far.is_some() {
            let (found, now) = (self.found_there(), ids(&self.there));
            let ignored = self.ignored;
            for (path, node) in before.iter().filter(|(p, _)| ignored(p)) {
                let id = blob_id(&node.bytes);
                assert!(found.contains(&id), "the sandbox's `{}` is gone", escape(path));
                if !now.contains(&id) {
                    self.owe(path, node, "over there");
                }
            }
        }
        self.base = Some((to, local));
        self.say(format!("push: {to}"));
        self.nothing_else_changed();
        true
    }

    fn owe(&mut self, path: &[u8], node: &Node, whose: &str) {
        self.owed.insert(blob_id(&node.bytes), format!("{whose} {} {node:?}", escape(path)));
    }

    /// Every content over there, put aside or not.
    fn found_there(&self) -> BTreeSet<Oid> {
        self.far.as_ref().map_or_else(|| ids(&self.there), Sandbox::found)
    }

    /// Something that both sides take part in.
    fn with_far<T>(&mut self, act: impl FnOnce(&mut Sandbox, &mut Near<'_>) -> T) -> T {
        let mut near = Near {
            repo: &self.near,
            store: &self.store,
            spool: &self.dir.path().join("spool"),
            dice: &mut self.dice,
            log: self.log,
        };
        act(self.far.as_mut().expect("there is a sandbox"), &mut near)
    }

    /// Every content that is here: in the worktree, put aside, in a result that is held, or brought back by an undo.
    fn found_here(&self) -> BTreeSet<Oid> {
        let mut found = ids(&self.here);
        let aside = self.near.top().join(".sandbox-coder");
        if aside.exists() {
            found.extend(ids(&files::read(&aside)));
        }
        let pinned = |name: &str| {
            let id = self.near.read_ref(name).unwrap();
            id.map(|id| self.store.read_tree(id).unwrap()).unwrap_or_default()
        };
        found.extend(pinned("refs/held/sandbox").values().map(|e| e.id));
        let shelf = Shelf::at(&self.near.state_dir());
        for run in shelf.runs().unwrap() {
            let kept = pinned(&format!("refs/undo/{}", run.run));
            let journal = shelf.finished(&run.run).unwrap().unwrap();
            for before in journal.steps.iter().filter_map(|s| s.before) {
                assert!(kept.values().any(|e| e.id == before.id), "an undo lacks {before:?}");
                assert!(self.store.has(before.id), "an undo lost {before:?}");
                found.insert(before.id);
            }
        }
        found
    }

    /// Fetches, verifies, judges and merges.
    fn decide(&mut self, way: &Way) -> Decided {
        let (_, local) = self.capture();
        let (base_id, base_files) = self.base.clone().expect("something was sent");
        let base = tree(&base_files);
        let theirs = kept(&self.there, self.ignored);
        let offered = tree_id(&tree(&theirs));
        let (claims, seen) = if self.far.is_some() {
            let fetched = self.with_far(|far, near| far.fetch(base_id, near));
            let (got, wanted) = (pull::theirs(&base, &fetched.claims).unwrap(), tree(&theirs));
            assert!(got == wanted, "the sandbox offers {:?}", changes(&wanted, &got));
            assert_eq!(fetched.tree, offered);
            (fetched.claims, fetched.seen)
        } else {
            for node in theirs.values() {
                self.store.write_blob(&node.bytes).unwrap();
            }
            let claim = |c: sandbox_coder::tree::Change| threats::Claim {
                path: c.path.as_bytes().to_vec(),
                before: c.before,
                after: c.after,
            };
            (changes(&base, &tree(&theirs)).into_iter().map(claim).collect(), offered)
        };
        let local_tree = tree(&local);
        let store = &self.store;
        let content =
            |id: &Oid| store.read_start(*id, merge::TEXT_MAX as u64 + 1).map_err(io::Error::other);
        let review =
            threats::review(&base, &local_tree, &claims, &content, &threats::Options::default())
                .unwrap()
                .accept()
                .unwrap();
        assert_eq!(store.write_tree(&review.theirs).unwrap(), offered);
        let strangers = Strangers::new(self.near.top(), &local_tree).unwrap();
        let inputs = merge::Inputs {
            base: &base,
            local: &local_tree,
            theirs: &review.theirs,
            held: &review.held,
            content: &content,
            disk: &|path: &RelPath| strangers.at(path),
        };
        let options =
            merge::Options { policy: way.policy, allow_mass_delete: way.allow_mass_delete };
        let plan = merge::plan(inputs, options).unwrap();
        for (id, bytes) in &plan.merged {
            assert_eq!(store.write_blob(bytes).unwrap(), *id);
        }
        let ignored = self.here.iter().filter(|(p, _)| (self.ignored)(p));
        let strangers = ignored.map(|(p, n)| (p.clone(), n.clone())).collect();
        let hollow = files::hollow(self.near.top());
        Decided { local, strangers, hollow, theirs, offered, seen, plan }
    }

    /// Brings the sandbox's work home. Whether both sides agree now.
    pub fn pull(&mut self, way: &Way) -> bool {
        self.runs += 1;
        let run = format!("r{}", self.runs);
        let mut decided = self.decide(way);
        let plan = decided.plan.clone();
        self.say(format!("pull {run} {:?} mass {}", way.policy, way.allow_mass_delete));
        let before = self.here.clone();
        let stops =
            plan.mass_delete.is_some() || way.policy == Policy::Hold && !plan.conflicts.is_empty();
        if stops {
            self.near.write_ref("refs/held/sandbox", decided.offered).unwrap();
            let outcome = self.outcome(&decided, &[]);
            self.judged(way, &decided, &[], outcome);
            assert!(self.here == before, "a result that is held changed something");
            self.say("held".into());
            return false;
        }
        let todo = Plan {
            run: run.clone(),
            steps: plan.steps.clone(),
            asides: plan.asides.clone(),
            all_or_nothing: way.policy == Policy::Hold,
        };
        let typed = if self.dice.once_in(5) { self.type_meanwhile() } else { Vec::new() };
        decided.hollow.extend(files::hollow(self.near.top()));
        let (applied, cut) = self.apply(&todo);
        let settled = applied.iter().all(|a| a.late.is_empty()) && !cut;
        self.here = self.look_here();
        if cut && applied.is_empty() {
            let unchanged = typed.iter().fold(before.clone(), typed_over);
            assert!(self.here == unchanged, "{:#?}", files::differences(&self.here, &unchanged));
            return false;
        }
        let outcome = self.outcome(&decided, &applied);
        // What was late when a run began is not in its journal: the next fetch will tell of it.
        if !cut || typed.is_empty() {
            self.judged(way, &decided, &typed, outcome);
        }
        if !settled && !cut {
            self.near.write_ref("refs/held/sandbox", decided.offered).unwrap();
        }
        self.conserved(&before, &typed);
        if settled {
            self.settle(&decided, &typed);
            let untyped = typed.is_empty();
            if untyped && applied.iter().any(|a| !a.changed.is_empty()) && self.dice.once_in(4) {
                self.undo(&run, &before);
            }
        }
        settled
    }

    /// The user goes on while we apply.
    fn type_meanwhile(&mut self) -> Vec<(Vec<u8>, Option<Node>)> {
        let before = self.here.clone();
        self.user_edits(2);
        let paths: BTreeSet<_> = before.keys().chain(self.here.keys()).cloned().collect();
        paths
            .into_iter()
            .filter(|p| before.get(p) != self.here.get(p))
            .map(|p| (p.clone(), self.here.get(&p).cloned()))
            .collect()
    }

    fn in_site<T>(&self, objects: &dyn Objects, act: impl FnOnce(&Site<'_>) -> T) -> T {
        let state = self.near.state_dir();
        act(&Site { top: self.near.top(), state: &state, objects, file_mode: true })
    }

    /// Carries a plan out; once in four times it dies on the way and is taken up again.
    fn apply(&mut self, plan: &Plan) -> (Vec<Applied>, bool) {
        let trips = self.dice.once_in(4);
        let (left, dies) = (self.dice.below(8), self.dice.once_in(2));
        let good = (&self.near, &self.store);
        // As each command does first: what was left open for another look gets it.
        let resume = || self.in_site(&good, apply::resume).unwrap();
        if !trips {
            let applied = self.in_site(&good, |site| apply::apply(site, plan)).unwrap();
            return (std::iter::once(applied).chain(resume()).collect(), false);
        }
        let trip = |_: &dyn Objects, _: &Oid, _: &mut dyn Write| match dies {
            true => resume_unwind(Box::new("killed")),
            false => Err(io::Error::other("the store fails")),
        };
        let bad = Tripwire::new(&good, left, &trip);
        let tried =
            catch_unwind(AssertUnwindSafe(|| self.in_site(&bad, |site| apply::apply(site, plan))));
        let resumed = resume();
        if let Ok(Ok(applied)) = tried {
            return (std::iter::once(applied).chain(resumed).collect(), false);
        }
        self.say(format!("cut after {left} objects, dies {dies}, resumed {}", resumed.len()));
        assert!(resume().is_empty(), "one repetition is enough");
        (resumed, true)
    }

    fn outcome(&self, decided: &Decided, applied: &[Applied]) -> Outcome {
        let bytes = |path: &RelPath| path.as_bytes().to_vec();
        let place = |path: &RelPath| std::fs::read(self.near.top().join(path.as_path())).unwrap();
        let plan = &decided.plan;
        let late = || applied.iter().flat_map(|a| &a.late);
        let conflicts: BTreeSet<_> = plan
            .conflicts
            .iter()
            .map(|c| bytes(&c.path))
            .chain(late().map(|l| bytes(&l.step.path)))
            .collect();
        let settled = plan.settled.iter().map(|c| bytes(&c.path));
        let reported = settled.chain(conflicts.iter().cloned()).collect();
        let put = applied.iter().flat_map(|a| &a.asides);
        let saved = late().filter_map(|l| Some((bytes(&l.step.path), place(l.saved_to.as_ref()?))));
        let asides = put.map(|(path, at)| (bytes(path), place(at))).chain(saved).collect();
        let after = self.here.clone();
        let mass_delete = plan.mass_delete.is_some();
        Outcome { after, reported, conflicts, asides, mass_delete }
    }

    fn judged(
        &self,
        way: &Way,
        decided: &Decided,
        typed: &[(Vec<u8>, Option<Node>)],
        mut outcome: Outcome,
    ) {
        let strangers = typed.iter().fold(decided.strangers.clone(), |mut all, (path, node)| {
            if let (Some(old), Some(node)) = (all.get_mut(path), node) {
                *old = node.clone();
            } else {
                all.remove(path);
            }
            all
        });
        for (path, node) in &strangers {
            let now = outcome.after.get(path);
            assert_eq!(now, Some(node), "`{}` was no part of it", escape(path));
        }
        outcome.after.retain(|path, _| !decided.strangers.contains_key(path));
        let base = self.base.as_ref().map(|(_, files)| files.clone()).unwrap_or_default();
        let trees = Trees {
            base: &base,
            local: &decided.local,
            theirs: &decided.theirs,
            strangers: &decided.strangers,
            hollow: &decided.hollow,
            typed,
        };
        if let Err(why) = trees.judge(way, &outcome) {
            let named = |paths: &BTreeSet<Vec<u8>>| -> Vec<String> {
                paths.iter().map(|p| escape(p)).collect()
            };
            let changed = files::differences(&outcome.after, &decided.local);
            panic!(
                "{why}\nconflicts {:?}, typed {typed:?}\n{changed:#?}",
                named(&outcome.conflicts)
            );
        }
    }

    /// What was here and lost its place can be found.
    fn conserved(&mut self, before: &Files, typed: &[(Vec<u8>, Option<Node>)]) {
        let (found, now) = (self.found_here(), ids(&self.here));
        for (path, node) in typed.iter().fold(before.clone(), typed_over) {
            let id = blob_id(&node.bytes);
            assert!(found.contains(&id), "our `{}` {node:?} is gone", escape(&path));
            if !now.contains(&id) {
                self.owe(&path, &node, "ours");
            }
        }
    }

    /// Both sides agree on what was fetched: all of it has to be here.
    fn settle(&mut self, decided: &Decided, typed: &[(Vec<u8>, Option<Node>)]) {
        let (base_id, base) = self.base.clone().expect("something was sent");
        let trees = Trees {
            base: &base,
            local: &decided.local,
            theirs: &decided.theirs,
            strangers: &decided.strangers,
            hollow: &decided.hollow,
            typed: &[],
        };
        let (found, now) = (self.found_here(), ids(&self.here));
        for (path, node) in &decided.theirs {
            if base.get(path) == Some(node) {
                continue;
            }
            let after = self.here.get(path);
            let local = decided.local.get(path);
            let within = |now: Option<&Node>| {
                now.is_some_and(|now| holds(&now.bytes, &node.bytes)) || trees.blended(path, now)
            };
            if within(after) {
                continue;
            }
            let id = blob_id(&node.bytes);
            // What was here already and was typed over meanwhile is nobody's loss.
            if !typed.is_empty() && within(local) {
                continue;
            }
            assert!(found.contains(&id), "their `{}` {node:?} is gone", escape(path));
            if !now.contains(&id) {
                self.owe(path, node, "theirs");
            }
        }
        if self.far.is_some() {
            let (offered, seen) = (decided.offered, decided.seen);
            self.with_far(|far, near| far.settle(base_id, offered, seen, near));
        }
        self.near.delete_ref("refs/held/sandbox").unwrap();
        self.base = Some((decided.offered, decided.theirs.clone()));
        self.nothing_else_changed();
        self.say("settled".into());
    }

    /// Takes the last run back, and half of the time that too.
    fn undo(&mut self, run: &str, before: &Files) {
        let after = self.here.clone();
        for (of, name, wanted) in [
            (run.to_owned(), format!("{run}-undo"), before),
            (format!("{run}-undo"), format!("{run}-redo"), &after),
        ] {
            let good = (&self.near, &self.store);
            let undone = self.in_site(&good, |site| undo::undo(site, Some(&of), &name)).unwrap();
            assert!(undone.late.is_empty(), "{:?}", undone.late);
            let old = self.here.clone();
            self.here = self.look_here();
            assert!(self.here == *wanted, "{:#?}", files::differences(&self.here, wanted));
            self.conserved(&old, &[]);
            self.nothing_else_changed();
            self.say(format!("undone: {of}"));
            if self.dice.once_in(2) {
                break;
            }
        }
    }

    /// Everything that is owed to anybody is still there.
    pub fn pay(&self) {
        let mut found = self.found_here();
        found.extend(self.found_there());
        for (id, what) in &self.owed {
            assert!(found.contains(id), "lost: {what}");
        }
    }
}

fn is_inside(path: &[u8]) -> bool {
    files::is_below(path, INSIDE.as_bytes())
}

fn commit_all(repo: &git2::Repository) -> git2::Oid {
    let mut index = repo.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
    index.write().unwrap();
    let tree = repo.find_tree(index.write_tree().unwrap()).unwrap();
    let who = git2::Signature::now("Tester", "tester@example.org").unwrap();
    repo.commit(Some("HEAD"), &who, &who, "first", &tree, &[]).unwrap()
}

/// Makes the repository inside, half of the time known to the one around it, and says what lies in it.
fn make_inside(user: &git2::Repository, dice: &mut Dice) -> Files {
    let top = user.workdir().unwrap();
    let inside = git2::Repository::init(top.join(INSIDE)).unwrap();
    std::fs::write(top.join(INSIDE).join("f"), "the module's").unwrap();
    let commit = commit_all(&inside);
    if dice.once_in(2) {
        let mut index = user.index().unwrap();
        let zero = git2::IndexTime::new(0, 0);
        let module = git2::IndexEntry {
            ctime: zero,
            mtime: zero,
            dev: 0,
            ino: 0,
            mode: 0o160_000,
            uid: 0,
            gid: 0,
            file_size: 0,
            id: commit,
            flags: 0,
            flags_extended: 0,
            path: INSIDE.into(),
        };
        index.add(&module).unwrap();
        index.write().unwrap();
    }
    files::read(top).into_iter().filter(|(path, _)| is_inside(path)).collect()
}

fn typed_over(mut files: Files, (path, node): &(Vec<u8>, Option<Node>)) -> Files {
    match node {
        Some(node) => files.insert(path.clone(), node.clone()),
        None => files.remove(path),
    };
    files
}
