//! Money: whole millionths of a dollar, so that sums are exact and nothing is rounded on the way.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use super::count::{Count, grouped};

/// Millionths of a dollar in a dollar.
const MICROS: u128 = 1_000_000;

/// The highest price of one thing, in dollars.
const DEAREST: f64 = 1_000_000.0;

/// An amount of dollars that is not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Money(u128);

impl Money {
    /// So many millionths of a dollar.
    pub(crate) const fn micros(micros: u32) -> Self {
        Self(micros as u128)
    }

    /// A price of one thing, as somebody writes it.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn price(dollars: f64) -> Result<Self, String> {
        if !(0.0..=DEAREST).contains(&dollars) {
            return Err(format!(
                "`{dollars}` is not a price: write dollars from 0 to 1000000, such as `0.12`"
            ));
        }
        let micros = dollars * 1e6;
        if (micros - micros.round()).abs() > 1e-3 {
            return Err(format!(
                "`{dollars}` is finer than a millionth of a dollar: write at most six decimals"
            ));
        }
        Ok(Self(Count::rounded_up(micros.round()).unwrap_or_default().get().into()))
    }

    /// The price of so many. INVARIANT: a price is below 2^40 millionths and a count below 2^53, so
    /// this and sums of it stay below 2^128.
    pub(crate) fn times(self, count: Count) -> Self {
        Self(self.0.saturating_mul(count.get().into()))
    }

    /// What is left when so much is taken off, to the nearest millionth.
    pub(crate) fn less(self, discount: Percent) -> Self {
        let kept = u128::from(10_000 - discount.hundredths);
        Self(self.0.saturating_mul(kept).saturating_add(5_000) / 10_000)
    }

    /// How much more this is than `other`.
    pub(crate) fn above(self, other: Self) -> Difference {
        Difference { is_less: self < other, amount: Self(self.0.abs_diff(other.0)) }
    }

    /// What is left after `other`, and nothing if that is more.
    pub(crate) const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// As a number of dollars, for what is only shown.
    #[expect(clippy::cast_precision_loss, reason = "it is shown, and no sum is made of it")]
    pub(crate) fn dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// What each of so many people costs, in dollars.
    pub(crate) fn each_of(self, people: Count) -> f64 {
        self.dollars() / people.number()
    }
}

impl std::ops::Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| sum + one)
    }
}

/// Dollars and cents, with a separator between thousands: `5,250.00`. A price of less than a cent
/// keeps its decimals: `0.02475`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0 && self.0 < MICROS && !self.0.is_multiple_of(MICROS / 100) {
            let decimals = format!("{:06}", self.0);
            return f.pad(&format!("0.{}", decimals.trim_end_matches('0')));
        }
        let cents = self.0.saturating_add(MICROS / 200) / (MICROS / 100);
        f.pad(&format!("{}.{:02}", grouped(cents / 100), cents % 100))
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let dollars = deserializer.deserialize_any(Number("dollars"))?;
        Self::price(dollars).map_err(de::Error::custom)
    }
}

/// How much more one amount is than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Difference {
    is_less: bool,
    amount: Money,
}

impl Difference {
    /// In dollars; negative if it is less.
    pub(crate) fn dollars(self) -> f64 {
        if self.is_less { -self.amount.dollars() } else { self.amount.dollars() }
    }

    /// As [`Money`] is written, with a sign where it is less, and `unit` before the number.
    pub(crate) fn with(self, unit: &str) -> String {
        format!("{}{unit}{}", if self.is_less { "−" } else { "" }, self.amount)
    }
}

/// A share of a hundred, to hundredths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Percent {
    hundredths: u32,
}

impl Percent {
    /// So many whole percent, 100 at most.
    pub(crate) const fn whole(percent: u32) -> Self {
        Self { hundredths: if percent > 100 { 10_000 } else { percent * 100 } }
    }

    /// As somebody writes it: `30`, `12.5`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn read(percent: f64) -> Result<Self, String> {
        let hundredths = percent * 100.0;
        if !(0.0..=100.0).contains(&percent) || (hundredths - hundredths.round()).abs() > 1e-6 {
            return Err(format!(
                "`{percent}` is not a percentage: write 0 to 100, with at most two decimals"
            ));
        }
        let hundredths = Count::rounded_up(hundredths.round()).unwrap_or_default().get();
        Ok(Self { hundredths: u32::try_from(hundredths).unwrap_or(10_000) })
    }

    /// As a factor, 0 to 1.
    pub(crate) fn factor(self) -> f64 {
        f64::from(self.hundredths) / 10_000.0
    }

    /// As a number, 0 to 100.
    pub(crate) fn number(self) -> f64 {
        f64::from(self.hundredths) / 100.0
    }
}

impl std::str::FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('%').unwrap_or(text).trim_end();
        let percent = text.parse().map_err(|_| {
            format!("`{text}` is not a percentage: write 0 to 100, with at most two decimals")
        })?;
        Self::read(percent)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = deserializer.deserialize_any(Number("percent"))?;
        Self::read(percent).map_err(de::Error::custom)
    }
}

/// Reads a number, whole or not, of something.
pub(super) struct Number(pub(super) &'static str);

impl de::Visitor<'_> for Number {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number of {}", self.0)
    }

    #[expect(clippy::cast_precision_loss, reason = "what is so large is refused afterwards")]
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<f64, E> {
        Ok(number as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "what is so large is refused afterwards")]
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<f64, E> {
        Ok(number as f64)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<f64, E> {
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_exact_and_absurd_ones_are_refused() {
        for (dollars, shown) in [
            (0.0, "0.00"),
            (150.0, "150.00"),
            (0.12, "0.12"),
            (0.02475, "0.02475"),
            (0.000_001, "0.000001"),
            (1_000_000.0, "1,000,000.00"),
            (19.999_999, "20.00"),
        ] {
            assert_eq!(Money::price(dollars).unwrap().to_string(), shown, "{dollars}");
        }
        for bad in [-0.01, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1_000_001.0, 1e300, 1e-7] {
            assert!(Money::price(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_discount_is_taken_exactly() {
        let thirty = Percent::whole(30);
        assert_eq!(Money::price(4500.0).unwrap().less(thirty), Money::price(3150.0).unwrap());
        assert_eq!(Money::micros(1).less(Percent::whole(100)), Money::default());
        let odd: Percent = "12.5%".parse().unwrap();
        assert_eq!(Money::price(8.0).unwrap().less(odd), Money::price(7.0).unwrap());
        for bad in ["", "x", "-1", "101", "NaN", "inf", "1.234"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        let dearest = Money::price(DEAREST).unwrap();
        let most = dearest.times(Count::MOST);
        let sum: Money = std::iter::repeat_n(most, 1000).sum();
        assert!(sum > most && sum.0 < u128::MAX);
    }
}
