//! Request objects: none makes the program stop, none counts that the client's key has not signed,
//! and none that is signed brings another along, or is an assertion too.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tegata_core::Timestamp;
use tegata_token::{
    Algorithm, ExpectedObject, KeySet, RequestObject, SigningKey, VerifyingKey,
    assertion::{ClientAssertion, ExpectedAssertion},
    jws,
};

const ISSUER: &str = "https://issuer.example";

static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(Algorithm::Es256).expect("a key"));
static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    KeySet::new(vec![Arc::new(VerifyingKey::from_jwk(KEY.jwk()).expect("a key"))])
});

fuzz_target!(|text: &str| {
    let now = Timestamp::from_secs(1_767_225_600);
    for bounded in [false, true] {
        let expected =
            ExpectedObject { client: "web", keys: &KEYS, algorithm: None, issuer: ISSUER, bounded };
        assert!(RequestObject::verify(text, &expected, now).is_err());
        let signed = jws::sign(&KEY, "JWT", text.as_bytes()).expect("a token");
        let Ok(object) = RequestObject::verify(&signed, &expected, now) else { continue };
        let names = |name: &str| object.parameters.iter().any(|(known, _)| known == name);
        assert!(names("client_id") && !names("request") && !names("request_uri"));
        let expected = ExpectedAssertion {
            client: "web",
            keys: &KEYS,
            algorithm: None,
            issuer: ISSUER,
            danger_others: &[],
            bare_audience: false,
        };
        assert!(ClientAssertion::verify(&signed, &expected, now).is_err());
    }
});
