//! What signing a token costs beyond its signature.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    },
};
use tegata_rounds::{Effort, Turns};
use tegata_token::{Algorithm, SigningKey, jws};

/// What the provider writes into the access token of a person.
const CLAIMS: &str = concat!(
    r#"{"iss":"https://issuer.example","sub":"usr_0123456789abcdefghijkl","#,
    r#""aud":"https://api.example","exp":1767226500,"iat":1767225600,"jti":"1.AAECAwQFBgcICQoLDA0ODw","#,
    r#""client_id":"web","scope":"openid orders.read orders.write","roles":["customer"],"#,
    r#""sid":"1.20500.AAECAwQFBgcICQoLDA0ODw","fid":"1.20500.AAECAwQFBgcICQoLDA0ODw","acr":"aal1","#,
    r#""amr":["pwd"],"auth_time":1767225600,"status":{"status_list":{"idx":123456,"#,
    r#""uri":"https://issuer.example/status-lists/1.1963584.0"}}}"#,
);

fn main() {
    let effort = Effort::asked();
    for algorithm in Algorithm::ALL {
        let key = SigningKey::generate(algorithm).unwrap();
        let mut raw = raw(&key);
        let token = jws::sign(&key, "at+jwt", CLAIMS.as_bytes()).unwrap();
        let (signed, _) = token.rsplit_once('.').unwrap();
        Turns::new(format!("sign {algorithm}, tokens of {} bytes", token.len()))
            .case("the signature alone", || raw(signed.as_bytes()))
            .case("jws::sign", || jws::sign(&key, "at+jwt", CLAIMS.as_bytes()).unwrap())
            .measure(effort);
    }
}

/// Signs, and answers a byte of the signature, so that it was made.
type Raw = Box<dyn FnMut(&[u8]) -> u8>;

/// The same key in the hands of the crypto library alone, which writes the signature where there is
/// room for it already, as far as it can.
fn raw(key: &SigningKey) -> Raw {
    let (random, der) = (SystemRandom::new(), key.to_pkcs8().unwrap());
    match key.algorithm() {
        Algorithm::Rs256 | Algorithm::Ps256 => {
            let pair = RsaKeyPair::from_pkcs8(der.expose()).unwrap();
            let padding: &'static dyn RsaEncoding = if key.algorithm() == Algorithm::Ps256 {
                &RSA_PSS_SHA256
            } else {
                &RSA_PKCS1_SHA256
            };
            let mut signature = vec![0; pair.public_modulus_len()];
            Box::new(move |message| {
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature.first().copied().unwrap()
            })
        }
        Algorithm::Es256 => {
            let scheme = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let pair = EcdsaKeyPair::from_pkcs8(scheme, der.expose()).unwrap();
            Box::new(move |message| {
                pair.sign(&random, message).unwrap().as_ref().first().copied().unwrap()
            })
        }
        Algorithm::EdDsa => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.expose()).unwrap();
            Box::new(move |message| {
                pair.try_sign(message).unwrap().as_ref().first().copied().unwrap()
            })
        }
    }
}
