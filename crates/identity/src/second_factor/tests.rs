use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tegata_core::{Batch, CommitRefused, Epoch, SeededEntropy, SessionId, Stored as _};

use super::*;
use crate::{TotpSecret, credential::totp::Totp, testing::Bed};

fn code(text: &str) -> TypedCode {
    TypedCode::read(text).unwrap()
}

/// Alice with an app, and her recovery codes.
async fn enrolled(bed: &Bed) -> (User, TotpSecret, Vec<String>) {
    let alice = bed.user("alice", None).await;
    let app = bed.app(&alice).await;
    let codes = bed.second().renew_recovery(&bed.realm, &alice.id, "test").await.unwrap();
    let codes = codes.shown().map(str::to_owned).collect();
    (alice, app, codes)
}

#[tokio::test]
async fn a_code_works_once_and_another_persons_never() {
    let bed = Bed::new();
    let (alice, app, _) = enrolled(&bed).await;
    let bob = bed.user("bob", None).await;
    let bobs = bed.app(&bob).await;
    let second = bed.second();
    let theirs = code(&bobs.code_at(bed.node.now()));
    assert_eq!(second.spend(&bed.realm, &alice.id, &theirs).await, Err(SpendRefused::Wrong));
    let own = code(&app.code_at(bed.node.now()));
    assert_eq!(second.spend(&bed.realm, &alice.id, &own).await, Ok(()));
    for _ in 0..3 {
        assert_eq!(second.spend(&bed.realm, &alice.id, &own).await, Err(SpendRefused::Wrong));
        bed.clock.advance(Duration::from_secs(10));
    }
}

#[tokio::test]
async fn of_many_at_once_one_is_taken() {
    let bed = Bed::new();
    let (alice, app, codes) = enrolled(&bed).await;
    for shown in [app.code_at(bed.node.now()), codes[3].clone()] {
        let taken = AtomicUsize::new(0);
        let attempts = (0..100).map(|_| async {
            if bed.second().spend(&bed.realm, &alice.id, &code(&shown)).await.is_ok() {
                taken.fetch_add(1, Ordering::SeqCst);
            }
        });
        futures_util::future::join_all(attempts).await;
        assert_eq!(taken.into_inner(), 1, "{shown}");
    }
}

#[tokio::test]
async fn whoever_has_no_second_factor_has_no_code() {
    let bed = Bed::new();
    let (alice, app, codes) = enrolled(&bed).await;
    let bob = bed.user("bob", None).await;
    let second = bed.second();
    for shown in [app.code_at(bed.node.now()), codes[0].clone(), "000000".into()] {
        let refused = second.spend(&bed.realm, &bob.id, &code(&shown)).await;
        assert_eq!(refused, Err(SpendRefused::Wrong), "{shown}");
    }
    let none = second.renew_recovery(&bed.realm, &bob.id, "test").await.unwrap_err();
    assert_eq!(none, FactorRefused::NotEnrolled(bob.id.clone()));
    assert_eq!(second.of(&bed.realm, &bob.id).await, Ok(None));
    assert_eq!(second.remove_all(&bed.realm, &bob.id, "test").await, Ok(false));
    // And what was taken away counts no more, nor do its codes.
    assert_eq!(second.remove_all(&bed.realm, &alice.id, "root").await, Ok(true));
    for shown in [app.code_at(bed.node.now()), codes[0].clone()] {
        let refused = second.spend(&bed.realm, &alice.id, &code(&shown)).await;
        assert_eq!(refused, Err(SpendRefused::Wrong), "{shown}");
    }
}

#[tokio::test]
async fn new_recovery_codes_replace_all_that_were_left() {
    let bed = Bed::new();
    let (alice, _, codes) = enrolled(&bed).await;
    let second = bed.second();
    second.spend(&bed.realm, &alice.id, &code(&codes[0])).await.unwrap();
    let now = second.of(&bed.realm, &alice.id).await.unwrap().unwrap();
    assert_eq!(now.recovery_codes, 9);
    let fresh = second.renew_recovery(&bed.realm, &alice.id, "test").await.unwrap();
    for old in &codes {
        let refused = second.spend(&bed.realm, &alice.id, &code(old)).await;
        assert_eq!(refused, Err(SpendRefused::Wrong), "{old}");
    }
    for new in fresh.shown() {
        assert_eq!(second.spend(&bed.realm, &alice.id, &code(new)).await, Ok(()));
    }
    let now = second.of(&bed.realm, &alice.id).await.unwrap().unwrap();
    assert_eq!(now.authenticators(), [Authenticator::Totp].into());
}

/// Every change is in the journal, and the use of a recovery code; nothing of them is.
#[tokio::test]
async fn the_journal_tells_of_changes_and_of_no_secret() {
    let bed = Bed::new();
    let (alice, app, codes) = enrolled(&bed).await;
    let second = bed.second();
    second.spend(&bed.realm, &alice.id, &code(&codes[0])).await.unwrap();
    second.spend(&bed.realm, &alice.id, &code(&app.code_at(bed.node.now()))).await.unwrap();
    second.remove_all(&bed.realm, &alice.id, "root").await.unwrap();
    let events = bed.events().await;
    let told: Vec<_> = events
        .iter()
        .filter(|(kind, _)| kind == "CREDENTIAL_CHANGED")
        .map(|(_, data)| format!("{} {} {}", data["credential"], data["change"], data["actor"]))
        .map(|told| told.replace('"', "").replace(alice.id.as_str(), "alice"))
        .collect();
    let expected = [
        "totp create test",
        "recovery_code update test",
        "recovery_code used alice",
        "totp delete root",
    ];
    assert_eq!(told, expected);
    let all = format!("{events:?}");
    for secret in codes.iter().map(String::as_str).chain([app.to_base32().expose().as_str()]) {
        assert!(!all.contains(secret));
    }
}

/// A batch with this requirement begins nothing once there is a second factor, whoever was first.
#[tokio::test]
async fn what_a_password_is_enough_for_is_refused_by_the_store_where_it_is_not() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let begins = || {
        let batch = Batch::new(bed.realm.clone()).with(SecondFactors::require_none(&alice.id));
        bed.records.commit(batch)
    };
    assert_eq!(begins().await, Ok(()));
    bed.app(&alice).await;
    assert!(matches!(begins().await, Err(CommitRefused::Conflict { .. })));
    bed.second().remove_all(&bed.realm, &alice.id, "test").await.unwrap();
    assert_eq!(begins().await, Ok(()));
}

/// An app that is enrolled anew does not make an earlier step count again.
#[tokio::test]
async fn enrolling_again_gives_no_used_code_back() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let entropy = SeededEntropy::new(7);
    let sid = SessionId::generate(Epoch::FIRST, bed.node.now(), &entropy);
    let second = bed.second();
    let begun = second.begin_totp(&bed.realm, &alice.id, &sid).await.unwrap();
    let shown = begun.secret.code_at(bed.node.now());
    let codes = second.confirm_totp(&bed.realm, &alice.id, &sid, &shown).await.unwrap();
    assert_eq!(codes.unwrap().shown().count(), 10);
    // What it was enrolled with is used.
    let refused = second.spend(&bed.realm, &alice.id, &code(&shown)).await;
    assert_eq!(refused, Err(SpendRefused::Wrong));
    let totp = Totp { secret: begun.secret.clone(), added: bed.node.now(), used: 0 };
    let before = load::<FactorRecord>(bed.records.as_ref(), &bed.realm, alice.id.as_str()).await;
    let next = before.unwrap().unwrap().value.with_totp(totp);
    assert!(next.after(&code(&shown), bed.node.now()).is_none());
    assert_eq!(next.factors.len(), 1);
}

/// A record from before there were passkeys: an app, whose last used step is the third, and two codes.
const FORMER: &str = "\
    AYOkdXNlcql1c3JfYWxpY2WnZmFjdG9yc5GBpFRvdHCDpnNlY3JldNwAFDEyMzQ1Njc4OTAxMjM0NTY3ODkwpWFkZGVkzw\
    AAAZt22qgApHVzZWQDqHJlY292ZXJ5gqNrZXncACABAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAadkaWdlc3Rz\
    ktwAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC3AAgAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM";

#[tokio::test]
async fn what_was_kept_before_there_were_passkeys_is_read_and_added_to() {
    use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
    use tegata_core::repository::decode_bytes;

    let bytes = STANDARD_NO_PAD.decode(FORMER).unwrap();
    let former: FactorRecord = decode_bytes(FactorRecord::FORM, &bytes).unwrap();
    let since = Timestamp::from_secs(1_767_225_600);
    let kept = former.enrolled();
    assert_eq!(
        (former.user.as_str(), kept.totp_since, kept.passkeys.len(), kept.recovery_codes),
        ("usr_alice", Some(since), 0, 2)
    );
    let app = TotpSecret::from_base32("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ").unwrap();
    let shown = app.code_at(since);
    assert!(former.after(&code(&shown), since).is_some());

    // It stands in the store of a person who adds a passkey.
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let kept = FactorRecord { user: alice.id.clone(), ..former };
    let batch = Batch::new(bed.realm.clone()).with(kept.put(Expect::Absent));
    bed.records.commit(batch).await.unwrap();
    bed.passkey(&alice).await;
    let now = bed.second().of(&bed.realm, &alice.id).await.unwrap().unwrap();
    assert_eq!((now.totp_since, now.passkeys.len(), now.recovery_codes), (Some(since), 1, 2));
}
