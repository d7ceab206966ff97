//! Disk to snapshot: the tree id of the raw bytes, taken by git in the private repository.
//!
//! The private index is seeded once from the user's and kept from then on, so that git looks at each
//! file's stat data and reads only what changed. The user's index is read, never written.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use sha2::{Digest, Sha256};

use super::git::{feed, git_command, must, output};
use super::repo::{ObjectFormat, Repo};
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
    const TRIES: usize = 3;
    let globs = Globs::new(options)?;
    let stamp = stamp(repo, options);
    let stamp_file = repo.private_dir().join("index.stamp");
    if !repo.private_dir().join("index").exists() {
        repo.prepare()?;
        let _ = std::fs::remove_file(&stamp_file);
        seed(repo)?;
    }
    let folders_file = repo.private_dir().join("folders");
    let mut folders = guards::Folders::load(&folders_file, || {
        must("ls-files", repo.private_git().args(["ls-files", "-z", "-c"]))
    })?;
    let mut notes = Vec::new();
    let mut tries = 0;
    let found = loop {
        tries += 1;
        let found = walk(repo, &globs)?;
        notes.clear();
        notes.extend(guards::unfinished(repo).map(Note::Unfinished));
        notes.extend(found.nested.iter().filter_map(|path| nested_note(repo, path)));
        notes.extend(guards::untracked(repo, &found.fresh, options)?);
        match update(repo, &found) {
            Err(Error::Git { words, .. }) if is_moving(&words) => {
                if tries == TRIES {
                    return Err(Error::Moving { words });
                }
            }
            other => break other.map(|()| found)?,
        }
    };
    folders.add(found.fresh.iter().map(Vec::as_slice));
    notes.extend(folders.special(repo.top()).into_iter().map(Note::Special));
    folders.save(&folders_file)?;
    let known = std::fs::read_to_string(&stamp_file).ok();
    if known.as_deref() != Some(&stamp) || globs.include.is_some() || found.rules {
        settle_ignored(repo, &globs)?;
        fs_err::write(&stamp_file, &stamp).map_err(|e| Error::io(&stamp_file, e))?;
    }
    let out = must("write-tree", repo.private_git().arg("write-tree"))?;
    let text = String::from_utf8_lossy(&out);
    let bad = || Error::Git { what: "write-tree", words: format!("`{text}` is not a tree id") };
    let tree = text.trim().parse().map_err(|_| bad())?;
    Ok(Capture { tree, notes })
}

/// What differs between the private index and the disk.
#[derive(Default)]
struct Found {
    /// Another content or mode.
    changed: Vec<Vec<u8>>,
    /// No longer a file or link; a pipe or a folder may lie there, or a link above it.
    gone: Vec<Vec<u8>>,
    /// Not in the index, and not ignored.
    fresh: Vec<Vec<u8>>,
    /// Repositories inside: they never travel, so the index has no entry for them either.
    nested: Vec<Vec<u8>>,
    /// An ignore file is among them.
    rules: bool,
}

/// One look at the disk: git compares stat data, reads what it must, and lists the rest.
fn walk(repo: &Repo, globs: &Globs) -> Result<Found, Error> {
    let mut list = repo.private_git();
    list.args(["ls-files", "-z", "-t", "-m", "-d", "-o", "--exclude-standard"]);
    let out = must("ls-files", &mut list)?;
    let mut found = Found::default();
    for line in out.split(|b| *b == 0).filter(|line| line.len() > 2) {
        let (tag, path) = (line[0], &line[2..]);
        found.rules |= path.ends_with(b".gitignore");
        if tag != b'?' {
            let here = holds_file(repo.top(), path);
            if here { &mut found.changed } else { &mut found.gone }.push(path.to_vec());
        } else if let Some(dir) = path.strip_suffix(b"/") {
            found.nested.push(dir.to_vec());
        } else if !globs.exclude.is_match(OsStr::from_bytes(path)) {
            found.fresh.push(path.to_vec());
        }
    }
    Ok(found)
}

/// Whether a file or link lies at `path` itself, not beyond a link.
fn holds_file(top: &Path, path: &[u8]) -> bool {
    let kind = |path: &[u8]| top.join(OsStr::from_bytes(path)).symlink_metadata();
    kind(path).is_ok_and(|m| m.is_file() || m.is_symlink())
        && memchr::memchr_iter(b'/', path)
            .all(|cut| kind(&path[..cut]).is_ok_and(|m| !m.is_symlink()))
}

/// Brings the private index up to what was found.
fn update(repo: &Repo, found: &Found) -> Result<(), Error> {
    if !found.gone.is_empty() {
        let mut remove = repo.private_git();
        remove.args(["update-index", "-z", "--force-remove", "--stdin"]);
        feed("update-index", &mut remove, &joined(&found.gone))?;
    }
    if found.changed.is_empty() && found.fresh.is_empty() {
        return Ok(());
    }
    // A file may take the place of a folder, and the reverse; one may also vanish just now.
    let mut add = repo.private_git();
    add.args(["update-index", "-z", "--add", "--remove", "--replace", "--stdin"]);
    let paths = [joined(&found.changed), joined(&found.fresh)].concat();
    feed("update-index", &mut add, &paths)
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

/// Changes when the user's index or what we are asked for changes: only then paths that git ignores can
/// have become tracked, or ceased to be.
fn stamp(repo: &Repo, options: &Options) -> String {
    let mut hash = Sha256::new();
    if let Ok(meta) = std::fs::metadata(repo.git_dir().join("index")) {
        hash.update(format!(
            "{} {} {} {}",
            meta.size(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ino()
        ));
    }
    for (mark, texts) in [(b'+', &options.include), (b'-', &options.exclude)] {
        for text in texts {
            hash.update([0, mark]);
            hash.update(text);
        }
    }
    hex::encode(hash.finalize())
}

/// Makes the private index out of the user's.
fn seed(repo: &Repo) -> Result<(), Error> {
    let theirs = repo.git_dir().join("index");
    if !theirs.exists() {
        return Ok(());
    }
    let listing = must("ls-files", repo.git().args(["ls-files", "-z", "-s", "-v"]))?;
    let entries = || listing.split(|b| *b == 0).filter_map(listed);
    let plain = repo.object_format() == ObjectFormat::Sha1 && !converts(repo)?;
    let odd = entries().any(|entry| entry.tag != b'H' || entry.stage != b"0");
    if plain && !odd && copy_index(repo)? {
        // Empty files may be a mere intent to add, which a tree would leave out: git is to find them anew.
        let out = entries().filter(|e| e.mode == b"160000" || e.id == EMPTY_BLOB.as_bytes());
        let out: Vec<Vec<u8>> = out.map(|e| e.path.to_vec()).collect();
        let mut remove = repo.private_git();
        remove.args(["update-index", "-z", "--force-remove", "--stdin"]);
        return if out.is_empty() {
            Ok(())
        } else {
            feed("update-index", &mut remove, &joined(&out))
        };
    }
    // Stat data of converted content, hidden changes or foreign hashes must not be believed: every entry keeps
    // its mode, and the bytes are read. Entries that a sparse checkout keeps off the disk stay out.
    let mut lines = Vec::new();
    for entry in entries().filter(|e| e.mode != b"160000") {
        if repo.top().join(OsStr::from_bytes(entry.path)).symlink_metadata().is_ok() {
            let id = if plain { entry.id } else { EMPTY_BLOB.as_bytes() };
            lines.extend_from_slice(&[entry.mode, b" ", id, b" 0\t", entry.path, b"\0"].concat());
        }
    }
    // An id that is not believed still has to name something.
    feed("hash-object", repo.private_git().args(["hash-object", "-w", "--stdin"]), b"")?;
    let mut add = repo.private_git();
    add.args(["update-index", "-z", "--index-info"]);
    feed("update-index", &mut add, &lines)?;
    let mut refresh = repo.private_git();
    output(refresh.args(["update-index", "-q", "--refresh"])).map(drop)
}

const EMPTY_BLOB: &str = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";

/// One line of `ls-files -s -v`.
struct Listed<'l> {
    tag: u8,
    mode: &'l [u8],
    id: &'l [u8],
    stage: &'l [u8],
    path: &'l [u8],
}

fn listed(line: &[u8]) -> Option<Listed<'_>> {
    let (head, path) = line.split_at(memchr::memchr(b'\t', line)?);
    let mut words = head.split(|b| *b == b' ');
    let tag = *words.next()?.first()?;
    Some(Listed {
        tag,
        mode: words.next()?,
        id: words.next()?,
        stage: words.next()?,
        path: &path[1..],
    })
}

/// A plain copy would hide an edit of the same size made in the same tick of the clock: git compares a
/// file's time with the index's own, so the copy keeps that.
fn copy_index(repo: &Repo) -> Result<bool, Error> {
    let (from, to) = (repo.git_dir().join("index"), repo.private_dir().join("index"));
    let io = |e| Error::io(&from, e);
    let meta = std::fs::metadata(&from).map_err(io)?;
    let temp = repo.private_dir().join("index.seed");
    std::fs::copy(&from, &temp).map_err(io)?;
    let file = std::fs::File::options().write(true).open(&temp).map_err(io)?;
    file.set_modified(meta.modified().map_err(io)?).map_err(io)?;
    std::fs::rename(&temp, &to).map_err(io)?;
    // An extension of the user's index may not suit this repository; then it is built from the paths.
    let list = ["ls-files", "-z", "-s", "-v"];
    let fine =
        output(repo.private_git().args(list))?.stdout == output(repo.git().args(list))?.stdout;
    if !fine {
        std::fs::remove_file(&to).map_err(io)?;
    }
    Ok(fine)
}

/// Whether git may store other bytes than those on disk.
fn converts(repo: &Repo) -> Result<bool, Error> {
    if repo.config(&[], "core.autocrlf")?.is_some_and(|v| v != "false")
        || repo.config(&[], "core.attributesFile")?.is_some()
        || repo.common_dir().join("info/attributes").exists()
        || Path::new("/etc/gitattributes").exists()
    {
        return Ok(true);
    }
    let attributes = [":(top,glob)**/.gitattributes", ":(top).gitattributes"];
    let found =
        must("ls-files", repo.git().args(["ls-files", "-z", "-c", "-o", "--"]).args(attributes))?;
    let global = std::env::var_os("XDG_CONFIG_HOME").map(std::path::PathBuf::from);
    let global = global
        .or_else(|| Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    Ok(!found.is_empty() || global.is_some_and(|g| g.join("git/attributes").exists()))
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

fn joined(paths: &[Vec<u8>]) -> Vec<u8> {
    paths.iter().flat_map(|p| p.iter().copied().chain([0])).collect()
}
