//! A sandbox without git. It keeps a list instead of an index and tells which lines of it differ; we say which
//! contents we want to see, hash them, and so learn what git would have said. What it sends is read in [`reading`].

pub mod reading;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use reading::{Content, Contents, Listing};

use super::ignored::{self as kept, Ignored, RULE_SIZE_MAX, RULES_MAX};
use super::pull::{self, Archive, INLINE_MAX, Offer};
use super::records::{Limits, Records, Refused, Sink, too_many};
use super::{COMMON, Error};
use crate::daytona::script::Script;
use crate::rel_path::{RelPath, escape};
use crate::tree::{Entry, Mode, Oid, Tree};
use crate::worktree::ignores::{ignored, is_rules};
use crate::worktree::{Repo, Store};

const TAKE: &str = include_str!("../scripts/take.sh");

/// One question asks for this many bytes of names at most.
const NAMES_MAX: usize = 32 * 1024;
/// One question asks for this many bytes of contents, by what the list says, unless a single file is larger.
const CONTENT_MAX: u64 = 64 << 20;
/// Our own folder in a workspace.
const OURS: &[u8] = b".sandbox-coder/";

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
    contents: Contents,
    /// What could not be read, for the report.
    trouble: Vec<String>,
    nested: BTreeSet<Vec<u8>>,
    ignored: Ignored,
    deletes: bool,
}

/// Where contents go.
struct Stored<'s>(&'s Store);

impl Sink for Stored<'_> {
    fn store(&mut self, from: &mut dyn Read, size: u64) -> io::Result<Oid> {
        self.0.write_blob_from(from, size).map_err(io::Error::other)
    }
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
        let contents = Contents::new(list.size());
        let mut listing = reading::listing(MultiGzDecoder::new(list.into_file()), limits)?;
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
            contents,
            trouble: Vec::new(),
            nested: BTreeSet::new(),
            ignored: Ignored::default(),
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
        let rules = self.rules()?;
        let ignored = ignored(&self.repo, &rules, &new)?;
        if rules != kept::rules(&self.store, kept::rule_files(&self.base))? {
            let list = ignored.iter().flat_map(|path| [path.as_bytes(), b"\0"].concat());
            let list: Vec<u8> = list.collect();
            let told = Ignored { cut: false, ..Ignored::read(&list) };
            self.ignored = told.since(&self.repo, &self.store, &self.base)?;
        }
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
            return Err(Refused::TooLarge(too_many(&self.limits)).into());
        }
        wanted.retain(|name| !self.known.contains_key(name));
        Ok(wanted)
    }

    /// The sandbox's ignore files: those of the base, with what became known since.
    fn rules(&self) -> Result<Vec<(RelPath, Vec<u8>)>, Error> {
        let mut ids: BTreeMap<RelPath, Oid> = kept::rule_files(&self.base)
            .filter(|(path, _)| !self.listing.gone.contains(path.as_bytes()))
            .collect();
        for (path, entry) in &self.known {
            if is_rules(path)
                && matches!(entry.mode, Mode::File | Mode::Exec)
                && let Ok(path) = RelPath::parse(path)
            {
                ids.insert(path, entry.id);
            }
        }
        kept::rules(&self.store, ids)
    }

    /// The repository inside that `path` lies in.
    fn repository_above(&self, path: &[u8]) -> Option<Vec<u8>> {
        let above = memchr::memchr_iter(b'/', path).map(|cut| &path[..cut]);
        above.into_iter().find(|dir| self.listing.repositories.contains(*dir)).map(<[u8]>::to_vec)
    }

    /// Reads the answer to the last question into the store.
    pub fn take(&mut self, answer: Archive) -> Result<(), Error> {
        let asked = std::mem::take(&mut self.asked);
        let (packed, sink) = (answer.size(), &mut Stored(&self.store));
        let (gzip, limits) = (answer.into_file(), &self.limits);
        let contents = self.contents.read(gzip, packed, asked.len(), limits, sink)?;
        for (path, content) in asked.into_iter().zip(contents) {
            match content {
                Content::Gone => {}
                Content::Unreadable => {
                    self.trouble.push(format!("`{}` cannot be read", escape(&path)));
                }
                Content::Whole { link, id } => {
                    let mode = reading::mode(link, self.listing.now.get(&path));
                    self.known.insert(path, Entry { mode, id });
                }
            }
        }
        Ok(())
    }

    /// Everything that differs from the base, as a sandbox with git would have told it. What could not be read
    /// counts as unchanged and is told in the offer.
    pub fn finish(self, offer: &mut Offer) -> Result<Records, Error> {
        let gone = if self.deletes { self.listing.gone } else { BTreeSet::new() };
        let claims = reading::claims(&self.base, self.known, gone);
        // With a name that is none there is no tree; such a result is refused when it is judged.
        let tree = match pull::theirs(&self.base, &claims) {
            Ok(tree) => self.store.write_tree(&tree)?,
            Err(_) => offer.tree,
        };
        offer.nested.extend(self.nested.iter().map(|p| String::from_utf8_lossy(p).into_owned()));
        offer.ignored = self.ignored;
        for line in self.trouble {
            offer.trouble.push_str(&format!("{line}\n"));
        }
        Ok(Records { tree, claims, content: self.contents.size() })
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
