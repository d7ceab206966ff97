//! Who may talk to the server: the key, and the names under which a browser may reach it.

use axum::http::{HeaderMap, header};
use base64::Engine;
use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// The key's digest; only digests are ever compared.
#[derive(Clone)]
pub(super) struct Gate {
    key: [u8; 32],
}

impl Gate {
    pub(super) fn new(key: &Secret) -> Self {
        Gate { key: digest(key.expose()) }
    }

    /// Whether this is the key, in a time that does not depend on where it differs.
    pub(super) fn opens(&self, candidate: &str) -> bool {
        same(&digest(candidate), &self.key)
    }

    /// Whether the headers carry the key as `Bearer`.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|key| self.opens(key))
    }
}

/// Whether two secrets are equal, in a time that does not depend on where they differ.
pub(super) fn equal(a: &str, b: &str) -> bool {
    same(&digest(a), &digest(b))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |differs, (x, y)| differs | (x ^ y)) == 0
}

/// The credential of `Authorization: Bearer`, with the scheme in any case.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// `length` random letters and digits, all in lower case, so that they can be part of a host name.
pub(super) fn random(length: usize) -> String {
    let mut text = String::new();
    while text.len() < length {
        text.push_str(&uuid::Uuid::new_v4().simple().to_string());
    }
    text.truncate(length);
    text
}

/// A key for a server that was given none.
pub(super) fn new_key() -> Secret {
    let bytes: Vec<u8> =
        [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].iter().flat_map(|id| *id.as_bytes()).collect();
    Secret::new(format!("dtn_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)))
}

/// Under which name a request came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// The server's own address.
    Own,
    /// `{port}-{sandbox id or token}.localhost`.
    Preview { port: u16, key: String },
    /// Anything else: some web page made its own name point here.
    Foreign,
}

/// Reads a `Host` header. A page in a browser can make its own name point to this machine, but it
/// cannot choose this header, so only names that always mean this machine are served.
pub(super) fn host(text: &str) -> Host {
    let text = text.trim().to_ascii_lowercase();
    if let Some(rest) = text.strip_prefix("[::1]") {
        return if is_port(rest) { Host::Own } else { Host::Foreign };
    }
    let (name, port) = text.find(':').map_or((text.as_str(), ""), |at| text.split_at(at));
    if !is_port(port) {
        return Host::Foreign;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name == "localhost" || name == "127.0.0.1" {
        return Host::Own;
    }
    let Some(label) = name.strip_suffix(".localhost") else { return Host::Foreign };
    match label.split_once('-').map(|(port, key)| (port.parse::<u16>(), key)) {
        Some((Ok(port), key)) if port > 0 && !key.is_empty() && !key.contains('.') => {
            Host::Preview { port, key: key.to_owned() }
        }
        _ => Host::Own,
    }
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_served() {
        let preview = |port, key: &str| Host::Preview { port, key: key.to_owned() };
        let table = [
            ("127.0.0.1:3000", Host::Own),
            ("LOCALHOST", Host::Own),
            ("localhost.:80", Host::Own),
            ("[::1]:3000", Host::Own),
            ("anything.localhost:1", Host::Own),
            ("3000-a1b2.localhost:4000", preview(3000, "a1b2")),
            ("3000-0b9c-11.localhost", preview(3000, "0b9c-11")),
            ("0-a.localhost", Host::Own),
            ("70000-a.localhost", Host::Own),
            ("evil.example:3000", Host::Foreign),
            ("127.0.0.1.evil.example", Host::Foreign),
            ("localhost.evil.example", Host::Foreign),
            ("3000-a.localhost.evil.example", Host::Foreign),
            ("10.0.0.1", Host::Foreign),
            ("[::1].evil.example", Host::Foreign),
            ("localhost:x", Host::Foreign),
            ("", Host::Foreign),
        ];
        for (text, expected) in table {
            assert_eq!(host(text), expected, "{text}");
        }
    }

    #[test]
    fn the_key_opens_and_nothing_else_does() {
        let gate = Gate::new(&Secret::new("k1"));
        let admits = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            gate.admits(&headers)
        };
        assert!(admits("Bearer k1") && admits("bearer k1"));
        for wrong in ["k1", "Basic k1", "Bearer k", "Bearer k12", "Bearer ", "Bearer"] {
            assert!(!admits(wrong), "{wrong}");
        }
        assert!(!gate.admits(&HeaderMap::new()));
        assert_ne!(new_key(), new_key());
        assert_eq!(random(16).len(), 16);
    }
}
