//! One gzip stream in which each part is either compressed or stored.
//!
//! Content that does not shrink costs seconds at every level and gains nothing. A gzip file holds one
//! deflate stream (RFC 1951, RFC 1952), a row of blocks; at a byte boundary between two blocks a block that
//! is stored may follow one that is compressed. So the reader over there sees one ordinary member.

use std::io::{self, Write};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// The longest stored block: its length is a 16-bit number.
const STORED_MAX: usize = 0xFFFF;
/// Compressed bytes wait here before they are written on.
const BUFFER: usize = 32 * 1024;

/// Writes a gzip member. [`Gzip::finish`] ends it; without that the stream is cut.
pub struct Gzip<W: Write> {
    out: W,
    deflate: Compress,
    buffer: Vec<u8>,
    crc: Crc,
    stored: bool,
    /// The compressor holds bytes that were not written yet.
    open: bool,
}

impl<W: Write> Gzip<W> {
    /// Begins a member at a level from 1 to 9.
    pub fn new(mut out: W, level: u32) -> io::Result<Self> {
        // Magic, deflate, no flags, no time, no hint, unknown system: the same input gives the same bytes.
        out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])?;
        Ok(Self {
            out,
            deflate: Compress::new(Compression::new(level), false),
            buffer: Vec::with_capacity(BUFFER),
            crc: Crc::new(),
            stored: false,
            open: false,
        })
    }

    /// From here on, bytes are stored as they are (`true`) or compressed (`false`).
    pub fn set_stored(&mut self, stored: bool) -> io::Result<()> {
        if stored && self.open {
            self.deflate(&[], FlushCompress::Sync)?;
            // What follows is not in the compressor's window, so it must not refer back either.
            self.deflate.reset();
            self.open = false;
        }
        self.stored = stored;
        Ok(())
    }

    /// Ends the member and returns what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.deflate(&[], FlushCompress::Finish)?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    fn deflate(&mut self, mut input: &[u8], flush: FlushCompress) -> io::Result<()> {
        loop {
            let before = self.deflate.total_in();
            self.buffer.clear();
            let status = self.deflate.compress_vec(input, &mut self.buffer, flush)?;
            input = &input[(self.deflate.total_in() - before) as usize..];
            self.out.write_all(&self.buffer)?;
            // Room that was left over says that nothing is held back.
            let done = input.is_empty() && self.buffer.len() < self.buffer.capacity();
            if done || status == Status::StreamEnd {
                return Ok(());
            }
        }
    }

    fn store(&mut self, bytes: &[u8]) -> io::Result<()> {
        for block in bytes.chunks(STORED_MAX) {
            let size = block.len() as u16;
            let mut head = [0; 5];
            head[1..3].copy_from_slice(&size.to_le_bytes());
            head[3..].copy_from_slice(&(!size).to_le_bytes());
            self.out.write_all(&head)?;
            self.out.write_all(block)?;
        }
        Ok(())
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stored {
            self.store(bytes)?;
        } else {
            self.deflate(bytes, FlushCompress::None)?;
            self.open = true;
        }
        self.crc.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Whether compressing such bytes is worth its time: at least a thirtieth has to be gained at level 1.
pub fn shrinks(sample: &[u8]) -> bool {
    let mut packed = Vec::with_capacity(sample.len() + 1024);
    let mut deflate = Compress::new(Compression::fast(), false);
    // What does not fit into the room of the original did not shrink.
    match deflate.compress_vec(sample, &mut packed, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => packed.len() < sample.len() - sample.len() / 30,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    /// Bytes without any pattern, the same each time.
    pub fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        std::iter::repeat_with(&mut next).take(len).collect()
    }

    fn gzip(parts: &[(bool, Vec<u8>)], level: u32) -> Vec<u8> {
        let mut gzip = Gzip::new(Vec::new(), level).unwrap();
        for (stored, bytes) in parts {
            gzip.set_stored(*stored).unwrap();
            gzip.write_all(bytes).unwrap();
        }
        gzip.finish().unwrap()
    }

    fn ungzip(bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        let mut decoder = flate2::bufread::GzDecoder::new(bytes);
        decoder.read_to_end(&mut all).unwrap();
        assert!(decoder.into_inner().is_empty(), "one member and nothing behind it");
        all
    }

    #[test]
    fn noise_is_stored_and_text_is_not() {
        let text = b"fn main() { println!(\"hello\"); }\n".repeat(2000);
        assert!(shrinks(&text));
        assert!(!shrinks(&noise(64 * 1024, 7)));
        assert!(!shrinks(&gzip(&[(false, noise(64 * 1024, 9))], 6)));
        assert!(!shrinks(b""));
    }

    #[test]
    fn what_is_stored_grows_by_almost_nothing() {
        let random = noise(1 << 20, 3);
        let packed = gzip(&[(false, b"head".to_vec()), (true, random.clone())], 1);
        assert!(packed.len() < random.len() + random.len() / 1000 + 64, "{}", packed.len());
    }

    proptest! {
        #[test]
        fn any_mix_of_parts_is_one_member_that_reads_back(
            parts in prop::collection::vec(
                (any::<bool>(), 0usize..200_000, 0u64..4),
                0..6,
            ),
            level in 1u32..9,
        ) {
            let parts: Vec<_> = parts
                .into_iter()
                .map(|(stored, len, seed)| match seed {
                    0 => (stored, b"abcdefgh".iter().copied().cycle().take(len).collect()),
                    seed => (stored, noise(len, seed)),
                })
                .collect();
            let whole: Vec<u8> = parts.iter().flat_map(|(_, b)| b.iter().copied()).collect();
            prop_assert!(ungzip(&gzip(&parts, level)) == whole);
        }
    }
}
