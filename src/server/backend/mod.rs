//! How sandboxes of this machine are started, found again and stopped.
//!
//! A sandbox is held by a monitor process of its own, not by the server: a restarted server finds it
//! by the lock in its directory and goes on, so a crash of the server costs nobody their work.

mod namespaces;
mod none;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::exit::ErrorCode;
use crate::jail::life::{self, LifeError};
use crate::jail::probe::{self, Refusal};
use crate::jail::spec::{self, Isolation, Limits, Network, Spec};
use crate::jail::toolchains::Toolchains;

/// Why a backend could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine does not allow this isolation.
    #[error("isolated sandboxes are not possible here: {}; {}", .0.what, .0.hint)]
    Refused(Refusal),
    /// Whether it does cannot be found out: no more files can be opened.
    #[error("{}; {}", .0.what, .0.hint)]
    Exhausted(Refusal),
    /// Starting, finding or stopping failed.
    #[error(transparent)]
    Life(#[from] LifeError),
    /// The task that did the work vanished.
    #[error("the work was cut short")]
    Cut,
}

impl Error {
    /// The stable code of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Refused(_) => ErrorCode::IsolationUnavailable,
            Error::Exhausted(_) => ErrorCode::HostIo,
            Error::Life(_) => ErrorCode::SandboxErrored,
            Error::Cut => ErrorCode::Internal,
        }
    }
}

/// A way of running sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Linux namespaces.
    Namespaces,
    /// Plain processes, only by name.
    None,
}

/// What the server knows about a sandbox it wants started.
#[derive(Debug, Clone)]
pub struct StartOrder {
    /// The sandbox's id.
    pub id: String,
    /// Its directory; `home/`, `tmp/` and `run/` are made in it when missing.
    pub dir: PathBuf,
    /// Our own binary.
    pub binary: PathBuf,
    /// The host name inside.
    pub hostname: String,
    /// Variables of the sandbox, on top of what the backend sets (`HOME`, `PATH`, `USER`, ...).
    pub env: BTreeMap<String, String>,
    /// The host's tools the sandbox shall see.
    pub toolchains: Toolchains,
    /// What of the network it sees.
    pub network: Network,
    /// Limits.
    pub limits: Limits,
}

/// A sandbox that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedSandbox {
    /// The toolbox's unix socket; it queues connections from the first moment.
    pub socket: PathBuf,
    /// The home directory as seen from inside.
    pub home: PathBuf,
    /// The host pid of the monitor.
    pub monitor: u32,
}

impl Backend {
    /// The backend for an isolation asked for by name; refuses what the machine cannot do.
    pub async fn choose(isolation: Isolation, binary: &Path) -> Result<Backend, Error> {
        match isolation {
            Isolation::None => Ok(Backend::None),
            Isolation::Namespaces => {
                let binary = binary.to_owned();
                let told = |refusal: Refusal| match refusal.exhausted {
                    true => Error::Exhausted(refusal),
                    false => Error::Refused(refusal),
                };
                blocking(move || probe::probe(&binary).map_err(told)).await?;
                Ok(Backend::Namespaces)
            }
        }
    }

    /// The backend of an isolation, whether this machine allows it or not.
    pub fn of(isolation: Isolation) -> Backend {
        match isolation {
            Isolation::Namespaces => Backend::Namespaces,
            Isolation::None => Backend::None,
        }
    }

    /// How sandboxes are kept apart.
    pub fn isolation(self) -> Isolation {
        match self {
            Backend::Namespaces => Isolation::Namespaces,
            Backend::None => Isolation::None,
        }
    }

    /// What sandboxes see of the network when they ask for `wanted`.
    pub fn network(self, wanted: Network) -> Network {
        match self {
            Backend::Namespaces => wanted,
            Backend::None => Network::Host,
        }
    }

    /// Starts a sandbox and returns when its toolbox runs.
    pub async fn start(self, order: StartOrder) -> Result<StartedSandbox, Error> {
        let spec = self.spec(order);
        blocking(move || {
            let holder = life::launch(&spec)?;
            Ok(StartedSandbox {
                socket: spec::socket_path(&spec.dir),
                home: spec.home_inside(),
                monitor: holder.monitor.pid,
            })
        })
        .await
    }

    /// The sandbox in `dir` if it runs, also when another server started it.
    pub async fn adopt(self, dir: &Path) -> Result<Option<StartedSandbox>, Error> {
        let spec = Spec::new("", self.isolation(), dir, Path::new(""));
        blocking(move || {
            Ok(life::find(&spec.dir)?.map(|holder| StartedSandbox {
                socket: spec::socket_path(&spec.dir),
                home: spec.home_inside(),
                monitor: holder.monitor.pid,
            }))
        })
        .await
    }

    /// Whether the sandbox in `dir` runs.
    pub async fn alive(self, dir: &Path) -> Result<bool, Error> {
        let dir = dir.to_owned();
        blocking(move || Ok(life::find(&dir)?.is_some())).await
    }

    /// Ends the sandbox in `dir` with every process in it; its files stay. Fine when it does not run.
    pub async fn stop(self, dir: &Path) -> Result<(), Error> {
        let dir = dir.to_owned();
        blocking(move || Ok(life::stop(&dir)?)).await
    }

    /// Stops the sandbox in `dir` and removes its directory.
    pub async fn destroy(self, dir: &Path) -> Result<(), Error> {
        let dir = dir.to_owned();
        blocking(move || Ok(life::destroy(&dir)?)).await
    }

    fn spec(self, order: StartOrder) -> Spec {
        match self {
            Backend::Namespaces => namespaces::spec(order),
            Backend::None => none::spec(order),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Cut))
}
