//! What an apply is about to do, on disk before it does it; and what it did, kept for `undo`.
//!
//! One file per run in `<state>/journal/`: `<run>.open` while it may be unfinished, `<run>.done`
//! afterwards. Each appears by rename after its bytes were synced, so a reader sees all or nothing.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::rel_path::RelPath;
use crate::tree::{Change, Entry, Mode};

const MAGIC: &[u8] = b"SBXJ1";
/// So many forgotten runs are remembered as such.
const REMEMBERED: usize = 1000;

/// One run's changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// The run's id.
    pub run: String,
    /// The run whose changes this one takes back.
    pub undo_of: Option<String>,
    /// When it was written, in nanoseconds since 1970.
    pub at: u128,
    /// Each path's entry before and after.
    pub steps: Vec<Change>,
    /// Versions to be put aside.
    pub asides: Vec<(RelPath, Entry)>,
}

/// A run in the list of what can be undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The run's id.
    pub run: String,
    /// The run whose changes this one took back.
    pub undo_of: Option<String>,
    /// When, in nanoseconds since 1970.
    pub at: u128,
    /// How many paths it changed.
    pub paths: usize,
}

/// The journals of one worktree.
pub struct Shelf {
    dir: PathBuf,
}

impl Shelf {
    /// The journals below the worktree's private folder.
    pub fn at(state: &Path) -> Self {
        Self { dir: state.join("journal") }
    }

    /// Whether a run of this name exists, open or done.
    pub fn knows(&self, run: &str) -> bool {
        self.file(run, "open").exists() || self.file(run, "done").exists()
    }

    /// Announces what is about to happen. Returns when it is on the disk.
    pub fn open(&self, journal: &Journal) -> io::Result<()> {
        fs_err::create_dir_all(&self.dir)?;
        self.write(journal, "open")
    }

    /// Replaces an announcement by what came of it; a run that changed nothing leaves no trace.
    pub fn close(&self, journal: &Journal) -> io::Result<()> {
        if !journal.steps.is_empty() {
            self.write(journal, "done")?;
            // Should a power cut bring the announcement back, `unfinished` removes it again.
            return fs_err::remove_file(self.file(&journal.run, "open"));
        }
        self.discard(&journal.run)
    }

    /// Takes an announcement back: nothing was changed.
    pub fn discard(&self, run: &str) -> io::Result<()> {
        fs_err::remove_file(self.file(run, "open"))?;
        self.sync()
    }

    /// Runs that were announced and never closed, the oldest first.
    pub fn unfinished(&self) -> io::Result<Vec<Journal>> {
        let mut found = self.read_all("open", decode)?;
        found.sort_by(|a, b| (a.at, &a.run).cmp(&(b.at, &b.run)));
        // Closed, but killed before the announcement was removed.
        found.retain(|journal| {
            let closed = self.file(&journal.run, "done").exists();
            !(closed && self.discard(&journal.run).is_ok())
        });
        Ok(found)
    }

    /// A finished run.
    pub fn finished(&self, run: &str) -> io::Result<Option<Journal>> {
        match fs_err::read(self.file(run, "done")) {
            Ok(bytes) => Ok(Some(decode(&bytes).ok_or_else(|| self.damaged(run))?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// All finished runs, the newest first.
    pub fn runs(&self) -> io::Result<Vec<Run>> {
        let mut runs = self.read_all("done", summary)?;
        runs.sort_by(|a, b| (b.at, &b.run).cmp(&(a.at, &a.run)));
        Ok(runs)
    }

    /// Forgets finished runs, the oldest first; they can no longer be undone. That they were there is remembered
    /// for a while.
    pub fn forget(&self, runs: &[String]) -> io::Result<()> {
        if runs.is_empty() {
            return Ok(());
        }
        let mut names = self.forgotten();
        names.extend_from_slice(runs);
        let from = names.len().saturating_sub(REMEMBERED);
        let words: String = names[from..].iter().flat_map(|name| [name, "\n"]).collect();
        // A disk that is full takes no list, but gives room.
        let _ = super::private::write_if_new(&self.list(), words.as_bytes());
        runs.iter().try_for_each(|run| fs_err::remove_file(self.file(run, "done")))
    }

    /// Runs that were forgotten, the newest last.
    pub fn forgotten(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.list()).unwrap_or_default();
        text.lines().filter(|name| is_run_id(name)).map(str::to_owned).collect()
    }

    fn list(&self) -> PathBuf {
        self.dir.join("forgotten")
    }

    /// Whether a run may be unfinished, without a look at what it is.
    pub fn has_unfinished(&self) -> io::Result<bool> {
        Ok(!self.read_all("open", |_| Some(()))?.is_empty())
    }

    fn read_all<T>(&self, state: &str, read: impl Fn(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
        let mut out = Vec::new();
        let entries = match fs_err::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(out),
            Err(e) => return Err(e),
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == state) {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                out.push(read(&fs_err::read(&path)?).ok_or_else(|| self.damaged(&name))?);
            }
        }
        Ok(out)
    }

    fn write(&self, journal: &Journal, state: &str) -> io::Result<()> {
        let temporary = self.file(&journal.run, "new");
        let mut file = fs_err::File::create(&temporary)?;
        file.write_all(&encode(journal))?;
        file.sync_all()?;
        drop(file);
        fs_err::rename(&temporary, self.file(&journal.run, state))?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn file(&self, run: &str, state: &str) -> PathBuf {
        self.dir.join(format!("{run}.{state}"))
    }

    fn damaged(&self, run: &str) -> io::Error {
        let path = self.file(run, "*");
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the journal `{}` is damaged", path.display()),
        )
    }
}

/// Nanoseconds since 1970.
pub fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos())
}

/// Whether a run's id is a plain word and so safe in file names.
pub fn is_run_id(run: &str) -> bool {
    (1..=64).contains(&run.len())
        && run.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn encode(journal: &Journal) -> Vec<u8> {
    let mut out = Vec::new();
    let mut field = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        out.push(0);
    };
    field(MAGIC);
    field(journal.run.as_bytes());
    field(journal.undo_of.as_deref().unwrap_or("-").as_bytes());
    field(journal.at.to_string().as_bytes());
    let spell =
        |e: &Option<Entry>| e.map_or("-".to_owned(), |e| format!("{} {}", e.mode.as_git(), e.id));
    for step in &journal.steps {
        field(format!("s {} {}", spell(&step.before), spell(&step.after)).as_bytes());
        field(step.path.as_bytes());
    }
    for (path, entry) in &journal.asides {
        field(format!("a {}", spell(&Some(*entry))).as_bytes());
        field(path.as_bytes());
    }
    field(b"end");
    out
}

/// The fields of a journal that is whole as far as its end tells; the first is its magic word.
fn fields(bytes: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let mut fields = bytes.strip_suffix(b"\0")?.split(|&b| b == 0);
    (fields.next()? == MAGIC).then_some(fields)
}

/// A run without its steps.
fn head<'b>(fields: &mut impl Iterator<Item = &'b [u8]>) -> Option<Run> {
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let run = text().filter(|r| is_run_id(r))?.to_owned();
    let undo_of = Some(text()?.to_owned()).filter(|of| of != "-");
    Some(Run { run, undo_of, at: text()?.parse().ok()?, paths: 0 })
}

/// What a list of runs tells, without reading each line.
fn summary(bytes: &[u8]) -> Option<Run> {
    let mut fields = fields(bytes.strip_suffix(b"end\0")?)?;
    let run = head(&mut fields)?;
    let lines: Vec<&[u8]> = fields.collect();
    let paths = lines.iter().step_by(2).filter(|line| line.starts_with(b"s ")).count();
    // Each line has its path; otherwise the last path is called `end` and is not the end.
    lines.len().is_multiple_of(2).then_some(Run { paths, ..run })
}

fn decode(bytes: &[u8]) -> Option<Journal> {
    let mut fields = fields(bytes)?;
    let Run { run, undo_of, at, .. } = head(&mut fields)?;
    let mut journal = Journal { run, undo_of, at, steps: Vec::new(), asides: Vec::new() };
    loop {
        let words: Vec<&str> = std::str::from_utf8(fields.next()?).ok()?.split(' ').collect();
        match words.as_slice() {
            ["end"] => return fields.next().is_none().then_some(journal),
            ["s", rest @ ..] => {
                let (before, rest) = entry(rest)?;
                let (after, rest) = entry(rest)?;
                let path = RelPath::parse(fields.next()?).ok().filter(|_| rest.is_empty())?;
                journal.steps.push(Change { path, before, after });
            }
            ["a", rest @ ..] => {
                let (Some(entry), []) = entry(rest)? else { return None };
                journal.asides.push((RelPath::parse(fields.next()?).ok()?, entry));
            }
            _ => return None,
        }
    }
}

/// An entry at the start of `words`, and the words after it.
fn entry<'a, 'w>(words: &'a [&'w str]) -> Option<(Option<Entry>, &'a [&'w str])> {
    match words {
        ["-", rest @ ..] => Some((None, rest)),
        [mode, id, rest @ ..] => Some((
            Some(Entry { mode: Mode::from_git(mode.as_bytes())?, id: id.parse().ok()? }),
            rest,
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Oid;

    fn sample() -> Journal {
        let e = |mode, n| Some(Entry { mode, id: Oid([n; 20]) });
        let p = |b: &[u8]| RelPath::parse(b).unwrap();
        Journal {
            run: "r1".into(),
            undo_of: Some("r0".into()),
            at: 17,
            steps: vec![
                Change { path: p(b"a\n \xff"), before: None, after: e(Mode::Exec, 1) },
                Change { path: p(b"end"), before: e(Mode::Link, 2), after: None },
            ],
            asides: vec![(p(b"x y"), Entry { mode: Mode::File, id: Oid([3; 20]) })],
        }
    }

    #[test]
    fn a_journal_reads_back_and_no_part_of_it_does() {
        let bytes = encode(&sample());
        assert_eq!(decode(&bytes), Some(sample()));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None, "cut at {cut}");
            assert_eq!(summary(&bytes[..cut]), None, "cut at {cut}");
        }
        let whole = sample();
        let Run { run, undo_of, at, paths } = summary(&bytes).unwrap();
        assert_eq!((run, undo_of, at, paths), (whole.run, whole.undo_of, whole.at, 2));
    }

    #[test]
    fn the_shelf_tells_open_from_done() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::at(dir.path());
        assert!(shelf.unfinished().unwrap().is_empty());
        shelf.open(&sample()).unwrap();
        assert_eq!(shelf.unfinished().unwrap(), [sample()]);
        assert!(shelf.runs().unwrap().is_empty());
        shelf.close(&sample()).unwrap();
        assert!(shelf.unfinished().unwrap().is_empty());
        assert_eq!(shelf.runs().unwrap()[0].run, "r1");
        assert_eq!(shelf.finished("r1").unwrap(), Some(sample()));
        assert_eq!(shelf.finished("r2").unwrap(), None);
    }

    #[test]
    fn what_is_forgotten_is_known_as_such_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::at(dir.path());
        assert!(shelf.forgotten().is_empty() && !shelf.has_unfinished().unwrap());
        let names: Vec<String> = (0..REMEMBERED + 2).map(|n| format!("r{n}")).collect();
        for name in &names {
            let journal = Journal { run: name.clone(), ..sample() };
            std::fs::create_dir_all(dir.path().join("journal")).unwrap();
            std::fs::write(shelf.file(name, "done"), encode(&journal)).unwrap();
        }
        shelf.forget(&names[..3]).unwrap();
        assert_eq!(shelf.forgotten(), names[..3]);
        shelf.forget(&names[3..]).unwrap();
        assert_eq!(shelf.forgotten(), names[2..], "the oldest are not");
        assert!(shelf.runs().unwrap().is_empty());
        shelf.open(&sample()).unwrap();
        assert!(shelf.has_unfinished().unwrap());
    }
}
