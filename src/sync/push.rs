//! Here to there: the plan, the one step that applies it, and what the sandbox says to it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::delta::{Delta, delta};
use super::pack::{Link, pack};
use super::{COMMON, Error, SPARE_EXIT};
use crate::daytona::Toolbox;
use crate::daytona::script::{Script, said};
use crate::tree::{Oid, Tree};
use crate::worktree::Store;

const PUSH: &str = include_str!("scripts/push.sh");

/// Archives up to this size travel inside the step that applies them.
pub const INLINE_MAX: u64 = 64 * 1024;

/// A tree whose contents get to the sandbox by other means than the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The delivery that brings them.
    pub by: String,
    /// The tree.
    pub tree: Oid,
}

/// What is to be sent.
#[derive(Debug)]
pub struct Push {
    /// The base it starts from; `None` sends the whole tree.
    pub from: Option<Oid>,
    /// The tree it leads to.
    pub to: Oid,
    /// Files and links that travel.
    pub files: u64,
    /// Paths that disappear.
    pub deleted: u64,
    /// Bytes of the archive.
    pub bytes: u64,
    id: String,
    sha256: String,
    archive: Archive,
    carried: Option<String>,
}

#[derive(Debug)]
enum Archive {
    None,
    Inline(String),
    File(File),
}

impl Push {
    /// Plans and packs what turns `from` into `to`. Large archives are spooled into `spool`, a folder on
    /// this machine, so that an upload that broke off can be sent again; `link` says how much
    /// compression is worth.
    pub fn plan(
        store: &Store,
        from: Option<(Oid, &Tree)>,
        to: (Oid, &Tree),
        spool: &Path,
        link: Link,
    ) -> Result<Push, Error> {
        let nothing = Tree::new();
        let from = from.map_or((None, &nothing), |(id, tree)| (Some(id), tree));
        Self::prepare(from, to, None, store, spool, link)
    }

    /// The same for a whole tree whose contents are `carried`, but for what differs.
    pub fn plan_beside(
        store: &Store,
        carried: &Carried,
        to: (Oid, &Tree),
        spool: &Path,
        link: Link,
    ) -> Result<Push, Error> {
        Self::prepare((None, &Tree::new()), to, Some(carried), store, spool, link)
    }

    fn prepare(
        from: (Option<Oid>, &Tree),
        to: (Oid, &Tree),
        carried: Option<&Carried>,
        store: &Store,
        spool: &Path,
        link: Link,
    ) -> Result<Push, Error> {
        let delta = delta(from.1, to.1);
        let mut push = Push {
            from: from.0,
            to: to.0,
            files: delta.writes.len() as u64,
            deleted: delta.gone as u64,
            bytes: 0,
            id: uuid::Uuid::new_v4().simple().to_string(),
            sha256: String::new(),
            archive: Archive::None,
            carried: carried.map(|carried| carried.by.clone()),
        };
        if push.from != Some(push.to) {
            let carried = carried.map(|carried| store.read_tree(carried.tree)).transpose()?;
            let contents = carried.iter().flatten().map(|(_, entry)| entry.id).collect();
            push.pack(&delta, &contents, store, spool, link)?;
        }
        Ok(push)
    }

    fn pack(
        &mut self,
        delta: &Delta,
        carried: &BTreeSet<Oid>,
        store: &Store,
        spool: &Path,
        link: Link,
    ) -> Result<(), Error> {
        let io = |source| Error::Spool { dir: spool.to_owned(), source };
        let mut file = tempfile::tempfile_in(spool).map_err(io)?;
        let packed = {
            let mut buffered = std::io::BufWriter::with_capacity(256 * 1024, &mut file);
            let packed = pack(delta, carried, store, link, &mut buffered).map_err(|e| {
                match e.downcast() {
                    Ok(source) => io(source),
                    Err(other) => Error::Pack(other),
                }
            })?;
            buffered.flush().map_err(io)?;
            packed
        };
        file.rewind().map_err(io)?;
        self.bytes = packed.size;
        self.sha256 = packed.sha256;
        self.archive = if packed.size <= INLINE_MAX {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).map_err(io)?;
            Archive::Inline(STANDARD.encode(bytes))
        } else {
            Archive::File(file)
        };
        Ok(())
    }

    /// Whether the whole tree travels.
    pub fn is_full(&self) -> bool {
        self.from.is_none()
    }

    /// Whether the sandbox has to be given contents by other means before.
    pub fn counts_on_more(&self) -> bool {
        self.carried.is_some()
    }

    /// The archive, when it is too large for the step and has to lie over there before.
    pub fn spooled(&self) -> Option<&File> {
        match &self.archive {
            Archive::File(file) => Some(file),
            Archive::None | Archive::Inline(_) => None,
        }
    }

    /// Sends the archive ahead if it is too large for the step; says where it lies over there.
    pub async fn upload(&self, toolbox: &Toolbox, home: &str) -> Result<Option<String>, Error> {
        let Some(file) = self.spooled() else { return Ok(None) };
        let mut tries = 0;
        loop {
            tries += 1;
            // A name of its own each time: an upload that broke off leaves half a file behind.
            let path = format!("{home}/.sandbox-coder/sync/in.{}.{tries}.tar.gz", self.id);
            let io = |source| Error::Spool { dir: path.clone().into(), source };
            let mut file = file.try_clone().map_err(io)?;
            file.rewind().map_err(io)?;
            let stream = tokio_util::io::ReaderStream::with_capacity(
                tokio::fs::File::from_std(file),
                64 * 1024,
            );
            match toolbox.upload(&path, stream, Some(self.bytes)).await {
                Ok(_) => return Ok(Some(path)),
                Err(error) if tries < 3 && error.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Adds the step that applies it. `uploaded` is what [`Push::upload`] said.
    pub fn add_to(&self, script: &mut Script, uploaded: Option<&str>) {
        let from = self.from.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let data = if let Archive::Inline(data) = &self.archive { data.as_str() } else { "" };
        script
            .set("ID", &self.id)
            .set("FROM", &from)
            .set("TO", &self.to.to_string())
            .set("SHA", &self.sha256)
            .set("A", uploaded.unwrap_or("inline"))
            .set("DATA", data)
            .set("CARRIED", self.carried.as_deref().unwrap_or("-"))
            .step(&format!("{COMMON}\n{PUSH}"));
    }
}

/// What the sandbox says to a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// The workspace is the tree that was sent.
    Ok {
        /// It was before.
        already: bool,
        /// Where the workspace that was found without a base now lies.
        aside: Option<String>,
    },
    /// The sandbox has another base, or none.
    Stale(Option<Oid>),
    /// The workspace holds work that was never fetched.
    Dirty,
    /// Another sync is under way.
    Busy,
    /// An earlier push was cut short and led elsewhere: from, to.
    Torn(String),
    /// The archive did not arrive whole.
    Corrupt,
    /// What was carried by other means is not there.
    Lacking,
}

/// Reads the answer of the step.
pub fn heard(result: &str) -> Result<Pushed, Error> {
    let mut aside = None;
    for (word, rest) in said(result) {
        return Ok(match word {
            "aside" => {
                aside = Some(rest.to_owned());
                continue;
            }
            // What the push counts on is unpacked before it, and says so.
            "history" => continue,
            "ok" => Pushed::Ok { already: rest.ends_with("already"), aside },
            "stale" => Pushed::Stale(rest.trim().parse().ok()),
            "dirty" => Pushed::Dirty,
            "busy" => Pushed::Busy,
            "torn" => Pushed::Torn(rest.to_owned()),
            "corrupt" => Pushed::Corrupt,
            "lacking" => Pushed::Lacking,
            _ => return Err(refusal(word, rest, result)),
        });
    }
    Err(refusal("", "", result))
}

/// What both scripts may say when they cannot do their work.
pub(super) fn refusal(word: &str, rest: &str, result: &str) -> Error {
    match word {
        "tool-missing" => Error::ToolMissing(rest.to_owned()),
        "disk" => Error::Disk(rest.trim().to_owned()),
        "verify-failed" | "tree-mismatch" => Error::Verify,
        "toomany" => {
            let count: String = rest.chars().filter(char::is_ascii_digit).take(20).collect();
            Error::TooMany(format!("{count} changed files, more than `--max-result-files` allows"))
        }
        _ => {
            let tail: String = result
                .trim()
                .chars()
                .rev()
                .take(300)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect();
            Error::Script(if tail.is_empty() {
                format!("no answer (status {SPARE_EXIT})")
            } else {
                tail
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_understood() {
        let tree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        let cases = [
            (format!("SBX1 ok {tree}"), Pushed::Ok { already: false, aside: None }),
            (format!("noise\nSBX1 ok {tree} already"), Pushed::Ok { already: true, aside: None }),
            (
                format!("SBX1 aside /w.before\nSBX1 ok {tree}"),
                Pushed::Ok { already: false, aside: Some("/w.before".into()) },
            ),
            (format!("SBX1 stale {tree}"), Pushed::Stale(Some(Oid::EMPTY_TREE))),
            ("SBX1 stale -".into(), Pushed::Stale(None)),
            (format!("SBX1 dirty {tree} {tree}"), Pushed::Dirty),
            ("SBX1 busy".into(), Pushed::Busy),
            ("SBX1 corrupt".into(), Pushed::Corrupt),
            ("SBX1 lacking".into(), Pushed::Lacking),
        ];
        for (text, outcome) in cases {
            assert_eq!(heard(&text).unwrap(), outcome, "{text}");
        }
        assert!(matches!(heard("SBX1 disk no space"), Err(Error::Disk(_))));
        assert!(matches!(heard("SBX1 tool-missing git"), Err(Error::ToolMissing(_))));
        assert!(matches!(heard("bash: boom"), Err(Error::Script(_))));
    }
}
