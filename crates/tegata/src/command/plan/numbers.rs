//! Numbers as people write them on the command line.

use std::time::Duration;

use tegata_token::revocation::LONGEST_ACCESS;
use toml::Value;

use crate::{
    config::Span,
    plan::{
        count::{self, Count},
        load::MOST_USERS,
    },
};

const DAY: Duration = Duration::from_secs(86_400);

/// A name, `=`, and a number.
pub(super) fn assignment(text: &str) -> Option<(&str, Value)> {
    let (name, value) = text.split_once('=')?;
    let value: f64 = value.trim().parse().ok()?;
    Some((name.trim(), Value::Float(value)))
}

/// How many people: a whole number, with `k`, `M` or `G` behind it, or `_` within.
pub(super) fn users(text: &str) -> Result<Count, String> {
    let wrong = || {
        "write a whole number from 1 to 100G, such as `250000`, `1.5M` or `10_000_000`".to_owned()
    };
    let plain = text.replace('_', "");
    let (digits, unit) = match plain.char_indices().last() {
        Some((at, 'k')) => (plain.get(..at), 1e3),
        Some((at, 'M')) => (plain.get(..at), 1e6),
        Some((at, 'G')) => (plain.get(..at), 1e9),
        _ => (Some(plain.as_str()), 1.0),
    };
    let is_number =
        |it: &&str| it.bytes().all(|byte| byte.is_ascii_digit() || b".e".contains(&byte));
    let number: f64 = digits.filter(is_number).and_then(|it| it.parse().ok()).ok_or_else(wrong)?;
    // 1.1M is 1,100,000 and the noise of a multiplication.
    let number = (number * unit * 1000.0).round() / 1000.0;
    let count = Count::rounded_up(number).filter(|count| count.number() == number);
    count.filter(|count| (1..=MOST_USERS).contains(&count.get())).ok_or_else(wrong)
}

/// Sign-ins of one person a day.
pub(super) fn sign_ins(text: &str) -> Result<f64, String> {
    within(text, 0.001, 1000.0)
}

/// Calls of one person a day.
pub(super) fn requests(text: &str) -> Result<f64, String> {
    within(text, 0.0, 1e6)
}

/// How many times the average the busiest hour is.
pub(super) fn peak(text: &str) -> Result<f64, String> {
    within(text, 1.0, 1000.0)
}

fn within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.replace('_', "").parse::<f64>().ok();
    number.filter(|it| (least..=most).contains(it)).ok_or_else(|| {
        format!("write a number from {} to {}", count::number(least), count::number(most))
    })
}

/// How many nodes.
pub(super) fn nodes(text: &str) -> Result<Count, String> {
    let wrong = || "write a whole number from 1 to 100000".to_owned();
    let number: u32 = text.parse().map_err(|_| wrong())?;
    Some(number).filter(|it| (1..=100_000).contains(it)).map(Count::of).ok_or_else(wrong)
}

/// How long an access token lives.
pub(super) fn access(text: &str) -> Result<Duration, String> {
    lasting(text, LONGEST_ACCESS).ok_or_else(|| {
        "write `1s` to `1h`, as `tegata serve` takes it; what lives longer should be a refresh token"
            .to_owned()
    })
}

/// How long a refresh token lives: ten years at most.
pub(super) fn refresh(text: &str) -> Result<Duration, String> {
    lasting(text, 3650 * DAY).ok_or_else(|| "write `1s` to `3650d`, such as `12h`, `7d`".to_owned())
}

/// For how long somebody stays after a sign-in.
pub(super) fn active(text: &str) -> Result<Duration, String> {
    lasting(text, DAY).ok_or_else(|| "write `1s` to `24h`, such as `30m`".to_owned())
}

fn lasting(text: &str, most: Duration) -> Option<Duration> {
    let span = text.parse::<Span>().ok()?.get();
    Some(span).filter(|span| (Duration::from_secs(1)..=most).contains(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_whole_and_neither_none_nor_absurdly_many() {
        for (text, number) in [
            ("1", 1),
            ("250000", 250_000),
            ("10_000_000", 10_000_000),
            ("1.5M", 1_500_000),
            ("1.1M", 1_100_000),
            ("12.345k", 12_345),
            ("10G", 10_000_000_000),
            ("100G", 100_000_000_000),
            ("1e10", 10_000_000_000),
        ] {
            assert_eq!(users(text).unwrap().get(), number, "{text}");
        }
        for bad in [
            "", "0", "0k", "-5", "+5", "1.5", "1.2345k", "NaN", "inf", "k", ".", "e", "1e", "M1",
            "1,5M", "100.1G", "1e99", "1e999", "ten", "1 000", "１０", "5m",
        ] {
            assert!(users(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_number_is_absurd() {
        for bad in ["0", "-1", "nan", "inf", "1001", "", "one", "1e400"] {
            assert!(sign_ins(bad).is_err(), "{bad}");
        }
        assert!(requests("0").is_ok() && requests("-0.1").is_err() && requests("1e7").is_err());
        assert!(peak("1").is_ok() && peak("0.9").is_err());
        assert!(nodes("0").is_err() && nodes("1.5").is_err() && nodes("4294967297").is_err());
        for bad in ["0s", "999ms", "2h", "15", "-1s", "18446744073709551615d", ""] {
            assert!(access(bad).is_err(), "{bad}");
        }
        assert!(access("1h").is_ok() && refresh("3651d").is_err() && active("25h").is_err());
        for bad in ["node", "node=", "node=x", "=", ""] {
            assert!(assignment(bad).is_none(), "{bad}");
        }
    }
}
