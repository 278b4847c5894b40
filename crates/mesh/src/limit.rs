//! Rate limits as they are written beside a route or a service: who is counted, how many, and how many at
//! once.

use std::{fmt, num::NonZeroU32, str::FromStr};

use serde::{Deserialize, Serialize};
use tegata_core::{Quota, RateLimit};

use crate::map::{Check, Rule};

/// How many limits stand in one place at most: each is counted for each request.
const MOST: usize = 8;

/// The longest name of a claim.
const LONGEST: usize = 64;

/// `rate_limits` of a route or a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredLimit {
    /// Whose requests are counted together.
    pub by: LimitBy,
    /// How many of them pass, such as `100/m`.
    pub limit: RateLimit,
    /// How many pass at once. Nothing: as many as `limit` has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
}

impl DeclaredLimit {
    /// How many pass, and how many at once.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        Quota::new(self.limit, self.burst)
    }
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LimitBy {
    /// Those of an address, or of what counts as one.
    Address,
    /// Those of a person or a client. Who is not known is counted by address.
    User,
    /// Those with an API key. Who comes without one is not counted.
    Key,
    /// Those whose token says the same in this claim. Who has no such claim is counted alone, and who is
    /// not known by address.
    Claim(String),
    /// All that the service gets.
    Service,
    /// All that come on the route.
    Route,
}

/// A text that says of nobody whose requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "`by` is `address`, `user`, `key`, `claim:NAME` with a name of visible ASCII without quotes and \
     backslashes, `service` or `route`"
)]
pub struct InvalidLimitBy;

impl LimitBy {
    /// Whether it says nothing where credentials are not looked at.
    const fn needs_caller(&self) -> bool {
        matches!(self, Self::User | Self::Key | Self::Claim(_))
    }
}

impl FromStr for LimitBy {
    type Err = InvalidLimitBy;

    fn from_str(text: &str) -> Result<Self, InvalidLimitBy> {
        Ok(match text {
            "address" => Self::Address,
            "user" => Self::User,
            "key" => Self::Key,
            "service" => Self::Service,
            "route" => Self::Route,
            _ => {
                let name = text.strip_prefix("claim:").ok_or(InvalidLimitBy)?;
                // It stands in a header field between quotes.
                let fits = |byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'\\');
                let is_name = (1..=LONGEST).contains(&name.len()) && name.bytes().all(fits);
                is_name.then(|| Self::Claim(name.to_owned())).ok_or(InvalidLimitBy)?
            }
        })
    }
}

impl fmt::Display for LimitBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("address"),
            Self::User => f.write_str("user"),
            Self::Key => f.write_str("key"),
            Self::Claim(name) => write!(f, "claim:{name}"),
            Self::Service => f.write_str("service"),
            Self::Route => f.write_str("route"),
        }
    }
}

impl TryFrom<String> for LimitBy {
    type Error = InvalidLimitBy;
    fn try_from(text: String) -> Result<Self, InvalidLimitBy> {
        text.parse()
    }
}

impl From<LimitBy> for String {
    fn from(by: LimitBy) -> String {
        by.to_string()
    }
}

/// Where limits stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Service,
    /// Beside a route that looks at credentials, or not.
    Route {
        knows_callers: bool,
    },
}

/// Finds what is wrong with limits in one place.
pub(crate) fn check(limits: &[DeclaredLimit], place: Place, check: &mut Check<'_>) {
    let mut wrong = |reason| check.fault(Rule::Word { key: "rate_limits", reason });
    if limits.len() > MOST {
        wrong("holds more than 8 limits: each is counted for each request, so keep fewer");
    }
    for (number, limit) in limits.iter().enumerate() {
        let before = limits.iter().take(number);
        if before.into_iter().any(|it| it.by == limit.by && it.limit == limit.limit) {
            wrong("holds two limits with the same `by` and the same `limit`: keep one");
        }
        match place {
            Place::Service if limit.by == LimitBy::Route => {
                wrong("of a service cannot be `by = \"route\"`: write it beside the route");
            }
            Place::Route { knows_callers: false } if limit.by.needs_caller() => {
                wrong(
                    "counts by `user`, `key` or a claim, and `auth = \"none\"` looks at no credentials: count \
                     by `address`, or set `auth` to `required` or `optional`",
                );
            }
            Place::Service | Place::Route { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AuthMode, DeclaredRoute, DeclaredService, ServiceMap};

    fn limits(text: &str) -> serde_json::Result<Vec<DeclaredLimit>> {
        serde_json::from_str(text)
    }

    fn faults(of_service: &str, of_route: &str, auth: AuthMode) -> Vec<String> {
        let service = DeclaredService {
            name: "orders".into(),
            upstreams: vec!["http://127.0.0.1:1".into()],
            rate_limits: limits(of_service).unwrap(),
            ..DeclaredService::default()
        };
        let rate_limits = limits(of_route).unwrap();
        let route = DeclaredRoute { auth, rate_limits, ..DeclaredRoute::new("/orders", "orders") };
        match ServiceMap::check(&[service], &[route]) {
            Ok(_) => Vec::new(),
            Err(invalid) => invalid.faults.iter().map(|it| it.rule.to_string()).collect(),
        }
    }

    #[test]
    fn is_read_as_it_is_written() {
        let text =
            r#"[{"by":"claim:tenant","limit":"100/m","burst":20},{"by":"key","limit":"5/s"}]"#;
        let read = limits(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!((read[0].quota().burst.get(), read[1].quota().burst.get()), (20, 5));
        let long = "x".repeat(65);
        for bad in [
            r#"[{"by":"ip","limit":"1/m"}]"#.to_owned(),
            r#"[{"by":"claim:","limit":"1/m"}]"#.to_owned(),
            r#"[{"by":"claim:a b","limit":"1/m"}]"#.to_owned(),
            r#"[{"by":"claim:a\"b","limit":"1/m"}]"#.to_owned(),
            r#"[{"by":"claim:é","limit":"1/m"}]"#.to_owned(),
            format!(r#"[{{"by":"claim:{long}","limit":"1/m"}}]"#),
            r#"[{"by":"user","limit":"1/m","burst":0}]"#.to_owned(),
            r#"[{"by":"user","limit":"0/m"}]"#.to_owned(),
            r#"[{"by":"user"}]"#.to_owned(),
            r#"[{"by":"user","limit":"1/m","per":"h"}]"#.to_owned(),
        ] {
            assert!(limits(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_says_nothing_is_refused_with_what_to_write_instead() {
        let user = r#"[{"by":"user","limit":"1/m"}]"#;
        for needy in
            [user, r#"[{"by":"key","limit":"1/m"}]"#, r#"[{"by":"claim:a","limit":"1/m"}]"#]
        {
            let found = faults("[]", needy, AuthMode::None);
            assert!(found.len() == 1 && found[0].contains("`auth = \"none\"`"), "{found:?}");
            assert!(faults("[]", needy, AuthMode::Optional).is_empty());
            // Other routes of the service may know callers.
            assert!(faults(needy, "[]", AuthMode::None).is_empty());
        }
        let open = r#"[{"by":"address","limit":"1/m"},{"by":"route","limit":"1/m"},{"by":"service","limit":"1/m"}]"#;
        assert!(faults("[]", open, AuthMode::None).is_empty());
        let found = faults(r#"[{"by":"route","limit":"1/m"}]"#, "[]", AuthMode::Required);
        assert!(found.len() == 1 && found[0].contains("beside the route"), "{found:?}");
        let twice = r#"[{"by":"user","limit":"1/m"},{"by":"user","limit":"9/h"},{"by":"user","limit":"1/m","burst":2}]"#;
        let found = faults("[]", twice, AuthMode::Required);
        assert!(found.len() == 1 && found[0].contains("keep one"), "{found:?}");
        let many: Vec<_> =
            (1..=9).map(|it| format!(r#"{{"by":"user","limit":"{it}/m"}}"#)).collect();
        let found = faults("[]", &format!("[{}]", many.join(",")), AuthMode::Required);
        assert!(found.len() == 1 && found[0].contains("more than 8"), "{found:?}");
    }
}
