//! Identifiers that arrive from outside: none makes the program stop, and what is accepted reads
//! back as itself.
#![no_main]

use std::{fmt::Display, str::FromStr};

use libfuzzer_sys::fuzz_target;
use tegata_core::{
    ClientId, Epoch, EventId, FamilyId, KeyId, Realm, SessionId, TokenId, UserId,
    id::{InvalidId, expiry_day},
};

fuzz_target!(|text: &str| {
    reads_back::<Realm>(text);
    reads_back::<UserId>(text);
    reads_back::<ClientId>(text);
    reads_back::<KeyId>(text);
    reads_back::<TokenId>(text);
    reads_back::<FamilyId>(text);
    reads_back::<SessionId>(text);
    // Forms that are read on their own.
    let _ = (Epoch::leading(text), expiry_day(text));
    if let Ok(id) = EventId::try_from(text.to_owned()) {
        assert_eq!(id.to_string(), text, "two texts for one id");
    }
    if let Some(family) = text.parse::<TokenId>().ok().and_then(|id| id.family()) {
        assert!(text.strip_prefix(family.as_str()).is_some_and(|rest| rest.starts_with('.')));
    }
    // A person never passes for a client (RFC 9700 §4.15).
    assert!(UserId::new(text).is_err() || ClientId::new(text).is_err());
});

fn reads_back<T: FromStr<Err = InvalidId> + Display>(text: &str) {
    match text.parse::<T>() {
        Ok(id) => assert_eq!(id.to_string(), text),
        Err(refused) => assert!(refused.to_string().len() < 1024, "what is echoed is bounded"),
    }
}
