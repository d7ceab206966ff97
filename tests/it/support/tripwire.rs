//! A store that does not survive one of its questions.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sandbox_coder::tree::{Oid, Tree};
use sandbox_coder::worktree::apply::Objects;

/// What happens instead of writing an object's bytes.
pub type Trip<'o> = dyn Fn(&dyn Objects, &Oid, &mut dyn Write) -> io::Result<()> + Sync + 'o;

/// Hands out so many objects, whichever thread asks, and trips at every one after them.
pub struct Tripwire<'o, I> {
    inner: I,
    left: Arc<AtomicU64>,
    trip: &'o Trip<'o>,
}

impl<'o> Tripwire<'o, &'o dyn Objects> {
    pub fn new(inner: &'o dyn Objects, objects: u64, trip: &'o Trip<'o>) -> Self {
        Self { inner, left: Arc::new(objects.into()), trip }
    }
}

/// Writes the first half of an object.
pub fn half(objects: &dyn Objects, id: &Oid, out: &mut dyn Write) -> io::Result<()> {
    let bytes = objects.read(id)?;
    out.write_all(&bytes[..bytes.len() / 2])
}

/// The store behind a wire: the test's, or one that a thread opened for itself.
trait Inner {
    fn objects(&self) -> &dyn Objects;
}

impl Inner for &dyn Objects {
    fn objects(&self) -> &dyn Objects {
        *self
    }
}

impl Inner for Box<dyn Objects + Send + '_> {
    fn objects(&self) -> &dyn Objects {
        &**self
    }
}

impl<I: Inner> Objects for Tripwire<'_, I> {
    fn size(&self, id: &Oid) -> io::Result<Option<u64>> {
        self.inner.objects().size(id)
    }

    fn copy(&self, id: &Oid, out: &mut dyn Write) -> io::Result<()> {
        let step = |left: u64| left.checked_sub(1);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step) {
            Ok(_) => self.inner.objects().copy(id, out),
            Err(_) => (self.trip)(self.inner.objects(), id, out),
        }
    }

    fn save(&self, bytes: &[u8]) -> io::Result<Oid> {
        self.inner.objects().save(bytes)
    }

    fn pin(&self, run: &str, tree: &Tree) -> io::Result<()> {
        self.inner.objects().pin(run, tree)
    }

    fn unpin(&self, run: &str) -> io::Result<()> {
        self.inner.objects().unpin(run)
    }

    fn again(&self) -> io::Result<Box<dyn Objects + Send + '_>> {
        let inner = self.inner.objects().again()?;
        Ok(Box::new(Tripwire { inner, left: self.left.clone(), trip: self.trip }))
    }
}
