//! What survives a restart: one directory per sandbox, with its record, its files and its socket.
//!
//! Records are small and written whole by rename, so a reader finds the old one or the new one. They are
//! not synced to the disk: after a power cut no sandbox runs anyway.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::registry::State;
use super::{Isolation, clock};
use crate::wire::sandbox::{Sandbox, StringMap};

/// The version of the record's form.
const VERSION: u32 = 1;
/// The one snapshot there is: the host's own tools.
pub(super) const SNAPSHOT: &str = "host";
/// The one region.
pub(super) const REGION: &str = "local";
/// The one organization.
pub(super) const ORGANIZATION: &str = "00000000-0000-4000-8000-000000000001";
/// The generation of Daytona's wire that we speak.
pub(super) const API_VERSION: &str = "0.190.0";

/// All the server remembers of one sandbox. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) state: State,
    pub(super) error_reason: Option<String>,
    pub(super) created: i64,
    pub(super) updated: i64,
    pub(super) last_activity: i64,
    /// When it last came to a stop.
    pub(super) stopped: Option<i64>,
    pub(super) labels: StringMap,
    pub(super) env: StringMap,
    pub(super) public: bool,
    pub(super) network_block_all: bool,
    /// Minutes.
    pub(super) auto_stop: i64,
    /// Minutes.
    pub(super) auto_archive: i64,
    /// Minutes after a stop.
    pub(super) auto_delete: i64,
    /// Minutes of life in all; 0 is for ever.
    pub(super) ttl: i64,
    /// Opens every port of the preview until the next start.
    pub(super) token: String,
    pub(super) signed: Vec<Signed>,
    /// The creator's own environment as far as tools are found by it.
    pub(super) tools: StringMap,
    /// What it was made for; it never starts under another, which may be weaker.
    #[serde(default)]
    pub(super) isolation: Option<Isolation>,
}

/// A link to one port that ends by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Signed {
    pub(super) token: String,
    pub(super) port: u16,
    pub(super) until: i64,
}

impl Record {
    pub(super) fn new(id: String, name: String, now: i64) -> Self {
        Record {
            version: VERSION,
            id,
            name,
            state: State::Creating,
            error_reason: None,
            created: now,
            updated: now,
            last_activity: now,
            stopped: None,
            labels: StringMap::new(),
            env: StringMap::new(),
            public: false,
            network_block_all: false,
            auto_stop: 15,
            auto_archive: 10080,
            auto_delete: -1,
            ttl: 0,
            token: super::access::random(32),
            signed: Vec::new(),
            tools: StringMap::new(),
            isolation: None,
        }
    }

    /// Whether it lives only as long as it runs.
    pub(super) fn is_ephemeral(&self) -> bool {
        self.auto_delete == 0
    }

    /// As Daytona tells it.
    pub(super) fn on_wire(&self, toolbox_base: &str) -> Sandbox {
        Sandbox {
            id: self.id.clone(),
            organization_id: ORGANIZATION.to_owned(),
            name: self.name.clone(),
            snapshot: Some(SNAPSHOT.to_owned()),
            user: "daytona".to_owned(),
            env: self.env.clone(),
            labels: self.labels.clone(),
            public: self.public,
            network_block_all: self.network_block_all,
            network_allow_list: None,
            domain_allow_list: None,
            kvm: false,
            target: REGION.to_owned(),
            cpu: 1,
            gpu: 0,
            memory: 1,
            disk: 3,
            state: self.state.on_wire(),
            desired_state: Some(self.state.desired().to_owned()),
            error_reason: self.error_reason.clone(),
            recoverable: Some(false),
            backup_state: Some("None".to_owned()),
            auto_stop_interval: Some(self.auto_stop),
            auto_archive_interval: Some(self.auto_archive),
            auto_delete_interval: Some(self.auto_delete),
            volumes: Some(Vec::new()),
            build_info: None,
            created_at: Some(clock::text(self.created)),
            updated_at: Some(clock::text(self.updated)),
            last_activity_at: Some(clock::text(self.last_activity)),
            sandbox_class: Some("container".to_owned()),
            daemon_version: Some(format!("v{API_VERSION}")),
            runner_id: Some(REGION.to_owned()),
            toolbox_proxy_url: toolbox_base.to_owned(),
        }
    }
}

/// The directory of all sandboxes.
#[derive(Debug, Clone)]
pub(super) struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens, and makes when missing, `data_dir/sandboxes`.
    pub(super) fn open(data_dir: &Path) -> io::Result<Self> {
        let root = data_dir.join("sandboxes");
        private_dir(&root)?;
        Ok(Store { root })
    }

    /// Where the sandbox lives.
    pub(super) fn dir(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// Writes the record.
    pub(super) fn save(&self, record: &Record) -> io::Result<()> {
        let dir = self.dir(&record.id);
        private_dir(&dir)?;
        write_private(&dir.join("record.json"), &serde_json::to_vec_pretty(record)?)
    }

    /// Forgets the record; the files are the backend's to remove.
    pub(super) fn forget(&self, id: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.dir(id)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }

    /// Every readable record. One that cannot be read is left alone, and told.
    pub(super) fn load(&self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path().join("record.json");
            match fs::read(&path).map(|bytes| serde_json::from_slice::<Record>(&bytes)) {
                Ok(Ok(record)) if record.version == VERSION => records.push(record),
                Ok(Ok(record)) => {
                    tracing::warn!(path = %path.display(), version = record.version, "a record of another version is left alone");
                }
                Ok(Err(err)) => {
                    tracing::warn!(path = %path.display(), %err, "an unreadable record is left alone")
                }
                Err(err) => tracing::warn!(%err, "a directory without a record is left alone"),
            }
        }
        Ok(records)
    }
}

/// Makes a directory that only its owner may enter.
pub(super) fn private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|err| {
        io::Error::new(err.kind(), format!("cannot make `{}`: {err}", path.display()))
    })
}

/// Replaces a file by one that only its owner may read.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_record_survives_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("data")).unwrap();
        let mut record = Record::new("i".to_owned(), "n".to_owned(), 5);
        record.labels.insert("a".to_owned(), "b".to_owned());
        store.save(&record).unwrap();
        assert_eq!(store.load().unwrap(), [record.clone()]);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&store.dir("i")), 0o700);
        assert_eq!(mode(&store.dir("i").join("record.json")), 0o600);
        std::fs::write(store.dir("i").join("record.json"), "{").unwrap();
        assert_eq!(store.load().unwrap(), []);
        store.forget("i").unwrap();
        store.forget("i").unwrap();
    }
}
