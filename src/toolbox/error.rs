//! How the toolbox refuses: one type, one JSON body, whatever went wrong.

use std::io::ErrorKind;

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::wire::error::ErrorBody;

/// A refusal. The words of a message begin with its kind, as Daytona's do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn bad_request(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", format!("bad request: {what}"))
    }

    pub(super) fn invalid_body(what: impl std::fmt::Display) -> Self {
        let message = format!("invalid body request: {what}");
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST_BODY", message)
    }

    pub(super) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("not found: {what}"))
    }

    pub(super) fn conflict(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::CONFLICT, "CONFLICT", format!("conflict: {what}"))
    }

    pub(super) fn gone(code: &'static str, what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::GONE, code, format!("gone: {what}"))
    }

    pub(super) fn internal(what: impl std::fmt::Display) -> Self {
        let message = format!("internal server error: {what}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_SERVER_ERROR", message)
    }

    pub(super) fn not_implemented(what: impl std::fmt::Display) -> Self {
        let message = format!("not implemented: {what}");
        Self::new(StatusCode::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", message)
    }

    pub(super) fn invalid_path(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_FILE_PATH", format!("bad request: {what}"))
    }

    /// A failed look at a file: missing 404, no permission 403, else 400.
    pub(super) fn reading(path: &str, err: &std::io::Error) -> Self {
        let why = go_words(err);
        match err.kind() {
            ErrorKind::NotFound => Self::new(
                StatusCode::NOT_FOUND,
                "FILE_NOT_FOUND",
                format!("not found: {path}: {why}"),
            ),
            ErrorKind::PermissionDenied => {
                let message = format!("forbidden: {path}: {why}");
                Self::new(StatusCode::FORBIDDEN, "FILE_ACCESS_DENIED", message)
            }
            _ => Self::invalid_path(format_args!("{path}: {why}")),
        }
    }

    /// A failed change: missing 404, all else 400; a missing permission still says so in the code.
    pub(super) fn writing(path: &str, err: &std::io::Error) -> Self {
        let mut problem = Self::reading(path, err);
        if problem.status == StatusCode::FORBIDDEN {
            problem.status = StatusCode::BAD_REQUEST;
        }
        problem
    }

    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// The JSON form, for a request of this method and path.
    pub(super) fn body(&self, path: &str, method: &str) -> ErrorBody {
        ErrorBody {
            path: Some(path.to_owned()),
            timestamp: Some(jiff::Timestamp::now().to_string()),
            status_code: Some(self.status.as_u16()),
            error: Some(self.message.clone()),
            message: Some(self.message.clone()),
            code: Some(self.code.to_owned()),
            method: Some(method.to_owned()),
            source: Some("DAYTONA_DAEMON".to_owned()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<tokio::task::JoinError> for Problem {
    fn from(err: tokio::task::JoinError) -> Self {
        Self::internal(err)
    }
}

/// Gives each answer an id and each refusal its body, which needs the request's method and path.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let method = request.method().to_string();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let (old, _) = response.into_parts();
        response = (problem.status, Json(problem.body(&path, &method))).into_response();
        for (name, value) in &old.headers {
            if name != header::CONTENT_LENGTH && name != header::CONTENT_TYPE {
                response.headers_mut().insert(name, value.clone());
            }
        }
    }
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        response.headers_mut().entry("x-request-id").or_insert(id);
    }
    response
}

/// Runs file work off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await?
}

/// The words of an error as Daytona writes them: `no such file or directory`, without the number.
pub(super) fn go_words(err: &std::io::Error) -> String {
    let text = err.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_wire() {
        let err = std::io::Error::from_raw_os_error(2);
        assert_eq!(go_words(&err), "no such file or directory");
        assert_eq!(Problem::reading("/x", &err).status(), StatusCode::NOT_FOUND);
        let denied = std::io::Error::from_raw_os_error(13);
        assert_eq!(Problem::reading("/x", &denied).status(), StatusCode::FORBIDDEN);
        assert_eq!(Problem::writing("/x", &denied).status(), StatusCode::BAD_REQUEST);
        assert_eq!(Problem::writing("/x", &denied).code(), "FILE_ACCESS_DENIED");
    }
}
