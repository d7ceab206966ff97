//! One folder for each worktree: `worktree.json`, `runs/<id>.json`, and notes on sandboxes that need no lock.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;
use super::record::{FORMAT, RunRecord, WorktreeRecord};

/// The memory of one worktree.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Runs that are remembered for each worktree.
    pub const KEEP_RUNS: usize = 100;

    /// The memory of `worktree_id` below the state directory. Creates nothing.
    pub fn new(state_dir: &Path, worktree_id: &str) -> Self {
        Self { dir: state_dir.join("worktrees").join(worktree_id) }
    }

    /// What is known about the worktree. Nothing known is an empty record; a damaged file counts as nothing.
    pub fn worktree(&self) -> Result<WorktreeRecord, Error> {
        Ok(self.read(&self.dir.join("worktree.json"))?.unwrap_or_default())
    }

    /// Remembers the worktree. The caller holds the worktree's lock.
    pub fn save_worktree(&self, record: &WorktreeRecord) -> Result<(), Error> {
        let record = WorktreeRecord { format: FORMAT, ..record.clone() };
        self.write(&self.dir.join("worktree.json"), &record, true)
    }

    /// Notes that something was done in a sandbox without the worktree's lock. Needs no lock itself.
    pub fn touch(&self, sandbox_id: &str) -> Result<(), Error> {
        self.write(&self.touched(sandbox_id), &serde_json::json!({}), false)
    }

    /// Whether something was done there since [`Store::untouch`].
    pub fn is_touched(&self, sandbox_id: &str) -> bool {
        self.touched(sandbox_id).exists()
    }

    /// What is there is about to be fetched.
    pub fn untouch(&self, sandbox_id: &str) {
        let _ = std::fs::remove_file(self.touched(sandbox_id));
    }

    /// Remembers the auto-stop interval, in minutes, that a sandbox goes back to some day. The first one stays.
    /// Needs no lock.
    pub fn raise(&self, sandbox_id: &str, minutes: i64) -> Result<(), Error> {
        match self.raised(sandbox_id)? {
            Some(_) => Ok(()),
            None => self.write(&self.of_sandbox("raised", sandbox_id), &minutes, false),
        }
    }

    /// The interval a sandbox goes back to, if it was raised.
    pub fn raised(&self, sandbox_id: &str) -> Result<Option<i64>, Error> {
        self.read(&self.of_sandbox("raised", sandbox_id))
    }

    /// The sandbox has gone back to it.
    pub fn lowered(&self, sandbox_id: &str) {
        let _ = std::fs::remove_file(self.of_sandbox("raised", sandbox_id));
    }

    fn touched(&self, sandbox_id: &str) -> PathBuf {
        self.of_sandbox("touched", sandbox_id)
    }

    fn of_sandbox(&self, what: &str, sandbox_id: &str) -> PathBuf {
        let plain: String =
            sandbox_id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        self.dir.join(what).join(plain)
    }

    /// One run.
    pub fn run(&self, id: &str) -> Result<Option<RunRecord>, Error> {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        self.read(&self.dir.join("runs").join(format!("{id}.json")))
    }

    /// Remembers a run.
    pub fn save_run(&self, record: &RunRecord) -> Result<(), Error> {
        let record = RunRecord { format: FORMAT, ..record.clone() };
        self.write(&self.dir.join("runs").join(format!("{}.json", record.id)), &record, false)
    }

    /// All runs that are remembered, the newest first.
    pub fn runs(&self) -> Result<Vec<RunRecord>, Error> {
        let dir = self.dir.join("runs");
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Error::Io { action: "read", path: dir, source }),
        };
        let mut runs = Vec::new();
        for entry in entries.flatten() {
            if entry.path().extension().is_some_and(|e| e == "json") {
                runs.extend(self.read::<RunRecord>(&entry.path())?);
            }
        }
        runs.sort_by(|a, b| b.started_at.cmp(&a.started_at).then_with(|| b.id.cmp(&a.id)));
        Ok(runs)
    }

    /// Forgets ended runs beyond [`Store::KEEP_RUNS`].
    pub fn prune(&self) -> Result<(), Error> {
        for old in self.runs()?.iter().skip(Self::KEEP_RUNS).filter(|r| r.ended_at.is_some()) {
            let _ = std::fs::remove_file(self.dir.join("runs").join(format!("{}.json", old.id)));
        }
        Ok(())
    }

    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, Error> {
        #[derive(serde::Deserialize)]
        struct Format {
            #[serde(default)]
            format: u32,
        }
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Io { action: "read", path: path.to_owned(), source }),
        };
        match serde_json::from_slice::<Format>(&text) {
            Ok(Format { format }) if format > FORMAT => {
                Err(Error::Newer { path: path.to_owned(), found: format })
            }
            _ => Ok(serde_json::from_slice(&text).ok()),
        }
    }

    /// `durable` waits for the disk: what protects work must survive a power cut, what informs need not.
    fn write<T: Serialize>(&self, path: &Path, value: &T, durable: bool) -> Result<(), Error> {
        let dir = path.parent().expect("records lie in a folder");
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { action, path, source }
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(io("create", dir))?;
        let mut text = serde_json::to_vec_pretty(value)
            .expect("records hold nothing that JSON cannot express");
        text.push(b'\n');
        let temp = dir.join(format!(".{}.tmp", uuid::Uuid::new_v4().simple()));
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temp)
            .and_then(|mut file| {
                file.write_all(&text)?;
                if durable {
                    file.sync_all()?;
                }
                std::fs::rename(&temp, path)
            });
        written.map_err(|source| {
            let _ = std::fs::remove_file(&temp);
            Error::Io { action: "write", path: path.to_owned(), source }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_saved_is_found_again_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "w1");
        assert_eq!(store.worktree().unwrap(), WorktreeRecord::default());
        store
            .save_worktree(&WorktreeRecord { worktree: "/w".into(), ..Default::default() })
            .unwrap();
        assert_eq!(store.worktree().unwrap().worktree, "/w");
        let mode =
            |p: &str| std::fs::metadata(dir.path().join(p)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("worktrees/w1"), mode("worktrees/w1/worktree.json")), (0o700, 0o600));
    }

    #[test]
    fn runs_are_listed_newest_first_and_odd_ids_are_not_paths() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "w1");
        for (id, at) in [("a", "2026-01-01T00:00:00Z"), ("b", "2026-01-02T00:00:00Z")] {
            store
                .save_run(&RunRecord { id: id.into(), started_at: at.into(), ..Default::default() })
                .unwrap();
        }
        let ids: Vec<_> = store.runs().unwrap().into_iter().map(|r| r.id).collect();
        assert_eq!(ids, ["b", "a"]);
        assert_eq!(store.run("../worktree").unwrap(), None);
    }

    #[test]
    fn a_damaged_record_is_nothing_and_a_newer_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "w1");
        store.save_worktree(&WorktreeRecord::default()).unwrap();
        let file = dir.path().join("worktrees/w1/worktree.json");
        std::fs::write(&file, "{\"format\":1,\"worktree\":").unwrap();
        assert_eq!(store.worktree().unwrap(), WorktreeRecord::default());
        std::fs::write(&file, "{\"format\":99}").unwrap();
        assert!(matches!(store.worktree(), Err(Error::Newer { found: 99, .. })));
    }
}
