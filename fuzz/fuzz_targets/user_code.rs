//! Codes that people type: none makes the program stop, and what is read has one form, which is read
//! as itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_oauth::device::UserCode;

fuzz_target!(|text: &str| {
    let Some(code) = UserCode::read(text) else { return };
    let shown = code.to_string();
    assert!(shown.len() == 9 && shown.is_ascii());
    assert_eq!(UserCode::read(&shown), Some(code));
});
