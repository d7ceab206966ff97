//! What the view prints, read from bytes that come in any cut.

use bytes::{Buf as _, Bytes, BytesMut};

use super::outcome::Stop;
use super::{Offsets, Stream};

/// Rest of the terminal's preamble that is thrown away: prompts, echo, messages of the day.
const PREAMBLE: usize = 256 << 10;
/// The longest frame.
const FRAME: u64 = 64 << 10;
/// What the view prints first.
pub(super) const GO: &[u8] = b"\x01GO\x02";

/// One thing the view prints.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Bytes { stream: Stream, offset: u64, bytes: Bytes },
    Gap { stream: Stream, from: u64, to: u64 },
    End { exit: i32, why: Option<Stop>, sizes: Offsets },
    Lost,
}

/// Reads frames from bytes that come in any cut.
#[derive(Debug, Default)]
pub(super) struct Framing {
    place: Place,
    /// A frame's bytes until it is known that they were still there when they were read.
    held: Vec<Frame>,
}

/// Where in a frame the reading is.
#[derive(Debug)]
enum Place {
    /// Before the view's first word.
    Preamble { tail: BytesMut, dropped: usize },
    /// Within a frame's first line.
    Head(BytesMut),
    /// Within a frame's bytes.
    Body { stream: Stream, offset: u64, left: u64 },
}

impl Default for Place {
    fn default() -> Self {
        Self::Preamble { tail: BytesMut::new(), dropped: 0 }
    }
}

impl Framing {
    pub(super) fn begun(&self) -> bool {
        !matches!(self.place, Place::Preamble { .. })
    }

    pub(super) fn feed(&mut self, mut input: Bytes, frames: &mut Vec<Frame>) -> Result<(), String> {
        while !input.is_empty() {
            match &mut self.place {
                Place::Preamble { tail, dropped } => {
                    tail.extend_from_slice(&input);
                    *dropped += input.len();
                    input.clear();
                    if let Some(place) = memchr::memmem::find(tail, GO) {
                        input = tail.split_off(place + GO.len()).freeze();
                        self.place = Place::Head(BytesMut::new());
                    } else if *dropped > PREAMBLE {
                        return Err("the terminal talks and does not begin".into());
                    } else {
                        let keep = tail.len().min(GO.len() - 1);
                        tail.advance(tail.len() - keep);
                    }
                }
                Place::Head(line) => {
                    let end = memchr::memchr(b'\n', &input);
                    let piece = input.split_to(end.map_or(input.len(), |at| at + 1));
                    line.extend_from_slice(&piece);
                    if line.len() > 80 {
                        return Err("the view is garbled".into());
                    }
                    if end.is_some() {
                        let head = head(line).ok_or("the view is garbled")?;
                        self.place = self.begin(head, frames).ok_or("the view is garbled")?;
                    }
                }
                Place::Body { stream, offset, left } => {
                    let bytes = input.split_to((*left).min(input.len() as u64) as usize);
                    let (stream, at) = (*stream, *offset);
                    *offset += bytes.len() as u64;
                    *left -= bytes.len() as u64;
                    if *left == 0 {
                        self.place = Place::Head(BytesMut::new());
                    }
                    self.held.push(Frame::Bytes { stream, offset: at, bytes });
                }
            }
        }
        Ok(())
    }

    /// What a first line leads to; `None` where it may not stand.
    fn begin(&mut self, head: Head, frames: &mut Vec<Frame>) -> Option<Place> {
        match head {
            Head::Kept => frames.append(&mut self.held),
            Head::Frame(gap @ Frame::Gap { .. }) => {
                self.held.clear();
                frames.push(gap);
            }
            _ if !self.held.is_empty() => return None,
            Head::Frame(frame) => frames.push(frame),
            Head::Body(stream, offset, left) if (1..=FRAME).contains(&left) => {
                return Some(Place::Body { stream, offset, left });
            }
            Head::Body(..) => return None,
        }
        Some(Place::Head(BytesMut::new()))
    }
}

#[derive(Debug)]
enum Head {
    Body(Stream, u64, u64),
    Kept,
    Frame(Frame),
}

fn head(line: &[u8]) -> Option<Head> {
    let line = std::str::from_utf8(line).ok()?.trim_end_matches(['\r', '\n']);
    let mut words = line.split(' ');
    let word = words.next()?;
    let mut number = || words.next()?.parse::<u64>().ok();
    Some(match word {
        "SBXO" => Head::Body(Stream::Out, number()?, number()?),
        "SBXE" => Head::Body(Stream::Err, number()?, number()?),
        "SBXK" => Head::Kept,
        "SBXG" => {
            let stream = if number()? == 1 { Stream::Out } else { Stream::Err };
            Head::Frame(Frame::Gap { stream, from: number()?, to: number()? })
        }
        "SBXX" => {
            let exit = i32::try_from(number()?).ok()?;
            let sizes = Offsets { out: number()?, err: number()? };
            let why = words.next().and_then(Stop::remembered);
            Head::Frame(Frame::End { exit, why, sizes })
        }
        "SBXL" => Head::Frame(Frame::Lost),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(frames: Vec<Frame>) -> (Vec<u8>, Vec<u8>, Vec<Frame>) {
        let (mut out, mut err, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for frame in frames {
            match frame {
                Frame::Bytes { stream, offset, bytes } => {
                    let all = if stream == Stream::Out { &mut out } else { &mut err };
                    assert_eq!(offset, all.len() as u64);
                    all.extend_from_slice(&bytes);
                }
                other => rest.push(other),
            }
        }
        (out, err, rest)
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            out in prop::collection::vec(any::<u8>(), 1..300),
            err in prop::collection::vec(any::<u8>(), 1..300),
            cuts in prop::collection::vec(1usize..40, 1..60),
        ) {
            let mut wire = b"$ stty; printf '\\001GO\\002'\r\n\x01G\x1b[?2004h\x01GO\x02".to_vec();
            for (letter, bytes) in [('O', &out), ('E', &err)] {
                wire.extend(format!("SBX{letter} 0 {}\n", bytes.len()).bytes());
                wire.extend(bytes.iter().copied().chain(*b"SBXK\n"));
            }
            wire.extend_from_slice(b"SBXE 5 4\n\0\0\0\0SBXG 2 5 9\n");
            wire.extend(format!("SBXX 7 {} {} idle\n", out.len(), err.len()).bytes());
            let (mut framing, mut frames, mut rest) = (Framing::default(), Vec::new(), &wire[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                framing.feed(Bytes::copy_from_slice(piece), &mut frames).unwrap();
                rest = tail;
            }
            let sizes = Offsets { out: out.len() as u64, err: err.len() as u64 };
            let gap = Frame::Gap { stream: Stream::Err, from: 5, to: 9 };
            let end = Frame::End { exit: 7, why: Some(Stop::Silent), sizes };
            prop_assert_eq!(joined(frames), (out, err, vec![gap, end]));
        }
    }

    #[test]
    fn what_is_no_frame_is_not_taken_for_one() {
        for words in [
            "bash: no such file\n",
            "SBXO 0 0\n",
            "SBXO 0 65537\n",
            // neither kept nor taken back
            "SBXO 0 1\n.SBXO 1 1\n",
            "SBXO 0 1\n.SBXX 0 1 0 -\n",
        ] {
            let wire = [GO, words.as_bytes()].concat();
            let fed = Framing::default().feed(wire.into(), &mut Vec::new());
            assert!(fed.is_err(), "{words}");
        }
    }
}
