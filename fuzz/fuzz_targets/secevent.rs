//! Security event tokens: none makes the program stop, none counts that no key of its issuer has
//! signed, and what is read is written and read again as the same.
#![no_main]

use std::{sync::LazyLock, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use tegata_core::Timestamp;
use tegata_oauth::signals::subject::Named;
use tegata_token::{KeySet, SecurityEventToken, secevent::ExpectedSet};

static EXPECTED: LazyLock<ExpectedSet> = LazyLock::new(|| ExpectedSet {
    issuer: "https://transmitter.example".to_owned(),
    audiences: vec!["receiver".to_owned()],
    longest: Duration::from_secs(7 * 86_400),
});

fuzz_target!(|text: &str| {
    let now = Timestamp::from_secs(1_767_225_600);
    let _claimed = SecurityEventToken::claimed_key(text, &EXPECTED);
    assert!(SecurityEventToken::verify(text, &KeySet::default(), &EXPECTED, now).is_err());
    let claims = text.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    for json in [Some(text.as_bytes().to_vec()), claims].into_iter().flatten() {
        let Ok(token) = SecurityEventToken::parse(&json) else { continue };
        let _named = Named::read(&token.sub_id);
        assert_eq!(SecurityEventToken::parse(&token.to_json()).as_ref(), Ok(&token));
    }
});
