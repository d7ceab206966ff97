//! Whole worktrees as values, and what people and agents do to them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sandbox_coder::rel_path::escape;
use sandbox_coder::tree::Mode;

use crate::support::dice::Dice;
use crate::support::repo::listing;

/// What a path holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    pub mode: Mode,
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.mode, escape(&self.bytes))
    }
}

/// Every file and link by its path.
pub type Files = BTreeMap<Vec<u8>, Node>;

/// What git is told to ignore in the worktree, and what the user ignores beside that.
pub const IGNORE: &[u8] = b"*.ign\nign/\n";
pub const EXCLUDE: &[u8] = b"*.loc\n";
pub const RULES: &[u8] = b".gitignore";

/// What the worktree's own rules ignore.
pub fn ignored_by_rules(path: &[u8]) -> bool {
    path.starts_with(b"ign/") || path.split(|b| *b == b'/').any(|name| name.ends_with(b".ign"))
}

pub fn ignored(path: &[u8]) -> bool {
    ignored_by_rules(path) || path.split(|b| *b == b'/').any(|name| name.ends_with(b".loc"))
}

/// Few names, so that the two sides meet; odd ones, which both sides of the wire have to carry.
const NAMES: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"d",
    b"d/x",
    b"d/y",
    b"d/e",
    b"d/e/z",
    b"d-x",
    b"d.x/f",
    b"e/x",
    b"e/x/deep",
    b"ign",
    b"-rf",
    b" lead",
    b"q'\"$x`y`",
    b"new\nline",
    b"latin-\xff\xfe",
    b"*",
    b"x.ign",
    b"d/k.ign",
    b"ign/f",
    b"k.loc",
    b"d/k.loc",
];

const LINES: usize = 9;

/// Writes new things into trees; no content but one is ever written twice.
pub struct Author<'d> {
    pub dice: &'d mut Dice,
    pub name: char,
    pub count: &'d mut u64,
}

impl Author<'_> {
    fn word(&mut self) -> String {
        *self.count += 1;
        format!("{}{}", self.name, self.count)
    }

    fn text(&mut self) -> Vec<u8> {
        let word = self.word();
        (0..LINES).flat_map(|n| format!("{n} {word}\n").into_bytes()).collect()
    }

    fn node(&mut self) -> Node {
        let mode = if self.dice.once_in(5) { Mode::Exec } else { Mode::File };
        let bytes = match self.dice.below(12) {
            0 => format!("\0binary {}", self.word()).into_bytes(),
            1 => b"the same\n".to_vec(),
            2 => format!("the same\nand {}\n", self.word()).into_bytes(),
            3 => Vec::new(),
            4 => {
                let target = match self.dice.below(4) {
                    0 => format!("/outside/{}", self.word()),
                    1 => "d".to_owned(),
                    _ => format!("nowhere-{}", self.word()),
                };
                return Node { mode: Mode::Link, bytes: target.into_bytes() };
            }
            5 => self.word().repeat(self.dice.below(3000) as usize).into_bytes(),
            _ => self.text(),
        };
        Node { mode, bytes }
    }

    pub fn tree(&mut self) -> Files {
        let mut files = Files::new();
        files.insert(RULES.to_vec(), Node { mode: Mode::File, bytes: IGNORE.to_vec() });
        for _ in 0..2 + self.dice.below(12) {
            let (path, node) = (self.dice.pick(NAMES).to_vec(), self.node());
            put(&mut files, path, node);
        }
        files
    }

    /// One thing people do, and what it was.
    pub fn edit(&mut self, files: &mut Files) -> String {
        let known: Vec<Vec<u8>> = files.keys().filter(|p| *p != RULES).cloned().collect();
        let fresh = self.dice.pick(NAMES).to_vec();
        let path = if known.is_empty() { fresh.clone() } else { self.dice.pick(&known).clone() };
        let Some(node) = files.get(&path).cloned() else {
            let node = self.node();
            put(files, path.clone(), node);
            return format!("adds {}", escape(&path));
        };
        let what = match self.dice.below(16) {
            0..=5 if node.mode != Mode::Link => {
                let line = self.dice.below(LINES as u64) as usize;
                let bytes = with_line(&node.bytes, line, &self.word());
                files.insert(path.clone(), Node { bytes, ..node });
                format!("changes line {line} of")
            }
            6 => {
                files.remove(&path);
                "removes".into()
            }
            7 => {
                files.remove(&path);
                put(files, fresh.clone(), node);
                format!("moves to {}:", escape(&fresh))
            }
            8 | 9 if node.mode != Mode::Link => {
                let mode = if node.mode == Mode::File { Mode::Exec } else { Mode::File };
                files.insert(path.clone(), Node { mode, ..node });
                "flips the mode of".into()
            }
            10 => {
                let below = [&path[..], b"/in"].concat();
                let node = self.node();
                put(files, below, node);
                "makes a folder of".into()
            }
            11 if path.contains(&b'/') => {
                let cut = path.iter().position(|b| *b == b'/').unwrap_or_default();
                let node = self.node();
                put(files, path[..cut].to_vec(), node);
                "makes a file of the folder above".into()
            }
            12 | 13 => {
                let node = self.node();
                files.insert(path.clone(), node);
                "rewrites".into()
            }
            _ => {
                let node = self.node();
                put(files, fresh.clone(), node);
                format!("writes {}, not", escape(&fresh))
            }
        };
        format!("{what} {}", escape(&path))
    }
}

fn with_line(text: &[u8], line: usize, word: &str) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> =
        text.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    if line < lines.len() {
        lines[line] = format!("{line} {word}\n").into_bytes();
    } else {
        lines.push(format!("more {word}\n").into_bytes());
    }
    lines.concat()
}

/// Whether `path` lies below `dir`.
pub fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.len() > dir.len() && path.starts_with(dir) && path[dir.len()] == b'/'
}

/// Writes a path; a file above it or a folder in its place goes, as it would by hand.
pub fn put(files: &mut Files, path: Vec<u8>, node: Node) {
    files.retain(|p, _| !is_below(&path, p) && !is_below(p, &path));
    files.insert(path, node);
}

/// Turns what lies on the disk from one value into the other. `own` is told of every path it makes.
pub fn lay(top: &Path, from: &Files, to: &Files, prune: bool, own: &dyn Fn(&Path)) {
    let at = |path: &[u8]| top.join(OsStr::from_bytes(path));
    for (path, node) in from {
        let stays =
            to.get(path).is_some_and(|n| (n.mode == Mode::Link) == (node.mode == Mode::Link));
        if stays && node.mode != Mode::Link || to.get(path) == Some(node) {
            continue;
        }
        std::fs::remove_file(at(path)).unwrap();
        let mut dir = at(path);
        while prune && dir.pop() && dir != top && std::fs::remove_dir(&dir).is_ok() {}
    }
    for (path, node) in to.iter().filter(|(path, node)| from.get(*path) != Some(node)) {
        let at = at(path);
        make_dirs(at.parent().unwrap(), own);
        if at.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            std::fs::remove_dir_all(&at).unwrap();
        }
        if node.mode == Mode::Link {
            symlink(OsStr::from_bytes(&node.bytes), &at).unwrap();
        } else {
            std::fs::write(&at, &node.bytes).unwrap();
            let bits = if node.mode == Mode::Exec { 0o755 } else { 0o644 };
            std::fs::set_permissions(&at, PermissionsExt::from_mode(bits)).unwrap();
        }
        own(&at);
    }
}

fn make_dirs(dir: &Path, own: &dyn Fn(&Path)) {
    let missing: Vec<PathBuf> =
        dir.ancestors().take_while(|d| !d.exists()).map(Path::to_owned).collect();
    for dir in missing.iter().rev() {
        std::fs::create_dir(dir).unwrap();
        own(dir);
    }
}

/// What lies on the disk, but for `.git` at the top and what was put aside.
pub fn read(top: &Path) -> Files {
    let all = listing(top).into_iter().filter(|(p, ..)| !p.starts_with(b".sandbox-coder/"));
    all.map(|(path, kind, bytes)| {
        let mode = match kind {
            'l' => Mode::Link,
            'x' => Mode::Exec,
            _ => Mode::File,
        };
        (path, Node { mode, bytes })
    })
    .collect()
}

/// The folders that hold nothing at all.
pub fn hollow(top: &Path) -> Vec<Vec<u8>> {
    let (mut found, mut open) = (Vec::new(), vec![top.to_owned()]);
    while let Some(dir) = open.pop() {
        let names: Vec<PathBuf> =
            std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        if names.is_empty() {
            found.push(dir.strip_prefix(top).unwrap().as_os_str().as_bytes().to_vec());
        }
        let folder = |p: &PathBuf| p.symlink_metadata().unwrap().is_dir() && !p.ends_with(".git");
        open.extend(names.into_iter().filter(folder));
    }
    found
}

/// The paths that differ, for a failed comparison.
pub fn differences(now: &Files, wanted: &Files) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = now.keys().chain(wanted.keys()).collect();
    paths
        .into_iter()
        .filter(|p| now.get(*p) != wanted.get(*p))
        .map(|p| format!("{}: is {:?}, should be {:?}", escape(p), now.get(p), wanted.get(p)))
        .collect()
}
