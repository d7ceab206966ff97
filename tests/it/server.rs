//! The local Daytona: who may talk to it, the life of a sandbox, restarts, races, previews.

mod sockets;
mod timers;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::support::server::{KEY, TestServer, nothing_runs_below};

#[test]
fn only_the_key_and_names_of_this_machine_are_let_in() {
    let server = TestServer::start();
    let host = format!("Host: {}\r\n", server.addr);
    for wrong in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic x\r\n"] {
        let answer = server.raw("GET", "/api/sandbox", &format!("{host}{wrong}"), "");
        assert_eq!(
            (answer.status, answer.json()["message"].as_str()),
            (401, Some("Invalid credentials"))
        );
        let answer = server.raw("GET", "/toolbox/x/files", &format!("{host}{wrong}"), "");
        assert_eq!((answer.status, &answer.json()["code"]), (401, &json!("UNAUTHORIZED")));
    }
    for open in ["/api/config", "/api/health"] {
        assert_eq!(server.raw("GET", open, &host, "").status, 200);
    }
    let foreign = format!("Host: evil.example\r\nAuthorization: Bearer {KEY}\r\n");
    assert_eq!(server.raw("GET", "/api/sandbox", &foreign, "").status, 403);
    assert_eq!(server.call("GET", "/api/organizations", "").status, 401);
    let upgrade = format!(
        "{host}Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    assert_eq!(server.raw("GET", "/toolbox/x/process/pty/p/connect", &upgrade, "").status, 401);
}

#[test]
fn a_sandbox_lives_through_every_state() {
    let server = TestServer::start();
    let made = server.create(r#"{"name":"a b/é","labels":{"x":"y"},"env":{"GREETING":"hello"}}"#);
    let id = made["id"].as_str().unwrap();
    let state = || server.call("GET", &format!("/api/sandbox/{id}"), "").json()["state"].clone();
    assert_eq!(made["state"], "started");
    assert_eq!(server.call("GET", "/api/sandbox/a%20b%2F%C3%A9", "").json()["id"], id);
    assert_eq!(server.execute(id, "echo $GREETING; echo kept > ~/file"), "hello\n");
    assert_eq!(server.call("POST", "/api/sandbox", r#"{"name":"a b/é"}"#).status, 409);

    let call =
        |method: &str, what: &str| server.call(method, &format!("/api/sandbox/{id}{what}"), "");
    assert_eq!(call("POST", "/start").json()["state"], "started");
    let token = call("GET", "/ports/3000/preview-url").json()["token"].clone();
    assert_eq!(call("POST", "/stop?force=false").json()["state"], "stopped");
    assert_eq!(state(), "stopped");
    assert_eq!(
        (call("POST", "/stop").status, call("POST", "/stop").json()["message"].as_str()),
        (400, Some("Sandbox is not in a stoppable state"))
    );
    let answer =
        server.call("POST", &format!("/toolbox/{id}/process/execute"), r#"{"command":"true"}"#);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("Is the Sandbox started?"));

    assert_eq!(call("POST", "/start").json()["state"], "started");
    assert_eq!(server.execute(id, "cat ~/file"), "kept\n");
    assert_ne!(call("GET", "/ports/3000/preview-url").json()["token"], token);

    let gone = call("DELETE", "").json();
    assert_eq!(gone["state"], "destroying");
    assert!(gone["name"].as_str().unwrap().starts_with("DESTROYED_a b/é_"));
    assert_eq!(call("GET", "").status, 404);
    assert_eq!(call("DELETE", "").status, 404);
    assert_eq!(server.call("GET", &format!("/toolbox/{id}/files"), "").status, 401);
    assert!(!server.data_dir().join("sandboxes").join(id).exists());
    server.create(r#"{"name":"a b/é"}"#);
}

#[test]
fn settings_are_kept_and_nonsense_is_refused() {
    let server = TestServer::start();
    let id = server.create("{}")["id"].as_str().unwrap().to_owned();
    let post = |what: &str| server.call("POST", &format!("/api/sandbox/{id}{what}"), "");
    for (what, key, value) in [
        ("/autostop/0", "autoStopInterval", json!(0)),
        ("/autoarchive/0", "autoArchiveInterval", json!(43200)),
        ("/autodelete/-7", "autoDeleteInterval", json!(-1)),
        ("/public/true", "public", json!(true)),
    ] {
        let answer = post(what);
        assert_eq!((answer.status, &answer.json()[key]), (200, &value), "{what}");
    }
    let labels =
        server.call("PUT", &format!("/api/sandbox/{id}/labels"), r#"{"labels":{"n":"1"}}"#);
    assert_eq!(labels.json()["labels"], json!({"n": "1"}));
    assert_eq!(post("/autostop/-1").status, 400);
    assert_eq!(post("/autostop/x").status, 400);
    assert_eq!(post("/last-activity").status, 201);
    for missing in ["/fork", "/resize", "/ttl"] {
        let answer = post(missing);
        assert_eq!(
            (answer.status, answer.json()["message"].as_str()),
            (404, Some(format!("Cannot POST /api/sandbox/{id}{missing}").as_str()))
        );
    }
    assert_eq!(server.call("GET", &format!("/api/sandbox/{id}/signing-key"), "").status, 404);
    assert_eq!(server.call("GET", &format!("/api/sandbox/{id}/"), "").json()["id"], *id);
    assert_eq!(server.call("GET", &format!("/api/sandbox/{id}//"), "").status, 404);
    let pages = server.call("GET", "/api/sandbox/paginated/?limit=1&page=1", "").json();
    assert_eq!((&pages["total"], &pages["totalPages"]), (&json!(1), &json!(1)));
    assert_eq!(pages["items"][0]["id"], *id);
    let network = |body: &str| {
        server.call("POST", &format!("/api/sandbox/{id}/network-settings"), body).status
    };
    assert_eq!(network(r#"{"networkBlockAll":false}"#), 200);
    // Without isolation nothing can be cut off, and nobody shall believe it is.
    for refused in ["{}", r#"{"networkBlockAll":true}"#, r#"{"networkAllowList":"10.0.0.0/8"}"#] {
        assert_eq!(network(refused), 400, "{refused}");
    }
    let ours = &server.call("GET", "/api/config", "").json()["sandboxCoder"];
    assert_eq!((&ours["isolation"], &ours["network"]), (&json!("none"), &json!("host")));
    for (body, status) in [
        ("{", 400),
        (r#"{"snapshot":"nope"}"#, 400),
        (r#"{"buildInfo":{"dockerfileContent":"FROM x"}}"#, 400),
    ] {
        assert_eq!(server.call("POST", "/api/sandbox", body).status, status, "{body}");
    }
    let large = json!({ "labels": { "x": "y".repeat(110_000) } }).to_string();
    let answer = server.call("POST", "/api/sandbox", &large);
    assert_eq!(
        (answer.status, answer.json()["message"].as_str()),
        (404, Some("Cannot POST /api/sandbox"))
    );
    assert_eq!(server.call("GET", "/api/snapshots", "").json()["items"][0]["name"], "host");
    assert_eq!(server.call("GET", "/api/snapshots/nope", "").status, 404);
}

#[test]
fn the_list_is_paged_and_filtered() {
    let server = TestServer::start();
    for n in 0..5 {
        server.create(&format!(r#"{{"name":"p{n}","labels":{{"odd":"{}"}}}}"#, n % 2));
    }
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server
            .call("GET", &format!("/api/sandbox?limit=2&sort=name&order=asc&cursor={cursor}"), "")
            .json();
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|i| i["name"].as_str().unwrap().to_owned()),
        );
        match page["nextCursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(names, ["p0", "p1", "p2", "p3", "p4"]);
    let odd = server
        .call("GET", "/api/sandbox?labels=%7B%22odd%22%3A%221%22%7D&states=started", "")
        .json();
    assert_eq!(odd["items"].as_array().unwrap().len(), 2);
}

#[test]
fn of_many_who_ask_for_one_name_one_gets_it() {
    let server = TestServer::start();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || server.call("POST", "/api/sandbox", r#"{"name":"one"}"#).status;
        let asking: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|s| **s == 409).count(), 15, "{statuses:?}");
    assert_eq!(std::fs::read_dir(server.data_dir().join("sandboxes")).unwrap().count(), 1);
}

#[test]
fn racing_stops_starts_and_deletes_leave_one_truth() {
    let server = TestServer::start();
    let id = server.create("{}")["id"].as_str().unwrap().to_owned();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            for (method, what) in [("POST", "/stop"), ("POST", "/start")] {
                let (server, id) = (&server, &id);
                scope.spawn(move || {
                    let status =
                        server.call(method, &format!("/api/sandbox/{id}{what}"), "").status;
                    assert!([200, 400, 409].contains(&status), "{what}: {status}");
                });
            }
        }
    });
    let state = server.call("GET", &format!("/api/sandbox/{id}"), "").json()["state"].clone();
    let execute =
        server.call("POST", &format!("/toolbox/{id}/process/execute"), r#"{"command":"true"}"#);
    assert_eq!(execute.status, if state == "started" { 200 } else { 400 }, "{state}");
    let deleted: BTreeSet<u16> = std::thread::scope(|scope| {
        let ask = || server.call("DELETE", &format!("/api/sandbox/{id}"), "").status;
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(deleted.contains(&200) && deleted.is_subset(&[200, 404, 409].into()), "{deleted:?}");
    assert!(nothing_runs_below(&server.data_dir()));
}

#[test]
fn a_crash_of_the_server_costs_nobody_their_sandbox() {
    let mut server = TestServer::start();
    let running = server.create(r#"{"name":"running"}"#)["id"].as_str().unwrap().to_owned();
    let stopped = server.create(r#"{"name":"stopped"}"#)["id"].as_str().unwrap().to_owned();
    server.call("POST", "/api/sandbox/stopped/stop", "");
    let pid = server.execute(&running, "sleep 600 >/dev/null 2>&1 & echo $!");
    server.crash_and_restart();
    let state = |server: &TestServer, name: &str| {
        server.call("GET", &format!("/api/sandbox/{name}"), "").json()["state"].clone()
    };
    assert_eq!(state(&server, "running"), "started");
    assert_eq!(state(&server, "stopped"), "stopped");
    assert_eq!(
        server.execute(&running, &format!("kill -0 {} && echo alive", pid.trim())),
        "alive\n"
    );
    assert_eq!(server.call("POST", &format!("/api/sandbox/{stopped}/start"), "").status, 200);
}

#[test]
fn a_directory_far_below_is_as_good_as_any() {
    let deep = format!("{0}/{0}/{0}", "far-below-".repeat(6));
    for isolation in ["none", "namespaces"] {
        if isolation == "namespaces" && !isolation_is_possible() {
            continue;
        }
        let mut server = TestServer::start_with(isolation, &deep);
        assert!(server.data_dir().as_os_str().len() > 150);
        let id = server.create("{}")["id"].as_str().unwrap().to_owned();
        assert_eq!(server.execute(&id, "echo one"), "one\n");
        server.crash_and_restart();
        assert_eq!(server.execute(&id, "echo two"), "two\n");
        for what in ["stop", "start"] {
            assert_eq!(server.call("POST", &format!("/api/sandbox/{id}/{what}"), "").status, 200);
        }
        assert_eq!(server.execute(&id, "echo three"), "three\n");
    }
}

/// Whether this machine lets us make isolated sandboxes; the jail's own tests say why when it does not.
fn isolation_is_possible() -> bool {
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_sandbox-coder"));
    sandbox_coder::jail::probe::probe(binary).is_ok()
}

#[test]
fn a_port_is_previewed_by_those_who_may() {
    let server = TestServer::start();
    let id = server.create("{}")["id"].as_str().unwrap().to_owned();
    // Without isolation the sandbox shares the host's ports, so the test itself can be the application.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let application = std::thread::spawn(move || {
        let mut heads = Vec::new();
        for _ in 0..4 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            if head.to_lowercase().contains("upgrade: echo") {
                stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n").unwrap();
                let mut five = [0; 5];
                stream.read_exact(&mut five).unwrap();
                stream.write_all(&five).unwrap();
            } else {
                stream
                    .write_all(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
                    )
                    .unwrap();
            }
            heads.push(head);
        }
        heads
    });
    let link =
        server.call("GET", &format!("/api/sandbox/{id}/ports/{port}/preview-url"), "").json();
    let host = link["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let token = link["token"].as_str().unwrap().to_owned();
    let get = |host: &str, target: &str, more: &str| {
        server.raw("GET", target, &format!("Host: {host}\r\n{more}"), "")
    };
    assert_eq!(get(&host, "/", "").status, 401);
    assert_eq!(get(&host, "/", "X-Daytona-Preview-Token: wrong\r\n").status, 401);
    assert_eq!(
        get(&host, "/a%2Fb(?q=%40", &format!("X-Daytona-Preview-Token: {token}\r\n")).text(),
        "hi"
    );
    let by_query = get(&host, &format!("/?x=1&DAYTONA_SANDBOX_AUTH_KEY={token}"), "");
    assert!(by_query.headers.to_lowercase().contains("set-cookie: daytona-sandbox-auth-"));

    let signed = server
        .call("GET", &format!("/api/sandbox/{id}/ports/{port}/signed-preview-url"), "")
        .json();
    let signed_host = signed["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    assert_eq!(get(&signed_host, "/", "").text(), "hi");
    let other_port = signed_host.replacen(&port.to_string(), "1", 1);
    assert_eq!(get(&other_port, "/", "").status, 401);
    let expire = format!(
        "/api/sandbox/{id}/ports/{port}/signed-preview-url/{}/expire",
        signed["token"].as_str().unwrap()
    );
    server.call("POST", &expire, "");
    assert_eq!(get(&signed_host, "/", "").status, 401);

    let mut stream = TcpStream::connect(&server.addr).unwrap();
    write!(stream, "GET /ws HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n").unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
        head.push(byte[0]);
    }
    assert!(String::from_utf8_lossy(&head).starts_with("HTTP/1.1 101"));
    stream.write_all(b"hello").unwrap();
    let mut echoed = [0; 5];
    stream.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"hello");

    let heads = application.join().unwrap();
    assert!(heads[0].starts_with("GET /a%2Fb(?q=%40 HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(heads[1].starts_with("GET /?x=1 HTTP/1.1\r\n"), "{}", heads[1]);
    for head in &heads {
        let lower = head.to_lowercase();
        assert!(
            lower.contains(&format!("host: localhost:{port}\r\n"))
                && lower.contains("x-forwarded-host: "),
            "{head}"
        );
        assert!(!head.contains(&token) && !head.contains(KEY), "{head}");
    }
}

#[test]
fn a_server_is_started_once_found_again_and_leaves_when_idle() {
    use sandbox_coder::server::Isolation;
    use sandbox_coder::server::daemon::{DaemonOptions, ensure};
    let dir = tempfile::Builder::new().prefix("sc").tempdir_in("/tmp").unwrap();
    let options = |idle: u64| DaemonOptions {
        data_dir: dir.path().join("d"),
        isolation: Isolation::None,
        insist: true,
        binary: env!("CARGO_BIN_EXE_sandbox-coder").into(),
        idle_exit: std::time::Duration::from_secs(idle),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pid = || {
        let card: serde_json::Value =
            serde_json::from_slice(&std::fs::read(dir.path().join("d/server.json")).unwrap())
                .unwrap();
        rustix::process::Pid::from_raw(card["pid"].as_i64().unwrap() as i32).unwrap()
    };
    let (one, two) =
        runtime.block_on(async { tokio::join!(ensure(options(600)), ensure(options(600))) });
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.api_url, two.api_url);
    assert_eq!((one.isolation.name(), one.network.name()), ("none", "host"));
    // A crash leaves its card behind; the next client is not misled by it.
    rustix::process::kill_process(pid(), rustix::process::Signal::KILL).unwrap();
    runtime.block_on(ensure(options(0))).unwrap();
    // With no time to idle the new one leaves at its next tick, and takes its card along: the lock tells when.
    let lock = std::fs::File::options().write(true).open(dir.path().join("d/server.lock")).unwrap();
    lock.lock().unwrap();
    assert!(!dir.path().join("d/server.json").exists());
}

#[test]
fn an_upload_is_answered_when_all_of_it_was_read() {
    let server = TestServer::start();
    let id = server.create("{}")["id"].as_str().unwrap().to_owned();
    let part = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\ntext\r\n--b--\r\n";
    let head = |target: &str, more: &str| {
        format!(
            "POST /toolbox/{id}{target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {KEY}\r\n{more}\r\n",
            server.addr
        )
    };
    let mut stream = TcpStream::connect(&server.addr).unwrap();
    let chunked = "Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n";
    let first = head("/files/upload?path=f", chunked);
    write!(stream, "{first}{:x}\r\n{part}\r\n", part.len()).unwrap();
    // All parts have arrived when the file is there; only the end of the body is missing.
    server.execute(&id, "until [ -s ~/f ]; do sleep 0.01; done");
    let second = head("/process/execute", "Connection: close\r\nContent-Length: 18\r\n");
    write!(stream, "0\r\n\r\n{second}{{\"command\":\"true\"}}").unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{answers}");
}

#[test]
fn fifty_sandboxes_at_once() {
    let isolation = if isolation_is_possible() { "namespaces" } else { "none" };
    let server = TestServer::start_with(isolation, "d");
    std::thread::scope(|scope| {
        for n in 0..50 {
            let server = &server;
            scope.spawn(move || {
                let id = server.create(&format!(r#"{{"name":"n{n}"}}"#))["id"].clone();
                let id = id.as_str().unwrap();
                assert_eq!(
                    server.execute(id, &format!("echo {n} > ~/n; cat ~/n")),
                    format!("{n}\n")
                );
                let gone = server.call("DELETE", &format!("/api/sandbox/{id}"), "");
                assert_eq!(gone.status, 200, "{}", gone.text());
            });
        }
    });
    assert_eq!(server.call("GET", "/api/sandbox", "").json()["items"], json!([]));
    assert_eq!(std::fs::read_dir(server.data_dir().join("sandboxes")).unwrap().count(), 0);
    assert!(nothing_runs_below(&server.data_dir()));
}
