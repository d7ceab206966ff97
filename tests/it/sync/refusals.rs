//! What a sandbox refuses, and what it does twice without harm.

use sandbox_coder::daytona::script::Script;
use sandbox_coder::sync::push::{self, Pushed};
use sandbox_coder::sync::records::Limits;
use sandbox_coder::sync::{Error, pull};
use sandbox_coder::tree::Oid;

use super::trees::everywhere;
use crate::support::far::{Far, Pair, Tools};
use crate::support::repo::{RepoBuilder, listing};

pub(super) fn pair(far: Far) -> Pair {
    let repo = RepoBuilder::new();
    repo.file("a", "1").file("b/c", "1");
    Pair::new(repo, far)
}

pub(super) const OK: Pushed = Pushed::Ok { already: false, aside: None };
pub(super) const ALREADY: Pushed = Pushed::Ok { already: true, aside: None };

#[test]
fn work_that_was_never_fetched_is_not_written_over() {
    everywhere(|far| {
        let mut pair = pair(far);
        pair.push();
        pair.far.agent("echo theirs > a; echo new > n");
        pair.repo.file("a", "ours");
        let before = listing(&pair.far.workspace());
        assert_eq!(pair.far.push(&pair.plan()), Pushed::Dirty);
        assert!(listing(&pair.far.workspace()) == before);
        assert!(
            std::fs::read_dir(pair.far.state())
                .unwrap()
                .flatten()
                .all(|e| !e.file_name().to_string_lossy().starts_with("in."))
        );
    });
}

#[test]
fn another_base_is_refused() {
    let mut pair = pair(Far::new());
    let (first, first_tree) = pair.look();
    pair.push();
    pair.repo.file("a", "2");
    let late = pair.plan();
    pair.push();
    pair.repo.file("a", "3");
    let now = pair.push();
    assert_eq!(pair.far.push(&late), Pushed::Stale(Some(now.to)));
    pair.base = None;
    assert_eq!(pair.far.push(&pair.plan_to(first, &first_tree)), Pushed::Stale(Some(now.to)));
    let empty = self::pair(Far::new());
    let push = pair.plan_to(first, &first_tree);
    assert_eq!(empty.far.push(&push), OK);
    let fresh = Far::new();
    assert_eq!(fresh.push(&late), Pushed::Stale(None));
    assert!(matches!(fresh.ask(), pull::Answer::Stale(None)));
}

#[test]
fn a_push_may_arrive_twice() {
    everywhere(|far| {
        let mut pair = pair(far);
        let first = pair.plan();
        assert_eq!(pair.far.push(&first), OK);
        assert_eq!(pair.far.push(&first), ALREADY);
        pair.base = Some(first.to);
        pair.repo.file("a", "2").remove("b");
        let second = pair.plan();
        assert_eq!(pair.far.push(&second), OK);
        assert_eq!(pair.far.push(&second), ALREADY);
        pair.same();
    });
}

/// Delivers each of some pushes twice at the same time: one does the work, the other waits or is told to.
pub(super) fn of_two_one_waits(mut pair: Pair, pushes: usize) {
    for n in 0..pushes {
        pair.repo.file("a", format!("{n}"));
        let push = pair.plan();
        let script = pair.far.script_of(&push);
        let both = [pair.far.start(&script), pair.far.start(&script)];
        let heard = both.map(|child| {
            let out = child.wait_with_output().unwrap();
            push::heard(&String::from_utf8_lossy(&out.stdout)).unwrap()
        });
        assert!(heard.contains(&OK), "{heard:?}");
        assert!(heard.iter().all(|h| [OK, ALREADY, Pushed::Busy].contains(h)), "{heard:?}");
        pair.base = Some(push.to);
        pair.same();
    }
}

#[test]
fn of_two_at_the_same_time_one_waits() {
    for far in [Far::new(), Far::with(Tools::Without("flock")).unwrap()] {
        of_two_one_waits(pair(far), 6);
    }
}

#[test]
fn the_lock_of_a_dead_process_is_taken_over() {
    let mut pair = pair(Far::with(Tools::Without("flock")).unwrap());
    pair.push();
    for owner in ["1.77", "999999999.5", "7"] {
        let lock = pair.far.state().join("lock.link");
        std::os::unix::fs::symlink(owner, &lock).unwrap();
        pair.far.own(&lock);
        assert_eq!(pair.far.push(&pair.plan()), ALREADY, "{owner}");
        assert!(!lock.is_symlink());
    }
}

#[test]
fn a_workspace_without_a_base_is_put_aside() {
    everywhere(|far| {
        let pair = pair(far);
        std::fs::create_dir_all(pair.far.workspace().join("old")).unwrap();
        for path in [pair.far.workspace(), pair.far.workspace().join("old")] {
            pair.far.own(&path);
        }
        pair.far.agent("echo keep > old/work; ln -s old l");
        let heard = pair.far.push(&pair.plan());
        let Pushed::Ok { aside: Some(aside), .. } = heard else { panic!("{heard:?}") };
        pair.same();
        assert_eq!(std::fs::read_to_string(format!("{aside}/old/work")).unwrap(), "keep\n");
    });
}

#[test]
fn a_damaged_archive_changes_nothing() {
    let mut pair = pair(Far::new());
    pair.push();
    let noise: Vec<u8> = (0..200_000u32)
        .map(|n| (n.wrapping_mul(n).wrapping_mul(2_654_435_761) >> 21) as u8)
        .collect();
    pair.repo.file("a", noise);
    let push = pair.plan();
    let script = pair.far.script_of(&push);
    let uploaded = pair.far.state().join("in.uploaded.tar.gz");
    std::fs::File::options().write(true).open(&uploaded).unwrap().set_len(push.bytes - 1).unwrap();
    assert_eq!(push::heard(&pair.far.run(&script)).unwrap(), Pushed::Corrupt);
    assert!(!uploaded.exists(), "a damaged upload is not kept");
    assert_eq!(
        push::heard(&pair.far.run(&script)).unwrap(),
        Pushed::Corrupt,
        "nor a missing one made up for"
    );
    assert_eq!(std::fs::read(pair.far.workspace().join("a")).unwrap(), b"1");
    assert_eq!(pair.far.push(&push), OK);
    pair.same();
}

#[test]
fn more_paths_than_accepted_are_refused_over_there() {
    let mut pair = pair(Far::new());
    pair.push();
    pair.far.agent("for n in 1 2 3 4 5; do echo $n > n$n; done");
    let mut script = Script::new();
    pull::add_to(&mut script, &Limits { paths: 4, ..Limits::default() });
    let heard = pull::heard(&pair.far.run(&script));
    assert!(matches!(&heard, Err(Error::TooMany(n)) if n.starts_with("5 changed")), "{heard:?}");
}

#[test]
fn a_missing_tool_is_named() {
    for tool in ["tar", "gzip", "base64"] {
        let pair = pair(Far::with(Tools::Without(tool)).unwrap());
        let said = pair.far.run(&pair.far.script_of(&pair.plan()));
        assert!(matches!(push::heard(&said), Err(Error::ToolMissing(t)) if t == tool), "{said}");
    }
}

#[test]
fn a_fetched_tree_becomes_the_base() {
    everywhere(|far| {
        let mut pair = pair(far);
        pair.push();
        pair.far.agent("echo 2 > a; rm -r b; echo n > n");
        let (offer, _, tree) = pair.pull();
        let settle = |from: Oid, to: Oid| {
            let mut script = Script::new();
            pull::add_settle(&mut script, from, to, to);
            pull::heard_settle(&pair.far.run(&script))
        };
        assert!(!settle(offer.base, Oid::EMPTY_TREE), "only what was fetched");
        assert!(!settle(offer.tree, offer.tree), "not from elsewhere");
        assert!(settle(offer.base, offer.tree));
        assert!(settle(offer.base, offer.tree), "twice is once");
        pair.base = Some(pair.store().write_tree(&tree).unwrap());
        assert_eq!(pair.base, Some(offer.tree));
        assert_eq!(pair.differs(), [""; 0]);
        pair.push();
        pair.same();
    });
}

#[test]
fn a_damaged_index_over_there_is_made_anew() {
    let mut pair = pair(Far::new());
    pair.push();
    std::fs::write(pair.far.state().join("index"), b"DIRC torn").unwrap();
    assert_eq!(pair.differs(), [""; 0]);
    pair.far.agent("echo 2 > a");
    assert_eq!(pair.differs(), ["a"]);
}

#[test]
fn uploads_that_nobody_came_for_are_swept() {
    everywhere(|far| {
        let mut pair = pair(far);
        pair.push();
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        for name in ["in.dead.1.tar.gz", "in.dead.pack", "in.alive.1.tar.gz"] {
            let path = pair.far.state().join(name);
            let file = std::fs::File::create(&path).unwrap();
            if name.starts_with("in.dead") {
                file.set_modified(long_ago).unwrap();
            }
            pair.far.own(&path);
        }
        pair.pull();
        let left = std::fs::read_dir(pair.far.state()).unwrap().flatten();
        let left: Vec<_> = left.map(|e| e.file_name().into_string().unwrap()).collect();
        let left: Vec<_> = left.iter().filter(|n| n.starts_with("in.")).collect();
        assert_eq!(left, ["in.alive.1.tar.gz"]);
    });
}
