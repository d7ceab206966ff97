//! The disk says no.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;

use sandbox_coder::exit::ErrorCode;
use sandbox_coder::rel_path::RelPath;
use sandbox_coder::tree::Oid;
use sandbox_coder::worktree::apply::{self, Error, Objects, Plan, Site};
use sandbox_coder::worktree::found::blob_id;
use sandbox_coder::worktree::journal::{Journal, Shelf};

use super::ground::{Files, Ground, assert_same, f, files, p};
use crate::support::tripwire::{Tripwire, half};

fn both() -> (Files, Files) {
    let before =
        files([("a", f("old a")), ("b", f("old b")), ("c/gone", f("gone")), ("d", f("old d"))]);
    let after = files([
        ("a", f("new a")),
        ("b", f("new b")),
        ("d", f("new d")),
        ("e/f", f("new f")),
        ("g", f("new g")),
    ]);
    (before, after)
}

#[test]
fn a_full_disk_anywhere_leaves_whole_files_and_a_rerun_heals() {
    let (before, after) = both();
    for errno in [libc::ENOSPC, libc::EDQUOT, libc::EIO, libc::EMFILE] {
        for n in 0..5 {
            let ground = Ground::with(&before);
            let plan = ground.plan("r1", &before, &after);
            let (top, state) = ground.site();
            let full = |objects: &dyn Objects, id: &Oid, out: &mut dyn Write| {
                half(objects, id, out)?;
                Err(io::Error::from_raw_os_error(errno))
            };
            let failing = Tripwire::new(&ground.store, n, &full);
            let site = Site { top: &top, state: &state, objects: &failing, file_mode: true };
            let error = apply::apply(&site, &plan).unwrap_err();
            assert_eq!(error.code(), ErrorCode::HostIo);
            assert!(error.to_string().contains('`'), "it names the path: {error}");
            for (path, node) in ground.files() {
                assert!(
                    before.get(&path) == Some(&node) || after.get(&path) == Some(&node),
                    "{n}: {path} {node:?}"
                );
            }
            if n < 3 {
                assert_eq!(ground.files(), before, "nothing was replaced while it was staged");
                ground.assert_clean();
                ground.apply(&plan).unwrap();
            } else {
                assert!(matches!(
                    ground.apply(&Plan { run: "r2".into(), ..plan }),
                    Err(Error::Unfinished(_))
                ));
                assert_eq!(ground.resume().unwrap().len(), 1);
            }
            assert_eq!(ground.files(), after);
            ground.assert_clean();
        }
    }
}

#[test]
fn of_many_failures_the_first_in_path_order_is_told_and_nobody_is_stopped_half_way() {
    let all = |folder, text: &str| -> Files {
        (100..300).map(|n| (p(format!("{folder}/f{n}")), f(&format!("{text} {n}")))).collect()
    };
    // What replaces something is staged, and nothing is changed before all of it is; what is new is made at once.
    for (before, after, first) in [
        (all("d", "old"), all("d", "new"), None),
        (Files::new(), all("d", "new"), Some(all("d", "new"))),
    ] {
        let ground = Ground::with(&before);
        let plan = ground.plan("r1", &before, &after);
        let bad: Vec<Oid> =
            [117, 118, 180, 299].map(|n| blob_id(format!("new {n}").as_bytes())).to_vec();
        let trip = |objects: &dyn Objects, id: &Oid, out: &mut dyn Write| {
            if !bad.contains(id) {
                return objects.copy(id, out);
            }
            half(objects, id, out)?;
            Err(io::ErrorKind::StorageFull.into())
        };
        let failing = Tripwire::new(&ground.store, 0, &trip);
        let (top, state) = ground.site();
        let site = Site { top: &top, state: &state, objects: &failing, file_mode: true };
        let error = apply::apply(&site, &plan).unwrap_err().to_string();
        assert!(error.ends_with("`d/f117`"), "{error}");
        let there = ground.files();
        match first {
            None => assert_same(&there, &before, "nothing was replaced while it was staged"),
            Some(whole) => {
                let bounds = p("d/f100")..p("d/f117");
                assert!(whole.range(bounds).all(|(path, node)| there.get(path) == Some(node)));
                assert!(there.iter().all(|(path, node)| whole.get(path) == Some(node)));
                assert!(
                    bad.iter().all(|id| !there.keys().any(|path| after_id(&plan, path) == *id))
                );
                assert_eq!(ground.resume().unwrap().len(), 1);
                assert_same(&ground.files(), &after, "resumed");
            }
        }
        ground.assert_clean();
    }
}

fn after_id(plan: &Plan, path: &RelPath) -> Oid {
    plan.steps.iter().find(|s| s.path == *path).unwrap().after.unwrap().id
}

#[test]
fn folders_that_an_interrupted_run_had_emptied_go_when_it_is_finished() {
    let (before, after) = (files([("d/x/in", f("1"))]), files([("new", f("2"))]));
    let ground = Ground::with(&before);
    let trip = |_: &dyn Objects, _: &Oid, _: &mut dyn Write| Err(io::ErrorKind::StorageFull.into());
    let failing = Tripwire::new(&ground.store, 0, &trip);
    let (top, state) = ground.site();
    let site = Site { top: &top, state: &state, objects: &failing, file_mode: true };
    apply::apply(&site, &ground.plan("r1", &before, &after)).unwrap_err();
    assert!(!ground.path("d").exists());
    // As a power cut leaves it that came before the folders went.
    std::fs::create_dir_all(ground.path("d/x")).unwrap();
    assert_eq!(ground.resume().unwrap().len(), 1);
    assert_same(&ground.files(), &after, "resumed");
    assert!(!ground.path("d").exists());
}

#[test]
fn a_version_that_is_not_there_is_found_out_before_anything_changes() {
    let (before, after) = both();
    let ground = Ground::with(&before);
    let mut plan = ground.plan("r1", &before, &after);
    plan.steps.last_mut().unwrap().after.as_mut().unwrap().id = Oid([7; 20]);
    assert!(matches!(ground.apply(&plan), Err(Error::Missing(_))));
    assert_eq!(ground.files(), before);
}

#[test]
fn a_folder_without_write_permission_stops_before_anything_changes() {
    if rustix::process::geteuid().is_root() {
        return; // root may write everywhere; the permission is tested by everybody else
    }
    let (before, after) = both();
    let ground = Ground::with(&before);
    std::fs::set_permissions(ground.path("c"), std::fs::Permissions::from_mode(0o555)).unwrap();
    let error = ground.apply(&ground.plan("r1", &before, &after)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::HostIo);
    assert!(error.to_string().contains("c/gone"), "{error}");
    assert_eq!(ground.files(), before);
    std::fs::set_permissions(ground.path("c"), std::fs::Permissions::from_mode(0o755)).unwrap();
    ground.apply(&ground.plan("r1", &before, &after)).unwrap();
    assert_eq!(ground.files(), after);
}

#[test]
fn bytes_the_store_does_not_have_are_stored_before_they_are_replaced() {
    let (before, after) = both();
    let ground = Ground::with(&before);
    let unknown = files([("a", f("known to nobody"))]);
    ground.write(&unknown);
    let mut plan = ground.plan("r1", &before, &after);
    let id = blob_id(b"known to nobody");
    plan.steps[0].before.as_mut().unwrap().id = id;
    assert_eq!(ground.store.size(&id).unwrap(), None);
    ground.apply(&plan).unwrap();
    assert_eq!(ground.files(), after);
    assert_eq!(ground.store.read(&id).unwrap(), b"known to nobody");
}

#[test]
fn a_run_whose_versions_a_power_cut_took_is_as_if_it_never_began() {
    let (before, after) = both();
    let ground = Ground::with(&before);
    let steps = ground.plan("r1", &before, &after).steps;
    let lost = steps[0].after.unwrap().id.to_string();
    let (_, state) = ground.site();
    let journal = Journal { run: "r1".into(), undo_of: None, at: 1, steps, asides: Vec::new() };
    Shelf::at(&state).open(&journal).unwrap();
    // The announcement is on the disk; of what was staged beside a file, and of a version, only the names are.
    let staged = ground.path("a").with_file_name(".sbx-r1-0");
    std::fs::write(&staged, "").unwrap();
    let objects = ground.root().join("objects.git/objects");
    std::fs::remove_file(objects.join(&lost[..2]).join(&lost[2..])).unwrap();
    assert!(ground.resume().unwrap().is_empty());
    assert_same(&ground.files(), &before, "nothing had been replaced");
    ground.apply(&ground.plan("r1", &before, &after)).unwrap();
    assert_same(&ground.files(), &after, "asked for again");
}
