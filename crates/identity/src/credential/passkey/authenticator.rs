//! Authenticator data (WebAuthn §6.1): what an authenticator says of itself, and signs.

use super::{cbor, key::PublicKey};

/// The longest credential id (WebAuthn §5.8.3).
const LONGEST_ID: usize = 1023;

const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const HAS_CREDENTIAL: u8 = 1 << 6;
const HAS_EXTENSIONS: u8 = 1 << 7;

/// What an authenticator says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AuthenticatorData {
    /// The digest of the relying party's id.
    pub(super) party: [u8; 32],
    /// Whether somebody was there.
    pub(super) present: bool,
    /// Whether the authenticator has made sure who it was.
    pub(super) verified: bool,
    /// Whether the passkey may be in several places.
    pub(super) backup_eligible: bool,
    /// Whether it is.
    pub(super) backed_up: bool,
    /// How often it has signed. 0: it does not count.
    pub(super) counter: u32,
    /// The passkey that was made, where one was.
    pub(super) made: Option<Made>,
}

/// A passkey that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) id: Vec<u8>,
    pub(super) key: PublicKey,
}

impl AuthenticatorData {
    /// Reads it. `None`: it is no such data, or has something behind it.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (party, rest) = bytes.split_first_chunk::<32>()?;
        let (&[flags], rest) = rest.split_first_chunk::<1>()?;
        let (counter, rest) = rest.split_first_chunk::<4>()?;
        let has = |flag: u8| flags & flag != 0;
        let (made, rest) = if has(HAS_CREDENTIAL) {
            let (made, rest) = Made::read(rest)?;
            (Some(made), rest)
        } else {
            (None, rest)
        };
        // None was asked for; what one says all the same is looked at by nobody.
        let rest = if has(HAS_EXTENSIONS) {
            let (extensions, rest) = cbor::first(rest)?;
            extensions.map()?;
            rest
        } else {
            rest
        };
        let data = Self {
            party: *party,
            present: has(PRESENT),
            verified: has(VERIFIED),
            backup_eligible: has(BACKUP_ELIGIBLE),
            backed_up: has(BACKED_UP),
            counter: u32::from_be_bytes(*counter),
            made,
        };
        rest.is_empty().then_some(data)
    }
}

impl Made {
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        // Which model it is: not asked for, and not proven by anything.
        let (_, rest) = bytes.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (id, rest) = rest.split_at_checked(length)?;
        (1..=LONGEST_ID).contains(&id.len()).then_some(())?;
        let (key, rest) = cbor::first(rest)?;
        Some((Self { id: id.to_vec(), key: PublicKey::read(&key)? }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(flags: u8, more: &[u8]) -> Vec<u8> {
        [[7; 32].as_slice(), &[flags, 0, 0, 1, 2], more].concat()
    }

    #[test]
    fn reads_flags_and_counter() {
        let read = AuthenticatorData::read(&data(0b0001_1101, &[])).unwrap();
        assert!(read.present && read.verified && read.backup_eligible && read.backed_up);
        assert_eq!((read.counter, read.party, read.made), (258, [7; 32], None));
        let read = AuthenticatorData::read(&data(0, &[])).unwrap();
        assert!(!read.present && !read.verified && !read.backup_eligible && !read.backed_up);
    }

    #[test]
    fn what_is_cut_short_or_goes_on_is_no_data() {
        let whole = data(1, &[]);
        for length in 0..whole.len() {
            assert_eq!(AuthenticatorData::read(&whole[..length]), None, "{length}");
        }
        assert_eq!(AuthenticatorData::read(&data(1, &[0])), None);
        // Extensions that are announced and missing, no map, or followed by something.
        for more in [&[][..], &[0x00], &[0xa0, 0x00], &[0x81]] {
            assert_eq!(AuthenticatorData::read(&data(0b1000_0001, more)), None, "{more:?}");
        }
        assert!(AuthenticatorData::read(&data(0b1000_0001, &[0xa0])).is_some());
    }

    #[test]
    fn an_id_is_neither_empty_nor_longer_than_ids_are() {
        for length in [0_u16, 1024, 0xffff] {
            let id = vec![1; length.into()];
            let more = [[0; 16].as_slice(), &length.to_be_bytes(), &id, &[0xa0]].concat();
            assert_eq!(AuthenticatorData::read(&data(0b0100_0001, &more)), None, "{length}");
        }
    }
}
