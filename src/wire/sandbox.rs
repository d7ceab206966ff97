//! Sandboxes on the control plane.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{lax_integer, lax_map, null_default};

/// Labels and environment: string to string.
pub type StringMap = BTreeMap<String, String>;

/// Body of `POST /sandbox`. Absent fields take the service's defaults.
///
/// There is no `image` and no `ephemeral` on the wire: an image is a [`BuildInfo`] with one `FROM` line,
/// an ephemeral sandbox has `autoDeleteInterval` 0. Resources are refused beside a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Daytona's own names")]
pub struct CreateSandbox {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(deserialize_with = "null_default")]
    pub env: StringMap,
    #[serde(deserialize_with = "null_default")]
    pub labels: StringMap,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_block_all: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_allow_list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_allow_list: Option<String>,
    /// Region, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<i64>,
    /// GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<i64>,
    /// Minutes; 0 is never, absent is 15.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_stop_interval: Option<i64>,
    /// Minutes; 0 is the service's maximum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_archive_interval: Option<i64>,
    /// Minutes after a stop; negative is never, 0 is at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_delete_interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_info: Option<BuildInfo>,
    /// Ours, for the local server only; Daytona ignores it. The caller's `PATH`, `HOME` and tools' own
    /// variables, by which the local server finds the tools the sandbox shall see. Not part of the
    /// sandbox's environment, and never told back. [`HOST_TOOL_DIRS`] adds directories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_environment: Option<StringMap>,
}

/// The entry of [`CreateSandbox::host_environment`] that lists added tool directories, separated like
/// `PATH`.
pub const HOST_TOOL_DIRS: &str = "SANDBOX_CODER_TOOL_DIR";

/// A Dockerfile to build the sandbox or snapshot from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Daytona's own names")]
pub struct BuildInfo {
    pub dockerfile_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_hashes: Option<Vec<String>>,
}

/// The full sandbox as `create`, `get`, `start`, `stop` and `delete` answer it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Daytona's own names")]
pub struct Sandbox {
    pub id: String,
    #[serde(deserialize_with = "null_default")]
    pub organization_id: String,
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    pub snapshot: Option<String>,
    #[serde(deserialize_with = "null_default")]
    pub user: String,
    #[serde(deserialize_with = "lax_map")]
    pub env: StringMap,
    #[serde(deserialize_with = "lax_map")]
    pub labels: StringMap,
    #[serde(deserialize_with = "null_default")]
    pub public: bool,
    #[serde(deserialize_with = "null_default")]
    pub network_block_all: bool,
    pub network_allow_list: Option<String>,
    pub domain_allow_list: Option<String>,
    /// Required by the newest Python client, absent at 0.190.
    #[serde(deserialize_with = "null_default")]
    pub kvm: bool,
    #[serde(deserialize_with = "null_default")]
    pub target: String,
    #[serde(deserialize_with = "lax_integer")]
    pub cpu: i64,
    #[serde(deserialize_with = "lax_integer")]
    pub gpu: i64,
    #[serde(deserialize_with = "lax_integer")]
    pub memory: i64,
    #[serde(deserialize_with = "lax_integer")]
    pub disk: i64,
    #[serde(deserialize_with = "null_default")]
    pub state: SandboxState,
    pub desired_state: Option<String>,
    pub error_reason: Option<String>,
    pub recoverable: Option<bool>,
    pub backup_state: Option<String>,
    pub auto_stop_interval: Option<i64>,
    pub auto_archive_interval: Option<i64>,
    pub auto_delete_interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Vec<serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_info: Option<serde_json::Value>,
    pub created_at: Option<String>,
    pub updated_at: Option<String>,
    pub last_activity_at: Option<String>,
    pub sandbox_class: Option<String>,
    pub daemon_version: Option<String>,
    pub runner_id: Option<String>,
    /// Base of the toolbox: this + `/` + id. Empty means: ask `toolbox-proxy-url`.
    #[serde(deserialize_with = "null_default")]
    pub toolbox_proxy_url: String,
}

/// `GET /sandbox`: one page.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SandboxPage {
    /// The sandboxes. The service leaves some fields out here (`env`, `kvm`, `buildInfo`).
    #[serde(deserialize_with = "null_default")]
    pub items: Vec<Sandbox>,
    /// Opaque; `None` ends the list.
    pub next_cursor: Option<String>,
}

/// `GET /sandbox/{id}/toolbox-proxy-url` and other answers with one URL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Url {
    /// The URL.
    pub url: String,
}

/// `GET /sandbox/{id}/ports/{port}/preview-url`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Daytona's own names")]
pub struct PreviewUrl {
    pub sandbox_id: String,
    pub url: String,
    /// Opens every port of the sandbox until its next start. Never print it in logs.
    pub token: String,
}

/// Body of `PUT /sandbox/{id}/labels`. It replaces the whole map.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// The new map.
    pub labels: StringMap,
}

/// Where a sandbox is in its life. States this version does not know are kept as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "Daytona's own names")]
pub enum SandboxState {
    Creating,
    PendingBuild,
    BuildingSnapshot,
    PullingSnapshot,
    /// Assigned but not yet created; also seen between the stages of a normal create.
    #[default]
    Unknown,
    Starting,
    Resuming,
    Restoring,
    Started,
    Stopping,
    Stopped,
    Pausing,
    Paused,
    Archiving,
    Archived,
    Resizing,
    Snapshotting,
    Forking,
    Error,
    BuildFailed,
    Destroying,
    Destroyed,
    Other(String),
}

impl SandboxState {
    const NAMES: [(SandboxState, &'static str); 22] = [
        (Self::Creating, "creating"),
        (Self::PendingBuild, "pending_build"),
        (Self::BuildingSnapshot, "building_snapshot"),
        (Self::PullingSnapshot, "pulling_snapshot"),
        (Self::Unknown, "unknown"),
        (Self::Starting, "starting"),
        (Self::Resuming, "resuming"),
        (Self::Restoring, "restoring"),
        (Self::Started, "started"),
        (Self::Stopping, "stopping"),
        (Self::Stopped, "stopped"),
        (Self::Pausing, "pausing"),
        (Self::Paused, "paused"),
        (Self::Archiving, "archiving"),
        (Self::Archived, "archived"),
        (Self::Resizing, "resizing"),
        (Self::Snapshotting, "snapshotting"),
        (Self::Forking, "forking"),
        (Self::Error, "error"),
        (Self::BuildFailed, "build_failed"),
        (Self::Destroying, "destroying"),
        (Self::Destroyed, "destroyed"),
    ];

    /// Daytona's spelling.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(text) => text,
            known => Self::NAMES.iter().find(|(s, _)| s == known).map_or("unknown", |(_, n)| n),
        }
    }

    /// Reads Daytona's spelling.
    pub fn parse(text: &str) -> Self {
        let known = Self::NAMES.iter().find(|(_, n)| *n == text);
        known.map_or_else(|| Self::Other(text.to_owned()), |(s, _)| s.clone())
    }
}

impl fmt::Display for SandboxState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for SandboxState {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SandboxState {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        String::deserialize(de).map(|text| Self::parse(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_state_survives_the_round_trip() {
        for text in ["started", "unknown", "build_failed", "teleporting"] {
            let json = serde_json::Value::from(text);
            let state: SandboxState = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(serde_json::to_value(&state).unwrap(), json);
        }
    }

    #[test]
    fn a_sandbox_reads_nulls_absences_and_floats() {
        let json =
            r#"{"id":"i","labels":null,"cpu":1.0,"memory":null,"state":"started","future":1}"#;
        let sandbox: Sandbox = serde_json::from_str(json).unwrap();
        assert_eq!((sandbox.cpu, sandbox.memory, sandbox.labels.len()), (1, 0, 0));
        assert_eq!(sandbox.state, SandboxState::Started);
    }
}
