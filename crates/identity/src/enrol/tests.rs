use std::time::Duration;

use tegata_core::{Epoch, SeededEntropy};

use super::*;
use crate::{User, second_factor::SpendRefused, testing::Bed};

fn sid(bed: &Bed, seed: u64) -> SessionId {
    SessionId::generate(Epoch::FIRST, bed.node.now(), &SeededEntropy::new(seed))
}

/// What the app of an enrolment shows now.
fn shown(bed: &Bed, enrolment: &Enrolment) -> String {
    enrolment.secret.code_at(bed.node.now())
}

async fn begin(bed: &Bed, user: &User, sid: &SessionId) -> Enrolment {
    bed.second().begin_totp(&bed.realm, &user.id, sid).await.unwrap()
}

#[tokio::test]
async fn nothing_counts_before_the_code_was_shown() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let (one, second) = (sid(&bed, 1), bed.second());
    let begun = begin(&bed, &alice, &one).await;
    for wrong in ["000000", "", "0123-4567-89ab-cdef", "no code"] {
        let refused = second.confirm_totp(&bed.realm, &alice.id, &one, wrong).await.unwrap_err();
        assert_eq!(refused, ConfirmRefused::Wrong, "{wrong}");
    }
    assert_eq!(second.of(&bed.realm, &alice.id).await, Ok(None));
    let code = shown(&bed, &begun);
    let codes = second.confirm_totp(&bed.realm, &alice.id, &one, &code).await.unwrap().unwrap();
    assert_eq!(codes.shown().count(), 10);
    let enrolled = second.of(&bed.realm, &alice.id).await.unwrap().unwrap();
    assert_eq!((enrolled.totp_since, enrolled.recovery_codes), (Some(bed.node.now()), 10));
    // It is made good once.
    let again = second.confirm_totp(&bed.realm, &alice.id, &one, &code).await.unwrap_err();
    assert_eq!(again, ConfirmRefused::Expired);
}

#[tokio::test]
async fn an_enrolment_is_of_its_person_its_session_and_its_quarter_of_an_hour() {
    let bed = Bed::new();
    let (alice, bob) = (bed.user("alice", None).await, bed.user("bob", None).await);
    let (one, two, second) = (sid(&bed, 1), sid(&bed, 2), bed.second());
    let begun = begin(&bed, &alice, &one).await;
    let code = shown(&bed, &begun);
    for (user, session) in [(&bob, &one), (&alice, &two)] {
        let refused = second.confirm_totp(&bed.realm, &user.id, session, &code).await;
        assert_eq!(refused.unwrap_err(), ConfirmRefused::Expired);
    }
    bed.clock.advance(Duration::from_secs(901));
    let late = second.confirm_totp(&bed.realm, &alice.id, &one, &shown(&bed, &begun)).await;
    assert_eq!(late.unwrap_err(), ConfirmRefused::Expired);
}

#[tokio::test]
async fn another_app_takes_the_place_of_the_one_before_and_the_paper_stays() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let before = bed.app(&alice).await;
    let (one, second) = (sid(&bed, 1), bed.second());
    let begun = begin(&bed, &alice, &one).await;
    let code = shown(&bed, &begun);
    let codes = second.confirm_totp(&bed.realm, &alice.id, &one, &code).await.unwrap();
    assert!(codes.is_none());
    bed.clock.advance(Duration::from_secs(60));
    let of = |secret: &TotpSecret| TypedCode::read(&secret.code_at(bed.node.now())).unwrap();
    let refused = second.spend(&bed.realm, &alice.id, &of(&before)).await;
    assert_eq!(refused, Err(SpendRefused::Wrong));
    assert_eq!(second.spend(&bed.realm, &alice.id, &of(&begun.secret)).await, Ok(()));
}

#[tokio::test]
async fn an_enrolment_replaces_what_was_there_when_it_began_and_nothing_else() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let (thief, owner, second) = (sid(&bed, 1), sid(&bed, 2), bed.second());
    let confirm = async |session: &SessionId, begun: &Enrolment| {
        second.confirm_totp(&bed.realm, &alice.id, session, &shown(&bed, begun)).await
    };
    let (early, hers) = (begin(&bed, &alice, &thief).await, begin(&bed, &alice, &owner).await);
    assert!(confirm(&owner, &hers).await.unwrap().is_some());
    // Both began when a password was enough; she was first.
    assert_eq!(confirm(&thief, &early).await.unwrap_err(), ConfirmRefused::Expired);
    let early = begin(&bed, &alice, &thief).await;
    bed.clock.advance(Duration::from_secs(60));
    let next = begin(&bed, &alice, &owner).await;
    assert!(confirm(&owner, &next).await.unwrap().is_none(), "another phone");
    assert_eq!(confirm(&thief, &early).await.unwrap_err(), ConfirmRefused::Expired);
    // Nor does one count that was to replace an app which is gone.
    let early = begin(&bed, &alice, &thief).await;
    assert!(second.remove_all(&bed.realm, &alice.id, "root").await.unwrap());
    assert_eq!(confirm(&thief, &early).await.unwrap_err(), ConfirmRefused::Expired);
    assert_eq!(second.of(&bed.realm, &alice.id).await, Ok(None));
}

#[tokio::test]
async fn nobody_is_given_an_app_who_is_nobody_or_has_one() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let secret = TotpSecret::generate(bed.node.entropy());
    let nobody = UserId::new("usr_nobody").unwrap();
    let refused = bed.second().provide_totp(&bed.realm, &nobody, &secret, "test").await;
    assert_eq!(refused.unwrap_err(), FactorRefused::Unknown(nobody));
    let own = bed.app(&alice).await;
    assert!(!bed.second().provide_totp(&bed.realm, &alice.id, &secret, "test").await.unwrap());
    let code = TypedCode::read(&own.code_at(bed.node.now())).unwrap();
    assert_eq!(bed.second().spend(&bed.realm, &alice.id, &code).await, Ok(()));
}
