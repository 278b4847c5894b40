//! The form in which Redis holds a value, which the scripts know too:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | until when it lives, milliseconds since 1970, big-endian |
//! | 8 | its revision |
//! | 2 | length of the index value, 0: none |
//! | … | the index value |
//! | … | the value |
//!
//! A revision is drawn at random by whoever writes, so it never returns, whatever server answers,
//! and whoever sends a write twice finds out that the first was done.

use tegata_core::{Timestamp, port::Held};

/// The form of a value that no index finds.
pub(super) fn form(until: Timestamp, revision: u64, value: &[u8]) -> Vec<u8> {
    let mut form = Vec::with_capacity(18 + value.len());
    form.extend_from_slice(&until.millis().to_be_bytes());
    form.extend_from_slice(&revision.to_be_bytes());
    form.extend_from_slice(&0_u16.to_be_bytes());
    form.extend_from_slice(value);
    form
}

/// A value as Redis holds it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept<'a> {
    pub(super) until: Timestamp,
    pub(super) revision: u64,
    pub(super) index: &'a [u8],
    value: &'a [u8],
}

impl<'a> Kept<'a> {
    /// Reads what Redis answered. `None`: nobody of ours wrote it.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (until, rest) = bytes.split_first_chunk::<8>()?;
        let (revision, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (index, value) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let until = Timestamp::from_millis(u64::from_be_bytes(*until));
        Some(Self { until, revision: u64::from_be_bytes(*revision), index, value })
    }

    /// The value, if it is alive.
    pub(super) fn held(&self, now: Timestamp) -> Option<Held> {
        (now < self.until).then(|| Held { value: self.value.to_vec(), revision: self.revision })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_without_a_script_is_read_like_the_rest() {
        let form = form(Timestamp::from_millis(5), 7, b"value");
        let kept = Kept::read(&form).unwrap();
        assert_eq!(
            (kept.until, kept.revision, kept.index),
            (Timestamp::from_millis(5), 7, &[][..])
        );
        assert_eq!(kept.value, b"value");
    }

    #[test]
    fn what_is_cut_short_or_foreign_is_nothing() {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&5_u64.to_be_bytes());
        bytes.extend_from_slice(&7_u64.to_be_bytes());
        bytes.extend_from_slice(&3_u16.to_be_bytes());
        bytes.extend_from_slice(b"usrvalue");
        let kept = Kept::read(&bytes).unwrap();
        assert_eq!((kept.revision, kept.index), (7, &b"usr"[..]));
        let held = Held { value: b"value".to_vec(), revision: 7 };
        assert_eq!(kept.held(Timestamp::from_millis(4)), Some(held));
        assert_eq!(kept.held(Timestamp::from_millis(5)), None);
        for end in 0..21 {
            assert_eq!(Kept::read(&bytes[..end]), None);
        }
    }
}
