//! An upkeep that is killed at any moment costs nothing.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandbox_coder::worktree::upkeep::{self, Known, rules};
use sandbox_coder::worktree::{Repo, Store};

use super::{Ground, SANDBOX, in_days};
use crate::support::dice::{Dice, setting};

const GROUND: &str = "SANDBOX_CODER_TEST_UPKEEP";

/// Not a test of its own: the process that is killed.
#[test]
fn victim() {
    let Some(top) = std::env::var_os(GROUND) else { return };
    let repo = Repo::discover(Path::new(&top)).unwrap();
    let lock = repo.lock(upkeep::HOLDER, super::PATIENCE).unwrap();
    let named = [SANDBOX.to_owned()].into();
    let known = Known { named, trees: Vec::new(), nothing_waits: &|_| true };
    let mut out = std::io::stdout();
    out.write_all(b"\x01").unwrap();
    out.flush().unwrap();
    let until = Instant::now() + Duration::from_secs(600);
    upkeep::keep_up(&repo, &lock, &known, in_days(40), until).unwrap();
}

/// Starts the victim and kills it so long after it began. How long it lived.
fn kill(ground: &Ground, after: Option<Duration>) -> Duration {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["upkeep::kills::victim", "--exact", "--nocapture"]);
    command.env(GROUND, ground.user.path());
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = piped.spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut byte = [0];
    while byte != [1] {
        out.read_exact(&mut byte).expect("the victim begins");
    }
    let began = Instant::now();
    match after {
        Some(after) => {
            while began.elapsed() < after && child.try_wait().unwrap().is_none() {
                std::hint::spin_loop();
            }
            let _ = child.kill();
            let _ = child.wait().unwrap();
        }
        None => assert!(child.wait().unwrap().success()),
    }
    began.elapsed()
}

/// Runs beyond what is kept, and packs and loose objects that are rewritten.
fn ground() -> Ground {
    let ground = Ground::after(rules::RUNS + 4);
    let store = Store::open(&ground.repo).unwrap();
    for n in 0..=rules::PACKS {
        // Each pack holds contents of runs and others that nobody needs.
        let mut bulk = store.bulk(1000).unwrap();
        for state in ground.states.iter().skip(n) {
            let text = &state[&format!("d/f{}", n % 7)];
            bulk.write_blob_from(&mut text.as_bytes(), text.len() as u64).unwrap();
        }
        for m in 0..20 {
            let text = format!("{n} {m} for nothing");
            bulk.write_blob_from(&mut text.as_bytes(), text.len() as u64).unwrap();
        }
        bulk.finish().unwrap();
    }
    ground
}

#[test]
fn after_a_kill_at_any_moment_runs_and_undo_go_on() {
    let kills = setting("SANDBOX_CODER_KILLS", 60).div_ceil(6);
    let seed = setting("SANDBOX_CODER_SEED", 20_261_121);
    let mut dice = Dice::new(seed);
    let whole = kill(&ground(), None).as_micros() as u64;
    for round in 0..kills.div_ceil(5) {
        let mut ground = ground();
        // Each goes on where the one before it died.
        for n in 0..5 {
            let after = Duration::from_micros(dice.below(whole));
            kill(&ground, Some(after));
            ground.assert_sound();
            if n % 2 == 0 {
                ground.run();
            }
            eprintln!("upkeep: seed {seed}, round {round}, kill {n} after {after:?}");
        }
        ground.keep_up(in_days(40));
        ground.assert_sound();
        ground.run();
        let first = ground.states.len() - rules::RUNS;
        ground.undo_down_to(first);
    }
}
