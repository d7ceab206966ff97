//! HTTP headers that belong to one hop (RFC 9110, section 7.6.1). The local server and the toolbox both hand
//! requests on, and neither may pass these.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

const HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Takes out what belongs to the hop, also what `Connection` names.
pub fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers).filter_map(|name| name.parse().ok()).collect();
    for name in named.iter().chain(&HOP) {
        headers.remove(name);
    }
}

/// Makes a request's headers those of the next hop. A wish to change protocols is passed on.
pub fn hand_on(headers: &mut HeaderMap) {
    let upgrades = tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(header::UPGRADE).filter(|_| upgrades).cloned();
    strip(headers);
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

/// What `Connection` names.
fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::CONNECTION).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed_on(lines: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        hand_on(&mut headers);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut lines: Vec<_> = headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn one_hop_s_headers_stay_behind() {
        let lines = [
            ("connection", "keep-alive, X-Mine"),
            ("connection", "Upgrade"),
            ("x-mine", "1"),
            ("upgrade", "websocket"),
            ("transfer-encoding", "chunked"),
            ("cookie", "a=b"),
        ];
        assert_eq!(handed_on(&lines), ["connection: Upgrade", "cookie: a=b", "upgrade: websocket"]);
        // Without the wish in `Connection` there is none.
        assert_eq!(handed_on(&lines[3..]), ["cookie: a=b"]);
    }
}
