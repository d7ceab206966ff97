//! What the server says of itself: configuration, health, region, key.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::jail::spec::Network;
use crate::server::clock;
use crate::server::life::Life;
use crate::server::problem::Problem;
use crate::server::store::{API_VERSION, REGION, SNAPSHOT};

pub(super) fn open() -> Router<Arc<Life>> {
    Router::new()
        .route("/config", get(config))
        .route("/health", get(health))
        .route("/shared-regions", get(regions))
}

pub(super) fn guarded() -> Router<Arc<Life>> {
    Router::new()
        .route("/health/ready", get(health))
        .route("/regions", get(regions))
        .route("/api-keys/current", get(key))
        // Daytona refuses an API key on these: they are for people who logged in.
        .route("/api-keys", get(for_people))
        .route("/organizations", get(for_people))
        .route("/organizations/{id}/usage", get(for_people))
        .route("/users/me", get(for_people))
        .route("/volumes", get(volumes))
}

pub(in crate::server) async fn health() -> Json<Value> {
    Json(
        json!({ "status": "ok", "product": "sandbox-coder", "productVersion": env!("CARGO_PKG_VERSION") }),
    )
}

async fn config(State(life): State<Arc<Life>>) -> Json<Value> {
    Json(json!({
        "version": API_VERSION,
        "oidc": { "issuer": "", "clientId": "", "audience": "" },
        "linkedAccountsEnabled": false,
        "announcements": {},
        "proxyTemplateUrl": format!("http://{{{{PORT}}}}-{{{{sandboxId}}}}.localhost:{}", life.port),
        "proxyToolboxUrl": life.toolbox_base,
        "defaultSnapshot": SNAPSHOT,
        "dashboardUrl": "",
        "maxAutoArchiveInterval": 43200,
        "maintananceMode": false,
        "environment": "local",
        "sshGatewayCommand": "",
        // Ours: what keeps the sandboxes of this server apart, and what they reach unless told otherwise.
        "sandboxCoder": {
            "version": env!("CARGO_PKG_VERSION"),
            "isolation": life.force().isolation(),
            "network": life.force().network(Network::Host),
        },
        "rateLimit": { "authenticated": {}, "sandboxCreate": {}, "sandboxLifecycle": {} },
    }))
}

async fn regions(State(life): State<Arc<Life>>) -> Json<Value> {
    let time = clock::text(life.started);
    Json(json!([{
        "id": REGION, "name": REGION, "organizationId": null, "regionType": "shared",
        "createdAt": time, "updatedAt": time,
        "proxyUrl": null, "sshGatewayUrl": null, "snapshotManagerUrl": null,
    }]))
}

async fn key(State(life): State<Arc<Life>>) -> Json<Value> {
    Json(json!({
        "name": "local",
        "value": "dtn_****",
        "createdAt": clock::text(life.started),
        "permissions": ["write:sandboxes", "delete:sandboxes"],
        "lastUsedAt": clock::text(life.clock.now()),
        "expiresAt": null,
        "userId": "local",
    }))
}

async fn for_people() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "Invalid credentials")
}

async fn volumes() -> Json<Value> {
    Json(json!([]))
}
