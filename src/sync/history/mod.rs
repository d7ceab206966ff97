//! HEAD's history for the agent: `git log`, `blame`, `diff` and `status` over there, at the user's own commit.
//!
//! It travels once, as a pack of what HEAD needs and a list of the commits whose parents are left out, and
//! becomes the workspace's `.git`; later only what is new follows. No remote, hook, credential or setting
//! of the user's goes along. It is a convenience: nothing else has to hang on it, whatever fails is a warning, and
//! the sync never reads the workspace's `.git`. Once the agent has made commits of its own, its repository
//! is left alone.
//!
//! Before it is anyone's `.git`, the first one can serve the sync: what HEAD's tree holds need not travel once
//! more in the archive ([`History::carried`]). What is made from it over there is verified like the rest.

mod known;
mod source;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::counted::Counted;
use super::pack::Link;
use super::push::Carried;
use crate::daytona::Toolbox;
use crate::daytona::script::{Script, said};
use crate::tree::Oid;
use crate::worktree::Repo;
use crate::worktree::repo::ObjectFormat;
pub use known::{Depth, Known, Standing, Wanted};
use source::{Commits, Limits, Source};

const HISTORY: &str = include_str!("../scripts/history.sh");

/// Levels of parents that a shallow history goes down, HEAD counted.
pub const SHALLOW: u32 = 50;
/// A larger pack is not sent.
pub const PACK_MAX: u64 = 200 << 20;
/// Packs up to this size travel inside the step that starts the run.
const INLINE_MAX: u64 = 64 * 1024;
/// Commits that are looked at to find where a history is cut.
const COMMITS_MAX: usize = 20_000;
/// How long git may pack.
const PACKING: Duration = Duration::from_secs(60);
/// How long the pack may take to get there.
pub const UPLOADING: Duration = Duration::from_secs(120);

/// Why there is no history to send.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Git could not pack it: objects are missing here, for one.
    #[error("git could not pack it: {0}")]
    Git(String),
    /// The pack is larger than is sent.
    #[error("it is larger than {} MiB packed", .0 >> 20)]
    TooLarge(u64),
    /// Packing took too long.
    #[error("packing it took longer than {}s", .0.as_secs())]
    Slow(Duration),
    /// A folder of ours.
    #[error("use `{}`: {source}", dir.display())]
    Local {
        /// Where.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is to be sent.
#[derive(Debug)]
pub struct History {
    id: String,
    format: ObjectFormat,
    /// What was asked for; it is settled by this, whatever comes of it.
    wanted: Wanted,
    /// The commit that is sent; without one there will be one commit of the worktree.
    head: Option<String>,
    /// The commit it starts from.
    old: Option<String>,
    marks: BTreeSet<String>,
    /// How many levels it has, when that is less than was asked for, and why.
    pub shortened: Option<(u32, String)>,
    pack: Option<Pack>,
    /// HEAD's tree, if all of it is in the pack.
    tree: Option<Oid>,
    taken: bool,
}

/// The list of [`History::marks`], then the pack's index, unless it is made over there, then the pack.
#[derive(Debug)]
struct Pack {
    size: u64,
    sha256: String,
    list: u64,
    index: u64,
    name: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Inline(String),
    File { here: File, there: Option<String> },
}

impl History {
    /// No history: one commit, where the workspace has no repository yet.
    pub fn none(wanted: &Wanted) -> Self {
        Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            format: ObjectFormat::Sha1,
            wanted: wanted.clone(),
            head: None,
            old: None,
            marks: BTreeSet::new(),
            shortened: None,
            pack: None,
            tree: None,
            taken: false,
        }
    }

    /// Packs what takes the sandbox from what it has to what is wanted. Where that is more than `max` bytes,
    /// or objects are missing here, less of the past is tried. `link` says how much a smaller pack is worth.
    pub fn plan(
        repo: &Repo,
        wanted: &Wanted,
        known: Option<&Known>,
        max: u64,
        link: Link,
    ) -> Result<Self, Error> {
        let limits = Limits { size: max, time: PACKING, link };
        let mut history = Self::none(wanted);
        let Some(head) = wanted.head.as_deref() else { return Ok(history) };
        history.head = Some(head.to_owned());
        history.format = repo.object_format();
        let source = Source::open(repo)?;
        if let Some(known) = known
            && let Some((old, marks)) = continuation(&source, head, wanted, known)?
        {
            history.old = Some(old);
            // What the sandbox was cut at hides the same from both sides.
            let ends = marks.union(&known.marks).cloned().collect();
            history.marks = marks;
            history.wanted.depth = known.depth;
            match history.write(repo, &source, &ends, &limits) {
                Err(Error::TooLarge(_) | Error::Git(_)) => history.old = None,
                done => return done.map(|()| history),
            }
        }
        let depths: &[u32] = match wanted.depth {
            Depth::Full => &[u32::MAX, SHALLOW, 1],
            Depth::Shallow | Depth::None => &[SHALLOW, 1],
        };
        let mut refused = None;
        for depth in depths {
            history.marks = marks(&source, head, *depth)?;
            history.shortened = refused.as_ref().map(|why: &Error| (*depth, why.to_string()));
            let ends = history.marks.clone();
            match history.write(repo, &source, &ends, &limits) {
                Err(why @ (Error::TooLarge(_) | Error::Git(_))) => refused = Some(why),
                done => return done.map(|()| history),
            }
        }
        Err(refused.expect("there is a depth to try"))
    }

    fn write(
        &mut self,
        repo: &Repo,
        source: &Source,
        ends: &BTreeSet<String>,
        limits: &Limits,
    ) -> Result<(), Error> {
        let Some(head) = self.head.as_deref().filter(|head| self.old.as_deref() != Some(head))
        else {
            return Ok(());
        };
        let dir = repo.state_dir();
        let io = |source| Error::Local { dir: dir.clone(), source };
        let mut here = tempfile::tempfile_in(&dir).map_err(io)?;
        let mut counted = Counted::new(&mut here);
        let list = source::lines(&self.marks);
        counted.write_all(list.as_bytes()).map_err(io)?;
        let (mut index, mut name) = (0, String::new());
        if let Some(old) = self.old.as_deref() {
            source.pack_since((head, old), ends, &mut counted, limits)?;
        } else {
            let mut whole = source.pack(head, ends, limits)?;
            index = io::copy(&mut whole.index, &mut counted).map_err(io)?;
            io::copy(&mut whole.pack, &mut counted).map_err(io)?;
            name = whole.name;
            let sha1 = self.format == ObjectFormat::Sha1;
            self.tree = source.tree(head)?.filter(|_| sha1).and_then(|id| id.parse().ok());
        }
        let (size, sha256) = counted.end();
        here.rewind().map_err(io)?;
        let place = if size <= INLINE_MAX {
            let mut bytes = Vec::new();
            here.read_to_end(&mut bytes).map_err(io)?;
            Place::Inline(STANDARD.encode(bytes))
        } else {
            Place::File { here, there: None }
        };
        self.pack = Some(Pack { size, sha256, list: list.len() as u64, index, name, place });
        Ok(())
    }

    /// What a whole tree need not bring once more.
    pub fn carried(&self) -> Option<Carried> {
        Some(Carried { by: self.id.clone(), tree: self.tree? })
    }

    /// The sandbox could not make use of it: the tree travels whole, and this beside it.
    pub fn carry_nothing(&mut self) {
        self.tree = None;
        if let Some(Place::File { there, .. }) = self.pack.as_mut().map(|p| &mut p.place) {
            *there = None;
        }
    }

    /// Bytes that travel.
    pub fn bytes(&self) -> u64 {
        self.pack.as_ref().map_or(0, |p| p.size)
    }

    /// Whether it builds on what the sandbox has.
    pub fn continues(&self) -> bool {
        self.old.is_some()
    }

    /// Whether it has to be sent and unpacked ahead of the step that starts the run.
    pub fn goes_ahead(&self) -> bool {
        !self.taken && self.pack.as_ref().is_some_and(|p| !matches!(p.place, Place::Inline(_)))
    }

    /// Sends a large pack, if it is not there yet; returns the bytes that travelled.
    pub async fn upload(&mut self, toolbox: &Toolbox, home: &str) -> Result<u64, super::Error> {
        let path = format!("{home}/.sandbox-coder/sync/in.{}.pack", self.id);
        let Some(pack) = &mut self.pack else { return Ok(0) };
        let Place::File { here, there: there @ None } = &mut pack.place else { return Ok(0) };
        let io = |source| super::Error::Spool { dir: path.clone().into(), source };
        let mut file = here.try_clone().map_err(io)?;
        file.rewind().map_err(io)?;
        let file = tokio::fs::File::from_std(file);
        let stream = tokio_util::io::ReaderStream::with_capacity(file, 64 * 1024);
        toolbox.upload(&path, stream, Some(pack.size)).await?;
        *there = Some(path);
        Ok(pack.size)
    }

    /// Adds the step that unpacks it beside the workspace for the push that counts on it.
    pub fn add_carry(&self, script: &mut Script) {
        self.add(script, "carry");
    }

    /// Adds the step that unpacks it beside the workspace.
    pub fn add_take(&self, script: &mut Script) {
        self.add(script, "take");
    }

    /// Notes that it was unpacked.
    pub fn taken(&mut self) {
        self.taken = true;
    }

    /// Adds the step that puts it in place. That step never fails.
    pub fn add_to(&self, script: &mut Script) {
        self.add(script, "put");
    }

    fn add(&self, script: &mut Script, what: &str) {
        let place = self.pack.as_ref().map(|p| &p.place);
        let (place, data) = match place {
            Some(Place::Inline(data)) => ("inline", data.as_str()),
            Some(Place::File { there: Some(path), .. }) => (path.as_str(), ""),
            Some(Place::File { .. }) | None => ("none", ""),
        };
        let format = match self.format {
            ObjectFormat::Sha1 => "sha1",
            ObjectFormat::Sha256 => "sha256",
        };
        script
            .set("DO", what)
            .set("HID", &self.id)
            .set("HHEAD", self.head.as_deref().unwrap_or_default())
            .set("HBRANCH", self.wanted.branch.as_deref().unwrap_or_default())
            .set("HFORMAT", format)
            .set("HOLD", self.old.as_deref().unwrap_or("-"))
            .set("HPACK", place)
            .set("HSHA", self.pack.as_ref().map_or("-", |p| &p.sha256))
            .set("HMARKS", &self.pack.as_ref().map_or(0, |p| p.list).to_string())
            .set("HINDEX", &self.pack.as_ref().map_or(0, |p| p.index).to_string())
            .set("HNAME", self.pack.as_ref().map_or("", |p| &p.name))
            .set("HDATA", data)
            .step(HISTORY);
    }

    /// What is to be remembered after what the sandbox said. What failed is not tried again before HEAD moves.
    pub fn outcome(&self, sandbox: &str, said: &Said) -> Known {
        let standing = match said {
            Said::Put => Standing::Given,
            Said::Kept => Standing::Kept,
            Said::Minimal | Said::Stale | Said::Taken | Said::Failed(_) => Standing::Without,
        };
        // The sandbox is not where we thought it was: the next run sends everything.
        let head = self.wanted.head.clone().filter(|_| *said != Said::Stale);
        Known {
            sandbox: sandbox.to_owned(),
            standing,
            depth: self.wanted.depth,
            head,
            branch: self.wanted.branch.clone(),
            marks: self.marks.clone(),
        }
    }
}

/// What the sandbox says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// HEAD is what was sent.
    Put,
    /// The pack is unpacked and waits.
    Taken,
    /// There is one commit, or a repository that was there before.
    Minimal,
    /// The repository is the agent's own, or there is no git.
    Kept,
    /// The sandbox does not have what the pack starts from.
    Stale,
    /// It did not work.
    Failed(String),
}

/// Reads the answer of either step; the last word counts.
pub fn heard(result: &str) -> Option<Said> {
    let (_, rest) = said(result).filter(|(word, _)| *word == "history").last()?;
    let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    Some(match word {
        "put" => Said::Put,
        "taken" => Said::Taken,
        "minimal" => Said::Minimal,
        "kept" | "nogit" => Said::Kept,
        "stale" => Said::Stale,
        _ => {
            let words = STANDARD.decode(rest.trim()).unwrap_or_default();
            Said::Failed(crate::rel_path::escape(words.trim_ascii()).replace("\\n", "; "))
        }
    })
}

/// Where a history of that depth is cut: its commits that have a parent outside of it.
fn marks(source: &Source, head: &str, depth: u32) -> Result<BTreeSet<String>, Error> {
    if depth == u32::MAX {
        return Ok(source.cut.clone());
    }
    let found = source.walk(head, depth, COMMITS_MAX, &Commits::new(), &BTreeSet::new())?;
    Ok(boundary(&[&found]))
}

/// The commit a sandbox has, and where its history is cut once `head` is added to it; `None` if everything
/// has to be sent.
fn continuation(
    source: &Source,
    head: &str,
    wanted: &Wanted,
    known: &Known,
) -> Result<Option<(String, BTreeSet<String>)>, Error> {
    let given = known.standing == Standing::Given && known.depth >= wanted.depth;
    let Some(old) = known.head.clone().filter(|_| given) else { return Ok(None) };
    if !source.has(&old)? {
        return Ok(None);
    }
    // Nothing is cut over there: what the sandbox lacks is exactly what git says.
    if known.marks.is_empty() && known.depth == Depth::Full {
        return Ok(Some((old, source.cut.clone())));
    }
    let theirs = source.walk(&old, u32::MAX, COMMITS_MAX, &Commits::new(), &known.marks)?;
    if theirs.len() >= COMMITS_MAX {
        return Ok(None);
    }
    let depth = if known.depth == Depth::Full { u32::MAX } else { SHALLOW };
    let new = source.walk(head, depth, COMMITS_MAX, &theirs, &BTreeSet::new())?;
    Ok(Some((old, boundary(&[&theirs, &new]))))
}

/// The commits with a parent that is in none of the sets.
fn boundary(sets: &[&Commits]) -> BTreeSet<String> {
    let known = |id: &String| sets.iter().any(|set| set.contains_key(id));
    let all = sets.iter().flat_map(|set| set.iter());
    all.filter(|(_, parents)| !parents.iter().all(known)).map(|(id, _)| id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commits(list: &[(&str, &[&str])]) -> Commits {
        let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        list.iter().map(|(id, parents)| ((*id).to_owned(), owned(parents))).collect()
    }

    #[test]
    fn a_history_is_cut_where_a_parent_is_missing() {
        let old = commits(&[("c", &["b"]), ("b", &["a"])]);
        let new = commits(&[("m", &["d", "c"]), ("d", &["x"]), ("root", &[])]);
        assert_eq!(Vec::from_iter(boundary(&[&old])), ["b"]);
        assert_eq!(Vec::from_iter(boundary(&[&old, &new])), ["b", "d"]);
        let deeper = commits(&[("a", &[])]);
        assert!(boundary(&[&old, &deeper]).is_empty());
    }

    #[test]
    fn each_answer_is_understood() {
        assert_eq!(heard("SBX1 ok 1\nSBX1 history put\nSBX1 run-started now"), Some(Said::Put));
        assert_eq!(heard("SBX1 history nogit"), Some(Said::Kept));
        assert_eq!(heard("SBX1 ok 1 already"), None);
        let words = STANDARD.encode("fatal: no\nspace\n");
        let failed = heard(&format!("SBX1 history failed {words}\nSBX1 run-started now"));
        assert_eq!(failed, Some(Said::Failed("fatal: no; space".into())));
    }
}
