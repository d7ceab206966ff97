//! After an interruption or a collision: whose bytes lie where, and how each gets its own back.

use std::io::{self, Read};

use super::hands::Hands;
use super::{Error, aside, failed};
use crate::rel_path::RelPath;
use crate::tree::{Change, Entry};
use crate::worktree::confined::{Dir, is_no_folder};
use crate::worktree::found::Found;

impl Hands<'_> {
    /// After an interruption: nothing staged stays behind, and bytes of the user's that were in our
    /// hands go back to their place.
    /// `false` if a folder is a link or a file now, so that nobody can say.
    pub(super) fn recover(
        &self,
        steps: &[Change],
        which: impl Fn(&Change) -> bool,
    ) -> Result<bool, Error> {
        self.forget_folder();
        let mut sure = true;
        for (number, step) in steps.iter().enumerate().filter(|(_, step)| which(step)) {
            match self.dir(step.path.parent()) {
                Ok(dir) => self.recover_one(&dir, number, step)?,
                Err(e) if is_no_folder(&e) => sure &= e.kind() == io::ErrorKind::NotFound,
                Err(e) => return Err(failed("recover", &step.path)(e)),
            }
        }
        self.forget_folder();
        Ok(sure)
    }

    fn recover_one(&self, dir: &Dir, number: usize, step: &Change) -> Result<(), Error> {
        let fail = || failed("recover", &step.path);
        let (name, ours) = (step.path.file_name(), self.temporary(number));
        let target = dir.look(name).map_err(fail())?;
        if step.before.is_none() {
            // Only without nameless files: created in place and not finished.
            if let Some(after) = step.after
                && !self.is(target, Some(after))
                && self.is_beginning(dir, name, after).map_err(fail())?
            {
                dir.unlink(name).map_err(fail())?;
            }
            return Ok(());
        }
        let held = dir.look(&ours).map_err(fail())?;
        if held == Found::Nothing {
            return Ok(());
        }
        let expected =
            self.is(held, step.before) || step.after.is_some() && self.is(held, step.after);
        let unfinished = || match step.after {
            Some(after) => self.is_beginning(dir, &ours, after),
            None => Ok(false),
        };
        if expected || unfinished().map_err(fail())? {
            return dir.unlink(&ours).map_err(fail());
        }
        // What we hold is the user's: taken away in the moment it was written.
        if step.after.is_some() && self.is(target, step.after) {
            return self.put_back(dir, &ours, step);
        }
        match dir.rename_new(&ours, name) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.rescue(dir, &ours, &step.path)
            }
            other => other.map_err(fail()),
        }
    }

    /// Whether a file is the beginning of a version: a write of ours that was cut short.
    fn is_beginning(&self, dir: &Dir, name: &[u8], of: Entry) -> io::Result<bool> {
        let Some(stat) = dir.stat(name)? else { return Ok(false) };
        let is_file =
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
        let Some(size) = self.site.objects.size(&of.id)? else { return Ok(stat.st_size == 0) };
        if !is_file
            || !of.mode.is_regular()
            || u64::try_from(stat.st_size).is_ok_and(|now| now > size)
        {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        dir.open(name)?.read_to_end(&mut bytes)?;
        Ok(self.site.objects.read(&of.id)?.starts_with(&bytes))
    }

    /// Swaps the user's bytes back; whatever else turns up meanwhile is kept too.
    pub(super) fn put_back(&self, dir: &Dir, ours: &[u8], step: &Change) -> Result<(), Error> {
        let fail = || failed("put back", &step.path);
        match dir.exchange(ours, step.path.file_name()) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return dir.rename_new(ours, step.path.file_name()).map_err(fail());
            }
            Err(e) => return Err(fail()(e)),
        }
        if self.is(dir.look(ours).map_err(fail())?, step.after) {
            return dir.unlink(ours).map_err(fail());
        }
        // They wrote again between the two swaps: the newest goes back in place, the older is kept.
        dir.exchange(ours, step.path.file_name()).map_err(fail())?;
        self.rescue(dir, ours, &step.path)
    }

    /// Keeps bytes that have lost their place.
    pub(super) fn rescue(&self, dir: &Dir, ours: &[u8], path: &RelPath) -> Result<(), Error> {
        let kept = aside::keep(self, dir, ours, path)?;
        self.note_rescued(kept);
        Ok(())
    }
}
