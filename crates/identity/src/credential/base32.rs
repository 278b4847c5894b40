//! Base32 (RFC 4648 §6), as authenticator apps take secrets. It carries secrets, so nothing of it
//! is looked up in a table at a place that depends on them.

/// The bytes as letters and digits, without padding.
pub(super) fn encode(bytes: &[u8]) -> String {
    fives(bytes)
        .map(|five| char::from(if five < 26 { b'A' + five } else { b'2' + five - 26 }))
        .collect()
}

/// The bytes of a text, in any case, with or without spaces. `None`: it is not base32.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut held, mut bits) = (0_u16, 0_u8);
    for byte in text.trim_end_matches('=').bytes().filter(|byte| *byte != b' ') {
        let five = match byte.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => letter - b'A',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        held = (held << 5) | u16::from(five);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((held >> bits) & 0xff).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    // What is left over is padding: fewer bits than a letter has, and none of them set.
    (bits < 5 && held == 0).then_some(bytes)
}

/// The bits of `bytes` in groups of five, the last one filled up with zeros.
pub(super) fn fives(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| (byte >> (7 - at % 8)) & 1);
    (0..(bytes.len() * 8).div_ceil(5))
        .map(move |group| (0..5).fold(0, |five, at| (five << 1) | bit(group * 5 + at)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn makes_what_the_standard_makes() {
        // RFC 4648 §10, without padding.
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(decode("mzxw 6ytb oi======").as_deref(), Some(&b"foobar"[..]));
    }

    #[test]
    fn refuses_what_is_no_base32() {
        for bad in ["1", "M", "MZ", "MZX", "0O8", "é", "MZXW6!"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_wrote(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = decode(&text);
        }
    }
}
