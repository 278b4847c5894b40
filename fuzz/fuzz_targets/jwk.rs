//! Public keys from others' JWKS: none makes the program stop, and a key that is accepted has a
//! name and verifies nothing that is unsigned.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_token::{Jwk, VerifyingKey};

fuzz_target!(|json: &[u8]| {
    let Ok(jwk) = serde_json::from_slice::<Jwk>(json) else { return };
    // SHA-256 in base64url, whatever the key.
    assert_eq!(jwk.thumbprint().len(), 43);
    let Ok(key) = VerifyingKey::from_jwk(&jwk) else { return };
    assert!(!key.kid().as_str().is_empty());
    assert!(!key.verifies(b"never signed", &[]));
});
