//! Fields behind a body. They come after everybody has decided about the head, so they may say nothing that
//! stands in one (RFC 9110 §6.5.1).

use http::{HeaderMap, HeaderName, header};

use crate::head::{is_hop, is_ours};

/// How many there may be. A body with more breaks off.
const MOST: usize = 100;

/// Takes out what would be believed of a head: who calls, where to, how the message is framed, what is kept of
/// it. Answers `None` where there are too many.
pub(crate) fn clean(mut trailers: HeaderMap) -> Option<HeaderMap> {
    if trailers.len() > MOST {
        return None;
    }
    let strip: Vec<HeaderName> = trailers.keys().filter(|name| is_of_head(name)).cloned().collect();
    for name in strip {
        trailers.remove(name);
    }
    Some(trailers)
}

fn is_of_head(name: &HeaderName) -> bool {
    let known = matches!(
        *name,
        header::AUTHORIZATION
            | header::CACHE_CONTROL
            | header::CONNECTION
            | header::CONTENT_ENCODING
            | header::CONTENT_LENGTH
            | header::CONTENT_RANGE
            | header::CONTENT_TYPE
            | header::COOKIE
            | header::EXPECT
            | header::HOST
            | header::LOCATION
            | header::MAX_FORWARDS
            | header::ORIGIN
            | header::PRAGMA
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
            | header::RANGE
            | header::SET_COOKIE
            | header::STRICT_TRANSPORT_SECURITY
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::VARY
            | header::WWW_AUTHENTICATE
    );
    let text = name.as_str();
    known
        || is_hop(text)
        || is_ours(text)
        || matches!(text, "dpop" | "traceparent" | "tracestate" | "clear-site-data" | "x-api-key")
        || text.starts_with("access-control-")
        || text.starts_with("sec-")
        || text.starts_with("if-")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(names: &[&str]) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        for name in names {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            trailers.append(name, HeaderValue::from_static("x"));
        }
        trailers
    }

    #[test]
    fn what_belongs_into_a_head_is_gone_and_what_ends_a_call_stays() {
        for name in [
            "x-user-id",
            "x_user_id",
            "x-internal-token",
            "authorization",
            "cookie",
            "set-cookie",
            "content-length",
            "transfer-encoding",
            "host",
            "te",
            "upgrade",
            "connection",
            "keep-alive",
            "x-forwarded-for",
            "access-control-allow-origin",
            "sec-websocket-accept",
            "dpop",
        ] {
            assert!(clean(with(&[name, name])).unwrap().is_empty(), "{name}");
        }
        let ends =
            ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-checksum", "digest"];
        assert_eq!(clean(with(&ends)).unwrap().len(), ends.len());
    }

    #[test]
    fn there_are_not_as_many_as_somebody_likes() {
        let many: Vec<String> = (0..=MOST).map(|number| format!("x-{number}")).collect();
        let names: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(clean(with(&names)).is_none());
        assert!(clean(with(&names[1..])).is_some());
    }
}
