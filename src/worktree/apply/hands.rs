//! One path at a time: stage, replace, remove, create; each so that it can be killed and repeated.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::rc::Rc;
use std::time::SystemTime;

use super::{Error, SYNC_SINGLY, Site, failed};
use crate::rel_path::RelPath;
use crate::tree::{Change, Entry, Mode, Tree};
use crate::worktree::confined::{Dir, Root, is_no_folder};
use crate::worktree::found::{Found, Stamp};

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The path is as wanted.
    Done,
    /// The path was not as expected and stays as it is.
    Changed,
}

/// A path as it was when the plan's view of it was confirmed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The stamp of a file that has been at rest for a while.
    stamp: Option<Stamp>,
    /// A file's mode and permission bits.
    file: Option<(Mode, u32)>,
}

/// Folders touched, files written, and local bytes kept.
pub(super) type Told = (BTreeSet<Option<RelPath>>, usize, Vec<RelPath>);

/// The only way this module's files are touched.
pub(super) struct Hands<'a> {
    pub(super) site: &'a Site<'a>,
    pub(super) run: String,
    root: Root,
    /// The folder used last: steps come in path order.
    recent: RefCell<Option<(Option<RelPath>, Rc<Dir>)>>,
    /// The folder last seen to be none. Only looks go by it: what is made there later asks anew.
    missing: RefCell<Option<RelPath>>,
    touched: RefCell<BTreeSet<Option<RelPath>>>,
    writes: Cell<usize>,
    rescued: RefCell<Vec<RelPath>>,
}

impl<'a> Hands<'a> {
    pub(super) fn new(site: &'a Site<'a>, run: &str) -> Result<Self, Error> {
        let root = Root::open(site.top).map_err(|source| Error::Io {
            doing: "open",
            path: site.top.display().to_string(),
            source,
        })?;
        Ok(Self {
            site,
            run: run.to_owned(),
            root,
            recent: RefCell::default(),
            missing: RefCell::default(),
            touched: RefCell::default(),
            writes: Cell::default(),
            rescued: RefCell::default(),
        })
    }

    /// Hands for one of several threads: what they write is synced with all else at the end.
    pub(super) fn helping(site: &'a Site<'a>, run: &str) -> Result<Self, Error> {
        Ok(Self { writes: Cell::new(SYNC_SINGLY), ..Self::new(site, run)? })
    }

    /// What is left to be known of these hands when their work is done.
    pub(super) fn told(self) -> Told {
        let Self { touched, writes, rescued, .. } = self;
        (touched.into_inner(), writes.get(), rescued.into_inner())
    }

    /// Takes over what helping hands have touched.
    pub(super) fn take_over(&self, (touched, writes, rescued): Told) {
        self.touched.borrow_mut().extend(touched);
        self.rescued.borrow_mut().extend(rescued);
        if writes > SYNC_SINGLY {
            self.writes.set(self.writes.get() + writes);
        }
    }

    pub(super) fn rescued(&self) -> Vec<RelPath> {
        self.rescued.borrow().clone()
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.root.free_bytes()
    }

    /// What lies at the path, hashed.
    pub(super) fn look(&self, path: &RelPath) -> Result<Found, Error> {
        Ok(self.look_closely(path)?.0)
    }

    /// The same with all that has to be remembered of it.
    pub(super) fn look_closely(&self, path: &RelPath) -> Result<(Found, Seen), Error> {
        let look = || match path.parent() {
            Some(folder) if self.missing.borrow().as_ref() == Some(&folder) => {
                Ok((Found::NoFolder, None))
            }
            folder => match self.dir(folder.clone()) {
                Ok(dir) => dir.look_stamped(path.file_name()),
                Err(e) if is_no_folder(&e) => {
                    *self.missing.borrow_mut() = folder;
                    Ok((Found::NoFolder, None))
                }
                Err(e) => Err(e),
            },
        };
        // Taken first: the clock only moves on while the bytes are read.
        let now = SystemTime::now();
        let (found, stamp) = look().map_err(failed("read", path))?;
        let file = match found {
            Found::Entry(entry, bits) if entry.mode.is_regular() => Some((entry.mode, bits)),
            _ => None,
        };
        Ok((found, Seen { stamp: stamp.filter(|stamp| stamp.at_rest(now)), file }))
    }

    /// Whether what was found is this entry (`None`: nothing there).
    pub(super) fn is(&self, found: Found, entry: Option<Entry>) -> bool {
        match (found, entry) {
            (Found::Nothing | Found::NoFolder, None) => true,
            (Found::Entry(found, _), Some(wanted)) => {
                let same_mode = found.mode == wanted.mode
                    || !self.site.file_mode && found.mode.is_regular() && wanted.mode.is_regular();
                found.id == wanted.id && same_mode
            }
            _ => false,
        }
    }

    /// Whether `dir` exists or can be made, given that the paths in `removed` will be gone.
    pub(super) fn can_reach(
        &self,
        dir: &RelPath,
        removed: &HashSet<&RelPath>,
    ) -> Result<bool, Error> {
        for at in std::iter::once(dir.clone()).chain(dir.ancestors()) {
            match self.look(&at)? {
                Found::Folder => return Ok(true),
                Found::Nothing | Found::NoFolder => {}
                Found::Entry(..) | Found::Special => return Ok(removed.contains(&at)),
            }
        }
        Ok(true)
    }

    /// How many bytes a version has, which must be in the store.
    pub(super) fn size(&self, version: Entry) -> Result<u64, Error> {
        let size = self.site.objects.size(&version.id).map_err(unreadable)?;
        size.ok_or(Error::Missing(version.id))
    }

    /// Stores the bytes of a file that is about to be replaced, unless they are there. They must be what the plan saw.
    pub(super) fn ensure_saved(&self, step: &Change, before: Entry) -> Result<(), Error> {
        if self.site.objects.has(&before.id).map_err(unreadable)? {
            return Ok(());
        }
        let save = || {
            let dir = self.dir(step.path.parent())?;
            let bytes = match before.mode {
                Mode::Link => dir.read_link(step.path.file_name())?,
                _ => {
                    let mut bytes = Vec::new();
                    dir.open(step.path.file_name())?.read_to_end(&mut bytes)?;
                    bytes
                }
            };
            self.site.objects.save(&bytes)
        };
        match save().map_err(failed("save", &step.path))? {
            id if id == before.id => Ok(()),
            _ => Err(Error::Missing(before.id)),
        }
    }

    /// Fails if a folder that has to be written to may not be.
    pub(super) fn check_writable(&self, steps: &[Change]) -> Result<(), Error> {
        let mut checked: HashSet<Option<RelPath>> = HashSet::new();
        for step in steps {
            let mut at = step.path.parent();
            // The nearest folder that exists.
            while checked.insert(at.clone()) {
                match self.root.dir(at.as_ref()) {
                    Ok(dir) => {
                        dir.check_writable().map_err(failed("write beside", &step.path))?;
                        break;
                    }
                    Err(e) if is_no_folder(&e) => match at {
                        Some(dir) => at = dir.parent(),
                        None => return Err(failed("open", &step.path)(e)),
                    },
                    Err(e) => return Err(failed("open the folder of", &step.path)(e)),
                }
            }
        }
        Ok(())
    }

    /// Writes what shall replace something beside it, under a name of its own.
    pub(super) fn stage(&self, number: usize, step: &Change, seen: Seen) -> Result<(), Error> {
        let (Some(_), Some(after)) = (step.before, step.after) else { return Ok(()) };
        let stage = || {
            let dir = self.dir(step.path.parent())?;
            let name = self.temporary(number);
            if after.mode == Mode::Link {
                return dir.symlink(&self.site.objects.read(&after.id)?, &name);
            }
            let mut file = match seen.file {
                // The umask had its say when the file was first made.
                Some((now, bits)) => dir.create_exact(&name, with_exec(bits, now, after.mode))?,
                None => dir.create(&name, default_bits(after.mode))?,
            };
            self.fill(&mut file, after)
        };
        match stage() {
            // Its folder is gone or swapped for something else: `replace` will find that out.
            Err(e) if is_no_folder(&e) => Ok(()),
            other => other.map_err(failed("stage", &step.path)),
        }
    }

    /// Removes what was staged and is not used. Whether nothing is left behind.
    pub(super) fn unstage(&self, steps: &[Change]) -> bool {
        let mut clean = true;
        self.forget_folder();
        for (number, step) in steps.iter().enumerate().filter(|(_, s)| s.before.is_some()) {
            clean &= match self.dir(step.path.parent()) {
                Ok(dir) => dir.unlink(&self.temporary(number)).is_ok(),
                Err(e) => e.kind() == io::ErrorKind::NotFound,
            };
        }
        clean
    }

    /// Puts the staged version in place, if what it replaces is what the plan saw.
    pub(super) fn replace(
        &self,
        number: usize,
        step: &Change,
        seen: Seen,
    ) -> Result<Outcome, Error> {
        let (dir, name) = match self.dir(step.path.parent()) {
            Ok(dir) => (dir, step.path.file_name()),
            Err(e) if is_no_folder(&e) => return Ok(Outcome::Changed),
            Err(e) => return Err(failed("open the folder of", &step.path)(e)),
        };
        let staged = self.temporary(number);
        let fail = || failed("replace", &step.path);
        let as_planned = || dir.look(name).map(|found| self.is(found, step.before));
        // An untouched stamp spares the reading here; what was swapped out is read in any case.
        let untouched = seen.stamp.is_some() && dir.stamp(name).map_err(fail())? == seen.stamp;
        if !untouched && !as_planned().map_err(fail())? {
            dir.unlink(&staged).map_err(fail())?;
            return Ok(Outcome::Changed);
        }
        self.touch(step.path.parent());
        match dir.exchange(&staged, name) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                // Nothing can be taken back here: this look is the last.
                if untouched && !as_planned().map_err(fail())? {
                    dir.unlink(&staged).map_err(fail())?;
                    return Ok(Outcome::Changed);
                }
                dir.rename(&staged, name).map_err(fail())?;
                return Ok(Outcome::Done);
            }
            // It was removed in this very moment.
            Err(e) if is_no_folder(&e) => {
                dir.unlink(&staged).map_err(fail())?;
                return Ok(Outcome::Changed);
            }
            Err(e) => return Err(fail()(e)),
        }
        // The old bytes are in hand; only now it is certain what they are.
        let out = if untouched { dir.look_again(&staged) } else { dir.look(&staged) };
        if self.is(out.map_err(fail())?, step.before) {
            dir.unlink(&staged).map_err(fail())?;
            return Ok(Outcome::Done);
        }
        self.put_back(&dir, &staged, step)?;
        Ok(Outcome::Changed)
    }

    /// Removes a path, if it is what the plan saw.
    pub(super) fn remove(&self, number: usize, step: &Change) -> Result<Outcome, Error> {
        let (dir, name) = match self.dir(step.path.parent()) {
            Ok(dir) => (dir, step.path.file_name()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Outcome::Done),
            Err(e) if is_no_folder(&e) => return Ok(Outcome::Changed),
            Err(e) => return Err(failed("open the folder of", &step.path)(e)),
        };
        let fail = || failed("remove", &step.path);
        let found = dir.look(name).map_err(fail())?;
        if !self.is(found, step.before) {
            let gone = found == Found::Folder || self.is(found, None);
            return Ok(if gone { Outcome::Done } else { Outcome::Changed });
        }
        self.touch(step.path.parent());
        let moved = self.temporary(number);
        match dir.rename_new(name, &moved) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Outcome::Done),
            Err(e) => return Err(fail()(e)),
        }
        if self.is(dir.look(&moved).map_err(fail())?, step.before) {
            dir.unlink(&moved).map_err(fail())?;
            return Ok(Outcome::Done);
        }
        match dir.rename_new(&moved, name) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.rescue(&dir, &moved, &step.path)?
            }
            Err(e) => return Err(fail()(e)),
        }
        Ok(Outcome::Changed)
    }

    /// Removes the folders above removed paths that hold nothing any more and are not needed.
    pub(super) fn remove_emptied<'p>(
        &self,
        removed: impl Iterator<Item = &'p RelPath>,
        needed: &HashSet<RelPath>,
    ) -> Result<(), Error> {
        let mut folders: Vec<RelPath> = removed.flat_map(RelPath::ancestors).collect();
        folders.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
        folders.dedup();
        let mut seen = HashSet::new();
        self.forget_folder();
        for folder in folders {
            if needed.contains(&folder) || !seen.insert(folder.clone()) {
                continue;
            }
            match self.root.dir(folder.parent().as_ref()) {
                Ok(dir) => {
                    dir.remove_empty(folder.file_name()).map_err(failed("remove", &folder))?
                }
                Err(_) => continue,
            };
            self.touch(folder.parent());
        }
        Ok(())
    }

    /// Creates a path where nothing is.
    pub(super) fn create(&self, path: &RelPath, entry: Entry) -> Result<Outcome, Error> {
        for last in [false, true] {
            match self.try_create(path, entry) {
                Ok(()) => return Ok(Outcome::Done),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    // An empty folder is no content, and gives way.
                    let dir = self.dir(path.parent()).map_err(failed("create", path))?;
                    if last
                        || !dir.remove_empty(path.file_name()).map_err(failed("create", path))?
                    {
                        return Ok(Outcome::Changed);
                    }
                }
                // A file or link where a folder is needed: somebody put it there.
                Err(e) if is_no_folder(&e) && last => return Ok(Outcome::Changed),
                // The folder was removed under our handle.
                Err(e) if is_no_folder(&e) => self.forget_folder(),
                Err(e) => return Err(failed("create", path)(e)),
            }
        }
        Ok(Outcome::Changed)
    }

    fn try_create(&self, path: &RelPath, entry: Entry) -> io::Result<()> {
        let (dir, name) = (self.make_dir(path.parent())?, path.file_name());
        if entry.mode == Mode::Link {
            return dir.symlink(&self.site.objects.read(&entry.id)?, name);
        }
        match dir.create_nameless(default_bits(entry.mode)) {
            Ok(mut file) => {
                self.fill(&mut file, entry)?;
                match dir.name(&file, name) {
                    Err(e) if e.kind() == io::ErrorKind::Unsupported => {}
                    other => return other,
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {}
            Err(e) => return Err(e),
        }
        let mut file = dir.create(name, default_bits(entry.mode))?;
        self.fill(&mut file, entry).inspect_err(|_| {
            let _ = dir.unlink(name);
        })
    }

    /// Writes a version's bytes. One of few files is on the disk afterwards; many are synced together.
    pub(super) fn fill(&self, file: &mut File, entry: Entry) -> io::Result<()> {
        self.site.objects.copy(&entry.id, file)?;
        self.writes.set(self.writes.get() + 1);
        if self.writes.get() <= SYNC_SINGLY { file.sync_data() } else { Ok(()) }
    }

    /// Waits until what was staged and all `versions` of the run are on the disk: from here on a power cut finds
    /// the old bytes or the new ones, and never neither, and what is left to do can be done.
    pub(super) fn sync_staged(&self, versions: &Tree) -> Result<(), Error> {
        // Of a path there are two.
        if versions.len() > 2 * SYNC_SINGLY || self.writes.get() > SYNC_SINGLY {
            return self.sync_whole();
        }
        let save = |entry: &Entry| self.site.objects.sync(&entry.id);
        versions.values().try_for_each(save).map_err(|source| Error::Io {
            doing: "keep the versions in",
            path: self.site.state.display().to_string(),
            source,
        })
    }

    /// Both disks, where the repository and the worktree lie on two.
    fn sync_whole(&self) -> Result<(), Error> {
        let failed = |path: &std::path::Path| {
            let path = path.display().to_string();
            move |source| Error::Io { doing: "sync", path, source }
        };
        self.root.sync_all().map_err(failed(self.site.top))?;
        let state = Root::open(self.site.state).map_err(failed(self.site.state))?;
        if state.device().ok() != self.root.device().ok() {
            state.sync_all().map_err(failed(self.site.state))?;
        }
        Ok(())
    }

    pub(super) fn note_rescued(&self, kept: RelPath) {
        self.rescued.borrow_mut().push(kept);
    }

    /// Waits until everything done is on the disk.
    pub(super) fn sync(&self) -> Result<(), Error> {
        let touched = self.touched.borrow();
        let whole =
            |source| Error::Io { doing: "sync", path: self.site.top.display().to_string(), source };
        if self.writes.get() > SYNC_SINGLY || touched.len() > SYNC_SINGLY {
            return self.sync_whole();
        }
        for folder in touched.iter() {
            match self.root.dir(folder.as_ref()).and_then(|dir| dir.sync()) {
                Err(e) if !is_no_folder(&e) && e.kind() != io::ErrorKind::PermissionDenied => {
                    return Err(whole(e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn touch(&self, folder: Option<RelPath>) {
        self.touched.borrow_mut().insert(folder);
    }

    pub(super) fn forget_folder(&self) {
        self.recent.borrow_mut().take();
    }

    pub(super) fn dir(&self, folder: Option<RelPath>) -> io::Result<Rc<Dir>> {
        self.folder(folder, |root, path| root.dir(path))
    }

    /// The folder, made if it is missing.
    pub(super) fn make_dir(&self, folder: Option<RelPath>) -> io::Result<Rc<Dir>> {
        self.touch(folder.clone());
        self.folder(folder, |root, path| root.make_dir(path))
    }

    fn folder(
        &self,
        folder: Option<RelPath>,
        open: impl FnOnce(&Root, Option<&RelPath>) -> io::Result<Dir>,
    ) -> io::Result<Rc<Dir>> {
        if let Some((path, dir)) = self.recent.borrow().as_ref()
            && *path == folder
        {
            return Ok(dir.clone());
        }
        let dir = Rc::new(open(&self.root, folder.as_ref())?);
        *self.recent.borrow_mut() = Some((folder, dir.clone()));
        Ok(dir)
    }

    pub(super) fn temporary(&self, number: usize) -> Vec<u8> {
        format!(".sbx-{}-{number}", self.run).into_bytes()
    }
}

fn unreadable(source: io::Error) -> Error {
    Error::Io { doing: "read", path: "the private store".into(), source }
}

/// Permission bits of a new file, before the umask.
fn default_bits(mode: Mode) -> u32 {
    if mode == Mode::Exec { 0o777 } else { 0o666 }
}

/// An existing file's bits with the executable bit as wanted: where it may be read, it may be run.
/// Set-id bits are dropped, for the bytes behind them are new.
fn with_exec(bits: u32, now: Mode, wanted: Mode) -> u32 {
    let bits = bits & 0o777;
    match (now, wanted) {
        (Mode::File, Mode::Exec) => bits | (bits & 0o444) >> 2,
        (Mode::Exec, Mode::File) => bits & !0o111,
        _ => bits,
    }
}
