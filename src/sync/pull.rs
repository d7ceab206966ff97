//! There to here: ask what differs, fetch it, verify every byte, and later move the base.

use std::io::{self, Read, Seek, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::ignored::{self, Ignored};
use super::records::{self, Limits, Records};
use super::threats::Claim;
use super::{COMMON, Error, plain, push};
use crate::daytona::script::{Script, said};
use crate::daytona::{Patience, Toolbox};
use crate::rel_path::RelPath;
use crate::tree::{Oid, Tree};
use crate::worktree::bulk::Bulk;
use crate::worktree::{Repo, Store};

const PULL: &str = include_str!("scripts/pull.sh");
const FORGET: &str = include_str!("scripts/forget.sh");
const SETTLE: &str = include_str!("scripts/settle.sh");

/// Results up to this size travel inside the answer.
pub(super) const INLINE_MAX: u64 = 64 * 1024;

/// No shell counts further, twenty times.
const PATHS_MAX: usize = 100_000_000;

/// What the sandbox says to the question.
#[derive(Debug)]
pub enum Answer {
    /// There is a result.
    Out(Box<Offer>),
    /// It has another base, or none.
    Stale(Option<Oid>),
    /// Another sync is under way.
    Busy,
    /// A push was cut short: from, to.
    Torn(String),
}

/// A result that can be fetched.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The sandbox's base.
    pub base: Oid,
    /// The tree its differences start from: the base, unless they were asked for since an earlier one.
    pub from: Oid,
    /// The tree the sandbox has. Without git it cannot know: then this only names what it saw.
    pub tree: Oid,
    /// Bytes of the archive.
    pub size: u64,
    /// Something was still being written.
    pub moving: bool,
    /// Repositories inside the workspace that were left out, lossy, for the report.
    pub nested: Vec<String>,
    /// What git complained of over there, for the report.
    pub trouble: String,
    /// What ignore files that were edited over there keep there, once the result was fetched.
    pub ignored: Ignored,
    /// All that git ignores over there, where an ignore file was edited.
    pub all_ignored: Ignored,
    plain: bool,
    sha256: String,
    path: String,
    data: Option<Vec<u8>>,
}

/// Adds the step that asks what differs from the base.
pub fn add_to(script: &mut Script, limits: &Limits) {
    add_question(script, limits, "-");
}

/// Adds the step that asks what differs from a tree that came before the base. A sandbox that does not know that
/// tree tells all it has, as what differs from the empty one.
pub fn add_since(script: &mut Script, limits: &Limits, since: Oid) {
    add_question(script, limits, &since.to_string());
}

fn add_question(script: &mut Script, limits: &Limits, since: &str) {
    script
        .set("SINCE", since)
        .set("MAXN", &limits.paths.min(PATHS_MAX).to_string())
        .set("INLINE", &INLINE_MAX.to_string())
        .set("NAMES", &ignored::NAMES_MAX.to_string())
        .step(&format!("{COMMON}\n{PULL}"));
}

/// Adds the step that moves the base to a tree that was fetched and applied. `seen` is what the offer called it.
pub fn add_settle(script: &mut Script, from: Oid, to: Oid, seen: Oid) {
    script
        .set("FROM", &from.to_string())
        .set("TO", &to.to_string())
        .set("SEEN", &seen.to_string())
        .step(&format!("{COMMON}\n{SETTLE}"));
}

/// Adds the step that forgets what was agreed and leaves the files as they are.
pub fn add_forget(script: &mut Script) {
    script.step(&format!("{COMMON}\n{FORGET}"));
}

/// Where files lie that a push had put aside, if it was cut short.
pub fn heard_forget(result: &str) -> Result<Option<String>, Error> {
    let mut aside = None;
    for (word, rest) in said(result) {
        match word {
            "aside" => aside = Some(rest.to_owned()),
            "forgotten" => return Ok(aside),
            _ => return Err(push::refusal(word, rest, result)),
        }
    }
    Err(push::refusal("", "", result))
}

/// Whether the base was moved.
pub fn heard_settle(result: &str) -> bool {
    said(result).any(|(word, _)| word == "settled")
}

/// Reads the answer of the step.
pub fn heard(result: &str) -> Result<Answer, Error> {
    let (mut nested, mut trouble, mut moving) = (Vec::new(), String::new(), false);
    let mut all_ignored = Ignored::default();
    let (mut offer, mut from): (Option<Offer>, Option<Oid>) = (None, None);
    let text = |rest: &str| {
        String::from_utf8_lossy(&STANDARD.decode(rest).unwrap_or_default()).into_owned()
    };
    for (word, rest) in said(result) {
        match word {
            "moving" => moving = true,
            // Newlines in names have changed places with the character 1.
            "nested" => nested = text(rest).lines().map(|n| n.replace('\u{1}', "\n")).collect(),
            "trouble" => trouble = text(rest),
            "ignored" => {
                all_ignored = Ignored::read(&STANDARD.decode(rest).unwrap_or_default());
            }
            "since" => {
                from = Some(rest.trim().parse().map_err(|_| push::refusal("", "", result))?);
            }
            "out" | "list" => {
                let read = read_offer(rest).ok_or_else(|| push::refusal("", "", result))?;
                offer = Some(Offer { plain: word == "list", ..read });
            }
            "data" => {
                let data = STANDARD.decode(rest).map_err(|_| push::refusal("", "", result))?;
                if let Some(offer) = &mut offer {
                    offer.data = Some(data);
                }
            }
            "stale" => return Ok(Answer::Stale(rest.trim().parse().ok())),
            "busy" => return Ok(Answer::Busy),
            "torn" => return Ok(Answer::Torn(rest.to_owned())),
            _ => return Err(push::refusal(word, rest, result)),
        }
    }
    match offer {
        Some(offer) => {
            let from = from.unwrap_or(offer.base);
            Ok(Answer::Out(Box::new(Offer { from, nested, trouble, all_ignored, moving, ..offer })))
        }
        None => Err(push::refusal("", "", result)),
    }
}

fn read_offer(rest: &str) -> Option<Offer> {
    let words: Vec<&str> = rest.splitn(6, ' ').collect();
    let [base, tree, _count, size, sha256, path] = words[..] else { return None };
    let base = base.parse().ok()?;
    Some(Offer {
        base,
        from: base,
        tree: tree.parse().ok()?,
        size: size.parse().ok()?,
        moving: false,
        nested: Vec::new(),
        trouble: String::new(),
        ignored: Ignored::default(),
        all_ignored: Ignored::default(),
        plain: false,
        sha256: sha256.to_owned(),
        path: path.to_owned(),
        data: None,
    })
}

impl Offer {
    /// Where the archive lies over there.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the sandbox has no git: the archive is a list, for [`plain`] to go on with.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether a list names all that is there, not what differs.
    pub(super) fn lists_all(&self) -> bool {
        self.plain && self.from != self.base
    }

    /// Whether the base may be moved to it. A list is what the next look is held against, so it must not stand
    /// for what could not be read.
    pub fn can_settle(&self) -> bool {
        !self.plain || self.trouble.is_empty()
    }
}

/// The archive of an offer, whole and checked, in a file of ours without a name.
#[derive(Debug)]
pub struct Archive {
    file: std::fs::File,
    size: u64,
}

impl Archive {
    /// Takes an archive from a reader, or from the answer itself when it came along.
    pub fn read(offer: &Offer, from: &mut dyn Read, spool: &Path) -> Result<Archive, Error> {
        let mut arriving = Arriving::new(offer, spool)?;
        match &offer.data {
            Some(data) => arriving.take(data)?,
            None => {
                let mut chunk = vec![0; 64 * 1024];
                loop {
                    match from.read(&mut chunk).map_err(|e| arriving.io(e))? {
                        0 => break,
                        n => arriving.take(&chunk[..n])?,
                    }
                }
            }
        }
        arriving.whole()
    }

    /// Its bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The file, at its beginning.
    pub(super) fn into_file(self) -> std::fs::File {
        self.file
    }
}

/// An archive of which a part is here.
struct Arriving<'o> {
    offer: &'o Offer,
    spool: &'o Path,
    file: std::fs::File,
    hash: Sha256,
    size: u64,
}

impl<'o> Arriving<'o> {
    fn new(offer: &'o Offer, spool: &'o Path) -> Result<Self, Error> {
        let file = tempfile::tempfile_in(spool)
            .map_err(|source| Error::Spool { dir: spool.to_owned(), source })?;
        Ok(Self { offer, spool, file, hash: Sha256::new(), size: 0 })
    }

    fn io(&self, source: io::Error) -> Error {
        Error::Spool { dir: self.spool.to_owned(), source }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.size += chunk.len() as u64;
        // More than was announced is not written: the disk is ours.
        if self.size <= self.offer.size {
            self.hash.update(chunk);
            self.file.write_all(chunk).map_err(|e| self.io(e))?;
        }
        Ok(())
    }

    fn too_much(&self) -> bool {
        self.size > self.offer.size
    }

    fn whole(mut self) -> Result<Archive, Error> {
        let hash = hex::encode(std::mem::take(&mut self.hash).finalize());
        if self.size != self.offer.size || hash != self.offer.sha256 {
            return Err(Error::Truncated { got: self.size, announced: self.offer.size });
        }
        self.file.rewind().map_err(|e| self.io(e))?;
        Ok(Archive { file: self.file, size: self.size })
    }
}

/// Fetches the archive of an offer into `spool`. Goes on after a cut; what arrives must have the announced
/// size and hash.
pub async fn fetch(
    toolbox: &Toolbox,
    offer: &Offer,
    limits: &Limits,
    spool: &Path,
) -> Result<Archive, Error> {
    if offer.size > limits.total {
        let size = offer.size >> 20;
        return Err(Error::TooMany(format!("{size} MiB, more than `--max-result-size` allows")));
    }
    if offer.data.is_some() {
        return Archive::read(offer, &mut io::empty(), spool);
    }
    let mut arriving = Arriving::new(offer, spool)?;
    let mut download = toolbox.download(&offer.path, 0).await?;
    while let Some(chunk) = download.chunk().await? {
        arriving.take(&chunk)?;
        if arriving.too_much() {
            break;
        }
    }
    arriving.whole()
}

/// Fetches and reads what an offer holds, with as many more questions as a sandbox without git needs. What could
/// not be had is added to the offer.
pub async fn records(
    toolbox: &Toolbox,
    offer: &mut Offer,
    limits: &Limits,
    repo: &Repo,
) -> Result<Records, Error> {
    let (spool, from) = (repo.state_dir(), offer.from);
    let archive = fetch(toolbox, offer, limits, &spool).await?;
    if !offer.plain {
        let (repo, told, limits) = (repo.clone(), offer.clone(), *limits);
        let (records, ignored) = blocking(move || {
            let store = Store::open(&repo)?;
            let records = unpack(archive, &told, from, &limits, &store)?;
            let ignored = match told.all_ignored {
                none if none.names.is_empty() => none,
                all => all.since(&repo, &store, &store.read_tree(from)?)?,
            };
            Ok((records, ignored))
        })
        .await?;
        offer.ignored = ignored;
        return Ok(records);
    }
    let (begun, of) = (repo.clone(), offer.clone());
    let mut inquiry = blocking({
        let limits = *limits;
        move || plain::Inquiry::new(&begun, from, &of, archive, &limits)
    })
    .await?;
    loop {
        let (back, asked) = blocking(move || {
            let asked = inquiry.ask();
            Ok::<_, Error>((inquiry, asked?))
        })
        .await?;
        inquiry = back;
        let Some(names) = asked else { break };
        let mut script = Script::new();
        plain::add_to(&mut script, offer, &names);
        let result = toolbox.run_long(&script, Patience::default()).await?.result;
        let Answer::Out(answer) = heard(&result)? else { return Err(Error::Inconsistent) };
        let archive = fetch(toolbox, &answer, limits, &spool).await?;
        inquiry = blocking(move || inquiry.take(archive).map(|()| inquiry)).await?;
    }
    let mut told = offer.clone();
    let (records, told) =
        blocking(move || inquiry.finish(&mut told).map(|records| (records, told))).await?;
    *offer = told;
    Ok(records)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Reads an archive into the store: every object hashed, nothing believed. Blocking.
pub fn unpack(
    archive: Archive,
    offer: &Offer,
    base: Oid,
    limits: &Limits,
    store: &Store,
) -> Result<Records, Error> {
    struct Into<'s> {
        store: &'s Store,
        bulk: Bulk<'s>,
    }
    impl records::Sink for Into<'_> {
        fn expect(&mut self, contents: usize) -> io::Result<()> {
            self.bulk = self.store.bulk(contents).map_err(io::Error::other)?;
            Ok(())
        }

        fn store(&mut self, from: &mut dyn Read, size: u64) -> io::Result<Oid> {
            self.bulk.write_blob_from(from, size).map_err(io::Error::other)
        }
    }
    let mut into = Into { store, bulk: store.bulk(0)? };
    let records = records::read(archive.file, archive.size, base, limits, &mut into)?;
    into.bulk.finish()?;
    if records.tree != offer.tree {
        return Err(records::Refused::Format("two different trees were announced").into());
    }
    Ok(records)
}

/// Pure: the sandbox's tree, from the base and what differs. The names were accepted by `threats`.
pub fn theirs(base: &Tree, claims: &[Claim]) -> Result<Tree, Error> {
    let mut tree = base.clone();
    for claim in claims {
        let path = RelPath::parse(&claim.path).map_err(|_| Error::Inconsistent)?;
        let before = match claim.after {
            Some(after) => tree.insert(path, after),
            None => tree.remove(&path),
        };
        if before != claim.before {
            return Err(Error::Inconsistent);
        }
    }
    Ok(tree)
}
