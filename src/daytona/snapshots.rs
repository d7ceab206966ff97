//! Snapshots (images) on the control plane.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde::Serialize;

use super::call::Call;
use super::client::Client;
use super::error::Error;
use super::refusal::Subject;
use crate::wire::sandbox::BuildInfo;
use crate::wire::snapshot::{Snapshot, SnapshotPage};

/// Pages of a list, each of 200.
const PAGES: i64 = 500;

/// Body of `POST /snapshots`: either an image or a Dockerfile.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "Daytona's own names")]
pub struct CreateSnapshot {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_info: Option<BuildInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region_id: Option<String>,
}

impl Client {
    /// Every snapshot whose name contains `name`, of all pages.
    pub async fn snapshots(&self, name: Option<&str>) -> Result<Vec<Snapshot>, Error> {
        let mut all = Vec::new();
        for number in 1..=PAGES {
            let mut url = self.url(&["snapshots"])?;
            url.query_pairs_mut()
                .append_pair("page", &number.to_string())
                .append_pair("limit", "200");
            if let Some(name) = name {
                url.query_pairs_mut().append_pair("name", name);
            }
            let call = Call::new("list snapshots".into(), Subject::Snapshot, Method::GET, url);
            let page: SnapshotPage = self.json(call).await?;
            let empty = page.items.is_empty();
            all.extend(page.items);
            if empty || number >= page.total_pages {
                break;
            }
        }
        Ok(all)
    }

    /// The snapshot of that id or name.
    pub async fn snapshot(&self, id: &str) -> Result<Snapshot, Error> {
        let url = self.url(&["snapshots", id])?;
        let what = format!("look up snapshot `{id}`");
        self.json(Call::new(what, Subject::Snapshot, Method::GET, url)).await
    }

    /// Registers an image or starts a build; [`Self::wait_snapshot`] waits for it.
    pub async fn create_snapshot(&self, request: &CreateSnapshot) -> Result<Snapshot, Error> {
        let mut request = request.clone();
        request.region_id = request.region_id.or_else(|| self.target().map(str::to_owned));
        let what = format!("create snapshot `{}`", request.name);
        let url = self.url(&["snapshots"])?;
        self.json(Call::new(what, Subject::Snapshot, Method::POST, url).json(&request)).await
    }

    /// Deletes a snapshot by id or name. One that is gone is a success: `false`.
    pub async fn delete_snapshot(&self, id: &str) -> Result<bool, Error> {
        let known = match self.snapshot(id).await {
            Ok(known) => known,
            Err(error) if error.is_missing() => return Ok(false),
            Err(error) => return Err(error),
        };
        // The service takes ids only here.
        let url = self.url(&["snapshots", &known.id])?;
        let what = format!("delete snapshot `{id}`");
        match self.unit(Call::new(what, Subject::Snapshot, Method::DELETE, url)).await {
            Err(error) if error.is_missing() => Ok(true),
            result => result.map(|()| true),
        }
    }

    /// Waits until a snapshot is `active`, has failed, or the time is over.
    pub async fn wait_snapshot(&self, id: &str, within: Duration) -> Result<Snapshot, Error> {
        let started = Instant::now();
        loop {
            match self.snapshot(id).await {
                Ok(snapshot) => match snapshot.state.as_str() {
                    "active" | "error" | "build_failed" => return Ok(snapshot),
                    _ if started.elapsed() >= within => return Ok(snapshot),
                    _ => {}
                },
                Err(error) if error.is_transient() && started.elapsed() < within => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
