//! What a client is told when its request goes no further: a problem document (RFC 9457).

use std::{borrow::Cow, cmp::Reverse};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::{
    dpop,
    guard::{Fault, frames::Flood},
    reasons::Reason,
    tally::Verdict,
};

/// Why a request goes no further.
#[derive(Debug)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// A stable name, for clients, logs and metrics.
    pub id: &'static str,
    /// What a person should know. Holds nothing that the client did not send or may not know.
    pub detail: Cow<'static, str>,
    /// Further header fields.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Whether the connection must not be used again.
    pub close: bool,
    /// What is answered in place of a problem document, where somebody declared it.
    pub in_place: Option<InPlace>,
    /// The limit that refuses it, for the record.
    pub(crate) limit: Option<Verdict>,
}

/// An answer in place of a service's.
#[derive(Debug, Clone)]
pub struct InPlace {
    /// The status.
    pub status: StatusCode,
    /// What the body is.
    pub content_type: HeaderValue,
    /// The body.
    pub body: Bytes,
}

/// A refusal, boxed: the way that passes should not carry room for it.
pub type Refused = Box<Refusal>;

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(
        status: StatusCode,
        id: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Refused {
        debug_assert!(Reason::of(id).is_some(), "`{id}` is missing in `reasons`");
        Box::new(Self {
            status,
            id,
            detail: detail.into(),
            fields: Vec::new(),
            close: false,
            in_place: None,
            limit: None,
        })
    }

    /// 400: malformed or hostile.
    #[must_use]
    pub fn bad_request(id: &'static str, detail: impl Into<Cow<'static, str>>) -> Refused {
        Self::new(StatusCode::BAD_REQUEST, id, detail)
    }

    /// 401: without credentials. Names no error, as RFC 6750 §3.1 has it.
    #[must_use]
    pub fn not_authenticated() -> Refused {
        let detail = "sign in, or send an access token";
        Self::new(StatusCode::UNAUTHORIZED, "not_authenticated", detail)
            .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            .with(header::WWW_AUTHENTICATE, HeaderValue::from_static(dpop::OFFER))
    }

    /// 401: with credentials that do not count.
    #[must_use]
    pub fn invalid_token(id: &'static str, detail: impl Into<Cow<'static, str>>) -> Refused {
        let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
        Self::new(StatusCode::UNAUTHORIZED, id, detail).with(header::WWW_AUTHENTICATE, challenge)
    }

    /// 429, by the one of these limits that refuses.
    #[must_use]
    pub(crate) fn too_many(told: Vec<Verdict>) -> Refused {
        let refusing = told.iter().filter(|it| !it.answer.passes).max_by_key(|it| it.answer.wait);
        let (detail, seconds) = match refusing {
            Some(it) => {
                let (limit, seconds) = (it.quota.limit, it.answer.seconds());
                (format!("no more than {limit} requests pass; wait {seconds} s"), seconds)
            }
            None => ("there are too many requests".to_owned(), 1),
        };
        let refusing = refusing.cloned();
        let mut refused = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail);
        refused.limit = refusing;
        refused.fields.extend(limit_fields(told));
        refused.with(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// 503: something that must answer does not.
    #[must_use]
    pub fn unavailable(id: &'static str, detail: impl Into<Cow<'static, str>>) -> Refused {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, id, detail)
            .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// With a further header field.
    #[must_use]
    pub fn with(mut self: Box<Self>, name: HeaderName, value: HeaderValue) -> Refused {
        self.fields.push((name, value));
        self
    }

    /// On a connection that is closed afterwards.
    #[must_use]
    pub fn closing(mut self: Box<Self>) -> Refused {
        self.close = true;
        self
    }

    /// The document.
    #[must_use]
    pub fn body(&self, trace_id: &str) -> Bytes {
        #[derive(Serialize)]
        struct Problem<'p> {
            r#type: String,
            title: &'p str,
            status: u16,
            detail: &'p str,
            trace_id: &'p str,
        }
        let problem = Problem {
            r#type: format!("urn:tegata:problem:{}", self.id),
            title: self.status.canonical_reason().unwrap_or("Refused"),
            status: self.status.as_u16(),
            detail: &self.detail,
            trace_id,
        };
        // Texts and a number always have a JSON form.
        serde_json::to_vec(&problem).unwrap_or_default().into()
    }

    /// The answer as HTTP/1 writes it, for whoever is not spoken with any more.
    pub(crate) fn written(&self, name: &str, hsts: Option<&HeaderValue>) -> Vec<u8> {
        let (status, body) = (self.status, self.body(name));
        let reason = status.canonical_reason().unwrap_or_default();
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
        let length = body.len().to_string();
        let own = [
            ("x-request-id", name.as_bytes()),
            ("connection", b"close"),
            ("content-length", length.as_bytes()),
        ];
        let fixed = FIELDS.iter().map(|(name, value)| (*name, value.as_bytes()));
        let hsts = hsts.map(|it| ("strict-transport-security", it.as_bytes()));
        let fields = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        for (name, value) in fixed.chain(hsts).chain(own).chain(fields) {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        head.extend(b"\r\n");
        [head.as_slice(), &body].concat()
    }

    /// 503: there is more to do than can be done. Not everybody is to come back at the same time.
    #[must_use]
    pub(crate) fn overloaded(random: usize) -> Refused {
        let detail = "there is more to do than can be done; come back later";
        let mut refused = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail);
        let later = ["1", "2", "3"].get(random % 3).copied().unwrap_or("1");
        refused.fields.push((header::RETRY_AFTER, HeaderValue::from_static(later)));
        refused
    }

    /// The response.
    #[must_use]
    pub fn response(self, trace_id: &str) -> Response<Bytes> {
        let body = match &self.in_place {
            Some(in_place) => in_place.body.clone(),
            None => self.body(trace_id),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, value) in FIELDS {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        if let Some(in_place) = self.in_place {
            headers.insert(header::CONTENT_TYPE, in_place.content_type);
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        for (name, value) in self.fields {
            headers.append(name, value);
        }
        response
    }
}

/// What every refusal carries, also where it is written by hand: it is kept nowhere, and is no page, whatever
/// a browser takes it for.
pub(crate) const FIELDS: [(&str, &str); 7] = [
    ("content-type", "application/problem+json"),
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        let status = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Refusal::new(status, fault.id(), fault.to_string()).closing()
    }
}

impl From<Flood> for Refused {
    fn from(flood: Flood) -> Self {
        let (status, id) = match flood {
            Flood::Trailers => (StatusCode::BAD_REQUEST, "trailers_malformed"),
            _ => (StatusCode::TOO_MANY_REQUESTS, "flood"),
        };
        Refusal::new(status, id, flood.to_string()).closing()
    }
}

/// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) of all limits that apply, the
/// tightest first.
pub(crate) fn limit_fields(
    mut told: Vec<Verdict>,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let refuses_most =
        |it: &Verdict| (it.answer.passes, it.answer.remaining, Reverse(it.answer.wait));
    told.sort_by_key(refuses_most);
    let mut named: Vec<&str> = Vec::new();
    let (mut policies, mut states) = (String::new(), String::new());
    for it in &told {
        // An address of IPv6 is counted in two networks, and asked about one.
        if named.contains(&&*it.label) {
            continue;
        }
        let comma = if named.is_empty() { "" } else { ", " };
        named.push(&it.label);
        let (count, window) = (it.quota.limit.count(), it.quota.limit.per().as_secs());
        let burst = match it.quota.burst {
            burst if burst == count => String::new(),
            burst => format!(";burst={burst}"),
        };
        let (label, left, wait) = (&it.label, it.answer.remaining, it.answer.seconds());
        policies += &format!("{comma}\"{label}\";q={count};w={window}{burst}");
        states += &format!("{comma}\"{label}\";r={left};t={wait}");
    }
    let texts = [("ratelimit-policy", policies), ("ratelimit", states)];
    texts.into_iter().filter(|(_, text)| !text.is_empty()).filter_map(|(name, text)| {
        Some((HeaderName::from_static(name), HeaderValue::try_from(text).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_problem_document() {
        let refused = Refusal::not_authenticated().closing();
        let response = refused.response("0af7651916cd43dd8448eb211c80319c");
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(response.headers()["connection"], "close");
        for (name, value) in FIELDS {
            assert_eq!(response.headers()[name], value);
        }
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:tegata:problem:not_authenticated",
                "title": "Unauthorized",
                "status": 401,
                "detail": "sign in, or send an access token",
                "trace_id": "0af7651916cd43dd8448eb211c80319c",
            })
        );
    }
}
