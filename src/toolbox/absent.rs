//! What this toolbox does not offer says so, in the words of a refusal that SDKs can show.

use axum::Router;
use axum::routing::any;

use super::error::Problem;
use super::server::Shared;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/git/{*rest}", any(git))
        .route("/lsp/{*rest}", any(lsp))
        .route("/process/interpreter/{*rest}", any(interpreter))
        .route("/computeruse/{*rest}", any(computer_use))
}

async fn git() -> Problem {
    Problem::not_implemented("git endpoints; run git with process/execute")
}

async fn lsp() -> Problem {
    Problem::not_implemented("language servers")
}

async fn interpreter() -> Problem {
    Problem::not_implemented("interpreter contexts; use process/code-run or a session")
}

async fn computer_use() -> Problem {
    Problem::not_implemented("computer use")
}
