//! Credentials are found nowhere but in the agent's hands.

use sandbox_coder::agent::Kind;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::context::{Ran, ran, write};
use crate::model::Model;
use crate::{Wiring, model, runtime, wiring};

/// A value that must be nowhere.
const PLANTED: &str = "sk-planted-5f1c02d9e8b7a6";

/// The login an agent keeps in a file of its user's home.
fn login(kind: Kind) -> (&'static str, Value) {
    match kind {
        Kind::Opencode => (
            ".local/share/opencode/auth.json",
            json!({"scripted": {"type": "api", "key": PLANTED}, "other": {"type": "api", "key": PLANTED}}),
        ),
        Kind::Claude => (
            ".claude/.credentials.json",
            json!({"claudeAiOauth": {
                "accessToken": PLANTED, "refreshToken": format!("{PLANTED}-refresh"), "expiresAt": 4_000_000_000_000_u64,
                "scopes": ["user:inference"], "subscriptionType": "max"
            }}),
        ),
        _ => (".codex/auth.json", json!({"OPENAI_API_KEY": PLANTED})),
    }
}

pub fn login_stays_secret(kind: Kind, version: &'static str) -> Ran {
    let bench = Bench::new(kind, version);
    let (path, file) = login(kind);
    let here = bench.cx.root().join("home").join(path);
    write(&here, file.to_string().as_bytes());
    // a model of its own, so that the requests seen are these
    let model = runtime().block_on(Model::start());
    let told = stays_secret(&bench, |scenario| wiring(kind, &model.url(scenario), false));
    assert_eq!(model.credentials(), [format!("Bearer {PLANTED}")]);
    assert_eq!(
        std::fs::read_to_string(&here).unwrap(),
        file.to_string(),
        "the login here is as it was"
    );
    bench.inside(&format!("test ! -e ~/{path}")).exits(0);
    told
}

pub fn key_stays_secret(kind: Kind, version: &'static str) -> Ran {
    let bench = Bench::new(kind, version);
    stays_secret(&bench, |scenario| {
        let mut wiring = wiring(kind, &model().url(scenario), true);
        for (_, value) in &mut wiring.env {
            *value = match value.as_str() {
                "k" => PLANTED.to_owned(),
                config => config.replace("\"k\"", &format!("\"{PLANTED}\"")),
            };
        }
        wiring
    })
}

fn stays_secret(bench: &Bench, wiring: impl Fn(&str) -> Wiring) -> Ran {
    let started = bench.begin(bench.command_with(wiring("pause"), "hello", &[]));
    let lines = std::fs::read_dir("/proc").unwrap().flatten().map(|e| e.path().join("cmdline"));
    for line in lines.filter_map(|path| std::fs::read(path).ok()) {
        assert!(!holds(&line), "{}", String::from_utf8_lossy(&line));
    }
    let quiet = started.end().exits(0);
    assert!(!holds(quiet.stdout.as_bytes()) && !holds(quiet.stderr.as_bytes()), "{quiet:?}");
    search(&bench.cx.root().join("state"));
    // an agent that tells all it has been given is masked
    let told = ran(&mut bench.command_with(wiring("show"), "hello", &[])).exits(0);
    assert!(!holds(told.stdout.as_bytes()) && !holds(told.stderr.as_bytes()), "{told:?}");
    assert!(told.stdout.contains("SANDBOX_CODER_RUN="), "it did tell: {told:?}");
    told
}

fn holds(bytes: &[u8]) -> bool {
    bytes.windows(PLANTED.len()).any(|w| w == PLANTED.as_bytes())
}

/// No file below holds the value.
fn search(dir: &std::path::Path) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            search(&entry.path());
        } else if kind.is_file() {
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            assert!(!holds(&bytes), "{}", entry.path().display());
        }
    }
}
