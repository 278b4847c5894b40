//! `Cookie` headers and the values in them: none makes the program stop, what is passed on holds
//! nothing of ours, and a session's value has but one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_session::{CookieName, CookieTable, Environment, value::Value};

fuzz_target!(|bytes: &[u8]| {
    for environment in [Environment::Development, Environment::Production] {
        let table = CookieTable::new(environment, None).expect("the defaults do not contradict");
        let Ok(received) = table.read(bytes.split(|byte| *byte == b'\n')) else { continue };
        let others = received.others().unwrap_or_default();
        let again = table.read([&others[..]]).expect("what is passed on can be read");
        assert!(CookieName::ALL.into_iter().all(|name| again.get(name).is_none()));
        if let Some(text) = received.get(CookieName::Session)
            && let Ok(value) = Value::parse(text)
        {
            assert!(text.contains(&format!(".{}.{}.", value.sid, value.generation)));
        }
    }
});
