use serde_json::json;
use tegata_core::Records as _;

use super::*;
use crate::{
    TotpSecret,
    second_factor::{FactorRefused, PASSKEY_KIND},
    testing::{
        Bed, PAGE,
        soft::{Soft, VERIFIED},
    },
};

fn name() -> PasskeyName {
    PasskeyName::new("a key")
}

async fn begin(bed: &Bed, user: &User, session: &SessionId) -> Value {
    bed.second().begin_passkey(&bed.realm, user, session).await.unwrap()
}

async fn confirm(
    bed: &Bed,
    user: &User,
    session: &SessionId,
    made: &str,
) -> Result<Option<NewCodes>, ConfirmRefused> {
    bed.second().confirm_passkey(&bed.realm, &user.id, session, made, name()).await
}

#[tokio::test]
async fn the_first_comes_with_recovery_codes_and_others_stand_beside_it() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let (sid, mut one, mut two) = (bed.session(1), Soft::at(PAGE), Soft::at(PAGE));
    let options = begin(&bed, &alice, &sid).await;
    assert_eq!(options["rp"], json!({"id": "auth.example.com", "name": "auth.example.com"}));
    assert_eq!(
        (&options["user"]["name"], &options["attestation"]),
        (&json!("alice"), &json!("none"))
    );
    assert_eq!(options["excludeCredentials"], json!([]));
    // The handle is nobody's name.
    let handle = options["user"]["id"].as_str().unwrap().to_owned();
    assert!(
        handle.len() == 43 && !handle.contains("alice") && !alice.id.as_str().contains(&handle)
    );
    let codes = confirm(&bed, &alice, &sid, &one.create(&options)).await.unwrap();
    assert_eq!(codes.unwrap().shown().count(), 10);
    bed.clock.advance(Duration::from_secs(60));
    let options = begin(&bed, &alice, &sid).await;
    let excluded = options["excludeCredentials"].as_array().unwrap();
    assert_eq!(excluded.len(), 1);
    assert_eq!(excluded[0]["transports"], json!(["internal", "hybrid"]));
    assert_eq!(options["user"]["id"], json!(handle), "it is the same person to an authenticator");
    let codes = confirm(&bed, &alice, &sid, &two.create(&options)).await.unwrap();
    assert!(codes.is_none());
    let enrolled = bed.second().of(&bed.realm, &alice.id).await.unwrap().unwrap();
    assert_eq!((enrolled.passkeys.len(), enrolled.recovery_codes), (2, 10));
    assert_eq!((enrolled.passkeys[0].name.as_str(), enrolled.passkeys[0].used), ("a key", None));
    let methods: Vec<_> = enrolled.authenticators().into_iter().map(|it| it.as_str()).collect();
    assert_eq!(methods, ["passkey", "recovery_code"]);
}

#[tokio::test]
async fn an_enrolment_is_of_its_person_and_session_and_counts_once() {
    let bed = Bed::new();
    let (alice, bob) = (bed.user("alice", None).await, bed.user("bob", None).await);
    let (one, two) = (bed.session(1), bed.session(2));
    let mut soft = Soft::at(PAGE);
    let made = soft.create(&begin(&bed, &alice, &one).await);
    assert_eq!(confirm(&bed, &alice, &two, &made).await.unwrap_err(), ConfirmRefused::Expired);
    assert_eq!(confirm(&bed, &bob, &one, &made).await.unwrap_err(), ConfirmRefused::Expired);
    // Whoever was wrong begins again.
    assert_eq!(confirm(&bed, &alice, &one, &made).await.unwrap_err(), ConfirmRefused::Expired);
    let options = begin(&bed, &alice, &one).await;
    let refused = confirm(&bed, &alice, &one, "{}").await.unwrap_err();
    assert_eq!(refused, ConfirmRefused::Malformed);
    let made = soft.create(&options);
    assert_eq!(confirm(&bed, &alice, &one, &made).await.unwrap_err(), ConfirmRefused::Expired);
    // What was made for the one before.
    begin(&bed, &alice, &one).await;
    let refused = confirm(&bed, &alice, &one, &made).await.unwrap_err();
    assert!(matches!(refused, ConfirmRefused::Flawed(_)), "{refused}");
    let made = soft.create(&begin(&bed, &alice, &one).await);
    bed.clock.advance(LIFETIME);
    assert_eq!(confirm(&bed, &alice, &one, &made).await.unwrap_err(), ConfirmRefused::Expired);
    assert_eq!(bed.second().of(&bed.realm, &alice.id).await, Ok(None));
    let options = begin(&bed, &alice, &one).await;
    let made = Soft { flags: VERIFIED, ..Soft::at(PAGE) }.create(&options);
    assert!(matches!(confirm(&bed, &alice, &one, &made).await, Err(ConfirmRefused::Flawed(_))));
    let made = soft.create(&begin(&bed, &alice, &one).await);
    assert!(confirm(&bed, &alice, &one, &made).await.is_ok());
    assert_eq!(confirm(&bed, &alice, &one, &made).await.unwrap_err(), ConfirmRefused::Expired);
}

#[tokio::test]
async fn a_passkey_is_of_one_person_until_it_is_removed() {
    let bed = Bed::new();
    let (alice, bob) = (bed.user("alice", None).await, bed.user("bob", None).await);
    let (sid, second) = (bed.session(3), bed.second());
    let hers = bed.passkey(&alice).await;
    for user in [&alice, &bob] {
        let mut thief = Soft { id: hers.id.clone(), ..Soft::at(PAGE) };
        let made = thief.create(&begin(&bed, user, &sid).await);
        assert_eq!(confirm(&bed, user, &sid, &made).await.unwrap_err(), ConfirmRefused::Taken);
    }
    assert_eq!(second.of(&bed.realm, &bob.id).await, Ok(None));
    let shown = second.of(&bed.realm, &alice.id).await.unwrap().unwrap();
    // Nobody removes another's.
    let id = &shown.passkeys[0].id;
    assert!(!second.remove_passkey(&bed.realm, &bob.id, id, "bob").await.unwrap());
    assert!(!second.remove_passkey(&bed.realm, &alice.id, "x", "alice").await.unwrap());
    assert!(second.remove_passkey(&bed.realm, &alice.id, id, "alice").await.unwrap());
    let mut soft = Soft { id: hers.id, ..Soft::at(PAGE) };
    let made = soft.create(&begin(&bed, &bob, &sid).await);
    assert!(confirm(&bed, &bob, &sid, &made).await.is_ok());
    assert!(second.remove_all(&bed.realm, &bob.id, "root").await.unwrap());
    let left = bed.records.load(&bed.realm, &PASSKEY_KIND, id).await.unwrap();
    assert!(left.is_none(), "an operator takes all of it away");
}

/// The store decides, whoever looked first.
#[tokio::test]
async fn of_two_people_who_enrol_one_passkey_at_once_one_has_it() {
    let bed = Bed::new();
    let (alice, bob) = (bed.user("alice", None).await, bed.user("bob", None).await);
    let (one, two) = (bed.session(1), bed.session(2));
    let id = vec![6; 16];
    let mut soft = Soft { id, ..Soft::at(PAGE) };
    let hers = soft.create(&begin(&bed, &alice, &one).await);
    let his = soft.create(&begin(&bed, &bob, &two).await);
    let both = futures_util::future::join(
        confirm(&bed, &alice, &one, &hers),
        confirm(&bed, &bob, &two, &his),
    )
    .await;
    assert!(both.0.is_ok() != both.1.is_ok(), "{both:?}");
}

#[tokio::test]
async fn who_began_when_a_password_was_enough_adds_nothing_afterwards() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let (thief, owner, second) = (bed.session(1), bed.session(2), bed.second());
    let mut planted = Soft::at(PAGE);
    let early = planted.create(&begin(&bed, &alice, &thief).await);
    let app = second.begin_totp(&bed.realm, &alice.id, &thief).await.unwrap();
    let mut hers = Soft::at(PAGE);
    let made = hers.create(&begin(&bed, &alice, &owner).await);
    assert!(confirm(&bed, &alice, &owner, &made).await.is_ok());
    assert_eq!(confirm(&bed, &alice, &thief, &early).await.unwrap_err(), ConfirmRefused::Expired);
    let code = app.secret.code_at(bed.node.now());
    let refused = second.confirm_totp(&bed.realm, &alice.id, &thief, &code).await;
    assert_eq!(refused.unwrap_err(), ConfirmRefused::Expired);
    // Nor beside what came in the place of what was there.
    let early = planted.create(&begin(&bed, &alice, &thief).await);
    second.remove_all(&bed.realm, &alice.id, "root").await.unwrap();
    bed.clock.advance(Duration::from_secs(1));
    let made = hers.create(&begin(&bed, &alice, &owner).await);
    assert!(confirm(&bed, &alice, &owner, &made).await.is_ok());
    assert_eq!(confirm(&bed, &alice, &thief, &early).await.unwrap_err(), ConfirmRefused::Expired);
}

#[tokio::test]
async fn an_app_and_passkeys_stand_beside_each_other() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let (sid, second) = (bed.session(1), bed.second());
    bed.passkey(&alice).await;
    bed.clock.advance(Duration::from_secs(1));
    // An operator does not put an app beside it.
    let secret = TotpSecret::generate(bed.node.entropy());
    assert!(!second.provide_totp(&bed.realm, &alice.id, &secret, "test").await.unwrap());
    let begun = second.begin_totp(&bed.realm, &alice.id, &sid).await.unwrap();
    let code = begun.secret.code_at(bed.node.now());
    let codes = second.confirm_totp(&bed.realm, &alice.id, &sid, &code).await.unwrap();
    assert!(codes.is_none(), "the recovery codes stay");
    let enrolled = second.of(&bed.realm, &alice.id).await.unwrap().unwrap();
    assert!(enrolled.totp_since.is_some() && enrolled.passkeys.len() == 1);
    assert!(second.remove_totp(&bed.realm, &alice.id, "alice").await.unwrap());
    assert!(!second.remove_totp(&bed.realm, &alice.id, "alice").await.unwrap());
    let enrolled = second.of(&bed.realm, &alice.id).await.unwrap().unwrap();
    assert_eq!((enrolled.totp_since, enrolled.recovery_codes), (None, 10));
    let id = enrolled.passkeys[0].id.clone();
    assert!(second.remove_passkey(&bed.realm, &alice.id, &id, "alice").await.unwrap());
    assert_eq!(second.of(&bed.realm, &alice.id).await, Ok(None));
    let told: Vec<_> = bed
        .events()
        .await
        .iter()
        .filter(|(kind, _)| kind == "CREDENTIAL_CHANGED")
        .map(|(_, data)| {
            let told =
                format!("{} {} {}", data["credential"], data["change"], data["recovery_codes"]);
            told.replace('"', "")
        })
        .collect();
    let expected = ["passkey create 10", "totp create 10", "totp delete 10", "passkey delete 0"];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn twenty_are_enough() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    for _ in 0..MOST {
        bed.passkey(&alice).await;
        bed.clock.advance(Duration::from_secs(1));
    }
    let refused = bed.second().begin_passkey(&bed.realm, &alice, &bed.session(1)).await;
    assert_eq!(refused, Err(BeginRefused::TooMany));
}

#[tokio::test]
async fn nobody_and_nowhere_have_no_passkeys() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let sid = bed.session(1);
    let nowhere = SecondFactors::new(bed.node.clone(), bed.records.clone(), bed.ephemeral.clone());
    let refused = nowhere.begin_passkey(&bed.realm, &alice, &sid).await;
    assert_eq!(refused, Err(BeginRefused::NotHere));
    let nobody = User { id: UserId::new("usr_nobody").unwrap(), ..alice };
    let made = Soft::at(PAGE).create(&begin(&bed, &nobody, &sid).await);
    let refused = confirm(&bed, &nobody, &sid, &made).await.unwrap_err();
    assert_eq!(refused, FactorRefused::Unknown(nobody.id).into());
}
