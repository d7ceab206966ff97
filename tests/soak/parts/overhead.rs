//! What the client adds: time to the first byte, time after the last, memory under a flood.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use super::{count, peak_memory, spread};
use crate::support::context::TestContext;

/// More than this is a leak, not a buffer. In KiB.
const MEMORY_MAX: u64 = 256 << 10;

fn now_ms() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis()
}

#[test]
fn what_is_written_is_shown_soon_and_the_end_follows_soon() {
    let runs = count("LATENCIES", 40, 3);
    let mut cx = TestContext::new(&[("a", "0\n")]);
    cx.set("SANDBOX_CODER_ISOLATION", "none");
    let args = |script: &str| cx.command(["run", "--agent-command", script, "go"]);
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for _ in 0..=runs {
        let mut command = args("date +%s%3N; sleep 0.3; date +%s%3N");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let written: u128 = lines.next().unwrap().unwrap().parse().unwrap();
        first.push(now_ms() - written);
        let written: u128 = lines.next().unwrap().unwrap().parse().unwrap();
        assert!(child.wait().unwrap().success());
        last.push(now_ms() - written);
    }
    // The first run makes the sandbox and starts its server.
    println!("overhead: agent start to first byte shown {}", spread(first.split_off(1)));
    println!("overhead: last byte to exit, nothing changed {}", spread(last.split_off(1)));
}

#[test]
fn a_flood_does_not_fill_the_memory() {
    let megabytes = count("MEGABYTES", 100, 2);
    let line = "0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ - lorem ipsum dolor sit amet, ok";
    let fast = format!("yes '{line}' | head -c {megabytes}000000");
    let steady = format!(
        "i=0; while [ $i -lt {} ]; do yes '{line}' | head -c 5000000; sleep 0.05; i=$((i+1)); done",
        megabytes.div_ceil(5) * 4
    );
    let mut cx = TestContext::new(&[("a", "0\n")]);
    cx.set("SANDBOX_CODER_ISOLATION", "none");
    for (name, script, total) in [
        ("as fast as it can", &fast, megabytes),
        ("about 100 MB/s", &steady, megabytes.div_ceil(5) * 20),
    ] {
        if !crate::FULL && total > megabytes {
            continue;
        }
        for json in [false, true] {
            let mut command = cx.command(["run", "--agent-command", script, "go"]);
            if json {
                command.arg("--json");
            }
            let began = std::time::Instant::now();
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let pid = rustix::process::Pid::from_child(&child);
            let mut out = child.stdout.take().unwrap();
            let (mut buffer, mut got, mut peak) = (vec![0; 1 << 20], 0, 0);
            loop {
                let read = out.read(&mut buffer).unwrap();
                peak = peak_memory(pid).unwrap_or(peak).max(peak);
                got += read;
                if read == 0 {
                    break;
                }
            }
            let code = child.wait().unwrap().code();
            println!(
                "overhead: {total} MB {name}, {}: {} MB shown in {} ms, peak memory {} KiB",
                if json { "json" } else { "text" },
                got / 1_000_000,
                began.elapsed().as_millis(),
                peak
            );
            assert_eq!(code, Some(0));
            assert!(json || got == total * 1_000_000, "{got} bytes shown");
            assert!(peak < MEMORY_MAX, "{peak} KiB");
        }
    }
}
