//! The local Daytona: control plane, proxy, and the registry of sandboxes.
//!
//! One process on loopback serves the API (`/api`), the way into each sandbox's toolbox (`/toolbox/{id}`)
//! and its ports (`http://{port}-{id}.localhost`). What a sandbox is made of is the backend's business,
//! what it can do is the toolbox's; this house keeps records, judges moves and passes bytes on.

mod access;
pub mod backend;
mod clock;
mod control;
pub mod daemon;
mod events;
mod life;
mod orders;
mod preview;
mod problem;
mod proxy;
pub mod registry;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{OriginalUri, Request};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub use crate::jail::spec::Isolation;
pub use clock::Clock;

use crate::exit::ErrorCode;
use crate::secret::Secret;
use orders::Orders;

/// How often the timers look.
const TICK: Duration = Duration::from_secs(2);
/// How long open connections may take to end after the order to stop.
const GOODBYE: Duration = Duration::from_secs(3);

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Only this machine may reach the server.
    #[error(
        "`{0}` is not an address of the loopback interface; the server is for this machine only"
    )]
    NotLoopback(SocketAddr),
    /// Another server works in this directory.
    #[error("another server works in `{}`", .0.display())]
    Taken(PathBuf),
    /// The address or the directory cannot be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Sandboxes are not possible.
    #[error(transparent)]
    Backend(#[from] backend::Error),
}

impl Error {
    /// The stable code of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::NotLoopback(_) => ErrorCode::Usage,
            Error::Taken(_) => ErrorCode::LocalServer,
            Error::Io { .. } => ErrorCode::HostIo,
            Error::Backend(err) => err.code(),
        }
    }
}

/// What a server is to be.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The key of every call; a new one when absent.
    pub api_key: Option<Secret>,
    /// Holds the sandboxes.
    pub data_dir: PathBuf,
    /// How sandboxes are kept apart.
    pub isolation: Isolation,
    /// Our own binary, which runs inside the sandboxes.
    pub binary: PathBuf,
    /// Directories of tools every sandbox sees besides those found by its creator's environment.
    pub tool_dirs: Vec<PathBuf>,
    /// Leave after this long without requests and without sandboxes that run.
    pub idle_exit: Option<Duration>,
    /// What time it is.
    pub clock: Clock,
}

/// A server that answers.
pub struct Running {
    /// Where.
    pub addr: SocketAddr,
    /// The key of every call.
    pub api_key: Secret,
    /// Cancelled: it stops. The sandboxes go on.
    pub stop: CancellationToken,
    life: Arc<life::Life>,
    serving: tokio::task::JoinHandle<()>,
    _lock: std::fs::File,
}

impl Running {
    /// The base of the API.
    pub fn api_url(&self) -> String {
        self.life.api_url.clone()
    }

    /// Lets the timers act now, by the options' clock.
    pub async fn tend(&self) {
        self.life.tend().await;
    }

    /// Waits until it was told to stop, or was idle for long enough, and has stopped.
    pub async fn finished(self) {
        self.finished_with(|| {}).await;
    }

    /// The same; `last` runs while the directory is still ours.
    async fn finished_with(self, last: impl FnOnce()) {
        if self.serving.await.is_err() {
            tracing::warn!("the server's loop failed");
        }
        last();
    }
}

/// The server.
pub struct Server;

impl Server {
    /// Takes the directory and the address, takes up the sandboxes of an earlier server, and serves.
    pub async fn bind(options: ServeOptions) -> Result<Running, Error> {
        Self::begin(options, None).await
    }

    /// The same at an address that is ours already, if there is one.
    async fn begin(
        options: ServeOptions,
        bound: Option<std::net::TcpListener>,
    ) -> Result<Running, Error> {
        if !options.listen.ip().is_loopback() {
            return Err(Error::NotLoopback(options.listen));
        }
        let io = |what: String| move |source| Error::Io { what, source };
        let dir = &options.data_dir;
        store::private_dir(dir).map_err(io(format!("use `{}`", dir.display())))?;
        let dir = dir.canonicalize().map_err(io(format!("use `{}`", dir.display())))?;
        let lock = lock(&dir)?;
        let backend = backend::Backend::choose(options.isolation, &options.binary).await?;
        let listener = match bound {
            Some(bound) => TcpListener::from_std(bound),
            None => TcpListener::bind(options.listen).await,
        };
        let listener = listener.map_err(io(format!("listen on `{}`", options.listen)))?;
        let addr = listener.local_addr().map_err(io("listen".to_owned()))?;
        let api_key = options.api_key.unwrap_or_else(access::new_key);
        let stop = CancellationToken::new();
        let life = life::Life::begin(life::Parts {
            gate: access::Gate::new(&api_key),
            port: addr.port(),
            base: format!("http://{addr}"),
            clock: options.clock,
            store: store::Store::open(&dir).map_err(io("keep records".to_owned()))?,
            backend,
            binary: options.binary,
            tool_dirs: options.tool_dirs,
            stop: stop.clone(),
        })
        .await?;
        let serving = tokio::spawn(run(listener, life.clone(), stop.clone(), options.idle_exit));
        Ok(Running { addr, api_key, stop, life, serving, _lock: lock })
    }
}

/// Serves in the foreground until SIGTERM, SIGINT or idleness. `say` gets the two lines for the shell.
pub async fn serve(options: ServeOptions, say: impl FnOnce(&str)) -> Result<(), Error> {
    let io = |source| Error::Io { what: "listen to signals".to_owned(), source };
    let orders = Orders::listen().map_err(io)?;
    let running = Server::bind(options).await?;
    say(&lines(&running.api_url(), &running.api_key));
    orders.cancel(running.stop.clone());
    running.finished().await;
    Ok(())
}

/// The two lines a shell can evaluate.
pub fn lines(api_url: &str, api_key: &Secret) -> String {
    format!("DAYTONA_API_URL={api_url}\nDAYTONA_API_KEY={}\n", api_key.expose())
}

/// Held as long as a server works in the directory; the kernel gives it back however that ends.
fn lock(dir: &std::path::Path) -> Result<std::fs::File, Error> {
    let path = dir.join("server.lock");
    let what = || format!("lock `{}`", path.display());
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| Error::Io { what: what(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Taken(dir.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(Error::Io { what: what(), source }),
    }
}

async fn run(
    listener: TcpListener,
    life: Arc<life::Life>,
    stop: CancellationToken,
    idle_exit: Option<Duration>,
) {
    let timers = tokio::spawn(tick(life.clone(), stop.clone(), idle_exit));
    let graceful = {
        let stop = stop.clone();
        axum::serve(listener, whole(life)).with_graceful_shutdown(stop.cancelled_owned())
    };
    let bounded = async {
        stop.cancelled().await;
        tokio::time::sleep(GOODBYE).await;
    };
    tokio::select! {
        result = graceful.into_future() => if let Err(err) = result {
            tracing::warn!(%err, "the listener failed");
        },
        // Open sockets end with us; what they show goes on in the sandbox.
        () = bounded => {}
    }
    timers.abort();
}

async fn tick(life: Arc<life::Life>, stop: CancellationToken, idle_exit: Option<Duration>) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        life.tend().await;
        let limit = idle_exit.map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        let idle = life.idle_since().map(|since| life.clock.now() - since);
        if let (Some(limit), Some(idle)) = (limit, idle)
            && idle >= limit
        {
            tracing::info!("nobody needs this server any more");
            stop.cancel();
            return;
        }
    }
}

/// The front door before the routes: it sees every request and may rewrite its path.
fn whole(life: Arc<life::Life>) -> Router {
    let routes = routes(life.clone());
    Router::new().fallback(move |request: Request| front(life.clone(), routes.clone(), request))
}

fn routes(life: Arc<life::Life>) -> Router {
    Router::new()
        .nest("/api", control::routes(life.clone()))
        .route("/toolbox/{id}", axum::routing::any(proxy::toolbox))
        .route("/toolbox/{id}/", axum::routing::any(proxy::toolbox))
        .route("/toolbox/{id}/{*path}", axum::routing::any(proxy::toolbox))
        .route("/health", axum::routing::get(control::health))
        .fallback(control::nowhere)
        .with_state(life)
}

/// The front door: foreign names are turned away, preview names go their own way.
async fn front(life: Arc<life::Life>, routes: Router, mut request: Request) -> Response {
    let _busy = life.request();
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let uri = request.uri().clone();
    let mut response = match access::host(host.unwrap_or_default()) {
        access::Host::Own => {
            if let Some(plain) = without_slash(&uri) {
                request.extensions_mut().insert(OriginalUri(uri.clone()));
                *request.uri_mut() = plain;
            }
            routes.oneshot(request).await.into_response()
        }
        access::Host::Preview { port, key } => {
            preview::serve(life.clone(), request, port, &key).await
        }
        access::Host::Foreign => problem::Problem::new(
            StatusCode::FORBIDDEN,
            "this server answers to the names of this machine only",
        )
        .into_response(),
    };
    if let Some(problem) = response.extensions_mut().remove::<problem::Problem>() {
        response = problem.answer(&uri);
    }
    response
        .headers_mut()
        .insert("x-daytona-api-version", HeaderValue::from_static(store::API_VERSION));
    response
}

/// A path of the control plane without its slash at the end, which Daytona overlooks; two are too many.
fn without_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let plain = path.strip_suffix('/').filter(|plain| !plain.ends_with('/'))?;
    if !path.starts_with("/api/") || path == "/api/socket.io/" {
        return None;
    }
    uri.query().map_or(plain.to_owned(), |query| format!("{plain}?{query}")).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slash_at_the_end_is_overlooked() {
        let plain = |text: &str| without_slash(&text.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(plain("/api/sandbox/"), Some("/api/sandbox".to_owned()));
        assert_eq!(plain("/api/sandbox/a%2F/?x=1/"), Some("/api/sandbox/a%2F?x=1/".to_owned()));
        for kept in ["/", "/api", "/api/sandbox//", "/api/socket.io/", "/toolbox/i/files/"] {
            assert_eq!(plain(kept), None, "{kept}");
        }
    }
}
