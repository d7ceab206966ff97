//! Killed at any moment: one rerun heals, and nothing is lost.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::ground::{Files, Ground, Node, assert_same, f, p};

const KILLS: u32 = 60;
const GROUND: &str = "SANDBOX_CODER_TEST_GROUND";

/// A number that looks random and is the same every time.
fn noise(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Files of all kinds and what becomes of them.
fn both() -> (Files, Files) {
    let (mut before, mut after) = (Files::new(), Files::new());
    for n in 0..42_u64 {
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
    let (before, after) = both();
    let plan = ground.plan("r1", &before, &after);
    let mut out = std::io::stdout();
    out.write_all(b"\x01").unwrap();
    out.flush().unwrap();
    ground.apply(&plan).unwrap();
    out.write_all(b"\x02").unwrap();
    out.flush().unwrap();
}

/// Starts the victim, lets it live for `life` once it begins to apply, and kills it. How long it really lived.
fn kill_after(root: &Path, life: Duration) -> Duration {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["apply::kills::victim", "--exact", "--nocapture"])
        .env(GROUND, root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut byte = [0];
    while byte != [1] {
        out.read_exact(&mut byte).expect("the victim begins");
    }
    let begin = Instant::now();
    if life == Duration::MAX {
        while byte != [2] {
            out.read_exact(&mut byte).expect("the victim ends");
        }
    }
    let lived = begin.elapsed();
    while life != Duration::MAX && begin.elapsed() < life {
        std::hint::spin_loop();
    }
    let _ = child.kill();
    child.wait().unwrap();
    lived
}

#[test]
fn every_kill_is_healed_by_one_rerun() {
    let (before, after) = both();
    let whole = kill_after(Ground::with(&before).prepared(&after).root(), Duration::MAX);
    let mut interrupted = 0;
    for n in 0..KILLS {
        let ground = Ground::with(&before).prepared(&after);
        let share = noise(u64::from(n)) % 1000;
        kill_after(ground.root(), whole.mul_f64(share as f64 / 1000.0));
        let words = format!("kill {n} at {share} per mille of {whole:?}");

        // Every file is old or new, never mixed, before anybody heals anything.
        for (path, node) in ground.files() {
            let staged = path.file_name().starts_with(b".sbx-");
            assert!(
                staged || before.get(&path) == Some(&node) || after.get(&path) == Some(&node),
                "{words}: {path}"
            );
        }
        // In half of the cases the user goes on typing before the rerun.
        let typed = p("d4/e1/f4");
        if n % 2 == 1 {
            std::fs::write(ground.path("d4/e1/f4"), "typed after the kill").unwrap();
        }
        let resumed = ground.resume().unwrap_or_else(|e| panic!("{words}: {e:?}"));
        interrupted += resumed.len();
        if !ground.knows("r1") {
            ground
                .apply(&ground.plan("r1", &before, &after))
                .unwrap_or_else(|e| panic!("{words}: {e:?}"));
        }
        let mut wanted = after.clone();
        if n % 2 == 1 {
            wanted.insert(typed, f("typed after the kill"));
        }
        assert_same(&ground.files(), &wanted, &words);
        ground.assert_clean();
        assert!(ground.resume().unwrap().is_empty(), "{words}");
        ground.undo(Some("r1"), "r2").unwrap();
        if n % 2 == 0 {
            assert_same(&ground.files(), &before, &words);
        }
    }
    assert!(interrupted > 10, "only {interrupted} kills hit the middle");
}

impl Ground {
    /// Stores what the victim will need.
    fn prepared(self, after: &Files) -> Self {
        self.store.tree(after);
        self
    }

    fn knows(&self, run: &str) -> bool {
        self.root().join("state/journal").join(format!("{run}.done")).exists()
    }
}
