//! Entries of the revocation log: none makes the program stop or take more memory than it may, and an
//! entry that is read is written as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_core::{Node, Realm};
use tegata_token::{Claims, Entry, View};

fuzz_target!(|bytes: &[u8]| {
    let Ok(entry) = Entry::from_bytes(bytes) else { return };
    assert_eq!(Entry::from_bytes(&entry.to_bytes()), Ok(entry.clone()));
    let view = View::new(Node::for_tests(1));
    view.apply(&Realm::default(), &entry);
    view.forget();
    let realm = view.realm(&Realm::default());
    let claims = Claims { sub: "usr_1".into(), jti: "1.a".into(), ..Claims::default() };
    let _ = (realm.check_claims(&claims, None, "k"), realm.earliest_issue("usr_1", None));
});
