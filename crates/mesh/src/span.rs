//! Durations as people write them: `250ms`, `10s`, `15m`, `1h`. Never nothing.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A duration that is longer than nothing, at most a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(Duration);

/// Why a text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a number from 1 and `ms`, `s`, `m` or `h`, such as `5s`, and at most a day")]
pub struct InvalidSpan;

const LONGEST: Duration = Duration::from_secs(86_400);

impl Span {
    /// So many milliseconds; one where that would be nothing.
    #[must_use]
    pub const fn of_millis(millis: u64) -> Self {
        Self(Duration::from_millis(if millis == 0 { 1 } else { millis }))
    }

    /// How long it is.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let end = text.bytes().position(|byte| !byte.is_ascii_digit()).ok_or(InvalidSpan)?;
        let (number, unit) = text.split_at(end);
        let number: u64 = number.parse().map_err(|_| InvalidSpan)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(InvalidSpan),
        };
        let span = number.checked_mul(millis).map(Duration::from_millis).ok_or(InvalidSpan)?;
        if span.is_zero() || span > LONGEST { Err(InvalidSpan) } else { Ok(Self(span)) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1000) {
            write!(f, "{}s", millis / 1000)
        } else {
            write!(f, "{millis}ms")
        }
    }
}

impl TryFrom<String> for Span {
    type Error = InvalidSpan;

    fn try_from(text: String) -> Result<Self, InvalidSpan> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_is_written_and_is_never_nothing() {
        for (text, millis, written) in [
            ("250ms", 250, "250ms"),
            ("5s", 5000, "5s"),
            ("2m", 120_000, "120s"),
            ("24h", 86_400_000, "86400s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.duration(), Duration::from_millis(millis));
            assert_eq!(span.to_string(), written);
            assert_eq!(written.parse(), Ok(span));
        }
        for bad in
            ["", "5", "s", "0s", "-1s", "+1s", "1 s", "1.5s", "25h", "1d", "9999999999999999h"]
        {
            assert_eq!(bad.parse::<Span>(), Err(InvalidSpan), "{bad}");
        }
    }
}
