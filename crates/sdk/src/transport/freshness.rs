//! For how long an answer may be kept (RFC 9111), as far as its header says it in seconds.

use std::time::Duration;

use http::{HeaderMap, header};

/// Its `max-age` (§5.2.2.1).
#[must_use]
pub fn max_age(headers: &HeaderMap) -> Option<Duration> {
    directives(headers)
        .find_map(|directive| {
            let (name, age) = directive.split_once('=')?;
            name.eq_ignore_ascii_case("max-age").then(|| age.trim_matches('"').parse().ok())?
        })
        .map(Duration::from_secs)
}

/// For how long it can be kept without asking again: not at all where it says so, and by so much less as
/// it was kept on the way already (§4.2.3). `None`: it says nothing of it.
#[must_use]
pub fn lifetime(headers: &HeaderMap) -> Option<Duration> {
    let is_for_now = |directive: &str| {
        ["no-store", "no-cache"].iter().any(|name| directive.eq_ignore_ascii_case(name))
    };
    if directives(headers).any(is_for_now) {
        return Some(Duration::ZERO);
    }
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok());
    let age = age.map_or(Duration::ZERO, Duration::from_secs);
    max_age(headers).map(|whole| whole.saturating_sub(age))
}

fn directives(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn said(fields: &[(&'static str, &'static str)]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        lifetime(&headers).map(|span| span.as_secs())
    }

    #[test]
    fn an_answer_says_for_how_long_it_is_good() {
        let cc = "cache-control";
        assert_eq!(said(&[]), None);
        assert_eq!(said(&[(cc, "public")]), None);
        assert_eq!(said(&[(cc, "public, Max-Age=600")]), Some(600));
        assert_eq!(said(&[(cc, "public"), (cc, "max-age=\"60\"")]), Some(60));
        assert_eq!(said(&[(cc, "max-age=600"), ("age", "500")]), Some(100));
        assert_eq!(said(&[(cc, "max-age=600"), ("age", "700")]), Some(0));
        assert_eq!(said(&[(cc, "max-age=600"), ("age", "x")]), Some(600));
        for none in ["no-store", "max-age=600, No-Cache", "no-store,max-age=600"] {
            assert_eq!(said(&[(cc, none)]), Some(0), "{none}");
        }
        for nothing in ["max-age=", "max-age=-1", "max-age=x", "max-age"] {
            assert_eq!(said(&[(cc, nothing)]), None, "{nothing}");
        }
    }
}
