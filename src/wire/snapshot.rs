//! Snapshots (images) on the control plane.

use serde::{Deserialize, Serialize};

use super::{lax_integer, null_default};

/// One snapshot. Note `mem` here, `memory` in requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Daytona's own names")]
pub struct Snapshot {
    pub id: String,
    pub organization_id: Option<String>,
    /// Provided by the service for everybody; cannot be deleted.
    #[serde(deserialize_with = "null_default")]
    pub general: bool,
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    pub image_name: Option<String>,
    /// `building, pending, pulling, snapshotting, active, inactive, error, build_failed, removing`.
    #[serde(deserialize_with = "null_default")]
    pub state: String,
    /// GiB, with a fraction.
    pub size: Option<f64>,
    pub entrypoint: Option<Vec<String>>,
    #[serde(deserialize_with = "lax_integer")]
    pub cpu: i64,
    #[serde(deserialize_with = "lax_integer")]
    pub gpu: i64,
    #[serde(deserialize_with = "lax_integer")]
    pub mem: i64,
    #[serde(deserialize_with = "lax_integer")]
    pub disk: i64,
    pub error_reason: Option<String>,
    #[serde(deserialize_with = "null_default")]
    pub created_at: String,
    #[serde(deserialize_with = "null_default")]
    pub updated_at: String,
    pub last_used_at: Option<String>,
    pub source_sandbox_id: Option<String>,
}

/// `GET /snapshots`: one page, counted from 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Daytona's own names")]
pub struct SnapshotPage {
    #[serde(deserialize_with = "null_default")]
    pub items: Vec<Snapshot>,
    #[serde(deserialize_with = "lax_integer")]
    pub total: i64,
    #[serde(deserialize_with = "lax_integer")]
    pub page: i64,
    #[serde(deserialize_with = "lax_integer")]
    pub total_pages: i64,
}
