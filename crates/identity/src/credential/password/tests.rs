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

/// Django keeps Argon2 under its own name, and the rest in forms with the salt where others have parameters.
#[test]
fn hashes_of_others_are_kept_under_their_own_names_and_never_printed() {
    let caps = Caps::default();
    let own = "$argon2id$v=19$m=102400,t=2,p=8$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OWFiY2RlZg";
    let read = Phc::parse(&format!("argon2{own}"), &caps).unwrap();
    assert_eq!(read.as_str(), own);
    let costly = own.replace("m=102400", "m=4194304");
    assert!(Phc::parse(&format!("argon2{costly}"), &caps).is_err());
    for bad in ["argon2", "argon2$argon2id", "argon2argon2$argon2id$v=19$m=8,t=1,p=1$x$y"] {
        assert!(Phc::parse(bad, &caps).is_err(), "{bad}");
    }
    let salt = "Q8sPuU4wW1mDQ8sP";
    for text in [
        format!("scrypt:1024:8:1${salt}${}", "ab".repeat(64)),
        format!("pbkdf2:sha256:1000${salt}${}", "ab".repeat(32)),
        format!("scrypt$1024${salt}$8$1$MDEyMzQ1Njc4OWFiY2RlZg=="),
    ] {
        let printed = format!("{:?}", Phc::parse(&text, &caps).unwrap());
        assert!(!printed.contains(salt) && !printed.contains("abab"), "{printed}");
    }
}
