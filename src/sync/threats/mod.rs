//! What a sandbox may not do to this machine: a verdict for each change it claims.
//!
//! Pure: names, links, modes and contents go in, verdicts come out; nothing is read from a disk.
//! The whole set is judged before the first write. A change can be *rejected* (the whole result is
//! refused, nothing applied), *held* (a conflict: both versions kept, never settled by a policy),
//! *flagged* (applied, and told with its reason) or *skipped* (listed only).

mod bare;
pub mod links;
pub mod modules;
pub mod names;
pub mod risk;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

pub use risk::Class;

use crate::exit::ErrorCode;
use crate::rel_path::{RelPath, escape};
use crate::tree::{Change, Entry, Mode, Oid, Tree};

/// Reads a verified object: a file's bytes or a link's target.
pub type Content<'a> = &'a dyn Fn(&Oid) -> io::Result<Vec<u8>>;

/// One difference as the sandbox states it, in the order it states it. The name is still foreign bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The name, unchecked.
    pub path: Vec<u8>,
    /// What it says was there at the base.
    pub before: Option<Entry>,
    /// What it says is there now.
    pub after: Option<Entry>,
}

/// What the user allows, and what this machine is like.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Hold back every flagged change.
    pub block_risky: bool,
    /// Flag, rather than hold back, what runs unasked.
    pub allow_risky: bool,
    /// Take links that point outside the worktree.
    pub allow_external_links: bool,
    /// The disk takes names for one that differ in case or Unicode form.
    pub case_insensitive: bool,
    /// The live hooks folder, when it lies in the worktree, by each of its names.
    pub hooks: Vec<RelPath>,
}

/// A change that makes the whole result unacceptable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The name as it came.
    pub path: Vec<u8>,
    /// What is wrong.
    pub reason: String,
}

/// Why a change is held back. Policies do not settle it; the switch it names does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// A link out of the worktree, or into a repository's own folder.
    ExternalLink(&'static str),
    /// It runs unasked, or is risky while risky changes are blocked.
    Risky(String),
}

/// A change that is applied and told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Where.
    pub path: RelPath,
    /// What kind of risk.
    pub class: Class,
    /// In words.
    pub reason: String,
}

/// The verdicts over a whole set of claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Review {
    /// Any entry here refuses the whole result.
    pub rejected: Vec<Rejected>,
    /// Conflicts by decision.
    pub held: BTreeMap<RelPath, Held>,
    /// Applied and told, in path order.
    pub flags: Vec<Flag>,
    /// Repositories inside the repository that differ: listed, never touched.
    pub skipped: Vec<RelPath>,
    /// The claims whose names are good, as changes.
    pub changes: Vec<Change>,
    /// The sandbox's tree: the base with these changes.
    pub theirs: Tree,
}

impl Review {
    /// The review, if nothing in it refuses the whole result.
    pub fn accept(self) -> Result<Review, Unsafe> {
        if self.rejected.is_empty() { Ok(self) } else { Err(Unsafe { offenders: self.rejected }) }
    }
}

/// The sandbox offered something that is refused. Nothing is applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Unsafe {
    /// Every offender, in the order of the claims.
    pub offenders: Vec<Rejected>,
}

impl Unsafe {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::PathUnsafe
    }
}

/// A larger file of settings is refused unread.
const SETTINGS_MAX: usize = 1 << 20;

/// How many offenders one message names.
const SHOWN: usize = 3;

impl std::fmt::Display for Unsafe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the sandbox offered what is never written here: ")?;
        for (n, offender) in self.offenders.iter().take(SHOWN).enumerate() {
            let between = if n > 0 { "; " } else { "" };
            write!(f, "{between}`{}`: {}", escape(&offender.path), offender.reason)?;
        }
        match self.offenders.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Judges all claims against the base both sides agreed on and the local snapshot.
pub fn review(
    base: &Tree,
    local: &Tree,
    claims: &[Claim],
    content: Content<'_>,
    options: &Options,
) -> io::Result<Review> {
    let mut review = admit(base, claims);
    check_shape(&mut review);
    let clashes = clashes(local, &review);
    for (path, other) in clashes {
        let reason = format!("the name differs from `{other}` only in case or Unicode form");
        if options.case_insensitive {
            review.rejected.push(Rejected { path: path.as_bytes().to_vec(), reason });
        } else {
            review.flags.push(Flag { path, class: Class::Name, reason });
        }
    }
    let other_names = other_names(&review.theirs, content, &options.hooks)?;
    let context = Context { base, local, content, options, other_names };
    for change in std::mem::take(&mut review.changes) {
        context.judge(&change, &mut review)?;
        review.changes.push(change);
    }
    bare::flag_repositories(&mut review);
    review.flags.sort_by(|a, b| (&a.path, a.class).cmp(&(&b.path, b.class)));
    if options.block_risky {
        for flag in &review.flags {
            review
                .held
                .entry(flag.path.clone())
                .or_insert_with(|| Held::Risky(flag.reason.clone()));
        }
    }
    Ok(review)
}

/// Names, order, agreement with the base: from claims to changes.
fn admit(base: &Tree, claims: &[Claim]) -> Review {
    let mut review = Review { theirs: base.clone(), ..Review::default() };
    let mut last: Option<&[u8]> = None;
    for claim in claims {
        let mut reject = |reason: &str| {
            review.rejected.push(Rejected { path: claim.path.clone(), reason: reason.into() });
        };
        match last.map(|l| l.cmp(&claim.path)) {
            Some(std::cmp::Ordering::Equal) => reject("the name is listed twice"),
            Some(std::cmp::Ordering::Greater) => reject("the names are not in order"),
            _ => {}
        }
        last = Some(&claim.path);
        // A name the base already has is the user's own: only the plain form is asked of it.
        let known = RelPath::parse(&claim.path).ok().filter(|p| base.contains_key(p));
        let path = match known.map_or_else(|| names::check(&claim.path), Ok) {
            Ok(path) => path,
            Err(reason) => {
                reject(&reason);
                continue;
            }
        };
        if base.get(&path) != claim.before.as_ref() {
            reject("what it says was there before is not what both sides agreed on");
            continue;
        }
        if claim.before == claim.after {
            reject("it says that nothing changed");
            continue;
        }
        match claim.after {
            Some(entry) => review.theirs.insert(path.clone(), entry),
            None => review.theirs.remove(&path),
        };
        review.changes.push(Change { path, before: claim.before, after: claim.after });
    }
    review
}

/// No entry may lie below another entry: a file has no children, and a link is never written through.
fn check_shape(review: &mut Review) {
    for change in review.changes.iter().filter(|c| c.after.is_some()) {
        if let Some(child) = first_below(&review.theirs, &change.path) {
            let reason = format!("it is no folder, and `{child}` would lie below it");
            review.rejected.push(Rejected { path: change.path.as_bytes().to_vec(), reason });
            continue;
        }
        for above in change.path.ancestors() {
            let reason = match review.theirs.get(&above).map(|e| e.mode) {
                None => continue,
                Some(Mode::Link) => format!("it would be written through the link `{above}`"),
                // Files below a repository inside the repository are the sandbox's own affair: the merge keeps them out.
                Some(Mode::Gitlink) => continue,
                Some(_) => format!("`{above}` is a file and has no children"),
            };
            review.rejected.push(Rejected { path: change.path.as_bytes().to_vec(), reason });
            break;
        }
    }
}

/// The first entry of `tree` below `dir`.
fn first_below<'a>(tree: &'a Tree, dir: &RelPath) -> Option<&'a RelPath> {
    // Siblings such as `dir-x` sort between `dir` and `dir/x`, so the range is entered at the slash.
    let first = RelPath::parse(&[dir.as_bytes(), b"/\x01"].concat()).ok()?;
    tree.range(first..).next().map(|(path, _)| path).filter(|path| path.is_below(dir))
}

/// New names (and new folders) that some disk takes for one that exists in either tree.
fn clashes(local: &Tree, review: &Review) -> Vec<(RelPath, RelPath)> {
    let mut fresh: HashMap<Vec<u8>, HashSet<RelPath>> = HashMap::new();
    let mut owner: HashMap<RelPath, RelPath> = HashMap::new();
    for change in
        review.changes.iter().filter(|c| c.after.is_some() && !local.contains_key(&c.path))
    {
        for prefix in std::iter::once(change.path.clone()).chain(change.path.ancestors()) {
            if owner.contains_key(&prefix) {
                break;
            }
            fresh.entry(names::folded(prefix.as_bytes())).or_default().insert(prefix.clone());
            owner.insert(prefix, change.path.clone());
        }
    }
    let mut out = BTreeMap::new();
    if fresh.is_empty() {
        return Vec::new();
    }
    let mut seen: HashSet<RelPath> = HashSet::new();
    for path in local.keys().chain(review.theirs.keys()) {
        for prefix in std::iter::once(path.clone()).chain(path.ancestors()) {
            if !seen.insert(prefix.clone()) {
                break;
            }
            for new in fresh.get(&names::folded(prefix.as_bytes())).into_iter().flatten() {
                if *new != prefix {
                    out.entry(owner[new].clone()).or_insert(prefix.clone());
                }
            }
        }
    }
    out.into_iter().collect()
}

struct Context<'a> {
    base: &'a Tree,
    local: &'a Tree,
    content: Content<'a>,
    options: &'a Options,
    /// Paths, each with a link by which programs reach it.
    other_names: Vec<(RelPath, RelPath)>,
}

impl Context<'_> {
    /// Everything that depends on one change alone.
    fn judge(&self, change: &Change, review: &mut Review) -> io::Result<()> {
        let Change { path, before, after } = change;
        let gitlink = |e: &Option<Entry>| e.is_some_and(|e| e.mode == Mode::Gitlink);
        if gitlink(before) || gitlink(after) {
            review.skipped.push(path.clone());
            return Ok(());
        }
        let Some(after) = *after else { return Ok(()) };
        if let Some(reason) = names::oddity(path).filter(|_| before.is_none()) {
            review.flags.push(Flag {
                path: path.clone(),
                class: Class::Name,
                reason: reason.into(),
            });
        }
        if after.mode == Mode::Link {
            self.judge_link(path, after, review)?;
        } else {
            self.judge_file(path, *before, after, review)?;
        }
        if let Some(risk) = self.risk(path, after.mode) {
            if risk.held && !self.options.allow_risky {
                review.held.insert(path.clone(), Held::Risky(risk.reason.into()));
            }
            review.flags.push(Flag {
                path: path.clone(),
                class: risk.class,
                reason: risk.reason.into(),
            });
        }
        Ok(())
    }

    /// The risk of a path by its name, or by another name that leads to it.
    fn risk(&self, path: &RelPath, mode: Mode) -> Option<risk::Risk> {
        let of = |path: &RelPath| match mode {
            Mode::Link => risk::of_link(path, &self.options.hooks),
            _ => risk::by_name(path, &self.options.hooks),
        };
        let other = self.other_names.iter().filter_map(|(target, link)| {
            let rest = path.as_bytes().strip_prefix(target.as_bytes())?;
            let inside = rest.is_empty() || rest.starts_with(b"/");
            let name = [link.as_bytes(), rest].concat();
            RelPath::parse(&name).ok().filter(|_| inside)
        });
        let other = other.filter_map(|name| of(&name)).find(|risk| risk.held);
        of(path).filter(|risk| risk.held).or(other).or_else(|| of(path))
    }

    fn judge_link(&self, path: &RelPath, after: Entry, review: &mut Review) -> io::Result<()> {
        let mut reject = |reason: String| {
            review.rejected.push(Rejected { path: path.as_bytes().to_vec(), reason });
        };
        if let Some(name) = names::git_file(path.file_name()) {
            reject(format!("`{name}` would be a link"));
            return Ok(());
        }
        let target = (self.content)(&after.id)?;
        let theirs = &review.theirs;
        let read = |at: &RelPath| {
            let link = [theirs.get(at), self.local.get(at)]
                .into_iter()
                .flatten()
                .find(|e| e.mode == Mode::Link)?;
            (self.content)(&link.id).ok()
        };
        match links::leads(path, &target, &read) {
            links::Leads::Inside => {}
            links::Leads::Broken(reason) => {
                reject(reason.into());
                return Ok(());
            }
            links::Leads::DotGit => {
                review.held.insert(
                    path.clone(),
                    Held::ExternalLink("the link points into a repository's own folder"),
                );
            }
            links::Leads::Outside(reason) if !self.options.allow_external_links => {
                review.held.insert(path.clone(), Held::ExternalLink(reason));
            }
            links::Leads::Outside(_) => {}
        }
        let reason = format!("a link to `{}`", escape(&target));
        review.flags.push(Flag { path: path.clone(), class: Class::Link, reason });
        Ok(())
    }

    fn judge_file(
        &self,
        path: &RelPath,
        before: Option<Entry>,
        after: Entry,
        review: &mut Review,
    ) -> io::Result<()> {
        let mut flag = |class, reason: &str| {
            review.flags.push(Flag { path: path.clone(), class, reason: reason.into() });
        };
        let old = before.filter(|e| e.mode.is_regular());
        if after.mode == Mode::Exec && old.is_none_or(|e| e.mode != Mode::Exec) {
            flag(Class::Executable, "it may be executed now");
        }
        let read_old = || old.map_or(Ok(Vec::new()), |e| (self.content)(&e.id));
        if risk::is_program(&(self.content)(&after.id)?) && !risk::is_program(&read_old()?) {
            flag(Class::Executable, "a compiled program");
        }
        if path.file_name().eq_ignore_ascii_case(b"package.json")
            && risk::package_changes(&read_old()?, &(self.content)(&after.id)?)
        {
            flag(Class::Build, "its scripts or dependencies change");
        }
        if path.parent().is_none() && names::git_file(path.file_name()) == Some(".gitmodules") {
            debug_assert_eq!(self.base.get(path).copied(), before);
            let new = (self.content)(&after.id)?;
            // Contents come cut beyond this size, and what was not read cannot be judged.
            let reason = match new.len() > SETTINGS_MAX {
                true => Some("`.gitmodules` is too large to be judged".to_owned()),
                false => modules::complaint(&read_old()?, &new),
            };
            if let Some(reason) = reason {
                review.rejected.push(Rejected { path: path.as_bytes().to_vec(), reason });
            }
        }
        Ok(())
    }
}

/// Where links lead under whose names files run unasked: what changes there does, too.
fn other_names(
    theirs: &Tree,
    content: Content<'_>,
    hooks: &[RelPath],
) -> io::Result<Vec<(RelPath, RelPath)>> {
    let links = theirs.iter().filter(|(path, entry)| {
        entry.mode == Mode::Link && risk::of_link(path, hooks).is_some_and(|risk| risk.held)
    });
    let mut names = Vec::new();
    for (link, entry) in links {
        names.extend(links::place(link, &content(&entry.id)?).map(|at| (at, link.clone())));
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
