//! Sandboxes: create, find, list, start, stop, remove, settings, links.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{create, list, query};
use crate::jail::spec::Network;
use crate::server::access;
use crate::server::life::Life;
use crate::server::problem::Problem;
use crate::server::registry;
use crate::server::store::{Record, Signed};
use crate::wire::sandbox::{PreviewUrl, Sandbox, Url};

type Shared = State<Arc<Life>>;

pub(super) fn routes() -> Router<Arc<Life>> {
    Router::new()
        .route("/sandbox", post(make).get(all))
        .route("/sandbox/paginated", get(numbered))
        .route("/sandbox/{key}", get(one).delete(remove))
        .route("/sandbox/{key}/start", post(start))
        .route("/sandbox/{key}/stop", post(stop))
        .route("/sandbox/{key}/archive", post(not_here))
        .route("/sandbox/{key}/recover", post(recover))
        .route("/sandbox/{key}/labels", put(labels))
        .route("/sandbox/{key}/network-settings", post(network))
        .route("/sandbox/{key}/autostop/{minutes}", post(auto_stop))
        .route("/sandbox/{key}/autoarchive/{minutes}", post(auto_archive))
        .route("/sandbox/{key}/autodelete/{minutes}", post(auto_delete))
        .route("/sandbox/{key}/ttl/{minutes}", post(ttl))
        .route("/sandbox/{key}/public/{flag}", post(public))
        .route("/sandbox/{key}/last-activity", post(active))
        .route("/sandbox/{key}/toolbox-proxy-url", get(toolbox))
        .route("/sandbox/{key}/build-logs-url", get(build_logs))
        .route("/sandbox/{key}/ports/{port}/preview-url", get(preview))
        .route("/sandbox/{key}/ports/{port}/signed-preview-url", get(signed))
        .route("/sandbox/{key}/ports/{port}/signed-preview-url/{token}/expire", post(expire))
}

fn answer(life: &Life, record: &Record) -> Json<Sandbox> {
    Json(life.on_wire(record))
}

async fn make(State(life): Shared, request: Request) -> Result<Json<Sandbox>, Problem> {
    let body = super::json(request).await?;
    let mut record = create::record(&body, life.clock.now())?;
    record.isolation = Some(life.force().isolation());
    can_block(&life, record.network_block_all)?;
    let record = life.clone().create(record).await?;
    Ok(answer(&life, &record))
}

async fn all(State(life): Shared, uri: Uri) -> Result<Json<Value>, Problem> {
    let page = list::page(life.all(), &uri)?;
    let item = |record| {
        serde_json::to_value(life.on_wire(record)).map(list::item).map_err(Problem::internal)
    };
    let items = page.records.iter().map(item).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(json!({ "items": items, "nextCursor": page.next })))
}

/// The older list, whose pages have numbers.
async fn numbered(State(life): Shared, uri: Uri) -> Result<Json<Value>, Problem> {
    let (records, number, total, pages) = list::numbered(life.all(), &uri)?;
    let items: Vec<Sandbox> = records.iter().map(|record| life.on_wire(record)).collect();
    Ok(Json(json!({ "items": items, "total": total, "page": number, "totalPages": pages })))
}

async fn one(State(life): Shared, Path(key): Path<String>) -> Result<Json<Sandbox>, Problem> {
    Ok(answer(&life, &life.get(&key)?))
}

async fn start(State(life): Shared, Path(key): Path<String>) -> Result<Json<Sandbox>, Problem> {
    let (made, here) = (life.get(&key)?.isolation, life.force().isolation());
    if let Some(made) = made.filter(|made| *made != here) {
        return Err(Problem::bad_request(format_args!(
            "the sandbox was made with isolation `{}`, and this server starts them with `{}`",
            made.name(),
            here.name()
        )));
    }
    let record = life.clone().start(&key).await?;
    Ok(answer(&life, &record))
}

async fn stop(State(life): Shared, Path(key): Path<String>) -> Result<Json<Sandbox>, Problem> {
    let record = life.clone().stop(&key).await?;
    Ok(answer(&life, &record))
}

async fn remove(State(life): Shared, Path(key): Path<String>) -> Result<Json<Sandbox>, Problem> {
    let record = life.clone().delete(&key).await?;
    Ok(answer(&life, &record))
}

async fn not_here(State(life): Shared, Path(key): Path<String>) -> Result<Response, Problem> {
    life.get(&key)?;
    Err(Problem::bad_request("local sandboxes are not archived; their files stay where they are"))
}

async fn recover(State(life): Shared, Path(key): Path<String>) -> Result<Response, Problem> {
    life.get(&key)?;
    Err(Problem::bad_request("Sandbox is not recoverable"))
}

async fn labels(
    State(life): Shared,
    Path(key): Path<String>,
    request: Request,
) -> Result<Json<Sandbox>, Problem> {
    let body = super::json(request).await?;
    let labels =
        body.as_object().map(|body| create::map(body, "labels")).transpose()?.unwrap_or_default();
    Ok(answer(&life, &life.change(&key, |record| record.labels = labels)?))
}

/// Nobody shall believe that a sandbox is cut off when it is not.
fn can_block(life: &Life, block: bool) -> Result<(), Problem> {
    if block && life.force().network(Network::None) != Network::None {
        return Err(Problem::bad_request(
            "networkBlockAll needs isolated sandboxes, and this server has none",
        ));
    }
    Ok(())
}

/// A sandbox gets its network when it starts.
async fn network(
    State(life): Shared,
    Path(key): Path<String>,
    request: Request,
) -> Result<Json<Sandbox>, Problem> {
    let record = life.get(&key)?;
    let body = super::json(request).await?;
    let Some(block) = create::network(&body)? else {
        return Err(Problem::bad_request("at least one network setting must be given"));
    };
    can_block(&life, block)?;
    if block == record.network_block_all {
        return Ok(answer(&life, &record));
    }
    if record.state != registry::State::Stopped {
        return Err(Problem::bad_request(
            "the network of a local sandbox can only be changed while it is stopped",
        ));
    }
    Ok(answer(&life, &life.change(&key, |record| record.network_block_all = block)?))
}

fn minutes(text: &str) -> Result<i64, Problem> {
    text.parse().map_err(|_| Problem::bad_request("Validation failed (numeric string is expected)"))
}

async fn auto_stop(
    State(life): Shared,
    Path((key, text)): Path<(String, String)>,
) -> Result<Json<Sandbox>, Problem> {
    let minutes = create::stop_interval(minutes(&text)?)?;
    Ok(answer(&life, &life.change(&key, |record| record.auto_stop = minutes)?))
}

async fn auto_archive(
    State(life): Shared,
    Path((key, text)): Path<(String, String)>,
) -> Result<Json<Sandbox>, Problem> {
    let minutes = create::archive_interval(minutes(&text)?)?;
    Ok(answer(&life, &life.change(&key, |record| record.auto_archive = minutes)?))
}

async fn auto_delete(
    State(life): Shared,
    Path((key, text)): Path<(String, String)>,
) -> Result<Json<Sandbox>, Problem> {
    let minutes = minutes(&text)?.max(-1);
    Ok(answer(&life, &life.change(&key, |record| record.auto_delete = minutes)?))
}

async fn ttl(
    State(life): Shared,
    Path((key, text)): Path<(String, String)>,
) -> Result<Json<Sandbox>, Problem> {
    let minutes = minutes(&text)?.max(0);
    Ok(answer(&life, &life.change(&key, |record| record.ttl = minutes)?))
}

async fn public(
    State(life): Shared,
    Path((key, flag)): Path<(String, String)>,
) -> Result<Json<Sandbox>, Problem> {
    Ok(answer(&life, &life.change(&key, |record| record.public = flag == "true")?))
}

async fn active(State(life): Shared, Path(key): Path<String>) -> Result<Response, Problem> {
    life.touch(&life.get(&key)?.id);
    Ok((StatusCode::CREATED, super::empty()).into_response())
}

async fn toolbox(State(life): Shared, Path(key): Path<String>) -> Result<Json<Url>, Problem> {
    life.get(&key)?;
    Ok(Json(Url { url: life.toolbox_base.clone() }))
}

async fn build_logs(State(life): Shared, Path(key): Path<String>) -> Result<Response, Problem> {
    life.get(&key)?;
    Err(Problem::not_found(format_args!("Sandbox {key} has no build info")))
}

fn port(text: &str) -> Result<u16, Problem> {
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| Problem::bad_request("Invalid port"))
}

async fn preview(
    State(life): Shared,
    Path((key, text)): Path<(String, String)>,
) -> Result<Json<PreviewUrl>, Problem> {
    let record = life.get(&key)?;
    let url = format!("http://{}-{}.localhost:{}", port(&text)?, record.id, life.port);
    Ok(Json(PreviewUrl { sandbox_id: record.id, url, token: record.token }))
}

async fn signed(
    State(life): Shared,
    Path((key, text)): Path<(String, String)>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let port = port(&text)?;
    let seconds = query(&uri, "expiresInSeconds").map_or(Ok(60), |text| text.parse::<i64>());
    let seconds = seconds.ok().filter(|seconds| (1..=86400).contains(seconds));
    let seconds = seconds.ok_or_else(|| {
        Problem::bad_request("expiresInSeconds must be between 1 second and 24 hours")
    })?;
    let token = access::random(16);
    let now = life.clock.now();
    let entry = Signed { token: token.clone(), port, until: now + seconds * 1000 };
    let record = life.change(&key, |record| {
        record.signed.retain(|signed| signed.until > now);
        record.signed.push(entry);
    })?;
    let url = format!("http://{port}-{token}.localhost:{}", life.port);
    Ok(Json(json!({ "sandboxId": record.id, "port": port, "token": token, "url": url })))
}

async fn expire(
    State(life): Shared,
    Path((key, _, token)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    life.change(&key, |record| record.signed.retain(|signed| signed.token != token))?;
    Ok(StatusCode::OK.into_response())
}
