//! Reading the words of model providers, in whatever sentence an agent wraps them.

use super::verdict::{Outcome, Unusable};

/// An error an agent gave up over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// Its words.
    pub message: String,
    /// The provider's HTTP status.
    pub status: Option<u16>,
    /// It may pass.
    pub retryable: bool,
    /// Whose fault it is, if not the agent's.
    pub kind: Option<Unusable>,
}

impl Failure {
    /// Sorts an error by its HTTP status, given or found in the words, and else by the words.
    pub fn new(message: &str, status: Option<u16>) -> Self {
        let status = status.or_else(|| status_in(message));
        let (kind, retryable) = match status {
            Some(401 | 403) => (Some(Unusable::Auth), false),
            Some(408 | 409 | 425 | 429 | 500..=599) => (Some(Unusable::Provider), true),
            Some(_) => (Some(Unusable::Provider), false),
            None => by_words(message),
        };
        let answer = answer(message);
        // the provider's whole answer as the message: it came from there, whatever it says
        let kind = kind.or(answer.as_ref().map(|_| Unusable::Provider));
        Self {
            message: answer.unwrap_or_else(|| message.trim().to_owned()),
            status,
            retryable,
            kind,
        }
    }

    /// What it makes of the run.
    pub fn verdict(&self) -> (Outcome, String) {
        (self.kind.map_or(Outcome::Failed, Outcome::Unusable), self.message.clone())
    }
}

/// `unexpected status 401 Unauthorized`, `last status: 429`, `API Error: 500 ...`, `"code":401`.
fn status_in(message: &str) -> Option<u16> {
    ["status ", "status: ", "API Error: ", "\"code\":", "HTTP "].iter().find_map(|before| {
        let rest = &message[message.find(before)? + before.len()..];
        let digits = rest.get(..3)?.parse().ok()?;
        let ends = !rest[3..].starts_with(|c: char| c.is_ascii_alphanumeric());
        (ends && (400..600).contains(&digits)).then_some(digits)
    })
}

/// Phrases seen in the wild, each with what it means and whether it passes.
const PHRASES: &[(&str, Unusable, bool)] = &[
    ("missing environment variable", Unusable::NoCredentials, false),
    ("not logged in", Unusable::NoCredentials, false),
    ("please run /login", Unusable::NoCredentials, false),
    ("no auth type is selected", Unusable::NoCredentials, false),
    ("set an auth method", Unusable::NoCredentials, false),
    ("api key is missing", Unusable::NoCredentials, false),
    ("invalid api key", Unusable::Auth, false),
    ("incorrect api key", Unusable::Auth, false),
    ("invalid auth method", Unusable::Auth, false),
    ("authentication_failed", Unusable::Auth, false),
    ("model not found", Unusable::Provider, false),
    ("does not exist or you do not have access", Unusable::Provider, false),
    ("context window", Unusable::Provider, false),
    ("context length", Unusable::Provider, false),
    ("prompt is too long", Unusable::Provider, false),
    ("invalid_request_error", Unusable::Provider, false),
    ("credit balance", Unusable::Provider, false),
    ("quota", Unusable::Provider, false),
    ("usage limit", Unusable::Provider, true),
    ("rate limit", Unusable::Provider, true),
    ("overloaded", Unusable::Provider, true),
    ("high demand", Unusable::Provider, true),
    ("unable to connect", Unusable::Provider, true),
    ("connection error", Unusable::Provider, true),
    ("connection failed", Unusable::Provider, true),
    ("connectionrefused", Unusable::Provider, true),
    ("econnrefused", Unusable::Provider, true),
    ("enotfound", Unusable::Provider, true),
    ("fetch failed", Unusable::Provider, true),
    ("waiting for network", Unusable::Provider, true),
    ("failed to lookup address", Unusable::Provider, true),
    ("stream disconnected", Unusable::Provider, true),
    ("connection closed", Unusable::Provider, true),
    ("[api error", Unusable::Provider, false),
    ("api error:", Unusable::Provider, false),
];

fn by_words(message: &str) -> (Option<Unusable>, bool) {
    let lower = message.to_lowercase();
    match PHRASES.iter().find(|(words, ..)| lower.contains(words)) {
        Some(&(_, kind, retryable)) => (Some(kind), retryable),
        None => (None, false),
    }
}

/// The words inside a provider's JSON answer, if the message is one.
fn answer(message: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(message.trim()).ok()?;
    Some(json.pointer("/error/message")?.as_str()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_understood_in_many_wrappings() {
        use Unusable::{Auth, NoCredentials, Provider};
        let cases: &[(&str, Option<u16>, Option<Unusable>, bool)] = &[
            ("unexpected status 401 Unauthorized: no", Some(401), Some(Auth), false),
            (
                "exceeded retry limit, last status: 429 Too Many Requests",
                Some(429),
                Some(Provider),
                true,
            ),
            ("API Error: 500 Internal server error.", Some(500), Some(Provider), true),
            (r#"[API Error: {"error":{"code":401,"message":"x"}}]"#, Some(401), Some(Auth), false),
            ("Not logged in · Please run /login", None, Some(NoCredentials), false),
            ("Reconnecting... waiting for network (x)", None, Some(Provider), true),
            ("the tests still fail, status 4 of 5", None, None, false),
        ];
        for &(message, status, kind, retryable) in cases {
            let f = Failure::new(message, None);
            assert_eq!((f.status, f.kind, f.retryable), (status, kind, retryable), "{message}");
        }
        assert_eq!(
            Failure::new(r#"{"error":{"message":"words","code":null}}"#, None).message,
            "words"
        );
    }
}
