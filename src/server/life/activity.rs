//! What counts as use of a sandbox, and the timers that act on its lack.

use std::sync::Arc;

use super::super::registry::State;
use super::super::store::Record;
use super::{Held, Life};

const MINUTE: i64 = 60_000;

impl Life {
    /// Counts as activity now.
    pub(in crate::server) fn touch(&self, id: &str) {
        if let Some(held) = self.shelf().held.get_mut(id) {
            held.record.last_activity = self.clock.now();
        }
    }

    /// Counts as activity for as long as the guard lives.
    pub(in crate::server) fn using(self: &Arc<Self>, id: &str) -> Using {
        if let Some(held) = self.shelf().held.get_mut(id) {
            held.open += 1;
            held.record.last_activity = self.clock.now();
        }
        Using { life: self.clone(), id: id.to_owned() }
    }

    /// Counts a request to the server itself for as long as the guard lives.
    pub(in crate::server) fn request(self: &Arc<Self>) -> Busy {
        self.shelf().requests += 1;
        Busy { life: self.clone() }
    }

    /// Since when nobody asked and nothing ran; `None` while something does.
    pub(in crate::server) fn idle_since(&self) -> Option<i64> {
        let shelf = self.shelf();
        let busy = shelf.requests > 0
            || shelf.held.values().any(|held| {
                held.open > 0
                    || held.record.state == State::Started
                    || held.record.state.is_passing()
            });
        (!busy).then_some(shelf.last_request)
    }

    /// Lets the timers act: auto-stop, auto-delete, time to live, and sandboxes that died.
    pub(in crate::server) async fn tend(self: &Arc<Self>) {
        let now = self.clock.now();
        let due: Vec<(String, Due)> = {
            let shelf = self.shelf();
            let judge =
                |held: &Held| Some((held.record.id.clone(), due(&held.record, held.open, now)?));
            shelf.held.values().filter_map(judge).collect()
        };
        for (id, due) in due {
            let done = match due {
                Due::Look => {
                    self.clone().look_after(&id).await;
                    continue;
                }
                Due::Stop => self.clone().stop(&id).await,
                Due::Delete => self.clone().delete(&id).await,
            };
            if let Err(problem) = done {
                tracing::debug!(
                    problem = problem.message,
                    id,
                    "a timer found the sandbox changing"
                );
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Look,
    Stop,
    Delete,
}

/// What the timers do with a sandbox.
fn due(record: &Record, open: usize, now: i64) -> Option<Due> {
    let over = |since: i64, minutes: i64| now - since >= minutes * MINUTE;
    if record.state.is_passing() {
        return None;
    }
    if record.ttl > 0 && over(record.created, record.ttl) {
        return Some(Due::Delete);
    }
    match record.state {
        State::Started
            if open == 0
                && record.auto_stop > 0
                && over(record.last_activity, record.auto_stop) =>
        {
            Some(Due::Stop)
        }
        State::Started => Some(Due::Look),
        State::Stopped if record.auto_delete >= 0 => {
            let since = record.stopped.unwrap_or(record.updated);
            over(since, record.auto_delete).then_some(Due::Delete)
        }
        _ => None,
    }
}

/// A connection through the proxy.
pub(in crate::server) struct Using {
    life: Arc<Life>,
    id: String,
}

impl Drop for Using {
    fn drop(&mut self) {
        let now = self.life.clock.now();
        if let Some(held) = self.life.shelf().held.get_mut(&self.id) {
            held.open = held.open.saturating_sub(1);
            held.record.last_activity = now;
        }
    }
}

/// A request under way.
pub(in crate::server) struct Busy {
    life: Arc<Life>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = self.life.clock.now();
        let mut shelf = self.life.shelf();
        shelf.requests = shelf.requests.saturating_sub(1);
        shelf.last_request = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timers_stop_what_is_idle_and_remove_what_was_stopped() {
        let record = |state, auto_stop, auto_delete, ttl| {
            let mut record = Record::new("i".to_owned(), "n".to_owned(), 0);
            record.state = state;
            record.stopped = Some(0);
            (record.auto_stop, record.auto_delete, record.ttl) = (auto_stop, auto_delete, ttl);
            record
        };
        use State::*;
        let table = [
            (record(Started, 1, -1, 0), 0, MINUTE - 1, Some(Due::Look)),
            (record(Started, 1, -1, 0), 0, MINUTE, Some(Due::Stop)),
            (record(Started, 1, -1, 0), 1, MINUTE, Some(Due::Look)),
            (record(Started, 0, -1, 0), 0, 9 * MINUTE, Some(Due::Look)),
            (record(Started, 0, -1, 5), 1, 5 * MINUTE, Some(Due::Delete)),
            (record(Stopped, 1, -1, 0), 0, 9 * MINUTE, None),
            (record(Stopped, 1, 2, 0), 0, MINUTE, None),
            (record(Stopped, 1, 2, 0), 0, 2 * MINUTE, Some(Due::Delete)),
            (record(Stopped, 1, 0, 0), 0, 0, Some(Due::Delete)),
            (record(Error, 1, 1, 0), 0, 9 * MINUTE, None),
            (record(Stopping, 1, 1, 1), 0, 9 * MINUTE, None),
        ];
        for (record, open, now, expected) in table {
            assert_eq!(due(&record, open, now), expected, "{:?} {open} {now}", record.state);
        }
    }
}
