//! Client assertions: none makes the program stop, and none counts that the client's key has not
//! signed.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tegata_core::Timestamp;
use tegata_token::{
    KeySet, VerifyingKey,
    assertion::{ClientAssertion, ExpectedAssertion},
};

const ISSUER: &str = "https://issuer.example";

/// The key of RFC 7517 §A.1, whose private half signs nothing here.
static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let jwk = r#"{"kty":"EC","crv":"P-256","kid":"k","alg":"ES256",
        "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;
    let jwk = serde_json::from_str(jwk).expect("a key");
    KeySet::new(vec![Arc::new(VerifyingKey::from_jwk(&jwk).expect("a key"))])
});

fuzz_target!(|text: &str| {
    let now = Timestamp::from_secs(1_767_225_600);
    let claimed = ClientAssertion::claimed_client(text);
    let expected = ExpectedAssertion {
        client: claimed.as_deref().unwrap_or("web"),
        keys: &KEYS,
        algorithm: None,
        issuer: ISSUER,
        danger_others: &[],
        bare_audience: false,
    };
    assert!(ClientAssertion::verify(text, &expected, now).is_err());
});
