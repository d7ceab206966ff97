//! The client is killed at a random moment; the next command leads to the same tree and the same output.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;

use super::command::{Running, finished};
use super::{Outcome, at_once, count, in_parallel};
use crate::support::context::TestContext;
use crate::support::faulty_proxy::Seeded;
use crate::support::server::{KEY, TestServer};

/// Leads to the same tree however often it is begun.
const AGENT: &str = "rm -rf out; mkdir out; : >grows; i=0; while [ $i -lt 20 ]; do echo \"step $i\"; \
    echo \"step $i\" >>grows; echo $i >out/f$i; sleep 0.08; i=$((i+1)); done; \
    rm -f old; cat typed >edit; chmod +x script; echo the end";

/// What an undisturbed run leads to.
struct Reference {
    says: String,
    tree: BTreeMap<String, String>,
    status: String,
    took: Duration,
}

struct Place {
    server: TestServer,
    reference: Reference,
}

fn context(server: &TestServer) -> TestContext {
    let files = [("edit", "0\n"), ("old", "o\n"), ("script", "s\n"), ("keep/k", "k\n")];
    let mut cx = TestContext::new(&files);
    cx.write("typed", "not committed\n");
    cx.set("DAYTONA_API_URL", &server.api_url);
    cx.set("DAYTONA_API_KEY", KEY);
    cx
}

fn picture(cx: &TestContext) -> BTreeMap<String, String> {
    cx.files().into_iter().map(|name| (name.clone(), cx.read(&name))).collect()
}

impl Place {
    fn new(_: usize) -> Self {
        let server = TestServer::start();
        let cx = context(&server);
        let (ran, took) = Running::start(run(&cx)).end().unwrap();
        let ran = ran.exits(0);
        let (tree, status) = (picture(&cx), cx.git(&["status", "--porcelain"]));
        cx.run(["rm", "--force"]).exits(0);
        Self { server, reference: Reference { says: ran.stdout, tree, status, took } }
    }
}

fn run(cx: &TestContext) -> std::process::Command {
    cx.command(["run", "--agent-command", AGENT, "go"])
}

#[test]
fn a_client_killed_at_any_moment_is_taken_up_again() {
    let kills = count("KILLS", 120, 4);
    let ways = Mutex::new(BTreeMap::<String, usize>::new());
    let Outcome { turns, failures } = in_parallel(kills, at_once(), Place::new, |place, turn| {
        let cx = context(&place.server);
        let took = place.reference.took.as_millis() as usize;
        let moment = Duration::from_millis(Seeded::new(turn as u64).below(took + took / 20) as u64);
        let first = Running::start(run(&cx));
        std::thread::sleep(moment);
        first.signal(Signal::KILL);
        let (killed, _) = first.end()?;
        let way = match turn % 3 {
            0 => attach(&cx, place),
            1 => pull(&cx, place),
            _ => run_again(&cx, place),
        };
        let at = format!(
            "killed after {} of {took} ms (ended with {})",
            moment.as_millis(),
            killed.code
        );
        let way = way.map_err(|why| format!("{at}: {why}"))?;
        *ways.lock().unwrap().entry(way).or_default() += 1;
        same(&cx, &place.reference).map_err(|why| format!("{at}: {why}"))?;
        finished(cx.command(["rm", "--force"]))?;
        Ok(())
    });
    println!("kills: {turns}, {} wrong; {:?}", failures.len(), ways.into_inner().unwrap());
    assert!(failures.is_empty(), "{failures:#?}");
}

fn attach(cx: &TestContext, place: &Place) -> Result<String, String> {
    let ran = finished(cx.command(["attach"]))?;
    if ran.code == 0 && ran.stdout == place.reference.says {
        return Ok("attach".into());
    }
    // Nothing was started, and it is said: the same command again.
    let nothing = ["run.not_found", "no run is known", "is gone", "never started", "lost"];
    if ran.code != 0 && nothing.iter().any(|word| ran.stderr.contains(word)) {
        return run_again(cx, place).map(|way| format!("attach: nothing there, {way}"));
    }
    Err(format!("attach: {} {:?} {}", ran.code, ran.stdout, ran.stderr))
}

fn pull(cx: &TestContext, place: &Place) -> Result<String, String> {
    // In the middle of the work, or before it, or after it.
    let early = finished(cx.command(["pull"]))?;
    let logs = finished(cx.command(["logs", "--follow"]))?;
    if logs.code == 0 && logs.stdout == place.reference.says {
        let late = finished(cx.command(["pull"]))?;
        return match late.code {
            0 => Ok("pull".into()),
            _ => Err(format!("pull: {} then {} {}", early.stderr, late.code, late.stderr)),
        };
    }
    if logs.code != 0 || logs.stdout.is_empty() {
        return run_again(cx, place).map(|way| format!("pull: nothing there, {way}"));
    }
    Err(format!("logs: {} {:?} {}", logs.code, logs.stdout, logs.stderr))
}

fn run_again(cx: &TestContext, place: &Place) -> Result<String, String> {
    let ran = finished(run(cx))?;
    if ran.code == 0 && ran.stdout == place.reference.says {
        return Ok("run".into());
    }
    if ran.code == 75 || ran.stderr.contains("attach") {
        let attached = finished(cx.command(["attach"]))?;
        if attached.code == 0 && attached.stdout == place.reference.says {
            return Ok("run refused, attach".into());
        }
        return Err(format!("{} then {} {}", ran.stderr, attached.code, attached.stderr));
    }
    Err(format!("run: {} {:?} {}", ran.code, ran.stdout, ran.stderr))
}

fn same(cx: &TestContext, reference: &Reference) -> Result<(), String> {
    let tree = picture(cx);
    if tree != reference.tree {
        return Err(format!("the tree differs: {tree:?}"));
    }
    let status = cx.git(&["status", "--porcelain"]);
    if status != reference.status {
        return Err(format!("the status differs: {status}"));
    }
    Ok(())
}
