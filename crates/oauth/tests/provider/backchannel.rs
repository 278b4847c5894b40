//! Who is told that a session has ended, and that nobody is forgotten.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;
use tegata_core::{
    Batch, BoxFuture, Event, EventType, Expect, Realm, Records, SessionId, StoreError, Stored as _,
    UserId,
    port::{Body, Change},
};
use tegata_oauth::{
    Asking, GrantType, LiveSessions, Parts, Proven, Provider,
    backchannel::{Attempt, RELYING_PARTIES, RelyingParty, Told},
};

use super::world::{CALLBACK, VERIFIER, World, error, params, place};

async fn used_at(world: &World, session: &str, clients: std::ops::Range<u32>) {
    let user = world.user.id.clone();
    for number in clients {
        let client = format!("client-{number}").parse().unwrap();
        let party = RelyingParty::new(&session.parse().unwrap(), &client, &user);
        world.commit(Batch::new(Realm::default()).with(party.put(Expect::Absent))).await;
    }
}

async fn ends(world: &World, session: &str) {
    let data = [("session_id", json!(session)), ("reason", json!("logout"))];
    let event = Event::new(&world.node, &Realm::default(), EventType::SessionEnded, data);
    world.commit(Batch::new(Realm::default()).journal(&event)).await;
}

/// Everybody who is found, by steps as large as a store takes.
async fn found(world: &World) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    loop {
        let (found, more) = world.provider.find_logouts().await.unwrap();
        assert!(found.len() <= 500, "{}", found.len());
        for party in found {
            assert!(all.insert(party.key().to_owned()), "found twice: {}", party.key());
        }
        if !more {
            return all;
        }
    }
}

#[tokio::test]
async fn more_clients_than_a_store_takes_at_once_are_all_found_once() {
    let world = World::new().await;
    used_at(&world, "1.20700.many", 0..1_203).await;
    used_at(&world, "1.20700.few", 0..7).await;
    used_at(&world, "1.20700.alive", 0..3).await;
    ends(&world, "1.20700.few").await;
    ends(&world, "1.20700.many").await;
    // Sessions end in several ways at once.
    ends(&world, "1.20700.few").await;
    ends(&world, "1.20700.nobody").await;
    assert_eq!(found(&world).await.len(), 1_210);
    assert!(found(&world).await.is_empty());
    // Whoever begins anew finds what was left.
    let (mut left, mut after) = (0, None);
    loop {
        let page = world.provider.due_logouts(after).await.unwrap();
        let Some(last) = page.last() else { break };
        (left, after) = (left + page.len(), Some(last.key().to_owned()));
    }
    assert_eq!(left, 1_210);
    ends(&world, "1.20700.alive").await;
    assert_eq!(found(&world).await.len(), 3);
}

#[tokio::test]
async fn of_two_that_look_at_once_each_is_found_by_one() {
    let world = World::new().await;
    let other = world.elsewhere(world.parts.ephemeral.clone());
    used_at(&world, "1.20700.both", 0..20).await;
    ends(&world, "1.20700.both").await;
    let (one, two) = tokio::join!(world.provider.find_logouts(), other.find_logouts());
    let (mut one, two) = (one.unwrap().0, two.unwrap().0);
    one.extend(two);
    assert_eq!(one.len(), 20);
    // And told once, whoever writes it down first.
    let party = &one[0];
    let noted = world.provider.note_logout(party, Attempt::Accepted).await.unwrap();
    assert!(noted.is_none());
    let late = other.note_logout(party, Attempt::Failed("late".to_owned())).await.unwrap();
    assert!(late.is_none());
    let known = world.provider.logouts("delivered", None).await.unwrap();
    assert!(matches!(known.as_slice(), [one] if matches!(one.told, Told::Delivered { .. })));
}

/// A session that ends while `web` gets its tokens, when what says whom to tell cannot be read any more;
/// or of which nobody knows.
struct Meanwhile {
    records: Arc<dyn Records>,
    user: UserId,
    is_known: bool,
}

impl LiveSessions for Meanwhile {
    fn lives<'a>(
        &'a self,
        realm: &'a Realm,
        session: &'a SessionId,
        _: Asking,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            if !self.is_known {
                return Err(StoreError::Unavailable { backend: "store", detail: "away".into() });
            }
            let party = RelyingParty::new(session, &"web".parse().unwrap(), &self.user);
            let mut broken = party.put(Expect::Any);
            if let Change::Put { body, .. } = &mut broken {
                *body = Body::Plain(Vec::new());
            }
            self.records.commit(Batch::new(realm.clone()).with(broken)).await.unwrap();
            Ok(false)
        })
    }
}

#[tokio::test]
async fn a_session_that_is_known_to_have_ended_gives_nothing_though_nobody_can_be_told() {
    for is_known in [true, false] {
        let world = World::new().await;
        let client = world
            .client("web", &[GrantType::AuthorizationCode], |it| {
                it.backchannel_logout_uri = Some("https://app.example/out".into());
            })
            .await;
        let (records, user) = (world.records.clone(), world.user.id.clone());
        let sessions = Arc::new(Meanwhile { records, user, is_known });
        let parts = Parts { sessions, ..world.parts.clone() };
        let provider = Provider::new(world.provider.config().clone(), parts);
        let who = world.signed_in();
        let code = world.code_for(&who, &[]).await;
        let pairs = [
            ("grant_type", "authorization_code"),
            ("code", &*code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        let who_asks = world.proven(&client).await;
        let answer = provider.token(&who_asks, &params(&pairs), &place(), Proven::default()).await;
        let party = RelyingParty::new(&who.session, &client.id, &who.user);
        let realm = world.provider.realm();
        let found = world.records.load(realm, &RELYING_PARTIES, party.key()).await.unwrap();
        // It was written with the tokens, and broken after that.
        assert_eq!(found.unwrap().version, if is_known { 2 } else { 1 });
        match answer {
            Ok(_) => assert!(!is_known),
            Err(refused) => assert!(is_known && error(refused) == "invalid_grant"),
        }
    }
}
