//! The control plane: status, presence and type of every recorded key.

#![allow(clippy::unwrap_used, reason = "a test ends where its assumption does")]

use serde_json::Value;

use crate::support::server::TestServer;

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
    ("22", 4, 400, "`NaN` is no port"),
    ("22", 11, 200, "the status of the specification"),
    ("22", 12, 200, "as 11"),
    ("22", 13, 404, "no SSH gateway"),
    ("22", 14, 404, "as 13"),
    ("22", 15, 404, "as 13"),
    ("22", 16, 404, "as 13"),
];

fn replay(file: &str, name: &str) {
    let path = format!("{}/tests/fixtures/wire/control/{file}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let number = &file[..2];
    let server = TestServer::start();
    let mut ours = String::new();
    if number != "10" {
        let made = server.create(&format!(r#"{{"name":"{name}"}}"#));
        ours = made["id"].as_str().unwrap().to_owned();
    }
    let mut theirs = String::from("no id yet");
    let mut wrong = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| recorded[key].as_str().unwrap_or_default().to_owned();
        let n = recorded["n"].as_u64().unwrap();
        let expected_body: Value = serde_json::from_str(&text("response")).unwrap_or_default();
        if let Some(id) = expected_body["id"].as_str().filter(|_| theirs == "no id yet") {
            theirs = id.to_owned();
        }
        let target = text("path").replace(&theirs, &ours);
        let kind = text("type");
        let mut headers = format!("Host: {}\r\n", server.addr);
        if text("auth").starts_with("Bearer") {
            headers += &format!("Authorization: Bearer {}\r\n", crate::support::server::KEY);
        }
        let answer =
            server.raw_with_type(&text("method"), &target, &headers, &kind, &text("request"));
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
        if number == "10" && n == 1 {
            ours = answer.json()["id"].as_str().unwrap().to_owned();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
        _ if std::mem::discriminant(recorded) == std::mem::discriminant(ours) => {}
        _ => wrong.push(format!("{place}: {ours} where {recorded} was recorded")),
    }
}

#[test]
fn create_and_read_have_the_recorded_shape() {
    replay("10-create-default", "unused");
}

#[test]
fn odd_creates_are_answered_as_recorded() {
    replay("12-create-errors", "a1");
}

#[test]
fn lookups_and_unknown_routes_are_answered_as_recorded() {
    replay("14-get-and-404", "a1");
}

#[test]
fn previews_are_answered_as_recorded() {
    replay("22-preview-ssh", "lc");
}
