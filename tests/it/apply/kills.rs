//! Killed at any moment: one rerun heals, and nothing is lost.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandbox_coder::tree::Oid;
use sandbox_coder::worktree::apply::{self, Objects, Site};

use super::ground::{Files, Ground, Node, assert_same, f, p};
use crate::support::dice::{Dice, scratch, setting};
use crate::support::tripwire::{Tripwire, half};

const GROUND: &str = "SANDBOX_CODER_TEST_GROUND";
const OBJECT: &str = "SANDBOX_CODER_TEST_OBJECT";
const FILES: &str = "SANDBOX_CODER_TEST_FILES";

/// So few that one thread changes them, and so many that each phase takes several.
const SIZES: [u64; 2] = [24, 240];

/// When the victim dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Never.
    Spared,
    /// This long after it began to apply.
    After(Duration),
    /// When it asks for the content of this file, counted from none.
    Object(u64),
}

/// So many files of all kinds and what becomes of them.
fn both(files: u64) -> (Files, Files) {
    let (mut before, mut after) = (Files::new(), Files::new());
    for n in 0..files {
        let path = p(format!("d{}/e{}/f{n}", n % 7, n % 3));
        let old = f(&format!("old {n}\n").repeat(1 + n as usize * 9));
        let new = f(&format!("new {n}\n").repeat(1 + n as usize * 11));
        match n % 6 {
            0 => drop(before.insert(path, old)),
            1 => drop(after.insert(path, new)),
            2 => {
                before.insert(path.clone(), old);
                after.insert(path, Node::Link(b"elsewhere".to_vec()));
            }
            3 => {
                before.insert(path.clone(), f("was a file"));
                after.insert(p([path.as_bytes(), b"/inside"].concat()), new);
            }
            _ => {
                before.insert(path.clone(), old);
                after.insert(path, new);
            }
        }
    }
    (before, after)
}

/// Not a test of its own: the process that is killed.
#[test]
fn victim() {
    let Some(root) = std::env::var_os(GROUND) else { return };
    let ground = Ground::at(Path::new(&root));
    let (before, after) = both(setting(FILES, 0));
    let plan = ground.plan("r1", &before, &after);
    let die = |objects: &dyn Objects, id: &Oid, out: &mut dyn Write| {
        half(objects, id, out)?;
        let me = rustix::process::getpid();
        Ok(rustix::process::kill_process(me, rustix::process::Signal::KILL)?)
    };
    let objects = Tripwire::new(&ground.store, setting(OBJECT, u64::from(u32::MAX)), &die);
    let (top, state) = ground.site();
    let site = Site { top: &top, state: &state, objects: &objects, file_mode: true };
    let mut out = io::stdout();
    out.write_all(b"\x01").unwrap();
    out.flush().unwrap();
    apply::apply(&site, &plan).unwrap();
    out.write_all(b"\x02").unwrap();
    out.flush().unwrap();
}

/// Starts the victim and kills it, if it does not die by itself. How long it lived once it began to apply.
fn kill(root: &Path, files: u64, when: When) -> Duration {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["apply::kills::victim", "--exact", "--nocapture"])
        .env(GROUND, root)
        .env(FILES, files.to_string());
    if let When::Object(number) = when {
        command.env(OBJECT, number.to_string());
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut byte = [0];
    while byte != [1] {
        out.read_exact(&mut byte).expect("the victim begins");
    }
    let begin = Instant::now();
    match when {
        When::Spared => {
            while byte != [2] {
                out.read_exact(&mut byte).expect("the victim ends");
            }
        }
        When::After(life) => {
            while begin.elapsed() < life {
                std::hint::spin_loop();
            }
        }
        When::Object(_) => {
            let ended = child.wait().unwrap();
            assert_eq!(ended.signal(), Some(9), "{when:?}: it lived to its end");
        }
    }
    let lived = begin.elapsed();
    let _ = child.kill();
    child.wait().unwrap();
    lived
}

fn ground(before: &Files, after: &Files) -> Ground {
    let ground = Ground::within(scratch());
    ground.write(before);
    // What the victim will need.
    ground.store.tree(after);
    ground
}

/// Insists that one repetition heals, and that all of it can be taken back.
fn heals(ground: &Ground, before: &Files, after: &Files, types: bool, words: &str) {
    // Every file is old or new, never mixed, before anybody heals anything.
    for (path, node) in ground.files() {
        let staged = path.file_name().starts_with(b".sbx-");
        assert!(
            staged || before.get(&path) == Some(&node) || after.get(&path) == Some(&node),
            "{words}: {path}"
        );
    }
    // In half of the cases the user goes on typing before the rerun.
    let typed = "d4/e1/f4";
    if types {
        std::fs::write(ground.path(typed), "typed after the kill").unwrap();
    }
    ground.resume().unwrap_or_else(|e| panic!("{words}: {e:?}"));
    if !ground.knows("r1", "done") {
        ground
            .apply(&ground.plan("r1", before, after))
            .unwrap_or_else(|e| panic!("{words}: {e:?}"));
    }
    let mut wanted = after.clone();
    if types {
        wanted.insert(p(typed), f("typed after the kill"));
    }
    assert_same(&ground.files(), &wanted, words);
    ground.assert_clean();
    assert!(ground.resume().unwrap().is_empty(), "{words}");
    ground.undo(Some("r1"), "r2").unwrap();
    if !types {
        assert_same(&ground.files(), before, words);
    }
}

/// Kills one of two parts of as many as are wanted.
fn kill_many(part: u64) {
    let kills = setting("SANDBOX_CODER_KILLS", 200).div_ceil(2);
    let seed = setting("SANDBOX_CODER_SEED", 20_261_121) + part;
    let (began, mut dice) = (Instant::now(), Dice::new(seed));
    let sizes = SIZES.map(|files| {
        let (before, after) = both(files);
        let whole = kill(ground(&before, &after).root(), files, When::Spared).as_micros() as u64;
        (files, before, after, whole)
    });
    let mut inside = 0;
    for n in 0..kills {
        // One in eight with many.
        let (files, before, after, whole) = &sizes[usize::from(n % 16 < 2)];
        let ground = ground(before, after);
        let when = match dice.below(2) {
            0 => When::After(Duration::from_micros(dice.below(*whole))),
            // Each file that is new or another is asked for once.
            _ => When::Object(dice.below(after.len() as u64)),
        };
        kill(ground.root(), *files, when);
        inside += u64::from(ground.knows("r1", "open"));
        let words = format!("kill {n} of seed {seed}, {files} files, {when:?}");
        heals(&ground, before, after, n % 2 == 1, &words);
    }
    eprintln!(
        "apply: seed {seed}, {kills} kills, {inside} between announcement and end, {:?}",
        began.elapsed()
    );
    assert!(inside * 3 > kills, "only {inside} of {kills} kills hit the middle");
}

#[test]
fn every_kill_is_healed_by_one_rerun() {
    kill_many(0);
}

#[test]
fn so_is_every_other_kill() {
    kill_many(1);
}

impl Ground {
    /// Whether a run's journal is in this state.
    fn knows(&self, run: &str, state: &str) -> bool {
        self.root().join("state/journal").join(format!("{run}.{state}")).exists()
    }
}
