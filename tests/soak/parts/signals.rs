//! A signal at a random moment: the client leaves within 5 s, nothing of the run is left in the sandbox,
//! and the work is here or the command that fetches it is named.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::command::{Running, brief, finished};
use super::{Outcome, at_once, count, in_parallel, spread};
use crate::support::context::{Ran, TestContext};
use crate::support::faulty_proxy::Seeded;
use crate::support::server::{KEY, TestServer};

/// From the first signal to the end of the client.
const LIMIT: Duration = Duration::from_secs(5);

const AGENTS: [(&str, &str); 5] = [
    ("waits", "sleep 600 & sleep 600"),
    ("ignores TERM", "trap '' TERM INT HUP; while :; do sleep 1; done"),
    (
        "hides children",
        "setsid sh -c 'trap \"\" TERM INT HUP; while :; do sleep 1; done' >/dev/null 2>&1 & sleep 600",
    ),
    ("talks", "while :; do echo line; echo line >>talk; sleep 0.01; done"),
    ("is done soon", "sleep 0.2"),
];

struct Place {
    cx: TestContext,
    server: TestServer,
}

impl Place {
    fn new(_: usize) -> Self {
        let mut cx = TestContext::new(&[("edit", "0\n")]);
        let server = TestServer::start();
        cx.set("DAYTONA_API_URL", &server.api_url);
        cx.set("DAYTONA_API_KEY", KEY);
        cx.agent("true", &[]).exits(0);
        Self { cx, server }
    }
}

#[test]
fn the_first_signal_ends_everything_in_time() {
    let signals = count("SIGNALS", 200, 6);
    let times = Mutex::new(Vec::new());
    let codes = Mutex::new(BTreeMap::<i32, usize>::new());
    let Outcome { turns, failures } = in_parallel(signals, at_once(), Place::new, |place, turn| {
        let mut dice = Seeded::new(turn as u64);
        let (kind, does) = AGENTS[dice.below(AGENTS.len())];
        let signal = [Signal::INT, Signal::TERM][turn % 2];
        let script = format!("echo {turn} >edit; echo started; {does}");
        let mut command = place.cx.command(["run", "--json", "--agent-command", &script]);
        if !crate::FULL {
            // The time counts in the soak alone, whose machine is quiet.
            command.args(["--grace", "120"]);
        }
        command.arg("go");
        let run = Running::start(command);
        let moment = Duration::from_millis(dice.below(2500) as u64);
        std::thread::sleep(moment);
        let sent = Instant::now();
        run.signal(signal);
        let (ran, _) = run.end()?;
        let took = sent.elapsed();
        let at = format!("{kind}, {signal:?} after {} ms", moment.as_millis());
        *codes.lock().unwrap().entry(ran.code).or_default() += 1;
        if matches!(ran.code, 130 | 143) {
            times.lock().unwrap().push(took.as_millis());
        }
        judge(place, &ran, turn, took).map_err(|why| format!("{at}: {why}\n{}", brief(&ran)))
    });
    let (times, codes) = (times.into_inner().unwrap(), codes.into_inner().unwrap());
    println!(
        "signals: {turns}, {} wrong; exit codes {codes:?}; first signal to exit {}",
        failures.len(),
        spread(times)
    );
    assert!(failures.is_empty(), "{failures:#?}");
}

fn judge(place: &Place, ran: &Ran, turn: usize, took: Duration) -> Result<(), String> {
    // Before the handlers are there the system ends the process, and nothing was begun.
    if !matches!(ran.code, -1 | 0 | 130 | 143) {
        return Err(format!("exit code {}", ran.code));
    }
    if crate::FULL && took > LIMIT {
        return Err(format!("took {} ms", took.as_millis()));
    }
    let Some(begin) = ran.stdout.lines().next() else { return Ok(()) };
    let begin: serde_json::Value = serde_json::from_str(begin).map_err(|e| e.to_string())?;
    let run = begin["run"].as_str().ok_or("no run id")?;
    let (looked, patience) =
        (Instant::now(), Duration::from_secs(if crate::FULL { 0 } else { 60 }));
    loop {
        let left = place.marked(run);
        if left.is_empty() {
            break;
        }
        if looked.elapsed() >= patience {
            return Err(format!("still there: {left:?}"));
        }
    }
    let started = ran.of_type("agent").iter().any(|e| e["state"] == "started");
    let home = place.cx.read("edit") == format!("{turn}\n");
    let named = ran.stdout.contains("\"pull\"") || ran.stdout.contains("\"attach\"");
    if started && !home && !named {
        return Err("the work is not here, and nobody says how to fetch it".into());
    }
    let pulled = finished(place.cx.command(["pull"]))?;
    if pulled.code != 0 {
        return Err(format!("pull: {} {}", pulled.code, pulled.stderr));
    }
    let home = place.cx.read("edit") == format!("{turn}\n");
    if ran.of_type("agent_output").iter().any(|e| e["data"] == "started") && !home {
        return Err("the work did not come home".into());
    }
    Ok(())
}

impl Place {
    /// Processes with the run's marker, as the sandbox itself sees them.
    fn marked(&self, run: &str) -> String {
        let sandboxes = self.server.call("GET", "/api/sandbox", "").json();
        let look = format!(
            "for p in /proc/[0-9]*; do grep -qz '^SANDBOX_CODER_RUN={run}$' $p/environ 2>/dev/null \
             && tr '\\0' ' ' <$p/cmdline; done; :"
        );
        let ids = sandboxes.as_array().into_iter().flatten().filter_map(|s| s["id"].as_str());
        ids.map(|id| self.server.execute(id, &look)).collect()
    }
}
