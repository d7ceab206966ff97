//! Error bodies.

use serde::{Deserialize, Serialize};

/// What the API, the proxy and the toolbox write when they refuse. Read with everything optional: some
/// 0.190 handlers answer with an empty body, some with `{"error":"..."}` only, some with a list as message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Daytona's own names")]
pub struct ErrorBody {
    pub path: Option<String>,
    pub timestamp: Option<String>,
    pub status_code: Option<u16>,
    pub error: Option<String>,
    #[serde(deserialize_with = "text_or_list")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl ErrorBody {
    /// The words for people: `message`, else `error`.
    pub fn words(&self) -> Option<&str> {
        [&self.message, &self.error]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .find(|t| !t.is_empty())
    }
}

fn text_or_list<'de, D: serde::Deserializer<'de>>(de: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        List(Vec<String>),
        Other(serde_json::Value),
    }
    Ok(match Option::<Either>::deserialize(de)? {
        None => None,
        Some(Either::Text(text)) => Some(text),
        Some(Either::List(list)) => Some(list.join(", ")),
        Some(Either::Other(value)) => Some(value.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_come_from_wherever_they_are() {
        let words = |json: &str| {
            serde_json::from_str::<ErrorBody>(json).unwrap().words().map(str::to_owned)
        };
        assert_eq!(words(r#"{"message":"a","error":"b"}"#).as_deref(), Some("a"));
        assert_eq!(words(r#"{"message":["a","b"]}"#).as_deref(), Some("a, b"));
        assert_eq!(words(r#"{"error":"b"}"#).as_deref(), Some("b"));
        assert_eq!(words(r#"{"statusCode":500}"#), None);
    }
}
