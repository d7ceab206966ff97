//! Which TCP ports somebody listens on.

use std::collections::BTreeSet;

use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::error::Problem;
use super::server::Shared;

/// The ports that may be asked for one by one.
const ASKABLE: std::ops::RangeInclusive<u16> = 3000..=9999;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/port", get(list)).route("/port/{port}/in-use", get(in_use))
}

async fn list() -> Json<Value> {
    Json(json!({ "ports": listening() }))
}

async fn in_use(Path(port): Path<String>) -> Result<Json<Value>, Problem> {
    let port = port.parse().ok().filter(|port| ASKABLE.contains(port));
    let port: u16 = port.ok_or_else(|| {
        let (first, last) = ASKABLE.into_inner();
        Problem::bad_request(format_args!("port must be between {first} and {last}"))
    })?;
    Ok(Json(json!({ "isInUse": listening().contains(&port) })))
}

/// Listening ports of both address families. Read from the kernel's table, so that no server sees a
/// connection which is only a look.
fn listening() -> BTreeSet<u16> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(listener).collect::<Vec<_>>())
        .collect()
}

/// The port of a line whose state is LISTEN.
fn listener(line: &str) -> Option<u16> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
    let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    (state == "0A").then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_told_from_connections() {
        let listens = "   0: 0100007F:0D80 00000000:0000 0A 00000000:00000000 00:00000000 00000000";
        let talks = "   1: 0100007F:0D80 0100007F:9C40 01 00000000:00000000 00:00000000 00000000";
        assert_eq!(listener(listens), Some(3456));
        assert_eq!(listener(talks), None);
        assert_eq!(listener("  sl  local_address rem_address   st"), None);
    }
}
