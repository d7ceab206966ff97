//! What became of a request that failed: how it bears on repeating, and the words for people.

use std::error::Error as StdError;

use reqwest::{StatusCode, header};

use super::call::Call;
use super::client::Client;
use super::error::{ConnectStep, Error, Tries};
use super::incoming::Incoming;
use super::refusal::{Refusal, meaning};
use super::retry::{self, Failure};
use crate::wire::error::ErrorBody;

/// Longest error body that is read.
const ERROR_BODY: usize = 64 << 10;

/// A failed request: how it bears on repeating (`None` is never), and the words.
pub(super) type Failed = Box<(Option<Failure>, Error)>;

impl Client {
    /// No answer, or none to the end.
    pub(super) fn lost(&self, call: &Call, why: String) -> Failed {
        let (what, host, tries) = (call.what.clone(), call.host(), Tries::default());
        Box::new((Some(Failure::Lost), Error::Interrupted { what, host, why, tries }))
    }

    /// No exchange at all.
    pub(super) fn transport(&self, call: &Call, error: &reqwest::Error) -> Failed {
        let why = self.scrubber().scrub(&chain(error)).into_owned();
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
    pub(super) async fn refused(&self, call: &Call, mut incoming: Incoming) -> Failed {
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
        let mut words = plain(&self.scrubber().scrub(&text));
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

    /// An answer that is not the API's.
    pub(super) fn not_json(
        &self,
        call: &Call,
        status: StatusCode,
        kind: &str,
        body: &[u8],
    ) -> Error {
        let quote = plain(&self.scrubber().scrub(&String::from_utf8_lossy(body)));
        Error::NotJson {
            what: call.what.clone(),
            host: call.host(),
            status: status.as_u16(),
            kind: if kind.is_empty() { "no content type".into() } else { kind.to_owned() },
            quote,
        }
    }
}

impl Error {
    /// The same, with how often and how long it was tried.
    pub(super) fn after(mut self, seen: Tries) -> Self {
        match &mut self {
            Self::Unreachable { tries, .. }
            | Self::Interrupted { tries, .. }
            | Self::Refused { tries, .. } => *tries = seen,
            _ => {}
        }
        self
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
pub(super) fn chain(error: &dyn StdError) -> String {
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
    fn a_page_is_quoted_without_its_tags() {
        assert_eq!(plain("<html><b>Bad\n gateway</b> \u{1b}[31m</html>"), "Bad gateway [31m");
        assert_eq!(plain("a < b > c"), "a < b > c");
        assert_eq!(plain(&"x".repeat(300)).chars().count(), 201);
    }
}
