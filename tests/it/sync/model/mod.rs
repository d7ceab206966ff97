//! Nothing is lost, whatever both sides do: random worktrees, random work on either side, rounds of push and
//! pull under every policy, cut short and repeated, held against a model of what may come of it.
//!
//! A case is told by its seed. `SANDBOX_CODER_SEED` and `SANDBOX_CODER_CASES` choose others:
//! `SANDBOX_CODER_SEED=<seed> SANDBOX_CODER_CASES=1` is the one a failure names.

pub mod files;
mod oracle;
mod world;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use oracle::Way;
use sandbox_coder::sync::merge::Policy;
use world::World;

use crate::support::dice::setting;

/// How much happens in a case.
#[derive(Debug, Clone, Copy)]
struct Size {
    rounds: u64,
    edits: u64,
}

const FULL: Size = Size { rounds: 3, edits: 5 };

const POLICIES: [Policy; 5] =
    [Policy::Hold, Policy::KeepBoth, Policy::Merge, Policy::Ours, Policy::Theirs];

/// One story, from the first push to the last.
fn story(seed: u64, with_far: bool, size: Size, log: &dyn Fn(String)) {
    let mut world = World::new(seed, with_far, log);
    for _ in 0..1 + world.dice.below(size.rounds) {
        if !world.push() {
            break;
        }
        world.agent_edits(size.edits);
        world.user_edits(size.edits);
        if world.dice.once_in(8) {
            world.push();
        }
        // What is held, typed into or cut short is fetched again, perhaps after more work on either side.
        for _ in 0..6 {
            let policy = *world.dice.pick(&POLICIES);
            let way = Way { policy, allow_mass_delete: !world.dice.once_in(4) };
            if world.pull(&way) {
                break;
            }
            if world.dice.once_in(3) {
                world.agent_edits(2);
                world.user_edits(2);
            }
        }
        world.pay();
    }
}

/// The words a case ended with, and its log; `None` if all was well.
fn fails(seed: u64, with_far: bool, size: Size) -> Option<String> {
    let log = RefCell::new(Vec::new());
    let ended = catch_unwind(AssertUnwindSafe(|| {
        story(seed, with_far, size, &|line| log.borrow_mut().push(line));
    }));
    ended.is_err().then(|| log.into_inner().join("\n"))
}

/// One case in so many goes through the scripts, run by a real shell; in the others their part is done to
/// the model of the sandbox alone, which takes a quarter of the time.
const SCRIPTS: u64 = 8;

/// Tells stories until one goes wrong; of that one the shortest that still does is told.
fn tell(seeds: std::ops::Range<u64>) {
    let (began, count) = (std::time::Instant::now(), seeds.end - seeds.start);
    for seed in seeds.clone() {
        let with_far = seed % SCRIPTS == 0;
        let Some(log) = fails(seed, with_far, FULL) else { continue };
        let smaller = (1..=FULL.rounds)
            .flat_map(|rounds| (1..=FULL.edits).map(move |edits| Size { rounds, edits }))
            .find_map(|size| Some((size, fails(seed, with_far, size)?)));
        let (size, log) = smaller.unwrap_or((FULL, log));
        panic!(
            "SANDBOX_CODER_SEED={seed} SANDBOX_CODER_CASES=1 ({size:?}, scripts: {with_far})\n{log}"
        );
    }
    eprintln!("{count} cases, seeds {seeds:?}, in {:?}", began.elapsed());
}

/// The share of one test: each tells its own part of the seeds.
fn share(part: u64, of: u64) {
    let count = setting("SANDBOX_CODER_CASES", 520);
    let first = setting("SANDBOX_CODER_SEED", 1_000_000);
    tell(first + count * part / of..first + count * (part + 1) / of);
}

#[test]
fn nothing_is_lost_in_the_first_quarter_of_the_cases() {
    share(0, 4);
}

#[test]
fn nothing_is_lost_in_the_second_quarter_of_the_cases() {
    share(1, 4);
}

#[test]
fn nothing_is_lost_in_the_third_quarter_of_the_cases() {
    share(2, 4);
}

#[test]
fn nothing_is_lost_in_the_last_quarter_of_the_cases() {
    share(3, 4);
}
