//! Refusals, in the two shapes Daytona has for them.

use axum::Json;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::registry::Refusal;

/// A refusal of the control plane. Path and time are added on the way out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, message: impl std::fmt::Display) -> Self {
        Problem { status, message: message.to_string() }
    }

    pub(super) fn bad_request(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn not_found(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Invalid credentials")
    }

    pub(super) fn no_sandbox(key: &str) -> Self {
        Self::not_found(format_args!("Sandbox with ID or name {key} not found"))
    }

    pub(super) fn no_route(method: &Method, uri: &Uri) -> Self {
        let target = uri.path_and_query().map_or("/", |t| t.as_str());
        Self::not_found(format_args!("Cannot {method} {target}"))
    }

    /// The answer, for the request with this target.
    pub(super) fn answer(&self, uri: &Uri) -> Response {
        let body = json!({
            "path": uri.path_and_query().map_or("/", |t| t.as_str()),
            "timestamp": now(),
            "statusCode": self.status.as_u16(),
            "error": self.status.canonical_reason().unwrap_or("Error"),
            "message": self.message,
            "source": "DAYTONA_API",
        });
        (self.status, Json(body)).into_response()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Changing => StatusCode::CONFLICT,
            Refusal::NotStoppable | Refusal::Errored => StatusCode::BAD_REQUEST,
        };
        Self::new(status, refusal)
    }
}

impl From<std::io::Error> for Problem {
    fn from(err: std::io::Error) -> Self {
        Self::internal(err)
    }
}

/// Carried to the layer that knows the request's target.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// A refusal of the proxy, whose body differs: `path` is without the query.
pub(super) fn of_proxy(status: StatusCode, message: &str, method: &Method, path: &str) -> Response {
    let code = match status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::NOT_FOUND => "NOT_FOUND",
        StatusCode::BAD_REQUEST => "BAD_REQUEST",
        _ => "INTERNAL_SERVER_ERROR",
    };
    let body = json!({
        "statusCode": status.as_u16(),
        "message": message,
        "code": code,
        "timestamp": now(),
        "path": path,
        "method": method.as_str(),
        "source": "DAYTONA_PROXY",
    });
    (status, Json(body)).into_response()
}

fn now() -> String {
    super::clock::text(super::clock::Clock::System.now())
}
