//! What is refused or warned about before anything is read: sizes, counts, likely secrets.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::Error;
use super::Repo;
use super::capture::{Note, Options};
use crate::rel_path::{RelPath, escape};

/// Looks at the untracked files that would travel for the first time: the ones git does not ignore. Tracked
/// files are the user's considered choice; untracked ones are where a forgotten folder or a key slips in.
pub fn untracked(repo: &Repo, fresh: &[Vec<u8>], options: &Options) -> Result<Vec<Note>, Error> {
    let mut notes = Vec::new();
    let mut sizes: Vec<(u64, &[u8])> = Vec::new();
    for path in fresh {
        let meta = repo.top().join(OsStr::from_bytes(path)).symlink_metadata();
        sizes.push((meta.map_or(0, |m| m.len()), path));
        if let Ok(path) = RelPath::parse(path)
            && looks_secret(path.file_name())
        {
            notes.push(Note::LooksSecret(path));
        }
    }
    let total: u64 = sizes.iter().map(|(size, _)| size).sum();
    if total > options.max_size || sizes.len() as u64 > options.max_files {
        return Err(too_large(sizes, total, options));
    }
    Ok(notes)
}

fn too_large(mut sizes: Vec<(u64, &[u8])>, total: u64, options: &Options) -> Error {
    let count = sizes.len();
    sizes.sort_unstable_by_key(|(size, _)| std::cmp::Reverse(*size));
    let top = sizes
        .iter()
        .take(5)
        .map(|(size, path)| format!("`{}` ({} KiB)", escape(path), size / 1024))
        .collect();
    let why = match total > options.max_size {
        true => format!(
            "untracked files that git does not ignore come to {} MiB, more than `--max-size` allows",
            total >> 20
        ),
        false => format!(
            "{count} untracked files that git does not ignore are more than `--max-files` allows"
        ),
    };
    Error::TooLarge { why, top }
}

/// Names under which keys and passwords usually lie.
fn looks_secret(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let ends = |tail: &[u8]| name.ends_with(tail);
    matches!(
        &name[..],
        b".env"
            | b".npmrc"
            | b".netrc"
            | b".pypirc"
            | b"credentials"
            | b"credentials.json"
            | b"id_rsa"
            | b"id_ed25519"
            | b"id_ecdsa"
            | b"secrets.json"
            | b"secrets.yaml"
            | b"secrets.yml"
    ) || (name.starts_with(b".env.")
        && !ends(b".example")
        && !ends(b".sample")
        && !ends(b".template"))
        || [&b".pem"[..], b".p12", b".pfx", b".keystore", b".jks", b".kdbx"].iter().any(|t| ends(t))
}

#[cfg(test)]
mod tests {
    use super::looks_secret;

    #[test]
    fn keys_are_noticed_and_examples_are_not() {
        for name in [".env", ".env.local", "server.pem", "ID_RSA", "credentials.json"] {
            assert!(looks_secret(name.as_bytes()), "{name}");
        }
        for name in [".env.example", "environment.ts", "keys.md", "token.rs"] {
            assert!(!looks_secret(name.as_bytes()), "{name}");
        }
    }
}
