//! An agent's output: the same lines however it is cut, and no line that its parser cannot take.

use sandbox_coder::agent::lines::{Line, Lines};
use sandbox_coder::agent::{Ended, Kind, Outcome, Parser};

use super::bytes::Bytes;

const KINDS: [Kind; 6] =
    [Kind::Opencode, Kind::Claude, Kind::Codex, Kind::Gemini, Kind::Qwen, Kind::Command];
const ENDS: [Ended; 6] = [
    Ended::Exited(0),
    Ended::Exited(1),
    Ended::Exited(137),
    Ended::Cancelled,
    Ended::Lingering,
    Ended::Lost,
];

fn lines(output: &[u8], piece: usize) -> Vec<Line> {
    let (mut lines, mut out) = (Lines::default(), Vec::new());
    for piece in output.chunks(piece.max(1)) {
        lines.push(piece, |line| out.push(line));
        assert!(lines.resume_at() <= lines.end());
    }
    assert_eq!(lines.end(), output.len() as u64);
    lines.finish(|line| out.push(line));
    out
}

pub fn check(input: &[u8]) {
    let mut bytes = Bytes(input);
    let (kind, end, piece) = (KINDS[bytes.below(6)], ENDS[bytes.below(6)], bytes.byte());
    let whole = lines(bytes.0, usize::MAX);
    assert_eq!(lines(bytes.0, piece.into()), whole, "a cut shows");
    assert!(whole.is_sorted_by(|a, b| a.offset < b.offset));
    let mut parser = Parser::new(kind, Some("earlier"));
    for line in &whole {
        let parsed = parser.line(&line.bytes);
        parsed.events.iter().for_each(|e| drop(format!("{e:?}")));
    }
    let (_, _) = (parser.hopeless(), parser.terminal_event_seen());
    let verdict = parser.finish(end);
    assert!(verdict.outcome == Outcome::Ok || !verdict.message.is_empty());
}
