//! A sync killed anywhere is healed by one repetition.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use sandbox_coder::daytona::script::Script;
use sandbox_coder::rel_path::RelPath;
use sandbox_coder::sync::pack::Link;
use sandbox_coder::sync::pull::{self, Answer};
use sandbox_coder::sync::push::{Push, Pushed};
use sandbox_coder::sync::records::Limits;
use sandbox_coder::tree::{Entry, Oid, Tree};
use sandbox_coder::worktree::{Repo, Store};

use super::model::files::{self, Author, Files, ignored_by_rules};
use crate::support::dice::{Dice, setting};
use crate::support::far::{Far, Pair, Tools, until_free, which};
use crate::support::repo::{RepoBuilder, listing};

/// When a script dies.
#[derive(Debug, Clone, Copy)]
enum When {
    /// This long after its start.
    Start(Duration),
    /// This long after it announced that it will change the workspace.
    Announced(Duration),
}

/// How a killed script was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// It had ended before.
    Late,
    /// It ran, and had announced no change or closed it already.
    Outside,
    /// It was changing the workspace.
    Inside,
}

/// Runs a script and kills its whole process group.
fn kill(far: &Far, script: &Script, when: When) -> Death {
    let txn = far.state().join("txn");
    let mut child = far.start(script);
    let mut ended = false;
    let delay = match when {
        When::Start(delay) => delay,
        When::Announced(delay) => {
            while !ended && !txn.exists() {
                ended = child.try_wait().unwrap().is_some();
                std::thread::sleep(Duration::from_micros(100));
            }
            delay
        }
    };
    if !ended {
        std::thread::sleep(delay);
    }
    let running = child.try_wait().unwrap().is_none();
    let group = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    child.wait().unwrap();
    match running {
        false => Death::Late,
        true if txn.exists() => Death::Inside,
        true => Death::Outside,
    }
}

/// A sandbox whose syncs are killed one after the other, and what has to be in it.
struct Victim {
    _dir: tempfile::TempDir,
    store: Store,
    far: Far,
    dice: Dice,
    count: u64,
    /// What lies over there, with what git ignores there.
    there: Files,
    base: Option<Oid>,
    /// About how long an undisturbed push takes.
    whole: Duration,
    /// Kills that hit a running script, and those that hit one changing the workspace.
    kills: u64,
    inside: u64,
}

fn kept(files: &Files) -> Files {
    files
        .iter()
        .filter(|(p, _)| !ignored_by_rules(p))
        .map(|(p, n)| (p.clone(), n.clone()))
        .collect()
}

impl Victim {
    fn new(far: Far, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        git2::Repository::init(dir.path()).unwrap();
        let store = Store::open(&Repo::discover(dir.path()).unwrap()).unwrap();
        let mut victim = Self {
            _dir: dir,
            store,
            far,
            dice: Dice::new(seed),
            count: 0,
            there: Files::new(),
            base: None,
            whole: Duration::ZERO,
            kills: 0,
            inside: 0,
        };
        let first = victim.author('o').tree();
        let began = Instant::now();
        assert!(matches!(victim.send(&first, None), Pushed::Ok { .. }));
        victim.whole = began.elapsed();
        victim
    }

    fn author(&mut self, name: char) -> Author<'_> {
        Author { dice: &mut self.dice, name, count: &mut self.count }
    }

    fn tree(&self, files: &Files) -> Tree {
        let entry = |node: &files::Node| Entry {
            mode: node.mode,
            id: self.store.write_blob(&node.bytes).unwrap(),
        };
        files.iter().map(|(p, n)| (RelPath::parse(p).unwrap(), entry(n))).collect()
    }

    fn kill(&mut self, script: &Script, when: When) {
        let death = kill(&self.far, script, when);
        self.kills += u64::from(death != Death::Late);
        self.inside += u64::from(death == Death::Inside);
        // The machine may be slower or faster by now.
        self.whole = self.whole.mul_f64(if death == Death::Late { 0.8 } else { 1.05 });
    }

    fn moment(&mut self) -> Duration {
        Duration::from_micros(self.dice.below(self.whole.as_micros() as u64))
    }

    /// Makes the workspace this tree; killed on the way if told so, then once more.
    fn send(&mut self, files: &Files, when: Option<When>) -> Pushed {
        let files = kept(files);
        let to = self.tree(&files);
        let id = self.store.write_tree(&to).unwrap();
        let from = self.base.map(|id| (id, self.store.read_tree(id).unwrap()));
        let from = from.as_ref().map(|(id, tree)| (*id, tree));
        let spool = self.store_dir();
        let push = Push::plan(&self.store, from, (id, &to), &spool, Link::Far).unwrap();
        if let Some(when) = when {
            let script = self.far.script_of(&push);
            self.kill(&script, when);
        }
        let said = until_free(|| Some(self.far.push(&push)).filter(|s| *s != Pushed::Busy));
        assert!(matches!(said, Pushed::Ok { .. }), "{when:?}: {said:?}");
        let before = std::mem::replace(&mut self.there, files::read(&self.far.workspace()));
        let lies = kept(&self.there);
        assert!(lies == files, "{when:?}: {:#?}", files::differences(&lies, &files));
        self.nothing_lost(&before);
        for left in ["stage", "txn", "aside"] {
            assert!(!self.far.state().join(left).exists(), "{when:?}: `{left}` stayed behind");
        }
        self.base = Some(id);
        said
    }

    fn store_dir(&self) -> std::path::PathBuf {
        self._dir.path().to_owned()
    }

    /// What git ignores over there was never fetched: it is in its place or put aside.
    fn nothing_lost(&self, before: &Files) {
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(self.far.home()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap_or_default().to_string_lossy().starts_with("workspace") {
                found.extend(files::read(&path).into_values().map(|n| n.bytes));
            }
        }
        for (path, node) in before.iter().filter(|(p, _)| ignored_by_rules(p)) {
            let name = sandbox_coder::rel_path::escape(path);
            assert!(found.contains(&node.bytes), "`{name}` {node:?} is gone");
        }
    }

    /// The agent works; fetching it and agreeing on it are both killed and repeated once.
    fn fetch(&mut self, when: [When; 2]) {
        let before = self.there.clone();
        let mut there = before.clone();
        for _ in 0..1 + self.dice.below(6) {
            self.author('a').edit(&mut there);
        }
        let far = &self.far;
        files::lay(&far.workspace(), &before, &there, true, &|p| far.own(p));
        let wanted = self.store.write_tree(&self.tree(&kept(&there))).unwrap();
        let base = self.base.expect("something was sent");
        let mut ask = Script::new();
        pull::add_to(&mut ask, &Limits::default());
        self.kill(&ask, when[0]);
        let offer = until_free(|| match self.far.ask() {
            Answer::Out(offer) => Some(*offer),
            Answer::Busy => None,
            other => panic!("{other:?}"),
        });
        assert_eq!((offer.base, offer.tree), (base, wanted), "{when:?}");
        assert!(offer.trouble.is_empty(), "{offer:?}");
        if offer.tree != base {
            let mut from = std::fs::File::open(offer.path()).unwrap();
            let archive = pull::Archive::read(&offer, &mut from, &self.store_dir()).unwrap();
            pull::unpack(archive, &offer, base, &Limits::default(), &self.store).unwrap();
        }
        let mut settle = Script::new();
        pull::add_settle(&mut settle, base, wanted, wanted);
        self.kill(&settle, when[1]);
        let said = until_free(|| Some(self.far.run(&settle)).filter(|s| !s.contains("SBX1 busy")));
        assert!(pull::heard_settle(&said), "{when:?}: {said}");
        assert!(files::read(&self.far.workspace()) == there, "{when:?}: a fetch changed something");
        self.there = there;
        self.base = Some(wanted);
    }

    /// One sync that is killed.
    fn step(&mut self) {
        if self.dice.once_in(4) {
            let when = [(); 2].map(|()| When::Start(self.moment().mul_f64(0.6)));
            return self.fetch(when);
        }
        let mut next = self.there.clone();
        for _ in 0..1 + self.dice.below(8) {
            self.author('u').edit(&mut next);
        }
        let when = match self.dice.below(3) {
            0 => When::Start(self.moment()),
            _ => When::Announced(self.moment().mul_f64(0.6)),
        };
        self.send(&next, Some(when));
    }
}

/// Kills until enough scripts were hit while they ran.
fn kill_many(tools: Tools, seed: u64) {
    let Some(far) = Far::with(tools) else {
        eprintln!("skipped: this machine has no {tools:?}");
        return;
    };
    let wanted = setting("SANDBOX_CODER_KILLS", 210).div_ceil(6);
    let seed = setting("SANDBOX_CODER_SEED", 20_261_121) + seed;
    let (began, mut victim) = (Instant::now(), Victim::new(far, seed));
    let mut tries = 0;
    let enough = |v: &Victim| v.kills >= wanted && v.inside * 10 > v.kills;
    while !enough(&victim) {
        victim.step();
        tries += 1;
        let (kills, inside) = (victim.kills, victim.inside);
        assert!(tries < wanted * 100, "of {tries} syncs {kills} were killed, {inside} at work");
    }
    eprintln!(
        "{tools:?}: seed {seed}, {tries} syncs, {} kills, {} while the workspace was changed, {:?}",
        victim.kills,
        victim.inside,
        began.elapsed()
    );
}

#[test]
fn a_sync_killed_at_any_moment_is_healed_by_one_repetition() {
    kill_many(Tools::Shell("sh"), 0);
}

#[test]
fn so_is_one_from_another_seed() {
    kill_many(Tools::Shell("sh"), 1);
}

#[test]
fn so_it_is_under_another_shell() {
    kill_many(Tools::Shell("bash"), 2);
}

#[test]
fn so_it_is_under_another_shell_from_another_seed() {
    kill_many(Tools::Shell("bash"), 3);
}

#[test]
fn so_it_is_with_busybox() {
    kill_many(Tools::Busybox, 4);
}

#[test]
fn so_it_is_with_busybox_from_another_seed() {
    kill_many(Tools::Busybox, 5);
}

/// A folder of ignored files that no sync may touch.
const PRECIOUS: &str = "mkdir -p cache/deep d0/cache; for n in 1 2 3 4 5 6 7 8; do echo $n > cache/deep/$n; echo $n > d0/cache/$n; done; echo s > .env";

pub fn precious(far: &Far) {
    for n in 1..9 {
        for dir in ["cache/deep", "d0/cache"] {
            let kept = std::fs::read_to_string(far.workspace().join(format!("{dir}/{n}")));
            assert_eq!(kept.unwrap_or_default(), format!("{n}\n"), "{dir}/{n}");
        }
    }
    assert_eq!(std::fs::read(far.workspace().join(".env")).unwrap(), b"s\n");
}

/// One state of a worktree in which much differs from the one before, also in kind.
pub fn step(repo: &RepoBuilder, n: usize) {
    for i in 0..40 {
        let (dir, name) = (i % 4, format!("d{}/f{i}", i % 4));
        match (i + n) % 4 {
            0 => repo.file(&name, format!("{n} {i}").repeat(50)),
            1 if repo.at(&name).exists() => repo.remove(&name),
            2 => repo.file(format!("d{dir}/odd {n}\n{i}"), "x"),
            _ => repo,
        };
    }
    for name in ["kind", "-kind"] {
        if repo.at(name).symlink_metadata().is_ok() {
            repo.remove(name);
        }
        match n % 3 {
            0 => repo.file(name, "file"),
            1 => repo.link(name, "d1"),
            _ => repo.file(format!("{name}/below/f"), "folder"),
        };
    }
}

pub fn start(far: Far) -> Pair {
    let repo = RepoBuilder::new();
    repo.file(".gitignore", "cache/\n.env\n");
    step(&repo, 0);
    let mut pair = Pair::new(repo, far);
    pair.push();
    pair.far.agent(PRECIOUS);
    pair
}

/// The workspace without what git ignores there.
fn same_but_ignored(pair: &Pair) {
    let there: Vec<_> = listing(&pair.far.workspace())
        .into_iter()
        .filter(|(name, ..)| {
            let name = String::from_utf8_lossy(name).into_owned();
            name != ".env" && !name.split('/').any(|part| part == "cache")
        })
        .collect();
    assert!(listing(pair.repo.path()) == there, "the workspace is not what was sent");
}

/// One repetition must heal; the second says that there is nothing left to do.
pub fn heals(pair: &mut Pair, push: &Push) {
    let said = until_free(|| Some(pair.far.push(push)).filter(|s| *s != Pushed::Busy));
    if let Pushed::Ok { aside: Some(aside), .. } = &said {
        panic!("{:?} was put aside", listing(Path::new(aside)));
    }
    assert!(matches!(said, Pushed::Ok { .. }), "{said:?}");
    assert_eq!(pair.far.push(push), Pushed::Ok { already: true, aside: None });
    pair.base = Some(push.to);
    same_but_ignored(pair);
    assert!(!pair.far.state().join("stage").exists() && !pair.far.state().join("txn").exists());
}

/// Puts a counter before every program of the sandbox: the group dies just before the call whose turn it is.
pub fn count_calls(far: &Far) {
    let (shell, wc) = (which("sh").unwrap(), which("wc").unwrap());
    let git = if far.has_git() { &["git"][..] } else { &["awk", "stat", "find", "paste", "cmp"] };
    for tool in git.iter().chain(&[
        "tar",
        "gzip",
        "sha256sum",
        "base64",
        "xargs",
        "sed",
        "mkdir",
        "rm",
        "mv",
        "cp",
        "cat",
        "cut",
        "tr",
        "head",
        "flock",
        "rmdir",
        "chmod",
        "wc",
        "sort",
        "grep",
        "ls",
    ]) {
        let Some(program) = which(tool) else { continue };
        let text = format!(
            "#!{0}\nif [ -n \"$TURN\" ]; then echo >>\"$HOME/turn\"; n=$({2} -l <\"$HOME/turn\")\n\
             [ $n -lt $TURN ] || kill -9 0; fi\nexec {1} \"$@\"\n",
            shell.display(),
            program.display(),
            wc.display()
        );
        let path = far.bin().join(tool);
        // It may be a link to the machine's own.
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
    }
}

/// Runs a script that dies at the given call; `false` when it had fewer.
pub fn dies_at(far: &Far, script: &Script, turn: usize) -> bool {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    let _ = std::fs::remove_file(far.home().join("turn"));
    let mut text = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut text, script.command().as_bytes()).unwrap();
    std::io::Seek::rewind(&mut text).unwrap();
    let out = far
        .command("sh")
        .env("TURN", turn.to_string())
        .stdin(text)
        .process_group(0)
        .output()
        .unwrap();
    out.status.signal() == Some(9)
}

/// Kills a push before every second of its commands.
fn push_killed(first: usize) {
    let mut pair = start(Far::new());
    count_calls(&pair.far);
    for turn in (first..).step_by(2) {
        step(&pair.repo, turn);
        let push = pair.plan();
        let died = dies_at(&pair.far, &pair.far.script_of(&push), turn);
        // Whoever repeats it may have made the archive anew.
        let push = if turn / 2 % 2 == 0 { pair.plan() } else { push };
        heals(&mut pair, &push);
        precious(&pair.far);
        if !died {
            assert!(turn > 20, "only {turn} commands");
            break;
        }
    }
}

#[test]
fn a_push_killed_before_an_odd_command_is_healed() {
    push_killed(1);
}

#[test]
fn a_push_killed_before_an_even_command_is_healed() {
    push_killed(2);
}

#[test]
fn a_first_push_killed_before_each_of_its_commands_is_healed() {
    let repo = RepoBuilder::new();
    repo.odd();
    let mut pair = Pair::new(repo, Far::new());
    for turn in 1.. {
        pair.far = Far::new();
        count_calls(&pair.far);
        std::fs::create_dir(pair.far.workspace()).unwrap();
        pair.far.own(&pair.far.workspace());
        pair.far.agent("echo old > old");
        let push = pair.plan();
        let died = dies_at(&pair.far, &pair.far.script_of(&push), turn);
        let push = pair.plan();
        let said = until_free(|| Some(pair.far.push(&push)).filter(|s| *s != Pushed::Busy));
        assert!(matches!(said, Pushed::Ok { .. }), "after {turn}: {said:?}");
        pair.same();
        let aside = std::fs::read_dir(pair.far.home())
            .unwrap()
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with("workspace.before"))
            .map(|e| std::fs::read_to_string(e.path().join("old")).unwrap());
        assert_eq!(aside.collect::<Vec<_>>(), ["old\n"], "what was there before, after {turn}");
        if !died {
            break;
        }
    }
}

#[test]
fn a_pull_killed_before_each_of_its_commands_is_repeated() {
    let mut pair = start(Far::new());
    count_calls(&pair.far);
    let mut turn = 1;
    loop {
        pair.far.agent(&format!(
            "echo {turn} > new; mkdir -p d1; echo {turn} > 'd1/odd {turn}'; rm -f d2/f2"
        ));
        let mut ask = Script::new();
        pull::add_to(&mut ask, &Limits::default());
        let died = dies_at(&pair.far, &ask, turn);
        let (offer, _, tree) = pair.pull();
        let mut settle = Script::new();
        pull::add_settle(&mut settle, offer.base, offer.tree, offer.tree);
        let cut = dies_at(&pair.far, &settle, turn);
        let said = until_free(|| Some(pair.far.run(&settle)).filter(|s| !s.contains("SBX1 busy")));
        assert!(pull::heard_settle(&said), "after {turn}: {said}");
        pair.base = Some(pair.store().write_tree(&tree).unwrap());
        assert_eq!(pair.base, Some(offer.tree));
        assert_eq!(pair.differs(), [""; 0], "after {turn}");
        precious(&pair.far);
        if !died && !cut {
            break;
        }
        turn += 1;
    }
    assert!(turn > 15, "only {turn} commands");
}
