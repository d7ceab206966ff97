//! Pure: base and now, and what has to travel between them.

use std::collections::BTreeSet;

use crate::rel_path::RelPath;
use crate::tree::{Entry, Mode, Tree, changes};

/// The least that has to travel to turn one tree into another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Files and links to write, in path order.
    pub writes: Vec<(RelPath, Entry)>,
    /// Those of `writes` where nothing was: what lies there over there was never agreed on.
    pub added: Vec<RelPath>,
    /// Files and links to remove; also those that are written anew as another type.
    pub deletes: Vec<RelPath>,
    /// Folders that become a file or link: removed with all they hold.
    pub replaced: Vec<RelPath>,
    /// Folders that may be empty afterwards, the deepest first.
    pub emptied: Vec<RelPath>,
    /// Folders in which something is touched.
    pub touched: Vec<RelPath>,
    /// Paths that disappear for good, for the report.
    pub gone: usize,
}

/// What turns `from` into `to`. Repositories inside the repository do not travel: neither tree has them.
pub fn delta(from: &Tree, to: &Tree) -> Delta {
    let mut delta = Delta::default();
    let mut touched = BTreeSet::new();
    let mut emptied = BTreeSet::new();
    for change in changes(from, to) {
        touched.extend(change.path.ancestors());
        if let Some(before) = change.before {
            let retyped = change
                .after
                .is_some_and(|after| (after.mode == Mode::Link) != (before.mode == Mode::Link));
            if change.after.is_none() || retyped {
                delta.deletes.push(change.path.clone());
            }
        }
        match change.after {
            Some(after) => {
                if change.before.is_none() && holds_folder(from, &change.path) {
                    delta.replaced.push(change.path.clone());
                } else if change.before.is_none() {
                    delta.added.push(change.path.clone());
                }
                delta.writes.push((change.path, after));
            }
            None => {
                delta.gone += 1;
                emptied.extend(change.path.ancestors().filter(|dir| !holds_folder(to, dir)));
            }
        }
    }
    // What becomes a file is removed as a whole; there is no folder left to look at.
    emptied.retain(|dir| !to.contains_key(dir));
    delta.emptied = emptied.into_iter().collect();
    delta.emptied.sort_by_key(|dir| std::cmp::Reverse(dir.components().count()));
    delta.touched = touched.into_iter().collect();
    delta
}

/// Whether `tree` has anything below `dir`.
fn holds_folder(tree: &Tree, dir: &RelPath) -> bool {
    tree.range(dir.clone()..)
        .find(|(p, _)| *p != dir && !precedes_children(p, dir))
        .is_some_and(|(p, _)| p.is_below(dir))
}

/// Names such as `dir-x` and `dir.x` sort between `dir` and `dir/…`.
fn precedes_children(path: &RelPath, dir: &RelPath) -> bool {
    let (path, dir) = (path.as_bytes(), dir.as_bytes());
    path.starts_with(dir) && path.get(dir.len()).is_some_and(|b| *b < b'/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Oid;
    use proptest::prelude::*;

    /// What the script over there does, on a tree.
    fn replay(mut tree: Tree, delta: &Delta) -> Tree {
        for path in &delta.deletes {
            tree.remove(path);
        }
        for path in &delta.replaced {
            tree.retain(|p, _| p != path && !p.is_below(path));
        }
        for (path, entry) in &delta.writes {
            assert!(!tree.keys().any(|p| p.is_below(path)), "{path} is still a folder");
            assert!(path.ancestors().all(|a| !tree.contains_key(&a)), "{path} lies below a file");
            tree.insert(path.clone(), *entry);
        }
        tree
    }

    fn entry() -> impl Strategy<Value = Entry> {
        (prop::sample::select(vec![Mode::File, Mode::Exec, Mode::Link]), 0u8..3)
            .prop_map(|(mode, n)| Entry { mode, id: Oid([n; 20]) })
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let path = prop::collection::vec(prop::sample::select(vec!["a", "b", "a-", "a.b"]), 1..4)
            .prop_map(|parts| RelPath::parse(parts.join("/").as_bytes()).expect("plain names"));
        prop::collection::vec((path, entry()), 0..12).prop_map(|entries| {
            let mut tree = Tree::new();
            for (path, entry) in entries {
                if path.ancestors().all(|a| !tree.contains_key(&a))
                    && !tree.keys().any(|p: &RelPath| p.is_below(&path))
                {
                    tree.insert(path, entry);
                }
            }
            tree
        })
    }

    proptest! {
        #[test]
        fn replaying_a_delta_reaches_the_target(from in tree(), to in tree()) {
            prop_assert_eq!(replay(from.clone(), &delta(&from, &to)), to);
        }

        #[test]
        fn emptied_folders_hold_nothing_in_the_target(from in tree(), to in tree()) {
            for dir in delta(&from, &to).emptied {
                prop_assert!(!to.contains_key(&dir) && !to.keys().any(|p| p.is_below(&dir)));
            }
        }
    }
}
