//! A whole result, as it comes: gzip if the input begins like gzip, otherwise what gzip would hold.

use std::io::{self, Read, Write};

use flate2::write::GzEncoder;
use sandbox_coder::sync::records::{self, Limits, Records, Refused, Sink};
use sandbox_coder::tree::Oid;
use sha1::{Digest, Sha1};

/// What the reader handed over: ids as they were computed here, and sizes.
#[derive(Default)]
pub struct Stored(pub Vec<(Oid, u64)>);

impl Sink for Stored {
    fn store(&mut self, from: &mut dyn Read, _announced: u64) -> io::Result<Oid> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let id = blob_id(&bytes);
        self.0.push((id, bytes.len() as u64));
        Ok(id)
    }
}

/// The id git gives a content.
pub fn blob_id(content: &[u8]) -> Oid {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    Oid(hash.finalize().into())
}

pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::none());
    packed.write_all(plain).unwrap();
    packed.finish().unwrap()
}

/// Small enough to be reached by a fuzzer.
pub const LIMITS: Limits =
    Limits { paths: 64, total: 256 << 10, one: 128 << 10, manifest: 64 << 10, ratio: 200 };

/// Reads a packed result and holds what is accepted against what was handed over.
pub fn read(packed: &[u8], base: Oid) -> Result<Records, Refused> {
    let mut stored = Stored::default();
    let records = records::read(packed, packed.len() as u64, base, &LIMITS, &mut stored)?;
    let mut wanted: Vec<Oid> =
        records.claims.iter().filter_map(|c| c.after).map(|e| e.id).collect();
    wanted.sort();
    wanted.dedup();
    let sizes = stored.0.iter().map(|(_, size)| size).sum::<u64>();
    let mut had: Vec<Oid> = stored.0.into_iter().map(|(id, _)| id).collect();
    had.sort();
    assert_eq!(had, wanted, "the contents are not exactly those that were announced");
    assert_eq!(sizes, records.content);
    assert!(sizes <= LIMITS.total && records.claims.len() <= LIMITS.paths);
    assert!(records.claims.is_sorted_by(|a, b| a.path < b.path), "names twice or out of order");
    Ok(records)
}

pub fn check(input: &[u8]) {
    let base = Oid::EMPTY_TREE;
    if input.starts_with(b"\x1f\x8b") {
        let _ = read(input, base);
        return;
    }
    // A result from any base is read, so that a real one is a start for the fuzzer.
    let named = input.get(8..48).and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
    let _ = read(&gzip(input), named.unwrap_or(base));
}
