//! Many runs at the same time, each on a worktree of its own, on one local server.

use super::command::Running;
use super::{Outcome, count, in_parallel, peak_memory, spread};
use crate::support::context::TestContext;

#[test]
fn many_worktrees_run_at_the_same_time() {
    let crowd = count("CROWD", 50, 4);
    let mut cx = TestContext::new(&[("a", "0\n"), ("b/c", "c\n")]);
    cx.set("SANDBOX_CODER_ISOLATION", "none");
    let folder = |number: usize| cx.root().join(format!("crowd{number}"));
    for number in 0..crowd {
        let (path, branch) = (folder(number), format!("crowd{number}"));
        cx.git(&["worktree", "add", "-q", "-b", &branch, path.to_str().unwrap()]);
    }
    let (peaks, times) = (std::sync::Mutex::new(Vec::new()), std::sync::Mutex::new(Vec::new()));
    let Outcome { turns, failures } = in_parallel(
        crowd,
        crowd,
        |_| (),
        |(), number| {
            let script = format!(
                "i=0; while [ $i -lt 20 ]; do echo {number} $i; sleep 0.05; i=$((i+1)); done; echo {number} >a"
            );
            let mut command = cx.command(["run", "--rm", "--agent-command", &script, "go"]);
            command.current_dir(folder(number));
            let mut run = Running::start(command);
            let mut peak = 0;
            while !run.ended() {
                peak = peak_memory(run.pid()).unwrap_or(peak).max(peak);
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            let (ran, took) = run.end()?;
            let said: String = (0..20).map(|i| format!("{number} {i}\n")).collect();
            let here = std::fs::read_to_string(folder(number).join("a")).unwrap();
            if ran.code != 0 || ran.stdout != said || here != format!("{number}\n") {
                return Err(format!("{}: {:?} {here:?} {}", ran.code, ran.stdout, ran.stderr));
            }
            peaks.lock().unwrap().push(peak);
            times.lock().unwrap().push(took.as_millis());
            Ok(())
        },
    );
    let mut peaks = peaks.into_inner().unwrap();
    peaks.sort_unstable();
    println!(
        "crowd: {turns} runs at once, {} failed; memory of each {} to {} KiB; {}",
        failures.len(),
        peaks.first().unwrap_or(&0),
        peaks.last().unwrap_or(&0),
        spread(times.into_inner().unwrap())
    );
    assert!(failures.is_empty(), "{failures:#?}");
}
