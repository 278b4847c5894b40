//! Whole things, and how numbers are written.

use std::fmt;

/// The most of anything that is counted. Beyond it an `f64` no longer knows every whole number, and
/// neither do readers of JSON.
const MOST: u64 = 1 << 53;

/// A number of whole things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Count(u64);

impl Count {
    /// The largest.
    pub(crate) const MOST: Self = Self(MOST);

    /// So many.
    pub(crate) const fn of(count: u32) -> Self {
        Self(count as u64)
    }

    /// As many whole things as hold `amount`; `None` if they are too many, or it is no number. What
    /// is above a whole number by less than a millionth of a millionth of itself is the noise of
    /// arithmetic, and asks for no thing more.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was compared with both limits before"
    )]
    pub(crate) fn rounded_up(amount: f64) -> Option<Self> {
        let nearest = amount.round();
        let is_noise = (amount - nearest).abs() <= nearest.abs() * 1e-12;
        let whole = if is_noise { nearest } else { amount.ceil() }.max(0.0);
        (whole <= Self(MOST).number() && !amount.is_nan()).then_some(Self(whole as u64))
    }

    /// Both together, if they are not too many.
    pub(crate) fn times(self, other: Self) -> Option<Self> {
        self.0.checked_mul(other.0).filter(|count| *count <= MOST).map(Self)
    }

    /// As an integer.
    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    /// As a number to calculate with, exactly.
    #[expect(clippy::cast_precision_loss, reason = "it is at most 2^53")]
    pub(crate) const fn number(self) -> f64 {
        self.0 as f64
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&grouped(self.0.into()))
    }
}

/// A whole number with separators: `10,000,000`.
pub(super) fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number as people read it: four digits that count, and separators.
pub(crate) fn number(value: f64) -> String {
    if value < 0.0 {
        return format!("−{}", number(-value));
    }
    if !value.is_finite() {
        return "∞".to_owned();
    }
    // How many digits stand before the point; for 0.00039, which has none, −3.
    let before = if value == 0.0 { 1.0 } else { value.log10().floor() + 1.0 };
    let decimals = (4.0 - before).clamp(0.0, 12.0);
    let decimals = usize::try_from(Count::rounded_up(decimals).unwrap_or_default().get());
    let text = format!("{value:.*}", decimals.unwrap_or_default());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), grouped);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole } else { format!("{whole}.{fraction}") }
}

/// An amount of memory or storage: `128 KiB`, `1.5 GiB`.
pub(crate) fn bytes(amount: f64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut amount = amount;
    let mut unit = "bytes";
    for next in units {
        unit = next;
        if amount < 1024.0 || next == "EiB" {
            break;
        }
        amount /= 1024.0;
    }
    format!("{} {unit}", number(amount))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_up_but_not_for_noise() {
        for (amount, count) in [
            (0.0, 0),
            (-1.0, 0),
            (0.1, 1),
            (3.0, 3),
            (0.1 + 0.2, 1),
            (10.0 * 1.1 - 8.0, 3),
            (2.000_000_000_000_4, 2),
            (2.000_000_01, 3),
            (1e12 - 1.0, 999_999_999_999),
            (1e12, 1_000_000_000_000),
        ] {
            assert_eq!(Count::rounded_up(amount).unwrap().get(), count, "{amount}");
        }
        for bad in [f64::NAN, f64::INFINITY, 1e17] {
            assert_eq!(Count::rounded_up(bad), None, "{bad}");
        }
        assert_eq!(Count::MOST.times(Count::of(2)), None);
    }

    #[test]
    fn numbers_are_written_for_people() {
        for (value, text) in [
            (0.0, "0"),
            (115.740_740, "115.7"),
            (5250.0, "5,250"),
            (57_870.37, "57,870"),
            (0.000_525, "0.000525"),
            (0.000_39, "0.00039"),
            (0.000_214_56, "0.0002146"),
            (1.5, "1.5"),
            (9_999.96, "10,000"),
            (1e15, "1,000,000,000,000,000"),
            (-12.5, "−12.5"),
            (f64::INFINITY, "∞"),
        ] {
            assert_eq!(number(value), text, "{value}");
        }
        for (amount, text) in [
            (0.0, "0 bytes"),
            (1023.0, "1,023 bytes"),
            (131_072.0, "128 KiB"),
            (1.5e9, "1.397 GiB"),
        ] {
            assert_eq!(bytes(amount), text, "{amount}");
        }
        assert!(bytes(f64::MAX).ends_with("EiB"));
    }
}
