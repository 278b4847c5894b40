//! Which site a request was sent from, by what browsers say about it: `Origin` (RFC 6454 §7) and
//! `Sec-Fetch-Site` (W3C Fetch Metadata).
//!
//! Pages cannot forge either. This stands beside the CSRF token, not in its place: it refuses
//! before anything is looked up, and it guards the requests that cannot have a token yet.

use std::fmt;

/// The origins whose pages may make requests that change something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    own: String,
    allowed: Vec<String>,
}

/// A text is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an origin: write scheme, host and port, as in `https://shop.example:8443`, in lower case and without a path"
)]
pub struct NotAnOrigin(String);

/// What a request says about where it comes from. Every header is given as often as it was sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sender<'a> {
    /// The method, as it was sent.
    pub method: &'a str,
    /// `Origin`.
    pub origin: &'a [&'a [u8]],
    /// `Sec-Fetch-Site`.
    pub fetch_site: &'a [&'a [u8]],
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It changes nothing, so it does not matter.
    Safe,
    /// From a page of our own, or by the person directly.
    SameOrigin,
    /// From a page of an origin that is allowed.
    Allowed,
    /// Nobody says. Browsers do, for every request that changes something: it is no page's request,
    /// or that of a browser from before 2020. What is authenticated by a cookie alone is refused
    /// then; what carries a token of our own, or proves itself by a password, may be served.
    Unstated,
}

/// Why a request is not from a page that may make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrossOrigin {
    /// The origin is another, or one that hides itself (`null`): a sandboxed frame, a `data:` page,
    /// a redirect through another site. So do our own pages under `Referrer-Policy: no-referrer`,
    /// which a page with a form must not have.
    #[error("the request comes from a page of another origin")]
    Origin,
    /// The browser says that another site, or another host of the same site, made it.
    #[error("the browser says that the request was made by another site")]
    FetchSite,
    /// A header stands there twice, or says what no browser says.
    #[error("the request says more than one thing about where it comes from")]
    Contradiction,
}

impl Origins {
    /// Our own origin, and others that are allowed beside it.
    ///
    /// # Errors
    /// [`NotAnOrigin`] for what no browser would send, so that it would never match: a path, a
    /// default port, upper case, `*`, `null`.
    pub fn new(own: &str, allowed: &[&str]) -> Result<Self, NotAnOrigin> {
        let checked = |text: &str| {
            if is_origin(text) { Ok(text.to_owned()) } else { Err(NotAnOrigin(text.to_owned())) }
        };
        Ok(Self {
            own: checked(own)?,
            allowed: allowed.iter().map(|text| checked(text)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether an address is of one of these origins, however it is written: in capitals, or with the port
    /// that its scheme has anyway.
    #[must_use]
    pub fn include(&self, address: &str) -> bool {
        let Some((scheme, rest)) = address.split_once("://") else { return false };
        let host = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
        let usual = if scheme == "https" { ":443" } else { ":80" };
        let host = host.strip_suffix(usual).unwrap_or(&host);
        let origin = format!("{scheme}://{host}");
        self.own == origin || self.allowed.contains(&origin)
    }
}

/// Judges where a request comes from.
///
/// # Errors
/// [`CrossOrigin`]: it changes something, and comes from a page that may not.
pub fn same_origin_verdict(sender: &Sender<'_>, origins: &Origins) -> Result<Sent, CrossOrigin> {
    // Methods are case-sensitive (RFC 9110 §9.1): `get` is not `GET`.
    if matches!(sender.method, "GET" | "HEAD" | "OPTIONS") {
        return Ok(Sent::Safe);
    }
    let site = match sender.fetch_site {
        [] => None,
        [one] => Some(*one),
        _ => return Err(CrossOrigin::Contradiction),
    };
    match sender.origin {
        [] => match site {
            None => Ok(Sent::Unstated),
            // `none`: the person did it, by reloading a page for instance; no page can cause it.
            Some(b"same-origin" | b"none") => Ok(Sent::SameOrigin),
            Some(_) => Err(CrossOrigin::FetchSite),
        },
        // The whole of it, byte by byte: a prefix or a suffix is somebody else's name. The browser
        // compares with the host it sends to, which may be another of ours.
        [origin] if *origin == origins.own.as_bytes() => match site {
            None | Some(b"same-origin" | b"none") => Ok(Sent::SameOrigin),
            Some(b"same-site") => Ok(Sent::Allowed),
            Some(_) => Err(CrossOrigin::FetchSite),
        },
        [origin] if origins.allowed.iter().any(|it| it.as_bytes() == *origin) => match site {
            None | Some(b"same-origin" | b"same-site" | b"cross-site") => Ok(Sent::Allowed),
            Some(_) => Err(CrossOrigin::Contradiction),
        },
        [_] => Err(CrossOrigin::Origin),
        _ => Err(CrossOrigin::Contradiction),
    }
}

/// Whether a request's `Content-Type` is JSON. What takes JSON must take nothing else: a page of
/// any site can send forms and `text/plain` without asking first (Fetch, "CORS-safelisted").
#[must_use]
pub fn is_json(content_type: &[&[u8]]) -> bool {
    let [one] = content_type else { return false };
    let essence = one.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// Whether a browser would write this as an origin.
fn is_origin(text: &str) -> bool {
    let (host, default_port) = if let Some(host) = text.strip_prefix("https://") {
        (host, "443")
    } else if let Some(host) = text.strip_prefix("http://") {
        (host, "80")
    } else {
        return false;
    };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let port = port.is_none_or(|port| {
        port != default_port
            && !port.starts_with('0')
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok()
    });
    let is_v6 = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')).is_some_and(|inner| {
        inner.parse::<std::net::Ipv6Addr>().is_ok_and(|address| address.to_string() == inner)
    });
    let is_name = !name.is_empty()
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|it| {
                    it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, b'-' | b'_')
                })
        });
    port && (is_v6 || is_name)
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "https://login.example.com";

    fn judge(method: &str, origin: &[&str], site: &[&str]) -> Result<Sent, CrossOrigin> {
        let origins = Origins::new(OWN, &["https://app.example.org"]).unwrap();
        let bytes = |texts: &[&'static str]| -> Vec<&'static [u8]> {
            texts.iter().map(|text| text.as_bytes()).collect()
        };
        // Leaked, so that the tests below read as tables.
        let leak = |texts: &[&str]| -> Vec<&'static str> {
            texts.iter().map(|text| &*Box::leak(text.to_string().into_boxed_str())).collect()
        };
        let (origin, fetch_site) = (bytes(&leak(origin)), bytes(&leak(site)));
        let sender = Sender { method, origin: &origin, fetch_site: &fetch_site };
        same_origin_verdict(&sender, &origins)
    }

    #[test]
    fn an_address_of_our_origin_is_one_however_it_is_written() {
        let origins = Origins::new(OWN, &["http://localhost:8000"]).unwrap();
        for ours in [
            "https://login.example.com",
            "https://login.example.com/cb?x=y",
            "HTTPS://Login.Example.COM:443/cb",
            "https://login.example.com?x",
            "http://localhost:8000/cb",
        ] {
            assert!(origins.include(ours), "{ours}");
        }
        for other in [
            "http://login.example.com/cb",
            "https://login.example.com:8443/cb",
            "https://login.example.com.evil.example/cb",
            "https://evil.example/https://login.example.com",
            "http://localhost/cb",
            "com.example.app:/cb",
            "",
        ] {
            assert!(!origins.include(other), "{other}");
        }
    }

    #[test]
    fn serves_our_own_pages_and_those_allowed() {
        assert_eq!(judge("POST", &[OWN], &["same-origin"]), Ok(Sent::SameOrigin));
        assert_eq!(judge("POST", &[OWN], &[]), Ok(Sent::SameOrigin));
        assert_eq!(judge("POST", &[], &["same-origin"]), Ok(Sent::SameOrigin));
        assert_eq!(judge("POST", &[], &["none"]), Ok(Sent::SameOrigin));
        let app = "https://app.example.org";
        assert_eq!(judge("DELETE", &[app], &["cross-site"]), Ok(Sent::Allowed));
        assert_eq!(judge("DELETE", &[app], &["same-site"]), Ok(Sent::Allowed));
        assert_eq!(judge("DELETE", &[app], &[]), Ok(Sent::Allowed));
        // Through a gateway, the page's own origin is an allowed one, and ours is its neighbour.
        assert_eq!(judge("POST", &[app], &["same-origin"]), Ok(Sent::Allowed));
        assert_eq!(judge("POST", &[OWN], &["same-site"]), Ok(Sent::Allowed));
    }

    #[test]
    fn what_changes_nothing_may_come_from_anywhere() {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let judged = judge(method, &["https://evil.example"], &["cross-site"]);
            assert_eq!(judged, Ok(Sent::Safe));
        }
        for method in ["get", "GET ", "", "PURGE", "TRACE", "post"] {
            let judged = judge(method, &["https://evil.example"], &["cross-site"]);
            assert_eq!(judged, Err(CrossOrigin::Origin), "{method:?}");
        }
    }

    #[test]
    fn refuses_origins_that_only_look_like_ours() {
        for origin in [
            "null",
            "",
            "https://login.example.com.evil.example",
            "https://evil-login.example.com",
            "https://evil.example/https://login.example.com",
            "https://example.com",
            "https://shop.example.com",
            "https://x.login.example.com",
            "http://login.example.com",
            "https://login.example.com:443",
            "https://login.example.com:8443",
            "https://login.example.com/",
            "https://LOGIN.example.com",
            "https://login.example.com https://evil.example",
            "https://login.example.com\u{200b}",
            "https://user@login.example.com",
            "*",
        ] {
            assert_eq!(judge("POST", &[origin], &[]), Err(CrossOrigin::Origin), "{origin}");
            // Saying `same-origin` beside it helps nobody.
            let judged = judge("POST", &[origin], &["same-origin"]);
            assert_eq!(judged, Err(CrossOrigin::Origin), "{origin}");
        }
    }

    #[test]
    fn refuses_siblings_and_strangers_by_what_the_browser_says() {
        assert_eq!(judge("POST", &[], &["same-site"]), Err(CrossOrigin::FetchSite));
        for site in ["cross-site", "", "Same-Origin", "same-origin, none"] {
            assert_eq!(judge("POST", &[], &[site]), Err(CrossOrigin::FetchSite), "{site}");
            assert_eq!(judge("POST", &[OWN], &[site]), Err(CrossOrigin::FetchSite), "{site}");
        }
    }

    #[test]
    fn refuses_two_answers_to_one_question() {
        let evil = "https://evil.example";
        let twice = Err(CrossOrigin::Contradiction);
        assert_eq!(judge("POST", &[OWN, evil], &[]), twice);
        assert_eq!(judge("POST", &[evil, OWN], &[]), twice);
        assert_eq!(judge("POST", &[OWN, OWN], &[]), twice);
        assert_eq!(judge("POST", &[OWN], &["same-origin", "cross-site"]), twice);
        assert_eq!(judge("POST", &["https://app.example.org"], &["none"]), twice);
    }

    #[test]
    fn leaves_it_to_the_caller_when_nobody_says() {
        assert_eq!(judge("POST", &[], &[]), Ok(Sent::Unstated));
    }

    #[test]
    fn takes_nothing_for_json_that_a_form_could_send() {
        assert!(is_json(&[b"application/json"]));
        assert!(is_json(&[b"Application/JSON; charset=utf-8"]));
        for bad in [
            &b"text/plain"[..],
            b"text/plain; application/json",
            b"application/x-www-form-urlencoded",
            b"multipart/form-data; boundary=application/json",
            b"application/json-seq",
            b"application/json, text/plain",
            b"",
        ] {
            assert!(!is_json(&[bad]), "{}", String::from_utf8_lossy(bad));
        }
        assert!(!is_json(&[]) && !is_json(&[b"application/json", b"application/json"]));
    }

    #[test]
    fn is_not_configured_with_what_no_browser_sends() {
        for good in [
            "http://localhost:8000",
            "https://login.example.com",
            "https://[::1]:8443",
            "http://127.0.0.1:8080",
            "https://xn--bcher-kva.example",
        ] {
            assert!(Origins::new(good, &[]).is_ok(), "{good}");
        }
        for bad in [
            "",
            "*",
            "null",
            "login.example.com",
            "https://",
            "https://login.example.com/",
            "https://login.example.com:443",
            "http://login.example.com:80",
            "https://login.example.com:",
            "https://login.example.com:08443",
            "https://Login.example.com",
            "https://*.example.com",
            "https://a..b",
            "https://user@login.example.com",
            "https://[::0001]",
            "file://",
        ] {
            assert!(Origins::new(OWN, &[bad]).is_err(), "{bad}");
        }
    }
}
