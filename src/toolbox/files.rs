//! Listing, describing, deleting, creating directories, moving, changing permissions.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::error::{Problem, blocking};
use super::file_info::file_info;
use super::moving::{self, Moved};
use super::paths::{Query, shown};
use super::server::Shared;
use crate::wire::files::FileInfo;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/files", get(list).delete(delete))
        .route("/files/", get(list).delete(delete))
        .route("/files/info", get(info))
        .route("/files/folder", post(folder))
        .route("/files/move", post(relocate))
        .route("/files/permissions", post(permissions))
}

async fn list(State(toolbox): State<Shared>, query: Query) -> Result<Json<Vec<FileInfo>>, Problem> {
    let path = query.optional_path("path").unwrap_or_else(|| PathBuf::from("."));
    let depth = match query.text("depth") {
        None => 1,
        Some(text) => {
            text.parse::<u32>().map_err(|_| Problem::bad_request("depth must be a number"))?.max(1)
        }
    };
    let target = toolbox.resolve(&path);
    blocking(move || {
        let mut found = Vec::new();
        entries(&target, depth, &mut found)?;
        Ok(Json(found))
    })
    .await
}

/// Collects a directory's entries in the order of their names, each followed by its own. Links are
/// followed for the description only; what cannot be described is left out.
fn entries(directory: &Path, depth: u32, found: &mut Vec<FileInfo>) -> Result<(), Problem> {
    let refused = |err| Problem::reading(&shown(directory), &err);
    let names: BTreeSet<_> =
        std::fs::read_dir(directory).map_err(refused)?.flatten().map(|e| e.file_name()).collect();
    for name in names {
        let path = directory.join(name);
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        found.push(file_info(&path, &meta));
        let own = || std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir());
        if depth > 1 && own() {
            // A directory that may not be read is listed, but not what is in it.
            let _ = entries(&path, depth - 1, found);
        }
    }
    Ok(())
}

async fn info(State(toolbox): State<Shared>, query: Query) -> Result<Json<FileInfo>, Problem> {
    let target = toolbox.resolve(&query.path("path")?);
    blocking(move || {
        let meta =
            std::fs::metadata(&target).map_err(|err| Problem::reading(&shown(&target), &err))?;
        Ok(Json(file_info(&target, &meta)))
    })
    .await
}

async fn delete(State(toolbox): State<Shared>, query: Query) -> Result<StatusCode, Problem> {
    let target = toolbox.resolve(&query.path("path")?);
    let recursive = query.text("recursive") == Some("true");
    blocking(move || {
        let refused = |err| Problem::writing(&shown(&target), &err);
        let own = std::fs::symlink_metadata(&target)
            .map_err(|err| Problem::reading(&shown(&target), &err))?;
        // A link that leads nowhere can be deleted too.
        if std::fs::metadata(&target).is_ok_and(|meta| meta.is_dir()) && !recursive {
            let what =
                format!("{}: cannot delete directory without recursive flag", shown(&target));
            return Err(Problem::invalid_path(what));
        }
        let deleted = if own.is_dir() {
            std::fs::remove_dir_all(&target)
        } else {
            std::fs::remove_file(&target)
        };
        deleted.map_err(refused)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Octal text of the nine permission bits; others are dropped.
fn mode(text: &str) -> Result<u32, Problem> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| digits);
    Ok(mode.ok_or_else(|| Problem::bad_request(format_args!("invalid mode: {text}")))? & 0o777)
}

async fn folder(State(toolbox): State<Shared>, query: Query) -> Result<StatusCode, Problem> {
    let target = toolbox.resolve(&query.path("path")?);
    let mode = query.text("mode").map_or(Ok(0o755), mode)?;
    blocking(move || {
        let made = DirBuilder::new().recursive(true).mode(mode).create(&target);
        made.map_err(|err| {
            Problem::writing(&shown(&target), &err).with_status(StatusCode::BAD_REQUEST)
        })?;
        Ok(StatusCode::CREATED)
    })
    .await
}

async fn relocate(State(toolbox): State<Shared>, query: Query) -> Result<Response, Problem> {
    let source = toolbox.resolve(&query.path("source")?);
    let destination = toolbox.resolve(&query.path("destination")?);
    blocking(move || match moving::relocate(&source, &destination)? {
        Moved::Whole => Ok(StatusCode::OK.into_response()),
        Moved::SourceStays(why) => Ok(Json(json!({
            "message": "file copied successfully but source could not be deleted",
            "error": format!("failed to delete source: {why}"),
        }))
        .into_response()),
    })
    .await
}

async fn permissions(State(toolbox): State<Shared>, query: Query) -> Result<StatusCode, Problem> {
    let target = toolbox.resolve(&query.path("path")?);
    let mode = query.text("mode").map(mode).transpose()?;
    let owner = query.text("owner").map(str::to_owned);
    let group = query.text("group").map(str::to_owned);
    blocking(move || {
        let refused = |err| Problem::writing(&shown(&target), &err);
        std::fs::metadata(&target).map_err(refused)?;
        let owner = owner.map(|name| id_of("/etc/passwd", &name)).transpose()?;
        let group = group.map(|name| id_of("/etc/group", &name)).transpose()?;
        if let Some(mode) = mode {
            std::fs::set_permissions(&target, Permissions::from_mode(mode)).map_err(refused)?;
        }
        if owner.is_some() || group.is_some() {
            std::os::unix::fs::chown(&target, owner, group).map_err(refused)?;
        }
        Ok(StatusCode::OK)
    })
    .await
}

/// A user's or a group's number, given as such or by name.
fn id_of(table: &str, name: &str) -> Result<u32, Problem> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let text = std::fs::read_to_string(table).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split(':').nth(1)?.parse().ok())
        .ok_or_else(|| Problem::bad_request(format_args!("unknown user or group: {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(mode("0755").ok(), Some(0o755));
        assert_eq!(mode("4755").ok(), Some(0o755));
        for bad in ["0o755", "888", "u+x", "-1", "+755"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }
}
