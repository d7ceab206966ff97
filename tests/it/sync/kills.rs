//! A sync killed anywhere is healed by one repetition.

use std::time::{Duration, Instant};

use sandbox_coder::daytona::script::Script;
use sandbox_coder::sync::pull;
use sandbox_coder::sync::push::{Push, Pushed};
use sandbox_coder::sync::records::Limits;

use crate::support::far::{Far, Pair, Tools, which};
use crate::support::repo::{RepoBuilder, listing};

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Runs a script and kills its whole process group after a while; says whether it was still running.
fn kill_after(far: &Far, script: &Script, delay: Duration) -> bool {
    let mut child = far.start(script);
    std::thread::sleep(delay);
    let running = child.try_wait().unwrap().is_none();
    let group = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    child.wait().unwrap();
    running
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
    // The lock is free once the last process of the killed group is gone, which takes the kernel a moment.
    let asked = std::iter::repeat_with(|| pair.far.push(push)).take(1000);
    let said =
        asked.into_iter().find(|said| *said != Pushed::Busy).expect("the lock is given back");
    if let Pushed::Ok { aside: Some(aside), .. } = &said {
        panic!("{:?} was put aside", listing(std::path::Path::new(aside)));
    }
    assert!(matches!(said, Pushed::Ok { .. }), "{said:?}");
    assert_eq!(pair.far.push(push), Pushed::Ok { already: true, aside: None });
    pair.base = Some(push.to);
    same_but_ignored(pair);
    assert!(!pair.far.state().join("stage").exists() && !pair.far.state().join("txn").exists());
}

#[test]
fn a_push_killed_at_any_moment_is_healed_by_one_repetition() {
    let sandboxes = [Some(Far::new()), Far::with(Tools::Shell("bash")), Far::with(Tools::Busybox)];
    let mut dice = Dice(20_261_121);
    for far in sandboxes.into_iter().flatten() {
        let mut pair = start(far);
        // How long an undisturbed one takes here sets the range of the moments.
        step(&pair.repo, 1);
        let began = Instant::now();
        pair.push();
        let whole = began.elapsed().as_micros() as u64;
        let mut cut = 0;
        for n in 2..32 {
            step(&pair.repo, n);
            let push = pair.plan();
            let delay = Duration::from_micros(dice.below(whole));
            cut += u32::from(kill_after(&pair.far, &pair.far.script_of(&push), delay));
            heals(&mut pair, &push);
            precious(&pair.far);
        }
        assert!(cut > 0, "no push was cut");
    }
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

#[test]
fn a_push_killed_before_each_of_its_commands_is_healed() {
    let mut pair = start(Far::new());
    count_calls(&pair.far);
    let mut turn = 1;
    loop {
        step(&pair.repo, turn);
        let push = pair.plan();
        let died = dies_at(&pair.far, &pair.far.script_of(&push), turn);
        // Whoever repeats it may have made the archive anew.
        let push = if turn % 2 == 0 { pair.plan() } else { push };
        heals(&mut pair, &push);
        precious(&pair.far);
        if !died {
            break;
        }
        turn += 1;
    }
    assert!(turn > 20, "only {turn} commands");
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
        let mut asked = std::iter::repeat_with(|| pair.far.push(&push)).take(1000);
        let said = asked.find(|said| *said != Pushed::Busy);
        assert!(matches!(said, Some(Pushed::Ok { .. })), "after {turn}: {said:?}");
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
        let mut asked = std::iter::repeat_with(|| pair.far.run(&settle)).take(1000);
        let said = asked.find(|said| !said.contains("SBX1 busy")).unwrap();
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
