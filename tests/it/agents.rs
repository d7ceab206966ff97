//! Recorded output of real agents: what it means, what it comes to, and that no cut of the bytes matters.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use proptest::prelude::*;
use sandbox_coder::agent::{Ended, Kind, Line, Lines, Outcome, Parsed, Parser, Unusable, Verdict};
use sandbox_coder::event::{AgentEvent, OutputKind};

/// One recorded run.
struct Recording {
    name: String,
    kind: Kind,
    ended: Ended,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Recording {
    fn all() -> Vec<Recording> {
        let table = std::fs::read_to_string(fixture("recordings.tsv")).unwrap();
        let rows = table.lines().filter(|l| !l.starts_with('#'));
        rows.map(|row| {
            let mut cells = row.split('\t');
            let (name, exit) = (cells.next().unwrap(), cells.next().unwrap());
            let ended = exit.parse().map_or(Ended::Cancelled, Ended::Exited);
            let read =
                |ext: &str| std::fs::read(fixture(&format!("{name}.{ext}"))).unwrap_or_default();
            let stdout =
                Some(read("jsonl")).filter(|b| !b.is_empty()).unwrap_or_else(|| read("txt"));
            let kind = Kind::parse(name.split('-').next().unwrap()).unwrap();
            Recording { name: name.to_owned(), kind, ended, stdout, stderr: read("stderr.txt") }
        })
        .collect()
    }

    fn named(name: &str) -> Recording {
        Recording::all().into_iter().find(|r| r.name == name).unwrap()
    }

    /// As the sandbox records it: both streams in one log.
    fn log(&self) -> Vec<u8> {
        [self.stdout.as_slice(), self.stderr.as_slice()].concat()
    }

    fn play(&self) -> (Vec<AgentEvent>, Verdict) {
        let mut parser = Parser::new(self.kind, None);
        let events =
            read(&[&self.log()]).iter().flat_map(|l| parser.line(&l.bytes).events).collect();
        (events, parser.finish(self.ended))
    }
}

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/agent", name].iter().collect()
}

fn read(pieces: &[&[u8]]) -> Vec<Line> {
    let mut lines = Lines::default();
    let mut out = Vec::new();
    for piece in pieces {
        lines.push(piece, |l| out.push(l));
    }
    lines.finish(|l| out.push(l));
    out
}

fn parse(kind: Kind, lines: &[Line]) -> Vec<Parsed> {
    let mut parser = Parser::new(kind, None);
    lines.iter().map(|l| parser.line(&l.bytes)).collect()
}

#[test]
fn every_recorded_run_gets_its_verdict() {
    let mut table = String::new();
    for recording in Recording::all() {
        let (events, verdict) = recording.play();
        let mut counts = BTreeMap::<String, u32>::new();
        for event in &events {
            let kind = serde_json::to_value(event).unwrap()["kind"].as_str().unwrap().to_owned();
            *counts.entry(kind).or_default() += 1;
        }
        let counts: Vec<_> = counts.iter().map(|(k, n)| format!("{k}={n}")).collect();
        let exit = match recording.ended {
            Ended::Exited(status) => status.to_string(),
            other => format!("{other:?}"),
        };
        let code = verdict.code().map_or("-", |c| c.name());
        let flags = [(verdict.retryable, " retryable"), (verdict.exit_mismatch, " mismatch")];
        let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
        writeln!(table, "{} exit={exit} -> {code}{flags} [{}]", recording.name, counts.join(" "))
            .unwrap();
        if !verdict.message.is_empty() {
            writeln!(table, "    {}", verdict.message.lines().next().unwrap()).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn events_say_what_the_agent_did() {
    let mut told = String::new();
    for name in [
        "opencode-1.18.33-ok-pipe",
        "opencode-1.2.27-ok-pty80",
        "opencode-1.18.33-toolfail",
        "opencode-1.18.33-reason",
        "opencode-1.18.33-permask",
        "opencode-1.18.33-e401",
        "claude-2.1.329-ok-pty80",
        "claude-2.1.329-toolfail",
        "claude-2.1.329-partial",
        "claude-2.1.329-reason",
        "claude-2.1.329-e429",
        "codex-0.169.0-ok-pipe",
        "codex-0.169.0-toolfail",
        "codex-0.169.0-patch",
        "codex-0.169.0-e401",
        "codex-0.169.0-ctrlc-tool",
        "gemini-0.61.0-shell",
        "gemini-0.61.0-e404",
        "qwen-0.15.10-ok-pipe",
        "qwen-0.15.10-e401",
    ] {
        writeln!(told, "{name}").unwrap();
        for event in Recording::named(name).play().0 {
            writeln!(told, "    {}", serde_json::to_string(&event).unwrap()).unwrap();
        }
    }
    insta::assert_snapshot!(told);
}

#[test]
fn a_pipe_and_a_terminal_tell_the_same() {
    let plain = |name: &str| {
        let (events, verdict) = Recording::named(name).play();
        let events: Vec<_> = events
            .into_iter()
            .filter_map(|e| match e {
                AgentEvent::Text { text, .. } => Some(text),
                AgentEvent::Tool { name, title, status, .. } => {
                    Some(format!("{name} {title} {status:?}"))
                }
                _ => None,
            })
            .collect();
        (events, verdict.outcome)
    };
    for agent in [
        "opencode-1.18.33",
        "opencode-1.2.27",
        "claude-2.1.329",
        "codex-0.169.0",
        "gemini-0.61.0",
        "qwen-0.15.10",
    ] {
        assert_eq!(
            plain(&format!("{agent}-ok-pipe")),
            plain(&format!("{agent}-ok-pty80")),
            "{agent}"
        );
    }
}

#[test]
fn a_thread_that_is_not_the_one_asked_for_is_no_success() {
    let recording = Recording::named("codex-0.169.0-badresume2");
    let mut parser = Parser::new(Kind::Codex, Some("nonsense"));
    for line in read(&[&recording.log()]) {
        parser.line(&line.bytes);
    }
    let verdict = parser.finish(recording.ended);
    assert_eq!(
        (verdict.outcome, verdict.exit_mismatch),
        (Outcome::Unusable(Unusable::NoSession), true)
    );
}

#[test]
fn an_error_that_opencode_got_over_is_no_failure() {
    let lines = [
        r#"{"type":"step_start","sessionID":"ses_1","part":{}}"#,
        r#"{"type":"error","sessionID":"ses_1","error":{"name":"ContextOverflowError","data":{"message":"too long"}}}"#,
        r#"{"type":"step_start","sessionID":"ses_1","part":{}}"#,
        r#"{"type":"step_finish","sessionID":"ses_1","part":{"reason":"stop"}}"#,
    ];
    let verdict = |lines: &[&str]| {
        let mut parser = Parser::new(Kind::Opencode, None);
        for line in lines {
            parser.line(line.as_bytes());
        }
        let verdict = parser.finish(Ended::Exited(1));
        (verdict.outcome, verdict.exit_mismatch)
    };
    assert_eq!(verdict(&lines), (Outcome::Ok, true));
    assert_eq!(verdict(&lines[..2]), (Outcome::Unusable(Unusable::Provider), false));
    assert_eq!(verdict(&lines[..3]), (Outcome::Failed, false));
}

#[test]
fn the_start_script_is_heard_until_the_agent_begins() {
    let outcome = |lines: &[&str], status| {
        let mut parser = Parser::new(Kind::Codex, None);
        for line in lines {
            parser.line(line.as_bytes());
        }
        let verdict = parser.finish(Ended::Exited(status));
        (verdict.outcome, verdict.message)
    };
    let missing = "SBX1 agent missing codex, and no npm to install it";
    assert_eq!(
        outcome(&[missing], 95),
        (
            Outcome::Unusable(Unusable::Missing),
            "the sandbox has no codex, and no npm to install it".to_owned()
        )
    );
    assert_eq!(
        outcome(
            &[
                "SBX1 agent installing codex 1.2.3",
                "npm error",
                "SBX1 agent install-failed codex 1.2.3"
            ],
            96
        ),
        (Outcome::Unusable(Unusable::InstallFailed), "installing codex 1.2.3 failed".to_owned())
    );
    let mut command = Parser::new(Kind::Command, None);
    assert!(!command.line(missing.as_bytes()).ours);
    assert_eq!(command.finish(Ended::Exited(0)).outcome, Outcome::Ok);
    let (later, _) = outcome(&["SBX1 agent found 1.2.3 /x/codex", missing], 1);
    assert_eq!(later, Outcome::Failed);
}

#[test]
fn an_agent_that_lingers_is_judged_by_its_last_word() {
    for name in [
        "opencode-1.18.33-ok-pipe",
        "claude-2.1.329-ok-pipe",
        "codex-0.169.0-ok-pipe",
        "gemini-0.61.0-ok-pipe",
    ] {
        let recording = Recording::named(name);
        let mut parser = Parser::new(recording.kind, None);
        let lines = read(&[&recording.stdout]);
        let (last, before) = lines.split_last().unwrap();
        for line in before {
            parser.line(&line.bytes);
            assert!(
                !parser.terminal_event_seen(),
                "{name}: {}",
                String::from_utf8_lossy(&line.bytes)
            );
        }
        parser.line(&last.bytes);
        assert!(parser.terminal_event_seen(), "{name}");
        assert_eq!(parser.finish(Ended::Lingering).outcome, Outcome::Ok, "{name}");
    }
}

#[test]
fn attempts_without_hope_are_noticed() {
    for (name, outcome, retryable) in [
        ("claude-2.1.329-e401", Unusable::Auth, false),
        ("codex-0.169.0-connref", Unusable::Provider, true),
    ] {
        let recording = Recording::named(name);
        let mut parser = Parser::new(recording.kind, None);
        for line in read(&[&recording.stdout]) {
            parser.line(&line.bytes);
        }
        assert!(parser.hopeless().is_some(), "{name}");
        let verdict = parser.finish(Ended::Lingering);
        assert_eq!(
            (verdict.outcome, verdict.retryable),
            (Outcome::Unusable(outcome), retryable),
            "{name}"
        );
    }
    for name in [
        "claude-2.1.329-e500",
        "claude-2.1.329-once500",
        "codex-0.169.0-e500",
        "codex-0.169.0-noauth",
    ] {
        let recording = Recording::named(name);
        let mut parser = Parser::new(recording.kind, None);
        for line in read(&[&recording.stdout]) {
            parser.line(&line.bytes);
            assert_eq!(parser.hopeless(), None, "{name}");
        }
    }
}

#[test]
fn only_whole_objects_with_a_type_are_events() {
    let mut parser = Parser::new(Kind::Claude, None);
    for line in [
        "{\"a\":1}",
        "{\"type\":3}",
        "[{\"type\":\"x\"}]",
        "{\"type\":\"result\"",
        " {\"type\":\"x\"}",
        "null",
        "",
    ] {
        assert_eq!(parser.line(line.as_bytes()).kind, OutputKind::Text, "{line}");
    }
    assert_eq!(parser.line(b"{\"type\":\"never heard of\"}").kind, OutputKind::Json);
}

#[test]
fn a_line_of_megabytes_is_an_event() {
    let text = "ä".repeat(2 << 20);
    let line = format!(
        r#"{{"type":"item.completed","item":{{"id":"1","type":"agent_message","text":"{text}"}}}}"#
    );
    let log = format!("{line}\n{line}\r\n");
    let pieces: Vec<&[u8]> = log.as_bytes().chunks(65_521).collect();
    let lines = read(&pieces);
    assert_eq!(lines.iter().map(|l| l.partial).collect::<Vec<_>>(), [false, false]);
    let expected = vec![AgentEvent::Text { text, delta: false }];
    assert!(parse(Kind::Codex, &lines).iter().all(|p| p.events == expected));
}

#[test]
fn a_longer_line_comes_in_pieces_and_harms_nothing() {
    let log = format!(
        "{{\"type\":\"x\",\"y\":\"{}\"}}\n{{\"type\":\"turn.completed\"}}\n",
        "z".repeat(20 << 20)
    );
    let lines = read(&[log.as_bytes()]);
    assert_eq!(lines.iter().map(|l| l.partial).collect::<Vec<_>>(), [true, true, false, false]);
    let mut parser = Parser::new(Kind::Codex, None);
    let kinds: Vec<_> = lines.iter().map(|l| parser.line(&l.bytes).kind).collect();
    assert_eq!(kinds, [OutputKind::Text, OutputKind::Text, OutputKind::Text, OutputKind::Json]);
    assert_eq!(parser.finish(Ended::Exited(0)).outcome, Outcome::Ok);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_cut_of_the_bytes_matters(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
    ) {
        let all = Recording::all();
        let recording = which.get(&all);
        let log = recording.log();
        let mut at: Vec<usize> = cuts.iter().map(|c| c.index(log.len() + 1)).collect();
        at.extend([0, log.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|w| &log[w[0]..w[1]]).collect();
        let whole = read(&[&log]);
        let cut = read(&pieces);
        prop_assert_eq!(&cut, &whole, "{}", recording.name);
        prop_assert!(parse(recording.kind, &cut) == parse(recording.kind, &whole), "{}", recording.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn damaged_output_harms_nothing(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        ended in prop_oneof![
            (-20..200_i32).prop_map(Ended::Exited), Just(Ended::Cancelled), Just(Ended::Lingering), Just(Ended::Lost)
        ],
    ) {
        let all = Recording::all();
        let recording = which.get(&all);
        let mut log = recording.log();
        for (at, byte) in damage {
            if !log.is_empty() {
                let at = at.index(log.len());
                log[at] = byte;
            }
        }
        let mut parser = Parser::new(recording.kind, None);
        for line in read(&[&log]) {
            parser.line(&line.bytes);
        }
        let verdict = parser.finish(ended);
        prop_assert_eq!(verdict.code().is_none(), matches!(verdict.outcome, Outcome::Ok | Outcome::Cancelled));
        prop_assert_eq!(verdict.message.is_empty(), verdict.outcome == Outcome::Ok);
    }
}

#[test]
fn every_recording_in_pieces_of_any_size_is_the_same() {
    for recording in Recording::all() {
        let log = recording.log();
        let whole = recording.play();
        for size in [1, 2, 7, 61, 1021] {
            let pieces: Vec<&[u8]> = log.chunks(size).collect();
            let mut parser = Parser::new(recording.kind, None);
            let lines = read(&pieces);
            let events: Vec<_> =
                lines.iter().flat_map(|line| parser.line(&line.bytes).events).collect();
            let verdict = parser.finish(recording.ended);
            assert!((events, verdict) == whole, "{} in pieces of {size}", recording.name);
        }
    }
}

#[test]
fn tokens_and_money_of_each_agent_add_up() {
    let usage = |name: &str| {
        let u = Recording::named(name).play().1.usage;
        (u.input, u.output, u.reasoning, u.cache_read, u.cost_usd)
    };
    let table: String = [
        "opencode-1.18.33-multi",
        "opencode-1.2.27-multi",
        "claude-2.1.329-multi",
        "codex-0.169.0-multi",
        "gemini-0.61.0-ok-pipe",
        "qwen-0.15.10-ok-pipe",
    ]
    .iter()
    .map(|name| format!("{name} {:?}\n", usage(name)))
    .collect();
    insta::assert_snapshot!(table);
}
