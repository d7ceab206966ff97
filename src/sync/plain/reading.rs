//! What a sandbox without git sends, read with suspicion.
//!
//! The list comes gzipped, one line each: `+` before what is there now, `-` before what was listed before, then
//! `<mode>:<size>:<mtime>:<ctime>:<inode> ./<name>`; `=./<name>` is the `.git` of a repository inside. Contents come
//! gzipped in the order of the question: a letter (`f`ile, `l`ink, `-` gone), lines of base64, a dot; a `!` before
//! the dot says that it could not be read. Names and modes leave this file as claims for `threats` to judge, as
//! those of a sandbox with git do.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Seek, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;

use crate::rel_path::RelPath;
use crate::sync::records::{Limits, Refused, Sink, check_size};
use crate::sync::threats::Claim;
use crate::tree::{Entry, Mode, Oid, Tree};

/// A content that is larger goes through a file.
const MEMORY_MAX: usize = 1 << 20;

/// What stat over there says of a file or link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// A file, one that may be executed, or a link.
    pub mode: Mode,
    /// Bytes.
    pub size: u64,
}

/// Which lines differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// What is there now, new or changed.
    pub now: BTreeMap<Vec<u8>, Stat>,
    /// What was listed and is not any more.
    pub gone: BTreeSet<Vec<u8>>,
    /// The folders of repositories inside.
    pub repositories: BTreeSet<Vec<u8>>,
}

/// What became of a file or link that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// It is not there any more.
    Gone,
    /// It could not be read to its end.
    Unreadable,
    /// It was handed over.
    Whole {
        /// Whether it is a link.
        link: bool,
        /// The id of its bytes, as computed here.
        id: Oid,
    },
}

/// The contents that were sent so far: together they are bounded.
#[derive(Debug)]
pub struct Contents {
    size: u64,
    packed: u64,
}

impl Contents {
    /// None yet. `packed` is the size of the list in bytes.
    pub fn new(packed: u64) -> Self {
        Self { size: 0, packed }
    }

    /// Bytes of all contents.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads an answer of `packed` bytes: as many contents as were `asked` for, and nothing else.
    pub fn read(
        &mut self,
        gzip: impl Read,
        packed: u64,
        asked: usize,
        limits: &Limits,
        sink: &mut dyn Sink,
    ) -> Result<Vec<Content>, Refused> {
        self.packed += packed;
        let mut input = BufReader::new(MultiGzDecoder::new(gzip));
        let mut contents = Vec::with_capacity(asked);
        for _ in 0..asked {
            contents.push(self.one(&mut input, limits, sink)?);
        }
        match input.fill_buf()? {
            [] => Ok(contents),
            _ => Err(Refused::Format("more contents than were asked for")),
        }
    }

    fn one(
        &mut self,
        input: &mut impl BufRead,
        limits: &Limits,
        sink: &mut dyn Sink,
    ) -> Result<Content, Refused> {
        let kind = match line(input)?.as_slice() {
            [kind @ (b'f' | b'l' | b'-')] => *kind,
            _ => return Err(Refused::Format("a content has no kind")),
        };
        let mut bytes = tempfile::spooled_tempfile(MEMORY_MAX);
        let (mut size, mut whole) = (0, true);
        loop {
            match line(input)?.as_slice() {
                b"." => break,
                b"!" => whole = false,
                text => {
                    let part = STANDARD
                        .decode(text)
                        .map_err(|_| Refused::Format("a content is not what it should be"))?;
                    size += part.len() as u64;
                    self.size += part.len() as u64;
                    check_size(size, self.size, self.packed, limits)?;
                    bytes.write_all(&part)?;
                }
            }
        }
        match (kind, whole) {
            (b'-', _) => Ok(Content::Gone),
            (_, false) => Ok(Content::Unreadable),
            (_, true) => {
                bytes.rewind()?;
                Ok(Content::Whole { link: kind == b'l', id: sink.store(&mut bytes, size)? })
            }
        }
    }
}

/// The mode of a content, from what was sent and from what the list says of it.
pub fn mode(link: bool, listed: Option<&Stat>) -> Mode {
    let listed = listed.map(|stat| stat.mode).filter(|mode| *mode != Mode::Link);
    if link { Mode::Link } else { listed.unwrap_or(Mode::File) }
}

/// Pure: what differs from the base, in the order of names. What lies below a file or link is gone, listed or not.
pub fn claims(
    base: &Tree,
    known: BTreeMap<Vec<u8>, Entry>,
    mut gone: BTreeSet<Vec<u8>>,
) -> Vec<Claim> {
    let covered = base.keys().filter(|path| {
        !known.contains_key(path.as_bytes())
            && path.ancestors().any(|above| known.contains_key(above.as_bytes()))
    });
    gone.extend(covered.map(|path| path.as_bytes().to_vec()));
    let mut claims = BTreeMap::new();
    let before = |path: &[u8]| RelPath::parse(path).ok().and_then(|path| base.get(&path).copied());
    for (path, after) in known {
        let before = before(&path);
        if before != Some(after) {
            claims.insert(path.clone(), Claim { path, before, after: Some(after) });
        }
    }
    for path in gone {
        if let Some(entry) = before(&path) {
            claims.insert(path.clone(), Claim { path, before: Some(entry), after: None });
        }
    }
    claims.into_values().collect()
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

/// Reads a list that was unpacked.
pub fn listing(input: impl Read, limits: &Limits) -> Result<Listing, Refused> {
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
    use crate::rel_path::escape;
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
    fn what_lies_below_a_file_is_gone_and_what_is_said_to_lie_there_stays_a_claim() {
        let entry = Entry { mode: Mode::File, id: Oid([1; 20]) };
        let path = |name: &[u8]| RelPath::parse(name).unwrap();
        let base: Tree = [path(b"d/x"), path(b"d-y")].into_iter().map(|p| (p, entry)).collect();
        let known = |names: &[&[u8]]| names.iter().map(|name| (name.to_vec(), entry)).collect();
        let told = |names: &[&[u8]]| -> Vec<(String, bool)> {
            let claims = claims(&base, known(names), BTreeSet::new());
            claims.iter().map(|c| (escape(&c.path), c.after.is_some())).collect()
        };
        assert_eq!(told(&[b"d"]), [("d".into(), true), ("d/x".into(), false)]);
        assert_eq!(told(&[b"d", b"d/new"]).len(), 3);
        assert_eq!(told(&[b"e"]), [("e".into(), true)]);
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
