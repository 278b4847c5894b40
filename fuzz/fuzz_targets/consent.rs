//! The choice of cookies and the names of cookies: none makes the program stop, a choice has but one
//! spelling, and a name and what servers could take it for have one category.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tegata_core::{Realm, Secret, Timestamp};
use tegata_session::{
    Agreed, ConsentSeal, CookiePolicy, CookieTable, Environment, Keys, PolicyRules,
};

static POLICY: LazyLock<CookiePolicy> = LazyLock::new(|| {
    let table = CookieTable::new(Environment::Production, None).expect("the defaults are sound");
    CookiePolicy::new(&table, &PolicyRules::of(Environment::Production)).expect("so are these")
});

fuzz_target!(|bytes: &[u8]| {
    let row = POLICY.row(bytes).map(|row| row.name.as_str());
    assert_eq!(POLICY.row(&bytes.to_ascii_uppercase()).map(|row| row.name.as_str()), row);
    let spaced = [b" ", bytes, b"\t"].concat();
    assert_eq!(POLICY.row(&spaced).map(|row| row.name.as_str()), row);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let all = POLICY.taken_away(Agreed::NOTHING, text.split(';'));
    assert!(all.iter().all(|line| !line.contains(['\r', '\n'])));
    let seal = ConsentSeal::new(Keys::of_root(Secret::new([1; 32])));
    let (realm, now) = (Realm::default(), Timestamp::from_secs(1_795_236_115));
    if let Some(consent) = seal.open(&realm, text, 1, now) {
        assert_eq!(seal.seal(&realm, &consent).as_deref(), Ok(text));
    }
});
