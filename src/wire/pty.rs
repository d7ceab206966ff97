//! Terminals in the toolbox.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::null_default;

/// The subprotocol offered by clients that want an `exited` message before the close frame.
pub const EXIT_CONTROL: &str = "X-Daytona-Pty-Exit-Control";
/// The subprotocol that carries the environment: this, then base64url without padding of a JSON object.
pub const ENVS_PREFIX: &str = "X-Daytona-Pty-Envs~";
/// The subprotocol that carries the client's version.
pub const SDK_VERSION_PREFIX: &str = "X-Daytona-SDK-Version~";

/// Body of `POST /process/pty`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreatePty {
    /// Chosen by the client.
    pub id: String,
    /// Default: the work directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Added to the daemon's environment. Anyone who can list terminals can read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envs: Option<BTreeMap<String, String>>,
    /// At most 1000; default 80.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cols: Option<u16>,
    /// At most 1000; default 24.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u16>,
    /// Start the shell at the first connect, so that nothing it prints is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lazy_start: Option<bool>,
}

/// Answer of `POST /process/pty`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PtyCreated {
    /// The id as asked for.
    pub session_id: String,
}

/// One terminal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Daytona's own names")]
pub struct PtyInfo {
    pub id: String,
    pub cwd: String,
    #[serde(deserialize_with = "null_default")]
    pub envs: BTreeMap<String, String>,
    pub cols: u16,
    pub rows: u16,
    pub created_at: String,
    pub active: bool,
    pub lazy_start: bool,
}

/// Answer of `GET /process/pty`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PtyList {
    /// The terminals.
    #[serde(deserialize_with = "null_default")]
    pub sessions: Vec<PtyInfo>,
}

/// Body of `POST /process/pty/{id}/resize`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Daytona's own names")]
pub struct Resize {
    pub cols: u16,
    pub rows: u16,
}

/// A text frame from the server that is not output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Control {
    /// Why it failed, for status `error`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// `connected`, `error`, `exited`.
    pub status: String,
    /// Always `control`.
    pub r#type: String,
    /// For status `exited`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// For status `exited` with a code other than 0.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_reason: Option<String>,
}

/// The reason of the close frame. Parse it before looking at the close code: 1011 with this reason is an
/// ended program, 1011 with any other is trouble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloseReason {
    /// The shell's exit status; -1 if a signal killed it.
    pub exit_code: i32,
    /// Words, for a code other than 0.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_reason: Option<String>,
}
