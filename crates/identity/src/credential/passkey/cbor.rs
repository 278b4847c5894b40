//! CBOR (RFC 8949), as far as authenticators write it: the canonical form of CTAP 2.1 §8. Lengths are
//! definite and as short as can be, keys stand once, and nothing is nested deeply. There are no tags
//! and no floating point numbers. What is written in another way is not read.

/// How deep containers may be within each other (CTAP 2.1 §8).
const DEEPEST: u8 = 4;

/// How many items, or pairs, a container may have.
const MOST: u64 = 64;

/// An item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Boolean(bool),
    Null,
}

/// Reads one item from the beginning. Answers it, and what follows. `None`: it is not such CBOR.
pub(super) fn first(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let mut reader = Reader { rest: bytes };
    let item = reader.item(DEEPEST)?;
    Some((item, reader.rest))
}

/// Reads one item, which is all there is.
pub(super) fn whole(bytes: &[u8]) -> Option<Item<'_>> {
    first(bytes).filter(|(_, rest)| rest.is_empty()).map(|(item, _)| item)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// An item within which containers may be so deep.
    fn item(&mut self, depth: u8) -> Option<Item<'a>> {
        let (major, argument) = self.head()?;
        Some(match major {
            0 => Item::Integer(i64::try_from(argument).ok()?),
            1 => Item::Integer(-1 - i64::try_from(argument).ok()?),
            2 => Item::Bytes(self.take(argument)?),
            3 => Item::Text(str::from_utf8(self.take(argument)?).ok()?),
            4 => Item::List(self.list(argument, depth.checked_sub(1)?)?),
            5 => Item::Map(self.map(argument, depth.checked_sub(1)?)?),
            7 => match argument {
                20 => Item::Boolean(false),
                21 => Item::Boolean(true),
                22 => Item::Null,
                _ => return None,
            },
            _ => return None,
        })
    }

    fn list(&mut self, length: u64, depth: u8) -> Option<Vec<Item<'a>>> {
        // Nothing is set aside for what is only said to follow.
        (length <= MOST).then_some(())?;
        (0..length).map(|_| self.item(depth)).collect()
    }

    fn map(&mut self, length: u64, depth: u8) -> Option<Vec<(Item<'a>, Item<'a>)>> {
        (length <= MOST).then_some(())?;
        let mut pairs: Vec<(Item<'a>, Item<'a>)> = Vec::new();
        for _ in 0..length {
            let (key, value) = (self.item(depth)?, self.item(depth)?);
            if pairs.iter().any(|(known, _)| *known == key) {
                return None;
            }
            pairs.push((key, value));
        }
        Some(pairs)
    }

    /// The major type of the next item, and its argument.
    fn head(&mut self) -> Option<(u8, u64)> {
        let [first] = self.take(1)? else { return None };
        let (major, low) = (first >> 5, first & 0x1f);
        let (argument, least) = match low {
            0..=23 => return Some((major, low.into())),
            24 => (self.number(1)?, 24),
            25 => (self.number(2)?, 1 << 8),
            26 => (self.number(4)?, 1 << 16),
            27 => (self.number(8)?, 1 << 32),
            _ => return None,
        };
        // A float is a number of these lengths, too; and what fits into less is written in less.
        (major != 7 && argument >= least).then_some((major, argument))
    }

    fn number(&mut self, length: u64) -> Option<u64> {
        let bytes = self.take(length)?;
        Some(bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(taken)
    }
}

impl<'a> Item<'a> {
    /// The pairs of a map.
    pub(super) fn map(&self) -> Option<&[(Self, Self)]> {
        match self {
            Self::Map(pairs) => Some(pairs),
            _ => None,
        }
    }

    pub(super) const fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(integer) => Some(*integer),
            _ => None,
        }
    }

    pub(super) const fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(super) const fn text(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    /// Of RFC 8949, appendix A.
    #[test]
    fn reads_the_published_examples() {
        use Item::{Boolean, Bytes, Integer, List, Map, Null, Text};
        for (hex, item) in [
            ("00", Integer(0)),
            ("17", Integer(23)),
            ("1818", Integer(24)),
            ("1903e8", Integer(1000)),
            ("1a000f4240", Integer(1_000_000)),
            ("1b000000e8d4a51000", Integer(1_000_000_000_000)),
            ("20", Integer(-1)),
            ("3903e7", Integer(-1000)),
            ("f4", Boolean(false)),
            ("f5", Boolean(true)),
            ("f6", Null),
            ("40", Bytes(b"")),
            ("4401020304", Bytes(&[1, 2, 3, 4])),
            ("6161", Text("a")),
            ("62c3bc", Text("ü")),
            ("83010203", List(vec![Integer(1), Integer(2), Integer(3)])),
            ("a0", Map(vec![])),
            ("a201020304", Map(vec![(Integer(1), Integer(2)), (Integer(3), Integer(4))])),
        ] {
            assert_eq!(whole(&bytes(hex)), Some(item), "{hex}");
        }
    }

    #[test]
    fn refuses_what_has_more_than_one_spelling_or_ends_too_early() {
        for bad in [
            "",
            "1817",               // 23 in two bytes
            "190018",             // 24 in three
            "1a0000ffff",         // what fits into three
            "1bffffffffffffffff", // more than a number here can be
            "3bffffffffffffffff",
            "18",
            "44010203",
            "62c3",
            "61ff",        // no UTF-8
            "9f01ff",      // a list without a length
            "5f4101ff",    // bytes in pieces
            "bf0102ff",    // a map without a length
            "a2010201 03", // a key that stands twice
            "a101",
            "c000",   // a tag
            "f90000", // a float
            "fb3ff199999999999a",
            "f7",   // undefined
            "f814", // `false` in two bytes
            "ff",
            "1c",
            "0000", // two items
        ] {
            assert_eq!(whole(&bytes(bad)), None, "{bad}");
        }
    }

    #[test]
    fn what_is_said_to_be_large_costs_nothing() {
        for bomb in ["9affffffff", "baffffffff", "5affffffff", "9bffffffffffffffff", "9841"] {
            assert_eq!(whole(&bytes(bomb)), None, "{bomb}");
        }
        let deep = |depth: usize| [vec![0x81; depth], vec![0]].concat();
        assert!(whole(&deep(4)).is_some() && whole(&deep(5)).is_none());
        assert!(whole(&deep(100_000)).is_none());
        let nested = [[0xa1, 0x00].repeat(10_000), vec![0]].concat();
        assert!(whole(&nested).is_none());
    }

    proptest! {
        #[test]
        fn never_panics_and_consumes_what_it_reads(
            input in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Some((item, rest)) = first(&input) {
                let read = &input[..input.len() - rest.len()];
                prop_assert_eq!(whole(read), Some(item));
            }
        }
    }
}
