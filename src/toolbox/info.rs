//! What a client asks about the sandbox itself.

use std::collections::BTreeMap;
use std::ffi::OsString;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::body;
use super::environment::is_name;
use super::error::{Problem, blocking};
use super::paths::shown;
use super::server::Shared;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/version", get(version))
        .route("/user-home-dir", get(home))
        .route("/project-dir", get(home))
        .route("/work-dir", get(work_dir))
        .route("/init", post(init))
        .route("/env", post(change_environment))
        .route("/system/metrics", get(metrics))
}

/// Our own version: nothing reads more out of it than that a toolbox answers.
async fn version() -> Json<Value> {
    Json(json!({ "version": concat!("v", env!("CARGO_PKG_VERSION")) }))
}

async fn home(State(toolbox): State<Shared>) -> Json<Value> {
    Json(json!({ "dir": shown(&toolbox.home) }))
}

async fn work_dir(State(toolbox): State<Shared>) -> Json<Value> {
    Json(json!({ "dir": shown(&toolbox.work_dir) }))
}

/// Daytona's runner hands over a telemetry token here. There is no telemetry.
async fn init() -> Json<Value> {
    Json(json!({ "message": "nothing to initialize" }))
}

/// Body of `POST /env`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Changes {
    set: Option<BTreeMap<String, String>>,
    unset: Option<Vec<String>>,
    unset_value_prefix: Option<String>,
}

async fn change_environment(
    State(toolbox): State<Shared>,
    body::Json(changes): body::Json<Changes>,
) -> Result<Json<BTreeMap<String, String>>, Problem> {
    let set = changes.set.unwrap_or_default();
    if let Some((name, _)) = set.iter().find(|(n, v)| !is_name(n) || v.contains('\0')) {
        return Err(Problem::bad_request(format_args!("invalid environment variable: '{name}'")));
    }
    let unset = changes.unset.unwrap_or_default();
    let prefix = changes.unset_value_prefix.filter(|prefix| !prefix.is_empty());
    toolbox.change_variables(|variables| {
        variables.retain(|name, value| {
            let named = unset.iter().any(|u| OsString::from(u) == *name);
            let begins = |p: &String| value.to_string_lossy().starts_with(p);
            !named && !prefix.as_ref().is_some_and(begins)
        });
        variables.extend(set.into_iter().map(|(n, v)| (n.into(), v.into())));
    });
    let text = |s: OsString| s.to_string_lossy().into_owned();
    Ok(Json(toolbox.variables().into_iter().map(|(n, v)| (text(n), text(v))).collect()))
}

/// Answer of `GET /system/metrics`; sizes in bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    timestamp: String,
    timestamp_unix: i64,
    cpu_count: usize,
    cpu_used_pct: f64,
    mem_total: u64,
    mem_used: u64,
    mem_cache: u64,
    disk_total: u64,
    disk_used: u64,
    disk_free: u64,
}

async fn metrics(State(toolbox): State<Shared>) -> Result<Json<Metrics>, Problem> {
    let before = cpu_times();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let (busy, total) = match (before, cpu_times()) {
        (Some(a), Some(b)) => (b.0.saturating_sub(a.0), b.1.saturating_sub(a.1)),
        _ => (0, 0),
    };
    let cpu_used_pct = if total == 0 { 0.0 } else { busy as f64 * 100.0 / total as f64 };
    let disk =
        blocking(move || rustix::fs::statvfs(&toolbox.work_dir).map_err(Problem::internal)).await?;
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = |name| memory_field(&memory, name);
    let now = jiff::Timestamp::now();
    Ok(Json(Metrics {
        timestamp: now.to_string(),
        timestamp_unix: now.as_second(),
        cpu_count: std::thread::available_parallelism().map_or(1, usize::from),
        cpu_used_pct,
        mem_total: memory("MemTotal"),
        mem_used: memory("MemTotal").saturating_sub(memory("MemAvailable")),
        mem_cache: memory("Cached"),
        disk_total: disk.f_blocks * disk.f_frsize,
        disk_used: disk.f_blocks.saturating_sub(disk.f_bfree) * disk.f_frsize,
        disk_free: disk.f_bavail * disk.f_frsize,
    }))
}

/// Busy and total ticks of all processors.
fn cpu_times() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let times: Vec<u64> =
        text.lines().next()?.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest times are inside user and nice.
    let total: u64 = times.iter().take(8).sum();
    let idle: u64 = times.iter().skip(3).take(2).sum();
    Some((total.saturating_sub(idle), total))
}

fn memory_field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kibibytes = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "MemTotal:       16 kB\nMemFree:  3 kB\nCached:  2 kB\n";
        assert_eq!(memory_field(text, "MemTotal"), 16384);
        assert_eq!(memory_field(text, "Cached"), 2048);
        assert_eq!(memory_field(text, "Nope"), 0);
    }
}
