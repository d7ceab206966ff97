//! What may go, decided without a look at the disk.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::tree::Oid;
use crate::worktree::journal::Run;

/// The newest runs that can be undone, however old they are.
pub const RUNS: usize = 100;
/// Any run that is younger can be undone, however many there are.
pub const UNDO: Duration = days(30);
/// A sandbox that its service did not know for so long, and that was not met since, is gone.
pub const UNKNOWN: Duration = days(30);
/// What nothing leads to stays for so long: somebody may just be about to use it.
pub const GRACE: Duration = days(1);
/// Objects that lie by themselves: fewer are not packed.
pub const LOOSE: usize = 2000;
/// Packs: fewer are not made one.
pub const PACKS: usize = 20;
/// An object of more bytes lies by itself: it is streamed, never whole in memory.
pub const LARGE_OBJECT: u64 = 1 << 20;
/// A pack of more bytes is left alone as long as half of its objects are needed.
pub const LARGE_PACK: u64 = 32 << 20;
/// Bytes of packs and objects that one upkeep takes into a new pack.
pub const MOST: u64 = 64 << 20;
/// From one upkeep to the next.
pub const OFTEN: Duration = days(1);
/// The same when objects or packs have become many meanwhile.
pub const BUSY: Duration = Duration::from_secs(3600);

/// Whether it is time, so long after the last upkeep, with about so many objects by themselves and so many packs.
pub fn is_due(since: Duration, loose: usize, packs: usize) -> bool {
    since >= OFTEN || (since >= BUSY && (loose > LOOSE || packs > PACKS))
}

/// What something leads to, each object with a name it had there.
pub type Needed = HashMap<Oid, Vec<u8>>;

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}

/// What is remembered of a sandbox that was not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// We deleted it.
    Deleted,
    /// Its service did not know it, so long ago.
    Unknown(Duration),
}

/// What the refs and journals of a worktree are.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Finished runs, the newest first.
    pub runs: Vec<Run>,
    /// Names of runs that were announced and not closed.
    pub open: BTreeSet<String>,
    /// Refs by name, each with its tree.
    pub refs: BTreeMap<String, Option<Oid>>,
    /// Sandboxes that were not there any more.
    pub gone: BTreeMap<String, Gone>,
    /// Sandboxes that the worktree's record names: in use, or with a result that waits.
    pub named: BTreeSet<String>,
    /// Nanoseconds since 1970.
    pub now: u128,
}

/// What goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Going {
    /// Finished runs that can no longer be undone, the oldest first.
    pub runs: Vec<String>,
    /// Refs.
    pub refs: Vec<String>,
    /// What is remembered of sandboxes that left nothing else.
    pub gone: Vec<String>,
}

/// Which journals, refs and notes go.
pub fn going(kept: &Kept) -> Going {
    let old = |run: &Run| kept.now.saturating_sub(run.at) > UNDO.as_nanos();
    let (mut runs, mut left) = (Vec::new(), kept.open.clone());
    for (number, run) in kept.runs.iter().enumerate() {
        if number >= RUNS && old(run) && !kept.open.contains(&run.run) {
            runs.push(run.run.clone());
        } else {
            left.insert(run.run.clone());
        }
    }
    runs.reverse();
    let goes = |name: &String| match name.split('/').collect::<Vec<_>>()[..] {
        // Of a run that was never announced, or that goes.
        ["refs", "undo", run] => !left.contains(run),
        ["refs", kind, sandbox] => of_sandbox_goes(kept, kind, sandbox),
        _ => false,
    };
    let refs: Vec<String> = kept.refs.keys().filter(|name| goes(name)).cloned().collect();
    let stays = |sandbox: &str| {
        ["base", "sent", "held"].iter().any(|kind| {
            let name = format!("refs/{kind}/{sandbox}");
            kept.refs.contains_key(&name) && !refs.contains(&name)
        })
    };
    let gone = kept.gone.keys().filter(|sandbox| !stays(sandbox)).cloned().collect();
    Going { runs, refs, gone }
}

fn of_sandbox_goes(kept: &Kept, kind: &str, sandbox: &str) -> bool {
    if kept.named.contains(sandbox) {
        return false;
    }
    let tree = |kind: &str| kept.refs.get(&format!("refs/{kind}/{sandbox}")).copied().flatten();
    // Both sides agree on it: it waits for nothing.
    let settled = tree("held").is_some() && tree("held") == tree("base");
    match (kind, kept.gone.get(sandbox)) {
        ("base" | "sent" | "held", Some(Gone::Deleted)) => true,
        ("base" | "sent", Some(Gone::Unknown(since))) => {
            *since > UNKNOWN && (settled || tree("held").is_none())
        }
        ("held", _) => settled,
        _ => false,
    }
}

/// One object that lies by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loose {
    /// Which.
    pub id: Oid,
    /// Bytes on the disk.
    pub bytes: u64,
    /// How long ago it was written or wanted last.
    pub age: Duration,
}

/// One pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// `pack-<hash>`.
    pub name: String,
    /// What is in it.
    pub ids: Vec<Oid>,
    /// Its bytes on the disk.
    pub bytes: u64,
    /// How long ago it was written or wanted last.
    pub age: Duration,
}

/// What happens to objects: first the new pack is made, then the rest goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repacking {
    /// What the new pack holds.
    pub pack: BTreeSet<Oid>,
    /// Objects that go, each by itself.
    pub loose: Vec<Oid>,
    /// Packs that go.
    pub packs: Vec<String>,
}

/// What becomes of a repository's own objects when `needed` are those that something leads to.
///
/// Whatever is needed and lies here lies here afterwards, also if it lies in the user's repository, too: there it
/// may vanish. What is not needed goes when it is older than [`GRACE`].
pub fn repacking(loose: &[Loose], packs: &[Pack], needed: &Needed) -> Repacking {
    let mut room = MOST;
    let mut plan = Repacking::default();
    let (many_packs, many_loose) = (packs.len() > PACKS, loose.len() > LOOSE);
    let mut taken: Vec<&Pack> = Vec::new();
    for pack in packs.iter().filter(|pack| pack.age > GRACE) {
        let used = pack.ids.iter().filter(|id| needed.contains_key(id)).count();
        let mostly_used = used * 2 >= pack.ids.len();
        if used == 0 {
            plan.packs.push(pack.name.clone());
        } else if !(mostly_used && (pack.bytes > LARGE_PACK || !many_packs)) && pack.bytes <= room {
            room -= pack.bytes;
            taken.push(pack);
        }
    }
    // One pack alone that is all needed would only be written again.
    if let [only] = taken[..]
        && only.ids.iter().all(|id| needed.contains_key(id))
    {
        taken.clear();
    }
    for pack in &taken {
        plan.pack.extend(pack.ids.iter().filter(|id| needed.contains_key(id)));
        plan.packs.push(pack.name.clone());
    }
    let stay: HashSet<Oid> = packs
        .iter()
        .filter(|pack| !plan.packs.contains(&pack.name))
        .flat_map(|pack| pack.ids.iter().copied())
        .collect();
    for object in loose {
        if !needed.contains_key(&object.id) {
            if object.age > GRACE {
                plan.loose.push(object.id);
            }
        } else if plan.pack.contains(&object.id) || stay.contains(&object.id) {
            plan.loose.push(object.id);
        } else if many_loose && object.bytes <= LARGE_OBJECT && object.bytes <= room {
            room -= object.bytes;
            plan.pack.insert(object.id);
            plan.loose.push(object.id);
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u128 = 24 * 3600 * 1_000_000_000;
    const NOW: u128 = 1000 * DAY;

    fn id(n: u8) -> Oid {
        Oid([n; 20])
    }

    fn run(name: &str, days: u128) -> Run {
        Run { run: name.into(), undo_of: None, at: NOW - days * DAY, paths: 1 }
    }

    fn kept(refs: &[(&str, u8)]) -> Kept {
        let refs = refs.iter().map(|(name, n)| ((*name).to_owned(), Some(id(*n)))).collect();
        Kept { refs, now: NOW, ..Kept::default() }
    }

    #[test]
    fn a_run_goes_when_it_is_old_and_many_came_after_it() {
        let newer = |count: usize| (0..count).map(|n| run(&format!("n{n}"), 1));
        for (count, days, open, goes) in [
            (RUNS, 31, false, true),
            (RUNS, 29, false, false),
            (RUNS - 1, 1000, false, false),
            (RUNS, 31, true, false),
        ] {
            let mut kept = kept(&[("refs/undo/old", 1), ("refs/undo/n0", 2)]);
            kept.runs = newer(count).chain([run("old", days)]).collect();
            kept.open.extend(open.then(|| "old".to_owned()));
            let (runs, refs) = match goes {
                true => (vec!["old".to_owned()], vec!["refs/undo/old".to_owned()]),
                false => (vec![], vec![]),
            };
            let wanted = Going { runs, refs, gone: vec![] };
            assert_eq!(going(&kept), wanted, "{count} newer, {days} days, open: {open}");
        }
    }

    #[test]
    fn versions_of_a_run_that_never_began_go() {
        let mut kept = kept(&[("refs/undo/pinned", 1), ("refs/undo/open", 1)]);
        kept.open.insert("open".into());
        assert_eq!(going(&kept).refs, ["refs/undo/pinned"]);
    }

    #[test]
    fn refs_of_a_sandbox_go_when_it_is_surely_gone_and_nothing_of_it_waits() {
        let (long, short) = (Gone::Unknown(days(31)), Gone::Unknown(days(29)));
        let waits = [("refs/base/s", 1), ("refs/held/s", 2), ("refs/sent/s", 3)];
        let settled = [("refs/base/s", 1), ("refs/held/s", 1), ("refs/sent/s", 3)];
        let plain = [("refs/base/s", 1), ("refs/sent/s", 3)];
        type Case<'c> = (&'c [(&'c str, u8)], Option<Gone>, bool, &'c [&'c str], bool);
        let table: [Case<'_>; 10] = [
            (&plain, None, false, &[], false),
            (&plain, Some(short), false, &[], false),
            (&plain, Some(long), false, &["refs/base/s", "refs/sent/s"], true),
            (&plain, Some(long), true, &[], false),
            (&plain, Some(Gone::Deleted), true, &[], false),
            (&waits, None, false, &[], false),
            (&waits, Some(long), false, &[], false),
            (
                &waits,
                Some(Gone::Deleted),
                false,
                &["refs/base/s", "refs/held/s", "refs/sent/s"],
                true,
            ),
            (&settled, None, false, &["refs/held/s"], false),
            (&[], Some(short), false, &[], true),
        ];
        for (refs, gone, named, wanted, forgotten) in table {
            let mut kept = kept(refs);
            kept.gone.extend(gone.map(|gone| ("s".to_owned(), gone)));
            kept.named.extend(named.then(|| "s".to_owned()));
            let found = going(&kept);
            assert_eq!(found.refs, wanted, "{refs:?} {gone:?} named: {named}");
            assert_eq!(found.gone == ["s"], forgotten, "{refs:?} {gone:?} named: {named}");
        }
    }

    #[test]
    fn a_ref_of_another_kind_stays() {
        let kept = kept(&[("refs/other/s", 1), ("refs/base/a/b", 1), ("refs/undo", 1)]);
        assert_eq!(going(&kept), Going::default());
    }

    /// Ages on both sides of the limit, few ids and sizes on both sides of each limit.
    fn age() -> impl Strategy<Value = Duration> {
        prop_oneof![Just(Duration::ZERO), Just(GRACE), Just(GRACE * 2)]
    }

    fn numbers() -> impl Strategy<Value = Vec<Oid>> {
        prop::collection::vec((0..24_u8).prop_map(id), 1..8)
    }

    fn a_pack() -> impl Strategy<Value = (Vec<Oid>, u64, Duration)> {
        let bytes = prop_oneof![Just(1000), Just(LARGE_PACK + 1), Just(MOST), Just(MOST + 1)];
        (numbers(), bytes, age())
    }

    fn a_loose() -> impl Strategy<Value = Loose> {
        let bytes = prop_oneof![Just(100), Just(LARGE_OBJECT + 1)];
        ((0..24_u8).prop_map(id), bytes, age()).prop_map(|(id, bytes, age)| Loose {
            id,
            bytes,
            age,
        })
    }

    proptest! {
        #[test]
        fn what_is_needed_and_here_stays_here_and_what_is_recent_is_not_lost(
            packs in prop::collection::vec(a_pack(), 0..6),
            mut loose in prop::collection::vec(a_loose(), 0..20),
            needed in numbers(),
            many in any::<[bool; 2]>(),
        ) {
            let mut packs: Vec<Pack> = packs
                .into_iter()
                .enumerate()
                .map(|(n, (ids, bytes, age))| Pack { name: format!("p{n}"), ids, bytes, age })
                .collect();
            // Others beside them, so that there are many.
            if many[0] {
                let other = |n| Pack { name: format!("o{n}"), ids: vec![id(99)], bytes: 1, age: Duration::ZERO };
                packs.extend((0..=PACKS).map(other));
            }
            if many[1] {
                let other = |n: usize| {
                    let mut oid = id(98);
                    oid.0[..2].copy_from_slice(&(n as u16).to_be_bytes());
                    Loose { id: oid, bytes: 1, age: Duration::ZERO }
                };
                loose.extend((0..=LOOSE).map(other));
            }
            let needed: Needed = needed.into_iter().map(|id| (id, Vec::new())).collect();
            loose.sort_by_key(|l| l.id);
            loose.dedup_by_key(|l| l.id);
            let plan = repacking(&loose, &packs, &needed);
            let stays = |oid: &Oid| {
                plan.pack.contains(oid)
                    || packs.iter().any(|p| !plan.packs.contains(&p.name) && p.ids.contains(oid))
                    || (loose.iter().any(|l| l.id == *oid) && !plan.loose.contains(oid))
            };
            let here = packs.iter().flat_map(|p| &p.ids).chain(loose.iter().map(|l| &l.id));
            for oid in here {
                prop_assert!(!needed.contains_key(oid) || stays(oid), "{oid} is lost");
            }
            for pack in packs.iter().filter(|p| p.age <= GRACE) {
                prop_assert!(!plan.packs.contains(&pack.name), "a recent pack goes");
            }
            for object in loose.iter().filter(|l| l.age <= GRACE && !needed.contains_key(&l.id)) {
                prop_assert!(!plan.loose.contains(&object.id), "a recent object goes");
            }
            for object in loose.iter().filter(|l| l.age > GRACE && !needed.contains_key(&l.id)) {
                prop_assert!(plan.loose.contains(&object.id), "{} is kept for nothing", object.id);
            }
            prop_assert!(plan.pack.iter().all(|oid| needed.contains_key(oid)));
            let weight: u64 = packs.iter().filter(|p| plan.packs.contains(&p.name))
                .filter(|p| p.ids.iter().any(|i| needed.contains_key(i))).map(|p| p.bytes).sum();
            prop_assert!(weight <= MOST);
        }
    }

    #[test]
    fn a_pack_is_rewritten_when_it_is_worth_it() {
        let ids = |numbers: std::ops::Range<u8>| numbers.map(id).collect::<Vec<_>>();
        let pack = |name: &str, ids, bytes| Pack { name: name.into(), ids, bytes, age: GRACE * 2 };
        let needed: Needed = (0..10).map(|n| (id(n), Vec::new())).collect();
        let packs = |packs: &[Pack]| repacking(&[], packs, &needed).packs;
        assert!(packs(&[pack("used", ids(0..10), 9)]).is_empty());
        assert!(packs(&[pack("half", ids(5..15), 9)]).is_empty());
        assert_eq!(packs(&[pack("less", ids(6..15), 9)]), ["less"]);
        assert_eq!(packs(&[pack("none", ids(10..15), MOST * 9)]), ["none"]);
        let mut many: Vec<Pack> = (0..=PACKS).map(|n| pack(&n.to_string(), ids(0..9), 9)).collect();
        many.push(pack("large", ids(0..10), LARGE_PACK + 1));
        let plan = repacking(&[], &many, &needed);
        assert_eq!((plan.packs.len(), plan.pack.len()), (PACKS + 1, 9));
        assert!(!plan.packs.contains(&"large".to_owned()));
    }
}
