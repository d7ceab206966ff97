//! Snapshots: there is one, the host's own tools.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::list::one_of;
use super::query;
use crate::server::clock;
use crate::server::life::Life;
use crate::server::problem::Problem;
use crate::server::store::{ORGANIZATION, REGION, SNAPSHOT};
use crate::wire::snapshot::Snapshot;

/// Why nothing else can be had here.
pub(super) const ONLY_HOST: &str = "local sandboxes are made from the snapshot `host`, this machine's own tools; images and Dockerfiles need Daytona";

const ID: &str = "00000000-0000-4000-8000-000000000002";

pub(super) fn routes() -> Router<Arc<Life>> {
    Router::new()
        .route("/snapshots", get(list).post(refuse))
        .route("/snapshots/{key}", get(one).delete(keep))
}

/// Whether a create may name this snapshot.
pub(super) fn is_known(key: &str) -> bool {
    key == SNAPSHOT || key == ID
}

fn host(life: &Life) -> Snapshot {
    let time = clock::text(life.started);
    Snapshot {
        id: ID.to_owned(),
        organization_id: Some(ORGANIZATION.to_owned()),
        general: true,
        name: SNAPSHOT.to_owned(),
        image_name: Some(String::new()),
        state: "active".to_owned(),
        cpu: 1,
        mem: 1,
        disk: 3,
        created_at: time.clone(),
        updated_at: time,
        ..Snapshot::default()
    }
}

/// The snapshot as Daytona tells it, with what its own clients expect and ours does not read.
fn on_wire(life: &Life) -> Result<Value, Problem> {
    let mut value = serde_json::to_value(host(life)).map_err(Problem::internal)?;
    value["regionIds"] = json!([REGION]);
    value["initialRunnerId"] = Value::Null;
    value["ref"] = json!("");
    value["sandboxClass"] = json!("container");
    Ok(value)
}

async fn list(State(life): State<Arc<Life>>, uri: Uri) -> Result<Json<Value>, Problem> {
    one_of(&uri, "sort", &["name", "state", "lastUsedAt", "createdAt"], "lastUsedAt")?;
    one_of(&uri, "order", &["asc", "desc"], "desc")?;
    let number = |key, default| match query(&uri, key).map(|text| text.parse::<i64>()) {
        None => Ok(default),
        Some(Ok(n)) if n >= 1 && (key != "limit" || n <= 200) => Ok(n),
        Some(_) => Err(Problem::bad_request(format_args!("{key} must not be less than 1"))),
    };
    let (page, _) = (number("page", 1)?, number("limit", 100)?);
    let name = query(&uri, "name").unwrap_or_default().to_lowercase();
    let found = SNAPSHOT.contains(&name) && query(&uri, "sourceSandboxId").is_none();
    let total = i64::from(found);
    let items = if found && page == 1 { vec![on_wire(&life)?] } else { Vec::new() };
    Ok(Json(json!({ "items": items, "total": total, "page": page, "totalPages": total })))
}

async fn one(
    State(life): State<Arc<Life>>,
    Path(key): Path<String>,
) -> Result<Json<Value>, Problem> {
    if is_known(&key) { Ok(Json(on_wire(&life)?)) } else { Err(unknown(&key)) }
}

fn unknown(key: &str) -> Problem {
    Problem::not_found(format_args!("Snapshot with name {key} not found"))
}

async fn refuse() -> Problem {
    Problem::bad_request(ONLY_HOST)
}

async fn keep(Path(key): Path<String>) -> Problem {
    if is_known(&key) {
        return Problem::new(StatusCode::FORBIDDEN, "the snapshot `host` cannot be deleted");
    }
    if uuid::Uuid::parse_str(&key).is_err() {
        return Problem::bad_request("Validation failed (uuid is expected)");
    }
    unknown(&key)
}
