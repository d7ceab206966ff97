//! The result as the sandbox sends it, read with suspicion.
//!
//! Format, gzipped: `SBXOUT1 <base> <tree> <length>` NUL, then `length` bytes of `git diff-tree --raw -z`,
//! then `git cat-file --batch` records, one for each distinct object. No name in it becomes a path here:
//! names leave this file as bytes, for `threats` to judge.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;

use super::threats::Claim;
use crate::tree::{Entry, Mode, Oid};

/// What is accepted at most; more is refused while it streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Paths that differ.
    pub paths: usize,
    /// Bytes of all contents.
    pub total: u64,
    /// Bytes of one content.
    pub one: u64,
    /// Bytes of the list of differences.
    pub manifest: u64,
    /// Unpacked bytes for each packed one, beyond the first 64 MiB.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { paths: 100_000, total: 2 << 30, one: 512 << 20, manifest: MANIFEST, ratio: 200 }
    }
}

/// Bytes of a list that are always accepted.
const MANIFEST: u64 = 64 << 20;
/// What one line of a list may take on average, beyond that.
const LINE: u64 = 640;

impl Limits {
    /// As the settings say: bytes of all contents, bytes of one, changed paths.
    pub fn of(total: u64, one: u64, paths: u64) -> Self {
        let manifest = MANIFEST.max(paths.saturating_mul(LINE));
        let paths = usize::try_from(paths).unwrap_or(usize::MAX);
        Self { paths, total, one, manifest, ..Self::default() }
    }
}

/// Why a result is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not our format.
    #[error("the result is damaged: {0}")]
    Format(&'static str),
    /// The base is not the one we agreed on.
    #[error("the result starts from {found}, not from the agreed {expected}")]
    Base {
        /// What it says.
        found: Oid,
        /// What we know.
        expected: Oid,
    },
    /// A content that is not what its id says, or that nobody announced.
    #[error("object {0} is not what the result announced")]
    Object(String),
    /// Announced and not there.
    #[error("object {0} was announced and is missing")]
    Missing(Oid),
    /// Too much.
    #[error("the result is larger than accepted: {0}")]
    TooLarge(String),
    /// Our disk, or a stream that ended early.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What was read.
#[derive(Debug)]
pub struct Records {
    /// The tree the sandbox says it has.
    pub tree: Oid,
    /// Every difference from the base, names unchecked, in the order of their bytes.
    pub claims: Vec<Claim>,
    /// Bytes of all contents.
    pub content: u64,
}

/// Where verified contents go.
pub trait Sink {
    /// Hears how many contents were announced before the first of them comes.
    fn expect(&mut self, _contents: usize) -> io::Result<()> {
        Ok(())
    }

    /// Stores `size` bytes of `from` and returns the id they have.
    fn store(&mut self, from: &mut dyn Read, size: u64) -> io::Result<Oid>;
}

/// Reads a result. `packed` is its size in bytes.
pub fn read(
    source: impl Read,
    packed: u64,
    base: Oid,
    limits: &Limits,
    sink: &mut dyn Sink,
) -> Result<Records, Refused> {
    let mut input = BufReader::with_capacity(64 * 1024, MultiGzDecoder::new(source));
    let (found, tree, length) = header(&mut input)?;
    if found != base {
        return Err(Refused::Base { found, expected: base });
    }
    if length > limits.manifest {
        return Err(Refused::TooLarge(format!("a list of {length} bytes")));
    }
    let mut list = Vec::new();
    input.by_ref().take(length).read_to_end(&mut list)?;
    if list.len() as u64 != length {
        return Err(Refused::Format("the list ends early"));
    }
    let claims = manifest(&list, limits)?;
    let mut wanted: BTreeSet<Oid> = claims.iter().filter_map(|c| c.after).map(|e| e.id).collect();
    let mut content = 0;
    sink.expect(wanted.len())?;
    while let Some((id, size)) = object_header(&mut input)? {
        if !wanted.remove(&id) {
            return Err(Refused::Object(id.to_string()));
        }
        content = size.saturating_add(content);
        check_size(size, content, packed, limits)?;
        let stored = sink.store(&mut input.by_ref().take(size), size)?;
        if stored != id {
            return Err(Refused::Object(id.to_string()));
        }
        let mut end = [0];
        input.read_exact(&mut end)?;
        if end != *b"\n" {
            return Err(Refused::Format("an object is longer than it says"));
        }
    }
    match wanted.first() {
        Some(id) => Err(Refused::Missing(*id)),
        None => Ok(Records { tree, claims, content }),
    }
}

pub(super) fn check_size(
    size: u64,
    total: u64,
    packed: u64,
    limits: &Limits,
) -> Result<(), Refused> {
    const FREE: u64 = 64 << 20;
    if size > limits.one {
        let words = format!("one file of {} MiB, more than `--max-result-file` allows", size >> 20);
        return Err(Refused::TooLarge(words));
    }
    if total > limits.total {
        return Err(Refused::TooLarge(format!(
            "more than {} MiB of changed files, which is what `--max-result-size` allows",
            limits.total >> 20
        )));
    }
    if total > FREE && total / limits.ratio > packed.max(1) {
        return Err(Refused::TooLarge("it unpacks to far more than it is".into()));
    }
    Ok(())
}

fn header(input: &mut impl BufRead) -> Result<(Oid, Oid, u64), Refused> {
    let mut line = Vec::new();
    input.take(200).read_until(0, &mut line)?;
    let text = line.strip_suffix(&[0]).and_then(|l| std::str::from_utf8(l).ok());
    let words: Vec<&str> = text.unwrap_or_default().split(' ').collect();
    let ["SBXOUT1", base, tree, length] = words[..] else {
        return Err(Refused::Format("no header"));
    };
    match (base.parse(), tree.parse(), length.parse()) {
        (Ok(base), Ok(tree), Ok(length)) => Ok((base, tree, length)),
        _ => Err(Refused::Format("the header cannot be read")),
    }
}

/// The list of differences: `:<mode> <mode> <id> <id> <letter>` NUL name NUL, in strict order of names.
pub fn manifest(list: &[u8], limits: &Limits) -> Result<Vec<Claim>, Refused> {
    let mut claims: Vec<Claim> = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        let (facts, name) = (field(&mut rest)?, field(&mut rest)?);
        let claim = claim(facts, name)?;
        // Git sorts a folder as if its name ended in `/`; whole names therefore rise byte by byte.
        if claims.last().is_some_and(|last| last.path >= claim.path) {
            return Err(Refused::Format("names are not in order"));
        }
        claims.push(claim);
        if claims.len() > limits.paths {
            return Err(Refused::TooLarge(too_many(limits)));
        }
    }
    Ok(claims)
}

/// Words for too many paths.
pub(super) fn too_many(limits: &Limits) -> String {
    format!("more than {} changed files, which is what `--max-result-files` allows", limits.paths)
}

fn field<'l>(rest: &mut &'l [u8]) -> Result<&'l [u8], Refused> {
    let end = memchr::memchr(0, rest).ok_or(Refused::Format("the list is cut"))?;
    let (field, more) = rest.split_at(end);
    *rest = &more[1..];
    Ok(field)
}

fn claim(facts: &[u8], name: &[u8]) -> Result<Claim, Refused> {
    let bad = || Refused::Format("a line of the list cannot be read");
    let facts = facts.strip_prefix(b":").ok_or_else(bad)?;
    let words: Vec<&[u8]> = facts.split(|b| *b == b' ').collect();
    let [mode_before, mode_after, id_before, id_after, letter] = words[..] else {
        return Err(bad());
    };
    let side = |mode: &[u8], id: &[u8]| -> Result<Option<Entry>, Refused> {
        if mode == b"000000" {
            return Ok(None);
        }
        let mode =
            Mode::from_git(mode).ok_or(Refused::Format("a file type that is not accepted"))?;
        let id = std::str::from_utf8(id).ok().and_then(|t| t.parse().ok()).ok_or_else(bad)?;
        Ok(Some(Entry { mode, id }))
    };
    let (before, after) = (side(mode_before, id_before)?, side(mode_after, id_after)?);
    let fits = match letter {
        b"A" => before.is_none() && after.is_some(),
        b"D" => before.is_some() && after.is_none(),
        b"M" | b"T" => before.is_some() && after.is_some() && before != after,
        _ => false,
    };
    if !fits || after.is_some_and(|e| e.mode == Mode::Gitlink) {
        return Err(bad());
    }
    Ok(Claim { path: name.to_vec(), before, after })
}

/// `<id> blob <size>` and a newline, or the proper end.
fn object_header(input: &mut impl BufRead) -> Result<Option<(Oid, u64)>, Refused> {
    let mut line = Vec::new();
    input.take(100).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let text =
        line.strip_suffix(b"\n").and_then(|l| std::str::from_utf8(l).ok()).unwrap_or_default();
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        [id, "blob", size] => match (id.parse(), size.parse()) {
            (Ok(id), Ok(size)) => Ok(Some((id, size))),
            _ => Err(Refused::Format("an object's header cannot be read")),
        },
        [id, "missing"] => Err(id
            .parse()
            .map_or(Refused::Format("an object's header cannot be read"), Refused::Missing)),
        _ => Err(Refused::Format("an object's header cannot be read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use std::io::Write;

    struct Memory(Vec<Vec<u8>>);

    impl Sink for Memory {
        fn store(&mut self, from: &mut dyn Read, _size: u64) -> io::Result<Oid> {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes)?;
            let id =
                git2::Oid::hash_object(git2::ObjectType::Blob, &bytes).map_err(io::Error::other)?;
            self.0.push(bytes);
            let mut out = [0; 20];
            out.copy_from_slice(id.as_bytes());
            Ok(Oid(out))
        }
    }

    const HELLO: &str = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"; // "hello", no newline
    const EMPTY: &str = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    fn packed(list: &str, objects: &str) -> Vec<u8> {
        let base = Oid::EMPTY_TREE;
        let mut gz = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        write!(gz, "SBXOUT1 {base} {base} {}\0{list}{objects}", list.len()).unwrap();
        gz.finish().unwrap()
    }

    fn read_all(bytes: &[u8]) -> Result<Records, Refused> {
        read(
            bytes,
            bytes.len() as u64,
            Oid::EMPTY_TREE,
            &Limits::default(),
            &mut Memory(Vec::new()),
        )
    }

    fn added(name: &str) -> String {
        format!(":000000 100644 {ZERO} {HELLO} A\0{name}\0")
    }

    #[test]
    fn a_true_result_is_read() {
        let records = read_all(&packed(&added("a"), &format!("{HELLO} blob 5\nhello\n"))).unwrap();
        assert_eq!((records.claims.len(), records.content), (1, 5));
        assert_eq!(records.claims[0].path, b"a");
    }

    #[test]
    fn every_lie_is_refused() {
        let object = format!("{HELLO} blob 5\nhello\n");
        let two = format!("{}{}", added("a"), added("b").replace(HELLO, EMPTY));
        let lies = [
            ("no object", packed(&added("a"), "")),
            ("an object nobody announced", packed("", &object)),
            ("an object twice", packed(&added("a"), &format!("{object}{object}"))),
            ("another content", packed(&added("a"), &format!("{HELLO} blob 5\nhallo\n"))),
            ("a wrong size", packed(&added("a"), &format!("{HELLO} blob 4\nhello\n"))),
            ("a cut object", packed(&added("a"), &format!("{HELLO} blob 5\nhel"))),
            ("a missing object", packed(&added("a"), &format!("{HELLO} missing\n"))),
            ("a huge size", packed(&added("a"), &format!("{HELLO} blob 99999999999\nhello\n"))),
            (
                "sizes beyond counting",
                packed(&two, &format!("{HELLO} blob 5\nhello\n{EMPTY} blob {}\n", u64::MAX)),
            ),
            ("names out of order", packed(&format!("{}{}", added("b"), added("a")), &object)),
            ("a name twice", packed(&format!("{}{}", added("a"), added("a")), &object)),
            ("a device", packed(&format!(":000000 020644 {ZERO} {HELLO} A\0a\0"), &object)),
            ("a set-id file", packed(&format!(":000000 104755 {ZERO} {HELLO} A\0a\0"), &object)),
            ("a repository", packed(&format!(":000000 160000 {ZERO} {HELLO} A\0a\0"), "")),
            (
                "an addition of something that was there",
                packed(&format!(":100644 100644 {HELLO} {HELLO} A\0a\0"), &object),
            ),
            ("a cut list", packed(&format!(":000000 100644 {ZERO} {HELLO} A\0a"), &object)),
            ("not gzip", b"SBXOUT1".to_vec()),
            ("nothing", Vec::new()),
        ];
        for (what, bytes) in lies {
            assert!(read_all(&bytes).is_err(), "{what}");
        }
    }

    #[test]
    fn another_base_is_refused() {
        let bytes = packed("", "");
        let other = Oid([1; 20]);
        let refused = read(&bytes[..], 1, other, &Limits::default(), &mut Memory(Vec::new()));
        assert!(matches!(refused, Err(Refused::Base { .. })));
    }

    #[test]
    fn every_limit_is_held() {
        let two = format!("{}{}", added("a"), added("b").replace(HELLO, EMPTY));
        let bytes = packed(&two, &format!("{HELLO} blob 5\nhello\n{EMPTY} blob 0\n\n"));
        let read_within = |limits: Limits, bytes: &[u8]| {
            let sink = &mut Memory(Vec::new());
            read(bytes, bytes.len() as u64, Oid::EMPTY_TREE, &limits, sink)
        };
        let all = Limits { paths: 2, total: 5, one: 5, manifest: two.len() as u64, ratio: 1 };
        assert!(read_within(all, &bytes).is_ok(), "what is at the limits is taken");
        for less in [
            Limits { paths: 1, ..all },
            Limits { total: 4, ..all },
            Limits { one: 4, ..all },
            Limits { manifest: all.manifest - 1, ..all },
        ] {
            let refused = read_within(less, &bytes);
            assert!(matches!(refused, Err(Refused::TooLarge(_))), "{less:?}: {refused:?}");
        }
        // More than 64 MiB out of next to nothing.
        let zeros = "\0".repeat((64 << 20) + 1);
        let id = git2::Oid::hash_object(git2::ObjectType::Blob, zeros.as_bytes()).unwrap();
        let list = format!(":000000 100644 {ZERO} {id} A\0a\0");
        let bomb = packed(&list, &format!("{id} blob {}\n{zeros}\n", zeros.len()));
        let ratio = (zeros.len() / bomb.len()) as u64;
        let of = |ratio| Limits { ratio, ..Limits::default() };
        assert!(matches!(read_within(of(ratio - 1), &bomb), Err(Refused::TooLarge(_))));
        assert!(read_within(of(ratio + 1), &bomb).is_ok());
    }

    #[test]
    fn settings_move_the_limits() {
        let usual = Limits::of(2 << 30, 512 << 20, 100_000);
        assert_eq!(usual, Limits::default());
        let more = Limits::of(u64::MAX, u64::MAX, u64::MAX);
        assert_eq!((more.paths, more.manifest), (usize::MAX, u64::MAX));
        let less = Limits::of(10, 5, 1);
        assert_eq!((less.total, less.one, less.paths, less.manifest), (10, 5, 1, MANIFEST));
    }

    #[test]
    fn a_bomb_is_refused_while_it_streams() {
        let limits = Limits { total: 100, ..Limits::default() };
        let big = "x".repeat(200);
        let id = git2::Oid::hash_object(git2::ObjectType::Blob, big.as_bytes()).unwrap();
        let bytes = packed(
            &format!(":000000 100644 {ZERO} {id} A\0a\0"),
            &format!("{id} blob 200\n{big}\n"),
        );
        let mut sink = Memory(Vec::new());
        let refused = read(&bytes[..], bytes.len() as u64, Oid::EMPTY_TREE, &limits, &mut sink);
        assert!(matches!(refused, Err(Refused::TooLarge(_))) && sink.0.is_empty());
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_all(&bytes);
            let _ = manifest(&bytes, &Limits::default());
        }

        #[test]
        fn a_flipped_byte_is_refused_or_changes_nothing(at in 0usize..200, bit in 0u8..8) {
            let mut plain = format!("SBXOUT1 {0} {0} {1}\0{2}{HELLO} blob 5\nhello\n", Oid::EMPTY_TREE, added("a").len(), added("a")).into_bytes();
            let at = at % plain.len();
            plain[at] ^= 1 << bit;
            let mut gz = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(&plain).unwrap();
            if let Ok(records) = read_all(&gz.finish().unwrap()) {
                // Only the name and the announced tree are not covered by a hash of ours yet.
                prop_assert_eq!(records.content, 5);
            }
        }
    }
}
