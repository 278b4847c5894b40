//! How strongly and how recently somebody was authenticated, and what may be asked of that (RFC 9470).

use std::{fmt, num::NonZeroU64, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// How far ahead of our clock a sign-in may seem to be, in seconds: as far as two clocks may differ
/// where tokens still count.
const AHEAD: u64 = 60;

/// How well somebody is known: the assurance levels of NIST SP 800-63B-4 §2, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acr {
    /// One factor.
    Aal1,
    /// Two factors.
    Aal2,
    /// Two factors, one of them a key that cannot be copied or phished.
    Aal3,
}

impl Acr {
    /// Those that a sign-in reaches, weakest first.
    pub const REACHED: [Self; 2] = [Self::Aal1, Self::Aal2];

    /// The value of `acr`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aal1 => "aal1",
            Self::Aal2 => "aal2",
            Self::Aal3 => "aal3",
        }
    }

    /// The level that a value of `acr` names. What is spelt in another way is no level.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Aal1, Self::Aal2, Self::Aal3].into_iter().find(|level| level.as_str() == name)
    }
}

/// What is asked of how and when somebody was authenticated. The default asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepUp {
    /// Any one of these levels, or one that is stronger; in the order in which clients are told of
    /// them. Empty: any.
    pub acr: Vec<Acr>,
    /// How long ago at most.
    pub max_age: Option<MaxAge>,
}

impl StepUp {
    /// Asks for this level, or one that is stronger.
    #[must_use]
    pub fn to(level: Acr) -> Self {
        Self { acr: vec![level], max_age: None }
    }

    /// Asks besides that it was no longer ago than this.
    #[must_use]
    pub fn within(self, age: Duration) -> Self {
        Self { max_age: Some(MaxAge::of(age)), ..self }
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.acr.is_empty() && self.max_age.is_none()
    }

    /// Whether somebody with this `acr` is known less well than is asked for.
    #[must_use]
    pub fn is_weak(&self, acr: Option<&str>) -> bool {
        let least = self.acr.iter().min();
        least.is_some_and(|least| acr.and_then(Acr::named).is_none_or(|reached| reached < *least))
    }

    /// Whether somebody who was authenticated so many seconds ago was so for too long. Nobody knows
    /// of `None`, so that is too long.
    #[must_use]
    pub fn is_old(&self, age: Option<u64>) -> bool {
        self.max_age.is_some_and(|most| age.is_none_or(|age| age > most.secs()))
    }

    /// What a challenge says of it: `acr_values="aal2", max_age="300"` (RFC 9470 §3). Names and
    /// numbers alone, so that nothing has to be escaped.
    #[must_use]
    pub fn parameters(&self) -> String {
        let names: Vec<_> = self.acr.iter().map(|level| level.as_str()).collect();
        let acr = (!names.is_empty()).then(|| format!(r#"acr_values="{}""#, names.join(" ")));
        let age = self.max_age.map(|age| format!(r#"max_age="{}""#, age.secs()));
        acr.into_iter().chain(age).collect::<Vec<_>>().join(", ")
    }
}

/// How many seconds ago somebody was authenticated, as `auth_time` says. `None`: nothing says it, or
/// it is said to be so far ahead that no clock explains it.
#[must_use]
pub fn age(auth_time: Option<u64>, now: Timestamp) -> Option<u64> {
    let (then, now) = (auth_time?, now.secs());
    (then <= now.saturating_add(AHEAD)).then(|| now.saturating_sub(then))
}

/// How long ago somebody may have been authenticated: a number of seconds, and more than none,
/// because nobody signs in and calls in the same instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MaxAge(NonZeroU64);

/// A text that is no such time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` does not say how long ago a sign-in may be; write a number above 0 and `s`, `m`, `h` or \
     `d`, such as `5m`"
)]
pub struct InvalidMaxAge(String);

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl MaxAge {
    /// Whole seconds; what is less than one is one.
    #[must_use]
    pub fn of(age: Duration) -> Self {
        Self(NonZeroU64::new(age.as_secs()).unwrap_or(NonZeroU64::MIN))
    }

    /// The seconds.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0.get()
    }
}

impl FromStr for MaxAge {
    type Err = InvalidMaxAge;

    fn from_str(text: &str) -> Result<Self, InvalidMaxAge> {
        let secs = || {
            let (number, secs) =
                UNITS.iter().find_map(|(unit, secs)| Some((text.strip_suffix(*unit)?, secs)))?;
            // A sign would be read as a part of the number.
            let digits = number.bytes().all(|byte| byte.is_ascii_digit());
            let number: u64 = number.parse().ok().filter(|_| digits)?;
            NonZeroU64::new(number.checked_mul(*secs)?)
        };
        // What is shown is short, and holds nothing that would disturb a terminal.
        let shown = || text.chars().take(40).collect::<String>().escape_debug().to_string();
        secs().map(Self).ok_or_else(|| InvalidMaxAge(shown()))
    }
}

impl fmt::Display for MaxAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, secs)| self.secs().is_multiple_of(*secs));
        let (unit, secs) = whole.unwrap_or(&('s', 1));
        write!(f, "{}{unit}", self.secs() / secs)
    }
}

impl TryFrom<String> for MaxAge {
    type Error = InvalidMaxAge;
    fn try_from(text: String) -> Result<Self, InvalidMaxAge> {
        text.parse()
    }
}

impl From<MaxAge> for String {
    fn from(age: MaxAge) -> String {
        age.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(levels: &[Acr], max_age: Option<&str>) -> StepUp {
        StepUp { acr: levels.to_vec(), max_age: max_age.map(|age| age.parse().unwrap()) }
    }

    #[test]
    fn any_of_the_levels_or_a_stronger_one_is_enough() {
        let both = asks(&[Acr::Aal2, Acr::Aal1], None);
        let second = StepUp::to(Acr::Aal2);
        for (said, both_weak, second_weak) in [
            (Some("aal1"), false, true),
            (Some("aal2"), false, false),
            (Some("aal3"), false, false),
            (None, true, true),
            (Some(""), true, true),
            (Some("AAL2"), true, true),
            (Some("aal2 "), true, true),
            (Some("aal1 aal2"), true, true),
            (Some("aal9"), true, true),
            (Some("2"), true, true),
            (Some("urn:mace:incommon:iap:silver"), true, true),
        ] {
            assert_eq!((both.is_weak(said), second.is_weak(said)), (both_weak, second_weak));
            assert!(!StepUp::default().is_weak(said));
        }
    }

    #[test]
    fn what_is_not_known_or_lies_ahead_is_not_recent() {
        let now = Timestamp::from_secs(1_000_000);
        let five = asks(&[], Some("5m"));
        for (then, old) in [
            (Some(1_000_000), false),
            (Some(999_700), false),
            (Some(999_699), true),
            (Some(0), true),
            (None, true),
            // A clock that is a little ahead, and what no clock explains.
            (Some(1_000_060), false),
            (Some(1_000_061), true),
            (Some(u64::MAX), true),
        ] {
            assert_eq!(five.is_old(age(then, now)), old, "{then:?}");
            assert!(!StepUp::default().is_old(age(then, now)));
        }
        assert_eq!(age(Some(u64::MAX), Timestamp::from_secs(u64::MAX / 1000)), None);
    }

    #[test]
    fn a_challenge_says_what_is_asked_for() {
        for (asked, said) in [
            (StepUp::default(), ""),
            (StepUp::to(Acr::Aal2), r#"acr_values="aal2""#),
            (asks(&[], Some("1h")), r#"max_age="3600""#),
            (asks(&[Acr::Aal2, Acr::Aal1], Some("90s")), r#"acr_values="aal2 aal1", max_age="90""#),
        ] {
            assert_eq!(asked.parameters(), said);
            assert_eq!(asked.is_nothing(), said.is_empty());
        }
    }

    #[test]
    fn ages_are_written_with_a_unit_and_are_more_than_nothing() {
        for (text, secs) in [("1s", 1), ("90s", 90), ("5m", 300), ("12h", 43_200), ("7d", 604_800)]
        {
            let age: MaxAge = text.parse().unwrap();
            assert_eq!((age.secs(), age.to_string().as_str()), (secs, text));
        }
        assert_eq!("60s".parse::<MaxAge>().unwrap().to_string(), "1m");
        for bad in [
            "",
            "5",
            "m",
            "0s",
            "0d",
            "-5m",
            "+5m",
            "1.5h",
            "5 m",
            "5M",
            "5ms",
            "300",
            "5m\r\nX: y",
            "99999999999999999999s",
            "213503982334602d",
        ] {
            let told = bad.parse::<MaxAge>().unwrap_err().to_string();
            assert!(told.contains("such as `5m`") && !told.contains('\n'), "{told}");
        }
        assert_eq!(MaxAge::of(Duration::ZERO).secs(), 1);
        assert_eq!(
            StepUp::to(Acr::Aal2).within(Duration::from_secs(60)),
            asks(&[Acr::Aal2], Some("1m"))
        );
    }

    #[test]
    fn levels_have_their_names_and_their_order() {
        assert_eq!(Acr::REACHED.map(Acr::as_str), ["aal1", "aal2"]);
        assert!(Acr::Aal1 < Acr::Aal2 && Acr::Aal2 < Acr::Aal3);
        for level in [Acr::Aal1, Acr::Aal2, Acr::Aal3] {
            assert_eq!(Acr::named(level.as_str()), Some(level));
            assert_eq!(serde_json::to_value(level).unwrap(), level.as_str());
        }
    }
}
