//! Queries with paths in them: bytes, not text, because a file's name need not be UTF-8.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::error::Problem;

/// The parameters of a request, percent-decoded to bytes. A pair with a broken escape is dropped.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(Vec<u8>, Vec<u8>)>);

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        });
        Self(pairs.collect())
    }

    /// The bytes of a parameter; empty is as good as absent.
    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.0.iter().find(|(n, _)| n == name.as_bytes())?;
        (!value.is_empty()).then_some(value)
    }

    /// A parameter that must be text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(name)?).ok()
    }

    /// A path, which must be there.
    pub(super) fn path(&self, name: &str) -> Result<PathBuf, Problem> {
        self.optional_path(name)
            .ok_or_else(|| Problem::invalid_path(format_args!("{name} is required")))
    }

    pub(super) fn optional_path(&self, name: &str) -> Option<PathBuf> {
        self.bytes(name).map(|bytes| PathBuf::from(OsString::from_vec(bytes.to_vec())))
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// Percent-decodes one side of a pair; `None` for a broken escape.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |b: Option<u8>| char::from(b?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    Some(out)
}

/// A name for people and for JSON: what is not UTF-8 becomes U+FFFD.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The last component as Daytona names it.
pub(super) fn base(path: &Path) -> OsString {
    match path.file_name() {
        Some(name) => name.to_owned(),
        None if path.as_os_str().as_bytes().starts_with(b"/") => "/".into(),
        None => {
            path.components().next_back().map_or_else(|| ".".into(), |c| c.as_os_str().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bytes() {
        let query = Query::parse("path=%2Fa%E4%20b+c&empty=&bad=%zz&cut=%4");
        assert_eq!(query.bytes("path"), Some(&b"/a\xe4 b c"[..]));
        assert_eq!(query.bytes("empty"), None);
        assert_eq!(query.bytes("bad"), None);
        assert_eq!(query.bytes("cut"), None);
        assert!(query.path("missing").is_err());
    }

    #[test]
    fn the_last_component() {
        for (path, name) in [("/", "/"), ("/a/b", "b"), ("a/", "a"), (".", "."), ("..", "..")] {
            assert_eq!(base(Path::new(path)), name, "{path}");
        }
    }
}
