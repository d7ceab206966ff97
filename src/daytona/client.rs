//! Base URL, credential, timeouts; one `send` that every call passes through.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::error::{ConnectStep, Error, Refusal, Subject, Tries, meaning};
use super::retry::{self, Failure, Policy, Repeat};
use crate::secret::{Scrubber, Secret};
use crate::wire::error::ErrorBody;

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
    /// From the last byte sent to the first byte of the answer.
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

/// Redirects followed before an answer counts as not understood.
const REDIRECTS: usize = 3;
/// The API closes idle connections after 5 s; a POST on one of those would be lost.
const POOL_IDLE: Duration = Duration::from_secs(4);
/// Longest error body that is read.
const ERROR_BODY: usize = 64 << 10;
/// A body slower than [`SLOW_BYTES`] within this time of waiting is given up.
const SLOW: Duration = Duration::from_secs(60);
const SLOW_BYTES: u64 = 60 << 10;

/// A connection to one Daytona. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    base: Url,
    headers: HeaderMap,
    target: Option<String>,
    limits: Limits,
    scrubber: Scrubber,
    requests: AtomicU64,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.inner.base)
    }
}

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

    fn since(&self) -> Duration {
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

    fn host(&self) -> String {
        host_of(&self.url)
    }
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
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
        // Another part of the process may have installed one already; either will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sandbox-coder/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits.connect)
            .pool_idle_timeout(POOL_IDLE)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::custom(redirect));
        if loops_back(&base) {
            // A proxy cannot reach this machine's loopback.
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|e| Error::BadUrl { url: endpoint.api_url.clone(), why: chain(&e) })?;
        let target = endpoint.target.filter(|t| !t.is_empty());
        let requests = AtomicU64::new(0);
        let inner = Inner { http, base, headers, target, limits, scrubber, requests };
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
        let limit = call.first_byte.unwrap_or(self.inner.limits.first_byte);
        let mut request = self
            .inner
            .http
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

    /// Asks for an upgrade to a WebSocket; `None` for a 404.
    pub(crate) async fn upgrade(&self, mut call: Call) -> Result<Option<reqwest::Upgraded>, Error> {
        use base64::Engine as _;
        let key = uuid::Uuid::new_v4();
        let key = base64::engine::general_purpose::STANDARD.encode(key.as_bytes());
        let expected = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        for (name, value) in [
            (header::CONNECTION, "Upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, key.as_str()),
        ] {
            let value = HeaderValue::from_str(value).expect("base64 and words are header text");
            call.headers.insert(name, value);
        }
        call.repeat = Repeat::Harmless;
        call.also = &[101, 404];
        let (what, host) = (call.what.clone(), call.host());
        let incoming = self.stream(call).await?;
        let head = incoming.response;
        let bad = |why: String| Error::BadJson { what: what.clone(), host: host.clone(), why };
        match head.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::SWITCHING_PROTOCOLS => {}
            status => return Err(bad(format!("{status} where a WebSocket was asked for"))),
        }
        let accept = head.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accept.and_then(|v| v.to_str().ok()) != Some(expected.as_str()) {
            return Err(bad("the WebSocket handshake was answered with a wrong key".into()));
        }
        let upgraded = head.upgrade().await;
        upgraded.map(Some).map_err(|e| Error::Interrupted {
            what,
            host,
            why: chain(&e),
            tries: Tries::default(),
        })
    }

    fn lost(&self, call: &Call, why: String) -> Failed {
        let (what, host, tries) = (call.what.clone(), call.host(), Tries::default());
        Box::new((Some(Failure::Lost), Error::Interrupted { what, host, why, tries }))
    }

    fn transport(&self, call: &Call, error: &reqwest::Error) -> Failed {
        let why = self.inner.scrubber.scrub(&chain(error)).into_owned();
        if error.is_redirect() {
            let (what, host) = (call.what.clone(), call.host());
            return Box::new((None, Error::BadJson { what, host, why }));
        }
        if !error.is_connect() {
            return self.lost(call, why);
        }
        let step = connect_step(error);
        let failure = match step {
            ConnectStep::DnsPassing | ConnectStep::Tcp => Failure::NotConnected,
            ConnectStep::DnsUnknown | ConnectStep::Tls => Failure::Hopeless,
        };
        let (what, host, tries) = (call.what.clone(), call.host(), Tries::default());
        Box::new((Some(failure), Error::Unreachable { what, host, step, why, tries }))
    }

    /// Turns an answer with an error status into words.
    async fn refused(&self, call: &Call, mut incoming: Incoming) -> Failed {
        let status = incoming.response.status();
        let now = jiff::Timestamp::now().as_second();
        let headers = incoming.response.headers();
        let pairs = headers.iter().filter_map(|(n, v)| Some((n.as_str(), v.to_str().ok()?)));
        let retry_after = retry::asked_wait(pairs, now);
        let kind = incoming.content_type();
        if status.is_redirection() {
            let to = headers.get(header::LOCATION).and_then(|v| v.to_str().ok()).unwrap_or("?");
            let kind = format!("a redirect to `{}`", plain(to));
            return Box::new((None, self.not_json(call, status, &kind, b"")));
        }
        // A body that breaks off still leaves the status.
        let body = incoming.whole(ERROR_BODY).await.unwrap_or_default();
        let json: Option<ErrorBody> = serde_json::from_slice(&body).ok();
        let machine_code = json.as_ref().and_then(|j| j.code.clone());
        let text = match &json {
            Some(json) => json.words().unwrap_or_default().to_owned(),
            None => plain(&String::from_utf8_lossy(&body)),
        };
        let mut words = plain(&self.inner.scrubber.scrub(&text));
        if words.is_empty() || (json.is_none() && kind.contains("html")) {
            words = status.canonical_reason().unwrap_or("refused").to_lowercase();
        }
        let code = status.as_u16();
        let (subject, meaning) = (call.subject, meaning(call.subject, code, &words));
        let refusal = Refusal { subject, status: code, machine_code, words, retry_after, meaning };
        let (what, tries) = (call.what.clone(), Tries::default());
        let failure = Failure::Status { status: code, retry_after };
        Box::new((Some(failure), Error::Refused { what, refusal: Box::new(refusal), tries }))
    }

    fn not_json(&self, call: &Call, status: StatusCode, kind: &str, body: &[u8]) -> Error {
        let quote = plain(&self.inner.scrubber.scrub(&String::from_utf8_lossy(body)));
        Error::NotJson {
            what: call.what.clone(),
            host: call.host(),
            status: status.as_u16(),
            kind: if kind.is_empty() { "no content type".into() } else { kind.to_owned() },
            quote,
        }
    }
}

/// A failed request: how it bears on repeating (`None` is never), and the words.
type Failed = Box<(Option<Failure>, Error)>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    Whole,
    Stream,
}

enum Answer {
    Whole(Bytes),
    Stream(Incoming),
}

/// A body on its way in.
pub(crate) struct Incoming {
    response: reqwest::Response,
    what: String,
    host: String,
    idle: Duration,
    waited: Duration,
    received: u64,
}

impl Incoming {
    fn new(response: reqwest::Response, call: &Call, idle: Duration) -> Self {
        let (what, host) = (call.what.clone(), call.host());
        Self { response, what, host, idle, waited: Duration::ZERO, received: 0 }
    }

    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.response.headers().get(name).and_then(|v| v.to_str().ok())
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        self.response.content_length()
    }

    fn content_type(&self) -> String {
        self.header(header::CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase()
    }

    /// The next piece; `None` at the proper end, an error if the connection ends before it.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let began = Instant::now();
        let next = tokio::time::timeout(self.idle, self.response.chunk()).await;
        self.waited += began.elapsed();
        let lost = |why: String| Error::Interrupted {
            what: self.what.clone(),
            host: self.host.clone(),
            why,
            tries: Tries::default(),
        };
        let chunk = match next {
            Err(_) => return Err(lost(format!("nothing came for {} s", self.idle.as_secs()))),
            Ok(Err(e)) => return Err(lost(chain(&e))),
            Ok(Ok(chunk)) => chunk,
        };
        self.received += chunk.as_ref().map_or(0, |c| c.len() as u64);
        if self.waited > SLOW {
            if chunk.is_some() && self.received < SLOW_BYTES {
                return Err(lost(format!("only {} bytes in a minute", self.received)));
            }
            (self.waited, self.received) = (Duration::ZERO, 0);
        }
        Ok(chunk)
    }

    async fn whole(&mut self, limit: usize) -> Result<Bytes, Error> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > limit {
                return Err(Error::BadJson {
                    what: self.what.clone(),
                    host: self.host.clone(),
                    why: format!("more than {limit} bytes"),
                });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

impl Error {
    fn after(mut self, seen: Tries) -> Self {
        match &mut self {
            Self::Unreachable { tries, .. }
            | Self::Interrupted { tries, .. }
            | Self::Refused { tries, .. } => *tries = seen,
            _ => {}
        }
        self
    }
}

/// `base` with further segments, each percent-encoded.
pub(crate) fn below(base: &Url, segments: &[&str]) -> Result<Url, Error> {
    let mut url = base.clone();
    // The URL library drops these silently, and `DELETE /sandbox/..` would mean something else.
    if let Some(odd) = segments.iter().find(|s| matches!(**s, "" | "." | "..")) {
        return Err(Error::BadUrl { url: (*odd).to_owned(), why: "not a name or id".into() });
    }
    match url.path_segments_mut() {
        Ok(mut path) => path.pop_if_empty().extend(segments),
        Err(()) => {
            let why = "it has no path".to_owned();
            return Err(Error::BadUrl { url: base.to_string(), why });
        }
    };
    Ok(url)
}

/// Reads a base URL: http or https, a host, no query.
pub(crate) fn parse_base(text: &str) -> Result<Url, Error> {
    let bad = |why: &str| Error::BadUrl { url: text.trim().to_owned(), why: why.to_owned() };
    let mut url = Url::parse(text.trim().trim_end_matches('/')).map_err(|e| bad(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("it must begin with `https://` or `http://`"));
    }
    if !url.has_host() {
        return Err(bad("it has no host"));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
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

/// Whether the service at this URL is on this machine.
pub fn is_loopback(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| loops_back(&url))
}

fn loops_back(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Same scheme, few hops. Credentials are dropped by the HTTP library when the host changes.
fn redirect(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let previous = attempt.previous();
    let same_scheme = previous.first().is_none_or(|first| first.scheme() == attempt.url().scheme());
    if previous.len() > REDIRECTS {
        attempt.error("too many redirects")
    } else if same_scheme {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn connect_step(error: &reqwest::Error) -> ConnectStep {
    let text = chain(error).to_lowercase();
    let mut source: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(cause) = source {
        let mut io = cause.downcast_ref::<std::io::Error>();
        while let Some(wrapped) = io.and_then(|e| e.get_ref()) {
            if wrapped.is::<rustls::Error>() {
                return ConnectStep::Tls;
            }
            io = wrapped.downcast_ref();
        }
        if cause.is::<rustls::Error>() {
            return ConnectStep::Tls;
        }
        source = cause.source();
    }
    if error.is_dns() || text.contains("dns error") || text.contains("failed to lookup address") {
        let passing = text.contains("temporary failure") || text.contains("try again");
        return if passing { ConnectStep::DnsPassing } else { ConnectStep::DnsUnknown };
    }
    if text.contains("certificate") { ConnectStep::Tls } else { ConnectStep::Tcp }
}

/// The innermost words of an error chain; the outer ones only repeat what was tried.
fn chain(error: &dyn StdError) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = cause.to_string();
        source = cause.source();
    }
    words.lines().next().unwrap_or_default().trim().to_owned()
}

/// At most 200 characters of text on one line, without tags and control characters.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut in_tag = false;
    let looks_like_markup = text.trim_start().starts_with('<');
    for c in text.chars() {
        match c {
            '<' if looks_like_markup => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                out.push(' ');
            }
            _ if in_tag => {}
            c if c.is_control() || c.is_whitespace() => out.push(' '),
            c => out.push(c),
        }
    }
    let words: Vec<&str> = out.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_checked_before_anything_is_sent() {
        assert_eq!(
            parse_base("https://x.example/api//").unwrap().as_str(),
            "https://x.example/api"
        );
        for bad in ["", "x.example/api", "ftp://x/api", "http://", "unix:/x"] {
            assert!(parse_base(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_one_segment_whatever_it_holds() {
        let base = parse_base("http://h/api").unwrap();
        let url = |name| below(&base, &["sandbox", name]).map(|u| u.to_string());
        assert_eq!(url("a/b c?d#e%").unwrap(), "http://h/api/sandbox/a%2Fb%20c%3Fd%23e%25");
        assert!(url("..").is_err() && url("").is_err() && url(".").is_err());
    }

    #[test]
    fn a_page_is_quoted_without_its_tags() {
        assert_eq!(plain("<html><b>Bad\n gateway</b> \u{1b}[31m</html>"), "Bad gateway [31m");
        assert_eq!(plain("a < b > c"), "a < b > c");
        assert_eq!(plain(&"x".repeat(300)).chars().count(), 201);
    }
}
