//! Values that must never be printed, and the scrubber that masks them in any text.

use std::fmt;

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

/// Masks known secret values wherever they occur in text.
#[derive(Clone, Default)]
pub struct Scrubber {
    needles: Vec<String>,
}

impl Scrubber {
    /// The shortest value that is masked. Shorter ones would turn ordinary words into stars.
    pub const MIN_LEN: usize = 8;

    /// Adds a value, together with its spelling inside a JSON string. Short ones are left out.
    pub fn add(&mut self, secret: &Secret) {
        let value = secret.expose().trim();
        if value.len() < Self::MIN_LEN {
            return;
        }
        let quoted = serde_json::Value::from(value).to_string();
        for needle in [value, &quoted[1..quoted.len() - 1]] {
            if !self.needles.iter().any(|n| n == needle) {
                self.needles.push(needle.to_owned());
            }
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

/// Masks values in a stream of bytes, also where a value is cut between two pieces.
#[derive(Debug, Default)]
pub struct StreamScrubber {
    held: Vec<u8>,
}

impl StreamScrubber {
    /// Takes the next piece and returns what can be shown of it: all but an end that may be the
    /// beginning of a value.
    pub fn push(&mut self, scrubber: &Scrubber, piece: &[u8]) -> Vec<u8> {
        if scrubber.needles.is_empty() && self.held.is_empty() {
            return piece.to_vec();
        }
        let mut data = std::mem::take(&mut self.held);
        data.extend_from_slice(piece);
        let mut out = Vec::with_capacity(data.len());
        let mut at = 0;
        while let Some((found, len)) = scrubber.first_in(&data[at..]) {
            out.extend_from_slice(&data[at..at + found]);
            out.extend_from_slice(b"***");
            at += found + len;
        }
        let keep = scrubber.beginning_at_end_of(&data[at..]);
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
        write!(f, "Scrubber({} values)", self.needles.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let mut out = stream.push(&scrubber, &text[..cut]);
            out.extend(stream.push(&scrubber, &text[cut..]));
            out.extend(stream.finish());
            assert_eq!(String::from_utf8(out).unwrap(), "x *** sk-1 y ***", "cut at {cut}");
        }
    }
}
