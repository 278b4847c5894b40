//! The form of a datagram, and the keys that seal it.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the form: 1 |
//! | 32 | the salt of the process that speaks |
//! | 8 | how many datagrams it has sealed before |
//! | 8 | when it did so: milliseconds of wall time |
//! | as many as were said | AES-256-GCM |
//! | 16 | its tag |
//!
//! Numbers begin with their greatest byte. A process draws its salt when it starts, and its key is HKDF
//! with SHA-256 (RFC 5869) of the key of the installation with that salt, for the cluster by its name.
//! So no two processes share a key, a nonce is just the number of the datagram, and none is ever used
//! twice, also not by whoever starts anew. The bytes before the ciphertext are its associated data.
//!
//! What is recorded and played again opens for a minute, on wall clocks: there is no memory of what
//! was heard. It needs none, because what is said again is not news: heartbeats and
//! revisions only grow, and a record of the past changes nothing. Who has just started and has no past
//! could be made to believe in a node that died within that time; later, a whole series of datagrams
//! could be played to make a dead node live, which is what the time is for.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf,
};
use tegata_core::{Entropy, Secret, Timestamp};
use zeroize::Zeroizing;

const FORM: u8 = 1;
const SALT_LEN: usize = 32;
const HEADER_LEN: usize = 1 + SALT_LEN + 8 + 8;
const TAG_LEN: usize = 16;

/// How many bytes a datagram has at most, so that it is never cut into pieces: 1280, which every link
/// carries (RFC 8200 §5), without the headers of IPv6 and UDP.
pub(super) const LONGEST: usize = 1280 - 40 - 8;
/// How many of them can be said.
pub(super) const ROOM: usize = LONGEST - HEADER_LEN - TAG_LEN;
/// How far the clocks of two nodes may be apart, and how long a datagram may be under way.
const FRESH_MILLIS: u64 = 60_000;

/// What seals for one process, and opens what others of its cluster have sealed.
pub(super) struct Seal {
    secret: Zeroizing<[u8; 32]>,
    cluster: String,
    salt: [u8; SALT_LEN],
    own: LessSafeKey,
    sealed: u64,
}

/// Why a datagram is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unheard {
    /// It was not sealed with our key, or altered.
    Foreign,
    /// It is from another time.
    Stale,
    /// It is our own.
    Echo,
}

impl Seal {
    pub(super) fn new(
        key: &Secret<[u8; 32]>,
        cluster: &str,
        entropy: &dyn Entropy,
    ) -> Option<Self> {
        let mut salt = [0; SALT_LEN];
        entropy.fill(&mut salt);
        let own = derive(key.expose(), cluster, &salt)?;
        let secret = Zeroizing::new(*key.expose());
        Some(Self { secret, cluster: cluster.to_owned(), salt, own, sealed: 0 })
    }

    /// Seals what is said now. `None`: it is too long, or as many were sealed as there are nonces.
    pub(super) fn seal(&mut self, now: Timestamp, said: &[u8]) -> Option<Vec<u8>> {
        let number = self.sealed;
        self.sealed = number.checked_add(1)?;
        if said.len() > ROOM {
            return None;
        }
        let mut datagram = Vec::with_capacity(HEADER_LEN + said.len() + TAG_LEN);
        datagram.push(FORM);
        datagram.extend(self.salt);
        datagram.extend(number.to_be_bytes());
        datagram.extend(now.millis().to_be_bytes());
        let mut body = said.to_vec();
        let header = Aad::from(datagram.as_slice());
        let tag = self.own.seal_in_place_separate_tag(nonce(number), header, &mut body).ok()?;
        datagram.extend(body);
        datagram.extend(tag.as_ref());
        Some(datagram)
    }

    /// Opens what somebody has sent. Nothing of it is believed before it opens.
    pub(super) fn open(&self, now: Timestamp, datagram: &[u8]) -> Result<Vec<u8>, Unheard> {
        let foreign = Unheard::Foreign;
        if datagram.len() > LONGEST {
            return Err(foreign);
        }
        let (header, body) = datagram.split_first_chunk::<HEADER_LEN>().ok_or(foreign)?;
        let (form, rest) = header.split_first().ok_or(foreign)?;
        let (salt, rest) = rest.split_first_chunk::<SALT_LEN>().ok_or(foreign)?;
        let (number, rest) = rest.split_first_chunk::<8>().ok_or(foreign)?;
        let sent = u64::from_be_bytes(*rest.first_chunk::<8>().ok_or(foreign)?);
        if *form != FORM {
            return Err(foreign);
        }
        if *salt == self.salt {
            return Err(Unheard::Echo);
        }
        let key = derive(&self.secret, &self.cluster, salt).ok_or(foreign)?;
        let mut opened = body.to_vec();
        let nonce = nonce(u64::from_be_bytes(*number));
        let plain = key.open_in_place(nonce, Aad::from(header.as_slice()), &mut opened);
        let length = plain.map_err(|_| foreign)?.len();
        if now.millis().abs_diff(sent) > FRESH_MILLIS {
            return Err(Unheard::Stale);
        }
        opened.truncate(length);
        Ok(opened)
    }
}

fn derive(secret: &[u8; 32], cluster: &str, salt: &[u8; SALT_LEN]) -> Option<LessSafeKey> {
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let info = [b"tegata gossip 1".as_slice(), cluster.as_bytes()];
    let derived = key.expand(&info, &AES_256_GCM).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(derived)))
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    for (to, from) in nonce.iter_mut().rev().zip(number.to_be_bytes().iter().rev()) {
        *to = *from;
    }
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use tegata_core::SeededEntropy;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

    fn seal(key: u8, cluster: &str, seed: u64) -> Seal {
        Seal::new(&Secret::new([key; 32]), cluster, &SeededEntropy::new(seed)).unwrap()
    }

    #[test]
    fn who_has_the_key_hears_and_nobody_else() {
        let (mut here, there) = (seal(1, "shop", 1), seal(1, "shop", 2));
        let datagram = here.seal(NOW, b"who is there").unwrap();
        assert_eq!(there.open(NOW, &datagram).unwrap(), b"who is there");
        assert_eq!(seal(1, "bank", 3).open(NOW, &datagram), Err(Unheard::Foreign));
        assert_eq!(seal(2, "shop", 3).open(NOW, &datagram), Err(Unheard::Foreign));
        assert_eq!(here.open(NOW, &datagram), Err(Unheard::Echo));
        assert!(!datagram.windows(5).any(|part| part == b"there"));
    }

    #[test]
    fn what_was_altered_or_is_garbage_is_not_heard() {
        let (mut here, there) = (seal(1, "shop", 1), seal(1, "shop", 2));
        let datagram = here.seal(NOW, b"who is there").unwrap();
        for at in 0..datagram.len() {
            let mut altered = datagram.clone();
            altered[at] ^= 1;
            assert_eq!(there.open(NOW, &altered), Err(Unheard::Foreign), "byte {at}");
            assert_eq!(there.open(NOW, &datagram[..at]), Err(Unheard::Foreign), "{at} bytes");
        }
        for garbage in [&[][..], &[1], &[0; 64], &[1; 65], &[0xff; LONGEST], &[1; 65_507]] {
            assert_eq!(there.open(NOW, garbage), Err(Unheard::Foreign));
        }
    }

    #[test]
    fn what_is_from_another_time_is_not_heard() {
        let (mut here, there) = (seal(1, "shop", 1), seal(1, "shop", 2));
        let datagram = here.seal(NOW, b"who is there").unwrap();
        let (near, far) = (Duration::from_secs(60), Duration::from_secs(61));
        for now in [NOW, NOW + near, NOW - near] {
            assert!(there.open(now, &datagram).is_ok());
        }
        for now in [NOW + far, NOW - far, Timestamp::from_millis(u64::MAX), Timestamp::default()] {
            assert_eq!(there.open(now, &datagram), Err(Unheard::Stale));
        }
        // The time is part of what is sealed: it cannot be made anew.
        let mut renewed = datagram;
        let later = (NOW + far).millis().to_be_bytes();
        renewed[HEADER_LEN - 8..HEADER_LEN].copy_from_slice(&later);
        assert_eq!(there.open(NOW + far, &renewed), Err(Unheard::Foreign));
    }

    #[test]
    fn no_nonce_is_used_twice_with_a_key() {
        let mut used = BTreeSet::new();
        for seed in 0..4 {
            let mut process = seal(1, "shop", seed);
            for _ in 0..300 {
                let datagram = process.seal(NOW, b"the same").unwrap();
                assert!(used.insert(datagram[1..HEADER_LEN - 8].to_vec()));
            }
        }
        let mut last = seal(1, "shop", 9);
        last.sealed = u64::MAX;
        assert!(last.seal(NOW, b"one too many").is_none());
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let (mut here, there) = (seal(1, "shop", 1), seal(1, "shop", 2));
        let full = here.seal(NOW, &[7; ROOM]).unwrap();
        assert_eq!(full.len(), LONGEST);
        assert_eq!(there.open(NOW, &full).unwrap().len(), ROOM);
        assert!(here.seal(NOW, &[7; ROOM + 1]).is_none());
    }
}
