//! Signatures of ES256: two numbers of 32 bytes each (RFC 7518 §3.4), and what else can be made of them.

use anyhow::{Context as _, Result};

/// How many points P-256 has: with `s`, its difference from this makes a good signature, too.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The same signature with the greater of the two numbers that can be its second.
pub(super) fn with_high(signature: &[u8]) -> Result<Vec<u8>> {
    let (r, s) = both(signature)?;
    Ok([r, s.max(difference(&s))].concat())
}

/// The same with the smaller.
pub(super) fn with_low(signature: &[u8]) -> Result<Vec<u8>> {
    let (r, s) = both(signature)?;
    Ok([r, s.min(difference(&s))].concat())
}

/// The same in DER.
pub(super) fn der(signature: &[u8]) -> Result<Vec<u8>> {
    let (r, s) = both(signature)?;
    let both = [integer(&r), integer(&s)].concat();
    Ok([vec![0x30, u8::try_from(both.len())?], both].concat())
}

fn both(signature: &[u8]) -> Result<([u8; 32], [u8; 32])> {
    let halves = signature.split_first_chunk::<32>();
    let halves = halves.and_then(|(r, s)| Some((*r, s.try_into().ok()?)));
    halves.context("a signature of P-256 has two numbers")
}

/// The order of the curve less a number.
fn difference(number: &[u8; 32]) -> [u8; 32] {
    let mut difference = [0; 32];
    let mut borrowed = false;
    for ((digit, from), less) in difference.iter_mut().zip(ORDER).zip(*number).rev() {
        let (first, under) = from.overflowing_sub(less);
        let (second, under_again) = first.overflowing_sub(u8::from(borrowed));
        *digit = second;
        borrowed = under || under_again;
    }
    difference
}

/// Without zeros at its beginning, but for one where a high bit would make it negative.
fn integer(number: &[u8; 32]) -> Vec<u8> {
    let digits = number.iter().position(|digit| *digit != 0).and_then(|at| number.get(at..));
    let digits = digits.unwrap_or(&[0]);
    let sign: &[u8] =
        if digits.first().is_some_and(|digit| digit & 0x80 != 0) { &[0] } else { &[] };
    let length = u8::try_from(sign.len() + digits.len()).unwrap_or_default();
    [&[2, length], sign, digits].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_numbers_one_is_great() {
        let mut low = [7; 64];
        low[32..].fill(0);
        low[63] = 1;
        let high = with_high(&low).unwrap();
        assert_eq!(high[..32], low[..32]);
        assert_eq!((high[62], high[63]), (0x25, 0x50));
        assert_eq!(with_low(&high).unwrap(), low);
        assert_eq!(with_high(&high).unwrap(), high);
        let mut borrowing = low;
        borrowing[63] = 0x52;
        assert_eq!(with_high(&borrowing).unwrap()[61..], [0x63, 0x24, 0xff]);
        assert!(with_high(&[1; 63]).is_err());
    }

    #[test]
    fn numbers_of_any_length_have_a_form_in_der() {
        let raw = [&[0xff; 32][..], &[0], &[7; 31]].concat();
        let der = der(&raw).unwrap();
        assert_eq!(der, [&[0x30, 68, 2, 33, 0][..], &[0xff; 32], &[2, 31], &[7; 31]].concat());
    }
}
