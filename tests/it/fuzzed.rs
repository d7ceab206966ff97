//! The inputs kept from fuzzing, held against the same oracles (`tests/fuzz`).

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

#[path = "../fuzz/oracles/mod.rs"]
mod oracles;

/// Reads every kept input of a target; each has been worth keeping, so there are some.
#[track_caller]
fn replay(target: &str, check: fn(&[u8])) {
    let name = format!("tests/fixtures/fuzz/{target}.tar.gz");
    let file = std::fs::File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let mut count = 0;
    for entry in tar::Archive::new(GzDecoder::new(file)).entries().unwrap() {
        let mut entry = entry.unwrap();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut input = Vec::new();
        entry.read_to_end(&mut input).unwrap();
        let told = entry.path().unwrap().display().to_string();
        std::panic::catch_unwind(|| check(&input)).unwrap_or_else(|_| panic!("{target}/{told}"));
        count += 1;
    }
    assert!(count > 0, "{target} has {count} inputs");
}

#[test]
fn whole_results() {
    replay("stream", oracles::stream::check);
}

#[test]
fn results_with_lies() {
    replay("records", oracles::records::check);
}

#[test]
fn lists_of_differences() {
    replay("manifest", oracles::manifest::check);
}

#[test]
fn what_sandboxes_without_git_send() {
    replay("plain", oracles::plain::check);
}

#[test]
fn names() {
    replay("names", oracles::names::check);
}

#[test]
fn sets_of_changes() {
    replay("review", oracles::review::check);
}

#[test]
fn lists_of_modules() {
    replay("modules", oracles::modules::check);
}

#[test]
fn the_output_of_agents() {
    replay("agent", oracles::agent::check);
}
