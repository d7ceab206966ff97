//! Files that seem to hold keys: by their names, or by what stands in them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use memchr::memmem;
use rustix::fs::{Mode, OFlags};

/// Bytes of a file that are looked at.
const LOOK: u64 = 64 << 10;
/// Bytes of all files together that are looked at: a folder of millions is not read twice.
const LOOKS: u64 = 64 << 20;

/// Tokens known by how they begin, and how many letters, digits, `-` and `_` follow at least.
const TOKENS: [(&[u8], usize); 17] = [
    (b"AKIA", 16),
    (b"ASIA", 16),
    (b"AIza", 35),
    (b"dtn_", 32),
    (b"ghp_", 36),
    (b"gho_", 36),
    (b"ghs_", 36),
    (b"github_pat_", 40),
    (b"glpat-", 20),
    (b"hf_", 30),
    (b"npm_", 36),
    (b"sk-ant-", 20),
    (b"sk-or-", 20),
    (b"sk-proj-", 20),
    (b"sk_live_", 20),
    (b"xoxb-", 20),
    (b"xoxp-", 20),
];

/// Looks at one file after the other.
#[derive(Debug, Default)]
pub struct Look {
    read: u64,
}

impl Look {
    /// Whether a file of this `name` and `size` seems to hold keys. One that cannot be read is told by its name.
    pub fn finds(&mut self, path: &Path, name: &[u8], size: u64) -> bool {
        if is_usual_place(name) {
            return true;
        }
        self.read += size.min(LOOK);
        self.read <= LOOKS && beginning(path).is_some_and(|bytes| holds_key(&bytes))
    }
}

/// A file's first bytes; `None` for what is no plain file.
fn beginning(path: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let mut bytes = Vec::new();
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    file.take(LOOK).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether a private key or a token of a well-known form stands in these bytes.
fn holds_key(bytes: &[u8]) -> bool {
    let headed = memmem::find_iter(bytes, b"-----BEGIN ").any(|at| {
        let line = bytes[at..].split(|b| *b == b'\n').next().unwrap_or_default();
        memmem::find(line, b"PRIVATE KEY").is_some()
    });
    let in_token = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let token = |&(begins, more): &(&[u8], usize)| {
        memmem::find_iter(bytes, begins).any(|at| {
            let starts = at == 0 || !(in_token(&bytes[at - 1]) || b"+/".contains(&bytes[at - 1]));
            let rest = &bytes[at + begins.len()..];
            starts && rest.iter().take_while(|b| in_token(b)).take(more).count() == more
        })
    };
    headed || TOKENS.iter().any(token)
}

/// Names under which keys and passwords usually lie.
fn is_usual_place(name: &[u8]) -> bool {
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
    use super::*;

    #[test]
    fn keys_are_noticed_by_name_and_examples_are_not() {
        for name in [".env", ".env.local", "server.pem", "ID_RSA", "credentials.json"] {
            assert!(is_usual_place(name.as_bytes()), "{name}");
        }
        for name in [".env.example", "environment.ts", "keys.md", "token.rs"] {
            assert!(!is_usual_place(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn keys_are_noticed_by_their_form_and_talk_of_them_is_not() {
        // Put together here, so that no file of ours holds one.
        let key = |begins: &str, more: usize| format!("key = \"{begins}{}\"", "Z".repeat(more));
        for (begins, more) in TOKENS {
            let begins = std::str::from_utf8(begins).unwrap();
            assert!(holds_key(key(begins, more).as_bytes()), "{begins}");
            assert!(!holds_key(key(begins, more - 1).as_bytes()), "{begins} cut short");
            let inside = key(&format!("b64{begins}"), more);
            assert!(!holds_key(inside.as_bytes()), "{begins} within a word");
        }
        assert!(holds_key(format!("x\n-----BEGIN {}PRIVATE KEY-----\nMII", "RSA ").as_bytes()));
        assert!(!holds_key(b"-----BEGIN PUBLIC KEY-----\nPRIVATE KEY"));
        assert!(!holds_key(b"set ghp_... or sk-ant-..."));
    }

    #[test]
    fn what_is_no_plain_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let text = format!("ghp_{}", "Z".repeat(36));
        fs_err::write(at("notes"), &text).unwrap();
        std::os::unix::fs::symlink("notes", at("link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let found = ["notes", "link", "pipe", "gone"]
            .map(|name| Look::default().finds(&at(name), name.as_bytes(), 40));
        assert_eq!(found, [true, false, false, false]);
        let mut tired = Look { read: LOOKS };
        assert!(!tired.finds(&at("notes"), b"notes", 40) && tired.finds(&at("x"), b".env", 0));
    }
}
