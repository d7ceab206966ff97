//! From the body of a create to a record, or to the sentence that says what is wrong with it.

use serde_json::{Map, Value};

use super::snapshots::{ONLY_HOST, is_known};
use crate::server::problem::Problem;
use crate::server::store::{REGION, Record};
use crate::wire::sandbox::StringMap;

/// Longest archive interval, in minutes; 0 asks for it.
pub(super) const MAX_ARCHIVE: i64 = 43200;

/// Reads and checks the body.
pub(super) fn record(body: &Value, now: i64) -> Result<Record, Problem> {
    let nothing = Map::new();
    let body = body.as_object().unwrap_or(&nothing);
    source(body)?;
    let id = uuid::Uuid::new_v4().to_string();
    let name = name(body)?.unwrap_or_else(|| id.clone());
    let mut record = Record::new(id, name, now);
    record.labels = map(body, "labels")?;
    record.env = map(body, "env")?;
    record.tools = map(body, "hostEnvironment")?;
    record.public = flag(body, "public")?;
    record.network_block_all = flag(body, "networkBlockAll")?;
    if let Some(minutes) = number(body, "autoStopInterval")? {
        record.auto_stop = stop_interval(minutes)?;
    }
    if let Some(minutes) = number(body, "autoArchiveInterval")? {
        record.auto_archive = archive_interval(minutes)?;
    }
    if let Some(minutes) = number(body, "autoDeleteInterval")? {
        record.auto_delete = minutes.max(-1);
    }
    if let Some(minutes) = number(body, "ttlMinutes")? {
        record.ttl = minutes.max(0);
    }
    Ok(record)
}

/// What it is made of: the host's tools and nothing else.
fn source(body: &Map<String, Value>) -> Result<(), Problem> {
    let given = |key: &str| body.get(key).filter(|value| !value.is_null());
    if given("buildInfo").is_some() {
        return Err(Problem::bad_request(ONLY_HOST));
    }
    match given("snapshot") {
        None => {}
        Some(Value::String(key)) if key.is_empty() || is_known(key) => {}
        Some(Value::String(key)) => {
            return Err(Problem::bad_request(format_args!(
                "Snapshot {key} not found: {ONLY_HOST}"
            )));
        }
        Some(_) => return Err(Problem::bad_request("snapshot must be a string")),
    }
    for key in ["cpu", "gpu", "memory", "disk"] {
        if number(body, key)?.unwrap_or(0) != 0 {
            return Err(Problem::bad_request(
                "Cannot specify Sandbox resources when using a snapshot",
            ));
        }
    }
    match given("target") {
        None => {}
        Some(Value::String(region)) if region.is_empty() || region == REGION => {}
        // A client configured for the hosted service names its region with every call.
        Some(Value::String(region)) if region == "us" || region == "eu" => {}
        Some(_) => return Err(Problem::not_found("Region not found")),
    }
    if given("volumes").and_then(Value::as_array).is_some_and(|volumes| !volumes.is_empty()) {
        return Err(Problem::not_found("Volume not found: local sandboxes have no volumes"));
    }
    no_lists(body)?;
    if given("linkedSandbox").is_some() {
        return Err(Problem::bad_request("linked sandboxes are not available locally"));
    }
    Ok(())
}

fn no_lists(body: &Map<String, Value>) -> Result<(), Problem> {
    for key in ["networkAllowList", "domainAllowList", "outboundProxyUrl"] {
        if body.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty()) {
            // Ignoring it would leave open what the caller wants closed.
            let message = format!("{key} is not available for local sandboxes; networkBlockAll is");
            return Err(Problem::bad_request(message));
        }
    }
    Ok(())
}

/// Whether a body of network settings blocks everything; `None` when it says nothing of it.
pub(super) fn network(body: &Value) -> Result<Option<bool>, Problem> {
    let nothing = Map::new();
    let body = body.as_object().unwrap_or(&nothing);
    no_lists(body)?;
    let said = body.get("networkBlockAll").is_some_and(|value| !value.is_null());
    Ok(if said { Some(flag(body, "networkBlockAll")?) } else { None })
}

fn name(body: &Map<String, Value>) -> Result<Option<String>, Problem> {
    const RULE: &str = "name must not contain HTML tags, URLs, or control characters";
    match body.get("name") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if name.is_empty() => Ok(None),
        Some(Value::String(name)) => {
            let bad = name.contains(char::is_control)
                || name.contains("://")
                || name.contains(['<', '>']);
            if bad { Err(Problem::bad_request(RULE)) } else { Ok(Some(name.clone())) }
        }
        Some(_) => Err(Problem::bad_request(format_args!("{RULE}, name must be a string"))),
    }
}

/// A map of strings. Other values would break the list for strict clients, so they are refused here.
pub(super) fn map(body: &Map<String, Value>, key: &str) -> Result<StringMap, Problem> {
    let Some(value) = body.get(key).filter(|value| !value.is_null()) else {
        return Ok(StringMap::new());
    };
    let Some(pairs) = value.as_object() else {
        return Err(Problem::bad_request(format_args!("{key} must be an object")));
    };
    let text = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Ok((name.clone(), text.clone())),
        _ => Err(Problem::bad_request(format_args!("{key}.{name} must be a string"))),
    };
    pairs.iter().map(text).collect()
}

fn flag(body: &Map<String, Value>, key: &str) -> Result<bool, Problem> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(Problem::bad_request(format_args!("{key} must be a boolean value"))),
    }
}

fn number(body: &Map<String, Value>, key: &str) -> Result<Option<i64>, Problem> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(|| {
            Problem::bad_request(format_args!(
                "{key} must be a number conforming to the specified constraints"
            ))
        }),
    }
}

/// Minutes of idleness; 0 is never.
pub(super) fn stop_interval(minutes: i64) -> Result<i64, Problem> {
    if minutes < 0 {
        return Err(Problem::bad_request("Auto-stop interval must be non-negative"));
    }
    Ok(minutes)
}

/// Minutes; 0 is the maximum.
pub(super) fn archive_interval(minutes: i64) -> Result<i64, Problem> {
    match minutes {
        ..0 => Err(Problem::bad_request("Auto-archive interval must be non-negative")),
        0 => Ok(MAX_ARCHIVE),
        _ => Ok(minutes.min(MAX_ARCHIVE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_body_says_or_why_not() {
        let good = [
            json!({}),
            json!({"name": null, "snapshot": "", "cpu": 0, "unknown": 1}),
            json!({"name": "has space/slash é", "snapshot": "host", "volumes": []}),
            json!({"autoStopInterval": 0, "autoDeleteInterval": -5, "autoArchiveInterval": 0}),
        ];
        for body in good {
            assert!(record(&body, 0).is_ok(), "{body}");
        }
        let bad = [
            (json!({"snapshot": "x"}), 400),
            (json!({"buildInfo": {}}), 400),
            (json!({"target": "mars"}), 404),
            (json!({"autoStopInterval": -1}), 400),
            (json!({"autoStopInterval": 1.5}), 400),
            (json!({"autoStopInterval": "5"}), 400),
            (json!({"name": 5}), 400),
            (json!({"name": "a\nb"}), 400),
            (json!({"labels": "x"}), 400),
            (json!({"labels": {"a": 1}}), 400),
            (json!({"env": ["x"]}), 400),
            (json!({"cpu": 2}), 400),
            (json!({"volumes": [{"volumeId": "v"}]}), 404),
            (json!({"networkAllowList": "10.0.0.0/8"}), 400),
        ];
        for (body, status) in bad {
            assert_eq!(record(&body, 0).unwrap_err().status.as_u16(), status, "{body}");
        }
        let record =
            record(&json!({"autoArchiveInterval": 99999999, "autoDeleteInterval": -5}), 0).unwrap();
        assert_eq!((record.auto_archive, record.auto_delete), (MAX_ARCHIVE, -1));
        assert_eq!(record.name, record.id);
    }
}
