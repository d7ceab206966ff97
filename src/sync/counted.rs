//! A stream that is counted and hashed on its way.

use std::io::{self, Write};

use sha2::{Digest, Sha256};

/// Passes everything on to `out`, counting and hashing it.
pub struct Counted<W> {
    out: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Counted<W> {
    /// Nothing has passed yet.
    pub fn new(out: W) -> Self {
        Self { out, hash: Sha256::new(), size: 0 }
    }

    /// How many bytes passed, and their SHA-256 in hexadecimal.
    pub fn end(self) -> (u64, String) {
        (self.size, hex::encode(self.hash.finalize()))
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
