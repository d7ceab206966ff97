//! Files in the toolbox.

use serde::{Deserialize, Serialize};

use super::null_default;

/// `GET /files/info`, and the items of `GET /files`. Links are followed; dangling ones are invisible.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileInfo {
    /// The last component.
    pub name: String,
    /// Absent at 0.190.
    #[serde(deserialize_with = "null_default")]
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Go's text form, such as `-rw-r--r--`.
    pub mode: String,
    /// Go's own text form; deprecated.
    pub mod_time: String,
    /// RFC 3339.
    pub modified_at: Option<String>,
    /// Whether it is a directory, links followed.
    pub is_dir: bool,
    /// Numeric, as text.
    pub owner: String,
    /// Numeric, as text.
    pub group: String,
    /// Four octal digits.
    pub permissions: String,
}

/// Answer of `POST /files/bulk-upload`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BulkUpload {
    /// What arrived; `null` if nothing did.
    pub files: Option<Vec<Uploaded>>,
    /// One text for each that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<String>>,
}

/// One file that arrived.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Uploaded {
    /// Destination as sent.
    pub path: String,
    /// Bytes written.
    pub bytes: u64,
}

/// Body of `POST /files/bulk-download`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BulkDownload {
    /// Absolute, or relative to the work directory.
    pub paths: Vec<String>,
}

/// Answer of `GET /files/search`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchResult {
    /// Paths whose last component matches.
    pub files: Vec<String>,
}

/// One hit of `GET /files/find`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// Which file.
    pub file: String,
    /// Counted from 1.
    pub line: u64,
    /// The line.
    pub content: String,
}

/// Body of `POST /files/replace`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Replace {
    /// Which files.
    pub files: Vec<String>,
    /// Literal text.
    pub pattern: String,
    /// Literal text; may be empty, must be there.
    pub new_value: Option<String>,
}

/// One file's result of `POST /files/replace`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Replaced {
    /// Which file.
    pub file: String,
    /// Whether it worked.
    pub success: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
