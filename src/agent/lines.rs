//! Recorded bytes as lines.
//!
//! Bytes arrive in pieces of any size, cut anywhere: inside a character, an escape sequence, an object.
//! What comes out depends on the bytes alone, never on the cuts.
//!
//! A terminal adds a few things to an agent's lines, and they are taken off again: `\r` at the end,
//! escape sequences (a JSON string never holds a raw one), and the `^C` that a typed Ctrl-C leaves in
//! front of whatever came next.

/// The longest line delivered in one piece: 8 MiB. Agents write a file of a megabyte as one line.
pub const LONGEST: usize = 8 << 20;

/// A line, or a piece of one that is longer than [`LONGEST`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Offset of its first byte in the recorded output.
    pub offset: u64,
    /// Its bytes without line end, escape sequences and echoes.
    pub bytes: Vec<u8>,
    /// The line goes on in the next one.
    pub partial: bool,
}

/// Cuts bytes into lines.
#[derive(Debug)]
pub struct Lines {
    /// Bytes of the line that has not ended yet.
    held: Vec<u8>,
    /// Offset of the first byte held.
    offset: u64,
    longest: usize,
    /// The last piece delivered was partial.
    inside: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self::at(0)
    }
}

impl Lines {
    /// Begins at an offset of the recorded output, which has to be the start of a line.
    pub fn at(offset: u64) -> Self {
        Self { held: Vec::new(), offset, longest: LONGEST, inside: false }
    }

    #[cfg(test)]
    fn with_longest(longest: usize) -> Self {
        Self { longest, ..Self::at(0) }
    }

    /// Offset after the last byte pushed.
    pub fn end(&self) -> u64 {
        self.offset + self.held.len() as u64
    }

    /// Offset of the line that has not ended yet: where a new reader would have to begin.
    pub fn resume_at(&self) -> u64 {
        self.offset
    }

    /// Takes the next bytes and hands on the lines they complete.
    pub fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(Line)) {
        while !bytes.is_empty() {
            let room = self.longest - self.held.len();
            let window = &bytes[..bytes.len().min(room)];
            match memchr::memchr(b'\n', window) {
                Some(at) => {
                    self.held.extend_from_slice(&window[..at]);
                    bytes = &bytes[at + 1..];
                    self.deliver(self.held.len(), 1, false, &mut take);
                }
                None => {
                    self.held.extend_from_slice(window);
                    bytes = &bytes[window.len()..];
                    if self.held.len() == self.longest {
                        self.deliver(char_start(&self.held), 0, true, &mut take);
                    }
                }
            }
        }
    }

    /// Hands on what is left after the last byte.
    pub fn finish(&mut self, mut take: impl FnMut(Line)) {
        if !self.held.is_empty() || self.inside {
            self.deliver(self.held.len(), 0, false, &mut take);
        }
    }

    fn deliver(&mut self, len: usize, line_end: usize, partial: bool, take: &mut impl FnMut(Line)) {
        let whole = !partial && !self.inside;
        let raw = &self.held[..len];
        let bytes =
            if whole { clean(raw) } else { raw.strip_suffix(b"\r").unwrap_or(raw).to_vec() };
        // what is nothing but a terminal's gesture is no line, an empty line is one
        if !bytes.is_empty() || raw.strip_suffix(b"\r").unwrap_or(raw).is_empty() {
            take(Line { offset: self.offset, bytes, partial });
        }
        self.held.drain(..len);
        self.offset += (len + line_end) as u64;
        self.inside = partial;
    }
}

/// How many of these bytes can be cut off without cutting a character.
fn char_start(bytes: &[u8]) -> usize {
    let last = bytes.len();
    for back in 1..=3.min(last.saturating_sub(1)) {
        let byte = bytes[last - back];
        if byte & 0b1100_0000 == 0b1000_0000 {
            continue;
        }
        let needs = match byte {
            0xF0.. => 4,
            0xE0.. => 3,
            0xC0.. => 2,
            _ => 1,
        };
        return if needs > back { last - back } else { last };
    }
    last
}

/// A line without what a terminal put around it.
fn clean(line: &[u8]) -> Vec<u8> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let bytes =
        if memchr::memchr(0x1b, line).is_some() { without_escapes(line) } else { line.to_vec() };
    let mut rest = bytes.as_slice();
    while let Some(after) = rest.strip_prefix(b"^C").or_else(|| rest.strip_prefix(b"\r")) {
        rest = after;
    }
    rest.to_vec()
}

/// Takes out CSI (`ESC [ ... letter`), OSC and other string sequences (up to BEL or `ESC \`), and
/// two- and three-byte escapes. A sequence that the line's end cuts off goes too.
fn without_escapes(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = memchr::memchr(0x1b, rest) {
        out.extend_from_slice(&rest[..at]);
        rest = after_escape(&rest[at + 1..]);
    }
    out.extend_from_slice(rest);
    out
}

/// What follows a sequence whose ESC has been read.
fn after_escape(rest: &[u8]) -> &[u8] {
    let past = |end: Option<usize>| end.map_or(&[][..], |at| &rest[at + 1..]);
    match rest.first() {
        None => &[],
        Some(b'[') => {
            past(rest.iter().skip(1).position(|b| (0x40..=0x7e).contains(b)).map(|at| at + 1))
        }
        Some(b']' | b'P' | b'X' | b'^' | b'_') => past(
            rest.iter()
                .position(|&b| b == 0x07 || b == b'\\')
                .filter(|&at| rest[at] == 0x07 || rest[at - 1] == 0x1b),
        ),
        Some(0x20..=0x2f) => past(rest.iter().position(|b| (0x30..=0x7e).contains(b))),
        Some(_) => &rest[1..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(longest: usize, pieces: &[&[u8]]) -> Vec<Line> {
        let mut lines = Lines::with_longest(longest);
        let mut out = Vec::new();
        for piece in pieces {
            lines.push(piece, |l| out.push(l));
        }
        lines.finish(|l| out.push(l));
        out
    }

    fn texts(bytes: &[u8]) -> Vec<String> {
        read(LONGEST, &[bytes])
            .iter()
            .map(|l| String::from_utf8_lossy(&l.bytes).into_owned())
            .collect()
    }

    #[test]
    fn what_a_terminal_adds_is_taken_off() {
        let cases: &[(&[u8], &[&str])] = &[
            (b"a\r\nb\n\nc", &["a", "b", "", "c"]),
            (b"\x1b[91m\x1b[1mError: \x1b[0mno\r\n", &["Error: no"]),
            (b"{\"type\":\"x\"}\r\n\x1b[?25h", &["{\"type\":\"x\"}"]),
            (b"^C{\"type\":\"x\"}\n", &["{\"type\":\"x\"}"]),
            (b"^C\r\n", &[]),
            (b"\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", &["textlink"]),
            (b"\x1b(Bplain\x1b=\n", &["plain"]),
            (b"cut \x1b[12", &["cut "]),
        ];
        for (bytes, expected) in cases {
            assert_eq!(texts(bytes), *expected);
        }
    }

    #[test]
    fn a_line_without_end_comes_in_pieces_that_cut_no_character() {
        let lines = read(8, &["aäääää\nb\n".as_bytes()]);
        let seen: Vec<_> = lines
            .iter()
            .map(|l| (l.offset, std::str::from_utf8(&l.bytes).unwrap(), l.partial))
            .collect();
        assert_eq!(seen, [(0, "aäää", true), (7, "ää", false), (12, "b", false)]);
    }

    #[test]
    fn a_reader_that_begins_again_at_its_place_sees_the_rest() {
        let mut lines = Lines::default();
        lines.push(b"one\ntw", |_| ());
        assert_eq!((lines.resume_at(), lines.end()), (4, 6));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            bytes in prop::collection::vec(prop_oneof![
                Just(b'\n'), Just(b'\r'), Just(0x1b), Just(b'['), Just(b'm'), Just(b'^'), Just(b'C'), Just(b']'),
                Just(0x07), Just(b'\\'), Just(0xc3), Just(0xa4), Just(0xf0), Just(b'{'), any::<u8>()
            ], 0..200),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            longest in 4usize..64,
        ) {
            let whole = read(longest, &[&bytes]);
            let mut at: Vec<usize> = cuts.iter().map(|i| i.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(&read(longest, &pieces), &whole);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&read(longest, &single), &whole);
            prop_assert!(whole.iter().all(|l| l.bytes.len() <= longest));
        }
    }
}
