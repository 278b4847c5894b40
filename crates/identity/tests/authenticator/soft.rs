//! An authenticator and its browser in software: makes passkeys and uses them, as it is told, also in
//! ways in which none would.

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub(crate) const PRESENT: u8 = 1;
pub(crate) const VERIFIED: u8 = 1 << 2;
pub(crate) const BACKUP_ELIGIBLE: u8 = 1 << 3;
pub(crate) const BACKED_UP: u8 = 1 << 4;
const HAS_CREDENTIAL: u8 = 1 << 6;

/// A key of one of the algorithms.
pub(crate) enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

/// An authenticator that holds one passkey, and the browser around it. Everything that it says can be
/// changed before it says it.
pub(crate) struct Soft {
    pub(crate) key: Key,
    pub(crate) id: Vec<u8>,
    pub(crate) handle: Vec<u8>,
    /// The page that asks.
    pub(crate) origin: String,
    /// The relying party that is signed for; `None`: the one that asks.
    pub(crate) party: Option<String>,
    pub(crate) flags: u8,
    pub(crate) counter: u32,
    /// What the browser says it was asked for; `None`: what it was.
    pub(crate) kind: Option<&'static str>,
    /// Further members of the client data.
    pub(crate) client: Value,
}

impl Key {
    pub(crate) fn es256() -> Self {
        let (alg, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(alg, &random).unwrap();
        Self::Es256(EcdsaKeyPair::from_pkcs8(alg, document.as_ref()).unwrap())
    }

    pub(crate) fn eddsa() -> Self {
        Self::EdDsa(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn rs256() -> Self {
        Self::Rs256(RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::EdDsa(key) => key.sign(message).as_ref().to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// The public key in the form of COSE.
    pub(crate) fn cose(&self) -> Vec<u8> {
        match self {
            Self::Es256(key) => {
                let point = key.public_key().as_ref();
                let mut cose = vec![0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21];
                cose.extend(bytes(&point[1..33]));
                cose.push(0x22);
                cose.extend(bytes(&point[33..]));
                cose
            }
            Self::EdDsa(key) => {
                let mut cose = vec![0xa4, 0x01, 0x01, 0x03, 0x27, 0x20, 0x06, 0x21];
                cose.extend(bytes(key.public_key().as_ref()));
                cose
            }
            Self::Rs256(key) => {
                let public = key.public_key();
                let n = public.modulus().big_endian_without_leading_zero().to_vec();
                let mut cose = vec![0xa4, 0x01, 0x03, 0x03, 0x39, 0x01, 0x00, 0x20];
                cose.extend(bytes(&n));
                cose.push(0x21);
                cose.extend(bytes(&[1, 0, 1]));
                cose
            }
        }
    }
}

impl Soft {
    /// One at a page of this origin, with a key of ES256 that was not used yet.
    pub(crate) fn at(origin: &str) -> Self {
        Self::with(origin, Key::es256())
    }

    pub(crate) fn with(origin: &str, key: Key) -> Self {
        let mut id = vec![0; 32];
        aws_lc_rs::rand::fill(&mut id).unwrap();
        Self {
            key,
            id,
            handle: Vec::new(),
            origin: origin.to_owned(),
            party: None,
            flags: PRESENT | VERIFIED,
            counter: 0,
            kind: None,
            client: json!({}),
        }
    }

    /// Makes a passkey as a page asks for it, and answers what the page is given.
    pub(crate) fn create(&mut self, options: &Value) -> String {
        self.handle = decoded(&options["user"]["id"]);
        let client = self.client_data("webauthn.create", &options["challenge"]);
        let party = options["rp"]["id"].as_str().unwrap().to_owned();
        let data = self.made(&party);
        self.registration(&client, &none(&data))
    }

    /// The authenticator data of a passkey that was made.
    pub(crate) fn made(&self, party: &str) -> Vec<u8> {
        let length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
        let made = [[0; 16].as_slice(), &length, &self.id, &self.key.cose()].concat();
        [self.data(party, self.flags | HAS_CREDENTIAL), made].concat()
    }

    /// What a page is given of a passkey that was made.
    pub(crate) fn registration(&self, client: &[u8], object: &[u8]) -> String {
        json!({
            "id": encoded(&self.id),
            "rawId": encoded(&self.id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": encoded(client),
                "attestationObject": encoded(object),
                "transports": ["internal", "hybrid"],
            },
        })
        .to_string()
    }

    /// Uses the passkey as a page asks for it, once more, and answers what the page is given.
    pub(crate) fn get(&mut self, options: &Value) -> String {
        let party = options["rpId"].as_str().unwrap().to_owned();
        let client = self.client_data("webauthn.get", &options["challenge"]);
        let data = self.data(&party, self.flags);
        self.assertion(&client, &data)
    }

    /// What a page is given of a passkey that was used.
    pub(crate) fn assertion(&self, client: &[u8], data: &[u8]) -> String {
        let signed = [data, digest::digest(&digest::SHA256, client).as_ref()].concat();
        json!({
            "id": encoded(&self.id),
            "rawId": encoded(&self.id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": encoded(client),
                "authenticatorData": encoded(data),
                "signature": encoded(&self.key.sign(&signed)),
                "userHandle": encoded(&self.handle),
            },
        })
        .to_string()
    }

    /// The authenticator data that says this.
    pub(crate) fn data(&self, party: &str, flags: u8) -> Vec<u8> {
        let party = self.party.as_deref().unwrap_or(party);
        let digest = digest::digest(&digest::SHA256, party.as_bytes());
        [digest.as_ref(), &[flags], &self.counter.to_be_bytes()].concat()
    }

    /// What the browser says.
    pub(crate) fn client_data(&self, kind: &str, challenge: &Value) -> Vec<u8> {
        let mut said = json!({
            "type": self.kind.unwrap_or(kind),
            "challenge": challenge,
            "origin": self.origin,
            "crossOrigin": false,
        });
        for (name, value) in self.client.as_object().unwrap() {
            said[name] = value.clone();
        }
        said.to_string().into_bytes()
    }
}

/// An attestation object without an attestation.
pub(crate) fn none(data: &[u8]) -> Vec<u8> {
    [&[0xa3], text("fmt").as_slice(), &text("none"), &text("attStmt"), &[0xa0]]
        .concat()
        .into_iter()
        .chain(text("authData"))
        .chain(bytes(data))
        .collect()
}

/// A byte string of CBOR.
pub(crate) fn bytes(bytes: &[u8]) -> Vec<u8> {
    [head(0x40, bytes.len()), bytes.to_vec()].concat()
}

/// A text of CBOR.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [head(0x60, text.len()), text.as_bytes().to_vec()].concat()
}

fn head(major: u8, length: usize) -> Vec<u8> {
    match u16::try_from(length).unwrap() {
        short @ 0..=23 => vec![major | u8::try_from(short).unwrap()],
        byte @ 24..=255 => vec![major | 24, u8::try_from(byte).unwrap()],
        long => [&[major | 25], long.to_be_bytes().as_slice()].concat(),
    }
}

pub(crate) fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn decoded(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
}
