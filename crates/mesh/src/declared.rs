//! Services and routes as people write them: `[[service]]` and `[[route]]` of the configuration and
//! of files for `tegata apply`. Unknown keys are errors. [`crate::ServiceMap`] checks the rest.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// `[[service]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredService {
    /// Its name, unique.
    pub name: String,
    /// Where it lives: `http://host:port`. Several are balanced.
    pub upstreams: Vec<String>,
    /// Which services may get a token for it.
    #[serde(default)]
    pub callers: Vec<String>,
    /// Who may call it through the gateway: whoever has one of these roles. Empty: everyone who is
    /// signed in. A route that names roles of its own replaces these.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// `[[route]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredRoute {
    /// The prefix, on whole segments: `/orders` matches `/orders/1`, never `/ordersx`. Unique.
    pub path: String,
    /// The service that it leads to.
    pub service: String,
    /// Whether the caller must be known.
    #[serde(default)]
    pub auth: AuthMode,
    /// Whether the service sees the path without the prefix.
    #[serde(default = "yes")]
    pub strip_prefix: bool,
    /// Methods that pass. Empty: all but `CONNECT` and `TRACE`.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Scopes that the caller's token must all have, separated by spaces.
    #[serde(default)]
    pub scope: String,
    /// Roles of which the caller must have one; in place of the service's.
    #[serde(default)]
    pub roles: Vec<String>,
    /// What holds while revocations cannot be learnt.
    #[serde(default)]
    pub revocation: RevocationMode,
    /// How many requests of one caller pass, such as `100/m`.
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
}

const fn yes() -> bool {
    true
}

/// Whether a route's caller must be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Without valid credentials nothing passes.
    #[default]
    Required,
    /// Without credentials the request passes as nobody's; invalid ones are refused.
    Optional,
    /// Credentials are not looked at.
    None,
}

/// What holds while revocations cannot be learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevocationMode {
    /// Nothing passes.
    Strict,
    /// Only tokens that are fresh or about to expire pass.
    #[default]
    Bounded,
    /// Tokens pass until they expire, and each decision is marked.
    Available,
}

/// So many requests in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RateLimit {
    count: NonZeroU32,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

/// A text that is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rate limit is a number, `/`, and `s`, `m`, `h` or `d`, such as `100/m`")]
pub struct InvalidRate;

impl RateLimit {
    /// How many requests.
    #[must_use]
    pub const fn count(self) -> NonZeroU32 {
        self.count
    }

    /// In how much time.
    #[must_use]
    pub const fn per(self) -> Duration {
        Duration::from_secs(match self.unit {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3600,
            Unit::Day => 86_400,
        })
    }
}

impl FromStr for RateLimit {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (count, unit) = text.split_once('/').ok_or(InvalidRate)?;
        let unit = match unit {
            "s" => Unit::Second,
            "m" => Unit::Minute,
            "h" => Unit::Hour,
            "d" => Unit::Day,
            _ => return Err(InvalidRate),
        };
        // `parse` alone would take a sign.
        let digits = count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse().ok().filter(|_| digits).ok_or(InvalidRate)?;
        Ok(Self { count, unit })
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Second => 's',
            Unit::Minute => 'm',
            Unit::Hour => 'h',
            Unit::Day => 'd',
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl TryFrom<String> for RateLimit {
    type Error = InvalidRate;
    fn try_from(text: String) -> Result<Self, InvalidRate> {
        text.parse()
    }
}

impl From<RateLimit> for String {
    fn from(rate: RateLimit) -> String {
        rate.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_safe() {
        let route: DeclaredRoute =
            serde_json::from_str(r#"{"path": "/orders", "service": "orders"}"#).unwrap();
        assert_eq!(route.auth, AuthMode::Required);
        assert_eq!(route.revocation, RevocationMode::Bounded);
        assert!(route.strip_prefix && route.methods.is_empty() && route.rate_limit.is_none());
    }

    #[test]
    fn refuses_keys_and_words_that_it_does_not_know() {
        for bad in [
            r#"{"path": "/a", "service": "a", "role": ["admin"]}"#,
            r#"{"path": "/a", "service": "a", "auth": "off"}"#,
            r#"{"path": "/a", "service": "a", "auth": "Required"}"#,
            r#"{"path": "/a", "service": "a", "revocation": "open"}"#,
            r#"{"path": "/a", "service": "a", "rate_limit": "100"}"#,
            r#"{"path": "/a"}"#,
        ] {
            assert!(serde_json::from_str::<DeclaredRoute>(bad).is_err(), "{bad}");
        }
        let service = r#"{"name": "a", "upstreams": [], "roles": [], "auth": "none"}"#;
        assert!(serde_json::from_str::<DeclaredService>(service).is_err());
    }

    #[test]
    fn reads_and_writes_rates() {
        for (text, count, secs) in
            [("100/m", 100, 60), ("1/s", 1, 1), ("1000/h", 1000, 3600), ("5/d", 5, 86_400)]
        {
            let rate: RateLimit = text.parse().unwrap();
            assert_eq!((rate.count().get(), rate.per().as_secs()), (count, secs));
            assert_eq!(rate.to_string(), text);
        }
        for bad in ["", "100", "0/m", "-1/m", "+1/m", "1.5/m", "1/M", "1/min", "/m", "5000000000/s"]
        {
            assert_eq!(bad.parse::<RateLimit>(), Err(InvalidRate), "{bad}");
        }
    }
}
