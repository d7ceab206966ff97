//! Keys planted in the environment and in a login file: they reach the agent and appear nowhere else.

use std::collections::BTreeSet;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::command::Running;
use super::count;
use crate::support::context::TestContext;

const VARIABLE_KEY: &str = "plantedvar-4f8a1c6e0b7d42958e3a6c1f0d9b7e52";
const LOGIN_KEY: &str = "sk-ant-api03-plantedfile-93b1d5f7a2c84e60b8d1f3a5c7e90b24";

/// Proves by hashes that it has both keys; says them only when asked to.
const OPENCODE: &str = r#"#!/bin/sh
case "$*" in *--version*) echo 1.18.33; exit;; esac
text() { printf '{"type":"text","sessionID":"ses_1","part":{"text":"%s"}}\n' "$1"; }
hash() { printf %s "$1" | sha256sum | cut -c1-64; }
login=${XDG_DATA_HOME:-$HOME/.local/share}/opencode/auth.json
key=$(grep -o 'sk-ant-[a-z0-9-]*' "$login")
echo '{"type":"step_start","sessionID":"ses_1","part":{}}'
text "variable $(hash "$PLANTED_API_KEY")"
text "login $(hash "$key")"
case "$(cat)$*" in *aloud*)
  text "I say $PLANTED_API_KEY and $key."
  echo "plain $PLANTED_API_KEY and $key" >&2 ;;
esac
sleep 0.4; echo done >worked
echo '{"type":"step_finish","sessionID":"ses_1","part":{"reason":"stop"}}'
"#;

#[test]
fn planted_keys_appear_nowhere() {
    let runs = count("SECRETS", 24, 2);
    let mut cx = TestContext::new(&[("a", "0\n"), ("opencode", OPENCODE)]);
    cx.set("SANDBOX_CODER_ISOLATION", "none");
    let install =
        "mkdir -p ~/.local/bin && cp opencode ~/.local/bin && chmod +x ~/.local/bin/opencode";
    cx.run(["exec", "--", "sh", "-c", install]).exits(0);
    let login = cx.root().join("home/.local/share/opencode/auth.json");
    let auth = format!(r#"{{"anthropic":{{"type":"api","key":"{LOGIN_KEY}"}}}}"#);
    crate::support::context::write(&login, auth.as_bytes());
    cx.set("PLANTED_API_KEY", VARIABLE_KEY);
    let proof = [VARIABLE_KEY, LOGIN_KEY].map(|key| hex::encode(Sha256::digest(key)));
    let mut seen = BTreeSet::new();
    for turn in 0..runs {
        let how =
            [&[][..], &["--json"], &["--debug"], &["--json", "--raw"], &["--raw"], &["--verbose"]]
                [turn % 6];
        let mut args = vec!["run", "--agent", "opencode"];
        args.extend(["--model", "anthropic/claude-test", "--env", "PLANTED_API_KEY"]);
        args.extend(how);
        args.push("quietly");
        let (ran, commands) = watched(&cx, &args);
        for hash in &proof {
            assert!(ran.contains(hash), "the agent has not got a key: {ran}");
        }
        seen.extend(found_in("the output", &ran));
        seen.extend(found_in("a command line", &commands));
    }
    let logs = cx.run(["logs"]);
    seen.extend(found_in("logs", &format!("{}{}", logs.stdout, logs.stderr)));
    let mut files = 0;
    search(cx.root(), &login, &mut files, &mut seen);
    // Only now: what an agent says aloud is in the record of its own sandbox, and is masked on the way here.
    for how in [&[][..], &["--json"], &["--raw"], &["--json", "--raw", "--debug"]] {
        let mut args = vec!["run", "--agent", "opencode"];
        args.extend(["--model", "anthropic/claude-test", "--env", "PLANTED_API_KEY"]);
        args.extend(how);
        args.push("say it aloud");
        seen.extend(found_in("what was said aloud", &watched(&cx, &args).0));
    }
    println!("secrets: 2 keys, {} runs, {files} files: found in {seen:?}", runs + 4);
    assert!(seen.is_empty(), "{seen:?}");
}

/// All that a command prints, and every command line of the machine while it ran.
fn watched(cx: &TestContext, args: &[&str]) -> (String, String) {
    let mut run = Running::start(cx.command(args));
    let mut commands = String::new();
    while !run.ended() {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains("planted") {
                commands.push_str(&line);
            }
        }
    }
    let (ran, _) = run.end().unwrap();
    let ran = ran.exits(0);
    (format!("{}{}", ran.stdout, ran.stderr), commands)
}

/// Whether a key is in a text, as it is or in the encodings that travel.
fn found_in(place: &str, text: &str) -> Option<String> {
    use base64::Engine as _;
    let coded = |key: &str| base64::engine::general_purpose::STANDARD.encode(key)[..40].to_owned();
    let forms = [VARIABLE_KEY, LOGIN_KEY].into_iter().flat_map(|k| [k.to_owned(), coded(k)]);
    forms.into_iter().any(|form| text.contains(&form)).then(|| place.to_owned())
}

fn search(dir: &Path, but: &Path, files: &mut usize, seen: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            search(&path, but, files, seen);
        } else if kind.is_file() && path != but {
            *files += 1;
            let bytes = std::fs::read(&path).unwrap_or_default();
            seen.extend(found_in(&path.display().to_string(), &String::from_utf8_lossy(&bytes)));
        }
    }
}
