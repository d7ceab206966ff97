//! What a run is lent: the agent's credentials, and the variables given by name. Whatever of it is secret is
//! masked wherever we print.

use std::path::PathBuf;

use super::Context;
use crate::agent::Kind;
use crate::agent::credentials::{self, Credentials, Host, Need};
use crate::error::Failure;
use crate::exit::ErrorCode;
use crate::secret::{self, Print, Secret};
use crate::state::RunRecord;

/// The names of the variables given.
pub fn given_names(cx: &Context) -> impl Iterator<Item = String> {
    cx.config.env.iter().map(|text| text.split('=').next().unwrap_or(text).to_owned())
}

/// The variables given by name, with their values.
pub fn given_variables(cx: &Context) -> anyhow::Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    for text in &cx.config.env {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => {
                let value = std::env::var(text).map_err(|_| {
                    Failure::new(
                        ErrorCode::Usage,
                        format!("`--env {text}`: there is no such variable here"),
                    )
                })?;
                (text.clone(), value)
            }
        };
        out.push((name, value));
    }
    Ok(out)
}

/// The secrets among the given variables.
pub fn given_secrets(cx: &Context) -> anyhow::Result<Vec<Secret>> {
    let given = given_variables(cx)?;
    Ok(given.iter().flat_map(|(name, value)| secret::in_variable(name, value)).collect())
}

/// Has the secrets among the given variables masked from here on.
pub async fn mask_given(cx: &Context) -> anyhow::Result<()> {
    for secret in given_secrets(cx)? {
        cx.reporter.secret(secret).await;
    }
    Ok(())
}

/// What a run's record keeps of the values it is lent.
pub fn prints<'s>(secrets: impl IntoIterator<Item = &'s Secret>) -> Vec<Print> {
    secrets.into_iter().flat_map(Print::of).collect()
}

/// Has what a run was lent masked: for those who only read what it said.
pub async fn mask_lent(cx: &Context, record: &RunRecord) {
    for print in &record.lent {
        cx.reporter.print(print.clone()).await;
    }
}

/// The credentials the agent may have, and what to know about them.
pub async fn lend(cx: &Context, kind: Kind) -> Credentials {
    let credentials = find_credentials(cx, kind);
    for secret in &credentials.secrets {
        cx.reporter.secret(secret.clone()).await;
    }
    for warning in &credentials.warnings {
        cx.reporter.warn("agent.credentials", warning.clone(), None).await;
    }
    credentials
}

fn find_credentials(cx: &Context, kind: Kind) -> Credentials {
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from) else {
        return Credentials::default();
    };
    let given = given_names(cx).collect();
    let need = Need {
        model: cx.config.model.clone(),
        given,
        timeout_s: Some(match cx.config.timeout.as_secs() {
            0 => u64::MAX,
            limit => limit,
        }),
    };
    credentials::gather(kind, &need, &Host::here(home))
}
