//! The private repository's objects: which are needed, and the rest goes.
//!
//! Git's own clean-up is not for this repository: it borrows the user's objects, and what lies both here and there
//! git would drop here, although it may vanish there. So the list of what is packed is made here, and git packs it.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use super::rules::{self, Loose, Needed, Pack, Repacking};
use super::{Done, age};
use crate::tree::{Mode, Oid};
use crate::worktree::git::{must, no_git};
use crate::worktree::journal::Journal;
use crate::worktree::{Error, Repo, Store, seed, torn};

/// Packs what is needed and drops what nothing leads to.
pub(super) fn tidy(
    repo: &Repo,
    needed: &Needed,
    now: SystemTime,
    until: Instant,
    done: &mut Done,
) -> Result<(), Error> {
    let objects = repo.private_dir().join("objects");
    let io = |e| Error::io(&objects, e);
    let loose = loose(&objects, now).map_err(io)?;
    let packs = packs(repo, &objects.join("pack"), now)?;
    let plan = rules::repacking(&loose, &packs, needed);
    if !plan.pack.is_empty() {
        let name = pack(repo, &plan, needed, until)?;
        done.packed = plan.pack.len();
        drop_packs(&objects.join("pack"), &plan, &packs, Some(&name), now).map_err(io)?;
    } else {
        drop_packs(&objects.join("pack"), &plan, &packs, None, now).map_err(io)?;
    }
    done.packs = plan.packs.len();
    let unneeded = |id: &Oid| !needed.contains_key(id);
    for id in &plan.loose {
        let name = id.to_string();
        let path = objects.join(&name[..2]).join(&name[2..]);
        // Somebody may have wanted it meanwhile, and found it here.
        if unneeded(id) && age_of(&path, now).is_none_or(|age| age <= rules::GRACE) {
            continue;
        }
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io(e)),
            _ => done.objects += 1,
        }
    }
    Ok(())
}

/// Everything that the refs, the journals, the index and `more` lead to. Of what is missing nothing is known.
pub(super) fn needed(
    repo: &Repo,
    roots: impl IntoIterator<Item = Oid>,
    journals: &[Journal],
) -> Result<Needed, Error> {
    let store = Store::open(repo)?;
    let mut needed = Needed::new();
    store.reach(roots, &mut needed)?;
    for journal in journals {
        let entries = journal.steps.iter().flat_map(|s| [(&s.path, s.before), (&s.path, s.after)]);
        let asides = journal.asides.iter().map(|(path, entry)| (path, Some(*entry)));
        for (path, entry) in entries.chain(asides) {
            if let Some(entry) = entry.filter(|e| e.mode != Mode::Gitlink) {
                needed.insert(entry.id, path.file_name().to_vec());
            }
        }
    }
    if repo.private_dir().join("index").exists() {
        let listing = must("ls-files", repo.private_git().args(["ls-files", "-z", "-s", "-v"]))?;
        for entry in listing.split(|b| *b == 0).filter_map(seed::listed) {
            if let Some(id) = std::str::from_utf8(entry.id).ok().and_then(|id| id.parse().ok()) {
                needed.insert(id, entry.path.to_vec());
            }
        }
    }
    Ok(needed)
}

fn loose(objects: &Path, now: SystemTime) -> io::Result<Vec<Loose>> {
    let read = |(path, at, bytes): (PathBuf, SystemTime, u64)| {
        let mut names = path.components().rev().map(|c| c.as_os_str().to_string_lossy());
        let (file, folder) = (names.next()?, names.next()?);
        let id = format!("{folder}{file}").parse().ok()?;
        Some(Loose { id, bytes, age: age(at, now) })
    };
    Ok(torn::loose(objects)?.into_iter().filter_map(read).collect())
}

fn packs(repo: &Repo, dir: &Path, now: SystemTime) -> Result<Vec<Pack>, Error> {
    let io = |e| Error::io(dir, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let index = entry.map_err(io)?.path();
        let pack = index.with_extension("pack");
        // A pack that somebody marked is none of ours to touch.
        let plain =
            index.extension().is_some_and(|e| e == "idx") && !index.with_extension("keep").exists();
        let Some(meta) = pack.metadata().ok().filter(|_| plain) else { continue };
        let name = index.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let at = meta.modified().map_err(io)?;
        let ids = ids(repo, &index)?;
        found.push(Pack { name, ids, bytes: meta.len(), age: age(at, now) });
    }
    Ok(found)
}

/// What a pack's index lists.
fn ids(repo: &Repo, index: &Path) -> Result<Vec<Oid>, Error> {
    let file = std::fs::File::open(index).map_err(|e| Error::io(index, e))?;
    let mut git = repo.private_git();
    let out = git.arg("show-index").stdin(file).output().map_err(|e| no_git(None, e))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let ids: Option<Vec<Oid>> =
        text.lines().map(|line| line.split(' ').nth(1)?.parse().ok()).collect();
    ids.filter(|_| out.status.success())
        .ok_or_else(|| Error::Git { what: "show-index", words: index.display().to_string() })
}

/// Makes the new pack and insists that all of it is on the disk. Its name.
fn pack(repo: &Repo, plan: &Repacking, needed: &Needed, until: Instant) -> Result<String, Error> {
    let dir = repo.private_dir().join("objects/pack");
    let mut git = repo.private_git();
    // What lay here uncompressed, for it had to be quick, is compressed now.
    git.args(["-c", "pack.compression=6", "-c", "core.bigFileThreshold=1m"]);
    git.args(["-c", "pack.threads=1", "pack-objects", "-q", "--no-reuse-object"]);
    git.arg("--delta-base-offset").arg(dir.join("pack"));
    git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = git.spawn().map_err(|e| no_git(None, e))?;
    let mut list = Vec::with_capacity(plan.pack.len() * 64);
    for id in &plan.pack {
        list.extend_from_slice(id.to_string().as_bytes());
        list.push(b' ');
        let name = needed.get(id).map(Vec::as_slice).unwrap_or_default();
        list.extend(name.iter().map(|b| if *b == b'\n' { b'?' } else { *b }));
        list.push(b'\n');
    }
    let mut stdin = child.stdin.take().expect("stdin was piped");
    let failed = |words: &str| Error::Git { what: "pack-objects", words: words.to_owned() };
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(&list));
        while child.try_wait().map_err(|e| no_git(None, e))?.is_none() {
            if Instant::now() >= until {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed("it takes too long"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    })?;
    let out = child.wait_with_output().map_err(|e| no_git(None, e))?;
    let name = format!("pack-{}", String::from_utf8_lossy(&out.stdout).trim());
    if !out.status.success() {
        return Err(failed("it failed"));
    }
    let there: HashSet<Oid> =
        ids(repo, &dir.join(&name).with_extension("idx"))?.into_iter().collect();
    if !plan.pack.iter().all(|id| there.contains(id)) {
        return Err(failed("objects are missing in its pack"));
    }
    for file in [dir.join(&name).with_extension("pack"), dir.join(&name).with_extension("idx"), dir]
    {
        std::fs::File::open(&file).and_then(|f| f.sync_all()).map_err(|e| Error::io(&file, e))?;
    }
    Ok(name)
}

fn drop_packs(
    dir: &Path,
    plan: &Repacking,
    packs: &[Pack],
    fresh: Option<&str>,
    now: SystemTime,
) -> io::Result<()> {
    for pack in packs.iter().filter(|p| plan.packs.contains(&p.name)) {
        let path = dir.join(&pack.name);
        // The same objects packed again are the same pack; and somebody may have wanted one meanwhile.
        let wanted = age_of(&path.with_extension("pack"), now).is_none_or(|age| age < pack.age);
        if fresh == Some(pack.name.as_str()) || wanted {
            continue;
        }
        // Without its index nobody looks for a pack.
        for end in ["idx", "rev", "pack"] {
            match std::fs::remove_file(path.with_extension(end)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
    }
    Ok(())
}

fn age_of(path: &Path, now: SystemTime) -> Option<Duration> {
    Some(age(path.metadata().ok()?.modified().ok()?, now))
}
