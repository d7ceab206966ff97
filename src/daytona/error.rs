//! What can go wrong between us and the service, told in one line.

use std::fmt;
use std::time::Duration;

use super::refusal::{Meaning, Refusal};
use crate::exit::ErrorCode;
use crate::wire::sandbox::SandboxState;

/// A call that failed, after every repetition that was allowed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API URL cannot be used.
    #[error("the API URL `{url}` is not usable: {why}")]
    BadUrl {
        /// As given.
        url: String,
        /// Words.
        why: String,
    },
    /// No connection could be made; the service has seen nothing.
    #[error("{what}: cannot reach `{host}`: {why}{tries}")]
    Unreachable {
        /// What was tried.
        what: String,
        /// Host and port.
        host: String,
        /// At which step it failed.
        step: ConnectStep,
        /// Words.
        why: String,
        /// How often.
        tries: Tries,
    },
    /// The connection was lost or went silent; the service may have acted.
    #[error("{what}: the connection to `{host}` was lost: {why}{tries}")]
    Interrupted {
        /// What was tried.
        what: String,
        /// Host and port.
        host: String,
        /// Words.
        why: String,
        /// How often.
        tries: Tries,
    },
    /// The service refused.
    #[error("{what}: {refusal}{tries}")]
    Refused {
        /// What was tried.
        what: String,
        /// Its answer.
        refusal: Box<Refusal>,
        /// How often.
        tries: Tries,
    },
    /// The answer is a page for people or something else that is not JSON.
    #[error("{what}: `{host}` answered {status} with {kind} instead of JSON: {quote}")]
    NotJson {
        /// What was tried.
        what: String,
        /// Host and port.
        host: String,
        /// HTTP status.
        status: u16,
        /// The content type.
        kind: String,
        /// The first words of its text.
        quote: String,
    },
    /// A script over there had no room to work.
    #[error("{what}: the disk of the sandbox is full: {why}")]
    NoSpace {
        /// What was tried.
        what: String,
        /// Words.
        why: String,
    },
    /// The answer is JSON, or claims to be, but not the expected one.
    #[error("{what}: the answer of `{host}` is not understood: {why}")]
    BadJson {
        /// What was tried.
        what: String,
        /// Host and port.
        host: String,
        /// Words.
        why: String,
    },
    /// A file did not arrive whole.
    #[error("upload `{path}`: {why}")]
    Upload {
        /// Where it should have gone.
        path: String,
        /// Words.
        why: String,
    },
    /// A download ended early or changed while it was read.
    #[error("download `{path}`: {why}")]
    Download {
        /// Which file.
        path: String,
        /// Words.
        why: String,
    },
    /// A local stream could not be read or written.
    #[error("{what}: {source}")]
    Local {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The sandbox was not ready in time.
    #[error("sandbox `{id}` is still `{state}` after {}", seconds(*.after))]
    StartTimeout {
        /// Which sandbox.
        id: String,
        /// The last state seen.
        state: SandboxState,
        /// How long was waited.
        after: Duration,
    },
    /// A script of ours goes on for longer than anybody waits.
    #[error("sandbox `{id}` still works on it after {}", seconds(*.after))]
    TooSlow {
        /// Which sandbox.
        id: String,
        /// How long was waited.
        after: Duration,
    },
    /// The sandbox failed.
    #[error("sandbox `{id}` is in state `{state}`{}", because(.reason))]
    Errored {
        /// Which sandbox.
        id: String,
        /// `error`, `build_failed`, `destroyed` and the like.
        state: SandboxState,
        /// The service's words.
        reason: String,
        /// Whether `recover` may help.
        recoverable: bool,
    },
    /// The sandbox is not running.
    #[error("sandbox `{id}` is `{state}`, not running")]
    NotRunning {
        /// Which sandbox.
        id: String,
        /// Its state.
        state: SandboxState,
    },
    /// A name is taken and its holder cannot be found.
    #[error("the name `{name}` is taken, but no sandbox of that name can be seen")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A terminal of the toolbox failed.
    #[error("terminal in the sandbox: {why}")]
    Pty {
        /// Words.
        why: String,
    },
}

/// At which step a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectStep {
    /// The name has no address.
    DnsUnknown,
    /// The name server could not be asked.
    DnsPassing,
    /// TCP, or the proxy in between.
    Tcp,
    /// TLS.
    Tls,
}

/// How often something was tried, for the end of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tries {
    /// Requests sent.
    pub count: u32,
    /// From the first to the last.
    pub over: Duration,
}

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 | 1 => Ok(()),
            n => write!(f, " ({n} tries in {})", seconds(self.over)),
        }
    }
}

impl Error {
    /// The stable name of the failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::BadUrl { .. } => ErrorCode::ConfigInvalid,
            Self::Unreachable { step, .. } => match step {
                ConnectStep::DnsUnknown | ConnectStep::DnsPassing => ErrorCode::NetDns,
                ConnectStep::Tcp => ErrorCode::NetUnreachable,
                ConnectStep::Tls => ErrorCode::NetTls,
            },
            Self::Interrupted { .. } | Self::Pty { .. } => ErrorCode::NetInterrupted,
            Self::Refused { refusal, .. } => refusal.code(),
            Self::NotJson { .. } => ErrorCode::ProtoNotJson,
            Self::BadJson { .. } => ErrorCode::ProtoBadJson,
            Self::NoSpace { .. } => ErrorCode::SyncDiskFull,
            Self::Upload { .. } => ErrorCode::SyncUploadFailed,
            Self::Download { .. } => ErrorCode::SyncTruncated,
            Self::Local { .. } => ErrorCode::HostIo,
            Self::StartTimeout { state: SandboxState::Other(_), .. } => {
                ErrorCode::SandboxUnknownState
            }
            Self::StartTimeout { .. } => ErrorCode::SandboxStartTimeout,
            Self::TooSlow { .. } => ErrorCode::SyncIncomplete,
            Self::Errored { .. } => ErrorCode::SandboxErrored,
            Self::NotRunning { .. } => ErrorCode::SandboxLost,
            Self::NameTaken { .. } => ErrorCode::SandboxNameTaken,
        }
    }

    /// The HTTP status behind it, if the service answered.
    pub fn http_status(&self) -> Option<u16> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal.status),
            Self::NotJson { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What the service's refusal means, if it is one.
    pub fn meaning(&self) -> Option<Meaning> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal.meaning),
            _ => None,
        }
    }

    /// How long the service asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { refusal, .. } => refusal.retry_after,
            _ => None,
        }
    }

    /// The same call may succeed later without a change by the caller.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { step, .. } => *step != ConnectStep::Tls,
            Self::Interrupted { .. }
            | Self::Pty { .. }
            | Self::StartTimeout { .. }
            | Self::TooSlow { .. }
            | Self::Upload { .. }
            | Self::Download { .. } => true,
            Self::Refused { refusal, .. } => matches!(
                refusal.meaning,
                Meaning::RateLimit
                    | Meaning::NotUp
                    | Meaning::Changing
                    | Meaning::Gateway
                    | Meaning::Internal
            ),
            _ => false,
        }
    }

    /// There is no such thing.
    pub fn is_missing(&self) -> bool {
        self.meaning() == Some(Meaning::Missing)
    }

    /// Whether the service may have acted although no good answer came.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Interrupted { .. } | Self::NotJson { .. } | Self::BadJson { .. } => true,
            Self::Refused { refusal, .. } => {
                matches!(refusal.meaning, Meaning::Gateway | Meaning::Internal)
            }
            _ => false,
        }
    }

    /// The sandbox's toolbox cannot be reached (yet): look at the sandbox's state before judging.
    pub(crate) fn is_not_up(&self) -> bool {
        matches!(self.meaning(), Some(Meaning::NotUp | Meaning::Gateway))
    }
}

fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        s => format!("{s} s"),
    }
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}
