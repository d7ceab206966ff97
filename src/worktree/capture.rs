//! Disk to snapshot: the tree id of the raw bytes, taken by git in the private repository.
//!
//! The private index is seeded once from the user's and kept from then on, so that git looks at each
//! file's stat data and reads only what changed. The user's index is read, never written.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use sha2::{Digest, Sha256};

use super::repo::{ObjectFormat, Repo};
use super::{Error, Store, guards};
use crate::rel_path::{RelPath, escape};
use crate::tree::{Mode, Oid};

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
    /// An untracked file that looks like a secret: sent.
    LooksSecret(RelPath),
}

/// Takes the snapshot.
pub fn capture(repo: &Repo, options: &Options) -> Result<Capture, Error> {
    let globs = Globs::new(options)?;
    let mut notes = Vec::new();
    let stamp = stamp(repo, options);
    let stamp_file = repo.private_dir().join("index.stamp");
    let seeded = repo.private_dir().join("index").exists();
    if !seeded {
        seed(repo)?;
    }
    if !seeded || std::fs::read_to_string(&stamp_file).ok().as_deref() != Some(&stamp) {
        notes.extend(guards::untracked(repo, &globs.exclude, options)?);
        settle_ignored(repo, &globs)?;
        fs_err::write(&stamp_file, &stamp).map_err(|e| Error::io(&stamp_file, e))?;
    }
    add_all(repo, options, &mut notes)?;
    let out = must("write-tree", repo.private_git().arg("write-tree"))?;
    let text = String::from_utf8_lossy(&out);
    let bad = || Error::Git { what: "write-tree", words: format!("`{text}` is not a tree id") };
    let raw = text.trim().parse().map_err(|_| bad())?;
    let tree = without_repositories(repo, raw, &mut notes)?;
    Ok(Capture { tree, notes })
}

/// The tree without the repositories inside the repository: neither side sends, deletes or compares them.
/// Remembers the answer, so that an unchanged tree is not read again.
fn without_repositories(repo: &Repo, raw: Oid, notes: &mut Vec<Note>) -> Result<Oid, Error> {
    let memory = repo.private_dir().join("index.tree");
    let known = std::fs::read_to_string(&memory).unwrap_or_default();
    if let Some((from, to)) = known.trim().split_once(' ')
        && from == raw.to_string()
        && let Ok(tree) = to.parse()
    {
        return Ok(tree);
    }
    let store = Store::open(repo)?;
    let mut entries = store.read_tree(raw)?;
    let before = entries.len();
    entries.retain(|path, entry| {
        let travels = entry.mode != Mode::Gitlink;
        if !travels {
            notes.push(Note::Repository(path.clone()));
        }
        travels
    });
    let tree = if entries.len() == before { raw } else { store.write_tree(&entries)? };
    fs_err::write(&memory, format!("{raw} {tree}\n")).map_err(|e| Error::io(&memory, e))?;
    Ok(tree)
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
    let plain = repo.object_format() == ObjectFormat::Sha1
        && !converts(repo)?
        && !repo.git_dir().join("sharedindex").exists();
    let odd = listing.split(|b| *b == 0).any(|e| e.first().is_some_and(|tag| *tag != b'H'));
    if plain && !odd && copy_index(repo)? {
        return Ok(());
    }
    // Ids of converted content, hidden changes or foreign hashes must not be believed: every entry gets its
    // path only, and the bytes are read. Entries that a sparse checkout keeps off the disk stay out.
    let mut paths = Vec::new();
    for entry in listing.split(|b| *b == 0).filter(|e| !e.is_empty()) {
        let Some(tab) = memchr::memchr(b'\t', entry) else { continue };
        let (head, path) = (&entry[..tab], &entry[tab + 1..]);
        let on_disk = repo.top().join(OsStr::from_bytes(path)).symlink_metadata().is_ok();
        let mode = head.split(|b| *b == b' ').nth(1).unwrap_or_default();
        if on_disk && mode != b"160000" {
            paths.extend_from_slice(path);
            paths.push(0);
        }
    }
    let mut add = repo.private_git();
    add.args(["update-index", "-z", "--add", "--stdin"]);
    feed("update-index", &mut add, &paths)
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
    let readable = run(repo.private_git().args([
        "ls-files",
        "-z",
        "--cached",
        "--error-unmatch",
        "--",
        ":(top,glob).sbx-none",
    ]));
    let fine = readable.is_ok_and(|out| !words(&out).contains("index"));
    if !fine {
        let _ = std::fs::remove_file(&to);
    }
    Ok(fine)
}

/// Whether git may store other bytes than those on disk.
fn converts(repo: &Repo) -> Result<bool, Error> {
    if repo.config(&[], "core.autocrlf")?.is_some_and(|v| v != "false")
        || repo.config(&[], "core.attributesFile")?.is_some()
        || repo.common_dir().join("info/attributes").exists()
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
    let exists = |p: &&Vec<u8>| repo.top().join(OsStr::from_bytes(p)).symlink_metadata().is_ok();
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

/// `git add -A`, leaving out nested repositories that have nothing git could record.
fn add_all(repo: &Repo, options: &Options, notes: &mut Vec<Note>) -> Result<(), Error> {
    const NESTED_MAX: usize = 1000;
    let mut left_out: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut add = repo.private_git();
        add.args(["-c", "advice.addEmbeddedRepo=false", "add", "-A", "--", "."]);
        for glob in &options.exclude {
            add.arg(format!(":(top,exclude,glob){glob}"));
            add.arg(format!(":(top,exclude,glob){}/**", glob.trim_end_matches('/')));
        }
        for path in &left_out {
            let mut spec = b":(top,exclude,literal)".to_vec();
            spec.extend_from_slice(path);
            add.arg(OsStr::from_bytes(&spec));
        }
        let out = run(&mut add)?;
        if out.status.success() {
            return Ok(());
        }
        match nested_without_commit(&out.stderr)
            .filter(|p| !left_out.contains(p) && left_out.len() < NESTED_MAX)
        {
            Some(path) => {
                notes.extend(RelPath::parse(&path).ok().map(Note::NestedWithoutCommit));
                left_out.push(path);
            }
            None => return Err(Error::Git { what: "add", words: escape(words(&out).as_bytes()) }),
        }
    }
}

/// The path in git's complaint `'sub/' does not have a commit checked out`.
fn nested_without_commit(stderr: &[u8]) -> Option<Vec<u8>> {
    let at = memchr::memmem::find(stderr, b"' does not have a commit checked out")?;
    let open = memchr::memrchr(b'\'', &stderr[..at])?;
    let path = &stderr[open + 1..at];
    Some(path.strip_suffix(b"/").unwrap_or(path).to_vec())
}

/// Runs a command with `input` on its standard input.
fn feed(what: &'static str, command: &mut Command, input: &[u8]) -> Result<(), Error> {
    let io = |e| Error::io(Path::new("."), e);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(io)?;
    let mut stdin = child.stdin.take().expect("piped");
    let fed = std::thread::scope(|scope| {
        let writer = scope.spawn(move || stdin.write_all(input));
        let out = child.wait_with_output();
        (writer.join(), out)
    });
    let out = fed.1.map_err(io)?;
    if out.status.success() {
        Ok(())
    } else {
        Err(Error::Git { what, words: escape(words(&out).as_bytes()) })
    }
}

fn run(command: &mut Command) -> Result<Output, Error> {
    let dir = command.get_current_dir().map(Path::to_owned).unwrap_or_default();
    command.output().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => super::repo::no_git(Some(&dir), e),
        _ => Error::io(&dir, e),
    })
}

/// Runs a git command that must succeed and returns what it printed.
pub(super) fn must(what: &'static str, command: &mut Command) -> Result<Vec<u8>, Error> {
    let out = run(command)?;
    if out.status.success() {
        Ok(out.stdout)
    } else {
        Err(Error::Git { what, words: escape(words(&out).as_bytes()) })
    }
}

/// Git's own complaint: the first line that is one.
fn words(out: &Output) -> String {
    let text = String::from_utf8_lossy(&out.stderr);
    let line = text.lines().find(|l| l.starts_with("fatal: ") || l.starts_with("error: "));
    let line = line.or_else(|| text.lines().next()).unwrap_or("no reason given");
    line.trim_start_matches("fatal: ").trim_start_matches("error: ").to_owned()
}
