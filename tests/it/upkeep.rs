//! What is kept inside `.git` stays bounded, and nothing that is still wanted goes.

mod binary;
mod kills;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use sandbox_coder::rel_path::RelPath;
use sandbox_coder::tree::{Change, Entry, Mode, Oid};
use sandbox_coder::worktree::apply::{self, Plan, Site};
use sandbox_coder::worktree::upkeep::{self, Done, Known, rules};
use sandbox_coder::worktree::{Error, Repo, Store, capture, journal, undo};

use crate::support::dice::scratch;
use crate::support::repo::RepoBuilder;

/// The files that runs change in turn.
const FILES: usize = 7;
const SANDBOX: &str = "11111111-aaaa";

/// A process that another test is just starting holds our files for a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// A worktree with a private repository that runs went through.
struct Ground {
    user: RepoBuilder,
    repo: Repo,
    /// What the files held after each run, from before the first.
    states: Vec<BTreeMap<String, String>>,
}

impl Ground {
    fn new() -> Self {
        let user = RepoBuilder::within(scratch(), &[]);
        let mut first = BTreeMap::new();
        for n in 0..FILES {
            first.insert(format!("d/f{n}"), text(n, 0));
        }
        first.insert("README".into(), "never changed\n".into());
        for (name, content) in &first {
            user.file(name, content);
        }
        user.commit();
        let repo = Repo::discover(user.path()).unwrap();
        let _lock = repo.lock("run", PATIENCE).unwrap();
        repo.set_base(SANDBOX, capture(&repo)).unwrap();
        Self { user, repo, states: vec![first] }
    }

    fn private(&self) -> PathBuf {
        self.repo.private_dir().to_owned()
    }

    /// One more run, as the client does it: what is here is captured, the result is applied, both sides agree.
    fn run(&mut self) {
        let lock = self.repo.lock("run", PATIENCE).unwrap();
        capture(&self.repo);
        drop(lock);
        self.apply();
        let base = self.repo.base(SANDBOX).unwrap();
        assert_eq!(Some(capture(&self.repo)), base);
    }

    /// The last two steps of a run.
    fn apply(&mut self) {
        let (repo, number) = (self.repo.clone(), self.states.len());
        let _lock = repo.lock("run", PATIENCE).unwrap();
        let name = format!("d/f{}", number % FILES);
        let (old, new) = (self.states[number - 1][&name].clone(), text(number % FILES, number));
        let store = Store::open(&repo).unwrap();
        let entry = |content: &str| {
            Some(Entry { mode: Mode::File, id: store.write_blob(content.as_bytes()).unwrap() })
        };
        let path = RelPath::parse(name.as_bytes()).unwrap();
        let step = Change { path, before: entry(&old), after: entry(&new) };
        let mut tree = store.read_tree(repo.base(SANDBOX).unwrap().unwrap()).unwrap();
        tree.insert(step.path.clone(), step.after.unwrap());
        let plan = Plan { run: run_name(number), steps: vec![step], ..Plan::default() };
        with_site(&repo, |site| apply::apply(site, &plan)).unwrap();
        repo.set_base(SANDBOX, store.write_tree(&tree).unwrap()).unwrap();
        let mut state = self.states[number - 1].clone();
        state.insert(name, new);
        self.states.push(state);
    }

    fn after(runs: usize) -> Self {
        let mut ground = Self::new();
        (0..runs).for_each(|_| ground.apply());
        ground.run();
        ground
    }

    fn keep_up(&self, now: SystemTime) -> Done {
        self.keep_up_knowing(now, &[SANDBOX], &|_| true)
    }

    fn keep_up_knowing(
        &self,
        now: SystemTime,
        named: &[&str],
        nothing_waits: &dyn Fn(&str) -> bool,
    ) -> Done {
        let repo = &self.repo;
        let lock = repo.lock(upkeep::HOLDER, PATIENCE).unwrap();
        let named: BTreeSet<String> = named.iter().map(|id| (*id).to_owned()).collect();
        let known = Known { named, trees: Vec::new(), nothing_waits };
        let until = Instant::now() + Duration::from_secs(600);
        upkeep::keep_up(repo, &lock, &known, now, until).unwrap()
    }

    /// Insists that every file is as after so many runs.
    #[track_caller]
    fn assert_as_after(&self, runs: usize) {
        for (name, content) in &self.states[runs] {
            assert_eq!(std::fs::read_to_string(self.user.at(name)).unwrap(), *content, "{name}");
        }
    }

    /// Insists that what is agreed with the sandbox can be read, to the last byte, and that git finds all sound.
    #[track_caller]
    fn assert_sound(&self) {
        let repo = &self.repo;
        let store = Store::open(repo).unwrap();
        let tree = store.read_tree(repo.base(SANDBOX).unwrap().unwrap()).unwrap();
        assert_eq!(tree.len(), self.states[0].len());
        for entry in tree.values() {
            store.read_blob(entry.id).unwrap();
        }
        let fsck = repo.private_git().args(["fsck", "--full"]).output().unwrap();
        assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stderr));
    }

    /// Takes back the runs from the newest to this one.
    #[track_caller]
    fn undo_down_to(&self, first: usize) {
        let repo = &self.repo;
        let _lock = repo.lock("undo", PATIENCE).unwrap();
        for number in (first..self.states.len()).rev() {
            let new = format!("u{number}");
            let undone = with_site(repo, |site| undo::undo(site, Some(&run_name(number)), &new));
            assert!(undone.unwrap().late.is_empty(), "run {number}");
            self.assert_as_after(number - 1);
        }
    }
}

/// Large enough that versions of it are worth a delta.
fn text(file: usize, run: usize) -> String {
    let line = |n: usize| format!("file {file} line {n} {}\n", if n == 40 { run } else { n * n });
    (0..80).map(line).collect()
}

fn run_name(number: usize) -> String {
    format!("r{number}")
}

fn capture(repo: &Repo) -> Oid {
    let options =
        capture::Options { max_size: 1 << 30, max_files: 10_000, ..capture::Options::default() };
    capture::capture(repo, &options).unwrap().tree
}

fn with_site<T>(repo: &Repo, work: impl FnOnce(&Site<'_>) -> T) -> T {
    let (store, state) = (Store::open(repo).unwrap(), repo.state_dir());
    let objects = (repo, &store);
    work(&Site { top: repo.top(), state: &state, objects: &objects, file_mode: true })
}

fn in_days(days: u64) -> SystemTime {
    SystemTime::now() + Duration::from_secs(days * 24 * 3600)
}

fn count_loose(private: &Path) -> usize {
    let folders = std::fs::read_dir(private.join("objects")).unwrap().flatten();
    let folders = folders.filter(|f| f.file_name().len() == 2);
    folders.map(|f| std::fs::read_dir(f.path()).unwrap().count()).sum()
}

#[test]
fn a_year_of_runs_leaves_the_last_hundred() {
    let runs = rules::RUNS + 30;
    let ground = Ground::after(runs - 1);
    let before = upkeep::bytes_below(&ground.private());
    assert_eq!(ground.keep_up(SystemTime::now()), Done::default(), "all of it is young");
    let done = ground.keep_up(in_days(40));
    assert_eq!((done.runs, done.refs), (30, 30));
    let after = upkeep::bytes_below(&ground.private());
    assert!(after < before, "{after} of {before} bytes are left");
    ground.assert_sound();
    let repo = ground.repo.clone();
    let refused = with_site(&repo, |site| undo::undo(site, Some("r30"), "u"));
    assert!(matches!(refused, Err(apply::Error::Forgotten(run)) if run == "r30"));
    let named = with_site(&repo, |site| undo::named(site, "r30")).unwrap();
    assert_eq!(named.as_deref(), Some("r30"));
    ground.undo_down_to(31);
}

#[test]
fn objects_and_packs_that_became_many_become_one_pack() {
    let mut ground = Ground::after(2);
    let repo = ground.repo.clone();
    let store = Store::open(&repo).unwrap();
    let mut tree = store.read_tree(repo.base(SANDBOX).unwrap().unwrap()).unwrap();
    // Much that the sandbox has, and as much that nothing leads to.
    for n in 0..rules::LOOSE {
        let kept = store.write_blob(format!("kept {n}").as_bytes()).unwrap();
        store.write_blob(format!("dropped {n}").as_bytes()).unwrap();
        let path = RelPath::parse(format!("more/{n}").as_bytes()).unwrap();
        tree.insert(path, Entry { mode: Mode::File, id: kept });
    }
    let other = "22222222-bbbb";
    repo.set_base(other, store.write_tree(&tree).unwrap()).unwrap();
    let young = ground.keep_up(SystemTime::now());
    assert!(young.packed > rules::LOOSE && young.objects == young.packed, "{young:?}");
    assert!(count_loose(&ground.private()) >= rules::LOOSE, "a day has to pass for the rest");
    let old = ground.keep_up(in_days(2));
    assert!(old.objects >= rules::LOOSE && old.packed == 0, "{old:?}");
    assert!(count_loose(&ground.private()) < 20);
    let store = Store::open(&repo).unwrap();
    for entry in store.read_tree(repo.base(other).unwrap().unwrap()).unwrap().values() {
        store.read_blob(entry.id).unwrap();
    }
    ground.assert_sound();
    // When that sandbox is gone, nearly all of the pack is for nothing.
    upkeep::deleted(&repo, other);
    let gone = ground.keep_up(in_days(2));
    assert_eq!((gone.refs, gone.packs), (1, 1), "{gone:?}");
    assert_eq!(repo.base(other).unwrap(), None);
    ground.run();
    ground.assert_sound();
    ground.undo_down_to(1);
}

#[test]
fn what_the_users_repository_drops_is_still_here() {
    // Every file changed more than once: there are contents that neither HEAD nor the worktree has.
    let mut ground = Ground::after(2 * FILES);
    // The user happens to have the same contents, committed and packed; they go with their branch.
    ground.user.git(&["checkout", "-q", "-b", "side"]);
    for state in ground.states.clone() {
        for (name, content) in &state {
            ground.user.file(name, content);
        }
        ground.user.commit();
    }
    ground.user.git(&["repack", "-a", "-d", "-q"]);
    ground.user.git(&["checkout", "-q", "main"]);
    let last = ground.states.last().unwrap();
    for (name, content) in last {
        ground.user.file(name, content);
    }
    // So many that they are packed.
    let store = Store::open(&ground.repo).unwrap();
    let mut tree = store.read_tree(ground.repo.clone().base(SANDBOX).unwrap().unwrap()).unwrap();
    for n in 0..=rules::LOOSE {
        let id = store.write_blob(format!("more {n}").as_bytes()).unwrap();
        let path = RelPath::parse(format!("more/{n}").as_bytes()).unwrap();
        tree.insert(path, Entry { mode: Mode::File, id });
    }
    ground.repo.clone().write_ref("refs/sent/x", store.write_tree(&tree).unwrap()).unwrap();
    assert!(ground.keep_up(in_days(2)).packed > rules::LOOSE);
    ground.user.git(&["branch", "-q", "-D", "side"]);
    ground.user.git(&["reflog", "expire", "--expire=now", "--all"]);
    ground.user.git(&["gc", "-q", "--prune=now"]);
    ground.run();
    ground.assert_sound();
    ground.undo_down_to(1);
}

#[test]
fn a_file_whose_content_only_the_users_repository_had_is_read_again() {
    let ground = Ground::after(0);
    let store = Store::open(&ground.repo).unwrap();
    let lost = |tree| {
        let entries = store.read_tree(tree).unwrap();
        entries.values().filter(|entry| !store.has(entry.id)).count()
    };
    // Git notices when something changed beside it. Where nothing did, whoever misses it forgets the index.
    let beside = || std::fs::write(ground.user.at("beside"), "new").unwrap();
    let missed = || capture::forget(&ground.repo);
    for (content, heal) in [("one", &beside as &dyn Fn()), ("two", &missed)] {
        ground.user.file("staged", format!("{content}, staged and never committed"));
        ground.user.git(&["add", "staged"]);
        let lock = ground.repo.lock("run", PATIENCE).unwrap();
        let tree = capture(&ground.repo);
        ground.user.git(&["reset", "-q"]);
        ground.user.git(&["gc", "-q", "--prune=now"]);
        assert_eq!((capture(&ground.repo), lost(tree)), (tree, 1), "{content}");
        heal();
        assert_eq!((lost(capture(&ground.repo)), lost(tree)), (0, 0), "{content}");
        drop(lock);
    }
}

#[test]
fn a_worktree_that_is_gone_takes_its_folder_along_unless_something_waits() {
    let ground = Ground::after(0);
    let linked = |name: &str| {
        let place = ground.user.beside(name);
        ground.user.git(&["worktree", "add", "-q", "--detach", place.to_str().unwrap()]);
        let repo = Repo::discover(&place).unwrap();
        drop(repo.lock("run", PATIENCE).unwrap());
        repo
    };
    let gone = |repo: &Repo| {
        ground.user.git(&["worktree", "remove", "--force", repo.top().to_str().unwrap()]);
    };
    let [living, plain, waits, open] = ["living", "plain", "waits", "open"].map(linked);
    std::fs::create_dir_all(open.state_dir().join("journal")).unwrap();
    std::fs::write(open.state_dir().join("journal/r.open"), "cut short").unwrap();
    [&plain, &waits, &open].into_iter().for_each(gone);
    // A folder of another place: a repository that was moved here.
    let moved = plain.private_dir().with_file_name("00000000moved000.git");
    std::fs::create_dir(&moved).unwrap();
    std::fs::write(moved.join("worktree"), "/somewhere/else/.git/worktrees/w").unwrap();

    let nothing_waits = |id: &str| id != waits.worktree_id();
    let keep_up = |days| ground.keep_up_knowing(in_days(days), &[SANDBOX], &nothing_waits);
    assert_eq!(keep_up(0).folders, 0, "it was used today");
    assert_eq!(keep_up(2).folders, 1);
    let here = [&living, &plain, &waits, &open].map(|repo| repo.private_dir().exists());
    assert_eq!((here, moved.exists()), ([true, false, true, true], true));
    let mut left = upkeep::orphans(&ground.repo).unwrap();
    left.sort_by_key(|orphan| orphan.id == open.worktree_id());
    let left: Vec<_> = left.iter().map(|orphan| orphan.id.as_str()).collect();
    assert_eq!(left, [waits.worktree_id(), open.worktree_id()]);
}

#[test]
fn what_a_killed_command_left_goes_after_a_day() {
    let ground = Ground::after(1);
    let private = ground.private();
    let strays = [
        ".ref-0",
        ".tmpAbc",
        "index.seed",
        "info/.tmpDef",
        "objects/pack/tmp_pack_X",
        "objects/tmp_object_git2_1",
        "objects/17/tmp_obj_Z",
        "objects/pack/pack-0.pack",
        "sandbox-coder/journal/r9.new",
        "../.new-1",
    ]
    .map(|name| private.join(name));
    for stray in &strays {
        std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
        std::fs::write(stray, "half").unwrap();
    }
    ground.keep_up(SystemTime::now());
    assert!(strays.iter().all(|stray| stray.exists()), "somebody may be writing");
    ground.keep_up(in_days(2));
    let left: Vec<_> = strays.iter().filter(|stray| stray.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    ground.undo_down_to(1);
}

#[test]
fn an_index_lock_of_a_killed_git_is_removed_and_a_fresh_one_is_waited_for() {
    let mut ground = Ground::after(0);
    let lock = ground.private().join("index.lock");
    std::fs::write(&lock, "").unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(120);
    std::fs::File::options().write(true).open(&lock).unwrap().set_modified(long_ago).unwrap();
    ground.run();
    assert!(!lock.exists());
    std::fs::write(&lock, "").unwrap();
    let (repo, path) = (ground.repo.clone(), lock.clone());
    let waiting = std::thread::spawn(move || repo.lock("run", PATIENCE).map(drop));
    std::fs::remove_file(path).unwrap();
    waiting.join().unwrap().unwrap();
}

#[test]
fn a_run_waits_for_an_upkeep_and_for_nothing_else() {
    let ground = Ground::after(0);
    let repo = ground.repo.clone();
    let held = repo.lock("run", PATIENCE).unwrap();
    assert!(matches!(repo.lock("run", Duration::ZERO), Err(Error::Busy { .. })));
    drop(held);
    let held = repo.lock(upkeep::HOLDER, PATIENCE).unwrap();
    let other = ground.repo.clone();
    let waiting = std::thread::spawn(move || other.lock("run", Duration::ZERO).map(drop));
    drop(held);
    waiting.join().unwrap().unwrap();
}

#[test]
fn an_open_journal_and_its_versions_stay_however_old() {
    let ground = Ground::after(rules::RUNS);
    let shelf = ground.private().join("sandbox-coder/journal");
    // As a kill leaves it between the announcement and the end.
    std::fs::rename(shelf.join("r1.done"), shelf.join("r1.open")).unwrap();
    let done = ground.keep_up(in_days(400));
    assert_eq!((done.runs, done.refs), (0, 0));
    let open = journal::Shelf::at(&ground.repo.state_dir()).unfinished().unwrap();
    assert_eq!(open.len(), 1);
    let store = Store::open(&ground.repo).unwrap();
    for step in &open[0].steps {
        for entry in [step.before, step.after].into_iter().flatten() {
            store.read_blob(entry.id).unwrap();
        }
    }
}
