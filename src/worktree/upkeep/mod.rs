//! Upkeep of what is kept inside the user's `.git`: it grows with every run, and so it has to shrink.
//!
//! [`rules`] decides what may go; here it goes, under the worktree's lock, in an order in which being killed
//! anywhere only leaves more for the next time: a journal before the ref that keeps its versions, a new pack on the
//! disk before anything that it holds is removed.

mod objects;
pub mod rules;
mod strays;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use strays::{Orphan, bytes_below, orphans};

use super::journal::Shelf;
use super::private::Lock;
use super::{Error, Repo};
use crate::tree::Oid;
use rules::{Gone, Kept};

/// Holds the worktree's lock under this name. Whoever wants it waits: it is not for long.
pub const HOLDER: &str = "upkeep";
/// It takes no longer.
pub const LIMIT: Duration = Duration::from_secs(10);

/// What only the caller knows.
pub struct Known<'k> {
    /// Sandboxes that the worktree's record names: in use, or with a result that waits or was decided.
    pub named: BTreeSet<String>,
    /// Trees that the record names.
    pub trees: Vec<Oid>,
    /// Whether nothing of the worktree of this id waits to be fetched or decided.
    pub nothing_waits: &'k dyn Fn(&str) -> bool,
}

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Runs that can no longer be undone.
    pub runs: usize,
    /// Refs.
    pub refs: usize,
    /// Objects that lay by themselves.
    pub objects: usize,
    /// Packs.
    pub packs: usize,
    /// Objects that are in a new pack.
    pub packed: usize,
    /// Folders of worktrees that are gone.
    pub folders: usize,
}

/// Whether it is time. The first look only begins to count.
pub fn is_due(repo: &Repo, now: SystemTime) -> bool {
    let note = repo.private_dir().join("upkeep");
    let Some(last) = modified(&note) else {
        if repo.private_dir().join("HEAD").exists() {
            let _ = std::fs::write(note, b"");
        }
        return false;
    };
    let objects = repo.private_dir().join("objects");
    // As git does it: the ids are spread evenly.
    let count = |dir: &str| std::fs::read_dir(objects.join(dir)).map_or(0, Iterator::count);
    rules::is_due(age(last, now), count("17") * 256, count("pack") / 2)
}

/// Removes what may go. `now` is what ages are counted to, `until` when there is no more time: then the rest is
/// left for the next upkeep.
pub fn keep_up(
    repo: &Repo,
    _lock: &Lock,
    known: &Known<'_>,
    now: SystemTime,
    until: Instant,
) -> Result<Done, Error> {
    let private = repo.private_dir();
    let io = |e| Error::io(private, e);
    // On a full disk it may be begun again and again.
    let _ = std::fs::write(private.join("upkeep"), b"");
    let mut done = Done::default();
    let shelf = Shelf::at(&repo.state_dir());
    let open = shelf.unfinished().map_err(io)?;
    let kept = Kept {
        runs: shelf.runs().map_err(io)?,
        open: open.iter().map(|journal| journal.run.clone()).collect(),
        refs: refs(repo)?,
        gone: gone(repo, now).map_err(io)?,
        named: known.named.clone(),
        now: now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos()),
    };
    let going = rules::going(&kept);
    shelf.forget(&going.runs).map_err(io)?;
    done.runs = going.runs.len();
    for name in &going.refs {
        repo.delete_ref(name)?;
        done.refs += 1;
    }
    for sandbox in &going.gone {
        met(repo, sandbox);
    }
    strays::remove(private, now).map_err(io)?;
    strays::remove_orphans(repo, now, known.nothing_waits, &mut done)?;

    let left = kept.refs.iter().filter(|(name, _)| !going.refs.contains(name));
    let roots: Vec<Oid> = left.filter_map(|(_, tree)| *tree).chain(known.trees.clone()).collect();
    let mut journals = open;
    for run in kept.runs.iter().filter(|run| !going.runs.contains(&run.run)) {
        journals.extend(shelf.finished(&run.run).map_err(io)?);
    }
    let needed = objects::needed(repo, roots, &journals)?;
    if Instant::now() < until {
        objects::tidy(repo, &needed, now, until, &mut done)?;
    }
    Ok(done)
}

/// The refs of the private repository with their trees.
fn refs(repo: &Repo) -> Result<BTreeMap<String, Option<Oid>>, Error> {
    let mut refs = BTreeMap::new();
    for kind in ["base", "sent", "held", "undo"] {
        for name in names(&repo.private_dir().join("refs").join(kind))
            .map_err(|e| Error::io(repo.private_dir(), e))?
        {
            let name = format!("refs/{kind}/{name}");
            // A name that is none of ours stays.
            if let Ok(tree) = repo.read_ref(&name) {
                refs.insert(name, tree);
            }
        }
    }
    Ok(refs)
}

fn gone(repo: &Repo, now: SystemTime) -> io::Result<BTreeMap<String, Gone>> {
    let dir = repo.state_dir().join("gone");
    let mut gone = BTreeMap::new();
    for name in names(&dir)? {
        let path = dir.join(&name);
        let Some(at) = modified(&path) else { continue };
        let deleted = std::fs::read(&path).is_ok_and(|words| words == DELETED);
        gone.insert(name, if deleted { Gone::Deleted } else { Gone::Unknown(age(at, now)) });
    }
    Ok(gone)
}

const DELETED: &[u8] = b"deleted\n";
const UNKNOWN: &[u8] = b"unknown\n";

/// Notes that we deleted a sandbox. Needs no lock.
pub fn deleted(repo: &Repo, sandbox_id: &str) {
    note(repo, sandbox_id, DELETED);
}

/// Notes that a sandbox's service does not know it. Needs no lock; the first time counts.
pub fn unknown(repo: &Repo, sandbox_id: &str) {
    if !repo.state_dir().join("gone").join(sandbox_id).exists() {
        note(repo, sandbox_id, UNKNOWN);
    }
}

/// Notes that a sandbox is there.
pub fn met(repo: &Repo, sandbox_id: &str) {
    if super::private::is_plain(sandbox_id) {
        let _ = std::fs::remove_file(repo.state_dir().join("gone").join(sandbox_id));
    }
}

/// A note that is lost costs some room and nothing else.
fn note(repo: &Repo, sandbox_id: &str, words: &[u8]) {
    let dir = repo.state_dir().join("gone");
    if super::private::is_plain(sandbox_id) && repo.state_dir().exists() {
        let _ = std::fs::create_dir_all(&dir);
        let _ = super::private::write_if_new(&dir.join(sandbox_id), words);
    }
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => {
            Ok(entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.symlink_metadata().ok()?.modified().ok()
}

/// Zero for what lies in the future.
fn age(at: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(at).unwrap_or_default()
}
