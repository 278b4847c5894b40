//! Public keys of passkeys, as COSE has them (RFC 9052 §7, RFC 9053), and what they verify.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};

use super::cbor::Item;

/// The algorithms that are asked for, the best liked first, by their numbers at COSE.
pub(super) const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];

const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;

/// The bytes of a number on the curves.
const ON_CURVE: usize = 32;

/// The bytes of an RSA modulus: 2048 to 4096 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=512;

/// A public key and its one algorithm: an assertion has no say in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PublicKey {
    /// ECDSA on P-256 with SHA-256: an uncompressed point.
    Es256(Vec<u8>),
    /// Ed25519.
    EdDsa(Vec<u8>),
    /// RSA with SHA-256, in the padding of PKCS #1 v1.5.
    Rs256 { n: Vec<u8>, e: Vec<u8> },
}

impl PublicKey {
    /// Reads a key. `None`: it is of no algorithm that was asked for, has what such a key does not
    /// have (WebAuthn §6.5.1), or is no key at all.
    pub(super) fn read(key: &Item<'_>) -> Option<Self> {
        let pairs = key.map()?;
        let of = |label: i64| {
            pairs.iter().find(|(known, _)| known.integer() == Some(label)).map(|(_, value)| value)
        };
        let number = |label: i64| of(label).and_then(Item::integer);
        let bytes = |label: i64| of(label).and_then(Item::bytes);
        let on_curve = |label: i64| bytes(label).filter(|it| it.len() == ON_CURVE);
        // 1: the type of key, 3: its algorithm; what is below zero depends on the type.
        match (number(1)?, number(3)?, pairs.len()) {
            (2, ES256, 5) if number(-1) == Some(1) => {
                let point = [&[4], on_curve(-2)?, on_curve(-3)?].concat();
                ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point).ok()?;
                Some(Self::Es256(point))
            }
            (1, EDDSA, 4) if number(-1) == Some(6) => {
                let point = on_curve(-2)?.to_vec();
                ParsedPublicKey::new(&ED25519, &point).ok()?;
                Some(Self::EdDsa(point))
            }
            (3, RS256, 4) => {
                let n = bytes(-1).filter(|n| MODULUS.contains(&n.len()))?;
                let is_odd = n.last().is_some_and(|last| last & 1 == 1);
                let e = bytes(-2).filter(|e| *e == [1, 0, 1])?;
                (is_odd && n.first().is_some_and(|first| *first != 0)).then_some(())?;
                Some(Self::Rs256 { n: n.to_vec(), e: e.to_vec() })
            }
            _ => None,
        }
    }

    /// The number of its algorithm at COSE.
    pub(super) const fn algorithm(&self) -> i64 {
        match self {
            Self::Es256(_) => ES256,
            Self::EdDsa(_) => EDDSA,
            Self::Rs256 { .. } => RS256,
        }
    }

    /// Whether a signature of this message is this key's.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Es256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature)
            }
            Self::EdDsa(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
            Self::Rs256 { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
        };
        verified.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
    };

    use super::*;

    fn point() -> Vec<u8> {
        let alg = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(alg, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(alg, document.as_ref()).unwrap();
        pair.public_key().as_ref().to_vec()
    }

    fn read(pairs: &[(i64, Item<'_>)]) -> Option<PublicKey> {
        let pairs = pairs.iter().map(|(label, value)| (Item::Integer(*label), value.clone()));
        PublicKey::read(&Item::Map(pairs.collect()))
    }

    #[test]
    fn a_key_is_of_the_algorithm_that_it_says() {
        use Item::{Bytes, Integer};
        let point = point();
        let (x, y) = (Bytes(&point[1..33]), Bytes(&point[33..]));
        let key = |kty: i64, alg: i64, curve: i64| {
            let head = [(1, Integer(kty)), (3, Integer(alg)), (-1, Integer(curve))];
            read(&[head.as_slice(), &[(-2, x.clone()), (-3, y.clone())]].concat())
        };
        assert!(key(2, -7, 1).is_some());
        for (kty, alg, curve) in
            [(1, -7, 1), (2, -8, 1), (2, -257, 1), (2, -35, 2), (2, -7, 6), (2, -7, 2), (3, -7, 1)]
        {
            assert_eq!(key(kty, alg, curve), None, "{kty} {alg} {curve}");
        }
    }

    #[test]
    fn what_is_on_no_curve_or_too_small_is_no_key() {
        use Item::{Bytes, Integer};
        let point = point();
        let ec = |x: &'static [u8], y: &'static [u8]| {
            let head = [(1, Integer(2)), (3, Integer(-7)), (-1, Integer(1))];
            read(&[head.as_slice(), &[(-2, Bytes(x)), (-3, Bytes(y))]].concat())
        };
        assert_eq!(ec(&[0; 32], &[0; 32]), None);
        assert_eq!(ec(&[1; 32], &[1; 32]), None);
        assert_eq!(ec(&[1; 31], &[1; 32]), None);
        // A point in its short form, and something that a key does not have.
        let head =
            [(1, Integer(2)), (3, Integer(-7)), (-1, Integer(1)), (-2, Bytes(&point[1..33]))];
        let more = |value| read(&[head.as_slice(), &[(-3, value)]].concat());
        assert_eq!(more(Item::Boolean(true)), None);
        assert!(more(Bytes(&point[33..])).is_some());
        let extra = [head.as_slice(), &[(-3, Bytes(&point[33..])), (2, Bytes(b"kid"))]].concat();
        assert_eq!(read(&extra), None);
        let rsa = |n: &'static [u8], e: &'static [u8]| {
            read(&[(1, Integer(3)), (3, Integer(-257)), (-1, Bytes(n)), (-2, Bytes(e))])
        };
        assert!(rsa(&[0xff; 256], &[1, 0, 1]).is_some());
        assert_eq!(rsa(&[0xff; 128], &[1, 0, 1]), None);
        assert_eq!(rsa(&[0xff; 1024], &[1, 0, 1]), None);
        assert_eq!(rsa(&[0xff; 256], &[1]), None);
        assert_eq!(rsa(&[0xff; 256], &[3]), None);
        assert_eq!(rsa(&[0xfe; 256], &[1, 0, 1]), None);
        assert_eq!(rsa(&[0; 256], &[1, 0, 1]), None);
    }
}
