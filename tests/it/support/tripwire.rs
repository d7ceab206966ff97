//! A store that does not survive one of its questions.

use std::cell::Cell;
use std::io::{self, Write};

use sandbox_coder::tree::{Oid, Tree};
use sandbox_coder::worktree::apply::Objects;

/// What happens instead of writing an object's bytes.
pub type Trip<'o> = dyn Fn(&Oid, &mut dyn Write) -> io::Result<()> + 'o;

/// Hands out so many objects, and trips at every one after them.
pub struct Tripwire<'o> {
    inner: &'o dyn Objects,
    left: Cell<u64>,
    trip: &'o Trip<'o>,
}

impl<'o> Tripwire<'o> {
    pub fn new(inner: &'o dyn Objects, objects: u64, trip: &'o Trip<'o>) -> Self {
        Self { inner, left: Cell::new(objects), trip }
    }
}

/// Writes the first half of an object.
pub fn half(objects: &dyn Objects, id: &Oid, out: &mut dyn Write) -> io::Result<()> {
    let bytes = objects.read(id)?;
    out.write_all(&bytes[..bytes.len() / 2])
}

impl Objects for Tripwire<'_> {
    fn size(&self, id: &Oid) -> io::Result<Option<u64>> {
        self.inner.size(id)
    }

    fn copy(&self, id: &Oid, out: &mut dyn Write) -> io::Result<()> {
        match self.left.get() {
            0 => (self.trip)(id, out),
            n => {
                self.left.set(n - 1);
                self.inner.copy(id, out)
            }
        }
    }

    fn save(&self, bytes: &[u8]) -> io::Result<Oid> {
        self.inner.save(bytes)
    }

    fn pin(&self, run: &str, tree: &Tree) -> io::Result<()> {
        self.inner.pin(run, tree)
    }

    fn unpin(&self, run: &str) -> io::Result<()> {
        self.inner.unpin(run)
    }
}
