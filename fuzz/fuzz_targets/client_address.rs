//! Addresses that clients are called by: none makes the program stop, and one that is taken is read as the
//! same by whoever else reads it, has a host that is shown, and is refused where its host is not named.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_core::ClientId;
use tegata_oauth::described::{Address, HostPattern, Rules};

fuzz_target!(|text: &str| {
    if let Ok(pattern) = text.parse::<HostPattern>() {
        assert_eq!(pattern.to_string().parse(), Ok(pattern));
    }
    let Ok(id) = ClientId::new(text) else { return };
    let Ok(address) = Address::read(&id, &Rules { local: true, ..Rules::default() }) else {
        return;
    };
    assert!(Address::is_like(&id) && address.id() == &id);
    let rest = text.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    let after = authority.strip_prefix(address.host());
    assert!(after.is_some_and(|after| after.is_empty() || after.starts_with(':')), "{text}");
    let other: HostPattern = "nobody.example".parse().unwrap();
    let rules = Rules { hosts: vec![other], local: true };
    assert!(address.host() == "nobody.example" || Address::read(&id, &rules).is_err());
});
