use std::sync::atomic::Ordering;

use super::*;
use crate::testing::{Bed, typed};

async fn stored(bed: &Bed, id: &UserId) -> Option<PasswordRecord> {
    let record = load::<PasswordRecord>(bed.records.as_ref(), &bed.realm, id.as_str());
    record.await.unwrap().map(|record| record.value)
}

#[tokio::test]
async fn sets_and_replaces_a_password_with_its_event() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    for (generation, text) in [(1, "correct horse battery"), (2, "staple of another kind")] {
        let phc = bed.passwords.prepare(typed(text), &["alice"], false).await.unwrap();
        bed.passwords.set(&bed.realm, &alice.id, &phc, "alice").await.unwrap();
        let record = stored(&bed, &alice.id).await.unwrap();
        assert_eq!((record.generation, record.phc), (generation, phc));
        let (kind, data) = bed.events().await.pop().unwrap();
        assert_eq!(kind, "CREDENTIAL_CHANGED");
        assert_eq!(
            (&data["user_id"], &data["credential"]),
            (&alice.id.as_str().into(), &"password".into())
        );
        assert!(!data.to_string().contains("argon2"));
    }
}

#[tokio::test]
async fn hashes_nothing_that_the_policy_refuses() {
    let bed = Bed::new();
    let refused = bed.passwords.prepare(typed("too short"), &["alice"], false).await.unwrap_err();
    assert_eq!(refused, SetRefused::Weak(Weakness::TooShort { least: 15 }));
    assert_eq!(bed.hasher.performed(), 0);
}

#[tokio::test]
async fn says_when_too_much_is_being_hashed() {
    let bed = Bed::new();
    bed.workers.busy.store(true, Ordering::SeqCst);
    let refused = bed.passwords.prepare(typed("correct horse battery"), &["alice"], false).await;
    assert_eq!(refused.unwrap_err(), SetRefused::Busy(Busy));
}

#[tokio::test]
async fn nobody_gets_no_password() {
    let bed = Bed::new();
    let phc =
        bed.passwords.prepare(typed("correct horse battery"), &["alice"], false).await.unwrap();
    let id = UserId::new("usr_x").unwrap();
    let refused = bed.passwords.set(&bed.realm, &id, &phc, "root").await.unwrap_err();
    assert_eq!(refused, SetRefused::Unknown(id.clone()));
    assert_eq!(stored(&bed, &id).await, None);
}

#[test]
fn takes_passwords_of_up_to_1024_bytes() {
    assert!(Password::new("a".repeat(1024)).is_ok());
    assert!(Password::new("a".repeat(1025)).is_err());
    assert!(Password::new("手".repeat(342)).is_err());
}
