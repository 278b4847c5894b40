//! `COSE_Sign1` (RFC 9052 §4.2), written and never read, and as much of CBOR as it takes: in the one
//! form that is deterministic (RFC 8949 §4.2.1).

use crate::{Algorithm, key::KeyRefused, key::SigningKey};

/// A value of CBOR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cbor {
    /// An integer.
    Int(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Text.
    Text(String),
    /// Values in order.
    Array(Vec<Self>),
    /// Values by keys, of which none may stand twice. They are written in the order of the standard.
    Map(Vec<(Self, Self)>),
}

/// The tag of a `COSE_Sign1` message (RFC 9052 §2).
const SIGN1: u64 = 18;

/// Labels of header parameters: RFC 9052 §3.1, and RFC 9596 §2 for the last.
const ALG: i64 = 1;
const KID: i64 = 4;
const TYP: i64 = 16;

/// A tagged `COSE_Sign1` message of this type, with its key's name and algorithm, all of it protected.
/// Where the payload is a claims set, it is a CWT without the tag of its own (RFC 8392 §7.1).
///
/// # Errors
/// The library does not sign.
pub async fn sign1(key: &SigningKey, typ: &str, payload: &Cbor) -> Result<Vec<u8>, KeyRefused> {
    let header = Cbor::Map(vec![
        (Cbor::Int(ALG), Cbor::Int(label(key.algorithm()))),
        (Cbor::Int(KID), Cbor::Bytes(key.kid().as_str().as_bytes().to_vec())),
        (Cbor::Int(TYP), Cbor::Text(typ.to_owned())),
    ]);
    let (header, payload) = (Cbor::Bytes(header.to_bytes()), Cbor::Bytes(payload.to_bytes()));
    // What is signed (§4.4): there is no data beside the message.
    let context = Cbor::Text("Signature1".to_owned());
    let signed =
        Cbor::Array(vec![context, header.clone(), Cbor::Bytes(Vec::new()), payload.clone()]);
    // The signature of JWS is that of COSE (RFC 9053 §2.1: both halves in full length, one after the
    // other).
    let signature = Cbor::Bytes(key.signature(&signed.to_bytes()).await?);
    let mut message = Vec::new();
    head(6, SIGN1, &mut message);
    Cbor::Array(vec![header, Cbor::Map(Vec::new()), payload, signature]).write(&mut message);
    Ok(message)
}

/// The algorithm as IANA's registry of COSE numbers it.
const fn label(algorithm: Algorithm) -> i64 {
    match algorithm {
        Algorithm::Es256 => -7,
        Algorithm::EdDsa => -8,
        Algorithm::Ps256 => -37,
        Algorithm::Rs256 => -257,
    }
}

impl Cbor {
    /// The value as it is sent.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }

    fn write(&self, into: &mut Vec<u8>) {
        match self {
            Self::Int(number) if *number < 0 => head(1, !number.cast_unsigned(), into),
            Self::Int(number) => head(0, number.cast_unsigned(), into),
            Self::Bytes(bytes) => string(2, bytes, into),
            Self::Text(text) => string(3, text.as_bytes(), into),
            Self::Array(values) => {
                head(4, length(values.len()), into);
                for value in values {
                    value.write(into);
                }
            }
            Self::Map(members) => {
                head(5, length(members.len()), into);
                let mut members: Vec<_> =
                    members.iter().map(|(key, value)| (key.to_bytes(), value)).collect();
                members.sort_by(|one, other| one.0.cmp(&other.0));
                for (key, value) in members {
                    into.extend(key);
                    value.write(into);
                }
            }
        }
    }
}

fn string(major: u8, bytes: &[u8], into: &mut Vec<u8>) {
    head(major, length(bytes.len()), into);
    into.extend_from_slice(bytes);
}

fn length(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// What a value is, and a number, in the fewest bytes (RFC 8949 §3).
fn head(major: u8, number: u64, into: &mut Vec<u8>) {
    let [.., d4, d3, d2, d1] = number.to_be_bytes();
    let first = |info: u8| major << 5 | info;
    match number {
        0..24 => into.push(first(d1)),
        24..0x100 => into.extend([first(24), d1]),
        0x100..0x1_0000 => into.extend([first(25), d2, d1]),
        0x1_0000..0x1_0000_0000 => into.extend([first(26), d4, d3, d2, d1]),
        _ => {
            into.push(first(27));
            into.extend(number.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::VerifyingKey;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn text(text: &str) -> Cbor {
        Cbor::Text(text.to_owned())
    }

    /// RFC 8949, appendix A.
    #[test]
    fn writes_what_the_standard_writes() {
        let int = Cbor::Int;
        for (value, written) in [
            (int(0), "00"),
            (int(23), "17"),
            (int(24), "1818"),
            (int(100), "1864"),
            (int(1000), "1903e8"),
            (int(1_000_000), "1a000f4240"),
            (int(1_000_000_000_000), "1b000000e8d4a51000"),
            (int(-1), "20"),
            (int(-100), "3863"),
            (int(-1000), "3903e7"),
            (Cbor::Bytes(vec![1, 2, 3, 4]), "4401020304"),
            (text(""), "60"),
            (text("IETF"), "6449455446"),
            (text("\u{6c34}"), "63e6b0b4"),
            (Cbor::Array(vec![int(1), int(2), int(3)]), "83010203"),
            (Cbor::Map(vec![]), "a0"),
            (Cbor::Map(vec![(int(3), int(4)), (int(1), int(2))]), "a201020304"),
        ] {
            assert_eq!(hex(&value.to_bytes()), written, "{value:?}");
        }
    }

    /// RFC 8949 §4.2.1: by what the keys are written as.
    #[test]
    fn members_stand_in_the_order_of_their_keys() {
        let keys = [int_key(10), int_key(100), int_key(-1), text("z"), text("aa")];
        let mut members: Vec<_> = keys.into_iter().map(|key| (key, Cbor::Int(0))).collect();
        members.reverse();
        assert_eq!(hex(&Cbor::Map(members).to_bytes()), "a50a001864002000617a0062616100");
    }

    fn int_key(number: i64) -> Cbor {
        Cbor::Int(number)
    }

    #[tokio::test]
    async fn the_signature_is_over_header_and_payload() {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let message = sign1(&key, "application/test+cwt", &Cbor::Map(vec![])).await.unwrap();
        let (rest, signature) = message.split_at(message.len() - 64);
        assert_eq!(rest[..3], [0xd2, 0x84, 0x58]);
        let (header, rest) = rest[4..].split_at(usize::from(rest[3]));
        assert_eq!(hex(rest), "a041a05840");
        assert_eq!(hex(&header[..5]), "a301260458");
        assert!(header.ends_with(b"\x10\x74application/test+cwt"));
        let mut signed = b"\x84\x6aSignature1\x58".to_vec();
        signed.push(u8::try_from(header.len()).unwrap());
        signed.extend_from_slice(header);
        signed.extend_from_slice(b"\x40\x41\xa0");
        let public = VerifyingKey::from_jwk(key.jwk()).unwrap();
        assert!(public.verifies(&signed, signature));
        signed[20] ^= 1;
        assert!(!public.verifies(&signed, signature));
    }
}
