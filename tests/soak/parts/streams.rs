//! Runs through a daemon on its bad days: no byte lost or doubled, every status right, edits home, no
//! terminal left behind.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use super::command::{brief, finished};
use super::daemon::Daemon;
use super::{Outcome, at_once, count, in_parallel};
use crate::support::context::{Ran, TestContext};
use crate::support::faulty_proxy::Seeded;
use crate::support::server::{KEY, TestServer};

/// One user, one server, one bad proxy; run after run in the same worktree.
struct Place {
    cx: TestContext,
    server: TestServer,
    daemon: Daemon,
    expected: BTreeMap<String, String>,
}

impl Place {
    fn new(seed: usize) -> Self {
        let mut cx = TestContext::new(&[("edit", "0\n"), ("keep", "as it is\n")]);
        let server = TestServer::start();
        let daemon = Daemon::start(&server.addr, seed);
        cx.set("DAYTONA_API_URL", &daemon.api_url());
        cx.set("DAYTONA_API_KEY", KEY);
        let expected = [("edit", "0\n"), ("keep", "as it is\n")];
        let expected = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        Self { cx, server, daemon, expected }
    }

    fn terminals(&self) -> usize {
        let sandboxes = self.server.call("GET", "/api/sandbox", "").json();
        let of = |sandbox: &serde_json::Value| {
            let target = format!("/toolbox/{}/process/pty", sandbox["id"].as_str().unwrap());
            let list = self.server.call("GET", &target, "").json();
            list["sessions"].as_array().map_or(0, Vec::len)
        };
        sandboxes.as_array().into_iter().flatten().map(of).sum()
    }
}

/// What one run does and says.
struct Script {
    text: String,
    says: String,
    exit: i32,
}

fn script(run: usize, expected: &mut BTreeMap<String, String>) -> Script {
    let mut dice = Seeded::new(1_000_000 + run as u64);
    let lines = [1, 40, 200, 400][dice.below(4)];
    let pad = "x".repeat(dice.below(90));
    let exit = [0, 0, 0, 1, 3, 42, 137][dice.below(7)];
    let (folder, old) = (format!("d/{}", run % 7), format!("n{}", run.saturating_sub(8)));
    let text = format!(
        "i=0; while [ $i -lt {lines} ]; do echo \"run {run} line $i {pad}\"; i=$((i+1)); \
         [ $((i % 100)) != 50 ] || sleep 0.05; done; cat mine; echo {run} >edit; mkdir -p d; \
         echo {run} >>{folder}; echo {run} >n{run}; rm -f {old}; printf 'the end of {run}'; exit {exit}"
    );
    let mut says = String::new();
    for line in 0..lines {
        let _ = writeln!(says, "run {run} line {line} {pad}");
    }
    let _ = write!(says, "typed before {run}\nthe end of {run}");
    expected.insert("mine".into(), format!("typed before {run}\n"));
    expected.insert("edit".into(), format!("{run}\n"));
    let _ = writeln!(expected.entry(folder).or_default(), "{run}");
    expected.insert(format!("n{run}"), format!("{run}\n"));
    expected.remove(&old);
    Script { text, says, exit }
}

#[test]
fn no_byte_no_status_and_no_edit_is_lost_to_a_bad_daemon() {
    let (runs, first) = (count("RUNS", 1000, 8), count("FIRST", 0, 0));
    let given = Mutex::new(BTreeMap::<&str, usize>::new());
    let Outcome { turns, failures } = in_parallel(runs, at_once(), Place::new, |place, turn| {
        let run = first + turn;
        let before = place.daemon.given();
        let script = script(run, &mut place.expected);
        place.cx.write("mine", &format!("typed before {run}\n"));
        place.daemon.next_run(run, script.exit);
        let json = run % 2 == 1;
        let mut args = vec!["run", "--agent-command", &script.text, "go"];
        if json {
            args.insert(1, "--json");
        }
        let ran = finished(place.cx.command(args))?;
        for (word, times) in place.daemon.given() {
            let times = times - before.get(word).unwrap_or(&0);
            *given.lock().unwrap().entry(word).or_default() += times;
        }
        judge(place, &script, &ran, json).map_err(|why| format!("{why}\n{}", brief(&ran)))
    });
    println!(
        "streams: {turns} runs, {} wrong; faults: {:?}",
        failures.len(),
        given.into_inner().unwrap()
    );
    assert!(failures.is_empty(), "{failures:#?}");
}

fn judge(place: &Place, script: &Script, ran: &Ran, json: bool) -> Result<(), String> {
    let said = if json { said_in_events(ran) } else { ran.stdout.clone() };
    if said != script.says {
        let same = said.bytes().zip(script.says.bytes()).take_while(|(a, b)| a == b).count();
        let (got, wanted) = (said.len(), script.says.len());
        return Err(format!("output: {got} bytes for {wanted}, different from {same} on"));
    }
    let code = i32::from(script.exit != 0);
    if ran.code != code {
        return Err(format!("exit code {} for {code}", ran.code));
    }
    if json {
        let done = ran.of_type("done");
        let told = done.first().map(|d| d["agent"]["exit_code"].clone()).unwrap_or_default();
        if told != script.exit {
            return Err(format!("the agent's status is {told}, was {}", script.exit));
        }
    } else if !ran.stderr.contains(&format!("agent_exit={}", script.exit)) {
        return Err(format!("status {} is not told", script.exit));
    }
    let wanted: Vec<_> = place.expected.keys().cloned().collect();
    if place.cx.files() != wanted {
        return Err(format!("files: {:?}, not {wanted:?}", place.cx.files()));
    }
    for (name, content) in &place.expected {
        if place.cx.read(name) != *content {
            return Err(format!("{name}: {:?} for {content:?}", place.cx.read(name)));
        }
    }
    match place.terminals() {
        0 => Ok(()),
        left => Err(format!("{left} terminals left")),
    }
}

fn said_in_events(ran: &Ran) -> String {
    let mut said = String::new();
    let mut unfinished = true;
    for event in ran.of_type("agent_output") {
        if !unfinished {
            said.push('\n');
        }
        said.push_str(event["data"].as_str().unwrap_or_default());
        unfinished = event["partial"] == true;
    }
    said
}
