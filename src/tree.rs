//! Snapshots and their entries: git's view of a tree, raw bytes only.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::rel_path::RelPath;

/// A git object id, SHA-1. Both sides compute the same id from the same bytes, so equality is one compare.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(pub [u8; 20]);

/// The text is not forty lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a git object id")]
pub struct NotAnOid;

impl Oid {
    /// The id of the tree without entries.
    pub const EMPTY_TREE: Oid = Oid([
        0x4b, 0x82, 0x5d, 0xc6, 0x42, 0xcb, 0x6e, 0xb9, 0xa0, 0x60, 0xe5, 0x4b, 0xf8, 0xd6, 0x92,
        0x88, 0xfb, 0xee, 0x49, 0x04,
    ]);
    /// The id of the empty file.
    pub const EMPTY_BLOB: Oid = Oid([
        0xe6, 0x9d, 0xe2, 0x9b, 0xb2, 0xd1, 0xd6, 0x43, 0x4b, 0x8b, 0x29, 0xae, 0x77, 0x5a, 0xd8,
        0xc2, 0xe4, 0x8c, 0x53, 0x91,
    ]);
}

impl FromStr for Oid {
    type Err = NotAnOid;

    fn from_str(text: &str) -> Result<Self, NotAnOid> {
        let mut id = [0; 20];
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(NotAnOid);
        }
        hex::decode_to_slice(text, &mut id).map_err(|_| NotAnOid)?;
        Ok(Self(id))
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an entry is. Nothing else can be expressed: no set-id bits, devices, fifos or owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// A regular file, 100644.
    File,
    /// A regular file that may be executed, 100755.
    Exec,
    /// A symbolic link, 120000; its content is the target.
    Link,
    /// A repository inside the repository, 160000: path and commit only, never its content.
    Gitlink,
}

impl Mode {
    /// Reads git's octal spelling; anything but the four known modes is `None`.
    pub fn from_git(octal: &[u8]) -> Option<Self> {
        match octal {
            b"100644" => Some(Self::File),
            b"100755" => Some(Self::Exec),
            b"120000" => Some(Self::Link),
            b"160000" => Some(Self::Gitlink),
            _ => None,
        }
    }

    /// Git's octal spelling.
    pub fn as_git(self) -> &'static str {
        match self {
            Self::File => "100644",
            Self::Exec => "100755",
            Self::Link => "120000",
            Self::Gitlink => "160000",
        }
    }

    /// Whether it is a regular file of either kind.
    pub fn is_regular(self) -> bool {
        matches!(self, Self::File | Self::Exec)
    }
}

/// One path's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What it is.
    pub mode: Mode,
    /// The id of its bytes (of the commit, for a gitlink).
    pub id: Oid,
}

/// A whole snapshot: every path with its entry, in git's byte order of full paths.
pub type Tree = BTreeMap<RelPath, Entry>;

/// One path that differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: RelPath,
    /// What was there; `None` if the path is new.
    pub before: Option<Entry>,
    /// What is there now; `None` if it was removed.
    pub after: Option<Entry>,
}

/// The differences that lead from one tree to another, in path order.
pub fn changes(from: &Tree, to: &Tree) -> Vec<Change> {
    let mut out = Vec::new();
    let (mut a, mut b) = (from.iter().peekable(), to.iter().peekable());
    loop {
        use std::cmp::Ordering::*;
        let order = match (a.peek(), b.peek()) {
            (None, None) => return out,
            (Some(_), None) => Less,
            (None, Some(_)) => Greater,
            (Some((pa, _)), Some((pb, _))) => pa.cmp(pb),
        };
        let before = if order != Greater { a.next() } else { None };
        let after = if order != Less { b.next() } else { None };
        let (path, _) = before.or(after).expect("one side has an entry");
        let (before, after) = (before.map(|(_, e)| *e), after.map(|(_, e)| *e));
        if before != after {
            out.push(Change { path: path.clone(), before, after });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, u8)]) -> Tree {
        let entry = |n| Entry { mode: Mode::File, id: Oid([n; 20]) };
        entries.iter().map(|(p, n)| (RelPath::parse(p.as_bytes()).unwrap(), entry(*n))).collect()
    }

    #[test]
    fn changes_name_each_path_that_differs_once() {
        let (from, to) =
            (tree(&[("a", 1), ("b", 1), ("d", 1)]), tree(&[("b", 2), ("c", 1), ("d", 1)]));
        let seen: Vec<_> = changes(&from, &to)
            .iter()
            .map(|c| (c.path.to_string(), c.before.is_some(), c.after.is_some()))
            .collect();
        assert_eq!(
            seen,
            [("a".into(), true, false), ("b".into(), true, true), ("c".into(), false, true)]
        );
    }

    #[test]
    fn ids_are_forty_lower_case_digits() {
        let text = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        assert_eq!(text.parse(), Ok(Oid::EMPTY_TREE));
        assert_eq!(Oid::EMPTY_TREE.to_string(), text);
        for bad in [
            "",
            "4b",
            &text.to_uppercase(),
            &format!("{text}0"),
            "zz825dc642cb6eb9a060e54bf8d69288fbee4904",
        ] {
            assert_eq!(bad.parse::<Oid>(), Err(NotAnOid));
        }
    }
}
