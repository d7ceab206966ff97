//! Base URL, credential, timeouts; one `send` that every call passes through.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;

pub use super::address::is_loopback;
use super::address::{below, loops_back, parse_base, redirect};
use super::call::{Call, Payload, Progress};
use super::error::{Error, Tries};
use super::failure::{Failed, chain};
use super::incoming::Incoming;
use super::refusal::Subject;
use super::retry::{self, Failure, Policy};
use crate::secret::{Scrubber, Secret};

/// Where the API is and who asks.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Base URL including `/api`; slashes at the end do not matter.
    pub api_url: String,
    /// Who asks.
    pub credential: Credential,
    /// Region for new sandboxes.
    pub target: Option<String>,
}

/// What is sent as `Authorization: Bearer`.
#[derive(Debug, Clone)]
pub enum Credential {
    /// Bound to an organization by itself.
    Key(Secret),
    /// Of a login; says nothing about the organization.
    Jwt {
        /// The token.
        token: Secret,
        /// Goes into `X-Daytona-Organization-ID`.
        organization: Option<String>,
    },
}

/// How long things may take, and how often they are tried.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// TCP and TLS.
    pub connect: Duration,
    /// From the last byte sent to the first byte of the answer; a third of it for a GET.
    pub first_byte: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
    /// Largest JSON answer.
    pub json: usize,
    /// Repetitions.
    pub retry: Policy,
    /// How long a toolbox that does not answer yet is waited for.
    pub settle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            json: 16 << 20,
            retry: Policy::default(),
            settle: Duration::from_secs(10),
        }
    }
}

/// The API closes idle connections after 5 s; a POST on one of those would be lost.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// A connection to one Daytona. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    /// For this machine's loopback without TLS: reading the system's certificates takes longer than a call.
    near: OnceLock<reqwest::Client>,
    /// For all else.
    far: OnceLock<reqwest::Client>,
    base: Url,
    headers: HeaderMap,
    target: Option<String>,
    limits: Limits,
    scrubber: Scrubber,
    requests: AtomicU64,
}

impl Inner {
    /// What speaks HTTP with this URL. A redirect leads to no other scheme.
    fn http(&self, url: &Url) -> Result<&reqwest::Client, Error> {
        let near = url.scheme() == "http" && loops_back(url);
        let slot = if near { &self.near } else { &self.far };
        if let Some(http) = slot.get() {
            return Ok(http);
        }
        // Another part of the process may have installed one already; either will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sandbox-coder/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.limits.connect)
            .pool_idle_timeout(POOL_IDLE)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::custom(redirect));
        if near {
            builder = builder.tls_certs_only([]);
        }
        if near || loops_back(&self.base) {
            // A proxy cannot reach this machine's loopback.
            builder = builder.no_proxy();
        }
        let bad = |e| Error::BadUrl { url: url.to_string(), why: chain(&e) };
        let http = builder.build().map_err(bad)?;
        Ok(slot.get_or_init(|| http))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.inner.base)
    }
}

impl Client {
    /// A client with the limits of the manual.
    pub fn new(endpoint: Endpoint) -> Result<Self, Error> {
        Self::with_limits(endpoint, Limits::default())
    }

    /// A client with limits of its own.
    pub fn with_limits(endpoint: Endpoint, limits: Limits) -> Result<Self, Error> {
        let base = parse_base(&endpoint.api_url)?;
        let mut scrubber = Scrubber::default();
        let headers = identity(&endpoint, &mut scrubber)?;
        let target = endpoint.target.filter(|t| !t.is_empty());
        let requests = AtomicU64::new(0);
        let (near, far) = (OnceLock::new(), OnceLock::new());
        let inner = Inner { near, far, base, headers, target, limits, scrubber, requests };
        inner.http(&inner.base)?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Requests sent so far, repetitions included.
    pub fn requests(&self) -> u64 {
        self.inner.requests.load(Ordering::Relaxed)
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    pub(super) fn scrubber(&self) -> &Scrubber {
        &self.inner.scrubber
    }

    pub(crate) fn target(&self) -> Option<&str> {
        self.inner.target.as_deref()
    }

    /// A URL below the base, each segment encoded.
    pub(crate) fn url(&self, segments: &[&str]) -> Result<Url, Error> {
        below(&self.inner.base, segments)
    }

    /// Makes the call and reads a JSON answer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let mut call = call;
        let read_only = call.method == Method::GET;
        let mut first = true;
        loop {
            let body = self.bytes(&mut call).await?;
            match serde_json::from_slice(&body) {
                Ok(value) => return Ok(value),
                // A cut or mangled answer is worth one more look, a different service is not.
                Err(_) if first && read_only => first = false,
                Err(e) => {
                    let (what, host) = (call.what.clone(), call.host());
                    return Err(Error::BadJson { what, host, why: e.to_string() });
                }
            }
        }
    }

    /// Makes the call; what it answers does not matter as long as it is a success of the API.
    pub(crate) async fn unit(&self, mut call: Call) -> Result<(), Error> {
        self.bytes(&mut call).await.map(drop)
    }

    async fn bytes(&self, call: &mut Call) -> Result<Bytes, Error> {
        match self.send(call, Read::Whole).await? {
            Answer::Whole(bytes) => Ok(bytes),
            Answer::Stream(_) => Ok(Bytes::new()),
        }
    }

    /// Makes the call and leaves the body to be read by the caller.
    pub(crate) async fn stream(&self, mut call: Call) -> Result<Incoming, Error> {
        let host = call.host();
        match self.send(&mut call, Read::Stream).await? {
            Answer::Stream(incoming) => Ok(incoming),
            Answer::Whole(_) => {
                Err(Error::BadJson { what: call.what, host, why: "no body to read".into() })
            }
        }
    }

    async fn send(&self, call: &mut Call, read: Read) -> Result<Answer, Error> {
        let started = Instant::now();
        let mut done = 0;
        loop {
            done += 1;
            let (failure, error) = match self.attempt(call, read).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => *failed,
            };
            let spent = started.elapsed();
            let policy = &self.inner.limits.retry;
            let pause = failure.and_then(|failure| {
                retry::next(policy, failure, call.repeat, done, spent, retry::jitter())
            });
            let Some(pause) = pause else {
                return Err(error.after(Tries { count: done, over: spent }));
            };
            tracing::debug!(what = call.what, error = %error, ?pause, "trying again");
            tokio::time::sleep(pause).await;
        }
    }

    /// One request and its answer.
    async fn attempt(&self, call: &mut Call, read: Read) -> Result<Answer, Failed> {
        let began = Instant::now();
        let answer = self.exchange(call, read).await;
        let outcome = match &answer {
            Ok(_) => "ok".to_owned(),
            Err(failed) => failed.1.to_string(),
        };
        let (method, path) = (&call.method, call.url.path());
        let ms = began.elapsed().as_millis() as u64;
        tracing::debug!(target: "sandbox_coder::http", %method, path, ms, outcome);
        answer
    }

    async fn exchange(&self, call: &mut Call, read: Read) -> Result<Answer, Failed> {
        let response = self.answer(call).await?;
        let status = response.status();
        let mut incoming = Incoming::new(response, call, self.inner.limits.idle);
        if !status.is_success() && !call.also.contains(&status.as_u16()) {
            return Err(self.refused(call, incoming).await);
        }
        if read == Read::Stream {
            return Ok(Answer::Stream(incoming));
        }
        let kind = incoming.content_type();
        let body = incoming.whole(self.inner.limits.json).await.map_err(|error| {
            let lost = matches!(error, Error::Interrupted { .. });
            Box::new((lost.then_some(Failure::Lost), error))
        })?;
        if kind.contains("html") {
            return Err(Box::new((None, self.not_json(call, status, &kind, &body))));
        }
        if !body.is_empty() && !kind.contains("json") && call.subject != Subject::File {
            return Err(Box::new((None, self.not_json(call, status, &kind, &body))));
        }
        Ok(Answer::Whole(body))
    }

    /// Sends the request and waits for the head of the answer.
    async fn answer(&self, call: &mut Call) -> Result<reqwest::Response, Failed> {
        self.inner.requests.fetch_add(1, Ordering::Relaxed);
        let first_byte = self.inner.limits.first_byte;
        // What only looks is answered at once or not at all.
        let looks = if call.method == Method::GET { first_byte / 3 } else { first_byte };
        let limit = call.first_byte.unwrap_or(looks);
        let http = self.inner.http(&call.url).map_err(|error| Box::new((None, error)))?;
        let mut request = http
            .request(call.method.clone(), call.url.clone())
            .headers(self.inner.headers.clone())
            .headers(call.headers.clone());
        let mut progress = Progress::new();
        match &mut call.payload {
            Payload::None => {}
            Payload::Bytes { kind, bytes } => {
                request = request.header(header::CONTENT_TYPE, &*kind).body(bytes.clone());
            }
            Payload::Stream { kind, size, body, progress: seen } => {
                progress = seen.clone();
                progress.mark();
                request = request.header(header::CONTENT_TYPE, &*kind);
                if let Some(size) = size {
                    request = request.header(header::CONTENT_LENGTH, *size);
                }
                request = request.body(body.take().unwrap_or_default());
            }
        }
        let sent = request.send();
        tokio::pin!(sent);
        let result = loop {
            // The clock starts again with each piece of the body that leaves.
            let left = limit.saturating_sub(progress.since());
            tokio::select! {
                result = &mut sent => break result,
                () = tokio::time::sleep(left.max(Duration::from_millis(1))) => {
                    if progress.since() >= limit {
                        let why = format!("no answer within {} s", limit.as_secs());
                        return Err(self.lost(call, why));
                    }
                }
            }
        };
        result.map_err(|e| self.transport(call, &e))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    Whole,
    Stream,
}

enum Answer {
    Whole(Bytes),
    Stream(Incoming),
}

fn identity(endpoint: &Endpoint, scrubber: &mut Scrubber) -> Result<HeaderMap, Error> {
    let bad = |why: &str| Error::BadUrl { url: endpoint.api_url.clone(), why: why.to_owned() };
    let (secret, organization) = match &endpoint.credential {
        Credential::Key(key) => (key, None),
        Credential::Jwt { token, organization } => (token, organization.as_deref()),
    };
    scrubber.add(secret);
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", secret.expose().trim()))
        .map_err(|_| bad("the API key holds characters that no key has"))?;
    bearer.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, bearer);
    headers.insert("x-daytona-source", HeaderValue::from_static("sandbox-coder"));
    if let Some(organization) = organization {
        let value = HeaderValue::from_str(organization)
            .map_err(|_| bad("the organization id holds characters that no id has"))?;
        headers.insert("x-daytona-organization-id", value);
    }
    Ok(headers)
}
