//! JSON bodies, read whatever content type they are sent with.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::error::Problem;

/// The largest JSON body. Commands travel in one, with small archives inside them.
const LIMIT: usize = 64 << 20;

/// A JSON body. `null` is like an absent field, unknown fields are ignored.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        parse(request.into_body()).await.map(Self)
    }
}

async fn parse<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let bytes = axum::body::to_bytes(body, LIMIT).await.map_err(Problem::invalid_body)?;
    if bytes.is_empty() {
        return Err(Problem::invalid_body("EOF"));
    }
    serde_json::from_slice(&bytes).map_err(Problem::invalid_body)
}
