//! What a merge may come to, said once more and in another way: path by path from the table of the design,
//! over whole contents, knowing nothing of ids, plans and steps.

use std::collections::BTreeSet;

use sandbox_coder::rel_path::escape;
use sandbox_coder::sync::merge::Policy;
use sandbox_coder::tree::Mode;

use super::files::{Files, Node, is_below};

/// What one path may become.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Want {
    /// This and nothing else.
    Is(Option<Node>),
    /// Both want something else.
    Clash,
    /// This, or a clash: two readings of the table are possible.
    Either(Option<Node>),
    /// A text that holds what both wrote, or a clash.
    Blend(Mode),
}

/// The three trees of a merge and the files no tree has.
pub struct Trees<'t> {
    pub base: &'t Files,
    pub local: &'t Files,
    pub theirs: &'t Files,
    pub strangers: &'t Files,
    /// Empty folders here: one below a path keeps a file from taking its folder's place.
    pub hollow: &'t [Vec<u8>],
    /// What the user did between the decision and its execution.
    pub typed: &'t [(Vec<u8>, Option<Node>)],
}

/// How it was merged.
pub struct Way {
    pub policy: Policy,
    pub allow_mass_delete: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The disk, without strangers.
    pub after: Files,
    /// Paths reported as clashing, settled by the policy or not.
    pub reported: BTreeSet<Vec<u8>>,
    /// Unsettled ones.
    pub conflicts: BTreeSet<Vec<u8>>,
    /// Contents put aside, by path.
    pub asides: Vec<(Vec<u8>, Vec<u8>)>,
    /// It was refused for the number of deletions.
    pub mass_delete: bool,
}

impl Trees<'_> {
    fn versions(&self, path: &[u8]) -> [Option<&Node>; 3] {
        [self.base, self.local, self.theirs].map(|files| files.get(path))
    }

    fn want(&self, path: &[u8]) -> Want {
        let [base, local, theirs] = self.versions(path);
        if theirs == base || local == theirs {
            return Want::Is(local.cloned());
        }
        if let Some(link) = theirs.filter(|n| n.mode == Mode::Link) {
            // Out of the worktree is held back; a link to a name that may be a link itself may be.
            if link.bytes.starts_with(b"/") {
                return Want::Clash;
            }
            if link.bytes == b"d" {
                return if local == base { Want::Either(theirs.cloned()) } else { Want::Clash };
            }
        }
        if local == base {
            return Want::Is(theirs.cloned());
        }
        let (Some(local), Some(theirs)) = (local, theirs) else { return Want::Clash };
        if [Some(local), Some(theirs), base].iter().flatten().any(|n| n.mode == Mode::Link) {
            return Want::Clash;
        }
        let mode = match base {
            Some(base) if base.mode == local.mode => theirs.mode,
            Some(_) => local.mode,
            None if [local.mode, theirs.mode].contains(&Mode::Exec) => Mode::Exec,
            None => Mode::File,
        };
        let is = |bytes: &[u8]| Want::Is(Some(Node { mode, bytes: bytes.to_vec() }));
        let (l, t) = (&local.bytes, &theirs.bytes);
        match base.map(|b| &b.bytes) {
            _ if l == t => is(l),
            Some(b) if b == l => is(t),
            Some(b) if b == t => is(l),
            _ if [l, t].iter().any(|bytes| bytes.contains(&0)) => Want::Clash,
            None if holds(l, t) => is(l),
            None if holds(t, l) => is(t),
            None => Want::Clash,
            Some(b) if b.contains(&0) => Want::Clash,
            Some(b) => match by_line(b, l, t) {
                Lines::Other => Want::Blend(mode),
                Lines::Clash => Want::Clash,
                Lines::Near(bytes) => Want::Either(Some(Node { mode, bytes })),
                Lines::Apart(bytes) => is(&bytes),
            },
        }
    }

    fn paths(&self) -> BTreeSet<&Vec<u8>> {
        [self.base, self.local, self.theirs].into_iter().flat_map(Files::keys).collect()
    }

    /// Whether a path and another need what the disk cannot hold at once: a folder where a file is, or a
    /// place a stranger has. With wishes alone (`strict`), or with every version there is.
    fn entangled(&self, path: &[u8], others: &BTreeSet<Vec<u8>>) -> bool {
        others.iter().any(|o| is_below(o, path) || is_below(path, o))
            || self.strangers.contains_key(path)
            || self.hollow.iter().any(|folder| is_below(folder, path))
            || self.strangers.keys().any(|s| is_below(s, path) || is_below(path, s))
            || self.typed.iter().any(|(t, _)| t == path || is_below(t, path) || is_below(path, t))
    }

    /// Judges an outcome. What is wrong with it, in words.
    pub fn judge(&self, way: &Way, seen: &Outcome) -> Result<(), String> {
        for (path, node) in self.typed {
            if seen.after.get(path) != node.as_ref() && !self.strangers.contains_key(path) {
                return Err(format!("`{}` was typed meanwhile and is gone", escape(path)));
            }
        }
        let mut local = self.local.clone();
        for (path, node) in self.typed.iter().filter(|(p, _)| !self.strangers.contains_key(p)) {
            match node {
                Some(node) => local.insert(path.clone(), node.clone()),
                None => local.remove(path),
            };
        }
        let wiped = !self.base.is_empty() && self.theirs.is_empty();
        if wiped && !way.allow_mass_delete {
            let untouched = seen.after == local && seen.mass_delete;
            return untouched.then_some(()).ok_or_else(|| "an emptied tree was taken".to_owned());
        }
        if seen.mass_delete {
            return Err("few deletions were taken for many".into());
        }
        let wants: Vec<(&Vec<u8>, Want)> =
            self.paths().into_iter().map(|p| (p, self.want(p))).collect();
        // If every wish can be granted at once, none may be refused.
        let wished: BTreeSet<Vec<u8>> = wants
            .iter()
            .filter(|(path, want)| match want {
                Want::Is(node) => node.is_some(),
                _ => self.local.contains_key(*path) || self.theirs.contains_key(*path),
            })
            .map(|(path, _)| (*path).clone())
            .collect();
        let fits = wished.iter().all(|p| !self.entangled(p, &wished));
        let all: BTreeSet<Vec<u8>> = self.paths().into_iter().cloned().collect();
        let certain = wants.iter().any(|(_, w)| *w == Want::Clash);
        if way.policy == Policy::Hold {
            let stopped = seen.after == local;
            let quiet = wants.iter().all(|(p, w)| self.grants(p, w, self.local.get(*p)));
            if certain && !stopped {
                return Err("something was applied in spite of a conflict".into());
            }
            if stopped && !quiet && seen.conflicts.is_empty() && self.typed.is_empty() {
                return Err("nothing was applied, and no conflict was told".into());
            }
            if stopped {
                let may = wants.iter().any(|(_, w)| !matches!(w, Want::Is(_)));
                return (quiet || may || !fits || !self.typed.is_empty())
                    .then_some(())
                    .ok_or_else(|| "nothing was applied without a reason".to_owned());
            }
        }
        for path in seen.after.keys().filter(|p| !all.contains(*p)) {
            if !local.contains_key(path) {
                return Err(format!("`{}` comes from nowhere", escape(path)));
            }
        }
        for (path, want) in &wants {
            if self.typed.iter().any(|(t, _)| t == *path) {
                continue;
            }
            // What may be held back takes no folder's place: then what lies below stays, too.
            let below_held = wants.iter().any(|(above, want)| {
                let theirs = self.theirs.contains_key(*above);
                is_below(path, above) && theirs && !matches!(want, Want::Is(_))
            });
            let free = fits && !below_held || !self.entangled(path, &all);
            self.judge_path(way, seen, path, want, free).map_err(|why| {
                let all = self.versions(path);
                format!("`{}` {why}; {want:?}, fits: {free}; {all:?}", escape(path))
            })?;
        }
        Ok(())
    }

    /// Whether this is what was wished for.
    fn grants(&self, path: &[u8], want: &Want, after: Option<&Node>) -> bool {
        match want {
            Want::Is(node) | Want::Either(node) => after == node.as_ref(),
            Want::Blend(mode) => {
                after.is_some_and(|n| n.mode == *mode) && self.blended(path, after)
            }
            Want::Clash => false,
        }
    }

    fn judge_path(
        &self,
        way: &Way,
        seen: &Outcome,
        path: &Vec<u8>,
        want: &Want,
        free: bool,
    ) -> Result<(), String> {
        let [base, local, theirs] = self.versions(path);
        let after = seen.after.get(path);
        if self.grants(path, want, after) {
            return Ok(());
        }
        if matches!(want, Want::Is(_)) && free {
            return Err(format!("is {after:?}"));
        }
        // From here on it is a clash.
        if !seen.reported.contains(path) {
            return Err(format!("is {after:?}, and no conflict was told"));
        }
        let links = |start: &[u8]| {
            theirs.is_some_and(|n| n.mode == Mode::Link && n.bytes.starts_with(start))
        };
        if way.policy == Policy::Theirs && !links(b"/") {
            if after == theirs {
                return Ok(());
            }
            if free && !links(b"d") || after != local {
                return Err(format!("is {after:?}, not theirs"));
            }
        }
        if way.policy == Policy::Merge
            && after != local
            && after.is_some_and(|n| n.bytes.windows(7).any(|w| w == b"<<<<<<<"))
        {
            let whole = self.blended(path, after);
            return whole.then_some(()).ok_or(format!("lacks a side: {after:?}"));
        }
        if after != local {
            return Err(format!("is {after:?}, neither ours nor theirs nor both"));
        }
        let kept = |node: &Node| seen.asides.iter().any(|(p, b)| p == path && *b == node.bytes);
        if way.policy != Policy::Hold && theirs != base && theirs.is_some_and(|n| !kept(n)) {
            return Err("stayed ours, and theirs was not put aside".into());
        }
        Ok(())
    }

    /// Whether a text has every line either side wrote, and none that nobody did.
    pub fn blended(&self, path: &[u8], after: Option<&Node>) -> bool {
        let [base, local, theirs] = self.versions(path);
        let lines = |node: Option<&Node>| -> BTreeSet<Vec<u8>> {
            let bytes = node.map(|n| n.bytes.clone()).unwrap_or_default();
            let trim = |l: &[u8]| l.strip_suffix(b"\n").unwrap_or(l).to_vec();
            bytes.split_inclusive(|b| *b == b'\n').map(trim).collect()
        };
        let (base, local, theirs, after) = (lines(base), lines(local), lines(theirs), lines(after));
        let is_mark = |line: &[u8]| {
            [&b"<<<<<<<"[..], b"=======", b">>>>>>>"].iter().any(|mark| line.starts_with(mark))
        };
        local.difference(&base).all(|l| after.contains(l))
            && theirs.difference(&base).all(|l| after.contains(l))
            && after.iter().all(|l| local.contains(l) || theirs.contains(l) || is_mark(l))
    }
}

/// Whether all lines of `small` are in `large`, in their order.
pub fn holds(large: &[u8], small: &[u8]) -> bool {
    let mut rest = large.split_inclusive(|b| *b == b'\n');
    small.split_inclusive(|b| *b == b'\n').all(|line| rest.any(|l| l == line))
}

enum Lines {
    /// They differ in more than some lines.
    Other,
    Clash,
    /// Both changed lines that touch: one hunk to some, two to others.
    Near(Vec<u8>),
    Apart(Vec<u8>),
}

/// The merge of three texts of which each has as many lines as the others.
fn by_line(base: &[u8], local: &[u8], theirs: &[u8]) -> Lines {
    let [b, l, t]: [Vec<&[u8]>; 3] =
        [base, local, theirs].map(|text| text.split_inclusive(|c| *c == b'\n').collect());
    if b.len() != l.len() || b.len() != t.len() || b.is_empty() {
        return Lines::Other;
    }
    // Numbered lines: a line that stays where it was is the same line.
    if b.iter().chain(&l).chain(&t).any(|line| !line.first().is_some_and(u8::is_ascii_digit)) {
        return Lines::Other;
    }
    let (mut merged, mut near) = (Vec::new(), false);
    for n in 0..b.len() {
        let (ours, other) = (l[n] != b[n], t[n] != b[n]);
        if ours && other && l[n] != t[n] {
            return Lines::Clash;
        }
        merged.extend_from_slice(if ours { l[n] } else { t[n] });
        let touches = |text: &[&[u8]]| {
            [n.wrapping_sub(1), n, n + 1].iter().any(|k| text.get(*k).is_some_and(|x| *x != b[*k]))
        };
        near |= ours && touches(&t);
    }
    if near { Lines::Near(merged) } else { Lines::Apart(merged) }
}
