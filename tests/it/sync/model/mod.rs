//! Nothing is lost, whatever both sides do: random worktrees, random work on either side, rounds of push and
//! pull under every policy, cut short and repeated, held against a model of what may come of it.
//!
//! A case is told by its seed. `SANDBOX_CODER_SEED` and `SANDBOX_CODER_CASES` choose others:
//! `SANDBOX_CODER_SEED=<seed> SANDBOX_CODER_CASES=1` is the one a failure names.

pub mod files;
mod oracle;
mod sandbox;
mod world;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use oracle::Way;
use sandbox_coder::sync::merge::Policy;
use world::World;

use crate::support::dice::setting;
use crate::support::far::Tools;

/// How much happens in a case.
#[derive(Debug, Clone, Copy)]
struct Size {
    rounds: u64,
    edits: u64,
}

const FULL: Size = Size { rounds: 2, edits: 5 };

const POLICIES: [Policy; 5] =
    [Policy::Hold, Policy::KeepBoth, Policy::Merge, Policy::Ours, Policy::Theirs];

/// One story, from the first push to the last.
fn story(seed: u64, tools: Option<Tools>, size: Size, log: &dyn Fn(String)) {
    let mut world = World::new(seed, tools, log);
    for _ in 0..1 + world.dice.below(size.rounds) {
        if !world.push() {
            break;
        }
        world.agent_edits(size.edits);
        world.user_edits(size.edits);
        world.user_commits();
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
fn fails(seed: u64, size: Size) -> Option<String> {
    let log = RefCell::new(Vec::new());
    let ended = catch_unwind(AssertUnwindSafe(|| {
        story(seed, tools(seed), size, &|line| log.borrow_mut().push(line));
    }));
    ended.is_err().then(|| log.into_inner().join("\n"))
}

/// What the sandbox of a case has. In six of seven cases there is none: what the scripts do is done to the model
/// of it alone, which takes a tenth of the time.
fn tools(seed: u64) -> Option<Tools> {
    Some(match seed % 77 {
        0 | 21 | 42 | 63 => Tools::Shell("sh"),
        7 | 49 => Tools::Shell("bash"),
        14 | 35 | 56 => Tools::Busybox,
        28 => Tools::Bare,
        70 => Tools::Without("git"),
        _ => return None,
    })
}

/// Whether a case waits more than it works: a list has to let the clock move on.
fn waits(seed: u64) -> bool {
    matches!(tools(seed), Some(Tools::Bare | Tools::Without(_)))
}

/// How many cases that wait are told at the same time.
const AT_ONCE: usize = 4;

/// Tells one story; if it goes wrong, the shortest that still does.
fn tell(seed: u64) {
    let Some(log) = fails(seed, FULL) else { return };
    let smaller = (1..=FULL.rounds)
        .flat_map(|rounds| (1..=FULL.edits).map(move |edits| Size { rounds, edits }))
        .find_map(|size| Some((size, fails(seed, size)?)));
    let (size, log) = smaller.unwrap_or((FULL, log));
    panic!(
        "SANDBOX_CODER_SEED={seed} SANDBOX_CODER_CASES=1 ({size:?}, scripts: {:?})\n{log}",
        tools(seed)
    );
}

/// Tells a story for each seed.
fn tell_all(seeds: std::ops::Range<u64>) {
    let began = std::time::Instant::now();
    let (waiting, busy): (Vec<u64>, Vec<u64>) = seeds.clone().partition(|seed| waits(*seed));
    std::thread::scope(|scope| {
        for part in waiting.chunks(waiting.len().div_ceil(AT_ONCE).max(1)) {
            scope.spawn(|| part.iter().copied().for_each(tell));
        }
        busy.into_iter().for_each(tell);
    });
    eprintln!("{} cases, seeds {seeds:?}, in {:?}", seeds.end - seeds.start, began.elapsed());
}

/// The share of one test: each tells its own part of the seeds.
fn share(part: u64, of: u64) {
    let count = setting("SANDBOX_CODER_CASES", 520);
    let first = setting("SANDBOX_CODER_SEED", 1_000_000);
    tell_all(first + count * part / of..first + count * (part + 1) / of);
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
