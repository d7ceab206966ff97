//! What is remembered of a value so that it can be masked later, by a command that does not know it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Scrubber, Secret};

/// A value's length and salted digest. It finds the value in a text and tells nothing else of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Print {
    /// Bytes.
    len: usize,
    /// A line ends inside it.
    lines: bool,
    /// [`rolling`] of it: spares most of the text a digest. So short that it gives no value away.
    sum: u16,
    /// Hexadecimal.
    salt: String,
    /// SHA-256 of the salt's text and the value, hexadecimal.
    digest: String,
}

impl Print {
    /// The prints of a value, one for each spelling a scrubber masks; none for a value too short for it.
    pub fn of(secret: &Secret) -> Vec<Print> {
        super::spellings(secret).iter().map(|spelling| Print::new(spelling)).collect()
    }

    fn new(value: &str) -> Self {
        let salt = uuid::Uuid::new_v4().simple().to_string();
        Self {
            len: value.len(),
            lines: value.contains('\n'),
            sum: value.bytes().fold(0, |sum, byte| rolling(sum, byte, 0, 0)),
            digest: digest(&salt, value.as_bytes()),
            salt,
        }
    }

    /// The value, if it is in the text.
    fn find(&self, text: &[u8]) -> Option<String> {
        if self.len < Scrubber::MIN_LEN || text.len() < self.len {
            return None;
        }
        let gone = (1..self.len).fold(1_u16, |power, _| power.wrapping_mul(BASE));
        let mut sum = 0;
        for (at, byte) in text.iter().enumerate() {
            let before = at.checked_sub(self.len).map_or(0, |first| text[first]);
            sum = rolling(sum, *byte, before, gone);
            let Some(first) = (at + 1).checked_sub(self.len) else { continue };
            let window = &text[first..=at];
            if sum == self.sum && digest(&self.salt, window) == self.digest {
                return String::from_utf8(window.to_vec()).ok();
            }
        }
        None
    }
}

impl Scrubber {
    /// Has the value of a print masked as soon as it turns up.
    pub fn add_print(&mut self, print: Print) {
        self.prints.push(print);
    }

    /// Looks for the values of prints. What is found is a known value from here on.
    pub fn learn(&mut self, text: &[u8]) {
        let mut prints = std::mem::take(&mut self.prints);
        prints.retain(|print| match print.find(text) {
            Some(value) => {
                self.add_needle(value);
                false
            }
            None => true,
        });
        self.prints = prints;
    }

    /// How many bytes at the end of `data` may be the beginning of a value that is known by its print only.
    /// Most values end with their line, so that whole lines need not wait.
    pub(super) fn unsure_at_end_of(&self, data: &[u8]) -> usize {
        let line = data.len() - memchr::memrchr(b'\n', data).map_or(0, |at| at + 1);
        let longest = |print: &Print| match print.lines {
            true => (print.len - 1).min(data.len()),
            false => (print.len - 1).min(line),
        };
        self.prints.iter().filter(|p| p.len > 0).map(longest).max().unwrap_or(0)
    }
}

const BASE: u16 = 257;

/// The sum of a window that takes `byte` in and, `gone` being its weight, lets `before` go.
fn rolling(sum: u16, byte: u8, before: u8, gone: u16) -> u16 {
    sum.wrapping_sub(u16::from(before).wrapping_mul(gone))
        .wrapping_mul(BASE)
        .wrapping_add(u16::from(byte))
}

fn digest(salt: &str, value: &[u8]) -> String {
    let digest = Sha256::new().chain_update(salt).chain_update(value).finalize();
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::StreamScrubber;
    use super::*;

    fn scrubber(values: &[&str]) -> Scrubber {
        let mut scrubber = Scrubber::default();
        for print in values.iter().flat_map(|v| Print::of(&Secret::new(*v))) {
            // as it comes back from a file
            let text = serde_json::to_string(&print).unwrap();
            assert!(values.iter().all(|v| !text.contains(v)), "{text}");
            scrubber.add_print(serde_json::from_str(&text).unwrap());
        }
        scrubber
    }

    #[test]
    fn a_value_is_found_by_its_print_wherever_it_is_and_in_json() {
        for text in ["sk-12345678", "xxsk-12345678", "sk-12345678 y", "sk-sk-12345678-sk"] {
            let mut scrubber = scrubber(&["sk-12345678"]);
            scrubber.learn(text.as_bytes());
            assert_eq!(scrubber.scrub(text), text.replace("sk-12345678", "***"));
        }
        let mut scrubber = scrubber(&["two \"words\""]);
        let text = r#"{"a":"two \"words\"","b":"two"}"#;
        scrubber.learn(text.as_bytes());
        assert_eq!(scrubber.scrub(text), r#"{"a":"***","b":"two"}"#);
    }

    #[test]
    fn a_print_that_is_damaged_or_of_a_short_value_finds_nothing() {
        assert_eq!(Print::of(&Secret::new("short")), []);
        let mut scrubber = Scrubber::default();
        scrubber.add_print(Print::default());
        scrubber.learn(b"any text at all");
        assert_eq!(scrubber.scrub("any text at all"), "any text at all");
        assert_eq!(scrubber.unsure_at_end_of(b"any text"), 0);
    }

    #[test]
    fn a_value_cut_anywhere_in_a_stream_is_masked_by_its_print() {
        let text = b"a\nx sk-12345678 sk-1\nfirst line\nsecond y sk-12345678";
        for cut in 0..=text.len() {
            let mut scrubber = scrubber(&["sk-12345678", "first line\nsecond"]);
            let mut stream = StreamScrubber::default();
            let mut out = stream.push(&mut scrubber, &text[..cut]);
            out.extend(stream.push(&mut scrubber, &text[cut..]));
            out.extend(stream.finish());
            assert_eq!(String::from_utf8(out).unwrap(), "a\nx *** sk-1\n*** y ***", "cut at {cut}");
        }
    }

    #[test]
    fn whole_lines_do_not_wait_for_a_value_that_has_none() {
        let mut scrubber = scrubber(&["sk-12345678"]);
        let mut stream = StreamScrubber::default();
        assert_eq!(stream.push(&mut scrubber, b"one\n"), b"one\n");
        assert_eq!(stream.push(&mut scrubber, b"two"), b"");
        assert_eq!(stream.push(&mut scrubber, b"\n"), b"two\n");
    }
}
