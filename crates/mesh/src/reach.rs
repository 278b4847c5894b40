//! How a service is reached: what is declared about the choice between its addresses, about sending
//! again, about leaving it alone, and about TLS toward it.

use std::{fmt, num::NonZeroU32, path::PathBuf};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::{
    declared::DeclaredService,
    map::{Check, Rule},
    span::Span,
    upstream::{Scheme, Upstream, is_host},
};

/// `health` of a service: its addresses are asked again and again whether they are well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// What is asked for, with `GET`. An answer from 200 to 299 is a good one.
    pub path: String,
    /// How often.
    #[serde(default = "five_seconds")]
    pub interval: Span,
    /// How long an answer may take, the connection included.
    #[serde(default = "second")]
    pub timeout: Span,
    /// After so many good answers in a row an address is used again.
    #[serde(default = "two")]
    pub healthy: u32,
    /// After so many without one it is not.
    #[serde(default = "three")]
    pub unhealthy: u32,
}

/// `retry` of a service: when a request is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// How often a request is sent at most, the first time included.
    #[serde(default = "three")]
    pub attempts: u32,
    /// How many of a hundred requests may be sent again.
    #[serde(default = "ten")]
    pub budget: u32,
    /// Answers that are no reason to be content, where there is another address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
}

/// `breaker` of a service: who does not answer is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerRule {
    /// So many failures in a row open it.
    #[serde(default = "five")]
    pub failures: u32,
    /// For how long nobody is let through. Then one is, to see.
    #[serde(default = "minute")]
    pub open_for: Span,
    /// What is answered meanwhile. Nothing: a problem document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<DeclaredAnswer>,
}

/// `breaker` of a service as it is written: when it is left alone, or `false`: never.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum DeclaredBreaker {
    /// Whether it is ever. If so, as if nothing were said.
    Is(bool),
    /// When it is.
    When(BreakerRule),
}

impl DeclaredBreaker {
    fn rule(declared: Option<&Self>) -> Option<BreakerRule> {
        match declared {
            None | Some(Self::Is(true)) => Some(BreakerRule::default()),
            Some(Self::Is(false)) => None,
            Some(Self::When(rule)) => Some(rule.clone()),
        }
    }
}

impl<'de> Deserialize<'de> for DeclaredBreaker {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = DeclaredBreaker;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`false`, or a table with `failures`, `open_for` and `answer`")
            }

            fn visit_bool<E>(self, is: bool) -> Result<Self::Value, E> {
                Ok(DeclaredBreaker::Is(is))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                BreakerRule::deserialize(MapAccessDeserializer::new(map)).map(DeclaredBreaker::When)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// An answer that is given in place of the service's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredAnswer {
    /// The status.
    #[serde(default = "unavailable")]
    pub status: u16,
    /// The type of the body.
    #[serde(default = "json")]
    pub content_type: String,
    /// The body.
    #[serde(default)]
    pub body: String,
}

/// TLS toward a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outward {
    /// Certificates that sign the service's, in PEM. Nothing: those of the gateway's configuration.
    pub ca_file: Option<PathBuf>,
    /// The certificate that the service is shown, and its key, in PEM.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name that the service's certificate has, in place of the host of its address.
    pub server_name: Option<String>,
    /// The SPIFFE ID that the certificate has, in place of a name.
    pub spiffe_id: Option<String>,
}

/// All of this, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Whether and how addresses are asked.
    pub health: Option<Health>,
    /// How many requests it has at a time at most, on each node.
    pub max_requests: Option<NonZeroU32>,
    /// How many more wait for one of those to end.
    pub max_waiting: Option<NonZeroU32>,
    /// When a request is sent again.
    pub retry: Retry,
    /// When it is left alone.
    pub breaker: Option<BreakerRule>,
    /// How its addresses prove who they are, and the gateway who it is.
    pub outward: Outward,
}

const LARGEST_ANSWER: usize = 64 * 1024;

impl Reach {
    pub(crate) fn check(
        declared: &DeclaredService,
        upstreams: &[Upstream],
        check: &mut Check<'_>,
    ) -> Self {
        let mut wrong = |key, reason| check.fault(Rule::Word { key, reason });
        if let Some(health) = &declared.health {
            if !is_target(&health.path) {
                wrong("health.path", "must begin with `/` and be visible ASCII without `#`");
            }
            if !is_between(health.healthy, 1, 100) || !is_between(health.unhealthy, 1, 100) {
                wrong("health", "needs `healthy` and `unhealthy` from 1 to 100");
            }
        }
        let max_requests = declared.max_requests.and_then(|most| {
            let most = NonZeroU32::new(most);
            if most.is_none() {
                wrong(
                    "max_requests",
                    "is 0, so that nothing would pass: leave it out for any number",
                );
            }
            most
        });
        let max_waiting = declared.max_waiting.and_then(NonZeroU32::new);
        if declared.max_waiting.is_some() && max_requests.is_none() {
            wrong("max_waiting", "needs `max_requests`: nobody waits where there is room for all");
        }
        if let Some(retry) = &declared.retry {
            if !is_between(retry.attempts, 1, 10) {
                wrong("retry.attempts", "must be from 1 (never again) to 10");
            }
            if retry.budget > 100 {
                wrong("retry.budget", "is a share of a hundred: at most 100");
            }
            if retry.statuses.iter().any(|status| !(500..600).contains(status)) {
                wrong("retry.statuses", "may hold statuses from 500 to 599");
            }
        }
        let breaker = DeclaredBreaker::rule(declared.breaker.as_ref());
        if let Some(breaker) = &breaker {
            if !is_between(breaker.failures, 1, 10_000) {
                wrong("breaker.failures", "must be from 1 to 10000");
            }
            if let Some(answer) = &breaker.answer {
                if !(200..600).contains(&answer.status) || matches!(answer.status, 204 | 205 | 304)
                {
                    wrong("breaker.answer.status", "must be from 200 to 599, and one with a body");
                }
                if !is_value(&answer.content_type) {
                    wrong("breaker.answer.content_type", "must be visible ASCII");
                }
                if answer.body.len() > LARGEST_ANSWER {
                    wrong("breaker.answer.body", "is larger than 64 KiB");
                }
            }
        }
        let outward = Outward::check(declared, upstreams, check);
        Self {
            health: declared.health.clone(),
            max_requests,
            max_waiting,
            retry: declared.retry.clone().unwrap_or_default(),
            breaker,
            outward,
        }
    }
}

impl Outward {
    fn check(declared: &DeclaredService, upstreams: &[Upstream], check: &mut Check<'_>) -> Self {
        let mut wrong = |key, reason| check.fault(Rule::Word { key, reason });
        let files = [
            ("ca_file", &declared.ca_file),
            ("client_certificate_file", &declared.client_certificate_file),
            ("client_key_file", &declared.client_key_file),
        ];
        let clear = upstreams.iter().any(|upstream| upstream.scheme() != Scheme::Https);
        for (key, file) in files {
            let Some(file) = file else { continue };
            if !file.is_absolute() {
                wrong(key, "must be a full path: nodes start in different directories");
            }
            if clear {
                wrong(key, NEEDS_TLS);
            }
        }
        let client = match (&declared.client_certificate_file, &declared.client_key_file) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) => {
                wrong("client_certificate_file", "needs `client_key_file`");
                None
            }
            (None, Some(_)) => {
                wrong("client_key_file", "needs `client_certificate_file`");
                None
            }
        };
        if let Some(name) = &declared.server_name {
            if !is_host(name) {
                wrong("server_name", "must be a name of DNS in lower case, or an IPv4 address");
            }
            if clear {
                wrong("server_name", NEEDS_TLS);
            }
        }
        if let Some(id) = &declared.spiffe_id {
            if !is_spiffe_id(id) {
                wrong("spiffe_id", "must be `spiffe://`, a trust domain and a path");
            }
            if clear {
                wrong("spiffe_id", NEEDS_TLS);
            }
        }
        Self {
            ca_file: declared.ca_file.clone(),
            client,
            server_name: declared.server_name.clone(),
            spiffe_id: declared.spiffe_id.clone(),
        }
    }
}

const NEEDS_TLS: &str = "is about TLS: let all of `upstreams` begin with `https://`";

impl Default for BreakerRule {
    fn default() -> Self {
        Self { failures: five(), open_for: minute(), answer: None }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: three(), budget: ten(), statuses: Vec::new() }
    }
}

const fn is_between(number: u32, least: u32, most: u32) -> bool {
    least <= number && number <= most
}

fn is_target(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 1024
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn is_value(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// SPIFFE ID §2: a trust domain in lower case, and segments of few characters.
fn is_spiffe_id(id: &str) -> bool {
    let Some((domain, path)) = id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let low = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_')
    };
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    id.len() <= 2048
        && !domain.is_empty()
        && domain.bytes().all(low)
        && path.split('/').all(segment)
}

const fn five_seconds() -> Span {
    Span::of_millis(5000)
}

const fn second() -> Span {
    Span::of_millis(1000)
}

const fn minute() -> Span {
    Span::of_millis(60_000)
}

const fn two() -> u32 {
    2
}

const fn three() -> u32 {
    3
}

const fn five() -> u32 {
    5
}

const fn ten() -> u32 {
    10
}

const fn unavailable() -> u16 {
    503
}

fn json() -> String {
    "application/json".to_owned()
}
