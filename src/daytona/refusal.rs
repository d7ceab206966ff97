//! What an answer with an error status means.
//!
//! The status alone does not classify: a quota, a stopped sandbox and a mistake of ours all come as 400.
//! So a refusal is judged by status, words and the thing that was asked for.

use std::fmt;
use std::time::Duration;

use crate::exit::ErrorCode;

/// What a call was about, as far as a refusal's meaning depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A sandbox on the control plane.
    Sandbox,
    /// A snapshot on the control plane.
    Snapshot,
    /// A file in the toolbox.
    File,
    /// Anything else in the toolbox.
    Toolbox,
    /// The account.
    Account,
}

/// An answer with an error status.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// What was asked for.
    pub subject: Subject,
    /// HTTP status.
    pub status: u16,
    /// Machine code of newer services.
    pub machine_code: Option<String>,
    /// The service's own words, or words for the status.
    pub words: String,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
    /// The meaning of it all.
    pub meaning: Meaning,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.words, self.status)
    }
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The key was rejected; or, from the toolbox, the sandbox is unknown.
    Auth,
    /// The key may not do this.
    Forbidden,
    /// The organization is suspended.
    Suspended,
    /// A quota is used up.
    Quota,
    /// Too many requests.
    RateLimit,
    /// There is no such call: most likely the address is not that of the API.
    NoRoute,
    /// There is no such thing.
    Missing,
    /// The snapshot cannot be used.
    Snapshot,
    /// The sandbox is not up (yet, or any more).
    NotUp,
    /// The name is taken.
    Exists,
    /// Another change is in progress.
    Changing,
    /// Already in the wanted or another steady state.
    WrongState,
    /// The command ran out of time over there.
    CommandTimeout,
    /// It has ended.
    Gone,
    /// Too large.
    TooLarge,
    /// The disk over there is full.
    DiskFull,
    /// Gateway or service in trouble; nothing is known about the call.
    Gateway,
    /// The service failed inside.
    Internal,
    /// The sandbox failed to start.
    StartFailed,
    /// None of these: most likely a mistake of ours.
    Other,
}

/// The meaning of a status with these words for that subject.
pub fn meaning(subject: Subject, status: u16, words: &str) -> Meaning {
    let words = words.to_ascii_lowercase();
    let has = |needle: &str| words.contains(needle);
    let toolbox = matches!(subject, Subject::Toolbox | Subject::File);
    match status {
        400 if toolbox && (has("no ip address found") || has("failed to get runner info")) => {
            Meaning::NotUp
        }
        404 if toolbox && has("sandbox container not found") => Meaning::NotUp,
        _ if has("no space left on device") => Meaning::DiskFull,
        400 if toolbox => Meaning::Other,
        400 if has("suspended") => Meaning::Suspended,
        400 if has("limit exceeded")
            || has("quota exceeded")
            || has("exceeds maximum allowed")
            || has("maximum allowed per sandbox") =>
        {
            Meaning::Quota
        }
        400 if has("failed to start") => Meaning::StartFailed,
        400 if has("no available runner") => Meaning::Snapshot,
        400 if has("snapshot ")
            && (has("not found")
                || has(" is error")
                || has(" is inactive")
                || has("is not available")
                || has("not active")
                || has(" is build_failed")
                || has(" is pending")
                || has(" is building")
                || has(" is pulling")
                || has(" is removing")) =>
        {
            Meaning::Snapshot
        }
        400 if has("stoppable")
            || has("errored state")
            || has("recoverable state")
            || has("not stopped")
            || has("not started") =>
        {
            Meaning::WrongState
        }
        401 => Meaning::Auth,
        403 if has("suspended") => Meaning::Suspended,
        403 if toolbox => Meaning::Other,
        403 => Meaning::Forbidden,
        404 if !toolbox && has("cannot ") && has(" /") => Meaning::NoRoute,
        404 => Meaning::Missing,
        408 if toolbox => Meaning::CommandTimeout,
        408 => Meaning::Gateway,
        409 if has("already exists") => Meaning::Exists,
        409 => Meaning::Changing,
        410 => Meaning::Gone,
        413 => Meaning::TooLarge,
        429 => Meaning::RateLimit,
        502..=504 => Meaning::Gateway,
        507 => Meaning::DiskFull,
        500.. => Meaning::Internal,
        _ => Meaning::Other,
    }
}

impl Refusal {
    /// The stable code of this meaning.
    pub(super) fn code(&self) -> ErrorCode {
        let toolbox = matches!(self.subject, Subject::Toolbox | Subject::File);
        match self.meaning {
            Meaning::Auth => ErrorCode::AuthInvalid,
            Meaning::Forbidden => ErrorCode::AuthForbidden,
            Meaning::Suspended => ErrorCode::QuotaSuspended,
            Meaning::Quota => ErrorCode::QuotaExceeded,
            Meaning::RateLimit => ErrorCode::RateLimited,
            Meaning::NoRoute => ErrorCode::ProtoNoRoute,
            Meaning::Missing => match self.subject {
                Subject::Sandbox => ErrorCode::SandboxNotFound,
                Subject::Snapshot => ErrorCode::SnapshotUnavailable,
                _ => ErrorCode::ProtoUnexpected,
            },
            Meaning::Snapshot => ErrorCode::SnapshotUnavailable,
            Meaning::NotUp => ErrorCode::SandboxLost,
            Meaning::Exists if self.subject == Subject::Snapshot => ErrorCode::SnapshotFailed,
            Meaning::Exists => ErrorCode::SandboxNameTaken,
            Meaning::Changing => ErrorCode::SandboxBusy,
            Meaning::WrongState | Meaning::StartFailed => ErrorCode::SandboxErrored,
            Meaning::CommandTimeout => ErrorCode::AgentTimeout,
            Meaning::TooLarge => ErrorCode::SyncTooLarge,
            Meaning::DiskFull => ErrorCode::SyncDiskFull,
            Meaning::Gateway | Meaning::Internal if toolbox => ErrorCode::SandboxLost,
            Meaning::Gateway | Meaning::Internal => ErrorCode::PlatformUnavailable,
            Meaning::Gone | Meaning::Other => ErrorCode::ProtoUnexpected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_decide_where_the_status_does_not() {
        use Meaning as M;
        use Subject::{File, Sandbox, Snapshot, Toolbox};
        let table = [
            (Sandbox, 400, "Total CPU limit exceeded. Maximum allowed: 1.", M::Quota),
            (Sandbox, 400, "CPU request 200 exceeds maximum allowed per sandbox (100).", M::Quota),
            (Snapshot, 400, "Snapshot quota exceeded. Maximum allowed: 1", M::Quota),
            (
                Sandbox,
                400,
                "Snapshot x not found. Did you add it through the Dashboard?",
                M::Snapshot,
            ),
            (Sandbox, 400, "Snapshot bad1 is error", M::Snapshot),
            (Sandbox, 400, "No available runners", M::Snapshot),
            (Sandbox, 400, "Sandbox failed to start: x", M::StartFailed),
            (Sandbox, 400, "Sandbox is not in a stoppable state", M::WrongState),
            (Sandbox, 400, "autoStopInterval must be a number", M::Other),
            (Sandbox, 401, "Invalid credentials", M::Auth),
            (Sandbox, 403, "Organization is suspended: demo reason", M::Suspended),
            (Sandbox, 403, "Region us is not available to the organization", M::Forbidden),
            (Sandbox, 404, "Sandbox with ID or name x not found", M::Missing),
            (Sandbox, 404, "Cannot GET /sandbox/x", M::NoRoute),
            (Sandbox, 409, "Sandbox with name a1 already exists", M::Exists),
            (Sandbox, 409, "Sandbox state change in progress", M::Changing),
            (Sandbox, 429, "ThrottlerException: Too Many Requests", M::RateLimit),
            (Sandbox, 503, "", M::Gateway),
            (Toolbox, 400, "failed to resolve container IP: no IP address found. Is it?", M::NotUp),
            (Toolbox, 400, "failed to get runner info: Sandbox with ID x not found", M::NotUp),
            (Toolbox, 404, "not found: sandbox container not found: x", M::NotUp),
            (Toolbox, 404, "404 page not found", M::Missing),
            (Toolbox, 408, "request timeout: command execution timeout", M::CommandTimeout),
            (File, 400, "/w: write: no space left on device", M::DiskFull),
            (File, 403, "403 Forbidden", M::Other),
        ];
        for (subject, status, words, expected) in table {
            assert_eq!(meaning(subject, status, words), expected, "{status} {words}");
        }
    }
}
