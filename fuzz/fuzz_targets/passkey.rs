//! What pages send of passkeys: none of it makes the program stop, whether it comes as JSON or in its
//! binary parts, and what is longer by a byte is not read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_identity::credential::passkey::{Assertion, Registration};

/// What a browser says of a passkey that was made.
const CLIENT: &[u8] =
    br#"{"type":"webauthn.create","challenge":"AQID","origin":"https://auth.example.com"}"#;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Registration::parse(text);
        let _ = Assertion::parse(text);
    }
    let longer = [data, &[0]].concat();
    if Registration::of(CLIENT, data).is_ok() {
        assert!(Registration::of(CLIENT, &longer).is_err());
    }
    if Assertion::of(CLIENT, data).is_ok() {
        assert!(Assertion::of(CLIENT, &longer).is_err());
    }
    let _ = Assertion::of(data, CLIENT);
});
