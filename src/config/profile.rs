//! The profile that `daytona login` keeps. It is read, never written: refresh tokens rotate, and a
//! refresh that is not written back would log the user out of the official client.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::layers::{Layer, Origin};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    active_profile: Option<String>,
    profiles: Option<Vec<Profile>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    id: String,
    api: Api,
    active_organization_id: Option<String>,
}

#[derive(Deserialize)]
struct Api {
    url: Option<String>,
    key: Option<String>,
    token: Option<Token>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    access_token: Option<String>,
    expires_at: Option<String>,
}

/// Adds what the active profile says, below everything else. A file that is missing or not understood
/// adds nothing.
pub fn add(merged: &mut Layer, variable: &dyn Fn(&str) -> Option<String>, home: Option<&Path>) {
    let dir = variable("DAYTONA_CONFIG_DIR").map(PathBuf::from).or_else(|| {
        let base = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(home?.join(".config")))?;
        Some(base.join("daytona"))
    });
    let Some(text) = dir.and_then(|d| std::fs::read_to_string(d.join("config.json")).ok()) else {
        return;
    };
    for (key, value) in read(&text, jiff::Timestamp::now()) {
        // The URL belongs to the key: both come from here, or neither does.
        merged.insert(key, (vec![value], Origin::Profile));
    }
}

/// Pure: the settings the active profile makes. A token that has expired makes none.
fn read(text: &str, now: jiff::Timestamp) -> Vec<(&'static str, String)> {
    let Ok(file) = serde_json::from_str::<File>(text) else { return Vec::new() };
    let active = file.active_profile.unwrap_or_default();
    let Some(profile) = file.profiles.unwrap_or_default().into_iter().find(|p| p.id == active)
    else {
        return Vec::new();
    };
    let mut found = Vec::new();
    match (profile.api.key.filter(|k| !k.is_empty()), profile.api.token) {
        (Some(key), _) => found.push(("api-key", key)),
        (None, Some(Token { access_token: Some(token), expires_at })) => {
            let lives =
                expires_at.and_then(|t| t.parse::<jiff::Timestamp>().ok()).is_none_or(|t| t > now);
            let Some(organization) = profile.active_organization_id.filter(|_| lives) else {
                return Vec::new();
            };
            found.push(("jwt-token", token));
            found.push(("organization-id", organization));
        }
        _ => return Vec::new(),
    }
    if let Some(url) = profile.api.url.filter(|u| !u.is_empty()) {
        found.push(("api-url", url));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_with_its_url_and_an_expired_token_not_at_all() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let key = r#"{"activeProfile":"a","profiles":[{"id":"a","name":"a","api":{"url":"https://d/api","key":"k","token":null},"activeOrganizationId":null}]}"#;
        assert_eq!(
            read(key, now),
            [("api-key", "k".to_owned()), ("api-url", "https://d/api".to_owned())]
        );
        let token = |until: &str| {
            format!(
                r#"{{"activeProfile":"a","profiles":[{{"id":"a","api":{{"url":"u","key":null,"token":{{"accessToken":"t","refreshToken":"r","expiresAt":"{until}"}}}},"activeOrganizationId":"o"}}]}}"#
            )
        };
        assert_eq!(read(&token("2027-01-01T00:00:00Z"), now).len(), 3);
        assert!(read(&token("2025-01-01T00:00:00Z"), now).is_empty());
        assert!(read(r#"{"activeProfile":"","profiles":null}"#, now).is_empty());
        assert!(read("not json", now).is_empty());
    }
}
