//! API keys: none makes the program stop, nothing secret is printed, and what is one looks like one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_token::api_key::{Shown, form};

fuzz_target!(|text: &str| {
    let looks = form::looks_like_one(text.as_bytes());
    let Ok(shown) = Shown::parse(text) else { return };
    assert!(looks && text.len() == form::LENGTH);
    assert_eq!(&text[3..11], shown.id.as_str());
    assert_eq!(format!("{shown:?}"), format!("Shown({})", shown.id));
});
