//! URLs of the service: checked before anything is sent, and what a redirect may lead to.

use reqwest::Url;

use super::error::Error;

/// Redirects followed before an answer counts as not understood.
const REDIRECTS: usize = 3;

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

/// Whether the service at this URL is on this machine.
pub fn is_loopback(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| loops_back(&url))
}

pub(super) fn loops_back(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Same scheme, few hops. Credentials are dropped by the HTTP library when the host changes.
pub(super) fn redirect(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
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
}
