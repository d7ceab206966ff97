//! Values that must never be printed, and the scrubber that masks them in any text.

use std::fmt;

mod print;

pub use print::Print;

/// A credential. It has no way to print itself but `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A short name for a text that is too long or too private to be remembered itself.
pub fn fingerprint(text: &str) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(&Sha256::digest(text)[..8])
}

/// What in a variable's value should never be printed: the value, if its name says so or it looks drawn by
/// lot; the password of an address; and in JSON the texts whose names say so. A plain word stays, since
/// masking it would maim paths and sentences.
pub fn in_variable(name: &str, value: &str) -> Vec<Secret> {
    if names_a_secret(name) || drawn_by_lot(value) {
        return vec![Secret::new(value)];
    }
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(value) {
        let mut found = Vec::new();
        in_json(&json, false, &mut found);
        return found;
    }
    let login =
        value.split_once("://").and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@'));
    let password = login.and_then(|(login, _)| login.split_once(':')).map(|(_, password)| password);
    password.into_iter().map(Secret::new).collect()
}

fn in_json(value: &serde_json::Value, named: bool, found: &mut Vec<Secret>) {
    use serde_json::Value;
    match value {
        Value::String(text) if named || drawn_by_lot(text) => found.push(Secret::new(text)),
        Value::Array(items) => items.iter().for_each(|item| in_json(item, named, found)),
        Value::Object(fields) => {
            for (name, field) in fields {
                in_json(field, names_a_secret(name), found);
            }
        }
        _ => {}
    }
}

fn names_a_secret(name: &str) -> bool {
    const WORDS: [&str; 8] =
        ["key", "token", "secret", "passw", "credential", "authorization", "cookie", "private"];
    let name = name.to_ascii_lowercase();
    // counts of tokens are no tokens
    WORDS.iter().any(|word| name.contains(word)) && !name.ends_with("tokens")
}

/// Long, of letters and digits without a pause: nobody's word.
fn drawn_by_lot(value: &str) -> bool {
    value.len() >= 20
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+=.~".contains(&b))
        && value.bytes().filter(u8::is_ascii_digit).count() >= 4
}

/// Masks known secret values wherever they occur in text.
#[derive(Clone, Default)]
pub struct Scrubber {
    needles: Vec<String>,
    prints: Vec<Print>,
}

impl Scrubber {
    /// The shortest value that is masked. Shorter ones would turn ordinary words into stars.
    pub const MIN_LEN: usize = 8;

    /// Adds a value, together with its spelling inside a JSON string. Short ones are left out.
    pub fn add(&mut self, secret: &Secret) {
        for spelling in spellings(secret) {
            self.add_needle(spelling);
        }
    }

    fn add_needle(&mut self, needle: String) {
        if !self.needles.contains(&needle) {
            self.needles.push(needle);
        }
        // Longest first, so that a secret which contains another is masked whole.
        self.needles.sort_by_key(|n| std::cmp::Reverse(n.len()));
    }

    /// `text` with every known value replaced by `***`.
    pub fn scrub<'t>(&self, text: &'t str) -> std::borrow::Cow<'t, str> {
        let mut out = std::borrow::Cow::Borrowed(text);
        for needle in &self.needles {
            if out.contains(needle.as_str()) {
                out = out.replace(needle.as_str(), "***").into();
            }
        }
        out
    }

    /// Where the first value begins in `data`, and its length.
    fn first_in(&self, data: &[u8]) -> Option<(usize, usize)> {
        let places =
            self.needles.iter().map(|n| (memchr::memmem::find(data, n.as_bytes()), n.len()));
        places
            .filter_map(|(at, len)| Some((at?, len)))
            .min_by_key(|(at, len)| (*at, std::cmp::Reverse(*len)))
    }

    /// How many bytes at the end of `data` may be the beginning of a value.
    fn beginning_at_end_of(&self, data: &[u8]) -> usize {
        let longest = self.needles.first().map_or(0, String::len);
        let begins = |k: &usize| {
            let end = &data[data.len() - k..];
            self.needles.iter().any(|n| n.len() > *k && n.as_bytes().starts_with(end))
        };
        (1..longest.min(data.len() + 1)).rev().find(begins).unwrap_or(0)
    }
}

/// How a value may be spelled in a text: as it is, and inside a JSON string.
fn spellings(secret: &Secret) -> Vec<String> {
    let value = secret.expose().trim();
    if value.len() < Scrubber::MIN_LEN {
        return Vec::new();
    }
    let quoted = serde_json::Value::from(value).to_string();
    let mut found = vec![value.to_owned(), quoted[1..quoted.len() - 1].to_owned()];
    found.dedup();
    found
}

/// Masks values in a stream of bytes, also where a value is cut between two pieces.
#[derive(Debug, Default)]
pub struct StreamScrubber {
    held: Vec<u8>,
}

impl StreamScrubber {
    /// Takes the next piece and returns what can be shown of it: all but an end that may be the
    /// beginning of a value.
    pub fn push(&mut self, scrubber: &mut Scrubber, piece: &[u8]) -> Vec<u8> {
        if scrubber.needles.is_empty() && scrubber.prints.is_empty() && self.held.is_empty() {
            return piece.to_vec();
        }
        let mut data = std::mem::take(&mut self.held);
        data.extend_from_slice(piece);
        scrubber.learn(&data);
        let mut out = Vec::with_capacity(data.len());
        let mut at = 0;
        while let Some((found, len)) = scrubber.first_in(&data[at..]) {
            out.extend_from_slice(&data[at..at + found]);
            out.extend_from_slice(b"***");
            at += found + len;
        }
        let rest = &data[at..];
        let keep = scrubber.beginning_at_end_of(rest).max(scrubber.unsure_at_end_of(rest));
        out.extend_from_slice(&data[at..data.len() - keep]);
        self.held = data.split_off(data.len() - keep);
        out
    }

    /// What was held back, at the end of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrubber({} values)", self.needles.len() + self.prints.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_variables_are_known_by_name_and_by_look() {
        let table: [(&str, &str, &[&str]); 8] = [
            ("OPENAI_API_KEY", "short but named", &["short but named"]),
            ("NODE_ENV", "production", &[]),
            ("LIMIT", "MAX_OUTPUT", &[]),
            ("SOME", "ghp_0123456789abcdefABCD", &["ghp_0123456789abcdefABCD"]),
            ("DB", "postgres://me:hunter2hunter2@db.example/x", &["hunter2hunter2"]),
            ("URL", "https://example.org/a", &[]),
            (
                "CONFIG",
                r#"{"a":{"apiKey":"from json","baseURL":"http://x"},"maxTokens":"8"}"#,
                &["from json"],
            ),
            ("PLACE", "/usr/lib/node-20.11.1-linux-x64", &[]),
        ];
        for (name, value, expected) in table {
            let found = in_variable(name, value);
            let found: Vec<&str> = found.iter().map(Secret::expose).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_secret_prints_as_stars_and_is_masked_in_text() {
        let secret = Secret::new("sk-123\"456789");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        let mut scrubber = Scrubber::default();
        scrubber.add(&secret);
        scrubber.add(&Secret::new("short"));
        assert_eq!(scrubber.scrub("a sk-123\"456789 b short"), "a *** b short");
        assert_eq!(scrubber.scrub(r#"{"key":"sk-123\"456789"}"#), r#"{"key":"***"}"#);
    }

    #[test]
    fn a_longer_secret_is_masked_before_the_one_it_contains() {
        let mut scrubber = Scrubber::default();
        scrubber.add(&Secret::new("abcdefgh"));
        scrubber.add(&Secret::new("abcdefghij"));
        assert_eq!(scrubber.scrub("abcdefghij"), "***");
    }

    #[test]
    fn a_secret_cut_anywhere_in_a_stream_is_masked() {
        let mut scrubber = Scrubber::default();
        scrubber.add(&Secret::new("sk-12345678"));
        let text = b"x sk-12345678 sk-1 y sk-12345678";
        for cut in 0..=text.len() {
            let mut stream = StreamScrubber::default();
            let mut out = stream.push(&mut scrubber, &text[..cut]);
            out.extend(stream.push(&mut scrubber, &text[cut..]));
            out.extend(stream.finish());
            assert_eq!(String::from_utf8(out).unwrap(), "x *** sk-1 y ***", "cut at {cut}");
        }
    }
}
