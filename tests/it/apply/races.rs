//! Somebody else moves while we apply.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use sandbox_coder::worktree::apply::Error;

use super::ground::{Files, Ground, f, files, p};

/// Enough for several threads.
const MANY: usize = 72;

fn exchange(a: &std::path::Path, b: &std::path::Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let _ = renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE);
}

fn many(prefix: &str, text: &str) -> Files {
    (0..MANY).map(|n| (p(format!("{prefix}/f{n}")), f(&format!("{text} {n}")))).collect()
}

#[test]
fn a_folder_swapped_for_a_link_leads_nowhere() {
    for round in 0..12 {
        let mut before = many("dir/sub", "old");
        before.extend(many("dir/gone", "old"));
        let mut after = many("dir/sub", "new");
        after.extend(many("dir/fresh", "new"));
        let ground = Ground::with(&before);
        // The same names wait outside, so that every call would find something to destroy.
        for folder in ["sub", "gone"] {
            for n in 0..MANY {
                ground.outside(&format!("{folder}/f{n}"), &format!("old {n}"));
            }
        }
        let outside = ground.list("guard");
        let level = if round % 2 == 0 { "dir" } else { "dir/sub" };
        let decoy: PathBuf = ground.root().join("state/decoy");
        let target = if round % 2 == 0 { "guard" } else { "guard/sub" };
        std::os::unix::fs::symlink(ground.root().join(target), &decoy).unwrap();
        let plan = ground.plan("r1", &before, &after);
        let stop = AtomicBool::new(false);
        let place = ground.path(level);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    exchange(&place, &decoy);
                    // With one processor for both of them, each exchange would cost the other one its turn.
                    std::thread::yield_now();
                }
                if place.symlink_metadata().unwrap().is_symlink() {
                    exchange(&place, &decoy);
                }
            });
            let outcome = ground.apply(&plan);
            stop.store(true, Ordering::Relaxed);
            assert!(matches!(outcome, Ok(_) | Err(Error::Io { .. })), "{outcome:?}");
        });
        assert_eq!(ground.list("guard"), outside, "round {round}");
        std::fs::remove_file(&decoy).unwrap();
        ground.resume().unwrap();
        for (path, node) in ground.list("work") {
            let aside = path.as_bytes().starts_with(b".sandbox-coder/");
            assert!(
                aside || before.get(&path) == Some(&node) || after.get(&path) == Some(&node),
                "{path}"
            );
        }
    }
}

#[test]
fn what_is_saved_while_we_apply_is_never_lost() {
    for round in 0..8 {
        let (before, mut after) = (many("d", "old"), many("d", "new"));
        after.retain(|path, _| !path.as_bytes().ends_with(b"7"));
        let ground = Ground::with(&before);
        let plan = ground.plan("r1", &before, &after);
        let (root, top) = (ground.root().to_owned(), ground.top());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // An editor: writes beside the file and renames over it.
                for n in 0..MANY {
                    let draft = root.join("state/draft");
                    std::fs::write(&draft, format!("typed {n}")).unwrap();
                    std::fs::rename(&draft, top.join(format!("d/f{n}"))).unwrap();
                    for _ in 0..round * 500 {
                        std::hint::spin_loop();
                    }
                }
            });
            ground.apply(&plan).unwrap();
        });
        assert_eq!(ground.files(), many("d", "typed"), "round {round}");
        ground.assert_guarded();
    }
}

#[test]
fn a_folder_made_meanwhile_is_used_and_a_file_in_its_place_is_not() {
    let after = files([("made/x", f("x")), ("file/x", f("x"))]);
    let ground = Ground::new();
    let plan = ground.plan("r1", &Files::new(), &after);
    std::fs::create_dir(ground.path("made")).unwrap();
    std::fs::write(ground.path("file"), "mine").unwrap();
    let applied = ground.apply(&plan).unwrap();
    assert_eq!(applied.late.len(), 1);
    assert_eq!(ground.files(), files([("made/x", f("x")), ("file", f("mine"))]));
    assert_eq!(ground.asides("r1"), files([("file/x", f("x"))]));
}

impl Ground {
    fn outside(&self, name: &str, text: &str) {
        let path = self.root().join("guard").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}
