//! Disk to snapshot: the tree id of the raw bytes, taken by git in the private repository.
//!
//! The private index is seeded once from the user's and kept from then on, so that stat data vouch for most files
//! and git reads only what changed. The user's index is read, never written.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use sha2::{Digest, Sha256};

use super::git::{feed, git_command, joined, must, output};
use super::ignores::is_rules;
use super::index::Index;
use super::look::look;
use super::repo::Repo;
use super::seed::seed;
use super::{Error, guards};
use crate::rel_path::RelPath;
use crate::tree::Oid;

/// What is captured beyond what git says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Globs of ignored paths that are sent on purpose.
    pub include: Vec<String>,
    /// Globs of paths that are not sent.
    pub exclude: Vec<String>,
    /// Refuse more bytes than this in untracked files.
    pub max_size: u64,
    /// Refuse more untracked files than this.
    pub max_files: u64,
}

/// A snapshot of the worktree.
#[derive(Debug, Clone)]
pub struct Capture {
    /// Its tree, in the private repository.
    pub tree: Oid,
    /// What was noticed on the way, for the report.
    pub notes: Vec<Note>,
}

/// Something the user should know about what is not sent, or is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A submodule or another repository inside the worktree: left out.
    Repository(RelPath),
    /// A repository without a commit inside the worktree: left out.
    NestedWithoutCommit(RelPath),
    /// A pipe, socket or device: left out.
    Special(RelPath),
    /// An untracked file that looks like a secret: sent.
    LooksSecret(RelPath),
    /// Git is in the middle of a merge or the like: the files are sent as they are, markers included.
    Unfinished(&'static str),
}

impl Note {
    /// Whether it names something that was not sent.
    pub fn is_left_out(&self) -> bool {
        matches!(self, Note::Repository(_) | Note::NestedWithoutCommit(_) | Note::Special(_))
    }
}

/// Takes the snapshot.
pub fn capture(repo: &Repo, options: &Options) -> Result<Capture, Error> {
    match take(repo, options) {
        // Objects that are the user's vanish when git tidies up there; the files still have their bytes.
        Err(Error::Git { what: "write-tree", words }) if words.contains("invalid object") => {
            forget(repo);
            take(repo, options)
        }
        taken => taken,
    }
}

/// Forgets what is known of the files: the next capture reads them all, and stores what is missing.
pub fn forget(repo: &Repo) {
    let _ = std::fs::remove_file(repo.private_dir().join("index"));
}

fn take(repo: &Repo, options: &Options) -> Result<Capture, Error> {
    const TRIES: usize = 3;
    let globs = Globs::new(options)?;
    repo.prepare()?;
    let stamp = stamp(repo, options);
    let stamp_file = repo.private_dir().join("index.stamp");
    if !Index::is_known(&repo.private_dir().join("index")) {
        let _ = std::fs::remove_file(&stamp_file);
        seed(repo)?;
    }
    let folders_file = repo.private_dir().join("folders");
    let folders = guards::Folders::load(&folders_file);
    // Mostly nothing has changed: then the tree is there when the disk has been looked at.
    let (unchanged, found) = std::thread::scope(|scope| {
        let unchanged = scope.spawn(|| write_tree(repo));
        let found = walk(repo, &globs, &folders);
        (unchanged.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), found)
    });
    let mut found = found?;
    let mut tries = 1;
    let mut notes = loop {
        let notes = notes(repo, &found, options)?;
        match update(repo, &found) {
            Err(Error::Git { words, .. }) if is_moving(&words) => {
                if tries == TRIES {
                    return Err(Error::Moving { words });
                }
            }
            other => break other.map(|()| notes)?,
        }
        tries += 1;
        found = walk(repo, &globs, &folders)?;
    };
    let special = folders.settle(&folders_file, repo.top(), &found.folders, &found.fresh)?;
    let special = found.special.iter().chain(&special);
    notes.extend(special.filter_map(|path| RelPath::parse(path).ok()).map(Note::Special));
    let known = std::fs::read_to_string(&stamp_file).ok();
    let settled = known.as_deref() == Some(&stamp) && globs.include.is_none() && !found.rules;
    if !settled {
        settle_ignored(repo, &globs)?;
        fs_err::write(&stamp_file, &stamp).map_err(|e| Error::io(&stamp_file, e))?;
    }
    let tree = if found.is_nothing() && settled { unchanged? } else { write_tree(repo)? };
    Ok(Capture { tree, notes })
}

fn write_tree(repo: &Repo) -> Result<Oid, Error> {
    let out = must("write-tree", repo.private_git().arg("write-tree"))?;
    let text = String::from_utf8_lossy(&out);
    let bad = || Error::Git { what: "write-tree", words: format!("`{text}` is not a tree id") };
    text.trim().parse().map_err(|_| bad())
}

/// What differs, or may differ, between the private index and the disk.
#[derive(Default)]
struct Found {
    /// May have another content or mode.
    doubtful: Vec<Vec<u8>>,
    /// The last change among them is so long ago that the next one would show.
    at_rest: bool,
    /// No longer a file or link; a pipe or a folder may lie there, or a link above it.
    gone: Vec<Vec<u8>>,
    /// Not in the index, and not ignored.
    fresh: Vec<Vec<u8>>,
    /// Repositories inside: they never travel, so the index has no entry for them either.
    nested: Vec<Vec<u8>>,
    /// Pipes, sockets and devices.
    special: Vec<Vec<u8>>,
    /// The folders that are there.
    folders: Vec<Vec<u8>>,
    /// An ignore file is among what differs.
    rules: bool,
}

impl Found {
    fn is_nothing(&self) -> bool {
        self.doubtful.is_empty() && self.gone.is_empty() && self.fresh.is_empty()
    }
}

/// One look at the disk: what the index does not vouch for, and which of the names it does not have count.
fn walk(repo: &Repo, globs: &Globs, folders: &guards::Folders) -> Result<Found, Error> {
    let file = repo.private_dir().join("index");
    let index = Index::read(&file).map_err(|e| Error::io(&file, e))?;
    let entries =
        index.entries().ok_or_else(|| Error::io(&file, io::ErrorKind::InvalidData.into()))?;
    let look = look(repo.top(), &index, &entries, folders.known(), repo.file_mode())?;
    let mut found = Found {
        rules: look.doubtful.iter().chain(&look.gone).any(|path| is_rules(path)),
        doubtful: look.doubtful,
        at_rest: is_past(look.latest),
        gone: look.gone,
        special: look.special,
        folders: look.folders,
        ..Found::default()
    };
    if look.unknown.is_empty() {
        return Ok(found);
    }
    let mut list = repo.private_git();
    list.args(["--literal-pathspecs", "ls-files", "-z", "-o", "--exclude-standard", "--"]);
    if let Some(paths) = few(&look.unknown) {
        list.args(paths);
    }
    for path in must("ls-files", &mut list)?.split(|b| *b == 0).filter(|path| !path.is_empty()) {
        found.rules |= is_rules(path);
        if let Some(dir) = path.strip_suffix(b"/") {
            found.nested.push(dir.to_vec());
        } else if !globs.exclude.is_match(OsStr::from_bytes(path)) {
            found.fresh.push(path.to_vec());
        }
    }
    Ok(found)
}

/// The paths as arguments, if they are so few that git finds them faster than it looks at everything. Without
/// a name the top itself is meant.
fn few(paths: &[Vec<u8>]) -> Option<impl Iterator<Item = &OsStr>> {
    let bytes: usize = paths.iter().map(|path| path.len() + 1).sum();
    let few = paths.len() <= 64 && bytes <= 32 << 10 && !paths.iter().any(Vec::is_empty);
    few.then(|| paths.iter().map(|path| OsStr::from_bytes(path)))
}

/// Whether that second is so long over that a change now would have another one, on any disk.
fn is_past(seconds: i64) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.is_ok_and(|now| i64::try_from(now.as_secs()).is_ok_and(|now| seconds + 3 <= now))
}

/// What the user should know of it. Too much is refused, before anything is read.
fn notes(repo: &Repo, found: &Found, options: &Options) -> Result<Vec<Note>, Error> {
    let mut notes = Vec::new();
    notes.extend(guards::unfinished(repo).map(Note::Unfinished));
    notes.extend(found.nested.iter().filter_map(|path| nested_note(repo, path)));
    notes.extend(guards::untracked(repo, &found.fresh, options)?);
    Ok(notes)
}

/// Whether a file or link lies at `path` itself, not beyond a link.
fn holds_file(top: &Path, path: &[u8]) -> bool {
    let kind = |path: &[u8]| top.join(OsStr::from_bytes(path)).symlink_metadata();
    kind(path).is_ok_and(|m| m.is_file() || m.is_symlink())
        && memchr::memchr_iter(b'/', path)
            .all(|cut| kind(&path[..cut]).is_ok_and(|m| !m.is_symlink()))
}

/// Brings the private index up to what was found: git compares, and reads what it must.
fn update(repo: &Repo, found: &Found) -> Result<(), Error> {
    if !found.gone.is_empty() {
        let mut remove = repo.private_git();
        remove.args(["update-index", "-z", "--force-remove", "--stdin"]);
        feed("update-index", &mut remove, &joined(&found.gone))?;
    }
    if found.doubtful.is_empty() && found.fresh.is_empty() {
        return Ok(());
    }
    // A file may take the place of a folder, and the reverse; one may also vanish just now.
    let mut add = repo.private_git();
    add.args(["update-index", "-z", "--add", "--remove", "--replace"]);
    if found.at_rest {
        // Also when none has changed: a later index can vouch for them.
        add.arg("--force-write-index");
    }
    let paths = [joined(&found.doubtful), joined(&found.fresh)].concat();
    feed("update-index", add.arg("--stdin"), &paths)
}

/// Git's words for a file that changed between its size being asked and its content being read.
fn is_moving(words: &str) -> bool {
    ["short read", "unstable object source", "file changed"].iter().any(|w| words.contains(w))
}

fn nested_note(repo: &Repo, path: &[u8]) -> Option<Note> {
    let dir = repo.top().join(OsStr::from_bytes(path));
    let out = output(git_command(&dir).args(["rev-parse", "-q", "--verify", "HEAD"]));
    let path = RelPath::parse(path).ok()?;
    Some(if out.is_ok_and(|out| out.ok) {
        Note::Repository(path)
    } else {
        Note::NestedWithoutCommit(path)
    })
}

struct Globs {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Globs {
    fn new(options: &Options) -> Result<Self, Error> {
        let include =
            if options.include.is_empty() { None } else { Some(globs(&options.include)?) };
        Ok(Self { include, exclude: globs(&options.exclude)? })
    }
}

fn globs(texts: &[String]) -> Result<GlobSet, Error> {
    let mut set = GlobSetBuilder::new();
    for text in texts {
        let bad = |e: globset::Error| Error::BadGlob { glob: text.clone(), source: e };
        let plain = text.trim_end_matches('/');
        // As in an ignore file: a pattern names the thing itself and all below it.
        for pattern in [plain.to_owned(), format!("{plain}/**")] {
            set.add(GlobBuilder::new(&pattern).literal_separator(true).build().map_err(bad)?);
        }
    }
    set.build().map_err(|source| Error::BadGlob { glob: texts.join(","), source })
}

/// Changes when the user's index, what the user ignores or what we are asked for changes: only then, or with an
/// ignore file of the worktree, paths that git ignores can have become tracked, or ceased to be.
fn stamp(repo: &Repo, options: &Options) -> String {
    let mut hash = Sha256::new();
    for file in [repo.git_dir().join("index"), repo.private_dir().join("info/exclude")] {
        if let Ok(meta) = std::fs::metadata(file) {
            let (written, part) = (meta.mtime(), meta.mtime_nsec());
            hash.update(format!("{} {written} {part} {}", meta.size(), meta.ino()));
        }
        hash.update([0]);
    }
    for (mark, texts) in [(b'+', &options.include), (b'-', &options.exclude)] {
        for text in texts {
            hash.update([0, mark]);
            hash.update(text);
        }
    }
    hex::encode(hash.finalize())
}

/// Ignored paths: those the user tracks by force and those asked for are in, all others are out.
fn settle_ignored(repo: &Repo, globs: &Globs) -> Result<(), Error> {
    let list = |command: &mut Command| -> Result<BTreeSet<Vec<u8>>, Error> {
        let out = must("ls-files", command)?;
        Ok(out.split(|b| *b == 0).filter(|p| !p.is_empty()).map(<[u8]>::to_vec).collect())
    };
    let ours = list(repo.private_git().args(["ls-files", "-z", "-c", "-i", "--exclude-standard"]))?;
    let mut wanted = match repo.git_dir().join("index").exists() {
        true => list(repo.git().args(["ls-files", "-z", "-c", "-i", "--exclude-standard"]))?,
        false => BTreeSet::new(),
    };
    if let Some(include) = &globs.include {
        let ignored = list(repo.git().args(["ls-files", "-z", "-o", "-i", "--exclude-standard"]))?;
        wanted.extend(ignored.into_iter().filter(|p| include.is_match(OsStr::from_bytes(p))));
    }
    let excluded = |p: &[u8]| globs.exclude.is_match(OsStr::from_bytes(p));
    let mut out: Vec<Vec<u8>> = ours.difference(&wanted).cloned().collect();
    if !globs.exclude.is_empty() {
        let all = list(repo.private_git().args(["ls-files", "-z", "-c"]))?;
        out.extend(all.into_iter().filter(|p| excluded(p)));
    }
    let fresh = wanted.difference(&ours).filter(|p| !excluded(p));
    let exists = |p: &&Vec<u8>| !p.ends_with(b"/") && holds_file(repo.top(), p);
    let fresh: Vec<Vec<u8>> = fresh.filter(exists).cloned().collect();
    if !out.is_empty() {
        feed(
            "update-index",
            repo.private_git().args(["update-index", "-z", "--force-remove", "--stdin"]),
            &joined(&out),
        )?;
    }
    if !fresh.is_empty() {
        feed(
            "update-index",
            repo.private_git().args(["update-index", "-z", "--add", "--stdin"]),
            &joined(&fresh),
        )?;
    }
    Ok(())
}
