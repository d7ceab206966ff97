//! A checked name inside the worktree.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A file's place inside the worktree, spelled the way git spells it: bytes, `/` between components.
///
/// Holding one is proof that the name was checked: it is relative, not empty, has no `.`, `..`, empty
/// or `.git` component and no NUL. Past [`RelPath::parse`] nobody looks at a raw name again. What else
/// is refused when the name comes from a sandbox is decided in `sync::threats`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Vec<u8>);

/// Why a name is not a [`RelPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No bytes at all.
    #[error("the name is empty")]
    Empty,
    /// It starts with `/`.
    #[error("the name is absolute")]
    Absolute,
    /// It holds a NUL byte.
    #[error("the name holds a NUL byte")]
    Nul,
    /// Two slashes in a row, or one at the end.
    #[error("the name has an empty component")]
    EmptyComponent,
    /// A `.` or `..` component.
    #[error("the name has a `.` or `..` component")]
    Dots,
    /// A `.git` component, in any case.
    #[error("the name has a `.git` component")]
    DotGit,
}

impl RelPath {
    /// Checks `raw` and makes it a path.
    pub fn parse(raw: &[u8]) -> Result<Self, PathError> {
        if raw.is_empty() {
            return Err(PathError::Empty);
        }
        if raw[0] == b'/' {
            return Err(PathError::Absolute);
        }
        if memchr::memchr(0, raw).is_some() {
            return Err(PathError::Nul);
        }
        for component in raw.split(|&b| b == b'/') {
            match component {
                b"" => return Err(PathError::EmptyComponent),
                b"." | b".." => return Err(PathError::Dots),
                c if c.eq_ignore_ascii_case(b".git") => return Err(PathError::DotGit),
                _ => {}
            }
        }
        Ok(Self(raw.to_vec()))
    }

    /// The bytes, as git spells them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path relative to the worktree's root. Joining it to anything but a directory handle is
    /// the caller's risk: a component may be a link.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The components from the root down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/')
    }

    /// The last component.
    pub fn file_name(&self) -> &[u8] {
        self.components().next_back().expect("a RelPath has at least one component")
    }

    /// The directory that holds it; `None` at the root.
    pub fn parent(&self) -> Option<RelPath> {
        let cut = memchr::memrchr(b'/', &self.0)?;
        Some(Self(self.0[..cut].to_vec()))
    }

    /// All directories above it, the nearest first, without the root.
    pub fn ancestors(&self) -> impl Iterator<Item = RelPath> + use<> {
        std::iter::successors(self.parent(), RelPath::parent)
    }

    /// Whether this path lies below `dir`.
    pub fn is_below(&self, dir: &RelPath) -> bool {
        self.0.len() > dir.0.len() && self.0.starts_with(&dir.0) && self.0[dir.0.len()] == b'/'
    }

    /// The name as UTF-8, if it is UTF-8.
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

/// Escaped: control bytes, invalid UTF-8, bidirectional overrides and backslashes cannot reach a terminal.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelPath({self})")
    }
}

/// Makes foreign bytes safe to print on one line: what is not plain text becomes `\n`, `\t`, `\xNN` or `\u{NN}`.
pub fn escape(raw: &[u8]) -> String {
    escaped(raw, "\\\\")
}

/// The same for words of ours in which foreign names were escaped before: those stay as they are.
pub fn escape_message(words: &str) -> String {
    escaped(words.as_bytes(), "\\")
}

/// The same for a line of JSON, which stays the same JSON: what a terminal would obey becomes `\uNNNN`.
pub fn escape_json(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        if c.is_control() || is_deceptive(c) {
            // All of them lie below U+10000, so one unit says it.
            out.push_str(&format!("\\u{:04x}", c as u32));
        } else {
            out.push(c);
        }
    }
    out
}

fn escaped(raw: &[u8], backslash: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str(backslash),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c.is_control() || is_deceptive(c) => {
                    out.push_str(&format!("\\u{{{:x}}}", c as u32))
                }
                c => out.push(c),
            }
        }
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out
}

/// Characters that change how their neighbours are drawn, or are not drawn at all.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{061c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_names_become_paths() {
        let refused: &[(&[u8], PathError)] = &[
            (b"", PathError::Empty),
            (b"/etc/x", PathError::Absolute),
            (b"a\0b", PathError::Nul),
            (b"a//b", PathError::EmptyComponent),
            (b"a/", PathError::EmptyComponent),
            (b".", PathError::Dots),
            (b"../x", PathError::Dots),
            (b"a/../b", PathError::Dots),
            (b"a/./b", PathError::Dots),
            (b".git", PathError::DotGit),
            (b".GIT/hooks/x", PathError::DotGit),
            (b"sub/.Git/config", PathError::DotGit),
        ];
        for (raw, why) in refused {
            assert_eq!(RelPath::parse(raw), Err(*why), "{}", escape(raw));
        }
        for raw in [
            &b"a"[..],
            b"a/b",
            b" ",
            b"-x",
            b"a\nb",
            b"\xff",
            b".gitignore",
            b"..x",
            b"...",
            b"a\\b",
        ] {
            assert!(RelPath::parse(raw).is_ok(), "{}", escape(raw));
        }
    }

    #[test]
    fn below_means_a_whole_component_deeper() {
        let p = |s: &str| RelPath::parse(s.as_bytes()).unwrap();
        assert!(p("a/b").is_below(&p("a")));
        assert!(!p("ab").is_below(&p("a")));
        assert!(!p("a").is_below(&p("a")));
        assert_eq!(p("a/b/c").ancestors().collect::<Vec<_>>(), [p("a/b"), p("a")]);
    }

    #[test]
    fn nothing_printed_can_move_the_cursor_or_reverse_text() {
        assert_eq!(escape(b"a\x1b[2J\n\xff\\"), "a\\u{1b}[2J\\n\\xff\\\\");
        assert_eq!(escape("x\u{202e}y".as_bytes()), "x\\u{202e}y");
        assert_eq!(escape("grün".as_bytes()), "grün");
        assert_eq!(escape_json("\"x\u{202e}\u{9b}\u{7f}grün\""), r#""x\u202e\u009b\u007fgrün""#);
    }
}
