//! Authorization codes, and codes of devices: none makes the program stop, what is looked up is of their
//! epoch and day, never the code itself, and no two texts are the same code.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_core::{Epoch, id::expiry_day};
use tegata_oauth::grant::code::key_of;
use tegata_token::reference::looks_like_one;

fuzz_target!(|text: &str| {
    let Some(key) = key_of("ac_", text) else { return };
    let body = text.strip_prefix("ac_").expect("what it begins with");
    assert!(!looks_like_one(text) && text.len() <= 131);
    assert_eq!((Epoch::leading(&key), expiry_day(&key)), (Epoch::leading(body), expiry_day(body)));
    let (head, random) = body.rsplit_once('.').expect("its parts");
    assert!(key.strip_prefix(&format!("{head}.")).is_some_and(|digest| digest != random));
    assert_eq!(key_of("ac_", &key), None);
    assert_eq!(key_of("dc_", text), None);
    for other in [format!("{text}A"), format!("{text} "), format!("{text}."), format!(" {text}")] {
        assert_eq!(key_of("ac_", &other), None, "{other}");
    }
    let mut other = text.to_owned();
    let last = if other.pop() == Some('A') { 'B' } else { 'A' };
    other.push(last);
    assert!(key_of("ac_", &other).is_some_and(|it| it != key));
});
