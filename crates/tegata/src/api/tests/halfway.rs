//! What fails after the first of several steps: what was taken back stays so, whoever asked is told what
//! was done, and doing it again finishes it.

use std::sync::atomic::{AtomicU64, Ordering};

use tegata_core::{Realm, StoreError};
use tegata_token::{Claims, Entry, Holder, Target, Withdrawable, revocation};

use super::*;

/// Something that people and clients have, kept where nobody answers until there is something of it.
#[derive(Default)]
struct Elsewhere(AtomicU64);

impl Withdrawable for Elsewhere {
    fn kind(&self) -> &'static str {
        "things"
    }

    fn withdraw<'a>(
        &'a self,
        _: &'a Realm,
        _: &'a Holder,
        _: &'a revocation::Order,
        _: &'a Tally,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        // The first is away; then there is one thing; then there is none.
        let times = self.0.fetch_add(1, Ordering::SeqCst);
        let away = StoreError::Unavailable { backend: "elsewhere", detail: "away".to_owned() };
        Box::pin(std::future::ready(if times == 0 { Err(away) } else { Ok(u64::from(times == 1)) }))
    }
}

/// Administration of an installation in which the first end of what somebody has fails.
async fn failing(place: &std::path::Path) -> Api {
    let mut composed = compose::for_tests(place).await;
    composed.withdraw = composed.withdraw.clone().with(Arc::new(Elsewhere::default()));
    of(composed)
}

fn is_partly(done: Result<Done, Refused>, says: &str) {
    let refused = done.unwrap_err();
    assert!(matches!(&refused, Refused::Partly(why) if why.contains(says)), "{refused:?}");
}

/// Whether what was issued now is refused.
fn is_refused(api: &Api, claims: Claims) -> bool {
    let composed = &api.composed;
    let claims = Claims { iat: composed.node.now().secs(), ..claims };
    composed.view.realm(&composed.realm).check_grant(&claims, None, "").is_some()
}

fn of_person(id: &str) -> Claims {
    Claims { sub: id.to_owned(), ..Claims::default() }
}

async fn add_maria(api: &Api) -> String {
    let maria = json!({"username": "maria", "password": "a long and private phrase"});
    let added = api.perform(asked(Operation::UserAdd, &[], &maria)).await.unwrap().body.unwrap();
    added["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_removal_of_a_client_is_finished_by_removing_it_again() {
    let place = tempfile::tempdir().unwrap();
    let api = failing(place.path()).await;
    let client = json!({"client_id": "web", "grant_types": ["client_credentials"]});
    api.perform(asked(Operation::ClientAdd, &[], &client)).await.unwrap();
    let remove = || api.perform(asked(Operation::ClientRemove, &["web"], &Value::Null));
    let issued = || Claims { client_id: Some("web".to_owned()), ..of_person("usr_1") };
    assert!(!is_refused(&api, issued()));
    is_partly(remove().await, "client `web` is removed");
    let gone = api.perform(asked(Operation::Client, &["web"], &Value::Null)).await;
    assert!(matches!(gone, Err(Refused::Unknown(_))), "{gone:?}");
    assert!(is_refused(&api, issued()));
    let finished = remove().await.unwrap().body.unwrap();
    assert_eq!((&finished["removed"], &finished["families"]), (&json!("web"), &json!(1)));
    // There is nothing left of it, and nothing of what never was one.
    for _ in 0..2 {
        assert!(matches!(remove().await, Err(Refused::Unknown(_))));
    }
}

#[tokio::test]
async fn what_is_no_client_is_not_taken_back_as_one() {
    let place = tempfile::tempdir().unwrap();
    let api = failing(place.path()).await;
    let id = add_maria(&api).await;
    let remove =
        async |name: &str| api.perform(asked(Operation::ClientRemove, &[name], &Value::Null)).await;
    for name in ["tegata-browser", &id] {
        let nobody = remove(name).await;
        assert!(matches!(nobody, Err(Refused::Unknown(_))), "{nobody:?}");
    }
    assert!(!is_refused(&api, of_person(&id)));
    // Of a client that was there once: nobody knows; something; nothing any more.
    let away = remove("gone-for-long").await;
    assert!(matches!(away, Err(Refused::Store(_))), "{away:?}");
    remove("gone-for-long").await.unwrap();
    assert!(matches!(remove("gone-for-long").await, Err(Refused::Unknown(_))));
}

#[tokio::test]
async fn whoever_is_disabled_is_shut_out_whatever_fails_afterwards() {
    let place = tempfile::tempdir().unwrap();
    let api = failing(place.path()).await;
    let id = add_maria(&api).await;
    let disabled = json!({"disabled": true});
    let disable = || api.perform(asked(Operation::UserChange, &[&id], &disabled));
    is_partly(disable().await, "user `maria` is disabled");
    assert!(is_refused(&api, of_person(&id)));
    assert_eq!(disable().await.unwrap().body.unwrap()["disabled"], true);
}

#[tokio::test]
async fn being_disabled_and_being_refused_are_one_change() {
    let place = tempfile::tempdir().unwrap();
    let api = api(place.path()).await;
    let id = add_maria(&api).await;
    let user = UserId::new(&id).unwrap();
    assert!(!is_refused(&api, of_person(&id)));
    // Nothing follows it.
    api.composed.users.disable(&api.composed.realm, &user, "test").await.unwrap();
    assert!(is_refused(&api, of_person(&id)));
}

#[tokio::test]
async fn a_new_password_takes_back_what_was_before_it_once() {
    let place = tempfile::tempdir().unwrap();
    let api = failing(place.path()).await;
    let id = add_maria(&api).await;
    let phrase = json!({"password": "another long phrase"});
    is_partly(
        api.perform(asked(Operation::UserPassword, &[&id], &phrase)).await,
        "user `maria` has the new password",
    );
    assert!(is_refused(&api, of_person(&id)));
    // Whoever signs in with the new one meanwhile is not refused by a second word about it.
    let pulled = api.composed.records.pull(Log::Revocations, 0, 1000).await.unwrap();
    let entries = pulled.entries.iter().map(|entry| Entry::from_bytes(&entry.body).unwrap());
    let hers = |entry: &Entry| matches!(&entry.target, Target::Subject { sub, .. } if *sub == id);
    assert_eq!(entries.filter(hers).count(), 1);
    api.perform(asked(Operation::UserPassword, &[&id], &phrase)).await.unwrap();
}

#[tokio::test]
async fn an_operator_gives_whoever_has_a_second_factor_a_password_as_short_as_they_may_choose() {
    let place = tempfile::tempdir().unwrap();
    let api = api(place.path()).await;
    let id = add_maria(&api).await;
    let give = async |password: &str| {
        let body = json!({"password": password});
        api.perform(asked(Operation::UserPassword, &[&id], &body)).await
    };
    let short = "kelp-otter";
    let alone = give(short).await;
    assert!(matches!(alone, Err(Refused::Invalid(_))), "{alone:?}");
    let (realm, user) = (&api.composed.realm, UserId::new(&id).unwrap());
    let secret = tegata_identity::TotpSecret::generate(api.composed.node.entropy());
    let second = api.composed.sign_in.second_factors();
    assert!(second.provide_totp(realm, &user, &secret, "test").await.unwrap());
    give(short).await.unwrap();
    let shorter = give("otter-7").await;
    assert!(matches!(shorter, Err(Refused::Invalid(_))), "{shorter:?}");
}
