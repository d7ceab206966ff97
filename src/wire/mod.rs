//! Daytona's JSON and frames, shared by the client and the local server.
//!
//! Two generations of Daytona exist: 0.190 (the last with recordings) and the SDKs' newer one. Reading is
//! tolerant of both: unknown fields are ignored, absent and `null` are the same, unknown states are kept
//! as text. Writing satisfies the strictest official client: every required key of either generation is
//! present, resources are integers, nullable keys are `null`.

pub mod error;
pub mod files;
pub mod hop;
pub mod process;
pub mod pty;
pub mod sandbox;
pub mod snapshot;

use serde::{Deserialize, Deserializer};

/// Reads `null` like an absent field.
pub(crate) fn null_default<'de, D, T>(de: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(de)?.unwrap_or_default())
}

/// Reads an integer that an older service may write as `1.0`.
pub(crate) fn lax_integer<'de, D: Deserializer<'de>>(de: D) -> Result<i64, D::Error> {
    let number: Option<f64> = Option::deserialize(de)?;
    Ok(number.unwrap_or_default() as i64)
}

/// Reads a map of text in which other clients have put numbers or flags: the service checks nothing, and
/// one odd label must not hide the whole list.
pub(crate) fn lax_map<'de, D>(de: D) -> Result<sandbox::StringMap, D::Error>
where
    D: Deserializer<'de>,
{
    use serde_json::Value;
    let map: Option<std::collections::BTreeMap<String, Value>> = Option::deserialize(de)?;
    let text = |value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(map.unwrap_or_default().into_iter().map(|(name, value)| (name, text(value))).collect())
}
