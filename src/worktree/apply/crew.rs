//! The same step at many paths, on several threads where that pays.
//!
//! What is handed in must not hang on each other's order. All that a step writes lies at its own path, beside it, or
//! under a name that is created or refused in one call. So nothing is locked: who is free takes the next few.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::hands::Hands;
use super::{Error, Objects, Site};

/// Fewer steps than this are done before a thread has begun.
const MANY: usize = 64;
/// So many neighbours are taken at once: they share a folder, and two threads in one folder wait for each other.
const PIECE: usize = 16;
/// More threads than this only wait for the disk; each holds a handful of handles.
const MOST: usize = 8;

/// Takes `step` with each of `work`. The results come in the order of `work`; of several failures the first in that
/// order is told, and everything before it has been done, as if one thread had. Of what comes after it some may be
/// done as well: nobody is stopped in the middle of a step.
pub(super) fn each<W: Sync, R: Send>(
    hands: &Hands<'_>,
    work: &[W],
    step: impl Fn(&Hands<'_>, &W) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    if work.len() < MANY {
        return work.iter().map(|one| step(hands, one)).collect();
    }
    let queue = Queue { next: 0.into(), end: work.len().into() };
    let shift = |hands: &Hands<'_>| {
        let mut done = Vec::new();
        while let Some(piece) = queue.take() {
            for n in piece.filter(|&n| n < queue.end()) {
                let result = step(hands, &work[n]);
                if result.is_err() {
                    queue.end_before(n);
                }
                done.push((n, result));
            }
        }
        done
    };
    let mut done = thread::scope(|scope| {
        let helpers: Vec<_> = helpers(hands, work.len() / PIECE)
            .filter_map(|objects| {
                let (Site { top, state, file_mode, .. }, run, shift) =
                    (*hands.site, hands.run.as_str(), &shift);
                let help = move || {
                    let site = Site { top, state, objects: &*objects, file_mode };
                    // Who gets no handle of the folder leaves the work to the others.
                    let hands = Hands::helping(&site, run).ok()?;
                    Some((shift(&hands), hands.told()))
                };
                thread::Builder::new().spawn_scoped(scope, help).ok()
            })
            .collect();
        let mut done = shift(hands);
        for helper in helpers {
            let helped = helper.join().unwrap_or_else(|panic| resume_unwind(panic));
            if let Some((theirs, told)) = helped {
                done.extend(theirs);
                hands.take_over(told);
            }
        }
        done
    });
    done.sort_unstable_by_key(|&(n, _)| n);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The stores of those that help, one for each processor beyond our own.
fn helpers<'h>(
    hands: &'h Hands<'_>,
    pieces: usize,
) -> impl Iterator<Item = Box<dyn Objects + Send + 'h>> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let objects = hands.site.objects;
    (1..processors.min(MOST).min(pieces)).map_while(|_| objects.again().ok())
}

/// What is not taken yet: everything from `next` up to the end, which is moved to the first failure.
struct Queue {
    next: AtomicUsize,
    end: AtomicUsize,
}

impl Queue {
    fn take(&self) -> Option<Range<usize>> {
        let begin = self.next.fetch_add(PIECE, Ordering::Relaxed);
        (begin < self.end()).then_some(begin..begin + PIECE)
    }

    fn end(&self) -> usize {
        self.end.load(Ordering::Relaxed)
    }

    fn end_before(&self, failed: usize) {
        self.end.fetch_min(failed, Ordering::Relaxed);
    }
}
