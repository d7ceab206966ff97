//! A checked plan becomes files: all of it, or as much as the disk and the user's own typing allow, and
//! never a byte lost.
//!
//! The caller holds the worktree's lock. Order: look at every path, then announce the run in the journal,
//! put aside what clashes, stage what will replace something, remove, replace, create, close the journal.
//! Killed anywhere in between, [`resume`] finishes the job from the journal.

mod aside;
mod crew;
mod hands;
mod mend;

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::path::Path;

pub use aside::CONFLICTS;
use hands::{Hands, Outcome, Seen};

use super::found::Found;
use super::journal::{self, Journal, Shelf};
use super::upkeep::rules::{RUNS, UNDO};
use crate::exit::ErrorCode;
use crate::rel_path::RelPath;
use crate::tree::{Change, Entry, Mode, Oid, Tree};

/// Up to this many changed paths each file is synced by itself; beyond, the whole disk is, before the first
/// replacement and at the end: eight files by themselves already take longer than that.
const SYNC_SINGLY: usize = 8;
/// What must stay free on the disk beyond the new files, in bytes.
const RESERVE: u64 = 1 << 20;

/// The private object store: where all versions of all files are.
pub trait Objects {
    /// An object's size in bytes; `None` if it is not there.
    fn size(&self, id: &Oid) -> io::Result<Option<u64>>;
    /// Writes an object's bytes to `out`.
    fn copy(&self, id: &Oid, out: &mut dyn Write) -> io::Result<()>;
    /// Stores bytes, and returns their id.
    fn save(&self, bytes: &[u8]) -> io::Result<Oid>;
    /// Keeps a tree's objects under `refs/undo/<run>` until [`Objects::unpin`].
    fn pin(&self, run: &str, tree: &Tree) -> io::Result<()>;
    /// Lets go of what [`Objects::pin`] keeps.
    fn unpin(&self, run: &str) -> io::Result<()>;

    /// The same store for another thread.
    fn again(&self) -> io::Result<Box<dyn Objects + Send + '_>>;

    /// Whether an object is there.
    fn has(&self, id: &Oid) -> io::Result<bool> {
        Ok(self.size(id)?.is_some())
    }

    /// Waits until an object is on the disk.
    fn sync(&self, _id: &Oid) -> io::Result<()> {
        Ok(())
    }

    /// An object's bytes.
    fn read(&self, id: &Oid) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.copy(id, &mut bytes)?;
        Ok(bytes)
    }
}

/// Where to apply.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The worktree's top folder.
    pub top: &'a Path,
    /// The worktree's private folder, for the journal.
    pub state: &'a Path,
    /// All versions.
    pub objects: &'a dyn Objects,
    /// Whether the executable bit counts here (git's `core.fileMode`).
    pub file_mode: bool,
}

/// What to apply.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The run's id: letters, digits, `-` and `_`.
    pub run: String,
    /// Each path with the local entry it had when the plan was made, and the one it shall have.
    pub steps: Vec<Change>,
    /// Versions to be put aside, below [`CONFLICTS`]`/<run>/`.
    pub asides: Vec<(RelPath, Entry)>,
    /// Change nothing at all if a path is not as the plan saw it.
    pub all_or_nothing: bool,
}

/// A path that was not as the plan saw it: the user was there meanwhile. It stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    /// What was wanted.
    pub step: Change,
    /// Where the wanted version was put aside, relative to the worktree.
    pub saved_to: Option<RelPath>,
}

/// What came of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The run.
    pub run: String,
    /// What was changed.
    pub changed: Vec<Change>,
    /// Paths that were already as wanted.
    pub already: Vec<RelPath>,
    /// Paths the user changed meanwhile.
    pub late: Vec<Late>,
    /// Versions put aside: path, and where it is now.
    pub asides: Vec<(RelPath, RelPath)>,
    /// Local bytes that were in the way of a finished change and are now kept here.
    pub rescued: Vec<RelPath>,
}

/// Why a plan was not applied, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk or its permissions.
    #[error("{doing} `{path}`")]
    Io {
        /// In words: `replace`, `create`, …
        doing: &'static str,
        /// The path, escaped.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Not enough room.
    #[error("the changes need {need} bytes and the disk has {free} free")]
    NoRoom {
        /// Bytes wanted.
        need: u64,
        /// Bytes there.
        free: u64,
    },
    /// A version is not in the store.
    #[error("object {0} is not in the private store")]
    Missing(Oid),
    /// An earlier run was interrupted and not resumed.
    #[error("run `{0}` was interrupted and has to be finished first")]
    Unfinished(String),
    /// The run's id is taken, or no plain word.
    #[error("`{0}` cannot be the id of a new run")]
    BadRun(String),
    /// There is nothing to undo.
    #[error("nothing to undo: no run changed files here")]
    NothingDone,
    /// The run is too long ago.
    #[error("run `{0}` cannot be undone any more: what that needs is kept for the last {RUNS} runs, and for {days} days", days = UNDO.as_secs() / 86_400)]
    Forgotten(String),
    /// There is no such run to undo.
    #[error("nothing to undo: no run `{0}` changed files here")]
    NoRun(String),
}

impl Error {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Io { .. } | Error::NoRoom { .. } => ErrorCode::HostIo,
            Error::NothingDone | Error::NoRun(_) | Error::Forgotten(_) => ErrorCode::UndoNothing,
            Error::Missing(_) | Error::Unfinished(_) | Error::BadRun(_) => ErrorCode::Internal,
        }
    }
}

/// Adds to an I/O error what was done to which path.
fn failed(doing: &'static str, path: &RelPath) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_string();
    move |source| Error::Io { doing, path, source }
}

fn journal_failed(doing: &'static str, state: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = state.join("journal").display().to_string();
    move |source| Error::Io { doing, path, source }
}

/// Applies a plan. On an error after the first change the journal stays open, and [`resume`] goes on
/// once the cause is mended; before it, nothing has happened.
pub fn apply(site: &Site<'_>, plan: &Plan) -> Result<Applied, Error> {
    carry_out(site, plan, None)
}

pub(super) fn carry_out(
    site: &Site<'_>,
    plan: &Plan,
    undo_of: Option<String>,
) -> Result<Applied, Error> {
    let shelf = Shelf::at(site.state);
    if !journal::is_run_id(&plan.run) || shelf.knows(&plan.run) {
        return Err(Error::BadRun(plan.run.clone()));
    }
    if let Some(open) = shelf.unfinished().map_err(journal_failed("read", site.state))?.pop() {
        return Err(Error::Unfinished(open.run));
    }
    let hands = Hands::new(site, &plan.run)?;
    let mut applied = Applied { run: plan.run.clone(), ..Applied::default() };
    let sights = inspect(&hands, &plan.steps)?;
    let (mut steps, mut todo) = (Vec::new(), Vec::new());
    for (step, sight) in plan.steps.iter().zip(sights) {
        match sight {
            Sight::Ready(seen) => {
                todo.push((steps.len(), seen));
                steps.push(step.clone());
            }
            Sight::Already => applied.already.push(step.path.clone()),
            Sight::Other => applied.late.push(Late { step: step.clone(), saved_to: None }),
        }
    }
    if plan.all_or_nothing && !applied.late.is_empty() {
        return Ok(applied);
    }
    if steps.is_empty() && plan.asides.is_empty() && applied.late.is_empty() {
        return Ok(applied);
    }
    check_means(&hands, &steps, &plan.asides)?;
    let journal = Journal {
        run: plan.run.clone(),
        undo_of,
        at: journal::now(),
        steps,
        asides: plan.asides.clone(),
    };
    let versions = pinned(&journal);
    site.objects
        .pin(&journal.run, &versions)
        .map_err(journal_failed("keep the versions of", site.state))?;
    shelf.open(&journal).map_err(journal_failed("write", site.state))?;
    if let Err(e) = stage_all(&hands, &journal, &todo, &versions) {
        // Nothing was replaced yet: leave no trace, or else the journal that leads to it.
        if hands.unstage(&journal.steps) {
            let _ = shelf.discard(&journal.run);
            let _ = site.objects.unpin(&journal.run);
        }
        return Err(e);
    }
    finish(&hands, &shelf, journal, &todo, applied, true)
}

/// Finishes every run that was interrupted: paths still as before are changed now, paths as after are
/// done, anything else is the user's and stays.
pub fn resume(site: &Site<'_>) -> Result<Vec<Applied>, Error> {
    let shelf = Shelf::at(site.state);
    let mut out = Vec::new();
    for journal in shelf.unfinished().map_err(journal_failed("read", site.state))? {
        let hands = Hands::new(site, &journal.run)?;
        let mut applied = Applied { run: journal.run.clone(), ..Applied::default() };
        hands.recover(&journal.steps, |_| true)?;
        let versions = pinned(&journal);
        if lacks_versions(&hands, &versions)? {
            shelf.discard(&journal.run).map_err(journal_failed("discard", site.state))?;
            let _ = site.objects.unpin(&journal.run);
            continue;
        }
        let sights = inspect(&hands, &journal.steps)?;
        let all = journal.steps.iter().cloned().zip(sights).enumerate();
        let mut todo = Vec::new();
        for (number, (step, sight)) in all {
            match sight {
                Sight::Ready(seen) => todo.push((number, seen)),
                Sight::Already => applied.changed.push(step),
                Sight::Other => applied.late.push(Late { step, saved_to: None }),
            }
        }
        let pending: Vec<Change> = todo.iter().map(|&(n, _)| journal.steps[n].clone()).collect();
        check_means(&hands, &pending, &journal.asides)?;
        stage_all(&hands, &journal, &todo, &versions)?;
        out.push(finish(&hands, &shelf, journal, &todo, applied, false)?);
    }
    Ok(out)
}

/// Whether a version is gone. All are on the disk before the first replacement, so a power cut came earlier:
/// the worktree is as it was, and what was to be applied is asked for again.
fn lacks_versions(hands: &Hands<'_>, versions: &Tree) -> Result<bool, Error> {
    let read = |source| Error::Io { doing: "read", path: "the private store".into(), source };
    for id in versions.values().map(|entry| entry.id) {
        if !hands.site.objects.has(&id).map_err(read)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes all that will replace something, and waits until it is on the disk with all versions of the run.
fn stage_all(
    hands: &Hands<'_>,
    journal: &Journal,
    todo: &[Todo],
    versions: &Tree,
) -> Result<(), Error> {
    aside::prepare(hands, &journal.asides)?;
    crew::each(hands, todo, |hands, &(number, seen)| {
        hands.stage(number, &journal.steps[number], seen)
    })?;
    hands.sync_staged(versions)
}

/// A step's number, and what was seen when its path was found as the plan saw it.
type Todo = (usize, Seen);

/// Carries out the steps and closes the journal. `again`: leave it open for another look if a folder
/// was out of reach just when something of ours lay in it.
fn finish(
    hands: &Hands<'_>,
    shelf: &Shelf,
    mut journal: Journal,
    todo: &[Todo],
    mut applied: Applied,
    again: bool,
) -> Result<Applied, Error> {
    for (path, entry) in &journal.asides {
        applied.asides.push((path.clone(), aside::put(hands, path, *entry)?));
    }
    run_steps(hands, &journal.steps, todo, &mut applied)?;
    for late in &mut applied.late {
        if let Some(entry) = late.step.after {
            late.saved_to = Some(aside::put(hands, &late.step.path, entry)?);
        }
    }
    applied.changed.sort_by(|a, b| a.path.cmp(&b.path));
    let late: HashSet<&RelPath> = applied.late.iter().map(|l| &l.step.path).collect();
    let sure = late.is_empty() || hands.recover(&journal.steps, |s| late.contains(&s.path))?;
    applied.rescued = hands.rescued();
    hands.sync()?;
    if again && !sure {
        return Ok(applied);
    }
    journal.steps = applied.changed.clone();
    shelf.close(&journal).map_err(journal_failed("close", hands.site.state))?;
    if applied.changed.is_empty() {
        let _ = hands.site.objects.unpin(&journal.run);
    }
    Ok(applied)
}

fn run_steps(
    hands: &Hands<'_>,
    steps: &[Change],
    todo: &[Todo],
    applied: &mut Applied,
) -> Result<(), Error> {
    // Removed before it was interrupted: the folders that emptied may still be there.
    let gone = applied.changed.iter().filter(|step| step.after.is_none());
    let gone: Vec<RelPath> = gone.map(|step| step.path.clone()).collect();
    let mut note = |step: &Change, outcome| match outcome {
        Outcome::Done => applied.changed.push(step.clone()),
        Outcome::Changed => applied.late.push(Late { step: step.clone(), saved_to: None }),
    };
    let mut all = |hands: &Hands<'_>, todo: &[Todo]| -> Result<(), Error> {
        let outcomes = crew::each(hands, todo, |hands, &(number, seen)| {
            let step = &steps[number];
            match (step.before, step.after) {
                (_, None) => hands.remove(number, step),
                (Some(_), Some(_)) => hands.replace(number, step, seen),
                (None, Some(after)) => hands.create(&step.path, after),
            }
        })?;
        todo.iter().zip(outcomes).for_each(|(&(n, _), outcome)| note(&steps[n], outcome));
        Ok(())
    };
    // Files make room for folders of the same name; beyond that no path hangs on another.
    let (removals, rest): (Vec<Todo>, Vec<Todo>) =
        todo.iter().partition(|&&(n, _)| steps[n].after.is_none());
    all(hands, &removals)?;
    let needed: HashSet<RelPath> =
        steps.iter().filter(|s| s.after.is_some()).flat_map(|s| s.path.ancestors()).collect();
    let removed = removals.iter().map(|&(n, _)| &steps[n].path).chain(&gone);
    hands.remove_emptied(removed, &needed)?;
    all(hands, &rest)
}

/// What a path looks like to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// As the plan saw it.
    Ready(Seen),
    /// As the plan wants it.
    Already,
    /// Neither.
    Other,
}

fn inspect(hands: &Hands<'_>, steps: &[Change]) -> Result<Vec<Sight>, Error> {
    let removed: HashSet<&RelPath> =
        steps.iter().filter(|s| s.after.is_none()).map(|s| &s.path).collect();
    let mut reachable: HashMap<RelPath, bool> = HashMap::new();
    let looks = crew::each(hands, steps, |hands, step| hands.look_closely(&step.path))?;
    let mut sights = Vec::with_capacity(steps.len());
    for (step, (found, seen)) in steps.iter().zip(looks) {
        let is = |entry| hands.is(found, entry);
        let sight = match (step.before, step.after) {
            (_, after) if is(after) => Sight::Already,
            // A folder is no entry: what was to be removed is gone, what shall be made may replace it if it is empty by then.
            (_, None) if found == Found::Folder => Sight::Already,
            (None, Some(_)) if found == Found::Folder => Sight::Ready(seen),
            (before, _) if !is(before) => Sight::Other,
            (None, _) if found == Found::NoFolder => {
                let parent = step.path.parent().expect("the root is a folder");
                let free = match reachable.get(&parent) {
                    Some(free) => *free,
                    None => *reachable
                        .entry(parent.clone())
                        .or_insert(hands.can_reach(&parent, &removed)?),
                };
                if free { Sight::Ready(seen) } else { Sight::Other }
            }
            _ => Sight::Ready(seen),
        };
        sights.push(sight);
    }
    Ok(sights)
}

/// Checks what can be checked before the first write: every version is in the store, folders may be written to, room is left.
fn check_means(
    hands: &Hands<'_>,
    steps: &[Change],
    asides: &[(RelPath, Entry)],
) -> Result<(), Error> {
    let sizes = crew::each(hands, steps, |hands, step| {
        let size = step.after.map_or(Ok(0), |after| hands.size(after))?;
        if let Some(before) = step.before {
            hands.ensure_saved(step, before)?;
        }
        Ok(size)
    })?;
    let mut need: u64 = 0;
    for size in sizes.into_iter().map(Ok).chain(asides.iter().map(|(_, e)| hands.size(*e))) {
        need = need.saturating_add(size?.next_multiple_of(4096));
    }
    match hands.free_bytes() {
        Some(free) if need > 0 && free < need.saturating_add(RESERVE) => {
            return Err(Error::NoRoom { need, free });
        }
        _ => {}
    }
    hands.check_writable(steps)
}

/// All versions a run is about, so that one reference keeps them: each under its own id, in a single folder.
fn pinned(journal: &Journal) -> Tree {
    let versions = journal.steps.iter().flat_map(|step| [step.before, step.after]).flatten();
    let asides = journal.asides.iter().map(|(_, entry)| *entry);
    let kept = versions.chain(asides).filter(|entry| entry.mode != Mode::Gitlink);
    let name = |id: Oid| RelPath::parse(id.to_string().as_bytes()).expect("digits are a name");
    kept.map(|entry| (name(entry.id), Entry { mode: Mode::File, ..entry })).collect()
}
