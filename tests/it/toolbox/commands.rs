//! One command at a time, and what a sandbox says about itself.

use serde_json::json;

use super::{execute, run};
use crate::support::toolbox::ToolboxUnderTest;

#[tokio::test]
async fn execute_merges_output_and_reports_the_code() {
    let toolbox = ToolboxUnderTest::start();
    assert_eq!(
        run(&toolbox, "echo out; echo err >&2; echo out2").await,
        (0, "out\nerr\nout2\n".into())
    );
    assert_eq!(run(&toolbox, "exit 5").await.0, 5);
    assert_eq!(run(&toolbox, "kill -9 $$").await, (-1, String::new()));
    assert_eq!(run(&toolbox, "pwd").await.1.trim_end(), toolbox.home.to_str().unwrap());
    assert_eq!(run(&toolbox, r"printf 'a\0b\377c'").await.1, "a\0b\u{fffd}c");
    let asked = json!({ "command": "pwd; echo $X", "cwd": "/", "envs": { "X": "a 'b' $c" } });
    assert_eq!(execute(&toolbox, asked).await.json()["result"], "/\na 'b' $c\n");
    let nowhere = execute(&toolbox, json!({ "command": "x", "cwd": "/nope" })).await.json();
    assert_eq!(nowhere["exitCode"], -1);
    assert!(nowhere["result"].as_str().unwrap().ends_with("no such file or directory"));
}

#[tokio::test]
async fn what_a_command_of_a_script_reads_is_the_rest_of_the_script() {
    let toolbox = ToolboxUnderTest::start();
    // Only some shells leave it to their commands.
    let script = "[ -n \"$BASH_VERSION\" ] || { echo got this; echo and that; exit; }\n\
        read x\nthis\necho got $x\ncat\nand that\n";
    assert_eq!(run(&toolbox, script).await, (0, "got this\nand that\n".into()));
    // More than a pipe holds, and not read by the command.
    assert_eq!(run(&toolbox, &format!("exit 3\n{}", ": x\n".repeat(100_000))).await.0, 3);
}

#[tokio::test]
async fn execute_does_not_wait_for_a_background_child() {
    let toolbox = ToolboxUnderTest::start();
    let (code, output) = run(&toolbox, "sleep 600 & echo $!").await;
    assert_eq!(code, 0);
    let child = output.trim();
    // It is still there, and may write without being killed for it.
    assert_eq!(run(&toolbox, &format!("kill {child}")).await.0, 0);
    let late = toolbox.at("late");
    let script =
        format!("(read x <{late}.go; echo to nobody; echo alive >{late}) & mkfifo {late}.go");
    run(&toolbox, &format!("mkfifo {late}.go; {script} 2>/dev/null")).await;
    run(&toolbox, &format!("echo >{late}.go; until [ -s {late} ]; do sleep 0.01; done")).await;
}

#[tokio::test]
async fn execute_with_a_limit_answers_408_and_ends_the_group() {
    let toolbox = ToolboxUnderTest::start();
    let pid = toolbox.at("pid");
    let command = format!("sleep 600 & echo $! >{pid}; wait");
    let answer = execute(&toolbox, json!({ "command": command, "timeout": 1 })).await;
    assert_eq!(answer.status, 408);
    let body = answer.json();
    assert_eq!(body["code"], "PROCESS_EXECUTION_TIMEOUT");
    assert!(body["message"].as_str().unwrap().contains("timeout"));
    let gone = format!("while kill -0 $(cat {pid}) 2>/dev/null; do sleep 0.01; done");
    assert_eq!(run(&toolbox, &gone).await.0, 0);
}

#[tokio::test]
async fn execute_goes_on_when_the_client_leaves() {
    let toolbox = ToolboxUnderTest::start();
    let [begun, go, done] = ["begun", "go", "done"].map(|name| toolbox.at(name));
    let text = format!("touch {begun}; until [ -e {go} ]; do sleep 0.01; done; echo x >{done}");
    let has_begun = format!("until [ -e {begun} ]; do sleep 0.01; done");
    tokio::select! {
        _ = execute(&toolbox, json!({ "command": text })) => panic!("it ended by itself"),
        _ = run(&toolbox, &has_begun) => {}
    }
    // Time enough for the toolbox to see that nobody listens any more.
    for _ in 0..10 {
        run(&toolbox, "true").await;
    }
    run(&toolbox, &format!("touch {go}; until [ -s {done} ]; do sleep 0.01; done")).await;
}

#[tokio::test]
async fn execute_refuses_with_a_whole_error_body() {
    let toolbox = ToolboxUnderTest::start();
    for bad in [
        json!({}),
        json!({ "command": " " }),
        json!({ "command": 5 }),
        json!({ "command": "x", "timeout": -1 }),
        json!({ "command": "x", "envs": { "A-B": "" } }),
    ] {
        let answer = execute(&toolbox, bad).await;
        assert_eq!(answer.status, 400);
        let body = answer.json();
        for key in ["statusCode", "message", "code", "timestamp", "path", "method", "source"] {
            assert!(!body[key].is_null(), "{key}");
        }
        assert_eq!(body["source"], "DAYTONA_DAEMON");
    }
    let nowhere = toolbox.http.get("/no/such/route").await;
    assert_eq!((nowhere.status, nowhere.json()["path"].clone()), (404, json!("/no/such/route")));
}

#[tokio::test]
async fn code_is_run_with_its_arguments_apart() {
    let toolbox = ToolboxUnderTest::start();
    let code = "import sys\nprint(sys.argv[1:])\nraise SystemExit(3)";
    let asked = json!({ "code": code, "language": "python", "argv": ["a b", "$HOME"] });
    let body = toolbox.http.post("/process/code-run", asked).await.json();
    if body["exitCode"] != 127 {
        assert_eq!(body, json!({ "exitCode": 3, "result": "['a b', '$HOME']\n" }));
    }
    let other =
        toolbox.http.post("/process/code-run", json!({ "code": "x", "language": "ruby" })).await;
    assert_eq!(other.status, 400);
}

#[tokio::test]
async fn the_sandbox_describes_itself() {
    let toolbox = ToolboxUnderTest::start();
    let home = json!({ "dir": toolbox.home });
    for path in ["/user-home-dir", "/work-dir", "/project-dir"] {
        assert_eq!(toolbox.http.get(path).await.json(), home);
    }
    assert!(
        toolbox.http.get("/version").await.json()["version"].as_str().unwrap().starts_with('v')
    );
    let metrics = toolbox.http.get("/system/metrics").await.json();
    assert!(
        metrics["memTotal"].as_u64().unwrap() > 0 && metrics["diskTotal"].as_u64().unwrap() > 0
    );
    let set = toolbox.http.post("/env", json!({ "set": { "NEW": "1" } })).await.json();
    assert_eq!(set["NEW"], "1");
    assert_eq!(run(&toolbox, "echo $NEW").await.1, "1\n");
    assert_eq!(toolbox.http.post("/git/clone", json!({})).await.status, 501);
}

#[tokio::test]
async fn the_hidden_subcommand_serves_on_the_listener_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut process = tokio::process::Command::new("sh")
        .args(["-c", "exec \"$0\" __toolbox 3<&0 </dev/null", env!("CARGO_BIN_EXE_sandbox-coder")])
        .stdin(std::process::Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .env_clear()
        .env("HOME", dir.path())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("ONLY", "this")
        .current_dir(dir.path())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let http = crate::support::unix_http::UnixHttp::new(&socket);
    let home = http.get("/user-home-dir").await.json();
    assert_eq!(home, json!({ "dir": dir.path() }));
    // Commands inherit neither the listener nor a connection.
    let asked = json!({ "command": "echo $ONLY; ls -l /proc/self/fd | grep -c socket:" });
    assert_eq!(http.post("/process/execute", asked).await.json()["result"], "this\n0\n");
    let pid = rustix::process::Pid::from_raw(process.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(process.wait().await.unwrap().success());
}
