//! What happens without anybody asking: timers by a clock of our own, and servers that come and go.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sandbox_coder::secret::Secret;
use sandbox_coder::server::daemon::{DaemonOptions, ensure};
use sandbox_coder::server::{Clock, Isolation, ServeOptions, Server};
use serde_json::Value;

use crate::support::server::{KEY, TestServer};

const MINUTE: i64 = 60_000;

fn options(dir: &Path, time: &Arc<AtomicI64>, idle_exit: Option<Duration>) -> ServeOptions {
    ServeOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        api_key: Some(Secret::new(KEY)),
        data_dir: dir.to_owned(),
        isolation: Isolation::None,
        binary: env!("CARGO_BIN_EXE_sandbox-coder").into(),
        tool_dirs: Vec::new(),
        idle_exit,
        clock: Clock::Manual(time.clone()),
    }
}

#[test]
fn idle_sandboxes_stop_and_stopped_ones_go() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let time = Arc::new(AtomicI64::new(1_800_000_000_000));
    let running = runtime.block_on(Server::bind(options(dir.path(), &time, None))).unwrap();
    let server = TestServer::at(running.addr);
    let state = |name: &str| {
        server.call("GET", &format!("/api/sandbox/{name}"), "").json()["state"].clone()
    };
    let pass = |millis| {
        time.fetch_add(millis, Ordering::SeqCst);
        runtime.block_on(running.tend());
    };
    for (name, settings) in [
        ("idle", r#""autoStopInterval":1,"autoDeleteInterval":2"#),
        ("busy", r#""autoStopInterval":1"#),
        ("forever", r#""autoStopInterval":0"#),
        ("passing", r#""autoStopInterval":1,"autoDeleteInterval":0"#),
        ("mortal", r#""autoStopInterval":0,"ttlMinutes":2"#),
    ] {
        server.create(&format!(r#"{{"name":"{name}",{settings}}}"#));
    }
    pass(MINUTE - 1);
    for name in ["idle", "busy", "forever", "passing", "mortal"] {
        assert_eq!(state(name), "started", "{name}");
    }
    assert_eq!(server.call("POST", "/api/sandbox/busy/last-activity", "").status, 201);
    pass(1);
    assert_eq!([state("idle"), state("busy"), state("forever")], ["stopped", "started", "started"]);
    assert_eq!(state("passing"), Value::Null);
    pass(MINUTE);
    assert_eq!([state("idle"), state("busy")], ["stopped", "stopped"]);
    assert_eq!(state("mortal"), Value::Null);
    pass(MINUTE);
    assert_eq!([state("idle"), state("forever")], [Value::Null, "started".into()]);
    for name in ["busy", "forever"] {
        server.call("DELETE", &format!("/api/sandbox/{name}"), "");
    }
    running.stop.cancel();
    runtime.block_on(running.finished());
}

#[test]
fn a_server_leaves_when_nobody_needs_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let time = Arc::new(AtomicI64::new(0));
    let minute = Some(Duration::from_secs(60));
    let running = runtime.block_on(Server::bind(options(dir.path(), &time, minute))).unwrap();
    let server = TestServer::at(running.addr);
    server.create(r#"{"name":"a","autoStopInterval":0}"#);
    time.fetch_add(10 * MINUTE, Ordering::SeqCst);
    // With a sandbox that runs it stays, however long nobody asked.
    assert_eq!(server.call("DELETE", "/api/sandbox/a", "").status, 200);
    time.fetch_add(MINUTE, Ordering::SeqCst);
    runtime.block_on(running.finished());
}

fn card(dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join("server.json")).unwrap()).unwrap()
}

#[test]
fn a_server_is_replaced_only_when_nothing_of_it_runs() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ask = |isolation| {
        runtime.block_on(ensure(DaemonOptions {
            data_dir: dir.path().to_owned(),
            isolation,
            insist: true,
            binary: env!("CARGO_BIN_EXE_sandbox-coder").into(),
            idle_exit: Duration::from_secs(600),
        }))
    };
    let first = ask(Isolation::None).unwrap();
    let call = |method: &str, target: &str, body: &str| {
        let card = card(dir.path());
        let server = TestServer::at(card["addr"].as_str().unwrap().parse().unwrap());
        let key = card["api_key"].as_str().unwrap();
        let headers = format!("Host: {}\r\nAuthorization: Bearer {key}\r\n", server.addr);
        server.raw(method, target, &headers, body)
    };
    // The card of an older version.
    let mut old = card(dir.path());
    old["version"] = "0.0.1".into();
    std::fs::write(dir.path().join("server.json"), old.to_string()).unwrap();
    assert_eq!(call("POST", "/api/sandbox", r#"{"name":"mine"}"#).status, 200);

    assert_eq!(ask(Isolation::None).unwrap().api_key, first.api_key);
    let refused = ask(Isolation::Namespaces).unwrap_err().to_string();
    assert!(refused.contains("isolation `none`, not `namespaces`"), "{refused}");
    assert!(refused.contains("`mine` is running"), "{refused}");
    assert_eq!(call("POST", "/api/sandbox/mine/stop", "").status, 200);

    let second = ask(Isolation::None).unwrap();
    assert_ne!(second.api_key, first.api_key);
    assert_eq!(call("GET", "/api/sandbox/mine", "").json()["state"], "stopped");
    assert_eq!(call("DELETE", "/api/sandbox/mine", "").status, 200);

    let pid = card(dir.path())["pid"].as_i64().unwrap() as i32;
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let lock = std::fs::File::options().write(true).open(dir.path().join("server.lock")).unwrap();
    lock.lock().unwrap();
}
