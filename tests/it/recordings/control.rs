//! The control plane: status, presence and type of every recorded key.

#![allow(clippy::unwrap_used, reason = "a test ends where its assumption does")]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::server::{KEY, TestServer};

/// Where we answer otherwise on purpose: file, number, our status, why.
const OTHERWISE: &[(&str, u64, u16, &str)] = &[
    ("12", 4, 200, "a client configured for the hosted service names its region with every call"),
    ("12", 6, 400, "a fraction of a minute is the caller's mistake, not ours"),
    ("12", 12, 400, "a label that is no string would break every list"),
    ("12", 24, 400, "nothing is built locally"),
    ("12", 30, 400, "a body of another type is refused instead of making a sandbox of defaults"),
    ("12", 31, 400, "as 30"),
    ("14", 9, 404, "outside of `/api` there is no dashboard"),
    ("14", 10, 404, "as 9"),
    ("14", 11, 404, "as 9"),
    ("14", 14, 404, "no page of another origin may call us, so there is no preflight"),
    ("14", 17, 200, "a name is as good as an id"),
    ("15", 14, 400, "labels that are no object are the caller's mistake"),
    ("16", 7, 200, "Daytona remembers for ten seconds that a name was free"),
    ("16", 15, 200, "as 7"),
    ("21", 5, 400, "as 12/12"),
    ("21", 7, 200, "the status of the specification"),
    ("21", 8, 200, "as 7"),
    ("21", 10, 400, "what is no number is the caller's mistake"),
    ("21", 11, 200, "as 7"),
    ("21", 12, 200, "as 7"),
    ("21", 13, 200, "as 7"),
    ("21", 14, 200, "as 7"),
    ("21", 15, 200, "as 7"),
    ("21", 17, 200, "newer than the recorded version"),
    ("21", 18, 200, "as 7"),
    ("21", 19, 200, "as 7"),
    ("21", 20, 200, "as 7"),
    ("21", 22, 404, "nothing is backed up"),
    ("21", 26, 200, "as 7"),
    ("21", 27, 400, "a sandbox without isolation cannot be cut off"),
    ("24", 3, 404, "a delete is over when it is answered"),
    ("24", 5, 404, "as 3"),
    ("24", 6, 401, "an unknown sandbox is refused like a wrong key"),
    ("24", 11, 401, "as 6"),
    ("25", 5, 404, "as 24/3"),
    ("22", 4, 400, "`NaN` is no port"),
    ("22", 11, 200, "the status of the specification"),
    ("22", 12, 200, "as 11"),
    ("22", 13, 404, "no SSH gateway"),
    ("22", 14, 404, "as 13"),
    ("22", 15, 404, "as 13"),
    ("22", 16, 404, "as 13"),
    ("19", 6, 400, "as 12/30"),
    ("23", 1, 404, "no class of sandbox here can pause, so there is no such route"),
    ("23", 7, 404, "as 1"),
    ("23", 8, 404, "as 1"),
    ("23", 10, 404, "no snapshot is made of a sandbox"),
    ("23", 13, 404, "as 10"),
    ("23", 18, 404, "no volumes"),
    ("23", 20, 404, "no telemetry"),
    ("23", 21, 404, "no object storage"),
    ("50", 18, 404, "one port for all: what is no sandbox's is the control plane's"),
    ("50", 22, 404, "as 18"),
    ("50", 23, 200, "as 18"),
    ("50", 25, 401, "as 14/14"),
    ("50", 27, 404, "the route of clients before the proxy"),
];

/// Asked while a stop or a start was under way. Ours is over when it is answered.
const IN_BETWEEN: &[(&str, u64)] = &[("20", 5), ("20", 6), ("20", 7), ("20", 15), ("20", 16)];

/// The id a recorded body begins with; long bodies were cut when they were recorded.
fn recorded_id(text: &str) -> Option<String> {
    text.strip_prefix(r#"{"id":""#)?.split('"').next().map(str::to_owned)
}

/// The snapshot of the recorded sandboxes; ours are made of the host.
const SNAPSHOT: &str = "127.0.0.1:6000/library/sandbox:0.5.0";

/// Asks a server everything that was recorded. `before` are the names of sandboxes that were there.
fn replay(file: &str, before: &[&str]) {
    let path = format!("{}/tests/fixtures/wire/control/{file}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let number = &file[..2];
    let server = TestServer::start();
    let made: Vec<String> = before
        .iter()
        .map(|name| {
            let body = json!({ "name": name, "labels": { "team": "x" }, "public": true });
            server.create(&body.to_string())["id"].as_str().unwrap().to_owned()
        })
        .collect();
    let token = made.first().map_or_else(String::new, |id| {
        let preview = server.call("GET", &format!("/api/sandbox/{id}/ports/22222/preview-url"), "");
        preview.json()["token"].as_str().unwrap().to_owned()
    });
    // Theirs and ours.
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| recorded[key].as_str().unwrap_or_default().to_owned();
        let n = recorded["n"].as_u64().unwrap();
        let expected_body: Value = serde_json::from_str(&text("response")).unwrap_or_default();
        let theirs = recorded_id(&text("response"));
        if let (Some(theirs), Some(ours), true) = (&theirs, made.first(), ids.is_empty()) {
            ids.insert(theirs.clone(), ours.clone());
        }
        if IN_BETWEEN.contains(&(number, n)) {
            continue;
        }
        let ours =
            |text: String| ids.iter().fold(text, |text, (theirs, ours)| text.replace(theirs, ours));
        let target = ours(text("path"));
        let kind = text("type");
        let fill = |text: &str| {
            let sandbox = made.first().map_or("", String::as_str);
            text.replace("{sandbox}", sandbox).replace("{token}", &token)
        };
        let mut headers = format!("Host: {}\r\n", server.addr);
        match text("auth").as_str() {
            "" => {}
            "Bearer ***" => headers += &format!("Authorization: Bearer {KEY}\r\n"),
            wrong => headers += &format!("Authorization: {wrong}\r\n"),
        }
        for (name, value) in recorded["headers"].as_object().into_iter().flatten() {
            headers += &format!("{name}: {}\r\n", fill(value.as_str().unwrap()));
        }
        let request = match recorded["size"].as_u64() {
            Some(size) => body_of(size as usize),
            None => text("request").replace(SNAPSHOT, "host"),
        };
        let answer =
            server.raw_with_type(&text("method"), &fill(&target), &headers, &kind, &request);
        let recorded_status = recorded["status"].as_u64().unwrap() as u16;
        let otherwise = OTHERWISE.iter().find(|(f, m, ..)| *f == number && *m == n);
        let expected = otherwise.map_or(recorded_status, |(_, _, status, _)| *status);
        if answer.status != expected {
            wrong.push(format!(
                "{number}/{n}: {} instead of {expected}: {}",
                answer.status,
                answer.text()
            ));
        } else if otherwise.is_none() && !text("response").is_empty() {
            differences(&format!("{number}/{n}"), &expected_body, &answer.json(), &mut wrong);
        }
        if let (Some(theirs), Some(ours)) = (theirs, answer.json()["id"].as_str()) {
            ids.insert(theirs, ours.to_owned());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A body of this size; the recorded one was not kept.
fn body_of(size: usize) -> String {
    let around = json!({ "snapshot": "nope", "labels": { "x": "" } }).to_string().len();
    json!({ "snapshot": "nope", "labels": { "x": "y".repeat(size - around) } }).to_string()
}

/// Every recorded key is there and has the recorded type, or is `null` on one side.
fn differences(place: &str, recorded: &Value, ours: &Value, wrong: &mut Vec<String>) {
    match (recorded, ours) {
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Object(recorded), Value::Object(ours)) => {
            for (key, value) in recorded {
                // Free maps: their keys are the caller's.
                if ["labels", "env"].contains(&key.as_str()) {
                    continue;
                }
                match ours.get(key) {
                    Some(other) => differences(&format!("{place}.{key}"), value, other, wrong),
                    None => wrong.push(format!("{place}.{key} is missing")),
                }
            }
        }
        // One element stands for all: how many there are differs.
        (Value::Array(recorded), Value::Array(ours)) => {
            if let (Some(recorded), Some(ours)) = (recorded.first(), ours.first()) {
                differences(&format!("{place}[0]"), recorded, ours, wrong);
            }
        }
        _ if std::mem::discriminant(recorded) == std::mem::discriminant(ours) => {}
        _ => wrong.push(format!("{place}: {ours} where {recorded} was recorded")),
    }
}

#[test]
fn create_and_read_have_the_recorded_shape() {
    replay("10-create-default", &[]);
}

#[test]
fn odd_creates_are_answered_as_recorded() {
    replay("12-create-errors", &["a1"]);
}

#[test]
fn lookups_and_unknown_routes_are_answered_as_recorded() {
    replay("14-get-and-404", &["a1"]);
}

#[test]
fn previews_are_answered_as_recorded() {
    replay("22-preview-ssh", &["lc"]);
}

#[test]
fn every_kind_of_create_is_answered_as_recorded() {
    replay("11-create-variants", &[]);
}

#[test]
fn of_creates_with_one_name_the_first_wins_as_recorded() {
    replay("13-create-race-same-name", &[]);
}

#[test]
fn lists_are_answered_as_recorded() {
    replay("15-list", &["a1", "b1", "c1"]);
}

#[test]
fn a_name_is_free_again_as_recorded() {
    replay("16-recreate-same-name", &[]);
}

#[test]
fn stops_and_starts_are_answered_as_recorded() {
    replay("20-stop-start", &[]);
}

#[test]
fn settings_are_answered_as_recorded() {
    replay("21-settings", &["lc"]);
}

#[test]
fn deletes_are_answered_as_recorded() {
    replay("24-delete", &["lc"]);
}

#[test]
fn the_end_of_an_ephemeral_sandbox_is_as_recorded() {
    replay("25-ephemeral-stop", &[]);
}

#[test]
fn snapshots_are_listed_as_recorded() {
    replay("32-snapshot-list", &[]);
}

#[test]
fn who_asks_and_what_for_is_answered_as_recorded() {
    replay("01-config-and-identity", &[]);
}

#[test]
fn wrong_credentials_are_answered_as_recorded() {
    replay("02-auth-errors", &["a1"]);
}

#[test]
fn large_and_odd_bodies_are_answered_as_recorded() {
    replay("19-body-limits", &[]);
}

#[test]
fn what_a_class_of_sandbox_cannot_do_is_answered_as_recorded() {
    replay("23-conditional-operations", &["lc"]);
}

#[test]
fn the_proxy_asks_for_credentials_as_recorded() {
    replay("50-proxy-auth", &["tb1"]);
}
