//! One call before it is made: what it carries, how often it may be sent, and what it is called in messages.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};

use super::refusal::Subject;
use super::retry::Repeat;

/// What a request carries.
pub(crate) enum Payload {
    /// Nothing.
    None,
    /// Bytes that can be sent again.
    Bytes { kind: String, bytes: Bytes },
    /// Bytes that can be sent once. `progress` moves while they are taken.
    Stream { kind: String, size: Option<u64>, body: Option<reqwest::Body>, progress: Progress },
}

/// When a streamed body was last asked for more.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(crate) fn mark(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long ago that was.
    pub(crate) fn since(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// One call, before it is made.
pub(crate) struct Call {
    /// For messages: a verb and the thing, such as ``start sandbox `x` ``.
    pub what: String,
    pub subject: Subject,
    pub method: Method,
    pub url: Url,
    pub payload: Payload,
    pub repeat: Repeat,
    pub first_byte: Option<Duration>,
    pub headers: HeaderMap,
    /// Statuses besides 2xx that are an answer, not a failure.
    pub also: &'static [u16],
}

impl Call {
    pub(crate) fn new(what: String, subject: Subject, method: Method, url: Url) -> Self {
        let repeat = if method == Method::POST { Repeat::Never } else { Repeat::Harmless };
        Self {
            what,
            subject,
            method,
            url,
            payload: Payload::None,
            repeat,
            first_byte: None,
            headers: HeaderMap::new(),
            also: &[],
        }
    }

    pub(crate) fn json(mut self, value: &impl serde::Serialize) -> Self {
        // Wire types hold text, numbers and maps with text keys: they always serialize.
        let bytes = serde_json::to_vec(value).unwrap_or_default().into();
        self.payload = Payload::Bytes { kind: "application/json".into(), bytes };
        self
    }

    pub(crate) fn harmless(mut self) -> Self {
        self.repeat = Repeat::Harmless;
        self
    }

    /// Host and port, for messages.
    pub(crate) fn host(&self) -> String {
        host_of(&self.url)
    }
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
