//! A name: what is accepted stays inside by every rule git has, on every disk git knows.

use std::cell::RefCell;
use std::path::Component;

use git2::{Index, IndexEntry, IndexTime, Repository};
use sandbox_coder::rel_path::{RelPath, escape};
use sandbox_coder::sync::threats::names;

/// Code points HFS+ leaves out when it compares names, as git lists them.
fn hfs_ignores(c: char) -> bool {
    matches!(c as u32, 0x200c..=0x200f | 0x202a..=0x202e | 0x206a..=0x206f | 0xfeff)
}

/// Whether HFS+ opens the repository's folder under this component.
fn is_hfs_dotgit(component: &[u8]) -> bool {
    let text = String::from_utf8_lossy(component);
    let seen: String = text.chars().filter(|c| !hfs_ignores(*c)).collect();
    seen.to_lowercase() == ".git"
}

/// Whether NTFS does: short names, what follows a colon, dots and spaces at the end.
fn is_ntfs_dotgit(component: &[u8]) -> bool {
    let component = component.to_ascii_lowercase();
    let head = component.split(|b| matches!(b, b':' | b'\\')).next().unwrap_or_default();
    let end = head.iter().rposition(|b| !matches!(b, b'.' | b' ')).map_or(0, |at| at + 1);
    matches!(&head[..end], b".git" | b"git~1")
}

thread_local! {
    /// libgit2 with both protections on: a second opinion.
    static INDEX: RefCell<(Repository, Index)> = RefCell::new(second_opinion());
}

fn second_opinion() -> (Repository, Index) {
    // The entries are of objects that nobody has.
    git2::opts::strict_object_creation(false);
    let dir = tempfile::tempdir().unwrap();
    let repo = Repository::init_bare(dir.path()).unwrap();
    let mut config = repo.config().unwrap();
    config.set_bool("core.protectHFS", true).unwrap();
    config.set_bool("core.protectNTFS", true).unwrap();
    let index = repo.index().unwrap();
    (repo, index)
}

fn git_takes(path: &[u8]) -> bool {
    let zero = IndexTime::new(0, 0);
    let id = git2::Oid::from_bytes(&[1; 20]).unwrap();
    let entry = IndexEntry {
        ctime: zero,
        mtime: zero,
        dev: 0,
        ino: 0,
        mode: 0o100644,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.to_vec(),
    };
    INDEX.with_borrow_mut(|(_, index)| {
        index.clear().unwrap();
        index.add(&entry).is_ok()
    })
}

/// Insists that an accepted name is harmless.
pub fn inside(path: &RelPath) {
    let raw = path.as_bytes();
    assert!(!raw.is_empty() && !path.as_path().is_absolute() && !raw.contains(&0));
    assert!(
        path.as_path().components().all(|c| matches!(c, Component::Normal(_))),
        "the system reads it otherwise"
    );
    let parts: Vec<&[u8]> = path.components().collect();
    assert_eq!(parts.join(&b'/'), raw);
    assert_eq!(path.as_path().components().count(), parts.len());
    let up: Vec<_> = path.ancestors().collect();
    assert_eq!(up.len(), parts.len() - 1);
    assert!(up.iter().all(|dir| path.is_below(dir) && !dir.is_below(path)));
}

/// Insists that a printed name is one line that no terminal obeys.
pub fn prints(raw: &[u8]) {
    let printed = escape(raw);
    assert!(
        !printed.chars().any(|c| c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
    );
}

pub fn check(raw: &[u8]) {
    prints(raw);
    let _ = names::folded(raw);
    if let Ok(path) = RelPath::parse(raw) {
        inside(&path);
        assert_eq!(path.as_bytes(), raw, "the name changed");
        assert_eq!(RelPath::parse(path.as_bytes()).as_ref(), Ok(&path));
    }
    let Ok(path) = names::check(raw) else { return };
    assert_eq!(path.as_bytes(), raw, "the name changed");
    assert!(raw.len() <= 4096 && path.components().count() <= 128 && !raw.contains(&b'\\'));
    for component in path.components() {
        assert!(component.len() <= 255);
        assert!(!is_hfs_dotgit(component), "HFS+ opens the repository's folder");
        assert!(!is_ntfs_dotgit(component), "NTFS opens the repository's folder");
    }
    assert!(git_takes(raw), "git refuses what was accepted");
    let _ = names::oddity(&path);
    let folded = names::folded(raw);
    assert_eq!(names::folded(&folded), folded, "folding twice is folding once");
}
