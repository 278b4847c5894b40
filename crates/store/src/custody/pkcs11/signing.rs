//! Keys in a token that sign: how they are made, found, used and destroyed.

use aws_lc_rs::digest;
use cryptoki::{
    error::{Error, RvError},
    mechanism::{
        Mechanism, MechanismType,
        eddsa::{EddsaParams, EddsaSignatureScheme},
        rsa::{PkcsMgfType, PkcsPssParams},
    },
    object::{Attribute, AttributeType, ObjectClass, ObjectHandle},
    session::Session,
};
use tegata_core::port::{PublicHalf, Scheme};

use super::Pkcs11Refused;

/// The object identifiers of the curves, in DER: P-256 (RFC 5480 §2.1.1.1) and Ed25519 (RFC 8410 §3).
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];

/// How long an RSA modulus is, in bits, and the exponent.
const MODULUS: u64 = 2048;
const EXPONENT: [u8; 3] = [1, 0, 1];

/// What such keys are called.
pub(super) const fn kind(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::RsaPkcs1 | Scheme::RsaPss => "RSA keys (`CKM_RSA_PKCS_KEY_PAIR_GEN`)",
        Scheme::P256 => "P-256 keys (`CKM_EC_KEY_PAIR_GEN`)",
        Scheme::Ed25519 => "Ed25519 keys (`CKM_EC_EDWARDS_KEY_PAIR_GEN`)",
    }
}

/// What a token does not do that makes none.
pub(super) const fn making(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::RsaPkcs1 | Scheme::RsaPss => "make an RSA key",
        Scheme::P256 => "make a P-256 key",
        Scheme::Ed25519 => "make an Ed25519 key",
    }
}

/// Whether a token says that it cannot do this at all.
pub(super) const fn is_unsupported(said: RvError) -> bool {
    matches!(
        said,
        RvError::MechanismInvalid | RvError::CurveNotSupported | RvError::FunctionNotSupported
    )
}

/// Makes a key pair; answers its public half. The private half signs and does nothing else, cannot be
/// read, and cannot be wrapped to be taken out.
pub(super) fn make(session: &Session, scheme: Scheme, id: &[u8]) -> Result<PublicHalf, Error> {
    let (mechanism, specific) = match scheme {
        Scheme::RsaPkcs1 | Scheme::RsaPss => (
            Mechanism::RsaPkcsKeyPairGen,
            vec![
                Attribute::ModulusBits(MODULUS.into()),
                Attribute::PublicExponent(EXPONENT.to_vec()),
            ],
        ),
        Scheme::P256 => (Mechanism::EccKeyPairGen, vec![Attribute::EcParams(P256.to_vec())]),
        Scheme::Ed25519 => {
            (Mechanism::EccEdwardsKeyPairGen, vec![Attribute::EcParams(ED25519.to_vec())])
        }
    };
    let named = |class| {
        [
            Attribute::Class(class),
            Attribute::Token(true),
            Attribute::Label(b"tegata signing key".to_vec()),
            Attribute::Id(id.to_vec()),
        ]
    };
    let mut public = named(ObjectClass::PUBLIC_KEY).to_vec();
    public.extend([Attribute::Private(false), Attribute::Verify(true)]);
    public.extend(specific);
    let mut private = named(ObjectClass::PRIVATE_KEY).to_vec();
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
    ]);
    let (public, _) = session.generate_key_pair(&mechanism, &public, &private)?;
    let read = read_public(session, public, scheme);
    if read.is_err() {
        // Nobody knows of it, so it must not stay. What is wrong is told all the same.
        let _stays = destroy(session, id);
    }
    read
}

fn read_public(session: &Session, key: ObjectHandle, scheme: Scheme) -> Result<PublicHalf, Error> {
    let wanted = match scheme {
        Scheme::RsaPkcs1 | Scheme::RsaPss => {
            vec![AttributeType::Modulus, AttributeType::PublicExponent]
        }
        Scheme::P256 | Scheme::Ed25519 => vec![AttributeType::EcPoint],
    };
    let told = session.get_attributes(key, &wanted)?;
    public_half(&told, scheme).ok_or(Error::InvalidValue)
}

fn public_half(told: &[Attribute], scheme: Scheme) -> Option<PublicHalf> {
    let number = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.get(zeros..).map(<[u8]>::to_vec)
    };
    let point = told.iter().find_map(|it| match it {
        Attribute::EcPoint(bytes) => Some(bytes.as_slice()),
        _ => None,
    });
    match scheme {
        Scheme::RsaPkcs1 | Scheme::RsaPss => {
            let modulus = told.iter().find_map(|it| match it {
                Attribute::Modulus(bytes) => number(bytes),
                _ => None,
            });
            let exponent = told.iter().find_map(|it| match it {
                Attribute::PublicExponent(bytes) => number(bytes),
                _ => None,
            });
            Some(PublicHalf::Rsa { modulus: modulus?, exponent: exponent? })
        }
        Scheme::P256 => {
            let point = unwrapped(point?, 65)?;
            let (first, coordinates) = point.split_first()?;
            let (x, y) = coordinates.split_at_checked(32)?;
            (*first == 4).then(|| PublicHalf::P256 { x: x.to_vec(), y: y.to_vec() })
        }
        Scheme::Ed25519 => Some(PublicHalf::Ed25519(unwrapped(point?, 32)?.to_vec())),
    }
}

/// A point of this length, in the DER octet string that PKCS#11 asks for (v3.0 §2.3.5) or without it, as
/// some tokens give it.
fn unwrapped(bytes: &[u8], length: usize) -> Option<&[u8]> {
    if bytes.len() == length {
        return Some(bytes);
    }
    let (head, point) = bytes.split_at_checked(2)?;
    (head == [4, u8::try_from(length).ok()?] && point.len() == length).then_some(point)
}

/// The one private key with an id, if it may sign. One that can be taken out is refused: somebody may have
/// done so.
pub(super) fn the_one(
    session: &Session,
    id: &[u8],
    token: &str,
) -> Result<Result<ObjectHandle, Pkcs11Refused>, Error> {
    let found = session.find_objects(&[
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Token(true),
        Attribute::Id(id.to_vec()),
    ])?;
    let (key, token) = (hex(id), token.to_owned());
    let unfit =
        |detail| Pkcs11Refused::UnfitSigningKey { key: hex(id), token: token.clone(), detail };
    let [one] = found.as_slice() else {
        return Ok(Err(if found.is_empty() {
            Pkcs11Refused::NoSigningKey { key, token }
        } else {
            unfit("two keys have this id, and nobody knows which is meant")
        }));
    };
    let told =
        session.get_attributes(*one, &[AttributeType::Sensitive, AttributeType::Extractable])?;
    let stays =
        told.contains(&Attribute::Sensitive(true)) && told.contains(&Attribute::Extractable(false));
    Ok(if stays { Ok(*one) } else { Err(unfit("it can be taken out of the token")) })
}

/// Signs, in the form that JWS has.
pub(super) fn sign(
    session: &Session,
    key: ObjectHandle,
    scheme: Scheme,
    message: &[u8],
) -> Result<Vec<u8>, Error> {
    match scheme {
        Scheme::RsaPkcs1 => session.sign(&Mechanism::Sha256RsaPkcs, key, message),
        Scheme::RsaPss => {
            let params = PkcsPssParams {
                hash_alg: MechanismType::SHA256,
                mgf: PkcsMgfType::MGF1_SHA256,
                s_len: 32.into(),
            };
            session.sign(&Mechanism::Sha256RsaPkcsPss(params), key, message)
        }
        Scheme::P256 => {
            let digest = digest::digest(&digest::SHA256, message);
            session.sign(&Mechanism::Ecdsa, key, digest.as_ref())
        }
        Scheme::Ed25519 => {
            let params = EddsaParams::new(EddsaSignatureScheme::Ed25519);
            session.sign(&Mechanism::Eddsa(params), key, message)
        }
    }
}

/// Destroys both halves of a key, where they are there. The root key has another class and cannot be
/// meant.
pub(super) fn destroy(session: &Session, id: &[u8]) -> Result<(), Error> {
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        let halves = session.find_objects(&[
            Attribute::Class(class),
            Attribute::Token(true),
            Attribute::Id(id.to_vec()),
        ])?;
        for half in halves {
            match session.destroy_object(half) {
                // Another node was faster.
                Ok(()) | Err(Error::Pkcs11(RvError::ObjectHandleInvalid, _)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(bytes: &[u8]) -> Vec<Attribute> {
        vec![Attribute::EcPoint(bytes.to_vec())]
    }

    #[test]
    fn a_point_is_read_with_its_frame_and_without() {
        let raw = [&[4][..], &[1; 32], &[2; 32]].concat();
        let framed = [&[4, 65][..], &raw].concat();
        let read = PublicHalf::P256 { x: vec![1; 32], y: vec![2; 32] };
        assert_eq!(public_half(&point(&raw), Scheme::P256), Some(read.clone()));
        assert_eq!(public_half(&point(&framed), Scheme::P256), Some(read));
        let framed = [&[4, 32][..], &[7; 32]].concat();
        let read = Some(PublicHalf::Ed25519(vec![7; 32]));
        assert_eq!(public_half(&point(&framed), Scheme::Ed25519), read);
        assert_eq!(public_half(&point(&[7; 32]), Scheme::Ed25519), read);
    }

    #[test]
    fn what_is_no_key_is_none() {
        for bad in
            [vec![], vec![4], vec![4, 65], vec![2; 65], vec![4; 64], vec![4; 67], vec![3; 34]]
        {
            assert_eq!(public_half(&point(&bad), Scheme::P256), None, "{bad:?}");
        }
        assert_eq!(public_half(&point(&[4; 33]), Scheme::Ed25519), None);
        assert_eq!(public_half(&[], Scheme::Ed25519), None);
        assert_eq!(public_half(&[Attribute::Modulus(vec![1])], Scheme::RsaPss), None);
    }

    #[test]
    fn numbers_have_no_zeros_in_front() {
        let told = [Attribute::Modulus(vec![0, 0, 9]), Attribute::PublicExponent(vec![0, 1, 0, 1])];
        let read = PublicHalf::Rsa { modulus: vec![9], exponent: vec![1, 0, 1] };
        assert_eq!(public_half(&told, Scheme::RsaPkcs1), Some(read));
    }
}
