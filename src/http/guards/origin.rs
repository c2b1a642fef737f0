//! Did this site's own page send the request? Asked of everything that changes something and of every socket.
//!
//! A token in a header is proof by itself: no browser sends one for another site. Everything else has to come from here, by
//! what browsers say of the origin, which no page can forge.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use url::Url;

use crate::http::WebSettings;
use crate::http::who::shows_token;

/// What is said to requests from elsewhere.
const ELSEWHERE: &str = "This request did not come from a page of this site. Open the page here and try again.";

/// The host that was asked for, with its port.
pub(super) fn host(request: &Request) -> Option<&str> {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    named.or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str))
}

/// A host without its port.
pub(super) fn name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        Some(_) | None => host,
    }
}

/// Is this a name that the panel answers to?
pub(super) fn ours(host: &str, settings: &WebSettings) -> bool {
    let host = name(host);
    settings.allowed_hosts.iter().any(|allowed| host.eq_ignore_ascii_case(name(allowed))) || (settings.any_address && is_address(host))
}

/// An address of the network, or this machine's name for itself: nothing that the name service of a stranger can point at us.
fn is_address(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// Refuses what another site sent.
pub(super) fn check(request: &Request, host: Option<&str>, settings: &WebSettings) -> Result<(), &'static str> {
    let headers = request.headers();
    let socket = headers.contains_key(header::UPGRADE);
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if (reads && !socket) || shows_token(headers) {
        return Ok(());
    }
    if from_here(headers, host, settings) { Ok(()) } else { Err(ELSEWHERE) }
}

/// Did a page of this site lead to this address, or the visitor's own hand? Asked where even looking changes something.
pub(in crate::http) fn led_from_here(headers: &HeaderMap, settings: &WebSettings) -> bool {
    let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("null"));
    match (said("sec-fetch-site"), said("referer")) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(referer)) => same(referer, said("host"), settings),
        (None, None) => false,
    }
}

fn from_here(headers: &HeaderMap, host: Option<&str>, settings: &WebSettings) -> bool {
    let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("null"));
    if said("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return false;
    }
    match (said("origin"), said("sec-fetch-site"), said("referer")) {
        (Some(origin), _, _) => same(origin, host, settings),
        (None, Some(_), _) => true,
        (None, None, Some(referer)) => same(referer, host, settings),
        // No browser: a program that logs in with JSON, which no form of another site can send.
        (None, None, None) => {
            !headers.contains_key(header::COOKIE) && said("content-type").is_some_and(|kind| kind.starts_with("application/json"))
        }
    }
}

/// Is the origin of this address the host that was asked for, or the address that the operator has set?
fn same(address: &str, host: Option<&str>, settings: &WebSettings) -> bool {
    let Some(theirs) = Place::of(address) else { return false };
    let asked = host.and_then(|host| Place::of(&format!("{}://{host}", theirs.scheme)));
    let asked = asked.is_some_and(|asked| asked == theirs) && (theirs.scheme == "https" || !settings.secure_cookies);
    asked || Place::of(&settings.backend_url).is_some_and(|ours| ours == theirs)
}

/// Where an address leads, without its path. A port that goes without saying is the same as one that is said.
#[derive(PartialEq, Eq)]
struct Place {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Place {
    fn of(address: &str) -> Option<Place> {
        let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        Some(Place { scheme: url.scheme().to_owned(), host: url.host_str()?.to_owned(), port: url.port_or_known_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method, headers, and whether it passes.
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);

    fn passes(method: &str, headers: &[(&str, &str)], settings: &WebSettings) -> bool {
        let mut request = axum::http::Request::builder().method(method).uri("/servers/create").header("host", "panel.example:8000");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        check(&request, host(&request), settings).is_ok()
    }

    #[test]
    fn what_another_site_sends_is_refused() {
        let settings = WebSettings::default();
        let table: [Row; 19] = [
            ("GET", &[], true),
            ("GET", &[("origin", "https://evil.example")], true),
            ("POST", &[("origin", "http://panel.example:8000")], true),
            ("POST", &[("origin", "http://panel.example")], false),
            ("POST", &[("origin", "null")], false),
            ("POST", &[("origin", "http://panel.example:8000.evil.example")], false),
            ("POST", &[("origin", "http://panel.example:8000@evil.example")], false),
            ("POST", &[("referer", "http://panel.example:8000/servers/create?x")], true),
            ("POST", &[("referer", "http://evil.example/http://panel.example:8000/")], false),
            ("POST", &[("sec-fetch-site", "same-origin")], true),
            ("POST", &[("sec-fetch-site", "same-site"), ("origin", "http://panel.example:8000")], false),
            ("POST", &[], false),
            ("POST", &[("content-type", "application/json")], true),
            ("POST", &[("content-type", "application/json"), ("cookie", "roost_session=x")], false),
            ("POST", &[("authorization", "Bearer x")], true),
            ("POST", &[("authorization", "Basic eDp5"), ("origin", "http://evil.example")], false),
            ("POST", &[("authorization", "Bearer"), ("origin", "http://evil.example")], false),
            ("POST", &[("authorization", "Basic eDp5"), ("origin", "http://panel.example:8000")], true),
            ("GET", &[("upgrade", "websocket"), ("origin", "http://evil.example")], false),
        ];
        for (method, headers, expected) in table {
            assert_eq!(passes(method, headers, &settings), expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn the_set_address_counts_behind_a_proxy_and_plain_http_does_not() {
        let settings = WebSettings { secure_cookies: true, backend_url: "https://roost.example".to_owned(), ..WebSettings::default() };
        assert!(passes("POST", &[("origin", "https://roost.example")], &settings));
        assert!(!passes("POST", &[("origin", "http://roost.example")], &settings));
        assert!(!passes("POST", &[("origin", "http://panel.example:8000")], &settings));
    }

    #[test]
    fn addresses_are_answered_beside_the_own_name_and_names_of_strangers_are_not() {
        let own = WebSettings { allowed_hosts: vec!["panel.example".to_owned()], any_address: true, ..WebSettings::default() };
        for host in ["panel.example", "PANEL.example:8000", "192.0.2.1:8000", "[::1]:8000", "[2001:db8::1]", "localhost:8000"] {
            assert!(ours(host, &own), "{host}");
        }
        let set = WebSettings { any_address: false, ..own.clone() };
        for (host, settings) in [("evil.example", &own), ("192.0.2.1.evil.example", &own), ("192.0.2.1", &set), ("localhost", &set)] {
            assert!(!ours(host, settings), "{host}");
        }
    }

    #[test]
    fn ipv6_addresses_and_ports_that_go_without_saying_are_the_same_place() {
        for (origin, host, expected) in [
            ("http://[::1]:8101", "[::1]:8101", true),
            ("http://[::1]:8102", "[::1]:8101", false),
            ("https://panel.example", "panel.example:443", true),
            ("http://panel.example:80", "panel.example", true),
            ("http://[::1]", "[::2]", false),
        ] {
            assert_eq!(same(origin, Some(host), &WebSettings::default()), expected, "{origin} {host}");
        }
    }

    #[test]
    fn a_host_loses_its_port_and_nothing_else() {
        assert_eq!(["a.b:80", "a.b", "[::1]:80", "[::1]"].map(name), ["a.b", "a.b", "[::1]", "[::1]"]);
    }
}
