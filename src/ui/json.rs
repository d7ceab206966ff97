//! Events as NDJSON: one object per line.

use crate::event::{Envelope, Event, VERSION};
use crate::rel_path::escape_json;

/// Numbers and stamps the lines of one run.
pub struct Json {
    run: String,
    seq: u64,
}

impl Json {
    /// Lines of this run.
    pub fn new(run: String) -> Self {
        Self { run, seq: 0 }
    }

    /// The event as a line with its newline. `done` learns here how many came before it.
    pub fn line(&mut self, event: &Event) -> String {
        let counted = match event {
            Event::Done(done) => Some(Event::Done(Box::new(crate::event::Done {
                events: self.seq,
                ..(**done).clone()
            }))),
            _ => None,
        };
        self.seq += 1;
        let ts = format!("{:.3}", jiff::Timestamp::now());
        let event = counted.as_ref().unwrap_or(event);
        let envelope = Envelope { v: VERSION, seq: self.seq, ts, run: &self.run, event };
        let line =
            serde_json::to_string(&envelope).expect("events hold nothing that JSON cannot express");
        escape_json(&line) + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Done;
    use crate::exit::Exit;

    #[test]
    fn lines_count_without_holes_and_done_knows_how_many() {
        let mut json = Json::new("r1".into());
        let warning = Event::Warning { code: "x".into(), message: "a\nb".into(), hint: None };
        let first: serde_json::Value = serde_json::from_str(&json.line(&warning)).unwrap();
        assert_eq!(
            (&first["seq"], &first["run"], &first["v"]),
            (&1.into(), &"r1".into(), &1.into())
        );
        assert_eq!(first["ts"].as_str().unwrap().len(), "2026-01-01T00:00:00.000Z".len());
        let line = json.line(&Event::Done(Box::new(Done::plain(Exit::Ok))));
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["events"], 1);
    }
}
