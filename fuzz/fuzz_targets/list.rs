//! Names of status lists, as in the path of a request: none makes the program stop, and what is
//! accepted has but one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_token::ListId;

fuzz_target!(|text: &str| {
    let Some(list) = ListId::parse(text) else { return };
    assert_eq!(list.to_string(), text);
    assert!(list.closes().millis() > 0);
});
