//! Commands and sessions in the toolbox.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::null_default;

/// Body of `POST /process/execute`. The command text becomes the shell's standard input: a command that
/// reads standard input would swallow the lines after it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Execute {
    /// Shell text.
    pub command: String,
    /// Seconds; absent or 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// Default: the work directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Added to the daemon's environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envs: Option<BTreeMap<String, String>>,
}

/// Answer of `POST /process/execute`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Executed {
    /// The shell's; -1 if it could not be started or was killed.
    pub exit_code: i32,
    /// Standard output and error merged; bytes that are not UTF-8 are U+FFFD.
    #[serde(deserialize_with = "null_default")]
    pub result: String,
}

/// Body of `POST /process/session`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateSession {
    /// `[A-Za-z0-9_-]` is safe.
    pub session_id: String,
}

/// One session with its commands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Session {
    /// Its id.
    pub session_id: String,
    /// What was started in it.
    #[serde(deserialize_with = "null_default")]
    pub commands: Vec<SessionCommand>,
}

/// One command of a session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionCommand {
    /// Its id.
    pub id: String,
    /// Shell text.
    pub command: String,
    /// Absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// Body of `POST /process/session/{id}/exec`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionExecute {
    /// Shell text.
    pub command: String,
    /// Answer at once with the command's id.
    #[serde(skip_serializing_if = "Option::is_none", alias = "async")]
    pub run_async: Option<bool>,
    /// Keep input out of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppress_input_echo: Option<bool>,
}

/// Answer of `POST /process/session/{id}/exec`; all but the id `null` for an asynchronous command.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Daytona's own names")]
pub struct SessionExecuted {
    pub cmd_id: String,
    pub output: Option<String>,
    pub stdout: Option<String>,
    pub stderr: Option<String>,
    pub exit_code: Option<i32>,
}

/// Answer of a session command's logs, for clients that name a version from 0.167.0 on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Daytona's own names")]
pub struct SessionLogs {
    /// With the marker bytes.
    pub output: String,
    pub stdout: String,
    pub stderr: String,
}

/// In front of each piece of standard output in a session log.
pub const STDOUT_MARK: [u8; 3] = [1, 1, 1];
/// In front of each piece of standard error in a session log.
pub const STDERR_MARK: [u8; 3] = [2, 2, 2];
