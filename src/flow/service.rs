//! Where sandboxes live: a Daytona, or our own server on this machine.

use std::time::Duration;

use anyhow::Context as _;

use super::Context;
use crate::config::{self, Provider};
use crate::daytona::{Client, Credential, Endpoint};
use crate::error::Failure;
use crate::exit::ErrorCode;

/// The local server leaves after this long without requests and running sandboxes.
pub const LOCAL_IDLE: Duration = Duration::from_secs(15 * 60);

/// A service we can talk to.
#[derive(Debug, Clone)]
pub struct Service {
    /// The client.
    pub client: Client,
    /// `local`, or the API's URL: what sandboxes are remembered under.
    pub provider: String,
    /// How sandboxes are kept apart, for the report.
    pub isolation: String,
    /// What they reach, for the report.
    pub network: String,
}

impl Service {
    /// How long it may be out of reach while a run is followed.
    pub fn patience(&self) -> Duration {
        if self.is_local() { Duration::from_secs(60) } else { Duration::from_secs(600) }
    }

    /// Whether it is our own server.
    pub fn is_local(&self) -> bool {
        self.provider == "local"
    }

    /// Connects, to look after what is there; starts the local server if it is needed and not there.
    pub async fn connect(cx: &Context) -> anyhow::Result<Service> {
        Self::reach(cx, false).await
    }

    /// Connects, to start something in a sandbox: of the isolation asked for, and of no other.
    pub async fn connect_isolated(cx: &Context) -> anyhow::Result<Service> {
        Self::reach(cx, true).await
    }

    async fn reach(cx: &Context, insist: bool) -> anyhow::Result<Service> {
        match &cx.config.provider {
            Provider::Daytona { api_url, credential, target } => {
                let credential = match credential.clone() {
                    config::Credential::Key(key) => Credential::Key(key),
                    config::Credential::Token { token, organization } => {
                        Credential::Jwt { token, organization: Some(organization) }
                    }
                };
                let (Credential::Key(secret) | Credential::Jwt { token: secret, .. }) = &credential;
                cx.reporter.secret(secret.clone()).await;
                let endpoint =
                    Endpoint { api_url: api_url.clone(), credential, target: target.clone() };
                Ok(Service {
                    client: Client::new(endpoint)?,
                    provider: api_url.clone(),
                    isolation: String::new(),
                    network: String::new(),
                })
            }
            Provider::Local => Self::local(cx, insist).await,
        }
    }

    #[cfg(target_os = "linux")]
    async fn local(cx: &Context, insist: bool) -> anyhow::Result<Service> {
        use crate::server::daemon::{self, DaemonOptions};
        let isolation = cx.config.isolation.parse().map_err(|_| {
            Failure::new(
                ErrorCode::ConfigInvalid,
                format!("`{}` is no isolation level", cx.config.isolation),
            )
        })?;
        let binary = std::env::current_exe().context("find our own binary")?;
        let data_dir = cx.config.state_dir.join("local");
        let options = DaemonOptions { data_dir, isolation, insist, binary, idle_exit: LOCAL_IDLE };
        let endpoint = daemon::ensure(options).await?;
        cx.told().local = true;
        cx.reporter.secret(endpoint.api_key.clone()).await;
        let credential = Credential::Key(endpoint.api_key);
        Ok(Service {
            client: Client::new(Endpoint { api_url: endpoint.api_url, credential, target: None })?,
            provider: "local".into(),
            isolation: endpoint.isolation.name().into(),
            network: endpoint.network.name().into(),
        })
    }

    #[cfg(not(target_os = "linux"))]
    async fn local(_: &Context, _: bool) -> anyhow::Result<Service> {
        let message = "local sandboxes need Linux";
        Err(Failure::new(ErrorCode::IsolationUnavailable, message)
            .hint("set DAYTONA_API_KEY to use Daytona")
            .into())
    }
}
