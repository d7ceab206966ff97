//! Base x local x theirs: what has to happen to each path.
//!
//! Pure: three trees and the bytes behind their ids go in, a plan comes out. Whatever the plan does
//! not take over from the sandbox is listed as a conflict with its ids, so that nothing of either
//! side is lost silently; whatever it replaces here is still known by its id.

mod text;

use std::collections::{BTreeMap, HashSet};
use std::io;

use crate::rel_path::RelPath;
use crate::sync::threats::{Content, Held};
use crate::tree::{Change, Entry, Mode, Oid, Tree};
pub use crate::worktree::strangers::OnDisk;

/// Files above this many bytes are never merged line by line.
pub const TEXT_MAX: usize = 8 << 20;
/// Deletions up to this number are never taken for an accident, unless nothing is left.
pub const MASS_DELETE_FLOOR: usize = 20;

/// What happens to conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Nothing at all is applied while there is a conflict.
    #[default]
    Hold,
    /// Clean paths are applied; their version of the others is put aside.
    KeepBoth,
    /// As `KeepBoth`, but text gets conflict markers in place.
    Merge,
    /// The local version stays; their version is put aside.
    Ours,
    /// The sandbox's version replaces the local one, which `undo` can bring back.
    Theirs,
}

/// How to plan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What happens to conflicts.
    pub policy: Policy,
    /// Apply even if most of the tree disappears.
    pub allow_mass_delete: bool,
}

/// Asks the disk. Called only for paths that would be new there.
pub type Disk<'a> = &'a dyn Fn(&RelPath) -> io::Result<OnDisk>;

/// Everything a plan is made from.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// What both sides last agreed on.
    pub base: &'a Tree,
    /// The fresh local snapshot.
    pub local: &'a Tree,
    /// The sandbox's tree, as `threats::review` accepted it.
    pub theirs: &'a Tree,
    /// Changes held back by `threats::review`.
    pub held: &'a BTreeMap<RelPath, Held>,
    /// Reads the bytes of any of the three trees.
    pub content: Content<'a>,
    /// Asks the disk.
    pub disk: Disk<'a>,
}

/// What clashes at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Both changed the same lines of a text.
    Text,
    /// Both changed a file that is not text, or too large to be merged.
    Binary,
    /// Both added it, with different content.
    BothAdded,
    /// Deleted here, changed there.
    DeletedHere,
    /// Changed here, deleted there.
    DeletedThere,
    /// Both changed a link, or one made a link or file of it and the other changed it.
    Type,
    /// A local file that is no part of the snapshot (ignored, or not a plain file) is in the way.
    Untracked,
    /// A local file stands where a folder is needed, or a folder where a file is.
    InTheWay,
    /// Held back by the review of threats.
    Held(Held),
}

impl Kind {
    /// The stable name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Binary => "binary",
            Kind::BothAdded => "both_added",
            Kind::DeletedHere => "deleted_here",
            Kind::DeletedThere => "deleted_there",
            Kind::Type => "type",
            Kind::Untracked => "untracked",
            Kind::InTheWay => "in_the_way",
            Kind::Held(Held::ExternalLink(_)) => "external_link",
            Kind::Held(Held::Risky(_)) => "risky",
        }
    }

    /// Why a change is held back; `None` where both sides want something else.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Kind::Held(Held::ExternalLink(reason)) => Some(reason),
            Kind::Held(Held::Risky(reason)) => Some(reason),
            _ => None,
        }
    }
}

/// A path where both sides want something else. Neither version is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Where.
    pub path: RelPath,
    /// What clashes.
    pub kind: Kind,
    /// Last agreed.
    pub base: Option<Entry>,
    /// Ours.
    pub local: Option<Entry>,
    /// Theirs.
    pub theirs: Option<Entry>,
    /// Text with markers is part of the plan (policy `merge`).
    pub marked: bool,
}

/// Most of the tree would disappear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MassDelete {
    /// Files that disappear with their content.
    pub deleted: usize,
    /// Files of the base.
    pub of: usize,
}

/// What to do, decided completely before anything is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MergePlan {
    /// What changes on disk, in path order: `before` is the local entry, `after` the new one.
    pub steps: Vec<Change>,
    /// Their versions to be put aside.
    pub asides: Vec<(RelPath, Entry)>,
    /// Clashes that are not settled: the outcome is a conflict if there is one.
    pub conflicts: Vec<Conflict>,
    /// Clashes the policy settled.
    pub settled: Vec<Conflict>,
    /// Contents that neither side had, to be stored before the steps are applied.
    pub merged: Vec<(Oid, Vec<u8>)>,
    /// Paths where both made the same change.
    pub already: Vec<RelPath>,
    /// Repositories inside the repository that differ: listed only.
    pub skipped: Vec<RelPath>,
    /// Clean steps that are not taken because of `Hold` or a mass delete.
    pub withheld: usize,
    /// Set if the plan stops here for the number of deletions.
    pub mass_delete: Option<MassDelete>,
    /// The local tree after the steps: the next base.
    pub result: Tree,
}

/// What is decided for one path, before folders are considered.
enum Verdict {
    Already,
    Skip,
    Take(Option<Entry>),
    Clash(Kind),
}

/// Plans the merge. Errors are those of `content` and `disk`.
pub fn plan(inputs: Inputs<'_>, options: Options) -> io::Result<MergePlan> {
    let mut planner = Planner {
        inputs,
        policy: options.policy,
        steps: BTreeMap::new(),
        clashes: BTreeMap::new(),
        out: MergePlan::default(),
    };
    for path in changed_paths(inputs.base, inputs.theirs) {
        planner.decide(path)?;
    }
    planner.settle_folders()?;
    let mass_delete =
        mass_delete(inputs.base, inputs.theirs).filter(|_| !options.allow_mass_delete);
    Ok(planner.finish(mass_delete))
}

/// The paths where theirs differs from the base; everything else stays as it is here.
fn changed_paths(base: &Tree, theirs: &Tree) -> Vec<RelPath> {
    crate::tree::changes(base, theirs).into_iter().map(|c| c.path).collect()
}

struct Planner<'a> {
    inputs: Inputs<'a>,
    policy: Policy,
    steps: BTreeMap<RelPath, Option<Entry>>,
    clashes: BTreeMap<RelPath, Kind>,
    out: MergePlan,
}

impl Planner<'_> {
    fn versions(&self, path: &RelPath) -> [Option<Entry>; 3] {
        [self.inputs.base, self.inputs.local, self.inputs.theirs].map(|t| t.get(path).copied())
    }

    fn decide(&mut self, path: RelPath) -> io::Result<()> {
        match self.verdict(&path)? {
            Verdict::Already => self.out.already.push(path),
            Verdict::Skip => self.out.skipped.push(path),
            Verdict::Take(entry) => {
                self.steps.insert(path, entry);
            }
            Verdict::Clash(kind) => self.clash(path, kind)?,
        }
        Ok(())
    }

    fn verdict(&mut self, path: &RelPath) -> io::Result<Verdict> {
        let [base, local, theirs] = self.versions(path);
        if [base, local, theirs].iter().flatten().any(|e| e.mode == Mode::Gitlink) {
            return Ok(Verdict::Skip);
        }
        if local == theirs {
            return Ok(Verdict::Already);
        }
        if let Some(held) = self.inputs.held.get(path) {
            return Ok(Verdict::Clash(Kind::Held(held.clone())));
        }
        if local == base {
            return Ok(Verdict::Take(theirs));
        }
        let (local, theirs) = match (local, theirs) {
            (Some(local), Some(theirs)) => (local, theirs),
            (None, _) => return Ok(Verdict::Clash(Kind::DeletedHere)),
            (_, None) => return Ok(Verdict::Clash(Kind::DeletedThere)),
        };
        let regular = |e: &Entry| e.mode.is_regular();
        if !(regular(&local) && regular(&theirs) && base.as_ref().is_none_or(regular)) {
            return Ok(Verdict::Clash(Kind::Type));
        }
        self.merge_files(base, local, theirs)
    }

    /// Mode and content are merged apart from each other.
    fn merge_files(
        &mut self,
        base: Option<Entry>,
        local: Entry,
        theirs: Entry,
    ) -> io::Result<Verdict> {
        let mode = match base {
            Some(base) if local.mode == base.mode => theirs.mode,
            Some(_) => local.mode,
            // Both added it: whoever made it executable meant it.
            None if theirs.mode == Mode::Exec => Mode::Exec,
            None => local.mode,
        };
        let id = match base {
            _ if local.id == theirs.id => local.id,
            Some(base) if base.id == local.id => theirs.id,
            Some(base) if base.id == theirs.id => local.id,
            _ => match self.merge_texts(base, local, theirs)? {
                Ok(id) => id,
                Err(kind) => return Ok(Verdict::Clash(kind)),
            },
        };
        let entry = Entry { mode, id };
        Ok(if entry == local { Verdict::Already } else { Verdict::Take(Some(entry)) })
    }

    fn merge_texts(
        &mut self,
        base: Option<Entry>,
        local: Entry,
        theirs: Entry,
    ) -> io::Result<Result<Oid, Kind>> {
        let ours = (self.inputs.content)(&local.id)?;
        let other = (self.inputs.content)(&theirs.id)?;
        if !text::is_text(&ours) || !text::is_text(&other) {
            return Ok(Err(if base.is_some() { Kind::Binary } else { Kind::BothAdded }));
        }
        let merged = match base {
            None => match text::larger(&ours, &other) {
                Some(true) => return Ok(Ok(local.id)),
                Some(false) => return Ok(Ok(theirs.id)),
                None => return Ok(Err(Kind::BothAdded)),
            },
            Some(base) => {
                let old = (self.inputs.content)(&base.id)?;
                if !text::is_text(&old) {
                    return Ok(Err(Kind::Binary));
                }
                match text::merge(&old, &ours, &other)? {
                    Some(merged) => merged,
                    None => return Ok(Err(Kind::Text)),
                }
            }
        };
        Ok(Ok(self.keep_merged(merged)?))
    }

    fn keep_merged(&mut self, bytes: Vec<u8>) -> io::Result<Oid> {
        let id = text::id(&bytes)?;
        self.out.merged.push((id, bytes));
        Ok(id)
    }

    /// Applies the policy to a clash of two versions.
    fn clash(&mut self, path: RelPath, kind: Kind) -> io::Result<()> {
        let [base, local, theirs] = self.versions(&path);
        match (self.policy, &kind) {
            (Policy::Theirs, Kind::Held(_)) => {}
            (Policy::Theirs, _) => {
                self.out.settled.push(self.conflict(&path, kind.clone()));
                self.steps.insert(path, theirs);
                return Ok(());
            }
            (Policy::Ours, _) => {
                self.out.settled.push(self.conflict(&path, kind));
                return Ok(());
            }
            (Policy::Merge, Kind::Text | Kind::BothAdded) => {
                if let (Some(local), Some(theirs)) = (local, theirs)
                    && let Some(bytes) = self.mark(base, local, theirs)?
                {
                    let id = self.keep_merged(bytes)?;
                    self.steps.insert(path.clone(), Some(Entry { mode: local.mode, id }));
                }
            }
            _ => {}
        }
        self.clashes.insert(path, kind);
        Ok(())
    }

    fn mark(
        &self,
        base: Option<Entry>,
        local: Entry,
        theirs: Entry,
    ) -> io::Result<Option<Vec<u8>>> {
        let old = base.map_or(Ok(Vec::new()), |b| (self.inputs.content)(&b.id))?;
        let [ours, other] = [local, theirs].map(|e| (self.inputs.content)(&e.id));
        let (ours, other) = (ours?, other?);
        if ![&old, &ours, &other].iter().all(|t| text::is_text(t)) {
            return Ok(None);
        }
        text::marked(&old, &ours, &other).map(Some)
    }

    /// Takes back steps that would need a folder where a file stays, a file where a folder stays, or
    /// a place where something unknown lies; repeated, for what stays may be in another's way.
    fn settle_folders(&mut self) -> io::Result<()> {
        let mut result = self.result();
        // What is held back does not take a folder's place either.
        for path in self.inputs.held.keys() {
            let [_, local, theirs] = self.versions(path);
            if theirs.is_some() && local != theirs {
                self.keep_folder(&mut result, path);
            }
        }
        let mut asked: BTreeMap<RelPath, OnDisk> = BTreeMap::new();
        loop {
            let mut blocked: Vec<(RelPath, Kind, bool)> = Vec::new();
            for path in self.steps.iter().filter(|(_, after)| after.is_some()).map(|(p, _)| p) {
                if path.ancestors().any(|above| result.contains_key(&above)) {
                    blocked.push((path.clone(), Kind::InTheWay, false));
                } else if entries_below(&result, path).next().is_some() {
                    blocked.push((path.clone(), Kind::InTheWay, true));
                } else if !self.inputs.local.contains_key(path) {
                    let seen = match asked.get(path) {
                        Some(seen) => *seen,
                        None => *asked.entry(path.clone()).or_insert((self.inputs.disk)(path)?),
                    };
                    match seen {
                        OnDisk::Free => {}
                        OnDisk::Stranger | OnDisk::Above => {
                            blocked.push((path.clone(), Kind::Untracked, false))
                        }
                        OnDisk::Below => blocked.push((path.clone(), Kind::Untracked, true)),
                    }
                }
            }
            if blocked.is_empty() {
                return Ok(());
            }
            for (path, kind, folder_stays) in blocked {
                if folder_stays {
                    self.keep_folder(&mut result, &path);
                }
                self.take_back(&mut result, path, kind);
            }
        }
    }

    /// The folder stays as it is: what the sandbox removed from it is not removed either.
    fn keep_folder(&mut self, result: &mut Tree, path: &RelPath) {
        let kept: Vec<_> = self
            .steps
            .range(path.clone()..)
            .skip_while(|(p, _)| *p == path)
            .map(|(p, _)| p.clone())
            .take_while(|p| p.as_bytes().starts_with(path.as_bytes()))
            .filter(|p| p.is_below(path))
            .collect();
        for below in kept {
            self.take_back(result, below, Kind::InTheWay);
        }
    }

    fn take_back(&mut self, result: &mut Tree, path: RelPath, kind: Kind) {
        if self.steps.remove(&path).is_none() {
            return;
        }
        match self.inputs.local.get(&path) {
            Some(entry) => result.insert(path.clone(), *entry),
            None => result.remove(&path),
        };
        self.out.settled.retain(|c| c.path != path);
        if self.policy == Policy::Ours {
            self.out.settled.push(self.conflict(&path, kind));
        } else {
            self.clashes.entry(path).or_insert(kind);
        }
    }

    /// The local tree with the steps taken so far.
    fn result(&self) -> Tree {
        let mut tree = self.inputs.local.clone();
        for (path, after) in &self.steps {
            match after {
                Some(entry) => tree.insert(path.clone(), *entry),
                None => tree.remove(path),
            };
        }
        tree
    }

    fn conflict(&self, path: &RelPath, kind: Kind) -> Conflict {
        let [base, local, theirs] = self.versions(path);
        Conflict { path: path.clone(), kind, base, local, theirs, marked: false }
    }

    fn finish(mut self, mass_delete: Option<MassDelete>) -> MergePlan {
        let conflicts: Vec<Conflict> = self
            .clashes
            .iter()
            .map(|(path, kind)| Conflict {
                marked: self.steps.contains_key(path),
                ..self.conflict(path, kind.clone())
            })
            .collect();
        let stop = mass_delete.is_some() || (self.policy == Policy::Hold && !conflicts.is_empty());
        if stop {
            self.out.withheld = self.steps.len();
            self.steps.clear();
            self.out.merged.clear();
        } else {
            // What the local version wins over is settled, and the sandbox will forget it with the next push.
            let lost = self.out.settled.iter().filter(|_| self.policy == Policy::Ours);
            let mut asides: Vec<_> = conflicts
                .iter()
                .filter(|c| !c.marked)
                .chain(lost)
                .filter_map(|c| Some((c.path.clone(), c.theirs?)))
                .collect();
            asides.sort_by(|a, b| a.0.cmp(&b.0));
            self.out.asides = asides;
        }
        let result = self.result();
        let local = self.inputs.local;
        let steps = self
            .steps
            .into_iter()
            .map(|(path, after)| Change { before: local.get(&path).copied(), path, after })
            .collect();
        let used: HashSet<Oid> = result.values().map(|e| e.id).collect();
        self.out.merged.retain(|(id, _)| used.contains(id));
        self.out.settled.sort_by(|a, b| a.path.cmp(&b.path));
        MergePlan { steps, conflicts, mass_delete, result, ..self.out }
    }
}

/// The entries of `tree` below the folder `dir`.
fn entries_below<'a>(tree: &'a Tree, dir: &'a RelPath) -> impl Iterator<Item = &'a RelPath> {
    // Siblings such as `dir-x` sort between `dir` and `dir/x`, so the range is entered at the slash.
    let first =
        RelPath::parse(&[dir.as_bytes(), b"/\x01"].concat()).expect("a longer name is as good");
    tree.range(first..).map(|(path, _)| path).take_while(move |path| path.is_below(dir))
}

/// Whether the sandbox's tree lost most of the base. Files that only moved are not lost.
fn mass_delete(base: &Tree, theirs: &Tree) -> Option<MassDelete> {
    let files = |t: &Tree| t.values().filter(|e| e.mode != Mode::Gitlink).count();
    let moved: HashSet<Oid> =
        theirs.iter().filter(|(p, _)| !base.contains_key(*p)).map(|(_, e)| e.id).collect();
    let deleted = base
        .iter()
        .filter(|(p, e)| {
            e.mode != Mode::Gitlink && !theirs.contains_key(*p) && !moved.contains(&e.id)
        })
        .count();
    let of = files(base);
    let wiped = of > 0 && files(theirs) == 0;
    (wiped || deleted > MASS_DELETE_FLOOR && deleted * 2 > of).then_some(MassDelete { deleted, of })
}

#[cfg(test)]
mod tests;
