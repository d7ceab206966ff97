//! The routes, and the loop that serves them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixListener;

use super::environment::Variables;
use super::error::{self, Problem};
use super::{absent, download, files, info, ports, process, proxy, pty, search, sessions, upload};

/// How long a connection may stay without a complete request head, idle ones included. Longer than the
/// idle time of the clients' and the proxy's pools, so that they hang up first.
const IDLE: Duration = Duration::from_secs(75);
/// Most bytes of a request's head.
const HEAD: usize = 1 << 20;

/// Where a toolbox lives.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The user's home; session logs are kept below it.
    pub home: PathBuf,
    /// Relative paths and commands start here.
    pub work_dir: PathBuf,
    /// The environment of every command.
    pub variables: BTreeMap<OsString, OsString>,
}

impl Setup {
    /// This process's own environment and directory.
    pub fn from_environment() -> std::io::Result<Self> {
        let variables: BTreeMap<_, _> = std::env::vars_os().collect();
        let work_dir = std::env::current_dir()?;
        let home =
            variables.get(&OsString::from("HOME")).map_or_else(|| work_dir.clone(), PathBuf::from);
        Ok(Self { home, work_dir, variables })
    }
}

/// What all requests share.
pub(super) struct Toolbox {
    pub(super) home: PathBuf,
    pub(super) work_dir: PathBuf,
    variables: RwLock<Variables>,
    pub(super) sessions: sessions::Sessions,
    pub(super) terminals: pty::Terminals,
}

/// The state of every handler.
pub(super) type Shared = Arc<Toolbox>;

impl Toolbox {
    /// An absolute path; relative ones start in the work directory.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.work_dir.join(path)
    }

    /// The environment of a new command.
    pub(super) fn variables(&self) -> Variables {
        self.variables.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the environment of commands to come.
    pub(super) fn change_variables(&self, change: impl FnOnce(&mut Variables)) {
        change(&mut self.variables.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// All routes over one toolbox.
pub fn router(setup: Setup) -> Router {
    let toolbox = Arc::new(Toolbox {
        home: setup.home,
        work_dir: setup.work_dir,
        variables: RwLock::new(setup.variables),
        sessions: sessions::Sessions::default(),
        terminals: pty::Terminals::default(),
    });
    Router::new()
        .merge(info::routes())
        .merge(files::routes())
        .merge(search::routes())
        .merge(upload::routes())
        .merge(download::routes())
        .merge(process::routes())
        .merge(sessions::routes())
        .merge(pty::routes())
        .merge(ports::routes())
        .merge(proxy::routes())
        .merge(absent::routes())
        .fallback(nowhere)
        .method_not_allowed_fallback(nowhere)
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn(error::finish))
        .with_state(toolbox)
}

/// Refuses, but sends those who wrote a slash too many to the path without it. The address is relative, so
/// that it is right behind any prefix.
async fn nowhere(method: Method, uri: Uri) -> Response {
    let Some(path) = uri.path().strip_suffix('/').filter(|path| path.len() > 1) else {
        return Problem::not_found("no such endpoint").into_response();
    };
    let last = path.rsplit('/').next().unwrap_or_default();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let status = if method == Method::GET {
        StatusCode::MOVED_PERMANENTLY
    } else {
        StatusCode::TEMPORARY_REDIRECT
    };
    (status, [(header::LOCATION, format!("../{last}{query}"))]).into_response()
}

/// Serves until the listener fails. Requests under way go on when a client leaves.
pub async fn serve(listener: UnixListener, setup: Setup) -> std::io::Result<()> {
    let router = router(setup);
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(HEAD);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // Out of descriptors: those in use will be given back.
            Err(err) if is_passing(&err) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            Err(err) => return Err(err),
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::spawn(async move {
            if let Err(err) = connection.await {
                tracing::debug!(%err, "a connection ended early");
            }
        });
    }
}

fn is_passing(err: &std::io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::CONNABORTED, Errno::NOBUFS, Errno::NOMEM, Errno::INTR]
        .iter()
        .any(|errno| err.raw_os_error() == Some(errno.raw_os_error()))
}
