//! Login files, made fit to travel: what renews a login is blanked, what is not asked for is left out.
//!
//! Access values stay, and so do all dates: an expiry of 0 means "expired" to every agent, and a blank
//! where codex wants a token makes it ignore the whole file without a word. Renewing in the sandbox would
//! end the login on this machine, since providers take each renewal value once.

use base64::Engine as _;
use serde_json::{Map, Value};

/// A login file as it may travel.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Login {
    /// The file's content.
    pub json: Value,
    /// What must never be printed.
    pub secrets: Vec<String>,
    /// When the access ends, in seconds since 1970; the earliest, if there are several.
    pub expires: Option<u64>,
    /// Whose logins these are, where the file knows.
    pub names: Vec<String>,
    /// Only keys that do not end.
    pub keys_only: bool,
}

/// Entries of opencode's `auth.json` for the providers that `wanted` takes.
///
/// Left out: entries of an organisation's address (`wellknown`), because opencode then asks that address
/// at every start and gives up without it, and whatever opencode itself would not understand.
/// `github-copilot` is not for `wanted` to take: its access is the long-lived value in `refresh`.
pub(super) fn opencode(bytes: &[u8], wanted: impl Fn(&str) -> bool) -> Option<Login> {
    let Value::Object(entries) = serde_json::from_slice(bytes).ok()? else { return None };
    let mut login = Login { keys_only: true, ..Login::default() };
    let mut kept = Map::new();
    for (provider, mut entry) in entries {
        if !wanted(&provider) {
            continue;
        }
        match entry.get("type").and_then(Value::as_str) {
            Some("api") if text(&entry, "key").is_some() => {
                login.secrets.extend(text(&entry, "key"));
            }
            Some("oauth") if entry.get("access").is_some_and(Value::is_string) => {
                login.keys_only = false;
                blank(&mut entry, "refresh");
                login.expires = earliest(login.expires, milliseconds(&entry, "expires"));
                login.secrets.extend(text(&entry, "access"));
            }
            _ => continue,
        }
        login.names.push(provider.clone());
        kept.insert(provider, entry);
    }
    login.json = Value::Object(kept);
    (!login.names.is_empty()).then_some(login)
}

/// Copilot, also of a company: never passed on.
pub(super) fn is_copilot(provider: &str) -> bool {
    provider.starts_with("github-copilot")
}

/// Claude's `.credentials.json`: its own login, and none of those of MCP servers beside it.
pub(super) fn claude(bytes: &[u8]) -> Option<Login> {
    let file: Value = serde_json::from_slice(bytes).ok()?;
    let mut own = file.get("claudeAiOauth")?.clone();
    let secrets = vec![text(&own, "accessToken")?];
    blank(&mut own, "refreshToken");
    let expires = milliseconds(&own, "expiresAt");
    Some(Login {
        json: serde_json::json!({ "claudeAiOauth": own }),
        secrets,
        expires,
        ..Login::default()
    })
}

/// codex's `auth.json`: a key, or the tokens of a login.
pub(super) fn codex(bytes: &[u8]) -> Option<Login> {
    let mut json: Value = serde_json::from_slice(bytes).ok()?;
    let mut secrets: Vec<String> = text(&json, "OPENAI_API_KEY").into_iter().collect();
    let mut expires = None;
    if let Some(tokens) = json.get_mut("tokens").filter(|t| t.is_object()) {
        blank(tokens, "refresh_token");
        let access = text(tokens, "access_token");
        expires = access.as_deref().and_then(jwt_expiry);
        secrets.extend(access);
        secrets.extend(text(tokens, "id_token"));
    }
    let keys_only = expires.is_none();
    (!secrets.is_empty()).then_some(Login { json, secrets, expires, keys_only, names: Vec::new() })
}

/// Gemini's `oauth_creds.json`.
pub(super) fn gemini(bytes: &[u8]) -> Option<Login> {
    let mut json: Value = serde_json::from_slice(bytes).ok()?;
    let mut secrets = vec![text(&json, "access_token")?];
    secrets.extend(text(&json, "id_token"));
    blank(&mut json, "refresh_token");
    let expires = milliseconds(&json, "expiry_date");
    Some(Login { json, secrets, expires, ..Login::default() })
}

fn blank(object: &mut Value, key: &str) {
    if let Some(value) = object.get_mut(key) {
        *value = Value::from("");
    }
}

fn text(object: &Value, key: &str) -> Option<String> {
    Some(object.get(key)?.as_str()?.to_owned()).filter(|t| !t.is_empty())
}

/// A date in milliseconds, in seconds. 0 means that nobody knows, or that it does not end.
fn milliseconds(object: &Value, key: &str) -> Option<u64> {
    let ms = object.get(key)?;
    let ms = ms.as_u64().or_else(|| ms.as_f64().filter(|f| *f >= 0.0).map(|f| f as u64))?;
    (ms > 0).then_some(ms / 1000)
}

fn earliest(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    [a, b].into_iter().flatten().min()
}

/// `exp` of a JSON web token, which nobody verifies here.
fn jwt_expiry(token: &str) -> Option<u64> {
    let body = token.split('.').nth(1)?;
    let bytes =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(body.trim_end_matches('=')).ok()?;
    serde_json::from_slice::<Value>(&bytes).ok()?.get("exp")?.as_u64()
}
