//! `id_token_hint`: nothing makes the program stop, nothing counts that the issuer has not signed as an ID
//! token, and what counts is for one client and says who it speaks of.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tegata_token::{Algorithm, KeySet, SigningKey, VerifyingKey, hint::IdTokenHint, jws};

const ISSUER: &str = "https://issuer.example";

static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(Algorithm::Es256).expect("a key"));
static OTHER: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(Algorithm::Es256).expect("a key"));
static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    KeySet::new(vec![Arc::new(VerifyingKey::from_jwk(KEY.jwk()).expect("a key"))])
});

fuzz_target!(|text: &str| {
    assert!(IdTokenHint::read(text, &KEYS, ISSUER).is_err());
    let read = |key: &SigningKey, typ: &str, issuer: &str| {
        let signed = jws::sign(key, typ, text.as_bytes()).expect("a token");
        IdTokenHint::read(&signed, &KEYS, issuer)
    };
    let Ok(hint) = read(&KEY, "JWT", ISSUER) else { return };
    let said: Value = serde_json::from_str(text).expect("claims");
    assert_eq!(said["iss"], ISSUER);
    assert_eq!(said["sub"], hint.sub.as_str());
    assert!(said["aud"] == hint.client.as_str() || said["aud"][0] == hint.client.as_str());
    assert_eq!(said.get("sid").and_then(Value::as_str), hint.sid.as_deref());
    for typ in ["at+jwt", "logout+jwt", "oauth-authz-req+jwt", "txntoken+jwt", "secevent+jwt"] {
        assert!(read(&KEY, typ, ISSUER).is_err(), "{typ}");
    }
    assert!(read(&OTHER, "JWT", ISSUER).is_err());
    assert!(read(&KEY, "JWT", "https://other.example").is_err());
});
