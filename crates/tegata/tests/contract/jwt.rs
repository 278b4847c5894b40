//! Tokens, read and verified as a stranger would: by the published keys, with nothing of ours.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::demo::demo;

/// A token whose signature has been verified.
#[derive(Debug, Clone)]
pub(crate) struct Jwt {
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

/// Reads a token and verifies it with the demo's published keys.
pub(crate) fn verified(token: &str) -> Jwt {
    let jwt = unverified(token);
    let keys = demo().public.get("/.well-known/jwks.json").send().expect(200).json();
    let keys = keys["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["kid"] == jwt.header["kid"]).unwrap();
    assert_eq!(key["alg"], jwt.header["alg"]);
    let (message, signature) = token.rsplit_once('.').unwrap();
    assert!(verifies(key, message.as_bytes(), &bytes(signature)), "{}", jwt.header);
    jwt
}

/// Reads a token without believing it.
pub(crate) fn unverified(token: &str) -> Jwt {
    let parts: Vec<_> = token.split('.').collect();
    assert_eq!(parts.len(), 3, "{token}");
    let json = |part: &str| serde_json::from_slice(&bytes(part)).unwrap();
    Jwt { header: json(parts[0]), claims: json(parts[1]) }
}

/// The names of an object's members, sorted.
pub(crate) fn names(object: &Value) -> Vec<&str> {
    let mut names: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// Names in a text, sorted.
pub(crate) fn sorted(names: &str) -> Vec<&str> {
    let mut names: Vec<_> = names.split_whitespace().collect();
    names.sort_unstable();
    names
}

pub(crate) fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn verifies(key: &Value, message: &[u8], signature: &[u8]) -> bool {
    let part = |name: &str| bytes(key[name].as_str().unwrap());
    match key["alg"].as_str().unwrap() {
        "RS256" => RsaPublicKeyComponents { n: part("n"), e: part("e") }.verify(
            &RSA_PKCS1_2048_8192_SHA256,
            message,
            signature,
        ),
        "PS256" => RsaPublicKeyComponents { n: part("n"), e: part("e") }.verify(
            &RSA_PSS_2048_8192_SHA256,
            message,
            signature,
        ),
        "ES256" => {
            let point = [vec![4], part("x"), part("y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
        }
        "EdDSA" => UnparsedPublicKey::new(&ED25519, part("x")).verify(message, signature),
        other => panic!("`{other}`"),
    }
    .is_ok()
}
