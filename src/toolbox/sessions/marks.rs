//! One log for two streams: pieces with three marker bytes in front.
//!
//! Daytona's markers are `01 01 01` and `02 02 02`, and readers take the first such run from the left. Output
//! that contains them would corrupt the split. It does not here: where output has a run of such bytes, a
//! marker that changes nothing is written into the run, so that every reader of this format gets exactly
//! the bytes that were printed.

use crate::wire::process::{STDERR_MARK, STDOUT_MARK};

/// Where a piece of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn mark(self) -> [u8; 3] {
        match self {
            Self::Stdout => STDOUT_MARK,
            Self::Stderr => STDERR_MARK,
        }
    }

    fn byte(self) -> u8 {
        self.mark()[0]
    }

    fn other(self) -> Self {
        match self {
            Self::Stdout => Self::Stderr,
            Self::Stderr => Self::Stdout,
        }
    }
}

/// Writes pieces with their markers.
#[derive(Debug, Default)]
pub struct Mux {
    /// Marker-like bytes at the end of the output so far: which one and how many, at most two.
    run: Option<(u8, u8)>,
}

impl Mux {
    /// Appends a piece to a log.
    pub fn write(&mut self, stream: Stream, mut bytes: &[u8], log: &mut Vec<u8>) {
        let (own, other) = (stream.byte(), stream.other().byte());
        if self.run.is_some_and(|(byte, _)| byte == own) {
            log.extend(stream.other().mark());
        }
        log.extend(stream.mark());
        self.run = None;
        while let Some(at) = memchr::memchr2(own, other, bytes) {
            if at > 0 {
                self.run = None;
            }
            log.extend_from_slice(&bytes[..at]);
            self.special(stream, bytes[at], log);
            bytes = &bytes[at + 1..];
        }
        if !bytes.is_empty() {
            self.run = None;
        }
        log.extend_from_slice(bytes);
    }

    /// Appends one marker-like byte; a third in a row is kept apart.
    fn special(&mut self, stream: Stream, byte: u8, log: &mut Vec<u8>) {
        let before = self.run.map_or(0, |(b, n)| if b == byte { n } else { 0 });
        if before == 2 {
            if byte == stream.byte() {
                log.extend(stream.other().mark());
            }
            log.extend(stream.mark());
        }
        log.push(byte);
        self.run = Some((byte, before % 2 + 1));
    }
}

/// Takes a marked log apart, however it is cut.
#[derive(Debug, Default)]
pub struct Demux {
    stream: Option<Stream>,
    held: Vec<u8>,
}

impl Demux {
    /// Reads the next bytes; `each` gets the pieces, those before any marker without a stream.
    pub fn read(&mut self, bytes: &[u8], mut each: impl FnMut(Option<Stream>, &[u8])) {
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(bytes);
        let mut rest: &[u8] = &joined;
        let mut from = 0;
        while let Some(next) = memchr::memchr2(STDOUT_MARK[0], STDERR_MARK[0], &rest[from..]) {
            let at = from + next;
            let byte = rest[at];
            let run = rest[at..].iter().take(3).take_while(|b| **b == byte).count();
            if run == 3 {
                self.give(&rest[..at], &mut each);
                let stdout = byte == STDOUT_MARK[0];
                self.stream = Some(if stdout { Stream::Stdout } else { Stream::Stderr });
                (rest, from) = (&rest[at + 3..], 0);
            } else if at + run == rest.len() {
                // Perhaps the beginning of a marker: the next bytes will tell.
                self.held = rest[at..].to_vec();
                rest = &rest[..at];
                break;
            } else {
                from = at + run;
            }
        }
        self.give(rest, &mut each);
    }

    /// Gives what was held back at the end of the log.
    pub fn finish(&mut self, mut each: impl FnMut(Option<Stream>, &[u8])) {
        let held = std::mem::take(&mut self.held);
        self.give(&held, &mut each);
    }

    fn give(&self, bytes: &[u8], each: &mut impl FnMut(Option<Stream>, &[u8])) {
        if !bytes.is_empty() {
            each(self.stream, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Both streams, and what belongs to none.
    fn split(log: &[u8], cuts: &[usize]) -> [Vec<u8>; 3] {
        let mut parts = [Vec::new(), Vec::new(), Vec::new()];
        let mut demux = Demux::default();
        let mut take = |stream: Option<Stream>, bytes: &[u8]| {
            let part = stream.map_or(2, |s| usize::from(s == Stream::Stderr));
            parts[part].extend_from_slice(bytes);
        };
        let mut rest = log;
        for cut in cuts {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            demux.read(piece, &mut take);
            rest = after;
        }
        demux.read(rest, &mut take);
        demux.finish(&mut take);
        parts
    }

    #[test]
    fn as_recorded() {
        let log = b"\x02\x02\x02err\n\x01\x01\x01out\n\x01\x01\x01tail\n";
        assert_eq!(split(log, &[]), [b"out\ntail\n".to_vec(), b"err\n".to_vec(), vec![]]);
        let mut written = Vec::new();
        Mux::default().write(Stream::Stdout, b"out\n", &mut written);
        assert_eq!(written, b"\x01\x01\x01out\n");
    }

    #[test]
    fn before_the_first_marker_nobody_owns_it() {
        assert_eq!(split(b"ab\x01\x01\x01c", &[]), [b"c".to_vec(), vec![], b"ab".to_vec()]);
    }

    fn output() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(1u8), Just(2), Just(b'x')], 0..12)
    }

    proptest! {
        #[test]
        fn every_byte_arrives_where_it_belongs(
            pieces in proptest::collection::vec((any::<bool>(), output()), 0..8),
            cuts in proptest::collection::vec(0usize..7, 0..40),
        ) {
            let (mut mux, mut log) = (Mux::default(), Vec::new());
            let mut expected = [Vec::new(), Vec::new(), Vec::new()];
            for (is_err, bytes) in &pieces {
                let stream = if *is_err { Stream::Stderr } else { Stream::Stdout };
                mux.write(stream, bytes, &mut log);
                expected[usize::from(*is_err)].extend_from_slice(bytes);
            }
            prop_assert_eq!(split(&log, &cuts), expected);
        }

        #[test]
        fn cuts_change_nothing(
            log in proptest::collection::vec(prop_oneof![Just(1u8), Just(2), any::<u8>()], 0..60),
            cuts in proptest::collection::vec(0usize..5, 0..40),
        ) {
            prop_assert_eq!(split(&log, &cuts), split(&log, &[]));
        }
    }
}
