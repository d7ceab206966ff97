//! A sandbox without git. It keeps a list instead of an index and tells which lines of it differ; we say which
//! contents we want to see, hash them, and so learn what git would have said.
//!
//! The list comes gzipped, one line each: `+` before what is there now, `-` before what was listed before, then
//! `<mode>:<size>:<mtime>:<ctime>:<inode> ./<name>`; `=./<name>` is the `.git` of a repository inside. Contents come
//! gzipped in the order of the question: a letter (`f`ile, `l`ink, `-` gone), lines of base64, a dot; a `!` before
//! the dot says that it could not be read. Names and modes leave this file as claims for `threats` to judge, as
//! those of a sandbox with git do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Seek, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;

use super::pull::{self, Archive, INLINE_MAX, Offer};
use super::records::{Limits, Records, Refused, check_size};
use super::threats::Claim;
use super::{COMMON, Error};
use crate::daytona::script::Script;
use crate::rel_path::{RelPath, escape};
use crate::tree::{Entry, Mode, Oid, Tree};
use crate::worktree::ignores::{ignored, is_rules};
use crate::worktree::{Repo, Store};

const TAKE: &str = include_str!("scripts/take.sh");

/// One question asks for this many bytes of names at most.
const NAMES_MAX: usize = 32 * 1024;
/// One question asks for this many bytes of contents, by what the list says, unless a single file is larger.
const CONTENT_MAX: u64 = 64 << 20;
/// Ignore files beyond this number, or larger than a megabyte, are not followed.
const RULES_MAX: usize = 1000;
const RULE_SIZE_MAX: u64 = 1 << 20;
/// Our own folder in a workspace.
const OURS: &[u8] = b".sandbox-coder/";
/// A content that is larger goes through a file.
const MEMORY_MAX: usize = 1 << 20;

/// What stat over there says of a file or link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    mode: Mode,
    size: u64,
}

/// Which lines differ.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listing {
    /// What is there now, new or changed.
    now: BTreeMap<Vec<u8>, Stat>,
    /// What was listed and is not any more.
    gone: BTreeSet<Vec<u8>>,
    /// The folders of repositories inside.
    repositories: BTreeSet<Vec<u8>>,
}

/// The questions to a sandbox without git, and what became known by its answers.
pub struct Inquiry {
    repo: Repo,
    store: Store,
    base: Tree,
    listing: Listing,
    limits: Limits,
    stage: Stage,
    asked: Vec<Vec<u8>>,
    queue: VecDeque<Vec<u8>>,
    known: BTreeMap<Vec<u8>, Entry>,
    content: u64,
    packed: u64,
    /// What could not be read, for the report.
    trouble: Vec<String>,
    nested: BTreeSet<Vec<u8>>,
    deletes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Rules,
    Files,
}

impl Inquiry {
    /// Begins with the list a sandbox offered. `base` is the tree its work is held against.
    pub fn new(
        repo: &Repo,
        base: Oid,
        offer: &Offer,
        list: Archive,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let store = Store::open(repo)?;
        let base = store.read_tree(base)?;
        let packed = list.size();
        let mut listing = listing(MultiGzDecoder::new(list.into_file()), limits)?;
        if offer.lists_all() {
            let names = base.keys().map(|path| path.as_bytes().to_vec());
            listing.gone = names.filter(|name| !listing.now.contains_key(name)).collect();
        }
        let rules = listing.now.iter().filter(|(path, stat)| {
            is_rules(path) && stat.size <= RULE_SIZE_MAX && stat.mode != Mode::Link
        });
        let queue = rules.map(|(path, _)| path.clone()).take(RULES_MAX).collect();
        Ok(Self {
            repo: repo.clone(),
            store,
            base,
            listing,
            limits: *limits,
            stage: Stage::Rules,
            asked: Vec::new(),
            queue,
            known: BTreeMap::new(),
            content: 0,
            packed,
            trouble: Vec::new(),
            nested: BTreeSet::new(),
            // What lies in a folder that could not be entered is not gone.
            deletes: offer.trouble.is_empty(),
        })
    }

    /// The next question: names, NUL-ended, in base64. `None` when everything is known.
    pub fn ask(&mut self) -> Result<Option<String>, Error> {
        if self.queue.is_empty() && self.stage == Stage::Rules {
            self.stage = Stage::Files;
            self.queue = self.wanted()?;
        }
        let (mut names, mut bytes) = (Vec::new(), 0);
        while let Some(path) = self.queue.front() {
            let size = self.listing.now.get(path).map_or(0, |stat| stat.size);
            let full = names.len() + path.len() >= NAMES_MAX || bytes + size > CONTENT_MAX;
            if full && !names.is_empty() {
                break;
            }
            bytes += size;
            names.extend_from_slice(path);
            names.push(0);
            self.asked.extend(self.queue.pop_front());
        }
        Ok((!names.is_empty()).then(|| STANDARD.encode(names)))
    }

    /// What has to be seen: all that was sent, and of what is new what git would not ignore.
    fn wanted(&mut self) -> Result<VecDeque<Vec<u8>>, Error> {
        let (mut sure, mut new) = (Vec::new(), Vec::new());
        let mut inside = Vec::new();
        for name in self.listing.now.keys() {
            match RelPath::parse(name) {
                Ok(path) if !self.base.contains_key(&path) => match self.repository_above(name) {
                    Some(folder) => inside.push((name.clone(), folder)),
                    None => new.push(path),
                },
                // A name that is none is asked for, and judged, like any other.
                _ => sure.push(name.clone()),
            }
        }
        let ignored = ignored(&self.repo, &self.rules()?, &new)?;
        let stays = |path: &RelPath| ignored.contains(path) || path.as_bytes().starts_with(OURS);
        // Ignore files were asked for to know the rules; they may be ignored themselves.
        for path in new.iter().filter(|path| stays(path)) {
            self.known.remove(path.as_bytes());
        }
        for (name, folder) in inside {
            self.known.remove(&name);
            self.nested.insert(folder);
        }
        let fresh = new.iter().filter(|path| !stays(path)).map(|path| path.as_bytes().to_vec());
        let mut wanted: VecDeque<Vec<u8>> = sure.into_iter().chain(fresh).collect();
        if wanted.len() > self.limits.paths {
            let most = self.limits.paths;
            return Err(Refused::TooLarge(format!("more than {most} changed paths")).into());
        }
        wanted.retain(|name| !self.known.contains_key(name));
        Ok(wanted)
    }

    /// The sandbox's ignore files: those of the base, with what became known since.
    fn rules(&self) -> Result<Vec<(RelPath, Vec<u8>)>, Error> {
        let mut ids: BTreeMap<RelPath, Oid> = BTreeMap::new();
        let rules_file = |path: &RelPath, entry: &Entry| {
            is_rules(path.as_bytes()) && matches!(entry.mode, Mode::File | Mode::Exec)
        };
        for (path, entry) in self.base.iter().filter(|(path, entry)| rules_file(path, entry)) {
            if !self.listing.gone.contains(path.as_bytes()) {
                ids.insert(path.clone(), entry.id);
            }
        }
        for (path, entry) in &self.known {
            if let Ok(path) = RelPath::parse(path)
                && rules_file(&path, entry)
            {
                ids.insert(path, entry.id);
            }
        }
        let mut rules = Vec::new();
        for (path, id) in ids.into_iter().take(RULES_MAX) {
            if self.store.blob_size(id)?.is_some_and(|size| size <= RULE_SIZE_MAX) {
                rules.push((path, self.store.read_blob(id)?));
            }
        }
        Ok(rules)
    }

    /// The repository inside that `path` lies in.
    fn repository_above(&self, path: &[u8]) -> Option<Vec<u8>> {
        let above = memchr::memchr_iter(b'/', path).map(|cut| &path[..cut]);
        above.into_iter().find(|dir| self.listing.repositories.contains(*dir)).map(<[u8]>::to_vec)
    }

    /// Reads the answer to the last question into the store.
    pub fn take(&mut self, answer: Archive) -> Result<(), Error> {
        self.packed += answer.size();
        let mut input = BufReader::new(MultiGzDecoder::new(answer.into_file()));
        let asked = std::mem::take(&mut self.asked);
        let store = self.store.reopen()?;
        let mut bulk = store.bulk(asked.len())?;
        for path in asked {
            let Some((kind, mut bytes, whole)) = self.content(&mut input)? else { continue };
            if !whole {
                self.trouble.push(format!("`{}` cannot be read", escape(&path)));
                continue;
            }
            let size = bytes.stream_position().map_err(Refused::Io)?;
            bytes.rewind().map_err(Refused::Io)?;
            let id = bulk.write_blob_from(&mut bytes, size)?;
            let listed = self.listing.now.get(&path).map(|stat| stat.mode);
            let mode = match kind {
                b'l' => Mode::Link,
                _ => listed.filter(|mode| *mode != Mode::Link).unwrap_or(Mode::File),
            };
            self.known.insert(path, Entry { mode, id });
        }
        bulk.finish()?;
        match input.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(Refused::Format("more contents than were asked for").into()),
            Err(e) => Err(Refused::Io(e).into()),
        }
    }

    /// One content with its letter, and whether it was read to its end; `None` if it is gone.
    fn content(
        &mut self,
        input: &mut impl BufRead,
    ) -> Result<Option<(u8, tempfile::SpooledTempFile, bool)>, Refused> {
        let kind = match line(input)?.as_slice() {
            [kind @ (b'f' | b'l')] => *kind,
            b"-" => 0,
            _ => return Err(Refused::Format("a content has no kind")),
        };
        let mut bytes = tempfile::spooled_tempfile(MEMORY_MAX);
        let (mut size, mut whole) = (0, true);
        loop {
            match line(input)?.as_slice() {
                b"." if kind == 0 => return Ok(None),
                b"." => return Ok(Some((kind, bytes, whole))),
                b"!" => whole = false,
                text => {
                    let part = STANDARD
                        .decode(text)
                        .map_err(|_| Refused::Format("a content is not what it should be"))?;
                    size += part.len() as u64;
                    self.content += part.len() as u64;
                    check_size(size, self.content, self.packed, &self.limits)?;
                    bytes.write_all(&part)?;
                }
            }
        }
    }

    /// Everything that differs from the base, as a sandbox with git would have told it. What could not be read
    /// counts as unchanged and is told in the offer.
    pub fn finish(self, offer: &mut Offer) -> Result<Records, Error> {
        let mut claims = BTreeMap::new();
        let before =
            |path: &[u8]| RelPath::parse(path).ok().and_then(|path| self.base.get(&path).copied());
        for (path, after) in self.known {
            let before = before(&path);
            if before != Some(after) {
                claims.insert(path.clone(), Claim { path, before, after: Some(after) });
            }
        }
        for path in self.listing.gone.into_iter().filter(|_| self.deletes) {
            if let Some(entry) = before(&path) {
                claims.insert(path.clone(), Claim { path, before: Some(entry), after: None });
            }
        }
        let claims: Vec<Claim> = claims.into_values().collect();
        // With a name that is none there is no tree; such a result is refused when it is judged.
        let tree = match pull::theirs(&self.base, &claims) {
            Ok(tree) => self.store.write_tree(&tree)?,
            Err(_) => offer.tree,
        };
        offer.nested.extend(self.nested.iter().map(|p| String::from_utf8_lossy(p).into_owned()));
        for line in self.trouble {
            offer.trouble.push_str(&format!("{line}\n"));
        }
        Ok(Records { tree, claims, content: self.content })
    }
}

/// Adds the step that asks for contents. `names` is what [`Inquiry::ask`] said.
pub fn add_to(script: &mut Script, offer: &Offer, names: &str) {
    script
        .set("FROM", &offer.base.to_string())
        .set("SEEN", &offer.tree.to_string())
        .set("WANT", names)
        .set("INLINE", &INLINE_MAX.to_string())
        .step(&format!("{COMMON}\n{TAKE}"));
}

/// A line without its end; at most what a name, or 57 bytes in base64, takes.
fn line(input: &mut impl BufRead) -> Result<Vec<u8>, Refused> {
    const LONGEST: u64 = 16 * 1024;
    let mut line = Vec::new();
    input.take(LONGEST).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(Refused::Format("a line is cut"));
    }
    Ok(line)
}

fn listing(input: impl Read, limits: &Limits) -> Result<Listing, Refused> {
    let mut input = BufReader::new(input);
    let mut listing = Listing::default();
    let mut size = 0;
    while !input.fill_buf()?.is_empty() {
        let line = line(&mut input)?;
        size += line.len() as u64 + 1;
        if size > limits.manifest {
            return Err(Refused::TooLarge("a list of differences".into()));
        }
        read_line(&line, &mut listing)?;
    }
    let now = &listing.now;
    listing.gone.retain(|path| !now.contains_key(path));
    Ok(listing)
}

fn read_line(line: &[u8], listing: &mut Listing) -> Result<(), Refused> {
    const BAD: Refused = Refused::Format("a line of the list cannot be read");
    let (sign, rest) = line.split_first().ok_or(BAD)?;
    if *sign == b'=' {
        let name = name(rest)?;
        listing.repositories.extend(name.strip_suffix(b"/.git").map(<[u8]>::to_vec));
        return Ok(());
    }
    let cut = memchr::memchr(b' ', rest).ok_or(BAD)?;
    let (facts, name) = (&rest[..cut], name(&rest[cut + 1..])?);
    if facts == b"repository" {
        return Ok(());
    }
    match sign {
        b'-' => {
            listing.gone.insert(name);
        }
        b'+' => {
            listing.now.insert(name, stat(facts).ok_or(BAD)?);
        }
        _ => return Err(BAD),
    }
    Ok(())
}

fn stat(facts: &[u8]) -> Option<Stat> {
    let text = std::str::from_utf8(facts).ok()?;
    // A line that is marked never to come again begins with `?` and the second of the look.
    let text = text.rsplit('?').next()?;
    let mut words = text.split(':');
    let bits = u32::from_str_radix(words.next()?, 16).ok()?;
    let size = words.next()?.parse().ok()?;
    let mode = match bits & 0o170_000 {
        0o120_000 => Mode::Link,
        0o100_000 if bits & 0o100 != 0 => Mode::Exec,
        0o100_000 => Mode::File,
        _ => return None,
    };
    Some(Stat { mode, size })
}

/// A name as it was, without `./`: `\\` is a backslash, `\n` a newline.
fn name(escaped: &[u8]) -> Result<Vec<u8>, Refused> {
    const BAD: Refused = Refused::Format("a name of the list cannot be read");
    let mut rest = escaped.strip_prefix(b"./").ok_or(BAD)?.iter();
    let mut name = Vec::with_capacity(escaped.len());
    while let Some(byte) = rest.next() {
        name.push(match byte {
            b'\\' => match rest.next() {
                Some(b'\\') => b'\\',
                Some(b'n') => b'\n',
                _ => return Err(BAD),
            },
            0 => return Err(BAD),
            other => *other,
        });
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Result<Listing, Refused> {
        listing(text, &Limits::default())
    }

    #[test]
    fn a_list_says_what_is_there_what_is_gone_and_which_repositories_are_inside() {
        let text = b"+81a4:5:1:2:3 ./new\n-81ed:5:1:2:3 ./changed\n+?9?81ed:6:1:2:3 ./changed\n\
            -a1ff:5:1:2:3 ./a\\nb\\\\c\n+repository ./r/.git\n=./r/.git\n";
        let read = read(text).unwrap();
        let now = |name: &[u8]| read.now[name];
        assert_eq!(now(b"new"), Stat { mode: Mode::File, size: 5 });
        assert_eq!(now(b"changed"), Stat { mode: Mode::Exec, size: 6 });
        assert_eq!(read.gone, BTreeSet::from([b"a\nb\\c".to_vec()]));
        assert_eq!(read.repositories, BTreeSet::from([b"r".to_vec()]));
        assert_eq!(read.now.len(), 2);
    }

    #[test]
    fn a_list_that_is_none_is_refused() {
        for text in [
            &b"+81a4:5:1:2:3 ./cut"[..],
            b"+81a4:5:1:2:3 no-dot\n",
            b"+41ed:5:1:2:3 ./folder\n",
            b"+11a4:5:1:2:3 ./pipe\n",
            b"+81a4:x:1:2:3 ./size\n",
            b"+81a4:5:1:2:3 ./bad\\x\n",
            b"+81a4:5:1:2:3 ./nul\0\n",
            b"81a4:5:1:2:3 ./sign\n",
            b"\n",
        ] {
            assert!(read(text).is_err(), "{}", escape(text));
        }
        let small = Limits { manifest: 30, ..Limits::default() };
        let long = b"+81a4:5:1:2:3 ./a\n+81a4:5:1:2:3 ./b\n";
        assert!(matches!(listing(&long[..], &small), Err(Refused::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }
    }
}
