//! What the user ignores beside the ignore files of the worktree is left alone in the sandbox, too. Otherwise what an
//! agent makes under such a name would come home as a new file, be no part of the next snapshot for being ignored
//! here, and be kept apart from then on. They are in force over there once nothing waits to be fetched, and only where
//! git keeps the books.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::Error;
use crate::daytona::script::Script;
use crate::worktree::Repo;

/// Patterns of more bytes than this do not travel.
const MAX: usize = 32 * 1024;

/// The user's patterns, as they travel.
#[derive(Debug, Clone)]
pub struct Excludes {
    id: String,
    data: String,
}

impl Excludes {
    /// Those that are in force here.
    pub fn of(repo: &Repo) -> Result<Self, Error> {
        let mut text = repo.excludes()?;
        if text.len() > MAX {
            text.clear();
        }
        Ok(Self { id: hex::encode(Sha256::digest(&text)), data: STANDARD.encode(text) })
    }

    /// Says them to the push that is added later. A sandbox keeps what it was told last.
    pub fn add_to(&self, script: &mut Script) {
        script.set("EXCLUDES_ID", &self.id).set("EXCLUDES", &self.data);
    }
}
