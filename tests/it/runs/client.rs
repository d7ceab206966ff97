//! What the client makes of a service that refuses, lies or breaks off.

use std::net::SocketAddr;
use std::time::Duration;

use sandbox_coder::daytona::retry::Policy;
use sandbox_coder::daytona::script::{Script, said};
use sandbox_coder::daytona::{Client, Credential, Endpoint, Error, Limits, Patience};
use sandbox_coder::exit::ErrorCode;
use sandbox_coder::secret::Secret;
use sandbox_coder::wire::sandbox::CreateSandbox;

use crate::support::faulty_proxy::{Fault, FaultyProxy};
use crate::support::followed::Place;

const KEY: &str = "dtn_0123456789abcdef";
const SANDBOX: &str = r#"{"id":"i1","name":"n1","state":"started","toolboxProxyUrl":""}"#;
const JSON: &str = "Content-Type: application/json\r\n";

fn client(api_url: &str) -> Client {
    let credential = Credential::Key(Secret::new(KEY));
    let endpoint = Endpoint { api_url: api_url.into(), credential, target: None };
    let retry = Policy { base: Duration::from_millis(2), ..Policy::default() };
    Client::with_limits(endpoint, Limits { retry, ..Limits::default() }).unwrap()
}

/// A service that gives these answers in turn, and the last one for ever.
async fn answers(script: Vec<(&'static str, &'static str, &'static str)>) -> (FaultyProxy, Client) {
    let nowhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let proxy = FaultyProxy::start(nowhere, move |_, number| {
        let (status, heads, body) = script[number.min(script.len() - 1)];
        Fault::Answer(status, heads, body)
    })
    .await;
    let client = client(&format!("http://{}/api", proxy.addr));
    (proxy, client)
}

fn words(error: &Error) -> String {
    let text = error.to_string();
    assert!(!text.contains('\n') && !text.contains(KEY), "{text}");
    text
}

#[tokio::test]
async fn a_wrong_key_is_asked_about_once() {
    let body = r#"{"statusCode":401,"message":"Invalid credentials dtn_0123456789abcdef"}"#;
    let (proxy, client) = answers(vec![("401 Unauthorized", JSON, body)]).await;
    let error = client.get("x").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::AuthInvalid);
    assert_eq!(words(&error), "look up sandbox `x`: Invalid credentials *** (401)");
    assert_eq!(proxy.requests(), ["GET /api/sandbox/x"]);
}

#[tokio::test]
async fn each_refusal_has_its_code_in_one_line() {
    let quota = r#"{"message":"Total CPU limit exceeded. Maximum allowed: 1.\nTo increase"}"#;
    let html = "<html><h1>Daytona</h1><p>dashboard</p></html>";
    let table = [
        ("400 Bad Request", JSON, quota, ErrorCode::QuotaExceeded, 1),
        ("403 Forbidden", JSON, r#"{"message":"Access denied"}"#, ErrorCode::AuthForbidden, 1),
        ("404 Not Found", JSON, r#"{"message":"not found"}"#, ErrorCode::SandboxNotFound, 1),
        ("200 OK", "Content-Type: text/html\r\n", html, ErrorCode::ProtoNotJson, 1),
        ("200 OK", JSON, "{\"id\":", ErrorCode::ProtoBadJson, 2),
        ("200 OK", JSON, "{} {}", ErrorCode::ProtoBadJson, 2),
        ("302 Found", "Location: https://login.example/\r\n", "", ErrorCode::ProtoNotJson, 1),
        ("429 Too Many Requests", "Retry-After: 1000000000\r\n", "", ErrorCode::RateLimited, 1),
        ("500 Internal Server Error", JSON, "{}", ErrorCode::PlatformUnavailable, 3),
        ("502 Bad Gateway", "", "", ErrorCode::PlatformUnavailable, 5),
    ];
    for (status, heads, body, code, requests) in table {
        let (proxy, client) = answers(vec![(status, heads, body)]).await;
        let error = client.get("x").await.unwrap_err();
        assert_eq!(error.code(), code, "{status}: {}", words(&error));
        assert_eq!(proxy.requests().len(), requests, "{status}");
    }
}

#[tokio::test]
async fn trouble_that_passes_is_not_told() {
    let busy = ("429 Too Many Requests", "Retry-After-authenticated: 0\r\n", "");
    let down = ("502 Bad Gateway", "", "");
    let (proxy, client) = answers(vec![busy, down, down, ("200 OK", JSON, SANDBOX)]).await;
    assert_eq!(client.get("n1").await.unwrap().id, "i1");
    assert_eq!(proxy.requests().len(), 4);
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_looked_up_by_name() {
    let (proxy, client) =
        answers(vec![("502 Bad Gateway", "", ""), ("200 OK", JSON, SANDBOX)]).await;
    let request = CreateSandbox { name: Some("n1".into()), ..CreateSandbox::default() };
    let creation = client.create(&request).await.unwrap();
    assert_eq!((creation.sandbox.id.as_str(), creation.created), ("i1", false));
    assert_eq!(proxy.requests(), ["POST /api/sandbox", "GET /api/sandbox/n1"]);
}

#[tokio::test]
async fn a_taken_name_is_adopted_although_the_look_up_by_name_is_stale() {
    let taken = ("409 Conflict", JSON, r#"{"message":"Sandbox with name n1 already exists"}"#);
    let stale = ("404 Not Found", JSON, r#"{"message":"Sandbox with ID or name n1 not found"}"#);
    let page = r#"{"items":[{"id":"i0","name":"n11"},{"id":"i1","name":"n1"}],"nextCursor":null}"#;
    let (proxy, client) =
        answers(vec![taken, stale, ("200 OK", JSON, page), ("200 OK", JSON, SANDBOX)]).await;
    let request = CreateSandbox { name: Some("n1".into()), ..CreateSandbox::default() };
    let creation = client.create(&request).await.unwrap();
    assert_eq!((creation.sandbox.id.as_str(), creation.created), ("i1", false));
    let asked = proxy.requests();
    assert_eq!(asked.len(), 4);
    assert_eq!(asked[3], "GET /api/sandbox/i1");
}

#[tokio::test]
async fn what_cannot_be_reached_is_said() {
    let error = client("http://127.0.0.1:1/api").get("x").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NetUnreachable);
    assert!(words(&error).contains("cannot reach `127.0.0.1:1`"), "{error}");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let error = client(&format!("https://{addr}/api")).get("x").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NetTls, "{}", words(&error));
}

/// Every recorded answer of the real service is read, the odd ones included.
#[test]
fn every_recorded_sandbox_and_page_is_understood() {
    use sandbox_coder::wire::sandbox::{Sandbox, SandboxPage};
    use sandbox_coder::wire::snapshot::{Snapshot, SnapshotPage};
    let recorded = include_str!("../../fixtures/wire/client/answers.jsonl");
    let mut counts = [0; 5];
    for line in recorded.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let body = value["body"].as_str().unwrap();
        let read = match value["kind"].as_str().unwrap() {
            "sandbox" => {
                counts[0] += 1;
                serde_json::from_str::<Sandbox>(body).map(|s| !s.id.is_empty())
            }
            "sandboxes" => {
                counts[1] += 1;
                serde_json::from_str::<SandboxPage>(body).map(|_| true)
            }
            "snapshot" => {
                counts[2] += 1;
                serde_json::from_str::<Snapshot>(body).map(|s| !s.id.is_empty())
            }
            "snapshots" => {
                counts[3] += 1;
                serde_json::from_str::<SnapshotPage>(body).map(|_| true)
            }
            _ => {
                counts[4] += 1;
                serde_json::from_str::<sandbox_coder::wire::error::ErrorBody>(body).map(|_| true)
            }
        };
        assert!(read.unwrap_or_else(|e| panic!("{e}: {body}")), "{body}");
    }
    assert!(counts.iter().all(|n| *n > 0), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_takes_longer_than_any_answer_goes_on_by_itself() {
    let place = Place::new().await;
    let toolbox = place.toolbox(place.addr).await;
    let mut script = Script::new();
    // The first call is cut off; what is begun then is begun once, however often it is asked after.
    script.step(
        "echo begun >>\"$HOME/begun\"; sleep 3; say done \"$(wc -l <\"$HOME/begun\")\"; exit 7",
    );
    let patience = Patience { call: Duration::from_secs(1), whole: Duration::from_secs(120) };
    let answer = toolbox.run_long(&script, patience).await.unwrap();
    assert_eq!(answer.exit_code, 7);
    let done = said(&answer.result).collect::<Vec<_>>();
    // On a slow machine the first call is cut off before it begins anything.
    assert!(matches!(done[..], [("done", "1" | "2")]), "{done:?}");
    let left = place.home.path().join(".sandbox-coder/tmp");
    assert!(std::fs::read_dir(left).unwrap().all(|e| !e.unwrap().path().is_dir()));
    // Nobody waits for ever.
    let mut stuck = Script::new();
    stuck.step("sleep 20");
    let patience = Patience { call: Duration::from_secs(1), whole: Duration::from_secs(2) };
    let error = toolbox.run_long(&stuck, patience).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::SyncIncomplete);
}
