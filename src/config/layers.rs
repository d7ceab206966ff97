//! Pure: several layers of settings, the nearest wins, and each value remembers where it came from.

use std::collections::BTreeMap;
use std::fmt;

use super::settings::{Kind, SETTINGS, Setting};

/// Where a value was found. The order is the precedence, highest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag on the command line.
    Flag,
    /// An environment variable, by name.
    Variable(String),
    /// `.sandbox-coder.toml` at the worktree's root.
    Repo,
    /// The user's configuration file.
    User,
    /// The `daytona login` profile.
    Profile,
    /// Built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("command line"),
            Origin::Variable(name) => write!(f, "${name}"),
            Origin::Repo => f.write_str(".sandbox-coder.toml"),
            Origin::User => f.write_str("user configuration"),
            Origin::Profile => f.write_str("daytona login"),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// The texts of one setting.
pub type Texts = Vec<String>;

/// One layer: what was found there.
pub type Layer = BTreeMap<&'static str, (Texts, Origin)>;

/// A layer's content that is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayerError {
    /// No such setting.
    #[error("{origin}: there is no setting `{key}`{}", suggestion.as_ref().map(|s| format!("; did you mean `{s}`?")).unwrap_or_default())]
    Unknown {
        /// As written.
        key: String,
        /// Where.
        origin: Origin,
        /// The nearest name.
        suggestion: Option<String>,
    },
    /// A setting the repository must not make.
    #[error(
        ".sandbox-coder.toml: `{0}` is not accepted from a repository; set it as flag, variable or in the user configuration"
    )]
    NotForRepo(String),
    /// The value does not fit.
    #[error("{origin}: `{key}` is `{value}`; expected {expected}")]
    Value {
        /// Which setting.
        key: &'static str,
        /// As written.
        value: String,
        /// Where.
        origin: Origin,
        /// What would do.
        expected: String,
    },
    /// The file is not TOML.
    #[error("{file}: {message}")]
    Syntax {
        /// Which file.
        file: String,
        /// The parser's words.
        message: String,
    },
}

/// The settings variables set. Empty ones count as unset: a template's empty default means nothing.
pub fn from_variables(lookup: impl Fn(&str) -> Option<String>) -> Layer {
    let mut layer = Layer::new();
    for setting in SETTINGS {
        let names = std::iter::once(setting.variable())
            .chain(setting.aliases.iter().map(|a| (*a).to_owned()));
        let found = names
            .filter_map(|n| Some((lookup(&n)?.trim().to_owned(), n)))
            .find(|(v, _)| !v.is_empty());
        if let Some((value, name)) = found {
            let texts = match setting.kind {
                Kind::List => value
                    .split(',')
                    .map(|t| t.trim().to_owned())
                    .filter(|t| !t.is_empty())
                    .collect(),
                _ => vec![value],
            };
            layer.insert(setting.key, (texts, Origin::Variable(name)));
        }
    }
    layer
}

/// The settings a file makes.
pub fn from_toml(text: &str, file: &str, origin: Origin) -> Result<Layer, LayerError> {
    let syntax = |message: String| LayerError::Syntax { file: file.to_owned(), message };
    let table: toml::Table =
        text.parse().map_err(|e: toml::de::Error| syntax(e.message().to_owned()))?;
    let mut layer = Layer::new();
    for (key, value) in table {
        let Some(setting) = Setting::by_key(&key) else {
            return Err(LayerError::Unknown { suggestion: nearest(&key), key, origin });
        };
        if origin == Origin::Repo && !setting.repo {
            return Err(LayerError::NotForRepo(key));
        }
        let texts = match value {
            toml::Value::Array(items) => items.iter().map(scalar).collect::<Option<Texts>>(),
            other => scalar(&other).map(|t| vec![t]),
        };
        let texts = texts
            .ok_or_else(|| syntax(format!("`{key}` must be a plain value or a list of them")))?;
        layer.insert(setting.key, (texts, origin.clone()));
    }
    Ok(layer)
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Boolean(b) => Some(b.to_string()),
        _ => None,
    }
}

/// The setting whose name is nearest to `key`, if any is near.
pub fn nearest(key: &str) -> Option<String> {
    let scored = SETTINGS.iter().map(|s| (strsim::jaro_winkler(key, s.key), s.key));
    scored
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k.to_owned())
}

/// One layer out of several, the first given wins; defaults fill the rest.
pub fn merge(layers: impl IntoIterator<Item = Layer>) -> Layer {
    let mut merged = Layer::new();
    for layer in layers {
        for (key, value) in layer {
            merged.entry(key).or_insert(value);
        }
    }
    for setting in SETTINGS {
        if let Some(text) = setting.default {
            merged.entry(setting.key).or_insert_with(|| (vec![text.to_owned()], Origin::Default));
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Layer {
        let map: BTreeMap<String, String> =
            pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        from_variables(|name| map.get(name).cloned())
    }

    #[test]
    fn the_nearest_layer_wins_and_says_where_it_was() {
        let user = from_toml("agent = \"claude\"\ntimeout = 60\n", "f", Origin::User).unwrap();
        let merged = merge([vars(&[("SANDBOX_CODER_AGENT", "codex")]), user]);
        assert_eq!(
            merged["agent"],
            (vec!["codex".into()], Origin::Variable("SANDBOX_CODER_AGENT".into()))
        );
        assert_eq!(merged["timeout"], (vec!["60".into()], Origin::User));
        assert_eq!(merged["provider"].1, Origin::Default);
    }

    #[test]
    fn our_own_variable_beats_its_alias_and_empty_is_unset() {
        let layer = vars(&[
            ("SANDBOX_CODER_SNAPSHOT", " "),
            ("SANDBOX_SNAPSHOT", "s"),
            ("DAYTONA_API_KEY", "\n"),
        ]);
        assert_eq!(layer["snapshot"].0, ["s"]);
        assert!(!layer.contains_key("api-key"));
    }

    #[test]
    fn a_misspelt_key_is_an_error_with_a_suggestion() {
        let error = from_toml("idle_timeout = 3", "f", Origin::User).unwrap_err();
        assert!(error.to_string().contains("did you mean `idle-timeout`?"), "{error}");
        let error = from_toml("zzz = 3", "f", Origin::User).unwrap_err();
        assert_eq!(error.to_string(), "user configuration: there is no setting `zzz`");
    }

    #[test]
    fn a_repository_cannot_redirect_the_key() {
        let error = from_toml("api-url = \"https://evil.example\"", "f", Origin::Repo).unwrap_err();
        assert_eq!(error, LayerError::NotForRepo("api-url".into()));
        assert!(from_toml("exclude = [\"dist/**\"]", "f", Origin::Repo).is_ok());
    }
}
