//! Tokens in their compact form: none makes the program stop, and no two texts are one token.
#![no_main]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use tegata_token::jws::{Compact, LONGEST};

fuzz_target!(|text: &str| {
    let Ok(token) = Compact::parse(text) else { return };
    assert!(text.len() <= LONGEST);
    // Whoever looks a token up by its parts must find it under every spelling: there is but one.
    let claims = URL_SAFE_NO_PAD.encode(&token.claims);
    let signature = URL_SAFE_NO_PAD.encode(&token.signature);
    assert!(token.signed.ends_with(&format!(".{claims}")));
    assert_eq!(text, format!("{}.{signature}", token.signed));
});
