//! Authorization details: what is read is written and read again as the same, covers itself, and
//! nothing covers more than it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_token::Details;

fuzz_target!(|text: &str| {
    let (one, other) = text.split_once('\n').unwrap_or((text, "[]"));
    let Ok(one) = Details::parse(one) else { return };
    let json = serde_json::to_string(&one).expect("JSON");
    // Written anew it may be longer: escapes are spelt out.
    if let Ok(again) = Details::parse(&json) {
        assert_eq!(again, one);
    }
    assert!(one.covers(&one) && one.covers(&Details::default()));
    let Ok(other) = Details::parse(other) else { return };
    if one.covers(&other) {
        assert!(other.types().all(|asked| one.types().any(|own| own == asked)));
    }
});
