//! What `exec` makes of its standard input.

use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use crate::support::context::{TestContext, bin, ran};

#[test]
fn a_producer_before_the_bar_is_waited_for_however_late_it_begins() {
    let cx = TestContext::new(&[]);
    let line = r#"(sleep 1; echo late) | "$BIN" exec -- cat"#;
    let dressed = cx.command::<&str>([]);
    let mut piped = std::process::Command::new("sh");
    piped.args(["-c", line]).current_dir(cx.work()).env_clear().env("BIN", bin());
    piped.envs(dressed.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert_eq!(ran(&mut piped).exits(0).stdout, "late\n");
}

#[test]
fn a_pipe_that_was_merely_left_open_holds_nothing_up_and_is_told() {
    let cx = TestContext::new(&[]);
    let mut command = cx.command(["exec", "--json", "--", "sh", "-c", "cat; echo done"]);
    // In a group of its own, so that nothing that starts beside it passes for its producer.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap();
    let open = child.stdin.take();
    let out = child.wait_with_output().unwrap();
    drop(open);
    let told = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0), "{told}");
    assert!(told.contains("exec.stdin") && told.contains("\"data\":\"done\""), "{told}");
    let quiet = cx.run(["exec", "--json", "--", "cat"]).exits(0);
    assert!(!quiet.stdout.contains("exec.stdin"), "{}", quiet.stdout);
}
