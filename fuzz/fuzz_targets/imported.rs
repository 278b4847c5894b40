//! People whom another system hands over: none makes the program stop, what is taken costs no more than it
//! may, and what is refused is not repeated.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_identity::{Imported, credential::password::Caps};

fuzz_target!(|text: &str| {
    let caps = Caps::default();
    match Imported::read(text, &caps) {
        Ok(person) => {
            assert!(!person.email_verified || person.new.email.is_some());
            let none = Caps { memory_kib: 0, bcrypt_cost: 0, rounds: 0, ..caps };
            assert!(person.new.password.is_none() || Imported::read(text, &none).is_err());
        }
        Err(why) => assert!(why.to_string().len() < 2048),
    }
});
