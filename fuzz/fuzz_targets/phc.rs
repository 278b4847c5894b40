//! Password hashes of other systems: none makes the program stop, and none that costs more than it may
//! is taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_identity::{Phc, credential::password::Caps};

fuzz_target!(|text: &str| {
    let caps = Caps::default();
    let Ok(phc) = Phc::parse(text, &caps) else { return };
    assert_eq!(phc.as_str(), text);
    let none = Caps { memory_kib: 0, bcrypt_cost: 0, rounds: 0, ..caps };
    assert!(Phc::parse(text, &none).is_err());
});
